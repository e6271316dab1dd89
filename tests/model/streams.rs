//! Seeded random event streams for comparing the reference model with the detector. Few tokens, clients,
//! calls and fingerprints, so that everything collides with everything; the times prefer the limits of
//! `reference::test_profiles`, with which the streams are meant to be judged.

#[path = "streams/vocabulary.rs"]
mod vocabulary;

use serde_json::{Map, Value, json};

pub use vocabulary::MUST_REACH;
use vocabulary::{APIS, CLIENTS, ENDS, End, JUMPS_MS, PRINTS, STEPS_MS};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// One or two tokens take nearly every event.
    Hammer,
    /// Calls whose outcome stays unknown, and the same request again under other tokens.
    FreshToken,
    /// More tokens than the profile has room for, and long pauses.
    Crowd,
    /// All APIs, scopes, and unusable lines.
    Mixed,
}

impl Shape {
    pub const ALL: [Shape; 4] = [Shape::Hammer, Shape::FreshToken, Shape::Crowd, Shape::Mixed];
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0..bound.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// An attempt that was sent, to be ended, ended twice, or started again.
#[derive(Clone)]
struct Sent {
    api: &'static str,
    scope: &'static str,
    token: String,
    client: Option<&'static str>,
    call: Option<String>,
    attempt: usize,
    fp: Option<&'static str>,
}

struct Generator {
    random: Random,
    shape: Shape,
    now_ms: i64,
    sent: Vec<Sent>,
    calls: usize,
    apis: Vec<&'static str>,
    tokens: usize,
    /// Most attempts end before anything else happens to their token.
    calm: bool,
    /// The latest line is a start.
    just_started: bool,
    /// Answers that this stream prefers, so that some streams hear little else.
    favoured: [End; 2],
    /// Attempts whose end was sent first; their start follows.
    late: Vec<Sent>,
}

/// `events` JSON lines, the same for the same arguments.
pub fn stream(seed: u64, shape: Shape, events: usize) -> Vec<String> {
    let mut random = Random(seed ^ (shape as u64) << 56);
    // Discarded so that neighbouring seeds do not begin alike.
    random.next();
    let (apis, tokens) = match shape {
        Shape::Hammer => (vec![*random.pick(APIS)], 1 + random.below(2)),
        Shape::FreshToken => (
            vec![*random.pick(&[
                "test.short",
                "test.tiny",
                "test.silent",
                "test.long_lease",
                "http",
                "payments.Charge",
            ])],
            4,
        ),
        Shape::Crowd => (vec!["test.tiny", "test.tiny", *random.pick(APIS)], 9),
        Shape::Mixed => (APIS.to_vec(), 2),
    };
    let now_ms = 1_700_000_000_000 + random.below(1_000_000) as i64;
    let calm = random.percent(50);
    let favoured = match shape {
        Shape::FreshToken => [("no_response", None, None), *random.pick(ENDS)],
        _ => [*random.pick(ENDS), *random.pick(ENDS)],
    };
    let mut generator = Generator {
        random,
        shape,
        now_ms,
        sent: Vec::new(),
        calls: 0,
        apis,
        tokens,
        calm,
        just_started: false,
        favoured,
        late: Vec::new(),
    };
    (0..events).map(|_| generator.line()).collect()
}

impl Generator {
    fn line(&mut self) -> String {
        self.pass_time();
        if self
            .random
            .percent(if self.shape == Shape::Mixed { 6 } else { 1 })
        {
            return self.unusable();
        }
        if !self.late.is_empty() && self.random.percent(15) {
            let sent = self.late.swap_remove(self.random.below(self.late.len()));
            return self.start(&sent);
        }
        if self.calm && self.just_started && self.random.percent(80) {
            return self.last_as_end();
        }
        let again = match self.shape {
            Shape::Hammer => 50,
            Shape::FreshToken => 60,
            Shape::Crowd | Shape::Mixed => 70,
        };
        if self.sent.is_empty() || !self.random.percent(again) {
            return self.new_call();
        }
        // Mostly one of the latest, so that an end meets an attempt that is still remembered.
        let reach = if self.random.percent(80) { 5 } else { 40 };
        let index = self.sent.len() - 1 - self.random.below(reach.min(self.sent.len()));
        let sent = self.sent[index].clone();
        match self.random.below(20) {
            0..=9 => self.end(&sent),
            10..=13 => self.next_attempt(sent),
            14 => self.start(&sent),
            15..=16 => self.call_end(&sent),
            _ => self.same_token(sent),
        }
    }

