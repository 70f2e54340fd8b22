//! The socket to the daemon: one thread reads frames into a queue, one writes what the scheduler has to say.
//!
//! The scheduler never waits for the daemon unless [`MAX_BACKLOG`] bytes lie unread, and the daemon's end of the socket is
//! the child's life line: when it closes, the process exits at once, whatever it is doing.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde::{Serialize, de::DeserializeOwned};

use crate::frames::{FromChild, MAX_FRAME, ToChild, WorkId};

/// Frames that may wait for the scheduler. More, and the socket fills up and the daemon waits.
const MAX_WAITING: usize = 1024;
/// Bytes that may wait for the daemon before the scheduler waits too: the saved state of a long prompt, which is the most
/// that is sent at once, and years of tokens.
const MAX_BACKLOG: usize = 256 << 20;

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The daemon closed its end.
    #[error("the daemon closed the connection")]
    Closed,
    /// The socket failed.
    #[error("cannot read from the daemon: {0}")]
    Io(std::io::Error),
    /// Not a frame.
    #[error("a frame of {0} bytes is longer than allowed")]
    TooLong(usize),
    /// Not a message.
    #[error("a frame does not decode: {0}")]
    Garbage(postcard::Error),
}

/// Reads one frame.
pub(crate) fn read_frame<T: DeserializeOwned>(
    from: &mut impl Read,
    buffer: &mut Vec<u8>,
) -> Result<T, ReadError> {
    let mut length = [0; 4];
    from.read_exact(&mut length).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => ReadError::Closed,
        _ => ReadError::Io(error),
    })?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(ReadError::TooLong(length));
    }
    buffer.clear();
    // Grows with what really comes, so that a length alone reserves nothing.
    let read = from.by_ref().take(length as u64).read_to_end(buffer).map_err(ReadError::Io)?;
    if read < length {
        return Err(ReadError::Closed);
    }
    let (frame, rest) = postcard::take_from_bytes(buffer).map_err(ReadError::Garbage)?;
    if rest.is_empty() { Ok(frame) } else { Err(ReadError::Garbage(postcard::Error::DeserializeBadEncoding)) }
}

/// Frames on their way to the daemon. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outbox {
    shared: Arc<(Mutex<Backlog>, Condvar)>,
}

#[derive(Debug, Default)]
struct Backlog {
    bytes: Vec<u8>,
    writing: bool,
}

impl Outbox {
    /// Adds a frame.
    pub(crate) fn send(&self, frame: &FromChild) {
        let (backlog, changed) = &*self.shared;
        let mut backlog = lock(backlog);
        while backlog.bytes.len() > MAX_BACKLOG {
            backlog = changed.wait(backlog).unwrap_or_else(PoisonError::into_inner);
        }
        encode(frame, &mut backlog.bytes);
        changed.notify_all();
    }

