//! The number of random draws of a loss, for its checkpoint.

use burn::tensor::{Device, Tensor};
use longtail_kernels::read_back;

use crate::{LossError, method::named_state};

/// `draws`: the number in four digits of base 2^16, highest first, so that f32 holds them.
pub(crate) fn draws_state(draws: u64, device: &Device) -> Vec<(String, Tensor<1>)> {
    let digits = [48, 32, 16, 0].map(|shift| (draws >> shift & 0xffff) as f32);
    vec![("draws".into(), Tensor::from_floats(digits, device))]
}

/// The number that [`draws_state`] saved.
pub(crate) fn load_draws(
    method: &'static str,
    state: Vec<(String, Tensor<1>)>,
) -> Result<u64, LossError> {
    let [draws] = named_state(method, [("draws", 4)], state)?;
    let digits = read_back(draws)?;
    Ok(digits.iter::<f32>().fold(0, |sum, digit| sum << 16 | digit as u64))
}
