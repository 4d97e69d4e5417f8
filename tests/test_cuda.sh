#!/bin/sh
# The CUDA path. Without a GPU (`make test`): tests/cuda_emulator.h runs the header's own kernels on the CPU; every op is compared with its
# CPU twin, with the threads of a block taken in order and in reverse, and the program fv, linked with that emulated GPU, runs the golden
# cases and trains, evaluates and resumes like the CPU. Where nvcc is, all of it is compiled for real, warnings being errors.
# With a GPU (`make test-cuda`, which sets FV_CUDA to the program): the same on the device, and under compute-sanitizer where it is.
cd "$(dirname "$0")/.." || exit 1
. tests/harness.sh
FV=${FV:-build/fv}
CXX=${CXX:-g++}
O=build/cuda-emulated
LLM=${FROZENVIS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/frozenvis}/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

# With FROZENVIS_NCCL, tests/nccl_emulator.h joins several processes into a group of emulated GPUs; buckets are small, so that they fill up.
group="-DFROZENVIS_NCCL -DFV__BUCKET=256 -DFV__WIDE=1"

# gcc 12 sees uninitialised values in its own AVX-512 header; a longjmp goes between stacks, which _FORTIFY_SOURCE takes for an attack
emulated() { "$CXX" -std=c++17 -O1 -g -Wall -Wextra -Werror -Wno-maybe-uninitialized -Wno-format-zero-length -U_FORTIFY_SOURCE -I. -Itests "$@"; }

ends() { # ends STATUS NAME COMMAND...: with this status and one sentence on stderr
    want=$1 name=$2
    shift 2
    "$@" >/dev/null 2>"$T/said"
    [ $? = "$want" ] && [ "$(wc -l <"$T/said")" = 1 ] && ok || bad "$name: exit $want and one sentence wanted: $(cat "$T/said")"
}

ops() { # ops NAME COMMAND...: a program that counts for itself
    name=$1
    shift
    expect "$name" "$@"
    tail -n 1 "$T/said" | grep -q '^[1-9][0-9]* passed, 0 failed' && ok || bad "$name: $(tail -n 1 "$T/said")"
}

golden() { # golden FV...: every case that needs no language model, and the one that does where it is there
    for case in tests/golden/block_*.safetensors tests/golden/image_*.safetensors tests/golden/train_*.safetensors \
        tests/golden/point_*.safetensors tests/golden/video_*.safetensors tests/golden/vi[tv]*.safetensors; do
        case $case in
        *smollm2*) if [ -f "$LLM" ]; then expect "$case" "$@" trace "$case" --check --device cuda --llm "$LLM"; else skip "$case" 'the language model is not in the cache'; fi ;;
        *) expect "$case" "$@" trace "$case" --check --device cuda ;;
        esac
    done
}

follows() { # follows LOG LOG LEAST [MOST]: at least so many steps, whose losses are within MOST (1e-3) of each other
    paste "$1" "$2" | awk -F'"loss":' -v least="$3" -v most="${4:-0.001}" '{ n++; a = $2 + 0; b = $3 + 0; d = a > b ? a - b : b - a; if (d > worst) worst = d }
        END { print n " steps, losses differ by up to " worst + 0; exit !(n >= least && worst <= most + 1e-9) }' >"$T/said" && ok || bad "$1, $2: $(cat "$T/said")"
}

