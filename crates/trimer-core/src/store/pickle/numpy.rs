//! NumPy's constructors: arrays, element types and scalars.

use super::{
    Fault, Value,
    value::{Id, Unfilled},
    vm::{Global, Machine, Step, argument},
};
use crate::store::{ArrayError, ByteView, Element, ElementKind, NdArray};
use std::borrow::Cow;

/// An array that waits for its state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shell;

/// A NumPy element type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dtype {
    /// Numbers or booleans.
    Number(Element),
    /// Text of a fixed number of code points, 4 bytes each.
    Text {
        /// Code points per member.
        width: usize,
        /// Most significant byte first.
        big_endian: bool,
    },
    /// Byte strings of a fixed length.
    Bytes {
        /// Bytes per member.
        width: usize,
    },
    /// Python objects.
    Object,
}

/// A NumPy array of text or bytes of a fixed width, padded with zeros.
#[derive(Debug, Clone)]
pub struct TextArray {
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// Bytes per member.
    size: usize,
    /// Code points of 4 bytes rather than bytes.
    wide: bool,
    big_endian: bool,
    data: ByteView,
}

impl TextArray {
    /// The members in row-major order without their padding: UTF-8 if the array holds text, else as
    /// they are. `None` when a code point is none.
    pub(crate) fn to_bytes(&self) -> Option<Vec<Cow<'_, [u8]>>> {
        self.data
            .chunks_exact(self.size)
            .map(|member| {
                if !self.wide {
                    let end = member.iter().rposition(|&b| b != 0).map_or(0, |i| i + 1);
                    return Some(Cow::Borrowed(&member[..end]));
                }
                let (units, _) = member.as_chunks::<4>();
                let code = |unit: &[u8; 4]| {
                    if self.big_endian {
                        u32::from_be_bytes(*unit)
                    } else {
                        u32::from_le_bytes(*unit)
                    }
                };
                let end = units
                    .iter()
                    .rposition(|unit| code(unit) != 0)
                    .map_or(0, |i| i + 1);
                units[..end]
                    .iter()
                    .map(|unit| char::from_u32(code(unit)))
                    .collect::<Option<String>>()
                    .map(|text| Cow::Owned(text.into_bytes()))
            })
            .collect()
    }
}

/// `_reconstruct(ndarray, shape, typecode)`: an empty array, filled by what follows.
pub(super) fn reconstruct(machine: &Machine, args: &[Id]) -> Step<Value> {
    match args {
        [class, _shape, _typecode] if matches!(machine.value(*class), Value::Name(name) if name.0 == Global::NdArray) => {
            Ok(Value::Shell(Unfilled(Shell)))
        }
        _ => Err(argument("only `numpy.ndarray` itself is rebuilt")),
    }
}

/// The state of an array: `(version, shape, dtype, is_fortran, data)`.
pub(super) fn fill(machine: &Machine, _: Shell, state: Id) -> Step<Value> {
    let Value::Tuple(state) = machine.value(state) else {
        return Err(argument("the state of an array is no tuple"));
    };
    let &[version, shape, dtype, fortran, data] = &state[..] else {
        return Err(argument("the state of an array has 5 parts"));
    };
    if !matches!(machine.value(version), Value::Int(1)) {
        return Err(argument("the state of an array has version 1"));
    }
    array(
        machine,
        shape_of(machine, shape)?,
        dtype_of(machine, dtype)?,
        truth(machine, fortran)?,
        data,
    )
}

/// `_frombuffer(data, dtype, shape, order)`, with which protocol 5 makes an array.
pub(super) fn from_buffer(machine: &Machine, args: &[Id]) -> Step<Value> {
    let &[data, dtype, shape, order] = args else {
        return Err(argument("`_frombuffer` takes 4 arguments"));
    };
    let fortran = match machine.value(order) {
        Value::Text(order) | Value::Bytes(order) if &**order == b"C" => false,
        Value::Text(order) | Value::Bytes(order) if &**order == b"F" => true,
        _ => return Err(argument("the order of an array is `C` or `F`")),
    };
    array(
        machine,
        shape_of(machine, shape)?,
        dtype_of(machine, dtype)?,
        fortran,
        data,
    )
}

