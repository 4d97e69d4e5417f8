#!/bin/sh
# make bench: products at the shapes of a ViT, as GFLOP/s and as a share of one core's measured peak.
cd "$(dirname "$0")/.." || exit 1
for precision in f32 bf16; do
    for threads in 1 2; do
        for shape in "1576 1152 384" "1576 1536 384" "1576 384 1536" "384 1536 1576" "1024 1024 1024" "1576 1536 576" "1576 4096 4096"; do
            # shellcheck disable=SC2086
            set -- $shape
            build/fv bench gemm --m "$1" --n "$2" --k "$3" --precision $precision --threads $threads
        done
    done
done
