//! What is wrong with a configuration, in words, and who gave it.

use std::fmt;
use std::path::PathBuf;

/// Who gave a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: the built-in default holds.
    #[default]
    Default,
    /// A flag of this name.
    Flag(&'static str),
    /// This environment variable.
    Variable(String),
    /// This line of the configuration file.
    File(PathBuf, usize),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
        }
    }
}

/// One thing that is wrong: the user's fault, always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting, or the key of the file that is none.
    pub setting: String,
    /// Who gave the value.
    pub origin: Origin,
    /// What is wrong with it. Never quotes a secret.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => write!(f, "{}: {}", self.setting, self.text),
            origin => write!(f, "{} (from {origin}): {}", self.setting, self.text),
        }
    }
}

/// Everything that is wrong with a configuration; displayed with one sentence a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, setting: &str, origin: Origin, text: String) {
        let setting = setting.to_owned();
        self.0.push(Problem {
            setting,
            origin,
            text,
        });
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// Something worth saying that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `; did you mean "…"?` with the most similar of `names`, or nothing if none is similar.
pub fn suggestion<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let plain = |name: &str| name.to_lowercase().replace('_', "-");
    let wanted = plain(name);
    // A long common beginning is as good as few mistakes: `fresh_token` for a longer name.
    let distance = |other: &str| match common_prefix(&wanted, &plain(other)) {
        shared if shared >= 5 && 2 * shared > wanted.len() => 1,
        _ => edits(&wanted, &plain(other)),
    };
    match names.min_by_key(|other| (distance(other), edits(&wanted, &plain(other)))) {
        Some(best) if distance(best) <= 1 + wanted.chars().count() / 4 => {
            format!("; did you mean {best:?}?")
        }
        _ => String::new(),
    }
}

/// Bytes with which both texts begin.
fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// Insertions, deletions and replacements of characters that make one text the other. Texts over
/// 256 characters count as unrelated, so that a hostile name costs nothing.
fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    if from.len().max(to.len()) > 256 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_similar() {
        let names = ["socket", "socket-mode", "spans"];
        let hint = |name| suggestion(name, names.into_iter());
        assert_eq!(hint("socket_mode"), "; did you mean \"socket-mode\"?");
        assert_eq!(hint("sokcet"), "; did you mean \"socket\"?");
        assert_eq!(hint("ingredients"), "");
        let verdicts = ["first_use", "fresh_token_after_unknown"];
        let hint_of = |name| suggestion(name, verdicts.into_iter());
        assert_eq!(
            hint_of("fresh_tokens"),
            "; did you mean \"fresh_token_after_unknown\"?"
        );
        assert_eq!(
            hint_of("fresh"),
            "; did you mean \"fresh_token_after_unknown\"?"
        );
        assert_eq!(hint(&"s".repeat(10_000)), "");
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
