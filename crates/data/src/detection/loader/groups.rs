//! Which images make a batch.

/// Places of an epoch's order, batch by batch.
///
/// Images of one `shape` come together: each goes to the batch of its shape, which
/// leaves when it is full. What is left at the end are batches that are not full, dropped if
/// `drop_last`.
pub(super) fn batches(
    order: &[usize],
    batch_size: usize,
    drop_last: bool,
    shape: impl Fn(usize) -> usize,
) -> Vec<Vec<usize>> {
    let mut open: Vec<Vec<usize>> = Vec::new();
    let mut full = Vec::with_capacity(order.len().div_ceil(batch_size));
    for (place, &index) in order.iter().enumerate() {
        let shape = shape(index);
        if open.len() <= shape {
            open.resize_with(shape + 1, Vec::new);
        }
        open[shape].push(place);
        if open[shape].len() == batch_size {
            full.push(std::mem::take(&mut open[shape]));
        }
    }
    if !drop_last {
        full.extend(open.into_iter().filter(|batch| !batch.is_empty()));
    }
    full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_one_shape_come_together() {
        let order = [4, 1, 3, 3, 0, 2, 5];
        let shape = |index: usize| index % 2;
        let expected: [&[usize]; 4] = [&[1, 2], &[0, 4], &[3, 6], &[5]];
        assert_eq!(batches(&order, 2, false, shape), expected);
        assert_eq!(batches(&order, 2, true, shape), expected[..3]);
        let expected: [&[usize]; 3] = [&[0, 1, 2], &[3, 4, 5], &[6]];
        assert_eq!(batches(&order, 3, false, |_| 0), expected);
        assert!(batches(&[], 3, false, |_| 0).is_empty());
    }
}
