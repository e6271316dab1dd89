//! What the reader looks at, as questions to the sidecar.

use super::answer::Foreign;
use super::source::encode;

/// Tokens on one page.
pub const PAGE: usize = 100;

/// Besides the summary and the findings, which are always asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// The list of tokens, while it is in view.
    pub tokens: Option<TokenQuery>,
    /// One token, while its timeline is in view.
    pub life: Option<TokenName>,
}

/// Names one token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenName {
    pub api: Foreign,
    pub scope: Foreign,
    /// As the sidecar shows it.
    pub token: Foreign,
}

/// Which tokens, in which order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenQuery {
    pub status: StatusFilter,
    /// All APIs if it is none.
    pub api: Option<Foreign>,
    /// A whole token, or a part of what is shown; empty: all.
    pub search: String,
    pub sort: Sort,
    pub ascending: bool,
    pub offset: usize,
}

impl TokenQuery {
    /// Path and query below `/api/v1/`.
    pub fn path(&self) -> String {
        let order = if self.ascending { "asc" } else { "desc" };
        let (sort, offset) = (self.sort.name(), self.offset);
        let mut path = format!("tokens?sort={sort}&order={order}&offset={offset}&limit={PAGE}");
        let api = self.api.as_ref().map_or("", Foreign::raw);
        let status = self.status.name();
        for (name, value) in [("status", status), ("api", api), ("q", &self.search)] {
            if !value.is_empty() {
                path += &format!("&{name}={}", encode(value));
            }
        }
        path
    }
}

/// A choice among a few, gone through with one key.
pub trait Choice: Copy + PartialEq + 'static {
    const ALL: &'static [Self];

    /// The one after this, in a circle.
    fn next(self) -> Self {
        let here = Self::ALL.iter().position(|choice| *choice == self);
        Self::ALL[here.map_or(0, |here| (here + 1) % Self::ALL.len())]
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum StatusFilter {
    #[default]
    Undecided,
    Open,
    Unknown,
    Stuck,
    Succeeded,
    Cancelled,
    Rejected,
    All,
}

impl Choice for StatusFilter {
    const ALL: &'static [Self] = &[
        Self::Undecided,
        Self::Open,
        Self::Unknown,
        Self::Stuck,
        Self::Succeeded,
        Self::Cancelled,
        Self::Rejected,
        Self::All,
    ];
}

impl StatusFilter {
    const fn name(self) -> &'static str {
        match self {
            Self::Undecided => "undecided",
            Self::Open => "in_flight",
            Self::Unknown => "unknown",
            Self::Stuck => "stuck",
            Self::Succeeded => "succeeded",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::All => "",
        }
    }

    /// As people read it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Undecided => "open or unknown",
            Self::Open => "open",
            Self::All => "all",
            other => other.name(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Sort {
    #[default]
    LastSeen,
    FirstStart,
    Attempts,
}

impl Choice for Sort {
    const ALL: &'static [Self] = &[Self::LastSeen, Self::FirstStart, Self::Attempts];
}

impl Sort {
    const fn name(self) -> &'static str {
        match self {
            Self::LastSeen => "last_seen",
            Self::FirstStart => "first_start",
            Self::Attempts => "attempts",
        }
    }

    /// As people read it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::LastSeen => "last seen",
            Self::FirstStart => "age",
            Self::Attempts => "attempts",
        }
    }
}

/// Which findings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum SeverityFilter {
    #[default]
    All,
    Critical,
    Error,
    Warning,
}

impl Choice for SeverityFilter {
    const ALL: &'static [Self] = &[Self::All, Self::Critical, Self::Error, Self::Warning];
}

impl SeverityFilter {
    /// As findings name it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Critical => "critical",
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_what_is_wanted() {
        let mut query = TokenQuery::default();
        let plain = "tokens?sort=last_seen&order=desc&offset=0&limit=100&status=undecided";
        assert_eq!(query.path(), plain);
        query.status = StatusFilter::All;
        query.api = Some("a b".into());
        query.search = "x&y".into();
        query.sort = Sort::Attempts;
        query.ascending = true;
        query.offset = 100;
        let full = "tokens?sort=attempts&order=asc&offset=100&limit=100&api=a%20b&q=x%26y";
        assert_eq!(query.path(), full);
    }

    #[test]
    fn a_choice_goes_round() {
        let mut seen = vec![StatusFilter::default()];
        for _ in 0..StatusFilter::ALL.len() {
            seen.push(seen[seen.len() - 1].next());
        }
        assert_eq!(seen[..8], *StatusFilter::ALL);
        assert_eq!(seen[8], seen[0]);
    }
}