    fn pass_time(&mut self) {
        let jumps = match self.shape {
            Shape::Hammer => 4,
            Shape::FreshToken => 2,
            Shape::Crowd | Shape::Mixed => 3,
        };
        // A crowd of open attempts on one token needs a stretch without long pauses.
        let hurried = (self.now_ms / 40_000) % 3 == 0;
        self.now_ms += if hurried {
            *self.random.pick(&[0, 1, 20, 300])
        } else if self.random.percent(jumps) {
            *self.random.pick(JUMPS_MS)
        } else {
            *self.random.pick(STEPS_MS)
        };
    }

    fn token(&mut self, api: &str) -> String {
        let number = match self.shape {
            // The former tokens are left behind one by one.
            Shape::FreshToken => self.calls / 3 + self.random.below(self.tokens),
            _ => self.random.below(self.tokens),
        };
        if self.random.percent(2) {
            return match self.random.below(4) {
                0 => String::new(),
                1 => "x".repeat(37),
                2 => "ä".repeat(36),
                _ => "tab\there".to_string(),
            };
        }
        if api == "test.uuid" && self.random.percent(95) {
            return format!("00000000-0000-4000-8000-00000000000{number}");
        }
        format!("token-{number}")
    }

    fn new_call(&mut self) -> String {
        let api = *self.random.pick(&self.apis);
        let token = self.token(api);
        let sent = Sent {
            api,
            scope: if self.random.percent(5) { "1/eu" } else { "" },
            token,
            client: *self.random.pick(CLIENTS),
            call: None,
            attempt: 1,
            fp: None,
        };
        let line = self.same_token(sent);
        if self.random.percent(10) {
            self.end_first()
        } else {
            line
        }
    }

    /// An end that overtakes its start.
    fn end_first(&mut self) -> String {
        if let Some(mut sent) = self.sent.last().cloned() {
            let line = self.end(&sent);
            // The fingerprint is often news.
            sent.fp = *self.random.pick(PRINTS);
            self.late.push(sent);
            return line;
        }
        self.unusable()
    }

    fn last_as_end(&mut self) -> String {
        match self.sent.last().cloned() {
            Some(sent) => self.end(&sent),
            None => self.unusable(),
        }
    }

    fn same_token(&mut self, mut sent: Sent) -> String {
        self.calls += 1;
        sent.call = if self.random.percent(75) {
            Some(format!("c{}", self.calls))
        } else {
            None
        };
        sent.attempt = if self.random.percent(90) {
            1
        } else {
            2 + self.random.below(2)
        };
        if self.random.percent(50) {
            sent.client = *self.random.pick(CLIENTS);
        }
        if self.shape == Shape::FreshToken && self.random.percent(85) {
            sent.fp = PRINTS[0];
        } else if self.random.percent(60) {
            sent.fp = *self.random.pick(PRINTS);
        }
        self.sent.push(sent.clone());
        self.start(&sent)
    }

    fn next_attempt(&mut self, mut sent: Sent) -> String {
        sent.attempt = if self.random.percent(85) {
            sent.attempt + 1
        } else {
            1 + self.random.below(4)
        };
        if self.random.percent(4) {
            sent.fp = *self.random.pick(PRINTS);
        }
        self.sent.push(sent.clone());
        self.start(&sent)
    }

    fn fields(&mut self, kind: &str, sent: &Sent) -> Map<String, Value> {
        let mut fields = Map::new();
        let late_ms = if self.random.percent(3) {
            *self.random.pick(&[1, 500, 3_000, 40_000])
        } else {
            0
        };
        fields.insert("type".into(), json!(kind));
        fields.insert("at".into(), json!((self.now_ms - late_ms) as f64 / 1000.0));
        fields.insert("api".into(), json!(sent.api));
        fields.insert("token".into(), json!(sent.token));
        if !sent.scope.is_empty() {
            fields.insert("scope".into(), json!(sent.scope));
        }
        if let Some(client) = sent.client {
            fields.insert("client".into(), json!(client));
        }
        if let Some(call) = &sent.call {
            fields.insert("call".into(), json!(call));
        }
        fields
    }

