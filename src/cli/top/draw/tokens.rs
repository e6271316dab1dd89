//! Which tokens are open, unknown or stuck: a list to filter, search, sort and turn over.

use ratatui::text::{Line, Span};

use super::Paper;
use crate::cli::top::answer::{Token, TokenPage};
use crate::cli::top::state::State;
use crate::cli::top::text::{brief, count, visible};
use crate::cli::top::wanted::{PAGE, StatusFilter, TokenQuery};

pub fn body(state: &mut State, paper: &Paper) -> Vec<Line<'static>> {
    let now = state.now();
    let tokens = &mut state.tokens;
    let mut lines = vec![filter_line(&tokens.query, paper)];
    let Some(page) = &tokens.page else {
        lines.push(Line::default());
        lines.push(paper.line("Asking for the tokens.", paper.look.quiet()));
        return lines;
    };
    if page.tokens.is_empty() {
        lines.push(Line::default());
        let text = nothing(&tokens.query, page.complete);
        lines.extend(paper.paragraph("", &text, paper.look.good()));
        return lines;
    }
    let columns = Columns::of(&page.tokens, paper);
    lines.push(columns.head(&tokens.query, paper));
    let room = paper.rows.saturating_sub(lines.len() + 1);
    tokens.cursor.place(page.tokens.len(), room);
    let cursor = tokens.cursor;
    for i in cursor.range() {
        lines.push(columns.row(&page.tokens[i], i == cursor.index, now, paper));
    }
    let range = range_line(page, cursor.range(), paper);
    // The line below the list keeps its place however long the list is.
    lines.resize(
        paper.rows.saturating_sub(1).max(lines.len()),
        Line::default(),
    );
    lines.push(range);
    lines
}

fn filter_line(query: &TokenQuery, paper: &Paper) -> Line<'static> {
    let api = query.api.as_ref().map_or("all".into(), |api| api.shown());
    let order = if query.ascending { "up" } else { "down" };
    let search = match &*query.search {
        "" => String::new(),
        search => format!("  search: {}", visible(search)),
    };
    let status = query.status.words();
    let sort = query.sort.words();
    let text = format!("Tokens  status: {status}{search}  API: {api}  sort: {sort}, {order}");
    paper.line(&text, paper.look.head())
}

/// Which of how many.
fn range_line(page: &TokenPage, seen: std::ops::Range<usize>, paper: &Paper) -> Line<'static> {
    let (from, to) = (page.offset + seen.start + 1, page.offset + seen.end);
    let cut = if page.complete {
        ""
    } else {
        ", not all were searched"
    };
    let more = if page.total > PAGE {
        "; n N turn the page"
    } else {
        ""
    };
    let number = |n: usize| count(n as u64);
    let text = format!(
        "{} to {} of {}{cut}{more}",
        number(from),
        number(to),
        number(page.total)
    );
    paper.line(&text, paper.look.quiet())
}

fn nothing(query: &TokenQuery, complete: bool) -> String {
    let what = match query.status {
        StatusFilter::All => "No token".to_owned(),
        status => format!("No {} token", status.words()),
    };
    let api = query.api.as_ref();
    let of = api.map_or(String::new(), |api| format!(" of {api}"));
    if !complete {
        return format!(
            "{what}{of} matches the search among those that were searched: there are too many for \
             one search. s and a choose a status and an API; or search for a whole token."
        );
    }
    if !query.search.is_empty() {
        return format!(
            "{what}{of} matches the search. It looks for a whole token, or a part of what is shown \
             here. esc takes the search away, s changes the status."
        );
    }
    match query.status {
        StatusFilter::All => {
            format!("{what}{of} is known yet: none was reported since the sidecar started.")
        }
        _ => format!("{what}{of}: none waits for its outcome. S shows all tokens."),
    }
}

/// How wide each column is.
struct Columns {
    token: usize,
    api: usize,
    status: usize,
}

impl Columns {
    /// Attempts, age and last seen.
    const NUMBERS: usize = 9 + 1 + 7 + 1 + 10;
    const STATUS: usize = 14;

