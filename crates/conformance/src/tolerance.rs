//! How far a device may be off.

use serde::Serialize;

use crate::case::Quantity;

/// What a case computes, which decides how much rounding it gathers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arithmetic {
    /// Functions of each entry and sums: losses, pooling, normalisation.
    Sums,
    /// Matrix products and convolutions, which a device may round to TF32 before, or compute by
    /// Winograd's method.
    Products,
    /// Whole networks over several steps.
    Network,
}

/// Rounding of the products on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ProductPrecision {
    /// All 24 bits.
    Float32,
    /// Inputs of 11 bits, as the tensor cores of NVIDIA GPUs take them.
    Tf32,
}

/// Largest error, relative to the largest value of the reference; largest number of host reads.
pub(crate) fn tolerance(
    arithmetic: Arithmetic,
    quantity: Quantity,
    products: ProductPrecision,
) -> f64 {
    let is_tf32 = products == ProductPrecision::Tf32 && arithmetic != Arithmetic::Sums;
    match (quantity, arithmetic) {
        (Quantity::HostReads, _) => 2.0, // the proposals and the losses
        (Quantity::Float16, _) => 5e-3,
        (Quantity::Bfloat16, _) => 4e-2,
        (_, Arithmetic::Network) if is_tf32 => 3e-2,
        (_, Arithmetic::Products) if is_tf32 => 2e-3,
        (Quantity::Forward, Arithmetic::Sums) => 2e-6,
        (_, Arithmetic::Sums) => 1e-5,
        (_, Arithmetic::Products) => 3e-5, // Winograd's method in tiles of 4 x 4
        (Quantity::Forward, Arithmetic::Network) => 1e-4,
        (_, Arithmetic::Network) => 1e-3,
    }
}
