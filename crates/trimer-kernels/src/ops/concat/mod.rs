//! Features of two matrices side by side, and those of several sets of rows.

mod kernel;
pub(crate) mod op;
mod plain;
#[cfg(test)]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use self::op::ConcatOps;
use crate::kernel_path::fused;

/// The rows of `left` and `right` beside one another; with several `sets` of rows, one set below the other, those of all
/// sets beside one another as well: `[l_1 r_1 l_2 r_2 ..]`.
///
/// # Shapes
/// - `left`: `[sets n, a]`, `right`: `[sets n, b]`
/// - result: `[n, sets (a + b)]`
///
/// # Panics
/// If the rows differ in number, or are no whole number of sets.
pub fn concat(left: Tensor<2>, right: Tensor<2>, sets: usize) -> Tensor<2> {
    let ([rows, _], [others, _]) = (left.dims(), right.dims());
    assert_eq!(rows, others, "rows side by side");
    assert!(
        sets > 0 && rows.is_multiple_of(sets),
        "{rows} rows in {sets} sets"
    );
    let empty = left.shape().num_elements() == 0 || right.shape().num_elements() == 0;
    if !fused(&left) || !fused(&right) || empty {
        return plain::concat(left, right, sets);
    }
    Tensor::from_dispatch(<Dispatch as ConcatOps>::fused_concat(
        left.into_dispatch(),
        right.into_dispatch(),
        sets,
    ))
}
