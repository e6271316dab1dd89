use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::reply::{TEXT, reply};
use super::*;

/// No step of a test may take longer.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The head of a request, for calling a route as a function.
pub(crate) fn request(method: &str, target: &str, headers: &[(&'static str, &str)]) -> Parts {
    let mut request = http::Request::builder().method(method).uri(target);
    for &(name, value) in headers {
        request = request.header(name, value);
    }
    request.body(()).unwrap().into_parts().0
}

/// The whole body of a response that ends.
pub(crate) async fn body(response: Response) -> String {
    let collected = timeout(SOON, response.into_body().collect()).await;
    let bytes = collected.unwrap().unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A header's text; empty if it is not there.
pub(crate) fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

/// A server on a free port of the loopback interface.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

pub(crate) async fn start<R, F>(limits: Limits, stop: CancellationToken, routes: R) -> Served
where
    R: Fn(Parts) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    Served {
        address: listener.address(),
        stop: stop.clone(),
        task: tokio::spawn(serve(listener, limits, routes, stop)),
    }
}

impl Served {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `text` on a connection of its own and reads until the server closes it.
    async fn exchange(&self, text: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The server may refuse before it has read everything.
        let _ = stream.write_all(text).await;
        rest(&mut stream).await
    }

    /// Ends the server; returns how long that took.
    pub(crate) async fn end(self) -> Duration {
        let begun = Instant::now();
        self.stop.cancel();
        timeout(SOON, self.task).await.unwrap().unwrap();
        begun.elapsed()
    }
}

/// Everything until the peer closes, in whatever way.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut bytes))
        .await
        .expect("the server closes the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn hello(_: Parts) -> Response {
    reply(StatusCode::OK, TEXT, "hello\n")
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

fn quick() -> Limits {
    Limits {
        header_timeout: Duration::from_millis(200),
        ..Limits::default()
    }
}

#[tokio::test]
async fn it_serves_and_leaves_out_the_body_of_a_head() {
    let server = start(Limits::default(), CancellationToken::new(), hello).await;
    let answer = server.exchange(GET).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello\n"), "{answer}");
    assert!(answer.contains("content-length: 6\r\n"), "{answer}");
    let head = server
        .exchange(b"HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await;
    assert!(head.contains("content-length: 6\r\n") && head.ends_with("\r\n\r\n"));
    let address = server.address;
    server.end().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_taken_address_is_an_error_at_bind() {
    let first = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = bind(first.address()).await.err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

/// Three places; `/endless` is answered with a body that never ends.
async fn three_places(refused: &Arc<AtomicUsize>) -> Served {
    let limits = Limits {
        connections: 3,
        ..Limits::default()
    };
    let routes = |parts: Parts| async move {
        match parts.uri.path() {
            "/endless" => reply::of_body(StatusCode::OK, TEXT, Endless.boxed_unsync()),
            _ => reply(StatusCode::OK, TEXT, "hello\n"),
        }
    };
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let counted = refused.clone();
    let listener = listener.telling(Box::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    }));
    let stop = CancellationToken::new();
    Served {
        address: listener.address(),
        stop: stop.clone(),
        task: tokio::spawn(serve(listener, limits, routes, stop)),
    }
}

struct Endless;

impl hyper::body::Body for Endless {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, Infallible>>> {
        std::task::Poll::Pending
    }
}

async fn ask_and_stay(server: &Served, path: &str) -> TcpStream {
    let mut stream = server.connect().await;
    let text = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await.unwrap();
    stream
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_those_being_answered_go_on() {
    let refused = Arc::default();
    let server = three_places(&refused).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(ask_and_stay(&server, "/endless").await);
    }
    for _ in 0..20 {
        assert_eq!(server.exchange(GET).await, "");
    }
    assert_eq!(refused.load(Ordering::Relaxed), 20);
    held.pop();
    let begun = Instant::now();
    while !server.exchange(GET).await.ends_with("hello\n") {
        assert!(begun.elapsed() < SOON, "a free place is not given away");
    }
    server.end().await;
}

#[tokio::test]
async fn who_only_holds_a_place_makes_room_for_who_asks() {
    let refused = Arc::default();
    let server = three_places(&refused).await;
    let _streaming = ask_and_stay(&server, "/endless").await;
    for round in 0..20 {
        // Silent, half asked, answered and silent since.
        let mut silent = server.connect().await;
        let mut half = server.connect().await;
        half.write_all(b"GET / HT").await.unwrap();
        let _idle = ask_and_stay(&server, "/").await;
        for _ in 0..3 {
            assert!(server.exchange(GET).await.ends_with("hello\n"), "{round}");
        }
        for stream in [&mut silent, &mut half] {
            rest(stream).await;
        }
    }
    // All but the first, which could take the place that was still free.
    assert!(refused.load(Ordering::Relaxed) >= 20);
    server.end().await;
}

#[tokio::test]
async fn slow_and_silent_peers_lose_their_place() {
    let limits = Limits {
        connections: 4,
        ..quick()
    };
    let server = start(limits, CancellationToken::new(), hello).await;
    let beginnings: [&[u8]; 4] = [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nhost: a\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    ];
    let mut slow = Vec::new();
    for beginning in beginnings {
        let mut stream = server.connect().await;
        stream.write_all(beginning).await.unwrap();
        slow.push(stream);
    }
    // A byte now and then does not buy more time.
    let drip = async {
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if slow[2].write_all(b"x").await.is_err() {
                return true;
            }
        }
        false
    };
    assert!(drip.await, "two seconds of dripping were put up with");
    for stream in &mut slow {
        rest(stream).await;
    }
    assert!(server.exchange(GET).await.ends_with("hello\n"));
    server.end().await;
}

#[tokio::test]
async fn ten_thousand_bogus_requests_are_answered_or_cut_off() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counting = calls.clone();
    let routes = move |parts: Parts| {
        counting.fetch_add(1, Ordering::Relaxed);
        async move { reply(StatusCode::NOT_FOUND, TEXT, parts.uri.path().to_owned()) }
    };
    let server = start(Limits::default(), CancellationToken::new(), routes).await;
    let many = "x: y\r\n".repeat(HEADERS_MAX + 1);
    let bogus: [Vec<u8>; 5] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".into(),
        b"GET / HTTP/9.9\r\n\r\n".into(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
        format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n").into(),
        format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(BUFFER_BYTES_MAX)).into(),
    ];
    for round in 0..1000 {
        let answer = server.exchange(&bogus[round % bogus.len()]).await;
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "round {round}: {answer}");
        assert_eq!(calls.load(Ordering::Relaxed), 0, "round {round}");
    }
    let pipelined = "BREW /pot HTTP/1.1\r\nhost: a\r\n\r\n".repeat(89)
        + "BREW /pot HTTP/1.1\r\nconnection: close\r\n\r\n";
    for _ in 0..100 {
        let answer = server.exchange(pipelined.as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 404").count(), 90);
    }
    assert_eq!(calls.load(Ordering::Relaxed), 9000);
    server.end().await;
}

#[tokio::test]
async fn a_shutdown_lets_responses_end_and_cuts_off_what_does_not() {
    let limits = Limits {
        grace: Duration::from_secs(2),
        ..Limits::default()
    };
    let routes = |parts: Parts| async move {
        let nap = match parts.uri.path() {
            "/slow" => Duration::from_millis(300),
            _ => Duration::from_secs(3600),
        };
        tokio::time::sleep(nap).await;
        reply(StatusCode::OK, TEXT, "done\n")
    };
    for (path, answer, at_least) in [("/slow", "done\n", 0), ("/endless", "", 2)] {
        let server = start(limits, CancellationToken::new(), routes).await;
        let _idle = server.connect().await;
        let mut stream = server.connect().await;
        let text = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let took = server.end().await;
        assert!(rest(&mut stream).await.ends_with(answer));
        assert!(took >= Duration::from_secs(at_least), "{path}: {took:?}");
        let at_most = Duration::from_millis(at_least * 1000 + 1900);
        assert!(took < at_most, "{path}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failing_accepts_are_outlived_without_spinning() {
    let tries = AtomicUsize::new(0);
    let attempt = || async {
        match tries.fetch_add(1, Ordering::Relaxed) {
            0..20 => Err(io::Error::from_raw_os_error(24)),
            _ => Ok("stream"),
        }
    };
    let begun = Instant::now();
    assert_eq!(accept(attempt).await, "stream");
    // 10, 20 … 640 ms, then a second each.
    let waited = begun.elapsed().as_millis();
    assert!((14_000..14_400).contains(&waited), "{waited} ms");
}

#[test]
fn refusals_are_logged_now_and_then() {
    let mut refusals = Refusals::new("127.0.0.1:1".parse().unwrap());
    let start = Timestamp::from_micros(0);
    let mut logged = 0;
    for millis in (0..30_000).step_by(10) {
        logged += u32::from(refusals.count(start + Duration::from_millis(millis)));
    }
    assert_eq!((logged, refusals.unlogged), (3, 999));
}