fn array(
    machine: &Machine,
    shape: Vec<usize>,
    dtype: &Dtype,
    fortran: bool,
    data: Id,
) -> Step<Value> {
    let raw = match (dtype, machine.value(data)) {
        (Dtype::Object, Value::List(items)) => {
            if fortran && shape.len() > 1 {
                return Err(argument("object arrays in Fortran order are not supported"));
            }
            if count(&shape) != Some(items.len()) {
                return Err(size_mismatch(items.len(), &shape));
            }
            return Ok(Value::ObjectArray {
                shape: shape.into_boxed_slice(),
                items: data,
            });
        }
        (Dtype::Object, _) => return Err(argument("an object array is filled by a list")),
        (_, Value::Bytes(raw)) => raw,
        // In protocol 0, Python 2 wrote byte strings that may come back as text.
        _ => return Err(argument("the data of an array are no bytes")),
    };
    let size = match *dtype {
        Dtype::Number(element) => element.kind.size(),
        Dtype::Text { width, .. } => width * 4,
        Dtype::Bytes { width } => width,
        Dtype::Object => unreachable!("object arrays were dealt with above"),
    };
    if count(&shape).and_then(|n| n.checked_mul(size)) != Some(raw.len()) {
        return Err(size_mismatch(raw.len(), &shape));
    }
    Ok(match *dtype {
        Dtype::Number(element) => {
            let array = NdArray::contiguous(shape, fortran, element, raw.clone())?;
            Value::Array(Box::new(array))
        }
        _ if fortran && shape.len() > 1 => {
            return Err(argument("text arrays in Fortran order are not supported"));
        }
        _ => Value::TextArray(Box::new(TextArray {
            shape,
            size,
            wide: matches!(dtype, Dtype::Text { .. }),
            big_endian: matches!(
                dtype,
                Dtype::Text {
                    big_endian: true,
                    ..
                }
            ),
            data: raw.clone(),
        })),
    })
}

/// Number of members; `None` when it overflows.
fn count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_usize, |n, &s| n.checked_mul(s))
}

fn size_mismatch(len: usize, shape: &[usize]) -> Fault {
    argument(format!(
        "{len} bytes or members do not fill shape {shape:?}"
    ))
}

fn shape_of(machine: &Machine, id: Id) -> Step<Vec<usize>> {
    let (Value::Tuple(ids) | Value::List(ids)) = machine.value(id) else {
        return Err(argument("the shape of an array is no tuple"));
    };
    if ids.len() > crate::store::array::MAX_DIMS {
        return Err(ArrayError::TooManyDims { given: ids.len() }.into());
    }
    ids.iter()
        .map(|id| match machine.value(*id) {
            Value::Int(size) => usize::try_from(*size)
                .map_err(|_| argument(format!("an axis has the negative size {size}"))),
            _ => Err(argument("the size of an axis is no integer of 64 bits")),
        })
        .collect()
}

fn dtype_of(machine: &Machine, id: Id) -> Step<&Dtype> {
    match machine.value(id) {
        Value::Dtype(dtype) => Ok(dtype),
        _ => Err(argument("the element type of an array is no `dtype`")),
    }
}

fn truth(machine: &Machine, id: Id) -> Step<bool> {
    match machine.value(id) {
        Value::Bool(b) => Ok(*b),
        Value::Int(i) => Ok(*i != 0),
        _ => Err(argument("expected a boolean")),
    }
}

