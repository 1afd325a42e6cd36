//! One folder per operation: `mod` holds its function and the types of its interface, `op` the extension of Burn's
//! backends with the backward pass, `kernel` the work on plain slices of f32, `plain` the composition of Burn's own
//! operations.
#![allow(
    clippy::inline_always,
    reason = "a kernel must end up in the one function that enables the instructions, see `engine::simd`"
)]

/// Defines a struct of backend primitives: what an operation of many inputs takes, field by field as autodiff numbers
/// its parents; with `from`, made of the struct of tensors that has the same fields.
macro_rules! primitives {
    ($(#[$meta:meta])* $name:ident[$n:literal] { $($field:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(burn::backend::ExtensionType, Debug, Clone)]
        pub struct $name<B: Backend> {
            $(pub(super) $field: FloatTensor<B>,)+
        }

        impl<B: Backend> $name<B> {
            /// In the order of the fields.
            fn into_array(self) -> [FloatTensor<B>; $n] {
                [$(self.$field),+]
            }
        }
    };
    ($(#[$meta:meta])* $name:ident[$n:literal] from $tensors:ident { $($field:ident),+ $(,)? }) => {
        primitives! { $(#[$meta])* $name[$n] { $($field),+ } }

        impl From<$tensors> for $name<burn::backend::Dispatch> {
            fn from(tensors: $tensors) -> Self {
                Self { $($field: tensors.$field.into_dispatch(),)+ }
            }
        }
    };
}

pub(crate) mod attention;
pub(crate) mod concat;
pub(crate) mod dialogue_rnn;
pub(crate) mod dropout;
pub(crate) mod layer_norm;
pub(crate) mod lfmim_block;
pub(crate) mod lfmim_fusion;
pub(crate) mod linear;
mod mask;
pub(crate) mod outer;
pub(crate) mod recurrent;
pub(crate) mod sgd;
pub(crate) mod similarity_graph;
