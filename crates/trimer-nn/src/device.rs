//! Where tensors live: names on the command line to devices.

use crate::error::{NnError, Result};
use burn::tensor::Device;

/// The device of a name: `cpu`, `cuda:N` or `wgpu`.
///
/// # Errors
/// When the name is unknown, or this binary was built without that backend.
pub fn parse(name: &str) -> Result<Device> {
    let missing = |feature: &str| NnError::Device {
        device: name.to_owned(),
        reason: format!("this version has no {feature} backend"),
    };
    match name.split_once(':').unwrap_or((name, "0")) {
        ("cpu", _) => Ok(Device::flex()),
        ("cuda", _) => Err(missing("cuda")),
        ("wgpu", _) => Err(missing("wgpu")),
        _ => Err(NnError::Device {
            device: name.to_owned(),
            reason: "expected `cpu`, `cuda:0` or `wgpu`".into(),
        }),
    }
}
