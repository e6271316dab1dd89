//! What a verdict means, at length.

use http::StatusCode;
use serde::Serialize;

use super::{Refusal, json};
use crate::detect::verdict::Verdict;
use crate::edge::http::reply::Response;

/// In the texts, a line that begins with two spaces is a command or query to copy.
#[derive(Serialize)]
struct ExplanationJson {
    verdict: &'static str,
    severity: &'static str,
    summary: &'static str,
    remedy: &'static str,
    retry: &'static str,
    what: &'static str,
    why: &'static str,
    confirm: &'static str,
    fix: &'static str,
}

/// The explanation of the verdict called `name`.
pub(super) fn explain(name: &str) -> Result<Response, Refusal> {
    let verdict: Verdict = name
        .parse()
        .map_err(|error| Refusal::NotFound(format!("verdict: {error}")))?;
    let long = verdict.explanation();
    let explanation = ExplanationJson {
        verdict: verdict.as_str(),
        severity: verdict.severity().as_str(),
        summary: verdict.summary(),
        remedy: long.remedy,
        retry: long.retry,
        what: long.what,
        why: long.why,
        confirm: long.confirm,
        fix: long.fix,
    };
    Ok(json(StatusCode::OK, &explanation))
}
