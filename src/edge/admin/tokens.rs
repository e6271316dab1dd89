//! What is known about tokens.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::query::Query;
use super::{Admin, Refusal, json};
use crate::detect::finding::{AttemptRecord, Seconds, Status};
use crate::detect::time::Timestamp;
use crate::detect::{Cursor, Search, TokenView};
use crate::edge::display::TokenDisplay;
use crate::edge::http::reply::Response;

impl Admin {
    /// The list, without attempts.
    pub(super) async fn tokens(
        self: &Arc<Self>,
        query: &str,
        now: Timestamp,
    ) -> Result<Response, Refusal> {
        let query = Query::parse(query, &["status", "api", "limit"])?;
        let status = query.one_of("status", &Status::ALL, Status::as_str)?;
        let mut search = Search::new(status, query.text("api"), query.limit()?);
        let find = |this: &Self| {
            let pipeline = &this.parts.pipeline;
            while pipeline.inspect(|detector| detector.search_on(&mut search)) {}
            pipeline.inspect(|detector| detector.found(search))
        };
        let mut views = self.off_thread(find).await;
        forget_expired(&mut views, now);
        Ok(self.tokens_json(&views, Detail::Count))
    }

    /// One token in full, by its text or by the way it is shown; once for each scope.
    pub(super) async fn token(
        self: &Arc<Self>,
        api: String,
        wanted: String,
        now: Timestamp,
    ) -> Result<Response, Refusal> {
        let pipeline = &self.parts.pipeline;
        let mut views = pipeline.inspect(|detector| detector.token(&api, &wanted));
        if views.is_empty() && self.parts.display.could_hide(&wanted) {
            views = self.search(&api, &wanted).await;
        }
        forget_expired(&mut views, now);
        if views.is_empty() {
            let (api, wanted) = (api.escape_debug(), wanted.escape_debug());
            let error = format!("token: {wanted} of {api} is not known (or no longer)");
            return Err(Refusal::NotFound(error));
        }
        Ok(self.tokens_json(&views, Detail::Attempts))
    }

    /// The tokens shown as `wanted`. Each has to be hashed, which happens outside the lock.
    async fn search(self: &Arc<Self>, api: &str, wanted: &str) -> Vec<TokenView> {
        let (api, wanted) = (api.to_owned(), wanted.to_owned());
        let find = move |this: &Self| {
            let (pipeline, display) = (&this.parts.pipeline, &this.parts.display);
            let (mut from, mut found) = (Cursor::default(), Vec::new());
            while let Some(texts) = pipeline.inspect(|d| d.texts(&api, &mut from)) {
                let texts = texts.iter().map(ToString::to_string);
                found.extend(texts.filter(|text| display.show(text) == wanted));
            }
            // A token has one text in each of its scopes.
            found.sort_unstable();
            found.dedup();
            let views = |text: &String| pipeline.inspect(|d| d.token(&api, text));
            found.iter().flat_map(views).collect()
        };
        self.off_thread(find).await
    }

    /// Looks through a full table, which takes many milliseconds: off the threads that serve ingest,
    /// and one at a time.
    async fn off_thread(
        self: &Arc<Self>,
        find: impl FnOnce(&Self) -> Vec<TokenView> + Send + 'static,
    ) -> Vec<TokenView> {
        let Ok(_one_at_a_time) = self.search.acquire().await else {
            return Vec::new();
        };
        let this = self.clone();
        let finding = tokio::task::spawn_blocking(move || find(&this));
        finding.await.unwrap_or_default()
    }

    fn tokens_json(&self, views: &[TokenView], detail: Detail) -> Response {
        let show = |view| token_json(view, &self.parts.display, detail);
        let tokens = views.iter().map(show).collect();
        json(StatusCode::OK, &TokensJson { tokens })
    }
}

/// What has expired is gone, even if nothing has swept it out yet.
fn forget_expired(views: &mut Vec<TokenView>, now: Timestamp) {
    views.retain(|view| view.expires > now);
}

