//! Several pieces of work at a time.

/// Runs `work` on `jobs` threads at once and waits for all; a single job runs on the calling thread, which belongs to
/// the pool that the kernels compute on (see [`crate::main`]).
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
