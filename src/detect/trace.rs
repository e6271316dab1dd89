//! W3C trace context of the caller, as far as links and exemplars need it.

use std::fmt;

/// A parsed `traceparent` header (W3C Trace Context, level 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// Trace id, not all zero.
    pub trace_id: [u8; 16],
    /// Id of the caller's span, not all zero.
    pub span_id: [u8; 8],
    /// Trace flags; bit 0 is "sampled".
    pub flags: u8,
}

impl TraceContext {
    /// Parses the header's text; `None` if it is malformed. Versions after 00 may carry more
    /// fields behind the flags, as the recommendation asks of parsers.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let version = hex::<1>(parts.next()?)?[0];
        let trace_id = hex::<16>(parts.next()?)?;
        let span_id = hex::<8>(parts.next()?)?;
        let flags = hex::<1>(parts.next()?)?[0];
        let surplus = parts.next().is_some();
        let usable = version != 0xff
            && !(version == 0 && surplus)
            && trace_id != [0; 16]
            && span_id != [0; 8];
        usable.then_some(Self {
            trace_id,
            span_id,
            flags,
        })
    }

    /// The trace id as 32 hex digits, as exemplars and logs carry it.
    pub fn trace_id_hex(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.trace_id))
    }
}

/// The `traceparent` header, version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span_id = u64::from_be_bytes(self.span_id);
        write!(
            f,
            "00-{}-{span_id:016x}-{:02x}",
            self.trace_id_hex(),
            self.flags
        )
    }
}

fn hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let digits = digits.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(out)
}

/// The value of a lower-case hex digit; the recommendation forbids upper case.
fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_the_recommendation_allows() {
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceContext::parse(header).unwrap().to_string(), header);
        let later = header.replacen("00", "cc", 1) + "-what-the-future-will-be";
        assert_eq!(TraceContext::parse(&later), TraceContext::parse(header));
        for bad in [
            "",
            "00",
            &header.to_uppercase(),
            &format!("{header}-more"),
            &header.replacen("00", "ff", 1),
            &header.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &header.replace("b7ad6b7169203331", &"0".repeat(16)),
            &header[1..],
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }
}
