//! A recipe and a corpus in, a checked and fully resolved run out.

use super::columns::label_columns;
use super::parts;
use super::recipe::Overrides;
use super::schema::{
    DataConfig, RunConfig, SamplingChoice, Select, SelectOn, TaskChoice, TrainConfig, TuningRecord,
};
use crate::data::{conversation, input_spec};
use crate::data::{labelled_rows, labelled_rows_of_any};
use crate::error::Result;
use crate::plugins::PluginConfig;
use std::collections::BTreeMap;
use std::path::PathBuf;
use trimer_core::corpus::{Corpus, Split};
use trimer_core::{Head, HeadMap, Modality};
use trimer_nn::batch::{InputSpec, Sampling};
use trimer_nn::config::overlay;
use trimer_nn::error::NnError;
use trimer_nn::models::{ModelConfig, Task};

impl Overrides {
    /// Resolves everything against a corpus.
    ///
    /// # Errors
    /// Unknown or ill-typed keys, values out of range, and whatever the corpus cannot serve.
    pub fn resolve(
        self,
        model_id: Option<&str>,
        corpus: &Corpus,
        seeds: Vec<u64>,
    ) -> Result<RunConfig> {
        let mut spec = self.spec(model_id)?;
        spec.seeds = seeds;
        spec.resolve(corpus)
    }

    /// The typed form of a recipe: all that can be said before a corpus is known. `model_id` goes before
    /// the recipe's; without any it is `lfmim`.
    ///
    /// # Errors
    /// Unknown or ill-typed keys, and values out of range.
    pub fn spec(mut self, model_id: Option<&str>) -> Result<RunSpec> {
        let take = |table: &mut toml::Table, key: &str| match table.remove(key) {
            Some(toml::Value::String(s)) => Ok(Some(s)),
            Some(other) => Err(NnError::ConfigType {
                key: format!("model.{key}"),
                reason: format!("expected string, found {} `{other}`", other.type_str()),
            }),
            None => Ok(None),
        };
        let preset = take(&mut self.model, "preset")?;
        let id = take(&mut self.model, "id")?;
        let id = model_id.or(id.as_deref()).unwrap_or("lfmim");
        let model = ModelConfig::resolve(id, preset.as_deref(), &self.model)?;
        let data: DataConfig = overlay("data", &DataConfig::default(), &self.data)?;
        let mut train: TrainConfig = overlay("train", &TrainConfig::default(), &self.train)?;
        resolve_selection(&mut train, self.select_on)?;
        check_tuning(self.tuning.as_ref())?;
        train.check()?;
        data.check()?;
        let plugins = resolve_plugins(&train.plugins, &self.plugins)?;
        Ok(RunSpec {
            data,
            train,
            plugins,
            tuning: self.tuning,
            ..RunSpec::new(model)
        })
    }
}

/// What a run is asked for, typed, before a corpus is known.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSpec {
    /// The model.
    pub model: ModelConfig,
    /// How features are read.
    pub data: DataConfig,
    /// How the model is trained; `train.plugins` is filled from [`Self::plugins`].
    pub train: TrainConfig,
    /// The plug-ins in their order.
    pub plugins: Vec<PluginConfig>,
    /// One run of the whole protocol each.
    pub seeds: Vec<u64>,
    /// Weights to start from instead of drawn ones; empty = none.
    pub init_weights: PathBuf,
    /// How the settings were found, when a search found them.
    pub tuning: Option<TuningRecord>,
}

impl RunSpec {
    /// A model with the defaults for everything else and the seed 1.
    pub fn new(model: impl Into<ModelConfig>) -> Self {
        Self {
            model: model.into(),
            data: DataConfig::default(),
            train: TrainConfig::default(),
            plugins: Vec::new(),
            seeds: vec![1],
            init_weights: PathBuf::new(),
            tuning: None,
        }
    }

