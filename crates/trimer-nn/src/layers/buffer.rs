//! Tensors that are carried with the weights and not learned.

use burn::module::{
    Content, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param,
    ParamId,
};
use burn::tensor::{Device, Tensor};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A tensor that visitors and mappers see as they see parameters, but that takes no gradient: running statistics
/// and constants that were computed once. A pass may set it through a shared reference.
///
/// A clone has a value of its own. (The clones of `burn`'s `RunningState` share theirs: whoever changes the weights
/// of a clone changes the original.)
#[derive(Debug)]
pub struct Buffer<const D: usize> {
    id: ParamId,
    value: Mutex<Tensor<D>>,
}

impl<const D: usize> Buffer<D> {
    /// A buffer of this value.
    pub fn new(value: Tensor<D>) -> Self {
        Self::with_id(ParamId::new(), value)
    }

    const fn with_id(id: ParamId, value: Tensor<D>) -> Self {
        Self {
            id,
            value: Mutex::new(value),
        }
    }

    /// The value as it is now.
    pub fn value(&self) -> Tensor<D> {
        self.lock().clone()
    }

    /// Sets the value; it must not carry a graph.
    pub fn set(&self, value: Tensor<D>) {
        *self.lock() = value;
    }

    fn lock(&self) -> MutexGuard<'_, Tensor<D>> {
        // A value is replaced whole: one that somebody left when panicking is as good as any.
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const D: usize> Clone for Buffer<D> {
    fn clone(&self) -> Self {
        Self::with_id(self.id, self.value())
    }
}

impl<const D: usize> Module for Buffer<D> {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.visit_float(&Param::initialized(self.id, self.value()));
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let mapped = mapper.map_float(Param::initialized(self.id, self.value()));
        let (_, value, _) = mapped.consume();
        // A mapper may transform the value but must not make it learn.
        Self::with_id(self.id, value.set_require_grad(false))
    }

    fn to_device(self, device: &Device) -> Self {
        Self::with_id(self.id, self.value().to_device(device))
    }

    fn fork(self, device: &Device) -> Self {
        self.to_device(device)
    }

    fn collect_devices(&self, mut devices: Vec<Device>) -> Vec<Device> {
        let device = self.value().device();
        if !devices.contains(&device) {
            devices.push(device);
        }
        devices
    }

    fn materialize(self) -> Self {
        self
    }

    fn valid(&self) -> Self {
        Self::with_id(self.id, self.value().without_autodiff())
    }

    fn train(self) -> Self {
        Self::with_id(self.id, Tensor::from_inner(self.value()))
    }
}

impl<const D: usize> fmt::Display for Buffer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer(id={})", self.id)
    }
}

impl<const D: usize> ModuleDisplayDefault for Buffer<D> {
    fn content(&self, content: Content) -> Option<Content> {
        content.add_formatted(&"Buffer".to_owned()).optional()
    }
}

impl<const D: usize> ModuleDisplay for Buffer<D> {}
