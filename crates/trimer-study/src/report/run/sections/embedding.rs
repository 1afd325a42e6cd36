//! Maps of what the towers make of the utterances.

use crate::error::Result;
use crate::report::run::evaluated::EvaluatedRun;
use crate::report::run::options::ReportOptions;
use crate::report::run::part::{Part, SectionInfo};
use crate::representations::representations;
use serde_json::{Map, Value, json};
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

fn make(run: &EvaluatedRun<'_>, options: &ReportOptions) -> Result<Part> {
    let Some((seed, predictions)) = run.seeds.first() else {
        return Ok(Part::left_out("the run has no seeds"));
    };
    if run.model() == "majority" {
        return Ok(Part::left_out("the model has no features"));
    }
    let rows = &predictions.indices;
    let found = representations(run.run, *seed, run.corpus, rows, &run.device)?;
    let (groups, group_of) = grouping(run);
    let chosen = chosen(found.indices.len(), options);
    let place = |i: usize, at: &[f64; 2]| {
        let utterance = &run.corpus.utterances()[found.indices[i]];
        ScatterPoint {
            id: utterance.id.clone(),
            at: *at,
            group: group_of(utterance),
        }
    };
    let mut panels = Vec::new();
    let mut numbers = Map::new();
    for (head, features) in found.towers.iter() {
        let Some(features) = features else { continue };
        if let Some(panel) = Panel::new(features, &chosen, options.seed, &place) {
            numbers.insert(head.to_string(), panel.json());
            panels.push((head, panel));
        }
    }
    if panels.is_empty() {
        return Ok(Part::left_out("the model gives no features"));
    }
    let (n, n_all) = (chosen.len(), found.indices.len());
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
    let blocks = vec![
        Block::Paragraph(format!("{part}{several}")),
        neighbours(groups.clone(), &panels),
        components(groups, panels),
    ];
    Ok(Part::Shown(blocks, numbers.into()))
}

/// The maps of one tower.
struct Panel {
    /// On the first two principal components.
    components: Vec<ScatterPoint>,
    /// By t-SNE, where there is enough to place.
    neighbours: Option<Vec<ScatterPoint>>,
    /// Shares of the variance.
    explained: [f64; 2],
    /// Width of the features.
    width: usize,
}

impl Panel {
    /// The chosen utterances whose features are finite; `None` where there are none.
    fn new(
        features: &[Vec<f32>],
        chosen: &[usize],
        seed: u64,
        place: &dyn Fn(usize, &[f64; 2]) -> ScatterPoint,
    ) -> Option<Self> {
        let finite = |i: &usize| features[*i].iter().all(|v| v.is_finite());
        let kept: Vec<usize> = chosen.iter().copied().filter(finite).collect();
        let values: Vec<Vec<f64>> = kept
            .iter()
            .map(|i| features[*i].iter().map(|v| f64::from(*v)).collect())
            .collect();
        let width = values.first()?.len();
        let points = |places: &[[f64; 2]]| -> Vec<ScatterPoint> {
            let each = kept.iter().zip(places);
            each.map(|(i, at)| place(*i, at)).collect()
        };
        let found = pca(&values);
        Some(Self {
            components: points(&found.places),
            neighbours: tsne(&values, seed).map(|places| points(&places)),
            explained: found.explained,
            width,
        })
    }

    fn json(&self) -> Value {
        json!({
            "points": self.components.len(),
            "width": self.width,
            "pca_explained": self.explained,
            "tsne": self.neighbours.is_some(),
        })
    }
}

/// The t-SNE maps of all towers, or why there are none.
fn neighbours(groups: Vec<String>, panels: &[(Head, Panel)]) -> Block {
    let mut map = ScatterPlot::new("t-SNE of each tower's features", groups);
    let mut has_map = false;
    for (head, panel) in panels {
        if let Some(places) = &panel.neighbours {
            map = map.panel(place_name(*head), places.clone());
            has_map = true;
        }
    }
    if has_map {
        Block::Figure(Box::new(map))
    } else {
        Block::Paragraph(format!(
            "There is no t-SNE map: it takes {TSNE_MIN} utterances or more whose features differ."
        ))
    }
}

/// The principal components of all towers.
fn components(groups: Vec<String>, panels: Vec<(Head, Panel)>) -> Block {
    let mut map = ScatterPlot::new("Principal components of each tower's features", groups);
    for (head, panel) in panels {
        let [a, b] = panel.explained.map(|v| 100.0 * v);
        let name = place_name(head);
        let name = if a.is_nan() {
            name
        } else {
            format!("{name}; {a:.0} + {b:.0} % of the variance")
        };
        map = map.panel(name, panel.components);
    }
    Block::Figure(Box::new(map))
}

fn place_name(head: Head) -> String {
    match head {
        Head::Multimodal => "multimodal (after fusion)".into(),
        head => format!("{head} (before fusion)"),
    }
}

/// The utterances that are drawn: all, or so many by chance, in their order.
fn chosen(n: usize, options: &ReportOptions) -> Vec<usize> {
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
fn grouping<'a>(run: &'a EvaluatedRun<'_>) -> (Vec<String>, GroupOf<'a>) {
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
            let middle = crate::report::run::decisions::middle(run);
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

fn has_unlabelled(run: &EvaluatedRun<'_>) -> bool {
    let rows = run.corpus.utterances();
    run.rows()
        .iter()
        .any(|r| rows[*r].labels.multimodal.is_none())
}
