//! A finding for tests, which change what they are about.

use std::time::Duration;

use super::Finding;
use crate::detect::time::Timestamp;
use crate::detect::verdict::Verdict;

/// A finding with nothing but what it must have; no two numbers give the same.
pub fn finding(id: u64) -> Finding {
    Finding {
        id,
        at: Timestamp::from_micros(1_700_000_000_000_000) + Duration::from_secs(id),
        verdict: Verdict::Orphaned,
        api: "dynamodb.TransactWriteItems".into(),
        token: format!("token-{id}").into(),
        scope: "".into(),
        client: None,
        call: None,
        attempt: 1,
        holder: None,
        age: None,
        confirmed: false,
        trace: None,
        message: format!("number {id}"),
    }
}
