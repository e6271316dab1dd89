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

/// Reads what a [`Writer`] wrote, in the same order. What was not written by one reads as something,
/// and [is not whole](Reader::is_whole).
pub struct Reader<'a> {
    rest: &'a [u8],
    sound: bool,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            sound: true,
        }
    }

    /// Whether all that was read so far made sense.
    pub fn is_sound(&self) -> bool {
        self.sound
    }

    /// Whether it made sense and nothing is left.
    pub fn is_whole(&self) -> bool {
        self.sound && self.rest.is_empty()
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The rest makes no sense.
    pub fn spoil(&mut self) {
        self.sound = false;
        self.rest = &[];
    }

    pub fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                *byte
            }
            None => {
                self.spoil();
                0
            }
        }
    }

    pub fn bytes(&mut self, length: usize) -> &'a [u8] {
        let Some((bytes, rest)) = self.rest.split_at_checked(length) else {
            self.spoil();
            return &[];
        };
        self.rest = rest;
        bytes
    }

    /// How many items follow, each of at least one byte.
    pub fn count(&mut self) -> usize {
        let count = self.number();
        if count > self.rest.len() as u64 {
            self.spoil();
            return 0;
        }
        count as usize
    }

    /// One of `all`, by its position.
    pub fn pick<T: Copy>(&mut self, all: &[T], at: usize) -> T {
        if at >= all.len() {
            self.spoil();
        }
        all[at.min(all.len() - 1)]
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
                let length = self.count();
                let text = std::str::from_utf8(self.bytes(length));
                Some(Text::new(text.unwrap_or_default()))
            }
            form => {
                let length = usize::from(form).min(16);
                let mut bytes = [0; 16];
                let read = self.bytes(length);
                bytes[..read.len()].copy_from_slice(read);
                Some(Text::from_compact(form, bytes))
            }
        }
    }
}
