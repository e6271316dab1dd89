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

/// How the 16 bytes of a compact text are to be read: the length of a short one, or one of these.
const UUID: u8 = 17;
const HEX: u8 = 18;

impl Text {
    /// Stores `text`.
    pub fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let compact = match bytes.len() {
            length @ 0..=16 => {
                let mut short = [0; 16];
                short[..length].copy_from_slice(bytes);
                Some(Repr::Short(length as u8, short))
            }
            32 => unhex(bytes).map(Repr::Hex),
            36 => without_dashes(bytes)
                .and_then(|digits| unhex(&digits))
                .map(Repr::Uuid),
            _ => None,
        };
        Self(compact.unwrap_or_else(|| Repr::Other(text.into())))
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

    /// Whether this is `text`, without storing `text` first.
    pub fn is(&self, text: &str) -> bool {
        match &self.0 {
            Repr::Other(own) => **own == *text,
            Repr::Short(length, bytes) => bytes[..usize::from(*length)] == *text.as_bytes(),
            Repr::Uuid(_) | Repr::Hex(_) => {
                matches!(text.len(), 32 | 36) && *self == Self::new(text)
            }
        }
    }
}

/// The 32 digits of a UUID; `None` if its dashes are elsewhere.
fn without_dashes(uuid: &[u8]) -> Option<[u8; 32]> {
    let mut digits = [0; 32];
    let mut from = 0;
    for (at, group) in [(0, 8), (9, 4), (14, 4), (19, 4), (24, 12)] {
        if at > 0 && uuid[at - 1] != b'-' {
            return None;
        }
        digits[from..from + group].copy_from_slice(&uuid[at..at + group]);
        from += group;
    }
    Some(digits)
}

/// The 16 bytes that 32 lower-case hex digits stand for; `None` if one is anything else.
fn unhex(digits: &[u8]) -> Option<[u8; 16]> {
    let mut out = [0; 16];
    let mut seen = 0;
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
        seen |= high | low;
        *byte = high << 4 | low;
    }
    (seen <= 15).then_some(out)
}

/// The value of each lower-case hex digit; 255 for every other byte.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    values
};

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, dashes): (_, &[usize]) = match &self.0 {
            Repr::Other(text) => return f.write_str(text),
            Repr::Short(length, bytes) => {
                let text = std::str::from_utf8(&bytes[..usize::from(*length)]);
                return f.write_str(text.unwrap_or_default());
            }
            Repr::Hex(bytes) => (bytes, &[]),
            Repr::Uuid(bytes) => (bytes, &[4, 6, 8, 10]),
        };
        for (i, byte) in bytes.iter().enumerate() {
            if dashes.contains(&i) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            }
            if let Some((form, bytes)) = Text::new(text).compact() {
                assert_eq!(Text::from_compact(form, bytes), Text::new(text), "{text}");
            }
        }
    }
}
