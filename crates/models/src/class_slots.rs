//! The order of the classes in a weight file.

use serde::{Deserialize, Serialize};

use crate::coco91::Coco91;

/// How the classes of a weight file become those of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabelTable {
    /// One for one.
    #[default]
    Same,
    /// The file has [`Coco91`]'s slots, the model COCO's 80 classes.
    Coco91,
}

/// A tensor whose first axis is made of blocks: `outer` times, for every slot, `inner` rows.
#[derive(Debug, Clone)]
pub(crate) struct ClassAxis {
    pub(crate) outer: usize,
    pub(crate) inner: usize,
    /// The orders a file may have; ours are written in the first.
    pub(crate) orders: Vec<SlotOrder>,
}

/// Which slot of a file each slot of the model comes from.
#[derive(Debug, Clone)]
pub(crate) struct SlotOrder {
    /// Slots in the file.
    pub(crate) num_slots: usize,
    pub(crate) order: Vec<usize>,
    pub(crate) labels: LabelTable,
}

/// A [`ClassAxis`] with the order of a given file.
#[derive(Debug, Clone)]
pub(crate) struct Gather {
    outer: usize,
    order: SlotOrder,
}

impl SlotOrder {
    /// The same slots in the same order.
    pub(crate) fn same(num_slots: usize) -> Self {
        Self { num_slots, order: (0..num_slots).collect(), labels: LabelTable::Same }
    }

    /// torchvision's background comes first, ours last.
    pub(crate) fn background_first(num_classes: usize) -> Self {
        let order = (1..=num_classes).chain([0]).collect();
        Self { num_slots: num_classes + 1, order, labels: LabelTable::Same }
    }

    /// COCO's 80 classes among 91 slots; with background, slot 0, where the model has it.
    pub(crate) fn coco91(has_background: bool) -> Self {
        let order = Coco91::slots().chain(has_background.then_some(0)).collect();
        Self { num_slots: Coco91::NUM_SLOTS, order, labels: LabelTable::Coco91 }
    }
}

impl ClassAxis {
    /// The order of a file whose tensor has this shape, if it may have it.
    pub(crate) fn gather(&self, shape: &[usize]) -> Option<(Gather, LabelTable)> {
        let rows = shape.first().copied()?;
        let fits = |order: &&SlotOrder| self.outer * order.num_slots * self.inner == rows;
        let order = self.orders.iter().find(fits)?.clone();
        let labels = order.labels;
        Some((Gather { outer: self.outer, order }, labels))
    }

    /// The shape that a file should have, for messages.
    pub(crate) fn file_shape(&self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        if let (Some(rows), Some(order)) = (shape.first_mut(), self.orders.first()) {
            *rows = self.outer * order.num_slots * self.inner;
        }
        shape
    }

    /// Values of the model in the order of the file that is written.
    pub(crate) fn scatter(&self, values: &[f32]) -> Vec<f32> {
        let Some(SlotOrder { num_slots, order, .. }) = self.orders.first() else {
            return values.to_vec();
        };
        let block = values.len() / (self.outer * order.len()).max(1);
        let mut stored = vec![0.0; self.outer * num_slots * block];
        let blocks = values.chunks_exact(block.max(1)).enumerate();
        for (index, values) in blocks {
            let (outer, slot) = (index / order.len(), index % order.len());
            stored[(outer * num_slots + order[slot]) * block..][..block].copy_from_slice(values);
        }
        stored
    }
}

impl Gather {
    /// Values of the file in the order of the model.
    pub(crate) fn gather(&self, stored: &[f32]) -> Vec<f32> {
        let SlotOrder { num_slots, order, .. } = &self.order;
        let block = stored.len() / (self.outer * num_slots).max(1);
        let slots = (0..self.outer).flat_map(|outer| order.iter().map(move |slot| (outer, slot)));
        slots
            .flat_map(|(outer, slot)| &stored[(outer * num_slots + slot) * block..][..block])
            .copied()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(outer: usize, inner: usize, orders: Vec<SlotOrder>) -> ClassAxis {
        ClassAxis { outer, inner, orders }
    }

    #[test]
    fn background_moves_to_the_end_and_back() {
        let axis = axis(1, 2, vec![SlotOrder::background_first(2)]);
        let file = [-1.0, -2.0, 1.0, 2.0, 3.0, 4.0];
        let (order, labels) = axis.gather(&[6]).unwrap();
        let ours = order.gather(&file);
        assert_eq!(
            (ours.as_slice(), labels),
            (&[1.0, 2.0, 3.0, 4.0, -1.0, -2.0][..], LabelTable::Same)
        );
        assert_eq!(axis.scatter(&ours), file);
        assert!(axis.gather(&[7]).is_none() && axis.gather(&[]).is_none());
        assert_eq!(axis.file_shape(&[6, 5]), [6, 5]);
    }

    #[test]
    fn anchors_keep_their_classes_together() {
        let orders = vec![SlotOrder::same(80), SlotOrder::coco91(false)];
        let axis = axis(2, 1, orders);
        let file: Vec<f32> = (0..182).map(|i| i as f32).collect();
        let (order, labels) = axis.gather(&[182, 3, 3, 3]).unwrap();
        let ours = order.gather(&file);
        assert_eq!((ours.len(), labels), (160, LabelTable::Coco91));
        assert_eq!((ours[0], ours[11], ours[79], ours[80]), (1.0, 13.0, 90.0, 92.0));
        let (order, labels) = axis.gather(&[160]).unwrap();
        assert_eq!((order.gather(&ours), labels), (axis.scatter(&ours), LabelTable::Same));
    }
}
