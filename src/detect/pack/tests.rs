use super::*;
use crate::detect::key::Keys;
use crate::detect::leases::LeaseId;
use crate::detect::names::Sort;
use crate::detect::profile::Class;
use crate::detect::text::Text;
use crate::detect::token::{
    Answer, Attempt, Call, ClosedBy, Executed, Prediction, Print, Progress, Raw, Seen, Success,
    Units, Who,
};
use crate::detect::trace::TraceContext;
use crate::detect::verdict::Verdict;

/// What a token is made of, by chance; the same seed gives the same tokens.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    fn rarely(&mut self) -> bool {
        self.below(8) == 0
    }

    /// Small, at the edges of what fits somewhere, or large.
    fn number(&mut self) -> u64 {
        let numbers = [
            0,
            1,
            2,
            3,
            14,
            15,
            16,
            127,
            128,
            249,
            250,
            255,
            256,
            1 << 16,
            1 << 32,
            1 << 47,
            (1 << 48) - 1,
            1 << 48,
            u64::MAX >> 1,
        ];
        match self.coin() {
            true => 1 + self.below(3),
            false => numbers[self.below(numbers.len() as u64) as usize],
        }
    }

    fn some<T>(&mut self, value: T) -> Option<T> {
        self.coin().then_some(value)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn text(&mut self) -> Text {
        let texts = [
            "6b8f0c4e-1d2a-4f3b-9c5d-7e8f90a1b2c3",
            "6b8f0c4e1d2a4f3b9c5d7e8f90a1b2c3",
            "",
            "c1",
            "0123456789abcdef",
            "longer than sixteen bytes",
            "é",
        ];
        Text::new(self.of(&texts))
    }

    fn name(&mut self, sort: Sort) -> NameId {
        let number = self.of(&[0, 0, 1, 2, 255, 256, 0xfffe, 0xffff, 1 << 20]);
        NameId::from_small(sort, number)
    }

    fn time(&mut self) -> Timestamp {
        let micros = self.of(&[0, 1, 50_000, 1 << 31, u64::from(u32::MAX), 1 << 32, 1 << 40]);
        Timestamp::from_micros(SEEN - micros as i64)
    }

    fn print(&mut self) -> Print {
        let key = Keys::new(&[7; 16], "", "").key(self.of(&["a", "b"]));
        let raw = Raw(self.of(&[0, 1, u64::MAX]));
        Print {
            fp: self.some(key),
            raw: self.some(raw),
        }
    }

    fn trace(&mut self) -> Option<TraceContext> {
        let id = self.of(&[1, 2]);
        self.rarely().then_some(TraceContext {
            trace_id: [id; 16],
            span_id: [id; 8],
            flags: id,
        })
    }

    fn who(&mut self, token: &Token) -> Who {
        if !token.attempts.is_empty() && !self.rarely() {
            return token.who(self.below(token.attempts.len() as u64) as usize);
        }
        let (client, call) = (self.name(Sort::Sender), self.text());
        Who {
            client: self.some(client),
            call: self.some(call),
            attempt: self.number(),
            since: self.time(),
            trace: self.trace(),
            serial: self.below(9) as u32,
        }
    }
}

const SEEN: i64 = 1_700_000_000_000_000;

