//! One decode step.

use super::memory::Kinship;
use super::{Scheduler, Work};
use crate::child::answer::{After, Answer};
use crate::child::llama::DecodeError;
use crate::frames::{Finish, FromChild, WorkError};

/// Prompt tokens that a step computes while somebody is generating. It makes a token of theirs about as much slower as
/// doubling it would on a common machine (a batch of 128 costs what two to four single tokens cost in memory bandwidth), and
/// prompts are still read at most of their full speed.
const PROMPT_SHARE: usize = 128;

impl Scheduler {
    /// Computes one batch and draws tokens from it.
    pub(super) fn step(&mut self) {
        let Some(members) = self.choose_group() else { return };
        let members = self.make_cells(members);
        let before = self.fill(&members);
        if self.batch.is_empty() {
            return;
        }
        if !self.put_adapters_in_force(&members) {
            return self.fail_members(&members, "the adapters cannot be set");
        }
        // Only prompts take long enough to be worth breaking off: the tokens of the others would be lost with them.
        let reading =
            members.iter().filter_map(|index| self.live.get(*index)).filter(|answer| answer.made == 0);
        let works = reading.map(|answer| answer.work);
        self.parts.interest.begin(works);
        let outcome = self.parts.context.decode(&mut self.batch);
        self.parts.interest.end();
        self.stats.steps += 1;
        match outcome {
            Ok(()) => {
                self.count(&members, &before);
                self.draw(&members);
            }
            Err(DecodeError::NoRoom) => self.no_room(&members, &before),
            Err(DecodeError::Aborted) => {
                self.resettle(&members);
                self.count(&members, &before);
            }
            Err(DecodeError::Failed(code)) => {
                self.resettle(&members);
                self.fail_members(&members, &format!("llama.cpp failed with code {code}"));
            }
        }
    }

    /// Counts the prompt tokens that were computed; so are tokens of an answer that was pushed out and comes back.
    fn count(&mut self, members: &[usize], before: &[usize]) {
        for (answer, before) in members.iter().filter_map(|index| self.live.get(*index)).zip(before) {
            let computed = answer.computed().saturating_sub(*before);
            if answer.made == 0 || computed > 1 {
                self.stats.prompt_computed += computed as u64;
            }
        }
    }

    /// The answers of this step: all that use the same adapters. Different sets take turns, for a step has only one.
    fn choose_group(&mut self) -> Option<Vec<usize>> {
        let mut sets: Vec<&Kinship> = Vec::new();
        for answer in &self.live {
            if sets.iter().all(|set| set.adapters != answer.wishes.kinship.adapters) {
                sets.push(&answer.wishes.kinship);
            }
        }
        let now = sets.iter().position(|set| set.adapters == self.adapters_in_force);
        let next = now.map_or(0, |now| (now + 1) % sets.len().max(1));
        let adapters = sets.get(next)?.adapters.clone();
        let same = |answer: &Answer| answer.wishes.kinship.adapters == adapters;
        Some(
            self.live.iter().enumerate().filter(|(_, answer)| same(answer)).map(|(index, _)| index).collect(),
        )
    }

    /// Makes sure that every generating answer has a cell for its next token, and that something can be computed at all: by
    /// forgetting retained prefixes, then by pushing out the youngest answers, which come back later.
    fn make_cells(&mut self, mut members: Vec<usize>) -> Vec<usize> {
        loop {
            let pending = |index: &usize| self.live.get(*index).map_or(0, Answer::pending);
            let generating = members.iter().filter(|index| pending(index) == 1).count();
            let need = generating.max(1);
            let Self { parts, .. } = self;
            if parts.memory.make_room(&mut parts.context, need) || self.live.len() <= 1 {
                return members;
            }
            let Some(mut answer) = self.live.pop() else { return members };
            members.retain(|index| *index < self.live.len());
            if let Some(sequence) = answer.sequence.take() {
                self.parts.memory.release(&mut self.parts.context, sequence);
            }
            self.waiting.push_front(answer);
            if members.is_empty() {
                return members;
            }
        }
    }

