//! Reports what clients of the AWS SDK for Rust do, through its interceptors.
//!
//! Hooks of one call, in order: `read_before_execution` (the caller's input, before a missing token is made); for each
//! attempt `read_before_transmit` (the signed request) and `read_after_attempt` (also after a timeout); then
//! `read_after_execution`. None runs when the call's future is dropped: the call's state lies in the SDK's
//! configuration bag and reports from its own destructor then.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
    FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, Region, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::execute_transaction::{
    ExecuteTransactionError, ExecuteTransactionInput, ExecuteTransactionOutput,
};
use aws_sdk_dynamodb::operation::transact_write_items::{
    TransactWriteItemsError, TransactWriteItemsInput, TransactWriteItemsOutput,
};
use aws_sdk_dynamodb::types::ConsumedCapacity;
use aws_smithy_runtime_api::client::interceptors::context::{Error, Input, Output};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

use crate::attempt::{Answer, Attempt, Start, parameters_of};
use crate::event::{Call, CallId, Ending, Outcome, TokenOrigin};
use crate::transport::{self, Transport};

const TOKEN_FIELD: &str = "ClientRequestToken";
const IGNORED_FIELDS: &[Cow<'static, str>] = &[
    Cow::Borrowed("ReturnConsumedCapacity"),
    Cow::Borrowed("ReturnItemCollectionMetrics"),
];

type TraceparentSource = dyn Fn() -> Option<String> + Send + Sync;

/// An interceptor that reports each attempt of `TransactWriteItems` and `ExecuteTransaction`.
///
/// Give it to `aws_sdk_dynamodb::config::Builder::interceptor` ; of several in one client the first
/// to be called reports. It reads and never changes what the SDK does.
#[derive(Clone, Default)]
pub struct Dynamodb {
    scope: Option<Arc<str>>,
    traceparent: Option<Arc<TraceparentSource>>,
    /// The Region of the last call, shared by all calls to it.
    region: Arc<Mutex<Option<Arc<str>>>>,
    /// A test's own instead of the process'.
    transport: Option<&'static Transport>,
}

impl Dynamodb {
    /// Tokens are taken as unique within the client's Region, as the SDK does not know the account.
    pub fn new() -> Self {
        Self::default()
    }

    /// The namespace of the tokens instead of the Region, at most 256 bytes, e.g. `123456789012/eu-west-1`.
    #[must_use]
    pub fn scope(mut self, scope: &str) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Where the W3C trace context of the current span comes from. It is called on the caller's thread before each
    /// attempt is sent and must not block; if it panics, the attempt is reported without.
    #[must_use]
    pub fn traceparent(
        mut self,
        source: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.traceparent = Some(Arc::new(source));
        self
    }

    /// `region` without an allocation if it is the last call's. Never waits: a fork could leave the lock held for ever.
    fn shared_region(&self, region: &str) -> Arc<str> {
        let Ok(mut kept) = self.region.try_lock() else {
            return region.into();
        };
        match &*kept {
            Some(kept) if **kept == *region => Arc::clone(kept),
            _ => Arc::clone(kept.insert(region.into())),
        }
    }

    fn current_traceparent(&self, transport: Option<&Transport>) -> Option<String> {
        let source = self.traceparent.as_ref()?;
        let found = catch_unwind(AssertUnwindSafe(|| source()));
        if let (Err(_), Some(transport)) = (&found, transport) {
            transport.count_failure();
        }
        found.ok()?
    }

    #[cfg(test)]
    pub(crate) fn reporting_to(transport: &'static Transport) -> Self {
        Self {
            transport: Some(transport),
            ..Self::default()
        }
    }

