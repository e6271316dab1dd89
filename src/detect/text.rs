//! Small strings of the detector, stored so that the usual ones cost no allocation.

use std::fmt;

/// A token, call id or fingerprint as it was sent.
///
/// Nearly all of them are a UUID in lower case, 32 hex digits, or short; those are kept as 16 bytes
/// in place. Every other text is kept on the heap. Reading it back gives the very text that was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Repr);

#[derive(Clone, PartialEq, Eq)]
enum Repr {
    Uuid([u8; 16]),
    Hex([u8; 16]),
    /// A text of at most 16 bytes, and how many they are; the rest are zero.
    Short(u8, [u8; 16]),
    Other(Box<str>),
}

/// What an allocation costs besides what it holds.
pub const ALLOCATION: usize = 16;

/// How the 16 bytes of a compact text are to be read: the length of a short one, or one of these.
const UUID: u8 = 17;
const HEX: u8 = 18;

impl Text {
    /// Stores `text`.
    pub fn new(text: &str) -> Self {
        match compact(text) {
            Some((form, bytes)) => Self::from_compact(form, bytes),
            None => Self(Repr::Other(text.into())),
        }
    }

    /// What is kept of a text that is not on the heap: a form (below 19) and its bytes.
    pub fn compact(&self) -> Option<(u8, [u8; 16])> {
        match self.0 {
            Repr::Uuid(bytes) => Some((UUID, bytes)),
            Repr::Hex(bytes) => Some((HEX, bytes)),
            Repr::Short(length, bytes) => Some((length, bytes)),
            Repr::Other(_) => None,
        }
    }

    /// The text of which [`Text::compact`] gave this.
    pub fn from_compact(form: u8, bytes: [u8; 16]) -> Self {
        Self(match form {
            UUID => Repr::Uuid(bytes),
            HEX => Repr::Hex(bytes),
            length => Repr::Short(length.min(16), bytes),
        })
    }

    /// Bytes that it has on the heap.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Other(text) => text.len() + ALLOCATION,
            Repr::Uuid(_) | Repr::Hex(_) | Repr::Short(..) => 0,
        }
    }

    /// Whether this is `text`, without storing `text` first.
    pub fn is(&self, text: &str) -> bool {
        match &self.0 {
            Repr::Other(own) => **own == *text,
            Repr::Short(length, bytes) => bytes[..usize::from(*length)] == *text.as_bytes(),
            Repr::Uuid(_) | Repr::Hex(_) => {
                matches!(text.len(), 32 | 36) && self.compact() == compact(text)
            }
        }
    }
}

/// What [`Text::compact`] says of a text, without storing it first.
pub fn compact(text: &str) -> Option<(u8, [u8; 16])> {
    let bytes = text.as_bytes();
    match bytes.len() {
        length @ 0..=16 => {
            let mut short = [0; 16];
            short[..length].copy_from_slice(bytes);
            Some((length as u8, short))
        }
        32 => Some((HEX, unhex(bytes.as_chunks().0.try_into().ok()?)?)),
        36 => Some((UUID, unhex(without_dashes(bytes.try_into().ok()?)?)?)),
        _ => None,
    }
}

/// Whether two texts are the same, for names, which are short.
///
/// glibc's `memcmp` reads texts below 32 bytes by masked vector loads. On Zen 4 these wait for the stores
/// before them, which after an event are those to a table that is not in the cache: measured, a fifth
/// of an event's time went into two comparisons.
pub fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let ((words, rest), (other_words, other_rest)) = (one.as_chunks(), other.as_chunks());
    let pairs = words.iter().zip(other_words);
    let mut differ = pairs.fold(0, |differ, (a, b)| {
        differ | (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b))
    });
    // The last eight bytes, some of them once more, rather than one by one.
    match (one.last_chunk(), other.last_chunk()) {
        (Some(a), Some(b)) => differ |= u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b),
        _ => {
            let pairs = rest.iter().zip(other_rest);
            differ |= pairs.fold(0, |differ, (a, b)| differ | u64::from(a ^ b));
        }
    }
    differ == 0
}

