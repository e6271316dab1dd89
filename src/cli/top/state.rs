//! What is known and what the reader looks at. Pure: answers, keys and the time come in, questions
//! come out.

use super::answer::{Finding, Foreign, Life, Summary, TokenPage, VerdictCount};
use super::cursor::Cursor;
use super::source::{Answer, FINDINGS_MAX};
use super::wanted::{SeverityFilter, TokenName, TokenQuery, Wanted};

/// The views, each with its digit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    #[default]
    Now,
    Findings,
    Tokens,
    Trust,
}

impl View {
    /// In the order of their digits.
    pub const ALL: [Self; 4] = [Self::Now, Self::Findings, Self::Tokens, Self::Trust];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Now => "Now",
            Self::Findings => "Findings",
            Self::Tokens => "Tokens",
            Self::Trust => "Trust",
        }
    }
}

/// What lies over the view until Esc takes it away.
#[derive(Clone, Debug, PartialEq)]
pub enum Over {
    /// One token's timeline.
    Life(Box<LifeView>),
    /// A verdict by its name, and how far it was read.
    Explain(String, Cursor),
    /// The keys.
    Help(Cursor),
}

#[derive(Clone, Debug, PartialEq)]
pub struct LifeView {
    pub name: TokenName,
    pub cursor: Cursor,
    /// Draw the whole window instead of the attempts alone; `None`: whatever can be read.
    pub whole_window: Option<bool>,
}

/// Whether the sidecar answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    /// Nothing was heard yet.
    Asking,
    Live,
    /// It did not answer so many times in a row, the last time because of this.
    Lost {
        times: u32,
        why: String,
    },
}

/// The list of findings.
#[derive(Debug, Default)]
pub struct FindingsView {
    all: Vec<Finding>,
    pub severity: SeverityFilter,
    pub search: String,
    pub cursor: Cursor,
    /// What came while the list stands still.
    held: Option<Vec<Finding>>,
    /// Whether an answer has come.
    pub asked: bool,
}

impl FindingsView {
    /// Those that the reader wants to see, newest first.
    pub fn shown(&self) -> Vec<&Finding> {
        let wanted = self.search.to_lowercase();
        let all = self.all.iter();
        all.filter(|finding| self.matches(finding, &wanted))
            .collect()
    }

    fn matches(&self, finding: &Finding, wanted: &str) -> bool {
        let severity = self.severity.words();
        if self.severity != SeverityFilter::All && finding.severity.raw() != severity {
            return false;
        }
        let of = |text: &Foreign| {
            text.raw().to_lowercase().contains(wanted)
                || text.shown().to_lowercase().contains(wanted)
        };
        let optional = [&finding.client, &finding.call].into_iter().flatten();
        let fields = [
            &finding.verdict,
            &finding.api,
            &finding.token,
            &finding.message,
        ];
        wanted.is_empty() || fields.into_iter().chain(optional).any(of)
    }

    pub fn chosen(&self) -> Option<&Finding> {
        self.shown().get(self.cursor.index).copied()
    }

    /// The newest ones whatever the filter says.
    pub fn newest(&self, count: usize) -> &[Finding] {
        &self.all[..count.min(self.all.len())]
    }

    /// How many there are whatever the filter says.
    pub fn total(&self) -> usize {
        self.all.len()
    }

    /// New ones that wait until the list moves again; `None`: it moves.
    pub fn waiting(&self) -> Option<usize> {
        let held = self.held.as_ref()?;
        let is_new = |finding: &&Finding| !self.all.iter().any(|known| known.is(finding));
        Some(held.iter().filter(is_new).count())
    }

    /// Stops the list, or lets it go on.
    pub fn pause(&mut self) {
        match self.held.take() {
            None => self.held = Some(self.all.clone()),
            Some(held) => self.replace(held),
        }
    }

    fn take(&mut self, mut findings: Vec<Finding>) {
        findings.truncate(FINDINGS_MAX);
        self.asked = true;
        match &mut self.held {
            Some(held) => *held = findings,
            None => self.replace(findings),
        }
    }

    /// Who reads the newest one goes on with the newest; who reads another one keeps it.
    fn replace(&mut self, findings: Vec<Finding>) {
        let kept = self.chosen().filter(|_| self.cursor.index > 0).cloned();
        self.all = findings;
        if let Some(kept) = kept {
            let place = self.shown().iter().position(|finding| finding.is(&kept));
            self.cursor.index = place.unwrap_or(self.cursor.index);
        }
    }
}

/// The list of tokens.
#[derive(Debug, Default)]
pub struct TokensView {
    pub query: TokenQuery,
    /// The page that the query asks for, once it is there.
    pub page: Option<TokenPage>,
    pub cursor: Cursor,
}

/// Everything that is drawn.
#[derive(Debug)]
pub struct State {
    /// Where the sidecar is asked.
    pub address: String,
    pub link: Link,
    pub view: View,
    pub over: Vec<Over>,
    pub summary: Option<Box<Summary>>,
    /// Show the verdicts of healthy use, and those not given yet, too.
    pub all_verdicts: bool,
    pub verdicts: Cursor,
    pub findings: FindingsView,
    pub tokens: TokensView,
    /// The token whose timeline is on top; `None` inside: it is not known, or no longer.
    pub life: Option<(TokenName, Option<Box<Life>>)>,
    pub trust: Cursor,
    /// The line being typed after `/`.
    pub input: Option<String>,
    /// What a question was refused with.
    pub refused: Option<String>,
    /// Clock here minus clock there, at the last answer.
    clock_offset: f64,
    /// The time here.
    local: f64,
}

