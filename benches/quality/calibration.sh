#!/usr/bin/env bash
# Calibration of LFMIM on RAVDESS (seed 1 on five folds) and CMU-MOSI (seeds 1 to 3): errors before and after
# temperature scaling, and accuracy where the model abstains.
#
#   benches/quality/calibration.sh DATA OUT [PART...]
#
# DATA  the sources of the public sets, laid out as benches/data/README.md describes
# OUT   a directory for corpora, runs, answers in JSON and reports
# PART  ravdess, mosi; both by default
#
# Environment: TRIMER (target/release/trimer), PYTHON (python3, with NumPy).
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

train() { # NAME RECIPE SEEDS: trains on the corpus NAME, or goes on
    if [ -d "$out/runs/$1" ]; then
        "$trimer" train --resume "$out/runs/$1"
    else
        "$trimer" train --corpus "$out/corpora/$1" --recipe "$recipes/$2" --seeds "$3" --threads 1 \
            --out "$out/runs/$1"
    fi
}

calibrate() { # NAME ACCURACIES RUN...
    local name=$1 wanted=$2
    shift 2
    "$trimer" calibrate "$@" --abstain-at "$wanted" --report "$out/$name.html" --json >"$out/$name.json"
}

part_ravdess() {
    local fold runs=()
    folds ravdess
    for fold in 1 2 3 4 5; do
        train "ravdess-$fold" ravdess/lfmim.toml 1
        runs+=("$out/runs/ravdess-$fold")
    done
    calibrate ravdess 0.8,0.9 "${runs[@]}"
}

part_mosi() {
    corpus mosi mosi
    train mosi mosi/lfmim.toml 3
    calibrate mosi 0.85,0.9 "$out/runs/mosi"
}

each "ravdess mosi" "${@:3}"
