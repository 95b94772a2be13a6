//! How sums go over the devices of a run.

use burn::tensor::distributed::{CollectiveTensor, ReduceOperation, all_reduce};
use burn::tensor::{Device, Tensor};
use longtail_kernels::has_collectives;

use crate::error::TrainingError;

/// The devices that share each batch of a run. The first one evaluates and saves.
#[derive(Clone, Debug)]
pub(crate) struct ReplicaDevices {
    /// With autodiff.
    pub(crate) devices: Vec<Device>,
    pub(crate) group: ReplicaGroup,
}

impl ReplicaDevices {
    /// `device`, and the others if there are any.
    /// # Errors
    /// If a device is named twice, or the devices can't sum tensors among themselves.
    pub(crate) fn new(device: &Device, others: &[Device]) -> Result<Self, TrainingError> {
        let plain = || [device].into_iter().chain(others).map(|d| d.clone().without_autodiff());
        let all: Vec<Device> = plain().collect();
        let refuse = |problem: String| Err(TrainingError::Replicas { problem });
        if let Some(twice) = all.iter().enumerate().find(|(i, d)| all[..*i].contains(d)) {
            return refuse(format!("{:?} is named twice", twice.1));
        }
        let group = match all.len() {
            1 => ReplicaGroup::Single,
            _ => match all.iter().find(|device| !has_collectives(device)) {
                Some(device) => {
                    return refuse(format!(
                        "{device:?} can't sum gradients with other devices; CUDA devices can, and \
                         those of one remote server"
                    ));
                }
                None => ReplicaGroup::Collective(all.clone()),
            },
        };
        Ok(Self { devices: all.into_iter().map(Device::autodiff).collect(), group })
    }

    /// Several replicas on one device, whose tensors are added without any transport.
    #[cfg(test)]
    pub(crate) fn mock(device: &Device, num_replicas: usize) -> Self {
        Self { devices: vec![device.clone().autodiff(); num_replicas], group: ReplicaGroup::Mock }
    }
}

/// How tensors are summed over the replicas.
#[derive(Clone, Debug)]
pub(crate) enum ReplicaGroup {
    /// One device: nothing to do.
    Single,
    /// By Burn's collectives, among these devices.
    Collective(Vec<Device>),
    /// All on one device.
    #[cfg(test)]
    Mock,
}

impl ReplicaGroup {
    /// The sum over the replicas, on the device of each. `parts` has one vector of each replica,
    /// outside autodiff, in the order of the devices.
    pub(crate) fn sum(&self, parts: Vec<Tensor<1>>) -> Vec<Tensor<1>> {
        match self {
            Self::Single => parts,
            Self::Collective(devices) => {
                // All are started before the first is waited for.
                let start = |part| all_reduce(part, ReduceOperation::Sum, devices.clone());
                let sums: Vec<CollectiveTensor<1>> = parts.into_iter().map(start).collect();
                sums.into_iter().map(CollectiveTensor::resolve).collect()
            }
            #[cfg(test)]
            Self::Mock => {
                let num_parts = parts.len();
                let sum = parts.into_iter().reduce(|sum, part| sum + part);
                sum.into_iter().flat_map(|sum| vec![sum; num_parts]).collect()
            }
        }
    }

    /// The first replica's vector on the device of each, bit for bit.
    pub(crate) fn broadcast(&self, parts: &[Tensor<1>]) -> Vec<Tensor<1>> {
        let part = |(replica, part): (usize, &Tensor<1>)| match replica {
            0 => part.clone(),
            _ => part.zeros_like(),
        };
        self.sum(parts.iter().enumerate().map(part).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_testing::{device, values};

    #[test]
    fn one_device_passes_tensors_through_and_a_mock_adds_them() {
        let device = device();
        let vector = |values: [f32; 2]| Tensor::<1>::from_floats(values, &device);
        let parts = || vec![vector([1.0, 2.0]), vector([10.0, 20.0])];
        for (sum, expected) in [
            (ReplicaGroup::Single.sum(parts()), [[1.0, 2.0], [10.0, 20.0]]),
            (ReplicaGroup::Mock.sum(parts()), [[11.0, 22.0], [11.0, 22.0]]),
            (ReplicaGroup::Mock.broadcast(&parts()), [[1.0, 2.0], [1.0, 2.0]]),
        ] {
            let sum: Vec<Vec<f32>> = sum.into_iter().map(values).collect();
            assert_eq!(sum, expected);
        }
    }

    #[test]
    fn devices_that_cannot_reduce_are_refused() {
        let device = device();
        assert_eq!(ReplicaDevices::new(&device, &[]).unwrap().devices.len(), 1);
        let error =
            ReplicaDevices::new(&device, std::slice::from_ref(&device)).unwrap_err().to_string();
        assert!(error.contains("named twice"), "{error}");
    }
}
