//! Files of features: one packed `[frames, dim]` tensor each, in the safetensors layout.

use super::{CorpusError, FeatureDtype, Frames, map::Map};
use crate::Modality;
use half::{bf16, f16, slice::HalfFloatSliceExt};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// Bytes before the data: 8 for the header's length, the rest for the header, padded with spaces.
/// The number of frames is known only at the end, so the place is reserved first.
const DATA_START: usize = 256;
/// Values converted at a time; small enough to stay in the fastest cache.
const BLOCK: usize = 2048;

impl FeatureDtype {
    /// Bytes per value.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The lower-case name, as in files and in configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    const fn safetensors(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }
}

impl std::fmt::Display for FeatureDtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Path of a shard below the corpus directory, as in `corpus.toml`.
pub(crate) fn shard_name(modality: Modality, number: u32) -> String {
    format!("features/{modality}-{number:05}.safetensors")
}

/// Appends `values` to `bytes` as the storage type.
///
/// # Errors
/// The place of the first finite value that became infinite.
pub(crate) fn encode(
    dtype: FeatureDtype,
    values: &[f32],
    bytes: &mut Vec<u8>,
) -> Result<(), usize> {
    bytes.reserve(values.len().saturating_mul(dtype.size()));
    match dtype {
        FeatureDtype::F32 => bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        FeatureDtype::F16 => {
            let mut block = [f16::ZERO; BLOCK];
            for (k, chunk) in values.chunks(BLOCK).enumerate() {
                let out = &mut block[..chunk.len()];
                out.convert_from_f32_slice(chunk);
                let lost = |(a, b): (&f32, &f16)| a.is_finite() && !b.is_finite();
                if let Some(at) = chunk.iter().zip(out.iter()).position(lost) {
                    return Err(k * BLOCK + at);
                }
                bytes.extend(out.iter().flat_map(|v| v.to_le_bytes()));
            }
        }
        FeatureDtype::Bf16 => {
            let mut block = [bf16::ZERO; BLOCK];
            for (k, chunk) in values.chunks(BLOCK).enumerate() {
                let out = &mut block[..chunk.len()];
                out.convert_from_f32_slice(chunk);
                let lost = |(a, b): (&f32, &bf16)| a.is_finite() && !b.is_finite();
                if let Some(at) = chunk.iter().zip(out.iter()).position(lost) {
                    return Err(k * BLOCK + at);
                }
                bytes.extend(out.iter().flat_map(|v| v.to_le_bytes()));
            }
        }
    }
    Ok(())
}

/// The inverse of [`encode`]; both slices hold the same number of values.
pub(crate) fn decode(dtype: FeatureDtype, bytes: &[u8], values: &mut [f32]) {
    debug_assert_eq!(bytes.len(), values.len() * dtype.size());
    match dtype {
        FeatureDtype::F32 => {
            for (value, four) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*four);
            }
        }
        FeatureDtype::F16 => {
            for (value, two) in values.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = f16_to_f32(u16::from_le_bytes(*two));
            }
        }
        FeatureDtype::Bf16 => {
            // A shift, which the compiler turns into wide instructions by itself.
            for (value, two) in values.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = f32::from_bits(u32::from(u16::from_le_bytes(*two)) << 16);
            }
        }
    }
}

/// Half to single precision without a branch, so that the compiler makes wide instructions of it.
/// The conversion of the `half` crate calls a function per eight values and takes three times as
/// long.
fn f16_to_f32(bits: u16) -> f32 {
    // Exponent and fraction in their new place have an exponent that is too small by 127 - 15 = 112.
    const SCALE: f32 = f32::from_bits((112 + 127) << 23);
    const INFINITE: u32 = 0x7f80_0000;
    let bits = u32::from(bits);
    let magnitude = (bits & 0x7fff) << 13;
    let scaled = (f32::from_bits(magnitude) * SCALE).to_bits();
    let special = if magnitude >= 0x0f80_0000 {
        INFINITE
    } else {
        0
    };
    f32::from_bits(scaled | special | (bits & 0x8000) << 16)
}

/// A shard that grows on disk.
#[derive(Debug)]
pub(crate) struct ShardWriter {
    file: BufWriter<File>,
    path: PathBuf,
    modality: Modality,
    dtype: FeatureDtype,
    dim: usize,
    frames: u64,
}

