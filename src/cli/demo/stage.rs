//! What the demo needs before it begins: its profile, a private directory, free addresses.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use super::script::CHECKOUT;
use super::story;
use crate::cli::{Environment, Failure};
use crate::config::{Origin, Settings, temporary_directory};
use crate::detect::profile;

/// Settings to start the sidecar with, and what must go when it has ended.
#[derive(Debug)]
pub struct Stage {
    /// What the user set, and the demo's own choices where nothing was set.
    pub settings: Settings,
    /// Whether the sidecar's log lines are wanted: they are if the user set anything about them.
    pub logs: bool,
    _directory: Option<Directory>,
}

impl Stage {
    /// Prepares the settings. `name` tells the private directories of several demos apart.
    ///
    /// The socket is a private one, not the sidecar's default: the applications of this machine
    /// are not part of the story, and a sidecar that is running keeps its place.
    ///
    /// # Errors
    /// When the user's own profile has the name of the demo's, or there is no place for a socket.
    pub fn prepare(
        mut settings: Settings,
        environment: &Environment<'_>,
        name: &str,
    ) -> Result<Self, Failure> {
        add_profile(&mut settings)?;
        let default = |name| settings.origin(name) == Origin::Default;
        let logs = !(default("log-level") && default("log-format"));
        let (metrics, admin) = (default("metrics-addr"), default("admin-addr"));
        let mut directory = None;
        if default("socket") {
            let path =
                temporary_directory(environment.lookup).join(format!("oncewatch-demo-{name}"));
            let made = Directory::make(path.clone()).map_err(|error| {
                Failure::Failed(format!(
                    "cannot make the directory {}: {error}",
                    path.display()
                ))
            })?;
            settings.socket = path.join("events.sock");
            directory = Some(made);
        }
        if metrics {
            settings.metrics_addr = free_or_any_port(settings.metrics_addr);
        }
        if admin {
            settings.admin_addr = free_or_any_port(settings.admin_addr);
        }
        Ok(Self {
            settings,
            logs,
            _directory: directory,
        })
    }
}

/// Adds the demo's profile, with a label value of its own.
pub fn add_profile(settings: &mut Settings) -> Result<(), Failure> {
    let field = format!("profiles.{CHECKOUT:?}");
    if settings.profile_overrides.contains_key(CHECKOUT) {
        let text = format!("{field}: the demo brings this profile; give yours another name");
        return Err(Failure::Usage(text));
    }
    let table: toml::Table = story::PROFILE
        .parse()
        .map_err(|error| Failure::Failed(format!("{field}: {error}")))?;
    settings
        .profile_overrides
        .insert(CHECKOUT.to_owned(), toml::Value::Table(table));
    settings.profiles = profile::profiles(&settings.profile_overrides, settings.capacity)
        .map_err(|problems| Failure::Usage(problems.join("\n")))?;
    if !settings.api.iter().any(|name| name == CHECKOUT) {
        settings.api.push(CHECKOUT.to_owned());
    }
    Ok(())
}

/// The address, with a port of the system's choice if its own is taken. Other errors are left to
/// whoever binds it.
fn free_or_any_port(mut address: SocketAddr) -> SocketAddr {
    let tried = TcpListener::bind(address);
    if tried.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse) {
        address.set_port(0);
    }
    address
}

/// A directory of this user alone, gone with all that is in it when it is dropped.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    /// Makes it; one that exists is somebody else's and an error.
    fn make(path: PathBuf) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Nothing can be done about what cannot be removed.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    fn settings(flags: &[(&'static str, &str)]) -> Settings {
        let flags = flags
            .iter()
            .map(|(name, value)| (*name, vec![(*value).to_owned()]));
        let flags: Flags = flags.collect();
        Settings::load(&flags, &|_| None, &[]).unwrap().0
    }

    #[test]
    fn what_is_not_set_is_free_and_private_and_goes_away() {
        let temporary = tempfile::tempdir().unwrap();
        let below = temporary.path().to_string_lossy().into_owned();
        let lookup = |name: &str| (name == "TMPDIR").then(|| below.clone());
        let environment = Environment {
            lookup: &lookup,
            variables: Vec::new(),
        };
        let mut taken = settings(&[]);
        let neighbour = TcpListener::bind("127.0.0.1:0").unwrap();
        taken.metrics_addr = neighbour.local_addr().unwrap();
        let stage = Stage::prepare(taken, &environment, "1").unwrap();
        assert_eq!(stage.settings.metrics_addr.port(), 0);
        assert!(!stage.logs);
        let directory = stage.settings.socket.parent().unwrap().to_owned();
        assert_eq!(directory, temporary.path().join("oncewatch-demo-1"));
        let again = Stage::prepare(settings(&[]), &environment, "1").unwrap_err();
        assert!(again.text().unwrap().contains("oncewatch-demo-1"));
        drop(stage);
        assert!(!directory.exists());
    }

    #[test]
    fn what_is_set_is_kept() {
        let neighbour = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = neighbour.local_addr().unwrap().to_string();
        let set = settings(&[
            ("metrics-addr", &address),
            ("socket", "/nowhere/events.sock"),
            ("log-level", "warn"),
            ("api", "stripe"),
        ]);
        let environment = Environment {
            lookup: &|_| None,
            variables: Vec::new(),
        };
        let stage = Stage::prepare(set, &environment, "2").unwrap();
        assert_eq!(stage.settings.metrics_addr.to_string(), address);
        assert_eq!(stage.settings.socket.to_str(), Some("/nowhere/events.sock"));
        assert_eq!(stage.settings.api, ["stripe", CHECKOUT]);
        assert!(stage.logs);
    }

    #[test]
    fn a_profile_of_the_users_is_not_replaced() {
        let mut taken = settings(&[]);
        let own = toml::Value::Table(toml::Table::new());
        taken.profile_overrides.insert(CHECKOUT.to_owned(), own);
        let failure = add_profile(&mut taken).unwrap_err();
        assert!(matches!(failure, Failure::Usage(_)));
    }
}
