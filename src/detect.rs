//! PURE: the detector. No I/O, clock, lock or async below here.
//!
//! Inputs are `handle_*`, each with the time as an argument; what they say goes into a
//! [`Verdicts`] that the caller owns. The same detector judges live events and recordings.

pub mod bound;
pub mod event;
pub mod explain;
pub mod finding;
pub mod profile;
pub mod text;
pub mod time;
pub mod trace;
pub mod verdict;

mod budget;
mod chunks;
mod end;
mod fresh;
mod held;
mod history;
mod index;
mod invalid;
pub mod journal;
mod judge;
mod key;
mod leases;
mod message;
mod names;
mod pack;
mod quick;
mod start;
mod table;
mod token;
mod undecided;
mod upkeep;
mod view;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

use budget::Limits;
use event::{Event, Kind};
use finding::{CallOutcome, Observation, ProfileId, Status, Verdicts};
use fresh::ReportedFresh;
use judge::{Judge, Sender};
use key::{Key, Keys};
use leases::Leases;
use names::{NameId, Names, Sort};
use pack::Packer;
use profile::Profile;
use table::{Glimpse, Table};
use text::{Text, same};
use time::Timestamp;
use token::{Life, Token, Who};
use undecided::Undecided;
use upkeep::follow;
use verdict::Severity;

pub use upkeep::Orphans;
pub use view::{Candidate, OpenAttempt, Selection, Spot, Step, TokenSummary, TokenView};

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
    /// No deadline is reached before this.
    due: Timestamp,
    /// Before this a deadline is handled only if an event that comes after it needs it.
    held: Timestamp,
    /// The shortest lease or time to live: how long after an event a deadline that it sets is at least.
    shortest: Duration,
    /// Made when its profile is first used: a table costs memory before it holds a token.
    tables: Vec<Option<Table>>,
    /// Packs the tokens of all tables.
    packer: Packer,
    limits: Limits,
    undecided: Undecided,
    reported_fresh: ReportedFresh,
    /// Lifecycles of unknown outcome that wait one more lease before they are handed out.
    settling: Vec<VecDeque<(Timestamp, Key)>>,
    /// Whether what changes is noted, to be written down.
    journaled: bool,
}

/// What every judgement needs besides the token: all of the detector but its tables.
struct Context {
    profiles: Vec<Profile>,
    options: Options,
    names: Names,
    leases: Leases,
    space: Space,
    now: Timestamp,
    /// Order of input.
    order: u64,
    next_finding: u64,
}

/// The API and scope of the last event, nearly always the next one's too, and what follows from them.
struct Space {
    api: String,
    scope: String,
    profile: ProfileId,
    keys: Keys,
}

impl Context {
    fn judge<'a>(&'a mut self, id: ProfileId, key: Key, out: &'a mut Verdicts) -> Judge<'a> {
        Judge {
            profile: &self.profiles[id.0],
            id,
            options: self.options,
            key,
            keys: &self.space.keys,
            names: &mut self.names,
            leases: &mut self.leases,
            now: self.now,
            order: self.order,
            next_finding: &mut self.next_finding,
            out,
            sighted: false,
        }
    }
}

impl Detector {
    /// `profiles` must contain one named `default`, which judges APIs without a profile; if it
    /// does not, the last one takes its place. There must be at least one.
    pub fn new(profiles: Vec<Profile>, options: Options) -> Self {
        let limits = Limits::of(&profiles);
        Self::with_limits(profiles, options, limits)
    }

    /// One whose memory nothing bounds but the capacities of its profiles, for input that was there
    /// before: nobody can add to it.
    pub fn for_recordings(profiles: Vec<Profile>, options: Options) -> Self {
        Self::with_limits(profiles, options, Limits::none())
    }

