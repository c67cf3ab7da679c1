#!/usr/bin/env bash
# Runs the fuzz targets, one after the other; one line a target. Needs nightly and cargo-fuzz. There is
# no unsafe code to watch, so no sanitizer slows them down.
#
#   tests/fuzz/run.sh SECONDS [TARGET…]
#
# What it learns is kept in $FUZZ_WORK (or below the target folder), so that the next run goes on.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:?"how many seconds for each target"}
shift
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
work=${FUZZ_WORK:-$CARGO_TARGET_DIR/fuzz}
all="http_event ndjson wire replica names entry command apply frame checkpoint index"
failed=0

if [ -z "${FUZZ_BUILT:-}" ]; then
    # One by one: the program that writes the seeds has no fuzzer to link.
    for target in ${*:-$all}; do cargo +nightly fuzz build --fuzz-dir . -O -s none "$target"; done
fi
for target in ${*:-$all}; do
    mkdir -p "$work/corpus/$target" "$work/artifacts/$target"
    log=$work/$target.log
    status=0
    "$CARGO_TARGET_DIR"/*/release/"$target" "$work/corpus/$target" "seeds/$target" \
        -max_total_time="$seconds" -max_len=8192 -timeout=10 -print_final_stats=1 \
        -artifact_prefix="$work/artifacts/$target/" >"$log" 2>&1 || status=$?
    field() { awk -v name="$1" '{ for (i = 1; i < NF; i++) if ($i == name) value = $(i + 1) } END { print value + 0 }' "$log"; }
    executed=$(field stat::number_of_executed_units:)
    crashes=$(find "$work/artifacts/$target" -type f | wc -l)
    word="ok  "
    if [ "$status" != 0 ] || [ "$crashes" != 0 ]; then word=FAIL failed=1; fi
    printf '%s fuzz %s: %s executions in %s s, coverage %s edges, %s features, corpus %s, crashes %s\n' \
        "$word" "$target" "$executed" "$seconds" "$(field cov:)" "$(field ft:)" \
        "$(find "$work/corpus/$target" -type f | wc -l)" "$crashes"
done
exit "$failed"
