//! The operations against PyTorch, from the reference fixtures: `block_lfmim`, `block_mha`, `block_layernorm`.
//!
//! The fixtures are looked for in `TRIMER_GOLDEN`, else in `$TRIMER_SHARED/golden`; where neither is a folder the tests
//! are ignored.

#[path = "../src/testing/compare.rs"]
mod compare;

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::tensor::{Bool, Device, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use trimer_kernels::{
    AttentionMasks, AttentionOptions, LfmimBlockOptions, LfmimBlockWeights, LinearOptions,
    attention, layer_norm, lfmim_block, linear,
};

use compare::assert_close;

struct Fixture {
    info: Value,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

/// Fixtures whose name begins with `prefix`; at least one.
fn fixtures(prefix: &str) -> Vec<Fixture> {
    let directory = std::env::var_os("TRIMER_GOLDEN")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("TRIMER_SHARED").map(|d| PathBuf::from(d).join("golden")))
        .expect("TRIMER_GOLDEN or TRIMER_SHARED names the fixtures");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&directory).expect("the directory of the fixtures exists") {
        let path = entry.expect("a directory entry").path();
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        if !name.starts_with(prefix) || path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("the description can be read");
        let bytes =
            std::fs::read(path.with_extension("safetensors")).expect("the tensors can be read");
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let tensors = file.iter().map(|(name, view)| {
            let values: Vec<f32> = match view.dtype() {
                Dtype::F32 => {
                    let chunks = view.data().chunks_exact(4);
                    chunks
                        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                        .collect()
                }
                Dtype::BOOL | Dtype::U8 => view.data().iter().map(|&b| f32::from(b)).collect(),
                Dtype::I64 => {
                    let chunks = view.data().chunks_exact(8);
                    chunks
                        .map(|b| i64::from_le_bytes(b.try_into().expect("eight bytes")) as f32)
                        .collect()
                }
                other => panic!("{name}: {other:?} is not expected here"),
            };
            (name.to_string(), (view.shape().to_vec(), values))
        });
        found.push(Fixture {
            info: serde_json::from_str(&text).expect("JSON"),
            tensors: tensors.collect(),
        });
    }
    assert!(
        !found.is_empty(),
        "no fixture `{prefix}*` in {}",
        directory.display()
    );
    found
}

