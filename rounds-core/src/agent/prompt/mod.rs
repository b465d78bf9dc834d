//! The standing instructions of the model-driven investigator. A version that was released never changes: reports name the
//! version that they were written under, and a recorded run is compared with the same one.

/// Standing instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prompt {
    /// Their version, as reports name it.
    pub version: &'static str,
    /// The text.
    pub text: &'static str,
}

/// Every version, the current one last.
pub const VERSIONS: &[Prompt] = &[Prompt { version: "1", text: include_str!("v1.md") }];

/// The version that runs are driven by.
#[must_use]
pub fn current() -> Prompt {
    const LAST: usize = VERSIONS.len() - 1;
    VERSIONS[LAST]
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// What was released stays as it was: write a new version instead, and add its line here.
    #[test]
    fn a_released_version_of_the_prompt_never_changes() {
        let released = [("1", "e80e1ea06793048899a7229a385ed138d78cdd8b2c315f34adaa1d0e1c163e68")];
        let found: Vec<(&str, String)> =
            VERSIONS.iter().map(|prompt| (prompt.version, hex::encode(Sha256::digest(prompt.text)))).collect();
        let found: Vec<(&str, &str)> = found.iter().map(|(version, hash)| (*version, hash.as_str())).collect();
        assert_eq!(found, released);
    }
}
