//! LSTM and GRU modules against PyTorch: outputs, final states, gradients.

use crate::fixture::{Fixture, assert_close, max_abs, names};
use trimer::nn::Recorder;
use trimer::nn::burn::tensor::{Device, Tensor, TensorData};
use trimer::nn::layers::{CellKind, Initializer, Recurrent, RecurrentConfig};
use trimer::nn::weights::{gradients, map_parameters, parameters, to_vec};

const OUTPUT: f32 = 1e-5;
const GRADIENT: f32 = 1e-4;

fn time_major(x: Tensor<3>) -> Vec<f32> {
    to_vec(x.swap_dims(0, 1))
}

#[test]
#[cfg_attr(not(trimer_fixtures), ignore = "needs TRIMER_SHARED or TRIMER_GOLDEN")]
fn recurrent_modules_agree_with_pytorch() {
    let device = Device::flex().autodiff();
    for name in names("block_rnn") {
        let fixture = Fixture::open(&name);
        let cases = fixture.info["cases"].as_array().unwrap().clone();
        assert!(!cases.is_empty());
        for (i, case) in cases.iter().enumerate() {
            let number = |key: &str| case[key].as_u64().unwrap() as usize;
            let kind = match case["kind"].as_str().unwrap() {
                "LSTM" => CellKind::Lstm,
                "GRU" => CellKind::Gru,
                other => panic!("unknown kind {other}"),
            };
            let config = RecurrentConfig {
                n_layers: number("layers"),
                bidirectional: case["bidirectional"].as_bool().unwrap(),
                ..RecurrentConfig::new(kind, number("input"), number("hidden"))
            };
            let key = |part: &str| format!("case{i}.{part}");
            let module = Recurrent::new(&config, &mut Initializer::new(0, &device));
            let params = fixture.with_prefix(&key("param."));
            assert_eq!(parameters(&module).len(), params.len(), "{name}: case {i}");
            let module = map_parameters(module, |path, old| {
                let values = &params[&Recurrent::state_key(path)].values;
                Tensor::from_data(TensorData::from(values.as_slice()), &old.device())
            });
            let x: Tensor<3> = fixture.tensor(&key("input.x"), &device);
            let x = x.require_grad();
            let output = module.forward(x.clone().swap_dims(0, 1), None, &mut Recorder::eval());
            let close = |what: &str, ours: &[f32]| {
                let theirs = &fixture.get(&key(what)).values;
                assert_close(&format!("{name}: {}", key(what)), ours, theirs, OUTPUT, 0.0);
            };
            close("output.out", &time_major(output.states.clone()));
            let hidden: Vec<f32> = output
                .last
                .iter()
                .flat_map(|state| to_vec(state.hidden.clone()))
                .collect();
            close("output.h_n", &hidden);
            let cells: Vec<f32> = output
                .last
                .iter()
                .filter_map(|state| state.cell.clone())
                .flat_map(to_vec)
                .collect();
            assert_eq!(!cells.is_empty(), fixture.has(&key("output.c_n")));
            if !cells.is_empty() {
                close("output.c_n", &cells);
            }

            let weights: Tensor<3> = fixture.tensor(&key("input.grad_output"), &device);
            let grads = (output.states.swap_dims(0, 1) * weights).sum().backward();
            let expected = fixture.with_prefix(&key("grad."));
            let largest = expected
                .values()
                .map(|t| max_abs(&t.values))
                .fold(0.0, f32::max);
            let dx = to_vec(x.grad(&grads).unwrap());
            let mut ours = gradients(&module, grads);
            let mut seen = 1;
            let floor = 5e-6 * largest;
            let what = format!("{name}: gradient of {}", key("x"));
            assert_close(&what, &dx, &expected["x"].values, GRADIENT, floor);
            while let Some((path, gradient)) = ours.pop_first() {
                let reference = &expected[&Recurrent::state_key(&path)].values;
                let what = format!("{name}: gradient of {}", key(&path));
                assert_close(&what, &to_vec(gradient), reference, GRADIENT, floor);
                seen += 1;
            }
            assert_eq!(seen, expected.len(), "{name}: case {i}: gradients");
        }
    }
}
