//! The host models of FAGM as their fixtures describe them.

use crate::fixture::Fixture;
use trimer::nn::burn::tensor::{Device, Tensor};
use trimer::nn::losses::{CrossEntropy, FocalLoss, MmgcnFocalLoss, Reduction};
use trimer::nn::models::ModelConfigOf;
use trimer::nn::models::biddin::BiddinConfig;
use trimer::nn::models::dialoguegcn::DialogueGcnConfig;
use trimer::nn::models::dialoguernn::DialogueRnnConfig;
use trimer::nn::models::mm_dfn::MmDfnConfig;
use trimer::nn::models::mmgcn::MmgcnConfig;
use trimer::nn::{Batch, Conversations, InputSpec, ModelConfig, Sequence};
use trimer::{HeadMap, Modality, ModalityMap};

pub(crate) fn input_key(modality: Modality) -> &'static str {
    match modality {
        Modality::Text => "input.text",
        Modality::Audio => "input.audio",
        Modality::Vision => "input.visual",
    }
}

/// How many parameters are named `<prefix><number><suffix>`, from number 0 on.
fn count(fixture: &Fixture, prefix: &str, suffix: &str) -> usize {
    (0..1000)
        .take_while(|i| fixture.has(&format!("param.{prefix}{i}{suffix}")))
        .count()
}

/// Which host a fixture is of.
pub(crate) fn id(fixture: &Fixture) -> &'static str {
    let name = fixture.name.trim_start_matches("fagm_");
    let name = name.trim_start_matches("trace_");
    let ids = [
        ("mmgcn", "mmgcn"),
        ("mmdfn", "mm_dfn"),
        ("dialoguernn", "dialoguernn"),
        ("dialoguegcn", "dialoguegcn"),
        ("biddin", "biddin"),
    ];
    let found = ids.into_iter().find(|(start, _)| name.starts_with(start));
    found.unwrap_or_else(|| panic!("no host `{name}`")).1
}

/// The widths of the modalities that the host reads; `prefix` leads to a batch.
fn dims(fixture: &Fixture, prefix: &str) -> ModalityMap<Option<usize>> {
    let constructor = &fixture.info["constructor"];
    let width = |m: Modality| fixture.get(&format!("{prefix}{}", input_key(m))).shape[2];
    let letters = constructor["modals"]
        .as_str()
        .or_else(|| constructor["modal"].as_str());
    match letters {
        Some(letters) => ModalityMap::from_fn(|m| {
            let letter = match m {
                Modality::Text => 'l',
                Modality::Audio => 'a',
                Modality::Vision => 'v',
            };
            letters.contains(letter).then(|| width(m))
        }),
        None if constructor.get("D_m_T").is_some() => ModalityMap::from_fn(|m| Some(width(m))),
        None => {
            // The two modalities are those of these widths.
            let widths = ["D1", "D2"].map(|key| fixture.usize(&format!("/constructor/{key}")));
            ModalityMap::from_fn(|m| Some(width(m)).filter(|w| widths.contains(w)))
        }
    }
}

/// The input of a model that reads conversations.
pub(crate) fn spec(dims: ModalityMap<Option<usize>>, n_speakers: usize) -> InputSpec {
    InputSpec {
        dims,
        lengths: ModalityMap::from_fn(|_| 1),
        sampling: ModalityMap::default(),
        n_speakers: Some(n_speakers),
    }
}

/// The host's input; `prefix` leads to a batch, as `step0.`, and is empty where there is one.
pub(crate) fn input(fixture: &Fixture, prefix: &str) -> InputSpec {
    let n_speakers = fixture.get(&format!("{prefix}input.qmask")).shape[2];
    spec(dims(fixture, prefix), n_speakers)
}

