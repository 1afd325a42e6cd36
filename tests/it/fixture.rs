//! Fixtures for tensors: a JSON description and a safetensors file of the same name.

use crate::golden::folder;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use trimer::nn::burn::tensor::{Device, Tensor, TensorData};
use trimer::nn::weights::{NamedTensor, read_tensors};

/// Names of the fixtures whose name starts with `prefix`, sorted; there must be some.
pub(crate) fn names(prefix: &str) -> Vec<String> {
    let folder = folder();
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    assert!(
        !names.is_empty(),
        "no fixture `{prefix}*` in {}",
        folder.display()
    );
    println!("fixtures {prefix}*: {names:?}");
    names
}

/// One fixture.
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) info: serde_json::Value,
    pub(crate) tensors: BTreeMap<String, NamedTensor>,
}

impl Fixture {
    pub(crate) fn open(name: &str) -> Self {
        Self::open_in(&folder(), name)
    }

    pub(crate) fn open_in(folder: &Path, name: &str) -> Self {
        let text = fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let tensors = read_tensors(&folder.join(format!("{name}.safetensors"))).unwrap();
        Self {
            name: name.into(),
            info: serde_json::from_str(&text).unwrap(),
            tensors,
        }
    }

    pub(crate) fn get(&self, key: &str) -> &NamedTensor {
        self.tensors
            .get(key)
            .unwrap_or_else(|| panic!("{}: no tensor `{key}`", self.name))
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.tensors.contains_key(key)
    }

    pub(crate) fn tensor<const D: usize>(&self, key: &str, device: &Device) -> Tensor<D> {
        let t = self.get(key);
        Tensor::from_data(TensorData::new(t.values.clone(), t.shape.clone()), device)
    }

    /// Class indices; negative = missing.
    pub(crate) fn targets(&self, key: &str) -> Vec<Option<u32>> {
        self.get(key)
            .values
            .iter()
            .map(|v| (*v >= 0.0).then_some(*v as u32))
            .collect()
    }

    /// Tensors whose key starts with `prefix`, without it.
    pub(crate) fn with_prefix(&self, prefix: &str) -> BTreeMap<String, NamedTensor> {
        self.tensors
            .iter()
            .filter_map(|(k, v)| Some((k.strip_prefix(prefix)?.to_owned(), v.clone())))
            .collect()
    }

    pub(crate) fn usize(&self, pointer: &str) -> usize {
        self.info
            .pointer(pointer)
            .and_then(serde_json::Value::as_u64)
            .unwrap_or_else(|| panic!("{}: no number at {pointer}", self.name)) as usize
    }

    pub(crate) fn usizes(&self, pointer: &str) -> Vec<usize> {
        let list = self
            .info
            .pointer(pointer)
            .and_then(serde_json::Value::as_array);
        let list = list.unwrap_or_else(|| panic!("{}: no list at {pointer}", self.name));
        list.iter().map(|v| v.as_u64().unwrap() as usize).collect()
    }
}

pub(crate) fn max_abs(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

/// `max|ours - fixture| <= tolerance * max|fixture| + floor`.
pub(crate) fn assert_close(what: &str, ours: &[f32], fixture: &[f32], tolerance: f32, floor: f32) {
    assert_eq!(ours.len(), fixture.len(), "{what}: number of values");
    let difference = ours.iter().zip(fixture).fold(0.0_f32, |m, (a, b)| {
        if (a - b).is_nan() {
            f32::INFINITY
        } else {
            m.max((a - b).abs())
        }
    });
    let allowed = tolerance * max_abs(fixture) + floor;
    assert!(
        difference <= allowed,
        "{what}: differs by {difference:e}, allowed {allowed:e}"
    );
}
