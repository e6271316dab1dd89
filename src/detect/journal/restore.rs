//! From records back to the detector.

mod room;

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::records::tag;
use super::{FINDINGS_MAX, POSITIONS_MAX, finding};
use crate::detect::finding::{Finding, ProfileId};
use crate::detect::key::Key;
use crate::detect::leases::Lease;
use crate::detect::names::NameId;
use crate::detect::pack::Reader;
use crate::detect::profile::Profile;
use crate::detect::table::{How, Open, Slot};
use crate::detect::time::Timestamp;
use crate::detect::{Detector, Options};

pub use room::Lost;

/// A record that nobody wrote: the journal is another program's, or damaged where no check sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record that cannot be read")]
pub struct Unreadable;

/// How far the lines of a client's session were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPosition {
    /// What the session is known by.
    pub session: Box<[u8]>,
    /// All lines up to this number.
    pub read: u64,
    /// The connection that its attempts are attributed to.
    pub connection: u64,
}

/// No process counts that far; counting on from more could overflow.
const COUNTED_MAX: u64 = 1 << 60;

/// What a journal tells besides the detector.
#[derive(Debug)]
pub struct Restored {
    /// When observation began.
    pub observation_start: Timestamp,
    /// The highest number of a stream connection so far.
    pub connection: u64,
    /// The latest time that the detector knew.
    pub now: Timestamp,
    /// The latest findings, the oldest first.
    pub findings: Vec<Finding>,
    /// How far each session was read, the one that was read last at the end.
    pub positions: Vec<SessionPosition>,
    /// Tokens that are known again.
    pub tokens: usize,
    /// What is not.
    pub lost: Lost,
}

/// Makes a detector of the records of one journal, or of a journal and its continuations.
///
/// What a wrong answer costs: a token that is taken over with an older image than the last has open
/// attempts that ended, and gets a false `stuck_in_flight`. So nothing is taken over that was not
/// written exactly so.
pub struct Restore {
    profiles: Vec<Profile>,
    options: Options,
    begun: Option<Begun>,
}

/// From the first record on.
struct Begun {
    detector: Detector,
    observation_start: Timestamp,
    connection: u64,
    /// The profiles of the journal; `None` for those that are gone.
    profiles: Vec<Option<ProfileId>>,
    /// By table: the last token that was written with all others and not seen since.
    base_tails: Vec<Option<Slot>>,
    findings: VecDeque<Finding>,
    /// The last line of each session, and when it was read.
    positions: HashMap<Box<[u8]>, (SessionPosition, u64)>,
    position_count: u64,
    without_profile: BTreeSet<Key>,
    /// Tokens that are forgotten for want of room. The same one may be read many times, come back when
    /// it is seen again, or be removed as it would have been anyway: only what is in here at the end
    /// is lost.
    without_room: BTreeSet<Key>,
    lost: Lost,
}

impl Restore {
    /// For a detector with these profiles and options; the secret comes from the journal.
    pub fn new(profiles: Vec<Profile>, options: Options) -> Self {
        Self {
            profiles,
            options,
            begun: None,
        }
    }

    /// Whether `records` begin a journal, and one that continues what was taken over so far.
    pub fn continues(&self, records: &[u8]) -> bool {
        let mut from = Reader::new(records);
        let is_head = from.byte() == tag::HEAD;
        let secret: [u8; 16] = from.array();
        let same = |begun: &Begun| begun.detector.hash_key() == secret;
        is_head && from.is_sound() && self.begun.as_ref().is_none_or(same)
    }

    /// Takes over the records of one batch.
    ///
    /// # Errors
    /// A record that cannot be read. Those before it are taken over.
    pub fn apply(&mut self, records: &[u8]) -> Result<(), Unreadable> {
        let read = self.read(records);
        if let Some(begun) = &mut self.begun {
            begun.enforce_limits(1);
        }
        read
    }

    fn read(&mut self, records: &[u8]) -> Result<(), Unreadable> {
        let mut from = Reader::new(records);
        while !from.is_empty() {
            let kind = from.byte();
            if kind == tag::HEAD {
                self.read_head(&mut from);
            } else {
                let begun = self.begun.as_mut().ok_or(Unreadable)?;
                begun.read(kind, &mut from);
            }
            if !from.is_sound() {
                return Err(Unreadable);
            }
        }
        Ok(())
    }

    /// The detector, as it was when the last records were written; `None` if there were none. Its
    /// leases and windows go on: deadlines that passed meanwhile are handled by the next input, unless
    /// they are [held](Detector::hold_deadlines).
    pub fn finish(self) -> Option<(Detector, Restored)> {
        self.begun.map(Begun::finish)
    }

