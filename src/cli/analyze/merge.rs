//! Several recordings as one, by time.

use std::io;
use std::ops::Range;

use super::Judge;
use super::source::{Line, Source};
use crate::detect::event::{DecodeError, Event, Reason};
use crate::detect::time::Timestamp;

/// Where an event stands: index of its source, and line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub source: usize,
    pub line: u64,
}

/// A source with the event that it gives next.
struct Lane {
    source: Source,
    index: usize,
    /// The largest time so far: events are ordered by it, so that a file whose times go back a
    /// little is not torn apart.
    clock: Timestamp,
    next: Option<Range<usize>>,
    error: Option<io::Error>,
}

/// Judges all events in the order of their file's clock; at equal times in the order of the sources.
///
/// # Errors
/// Those of writing. A source that cannot be read any further ends there and is returned by name;
/// what it gave before is judged.
pub fn run(sources: Vec<Source>, judge: &mut Judge) -> io::Result<Vec<(String, io::Error)>> {
    let lane = |(index, source)| Lane {
        source,
        index,
        clock: Timestamp::MIN,
        next: None,
        error: None,
    };
    let mut lanes: Vec<Lane> = sources.into_iter().enumerate().map(lane).collect();
    for lane in &mut lanes {
        // No event may be judged yet: the first one of every lane decides who begins.
        lane.advance(Some((Timestamp::MIN, 0)), judge)?;
    }
    loop {
        let order = |lane: &Lane| (lane.clock, lane.index);
        let waiting = lanes.iter().filter(|lane| lane.next.is_some());
        let Some(first) = waiting
            .min_by_key(|lane| order(lane))
            .map(|lane| lane.index)
        else {
            break;
        };
        let others = lanes
            .iter()
            .filter(|lane| lane.next.is_some() && lane.index != first);
        let limit = others.map(order).min();
        lanes[first].judge_next(judge)?;
        lanes[first].advance(limit, judge)?;
    }
    let failed = lanes
        .into_iter()
        .filter_map(|lane| Some((lane.source.name, lane.error?)));
    Ok(failed.collect())
}

impl Lane {
    fn place(&self) -> Place {
        Place {
            source: self.index,
            line: self.source.line,
        }
    }

    /// Judges the event that waits. It is decoded a second time, which happens only when the merge
    /// changes from one source to another.
    fn judge_next(&mut self, judge: &mut Judge) -> io::Result<()> {
        let place = self.place();
        if let Some(range) = self.next.take()
            && let Ok((event, at)) = decode(self.source.bytes(&range))
        {
            judge.event(&event, at, place)?;
        }
        Ok(())
    }

    /// Judges events up to the first that has to wait because another lane's, at `limit`, comes
    /// before it.
    fn advance(&mut self, limit: Option<(Timestamp, usize)>, judge: &mut Judge) -> io::Result<()> {
        let mut reported = self.source.bytes_read;
        loop {
            if self.source.is_live && !self.source.has_line() {
                judge.before_waiting()?;
            }
            let line = self.source.next_line();
            if reported != self.source.bytes_read {
                judge.read_bytes(self.source.bytes_read - reported);
                reported = self.source.bytes_read;
            }
            let place = self.place();
            let range = match line {
                Ok(Line::Whole(range)) => range,
                Ok(Line::TooLong) => {
                    judge.reject(Reason::TooLong, place);
                    continue;
                }
                Ok(Line::End) => return Ok(()),
                Err(error) => {
                    self.error = Some(error);
                    return Ok(());
                }
            };
            match decode(self.source.bytes(&range)) {
                Err(error) => judge.reject(error.reason, place),
                Ok((event, at)) => {
                    self.clock = self.clock.max(at);
                    if limit.is_some_and(|limit| limit < (self.clock, self.index)) {
                        self.next = Some(range);
                        return Ok(());
                    }
                    judge.event(&event, at, place)?;
                }
            }
        }
    }
}

/// Decodes a line; offline an event needs its time.
fn decode(line: &[u8]) -> Result<(Event<'_>, Timestamp), DecodeError> {
    let event = Event::decode(line)?;
    let at = event.at.ok_or(DecodeError {
        reason: Reason::MissingField,
        field: Some("at"),
    })?;
    Ok((event, at))
}
