//! What the tests of this crate share.

pub(crate) mod compare;
mod compare_tests;
pub(crate) mod gradients;
pub(crate) mod reference;