/// The 32 digits of a UUID; `None` if its dashes are elsewhere.
fn without_dashes(uuid: [u8; 36]) -> Option<[[u8; 8]; 4]> {
    let at = |from: usize| -> [u8; 4] { [0, 1, 2, 3].map(|index| uuid[from + index]) };
    let dashes = [8, 13, 18, 23].iter().all(|dash| uuid[*dash] == b'-');
    let join = |[a, b, c, d]: [u8; 4], [e, f, g, h]: [u8; 4]| [a, b, c, d, e, f, g, h];
    dashes.then(|| {
        [
            join(at(0), at(4)),
            join(at(9), at(14)),
            join(at(19), at(24)),
            join(at(28), at(32)),
        ]
    })
}

/// The 16 bytes that 32 lower-case hex digits stand for; `None` if one is anything else.
fn unhex(digits: [[u8; 8]; 4]) -> Option<[u8; 16]> {
    let [a, b, c, d] = digits.map(unhex_word);
    let (a, b, c, d) = (a?, b?, c?, d?);
    let number = |word: u32, place: u32| u128::from(word) << (32 * place);
    let all = number(a, 0) | number(b, 1) | number(c, 2) | number(d, 3);
    Some(all.to_le_bytes())
}

/// The four bytes, lowest first, of eight hex digits: all of them at once, a byte of a word each.
fn unhex_word(digits: [u8; 8]) -> Option<u32> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let word = u64::from_le_bytes(digits);
    let letters = word >> 6 & ONES;
    let values = (word & (ONES * 0x0f)) + letters * 9;
    // Written back, only lower-case digits are what they were.
    let above_nine = (values + ONES * (0x80 - 10)) >> 7 & ONES;
    let written = values + ONES * u64::from(b'0') + above_nine * u64::from(b'a' - b'0' - 10);
    if written != word || values & (ONES * 0xf0) != 0 {
        return None;
    }
    let pairs = (values << 4 | values >> 8) & 0x00ff_00ff_00ff_00ff;
    let halves = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    Some((halves | halves >> 16) as u32)
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, is_uuid) = match &self.0 {
            Repr::Other(text) => return f.write_str(text),
            Repr::Short(length, bytes) => {
                let text = std::str::from_utf8(&bytes[..usize::from(*length)]);
                return f.write_str(text.unwrap_or_default());
            }
            Repr::Hex(bytes) => (bytes, false),
            Repr::Uuid(bytes) => (bytes, true),
        };
        // Written at once: formatting each byte takes ten times as long.
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (index, byte) in bytes.iter().enumerate() {
            at += usize::from(is_uuid && matches!(index, 4 | 6 | 8 | 10));
            text[at] = DIGITS[usize::from(byte >> 4)];
            text[at + 1] = DIGITS[usize::from(byte & 15)];
            at += 2;
        }
        f.write_str(std::str::from_utf8(&text[..at]).unwrap_or_default())
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_name_counts() {
        for length in 0..40 {
            let name = "n".repeat(length);
            assert!(same(&name, &name.clone()));
            assert!(!same(&name, &format!("{name}n")));
            for at in 0..length {
                let mut other = name.clone();
                other.replace_range(at..=at, "m");
                assert!(!same(&name, &other), "{length} {at}");
            }
        }
    }

    #[test]
    fn every_text_comes_back_as_sent() {
        let uuid = "6b8f0c4e-1d2a-4f3b-9c5d-7e8f90a1b2c3";
        let texts = [
            uuid,
            &uuid.to_uppercase(),
            &uuid.replace('-', ""),
            &uuid.replace('-', "").to_uppercase(),
            &uuid.replace('-', "_"),
            "00000000-0000-0000-0000-00000000000g",
            "0000000000000000000000000000000o",
            "0123456789abcdef0123456789abcde`",
            "0123456789abcdef0123456789abcde:",
            "6b8f0c4e1-d2a-4f3b-9c5d-7e8f90a1b2c3",
            "",
            "order-17",
            "ééééééééééééééééàà",
            "éééééééé",
            "0123456789abcdef",
            "0123456789abcdef0",
            "\0",
        ];
        for text in texts {
            assert_eq!(Text::new(text).to_string(), text);
            for other in texts {
                assert_eq!(Text::new(text).is(other), text == other, "{text} {other}");
                assert_eq!(same(text, other), text == other, "{text} {other}");
            }
            if let Some((form, bytes)) = Text::new(text).compact() {
                assert_eq!(Text::from_compact(form, bytes), Text::new(text), "{text}");
            }
        }
    }
}
