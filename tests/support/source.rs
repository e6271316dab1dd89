//! Rust source as tokens and paths, as far as the rules about imports need it.

/// A word (identifier, keyword or number), or one sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// Identifier, keyword or number; `r#type` is `type`.
    Word(String),
    /// `::`, as one sign.
    PathSeparator,
    /// Any other character outside strings and comments.
    Sign(char),
}

/// One file without its comments, strings and tests.
pub struct Source {
    /// Relative to the repository.
    pub path: String,
    /// In order.
    pub tokens: Vec<Token>,
    /// Lines that are not part of tests.
    pub lines: usize,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let (tokens, test_lines) = without_tests(tokens(text));
        Self {
            path: path.to_owned(),
            tokens,
            lines: text.lines().count().saturating_sub(test_lines),
        }
    }

    /// Modules from the crate's root to this file; `main` for the program's own root.
    pub fn module_path(&self) -> Vec<String> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').map(str::to_owned).collect()
    }

    /// Names in `mod name;`.
    pub fn declared_modules(&self) -> Vec<String> {
        let named = |three: &[Token]| match three {
            [Token::Word(word), Token::Word(name), Token::Sign(';')] if word == "mod" => {
                Some(name.clone())
            }
            _ => None,
        };
        self.tokens.windows(3).filter_map(named).collect()
    }

    /// All paths: those of `use`, with their trees taken apart, and those in code. An import's
    /// `*`, `self` and renaming are part of its path.
    pub fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            match &self.tokens[at] {
                Token::Word(word) if word == "use" => {
                    at += 1;
                    self.use_tree(&mut at, &[], &mut paths);
                }
                // A single word in code is a variable, a field or something imported.
                Token::Word(_) => paths.extend(Some(self.path_at(&mut at)).filter(|p| p.len() > 1)),
                _ => at += 1,
            }
        }
        paths.retain(|path| !path.is_empty());
        paths
    }

    fn is_separator(&self, at: usize) -> bool {
        self.tokens.get(at) == Some(&Token::PathSeparator)
    }

    /// `a::b::<C>::d` gives `a::b`; what stands between the brackets is a path of its own.
    fn path_at(&self, at: &mut usize) -> Vec<String> {
        let mut path = Vec::new();
        while let Some(Token::Word(word)) = self.tokens.get(*at) {
            path.push(word.clone());
            *at += 1;
            if !self.is_separator(*at) {
                break;
            }
            *at += 1;
        }
        path
    }

    fn use_tree(&self, at: &mut usize, prefix: &[String], paths: &mut Vec<Vec<String>>) {
        let mut path = prefix.to_vec();
        if self.is_separator(*at) {
            *at += 1;
        }
        path.extend(self.path_at(at));
        match self.tokens.get(*at) {
            Some(Token::Sign('{')) => {
                *at += 1;
                while !matches!(self.tokens.get(*at), Some(Token::Sign('}')) | None) {
                    self.use_tree(at, &path, paths);
                    if self.tokens.get(*at) == Some(&Token::Sign(',')) {
                        *at += 1;
                    }
                }
                *at += 1;
            }
            Some(Token::Sign('*')) => {
                *at += 1;
                path.push("*".to_owned());
                paths.push(path);
            }
            Some(Token::Word(word)) if word == "as" => {
                *at += 2;
                paths.push(path);
            }
            _ => {
                // Never stands still, whatever the text is.
                if path.len() == prefix.len() {
                    *at += 1;
                }
                paths.push(path);
            }
        }
    }
}

/// A token and the line it stands on.
type Placed = (Token, usize);

