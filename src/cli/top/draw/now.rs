//! Is anything wrong now: the answer in a sentence, counts by severity and verdict, the last minutes.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{Paper, findings, trust};
use crate::cli::top::answer::{History, SeverityCount, Summary, VerdictCount, sum};
use crate::cli::top::state::State;
use crate::cli::top::text::{brief, count, counted, span, wrap};

/// Severities as they are shown, worst first.
const SEVERITIES: [(&str, &str); 4] = [
    ("critical", "critical"),
    ("error", "error"),
    ("warning", "warning"),
    ("info", "healthy"),
];

/// The answer in a sentence, and the severity whose style it deserves.
pub fn sentence(summary: &Summary) -> (String, &'static str) {
    if sum(&summary.events) == 0 {
        return (nothing_yet(summary), "warning");
    }
    let recent = |name: &str| count_of(summary, name).map_or(0, |item| item.recent);
    let seen = watched(summary);
    let lost = match trust::losses(summary) {
        (0, 0) => "",
        _ => " Something was lost, so there may be more: see Trust.",
    };
    if recent("critical") > 0 {
        let found = found(summary, "critical", "critical finding");
        let text = format!("YES: writes may have been applied twice. {found}");
        (text, "critical")
    } else if recent("error") > 0 {
        let found = found(summary, "error", "finding");
        let text = format!("YES: operations failed or are undecided. {found}");
        (text, "error")
    } else if recent("warning") > 0 {
        let found = found(summary, "warning", "warning");
        (format!("Nothing urgent: {found}{lost}"), "warning")
    } else if recent("info") == 0 {
        // Silence is no proof of health: the applications may have stopped to report.
        let ago = span(summary.now - summary.last_event.unwrap_or(summary.observation_start));
        let text = format!(
            "Not known: no token was used in the last {seen}; the last event came {ago} ago.{lost}"
        );
        (text, "warning")
    } else {
        let text = format!("No. In the last {seen} every use of a token was a healthy one.{lost}");
        (text, "info")
    }
}

/// Before the first event: what is wrong with those that came, or how to send one.
fn nothing_yet(summary: &Summary) -> String {
    let refused = sum(&summary.rejected);
    if refused > 0 {
        let came = counted(refused, "event");
        return format!("Not known: {came} came, and none could be used. Trust says why.");
    }
    let socket = summary.socket.shown();
    format!(
        "Not known: no event has come yet. Applications report on {socket}; try: \
         oncewatch send --socket {socket} --type attempt_start --api dynamodb.TransactWriteItems --token t1 --hold 1s"
    )
}

/// The time that recent counts are of.
fn watched(summary: &Summary) -> String {
    let history = &summary.history;
    brief(summary.uptime_s.min(history.step_s * history.steps as f64))
}

fn count_of<'a>(summary: &'a Summary, severity: &str) -> Option<&'a SeverityCount> {
    let mut all = summary.severities.iter();
    all.find(|item| item.severity.raw() == severity)
}

/// What was found, how often, when last, and which.
fn found(summary: &Summary, severity: &str, one: &str) -> String {
    let history = &summary.history;
    let given = summary.verdicts.iter();
    let given = given.filter(|item| item.severity.raw() == severity && item.recent > 0);
    let values = added(history, given.clone());
    let since = values.iter().rposition(|count| *count > 0);
    let latest = since.map_or(String::new(), |step| {
        let ago = span((values.len() - step) as f64 * history.step_s);
        format!(", the latest less than {ago} ago")
    });
    let names: Vec<_> = given.map(|item| item.verdict.shown()).collect();
    let recent = count_of(summary, severity).map_or(0, |item| item.recent);
    format!(
        "{} in the last {}{latest}: {}.",
        counted(recent, one),
        watched(summary),
        names.join(", ")
    )
}

/// The counts of the last minutes in one line, above every view; in short where it is narrow.
pub fn counts_line(state: &State, paper: &Paper) -> Option<Line<'static>> {
    let summary = state.summary.as_deref()?;
    let minutes = span(summary.history.step_s * summary.history.steps as f64);
    let long = counts(
        summary,
        &format!("last {minutes}: "),
        SEVERITIES.map(|(_, label)| label),
        paper,
    );
    if long.width() <= paper.cells {
        return Some(long);
    }
    Some(counts(summary, "", ["crit", "err", "warn", "ok"], paper))
}

fn counts(summary: &Summary, head: &str, labels: [&str; 4], paper: &Paper) -> Line<'static> {
    let mut spans = vec![Span::styled(head.to_owned(), paper.look.quiet())];
    for ((name, _), label) in SEVERITIES.into_iter().zip(labels) {
        let recent = count_of(summary, name).map_or(0, |item| item.recent);
        let style = match recent {
            0 => paper.look.quiet(),
            _ => paper.look.severity(name),
        };
        spans.push(Span::styled(format!("{label} {}", count(recent)), style));
        spans.push(Span::raw("  "));
    }
    spans.pop();
    Line::from(spans)
}

