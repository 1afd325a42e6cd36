# shellcheck shell=bash
# What the scripts of this folder share; sourced by them with their own arguments.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
recipes=$here/../../recipes
if [ "$#" -lt 2 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the comment at the script's head
    if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then exit 0; else exit 2; fi
fi
data=$1 out=$2
trimer=${TRIMER:-target/release/trimer} python=${PYTHON:-python3}
if ! command -v "$trimer" >/dev/null; then
    printf 'error: there is no program %s\n hint: cargo build --release, or set TRIMER\n' "$trimer" >&2
    exit 2
fi
mkdir -p "$out/corpora"

corpus() { # NAME SET [FLAGS...]: exports a set with benches/data/export.py and imports it
    local name=$1 set=$2 folder=$out/folder-$1
    shift 2
    [ -e "$out/corpora/$name/corpus.toml" ] && return
    rm -rf "$folder" # what a stopped run left
    "$python" "$here/../data/export.py" "$set" "$data" "$folder" "$@" >/dev/null
    "$trimer" corpus import "$folder" "$out/corpora/$name"
    rm -r "$folder"
}

folds() { # NAME [FLAGS...]: the five folds of RAVDESS, each a corpus NAME-K
    local name=$1
    shift
    for fold in 1 2 3 4 5; do
        corpus "$name-$fold" ravdess --fold "$fold" "$@"
    done
}

synthetic() { # NAME FLAGS...: makes a synthetic corpus
    local target=$out/corpora/$1
    shift
    [ -e "$target/corpus.toml" ] || "$trimer" corpus synth "$@" "$target"
}

compare() { # NAME ROWS RECIPES REFERENCE FLAGS...
    local name=$1 dir=$3 what=(--rows "$here/rows/$2.toml" --reference "$4")
    shift 4
    # Other models than the rows: the first is the reference.
    [ -z "${MODELS:-}" ] || what=(--models "$MODELS")
    # shellcheck disable=SC2086
    "$trimer" compare "${what[@]}" --recipes "$recipes/$dir" --seeds "${SEEDS:-3}" --out "$out/$name" "$@" ${FLAGS:-}
}

each() { # DEFAULT [PART...]: calls part_NAME for every part, with - turned into _
    local part parts=("${@:2}")
    [ "${#parts[@]}" -gt 0 ] || read -ra parts <<<"$1"
    for part in "${parts[@]}"; do
        if ! declare -F "part_${part//-/_}" >/dev/null; then
            printf 'error: there is no part %s\n hint: expected some of %s\n' "$part" "$1" >&2
            exit 2
        fi
    done
    for part in "${parts[@]}"; do
        "part_${part//-/_}"
    done
}
