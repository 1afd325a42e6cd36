//! How many numbers a model learns, where a source tells it (`tests/fixtures/parameter_counts.json`).

use crate::parity_peers::configure;
use serde::Deserialize;
use std::path::Path;
use trimer::ModalityMap;
use trimer::nn::burn::tensor::Device;
use trimer::nn::weights::parameter_count;
use trimer::nn::{InputSpec, Task};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stated {
    model: String,
    preset: String,
    #[serde(default)]
    settings: Vec<String>,
    dims: ModalityMap<Option<usize>>,
    /// The model's own unless given.
    #[serde(default)]
    lengths: Option<ModalityMap<usize>>,
    /// 1 = a score.
    outputs: usize,
    parameters: usize,
    source: String,
}

#[test]
fn models_have_the_stated_numbers_of_parameters() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parameter_counts.json");
    let text = std::fs::read_to_string(file).unwrap();
    let all: Vec<Stated> = serde_json::from_str(&text).unwrap();
    assert!(!all.is_empty());
    for stated in all {
        let config = configure(
            &stated.model,
            Some(&stated.preset),
            stated.settings.iter().cloned(),
        );
        let trimer::models::ReadLimits {
            lengths: own,
            sampling,
        } = config.read_limits();
        let input = InputSpec {
            n_speakers: None,
            dims: stated.dims,
            lengths: stated.lengths.unwrap_or(own),
            sampling,
        };
        let task = match stated.outputs {
            1 => Task::Regression,
            n_classes => Task::Classification { n_classes },
        };
        let model = config.build(&input, task, 0, &Device::flex()).unwrap();
        assert_eq!(
            parameter_count(&model),
            stated.parameters,
            "{} ({}): {}",
            stated.model,
            stated.preset,
            stated.source
        );
    }
}
