//! How the files of the state grow, follow each other, and fail.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::directory::{self, Directory};
use super::load::Read;
use super::segment::{self, FRAME_HEAD_BYTES, Segment};
use super::{Stage, State};
use crate::detect::Detector;
use crate::detect::finding::Verdicts;
use crate::detect::journal::{Head, write_confirmed, write_finding, write_position};
use crate::detect::time::Timestamp;
use crate::pipeline::Chore;

/// Records of one step of writing everything anew; a step takes a fraction of a millisecond.
const STEP_BYTES: usize = 64 << 10;
/// A file is not written anew before it has grown by this much.
const GROWTH_MIN: u64 = 8 << 20;
/// Memory kept for the next frame.
const FRAME_KEPT_BYTES: usize = 1 << 20;
/// From a failure to the next try, and from the tenth on.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_STEPS_MAX: u32 = 10;

impl State {
    /// Begins the first file, so that events that come now are kept; to be called once, by whoever
    /// has the detector, before the first of them.
    pub fn begin(&mut self, detector: &mut Detector, connection: u64, now: Timestamp) {
        let begun = self.create();
        let begun = begun.and_then(|first| self.begin_segment(first, detector, connection));
        if let Err(error) = begun {
            self.fail(&error, now);
        }
        self.wake.notify_one();
    }

    /// Makes the next file.
    fn create(&mut self) -> io::Result<Segment> {
        if self.directory.is_none() {
            let directory = Directory::open(&self.place.directory, Duration::ZERO);
            let directory = directory.map_err(io::Error::other)?;
            // What is in there now was never read.
            for file in directory.files()? {
                self.number = self.number.max(file.number);
                self.older.push(Read {
                    path: file.path,
                    bytes: file.bytes,
                    damaged: false,
                });
            }
            self.directory = Some(directory);
            self.limit_aside();
        }
        let Some(directory) = &self.directory else {
            return Err(io::ErrorKind::NotFound.into());
        };
        self.number = directory::after(self.number).ok_or_else(|| {
            let last = directory.part(self.number);
            let why =
                "has the highest number that there is; remove it, or choose another state-dir";
            io::Error::other(format!("{} or its .log {why}", last.display()))
        })?;
        Segment::create(directory.part(self.number))
    }

    /// Goes on in the next file. The one before stays until the new one holds everything.
    fn begin_segment(
        &mut self,
        segment: Segment,
        detector: &mut Detector,
        connection: u64,
    ) -> io::Result<()> {
        if let Some(before) = self.segment.replace(segment) {
            self.older.push(Read {
                path: before.path,
                bytes: before.bytes,
                damaged: false,
            });
        }
        if let Some(segment) = &self.segment {
            segment.mark(self.unwritten)?;
        }
        let head = Head {
            observation_start: self.observation_start,
            connection,
        };
        self.begin_frame();
        let progress = detector.begin_journal(head, &mut self.frame);
        self.append()?;
        self.stage = Stage::Tokens(progress);
        Ok(())
    }

    /// Whether the file has become so long that writing everything anew pays, or must not become
    /// longer: what is written anew needs room, too.
    pub(super) fn is_long(&self) -> bool {
        let bytes = self.segment.as_ref().map_or(0, |segment| segment.bytes);
        let room = self.limit() / 4 * 3;
        let long = 2 * self.base_bytes + GROWTH_MIN;
        let long = long.min(room.saturating_sub(self.base_bytes));
        bytes > long.max(self.base_bytes + self.base_bytes / 4)
    }

    fn limit(&self) -> u64 {
        self.place.bytes_max - self.aside_bytes
    }

    pub(super) fn limit_aside(&mut self) {
        let max = self.place.bytes_max / 4;
        let directory = self.directory.as_ref();
        self.aside_bytes = directory.map_or(0, |directory| directory.remove_aside(max));
        self.count_bytes();
    }

    fn bytes(&self) -> u64 {
        let older: u64 = self.older.iter().map(|file| file.bytes).sum();
        older + self.segment.as_ref().map_or(0, |segment| segment.bytes)
    }

