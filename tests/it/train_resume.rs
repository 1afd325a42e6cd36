//! A training that was killed, interrupted or stopped by a full disk ends like one that was not.

use crate::cli::{Ran, TINY, command, finish, trimer, with_corpus};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use trimer::corpus::Corpus;
use trimer::train::plugins::{PLUGIN_LOG, StepLine, read_plugin_log};
use trimer::train::{EpochReport, Observer, Outcome, RunDir, StepReport, train_run};

/// What a run is in the end, without times of day.
fn result(run: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut seeds: Vec<_> = fs::read_dir(run)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty());
    for seed in seeds {
        for name in [
            "last.safetensors",
            "best.safetensors",
            "calibration.json",
            "predictions-valid.parquet",
            "predictions-test.parquet",
        ] {
            let file = seed.join(name);
            all.push((
                file.strip_prefix(run).unwrap().display().to_string(),
                fs::read(file).unwrap(),
            ));
        }
        for line in read_plugin_log(&seed.join(PLUGIN_LOG)).unwrap() {
            let line = StepLine {
                wall_time: 0.0,
                ..line
            };
            all.push((PLUGIN_LOG.into(), serde_json::to_vec(&line).unwrap()));
        }
        let log = fs::read_to_string(seed.join("log.jsonl")).unwrap();
        for line in log.lines() {
            let mut report: EpochReport = serde_json::from_str(line).unwrap();
            (report.wall_time, report.samples_per_s) = (0.0, 0.0);
            all.push(("log".into(), serde_json::to_vec(&report).unwrap()));
        }
    }
    all.push((
        "metrics.json".into(),
        fs::read(run.join("metrics.json")).unwrap(),
    ));
    all
}

#[track_caller]
fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (result(a), result(b));
    assert!(
        a.iter().map(|(n, _)| n).eq(b.iter().map(|(n, _)| n)),
        "other files"
    );
    for ((name, ours), (_, theirs)) in a.iter().zip(&b) {
        assert!(ours == theirs, "{name} differs");
    }
}

/// The test split must have been opened once, however often training was cut off.
fn assert_opened_once(run: &Path) {
    let text = fs::read_to_string(run.join("protocol.json")).unwrap();
    let protocol: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        protocol["test_opened"].as_array().unwrap().len(),
        1,
        "{text}"
    );
}

