//! From a corpus to batches of a model in two steps.

use crate::config::{Rows, RunConfig, RunSpec, parts};
use crate::data::conversation::Order;
use crate::data::{Loader, Normaliser};
use crate::error::Result;
use burn::tensor::Device;
use trimer_core::corpus::Corpus;
use trimer_nn::batch::{Batch, InputSpec};
use trimer_nn::models::{AnyModel, Task};

/// A corpus as a model reads it: what is read, what is predicted, which rows are for what, and the
/// normalisation, fitted on the rows to learn from.
///
/// ```
/// # use trimer_core::corpus::{Corpus, synth::{self, SynthSpec}};
/// # let dir = tempfile::tempdir()?;
/// # let spec = SynthSpec { n_utterances: 60, n_speakers: 10, ..SynthSpec::preset("small")? };
/// # let path = synth::write(&spec, &dir.path().join("corpus"), &mut |_, _| {})?;
/// # let corpus = Corpus::open(&path)?;
/// use trimer_nn::models::{FusionModel, lfmim::LfmimConfig};
/// use trimer_nn::{Recorder, burn::tensor::Device};
/// use trimer_train::{Dataset, RunSpec};
///
/// let small = LfmimConfig { d_model: 8, n_heads: 2, d_ff: 16, n_layers: 1, ..LfmimConfig::paper() };
/// let data = Dataset::new(&corpus, RunSpec::new(small))?;
/// let device = Device::flex();
/// let batch = data.batch(&data.rows().train[..3], &device);
///
/// let model = data.build_model(1, &device)?;
/// let output = model.forward(&batch, &mut Recorder::eval());
/// assert_eq!(output.logits.multimodal.map(|logits| logits.dims()), Some([3, 7]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Dataset<'a> {
    corpus: &'a Corpus,
    config: RunConfig,
    rows: Rows,
    normaliser: Normaliser,
}

impl<'a> Dataset<'a> {
    /// What a run with this specification would read of the corpus.
    ///
    /// # Errors
    /// Values out of range, and whatever the corpus cannot serve.
    pub fn new(corpus: &'a Corpus, spec: RunSpec) -> Result<Self> {
        let config = spec.resolve(corpus)?;
        let rows = parts::rows(&config.data, config.task, corpus);
        let modalities = config.input.modalities();
        let normaliser = Normaliser::fit(config.data.normalise, corpus, &rows.train, modalities);
        Ok(Self {
            corpus,
            config,
            rows,
            normaliser,
        })
    }

    /// What the model reads.
    pub const fn input(&self) -> &InputSpec {
        &self.config.input
    }

    /// What is predicted.
    pub const fn task(&self) -> Task {
        self.config.task
    }

    /// The rows to learn from and to select on.
    pub const fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The model with initial values that follow from `seed`.
    ///
    /// # Errors
    /// When the configuration does not fit the input.
    pub fn build_model(&self, seed: u64, device: &Device) -> Result<AnyModel> {
        let (input, task) = (&self.config.input, self.config.task);
        Ok(self.config.model.build(input, task, seed, device)?)
    }

    /// The batch of some rows; models of conversations read those of [`Self::batches`].
    pub fn batch(&self, rows: &[usize], device: &Device) -> Batch {
        self.loader().batch(rows, device)
    }

    /// The rows of each batch of an epoch over `rows`, at most the configured number of utterances, or of
    /// whole conversations.
    pub fn batches(&self, rows: &[usize], order: Order) -> Vec<Vec<usize>> {
        let batch_size = self.config.train.batch_size;
        self.loader().batches(rows, batch_size, order)
    }

    const fn loader(&self) -> Loader<'_> {
        Loader {
            corpus: self.corpus,
            input: &self.config.input,
            normaliser: &self.normaliser,
        }
    }
}
