//! Watching what the layers of a model read, for plug-ins that need it.
//!
//! Burn has no hooks. Instead every layer with weights reports its input here, together with the ids
//! of its parameters; unless somebody records on this thread, that costs the look at one flag. A layer
//! reports as one module, as a leaf module of the reference does: the parameters that belong together
//! and the input that reaches them.
//!
//! A module that runs several times in one pass has all its inputs kept, one below the other. The
//! models that mirror published code for gradient modulation say instead which call counts there,
//! the last one, with [`see_last`].

use burn::module::ParamId;
use burn::tensor::Tensor;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

/// A parameter of a module and the axis along which the input's features meet it; `None` for biases,
/// norms and whatever else is not multiplied with the input.
pub type Read = (ParamId, Option<usize>);

/// What one module read.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its parameters; the first names the module.
    pub params: Vec<Read>,
    /// Whether the module runs over time with a state of its own.
    pub recurrent: bool,
    /// `[row, feature]` per call, detached.
    pub inputs: Vec<Tensor<2>>,
}

/// What all modules of a pass read, in the order in which they first ran.
#[derive(Debug, Clone, Default)]
pub struct Inputs(pub Vec<Seen>);

impl Inputs {
    /// The module whose first parameter is `id`.
    pub fn of(&self, id: ParamId) -> Option<&Seen> {
        self.0
            .iter()
            .find(|seen| seen.params.first().is_some_and(|(first, _)| *first == id))
    }
}

/// Which modules somebody asks for: all, or those whose first parameter is listed.
pub type Wanted = Option<BTreeSet<ParamId>>;

#[derive(Default)]
struct Recording {
    wanted: Wanted,
    seen: Inputs,
}

thread_local! {
    static ACTIVE: Cell<bool> = const { Cell::new(false) };
    static RECORDING: RefCell<Recording> = RefCell::new(Recording::default());
}

/// Runs `f` on this thread and keeps what the wanted modules read.
pub fn record<T>(wanted: Wanted, f: impl FnOnce() -> T) -> (T, Inputs) {
    /// Ends the recording, also when `f` panics.
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            ACTIVE.set(false);
        }
    }
    RECORDING.set(Recording {
        wanted,
        seen: Inputs::default(),
    });
    ACTIVE.set(true);
    let guard = Guard;
    let result = f();
    drop(guard);
    (result, RECORDING.take().seen)
}

/// Whether somebody records on this thread. Models then run on this thread alone.
pub fn is_active() -> bool {
    ACTIVE.get()
}

/// Whether somebody asks for the module whose first parameter is `id`.
pub fn wants(id: ParamId) -> bool {
    is_active()
        && RECORDING.with_borrow(|r| r.wanted.as_ref().is_none_or(|wanted| wanted.contains(&id)))
}

/// Reports the input of a module, after those of earlier calls.
///
/// # Shapes
/// - `x`: `[.., feature]`
pub fn see<const D: usize>(params: &[Read], x: &Tensor<D>) {
    report(params, false, false, x);
}

/// Reports the input of a module as the only one that counts.
///
/// # Shapes
/// - `x`: `[.., feature]`
pub fn see_last<const D: usize>(params: &[Read], x: &Tensor<D>) {
    report(params, false, true, x);
}

/// Reports the input of a module that has a state over time.
///
/// # Shapes
/// - `x`: `[.., feature]`
pub fn see_recurrent<const D: usize>(params: &[Read], last: bool, x: &Tensor<D>) {
    report(params, true, last, x);
}

fn report<const D: usize>(params: &[Read], recurrent: bool, last: bool, x: &Tensor<D>) {
    let Some((first, _)) = params.first() else {
        return;
    };
    if !wants(*first) {
        return;
    }
    let dims = x.dims();
    let features = dims.last().copied().unwrap_or(1);
    let rows = dims.iter().product::<usize>() / features.max(1);
    let input = x.clone().without_autodiff().reshape([rows, features]);
    RECORDING.with_borrow_mut(|recording| {
        let modules = &mut recording.seen.0;
        let known = modules
            .iter_mut()
            .find(|seen| seen.params.first().is_some_and(|(id, _)| id == first));
        match known {
            Some(seen) if last => seen.inputs = vec![input],
            Some(seen) => seen.inputs.push(input),
            None => modules.push(Seen {
                params: params.to_vec(),
                recurrent,
                inputs: vec![input],
            }),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn nothing_is_kept_unless_somebody_records_and_the_last_call_may_count_alone() {
        let device = Device::flex();
        let (a, b) = (ParamId::new(), ParamId::new());
        let x = Tensor::<3>::ones([2, 3, 4], &device);
        see(&[(a, Some(1))], &x);
        let ((), inputs) = record(Some(BTreeSet::from([a])), || {
            see(&[(a, Some(1))], &x);
            see(&[(a, Some(1))], &x);
            see(&[(b, None)], &x);
            assert!(wants(a) && !wants(b));
        });
        assert!(!is_active());
        assert_eq!(inputs.0.len(), 1);
        let seen = inputs.of(a).unwrap();
        assert_eq!((seen.inputs.len(), seen.inputs[0].dims()), (2, [6, 4]));
        let ((), inputs) = record(None, || {
            see(&[(a, Some(1))], &x);
            see_last(&[(a, Some(1))], &x.clone().narrow(1, 2, 1));
            see(&[(b, None)], &x);
        });
        assert_eq!(inputs.0.len(), 2);
        assert_eq!(inputs.of(a).unwrap().inputs[0].dims(), [2, 4]);
    }
}
