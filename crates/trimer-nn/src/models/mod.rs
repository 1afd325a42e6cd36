//! The models: one file each, and one line in the registry below.
//!
//! | what | where |
//! |---|---|
//! | what somebody implements who adds a model | [`interface`] |
//! | what is predicted, and what depends on it | [`Task`] |
//! | registering a model of one's own | [`register`] |
//! | any registered model, any configuration | [`AnyModel`], [`ModelConfig`] |

mod any;
pub mod bc_lstm;
pub mod biddin;
mod checks;
pub mod cmath;
mod config;
pub mod dialoguegcn;
pub mod dialoguernn;
pub mod ef_transformer;
pub mod hct;
mod info;
pub mod interface;
mod late_fusion;
pub mod lf_transformer;
pub mod lfmim;
pub mod lmf;
pub mod logistic;
pub mod majority;
pub mod mbt;
pub mod mlf_dnn;
pub mod mlmf;
pub mod mm_dfn;
pub mod mmgcn;
pub mod mmsa;
pub mod mtfn;
pub mod mult;
pub mod pmr;
mod registry;
pub mod tfn;
pub mod unimodal;
pub mod utterance_mlp;

pub use crate::task::{Task, TaskKind};
pub use any::AnyModel;
pub use config::ModelConfig;
pub use info::{Level, ModelInfo};
pub use interface::{
    ClosedForm, Defaults, FusionModel, ModelConfigOf, ModelOutput, Owner, Properties, ReadLimits,
    ReferenceNames,
};
pub use late_fusion::{LateFusion, LatePart};
pub use registry::{model_info, models, register};

use registry::Entry;

/// The models of this crate, in the order in which they are listed.
const BUILTIN: &[Entry] = &[
    Entry::of::<lfmim::LfmimConfig>(),
    Entry::of::<lmf::LmfConfig>(),
    Entry::of::<logistic::LogisticConfig>(),
    Entry::of::<majority::MajorityConfig>(),
    Entry::of::<mlf_dnn::MlfDnnConfig>(),
    Entry::of::<mlmf::MlmfConfig>(),
    Entry::of::<mtfn::MtfnConfig>(),
    Entry::of::<tfn::TfnConfig>(),
    Entry::of::<unimodal::UnimodalConfig>(),
    Entry::of::<mult::MultConfig>(),
    Entry::of::<ef_transformer::EfTransformerConfig>(),
    Entry::of::<lf_transformer::LfTransformerConfig>(),
    Entry::of::<pmr::PmrConfig>(),
    Entry::of::<mbt::MbtConfig>(),
    Entry::of::<hct::HctMgConfig>(),
    Entry::of::<hct::HctDmgConfig>(),
    Entry::of::<utterance_mlp::UtteranceMlpConfig>(),
    Entry::of::<bc_lstm::BcLstmConfig>(),
    Entry::of::<dialoguernn::DialogueRnnConfig>(),
    Entry::of::<biddin::BiddinConfig>(),
    Entry::of::<mmgcn::MmgcnConfig>(),
    Entry::of::<dialoguegcn::DialogueGcnConfig>(),
    Entry::of::<mm_dfn::MmDfnConfig>(),
    Entry::of::<cmath::CmathConfig>(),
];