    /// Fills the batch. Returns what each member had computed before.
    fn fill(&mut self, members: &[usize]) -> Vec<usize> {
        self.batch.clear();
        let before = members.iter().map(|index| self.live.get(*index).map_or(0, Answer::computed)).collect();
        let limit = self.parts.context.batch_limit().min(self.parts.context.micro_batch());
        for index in members {
            self.push(*index, true, limit);
        }
        let generating = !self.batch.is_empty();
        let limit = if generating { limit.min(self.batch.len() + PROMPT_SHARE) } else { limit };
        for index in members {
            self.push(*index, false, limit);
        }
        before
    }

    /// Adds an answer's tokens: one if it is generating, else as much of its prompt as there is room for.
    fn push(&mut self, index: usize, generating: bool, limit: usize) {
        let Self { live, parts, batch, .. } = self;
        let Some(answer) = live.get_mut(index) else { return };
        let (pending, computed) = (answer.pending(), answer.computed());
        if generating {
            answer.row = None;
        }
        if pending == 0 || (pending == 1) != generating {
            return;
        }
        let room = limit.saturating_sub(batch.len()).min(pending);
        // A prompt takes what is free, and forgets retained prefixes for the rest.
        let room = if parts.memory.make_room(&mut parts.context, room) {
            room
        } else {
            room.min(parts.memory.free())
        };
        let Some(sequence) = answer.sequence.as_mut().filter(|_| room > 0) else { return };
        if !parts.memory.grow(sequence, room) {
            return;
        }
        let last = answer.tokens.len() - 1;
        for (position, token) in answer.tokens.iter().enumerate().skip(computed).take(room) {
            let row = batch.push(sequence.id, position, *token, position == last);
            if position == last {
                answer.row = Some(row);
            }
        }
    }

    fn put_adapters_in_force(&mut self, members: &[usize]) -> bool {
        let Some(first) = members.first().and_then(|index| self.live.get(*index)) else { return false };
        let wanted = &first.wishes.kinship.adapters;
        if *wanted == self.adapters_in_force {
            return true;
        }
        let adapters: Option<Vec<_>> = wanted
            .iter()
            .map(|(index, scale)| Some((self.parts.adapters.get(usize::try_from(*index).ok()?)?, *scale)))
            .collect();
        let wanted = wanted.clone();
        let done = adapters.is_some_and(|adapters| self.parts.context.set_adapters(&adapters));
        if done {
            self.adapters_in_force = wanted;
        }
        done
    }

    /// llama.cpp found no room where the books say that there is some. Nothing was computed.
    fn no_room(&mut self, members: &[usize], before: &[usize]) {
        for (index, computed) in members.iter().zip(before) {
            let Self { live, parts, .. } = self;
            if let Some(sequence) = live.get_mut(*index).and_then(|answer| answer.sequence.as_mut()) {
                parts.memory.settle(&mut parts.context, sequence, *computed);
            }
        }
        if self.parts.memory.evict(&mut self.parts.context) {
            return;
        }
        let Some(mut answer) = self.live.pop() else { return };
        if let Some(sequence) = answer.sequence.take() {
            self.parts.memory.release(&mut self.parts.context, sequence);
        }
        if self.live.is_empty() {
            let message = "llama.cpp finds no room in its cache".to_owned();
            self.fail(answer.work, WorkError::Internal { message });
        } else {
            self.waiting.push_front(answer);
        }
    }

    /// After a step that broke off: each answer goes on from what llama.cpp really has, and at least its last token is
    /// computed again, for its logits are gone.
    fn resettle(&mut self, members: &[usize]) {
        let Self { live, parts, .. } = self;
        for index in members {
            let Some(answer) = live.get_mut(*index) else { continue };
            let keep = answer.tokens.len().saturating_sub(1);
            answer.row = None;
            if let Some(sequence) = answer.sequence.as_mut() {
                parts.memory.settle(&mut parts.context, sequence, keep);
            }
        }
    }

    fn fail_members(&mut self, members: &[usize], message: &str) {
        let works: Vec<_> =
            members.iter().filter_map(|index| self.live.get(*index)).map(|answer| answer.work).collect();
        for work in works {
            self.fail(work, WorkError::Internal { message: message.to_owned() });
        }
    }

