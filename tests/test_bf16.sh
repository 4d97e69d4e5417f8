#!/bin/sh
# In bf16 each result's error is at most twice that of PyTorch's autocast on the same golden case (tests/golden/bf16_autocast.txt), with the
# CPU's bf16 products where it has them and in their emulation. With words, options of the trace: on a GPU (test_cuda.sh), where the errors
# wanted are those of PyTorch on a GPU, once somebody has had make_bf16.py write them there (bf16_cuda.txt, tf32_cuda.txt); else those on the CPU.
cd "$(dirname "$0")/.." || exit 1
. tests/harness.sh
FV=${FV:-build/fv}
LLM=${FROZENVIS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/frozenvis}/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
[ $# = 0 ] && more='avx512 avx2' || more=
lists=tests/golden/bf16_autocast.txt
case " $* " in
*' --tf32 '*) lists="tests/golden/tf32_cuda.txt $lists" ;;
*' cuda '*) lists="tests/golden/bf16_cuda.txt $lists" ;;
esac
[ $# = 0 ] && set -- --precision bf16
for isa in '' $more; do
    [ -z "$isa" ] || FROZENVIS_ISA=$isa $FV bench gemm --m 8 --n 8 --k 8 >/dev/null 2>&1 || continue # not on this machine
    for case in $(awk '!/^#/ && !seen[$1]++ { print $1 }' tests/golden/bf16_autocast.txt); do
        llm=
        case $case in *smollm2*)
            [ -f "$LLM" ] || { skip "$case" 'the language model is not in the cache'; continue; }
            llm="--llm $LLM" ;;
        esac
        # shellcheck disable=SC2086
        FROZENVIS_ISA=$isa $FV trace "tests/golden/$case.safetensors" --check $llm "$@" >"$T/ours" 2>&1 # ends with 1: f32's tolerance
        # the first list that has the case tells
        # shellcheck disable=SC2086
        list=$(grep -ls "^$case " $lists | head -n 1)
        awk -v case="$case" '
            FILENAME != ARGV[1] { if ($3 == "of") ours[$1] = $2; next }
            /^#/ { next }
            $1 == case { theirs[$2] = $3; n++ }
            END { if (!n) { print "no result is listed for " case; exit 1 } }
            END { for (k in theirs) if (!(k in ours) || !(ours[k] <= 2 * theirs[k] + 2e-5)) { print k, ours[k], "and PyTorch", theirs[k]; bad = 1 } exit bad }' \
            "$list" "$T/ours" >"$T/said" && ok || { bad "$case, $* ${isa:+with $isa}"; cat "$T/said"; }
    done
done
report
