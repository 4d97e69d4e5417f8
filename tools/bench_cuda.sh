#!/bin/sh
# bench_cuda.sh -- `make bench-cuda`: training steps on a GPU, in turns with PyTorch on the same one, eager and
# through torch.compile. Prints a table and writes build/bench/cuda.jsonl: what race says, and a line of ratios
# for each step. A ratio of times is PyTorch's median over ours, of memory ours over PyTorch's (eager).
#   REPS=N          repetitions in turns (20)
#   PEER_PYTHON=P   the Python that has PyTorch (python3)
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${BENCH_OUT:-build/bench}
REPS=${REPS:-20}
PY=${PEER_PYTHON:-python3}
FV=${FV:-build/cuda/fv}
R=$OUT/cuda.jsonl
mkdir -p "$OUT" || exit 4
"$FV" bench step --batch 1 --runs 1 --device cuda --json >/dev/null || exit # it says what is missing
${CC:-cc} -O2 -std=c99 -o "$OUT/race" tools/peers/race.c || exit 1
torch=1
"$PY" -B tools/peers/step.py --batch 1 --device cuda </dev/null >/dev/null 2>&1 || {
    torch=
    echo "bench-cuda: $PY has no PyTorch that can use this GPU (PEER_PYTHON names another): ours alone" >&2
}

# step SIZE FROZEN BATCH PRECISION: then what we want against eager, against torch.compile, and of memory
step() {
    flags="--size $1 --frozen $2 --batch $3 --precision $4 --device cuda"
    group="step $*"
    set -- "ours=exec $FV bench step $flags --serve --json"
    [ -z "$torch" ] || set -- "$@" "eager=exec $PY -B tools/peers/step.py $flags" \
        "compile=exec $PY -B tools/peers/step.py $flags --compile"
    echo | "$OUT/race" "$REPS" "$@" | sed "s/^{/{\"group\":\"$group\",/" >>"$R"
}

: >"$R"
step small llama-7b 64 bf16 1.0 0.9 0.7
step small none 256 bf16 1.0 - 0.7
step tiny28 none 128 f32 4.0 - 0.7
made() { awk -f tools/bench_json.awk -f tools/bench_cuda.awk -v what="$1" "$R"; }
made table
ratios=$(made json) && printf '%s\n' "$ratios" >>"$R"
echo "$R"
