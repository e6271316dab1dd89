//! Profiles as TOML: the built-in file, the users' tables on top, and back to text.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::{Anchor, Charset, Class, DEFAULT, MismatchPolicy, Profile, rank};

const BUILTIN: &str = include_str!("../profiles.toml");

/// The built-in profiles with `overrides` (the table `profiles` of a configuration file) on top.
///
/// Built-in profiles come first, in the order of SPEC §5, then new ones by name. Every problem is
/// reported, each naming profile and field.
pub fn profiles(
    overrides: &toml::Table,
    capacity: Option<usize>,
) -> Result<Vec<Profile>, Vec<String>> {
    let builtin: toml::Table = BUILTIN
        .parse()
        .map_err(|e| vec![format!("built-in profiles: {e}")])?;
    let mut names = vec![
        "dynamodb.TransactWriteItems",
        "dynamodb.ExecuteTransaction",
        "stripe",
        "sqs.SendMessage",
        "http",
        DEFAULT,
    ];
    names.extend(
        overrides
            .keys()
            .map(String::as_str)
            .filter(|name| !builtin.contains_key(*name)),
    );
    let mut reader = Reader {
        builtin: &builtin,
        overrides,
        capacity,
        problems: Vec::new(),
    };
    let profiles: Vec<Profile> = names
        .into_iter()
        .map(|name| reader.profile(name, 0))
        .collect();
    reader.problems.sort();
    reader.problems.dedup();
    if reader.problems.is_empty() {
        Ok(profiles)
    } else {
        Err(reader.problems)
    }
}

struct Reader<'a> {
    builtin: &'a toml::Table,
    overrides: &'a toml::Table,
    capacity: Option<usize>,
    problems: Vec<String>,
}

impl Reader<'_> {
    /// Builds a profile: its base, then the built-in table, then the user's.
    fn profile(&mut self, name: &str, depth: usize) -> Profile {
        let sources = [self.builtin, self.overrides];
        let extends = sources
            .into_iter()
            .rev()
            .find_map(|source| source.get(name)?.get("extends"));
        let mut profile = match extends.and_then(toml::Value::as_str) {
            _ if name == DEFAULT => Profile::blank(),
            None => self.profile(DEFAULT, depth + 1),
            Some(base) if depth < 8 && sources.iter().any(|source| source.contains_key(base)) => {
                self.profile(base, depth + 1)
            }
            Some(base) => {
                self.problem(
                    name,
                    "extends",
                    &format!("{base:?} is not a profile, or extends itself"),
                );
                self.profile(DEFAULT, depth + 1)
            }
        };
        profile.name = name.into();
        for source in sources {
            match source.get(name) {
                None => {}
                Some(toml::Value::Table(table)) => {
                    for (key, value) in table {
                        if let Err(problem) = profile.set(key, value) {
                            self.problem(name, key, &problem);
                        }
                    }
                }
                Some(_) => self.problem(name, "", "must be a table"),
            }
            if std::ptr::eq(source, self.builtin) && source.contains_key(name) {
                profile.capacity = self.capacity.unwrap_or(profile.capacity);
            }
        }
        profile
    }

    fn problem(&mut self, profile: &str, field: &str, problem: &str) {
        let dot = if field.is_empty() { "" } else { "." };
        self.problems
            .push(format!("profiles.{profile:?}{dot}{field}: {problem}"));
    }
}

impl Profile {
    fn blank() -> Self {
        Self {
            name: DEFAULT.into(),
            token_max_len: 512,
            token_charset: Charset::Any,
            window: Duration::ZERO,
            window_anchor: Anchor::FirstStart,
            retention: Duration::ZERO,
            lease: Duration::ZERO,
            recovery_delay: None,
            capacity: 1,
            mismatch: MismatchPolicy::Error,
            failures_remembered: false,
            token_field: "".into(),
            ignored_fields: Vec::new(),
            codes: HashMap::new(),
        }
    }

    fn set(&mut self, key: &str, value: &toml::Value) -> Result<(), String> {
        match key {
            "extends" => value
                .as_str()
                .map(|_| ())
                .ok_or_else(|| "must be a profile's name".to_owned())?,
            "token_max_len" => self.token_max_len = count(value, 512)?,
            "token_charset" => self.token_charset = choice(value, CHARSETS)?,
            "window" => self.window = duration(value)?,
            "window_anchor" => self.window_anchor = choice(value, ANCHORS)?,
            "retention" => self.retention = duration(value)?,
            "lease" => self.lease = duration(value)?,
            "recovery_delay" => self.recovery_delay = Some(duration(value)?),
            "capacity" => self.capacity = count(value, CAPACITY_MAX)?,
            "mismatch" => self.mismatch = choice(value, MISMATCHES)?,
            "failures_remembered" => {
                self.failures_remembered = value.as_bool().ok_or("must be true or false")?;
            }
            "token_field" => self.token_field = value.as_str().ok_or("must be a text")?.into(),
            "ignored_fields" => self.ignored_fields = texts(value)?,
            "codes" => self.set_codes(value)?,
            _ => return Err("is not a field of a profile".to_owned()),
        }
        Ok(())
    }

