//! Where values come from: flags, the environment and the file, each with its origin.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::catalogue::{self, SETTINGS};
use super::problem::{Origin, Problems, Warning, suggestion};

/// Values given as flags, by name; `config` is among them.
pub type Flags = BTreeMap<&'static str, Vec<String>>;

/// Longest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Names that begin like ours and are not settings of the sidecar: the first belongs to the build.
const NOT_SETTINGS: [&str; 1] = ["ONCEWATCH_REVISION"];

/// A value as text, before it is understood.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    pub values: Vec<String>,
    pub origin: Origin,
}

/// Everything that was given, by setting.
#[derive(Debug, Default)]
pub struct Sources {
    pub values: BTreeMap<&'static str, Raw>,
    /// The table `profiles` of the file.
    pub profiles: toml::Table,
    /// Lines of `profiles`: by the start of a problem's text.
    pub profile_lines: Vec<(String, Origin)>,
    pub warnings: Vec<Warning>,
}

impl Sources {
    /// Collects what flags, environment and file give; of two, the stronger one is kept.
    pub fn collect(
        flags: &Flags,
        lookup: &dyn Fn(&str) -> Option<String>,
        variables: &[String],
        problems: &mut Problems,
    ) -> Self {
        let mut sources = Self::default();
        let variable = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let flag = flags.get("config").and_then(|values| values.last());
        let config = match (flag, variable("ONCEWATCH_CONFIG")) {
            (Some(path), _) => Some((path.clone(), Origin::Flag("config"))),
            (None, Some(path)) => Some((path, Origin::Variable("ONCEWATCH_CONFIG".into()))),
            (None, None) => None,
        };
        if let Some((path, origin)) = config {
            match read_bounded(Path::new(&path), FILE_BYTES_MAX) {
                Ok(text) => sources.read_file(Path::new(&path), &text, problems),
                Err(error) => problems.add("config", origin, format!("{path}: {error}")),
            }
        }
        for setting in SETTINGS {
            let name = setting.variable();
            if let Some(value) = variable(&name) {
                let values = if setting.repeatable {
                    value
                        .split(',')
                        .map(|item| item.trim().to_owned())
                        .collect()
                } else {
                    vec![value]
                };
                let origin = Origin::Variable(name);
                sources.values.insert(setting.name, Raw { values, origin });
            }
            if let Some(values) = flags.get(setting.name) {
                let origin = Origin::Flag(setting.name);
                let values = values.clone();
                sources.values.insert(setting.name, Raw { values, origin });
            }
        }
        sources.warn_of_unknown_variables(variables);
        sources
    }

    /// Warns of variables that look like ours and are not: a misspelt setting would be silent.
    fn warn_of_unknown_variables(&mut self, variables: &[String]) {
        let known: Vec<String> = SETTINGS
            .iter()
            .map(catalogue::Setting::variable)
            .chain(["ONCEWATCH_CONFIG".to_owned()])
            .collect();
        for name in variables {
            let ours = name.starts_with("ONCEWATCH_")
                && !known.contains(name)
                && !NOT_SETTINGS.contains(&name.as_str())
                && !is_service_link(name);
            if ours {
                let known = known.iter().map(String::as_str);
                let hint = suggestion(name, known);
                self.warnings
                    .push(Warning(format!("{name} is not a setting{hint}")));
            }
        }
    }

    fn read_file(&mut self, path: &Path, text: &str, problems: &mut Problems) {
        let at =
            |span: std::ops::Range<usize>| Origin::File(path.to_owned(), line_of(text, span.start));
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                let origin = at(error.span().unwrap_or_default());
                problems.add("config", origin, one_line(error.message()));
                return;
            }
        };
        for (key, value) in table.get_ref() {
            let (name, origin) = (key.get_ref().as_ref(), at(key.span()));
            match (name, catalogue::find(name)) {
                ("profiles", _) => {
                    self.read_profiles(text, value.get_ref(), origin, &at, problems);
                }
                (_, Some(setting)) => match texts(value.get_ref(), setting.repeatable) {
                    Ok(values) => {
                        let raw = Raw { values, origin };
                        self.values.insert(setting.name, raw);
                    }
                    Err(problem) => problems.add(setting.name, origin, problem),
                },
                (_, None) => {
                    let names = SETTINGS.iter().map(|setting| setting.name);
                    let hint = suggestion(name, names.chain(["profiles"]));
                    problems.add(name, origin, format!("is not a setting{hint}"));
                }
            }
        }
    }

    fn read_profiles(
        &mut self,
        text: &str,
        value: &DeValue<'_>,
        origin: Origin,
        at: &dyn Fn(std::ops::Range<usize>) -> Origin,
        problems: &mut Problems,
    ) {
        let Some(table) = value.as_table() else {
            problems.add("profiles", origin, "must be a table of profiles".into());
            return;
        };
        for (name, profile) in table {
            let prefix = format!("profiles.{:?}", name.get_ref());
            for (field, _) in profile.get_ref().as_table().into_iter().flatten() {
                let start = format!("{prefix}.{}:", field.get_ref());
                self.profile_lines.push((start, at(field.span())));
            }
            self.profile_lines.push((prefix, at(name.span())));
        }
        let whole: Option<toml::Table> = text.parse().ok();
        let profiles = whole.and_then(|mut whole| whole.remove("profiles"));
        if let Some(toml::Value::Table(profiles)) = profiles {
            self.profiles = profiles;
        }
    }
}

/// Reads a text file of at most `bytes_max`; a device that never ends must not hang the start.
pub fn read_bounded(path: &Path, bytes_max: u64) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        let message = format!("longer than {bytes_max} bytes");
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            message,
        ));
    }
    Ok(text)
}

/// Kubernetes gives every pod such variables for a Service that is called `oncewatch`.
fn is_service_link(name: &str) -> bool {
    name.starts_with("ONCEWATCH_SERVICE_") || name == "ONCEWATCH_PORT" || {
        let rest = name.strip_prefix("ONCEWATCH_PORT_").unwrap_or_default();
        rest.starts_with(|c: char| c.is_ascii_digit())
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    1 + memchr::memchr_iter(b'\n', before).count()
}

fn one_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join("; ")
}

/// A value of the file as flags would give it.
fn texts(value: &DeValue<'_>, repeatable: bool) -> Result<Vec<String>, String> {
    match value {
        DeValue::Array(items) if repeatable => {
            items.iter().map(|item| text(item.get_ref())).collect()
        }
        _ => Ok(vec![text(value)?]),
    }
}

fn text(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) => Ok(match number.radix() {
            8 => format!("0o{}", number.as_str()),
            16 => format!("0x{}", number.as_str()),
            2 => format!("0b{}", number.as_str()),
            _ => number.as_str().to_owned(),
        }),
        _ => Err(format!("a {} is not a value for it", value.type_str())),
    }
}
