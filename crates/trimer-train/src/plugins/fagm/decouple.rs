//! Which modules read one modality alone.

use super::super::view::evaluate;
use super::super::{ModelView, Parameters, erase};
use super::read;
use burn::module::ParamId;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trimer_core::{Modality, ModalityMap, ModalitySet};
use trimer_nn::batch::Batch;
use trimer_nn::probe::{Inputs, Seen};

/// A module by the paths of its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// What all its parameters' paths begin with.
    pub name: String,
    /// Path of each parameter and the axis along which the input's features meet it.
    pub params: Vec<(String, Option<usize>)>,
    /// Whether it runs over time with a state of its own.
    pub recurrent: bool,
}

impl Watched {
    /// What the module read, if that was recorded.
    pub(super) fn seen<'a>(&self, inputs: &'a Inputs, ids: &Parameters) -> Option<&'a Seen> {
        let (first, _) = self.params.first()?;
        inputs.of(ids.get(first)?.0)
    }
}

/// The modules of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modules {
    /// Whether representations before the classifier tell contributions, not inputs.
    pub late: bool,
    /// Those that one modality alone reaches. A module that reads nothing of any modality is in all lists.
    pub specific: ModalityMap<Vec<Watched>>,
    /// The others, the classifier left out.
    pub shared: Vec<Watched>,
}

/// Tells modules apart: one is specific to a modality when its input is the same without all the others.
///
/// With `signed_sum` two inputs count as the same when the sum of their differences is exactly zero.
pub fn decouple(
    host: &dyn ModelView,
    batch: &Batch,
    modalities: ModalitySet,
    signed_sum: bool,
) -> Modules {
    let paths: BTreeMap<ParamId, String> = host
        .parameter_ids()
        .into_iter()
        .map(|(path, (id, _))| (id, path))
        .collect();
    let (_, all) = evaluate(host, batch, None);
    let only = ModalityMap::from_fn(|m| {
        let others: ModalitySet = modalities.iter().filter(|other| *other != m).collect();
        modalities
            .contains(m)
            .then(|| evaluate(host, &erase(batch, others), None).1)
    });
    let known: Vec<Watched> = all
        .0
        .iter()
        .filter_map(|seen| watched(seen, &paths))
        .collect();
    let mut modules = Modules::default();
    for module in &known {
        if is_classifier(&module.name, &known) {
            continue;
        }
        let first = paths
            .iter()
            .find(|(_, path)| **path == module.params[0].0)
            .map(|(id, _)| *id);
        let Some(id) = first else { continue };
        let full = all.of(id);
        let mut shared = true;
        for modality in Modality::ALL {
            let alone = only.get(modality).as_ref().and_then(|o| o.of(id));
            let (Some(full), Some(alone)) = (full, alone) else {
                continue;
            };
            if same(&full.inputs, &alone.inputs, signed_sum) {
                modules.specific.get_mut(modality).push(module.clone());
                shared = false;
            }
        }
        if shared {
            modules.shared.push(module.clone());
        }
    }
    modules
}

/// A recorded module by its paths.
fn watched(seen: &Seen, paths: &BTreeMap<ParamId, String>) -> Option<Watched> {
    let params: Vec<(String, Option<usize>)> = seen
        .params
        .iter()
        .filter_map(|(id, axis)| Some((paths.get(id)?.clone(), *axis)))
        .collect();
    let name = common(params.iter().map(|(path, _)| path.as_str()))?;
    Some(Watched {
        name,
        params,
        recurrent: seen.recurrent,
    })
}

/// The path of the module that holds all of these parameters; a lone parameter is its own module unless
/// it is a `weight`.
fn common<'a>(mut paths: impl Iterator<Item = &'a str>) -> Option<String> {
    let first: Vec<&str> = paths.next()?.split('.').collect();
    let mut n = first.len();
    let mut alone = true;
    for path in paths {
        alone = false;
        let equal = path.split('.').zip(&first).take_while(|(a, b)| a == *b);
        n = n.min(equal.count());
    }
    if alone && first.last() == Some(&"weight") {
        n -= 1;
    }
    Some(first[..n].join("."))
}