/// The host's configuration, without dropout.
pub(crate) fn config(fixture: &Fixture) -> ModelConfig {
    let at = |key: &str| fixture.usize(&format!("/constructor/{key}"));
    let constructor = &fixture.info["constructor"];
    let flag = |key: &str| constructor[key].as_bool().unwrap();
    let real = |key: &str| constructor[key].as_f64().unwrap();
    match id(fixture) {
        "mmgcn" => ModelConfig::from(MmgcnConfig {
            d_context: at("D_e"),
            d_graph: at("graph_hidden_size"),
            n_layers: count(fixture, "graph_model.graph_net.convs.", ".weight"),
            context_everywhere: flag("av_using_lstm"),
            speaker_embedding: flag("use_speaker"),
            p_dropout: 0.0,
            ..MmgcnConfig::preset("iemocap").unwrap()
        }),
        "mm_dfn" => {
            let speakers = constructor["speaker_weights"].as_str().unwrap().split('-');
            let speakers: Vec<f64> = speakers.map(|w| w.parse().unwrap()).collect();
            let heard = f64::from(u8::from(flag("use_crn_speaker")));
            ModelConfig::from(MmDfnConfig {
                d_context: at("D_e"),
                d_graph: at("graph_hidden_size"),
                n_layers: at("Deep_GCN_nlayers"),
                alpha: real("alpha"),
                lambda: real("lamda"),
                across_weight: real("modal_weight"),
                context_everywhere: flag("av_using_lstm"),
                speaker_weight: ModalityMap {
                    text: heard * speakers[2],
                    audio: heard * speakers[0],
                    vision: heard * speakers[1],
                },
                depth_memory: flag("reason_flag"),
                p_dropout: 0.0,
                ..MmDfnConfig::preset("iemocap").unwrap()
            })
        }
        "dialoguernn" => ModelConfig::from(DialogueRnnConfig {
            d_global: at("D_g"),
            d_party: at("D_p"),
            d_emotion: at("D_e"),
            d_hidden: at("D_h"),
            listener: flag("listener_state"),
            p_recurrent: 0.0,
            p_emotion: 0.0,
            ..DialogueRnnConfig::preset("iemocap").unwrap()
        }),
        "dialoguegcn" => {
            let bases = ['a', 'v', 'l'].map(|m| format!("param.dialog_{m}.graph_net.conv1.basis"));
            let basis = bases.iter().find(|key| fixture.has(key)).unwrap();
            let window = |key: &str| constructor[key].as_i64().unwrap();
            ModelConfig::from(DialogueGcnConfig {
                d_model: at("D_m"),
                d_context: at("D_e"),
                d_graph: at("D_h"),
                n_bases: fixture.get(basis).shape[0],
                window_past: window("window_past"),
                window_future: window("window_future"),
                max_turns: at("max_seq_len"),
                nodal_attention: flag("nodal_attention"),
                p_dropout: 0.0,
                ..DialogueGcnConfig::preset("iemocap").unwrap()
            })
        }
        _ => ModelConfig::from(BiddinConfig {
            d_model: at("D_m"),
            d_global: at("D_g"),
            d_party: at("D_p"),
            d_emotion: at("D_e"),
            d_hidden: at("D_h"),
            p_dropout: 0.0,
            p_positions: 0.0,
            ..BiddinConfig::preset("released").unwrap()
        }),
    }
}

/// Values of a `[time, batch, feature]` tensor by batch, time and feature.
fn by_batch(fixture: &Fixture, key: &str) -> (Vec<f32>, [usize; 3]) {
    let tensor = fixture.get(key);
    let [time, batch, dim]: [usize; 3] = tensor.shape[..].try_into().expect("three axes");
    let mut out = Vec::with_capacity(tensor.values.len());
    for b in 0..batch {
        for t in 0..time {
            out.extend(&tensor.values[(t * batch + b) * dim..][..dim]);
        }
    }
    (out, [batch, time, dim])
}

/// The batch under `prefix` with what the host reads.
pub(crate) fn batch(fixture: &Fixture, prefix: &str, device: &Device) -> Batch {
    batch_of(fixture, prefix, &dims(fixture, prefix), device)
}

/// The batch under `prefix` with the modalities of `dims`.
pub(crate) fn batch_of(
    fixture: &Fixture,
    prefix: &str,
    dims: &ModalityMap<Option<usize>>,
    device: &Device,
) -> Batch {
    let key = |name: &str| format!("{prefix}{name}");
    let lengths = &fixture.get(&key("input.lengths")).values;
    let lengths: Vec<usize> = lengths.iter().map(|n| *n as usize).collect();
    let sequences = ModalityMap::from_fn(|m| {
        dims.get(m).as_ref()?;
        let (values, shape) = by_batch(fixture, &key(input_key(m)));
        Some(Sequence::new(values, shape, &lengths, device))
    });
    let (one_hot, [_, time, n_speakers]) = by_batch(fixture, &key("input.qmask"));
    let labels = &fixture.get(&key("input.label")).values;
    let (mut speakers, mut targets) = (Vec::new(), Vec::new());
    for (b, &length) in lengths.iter().enumerate() {
        for t in 0..length {
            let row = &one_hot[(b * time + t) * n_speakers..][..n_speakers];
            let speaker = row.iter().position(|x| *x == 1.0);
            speakers.push(speaker.expect("a real turn has a speaker"));
            targets.push(Some(labels[b * time + t] as u32));
        }
    }
    let n = speakers.len();
    Batch {
        indices: (0..n).collect(),
        conversations: Some(Conversations {
            lengths,
            speakers,
            n_speakers,
        }),
        sequences,
        labels: HeadMap::from_fn(|_| targets.clone()),
        scores: HeadMap::from_fn(|_| vec![None; n]),
    }
}

/// The training loss of the script that a trace was made with.
pub(crate) fn loss(fixture: &Fixture, logits: Tensor<2>, targets: &[Option<u32>]) -> Tensor<1> {
    let class_weights = fixture
        .has("input.class_weights")
        .then(|| fixture.get("input.class_weights").values.clone());
    let meld = fixture.info["dataset_style"] == "meld";
    match id(fixture) {
        "mmgcn" if meld => MmgcnFocalLoss.forward(logits, targets),
        "mm_dfn" => FocalLoss {
            gamma: if meld { 1.0 } else { 0.5 },
            class_weights,
            factor_learns: false,
        }
        .forward(logits, targets, Reduction::Mean),
        _ => CrossEntropy {
            class_weights,
            ..CrossEntropy::default()
        }
        .forward(logits, targets, Reduction::Mean),
    }
}
