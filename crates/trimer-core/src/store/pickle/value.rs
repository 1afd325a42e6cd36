//! What a pickle can hold, and how to walk through it.

use super::{Dtype, Pickle, StorageKind, TensorRef, TextArray, numpy::Shell, vm::Global};
use crate::store::{ByteView, NdArray};
use std::borrow::Cow;

/// The place of a value in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(pub(super) u32);

/// One Python value. Containers hold the places of their members; [`Node`] follows them.
#[derive(Debug)]
#[non_exhaustive]
pub enum Value {
    /// `None`.
    None,
    /// `bool`.
    Bool(bool),
    /// `int` within 64 bits.
    Int(i64),
    /// Any other `int`: two's complement, least significant byte first.
    Long(ByteView),
    /// `float`.
    Float(f64),
    /// `str`, checked to be UTF-8.
    Text(ByteView),
    /// `bytes`, `bytearray`, or a Python 2 `str`.
    Bytes(ByteView),
    /// `list`.
    List(Vec<Id>),
    /// `tuple`.
    Tuple(Vec<Id>),
    /// `set` or `frozenset`, in the order of the file.
    Set(Vec<Id>),
    /// `dict`, in the order of the file; of equal keys the last one counts.
    Dict(Vec<(Id, Id)>),
    /// A NumPy array of numbers or booleans.
    Array(Box<NdArray>),
    /// A NumPy array of fixed-width text or bytes.
    TextArray(Box<TextArray>),
    /// A NumPy array of Python objects; the members lie in a list, row-major.
    ObjectArray {
        /// Sizes of the axes.
        shape: Box<[usize]>,
        /// The list of members.
        items: Id,
    },
    /// A NumPy element type.
    Dtype(Box<Dtype>),
    /// A PyTorch tensor or parameter, not yet resolved.
    Tensor(Box<TensorRef>),
    /// What identifies a PyTorch storage outside of the pickle.
    Persistent(Id),
    /// A harmless name.
    #[doc(hidden)]
    Name(Name),
    /// An array that was announced but not yet filled.
    #[doc(hidden)]
    Shell(Unfilled),
    /// Something known to be harmless that no reader of this project needs.
    Opaque(&'static str),
}

/// Keeps [`Global`] out of the public interface.
#[derive(Debug, Clone, Copy)]
pub struct Name(pub(super) Global);

/// Keeps [`Shell`] out of the public interface.
#[derive(Debug, Clone, Copy)]
pub struct Unfilled(pub(super) Shell);

/// A value together with the pickle it lies in.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    pub(super) pickle: &'a Pickle,
    pub(super) id: Id,
}

