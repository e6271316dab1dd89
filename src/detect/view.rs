//! Reading the detector's state, for the API and for summaries.

use super::Detector;
use super::finding::{AttemptRecord, ProfileId, Status};
use super::history::record;
use super::table::Table;
use super::text::Text;
use super::time::Timestamp;
use super::token::Token;

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

impl Detector {
    /// Up to `limit` tokens, most recently seen first, that have `status` and were named `api`.
    pub fn tokens(
        &self,
        status: Option<Status>,
        api: Option<&str>,
        limit: usize,
    ) -> Vec<TokenView> {
        let mut found: Vec<TokenView> = Vec::new();
        for table in self.tables_of(api) {
            let tokens = table.iter().filter(|token| {
                status.is_none_or(|status| token.status == status)
                    && self.is_live_of(table, token, api)
            });
            found.extend(tokens.take(limit).map(|token| self.view(table, token)));
        }
        found.sort_by_key(|view| std::cmp::Reverse(view.last_seen));
        found.truncate(limit);
        found
    }

    /// The tokens of `api` (any scope) whose text is `text`.
    pub fn token(&self, api: &str, text: &str) -> Vec<TokenView> {
        let tables = self.tables_of(Some(api));
        let found = tables.flat_map(|table| table.iter().map(move |token| (table, token)));
        found
            .filter(|(table, token)| {
                token.text.is(text) && self.is_live_of(table, token, Some(api))
            })
            .map(|(table, token)| self.view(table, token))
            .collect()
    }

    /// All token texts of `api`, copied out so that a caller can search them at leisure.
    pub fn texts(&self, api: &str) -> Vec<Text> {
        let tables = self.tables_of(Some(api));
        let found = tables.flat_map(|table| {
            table
                .iter()
                .filter(|token| self.is_live_of(table, token, Some(api)))
        });
        found.map(|token| token.text.clone()).collect()
    }

    /// All open attempts, in order of their start.
    pub fn open_attempts(&self) -> Vec<OpenAttempt> {
        let mut leases: Vec<_> = self.context.leases.iter().collect();
        leases.sort_by_key(|lease| lease.order);
        let open = leases.into_iter().filter_map(|lease| {
            let token = self.tables[lease.profile.0]
                .as_ref()?
                .get(lease.key, self.context.now)?;
            let attempt = &token.attempts[token.position(lease.attempt)?];
            Some(OpenAttempt {
                api: self.context.names.get(token.api).into(),
                token: token.text.to_string().into(),
                attempt: record(token, attempt, &self.context.names),
            })
        });
        open.collect()
    }

    /// The tables in which tokens of `api` can be.
    fn tables_of(&self, api: Option<&str>) -> impl Iterator<Item = &Table> {
        let only: Option<ProfileId> =
            api.map(|api| self.by_name.get(api).copied().unwrap_or(self.default));
        let tables = self.tables.iter().enumerate();
        tables
            .filter(move |(i, _)| only.is_none_or(|only| only.0 == *i))
            .filter_map(|(_, table)| table.as_ref())
    }

    fn is_live_of(&self, table: &Table, token: &Token, api: Option<&str>) -> bool {
        self.context.now < table.expires(token)
            && api.is_none_or(|api| self.context.names.get(token.api) == api)
    }

    fn view(&self, table: &Table, token: &Token) -> TokenView {
        TokenView {
            api: self.context.names.get(token.api).into(),
            token: token.text.to_string().into(),
            scope: self.context.names.get(token.scope).into(),
            status: token.status,
            first_start: token.life.first_start,
            first_success: token.life.success.as_ref().map(|success| success.at),
            last_seen: token.last_seen,
            expires: table.expires(token),
            lifecycle: token.life.number,
            attempts: token
                .attempts
                .iter()
                .map(|attempt| record(token, attempt, &self.context.names))
                .collect(),
        }
    }
}
