//! Dropout of all rows of a batch, and the sum with constant rows before it, split over threads.

use rayon::prelude::*;

use crate::engine::dropout_bits::DropoutStream;
use crate::engine::rows::{drop_row, rows_per_pass};

/// `y = Drop(x + rows)` for rows of `columns` values; `rows` repeat from sample to sample.
pub(crate) fn dropout(
    x: &[f32],
    rows: Option<&[f32]>,
    columns: usize,
    stream: Option<&DropoutStream>,
    y: &mut [f32],
) {
    let per_task = rows_per_pass(columns);
    x.par_chunks(per_task * columns)
        .zip(y.par_chunks_mut(per_task * columns))
        .enumerate()
        .for_each(|(task, (x, y))| {
            let lines = x.chunks(columns).zip(y.chunks_mut(columns));
            for (i, (x, y)) in lines.enumerate() {
                let row = task * per_task + i;
                match rows {
                    None => y.copy_from_slice(x),
                    Some(rows) => {
                        let at = row * columns % rows.len();
                        for (y, (x, r)) in y.iter_mut().zip(x.iter().zip(&rows[at..])) {
                            *y = x + r;
                        }
                    }
                }
                if let Some(stream) = stream {
                    drop_row(y, stream, row as u64);
                }
            }
        });
}
