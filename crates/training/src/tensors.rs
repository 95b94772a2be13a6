//! The values of a module by path, and back.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::kind::Basic;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use longtail_kernels::{HostReadError, read_back};

/// Host copies of tensors by dotted path.
pub(crate) type NamedTensors = BTreeMap<String, TensorData>;

/// Copies every parameter and buffer of `module` to the host, as `prefix.path.of.parameter`.
/// # Errors
/// If the device fails.
pub(crate) fn collect<M: Module>(
    prefix: &str,
    module: &M,
    tensors: &mut NamedTensors,
) -> Result<(), HostReadError> {
    let mut collect = Collect { path: vec![prefix.to_string()], tensors, result: Ok(()) };
    module.visit(&mut collect);
    collect.result
}

/// Puts the values of `prefix.*` into `module`, which keeps its devices and trainability.
/// Values that were used are taken out of `tensors`.
/// # Errors
/// Says which value is missing or has another shape.
pub(crate) fn restore<M: Module>(
    prefix: &str,
    module: M,
    tensors: &mut NamedTensors,
) -> Result<M, String> {
    let mut restore = Restore { path: vec![prefix.to_string()], tensors, problem: None };
    let module = module.map(&mut restore);
    match restore.problem {
        None => Ok(module),
        Some(problem) => Err(problem),
    }
}

struct Collect<'a> {
    path: Vec<String>,
    tensors: &'a mut NamedTensors,
    result: Result<(), HostReadError>,
}

impl Collect<'_> {
    fn insert<const D: usize, K: Basic>(&mut self, value: Tensor<D, K>) {
        match read_back(value) {
            Ok(data) => drop(self.tensors.insert(self.path.join("."), data)),
            Err(error) => self.result = Err(error),
        }
    }
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.insert(param.val());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.insert(param.val());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.insert(param.val());
    }
}

struct Restore<'a> {
    path: Vec<String>,
    tensors: &'a mut NamedTensors,
    problem: Option<String>,
}

impl Restore<'_> {
    fn take(&mut self, shape: &[usize]) -> Option<TensorData> {
        let path = self.path.join(".");
        let problem = match self.tensors.remove(&path) {
            Some(data) if data.shape().as_slice() == shape => return Some(data),
            Some(data) => format!("`{path}` has shape {:?}, not {shape:?}", data.shape()),
            None => format!("`{path}` is missing"),
        };
        self.problem.get_or_insert(problem);
        None
    }
}

impl ModuleMapper for Restore<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(data) = self.take(&param.dims()) else { return param };
        param.map(|old| {
            let new = Tensor::from_data(data, (&old.device(), old.dtype()));
            new.set_require_grad(old.is_require_grad())
        })
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let Some(data) = self.take(&param.dims()) else { return param };
        param.map(|old| Tensor::from_data(data, (&old.device(), old.dtype())))
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        let Some(data) = self.take(&param.dims()) else { return param };
        param.map(|old| Tensor::from_data(data, &old.device()))
    }
}
