//! What Trimer knows without any tensor: modalities, labels, corpora on disk, importers of foreign
//! formats, metrics and statistics. It compiles in seconds and serves a plain analyst alone.

pub mod card;
pub mod corpus;
pub mod error;
pub mod import;
pub mod io;
pub mod label;
pub mod labels;
pub mod metrics;
pub mod modality;
pub mod random;
pub mod stats;
pub mod store;

pub use error::Hint;
pub use label::{Head, HeadMap, LabelSpace};
pub use modality::{Modality, ModalityMap, ModalitySet};
