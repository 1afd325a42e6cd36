//! Explanations as a table of plain text.

use super::ExplanationReport;
use crate::text::table;
use crate::words::in_words;
use trimer_nn::Task;

impl ExplanationReport<'_> {
    /// One row per utterance; for yes/no labels one per label.
    pub fn to_text(&self) -> String {
        let mut head = vec!["id".to_owned()];
        if !matches!(self.task(), Task::Regression) {
            head.push("answer".into());
        }
        head.extend(["with all".to_owned(), "with none".to_owned()]);
        head.extend(self.found.players.iter().map(|m| m.as_str().to_owned()));
        head.extend(self.found.players.iter().map(|m| format!("without {m}")));
        let mut rows = Vec::new();
        for e in &self.found.all {
            let targets = self.targets(e);
            let shown = match self.task() {
                Task::MultiBinary { .. } => targets.len(),
                _ => 1,
            };
            for (name, output) in &targets[..shown] {
                let mut row = vec![self.id(e).to_owned()];
                if !matches!(self.task(), Task::Regression) {
                    row.push(name.clone());
                }
                row.push(format!("{:.3}", e.with_all()[*output]));
                row.push(format!("{:.3}", e.with_none()[*output]));
                row.extend(self.found.players.iter().map(|m| {
                    Self::contribution(e, m, *output)
                        .map_or_else(String::new, |v| format!("{v:+.3}"))
                }));
                row.extend(self.found.players.iter().map(|m| {
                    e.without(m)
                        .map_or_else(String::new, |said| match self.task() {
                            Task::MultiBinary { .. } => format!("{:.3}", said[*output]),
                            _ => in_words(said, self.classes(), self.task()),
                        })
                }));
                rows.push(row);
            }
        }
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        table(&head, &rows)
    }
}
