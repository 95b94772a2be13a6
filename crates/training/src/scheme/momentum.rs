//! A model whose weights follow those of another.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Begins of the names of running statistics.
const RUNNING: &str = "running_";

/// A copy that stays on the device with autodiff, where batch norms use the statistics of the batch,
/// but asks for no gradient.
pub(super) fn follower<M: Module>(model: &M) -> M {
    model.clone().no_grad().map(&mut Copy)
}

/// Moves every weight: `momentum * own + (1 - momentum) * leader`. Running statistics stay the
/// follower's own, as in the released code of MoCo.
pub(super) fn follow<M: Module>(follower: M, leader: &M, momentum: f64) -> M {
    let mut present = Present::default();
    leader.visit(&mut present);
    follower.map(&mut Follow { present: present.0, momentum, names: Vec::new() })
}

/// Gives every weight storage of its own.
struct Copy;

impl ModuleMapper for Copy {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|old| old.mul_scalar(1.0))
    }
}

/// The weights of the leader by id; a copy keeps the ids of its origin.
#[derive(Default)]
struct Present(GradientsParams);

impl ModuleVisitor for Present {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.register::<D>(param.id, param.val().without_autodiff());
    }
}

struct Follow {
    present: GradientsParams,
    momentum: f64,
    names: Vec<String>,
}

impl ModuleMapper for Follow {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.names.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.names.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.names.last().is_some_and(|name| name.starts_with(RUNNING)) {
            return param;
        }
        let Some(leader) = self.present.remove::<D>(param.id) else { return param };
        let momentum = self.momentum;
        param.map(|own| {
            let own = own.without_autodiff().mul_scalar(momentum);
            Tensor::from_inner(own + leader.mul_scalar(1.0 - momentum))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_models::{BackboneConfig, Classifier, ClassifierConfig, ClassifierHead};
    use longtail_testing::{assert_close, device, values};

    fn weight(model: &Classifier) -> Vec<f32> {
        match &model.head {
            ClassifierHead::Linear(head) => values(head.weight.val()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn weights_follow_and_running_statistics_do_not() {
        let device = device().autodiff();
        let config = ClassifierConfig::new(BackboneConfig::CifarResNet20);
        let first = config.init(3, None, 0, &device).unwrap();
        let other = config.init(3, None, 1, &device).unwrap();
        let start = weight(&first);
        // The ids of the first with the weights of another model.
        let mut tensors = crate::tensors::NamedTensors::new();
        crate::tensors::collect("m", &other, &mut tensors).unwrap();
        let leader = crate::tensors::restore("m", first.clone(), &mut tensors).unwrap();
        let copy = follower(&first);
        let images = Tensor::<4>::ones([2, 3, 8, 8], &device);
        let features = copy.features(images);
        assert!(!features.is_require_grad());
        let mut before = crate::tensors::NamedTensors::new();
        crate::tensors::collect("m", &copy, &mut before).unwrap();

        let moved = follow(follow(copy, &leader, 0.9), &leader, 0.9);
        let towards = weight(&leader);
        let expected: Vec<f64> = start
            .iter()
            .zip(towards)
            .map(|(&own, leader)| 0.81 * f64::from(own) + 0.19 * f64::from(leader))
            .collect();
        assert_close("weight", &weight(&moved), &expected, 1e-6);
        let mut after = crate::tensors::NamedTensors::new();
        crate::tensors::collect("m", &moved, &mut after).unwrap();
        let mut num_running = 0;
        for (name, data) in after.iter().filter(|(name, _)| name.contains(RUNNING)) {
            assert_eq!(data, &before[name], "{name}");
            num_running += 1;
        }
        assert!(num_running > 10, "{num_running}");
        // The forward pass in training mode has moved them.
        let name = after.keys().find(|name| name.ends_with("running_mean")).unwrap();
        assert!(before[name].iter::<f32>().any(|value| value != 0.0));
    }
}