    fn set_codes(&mut self, value: &toml::Value) -> Result<(), String> {
        let table = value
            .as_table()
            .ok_or("must be a table of lists, one a class")?;
        for (key, list) in table {
            let class = Class::LISTED
                .into_iter()
                .find(|class| class.as_str() == key);
            let class =
                class.ok_or_else(|| format!("{key:?} is not a class that a list can name"))?;
            let list = texts(list).map_err(|problem| format!("{key}: {problem}"))?;
            self.codes.retain(|_, of| *of != class);
            for code in list {
                let kept = self.codes.entry(code).or_insert(class);
                *kept = *[*kept, class]
                    .iter()
                    .min_by_key(|class| rank(class))
                    .unwrap_or(&class);
            }
        }
        Ok(())
    }
}

/// Largest table a profile may have, in tokens.
pub const CAPACITY_MAX: usize = 16_777_216;

fn count(value: &toml::Value, max: usize) -> Result<usize, String> {
    let n = value
        .as_integer()
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| (1..=max).contains(n));
    n.ok_or_else(|| format!("must be a whole number from 1 to {max}"))
}

fn duration(value: &toml::Value) -> Result<Duration, String> {
    let text = value
        .as_str()
        .ok_or("must be a duration with units, such as \"10m\"")?;
    let parsed = parse_duration(text)?;
    let year = Duration::from_secs(366 * 86_400);
    if parsed.is_zero() || parsed > year {
        return Err(format!(
            "{text:?} is not more than zero and at most 366 days"
        ));
    }
    Ok(parsed)
}

fn texts(value: &toml::Value) -> Result<Vec<Box<str>>, String> {
    let list = value.as_array().ok_or("must be a list of texts")?;
    list.iter()
        .map(|item| Ok(item.as_str().ok_or("must be a list of texts")?.into()))
        .collect()
}

fn choice<T: Copy>(value: &toml::Value, names: &[(&'static str, T)]) -> Result<T, String> {
    let found = names.iter().find(|(name, _)| value.as_str() == Some(name));
    found.map(|(_, member)| *member).ok_or_else(|| {
        let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        format!("must be one of {}", names.join(", "))
    })
}

impl Profile {
    /// The effective settings as a TOML table's body.
    pub fn to_toml(&self) -> String {
        let mut lists: Vec<_> = Class::LISTED
            .into_iter()
            .map(|class| (class, self.listed(class)))
            .collect();
        lists.retain(|(_, codes)| !codes.is_empty());
        let mut out = format!(
            "token_max_len = {}\ntoken_charset = {:?}\nwindow = \"{}\"\nwindow_anchor = {:?}\nretention = \"{}\"\nlease = \"{}\"\n",
            self.token_max_len,
            name_of(CHARSETS, self.token_charset),
            HumanDuration(self.window),
            name_of(ANCHORS, self.window_anchor),
            HumanDuration(self.retention),
            HumanDuration(self.lease),
        );
        if let Some(delay) = self.recovery_delay {
            out += &format!("recovery_delay = \"{}\"\n", HumanDuration(delay));
        }
        out += &format!(
            "capacity = {}\nmismatch = {:?}\nfailures_remembered = {}\ntoken_field = {:?}\nignored_fields = {:?}\n",
            self.capacity,
            name_of(MISMATCHES, self.mismatch),
            self.failures_remembered,
            self.token_field,
            self.ignored_fields,
        );
        for (class, codes) in lists {
            out += &format!("codes.{} = {codes:?}\n", class.as_str());
        }
        out
    }

    fn listed(&self, class: Class) -> Vec<&str> {
        let mut codes: Vec<_> = self
            .codes
            .iter()
            .filter(|(_, of)| **of == class)
            .map(|(code, _)| &**code)
            .collect();
        codes.sort_unstable();
        codes
    }
}

/// Writes a duration the way configuration files do: `10m`, `1h 30m`, `250ms`.
pub struct HumanDuration(pub Duration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let units = [(3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
        let Some((size, unit)) = units
            .into_iter()
            .find(|(size, _)| ms >= *size && ms.is_multiple_of(*size))
        else {
            return f.write_str("0s");
        };
        write!(f, "{}{unit}", ms / size)
    }
}

/// Reads a duration with units, such as `10m` or `1h 30m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{text:?} is not a duration with units, such as \"10m\""))?;
    Duration::try_from(parsed).map_err(|_| format!("{text:?} is negative"))
}

const CHARSETS: &[(&str, Charset)] = &[
    ("any", Charset::Any),
    ("ascii_printable", Charset::AsciiPrintable),
    ("uuid", Charset::Uuid),
];
const ANCHORS: &[(&str, Anchor)] = &[
    ("first_completed", Anchor::FirstCompleted),
    ("first_start", Anchor::FirstStart),
];
const MISMATCHES: &[(&str, MismatchPolicy)] = &[
    ("error", MismatchPolicy::Error),
    ("silent", MismatchPolicy::Silent),
];

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names
        .iter()
        .find(|(_, v)| *v == value)
        .map_or("", |(name, _)| name)
}
