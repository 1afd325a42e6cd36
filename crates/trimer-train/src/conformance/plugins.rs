//! Plug-ins on models, and their settings.

use super::plugin_steps::{resumes, two_steps};
use super::report::{Fault, Tally, ensure};
use super::settings::{refused, with_a_surplus_key};
use super::subject::Subject;
use crate::error::TrainError;
use crate::plugins::{self, Chain, PluginConfig, PluginInfo};
use burn::tensor::Device;
use trimer_core::Hint;
use trimer_nn::models::{AnyModel, Task};

/// The configuration of a plug-in that is tried: its trial, [`crate::plugins::PluginConfigOf::trial`].
pub(super) fn trial(info: &'static PluginInfo) -> Result<PluginConfig, Fault> {
    const LOOK: &str = "`PluginConfigOf::trial` and `preset`";
    let fault = |found| Fault::new(LOOK, found).of("steps", info.id);
    let config = plugins::trial(info.id).map_err(|e| fault(e.to_string()))?;
    let config = config.ok_or_else(|| fault("there is no configuration to try".into()))?;
    let checked = config.check();
    checked.map_err(|e| fault(format!("the trial is refused: {e}")))?;
    Ok(config)
}

/// Why the plug-in cannot be applied to the model; `None` where it can. A refusal names both and says what
/// to do.
fn refusal(
    config: &PluginConfig,
    subject: &Subject,
    task: Task,
    model: &AnyModel,
) -> Result<Option<String>, Fault> {
    const LOOK: &str = "`TrainPlugin::check`: refusals are made by `trimer::plugins::refuse`";
    let batch = subject.batch(1, 0.0, &Device::flex());
    let chain = Chain::new(
        std::slice::from_ref(config),
        subject.input().modalities(),
        task,
    );
    match chain.check(model, &batch) {
        Ok(()) => Ok(None),
        Err(error @ TrainError::Plugin { .. }) => {
            let text = error.to_string();
            ensure!(
                text.contains(config.info().id) && text.contains(subject.info().id),
                LOOK,
                "the refusal does not name the plug-in and the model: {text}"
            );
            ensure!(
                error.hint().is_some_and(|hint| !hint.is_empty()),
                LOOK,
                "the refusal says not what to do: {text}"
            );
            Ok(Some(text))
        }
        Err(other) => Err(Fault::new(LOOK, format!("it is no refusal: {other}"))),
    }
}

/// Whether a plug-in can be applied to a subject.
///
/// # Errors
/// An unknown plug-in, and refusals that do not say enough.
pub fn accepts(plugin: &str, subject: &Subject) -> Result<bool, Fault> {
    let info = plugins::plugins().into_iter().find(|p| p.id == plugin);
    let unknown = || {
        Fault::new(
            "`trimer::plugins::register`",
            format!("no plug-in `{plugin}`"),
        )
    };
    let config = trial(info.ok_or_else(unknown)?)?;
    let task = subject.main_task();
    let model = subject.build(task, &Device::flex())?;
    Ok(refusal(&config, subject, task, &model)?.is_none())
}

/// The plug-ins that take this model; refusals are noted.
fn fitting(
    subject: &Subject,
    task: Task,
    model: &AnyModel,
    tally: &mut Tally,
) -> Result<Vec<PluginConfig>, Fault> {
    let mut all = Vec::new();
    for info in plugins::plugins() {
        let config = trial(info)?;
        match refusal(&config, subject, task, model)? {
            None => all.push(config),
            Some(why) => tally.skip(why),
        }
    }
    ensure!(
        all.is_empty() || !subject.is_closed_form(),
        "`TrainPlugin::check`",
        "the plug-in `{}` is applied to a model without gradients",
        all.first().map_or("", |config| config.info().id)
    );
    Ok(all)
}

fn only_default(subject: &Subject, tally: &mut Tally) -> bool {
    if !subject.is_default() {
        tally.skip("plug-ins are tried with the default preset");
    }
    subject.is_default()
}

