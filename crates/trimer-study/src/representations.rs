//! What the towers of a model make of utterances: the features just before each head.

use burn::tensor::Device;
use std::collections::BTreeMap;
use trimer_core::corpus::Corpus;
use trimer_core::{Head, HeadMap};
use trimer_nn::models::FusionModel;
use trimer_nn::recorder::Recorder;
use trimer_nn::weights::to_vec;
use trimer_train::RunDir;
use trimer_train::data::Loader;
use trimer_train::data::conversation::Order;
use trimer_train::error::Result;

/// The features of some utterances.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Representations {
    /// Row numbers in the corpus.
    pub indices: Vec<usize>,
    /// Per tower: `[utterance, width]`, one list per utterance; `None` where the model has no such
    /// tower or gives no features.
    pub towers: HeadMap<Option<Vec<Vec<f32>>>>,
}

/// Runs the model in evaluation over `rows` and keeps [`trimer_nn::models::ModelOutput::features`].
///
/// `model` and `device` must be without autodiff, as for [`trimer_train::predict::predict`].
pub fn represent<M: FusionModel>(
    model: &M,
    loader: &Loader<'_>,
    rows: &[usize],
    batch_size: usize,
    device: &Device,
) -> Representations {
    let batches = loader.batches(rows, batch_size, Order::AsGiven);
    let mut towers = HeadMap::<Option<Vec<Vec<f32>>>>::default();
    for batch in &batches {
        let output = model.forward(&loader.batch(batch, device), &mut Recorder::eval());
        for (head, features) in output.features.iter() {
            let Some(features) = features.clone() else {
                continue;
            };
            let [_, width] = features.dims();
            let values = to_vec(features);
            let rows = values.chunks(width.max(1)).map(<[f32]>::to_vec);
            towers.get_mut(head).get_or_insert_default().extend(rows);
        }
    }
    // conversations bring turns that were not asked for
    let mut place = BTreeMap::new();
    for (position, row) in batches.iter().flatten().enumerate() {
        place.entry(*row).or_insert(position);
    }
    let known: Vec<usize> = rows
        .iter()
        .copied()
        .filter(|r| place.contains_key(r))
        .collect();
    let n = batches.iter().map(Vec::len).sum::<usize>();
    let in_order = |_: Head, values: Option<Vec<Vec<f32>>>| {
        // features of something else than utterances say nothing about them
        let mut values = values.filter(|v| v.len() == n)?;
        let kept = known
            .iter()
            .map(|row| std::mem::take(&mut values[place[row]]));
        Some(kept.collect())
    };
    Representations {
        towers: towers.map(in_order),
        indices: known,
    }
}

/// The features that a seed's selected model computes for rows of a corpus.
///
/// # Errors
/// When the seed is not trained, or the corpus does not have what the model reads.
pub fn representations(
    run: &RunDir,
    seed: u64,
    corpus: &Corpus,
    rows: &[usize],
    device: &Device,
) -> Result<Representations> {
    run.with_model(seed, corpus, device, |model, loader, plain| {
        represent(model, loader, rows, run.config.train.batch_size, plain)
    })
}
