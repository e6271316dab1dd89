//! The two steps of nearly every token, its first start and the success of that attempt, done to the
//! packed token itself.
//!
//! Each gives what unpacking, judging and packing would give, or nothing where that is not sure. Tests
//! hold them to it.

use super::*;
use crate::detect::event::{Event, Outcome};
use crate::detect::text::compact;

/// What follows from the success of an open attempt.
pub struct Succeeded {
    /// The attempt's lease, to be closed.
    pub lease: LeaseId,
    /// Where it stood among the undecided.
    pub place: Option<Place>,
    /// When the attempt started.
    pub start: Timestamp,
    /// Whether this is the first that is heard of its call's end.
    pub ends_call: bool,
}

impl Plain {
    /// The token that a first start makes, at order `order` of input; its lease is still to be set.
    pub fn first_use(
        event: &Event<'_>,
        client: Option<NameId>,
        [api, scope]: [NameId; 2],
        print: Print,
        order: u64,
    ) -> Option<Self> {
        let (text_form, text) = compact(&event.token)?;
        let (call_form, call) = match &event.call {
            None => (NO_CALL_ID, [0; 16]),
            Some(id) => compact(id).map(|(form, id)| (u32::from(form), id))?,
        };
        let mut flags = Flags::default();
        flags.set(TEXT_FORM, u32::from(text_form));
        flags.set(CALL_FORM, call_form);
        flags.set(FP, u32::from(print.fp.is_some()));
        flags.set(RAW, u32::from(print.raw.is_some()));
        for field in [BEGUN, START_SEEN, OPEN] {
            flags.set(field, 1);
        }
        event.trace.is_none().then_some(())?;
        Some(Self {
            text,
            call,
            fp: print.fp.unwrap_or_default(),
            raw: print.raw.map_or(0, |raw| raw.0),
            order_and_client: order_and_client(order, client)?,
            age: 0,
            progress: 0,
            flags,
            ended: None,
            numbers: numbers(event.attempt, event.max_attempts)?,
            api: api.small(255)? as u8,
            scope: scope.small(255)? as u8,
        })
    }

    /// Sets the lease of an open attempt.
    pub fn lend(&mut self, lease: LeaseId) {
        self.progress = lease.0;
    }

    /// Ends the open attempt as this event tells, if it says that it succeeded and nothing else.
    /// `last_seen` is that of the token so far.
    pub fn succeed(
        &mut self,
        event: &Event<'_>,
        client: Option<NameId>,
        last_seen: Timestamp,
        now: Timestamp,
    ) -> Option<Succeeded> {
        let plainly = event.outcome == Some(Outcome::Ok) && event.error.is_none();
        let is = |field| self.flags.is(field);
        let open = is(OPEN) && is(BEGUN) && !is(END_SEEN) && self.ended.is_none();
        if !plainly || !open || event.trace.is_some() || !self.is_named_by(event, client) {
            return None;
        }
        let start = Timestamp::from_micros(last_seen.as_micros() - i64::from(self.age));
        let age = micros(start, now)?;
        let limit = event.max_attempts.or(self.limit());
        let numbers = numbers(u64::from(self.numbers & 15), limit)?;
        let done = Succeeded {
            lease: LeaseId(self.progress),
            place: is(FP).then_some(Place {
                request: self.fp,
                first_start: start,
                order: self.order_and_client >> 16,
            }),
            start,
            ends_call: !is(COUNTED),
        };
        self.flags.clear(OPEN);
        for field in [SUCCESS, COUNTED, END_SEEN, EXECUTED] {
            self.flags.set(field, 1);
        }
        self.flags.set(CLOSED_BY, ClosedBy::OwnEnd as u32);
        self.flags.set(CLASS, Class::Success as u32);
        self.flags.set(UNITS, Units::of(event) as u32);
        (self.age, self.progress, self.numbers) = (age, age, numbers);
        Some(done)
    }

    /// Whether an end is that of this token's one attempt.
    fn is_named_by(&self, event: &Event<'_>, client: Option<NameId>) -> bool {
        let attempt = event.call.as_deref().is_none_or(|id| {
            let own = (self.flags.get(CALL_FORM) as u8, self.call);
            u64::from(self.numbers & 15) == event.attempt && compact(id) == Some(own)
        });
        attempt && self.client() == client
    }

    fn limit(&self) -> Option<u64> {
        Some(u64::from(self.numbers >> 4)).filter(|limit| *limit > 0)
    }
}