/// Whether a module gives the model's scores: the last layer below something called a head.
fn is_classifier(name: &str, known: &[Watched]) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    let is_head = |part: &&str| {
        let part = part.trim_end_matches('s');
        part == "head" || part.ends_with("_head")
    };
    let Some(head) = parts.iter().rposition(is_head) else {
        // A model that is a stack of layers and nothing else.
        return matches!(parts[..], ["layers", _]) && is_last_layer(name, known);
    };
    let below: Vec<&str> = parts[head + 1..]
        .iter()
        .copied()
        .filter(|part| part.parse::<usize>().is_err())
        .collect();
    match below[..] {
        [] | ["out_layer"] => true,
        [.., "layers"] => is_last_layer(name, known),
        _ => false,
    }
}

/// Whether no module of the same list has a higher number.
fn is_last_layer(name: &str, known: &[Watched]) -> bool {
    let number = |name: &str| {
        let (list, number) = name.rsplit_once('.')?;
        Some((list.to_owned(), number.parse::<usize>().ok()?))
    };
    let Some((list, own)) = number(name) else {
        return false;
    };
    !known
        .iter()
        .filter_map(|module| number(&module.name))
        .any(|(other, number)| other == list && number > own)
}

fn same(a: &[Tensor<2>], b: &[Tensor<2>], signed_sum: bool) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            if a.dims() != b.dims() {
                return false;
            }
            let difference = a.clone() - b.clone();
            let rest = if signed_sum {
                difference.sum()
            } else {
                difference.abs().sum()
            };
            read(vec![rest]) == [0.0]
        })
}

/// `mean |A - A'|` over all rows of all calls, per feature; `None` where the calls do not match.
pub(super) fn mean_difference(a: &[Tensor<2>], b: &[Tensor<2>]) -> Option<Vec<f32>> {
    if a.is_empty() || a.len() != b.len() {
        return None;
    }
    let mut rows = 0;
    let mut sum: Option<Tensor<2>> = None;
    for (a, b) in a.iter().zip(b) {
        if a.dims() != b.dims() {
            return None;
        }
        rows += a.dims()[0];
        let part = (a.clone() - b.clone()).abs().sum_dim(0); // [1, feature]
        sum = Some(match sum {
            Some(sum) => sum + part,
            None => part,
        });
    }
    let mean = sum? / rows.max(1) as f64;
    let [_, features] = mean.dims();
    Some(read(vec![mean.reshape([features])]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(names: &[&str]) -> Vec<Watched> {
        let module = |name: &&str| Watched {
            name: (*name).to_owned(),
            params: vec![],
            recurrent: false,
        };
        names.iter().map(module).collect()
    }

    #[test]
    fn a_module_is_what_its_parameters_have_in_common() {
        let name = |paths: &[&str]| common(paths.iter().copied()).unwrap();
        assert_eq!(name(&["a.linear.weight", "a.linear.bias"]), "a.linear");
        assert_eq!(name(&["a.conv.weight"]), "a.conv");
        assert_eq!(name(&["cell.attention"]), "cell.attention");
        assert_eq!(name(&["graph.layers.2"]), "graph.layers.2");
        assert_eq!(
            name(&[
                "rnn.layers.0.forward.weight_ih",
                "rnn.layers.1.reverse.bias_hh"
            ]),
            "rnn.layers"
        );
    }

    #[test]
    fn the_last_layer_of_a_head_is_the_classifier() {
        let known = modules(&[
            "head.layers.0",
            "head.layers.1",
            "tower.head.layers.0",
            "heads.text_head.layers.0",
            "heads.text_head.layers.1",
        ]);
        for (name, expected) in [
            ("head", true),
            ("fusion_head", true),
            ("fine_heads.1", true),
            ("head.out_layer", true),
            ("head.proj1", false),
            ("head.layers.0", false),
            ("head.layers.1", true),
            ("tower.head.layers.0", true),
            ("heads.text_head.layers.0", false),
            ("heads.text_head.layers.1", true),
            ("layers.0.to_modality.0.gate", false),
            ("linear", false),
        ] {
            assert_eq!(is_classifier(name, &known), expected, "{name}");
        }
    }
}
