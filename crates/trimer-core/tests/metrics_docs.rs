//! The table of `docs/metrics.md` is the registry. `TRIMER_BLESS=1 cargo test -p trimer-core` writes
//! it anew.

use std::{env, fmt::Write, fs, path::Path};
use trimer_core::metrics::{METRICS, Task};

const BEGIN: &str = "<!-- registry: begin -->\n";
const END: &str = "<!-- registry: end -->";

fn table(task: Task) -> String {
    let mut out = String::from(
        "| name | definition | unit | better | source | where it has no value | tables |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for info in METRICS.iter().filter(|info| info.task == task) {
        let better = if info.higher_is_better {
            "higher"
        } else {
            "lower"
        };
        let per_class = if info.per_class { " (per class)" } else { "" };
        // writing to a String cannot fail
        let _ = writeln!(
            out,
            "| `{}`{per_class} | {}: {} | {} | {better} | {} | {} | {} |",
            info.id, info.title, info.definition, info.unit, info.source, info.empty, info.tables
        );
    }
    out
}

#[test]
fn the_documented_metrics_are_the_registered_ones() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let text = fs::read_to_string(&path).unwrap();
    let expected = format!(
        "### Classes\n\n{}\n### Scores\n\n{}",
        table(Task::Classification),
        table(Task::Regression)
    );
    let (before, rest) = text
        .split_once(BEGIN)
        .expect("the file marks where the tables begin");
    let (found, after) = rest
        .split_once(END)
        .expect("the file marks where the tables end");
    if env::var_os("TRIMER_BLESS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
    } else {
        assert_eq!(
            found, expected,
            "docs/metrics.md is stale: run with TRIMER_BLESS=1"
        );
    }
}
