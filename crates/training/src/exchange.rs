//! What replicas tell each other in a step: gradients, statistics, running means.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use longtail_losses::StatisticsUpdate;

use crate::replica_group::ReplicaGroup;

/// The sum of the gradients of all replicas, for each of them: one vector goes over the wire.
///
/// A parameter that has a gradient on some replicas counts as 0 on the others, so that a head that
/// saw no object on one device is updated on all or on none.
pub(crate) fn sum_gradients<M: Module>(
    group: &ReplicaGroup,
    models: &[&M],
    gradients: Vec<GradientsParams>,
) -> Vec<GradientsParams> {
    let mut is_known = Known::default();
    for (model, gradients) in models.iter().zip(&gradients) {
        is_known.visit(*model, gradients);
    }
    if !is_known.parameters.contains(&true) {
        return gradients;
    }
    let flat = models.iter().zip(gradients).map(|(model, gradients)| {
        let mut flatten = Flatten { gradients, is_known: &is_known.parameters, parts: Vec::new() };
        model.visit(&mut flatten);
        Tensor::cat(flatten.parts, 0)
    });
    let sums = group.sum(flat.collect());
    let unflatten = |(model, sum): (&&M, Tensor<1>)| {
        let gradients = GradientsParams::new();
        let mut unflatten = Unflatten { gradients, is_known: &is_known.parameters, rest: sum };
        model.visit(&mut unflatten);
        unflatten.gradients
    };
    models.iter().zip(sums).map(unflatten).collect()
}

/// The sum of the statistics of all replicas, for each of them. `updates` lists one update per
/// loss of each replica; the list of a replica without any image is empty.
pub(crate) fn sum_updates(
    group: &ReplicaGroup,
    updates: &[Vec<StatisticsUpdate>],
    devices: &[Device],
) -> Vec<Vec<StatisticsUpdate>> {
    let num_losses = updates.iter().map(Vec::len).max().unwrap_or(0);
    let known = |loss: usize| {
        let mut of_loss = updates.iter().filter_map(move |updates| updates.get(loss));
        of_loss.find(|update| !update.is_none()).cloned().unwrap_or_default()
    };
    let templates: Vec<StatisticsUpdate> = (0..num_losses).map(known).collect();
    let lengths: Vec<Vec<usize>> = templates.iter().map(lengths_of).collect();
    if lengths.iter().all(Vec::is_empty) {
        return vec![templates; updates.len()];
    }
    let flat = updates.iter().zip(devices).map(|(updates, device)| {
        let device = device.clone().without_autodiff();
        let of_loss = |(loss, lengths): (usize, &Vec<usize>)| match updates.get(loss) {
            Some(update) if !update.is_none() => update.vectors(),
            _ => lengths.iter().map(|&length| Tensor::zeros([length], &device)).collect(),
        };
        Tensor::cat(lengths.iter().enumerate().flat_map(of_loss).collect(), 0)
    });
    let sums = group.sum(flat.collect()).into_iter();
    let unflatten = |mut rest: Tensor<1>| {
        let of_loss = |(template, lengths): (&StatisticsUpdate, &Vec<usize>)| {
            let vectors = lengths.iter().map(|&length| front(&mut rest, length)).collect();
            template.clone().with_vectors(vectors)
        };
        templates.iter().zip(&lengths).map(of_loss).collect()
    };
    sums.map(unflatten).collect()
}

fn lengths_of(update: &StatisticsUpdate) -> Vec<usize> {
    update.vectors().iter().map(|vector| vector.dims()[0]).collect()
}

/// Gives every replica the mean of the running statistics of all: of every vector that takes no
/// gradient. Vectors that are equal, such as those of frozen layers, keep their bits.
pub(crate) fn average_buffers<M: Module>(group: &ReplicaGroup, models: &mut [&mut M]) {
    let values = |model: &M| {
        let mut buffers = Buffers::default();
        model.visit(&mut buffers);
        buffers.0
    };
    let flat: Vec<Vec<Tensor<1>>> = models.iter().map(|model| values(model)).collect();
    if flat.iter().any(Vec::is_empty) {
        return;
    }
    let flat: Vec<Tensor<1>> = flat.into_iter().map(|parts| Tensor::cat(parts, 0)).collect();
    let first = group.broadcast(&flat);
    let differences = flat.into_iter().zip(&first).map(|(own, first)| own - first.clone());
    let differences = group.sum(differences.collect());
    let num_replicas = models.len() as f64;
    for (model, (first, difference)) in models.iter_mut().zip(first.into_iter().zip(differences)) {
        let mut set = SetBuffers(first + difference.div_scalar(num_replicas));
        **model = model.clone().map(&mut set);
    }
}

