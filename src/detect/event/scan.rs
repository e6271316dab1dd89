//! Reads the plain form of an event, in which clients send nearly all of them: one flat object,
//! every field once and right, texts without escapes, numbers without sign or exponent.
//!
//! Whatever else comes is left to `serde_json` and [`super::fields`], which alone decide what is
//! wrong with a line. So this reader needs to know only what is surely right, and a test holds it
//! to it: what it gives is what they would give. Measured: it halves the time of an event.

use std::borrow::Cow;

use memchr::memchr;

use super::fields::{Field, error_code, millis};
use super::word::Word;
use super::{Event, Kind, Outcome, TokenOrigin};
use crate::detect::time::Timestamp;
use crate::detect::trace::TraceContext;

/// Reads a line in plain form into a blank event. `None` says nothing about the line, and the
/// event is to be thrown away.
pub fn scan<'a>(text: &'a str, event: &mut Event<'a>) -> Option<()> {
    is_plain(text.as_bytes()).then_some(())?;
    let mut input = Input { text, at: 0 };
    let mut fields = Plain {
        event,
        kind: None,
        dropped: None,
        has_token: false,
        seen: 0,
    };
    input.skip_space();
    input.expect(b'{')?;
    input.skip_space();
    loop {
        let field = Field::by_word(input.word()?);
        input.skip_space();
        input.expect(b':')?;
        input.skip_space();
        if !input.skip_null() {
            fields.read(field, &mut input)?;
        }
        fields.note(field)?;
        input.skip_space();
        match input.next()? {
            b',' => input.skip_space(),
            b'}' => break,
            _ => return None,
        }
    }
    input.skip_space();
    (input.at == text.len()).then_some(())?;
    fields.finish()
}

/// An event that is being put together.
struct Plain<'a, 'e> {
    event: &'e mut Event<'a>,
    kind: Option<Kind>,
    dropped: Option<u64>,
    has_token: bool,
    /// One bit for each field that occurred.
    seen: u32,
}

impl<'a> Plain<'a, '_> {
    /// Of a field that occurs twice the last value counts, be it null: too rare for this reader.
    fn note(&mut self, field: Field) -> Option<()> {
        if field != Field::Unknown {
            let bit = 1 << field as u32;
            (self.seen & bit == 0).then_some(())?;
            self.seen |= bit;
        }
        Some(())
    }

    /// Reads a value that is not null.
    fn read(&mut self, field: Field, input: &mut Input<'a>) -> Option<()> {
        let event = &mut *self.event;
        match field {
            Field::V => (input.integer()? == 1).then_some(())?,
            Field::Type => {
                let name = input.word()?;
                let is_it = |kind: &Kind| Word::new(kind.as_str()) == name;
                self.kind = Some(Kind::ALL.into_iter().find(is_it)?);
            }
            Field::Api => event.api = input.text(128)?.unwrap_or_default(),
            Field::Token => {
                event.token = input.text(512)?.unwrap_or_default();
                self.has_token = true;
            }
            Field::Call => event.call = input.text(64)?,
            Field::Attempt => event.attempt = input.count()?,
            Field::MaxAttempts => event.max_attempts = Some(input.count()?),
            Field::Fp => event.fp = input.text(64)?,
            Field::FpRaw => event.fp_raw = input.text(64)?,
            Field::Client => event.client = input.text(128)?,
            Field::Scope => event.scope = input.text(256)?.unwrap_or_default(),
            Field::At => event.at = input.time()?,
            Field::TokenOrigin => {
                event.token_origin = match input.string()? {
                    "caller" => Some(TokenOrigin::Caller),
                    "sdk" => Some(TokenOrigin::Sdk),
                    _ => return None,
                }
            }
            Field::Outcome => {
                event.outcome = match input.string()? {
                    "ok" => Some(Outcome::Ok),
                    "error" => Some(Outcome::Error),
                    "no_response" => Some(Outcome::NoResponse),
                    _ => return None,
                }
            }
            Field::Error => event.error = input.text(128)?.map(error_code),
            Field::HttpStatus => event.http_status = Some(input.integer()?),
            Field::RequestId => event.request_id = input.text(128)?,
            Field::DurationMs => event.duration = Some(millis(input.amount()?)),
            Field::ReadUnits => event.read_units = Some(input.amount()?),
            Field::WriteUnits => event.write_units = Some(input.amount()?),
            Field::Traceparent => {
                let header = input.string()?;
                event.trace = TraceContext::parse(header);
                event.traceparent_malformed = event.trace.is_none() && !header.is_empty();
            }
            Field::Attempts => input.integer().map(|_| ())?,
            Field::Dropped => self.dropped = Some(input.integer()?.unsigned_abs()),
            Field::Unknown => input.skip_scalar()?,
        }
        Some(())
    }

    /// Checks that nothing is missing.
    fn finish(self) -> Option<()> {
        self.event.kind = self.kind?;
        let is_report = self.event.kind == Kind::ClientReport;
        (!is_report || self.dropped.is_some()).then_some(())?;
        self.event.dropped = self.dropped.unwrap_or(0);
        self.event.require(self.has_token).ok()
    }
}

