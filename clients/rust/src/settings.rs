//! Where the sidecar's socket is, and this process' name. Read once, when the sender starts.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::event::{CLIENT_BYTES_MAX, clipped};

#[derive(Debug)]
pub(crate) struct Settings {
    /// `ONCEWATCH_SOCKET`.
    pub(crate) socket: Option<PathBuf>,
    pub(crate) runtime_directory: Option<PathBuf>,
    pub(crate) temporary_directory: PathBuf,
    /// `<HOSTNAME>/<pid>`.
    pub(crate) client: String,
}

impl Settings {
    pub(crate) fn from_environment() -> Self {
        let path = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Self {
            socket: path("ONCEWATCH_SOCKET"),
            runtime_directory: path("XDG_RUNTIME_DIR"),
            temporary_directory: env::temp_dir(),
            client: client_name(&host_name()),
        }
    }

    /// The configured path, else the first default of the sidecar that exists; `None` if none does.
    pub(crate) fn socket_path(&self) -> Option<PathBuf> {
        if let Some(configured) = &self.socket {
            return Some(configured.clone());
        }
        let runtime = self
            .runtime_directory
            .as_ref()
            .map(|directory| directory.join("oncewatch/events.sock"));
        [
            Some(PathBuf::from("/run/oncewatch/events.sock")),
            runtime,
            self.private_temporary_path(),
        ]
        .into_iter()
        .flatten()
        .find(|path| path.exists())
    }

    /// Anybody can create a directory in the temporary one: only this user's own may receive tokens.
    fn private_temporary_path(&self) -> Option<PathBuf> {
        // The standard library knows no user id; the process' own directory belongs to its user.
        let own = fs::metadata("/proc/self").ok()?.uid();
        let directory = self.temporary_directory.join(format!("oncewatch-{own}"));
        let found = fs::symlink_metadata(&directory).ok()?;
        let private = found.is_dir() && found.uid() == own && found.mode() & 0o022 == 0;
        private.then(|| directory.join("events.sock"))
    }
}

fn host_name() -> String {
    let named = env::var_os("HOSTNAME").map(|name| name.to_string_lossy().into_owned());
    named
        .filter(|name| !name.is_empty())
        .or_else(|| fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map_or_else(|| "localhost".to_owned(), |name| name.trim().to_owned())
}

pub(crate) fn client_name(host: &str) -> String {
    let suffix = format!("/{}", std::process::id());
    format!("{}{suffix}", clipped(host, CLIENT_BYTES_MAX - suffix.len()))
}
