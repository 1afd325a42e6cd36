//! What the tests of this crate share.

pub(crate) mod compare;

mod compare_tests;
