use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::super::STREAMS_MAX;
use super::super::tests::{admin, get, report};
use super::*;
use crate::detect::finding::fixture::finding;
use crate::edge::http::Limits;
use crate::edge::http::tests::{SOON, body, header, request, start};
use crate::pipeline::Report;

async fn stream(admin: &Arc<Admin>, last_event_id: Option<&str>) -> Response {
    let mut headers = vec![("host", "localhost")];
    headers.extend(last_event_id.map(|id| ("last-event-id", id)));
    let request = request("GET", "/api/v1/stream", &headers);
    admin.clone().route(request).await
}

/// The next event as text; empty at the end.
async fn next(response: &mut Response) -> String {
    let frame = timeout(SOON, response.frame()).await.unwrap();
    let bytes = frame.map(|frame| frame.unwrap().into_data().unwrap());
    String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap()
}

/// Id and data of an event that carries a finding.
fn parse(event: &str) -> (String, Value) {
    let mut lines = event.strip_suffix("\n\n").unwrap().lines();
    assert_eq!(lines.next(), Some("event: finding"));
    let id = lines.next().unwrap().strip_prefix("id: ").unwrap();
    let data = lines.next().unwrap().strip_prefix("data: ").unwrap();
    assert_eq!(lines.next(), None);
    (id.to_owned(), serde_json::from_str(data).unwrap())
}

#[tokio::test]
async fn a_finding_is_sent_and_sent_again_when_confirmed() {
    let admin = admin();
    report(&admin, finding(1));
    let mut response = stream(&admin, None).await;
    assert_eq!(header(&response, "content-type"), "text/event-stream");
    assert_eq!(header(&response, "cache-control"), "no-store");
    assert_eq!(next(&mut response).await, HEAD);
    let mut second = finding(2);
    second.message = "two\nlines\r\n".into();
    report(&admin, second);
    let (first_id, data) = parse(&next(&mut response).await);
    assert_eq!(data["message"], "two\nlines\r\n");
    assert_eq!(data["confirmed"], false);
    assert_eq!(data["token"], admin.parts.display.show("token-2"));
    admin.parts.findings.report(Report::Confirmed(2));
    let (second_id, data) = parse(&next(&mut response).await);
    assert_eq!(data["confirmed"], true);
    assert_ne!(first_id, second_id);
    admin.parts.stop.cancel();
    assert_eq!(next(&mut response).await, "");
    assert_eq!(next(&mut response).await, "");
}

#[tokio::test]
async fn a_reader_resumes_where_it_stopped() {
    let admin = admin();
    for id in 1..=4 {
        report(&admin, finding(id));
    }
    let messages = async |last_event_id: &str| {
        let mut response = stream(&admin, Some(last_event_id)).await;
        assert_eq!(next(&mut response).await, HEAD);
        report(&admin, finding(99));
        let mut messages = Vec::new();
        loop {
            let (_, data) = parse(&next(&mut response).await);
            if data["message"] == "number 99" {
                return messages;
            }
            messages.push(data["message"].as_str().unwrap().to_owned());
        }
    };
    let third_and_fourth = ["number 3", "number 4"];
    assert_eq!(messages(&admin.id_of(2)).await, third_and_fourth);
    for unknown in ["1600000000000000-4", "4", "", "x-y"] {
        let mut response = stream(&admin, Some(unknown)).await;
        next(&mut response).await;
        let (_, data) = parse(&next(&mut response).await);
        assert_eq!(data["message"], "number 1", "{unknown:?}");
    }
}

#[tokio::test]
async fn a_slow_reader_is_told_how_much_it_lost() {
    let admin = admin();
    let mut response = stream(&admin, None).await;
    next(&mut response).await;
    for id in 1..=300 {
        report(&admin, finding(id));
    }
    let lagged = "event: lagged\ndata: {\"missed\":44}\n\n";
    assert_eq!(next(&mut response).await, lagged);
    let (_, data) = parse(&next(&mut response).await);
    assert_eq!(data["message"], "number 45");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_beats() {
    let admin = admin();
    let mut response = stream(&admin, None).await;
    next(&mut response).await;
    let begun = tokio::time::Instant::now();
    for beat in 1..=3 {
        assert_eq!(next(&mut response).await, ":\n\n");
        let waited = begun.elapsed().as_secs_f64();
        assert!((waited - 15.0 * f64::from(beat)).abs() < 0.1, "{waited}");
    }
}

#[tokio::test]
async fn streams_are_limited_and_given_back() {
    let admin = admin();
    let mut open = Vec::new();
    for _ in 0..STREAMS_MAX {
        let mut response = stream(&admin, None).await;
        assert_eq!(next(&mut response).await, HEAD);
        open.push(response);
    }
    assert_eq!(get(&admin, "/api/v1/status").await.1["streams"], 16);
    let refused = stream(&admin, None).await;
    assert_eq!(refused.status(), 503);
    assert!(body(refused).await.contains("too many"));
    open.pop();
    assert_eq!(stream(&admin, None).await.status(), 200);
}

#[tokio::test]
async fn an_open_stream_does_not_hold_up_the_end() {
    let admin = admin();
    let limits = Limits {
        grace: SOON,
        ..Limits::default()
    };
    let stop = admin.parts.stop.clone();
    let routes = {
        let admin = admin.clone();
        move |request| admin.clone().route(request)
    };
    let server = start(limits, stop, routes).await;
    let mut socket = server.connect().await;
    socket
        .write_all(b"GET /api/v1/stream HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    let mut chunk = [0; 1024];
    while !text.contains("number 7") {
        if text.contains("retry: 2000") && admin.parts.findings.counts().1 == 0 {
            report(&admin, finding(7));
        }
        let read = timeout(SOON, socket.read(&mut chunk)).await.unwrap();
        text.push_str(std::str::from_utf8(&chunk[..read.unwrap()]).unwrap());
    }
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    let took = server.end().await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    let mut end = Vec::new();
    timeout(SOON, socket.read_to_end(&mut end))
        .await
        .unwrap()
        .unwrap();
    assert!(end.ends_with(b"0\r\n\r\n"), "the last chunk is missing");
}
