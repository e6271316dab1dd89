//! Parameters in a request's target.

use std::ops::RangeInclusive;

use super::Refusal;

/// Entries in a list unless asked for otherwise.
const LIMIT_DEFAULT: usize = 100;
/// Entries in a list at most.
const LIMIT_MAX: usize = 1000;
/// Entries before a page at most: who needs more narrows the list down.
const OFFSET_MAX: usize = 10_000;

/// The decoded parameters of one request. An empty value is as good as none, as a form sends it.
#[derive(Debug)]
pub(super) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Refuses parameters that are not in `known` or given twice: a filter that does nothing
    /// because of a slip would give a wrong answer that looks right.
    pub(super) fn parse(query: &str, known: &[&'static str]) -> Result<Self, Refusal> {
        let mut values: Vec<(&'static str, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            let Some(&name) = known.iter().find(|&&known| known == name) else {
                return Err(Refusal::Bad(match known {
                    [] => format!("{name}: this path takes no parameters"),
                    _ => format!("{name}: unknown parameter; known are {}", known.join(", ")),
                }));
            };
            if values.iter().any(|&(other, _)| other == name) {
                return Err(Refusal::Bad(format!("{name}: given twice")));
            }
            values.push((name, decode(&value.replace('+', " "))?));
        }
        Ok(Self(values))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let given = self.0.iter().find(|&&(known, _)| known == name);
        given
            .map(|(_, value)| &**value)
            .filter(|value| !value.is_empty())
    }

    /// The member of a closed list that the parameter names.
    pub(super) fn one_of<T: Copy>(
        &self,
        name: &str,
        all: &[T],
        as_str: fn(T) -> &'static str,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        let found = all.iter().copied().find(|&member| as_str(member) == value);
        found.map(Some).ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|&member| as_str(member)).collect();
            Refusal::Bad(format!(
                "{name}: {value:?} is not one of {}",
                names.join(", ")
            ))
        })
    }

    /// The parameter `limit`.
    pub(super) fn limit(&self) -> Result<usize, Refusal> {
        self.number("limit", 1..=LIMIT_MAX, LIMIT_DEFAULT)
    }

    /// The parameter `offset`.
    pub(super) fn offset(&self) -> Result<usize, Refusal> {
        self.number("offset", 0..=OFFSET_MAX, 0)
    }

    fn number(
        &self,
        name: &str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> Result<usize, Refusal> {
        let Some(value) = self.text(name) else {
            return Ok(default);
        };
        let number = value.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let (from, to) = range.into_inner();
            Refusal::Bad(format!(
                "{name}: {value:?} is not a whole number from {from} to {to}"
            ))
        })
    }
}

/// Undoes percent-encoding; refuses what is not UTF-8 or breaks off.
pub(super) fn decode(text: &str) -> Result<String, Refusal> {
    let bad = || Refusal::Bad(format!("{text:?} is not percent-encoded UTF-8"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
        match result.unwrap_err() {
            Refusal::Bad(error) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(decode("a%2Fb%20%c3%a9+%25").as_deref(), Ok("a/b \u{e9}+%"));
        assert_eq!(decode("%E2%80%A6é").as_deref(), Ok("…é"));
        for broken in ["%", "%2", "%2g", "%%", "%+1", "%ff", "%c3"] {
            assert!(bad(decode(broken)).contains("percent"), "{broken}");
        }
    }

    #[test]
    fn parameters_are_known_and_given_once() {
        let query = Query::parse("&a=x+y%2B&b=&", &["a", "b", "c"]).unwrap();
        assert_eq!(query.text("a"), Some("x y+"));
        assert_eq!((query.text("b"), query.text("c")), (None, None));
        let error = bad(Query::parse("d=1", &["a", "b"]));
        assert_eq!(error, "d: unknown parameter; known are a, b");
        assert_eq!(bad(Query::parse("a=1&a=1", &["a"])), "a: given twice");
        assert_eq!(
            bad(Query::parse("a", &[])),
            "a: this path takes no parameters"
        );
    }

    #[test]
    fn limits_have_a_limit() {
        let limit = |query: &str| Query::parse(query, &["limit"]).unwrap().limit();
        assert_eq!(limit(""), Ok(100));
        assert_eq!(limit("limit="), Ok(100));
        assert_eq!(limit("limit=1"), Ok(1));
        assert_eq!(limit("limit=1000"), Ok(1000));
        for wrong in ["0", "1001", "-1", "1.0", "ten", "99999999999999999999999"] {
            let error = bad(limit(&format!("limit={wrong}")));
            let expected = format!("limit: {wrong:?} is not a whole number from 1 to 1000");
            assert_eq!(error, expected);
        }
    }
}
