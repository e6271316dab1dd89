//! Reading the detector's state, for the API and for summaries.

use super::Detector;
use super::finding::{AttemptRecord, ProfileId, Status};
use super::history::record;
use super::key::Keys;
use super::names::Sort;
use super::table::{Glimpse, Slot};
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
}

/// Where a token is, for as long as its lifecycle is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    profile: ProfileId,
    slot: Slot,
    /// Tells the token from a later one in the same slot.
    first_start: Timestamp,
}

/// A token that a walk came across: enough to search and sort by.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Where its [`TokenSummary`] is to be had.
    pub spot: Spot,
    /// The token in full.
    pub token: Text,
    /// First start of the current lifecycle.
    pub first_start: Timestamp,
    /// Last sighting.
    pub last_seen: Timestamp,
    /// Attempts still remembered, of all lifecycles.
    pub attempt_count: usize,
}

/// What one step of a walk looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Tokens with a selected status, whatever else was asked.
    pub of_status: usize,
    /// Where the next step begins; `None` at the end.
    pub next: Option<u32>,
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

/// Work of one step of a walk, in tokens passed over: a fraction of a millisecond.
const STEP: u32 = 8192;
/// Work of bringing a token, and of one that has to be unpacked first, which allocates.
const BROUGHT: u32 = 2;
const UNPACKED: u32 = 32;
/// Scopes in which one step looks for a token.
const SCOPES: usize = 256;

impl Detector {
    /// Adds the tokens of a profile that are wanted at `now` to `found`: some of them, from position
    /// `from` on (0, or what the step before said), in no order that means anything.
    ///
    /// Between two steps the detector may go on. A token that is remembered all the while comes
    /// once, one that comes or goes meanwhile at most once.
    pub fn walk(
        &self,
        profile: ProfileId,
        from: u32,
        wanted: &Selection,
        now: Timestamp,
        found: &mut Vec<Candidate>,
    ) -> Step {
        let mut step = Step {
            of_status: 0,
            next: None,
        };
        let Some(table) = &self.tables[profile.0] else {
            return step;
        };
        let mut work = 0;
        let mut end = from.saturating_add(STEP);
        for token in table.some(from, STEP) {
            work += 1;
            if wanted.statuses.contains(&token.status()) {
                step.of_status += 1;
                work += if token.is_long() { UNPACKED } else { BROUGHT };
                found.extend(self.candidate(profile, &token, wanted, now));
            }
            if work >= STEP {
                end = token.slot.after();
                break;
            }
        }
        step.next = Some(end).filter(|end| *end < table.end());
        step
    }

    /// What is known of the token at `spot`, if it still is one that is wanted at `now`.
    pub fn summary_of(
        &self,
        spot: Spot,
        wanted: &Selection,
        now: Timestamp,
    ) -> Option<TokenSummary> {
        let Spot { profile, slot, .. } = spot;
        let token = self.tables[profile.0].as_ref()?.glimpse(slot)?;
        if !wanted.statuses.contains(&token.status()) {
            return None;
        }
        let is_it = |candidate: &Candidate| candidate.spot == spot;
        self.candidate(profile, &token, wanted, now).filter(is_it)?;
        let expires = token.expires();
        Some(token.look(&self.packer, |token| {
            self.summary(profile, token, expires, now)
        }))
    }

    /// Adds the tokens of `api` that are `text` and known at `now`, one in each scope: those in some
    /// scopes, from number `from` on (0, or what the step before said). Returns where to go on.
    pub fn tokens_of(
        &self,
        (api, text): (&str, &str),
        from: usize,
        now: Timestamp,
        found: &mut Vec<TokenView>,
    ) -> Option<usize> {
        let profile = self.profile_of(api);
        let table = self.tables[profile.0].as_ref()?;
        for scope in self.context.names.some(Sort::Space, from, SCOPES)? {
            let key = Keys::new(&self.context.options.hash_key, api, scope).key(text);
            let token = table.find(key, now).and_then(|slot| table.glimpse(slot));
            found.extend(token.map(|token| self.view(profile, &token, now)));
        }
        Some(from + SCOPES)
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
            let table = self.tables[lease.profile.0].as_ref()?;
            let token = table.glimpse(table.find(lease.key, self.context.now)?)?;
            token.look(&self.packer, |token| {
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

    /// A token of a selected status, if nothing else speaks against it.
    fn candidate(
        &self,
        profile: ProfileId,
        token: &Glimpse<'_>,
        wanted: &Selection,
        now: Timestamp,
    ) -> Option<Candidate> {
        if now >= token.expires() {
            return None;
        }
        let brief = token.brief(&self.packer);
        let api = wanted.api.as_deref();
        if api.is_some_and(|api| api != self.context.names.get(brief.api)) {
            return None;
        }
        if wanted.stuck && !self.is_stuck(profile, token.status(), brief.first_start, now) {
            return None;
        }
        Some(Candidate {
            spot: Spot {
                profile,
                slot: token.slot,
                first_start: brief.first_start,
            },
            token: brief.text,
            first_start: brief.first_start,
            last_seen: token.last_seen(),
            attempt_count: brief.attempt_count,
        })
    }

    fn is_stuck(
        &self,
        profile: ProfileId,
        status: Status,
        first_start: Timestamp,
        now: Timestamp,
    ) -> bool {
        let undecided = matches!(status, Status::InFlight | Status::Unknown);
        undecided && now >= first_start + self.context.profiles[profile.0].lease
    }

    fn view(&self, profile: ProfileId, token: &Glimpse<'_>, now: Timestamp) -> TokenView {
        let expires = token.expires();
        token.look(&self.packer, |token| {
            let attempts = token.attempts.iter();
            let attempts = attempts.map(|attempt| record(token, attempt, &self.context.names));
            TokenView {
                summary: self.summary(profile, token, expires, now),
                attempts: attempts.collect(),
            }
        })
    }

    fn summary(
        &self,
        profile: ProfileId,
        token: &Token,
        expires: Timestamp,
        now: Timestamp,
    ) -> TokenSummary {
        let first_start = token.life.first_start;
        TokenSummary {
            api: self.context.names.get(token.api).into(),
            token: token.text.clone(),
            scope: self.context.names.get(token.scope).into(),
            status: token.status,
            stuck: self.is_stuck(profile, token.status, first_start, now),
            first_start,
            first_success: token.life.success.as_ref().map(|success| success.at),
            last_seen: token.last_seen,
            expires,
            lifecycle: token.life.number,
            attempt_count: token.attempts.len(),
        }
    }
}
