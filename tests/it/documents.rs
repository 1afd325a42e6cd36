//! The documents: every fence says what it holds, and every snippet of Rust is compiled as a doctest.

use std::fs;
use std::path::{Path, PathBuf};

/// All Markdown files of the repository that people read.
fn documents() -> Vec<PathBuf> {
    fn walk(dir: &Path, all: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, all);
            } else if path.extension().is_some_and(|e| e == "md") {
                all.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    walk(&root.join("docs"), &mut all);
    assert!(all.len() > 40, "only {} documents found", all.len());
    all
}

/// The info strings of the fences of a document.
fn fences(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim_start);
    let all: Vec<&str> = lines.filter_map(|l| l.strip_prefix("```")).collect();
    all.into_iter().step_by(2).collect()
}

#[test]
fn every_fence_names_its_language() {
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for fence in fences(&text) {
            // Without a name rustdoc would take it for Rust.
            assert!(
                !fence.is_empty(),
                "{}: a fence without a language",
                path.display()
            );
        }
    }
}

#[test]
fn every_document_with_rust_in_it_is_a_doctest() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let facade = fs::read_to_string(root.join("src/lib.rs")).unwrap();
    let mut found = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        if fences(&text).iter().any(|fence| fence.starts_with("rust")) {
            let name = path.strip_prefix(root).unwrap();
            let line = format!("include_str!(\"../{}\")", name.display());
            assert!(facade.contains(&line), "src/lib.rs lacks {line}");
            found += 1;
        }
    }
    assert!(found > 0, "no document has Rust in it");
}
