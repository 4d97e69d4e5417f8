#!/bin/sh
# bench_cuda.sh -- `make bench-cuda`: training steps on a GPU, one JSON line each, kept in build/bench-cuda.jsonl.
cd "$(dirname "$0")/.." || exit 1
FV=${FV:-build/cuda/fv}
mkdir -p build && : >build/bench-cuda.jsonl
for step in '--size small --frozen llama-7b --batch 64 --precision bf16' '--size small --batch 256 --precision bf16' \
    '--size tiny28 --batch 128 --precision f32'; do
    # shellcheck disable=SC2086
    "$FV" bench step $step --steps 20 --device cuda --json >build/bench-cuda.last || exit
    cat build/bench-cuda.last && cat build/bench-cuda.last >>build/bench-cuda.jsonl
done
