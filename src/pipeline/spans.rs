//! Lifecycles on their way to the exporter: bounded in number, and in bytes, because one can be made a
//! hundred times as large as most are.

use std::sync::Arc;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::detect::finding::{AttemptRecord, Lifecycle, Mark};
use crate::detect::text::ALLOCATION;

/// Bytes that one permit stands for.
const UNIT: usize = 64;

/// A lifecycle, and its part of the room, given back when both are dropped.
#[derive(Debug)]
pub struct Waiting {
    pub lifecycle: Lifecycle,
    pub room: Room,
}

/// A part of the room that all share.
#[derive(Debug)]
pub struct Room(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// Where lifecycles are put.
#[derive(Clone, Debug)]
pub struct SpanSink {
    sender: Sender<Waiting>,
    room: Arc<Semaphore>,
}

impl SpanSink {
    /// A queue of `len` lifecycles. They and those that were taken out of it, until their room is given
    /// back, have `bytes` together.
    pub fn new(len: usize, bytes: usize) -> (Self, Receiver<Waiting>) {
        let (sender, receiver) = channel(len);
        let room = Arc::new(Semaphore::new(bytes / UNIT));
        (Self { sender, room }, receiver)
    }

    /// Puts a lifecycle into the queue, if there is room; returns whether there was.
    pub fn put(&self, lifecycle: Lifecycle) -> bool {
        let units = bytes(&lifecycle).div_ceil(UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let Ok(room) = self.room.clone().try_acquire_many_owned(units) else {
            return false;
        };
        let room = Room(room);
        self.sender.try_send(Waiting { lifecycle, room }).is_ok()
    }
}

/// Bytes that a lifecycle takes.
fn bytes(lifecycle: &Lifecycle) -> usize {
    let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len() + ALLOCATION);
    let attempts = lifecycle
        .attempts
        .iter()
        .map(|attempt| size_of::<AttemptRecord>() + text(&attempt.client) + text(&attempt.call));
    let names = [&lifecycle.api, &lifecycle.token, &lifecycle.scope];
    let names = names.map(|name| name.len() + ALLOCATION);
    size_of::<Lifecycle>()
        + names.iter().sum::<usize>()
        + text(&lifecycle.last_error)
        + lifecycle.marks.capacity() * size_of::<Mark>()
        + attempts.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::finding::{ProfileId, Status};
    use crate::detect::time::Timestamp;

    fn lifecycle(token: usize) -> Lifecycle {
        Lifecycle {
            profile: ProfileId(0),
            api: "api".into(),
            token: "t".repeat(token).into(),
            scope: "".into(),
            start: Timestamp::MIN,
            end: Timestamp::MIN,
            status: Status::Succeeded,
            last_class: None,
            last_error: None,
            marks: Vec::new(),
            attempts: Vec::new(),
            parent: None,
        }
    }

    #[test]
    fn bytes_and_number_are_bounded_until_the_room_is_given_back() {
        let small = bytes(&lifecycle(1)).next_multiple_of(UNIT);
        let (sink, mut waiting) = SpanSink::new(3, 3 * small + UNIT);
        assert!(!sink.put(lifecycle(4 * small)), "larger than all");
        assert!(sink.put(lifecycle(2 * small)) && !sink.put(lifecycle(small)));
        let taken = waiting.try_recv().unwrap();
        assert!(!sink.put(lifecycle(small)), "it is being sent");
        drop(taken);
        assert!((0..3).all(|_| sink.put(lifecycle(1))));
        let (sink, _waiting) = SpanSink::new(3, 100 * small);
        assert!((0..3).all(|_| sink.put(lifecycle(1))) && !sink.put(lifecycle(1)));
    }
}
