//! Trimer: multimodal emotion recognition.
pub use trimer_core as core;
pub use trimer_nn as nn;
pub use trimer_report as report;
