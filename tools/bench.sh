#!/bin/sh
# bench.sh -- `make bench`: products, attention, training steps, inferences, loading and data, each as a share
# of what this machine can do, and in turns with what is installed of PyTorch, onnxruntime (in PEER_PYTHON,
# else python3) and OpenBLAS. About ten minutes on two cores. Prints tables; writes build/bench/results.jsonl
# and build/bench/bench.svg.
#   QUICK=1         few repetitions, small works only: about a minute and a half
#   REPS=N          repetitions in turns (10; QUICK: 3)
#   PEER_PYTHON=P   the Python that has the peers; PEER_PYTHON=none: ours alone
# A ratio is the peer's median time over ours: above 1, we are faster. Run it on an idle machine.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${BENCH_OUT:-build/bench}
QUICK=${QUICK:-}
REPS=${REPS:-$([ -n "$QUICK" ] && echo 3 || echo 10)}
PY=${PEER_PYTHON:-python3}
FV=${FV:-build/fv}
R=$OUT/results.jsonl
mkdir -p "$OUT" || exit 4
started=$(date +%s)

on_terminal() { [ -t 2 ] && [ "${TERM:-dumb}" != dumb ]; }
say() { if on_terminal; then printf '\r\033[K[%d s] %s ' $(($(date +%s) - started)) "$*" >&2; fi; }

# ---- what there is to run against ----
${CC:-cc} -O2 -std=c99 -o "$OUT/race" tools/peers/race.c || exit 1
blas=
${CC:-cc} -O2 -o "$OUT/openblas" tools/peers/openblas.c -lopenblas >/dev/null 2>&1 &&
    "$OUT/openblas" </dev/null >/dev/null 2>&1 && blas=$OUT/openblas
have=
[ "$PY" = none ] || have=$("$PY" -B tools/peers/have.py 2>/dev/null)
has() { case "
$have" in *"
$1 "*) return 0 ;; esac; return 1; }
threads_of_peers() { echo "env OMP_NUM_THREADS=$1 OPENBLAS_NUM_THREADS=$1"; }

# tagged GROUP: JSON objects of stdin, each with its group in front, to the results
tagged() { sed "s/^{/{\"group\":\"$1\",/" >>"$R"; }

# gemm PRECISION THREADS [ISA] < shapes: all that can multiply so
gemm() {
    precision=$1 threads=$2 isa=${3:-}
    say "products, $precision, $threads thread(s) ${isa:+, $isa}"
    ours="exec ${isa:+env FROZENVIS_ISA=$isa} $FV bench gemm"
    ours="$ours --precision $precision --threads $threads --serve --json"
    set -- "ours=$ours" "packed=$ours --packed"
    py="exec $(threads_of_peers "$threads") $PY -B tools/peers/gemm.py"
    if [ -z "$isa" ]; then
        [ "$precision" = f32 ] && has onnxruntime && set -- "$@" "onnxruntime=$py onnxruntime f32 $threads"
        has torch && set -- "$@" "torch=$py torch $precision $threads"
        [ "$precision" = f32 ] && [ -n "$blas" ] &&
            set -- "$@" "openblas=exec $(threads_of_peers "$threads") $blas"
    fi
    "$OUT/race" "$REPS" "$@" | tagged "gemm $precision $threads${isa:+ $isa}"
}

# step SIZE FROZEN BATCH PRECISION train|infer WANTED-SHARE WANTED-RATIO
step() {
    say "$1, frozen $2, batch $3, $4, $5"
    flags="--size $1 --frozen $2 --batch $3 --precision $4 --threads 2$([ "$5" = infer ] && echo ' --infer')"
    group="step $1 $2 $3 $4 $5 $6 $7"
    set -- "ours=exec $FV bench step $flags --serve --json"
    has torch && set -- "$@" "torch=exec $(threads_of_peers 2) $PY -B tools/peers/step.py $flags"
    echo | "$OUT/race" "$REPS" "$@" | tagged "$group"
}

attention() { # attention PRECISION OPTIONS
    say "attention $*"
    precision=$1
    shift
    "$FV" bench attention --precision "$precision" "$@" --threads 1 --json | tagged "attention"
}

shapes() {
    printf '%s\n' '1576 1152 384' '1576 1536 384' '1576 384 1536' '1024 1024 1024' '197 197 64'
    [ -n "$QUICK" ] || printf '%s\n' '384 1536 1576' '1576 1536 576' '1576 4096 4096' '1576 11008 4096'
}

rm -f "$R"
{
    printf '{"group":"machine","cpu":"%s","cores":%d,"peers":"%s"}\n' \
        "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo 2>/dev/null | head -n 1)" "$(getconf _NPROCESSORS_ONLN)" \
        "$(echo "$have" | tr '\n' ' ')${blas:+openblas}"
} >>"$R"
shapes | gemm f32 1
shapes | gemm bf16 1
shapes | grep -v '^197' | gemm f32 2
shapes | grep -v '^197' | gemm bf16 2
printf '%s\n' '1576 1536 384' '1024 1024 1024' | gemm f32 1 avx2
for p in f32 bf16; do
    attention $p
    attention $p --heads 9 --kv-heads 3 --head-dim 64
    [ -n "$QUICK" ] || attention $p --heads 32 --head-dim 128
done
#    size   frozen      batch precision       share ratio: what we want, 2 threads
step small  none         8    f32   train     0.80  2.4
step small  none         8    bf16  train     0.72  1.7
[ -n "$QUICK" ] || {
    step small llama-7b  8    f32   train     0.88  2.6
    step small llama-7b  8    bf16  train     0.85  1.45
}
step small  smollm2-135m 8    f32   train     0.80  2.3
step small  smollm2-135m 8    bf16  train     0.72  1.65
step tiny28 none         128  f32   train     -     2.8
step tiny28 none         128  bf16  train     -     3.0
step tiny28 smollm2-135m 128  f32   train     0.75  2.8
step tiny28 smollm2-135m 128  bf16  train     -     2.8
step small  none         1    f32   infer     0.75  2.2
step small  none         1    bf16  infer     0.55  1.5

say 'loading and data'
cache=${FROZENVIS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/frozenvis}
llm=$(find "$cache/smollm2" -name '*.gguf' 2>/dev/null | head -n 1)
"$FV" bench load --size tiny28 --json | tagged load
[ -z "$llm" ] || "$FV" bench load --size tiny28 --llm "$llm" --json | tagged load
"$FV" bench data --size tiny28 --frozen smollm2-135m --batch 128 --json | tagged data
[ -n "$QUICK" ] || "$FV" bench data --size small --batch 8 --pictures 32 --json | tagged data
# 32 clouds of 2048 points in 64 groups of 32, as the task points groups them
"$FV" bench clouds --json 2>/dev/null | tagged clouds
if on_terminal; then printf '\r\033[K' >&2; fi

awk -f tools/bench_json.awk -f tools/bench_table.awk "$R"
awk -f tools/bench_json.awk -f tools/bench_bars.awk "$R" >"$OUT/bench.svg"
echo "in $(($(date +%s) - started)) s; $R, $OUT/bench.svg"
