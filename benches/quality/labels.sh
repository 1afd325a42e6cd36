#!/usr/bin/env bash
# Labels from the crowd votes of CREMA-D by two rules, how often modalities differ, and agreement.
#
#   benches/quality/labels.sh DATA OUT [PART...]
#
# DATA  the sources of the public sets, laid out as benches/data/README.md describes
# OUT   a directory for labels, answers in JSON and a report
# PART  lead (the class with the most votes), majority (more than half of the votes); both by default
#
# Environment: TRIMER (target/release/trimer), PYTHON (python3).
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

labels() { # NAME FLAGS...
    local dir=$out/$1 votes=$data/cremad_votes/tabulatedVotes.csv
    shift
    rm -rf "$dir"
    mkdir -p "$dir"
    "$trimer" labels aggregate "$votes" --format cremad --rule majority "$@" --out "$dir/labels" --json >"$dir/aggregate.json"
    "$trimer" labels stats "$dir/labels/labels.csv" --json --report "$dir/report.html" \
        --conflicts "$dir/conflicts.csv" >"$dir/stats.json"
}

part_lead() { labels lead --threshold 0; }
part_majority() { labels majority; }

each "lead majority" "${@:3}"
