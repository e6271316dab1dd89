//! A small HTTP/1.1 server: bounded in connections, header size and patience.
//!
//! Routes are a plain async function from a request's head to a response, so that tests call them
//! without a socket. Request bodies are never read.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::detect::time::Timestamp;
use crate::edge::clock;

mod guests;
mod patience;
pub mod reply;

use guests::{Answering, Guests};
use patience::Patience;
use reply::Response;

/// Header lines of one request.
const HEADERS_MAX: usize = 64;
/// Bytes of one request's head, and of a response that waits to be written.
pub const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// First and longest pause after a failed accept.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Refused connections are logged at most this often.
const REFUSALS_LOGGED_EVERY: Duration = Duration::from_secs(10);

/// How much a server takes on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time. For one more the oldest that is not being answered makes room; if there
    /// is none, it is closed at once itself.
    pub connections: usize,
    /// From the start of a wait for a request (idle connections included) to the end of its head.
    pub header_timeout: Duration,
    /// How long a peer may take nothing of a response that is waiting for it.
    pub stall_timeout: Duration,
    /// From the shutdown to the end of the last connection.
    pub grace: Duration,
}

impl Default for Limits {
    /// 64 connections, 10 s, 30 s, 1 s: the process must be gone 2 s after SIGTERM.
    fn default() -> Self {
        Self {
            connections: 64,
            header_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(1),
        }
    }
}

/// Called for each connection that is closed because there are too many.
pub type Refused = Box<dyn Fn() + Send + Sync>;

/// A bound address; connections queue up in the system until [`serve`] takes them.
pub struct Listener {
    inner: TcpListener,
    address: SocketAddr,
    refused: Refused,
}

impl Listener {
    /// The address, with the port that the system chose if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells `refused` of each connection that is closed because there are too many.
    pub fn telling(self, refused: Refused) -> Self {
        Self { refused, ..self }
    }
}

/// Binds `address`.
///
/// # Errors
/// When the address is taken, not this machine's or not permitted.
pub async fn bind(address: SocketAddr) -> io::Result<Listener> {
    let inner = TcpListener::bind(address).await?;
    let address = inner.local_addr()?;
    Ok(Listener {
        inner,
        address,
        refused: Box::new(|| {}),
    })
}

/// Serves until `shutdown` is cancelled; then closes the address, lets running responses end
/// within [`Limits::grace`] and returns. Nothing that a peer or the system does ends it earlier.
///
/// A response that never ends by itself must watch `shutdown`, or it uses up the grace period.
pub async fn serve<R, F>(listener: Listener, limits: Limits, routes: R, shutdown: CancellationToken)
where
    R: Fn(Parts) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let Listener {
        inner,
        address,
        refused,
    } = listener;
    let mut connections = JoinSet::new();
    let mut guests = Guests::default();
    let mut refusals = Refusals::new(address);
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(done) = connections.join_next() => {
                report_panic(done);
                continue;
            }
            stream = accept(|| async { Ok(inner.accept().await?.0) }) => stream,
        };
        while let Some(done) = connections.try_join_next() {
            report_panic(done);
        }
        let is_full = guests.count() >= limits.connections;
        if is_full {
            refused();
            refusals.count(clock::now());
        }
        if !is_full || guests.make_room() {
            let (routes, shutdown) = (routes.clone(), shutdown.clone());
            let answering = Answering::default();
            let serving = connection(stream, limits, routes, shutdown, answering.clone());
            guests.welcome(connections.spawn(serving), answering);
        }
    }
    drop(inner);
    while let Some(done) = connections.join_next().await {
        report_panic(done);
    }
    refusals.log();
}

/// The next connection. A failure is outlived: out of file descriptors, for one, the server must
/// neither spin nor end.
async fn accept<S, F>(mut attempt: impl FnMut() -> F) -> S
where
    F: Future<Output = io::Result<S>>,
{
    let (mut pause, longest) = BACKOFF;
    loop {
        match attempt().await {
            Ok(stream) => return stream,
            Err(error) => {
                if pause == BACKOFF.0 {
                    tracing::warn!(%error, "HTTP connections cannot be accepted, trying again");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        }
    }
}

/// One connection from its first byte to its last. Its errors are the peer's affair.
async fn connection<R, F>(
    stream: TcpStream,
    limits: Limits,
    routes: R,
    shutdown: CancellationToken,
    answering: Answering,
) where
    R: Fn(Parts) -> F,
    F: Future<Output = Response>,
{
    // Server-sent events are small and must not wait for each other.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Patience::new(stream, limits.stall_timeout));
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let answer = answering.begin();
        let response = routes(request.into_parts().0);
        async move { Ok::<_, Infallible>(answer.with(response.await)) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(io, service);
    let mut serving = std::pin::pin!(serving);
    let done = tokio::select! {
        done = serving.as_mut() => done,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            match tokio::time::timeout(limits.grace, serving).await {
                Ok(done) => done,
                Err(_) => return tracing::debug!("HTTP connection cut off at shutdown"),
            }
        }
    };
    if let Err(error) = done {
        tracing::debug!(%error, "HTTP connection failed");
    }
}

fn report_panic(done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done
        && !error.is_cancelled()
    {
        tracing::error!(%error, "HTTP connection ended by a bug");
    }
}

/// Counts refused connections and tells of them in the log, now and then.
struct Refusals {
    address: SocketAddr,
    unlogged: u64,
    logged_at: Option<Timestamp>,
}

impl Refusals {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            unlogged: 0,
            logged_at: None,
        }
    }

    /// Counts one at `now`; returns whether that was logged.
    fn count(&mut self, now: Timestamp) -> bool {
        self.unlogged += 1;
        let recent = |at| now.since(at) < REFUSALS_LOGGED_EVERY;
        if self.logged_at.is_some_and(recent) {
            return false;
        }
        self.logged_at = Some(now);
        self.log();
        true
    }

    fn log(&mut self) {
        if self.unlogged > 0 {
            let (address, refused) = (self.address, self.unlogged);
            tracing::warn!(%address, refused, "HTTP connections closed: too many at a time");
            self.unlogged = 0;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
