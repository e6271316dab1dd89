//! One snapshot as plain text.

use super::draw::{Paper, findings, now, tokens, trust};
use super::look::Look;
use super::source::{Answer, FINDINGS_MAX, NoAnswer, Source};
use super::state::State;
use super::wanted::TokenQuery;
use super::{Failure, answer::FindingList, local_time};
use crate::cli::terminal;

/// Columns where there is no terminal.
const COLUMNS: usize = 100;
/// Findings that are printed in full.
const FINDINGS: usize = 10;

/// Asks once and writes it down.
///
/// # Errors
/// When the sidecar does not answer all of it.
pub async fn snapshot(source: Source, look: Look) -> Result<String, Failure> {
    let mut state = State::new(source.address.to_string());
    let address = source.address;
    ask(source, &mut state)
        .await
        .map_err(|error| Failure::Failed(format!("no sidecar answers at {address}: {error}")))?;
    let paper = Paper {
        // Words carry the meaning; a file has no colours.
        look: Look {
            colour: false,
            ..look
        },
        cells: terminal::columns().unwrap_or(COLUMNS),
        rows: usize::MAX,
    };
    Ok(text(&state, &paper))
}

async fn ask(source: Source, state: &mut State) -> Result<(), NoAnswer> {
    state.tick(local_time());
    state.answer(Answer::Summary(source.ask("summary").await?));
    let list: FindingList = source
        .ask(&format!("findings?limit={FINDINGS_MAX}"))
        .await?;
    state.answer(Answer::Findings(list.findings));
    let query = TokenQuery::default();
    let page = source.ask(&query.path()).await?;
    state.answer(Answer::Tokens(query, page));
    state.tick(local_time());
    Ok(())
}

fn text(state: &State, paper: &Paper) -> String {
    let Some(summary) = state.summary.as_deref() else {
        return String::new();
    };
    let blank = || vec![ratatui::text::Line::default()];
    let parts = [
        vec![paper.heading("Is anything wrong now?")],
        now::answer(summary, paper, usize::MAX),
        blank(),
        now::severities(summary, paper),
        blank(),
        findings::in_full(state, paper, FINDINGS),
        blank(),
        tokens::in_full(state, paper),
        blank(),
        vec![paper.heading("Can I trust this?")],
        trust::lines(summary, state.now(), paper),
    ];
    let lines = parts.into_iter().flatten();
    lines
        .map(|line| format!("{}\n", line.to_string().trim_end()))
        .collect()
}
