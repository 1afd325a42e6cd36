//! The parameters of LFMIM under the names of the released code and of the PyTorch version of the paper.

use super::{Lfmim, LfmimForm};
use crate::models::ReferenceNames;

impl ReferenceNames for Lfmim {
    fn key(&self, path: &str) -> String {
        match self.cfg.form {
            LfmimForm::Paper => paper_key(path),
            LfmimForm::Released => released_key(path),
        }
    }

    fn shape(&self, path: &str, shape: &[usize]) -> Vec<usize> {
        // The reference of the paper form has kernel-1 convolutions and one token of rank three.
        match (self.cfg.form, path.rsplit('.').next(), shape) {
            (LfmimForm::Paper, Some("weight"), [o, i]) if path.contains(".projection.") => {
                vec![*o, *i, 1]
            }
            (LfmimForm::Paper, Some("tokens"), [n, d]) => vec![1, *n, *d],
            // One token is stored as a plain vector, several as a matrix.
            (LfmimForm::Released, Some("tokens"), [1, d]) if !path.starts_with("multimodal") => {
                vec![*d]
            }
            _ => shape.to_vec(),
        }
    }

    fn is_unused(&self, key: &str) -> bool {
        const UNUSED: [&str; 8] = [
            "t2m.",
            "v2m.",
            "fc_vtom.",
            "proj_a",
            "proj_v",
            "me",
            "embed_positions.",
            "pe_",
        ];
        self.cfg.form == LfmimForm::Released
            && UNUSED.iter().any(|u| {
                if *u == "me" {
                    key == "me"
                } else {
                    key.starts_with(u)
                }
            })
    }
}

/// `head.layers.2.weight` -> `4.weight`: the reference counts the ReLUs as well.
fn sequential(rest: &str) -> Option<String> {
    let (index, leaf) = rest.strip_prefix("layers.")?.split_once('.')?;
    Some(format!("{}.{leaf}", 2 * index.parse::<usize>().ok()?))
}

/// Our path in the names of the released code.
fn released_key(path: &str) -> String {
    const LETTERS: [(&str, char); 4] = [
        ("text", 't'),
        ("audio", 'a'),
        ("vision", 'v'),
        ("multimodal", 'm'),
    ];
    let tower = LETTERS.iter().find_map(|(name, letter)| {
        path.strip_prefix(name)?
            .strip_prefix("_tower.")
            .map(|rest| (*letter, rest))
    });
    let Some((u, rest)) = tower else {
        return if path == "fusion" {
            "plus_p".into()
        } else {
            path.to_owned()
        };
    };
    let (first, tail) = rest.split_once('.').unwrap_or((rest, ""));
    match first {
        "projection" => format!("fc_{u}dimtr.{tail}"),
        "tokens" => format!("embedding_{u}"),
        "ln_before" => format!("ln_prepe_{u}.{tail}"),
        "ln_after" => format!("ln_pre_{u}.{tail}"),
        "ln_post" => format!("ln_post_{u}.{tail}"),
        "mix" => format!("mix_{u}"),
        "blocks" => {
            let tail = tail
                .replace(".c_fc.", ".mlp.c_fc.")
                .replace(".c_proj.", ".mlp.c_proj.");
            format!("transformer_{u}.{tail}")
        }
        "head" => sequential(tail).map_or_else(|| path.to_owned(), |t| format!("mlp_{u}.{t}")),
        _ => path.to_owned(),
    }
}

/// Our path in the names of the PyTorch version of the paper preset.
fn paper_key(path: &str) -> String {
    const TOWERS: [(&str, &str); 4] = [
        ("text", "text"),
        ("audio", "audio"),
        ("vision", "vision"),
        ("multimodal", "multi"),
    ];
    let tower = TOWERS.iter().enumerate().find_map(|(i, (name, short))| {
        path.strip_prefix(name)?
            .strip_prefix("_tower.")
            .map(|rest| (i, *short, rest))
    });
    let Some((i, short, rest)) = tower else {
        return path.to_owned();
    };
    let (first, tail) = rest.split_once('.').unwrap_or((rest, ""));
    match first {
        "projection" => format!("conv.{i}.{tail}"),
        "tokens" => "fex".into(),
        "ln_post" => format!("ln_post.{i}.{tail}"),
        "mix" => format!("mix.{i}"),
        "blocks" => {
            let tail = tail.replace(".c_fc.", ".fc.").replace(".c_proj.", ".proj.");
            format!("tower_{short}.{tail}")
        }
        "head" => sequential(tail).map_or_else(|| path.to_owned(), |t| format!("head.{i}.{t}")),
        _ => path.to_owned(),
    }
}
