//! API profiles (SPEC §5) and the classification of an end (SPEC §3).

use super::decode::{Event, OutcomeField};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Anchor {
    FirstCompleted,
    FirstStart,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Charset {
    Any,
    AsciiPrintable,
    Uuid,
}

/// How an attempt's end is classified.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Class {
    Success,
    NoResponse,
    InProgress,
    Mismatch,
    Cancelled,
    Throttled,
    Rejected,
    ServerError,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Class::Success => "success",
            Class::NoResponse => "no_response",
            Class::InProgress => "in_progress",
            Class::Mismatch => "mismatch",
            Class::Cancelled => "cancelled",
            Class::Throttled => "throttled",
            Class::Rejected => "rejected",
            Class::ServerError => "server_error",
        }
    }

    /// Label of `calls_total` for a call that ended in this class (fine print 7).
    pub fn call_outcome(self) -> &'static str {
        match self {
            Class::Success => "applied",
            Class::Cancelled | Class::Throttled | Class::Rejected | Class::Mismatch => {
                "not_applied"
            }
            Class::InProgress => "in_progress_exhausted",
            Class::NoResponse | Class::ServerError => "unknown",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    pub name: String,
    pub token_max_len: usize,
    pub charset: Charset,
    pub window_us: i64,
    pub anchor: Anchor,
    pub retention_us: i64,
    pub lease_us: i64,
    pub recovery_delay_us: Option<i64>,
    pub capacity: usize,
    pub mismatch_silent: bool,
    pub failures_remembered: bool,
    /// Codes or decimal statuses per class.
    pub in_progress: Vec<String>,
    pub mismatch: Vec<String>,
    pub cancelled: Vec<String>,
    pub throttled: Vec<String>,
    pub rejected: Vec<String>,
    pub server_error: Vec<String>,
}

impl Profile {
    pub fn token_valid(&self, token: &str) -> bool {
        let length = token.chars().count();
        let charset = match self.charset {
            Charset::Any => true,
            Charset::AsciiPrintable => token.chars().all(|c| (' '..='~').contains(&c)),
            Charset::Uuid => {
                let groups: Vec<&str> = token.split('-').collect();
                groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
                    && groups.concat().chars().all(|c| c.is_ascii_hexdigit())
            }
        };
        length > 0 && length <= self.token_max_len && charset
    }

    /// The table of classes, from top to bottom. The event carries an `outcome`.
    pub fn classify(&self, event: &Event) -> Class {
        match event.outcome {
            Some(OutcomeField::Ok) => return Class::Success,
            Some(OutcomeField::NoResponse) | None => return Class::NoResponse,
            Some(OutcomeField::Error) => {}
        }
        let code = event.error.as_deref().map(short_code);
        let status = event.http_status;
        let text = status.map(|status| status.to_string());
        let listed = |list: &[String]| {
            list.iter()
                .any(|item| Some(item.as_str()) == code || Some(item.as_str()) == text.as_deref())
        };
        if listed(&self.in_progress) {
            Class::InProgress
        } else if listed(&self.mismatch) {
            Class::Mismatch
        } else if listed(&self.cancelled) {
            Class::Cancelled
        } else if listed(&self.throttled) {
            Class::Throttled
        } else if listed(&self.rejected) {
            Class::Rejected
        } else if listed(&self.server_error)
            || status.is_some_and(|status| (500..600).contains(&status))
        {
            Class::ServerError
        } else if status == Some(408)
            || code.is_some_and(|code| code.contains("Timeout"))
            || status.is_none()
        {
            Class::NoResponse
        } else {
            Class::Rejected
        }
    }
}

/// The part of an error code that lists are compared with.
fn short_code(error: &str) -> &str {
    let head = error.split(':').next().unwrap_or("");
    head.rsplit('#').next().unwrap_or("")
}

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|item| item.to_string()).collect()
}

fn plain(name: &str) -> Profile {
    Profile {
        name: name.to_string(),
        token_max_len: 512,
        charset: Charset::Any,
        window_us: 24 * HOUR,
        anchor: Anchor::FirstStart,
        retention_us: 24 * HOUR,
        lease_us: MINUTE,
        recovery_delay_us: None,
        capacity: 65536,
        mismatch_silent: false,
        failures_remembered: false,
        in_progress: Vec::new(),
        mismatch: Vec::new(),
        cancelled: Vec::new(),
        throttled: owned(&["429"]),
        rejected: Vec::new(),
        server_error: Vec::new(),
    }
}

fn dynamodb(name: &str) -> Profile {
    Profile {
        token_max_len: 36,
        window_us: 10 * MINUTE,
        anchor: Anchor::FirstCompleted,
        recovery_delay_us: Some(5 * SECOND),
        in_progress: owned(&["TransactionInProgressException"]),
        mismatch: owned(&["IdempotentParameterMismatchException"]),
        cancelled: owned(&["TransactionCanceledException"]),
        throttled: owned(&[
            "429",
            "ProvisionedThroughputExceededException",
            "ThrottlingException",
            "ThrottlingError",
            "ThrottledException",
            "Throttling",
            "RequestLimitExceeded",
            "LimitExceededException",
            "TransactionConflictException",
        ]),
        rejected: owned(&[
            "ValidationException",
            "AccessDeniedException",
            "ResourceNotFoundException",
            "UnrecognizedClientException",
            "ExpiredTokenException",
            "MissingAuthenticationTokenException",
            "SerializationException",
            "InvalidSignatureException",
        ]),
        server_error: owned(&[
            "InternalServerError",
            "InternalFailure",
            "ServiceUnavailable",
            "ServiceUnavailableException",
        ]),
        ..plain(name)
    }
}

/// The table of built-in profiles; the last one is `default`.
pub fn builtin_profiles() -> Vec<Profile> {
    let stripe = Profile {
        token_max_len: 255,
        in_progress: owned(&["409"]),
        mismatch: owned(&["idempotency_error"]),
        failures_remembered: true,
        ..plain("stripe")
    };
    let sqs = Profile {
        token_max_len: 128,
        charset: Charset::AsciiPrintable,
        window_us: 5 * MINUTE,
        retention_us: HOUR,
        mismatch_silent: true,
        ..plain("sqs.SendMessage")
    };
    let http = Profile {
        token_max_len: 255,
        charset: Charset::AsciiPrintable,
        in_progress: owned(&["409"]),
        mismatch: owned(&["422"]),
        ..plain("http")
    };
    vec![
        dynamodb("dynamodb.TransactWriteItems"),
        dynamodb("dynamodb.ExecuteTransaction"),
        stripe,
        sqs,
        http,
        plain("default"),
    ]
}

/// The built-in profiles and some whose small numbers let a test reach every limit; `default` stays last.
pub fn test_profiles() -> Vec<Profile> {
    let short = |name: &str| Profile {
        window_us: 30 * SECOND,
        retention_us: 60 * SECOND,
        lease_us: 8 * SECOND,
        ..dynamodb(name)
    };
    let mut profiles = vec![
        short("test.short"),
        Profile {
            anchor: Anchor::FirstStart,
            ..short("test.from_start")
        },
        Profile {
            capacity: 3,
            ..short("test.tiny")
        },
        Profile {
            failures_remembered: true,
            ..short("test.sticky")
        },
        Profile {
            mismatch_silent: true,
            ..short("test.silent")
        },
        Profile {
            charset: Charset::Uuid,
            ..short("test.uuid")
        },
        Profile {
            lease_us: 200 * SECOND,
            ..short("test.long_lease")
        },
    ];
    profiles.extend(builtin_profiles());
    profiles
}