impl ShardWriter {
    pub(crate) fn create(
        path: PathBuf,
        modality: Modality,
        dtype: FeatureDtype,
        dim: usize,
    ) -> Result<Self, CorpusError> {
        let file = File::create_new(&path)
            .and_then(|mut file| file.write_all(&[b' '; DATA_START]).map(|()| file))
            .map_err(|e| CorpusError::io("create", &path, e))?;
        Ok(Self {
            file: BufWriter::with_capacity(1 << 18, file),
            path,
            modality,
            dtype,
            dim,
            frames: 0,
        })
    }

    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    pub(crate) fn data_bytes(&self) -> u64 {
        self.frames * (self.dim * self.dtype.size()) as u64
    }

    /// Appends whole frames that [`encode`] made; returns the number of the first one.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<u64, CorpusError> {
        let first = self.frames;
        self.file
            .write_all(bytes)
            .map_err(|e| CorpusError::io("write", &self.path, e))?;
        self.frames += (bytes.len() / (self.dim * self.dtype.size())) as u64;
        Ok(first)
    }

    /// Writes the header and flushes to disk.
    pub(crate) fn finish(mut self) -> Result<PathBuf, CorpusError> {
        let header = self.header();
        let path = self.path;
        let write = |file: &mut BufWriter<File>| {
            file.flush()?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&((DATA_START - 8) as u64).to_le_bytes())?;
            file.write_all(header.as_bytes())?;
            file.flush()?;
            file.get_ref().sync_data()
        };
        write(&mut self.file).map_err(|e| CorpusError::io("write", &path, e))?;
        Ok(path)
    }

    fn header(&self) -> String {
        let dtype = match self.dtype {
            FeatureDtype::F32 => "F32",
            FeatureDtype::F16 => "F16",
            FeatureDtype::Bf16 => "BF16",
        };
        let header = format!(
            r#"{{"{}":{{"dtype":"{dtype}","shape":[{},{}],"data_offsets":[0,{}]}}}}"#,
            self.modality,
            self.frames,
            self.dim,
            self.data_bytes()
        );
        // Three numbers of at most 20 digits and fixed words: always shorter than the place.
        format!("{header:<width$}", width = DATA_START - 8)
    }
}

/// Where the bytes of a shard lie.
#[derive(Debug)]
enum Bytes {
    File(Map),
    Memory(Vec<u8>),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::File(map) => map,
            Self::Memory(bytes) => bytes,
        }
    }
}

/// A shard that is read where it lies.
#[derive(Debug)]
pub(crate) struct Shard {
    bytes: Bytes,
    data_start: usize,
    frames: u64,
    dim: usize,
    dtype: FeatureDtype,
}

impl Shard {
    /// # Errors
    /// [`CorpusError::Shard`] unless the file has the expected size and holds the expected tensor.
    pub(crate) fn open(
        path: &Path,
        modality: Modality,
        dtype: FeatureDtype,
        dim: usize,
        bytes: u64,
    ) -> Result<Self, CorpusError> {
        let fail = |message: String| CorpusError::Shard {
            path: path.to_owned(),
            message,
        };
        let file = File::open(path).map_err(|e| CorpusError::io("open", path, e))?;
        let meta = file
            .metadata()
            .map_err(|e| CorpusError::io("examine", path, e))?;
        if !meta.is_file() {
            return Err(fail("not a regular file".to_owned()));
        }
        if meta.len() != bytes {
            return Err(fail(format!(
                "the file has {} bytes, but `corpus.toml` records {bytes}",
                meta.len()
            )));
        }
        let map = Map::new(&file).map_err(|e| CorpusError::io("map", path, e))?;
        let (header, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|e| fail(format!("no usable safetensors header: {e}")))?;
        let info = metadata
            .info(modality.as_str())
            .ok_or_else(|| fail(format!("there is no tensor `{modality}` in it")))?;
        let &[frames, width] = info.shape.as_slice() else {
            return Err(fail(format!(
                "the tensor has the shape {:?}, expected [frames, {dim}]",
                info.shape
            )));
        };
        if width != dim {
            return Err(fail(format!(
                "the frames have {width} values, but `corpus.toml` says {dim}"
            )));
        }
        if info.dtype != dtype.safetensors() {
            return Err(fail(format!(
                "the values are {:?}, but `corpus.toml` says {dtype}",
                info.dtype
            )));
        }
        let (start, end) = info.data_offsets;
        let size = frames
            .checked_mul(dim)
            .and_then(|n| n.checked_mul(dtype.size()));
        let data_start = (header + 8).checked_add(start);
        let data_end = (header + 8).checked_add(end);
        match (size, data_start, data_end) {
            (Some(size), Some(data_start), Some(data_end))
                if data_end <= map.len() && data_end.checked_sub(data_start) == Some(size) =>
            {
                Ok(Self {
                    bytes: Bytes::File(map),
                    data_start,
                    frames: frames as u64,
                    dim,
                    dtype,
                })
            }
            _ => Err(fail("the tensor lies outside the file".to_owned())),
        }
    }

    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    /// The frames of one utterance, kept in memory as f32.
    pub(super) fn in_memory(frames: &Frames<'_>) -> Self {
        let bytes = frames.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self {
            bytes: Bytes::Memory(bytes),
            data_start: 0,
            frames: frames.time() as u64,
            dim: frames.dim,
            dtype: FeatureDtype::F32,
        }
    }

