//! Tells the integration tests which reference data the environment names, so that tests without theirs are shown as
//! ignored and never pass unseen.
//!
//! `trimer_fixtures`: `TRIMER_GOLDEN` or `TRIMER_SHARED` is set. `trimer_data`: `TRIMER_SHARED` is set, whose `data/`
//! holds excerpts of public corpora. Only that the variables are set counts: a folder that is not there must fail the
//! tests, not hide them.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(trimer_fixtures, trimer_data)");
    let named = |variable: &str| {
        println!("cargo::rerun-if-env-changed={variable}");
        env::var_os(variable).is_some_and(|value| !value.is_empty())
    };
    let (golden, shared) = (named("TRIMER_GOLDEN"), named("TRIMER_SHARED"));
    if golden || shared {
        println!("cargo::rustc-cfg=trimer_fixtures");
    }
    if shared {
        println!("cargo::rustc-cfg=trimer_data");
    }
}
