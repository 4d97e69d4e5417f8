#!/bin/sh
# bench_growth.sh -- `make bench-growth`: how the cost of a training step grows with tokens, batch, blocks in
# the frozen stage and threads, beside the growth of the dense graph's work. Prints a table; writes
# build/bench/growth.jsonl, growth.md (the table), growth.svg. About three minutes on two cores. QUICK=1: few
# points, one step each. STEPS=N: steps that are timed (5).
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${BENCH_OUT:-build/bench}
QUICK=${QUICK:-}
STEPS=${STEPS:-$([ -n "$QUICK" ] && echo 1 || echo 5)}
FV=${FV:-build/fv}
R=$OUT/growth.jsonl
mkdir -p "$OUT" || exit 4

on_terminal() { [ -t 2 ] && [ "${TERM:-dumb}" != dumb ]; }
step() { # step GROUP X OPTIONS...
    if on_terminal; then printf '\r\033[K%s %s ' "$1" "$2" >&2; fi
    group=$1 x=$2
    shift 2
    "$FV" bench step --frozen smollm2-135m --steps "$STEPS" "$@" --json | sed "s/^{/{\"group\":\"$group\",\"x\":$x,/" >>"$R"
}

rm -f "$R"
# a picture of S x S pixels in patches of 16 is (S/16)^2 + 1 tokens
for side in 112 $([ -n "$QUICK" ] || echo 160) 224 $([ -n "$QUICK" ] || echo 320 448 640); do
    step tokens $(((side / 16) * (side / 16) + 1)) --size tiny --batch 2 --img-size "$side"
done
for batch in 1 4 16 $([ -n "$QUICK" ] || echo 64 256); do step batch "$batch" --size tiny28 --batch "$batch" --recompute; done
for threads in 1 2; do
    for layers in 1 2 4; do step "layers, $threads thread(s)" "$layers" --size tiny28 --batch 16 --layers "$layers" --threads "$threads"; done
done
if on_terminal; then printf '\r\033[K' >&2; fi
awk -f tools/bench_json.awk -f tools/bench_growth.awk -v what=table "$R" | tee "$OUT/growth.md"
awk -f tools/bench_json.awk -f tools/bench_growth.awk -v what=plot "$R" >"$OUT/growth.svg"
echo "$R, $OUT/growth.md, $OUT/growth.svg"
