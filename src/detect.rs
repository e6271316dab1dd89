//! PURE: the detector. No I/O, clock, lock or async below here.

pub mod event;
pub mod explain;
pub mod finding;
pub mod profile;
pub mod text;
pub mod time;
pub mod trace;
pub mod verdict;

use event::Event;
use finding::{AttemptRecord, ProfileId, Status, Verdicts};
use profile::Profile;
use time::Timestamp;
use verdict::Severity;

/// Calls remembered per token, besides those with an open attempt.
pub const CALLS_MAX: usize = 8;
/// Open attempts remembered per token.
pub const OPEN_ATTEMPTS_MAX: usize = 8;

/// Identifies the stream connection an event came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

/// Where an event came from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source<'a> {
    /// The stream connection, whose end orphans its open attempts.
    pub connection: Option<ConnectionId>,
    /// Name of a client that gives none itself.
    pub identity: Option<&'a str>,
}

/// Which lifecycles are handed out as [`finding::Lifecycle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// None.
    Off,
    /// Those with a finding.
    Misuse,
    /// All.
    All,
}

/// What a detector is to produce besides counts.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Mildest verdict that is handed out as a finding.
    pub detail: Severity,
    /// Lifecycles handed out.
    pub trace: Trace,
    /// Secret of the table's hash, so that nobody can choose tokens that clash.
    pub hash_key: [u8; 16],
}

/// What is known about one token, for showing.
#[derive(Clone, Debug)]
pub struct TokenView {
    /// API as the events named it.
    pub api: Box<str>,
    /// The token in full; who shows it decides how.
    pub token: Box<str>,
    /// Scope; may be empty.
    pub scope: Box<str>,
    /// Status now.
    pub status: Status,
    /// First start of the current lifecycle.
    pub first_start: Timestamp,
    /// First success of the current lifecycle.
    pub first_success: Option<Timestamp>,
    /// Last sighting.
    pub last_seen: Timestamp,
    /// When it is forgotten if it is not seen again.
    pub expires: Timestamp,
    /// How often the token began anew, counting from 1.
    pub lifecycle: u32,
    /// Attempts still remembered, in order of their start, of all lifecycles.
    pub attempts: Vec<AttemptRecord>,
}

/// The state machine over all tokens; see the crate's documentation.
pub struct Detector {
    profiles: Vec<Profile>,
}

impl Detector {
    /// `profiles` must contain one named `default`, which judges APIs without a profile.
    pub fn new(profiles: Vec<Profile>, _options: Options) -> Self {
        Self { profiles }
    }

    /// The profiles; a [`ProfileId`] is an index into them.
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// Judges one event that arrived at `now`. `now` never goes back: an older one counts as the
    /// latest seen. Deadlines up to `now` are handled first.
    pub fn handle_event(
        &mut self,
        _event: &Event<'_>,
        _source: Source<'_>,
        _now: Timestamp,
        _out: &mut Verdicts,
    ) {
    }

    /// Handles the deadlines up to `now`.
    pub fn handle_timeout(&mut self, _now: Timestamp, _out: &mut Verdicts) {}

    /// The next deadline, if any.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }

    /// Closes what a stream connection left open.
    pub fn handle_disconnect(
        &mut self,
        _connection: ConnectionId,
        _now: Timestamp,
        _out: &mut Verdicts,
    ) {
    }

    /// Hands out the lifecycles that still wait for their end; nothing more will come.
    pub fn handle_shutdown(&mut self, _now: Timestamp, _out: &mut Verdicts) {}

    /// Tokens of a profile by status, in the order of [`Status::ALL`].
    pub fn counts(&self, _profile: ProfileId) -> [usize; Status::ALL.len()] {
        [0; 5]
    }

    /// Start of the oldest open attempt.
    pub fn oldest_open(&self) -> Option<Timestamp> {
        None
    }

    /// Up to `limit` tokens, most recently seen first, that have `status` and were named `api`.
    pub fn tokens(
        &self,
        _status: Option<Status>,
        _api: Option<&str>,
        _limit: usize,
    ) -> Vec<TokenView> {
        Vec::new()
    }

    /// The tokens of `api` (any scope) whose text is `token`.
    pub fn token(&self, _api: &str, _token: &str) -> Vec<TokenView> {
        Vec::new()
    }

    /// All token texts of `api`, copied out so that a caller can search them at leisure.
    pub fn texts(&self, _api: &str) -> Vec<text::Text> {
        Vec::new()
    }
}
