//! Keeps a socket where its senders look for it.
//!
//! Whoever can write to the directory can delete the socket's file or put another in its place. Those
//! who are connected notice nothing, and nobody new finds the sidecar: it would look alive and become
//! blind. So the file is watched, and the socket bound anew when it is gone.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Sleep, sleep};

use super::Shared;
use super::socket::{BindError, Bound, Place, SocketFile};

/// Before a socket is bound anew: who replaces a file has it gone for a moment, and who deletes it again
/// and again must not keep us busy.
const SETTLE: Duration = Duration::from_millis(100);
/// First and longest pause before the next try, if binding fails.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Binds one kind of socket.
pub(super) type Bind<S> = fn(&Place, u32) -> Result<Bound<S>, BindError>;

/// The file of a bound socket under watch. Removes the file when dropped.
///
/// Notices that the file was unlinked, renamed or replaced; not that a directory above it was renamed.
pub(super) struct Presence<S> {
    place: Place,
    mode: u32,
    bind: Bind<S>,
    file: SocketFile,
    watch: Option<Receiver>,
    /// Runs while the file is lost and could not be made anew.
    retry: Option<Pin<Box<Sleep>>>,
    pause: Duration,
}

impl<S: Send + 'static> Presence<S> {
    /// Takes a bound socket apart; to be called in a runtime. Where the system has no watch to give,
    /// says so in the log, and nothing is noticed.
    pub(super) fn of(bound: Bound<S>, bind: Bind<S>) -> (S, Self) {
        let Bound {
            socket,
            file,
            place,
            mode,
        } = bound;
        let watch = watch(&file);
        let presence = Self {
            place,
            mode,
            bind,
            file,
            watch,
            retry: None,
            pause: RETRY.0,
        };
        (socket, presence)
    }

    /// Waits until the socket has to be [bound anew](Self::renew). May be dropped at any point.
    pub(super) async fn lost(&mut self) {
        if let Some(retry) = &mut self.retry {
            return retry.await;
        }
        while self.file.is_ours() {
            // What happened does not matter: the file is looked at.
            let mut events = [0; 4096];
            let changed = match &self.watch {
                Some(watch) => watch.readable().await.map(|()| watch.try_read(&mut events)),
                None => return std::future::pending().await,
            };
            let read = changed.and_then(|read| read);
            if read.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
                self.watch = None;
            }
        }
    }

    /// Binds anew, counts it, and says so in the log; the new socket, if it can be had. What waits in
    /// the old one can still be read.
    pub(super) async fn renew(&mut self, shared: &Shared) -> Option<S> {
        if self.retry.take().is_none() {
            sleep(SETTLE).await;
        }
        let (place, mode, bind) = (self.place.clone(), self.mode, self.bind);
        let bound = tokio::task::spawn_blocking(move || bind(&place, mode)).await;
        let suppressed = shared.notices.lost.admit((shared.clock)());
        match bound {
            Ok(Ok(bound)) => {
                let (socket, presence) = Self::of(bound, self.bind);
                *self = presence;
                shared.sink.rebound(true);
                if let Some(suppressed) = suppressed {
                    let path = self.place.path.display();
                    tracing::warn!(%path, suppressed, "the socket's file was removed or replaced: bound anew");
                }
                Some(socket)
            }
            failed => {
                shared.sink.rebound(false);
                let error = failed.map_or_else(
                    |error| error.to_string(),
                    |bound| match bound {
                        Ok(_) => String::new(),
                        Err(error) => error.to_string(),
                    },
                );
                if let Some(suppressed) = suppressed {
                    tracing::error!(
                        error,
                        suppressed,
                        "the socket's file was removed or replaced: new clients cannot find it, trying again"
                    );
                }
                self.retry = Some(Box::pin(sleep(self.pause)));
                self.pause = (self.pause * 2).min(RETRY.1);
                None
            }
        }
    }
}

/// A watch on the file itself, so that a busy directory around it wakes nobody.
fn watch(file: &SocketFile) -> Option<Receiver> {
    let watch = || -> io::Result<_> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let changes = WatchFlags::ATTRIB | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
        match inotify::add_watch(&fd, file.path(), changes | WatchFlags::DONT_FOLLOW) {
            // Lost already: the first look will tell.
            // No pipe, but read like one.
            Ok(_) | Err(rustix::io::Errno::NOENT) => Receiver::from_owned_fd_unchecked(fd),
            Err(error) => Err(error.into()),
        }
    };
    watch()
        .inspect_err(|error| {
            let path = file.path().display();
            tracing::warn!(%error, %path, "the socket's file cannot be watched: its removal will not be noticed");
        })
        .ok()
}
