//! Pages of lists, the same way everywhere.

/// A page of a list, newest first.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Listed<T, Id> {
    /// What is on it. It may be empty and have a next page all the same.
    pub items: Vec<T>,
    /// The filter's `after` for the next page; `None`: this is the last.
    pub next: Option<Id>,
}

impl<T, Id> Listed<T, Id> {
    pub(crate) fn new(items: Vec<T>, next: Option<Id>) -> Self {
        Self { items, next }
    }
}

/// How many are looked at for a page: what a filter asks for, and as many as there may be when it asks for 0, its default.
pub(crate) fn limit(wanted: u32, most: u32) -> u32 {
    if wanted == 0 { most } else { wanted.min(most) }
}