impl Fixture {
    /// What the description lists under `key`; at least one thing.
    fn list(&self, key: &str) -> &[Value] {
        let list = self.info[key].as_array().expect("a list");
        assert!(!list.is_empty(), "`{key}` of the fixture is empty");
        list
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn get<const D: usize>(&self, name: &str) -> Tensor<D> {
        let (shape, values) = self
            .tensors
            .get(name)
            .unwrap_or_else(|| panic!("no tensor {name}"));
        let data = TensorData::new(values.clone(), shape.clone());
        Tensor::from_data(data, &Device::flex().autodiff()).require_grad()
    }

    fn mask(&self, name: &str) -> Option<Tensor<2, Bool>> {
        let (shape, values) = self.tensors.get(name)?;
        let mask: Vec<bool> = values.iter().map(|&x| x != 0.0).collect();
        Some(Tensor::from_data(
            TensorData::new(mask, shape.clone()),
            &Device::flex().autodiff(),
        ))
    }

    fn tolerance(&self, kind: &str) -> f64 {
        self.info["recommended_tolerances"][kind]
            .as_f64()
            .unwrap_or(1e-5)
    }

    fn check<const D: usize>(&self, name: &str, kind: &str, ours: Tensor<D>) {
        let (shape, expected) = self
            .tensors
            .get(name)
            .unwrap_or_else(|| panic!("no tensor {name}"));
        assert_eq!(&ours.dims()[..], &shape[..], "{name}");
        let ours = ours.into_data().try_to_vec::<f32>().expect("f32 data");
        assert_close(name, &ours, expected, self.tolerance(kind), 0.0);
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn the_plain_compositions_agree_too() {
    // The path is chosen for a whole process, so these tests run in one of their own.
    let output = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--skip", "the_plain_compositions_agree_too"])
        .env("TRIMER_PATH", "plain")
        .output()
        .expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("3 passed; 0 failed; 0 ignored"), "{text}");
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn block() {
    for fixture in fixtures("block_lfmim") {
        for case in fixture.list("cases") {
            let i = case["case"].as_u64().expect("a number");
            let n_heads = case["heads"].as_u64().expect("a number") as usize;
            let vector = |name: &str| fixture.get::<1>(&format!("case{i}.param.{name}"));
            let matrix = |name: &str| fixture.get::<2>(&format!("case{i}.param.{name}"));
            let weights = LfmimBlockWeights {
                ln_1_weight: vector("ln_1.weight"),
                ln_1_bias: vector("ln_1.bias"),
                in_proj_weight: matrix("attn.in_proj_weight"),
                in_proj_bias: vector("attn.in_proj_bias"),
                out_proj_weight: matrix("attn.out_proj.weight"),
                out_proj_bias: vector("attn.out_proj.bias"),
                ln_12_weight: vector("ln_12.weight"),
                ln_12_bias: vector("ln_12.bias"),
                ln_2_weight: vector("ln_2.weight"),
                ln_2_bias: vector("ln_2.bias"),
                fc_weight: matrix("mlp.c_fc.weight"),
                fc_bias: vector("mlp.c_fc.bias"),
                proj_weight: matrix("mlp.c_proj.weight"),
                proj_bias: vector("mlp.c_proj.bias"),
                ln_22_weight: vector("ln_22.weight"),
                ln_22_bias: vector("ln_22.bias"),
            };
            let x = fixture.get::<3>(&format!("case{i}.input.x"));
            let y = lfmim_block(
                x.clone(),
                weights.clone(),
                None,
                &LfmimBlockOptions::new(n_heads),
            );
            fixture.check(&format!("case{i}.output.out"), "output", y.clone());
            let upstream = fixture.get::<3>(&format!("case{i}.input.grad_output"));
            let grads = (y * upstream.detach()).sum().backward();
            let gradient = |name: &str| format!("case{i}.grad.{name}");
            fixture.check(&gradient("x"), "grad", x.grad(&grads).expect("tracked"));
            let w = weights;
            for (name, parameter) in [
                ("ln_1.weight", w.ln_1_weight),
                ("ln_1.bias", w.ln_1_bias),
                ("attn.out_proj.bias", w.out_proj_bias),
                ("ln_12.weight", w.ln_12_weight),
                ("ln_12.bias", w.ln_12_bias),
                ("ln_2.weight", w.ln_2_weight),
                ("ln_2.bias", w.ln_2_bias),
                ("mlp.c_fc.bias", w.fc_bias),
                ("mlp.c_proj.bias", w.proj_bias),
                ("ln_22.weight", w.ln_22_weight),
                ("ln_22.bias", w.ln_22_bias),
                ("attn.in_proj_bias", w.in_proj_bias),
            ] {
                fixture.check(
                    &gradient(name),
                    "grad",
                    parameter.grad(&grads).expect("tracked"),
                );
            }
            for (name, parameter) in [
                ("attn.in_proj_weight", w.in_proj_weight),
                ("attn.out_proj.weight", w.out_proj_weight),
                ("mlp.c_fc.weight", w.fc_weight),
                ("mlp.c_proj.weight", w.proj_weight),
            ] {
                fixture.check(
                    &gradient(name),
                    "grad",
                    parameter.grad(&grads).expect("tracked"),
                );
            }
        }
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn layer_norms() {
    for fixture in fixtures("block_layernorm") {
        let n = fixture.list("shapes").len();
        for i in 0..n {
            let get = |name: &str| fixture.get::<1>(&format!("case{i}.{name}"));
            let (shape, values) = &fixture.tensors[&format!("case{i}.input.x")];
            let d = *shape.last().expect("at least one dimension");
            let x = Tensor::<2>::from_data(
                TensorData::new(values.clone(), [values.len() / d, d]),
                &Device::flex().autodiff(),
            );
            let y = layer_norm(x, get("param.weight"), get("param.bias"), 1e-5);
            let (_, expected) = &fixture.tensors[&format!("case{i}.output.out")];
            let y = y.into_data().try_to_vec::<f32>().expect("f32 data");
            let bound = fixture.tolerance("output");
            assert_close(&format!("case {i}"), &y, expected, bound, 0.0);
        }
    }
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn multi_head_attention() {
    for fixture in fixtures("block_mha") {
        for case in fixture.list("cases") {
            let i = case["case"].as_u64().expect("a number");
            let n_heads = case["heads"].as_u64().expect("a number") as usize;
            let name = |rest: &str| format!("case{i}.{rest}");
            let x = fixture.get::<3>(&name("input.x"));
            let d = x.dims()[2];
            let memory = ["input.memory", "input.mem", "input.kv", "input.key"];
            let memory = memory.iter().find(|m| fixture.has(&name(m)));
            let source = memory.map_or_else(|| x.clone(), |m| fixture.get::<3>(&name(m)));
            let weight = fixture.get::<2>(&name("param.in_proj_weight"));
            let bias = fixture.get::<1>(&name("param.in_proj_bias"));
            let project = |x: &Tensor<3>, part: usize| {
                let (w, b) = (
                    weight.clone().narrow(0, part * d, d),
                    bias.clone().narrow(0, part * d, d),
                );
                linear(x.clone(), w, Some(b), &LinearOptions::default())
            };
            let masks = AttentionMasks {
                pad_mask: fixture.mask(&name("input.key_padding_mask")),
                score_bias: score_bias(&fixture, &name("input.attn_mask")),
            };
            let (q, k, v) = (project(&x, 0), project(&source, 1), project(&source, 2));
            let y = attention(q, k, v, masks, &AttentionOptions::new(n_heads));
            let out_weight = fixture.get::<2>(&name("param.out_proj.weight"));
            let out_bias = fixture.get::<1>(&name("param.out_proj.bias"));
            let y = linear(y, out_weight, Some(out_bias), &LinearOptions::default());
            fixture.check(&name("output.out"), "output", y.clone());
            let upstream = fixture.get::<3>(&name("input.grad_output"));
            let grads = (y * upstream.detach()).sum().backward();
            fixture.check(&name("grad.x"), "grad", x.grad(&grads).expect("tracked"));
            let gradient = weight.grad(&grads).expect("tracked");
            fixture.check(&name("grad.in_proj_weight"), "grad", gradient);
        }
    }
}

/// A mask of any kind as something to add to scores: minus infinity where a boolean mask is true.
fn score_bias(fixture: &Fixture, name: &str) -> Option<Tensor<2>> {
    let (shape, values) = fixture.tensors.get(name)?;
    let boolean = fixture.info["tensors"][name]["dtype"]
        .as_str()
        .is_some_and(|d| d == "uint8" || d == "bool");
    let values: Vec<f32> = if boolean {
        values
            .iter()
            .map(|&x| if x != 0.0 { -1e30 } else { 0.0 })
            .collect()
    } else {
        values.iter().map(|&x| x.max(-1e30)).collect()
    };
    Some(Tensor::from_data(
        TensorData::new(values, shape.clone()),
        &Device::flex().autodiff(),
    ))
}
