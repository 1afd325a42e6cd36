//! The interface of a model, cut by concern. This is what somebody implements who adds one.
//!
//! | concern | where | needed |
//! |---|---|---|
//! | configuration: presets, checks, building | [`ModelConfigOf`] | always |
//! | the forward pass | [`FusionModel::forward`] | always |
//! | what plug-ins, padding and batching may rely on | [`Properties`] | where the defaults are wrong |
//! | parameter names of a reference implementation | [`ReferenceNames`] | where there is one |
//! | a closed-form fit instead of epochs | [`ClosedForm`] | where there is one |

use super::info::ModelInfo;
use super::late_fusion::LateFusion;
use crate::batch::{Batch, InputSpec, Sampling};
use crate::error::Result;
use crate::layers::Initializer;
use crate::recorder::Recorder;
use crate::task::Task;
use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use trimer_core::{Head, HeadMap, Modality, ModalityMap};

/// What a forward pass gives.
#[derive(Debug, Clone)]
pub struct ModelOutput {
    /// `[batch, n_outputs]` per head that the model has.
    pub logits: HeadMap<Option<Tensor<2>>>,
    /// `[batch, width]` per tower: the representation just before its head.
    pub features: HeadMap<Option<Tensor<2>>>,
    /// Named losses that the model itself asks for; each has one element.
    pub aux_losses: Vec<(&'static str, Tensor<1>)>,
}

/// A model that reads several modalities. It knows no optimizer, no epoch and no file.
///
/// Only [`Self::forward`] must be written. A model is deterministic: dropout takes its seeds from the
/// [`Recorder`], and in evaluation ([`Recorder::eval`]) nothing is random.
///
/// # Shapes
/// `B` is the number of utterances of the batch. At utterance level `batch.sequences` are
/// `[B, time, feature]`; at conversation level ([`super::Level::Conversation`]) they are
/// `[conversation, turn, feature]`, and [`Batch::conversations`] says which turns exist. Logits and
/// features are `[B, ..]` at both levels, one row per utterance, without padding.
pub trait FusionModel: Module {
    /// One pass over a batch.
    fn forward(&self, batch: &Batch, rec: &mut Recorder) -> ModelOutput;

    /// What plug-ins, padding and batching may rely on.
    fn properties(&self) -> &dyn Properties {
        &Defaults
    }

    /// The parameter names of a reference implementation; those of this crate by default.
    fn reference(&self) -> &dyn ReferenceNames {
        &Defaults
    }

    /// The fit of a model that has a closed form and therefore no epochs.
    fn closed_form(&self) -> Option<ClosedForm<Self>> {
        None
    }
}

/// Fits a model on the train split, given batch by batch in the order of the corpus; the columns tell
/// which label column supervises each head.
pub type ClosedForm<M> = fn(M, &mut dyn Iterator<Item = Batch>, HeadMap<Head>) -> M;

/// What plug-ins, padding and batching may rely on. The defaults fit a model whose modality-wise layers
/// begin with `text_`, `audio_` or `vision_`, whose utterances do not see one another, and that reads
/// what lies under the pad mask.
pub trait Properties {
    /// Which modality owns the parameter at `path` (dotted field names).
    fn owner_of(&self, path: &str) -> Owner {
        Owner::from_prefix(path)
    }

    /// Whether, by the definition of the model, an utterance's output depends on the rest of its batch.
    fn mixes_batch(&self) -> bool {
        false
    }

    /// Whether what lies under the pad mask can never change the output. Only then does the length
    /// to which a batch is padded not matter.
    fn ignores_padding(&self) -> bool {
        false
    }

    /// Whether, by the definition of the model, no output depends on the parameter at `path`.
    fn is_idle(&self, path: &str) -> bool {
        let _ = path;
        false
    }

