//! A request body in pieces.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

/// Below this the pieces are joined: one copy is cheaper than a scattered write.
const JOINED_BELOW: usize = 16 << 10;

/// A body of known length in one or a few pieces, so that a large one (pictures) is sent without being copied.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// In the order they are sent, last first.
    rest: Vec<Bytes>,
    length: u64,
}

impl Pieces {
    pub(crate) fn new(mut pieces: Vec<Bytes>) -> Self {
        pieces.retain(|piece| !piece.is_empty());
        let length: usize = pieces.iter().map(Bytes::len).sum();
        if pieces.len() > 1 && length < JOINED_BELOW {
            let mut joined = BytesMut::with_capacity(length);
            pieces.iter().for_each(|piece| joined.extend_from_slice(piece));
            pieces = vec![joined.freeze()];
        }
        pieces.reverse();
        Self { rest: pieces, length: length as u64 }
    }
}

impl From<Vec<u8>> for Pieces {
    fn from(body: Vec<u8>) -> Self {
        Self::new(vec![Bytes::from(body)])
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.rest.pop();
        if let Some(piece) = &next {
            self.length -= piece.len() as u64;
        }
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
