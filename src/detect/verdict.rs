//! Verdicts and severities (SPEC §4): the closed lists that label metrics, findings and runbooks.

use std::fmt;
use std::str::FromStr;

/// How bad a verdict is. A verdict of `Warning` or worse is a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Healthy use, told apart for the record.
    Info,
    /// Something to look at in working hours.
    Warning,
    /// An operation failed or its outcome is not known.
    Error,
    /// A write may have been applied twice.
    Critical,
}

impl Severity {
    /// All severities, mildest first.
    pub const ALL: [Self; 4] = [Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// The name in findings, labels and flags.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The name is not one of a closed list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not one of {1}")]
pub struct UnknownName(String, String);

impl FromStr for Severity {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name(&Self::ALL, Self::as_str, name)
    }
}

/// Finds the member of a closed list that is called `name`.
fn by_name<T: Copy>(
    all: &[T],
    as_str: fn(T) -> &'static str,
    name: &str,
) -> Result<T, UnknownName> {
    let found = all.iter().copied().find(|&member| as_str(member) == name);
    found.ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|&member| as_str(member)).collect();
        UnknownName(name.to_owned(), names.join(", "))
    })
}

macro_rules! verdicts {
    ($($variant:ident $name:literal $severity:ident $summary:literal;)*) => {
        /// The judgement of one event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Verdict {
            $(#[doc = $summary] $variant,)*
        }

        impl Verdict {
            /// All verdicts, in the order of SPEC §4.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The name in findings, labels and runbooks.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How bad it is; fixed for each verdict.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            /// One line that says when the verdict is given.
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary,)* }
            }
        }
    };
}

verdicts! {
    FirstUse "first_use" Info "The token was not known before.";
    SdkRetry "sdk_retry" Info "Another attempt of a call that is already known.";
    SafeRetry "safe_retry" Info "Another call repeats the token after an unknown or rejected outcome: the right thing to do.";
    Replay "replay" Info "The token already succeeded and the window is open: the server does nothing and charges read capacity.";
    RetryAfterCancel "retry_after_cancel" Info "The transaction was cancelled and the same request is sent again.";
    InProgressLocal "in_progress_local" Info "The server is still working on this token, for an attempt known here.";
    InFlightCollision "in_flight_collision" Warning "Two calls of one client use the token at the same time.";
    CrossClientCollision "cross_client_collision" Error "Two clients use the token at the same time.";
    InProgressRemote "in_progress_remote" Warning "The server is working on this token for a sender that is not known here.";
    InProgressExhausted "in_progress_exhausted" Error "A call gave up while the server was still working: its outcome is unknown.";
    RetryBudgetTooShort "retry_budget_too_short" Error "The last attempt came too early to complete the ongoing transaction.";
    ParameterMismatch "parameter_mismatch" Error "The token is bound to other parameters.";
    EncodingMismatch "encoding_mismatch" Warning "The same request was refused because its bytes differ.";
    RemoteMismatch "remote_mismatch" Error "The server refused the parameters and nothing known here explains it.";
    ChangedAfterCancel "changed_after_cancel" Warning "A cancelled token is sent again with other parameters.";
    WindowEdge "window_edge" Warning "The token is used again where the server's window may already have ended.";
    ReuseAfterWindow "reuse_after_window" Critical "The token is used again after the window: the server executes the request again.";
    TokenRecycled "token_recycled" Warning "An old token is used again for another request.";
    DoubleExecution "double_execution" Critical "The server wrote again for a token that had already succeeded.";
    FreshTokenAfterUnknown "fresh_token_after_unknown" Critical "The same request was sent under a new token while the outcome of the first was unknown: a possible double execution.";
    StuckInFlight "stuck_in_flight" Warning "An attempt did not end within its lease.";
    Orphaned "orphaned" Warning "The connection that reported an open attempt closed.";
    TokenInvalid "token_invalid" Error "The server does not accept a token of this form.";
    HardCodedToken "hard_coded_token" Error "Three different requests were sent under one token.";
}

impl Verdict {
    /// Whether it is of severity warning or worse.
    pub const fn is_finding(self) -> bool {
        !matches!(self.severity(), Severity::Info)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Verdict {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name(&Self::ALL, Self::as_str, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for verdict in Verdict::ALL {
            assert_eq!(verdict.as_str().parse(), Ok(verdict));
            assert!(verdict.summary().ends_with('.'));
        }
        let error = "no_such".parse::<Severity>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"no_such\" is not one of info, warning, error, critical"
        );
    }
}
