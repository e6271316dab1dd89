//! The inputs that the fuzzer begins with: `seeds` were written by hand, `corpus` is what it kept. One
//! a line, with everything but printable ASCII escaped.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file of a target in one of the two folders.
pub fn file(folder: &str, target: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = match here.ends_with("tests/fuzz") {
        true => here.to_owned(),
        false => here.join("tests/fuzz"),
    };
    here.join(format!("{folder}/{target}.txt"))
}

/// All inputs of a target.
pub fn read(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let mut inputs = Vec::new();
    for folder in ["seeds", "corpus"] {
        let text = fs::read_to_string(file(folder, target))?;
        let parsed = parse(&text);
        inputs.extend(parsed.map_err(|line| io::Error::other(format!("{target}: {line}")))?);
    }
    Ok(inputs)
}

/// The inputs in a text that [`text`] made, or the line that holds none.
pub fn parse(text: &str) -> Result<Vec<Vec<u8>>, &str> {
    let lines = text.lines();
    lines.map(|line| unescape(line).ok_or(line)).collect()
}

/// A text with these inputs, each once and in order, so that a change is small.
pub fn text(mut inputs: Vec<Vec<u8>>) -> String {
    inputs.sort_by_key(|input| (input.len(), input.clone()));
    inputs.dedup();
    let lines = inputs.iter();
    lines
        .map(|input| format!("{}\n", input.escape_ascii()))
        .collect()
}

/// What `escape_ascii` made a line of.
fn unescape(line: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            quoted @ (b'\\' | b'\'' | b'"') => quoted,
            _ => return None,
        });
    }
    Some(bytes)
}
