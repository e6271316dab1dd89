//! Reads a JSON document into its canonical form and finds the token's characters in it.
//!
//! No parser in the SDK's dependency tree keeps what SPEC §10 needs: the text of numbers, and where in the bytes a
//! member's value stands. Any bytes are accepted without a panic; the work is bounded by size times [`LEVELS_MAX`].

mod locate;

use std::ops::Range;

pub(crate) use locate::locate;

/// Deeper documents have no canonical form in any client, to bound the stack. DynamoDB allows 32 levels of attributes.
const LEVELS_MAX: usize = 512;

/// A document that was read to its end.
pub(crate) struct Document {
    /// Keys sorted, no white space, dropped members left out. Not UTF-8 if a string holds a lone surrogate. `None` if
    /// the document is nested too deep.
    pub(crate) canonical: Option<Vec<u8>>,
    pub(crate) token: Option<Token>,
}

/// The value of the token field, if it is a string at the top level.
pub(crate) struct Token {
    pub(crate) text: String,
    /// Its characters in the source, without the quotation marks.
    pub(crate) source: Range<usize>,
}

/// Reads `body`, or `None` if it is not JSON. The token field and the ignored ones are dropped at the top level only;
/// of a repeated key the last one counts.
pub(crate) fn read<S: AsRef<str>>(
    body: &[u8],
    token_field: Option<&str>,
    ignored_fields: &[S],
) -> Option<Document> {
    let source = std::str::from_utf8(body).ok()?.as_bytes();
    let mut reader = Reader::new(source, source.len());
    if reader.read_document(token_field, ignored_fields).is_some() {
        return Some(Document {
            canonical: Some(reader.out),
            token: reader.token,
        });
    }
    if !reader.too_deep {
        return None;
    }
    let token = locate(body, token_field)?;
    Some(Document {
        canonical: None,
        token,
    })
}

/// Appends `text` as a JSON string with the shortest escapes.
pub(crate) fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.extend(
                    [byte >> 4, byte & 0xf]
                        .map(|digit| char::from_digit(digit.into(), 16).map_or(b'0', |c| c as u8)),
                );
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

struct Reader<'a> {
    source: &'a [u8],
    at: usize,
    out: Vec<u8>,
    token: Option<Token>,
    /// Why reading failed.
    too_deep: bool,
}

/// One member of the object that is being read.
struct Member {
    key: Vec<u8>,
    /// `"key":value` in the output.
    written: Range<usize>,
}

impl<'a> Reader<'a> {
    fn new(source: &'a [u8], capacity: usize) -> Self {
        Self {
            source,
            at: 0,
            out: Vec::with_capacity(capacity),
            token: None,
            too_deep: false,
        }
    }

    fn read_document<S: AsRef<str>>(
        &mut self,
        token_field: Option<&str>,
        ignored_fields: &[S],
    ) -> Option<()> {
        self.skip_space();
        if self.peek() == Some(b'{') {
            self.read_object(0, Some(token_field.map(str::as_bytes)), &|key| {
                token_field.is_some_and(|field| field.as_bytes() == key)
                    || ignored_fields
                        .iter()
                        .any(|field| field.as_ref().as_bytes() == key)
            })?;
        } else {
            self.read_value(0)?;
        }
        self.skip_space();
        (self.at == self.source.len()).then_some(())
    }

    fn peek(&self) -> Option<u8> {
        self.source.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, text: &[u8]) -> Option<()> {
        self.source
            .get(self.at..)?
            .starts_with(text)
            .then(|| self.at += text.len())
    }