    /// Resolves everything against a corpus.
    ///
    /// # Errors
    /// Values out of range, and whatever the corpus cannot serve.
    pub fn resolve(mut self, corpus: &Corpus) -> Result<RunConfig> {
        self.train.plugins = (self.plugins.iter())
            .map(|plugin| plugin.info().id.to_owned())
            .collect();
        check_tuning(self.tuning.as_ref())?;
        self.train.check()?;
        self.data.check()?;
        let info = corpus.info();
        let (task, classes, score_range) = choose_task(corpus, self.data.task)?;
        self.train.selector(task)?;
        check_train_split(corpus)?;
        parts::check_selection(&self.data, &self.train, corpus)?;
        let of = |split: &Split| corpus.indices(*split);
        let rows: Vec<usize> = self.data.fit_on.splits().iter().flat_map(of).collect();
        let input = self.input(corpus, &rows)?;
        check_task(&self.model, task)?;
        if labelled_rows_of_any(corpus, Split::Train, task).is_empty() {
            return Err(NnError::Corpus {
                reason: "no utterance of the train split has a label".into(),
                hint: "fill the label columns and import again; `trimer corpus check` shows what is there".into(),
            }
            .into());
        }
        let label_columns = label_columns(self.train.unimodal_labels, task, corpus, &rows);
        let (data, train) = (&self.data, &self.train);
        check_selection(data, train, task, corpus, &input, label_columns)?;
        let config = RunConfig {
            corpus_name: info.name.clone(),
            corpus_fingerprint: corpus.fingerprint(),
            // A run must find its corpus from any directory.
            corpus_path: std::path::absolute(corpus.path())
                .unwrap_or_else(|_| corpus.path().to_owned()),
            classes,
            score_range,
            seeds: self.seeds,
            init_weights: self.init_weights,
            task,
            label_columns: Some(label_columns),
            input,
            model: self.model,
            data: self.data,
            train: self.train,
            plugins: self.plugins,
            tuning: self.tuning,
        };
        config.check_plugins_fit()?;
        if !config.init_weights.as_os_str().is_empty() {
            config.check_init_weights()?;
        }
        Ok(config)
    }

    /// What the model reads of the corpus.
    fn input(&self, corpus: &Corpus, rows: &[usize]) -> Result<InputSpec> {
        let mut limits = self.model.read_limits();
        for m in Modality::ALL {
            let sampling = limits.sampling.get_mut(m);
            match self.data.sampling.get(m) {
                SamplingChoice::Auto => {}
                SamplingChoice::First => *sampling = Sampling::First,
                SamplingChoice::Uniform => *sampling = Sampling::Uniform,
            }
        }
        let mut input = input_spec(
            corpus,
            rows,
            &self.data.modalities,
            limits.lengths,
            limits.sampling,
            self.data.lengths,
        )?;
        if self.model.info().reads_conversations() {
            check_turns(&self.data)?;
            conversation::input(corpus, rows, &mut input)?;
        }
        self.model.check_input(&input)?;
        Ok(input)
    }
}

fn check_train_split(corpus: &Corpus) -> Result<()> {
    if !corpus.indices(Split::Train).is_empty() {
        return Ok(());
    }
    Err(NnError::Corpus {
        reason: format!("the corpus `{}` has no train split", corpus.info().name),
        hint: "fill the column `split` (train, valid, test) and import again".into(),
    }
    .into())
}

/// The plug-ins in their order. A section of a plug-in that is not active is checked all the same.
fn resolve_plugins(
    active: &[String],
    settings: &BTreeMap<String, toml::Table>,
) -> Result<Vec<PluginConfig>> {
    for (id, table) in settings {
        PluginConfig::resolve(id, table)?;
    }
    let none = toml::Table::new();
    let mut all = Vec::with_capacity(active.len());
    for (i, id) in active.iter().enumerate() {
        if active[..i].contains(id) {
            return Err(NnError::ConfigRange {
                key: "train.plugins".into(),
                value: format!("{active:?}"),
                expected: format!("each plug-in once; `{id}` is there twice"),
            }
            .into());
        }
        all.push(PluginConfig::resolve(
            id,
            settings.get(id).unwrap_or(&none),
        )?);
    }
    Ok(all)
}

/// Puts the selecting split in; only [`Overrides::select_on`] may make it test.
fn resolve_selection(train: &mut TrainConfig, select_on: SelectOn) -> Result<()> {
    let refuse = |key: &str, value: &str, expected: &str| {
        Err(NnError::ConfigRange {
            key: key.into(),
            value: value.into(),
            expected: expected.into(),
        }
        .into())
    };
    if train.select_on == SelectOn::Test {
        return refuse(
            "train.select_on",
            "\"test\"",
            "`valid`; selecting on test has to be said with `select_on=test`",
        );
    }
    if select_on == SelectOn::Test && train.select == Select::Last {
        return refuse(
            "train.select",
            "\"last\"",
            "`best` with `select_on=test`: the last epoch is not selected at all",
        );
    }
    train.select_on = select_on;
    Ok(())
}

/// Refuses settings that were not found on validation.
fn check_tuning(tuning: Option<&TuningRecord>) -> Result<()> {
    match tuning {
        Some(record) if record.split != Split::Valid.as_str() => Err(NnError::ConfigRange {
            key: "tuning.split".into(),
            value: format!("\"{}\"", record.split),
            expected: "\"valid\": settings that were chosen on another split show nothing".into(),
        }
        .into()),
        _ => Ok(()),
    }
}

