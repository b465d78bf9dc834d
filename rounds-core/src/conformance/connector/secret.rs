//! A secret that is found again wherever it turns up.

use uuid::Uuid;

/// A secret of a test. It is letters and digits, so that it looks the same in a URL, in JSON and in a header.
pub(super) fn planted() -> String {
    format!("canary{}", Uuid::now_v7().simple())
}

/// In which form a text holds a secret; `None`: in no form that is known here.
pub(super) fn found(text: &str, secret: &str) -> Option<&'static str> {
    if text.contains(secret) {
        return Some("as it is");
    }
    // Within other bytes, base64 has three ways of writing the same ones.
    let encoded = (0..3).any(|before| text.contains(&within_base64(secret.as_bytes(), before)));
    if encoded {
        return Some("in base64");
    }
    let hex = hex::encode(secret);
    if text.contains(&hex) || text.contains(&hex.to_uppercase()) {
        return Some("in hexadecimal");
    }
    // As Debug writes bytes.
    let list = secret.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    text.contains(&list).then_some("as a list of bytes")
}

/// What is common to all base64 texts in which these bytes stand behind `before` others (modulo 3).
fn within_base64(bytes: &[u8], before: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let all: Vec<u8> = std::iter::repeat_n(0, before).chain(bytes.iter().copied()).collect();
    let bit = |at: usize| all[at / 8] >> (7 - at % 8) & 1;
    let digit = |at: usize| (0..6).fold(0, |value, offset| value << 1 | bit(at * 6 + offset));
    ((before * 8).div_ceil(6)..all.len() * 8 / 6).map(|at| char::from(ALPHABET[usize::from(digit(at))])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form() {
        let secret = "canary42";
        // "user:canary42", "a:canary42!", "canary42" in base64.
        for text in ["x canary42 y", "dXNlcjpjYW5hcnk0Mg==", "YTpjYW5hcnk0MiE=", "Y2FuYXJ5NDI=", "63616e6172793432"] {
            assert!(found(text, secret).is_some(), "{text}");
        }
        assert!(found(&format!("{:?}", secret.as_bytes()), secret).is_some());
        // The last bits of the last byte share a digit with what follows, so a difference there alone is not seen.
        assert_eq!(found("canary73 dXNlcjpjYW5hcnk3Mw==", secret), None);
    }
}
