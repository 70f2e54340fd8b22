//! One answer that is being made: its tokens, how the next is drawn, and what of its text may be sent.

use std::rc::Rc;

use crate::child::constraint::{Constrained, ConstraintError};
use crate::child::llama::{Model, TokenId};
use crate::child::sampling::{Sampler, Scratch, logprobs};
use crate::child::scheduler::memory::{Kinship, Sequence};
use crate::child::text::TextCutter;
use crate::frames::{Finish, FromChild, Token, WorkError, WorkId};

/// What all answers to one request have in common.
#[derive(Debug)]
pub(crate) struct Wishes {
    pub(crate) max_tokens: u32,
    pub(crate) logprobs: Option<u8>,
    pub(crate) ignore_eos: bool,
    pub(crate) show_special: bool,
    pub(crate) kinship: Rc<Kinship>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) work: WorkId,
    pub(crate) index: u32,
    pub(crate) wishes: Rc<Wishes>,
    /// Prompt and answer.
    pub(crate) tokens: Vec<TokenId>,
    /// Where its state is; `None` while it waits for room.
    pub(crate) sequence: Option<Sequence>,
    /// The row of its logits in the step that is running.
    pub(crate) row: Option<i32>,
    pub(crate) made: u32,
    sampler: Sampler,
    constraint: Option<Constrained>,
    cutter: TextCutter,
    /// Bytes made, and bytes of these that were sent as text.
    bytes_made: usize,
    bytes_sent: usize,
    /// Tokens whose text has not been sent, with the end of each in bytes made.
    unsent: std::collections::VecDeque<(usize, Token)>,
}

/// What is to be done after a token.
#[derive(Debug)]
pub(crate) enum After {
    /// Go on.
    More,
    /// The answer is complete.
    Done(Finish),
}

impl Answer {
    /// An answer whose prompt has not been read.
    pub(crate) fn new(
        work: WorkId,
        index: u32,
        wishes: Rc<Wishes>,
        tokens: Vec<TokenId>,
        sampler: Sampler,
        constraint: Option<Constrained>,
        stops: Vec<String>,
    ) -> Self {
        Self {
            work,
            index,
            wishes,
            tokens,
            sequence: None,
            row: None,
            made: 0,
            sampler,
            constraint,
            cutter: TextCutter::new(stops),
            bytes_made: 0,
            bytes_sent: 0,
            unsent: std::collections::VecDeque::new(),
        }
    }

    /// Tokens whose state has been computed.
    pub(crate) fn computed(&self) -> usize {
        self.sequence.as_ref().map_or(0, |sequence| sequence.held.len())
    }

    /// Tokens still to be computed.
    pub(crate) fn pending(&self) -> usize {
        self.tokens.len() - self.computed().min(self.tokens.len())
    }

    /// Draws the next token and takes it. Frames with new text go to `send`.
    pub(crate) fn advance(
        &mut self,
        model: &Model,
        logits: &[f32],
        scratch: &mut Scratch,
        send: &mut impl FnMut(FromChild),
    ) -> Result<After, WorkError> {
        let mask = match self.constraint.as_mut().map(Constrained::mask).transpose() {
            Ok(mask) => mask,
            Err(error) => return self.constraint_ended(error, send),
        };
        let drawn = self.sampler.draw(logits, &self.tokens, mask, scratch);
        let Some(token) = drawn else {
            let message = if self.constraint.is_some() {
                WorkError::BadConstraint { message: "no token can continue the answer".into() }
            } else {
                WorkError::Internal { message: "the model computed no usable probabilities".into() }
            };
            return Err(message);
        };
        self.take(model, token, logits, scratch, send)
    }

    /// The grammar has an end, and it was reached; or it failed.
    fn constraint_ended(
        &mut self,
        error: ConstraintError,
        send: &mut impl FnMut(FromChild),
    ) -> Result<After, WorkError> {
        match error {
            ConstraintError::Complete => {
                self.flush(send);
                Ok(After::Done(Finish::Stop))
            }
            ConstraintError::Failed(message) => Err(WorkError::BadConstraint { message }),
        }
    }

