//! What a run makes of utterances: their vectors before and after the fusion.

use super::run::RunDir;
use crate::conversation::Order;
use crate::error::Result;
use crate::layers::turns::JOINT_ORDER;
use crate::models::FusionModel;
use crate::recorder::Recorder;
use crate::weights::to_vec;
use burn::tensor::{Device, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use trimer_core::corpus::Corpus;

/// A vector per utterance, row-major `[utterance, width]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vectors {
    /// The values.
    pub values: Vec<f32>,
    /// Width of a vector.
    pub width: usize,
}

/// Utterances before and after the fusion.
#[derive(Debug, Clone, PartialEq)]
pub struct Representations {
    /// Row numbers in the corpus.
    pub indices: Vec<usize>,
    /// The normalised features of all modalities side by side, each the mean over its real frames.
    pub before: Vectors,
    /// What the model's last layer reads: [`crate::models::ModelOutput::features`] of the multimodal head;
    /// `None` where a model gives none.
    pub after: Option<Vectors>,
}

impl RunDir {
    /// The vectors of some rows, in the order of the corpus.
    ///
    /// # Errors
    /// As [`RunDir::predict`].
    pub fn representations(
        &self,
        seed: u64,
        corpus: &Corpus,
        rows: &[usize],
        device: &Device,
    ) -> Result<Representations> {
        self.with_model(seed, corpus, device, |model, loader, plain| {
            let wanted: BTreeSet<usize> = rows.iter().copied().collect();
            let mut found: BTreeMap<usize, (Vec<f32>, Option<Vec<f32>>)> = BTreeMap::new();
            let batch_size = self.config.train.batch_size;
            for rows in loader.batches(rows, batch_size, Order::AsGiven) {
                let batch = loader.batch(&rows, plain);
                let parts = JOINT_ORDER.into_iter().filter_map(|modality| {
                    let sequence = batch.sequences.get(modality).as_ref()?;
                    Some(match &batch.conversations {
                        Some(talks) => talks.unpad(sequence.values.clone()),
                        None => mean_over_time(sequence),
                    })
                });
                let before = Tensor::cat(parts.collect(), 1);
                let [_, width] = before.dims();
                let output = model.forward(&batch, &mut Recorder::eval());
                let after = output.features.multimodal.map(|x| {
                    let [_, width] = x.dims();
                    (to_vec(x), width)
                });
                for (i, (row, before)) in rows.iter().zip(to_vec(before).chunks(width)).enumerate()
                {
                    if wanted.contains(row) {
                        let after = after.as_ref();
                        let after = after.map(|(x, d)| x[i * d..(i + 1) * d].to_vec());
                        found.insert(*row, (before.to_vec(), after));
                    }
                }
            }
            gather(found)
        })
    }
}

/// # Shapes
/// - result: `[utterance, feature]`
fn mean_over_time(sequence: &crate::batch::Sequence) -> Tensor<2> {
    let real = sequence.pad_mask.clone().bool_not().float(); // [utterance, time]
    let counts = real.clone().sum_dim(1).clamp_min(1.0);
    // Padding is zero.
    let [n, _, dim] = sequence.values.dims();
    sequence.values.clone().sum_dim(1).reshape([n, dim]) / counts
}

fn gather(found: BTreeMap<usize, (Vec<f32>, Option<Vec<f32>>)>) -> Representations {
    let mut all = Representations {
        indices: Vec::with_capacity(found.len()),
        before: Vectors::default(),
        after: Some(Vectors::default()),
    };
    for (row, (before, after)) in found {
        all.indices.push(row);
        all.before.width = before.len();
        all.before.values.extend(before);
        match (&mut all.after, after) {
            (Some(all), Some(after)) => {
                all.width = after.len();
                all.values.extend(after);
            }
            (kept, _) => *kept = None,
        }
    }
    all
}