impl<'a> Node<'a> {
    /// The value itself.
    pub fn value(self) -> &'a Value {
        &self.pickle.values[self.id.0 as usize]
    }

    pub(crate) const fn at(self, id: Id) -> Self {
        Self {
            pickle: self.pickle,
            id,
        }
    }

    /// The Python type, for messages.
    pub fn type_name(self) -> &'static str {
        match self.value() {
            Value::None => "None",
            Value::Bool(_) => "bool",
            Value::Int(_) | Value::Long(_) => "int",
            Value::Float(_) => "float",
            Value::Text(_) => "str",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Set(_) => "set",
            Value::Dict(_) => "dict",
            Value::Array(_) => "numeric array",
            Value::TextArray(_) => "text array",
            Value::ObjectArray { .. } => "object array",
            Value::Dtype(_) => "dtype",
            Value::Tensor(_) => "tensor",
            Value::Persistent(_) => "storage",
            Value::Name(_) => "class",
            Value::Shell(_) => "unfinished array",
            Value::Opaque(name) => name,
        }
    }

    /// Whether the value is `None`.
    pub fn is_none(self) -> bool {
        matches!(self.value(), Value::None)
    }

    /// The value of a dictionary's text key.
    pub fn get(self, key: &str) -> Option<Self> {
        let Value::Dict(entries) = self.value() else {
            return None;
        };
        entries
            .iter()
            .rev()
            .find(|(k, _)| match self.at(*k).value() {
                Value::Text(text) | Value::Bytes(text) => **text == *key.as_bytes(),
                _ => false,
            })
            .map(|(_, v)| self.at(*v))
    }

    /// Keys and values of a dictionary in the order of the file, repetitions included.
    pub fn entries(self) -> Option<impl ExactSizeIterator<Item = (Self, Self)> + 'a> {
        let Value::Dict(entries) = self.value() else {
            return None;
        };
        Some(entries.iter().map(move |(k, v)| (self.at(*k), self.at(*v))))
    }

    /// The members of a list, tuple, set, or one-dimensional object array.
    pub fn items(self) -> Option<impl ExactSizeIterator<Item = Self> + 'a> {
        let ids = match self.value() {
            Value::List(ids) | Value::Tuple(ids) | Value::Set(ids) => ids,
            Value::ObjectArray { shape, items } if shape.len() == 1 => {
                let Value::List(ids) = self.at(*items).value() else {
                    return None;
                };
                // The list can still have grown after the array was made of it.
                ids.get(..shape[0])?
            }
            _ => return None,
        };
        Some(ids.iter().map(move |id| self.at(*id)))
    }

    /// The text of a `str`, or of `bytes` that are UTF-8.
    pub fn as_utf8(self) -> Option<&'a str> {
        match self.value() {
            Value::Text(text) | Value::Bytes(text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }

    /// The text of a `str` or `bytes`. Bytes that are not UTF-8 are read as Latin-1, as the field's
    /// own loaders do with files of Python 2 (`encoding="latin1"`).
    pub fn as_text(self) -> Option<Cow<'a, str>> {
        match self.value() {
            Value::Text(text) | Value::Bytes(text) => Some(text_or_latin1(text)),
            _ => None,
        }
    }

    /// A whole number; a `bool` counts, and so does a `float` without a fraction.
    pub fn as_i64(self) -> Option<i64> {
        match self.value() {
            Value::Int(i) => Some(*i),
            Value::Bool(b) => Some(i64::from(*b)),
            // Beyond 2^53 a float no longer tells neighbouring integers apart.
            Value::Float(f) if f.fract() == 0.0 && f.abs() <= (1_u64 << 53) as f64 => {
                Some(*f as i64)
            }
            Value::Array(array) if array.len() == 1 => array.to_i64()?.first().copied(),
            _ => None,
        }
    }

    /// A number.
    pub fn as_f64(self) -> Option<f64> {
        match self.value() {
            Value::Int(i) => Some(*i as f64),
            Value::Bool(b) => Some(f64::from(u8::from(*b))),
            Value::Float(f) => Some(*f),
            Value::Array(array) if array.len() == 1 => array.to_f64().first().copied(),
            _ => None,
        }
    }

    /// A NumPy array of numbers or booleans.
    pub fn as_array(self) -> Option<&'a NdArray> {
        match self.value() {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    /// The kind of a PyTorch storage class.
    pub(crate) fn storage_kind(self) -> Option<StorageKind> {
        match self.value() {
            Value::Name(Name(Global::Storage(kind))) => Some(*kind),
            _ => None,
        }
    }

    /// Numbers in a row: a numeric array of any shape (row-major), or a list, tuple or object array
    /// of numbers. `None` when a member is no number.
    pub fn numbers(self) -> Option<Vec<f64>> {
        match self.value() {
            Value::Array(array) => Some(array.to_f64()),
            _ => self.items()?.map(Self::as_f64).collect(),
        }
    }

    /// Members of a list, tuple or array of text, each with its bytes: a `str` member is UTF-8, a
    /// `bytes` member anything. `None` when a member is neither.
    pub fn texts(self) -> Option<Vec<Cow<'a, [u8]>>> {
        match self.value() {
            Value::TextArray(array) => array.to_bytes(),
            _ => self
                .items()?
                .map(|item| match item.value() {
                    Value::Text(text) | Value::Bytes(text) => Some(Cow::Borrowed(&**text)),
                    _ => None,
                })
                .collect(),
        }
    }
}

/// Bytes as text: UTF-8 where they are, else Latin-1.
fn text_or_latin1(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(
        |_| Cow::Owned(bytes.iter().map(|&b| b as char).collect()),
        Cow::Borrowed,
    )
}