/// One call with one attempt, as most tokens are; some values by chance.
fn usual(dice: &mut Dice) -> Token {
    let (api, scope) = (dice.name(Sort::Space), dice.name(Sort::Space));
    let life = Life::new(1, dice.time(), dice.number());
    let mut token = Token::new(Text::new(""), api, scope, life);
    token.text = dice.text();
    token.last_seen = Timestamp::from_micros(SEEN);
    token.serials = 2;
    let (id, client) = (dice.text(), dice.name(Sort::Sender));
    let (id, client) = (dice.some(id), dice.some(client));
    let (number, limit) = (dice.number(), dice.number());
    let ended = dice.of(&Class::ALL);
    let call = Call {
        serial: 1,
        client,
        id,
        max_attempts: dice.some(limit),
        counted: dice.coin(),
        ended: dice.some(ended),
        remote_given: false,
        first_seen: number == 1,
        last_number: number,
    };
    let begun = dice.coin();
    let start = token.life.first_start;
    let attempt = Attempt {
        serial: 2,
        call: 1,
        client,
        number,
        named: call.id.is_some(),
        life: 1,
        life_start: start,
        was_other: false,
        start,
        order: begun.then_some(token.life.order),
        print: dice.print(),
        trace: None,
        verdict: begun.then_some(Verdict::FirstUse),
        prediction: None,
        start_seen: begun || dice.coin(),
        end_seen: dice.coin(),
        units: dice.of(&Units::ALL),
        progress: progress(dice, start, token.life.order + u64::from(begun)),
    };
    token.calls.push(call);
    token.attempts.push(attempt);
    let attempt = &token.attempts[0];
    let (print, seen, units) = (attempt.print, attempt.start_seen, attempt.units);
    if let Progress::Closed { at, order, .. } = attempt.progress
        && dice.coin()
    {
        let who = token.who(0);
        token.life.success = Some(Success { at, who });
        let (who, replayed) = (token.who(0), (units == Units::Read).then_some(order));
        token.successes.extend(dice.coin().then_some(Executed {
            print,
            who,
            at,
            replayed,
        }));
    }
    token.life.print = print.fp.map(|_| (print, token.who(0)));
    token.see(&print, true);
    if !seen {
        token.seen.clear();
    }
    token.life.answer = dice.of(&[None, Some(Answer::Cancelled), Some(Answer::Rejected)]);
    token.life.mismatch_seen = dice.coin();
    token.life.reported = dice.coin();
    settled(token)
}

fn progress(dice: &mut Dice, start: Timestamp, order: u64) -> Progress {
    if dice.rarely() {
        return Progress::Open(LeaseId(dice.below(1 << 31) as u32));
    }
    let lasted = dice.of(&[0, 1, 70_000, i64::from(u32::MAX), 1 << 32]);
    Progress::Closed {
        by: dice.of(&ClosedBy::ALL),
        class: dice.of(&Class::ALL),
        at: Timestamp::from_micros(start.as_micros() + lasted),
        order,
        resolved: dice.coin(),
    }
}

/// As after every event.
fn settled(mut token: Token) -> Token {
    token.status = token.derive_status();
    token.take_place();
    token
}

/// A usual token with something about it that is not.
fn unusual(dice: &mut Dice) -> Token {
    let mut token = usual(dice);
    for _ in 0..1 + dice.below(3) {
        change(dice, &mut token);
    }
    settled(token)
}

fn change(dice: &mut Dice, token: &mut Token) {
    let who = dice.who(token);
    let print = dice.print();
    match dice.below(24) {
        0 => token.born = dice.number(),
        1 => token.life.number = dice.below(300) as u32,
        2 => token.serials += 1,
        3 => token.hard_coded_given = true,
        4 => token.life.forgotten_unresolved = true,
        5 => token.life.history.queued = true,
        6 => token.life.history.last_error = Some(dice.name(Sort::Sender)),
        7 => token.life.history.handed_out = Some(dice.number()),
        8 => token.life.trace = dice.trace(),
        9 => token.life.print = Some((print, who)),
        10 => {
            let at = dice.time();
            token.life.success = Some(Success { at, who });
        }
        11 => token.seen.push(Seen {
            fp: Keys::new(&[7; 16], "", "").key("c"),
            raw: print.raw,
            counts: dice.coin(),
        }),
        12 => {
            let (at, replayed) = (dice.time(), dice.number());
            token.successes.push(Executed {
                print,
                who,
                at,
                replayed: dice.some(replayed),
            });
        }
        13 => {
            let mut other = usual(dice);
            other.calls[0].serial = 3;
            other.attempts[0].serial = 4;
            other.attempts[0].call = 3;
            token.calls.append(&mut other.calls);
            token.attempts.append(&mut other.attempts);
        }
        14 => token.calls[0].remote_given = true,
        15 => token.calls[0].first_seen ^= true,
        16 => token.calls[0].last_number += 1,
        17 => token.calls[0].serial = 3,
        _ => change_attempt(dice, &mut token.attempts[0]),
    }
}

