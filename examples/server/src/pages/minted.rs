//! A token that was just made, on its way to the one page that shows it.

use secrecy::ExposeSecret as _;

use crate::accounts::TokenMinted;

/// Its text, this once.
pub(super) struct Minted {
    pub(super) name: String,
    pub(super) key: String,
}

impl From<TokenMinted> for Minted {
    fn from(minted: TokenMinted) -> Self {
        Self { name: minted.name, key: minted.key.expose_secret().to_owned() }
    }
}