    fn read_head(&mut self, from: &mut Reader<'_>) {
        let hash_key = from.array();
        let observation_start = time(from);
        let mut names = Vec::new();
        for _ in 0..from.count() {
            let length = from.count();
            names.push(from.bytes(length));
        }
        let differs = |begun: &Begun| begun.detector.hash_key() != hash_key;
        if self.begun.as_ref().is_some_and(differs) {
            from.spoil();
        }
        if !from.is_sound() {
            return;
        }
        let options = Options {
            hash_key,
            ..self.options
        };
        let begun = self.begun.get_or_insert_with(|| {
            let detector = Detector::new(std::mem::take(&mut self.profiles), options);
            Begun {
                base_tails: vec![None; detector.profiles().len()],
                detector,
                observation_start,
                connection: 0,
                profiles: Vec::new(),
                findings: VecDeque::new(),
                positions: HashMap::new(),
                position_count: 0,
                without_profile: BTreeSet::new(),
                without_room: BTreeSet::new(),
                lost: Lost::default(),
            }
        });
        let known = |name: &&[u8]| {
            let profiles = begun.detector.profiles().iter();
            let at = profiles
                .map(|p| p.name.as_bytes())
                .position(|own| own == *name);
            at.map(ProfileId)
        };
        begun.profiles = names.iter().map(known).collect();
        begun.base_tails.fill(None);
    }
}

impl Begun {
    fn read(&mut self, kind: u8, from: &mut Reader<'_>) {
        match kind {
            tag::CLOCK => self.read_clock(from),
            tag::NAME => self.read_name(from),
            tag::REMOVED => self.read_removed(from),
            tag::SEEN => self.read_token(How::Seen, from),
            tag::CHANGED => self.read_token(How::Changed, from),
            tag::BASE => self.read_token(How::Base, from),
            tag::REPORTED => self.detector.reported_fresh.add(from.number()),
            tag::FINDING => {
                if let Some(finding) = finding::read(from) {
                    self.add_finding(finding);
                }
            }
            tag::CONFIRMED => {
                let id = from.number();
                let found = self.findings.iter_mut().rfind(|finding| finding.id == id);
                found
                    .into_iter()
                    .for_each(|finding| finding.confirmed = true);
            }
            tag::POSITION => self.read_position(from),
            _ => from.spoil(),
        }
    }

    fn read_clock(&mut self, from: &mut Reader<'_>) {
        let (now, order, findings, connection) =
            (time(from), from.number(), from.number(), from.number());
        // The detector adds durations to it.
        let possible = Timestamp::from_seconds(now.as_seconds()).is_some();
        let counted = [order, findings, connection]
            .iter()
            .all(|n| *n < COUNTED_MAX);
        if !(possible || now == Timestamp::MIN) || !counted {
            return from.spoil();
        }
        let context = &mut self.detector.context;
        context.now = context.now.max(now);
        context.order = context.order.max(order);
        context.next_finding = context.next_finding.max(findings);
        self.connection = self.connection.max(connection);
    }

    fn read_name(&mut self, from: &mut Reader<'_>) {
        let id = u32::try_from(from.number()).map(NameId::from_bits);
        let length = from.count();
        let name = std::str::from_utf8(from.bytes(length));
        let (Ok(id), Ok(name), true) = (id, name, from.is_sound()) else {
            return from.spoil();
        };
        self.detector.context.names.restore(id, name);
    }

    /// The profile of a record; `None` if it is gone.
    fn read_profile(&self, from: &mut Reader<'_>) -> Option<ProfileId> {
        let at = usize::try_from(from.number()).unwrap_or(usize::MAX);
        if at >= self.profiles.len() {
            from.spoil();
        }
        self.profiles.get(at).copied().flatten()
    }

    fn read_removed(&mut self, from: &mut Reader<'_>) {
        let profile = self.read_profile(from);
        let key = Key::from_bytes(from.array());
        match profile {
            Some(id) if from.is_sound() => {
                self.without_room.remove(&key);
                if let Some(table) = &mut self.detector.tables[id.0] {
                    let packer = &mut self.detector.packer;
                    table.forget(key, &mut self.base_tails[id.0], packer);
                }
            }
            _ => {
                self.without_profile.remove(&key);
            }
        }
    }

    fn read_token(&mut self, how: How, from: &mut Reader<'_>) {
        let profile = self.read_profile(from);
        let key = Key::from_bytes(from.array());
        let now = self.detector.context.now;
        let last_seen = now.as_micros().checked_sub(from.signed());
        let last_seen = last_seen.map_or(Timestamp::MIN, Timestamp::from_micros);
        if last_seen > now || Timestamp::from_seconds(last_seen.as_seconds()).is_none() {
            return from.spoil();
        }
        let Some(id) = profile else {
            // It is read all the same: the next record begins after it.
            self.detector.packer.skip_image(from, last_seen);
            self.without_profile.insert(key);
            return;
        };
        self.detector.table(id);
        let Detector { tables, packer, .. } = &mut self.detector;
        let Some(table) = &mut tables[id.0] else {
            return;
        };
        let base_tail = &mut self.base_tails[id.0];
        if how == How::Changed && self.without_room.contains(&key) {
            // It is no newer by that, so there is still no room for it.
            return packer.skip_image(from, last_seen);
        }
        if table.read_image((key, last_seen), how, base_tail, packer, from) {
            self.without_room.remove(&key);
        }
        self.without_room
            .extend(table.forget_surplus(base_tail, packer));
        self.enforce_limits(2);
    }