    /// Waits until everything has been handed to the system.
    pub(crate) fn flush(&self) {
        let (backlog, changed) = &*self.shared;
        let mut backlog = lock(backlog);
        while backlog.writing || !backlog.bytes.is_empty() {
            backlog = changed.wait(backlog).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn write_forever(&self, mut to: File) -> std::io::Error {
        let (backlog, changed) = &*self.shared;
        let mut taken = Vec::new();
        loop {
            {
                let mut backlog = lock(backlog);
                backlog.writing = false;
                changed.notify_all();
                while backlog.bytes.is_empty() {
                    backlog = changed.wait(backlog).unwrap_or_else(PoisonError::into_inner);
                }
                backlog.writing = true;
                taken.clear();
                std::mem::swap(&mut taken, &mut backlog.bytes);
            }
            if let Err(error) = to.write_all(&taken) {
                return error;
            }
            // A saved state leaves a large buffer behind.
            if taken.capacity() > 4 << 20 {
                taken = Vec::new();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Appends a frame's bytes.
pub(crate) fn encode(frame: &impl Serialize, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    let Ok(mut written) = postcard::to_extend(frame, std::mem::take(bytes)) else {
        return;
    };
    let length = u32::try_from(written.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(head) = written.get_mut(start..start + 4) {
        head.copy_from_slice(&length.to_le_bytes());
    }
    *bytes = written;
}

/// The works whose prompts the running step reads: a cancel of one of these is worth aborting the step for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interest {
    reading: Arc<Mutex<Vec<WorkId>>>,
}

impl Interest {
    /// A step begins that reads the prompts of these works. Forgets an abort that was raised for an earlier step.
    pub(crate) fn begin(&self, works: impl Iterator<Item = WorkId>) {
        let mut reading = lock(&self.reading);
        reading.clear();
        reading.extend(works);
        super::llama::clear_abort();
    }

    /// The step is over.
    pub(crate) fn end(&self) {
        lock(&self.reading).clear();
    }

    fn cancelled(&self, id: WorkId) {
        if lock(&self.reading).contains(&id) {
            super::llama::raise_abort();
        }
    }
}

/// Starts both threads. `gone` is called when the daemon is gone or talks nonsense, and must not return.
pub(crate) fn start(
    socket: File,
    outbox: &Outbox,
    interest: Interest,
    gone: fn(&str) -> !,
) -> std::io::Result<Receiver<ToChild>> {
    let (sender, receiver) = sync_channel(MAX_WAITING);
    let (to, outbox) = (socket.try_clone()?, outbox.clone());
    thread::Builder::new().name("frames-out".into()).spawn(move || {
        let error = outbox.write_forever(to);
        gone(&format!("cannot write to the daemon: {error}"));
    })?;
    thread::Builder::new().name("frames-in".into()).spawn(move || {
        let error = read_forever(socket, &sender, &interest);
        gone(&error.to_string());
    })?;
    Ok(receiver)
}

fn read_forever(socket: File, sender: &SyncSender<ToChild>, interest: &Interest) -> ReadError {
    let mut from = BufReader::with_capacity(64 << 10, socket);
    let mut buffer = Vec::new();
    loop {
        match read_frame(&mut from, &mut buffer) {
            Ok(ToChild::Shutdown) => return ReadError::Closed,
            Ok(frame) => {
                if let ToChild::Cancel { id } = frame {
                    interest.cancelled(id);
                }
                if sender.send(frame).is_err() {
                    return ReadError::Closed;
                }
            }
            Err(error) => return error,
        }
        if buffer.capacity() > 4 << 20 {
            buffer = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn a_frame_comes_back_as_it_was_sent() {
        let frame = ToChild::Cancel { id: 7 };
        let bytes = framed(&postcard::to_stdvec(&frame).unwrap());
        assert_eq!(read_frame::<ToChild>(&mut bytes.as_slice(), &mut Vec::new()).unwrap(), frame);
    }

    #[test]
    fn too_long_and_cut_frames_are_told_apart() {
        let mut long: &[u8] = &[0xff, 0xff, 0xff, 0x7f];
        assert!(matches!(read_frame::<ToChild>(&mut long, &mut Vec::new()), Err(ReadError::TooLong(_))));
        let mut cut: &[u8] = &[9, 0, 0, 0, 1];
        assert!(matches!(read_frame::<ToChild>(&mut cut, &mut Vec::new()), Err(ReadError::Closed)));
        let mut trailing: &[u8] = &framed(&[8, 0, 0]);
        assert!(matches!(read_frame::<ToChild>(&mut trailing, &mut Vec::new()), Err(ReadError::Garbage(_))));
    }

    #[test]
    fn sent_frames_are_written_in_order() {
        let mut bytes = Vec::new();
        for id in 0..3 {
            encode(&FromChild::Tokens { id, tokens: vec![1, 2] }, &mut bytes);
        }
        for id in 0..3 {
            let length = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
            let body: Vec<u8> = bytes.drain(..4 + length).skip(4).collect();
            assert_eq!(
                postcard::from_bytes::<FromChild>(&body).unwrap(),
                FromChild::Tokens { id, tokens: vec![1, 2] }
            );
        }
    }

    proptest! {
        /// Foreign bytes are an error or a frame, never a panic, and never more memory than they have bytes.
        #[test]
        fn any_bytes_are_survived(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut buffer = Vec::new();
            let _ = read_frame::<ToChild>(&mut framed(&body).as_slice(), &mut buffer);
            let _ = read_frame::<ToChild>(&mut body.as_slice(), &mut buffer);
            prop_assert!(buffer.capacity() < 64 << 10);
        }
    }
}