impl State {
    pub fn new(address: String) -> Self {
        Self {
            address,
            link: Link::Asking,
            view: View::default(),
            over: Vec::new(),
            summary: None,
            all_verdicts: false,
            verdicts: Cursor::default(),
            findings: FindingsView::default(),
            tokens: TokensView::default(),
            life: None,
            trust: Cursor::default(),
            input: None,
            refused: None,
            clock_offset: 0.0,
            local: 0.0,
        }
    }

    /// The sidecar's time in Unix seconds.
    pub fn now(&self) -> f64 {
        self.local - self.clock_offset
    }

    /// Time goes on: `local` in Unix seconds.
    pub fn tick(&mut self, local: f64) {
        self.local = local;
    }

    /// Takes an answer in.
    pub fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Summary(summary) => {
                self.link = Link::Live;
                self.refused = None;
                self.clock_offset = self.local - summary.now;
                self.summary = Some(summary);
            }
            Answer::Findings(findings) => self.findings.take(findings),
            // An answer that a later question overtook is dropped.
            Answer::Tokens(query, page) if query == self.tokens.query => self.take_page(page),
            Answer::Tokens(..) => {}
            Answer::Life(name, life) => {
                if self.life_name() == Some(&name) {
                    self.life = Some((name, life));
                }
            }
            Answer::Refused(why) => self.refused = Some(why),
            Answer::Lost(why) => {
                let times = match self.link {
                    Link::Lost { times, .. } => times.saturating_add(1),
                    _ => 1,
                };
                self.link = Link::Lost { times, why };
            }
        }
    }

    fn take_page(&mut self, page: TokenPage) {
        let query = &mut self.tokens.query;
        if page.tokens.is_empty() && query.offset > 0 {
            // The page has emptied meanwhile.
            query.offset = 0;
            return;
        }
        self.tokens.page = Some(page);
    }

    /// What to ask for.
    pub fn wanted(&self) -> Wanted {
        let in_view = self.view == View::Tokens && self.over.is_empty();
        Wanted {
            tokens: in_view.then(|| self.tokens.query.clone()),
            life: self.life_name().cloned(),
        }
    }

    /// The token whose timeline is on top, or right below an explanation.
    pub fn life_name(&self) -> Option<&TokenName> {
        self.over.iter().rev().find_map(|over| match over {
            Over::Life(view) => Some(&view.name),
            _ => None,
        })
    }

    /// The timeline on top, if the answer is there.
    pub fn shown_life(&self) -> Option<&Life> {
        let (name, life) = self.life.as_ref()?;
        (Some(name) == self.life_name()).then_some(())?;
        life.as_deref()
    }

    /// The verdicts of the view "Now": worst first.
    pub fn listed_verdicts(&self) -> Vec<&VerdictCount> {
        let all = self.summary.iter().flat_map(|summary| &summary.verdicts);
        let mut listed: Vec<_> = all
            .filter(|item| self.all_verdicts || (item.total > 0 && item.severity.raw() != "info"))
            .collect();
        listed.sort_by_key(|item| rank(item.severity.raw()));
        listed
    }

    /// The verdict that an explanation would be about.
    pub fn chosen_verdict(&self) -> Option<String> {
        let verdict = match (self.over.last(), self.view) {
            (Some(Over::Life(view)), _) => {
                let life = self.shown_life()?;
                let found = view.cursor.index.checked_sub(life.attempts.len());
                match found {
                    None => life.attempts[view.cursor.index].verdict.as_ref()?,
                    Some(i) => &life.findings.iter().rev().nth(i)?.verdict,
                }
            }
            (Some(_), _) => return None,
            (None, View::Now) => &self.listed_verdicts().get(self.verdicts.index)?.verdict,
            (None, View::Findings) => &self.findings.chosen()?.verdict,
            (None, _) => return None,
        };
        Some(verdict.raw().to_owned())
    }

    /// The token that a timeline would be about.
    pub fn chosen_token(&self) -> Option<TokenName> {
        if !self.over.is_empty() {
            return None;
        }
        let (api, scope, token) = match self.view {
            View::Findings => {
                let finding = self.findings.chosen()?;
                (&finding.api, &finding.scope, &finding.token)
            }
            View::Tokens => {
                let page = self.tokens.page.as_ref()?;
                let token = page.tokens.get(self.tokens.cursor.index)?;
                (&token.api, &token.scope, &token.token)
            }
            _ => return None,
        };
        Some(TokenName {
            api: api.clone(),
            scope: scope.clone(),
            token: token.clone(),
        })
    }
}

/// Worst first; what is not known, last.
pub fn rank(severity: &str) -> usize {
    let all = ["critical", "error", "warning", "info"];
    let place = all.iter().position(|name| *name == severity);
    place.unwrap_or(all.len())
}
