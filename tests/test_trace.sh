#!/bin/sh
# Every golden case (from the released PyTorch code, timm and Hugging Face) through `fv trace --check`, on every ISA of this
# machine; and the same bytes for 1, 2 and 3 threads. Also that the check itself can fail.
cd "$(dirname "$0")/.." || exit 1
FV=${FV:-build/fv}
LLM=${FROZENVIS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/frozenvis}/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
T=$(mktemp -d) || exit 1
trap 'rm -rf "$T"' EXIT
passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); echo "FAIL $*"; }

for isa in scalar avx2 avx512 avx512bf16 neon; do
    FROZENVIS_ISA=$isa $FV bench gemm --m 8 --n 8 --k 8 >/dev/null 2>&1
    [ $? = 6 ] && continue # not on this machine
    for case in tests/golden/block_*.safetensors tests/golden/image_*.safetensors tests/golden/train_*.safetensors \
        tests/golden/point_*.safetensors tests/golden/video_*.safetensors tests/golden/vi[tv]*.safetensors; do
        llm=
        case $case in *smollm2*)
            [ -f "$LLM" ] || { skipped=$((skipped + 1)); echo "skipped $case: the language model is not in the cache"; continue; }
            llm="--llm $LLM" ;;
        esac
        if FROZENVIS_ISA=$isa $FV trace "$case" --check $llm >"$T/out" 2>&1; then ok; else bad "$isa $case"; tail -5 "$T/out"; fi
    done
done

for case in tests/golden/image_llama.safetensors tests/golden/train_image_llama.safetensors tests/golden/block_llama_gqa.safetensors; do
    for n in 1 2 3; do $FV trace $case --out "$T/$n.safetensors" --threads $n >/dev/null || bad "$case with $n threads"; rm -f "$T/x"; mv "$T/$n.safetensors" "$T/t$n"; done
    if cmp -s "$T/t1" "$T/t2" && cmp -s "$T/t1" "$T/t3"; then ok; else bad "$case: 1, 2 and 3 threads differ"; fi
done

# a result with one byte changed must fail, and a file cut short must be refused
cp tests/golden/block_llama_small.safetensors "$T/broken.safetensors"
size=$(wc -c <"$T/broken.safetensors")
printf '\101' | dd of="$T/broken.safetensors" bs=1 seek=$((size - 2)) conv=notrunc 2>/dev/null
$FV trace "$T/broken.safetensors" --check >/dev/null 2>&1
[ $? = 1 ] && ok || bad "a changed result was not noticed"
head -c 5000 tests/golden/block_llama_small.safetensors >"$T/short.safetensors"
$FV trace "$T/short.safetensors" --check >/dev/null 2>&1
[ $? = 3 ] && ok || bad "a file cut short was not refused with 3"
$FV trace "$T/none.safetensors" --check >/dev/null 2>&1
[ $? = 4 ] && ok || bad "a missing file was not refused with 4"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
