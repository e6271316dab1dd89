//! Going through the tokens without holding up ingest.
//!
//! A walk takes the detector's lock for a step at a time, copies what may be wanted, and searches and
//! sorts outside. Only what is shown in the end is read in full. Walks run one at a time and off the
//! threads that serve sockets.

use std::collections::BinaryHeap;
use std::sync::Arc;

use super::Admin;
use crate::detect::finding::{ProfileId, Status};
use crate::detect::text::Text;
use crate::detect::time::Timestamp;
use crate::detect::{Candidate, Selection, Spot, TokenSummary};
use crate::edge::display::TokenDisplay;

/// Tokens hashed for one search of a list: some 60 ms of one processor.
const HASHED_MAX: usize = 262_144;
/// Tokens read in full under one lock.
const READ_MAX: usize = 64;

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
}

/// A question about many tokens.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) selection: Selection,
    pub(super) search: Search,
    pub(super) sort: Sort,
    pub(super) order: Order,
    /// Best ones not to bring.
    pub(super) offset: usize,
    /// How many to bring after those.
    pub(super) limit: usize,
}

/// What a walk brought.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The wanted part of the list, in order.
    pub(super) tokens: Vec<TokenSummary>,
    /// How many there are in all.
    pub(super) total: usize,
    /// Whether every token was searched.
    pub(super) complete: bool,
}

/// What a walk has gathered so far.
struct Gathered<'a> {
    question: &'a Question,
    display: &'a TokenDisplay,
    /// The best ones, the worst of them on top; equal ones by spot, which they keep, so that pages
    /// neither overlap nor leave gaps.
    best: BinaryHeap<(i64, Spot)>,
    total: usize,
    hashed: usize,
    complete: bool,
}

impl<'a> Gathered<'a> {
    fn new(question: &'a Question, display: &'a TokenDisplay) -> Self {
        Self {
            question,
            display,
            best: BinaryHeap::new(),
            total: 0,
            hashed: 0,
            complete: true,
        }
    }

    fn take(&mut self, candidate: &Candidate) {
        if !self.finds(&candidate.token) {
            return;
        }
        self.total += 1;
        let by = (self.key(candidate), candidate.spot);
        if self.best.len() < self.question.offset + self.question.limit {
            self.best.push(by);
        } else if let Some(mut worst) = self.best.peek_mut()
            && by < *worst
        {
            *worst = by;
        }
    }

    /// The less the better.
    fn key(&self, candidate: &Candidate) -> i64 {
        let ascending = match self.question.sort {
            Sort::LastSeen => candidate.last_seen.as_micros(),
            Sort::FirstStart => candidate.first_start.as_micros(),
            Sort::Attempts => candidate.attempt_count as i64,
        };
        match self.question.order {
            Order::Ascending => ascending,
            Order::Descending => !ascending,
        }
    }

    fn finds(&mut self, token: &Text) -> bool {
        let Search::Part(part) = &self.question.search else {
            return true;
        };
        if token.is(part) {
            return true;
        }
        if !self.display.could_contain(part) {
            return false;
        }
        if self.hashed == HASHED_MAX {
            self.complete = false;
            return false;
        }
        self.hashed += 1;
        self.display.show(&token.to_string()).contains(&**part)
    }
}

impl Admin {
    /// Goes through all tables that can hold an answer.
    pub(super) async fn list(self: &Arc<Self>, question: Question, now: Timestamp) -> Found {
        let list = move |this: &Self| this.list_now(&question, now);
        self.off_thread(list).await
    }

    /// The texts of tokens of `api` that are shown as `wanted`: nearly always one.
    pub(super) async fn texts_behind(
        self: &Arc<Self>,
        api: &str,
        wanted: &str,
        now: Timestamp,
    ) -> Vec<Text> {
        let selection = Selection {
            api: Some(api.into()),
            statuses: Status::ALL.to_vec(),
            stuck: false,
        };
        let wanted = wanted.to_owned();
        let find = move |this: &Self| {
            let mut texts: Vec<Text> = Vec::new();
            this.walk(&selection, now, |candidate| {
                let token = &candidate.token;
                let is_it = this.parts.display.show(&token.to_string()) == wanted;
                // A token has one text in each of its scopes.
                if is_it && !texts.contains(token) {
                    texts.push(token.clone());
                }
            });
            texts
        };
        self.off_thread(find).await
    }

