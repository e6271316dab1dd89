//! What the unit tests share: a sidecar's socket, a scripted server, and a transport of their own.

#[path = "../tests/support/collector.rs"]
pub(crate) mod collector;
#[cfg(feature = "aws-sdk")]
#[path = "../tests/support/stub.rs"]
pub(crate) mod stub;

use std::path::{Path, PathBuf};
use std::time::Duration;

use collector::wait_until;
use tempfile::TempDir;

use crate::settings::{Settings, client_name};
use crate::transport::{Pace, Stats, Transport};

/// Short times, and no connection counts as lost at once.
pub(crate) const QUICK: Pace = Pace {
    off: Duration::from_millis(300),
    lived: Duration::ZERO,
    replaced: Duration::ZERO,
};

/// A transport to a socket in a directory of its own.
pub(crate) struct Bench {
    directory: TempDir,
    pub(crate) transport: &'static Transport,
}

impl Bench {
    pub(crate) fn new(pace: Pace) -> Self {
        let directory = TempDir::new().unwrap();
        let settings = settings(Some(directory.path().join("events.sock")), directory.path());
        Self {
            transport: Transport::leaked(settings, pace),
            directory,
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("events.sock")
    }

    pub(crate) fn wait_for(&self, what: &str, holds: impl Fn(&Stats) -> bool) -> Stats {
        wait_until(what, || {
            let stats = self.transport.stats();
            if holds(&stats) {
                Ok(stats)
            } else {
                Err(format!("{stats:?}"))
            }
        })
    }
}

pub(crate) fn settings(socket: Option<PathBuf>, directory: &Path) -> Settings {
    Settings {
        socket,
        runtime_directory: Some(directory.to_owned()),
        temporary_directory: directory.to_owned(),
        client: client_name("host"),
    }
}
