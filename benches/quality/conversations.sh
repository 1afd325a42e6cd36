#!/usr/bin/env bash
# Every model of conversations on CMU-MOSI (videos as conversations), MELD and the synthetic corpus, with and without
# FAGM and OGM-GE: tables with intervals and paired tests. The same command continues where it was stopped.
#
#   benches/quality/conversations.sh DATA OUT [PART...]
#
# DATA  the sources of the public sets, laid out as benches/data/README.md describes
# OUT   a directory for corpora, runs and tables
# PART  mosi, mosi-scores, mosi-plugins, meld, synth, synth-0 (another synthetic corpus), widths (CMATH at five
#       widths), losses (the terms of CMATH's loss, on synth-0); all of them by default
#
# Environment: TRIMER (target/release/trimer), PYTHON (python3, with NumPy), SEEDS (3), FLAGS (more flags of `trimer
# compare`), MODELS (instead of the rows, for instance MODELS=utterance_mlp,cmath).
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

# Each model with a plug-in against the same model without: paired tests from the runs that are there, in pairs.md.
pairs() { # NAME
    local dir=$out/$1 plain model rows
    ls -d "$dir"/runs/*-fagm >/dev/null 2>&1 || return 0
    for plain in "$dir"/runs/*; do
        model=$(basename "$plain")
        rows=("$plain" "$plain"-fagm "$plain"-ogm_ge)
        [ -d "${rows[1]}" ] || continue
        [ -d "${rows[2]}" ] || unset "rows[2]"
        "$trimer" compare "${rows[@]}" --out "$dir/pairs/$model" >/dev/null
        sed -n '/^| row | difference/,/^$/p' "$dir/pairs/$model/results.md" | sed -n '/^| row\|^|---/!s/^|/| '"$model"' |/p'
    done | {
        printf '| model | with | difference of accuracy | p | p (Holm, within the model) |\n|---|---|---|---|---|\n'
        cat
    } >"$dir/pairs.md"
}

part_mosi() {
    corpus mosi_dialogue mosi_dialogue
    compare mosi mosi_dialogue mosi_dialogue utterance_mlp --corpus "$out/corpora/mosi_dialogue"
}

part_mosi_scores() {
    corpus mosi_dialogue mosi_dialogue
    compare mosi-scores mosi_dialogue_scores mosi_dialogue_scores utterance_mlp \
        --corpus "$out/corpora/mosi_dialogue" --metric acc2_has0
}

part_mosi_plugins() {
    corpus mosi_dialogue mosi_dialogue
    compare mosi-plugins mosi_dialogue_plugins mosi_dialogue bc_lstm --corpus "$out/corpora/mosi_dialogue"
    pairs mosi-plugins
}

part_meld() {
    corpus meld meld
    compare meld meld meld logistic --corpus "$out/corpora/meld" --split valid --metric weighted_f1
}

part_synth() {
    synthetic synth --seed 1 --preset dialogue
    compare synth synth_dialogue synth_dialogue utterance_mlp --corpus "$out/corpora/synth"
    pairs synth
}

part_synth_0() {
    synthetic synth-0 --preset dialogue
    compare synth-0 synth_dialogue synth_dialogue utterance_mlp --corpus "$out/corpora/synth-0"
    pairs synth-0
}

part_widths() {
    synthetic synth --seed 1 --preset dialogue
    compare widths widths synth_dialogue "cmath, width 96" --corpus "$out/corpora/synth"
}

part_losses() {
    local run=$out/losses/run
    synthetic synth-0 --preset dialogue
    if [ -d "$run" ]; then
        "$trimer" train --resume "$run"
    else
        "$trimer" train --corpus "$out/corpora/synth-0" --model cmath --recipe "$recipes/synth_dialogue/cmath.toml" --out "$run"
    fi
    "$python" "$here/losses.py" "$run" --out "$out/losses/results.json" >"$out/losses/results.md"
}

each "mosi mosi-scores mosi-plugins meld synth synth-0 widths losses" "${@:3}"