    fn take(
        &mut self,
        model: &Model,
        token: u32,
        logits: &[f32],
        scratch: &mut Scratch,
        send: &mut impl FnMut(FromChild),
    ) -> Result<After, WorkError> {
        let id = TokenId::try_from(token).unwrap_or_default();
        let ends = model.is_end(id) && (!self.wishes.ignore_eos || self.constraint.is_some());
        self.sampler.accept(token);
        self.made += 1;
        if ends {
            self.flush(send);
            return Ok(After::Done(Finish::Stop));
        }
        self.tokens.push(id);
        let mut bytes = Vec::new();
        model.append_piece(id, self.wishes.show_special, &mut bytes);
        self.note(model, token, &bytes, logits, scratch);
        self.bytes_made += bytes.len();
        let cut = self.cutter.push(&bytes);
        self.say(cut.text, cut.stopped.is_some(), send);
        if let Some(stop) = cut.stopped {
            return Ok(After::Done(Finish::StopText(u32::try_from(stop).unwrap_or(u32::MAX))));
        }
        if let Some(constraint) = &mut self.constraint {
            let done = constraint.accept(token).map_err(|message| WorkError::BadConstraint { message })?;
            if done {
                return Ok(self.end(Finish::Stop, send));
            }
        }
        if self.made >= self.wishes.max_tokens {
            return Ok(self.end(Finish::MaxTokens, send));
        }
        Ok(After::More)
    }

    /// Ends the answer: what was held back is sent, unless a stop text shows in it after all.
    pub(crate) fn end(&mut self, reason: Finish, send: &mut impl FnMut(FromChild)) -> After {
        match self.flush(send) {
            Some(stop) => After::Done(Finish::StopText(stop)),
            None => After::Done(reason),
        }
    }

    /// Notes the token's log-probability, when these were asked for.
    fn note(&mut self, model: &Model, token: u32, bytes: &[u8], logits: &[f32], scratch: &mut Scratch) {
        let Some(count) = self.wishes.logprobs else { return };
        let (logprob, top) = logprobs(logits, token, usize::from(count), scratch);
        let show = self.wishes.show_special;
        let piece = |id: u32| {
            let mut bytes = Vec::new();
            model.append_piece(TokenId::try_from(id).unwrap_or_default(), show, &mut bytes);
            bytes
        };
        let top = top.into_iter().map(|(id, logprob)| (id, piece(id), logprob)).collect();
        let end = self.bytes_made + bytes.len();
        self.unsent.push_back((end, Token { id: token, bytes: bytes.to_vec(), logprob, top }));
    }

    fn flush(&mut self, send: &mut impl FnMut(FromChild)) -> Option<u32> {
        let cut = self.cutter.finish();
        if cut.stopped.is_none() {
            // Replaced bytes have another length: what is left belongs here.
            self.bytes_sent = self.bytes_made;
        }
        self.say(cut.text, cut.stopped.is_some(), send);
        cut.stopped.map(|stop| u32::try_from(stop).unwrap_or(u32::MAX))
    }

    /// Sends text, with the tokens that are wholly in what has been sent.
    fn say(&mut self, text: String, stopped: bool, send: &mut impl FnMut(FromChild)) {
        self.bytes_sent += text.len();
        let mut tokens = Vec::new();
        let whole = if stopped { self.bytes_sent } else { self.bytes_sent.min(self.bytes_made) };
        while self.unsent.front().is_some_and(|(end, _)| *end <= whole) {
            tokens.extend(self.unsent.pop_front().map(|(_, token)| token));
        }
        if stopped {
            self.unsent.clear();
        }
        if !text.is_empty() || !tokens.is_empty() {
            send(FromChild::Text { id: self.work, answer: self.index, text, tokens });
        }
    }
}
