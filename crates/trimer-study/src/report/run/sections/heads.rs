//! Head against head: where the towers disagree, and who is right.

use crate::error::Result;
use crate::report::run::decisions;
use crate::report::run::evaluated::EvaluatedRun;
use crate::report::run::options::ReportOptions;
use crate::report::run::part::{Part, SectionInfo, share};
use serde_json::json;
use trimer_core::Head;
use trimer_core::stats::wilson;
use trimer_report::{BarChart, Block, Cell, Column, HeatMap, Table};

pub(super) const INFO: SectionInfo = SectionInfo {
    id: "head_against_head",
    title: "Head against head",
    intro: "",
    make,
};

/// How two heads decide.
#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    differ: usize,
    /// Of those that differ.
    first_right: usize,
    second_right: usize,
}

/// What the towers make of it together.
#[derive(Debug, Clone, Copy, Default)]
struct Together {
    n: usize,
    fused_right: usize,
    any_right: usize,
}

#[expect(clippy::unnecessary_wraps, reason = "sections that compute can fail")]
fn make(run: &EvaluatedRun<'_>, _: &ReportOptions) -> Result<Part> {
    let seeds: Vec<_> = run
        .seeds
        .iter()
        .map(|(_, p)| decisions::of_seed(run, p))
        .collect();
    let Some(first) = seeds.first().filter(|d| !d.truth.is_empty()) else {
        return Ok(Part::left_out("no utterance has a multimodal label"));
    };
    let heads: Vec<Head> = first.heads.iter().map(|(h, _)| *h).collect();
    if heads.len() < 2 {
        return Ok(Part::left_out("the model has one head only"));
    }
    let n: usize = seeds.iter().map(|d| d.truth.len()).sum();
    let per_seed = first.truth.len();
    let mut pairs = vec![vec![Pair::default(); heads.len()]; heads.len()];
    let mut by_agreement = [Together::default(); 2];
    let fused = heads.iter().position(|h| *h == Head::Multimodal);
    for seed in &seeds {
        for (i, truth) in seed.truth.iter().enumerate() {
            let says: Vec<u32> = seed.heads.iter().map(|(_, answers)| answers[i]).collect();
            for a in 0..says.len() {
                for b in a + 1..says.len() {
                    if says[a] != says[b] {
                        let pair = &mut pairs[a][b];
                        pair.differ += 1;
                        pair.first_right += usize::from(says[a] == *truth);
                        pair.second_right += usize::from(says[b] == *truth);
                    }
                }
            }
            if let Some(fused) = fused {
                let towers: Vec<u32> = (0..says.len())
                    .filter(|k| *k != fused)
                    .map(|k| says[k])
                    .collect();
                let agree = towers.iter().all(|t| *t == towers[0]);
                let group = &mut by_agreement[usize::from(!agree)];
                group.n += 1;
                group.fused_right += usize::from(says[fused] == *truth);
                group.any_right += usize::from(towers.contains(truth));
            }
        }
    }
    let scale = per_seed as f64 / n as f64;
    let interval = |hits: usize, of: usize| {
        // several seeds say something about the same utterances
        let scaled = |v: usize| (v as f64 * scale).round() as u64;
        wilson(scaled(hits).min(scaled(of)), scaled(of))
    };
    let mut blocks = vec![Block::Paragraph(format!(
        "Decisions are about {}; right is what the multimodal label says.{}",
        decisions::meaning(run),
        if seeds.len() > 1 {
            " All seeds together; intervals are over utterances."
        } else {
            ""
        }
    ))];
    blocks.push(map(&heads, &pairs, n));
    blocks.push(who_is_right(&heads, &pairs));
    let (table, numbers) = pair_table(&heads, &pairs, n, &interval);
    blocks.push(Block::Table(table));
    let mut together = serde_json::Value::Null;
    if fused.is_some() && heads.len() > 2 {
        let (table, value) = agreement_table(&by_agreement, &interval);
        blocks.push(Block::Table(table));
        together = value;
    }
    Ok(Part::Shown(
        blocks,
        json!({ "decisions": per_seed, "seeds": seeds.len(), "pairs": numbers, "towers": together }),
    ))
}