    /// The mapped file; `None` where the shard is in memory.
    pub(super) fn map(&self) -> Option<&Map> {
        match &self.bytes {
            Bytes::File(map) => Some(map),
            Bytes::Memory(_) => None,
        }
    }

    /// The bytes of a shard that no file and so no checksum in a descriptor stands for.
    pub(super) fn memory(&self) -> Option<&[u8]> {
        match &self.bytes {
            Bytes::File(_) => None,
            Bytes::Memory(bytes) => Some(bytes),
        }
    }

    /// The stored bytes of `length` frames from `offset`, brought into memory; empty where they are
    /// not in the shard.
    pub(crate) fn rows(&self, offset: u64, length: u64) -> &[u8] {
        let width = (self.dim * self.dtype.size()) as u64;
        let range = offset.checked_add(length).and_then(|end| {
            let start = offset
                .checked_mul(width)?
                .checked_add(self.data_start as u64)?;
            let end = end
                .checked_mul(width)?
                .checked_add(self.data_start as u64)?;
            Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
        });
        let range = range.filter(|r| r.start <= r.end && r.end <= self.bytes.len());
        range.map_or(&[], |r| {
            if let Bytes::File(map) = &self.bytes {
                map.prepare(r.start, r.len());
            }
            &self.bytes[r]
        })
    }
}

/// Size and SHA-256 of a file, in hexadecimal.
pub(crate) fn digest(path: &Path) -> Result<(u64, String), CorpusError> {
    let fail = |e| CorpusError::io("read", path, e);
    let mut file = fs::File::open(path).map_err(fail)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 20];
    let mut bytes = 0_u64;
    loop {
        let n = file.read(&mut buffer).map_err(fail)?;
        if n == 0 {
            return Ok((bytes, hex(&hasher.finalize())));
        }
        bytes += n as u64;
        hasher.update(&buffer[..n]);
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn roundtrip(dtype: FeatureDtype, values: &[f32]) -> Vec<f32> {
        let mut bytes = Vec::new();
        encode(dtype, values, &mut bytes).unwrap();
        let mut back = vec![0.0; values.len()];
        decode(dtype, &bytes, &mut back);
        back
    }

    #[test]
    fn a_value_too_large_for_half_precision_is_named_by_its_place() {
        let mut values = vec![0.0; 3000];
        values[2500] = 7e4;
        assert_eq!(
            encode(FeatureDtype::F16, &values, &mut Vec::new()),
            Err(2500)
        );
        assert_eq!(encode(FeatureDtype::Bf16, &values, &mut Vec::new()), Ok(()));
        values[2500] = f32::INFINITY; // was infinite before: not the storage's fault
        assert_eq!(encode(FeatureDtype::F16, &values, &mut Vec::new()), Ok(()));
    }

    #[test]
    fn every_half_is_converted_as_the_standard_says() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (f16_to_f32(bits), f16::from_bits(bits).to_f32());
            assert!(
                ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()),
                "{bits:04x}: {ours} {theirs}"
            );
        }
    }

    proptest! {
        #[test]
        fn single_precision_is_kept_to_the_bit(values in prop::collection::vec(any::<f32>(), 0..5000)) {
            let back = roundtrip(FeatureDtype::F32, &values);
            prop_assert!(values.iter().zip(&back).all(|(a, b)| a.to_bits() == b.to_bits()));
        }

        #[test]
        fn half_precision_rounds_to_nearest(values in prop::collection::vec(-6e4_f32..6e4, 0..5000)) {
            // 11 and 8 significant bits: relative errors of at most 2^-11 and 2^-8.
            for (dtype, relative) in [(FeatureDtype::F16, 0.5_f32.powi(11)), (FeatureDtype::Bf16, 0.5_f32.powi(8))] {
                let back = roundtrip(dtype, &values);
                for (a, b) in values.iter().zip(&back) {
                    prop_assert!((a - b).abs() <= a.abs() * relative + 1e-7, "{a} {b}");
                }
            }
        }
    }
}
