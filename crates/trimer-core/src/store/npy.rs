//! NumPy's `.npy` files: format versions 1.0, 2.0 and 3.0 of <https://numpy.org/neps/nep-0001-npy-format.html>.
//!
//! Numbers and booleans only. Object arrays hold a pickle and are refused, as are structured, text,
//! complex and time types.

use super::{ArrayError, ByteView, Element, NdArray};
use crate::{Hint, io::write_atomic_with};
use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// An array read from a `.npy` file.
pub type NpyArray = NdArray;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header accepted; NumPy itself refuses to evaluate more than 10,000 characters.
const MAX_HEADER: usize = 1 << 16;

/// Why bytes are no readable `.npy` file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NpyError {
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
    /// The first bytes are not those of a `.npy` file.
    #[error("not a `.npy` file: it does not start with `\\x93NUMPY`")]
    Magic,
    /// A format version this reader does not know.
    #[error("`.npy` version {major}.{minor} is not known, expected 1.0, 2.0 or 3.0")]
    Version {
        /// Major version.
        major: u8,
        /// Minor version.
        minor: u8,
    },
    /// The header reaches beyond the end of the file.
    #[error(
        "header of {declared} bytes at byte {offset} is longer than {MAX_HEADER} bytes or than the \
         file of {available}"
    )]
    HeaderLength {
        /// Length that the file declares.
        declared: usize,
        /// Where the header starts.
        offset: usize,
        /// Size of the file.
        available: usize,
    },
    /// The header is not the dictionary that NumPy writes.
    #[error("malformed header at byte {offset}: {what}")]
    Header {
        /// Where reading stopped, counted from the start of the file.
        offset: usize,
        /// What was expected or found.
        what: String,
    },
    /// The element type is none that this reader accepts.
    #[error("element type `{descr}` is not supported, expected a number or boolean")]
    Element {
        /// NumPy's type string.
        descr: String,
    },
    /// Shape and data do not fit.
    #[error(transparent)]
    Array(#[from] ArrayError),
    /// Bytes follow the array.
    #[error("{extra} bytes follow the array at byte {offset}")]
    Trailing {
        /// Number of bytes.
        extra: usize,
        /// Where they start.
        offset: usize,
    },
    /// The caller's values do not fill the caller's shape.
    #[error("shape {shape:?} does not hold {len} values")]
    ShapeMismatch {
        /// The shape given.
        shape: Vec<usize>,
        /// The number of values given.
        len: usize,
    },
}

impl NpyError {
    fn in_file(self, path: &Path) -> Self {
        Self::InFile {
            path: path.to_owned(),
            fault: Box::new(self),
        }
    }
}

impl Hint for NpyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::InFile { fault, .. } => fault.hint(),
            Self::Element { descr } if descr.contains('O') => Some(
                "object arrays hold pickled Python values; save a numeric array instead, \
                 e.g. `numpy.save(path, array.astype(\"float32\"))`"
                    .to_owned(),
            ),
            Self::Element { .. } => {
                Some("convert it with `array.astype(\"float32\")` before saving".to_owned())
            }
            _ => None,
        }
    }
}

/// Reads a `.npy` file. Large files are mapped, not copied.
///
/// # Errors
///
/// When the file cannot be read or is not a numeric `.npy` file.
pub fn read(path: &Path) -> Result<NpyArray, NpyError> {
    ByteView::open(path)
        .map_err(NpyError::from)
        .and_then(parse_view)
        .map_err(|fault| fault.in_file(path))
}

/// Reads the bytes of a `.npy` file.
///
/// # Errors
///
/// As [`read`].
pub fn parse(bytes: Vec<u8>) -> Result<NpyArray, NpyError> {
    parse_view(ByteView::from(bytes))
}

/// Reads the bytes of a `.npy` file without copying them.
///
/// # Errors
///
/// As [`read`].
pub fn parse_view(bytes: ByteView) -> Result<NpyArray, NpyError> {
    let after_magic = bytes.strip_prefix(MAGIC).ok_or(NpyError::Magic)?;
    let &[major, minor, ref rest @ ..] = after_magic else {
        return Err(short(&bytes, 0));
    };
    let (declared, offset) = match ((major, minor), rest) {
        ((1, 0), &[a, b, ..]) => (u16::from_le_bytes([a, b]) as usize, 10),
        ((2 | 3, 0), &[a, b, c, d, ..]) => (u32::from_le_bytes([a, b, c, d]) as usize, 12),
        ((1..=3, 0), _) => return Err(short(&bytes, 0)),
        _ => return Err(NpyError::Version { major, minor }),
    };
    let start = offset + declared;
    let Some(text) = bytes.get(offset..start).filter(|_| declared <= MAX_HEADER) else {
        return Err(short(&bytes, declared));
    };
    let header = Literal { text, at: 0 }
        .header()
        .map_err(|(at, what)| NpyError::Header {
            offset: offset + at,
            what,
        })?;
    let element = element(&header.descr)?;
    let data = bytes
        .slice(start..bytes.len())
        .expect("the header ends within the file");
    let array = NdArray::contiguous(header.shape, header.fortran, element, data)?;
    let end = start + array.len() * element.kind.size();
    if end != bytes.len() {
        return Err(NpyError::Trailing {
            extra: bytes.len() - end,
            offset: end,
        });
    }
    Ok(array)
}

