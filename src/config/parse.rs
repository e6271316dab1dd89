//! Texts into values; every error is the end of a sentence that begins with the setting's name.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use tracing::level_filters::LevelFilter;

use super::{LogFormat, TokenDisplay};
use crate::detect::Trace;

/// Longest path the kernel takes for a Unix socket, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// What a trace id takes the place of.
const TRACE_ID: &str = "{trace_id}";
/// Longest template of a link; browsers take more, nobody needs it.
const TRACE_URL_BYTES_MAX: usize = 2048;

pub fn count(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let number = text.replace('_', "").parse().ok();
    number.filter(|n| range.contains(n)).ok_or_else(|| {
        let (from, to) = range.into_inner();
        format!("{text:?} is not a whole number from {from} to {to}")
    })
}

/// A number of bytes, alone or with the unit KiB or MiB.
pub fn size(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let units = [("KiB", 1024), ("MiB", 1 << 20), ("B", 1)];
    let with_unit = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = with_unit.unwrap_or((text, 1));
    let bytes = number.trim_end().replace('_', "").parse::<usize>().ok();
    let bytes = bytes.and_then(|n| n.checked_mul(factor));
    bytes.filter(|n| range.contains(n)).ok_or_else(|| {
        let (from, to) = range.into_inner();
        format!(
            "{text:?} is not a size from {} to {}, such as \"16KiB\" or 16384",
            HumanSize(from),
            HumanSize(to)
        )
    })
}

/// Writes a number of bytes with the largest unit that divides it.
pub struct HumanSize(pub usize);

impl std::fmt::Display for HumanSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            n if n > 0 && n.is_multiple_of(1 << 20) => write!(f, "{}MiB", n >> 20),
            n if n > 0 && n.is_multiple_of(1024) => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}B"),
        }
    }
}

pub fn mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = u32::from_str_radix(digits, 8).ok();
    mode.filter(|mode| *mode <= 0o777)
        .ok_or_else(|| format!("{text:?} is not a file mode from 0000 to 0777 in octal"))
}

pub fn uid(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a user id"))
}

pub fn address(text: &str) -> Result<SocketAddr, String> {
    let local = text
        .strip_prefix("localhost:")
        .and_then(|port| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().ok()?))));
    local.or_else(|| text.parse().ok()).ok_or_else(|| {
        format!("{text:?} is not an IP address with a port, such as \"127.0.0.1:9464\"")
    })
}

pub fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address = address(text)?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(format!(
        "{text:?} is not a loopback address; tokens are shown there, so reach it with kubectl port-forward"
    ))
}

pub fn socket_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("the path is empty or has a zero byte in it".to_owned());
    }
    if text.len() > SOCKET_PATH_BYTES_MAX {
        return Err(format!(
            "the path has {} bytes, a socket's has at most {SOCKET_PATH_BYTES_MAX}",
            text.len()
        ));
    }
    Ok(PathBuf::from(text))
}

pub fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("the path is empty or has a zero byte in it".to_owned());
    }
    Ok(PathBuf::from(text))
}

pub fn path(text: &str) -> Result<PathBuf, String> {
    Ok(PathBuf::from(text))
}

/// An address with a place for a trace id. Only the web's schemes: the page makes links of it.
pub fn trace_url(text: &str) -> Result<String, String> {
    let scheme = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    if scheme.is_none_or(|rest| rest.starts_with(['/', '{']) || rest.is_empty()) {
        return Err(format!(
            "{text:?} does not begin with http:// or https:// and a host"
        ));
    }
    if !text.contains(TRACE_ID) {
        return Err(format!("{text:?} has no {TRACE_ID} in it"));
    }
    if text.len() > TRACE_URL_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "{text:?} is longer than {TRACE_URL_BYTES_MAX} bytes or not printable ASCII without spaces"
        ));
    }
    Ok(text.to_owned())
}

/// Members of a closed list by name.
pub fn choice<T: Copy>(text: &str, names: &[(&str, T)]) -> Result<T, String> {
    let found = names.iter().find(|(name, _)| *name == text);
    found.map(|(_, member)| *member).ok_or_else(|| {
        let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        format!("{text:?} is not one of {}", names.join(", "))
    })
}

pub const SPANS: &[(&str, Trace)] = &[
    ("misuse", Trace::Misuse),
    ("all", Trace::All),
    ("off", Trace::Off),
];

pub const TOKEN_DISPLAYS: &[(&str, TokenDisplay)] = &[
    ("hash", TokenDisplay::Hash),
    ("prefix", TokenDisplay::Prefix),
    ("full", TokenDisplay::Full),
];

pub const LOG_FORMATS: &[(&str, LogFormat)] =
    &[("json", LogFormat::Json), ("text", LogFormat::Text)];

pub const LOG_LEVELS: &[(&str, LevelFilter)] = &[
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// The name of a member of a closed list.
pub fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> &'static str {
    let found = names.iter().find(|(_, member)| member == value);
    found.map_or("", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_may_have_units() {
        for (text, bytes) in [
            ("16384", 16384),
            ("16KiB", 16384),
            ("16 KiB", 16384),
            ("1MiB", 1 << 20),
            ("2_048B", 2048),
        ] {
            assert_eq!(size(text, 1024..=1 << 20), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "1",
            "KiB",
            "2MiB",
            "-1KiB",
            "16KB",
            "99999999999999999999MiB",
        ] {
            let error = size(text, 1024..=1 << 20).unwrap_err();
            assert!(error.contains("from 1KiB to 1MiB"), "{text}: {error}");
        }
    }

    #[test]
    fn modes_are_octal_however_they_are_written() {
        for text in ["0660", "660", "0o660"] {
            assert_eq!(mode(text), Ok(0o660), "{text}");
        }
        for text in ["", "0888", "01777", "0x1ff", "rw"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_trace_link_is_a_web_address_with_a_place_for_the_id() {
        for text in [
            "http://localhost:3000/t/{trace_id}",
            "https://traces.example/explore?left=%7B{trace_id}%7D&x={trace_id}",
        ] {
            assert_eq!(trace_url(text).as_deref(), Ok(text));
        }
        let long = format!("https://a/{{trace_id}}{}", "x".repeat(2048));
        for (text, error) in [
            ("", "begin with"),
            ("javascript:alert({trace_id})", "begin with"),
            ("//host/{trace_id}", "begin with"),
            ("https://{trace_id}", "begin with"),
            ("https:///{trace_id}", "begin with"),
            ("https://host/", "no {trace_id}"),
            ("https://host/ {trace_id}", "printable"),
            ("https://höst/{trace_id}", "printable"),
            (&long, "longer"),
        ] {
            assert!(trace_url(text).unwrap_err().contains(error), "{text}");
        }
    }

    #[test]
    fn the_admin_address_stays_on_this_machine() {
        assert!(loopback("127.0.0.2:0").is_ok() && loopback("[::1]:9465").is_ok());
        assert!(loopback("localhost:9465").is_ok());
        for text in [
            "0.0.0.0:9465",
            "[::]:1",
            "10.0.0.1:9465",
            "localhost",
            "9465",
        ] {
            assert!(loopback(text).is_err(), "{text}");
        }
    }
}
