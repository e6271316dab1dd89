//! The long form of every verdict: source of `oncewatch explain`, the runbooks and the page.

use super::verdict::Verdict;

/// What an engineer should know about a verdict.
#[derive(Clone, Copy, Debug)]
pub struct Explanation {
    /// What was seen, and by which rule it gets this name.
    pub what: &'static str,
    /// What it can cost.
    pub why: &'static str,
    /// How to tell a true finding from a false one.
    pub confirm: &'static str,
    /// What to change.
    pub fix: &'static str,
}

impl Verdict {
    /// What to do about it, in one sentence.
    pub const fn remedy(self) -> &'static str {
        "-"
    }

    /// The long form.
    pub const fn explanation(self) -> Explanation {
        Explanation {
            what: "",
            why: "",
            confirm: "",
            fix: "",
        }
    }
}
