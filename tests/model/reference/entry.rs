//! What is remembered of one token (SPEC §3, fine print 1, 3 and 12).

use super::Holder;
use super::decode::Event;
use super::profile::{Anchor, Class, Profile};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Status {
    InFlight,
    Succeeded,
    Unknown,
    Cancelled,
    Rejected {
        /// The only answer is a mismatch: the server holds the token for other parameters.
        by_mismatch_alone: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Zone {
    Inside,
    Edge,
    Past,
}

/// What closed an attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum By {
    OwnEnd,
    Lease,
    NextAttempt,
    CallEnd,
}

#[derive(Debug, Clone, Copy)]
pub struct Closed {
    pub by: By,
    pub class: Class,
    pub at: i64,
    pub seq: u64,
}

#[derive(Debug, Clone)]
pub struct Attempt {
    pub call: usize,
    pub call_name: Option<String>,
    pub client: Option<String>,
    pub number: u64,
    /// Whether its event named the call.
    pub named: bool,
    pub lifecycle: usize,
    pub start_at: i64,
    pub start_seq: u64,
    pub fp: Option<String>,
    pub fp_raw: Option<String>,
    pub start_seen: bool,
    pub end_seen: bool,
    pub closed: Option<Closed>,
    /// Its own end said what the server did: `Some(true)` wrote, `Some(false)` only read.
    pub wrote: Option<bool>,
    /// Its end was ambiguous, counted for the status, and nothing has resolved it.
    pub unresolved: bool,
    /// Verdicts of its start.
    pub verdicts: Vec<String>,
    /// Those of them that came true.
    pub confirmed: Vec<String>,
}

impl Attempt {
    pub fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    pub fn had(&self, verdicts: &[&str]) -> Option<String> {
        self.verdicts
            .iter()
            .find(|verdict| verdicts.contains(&verdict.as_str()))
            .cloned()
    }

    pub fn holder(&self) -> Holder {
        Holder {
            client: self.client.clone(),
            call: self.call_name.clone(),
            since_us: self.start_at,
            token: None,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Call {
    pub id: usize,
    pub client: Option<String>,
    /// `None`: events without `call`.
    pub name: Option<String>,
    pub max_attempts: Option<u64>,
    pub ended: bool,
    pub call_end: Option<Class>,
    pub remote_given: bool,
}

/// Fine print 11 (b): the token that may turn out to be a fresh one.
#[derive(Debug, Clone)]
pub struct Note {
    pub entry: u64,
    pub token: String,
    pub client: Option<String>,
    pub call: Option<String>,
    pub attempt: u64,
}

#[derive(Debug, Clone)]
pub struct Lifecycle {
    pub id: usize,
    pub first_start: i64,
    pub first_seq: u64,
    /// First success, or failure that the server remembers.
    pub final_at: Option<i64>,
    pub final_holder: Option<Holder>,
    pub fp: Option<String>,
    pub fp_raw: Option<String>,
    pub fp_giver: Option<Holder>,
    /// Number of the event that brought it; no two attempts share one.
    pub fp_seq: Option<u64>,
    /// Last definite answer, `Cancelled` or `Rejected`.
    pub definite: Option<Class>,
    /// A forgotten call left an unresolved ambiguous end.
    pub unresolved_forgotten: bool,
    pub reported: bool,
    pub note: Option<Note>,
}

/// A fingerprint with its first `fp_raw`.
#[derive(Debug, Clone)]
pub struct Print {
    pub fp: Option<String>,
    pub fp_raw: Option<String>,
    pub holder: Option<Holder>,
    /// Of a success that was a replay: when it was reported, and by which event.
    pub replayed: Option<(i64, u64)>,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub id: u64,
    pub profile: usize,
    pub api: String,
    pub scope: String,
    pub token: String,
    pub seen_at: i64,
    pub seen_seq: u64,
    pub lifecycles: Vec<Lifecycle>,
    pub calls: Vec<Call>,
    pub attempts: Vec<Attempt>,
    pub succeeded: Vec<Print>,
    pub counted: Vec<Print>,
    pub uncounted: Option<Print>,
    pub hard_coded_given: bool,
    next_call: usize,
}

/// If one side is missing, the two count as equal.
pub fn equal(one: &Option<String>, other: &Option<String>) -> bool {
    one.is_none() || other.is_none() || one == other
}

impl Entry {
    pub fn new(
        id: u64,
        profile: usize,
        event: &Event,
        first_start: i64,
        now: i64,
        seq: u64,
    ) -> Self {
        let mut entry = Entry {
            id,
            profile,
            api: event.api.clone(),
            scope: event.scope.clone(),
            token: event.token.clone(),
            seen_at: now,
            seen_seq: seq,
            lifecycles: Vec::new(),
            calls: Vec::new(),
            attempts: Vec::new(),
            succeeded: Vec::new(),
            counted: Vec::new(),
            uncounted: None,
            hard_coded_given: false,
            next_call: 0,
        };
        entry.begin_lifecycle(first_start, seq);
        entry
    }

    pub fn begin_lifecycle(&mut self, first_start: i64, first_seq: u64) {
        self.lifecycles.push(Lifecycle {
            id: self.lifecycles.len(),
            first_start,
            first_seq,
            final_at: None,
            final_holder: None,
            fp: None,
            fp_raw: None,
            fp_giver: None,
            fp_seq: None,
            definite: None,
            unresolved_forgotten: false,
            reported: false,
            note: None,
        });
    }

    pub fn current(&self) -> &Lifecycle {
        &self.lifecycles[self.lifecycles.len() - 1]
    }

    pub fn current_mut(&mut self) -> &mut Lifecycle {
        let last = self.lifecycles.len() - 1;
        &mut self.lifecycles[last]
    }

    pub fn status(&self) -> Status {
        let lifecycle = self.current();
        let mine = || {
            self.attempts
                .iter()
                .filter(|attempt| attempt.lifecycle == lifecycle.id)
        };
        if lifecycle.final_at.is_some() {
            Status::Succeeded
        } else if mine().any(Attempt::is_open) {
            Status::InFlight
        } else if mine().any(|attempt| attempt.unresolved) || lifecycle.unresolved_forgotten {
            Status::Unknown
        } else {
            match lifecycle.definite {
                Some(Class::Cancelled) => Status::Cancelled,
                Some(Class::Mismatch) => Status::Rejected {
                    by_mismatch_alone: true,
                },
                _ => Status::Rejected {
                    by_mismatch_alone: false,
                },
            }
        }
    }

    pub fn undecided(&self) -> bool {
        matches!(self.status(), Status::InFlight | Status::Unknown)
    }

    /// Where `now` lies for a succeeded token.
    pub fn zone(&self, profile: &Profile, now: i64) -> Zone {
        let lifecycle = self.current();
        let earliest_end = lifecycle.first_start + profile.window_us;
        let latest_end = match profile.anchor {
            Anchor::FirstStart => earliest_end,
            Anchor::FirstCompleted => {
                lifecycle.final_at.unwrap_or(lifecycle.first_start) + profile.window_us
            }
        };
        if now < earliest_end {
            Zone::Inside
        } else if now < latest_end {
            Zone::Edge
        } else {
            Zone::Past
        }
    }

    pub fn call_of(&self, event: &Event) -> Option<usize> {
        event.call.as_ref()?;
        self.calls
            .iter()
            .find(|call| call.client == event.client && call.name == event.call)
            .map(|call| call.id)
    }

    pub fn call(&mut self, id: usize) -> &mut Call {
        self.calls
            .iter_mut()
            .find(|call| call.id == id)
            .expect("the call of a remembered attempt")
    }

    pub fn add_call(&mut self, event: &Event) -> usize {
        self.next_call += 1;
        self.calls.push(Call {
            id: self.next_call,
            client: event.client.clone(),
            name: event.call.clone(),
            max_attempts: None,
            ended: false,
            call_end: None,
            remote_given: false,
        });
        self.next_call
    }

    pub fn attempt_of(&self, call: usize, number: u64) -> Option<usize> {
        self.attempts
            .iter()
            .position(|attempt| attempt.named && attempt.call == call && attempt.number == number)
    }

    /// The call's last attempt is its highest number.
    pub fn last_attempt(&self, call: usize) -> Option<usize> {
        (0..self.attempts.len())
            .filter(|&index| self.attempts[index].call == call)
            .max_by_key(|&index| self.attempts[index].number)
    }

    pub fn close(&mut self, attempt: usize, by: By, class: Class, at: i64, seq: u64) {
        self.attempts[attempt].closed = Some(Closed { by, class, at, seq });
    }

    /// Adds a started attempt to the current lifecycle; gives the lifecycle its fingerprint if it has none.
    pub fn add_attempt(&mut self, call: usize, event: &Event, start_at: i64, seq: u64) -> usize {
        let (client, name) = {
            let call = self.call(call);
            call.max_attempts = event.max_attempts.or(call.max_attempts);
            (call.client.clone(), call.name.clone())
        };
        self.attempts.push(Attempt {
            call,
            call_name: name.filter(|_| event.call.is_some()),
            client,
            number: event.attempt,
            named: event.call.is_some(),
            lifecycle: self.current().id,
            start_at,
            start_seq: seq,
            fp: event.fp.clone(),
            fp_raw: event.fp_raw.clone(),
            start_seen: false,
            end_seen: false,
            closed: None,
            wrote: None,
            unresolved: false,
            verdicts: Vec::new(),
            confirmed: Vec::new(),
        });
        let index = self.attempts.len() - 1;
        self.give_fingerprint(index);
        index
    }

    pub fn give_fingerprint(&mut self, attempt: usize) {
        let attempt = self.attempts[attempt].clone();
        let lifecycle = &mut self.lifecycles[attempt.lifecycle];
        if lifecycle.fp.is_none() && attempt.fp.is_some() {
            lifecycle.fp_giver = Some(attempt.holder());
            lifecycle.fp_seq = Some(attempt.start_seq);
            lifecycle.fp = attempt.fp;
            lifecycle.fp_raw = attempt.fp_raw;
        }
    }

    /// A new attempt closes the open ones of its call that are not above its number.
    pub fn close_older(&mut self, newest: usize, profile: &Profile, now: i64, seq: u64) {
        for index in 0..self.attempts.len() {
            let older = self.attempts[index].number <= self.attempts[newest].number;
            let same_call = self.attempts[index].call == self.attempts[newest].call;
            if index != newest && same_call && older && self.attempts[index].is_open() {
                self.close(index, By::NextAttempt, Class::NoResponse, now, seq);
                self.apply(index, Class::NoResponse, profile, now);
            }
        }
    }
}
