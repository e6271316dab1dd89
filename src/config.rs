//! Every setting (SPEC §6): flag, else environment, else file, else default; the only reader of the
//! environment, through a look-up function.

pub mod catalogue;
mod parse;
mod problem;
mod socket;
mod sources;

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tracing::level_filters::LevelFilter;

use crate::detect::Trace;
use crate::detect::profile::{self, CAPACITY_MAX, Profile};
pub use parse::HumanSize;
pub use problem::{Origin, Problem, Problems, Warning, suggestion};
pub use socket::{SOCKET_DIRECTORY, default_socket, found_socket, temporary_directory};
pub use sources::{Flags, read_bounded};
use sources::{Raw, Sources};

/// Longest event by default, in bytes without its newline (SPEC §2).
pub const LINE_BYTES_MAX: usize = 16 * 1024;
/// Stream connections by default: a pod has far fewer processes, the line buffers of all stay below
/// 10 MiB, and it fits below the usual soft limit of 1024 descriptors, so that the limit that is
/// hit is the one that is counted.
pub const CONNECTIONS_MAX: usize = 512;
/// APIs with a label value of their own; each has about 80 series.
const APIS_MAX: usize = 32;
/// Most that is written to the state directory by default: three times what 600 000 tokens take.
pub const STATE_BYTES_MAX: usize = 256 << 20;
/// Shortest hash key, in bytes: 128 bits cannot be guessed.
const HASH_KEY_BYTES_MIN: usize = 16;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// How tokens are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenDisplay {
    /// A keyed hash: tells tokens apart, gives nothing away.
    Hash,
    /// The first characters and the hash.
    Prefix,
    /// As sent.
    Full,
}

/// A secret text. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// The text's bytes, without white space around them.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The settings, understood and checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Stream socket.
    pub socket: PathBuf,
    /// Datagram socket, if there is to be one.
    pub datagram_socket: Option<PathBuf>,
    /// Permission bits of both.
    pub socket_mode: u32,
    /// Users who may send; empty: all.
    pub allow_uid: Vec<u32>,
    /// Stream connections served at a time.
    pub max_connections: usize,
    /// Longest event, in bytes without its newline.
    pub max_line_bytes: usize,
    /// Tokens remembered for each API; `None`: what its profile says (65536).
    pub capacity: Option<usize>,
    /// Directory in which what is known is kept over a restart, if it is to be.
    pub state_dir: Option<PathBuf>,
    /// Most bytes of the files in there.
    pub state_max_bytes: usize,
    /// APIs with a label value of their own.
    pub api: Vec<String>,
    /// Address of metrics and probes.
    pub metrics_addr: SocketAddr,
    /// Address of page and JSON API; loopback.
    pub admin_addr: SocketAddr,
    /// Lifecycles that become spans.
    pub spans: Trace,
    /// How tokens are shown.
    pub token_display: TokenDisplay,
    /// What the key of token hashes is made from; `None`: a key made up at start.
    pub token_hash_key: Option<Secret>,
    /// File the key was read from.
    pub token_hash_key_file: Option<PathBuf>,
    /// Address of a trace with `{trace_id}` in it, for the page's links.
    pub trace_url: Option<String>,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Least important log lines.
    pub log_level: LevelFilter,
    /// The rules, built-in and users', with `capacity` applied.
    pub profiles: Vec<Profile>,
    /// The users' part of the rules, for those who add to it.
    pub profile_overrides: toml::Table,
    origins: BTreeMap<&'static str, Origin>,
}

impl Settings {
    /// Reads all settings. `flags` holds what the command line gave, `lookup` reads one environment
    /// variable, `variables` names all of them, to find misspelt ones; an empty variable is unset.
    ///
    /// # Errors
    /// Everything that is wrong, at once; each problem is the user's to solve.
    pub fn load(
        flags: &Flags,
        lookup: &dyn Fn(&str) -> Option<String>,
        variables: &[String],
    ) -> Result<(Self, Vec<Warning>), Problems> {
        let mut problems = Problems::default();
        let sources = Sources::collect(flags, lookup, variables, &mut problems);
        let mut reader = Reader { sources, problems };
        let settings = reader.settings(lookup);
        reader.check_together(&settings);
        if reader.problems.0.is_empty() {
            Ok((settings, reader.sources.warnings))
        } else {
            Err(reader.problems)
        }
    }

    /// Who gave a setting.
    pub fn origin(&self, name: &str) -> Origin {
        self.origins.get(name).cloned().unwrap_or_default()
    }

