//! Lists of rows of unequal length as a few rectangles.

use super::rows_tensor;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use std::cmp::Reverse;

/// Lists of at most so many rows more than the shortest share a rectangle in any case.
const SLACK: usize = 3;

/// Lists of rows, those of similar length side by side in one padded rectangle.
///
/// Every list of a rectangle is at least three quarters as long as the rectangle is wide (or shorter by
/// three at most), so the work with rectangles, even work that grows with the square of the width, stays
/// within a factor of two of the work with the lists.
#[derive(Debug, Clone)]
pub struct Buckets {
    /// From the widest to the narrowest.
    pub groups: Vec<Bucket>,
    /// Place of every row among all cells of all groups; `None` where that is the identity.
    back: Option<Tensor<1, Int>>,
}

/// One padded rectangle.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Which lists, by their number.
    pub members: Vec<usize>,
    /// Cells of a list, padding included.
    pub width: usize,
    /// The row in every cell, `[member * width]`; row 0 in padding.
    cells: Tensor<1, Int>,
    /// `[member, width, 1]`: one where real, zero in padding; `None` without padding.
    real: Option<Tensor<3>>,
}

impl Buckets {
    /// Groups lists of similar length. Empty lists are left out.
    pub fn new(lists: &[Vec<usize>], device: &Device) -> Self {
        let mut order: Vec<usize> = (0..lists.len()).filter(|i| !lists[*i].is_empty()).collect();
        order.sort_by_key(|i| Reverse(lists[*i].len()));
        let mut groups: Vec<(usize, Vec<usize>)> = Vec::new();
        for i in order {
            let length = lists[i].len();
            match groups.last_mut() {
                Some((width, members)) if 4 * length >= 3 * *width || length + SLACK >= *width => {
                    members.push(i);
                }
                _ => groups.push((length, vec![i])),
            }
        }
        Self::arrange(lists, groups, device)
    }

    /// One rectangle of the given width for all lists that are not empty.
    pub fn padded(lists: &[Vec<usize>], width: usize, device: &Device) -> Self {
        let members = (0..lists.len()).filter(|i| !lists[*i].is_empty()).collect();
        Self::arrange(lists, vec![(width, members)], device)
    }

    fn arrange(
        lists: &[Vec<usize>],
        mut groups: Vec<(usize, Vec<usize>)>,
        device: &Device,
    ) -> Self {
        let n = lists.iter().flatten().max().map_or(0, |last| last + 1);
        let mut place = vec![0; n];
        let mut first = 0;
        let mut buckets = Vec::with_capacity(groups.len());
        for (width, members) in &mut groups {
            // The rows of a rectangle are in the order of the lists.
            members.sort_unstable();
            let mut cells = vec![0; members.len() * *width];
            let mut real = vec![0.0_f32; cells.len()];
            for (line, member) in members.iter().enumerate() {
                for (column, row) in lists[*member].iter().enumerate() {
                    let cell = line * *width + column;
                    cells[cell] = *row;
                    real[cell] = 1.0;
                    place[*row] = first + cell;
                }
            }
            first += cells.len();
            let full = real.iter().all(|x| *x == 1.0);
            let shape = [members.len(), *width, 1];
            buckets.push(Bucket {
                members: std::mem::take(members),
                width: *width,
                cells: rows_tensor(&cells, device),
                real: (!full).then(|| Tensor::from_data(TensorData::new(real, shape), device)),
            });
        }
        let identity = first == n && place.iter().enumerate().all(|(row, cell)| row == *cell);
        Self {
            groups: buckets,
            back: (!identity).then(|| rows_tensor(&place, device)),
        }
    }

    /// Puts the cells of all rectangles back to their rows; every row is in one list.
    ///
    /// # Shapes
    /// - `parts`: per group `[member, width, feature]`
    /// - result: `[row, feature]`
    pub fn join(&self, parts: Vec<Tensor<3>>) -> Tensor<2> {
        let flat = parts.into_iter().map(flatten).collect();
        let flat = Tensor::cat(flat, 0);
        match &self.back {
            Some(back) => flat.select(0, back.clone()),
            None => flat,
        }
    }
}

