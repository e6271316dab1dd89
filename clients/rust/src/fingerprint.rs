//! The two fingerprints of a request (SPEC §10).

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::json;

/// Larger bodies have no `fp`.
pub(crate) const BODY_BYTES_MAX: usize = 256 * 1024;
const HASH_BYTES: usize = 16;

/// What one request body tells about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Identifies what is asked for, in any key order and spacing. `None` for a body over 256 KiB, one that is not
    /// JSON, and one with text that is not Unicode (a lone surrogate cannot be written as UTF-8).
    pub fp: Option<String>,
    /// Identifies the bytes without the token.
    pub fp_raw: String,
    /// The token, if its field is a string at the top level.
    pub token: Option<String>,
}

/// Hashes `body` for `api`; any bytes will do.
///
/// `token_field` and `ignored_fields` are looked for at the top level only. Of a repeated key the last one counts, as
/// JSON parsers have it. A document nested deeper than 512 levels has no `fp`.
pub fn fingerprint<S: AsRef<str>>(
    api: &str,
    body: &[u8],
    token_field: Option<&str>,
    ignored_fields: &[S],
) -> Fingerprint {
    let (canonical, token) = if body.len() > BODY_BYTES_MAX {
        // A canonical form, which nobody asks for, would cost the calling thread about as much as the hash.
        (None, json::locate(body, token_field).flatten())
    } else {
        json::read(body, token_field, ignored_fields).map_or((None, None), |document| {
            (document.canonical, document.token)
        })
    };
    let cut = token.as_ref().map_or(0..0, |token| token.source.clone());
    let before = body.get(..cut.start).unwrap_or_default();
    let after = body.get(cut.end..).unwrap_or_default();
    Fingerprint {
        fp: canonical
            .filter(|canonical| std::str::from_utf8(canonical).is_ok())
            .map(|canonical| hash(api, &[&canonical])),
        fp_raw: hash(api, &[before, after]),
        token: token.map(|token| token.text),
    }
}

/// What `fp` is a hash of, without the API's name: for tests and for explaining a difference.
///
/// `None` for a body that has none; the size limit of `fp` does not apply.
pub fn canonical<S: AsRef<str>>(
    body: &[u8],
    token_field: Option<&str>,
    ignored_fields: &[S],
) -> Option<String> {
    let document = json::read(body, token_field, ignored_fields)?;
    String::from_utf8(document.canonical?).ok()
}

fn hash(api: &str, parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(api.as_bytes());
    hasher.update(b"\n");
    for part in parts {
        hasher.update(part);
    }
    hex(&hasher.finalize())
}

/// The first 32 hex digits of a hash.
fn hex(digest: &[u8]) -> String {
    digest
        .iter()
        .take(HASH_BYTES)
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The first 32 hex digits of the SHA-256 of `text`.
pub(crate) fn hash_of_text(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}
