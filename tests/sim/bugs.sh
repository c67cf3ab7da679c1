#!/usr/bin/env bash
# Plants each bug and says what catches it: the simulator, crash enumeration, and `tidings verify`.
#
#   tests/sim/bugs.sh [SECONDS [BUG…]]    so long for each run of verify; the table of README.md
#
# Builds with the feature `bugs` into a target folder of its own. Takes half an hour on two cores.
# Exit 0 if each bug was caught by something.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-20}
shift || true
export CARGO_TARGET_DIR=${BUGS_TARGET_DIR:-target/bugs}
cargo build --quiet --release -p tidings-cli -p tidings-sim --features tidings-cli/bugs,tidings-sim/bugs
bin=$CARGO_TARGET_DIR/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bugs=${*:-$(sed -n 's/.*=> "\([a-z-]*\)",/\1/p' runtime/types/src/bugs.rs)}
uncaught=0

verify() { # bug: what verify made of it, for the table
    local status=0 data="$work/$1"
    timeout $((seconds + 120)) "$bin/tidings" verify --bug "$1" --for "${seconds}s" --kill-every 2s \
        --rate 1000 --seed 7 -o json --data "$data" >"$work/said" 2>/dev/null || status=$?
    case $status in
    0) echo "–" ;;
    1) echo "$seconds s ($(grep -oE '"violations":\["I[0-9]+' "$work/said" | grep -oE 'I[0-9]+' || echo itself))" ;;
    4) echo "$seconds s (too little was seen)" ;;
    *) echo "$seconds s (exit $status)" ;;
    esac
    rm -rf "$data"
}

echo "| planted bug | simulator, 1 node | simulator, 3 nodes | crash enumeration | verify |"
echo "|---|---|---|---|---|"
for bug in $bugs; do
    row=$("$bin/tidings-sim" bugs --only "$bug" --crashes | tail -n 1)
    seen=$(verify "$bug")
    echo "$row $seen |"
    if [ "$(grep -o '–' <<<"$row $seen" | wc -l)" = 4 ]; then uncaught=1; fi
done
exit "$uncaught"
