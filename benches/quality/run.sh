#!/usr/bin/env bash
# Quality on real data: LFMIM on RAVDESS (five speaker-independent folds) and on CMU-MOSI (standard
# split, three seeds), with the recipes of this repository.
#
#   benches/quality/run.sh EXPORT_PY OUT [TRIMER]
#
# EXPORT_PY  the script that writes both sets in the `folder` layout (it needs NumPy)
# OUT        a directory to make: corpora, runs and results.jsonl, one line per run
# TRIMER     the program; target/release/trimer by default
set -euo pipefail
export_py=$1 out=$2 trimer=${3:-target/release/trimer}
python=${PYTHON:-python3}
mkdir -p "$out"
one() { # NAME SET FOLD RECIPE SEEDS
    "$python" "$export_py" "$2" "$out/$1-folder" --fold "$3" >/dev/null
    "$trimer" corpus import --format folder "$out/$1-folder" "$out/$1" 2>/dev/null
    "$trimer" train --corpus "$out/$1" --recipe "$4" --seeds "$5" --out "$out/run-$1" --json \
        >"$out/$1.json" 2>"$out/$1.log"
    "$python" - "$out/$1.json" "$1" <<'PY' | tee -a "$out/results.jsonl"
import json, sys
result = json.load(open(sys.argv[1]))
heads = {h: {"accuracy": m["accuracy"], "ci": m["accuracy_ci"], "weighted_f1": m["weighted_f1"]} for h, m in result["heads"].items()}
print(json.dumps({"corpus": sys.argv[2], "seeds": result["seeds"], "heads": heads}))
PY
}
: >"$out/results.jsonl"
for fold in 1 2 3 4 5; do
    one "ravdess-$fold" ravdess "$fold" recipes/ravdess/lfmim.toml 3
done
one mosi mosi 1 recipes/mosi/lfmim.toml 3
"$python" - "$out/results.jsonl" <<'PY'
import json, statistics, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
for name in ("ravdess", "mosi"):
    some = [r["heads"] for r in rows if r["corpus"].startswith(name)]
    for head in some[0]:
        values = [h[head]["accuracy"] for h in some]
        spread = f" (folds {min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
        print(f"{name} {head}: accuracy {statistics.mean(values):.4f}{spread}")
PY