/// Every plug-in takes two steps with the model, alone, or says why not.
pub(super) fn each_plugin(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    if !only_default(subject, tally) {
        return Ok(());
    }
    let task = subject.main_task();
    let model = subject.build_moved(task, &Device::flex().autodiff())?;
    for config in fitting(subject, task, &model, tally)? {
        two_steps(&[config], subject, task, &model)?;
        tally.held();
    }
    Ok(())
}

/// All plug-ins that take the model take two steps together, for every task.
pub(super) fn all_plugins(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    if !only_default(subject, tally) {
        return Ok(());
    }
    for task in subject.tasks() {
        let model = subject.build_moved(task, &Device::flex().autodiff())?;
        let configs = fitting(subject, task, &model, tally)?;
        if !configs.is_empty() {
            two_steps(&configs, subject, task, &model)?;
            tally.held();
        }
    }
    Ok(())
}

/// With all plug-ins together, a training that was interrupted after every step ends with the weights of one
/// that was not.
pub(super) fn plugin_states(subject: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    if !only_default(subject, tally) {
        return Ok(());
    }
    let task = subject.main_task();
    let model = subject.build_moved(task, &Device::flex().autodiff())?;
    let configs = fitting(subject, task, &model, tally)?;
    if !configs.is_empty() {
        resumes(&configs, subject, &model)?;
        tally.held();
    }
    Ok(())
}

/// One plug-in alone on one model.
pub(super) fn steps(config: &PluginConfig, host: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    let task = host.main_task();
    let model = host.build_moved(task, &Device::flex().autodiff())?;
    if let Some(why) = refusal(config, host, task, &model)? {
        tally.skip(why);
        return Ok(());
    }
    two_steps(std::slice::from_ref(config), host, task, &model)?;
    tally.held();
    Ok(())
}

/// The state of one plug-in alone on one model.
pub(super) fn state(config: &PluginConfig, host: &Subject, tally: &mut Tally) -> Result<(), Fault> {
    let task = host.main_task();
    let model = host.build_moved(task, &Device::flex().autodiff())?;
    if let Some(why) = refusal(config, host, task, &model)? {
        tally.skip(why);
        return Ok(());
    }
    resumes(std::slice::from_ref(config), host, &model)?;
    tally.held();
    Ok(())
}

/// The registry entry is complete, every preset survives TOML, and unknown keys and presets are refused.
pub(super) fn settings(
    info: &'static PluginInfo,
    _: &PluginConfig,
    tally: &mut Tally,
) -> Result<(), Fault> {
    const LOOK: &str =
        "`PluginConfigOf::preset`, `check`, and `Serialize` and `Deserialize` of the configuration";
    let fault = |what: &str, e: &dyn std::error::Error| Fault::new(LOOK, format!("{what}: {e}"));
    for (field, text) in [("title", info.title), ("summary", info.summary)] {
        ensure!(
            !text.trim().is_empty(),
            "`PluginInfo`",
            "`{field}` is empty"
        );
    }
    let with = |key: &str, value: &str| {
        let table = toml::Table::from_iter([(key.to_owned(), value.to_owned().into())]);
        PluginConfig::resolve(info.id, &table)
    };
    for preset in info.presets {
        let what = format!("the preset `{preset}`");
        let config = with("preset", preset).map_err(|e| fault(&what, &e))?;
        let text = toml::to_string(&config).map_err(|e| fault(&what, &e))?;
        let back: PluginConfig = toml::from_str(&text).map_err(|e| fault(&what, &e))?;
        ensure!(back == config, LOOK, "{what} was read again as {back:?}");
        ensure!(
            config.build().info().id == info.id,
            "`TrainPlugin::info`",
            "{what} builds the plug-in `{}`",
            config.build().info().id
        );
        let table = toml::Table::try_from(&config).map_err(|e| fault(&what, &e))?;
        for (place, surplus) in with_a_surplus_key(&table) {
            let read = toml::Value::Table(surplus).try_into::<PluginConfig>();
            refused(&place, read.map_err(|e| e.to_string()))?;
            tally.held();
        }
    }
    for key in ["preset", "no_such_key"] {
        ensure!(
            with(key, "no_such_value").is_err(),
            LOOK,
            "`{key} = \"no_such_value\"` is taken"
        );
    }
    Ok(())
}
