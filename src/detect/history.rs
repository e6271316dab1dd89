//! What a lifecycle hands out for its span, and when.

use super::Trace;
use super::finding::{AttemptRecord, Lifecycle, Mark, Status};
use super::judge::Judge;
use super::names::{NameId, Names};
use super::time::Timestamp;
use super::token::{Attempt, History, Progress, Token};

/// Verdicts kept for one span.
pub const MARKS_MAX: usize = 64;

impl History {
    /// Keeps a verdict for the span; the oldest ones tell the cause, so later ones are left out.
    pub fn mark(&mut self, mark: Mark) {
        if self.marks.len() < MARKS_MAX {
            self.marks.push(mark);
        }
    }

    /// An attempt started: with all lifecycles traced, that alone is worth a span.
    pub fn dirty(&mut self, trace: Trace) {
        self.pending |= trace == Trace::All;
    }
}

impl Judge<'_> {
    /// Hands out the current lifecycle if it is settled and worth it. Returns whether a deadline
    /// is needed because its outcome is still unknown.
    pub fn settle(&mut self, token: &mut Token) -> bool {
        if !token.life.history.pending || token.current().any(Attempt::is_open) {
            return false;
        }
        match token.status {
            Status::InFlight | Status::Unknown => {
                !std::mem::replace(&mut token.life.history.queued, true)
            }
            Status::Succeeded | Status::Cancelled | Status::Rejected => {
                self.hand_out(token, self.now);
                false
            }
        }
    }

    /// Hands out what is pending of the current lifecycle, which ended at `end`.
    pub fn hand_out(&mut self, token: &mut Token, end: Timestamp) {
        if !std::mem::replace(&mut token.life.history.pending, false) {
            return;
        }
        let from = token.life.history.handed_out.replace(self.order);
        let marks = std::mem::take(&mut token.life.history.marks);
        let fresh = |attempt: &&Attempt| {
            let closed = match attempt.progress {
                Progress::Open(_) => None,
                Progress::Closed { order, .. } => Some(order),
            };
            from.is_none_or(|from| attempt.order > Some(from) || closed > Some(from))
        };
        let attempts: Vec<_> = token
            .current()
            .filter(fresh)
            .map(|attempt| record(token, attempt, self.names))
            .collect();
        let starts = attempts
            .iter()
            .map(|attempt| attempt.start)
            .chain(marks.iter().map(|mark| mark.at));
        let start = match from {
            None => token.life.first_start,
            Some(_) => starts.min().unwrap_or(end),
        };
        let last_error = token.life.history.last_error.take();
        let last = token
            .current()
            .filter_map(|attempt| match attempt.progress {
                Progress::Closed { class, order, .. } => Some((order, class)),
                Progress::Open(_) => None,
            });
        self.out.settled.push(Lifecycle {
            profile: self.id,
            api: self.names.get(token.api).into(),
            token: token.text.to_string().into(),
            scope: self.names.get(token.scope).into(),
            start,
            end: end.max(start),
            status: token.status,
            last_class: last.max_by_key(|(order, _)| *order).map(|(_, class)| class),
            last_error: last_error.map(|error| self.names.get(error).into()),
            marks,
            attempts,
            parent: token.life.trace,
        });
    }
}

/// An attempt as it is shown outside.
pub fn record(token: &Token, attempt: &Attempt, names: &Names) -> AttemptRecord {
    let name = |id: NameId| Box::from(names.get(id));
    let call = token.call_id(attempt);
    AttemptRecord {
        client: attempt.client.map(name),
        call: call.map(|id| id.to_string().into()),
        number: attempt.number,
        start: attempt.start,
        end: match attempt.progress {
            Progress::Open(_) => None,
            Progress::Closed { class, at, .. } => Some((at, class)),
        },
        verdict: attempt.verdict,
        trace: attempt.trace,
    }
}
