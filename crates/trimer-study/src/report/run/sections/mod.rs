//! The sections of a report: one file each, and one line in [`SECTIONS`].

mod calibration;
mod classes;
mod confusions;
mod conversations;
pub(super) mod data;
mod embedding;
mod hardest;
mod heads;
mod plugins;
mod protocol;
mod robustness;
mod spread;
pub(super) mod summary;
mod training;

use super::part::SectionInfo;

/// All sections, in the order of the page. The summary and the data come before them.
pub(super) static SECTIONS: &[SectionInfo] = &[
    protocol::INFO,
    training::INFO,
    plugins::INFO,
    classes::INFO,
    confusions::INFO,
    heads::INFO,
    spread::INFO,
    calibration::INFO,
    embedding::INFO,
    robustness::INFO,
    conversations::INFO,
    hardest::INFO,
];

/// The names of sections that can be left out.
pub fn section_ids() -> Vec<&'static str> {
    let all = SECTIONS.iter().map(|s| s.id);
    std::iter::once("data").chain(all).collect()
}
