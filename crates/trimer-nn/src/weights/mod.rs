//! Weights by the names of a reference implementation, in memory and in files.

mod files;

pub use crate::params::{
    NamedTensor, gradients, is_buffer, map_parameters, parameter_count, parameter_ids, parameters,
    to_vec,
};
pub use files::{Stored, load_weights, read_file, read_stored, read_tensors, write_safetensors};

use crate::models::FusionModel;
use crate::params::for_each_parameter;
use burn::tensor::{Tensor, TensorData};
use std::collections::BTreeMap;

/// Every parameter under its name in the reference's `state_dict`.
pub fn state_dict<M: FusionModel>(model: &M) -> BTreeMap<String, NamedTensor> {
    let mut all = BTreeMap::new();
    for_each_parameter(model, |path, shape, _, value| {
        let shape = model.reference().shape(&path, &shape);
        all.insert(
            model.reference().key(&path),
            NamedTensor {
                shape,
                values: to_vec(value),
            },
        );
    });
    all
}

/// The model with the values of `state`, given under the reference's names.
///
/// Axes of length one do not count when shapes are compared.
///
/// # Errors
/// Lists every missing, surplus and misshapen key.
pub fn load_state_dict<M: FusionModel>(
    model: M,
    state: &BTreeMap<String, NamedTensor>,
) -> std::result::Result<M, String> {
    fill(
        model,
        state,
        |t| &t.shape,
        |t| TensorData::from(t.values.as_slice()),
    )
}

/// As [`load_state_dict`], from a file: what is mapped stays there until it is changed.
pub fn load_stored<M: FusionModel>(
    model: M,
    state: &BTreeMap<String, Stored>,
) -> std::result::Result<M, String> {
    fill(model, state, |t| &t.shape, Stored::flat)
}

fn fill<M: FusionModel, T>(
    model: M,
    state: &BTreeMap<String, T>,
    shape_of: impl Fn(&T) -> &[usize],
    flat: impl Fn(&T) -> TensorData,
) -> std::result::Result<M, String> {
    let mut missing = Vec::new();
    let mut misshapen = Vec::new();
    let mut wanted = BTreeMap::new();
    for_each_parameter(&model, |path, shape, _, _| {
        let key = model.reference().key(&path);
        let shape = model.reference().shape(&path, &shape);
        match state.get(&key) {
            None => missing.push(format!("`{key}` {shape:?}")),
            Some(t) if !same_shape(shape_of(t), &shape) => {
                misshapen.push(format!(
                    "`{key}` is {:?}, the model has {shape:?}",
                    shape_of(t)
                ));
            }
            Some(_) => {}
        }
        wanted.insert(path, key);
    });
    let known: std::collections::BTreeSet<_> = wanted.values().collect();
    let surplus: Vec<_> = state
        .keys()
        .filter(|k| !known.contains(k) && !model.reference().is_unused(k))
        .map(|k| format!("`{k}`"))
        .collect();
    let mut faults = Vec::new();
    for (name, list) in [
        ("missing", missing),
        ("surplus", surplus),
        ("of another shape", misshapen),
    ] {
        if !list.is_empty() {
            faults.push(format!("{} {name}: {}", list.len(), list.join(", ")));
        }
    }
    if !faults.is_empty() {
        return Err(faults.join("; "));
    }
    Ok(map_parameters(model, |path, old| {
        match wanted.get(path).and_then(|key| state.get(key)) {
            Some(tensor) => Tensor::from_data(flat(tensor), &old.device()),
            None => old,
        }
    }))
}

fn same_shape(a: &[usize], b: &[usize]) -> bool {
    a.iter()
        .filter(|n| **n != 1)
        .eq(b.iter().filter(|n| **n != 1))
}
