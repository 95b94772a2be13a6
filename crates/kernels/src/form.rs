//! Which form of an operation runs.

use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(any(feature = "flex", feature = "cube"))]
use burn::backend::DispatchDevice;
use burn::tensor::Device;
#[cfg(any(feature = "flex", feature = "cube"))]
use burn::tensor::{DType, Tensor};

static FUSED: AtomicBool = AtomicBool::new(true);

/// Allows (the default) or forbids the fused forms, for the whole process.
///
/// A graph built before the call keeps the form it was built with.
pub fn set_fused(is_allowed: bool) {
    FUSED.store(is_allowed, Ordering::Relaxed);
}

/// Whether fused forms are allowed; see [`set_fused`].
pub fn is_fused() -> bool {
    FUSED.load(Ordering::Relaxed)
}

/// Whether `device` runs an operation at any shape without compiling a kernel for it first, so that
/// nothing is gained by filling tensors up to a few sizes.
pub fn runs_any_shape(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return matches!(device.clone().inner().as_dispatch(), DispatchDevice::Flex(_));
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}

/// Whether there are fused forms for `device`: on `flex`, on every CubeCL device, and on those of a
/// server that has them.
pub fn has_fused_forms(device: &Device) -> bool {
    match device.clone().inner().as_dispatch() {
        #[cfg(feature = "flex")]
        DispatchDevice::Flex(_) => true,
        #[cfg(feature = "cube")]
        DispatchDevice::Cube(_) => true,
        #[cfg(feature = "remote")]
        DispatchDevice::Remote(_) => true,
        #[allow(unreachable_patterns, reason = "there may be other backends")]
        _ => false,
    }
}

/// Whether Burn can sum tensors over several devices like this one: CUDA devices (NCCL), and the
/// devices of one remote server, if they are such devices.
pub fn has_collectives(device: &Device) -> bool {
    match device.clone().inner().as_dispatch() {
        #[cfg(feature = "cube")]
        DispatchDevice::Cube(burn_cubecl::CubeDevice::Cuda(_)) => true,
        #[cfg(feature = "remote")]
        DispatchDevice::Remote(_) => true,
        #[allow(unreachable_patterns, reason = "there may be other backends")]
        _ => false,
    }
}

/// Whether an operation with a form for `flex` and for CubeCL devices runs fused on `tensor`.
#[cfg(any(feature = "flex", feature = "cube"))]
pub(crate) fn is_fused_on<const D: usize>(tensor: &Tensor<D>) -> bool {
    is_fused() && tensor.dtype() == DType::F32 && has_fused_forms(&tensor.device())
}
