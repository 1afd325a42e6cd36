//! A library does not know the command line: its hints name configuration keys, which the program
//! turns into its own flags.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{fs, path::Path};

fn sources(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push((
                path.display().to_string(),
                fs::read_to_string(&path).unwrap(),
            ));
        }
    }
}

/// Whether two dashes and a small letter stand in the line, as in a flag.
fn names_a_flag(line: &str) -> bool {
    line.match_indices("--").any(|(at, dashes)| {
        let after = line[at + dashes.len()..].chars().next();
        after.is_some_and(|c| c.is_ascii_lowercase())
    })
}

#[test]
fn no_message_names_a_flag_or_a_command() {
    let mut found = Vec::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert!(found.len() > 50, "only {} files were found", found.len());
    for (path, text) in found {
        for (at, line) in text.lines().enumerate() {
            let code = !line.trim_start().starts_with("//");
            let command = line.contains("`trimer ");
            assert!(
                !code || !(names_a_flag(line) || command),
                "{path}:{}: {line}",
                at + 1
            );
        }
    }
    assert!(names_a_flag("say `--classes 5`") && !names_a_flag("a -- b --- `---`"));
}
