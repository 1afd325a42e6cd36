//! An array as foreign files hold it: any element type, byte order and memory layout.

use super::ByteView;
use std::fmt;

/// What one element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ElementKind {
    /// One byte, zero is false.
    Bool,
    /// Signed, 1 byte.
    I8,
    /// Signed, 2 bytes.
    I16,
    /// Signed, 4 bytes.
    I32,
    /// Signed, 8 bytes.
    I64,
    /// Unsigned, 1 byte.
    U8,
    /// Unsigned, 2 bytes.
    U16,
    /// Unsigned, 4 bytes.
    U32,
    /// Unsigned, 8 bytes.
    U64,
    /// IEEE half precision.
    F16,
    /// The upper half of a 32-bit float.
    Bf16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
}

impl ElementKind {
    /// Size of one element in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::Bf16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// Lower-case name: `f32`, `bool`, ...
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    /// Whether elements are floating point numbers.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::Bf16 | Self::F32 | Self::F64)
    }
}

impl fmt::Display for ElementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What one element is and in which order its bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Element {
    /// Kind and width.
    pub kind: ElementKind,
    /// Most significant byte first.
    pub big_endian: bool,
}

impl Element {
    /// An element with its least significant byte first.
    pub const fn little(kind: ElementKind) -> Self {
        Self {
            kind,
            big_endian: false,
        }
    }

    /// Reads NumPy's type string without its byte order: `f4`, `i8`, `b1`, ... `None` when it is
    /// not a plain number.
    pub(crate) fn kind_from_numpy(code: &str) -> Option<ElementKind> {
        Some(match code {
            "b1" | "?" => ElementKind::Bool,
            "i1" => ElementKind::I8,
            "i2" => ElementKind::I16,
            "i4" => ElementKind::I32,
            "i8" => ElementKind::I64,
            "u1" => ElementKind::U8,
            "u2" => ElementKind::U16,
            "u4" => ElementKind::U32,
            "u8" => ElementKind::U64,
            "f2" => ElementKind::F16,
            "f4" => ElementKind::F32,
            "f8" => ElementKind::F64,
            _ => return None,
        })
    }

    /// The value of one element; `bytes` holds exactly [`ElementKind::size`] bytes.
    fn value(self, bytes: &[u8]) -> f64 {
        macro_rules! number {
            ($t:ty) => {{
                let mut raw = [0; size_of::<$t>()];
                raw.copy_from_slice(bytes);
                if self.big_endian {
                    <$t>::from_be_bytes(raw)
                } else {
                    <$t>::from_le_bytes(raw)
                }
            }};
        }
        match self.kind {
            ElementKind::Bool => f64::from(u8::from(bytes[0] != 0)),
            ElementKind::I8 => number!(i8) as f64,
            ElementKind::I16 => number!(i16) as f64,
            ElementKind::I32 => number!(i32) as f64,
            ElementKind::I64 => number!(i64) as f64,
            ElementKind::U8 => number!(u8) as f64,
            ElementKind::U16 => number!(u16) as f64,
            ElementKind::U32 => number!(u32) as f64,
            ElementKind::U64 => number!(u64) as f64,
            ElementKind::F16 => number!(half::f16).to_f64(),
            ElementKind::Bf16 => number!(half::bf16).to_f64(),
            ElementKind::F32 => number!(f32) as f64,
            ElementKind::F64 => number!(f64),
        }
    }
}

/// Why bytes do not make an array.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArrayError {
    /// The shape needs more bytes than there are.
    #[error("shape {shape:?} of {kind} needs {needed} bytes, there are {available}")]
    TooLarge {
        /// Declared shape.
        shape: Vec<usize>,
        /// Declared element.
        kind: ElementKind,
        /// Bytes that would be needed.
        needed: u128,
        /// Bytes that are there.
        available: usize,
    },
    /// The number of elements does not fit the address space.
    #[error("shape {shape:?} overflows")]
    Overflow {
        /// Declared shape.
        shape: Vec<usize>,
    },
    /// More axes than NumPy allows.
    #[error("{given} dimensions, at most {MAX_DIMS} are allowed")]
    TooManyDims {
        /// Number of axes.
        given: usize,
    },
    /// Elements overlap so much that copying the array out would need far more memory than the file.
    #[error("shape {shape:?} repeats {stored} stored elements too often")]
    Repeats {
        /// Declared shape.
        shape: Vec<usize>,
        /// Elements that the file holds.
        stored: usize,
    },
    /// Sizes and steps differ in number.
    #[error("{shape} sizes but {strides} strides")]
    RankMismatch {
        /// Number of sizes.
        shape: usize,
        /// Number of strides.
        strides: usize,
    },
}

