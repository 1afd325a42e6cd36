//! Versions and machine, as stored with a run.

use trimer_nn::burn::tensor::Device;
use trimer_nn::device::{adapter_of, name_of};

/// Version, machine, device and the command of this process, as stored in a run's
/// `environment.json`.
pub fn environment(device: &Device) -> serde_json::Value {
    serde_json::json!({
        "trimer": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "threads": trimer_nn::kernels::threads(),
        "device": name_of(device).to_string(),
        "adapter": adapter_of(device),
        "command": std::env::args().collect::<Vec<_>>(),
    })
}