    fn begin(
        &self,
        transport: Option<&'static Transport>,
        request: &HttpRequest,
        state: &mut CallState,
        region: Option<Arc<str>>,
        start: Start,
    ) {
        // A streamed body is no DynamoDB request.
        let Some(bytes) = request.body().bytes() else {
            return;
        };
        let call = state.call.get_or_insert_with(|| {
            let scope = self.scope.clone();
            Arc::new(
                state
                    .shape
                    .call(request, scope.or(region).unwrap_or_default()),
            )
        });
        // The bytes and not a clone of the body: that would repeat the layers which the SDK and the application put
        // around it, and an extra layer that counts bytes falsifies the application's metrics.
        let parameters = parameters_of(call, bytes);
        state.attempt = Some(Attempt::begin(transport, call, parameters, start));
    }
}

impl fmt::Debug for Dynamodb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Dynamodb")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// What is known of a call before its first request.
#[derive(Clone, Copy, Debug)]
struct Shape {
    api: &'static str,
    origin: TokenOrigin,
}

impl Shape {
    /// `None` for operations without an idempotency token that matters here.
    fn of(input: &Input) -> Option<Self> {
        let (api, token) = if let Some(input) = input.downcast_ref::<TransactWriteItemsInput>() {
            ("dynamodb.TransactWriteItems", input.client_request_token())
        } else if let Some(input) = input.downcast_ref::<ExecuteTransactionInput>() {
            ("dynamodb.ExecuteTransaction", input.client_request_token())
        } else {
            return None;
        };
        let origin = if token.is_some() {
            TokenOrigin::Caller
        } else {
            TokenOrigin::Sdk
        };
        Some(Self { api, origin })
    }

    fn call(self, request: &HttpRequest, scope: Arc<str>) -> Call {
        Call {
            api: Cow::Borrowed(self.api),
            // Read from the body by the sender: it is the one that the server sees.
            token: None,
            id: CallId::Given(
                request
                    .headers()
                    .get("amz-sdk-invocation-id")
                    .unwrap_or_default()
                    .to_owned(),
            ),
            scope,
            origin: self.origin,
            token_field: Some(Cow::Borrowed(TOKEN_FIELD)),
            ignored_fields: Cow::Borrowed(IGNORED_FIELDS),
            common: OnceLock::new(),
        }
        .within_limits()
    }
}

/// One logical SDK call. Dropped without its last hook, it reports that there was no response.
struct CallState {
    shape: Shape,
    started: Instant,
    call: Option<Arc<Call>>,
    attempt: Option<Attempt>,
}

/// The SDK logs its configuration bag: tokens do not belong there.
impl fmt::Debug for CallState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CallState")
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl Storable for CallState {
    type Storer = StoreReplace<Self>;
}

impl CallState {
    fn end(&mut self) {
        if let Some(mut attempt) = self.attempt.take() {
            attempt.end_call_since(Some(self.started));
        }
    }
}

impl Drop for CallState {
    fn drop(&mut self) {
        self.end();
    }
}

