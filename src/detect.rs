//! PURE: the detector. No I/O, clock, lock or async below here.
//!
//! Inputs are `handle_*`, each with the time as an argument; what they say goes into a
//! [`Verdicts`] that the caller owns. The same detector judges live events and recordings.

pub mod event;
pub mod explain;
pub mod finding;
pub mod profile;
pub mod text;
pub mod time;
pub mod trace;
pub mod verdict;

mod end;
mod fresh;
mod history;
mod judge;
mod key;
mod leases;
mod message;
mod names;
mod start;
mod table;
mod token;
mod undecided;
mod upkeep;
mod view;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;

use event::{Event, Kind};
use finding::{CallOutcome, Observation, ProfileId, Status, Verdicts};
use fresh::ReportedFresh;
use judge::{Judge, Sender};
use key::Key;
use leases::{Lease, Leases};
use message::Facts;
use names::Names;
use profile::Profile;
use table::Table;
use time::Timestamp;
use token::{Life, Pointer, Token, Who};
use undecided::Undecided;
use upkeep::follow;
use verdict::{Severity, Verdict};

pub use view::{OpenAttempt, Selection, Step, TokenSummary, TokenView};

/// Calls remembered per token, besides older ones with an open attempt.
pub const CALLS_MAX: usize = 8;
/// Open attempts remembered per token.
pub const OPEN_ATTEMPTS_MAX: usize = 8;
/// Attempts remembered per token, open and closed.
pub const ATTEMPTS_MAX: usize = 64;

/// Identifies the stream connection an event came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

/// Where an event came from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source<'a> {
    /// The stream connection, whose end orphans its open attempts.
    pub connection: Option<ConnectionId>,
    /// Name of a client that gives none itself.
    pub identity: Option<&'a str>,
}

/// Which lifecycles are handed out as [`finding::Lifecycle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// None.
    Off,
    /// Those with a finding.
    Misuse,
    /// All.
    All,
}

/// What a detector is to produce besides counts.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Mildest verdict that is handed out as a finding.
    pub detail: Severity,
    /// Lifecycles handed out.
    pub trace: Trace,
    /// Secret of the table's hash, so that nobody can choose tokens that clash.
    pub hash_key: [u8; 16],
}

/// The state machine over all tokens.
///
/// What a wrong answer costs: a token pushed out inside its window makes a later misuse look like a
/// first use; each such loss is counted as a [`Gap`]. Nothing is ever reported that was not seen.
pub struct Detector {
    context: Context,
    by_name: HashMap<Box<str>, ProfileId>,
    default: ProfileId,
    /// Made when its profile is first used: a table costs memory before it holds a token.
    tables: Vec<Option<Table>>,
    undecided: Undecided,
    reported_fresh: ReportedFresh,
    /// Lifecycles of unknown outcome that wait one more lease before they are handed out.
    settling: Vec<VecDeque<(Timestamp, Key)>>,
}

/// What every judgement needs besides the token: all of the detector but its tables.
struct Context {
    profiles: Vec<Profile>,
    options: Options,
    names: Names,
    leases: Leases,
    now: Timestamp,
    /// Order of input.
    order: u64,
    next_finding: u64,
}

impl Context {
    fn judge<'a>(&'a mut self, id: ProfileId, key: Key, out: &'a mut Verdicts) -> Judge<'a> {
        Judge {
            profile: &self.profiles[id.0],
            id,
            options: self.options,
            key,
            names: &self.names,
            leases: &mut self.leases,
            now: self.now,
            order: self.order,
            next_finding: &mut self.next_finding,
            out,
        }
    }
}