/// Takes out items under `#[cfg(test)]`; also says how many lines they had.
fn without_tests(tokens: Vec<Placed>) -> (Vec<Token>, usize) {
    let marker = [
        Token::Sign('#'),
        Token::Sign('['),
        Token::Word("cfg".to_owned()),
        Token::Sign('('),
        Token::Word("test".to_owned()),
        Token::Sign(')'),
        Token::Sign(']'),
    ];
    let mut kept = Vec::new();
    let (mut at, mut lines) = (0, 0);
    while at < tokens.len() {
        let here = tokens[at..].iter().map(|(token, _)| token);
        if !here.take(marker.len()).eq(marker.iter()) {
            kept.push(tokens[at].0.clone());
            at += 1;
            continue;
        }
        let first = tokens[at].1;
        at = end_of_item(&tokens, at + marker.len());
        lines += tokens[at - 1].1 - first + 1;
    }
    (kept, lines)
}

/// The index behind the item that begins at `at`: behind its `;`, `,` or outermost block.
fn end_of_item(tokens: &[Placed], mut at: usize) -> usize {
    let mut depth = 0;
    while let Some((token, _)) = tokens.get(at) {
        at += 1;
        match token {
            Token::Sign('{' | '(' | '[') => depth += 1,
            Token::Sign(')' | ']') => depth -= 1,
            Token::Sign('}') => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            Token::Sign(';' | ',') if depth == 0 => break,
            _ => {}
        }
    }
    at
}

fn tokens(text: &str) -> Vec<Placed> {
    let text: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let (mut at, mut line, mut counted) = (0, 1, 0);
    while at < text.len() {
        line += text[counted..at].iter().filter(|c| **c == '\n').count();
        counted = at;
        let next = text.get(at + 1);
        match text[at] {
            '/' if next == Some(&'/') => at = skip_until(&text, at, |rest| rest[0] == '\n'),
            '/' if next == Some(&'*') => at = end_of_block_comment(&text, at),
            '"' => at = end_of_string(&text, at),
            '\'' => at = end_of_quote(&text, at),
            ':' if next == Some(&':') => {
                found.push((Token::PathSeparator, line));
                at += 2;
            }
            c if c.is_alphanumeric() || c == '_' => {
                let end = skip_until(&text, at, |rest| {
                    !(rest[0].is_alphanumeric() || rest[0] == '_')
                });
                let word: String = text[at..end].iter().collect();
                at = match (word.as_str(), text.get(end)) {
                    ("r" | "br" | "cr", Some('"' | '#')) => end_of_raw(&text, end),
                    ("b" | "c", Some('"')) => end_of_string(&text, end),
                    ("b", Some('\'')) => end_of_quote(&text, end),
                    _ => {
                        found.push((Token::Word(word), line));
                        end
                    }
                };
            }
            c if c.is_whitespace() => at += 1,
            sign => {
                found.push((Token::Sign(sign), line));
                at += 1;
            }
        }
    }
    found
}

/// The first index from `at` at which `ends` holds, or the text's length.
fn skip_until(text: &[char], at: usize, ends: impl Fn(&[char]) -> bool) -> usize {
    (at..text.len())
        .find(|&at| ends(&text[at..]))
        .unwrap_or(text.len())
}

fn end_of_block_comment(text: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < text.len() {
        match text[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_string(text: &[char], at: usize) -> usize {
    let mut at = at + 1;
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// `at` is behind the `r`. A raw identifier ends at its word, which is read as any other.
fn end_of_raw(text: &[char], at: usize) -> usize {
    let quote = skip_until(text, at, |rest| rest[0] != '#');
    let hashes = quote - at;
    if text.get(quote) != Some(&'"') {
        return quote;
    }
    let end = skip_until(text, quote + 1, |rest| {
        rest[0] == '"' && rest[1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    });
    end + 1 + hashes
}

/// A character literal, or the sign before a lifetime.
fn end_of_quote(text: &[char], at: usize) -> usize {
    match text[at + 1..] {
        ['\\', ..] => skip_until(text, at + 3, |rest| rest[0] == '\'') + 1,
        [_, '\'', ..] => at + 3,
        _ => at + 1,
    }
}
