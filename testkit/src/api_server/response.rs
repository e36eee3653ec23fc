//! The bodies of answers.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::CONTENT_TYPE;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::ApiBody;

/// Any text.
pub(super) fn text(code: StatusCode, text: String) -> Response<ApiBody> {
    let body = Full::new(Bytes::from(text)).boxed_unsync();
    Response::builder()
        .status(code)
        .header(CONTENT_TYPE, "application/json")
        .body(body)
        .unwrap()
}

/// An object.
pub(super) fn whole(object: &Value) -> Response<ApiBody> {
    text(StatusCode::OK, object.to_string())
}

/// What the server says when it does not do it.
pub(super) fn refusal(code: StatusCode, why: &str) -> Response<ApiBody> {
    text(
        code,
        failure(
            code,
            &code.canonical_reason().unwrap().replace(' ', ""),
            why,
        )
        .to_string(),
    )
}

/// A Status.
pub(super) fn failure(code: StatusCode, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code.as_u16(),
        "reason": reason, "message": message,
    })
}