impl Detector {
    /// `profiles` must contain one named `default`, which judges APIs without a profile; if it
    /// does not, the last one takes its place. There must be at least one.
    pub fn new(profiles: Vec<Profile>, options: Options) -> Self {
        let ids = profiles
            .iter()
            .enumerate()
            .map(|(i, profile)| (profile.name.clone(), ProfileId(i)));
        let by_name: HashMap<_, _> = ids.collect();
        let last = ProfileId(profiles.len().saturating_sub(1));
        let context = Context {
            options,
            names: Names::new(),
            leases: Leases::new(profiles.len()),
            now: Timestamp::MIN,
            order: 0,
            next_finding: 0,
            profiles,
        };
        let profiles = context.profiles.len();
        Self {
            default: by_name.get(profile::DEFAULT).copied().unwrap_or(last),
            by_name,
            tables: (0..profiles).map(|_| None).collect(),
            undecided: Undecided::default(),
            reported_fresh: ReportedFresh::default(),
            settling: (0..profiles).map(|_| VecDeque::new()).collect(),
            context,
        }
    }

    /// The profiles; a [`ProfileId`] is an index into them.
    pub fn profiles(&self) -> &[Profile] {
        &self.context.profiles
    }

    /// Judges one event that arrived at `now`. `now` never goes back: an older one counts as the
    /// latest seen. Deadlines up to `now` are handled first.
    pub fn handle_event(
        &mut self,
        event: &Event<'_>,
        source: Source<'_>,
        now: Timestamp,
        out: &mut Verdicts,
    ) {
        self.handle_timeout(now, out);
        self.context.order += 1;
        if event.traceparent_malformed {
            out.observations.push(Observation::TraceparentMalformed);
        }
        let accepted = match event.kind {
            Kind::ClientReport => {
                out.observations
                    .push(Observation::DroppedByClient(event.dropped));
                true
            }
            Kind::AttemptStart | Kind::AttemptEnd | Kind::CallEnd => self.judge(event, source, out),
        };
        out.observations.push(if accepted {
            Observation::Accepted(event.kind)
        } else {
            Observation::Duplicate
        });
    }

    /// Handles the deadlines up to `now`.
    pub fn handle_timeout(&mut self, now: Timestamp, out: &mut Verdicts) {
        while let Some((id, &lease)) = self
            .context
            .leases
            .first()
            .filter(|(_, lease)| lease.deadline <= now)
        {
            self.context.now = self.context.now.max(lease.deadline);
            self.context.order += 1;
            let expired = self.with_token(lease.profile, lease.key, out, |judge, token| {
                token
                    .position(lease.attempt)
                    .map(|index| judge.expire(token, index))
            });
            if expired.flatten().is_none() {
                self.context.leases.close(id);
            }
        }
        self.context.now = self.context.now.max(now);
        for profile in 0..self.context.profiles.len() {
            self.settle_due(ProfileId(profile), out);
            self.sweep(ProfileId(profile), out);
        }
    }

