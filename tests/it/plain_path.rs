//! The reference fixtures once more with every fused kernel switched off: both forms of each operation
//! must agree with PyTorch, not only with each other.

use std::process::Command;

#[test]
fn fixtures_hold_without_fused_kernels() {
    // The path is chosen for a whole process, so these tests run in one of their own.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["parity_", "--test-threads", "2"])
        .env("TRIMER_PATH", "plain")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("running 0 tests"), "{text}");
}
