//! Plays the story over connections to the stream socket, one for each pod, as clients would.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::sleep;

use super::script::{Action, Pod, Step};
use super::story;
use crate::detect::time::Timestamp;
use crate::edge::clock;

/// What went wrong last between the demo's pods and the sidecar, if anything.
#[derive(Clone, Debug, Default)]
pub struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    /// The last error.
    pub fn last(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, error: &io::Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }
}

/// The pods and their connections.
pub struct Workload {
    socket: PathBuf,
    seed: u64,
    begun: Timestamp,
    connections: [Option<UnixStream>; Pod::ALL.len()],
    trouble: Trouble,
}

impl Workload {
    /// A workload whose first round begins at `begun`.
    pub fn new(socket: PathBuf, seed: u64, begun: Timestamp, trouble: Trouble) -> Self {
        Self {
            socket,
            seed,
            begun,
            connections: Default::default(),
            trouble,
        }
    }

    /// Tells the story again and again, until it is dropped.
    pub async fn play(mut self) {
        let mut begins = self.begun;
        loop {
            for step in story::round(self.seed) {
                sleep((begins + step.at).since(clock::now())).await;
                if let Err(error) = self.step(step).await {
                    self.trouble.note(&error);
                }
            }
            self.seed = self.seed.wrapping_add(1);
            // After a long pause of the machine the story goes on at its pace.
            begins = (begins + story::ROUND).max(clock::now());
        }
    }

    async fn step(&mut self, step: Step) -> io::Result<()> {
        let connection = &mut self.connections[step.pod as usize];
        let line = match step.action {
            Action::Send(line) => line,
            Action::Close => {
                *connection = None;
                return Ok(());
            }
        };
        // A pod that lost its connection, or was killed in the story, comes back with a new one.
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => UnixStream::connect(&self.socket).await?,
        };
        stream.write_all(line.as_bytes()).await?;
        *connection = Some(stream);
        Ok(())
    }
}
