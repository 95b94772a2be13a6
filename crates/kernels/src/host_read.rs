//! Copies from the device to the host, all through one function that counts them.
//!
//! On a GPU a read waits until everything queued before it has run, so a step that reads often
//! leaves the GPU idle in between.

use std::cell::Cell;
use std::error::Error;
use std::fmt;

use burn::tensor::kind::Basic;
use burn::tensor::{Tensor, TensorData};

thread_local! {
    static NUM_READS: Cell<u64> = const { Cell::new(0) };
}

/// The device did not hand its numbers over: it is lost, or ran out of memory before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReadError {
    reason: String,
}

impl fmt::Display for HostReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can't read numbers back from the device: {}", self.reason)
    }
}

impl Error for HostReadError {}

/// Copies a tensor to the host and waits for the device until then; counts in [`host_reads`].
///
/// # Errors
/// If the device fails, now or in work that was queued before.
pub fn read_back<const D: usize, K: Basic>(
    tensor: Tensor<D, K>,
) -> Result<TensorData, HostReadError> {
    NUM_READS.set(NUM_READS.get() + 1);
    tensor.try_into_data().map_err(|error| HostReadError { reason: error.to_string() })
}

/// As [`read_back`], the values as `f32`, row-major.
///
/// # Errors
/// As [`read_back`].
pub fn read_floats<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, HostReadError> {
    floats(read_back(tensor)?)
}

/// As [`read_floats`], without blocking the thread: the only way in a browser, whose GPU hands
/// numbers over when the page yields.
///
/// # Errors
/// As [`read_back`].
pub async fn read_floats_async<const D: usize>(
    tensor: Tensor<D>,
) -> Result<Vec<f32>, HostReadError> {
    NUM_READS.set(NUM_READS.get() + 1);
    let data = tensor.into_data_async().await;
    floats(data.map_err(|error| HostReadError { reason: error.to_string() })?)
}

fn floats(data: TensorData) -> Result<Vec<f32>, HostReadError> {
    let data = data.convert::<f32>();
    data.try_to_vec().map_err(|error| HostReadError { reason: format!("{error:?}") })
}

/// Number of reads of the calling thread so far; compare two moments.
///
/// Counted per thread, as a training step reads on the thread that runs it, whatever others do.
pub fn host_reads() -> u64 {
    NUM_READS.get()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Int;
    use longtail_testing::device;

    #[test]
    fn reads_are_counted_by_thread() {
        let device = device();
        let before = host_reads();
        let floats = Tensor::<2>::from_floats([[1.5, -2.0], [0.0, 4.0]], &device);
        assert_eq!(read_floats(floats.clone() + 1.0).unwrap(), [2.5, -1.0, 1.0, 5.0]);
        let classes = Tensor::<1, Int>::from_ints([3, 1], &device);
        assert_eq!(read_back(classes).unwrap().iter::<i64>().collect::<Vec<_>>(), [3, 1]);
        assert_eq!(host_reads() - before, 2);
        let elsewhere = std::thread::spawn(move || {
            let read = read_floats(floats).is_ok();
            (read, host_reads())
        });
        assert_eq!(elsewhere.join().unwrap(), (true, 1));
        assert_eq!(host_reads() - before, 2);
    }
}
