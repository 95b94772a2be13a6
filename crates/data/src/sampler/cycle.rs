//! Endless shuffled passes over a list.

use longtail_types::KeyedRng;

/// Gives the items of a list in shuffled order, again and again, shuffled anew for every pass.
pub(crate) struct ShuffledCycle {
    items: Vec<usize>,
    next: usize,
    rng: KeyedRng,
}

impl ShuffledCycle {
    pub(crate) fn new(items: Vec<usize>, rng: KeyedRng) -> Self {
        Self { next: items.len(), items, rng }
    }
}

impl Iterator for ShuffledCycle {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.next == self.items.len() {
            self.rng.shuffle(&mut self.items);
            self.next = 0;
        }
        self.next += 1;
        self.items.get(self.next - 1).copied()
    }
}