# A run on the GPU beside the same one on the CPU: the same losses and measures, and each goes on from the other's checkpoint.
training() {
    D=$T/data
    mkdir "$D"
    idx train 96 1
    idx t10k 40 2
    usual='--set img_size=8 patch_size=4 in_chans=1 embed_dim=16 depth=2 num_heads=2 limit=96 drop_path_rate=0.2 drop_rate=0.1 shift=1 hflip=0 --variant base
        --batch 8 --lr 0.003 --seed 3 --save-every 7 --precision f32 --json --quiet'
    # shellcheck disable=SC2086
    {
        expect 'trains on the CPU' "$@" train image --data "$D" --out "$T/cpu" $usual --epochs 9
        expect 'trains on the GPU' "$@" train image --data "$D" --out "$T/gpu" $usual --epochs 9 --device cuda
        follows "$T/cpu/log.jsonl" "$T/gpu/log.jsonl" 100
        for k in cpu gpu; do # the half of it, and then the other half on the other device
            there='--device cuda' here=
            [ $k = cpu ] && there= here='--device cuda'
            expect "half of it ($k)" "$@" train image --data "$D" --out "$T/half-$k" $usual --epochs 4 $there
            rm -f "$T/half-$k/result.json" "$T/half-$k/model.safetensors"
            sed -i 's/"epochs":4/"epochs":9/' "$T/half-$k/config.json"
            expect "and the other half ($k)" "$@" train image --data "$D" --out "$T/half-$k" $usual --epochs 9 --resume $here
        done
        follows "$T/half-cpu/log.jsonl" "$T/half-gpu/log.jsonl" 100
    }
    expect 'the GPU measures the CPU'\''s run' "$@" eval "$T/cpu" --device cuda --json
    cp "$T/said" "$T/there"
    expect 'the CPU does' "$@" eval "$T/cpu" --json
    a=$(sed 's/"loss".*//' "$T/there") b=$(sed 's/"loss".*//' "$T/said")
    [ -n "$a" ] && [ "$a" = "$b" ] && ok || bad "the GPU says $a, the CPU $b"
}

# Steps that the host does not wait for: what they come to is the CPU's, at whatever pace copies go; a loss that is not finite ends
# the run with the same words, log and checkpoint; and twice the steps find the GPU idle no more often (the emulator counts).
ahead() {
    rich='--limit 96 --set grad_accum=2 ema=0.8 clip_grad=0.5 mixup=0.4 cutmix=1 mix_prob=0.6 --save-every 1000'
    # shellcheck disable=SC2086
    {
        expect 'mixes on the CPU' "$@" train image --data "$D" --out "$T/rich-cpu" $usual $rich --epochs 2
        for n in 1 2; do
            expect "mixes on the GPU, $n epochs" env FV_EMULATE_STALLS="$T/stalls$n" "$@" train image --data "$D" --out "$T/rich$n" $usual $rich --epochs $n --device cuda
        done
        follows "$T/rich-cpu/log.jsonl" "$T/rich2/log.jsonl" 12
        expect 'mixes with late copies' env FV_EMULATE_LATE=1 "$@" train image --data "$D" --out "$T/late" $usual $rich --epochs 2 --device cuda
        cmp -s "$T/rich2/log.jsonl" "$T/late/log.jsonl" && cmp -s "$T/rich2/model.safetensors" "$T/late/model.safetensors" && ok || bad 'the pace of copies shows'
        grep -q '^[1-9]' "$T/stalls1" 2>/dev/null && cmp -s "$T/stalls1" "$T/stalls2" && ok || bad "the GPU was idle $(cat "$T/stalls1" "$T/stalls2" | tr '\n' ' ')times in 6 and 12 steps"
        for every in 1 1000; do
            for d in cpu cuda; do
                ends 5 "a loss that is not finite, $d" "$@" train image --data "$D" --out "$T/bad-$d-$every" $usual --epochs 2 --lr 1e30 --set optimizer=sgd --save-every $every --device $d
                { cat "$T/said" "$T/bad-$d-$every/latest" && wc -l <"$T/bad-$d-$every/log.jsonl"; } >"$T/bad-$d" 2>/dev/null
            done
            cmp -s "$T/bad-cpu" "$T/bad-cuda" && grep -q 'not finite at step [2-9]' "$T/bad-cpu" && ok || bad "a loss that is not finite: $(cat "$T/bad-cpu" "$T/bad-cuda")"
        done
    }
}

