//! Memory that survives: what the detector knows, in files that the next process reads.
//!
//! Before the effects of a batch of events leave, what it changed is handed to the system as one
//! frame ([`segment`]). That survives the end of this process at any instant, also by SIGKILL and for
//! want of memory; what a node loses when it goes down is what it had not yet brought to the disk,
//! half a minute or so. When a file has grown to a multiple of what it says, everything is written
//! once more, a little at a time, to the next one ([`directory`]).
//!
//! Nothing here stops the sidecar: what cannot be written is counted and tried again, what cannot be
//! read is set aside, and both are said.

pub mod directory;
mod load;
pub mod segment;
#[cfg(test)]
mod tests;
mod writing;

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lru::LruCache;
use tokio::sync::Notify;

use crate::detect::finding::{Finding, Gap, Verdicts};
use crate::detect::journal::{
    FINDINGS_MAX, POSITIONS_MAX, Progress, Restore, Restored, SessionPosition, write_position,
};
use crate::detect::profile::Profile;
use crate::detect::time::Timestamp;
use crate::detect::{Detector, Options};
use crate::edge::throttle::Throttle;
use crate::metrics::{Metrics, StateSeries};
use crate::pipeline::sessions::{Position, Session};
use crate::pipeline::{Chore, Keeper};
use directory::Directory;
pub use directory::DirectoryError;
use load::{Loaded, Read, load};
use segment::Segment;

/// For a process that ends to leave the directory.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the state is, and how much of it there may be.
#[derive(Clone, Debug)]
pub struct Place {
    pub directory: PathBuf,
    pub bytes_max: u64,
}

/// The memory of the sidecar on its way to the disk.
pub struct State {
    place: Place,
    /// `None` while it cannot be had.
    directory: Option<Directory>,
    observation_start: Timestamp,
    series: StateSeries,
    /// Says that there is something to tidy.
    wake: Arc<Notify>,
    log: Throttle,
    /// The file that is being written; `None` after a failure.
    segment: Option<Segment>,
    number: u64,
    /// The files before it, until it holds everything itself.
    older: Vec<Read>,
    stage: Stage,
    /// Whether something that is known is in none of the files.
    unwritten: bool,
    /// Size of the last file when it held everything.
    base_bytes: u64,
    aside_bytes: u64,
    retry: Option<Timestamp>,
    failures: u32,
    frame: Vec<u8>,
    /// Positions for the next frame.
    pending: Vec<u8>,
    findings: VecDeque<Finding>,
    positions: LruCache<Box<[u8]>, SessionPosition>,
}

/// How far the newest file is with holding everything.
enum Stage {
    /// It does.
    Whole,
    /// Names and tokens are being written.
    Tokens(Progress),
    /// All is written; whether it has reached the disk, once that is known.
    Synced(Arc<Mutex<Option<io::Result<()>>>>),
}

/// What a start finds.
pub struct Found {
    pub state: State,
    pub detector: Detector,
    /// What the earlier process left besides.
    pub restored: Option<Restored>,
}

impl State {
    /// Reads what an earlier process left in the place, and goes on from there.
    ///
    /// # Errors
    /// Only if another process uses the directory. Whatever else is wrong is counted in `metrics` and
    /// logged, and the sidecar begins with what there is.
    pub fn open(
        place: Place,
        profiles: Vec<Profile>,
        options: Options,
        metrics: &Metrics,
        now: Timestamp,
    ) -> Result<Found, DirectoryError> {
        let mut failed = None;
        let directory = match Directory::open(&place.directory, PATIENCE) {
            Ok(directory) => Some(directory),
            Err(error @ DirectoryError::Locked(_)) => return Err(error),
            Err(error) => {
                failed = Some(error.to_string());
                None
            }
        };
        let begin = || Restore::new(profiles.clone(), options);
        let loaded = directory.as_ref().map(|directory| load(directory, begin));
        let loaded = loaded.unwrap_or_else(|| Ok(Loaded::default()));
        let mut loaded = loaded.unwrap_or_else(|error| {
            failed = Some(error.to_string());
            Loaded::default()
        });
        let directory = directory.filter(|_| failed.is_none());
        loaded
            .gaps
            .extend(failed.map(|error| format!("the state cannot be used: {error}")));
        for gap in &loaded.gaps {
            metrics.gap(Gap::Restart);
            tracing::warn!(state_dir = %place.directory.display(), "{gap}");
        }
        let mut state = Self::new(place, directory, metrics.state(), now);
        state.number = loaded.number;
        state.older = loaded.files;
        let Some((detector, restored)) = loaded.restored else {
            return Ok(Found {
                state,
                detector: Detector::new(profiles, options),
                restored: None,
            });
        };
        state.take_over(&restored);
        Ok(Found {
            state,
            detector,
            restored: Some(restored),
        })
    }

