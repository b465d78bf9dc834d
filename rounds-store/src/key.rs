//! The master key: where it comes from and what is derived from it.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use rand::TryRngCore as _;
use rounds_core::OrgId;
use rounds_core::audit::chain::Verifier;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A master key cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is not a key.
    #[error(
        "{source_name} must be 32 bytes as base64 (44 characters) or hex (64 digits); it is neither. Make one with: openssl rand -base64 32"
    )]
    Malformed {
        /// The file or variable.
        source_name: String,
    },
    /// Others may read the file.
    #[error("{path} can be read by others than its owner (mode {mode:o}); run: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// The file can be neither read nor made.
    #[error("the key file {path} cannot be used: {error}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        error: io::Error,
    },
}

/// The 32 bytes that protect everything else: connector secrets are encrypted and the audit chain is keyed with
/// keys derived from it. Losing it loses the secrets; replacing it is noticed when the store is opened.
#[derive(Clone)]
pub struct MasterKey {
    bytes: Zeroizing<[u8; 32]>,
    source: String,
}

/// What the key of the audit chain is derived for.
pub(crate) const AUDIT_CHAIN: &str = "audit-chain";

impl MasterKey {
    /// Reads a key from text: 32 bytes as base64 or hex. `source` is the variable or file it came from, for messages.
    ///
    /// # Errors
    /// The text is something else.
    pub fn from_text(text: &SecretString, source: impl Into<String>) -> Result<Self, KeyError> {
        let source = source.into();
        let text = text.expose_secret().trim();
        let decoded = if text.len() == 64 {
            hex::decode(text).ok()
        } else {
            [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD].iter().find_map(|as_| as_.decode(text).ok())
        };
        let decoded = Zeroizing::new(decoded.unwrap_or_default());
        let mut bytes = Zeroizing::new([0; 32]);
        if decoded.len() != bytes.len() {
            return Err(KeyError::Malformed { source_name: source });
        }
        bytes.copy_from_slice(&decoded);
        Ok(Self { bytes, source })
    }

    /// Reads the key of a file, or makes the file with a new random key, for its owner's eyes only. When several
    /// processes start at once, all end up with the same key.
    ///
    /// # Errors
    /// The file can be read by others, is not a key, or can be neither read nor made.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::load(path) {
            Err(KeyError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
            loaded => return loaded,
        }
        create(path).map_err(|error| KeyError::File { path: path.display().to_string(), error })?;
        Self::load(path)
    }

    fn load(path: &Path) -> Result<Self, KeyError> {
        let name = path.display().to_string();
        let failed = |error| KeyError::File { path: name.clone(), error };
        // Permissions before content: an exposed key is not used even once.
        let metadata = fs::metadata(path).map_err(failed)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(KeyError::Exposed { path: name, mode });
            }
        }
        #[cfg(not(unix))]
        drop(metadata);
        let text = SecretString::from(fs::read_to_string(path).map_err(failed)?);
        Self::from_text(&text, format!("the key file {name}"))
    }

    /// Where the key came from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Verifies exported audit rows without the database: those after row `seq`, whose hash is `hash`.
    #[must_use]
    pub fn audit_verifier(&self, org: OrgId, seq: u64, hash: &str) -> Verifier {
        Verifier::at(org, self.derive(AUDIT_CHAIN).as_slice(), seq, hash)
    }

    /// A key for a purpose of the embedder's own, such as signing cookies: the same on every replica with this master key.
    /// It says nothing about the master key or about the store's own keys.
    #[must_use]
    pub fn key_for(&self, purpose: &str) -> SecretBox<[u8; 32]> {
        SecretBox::new(Box::new(*self.derive(&format!("embedder\n{purpose}"))))
    }

    /// A key for one purpose. Keys for different purposes say nothing about each other or about the master key.
    pub(crate) fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        // HMAC takes a key of any length, so this cannot fail.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.bytes.as_slice()) {
            mac.update(b"rounds.key.v1\n");
            mac.update(purpose.as_bytes());
            out.copy_from_slice(&mac.finalize().into_bytes());
        }
        out
    }

    /// Says which key this is without saying anything about it.
    pub(crate) fn fingerprint(&self) -> String {
        hex::encode(&self.derive("fingerprint")[..8])
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey(redacted, from {})", self.source)
    }
}

/// Writes a new key beside its place and links it there, so that nobody ever reads half a key and the first of
/// several wins.
fn create(path: &Path) -> io::Result<()> {
    let mut bytes = Zeroizing::new([0; 32]);
    random(bytes.as_mut_slice())?;
    let text = Zeroizing::new(format!("{}\n", STANDARD.encode(bytes.as_slice())));
    let beside = PathBuf::from(format!("{}.{}.new", path.display(), uuid::Uuid::now_v7()));
    let linked = write_new(&beside, text.as_bytes()).and_then(|()| fs::hard_link(&beside, path));
    let removed = fs::remove_file(&beside);
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return removed,
        linked => linked.and(removed)?,
    }
    // The name must survive power loss as well as the content.
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = owners_only().open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes files that did not exist, for their owner's eyes only.
pub(crate) fn owners_only() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
}

/// Fills with random bytes from the operating system.
pub(crate) fn random(bytes: &mut [u8]) -> io::Result<()> {
    rand::rngs::OsRng.try_fill_bytes(bytes).map_err(io::Error::other)
}
