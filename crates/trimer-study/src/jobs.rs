//! Several pieces of work at a time.

/// Runs `work` on `jobs` threads at once and waits for all; a single job runs on the calling thread.
///
/// With several jobs the kernels should compute on threads of their own
/// ([`trimer_nn::kernels::use_other_threads`]).
pub(crate) fn run(jobs: usize, work: impl Fn() + Sync) {
    if jobs <= 1 {
        return work();
    }
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(&work);
        }
    });
}
