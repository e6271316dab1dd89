//! API profiles (SPEC §5): the rules of one token-taking operation, from TOML.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::event::{Event, Outcome};
use super::time::Timestamp;

const BUILTIN: &str = include_str!("profiles.toml");

/// Name of the profile that judges APIs nobody described.
pub const DEFAULT: &str = "default";

/// What an attempt's end says about the request (SPEC §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Applied now or by an earlier attempt.
    Success,
    /// Ambiguous: nothing was heard.
    NoResponse,
    /// Ambiguous: an earlier request with this token is still running.
    InProgress,
    /// This payload was not applied: the token is bound to another one.
    Mismatch,
    /// Definite: evaluated and not applied.
    Cancelled,
    /// Definite: not applied for lack of capacity.
    Throttled,
    /// Definite: not applied.
    Rejected,
    /// Ambiguous: the server failed and may have applied it.
    ServerError,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 8] = [
        Self::Success,
        Self::NoResponse,
        Self::InProgress,
        Self::Mismatch,
        Self::Cancelled,
        Self::Throttled,
        Self::Rejected,
        Self::ServerError,
    ];

    /// The classes a code list can name, in the order in which the lists are searched.
    const LISTED: [Self; 7] = [
        Self::InProgress,
        Self::Mismatch,
        Self::Cancelled,
        Self::Throttled,
        Self::Rejected,
        Self::ServerError,
        Self::NoResponse,
    ];

    /// The label's value and the key in `codes`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::NoResponse => "no_response",
            Self::InProgress => "in_progress",
            Self::Mismatch => "mismatch",
            Self::Cancelled => "cancelled",
            Self::Throttled => "throttled",
            Self::Rejected => "rejected",
            Self::ServerError => "server_error",
        }
    }

    /// Whether an attempt that ends like this is the last one of its call.
    pub const fn ends_call(self) -> bool {
        matches!(
            self,
            Self::Success | Self::Cancelled | Self::Mismatch | Self::Rejected
        )
    }

    /// Whether the outcome stays unknown.
    pub const fn is_ambiguous(self) -> bool {
        matches!(
            self,
            Self::NoResponse | Self::InProgress | Self::ServerError
        )
    }
}

/// Which characters a token may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// All.
    Any,
    /// U+0020 to U+007E.
    AsciiPrintable,
    /// A UUID in the usual form, 8-4-4-4-12 hex digits.
    Uuid,
}

impl Charset {
    /// The rule in words, to follow the length.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::AsciiPrintable => " from U+0020 to U+007E",
            Self::Uuid => " that form a UUID",
        }
    }
}

/// From when the server counts its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Completion of the first request.
    FirstCompleted,
    /// Start of the first request.
    FirstStart,
}

/// What the server does with a known token and other parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MismatchPolicy {
    /// It answers with an error.
    Error,
    /// It answers as if all were well and drops the request.
    Silent,
}

/// Where a point in time lies for a token that has succeeded (SPEC §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// The server surely still knows the token.
    Inside,
    /// Whether it does depends on when its clock started.
    Edge,
    /// The server has surely forgotten the token.
    Past,
}

/// The rules of one token-taking operation.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Name, as in the field `api`.
    pub name: Box<str>,
    /// Longest token, in characters.
    pub token_max_len: usize,
    /// Characters a token may have.
    pub token_charset: Charset,
    /// How long the server remembers a token.
    pub window: Duration,
    /// From when.
    pub window_anchor: Anchor,
    /// How much longer than the window a token is kept here.
    pub retention: Duration,
    /// How long an open attempt is believed to be running.
    pub lease: Duration,
    /// Age of the first attempt at which the server completes a stuck request on a retry.
    pub recovery_delay: Option<Duration>,
    /// Tokens remembered.
    pub capacity: usize,
    /// What the server does with other parameters.
    pub mismatch: MismatchPolicy,
    /// Whether the server answers a retry of a failed request with the stored failure.
    pub failures_remembered: bool,
    /// Name of the token in the request body; empty if it is not in the body.
    pub token_field: Box<str>,
    /// Top-level body fields that only shape the response.
    pub ignored_fields: Vec<Box<str>>,
    codes: HashMap<Box<str>, Class>,
}

impl Profile {
    /// How long a token is kept after its last sighting.
    pub fn ttl(&self) -> Duration {
        self.window.saturating_add(self.retention)
    }

    /// Whether the server would take `token`.
    pub fn accepts(&self, token: &str) -> bool {
        let charset = match self.token_charset {
            Charset::Any => true,
            Charset::AsciiPrintable => token.bytes().all(|b| (0x20..=0x7e).contains(&b)),
            Charset::Uuid => is_uuid(token),
        };
        !token.is_empty() && charset && token.chars().count() <= self.token_max_len
    }

