//! The search for one or several models.

use super::options::{Budget, Settings, TuneOptions};
use super::search::{Search, TunedModel};
use super::space::SpaceSource;
use super::trials::Method;
use crate::error::{Result, StudyError};
use crate::observer::StudyObserver;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use trimer_core::corpus::Corpus;
use trimer_nn::ModelConfig;

/// A search of settings for one or several models.
///
/// ```
/// use trimer_core::corpus::{Corpus, synth::{self, SynthSpec}};
/// use trimer_study::{Tuner, Unwatched, tune::Method};
///
/// # let dir = tempfile::tempdir()?;
/// # let spec = SynthSpec { n_utterances: 40, n_speakers: 8, ..SynthSpec::preset("small")? };
/// # let path = synth::write(&spec, &dir.path().join("corpus"), &mut |_, _| {})?;
/// let corpus = Corpus::open(&path)?;
/// let tuned = Tuner::new(&corpus)
///     .models(["unimodal"])
///     .space("[train]\nlr = { log = [1e-3, 1e-2] }\n")
///     .set("train.epochs=1")
///     .method(Method::Random)
///     .trials(2)
///     .out(dir.path().join("out"))
///     .run(&mut Unwatched)?;
///
/// assert_eq!(tuned[0].record.trials, 2);
/// assert!(tuned[0].recipe.is_file());
/// assert!(tuned[0].trials.iter().all(|t| t.split == "valid"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Tuner<'a> {
    models: Vec<String>,
    settings: Settings<'a>,
}

impl<'a> Tuner<'a> {
    /// A search on a corpus, of no model yet, over what every model has.
    pub fn new(corpus: &'a Corpus) -> Self {
        Self {
            models: Vec::new(),
            settings: Settings {
                corpus,
                space: SpaceSource::Standard,
                recipe: None,
                sets: Vec::new(),
                options: TuneOptions::default(),
                out: None,
                stop: None,
            },
        }
    }

    /// More models; each gets the whole budget.
    pub fn models<S: Into<String>>(mut self, models: impl IntoIterator<Item = S>) -> Self {
        self.models.extend(models.into_iter().map(Into::into));
        self
    }

    /// The search space as TOML: the keys of a recipe, each with a range (see [`Space::parse`](super::Space::parse)).
    pub fn space(mut self, toml: impl Into<String>) -> Self {
        self.settings.space = SpaceSource::Text(toml.into());
        self
    }

    /// The search space: a TOML file, or a directory with one per model (`DIR/<model>.toml`).
    pub fn space_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.space = SpaceSource::Path(path.into());
        self
    }

    /// What does not vary: a recipe, or a directory with one per model.
    pub fn recipe(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.recipe = Some(path.into());
        self
    }

    /// One key of what does not vary, as `train.epochs=10`.
    pub fn set(mut self, key_and_value: impl Into<String>) -> Self {
        self.settings.sets.push(key_and_value.into());
        self
    }

    /// How settings are searched.
    pub fn options(mut self, options: TuneOptions) -> Self {
        self.settings.options = options;
        self
    }

    /// How the budget is spent.
    pub const fn method(mut self, method: Method) -> Self {
        self.settings.options.method = method;
        self
    }

    /// Spend as many epochs as it takes to begin so many trials.
    pub const fn trials(mut self, n: usize) -> Self {
        self.settings.options.budget = Budget::Trials(n);
        self
    }

    /// Epochs that all trials of a model may take together.
    pub const fn budget(mut self, epochs: usize) -> Self {
        self.settings.options.budget = Budget::Epochs(epochs);
        self
    }

    /// Directory for trials and recipes; the same search with the same directory continues.
    pub fn out(mut self, dir: impl Into<PathBuf>) -> Self {
        self.settings.out = Some(dir.into());
        self
    }

    /// Set from outside to end after the current step; every trial is saved.
    pub const fn stop(mut self, stop: &'a AtomicBool) -> Self {
        self.settings.stop = Some(stop);
        self
    }

    /// Searches for every model in turn.
    ///
    /// # Errors
    /// As [`Self::check`] and [`Self::tune`].
    pub fn run(&self, observer: &mut dyn StudyObserver) -> Result<Vec<TunedModel>> {
        self.check()?;
        let models = self.models.iter();
        models.map(|model| self.tune(model, observer)).collect()
    }

    /// Refuses models that are not registered or named twice.
    ///
    /// # Errors
    /// Names the model.
    pub fn check(&self) -> Result<()> {
        for (i, model) in self.models.iter().enumerate() {
            ModelConfig::resolve(model, None, &toml::Table::new())?;
            if self.models[..i].contains(model) {
                return Err(StudyError::refused(
                    format!("`{model}` is named twice"),
                    "every model is tuned once",
                ));
            }
        }
        Ok(())
    }

    /// Searches for one model, and writes its best recipe to `<out>/<model>.toml`.
    ///
    /// # Errors
    /// When space or recipe cannot be read, the budget does not reach, no trial comes to an end,
    /// `out` holds another search, or the search was asked to stop.
    pub fn tune(&self, model: &str, observer: &mut dyn StudyObserver) -> Result<TunedModel> {
        let never = AtomicBool::new(false);
        let search = Search::new(&self.settings, model, self.settings.stop.unwrap_or(&never))?;
        let trials = search.run(observer)?;
        search.finish(trials)
    }
}
