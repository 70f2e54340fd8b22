//! The sequences in the KV cache: those that live, and those that are retained because a later prompt may begin like them.

use std::rc::Rc;

use crate::child::cells::{Cells, Held};
use crate::child::llama::{Context, SeqId, TokenId};

/// What two prompts must have in common, besides their first tokens, to share state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kinship {
    /// The daemon's word for who may know of whom.
    pub(crate) scope: u64,
    /// Adapters and their strengths: the state of a token depends on them.
    pub(crate) adapters: Vec<(u32, f32)>,
}

/// A sequence in the cache. Give it back to [`Memory::release`] or [`Memory::retain`].
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) id: SeqId,
    pub(crate) held: Held,
}

#[derive(Debug)]
struct Retained {
    sequence: Sequence,
    tokens: Vec<TokenId>,
    kinship: Rc<Kinship>,
    used: u64,
}

/// A live sequence whose prefix may be shared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relative<'a> {
    pub(crate) sequence: &'a Sequence,
    pub(crate) tokens: &'a [TokenId],
    pub(crate) kinship: &'a Kinship,
}

/// The books of a context's memory.
#[derive(Debug)]
pub(crate) struct Memory {
    cells: Cells,
    ids: Vec<SeqId>,
    retained: Vec<Retained>,
    /// Cells that retained sequences may hold.
    retained_limit: usize,
    /// Whether a sequence can be cut at any token.
    divisible: bool,
    tick: u64,
}

impl Memory {
    /// Nothing is in it.
    pub(crate) fn new(capacity: usize, sequences: u32, retained_limit: usize, divisible: bool) -> Self {
        let ids = (0..i32::try_from(sequences).unwrap_or(1)).rev().collect();
        Self { cells: Cells::new(capacity), ids, retained: Vec::new(), retained_limit, divisible, tick: 0 }
    }

    /// Tokens that one sequence can have.
    pub(crate) fn capacity(&self) -> usize {
        self.cells.capacity()
    }

    /// Cells that retained sequences hold.
    pub(crate) fn retained_cells(&self) -> usize {
        self.cells.retained()
    }

