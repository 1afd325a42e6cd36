//! Sets the cfg `trimer_fixtures` where there are reference fixtures: where `TRIMER_GOLDEN` names their folder, or
//! `TRIMER_SHARED` one that holds `golden/`. Tests that read fixtures are ignored without it, which a run shows.

use std::path::PathBuf;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(trimer_fixtures)");
    println!("cargo::rerun-if-env-changed=TRIMER_GOLDEN");
    println!("cargo::rerun-if-env-changed=TRIMER_SHARED");
    let named = |variable| std::env::var_os(variable).map(PathBuf::from);
    let folder = named("TRIMER_GOLDEN").or_else(|| Some(named("TRIMER_SHARED")?.join("golden")));
    let Some(folder) = folder else { return };
    if folder.is_dir() {
        println!("cargo::rustc-cfg=trimer_fixtures");
    } else {
        let folder = folder.display();
        println!(
            "cargo::warning=no fixtures: {folder} is no folder; tests that read them are ignored"
        );
    }
}
