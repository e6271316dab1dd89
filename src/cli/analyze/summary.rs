//! What an analysis counted, in words on standard error.

use std::io::{self, Write};
use std::time::Duration;

use super::kind_index;
use super::merge::Place;
use super::report::Report;
use crate::cli::terminal::{date_and_time, grouped, printable, style};
use crate::detect::Detector;
use crate::detect::event::{Kind, Reason};
use crate::detect::finding::{CallOutcome, Gap, Observation, ProfileId, Status};
use crate::detect::time::Timestamp;
use crate::detect::verdict::{Severity, Verdict};

/// Open attempts and jumps that are listed; the rest is only counted.
const LISTED_MAX: usize = 100;
/// A forward jump of time that is worth a line: leases and windows end in it.
const JUMP: Duration = Duration::from_secs(86_400);

/// Counts of one analysis.
#[derive(Debug, Default)]
pub struct Tally {
    /// Findings that came true.
    pub confirmed: u64,
    events: [u64; Kind::ALL.len()],
    rejected: [(u64, Option<Place>); Reason::ALL.len()],
    verdicts: [u64; Verdict::ALL.len()],
    calls: [u64; CallOutcome::ALL.len()],
    gaps: [u64; Gap::ALL.len()],
    dropped_by_clients: u64,
    times: Option<(Timestamp, Timestamp)>,
    jumps: u64,
    listed_jumps: Vec<(Place, Duration)>,
}

impl Tally {
    /// Notes the time of a usable event.
    pub fn saw_time(&mut self, at: Timestamp, place: Place) {
        let (first, last) = self.times.unwrap_or((at, at));
        let jump = at.since(last);
        if jump > JUMP {
            self.jumps += 1;
            if self.listed_jumps.len() < LISTED_MAX {
                self.listed_jumps.push((place, jump));
            }
        }
        self.times = Some((first.min(at), last.max(at)));
    }

    /// Counts a line that could not be used.
    pub fn reject(&mut self, reason: Reason, place: Place) {
        let (count, first) = &mut self.rejected[reason as usize];
        *count += 1;
        first.get_or_insert(place);
    }

    /// Counts what the detector said.
    pub fn count(&mut self, observation: &Observation) {
        match *observation {
            Observation::Accepted(kind) => self.events[kind_index(kind)] += 1,
            Observation::Verdict(_, verdict, _) => self.verdicts[verdict as usize] += 1,
            Observation::Call(_, outcome) => self.calls[outcome as usize] += 1,
            Observation::Gap(gap) => self.gaps[gap as usize] += 1,
            Observation::DroppedByClient(events) => {
                self.dropped_by_clients = self.dropped_by_clients.saturating_add(events);
            }
            _ => {}
        }
    }

    /// Verdicts of a severity or worse.
    pub fn at_least(&self, least: Severity) -> u64 {
        let worse = Verdict::ALL
            .iter()
            .filter(|verdict| verdict.severity() >= least);
        worse.map(|verdict| self.verdicts[*verdict as usize]).sum()
    }

    /// Writes the summary.
    pub fn print(
        &self,
        out: &mut impl Write,
        names: &[String],
        detector: &Detector,
        report: &Report,
        took: Duration,
    ) -> io::Result<()> {
        let at = |place: &Place| format!("{}:{}", printable(&names[place.source]), place.line);
        self.print_events(out, took)?;
        for (reason, (count, first)) in Reason::ALL.iter().zip(&self.rejected) {
            if let Some(first) = first {
                let (count, reason) = (grouped(*count), reason.as_str());
                row(
                    out,
                    "rejected",
                    &format!("{count} {reason}, first at {}", at(first)),
                )?;
            }
        }
        self.print_verdicts(out)?;
        let calls = CallOutcome::ALL.iter().zip(self.calls);
        let calls = calls.map(|(outcome, count)| (outcome.as_str(), count));
        row(out, "calls", &list(calls))?;
        self.print_tokens(out, detector)?;
        for (gap, count) in Gap::ALL
            .iter()
            .zip(self.gaps)
            .filter(|(_, count)| *count > 0)
        {
            let (count, gap) = (grouped(count), gap.as_str());
            row(
                out,
                "forgotten",
                &format!("{count} {gap}; verdicts are lower bounds"),
            )?;
        }
        if self.dropped_by_clients > 0 {
            let count = grouped(self.dropped_by_clients);
            row(
                out,
                "dropped",
                &format!("{count} events by their clients; verdicts are lower bounds"),
            )?;
        }
        print_open(out, detector, report)?;
        for (place, jump) in &self.listed_jumps {
            let hours = jump.as_secs() / 3600;
            row(
                out,
                "time jump",
                &format!("{} is {hours} h after the event before it", at(place)),
            )?;
        }
        let more = self.jumps - self.listed_jumps.len() as u64;
        if more > 0 {
            row(out, "", &format!("and {} more", grouped(more)))?;
        }
        Ok(())
    }

