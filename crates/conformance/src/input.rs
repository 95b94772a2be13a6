//! Numbers that depend on a name alone.

use burn::tensor::{Device, Tensor, TensorData};

/// `count` values in `[-1, 1)`.
pub(crate) fn values(name: &str, count: usize) -> Vec<f32> {
    // FNV-1a names the stream, SplitMix64 draws from it.
    let start = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let draw = |index: usize| {
        let mut z = start.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(draw).collect()
}

/// The same as a tensor.
pub(crate) fn tensor<const D: usize>(name: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = values(name, shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_values_fill_the_interval() {
        let (a, b) = (values("a", 4000), values("b", 4000));
        assert!(a.iter().all(|v| (-1.0..1.0).contains(v)) && a != b);
        let mean = a.iter().sum::<f32>() / 4000.0;
        assert!(mean.abs() < 0.05 && a.iter().any(|v| *v > 0.99), "{mean}");
        assert_eq!(values("a", 3), a[..3]);
    }
}
