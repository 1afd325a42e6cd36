//! Maps of what the towers make of the utterances.

use super::SectionInfo;
use crate::report::{Judged, Options, Part};
use serde_json::{Map, json};
use trimer_core::Head;
use trimer_core::corpus::Utterance;
use trimer_core::random::{GOLDEN_GAMMA, finalise};
use trimer_core::stats::embed::{TSNE_MIN, pca, tsne};
use trimer_nn::Task;
use trimer_report::{Block, ScatterPlot, ScatterPoint};

pub(super) const INFO: SectionInfo = SectionInfo {
    id: "embedding",
    title: "Maps of the representations",
    intro: "Each point is an utterance, placed by the features just before a head and coloured by the \
            multimodal label. In a t-SNE map, neighbours are alike; sizes of groups and distances \
            between them mean nothing. Principal components keep distances as far as two axes can.",
    make,
};

/// More classes than this have no colour of their own.
const MAX_GROUPS: usize = 24;

fn make(run: &Judged<'_>, options: &Options) -> anyhow::Result<Part> {
    let Some((seed, predictions)) = run.seeds.first() else {
        return Ok(Part::left_out("the run has no seeds"));
    };
    if run.model() == "majority" {
        return Ok(Part::left_out("the model has no features"));
    }
    let rows = &predictions.indices;
    let found = run
        .run
        .representations(*seed, run.corpus, rows, &run.device)?;
    let (groups, group_of) = grouping(run);
    let chosen = chosen(found.indices.len(), options);
    let mut panels = Vec::new();
    let mut numbers = Map::new();
    for (head, features) in found.towers.iter() {
        let Some(features) = features else { continue };
        let kept: Vec<usize> = chosen
            .iter()
            .copied()
            .filter(|i| features[*i].iter().all(|v| v.is_finite()))
            .collect();
        let values: Vec<Vec<f64>> = kept
            .iter()
            .map(|i| features[*i].iter().map(|v| f64::from(*v)).collect())
            .collect();
        if values.is_empty() {
            continue;
        }
        let points = |places: &[[f64; 2]]| -> Vec<ScatterPoint> {
            kept.iter()
                .zip(places)
                .map(|(i, at)| {
                    let utterance = &run.corpus.utterances()[found.indices[*i]];
                    ScatterPoint {
                        id: utterance.id.clone(),
                        at: *at,
                        group: group_of(utterance),
                    }
                })
                .collect()
        };
        let components = pca(&values);
        let map = tsne(&values, options.seed);
        let explained = components.explained;
        numbers.insert(
            head.to_string(),
            json!({
                "points": values.len(),
                "width": values[0].len(),
                "pca_explained": explained,
                "tsne": map.is_some(),
            }),
        );
        panels.push((
            head,
            points(&components.places),
            map.map(|m| points(&m)),
            explained,
        ));
    }
    if panels.is_empty() {
        return Ok(Part::left_out("the model gives no features"));
    }
    let n_all = found.indices.len();
    let n = chosen.len();
    let several = if run.seeds.len() > 1 {
        format!(" Seed {seed} of {}.", run.seeds.len())
    } else {
        String::new()
    };
    let part = if n < n_all {
        format!(
            "{n} of {n_all} utterances are drawn, chosen by chance (seed {}).",
            options.seed
        )
    } else {
        format!("All {n} utterances are drawn.")
    };
    let mut blocks = vec![Block::Paragraph(format!("{part}{several}"))];
    let mut map = ScatterPlot::new("t-SNE of each tower's features", groups.clone());
    let mut has_map = false;
    for (head, _, places, _) in &panels {
        if let Some(places) = places {
            map = map.panel(place_name(*head), places.clone());
            has_map = true;
        }
    }
    if has_map {
        blocks.push(Block::Figure(Box::new(map)));
    } else {
        blocks.push(Block::Paragraph(format!(
            "There is no t-SNE map: it takes {TSNE_MIN} utterances or more whose features differ."
        )));
    }
    let mut map = ScatterPlot::new("Principal components of each tower's features", groups);
    for (head, places, _, explained) in panels {
        let [a, b] = explained.map(|v| 100.0 * v);
        let name = place_name(head);
        let name = if a.is_nan() {
            name
        } else {
            format!("{name}; {a:.0} + {b:.0} % of the variance")
        };
        map = map.panel(name, places);
    }
    blocks.push(Block::Figure(Box::new(map)));
    Ok(Part::Shown(blocks, numbers.into()))
}

fn place_name(head: Head) -> String {
    match head {
        Head::Multimodal => "multimodal (after fusion)".into(),
        head => format!("{head} (before fusion)"),
    }
}

/// The utterances that are drawn: all, or so many by chance, in their order.
fn chosen(n: usize, options: &Options) -> Vec<usize> {
    if n <= options.points {
        return (0..n).collect();
    }
    // the smallest of hashes that follow from seed and place
    let hash = |i: usize| finalise(options.seed ^ (i as u64).wrapping_mul(GOLDEN_GAMMA));
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|i| (hash(*i), *i));
    order.truncate(options.points);
    order.sort_unstable();
    order
}

type GroupOf<'a> = Box<dyn Fn(&Utterance) -> usize + 'a>;

/// The colours: names of groups, and which group an utterance is in.
fn grouping<'a>(run: &'a Judged<'_>) -> (Vec<String>, GroupOf<'a>) {
    let none = || "no label".to_owned();
    match run.task() {
        Task::Classification { .. } => {
            let mut names: Vec<String> = run.classes().iter().take(MAX_GROUPS).cloned().collect();
            let (n, other) = (names.len(), names.len());
            if run.classes().len() > n || has_unlabelled(run) {
                let rest = run.classes().len() > n;
                names.push(if rest {
                    "another class or none".into()
                } else {
                    none()
                });
            }
            let of = move |u: &Utterance| match u.labels.multimodal {
                Some(class) if (class as usize) < n => class as usize,
                _ => other,
            };
            (names, Box::new(of))
        }
        Task::Regression => {
            let middle = crate::report::decisions::middle(run);
            let names = [
                format!("below {middle}"),
                format!("{middle}"),
                format!("above {middle}"),
                none(),
            ];
            let of = move |u: &Utterance| match u.scores.multimodal.map(f64::from) {
                Some(score) if score < middle => 0,
                Some(score) if score > middle => 2,
                Some(_) => 1,
                None => 3,
            };
            (names.to_vec(), Box::new(of))
        }
        Task::MultiBinary { n_labels } => {
            let mut names = run.classes().to_vec();
            names.extend(["several", "none of them"].map(str::to_owned));
            let of = move |u: &Utterance| {
                let yes: Vec<usize> = (0..u.binary.len()).filter(|k| u.binary[*k]).collect();
                match yes[..] {
                    [] => n_labels + 1,
                    [one] => one,
                    _ => n_labels,
                }
            };
            (names, Box::new(of))
        }
    }
}

fn has_unlabelled(run: &Judged<'_>) -> bool {
    let rows = run.corpus.utterances();
    run.rows()
        .iter()
        .any(|r| rows[*r].labels.multimodal.is_none())
}
