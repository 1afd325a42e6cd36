//! The threads that the kernels compute on.

use rayon::{ThreadPoolBuildError, ThreadPoolBuilder};

/// Sets up the pool of threads with the calling thread as one of them; 0 = as many as the machine has.
///
/// Called once, first thing in a program's main thread: work then starts right there, where it otherwise has to wake
/// up another thread at every operation. Without it the pool is made on first use and has threads of its own.
///
/// # Errors
/// When there is a pool already, or the system gives no threads.
pub fn use_threads(n: usize) -> Result<(), ThreadPoolBuildError> {
    ThreadPoolBuilder::new()
        .num_threads(n)
        .use_current_thread()
        .build_global()
}

/// Sets up the pool of threads without the calling one; 0 = as many as the machine has.
///
/// For programs in which several threads compute while the one that calls this waits for them: a pool that counts a
/// waiting thread among its own lacks it, and with no other thread does nothing at all.
///
/// # Errors
/// When there is a pool already, or the system gives no threads.
pub fn use_other_threads(n: usize) -> Result<(), ThreadPoolBuildError> {
    ThreadPoolBuilder::new().num_threads(n).build_global()
}

/// How many threads the kernels compute on.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Runs two independent pieces of work, at the same time where a thread is free.
pub fn join<A: Send, B: Send>(
    a: impl FnOnce() -> A + Send,
    b: impl FnOnce() -> B + Send,
) -> (A, B) {
    rayon::join(a, b)
}
