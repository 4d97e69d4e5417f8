#!/bin/sh
# Every golden case (from the released PyTorch code, timm, Hugging Face, and networks written from the papers with other settings) through `fv trace --check`, on every ISA of this
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

# every image, block and training case with 1, 2 and 3 threads on the default ISA, and three of them on each other one
same_bits() { # same_bits ISA CASE: "" is the default
    llm=
    case $2 in *smollm2*)
        [ -f "$LLM" ] || { skipped=$((skipped + 1)); echo "skipped $2: the language model is not in the cache"; return; }
        llm="--llm $LLM" ;;
    esac
    for n in 1 2 3; do
        rm -f "$T/t$n"
        # shellcheck disable=SC2086
        env ${1:+FROZENVIS_ISA=$1} $FV trace "$2" --out "$T/t$n" --threads $n $llm >/dev/null || bad "$1 $2 with $n threads"
    done
    if [ -s "$T/t1" ] && cmp -s "$T/t1" "$T/t2" && cmp -s "$T/t1" "$T/t3"; then ok; else bad "$1 $2: 1, 2 and 3 threads differ"; fi
}
for case in tests/golden/image_*.safetensors tests/golden/block_*.safetensors tests/golden/train_*.safetensors; do same_bits '' "$case"; done
for isa in scalar avx2 avx512 avx512bf16 neon; do
    FROZENVIS_ISA=$isa $FV bench gemm --m 8 --n 8 --k 8 >/dev/null 2>&1
    [ $? = 6 ] && continue # not on this machine
    for case in image_llama train_image_llama block_llama_gqa; do same_bits $isa tests/golden/$case.safetensors; done
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

# ---- what --check says of results that are NaN, missing, unknown, or not there at all ----
# case_file FILE HEADER_OF_RESULTS BYTES: an FFN of two numbers whose weights and input are 0, so that its output is; then the
# results' entries, whose data begins at byte 48, and their bytes
case_file() {
    weight='"model.layers.0.ffn_norm.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"model.layers.0.feed_forward.w1.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]},"model.layers.0.feed_forward.w3.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[16,24]},"model.layers.0.feed_forward.w2.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[24,32]}'
    config='{\"frozen\":{\"arch\":\"llama\",\"hidden_size\":2,\"num_attention_heads\":1,\"intermediate_size\":1,\"only_mlp\":true,\"final_norm\":false,\"num_hidden_layers\":1}}'
    header="{\"__metadata__\":{\"case\":\"block\",\"config\":\"$config\"},$weight,\"input\":{\"dtype\":\"F32\",\"shape\":[1,1,2],\"data_offsets\":[32,40]},\"grad_output\":{\"dtype\":\"F32\",\"shape\":[1,1,2],\"data_offsets\":[40,48]}$2}"
    n=${#header}
    # shellcheck disable=SC2059
    printf "\\$(printf '%03o' $((n % 256)))\\$(printf '%03o' $((n / 256)))\\0\\0\\0\\0\\0\\0" >"$1"
    printf '%s' "$header" >>"$1"
    head -c 48 /dev/zero >>"$1"
    # shellcheck disable=SC2059
    printf "$3" >>"$1"
}
entry() { echo ",\"$1\":{\"dtype\":\"F32\",\"shape\":$2,\"data_offsets\":[$3]}"; }
checks() { # checks STATUS WHAT
    $FV trace "$T/case" --check >"$T/out" 2>&1
    got=$?
    [ $got = "$1" ] && ok || { bad "status $got and not $1: $2"; head -n 3 "$T/out"; }
}
zeros='\0\0\0\0\0\0\0\0' nan='\0\0\300\177\0\0\0\0'
case_file "$T/case" "$(entry output '[1,1,2]' 48,56)" "$zeros" && checks 0 'a result that agrees'
case_file "$T/case" "$(entry output '[1,1,2]' 48,56)" "$nan" && checks 1 'a result that is NaN in the case'
case_file "$T/case" "$(entry output '[2,1]' 48,56)" "$zeros" && checks 1 'a result of another shape'
case_file "$T/case" "$(entry output '[1,2,1]' 48,56)" "$zeros" && checks 1 'a result of as many dims, but others'
case_file "$T/case" "$(entry output '[1,1,2]' 48,56)$(entry logits '[2]' 56,64)" "$zeros$zeros" && checks 1 'a result that is not produced'
case_file "$T/case" '' '' && checks 1 'nothing to compare'
grep -q 'nothing to compare' "$T/out" && ok || bad "nothing to compare is not said: $(cat "$T/out")"
cp "$T/case" "$T/before"
$FV trace "$T/case" --out "$T/case" >/dev/null 2>&1
[ $? = 2 ] && cmp -s "$T/case" "$T/before" && ok || bad 'a case was written over'
$FV trace "$T/case" --out "$T/results" >/dev/null 2>&1 && $FV inspect "$T/results" >"$T/out"
grep -q '^output' "$T/out" && grep -q '^grad_input' "$T/out" && ok || bad "not every result was written: $(cat "$T/out")"

# a result that is NaN fails, though it is only written
case_file "$T/case" '' ''
size=$(wc -c <"$T/case")
printf "$nan" | dd of="$T/case" bs=1 seek=$((size - 16)) conv=notrunc 2>/dev/null # the input
$FV trace "$T/case" --out "$T/nan" >/dev/null 2>"$T/out"
[ $? = 1 ] && grep -q '^fv: .*result output is not finite' "$T/out" && ok || bad "a NaN result that is written: $(cat "$T/out")"

$FV trace "$T/none.safetensors" --check >/dev/null 2>&1
[ $? = 4 ] && ok || bad "a missing file was not refused with 4"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
