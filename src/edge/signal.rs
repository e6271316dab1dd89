//! The request to end: SIGTERM from Kubernetes, SIGINT from a terminal.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Lets a file that reaches the limit of its size (`ulimit -f`) be an error like a full disk; by default
/// the system ends the process. Within a runtime; holds as long as the process.
///
/// # Errors
/// When the system refuses a handler.
pub fn survive_file_limit() -> io::Result<()> {
    let number = rustix::process::Signal::XFSZ.as_raw();
    signal(SignalKind::from_raw(number)).map(drop)
}

/// Waits for SIGTERM or SIGINT. From its creation on, neither ends the process by itself.
#[derive(Debug)]
pub struct Termination {
    terminate: Signal,
    interrupt: Signal,
}

impl Termination {
    /// Starts to listen; create it before anything that must be ended in order.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next signal. Safe to cancel; a signal that came meanwhile is not lost, so a
    /// second one can be awaited to end at once.
    pub async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn both_signals_are_heard_one_by_one() {
        let mut termination = Termination::listen().unwrap();
        let quiet = timeout(Duration::from_millis(20), termination.wait()).await;
        assert!(quiet.is_err());
        for (sent, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
            kill_process(getpid(), sent).unwrap();
            let heard = timeout(Duration::from_secs(5), termination.wait()).await;
            assert_eq!(heard, Ok(name));
        }
    }
}
