//! The command line tool `trimer`.
fn main() {}