/// Numbers that differ from one run of the tests to the next: where a process is killed must not
/// matter, so every run may try other places.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        println!("dice {}", now.as_nanos() as u64);
        Self(now.as_nanos() as u64)
    }

    fn below(&mut self, n: u64) -> u64 {
        // Constants of Knuth's MMIX generator.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn spawn(dir: &Path, line: &str) -> Child {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut command = command(dir, &words);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills a training at a random moment, three times, continuing it in between, then lets it end.
fn killed_three_times(sets: &str) {
    train_killed_three_times(&format!("{TINY} {sets}"));
}

/// As [`killed_three_times`], for any model.
fn train_killed_three_times(options: &str) {
    let dir = with_corpus(40);
    let at = dir.path();
    let line = format!("train --corpus c {options}");
    let start = Instant::now();
    trimer(at, &format!("{line} --out whole")).ok();
    let whole = start.elapsed();

    let mut dice = Dice::new();
    let cut = at.join("cut");
    let next = || {
        if cut.join("config.toml").is_file() {
            "train --resume cut".to_owned()
        } else {
            format!("{line} --out cut")
        }
    };
    for _ in 0..3 {
        let mut child = spawn(at, &next());
        thread::sleep(Duration::from_millis(dice.below(whole.as_millis() as u64)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    trimer(at, &next()).ok();
    assert_same(&at.join("whole"), &cut);
    assert_opened_once(&cut);
}

#[test]
fn a_run_killed_three_times_ends_with_the_same_bytes() {
    killed_three_times("--set train.epochs=6 --seeds 2 --set data.normalise=standard");
}

#[test]
fn so_does_one_with_a_checkpoint_after_every_step() {
    killed_three_times(
        "--set train.epochs=4 --seeds 2 --set train.checkpoint_steps=1 \
         --set train.schedule.shape=plateau --set train.schedule.patience=0 --set train.patience=2",
    );
}

#[test]
fn so_does_one_with_momentum() {
    killed_three_times(
        "--set train.epochs=4 --set train.checkpoint_steps=2 --set train.optimizer.rule=sgd \
         --set train.optimizer.momentum=0.9 --set train.schedule.shape=cosine --seed 5",
    );
}

#[test]
fn so_does_one_with_running_statistics() {
    train_killed_three_times(
        "--model mlf_dnn --set train.epochs=3 --set train.checkpoint_steps=1 \
         --set model.subnets.d_text=8 --set model.subnets.d_vision=8 --set train.clip_norm=0",
    );
}

#[test]
fn so_does_one_with_plugins() {
    train_killed_three_times(
        "--model mlf_dnn --set train.epochs=3 --set train.checkpoint_steps=1 --seeds 2 \
         --plugin fagm --plugin ogm_ge --plugin watch --set fagm.tau=2 --set fagm.beta=0.8 \
         --set model.subnets.d_text=8 --set model.subnets.d_vision=8",
    );
}

#[test]
fn baselines_are_fitted_at_once_and_alike_for_every_seed() {
    let dir = with_corpus(40);
    let at = dir.path();
    for model in ["majority", "logistic"] {
        let line = format!("train --corpus c --model {model} --seeds 2 --out {model}");
        trimer(at, &line).ok();
        let run = at.join(model);
        let seeds = ["seed-1", "seed-2"]
            .map(|seed| fs::read(run.join(seed).join("predictions-test.parquet")).unwrap());
        assert_eq!(seeds[0], seeds[1], "{model}");
        assert_opened_once(&run);
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Copies the run directory after every step and epoch: what a kill there would leave.
struct Photographer<'a> {
    run: &'a Path,
    album: &'a Path,
    pictures: Vec<PathBuf>,
}

impl Photographer<'_> {
    fn shoot(&mut self) {
        let picture = self.album.join(format!("p{:03}", self.pictures.len()));
        copy_dir(self.run, &picture);
        self.pictures.push(picture);
    }
}

impl Observer for Photographer<'_> {
    fn message(&mut self, _: &str) {
        self.shoot();
    }
    fn step(&mut self, _: &StepReport) {
        self.shoot();
    }
    fn epoch(&mut self, _: u64, _: &EpochReport) {
        self.shoot();
    }
}

fn resume(run: &Path, corpus: &Corpus) {
    let run = RunDir::open(run).unwrap();
    let device = trimer::nn::device::parse("cpu").unwrap().autodiff();
    let stop = AtomicBool::new(false);
    let mut observer = trimer::train::trainer::Silent;
    let outcome = train_run(&run, corpus, &device, &stop, &mut observer).unwrap();
    assert_eq!(outcome, Outcome::Finished);
}

/// Every state of the directory between two steps, and those between the files of one checkpoint.
#[test]
fn every_state_of_the_directory_can_be_continued() {
    continue_every_state("");
}

#[test]
fn so_can_those_of_a_run_with_plugins() {
    continue_every_state("--plugin fagm --set fagm.tau=3");
}

fn continue_every_state(plugins: &str) {
    let dir = with_corpus(40);
    let at = dir.path();
    let sets = format!(
        "--set train.epochs=2 --set train.checkpoint_steps=2 --set data.normalise=standard {plugins}"
    );
    trimer(at, &format!("train --corpus c {TINY} {sets} --out whole")).ok();
    let whole = at.join("whole");
    // The same run again, this time watched; the configuration is all it starts from.
    let fresh = at.join("fresh");
    copy_dir(&whole, &fresh);
    fs::remove_dir_all(fresh.join("seed-1")).unwrap();
    fs::remove_file(fresh.join("metrics.json")).unwrap();
    let protocol = fs::read_to_string(whole.join("protocol.json")).unwrap();
    let mut protocol: serde_json::Value = serde_json::from_str(&protocol).unwrap();
    protocol["test_opened"] = serde_json::json!([]);
    fs::write(fresh.join("protocol.json"), protocol.to_string()).unwrap();
    let corpus = Corpus::open(at.join("c")).unwrap();
    let run = RunDir::open(&fresh).unwrap();
    let album = at.join("album");
    let mut photographer = Photographer {
        run: &fresh,
        album: &album,
        pictures: Vec::new(),
    };
    let device = trimer::nn::device::parse("cpu").unwrap().autodiff();
    let stop = AtomicBool::new(false);
    train_run(&run, &corpus, &device, &stop, &mut photographer).unwrap();
    assert_same(&whole, &fresh);
    let pictures = photographer.pictures;
    assert!(pictures.len() >= 8, "{}", pictures.len());
    for pair in pictures.windows(2) {
        // Log and selected weights are written before the checkpoint.
        let between = at.join("between");
        copy_dir(&pair[1], &between);
        let last = |p: &Path| p.join("seed-1/last.safetensors");
        if last(&pair[0]).exists() {
            fs::copy(last(&pair[0]), last(&between)).unwrap();
        } else if last(&between).exists() {
            fs::remove_file(last(&between)).unwrap();
        }
        fs::write(between.join("seed-1/last.safetensors.partial"), b"cut off").unwrap();
        fs::write(between.join("seed-1/log.jsonl.partial"), b"{").unwrap();
        resume(&between, &corpus);
        assert_same(&whole, &between);
        fs::remove_dir_all(&between).unwrap();
        resume(&pair[0], &corpus);
        assert_same(&whole, &pair[0]);
        assert_opened_once(&pair[0]);
    }
}

/// A start that was killed before the configuration was there is no obstacle to the next one.
#[test]
fn a_start_that_was_cut_off_can_be_repeated() {
    let dir = with_corpus(40);
    let at = dir.path();
    let line = format!("train --corpus c {TINY} --set train.epochs=1");
    trimer(at, &format!("{line} --out whole")).ok();
    let cut = at.join("cut");
    fs::create_dir(&cut).unwrap();
    fs::write(cut.join("environment.json"), b"{}").unwrap();
    fs::write(cut.join("protocol.json.partial"), b"{").unwrap();
    trimer(at, "train --resume cut").refused(&["not a run"]);
    trimer(at, &format!("{line} --out cut")).ok();
    assert_same(&at.join("whole"), &cut);
    // Anything else is somebody's.
    fs::create_dir(at.join("mine")).unwrap();
    fs::write(at.join("mine/notes.txt"), b"mine").unwrap();
    trimer(at, &format!("{line} --out mine")).refused(&["not empty"]);
}

/// Waits until `ready`, as long as the child lives.
fn wait_for(child: &mut Child, ready: impl Fn() -> bool) {
    let start = Instant::now();
    while !ready() && child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_mins(1), "nothing happens");
        thread::sleep(Duration::from_millis(2));
    }
}

fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn an_interrupted_run_says_how_to_continue_and_does() {
    let dir = with_corpus(40);
    let at = dir.path();
    for (name, steps) in [("a", 0), ("b", 1)] {
        let line = format!(
            "train --corpus c {TINY} --seeds 2 --set train.epochs=25 --set train.checkpoint_steps={steps}"
        );
        let whole = format!("whole-{name}");
        let cut = format!("cut-{name}");
        trimer(at, &format!("{line} --out {whole}")).ok();
        let mut child = spawn(at, &format!("{line} --out {cut}"));
        wait_for(&mut child, || {
            at.join(&cut).join("seed-1/log.jsonl").exists()
        });
        interrupt(&child);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("error: interrupted"), "{said}");
        assert!(
            said.contains(&format!("trimer train --resume {cut}")),
            "{said}"
        );
        trimer(at, &format!("train --resume {cut}")).ok();
        assert_same(&at.join(whole), &at.join(cut));
    }
}

