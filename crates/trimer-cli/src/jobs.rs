//! Several pieces of training at a time.

use std::thread;
use std::time::Duration;

/// Calls `work` on `jobs` threads, the calling one among them, and returns when all have ended.
///
/// The main thread is one of those that compute (see [`trimer_nn::kernels::use_threads`]). If it only waited, the
/// others would lack it, and with one thread wait for it forever.
pub(crate) fn at_a_time(jobs: usize, work: impl Fn() + Sync) {
    thread::scope(|scope| {
        let others: Vec<_> = (1..jobs).map(|_| scope.spawn(&work)).collect();
        work();
        while !others.iter().all(thread::ScopedJoinHandle::is_finished) {
            if !trimer_nn::kernels::lend_a_hand() {
                thread::sleep(Duration::from_millis(1));
            }
        }
    });
}
