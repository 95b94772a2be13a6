//! Masks drawn by a counter: an entry's draw is a function of key, row and column alone, so that
//! every device, in any order, draws the same.

use burn::tensor::{Tensor, TensorData};

/// Bits of a draw.
const BITS: u32 = 24;

/// Columns left out of a softmax at random.
#[derive(Debug, Clone)]
pub struct RandomMask {
    /// 1 for a column that may be left out, 0 for one that stays, `[columns]`.
    pub columns: Tensor<1>,
    /// Probability that such a column is left out of a row, to 2^-24.
    pub probability: f64,
    /// Seed of the draws.
    pub seed: u64,
    /// Number of the draw: another number gives another mask.
    pub draw: u64,
}

impl RandomMask {
    /// Whether the draw leaves out an entry whose column may be left out.
    pub fn is_drawn(&self, row: usize, column: usize) -> bool {
        is_drawn(self.key(), self.bound(), row as u32, column as u32)
    }

    /// Two words made of seed and number of the draw.
    pub(crate) fn key(&self) -> [u32; 2] {
        key(self.seed, self.draw)
    }

    /// A draw below this leaves a column out; at probability 1 every draw is.
    pub(crate) fn bound(&self) -> u32 {
        (self.probability.clamp(0.0, 1.0) * f64::from(1_u32 << BITS)).round() as u32
    }

    /// 1 where an entry is left out unless it is the row's label, `[num_rows, columns]`.
    pub(crate) fn draw(&self, num_rows: usize) -> Tensor<2> {
        let columns = self.columns.clone().without_autodiff();
        let ([num_columns], (key, bound)) = (columns.dims(), (self.key(), self.bound()));
        let row = |row: usize| {
            (0..num_columns)
                .map(move |column| f32::from(is_drawn(key, bound, row as u32, column as u32)))
        };
        let draws: Vec<f32> = (0..num_rows).flat_map(row).collect();
        let draws = TensorData::new(draws, [num_rows, num_columns]);
        Tensor::<2>::from_data(draws, &columns.device()) * columns.unsqueeze()
    }
}

/// Negative entries of background rows that count, at random: those whose draw is below the
/// probability of their column.
#[derive(Debug, Clone)]
pub struct BackgroundDraw {
    /// Probability that an entry of the column counts, to 2^-24, `[columns]`.
    pub probabilities: Tensor<1>,
    /// What one draw decides.
    pub unit: DrawUnit,
    /// Seed of the draws.
    pub seed: u64,
    /// Number of the draw: another number draws anew.
    pub draw: u64,
}

/// What one draw decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrawUnit {
    /// One entry.
    Entry,
    /// A row: where an entry counts, so do those of all columns of the same or higher probability.
    Row,
}

impl BackgroundDraw {
    /// The number in `[0, 1)` that an entry of a background row draws; it counts if the number is
    /// below its column's probability.
    pub fn number(&self, row: usize, column: usize) -> f64 {
        let column = if self.unit == DrawUnit::Row { 0 } else { column };
        f64::from(draw(self.key(), row as u32, column as u32)) / f64::from(1_u32 << BITS)
    }

    /// Two words made of seed and number of the draw.
    pub(crate) fn key(&self) -> [u32; 2] {
        key(self.seed, self.draw)
    }

    /// 1 where an entry counts if it is negative and in a background row, `[num_rows, columns]`.
    pub(crate) fn kept(&self, num_rows: usize) -> Tensor<2> {
        let probabilities = self.probabilities.clone().without_autodiff();
        let [num_columns] = probabilities.dims();
        let row = |row: usize| (0..num_columns).map(move |column| self.number(row, column) as f32);
        let numbers: Vec<f32> = (0..num_rows).flat_map(row).collect();
        let numbers = TensorData::new(numbers, [num_rows, num_columns]);
        let numbers = Tensor::<2>::from_data(numbers, &probabilities.device());
        numbers.lower(probabilities.unsqueeze()).float()
    }
}

/// Two words made of seed and number of a draw.
fn key(seed: u64, draw: u64) -> [u32; 2] {
    // SplitMix64's output function, twice.
    let scramble = |mut word: u64| {
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    };
    let word = scramble(seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
    let word = scramble(word ^ draw.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    [(word >> 32) as u32, word as u32]
}

/// A draw of 24 bits.
fn draw(key: [u32; 2], row: u32, column: u32) -> u32 {
    mix(row_key(key, row) ^ column_key(key, column)) >> (32 - BITS)
}

fn is_drawn(key: [u32; 2], bound: u32, row: u32, column: u32) -> bool {
    draw(key, row, column) < bound
}

/// A bijection of words whose output bits depend on all input bits. Source: Ellis, "lowbias32".
#[inline(always)]
pub(crate) fn mix(word: u32) -> u32 {
    let word = (word ^ word >> 16).wrapping_mul(0x7feb_352d);
    let word = (word ^ word >> 15).wrapping_mul(0x846c_a68b);
    word ^ word >> 16
}

/// The part of a draw that its row decides.
#[inline(always)]
pub(crate) fn row_key(key: [u32; 2], row: u32) -> u32 {
    mix(row.wrapping_add(key[0]))
}

/// The part of a draw that its column decides.
#[inline(always)]
pub(crate) fn column_key(key: [u32; 2], column: u32) -> u32 {
    mix((column ^ 0x9e37_79b9).wrapping_add(key[1]))
}
