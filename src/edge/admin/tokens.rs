//! What is known about tokens.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

use super::query::Query;
use super::summary::anchor;
use super::walk::{Found, Order, Question, Search, Sort, group};
use super::{Admin, Refusal, duration, json};
use crate::detect::finding::{AttemptRecord, Seconds, Status};
use crate::detect::profile::Profile;
use crate::detect::text::Text;
use crate::detect::time::Timestamp;
use crate::detect::{Selection, TokenSummary, TokenView};
use crate::edge::display::TokenDisplay;
use crate::edge::http::reply::Response;

/// Tokens shown in full for one text; it has one in each scope.
const SCOPES_MAX: usize = 32;
/// Findings shown with one token.
const FINDINGS_MAX: usize = 64;
/// What `status` may be, besides the name of a status.
const GROUPS: [&str; 2] = ["undecided", "stuck"];

impl Admin {
    /// The list, without attempts.
    pub(super) async fn tokens(
        self: &Arc<Self>,
        query: &str,
        now: Timestamp,
    ) -> Result<Response, Refusal> {
        let known = ["status", "api", "q", "sort", "order", "offset", "limit"];
        let query = Query::parse(query, &known)?;
        let (statuses, stuck) = statuses(&query)?;
        let (offset, limit) = (query.offset()?, query.limit()?);
        let question = Question {
            selection: Selection {
                api: query.text("api").map(Box::from),
                statuses,
                stuck,
            },
            search: query
                .text("q")
                .map_or(Search::Any, |part| Search::Part(part.to_owned())),
            sort: query
                .one_of("sort", &Sort::ALL, Sort::as_str)?
                .unwrap_or(Sort::LastSeen),
            order: query
                .one_of("order", &Order::ALL, Order::as_str)?
                .unwrap_or(Order::Descending),
            offset,
            limit,
        };
        let Found {
            tokens,
            total,
            complete,
        } = self.list(question, now).await;
        self.remember(tokens.iter().map(|token| &token.token));
        let show = |token| token_json(token, &self.parts.display);
        Ok(json(
            StatusCode::OK,
            &TokensJson {
                tokens: tokens.iter().map(show).collect(),
                total,
                offset,
                complete,
            },
        ))
    }

    /// One token in full, by its text or by the way it is shown; once for each scope.
    pub(super) async fn token(
        self: &Arc<Self>,
        api: String,
        wanted: String,
        now: Timestamp,
    ) -> Result<Response, Refusal> {
        let views = self.find(&api, &wanted, now).await;
        if views.is_empty() {
            let (api, wanted) = (api.escape_debug(), wanted.escape_debug());
            let error = format!("token: {wanted} of {api} is not known (or no longer)");
            return Err(Refusal::NotFound(error));
        }
        let profile = self
            .parts
            .pipeline
            .inspect(|detector| detector.profiles()[detector.profile_of(&api).0].clone());
        let tokens = views.iter().map(|view| self.detail(view, &profile));
        Ok(json(
            StatusCode::OK,
            &DetailsJson {
                tokens: tokens.collect(),
            },
        ))
    }

    /// The tokens, one in each scope, that `wanted` names. What is shown of a token is a keyed hash of
    /// it, so a page that comes back for the same one is not worth hashing a whole table again.
    async fn find(self: &Arc<Self>, api: &str, wanted: &str, now: Timestamp) -> Vec<TokenView> {
        let remembered = self.shown().get(wanted).map(ToString::to_string);
        for text in remembered.iter().map(String::as_str).chain([wanted]) {
            let views = self.look_up(api, text, now);
            if !views.is_empty() {
                return views;
            }
        }
        if !self.parts.display.could_hide(wanted) {
            return Vec::new();
        }
        let texts = self.texts_behind(api, wanted, now).await;
        self.remember(&texts);
        let views = texts
            .iter()
            .flat_map(|text| self.look_up(api, &text.to_string(), now));
        views.take(SCOPES_MAX).collect()
    }

    /// The tokens that are `text`, one in each scope.
    fn look_up(&self, api: &str, text: &str, now: Timestamp) -> Vec<TokenView> {
        let pipeline = &self.parts.pipeline;
        let (mut views, mut next) = (Vec::new(), Some(0));
        while let Some(from) = next
            && views.len() < SCOPES_MAX
        {
            next = pipeline.inspect(|d| d.tokens_of((api, text), from, now, &mut views));
        }
        views.truncate(SCOPES_MAX);
        views
    }

    /// Remembers what is behind tokens that are about to be shown, where that is one text.
    fn remember<'a>(&self, texts: impl IntoIterator<Item = &'a Text>) {
        if !matches!(self.parts.display, TokenDisplay::Hash(_)) {
            return;
        }
        for text in texts {
            let shown = self.parts.display.show(&text.to_string());
            self.shown().put(shown, text.clone());
        }
    }

    fn detail<'a>(&self, view: &'a TokenView, profile: &Profile) -> DetailJson<'a> {
        let token = &view.summary;
        let text = token.token.to_string();
        let findings = self.parts.findings.list(
            |finding| {
                *finding.token == *text && finding.api == token.api && finding.scope == token.scope
            },
            FINDINGS_MAX,
        );
        let show = |token: &str| self.parts.display.show(token);
        let findings = findings.iter().map(|finding| finding.json(&show, true));
        DetailJson {
            token: token_json(token, &self.parts.display),
            window_s: duration(profile.window),
            window_anchor: anchor(profile.window_anchor),
            lease_s: duration(profile.lease),
            attempts: view.attempts.iter().map(attempt_json).collect(),
            findings: findings
                .filter_map(|text| RawValue::from_string(text).ok())
                .collect(),
        }
    }
}

