//! What a run loses without a modality, without frames, and in noise.

use crate::error::{Result, StudyError};
use crate::evaluation::{about, heads_json, main_metrics};
use crate::observer::StudyObserver;
use serde::Serialize;
use serde_json::{Map, Value, json};
use trimer_core::corpus::{Corpus, Split};
use trimer_core::metrics::{EvaluationOptions, Metrics};
use trimer_core::{Head, HeadMap, ModalitySet};
use trimer_nn::burn::tensor::Device;
use trimer_train::RunDir;
use trimer_train::data::corrupt::{Corruption, subsets};
use trimer_train::run::Protocol;

/// Shares of the frames that are lost unless told otherwise.
pub const FRAME_LOSS: [f64; 3] = [0.1, 0.3, 0.5];
/// Ratios of signal to noise power in decibels that are tried unless told otherwise.
pub const SNR: [f64; 3] = [20.0, 10.0, 0.0];

/// Which losses are tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Shares of the frames, 0 to 1.
    pub frame_loss: Vec<f64>,
    /// Ratios of signal to noise power in decibels, -60 to 100.
    pub snr: Vec<f64>,
    /// What is lost follows from it.
    pub seed: u64,
}

impl Default for Grid {
    fn default() -> Self {
        Self {
            frame_loss: FRAME_LOSS.to_vec(),
            snr: SNR.to_vec(),
            seed: 0,
        }
    }
}

impl Grid {
    /// Subsets first, then frame loss, then noise, each with all modalities.
    ///
    /// # Errors
    /// Names the loss that is out of range.
    pub fn corruptions(&self, present: ModalitySet) -> Result<Vec<Corruption>> {
        let refuse = |key, value: f64, expected: &str| {
            Err(StudyError::Range {
                key,
                value: value.to_string(),
                expected: expected.to_owned(),
                hint: "several values are divided by commas: `frame_loss=0.2,0.5`".into(),
            })
        };
        let base = Corruption {
            keep: present,
            seed: self.seed,
            ..Corruption::NONE
        };
        let mut all: Vec<Corruption> = subsets(present)
            .into_iter()
            .map(|keep| Corruption { keep, ..base })
            .collect();
        for &frame_loss in &self.frame_loss {
            if !(0.0..=1.0).contains(&frame_loss) {
                return refuse("frame_loss", frame_loss, "0 to 1");
            }
            all.push(Corruption { frame_loss, ..base });
        }
        for &snr in &self.snr {
            if !(-60.0..=100.0).contains(&snr) {
                return refuse("snr", snr, "-60 to 100 decibels");
            }
            all.push(Corruption {
                snr_db: Some(snr),
                ..base
            });
        }
        Ok(all)
    }
}

/// One way of seeing the split, and what came of it.
#[derive(Debug, Clone)]
pub struct Case {
    /// What was taken away or added.
    pub corruption: Corruption,
    /// Metrics of the heads whose modality is there.
    pub heads: HeadMap<Option<Metrics>>,
}

/// A case as JSON.
#[derive(Debug, Serialize)]
struct CaseJson {
    /// Modalities that the model got.
    keep: ModalitySet,
    /// Share of the frames that were lost.
    frame_loss: f64,
    /// Ratio of signal to noise power in decibels; absent without noise.
    snr_db: Option<f64>,
    /// Metrics of the heads whose modality is there.
    heads: Map<String, Value>,
}

impl Case {
    /// Evaluates a run under one condition.
    pub(crate) fn evaluate(
        run: &RunDir,
        corpus: &Corpus,
        split: Split,
        corruption: Corruption,
        device: &Device,
        options: &EvaluationOptions,
    ) -> Result<Self> {
        let mut heads = run.evaluate_corrupted(corpus, split, &corruption, device, options)?;
        for head in Head::ALL {
            let is_gone = |m| !corruption.keep.contains(m);
            if head.modality().is_some_and(is_gone) {
                *heads.get_mut(head) = None;
            }
        }
        Ok(Self { corruption, heads })
    }

    fn json(&self) -> CaseJson {
        CaseJson {
            keep: self.corruption.keep,
            frame_loss: self.corruption.frame_loss,
            snr_db: self.corruption.snr_db,
            heads: heads_json(&self.heads),
        }
    }

