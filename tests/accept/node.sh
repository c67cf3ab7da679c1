#!/usr/bin/env bash
# Acceptance of one node: one line an item, in under two minutes on a debug build.
#
#   tests/accept/node.sh [BINARY]            what CI runs
#   FULL=1 tests/accept/node.sh BINARY       the whole loads, for a release build (some minutes)
set -euo pipefail
cd "$(dirname "$0")/../.."

binary=$(realpath "${1:-target/debug/tidings}")
profile=()
case "$binary" in */release/tidings) profile=(--release) ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

full() { if [ -n "${FULL:-}" ]; then echo "$1"; else echo "$2"; fi; }
ok() { printf 'ok   %s: %s\n' "$1" "$2"; }
bad() { printf 'FAIL %s: %s\n' "$1" "$2"; failed=1; }
field() { sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" <<<"$2"; }
free_port() { shuf -i 20000-45000 -n 1; }

demo() {
    local line status=0
    line=$("$binary" demo --for "$(full 20s 5s)" --port "$(free_port)" --data "$work/demo" -o json 2>"$work/demo.err" | tail -n 1) || status=$?
    local signed mails counted dead
    signed=$(field signed_up "$line") mails=$(field mails "$line")
    counted=$(field analytics "$line") dead=$(field dead_letters "$line")
    if [ "$status" = 0 ] && [ "${signed:-0}" -gt 0 ] && [ "$signed" = "$mails" ] && [ "$signed" = "$counted" ] && [ "$dead" = 0 ]; then
        ok demo "$line"
    else
        bad demo "exit=$status $line"
    fi
}

accept() { # name, then the words of the acceptance program
    local name=$1 line
    shift
    line=$(cargo test --quiet "${profile[@]}" --test accept -- "$@" --binary "$binary" 2>/dev/null | grep -E '^(ok  |FAIL) ' || true)
    if [[ "$line" == ok* ]]; then printf '%s\n' "$line"; else bad "$name" "${line:-no line}"; fi
}

bad_input() { # each kind of bad input gets its own answer, and stores nothing
    local port server pid answers="" expected="404 413 422 400 400 415 201"
    port=$(free_port) server="http://127.0.0.1:$port"
    "$binary" serve --port "$port" --data "$work/bad" 2>"$work/bad.err" &
    pid=$!
    "$binary" status --server "$server" --until-healthy --timeout 20s -o none 2>/dev/null || true
    "$binary" topic create t --server "$server" -o none 2>/dev/null
    post() { curl -s -o "$work/answer" -w '%{http_code}' -X POST "$server/v1/topics/$1/events" -H "content-type: $2" --data-binary "@$3"; }
    printf '{"type":"a.v1","data":{}}' >"$work/good"
    { printf '{"type":"a.v1","data":"'; head -c 1100000 /dev/zero | tr '\0' x; printf '"}'; } >"$work/large"
    printf '{"type":"a.v1","key":"a\\u0007","data":{}}' >"$work/key"
    printf '{"type":"a.v1","data":"\xff"}' >"$work/utf8"
    for n in 1 2 3 4 5 6; do echo '{"type":"a.v1","data":1}'; done >"$work/lines"
    echo '{"type":"a.v1","data":' >>"$work/lines"
    for n in 8 9 10; do echo '{"type":"a.v1","data":1}'; done >>"$work/lines"
    answers+="$(post none application/json "$work/good") "
    answers+="$(post t application/json "$work/large") "
    answers+="$(post t application/json "$work/key") "
    answers+="$(post t application/json "$work/utf8") "
    answers+="$(post t application/x-ndjson "$work/lines") "
    local line7=no
    if grep -q 'line 7' "$work/answer"; then line7=yes; fi
    answers+="$(post t text/csv "$work/good") "
    answers+="$(post t application/json "$work/good")"
    local second=0 stored
    "$binary" serve --port "$(free_port)" --data "$work/bad" >/dev/null 2>"$work/second.err" || second=$?
    stored=$(curl -s "$server/v1/topics/t")
    kill -TERM "$pid"
    local ended=0
    wait "$pid" || ended=$?
    stored=$(field end "$stored")
    local line="answers=[$answers] names_line_7=$line7 second_process_exit=$second stored=$stored sigterm_exit=$ended"
    if [ "$answers" = "$expected" ] && [ "$line7" = yes ] && [ "$second" = 78 ] && [ "$stored" = 1 ] && [ "$ended" = 0 ]; then
        ok bad-input "$line"
    else
        bad bad-input "$line (expected [$expected])"
    fi
}

check() { # what the demo left behind is sound
    local line
    if line=$("$binary" log check "$work/demo" -o json 2>/dev/null | tail -n 1); then ok log-check "$(cut -c 1-160 <<<"$line")"; else bad log-check "$line"; fi
}

bench() { # that each runs and says what it did; speed is not judged here
    local line kind
    for kind in "disk --for 1s" "publish --events 20000" "e2e --events 10000 --groups 2" "latency --rate 500 --for 2s"; do
        # shellcheck disable=SC2086
        line=$("$binary" bench $kind --data "$work/bench" -o json 2>/dev/null | tail -n 1) || true
        if [[ "$line" == *'"durable"'* ]]; then ok "bench ${kind%% *}" "$line"; else bad "bench ${kind%% *}" "$line"; fi
        rm -rf "$work/bench"
    done
}

top_level() {
    local found expected="ARCHITECTURE.md CHANGELOG.md Cargo.lock Cargo.toml LICENSE-APACHE LICENSE-MIT README.md SECURITY.md benches clippy.toml cluster-config deny.toml justfile runtime rustfmt.toml services tests"
    found=$(git ls-tree --name-only HEAD | grep -v '^\.' | LC_ALL=C sort | tr '\n' ' ')
    if [ "${found% }" = "$(tr ' ' '\n' <<<"$expected" | LC_ALL=C sort | tr '\n' ' ' | sed 's/ $//')" ]; then ok top-level "$found"; else bad top-level "$found"; fi
}

demo
check
accept story story
accept poison poison --events "$(full 10000 2000)"
accept kill kill --kills "$(full 10 3)" --rate "$(full 2000 300)"
accept ready ready --gib "$(full 2 0)"
bad_input
bench
top_level
exit "$failed"
