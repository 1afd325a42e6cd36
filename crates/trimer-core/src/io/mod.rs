//! Files and text as the whole project writes them: whole or not at all, and quoted where needed.

mod atomic;
mod csv;

pub(crate) use atomic::is_full;
pub use atomic::{WriteError, partial, write_atomic, write_atomic_with};
pub use csv::csv_field;