pub fn body(state: &mut State, paper: &Paper) -> Vec<Line<'static>> {
    let Some(summary) = state.summary.as_deref() else {
        return Vec::new();
    };
    let mut lines = answer(summary, paper, if paper.rows >= 18 { 3 } else { 2 });
    if paper.rows >= 12 {
        lines.push(Line::default());
        lines.extend(severities(summary, paper));
        lines.push(Line::default());
    }
    let listed: Vec<VerdictCount> = state.listed_verdicts().into_iter().cloned().collect();
    let room = paper.rows.saturating_sub(lines.len() + 1);
    state.verdicts.place(listed.len(), room);
    let history = &summary.history;
    let unseen = unseen_steps(summary);
    let kind = if state.all_verdicts {
        "verdict (all)"
    } else {
        "verdict"
    };
    lines.push(verdict_head(kind, history, paper));
    for i in state.verdicts.range() {
        lines.push(verdict_row(
            &listed[i],
            history,
            unseen,
            i == state.verdicts.index,
            paper,
        ));
    }
    if listed.is_empty() {
        lines.push(paper.line(
            "  none: a shows the verdicts of healthy use",
            paper.look.quiet(),
        ));
    }
    let room = paper.rows.saturating_sub(lines.len());
    if room >= 6 {
        lines.push(Line::default());
        lines.extend(findings::latest(state, paper, room - 1));
    }
    lines
}

/// The sentence, in so many lines at most.
pub fn answer(summary: &Summary, paper: &Paper, lines_max: usize) -> Vec<Line<'static>> {
    let (text, severity) = sentence(summary);
    let style = match severity {
        "info" => paper.look.good(),
        severity => paper.look.severity(severity),
    };
    let mut lines = wrap(&text, paper.cells);
    if lines.len() > lines_max {
        lines.truncate(lines_max);
        let last = lines.pop().unwrap_or_default();
        let room = paper.cells.saturating_sub(1);
        let last = super::fit(&last, room, "").into_owned();
        lines.push(last + paper.look.signs.ellipsis);
    }
    lines
        .into_iter()
        .map(|line| Line::styled(line, style))
        .collect()
}

/// Counts by severity, each with its last minutes.
pub fn severities(summary: &Summary, paper: &Paper) -> Vec<Line<'static>> {
    let history = &summary.history;
    let unseen = unseen_steps(summary);
    let columns = spark_columns(paper.cells.saturating_sub(29), history.steps);
    let head = format!(
        "{:10}{:>8} {:>8}  {}",
        "",
        "recent",
        "total",
        spark_title(columns, history)
    );
    let mut lines = vec![paper.line(&head, paper.look.quiet())];
    for (name, label) in SEVERITIES {
        let item = count_of(summary, name);
        let (recent, total) = item.map_or((0, 0), |item| (item.recent, item.total));
        let verdicts = summary
            .verdicts
            .iter()
            .filter(|item| item.severity.raw() == name);
        let values = added(history, verdicts);
        let style = if recent > 0 {
            paper.look.severity(name)
        } else {
            paper.look.quiet()
        };
        lines.push(Line::from(vec![
            Span::styled(format!("{label:10}"), style),
            Span::styled(paper.right(&count(recent), 8), style),
            Span::raw(format!(" {}  ", paper.right(&count(total), 8))),
            Span::styled(
                spark(&values, unseen, columns, paper),
                spark_style(name, paper),
            ),
        ]));
    }
    lines
}

fn spark_style(severity: &str, paper: &Paper) -> Style {
    match severity {
        "info" => paper.look.good(),
        severity => paper.look.severity(severity),
    }
}

/// Whether a severity gets one letter, so that there is room for a count.
fn is_narrow(paper: &Paper) -> bool {
    paper.cells < BEFORE_SPARK
}

/// Columns of a verdict's name, severity and counts.
const NAME: usize = 25;
const BEFORE_SPARK: usize = 2 + NAME + 1 + 8 + 1 + 7 + 1 + 7 + 2;

fn verdict_spark(history: &History, paper: &Paper) -> usize {
    let room = paper.cells.saturating_sub(BEFORE_SPARK);
    // On a wide screen the verdict's meaning stands beside it.
    spark_columns(if room > 100 { room / 2 } else { room }, history.steps)
}

fn verdict_head(kind: &str, history: &History, paper: &Paper) -> Line<'static> {
    let title = spark_title(verdict_spark(history, paper), history);
    let head = match is_narrow(paper) {
        true => format!("  {:name$} {:>7}", kind, "recent", name = NAME + 2),
        false => format!(
            "  {kind:NAME$} {:8} {:>7} {:>7}  {title}",
            "severity", "recent", "total"
        ),
    };
    paper.line(&head, paper.look.quiet())
}

