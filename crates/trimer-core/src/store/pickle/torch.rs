//! PyTorch's constructors. Storages lie outside of the pickle; tensors only name them.

use super::{
    Fault, Value,
    value::{Id, Name},
    vm::{Global, Machine, Step, argument},
};
use crate::store::ElementKind;

/// What a PyTorch storage holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageKind {
    /// Elements of one kind; sizes are counted in them.
    Typed(ElementKind),
    /// Bytes.
    Untyped,
}

/// A tensor as the pickle describes it: not checked against its storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorRef {
    /// The storage's identification, a [`Value::Persistent`].
    pub(crate) storage: Id,
    /// Element of the storage at which the tensor starts.
    pub(crate) offset: usize,
    /// Sizes of the axes.
    pub(crate) shape: Vec<usize>,
    /// Steps of the axes, in elements.
    pub(crate) strides: Vec<usize>,
    /// Element type where the storage has none.
    pub(crate) kind: Option<ElementKind>,
}

/// Finds a name that PyTorch writes.
pub(super) fn global(module: &str, name: &str) -> Option<Global> {
    use ElementKind as K;
    Some(match (module, name) {
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_tensor_v3") => Global::RebuildTensorTyped,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
            Global::RebuildParameter
        }
        ("torch", "Size") => Global::TorchSize,
        ("torch", "device") => Global::TorchDevice,
        ("torch", "float64") => Global::TorchDtype(K::F64),
        ("torch", "float32") => Global::TorchDtype(K::F32),
        ("torch", "float16") => Global::TorchDtype(K::F16),
        ("torch", "bfloat16") => Global::TorchDtype(K::Bf16),
        ("torch", "int64") => Global::TorchDtype(K::I64),
        ("torch", "int32") => Global::TorchDtype(K::I32),
        ("torch", "int16") => Global::TorchDtype(K::I16),
        ("torch", "int8") => Global::TorchDtype(K::I8),
        ("torch", "uint8") => Global::TorchDtype(K::U8),
        ("torch", "bool") => Global::TorchDtype(K::Bool),
        ("torch" | "torch.storage" | "torch.cuda", storage) => {
            Global::Storage(StorageKind::Typed(match storage {
                "DoubleStorage" => K::F64,
                "FloatStorage" => K::F32,
                "HalfStorage" => K::F16,
                "BFloat16Storage" => K::Bf16,
                "LongStorage" => K::I64,
                "IntStorage" => K::I32,
                "ShortStorage" => K::I16,
                "CharStorage" => K::I8,
                "ByteStorage" => K::U8,
                "BoolStorage" => K::Bool,
                "UntypedStorage" | "_UntypedStorage" => {
                    return Some(Global::Storage(StorageKind::Untyped));
                }
                _ => return None,
            }))
        }
        _ => return None,
    })
}

/// Builds what one of PyTorch's constructors would return.
pub(super) fn build(machine: &Machine, global: Global, args: &[Id]) -> Step<Value> {
    match (global, args) {
        (Global::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
            tensor(machine, [storage, offset, shape, strides], None)
        }
        (Global::RebuildTensorTyped, &[storage, offset, shape, strides, _, _, dtype, ..]) => {
            match machine.value(dtype) {
                Value::Name(Name(Global::TorchDtype(kind))) => {
                    tensor(machine, [storage, offset, shape, strides], Some(*kind))
                }
                _ => Err(argument("the element type of a tensor is no `torch.dtype`")),
            }
        }
        (Global::RebuildParameter, &[tensor, ..]) => match machine.value(tensor) {
            Value::Tensor(tensor) => Ok(Value::Tensor(tensor.clone())),
            _ => Err(argument("a parameter is made of what is no tensor")),
        },
        (Global::TorchSize, &[tuple]) => match machine.value(tuple) {
            Value::Tuple(ids) if ids.len() <= crate::store::array::MAX_DIMS => {
                Ok(Value::Tuple(ids.clone()))
            }
            _ => Err(argument("a size is made of what is no short tuple")),
        },
        (Global::TorchDevice, _) => Ok(Value::Opaque("device")),
        _ => Err(argument(format!(
            "`{global:?}` does not take {} arguments",
            args.len()
        ))),
    }
}

fn tensor(machine: &Machine, args: [Id; 4], kind: Option<ElementKind>) -> Step<Value> {
    let [storage, offset, shape, strides] = args;
    if !matches!(machine.value(storage), Value::Persistent(_)) {
        return Err(argument("a tensor is made of what is no storage"));
    }
    Ok(Value::Tensor(Box::new(TensorRef {
        storage,
        offset: size(machine, offset)?,
        shape: sizes(machine, shape)?,
        strides: sizes(machine, strides)?,
        kind,
    })))
}

fn size(machine: &Machine, id: Id) -> Step<usize> {
    match machine.value(id) {
        Value::Int(n) => {
            usize::try_from(*n).map_err(|_| argument(format!("a size or stride is negative: {n}")))
        }
        _ => Err(argument("a size or stride is no integer of 64 bits")),
    }
}

fn sizes(machine: &Machine, id: Id) -> Step<Vec<usize>> {
    match machine.value(id) {
        Value::Tuple(ids) | Value::List(ids) => {
            if ids.len() > crate::store::array::MAX_DIMS {
                return Err(Fault::Limit {
                    limit: crate::store::array::MAX_DIMS,
                    what: "dimensions",
                });
            }
            ids.iter().map(|id| size(machine, *id)).collect()
        }
        _ => Err(argument("the sizes of a tensor are no tuple")),
    }
}
