//! Features of past epochs, class by class: the memory of Breadcrumb.

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};
use longtail_kernels::read_back;
use longtail_types::{KeyedRng, Stream};

use crate::error::TrainingError;
use crate::tensors::NamedTensors;

const EPOCH: &str = "trail.epoch";

/// For each class the newest features less the mean of their class in their epoch, and the mean of
/// the newest epoch in which the class was seen.
///
/// With `n` features per class and `C` classes it holds `C n` rows, and those of the epoch under
/// way: `(C n + images of an epoch) width` floats, and twice as much for a moment when an epoch
/// ends. Labels and order are kept by the host, so that nothing is read back.
#[derive(Debug)]
pub(super) struct FeatureTrail {
    per_class: usize,
    /// Whether there is any image of the class.
    is_present: Vec<bool>,
    device: Device,
    /// The epoch under way, with its features so far.
    epoch: u64,
    collected: Vec<Tensor<2>>,
    collected_labels: Vec<usize>,
    /// Classes one after the other, newest first within each.
    rows: Option<Tensor<2>>,
    labels: Vec<usize>,
    means: Option<Tensor<2>>, // [num_classes, width]
}

impl FeatureTrail {
    /// For classes with so many images, on a device without autodiff.
    pub(super) fn new(per_class: usize, counts: &[u64], device: &Device) -> Self {
        Self {
            per_class,
            is_present: counts.iter().map(|&count| count > 0).collect(),
            device: device.clone().without_autodiff(),
            epoch: 0,
            collected: Vec::new(),
            collected_labels: Vec::new(),
            rows: None,
            labels: Vec::new(),
            means: None,
        }
    }

    /// Ends the epoch before this one, if another has begun.
    pub(super) fn begin_epoch(&mut self, epoch: u64) {
        if epoch != self.epoch {
            self.close();
            self.epoch = epoch;
        }
    }

    /// Adds the features of a batch, without autodiff.
    pub(super) fn push(&mut self, features: Tensor<2>, labels: &[usize]) {
        self.collected.push(features);
        self.collected_labels.extend(labels);
    }

    /// Whether every class that has images has its full number of features.
    pub(super) fn is_ready(&self) -> bool {
        let mut counts = vec![0; self.is_present.len()];
        self.labels.iter().for_each(|&label| counts[label] += 1);
        self.is_present.iter().zip(counts).all(|(&is, count)| !is || count == self.per_class)
    }

    /// Which rows an epoch trains on, `total` of them: all in shuffled order, again and again if
    /// there are fewer.
    pub(super) fn order(&self, seed: u64, epoch: u64, total: usize) -> Vec<usize> {
        let mut rng = KeyedRng::new(seed, Stream::StoredFeatures, epoch, 0);
        let mut all: Vec<usize> = (0..self.labels.len()).collect();
        let mut order = Vec::with_capacity(total);
        while order.len() < total && !all.is_empty() {
            rng.shuffle(&mut all);
            order.extend(&all);
        }
        order.truncate(total);
        order
    }

    /// These rows around the newest mean of their class, with their labels.
    pub(super) fn select(&self, indices: &[usize]) -> Option<(Tensor<2>, Vec<usize>)> {
        let labels: Vec<usize> = indices.iter().map(|&index| self.labels[index]).collect();
        let rows = self.rows.clone()?.select(0, self.upload(indices));
        let means = self.means.clone()?.select(0, self.upload(&labels));
        Some((rows + means, labels))
    }

