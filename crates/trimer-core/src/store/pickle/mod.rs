//! Python pickles, read as data and never run.
//!
//! A pickle is a program for a small stack machine; Python's own reader lets that program call any
//! importable function. This reader knows a short list of constructors by name
//! ([`Allowed`]), builds plain values for them itself, and refuses everything else with the opcode,
//! its byte offset and the name. Nothing is looked up, imported or called.
//!
//! - Protocols 0 to 5, as Python 2 and 3, NumPy and PyTorch write them.
//! - Values lie in an arena and refer to one another by index: shared values stay shared, and neither
//!   reading nor dropping recurses, however deep a pickle nests or cycles.
//! - Numeric array payloads are slices of the file, which may be mapped; they are not copied.
//! - Every declared length is checked against the bytes that are left, and memory is bounded by
//!   [`MAX_VALUES`] and the size of the file.
//!
//! The `serde-pickle` and `burn-store` crates do not serve here: the former has no value for the
//! `REDUCE` and `BUILD` opcodes by which NumPy rebuilds an array in protocols 2 to 5, and the latter
//! reads PyTorch tensors only.

mod numpy;
mod text0;
mod torch;
mod value;
mod vm;

pub use numpy::{Dtype, TextArray};
pub use torch::{StorageKind, TensorRef};
pub use value::{Node, Value};

use super::{ArrayError, ByteView};
use crate::Hint;
use std::{
    io,
    path::{Path, PathBuf},
};
use value::Id;

/// Most values that one pickle may hold, about 1 GiB of memory. The largest feature files of the
/// field that keep numbers as Python lists hold some ten million.
pub const MAX_VALUES: usize = 1 << 25;

/// Which names a pickle may mention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Python's containers and NumPy's arrays and scalars.
    Numpy,
    /// These and PyTorch's tensors, parameters and storages.
    Torch,
}

/// Why a file is no readable pickle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PickleError {
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
    /// There is nothing to read.
    #[error("the pickle is empty")]
    Empty,
    /// An instruction cannot be followed.
    #[error("opcode `{opcode}` at byte {offset}: {fault}")]
    At {
        /// Where the instruction starts, from the start of the pickle.
        offset: usize,
        /// Name of the instruction as in Python's `pickletools`.
        opcode: &'static str,
        /// What is wrong.
        fault: Fault,
    },
    /// Bytes follow the value.
    #[error("{extra} bytes follow the end of the pickle at byte {offset}")]
    Trailing {
        /// Number of bytes.
        extra: usize,
        /// Where they start.
        offset: usize,
    },
}

/// What is wrong with one instruction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A declared length reaches beyond the end.
    #[error("{needed} bytes are declared, {available} are left")]
    End {
        /// Declared number of bytes.
        needed: u64,
        /// Number of bytes left.
        available: usize,
    },
    /// No such instruction.
    #[error("byte 0x{byte:02x} is no opcode")]
    UnknownOpcode {
        /// The byte found.
        byte: u8,
    },
    /// A version this reader does not know.
    #[error("protocol {version} is not known, expected 0 to 5")]
    Protocol {
        /// Declared version.
        version: u8,
    },
    /// A name that is not on the list of harmless ones.
    #[error("global `{module}.{name}` is not allowed")]
    Forbidden {
        /// Python module.
        module: String,
        /// Name in it.
        name: String,
    },
    /// Something that only the writing program could resolve.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The stack holds too few values, or none where one is due.
    #[error("the stack is too short")]
    Stack,
    /// A value is left over at the end.
    #[error("{left} values are left on the stack, expected 1")]
    Leftover {
        /// Number of values and marks.
        left: usize,
    },
    /// A value was to be reused that was never stored.
    #[error("memo {index} is not set")]
    Memo {
        /// Number of the memo.
        index: u64,
    },
    /// Arguments are not what the constructor takes.
    #[error("{0}")]
    Argument(String),
    /// Shape and data of an array do not fit.
    #[error(transparent)]
    Array(#[from] ArrayError),
    /// A stated limit is exceeded.
    #[error("more than {limit} {what}")]
    Limit {
        /// The limit.
        limit: usize,
        /// What is limited.
        what: &'static str,
    },
}

impl PickleError {
    fn in_file(self, path: &Path) -> Self {
        Self::InFile {
            path: path.to_owned(),
            fault: Box::new(self),
        }
    }
}

impl Hint for PickleError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::InFile { fault, .. } => fault.hint(),
            Self::At {
                fault: Fault::Forbidden { module, .. },
                ..
            } => Some(if module.starts_with("torch") {
                "convert tensors with `.numpy()` before pickling them".to_owned()
            } else {
                "this reader never runs code; if you trust the file, load it in Python and save plain \
                 NumPy arrays, lists and dictionaries"
                    .to_owned()
            }),
            Self::At {
                fault: Fault::End { .. },
                ..
            }
            | Self::Empty => {
                Some("the file seems to be cut off; compare its size with the original".to_owned())
            }
            _ => None,
        }
    }
}

/// A pickle's content.
#[derive(Debug)]
pub struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    /// The value that the pickle holds.
    pub const fn root(&self) -> Node<'_> {
        Node {
            pickle: self,
            id: self.root,
        }
    }

    /// Every value in the order in which the file makes them, reachable from the root or not.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        (0..self.values.len()).map(|place| Node {
            pickle: self,
            id: Id(place as u32),
        })
    }
}

/// Reads a pickle file. Large files are mapped; array payloads stay in the map.
///
/// # Errors
///
/// When the file cannot be read, is damaged, mentions a name that is not `allowed`, or exceeds a
/// limit.
pub fn read(path: &Path, allowed: Allowed) -> Result<Pickle, PickleError> {
    ByteView::open(path)
        .map_err(PickleError::from)
        .and_then(|bytes| parse(bytes, allowed))
        .map_err(|fault| fault.in_file(path))
}

/// Reads a pickle that fills `bytes`.
///
/// # Errors
///
/// As [`read`].
pub fn parse(bytes: ByteView, allowed: Allowed) -> Result<Pickle, PickleError> {
    let total = bytes.len();
    let (pickle, end) = parse_prefix(bytes, allowed)?;
    if end < total {
        return Err(PickleError::Trailing {
            extra: total - end,
            offset: end,
        });
    }
    Ok(pickle)
}

/// Reads the pickle that `bytes` starts with and tells where it ends.
///
/// # Errors
///
/// As [`read`].
pub fn parse_prefix(bytes: ByteView, allowed: Allowed) -> Result<(Pickle, usize), PickleError> {
    if bytes.is_empty() {
        return Err(PickleError::Empty);
    }
    vm::Machine::new(bytes, allowed).run()
}

#[cfg(test)]
mod tests;