    fn attempt_fields(&mut self, kind: &str, sent: &Sent) -> Map<String, Value> {
        let mut fields = self.fields(kind, sent);
        if sent.attempt != 1 || self.random.percent(80) {
            fields.insert("attempt".into(), json!(sent.attempt));
        }
        if self.random.percent(30) {
            fields.insert("max_attempts".into(), json!(1 + self.random.below(3)));
        }
        if let Some(fp) = sent.fp {
            fields.insert("fp".into(), json!(fp));
            if self.random.percent(60) {
                fields.insert(
                    "fp_raw".into(),
                    json!(format!("{fp}{}", self.random.below(2))),
                );
            }
        }
        fields
    }

    fn start(&mut self, sent: &Sent) -> String {
        self.just_started = true;
        let fields = self.attempt_fields("attempt_start", sent);
        Value::Object(fields).to_string()
    }

    fn answer(&mut self, fields: &mut Map<String, Value>) {
        let (outcome, code, status) = match self.random.percent(50) {
            true => *self.random.pick(&self.favoured),
            false => *self.random.pick(ENDS),
        };
        fields.insert("outcome".into(), json!(outcome));
        if let Some(code) = code {
            fields.insert("error".into(), json!(code));
        }
        if let Some(status) = status {
            fields.insert("http_status".into(), json!(status));
        }
    }

    fn end(&mut self, sent: &Sent) -> String {
        self.just_started = false;
        let mut fields = self.attempt_fields("attempt_end", sent);
        self.answer(&mut fields);
        if self.random.percent(40) {
            fields.insert(
                "write_units".into(),
                json!(*self.random.pick(&[0.0, 2.0, 0.5])),
            );
        }
        if self.random.percent(30) {
            fields.insert("read_units".into(), json!(*self.random.pick(&[0.0, 4.0])));
        }
        if self.random.percent(30) {
            fields.insert(
                "duration_ms".into(),
                json!(*self.random.pick(&[0.0, 12.5, 300.0, 6_000.0, 31_000.0])),
            );
        }
        Value::Object(fields).to_string()
    }

    fn call_end(&mut self, sent: &Sent) -> String {
        let mut fields = self.fields("call_end", sent);
        self.answer(&mut fields);
        if self.random.percent(30) {
            fields.insert("attempts".into(), json!(sent.attempt));
        }
        Value::Object(fields).to_string()
    }

    /// A line of each reject reason but `duplicate`, or one that is used without belonging to a token.
    fn unusable(&mut self) -> String {
        let at = self.now_ms as f64 / 1000.0;
        let event = |more: Value| {
            let mut fields =
                json!({"type": "attempt_start", "at": at, "api": "http", "token": "token-0"});
            for (name, value) in more.as_object().into_iter().flatten() {
                fields[name] = value.clone();
            }
            fields.to_string()
        };
        match self.random.below(13) {
            0 => "{\"type\":\"attempt_start\",".to_string(),
            1 => "[1,2]".to_string(),
            2 => event(json!({"note": "x".repeat(17_000)})),
            3 => event(json!({"v": 2, "type": "other"})),
            4 => event(json!({"type": "attempt_middle", "attempt": 0})),
            5 => event(json!({"attempt": 1.0})),
            6 => event(json!({"call": "c".repeat(65)})),
            7 => event(json!({"type": "attempt_end", "outcome": "fine"})),
            8 => event(json!({"type": "attempt_end", "outcome": "error"})),
            9 => event(json!({"api": null, "at": at + 5_000.0})),
            10 => event(json!({"at": null})),
            11 => json!({"type": "client_report", "at": at, "dropped": 3}).to_string(),
            _ => json!({"type": "client_report", "at": at}).to_string(),
        }
    }
}