    /// Looks through full tables, which takes many milliseconds.
    async fn off_thread<T: Default + Send + 'static>(
        self: &Arc<Self>,
        find: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        // Without this, ten pages that ask at once would take ten processors from ingest.
        let Ok(_one_at_a_time) = self.walking.acquire().await else {
            return T::default();
        };
        let this = self.clone();
        let finding = tokio::task::spawn_blocking(move || find(&this));
        finding.await.unwrap_or_default()
    }

    fn list_now(&self, question: &Question, now: Timestamp) -> Found {
        let mut all = Gathered::new(question, &self.parts.display);
        let selection = &question.selection;
        self.walk(selection, now, |candidate| all.take(candidate));
        let best = all.best.into_sorted_vec();
        let shown = best.get(question.offset..).unwrap_or_default();
        let mut tokens = Vec::with_capacity(shown.len());
        for some in shown.chunks(READ_MAX) {
            self.parts.pipeline.inspect(|detector| {
                let spots = some.iter().map(|&(_, spot)| spot);
                // One that has changed meanwhile is no answer any more.
                tokens.extend(spots.filter_map(|at| detector.summary_of(at, selection, now)));
            });
        }
        Found {
            tokens,
            total: all.total,
            complete: all.complete,
        }
    }

    /// Calls `visit`, without the lock, with all tokens that are wanted.
    fn walk(&self, wanted: &Selection, now: Timestamp, mut visit: impl FnMut(&Candidate)) {
        let pipeline = &self.parts.pipeline;
        let profiles = pipeline.inspect(|detector| match &wanted.api {
            Some(api) => vec![detector.profile_of(api)],
            None => (0..detector.profiles().len()).map(ProfileId).collect(),
        });
        let mut found = Vec::new();
        for profile in profiles {
            let (mut next, mut seen) = (Some(0), 0);
            while let Some(from) = next {
                let (step, there) = pipeline.inspect(|detector| {
                    let step = detector.walk(profile, from, wanted, now, &mut found);
                    let counts = detector.counts(profile);
                    let statuses = wanted.statuses.iter();
                    let there: usize = statuses.map(|&status| counts[status as usize]).sum();
                    (step, there)
                });
                found.drain(..).for_each(|candidate| visit(&candidate));
                seen += step.of_status;
                // The table knows how many there are: no need to look further.
                next = step.next.filter(|_| seen < there);
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::display::HashKey;

    fn found(display: &TokenDisplay, part: &str, hashed: usize) -> (Vec<bool>, bool) {
        let selection = Selection {
            api: None,
            statuses: Vec::new(),
            stuck: false,
        };
        let question = Question {
            selection,
            search: Search::Part(part.into()),
            sort: Sort::LastSeen,
            order: Order::Descending,
            offset: 0,
            limit: 1,
        };
        let mut all = Gathered::new(&question, display);
        all.hashed = hashed;
        let found = ["other", "order-17"].map(|token| all.finds(&Text::new(token)));
        (found.to_vec(), all.complete)
    }

    #[test]
    fn a_search_stops_hashing_and_says_so_but_finds_a_whole_token() {
        let display = TokenDisplay::Hash(HashKey::from_secret(b"k"));
        let part = &display.show("order-17")[3..9];
        let finds = |part, hashed| found(&display, part, hashed);
        assert_eq!(finds(part, 0), (vec![false, true], true));
        assert_eq!(finds(part, HASHED_MAX - 2), (vec![false, true], true));
        assert_eq!(finds(part, HASHED_MAX - 1), (vec![false, false], false));
        assert_eq!(finds("order-17", HASHED_MAX), (vec![false, true], true));
        // Not of the digits of a hash: nothing to search for.
        assert_eq!(finds("order", HASHED_MAX), (vec![false, false], true));
        assert_eq!(
            found(&TokenDisplay::Full, "order", 0),
            (vec![false, true], true)
        );
    }
}
