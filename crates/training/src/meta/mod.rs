//! What Meta Sampler and Meta Reweighter share: numbers per class that are learned through a step of
//! the model.

mod hypergradient;
mod rates;

pub(crate) use hypergradient::{
    LayerGradient, PlainLayer, SgdStep, Velocity, linear_layer, logit_gradient,
};
pub(crate) use rates::ClassRates;
