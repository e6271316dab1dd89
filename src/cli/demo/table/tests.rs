use super::*;
use crate::detect::finding::fixture;

const PAPER: Paper = Paper {
    columns: 80,
    rows: 24,
    colour: true,
};

fn finding(verdict: Verdict, message: &str) -> Arc<Finding> {
    Arc::new(Finding {
        at: Timestamp::from_micros(12_340_000),
        verdict,
        api: "demo.Checkout".into(),
        message: message.into(),
        ..fixture::finding(1)
    })
}

fn half_seen() -> Tally {
    let mut tally = Tally::default();
    let mut counts = [0; Verdict::ALL.len()];
    for (i, count) in counts.iter_mut().enumerate().step_by(2) {
        *count = 123 * i as u64 + 1;
    }
    tally.update(counts, Duration::from_millis(9870));
    tally
}

/// The lines as a terminal shows them, without what only colours them.
fn plain(lines: &[String]) -> Vec<String> {
    let strip = |line: &String| anstream::adapter::strip_str(line).to_string();
    lines.iter().map(strip).collect()
}

fn example(paper: Paper) -> Vec<String> {
    let tally = half_seen();
    let long = "x".repeat(500);
    let latest = vec![finding(Verdict::Orphaned, &long); 40];
    let hints: Vec<_> = (0..5)
        .map(|_| Hint {
            label: "metrics",
            text: long.clone(),
        })
        .collect();
    let view = View {
        tally: &tally,
        begun: Timestamp::from_micros(0),
        elapsed: Duration::from_millis(12_500),
        hints: &hints,
        scene: "orders: something",
        latest: &latest,
    };
    frame(&view, paper)
}

#[test]
fn a_small_terminal_is_filled_and_not_exceeded() {
    let lines = plain(&example(PAPER));
    assert_eq!(lines.len(), 24);
    for line in &lines {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for verdict in Verdict::ALL {
        let shown = lines
            .iter()
            .filter(|line| line.contains(&format!(" {verdict} ")));
        assert!(shown.count() >= 1, "{verdict}");
    }
    assert!(lines[0].contains("12.5 s") && lines[0].contains("12 of 24 verdicts seen"));
    assert!(
        lines
            .last()
            .unwrap()
            .starts_with("  12.3 s  W orphaned: xxx")
    );
    assert!(lines.last().unwrap().ends_with('…'));
}

#[test]
fn a_tall_terminal_explains_each_verdict() {
    let paper = Paper {
        columns: 120,
        rows: 40,
        colour: true,
    };
    let lines = plain(&example(paper));
    assert_eq!(lines.len(), 40);
    let row = lines
        .iter()
        .find(|line| line.starts_with("first_use "))
        .unwrap();
    let cells: Vec<_> = row.split_whitespace().take(5).collect();
    assert_eq!(cells, ["first_use", "info", "1", "9.9", "s"]);
    assert!(row.contains(Verdict::FirstUse.summary()));
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("sdk_retry ") && line.contains(" - "))
    );
}

#[test]
fn any_size_is_respected() {
    for (columns, rows) in [(1, 1), (20, 5), (79, 37), (300, 100)] {
        let paper = Paper {
            columns,
            rows,
            colour: true,
        };
        let lines = plain(&example(paper));
        assert!(lines.len() <= rows, "{columns}×{rows}");
        assert!(lines.iter().all(|line| line.chars().count() <= columns));
    }
}

#[test]
fn without_colour_there_are_no_escapes() {
    let paper = Paper {
        colour: false,
        ..PAPER
    };
    assert!(example(paper).iter().all(|line| !line.contains('\u{1b}')));
    assert!(example(PAPER).iter().any(|line| line.contains('\u{1b}')));
    let hostile = appearance(Verdict::Orphaned, Duration::ZERO, "a\u{1b}[2Jb", paper);
    assert!(!hostile.contains('\u{1b}'));
}

#[test]
fn the_final_table_is_aligned() {
    let paper = Paper {
        columns: usize::MAX,
        rows: usize::MAX,
        colour: false,
    };
    let lines = table(&half_seen(), paper);
    let when = lines[0].find("when").unwrap();
    for (line, verdict) in lines[1..].iter().zip(Verdict::ALL) {
        assert_eq!(line.find(verdict.summary()), Some(when), "{line}");
    }
    let totals = totals(&half_seen(), paper);
    assert!(
        totals.contains("W warning") && totals.contains("C critical"),
        "{totals}"
    );
}
