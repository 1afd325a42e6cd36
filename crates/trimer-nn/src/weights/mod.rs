//! Parameters by name: reading them out of a model and putting them in.

mod files;

pub use files::{Stored, read_file, read_stored};
pub use files::{load_weights, read_tensors, write_safetensors};

use crate::models::FusionModel;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Gradients, Tensor, TensorData};
use std::collections::BTreeMap;

/// Row-major values with their shape.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Lengths of the axes; empty for a scalar.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub values: Vec<f32>,
}

/// Keeps the dotted path of the field that is being visited. Names of enum variants are left out,
/// so that a model has the same paths alone and inside [`crate::models::AnyModel`].
#[derive(Debug, Default)]
struct PathStack(Vec<Option<String>>);

impl PathStack {
    fn enter(&mut self, name: &str, container: &str) {
        self.0
            .push((!container.starts_with("Enum:")).then(|| name.to_owned()));
    }

    fn exit(&mut self) {
        self.0.pop();
    }

    fn path(&self) -> String {
        self.0
            .iter()
            .flatten()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(".")
    }
}

struct Collect<F> {
    path: PathStack,
    f: F,
}

impl<F: FnMut(String, Vec<usize>, ParamId, Tensor<1>)> ModuleVisitor for Collect<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let shape = value.dims().to_vec();
        let n = value.shape().num_elements();
        (self.f)(
            self.path.path(),
            shape,
            param.id,
            value.without_autodiff().reshape([n]),
        );
    }
}

/// Calls `f` with path, shape, id and flattened value of every parameter.
fn for_each_parameter<M: Module>(model: &M, f: impl FnMut(String, Vec<usize>, ParamId, Tensor<1>)) {
    model.visit(&mut Collect {
        path: PathStack::default(),
        f,
    });
}

/// Every parameter by path, flattened, with its shape.
pub fn parameters<M: Module>(model: &M) -> BTreeMap<String, (Vec<usize>, Tensor<1>)> {
    let mut all = BTreeMap::new();
    for_each_parameter(model, |path, shape, _, value| {
        all.insert(path, (shape, value));
    });
    all
}

/// Id and shape of every parameter by path.
pub fn parameter_ids<M: Module>(model: &M) -> BTreeMap<String, (ParamId, Vec<usize>)> {
    let mut visitor = Ids {
        path: PathStack::default(),
        all: BTreeMap::new(),
    };
    model.visit(&mut visitor);
    visitor.all
}

struct Ids {
    path: PathStack,
    all: BTreeMap<String, (ParamId, Vec<usize>)>,
}

impl ModuleVisitor for Ids {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.dims().to_vec();
        self.all.insert(self.path.path(), (param.id, shape));
    }
}

/// Every parameter under its name in the reference's `state_dict`.
pub fn state_dict<M: FusionModel>(model: &M) -> BTreeMap<String, NamedTensor> {
    let mut all = BTreeMap::new();
    for_each_parameter(model, |path, shape, _, value| {
        let shape = model.reference().shape(&path, &shape);
        all.insert(
            model.reference().key(&path),
            NamedTensor {
                shape,
                values: to_vec(value),
            },
        );
    });
    all
}

/// The values of a tensor on the host.
pub fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .into_data()
        .convert::<f32>()
        .try_into_vec()
        .expect("data was just converted to f32")
}

struct Gather<'a> {
    path: PathStack,
    grads: &'a mut Gradients,
    out: BTreeMap<String, Tensor<1>>,
}

impl ModuleVisitor for Gather<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = param.val().grad_remove(self.grads) {
            let n = grad.shape().num_elements();
            self.out.insert(self.path.path(), grad.reshape([n]));
        }
    }
}

/// The gradient of every parameter that took part, by path, flattened.
pub fn gradients<M: Module>(model: &M, mut grads: Gradients) -> BTreeMap<String, Tensor<1>> {
    let mut gather = Gather {
        path: PathStack::default(),
        grads: &mut grads,
        out: BTreeMap::new(),
    };
    model.visit(&mut gather);
    gather.out
}

struct Replace<F> {
    path: PathStack,
    f: F,
}