    fn of(tokens: &[Token], paper: &Paper) -> Self {
        let is_narrow = paper.cells < 76;
        let status = if is_narrow { 8 } else { Self::STATUS };
        let numbers = if is_narrow { 11 } else { Self::NUMBERS + 1 };
        let room = paper.cells.saturating_sub(2 + status + 1 + numbers);
        let longest = |name: fn(&Token) -> String| {
            tokens
                .iter()
                .map(|token| super::width(&name(token)))
                .max()
                .unwrap_or(0)
        };
        let token = longest(|token| token.token.to_string());
        let api = longest(place);
        let token = match is_narrow {
            true => room,
            // Hashes are 16 digits; what is longer gets what the API's name leaves.
            false => token.clamp(5, room.saturating_sub(api.min(room / 2) + 1).max(8)),
        };
        Self {
            token,
            status,
            api: room.saturating_sub(token + 1),
        }
    }

    fn head(&self, query: &TokenQuery, paper: &Paper) -> Line<'static> {
        use crate::cli::top::wanted::Sort::{Attempts, FirstStart, LastSeen};
        let sorted = |sort, name: &str| match query.sort == sort {
            // Words, not arrows: the age grows while the time of start goes back.
            true => format!("*{name}"),
            false => name.to_owned(),
        };
        let mut text = format!("  {}", paper.left("token", self.token));
        if self.api > 0 {
            text += &format!(" {}", paper.left("API", self.api));
        }
        text += &format!(" {}", paper.left("status", self.status));
        if self.api > 0 {
            text += &format!(" {:>9}", sorted(Attempts, "attempts"));
            text += &format!(" {:>7}", sorted(FirstStart, "age"));
        }
        text += &format!(" {:>10}", sorted(LastSeen, "last seen"));
        paper.line(&text, paper.look.quiet())
    }

    fn row(&self, token: &Token, chosen: bool, now: f64, paper: &Paper) -> Line<'static> {
        let style = match (token.stuck, token.status.raw()) {
            (true, _) => paper.look.severity("error"),
            (_, "unknown") => paper.look.severity("warning"),
            _ => ratatui::style::Style::new(),
        };
        let mut spans = vec![Span::raw(paper.left(&token.token.shown(), self.token))];
        if self.api > 0 {
            spans.push(Span::raw(format!(
                " {}",
                paper.left(&place(token), self.api)
            )));
        }
        // What does not fit must not leave out the worse half.
        let status = match token.stuck && self.status < Self::STATUS {
            true => "stuck".into(),
            false => token.status_words(),
        };
        spans.push(Span::styled(
            format!(" {}", paper.left(&status, self.status)),
            style,
        ));
        if self.api > 0 {
            spans.push(Span::raw(format!(
                " {}",
                paper.right(&count(token.attempt_count), 9)
            )));
            spans.push(Span::raw(format!(" {:>7}", brief(now - token.first_start))));
        }
        spans.push(Span::raw(format!(" {:>10}", brief(now - token.last_seen))));
        paper.row(chosen, spans)
    }
}

/// API and, if there is one, scope.
fn place(token: &Token) -> String {
    match token.scope.raw() {
        "" => token.api.to_string(),
        _ => format!("{} {}", token.api, token.scope),
    }
}

/// The undecided ones, for a reader who has no keys.
pub fn in_full(state: &State, paper: &Paper) -> Vec<Line<'static>> {
    let mut lines = vec![paper.heading("Tokens that are open or unknown")];
    let Some(page) = &state.tokens.page else {
        return lines;
    };
    let query = &state.tokens.query;
    if page.tokens.is_empty() {
        lines.push(Line::raw("None: all outcomes are known."));
        return lines;
    }
    let columns = Columns::of(&page.tokens, paper);
    lines.push(columns.head(query, paper));
    let rows = page
        .tokens
        .iter()
        .map(|token| columns.row(token, false, state.now(), paper));
    lines.extend(rows);
    lines.push(range_line(page, 0..page.tokens.len(), paper));
    lines
}
