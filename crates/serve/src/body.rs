//! Request bodies, read within limits of size, memory and time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::ServeConfig;
use crate::problem::Problem;

/// Bytes of all bodies held at a time.
pub(crate) struct BodyBudget(Arc<Semaphore>);

/// A whole body; it counts against the budget while it lives.
pub(crate) struct HeldBody {
    pub(crate) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

impl BodyBudget {
    pub(crate) fn new(config: &ServeConfig) -> Self {
        Self(Arc::new(Semaphore::new(config.max_bodies)))
    }

    /// Reads a body as it comes; memory is taken only for what has come.
    pub(crate) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        config: &ServeConfig,
    ) -> Result<HeldBody, Problem> {
        let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if announced.and_then(|text| text.parse().ok()).is_some_and(|len| is_over(len, config)) {
            return Err(too_large(config));
        }
        match timeout(config.timeout, self.collect(body, config)).await {
            Ok(read) => read,
            Err(_) => Err(slow(format!("the body did not arrive within {:?}", config.timeout))),
        }
    }

    async fn collect(&self, mut body: Body, config: &ServeConfig) -> Result<HeldBody, Problem> {
        let mut bytes = BytesMut::new();
        let mut share: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = next(config.read_timeout, &mut body).await? {
            let Ok(data) = frame.into_data() else { continue };
            if is_over(bytes.len() as u64 + data.len() as u64, config) {
                return Err(too_large(config));
            }
            // A frame is no longer than the buffer it was read into.
            let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let Ok(more) = Arc::clone(&self.0).try_acquire_many_owned(len) else {
                let message = "too many bodies are being held; try again";
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return Err(Problem::new(status, "bodies_full", message).and_close());
            };
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        Ok(HeldBody { bytes: bytes.freeze(), _share: share })
    }
}

/// The next piece of a body, `None` at its end.
async fn next(
    limit: Duration,
    body: &mut Body,
) -> Result<Option<hyper::body::Frame<Bytes>>, Problem> {
    match timeout(limit, body.frame()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(frame))) => Ok(Some(frame)),
        Ok(Some(Err(error))) => {
            let message = format!("the body is cut off or malformed: {error}");
            Err(Problem::bad("bad_body", message).and_close())
        }
        Err(_) => Err(slow(format!("no more of the body came for {limit:?}"))),
    }
}

fn is_over(len: u64, config: &ServeConfig) -> bool {
    len > config.max_body as u64
}

fn too_large(config: &ServeConfig) -> Problem {
    let message = format!("the body is longer than {} bytes", config.max_body);
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message).and_close()
}

fn slow(message: String) -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "slow_body", message).and_close()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ServeConfig {
        ServeConfig { max_body: 10, max_bodies: 15, ..Default::default() }
    }

    async fn read(budget: &BodyBudget, text: &'static str) -> Result<HeldBody, &'static str> {
        let body = budget.read(&HeaderMap::new(), Body::from(text), &config()).await;
        body.map_err(|problem| problem.code)
    }

    #[tokio::test]
    async fn bodies_are_limited_one_by_one_and_together() {
        let budget = BodyBudget::new(&config());
        let first = read(&budget, "0123456789").await.unwrap();
        assert_eq!(first.bytes, "0123456789");
        assert_eq!(read(&budget, "0123456789a").await.err(), Some("body_too_large"));
        assert_eq!(read(&budget, "012345").await.err(), Some("bodies_full"));
        drop(first);
        assert_eq!(read(&budget, "012345").await.unwrap().bytes, "012345");
        assert_eq!(read(&budget, "").await.unwrap().bytes, "");
    }

    #[tokio::test]
    async fn an_announced_length_is_refused_before_the_body_comes() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, "11".parse().unwrap());
        let budget = BodyBudget::new(&config());
        let read = budget.read(&headers, Body::empty(), &config()).await;
        assert_eq!(read.err().map(|problem| problem.code), Some("body_too_large"));
    }
}