/// Refuses frames per utterance where a model reads one row per utterance.
fn check_turns(data: &DataConfig) -> Result<()> {
    for (modality, length) in data.lengths.iter() {
        let key = format!("data.lengths.{modality}");
        if *length > 0 {
            return Err(NnError::ConfigRange {
                key,
                value: length.to_string(),
                expected: "0, because the model reads the mean of all frames of an utterance"
                    .into(),
            }
            .into());
        }
    }
    Ok(())
}

/// Refuses a model that cannot learn what is asked for.
fn check_task(model: &ModelConfig, task: Task) -> Result<()> {
    let info = model.info();
    if info.tasks.contains(&task.kind()) {
        return Ok(());
    }
    let what = task.kind().targets();
    Err(NnError::Corpus {
        reason: format!("`{}` does not learn {what}", info.id),
        hint: format!(
            "choose a model with the task `{}`; `trimer models ID` tells a model's tasks",
            task.kind()
        ),
    }
    .into())
}

/// Refuses to start a run whose selection could never choose an epoch.
fn check_selection(
    data: &DataConfig,
    train: &TrainConfig,
    task: Task,
    corpus: &Corpus,
    input: &InputSpec,
    columns: HeadMap<Head>,
) -> Result<()> {
    let head = train.select_head;
    if head
        .modality()
        .is_some_and(|m| !input.modalities().contains(m))
    {
        return Err(NnError::ConfigRange {
            key: "train.select_head".into(),
            value: format!("\"{head}\""),
            expected: format!("a head of the model, which reads `{}`", input.modalities()),
        }
        .into());
    }
    let column = *columns.get(head);
    let split = train.select_on.split();
    let held_out = data.valid_from_train > 0.0 && split == Split::Valid;
    let labelled = if held_out {
        let rows = parts::rows(data, task, corpus).valid;
        let of = |split: &Split| labelled_rows(corpus, *split, task, column);
        let known: Vec<usize> = data.fit_on.splits().iter().flat_map(of).collect();
        known.iter().any(|row| rows.contains(row))
    } else {
        !labelled_rows(corpus, split, task, column).is_empty()
    };
    let split = if held_out {
        "held-out part of the".to_owned()
    } else {
        format!("{split} split of the")
    };
    if train.select == Select::Best && !labelled {
        return Err(NnError::Corpus {
            reason: format!(
                "no utterance of the {split} corpus `{}` has a {column} {}: there is nothing to select on",
                corpus.info().name,
                if task == Task::Regression { "score" } else { "label" },
            ),
            hint: "label it, keep the last epoch with `train.select=last`, or select by another head with `train.select_head=text`".into(),
        }.into());
    }
    Ok(())
}

fn choose_task(corpus: &Corpus, choice: TaskChoice) -> Result<(Task, Vec<String>, Vec<f32>)> {
    let space = &corpus.info().label_space;
    let lacks = |what: &str, hint: &str| {
        Err(NnError::Corpus {
            reason: format!("the corpus `{}` has {what}", corpus.info().name),
            hint: hint.into(),
        }
        .into())
    };
    match (choice, &space.classes[..], space.score) {
        (TaskChoice::Auto | TaskChoice::Classification, [_, _, ..], _) => {
            let n_classes = space.classes.len();
            Ok((
                Task::Classification { n_classes },
                space.classes.clone(),
                Vec::new(),
            ))
        }
        (TaskChoice::Auto | TaskChoice::Regression, _, Some(range)) => {
            Ok((Task::Regression, Vec::new(), range.to_vec()))
        }
        (TaskChoice::Binary, _, _) | (TaskChoice::Auto, [], None) if !space.binary.is_empty() => {
            let n_labels = space.binary.len();
            let task = Task::MultiBinary { n_labels };
            Ok((task, space.binary.clone(), Vec::new()))
        }
        (TaskChoice::Binary, _, _) => lacks(
            "no yes/no labels",
            "predict classes with `data.task=classification`, or scores with `data.task=regression`",
        ),
        (TaskChoice::Classification, [], Some(_)) => lacks(
            "scores but no classes",
            "predict scores with `data.task=regression`, or import with `import.classes=5`",
        ),
        (TaskChoice::Regression, _, None) => lacks(
            "no scores",
            "predict classes with `data.task=classification`, or fill the column `score` and import again",
        ),
        (TaskChoice::Auto | TaskChoice::Classification, [only], _) => lacks(
            &format!("only one class, `{only}`: there is nothing to tell apart"),
            "import it with labels of two classes or more",
        ),
        (TaskChoice::Auto | TaskChoice::Classification, [], _) => lacks(
            "no labels that a model can learn",
            "it needs classes, scores, or yes/no labels (`data.task=binary`)",
        ),
    }
}
