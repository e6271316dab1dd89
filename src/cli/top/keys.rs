//! What a key does. Pure: it changes the [`State`], or asks for something outside.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::cursor::{Cursor, Step};
use super::state::{LifeView, Over, State, View};
use super::wanted::{Choice, PAGE};

/// Longest search that the API takes as a token (SPEC §2).
const SEARCH_BYTES_MAX: usize = 512;

/// What must be done outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Quit,
    /// Give the terminal back to the shell until it says to go on.
    Suspend,
    /// Draw all of it anew.
    Redraw,
}

/// The keys as the help lists them.
pub const HELP: [(&str, &str); 18] = [
    ("1 2 3 4, tab", "views: now, findings, tokens, trust"),
    (
        "up down, j k",
        "choose a row; PgUp PgDn, Home End or g G go further",
    ),
    (
        "enter",
        "now: explain the verdict; findings, tokens: the token's timeline",
    ),
    (
        "e",
        "explain the chosen verdict: what it means and what to do",
    ),
    ("esc, backspace", "back; in a list: take the search away"),
    ("/", "search; enter looks for it, esc leaves it"),
    ("s", "findings: next severity; tokens: next status"),
    ("S", "tokens: all statuses, or open and unknown again"),
    ("a", "now: all verdicts; tokens: next API"),
    ("o", "tokens: sort by last seen, age or attempts"),
    ("r", "tokens: reverse the order"),
    ("n N", "tokens: next and previous page"),
    ("p", "findings: hold the list, or let it go on"),
    ("z", "timeline: the attempts, or the whole window"),
    ("ctrl-l", "draw the screen anew"),
    ("ctrl-z", "to the shell; fg comes back"),
    ("?", "this help"),
    ("q, ctrl-c", "quit"),
];

