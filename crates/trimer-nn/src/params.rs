//! Parameters by path: reading them out of a module, their gradients, and putting values in.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Gradients, Tensor};
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
pub(crate) fn for_each_parameter<M: Module>(
    model: &M,
    f: impl FnMut(String, Vec<usize>, ParamId, Tensor<1>),
) {
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
