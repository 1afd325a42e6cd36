//! Studies from Rust: what the command line does, done by a program.

use crate::cli::{TINY, trimer, with_corpus};
use std::fs;
use trimer::corpus::{Corpus, Split};
use trimer::prelude::Device;
use trimer::study::calibration::{self, CalibratedRun, CalibrationOptions};
use trimer::study::compare::{CompareOptions, System, compare_runs};
use trimer::study::explain::ExplainOptions;
use trimer::study::report::run::{ReportOptions, ReportedRun};
use trimer::study::robustness::Grid;
use trimer::study::tune::Method;
use trimer::study::{
    Comparison, Robustness, RunEvent, StudyObserver, Tuner, Unwatched, evaluation, explain, report,
};
use trimer::train::RunDir;
use trimer::{Head, Hint};

/// Settings with which a training takes a fraction of a second.
fn tiny() -> impl Iterator<Item = &'static str> {
    TINY.split_whitespace().filter(|word| *word != "--set")
}

/// What an observer is told.
#[derive(Default)]
struct Told {
    names: Vec<String>,
    steps: usize,
    epochs: usize,
    trained: Vec<usize>,
}

impl StudyObserver for Told {
    fn runs_begin(&mut self, names: &[&str]) {
        self.names = names.iter().map(|n| (*n).to_owned()).collect();
    }

    fn run(&mut self, at: usize, event: &RunEvent<'_>) {
        match event {
            RunEvent::Step { .. } => self.steps += 1,
            RunEvent::Epoch { seed, .. } => {
                assert!((1..=seed.of).contains(&seed.number));
                self.epochs += 1;
            }
            RunEvent::Trained => self.trained.push(at),
            _ => {}
        }
    }
}

#[test]
fn a_program_compares_as_the_command_does() {
    let dir = with_corpus(60);
    let at = dir.path();
    let corpus = Corpus::open(at.join("c")).unwrap();
    let mut comparison = Comparison::new(&corpus)
        .system("lfmim")
        .system_with(System::new("lfmim").named("text head").head(Head::Text))
        .system_with(
            System::new("lfmim")
                .named("one label")
                .set("train.unimodal_labels=multimodal"),
        )
        .set("train.epochs=2")
        .seeds(2)
        .jobs(2)
        .out(at.join("program"));
    for set in tiny() {
        comparison = comparison.set(set);
    }
    let mut told = Told::default();
    let found = comparison.run(&mut told).unwrap();
    // Equal settings are trained once.
    assert_eq!(told.names, ["lfmim", "one label"]);
    told.trained.sort_unstable();
    assert_eq!(told.trained, [0, 1]);
    assert_eq!(told.epochs, 2 * 2 * 2);
    assert!(told.steps > told.epochs);

    let rows = "[[row]]\nmodel = \"lfmim\"\n[[row]]\nname = \"text head\"\nmodel = \"lfmim\"\nhead = \"text\"\n\
                [[row]]\nname = \"one label\"\nmodel = \"lfmim\"\nset = [\"train.unimodal_labels=multimodal\"]\n";
    fs::write(at.join("rows.toml"), rows).unwrap();
    let line = format!(
        "compare --corpus c --rows rows.toml {TINY} --set train.epochs=2 --seeds 2 --jobs 2 --out tool --json"
    );
    let mut tool = trimer(at, &line).json();
    let mut program: serde_json::Value = serde_json::from_str(&found.to_json().unwrap()).unwrap();
    for all in [&mut tool, &mut program] {
        for row in all["rows"].as_array_mut().unwrap() {
            row["train_s"] = 0.into();
            row["latency_ms"] = 0.into();
        }
    }
    assert_eq!(tool, program);
    assert!(found.to_html().contains("one label") && found.to_text().contains("p (Holm)"));

    // The same runs once more, as finished ones.
    let open = |name: &str| RunDir::open(&at.join("program/runs").join(name)).unwrap();
    let runs = vec![open("lfmim"), open("one-label")];
    let again = compare_runs(runs, &corpus, &CompareOptions::default()).unwrap();
    assert_eq!(again.systems[1].values, found.systems[2].values);
    let unknown = CompareOptions {
        reference: Some("nobody".into()),
        ..CompareOptions::default()
    };
    let error = compare_runs(vec![open("lfmim")], &corpus, &unknown).unwrap_err();
    assert!(error.hint().unwrap().contains("lfmim"), "{error}");
}