impl State {
    /// A key was pressed.
    pub fn key(&mut self, key: KeyEvent) -> Option<Request> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Some(Request::Quit),
                KeyCode::Char('z') => return Some(Request::Suspend),
                KeyCode::Char('l') => return Some(Request::Redraw),
                _ => {}
            }
        }
        if self.input.is_some() {
            self.type_key(key);
            return None;
        }
        if let Some(step) = step(key) {
            self.go(step);
            return None;
        }
        match key.code {
            KeyCode::Char('q') => return Some(Request::Quit),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help(),
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(View::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='4') => {
                self.over.clear();
                self.view = View::ALL[digit as usize - '1' as usize];
            }
            KeyCode::Esc | KeyCode::Backspace => self.back(),
            KeyCode::Enter => self.enter(),
            KeyCode::Char('e') => self.explain(),
            KeyCode::Char('z') => self.scale(),
            KeyCode::Char('/') if self.over.is_empty() => match self.view {
                View::Findings => self.input = Some(self.findings.search.clone()),
                View::Tokens => self.input = Some(self.tokens.query.search.clone()),
                _ => {}
            },
            KeyCode::Char(c) if self.over.is_empty() => self.list_key(c),
            _ => {}
        }
        None
    }

    /// Text was pasted.
    pub fn paste(&mut self, text: &str) {
        for c in text.chars() {
            self.type_key(KeyEvent::from(KeyCode::Char(c)));
        }
    }

    fn type_key(&mut self, key: KeyEvent) {
        let Some(input) = &mut self.input else {
            return;
        };
        match key.code {
            KeyCode::Esc => self.input = None,
            KeyCode::Enter => self.search(),
            KeyCode::Backspace => {
                input.pop();
            }
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => input.clear(),
            KeyCode::Char(c)
                if !key.modifiers.contains(KeyModifiers::CONTROL)
                    && !c.is_control()
                    && input.len() + c.len_utf8() <= SEARCH_BYTES_MAX =>
            {
                input.push(c);
            }
            _ => {}
        }
    }

    fn search(&mut self) {
        let text = self.input.take().unwrap_or_default();
        match self.view {
            View::Findings => {
                self.findings.search = text;
                self.findings.cursor = Cursor::default();
            }
            _ => {
                self.tokens.query.search = text;
                self.ask_anew();
            }
        }
    }

    fn list_key(&mut self, key: char) {
        let query = &mut self.tokens.query;
        match (self.view, key) {
            (View::Now, 'a') => self.all_verdicts = !self.all_verdicts,
            (View::Findings, 's') => {
                self.findings.severity = self.findings.severity.next();
                self.findings.cursor = Cursor::default();
            }
            (View::Findings, 'p' | ' ') => self.findings.pause(),
            (View::Tokens, 's') => {
                query.status = query.status.next();
                self.ask_anew();
            }
            (View::Tokens, 'S') => {
                use super::wanted::StatusFilter::{All, Undecided};
                query.status = if query.status == All { Undecided } else { All };
                self.ask_anew();
            }
            (View::Tokens, 'a') => self.next_api(),
            (View::Tokens, 'o') => {
                query.sort = query.sort.next();
                self.ask_anew();
            }
            (View::Tokens, 'r') => {
                query.ascending = !query.ascending;
                self.ask_anew();
            }
            (View::Tokens, 'n') => {
                self.next_page();
            }
            (View::Tokens, 'N') => {
                self.previous_page();
            }
            _ => {}
        }
    }

    /// All APIs, then each that has tokens.
    fn next_api(&mut self) {
        let profiles = self.summary.iter().flat_map(|summary| &summary.profiles);
        let used: Vec<_> = profiles
            .filter(|profile| profile.tokens.values().any(|count| *count > 0))
            .map(|profile| profile.api.clone())
            .collect();
        let query = &mut self.tokens.query;
        query.api = match &query.api {
            None => used.first().cloned(),
            Some(api) => {
                let here = used.iter().position(|name| name == api);
                here.and_then(|here| used.get(here + 1)).cloned()
            }
        };
        self.ask_anew();
    }

    fn ask_anew(&mut self) {
        self.tokens.query.offset = 0;
        self.tokens.page = None;
        self.tokens.cursor = Cursor::default();
    }

    fn next_page(&mut self) -> bool {
        let Some(page) = &self.tokens.page else {
            return false;
        };
        let next = self.tokens.query.offset + PAGE;
        let is_there = next < page.total;
        if is_there {
            self.ask_anew();
            self.tokens.query.offset = next;
        }
        is_there
    }

    fn previous_page(&mut self) -> bool {
        let offset = self.tokens.query.offset;
        if offset > 0 {
            self.ask_anew();
            self.tokens.query.offset = offset.saturating_sub(PAGE);
        }
        offset > 0
    }

    fn go(&mut self, step: Step) {
        match (self.over.last_mut(), self.view) {
            (Some(Over::Life(view)), _) => {
                view.cursor.go(step);
            }
            (Some(Over::Explain(_, cursor) | Over::Help(cursor)), _) => cursor.scroll(step),
            (None, View::Now) => {
                self.verdicts.go(step);
            }
            (None, View::Findings) => {
                self.findings.cursor.go(step);
            }
            (None, View::Trust) => self.trust.scroll(step),
            (None, View::Tokens) => {
                let stays = self.tokens.cursor.go(step);
                match step {
                    Step::Down | Step::PageDown if !stays => self.next_page(),
                    Step::Up | Step::PageUp if !stays => self.previous_page(),
                    _ => stays,
                };
            }
        }
    }

    fn turn(&mut self, by: usize) {
        self.over.clear();
        let here = View::ALL.iter().position(|view| *view == self.view);
        self.view = View::ALL[(here.unwrap_or(0) + by) % View::ALL.len()];
    }

    fn back(&mut self) {
        if self.over.pop().is_some() {
            return;
        }
        match self.view {
            View::Findings => self.findings.search.clear(),
            View::Tokens if !self.tokens.query.search.is_empty() => {
                self.tokens.query.search.clear();
                self.ask_anew();
            }
            _ => {}
        }
    }

    fn enter(&mut self) {
        match self.chosen_token() {
            Some(name) => {
                self.life = None;
                self.over.push(Over::Life(Box::new(LifeView {
                    name,
                    cursor: Cursor::default(),
                    whole_window: None,
                })));
            }
            None => self.explain(),
        }
    }

    fn explain(&mut self) {
        if let Some(verdict) = self.chosen_verdict() {
            self.over.push(Over::Explain(verdict, Cursor::default()));
        }
    }

    fn help(&mut self) {
        match self.over.last() {
            Some(Over::Help(_)) => drop(self.over.pop()),
            _ => self.over.push(Over::Help(Cursor::default())),
        }
    }

    fn scale(&mut self) {
        let automatic = self.shown_life().map(super::draw::timeline::fits_window);
        if let (Some(Over::Life(view)), Some(automatic)) = (self.over.last_mut(), automatic) {
            view.whole_window = Some(!view.whole_window.unwrap_or(automatic));
        }
    }
}

fn step(key: KeyEvent) -> Option<Step> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('b') if control => Step::PageUp,
        KeyCode::Char('f') if control => Step::PageDown,
        KeyCode::Up | KeyCode::Char('k') => Step::Up,
        KeyCode::Down | KeyCode::Char('j') => Step::Down,
        KeyCode::PageUp => Step::PageUp,
        KeyCode::PageDown => Step::PageDown,
        KeyCode::Home | KeyCode::Char('g') => Step::First,
        KeyCode::End | KeyCode::Char('G') => Step::Last,
        _ => return None,
    })
}
