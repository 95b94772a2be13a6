//! Row counts that tensors are padded to.

/// The smallest of 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, ... (powers of two and their 1.5 fold) that is
/// at least `count`; 1 for 0.
///
/// Tensors whose number of rows changes from step to step are padded to it, so that a GPU compiles
/// its kernels for a few shapes only.
pub fn bucket(count: usize) -> usize {
    let power = count.checked_next_power_of_two().unwrap_or(count);
    let between = power / 4 * 3;
    if power >= 4 && between >= count { between } else { power }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_bucket_that_holds_them() {
        let buckets = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];
        for count in 0..=512 {
            let expected = buckets.into_iter().find(|&size| size >= count).unwrap();
            assert_eq!(bucket(count), expected, "{count}");
        }
        assert_eq!(bucket(usize::MAX), usize::MAX);
    }
}
