//! A step of gradient descent: one pass over value, gradient and velocity.
#![allow(unsafe_code, reason = "one version per instruction set")]

use burn::backend::Flex;
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::pool::Buffer;
use super::simd::multiversion;
use super::tensor::{contiguous, values};
use crate::SgdTerms;
use crate::sgd::SgdBackend;

/// Values per task.
const PIECE: usize = 64 << 10;

/// The terms in single precision.
#[derive(Clone, Copy)]
pub(super) struct Factors {
    lr: f32,
    momentum: f32,
    weight_decay: f32,
}

multiversion! {
    fn plain_piece(value: &mut [f32], velocity: &mut [f32], gradient: &[f32], factors: Factors) {
        let Factors { lr, momentum, weight_decay } = factors;
        for ((p, v), g) in value.iter_mut().zip(velocity).zip(gradient) {
            *v = *v * momentum + (g + *p * weight_decay);
            *p -= *v * lr;
        }
    }
}

multiversion! {
    fn nesterov_piece(value: &mut [f32], velocity: &mut [f32], gradient: &[f32], factors: Factors) {
        let Factors { lr, momentum, weight_decay } = factors;
        for ((p, v), g) in value.iter_mut().zip(velocity).zip(gradient) {
            let g = g + *p * weight_decay;
            *v = *v * momentum + g;
            *p -= (g + *v * momentum) * lr;
        }
    }
}

/// The tensor with memory that nobody else holds.
fn owned(tensor: FlexTensor) -> FlexTensor {
    let tensor = contiguous(tensor);
    if tensor.is_unique() {
        return tensor;
    }
    let mut copy = Buffer::new(values(&tensor).len());
    copy.as_mut_slice().copy_from_slice(values(&tensor));
    copy.into_tensor(tensor.shape())
}

impl SgdBackend for Flex {
    fn fused_sgd_step(
        value: FlexTensor,
        gradient: FlexTensor,
        velocity: FlexTensor,
        terms: SgdTerms,
    ) -> (FlexTensor, FlexTensor) {
        let factors = Factors {
            lr: terms.lr as f32,
            momentum: terms.momentum as f32,
            weight_decay: terms.weight_decay as f32,
        };
        let piece = if terms.nesterov { nesterov_piece } else { plain_piece };
        let (mut value, mut velocity) = (owned(value), owned(velocity));
        let gradient = contiguous(gradient);
        let pieces = value.storage_mut::<f32>().par_chunks_mut(PIECE);
        let pieces = pieces.zip(velocity.storage_mut::<f32>().par_chunks_mut(PIECE));
        let pieces = pieces.zip(values(&gradient).par_chunks(PIECE));
        pieces.for_each(|((value, velocity), gradient)| piece(value, velocity, gradient, factors));
        (value, velocity)
    }
}