fn statuses(query: &Query) -> Result<(Vec<Status>, bool), Refusal> {
    let Some(name) = query.text("status") else {
        return Ok((Status::ALL.to_vec(), false));
    };
    group(name).ok_or_else(|| {
        let names: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
        let (names, groups) = (names.join(", "), GROUPS.join(", "));
        Refusal::Bad(format!("status: {name:?} is not one of {names}, {groups}"))
    })
}

#[derive(Serialize)]
struct TokensJson<'a> {
    tokens: Vec<TokenJson<'a>>,
    /// How many there are, on all pages.
    total: usize,
    offset: usize,
    /// Whether all tokens were searched; else only as many as one search may.
    complete: bool,
}

#[derive(Serialize)]
struct TokenJson<'a> {
    api: &'a str,
    scope: &'a str,
    token: String,
    status: &'static str,
    /// Undecided for longer than a lease.
    stuck: bool,
    first_start: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_success: Option<Seconds>,
    last_seen: Seconds,
    expires: Seconds,
    lifecycle: u32,
    attempt_count: usize,
}

#[derive(Serialize)]
struct DetailsJson<'a> {
    tokens: Vec<DetailJson<'a>>,
}

/// A token with its attempts, its findings that are still kept, and the rules that judge it.
#[derive(Serialize)]
struct DetailJson<'a> {
    #[serde(flatten)]
    token: TokenJson<'a>,
    window_s: Seconds,
    window_anchor: &'static str,
    lease_s: Seconds,
    attempts: Vec<AttemptJson<'a>>,
    findings: Vec<Box<RawValue>>,
}

#[derive(Serialize)]
struct AttemptJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<&'a str>,
    number: u64,
    start: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

fn token_json<'a>(token: &'a TokenSummary, display: &TokenDisplay) -> TokenJson<'a> {
    TokenJson {
        api: &token.api,
        scope: &token.scope,
        token: display.show(&token.token.to_string()),
        status: token.status.as_str(),
        stuck: token.stuck,
        first_start: Seconds(token.first_start),
        first_success: token.first_success.map(Seconds),
        last_seen: Seconds(token.last_seen),
        expires: Seconds(token.expires),
        lifecycle: token.lifecycle,
        attempt_count: token.attempt_count,
    }
}

fn attempt_json(attempt: &AttemptRecord) -> AttemptJson<'_> {
    AttemptJson {
        client: attempt.client.as_deref(),
        call: attempt.call.as_deref(),
        number: attempt.number,
        start: Seconds(attempt.start),
        end: attempt.end.map(|(end, _)| Seconds(end)),
        class: attempt.end.map(|(_, class)| class.as_str()),
        verdict: attempt.verdict.map(|verdict| verdict.as_str()),
        trace_id: attempt.trace.map(|trace| trace.trace_id_hex()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::profile::Class;
    use crate::detect::trace::TraceContext;
    use crate::detect::verdict::Verdict;
    use crate::edge::display::HashKey;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros((1_700_000_000_000 + millis) * 1000)
    }

    #[test]
    fn a_summary_shows_the_token_as_it_may_be_shown() {
        let token = TokenSummary {
            api: "stripe".into(),
            token: Text::new("o\"17\u{1b}"),
            scope: "".into(),
            status: Status::Succeeded,
            stuck: false,
            first_start: at(0),
            first_success: Some(at(2500)),
            last_seen: at(2000),
            expires: at(602_000),
            lifecycle: 1,
            attempt_count: 2,
        };
        let text = |display| serde_json::to_string(&token_json(&token, display)).unwrap();
        let expected = |shown: &str| {
            format!(
                concat!(
                    r#"{{"api":"stripe","scope":"","token":"{}","status":"succeeded","#,
                    r#""stuck":false,"first_start":1700000000.000,"#,
                    r#""first_success":1700000002.500,"last_seen":1700000002.000,"#,
                    r#""expires":1700000602.000,"lifecycle":1,"attempt_count":2}}"#,
                ),
                shown
            )
        };
        assert_eq!(text(&TokenDisplay::Full), expected(r#"o\"17\u001b"#));
        let display = TokenDisplay::Hash(HashKey::from_secret(b"secret"));
        assert_eq!(text(&display), expected(&display.show("o\"17\u{1b}")));
    }

    #[test]
    fn an_attempt_has_no_unknown_keys() {
        let mut attempt = AttemptRecord {
            client: Some("orders-1/77".into()),
            call: Some("c1".into()),
            number: 1,
            start: at(0),
            end: Some((at(1234), Class::NoResponse)),
            verdict: Some(Verdict::FirstUse),
            trace: TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        };
        let text = |attempt: &_| serde_json::to_string(&attempt_json(attempt)).unwrap();
        let expected = concat!(
            r#"{"client":"orders-1/77","call":"c1","number":1,"start":1700000000.000,"#,
            r#""end":1700000001.234,"class":"no_response","verdict":"first_use","#,
            r#""trace_id":"0af7651916cd43dd8448eb211c80319c"}"#,
        );
        assert_eq!(text(&attempt), expected);
        attempt = AttemptRecord {
            client: None,
            call: None,
            end: None,
            verdict: None,
            trace: None,
            ..attempt
        };
        assert_eq!(text(&attempt), r#"{"number":1,"start":1700000000.000}"#);
    }
}
