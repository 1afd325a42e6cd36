//! The reference fixtures, which lie outside of the repository. Tests that need them carry an attribute that shows
//! them as ignored where the environment names no folder (`build.rs`); whoever gets here must find what it looks for.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

/// A folder that the environment names; empty is as good as unset.
fn named(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// The folder of fixtures: `TRIMER_GOLDEN`, else `golden/` of `TRIMER_SHARED`.
pub(crate) fn folder() -> PathBuf {
    let folder = named("TRIMER_GOLDEN").or_else(|| Some(named("TRIMER_SHARED")?.join("golden")));
    there(folder.expect("TRIMER_GOLDEN or TRIMER_SHARED names the folder of fixtures"))
}

/// The folder of excerpts of public corpora: `data/` of `TRIMER_SHARED`.
pub(crate) fn data() -> PathBuf {
    there(
        named("TRIMER_SHARED")
            .expect("TRIMER_SHARED names the folder of data")
            .join("data"),
    )
}

fn there(folder: PathBuf) -> PathBuf {
    assert!(folder.is_dir(), "no folder {}", folder.display());
    folder
}

/// Files of a folder with this extension, sorted; there must be some.
pub(crate) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no .{extension} in {}", folder.display());
    files
}

/// The name of a file without its extension.
pub(crate) fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

pub(crate) fn json(path: &Path) -> serde_json::Value {
    let text = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

/// A tensor with its values in row-major order.
#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f64>,
}

impl Tensor {
    /// The values at one place of the first axis.
    pub(crate) fn row(&self, place: usize) -> &[f64] {
        let size: usize = self.shape[1..].iter().product();
        &self.values[place * size..(place + 1) * size]
    }
}

/// All tensors of a safetensors file.
pub(crate) fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    safetensors::SafeTensors::deserialize(&bytes)
        .unwrap()
        .iter()
        .map(|(name, view)| {
            use safetensors::Dtype as D;
            let data = view.data();
            let values = match view.dtype() {
                D::F64 => data
                    .as_chunks()
                    .0
                    .iter()
                    .map(|b| f64::from_le_bytes(*b))
                    .collect(),
                D::F32 => data
                    .as_chunks()
                    .0
                    .iter()
                    .map(|b| f32::from_le_bytes(*b) as f64)
                    .collect(),
                D::I64 => data
                    .as_chunks()
                    .0
                    .iter()
                    .map(|b| i64::from_le_bytes(*b) as f64)
                    .collect(),
                D::I32 => data
                    .as_chunks()
                    .0
                    .iter()
                    .map(|b| i32::from_le_bytes(*b) as f64)
                    .collect(),
                D::U8 | D::BOOL => data.iter().map(|b| f64::from(*b)).collect(),
                other => panic!("{name}: {other:?}"),
            };
            let shape = view.shape().to_vec();
            (name.to_owned(), Tensor { shape, values })
        })
        .collect()
}

/// Whether two numbers are the same, NaN included.
pub(crate) fn same(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan()
}

/// The expected file that belongs to a variant: `mosi_data_noalign_p2` is one of
/// `mosi_data_noalign`, not of `mosi_data`.
pub(crate) fn expected_of(pickle: &Path) -> PathBuf {
    let name = stem(pickle);
    let folder = pickle.parent().unwrap();
    files(folder, "safetensors")
        .into_iter()
        .filter(|path| {
            let base = stem(path);
            let base = base.strip_suffix(".expected").unwrap();
            name.strip_prefix(base)
                .is_some_and(|rest| rest.starts_with('_'))
        })
        .max_by_key(|path| path.as_os_str().len())
        .unwrap_or_else(|| panic!("nothing is expected of {name}"))
}
