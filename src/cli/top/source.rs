//! The thin part that asks: one question after the other, over HTTP on this machine.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::answer::{Finding, FindingList, Life, LifeList, Summary, TokenPage, sum};
use super::wanted::{TokenName, TokenQuery, Wanted};

/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest wait for one answer: a walk through full tables takes part of it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Findings that are kept here.
pub const FINDINGS_MAX: usize = 200;
/// After so many rounds the findings are asked for although none is new: some may be confirmed.
const ROUNDS_MAX: u32 = 5;

/// What came of a question.
#[derive(Debug)]
pub enum Answer {
    /// How things are.
    Summary(Box<Summary>),
    /// The latest findings, newest first.
    Findings(Vec<Finding>),
    /// A page of the tokens that this query names.
    Tokens(TokenQuery, TokenPage),
    /// The token in full; `None`: it is not known, or no longer.
    Life(TokenName, Option<Box<Life>>),
    /// It answered, but not with what was asked for.
    Refused(String),
    /// There is nobody, or nobody who speaks this protocol.
    Lost(String),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// No connection, or it broke: the sidecar is not there.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// Not in time: it hangs, or has no time for us.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
    /// Something else listens there.
    #[error("what listens there does not speak oncewatch's HTTP API: {0}")]
    Foreign(String),
    /// The sidecar does not want to answer this.
    #[error("the sidecar refused: {1}")]
    Refused(StatusCode, String),
}

impl From<NoAnswer> for Answer {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::Refused(..) => Self::Refused(error.to_string()),
            _ => Self::Lost(error.to_string()),
        }
    }
}

/// The admin address of one sidecar.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    pub address: SocketAddr,
}

impl Source {
    /// The document at a path below `/api/v1/`.
    ///
    /// # Errors
    /// When there is no answer, or not the expected one, in time.
    pub async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, NoAnswer> {
        let (status, body) = timeout(PATIENCE, self.get(path))
            .await
            .map_err(|_| NoAnswer::Late)??;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|e| NoAnswer::Foreign(e.to_string()));
        }
        #[derive(serde::Deserialize)]
        struct Error {
            error: super::answer::Foreign,
        }
        let error: Error = serde_json::from_slice(&body)
            .map_err(|_| NoAnswer::Foreign(format!("it answers {status}")))?;
        Err(NoAnswer::Refused(status, error.error.shown().into_owned()))
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), NoAnswer> {
        let foreign = |error: hyper::Error| match error.is_parse() {
            true => NoAnswer::Foreign(error.to_string()),
            false => NoAnswer::Broken(io::Error::other(error)),
        };
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(foreign)?;
        let request = Request::get(format!("/api/v1/{path}"))
            .header(header::HOST, self.address.to_string())
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| NoAnswer::Foreign(error.to_string()))?;
        let exchange = async move {
            let response = sender.send_request(request).await.map_err(foreign)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
            let body = body
                .await
                .map_err(|error| NoAnswer::Foreign(error.to_string()))?;
            Ok((status, body.to_bytes()))
        };
        // Errors of the connection also end the exchange, which says more about them.
        tokio::join!(exchange, connection).0
    }

    /// Asks again and again for what is wanted; ends when nobody takes the answers.
    pub async fn serve(self, mut wanted: watch::Receiver<Wanted>, answers: mpsc::Sender<Answer>) {
        let mut findings = Freshness::default();
        loop {
            let now = wanted.borrow_and_update().clone();
            if self.round(&now, &mut findings, &answers).await.is_none() {
                return;
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                changed = wanted.changed() => if changed.is_err() { return },
            }
        }
    }

    /// `None`: nobody takes the answers.
    async fn round(
        &self,
        wanted: &Wanted,
        findings: &mut Freshness,
        answers: &mpsc::Sender<Answer>,
    ) -> Option<()> {
        let summary = match self.ask::<Summary>("summary").await {
            Ok(summary) => summary,
            Err(error) => {
                *findings = Freshness::default();
                return answers.send(lost(error)).await.ok();
            }
        };
        let ask_findings = findings.is_old(&summary);
        answers
            .send(Answer::Summary(Box::new(summary)))
            .await
            .ok()?;
        if ask_findings {
            let path = format!("findings?limit={FINDINGS_MAX}");
            let list = self.ask::<FindingList>(&path).await;
            let answer = list.map_or_else(Answer::from, |list| Answer::Findings(list.findings));
            answers.send(answer).await.ok()?;
        }
        if let Some(query) = &wanted.tokens {
            let page = self.ask(&query.path()).await;
            let answer = |page| Answer::Tokens(query.clone(), page);
            answers
                .send(page.map_or_else(Answer::from, answer))
                .await
                .ok()?;
        }
        if let Some(name) = &wanted.life {
            answers.send(self.life(name).await).await.ok()?;
        }
        Some(())
    }

    async fn life(&self, name: &TokenName) -> Answer {
        let (api, token) = (encode(name.api.raw()), encode(name.token.raw()));
        match self.ask::<LifeList>(&format!("tokens/{api}/{token}")).await {
            Ok(list) => {
                let mut lives = list.tokens.into_iter();
                let life = lives.find(|life| life.token.scope == name.scope);
                Answer::Life(name.clone(), life.map(Box::new))
            }
            Err(NoAnswer::Refused(StatusCode::NOT_FOUND, _)) => Answer::Life(name.clone(), None),
            Err(error) => error.into(),
        }
    }
}

/// The summary is the least that a sidecar must be able to answer.
fn lost(error: NoAnswer) -> Answer {
    match error {
        NoAnswer::Refused(StatusCode::NOT_FOUND, _) => {
            Answer::Lost("the sidecar is older than this program: it has no summary".to_owned())
        }
        error => Answer::Lost(error.to_string()),
    }
}

/// Whether the list of findings may have changed.
#[derive(Default)]
struct Freshness {
    seen: Option<u64>,
    rounds: u32,
}

impl Freshness {
    fn is_old(&mut self, summary: &Summary) -> bool {
        let all = summary.severities.iter();
        let found = all.filter(|count| count.severity.raw() != "info");
        // A restarted sidecar can have as many, but not from the same start.
        let start = summary.observation_start.to_bits();
        let seen = found.map(|count| count.total).sum::<u64>() ^ start ^ sum(&summary.dropped);
        let is_old = self.seen != Some(seen) || self.rounds + 1 >= ROUNDS_MAX;
        self.rounds = if is_old { 0 } else { self.rounds + 1 };
        self.seen = Some(seen);
        is_old
    }
}

/// Percent-encodes everything that could mean something in a path or query (RFC 3986, 2.3).
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_byte_by_byte() {
        assert_eq!(encode("a/b?c=é &%~"), "a%2Fb%3Fc%3D%C3%A9%20%26%25~");
    }

    #[test]
    fn findings_are_asked_for_when_there_are_new_ones_and_now_and_then() {
        let mut summary = Summary::default();
        let mut freshness = Freshness::default();
        let asked: Vec<_> = (0..7).map(|_| freshness.is_old(&summary)).collect();
        assert_eq!(asked, [true, false, false, false, false, true, false]);
        let count = |severity: &str, total| super::super::answer::SeverityCount {
            severity: severity.into(),
            total,
            recent: 0,
        };
        summary.severities = vec![count("info", 5)];
        assert!(!freshness.is_old(&summary));
        summary.severities.push(count("error", 1));
        assert!(freshness.is_old(&summary));
        assert!(!freshness.is_old(&summary));
        summary.observation_start = 1.0;
        assert!(freshness.is_old(&summary));
    }
}