#[test]
fn two_processes_cannot_train_the_same_run() {
    let dir = with_corpus(40);
    let at = dir.path();
    let line = format!("train --corpus c {TINY} --set train.epochs=2000 --out r");
    let mut child = spawn(at, &line);
    wait_for(&mut child, || at.join("r/seed-1/log.jsonl").exists());
    trimer(at, "train --resume r").refused(&["another process is training this run", "hint: "]);
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
fn the_seed_decides_everything() {
    let dir = with_corpus(60);
    let at = dir.path();
    // Wide enough that the work is divided among threads.
    let line = "train --corpus c --set model.d_model=32 --set model.d_ff=64 --set model.n_layers=2 \
        --set train.epochs=1 --set train.batch_size=16";
    trimer(at, &format!("{line} --threads 2 --out a")).ok();
    trimer(at, &format!("{line} --threads 2 --out b")).ok();
    trimer(at, &format!("{line} --threads 1 --out one")).ok();
    trimer(at, &format!("{line} --threads 3 --out three")).ok();
    trimer(at, &format!("{line} --seed 2 --out other")).ok();
    for run in ["b", "one", "three"] {
        assert_same(&at.join("a"), &at.join(run));
    }
    let weights = |run: &str, seed: u64| {
        fs::read(at.join(run).join(format!("seed-{seed}/best.safetensors"))).unwrap()
    };
    assert_ne!(weights("a", 1), weights("other", 2));
    // A seed among others gives what it gives alone.
    trimer(at, &format!("{line} --seeds 2 --out both")).ok();
    assert_eq!(weights("both", 1), weights("a", 1));
    assert_eq!(weights("both", 2), weights("other", 2));
}

/// Runs the tool with a limit on the size of files, in blocks of 512 bytes, as a disk that is full.
fn limited(dir: &Path, blocks: u64, line: &str) -> Ran {
    let mut shell = Command::new("sh");
    // The signal would end the process before it could say anything.
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" {line}");
    shell
        .args(["-c", &script, env!("CARGO_BIN_EXE_trimer")])
        .current_dir(dir)
        .env("RUST_BACKTRACE", "0");
    finish(shell)
}

