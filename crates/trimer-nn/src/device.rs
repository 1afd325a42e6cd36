//! Where tensors live: names on the command line to devices that work.
//!
//! The CPU is always there. `cuda` and `wgpu` are cargo features; a binary without them, or one on a
//! machine without the hardware, falls back to the CPU and says so ([`open`]), or refuses
//! ([`parse`]).

use crate::error::{NnError, Result};
#[cfg(any(feature = "cuda", feature = "wgpu"))]
use burn::backend::DispatchDevice;
use burn::tensor::Device;
use std::fmt;
use std::str::FromStr;

/// What `--device` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceName {
    /// The CPU, with the fused kernels.
    Cpu,
    /// An NVIDIA card, counted from 0.
    Cuda(usize),
    /// The best adapter that Vulkan, Metal or DirectX 12 offers.
    Wgpu,
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Wgpu => f.write_str("wgpu"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = NnError;

    /// `cpu`, `cuda` (the first card), `cuda:N` or `wgpu`.
    fn from_str(name: &str) -> Result<Self> {
        let refuse = |reason: &str| NnError::Device {
            device: name.to_owned(),
            reason: reason.to_owned(),
        };
        match (name, name.split_once(':')) {
            ("cpu", _) => Ok(Self::Cpu),
            ("wgpu", _) => Ok(Self::Wgpu),
            ("cuda", _) => Ok(Self::Cuda(0)),
            (_, Some(("cuda", index))) => match index.parse::<u16>() {
                Ok(index) => Ok(Self::Cuda(index.into())),
                Err(_) => Err(refuse(
                    "`cuda:` is followed by the number of a card, counted from 0",
                )),
            },
            _ => Err(refuse("expected `cpu`, `cuda:0` or `wgpu`")),
        }
    }
}

/// A device that works.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Where tensors are to be made; without autodiff.
    pub device: Device,
    /// What it is, which may not be what was asked for.
    pub name: DeviceName,
    /// What the hardware calls itself; `None` for the CPU.
    pub adapter: Option<String>,
    /// What the user must be told: that this is not the device that was asked for and why, or that
    /// it is a slow choice.
    pub warning: Option<String>,
}

impl Opened {
    fn cpu(warning: Option<String>) -> Self {
        Self {
            device: Device::flex(),
            name: DeviceName::Cpu,
            adapter: None,
            warning,
        }
    }
}

/// The device of a name, or the CPU with a warning where that device is not to be had.
///
/// Other than the CPU, a device is only given after a small computation on it was right.
///
/// # Errors
/// When the name is none of `cpu`, `cuda`, `cuda:N` and `wgpu`.
pub fn open(name: &str) -> Result<Opened> {
    let name: DeviceName = name.parse()?;
    let found = match name {
        DeviceName::Cpu => return Ok(Opened::cpu(None)),
        DeviceName::Cuda(index) => open_cuda(index),
        DeviceName::Wgpu => open_wgpu(),
    };
    Ok(found.unwrap_or_else(|reason| {
        Opened::cpu(Some(format!(
            "device `{name}` cannot be used: {reason}; computing on the CPU instead"
        )))
    }))
}

/// The device of a name: `cpu`, `cuda`, `cuda:N` or `wgpu`. [`open`] is its lenient sibling.
///
/// # Errors
/// When the name is unknown, this binary was built without that backend, or the machine does not
/// have such a device.
pub fn parse(name: &str) -> Result<Device> {
    let found = match name.parse::<DeviceName>()? {
        DeviceName::Cpu => return Ok(Device::flex()),
        DeviceName::Cuda(index) => open_cuda(index),
        DeviceName::Wgpu => open_wgpu(),
    };
    found
        .map(|opened| opened.device)
        .map_err(|reason| NnError::Device {
            device: name.to_owned(),
            reason,
        })
}

/// The name of the device that a tensor on `device` is really computed on.
pub fn name_of(device: &Device) -> DeviceName {
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    if let DispatchDevice::Cube(device) = device.clone().inner().as_dispatch() {
        use burn::backend::CubeDevice;
        match device {
            CubeDevice::Cuda(card) => return DeviceName::Cuda(card.index),
            CubeDevice::Wgpu(_) => return DeviceName::Wgpu,
            // No other runtime is ever compiled in.
            _ => {}
        }
    }
    let _ = device;
    DeviceName::Cpu
}

