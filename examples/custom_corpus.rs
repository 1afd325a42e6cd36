//! One's own data without files in between: write a corpus utterance by utterance, open it, and let
//! it be examined.
//!
//! Run with: `cargo run --release --example custom_corpus`
//!
//! Expected output:
//!
//! ```text
//! audio: 16 utterances, 4 wide, 20 to 35 frames
//! vision: 15 utterances, 3 wide, 5 to 5 frames
//! 1 utterances have no vision: clip03
//! sound: true
//! ```
//!
//! Time: below a second.
#![expect(clippy::print_stdout, reason = "an example shows what it finds")]

use std::error::Error;
use trimer::corpus::{CheckOptions, check};
use trimer::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let info = CorpusInfo {
        name: "interviews".into(),
        licence: "CC-BY-4.0".into(),
        label_space: LabelSpace::of_classes(["calm", "upset"]),
        ..CorpusInfo::default()
    };
    let mut writer = CorpusWriter::create(&dir.path().join("interviews"), info)?;
    for (n, split) in [Split::Train, Split::Train, Split::Valid, Split::Test]
        .into_iter()
        .cycle()
        .take(16)
        .enumerate()
    {
        let class = u32::from(n >= 8);
        let utterance = Utterance {
            id: format!("clip{n:02}"),
            split: Some(split),
            // One speaker speaks in one split only, or the test would not be on new speakers.
            speaker: Some(format!("{split}-{}", n / 8)),
            labels: HeadMap {
                multimodal: Some(class),
                // Annotators who only heard the clip; who saw it only said nothing.
                audio: Some(class),
                ..HeadMap::default()
            },
            ..Utterance::default()
        };
        // Here stands what your feature extractor gives: row-major [time, feature]. Lengths may
        // differ between utterances, and a modality may be absent.
        let frames = |time: usize, dim: usize| Frames {
            values: (0..time * dim)
                .map(|k| class as f32 + ((k * 37 + n * 11) % 17) as f32 / 17.0)
                .collect::<Vec<_>>()
                .into(),
            dim,
        };
        let mut features = ModalityMap::default();
        *features.get_mut(Modality::Audio) = Some(frames(20 + n, 4));
        *features.get_mut(Modality::Vision) = (n != 3).then(|| frames(5, 3));
        writer.push(utterance, features)?;
    }
    let corpus = Corpus::open(writer.finish()?)?;

    for (modality, stats) in corpus.stats().modalities {
        println!(
            "{modality}: {} utterances, {} wide, {} to {} frames",
            stats.utterances, stats.dim, stats.lengths.min, stats.lengths.max
        );
    }
    let report = check(&corpus, &CheckOptions::default());
    for finding in report.problems.iter().chain(&report.warnings) {
        println!("{}: {}", finding.message, finding.examples.join(", "));
    }
    println!("sound: {}", report.is_sound());
    Ok(())
}