    fn count_bytes(&self) {
        let bytes = self.bytes() + self.aside_bytes;
        self.series
            .bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn begin_frame(&mut self) {
        self.frame.clear();
        self.frame.shrink_to(FRAME_KEPT_BYTES);
        self.frame.resize(FRAME_HEAD_BYTES, 0);
    }

    /// Writes the frame.
    fn append(&mut self) -> io::Result<()> {
        let full = self.bytes() + self.frame.len() as u64 > self.limit();
        let Some(segment) = &mut self.segment else {
            return Ok(());
        };
        if full {
            let why = "state-max-bytes does not suffice";
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, why));
        }
        segment.append(&mut self.frame)?;
        self.count_bytes();
        Ok(())
    }

    /// Goes on without state for a while. What is in the files stays: it is what was known before.
    pub(super) fn fail(&mut self, error: &io::Error, now: Timestamp) {
        if let Some(segment) = self.segment.take() {
            self.older.push(Read {
                path: segment.path,
                bytes: segment.bytes,
                damaged: false,
            });
        }
        self.mark_older();
        self.stage = Stage::Whole;
        self.unwritten = true;
        self.postpone(error, now);
        let full = error.kind() == io::ErrorKind::QuotaExceeded;
        // Room is more use than what was known before the last failure but one.
        if self.failures > 1 || full {
            for file in std::mem::take(&mut self.older) {
                if std::fs::remove_file(&file.path).is_err() {
                    self.older.push(file);
                }
            }
        }
        if self.failures == 1 && full {
            self.retry = Some(now);
        }
        self.count_bytes();
        self.wake.notify_one();
    }

    /// Lets the next start know that something is missing.
    fn mark_older(&self) {
        for file in &self.older {
            if let Err(error) = segment::mark_incomplete(&file.path) {
                self.series.failures.inc();
                tracing::error!(
                    file = %file.path.display(),
                    %error,
                    "the file cannot be marked as incomplete; the next start may not know that something is missing"
                );
            }
        }
    }

    /// Counts and says what went wrong, and lets it rest.
    fn postpone(&mut self, error: &io::Error, now: Timestamp) {
        self.series.failures.inc();
        self.failures = self.failures.saturating_add(1);
        self.retry = Some(now + RETRY * self.failures.min(RETRY_STEPS_MAX));
        if let Some(suppressed) = self.log.admit(now) {
            tracing::error!(
                state_dir = %self.place.directory.display(),
                %error,
                suppressed,
                "the state cannot be written; what happens now may be forgotten by a restart, trying again"
            );
        }
    }

    /// What changed and was said, as frames; nearly always one.
    pub(super) fn write(
        &mut self,
        detector: &mut Detector,
        told: &Verdicts,
        connection: u64,
    ) -> io::Result<()> {
        loop {
            self.begin_frame();
            let more = detector.write_changes(connection, &mut self.frame);
            if !more {
                for finding in &told.findings {
                    write_finding(finding, &mut self.frame);
                }
                for id in &told.confirmed {
                    write_confirmed(*id, &mut self.frame);
                }
                self.frame.append(&mut self.pending);
            }
            self.append()?;
            if !more {
                return Ok(());
            }
        }
    }

    /// A step towards a file that holds everything.
    fn write_some(&mut self, detector: &mut Detector, connection: u64) -> io::Result<Chore> {
        let Stage::Tokens(progress) = &mut self.stage else {
            return Ok(Chore::None(self.retry));
        };
        self.frame.clear();
        self.frame.resize(FRAME_HEAD_BYTES, 0);
        if detector.write_some(progress, connection, STEP_BYTES, &mut self.frame) {
            self.append()?;
            return Ok(Chore::More);
        }
        for finding in &self.findings {
            write_finding(finding, &mut self.frame);
        }
        for (_, position) in self.positions.iter().rev() {
            write_position(position, &mut self.frame);
        }
        self.append()?;
        let Some(segment) = &self.segment else {
            return Ok(Chore::None(self.retry));
        };
        self.base_bytes = segment.bytes;
        let file = segment.file()?;
        let synced = Arc::new(Mutex::new(None));
        self.stage = Stage::Synced(synced.clone());
        // Before the older files go, this one must be where they were.
        Ok(Chore::Outside(Box::new(move || {
            let outcome = file.sync_data();
            *synced.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        })))
    }

    /// The newest file holds everything: it takes the place of the older ones.
    fn finish(&mut self) -> io::Result<Chore> {
        let (Some(directory), Some(segment)) = (&self.directory, &mut self.segment) else {
            return Ok(Chore::None(self.retry));
        };
        let log = directory.log(self.number);
        segment.mark(false)?;
        self.unwritten = false;
        std::fs::rename(&segment.path, &log)?;
        segment.path = log;
        self.stage = Stage::Whole;
        (self.failures, self.retry) = (0, None);
        let (damaged, gone): (Vec<_>, Vec<_>) = self.older.drain(..).partition(|file| file.damaged);
        for file in damaged {
            directory.set_aside(&file.path);
        }
        self.limit_aside();
        // Removing a large file takes a while.
        Ok(Chore::Outside(Box::new(move || {
            for file in gone {
                let _ = std::fs::remove_file(file.path);
            }
        })))
    }

    pub(super) fn try_tidy(
        &mut self,
        detector: &mut Detector,
        connection: u64,
        now: Timestamp,
    ) -> io::Result<Chore> {
        match &self.stage {
            Stage::Tokens(_) => self.write_some(detector, connection),
            Stage::Synced(synced) => {
                let outcome = synced.lock().unwrap_or_else(PoisonError::into_inner).take();
                match outcome {
                    None => Ok(Chore::None(None)),
                    Some(outcome) => outcome.and_then(|()| self.finish()),
                }
            }
            Stage::Whole => {
                let due = self.retry.is_none_or(|retry| now >= retry);
                if !due || self.segment.is_some() && !self.is_long() {
                    return Ok(Chore::None(self.retry));
                }
                let writing = self.segment.is_some();
                match self.create() {
                    Ok(segment) => self.begin_segment(segment, detector, connection)?,
                    // The file that is being written is as good as before, only longer than need be.
                    Err(error) if writing => self.postpone(&error, now),
                    Err(error) => return Err(error),
                }
                Ok(Chore::More)
            }
        }
    }
}