    /// The next deadline, if any; it may already be over when much is due at once.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let lease = self.context.leases.first().map(|(_, lease)| lease.deadline);
        let settling = self
            .settling
            .iter()
            .filter_map(|queue| queue.front())
            .map(|(deadline, _)| *deadline);
        let expiry = self.tables.iter().flatten().filter_map(Table::poll_expiry);
        lease.into_iter().chain(settling).chain(expiry).min()
    }

    /// Closes what a stream connection left open.
    pub fn handle_disconnect(
        &mut self,
        connection: ConnectionId,
        now: Timestamp,
        out: &mut Verdicts,
    ) {
        self.handle_timeout(now, out);
        let of_connection = self
            .context
            .leases
            .iter()
            .filter(|lease| lease.connection == Some(connection));
        let mut open: Vec<Lease> = of_connection.copied().collect();
        open.sort_by_key(|lease| lease.order);
        for lease in open {
            self.context.order += 1;
            self.with_token(lease.profile, lease.key, out, |judge, token| {
                if let Some(index) = token.position(lease.attempt) {
                    judge.orphan(token, index);
                }
            });
        }
    }

    /// Hands out the lifecycles that still wait for their end; nothing more will come.
    pub fn handle_shutdown(&mut self, now: Timestamp, out: &mut Verdicts) {
        self.handle_timeout(now, out);
        for profile in (0..self.context.profiles.len()).map(ProfileId) {
            let Some(table) = &self.tables[profile.0] else {
                continue;
            };
            let pending = table
                .entries()
                .filter(|(_, token)| token.life.history.pending);
            let pending: Vec<Key> = pending.map(|(key, _)| *key).collect();
            for key in pending {
                self.with_token(profile, key, out, |judge, token| {
                    judge.hand_out(token, judge.now)
                });
            }
        }
    }

    /// Tokens of a profile by status, in the order of [`Status::ALL`]. Expired ones count until the
    /// next input removes them.
    pub fn counts(&self, profile: ProfileId) -> [usize; Status::ALL.len()] {
        self.tables[profile.0]
            .as_ref()
            .map_or([0; Status::ALL.len()], Table::counts)
    }

    /// Start of the oldest open attempt.
    pub fn oldest_open(&self) -> Option<Timestamp> {
        self.context.leases.oldest_start()
    }

    /// Judges a start or an end; returns whether it was new.
    fn judge(&mut self, event: &Event<'_>, source: Source<'_>, out: &mut Verdicts) -> bool {
        if self.context.names.sweep_due() {
            self.sweep_names();
        }
        let id = self
            .by_name
            .get(&*event.api)
            .copied()
            .unwrap_or(self.default);
        let client = event
            .client
            .as_deref()
            .or(source.identity)
            .map(|name| self.context.names.intern(name));
        let sender = Sender {
            client,
            connection: source.connection,
        };
        if !self.context.profiles[id.0].accepts(&event.token) {
            self.judge_invalid(id, event, sender, out);
            return true;
        }
        let parts = [
            event.api.as_bytes(),
            event.scope.as_bytes(),
            event.token.as_bytes(),
        ];
        let key = Key::new(&self.context.options.hash_key, parts);
        let accepted = match event.kind {
            Kind::AttemptStart => self.judge_start(id, key, event, sender, out),
            Kind::CallEnd if event.call.is_some() => {
                return self.judge_call_end(id, key, event, sender, out);
            }
            _ => self.judge_end(id, key, event, sender, out),
        };
        if accepted && let Some(table) = &mut self.tables[id.0] {
            table.sight(key, self.context.now);
        }
        accepted
    }

    fn judge_start(
        &mut self,
        id: ProfileId,
        key: Key,
        event: &Event<'_>,
        sender: Sender,
        out: &mut Verdicts,
    ) -> bool {
        let known = self.with_token(id, key, out, |judge, token| {
            judge.start(token, event, sender)
        });
        known.unwrap_or_else(|| {
            let life = Life::new(1, self.context.now, self.context.order);
            self.add_token(id, key, event, life, out, |judge, token| {
                let index = judge.first_use(token, event, sender);
                Some(token.who(index))
            });
            true
        })
    }

    fn judge_end(
        &mut self,
        id: ProfileId,
        key: Key,
        event: &Event<'_>,
        sender: Sender,
        out: &mut Verdicts,
    ) -> bool {
        let class = self.context.profiles[id.0].classify(event);
        let known = self.with_token(id, key, out, |judge, token| {
            judge.end(token, event, class, sender)
        });
        known.unwrap_or_else(|| {
            let life = Life::new(
                1,
                self.context.now - event.duration.unwrap_or_default(),
                self.context.order,
            );
            self.add_token(id, key, event, life, out, |judge, token| {
                judge.end(token, event, class, sender);
                None
            });
            true
        })
    }

    /// The end of a named call: counted even if nothing is known of it. A second one says nothing.
    fn judge_call_end(
        &mut self,
        id: ProfileId,
        key: Key,
        event: &Event<'_>,
        sender: Sender,
        out: &mut Verdicts,
    ) -> bool {
        let class = self.context.profiles[id.0].classify(event);
        let call = event.call.as_deref().unwrap_or_default();
        let table = self.tables[id.0].as_ref();
        let token = table.and_then(|table| table.get(key, self.context.now));
        let Some(serial) = token.and_then(|token| token.find_call(sender.client, call)) else {
            out.observations
                .push(Observation::Call(id, CallOutcome::from(class)));
            return true;
        };
        let first = self.with_token(id, key, out, |judge, token| {
            judge.call_end(token, serial, event, class)
        });
        if first == Some(true)
            && let Some(table) = &mut self.tables[id.0]
        {
            table.sight(key, self.context.now);
        }
        true
    }

    /// A token that the server will not take is judged and not remembered.
    fn judge_invalid(
        &mut self,
        id: ProfileId,
        event: &Event<'_>,
        sender: Sender,
        out: &mut Verdicts,
    ) {
        if event.kind != Kind::AttemptStart {
            let class = self.context.profiles[id.0].classify(event);
            let ends_call = class.ends_call() || event.max_attempts == Some(event.attempt);
            let whole_call = event.kind == Kind::CallEnd && event.call.is_some();
            if !whole_call {
                out.observations.push(Observation::Attempt(id, class));
            }
            // Without a memory of the call, its end is counted where it is told only once.
            if whole_call || (event.call.is_none() && ends_call) {
                out.observations
                    .push(Observation::Call(id, CallOutcome::from(class)));
            }
            return;
        }
        let mut token = self.new_token(event, Life::new(1, self.context.now, self.context.order));
        let who = Who {
            client: sender.client,
            call: event.call.as_deref().map(text::Text::new),
            attempt: event.attempt,
            since: self.context.now,
            trace: event.trace,
            serial: 0,
        };
        let facts = Facts::of(&token);
        self.context.judge(id, Key(0), out).give(
            &mut token,
            &who,
            Verdict::TokenInvalid,
            facts,
            Pointer::default(),
        );
    }

    fn new_token(&mut self, event: &Event<'_>, life: Life) -> Token {
        let (api, scope) = (
            self.context.names.intern(&event.api),
            self.context.names.intern(&event.scope),
        );
        Token::new(&event.token, api, scope, life)
    }

    /// Changes a token that is known, then everything that follows from its state, and last forgets
    /// what exceeds its bounds: the event is judged by all that was known when it came.
    fn with_token<R>(
        &mut self,
        id: ProfileId,
        key: Key,
        out: &mut Verdicts,
        change: impl FnOnce(&mut Judge<'_>, &mut Token) -> R,
    ) -> Option<R> {
        let (result, crowded) = self.change_token(id, key, out, change)?;
        if crowded {
            self.change_token(id, key, out, |judge, token| judge.enforce_bounds(token));
        }
        Some(result)
    }

    /// The result of `change`, and whether the token may exceed its bounds now.
    fn change_token<R>(
        &mut self,
        id: ProfileId,
        key: Key,
        out: &mut Verdicts,
        change: impl FnOnce(&mut Judge<'_>, &mut Token) -> R,
    ) -> Option<(R, bool)> {
        let table = self.tables[id.0].as_mut()?;
        let token = table.get_mut(key, self.context.now)?;
        let mut judge = self.context.judge(id, key, out);
        let before = token.status;
        let result = change(&mut judge, token);
        let wait = follow(&mut judge, token, &mut self.undecided);
        let after = token.status;
        let crowded = token.is_crowded();
        table.recount(before, after);
        if wait {
            self.settle_later(id, key);
        }
        if after == Status::Unknown && before != Status::Unknown {
            self.report_noted(id, key, out);
        }
        Some((result, crowded))
    }

    /// Adds a token. If `change` returns who used it first, it is looked at as a fresh token for
    /// an older request.
    fn add_token(
        &mut self,
        id: ProfileId,
        key: Key,
        event: &Event<'_>,
        life: Life,
        out: &mut Verdicts,
        change: impl FnOnce(&mut Judge<'_>, &mut Token) -> Option<Who>,
    ) {
        let mut token = self.new_token(event, life);
        if let Some(who) = change(&mut self.context.judge(id, key, out), &mut token) {
            self.compare_fresh(id, key, &mut token, who, out);
        }
        let mut judge = self.context.judge(id, key, out);
        if follow(&mut judge, &mut token, &mut self.undecided) {
            self.settle_later(id, key);
        }
        token.last_seen = self.context.now;
        let profile = &self.context.profiles[id.0];
        let capacity = NonZeroUsize::new(profile.capacity).unwrap_or(NonZeroUsize::MIN);
        let table = self.tables[id.0].get_or_insert_with(|| Table::new(capacity, profile.ttl()));
        if let Some((_, removed)) = table.insert(key, token) {
            self.remove(id, removed, out);
        }
    }
}
