#!/usr/bin/env bash
# Builds, checks and measures on a machine with an NVIDIA GPU, in one call:
#
#     bash tests/peers/gpu.sh OUT [PAIRS]
#
# OUT takes what the steps print, and a checkpoint of random weights in the shape of Aya-expanse-8B (16 GB), which
# needs a `python3` with numpy (tests/generators/random_checkpoint.py). PAIRS is a file of minimal pairs in English;
# without it the 8B steps are left out. Every step is told with its exit code; none stops the others.
set -uo pipefail
cd "$(dirname "$0")/../.."
out="${1:?a folder for the results}"
pairs="${2:-}"
mkdir -p "$out"
failed=0

step() {
    local name="$1" start=$SECONDS
    shift
    "$@" >"$out/$name.txt" 2>"$out/$name.log"
    local code=$?
    printf '%-24s exit %d, %d s\n' "$name" "$code" "$((SECONDS - start))"
    [ "$code" = 0 ] || { tail -n 3 "$out/$name.log"; failed=1; }
}

xtask() { cargo run --quiet --package xtask --features cuda -- "$@"; }

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv 2>/dev/null | tee "$out/gpu.csv"
step build cargo build --package xtask --features cuda
step parity xtask parity --what models --device cuda
step bench xtask bench score-small,score,edits-norm,edits-middle,masked,capture,autoencoder --device cuda
cat "$out/bench.txt"
if [ -n "$pairs" ]; then
    model="$out/aya-8b-random"
    [ -f "$model/config.json" ] || step checkpoint python3 tests/generators/random_checkpoint.py "$model"
    for residency in resident stream; do
        step "8b-$residency" xtask model score "$model" --pairs "$pairs" --limit 64 --device cuda --residency "$residency"
        tail -n 1 "$out/8b-$residency.log"
    done
fi
exit "$failed"
