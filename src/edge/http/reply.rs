//! Responses, as routes make them.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

/// A whole body or a stream.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;
/// What a route gives. For HEAD the server leaves out the body.
pub type Response = http::Response<Body>;

/// Content type of plain text.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// Content type of HTML.
pub const HTML: &str = "text/html; charset=utf-8";
/// Content type of JSON.
pub const JSON: &str = "application/json";

/// A response with a whole body. Nothing that this process says may be cached or guessed at.
pub fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    of_body(status, content_type, Full::new(body.into()).boxed_unsync())
}

/// A response with any body.
pub fn of_body(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let response = http::Response::new(body);
    let response = with(response, CONTENT_TYPE, content_type);
    let response = with(response, CACHE_CONTROL, "no-store");
    let mut response = with(response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    *response.status_mut() = status;
    response
}

/// `response` with one more header.
pub fn with(mut response: Response, name: HeaderName, value: &'static str) -> Response {
    let value = HeaderValue::from_static(value);
    response.headers_mut().insert(name, value);
    response
}

/// Whether a read-only route may be asked this way.
pub fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// `response` (which says that the method is not allowed) with the methods that are.
pub fn only_reads(mut response: Response) -> Response {
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    with(response, ALLOW, "GET, HEAD")
}
