//! The sentence of a finding: what happened, with its numbers. Never contains the token.

use std::fmt;
use std::time::Duration;

use super::finding::Holder;
use super::profile::{HumanDuration, Profile};
use super::time::Timestamp;
use super::token::{Token, Who};
use super::verdict::Verdict;

/// What the token's lifecycle was before the event that is judged changed it.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub first_start: Timestamp,
    pub success: Option<Timestamp>,
}

impl Facts {
    pub fn of(token: &Token) -> Self {
        Self {
            first_start: token.life.first_start,
            success: token.life.success.as_ref().map(|success| success.at),
        }
    }

    /// Since the success, where the verdict is about using a succeeded token; else since the first start.
    pub fn age(&self, verdict: Verdict, now: Timestamp) -> Option<Duration> {
        let about_success = matches!(
            verdict,
            Verdict::Replay
                | Verdict::WindowEdge
                | Verdict::ReuseAfterWindow
                | Verdict::DoubleExecution
        );
        match (verdict, self.success) {
            (Verdict::FirstUse | Verdict::TokenInvalid, _) => None,
            (_, Some(success)) if about_success => Some(now.since(success)),
            _ => Some(now.since(self.first_start)),
        }
    }
}

/// A length of time as a person reads it: two units at most.
struct Lasted(Duration);

impl fmt::Display for Lasted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 => write!(f, "{} ms", self.0.as_micros() as f64 / 1000.0),
            1..60 => write!(f, "{} s", (self.0.as_secs_f64() * 1000.0).round() / 1000.0),
            60..3600 => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            3600..86_400 => write!(f, "{} h {} min", seconds / 3600, seconds % 3600 / 60),
            _ => write!(f, "{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
        }
    }
}

/// Writes the sentence.
pub fn message(
    verdict: Verdict,
    profile: &Profile,
    facts: &Facts,
    now: Timestamp,
    holder: Option<&Holder>,
    who: &Who,
) -> String {
    let age = Lasted(now.since(facts.first_start));
    let since_success = Lasted(now.since(facts.success.unwrap_or(facts.first_start)));
    let window = HumanDuration(profile.window);
    let lease = HumanDuration(profile.lease);
    let attempt = who.attempt;
    let other = Other(holder, now);
    match verdict {
        Verdict::FirstUse => "first use of this token".to_owned(),
        Verdict::SdkRetry => {
            format!("attempt {attempt} of the same call, {age} after the first start")
        }
        Verdict::SafeRetry => {
            format!("sent again by another call {age} after the first start, as it should be")
        }
        Verdict::Replay => format!(
            "sent again {since_success} after it succeeded; the server does nothing inside its window of {window} and charges read capacity"
        ),
        Verdict::RetryAfterCancel => format!(
            "sent again unchanged after a cancelled transaction, {age} after the first start"
        ),
        Verdict::InProgressLocal => format!(
            "the server is still working on this token {age} after the first start, for {other}"
        ),
        Verdict::InFlightCollision => {
            format!("a second call of this client started while {other} was open")
        }
        Verdict::CrossClientCollision => {
            format!("another client's call started while {other} was open")
        }
        Verdict::InProgressRemote => format!(
            "the server is working on this token, {age} after the first start seen here, for a sender that is not known here: another pod, an earlier process, or an entry that was evicted"
        ),
        Verdict::InProgressExhausted => format!(
            "the call gave up at attempt {attempt}, {age} after the first start, while the server was still working: the outcome is unknown"
        ),
        Verdict::RetryBudgetTooShort => format!(
            "the last attempt, number {attempt}, started {} after the first; only one that starts at least {} after it completes a stuck request",
            Lasted(who.since.since(facts.first_start)),
            HumanDuration(profile.recovery_delay.unwrap_or_default()),
        ),
        Verdict::ParameterMismatch => {
            format!("sent with other parameters than {other}, {age} after the first start")
        }
        Verdict::EncodingMismatch => format!(
            "refused as a mismatch although the parameters equal those of {other}: the bytes differ (order of keys, number text)"
        ),
        Verdict::RemoteMismatch => format!(
            "refused as a mismatch {age} after the first start seen here, and nothing known here was sent with other parameters: another sender used this token"
        ),
        Verdict::ChangedAfterCancel => format!(
            "sent with other parameters than the cancelled {other}, {age} after the first start"
        ),
        Verdict::WindowEdge => match facts.success {
            Some(_) => format!(
                "sent again {since_success} after it succeeded and {age} after its first start: the window of {window} may have ended"
            ),
            None => format!(
                "sent again {age} after its first start with the outcome still unknown: the window of {window} may have ended"
            ),
        },
        Verdict::ReuseAfterWindow => format!(
            "sent again {since_success} after it succeeded; the server remembers it for {window}, so this request is executed again"
        ),
        Verdict::TokenRecycled => format!(
            "a token first used {age} ago, beyond its window of {window}, is used for another request than {other}"
        ),
        Verdict::DoubleExecution => {
            format!("the server wrote again, {since_success} after {other} had succeeded")
        }
        Verdict::FreshTokenAfterUnknown => format!(
            "the same request was sent under this new token while the outcome of an older one, of {other}, is unknown: it may be applied twice"
        ),
        Verdict::StuckInFlight => format!(
            "attempt {attempt} has not ended within its lease of {lease}; its outcome is unknown"
        ),
        Verdict::Orphaned => format!(
            "the connection that reported attempt {attempt} closed {} after its start; its outcome is unknown",
            Lasted(now.since(who.since)),
        ),
        Verdict::TokenInvalid => format!(
            "the server does not accept this token: it must have 1 to {} characters{}",
            profile.token_max_len,
            profile.token_charset.describe(),
        ),
        Verdict::HardCodedToken => {
            format!("the third different request under this token, {age} after the first start")
        }
    }
}

/// The other side of a finding, in words.
struct Other<'a>(Option<&'a Holder>, Timestamp);

impl fmt::Display for Other<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(holder) = self.0 else {
            return f.write_str("an earlier attempt");
        };
        let ago = Lasted(self.1.since(holder.since));
        write!(f, "the attempt that started {ago} earlier")?;
        match (&holder.client, &holder.call) {
            (Some(client), Some(call)) => write!(f, " (client {client}, call {call})"),
            (Some(client), None) => write!(f, " (client {client})"),
            (None, Some(call)) => write!(f, " (call {call})"),
            (None, None) => Ok(()),
        }
    }
}
