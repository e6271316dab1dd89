//! One lifecycle of a token: from a first start to the start that begins anew.

use super::{Print, Who};
use crate::detect::finding::Mark;
use crate::detect::key::Key;
use crate::detect::names::NameId;
use crate::detect::text::Text;
use crate::detect::time::Timestamp;
use crate::detect::trace::TraceContext;

/// The first success of a lifecycle.
#[derive(Clone, Debug, PartialEq)]
pub struct Success {
    pub at: Timestamp,
    pub who: Who,
}

/// A fingerprint with which the token succeeded, in any lifecycle, and the attempt that first did.
#[derive(Debug, PartialEq)]
pub struct Executed {
    pub print: Print,
    pub who: Who,
    /// When its success was told.
    pub at: Timestamp,
    /// Order of input of that, if all such answers so far were replays.
    pub replayed: Option<u64>,
}

/// The last definite answer that was none of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Cancelled,
    Rejected,
}

/// The newer token that repeats this one's request (fine print 11 b).
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub key: Key,
    pub born: u64,
    pub text: Text,
    pub who: Who,
}

/// From a first start to the start that begins anew.
#[derive(Debug, PartialEq)]
pub struct Life {
    pub number: u32,
    pub first_start: Timestamp,
    /// Order of input of the event that began it.
    pub order: u64,
    pub success: Option<Success>,
    pub print: Option<(Print, Who)>,
    pub answer: Option<Answer>,
    pub mismatch_seen: bool,
    /// A forgotten attempt's outcome is unknown.
    pub forgotten_unresolved: bool,
    /// Whether its unknown outcome was reported as repeated under a fresh token.
    pub reported: bool,
    pub note: Option<Box<Note>>,
    /// Trace of its first attempt that had one.
    pub trace: Option<TraceContext>,
    pub history: History,
}

/// What of a lifecycle still waits to be handed out for its span.
#[derive(Debug, Default, PartialEq)]
pub struct History {
    /// Findings and verdicts on ends, not yet handed out.
    pub marks: Vec<Mark>,
    /// Error code of the last end that had one, kept only if spans are.
    pub last_error: Option<NameId>,
    /// Whether there is anything new that is worth a span.
    pub pending: bool,
    /// Order of input up to which attempts were handed out.
    pub handed_out: Option<u64>,
    /// Whether a deadline for handing it out is set.
    pub queued: bool,
}

impl Life {
    pub fn new(number: u32, first_start: Timestamp, order: u64) -> Self {
        Self {
            number,
            first_start,
            order,
            success: None,
            print: None,
            answer: None,
            mismatch_seen: false,
            forgotten_unresolved: false,
            reported: false,
            note: None,
            trace: None,
            history: History::default(),
        }
    }

    pub fn fp(&self) -> Option<Key> {
        self.print.as_ref().and_then(|(print, _)| print.fp)
    }
}
