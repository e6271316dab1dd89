//! Finds the token of a document that is too large or too deep to be made canonical.

use super::{Reader, Token};

/// The token of the object `body`, `None` inside if it has none; `None` for what is no object in UTF-8.
///
/// Only strings and the count of brackets are checked, so nesting has no limit and nothing is kept of what is read.
pub(crate) fn locate(body: &[u8], token_field: Option<&str>) -> Option<Option<Token>> {
    let source = std::str::from_utf8(body).ok()?.as_bytes();
    let mut reader = Reader::new(source, 0);
    reader.skip_space();
    reader.expect(b"{")?;
    let mut depth = 1_usize;
    let mut at_key = true;
    while depth > 0 {
        match reader.peek()? {
            b'"' if at_key => {
                at_key = false;
                reader.read_top_key(token_field)?;
                continue;
            }
            b'"' => {
                reader.skip_string()?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b',' => at_key = depth == 1,
            _ => {}
        }
        reader.at += 1;
    }
    reader.skip_space();
    (reader.at == source.len()).then_some(reader.token)
}

impl Reader<'_> {
    /// A key with its colon, and the value if it is the token.
    fn read_top_key(&mut self, token_field: Option<&str>) -> Option<()> {
        let key = self.read_string()?;
        self.skip_space();
        self.expect(b":")?;
        self.skip_space();
        if token_field.is_none_or(|field| field.as_bytes() != key) {
            return Some(());
        }
        // Of a repeated key the last one counts, whatever its value.
        self.token = None;
        if self.peek() == Some(b'"') {
            self.read_token(0)?;
        }
        Some(())
    }

    fn skip_string(&mut self) -> Option<()> {
        self.expect(b"\"")?;
        loop {
            let rest = self.source.get(self.at..)?;
            let plain = rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
            self.at += plain + 1;
            match rest.get(plain)? {
                b'"' => return Some(()),
                b'\\' => self.at += 1,
                _ => return None,
            }
        }
    }
}