/// Every float of a model in one vector, and the name and length of each of its parts.
pub(crate) fn flat_floats<M: Module>(model: &M) -> (Tensor<1>, Vec<(String, usize)>) {
    let mut floats = Floats::default();
    model.visit(&mut floats);
    (Tensor::cat(floats.parts, 0), floats.names)
}

fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    tensor.without_autodiff().reshape([-1])
}

/// Takes the first values off.
fn front(rest: &mut Tensor<1>, length: usize) -> Tensor<1> {
    let [total] = rest.dims();
    let front = rest.clone().narrow(0, 0, length);
    if length < total {
        *rest = rest.clone().narrow(0, length, total - length);
    }
    front
}

/// Which parameters have a gradient on some replica, in the order of a visit.
#[derive(Default)]
struct Known {
    parameters: Vec<bool>,
}

impl Known {
    fn visit<M: Module>(&mut self, model: &M, gradients: &GradientsParams) {
        let mut visitor = VisitKnown { place: 0, gradients, known: &mut self.parameters };
        model.visit(&mut visitor);
    }
}

struct VisitKnown<'a> {
    place: usize,
    gradients: &'a GradientsParams,
    known: &'a mut Vec<bool>,
}

impl ModuleVisitor for VisitKnown<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let is_known = self.gradients.get::<D>(param.id).is_some();
        match self.known.get_mut(self.place) {
            Some(known) => *known |= is_known,
            None => self.known.push(is_known),
        }
        self.place += 1;
    }
}

struct Flatten<'a> {
    gradients: GradientsParams,
    /// Of the parameters that are still to come.
    is_known: &'a [bool],
    parts: Vec<Tensor<1>>,
}

impl ModuleVisitor for Flatten<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if next(&mut self.is_known) {
            let gradient = self.gradients.remove::<D>(param.id);
            let zeros = || param.val().without_autodiff().zeros_like();
            self.parts.push(flat(gradient.unwrap_or_else(zeros)));
        }
    }
}

struct Unflatten<'a> {
    gradients: GradientsParams,
    is_known: &'a [bool],
    rest: Tensor<1>,
}

impl ModuleVisitor for Unflatten<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if next(&mut self.is_known) {
            let shape = param.dims();
            let gradient = front(&mut self.rest, shape.iter().product());
            self.gradients.register::<D>(param.id, gradient.reshape(shape));
        }
    }
}

fn next(rest: &mut &[bool]) -> bool {
    match rest.split_first() {
        Some((&first, others)) => {
            *rest = others;
            first
        }
        None => false,
    }
}

/// Vectors without gradient.
#[derive(Default)]
struct Buffers(Vec<Tensor<1>>);

impl ModuleVisitor for Buffers {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D == 1 && !param.is_require_grad() {
            self.0.push(flat(param.val()));
        }
    }
}

/// Puts vectors without gradient back.
struct SetBuffers(Tensor<1>);

impl ModuleMapper for SetBuffers {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D != 1 || param.is_require_grad() {
            return param;
        }
        param.map(|old| {
            let shape = old.dims();
            let new = front(&mut self.0, shape.iter().product()).reshape(shape);
            if old.is_autodiff() { Tensor::from_inner(new) } else { new }
        })
    }
}

#[derive(Default)]
struct Floats {
    path: Vec<String>,
    parts: Vec<Tensor<1>>,
    names: Vec<(String, usize)>,
}

impl ModuleVisitor for Floats {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = flat(param.val());
        self.names.push((self.path.join("."), values.dims()[0]));
        self.parts.push(values);
    }
}
