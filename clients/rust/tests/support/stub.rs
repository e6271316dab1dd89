//! A scripted HTTP server on loopback, for answers that no emulator gives.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    Answer {
        status: u16,
        body: String,
    },
    /// Promises a longer body than it sends, then closes.
    CutOff,
    /// Closes without a word.
    Close,
    /// Answers after the time.
    Late(Duration),
}

impl Reply {
    pub fn ok(body: &str) -> Self {
        Self::Answer {
            status: 200,
            body: body.to_owned(),
        }
    }

    pub fn error(status: u16, code: &str) -> Self {
        let body = format!(
            r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"scripted"}}"#
        );
        Self::Answer { status, body }
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
        let (status, body) = match answer(receive(&mut reader)?) {
            Reply::Close => return None,
            Reply::CutOff => {
                writer
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"")
                    .ok()?;
                return None;
            }
            Reply::Late(time) => {
                thread::sleep(time);
                (200, "{}".to_owned())
            }
            Reply::Answer { status, body } => (status, body),
        };
        let head = format!(
            "HTTP/1.1 {status} Scripted\r\ncontent-type: application/x-amz-json-1.0\r\nx-amzn-requestid: REQUEST-1\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        writer.write_all((head + &body).as_bytes()).ok()?;
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