    /// Begins a sequence for a prompt, sharing the longest prefix there is. `None`: there is no room now; `must` says that
    /// nothing lives, so that waiting would be of no use and everything retained may go.
    pub(crate) fn admit(
        &mut self,
        context: &mut Context,
        tokens: &[TokenId],
        kinship: &Rc<Kinship>,
        live: &[Relative<'_>],
        must: bool,
    ) -> Option<Sequence> {
        // One more than the prompt: its first answer token needs a cell too.
        if !must
            && self.cells.free() + self.cells.retained()
                < tokens.len().saturating_sub(self.longest(tokens, kinship, live)) + 1
        {
            return None;
        }
        let sequence = self.begin(context, tokens, kinship, live)?;
        let need = (tokens.len() + 1 - sequence.held.len()).min(self.capacity() - sequence.held.len());
        if !self.make_room(context, need) && !must {
            self.release(context, sequence);
            return None;
        }
        Some(sequence)
    }

    /// How many tokens of a prompt are there already.
    fn longest(&self, tokens: &[TokenId], kinship: &Kinship, live: &[Relative<'_>]) -> usize {
        let retained = self.relatives(kinship).map(|(_, relative)| relative);
        let live = live.iter().filter(|relative| relative.kinship == kinship).copied();
        retained.chain(live).map(|relative| self.usable(&relative, tokens)).max().unwrap_or(0)
    }

    fn relatives(&self, kinship: &Kinship) -> impl Iterator<Item = (usize, Relative<'_>)> {
        let numbered = self.retained.iter().enumerate();
        numbered.filter(move |(_, one)| *one.kinship == *kinship).map(|(index, one)| {
            (index, Relative { sequence: &one.sequence, tokens: &one.tokens, kinship: &one.kinship })
        })
    }

    /// Tokens of a relative that a prompt can use. At least one token of the prompt is left to compute, for its logits.
    fn usable(&self, relative: &Relative<'_>, tokens: &[TokenId]) -> usize {
        let there = relative.sequence.held.len();
        let most = there.min(tokens.len().saturating_sub(1));
        let common = relative.tokens.iter().zip(tokens).take(most).take_while(|(a, b)| a == b).count();
        if self.divisible || common == there { common } else { 0 }
    }

    fn begin(
        &mut self,
        context: &mut Context,
        tokens: &[TokenId],
        kinship: &Kinship,
        live: &[Relative<'_>],
    ) -> Option<Sequence> {
        let best_retained =
            self.relatives(kinship).map(|(index, relative)| (self.usable(&relative, tokens), index)).max();
        let best_live = live
            .iter()
            .filter(|relative| relative.kinship == kinship)
            .map(|relative| (self.usable(relative, tokens), relative.sequence))
            .max_by_key(|(common, _)| *common);
        self.tick += 1;
        let (mut common, mut from_live) =
            best_live.map_or((0, None), |(common, sequence)| (common, Some(sequence)));
        if let Some((other, index)) = best_retained
            && other > common
        {
            (common, from_live) = (other, None);
            if let Some(one) = self.retained.get_mut(index) {
                // The one that is shared from is the last to be evicted.
                one.used = self.tick;
            }
        }
        let id = self.free_id(context)?;
        // Eviction may have moved it.
        let from = from_live
            .or_else(|| self.retained.iter().find(|one| one.used == self.tick).map(|one| &one.sequence));
        let Some(from) = from.filter(|_| common > 0) else {
            return Some(Sequence { id, held: Held::default() });
        };
        context.share(from.id, id, self.divisible.then_some(common));
        let held = self.cells.share(&from.held, common);
        let sequence = Sequence { id, held };
        // A sliding-window or recurrent memory may not have all of it.
        if context.end(id) == common && (!self.divisible || context.start(id) == Some(0)) {
            return Some(sequence);
        }
        context.truncate(id, 0);
        self.cells.release(sequence.held);
        Some(Sequence { id, held: Held::default() })
    }

    /// A sequence that shares all of another, for a further answer to the same prompt.
    pub(crate) fn twin(&mut self, context: &mut Context, of: &Sequence) -> Option<Sequence> {
        let id = self.free_id(context)?;
        context.share(of.id, id, self.divisible.then_some(of.held.len()));
        Some(Sequence { id, held: self.cells.share(&of.held, of.held.len()) })
    }

    /// A sequence that shares the first `tokens` of another; `None` also when the memory cannot be cut there.
    pub(crate) fn head(&mut self, context: &mut Context, of: &Sequence, tokens: usize) -> Option<Sequence> {
        if tokens == of.held.len() {
            return self.twin(context, of);
        }
        if !self.divisible || tokens > of.held.len() {
            return None;
        }
        let id = self.free_id(context)?;
        context.share(of.id, id, Some(tokens));
        Some(Sequence { id, held: self.cells.share(&of.held, tokens) })
    }

    /// An empty sequence with `count` cells taken, for a state that is read from disk.
    pub(crate) fn reserve(&mut self, context: &mut Context, count: usize) -> Option<Sequence> {
        let id = self.free_id(context)?;
        let mut held = Held::default();
        if self.make_room(context, count) && self.cells.grow(&mut held, count) {
            return Some(Sequence { id, held });
        }
        self.ids.push(id);
        None
    }

    fn free_id(&mut self, context: &mut Context) -> Option<SeqId> {
        if self.ids.is_empty() {
            self.evict(context);
        }
        self.ids.pop()
    }

    /// Makes sure that `count` cells are free, at the cost of retained sequences.
    pub(crate) fn make_room(&mut self, context: &mut Context, count: usize) -> bool {
        while self.cells.free() < count {
            if !self.evict(context) {
                return false;
            }
        }
        true
    }

    /// Cells that are free now.
    pub(crate) fn free(&self) -> usize {
        self.cells.free()
    }

    /// Takes cells for tokens that the next step computes.
    pub(crate) fn grow(&mut self, sequence: &mut Sequence, count: usize) -> bool {
        self.cells.grow(&mut sequence.held, count)
    }

    /// Brings a sequence to what is really in llama.cpp's memory, and to at most `keep` tokens.
    pub(crate) fn settle(&mut self, context: &mut Context, sequence: &mut Sequence, keep: usize) {
        let there = context.end(sequence.id).min(keep);
        let there = if context.end(sequence.id) > there && !context.truncate(sequence.id, there) {
            context.truncate(sequence.id, 0);
            0
        } else {
            there
        };
        self.cells.truncate(&mut sequence.held, there);
    }

    /// Forgets a sequence.
    pub(crate) fn release(&mut self, context: &mut Context, sequence: Sequence) {
        context.truncate(sequence.id, 0);
        self.cells.release(sequence.held);
        self.ids.push(sequence.id);
    }

    /// Keeps a sequence that is no longer live, for prompts that begin like it.
    pub(crate) fn retain(
        &mut self,
        context: &mut Context,
        sequence: Sequence,
        tokens: &[TokenId],
        kinship: &Rc<Kinship>,
    ) {
        let tokens: Vec<TokenId> = tokens.iter().take(sequence.held.len()).copied().collect();
        if tokens.is_empty() || self.retained_limit == 0 || tokens.len() < sequence.held.len() {
            return self.release(context, sequence);
        }
        self.tick += 1;
        let mut sequence = sequence;
        if self.divisible {
            // A sequence that is the beginning of another adds nothing to it.
            let tick = self.tick;
            let longer = self
                .retained
                .iter_mut()
                .find(|one| one.kinship == *kinship && one.tokens.starts_with(&tokens));
            if let Some(longer) = longer {
                longer.used = tick;
                return self.release(context, sequence);
            }
            while let Some(index) = self
                .retained
                .iter()
                .position(|one| one.kinship == *kinship && tokens.starts_with(&one.tokens))
            {
                let shorter = self.retained.swap_remove(index);
                self.release(context, shorter.sequence);
            }
        }
        self.cells.retain(&mut sequence.held);
        self.retained.push(Retained { sequence, tokens, kinship: Rc::clone(kinship), used: self.tick });
        while self.cells.retained() > self.retained_limit && self.evict(context) {}
    }

    /// Forgets the retained sequence that has not been used for longest. False: there is none.
    pub(crate) fn evict(&mut self, context: &mut Context) -> bool {
        let oldest = self.retained.iter().enumerate().min_by_key(|(_, one)| one.used).map(|(index, _)| index);
        let Some(index) = oldest else { return false };
        let one = self.retained.swap_remove(index);
        self.release(context, one.sequence);
        true
    }
}
