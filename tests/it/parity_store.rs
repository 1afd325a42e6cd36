//! NumPy files and pickles against the numbers that NumPy holds, before any importer touches them.

use crate::golden::{self, expected_of, same};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};
use trimer::store::{
    Npz, npy,
    pickle::{self, Allowed},
};

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn npy_files_of_every_kind_are_read() {
    let golden = golden::folder();
    let folder = golden.join("corpora/npy");
    let expected = golden::tensors(&folder.join("expected.safetensors"));
    let mut seen = BTreeSet::new();
    for path in golden::files(&folder, "npy") {
        let name = golden::stem(&path);
        let array = npy::read(&path).unwrap();
        let tensor = &expected[&name];
        assert_eq!(array.shape(), tensor.shape, "{name}");
        let values = array.to_f64();
        assert!(
            values.iter().zip(&tensor.values).all(|(a, b)| same(*a, *b)),
            "{name}"
        );
        let narrow = array.to_f32();
        assert!(
            narrow
                .iter()
                .zip(&values)
                .all(|(a, b)| same(f64::from(*a), f64::from(*b as f32))),
            "{name}"
        );
        seen.insert(name);
    }
    assert!(seen.iter().eq(expected.keys()));
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn npz_archives_hold_the_same_whether_packed_or_not() {
    let golden = golden::folder();
    let read = |path: &Path| -> BTreeMap<String, (Vec<usize>, Vec<f64>)> {
        let mut npz = Npz::open(path).unwrap();
        let names: Vec<_> = npz.names().map(str::to_owned).collect();
        names
            .into_iter()
            .map(|name| {
                let array = npz.read(&name).unwrap();
                (name, (array.shape().to_vec(), array.to_f64()))
            })
            .collect()
    };
    let archives: Vec<_> = golden::files(&golden.join("corpora/npy"), "npz")
        .iter()
        .map(|path| read(path))
        .collect();
    assert!(archives.len() >= 2 && !archives[0].is_empty());
    assert!(archives.iter().all(|archive| *archive == archives[0]));
    assert!(archives[0].values().all(|(shape, values)| {
        values.len() == shape.iter().product::<usize>() && values.iter().all(|v| v.is_finite())
    }));
}

/// Every number of every pickle, before any importer touches it.
#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn pickles_of_every_protocol_hold_the_expected_numbers() {
    let golden = golden::folder();
    for folder in ["mmsa", "mult"] {
        for path in golden::files(&golden.join("corpora").join(folder), "pkl") {
            let content = pickle::read(&path, Allowed::Numpy).unwrap();
            for (name, tensor) in golden::tensors(&expected_of(&path)) {
                let (split, key) = name.split_once('/').unwrap();
                let node = content.root().get(split).and_then(|node| node.get(key));
                let node = node.unwrap_or_else(|| panic!("{}: {name}", path.display()));
                let values = node.numbers().unwrap();
                if let Some(array) = node.as_array() {
                    assert_eq!(array.shape(), tensor.shape, "{}: {name}", path.display());
                }
                assert_eq!(values.len(), tensor.values.len());
                assert!(
                    values.iter().zip(&tensor.values).all(|(a, b)| same(*a, *b)),
                    "{}: {name}",
                    path.display()
                );
            }
        }
    }
}

/// Conversation pickles: a tuple of dictionaries by dialogue, with lists of vectors.
#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn pickles_of_conversations_hold_the_expected_numbers() {
    let golden = golden::folder();
    for path in golden::files(&golden.join("corpora/erc"), "pkl") {
        let expected = expected_of(&path);
        let tensors = golden::tensors(&expected);
        let json = golden::json(&expected.with_extension("json"));
        let content = pickle::read(&path, Allowed::Numpy).unwrap();
        let order = json["order"].as_array().unwrap();
        let part = |name: &str| {
            let place = order.iter().position(|part| part == name).unwrap();
            content.root().items().unwrap().nth(place).unwrap()
        };
        let mut compared = 0;
        for (name, feature) in [
            ("videoText", "text"),
            ("videoAudio", "audio"),
            ("videoVisual", "visual"),
        ] {
            for (dialogue, vectors) in part(name).entries().unwrap() {
                let dialogue = dialogue.as_text().map_or_else(
                    || dialogue.as_i64().unwrap().to_string(),
                    std::borrow::Cow::into_owned,
                );
                let tensor = &tensors[&format!("{dialogue}/{feature}")];
                let values: Vec<f64> = if let Some(array) = vectors.as_array() {
                    array.to_f64()
                } else {
                    let vectors = vectors.items().unwrap();
                    vectors.flat_map(|v| v.numbers().unwrap()).collect()
                };
                // Text vectors may have been lists of Python floats, which the fixture narrows.
                assert_eq!(values.len(), tensor.values.len());
                assert!(
                    values
                        .iter()
                        .zip(&tensor.values)
                        .all(|(a, b)| { same(*a, *b) || same(f64::from(*a as f32), *b) }),
                    "{}: {dialogue}/{feature}",
                    path.display()
                );
                compared += 1;
            }
        }
        assert_eq!(compared, tensors.len());
        let mut by_split: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (dialogue, about) in json["dialogues"].as_object().unwrap() {
            let split = about["split"].as_str().unwrap();
            by_split.entry(split).or_default().insert(dialogue.clone());
        }
        for (split, name) in [("train", "trainVid"), ("test", "testVid")] {
            let read: BTreeSet<String> = part(name)
                .items()
                .unwrap()
                .map(|id| match id.as_text() {
                    Some(id) => id.into_owned(),
                    None => id.as_i64().unwrap().to_string(),
                })
                .collect();
            assert_eq!(read, by_split[split], "{}", path.display());
        }
    }
}

/// CMU-MOSI's audio as Python 2 pickled it, padded per video, and as a packed table of the same
/// utterances: every row of the table is a row of the pickle.
#[test]
#[cfg_attr(not(trimer_data), ignore = "needs TRIMER_SHARED with data/")]
fn a_real_python_2_pickle_agrees_with_the_table_made_of_it() {
    let folder = golden::data().join("mosi");
    let content = pickle::read(&folder.join("audio_python2.pickle"), Allowed::Numpy).unwrap();
    let mut rows = BTreeSet::new();
    let mut width = 0;
    for array in content
        .root()
        .items()
        .unwrap()
        .filter_map(pickle::Node::as_array)
    {
        if let &[_, _, dim] = array.shape() {
            width = dim;
            let values = array.to_f32();
            rows.extend(
                values
                    .chunks(dim)
                    .map(|row| row.iter().map(|v| v.to_bits()).collect::<Vec<_>>()),
            );
        }
    }
    let table = Npz::open(&folder.join("mosi.npz"))
        .unwrap()
        .read("audio_opensmile73")
        .unwrap();
    assert_eq!(table.shape()[1], width);
    for (place, row) in table.to_f32().chunks(width).enumerate() {
        let row: Vec<_> = row.iter().map(|v| v.to_bits()).collect();
        assert!(rows.contains(&row), "row {place}");
    }
}
