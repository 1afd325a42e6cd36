//! Explanations as JSON.

use super::ExplanationReport;
use super::contributions::{Explanation, frames};
use crate::words::answer_json;
use serde_json::{Map, Value, json};
use trimer_nn::Task;

impl ExplanationReport<'_> {
    fn answer(&self, row: &[f64]) -> Value {
        answer_json(row, self.classes(), self.task())
    }

    fn contributions_json(&self, e: &Explanation, output: usize) -> Map<String, Value> {
        let players = self.found.players.iter();
        let parts =
            players.filter_map(|m| Some((m.to_string(), Self::contribution(e, m, output)?.into())));
        parts.collect()
    }

    /// Why the `i`-th answer was given.
    pub fn item_json(&self, i: usize) -> Value {
        let e = &self.found.all[i];
        let targets = self.targets(e);
        let part = |output: usize| -> Map<String, Value> {
            Map::from_iter([
                ("with_all".to_owned(), e.with_all()[output].into()),
                ("with_none".to_owned(), e.with_none()[output].into()),
                (
                    "contributions".to_owned(),
                    self.contributions_json(e, output).into(),
                ),
            ])
        };
        let mut value = json!({
            "head": e.head,
            "value": match self.task() {
                Task::Regression => "score",
                Task::MultiBinary { .. } => "probability of yes",
                Task::Classification { .. } => "probability",
            },
        });
        if matches!(self.task(), Task::Classification { .. }) {
            value["class"] = targets[0].0.as_str().into();
        }
        if !matches!(self.task(), Task::MultiBinary { .. }) {
            for (key, part) in part(targets[0].1) {
                value[key] = part;
            }
        }
        value["modalities"] = json!(self.found.players);
        value["absent"] = json!(e.absent);
        value["targets"] = targets
            .iter()
            .map(|(name, output)| (name.clone(), part(*output).into()))
            .collect::<Map<_, _>>()
            .into();
        let without = self.found.players.iter();
        let without = without.filter_map(|m| Some((m.to_string(), self.answer(e.without(m)?))));
        value["without"] = without.collect::<Map<_, _>>().into();
        let subsets = e.seen.iter().map(|seen| {
            let mut answer = self.answer(&seen.outputs);
            answer["keep"] = json!(seen.keep);
            answer
        });
        value["subsets"] = subsets.collect();
        value["attention"] = self.attention_json(e);
        value
    }

    fn attention_json(&self, e: &Explanation) -> Value {
        if e.attention.is_empty() {
            return Value::Null;
        }
        let frames = frames(self.run, self.corpus, e.row);
        let of_frames = frames.iter().filter_map(|(m, f)| {
            let f = f.as_ref()?;
            let seconds = f
                .rate_hz
                .map(|rate| f.index.iter().map(|i| *i as f64 / rate).collect::<Vec<_>>());
            let value = json!({ "index": f.index, "rate_hz": f.rate_hz, "seconds": seconds });
            Some((m.to_string(), value))
        });
        let layers = e.attention.iter().map(|a| {
            let shares = a.shares.iter();
            let shares = shares.filter_map(|(m, s)| Some((m.to_string(), json!(s.as_ref()?))));
            json!({
                "tower": a.tower,
                "layer": a.layer,
                "shares": shares.collect::<Map<_, _>>(),
                "elsewhere": a.elsewhere,
            })
        });
        json!({ "frames": of_frames.collect::<Map<_, _>>(), "layers": layers.collect::<Vec<_>>() })
    }
}
