//! Findings as they arise, as server-sent events (WHATWG HTML, "Server-sent events").
//!
//! `event: finding` carries a finding; when it comes true, it is sent again with `confirmed` true
//! and a new id. `event: lagged` with `{"missed": n}` says that a slow reader lost `n` of them.
//! `Last-Event-ID` resumes after that event, as far as the findings are still kept; an id of an
//! earlier process brings all that are kept.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::sleep;

use super::{Admin, Refusal};
use crate::edge::findings::{Found, Missed, News};
use crate::edge::http::reply::{self, Response};

const CONTENT_TYPE: &str = "text/event-stream";
/// A comment this often tells a quiet stream from a dead one, on both sides.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The head of the stream: a reader that lost it tries again after two seconds.
const HEAD: &str = "retry: 2000\n\n";

impl Admin {
    pub(super) fn stream(self: &Arc<Self>, headers: &HeaderMap) -> Result<Response, Refusal> {
        let Ok(permit) = self.streams.clone().try_acquire_owned() else {
            return Err(Refusal::Busy("stream: too many at a time, try again later"));
        };
        let last = headers.get("last-event-id").map(|id| {
            let id = id.to_str().ok().and_then(|id| self.number_of(id));
            id.unwrap_or(0)
        });
        let (missed, news) = self.parts.findings.listen(last);
        let feed = Feed {
            admin: self.clone(),
            missed,
            news,
            _permit: permit,
        };
        let head = async { Some((Bytes::from_static(HEAD.as_bytes()), feed)) };
        let body = Events {
            next: Some(Box::pin(head)),
        };
        let body = body.boxed_unsync();
        Ok(reply::of_body(StatusCode::OK, CONTENT_TYPE, body))
    }

    /// The id of a piece of news. It names the process by its start, so that a reader who comes back
    /// after a restart is not taken for one who has seen the new process's first findings.
    fn id_of(&self, number: u64) -> String {
        format!("{}-{number}", self.epoch())
    }

    /// The number in an id of this process.
    fn number_of(&self, id: &str) -> Option<u64> {
        let (epoch, number) = id.split_once('-')?;
        let is_ours = epoch == self.epoch().to_string();
        number.parse().ok().filter(|_| is_ours)
    }

    fn epoch(&self) -> u64 {
        self.parts.observation_start.as_micros().unsigned_abs()
    }
}

/// Where one reader's events come from.
struct Feed {
    admin: Arc<Admin>,
    missed: VecDeque<Missed>,
    news: Receiver<News>,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    /// The next event, and the feed for those after it; nothing when the process is ending.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        let stop = self.admin.parts.stop.clone();
        let event = tokio::select! {
            // What is known is told before the end.
            biased;
            event = self.event() => event?,
            () = stop.cancelled() => return None,
            () = sleep(HEARTBEAT) => ":\n\n".to_owned(),
        };
        Some((event.into(), self))
    }

    async fn event(&mut self) -> Option<String> {
        let mut gone = 0;
        while let Some(missed) = self.missed.front() {
            match self.admin.parts.findings.find(*missed) {
                Found::News(_) if gone > 0 => break,
                Found::News(news) => {
                    self.missed.pop_front();
                    return Some(self.finding(&news));
                }
                Found::Renewed => {}
                Found::Gone => gone += 1,
            }
            self.missed.pop_front();
        }
        if gone > 0 {
            return Some(lagged(gone));
        }
        match self.news.recv().await {
            Ok(news) => Some(self.finding(&news)),
            Err(RecvError::Lagged(missed)) => Some(lagged(missed)),
            Err(RecvError::Closed) => None,
        }
    }

    fn finding(&self, news: &News) -> String {
        let display = &self.admin.parts.display;
        let id = self.admin.id_of(news.number);
        // JSON escapes line breaks, which would end the field.
        let data = news.finding.json(&|token| display.show(token), true);
        format!("event: finding\nid: {id}\ndata: {data}\n\n")
    }
}

fn lagged(missed: u64) -> String {
    format!("event: lagged\ndata: {{\"missed\":{missed}}}\n\n")
}

type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Feed)>> + Send>>;

/// A body of events. The server asks for the next one only when the reader has taken the former
/// ones, so a slow reader falls behind in the bounded backlog and not in memory of its own.
struct Events {
    next: Option<Next>,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(next) = &mut self.next else {
            return Poll::Ready(None);
        };
        let event = ready!(next.as_mut().poll(cx));
        let (event, feed) = match event {
            Some((event, feed)) => (Some(Ok(Frame::data(event))), Some(feed)),
            None => (None, None),
        };
        self.next = feed.map(|feed| Box::pin(feed.next()) as Next);
        Poll::Ready(event)
    }
}

#[cfg(test)]
mod tests;