# Two GPUs share each batch: the same steps as one has, dropout's masks included, from the first and from a checkpoint on; and what ends it.
several() {
    FV_EMULATE_DEVICES=2
    export FV_EMULATE_DEVICES
    # shellcheck disable=SC2086
    {
        for k in one two; do
            gpus='--device cuda'
            [ $k = one ] || gpus='--gpus 2'
            expect "trains on $k" "$@" train image --data "$D" --out "$T/$k" $usual --epochs 1 $gpus --set ema=0.8 grad_accum=2
            rm -f "$T/$k/result.json" "$T/$k/model.safetensors"
            sed -i 's/"epochs":1/"epochs":2/' "$T/$k/config.json"
            expect "$k goes on" "$@" train image --data "$D" --out "$T/$k" $usual --epochs 2 $gpus --set ema=0.8 grad_accum=2 --resume
        done
        [ "$(wc -l <"$T/said")" = 1 ] && ok || bad "two GPUs, one result: $(cat "$T/said")"
        follows "$T/one/log.jsonl" "$T/two/log.jsonl" 12 "${apart:-2e-6}"
        a=$(sed 's/"loss".*//' "$T/one/result.json") b=$(sed 's/"loss".*//' "$T/two/result.json")
        [ -n "$a" ] && [ "$a" = "$b" ] && ok || bad "one GPU measures $a, two $b"
        ends 2 'a batch that two cannot share' "$@" train image --data "$D" --out "$T/none" $usual --batch 9 --epochs 1 --gpus 2
        ends 6 'more GPUs than there are' "$@" train image --data "$D" --out "$T/none" $usual --epochs 1 --gpus 3
        ends 2 'several GPUs on a CPU' "$@" train image --data "$D" --out "$T/none" $usual --epochs 1 --gpus 2 --device cpu
        ends 5 'a loss that is not finite' "$@" train image --data "$D" --out "$T/none" $usual --epochs 9 --lr 1e30 --set optimizer=sgd --gpus 2
        for how in KILL TERM; do # of the second process, the first one does not wait for it; of the first: both stop after the same step
            "$@" train image --data "$D" --out "$T/$how" $usual --epochs 900 --gpus 2 >/dev/null 2>"$T/said" &
            first=$! tries=0
            until [ -s "$T/$how/log.jsonl" ] || [ $tries = 1500 ]; do sleep 0.2; tries=$((tries + 1)); done
            second=$(cut -d' ' -f1 /proc/$first/task/$first/children 2>/dev/null)
            [ -n "$second" ] && ok || bad "two GPUs are not two processes: $(cat "$T/said")"
            [ $how = KILL ] && kill -KILL "${second:-$first}" || kill -TERM $first
            wait $first
            status=$?
            [ $how = KILL ] && want=6 || want=130
            [ $status = $want ] && ok || bad "SIG$how: exit $status, and $want wanted: $(cat "$T/said")"
        done
        # before the second one has its key: an interruption of both, of one of them; its end; one that does not listen
        for how in INT FIRST SECOND KILL; do
            "$@" train image --data "$D" --out "$T/early-$how" $usual --epochs 900 --gpus 2 >/dev/null 2>"$T/said" &
            first=$! tries=0 second=
            until [ -n "$second" ] || [ $tries = 20000 ]; do second=$(cut -d' ' -f1 /proc/$first/task/$first/children 2>/dev/null); tries=$((tries + 1)); done
            kill -STOP "$second"
            tries=0
            until [ -s "$T/early-$how/config.json" ] || [ $tries = 300 ]; do sleep 0.2; tries=$((tries + 1)); done
            case $how in
            INT) kill -INT $first "$second" ;;
            FIRST) kill -INT $first ;;
            SECOND) kill -TERM "$second" ;;
            KILL) kill -KILL "$second" ;;
            esac
            kill -CONT "$second" 2>/dev/null
            wait $first
            status=$?
            case $how in KILL) want=6 words='ended by signal 9$' ;; FIRST) want=130 words='can be resumed' ;; *) want=130 words='before the first checkpoint' ;; esac
            [ $status = $want ] && [ "$(wc -l <"$T/said")" = 1 ] && grep -q "^fv: .*$words" "$T/said" && ok || bad "while the others load, $how: exit $status, $(cat "$T/said")"
        done
        ends 6 'a process that is gone' early deaf "$@" train image --data "$D" --out "$T/deaf" $usual --epochs 1 --gpus 2
        grep -q 'a process is gone' "$T/said" && ok || bad "a process that is gone: $(cat "$T/said")"
    }
    unset FV_EMULATE_DEVICES
}

