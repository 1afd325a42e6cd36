//! Which of the two forms of an operation runs.

use std::sync::atomic::{AtomicU8, Ordering};

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Tensor};

/// The form in which operations run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelPath {
    /// The fused kernels where there are any (f32 on the Flex backend, with or without autodiff), else the plain
    /// composition.
    Auto,
    /// Always the composition of Burn's own operations: for parity tests and comparisons.
    Plain,
}

const UNSET: u8 = 0;
const AUTO: u8 = 1;
const PLAIN: u8 = 2;

static PATH: AtomicU8 = AtomicU8::new(UNSET);

/// Chooses the path for the whole process from now on.
pub fn set_kernel_path(path: KernelPath) {
    let value = match path {
        KernelPath::Auto => AUTO,
        KernelPath::Plain => PLAIN,
    };
    PATH.store(value, Ordering::Relaxed);
}

/// The path in force: what [`set_kernel_path`] chose, else `plain` if the environment variable `TRIMER_PATH` says so, else
/// [`KernelPath::Auto`].
pub fn kernel_path() -> KernelPath {
    match PATH.load(Ordering::Relaxed) {
        PLAIN => KernelPath::Plain,
        AUTO => KernelPath::Auto,
        _ => {
            let plain = std::env::var("TRIMER_PATH").is_ok_and(|p| p == "plain");
            let path = if plain {
                KernelPath::Plain
            } else {
                KernelPath::Auto
            };
            set_kernel_path(path);
            path
        }
    }
}

/// Whether the tensor lives on the Flex backend, that is in the memory of the CPU.
pub fn on_cpu<const D: usize>(x: &Tensor<D>) -> bool {
    matches!(x.device().inner().as_dispatch(), DispatchDevice::Flex(_))
}

/// Whether the fused kernels are to be used for an operation on this tensor.
pub(crate) fn fused<const D: usize>(x: &Tensor<D>) -> bool {
    kernel_path() == KernelPath::Auto && x.dtype() == DType::F32 && on_cpu(x)
}
