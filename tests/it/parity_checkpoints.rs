//! The reader of PyTorch checkpoints against files that PyTorch wrote.

use crate::golden::{self, same};
use std::path::Path;
use trimer::{Hint, store::TorchFile};

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn tensors_equal_those_that_pytorch_holds() {
    let golden = golden::folder();
    let folder = golden.join("checkpoints");
    let mut compared = 0;
    for path in golden::files(&folder, "pth") {
        let expected = folder.join(format!("{}.expected.safetensors", golden::stem(&path)));
        if !expected.exists() {
            continue;
        }
        let file = TorchFile::open(&path).unwrap();
        for (name, tensor) in golden::tensors(&expected) {
            let read = file
                .get(&name)
                .unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!(read.shape(), tensor.shape, "{name}");
            let values = read.to_f32();
            assert!(
                values
                    .iter()
                    .zip(&tensor.values)
                    .all(|(a, b)| same(f64::from(*a), *b)),
                "{name}"
            );
            compared += 1;
        }
    }
    assert!(compared > 0);
}

/// The parameters of a fixture, saved in both containers and inside a training state.
#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn parameters_of_a_model_are_read_from_every_container() {
    let golden = golden::folder();
    let folder = golden.join("checkpoints");
    let models: Vec<_> = golden::files(&folder, "pth")
        .into_iter()
        .filter_map(|path| Some(golden::stem(&path).strip_suffix("_zip")?.to_owned()))
        .collect();
    assert!(!models.is_empty());
    for model in models {
        let parameters = golden::tensors(&golden.join(format!("{model}.safetensors")));
        let mut files = 0;
        for path in golden::files(&folder, "pth") {
            if golden::stem(&path).starts_with("bad_") {
                continue;
            }
            let file = TorchFile::open(&path).unwrap();
            let mut compared = 0;
            for name in file.names() {
                let Some((_, key)) = name.split_once("module.") else {
                    continue;
                };
                // A buffer without a meaning has no place in the fixture.
                let Some(expected) = parameters.get(&format!("param.{key}")) else {
                    assert!(key.ends_with("_float_tensor"), "{name}");
                    continue;
                };
                let tensor = &file.tensors()[name];
                assert_eq!(tensor.shape(), expected.shape, "{name}");
                assert!(
                    tensor
                        .to_f64()
                        .iter()
                        .zip(&expected.values)
                        .all(|(a, b)| same(*a, *b)),
                    "{}: {name}",
                    path.display()
                );
                compared += 1;
            }
            if golden::stem(&path) == format!("{model}_zip") {
                let all = parameters
                    .keys()
                    .filter(|key| key.starts_with("param."))
                    .count();
                assert!(compared >= all - 1, "{compared} of {all}");
            }
            files += usize::from(compared > 0);
        }
        assert!(
            files >= 2,
            "the legacy and nested files hold the same parameters"
        );
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn what_surrounds_the_weights_is_listed_and_the_weights_can_be_selected() {
    let golden = golden::folder();
    let mut seen = 0;
    for path in golden::files(&golden.join("checkpoints"), "pth") {
        if !golden::stem(&path).starts_with("nested") {
            continue;
        }
        let file = TorchFile::open(&path).unwrap();
        let others: Vec<_> = file
            .others()
            .iter()
            .map(|other| other.name.as_str())
            .collect();
        assert!(others.contains(&"epoch"), "{others:?}");
        assert!(
            others.iter().any(|name| name.starts_with("optimizer.")),
            "{others:?}"
        );
        let selected = file.select("model");
        assert_eq!(selected.len(), file.tensors().len());
        assert!(selected.keys().all(|name| name.starts_with("module.")));
        seen += 1;
    }
    assert!(seen > 0, "no nested checkpoint");
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn bad_checkpoints_are_refused_and_run_nothing() {
    let golden = golden::folder();
    let pwned = Path::new("/tmp/pwned");
    assert!(!pwned.exists(), "left over from another program: remove it");
    let mut refused = 0;
    for path in golden::files(&golden.join("checkpoints"), "pth") {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("bad_") {
            let error = TorchFile::open(&path).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert!(error.hint().is_some(), "{error}");
            if name.contains("reduce") {
                assert!(error.to_string().contains("is not allowed"), "{error}");
            }
            refused += 1;
        }
    }
    assert!(refused >= 2);
    assert!(!pwned.exists(), "a file ran code");
}