refusals() { # the program without CUDA says so
    ends 6 'no CUDA in the program' "$FV" train image --data "$T" --out "$T/none" --device cuda
    ends 6 'no CUDA in the program, trace' "$FV" trace tests/golden/block_llama_small.safetensors --check --device cuda:1
    ends 6 'several GPUs without CUDA' "$FV" train image --data "$T" --out "$T/none" --gpus 2
    ends 2 'a device of another name' "$FV" trace tests/golden/block_llama_small.safetensors --check --device gpu
    ends 2 'a device without a number' "$FV" trace tests/golden/block_llama_small.safetensors --check --device cuda:
}

# steps NAME COMMAND...: one training step of each task whose data can be made here or stand in the cache, and two test items
steps() {
    under=$1 cache=${FROZENVIS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/frozenvis}
    shift
    for t in image points volumes motion video retrieval vqa scene-qa; do
        data=demo needs= why=
        case $t in
        image) data=$D ;;
        video | retrieval) needs=emoji why='the emoji are not in the cache' ;;
        vqa) needs=easy-vqa why='easy-vqa is not in the cache' ;;
        scene-qa) needs=smollm2 why='the language model is not in the cache' ;;
        esac
        [ -z "$needs" ] || [ -e "$cache/$needs" ] || { skip "$under, $t" "$why"; continue; }
        [ -z "$needs" ] || { mkdir -p "$T/cache" && ln -sfn "$cache/$needs" "$T/cache/$needs"; }
        rm -rf "$T/step"
        small='--set test_limit=2'
        [ $t != image ] || small='--set img_size=8 patch_size=4 in_chans=1 embed_dim=64 depth=1 num_heads=2 hflip=0 test_limit=2'
        # shellcheck disable=SC2086
        expect "$under: a step of $t" env FROZENVIS_CACHE="$T/cache" "$@" train $t --data "$data" --out "$T/step" --variant base --limit 4 --batch 4 --epochs 1 --quiet --device cuda $small
    done
}

on_gpu() {
    sanitizer=compute-sanitizer
    nccl=
    ! grep -q yes "$(dirname "$FV_CUDA")/nccl" 2>/dev/null || nccl="-DFROZENVIS_NCCL -DFV__BUCKET=256 ${NCCL:+-I$NCCL/include -L$NCCL/lib} -lnccl"
    # shellcheck disable=SC2086
    expect 'the ops compile' "${NVCC:-nvcc}" -x cu -std=c++17 -O2 -arch=native -DFV_TEST_GPU -I. -Itests -o "$T/ops" tests/cuda_ops.cpp -lcublasLt $nccl || return
    ops 'the ops on the GPU' "$T/ops"
    golden "$FV_CUDA"
    ops 'golden cases in bf16' env FV="$FV_CUDA" sh tests/test_bf16.sh --device cuda --precision bf16
    ops 'golden cases in TF32, no worse than bf16' env FV="$FV_CUDA" sh tests/test_bf16.sh --device cuda --tf32
    training "$FV_CUDA"
    # shellcheck disable=SC2086
    expect 'trains on the GPU, kernels one by one' "$FV_CUDA" train image --data "$D" --out "$T/plain" $usual --epochs 9 --device cuda --no-graph
    follows "$T/gpu/log.jsonl" "$T/plain/log.jsonl" 100 1e-5
    if [ "$(nvidia-smi -L 2>/dev/null | wc -l)" -ge 2 ] && grep -q yes "$(dirname "$FV_CUDA")/nccl" 2>/dev/null; then
        CUDA_VISIBLE_DEVICES=0,1 apart=1e-3
        export CUDA_VISIBLE_DEVICES
        several "$FV_CUDA"
        unset CUDA_VISIBLE_DEVICES
    else
        skip several 'it wants two GPUs and a program with NCCL'
    fi
    has $sanitizer || { skip sanitizer 'compute-sanitizer is not installed'; return; }
    # the four side by side: each takes minutes of one core and little of the GPU. What the runtime answers is our code's to judge
    for tool in memcheck racecheck initcheck synccheck; do
        (
            passed=0 failed=0 skipped=0 ops=$T/ops data=$D
            T=$T/$tool D=$data
            mkdir "$T"
            set -- $sanitizer --tool $tool --error-exitcode 9
            [ $tool != memcheck ] || set -- "$@" --report-api-errors no
            expect "$tool of the ops" "$@" "$ops"
            steps "$tool" "$@" "$FV_CUDA"
            echo "$passed $failed $skipped" >"$T/sums"
        ) >"$T/$tool.log" 2>&1 &
    done
    wait
    for tool in memcheck racecheck initcheck synccheck; do
        cat "$T/$tool.log"
        read -r a b c <"$T/$tool/sums" || bad "$tool did not end"
        passed=$((passed + a)) failed=$((failed + b)) skipped=$((skipped + c))
    done
}