    fn print_events(&self, out: &mut impl Write, took: Duration) -> io::Result<()> {
        let total: u64 = self.events.iter().sum();
        let lines = total + self.rejected.iter().map(|(count, _)| count).sum::<u64>();
        let rate = lines as f64 / took.as_secs_f64().max(1e-6);
        let kinds = Kind::ALL.iter().zip(self.events);
        let kinds = kinds.map(|(kind, count)| (kind.as_str(), count));
        let total = grouped(total);
        let rate = grouped(rate as u64);
        row(
            out,
            "events",
            &format!("{total} judged ({}), {rate} lines/s", list(kinds)),
        )?;
        let Some((first, last)) = self.times else {
            return row(out, "time", "none covered: no line was a usable event");
        };
        let text = |at| {
            let (date, time) = date_and_time(at);
            format!("{date} {time}")
        };
        let seconds = i64::try_from(last.since(first).as_secs()).unwrap_or(i64::MAX);
        let covered = jiff::SignedDuration::from_secs(seconds);
        row(
            out,
            "time",
            &format!("{} to {} UTC, {covered:#}", text(first), text(last)),
        )
    }

    fn print_verdicts(&self, out: &mut impl Write) -> io::Result<()> {
        let mut title = "verdicts";
        for severity in Severity::ALL.into_iter().rev() {
            for verdict in Verdict::ALL {
                let count = self.verdicts[verdict as usize];
                if verdict.severity() == severity && count > 0 {
                    let colour = style(severity);
                    let count = grouped(count);
                    let line = format!("{count:>9}  {colour}{severity:<8}{colour:#}  {verdict}");
                    row(out, std::mem::take(&mut title), &line)?;
                }
            }
        }
        if self.confirmed > 0 {
            let text = format!("{} predictions came true", grouped(self.confirmed));
            row(out, "confirmed", &text)?;
        }
        Ok(())
    }

    fn print_tokens(&self, out: &mut impl Write, detector: &Detector) -> io::Result<()> {
        let mut by_status = [0u64; Status::ALL.len()];
        for profile in 0..detector.profiles().len() {
            for (sum, count) in by_status
                .iter_mut()
                .zip(detector.counts(ProfileId(profile)))
            {
                *sum += count as u64;
            }
        }
        let total: u64 = by_status.iter().sum();
        let statuses = Status::ALL.iter().zip(by_status);
        let statuses = statuses.map(|(status, count)| (status.as_str(), count));
        row(
            out,
            "tokens",
            &format!("{} tracked at the end ({})", grouped(total), list(statuses)),
        )
    }
}

/// Attempts without an end: not judged, as nothing happens after the last event.
fn print_open(out: &mut impl Write, detector: &Detector, report: &Report) -> io::Result<()> {
    let open = detector.open_attempts();
    if open.is_empty() {
        return Ok(());
    }
    let count = grouped(open.len() as u64);
    row(
        out,
        "open",
        &format!("{count}, started and not ended, not judged:"),
    )?;
    for open in open.iter().take(LISTED_MAX) {
        let (date, time) = date_and_time(open.attempt.start);
        let (api, token) = (printable(&open.api), report.display.show(&open.token));
        let mut text = format!("{date} {time}  {api}  token {}", printable(&token));
        if let Some(client) = &open.attempt.client {
            text += &format!("  client {}", printable(client));
        }
        if let Some(call) = &open.attempt.call {
            text += &format!(
                "  call {}, attempt {}",
                printable(call),
                open.attempt.number
            );
        }
        row(out, "", &text)?;
    }
    match open.len().saturating_sub(LISTED_MAX) {
        0 => Ok(()),
        more => row(out, "", &format!("and {} more", grouped(more as u64))),
    }
}

fn row(out: &mut impl Write, title: &str, text: &str) -> io::Result<()> {
    writeln!(out, "{title:<10} {text}")
}

/// `3 ok, 1 failed`, without what is zero.
fn list<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    let some = counts.filter(|(_, count)| *count > 0);
    let texts: Vec<_> = some
        .map(|(name, count)| format!("{} {name}", grouped(count)))
        .collect();
    if texts.is_empty() {
        "none".to_owned()
    } else {
        texts.join(", ")
    }
}
