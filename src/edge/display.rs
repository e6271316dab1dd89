//! How tokens are shown: they can carry personal data, so by default only a hash leaves the process.

use std::fmt;
use std::io;

/// Hex digits of a shown hash.
///
/// 64 bits: among the 65 536 tokens of a full table two share a hash with probability 1 in 10^10,
/// and a clash only makes a look-up show both. Nothing is ever counted or judged by the hash.
const HASH_DIGITS: usize = 16;
/// Hex digits behind a shown prefix, which tell tokens with an equal beginning apart.
const SHORT_HASH_DIGITS: usize = 8;
/// Characters of a shown prefix.
const PREFIX_CHARS: usize = 4;
const ELLIPSIS: char = '…';

/// The secret that makes shown hashes useless to who does not have it: tokens are often guessable
/// (order numbers), and a plain hash of them could be searched.
#[derive(Clone)]
pub struct HashKey([u8; 32]);

impl HashKey {
    /// A key for this process only.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 32];
        let mut filled = 0;
        while filled < bytes.len() {
            let flags = rustix::rand::GetRandomFlags::empty();
            filled += rustix::rand::getrandom(&mut bytes[filled..], flags)?;
        }
        Ok(Self(bytes))
    }

    /// The key that a shared secret of any length stands for; pods with the same secret show the
    /// same hashes.
    pub fn from_secret(secret: &[u8]) -> Self {
        Self(blake3::derive_key("oncewatch 2026 token display", secret))
    }

    fn hash(&self, token: &str, digits: usize) -> String {
        let hash = blake3::keyed_hash(&self.0, token.as_bytes());
        hash.to_hex()[..digits].to_owned()
    }
}

/// Never prints the key.
impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// The setting `token-display`, with what it needs.
#[derive(Clone, Debug)]
pub enum TokenDisplay {
    /// 16 hex digits of a keyed BLAKE3 hash.
    Hash(HashKey),
    /// The first four characters, `…`, and 8 hex digits of the hash. Shows tokens of up to four
    /// characters whole.
    Prefix(HashKey),
    /// The token as it was sent, control characters included: the medium escapes them.
    Full,
}

impl TokenDisplay {
    /// The setting's value.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hash(_) => "hash",
            Self::Prefix(_) => "prefix",
            Self::Full => "full",
        }
    }

    /// The token as it may be shown.
    pub fn show(&self, token: &str) -> String {
        match self {
            Self::Hash(key) => key.hash(token, HASH_DIGITS),
            Self::Prefix(key) => {
                let mut shown: String = token.chars().take(PREFIX_CHARS).collect();
                shown.push(ELLIPSIS);
                shown + &key.hash(token, SHORT_HASH_DIGITS)
            }
            Self::Full => token.to_owned(),
        }
    }

    /// Whether `shown` has the form of something that [`Self::show`] hides a token behind: a cheap
    /// test before a search through all tokens.
    pub fn could_hide(&self, shown: &str) -> bool {
        let (hash, digits) = match self {
            Self::Hash(_) => (Some(shown), HASH_DIGITS),
            Self::Prefix(_) => {
                let parts = shown.rsplit_once(ELLIPSIS);
                (parts.map(|(_, hash)| hash), SHORT_HASH_DIGITS)
            }
            Self::Full => (None, 0),
        };
        hash.is_some_and(|hash| hash.len() == digits && hash.bytes().all(is_digit))
    }

    /// Whether what [`Self::show`] gives can have `part` in it: a cheap test before hashing.
    pub fn could_contain(&self, part: &str) -> bool {
        match self {
            Self::Hash(_) => part.len() <= HASH_DIGITS && part.bytes().all(is_digit),
            Self::Prefix(_) | Self::Full => true,
        }
    }
}

/// Of the digits that hashes are shown with.
fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str) -> HashKey {
        HashKey::from_secret(secret.as_bytes())
    }

    #[test]
    fn a_hash_depends_on_token_and_key_only() {
        let display = TokenDisplay::Hash(key("a"));
        let shown = display.show("order-17");
        assert_eq!(shown.len(), HASH_DIGITS);
        assert_eq!(shown, TokenDisplay::Hash(key("a")).show("order-17"));
        assert_ne!(shown, display.show("order-18"));
        assert_ne!(shown, TokenDisplay::Hash(key("b")).show("order-17"));
        let random = TokenDisplay::Hash(HashKey::random().unwrap());
        assert_ne!(
            random.show("x"),
            TokenDisplay::Hash(HashKey::random().unwrap()).show("x")
        );
    }

    #[test]
    fn a_prefix_counts_characters() {
        let display = TokenDisplay::Prefix(key("a"));
        let shown = display.show("ééééé");
        assert!(shown.starts_with("éééé…") && !shown.contains("ééééé"));
        assert_eq!(shown.chars().count(), 4 + 1 + SHORT_HASH_DIGITS);
        assert_eq!(TokenDisplay::Full.show("a\u{1b}[2J"), "a\u{1b}[2J");
    }

    #[test]
    fn what_it_shows_could_hide_a_token() {
        for display in [TokenDisplay::Hash(key("a")), TokenDisplay::Prefix(key("a"))] {
            for token in ["", "a", "order-17", "…", "f00d…"] {
                let shown = display.show(token);
                assert!(display.could_hide(&shown), "{shown}");
                assert!(!display.could_hide(&shown[..shown.len() - 1]), "{shown}");
                assert!(!display.could_hide(&format!("{shown}0")), "{shown}");
            }
            assert!(!display.could_hide("order-17") && !display.could_hide(""));
        }
        assert!(!TokenDisplay::Full.could_hide("0123456789abcdef"));
    }

    #[test]
    fn the_key_is_never_printed() {
        let printed = format!("{:?}", TokenDisplay::Hash(key("a")));
        assert_eq!(printed, "Hash(HashKey(..))");
    }
}
