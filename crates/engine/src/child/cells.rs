//! Which sequence holds which cells of the KV cache: an exact mirror of llama.cpp's own books, which cannot be asked.
//!
//! A cell holds the state of one token at one position. Sequences with a common prefix share its cells; a cell is free when
//! no sequence holds it. With the mirror the scheduler knows *before* a step whether there is room, and what the
//! retained prefixes cost.

/// The cells of one context.
#[derive(Debug)]
pub(crate) struct Cells {
    /// How many sequences hold the cell, and how many of these are retained ones.
    holders: Vec<(u16, u16)>,
    free: Vec<u32>,
    retained: usize,
}

/// The cells of one sequence, by position. Give it back to [`Cells::release`]: dropping it leaks the cells.
#[derive(Debug, Default)]
pub(crate) struct Held {
    cells: Vec<u32>,
    retained: bool,
}

impl Held {
    /// Tokens of the sequence that are in the cache.
    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }
}

impl Cells {
    /// All free.
    pub(crate) fn new(capacity: usize) -> Self {
        let count = u32::try_from(capacity).unwrap_or(u32::MAX);
        Self { holders: vec![(0, 0); capacity], free: (0..count).rev().collect(), retained: 0 }
    }

    /// Cells in all.
    pub(crate) fn capacity(&self) -> usize {
        self.holders.len()
    }

    /// Cells that no sequence holds.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Cells that at least one retained sequence holds.
    pub(crate) fn retained(&self) -> usize {
        self.retained
    }

    /// Takes `count` new cells at the end of a sequence. False: there are not so many, and nothing has changed.
    pub(crate) fn grow(&mut self, held: &mut Held, count: usize) -> bool {
        if self.free.len() < count {
            return false;
        }
        let taken = self.free.split_off(self.free.len() - count);
        for cell in taken {
            self.hold(cell, held.retained);
            held.cells.push(cell);
        }
        true
    }

    /// A sequence that shares the first `count` cells of another.
    pub(crate) fn share(&mut self, held: &Held, count: usize) -> Held {
        let cells: Vec<u32> = held.cells.iter().take(count).copied().collect();
        for cell in &cells {
            self.hold(*cell, false);
        }
        Held { cells, retained: false }
    }

    /// Gives up all cells from position `keep` on.
    pub(crate) fn truncate(&mut self, held: &mut Held, keep: usize) {
        while held.cells.len() > keep {
            if let Some(cell) = held.cells.pop() {
                self.drop_hold(cell, held.retained);
            }
        }
    }

    /// Gives up all cells.
    pub(crate) fn release(&mut self, mut held: Held) {
        self.truncate(&mut held, 0);
    }

    /// Counts the cells of a sequence among the retained ones.
    pub(crate) fn retain(&mut self, held: &mut Held) {
        if std::mem::replace(&mut held.retained, true) {
            return;
        }
        for cell in &held.cells {
            if let Some((_, retained)) = self.holders.get_mut(*cell as usize) {
                *retained += 1;
                self.retained += usize::from(*retained == 1);
            }
        }
    }

    fn hold(&mut self, cell: u32, is_retained: bool) {
        if let Some((all, retained)) = self.holders.get_mut(cell as usize) {
            *all += 1;
            if is_retained {
                *retained += 1;
                self.retained += usize::from(*retained == 1);
            }
        }
    }

    fn drop_hold(&mut self, cell: u32, was_retained: bool) {
        if let Some((all, retained)) = self.holders.get_mut(cell as usize) {
            if was_retained {
                *retained -= 1;
                self.retained -= usize::from(*retained == 0);
            }
            *all -= 1;
            if *all == 0 {
                self.free.push(cell);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shared_cells_are_freed_when_the_last_holder_leaves() {
        let mut cells = Cells::new(8);
        let mut first = Held::default();
        assert!(cells.grow(&mut first, 5));
        let mut second = cells.share(&first, 3);
        assert!(cells.grow(&mut second, 2));
        assert_eq!(cells.free(), 1);
        assert!(!cells.grow(&mut second, 2));
        assert_eq!(second.len(), 5);
        cells.retain(&mut first);
        assert_eq!(cells.retained(), 5);
        cells.release(first);
        assert_eq!((cells.free(), cells.retained()), (3, 0));
        cells.release(second);
        assert_eq!(cells.free(), 8);
    }

    proptest! {
        /// Whatever is done in whatever order: the free cells are those that no sequence names, and nothing is lost.
        #[test]
        fn the_books_balance(steps in proptest::collection::vec((0u8..5, 0usize..6, 0usize..12), 0..60)) {
            let mut cells = Cells::new(40);
            let mut held: Vec<Held> = Vec::new();
            for (what, which, count) in steps {
                match what {
                    0 => { let mut new = Held::default(); cells.grow(&mut new, count); held.push(new); }
                    1 if which < held.len() => { let new = cells.share(&held[which], count); held.push(new); }
                    2 if which < held.len() => { let mut one = std::mem::take(&mut held[which]); cells.truncate(&mut one, count); held[which] = one; }
                    3 if which < held.len() => { let one = held.swap_remove(which); cells.release(one); }
                    4 if which < held.len() => { let mut one = std::mem::take(&mut held[which]); cells.retain(&mut one); held[which] = one; }
                    _ => {}
                }
                let used: std::collections::HashSet<u32> = held.iter().flat_map(|one| one.cells.iter().copied()).collect();
                let kept: std::collections::HashSet<u32> = held.iter().filter(|one| one.retained).flat_map(|one| one.cells.iter().copied()).collect();
                prop_assert_eq!(cells.free() + used.len(), 40);
                prop_assert_eq!(cells.retained(), kept.len());
            }
        }
    }
}