#[derive(Clone, Copy, PartialEq)]
enum Detail {
    Count,
    Attempts,
}

#[derive(Serialize)]
struct TokensJson<'a> {
    tokens: Vec<TokenJson<'a>>,
}

#[derive(Serialize)]
struct TokenJson<'a> {
    api: &'a str,
    scope: &'a str,
    token: String,
    status: &'static str,
    first_start: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_success: Option<Seconds>,
    last_seen: Seconds,
    expires: Seconds,
    lifecycle: u32,
    attempt_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<Vec<AttemptJson<'a>>>,
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
}

fn token_json<'a>(view: &'a TokenView, display: &TokenDisplay, detail: Detail) -> TokenJson<'a> {
    let attempts = || view.attempts.iter().map(attempt_json).collect();
    TokenJson {
        api: &view.api,
        scope: &view.scope,
        token: display.show(&view.token),
        status: view.status.as_str(),
        first_start: Seconds(view.first_start),
        first_success: view.first_success.map(Seconds),
        last_seen: Seconds(view.last_seen),
        expires: Seconds(view.expires),
        lifecycle: view.lifecycle,
        attempt_count: view.attempts.len(),
        attempts: (detail == Detail::Attempts).then(attempts),
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::profile::Class;
    use crate::detect::verdict::Verdict;
    use crate::edge::display::HashKey;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros((1_700_000_000_000 + millis) * 1000)
    }

    fn view() -> TokenView {
        let first = AttemptRecord {
            client: Some("orders-1/77".into()),
            call: Some("c1".into()),
            number: 1,
            start: at(0),
            end: Some((at(1234), Class::NoResponse)),
            verdict: Some(Verdict::FirstUse),
            trace: None,
        };
        let open = AttemptRecord {
            client: None,
            call: None,
            number: 2,
            start: at(2000),
            end: None,
            verdict: None,
            trace: None,
        };
        TokenView {
            api: "stripe".into(),
            token: "o\"17\u{1b}".into(),
            scope: "".into(),
            status: Status::InFlight,
            first_start: at(0),
            first_success: None,
            last_seen: at(2000),
            expires: at(602_000),
            lifecycle: 1,
            attempts: vec![first, open],
        }
    }

    fn text(view: &TokenView, display: &TokenDisplay, detail: Detail) -> String {
        serde_json::to_string(&token_json(view, display, detail)).unwrap()
    }

    #[test]
    fn the_detail_has_the_attempts_and_no_unknown_keys() {
        let expected = concat!(
            r#"{"api":"stripe","scope":"","token":"o\"17\u001b","status":"in_flight","#,
            r#""first_start":1700000000.000,"last_seen":1700000002.000,"#,
            r#""expires":1700000602.000,"lifecycle":1,"attempt_count":2,"attempts":["#,
            r#"{"client":"orders-1/77","call":"c1","number":1,"start":1700000000.000,"#,
            r#""end":1700000001.234,"class":"no_response","verdict":"first_use"},"#,
            r#"{"number":2,"start":1700000002.000}]}"#,
        );
        assert_eq!(
            text(&view(), &TokenDisplay::Full, Detail::Attempts),
            expected
        );
    }

    #[test]
    fn the_list_counts_the_attempts_and_hides_the_token() {
        let mut view = view();
        view.first_success = Some(at(2500));
        view.status = Status::Succeeded;
        let display = TokenDisplay::Hash(HashKey::from_secret(b"secret"));
        let expected = format!(
            concat!(
                r#"{{"api":"stripe","scope":"","token":"{}","status":"succeeded","#,
                r#""first_start":1700000000.000,"first_success":1700000002.500,"#,
                r#""last_seen":1700000002.000,"expires":1700000602.000,"lifecycle":1,"#,
                r#""attempt_count":2}}"#,
            ),
            display.show(&view.token)
        );
        assert_eq!(text(&view, &display, Detail::Count), expected);
    }
}
