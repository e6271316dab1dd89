//! Cuts texts to what the protocol takes.

use std::borrow::Cow;

use super::{
    API_BYTES_MAX, CALL_BYTES_MAX, Call, CallId, ERROR_BYTES_MAX, Ending, FINGERPRINT_BYTES_MAX,
    Kind, Parameters, REQUEST_ID_BYTES_MAX, SCOPE_BYTES_MAX, TOKEN_BYTES_MAX,
    TRACEPARENT_BYTES_MAX,
};
use crate::fingerprint::hash_of_text;

impl Call {
    /// Cuts what the protocol does not take, before it occupies the buffer. The names of fields keep their length.
    pub(crate) fn within_limits(mut self) -> Self {
        if self.api.len() > API_BYTES_MAX {
            self.api = Cow::Owned(clipped(&self.api, API_BYTES_MAX).to_owned());
        }
        if let Some(token) = &mut self.token {
            shorten_unique(token, TOKEN_BYTES_MAX);
        }
        if let CallId::Given(id) = &mut self.id {
            shorten_unique(id, CALL_BYTES_MAX);
        }
        if self.scope.len() > SCOPE_BYTES_MAX {
            self.scope = clipped_unique(&self.scope, SCOPE_BYTES_MAX).into();
        }
        self
    }
}

impl Kind {
    /// As [`Call::within_limits`].
    pub(crate) fn within_limits(mut self) -> Self {
        if let Self::Start {
            parameters,
            traceparent,
            ..
        } = &mut self
        {
            shorten(traceparent, TRACEPARENT_BYTES_MAX);
            if let Parameters::Known { fp: Some(fp), .. } = parameters {
                shorten_unique(fp, FINGERPRINT_BYTES_MAX);
            }
        }
        self
    }
}

impl Ending {
    /// As [`Call::within_limits`].
    pub(crate) fn within_limits(mut self) -> Self {
        shorten(&mut self.error, ERROR_BYTES_MAX);
        shorten(&mut self.request_id, REQUEST_ID_BYTES_MAX);
        self
    }
}

fn shorten(text: &mut Option<String>, bytes_max: usize) {
    if let Some(text) = text
        && text.len() > bytes_max
    {
        *text = clipped(text, bytes_max).to_owned();
    }
}

fn shorten_unique(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        *text = clipped_unique(text, bytes_max).into_owned();
    }
}

/// `text`, cut at a character boundary to at most `bytes_max` bytes.
pub(crate) fn clipped(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max))
        .unwrap_or_default()
}

/// Like [`clipped`] for identifiers: the end of a text that is too long is replaced by a hash of all of it, so that two
/// that begin alike stay different.
pub(super) fn clipped_unique(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let mark = format!("~{}", hash_of_text(text));
    Cow::Owned(format!("{}{mark}", clipped(text, bytes_max - mark.len())))
}
