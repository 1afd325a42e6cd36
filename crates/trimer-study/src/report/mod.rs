//! The content of pages: runs, labels, data cards. How they look is `trimer_report`'s.

pub mod labels;
pub mod run;
