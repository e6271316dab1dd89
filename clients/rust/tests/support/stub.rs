//! A scripted HTTP server on loopback, for answers that no emulator gives.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    Answer(Answer),
    /// Promises a longer body than it sends, then closes.
    CutOff(Answer),
    /// Closes without a word.
    Close,
    /// Resets the connection.
    Reset,
    /// Answers after the time.
    Late(Duration),
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    pub fn ok(body: &str) -> Self {
        Self::with_status(200, body)
    }

    pub fn with_status(status: u16, body: &str) -> Self {
        Self::Answer(Answer::new(status, body))
    }

    pub fn error(status: u16, code: &str) -> Self {
        let body = format!(
            r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"scripted"}}"#
        );
        Self::with_status(status, &body)
    }
}

impl Answer {
    pub fn new(status: u16, body: &str) -> Self {
        let headers = [
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amzn-requestid", "REQUEST-1"),
        ];
        Self {
            status,
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            body: body.to_owned(),
        }
    }

    /// On the wire, with `missing` bytes of the body that it promises.
    fn written(&self, missing: usize) -> String {
        let headers: String = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let length = self.body.len() + missing;
        format!(
            "HTTP/1.1 {} Scripted\r\n{headers}content-length: {length}\r\n\r\n{}",
            self.status, self.body
        )
    }
}

/// A request as it was received.
#[derive(Clone, Debug)]
pub struct Received {
    pub head: String,
    pub body: Vec<u8>,
}

pub struct Stub {
    port: u16,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Stub {
    /// Replies in order, the last one for ever.
    pub fn scripted(replies: &[Reply]) -> Self {
        let replies = replies.to_vec();
        Self::answering(move |index, _| replies[index.min(replies.len() - 1)].clone())
    }

    pub fn answering(answer: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&received);
        let answer = Arc::new(answer);
        let count = Arc::new(AtomicUsize::new(0));
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (seen, answer, count) =
                    (Arc::clone(&seen), Arc::clone(&answer), Arc::clone(&count));
                thread::spawn(move || {
                    serve(connection, |request| {
                        let reply = answer(count.fetch_add(1, Ordering::SeqCst), &request);
                        seen.lock().unwrap().push(request);
                        reply
                    })
                });
            }
        });
        Self { port, received }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

/// `None` when the peer is gone.
fn serve(connection: TcpStream, mut answer: impl FnMut(Received) -> Reply) -> Option<()> {
    connection.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let mut writer = connection;
    loop {
        let answer = match answer(receive(&mut reader)?) {
            Reply::Close => return None,
            Reply::Reset => {
                let at_once = nix::libc::linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                setsockopt(&writer, sockopt::Linger, &at_once).unwrap();
                return None;
            }
            Reply::CutOff(answer) => {
                writer.write_all(answer.written(100).as_bytes()).ok()?;
                return None;
            }
            Reply::Late(time) => {
                thread::sleep(time);
                Answer::new(200, "{}")
            }
            Reply::Answer(answer) => answer,
        };
        writer.write_all(answer.written(0).as_bytes()).ok()?;
    }
}

fn receive(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head.push_str(&lower);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Received { head, body })
}