fn change_attempt(dice: &mut Dice, attempt: &mut Attempt) {
    let verdict = dice.of(Verdict::ALL.as_slice());
    match dice.below(13) {
        0 => attempt.serial = 9,
        1 => attempt.call = 9,
        2 => attempt.client = Some(dice.name(Sort::Sender)),
        3 => attempt.named ^= true,
        4 => attempt.life += 1,
        5 => attempt.life_start = dice.time(),
        6 => attempt.was_other = true,
        7 => attempt.start = dice.time(),
        8 => attempt.order = Some(dice.number()),
        9 => attempt.print = dice.print(),
        10 => attempt.trace = dice.trace(),
        11 => attempt.verdict = Some(verdict),
        _ => {
            let finding = dice.number();
            attempt.prediction = Some(Prediction { verdict, finding });
        }
    }
}

/// Packs a token, looks at it and takes it out again; returns whether it was plain.
fn round_trip(packer: &mut Packer, token: Token, copy: &Token, what: &str) -> bool {
    let last_seen = token.last_seen;
    let mut packed = packer.pack(Box::new(token));
    let plain = matches!(packed, Packed::Plain(_));
    assert_eq!(packed.status(), copy.status, "{what}");
    packer.look(&packed, last_seen, |token| {
        assert_eq!(token, copy, "{what}")
    });
    let brief = packer.brief(&packed, last_seen);
    assert_eq!((brief.api, &brief.text), (copy.api, &copy.text), "{what}");
    assert_eq!(brief.first_start, copy.life.first_start, "{what}");
    assert_eq!(brief.attempt_count, copy.attempts.len(), "{what}");
    let (mut marked, mut used) = (Vec::new(), Vec::new());
    packer.mark_names(&packed, &mut |name| marked.push(name.to_bits()));
    copy.mark_names(&mut |name| used.push(name.to_bits()));
    for names in [&mut marked, &mut used] {
        names.sort_unstable();
        names.dedup();
    }
    assert_eq!(marked, used, "{what}");
    let open = copy.attempts.iter().any(Attempt::is_open);
    if packed.is_settled() {
        assert!(!open && copy.place.is_none(), "{what}");
    }
    let token = packer.take(&mut packed, last_seen);
    assert_eq!(*token, *copy, "{what}");
    packer.recycle(token);
    plain
}

#[test]
fn every_token_comes_back_as_it_was() {
    let mut packer = Packer::new();
    let mut plain = [0; 2];
    for seed in 0..40_000 {
        for (kind, make) in [usual, unusual].into_iter().enumerate() {
            let token = make(&mut Dice(seed));
            let copy = make(&mut Dice(seed));
            let what = format!("seed {seed}, kind {kind}");
            plain[kind] += u32::from(round_trip(&mut packer, token, &copy, &what));
        }
    }
    // The chances above leave enough of each.
    assert!(plain[0] > 1000 && plain[1] > 20, "{plain:?}");
    assert!(plain[0] < 39_000 && plain[1] < plain[0] / 10, "{plain:?}");
}

#[test]
fn the_order_of_the_only_end_is_the_one_thing_not_kept() {
    let mut packer = Packer::new();
    let mut seen = 0;
    for seed in 0..2000 {
        let mut token = usual(&mut Dice(seed));
        let mut copy = usual(&mut Dice(seed));
        let later = |token: &mut Token| {
            if let Progress::Closed { order, .. } = &mut token.attempts[0].progress {
                *order += 1000;
                if let Some(success) = token.successes.first_mut() {
                    success.replayed = success.replayed.map(|order| order + 1000);
                }
            }
        };
        later(&mut token);
        let last_seen = token.last_seen;
        let mut packed = packer.pack(Box::new(token));
        let plain = matches!(packed, Packed::Plain(_));
        if !plain {
            later(&mut copy);
        }
        seen += u32::from(plain);
        assert_eq!(*packer.take(&mut packed, last_seen), copy, "seed {seed}");
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn cells_are_used_again() {
    let mut packer = Packer::new();
    let make = |seed| unusual(&mut Dice(seed));
    let mut kept = Vec::new();
    let mut cells = 0;
    for round in 0..3 {
        for seed in 0..500 {
            kept.push(packer.pack(Box::new(make(seed))));
        }
        for (seed, mut packed) in kept.drain(..).enumerate() {
            let last_seen = Timestamp::from_micros(SEEN);
            let token = packer.take(&mut packed, last_seen);
            assert_eq!(*token, make(seed as u64));
            packer.recycle(token);
        }
        match round {
            0 => cells = packer.cells.len(),
            _ => assert_eq!(packer.cells.len(), cells),
        }
    }
    assert!(cells > 100, "{cells}");
}