/// NumPy's own limit of axes since version 2.
pub const MAX_DIMS: usize = 64;

/// A repeated (stride 0) array may have up to this many elements whatever the size of its storage.
const MAX_REPEATED: usize = 1 << 20;

/// An array that looks into shared bytes. Every element lies inside them: it was checked when the
/// array was made.
#[derive(Debug, Clone)]
pub struct NdArray {
    shape: Vec<usize>,
    /// Step per axis, in elements.
    strides: Vec<usize>,
    element: Element,
    /// Starts at the first element.
    data: ByteView,
}

impl NdArray {
    /// An array whose elements follow one another in `data`, the last axis fastest, or the first
    /// when `fortran`. Bytes behind the last element are ignored.
    ///
    /// # Errors
    ///
    /// When `data` is too short, or the shape has too many axes or overflows.
    pub fn contiguous(
        shape: Vec<usize>,
        fortran: bool,
        element: Element,
        data: ByteView,
    ) -> Result<Self, ArrayError> {
        let mut strides = vec![0; shape.len()];
        let mut step = 1_usize;
        let mut fill = |axis: usize| {
            strides[axis] = step;
            step = step.saturating_mul(shape[axis].max(1));
        };
        if fortran {
            (0..shape.len()).for_each(&mut fill);
        } else {
            (0..shape.len()).rev().for_each(&mut fill);
        }
        Self::strided(shape, strides, 0, element, data)
    }

    /// An array with explicit steps per axis and a start, both counted in elements.
    ///
    /// # Errors
    ///
    /// When an element would lie outside of `data`, or the shape has too many axes, overflows, or
    /// repeats the stored elements beyond a limit.
    pub fn strided(
        shape: Vec<usize>,
        strides: Vec<usize>,
        start: usize,
        element: Element,
        data: ByteView,
    ) -> Result<Self, ArrayError> {
        if shape.len() > MAX_DIMS {
            return Err(ArrayError::TooManyDims { given: shape.len() });
        }
        if shape.len() != strides.len() {
            return Err(ArrayError::RankMismatch {
                shape: shape.len(),
                strides: strides.len(),
            });
        }
        let size = element.kind.size();
        if shape.contains(&0) {
            let data = ByteView::from(Vec::new());
            return Ok(Self {
                shape,
                strides,
                element,
                data,
            });
        }
        let needed = shape
            .iter()
            .zip(&strides)
            .try_fold(start as u128 + 1, |sum, (&n, &step)| {
                sum.checked_add((n as u128 - 1).checked_mul(step as u128)?)
            })
            .and_then(|elements| elements.checked_mul(size as u128))
            .ok_or_else(|| ArrayError::Overflow {
                shape: shape.clone(),
            })?;
        if needed > data.len() as u128 {
            return Err(ArrayError::TooLarge {
                shape,
                kind: element.kind,
                needed,
                available: data.len(),
            });
        }
        let stored = data.len() / size;
        match shape.iter().try_fold(1_usize, |n, &s| n.checked_mul(s)) {
            None => return Err(ArrayError::Overflow { shape }),
            Some(n) if n > stored.max(MAX_REPEATED) => {
                return Err(ArrayError::Repeats { shape, stored });
            }
            Some(_) => {}
        }
        let data = data
            .slice(start * size..needed as usize)
            .expect("start < needed elements <= data was checked above");
        Ok(Self {
            shape,
            strides,
            element,
            data,
        })
    }

    /// Sizes of the axes; empty for a single number.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// What one element is.
    pub const fn element(&self) -> Element {
        self.element
    }

    /// What one element is, without its byte order.
    pub const fn kind(&self) -> ElementKind {
        self.element.kind
    }

    /// Number of elements: 1 for a single number, 0 when an axis is empty.
    pub fn len(&self) -> usize {
        // The product of the other axes may overflow when one is empty.
        if self.is_empty() {
            0
        } else {
            self.shape.iter().product()
        }
    }

    /// Whether some axis is empty.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// The part at one place of the first axis, without copying; `None` when there is no such
    /// place.
    pub fn index(&self, place: usize) -> Option<Self> {
        self.narrow(place, 1).map(|mut part| {
            part.shape.remove(0);
            part.strides.remove(0);
            part
        })
    }

    /// `len` places of the first axis from `start` on, without copying; `None` when they reach
    /// beyond it.
    pub fn narrow(&self, start: usize, len: usize) -> Option<Self> {
        let first = *self.shape.first()?;
        if start.checked_add(len)? > first {
            return None;
        }
        let mut shape = self.shape.clone();
        shape[0] = len;
        Self::strided(
            shape,
            self.strides.clone(),
            start.checked_mul(*self.strides.first()?)?,
            self.element,
            self.data.clone(),
        )
        .ok()
    }