/// The rest of a line. What is not in plain form is `None`, and ends the reading.
struct Input<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Input<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    #[inline]
    fn skip_space(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    fn skip_null(&mut self) -> bool {
        self.peek() == Some(b'n') && self.skip_word("null")
    }

    fn skip_word(&mut self, word: &str) -> bool {
        let found = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn skip_scalar(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'0'..=b'9' => self.number().map(|_| ()),
            _ => (self.skip_word("true") || self.skip_word("false")).then_some(()),
        }
    }

    /// A string from its first quote to its last.
    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let start = self.at;
        let end = start + memchr(b'"', &self.text.as_bytes()[start..])?;
        self.at = end + 1;
        self.text.get(start..end)
    }

    /// The word of a string.
    #[inline]
    fn word(&mut self) -> Option<Word> {
        let inside = self.text.as_bytes().get(self.at + 1..)?;
        let Some((word, length)) = Word::read(inside) else {
            return self.string().map(|_| Word::LONG);
        };
        self.expect(b'"')?;
        self.at += length + 1;
        Some(word)
    }

    /// A string within its limit; an empty one is absent.
    #[expect(clippy::option_option, reason = "not plain, and absent")]
    fn text(&mut self, bytes_max: usize) -> Option<Option<Cow<'a, str>>> {
        let text = self.string()?;
        (text.len() <= bytes_max).then_some(())?;
        Some((!text.is_empty()).then_some(Cow::Borrowed(text)))
    }

    fn integer(&mut self) -> Option<i64> {
        match self.number()? {
            Number::Integer(n) => Some(n),
            Number::Decimal(_) => None,
        }
    }

    fn count(&mut self) -> Option<u64> {
        let count = self.integer()?.unsigned_abs();
        (count > 0).then_some(count)
    }

    fn amount(&mut self) -> Option<f64> {
        Some(match self.number()? {
            Number::Integer(n) => n as f64,
            Number::Decimal(n) => n,
        })
    }

    #[expect(clippy::option_option, reason = "not plain, and absent")]
    fn time(&mut self) -> Option<Option<Timestamp>> {
        let time = if self.peek() == Some(b'"') {
            let text = self.string()?;
            if text.is_empty() {
                return Some(None);
            }
            Timestamp::from_rfc3339(text)
        } else {
            Timestamp::from_seconds(self.amount()?)
        };
        time.map(Some)
    }

    /// A number without sign and exponent, of so few digits that they fit an integer. With decimals
    /// that integer must be one that a double holds exactly: divided by a power of ten, it gives
    /// the double nearest to what is written.
    fn number(&mut self) -> Option<Number> {
        const DIGITS_MAX: usize = 18;
        const EXACT_MAX: i64 = 1 << f64::MANTISSA_DIGITS;
        let start = self.at;
        let whole = self.digits(0);
        let mut digits = self.at - start;
        if digits == 0 || (digits > 1 && self.text.as_bytes()[start] == b'0') {
            return None;
        }
        let mut number = Number::Integer(whole);
        if self.peek() == Some(b'.') {
            self.at += 1;
            let point = self.at;
            let all = self.digits(whole);
            let decimals = self.at - point;
            if decimals == 0 || all > EXACT_MAX {
                return None;
            }
            digits += decimals;
            number = Number::Decimal(all as f64 / POWERS_OF_TEN.get(decimals)?);
        }
        let plain = !matches!(self.peek(), Some(b'e' | b'E'));
        (plain && digits <= DIGITS_MAX).then_some(number)
    }

    /// The digits here, appended to those of `number`; meaningless if there are too many.
    fn digits(&mut self, mut number: i64) -> i64 {
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            number = number
                .wrapping_mul(10)
                .wrapping_add(i64::from(digit - b'0'));
            self.at += 1;
        }
        number
    }
}

enum Number {
    Integer(i64),
    Decimal(f64),
}

/// Those that a double holds exactly and a number of [`Input::number`] may need.
const POWERS_OF_TEN: [f64; 18] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17,
];

/// Whether there is neither an escape nor a control character: then a quote ends a string, and only
/// spaces stand between tokens.
fn is_plain(line: &[u8]) -> bool {
    let is_special = |byte: &u8| matches!(byte, b'\\' | 0..0x20);
    // Without a way out, so that the compiler looks at many bytes at once.
    !line
        .iter()
        .fold(false, |found, byte| found | is_special(byte))
}
