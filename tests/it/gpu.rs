//! Every registered model on a GPU backend compared with the CPU. Compiled with the features `wgpu` and
//! `cuda` only; skipped, with a line, where the machine has no such device. A software adapter of
//! Vulkan will do.

use trimer::conformance::{Subject, difference, logits};
use trimer::nn::Recorder;
use trimer::nn::burn::tensor::Device;
use trimer::nn::device::{self, DeviceName};
use trimer::nn::kernels;
use trimer::nn::weights::to_vec;

/// Outputs may differ by this much, relative to the largest of them but at least to one; gradients by
/// ten times as much.
const GRADIENT_TOLERANCE: f32 = 1e-3;

/// The devices of this build that this machine has.
fn gpus() -> Vec<Device> {
    let names = [
        #[cfg(feature = "cuda")]
        "cuda:0",
        #[cfg(feature = "wgpu")]
        "wgpu",
    ];
    let mut found = Vec::new();
    for name in names {
        match device::parse(name) {
            Ok(device) => found.push(device),
            Err(error) => println!("skipped on {name}: {error}"),
        }
    }
    found
}

#[test]
fn a_device_that_was_opened_is_the_one_that_computes() {
    for device in gpus() {
        assert_ne!(device::name_of(&device), DeviceName::Cpu);
        assert_eq!(
            device::name_of(&device.clone().autodiff()),
            device::name_of(&device)
        );
        assert!(device::adapter_of(&device).is_some());
        let x = trimer::nn::burn::tensor::Tensor::<2>::ones([2, 3], &device);
        assert!(!kernels::on_cpu(&x), "the fused kernels would be chosen");
    }
}

#[test]
fn logits_are_those_of_the_cpu() {
    for gpu in gpus() {
        for subject in Subject::all().unwrap() {
            for task in subject.tasks() {
                let of = |device: &Device| {
                    let model = subject.build(task, device).unwrap();
                    logits(&model, &subject.batch(1, 0.0, device))
                };
                let differ = difference(&of(&gpu), &of(&Device::flex()));
                let what = format!("{} on {}", subject.name(), device::name_of(&gpu));
                assert_eq!(differ, None, "{what}");
            }
        }
    }
}

#[test]
fn losses_and_gradients_are_those_of_the_cpu() {
    for gpu in gpus() {
        for subject in Subject::all().unwrap() {
            if !subject.is_closed_form() {
                compare_step(&subject, subject.main_task(), &gpu);
            }
        }
    }
}

fn compare_step(subject: &Subject, task: trimer::nn::Task, gpu: &Device) {
    let of = |device: &Device| {
        let device = device.clone().autodiff();
        let model = subject.build(task, &device).unwrap();
        let batch = subject.batch(1, 0.0, &device);
        // Without dropout, whose decisions are the device's own on a GPU.
        let rec = &mut Recorder::eval();
        let (loss, gradients) = subject
            .loss_and_gradients(&model, &batch, task, rec)
            .unwrap();
        let gradients: std::collections::BTreeMap<String, Vec<f32>> = gradients
            .iter()
            .map(|(path, g)| (path.clone(), to_vec(g.clone())))
            .collect();
        (loss, gradients)
    };
    let (loss, gradients) = of(gpu);
    let (expected_loss, expected) = of(&Device::flex());
    let name = subject.name();
    assert!(
        (loss - expected_loss).abs() <= 1e-4 * expected_loss.abs().max(1.0),
        "{name}: loss {loss}, on the CPU {expected_loss}"
    );
    assert!(gradients.keys().eq(expected.keys()), "{name}: gradients");
    for (path, expected) in &expected {
        let scale = expected.iter().fold(1.0_f32, |m, x| m.max(x.abs()));
        for (a, b) in gradients[path].iter().zip(expected) {
            assert!(
                (a - b).abs() <= GRADIENT_TOLERANCE * scale,
                "{name}: gradient of `{path}`: {a}, on the CPU {b}"
            );
        }
    }
}
