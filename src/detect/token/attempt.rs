//! Attempts and the calls they belong to.

use crate::detect::leases::LeaseId;
use crate::detect::names::NameId;
use crate::detect::profile::Class;
use crate::detect::text::Text;
use crate::detect::time::Timestamp;
use crate::detect::trace::TraceContext;
use crate::detect::verdict::Verdict;

/// The two fingerprints of a request; either may be missing.
#[derive(Clone, Debug, Default)]
pub struct Print {
    pub fp: Option<Text>,
    pub raw: Option<Text>,
}

/// Whether two requests are the same as far as their fingerprints tell.
pub fn same(a: Option<&Text>, b: Option<&Text>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

/// One attempt, named so that it can be told after the attempt itself is forgotten.
#[derive(Clone, Debug)]
pub struct Who {
    pub client: Option<NameId>,
    pub call: Option<Text>,
    pub attempt: u64,
    pub since: Timestamp,
    pub trace: Option<TraceContext>,
    pub serial: u32,
}

/// One logical SDK call, or one start without a call id.
#[derive(Debug)]
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

/// Whether an attempt is open.
#[derive(Clone, Copy, Debug)]
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
#[derive(Clone, Copy, Debug)]
pub struct Prediction {
    pub verdict: Verdict,
    pub finding: u64,
}

/// One request on the wire.
#[derive(Debug)]
pub struct Attempt {
    pub serial: u32,
    /// Serial number of its call.
    pub call: u32,
    pub client: Option<NameId>,
    pub number: u64,
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
