//! The list of findings.

use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

use super::query::Query;
use super::{Admin, Refusal, json};
use crate::detect::verdict::{Severity, Verdict};
use crate::edge::http::reply::Response;

#[derive(Serialize)]
struct FindingsJson {
    findings: Vec<Box<RawValue>>,
}

impl Admin {
    /// Newest first. `severity` and `verdict` select exactly what they name.
    pub(super) fn findings(&self, query: &str) -> Result<Response, Refusal> {
        let query = Query::parse(query, &["severity", "verdict", "api", "limit"])?;
        let severity = query.one_of("severity", &Severity::ALL, Severity::as_str)?;
        let verdict = query.one_of("verdict", &Verdict::ALL, Verdict::as_str)?;
        let (api, limit) = (query.text("api"), query.limit()?);
        let found = self.parts.findings.list(
            |finding| {
                severity.is_none_or(|wanted| finding.severity() == wanted)
                    && verdict.is_none_or(|wanted| finding.verdict == wanted)
                    && api.is_none_or(|wanted| *finding.api == *wanted)
            },
            limit,
        );
        let show = |token: &str| self.parts.display.show(token);
        let found = found.iter().map(|finding| finding.json(&show, true));
        let findings = found.filter_map(|text| RawValue::from_string(text).ok());
        let findings = findings.collect();
        Ok(json(StatusCode::OK, &FindingsJson { findings }))
    }
}
