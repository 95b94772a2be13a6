//! Why a request gets no prediction, as an answer.

use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A refusal: status, a word for programs, a sentence for people.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    message: String,
    is_last: bool,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), is_last: false }
    }

    /// A request that is wrong in a way of its own.
    pub(crate) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Closes the connection after the answer: what follows on it is the rest of the body.
    pub(crate) fn and_close(mut self) -> Self {
        self.is_last = true;
        self
    }
}

/// The word for programs, for whoever counts answers.
#[derive(Clone, Copy)]
pub(crate) struct Refusal(pub(crate) &'static str);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, code, message, is_last } = self;
        let error = json!({ "status": status.as_u16(), "code": code, "message": message });
        let body = format!("{}\n", json!({ "error": error }));
        let json = [(CONTENT_TYPE, "application/json")];
        let mut response = (status, json, body).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if is_last {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(Refusal(code));
        response
    }
}