    /// Whether the elements follow one another in memory in row-major order.
    fn is_row_major(&self) -> bool {
        let mut step = 1;
        self.shape
            .iter()
            .zip(&self.strides)
            .rev()
            .all(|(&n, &stride)| {
                let matches = n == 1 || stride == step;
                step *= n;
                matches
            })
    }

    /// Calls `f` with the bytes of each element in row-major order.
    fn for_each(&self, mut f: impl FnMut(&[u8])) {
        let size = self.element.kind.size();
        if self.is_empty() {
            return;
        }
        if self.is_row_major() {
            self.data[..self.len() * size]
                .chunks_exact(size)
                .for_each(f);
            return;
        }
        let mut place = vec![0_usize; self.shape.len()];
        let mut at = 0_usize;
        loop {
            f(&self.data[at * size..(at + 1) * size]);
            let mut axis = self.shape.len();
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                place[axis] += 1;
                at += self.strides[axis];
                if place[axis] < self.shape[axis] {
                    break;
                }
                at -= self.strides[axis] * self.shape[axis];
                place[axis] = 0;
            }
        }
    }

    /// The values in row-major order; those that `f32` cannot hold are rounded.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.len());
        if self.element == Element::little(ElementKind::F32) {
            // The common case, without the detour over f64.
            self.for_each(|b| out.push(f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        } else {
            self.for_each(|b| out.push(self.element.value(b) as f32));
        }
        out
    }

    /// The values in row-major order; 64-bit integers beyond 2^53 are rounded.
    pub fn to_f64(&self) -> Vec<f64> {
        let mut out = Vec::with_capacity(self.len());
        self.for_each(|b| out.push(self.element.value(b)));
        out
    }

    /// The values in row-major order as integers; `None` when one is not whole or beyond 2^53.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        const EXACT: f64 = (1_u64 << 53) as f64;
        let mut out = Vec::with_capacity(self.len());
        let mut whole = true;
        self.for_each(|b| {
            let value = self.element.value(b);
            whole &= value.fract() == 0.0 && value.abs() <= EXACT;
            out.push(value as i64);
        });
        whole.then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(values: &[f32]) -> ByteView {
        ByteView::from(
            values
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<_>>(),
        )
    }

    const F32: Element = Element::little(ElementKind::F32);

    #[test]
    fn fortran_order_and_parts_of_it_come_out_row_major() {
        // [[0, 1, 2], [3, 4, 5]] stored column by column.
        let stored = bytes(&[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let array = NdArray::contiguous(vec![2, 3], true, F32, stored).unwrap();
        assert_eq!(array.to_f32(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(array.index(1).unwrap().to_f32(), [3.0, 4.0, 5.0]);
        assert_eq!(array.narrow(1, 1).unwrap().shape(), [1, 3]);
        assert!(array.index(2).is_none());
        assert!(array.narrow(1, 2).is_none());
        assert!(array.narrow(2, 0).unwrap().to_f32().is_empty());
    }

    #[test]
    fn a_view_with_start_and_strides_reads_its_own_elements() {
        let stored = bytes(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let array = NdArray::strided(vec![2, 2], vec![1, 2], 1, F32, stored.clone()).unwrap();
        assert_eq!(array.to_f32(), [1.0, 3.0, 2.0, 4.0]);
        let last = NdArray::strided(vec![2], vec![3], 3, F32, stored);
        assert!(matches!(last, Err(ArrayError::TooLarge { needed: 28, .. })));
    }

    #[test]
    fn absurd_shapes_are_refused_before_anything_is_allocated() {
        let none = bytes(&[0.0]);
        for shape in [
            vec![usize::MAX],
            vec![usize::MAX, usize::MAX],
            vec![1 << 40, 1 << 40],
        ] {
            assert!(NdArray::contiguous(shape.clone(), false, F32, none.clone()).is_err());
            assert!(
                NdArray::strided(shape.clone(), vec![0; shape.len()], 0, F32, none.clone())
                    .is_err(),
                "{shape:?} with stride 0"
            );
        }
        assert!(NdArray::contiguous(vec![1; 65], false, F32, none).is_err());
    }

    #[test]
    fn integers_are_exact_or_refused() {
        let raw = ByteView::from((-3_i64).to_be_bytes().to_vec());
        let big = Element {
            kind: ElementKind::I64,
            big_endian: true,
        };
        let one = NdArray::contiguous(vec![], false, big, raw).unwrap();
        assert_eq!(one.to_i64(), Some(vec![-3]));
        let half = NdArray::contiguous(vec![1], false, F32, bytes(&[0.5])).unwrap();
        assert_eq!(half.to_i64(), None);
    }
}