/// `dtype(code, align, copy)`.
pub(super) fn dtype(machine: &Machine, args: &[Id]) -> Step<Value> {
    let [code, ..] = args else {
        return Err(argument("`dtype` takes a type code"));
    };
    let code = match machine.value(*code) {
        Value::Text(code) | Value::Bytes(code) => String::from_utf8_lossy(code),
        _ => return Err(argument("the code of a `dtype` is no text")),
    };
    let refused = || {
        let code: String = code.chars().take(40).collect();
        argument(format!("element type `{code}` is not supported"))
    };
    let (big_endian, plain) = match code.as_bytes().first() {
        Some(b'<' | b'|' | b'=') => (false, &code[1..]),
        Some(b'>') => (true, &code[1..]),
        _ => (false, &*code),
    };
    let width = |digits: &str| {
        digits
            .parse::<usize>()
            .ok()
            // A width of 0 would make any number of members out of nothing.
            .filter(|w| (1..1 << 30).contains(w))
    };
    let dtype = if let Some(kind) = Element::kind_from_numpy(plain) {
        Dtype::Number(Element { kind, big_endian })
    } else if matches!(plain, "O" | "O4" | "O8") {
        Dtype::Object
    } else if let Some(width) = plain.strip_prefix('U').and_then(width) {
        Dtype::Text { width, big_endian }
    } else if let Some(width) = plain.strip_prefix(['S', 'a']).and_then(width) {
        Dtype::Bytes { width }
    } else {
        return Err(refused());
    };
    Ok(Value::Dtype(Box::new(dtype)))
}

/// The state of a `dtype`: `(version, byteorder, subdtype, names, fields, itemsize, ...)`.
pub(super) fn dtype_state(machine: &Machine, dtype: Dtype, state: Id) -> Step<Dtype> {
    let Value::Tuple(state) = machine.value(state) else {
        return Err(argument("the state of a `dtype` is no tuple"));
    };
    let &[_version, order, subdtype, names, fields, ..] = &state[..] else {
        return Err(argument("the state of a `dtype` has at least 5 parts"));
    };
    if ![subdtype, names, fields]
        .iter()
        .all(|id| matches!(machine.value(*id), Value::None))
    {
        return Err(argument("structured element types are not supported"));
    }
    let big = match machine.value(order) {
        Value::Text(order) | Value::Bytes(order) => match &**order {
            b"<" | b"|" | b"=" => false,
            b">" => true,
            _ => return Err(argument("the byte order is none of `<`, `>`, `|`, `=`")),
        },
        _ => return Err(argument("the byte order is no text")),
    };
    Ok(match dtype {
        Dtype::Number(Element { kind, .. }) => Dtype::Number(Element {
            kind,
            big_endian: big,
        }),
        Dtype::Text { width, .. } => Dtype::Text {
            width,
            big_endian: big,
        },
        other => other,
    })
}

/// `scalar(dtype, data)`: one NumPy number, read as the Python number it equals.
pub(super) fn scalar(machine: &mut Machine, args: &[Id]) -> Step<Value> {
    let &[dtype, data] = args else {
        return Err(argument("`scalar` takes a `dtype` and bytes"));
    };
    let dtype = dtype_of(machine, dtype)?.clone();
    let Value::Bytes(raw) = machine.value(data) else {
        return Err(argument("the data of a scalar are no bytes"));
    };
    let raw = raw.clone();
    match dtype {
        Dtype::Number(element) => {
            if raw.len() != element.kind.size() {
                return Err(size_mismatch(raw.len(), &[]));
            }
            let one = NdArray::contiguous(Vec::new(), false, element, raw)?;
            let value = one.to_f64().first().copied().unwrap_or_default();
            Ok(match element.kind {
                ElementKind::Bool => Value::Bool(value != 0.0),
                kind if kind.is_float() => Value::Float(value),
                _ => one
                    .to_i64()
                    .and_then(|v| v.first().copied())
                    .map_or(Value::Float(value), Value::Int),
            })
        }
        Dtype::Text { width, big_endian } => {
            machine.copy(raw.len())?;
            if raw.len() != width * 4 {
                return Err(size_mismatch(raw.len(), &[]));
            }
            let array = TextArray {
                shape: Vec::new(),
                size: raw.len(),
                wide: true,
                big_endian,
                data: raw,
            };
            let text = array
                .to_bytes()
                .and_then(|mut members| members.pop().map(Cow::into_owned))
                .ok_or_else(|| argument("text is not Unicode"))?;
            Ok(Value::Text(ByteView::from(text)))
        }
        Dtype::Bytes { .. } => Ok(Value::Bytes(raw)),
        Dtype::Object => Err(argument("scalars of Python objects are not supported")),
    }
}