/// What the hardware of a device calls itself; `None` for the CPU.
pub fn adapter_of(device: &Device) -> Option<String> {
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    {
        device.clone().inner().identity().map(|who| who.name)
    }
    #[cfg(not(any(feature = "cuda", feature = "wgpu")))]
    {
        let _ = device;
        None
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(_index: usize) -> Result<Opened, String> {
    Err("this binary was built without the cargo feature `cuda`".into())
}

#[cfg(not(feature = "wgpu"))]
fn open_wgpu() -> Result<Opened, String> {
    Err("this binary was built without the cargo feature `wgpu`".into())
}

#[cfg(feature = "cuda")]
fn open_cuda(index: usize) -> Result<Opened, String> {
    use burn::tensor::DeviceType;

    probe::quietly("looking for NVIDIA cards", || {
        let found = Device::enumerate(DeviceType::Cuda).len();
        if found == 0 {
            return Err("there is no NVIDIA card, or no driver for it".into());
        }
        if index >= found {
            return Err(format!("there are {found} NVIDIA cards, counted from 0"));
        }
        let device = Device::cuda(index);
        probe::compute(&device)?;
        Ok(Opened {
            adapter: adapter_of(&device),
            device,
            name: DeviceName::Cuda(index),
            warning: None,
        })
    })
}

#[cfg(feature = "wgpu")]
fn open_wgpu() -> Result<Opened, String> {
    use burn::backend::{CubeDevice, WgpuDeviceKind};
    use burn::tensor::{DeviceKind, DeviceType};

    probe::quietly("looking for GPUs", || {
        let found = Device::enumerate(DeviceType::Wgpu);
        if found.is_empty() {
            return Err("neither Vulkan nor Metal nor DirectX 12 offers an adapter".into());
        }
        let in_software = found.iter().all(|device| {
            matches!(
                device.as_dispatch(),
                DispatchDevice::Cube(CubeDevice::Wgpu(d)) if d.kind == WgpuDeviceKind::Cpu
            )
        });
        let device = Device::wgpu(DeviceKind::DefaultDevice);
        probe::compute(&device)?;
        let adapter = adapter_of(&device);
        let warning = in_software.then(|| {
            format!(
                "the only adapter for `wgpu` ({}) computes in software; `device=cpu` is much faster",
                adapter.as_deref().unwrap_or("without a name")
            )
        });
        Ok(Opened {
            device,
            name: DeviceName::Wgpu,
            adapter,
            warning,
        })
    })
}

/// Trying a device without the user seeing a backend's panic.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod probe {
    use burn::tensor::{Device, Tensor};
    use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
    use std::sync::{Mutex, PoisonError};

    /// The hook is the whole process's: two probes must not restore each other's.
    static HOOK: Mutex<()> = Mutex::new(());

    /// Runs `f`; a panic inside, also of a backend's own thread, becomes an error and prints nothing.
    pub(super) fn quietly<T>(
        what: &str,
        f: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        let _guard = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
        let hook = take_hook();
        set_hook(Box::new(|_| {}));
        let result = catch_unwind(AssertUnwindSafe(f));
        set_hook(hook);
        result.unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("the backend gave no reason");
            let first = text.lines().next().unwrap_or_default();
            Err(format!("{what} failed: {first}"))
        })
    }

    /// A product and a sum whose result is known: 2 x 2 ones squared are twos, 8 in all.
    pub(super) fn compute(device: &Device) -> Result<(), String> {
        let ones = Tensor::<2>::ones([2, 2], device);
        let sum = ones.clone().matmul(ones).sum();
        let data = sum
            .try_into_data()
            .map_err(|e| format!("a trial computation failed: {e}"))?;
        let values = data.convert::<f32>().try_into_vec::<f32>();
        match values.as_deref() {
            Ok([x]) if (x - 8.0).abs() < 1e-3 => Ok(()),
            _ => Err(format!("a trial computation gave {values:?}, not 8")),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_panic_becomes_a_reason() {
            let failed: Result<(), String> = quietly("trying", || panic!("no card\nat all"));
            assert_eq!(failed, Err("trying failed: no card".into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (text, name) in [
            ("cpu", DeviceName::Cpu),
            ("cuda:0", DeviceName::Cuda(0)),
            ("cuda:3", DeviceName::Cuda(3)),
            ("wgpu", DeviceName::Wgpu),
        ] {
            assert_eq!(text.parse::<DeviceName>().unwrap(), name);
            assert_eq!(name.to_string(), text);
        }
        assert_eq!("cuda".parse::<DeviceName>().unwrap(), DeviceName::Cuda(0));
        for bad in [
            "gpu", "", "cuda:", "cuda:-1", "cuda:x", "CPU", "cpu:1", "wgpu:0",
        ] {
            assert!(bad.parse::<DeviceName>().is_err(), "{bad}");
            assert!(open(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_there_becomes_the_cpu_with_a_warning_or_an_error() {
        // No machine has so many cards, whatever the binary was built with.
        let opened = open("cuda:60000").unwrap();
        assert_eq!(opened.name, DeviceName::Cpu);
        assert_eq!(name_of(&opened.device), DeviceName::Cpu);
        let warning = opened.warning.unwrap();
        assert!(warning.contains("`cuda:60000`"), "{warning}");
        assert!(warning.contains("computing on the CPU"), "{warning}");
        assert!(parse("cuda:60000").is_err());
    }

    #[test]
    fn the_cpu_needs_no_warning() {
        let opened = open("cpu").unwrap();
        assert!(opened.warning.is_none() && opened.adapter.is_none());
        assert_eq!(name_of(&opened.device.autodiff()), DeviceName::Cpu);
    }
}
