#!/usr/bin/env bash
# Every model of conversations on CMU-MOSI (videos as conversations), MELD and the synthetic corpus, with and without
# FAGM and OGM-GE: tables with intervals and paired tests. The same command continues where it was stopped.
#
#   benches/quality/conversations.sh EXPORT_PY OUT [PART...]
#
# EXPORT_PY  the script that writes MOSI and MELD in the `folder` layout (it needs NumPy)
# OUT        a directory for corpora, runs and tables
# PART       mosi, mosi-scores, mosi-plugins, meld, synth, widths (CMATH at five widths); all of them by default
#
# Environment: TRIMER (target/release/trimer), PYTHON (python3), SEEDS (3), FLAGS (more flags of `trimer compare`).
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
shift 2

# Each model with a plug-in against the same model without: paired tests from the runs that are there, in pairs.md.
pairs() { # NAME
    local dir=$out/$1 plain model rows
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

for part in "${@:-mosi mosi-scores mosi-plugins meld synth widths}"; do
    for one in $part; do
        case $one in
        mosi)
            corpus mosi_dialogue mosi_dialogue
            compare mosi mosi_dialogue mosi_dialogue utterance_mlp --corpus "$out/corpora/mosi_dialogue"
            ;;
        mosi-scores)
            corpus mosi_dialogue mosi_dialogue
            compare mosi-scores mosi_dialogue_scores mosi_dialogue_scores utterance_mlp \
                --corpus "$out/corpora/mosi_dialogue" --metric acc2_has0
            ;;
        mosi-plugins)
            corpus mosi_dialogue mosi_dialogue
            compare mosi-plugins mosi_dialogue_plugins mosi_dialogue bc_lstm --corpus "$out/corpora/mosi_dialogue"
            pairs mosi-plugins
            ;;
        meld)
            corpus meld meld
            compare meld meld meld logistic --corpus "$out/corpora/meld" --split valid --metric weighted_f1
            ;;
        synth)
            synthetic synth --preset dialogue
            compare synth synth_dialogue synth_dialogue utterance_mlp --corpus "$out/corpora/synth"
            pairs synth
            ;;
        widths)
            synthetic synth --preset dialogue
            compare widths widths synth_dialogue "cmath, width 96" --corpus "$out/corpora/synth"
            ;;
        *) echo "unknown part $one" >&2 && exit 2 ;;
        esac
    done
done