#[test]
fn a_full_disk_is_told_and_old_files_stay_whole() {
    let dir = with_corpus(40);
    let at = dir.path();
    let line = format!("train --corpus c {TINY} --set train.epochs=3");
    trimer(at, &format!("{line} --out whole")).ok();
    // Large enough for the configuration, too small for a checkpoint.
    limited(at, 16, &format!("{line} --out cut")).refused(&[
        "cannot write",
        "caused by: ",
        "--resume",
    ]);
    trimer(at, "train --resume cut").ok();
    assert_same(&at.join("whole"), &at.join("cut"));
    // Too small for anything: nothing is left in the way.
    limited(at, 0, &format!("{line} --out none")).refused(&["cannot write"]);
    assert!(!at.join("none").exists());
    // A finished run loses nothing by a failing command.
    let before = result(&at.join("whole"));
    limited(at, 0, "eval whole").refused(&["protocol.json"]);
    assert!(before == result(&at.join("whole")));
    limited(at, 0, "corpus synth d --utterances 20").refused(&["hint: free some space"]);
    limited(at, 0, "corpus export c d").refused(&["hint: free some space"]);
    trimer(at, "corpus export c e").ok();
    limited(at, 1, "corpus import e d").refused(&["hint: free some space"]);
    assert!(!at.join("d").exists());
    assert!(
        !crate::cli::entries(at)
            .iter()
            .any(|n| n.contains("partial"))
    );
}

/// Resuming writes the logs anew: a line that cannot be read must not be lost by that.
#[test]
fn a_log_with_a_line_that_cannot_be_read_is_not_written_anew() {
    let dir = with_corpus(40);
    let at = dir.path();
    let line = format!("train --corpus c {TINY} --set train.epochs=2 --plugin watch --out r");
    trimer(at, &line).ok();
    for name in ["log.jsonl", "plugins.jsonl"] {
        let file = at.join("r/seed-1").join(name);
        let whole = fs::read_to_string(&file).unwrap();
        let (first, rest) = whole.split_once('\n').unwrap();
        let damaged = format!("{}\n{rest}", first.replace("\"epoch\"", "\"era\""));
        fs::write(&file, &damaged).unwrap();
        trimer(at, "train --resume r").refused(&[name, "line 1", "hint: "]);
        assert_eq!(fs::read_to_string(&file).unwrap(), damaged);
        // What was cut off is another matter.
        fs::write(&file, format!("{whole}{{\"epoch\":")).unwrap();
        trimer(at, "train --resume r").ok();
        assert_eq!(fs::read_to_string(&file).unwrap(), whole);
    }
}
