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
# Environment: TRIMER (target/release/trimer), PYTHON (python3), SEEDS (3), FLAGS (more flags of `trimer compare`).
#
# labels         LFMIM with labels per modality against LFMIM-ML and each modality alone, on 4,000 utterances
# ravdess        trains on 12 actors, keeps the epoch that was best on 4 others, judges on the last 4
# ravdess-refit  the same recipes, trained on those 16 actors to the last epoch: nothing is left to select on.
#                This is how the linear baseline of 0.651 was made.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
recipes=$here/../../recipes
export_py=$1 out=$2
shift 2
trimer=${TRIMER:-target/release/trimer} python=${PYTHON:-python3}
mkdir -p "$out/corpora"

corpus() { # NAME SET FOLD [join]: exports and imports a set; with `join` its valid part becomes train
    [ -e "$out/corpora/$1/corpus.toml" ] && return
    "$python" "$export_py" "$2" "$out/folder-$1" --fold "$3" >/dev/null
    if [ "${4:-}" = join ]; then
        sed -i 's/^\([^,]*\),valid,/\1,train,/' "$out/folder-$1/manifest.csv"
    fi
    "$trimer" corpus import "$out/folder-$1" "$out/corpora/$1"
    rm -r "$out/folder-$1"
}

compare() { # NAME ROWS REFERENCE FLAGS...
    local name=$1 rows=$2 reference=$3
    shift 3
    # shellcheck disable=SC2086
    "$trimer" compare --rows "$here/rows/$rows.toml" --recipes "$recipes/$rows" --reference "$reference" \
        --seeds "${SEEDS:-3}" --out "$out/$name" "$@" ${FLAGS:-}
}

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
            [ -e "$out/corpora/synth/corpus.toml" ] ||
                "$trimer" corpus synth --utterances "${SYNTH:-2000}" --seed 1 "$out/corpora/synth"
            compare synth synth lfmim --corpus "$out/corpora/synth"
            ;;
        labels)
            [ -e "$out/corpora/synth-4000/corpus.toml" ] ||
                "$trimer" corpus synth --utterances 4000 --seed 1 "$out/corpora/synth-4000"
            "$trimer" compare --rows "$here/rows/synth_labels.toml" --recipes "$recipes/synth" --reference lfmim \
                --seeds "${SEEDS:-6}" --out "$out/labels" --corpus "$out/corpora/synth-4000"
            ;;
        mosi)
            corpus mosi mosi 1
            compare mosi mosi logistic --corpus "$out/corpora/mosi"
            ;;
        mosi-score)
            corpus mosi mosi 1
            compare mosi-score mosi logistic --corpus "$out/corpora/mosi" --set data.task=regression
            ;;
        ravdess)
            # shellcheck disable=SC2046
            compare ravdess ravdess logistic $(folds ravdess)
            ;;
        ravdess-refit)
            # shellcheck disable=SC2046
            compare ravdess-refit ravdess logistic $(folds ravdess-refit join) --set train.select=last
            ;;
        *) echo "unknown part $one" >&2 && exit 2 ;;
        esac
    done
done
