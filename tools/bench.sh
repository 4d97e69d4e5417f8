#!/bin/sh
# make bench: products at the shapes of a ViT, as GFLOP/s and as a share of one core's measured peak.
# make bench-cuda (bench.sh cuda): training steps on a GPU, one JSON line each, kept in build/bench-cuda.jsonl.
cd "$(dirname "$0")/.." || exit 1
if [ "${1:-}" = cuda ]; then
    FV=${FV:-build/cuda/fv}
    mkdir -p build && : >build/bench-cuda.jsonl
    for step in '--size small --frozen llama-7b --batch 64 --precision bf16' '--size small --batch 256 --precision bf16' '--size tiny28 --batch 128 --precision f32'; do
        # shellcheck disable=SC2086
        "$FV" bench step $step --steps 20 --device cuda --json >build/bench-cuda.last || exit
        cat build/bench-cuda.last && cat build/bench-cuda.last >>build/bench-cuda.jsonl
    done
    exit
fi
for precision in f32 bf16; do
    for threads in 1 2; do
        for shape in "1576 1152 384" "1576 1536 384" "1576 384 1536" "384 1536 1576" "1024 1024 1024" "1576 1536 576" "1576 4096 4096"; do
            # shellcheck disable=SC2086
            set -- $shape
            build/fv bench gemm --m "$1" --n "$2" --k "$3" --precision $precision --threads $threads
        done
    done
done