#[test]
fn a_program_evaluates_breaks_calibrates_explains_and_reports() {
    let dir = with_corpus(60);
    let at = dir.path();
    let line = format!("train --corpus c {TINY} --set train.epochs=2 --out r");
    trimer(at, &line).ok();
    let run = RunDir::open(&at.join("r")).unwrap();
    let corpus = run.open_corpus().unwrap();
    let device = Device::flex();

    let evaluation = evaluation::evaluate(&run, &corpus, Split::Test, &device).unwrap();
    assert_eq!(
        evaluation.to_json().unwrap()["heads"],
        trimer(at, "eval r --json").json()["heads"]
    );

    let grid = Grid {
        frame_loss: vec![1.0],
        snr: vec![-5.0],
        seed: 0,
    };
    let robustness = Robustness::new(&run, &corpus).grid(grid);
    let broken = robustness.run(&mut Unwatched).unwrap();
    assert_eq!(broken.cases.len(), 7 + 2);
    let line = "eval r --missing --frame-loss 1 --snr=-5 --json";
    assert_eq!(
        broken.to_json().unwrap()["cases"],
        trimer(at, line).json()["cases"]
    );

    let runs = [CalibratedRun {
        run: &run,
        corpus: &corpus,
    }];
    calibration::fit(&runs, false, &device).unwrap();
    let options = CalibrationOptions {
        abstain_at: vec![0.5],
        ..CalibrationOptions::default()
    };
    let calibrated = calibration::evaluate(&runs, &options).unwrap();
    assert!(calibrated.results.multimodal.is_some());
    assert_eq!(calibration::stored([&run]).unwrap().len(), 1);
    assert!(calibration::check_targets(&[1.5]).is_err());

    let why = explain(&run, &corpus, &[0], &ExplainOptions::default()).unwrap();
    let said = trimer(at, "predict r --corpus c --explain --json").json();
    assert_eq!(why.item_json(0), said[0]["explanation"]);

    let shown = ReportedRun {
        run: &run,
        corpus: &corpus,
        name: "r".into(),
    };
    let options = ReportOptions {
        without: vec!["embedding".into()],
        ..ReportOptions::default()
    };
    let page = report(&[shown], &options, &mut Unwatched).unwrap();
    assert!(page.numbers["runs"][0]["calibration"]["multimodal"].is_object());
    assert!(page.page.render().contains("with temperature"));
}

#[test]
fn a_search_keeps_the_settings_of_plug_ins() {
    let dir = with_corpus(40);
    let at = dir.path();
    let corpus = Corpus::open(at.join("c")).unwrap();
    let mut tuner = Tuner::new(&corpus)
        .models(["lfmim"])
        .space("[ogm_ge]\nalpha = { range = [0.25, 0.75] }\n")
        .set("train.epochs=1")
        .set("ogm_ge.noise=false")
        .method(Method::Random)
        .trials(1)
        .out(at.join("out"));
    for set in tiny() {
        tuner = tuner.set(set);
    }
    let tuned = tuner.run(&mut Unwatched).unwrap();
    let recipe: toml::Table = fs::read_to_string(&tuned[0].recipe)
        .unwrap()
        .parse()
        .unwrap();
    let drawn = &tuned[0].trials[0].settings["ogm_ge"]["alpha"];
    assert_eq!(recipe["ogm_ge"]["alpha"], *drawn);
    assert_eq!(recipe["ogm_ge"]["noise"].as_bool(), Some(false));
}
