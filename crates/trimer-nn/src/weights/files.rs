//! Weights on disk: safetensors both ways, PyTorch checkpoints inwards.

use super::{NamedTensor, load_state_dict};
use crate::error::{NnError, Result};
use crate::models::FusionModel;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use trimer_core::store::TorchFile;

/// Puts the weights of a `.safetensors`, `.pth` or `.pt` file into the model.
///
/// The prefix `module.` of data-parallel checkpoints is removed.
///
/// # Errors
/// When the file cannot be read, or its tensors are not the model's: every missing, surplus and
/// misshapen key is named.
pub fn load_weights<M: FusionModel>(model: M, path: &Path) -> Result<M> {
    let mut state = read_tensors(path)?;
    // A run's selected weights come with their normalisation, which is no part of the model.
    state.retain(|key, _| !key.starts_with("normaliser."));
    load_state_dict(model, &state).map_err(|reason| NnError::Weights {
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

/// Tensors and our own metadata.
type FileContent = (BTreeMap<String, NamedTensor>, BTreeMap<String, String>);

/// As [`read_tensors`], with what [`write_safetensors`] stored beside them.
pub(crate) fn read_file(path: &Path) -> Result<FileContent> {
    if path.extension().is_some_and(|e| e == "pth" || e == "pt") {
        return Ok((read_torch(path)?, BTreeMap::new()));
    }
    let bytes = fs::read(path).map_err(NnError::io("read", path))?;
    let bad = |reason: String| NnError::Weights {
        path: path.to_owned(),
        reason,
    };
    let file = SafeTensors::deserialize(&bytes).map_err(|e| bad(e.to_string()))?;
    let mut all = BTreeMap::new();
    for (name, view) in file.iter() {
        let values = decode(view.dtype(), view.data()).ok_or_else(|| {
            bad(format!(
                "`{name}` has the unsupported type {:?}",
                view.dtype()
            ))
        })?;
        let name = name.strip_prefix("module.").unwrap_or(name).to_owned();
        all.insert(
            name,
            NamedTensor {
                shape: view.shape().to_vec(),
                values,
            },
        );
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
fn read_torch(path: &Path) -> Result<BTreeMap<String, NamedTensor>> {
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
            (
                name,
                NamedTensor {
                    shape: tensor.shape().to_vec(),
                    values: tensor.to_f32(),
                },
            )
        })
        .collect())
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
    crate::files::write_atomic(path, &bytes)
}
