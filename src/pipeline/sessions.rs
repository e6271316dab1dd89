//! How far the lines of each acknowledged session have been read (SPEC §2). Pure.

use std::time::Duration;

use lru::LruCache;

use crate::detect::ConnectionId;
use crate::detect::time::Timestamp;

/// Sessions remembered. One that is pushed out costs nothing while its connection lasts; if it comes
/// back on another one, lines that it sends again are new ones, and only a start or end with `call`
/// is still known to the detector.
pub const SESSIONS_MAX: usize = 1024;
/// Longest name in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Highest number of a session's first line: integers up to here are the same in all of JSON, and
/// counting on from it cannot overflow.
pub const FIRST_MAX: u64 = (1 << 53) - 1;
/// Silence after which a session is not expected back: pushing it out is no loss.
const RETURNS_WITHIN: Duration = Duration::from_secs(60);

/// A session: its name, and the user it belongs to, so that none speaks for another user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    uid: u32,
    length: u8,
    name: [u8; NAME_BYTES_MAX],
}

impl Session {
    /// `None` for a name that is empty or too long.
    pub fn new(uid: u32, name: &str) -> Option<Self> {
        let length = u8::try_from(name.len()).ok().filter(|length| *length > 0)?;
        let mut bytes = [0; NAME_BYTES_MAX];
        bytes
            .get_mut(..name.len())?
            .copy_from_slice(name.as_bytes());
        Some(Self {
            uid,
            length,
            name: bytes,
        })
    }

    /// Longest form in bytes.
    pub const BYTES_MAX: usize = 4 + NAME_BYTES_MAX;

    /// The session as bytes, in `room`.
    pub fn write<'a>(&self, room: &'a mut [u8; Self::BYTES_MAX]) -> &'a [u8] {
        let name = self.name();
        let (uid, rest) = room.split_at_mut(4);
        uid.copy_from_slice(&self.uid.to_le_bytes());
        rest[..name.len()].copy_from_slice(name);
        &room[..4 + name.len()]
    }

    /// The session of which [`Session::write`] gave these bytes.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (uid, name) = bytes.split_first_chunk()?;
        Self::new(u32::from_le_bytes(*uid), str::from_utf8(name).ok()?)
    }

    /// The user.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The name in bytes of UTF-8.
    pub fn name(&self) -> &[u8] {
        &self.name[..usize::from(self.length)]
    }
}

/// How far a session has been read: what has to last as long as the state its lines led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Whose.
    pub session: Session,
    /// All lines up to this number have been read.
    pub read: u64,
    /// The connection that its attempts are attributed to: its first one.
    pub connection: ConnectionId,
}

/// A connection's part in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// What the session was when the connection joined it.
    pub joined: Position,
    /// The connection itself.
    pub own: ConnectionId,
}

#[derive(Debug)]
struct Entry {
    read: u64,
    connection: ConnectionId,
    /// The last connection that joined; it speaks for the session.
    newest: ConnectionId,
    seen: Timestamp,
}

/// The positions of the [`SESSIONS_MAX`] sessions that were heard of last.
#[derive(Debug)]
pub struct Sessions {
    // Bounded by hand: a bounded one takes the memory of all its places at once.
    entries: LruCache<Session, Entry>,
    advanced: bool,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            entries: LruCache::unbounded(),
            advanced: false,
        }
    }
}

impl Sessions {
    /// A connection joins a session with a line numbered `first` to come; those before it have been
    /// read or will never come. Also says whether another session was lost by it.
    pub fn join(
        &mut self,
        session: Session,
        first: u64,
        own: ConnectionId,
        now: Timestamp,
    ) -> (Thread, bool) {
        let before = first.saturating_sub(1);
        let mut joined = Position {
            session,
            read: before,
            connection: own,
        };
        if let Some(entry) = self.entries.get_mut(&session) {
            entry.read = entry.read.max(before);
            (entry.newest, entry.seen) = (own, now);
            (joined.read, joined.connection) = (entry.read, entry.connection);
            return (Thread { joined, own }, false);
        }
        let lost = self.put(joined, own, now);
        (Thread { joined, own }, lost)
    }

    /// The number up to which a connection's session has been read.
    pub fn read(&self, thread: &Thread) -> u64 {
        let entry = self.entries.peek(&thread.joined.session);
        // If it was pushed out, the connection goes on counting by itself.
        entry.map_or(thread.joined.read, |entry| entry.read)
    }

    /// Raises it; says whether another session was lost by it.
    pub fn advance(&mut self, thread: &Thread, read: u64, now: Timestamp) -> bool {
        self.advanced = true;
        if let Some(entry) = self.entries.get_mut(&thread.joined.session) {
            (entry.read, entry.seen) = (entry.read.max(read), now);
            return false;
        }
        let position = Position {
            read,
            ..thread.joined
        };
        self.put(position, thread.own, now)
    }

    /// Whether the end of a connection is that of its session, for now: not if another one has
    /// joined since.
    pub fn ends_with(&self, thread: &Thread) -> bool {
        let entry = self.entries.peek(&thread.joined.session);
        entry.is_none_or(|entry| entry.newest == thread.own)
    }

    /// The position that rose since this was asked last. One lock is held for the lines of one
    /// connection, so asked under that lock it is all that has changed.
    pub fn take_advanced(&mut self) -> Option<Position> {
        let advanced = std::mem::take(&mut self.advanced);
        let last = self.entries.peek_mru().filter(|_| advanced);
        last.map(|(session, entry)| entry.position(session))
    }

    /// All positions, those heard of last at the end.
    pub fn positions(&self) -> impl Iterator<Item = Position> {
        let entries = self.entries.iter().rev();
        entries.map(|(session, entry)| entry.position(session))
    }

    /// Puts back what an earlier process knew, in the order of [`Self::positions`].
    pub fn restore(&mut self, position: Position, now: Timestamp) {
        self.put(position, position.connection, now);
    }

    fn put(&mut self, position: Position, newest: ConnectionId, seen: Timestamp) -> bool {
        let entry = Entry {
            read: position.read,
            connection: position.connection,
            newest,
            seen,
        };
        self.entries.put(position.session, entry);
        if self.entries.len() <= SESSIONS_MAX {
            return false;
        }
        let oldest = self.entries.pop_lru();
        oldest.is_some_and(|(_, oldest)| seen.since(oldest.seen) < RETURNS_WITHIN)
    }
}

impl Entry {
    fn position(&self, session: &Session) -> Position {
        Position {
            session: *session,
            read: self.read,
            connection: self.connection,
        }
    }
}

#[cfg(test)]
mod tests;
