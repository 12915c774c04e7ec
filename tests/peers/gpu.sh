#!/usr/bin/env bash
# Builds, checks and measures on a machine with an NVIDIA GPU, in one call:
#
#     bash tests/peers/gpu.sh OUT [PAIRS]
#
# OUT takes what the steps print, and a checkpoint of random weights in the shape of Aya-expanse-8B (16 GB), which
# needs a `python3` with numpy (tests/generators/random_checkpoint.py). Where that python3 has torch and transformers
# too, they do the same work in turn. PAIRS is a file of minimal pairs in English, for `stream` against `resident`;
# without it these two steps are left out. Every step is told with its exit code; none stops the others. The tables come
# last.
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
peers=()
if python3 -c 'import torch, transformers' 2>/dev/null; then
    peers=(--peers --python python3)
else
    echo "python3 has no torch and transformers: this program alone"
fi

step build cargo build --package xtask --features cuda
step parity xtask parity --what models --device cuda
step bench-f32 xtask bench score-small,score,masked,capture,autoencoder --device cuda "${peers[@]}"
step bench-bf16 xtask bench score,masked --device cuda --precision bf16 "${peers[@]}"

model="$out/aya-8b-random"
[ -f "$model/config.json" ] || step checkpoint python3 tests/generators/random_checkpoint.py "$model"
if [ -f "$model/config.json" ]; then
    step bench-8b xtask bench score --model "$model" --share 32 --runs 2 --device cuda --precision bf16 "${peers[@]}"
    for residency in resident stream; do
        [ -n "$pairs" ] || continue
        step "8b-$residency" xtask model score "$model" --pairs "$pairs" --limit 64 --device cuda --precision bf16 \
            --residency "$residency"
        tail -n 1 "$out/8b-$residency.log"
    done
fi
for table in bench-f32 bench-bf16 bench-8b; do
    [ -s "$out/$table.txt" ] && cat "$out/$table.txt"
done
exit "$failed"
