//! The data card of every corpus that a run was evaluated on.

use crate::report::labels;
use crate::report::run::evaluated::EvaluatedRun;
use trimer_report::{Block, Section};

pub(in crate::report::run) fn sections(runs: &[EvaluatedRun<'_>]) -> Vec<Section> {
    let mut seen: Vec<String> = Vec::new();
    let mut corpora = Vec::new();
    for run in runs {
        let fingerprint = run.corpus.fingerprint();
        if !seen.contains(&fingerprint) {
            seen.push(fingerprint);
            corpora.push(run.corpus);
        }
    }
    let several = corpora.len() > 1;
    corpora
        .into_iter()
        .map(|corpus| {
            let name = &corpus.info().name;
            let title = if several {
                format!("Data: {name}")
            } else {
                "Data".into()
            };
            let mut section = Section::new(title);
            for part in labels::card_sections(&corpus.card()) {
                section = section
                    .block(Block::Heading(part.title().to_owned()))
                    .blocks(part.into_blocks());
            }
            section
        })
        .collect()
}
