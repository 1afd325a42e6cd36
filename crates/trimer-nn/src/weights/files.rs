//! Weights on disk: safetensors both ways, PyTorch checkpoints inwards.

use super::{NamedTensor, load_stored};
use crate::error::{NnError, Result};
use crate::models::FusionModel;
use burn::tensor::{AllocationProperty, Bytes, DType, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use trimer_core::store::{ByteView, TorchFile};

/// Puts the weights of a `.safetensors`, `.pth` or `.pt` file into the model.
///
/// The prefix `module.` of data-parallel checkpoints is removed.
///
/// # Errors
/// When the file cannot be read, or its tensors are not the model's: every missing, surplus and
/// misshapen key is named.
pub fn load_weights<M: FusionModel>(model: M, path: &Path) -> Result<M> {
    let (mut state, _) = read_stored(path)?;
    // A run's selected weights come with their normalisation, which is no part of the model.
    state.retain(|key, _| !key.starts_with("normaliser."));
    load_stored(model, &state).map_err(|reason| NnError::Weights {
        path: path.to_owned(),
        reason,
    })
}

/// Every tensor of a weights file as f32.
///
/// # Errors
/// When the file cannot be read or has an unknown form.
pub fn read_tensors(path: &Path) -> Result<BTreeMap<String, NamedTensor>> {
    Ok(read_file(path)?.0)
}

/// A tensor of a weights file. Values that are stored as f32 stay in the file, which is mapped; a
/// model that is only applied reads them there.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Lengths of the axes; empty for a scalar.
    pub shape: Vec<usize>,
    /// f32 in the machine's order, aligned.
    bytes: Bytes,
}

impl Stored {
    fn new(shape: &[usize], values: Vec<f32>) -> Self {
        Self {
            shape: shape.to_vec(),
            bytes: Bytes::from_elems(values),
        }
    }

    /// The values on one axis, without a copy.
    pub fn flat(&self) -> TensorData {
        let n = self.bytes.len() / size_of::<f32>();
        TensorData::from_bytes(self.bytes.clone(), [n], DType::F32)
    }

    /// A copy of the values.
    pub fn values(&self) -> Vec<f32> {
        let chunks = self.bytes.as_chunks::<4>().0;
        chunks.iter().map(|b| f32::from_ne_bytes(*b)).collect()
    }
}

/// Tensors and our own metadata.
type FileContent<T> = (BTreeMap<String, T>, BTreeMap<String, String>);

/// As [`read_tensors`], with what [`write_safetensors`] stored with them.
pub fn read_file(path: &Path) -> Result<FileContent<NamedTensor>> {
    let (stored, metadata) = read_stored(path)?;
    let copied = stored.into_iter().map(|(name, tensor)| {
        let values = tensor.values();
        let shape = tensor.shape;
        (name, NamedTensor { shape, values })
    });
    Ok((copied.collect(), metadata))
}

/// As [`read_file`], without a copy where the file holds what is wanted.
///
/// Large files are mapped: they must not be shortened while the result is in use. The files of a
/// run are only ever replaced as a whole.
pub fn read_stored(path: &Path) -> Result<FileContent<Stored>> {
    if path.extension().is_some_and(|e| e == "pth" || e == "pt") {
        return Ok((read_torch(path)?, BTreeMap::new()));
    }
    let bytes = ByteView::open(path).map_err(NnError::io("read", path))?;
    let shared = bytes::Bytes::from_owner(bytes.clone());
    let bad = |reason: String| NnError::Weights {
        path: path.to_owned(),
        reason,
    };
    let file = SafeTensors::deserialize(&bytes).map_err(|e| bad(e.to_string()))?;
    let mut all = BTreeMap::new();
    for (name, view) in file.iter() {
        let stored = if is_as_wanted(view.dtype(), view.data()) {
            Stored {
                shape: view.shape().to_vec(),
                bytes: Bytes::from_shared(shared.slice_ref(view.data()), AllocationProperty::File),
            }
        } else {
            let values = decode(view.dtype(), view.data()).ok_or_else(|| {
                bad(format!(
                    "`{name}` has the unsupported type {:?}",
                    view.dtype()
                ))
            })?;
            Stored::new(view.shape(), values)
        };
        let name = name.strip_prefix("module.").unwrap_or(name).to_owned();
        all.insert(name, stored);
    }
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| bad(e.to_string()))?;
    let ours = header.metadata().as_ref().and_then(|m| m.get("trimer"));
    let metadata = match ours {
        Some(text) => serde_json::from_str(text).map_err(|e| bad(e.to_string()))?,
        None => BTreeMap::new(),
    };
    Ok((all, metadata))
}

