//! A model without its type: what the registry builds and the trainer, plug-ins and files work with.
//!
//! [`AnyModel`] is a Burn module like any other: visitors and mappers pass through it to the fields of
//! the model inside, so parameters have the same paths alone and in here.

use super::info::ModelInfo;
use super::interface::{ClosedForm, FusionModel, ModelOutput, Properties, ReferenceNames};
use crate::batch::Batch;
use crate::recorder::Recorder;
use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bool, Device, Int, Tensor};
use std::any::Any;
use trimer_core::{Head, HeadMap};

/// Any registered model.
#[derive(Debug)]
pub struct AnyModel {
    info: &'static ModelInfo,
    inner: Box<dyn Erased>,
}

impl AnyModel {
    /// Puts a model behind its registry entry.
    pub fn new<M: FusionModel + 'static>(info: &'static ModelInfo, model: M) -> Self {
        Self {
            info,
            inner: Box::new(model),
        }
    }

    /// The registry entry.
    pub const fn info(&self) -> &'static ModelInfo {
        self.info
    }

    /// The model itself, where its type is known.
    pub fn downcast_ref<M: FusionModel + 'static>(&self) -> Option<&M> {
        self.inner.as_any().downcast_ref()
    }

    fn with(&self, inner: Box<dyn Erased>) -> Self {
        Self {
            info: self.info,
            inner,
        }
    }
}

impl Clone for AnyModel {
    fn clone(&self) -> Self {
        self.with(self.inner.boxed_clone())
    }
}

impl FusionModel for AnyModel {
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        self.inner.forward(batch, rec)
    }

    fn properties(&self) -> &dyn Properties {
        self.inner.properties()
    }

    fn reference(&self) -> &dyn ReferenceNames {
        self.inner.reference()
    }

    fn closed_form(&self) -> Option<ClosedForm<Self>> {
        self.inner
            .has_closed_form()
            .then_some(|model, batches, columns| Self {
                info: model.info,
                inner: model.inner.fit(batches, columns),
            })
    }
}

impl Module for AnyModel {
    fn collect_devices(&self, devices: Vec<Device>) -> Vec<Device> {
        self.inner.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        Self {
            info: self.info,
            inner: self.inner.fork(device),
        }
    }

    fn to_device(self, device: &Device) -> Self {
        Self {
            info: self.info,
            inner: self.inner.to_device(device),
        }
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.inner.visit(&mut ErasedVisitor(visitor));
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        Self {
            info: self.info,
            inner: self.inner.map(&mut ErasedMapper(mapper)),
        }
    }

    fn train(self) -> Self {
        Self {
            info: self.info,
            inner: self.inner.train(),
        }
    }

    fn valid(&self) -> Self {
        self.with(self.inner.valid())
    }

    fn materialize(self) -> Self {
        Self {
            info: self.info,
            inner: self.inner.materialize(),
        }
    }
}

/// [`FusionModel`] and [`Module`] without their type. Every model has it.
trait Erased: Send + std::fmt::Debug {
    fn as_any(&self) -> &dyn Any;
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput;
    fn properties(&self) -> &dyn Properties;
    fn reference(&self) -> &dyn ReferenceNames;
    fn has_closed_form(&self) -> bool;
    fn fit(
        self: Box<Self>,
        batches: &mut dyn Iterator<Item = Batch>,
        columns: HeadMap<Head>,
    ) -> Box<dyn Erased>;
    fn collect_devices(&self, devices: Vec<Device>) -> Vec<Device>;
    fn fork(self: Box<Self>, device: &Device) -> Box<dyn Erased>;
    fn to_device(self: Box<Self>, device: &Device) -> Box<dyn Erased>;
    fn visit(&self, visitor: &mut dyn Visit);
    fn map(self: Box<Self>, mapper: &mut dyn Map) -> Box<dyn Erased>;
    fn train(self: Box<Self>) -> Box<dyn Erased>;
    fn valid(&self) -> Box<dyn Erased>;
    fn materialize(self: Box<Self>) -> Box<dyn Erased>;
    fn boxed_clone(&self) -> Box<dyn Erased>;
}

impl<M: FusionModel + 'static> Erased for M {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput {
        FusionModel::forward(self, batch, rec)
    }

    fn properties(&self) -> &dyn Properties {
        FusionModel::properties(self)
    }

    fn reference(&self) -> &dyn ReferenceNames {
        FusionModel::reference(self)
    }

    fn has_closed_form(&self) -> bool {
        self.closed_form().is_some()
    }

    fn fit(
        self: Box<Self>,
        batches: &mut dyn Iterator<Item = Batch>,
        columns: HeadMap<Head>,
    ) -> Box<dyn Erased> {
        match self.closed_form() {
            Some(fit) => Box::new(fit(*self, batches, columns)),
            None => self,
        }
    }

    fn collect_devices(&self, devices: Vec<Device>) -> Vec<Device> {
        Module::collect_devices(self, devices)
    }

    fn fork(self: Box<Self>, device: &Device) -> Box<dyn Erased> {
        Box::new(Module::fork(*self, device))
    }

    fn to_device(self: Box<Self>, device: &Device) -> Box<dyn Erased> {
        Box::new(Module::to_device(*self, device))
    }

    fn visit(&self, visitor: &mut dyn Visit) {
        Module::visit(self, &mut Typed(visitor));
    }

    fn map(self: Box<Self>, mapper: &mut dyn Map) -> Box<dyn Erased> {
        Box::new(Module::map(*self, &mut Typed(mapper)))
    }

    fn train(self: Box<Self>) -> Box<dyn Erased> {
        Box::new(Module::train(*self))
    }

    fn valid(&self) -> Box<dyn Erased> {
        Box::new(Module::valid(self))
    }

    fn materialize(self: Box<Self>) -> Box<dyn Erased> {
        Box::new(Module::materialize(*self))
    }

    fn boxed_clone(&self) -> Box<dyn Erased> {
        Box::new(self.clone())
    }
}

