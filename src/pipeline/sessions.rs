//! How far the lines of each acknowledged session have been read (SPEC §2). Pure.

use std::collections::HashMap;
use std::time::Duration;

use lru::LruCache;

use crate::detect::ConnectionId;
use crate::detect::time::Timestamp;

/// Sessions remembered of those that have no connection. A session that has one is always remembered:
/// there are no more of them than connections, whose number has its own limit.
pub const SESSIONS_MAX: usize = 1024;
/// Longest name in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Highest number of a session's first line: integers up to here are the same in all of JSON, and
/// counting on from it cannot overflow.
pub const FIRST_MAX: u64 = (1 << 53) - 1;
/// After its last connection ended: a session that has not come back by then is not expected to.
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
    /// Up to here the client has said that it sends nothing again.
    known: u64,
    connection: ConnectionId,
    /// The last connection that joined; it speaks for the session.
    newest: ConnectionId,
    /// Connections that joined and have not parted.
    connections: usize,
    /// When the last one parted; before that, when the first one joined.
    since: Timestamp,
}

/// The positions of all sessions with a connection, and of the [`SESSIONS_MAX`] others that had one
/// last.
#[derive(Debug)]
pub struct Sessions {
    connected: HashMap<Session, Entry>,
    // Bounded by hand: a bounded one takes the memory of all its places at once.
    apart: LruCache<Session, Entry>,
}

/// What the end of a connection means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parted {
    /// It is that of its session, for now: no other connection has joined since.
    pub ends: bool,
    /// Another session was forgotten for it that can lose something by that: its last connection ended
    /// less than a minute ago, and lines of it were read of which its client has not said that it knows.
    /// If it comes back and sends them again, they are taken for new ones, and of those that the
    /// detector does not know by their `call` each is judged twice.
    pub lost: bool,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            connected: HashMap::new(),
            apart: LruCache::unbounded(),
        }
    }
}

impl Sessions {
    /// A connection joins a session with a line numbered `first` to come; those before it have been
    /// read or will never come. It [parts](Self::part) when it ends.
    pub fn join(
        &mut self,
        session: Session,
        first: u64,
        own: ConnectionId,
        now: Timestamp,
    ) -> Thread {
        let known = first.saturating_sub(1);
        let apart = self.apart.pop(&session);
        let entry = self.connected.entry(session).or_insert_with(|| {
            apart.unwrap_or(Entry {
                read: known,
                known,
                connection: own,
                newest: own,
                connections: 0,
                since: now,
            })
        });
        (entry.read, entry.known) = (entry.read.max(known), entry.known.max(known));
        entry.newest = own;
        entry.connections += 1;
        let joined = entry.position(&session);
        Thread { joined, own }
    }

    /// The number up to which a connection's session has been read.
    pub fn read(&self, thread: &Thread) -> u64 {
        let entry = self.connected.get(&thread.joined.session);
        entry.map_or(thread.joined.read, |entry| entry.read)
    }

    /// Raises it, and returns the position that this makes.
    pub fn advance(&mut self, thread: &Thread, read: u64) -> Position {
        let session = &thread.joined.session;
        if let Some(entry) = self.connected.get_mut(session) {
            entry.read = entry.read.max(read);
            return entry.position(session);
        }
        Position {
            read,
            ..thread.joined
        }
    }

    /// A connection that joined ends.
    pub fn part(&mut self, thread: &Thread, now: Timestamp) -> Parted {
        let session = thread.joined.session;
        let Some(entry) = self.connected.get_mut(&session) else {
            return Parted {
                ends: true,
                lost: false,
            };
        };
        let ends = entry.newest == thread.own;
        entry.connections = entry.connections.saturating_sub(1);
        let left = entry.connections == 0;
        let left = left.then(|| self.connected.remove(&session)).flatten();
        let lost = left.is_some_and(|entry| self.put_apart(session, entry, now));
        Parted { ends, lost }
    }

    /// Puts back what an earlier process knew, the session heard of last at the end. Says whether
    /// another one was lost by it.
    pub fn restore(&mut self, position: Position, now: Timestamp) -> bool {
        let entry = Entry {
            read: position.read,
            // What it knew is not kept, so it may send all of it again.
            known: 0,
            connection: position.connection,
            newest: position.connection,
            connections: 0,
            since: now,
        };
        self.put_apart(position.session, entry, now)
    }

    /// As [`Parted::lost`].
    fn put_apart(&mut self, session: Session, entry: Entry, now: Timestamp) -> bool {
        self.apart.put(
            session,
            Entry {
                since: now,
                ..entry
            },
        );
        if self.apart.len() <= SESSIONS_MAX {
            return false;
        }
        let oldest = self.apart.pop_lru();
        oldest.is_some_and(|(_, oldest)| oldest.may_resend(now))
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

    fn may_resend(&self, now: Timestamp) -> bool {
        self.read > self.known && now.since(self.since) < RETURNS_WITHIN
    }
}

#[cfg(test)]
mod tests;