    fn add_finding(&mut self, finding: Finding) {
        // A journal tells the findings that it takes over from the one before.
        let known = self
            .findings
            .iter_mut()
            .rfind(|known| known.id == finding.id);
        if let Some(known) = known {
            *known = finding;
            return;
        }
        if self.findings.len() == FINDINGS_MAX {
            self.findings.pop_front();
        }
        self.findings.push_back(finding);
    }

    fn read_position(&mut self, from: &mut Reader<'_>) {
        let length = from.count();
        let session = from.bytes(length);
        let position = SessionPosition {
            session: session.into(),
            read: from.number(),
            connection: from.number(),
        };
        if !from.is_sound() {
            return;
        }
        self.position_count += 1;
        self.positions
            .insert(position.session.clone(), (position, self.position_count));
        if self.positions.len() > 2 * POSITIONS_MAX {
            let oldest = self.position_count - POSITIONS_MAX as u64;
            self.positions.retain(|_, (_, read)| *read > oldest);
        }
    }

    fn finish(mut self) -> (Detector, Restored) {
        let open = self.look_at_tokens();
        let detector = &mut self.detector;
        detector.context.names.restored();
        for open in open {
            let Some(table) = &mut detector.tables[open.table] else {
                continue;
            };
            let (key, _) = table.identity(open.slot);
            let lease = detector.context.leases.open(Lease {
                key,
                start: open.start,
                order: open.order,
                // Its connection ended with the process, but that says nothing about the client.
                connection: None,
                attempt: open.attempt,
                profile: ProfileId(open.table),
            });
            table.lend(&open, lease, &mut detector.packer);
        }
        self.enforce_last_limits();
        let mut positions: Vec<_> = self.positions.into_iter().collect();
        positions.sort_unstable_by_key(|(_, (_, read))| *read);
        let surplus = positions.len().saturating_sub(POSITIONS_MAX);
        let positions = positions.into_iter().skip(surplus);
        let restored = Restored {
            observation_start: self.observation_start,
            connection: self.connection,
            now: self.detector.context.now,
            findings: self.findings.into(),
            positions: positions.map(|(_, (position, _))| position).collect(),
            tokens: self.detector.token_count(),
            lost: Lost {
                without_profile: self.without_profile.len() as u64,
                without_room: self.lost.without_room + self.without_room.len() as u64,
                ..self.lost
            },
        };
        (self.detector, restored)
    }

    /// Forgets tokens without their names, and finds what follows from the others: the names in use,
    /// the places among the undecided, what waits for a span, and the open attempts in the order in
    /// which they started.
    fn look_at_tokens(&mut self) -> Vec<Open> {
        let Detector {
            tables,
            undecided,
            settling,
            context,
            packer,
            ..
        } = &mut self.detector;
        let mut open: Vec<Open> = Vec::new();
        let (mut used, mut without_place) = (Vec::new(), Vec::new());
        for (number, table) in tables.iter_mut().enumerate() {
            let Some(table) = table else { continue };
            let deadline = context.now + context.profiles[number].lease;
            for slot in table.slots() {
                let first = open.len();
                used.clear();
                let place = table.consequences(
                    slot,
                    packer,
                    &mut |name| used.push(name),
                    &mut |start, order, attempt| {
                        open.push(Open {
                            start,
                            order,
                            table: number,
                            slot,
                            attempt,
                        });
                    },
                );
                let Some(place) = place else { continue };
                if !used.iter().all(|name| context.names.holds(*name)) {
                    open.truncate(first);
                    self.lost.without_name += 1;
                    table.forget_at(slot, &mut self.base_tails[number], packer);
                    continue;
                }
                used.iter().for_each(|name| context.names.keep(*name));
                let (key, _) = table.identity(slot);
                without_place.extend(place.and_then(|place| undecided.insert(place, key)));
                if table.waits_for_span(slot) {
                    settling[number].push_back((deadline, key));
                }
            }
        }
        self.lost.without_place += without_place.len() as u64;
        without_place
            .into_iter()
            .for_each(|token| self.detector.displace(token));
        open.sort_unstable();
        open
    }
}

fn time(from: &mut Reader<'_>) -> Timestamp {
    Timestamp::from_micros(i64::from_le_bytes(from.array()))
}
