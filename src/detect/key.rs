//! Identity of tokens and requests: keyed hashes, so that nobody can look for two that clash.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

/// The identity of a token, or of a request: keyed 128-bit hash of API, scope and the token or
/// fingerprint.
///
/// Two texts share a key with a chance of 2⁻¹²⁸ per pair, and without the secret nobody can
/// look for such a pair, so the texts are not compared again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u64, u64);

/// The keys of one API and scope: what these add to each hash is computed once.
#[derive(Clone, Debug)]
pub struct Keys(SipHasher13);

impl Keys {
    /// Those under `secret`. The parts are told apart: `"a"` and `"b"` are not `"ab"` and `""`.
    pub fn new(secret: &[u8; 16], api: &str, scope: &str) -> Self {
        let mut hasher = SipHasher13::new_with_key(secret);
        for part in [api, scope] {
            hasher.write_u16(part.len() as u16);
            hasher.write(part.as_bytes());
        }
        Self(hasher)
    }

    /// The key of a token or a fingerprint.
    pub fn key(&self, text: &str) -> Key {
        let mut hasher = self.0;
        hasher.write(text.as_bytes());
        let hash = hasher.finish128();
        Key(hash.h1, hash.h2)
    }
}

impl Key {
    /// 64 bits of it, for hash tables: hashing it again would only cost.
    pub fn hash(self) -> u64 {
        self.0
    }

    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.0) | u128::from(self.1) << 64).to_le_bytes()
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let key = u128::from_le_bytes(bytes);
        Self(key as u64, (key >> 64) as u64)
    }
}
