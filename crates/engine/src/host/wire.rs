//! Frames on the socket: a little-endian `u32` length and that many bytes of postcard.

use std::io;

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::frames::MAX_FRAME;

/// A buffer that once grew beyond this is given back: state pieces have a megabyte, everything else is small.
const KEPT_BUFFER: usize = 2 << 20;

/// What is wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("a frame of {0} bytes is longer than the limit")]
    TooLong(usize),
    #[error("a frame does not decode: {0}")]
    Undecodable(postcard::Error),
    #[error("the socket ended inside a frame")]
    Cut,
    #[error("{0}")]
    Io(#[from] io::Error),
}

pub(crate) struct FrameReader<R> {
    source: tokio::io::BufReader<R>,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source: tokio::io::BufReader::with_capacity(16 << 10, source), buffer: Vec::new() }
    }

    /// The next frame and its length; `None` at the end. Memory grows with what has arrived, not with what a length promises.
    pub(crate) async fn read<T: DeserializeOwned>(&mut self) -> Result<Option<(T, usize)>, WireError> {
        let mut head = [0u8; 4];
        let mut have = 0;
        while have < head.len() {
            let rest = head.get_mut(have..).unwrap_or_default();
            match self.source.read(rest).await {
                Ok(0) if have == 0 => return Ok(None),
                Ok(0) => return Err(WireError::Cut),
                Ok(read) => have += read,
                Err(error) if have == 0 && error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        let len = usize::try_from(u32::from_le_bytes(head)).unwrap_or(usize::MAX);
        if len > MAX_FRAME {
            return Err(WireError::TooLong(len));
        }
        self.buffer.clear();
        let read = (&mut self.source).take(len as u64).read_to_end(&mut self.buffer).await?;
        if read < len {
            return Err(WireError::Cut);
        }
        let (frame, rest) = postcard::take_from_bytes(&self.buffer).map_err(WireError::Undecodable)?;
        if !rest.is_empty() {
            return Err(WireError::Undecodable(postcard::Error::DeserializeBadEncoding));
        }
        if self.buffer.capacity() > KEPT_BUFFER {
            self.buffer = Vec::new();
        }
        Ok(Some((frame, len)))
    }
}

pub(crate) struct FrameWriter<W> {
    sink: W,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub(crate) fn new(sink: W) -> Self {
        Self { sink }
    }

    /// Writes a frame. Dropped half way, it leaves a socket that is of no more use.
    pub(crate) async fn write<T: Serialize>(&mut self, frame: &T) -> Result<(), WireError> {
        let bytes = postcard::to_extend(frame, vec![0; 4]).map_err(WireError::Undecodable)?;
        let len = bytes.len().saturating_sub(4);
        if len > MAX_FRAME {
            return Err(WireError::TooLong(len));
        }
        let mut bytes = bytes;
        if let (Some(head), Ok(len)) = (bytes.first_chunk_mut::<4>(), u32::try_from(len)) {
            *head = len.to_le_bytes();
        }
        self.sink.write_all(&bytes).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{FromChild, ToChild};
    use proptest::prelude::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    proptest! {
        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            block_on(async {
                let mut reader = FrameReader::new(bytes.as_slice());
                while let Ok(Some(_)) = reader.read::<FromChild>().await {}
            });
        }

        #[test]
        fn any_bytes_in_a_well_formed_envelope_too(body in proptest::collection::vec(any::<u8>(), 0..600)) {
            block_on(async {
                let mut bytes = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
                bytes.extend(body);
                let _ = FrameReader::new(bytes.as_slice()).read::<FromChild>().await;
            });
        }
    }

    #[test]
    fn frames_survive_the_wire_and_promises_are_not_believed() {
        block_on(async {
            let mut bytes = Vec::new();
            let frame = ToChild::Cancel { id: 7 };
            FrameWriter::new(&mut bytes).write(&frame).await.unwrap();
            let (read, len) = FrameReader::new(bytes.as_slice()).read::<ToChild>().await.unwrap().unwrap();
            assert_eq!((read, len + 4), (frame, bytes.len()));
            let promise = (u32::try_from(MAX_FRAME).unwrap() + 1).to_le_bytes();
            assert!(matches!(
                FrameReader::new(promise.as_slice()).read::<ToChild>().await,
                Err(WireError::TooLong(_))
            ));
            let cut = bytes.get(..bytes.len() - 1).unwrap();
            assert!(matches!(FrameReader::new(cut).read::<ToChild>().await, Err(WireError::Cut)));
        });
    }
}
