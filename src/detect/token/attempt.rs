//! Attempts and the calls they belong to.

use crate::detect::event::Event;
use crate::detect::key::{Key, Keys};
use crate::detect::leases::LeaseId;
use crate::detect::names::NameId;
use crate::detect::profile::Class;
use crate::detect::text::Text;
use crate::detect::time::Timestamp;
use crate::detect::trace::TraceContext;
use crate::detect::verdict::Verdict;

/// The two fingerprints of a request; either may be missing. They are compared and never shown, so
/// what is kept of them are keyed hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Print {
    /// The canonical one, with API and scope.
    pub fp: Option<Key>,
    pub raw: Option<Raw>,
}

/// A fingerprint of the bytes as sent. It only ever refines what equal canonical fingerprints say, so
/// 64 bits of its hash do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw(pub u64);

impl Print {
    /// As an event tells it.
    pub fn of(event: &Event<'_>, keys: &Keys) -> Self {
        let (fp, raw) = (event.fp.as_deref(), event.fp_raw.as_deref());
        Self {
            fp: fp.map(|fp| keys.key(fp)),
            raw: raw.map(|raw| Raw(keys.key(raw).hash())),
        }
    }
}

/// Whether two requests are the same as far as their fingerprints tell.
pub fn same(a: Option<Key>, b: Option<Key>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

/// One attempt, named so that it can be told after the attempt itself is forgotten.
#[derive(Clone, Debug, PartialEq)]
pub struct Who {
    pub client: Option<NameId>,
    pub call: Option<Text>,
    pub attempt: u64,
    pub since: Timestamp,
    pub trace: Option<TraceContext>,
    pub serial: u32,
}

/// What a verdict points at besides its own attempt.
#[derive(Default)]
pub struct Pointer {
    pub holder: Option<Who>,
    /// The holder's token, where it is another one.
    pub token: Option<Text>,
}

impl From<Option<Who>> for Pointer {
    fn from(holder: Option<Who>) -> Self {
        Self {
            holder,
            token: None,
        }
    }
}

/// One logical SDK call, or one start without a call id.
#[derive(Debug, PartialEq)]
pub struct Call {
    pub serial: u32,
    pub client: Option<NameId>,
    pub id: Option<Text>,
    pub max_attempts: Option<u64>,
    /// Whether its end has been counted.
    pub counted: bool,
    /// Class of its `call_end`.
    pub ended: Option<Class>,
    /// Whether `in_progress_remote` was given.
    pub remote_given: bool,
    /// Whether its attempt 1 was seen.
    pub first_seen: bool,
    /// Highest attempt number seen.
    pub last_number: u64,
}

/// Why an attempt is no longer open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    OwnEnd,
    Lease,
    Disconnect,
    NextAttempt,
    CallEnd,
}

impl ClosedBy {
    pub const ALL: [Self; 5] = [
        Self::OwnEnd,
        Self::Lease,
        Self::Disconnect,
        Self::NextAttempt,
        Self::CallEnd,
    ];
}

/// Whether an attempt is open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Progress {
    Open(LeaseId),
    Closed {
        by: ClosedBy,
        class: Class,
        at: Timestamp,
        order: u64,
        resolved: bool,
    },
}

/// A start verdict that may still come true, and the finding that said it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    pub verdict: Verdict,
    pub finding: u64,
}

/// What a success says the server did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    /// Nothing about it.
    Untold,
    /// It read: the request had been executed before, and this is a replay.
    Read,
    /// It wrote.
    Written,
}

impl Units {
    pub const ALL: [Self; 3] = [Self::Untold, Self::Read, Self::Written];

    /// As an end tells it.
    pub fn of(event: &Event<'_>) -> Self {
        let some = |units: Option<f64>| units.is_some_and(|units| units > 0.0);
        match (some(event.write_units), some(event.read_units)) {
            (true, _) => Self::Written,
            (false, true) => Self::Read,
            (false, false) => Self::Untold,
        }
    }
}

/// One request on the wire.
#[derive(Debug, PartialEq)]
pub struct Attempt {
    pub serial: u32,
    /// Serial number of its call.
    pub call: u32,
    pub client: Option<NameId>,
    pub number: u64,
    /// Whether its event named the call. One that did not may belong to a named call all the same,
    /// but is never taken for an attempt that somebody names.
    pub named: bool,
    /// The lifecycle it belongs to.
    pub life: u32,
    /// First start of that lifecycle.
    pub life_start: Timestamp,
    /// Whether it was another request than its lifecycle's; set when that lifecycle is over.
    pub was_other: bool,
    pub start: Timestamp,
    /// Order of input of its start; `None` if only its end was seen.
    pub order: Option<u64>,
    pub print: Print,
    pub trace: Option<TraceContext>,
    pub verdict: Option<Verdict>,
    pub prediction: Option<Prediction>,
    pub start_seen: bool,
    pub end_seen: bool,
    pub units: Units,
    pub progress: Progress,
}

impl Attempt {
    pub fn is_open(&self) -> bool {
        matches!(self.progress, Progress::Open(_))
    }

    /// Ended without telling the outcome, and nothing told it since. An attempt that was known to be
    /// another request than its lifecycle's when it ended is never unresolved: it says nothing.
    pub fn is_unresolved(&self) -> bool {
        matches!(self.progress, Progress::Closed { class, resolved: false, .. } if class.is_ambiguous())
    }

    /// Closed by something that its own end may still correct.
    pub fn closed_by(&self, causes: &[ClosedBy]) -> bool {
        matches!(self.progress, Progress::Closed { by, .. } if causes.contains(&by))
    }
}