impl Bucket {
    /// The rows in their cells, zero in padding.
    ///
    /// # Shapes
    /// - `x`: `[row, feature]`
    /// - result: `[member, width, feature]`
    pub fn take(&self, x: &Tensor<2>) -> Tensor<3> {
        self.clear(self.any_in(x))
    }

    /// The rows in their cells, and some row or other in padding: for products with zeros there.
    ///
    /// # Shapes
    /// - `x`: `[row, feature]`
    /// - result: `[member, width, feature]`
    pub fn any_in(&self, x: &Tensor<2>) -> Tensor<3> {
        let [_, dim] = x.dims();
        let taken = x.clone().select(0, self.cells.clone());
        taken.reshape([self.members.len(), self.width, dim])
    }

    /// Zero in padding, unchanged elsewhere.
    ///
    /// # Shapes
    /// - `x` and result: `[member, width, feature]`
    pub fn clear(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.real {
            Some(real) => x * real.clone(),
            None => x,
        }
    }

    /// One for each real column, zero for padding, `[member, 1, width]`; `None` without padding.
    pub fn real_columns(&self) -> Option<Tensor<3>> {
        self.real.clone().map(|real| real.swap_dims(1, 2))
    }

    /// `[member, width]`, true = padding.
    pub fn pad_mask(&self) -> Tensor<2, Bool> {
        let shape = [self.members.len(), self.width];
        match &self.real {
            Some(real) => real.clone().reshape(shape).equal_elem(0.0),
            None => Tensor::<2>::zeros(shape, &self.cells.device()).equal_elem(1.0),
        }
    }
}

/// All cells of a rectangle below one another.
pub(super) fn flatten(x: Tensor<3>) -> Tensor<2> {
    let [members, width, dim] = x.dims();
    x.reshape([members * width, dim])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::to_vec;

    #[test]
    fn rows_come_back_to_their_places() {
        let device = Device::flex();
        let lists = [vec![4, 0], vec![], (5..25).collect(), vec![3, 1, 2]];
        let values: Vec<f32> = (0..50).map(|i| i as f32).collect();
        let x = Tensor::<2>::from_data(TensorData::new(values.clone(), [25, 2]), &device);
        for buckets in [
            Buckets::new(&lists, &device),
            Buckets::padded(&lists, 30, &device),
        ] {
            let parts = buckets.groups.iter().map(|b| b.take(&x)).collect();
            assert_eq!(to_vec(buckets.join(parts)), values);
        }
        let buckets = Buckets::new(&lists, &device);
        let shapes: Vec<_> = buckets
            .groups
            .iter()
            .map(|b| (b.members.clone(), b.width))
            .collect();
        assert_eq!(shapes, [(vec![2], 20), (vec![0, 3], 3)]);
        let narrow = &buckets.groups[1];
        assert_eq!(
            to_vec(narrow.take(&x).narrow(2, 0, 1)),
            [8.0, 0.0, 0.0, 6.0, 2.0, 4.0]
        );
        assert_eq!(
            to_vec(narrow.pad_mask().float()),
            [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
        );
    }

    /// One long conversation among short ones must not widen these.
    #[test]
    fn padding_stays_within_a_factor_of_two() {
        let device = Device::flex();
        let mut first = 0;
        let lists: Vec<Vec<usize>> = (1..=400)
            .map(|n| {
                first += n;
                (first - n..first).collect()
            })
            .collect();
        let pairs: usize = lists.iter().map(|l| l.len() * l.len()).sum();
        let buckets = Buckets::new(&lists, &device);
        let worked: usize = buckets
            .groups
            .iter()
            .map(|b| b.members.len() * b.width * b.width)
            .sum();
        assert!(worked < 2 * pairs, "{worked} for {pairs}");
    }
}
