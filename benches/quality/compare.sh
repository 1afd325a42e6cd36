#!/usr/bin/env bash
# Every utterance-level model on the synthetic corpus, CMU-MOSI (classes and scores) and RAVDESS: tables with
# intervals and paired tests. The same command continues where it was stopped.
#
#   benches/quality/compare.sh DATA OUT [PART...]
#
# DATA  the sources of the public sets, laid out as benches/data/README.md describes
# OUT   a directory for corpora, runs and tables
# PART  synth, labels, mosi, mosi-score, ravdess, ravdess-refit, missing; all of them by default
#
# Environment: TRIMER (target/release/trimer), PYTHON (python3, with NumPy), SEEDS (3), FLAGS (more flags of `trimer
# compare`), MODELS (instead of the rows), SYNTH and LABELS (utterances of the synthetic corpora, 2000 and 4000).
#
# labels         LFMIM with labels per modality against LFMIM-ML and each modality alone, on LABELS utterances; with
#                another number than 4000 the table is called labels-NUMBER
# ravdess        trains on 12 actors, keeps the epoch that was best on 4 others, evaluates on the last 4
# ravdess-refit  the same recipes, trained on those 16 actors to the last epoch: nothing is left to select on.
#                This is how the linear baseline of 0.651 was made.
# missing        the runs of synth without some modalities, with frame dropout and in noise
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

fold_flags() { # NAME: `--corpus` for each of the five folds
    for fold in 1 2 3 4 5; do
        echo --corpus "$out/corpora/$1-$fold"
    done
}

part_synth() {
    synthetic synth --seed 1 --utterances "${SYNTH:-2000}"
    compare synth synth synth lfmim --corpus "$out/corpora/synth"
}

part_labels() {
    local n=${LABELS:-4000} name=labels
    [ "$n" = 4000 ] || name=labels-$n
    synthetic "synth-$n" --seed 1 --utterances "$n"
    compare "$name" synth_labels synth lfmim --corpus "$out/corpora/synth-$n"
}

part_mosi() {
    corpus mosi mosi
    compare mosi mosi mosi logistic --corpus "$out/corpora/mosi"
}

part_mosi_score() {
    corpus mosi mosi
    compare mosi-score mosi mosi logistic --corpus "$out/corpora/mosi" --set data.task=regression
}

part_ravdess() {
    folds ravdess
    # shellcheck disable=SC2046
    compare ravdess ravdess ravdess logistic $(fold_flags ravdess)
}

part_ravdess_refit() {
    folds ravdess-refit --learn-from-valid
    # shellcheck disable=SC2046
    compare ravdess-refit ravdess ravdess logistic $(fold_flags ravdess-refit) --set train.select=last
}

part_missing() {
    [ -e "$out/synth/results.json" ] || part_synth
    mkdir -p "$out/missing"
    "$python" "$here/missing.py" "$out"/synth/runs/* --trimer "$trimer" --out "$out/missing/results.json" \
        >"$out/missing/results.md"
}

each "synth labels mosi mosi-score ravdess ravdess-refit missing" "${@:3}"
