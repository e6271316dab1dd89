//! The events that everything is measured with: calls with idempotency tokens, each call a short script.
//!
//! The same numbers give the same events. A few calls are under way at a time on each connection, so
//! that an end does not follow directly upon its start.

use std::collections::VecDeque;

/// The API that all events name.
pub const API: &str = "dynamodb.TransactWriteItems";

/// What the calls of a workload are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mix {
    /// Of 1000 calls 900 succeed at once, 99 at the SDK's second attempt, and one token is used for
    /// another request meanwhile, which is a finding.
    Mixed,
    /// Every call succeeds at once.
    Healthy,
    /// Every call succeeds at the second attempt.
    Retried,
    /// Calls that never end.
    Open,
    /// Every call is a finding.
    Misused,
}

/// One event of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub act: Act,
    pub attempt: u8,
    /// Another call uses the token for another request.
    pub rival: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Start,
    Ok,
    /// An error answer with this code.
    Error(&'static str),
}

const fn step(act: Act, attempt: u8, rival: bool) -> Step {
    Step {
        act,
        attempt,
        rival,
    }
}

const HEALTHY: &[Step] = &[step(Act::Start, 1, false), step(Act::Ok, 1, false)];
const RETRIED: &[Step] = &[
    step(Act::Start, 1, false),
    step(
        Act::Error("ProvisionedThroughputExceededException"),
        1,
        false,
    ),
    step(Act::Start, 2, false),
    step(Act::Ok, 2, false),
];
const MISUSED: &[Step] = &[
    step(Act::Start, 1, false),
    step(Act::Start, 1, true),
    step(Act::Ok, 1, false),
    step(Act::Error("IdempotentParameterMismatchException"), 1, true),
];
const OPEN: &[Step] = &[step(Act::Start, 1, false)];

/// One call with its token, and how far it has got.
#[derive(Clone, Debug)]
pub struct Call {
    pub token: [u8; 36],
    pub call: [u8; 36],
    pub fp: [u8; 32],
    script: &'static [Step],
    done: usize,
}

impl Call {
    /// The call with this number; all its texts follow from it.
    pub fn new(number: u64, mix: Mix) -> Self {
        // A prime step spreads the rare kinds evenly.
        let draw = number.wrapping_mul(617) % 1000;
        let script = match mix {
            Mix::Healthy => HEALTHY,
            Mix::Retried => RETRIED,
            Mix::Open => OPEN,
            Mix::Misused => MISUSED,
            Mix::Mixed if draw < 900 => HEALTHY,
            Mix::Mixed if draw == 999 => MISUSED,
            Mix::Mixed => RETRIED,
        };
        Self {
            token: uuid(number),
            call: uuid(number ^ (1 << 60)),
            fp: hex32(number ^ (2 << 60)),
            script,
            done: 0,
        }
    }
}

/// The endless events of one connection.
pub struct Workload {
    mix: Mix,
    number: u64,
    stride: u64,
    under_way: VecDeque<Call>,
    under_way_max: usize,
    left: VecDeque<Call>,
}

impl Workload {
    /// Connection `index` of `connections`; their calls are distinct.
    pub fn new(mix: Mix, index: u64, connections: u64) -> Self {
        Self {
            mix,
            number: index,
            stride: connections,
            under_way: VecDeque::new(),
            under_way_max: (64 / connections).max(2) as usize,
            left: VecDeque::new(),
        }
    }

    /// The next event: the call that it belongs to, and what happens.
    pub fn next_event(&mut self) -> (&Call, Step) {
        let mut call = if self.under_way.len() < self.under_way_max {
            let call = Call::new(self.number, self.mix);
            self.number += self.stride;
            call
        } else {
            // The queue is full, so there is one.
            self.under_way.pop_front().unwrap_or_else(|| unreachable!())
        };
        let step = call.script[call.done];
        call.done += 1;
        let queue = if call.done < call.script.len() {
            &mut self.under_way
        } else {
            self.left.clear();
            &mut self.left
        };
        queue.push_back(call);
        (&queue[queue.len() - 1], step)
    }

    /// Begins no further calls from here on, so that those under way come to their end.
    pub fn finish(&mut self) {
        self.under_way_max = 0;
    }

    /// Events that the calls under way still have.
    pub fn remaining(&self) -> u64 {
        let left = self.under_way.iter();
        left.map(|call| (call.script.len() - call.done) as u64)
            .sum()
    }
}

/// A number that looks random and is different for each input.
const fn spread(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn hex32(number: u64) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let halves = [spread(number), spread(!number)];
    let mut text = [0; 32];
    for (i, digit) in text.iter_mut().enumerate() {
        *digit = DIGITS[(halves[i / 16] >> (i % 16 * 4)) as usize & 15];
    }
    text
}

/// A UUID's form.
pub fn uuid(number: u64) -> [u8; 36] {
    let hex = hex32(number);
    let mut text = [b'-'; 36];
    for (to, from) in [
        (0..8, 0..8),
        (9..13, 8..12),
        (14..18, 12..16),
        (19..23, 16..20),
        (24..36, 20..32),
    ] {
        text[to].copy_from_slice(&hex[from]);
    }
    text
}
