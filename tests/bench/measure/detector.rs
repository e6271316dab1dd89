//! The detector alone: decoded events in, verdicts out.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Duration;

use oncewatch::detect::event::{Event, Kind, Outcome};
use oncewatch::detect::finding::{Observation, Verdicts};
use oncewatch::detect::profile::profiles;
use oncewatch::detect::time::Timestamp;
use oncewatch::detect::verdict::{Severity, Verdict};
use oncewatch::detect::{Detector, Options as Produce, Source, Trace};

use super::cpu;
use super::workload::{API, uuid};

/// Calls whose texts are made ahead, outside the measured time.
const BATCH: usize = 256;
const CLIENT: &str = "orders-7f9c4d/4711";
const FP: &str = "9a0364b9e99bb480dd25e1f0284c8555";

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[arg(value_enum)]
    pub case: Case,
    /// Tokens in the table before anything is measured
    #[arg(long, default_value_t = 10_000)]
    pub tokens: usize,
    /// Calls to measure, two events each
    #[arg(long, default_value_t = 10_000)]
    pub calls: usize,
    /// Make the events and do not judge them: what a count of instructions has to leave out
    #[arg(long)]
    pub idle: bool,
    /// Read no clock: rustix reads it in a way that valgrind does not support
    #[arg(long)]
    pub no_clock: bool,
}

/// What a measured call is: a start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// A new token, room in the table.
    First,
    /// The second attempt of a known call, in random order.
    Retry,
    /// A succeeded token again by another call, in random order.
    Replay,
    /// A new token, the table full.
    Evict,
}

impl Case {
    /// The verdict that every measured start must get.
    fn verdict(self) -> Verdict {
        match self {
            Self::First | Self::Evict => Verdict::FirstUse,
            Self::Retry => Verdict::SdkRetry,
            Self::Replay => Verdict::Replay,
        }
    }
}

/// CPU time per event in nanoseconds.
///
/// # Panics
/// When a start gets another verdict than the case is about.
pub fn run(options: &Options) -> f64 {
    let clock = cpu::clock(options.no_clock);
    let mut bench = Bench::new(options);
    let outcome = match options.case {
        Case::Retry => Outcome::NoResponse,
        Case::First | Case::Replay | Case::Evict => Outcome::Ok,
    };
    for number in 0..options.tokens {
        let texts = Texts::new(number, number);
        bench.judge(&texts.start(1));
        bench.judge(&texts.end(1, outcome));
        bench.out.clear();
    }
    let mut spent = Duration::ZERO;
    let mut given = 0;
    let mut done = 0;
    while done < options.calls {
        let batch: Vec<Texts> = (done..options.calls.min(done + BATCH))
            .map(|number| bench.texts(options, number))
            .collect();
        done += batch.len();
        let attempt = if options.case == Case::Retry { 2 } else { 1 };
        if options.idle {
            for texts in &batch {
                black_box((texts.start(attempt), texts.end(attempt, Outcome::Ok)));
            }
            continue;
        }
        let begun = clock();
        for texts in &batch {
            bench.judge(&texts.start(attempt));
            bench.judge(&texts.end(attempt, Outcome::Ok));
        }
        spent += clock() - begun;
        given += bench.given(options.case.verdict());
        bench.out.clear();
    }
    if !options.idle {
        assert_eq!(
            given, options.calls,
            "not every call was {:?}",
            options.case
        );
    }
    // Tearing the table down is not part of it.
    std::mem::forget(bench);
    spent.as_nanos() as f64 / (2 * options.calls) as f64
}

struct Bench {
    detector: Detector,
    out: Verdicts,
    now: Timestamp,
}

impl Bench {
    fn new(options: &Options) -> Self {
        let capacity = match options.case {
            Case::First => options.tokens + options.calls,
            Case::Retry | Case::Replay | Case::Evict => options.tokens,
        };
        let profiles = profiles(&toml::Table::new(), Some(capacity)).expect("built-in profiles");
        let produce = Produce {
            detail: Severity::Warning,
            trace: Trace::Misuse,
            hash_key: [7; 16],
        };
        Self {
            detector: Detector::new(profiles, produce),
            out: Verdicts::default(),
            now: Timestamp::from_micros(1_700_000_000_000_000),
        }
    }

    fn judge(&mut self, event: &Event<'_>) {
        self.now = self.now + Duration::from_micros(1);
        let (source, now) = (Source::default(), self.now);
        self.detector
            .handle_event(event, source, now, &mut self.out);
    }

    /// The texts of a measured call.
    fn texts(&self, options: &Options, number: usize) -> Texts {
        // Larger than any table, and prime: all tokens in turn, none near the one before.
        let random = number.wrapping_mul(1_000_000_007) % options.tokens.max(1);
        match options.case {
            Case::First | Case::Evict => {
                Texts::new(options.tokens + number, options.tokens + number)
            }
            Case::Retry => Texts::new(random, random),
            Case::Replay => Texts::new(random, options.tokens + number),
        }
    }

    fn given(&self, wanted: Verdict) -> usize {
        let given = self.out.observations.iter();
        given
            .filter(
                |what| matches!(what, Observation::Verdict(_, verdict, _) if *verdict == wanted),
            )
            .count()
    }
}

/// The texts of one call.
struct Texts {
    token: String,
    call: String,
}

impl Texts {
    fn new(token: usize, call: usize) -> Self {
        let text = |number| String::from_utf8_lossy(&uuid(number)).into_owned();
        Self {
            token: text(token as u64),
            call: text(call as u64 | 1 << 62),
        }
    }

    fn start(&self, attempt: u64) -> Event<'_> {
        self.event(Kind::AttemptStart, attempt, None)
    }

    fn end(&self, attempt: u64, outcome: Outcome) -> Event<'_> {
        self.event(Kind::AttemptEnd, attempt, Some(outcome))
    }

    fn event(&self, kind: Kind, attempt: u64, outcome: Option<Outcome>) -> Event<'_> {
        Event {
            kind,
            api: Cow::Borrowed(API),
            token: Cow::Borrowed(&self.token),
            call: Some(Cow::Borrowed(&self.call)),
            attempt,
            max_attempts: Some(5),
            fp: (kind == Kind::AttemptStart).then_some(Cow::Borrowed(FP)),
            fp_raw: None,
            client: Some(Cow::Borrowed(CLIENT)),
            scope: Cow::Borrowed(""),
            at: None,
            token_origin: None,
            outcome,
            error: None,
            http_status: None,
            request_id: None,
            duration: outcome.map(|_| Duration::from_micros(12_345)),
            read_units: None,
            write_units: None,
            trace: None,
            traceparent_malformed: false,
            dropped: 0,
        }
    }
}
