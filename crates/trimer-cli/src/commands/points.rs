//! `trimer eval --points`: utterances in the plane, before and after the fusion.

use crate::ui::{self, Hinted};
use serde_json::{Value, json};
use trimer_core::corpus::{Corpus, Split};
use trimer_core::stats::plane::{TSNE_MAX_POINTS, between_classes, pca, tsne};
use trimer_nn::burn::tensor::Device;
use trimer_nn::predict::labelled_rows_of_any;
use trimer_nn::train::{RunDir, Vectors};

/// The usual number of neighbours.
const PERPLEXITY: f64 = 30.0;

/// Prints a point per labelled utterance, by the run's first seed.
pub(super) fn show(
    run: &RunDir,
    corpus: &Corpus,
    split: Split,
    method: &str,
    as_json: bool,
    device: &Device,
) -> anyhow::Result<()> {
    let rows = labelled_rows_of_any(corpus, split, run.config.task);
    if method == "tsne" && rows.len() > TSNE_MAX_POINTS {
        return Err(Hinted::new(
            format!(
                "t-SNE of {} utterances, {TSNE_MAX_POINTS} at most",
                rows.len()
            ),
            "look at another split, or use `--points pca`",
        )
        .into());
    }
    let seed = run.config.seeds.first().copied().unwrap_or_default();
    let found = run.representations(seed, corpus, &rows, device)?;
    let plane = |v: &Vectors| match method {
        "tsne" => tsne(&v.values, v.width, PERPLEXITY).unwrap_or_default(),
        _ => pca(&v.values, v.width),
    };
    let utterances = corpus.utterances();
    let label = |row: usize| utterances[row].labels.multimodal;
    let stages = [
        ("before", Some(&found.before)),
        ("after", found.after.as_ref()),
    ];
    let mut all = serde_json::Map::new();
    let mut table = Vec::new();
    for (stage, vectors) in stages {
        let Some(vectors) = vectors else { continue };
        let points = plane(vectors);
        let labelled: Vec<([f64; 2], u32)> = (found.indices.iter().zip(&points))
            .filter_map(|(row, point)| Some((*point, label(*row)?)))
            .collect();
        let (at, classes): (Vec<_>, Vec<_>) = labelled.into_iter().unzip();
        let between = between_classes(&at, &classes);
        let list: Vec<Value> = (found.indices.iter().zip(&points))
            .map(|(row, [x, y])| {
                let class = label(*row).and_then(|k| run.config.classes.get(k as usize));
                let score = utterances[*row].scores.multimodal;
                json!({ "id": utterances[*row].id, "class": class, "score": score, "x": x, "y": y })
            })
            .collect();
        table.push(vec![
            stage.to_owned(),
            vectors.width.to_string(),
            points.len().to_string(),
            if between.is_finite() {
                format!("{between:.3}")
            } else {
                String::new()
            },
        ]);
        let stage_json = json!({
            "width": vectors.width,
            "between_classes": between.is_finite().then_some(between),
            "points": list,
        });
        all.insert(stage.to_owned(), stage_json);
    }
    if as_json {
        return ui::json(&json!({
            "corpus": corpus.info().name,
            "split": split,
            "seed": seed,
            "method": method,
            "stages": all,
        }));
    }
    let head = ["fusion", "width", "points", "variance between classes"];
    ui::data(&ui::table(&head, &table));
    ui::data("the points themselves: `--json`");
    Ok(())
}