    fn with_limits(profiles: Vec<Profile>, options: Options, limits: Limits) -> Self {
        let ids = profiles
            .iter()
            .enumerate()
            .map(|(i, profile)| (profile.name.clone(), ProfileId(i)));
        let by_name: HashMap<_, _> = ids.collect();
        let last = ProfileId(profiles.len().saturating_sub(1));
        let default = by_name.get(profile::DEFAULT).copied().unwrap_or(last);
        // For so many it is made; it grows beyond.
        let undecided = Limits::of(&profiles).undecided;
        let context = Context {
            options,
            names: Names::new(limits.names),
            leases: Leases::new(profiles.iter().map(|profile| profile.lease)),
            space: Space {
                api: String::new(),
                scope: String::new(),
                profile: default,
                keys: Keys::new(&options.hash_key, "", ""),
            },
            now: Timestamp::MIN,
            order: 0,
            next_finding: 0,
            profiles,
        };
        let lengths = context.profiles.iter().map(|one| one.lease.min(one.ttl()));
        let shortest = lengths.min().unwrap_or_default();
        let profiles = context.profiles.len();
        Self {
            default,
            by_name,
            due: Timestamp::MIN,
            held: Timestamp::MIN,
            shortest,
            tables: (0..profiles).map(|_| None).collect(),
            packer: Packer::new(),
            undecided: Undecided::new(undecided, limits.several),
            limits,
            reported_fresh: ReportedFresh::new(),
            settling: (0..profiles).map(|_| VecDeque::new()).collect(),
            journaled: false,
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

    /// Hands out the lifecycles that still wait for their end; nothing more will come.
    pub fn handle_shutdown(&mut self, now: Timestamp, out: &mut Verdicts) {
        self.handle_timeout(now, out);
        for profile in (0..self.context.profiles.len()).map(ProfileId) {
            let Some(table) = &self.tables[profile.0] else {
                continue;
            };
            let pending = table.some(0, u32::MAX).filter(Glimpse::is_pending);
            let mut pending: Vec<_> = pending
                .map(|token| (token.last_seen(), token.key()))
                .collect();
            pending.sort_unstable();
            for (_, key) in pending {
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

    /// Makes an event's API and scope the current ones; returns whose rules judge it.
    fn enter(&mut self, api: &str, scope: &str) -> ProfileId {
        let space = &self.context.space;
        if !same(&space.api, api) || !same(&space.scope, scope) {
            let profile = self.profile_of(api);
            let space = &mut self.context.space;
            api.clone_into(&mut space.api);
            scope.clone_into(&mut space.scope);
            space.profile = profile;
            space.keys = Keys::new(&self.context.options.hash_key, api, scope);
        }
        self.context.space.profile
    }

    /// Judges a start or an end; returns whether it was new.
    fn judge(&mut self, event: &Event<'_>, source: Source<'_>, out: &mut Verdicts) -> bool {
        if self.context.names.is_sweep_due() {
            self.sweep_names(out);
        }
        let id = self.enter(&event.api, &event.scope);
        let client = event
            .client
            .as_deref()
            .or(source.identity)
            .map(|name| self.context.names.intern(Sort::Sender, name));
        let sender = Sender {
            client,
            connection: source.connection,
        };
        if !self.context.profiles[id.0].accepts(&event.token) {
            self.judge_invalid(id, event, sender, out);
            return true;
        }
        let key = self.context.space.keys.key(&event.token);
        if self.context.now < self.held {
            self.reach_deadlines(id, key, event, out);
        }
        match event.kind {
            _ if self.judge_quickly(id, key, event, sender, out) => true,
            Kind::AttemptStart => self.judge_start(id, key, event, sender, out),
            Kind::CallEnd if event.call.is_some() => {
                self.judge_call_end(id, key, event, sender, out);
                true
            }
            _ => self.judge_end(id, key, event, sender, out),
        }
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
            judge.sighted = judge.start(token, event, sender);
            judge.sighted
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
            judge.sighted = judge.end(token, event, class, sender);
            judge.sighted
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
    ) {
        let class = self.context.profiles[id.0].classify(event);
        let call = event.call.as_deref().unwrap_or_default();
        let known = self.with_token(id, key, out, |judge, token| {
            let serial = token.find_call(sender.client, call)?;
            judge.sighted = judge.call_end(token, serial, event, class);
            Some(serial)
        });
        if known.flatten().is_none() {
            let outcome = CallOutcome::from(class);
            out.observations.push(Observation::Call(id, outcome));
        }
    }

    /// The event's API and scope as names.
    fn spaces(&mut self, event: &Event<'_>) -> (NameId, NameId) {
        let names = &mut self.context.names;
        (
            names.intern(Sort::Space, &event.api),
            names.intern(Sort::Space, &event.scope),
        )
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
        self.enforce_limits(key, out);
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
        let slot = table.find(key, self.context.now)?;
        let mut token = table.take(slot, &mut self.packer);
        let mut judge = self.context.judge(id, key, out);
        let before = token.status;
        let result = change(&mut judge, &mut token);
        let followed = follow(&mut judge, &mut token, &mut self.undecided);
        if judge.sighted {
            table.sight(slot, &mut token, judge.now);
        }
        let crowded = token.is_crowded();
        let became_unknown = token.status == Status::Unknown && before != Status::Unknown;
        let report = became_unknown && token.life.note.is_some();
        table.put(slot, token, &mut self.packer);
        if let Some(other) = followed.displaced {
            self.displace(other);
        }
        if followed.wait {
            self.settle_later(id, key, out);
        }
        if report {
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
        let (api, scope) = self.spaces(event);
        self.table(id);
        let mut token = self.packer.blank();
        token.renew(Text::new(&event.token), api, scope, life);
        if let Some(who) = change(&mut self.context.judge(id, key, out), &mut token) {
            self.compare_fresh(id, key, &mut token, who, out);
        }
        let mut judge = self.context.judge(id, key, out);
        let followed = follow(&mut judge, &mut token, &mut self.undecided);
        if let Some(other) = followed.displaced {
            self.displace(other);
        }
        if followed.wait {
            self.settle_later(id, key, out);
        }
        token.last_seen = self.context.now;
        let table = self.tables[id.0].as_mut();
        let removed = table.and_then(|table| table.insert(key, token, &mut self.packer));
        if let Some(removed) = removed {
            self.remove(id, removed, out);
        }
        self.enforce_limits(key, out);
    }

    /// The table of a profile, made if need be.
    fn table(&mut self, id: ProfileId) -> &mut Table {
        let profile = &self.context.profiles[id.0];
        let journaled = self.journaled;
        self.tables[id.0].get_or_insert_with(|| {
            let capacity = NonZeroUsize::new(profile.capacity).unwrap_or(NonZeroUsize::MIN);
            let mut table = Table::new(capacity, profile.ttl());
            if journaled {
                table.want_changes();
            }
            table
        })
    }
}
