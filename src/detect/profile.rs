//! API profiles (SPEC §5): the rules of one token-taking operation, from TOML.

mod settings;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use super::event::{Event, Outcome};
use super::time::Timestamp;

pub use settings::{CAPACITY_MAX, HumanDuration, parse_duration, profiles};

/// Name of the profile that judges APIs nobody described.
pub const DEFAULT: &str = "default";

/// What an attempt's end says about the request (SPEC §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Applied now or by an earlier attempt.
    Success,
    /// Ambiguous: nothing was heard.
    NoResponse,
    /// Ambiguous: an earlier request with this token is still running.
    InProgress,
    /// This payload was not applied: the token is bound to another one.
    Mismatch,
    /// Definite: evaluated and not applied.
    Cancelled,
    /// Definite: not applied for lack of capacity.
    Throttled,
    /// Definite: not applied.
    Rejected,
    /// Ambiguous: the server failed and may have applied it.
    ServerError,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 8] = [
        Self::Success,
        Self::NoResponse,
        Self::InProgress,
        Self::Mismatch,
        Self::Cancelled,
        Self::Throttled,
        Self::Rejected,
        Self::ServerError,
    ];

    /// The classes a code list can name, in the order in which the lists are searched.
    const LISTED: [Self; 7] = [
        Self::InProgress,
        Self::Mismatch,
        Self::Cancelled,
        Self::Throttled,
        Self::Rejected,
        Self::ServerError,
        Self::NoResponse,
    ];

    /// The label's value and the key in `codes`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::NoResponse => "no_response",
            Self::InProgress => "in_progress",
            Self::Mismatch => "mismatch",
            Self::Cancelled => "cancelled",
            Self::Throttled => "throttled",
            Self::Rejected => "rejected",
            Self::ServerError => "server_error",
        }
    }

    /// Whether an attempt that ends like this is the last one of its call.
    pub const fn ends_call(self) -> bool {
        matches!(
            self,
            Self::Success | Self::Cancelled | Self::Mismatch | Self::Rejected
        )
    }

    /// Whether the outcome stays unknown.
    pub const fn is_ambiguous(self) -> bool {
        matches!(
            self,
            Self::NoResponse | Self::InProgress | Self::ServerError
        )
    }
}

/// Which characters a token may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// All.
    Any,
    /// U+0020 to U+007E.
    AsciiPrintable,
    /// A UUID in the usual form, 8-4-4-4-12 hex digits.
    Uuid,
}

impl Charset {
    /// The rule in words, to follow the length.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::AsciiPrintable => " from U+0020 to U+007E",
            Self::Uuid => " that form a UUID",
        }
    }
}

/// From when the server counts its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Completion of the first request.
    FirstCompleted,
    /// Start of the first request.
    FirstStart,
}

/// What the server does with a known token and other parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MismatchPolicy {
    /// It answers with an error.
    Error,
    /// It answers as if all were well and drops the request.
    Silent,
}

/// Where a point in time lies for a token that has succeeded (SPEC §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// The server surely still knows the token.
    Inside,
    /// Whether it does depends on when its clock started.
    Edge,
    /// The server has surely forgotten the token.
    Past,
}

/// The rules of one token-taking operation.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Name, as in the field `api`.
    pub name: Box<str>,
    /// Longest token, in characters.
    pub token_max_len: usize,
    /// Characters a token may have.
    pub token_charset: Charset,
    /// How long the server remembers a token.
    pub window: Duration,
    /// From when.
    pub window_anchor: Anchor,
    /// How much longer than the window a token is kept here.
    pub retention: Duration,
    /// How long an open attempt is believed to be running.
    pub lease: Duration,
    /// Age of the first attempt at which the server completes a stuck request on a retry.
    pub recovery_delay: Option<Duration>,
    /// Tokens remembered.
    pub capacity: usize,
    /// What the server does with other parameters.
    pub mismatch: MismatchPolicy,
    /// Whether the server answers a retry of a failed request with the stored failure.
    pub failures_remembered: bool,
    /// Name of the token in the request body; empty if it is not in the body.
    pub token_field: Box<str>,
    /// Top-level body fields that only shape the response.
    pub ignored_fields: Vec<Box<str>>,
    codes: HashMap<Box<str>, Class>,
}

impl Profile {
    /// How long a token is kept after its last sighting.
    pub fn ttl(&self) -> Duration {
        self.window.saturating_add(self.retention)
    }

    /// Whether the server would take `token`.
    pub fn accepts(&self, token: &str) -> bool {
        let charset = match self.token_charset {
            Charset::Any => true,
            Charset::AsciiPrintable => token.bytes().all(|b| (0x20..=0x7e).contains(&b)),
            Charset::Uuid => is_uuid(token),
        };
        let max = self.token_max_len;
        let fits = token.len() <= max || token.chars().count() <= max;
        !token.is_empty() && charset && fits
    }

    /// Classifies an end by SPEC §3, from top to bottom; without an outcome it is `NoResponse`.
    pub fn classify(&self, event: &Event<'_>) -> Class {
        match event.outcome {
            Some(Outcome::Ok) => return Class::Success,
            Some(Outcome::NoResponse) | None => return Class::NoResponse,
            Some(Outcome::Error) => {}
        }
        let code = event.error.as_deref();
        let by_code = code.and_then(|code| self.codes.get(code));
        let by_status = event
            .http_status
            .and_then(|status| self.codes.get(status.to_string().as_str()));
        let listed = [by_code, by_status]
            .into_iter()
            .flatten()
            .copied()
            .min_by_key(rank);
        let server_failed = event
            .http_status
            .is_some_and(|status| (500..600).contains(&status));
        let unanswered = event.http_status.is_none_or(|status| status == 408)
            || code.is_some_and(|c| c.contains("Timeout"));
        match listed {
            Some(class) if rank(&class) < rank(&Class::ServerError) || !server_failed => class,
            _ if server_failed => Class::ServerError,
            _ if unanswered => Class::NoResponse,
            _ => Class::Rejected,
        }
    }

    /// The zone of `now` for a token that started at `first_start` and succeeded at `first_success`.
    pub fn zone(&self, first_start: Timestamp, first_success: Timestamp, now: Timestamp) -> Zone {
        let past = match self.window_anchor {
            Anchor::FirstCompleted => first_success + self.window,
            Anchor::FirstStart => first_start + self.window,
        };
        if now >= past {
            Zone::Past
        } else if now >= first_start + self.window {
            Zone::Edge
        } else {
            Zone::Inside
        }
    }
}

/// Position of a class in the search order.
fn rank(class: &Class) -> usize {
    Class::LISTED
        .iter()
        .position(|listed| listed == class)
        .unwrap_or(usize::MAX)
}

fn is_uuid(token: &str) -> bool {
    let dash = |i: usize| matches!(i, 8 | 13 | 18 | 23);
    token.len() == 36
        && token.bytes().enumerate().all(|(i, b)| {
            if dash(i) {
                b == b'-'
            } else {
                b.is_ascii_hexdigit()
            }
        })
}
