//! Label values of what the detector knows nothing of.

/// Where an event or its effect was lost: the label of `events_dropped_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    Client,
    FindingsQueue,
    SpansQueue,
}

impl Lost {
    pub(super) const ALL: [Self; 3] = [Self::Client, Self::FindingsQueue, Self::SpansQueue];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::FindingsQueue => "findings_queue",
            Self::SpansQueue => "spans_queue",
        }
    }
}

/// Why a connection was closed, or could not be had: the label of `connections_refused_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `max-connections` were open.
    Limit,
    /// Its user is not in `allow-uid`.
    Uid,
    /// The system refused to accept it: no descriptor or memory is left. It waits, and is tried again.
    AcceptFailed,
    /// An HTTP address had too many: the oldest idle one made room, or the new one was closed.
    HttpLimit,
}

impl Refused {
    pub(super) const ALL: [Self; 4] = [Self::Limit, Self::Uid, Self::AcceptFailed, Self::HttpLimit];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Uid => "uid",
            Self::AcceptFailed => "accept_failed",
            Self::HttpLimit => "http_limit",
        }
    }
}
