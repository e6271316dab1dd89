//! Reading the detector's state, for the API and for summaries.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Detector;
use super::finding::{AttemptRecord, Status};
use super::history::record;
use super::key::Key;
use super::names::{Cursor, Sort};
use super::table::{Glimpse, Slot};
use super::text::Text;
use super::time::Timestamp;

/// What is known about one token, for showing.
#[derive(Clone, Debug)]
pub struct TokenView {
    /// API as the events named it.
    pub api: Box<str>,
    /// The token in full; who shows it decides how.
    pub token: Box<str>,
    /// Scope; may be empty.
    pub scope: Box<str>,
    /// Status now.
    pub status: Status,
    /// First start of the current lifecycle.
    pub first_start: Timestamp,
    /// First success of the current lifecycle.
    pub first_success: Option<Timestamp>,
    /// Last sighting.
    pub last_seen: Timestamp,
    /// When it is forgotten if it is not seen again.
    pub expires: Timestamp,
    /// How often the token began anew, counting from 1.
    pub lifecycle: u32,
    /// Attempts still remembered, in order of their start, of all lifecycles.
    pub attempts: Vec<AttemptRecord>,
}

/// An attempt that has not ended.
#[derive(Clone, Debug)]
pub struct OpenAttempt {
    /// API as the events named it.
    pub api: Box<str>,
    /// The token in full; who shows it decides how.
    pub token: Box<str>,
    /// The attempt.
    pub attempt: AttemptRecord,
}

/// Nodes looked at in one step of a [`Search`]: a fraction of a millisecond.
const STEP: u32 = 8192;

/// A walk over all tokens for some of them, a step at a time, so that whoever holds a lock around the
/// detector can let go of it in between. What is added or removed meanwhile may be found or not.
#[derive(Debug, Default)]
pub struct Search {
    status: Option<Status>,
    api: Option<Box<str>>,
    limit: usize,
    next: Cursor,
    /// What is found so far, the one seen longest ago on top.
    found: BinaryHeap<Reverse<(Timestamp, usize, Slot)>>,
}

impl Search {
    /// A search for up to `limit` tokens that have `status` and were named `api`.
    pub fn new(status: Option<Status>, api: Option<&str>, limit: usize) -> Self {
        Self {
            status,
            api: api.map(Box::from),
            limit,
            ..Self::default()
        }
    }
}

impl Detector {
    /// Up to `limit` tokens, most recently seen first, that have `status` and were named `api`.
    pub fn tokens(
        &self,
        status: Option<Status>,
        api: Option<&str>,
        limit: usize,
    ) -> Vec<TokenView> {
        let mut search = Search::new(status, api, limit);
        while self.search_on(&mut search) {}
        self.found(search)
    }

    /// Takes a search a step further; returns whether there is more to do.
    pub fn search_on(&self, search: &mut Search) -> bool {
        let Search { status, limit, .. } = *search;
        let (from, found, api) = (search.next, &mut search.found, search.api.as_deref());
        let next = self.step(from, api, |token| {
            let seen = Reverse((token.last_seen(), from.table, token.slot));
            let late = found.len() < limit || found.peek().is_some_and(|oldest| seen < *oldest);
            let wanted = status.is_none_or(|status| token.status() == status);
            if late && wanted && self.is_live_of(&token, api) {
                found.push(seen);
            }
            if found.len() > limit {
                found.pop();
            }
        });
        search.next = next.unwrap_or(search.next);
        next.is_some()
    }

    /// What a search found, most recently seen first.
    pub fn found(&self, search: Search) -> Vec<TokenView> {
        let found = search.found.into_sorted_vec();
        let views = found.into_iter().filter_map(|Reverse((_, table, slot))| {
            let token = self.tables[table].as_ref()?.glimpse(slot)?;
            let is_it = search.status.is_none_or(|status| token.status() == status)
                && self.is_live_of(&token, search.api.as_deref());
            is_it.then(|| self.view(&token))
        });
        let mut views: Vec<TokenView> = views.collect();
        views.sort_by_key(|view| Reverse(view.last_seen));
        views
    }

    /// The tokens of `api` (any scope) whose text is `text`.
    pub fn token(&self, api: &str, text: &str) -> Vec<TokenView> {
        let id = self.profile_of(api);
        let Some(table) = &self.tables[id.0] else {
            return Vec::new();
        };
        let scopes = self.context.names.all(Sort::Space);
        let found = scopes.filter_map(|scope| {
            let key = Key::new(&self.context.options.hash_key, [api, scope, text]);
            table.glimpse(table.find(key, self.context.now)?)
        });
        found.map(|token| self.view(&token)).collect()
    }

    /// Some texts of tokens of `api`, copied out so that a caller can search them at leisure; the
    /// rest with `from` as it is left. `None` after the last.
    pub fn texts(&self, api: &str, from: &mut Cursor) -> Option<Vec<Text>> {
        let mut texts = Vec::new();
        *from = self.step(*from, Some(api), |token| {
            if self.is_live_of(&token, Some(api)) {
                texts.push(token.text());
            }
        })?;
        Some(texts)
    }

    /// Calls `visit` with some tokens of the tables in which those of `api` are, known or expired.
    /// Returns where to go on.
    fn step(
        &self,
        from: Cursor,
        api: Option<&str>,
        visit: impl FnMut(Glimpse<'_>),
    ) -> Option<Cursor> {
        let only = api.map(|api| self.profile_of(api));
        let table = self.tables.get(from.table)?;
        let table = table
            .as_ref()
            .filter(|_| only.is_none_or(|only| only.0 == from.table));
        let Some(table) = table.filter(|table| from.slot < table.end()) else {
            return Some(Cursor {
                table: from.table + 1,
                slot: 0,
            });
        };
        table.some(from.slot, STEP).for_each(visit);
        Some(Cursor {
            slot: from.slot + STEP,
            ..from
        })
    }

    /// All open attempts, in order of their start.
    pub fn open_attempts(&self) -> Vec<OpenAttempt> {
        let mut leases: Vec<_> = self.context.leases.iter().collect();
        leases.sort_by_key(|lease| lease.order);
        let open = leases.into_iter().filter_map(|lease| {
            let table = self.tables[lease.profile.0].as_ref()?;
            let token = table.glimpse(table.find(lease.key, self.context.now)?)?;
            token.look(|token| {
                let attempt = &token.attempts[token.position(lease.attempt)?];
                Some(OpenAttempt {
                    api: self.context.names.get(token.api).into(),
                    token: token.text.to_string().into(),
                    attempt: record(token, attempt, &self.context.names),
                })
            })
        });
        open.collect()
    }

    fn is_live_of(&self, token: &Glimpse<'_>, api: Option<&str>) -> bool {
        let named = |api| self.context.names.get(token.api()) == api;
        self.context.now < token.expires() && api.is_none_or(named)
    }

    fn view(&self, token: &Glimpse<'_>) -> TokenView {
        let expires = token.expires();
        token.look(|token| TokenView {
            api: self.context.names.get(token.api).into(),
            token: token.text.to_string().into(),
            scope: self.context.names.get(token.scope).into(),
            status: token.status,
            first_start: token.life.first_start,
            first_success: token.life.success.as_ref().map(|success| success.at),
            last_seen: token.last_seen,
            expires,
            lifecycle: token.life.number,
            attempts: token
                .attempts
                .iter()
                .map(|attempt| record(token, attempt, &self.context.names))
                .collect(),
        })
    }
}
