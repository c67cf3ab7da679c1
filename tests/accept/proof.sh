#!/usr/bin/env bash
# The proof that fits into three minutes: one line a check, on the binary as it is.
#
#   tests/accept/proof.sh [BINARY]           what CI runs
#
# A bad disk is played by strace, which is installed if it is not here; checks that cannot run here
# are skipped by name. The whole proof is in README.md: a million seeds, every planted bug.
set -euo pipefail
cd "$(dirname "$0")/../.."

binary=$(realpath "${1:-target/debug/tidings}")
profile=()
case "$binary" in */release/tidings) profile=(--release) ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
began=$SECONDS

ok() { printf 'ok   %s: %s\n' "$1" "$2"; }
bad() { printf 'FAIL %s: %s\n' "$1" "$2"; failed=1; }
skip() { printf 'skip %s: %s\n' "$1" "$2"; }

install_strace() {
    command -v strace >/dev/null && return 0
    local root=()
    [ "$(id -u)" = 0 ] || root=(sudo -n)
    timeout 60 "${root[@]}" apt-get install -y strace >/dev/null 2>&1 ||
        { timeout 60 "${root[@]}" apt-get update && timeout 60 "${root[@]}" apt-get install -y strace; } >/dev/null 2>&1
}

# The program that loads and judges, called as itself: a file system of one's own needs a new
# namespace around it, and cargo must stay outside.
accept_program() {
    cargo test --quiet "${profile[@]}" --test accept --no-run --message-format=json 2>/dev/null |
        sed -n 's/.*"executable":"\([^"]*\/accept-[^"]*\)".*/\1/p' | tail -n 1
}

faults() { # words; then the words of the acceptance program before it
    local only=$1
    shift
    "$@" "$program" faults --only "$only" --binary "$binary" 2>/dev/null | grep -E '^(ok  |FAIL|faults:) ' || true
}

judge() { # lines of the acceptance program: as they are, and whether one of them failed
    local lines
    lines=$(cat "$1")
    if [ -z "$lines" ]; then bad "$2" "no line"; return; fi
    printf '%s\n' "$lines"
    if grep -q '^FAIL' <<<"$lines"; then failed=1; fi
}

disk() { # at once, as most of it is waiting
    if ! install_strace; then
        skip "disk faults" "F21 F22 F23 F24 F33: strace is not here and cannot be installed"
        return
    fi
    faults F22,F23,F33 >"$work/ends" &
    faults F21 >"$work/lives" &
    local small="$work/small"
    mkdir "$small"
    # shellcheck disable=SC2016
    local in_small=(unshare -rm bash -c 'mount -t tmpfs -o size=640m small "$0" && exec "$@" --small-disk "$0"' "$small")
    if unshare -rm true 2>/dev/null; then
        faults F24 "${in_small[@]}" >"$work/full"
    else
        skip "F24 disk is full" "no namespace to mount a small disk in; strace plays it"
        faults F24 >"$work/full"
    fi
    wait
    judge "$work/ends" "F22 F23 F33"
    judge "$work/lives" F21
    judge "$work/full" F24
}

verify() { # SIGKILLs under load, judged by the checker
    if ! "$binary" verify --help >/dev/null 2>&1; then
        skip verify "this binary has no such command"
        return
    fi
    local line status=0
    line=$("$binary" verify --for 30s --kill-every 3s --rate 500 --seed 1 --data "$work/verify" -o json 2>"$work/verify.err" | tail -n 1) || status=$?
    if [ "$status" = 0 ]; then ok verify "$line"; else bad verify "exit=$status $line $(tail -n 3 "$work/verify.err")"; fi
}

simulate() { # the same cores, a simulated world: 1,000 seeds
    local nodes seeds line status
    if ! cargo run --quiet --release -p tidings-sim -- run --help 2>/dev/null | grep -q seeds; then
        skip simulator "it has no such command"
        return
    fi
    for nodes in "1 0..250" "3 0..500" "5 0..250"; do
        seeds=${nodes#* } nodes=${nodes% *}
        status=0
        cargo run --quiet --release -p tidings-sim -- run --nodes "$nodes" --seeds "$seeds" >"$work/sim" 2>&1 || status=$?
        line=$(grep -E 'seeds/s|^violations' "$work/sim" | paste -sd ' ')
        if [ "$status" = 0 ]; then ok "simulator" "$line"; else bad "simulator $nodes nodes" "$(tail -n 3 "$work/sim")"; fi
    done
}

program=$(accept_program)
disk
verify
simulate
printf 'proof took %d s\n' "$((SECONDS - began))"
exit "$failed"
