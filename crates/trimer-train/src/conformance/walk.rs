//! Runs checks on whatever is registered, and collects what they find.

use super::checks::{CHECKS, Check, PLUGIN_CHECKS, PluginCheck, PluginRun};
use super::report::{self, Entry, Fault, Faults, Report};
use super::{plugins, subject::Subject};
use crate::plugins::PluginInfo;
use trimer_nn::models::{ModelInfo, model_info, models};

impl Check {
    /// Runs the check on one subject.
    ///
    /// # Errors
    /// What it found wrong first.
    pub fn run(&self, subject: &Subject) -> Result<Entry, Fault> {
        report::run(self.id, subject.name(), |tally| (self.run)(subject, tally))
    }

    /// Runs the check on every preset of every registered model.
    ///
    /// # Errors
    /// Everything that it found wrong.
    pub fn walk(&self) -> Result<Report, Faults> {
        let mut found = Found::default();
        for info in models() {
            for subject in found.subjects_of(info) {
                found.note(self.run(&subject));
            }
        }
        found.end("every model")
    }
}

impl PluginCheck {
    /// Runs the check on one plug-in and, where the check says so, on each host.
    fn run(&self, info: &'static PluginInfo, hosts: &[Subject], found: &mut Found) {
        let config = match plugins::trial(info) {
            Ok(config) => config,
            Err(fault) => return found.note(Err(fault)),
        };
        match self.run {
            PluginRun::Alone(run) => {
                found.note(report::run(self.id, info.id, |tally| {
                    run(info, &config, tally)
                }));
            }
            PluginRun::OnModels(run) => {
                let (mut taken, mut faults) = (0, 0);
                for host in hosts {
                    let name = format!("{} on {}", info.id, host.name());
                    let entry = report::run(self.id, &name, |tally| run(&config, host, tally));
                    match &entry {
                        Ok(entry) => taken += entry.cases,
                        Err(_) => faults += 1,
                    }
                    found.note(entry);
                }
                if taken + faults == 0 {
                    let fault = Fault::new("`TrainPlugin::check`", "no model takes it".into());
                    found.note(Err(fault.of(self.id, info.id)));
                }
            }
        }
    }

    /// Runs the check on every registered plug-in.
    ///
    /// # Errors
    /// Everything that it found wrong.
    pub fn walk(&self) -> Result<Report, Faults> {
        let mut found = Found::default();
        let hosts = found.hosts();
        for info in crate::plugins::plugins() {
            self.run(info, &hosts, &mut found);
        }
        found.end("every plug-in")
    }
}

/// Puts a registered model through all of [`CHECKS`].
///
/// # Errors
/// Everything that was found wrong, and what holds nevertheless; an id that nobody registered.
pub fn check_model(id: &str) -> Result<Report, Faults> {
    let mut found = Found::default();
    match model_info(id) {
        Ok(info) => {
            for subject in found.subjects_of(info) {
                for check in CHECKS {
                    found.note(check.run(&subject));
                }
            }
        }
        Err(error) => found.unregistered(id, "`trimer::models::register`", error.to_string()),
    }
    found.end(id)
}

/// Puts a registered plug-in through all of [`PLUGIN_CHECKS`], on every registered model.
///
/// # Errors
/// Everything that was found wrong, and what holds nevertheless; an id that nobody registered.
pub fn check_plugin(id: &str) -> Result<Report, Faults> {
    let mut found = Found::default();
    let info = crate::plugins::plugins().into_iter().find(|p| p.id == id);
    if let Some(info) = info {
        let hosts = found.hosts();
        for check in PLUGIN_CHECKS {
            check.run(info, &hosts, &mut found);
        }
    } else {
        let what = format!("there is no plug-in `{id}`");
        found.unregistered(id, "`trimer::plugins::register`", what);
    }
    found.end(id)
}

/// What a walk has found so far.
#[derive(Default)]
struct Found {
    report: Report,
    faults: Vec<Fault>,
}

impl Found {
    fn note(&mut self, entry: Result<Entry, Fault>) {
        match entry {
            Ok(entry) => self.report.entries.push(entry),
            Err(fault) if self.faults.contains(&fault) => {}
            Err(fault) => self.faults.push(fault),
        }
    }

    /// The presets of a model; those that cannot be made are faults.
    fn subjects_of(&mut self, info: &'static ModelInfo) -> Vec<Subject> {
        let mut subjects = Vec::new();
        for preset in info.presets {
            match Subject::new(info, preset) {
                Ok(subject) => subjects.push(subject),
                Err(fault) => self.faults.push(fault),
            }
        }
        subjects
    }

    fn hosts(&mut self) -> Vec<Subject> {
        Subject::hosts().unwrap_or_else(|fault| {
            self.faults.push(fault);
            Vec::new()
        })
    }

    fn unregistered(&mut self, id: &str, look_at: &'static str, what: String) {
        self.note(Err(Fault::new(look_at, what).of("registry", id)));
    }

    fn end(self, id: &str) -> Result<Report, Faults> {
        let Self { report, mut faults } = self;
        if faults.is_empty() && report.entries.is_empty() {
            let nothing = Fault::new("the registry", "there was nothing to look at".into());
            faults.push(nothing.of("registry", id));
        }
        if faults.is_empty() {
            return Ok(report);
        }
        Err(Faults {
            id: id.to_owned(),
            faults,
            report,
        })
    }
}
