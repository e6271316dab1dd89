//! Numbers and texts as bytes: small numbers take one.

use crate::detect::text::Text;

/// Writes to the end of a buffer.
pub struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Seven bits a byte, the lowest first; the top bit says that more follow.
    pub fn number(&mut self, mut number: u64) {
        while number > 0x7f {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    /// A number that is small either way.
    pub fn signed(&mut self, number: i64) {
        self.number(unsign(number));
    }

    /// 0 for none, small ones in one byte.
    pub fn optional(&mut self, number: Option<u64>) {
        match number {
            None => self.byte(0),
            Some(number) if number < SMALL => self.byte(number as u8 + 2),
            Some(number) => {
                self.byte(1);
                self.number(number);
            }
        }
    }

    pub fn text(&mut self, text: Option<&Text>) {
        match text.map(|text| (text, text.compact())) {
            None => self.byte(NO_TEXT),
            Some((_, Some((form, bytes)))) => {
                self.byte(form);
                self.bytes(&bytes[..usize::from(form).min(16)]);
            }
            Some((text, None)) => {
                let text = text.to_string();
                self.byte(LONG_TEXT);
                self.number(text.len() as u64);
                self.bytes(text.as_bytes());
            }
        }
    }
}

/// Moves the sign to the lowest bit, so that what is small either way stays small.
pub fn unsign(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// Undoes [`unsign`].
pub fn sign(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Numbers below this are small.
const SMALL: u64 = 250;
/// Forms of a text besides those of [`Text::compact`].
const NO_TEXT: u8 = 31;
const LONG_TEXT: u8 = 30;

/// Reads what a [`Writer`] wrote, in the same order.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    pub fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        self.bytes(N).try_into().unwrap_or([0; N])
    }

    pub fn number(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 || shift > 63 {
                return number;
            }
        }
    }

    pub fn signed(&mut self) -> i64 {
        sign(self.number())
    }

    pub fn optional(&mut self) -> Option<u64> {
        match self.byte() {
            0 => None,
            1 => Some(self.number()),
            small => Some(u64::from(small) - 2),
        }
    }

    pub fn text(&mut self) -> Option<Text> {
        match self.byte() {
            NO_TEXT => None,
            LONG_TEXT => {
                let length = self.number() as usize;
                let text = std::str::from_utf8(self.bytes(length));
                Some(Text::new(text.unwrap_or_default()))
            }
            form => {
                let length = usize::from(form).min(16);
                let mut bytes = [0; 16];
                bytes[..length].copy_from_slice(self.bytes(length));
                Some(Text::from_compact(form, bytes))
            }
        }
    }
}
