//! A detector that writes a journal, in memory, and is made again from it every few steps.

use oncewatch::detect::finding::Verdicts;
use oncewatch::detect::journal::{Head, Progress, Restore};
use oncewatch::detect::profile::Profile;
use oncewatch::detect::time::Timestamp;
use oncewatch::detect::{Detector, Options};

/// A detector and what it wrote.
pub struct Kept {
    pub detector: Detector,
    profiles: Vec<Profile>,
    options: Options,
    /// Frames of the journal that holds everything, then those of the one that is to take its place.
    pub journals: Vec<Vec<Vec<u8>>>,
    /// How far the newest one has come.
    progress: Option<Progress>,
    steps: u64,
    /// How often it was made again, and how often of more than one journal.
    pub restarts: (u64, u64),
}

const HEAD: Head = Head {
    observation_start: Timestamp::from_micros(1_600_000_000_000_000),
    connection: 7,
};

impl Kept {
    pub fn new(profiles: Vec<Profile>, options: Options) -> Self {
        let mut kept = Self {
            detector: Detector::new(profiles.clone(), options),
            profiles,
            options,
            journals: Vec::new(),
            progress: None,
            steps: 0,
            restarts: (0, 0),
        };
        kept.detector.keep_journal();
        kept.begin();
        kept
    }

    pub fn step(&mut self, out: &mut Verdicts, input: &impl Fn(&mut Detector, &mut Verdicts)) {
        input(&mut self.detector, out);
        self.steps += 1;
        // Not every input is a batch of its own.
        if !self.steps.is_multiple_of(3) {
            self.write();
        }
        if self.steps.is_multiple_of(2) {
            self.write_some();
        }
        if self.steps.is_multiple_of(17) {
            self.restart();
        }
        if self.steps.is_multiple_of(11) && self.progress.is_none() {
            self.begin();
        }
    }

    /// What changed, as one frame.
    fn write(&mut self) {
        let mut frame = Vec::new();
        assert!(!self.detector.write_changes(HEAD.connection, &mut frame));
        assert!(!self.detector.has_changes());
        self.journals.last_mut().unwrap().push(frame);
    }

    fn begin(&mut self) {
        if self.detector.has_changes() {
            self.write();
        }
        let mut frame = Vec::new();
        self.progress = Some(self.detector.begin_journal(HEAD, &mut frame));
        self.journals.push(vec![frame]);
    }

    /// A little more of the newest journal's beginning; when it is done, the older ones go.
    fn write_some(&mut self) {
        let Some(progress) = &mut self.progress else {
            return;
        };
        let mut frame = Vec::new();
        let (most, connection) = (150, HEAD.connection);
        let more = self
            .detector
            .write_some(progress, connection, most, &mut frame);
        self.journals.last_mut().unwrap().push(frame);
        if !more {
            self.progress = None;
            let newest = self.journals.pop();
            self.journals = newest.into_iter().collect();
        }
    }

    fn restart(&mut self) {
        // What was not written is lost with a real process; here the streams must stay equal.
        self.write();
        self.restarts.0 += 1;
        self.restarts.1 += u64::from(self.journals.len() > 1);
        let mut restore = Restore::new(self.profiles.clone(), self.options);
        for frame in self.journals.iter().flatten() {
            restore.apply(frame).expect("a frame of the journal");
        }
        let (detector, restored) = restore.finish().expect("a head");
        assert_eq!(restored.lost, Default::default());
        assert_eq!(restored.connection, HEAD.connection);
        assert_eq!(restored.observation_start, HEAD.observation_start);
        assert_eq!(restored.tokens, self.detector.token_count());
        for id in (0..self.profiles.len()).map(oncewatch::detect::finding::ProfileId) {
            assert_eq!(detector.counts(id), self.detector.counts(id));
        }
        self.detector = detector;
        self.detector.keep_journal();
        self.begin();
    }
}
