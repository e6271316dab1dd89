//! Going through the tokens without holding up ingest.
//!
//! A walk takes the detector's lock for a slice at a time, copies what is wanted, and searches and
//! sorts outside. Walks run one at a time and off the threads that serve sockets.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Admin;
use crate::detect::finding::{ProfileId, Status};
use crate::detect::text::Text;
use crate::detect::time::Timestamp;
use crate::detect::{Selection, TokenSummary};
use crate::edge::display::TokenDisplay;

/// Tokens looked at under one lock.
const SLICE: usize = 16_384;
/// Tokens looked at in each API's table: all of them at the default capacity.
const LOOKED_AT_MAX: usize = 65_536;

/// By what a list is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// Last sighting.
    LastSeen,
    /// First start of the current lifecycle.
    FirstStart,
    /// Attempts remembered.
    Attempts,
}

impl Sort {
    pub(super) const ALL: [Self; 3] = [Self::LastSeen, Self::FirstStart, Self::Attempts];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::LastSeen => "last_seen",
            Self::FirstStart => "first_start",
            Self::Attempts => "attempts",
        }
    }
}

/// In which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Latest, or most, first.
    Descending,
    /// Earliest, or fewest, first.
    Ascending,
}

impl Order {
    pub(super) const ALL: [Self; 2] = [Self::Descending, Self::Ascending];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Descending => "desc",
            Self::Ascending => "asc",
        }
    }
}

/// Which tokens are wanted by their text.
#[derive(Clone, Debug)]
pub(super) enum Search {
    /// All.
    Any,
    /// Those that are this text, or are shown with it in them: who may see hashes only must not
    /// learn a token letter by letter.
    Part(String),
    /// Those that are shown as this.
    Shown(String),
}

impl Search {
    fn finds(&self, token: &Text, display: &TokenDisplay) -> bool {
        match self {
            Self::Any => true,
            Self::Part(part) => {
                token.is(part) || display.show(&token.to_string()).contains(part.as_str())
            }
            Self::Shown(shown) => display.show(&token.to_string()) == *shown,
        }
    }
}

/// A question about many tokens.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) selection: Selection,
    pub(super) search: Search,
    pub(super) sort: Sort,
    pub(super) order: Order,
    /// Best ones to bring.
    pub(super) keep: usize,
}

/// What a walk brought.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The best ones, in order.
    pub(super) tokens: Vec<TokenSummary>,
    /// How many there are in all.
    pub(super) total: usize,
    /// Whether every token was looked at.
    pub(super) complete: bool,
}

impl Admin {
    /// Goes through all tables that can hold an answer.
    pub(super) async fn walk(self: &Arc<Self>, question: Question, now: Timestamp) -> Found {
        // Without this, ten pages that ask at once would copy ten times as much at once.
        let Ok(_one_at_a_time) = self.walking.acquire().await else {
            return Found::default();
        };
        let this = self.clone();
        let walking = tokio::task::spawn_blocking(move || this.walk_now(&question, now));
        walking.await.unwrap_or_default()
    }

    fn walk_now(&self, question: &Question, now: Timestamp) -> Found {
        let pipeline = &self.parts.pipeline;
        let profiles = pipeline.inspect(|detector| match &question.selection.api {
            Some(api) => vec![detector.profile_of(api)],
            None => (0..detector.profiles().len()).map(ProfileId).collect(),
        });
        let mut found = Found {
            complete: true,
            ..Found::default()
        };
        for profile in profiles {
            self.walk_table(profile, question, now, &mut found);
        }
        found
    }

    fn walk_table(&self, profile: ProfileId, question: &Question, now: Timestamp, all: &mut Found) {
        let (mut from, mut seen) = (0, 0);
        loop {
            let mut slice = Vec::new();
            let (step, there) = self.parts.pipeline.inspect(|detector| {
                let at = (from, SLICE);
                let step = detector.walk(profile, at, &question.selection, now, &mut slice);
                let counts = detector.counts(profile);
                let statuses = question.selection.statuses.iter();
                let there: usize = statuses.map(|&status| counts[status as usize]).sum();
                (step, there)
            });
            slice.retain(|token| question.search.finds(&token.token, &self.parts.display));
            all.total += slice.len();
            all.tokens.append(&mut slice);
            all.tokens.sort_by(|a, b| compare(question, a, b));
            let before = all.tokens.len();
            all.tokens.dedup_by(|a, b| identity(a) == identity(b));
            all.total -= before - all.tokens.len();
            all.tokens.truncate(question.keep);
            seen += step.of_status;
            match step.next {
                // The table knows how many there are: no need to look further.
                _ if seen >= there => return,
                None => return,
                Some(next) if next >= LOOKED_AT_MAX => {
                    all.complete = false;
                    return;
                }
                Some(next) => from = next,
            }
        }
    }
}

fn identity(token: &TokenSummary) -> (&str, &str, &Text) {
    (&token.api, &token.scope, &token.token)
}

fn name(token: &TokenSummary) -> (&str, &str, &[u8]) {
    (&token.api, &token.scope, token.token.identity())
}

/// Equal ones by name, so that pages neither overlap nor leave gaps.
fn compare(question: &Question, a: &TokenSummary, b: &TokenSummary) -> Ordering {
    let ascending = match question.sort {
        Sort::LastSeen => a.last_seen.cmp(&b.last_seen),
        Sort::FirstStart => a.first_start.cmp(&b.first_start),
        Sort::Attempts => a.attempt_count.cmp(&b.attempt_count),
    };
    let directed = match question.order {
        Order::Ascending => ascending,
        Order::Descending => ascending.reverse(),
    };
    directed.then_with(|| name(a).cmp(&name(b)))
}

/// The statuses that a group's name stands for, and whether only those that have been so for long.
pub(super) fn group(name: &str) -> Option<(Vec<Status>, bool)> {
    let undecided = || vec![Status::InFlight, Status::Unknown];
    match name {
        "undecided" => Some((undecided(), false)),
        "stuck" => Some((undecided(), true)),
        _ => {
            let named = Status::ALL
                .into_iter()
                .find(|status| status.as_str() == name);
            named.map(|status| (vec![status], false))
        }
    }
}
