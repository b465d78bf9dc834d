//! stub
use crate::db::Db;
use rounds_core::ports::StoreError;
use std::sync::Arc;
/// stub
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// stub
    #[error("{0}")]
    Store(StoreError),
}
/// stub
#[derive(Clone)]
pub struct SqlIdentity {
    db: Arc<Db>,
}
impl SqlIdentity {
    pub(crate) fn new(db: Arc<Db>) -> Self {
        Self { db }
    }
}