    /// How the scores come about where the modalities meet in a linear classifier; plug-ins ask for it.
    fn late_fusion(&self) -> Option<LateFusion> {
        None
    }
}

/// How the parameters are called in the `state_dict` of a reference implementation, so that its
/// checkpoints can be loaded and ours can be read there.
pub trait ReferenceNames {
    /// The name of the parameter at `path`.
    fn key(&self, path: &str) -> String {
        path.to_owned()
    }

    /// The shape there of a parameter of ours; differs from ours by axes of length one at most.
    fn shape(&self, path: &str, shape: &[usize]) -> Vec<usize> {
        let _ = path;
        shape.to_vec()
    }

    /// Whether a key of the `state_dict` never influences the output, so that a checkpoint may have it
    /// or not.
    fn is_unused(&self, key: &str) -> bool {
        let _ = key;
        false
    }
}

/// The defaults of [`Properties`] and [`ReferenceNames`].
#[derive(Debug, Clone, Copy)]
pub struct Defaults;
impl Properties for Defaults {}
impl ReferenceNames for Defaults {}

/// Which modality a parameter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// Only this modality's data reach the layer.
    Modality(Modality),
    /// Several modalities meet in it.
    Shared,
}

impl Owner {
    /// Reads the owner from the prefix of a parameter's path: `text_`, `audio_` or `vision_`.
    pub fn from_prefix(path: &str) -> Self {
        Modality::ALL
            .into_iter()
            .find(|m| {
                path.strip_prefix(m.as_str())
                    .is_some_and(|rest| rest.starts_with('_'))
            })
            .map_or(Self::Shared, Self::Modality)
    }
}

/// How much of a sequence a model reads unless a recipe says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Frames per modality at most.
    pub lengths: ModalityMap<usize>,
    /// How longer sequences are cut.
    pub sampling: ModalityMap<Sampling>,
}

impl ReadLimits {
    /// One vector per utterance and modality: the mean of its frames. What models of conversations and
    /// of vectors read.
    pub fn one_vector() -> Self {
        Self {
            lengths: ModalityMap::from_fn(|_| 1),
            sampling: ModalityMap::default(),
        }
    }
}

/// A model's configuration: presets, checking, building. Its fields are the keys of `[model]` in a
/// recipe; give it `#[serde(deny_unknown_fields)]`, so that a misspelt key is an error.
///
/// The registry calls [`Self::preset`], overlays the recipe's keys, calls [`Self::check`], and once the
/// corpus is known [`Self::check_input`] and [`Self::build`].
pub trait ModelConfigOf:
    Serialize + for<'de> Deserialize<'de> + Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static
{
    /// The model that this configuration builds.
    type Model: FusionModel + 'static;

    /// The registry entry.
    const INFO: &'static ModelInfo;

    /// The configuration of a preset of [`ModelInfo::presets`].
    fn preset(name: &str) -> Option<Self>;

    /// Refuses values outside their range; see [`crate::config::check_range`].
    ///
    /// # Errors
    /// Names key, value and range.
    fn check(&self) -> Result<()>;

    /// Refuses an input that the model cannot read, before anything is built. The level was checked
    /// already.
    ///
    /// # Errors
    /// Names what the input lacks.
    fn check_input(&self, input: &InputSpec) -> Result<()> {
        let _ = input;
        Ok(())
    }

    /// Frames per modality that the preset reads at most, and how longer sequences are cut.
    fn read_limits(&self) -> ReadLimits {
        ReadLimits::one_vector()
    }

    /// Floating-point operations of the matrix products of one utterance's forward pass; NaN where
    /// nobody counted, and then `bench` gives no share of the machine's limit.
    fn forward_flops(&self, input: &InputSpec, task: Task) -> f64 {
        let _ = (input, task);
        f64::NAN
    }

    /// Builds the model with seeded initial values.
    ///
    /// # Errors
    /// When the configuration does not fit the input in a way that the checks could not see.
    fn build(&self, input: &InputSpec, task: Task, init: &mut Initializer) -> Result<Self::Model>;
}