fn verdict_row(
    item: &VerdictCount,
    history: &History,
    unseen: usize,
    chosen: bool,
    paper: &Paper,
) -> Line<'static> {
    let columns = verdict_spark(history, paper);
    let values = added(history, std::iter::once(item));
    let severity = item.severity.shown();
    let style = paper.look.severity(&severity);
    if is_narrow(paper) {
        let letter = severity.get(..1).unwrap_or(" ").to_uppercase();
        let name = NAME.min(paper.cells.saturating_sub(2 + 2 + 8));
        let spans = vec![
            Span::styled(format!("{letter} "), style),
            Span::raw(paper.left(&item.verdict.shown(), name)),
            Span::raw(format!(" {}", paper.right(&count(item.recent), 7))),
        ];
        return paper.row(chosen, spans);
    }
    let mut spans = vec![
        Span::raw(paper.left(&item.verdict.shown(), NAME)),
        Span::styled(format!(" {}", paper.left(&severity, 8)), style),
        Span::raw(format!(" {}", paper.right(&count(item.recent), 7))),
        Span::raw(format!(" {}  ", paper.right(&count(item.total), 7))),
        Span::styled(spark(&values, unseen, columns, paper), style),
    ];
    let rest = paper.cells.saturating_sub(BEFORE_SPARK + columns + 2);
    if rest >= 20 {
        let meaning = paper.left(&item.summary.shown(), rest);
        spans.push(Span::styled(format!("  {meaning}"), paper.look.quiet()));
    }
    paper.row(chosen, spans)
}

fn added<'a>(history: &History, verdicts: impl Iterator<Item = &'a VerdictCount>) -> Vec<u64> {
    let mut sums = vec![0; history.steps.min(1000)];
    for item in verdicts {
        let values = history
            .verdicts
            .get(item.verdict.raw())
            .into_iter()
            .flatten();
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
    }
    sums
}

/// Intervals that lie before the sidecar's start.
fn unseen_steps(summary: &Summary) -> usize {
    let history = &summary.history;
    let seen = (summary.uptime_s / history.step_s.max(0.001)).ceil();
    history.steps.saturating_sub(seen.min(1e6) as usize + 1)
}

/// Intervals that one column stands for when `room` columns are there.
fn group(columns: usize, steps: usize) -> usize {
    steps.div_ceil(columns.max(1)).max(1)
}

/// Columns of a drawing: as many as give each the same number of intervals.
fn spark_columns(room: usize, steps: usize) -> usize {
    if room == 0 {
        return 0;
    }
    steps.div_ceil(group(room, steps))
}

fn spark_title(columns: usize, history: &History) -> String {
    let all = history.step_s * history.steps as f64;
    let each = history.step_s * group(columns, history.steps) as f64;
    let long = format!("last {}, {} a column", span(all), span(each));
    match columns {
        0..12 => String::new(),
        _ if long.len() <= columns.max(24) => long,
        _ => format!("last {}", span(all)),
    }
}

/// Bars for the intervals; blank is the time before the sidecar's start, which is not known to have
/// been quiet.
fn spark(values: &[u64], unseen: usize, columns: usize, paper: &Paper) -> String {
    if columns == 0 {
        return String::new();
    }
    let size = group(columns, values.len());
    // The newest interval stands at the right border of a column.
    let first = values.len() % size;
    let (head, rest) = values.split_at(first);
    let groups = std::iter::once(head)
        .filter(|head| !head.is_empty())
        .chain(rest.chunks(size));
    let sums: Vec<(usize, u64)> = groups
        .scan(0, |end, group| {
            *end += group.len();
            Some((*end, group.iter().sum()))
        })
        .collect();
    let peak = sums.iter().map(|(_, sum)| *sum).max().unwrap_or(0).max(1);
    let bars = sums.iter().map(|&(end, sum)| match sum {
        0 if end <= unseen => " ",
        0 => paper.look.signs.bars[0],
        _ => paper.look.signs.bars[(sum * 8).div_ceil(peak) as usize],
    });
    bars.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::look::Look;

    const PAPER: Paper = Paper {
        look: Look::new(false, true),
        cells: 80,
        rows: 20,
    };

    #[test]
    fn bars_stand_for_intervals_and_the_unseen_is_blank() {
        assert_eq!(spark(&[0, 0, 1, 8, 0], 1, 5, &PAPER), " ·▁█·");
        // Two intervals a column; the odd one is the oldest.
        assert_eq!(spark(&[1, 1, 1, 2, 2], 0, 3, &PAPER), "▂▄█");
        assert_eq!(spark(&[0, 1], 0, 0, &PAPER), "");
        assert_eq!(spark(&[], 0, 9, &PAPER), "");
        let ascii = Paper {
            look: Look::new(false, false),
            ..PAPER
        };
        assert_eq!(spark(&[0, 1, 8], 0, 3, &ascii), ".18");
    }

    #[test]
    fn columns_share_the_intervals_evenly() {
        assert_eq!((spark_columns(90, 90), spark_columns(51, 90)), (90, 45));
        assert_eq!((spark_columns(25, 90), spark_columns(0, 90)), (23, 0));
        assert_eq!(
            spark(&[1; 90], 0, spark_columns(25, 90), &PAPER)
                .chars()
                .count(),
            23
        );
    }
}