    /// Classifies an end by SPEC §3, from top to bottom; without an outcome it is `NoResponse`.
    pub fn classify(&self, event: &Event<'_>) -> Class {
        match event.outcome {
            Some(Outcome::Ok) => return Class::Success,
            Some(Outcome::NoResponse) | None => return Class::NoResponse,
            Some(Outcome::Error) => {}
        }
        let code = event.error.as_deref();
        let by_code = code.and_then(|code| self.codes.get(code));
        let by_status = event
            .http_status
            .and_then(|status| self.codes.get(status.to_string().as_str()));
        let listed = [by_code, by_status]
            .into_iter()
            .flatten()
            .copied()
            .min_by_key(rank);
        let server_failed = event
            .http_status
            .is_some_and(|status| (500..600).contains(&status));
        let unanswered = event.http_status.is_none_or(|status| status == 408)
            || code.is_some_and(|c| c.contains("Timeout"));
        match listed {
            Some(class) if rank(&class) < rank(&Class::ServerError) || !server_failed => class,
            _ if server_failed => Class::ServerError,
            _ if unanswered => Class::NoResponse,
            _ => Class::Rejected,
        }
    }

    /// The zone of `now` for a token that started at `first_start` and succeeded at `first_success`.
    pub fn zone(&self, first_start: Timestamp, first_success: Timestamp, now: Timestamp) -> Zone {
        let past = match self.window_anchor {
            Anchor::FirstCompleted => first_success + self.window,
            Anchor::FirstStart => first_start + self.window,
        };
        if now >= past {
            Zone::Past
        } else if now >= first_start + self.window {
            Zone::Edge
        } else {
            Zone::Inside
        }
    }

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

/// Position of a class in the search order.
fn rank(class: &Class) -> usize {
    Class::LISTED
        .iter()
        .position(|listed| listed == class)
        .unwrap_or(usize::MAX)
}

fn is_uuid(token: &str) -> bool {
    let dash = |i: usize| matches!(i, 8 | 13 | 18 | 23);
    token.len() == 36
        && token.bytes().enumerate().all(|(i, b)| {
            if dash(i) {
                b == b'-'
            } else {
                b.is_ascii_hexdigit()
            }
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn builtin() -> Vec<Profile> {
        profiles(&toml::Table::new(), None).unwrap()
    }

    fn named(name: &str) -> Profile {
        builtin()
            .into_iter()
            .find(|profile| &*profile.name == name)
            .unwrap()
    }

    fn class(profile: &Profile, end: &str) -> Class {
        let line = format!(r#"{{"type":"attempt_end","api":"a","token":"t",{end}}}"#);
        profile.classify(&Event::decode(line.as_bytes()).unwrap())
    }

    #[test]
    fn built_in_profiles_are_those_of_the_specification() {
        let all = builtin();
        let of = |p: &Profile| {
            (
                p.token_max_len,
                p.window.as_secs() / 60,
                p.retention.as_secs() / 3600,
            )
        };
        let rows: Vec<_> = all.iter().map(|p| (&*p.name, of(p))).collect();
        assert_eq!(
            rows,
            [
                ("dynamodb.TransactWriteItems", (36, 10, 24)),
                ("dynamodb.ExecuteTransaction", (36, 10, 24)),
                ("stripe", (255, 24 * 60, 24)),
                ("sqs.SendMessage", (128, 5, 1)),
                ("http", (255, 24 * 60, 24)),
                ("default", (512, 24 * 60, 24)),
            ]
        );
        assert!(
            all.iter()
                .all(|p| p.lease.as_secs() == 60 && p.capacity == 65536)
        );
        assert_eq!(
            named("dynamodb.ExecuteTransaction").recovery_delay,
            Some(Duration::from_secs(5))
        );
        assert_eq!(named("stripe").recovery_delay, None);
    }

    #[test]
    fn ends_are_classified_from_top_to_bottom() {
        let dynamodb = named("dynamodb.TransactWriteItems");
        for (end, expected) in [
            (
                r#""outcome":"ok","error":"InternalServerError""#,
                Class::Success,
            ),
            (
                r#""outcome":"no_response","error":"ValidationException""#,
                Class::NoResponse,
            ),
            (
                r#""outcome":"error","error":"x#TransactionInProgressException","http_status":500"#,
                Class::InProgress,
            ),
            (
                r#""outcome":"error","error":"IdempotentParameterMismatchException""#,
                Class::Mismatch,
            ),
            (
                r#""outcome":"error","error":"TransactionCanceledException","http_status":400"#,
                Class::Cancelled,
            ),
            (
                r#""outcome":"error","error":"Other","http_status":429"#,
                Class::Throttled,
            ),
            (
                r#""outcome":"error","error":"ValidationException""#,
                Class::Rejected,
            ),
            (
                r#""outcome":"error","error":"InternalFailure","http_status":400"#,
                Class::ServerError,
            ),
            (
                r#""outcome":"error","error":"RequestTimeout","http_status":503"#,
                Class::ServerError,
            ),
            (r#""outcome":"error","http_status":503"#, Class::ServerError),
            (r#""outcome":"error","http_status":408"#, Class::NoResponse),
            (
                r#""outcome":"error","error":"RequestTimeout","http_status":400"#,
                Class::NoResponse,
            ),
            (
                r#""outcome":"error","error":"ConnectionError""#,
                Class::NoResponse,
            ),
            (
                r#""outcome":"error","error":"SomethingElse","http_status":400"#,
                Class::Rejected,
            ),
        ] {
            assert_eq!(class(&dynamodb, end), expected, "{end}");
        }
        assert_eq!(
            class(&named("http"), r#""outcome":"error","http_status":409"#),
            Class::InProgress
        );
        assert_eq!(
            class(&named("default"), r#""outcome":"error","http_status":409"#),
            Class::Rejected
        );
        assert_eq!(
            class(&named("stripe"), r#""outcome":"error","http_status":429"#),
            Class::Throttled
        );
    }

    #[test]
    fn tokens_are_measured_in_characters() {
        let dynamodb = named("dynamodb.TransactWriteItems");
        assert!(
            dynamodb.accepts(&"é".repeat(36))
                && !dynamodb.accepts(&"x".repeat(37))
                && !dynamodb.accepts("")
        );
        assert!(
            named("http").accepts("a ~")
                && !named("http").accepts("é")
                && !named("http").accepts("\u{7f}")
        );
        let uuid = Profile {
            token_charset: Charset::Uuid,
            ..named("default")
        };
        assert!(uuid.accepts("6B8f0c4e-1d2a-4f3b-9c5d-7e8f90a1b2c3") && !uuid.accepts("6b8f0c4e"));
    }

    #[test]
    fn zones_have_an_edge_only_when_the_server_counts_from_completion() {
        let at = |s| Timestamp::from_seconds(s).unwrap();
        let dynamodb = named("dynamodb.TransactWriteItems");
        let sqs = named("sqs.SendMessage");
        for (profile, now, zone) in [
            (&dynamodb, 599.999, Zone::Inside),
            (&dynamodb, 600.0, Zone::Edge),
            (&dynamodb, 601.999, Zone::Edge),
            (&dynamodb, 602.0, Zone::Past),
            (&sqs, 299.999, Zone::Inside),
            (&sqs, 300.0, Zone::Past),
        ] {
            assert_eq!(profile.zone(at(0.0), at(2.0), at(now)), zone, "{now}");
        }
    }

    #[test]
    fn user_profiles_extend_and_override() {
        let toml = r#"
            [http]
            window = "1h 30m"
            [payments]
            extends = "http"
            codes.in_progress = ["LOCKED"]
            capacity = 10
            [plain]
        "#;
        let all = profiles(&toml.parse().unwrap(), Some(99)).unwrap();
        let of = |name: &str| all.iter().find(|p| &*p.name == name).unwrap();
        assert_eq!(
            (of("http").window.as_secs(), of("http").capacity),
            (5400, 99)
        );
        assert_eq!(
            (of("payments").window.as_secs(), of("payments").capacity),
            (5400, 10)
        );
        assert_eq!(
            class(of("payments"), r#""outcome":"error","http_status":409"#),
            Class::Rejected
        );
        assert_eq!(
            class(of("payments"), r#""outcome":"error","error":"LOCKED""#),
            Class::InProgress
        );
        assert_eq!(
            class(of("payments"), r#""outcome":"error","http_status":422"#),
            Class::Mismatch
        );
        assert_eq!((of("plain").token_max_len, of("plain").capacity), (512, 99));
    }

    #[test]
    fn effective_profiles_read_back() {
        for profile in builtin() {
            let text = format!("[x]\n{}", profile.to_toml());
            let all = profiles(&text.parse().unwrap(), None).unwrap();
            assert_eq!(all.last().unwrap().to_toml(), profile.to_toml());
        }
    }

    #[test]
    fn every_problem_is_named() {
        let toml = r#"
            http = 5
            [x]
            extends = "nobody"
            [y]
            extends = "y"
            window = 10
            lease = "-1s"
            retention = "10"
            capacity = 0
            token_charset = "latin"
            codes.success = ["200"]
            windows = "1m"
        "#;
        let problems = profiles(&toml.parse().unwrap(), None).unwrap_err();
        let fields = [
            "http\":",
            "x\".extends",
            "y\".extends",
            "y\".window:",
            "y\".lease",
            "y\".retention",
            "y\".capacity",
            "y\".token_charset",
            "y\".codes",
            "y\".windows",
        ];
        assert_eq!(problems.len(), fields.len(), "{problems:#?}");
        for field in fields {
            assert!(
                problems.iter().any(|problem| problem.contains(field)),
                "{field}: {problems:#?}"
            );
        }
    }
}
