//! One file per verb.

pub(crate) mod bench;
pub(crate) mod calibrate;
pub(crate) mod compare;
pub(crate) mod corpus;
pub(crate) mod eval;
pub(crate) mod labels;
pub(crate) mod models;
mod parse;
pub(crate) mod plugins;
pub(crate) mod predict;
pub(crate) mod quickstart;
pub(crate) mod report;
pub(crate) mod train;
pub(crate) mod tune;