if [ -n "${FV_CUDA:-}" ]; then
    on_gpu
    report
    exit
fi

refusals
if ! has "$CXX"; then
    skip emulator 'no g++ here'
    report
    exit
fi
mkdir -p $O
if expect 'the ops compile for the emulator' emulated $group -o $O/ops tests/cuda_ops.cpp -lm -lpthread; then
    ops 'the ops, emulated' $O/ops
    FV_EMULATE_BACKWARDS=1 FV_EMULATE_LATE=1
    export FV_EMULATE_BACKWARDS FV_EMULATE_LATE
    ops 'the ops, emulated, threads in reverse, copies late' $O/ops
    unset FV_EMULATE_BACKWARDS FV_EMULATE_LATE
fi
# the manual's program on a GPU: the same lines but the one that makes the context
manual_program | sed 's/fv_ctx \*c = fv_create(NULL);/fv_desc d = {}; d.device = FV_CUDA; fv_ctx *c = fv_create(\&d); fv_group_key k;\
if (fv_group_make(c, \&k) || !strstr(fv_error_text(c), "NCCL")) return 9; else fv_clear_error(c);/' >"$T/hello.cpp" # not built with it
grep -q FV_CUDA "$T/hello.cpp" || bad 'the manual makes its context in another way now'
if expect "the manual's program on a GPU compiles" emulated -Wno-missing-field-initializers -DFROZENVIS_CUDA -DFROZENVIS_CUDA_EMULATE -include tests/cuda_emulator.h -o "$T/hello" "$T/hello.cpp" -lm -lpthread; then
    expect "the manual's program on a GPU runs" "$T/hello"
    awk 'NR == 1 { first = $2 } { last = $2 } END { exit !(NR == 3 && last < first / 2) }' "$T/said" && ok || bad "the manual's program on a GPU says $(cat "$T/said")"
fi
# shellcheck disable=SC2046
if expect 'fv with an emulated GPU' emulated $group -x c++ -include tests/cuda_emulator.h -include tests/nccl_emulator.h -DFROZENVIS_CUDA -DFROZENVIS_CUDA_EMULATE -c -o $O/frozenvis.o tools/frozenvis.c &&
    expect 'fv with an emulated GPU links' "$CXX" -o $O/fv $O/frozenvis.o $(find build/obj/tools -name '*.o' ! -name frozenvis.o) ${HAVE_LIBS:-$(sed -n 's/^HAVE_LIBS *:*= *//p' build/config.mk)} -lm -lpthread; then
    golden $O/fv
    training $O/fv
    ahead $O/fv
    several $O/fv
    for n in 0 -1 -2; do
        FV_EMULATE_DEVICES=$n
        export FV_EMULATE_DEVICES
        ends 6 "no device ($n)" $O/fv trace tests/golden/block_llama_small.safetensors --check --device cuda
    done
    unset FV_EMULATE_DEVICES
    ends 6 'no such device' $O/fv trace tests/golden/block_llama_small.safetensors --check --device cuda:3
fi
if has "${NVCC:-nvcc}"; then
    expect 'make cuda' make -s cuda
    ends 6 'the real program where there is no GPU, or too few' build/cuda/fv trace tests/golden/block_llama_small.safetensors --check --device cuda:63
else
    skip 'make cuda' 'nvcc is not installed'
fi
report
