//! How large the gradients of each modality's parameters are.

use super::{GradientMap, ModelView, Notes};
use burn::tensor::Tensor;
use std::collections::BTreeMap;
use trimer_nn::models::Owner;
use trimer_nn::weights::to_vec;

/// Squared norm of each gradient, by path; all read from the device at once.
pub(super) fn squares(gradients: &GradientMap) -> BTreeMap<String, f64> {
    if gradients.is_empty() {
        return BTreeMap::new();
    }
    let sums: Vec<Tensor<1>> = gradients
        .values()
        .map(|g| {
            let g = g.clone().without_autodiff();
            (g.clone() * g).sum()
        })
        .collect();
    let values = to_vec(Tensor::cat(sums, 0));
    gradients
        .keys()
        .cloned()
        .zip(values.into_iter().map(f64::from))
        .collect()
}

/// Notes the norm of the gradients of each owner, and its share of the sum of these norms.
pub(super) fn note(
    squares: &BTreeMap<String, f64>,
    host: &dyn ModelView,
    when: &str,
    notes: &mut Notes<'_>,
) {
    let mut owners: BTreeMap<&'static str, f64> = BTreeMap::new();
    for (path, square) in squares {
        let owner = match host.owner(path) {
            Owner::Modality(m) => m.as_str(),
            Owner::Shared => "shared",
        };
        *owners.entry(owner).or_default() += square;
    }
    let norms: Vec<(&str, f64)> = owners.into_iter().map(|(o, s)| (o, s.sqrt())).collect();
    let sum: f64 = norms.iter().map(|(_, norm)| norm).sum();
    for (owner, norm) in norms {
        notes.put(&format!("norm_{when}"), owner, norm);
        if sum > 0.0 {
            notes.put(&format!("share_{when}"), owner, norm / sum);
        }
    }
}
