# What compare.sh and conversations.sh share; sourced with EXPORT_PY and OUT as the first two arguments.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
recipes=$here/../../recipes
export_py=$1 out=$2
trimer=${TRIMER:-target/release/trimer} python=${PYTHON:-python3}
mkdir -p "$out/corpora"

corpus() { # NAME SET [FOLD [join]]: exports and imports a set; with `join` its valid part becomes train
    [ -e "$out/corpora/$1/corpus.toml" ] && return
    "$python" "$export_py" "$2" "$out/folder-$1" ${3:+--fold "$3"} >/dev/null
    if [ "${4:-}" = join ]; then
        sed -i 's/^\([^,]*\),valid,/\1,train,/' "$out/folder-$1/manifest.csv"
    fi
    "$trimer" corpus import "$out/folder-$1" "$out/corpora/$1"
    rm -r "$out/folder-$1"
}

synthetic() { # NAME FLAGS...: makes a synthetic corpus
    local target=$out/corpora/$1
    shift
    [ -e "$target/corpus.toml" ] || "$trimer" corpus synth --seed 1 "$@" "$target"
}

compare() { # NAME ROWS RECIPES REFERENCE FLAGS...
    local name=$1 rows=$2 dir=$3 reference=$4
    shift 4
    # shellcheck disable=SC2086
    "$trimer" compare --rows "$here/rows/$rows.toml" --recipes "$recipes/$dir" --reference "$reference" \
        --seeds "${SEEDS:-3}" --out "$out/$name" "$@" ${FLAGS:-}
}
