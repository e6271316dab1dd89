//! What a token forgets when it becomes too long.

use super::{Call, Progress, Token};
use crate::detect::finding::Gap;
use crate::detect::leases::LeaseId;
use crate::detect::{ATTEMPTS_MAX, CALLS_MAX, OPEN_ATTEMPTS_MAX};

impl Token {
    /// Whether [`Token::enforce_bounds`] may have something to do.
    pub fn is_crowded(&self) -> bool {
        self.calls.len() > CALLS_MAX || self.attempts.len() > ATTEMPTS_MAX
    }

    /// Forgets what exceeds the bounds: closed calls beyond the [`CALLS_MAX`] most recent, calls
    /// beyond [`OPEN_ATTEMPTS_MAX`] open attempts, closed attempts beyond [`ATTEMPTS_MAX`]. Calls
    /// `gap` for each and hands back the leases that were open.
    pub fn enforce_bounds(&mut self, mut gap: impl FnMut(Gap), mut close: impl FnMut(LeaseId)) {
        while self
            .attempts
            .iter()
            .filter(|attempt| attempt.is_open())
            .count()
            > OPEN_ATTEMPTS_MAX
        {
            let open = |call: &Call| {
                self.attempts
                    .iter()
                    .any(|a| a.call == call.serial && a.is_open())
            };
            let Some(oldest) = self.calls.iter().position(open) else {
                break;
            };
            self.forget_call(oldest, &mut close);
            gap(Gap::OpenAttemptsOverflow);
        }
        let mut index = 0;
        while self.calls.len() - index > CALLS_MAX {
            let serial = self.calls[index].serial;
            if self
                .attempts
                .iter()
                .any(|attempt| attempt.call == serial && attempt.is_open())
            {
                index += 1;
            } else {
                self.forget_call(index, &mut close);
                gap(Gap::CallsOverflow);
            }
        }
        while self.attempts.len() > ATTEMPTS_MAX {
            let Some(oldest) = self.attempts.iter().position(|attempt| !attempt.is_open()) else {
                break;
            };
            self.forget_attempt(oldest, &mut close);
            gap(Gap::CallsOverflow);
        }
    }

    fn forget_call(&mut self, index: usize, close: &mut impl FnMut(LeaseId)) {
        let call = self.calls.remove(index);
        while let Some(attempt) = self
            .attempts
            .iter()
            .position(|attempt| attempt.call == call.serial)
        {
            self.forget_attempt(attempt, close);
        }
    }

    /// Forgets an attempt; that its outcome is unknown is not forgotten.
    fn forget_attempt(&mut self, index: usize, close: &mut impl FnMut(LeaseId)) {
        let attempt = self.attempts.remove(index);
        if attempt.is_unresolved() && attempt.life == self.life.number {
            self.life.forgotten_unresolved = true;
        }
        if let Progress::Open(lease) = attempt.progress {
            close(lease);
        }
    }
}
