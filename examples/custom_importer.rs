//! A format of one's own: an importer that turns a text file into a corpus, refuses what cannot be right
//! with its line, and leaves nothing behind when it fails.
//!
//! Run with: `cargo run --release --example custom_importer`
//!
//! Expected output:
//!
//! ```text
//! refused: `.../talks.txt`: line 2, utterance `b`: `bored` is not a class
//! nothing left behind: true
//! imported 3 utterances, audio 2 wide
//! ```
//!
//! Time: below a second.
#![expect(clippy::print_stdout, reason = "an example shows what it finds")]

use std::error::Error;
use std::fs;
use trimer::import::{
    ImportError, ImportOptions, ImportSummary, Importer, ImporterInfo, Refusal, SplitCounts,
    resolve_non_finite,
};
use trimer::prelude::*;

const CLASSES: [&str; 2] = ["sad", "happy"];

/// One line per utterance: id, split, class and one vector of audio features.
struct Lines;

impl Importer for Lines {
    fn info(&self) -> &ImporterInfo {
        &ImporterInfo {
            id: "lines",
            title: "one line per utterance",
            citation: "",
            licence: "",
            source: "a text file of lines `id split class value ...`",
        }
    }

    fn import(
        &self,
        options: &ImportOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<ImportSummary, ImportError> {
        let file = &options.source;
        let text = fs::read_to_string(file)
            .map_err(|e| Refusal::new(file, "the file cannot be read").source(e))?;
        let info = CorpusInfo {
            name: options.corpus_name("talks"),
            label_space: LabelSpace::of_classes(CLASSES),
            dtype: options.dtype.unwrap_or_default(),
            ..CorpusInfo::default()
        };
        let mut writer = CorpusWriter::create(&options.out, info)?;
        let mut splits = SplitCounts::default();
        let n = text.lines().count() as u64;
        for (row, line) in (1..).zip(text.lines()) {
            let refuse = |message: String| Refusal::new(file, message).row(row);
            let words: Vec<&str> = line.split_whitespace().collect();
            let [id, split, class, values @ ..] = &words[..] else {
                return Err(refuse("fewer than three words".into()).into());
            };
            let split = split
                .parse::<Split>()
                .map_err(|e| refuse(e.to_string()).id(*id))?;
            let label = CLASSES.iter().position(|known| known == class);
            let label = label.ok_or_else(|| refuse(format!("`{class}` is not a class")).id(*id))?;
            let mut frame = Vec::with_capacity(values.len());
            for word in values {
                let number = word.parse::<f32>();
                frame
                    .push(number.map_err(|_| refuse(format!("`{word}` is not a number")).id(*id))?);
            }
            let dim = frame.len();
            resolve_non_finite(
                options.non_finite,
                &mut frame,
                dim,
                file,
                id,
                Modality::Audio,
            )?;
            let mut utterance = Utterance {
                id: (*id).into(),
                split: Some(split),
                ..Utterance::default()
            };
            utterance.labels.multimodal = Some(label as u32);
            let features = ModalityMap {
                audio: Some(Frames {
                    values: frame.into(),
                    dim,
                }),
                ..ModalityMap::default()
            };
            splits.add(utterance.split);
            writer.push(utterance, features)?;
            progress(writer.len() as u64, n);
        }
        Ok(ImportSummary {
            utterances: writer.len(),
            path: writer.finish()?,
            splits,
            warnings: Vec::new(),
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let (source, out) = (dir.path().join("talks.txt"), dir.path().join("corpus"));
    let options = ImportOptions::new(&source, &out);

    fs::write(
        &source,
        "a train happy 0.5 1.5\nb valid bored 0.3 0.9\nc test sad 0.1 0.2\n",
    )?;
    match Lines.import(&options, &mut |_, _| {}) {
        Ok(_) => println!("imported what should have been refused"),
        Err(error) => println!("refused: {error}"),
    }
    println!("nothing left behind: {}", !out.exists());

    fs::write(
        &source,
        "a train happy 0.5 1.5\nb valid happy 0.3 0.9\nc test sad 0.1 0.2\n",
    )?;
    let summary = Lines.import(&options, &mut |_, _| {})?;
    let corpus = Corpus::open(&summary.path)?;
    println!(
        "imported {} utterances, audio {} wide",
        corpus.len(),
        corpus.dims().audio.unwrap_or(0)
    );
    Ok(())
}