    fn read_value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'{' | b'[' if depth >= LEVELS_MAX => {
                self.too_deep = true;
                None
            }
            b'{' => self.read_object(depth, None, &|_| false),
            b'[' => self.read_array(depth),
            b'"' => {
                let text = self.read_string()?;
                write_string(&text, &mut self.out);
                Some(())
            }
            b't' => self.read_word(b"true"),
            b'f' => self.read_word(b"false"),
            b'n' => self.read_word(b"null"),
            _ => self.read_number(),
        }
    }

    fn read_word(&mut self, word: &[u8]) -> Option<()> {
        self.expect(word)?;
        self.out.extend_from_slice(word);
        Some(())
    }

    fn read_array(&mut self, depth: usize) -> Option<()> {
        self.expect(b"[")?;
        self.out.push(b'[');
        self.skip_space();
        if self.peek() != Some(b']') {
            loop {
                self.skip_space();
                self.read_value(depth + 1)?;
                self.skip_space();
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
                self.out.push(b',');
            }
        }
        self.expect(b"]")?;
        self.out.push(b']');
        Some(())
    }

    /// `top` is given for the document itself: there, with the name of the token field if there is one.
    fn read_object(
        &mut self,
        depth: usize,
        top: Option<Option<&[u8]>>,
        dropped: &dyn Fn(&[u8]) -> bool,
    ) -> Option<()> {
        let start = self.out.len();
        self.expect(b"{")?;
        self.out.push(b'{');
        self.skip_space();
        let mut members = Vec::new();
        if self.peek() != Some(b'}') {
            loop {
                members.push(self.read_member(depth, top)?);
                self.skip_space();
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
                self.out.push(b',');
            }
        }
        self.expect(b"}")?;
        self.out.push(b'}');
        let in_order = members.is_sorted_by(|a: &Member, b| a.key < b.key);
        if !in_order || members.iter().any(|member| dropped(&member.key)) {
            self.rewrite_object(start, members, dropped)?;
        }
        Some(())
    }

    fn read_member(&mut self, depth: usize, top: Option<Option<&[u8]>>) -> Option<Member> {
        self.skip_space();
        let from = self.out.len();
        let key = self.read_string()?;
        write_string(&key, &mut self.out);
        self.skip_space();
        self.expect(b":")?;
        self.out.push(b':');
        self.skip_space();
        if top.is_some_and(|field| field == Some(&key)) {
            self.read_token(depth)?;
        } else {
            self.read_value(depth + 1)?;
        }
        Some(Member {
            key,
            written: from..self.out.len(),
        })
    }

    fn read_token(&mut self, depth: usize) -> Option<()> {
        self.token = None;
        if self.peek() != Some(b'"') {
            return self.read_value(depth + 1);
        }
        let from = self.at + 1;
        let text = self.read_string()?;
        self.token = Some(Token {
            text: replace_surrogates(&text),
            source: from..self.at - 1,
        });
        Some(())
    }

    /// Puts the members in order, the last one of each key, without the dropped ones.
    fn rewrite_object(
        &mut self,
        start: usize,
        mut members: Vec<Member>,
        dropped: &dyn Fn(&[u8]) -> bool,
    ) -> Option<()> {
        members.sort_by(|a, b| a.key.cmp(&b.key));
        let mut text = Vec::with_capacity(self.out.len() - start);
        for (index, member) in members.iter().enumerate() {
            let repeated = members
                .get(index + 1)
                .is_some_and(|next| next.key == member.key);
            if repeated || dropped(&member.key) {
                continue;
            }
            text.push(if text.is_empty() { b'{' } else { b',' });
            text.extend_from_slice(self.out.get(member.written.clone())?);
        }
        if text.is_empty() {
            text.push(b'{');
        }
        text.push(b'}');
        self.out.truncate(start);
        self.out.extend_from_slice(&text);
        Some(())
    }

    fn read_number(&mut self) -> Option<()> {
        let from = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.skip_digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.skip_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.skip_digits()?;
        }
        let text = self.source.get(from..self.at)?;
        // The integer zero has one decimal form; the fraction -0.0 stays as in the source.
        self.out
            .extend_from_slice(if text == b"-0" { b"0" } else { text });
        Some(())
    }

    fn skip_digits(&mut self) -> Option<()> {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > from).then_some(())
    }

    /// The text of a string, in UTF-8 except for lone surrogates, which get the bytes that UTF-8 would give them.
    fn read_string(&mut self) -> Option<Vec<u8>> {
        self.expect(b"\"")?;
        let mut text = Vec::new();
        loop {
            let rest = self.source.get(self.at..)?;
            let plain = rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
            let (run, rest) = rest.split_at_checked(plain)?;
            text.extend_from_slice(run);
            self.at += plain + 1;
            match rest.first()? {
                b'"' => return Some(text),
                b'\\' => self.read_escape(&mut text)?,
                _ => return None,
            }
        }
    }

    fn read_escape(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let escape = self.peek()?;
        self.at += 1;
        text.push(match escape {
            b'"' | b'\\' | b'/' => escape,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let unit = self.read_unit()?;
                push_code_point(self.join_surrogates(unit), text);
                return Some(());
            }
            _ => return None,
        });
        Some(())
    }

    fn read_unit(&mut self) -> Option<u32> {
        let digits = self.source.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, &digit| {
            Some(unit << 4 | char::from(digit).to_digit(16)?)
        })
    }

    /// The code point of a surrogate pair that begins with `high`, or `high` itself.
    fn join_surrogates(&mut self, high: u32) -> u32 {
        let after_high = self.at;
        if (0xd800..0xdc00).contains(&high) && self.expect(b"\\u").is_some() {
            if let Some(low @ 0xdc00..0xe000) = self.read_unit() {
                return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            }
            self.at = after_high;
        }
        high
    }
}

/// UTF-8 with one U+FFFD for each lone surrogate, as in the other clients; `from_utf8_lossy` writes one for each byte.
fn replace_surrogates(text: &[u8]) -> String {
    text.utf8_chunks().fold(String::new(), |mut whole, chunk| {
        whole.push_str(chunk.valid());
        // Of the three bytes only the first can begin a character.
        if chunk.invalid().first() == Some(&0xed) {
            whole.push(char::REPLACEMENT_CHARACTER);
        }
        whole
    })
}

fn push_code_point(code_point: u32, text: &mut Vec<u8>) {
    match char::from_u32(code_point) {
        Some(character) => text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        // A lone surrogate: makes the canonical form invalid UTF-8 wherever it is kept.
        None => text.extend(
            [
                0xe0 | code_point >> 12,
                0x80 | code_point >> 6 & 0x3f,
                0x80 | code_point & 0x3f,
            ]
            .map(|byte| byte as u8),
        ),
    }
}
