//! Reads bodies within their limits.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;

use crate::fault::Fault;
use crate::gate::App;

/// A whole body. Its bytes count against the sum of all bodies until this is dropped, so it is kept as long as the answer
/// is being made.
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    _share: Share,
}

/// A part of the memory that bodies may take.
pub(crate) struct Share {
    app: Arc<App>,
    bytes: usize,
}

impl Share {
    fn none(app: &Arc<App>) -> Self {
        Self { app: app.clone(), bytes: 0 }
    }

    fn grow(&mut self, more: usize) -> Result<(), Fault> {
        self.bytes += more;
        let all = self.app.bodies.fetch_add(more, Ordering::Relaxed) + more;
        if all <= self.app.options.limits.bodies_bytes {
            return Ok(());
        }
        let message = "too many large requests are in work at once";
        let mut fault = Fault::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message);
        fault.retry_after = Some(Duration::from_secs(1));
        Err(fault)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.app.bodies.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reads the whole body, without copying when it comes in one piece, as small ones do.
pub(crate) async fn read(app: &Arc<App>, headers: &HeaderMap, body: Body) -> Result<Received, Fault> {
    let limits = app.options.limits;
    let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes());
    if let Some(encoding) = encoding.filter(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        let encoding = String::from_utf8_lossy(encoding);
        let message = format!("`content-encoding: {encoding}` is not supported: send the body as it is");
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", message));
    }
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > limits.body_bytes as u64) {
        return Err(too_large(limits.body_bytes));
    }
    match tokio::time::timeout(limits.body_timeout, collect(app, body, declared.unwrap_or(0))).await {
        Ok(received) => received,
        Err(_) => {
            let message = format!("the body did not arrive within {} s", limits.body_timeout.as_secs());
            Err(Fault::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message))
        }
    }
}

async fn collect(app: &Arc<App>, body: Body, declared: u64) -> Result<Received, Fault> {
    let limit = app.options.limits.body_bytes;
    let mut body = pin!(body);
    let mut share = Share::none(app);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(Fault::new(
                StatusCode::BAD_REQUEST,
                "incomplete_body",
                "the body ended too early or is malformed",
            ));
        };
        let Ok(piece) = frame.into_data() else { continue };
        if share.bytes + piece.len() > limit {
            return Err(too_large(limit));
        }
        share.grow(piece.len())?;
        if share.bytes == piece.len() {
            first = piece;
            continue;
        }
        if rest.is_empty() {
            // Only what has come is reserved at once: the declared length is a claim.
            rest.reserve(
                usize::try_from(declared).unwrap_or(0).min(4 * first.len()).max(first.len() + piece.len()),
            );
            rest.extend_from_slice(&first);
        }
        rest.extend_from_slice(&piece);
    }
    let bytes = if rest.is_empty() { first } else { rest.freeze() };
    Ok(Received { bytes, _share: share })
}

fn too_large(limit: usize) -> Fault {
    let message = format!("the body is larger than {limit} bytes");
    Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
}
