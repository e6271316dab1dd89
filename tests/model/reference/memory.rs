//! What an answer changes in the memory of a token, and what is forgotten (SPEC §3, fine print 1, 3
//! and 12).

use super::decode::Event;
use super::entry::{Attempt, Entry, Print, equal};
use super::profile::{Class, Profile};

const CALLS_MAX: usize = 8;
const OPEN_ATTEMPTS_MAX: usize = 8;
const SUCCESS_FINGERPRINTS_MAX: usize = 4;
const COUNTED_FINGERPRINTS_MAX: usize = 3;

impl Entry {
    /// The effect of an answer, or of its lack, on the attempt's lifecycle. Never called for what a
    /// silent server dropped.
    pub fn apply(&mut self, attempt: usize, class: Class, profile: &Profile, now: i64) {
        self.attempts[attempt].unresolved = false;
        let answered = self.attempts[attempt].clone();
        let id = answered.lifecycle;
        let same = equal(&answered.fp, &self.lifecycles[id].fp);
        if class == Class::Success {
            if profile.mismatch_silent && !same {
                return;
            }
            self.remember_success(&answered);
            self.make_final(&answered, now);
        }
        if !same {
            return;
        }
        if profile.failures_remembered && matches!(class, Class::Rejected | Class::ServerError) {
            self.make_final(&answered, now);
        }
        match class {
            Class::Success => {}
            Class::NoResponse | Class::InProgress | Class::ServerError => {
                self.attempts[attempt].unresolved = true
            }
            Class::Mismatch => {
                self.lifecycles[id].definite =
                    self.lifecycles[id].definite.or(Some(Class::Mismatch));
            }
            Class::Throttled | Class::Rejected => {
                self.lifecycles[id].definite = Some(Class::Rejected)
            }
            Class::Cancelled => {
                self.lifecycles[id].definite = Some(Class::Cancelled);
                self.lifecycles[id].unresolved_forgotten = false;
                for other in self
                    .attempts
                    .iter_mut()
                    .filter(|other| other.lifecycle == id)
                {
                    other.unresolved = false;
                }
            }
        }
    }

    fn make_final(&mut self, attempt: &Attempt, now: i64) {
        let lifecycle = &mut self.lifecycles[attempt.lifecycle];
        if lifecycle.final_at.is_none() {
            lifecycle.final_at = Some(now);
            lifecycle.final_holder = Some(attempt.holder());
        }
    }

    fn remember_success(&mut self, attempt: &Attempt) {
        let read_only = attempt.wrote == Some(false);
        let closed = attempt.closed.expect("a success is closed");
        let room = self.succeeded.len() < SUCCESS_FINGERPRINTS_MAX;
        let known = self
            .succeeded
            .iter_mut()
            .find(|print| print.fp == attempt.fp);
        match known {
            Some(known) => {
                if !read_only {
                    known.replayed = None;
                }
                known.fp_raw = known.fp_raw.take().or(attempt.fp_raw.clone());
            }
            None if room => self.succeeded.push(Print {
                fp: attempt.fp.clone(),
                fp_raw: attempt.fp_raw.clone(),
                holder: Some(attempt.holder()),
                replayed: read_only.then_some((closed.at, closed.seq)),
            }),
            None => {}
        }
    }

    /// A fingerprint in a start. `counts`: for hard_coded_token.
    pub fn saw(&mut self, event: &Event, counts: bool) {
        if event.fp.is_none() {
            return;
        }
        if let Some(print) = self.counted.iter_mut().find(|print| print.fp == event.fp) {
            print.fp_raw = print.fp_raw.take().or(event.fp_raw.clone());
            return;
        }
        let mut print = Print {
            fp: event.fp.clone(),
            fp_raw: event.fp_raw.clone(),
            holder: None,
            replayed: None,
        };
        let room = self.counted.len() < COUNTED_FINGERPRINTS_MAX;
        match self.uncounted.take() {
            Some(before) if before.fp == event.fp => {
                print.fp_raw = before.fp_raw.or(print.fp_raw);
                match counts && room {
                    true => self.counted.push(print),
                    false => self.uncounted = Some(print),
                }
            }
            before => {
                self.uncounted = before;
                if counts && room {
                    self.counted.push(print);
                } else if !counts && self.uncounted.is_none() {
                    self.uncounted = Some(print);
                }
            }
        }
    }

    pub fn is_hard_coded(&self) -> bool {
        self.counted.len() == COUNTED_FINGERPRINTS_MAX
    }

    /// Fine print 1. Returns how many open attempts were forgotten for their number.
    pub fn forget_old_calls(&mut self) -> u64 {
        let mut overflowed = 0;
        while self
            .attempts
            .iter()
            .filter(|attempt| attempt.is_open())
            .count()
            > OPEN_ATTEMPTS_MAX
        {
            let oldest = self
                .calls
                .iter()
                .map(|call| call.id)
                .find(|&call| self.has_open(call));
            self.forget(oldest.expect("an open attempt has a call"));
            overflowed += 1;
        }
        let recent = self.calls.len().saturating_sub(CALLS_MAX);
        let old: Vec<usize> = self.calls[..recent].iter().map(|call| call.id).collect();
        for call in old {
            if !self.has_open(call) {
                self.forget(call);
            }
        }
        overflowed
    }

    fn has_open(&self, call: usize) -> bool {
        self.attempts
            .iter()
            .any(|attempt| attempt.call == call && attempt.is_open())
    }

    fn forget(&mut self, call: usize) {
        for attempt in self
            .attempts
            .iter()
            .filter(|attempt| attempt.call == call && attempt.unresolved)
        {
            self.lifecycles[attempt.lifecycle].unresolved_forgotten = true;
        }
        self.attempts.retain(|attempt| attempt.call != call);
        self.calls.retain(|known| known.id != call);
    }
}
