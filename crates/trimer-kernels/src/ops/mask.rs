//! Masks of padding.

use burn::tensor::{Bool, Tensor};

/// Per sample the positions that are not padding.
pub(crate) fn visible_keys(pad_mask: Tensor<2, Bool>) -> Vec<Vec<u32>> {
    let [_, time] = pad_mask.dims();
    let padding: Vec<bool> = pad_mask.into_data().iter::<bool>().collect();
    padding
        .chunks(time.max(1))
        .map(|row| {
            (0_u32..)
                .zip(row)
                .filter(|(_, padding)| !**padding)
                .map(|(j, _)| j)
                .collect()
        })
        .collect()
}