    fn close(&mut self) {
        let labels = std::mem::take(&mut self.collected_labels);
        let collected = std::mem::take(&mut self.collected);
        if labels.is_empty() {
            return;
        }
        let rows = Tensor::cat(collected, 0);
        let [num_rows, width] = rows.dims();
        let num_classes = self.is_present.len();
        let mut counts = vec![0_usize; num_classes];
        labels.iter().for_each(|&label| counts[label] += 1);
        let by_class = self.upload(&labels);
        let sums = Tensor::<2>::zeros([num_classes, width], &self.device).select_assign(
            0,
            by_class.clone(),
            rows.clone(),
            IndexingUpdateOp::Add,
        );
        let means = sums * self.column(counts.iter().map(|&count| 1.0 / count.max(1) as f32));
        // A class that was not seen keeps its mean and its features.
        let means = match self.means.take() {
            None => means,
            Some(old) => {
                let is_unseen = self.column(counts.iter().map(|&n| f32::from(u8::from(n == 0))));
                means + old * is_unseen
            }
        };
        let centred = rows - means.clone().select(0, by_class);
        self.means = Some(means);

        let mut sources = vec![Vec::new(); num_classes];
        let old = self.labels.iter().enumerate().map(|(index, &label)| (num_rows + index, label));
        for (index, label) in labels.iter().copied().enumerate().chain(old) {
            if sources[label].len() < self.per_class {
                sources[label].push(index);
            }
        }
        self.labels = sources
            .iter()
            .enumerate()
            .flat_map(|(label, rows)| std::iter::repeat_n(label, rows.len()))
            .collect();
        let sources: Vec<usize> = sources.concat();
        let all = match self.rows.take() {
            Some(old) => Tensor::cat(vec![centred, old], 0),
            None => centred,
        };
        self.rows = Some(all.select(0, self.upload(&sources)));
    }

    fn column(&self, values: impl Iterator<Item = f32>) -> Tensor<2> {
        let values: Vec<f32> = values.collect();
        let shape = [values.len(), 1];
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    fn upload(&self, indices: &[usize]) -> Tensor<1, Int> {
        let values: Vec<i32> = indices.iter().map(|&index| index as i32).collect();
        Tensor::from_data(TensorData::new(values, [indices.len()]), &self.device)
    }

    pub(super) fn collect(&self, tensors: &mut NamedTensors) -> Result<(), TrainingError> {
        let host = |values: &[usize]| {
            TensorData::from(values.iter().map(|&v| v as i64).collect::<Vec<_>>().as_slice())
        };
        let collected = match self.collected.is_empty() {
            true => None,
            false => Some(Tensor::cat(self.collected.clone(), 0)),
        };
        for (name, rows, labels) in [
            ("collected", collected, self.collected_labels.as_slice()),
            ("rows", self.rows.clone(), &self.labels),
            ("means", self.means.clone(), &[]),
        ] {
            if let Some(rows) = rows {
                tensors.insert(format!("trail.{name}"), read_back(rows)?);
            }
            if !labels.is_empty() {
                tensors.insert(format!("trail.{name}.labels"), host(labels));
            }
        }
        tensors.insert(EPOCH.into(), TensorData::from([self.epoch as i64]));
        Ok(())
    }

    pub(super) fn restore(mut self, tensors: &mut NamedTensors) -> Result<Self, String> {
        let num_classes = self.is_present.len();
        let epoch = tensors.remove(EPOCH).ok_or(format!("`{EPOCH}` is missing"))?;
        let mut take = |name: &str| -> Result<(Option<Tensor<2>>, Vec<usize>), String> {
            let rows = tensors.remove(&format!("trail.{name}"));
            if let Some(rows) = &rows
                && rows.rank() != 2
            {
                return Err(format!("`trail.{name}` has shape {:?}", rows.shape()));
            }
            let labels = tensors.remove(&format!("trail.{name}.labels"));
            let labels = labels.iter().flat_map(|data| data.iter::<i64>());
            let rows = rows.map(|rows| Tensor::from_data(rows, &self.device));
            Ok((rows, labels.map(|label| label.max(0) as usize).collect()))
        };
        let (means, _) = take("means")?;
        let (rows, labels) = take("rows")?;
        let (collected, collected_labels) = take("collected")?;
        for (rows, labels) in [(&rows, &labels), (&collected, &collected_labels)] {
            let num_rows = rows.as_ref().map_or(0, |rows: &Tensor<2>| rows.dims()[0]);
            if num_rows != labels.len() || labels.iter().any(|&label| label >= num_classes) {
                return Err("`trail`: rows and labels do not belong together".into());
            }
        }
        self.epoch = epoch.iter::<i64>().next().unwrap_or(0).max(0) as u64;
        (self.means, self.rows, self.labels) = (means, rows, labels);
        (self.collected, self.collected_labels) =
            (collected.into_iter().collect(), collected_labels);
        Ok(self)
    }
}

#[cfg(test)]
#[path = "feature_trail_tests.rs"]
mod tests;
