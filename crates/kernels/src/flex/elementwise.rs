//! Rectified linear units over contiguous memory.
#![allow(unsafe_code, reason = "one version per instruction set")]

use rayon::prelude::*;

use super::norm::Place;
use super::simd::multiversion;

/// Values per task.
const PIECE: usize = 64 << 10;

multiversion! {
    fn relu_piece(x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = if x < 0.0 { 0.0 } else { x }; // keeps NaN
        }
    }
}

multiversion! {
    fn relu_piece_in_place(y: &mut [f32]) {
        for y in y {
            *y = if *y < 0.0 { 0.0 } else { *y };
        }
    }
}

multiversion! {
    fn add_relu_piece(a: &[f32], b: &[f32], y: &mut [f32]) {
        for (y, (a, b)) in y.iter_mut().zip(a.iter().zip(b)) {
            let sum = a + b;
            *y = if sum < 0.0 { 0.0 } else { sum };
        }
    }
}

multiversion! {
    fn add_relu_piece_in_place(y: &mut [f32], b: &[f32]) {
        for (y, b) in y.iter_mut().zip(b) {
            let sum = *y + b;
            *y = if sum < 0.0 { 0.0 } else { sum };
        }
    }
}

multiversion! {
    fn add_piece(a: &[f32], b: &[f32], y: &mut [f32]) {
        for (y, (a, b)) in y.iter_mut().zip(a.iter().zip(b)) {
            *y = a + b;
        }
    }
}

multiversion! {
    fn add_piece_in_place(y: &mut [f32], b: &[f32]) {
        for (y, b) in y.iter_mut().zip(b) {
            *y += b;
        }
    }
}

multiversion! {
    fn mask_piece(gradient: &[f32], output: &[f32], y: &mut [f32]) {
        for (y, (gradient, output)) in y.iter_mut().zip(gradient.iter().zip(output)) {
            *y = if *output <= 0.0 { 0.0 } else { *gradient };
        }
    }
}

multiversion! {
    fn mask_piece_in_place(gradient: &mut [f32], output: &[f32]) {
        for (gradient, output) in gradient.iter_mut().zip(output) {
            *gradient = if *output <= 0.0 { 0.0 } else { *gradient };
        }
    }
}

/// `task(range, values)` for every piece of an output.
fn write(values: &mut [f32], task: impl Fn(std::ops::Range<usize>, &mut [f32]) + Send + Sync) {
    values.par_chunks_mut(PIECE).enumerate().for_each(|(index, piece)| {
        let start = index * PIECE;
        task(start..start + piece.len(), piece);
    });
}

/// `max(x, 0)`
pub(super) fn relu(place: Place) {
    match place {
        Place::Fresh { from, to } => write(to, |range, y| relu_piece(&from[range], y)),
        Place::Same(values) => write(values, |_, y| relu_piece_in_place(y)),
    }
}

/// `max(a + b, 0)`
pub(super) fn add_relu(place: Place, b: &[f32]) {
    match place {
        Place::Fresh { from, to } => {
            write(to, |range, y| add_relu_piece(&from[range.clone()], &b[range], y));
        }
        Place::Same(values) => write(values, |range, y| add_relu_piece_in_place(y, &b[range])),
    }
}

/// `a + b`
pub(super) fn add(place: Place, b: &[f32]) {
    match place {
        Place::Fresh { from, to } => {
            write(to, |range, y| add_piece(&from[range.clone()], &b[range], y));
        }
        Place::Same(values) => write(values, |range, y| add_piece_in_place(y, &b[range])),
    }
}

/// Zeros everywhere.
pub(super) fn clear(values: &mut [f32]) {
    write(values, |_, y| y.fill(0.0));
}

/// The gradient where the output is positive (or NaN), else 0.
pub(super) fn mask(place: Place, output: &[f32]) {
    match place {
        Place::Fresh { from, to } => {
            write(to, |range, y| mask_piece(&from[range.clone()], &output[range], y));
        }
        Place::Same(values) => write(values, |range, y| mask_piece_in_place(y, &output[range])),
    }
}
