//! Reading the detector's state, for the API and for summaries.

use super::Detector;
use super::finding::{AttemptRecord, ProfileId, Status};
use super::history::record;
use super::key::Key;
use super::table::Table;
use super::text::Text;
use super::time::Timestamp;
use super::token::Token;

/// What is known about one token, without its attempts.
#[derive(Clone, Debug)]
pub struct TokenSummary {
    /// API as the events named it.
    pub api: Box<str>,
    /// The token in full; who shows it decides how.
    pub token: Text,
    /// Scope; may be empty.
    pub scope: Box<str>,
    /// Status now.
    pub status: Status,
    /// Whether it has been undecided for longer than a lease.
    pub stuck: bool,
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
    /// Attempts still remembered, of all lifecycles.
    pub attempt_count: usize,
}

/// What is known about one token.
#[derive(Clone, Debug)]
pub struct TokenView {
    /// All but its attempts.
    pub summary: TokenSummary,
    /// Attempts still remembered, in order of their start, of all lifecycles.
    pub attempts: Vec<AttemptRecord>,
}

/// Which tokens a walk is to bring.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Named by this API; `None`: by any.
    pub api: Option<Box<str>>,
    /// With one of these statuses.
    pub statuses: Vec<Status>,
    /// Only those that have been undecided for longer than a lease.
    pub stuck: bool,
    /// Only those whose text is this.
    pub text: Option<Box<str>>,
}

/// What one step of a walk looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Tokens looked at.
    pub looked_at: usize,
    /// Those of them with a selected status, whatever else was asked.
    pub of_status: usize,
    /// Where the next step begins; `None` at the end.
    pub next: Option<usize>,
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
    /// Looks at up to `count` tokens of a profile, beginning at `from` (0, or what the step before
    /// said), and adds those that are wanted at `now` to `found`.
    ///
    /// Between two steps the detector may go on: a token that is seen meanwhile can be missed, and
    /// another one can come twice.
    pub fn walk(
        &self,
        profile: ProfileId,
        (from, count): (usize, usize),
        wanted: &Selection,
        now: Timestamp,
        found: &mut Vec<TokenSummary>,
    ) -> Step {
        let mut step = Step {
            looked_at: 0,
            of_status: 0,
            next: None,
        };
        let Some(table) = &self.tables[profile.0] else {
            return step;
        };
        for token in table.iter().skip(from).take(count) {
            step.looked_at += 1;
            if !wanted.statuses.contains(&token.status) {
                continue;
            }
            step.of_status += 1;
            let stuck = self.is_stuck(profile, token, now);
            let api = self.context.names.get(token.api);
            if now < table.expires(token)
                && (stuck || !wanted.stuck)
                && wanted.api.as_deref().is_none_or(|wanted| wanted == api)
                && wanted
                    .text
                    .as_deref()
                    .is_none_or(|text| token.text.is(text))
            {
                found.push(self.summary(table, token, stuck));
            }
        }
        step.next = (step.looked_at == count).then_some(from + count);
        step
    }

    /// One token, if it is known at `now`.
    pub fn token(&self, api: &str, scope: &str, text: &str, now: Timestamp) -> Option<TokenView> {
        let parts = [api.as_bytes(), scope.as_bytes(), text.as_bytes()];
        let key = Key::new(&self.context.options.hash_key, parts);
        let profile = self.profile_of(api);
        let table = self.tables[profile.0].as_ref()?;
        let token = table.get(key, now)?;
        let attempts = token.attempts.iter();
        let attempts = attempts.map(|attempt| record(token, attempt, &self.context.names));
        Some(TokenView {
            summary: self.summary(table, token, self.is_stuck(profile, token, now)),
            attempts: attempts.collect(),
        })
    }

    /// The profile whose rules judge `api`.
    pub fn profile_of(&self, api: &str) -> ProfileId {
        self.by_name.get(api).copied().unwrap_or(self.default)
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

    fn is_stuck(&self, profile: ProfileId, token: &Token, now: Timestamp) -> bool {
        let undecided = matches!(token.status, Status::InFlight | Status::Unknown);
        undecided && now >= token.life.first_start + self.context.profiles[profile.0].lease
    }

    fn summary(&self, table: &Table, token: &Token, stuck: bool) -> TokenSummary {
        TokenSummary {
            api: self.context.names.get(token.api).into(),
            token: token.text.clone(),
            scope: self.context.names.get(token.scope).into(),
            status: token.status,
            stuck,
            first_start: token.life.first_start,
            first_success: token.life.success.as_ref().map(|success| success.at),
            last_seen: token.last_seen,
            expires: table.expires(token),
            lifecycle: token.life.number,
            attempt_count: token.attempts.len(),
        }
    }
}