    /// Draws a token for each answer whose tokens are all computed.
    fn draw(&mut self, members: &[usize]) {
        let mut ended = Vec::new();
        for index in members {
            let Some(answer) = self.live.get(*index).filter(|answer| answer.row.is_some()) else { continue };
            let work = answer.work;
            if self.works.get(&work).is_some_and(|work| !work.started) {
                self.started(*index);
            }
            ended.extend(self.draw_one(*index).map(|outcome| (work, outcome)));
        }
        // Siblings were added at the end of the list: their first token comes from the row of the answer they are twins of.
        let twins: Vec<usize> =
            (0..self.live.len()).filter(|index| self.is_new_twin(*index, members)).collect();
        for index in twins {
            let Some(work) = self.live.get(index).map(|answer| answer.work) else { continue };
            ended.extend(self.draw_one(index).map(|outcome| (work, outcome)));
        }
        for (work, outcome) in ended {
            match outcome {
                Ok((answer, reason)) => self.finish(work, answer, reason),
                Err(error) => self.fail(work, error),
            }
        }
    }

    fn is_new_twin(&self, index: usize, members: &[usize]) -> bool {
        !members.contains(&index) && self.live.get(index).is_some_and(|answer| answer.row.is_some())
    }

    /// `Some` when the answer is complete (which, and why) or failed.
    fn draw_one(&mut self, index: usize) -> Option<Result<(u32, Finish), WorkError>> {
        let Self { live, parts, scratch, stats, .. } = self;
        let answer = live.get_mut(index)?;
        let row = answer.row.take()?;
        let capacity = parts.memory.capacity();
        let outbox = parts.outbox.clone();
        let mut send = |frame: FromChild| outbox.send(&frame);
        let Some(logits) = parts.context.logits(row) else {
            return Some(Err(WorkError::Internal { message: "llama.cpp gives no logits".into() }));
        };
        if answer.wishes.max_tokens == 0 {
            return Some(Ok((answer.index, Finish::MaxTokens)));
        }
        stats.generated += 1;
        match answer.advance(&parts.model, logits, scratch, &mut send) {
            Ok(After::Done(reason)) => Some(Ok((answer.index, reason))),
            Ok(After::More) if answer.tokens.len() > capacity => {
                let After::Done(reason) = answer.end(Finish::ContextFull, &mut send) else { return None };
                Some(Ok((answer.index, reason)))
            }
            Ok(After::More) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// A prompt has been read: says so, saves its state if asked, and lets the further answers join.
    fn started(&mut self, index: usize) {
        let Some(id) = self.live.get(index).map(|answer| answer.work) else { return };
        let Some(work) = self.works.get_mut(&id) else { return };
        work.started = true;
        self.stats.prompt_cached += u64::from(work.cached);
        let Work { prompt_tokens, cached, .. } = *work;
        let siblings = std::mem::take(&mut work.siblings);
        let save = work.save.take();
        self.send(&FromChild::Started { id, prompt_tokens, cached_tokens: cached });
        if let Some((save, tokens)) = save {
            self.save(index, &save.key, tokens);
        }
        for mut sibling in siblings.into_iter().rev() {
            let Self { live, parts, .. } = self;
            let first = live.get(index).and_then(|answer| Some((answer.row, answer.sequence.as_ref()?)));
            let (row, twin) = match first {
                Some((row, sequence)) if live.len() < parts.sequences => {
                    (row, parts.memory.twin(&mut parts.context, sequence))
                }
                _ => (None, None),
            };
            if let Some(sequence) = twin {
                sibling.sequence = Some(sequence);
                sibling.row = row;
                self.live.push(sibling);
            } else {
                self.waiting.push_front(sibling);
            }
        }
    }

    /// An answer is complete.
    fn finish(&mut self, id: u64, answer: u32, reason: Finish) {
        let Some(index) = self.live.iter().position(|one| one.work == id && one.index == answer) else {
            return;
        };
        let done = self.live.remove(index);
        self.send(&FromChild::Finished { id, answer, reason, output_tokens: done.made });
        self.retire(done);
        if let Some(work) = self.works.get_mut(&id) {
            work.open = work.open.saturating_sub(1);
            if work.open == 0 {
                self.works.remove(&id);
            }
        }
    }
}
