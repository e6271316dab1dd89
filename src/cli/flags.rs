//! The flags of the settings, made from their table so that help and configuration cannot drift.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::config::catalogue::{SETTINGS, Setting};
use crate::config::{self, Flags, Settings};

use super::Failure;

/// Settings that matter to a command that serves nothing.
const OFFLINE: [&str; 4] = [
    "capacity",
    "max-line-bytes",
    "token-display",
    "token-hash-key-file",
];

/// What the command line says about settings; all of them, or those of [`OFFLINE`].
#[derive(Clone, Debug, Default)]
pub struct SettingFlags<const ALL: bool>(pub Flags);

impl<const ALL: bool> SettingFlags<ALL> {
    fn settings() -> impl Iterator<Item = &'static Setting> {
        SETTINGS
            .iter()
            .filter(|setting| ALL || OFFLINE.contains(&setting.name))
    }

    /// Joins these flags with the environment and the file; prints warnings.
    pub fn load(&self, environment: &Environment<'_>) -> Result<Settings, Failure> {
        let loaded = Settings::load(&self.0, environment.lookup, &environment.variables);
        let (settings, warnings) = loaded.map_err(Failure::config)?;
        for warning in warnings {
            anstream::eprintln!("oncewatch: warning: {warning}");
        }
        Ok(settings)
    }
}

/// The process environment, handed in so that tests need not change it.
pub struct Environment<'a> {
    /// Reads one variable.
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Names of all variables.
    pub variables: Vec<String>,
}

impl Environment<'_> {
    /// The stream socket that a sender finds: what `ONCEWATCH_SOCKET` says, else the first default
    /// that is there.
    pub fn socket(&self) -> PathBuf {
        let given = (self.lookup)("ONCEWATCH_SOCKET").filter(|path| !path.is_empty());
        given.map_or_else(|| config::found_socket(self.lookup), PathBuf::from)
    }
}

impl<const ALL: bool> Args for SettingFlags<ALL> {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .action(ArgAction::Append)
            .help_heading("Configuration")
            .help("TOML file with any of these settings and with [profiles] of further APIs")
            .long_help(
                "TOML file with any of these settings and with [profiles] of further APIs.\n\
                 A flag beats the environment, which beats the file. [env: ONCEWATCH_CONFIG]",
            );
        Self::settings().fold(command.arg(config), |command, setting| {
            let help = setting.help;
            let (default, variable) = match setting.default {
                // The offline command shows what its own input holds.
                _ if !ALL && setting.name == "token-display" => {
                    (" [default: full]".to_owned(), String::new())
                }
                "" => (String::new(), env_note(setting)),
                default => (format!(" [default: {default}]"), env_note(setting)),
            };
            let arg = Arg::new(setting.name)
                .long(setting.name)
                .value_name(setting.value)
                .action(ArgAction::Append)
                .allow_hyphen_values(true)
                .help_heading(setting.heading)
                .help(format!("{help}{default}"))
                .long_help(format!("{help}{default}{variable}"));
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const ALL: bool> FromArgMatches for SettingFlags<ALL> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let names = Self::settings().map(|setting| setting.name);
        for name in names.chain(["config"]) {
            if let Some(values) = matches.get_many::<String>(name) {
                self.0.insert(name, values.cloned().collect());
            }
        }
        Ok(())
    }
}

fn env_note(setting: &Setting) -> String {
    format!(" [env: {}]", setting.variable())
}