/// The tensors of a PyTorch checkpoint: those of its only inner dictionary named `model` or
/// `state_dict` where it has one, as training states do, else all.
fn read_torch(path: &Path) -> Result<BTreeMap<String, Stored>> {
    let file = TorchFile::open(path)?;
    let inner = ["model.", "state_dict.", "model_state_dict."];
    let prefix = inner
        .into_iter()
        .find(|p| file.names().iter().any(|n| n.starts_with(p)))
        .unwrap_or("");
    let select = file
        .names()
        .iter()
        .filter_map(|name| Some((name.strip_prefix(prefix)?, file.get(name)?)));
    Ok(select
        .map(|(name, tensor)| {
            let name = name.strip_prefix("module.").unwrap_or(name).to_owned();
            (name, Stored::new(tensor.shape(), tensor.to_f32()))
        })
        .collect())
}

/// Whether the bytes are f32 as this machine has them in memory.
fn is_as_wanted(dtype: Dtype, data: &[u8]) -> bool {
    cfg!(target_endian = "little")
        && dtype == Dtype::F32
        && data.as_ptr().addr().is_multiple_of(align_of::<f32>())
        && !data.is_empty()
}

fn decode(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    let values = match dtype {
        Dtype::F32 => data
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect(),
        Dtype::F64 => data
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| f64::from_le_bytes(*b) as f32)
            .collect(),
        Dtype::F16 => data
            .as_chunks::<2>()
            .0
            .iter()
            .map(|b| half::f16::from_le_bytes(*b).to_f32())
            .collect(),
        Dtype::BF16 => data
            .as_chunks::<2>()
            .0
            .iter()
            .map(|b| half::bf16::from_le_bytes(*b).to_f32())
            .collect(),
        Dtype::I64 => data
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| i64::from_le_bytes(*b) as f32)
            .collect(),
        Dtype::I32 => data
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| i32::from_le_bytes(*b) as f32)
            .collect(),
        Dtype::U8 | Dtype::BOOL => data.iter().map(|b| f32::from(*b)).collect(),
        _ => return None,
    };
    Some(values)
}

/// Writes tensors as safetensors: to a sibling file first, which then takes the name.
///
/// The same tensors and metadata always give the same bytes.
///
/// # Errors
/// When the file cannot be written; an older file of that name is then still whole.
pub fn write_safetensors(
    path: &Path,
    tensors: &BTreeMap<String, NamedTensor>,
    metadata: &[(&str, String)],
) -> Result<()> {
    let raw: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(k, t)| {
            (
                k.clone(),
                t.shape.clone(),
                t.values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            )
        })
        .collect();
    let invalid = |e: safetensors::SafeTensorError| NnError::Weights {
        path: path.to_owned(),
        reason: e.to_string(),
    };
    let mut views = Vec::with_capacity(raw.len());
    for (key, shape, bytes) in &raw {
        views.push((
            key,
            TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(invalid)?,
        ));
    }
    // One entry at most: the header keeps metadata in a hash map, whose order would vary.
    let metadata = (!metadata.is_empty()).then(|| {
        let joined: serde_json::Map<_, _> = metadata
            .iter()
            .map(|(k, v)| ((*k).to_owned(), serde_json::Value::from(v.as_str())))
            .collect();
        HashMap::from([(
            "trimer".to_owned(),
            serde_json::Value::Object(joined).to_string(),
        )])
    });
    let bytes = safetensors::serialize(views, metadata).map_err(invalid)?;
    Ok(trimer_core::io::write_atomic(path, &bytes)?)
}
