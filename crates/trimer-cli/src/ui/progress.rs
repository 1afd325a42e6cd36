//! What is going on: bars and live tables on a terminal, lines elsewhere.
#![allow(clippy::print_stderr, reason = "the modules of `ui` alone print")]

use super::print::{note, warn};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Write as _;
use std::io::IsTerminal;
use trimer_core::Head;
use trimer_study::{RunEvent, StudyObserver};
use trimer_train::{EpochReport, Observer, StepReport};

/// A bar over `total` things on a terminal; nothing elsewhere.
pub(crate) fn bar(total: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed} left {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what.to_owned());
    bar
}

/// Shows training: a bar on a terminal, a line per epoch everywhere.
pub(crate) struct TrainingView {
    bar: Option<ProgressBar>,
    /// What the selecting split and metric are called.
    pub(crate) selector: String,
}

impl TrainingView {
    pub(crate) fn new(selector: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style =
                ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {msg} left {eta}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self {
            bar,
            selector: selector.to_owned(),
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Observer for TrainingView {
    fn message(&mut self, text: &str) {
        self.line(text);
    }

    fn warning(&mut self, text: &str) {
        self.line(&format!("warning: {text}"));
    }

    fn step(&mut self, report: &StepReport) {
        let Some(bar) = &self.bar else { return };
        let done = (report.epoch - 1) * report.steps_per_epoch + report.step;
        bar.set_length((report.epochs * report.steps_per_epoch) as u64);
        bar.set_prefix(format!(
            "seed {} epoch {}/{}",
            report.seed, report.epoch, report.epochs
        ));
        let mut losses = String::from("loss");
        for head in Head::ALL {
            if let Some(loss) = report.losses.get(head) {
                let _ = write!(losses, " {head} {loss:.3}");
            }
        }
        bar.set_message(format!("{losses} {:.0} utterances/s", report.samples_per_s));
        bar.set_position(done as u64);
    }

    fn epoch(&mut self, seed: u64, report: &EpochReport) {
        let valid = report
            .selector
            .map_or_else(String::new, |v| format!("  {} {v:.4}", self.selector));
        let star = if report.is_best { " *" } else { "" };
        self.line(&format!(
            "seed {seed}  epoch {:>3}  loss {:.4}{valid}{star}  {:.0} utterances/s",
            report.epoch, report.train_loss, report.samples_per_s
        ));
    }
}

/// Notes what a study is doing, a line each.
pub(crate) struct Notes;

impl StudyObserver for Notes {
    fn message(&mut self, text: &str) {
        note(text);
    }

    fn warning(&mut self, text: &str) {
        warn(text);
    }
}

/// Shows what a study is doing on a bar.
pub(crate) struct StageBar(ProgressBar);

impl StageBar {
    pub(crate) fn new(what: &str) -> Self {
        Self(bar(0, what))
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl StudyObserver for StageBar {
    fn message(&mut self, text: &str) {
        self.0.set_message(text.to_owned());
        self.0.tick();
    }
}

/// A bar over the conditions of a study.
#[derive(Default)]
pub(crate) struct ConditionBar(Option<ProgressBar>);

impl StudyObserver for ConditionBar {
    fn progress(&mut self, done: usize, total: usize) {
        let bar = self
            .0
            .get_or_insert_with(|| bar(total as u64, "conditions"));
        bar.set_position(done as u64);
        if done == total {
            bar.finish_and_clear();
        }
    }
}

impl Drop for ConditionBar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// What is being done at the same time, one row each: a live table on a terminal, a line per end
/// elsewhere.
#[derive(Default)]
pub(crate) struct Board {
    bars: Option<(MultiProgress, Vec<ProgressBar>)>,
    names: Vec<String>,
}

impl Board {
    /// What is being done now.
    fn set(&self, at: usize, text: &str) {
        if let Some((_, rows)) = &self.bars {
            rows[at].set_message(text.to_owned());
        }
    }

    /// How it ended.
    fn end(&self, at: usize, text: &str) {
        self.set(at, text);
        if self.bars.is_none() {
            eprintln!("{}: {text}", self.names[at]);
        }
    }

    /// Tells of a doubt.
    fn doubt(&self, at: usize, text: &str) {
        let line = format!("warning: {}: {text}", self.names[at]);
        match &self.bars {
            Some((all, _)) => all.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

impl StudyObserver for Board {
    fn message(&mut self, text: &str) {
        note(text);
    }

    fn warning(&mut self, text: &str) {
        warn(text);
    }

    fn runs_begin(&mut self, names: &[&str]) {
        let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
        self.names = names.iter().map(|n| (*n).to_owned()).collect();
        self.bars = std::io::stderr().is_terminal().then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix}  {msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            let rows = names.iter().map(|name| {
                let bar = all.add(ProgressBar::new(1));
                bar.set_style(style.clone());
                bar.set_prefix(format!("{name:width$}"));
                bar.set_message("waits");
                bar
            });
            let rows: Vec<ProgressBar> = rows.collect();
            (all, rows)
        });
    }

    fn run(&mut self, at: usize, event: &RunEvent<'_>) {
        match event {
            RunEvent::Warning(text) => self.doubt(at, text),
            RunEvent::Step { report, seed } => self.set(
                at,
                &format!(
                    "seed {} ({}/{})  epoch {}/{}  step {}/{}  {:.0} utterances/s",
                    seed.seed,
                    seed.number,
                    seed.of,
                    report.epoch,
                    report.epochs,
                    report.step,
                    report.steps_per_epoch,
                    report.samples_per_s
                ),
            ),
            RunEvent::Epoch { report, seed } => {
                let value = report
                    .selector
                    .map_or_else(String::new, |v| format!("  valid {v:.4}"));
                let (number, of) = (seed.number, seed.of);
                let epoch = report.epoch;
                let text = format!("seed {} ({number}/{of})  epoch {epoch}{value}", seed.seed);
                self.set(at, &text);
            }
            RunEvent::Trained => self.end(at, "trained"),
            RunEvent::Interrupted => self.end(at, "interrupted"),
            RunEvent::Failed(error) => self.end(at, &format!("failed: {error}")),
            _ => {}
        }
    }

    fn runs_end(&mut self) {
        if let Some((_, rows)) = &self.bars {
            rows.iter().for_each(ProgressBar::abandon);
        }
    }
}