    fn new(
        place: Place,
        directory: Option<Directory>,
        series: StateSeries,
        now: Timestamp,
    ) -> Self {
        let positions = NonZeroUsize::new(POSITIONS_MAX).unwrap_or(NonZeroUsize::MIN);
        let mut state = Self {
            aside_bytes: 0,
            place,
            directory,
            observation_start: now,
            series,
            wake: Arc::new(Notify::new()),
            log: Throttle::new(),
            segment: None,
            number: 0,
            older: Vec::new(),
            stage: Stage::Whole,
            unwritten: false,
            base_bytes: 0,
            retry: None,
            failures: 0,
            frame: Vec::new(),
            pending: Vec::new(),
            findings: VecDeque::new(),
            positions: LruCache::new(positions),
        };
        state.limit_aside();
        state
    }

    fn take_over(&mut self, restored: &Restored) {
        self.observation_start = self.observation_start.min(restored.observation_start);
        self.findings.extend(restored.findings.iter().cloned());
        for position in &restored.positions {
            let session = position.session.clone();
            self.positions.put(session, position.clone());
        }
        self.series.replayed.inc_by(restored.tokens as u64);
    }

    /// When observation began: before the restart, if that is known.
    pub fn observation_start(&self) -> Timestamp {
        self.observation_start
    }

    /// Resolves when there is something to [tidy](Keeper::tidy).
    pub fn wake(&self) -> Arc<Notify> {
        self.wake.clone()
    }

    fn remember(&mut self, told: &Verdicts) {
        for finding in &told.findings {
            if self.findings.len() == FINDINGS_MAX {
                self.findings.pop_front();
            }
            self.findings.push_back(finding.clone());
        }
        for id in &told.confirmed {
            let found = self.findings.iter_mut().rfind(|finding| finding.id == *id);
            found
                .into_iter()
                .for_each(|finding| finding.confirmed = true);
        }
    }
}

impl Keeper for State {
    fn keep(&mut self, detector: &mut Detector, told: &Verdicts, connection: u64) {
        self.remember(told);
        if self.segment.is_none() {
            detector.forget_changes();
            self.pending.clear();
            return;
        }
        let said = !told.findings.is_empty() || !told.confirmed.is_empty();
        if !said && self.pending.is_empty() && !detector.has_changes() {
            return;
        }
        if let Err(error) = self.write(detector, told, connection) {
            detector.forget_changes();
            self.pending.clear();
            self.fail(&error, detector.now());
        } else if matches!(self.stage, Stage::Whole) && self.is_long() {
            self.wake.notify_one();
        }
    }

    fn position(&mut self, position: &Position) {
        let mut bytes = [0; Session::BYTES_MAX];
        let session = position.session.write(&mut bytes);
        let connection = position.connection.0;
        if let Some(known) = self.positions.get_mut(session) {
            (known.read, known.connection) = (position.read, connection);
            return write_position(known, &mut self.pending);
        }
        let new = SessionPosition {
            session: session.into(),
            read: position.read,
            connection,
        };
        write_position(&new, &mut self.pending);
        self.positions.put(new.session.clone(), new);
    }

    fn tidy(&mut self, detector: &mut Detector, connection: u64, now: Timestamp) -> Chore {
        self.try_tidy(detector, connection, now)
            .unwrap_or_else(|error| {
                self.fail(&error, now);
                Chore::None(self.retry)
            })
    }
}
