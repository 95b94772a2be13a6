//! The label table of torchvision's COCO weights.

use longtail_types::ClassMap;

/// COCO's 80 classes by their ids, which leave gaps.
#[rustfmt::skip]
const CLASSES: [(usize, &str); 80] = [
    (1, "person"), (2, "bicycle"), (3, "car"), (4, "motorcycle"), (5, "airplane"), (6, "bus"),
    (7, "train"), (8, "truck"), (9, "boat"), (10, "traffic light"), (11, "fire hydrant"),
    (13, "stop sign"), (14, "parking meter"), (15, "bench"), (16, "bird"), (17, "cat"), (18, "dog"),
    (19, "horse"), (20, "sheep"), (21, "cow"), (22, "elephant"), (23, "bear"), (24, "zebra"),
    (25, "giraffe"), (27, "backpack"), (28, "umbrella"), (31, "handbag"), (32, "tie"),
    (33, "suitcase"), (34, "frisbee"), (35, "skis"), (36, "snowboard"), (37, "sports ball"),
    (38, "kite"), (39, "baseball bat"), (40, "baseball glove"), (41, "skateboard"),
    (42, "surfboard"), (43, "tennis racket"), (44, "bottle"), (46, "wine glass"), (47, "cup"),
    (48, "fork"), (49, "knife"), (50, "spoon"), (51, "bowl"), (52, "banana"), (53, "apple"),
    (54, "sandwich"), (55, "orange"), (56, "broccoli"), (57, "carrot"), (58, "hot dog"),
    (59, "pizza"), (60, "donut"), (61, "cake"), (62, "chair"), (63, "couch"), (64, "potted plant"),
    (65, "bed"), (67, "dining table"), (70, "toilet"), (72, "tv"), (73, "laptop"), (74, "mouse"),
    (75, "remote"), (76, "keyboard"), (77, "cell phone"), (78, "microwave"), (79, "oven"),
    (80, "toaster"), (81, "sink"), (82, "refrigerator"), (84, "book"), (85, "clock"), (86, "vase"),
    (87, "scissors"), (88, "teddy bear"), (89, "hair drier"), (90, "toothbrush"),
];

/// The 91 slots of torchvision's COCO detectors: a class stands at its COCO id, 1 to 90, and slot 0
/// and ten ids in between are not used.
///
/// A detector of 80 classes loads such a file by picking the slots; see
/// [`Detector::load_weights`](crate::Detector::load_weights). A detector of all slots keeps them, and
/// [`label`](Self::label) turns its labels into dense ones. In RetinaNet a label is a slot; in
/// Faster and Mask R-CNN it is a slot less 1, as background, slot 0, is no class.
#[derive(Clone, Copy, Debug)]
pub struct Coco91;

impl Coco91 {
    /// Slots, used or not.
    pub const NUM_SLOTS: usize = 91;

    /// Classes.
    pub const NUM_CLASSES: usize = CLASSES.len();

    /// The dense label, `0..80`, of a slot; `None` for the slots that are not used.
    pub fn label(slot: usize) -> Option<usize> {
        CLASSES.binary_search_by_key(&slot, |(id, _)| *id).ok()
    }

    /// The slot of each dense label.
    pub fn slots() -> impl ExactSizeIterator<Item = usize> {
        CLASSES.iter().map(|(id, _)| *id)
    }

    /// The 80 classes in dense order, with COCO's ids and names.
    pub fn class_map() -> ClassMap {
        let classes = CLASSES.iter().map(|&(id, name)| (id as u64, name.to_owned(), None));
        ClassMap::from_ids(classes).unwrap_or_default() // no name stands twice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_turn_into_labels_and_back() {
        let unused = [0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91];
        assert!(unused.iter().all(|&slot| Coco91::label(slot).is_none()));
        for (label, slot) in Coco91::slots().enumerate() {
            assert_eq!(Coco91::label(slot), Some(label));
        }
        let map = Coco91::class_map();
        assert_eq!(map.len(), Coco91::NUM_CLASSES);
        assert_eq!((map.name(0), map.id(0)), (Some("person"), Some(1)));
        assert_eq!((map.name(79), map.id(79)), (Some("toothbrush"), Some(90)));
        assert_eq!(map.label_of(44), map.index_of("bottle"));
    }
}
