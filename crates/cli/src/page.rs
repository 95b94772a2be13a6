//! What the pages of `data browse` and `report` share: room for pictures, colours, threads.

use std::num::NonZero;
use std::thread;

use anyhow::bail;

/// Colour of an annotated object.
pub(crate) const OBJECT: [u8; 3] = [64, 200, 90];
/// Colour of a false detection.
pub(crate) const FALSE: [u8; 3] = [235, 70, 50];

/// Bytes that the pictures of a page may still take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    left: usize,
    is_spent: bool,
}

impl Budget {
    /// Room for so many megabytes; `option` is what it is called on the command line.
    pub(crate) fn from_megabytes(option: &str, megabytes: f64) -> anyhow::Result<Self> {
        if !(0.0..=2000.0).contains(&megabytes) {
            bail!("{option} {megabytes}: a page can hold 0 to 2000 megabytes of pictures");
        }
        Ok(Self { left: (megabytes * 1e6) as usize, is_spent: false })
    }

    /// Whether there is room for so many bytes; then they are taken. Once something did not fit,
    /// nothing else does, so that what is shown does not depend on how well it compresses.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        match self.left.checked_sub(bytes).filter(|_| !self.is_spent) {
            Some(left) => self.left = left,
            None => self.is_spent = true,
        }
        !self.is_spent
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.is_spent
    }
}

/// `5.3 MB`.
pub(crate) fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// The same function on every item, on all cores; results in the order of the items.
pub(crate) fn in_parallel<T: Sync, R: Send>(items: &[T], make: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(8);
    let part = items.len().div_ceil(threads).max(1);
    let mut made: Vec<Option<R>> = items.iter().map(|_| None).collect();
    thread::scope(|scope| {
        for (items, made) in items.chunks(part).zip(made.chunks_mut(part)) {
            scope.spawn(|| {
                for (item, made) in items.iter().zip(made) {
                    *made = Some(make(item));
                }
            });
        }
    });
    made.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_something_did_not_fit_nothing_else_does() {
        let mut budget = Budget::from_megabytes("--max-mb", 1e-4).unwrap();
        assert!(budget.take(60) && !budget.is_spent());
        assert!(!budget.take(41) && budget.is_spent());
        assert!(!budget.take(1));
        for wrong in [-1.0, f64::NAN, 1e9] {
            let error = Budget::from_megabytes("--max-mb", wrong).unwrap_err().to_string();
            assert!(error.starts_with("--max-mb"), "{error}");
        }
    }

    #[test]
    fn results_keep_their_order() {
        let items: Vec<usize> = (0..1000).collect();
        let doubled: Vec<usize> = items.iter().map(|item| 2 * item).collect();
        assert_eq!(in_parallel(&items, |item| 2 * item), doubled);
        assert!(in_parallel(&[], |item: &usize| 2 * item).is_empty());
    }
}