#[dyn_dispatch_hint]
impl Intercept for Dynamodb {
    fn name(&self) -> &'static str {
        "oncewatch"
    }

    fn read_before_execution(
        &self,
        context: &BeforeSerializationInterceptorContextRef<'_>,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // A second interceptor finds the first one's and leaves the call to it.
        if cfg.get_mut_from_interceptor_state::<CallState>().is_none()
            && let Some(shape) = Shape::of(context.input())
        {
            cfg.interceptor_state().store_put(CallState {
                shape,
                started: Instant::now(),
                call: None,
                attempt: None,
            });
        }
        Ok(())
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(state) = cfg.get_mut_from_interceptor_state::<CallState>() else {
            return Ok(());
        };
        if state.attempt.as_ref().is_some_and(Attempt::is_open) {
            return Ok(());
        }
        let transport = self.transport.or_else(transport::current);
        if !transport.is_some_and(Transport::accepts) {
            state.attempt = Some(Attempt::unobserved(transport, false));
            return Ok(());
        }
        let known = state.call.is_some() || self.scope.is_some();
        let region = if known { None } else { cfg.load::<Region>() }
            .map(|region| self.shared_region(region.as_ref()));
        let (number, max_attempts) = attempt_numbers(context.request());
        let number = number.or_else(|| {
            cfg.load::<RequestAttempts>()
                .map(|attempts| attempts.attempts())
        });
        if let Some(state) = cfg.get_mut_from_interceptor_state::<CallState>() {
            let start = Start {
                number: number.unwrap_or(1).max(1),
                own_call: false,
                max_attempts,
                traceparent: self.current_traceparent(transport),
            };
            self.begin(transport, context.request(), state, region, start);
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let state = cfg.get_mut_from_interceptor_state::<CallState>();
        if let Some(attempt) = state
            .and_then(|state| state.attempt.as_mut())
            .filter(|attempt| attempt.is_open())
        {
            if attempt.is_observed() {
                attempt.end_with(ending(context));
            } else {
                attempt.end(Outcome::NoResponse, Answer::default());
            }
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        _: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(state) = cfg.get_mut_from_interceptor_state::<CallState>() {
            state.end();
        }
        Ok(())
    }
}

/// Number of the attempt and the limit, as they are on the wire: `attempt=1; max=4`.
fn attempt_numbers(request: &HttpRequest) -> (Option<u32>, Option<u32>) {
    let header = request.headers().get("amz-sdk-request").unwrap_or_default();
    let number = |name: &str| {
        header.split(';').find_map(|pair| {
            pair.trim()
                .strip_prefix(name)?
                .strip_prefix('=')?
                .parse()
                .ok()
        })
    };
    (number("attempt"), number("max"))
}

fn ending(context: &FinalizerInterceptorContextRef<'_>) -> Ending {
    let response = context.response();
    let status = response.map(|response| response.status().as_u16());
    let (outcome, error, capacity) = match context.output_or_error() {
        Some(Ok(output)) => (Outcome::Ok, None, consumed_capacity(output)),
        Some(Err(failure)) => match failure.as_operation_error().map(error_code) {
            Some(Some(code)) => (Outcome::Error, Some(code.to_owned()), None),
            // An answer without a code is judged by its status; a success that cannot be read says nothing.
            Some(None) if status.is_some_and(|status| status >= 300) => {
                (Outcome::Error, None, None)
            }
            _ => (Outcome::NoResponse, None, None),
        },
        None => (Outcome::NoResponse, None, None),
    };
    let answered = outcome != Outcome::NoResponse;
    Ending {
        outcome,
        error,
        http_status: status.filter(|_| answered),
        request_id: response.filter(|_| answered).and_then(request_id),
        read_units: sum(capacity, ConsumedCapacity::read_capacity_units),
        write_units: sum(capacity, ConsumedCapacity::write_capacity_units),
    }
}

fn error_code(failure: &Error) -> Option<&str> {
    failure
        .downcast_ref::<TransactWriteItemsError>()
        .map(|error| error.meta())
        .or_else(|| {
            failure
                .downcast_ref::<ExecuteTransactionError>()
                .map(|error| error.meta())
        })?
        .code()
}

fn request_id(response: &HttpResponse) -> Option<String> {
    let headers = response.headers();
    headers
        .get("x-amzn-requestid")
        .or_else(|| headers.get("x-amz-request-id"))
        .map(str::to_owned)
}

fn consumed_capacity(output: &Output) -> Option<&[ConsumedCapacity]> {
    output
        .downcast_ref::<TransactWriteItemsOutput>()
        .map(TransactWriteItemsOutput::consumed_capacity)
        .or_else(|| {
            output
                .downcast_ref::<ExecuteTransactionOutput>()
                .map(ExecuteTransactionOutput::consumed_capacity)
        })
}

/// Over all tables of an answer; `None` where no table tells.
fn sum(
    tables: Option<&[ConsumedCapacity]>,
    units: impl Fn(&ConsumedCapacity) -> Option<f64>,
) -> Option<f64> {
    tables?
        .iter()
        .filter_map(units)
        .reduce(|total, units| total + units)
}

#[cfg(test)]
mod tests;