/// [`ModuleVisitor`] without its type; parameters come as `Param<Tensor<D, K>>` behind [`Any`], which
/// also tells their rank.
trait Visit {
    fn float(&mut self, param: &dyn Any);
    fn int(&mut self, param: &dyn Any);
    fn bool(&mut self, param: &dyn Any);
    fn flag(&mut self, flag: &Param<Flag>);
    fn enter(&mut self, name: &str, container: &str);
    fn exit(&mut self, name: &str, container: &str);
}

/// [`ModuleMapper`] without its type. A parameter that is not taken comes back as it was.
trait Map {
    fn float(&mut self, param: Box<dyn Any>) -> Box<dyn Any>;
    fn int(&mut self, param: Box<dyn Any>) -> Box<dyn Any>;
    fn bool(&mut self, param: Box<dyn Any>) -> Box<dyn Any>;
    fn flag(&mut self, flag: Param<Flag>) -> Param<Flag>;
    fn enter(&mut self, name: &str, container: &str);
    fn exit(&mut self, name: &str, container: &str);
}

/// The erased side as the visitor or mapper of a model whose type is known.
struct Typed<'a, T: ?Sized>(&'a mut T);

impl ModuleVisitor for Typed<'_, dyn Visit + '_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.float(param);
    }
    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.0.int(param);
    }
    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.0.bool(param);
    }
    fn visit_flag(&mut self, flag: &Param<Flag>) {
        self.0.flag(flag);
    }
    fn enter_module(&mut self, name: &str, container: &str) {
        self.0.enter(name, container);
    }
    fn exit_module(&mut self, name: &str, container: &str) {
        self.0.exit(name, container);
    }
}

impl ModuleMapper for Typed<'_, dyn Map + '_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        unbox(self.0.float(Box::new(param)))
    }
    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        unbox(self.0.int(Box::new(param)))
    }
    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        unbox(self.0.bool(Box::new(param)))
    }
    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        self.0.flag(flag)
    }
    fn enter_module(&mut self, name: &str, container: &str) {
        self.0.enter(name, container);
    }
    fn exit_module(&mut self, name: &str, container: &str) {
        self.0.exit(name, container);
    }
}

fn unbox<T: 'static>(param: Box<dyn Any>) -> T {
    *param
        .downcast()
        .expect("a mapper keeps the rank and the kind of a parameter")
}

/// A visitor whose type is known as the erased one.
struct ErasedVisitor<'a, V>(&'a mut V);

/// A mapper whose type is known as the erased one.
struct ErasedMapper<'a, M>(&'a mut M);

/// Calls a visitor's method with the rank that a parameter turns out to have.
macro_rules! visit_by_rank {
    ($param:expr, $kind:ty, $visitor:expr, $method:ident) => {
        visit_by_rank!($param, $kind, $visitor, $method, 1, 2, 3, 4, 5, 6, 7, 8)
    };
    ($param:expr, $kind:ty, $visitor:expr, $method:ident, $($rank:literal),+) => {
        $(if let Some(param) = $param.downcast_ref::<Param<Tensor<$rank, $kind>>>() {
            return $visitor.$method(param);
        })+
    };
}

/// As [`visit_by_rank`], for a mapper.
macro_rules! map_by_rank {
    ($param:ident, $kind:ty, $mapper:expr, $method:ident) => {
        map_by_rank!($param, $kind, $mapper, $method, 1, 2, 3, 4, 5, 6, 7, 8)
    };
    ($param:ident, $kind:ty, $mapper:expr, $method:ident, $($rank:literal),+) => {{
        $(let $param = match $param.downcast::<Param<Tensor<$rank, $kind>>>() {
            Ok(param) => return Box::new($mapper.$method(*param)),
            Err(param) => param,
        };)+
        $param
    }};
}

impl<V: ModuleVisitor> Visit for ErasedVisitor<'_, V> {
    fn float(&mut self, param: &dyn Any) {
        visit_by_rank!(param, burn::tensor::Float, self.0, visit_float);
    }
    fn int(&mut self, param: &dyn Any) {
        visit_by_rank!(param, Int, self.0, visit_int);
    }
    fn bool(&mut self, param: &dyn Any) {
        visit_by_rank!(param, Bool, self.0, visit_bool);
    }
    fn flag(&mut self, flag: &Param<Flag>) {
        self.0.visit_flag(flag);
    }
    fn enter(&mut self, name: &str, container: &str) {
        self.0.enter_module(name, container);
    }
    fn exit(&mut self, name: &str, container: &str) {
        self.0.exit_module(name, container);
    }
}

impl<M: ModuleMapper> Map for ErasedMapper<'_, M> {
    fn float(&mut self, param: Box<dyn Any>) -> Box<dyn Any> {
        map_by_rank!(param, burn::tensor::Float, self.0, map_float)
    }
    fn int(&mut self, param: Box<dyn Any>) -> Box<dyn Any> {
        map_by_rank!(param, Int, self.0, map_int)
    }
    fn bool(&mut self, param: Box<dyn Any>) -> Box<dyn Any> {
        map_by_rank!(param, Bool, self.0, map_bool)
    }
    fn flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        self.0.map_flag(flag)
    }
    fn enter(&mut self, name: &str, container: &str) {
        self.0.enter_module(name, container);
    }
    fn exit(&mut self, name: &str, container: &str) {
        self.0.exit_module(name, container);
    }
}
