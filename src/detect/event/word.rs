//! A short name as a number, so that two are compared in one step.

/// A name of at most 15 bytes and the quote after it, lowest byte first, the rest zero. Through the
/// quote, names that differ only in zeros at their end differ. All longer names are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(u128);

impl Word {
    /// That of all names too long to have one of their own.
    pub const LONG: Self = Self(0);

    /// The name's word.
    pub const fn new(name: &str) -> Self {
        let bytes = name.as_bytes();
        if bytes.len() > 15 {
            return Self::LONG;
        }
        let mut word = [0; 16];
        word[bytes.len()] = b'"';
        let mut at = 0;
        while at < bytes.len() {
            word[at] = bytes[at];
            at += 1;
        }
        Self(u128::from_le_bytes(word))
    }

    /// The word of the name that `bytes` begin with, and the length of that name: up to the first
    /// quote. `None` if there is none near enough.
    #[inline]
    pub fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        const ONES: u128 = u128::from_ne_bytes([0x01; 16]);
        const HIGHS: u128 = u128::from_ne_bytes([0x80; 16]);
        const QUOTES: u128 = u128::from_ne_bytes([b'"'; 16]);
        let head = match bytes.first_chunk() {
            Some(head) => *head,
            None => padded(bytes),
        };
        let word = u128::from_le_bytes(head);
        // The high bit of each byte that is a quote, and perhaps of some after the first such byte.
        let other = word ^ QUOTES;
        let quotes = other.wrapping_sub(ONES) & !other & HIGHS;
        if quotes == 0 {
            return None;
        }
        let end = quotes.trailing_zeros() / 8;
        let kept = u128::MAX >> (8 * (15 - end));
        Some((Self(word & kept), end as usize))
    }

    /// Whether it is [`Word::LONG`], for constants.
    pub const fn is_long(self) -> bool {
        self.0 == Self::LONG.0
    }

    /// A number below 64, another one for each name of a field; the factor was found by trying.
    #[inline]
    pub const fn place(self) -> usize {
        let folded = self.0 as u64 ^ (self.0 >> 64) as u64;
        (folded.wrapping_mul(FACTOR) >> 58) as usize
    }
}

const FACTOR: u64 = 0xd2ad_750d_a0ee_f91d;

#[cold]
fn padded(bytes: &[u8]) -> [u8; 16] {
    let mut head = [0; 16];
    head[..bytes.len()].copy_from_slice(bytes);
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_read_is_the_name_s() {
        let names = [
            "",
            "v",
            "é",
            "token",
            "sixteen bytes 15",
            "fifteen bytes 1",
            "\0",
            "a\0",
        ];
        for name in names {
            for rest in ["\"", "\":1}", "\"x\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\""] {
                let text = format!("{name}{rest}");
                let word = Some(Word::new(name)).filter(|word| !word.is_long());
                let wanted = word.map(|word| (word, name.len()));
                assert_eq!(Word::read(text.as_bytes()), wanted, "{text}");
            }
            assert_eq!(Word::read(name.as_bytes()), None, "{name}");
        }
        let words: Vec<_> = names.iter().map(|name| Word::new(name)).collect();
        for (i, one) in words.iter().enumerate() {
            assert!(words[..i].iter().all(|other| other != one), "{i}");
        }
    }
}
