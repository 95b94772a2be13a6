//! Cutting planes into pieces that stay in cache, and pieces into vectors.

use super::planes::Planes;
use super::tile::Slot;

/// Values of shifted planes held at a time; fits the second-level cache.
const PLANE_VALUES: usize = 96 << 10;
/// Values that may be read behind the last plane.
pub(super) const SLACK: usize = 32;
/// Where one output position after the other lies.
pub(super) struct Slots {
    pub(super) slots: Vec<Slot>,
    /// Distance between the halves of a slot in the input, or 0.
    pub(super) split: usize,
    /// Whether the slots cover every output position once and nothing else.
    pub(super) is_exact: bool,
    /// Distance between output rows.
    pub(super) pitch: usize,
    /// Output values covered.
    pub(super) len: usize,
}

impl Slots {
    /// Slots for `rows` rows: aligned with rows where rows are full vectors or half vectors, else
    /// over the planes with their padding, whose columns are dropped later.
    pub(super) fn new(planes: &Planes, rows: usize, lanes: usize) -> Self {
        let columns = planes.geometry().output[1];
        let pitch = planes.pitch;
        if columns.is_multiple_of(lanes) {
            let starts = (0..rows).flat_map(|y| (0..columns).step_by(lanes).map(move |x| (y, x)));
            let slots = starts
                .map(|(y, x)| Slot { input: y * pitch + x, output: y * columns + x })
                .collect();
            return Self { slots, split: 0, is_exact: true, pitch: columns, len: rows * columns };
        }
        if 2 * columns == lanes && rows.is_multiple_of(2) {
            let slots = (0..rows)
                .step_by(2)
                .map(|y| Slot { input: y * pitch, output: y * columns })
                .collect();
            return Self {
                slots,
                split: pitch,
                is_exact: true,
                pitch: columns,
                len: rows * columns,
            };
        }
        let count = (rows.saturating_sub(1) * pitch + columns).div_ceil(lanes);
        let slots = (0..count).map(|i| Slot { input: i * lanes, output: i * lanes }).collect();
        Self { slots, split: 0, is_exact: false, pitch, len: count * lanes }
    }

    /// Groups of at most `most` slots, without a lonely last one where possible.
    pub(super) fn groups(&self, most: usize) -> impl Iterator<Item = &[Slot]> {
        let mut rest = self.slots.as_slice();
        std::iter::from_fn(move || {
            let size = match rest.len() {
                0 => return None,
                len if len == most + 1 => len.div_ceil(2),
                len => len.min(most),
            };
            let (group, tail) = rest.split_at(size);
            rest = tail;
            Some(group)
        })
    }
}

/// How the rows and channels of a plane are cut so that a piece stays in cache.
pub(super) struct Blocking {
    /// Output rows per band.
    pub(super) rows: usize,
    pub(super) bands: usize,
    /// Source channels per block.
    pub(super) channels: usize,
}

impl Blocking {
    pub(super) fn new(planes: &Planes, channels: usize) -> Self {
        let [height, width] = planes.geometry().output;
        let fits = |rows: usize| channels * planes.channel_len(rows) <= PLANE_VALUES;
        let mut rows = height.max(1);
        if !fits(rows) {
            // Bands much smaller than this waste time on their halo.
            let least = 256_usize.div_ceil(width.max(1)).clamp(1, rows);
            while rows > least && !fits(rows) {
                rows -= 1;
            }
        }
        let bands = height.div_ceil(rows);
        let rows = height.div_ceil(bands.max(1));
        let channels_per_block = PLANE_VALUES / planes.channel_len(rows).max(1);
        Self { rows, bands, channels: channels_per_block.clamp(1, channels.max(1)) }
    }

    /// Whether an image is one band and one block of channels.
    pub(super) fn is_whole(&self, channels: usize) -> bool {
        self.bands == 1 && self.channels == channels
    }
}

/// Offsets of all taps of all channels of a block.
pub(super) fn channel_offsets(planes: &Planes, blocking: &Blocking) -> Vec<usize> {
    let channel_len = planes.channel_len(blocking.rows);
    let taps = planes.offsets(blocking.rows);
    let channels = 0..blocking.channels;
    channels.flat_map(|c| taps.iter().map(move |tap| c * channel_len + tap)).collect()
}
