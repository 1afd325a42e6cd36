//! The command line tool from outside: helpers of all tests that run the real binary.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
};
use tempfile::TempDir;
use trimer::{Modality, store::npy};

/// Sizes with which a training takes a fraction of a second.
pub(crate) const TINY: &str = "--set model.d_model=8 --set model.n_heads=2 --set model.d_ff=8 \
    --set model.n_layers=1 --set data.lengths.text=4 --set data.lengths.audio=4 \
    --set data.lengths.vision=4 --set train.batch_size=8 --set train.lr=0.01";

/// How a command ended and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) line: String,
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The command must have done its work.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self}");
        self
    }

    /// The command must have refused, and its message must hold every one of `words`.
    #[track_caller]
    pub(crate) fn refused(self, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(2), "{self}");
        assert!(self.err.contains("error: "), "{self}");
        self.says(words)
    }

    /// What it said must hold every one of `words`.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "`{word}` is missing: {self}");
        }
        self
    }

    /// Its data as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        let ran = self.ok();
        serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran}"))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "trimer {}\ncode {:?}\n{}\n{}",
            self.line, self.code, self.out, self.err
        )
    }
}

/// A command of the tool, not yet started.
pub(crate) fn command<S: AsRef<OsStr>>(dir: &Path, args: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimer"));
    command
        .args(args)
        .current_dir(dir)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end; nothing that it says may be a panic.
pub(crate) fn finish(mut command: Command) -> Ran {
    let words: Vec<_> = command
        .get_args()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    let output = command.output().unwrap();
    let ran = Ran {
        line: words.join(" "),
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(!ran.err.contains("panicked"), "{ran}");
    ran
}

/// Runs `trimer` in `dir` with arguments divided at white space.
pub(crate) fn trimer(dir: &Path, line: &str) -> Ran {
    let words: Vec<&str> = line.split_whitespace().collect();
    finish(command(dir, &words))
}

/// A folder with a synthetic corpus `c` of `n` utterances.
pub(crate) fn with_corpus(n: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    trimer(
        dir.path(),
        &format!("corpus synth c --utterances {n} --seed 7"),
    )
    .ok();
    dir
}

/// Names of everything in a directory, sorted.
pub(crate) fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Frames that differ between utterances and classes, `[time, dim]` row-major.
pub(crate) fn frames(seed: usize, time: usize, dim: usize) -> Vec<f32> {
    (0..time * dim)
        .map(|k| ((seed * 31 + k * 17) % 23) as f32 / 11.0 - 1.0)
        .collect()
}

/// A folder for the importer `folder`: a manifest and arrays of width 3 and length 5.
pub(crate) struct Folder<'a> {
    pub(crate) dir: &'a Path,
    manifest: String,
    modalities: Vec<Modality>,
    rows: usize,
}

impl<'a> Folder<'a> {
    /// `columns` without `id`.
    pub(crate) fn new(dir: &'a Path, columns: &str) -> Self {
        fs::create_dir_all(dir).unwrap();
        Self {
            dir,
            manifest: format!("id,{columns}\n"),
            modalities: Modality::ALL.to_vec(),
            rows: 0,
        }
    }

    /// One more utterance with features of all modalities; returns its id.
    pub(crate) fn add(&mut self, cells: &str) -> String {
        let id = format!("u{:03}", self.rows);
        let _ = writeln!(self.manifest, "{id},{cells}");
        for modality in &self.modalities {
            let file = self.file(*modality, &id);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            let values = frames(self.rows + *modality as usize, 5, 3);
            npy::write_f32(&file, &[5, 3], &values).unwrap();
        }
        self.rows += 1;
        id
    }

    pub(crate) fn file(&self, modality: Modality, id: &str) -> std::path::PathBuf {
        self.dir.join(modality.as_str()).join(format!("{id}.npy"))
    }

    /// Writes the manifest.
    pub(crate) fn finish(self) {
        fs::write(self.dir.join("manifest.csv"), self.manifest).unwrap();
    }
}

/// A corpus `name` from rows of the importer `folder`, whose columns are given without `id`.
pub(crate) fn import_rows(dir: &Path, name: &str, columns: &str, rows: &[&str]) -> Ran {
    let source = dir.join(format!("{name}-source"));
    let mut folder = Folder::new(&source, columns);
    for row in rows {
        folder.add(row);
    }
    folder.finish();
    trimer(dir, &format!("corpus import {name}-source {name}"))
}
