//! Why a checkpoint was refused.

use crate::{
    Hint,
    store::{
        ArchiveError, ArrayError,
        pickle::{self, PickleError},
    },
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a file is no readable checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TorchError {
    /// The fault lies in this file.
    #[error("{}: {fault}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Box<Self>,
    },
    /// The file system said no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The zip container cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// One of the pickles cannot be read.
    #[error("{part}: {fault}")]
    Pickle {
        /// Which one.
        part: String,
        /// What is wrong with it.
        fault: Box<PickleError>,
    },
    /// The file is neither of the two containers.
    #[error("neither a zip container nor a legacy container of `torch.save`")]
    Container,
    /// The container lacks something or holds what it should not.
    #[error("malformed container: {0}")]
    Malformed(String),
    /// A tensor does not fit its storage.
    #[error("tensor `{name}`: {fault}")]
    Tensor {
        /// Dotted name.
        name: String,
        /// What is wrong with it.
        fault: StorageFault,
    },
    /// Two tensors have the same dotted name.
    #[error("two tensors are named `{name}`")]
    Duplicate {
        /// Dotted name.
        name: String,
    },
    /// A stated limit is exceeded.
    #[error("more than {limit} {what}")]
    Limit {
        /// The limit.
        limit: usize,
        /// What is limited.
        what: &'static str,
    },
}

/// Why a tensor's storage does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageFault {
    /// The storage is not identified as PyTorch does it.
    #[error("its storage is not identified")]
    Identification,
    /// The container lacks the storage.
    #[error("storage `{key}`: {fault}")]
    Archive {
        /// The storage's key.
        key: String,
        /// What is wrong.
        fault: ArchiveError,
    },
    /// The storage is not in the container.
    #[error("storage `{key}` is missing")]
    Missing {
        /// The storage's key.
        key: String,
    },
    /// The storage is shorter than declared.
    #[error("storage `{key}` has {available} bytes, {needed} are declared")]
    Short {
        /// The storage's key.
        key: String,
        /// Declared bytes.
        needed: u128,
        /// Bytes in the container.
        available: usize,
    },
    /// An untyped storage without an element type.
    #[error("the element type is not known")]
    Kind,
    /// Shape, strides and storage do not fit.
    #[error(transparent)]
    Array(#[from] ArrayError),
}

impl TorchError {
    pub(super) fn in_file(self, path: &Path) -> Self {
        Self::InFile {
            path: path.to_owned(),
            fault: Box::new(self),
        }
    }

    pub(super) fn pickle(part: &str) -> impl FnOnce(PickleError) -> Self + '_ {
        move |fault| Self::Pickle {
            part: part.to_owned(),
            fault: Box::new(fault),
        }
    }
}

impl Hint for TorchError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::InFile { fault, .. } => fault.hint(),
            Self::Pickle { fault, .. }
                if matches!(
                    **fault,
                    PickleError::At {
                        fault: pickle::Fault::Forbidden { .. },
                        ..
                    }
                ) =>
            {
                Some(
                    "save only tensors, e.g. `torch.save(model.state_dict(), path)`; this reader \
                     never runs code"
                        .to_owned(),
                )
            }
            Self::Pickle { fault, .. } => fault.hint(),
            Self::Archive(_) | Self::Container => {
                Some("the file may be cut off, or not written by `torch.save`".to_owned())
            }
            _ => None,
        }
    }
}
