//! Answers that may be revised while they are made, in three forms: our own events, the stream of the AI SDK, and the Responses
//! API's events with ours beside them.

pub(crate) mod ai_sdk;
pub(crate) mod native;
mod page;

use std::convert::Infallible;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use inshore_domain::ReceiptId;
use inshore_runtime::{Entry, LogReader};

use crate::body::Received;

pub(crate) use page::{Page, replace};

/// Entries that are ready together go out together, up to this size.
const PIECE: usize = 16 << 10;

/// Turns a log into the server-sent events of one form.
pub(crate) trait Project: Send + 'static {
    /// Appends whatever the entry becomes. `number` counts from 1.
    fn entry(&mut self, number: usize, entry: Entry, out: &mut Vec<u8>);
    /// Appends what sums up several entries that go out together.
    fn flush(&mut self, _out: &mut Vec<u8>) {}
}

/// The streaming response. Dropping it leaves the answer without a reader.
pub(crate) fn stream<P: Project>(
    receipt: ReceiptId,
    notes: &[String],
    log: LogReader,
    head: Vec<u8>,
    project: P,
    body: Option<Received>,
) -> Response {
    let state = (log, project, Some(head).filter(|head| !head.is_empty()), body);
    let pieces = futures_util::stream::unfold(state, |(mut log, mut project, head, body)| async move {
        if let Some(head) = head {
            return Some((Ok::<_, Infallible>(Bytes::from(head)), (log, project, None, body)));
        }
        let piece = piece(&mut log, &mut project).await?;
        Some((Ok(Bytes::from(piece)), (log, project, None, body)))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if let Ok(receipt) = HeaderValue::try_from(receipt.to_string()) {
        headers.insert(HeaderName::from_static("x-inshore-receipt"), receipt);
    }
    for note in notes {
        // Names of caps may hold what no header can; the receipt has the note all the same.
        if let Ok(note) = HeaderValue::try_from(note.as_str()) {
            headers.append(HeaderName::from_static("x-inshore-note"), note);
        }
    }
    response
}

/// What is ready, once something is; `None` after the last entry.
async fn piece<P: Project>(log: &mut LogReader, project: &mut P) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while out.is_empty() {
        let (number, entry) = log.next().await?;
        project.entry(number, entry, &mut out);
        while out.len() < PIECE
            && let Some((number, entry)) = log.ready()
        {
            project.entry(number, entry, &mut out);
        }
        project.flush(&mut out);
    }
    Some(out)
}