    /// The value of a setting as the file writes it, so that it reads back; `None` if it has none,
    /// or must not be shown.
    pub fn toml_value(&self, name: &str) -> Option<String> {
        let text = |text: &str| Some(toml_text(text));
        let path = |path: &Path| text(&path.to_string_lossy());
        match name {
            "socket" => path(&self.socket),
            "datagram-socket" => path(self.datagram_socket.as_deref()?),
            "socket-mode" => text(&format!("{:04o}", self.socket_mode)),
            "allow-uid" if self.allow_uid.is_empty() => None,
            "allow-uid" => Some(format!("{:?}", self.allow_uid)),
            "max-connections" => Some(self.max_connections.to_string()),
            "max-line-bytes" => text(&HumanSize(self.max_line_bytes).to_string()),
            "capacity" => Some(self.capacity?.to_string()),
            "state-dir" => path(self.state_dir.as_deref()?),
            "state-max-bytes" => text(&HumanSize(self.state_max_bytes).to_string()),
            "api" => {
                let names: Vec<_> = self.api.iter().map(|name| toml_text(name)).collect();
                Some(format!("[{}]", names.join(", ")))
            }
            "metrics-addr" => text(&self.metrics_addr.to_string()),
            "admin-addr" => text(&self.admin_addr.to_string()),
            "spans" => text(parse::name_of(parse::SPANS, &self.spans)),
            "token-display" => text(parse::name_of(parse::TOKEN_DISPLAYS, &self.token_display)),
            "token-hash-key-file" => path(self.token_hash_key_file.as_deref()?),
            "trace-url" => text(self.trace_url.as_deref()?),
            "log-format" => text(parse::name_of(parse::LOG_FORMATS, &self.log_format)),
            "log-level" => text(parse::name_of(parse::LOG_LEVELS, &self.log_level)),
            _ => None,
        }
    }
}

/// Takes the texts of the sources apart and notes what is wrong.
struct Reader {
    sources: Sources,
    problems: Problems,
}