fn map(heads: &[Head], pairs: &[Vec<Pair>], n: usize) -> Block {
    let value = |a: usize, b: usize| pairs[a.min(b)][a.max(b)].differ as f64 / n as f64;
    let values: Vec<Vec<f64>> = (0..heads.len())
        .map(|a| (0..heads.len()).map(|b| value(a, b)).collect())
        .collect();
    let names = || heads.iter().map(|h| h.as_str());
    let map = HeatMap::new(
        "How often two heads decide differently",
        ("head", names()),
        ("head", names()),
        values,
    );
    Block::Figure(Box::new(map.per_cent().decimals(1)))
}

fn name(a: Head, b: Head) -> String {
    format!("{a} / {b}")
}

fn each_pair(heads: &[Head]) -> impl Iterator<Item = (usize, usize)> {
    let n = heads.len();
    (0..n).flat_map(move |a| (a + 1..n).map(move |b| (a, b)))
}

fn who_is_right(heads: &[Head], pairs: &[Vec<Pair>]) -> Block {
    let names = each_pair(heads).map(|(a, b)| name(heads[a], heads[b]));
    let shares = |count: fn(&Pair) -> usize| -> Vec<f64> {
        each_pair(heads)
            .map(|(a, b)| 100.0 * count(&pairs[a][b]) as f64 / pairs[a][b].differ as f64)
            .collect()
    };
    let bars = BarChart::new(
        "Who is right where two heads differ",
        "heads",
        "share of the differences (%)",
        names,
    )
    .series("the first", shares(|p| p.first_right))
    .series("the second", shares(|p| p.second_right))
    .series(
        "neither",
        shares(|p| p.differ - p.first_right - p.second_right),
    );
    Block::Figure(Box::new(bars))
}

fn pair_table(
    heads: &[Head],
    pairs: &[Vec<Pair>],
    n: usize,
    interval: &dyn Fn(usize, usize) -> [f64; 2],
) -> (Table, Vec<serde_json::Value>) {
    let per_cent = |hits: usize, of: usize| {
        let value = 100.0 * hits as f64 / of as f64;
        Cell::Interval(value, interval(hits, of).map(|v| 100.0 * v))
    };
    let mut table = Table::new(
        "Pairs of heads, with 95 % intervals",
        [
            Column::text("heads"),
            Column::number("differ (%)", 1),
            Column::number("first right (%)", 1),
            Column::number("second right (%)", 1),
            Column::number("neither (%)", 1),
        ],
    );
    let mut numbers = Vec::new();
    for (a, b) in each_pair(heads) {
        let p = pairs[a][b];
        let neither = p.differ - p.first_right - p.second_right;
        table.push([
            Cell::from(name(heads[a], heads[b])),
            per_cent(p.differ, n),
            per_cent(p.first_right, p.differ),
            per_cent(p.second_right, p.differ),
            share(neither as f64 / p.differ as f64),
        ]);
        let of = |count: usize| count as f64 / p.differ as f64;
        numbers.push(json!({
            "a": heads[a],
            "b": heads[b],
            "differ": p.differ as f64 / n as f64,
            "differ_ci": interval(p.differ, n),
            "a_right": of(p.first_right),
            "b_right": of(p.second_right),
            "neither_right": of(neither),
        }));
    }
    (table, numbers)
}

fn agreement_table(
    groups: &[Together; 2],
    interval: &dyn Fn(usize, usize) -> [f64; 2],
) -> (Table, serde_json::Value) {
    let mut table = Table::new(
        "The fused head, by whether the towers of the single modalities agree",
        [
            Column::text("towers"),
            Column::number("decisions (%)", 1),
            Column::number("fused head right (%)", 1),
            Column::number("at least one tower right (%)", 1),
        ],
    );
    let n: usize = groups.iter().map(|g| g.n).sum();
    let mut numbers = serde_json::Map::new();
    for (key, group) in ["agree", "differ"].iter().zip(groups) {
        let of = |count: usize| count as f64 / group.n as f64;
        let ci = interval(group.fused_right, group.n).map(|v| 100.0 * v);
        table.push([
            Cell::from(*key),
            share(group.n as f64 / n as f64),
            Cell::Interval(100.0 * of(group.fused_right), ci),
            share(of(group.any_right)),
        ]);
        numbers.insert(
            (*key).to_owned(),
            json!({
                "share": group.n as f64 / n as f64,
                "fused_right": of(group.fused_right),
                "any_tower_right": of(group.any_right),
            }),
        );
    }
    (table, numbers.into())
}
