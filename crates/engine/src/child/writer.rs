//! A child that writes the conversations of one model, and does nothing else.
//!
//! A chat template is a program by whoever made the model file. Its memory is limited by the system, so one that asks for more ends
//! this process and nothing else; nobody's answer is being made here. The daemon ends it when it takes too long, and starts
//! another for the next conversation.

use std::fs::File;
use std::io::{BufReader, Write};
use std::process::ExitCode;

use super::link::{self, ReadError};
use super::{end, process, require, sandbox};
use crate::frames::conversation::{Conversation, MEMORY, Template, TemplateError, Written};
use crate::template::Writer;

/// A buffer that once grew beyond this is given back.
const KEPT_BUFFER: usize = 1 << 20;

/// Answers each conversation until the daemon closes the socket.
pub(super) fn run(socket: File, template: Template, require_sandbox: bool) -> ExitCode {
    let limited =
        process::limit_memory(MEMORY).map_err(|error| format!("its memory cannot be limited: {error}"));
    process::close_to_others();
    let locked = require(require_sandbox, sandbox::enforce(false));
    // Nothing of the template is looked at before.
    let writer = limited.and(locked).map(|_| Writer::of(template));
    let mut to = match socket.try_clone() {
        Ok(to) => to,
        Err(error) => return end(&format!("cannot share the socket: {error}")),
    };
    let mut from = BufReader::with_capacity(64 << 10, socket);
    let (mut buffer, mut answer) = (Vec::new(), Vec::new());
    loop {
        let conversation: Conversation = match link::read_frame(&mut from, &mut buffer) {
            Ok(conversation) => conversation,
            Err(ReadError::Closed) => return ExitCode::SUCCESS,
            Err(error) => return end(&error.to_string()),
        };
        let written = match &writer {
            Ok(writer) => writer.write(conversation),
            Err(reason) => Written::Failed(TemplateError::NotRun(reason.clone())),
        };
        answer.clear();
        link::encode(&written, &mut answer);
        if let Err(error) = to.write_all(&answer) {
            return end(&format!("cannot write to the daemon: {error}"));
        }
        for buffer in [&mut buffer, &mut answer] {
            if buffer.capacity() > KEPT_BUFFER {
                *buffer = Vec::new();
            }
        }
    }
}