impl Reader {
    fn settings(&mut self, lookup: &dyn Fn(&str) -> Option<String>) -> Settings {
        let origins = self
            .sources
            .values
            .iter()
            .map(|(name, raw)| (*name, raw.origin.clone()))
            .collect();
        let capacity = self.one("capacity", |text| parse::count(text, 1..=CAPACITY_MAX));
        let profiles = self.profiles(capacity);
        let socket = self.one("socket", parse::socket_path);
        Settings {
            socket: socket.unwrap_or_else(|| default_socket(lookup)),
            datagram_socket: self.one("datagram-socket", parse::socket_path),
            socket_mode: self.one("socket-mode", parse::mode).unwrap_or(0o666),
            allow_uid: self.many("allow-uid", parse::uid).unwrap_or_default(),
            max_connections: self
                .one("max-connections", |text| parse::count(text, 1..=65_536))
                .unwrap_or(CONNECTIONS_MAX),
            max_line_bytes: self
                .one("max-line-bytes", |text| parse::size(text, 1024..=1 << 20))
                .unwrap_or(LINE_BYTES_MAX),
            capacity,
            state_dir: self.one("state-dir", parse::directory),
            state_max_bytes: self
                .one("state-max-bytes", |text| {
                    parse::size(text, 4 << 20..=65_536 << 20)
                })
                .unwrap_or(STATE_BYTES_MAX),
            api: self.active(&profiles),
            metrics_addr: self
                .one("metrics-addr", parse::address)
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9464))),
            admin_addr: self
                .one("admin-addr", parse::loopback)
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9465))),
            spans: self.choice("spans", parse::SPANS).unwrap_or(Trace::Misuse),
            token_display: self
                .choice("token-display", parse::TOKEN_DISPLAYS)
                .unwrap_or(TokenDisplay::Hash),
            token_hash_key: self.hash_key(),
            token_hash_key_file: self.one("token-hash-key-file", parse::path),
            trace_url: self.one("trace-url", parse::trace_url),
            log_format: self
                .choice("log-format", parse::LOG_FORMATS)
                .unwrap_or_else(|| {
                    if std::io::stderr().is_terminal() {
                        LogFormat::Text
                    } else {
                        LogFormat::Json
                    }
                }),
            log_level: self
                .choice("log-level", parse::LOG_LEVELS)
                .unwrap_or(LevelFilter::INFO),
            profiles,
            profile_overrides: self.sources.profiles.clone(),
            origins,
        }
    }

    fn many<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let Raw { values, origin } = self.sources.values.get(name)?.clone();
        let mut parsed = Vec::new();
        for value in &values {
            match parse(value) {
                Ok(value) => parsed.push(value),
                Err(problem) => self.problems.add(name, origin.clone(), problem),
            }
        }
        Some(parsed)
    }

    /// The value of a setting; of a flag given twice the last one counts.
    fn one<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.many(name, parse)?.pop()
    }

    fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        names: &'static [(&'static str, T)],
    ) -> Option<T> {
        self.one(name, |text| parse::choice(text, names))
    }

    fn profiles(&mut self, capacity: Option<usize>) -> Vec<Profile> {
        profile::profiles(&self.sources.profiles, capacity).unwrap_or_else(|problems| {
            for problem in problems {
                let lines = &self.sources.profile_lines;
                let line = lines.iter().find(|(start, _)| problem.starts_with(start));
                let origin = line.map(|(_, origin)| origin.clone()).unwrap_or_default();
                let (field, text) = problem.split_once(": ").unwrap_or(("profiles", &problem));
                self.problems.add(field, origin, text.to_owned());
            }
            // Only their names are still looked at.
            profile::profiles(&toml::Table::new(), None).unwrap_or_default()
        })
    }

    /// APIs with a label value of their own: those asked for, else DynamoDB's and the users'.
    fn active(&mut self, profiles: &[Profile]) -> Vec<String> {
        let mut names: Vec<String> = profiles.iter().map(|p| (*p.name).to_owned()).collect();
        names.extend(self.sources.profiles.keys().cloned());
        let asked = self.many("api", |text| {
            if names.iter().any(|name| name == text) {
                return Ok(text.to_owned());
            }
            let hint = suggestion(text, names.iter().map(String::as_str));
            Err(format!("{text:?} is not a profile{hint}"))
        });
        let mut active = asked.unwrap_or_else(|| {
            let dynamodb = ["dynamodb.TransactWriteItems", "dynamodb.ExecuteTransaction"];
            let users = self.sources.profiles.keys().map(String::as_str);
            let users = users.filter(|name| *name != profile::DEFAULT && !dynamodb.contains(name));
            dynamodb
                .into_iter()
                .chain(users)
                .map(str::to_owned)
                .collect()
        });
        let mut seen = std::collections::HashSet::new();
        active.retain(|name| seen.insert(name.clone()));
        if active.len() > APIS_MAX {
            let origin = self.sources.values.get("api").map(|raw| raw.origin.clone());
            let text = format!(
                "{} APIs are too many metric series; name at most {APIS_MAX}",
                active.len()
            );
            self.problems.add("api", origin.unwrap_or_default(), text);
        }
        active
    }

    /// The key, from the setting itself or the file; its text never gets into a problem.
    fn hash_key(&mut self) -> Option<Secret> {
        let given = |name| self.sources.values.get(name).cloned();
        let (secret, name, origin) = match (given("token-hash-key"), given("token-hash-key-file")) {
            (None, None) => return None,
            (Some(_), Some(file)) => {
                let text = "is given together with token-hash-key; choose one".to_owned();
                self.problems.add("token-hash-key-file", file.origin, text);
                return None;
            }
            (Some(mut raw), None) => {
                if raw.origin == Origin::Flag("token-hash-key") {
                    let text = "--token-hash-key can be read in the process list; use --token-hash-key-file";
                    self.sources.warnings.push(Warning(text.to_owned()));
                }
                (raw.values.pop()?, "token-hash-key", raw.origin)
            }
            (None, Some(mut raw)) => {
                let path = raw.values.pop()?;
                match read_bounded(Path::new(&path), 4096) {
                    Ok(text) => (text, "token-hash-key-file", raw.origin),
                    Err(error) => {
                        let text = format!("{path}: {error}");
                        self.problems.add("token-hash-key-file", raw.origin, text);
                        return None;
                    }
                }
            }
        };
        let secret = secret.trim_ascii();
        if secret.len() < HASH_KEY_BYTES_MIN {
            let text = format!("the secret is shorter than {HASH_KEY_BYTES_MIN} bytes");
            self.problems.add(name, origin, text);
            return None;
        }
        Some(Secret(secret.as_bytes().into()))
    }

    /// What is wrong only in combination.
    fn check_together(&mut self, settings: &Settings) {
        if settings.datagram_socket.as_ref() == Some(&settings.socket) {
            let origin = settings.origin("datagram-socket");
            let text = "is the same path as socket".to_owned();
            self.problems.add("datagram-socket", origin, text);
        }
        let (metrics, admin) = (settings.metrics_addr, settings.admin_addr);
        let same_ip = metrics.ip() == admin.ip() || metrics.ip().is_unspecified();
        if metrics.port() == admin.port() && metrics.port() != 0 && same_ip {
            let origin = [
                settings.origin("admin-addr"),
                settings.origin("metrics-addr"),
            ]
            .into_iter()
            .find(|origin| *origin != Origin::Default);
            let text = format!("{admin} is taken by metrics-addr {metrics}");
            self.problems
                .add("admin-addr", origin.unwrap_or_default(), text);
        }
    }
}

/// A text as a TOML basic string.
pub fn toml_text(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out += &format!("\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests;
