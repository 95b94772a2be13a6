//! Sums over the steps since the losses were last read; they stay on the device until then.

use burn::tensor::{Device, Tensor, TensorData};
use longtail_kernels::{HostReadError, read_floats};
use serde::{Deserialize, Serialize};

/// How much training lies behind the sums that were not read yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct WindowCounts {
    /// Optimizer steps.
    pub(crate) steps: u64,
    /// Batches (several per step with accumulation).
    pub(crate) batches: u64,
    /// Images.
    pub(crate) images: u64,
}

/// Named sums over batches: one read-back for many steps.
#[derive(Debug, Default)]
pub(crate) struct Window {
    pub(crate) counts: WindowCounts,
    names: Vec<&'static str>,
    sums: Option<Tensor<1>>, // [names]
}

/// What was in a window.
#[derive(Clone, Debug, Default)]
pub(crate) struct WindowSums {
    pub(crate) sums: Vec<(&'static str, f32)>,
    pub(crate) counts: WindowCounts,
}

impl Window {
    /// Adds the values of a batch of so many images, each `[1]`; the names are the same every time.
    pub(crate) fn add(&mut self, values: Vec<(&'static str, Tensor<1>)>, images: usize) {
        self.counts.batches += 1;
        self.counts.images += images as u64;
        let (names, values): (Vec<_>, Vec<_>) =
            values.into_iter().map(|(name, value)| (name, value.without_autodiff())).unzip();
        let values = Tensor::cat(values, 0);
        self.names = names;
        self.sums = Some(match self.sums.take() {
            Some(sums) => sums + values,
            None => values,
        });
    }

    /// Reads the sums back and starts anew.
    pub(crate) fn take(&mut self) -> Result<WindowSums, HostReadError> {
        let Self { counts, names, sums } = std::mem::take(self);
        let values = sums.map(read_floats).transpose()?.unwrap_or_default();
        Ok(WindowSums { sums: names.into_iter().zip(values).collect(), counts })
    }

    /// The sums of all windows together for a checkpoint, if there are any.
    pub(crate) fn collect<'a>(
        windows: impl Iterator<Item = &'a Self>,
    ) -> Result<Option<TensorData>, HostReadError> {
        let mut sums: Option<Vec<f32>> = None;
        for window in windows {
            let Some(own) = window.sums.clone().map(read_floats).transpose()? else { continue };
            sums = Some(match sums {
                Some(sums) => sums.iter().zip(own).map(|(a, b)| a + b).collect(),
                None => own,
            });
        }
        Ok(sums.map(|sums| TensorData::from(sums.as_slice())))
    }

    /// Puts the sums of a checkpoint back; the names come with the next batch.
    pub(crate) fn restore(sums: Option<TensorData>, counts: WindowCounts, device: &Device) -> Self {
        let device = device.clone().without_autodiff();
        Self { counts, names: Vec::new(), sums: sums.map(|sums| Tensor::from_data(sums, &device)) }
    }
}

impl WindowSums {
    /// Adds the sums of another replica, which has seen the same batches.
    pub(crate) fn add(&mut self, other: &Self) {
        for (name, sum) in &mut self.sums {
            let same = other.sums.iter().find(|(known, _)| known == name);
            *sum += same.map_or(0.0, |(_, value)| *value);
        }
    }

    /// Mean over batches of a named value; NaN if it was never added.
    pub(crate) fn mean(&self, name: &str) -> f32 {
        let sum = self.sums.iter().find(|(known, _)| *known == name);
        sum.map_or(f32::NAN, |(_, sum)| sum / self.counts.batches.max(1) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_testing::device;

    #[test]
    fn means_survive_a_checkpoint_in_between() {
        let device = device();
        let value = |value: f32| Tensor::<1>::from_floats([value], &device);
        let mut window = Window::default();
        assert!(Window::collect([&window].into_iter()).unwrap().is_none());
        window.add(vec![("a", value(1.0)), ("b", value(4.0))], 2);
        let sums = Window::collect([&window].into_iter()).unwrap();
        let mut window = Window::restore(sums, window.counts, &device);
        window.add(vec![("a", value(2.0)), ("b", value(8.0))], 1);
        let sums = window.take().unwrap();
        assert_eq!((sums.mean("a"), sums.mean("b")), (1.5, 6.0));
        assert_eq!((sums.counts.batches, sums.counts.images), (2, 3));
        assert!(sums.mean("c").is_nan() && window.take().unwrap().mean("a").is_nan());
    }
}
