//! Times the transformer blocks of one LFMIM step through Burn: four towers of four layers, batch 24.
//!
//! `cargo run --release --example block_bench -- [--wide] [--no-dropout] [--plain] [--batch N] [--repeat N]`

#![expect(
    clippy::print_stdout,
    reason = "an example that reports on the terminal"
)]

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use trimer_kernels::{BlockOptions, BlockWeights, Path, lfmim_block, set_path};

fn weights(d: usize, device: &Device) -> BlockWeights {
    let a = (1.0 / d as f64).sqrt();
    let w = |shape| {
        track(Tensor::<2>::random(
            shape,
            Distribution::Uniform(-a, a),
            device,
        ))
    };
    let v = |n: usize| {
        track(Tensor::<1>::random(
            [n],
            Distribution::Uniform(0.5, 1.5),
            device,
        ))
    };
    BlockWeights {
        ln_1_weight: v(d),
        ln_1_bias: v(d),
        in_proj_weight: w([3 * d, d]),
        in_proj_bias: v(3 * d),
        out_proj_weight: w([d, d]),
        out_proj_bias: v(d),
        ln_12_weight: v(d),
        ln_12_bias: v(d),
        ln_2_weight: v(d),
        ln_2_bias: v(d),
        fc_weight: w([4 * d, d]),
        fc_bias: v(4 * d),
        proj_weight: w([d, 4 * d]),
        proj_bias: v(d),
        ln_22_weight: v(d),
        ln_22_bias: v(d),
    }
}

fn track<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if x.device().is_autodiff() {
        x.require_grad()
    } else {
        x
    }
}

/// User and system CPU time of this process so far, in seconds: what other processes do does not enter.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = |i: usize| {
        stat.split(' ')
            .nth(i)
            .and_then(|x| x.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(13) + ticks(14)) / 100.0
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let flag = |name: &str| args.iter().any(|a| a == name);
    let number = |name: &str, default: usize| {
        let at = args.iter().position(|a| a == name);
        at.and_then(|i| args.get(i + 1))
            .and_then(|x| x.parse().ok())
            .unwrap_or(default)
    };
    let wide = flag("--wide");
    let (d, n_heads) = if wide { (1024, 16) } else { (128, 8) };
    let times: &[usize] = if wide {
        &[81, 51, 17, 17, 153]
    } else {
        &[80, 100, 64, 245]
    };
    let (batch, repeat) = (number("--batch", 24), number("--repeat", 12));
    if flag("--plain") {
        set_path(Path::Plain);
    }
    let device = Device::flex().autodiff();
    let towers: Vec<Vec<BlockWeights>> = times
        .iter()
        .map(|_| (0..4).map(|_| weights(d, &device)).collect())
        .collect();
    let inputs: Vec<Tensor<3>> = times
        .iter()
        .map(|&t| Tensor::random([batch, t, d], Distribution::Normal(0.0, 1.0), &device))
        .collect();
    let mut seed = 0;
    let mut step = || {
        let mut loss = Tensor::<1>::zeros([1], &device);
        for (x, tower) in inputs.iter().zip(&towers) {
            let mut x = x.clone();
            for block in tower {
                seed += 1;
                let options = BlockOptions::new(n_heads);
                let options = if flag("--no-dropout") {
                    options
                } else {
                    options.with_dropout(0.2, 0.1, seed)
                };
                x = lfmim_block(x, block.clone(), None, &options);
            }
            loss = loss + x.sum();
        }
        loss.backward()
    };
    report("training", batch, repeat, || drop(step()));
    let frozen = Device::flex();
    let inputs: Vec<Tensor<3>> = inputs.iter().map(|x| x.clone().inner()).collect();
    let towers: Vec<Vec<BlockWeights>> = times
        .iter()
        .map(|_| (0..4).map(|_| weights(d, &frozen)).collect())
        .collect();
    let infer = |inputs: &[Tensor<3>]| {
        for (x, tower) in inputs.iter().zip(&towers) {
            let mut x = x.clone();
            for block in tower {
                x = lfmim_block(x, block.clone(), None, &BlockOptions::new(n_heads));
            }
        }
    };
    report("inference", batch, repeat, || infer(&inputs));
    let one: Vec<Tensor<3>> = inputs.iter().map(|x| x.clone().narrow(0, 0, 1)).collect();
    report("inference", 1, 10 * repeat, || infer(&one));
}

fn report(what: &str, batch: usize, repeat: usize, mut f: impl FnMut()) {
    f();
    f();
    let cpu = cpu_seconds();
    let mut runs: Vec<f64> = (0..repeat)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64()
        })
        .collect();
    let cpu = (cpu_seconds() - cpu) / repeat as f64;
    runs.sort_by(f64::total_cmp);
    let (best, median) = (runs[0], runs[repeat / 2]);
    println!(
        "{what}, batch {batch}: best {:.2} ms ({:.1}/s), median {:.2} ms ({:.1}/s), cpu {:.2} ms",
        best * 1e3,
        batch as f64 / best,
        median * 1e3,
        batch as f64 / median,
        cpu * 1e3,
    );
}