    /// Modalities, frame loss and noise in words; `-` without.
    pub fn names(&self, present: ModalitySet) -> [String; 3] {
        let corruption = &self.corruption;
        let kept = present.iter().filter(|m| corruption.keep.contains(*m));
        let kept: ModalitySet = kept.collect();
        [
            kept.to_string(),
            if corruption.frame_loss > 0.0 {
                format!("{:.0} %", 100.0 * corruption.frame_loss)
            } else {
                "-".into()
            },
            corruption
                .snr_db
                .map_or_else(|| "-".into(), |snr| format!("{snr} dB")),
        ]
    }
}

/// Evaluates a run with less than it was trained on: every subset of its modalities, frame loss,
/// Gaussian noise.
///
/// ```no_run
/// use trimer_train::RunDir;
/// use trimer_study::{Robustness, Unwatched, robustness::Grid};
///
/// let run = RunDir::open("runs/small-lfmim-1".as_ref())?;
/// let corpus = run.open_corpus()?;
/// let report = Robustness::new(&run, &corpus)
///     .grid(Grid { frame_loss: vec![0.5], ..Grid::default() })
///     .run(&mut Unwatched)?;
/// for case in &report.cases {
///     println!("{:?} {:?}", case.names(report.present), case.heads.multimodal);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Robustness<'a> {
    run: &'a RunDir,
    corpus: &'a Corpus,
    split: Split,
    grid: Grid,
    device: Device,
    options: EvaluationOptions,
}

impl<'a> Robustness<'a> {
    /// A run on the test split of a corpus.
    pub fn new(run: &'a RunDir, corpus: &'a Corpus) -> Self {
        Self {
            run,
            corpus,
            split: Split::Test,
            grid: Grid::default(),
            device: Device::flex(),
            options: EvaluationOptions::default(),
        }
    }

    /// The split that the run is evaluated on.
    pub const fn split(mut self, split: Split) -> Self {
        self.split = split;
        self
    }

    /// Which losses are tried.
    pub fn grid(mut self, grid: Grid) -> Self {
        self.grid = grid;
        self
    }

    /// Where to compute.
    pub fn device(mut self, device: &Device) -> Self {
        self.device = device.clone();
        self
    }

    /// How intervals are made.
    pub fn evaluation(mut self, options: EvaluationOptions) -> Self {
        self.options = options;
        self
    }

    /// Evaluates every condition. That the split is opened is noted by the caller.
    ///
    /// # Errors
    /// When the corpus lacks a modality of the run, a loss is out of range, or the run cannot be
    /// evaluated.
    pub fn run(&self, observer: &mut dyn StudyObserver) -> Result<RobustnessReport> {
        let present = self.run.config.input.modalities();
        if let Some(missing) = self.run.missing_modalities(self.corpus).iter().next() {
            return Err(StudyError::refused(
                format!(
                    "the corpus `{}` has no {missing} features to take away",
                    self.corpus.info().name
                ),
                "evaluate on the corpus that the run was trained on",
            ));
        }
        let corruptions = self.grid.corruptions(present)?;
        let total = corruptions.len();
        let mut cases = Vec::new();
        for (i, corruption) in corruptions.into_iter().enumerate() {
            observer.progress(i, total);
            cases.push(Case::evaluate(
                self.run,
                self.corpus,
                self.split,
                corruption,
                &self.device,
                &self.options,
            )?);
        }
        observer.progress(total, total);
        Ok(RobustnessReport {
            present,
            metrics: main_metrics(self.run.config.task),
            corruption_seed: self.grid.seed,
            protocol: self.run.protocol()?,
            about: about(self.run, self.corpus, self.split),
            cases,
        })
    }
}

/// What a run loses.
#[derive(Debug, Clone)]
pub struct RobustnessReport {
    /// The modalities that the run reads.
    pub present: ModalitySet,
    /// The two metrics of overviews.
    pub metrics: [&'static str; 2],
    /// What was lost follows from it.
    pub corruption_seed: u64,
    /// Which split was used for what.
    pub protocol: Protocol,
    /// One entry per condition.
    pub cases: Vec<Case>,
    about: Map<String, Value>,
}

impl RobustnessReport {
    /// All conditions with all metrics.
    ///
    /// # Errors
    /// When a value cannot be written as JSON.
    pub fn to_json(&self) -> Result<Value> {
        let mut all = Map::new();
        all.insert("stamp".into(), json!(self.protocol.warning_banner()));
        all.insert("protocol".into(), serde_json::to_value(&self.protocol)?);
        all.extend(self.about.clone());
        all.insert("corruption_seed".into(), self.corruption_seed.into());
        let cases: Vec<CaseJson> = self.cases.iter().map(Case::json).collect();
        all.insert("cases".into(), serde_json::to_value(cases)?);
        Ok(all.into())
    }
}
