//! What a reader of an answer has in front of it.

use crate::event::{Accepted, Appended, Begun, BlockKind, Event, Finalised, Opened, Part, Problem, Replaced};
use crate::sse::SseEvent;

/// How far an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum State {
    /// What is there may be replaced.
    #[default]
    Draft,
    /// The answer that stays is being made, or is made.
    Final,
    /// Nothing follows.
    Ended,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What it holds.
    pub kind: BlockKind,
    /// Its text as it stands.
    pub text: String,
}

/// An event that cannot be applied: what came is not what a daemon sends. The answer is of no use after it.
#[derive(Debug, thiserror::Error)]
pub enum Misfit {
    /// The data is not what an event of this name has.
    #[error("an event `{name}` cannot be read")]
    Unreadable {
        /// The event.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The id is not a number.
    #[error("`{0}` is not the id of an event")]
    Id(String),
    /// Events were lost.
    #[error("event {came} came after event {passed}")]
    Gap {
        /// The last one that was applied.
        passed: u64,
        /// The one that came.
        came: u64,
    },
    /// There is no such block, or there is one already.
    #[error("block {0} does not fit to the blocks that are there")]
    Block(u32),
    /// A block does not have these characters.
    #[error("block {block} has no characters {start} to {end}")]
    Span {
        /// Which block.
        block: u32,
        /// Where the span begins.
        start: usize,
        /// Where it ends.
        end: usize,
    },
    /// The answer had ended.
    #[error("event {0} came after the end of the answer")]
    AfterEnd(u64),
}

/// An answer as its events so far have made it.
#[derive(Debug, Clone, Default)]
pub struct Page {
    accepted: Option<Accepted>,
    begun: Option<Begun>,
    blocks: Vec<Block>,
    finalised: Option<Finalised>,
    problem: Option<Problem>,
    state: State,
    passed: u64,
}

impl Page {
    /// Does what the event says, and gives it back. An event that has been applied before is left alone, and is `None`.
    ///
    /// # Errors
    /// When the event cannot be applied. The page is then as it was.
    pub fn take(&mut self, event: &SseEvent) -> Result<Option<Event>, Misfit> {
        let number = match event.id.as_deref() {
            None => None,
            Some(id) => Some(id.parse::<u64>().map_err(|_| Misfit::Id(id.to_owned()))?),
        };
        match number {
            Some(came) if came <= self.passed => return Ok(None),
            Some(came) if self.state == State::Ended => return Err(Misfit::AfterEnd(came)),
            Some(came) if came > self.passed + 1 => return Err(Misfit::Gap { passed: self.passed, came }),
            _ => {}
        }
        let unreadable = |source| Misfit::Unreadable { name: event.name.clone(), source };
        let read = Event::read(&event.name, &event.data).map_err(unreadable)?;
        self.apply(&read)?;
        self.passed = number.unwrap_or(self.passed);
        Ok(Some(read))
    }

    fn apply(&mut self, event: &Event) -> Result<(), Misfit> {
        match event {
            Event::Accepted(accepted) => self.accepted = Some(accepted.clone()),
            Event::Begun(begun) => {
                self.state = if begun.part == Part::Draft { State::Draft } else { State::Final };
                self.begun = Some(begun.clone());
            }
            Event::Opened(opened) => self.open(opened)?,
            Event::Appended(Appended { block, text }) => self.block(*block)?.text.push_str(text),
            Event::Replaced(replaced) => self.replace(replaced)?,
            Event::Finalised(finalised) => {
                self.state = State::Final;
                self.finalised = Some(finalised.clone());
            }
            Event::Ended(_) => self.state = State::Ended,
            Event::Error(problem) => {
                self.state = State::Ended;
                self.problem = Some(problem.clone());
            }
            Event::Other(_) => {}
        }
        Ok(())
    }

    fn open(&mut self, opened: &Opened) -> Result<(), Misfit> {
        if usize::try_from(opened.block).ok() != Some(self.blocks.len()) {
            return Err(Misfit::Block(opened.block));
        }
        self.blocks.push(Block { kind: opened.kind.clone(), text: String::new() });
        Ok(())
    }

    fn block(&mut self, block: u32) -> Result<&mut Block, Misfit> {
        let place = usize::try_from(block).unwrap_or(usize::MAX);
        self.blocks.get_mut(place).ok_or(Misfit::Block(block))
    }

    fn replace(&mut self, replaced: &Replaced) -> Result<(), Misfit> {
        let Replaced { block, start, end, text } = replaced;
        let shown = &mut self.block(*block)?.text;
        let misfit = || Misfit::Span { block: *block, start: *start, end: *end };
        let length = end.checked_sub(*start).ok_or_else(misfit)?;
        let from = byte_of(shown, *start).ok_or_else(misfit)?;
        let to = from + shown.get(from..).and_then(|rest| byte_of(rest, length)).ok_or_else(misfit)?;
        shown.replace_range(from..to, text);
        Ok(())
    }

    /// The text of the answer as it stands.
    pub fn text(&self) -> &str {
        let text = self.blocks.iter().find(|block| block.kind == BlockKind::Text);
        text.map_or("", |block| block.text.as_str())
    }

    /// All blocks as they stand; the event's number of a block is its place.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// How far the answer is.
    pub fn state(&self) -> State {
        self.state
    }

    /// What the daemon said when it took the request.
    pub fn accepted(&self) -> Option<&Accepted> {
        self.accepted.as_ref()
    }

    /// Who answers.
    pub fn target(&self) -> Option<&Begun> {
        self.begun.as_ref()
    }

    /// How the answer was completed, once nothing of it changes any more.
    pub fn finalised(&self) -> Option<&Finalised> {
        self.finalised.as_ref()
    }

    /// Why the answer is not complete, where it ended so.
    pub fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    /// The number of the last event that was applied: what `Last-Event-ID` says when the answer is read on.
    pub fn passed(&self) -> u64 {
        self.passed
    }
}

/// Where this many characters of a text end, in bytes.
fn byte_of(text: &str, characters: usize) -> Option<usize> {
    let starts = text.char_indices().map(|(byte, _)| byte);
    starts.chain([text.len()]).nth(characters)
}

#[cfg(test)]
mod tests;
