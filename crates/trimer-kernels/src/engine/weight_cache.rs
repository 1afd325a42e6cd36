//! Weights that were packed for a matrix product, kept for the next call of inference.
//!
//! For a single utterance packing a weight costs a good part of using it. An entry holds the weight's storage as well as
//! its packed form: tensors are copied on write, so storage that is held here never changes, and its address tells it
//! from all others. Entries whose weight nobody else holds any more are dropped when another one is added.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::backend::flex::FlexTensor;

use super::gemm::Packed;
use super::tensors::values;

/// Values kept, at most: 64 MiB. Weights of a large model are not worth a second copy, which is no faster to read.
const MOST: usize = 1 << 24;

/// Address, rows and columns of a weight.
type Key = (usize, usize, usize);

struct Entry {
    weight: FlexTensor,
    packed: Arc<Packed>,
}

static KEPT: Mutex<BTreeMap<Key, Entry>> = Mutex::new(BTreeMap::new());

fn kept() -> MutexGuard<'static, BTreeMap<Key, Entry>> {
    // No code that can panic runs while the lock is held half-way through a change.
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `weight` of `n` rows (outputs) and `k` columns (inputs), contiguous, packed for `x weight^T`.
pub(crate) fn transposed(weight: &FlexTensor, n: usize, k: usize) -> Arc<Packed> {
    let key = (values(weight).as_ptr() as usize, n, k);
    if let Some(entry) = kept().get(&key) {
        return Arc::clone(&entry.packed);
    }
    let packed = Arc::new(Packed::transposed(values(weight), n, k));
    let mut kept = kept();
    kept.retain(|_, entry| !entry.weight.is_unique());
    let size: usize = kept.keys().map(|(_, n, k)| n * k).sum();
    if size + n * k <= MOST {
        let entry = Entry {
            weight: weight.clone(),
            packed: Arc::clone(&packed),
        };
        kept.insert(key, entry);
    }
    packed
}

/// Drops all that is kept.
pub(crate) fn forget() {
    // Storage is freed after the lock is.
    let all = std::mem::take(&mut *kept());
    drop(all);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::pool::Buffer;
    use crate::engine::tensors::tensor;

    fn weight(value: f32) -> FlexTensor {
        let mut values = Buffer::take(6);
        values.fill(value);
        tensor(values, [2, 3].into())
    }

    fn is_kept(address: usize) -> bool {
        kept().contains_key(&(address, 2, 3))
    }

    #[test]
    fn weights_are_packed_once_and_forgotten_with_their_tensor() {
        let first = weight(1.0);
        let address = values(&first).as_ptr() as usize;
        let packed = transposed(&first, 2, 3);
        assert!(Arc::ptr_eq(&packed, &transposed(&first, 2, 3)));
        assert!(is_kept(address));
        // A copy that is written to has storage of its own.
        let mut changed = first.clone();
        changed.storage_mut::<f32>().fill(5.0);
        assert_ne!(values(&changed).as_ptr() as usize, address);
        assert!(!Arc::ptr_eq(&packed, &transposed(&changed, 2, 3)));
        drop(first);
        let _ = transposed(&weight(2.0), 2, 3);
        assert!(!is_kept(address), "nobody holds the weight any more");
    }
}
