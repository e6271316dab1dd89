//! The long form of every verdict: source of `oncewatch explain`, the runbooks and the page.
//!
//! A line that begins with two spaces is a command or query to copy. Numbers are DynamoDB's: a
//! window of 10 minutes, a recovery delay of 5 seconds, a lease of 60 seconds.

use super::verdict::Verdict;

/// The three ways to look closer: the metric, then the findings of one pod.
macro_rules! look {
    ($verdict:literal, $text:literal) => {
        concat!(
            $text,
            "\n  sum by (pod, api) (increase(oncewatch_verdicts_total{verdict=\"",
            $verdict,
            "\"}[1h])) > 0\n  kubectl port-forward POD 9465:9465 &\n  curl -s 'http://127.0.0.1:9465/api/v1/findings?verdict=",
            $verdict,
            "&limit=20'"
        )
    };
}

/// The same for verdicts that are no findings: only the counter and the tokens know of them.
macro_rules! count {
    ($verdict:literal, $text:literal) => {
        concat!(
            $text,
            "\n  sum by (pod, api) (rate(oncewatch_verdicts_total{verdict=\"",
            $verdict,
            "\"}[5m]))\n  kubectl port-forward POD 9465:9465 &\n  curl -s 'http://127.0.0.1:9465/api/v1/tokens?limit=20'"
        )
    };
}

mod contention;
mod execution;
mod info;
mod parameters;

/// What an engineer should know about a verdict.
#[derive(Clone, Copy, Debug)]
pub struct Explanation {
    /// What to do, in one sentence.
    pub remedy: &'static str,
    /// What was seen, and by which rule it gets this name.
    pub what: &'static str,
    /// What it can cost.
    pub why: &'static str,
    /// Whether, and with which token, the request may be sent again.
    pub retry: &'static str,
    /// How to tell a true finding from a false one.
    pub confirm: &'static str,
    /// What to change.
    pub fix: &'static str,
}

impl Explanation {
    /// The texts with their headings, in the order in which somebody on call needs them.
    pub const fn sections(&self) -> [(&'static str, &'static str); 6] {
        [
            ("What to do", self.remedy),
            ("Is it safe to retry?", self.retry),
            ("What was seen", self.what),
            ("Why it matters", self.why),
            ("How to confirm", self.confirm),
            ("How to fix", self.fix),
        ]
    }
}

impl Verdict {
    /// What to do about it, in one sentence.
    pub const fn remedy(self) -> &'static str {
        self.explanation().remedy
    }

    /// The long form.
    pub const fn explanation(self) -> Explanation {
        match self {
            Self::FirstUse => info::FIRST_USE,
            Self::SdkRetry => info::SDK_RETRY,
            Self::SafeRetry => info::SAFE_RETRY,
            Self::Replay => info::REPLAY,
            Self::RetryAfterCancel => info::RETRY_AFTER_CANCEL,
            Self::InProgressLocal => info::IN_PROGRESS_LOCAL,
            Self::InFlightCollision => contention::IN_FLIGHT_COLLISION,
            Self::CrossClientCollision => contention::CROSS_CLIENT_COLLISION,
            Self::InProgressRemote => contention::IN_PROGRESS_REMOTE,
            Self::InProgressExhausted => contention::IN_PROGRESS_EXHAUSTED,
            Self::RetryBudgetTooShort => contention::RETRY_BUDGET_TOO_SHORT,
            Self::ParameterMismatch => parameters::PARAMETER_MISMATCH,
            Self::EncodingMismatch => parameters::ENCODING_MISMATCH,
            Self::RemoteMismatch => parameters::REMOTE_MISMATCH,
            Self::ChangedAfterCancel => parameters::CHANGED_AFTER_CANCEL,
            Self::WindowEdge => execution::WINDOW_EDGE,
            Self::ReuseAfterWindow => execution::REUSE_AFTER_WINDOW,
            Self::TokenRecycled => parameters::TOKEN_RECYCLED,
            Self::DoubleExecution => execution::DOUBLE_EXECUTION,
            Self::FreshTokenAfterUnknown => execution::FRESH_TOKEN_AFTER_UNKNOWN,
            Self::StuckInFlight => contention::STUCK_IN_FLIGHT,
            Self::Orphaned => contention::ORPHANED,
            Self::TokenInvalid => parameters::TOKEN_INVALID,
            Self::HardCodedToken => parameters::HARD_CODED_TOKEN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(verdict: Verdict) -> [&'static str; 6] {
        let e = verdict.explanation();
        [e.remedy, e.what, e.why, e.retry, e.confirm, e.fix]
    }

    #[test]
    fn every_field_is_written() {
        for verdict in Verdict::ALL {
            let explanation = verdict.explanation();
            for text in fields(verdict) {
                assert!(text.len() > 25, "{verdict}: {text:?}");
                assert!(
                    !text.contains("  sum") || text.contains("\n  sum"),
                    "{verdict}"
                );
            }
            let remedy = explanation.remedy;
            assert!(
                remedy.ends_with('.') && remedy.matches(". ").count() == 0,
                "{remedy}"
            );
            assert!(remedy.len() < 200 && !remedy.contains('\n'), "{remedy}");
            let query = format!("oncewatch_verdicts_total{{verdict=\"{verdict}\"}}");
            assert!(explanation.confirm.contains(&query), "{verdict}");
            assert!(
                explanation.confirm.contains("kubectl port-forward"),
                "{verdict}"
            );
            let by_name = format!("findings?verdict={verdict}&");
            assert_eq!(
                explanation.confirm.contains(&by_name),
                verdict.is_finding(),
                "{verdict}"
            );
        }
    }

    /// Verdicts after which nobody may know whether the request was applied.
    const OUTCOME_UNKNOWN: [Verdict; 12] = [
        Verdict::SdkRetry,
        Verdict::SafeRetry,
        Verdict::InProgressLocal,
        Verdict::InFlightCollision,
        Verdict::CrossClientCollision,
        Verdict::InProgressRemote,
        Verdict::InProgressExhausted,
        Verdict::RetryBudgetTooShort,
        Verdict::StuckInFlight,
        Verdict::Orphaned,
        Verdict::WindowEdge,
        Verdict::FreshTokenAfterUnknown,
    ];

    /// Phrases by which a text would send somebody to make a token.
    const OTHER_TOKEN: [&str; 9] = [
        "new token",
        "fresh token",
        "another token",
        "different token",
        "other token",
        "new clientrequesttoken",
        "new idempotency",
        "regenerate",
        "own token",
    ];

    fn advises_another_token(text: &str) -> Option<String> {
        let sentences = text.to_lowercase();
        let mut sentences = sentences.split(['.', ';', ':', '\n']);
        let negations = ["never", "not ", "no ", "cannot", "without"];
        sentences
            .find(|sentence| {
                OTHER_TOKEN.iter().any(|phrase| sentence.contains(phrase))
                    && !negations.iter().any(|word| sentence.contains(word))
            })
            .map(str::to_owned)
    }

    #[test]
    fn no_new_token_is_advised_after_an_unknown_outcome() {
        for verdict in OUTCOME_UNKNOWN {
            let explanation = verdict.explanation();
            for text in [explanation.remedy, explanation.retry, explanation.fix] {
                assert_eq!(advises_another_token(text), None, "{verdict}");
            }
            let retry = explanation.retry.to_lowercase();
            assert!(retry.contains("same token"), "{verdict}: {retry}");
        }
        let recipe = "The call timed out. Use a new token for each attempt.";
        assert!(
            advises_another_token(recipe).is_some(),
            "the check itself works"
        );
    }
}
