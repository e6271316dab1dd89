//! A finding as bytes.

use std::time::Duration;

use crate::detect::finding::{Finding, Holder};
use crate::detect::pack::{Reader, Writer, read_trace, write_trace};
use crate::detect::time::Timestamp;
use crate::detect::verdict::Verdict;

pub fn write(finding: &Finding, to: &mut Writer<'_>) {
    to.number(finding.id);
    to.bytes(&finding.at.as_micros().to_le_bytes());
    to.text_of(Some(finding.verdict.as_str()));
    for text in [&finding.api, &finding.token, &finding.scope] {
        to.text_of(Some(text));
    }
    to.text_of(finding.client.as_deref());
    to.text_of(finding.call.as_deref());
    to.number(finding.attempt);
    to.byte(u8::from(finding.confirmed) | u8::from(finding.holder.is_some()) << 1);
    if let Some(holder) = &finding.holder {
        to.text_of(holder.client.as_deref());
        to.text_of(holder.call.as_deref());
        to.bytes(&holder.since.as_micros().to_le_bytes());
        to.text_of(holder.token.as_deref());
        write_trace(holder.trace, to);
    }
    to.optional(finding.age.map(|age| age.as_micros() as u64));
    write_trace(finding.trace, to);
    to.text_of(Some(&finding.message));
}

/// `None`, and a spoilt reader, if it is none.
pub fn read(from: &mut Reader<'_>) -> Option<Finding> {
    let id = from.number();
    let at = time(from);
    let verdict = from.text_of();
    let some = |text: Option<&str>| Box::<str>::from(text.unwrap_or_default());
    let verdict = verdict.and_then(|name| Verdict::ALL.into_iter().find(|v| v.as_str() == name));
    let (api, token, scope) = (
        some(from.text_of()),
        some(from.text_of()),
        some(from.text_of()),
    );
    let (client, call) = (
        from.text_of().map(Into::into),
        from.text_of().map(Into::into),
    );
    let (attempt, flags) = (from.number(), from.byte());
    let holder = (flags & 2 != 0).then(|| Holder {
        client: from.text_of().map(Into::into),
        call: from.text_of().map(Into::into),
        since: time(from),
        token: from.text_of().map(Into::into),
        trace: read_trace(from),
    });
    let age = from.optional().map(Duration::from_micros);
    let trace = read_trace(from);
    let message = from.text_of().unwrap_or_default().to_owned();
    if verdict.is_none() {
        from.spoil();
    }
    Some(Finding {
        id,
        at,
        verdict: verdict.filter(|_| from.is_sound())?,
        api,
        token,
        scope,
        client,
        call,
        attempt,
        holder,
        age,
        confirmed: flags & 1 != 0,
        trace,
        message,
    })
}

fn time(from: &mut Reader<'_>) -> Timestamp {
    Timestamp::from_micros(i64::from_le_bytes(from.array()))
}

impl Writer<'_> {
    /// A text of any length; 0 for none.
    fn text_of(&mut self, text: Option<&str>) {
        self.number(text.map_or(0, |text| text.len() as u64 + 1));
        self.bytes(text.unwrap_or_default().as_bytes());
    }
}

impl<'a> Reader<'a> {
    fn text_of(&mut self) -> Option<&'a str> {
        let length = self.number().checked_sub(1)?;
        let text = std::str::from_utf8(self.bytes(usize::try_from(length).unwrap_or(usize::MAX)));
        if text.is_err() {
            self.spoil();
        }
        Some(text.unwrap_or_default())
    }
}
