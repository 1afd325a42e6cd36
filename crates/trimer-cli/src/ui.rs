//! Everything that is printed: data to stdout, everything else to stderr.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this file alone prints"
)]

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use trimer_core::corpus::CorpusError;
use trimer_core::corpus::synth::SynthError;
use trimer_core::import::ImportError;
use trimer_core::io::WriteError;
use trimer_core::labels::LabelError;
use trimer_core::metrics::MetricError;
use trimer_core::store::npy::NpyError;
use trimer_core::store::npz::NpzError;
use trimer_core::store::pickle::PickleError;
use trimer_core::store::torch::TorchError;
use trimer_core::{Head, Hint};
use trimer_nn::NnError;
use trimer_report::ReportError;
use trimer_train::{EpochReport, Observer, StepReport, TrainError};

/// Prints data, as it is, with a line end.
pub(crate) fn data(text: &str) {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush());
    if let Err(error) = written {
        // The reader has seen enough, as with `trimer models | head -1`: that is no failure.
        let code = if error.kind() == std::io::ErrorKind::BrokenPipe {
            0
        } else {
            eprintln!("error: cannot write the result to standard output: {error}");
            2
        };
        #[expect(clippy::exit, reason = "nothing is left to do without a reader")]
        std::process::exit(code);
    }
}

/// Prints a value as JSON.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> anyhow::Result<()> {
    data(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Says what is going on.
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}

/// Tells of a doubt.
pub(crate) fn warn(text: &str) {
    eprintln!("warning: {text}");
}

/// Tells why a command failed: message, causes, hint.
pub(crate) fn fail(error: &anyhow::Error) {
    eprintln!("error: {error}");
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        if text != last {
            eprintln!("  caused by: {text}");
        }
        last = text;
    }
    if let Some(hint) = error.chain().find_map(hint_of) {
        eprintln!("hint: {hint}");
    }
}

/// Writes `hint_of` from the list of errors that give hints. An error whose type was erased can only be asked by
/// its type, so that the list must be whole: a test compares it with the sources.
macro_rules! hinted {
    ($($error:ident),+ $(,)?) => {
        fn hint_of(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
            $(if let Some(error) = cause.downcast_ref::<$error>() {
                return error.hint();
            })+
            None
        }

        #[cfg(test)]
        const HINTED: &[&str] = &[$(stringify!($error)),+];
    };
}

hinted! {
    CorpusError,
    Hinted,
    ImportError,
    LabelError,
    MetricError,
    NnError,
    NpyError,
    NpzError,
    PickleError,
    ReportError,
    SynthError,
    TorchError,
    TrainError,
    WriteError,
}

/// An error of the command line itself, with its hint.
#[derive(Debug)]
pub(crate) struct Hinted {
    message: String,
    hint: String,
}

impl Hinted {
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl std::fmt::Display for Hinted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Hinted {}

impl Hint for Hinted {
    fn hint(&self) -> Option<String> {
        Some(self.hint.clone())
    }
}

/// Temporary directories are closed to others; results need not be.
pub(crate) fn readable_by_others(dir: &std::path::Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // a directory that stays closed is no reason to fail
        let _ = std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755));
    }
    #[cfg(not(unix))]
    let _ = dir;
}

/// A bar over `total` things on a terminal; nothing elsewhere.
pub(crate) fn bar(total: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed} left {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what.to_owned());
    bar
}

/// A table with aligned columns; numbers right, words left.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain([head[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = widths
                .get(column)
                .map_or(0, |w| w.saturating_sub(cell.chars().count()));
            let numeric = cell.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
                || cell.starts_with("NaN");
            if column > 0 {
                line.push_str("  ");
            }
            if numeric && column > 0 {
                line.push_str(&" ".repeat(pad));
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&" ".repeat(pad));
            }
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
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

/// What is being done at the same time, one row each: a live table on a terminal, a line per start
/// and end elsewhere.
pub(crate) struct Board {
    bars: Option<(MultiProgress, Vec<ProgressBar>)>,
    names: Vec<String>,
}

impl Board {
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let names: Vec<String> = names.map(str::to_owned).collect();
        let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
        let bars = std::io::stderr().is_terminal().then(|| {
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
        Self { bars, names }
    }

    pub(crate) fn row(&self, at: usize) -> BoardRow<'_> {
        BoardRow { board: self, at }
    }

    pub(crate) fn finish(&self) {
        if let Some((_, rows)) = &self.bars {
            rows.iter().for_each(ProgressBar::abandon);
        }
    }
}

/// One row of a [`Board`].
pub(crate) struct BoardRow<'a> {
    board: &'a Board,
    at: usize,
}

impl BoardRow<'_> {
    /// What is being done now.
    pub(crate) fn set(&self, text: &str) {
        if let Some((_, rows)) = &self.board.bars {
            rows[self.at].set_message(text.to_owned());
        }
    }

    /// How it ended.
    pub(crate) fn done(&self, text: &str) {
        self.set(text);
        if self.board.bars.is_none() {
            eprintln!("{}: {text}", self.board.names[self.at]);
        }
    }

    /// Tells of a doubt.
    pub(crate) fn warn(&self, text: &str) {
        let line = format!("warning: {}: {text}", self.board.names[self.at]);
        match &self.board.bars {
            Some((all, _)) => all.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_to_the_right() {
        let text = table(
            &["name", "n"],
            &[vec!["a".into(), "5".into()], vec!["b".into(), "12".into()]],
        );
        assert_eq!(text, "name  n\na      5\nb     12\n");
    }

    /// The types for which the sources under `folder` implement `Hint`.
    fn implementors(folder: &std::path::Path, found: &mut std::collections::BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                implementors(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let lines = text.lines().filter(|line| line.starts_with("impl"));
                let names =
                    lines.filter_map(|line| line.split_once("Hint for ")?.1.split(' ').next());
                found.extend(names.map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_error_that_gives_hints_is_asked_for_them() {
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found = std::collections::BTreeSet::new();
        implementors(&crates, &mut found);
        assert!(found.iter().eq(HINTED), "{found:?}, asked are {HINTED:?}");
    }

    #[test]
    fn a_hint_is_found_wherever_the_error_comes_from() {
        let class = || MetricError::Class {
            what: "truth",
            class: 3,
            sample: 0,
            n_classes: 2,
        };
        let bare = anyhow::Error::from(class());
        let wrapped = anyhow::Error::from(TrainError::from(class())).context("cannot judge");
        for error in [bare, wrapped] {
            let hint = error.chain().find_map(hint_of);
            assert!(hint.is_some_and(|h| h.contains("class list")), "{error:?}");
        }
    }
}
