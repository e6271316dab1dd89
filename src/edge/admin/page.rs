//! The page for people: a document and what it loads, all of it in this binary.

use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY};

use super::Refusal;
use crate::edge::http::reply::{HTML, Response, reply, with};

/// Own files only, no markup from text, no frames around it, nothing sent anywhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal $content_type:ident;)*) => {
        &[$(($name, $content_type, include_str!(concat!("../page/", $name)))),*]
    };
}

/// What the document loads, below `/page/`.
const FILES: &[(&str, &str, &str)] = files! {
    "app.js" SCRIPT;
    "dom.js" SCRIPT;
    "explanation.js" SCRIPT;
    "findings.js" SCRIPT;
    "format.js" SCRIPT;
    "icon.svg" IMAGE;
    "links.js" SCRIPT;
    "overview.js" SCRIPT;
    "page.css" STYLE;
    "source.js" SCRIPT;
    "theme.js" SCRIPT;
    "timeline.js" SCRIPT;
    "token.js" SCRIPT;
    "tokens.js" SCRIPT;
    "trust.js" SCRIPT;
};

/// The document.
pub(super) fn index() -> Response {
    guarded(HTML, include_str!("../page/index.html"))
}

/// A file that the document loads.
pub(super) fn file(name: &str) -> Result<Response, Refusal> {
    let known = FILES.iter().find(|(known, _, _)| *known == name);
    let (_, content_type, text) =
        known.ok_or_else(|| Refusal::NotFound("no such path; see /".into()))?;
    Ok(guarded(content_type, text))
}

fn guarded(content_type: &'static str, text: &'static str) -> Response {
    let response = reply(StatusCode::OK, content_type, text);
    let response = with(response, CONTENT_SECURITY_POLICY, POLICY);
    let response = with(response, REFERRER_POLICY, "no-referrer");
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    with(response, opener, "same-origin")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands between `before` and the next `quote`.
    fn named<'a>(text: &'a str, before: &str, quote: char) -> Vec<&'a str> {
        let found = text.split(before).skip(1);
        found
            .map(|rest| rest.split(quote).next().unwrap())
            .collect()
    }

    #[test]
    fn all_that_is_loaded_is_there_and_nothing_else() {
        let index = include_str!("../page/index.html");
        let mut loaded = named(index, "\"/page/", '"');
        for (_, _, text) in FILES.iter().filter(|(name, _, _)| name.ends_with(".js")) {
            loaded.extend(named(text, "from './", '\''));
        }
        loaded.sort_unstable();
        loaded.dedup();
        let all: Vec<_> = FILES.iter().map(|(name, _, _)| *name).collect();
        assert_eq!(loaded, all);
    }

    #[test]
    fn it_is_small_and_takes_nothing_from_elsewhere() {
        let files = FILES.iter().map(|(_, _, text)| *text);
        let texts: Vec<_> = files.chain([include_str!("../page/index.html")]).collect();
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        assert!(bytes < 100 * 1024, "{bytes}");
        for text in texts {
            let address = "http://www.w3.org/2000/svg";
            assert!(!text.replace(address, "").contains("://"), "{text}");
            for markup in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "style=\"",
                " onclick=",
            ] {
                assert!(!text.contains(markup), "{markup} in {text}");
            }
        }
    }
}
