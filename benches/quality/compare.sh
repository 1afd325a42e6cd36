#!/usr/bin/env bash
# Every utterance-level model on the synthetic corpus, CMU-MOSI (classes and scores) and RAVDESS: tables with
# intervals and paired tests. The same command continues where it was stopped.
#
#   benches/quality/compare.sh EXPORT_PY OUT [PART...]
#
# EXPORT_PY  the script that writes MOSI and RAVDESS in the `folder` layout (it needs NumPy)
# OUT        a directory for corpora, runs and tables
# PART       synth, labels, mosi, mosi-score, ravdess, ravdess-refit; all of them by default
#
# Environment: TRIMER (target/release/trimer), PYTHON (python3), SEEDS (3), FLAGS (more flags of `trimer compare`),
# SYNTH and LABELS (utterances of the synthetic corpora, 2000 and 4000).
#
# labels         LFMIM with labels per modality against LFMIM-ML and each modality alone, on LABELS utterances
# ravdess        trains on 12 actors, keeps the epoch that was best on 4 others, judges on the last 4
# ravdess-refit  the same recipes, trained on those 16 actors to the last epoch: nothing is left to select on.
#                This is how the linear baseline of 0.651 was made.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
shift 2

folds() { # NAME [join]: `--corpus` for each of the five folds
    for fold in 1 2 3 4 5; do
        corpus "$1-$fold" ravdess "$fold" "${2:-}" >&2
        echo --corpus "$out/corpora/$1-$fold"
    done
}

for part in "${@:-synth labels mosi mosi-score ravdess ravdess-refit}"; do
    for one in $part; do
        case $one in
        synth)
            synthetic synth --utterances "${SYNTH:-2000}"
            compare synth synth synth lfmim --corpus "$out/corpora/synth"
            ;;
        labels)
            n=${LABELS:-4000}
            synthetic "synth-$n" --utterances "$n"
            compare labels synth_labels synth lfmim --corpus "$out/corpora/synth-$n"
            ;;
        mosi)
            corpus mosi mosi 1
            compare mosi mosi mosi logistic --corpus "$out/corpora/mosi"
            ;;
        mosi-score)
            corpus mosi mosi 1
            compare mosi-score mosi mosi logistic --corpus "$out/corpora/mosi" --set data.task=regression
            ;;
        ravdess)
            # shellcheck disable=SC2046
            compare ravdess ravdess ravdess logistic $(folds ravdess)
            ;;
        ravdess-refit)
            # shellcheck disable=SC2046
            compare ravdess-refit ravdess ravdess logistic $(folds ravdess-refit join) --set train.select=last
            ;;
        *) echo "unknown part $one" >&2 && exit 2 ;;
        esac
    done
done
