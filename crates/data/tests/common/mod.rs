//! Detection sets drawn at random.

use longtail_data::{DetectionDataset, DetectionDatasetBuilder, NewAnnotation, Outline, RgbImage};
use longtail_types::{BBox, ClassMap, Mask};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// What an image and its objects are made of.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    /// Ids and names of classes.
    classes: Vec<(u64, String)>,
    images: Vec<DrawnImage>,
}

#[derive(Debug, Clone)]
struct DrawnImage {
    id: u64,
    /// `[height, width]`
    size: [usize; 2],
    objects: Vec<DrawnObject>,
    negative: Vec<Index>,
}

#[derive(Debug, Clone)]
struct DrawnObject {
    label: Index,
    /// Two corners in fractions of the image.
    corners: [f32; 4],
    outline: DrawnOutline,
    area: Option<f64>,
    is_crowd: bool,
    is_ignored: bool,
}

#[derive(Debug, Clone)]
enum DrawnOutline {
    None,
    Polygons(Vec<Vec<f64>>),
    /// Left, top, width and height in fractions of what is left of the image, and pixels.
    Mask([Index; 4], Vec<bool>),
}

/// One to four classes, up to three images of up to 40 x 40 pixels, up to four objects in each.
pub(crate) fn drawn() -> impl Strategy<Value = Drawn> {
    let letter = select("abcXYZ019 _-.,:#'&<>/é漢".chars().collect::<Vec<_>>());
    let name = vec(letter, 1..6).prop_map(String::from_iter);
    let classes = (btree_set(0..500_u64, 4), btree_set(name, 1..5));
    let classes = classes.prop_map(|(ids, names)| ids.into_iter().zip(names).collect());
    let images = vec(
        (1..1000_u64, [1..41_usize, 1..41], vec(object(), 0..5), vec(any::<Index>(), 0..3)),
        1..4,
    );
    (classes, images).prop_map(|(classes, images)| {
        let mut last = 0;
        let images = images.into_iter().map(|(step, size, objects, negative)| {
            last += step;
            DrawnImage { id: last, size, objects, negative }
        });
        Drawn { classes, images: images.collect() }
    })
}

fn object() -> impl Strategy<Value = DrawnObject> {
    let corners = [-0.25..1.25_f32, -0.25..1.25, -0.25..1.25, -0.25..1.25];
    let corners = prop_oneof![corners, Just([0.0, 0.0, 1.0, 1.0]), Just([0.5, 0.25, 0.5, 0.75])];
    let number = prop_oneof![-10.0..50.0_f64, (0..5000_i32).prop_map(|n| f64::from(n) / 100.0)];
    let polygon = (3..6_usize).prop_flat_map(move |points| vec(number.clone(), 2 * points));
    let outline = prop_oneof![
        Just(DrawnOutline::None),
        vec(polygon, 1..3).prop_map(DrawnOutline::Polygons),
        (any::<[Index; 4]>(), vec(any::<bool>(), 16))
            .prop_map(|(place, pixels)| DrawnOutline::Mask(place, pixels)),
    ];
    let area = option::of(0.0..2000.0_f64);
    (any::<Index>(), corners, outline, area, any::<bool>(), any::<bool>()).prop_map(
        |(label, corners, outline, area, is_crowd, is_ignored)| DrawnObject {
            label,
            corners,
            outline,
            area,
            is_crowd,
            is_ignored,
        },
    )
}

impl Drawn {
    /// The set; one that is federated says of each image what is not in it.
    pub(crate) fn build(&self, is_federated: bool) -> DetectionDataset {
        let ids = self.classes.iter().map(|(id, name)| (*id, name.clone(), None));
        let mut builder = DetectionDatasetBuilder::new(ClassMap::from_ids(ids).unwrap());
        for drawn in &self.images {
            let [height, width] = drawn.size;
            let image = RgbImage::filled(width, height, [9, 8, 7]);
            let index = builder.add_pixels(drawn.id, image).unwrap();
            for object in &drawn.objects {
                let new = object.annotation(self.classes.len(), drawn.size);
                builder.annotate(index, new).unwrap();
            }
            if is_federated {
                let label = |index: &Index| index.index(self.classes.len());
                let mut labels: Vec<usize> = drawn.negative.iter().map(label).collect();
                labels.sort_unstable();
                labels.dedup();
                builder.federate(index, &labels[..labels.len() / 2], &labels).unwrap();
            }
        }
        builder.build().unwrap()
    }
}

impl DrawnObject {
    fn annotation(&self, num_classes: usize, size: [usize; 2]) -> NewAnnotation {
        let [height, width] = size.map(|side| side as f32);
        let [a, b, c, d] = self.corners;
        let (left, right) = (a.min(c) * width, a.max(c) * width);
        let (top, bottom) = (b.min(d) * height, b.max(d) * height);
        let mut bbox = BBox::new(left, top, right, bottom);
        if bbox.clip(size).is_empty() {
            // A box beside its image is refused by readers.
            bbox = bbox.clip(size);
        }
        NewAnnotation {
            label: self.label.index(num_classes),
            bbox,
            outline: self.outline.outline(size),
            area: self.area,
            is_crowd: self.is_crowd,
            is_ignored: self.is_ignored,
        }
    }
}

impl DrawnOutline {
    fn outline(&self, [height, width]: [usize; 2]) -> Outline {
        match self {
            Self::None => Outline::None,
            Self::Polygons(polygons) => Outline::Polygons(polygons.clone()),
            Self::Mask([left, top, right, bottom], pixels) => {
                let (left, top) = (left.index(width), top.index(height));
                let width = 1 + right.index(width - left);
                let height = 1 + bottom.index(height - top);
                let pixels = pixels.iter().copied().cycle().take(width * height).collect();
                Outline::Mask(Mask::new([left, top], [height, width], pixels).unwrap())
            }
        }
    }
}
