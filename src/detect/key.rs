//! Identity of tokens and requests in the tables.

use std::hash::{Hash, Hasher};

use siphasher::sip128::{Hasher128, SipHasher13};

/// A token's identity: keyed 128-bit hash of API, scope and token.
///
/// Two tokens share a key with a chance of 2⁻¹²⁸ per pair, and without the secret nobody can
/// look for such a pair, so the texts are not compared again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub u128);

impl Key {
    /// The key of `parts` under `secret`. The parts are told apart: `["a", "b"]` is not `["ab", ""]`.
    pub fn new(secret: &[u8; 16], parts: [&[u8]; 3]) -> Self {
        let mut hasher = SipHasher13::new_with_key(secret);
        for part in parts {
            hasher.write_u16(part.len() as u16);
            hasher.write(part);
        }
        Self(hasher.finish128().as_u128())
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

/// A [`Key`] is a keyed hash already; hashing it again would only cost.
#[derive(Default)]
pub struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys hash as one u64");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
