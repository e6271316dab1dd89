//! The socket files: where they are, how they come to be, how they go.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, RenameFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Bytes that a socket path may have: `sun_path` is 108 with its NUL.
const PATH_BYTES_MAX: usize = 107;
/// Connections that may wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// How long to wait for another process that is setting up a socket in the same directory.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why a socket could not be set up. All but [`BindError::Io`] need the operator.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The path does not fit into a socket address: a shorter one must be set.
    #[error("{setting}: {} is longer than the 107 bytes that a socket path may have", .path.display())]
    PathTooLong {
        /// The setting that gave the path.
        setting: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// A process accepts connections there: stop it, or set another path.
    #[error("{setting}: another process serves {}", .path.display())]
    InUse {
        /// The setting that gave the path.
        setting: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// Something that is not a socket has this name; it is left alone.
    #[error("{setting}: {} is {kind}, not a socket; remove it or set another path", .path.display())]
    NotASocket {
        /// The setting that gave the path.
        setting: &'static str,
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// The directory is meant to be private, but others could exchange what is in it.
    #[error("{setting}: {} must be a directory that only its owner, this user, can write to", .directory.display())]
    NotPrivate {
        /// The setting that gave the path.
        setting: &'static str,
        /// The directory of the path.
        directory: PathBuf,
    },
    /// Another process has kept the directory locked for a second.
    #[error("{setting}: another process holds the lock of {}", .directory.display())]
    Locked {
        /// The setting that gave the path.
        setting: &'static str,
        /// The directory of the path.
        directory: PathBuf,
    },
    /// The system refused a step: its permissions, its disk, its limits.
    #[error("{setting}: cannot {step} {}", .path.display())]
    Io {
        /// The setting that gave the path.
        setting: &'static str,
        /// What was tried.
        step: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Where a socket is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Path of the socket.
    pub path: PathBuf,
    /// The setting that gave it, for messages.
    pub setting: &'static str,
    /// Whether its directory belongs to this user alone: made with mode 0700 and checked.
    pub private: bool,
}

impl Place {
    /// A path that the operator chose; a missing directory is made with the usual mode.
    pub fn chosen(setting: &'static str, path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            setting,
            private: false,
        }
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    fn failed(&self, step: &'static str, path: &Path, source: impl Into<io::Error>) -> BindError {
        BindError::Io {
            setting: self.setting,
            step,
            path: path.to_path_buf(),
            source: source.into(),
        }
    }
}

/// A bound socket and its file, which is removed with it if it is still this socket's.
#[derive(Debug)]
pub struct Bound<S> {
    /// Non-blocking.
    pub(super) socket: S,
    pub(super) file: SocketFile,
    /// What it was bound by, to do it again.
    pub(super) place: Place,
    pub(super) mode: u32,
}

/// Removes the socket's file when dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to this socket.
    pub(super) fn is_ours(&self) -> bool {
        let ours = |found: fs::Metadata| (found.dev(), found.ino()) == (self.device, self.inode);
        fs::symlink_metadata(&self.path).is_ok_and(ours)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours() {
            // Nothing to be done about a failure: the next process finds the file stale.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Bound<UnixListener> {
    /// Binds a stream socket that listens; see [`bind`] for what is done about its file.
    pub fn stream(place: &Place, mode: u32) -> Result<Self, BindError> {
        let (socket, file) = bind(place, mode, SocketType::STREAM)?;
        Ok(Self {
            socket: socket.into(),
            file,
            place: place.clone(),
            mode,
        })
    }
}

impl Bound<UnixDatagram> {
    /// Binds a datagram socket; see [`bind`] for what is done about its file.
    pub fn datagram(place: &Place, mode: u32) -> Result<Self, BindError> {
        let (socket, file) = bind(place, mode, SocketType::DGRAM)?;
        Ok(Self {
            socket: socket.into(),
            file,
            place: place.clone(),
            mode,
        })
    }
}

/// Makes the directory if it is missing, removes a socket that a dead process left, binds.
///
/// The socket gets its mode, and starts to listen, under a temporary name: whoever finds it under
/// its own name can connect. The directory is locked meanwhile, so that of two processes that
/// start at once one finds the other's socket alive.
fn bind(place: &Place, mode: u32, kind: SocketType) -> Result<(OwnedFd, SocketFile), BindError> {
    let directory = place.directory();
    let mut random = [0; 4];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| place.failed("name", &place.path, e))?;
    let temporary = directory.join(format!(".{:08x}", u32::from_ne_bytes(random)));
    for path in [&place.path, &temporary] {
        if path.as_os_str().len() > PATH_BYTES_MAX {
            return Err(BindError::PathTooLong {
                setting: place.setting,
                path: place.path.clone(),
            });
        }
    }
    make_directory(place)?;
    let _lock = lock(place)?;
    remove_stale(place, kind)?;
    let socket = open(kind).map_err(|e| place.failed("open a socket for", &place.path, e))?;
    let address = SocketAddrUnix::new(&temporary);
    address
        .and_then(|address| rustix::net::bind(&socket, &address))
        .map_err(|e| place.failed("create a socket in", directory, e))?;
    publish(&socket, kind, mode, &temporary, &place.path)
        .map(|file| (socket, file))
        .map_err(|e| {
            let _ = fs::remove_file(&temporary);
            place.failed("create", &place.path, e)
        })
}

/// Gives a bound socket its mode and its name.
fn publish(
    socket: &OwnedFd,
    kind: SocketType,
    mode: u32,
    temporary: &Path,
    path: &Path,
) -> io::Result<SocketFile> {
    rustix::fs::chmod(temporary, Mode::from_raw_mode(mode))?;
    if kind == SocketType::STREAM {
        rustix::net::listen(socket, BACKLOG)?;
    }
    let found = fs::symlink_metadata(temporary)?;
    // Never over a file that appeared since the look: it is not ours to remove.
    let cwd = rustix::fs::CWD;
    match rustix::fs::renameat_with(cwd, temporary, cwd, path, RenameFlags::NOREPLACE) {
        // Some filesystems do not know the flag; the lock still keeps other sidecars away.
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(temporary, path)?,
        renamed => renamed?,
    }
    Ok(SocketFile {
        path: path.to_path_buf(),
        device: found.dev(),
        inode: found.ino(),
    })
}

fn make_directory(place: &Place) -> Result<(), BindError> {
    let directory = place.directory();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    if place.private {
        builder.mode(0o700);
    }
    builder
        .create(directory)
        .map_err(|e| place.failed("create the directory", directory, e))?;
    if place.private {
        // Below a shared temporary directory anybody may have made it first.
        let found =
            fs::symlink_metadata(directory).map_err(|e| place.failed("look at", directory, e))?;
        let own = found.uid() == rustix::process::geteuid().as_raw();
        if !found.is_dir() || !own || found.mode() & 0o022 != 0 {
            return Err(BindError::NotPrivate {
                setting: place.setting,
                directory: directory.to_path_buf(),
            });
        }
    }
    Ok(())
}

/// Locks the directory itself, so that no lock file is left behind or in the way of another user.
fn lock(place: &Place) -> Result<fs::File, BindError> {
    let directory = place.directory();
    let file = fs::File::open(directory).map_err(|e| place.failed("open", directory, e))?;
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(place.failed("lock", directory, error)),
        }
    }
    Err(BindError::Locked {
        setting: place.setting,
        directory: directory.to_path_buf(),
    })
}

/// Removes a socket that nobody serves any more.
fn remove_stale(place: &Place, kind: SocketType) -> Result<(), BindError> {
    let path = &place.path;
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(place.failed("look at", path, error)),
    };
    if !found.is_socket() {
        return Err(BindError::NotASocket {
            setting: place.setting,
            path: path.clone(),
            kind: match () {
                () if found.is_dir() => "a directory",
                () if found.is_symlink() => "a symbolic link",
                () if found.is_file() => "a file",
                () => "a special file",
            },
        });
    }
    let answer = open(kind).and_then(|socket| {
        let address = SocketAddrUnix::new(path)?;
        rustix::net::connect(&socket, &address)
    });
    match answer {
        Err(Errno::CONNREFUSED) => {
            fs::remove_file(path).map_err(|e| place.failed("remove the stale socket", path, e))
        }
        Err(Errno::NOENT) => Ok(()),
        // A full backlog, or a socket of the other type: served all the same.
        Ok(()) | Err(Errno::WOULDBLOCK | Errno::PROTOTYPE) => Err(BindError::InUse {
            setting: place.setting,
            path: path.clone(),
        }),
        Err(error) => Err(place.failed("find out whether a process serves", path, error)),
    }
}

fn open(kind: SocketType) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)
}

#[cfg(test)]
mod tests;