fn short(bytes: &[u8], declared: usize) -> NpyError {
    NpyError::HeaderLength {
        declared,
        offset: MAGIC.len() + 2,
        available: bytes.len(),
    }
}

/// Reads NumPy's type string, e.g. `<f4`.
fn element(descr: &str) -> Result<Element, NpyError> {
    let refused = || NpyError::Element {
        descr: descr.to_owned(),
    };
    let order = descr.get(..1).ok_or_else(refused)?;
    let kind = Element::kind_from_numpy(&descr[1..]).ok_or_else(refused)?;
    match order {
        "<" => Ok(Element::little(kind)),
        ">" => Ok(Element {
            kind,
            big_endian: true,
        }),
        "|" if kind.size() == 1 => Ok(Element::little(kind)),
        _ => Err(refused()),
    }
}

struct Header {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

/// What went wrong, and where in the header.
type Fault = (usize, String);

/// Reads the one Python literal that a header may be: a dictionary with exactly the keys `descr`,
/// `fortran_order` and `shape`.
struct Literal<'a> {
    text: &'a [u8],
    at: usize,
}

impl Literal<'_> {
    fn header(mut self) -> Result<Header, Fault> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        self.expect(b'{')?;
        while !self.accept(b'}') {
            let at = self.at;
            let key = self.string()?;
            self.expect(b':')?;
            let again = match key.as_str() {
                "descr" => descr.replace(self.string()?).is_some(),
                "fortran_order" => fortran.replace(self.boolean()?).is_some(),
                "shape" => shape.replace(self.shape()?).is_some(),
                _ => return Err((at, format!("unknown key `{key}`"))),
            };
            if again {
                return Err((at, format!("key `{key}` appears twice")));
            }
            if !self.accept(b',') {
                self.expect(b'}')?;
                break;
            }
        }
        self.skip_spaces();
        if self.at != self.text.len() {
            return Err((self.at, "text after the dictionary".to_owned()));
        }
        let missing = |key: &str| (0, format!("key `{key}` is missing"));
        Ok(Header {
            descr: descr.ok_or_else(|| missing("descr"))?,
            fortran: fortran.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
        })
    }

    fn skip_spaces(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn accept(&mut self, byte: u8) -> bool {
        self.skip_spaces();
        let found = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.accept(byte) {
            Ok(())
        } else {
            Err((self.at, format!("expected `{}`", byte as char)))
        }
    }

    /// A quoted string of printable ASCII without escapes.
    fn string(&mut self) -> Result<String, Fault> {
        let quote = if self.accept(b'"') {
            b'"'
        } else {
            // The descr of a structured type is a list.
            self.expect(b'\'')?;
            b'\''
        };
        let start = self.at;
        while let Some(&byte) = self.text.get(self.at) {
            if byte == quote {
                self.at += 1;
                let text = &self.text[start..self.at - 1];
                return Ok(text.iter().map(|&b| b as char).collect());
            }
            if byte == b'\\' || !(b' '..=b'~').contains(&byte) {
                break;
            }
            self.at += 1;
        }
        Err((self.at, "expected a plain quoted string".to_owned()))
    }

    fn boolean(&mut self) -> Result<bool, Fault> {
        self.skip_spaces();
        let rest = &self.text[self.at..];
        for (word, value) in [("True", true), ("False", false)] {
            if rest.starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err((self.at, "expected `True` or `False`".to_owned()))
    }

    fn shape(&mut self) -> Result<Vec<usize>, Fault> {
        let mut sizes = Vec::new();
        self.expect(b'(')?;
        while !self.accept(b')') {
            sizes.push(self.size()?);
            if sizes.len() > super::array::MAX_DIMS {
                return Err((self.at, "too many dimensions".to_owned()));
            }
            if !self.accept(b',') {
                // `(3)` is a number in Python, not a tuple.
                if sizes.len() == 1 {
                    return Err((self.at, "expected `,`".to_owned()));
                }
                self.expect(b')')?;
                break;
            }
        }
        Ok(sizes)
    }

    /// A non-negative decimal; Python 2 wrote an `L` behind it.
    fn size(&mut self) -> Result<usize, Fault> {
        self.skip_spaces();
        let start = self.at;
        let mut size = 0_usize;
        while let Some(digit) = self.text.get(self.at).filter(|b| b.is_ascii_digit()) {
            size = size
                .checked_mul(10)
                .and_then(|s| s.checked_add(usize::from(digit - b'0')))
                .ok_or_else(|| (start, "dimension overflows".to_owned()))?;
            self.at += 1;
        }
        if self.at == start {
            return Err((start, "expected a dimension".to_owned()));
        }
        if self.text.get(self.at) == Some(&b'L') {
            self.at += 1;
        }
        Ok(size)
    }
}

/// Writes an array of 32-bit floats, row-major, as `.npy` version 1.0. The file appears only when
/// it is complete.
///
/// # Errors
///
/// When the values do not fill the shape, or the file cannot be written.
pub fn write_f32(path: &Path, shape: &[usize], values: &[f32]) -> Result<(), NpyError> {
    let count = if shape.contains(&0) {
        Some(0)
    } else {
        shape.iter().try_fold(1_usize, |n, &s| n.checked_mul(s))
    };
    if count != Some(values.len()) {
        return Err(NpyError::ShapeMismatch {
            shape: shape.to_vec(),
            len: values.len(),
        });
    }
    write_atomic_with(path, |file| write_all(file, shape, values))
        .map_err(|error| NpyError::from(error.source).in_file(path))
}

fn write_all(file: &fs::File, shape: &[usize], values: &[f32]) -> io::Result<()> {
    let sizes: String = match shape {
        [one] => format!("{one},"),
        many => many
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}), }}");
    // The data starts at a multiple of 64 bytes, so that it can be mapped as numbers; the header
    // ends in a line feed.
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let length = u16::try_from(header.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "too many dimensions"))?;
    let mut out = BufWriter::new(file);
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for value in values {
        out.write_all(&value.to_le_bytes())?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ElementKind;
    use proptest::prelude::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn headers_may_come_in_any_order_and_spacing_but_nothing_else() {
        let good = [
            "{'shape': (2,), 'fortran_order': False, 'descr': '|u1'}",
            "{\"descr\":\"|u1\",\"fortran_order\":True,\"shape\":(2L,)}\n",
            " { 'descr' : '|u1' , 'fortran_order' : False , 'shape' : ( 2 , ) , } ",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2)}",
        ];
        for header in good {
            let array = parse(file(header, &[7, 9])).unwrap();
            assert_eq!(array.to_f32(), [7.0, 9.0], "{header}");
        }
        let bad = [
            "",
            "{}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (2)}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (-2,)}",
            "{'descr': '|u1', 'fortran_order': 0, 'shape': (2,)}",
            "{'descr': '|u1', 'fortran_order': False}",
            "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (2,)}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), 'more': 'x'}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)} x",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,)}",
            "{'descr': '|u\\x31', 'fortran_order': False, 'shape': (2,)}",
            "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (2,)}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), ",
        ];
        for header in bad {
            let error = parse(file(header, &[7, 9])).unwrap_err();
            assert!(
                matches!(error, NpyError::Header { .. }),
                "{header}: {error}"
            );
        }
    }

    #[test]
    fn element_types_that_are_no_numbers_are_refused_by_name() {
        for descr in [
            "|O", "<U3", "|S3", "<c8", "<M8[ns]", "=f4", "|f4", "<f3", "", "é",
        ] {
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (0,)}}");
            let error = parse(file(&header, &[])).unwrap_err();
            assert!(
                matches!(error, NpyError::Element { .. } | NpyError::Header { .. }),
                "{descr}: {error}"
            );
        }
        let object = "{'descr': '|O', 'fortran_order': False, 'shape': (0,)}";
        assert!(parse(file(object, &[])).unwrap_err().hint().is_some());
    }

    #[test]
    fn missing_and_surplus_data_are_refused() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}";
        assert!(matches!(
            parse(file(header, &[0; 7])),
            Err(NpyError::Array(ArrayError::TooLarge {
                needed: 8,
                available: 7,
                ..
            }))
        ));
        assert!(matches!(
            parse(file(header, &[0; 9])),
            Err(NpyError::Trailing { extra: 1, .. })
        ));
    }

    #[test]
    fn every_cut_of_a_file_is_refused() {
        let whole = file(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
            &[0; 8],
        );
        for end in 0..whole.len() {
            assert!(parse(whole[..end].to_vec()).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_nothing_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        for shape in [vec![], vec![1], vec![2, 3], vec![0, 4], vec![1; 20]] {
            let n: usize = shape.iter().product();
            let values: Vec<f32> = (0..n).map(|i| i as f32 - 1.5).collect();
            write_f32(&path, &shape, &values).unwrap();
            let back = read(&path).unwrap();
            assert_eq!(back.shape(), shape);
            assert_eq!(back.to_f32(), values);
            assert_eq!(back.element(), Element::little(ElementKind::F32));
        }
        assert!(write_f32(&path, &[2], &[1.0]).is_err());
        assert!(write_f32(&dir.path().join("no/a.npy"), &[1], &[1.0]).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(bytes);
        }

        #[test]
        fn a_changed_byte_never_panics(at in 0_usize..80, byte in any::<u8>()) {
            let mut bytes = file(
                "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }",
                &[1; 24],
            );
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(array) = parse(bytes) {
                prop_assert_eq!(array.to_f32().len(), array.len());
            }
        }
    }
}
