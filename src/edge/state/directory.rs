//! The state directory: who owns it, and which files are in it.
//!
//! `state-N.log` holds everything, each `state-N.part` with a higher number what changed after it;
//! when a part holds everything itself it becomes a log, and the older files go.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// Held by the process that writes; it stays when that ends, and the lock does not.
const LOCK_FILE: &str = "state.lock";
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// Files kept that were set aside, for whoever wants to know what was in them.
const ASIDE_MAX: usize = 2;

/// A directory that nobody else writes.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another sidecar uses it.
    #[error("state-dir: another process keeps its state in {}", .0.display())]
    Locked(PathBuf),
    /// The system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// What it refuses.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A file of the state.
#[derive(Clone, Debug)]
pub struct Found {
    pub path: PathBuf,
    pub number: u64,
    pub bytes: u64,
    /// Whether it holds everything by itself.
    pub is_log: bool,
}

impl Directory {
    /// Makes the directory if need be, and locks it; waits that long for a process that ends.
    pub fn open(path: &Path, patience: Duration) -> Result<Self, DirectoryError> {
        let failed = |path: &Path, source| DirectoryError::Io {
            path: path.to_owned(),
            source,
        };
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path);
        made.map_err(|error| failed(path, error))?;
        let file = path.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let lock = options.custom_flags(flags).open(&file);
        let lock = lock.map_err(|error| failed(&file, error))?;
        let mut waited = Duration::ZERO;
        loop {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    return Ok(Self {
                        path: path.to_owned(),
                        _lock: lock,
                    });
                }
                Err(Errno::WOULDBLOCK) if waited >= patience => {
                    return Err(DirectoryError::Locked(path.to_owned()));
                }
                Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
                Err(error) => return Err(failed(&file, error.into())),
            }
            waited += LOCK_PAUSE;
        }
    }

    pub fn part(&self, number: u64) -> PathBuf {
        self.path.join(format!("state-{number:08}.part"))
    }

    pub fn log(&self, number: u64) -> PathBuf {
        self.path.join(format!("state-{number:08}.log"))
    }

    /// The files of the state, oldest first. Of what else is there nothing is touched.
    pub fn files(&self) -> io::Result<Vec<Found>> {
        let mut files: Vec<Found> = self.entries()?.filter_map(|path| found(&path)).collect();
        files.sort_by_key(|file| (file.number, file.is_log));
        Ok(files)
    }

    /// Renames a file that cannot be used, and removes the oldest of those that were renamed before.
    /// One that cannot be renamed is removed.
    pub fn set_aside(&self, path: &Path) {
        let mut name = path.as_os_str().to_owned();
        name.push(".bad");
        if fs::rename(path, &name).is_err() {
            let _ = fs::remove_file(path);
        }
        self.remove_aside(u64::MAX);
    }

    /// Bytes of what was set aside; more than `max` of them are not kept.
    pub fn remove_aside(&self, max: u64) -> u64 {
        let is_aside = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("state-") && name.ends_with(".bad"))
        };
        let aside = self.entries().into_iter().flatten().filter(is_aside);
        let mut aside: Vec<_> = aside.collect();
        aside.sort();
        let (mut kept, mut bytes) = (0, 0);
        for path in aside.iter().rev() {
            let length = fs::symlink_metadata(path).map_or(0, |found| found.len());
            if kept == ASIDE_MAX || length > max - bytes {
                let removed = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
                if removed.is_ok() {
                    continue;
                }
            }
            kept += 1;
            bytes += length.min(max - bytes);
        }
        bytes
    }

    fn entries(&self) -> io::Result<impl Iterator<Item = PathBuf>> {
        let entries = fs::read_dir(&self.path)?;
        Ok(entries.filter_map(|entry| entry.ok().map(|entry| entry.path())))
    }
}

/// The number of the file after one with this number; `None` after the last. The highest of all is
/// nobody's: there is none after it.
pub fn after(number: u64) -> Option<u64> {
    number.checked_add(1).filter(|next| *next < u64::MAX)
}

fn found(path: &Path) -> Option<Found> {
    let (stem, kind) = path.file_name()?.to_str()?.rsplit_once('.')?;
    let digits = stem.strip_prefix("state-")?;
    let number = digits.parse().ok().filter(|number| {
        *number < u64::MAX && digits.bytes().all(|digit| digit.is_ascii_digit())
    })?;
    let bytes = fs::symlink_metadata(path).ok()?.len();
    matches!(kind, "log" | "part").then(|| Found {
        path: path.to_owned(),
        number,
        bytes,
        is_log: kind == "log",
    })
}