impl<F: FnMut(&str, Tensor<1>) -> Tensor<1>> ModuleMapper for Replace<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.path();
        let f = &mut self.f;
        param.map(|old| {
            let shape = old.shape();
            let tracked = old.is_require_grad();
            let autodiff = old.is_autodiff();
            let flat = old.without_autodiff().reshape([shape.num_elements()]);
            let mut new = f(&path, flat).reshape(shape);
            if autodiff {
                new = new.autodiff();
            }
            if tracked { new.require_grad() } else { new }
        })
    }
}

/// The model with every parameter replaced by what `f` makes of its path and flattened value.
pub fn map_parameters<M: Module>(model: M, f: impl FnMut(&str, Tensor<1>) -> Tensor<1>) -> M {
    model.map(&mut Replace {
        path: PathStack::default(),
        f,
    })
}

/// The model with the values of `state`, given under the reference's names.
///
/// Axes of length one do not count when shapes are compared.
///
/// # Errors
/// Lists every missing, surplus and misshapen key.
pub fn load_state_dict<M: FusionModel>(
    model: M,
    state: &BTreeMap<String, NamedTensor>,
) -> std::result::Result<M, String> {
    fill(
        model,
        state,
        |t| &t.shape,
        |t| TensorData::from(t.values.as_slice()),
    )
}

/// As [`load_state_dict`], from a file: what is mapped stays there until it is changed.
pub fn load_stored<M: FusionModel>(
    model: M,
    state: &BTreeMap<String, Stored>,
) -> std::result::Result<M, String> {
    fill(model, state, |t| &t.shape, Stored::flat)
}

fn fill<M: FusionModel, T>(
    model: M,
    state: &BTreeMap<String, T>,
    shape_of: impl Fn(&T) -> &[usize],
    flat: impl Fn(&T) -> TensorData,
) -> std::result::Result<M, String> {
    let mut missing = Vec::new();
    let mut misshapen = Vec::new();
    let mut wanted = BTreeMap::new();
    for_each_parameter(&model, |path, shape, _, _| {
        let key = model.reference().key(&path);
        let shape = model.reference().shape(&path, &shape);
        match state.get(&key) {
            None => missing.push(format!("`{key}` {shape:?}")),
            Some(t) if !same_shape(shape_of(t), &shape) => {
                misshapen.push(format!(
                    "`{key}` is {:?}, the model has {shape:?}",
                    shape_of(t)
                ));
            }
            Some(_) => {}
        }
        wanted.insert(path, key);
    });
    let known: std::collections::BTreeSet<_> = wanted.values().collect();
    let surplus: Vec<_> = state
        .keys()
        .filter(|k| !known.contains(k) && !model.reference().is_unused(k))
        .map(|k| format!("`{k}`"))
        .collect();
    let mut faults = Vec::new();
    for (name, list) in [
        ("missing", missing),
        ("surplus", surplus),
        ("of another shape", misshapen),
    ] {
        if !list.is_empty() {
            faults.push(format!("{} {name}: {}", list.len(), list.join(", ")));
        }
    }
    if !faults.is_empty() {
        return Err(faults.join("; "));
    }
    Ok(map_parameters(model, |path, old| {
        match wanted.get(path).and_then(|key| state.get(key)) {
            Some(tensor) => Tensor::from_data(flat(tensor), &old.device()),
            None => old,
        }
    }))
}

fn same_shape(a: &[usize], b: &[usize]) -> bool {
    a.iter()
        .filter(|n| **n != 1)
        .eq(b.iter().filter(|n| **n != 1))
}

/// Whether the tensor at `path` is carried with the weights but not learned: the running statistics
/// of batch normalisation, and constants that a model keeps as `fixed_*`.
pub fn is_buffer(path: &str) -> bool {
    let leaf = path.rsplit('.').next().unwrap_or(path);
    leaf.starts_with("running_") || leaf.starts_with("fixed_")
}

/// How many numbers a model learns.
pub fn parameter_count<M: Module>(model: &M) -> usize {
    let mut n = 0;
    for_each_parameter(model, |path, shape, _, _| {
        if !is_buffer(&path) {
            n += shape.iter().product::<usize>();
        }
    });
    n
}
