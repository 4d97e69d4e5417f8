#!/bin/sh
# fv bench, fv train --profile and what `make bench` is made of: flags, JSON fields, arithmetic of the
# figures, turns, tables. Not speed.
. tests/harness.sh
FV=${FV:-build/fv}
CC=${CC:-cc}

# gives STATUS COMMAND...
gives() {
    want=$1
    shift
    "$@" >"$T/stdout" 2>"$T/stderr" </dev/null
    got=$?
    [ $got = "$want" ] && ok || { bad "status $got and not $want: $*"; head -n 3 "$T/stderr"; }
}
# bench WHAT OPTIONS...: one JSON line, kept in $T/stdout
bench() {
    gives 0 "$FV" bench "$@" --json
    tail -n 1 "$T/stdout" | grep -q '^{"bench":"[a-z]*",.*}$' && ok || bad "bench $*: not one JSON object: $(tail -n 1 "$T/stdout")"
    grep -qE ':(,|}|-?(nan|inf))' "$T/stdout" && bad "bench $*: a field without a value: $(cat "$T/stdout")" || ok
}
# fields NAME...: numbers of the last line
fields() { for f in "$@"; do tail -n 1 "$T/stdout" | grep -qE "\"$f\":-?[0-9]" && ok || bad "no number $f in $(tail -n 1 "$T/stdout")"; done; }
# holds AWK-CONDITION: over v["field"] of the last line, with near(a, b) for 3 %, and with share_fits for a
# share written with three digits
holds() {
    tail -n 1 "$T/stdout" | tr -d '{}"' | tr , '\n' | awk -F: '
        function near(a, b) { return a - b <= 0.03 * b && b - a <= 0.03 * b }
        function share_fits(d) { d = v["gflops"] / v["peak_gflops"] / v["threads"] - v["share"]; return d < 0.002 && d > -0.002 }
        { v[$1] = $2 } END { exit !('"$1"') }' && ok || bad "$1 does not hold in $(tail -n 1 "$T/stdout")"
}

# ---- every bench, on tiny work ----
bench gemm --m 48 --n 40 --k 24 --threads 1 --runs 2
fields gflops median_gflops peak_gflops share median_share peak_rss_mb
holds 'v["m"] == 48 && v["n"] == 40 && v["k"] == 24 && v["packed"] == "false" && v["precision"] == "f32" && v["threads"] == 1 && v["isa"] != ""'
holds 'v["gflops"] >= v["median_gflops"] && v["median_gflops"] > 0 && share_fits()'
bench gemm --m 64 --n 64 --k 64 --packed --precision bf16 --threads 2 --runs 1
holds 'v["packed"] == "true" && v["precision"] == "bf16" && v["threads"] == 2 && share_fits()'
gives 0 env FROZENVIS_ISA=scalar "$FV" bench gemm --m 24 --n 24 --k 24 --runs 1 --json
holds 'v["isa"] == "scalar"'

bench attention --tokens 20 --heads 4 --kv-heads 2 --head-dim 16 --batch 2 --runs 2
fields gflops median_gflops share backward_gflops backward_median_gflops backward_share peak_gflops
holds 'v["tokens"] == 20 && v["heads"] == 4 && v["kv_heads"] == 2 && v["head_dim"] == 16 && v["batch"] == 2 && v["causal"] == "false" && v["mask"] == "false"'
bench attention --tokens 20 --heads 2 --head-dim 16 --batch 1 --causal --mask --rope --infer --precision bf16 --runs 1
holds 'v["causal"] == "true" && v["mask"] == "true" && v["rope"] == "true" && !("backward_gflops" in v) && v["kv_heads"] == 2'

bench step --size tiny28 --batch 2 --runs 2 --threads 1
fields best_s median_s images_per_s peak_rss_mb gflop share peak_gflops
holds 'v["tokens"] == 50 && v["best_s"] <= v["median_s"] && near(v["images_per_s"] * v["best_s"], 2) && v["peak_rss_mb"] > 1'
# by hand: per picture, in multiply-adds: patches 49*16*128; blocks 4*50*12*128^2; scores and values
# 2*50^2*4*128; head 1280
holds 'near(v["gflop"], 2 * 2e-9 * (2 * 49 * 16 * 128 + 3 * (4 * 50 * 12 * 128 * 128 + 1280) + 3 * 2 * 50 * 50 * 4 * 128))'
bench step --size tiny28 --frozen smollm2-135m --layers 2 --img-size 16 --batch 1 --infer --steps 1 --threads 1
holds 'v["tokens"] == 17 && v["infer"] == "true" && v["layers"] == 2 && v["frozen"] == "smollm2-135m"'
# q, o 576x576; k, v 192x576; gate, up, down 1536x576; F1, F2 576x128
holds 'near(v["gflop"], 2e-9 * (16 * 16 * 128 + 17 * (4 * 12 * 128 * 128 + 2 * 576 * 128 + 2 * (2 * 576 * 576 + 2 * 192 * 576 + 3 * 1536 * 576)) + 1280 + 2 * 17 * 17 * (4 * 128 + 2 * 576)))'
bench step --size tiny28 --batch 2 --runs 1 --threads 1 --recompute
fields plain_median_s plain_peak_rss_mb time_ratio memory_ratio
holds 'near(v["time_ratio"] * v["plain_median_s"], v["median_s"]) && v["recompute"] == "true"'

mkdir "$T/tmp"
TMPDIR=$T/tmp bench load --size tiny28 --batch 1 --runs 1 --threads 1
fields ready_best_s ready_median_s best_s median_s main_s context_s open_s create_s step_s file_mb block_mb open_all_s dequantise_s pack_s
holds 'v["format"] == "safetensors" && v["frozen"] == "smollm2-135m" && near(v["main_s"] + v["context_s"] + v["open_s"] + v["create_s"], v["ready_median_s"])'
holds 'near(v["block_mb"], 2e-6 * (2 * 576 * 576 + 2 * 192 * 576 + 3 * 1536 * 576 + 2 * 576))'
holds 'near(v["median_s"], v["ready_median_s"] + v["step_s"])'
TMPDIR=$T/tmp bench data --size tiny28 --batch 4 --pictures 8 --runs 2 --threads 1
fields read_ms_per_image plain_batch_s augmented_batch_s rest_of_step_s plain_share share best_s median_s
holds '(v["share"] - v["augmented_batch_s"] / (v["augmented_batch_s"] + v["rest_of_step_s"])) ^ 2 < 1e-7'
[ -z "$(ls -A "$T/tmp")" ] && ok || bad "left behind: $(ls "$T/tmp")"

# ---- wrong use: one sentence and 2 ----
wrong() {
    gives 2 "$FV" bench "$@"
    [ "$(wc -l <"$T/stderr")" = 1 ] && grep -q '^fv: ' "$T/stderr" && ok || bad "bench $*: not one sentence: $(cat "$T/stderr")"
}
wrong
wrong flights
wrong gemm --m 0
wrong gemm --precision f16
wrong gemm word
wrong gemm --runs 1001
wrong attention --heads 6 --kv-heads 4
wrong step --size huge
wrong step --frozen gpt
wrong step --img-size 30
wrong step --layers 65 --frozen smollm2-135m
wrong step --infer --recompute
wrong load --frozen none
wrong load --once
wrong data --batch 1025
gives 4 "$FV" bench load --llm "$T/none.gguf" --once
gives 4 "$FV" bench load --llm "$T/none.gguf"
gives 3 "$FV" bench load --llm README.md
for what in '' gemm attention step load data; do
    # shellcheck disable=SC2086
    gives 0 "$FV" bench $what --help
done
case $(uname -m) in
x86_64) gives 6 env FROZENVIS_ISA=neon "$FV" bench gemm --runs 1 ;;
esac

# ---- served: `ready`, seconds for each line, the JSON line ----
served() { # served WORKS COMMAND...
    works=$1
    shift
    printf "$works" | "$@" >"$T/stdout" 2>"$T/stderr"
    [ "$(sed -n 1p "$T/stdout")" = ready ] && [ "$(sed 1d "$T/stdout" | grep -cE '^[0-9]+\.[0-9]{9}$')" = 2 ] && tail -n 1 "$T/stdout" | grep -q '^{.*}$' && ok ||
        bad "served: $*: $(cat "$T/stdout" "$T/stderr")"
}
served '32 24 16\n40 24 16\n' "$FV" bench gemm --serve --json
holds 'v["m"] == 40 && v["n"] == 24 && v["k"] == 16'
served '\n\n' "$FV" bench step --img-size 8 --batch 1 --threads 1 --serve --json
served '\n\n' "$FV" bench attention --tokens 8 --batch 1 --serve --json
printf '0 1 1\n' | "$FV" bench gemm --m 8 --n 8 --k 8 --serve >"$T/stdout" 2>"$T/stderr"
[ $? = 2 ] && ok || bad "a served shape of 0 rows is taken"

# ---- the profile: its products are the formula's, and backward stands apart ---- profile OPTIONS...: the sum
# of all forward and backward products is `gflop` of the last line, times the steps (2)
profile() {
    gives 0 "$FV" bench step --batch 2 --runs 2 --threads 1 --profile --json "$@"
    awk -f tools/bench_json.awk -f /dev/stdin "$T/stdout" <<'AWK' && ok || bad "profile $*: its products are not the formula's: $(tail -n 1 "$T/stdout")"
        get("profile") != "" && get("pass") != "again" { sum += get("gflop"); if (get("pass") == "backward") backward += get("gflop") }
        get("pass") == "again" { again += get("gflop") }
        get("bench") != "" { want = 2 * get("gflop"); infer = get("infer") == "true"; recompute = get("recompute") == "true" }
        END { exit !(sum > 0.998 * want && sum < 1.002 * want && (backward > 0) == !infer && (again > 0) == recompute) }
AWK
}
profile
profile --frozen smollm2-135m --layers 2 --img-size 16
profile --frozen smollm2-135m --img-size 16 --precision bf16
profile --frozen smollm2-135m --img-size 16 --infer
profile --frozen smollm2-135m --img-size 16 --recompute
gives 0 "$FV" bench step --img-size 8 --batch 1 --runs 1 --threads 1 --profile
grep -qE '^linear +backward +[0-9]+ ' "$T/stdout" && grep -qE '^adamw +update ' "$T/stdout" && grep -q '^rest ' "$T/stdout" && ok || bad "the profile's table: $(cat "$T/stdout")"

# ---- fv train --profile: all of it before the last line, which is final ----
mkdir "$T/data"
for split in train t10k; do # 32 pictures of 8x8: whatever bytes there are
    { printf '\000\000\010\003\000\000\000\040\000\000\000\010\000\000\000\010' && head -c 2048 frozenvis.h; } >"$T/data/$split-images-idx3-ubyte"
    { printf '\000\000\010\001\000\000\000\040' && head -c 32 /dev/zero | tr '\000' '\001'; } >"$T/data/$split-labels-idx1-ubyte"
done
train() {
    gives 0 "$FV" train image --data "$T/data" --out "$T/$1" --variant base --set img_size=8 patch_size=4 in_chans=1 embed_dim=16 depth=1 num_heads=2 limit=32 hflip=0 \
        --batch 8 --epochs 1 --threads 1 --profile "$2"
}
train one --json
tail -n 1 "$T/stdout" | grep -q '^{"final":true' && ok || bad "the last line is not final: $(tail -n 1 "$T/stdout")"
[ "$(grep -c '^{"profile":"linear","pass":"\(forward\|backward\)"' "$T/stdout")" = 2 ] && grep -q '^{"profile":"data"' "$T/stdout" && ok || bad "the profile lacks rows: $(cat "$T/stdout")"
# 4 steps of 8 pictures: the measures of the end are not in it
grep '"profile":"cross_entropy","pass":"forward"' "$T/stdout" | grep -q '"calls":4,' && ok || bad "not 4 losses: $(grep cross_entropy "$T/stdout")"
grep -q recomputed_time "$T/stdout" && bad "a share of recomputation without --recompute" || ok
train again --recompute
grep -qE 'recomputed_time [0-9.]+ %' "$T/stdout" && ok || bad "--recompute does not say what it costs: $(cat "$T/stdout")"
train two --quiet
grep -q '^forward [0-9.]*%, backward [0-9.]*%, update' "$T/stdout" && ok || bad "no summary: $(cat "$T/stdout")"

# ---- race: in turns, and the median ----
expect "race compiles" "$CC" -std=c99 -Wall -Wextra -Werror -O1 -o "$T/race" tools/peers/race.c
cat >"$T/runner.sh" <<'SH' # runner.sh FACTOR LOG
echo ready
n=0
while read -r line; do n=$((n + 1)) && echo "$1" >>"$2" && echo "$((n * $1)).5"; done
echo '{"peak_rss_mb":7}'
SH
printf 'x\n' | "$T/race" 3 "a=sh $T/runner.sh 1 $T/turns" "gone=exit 3" "b=sh $T/runner.sh 2 $T/turns" >"$T/stdout" 2>"$T/stderr"
[ "$(tr -d '\n' <"$T/turns")" = 121212 ] && ok || bad "not in turns: $(cat "$T/turns")"
grep -q '"work":"x","name":"a","reps":3,"best_s":1.5[0-9]*,"median_s":2.5' "$T/stdout" && grep -q '"name":"b","reps":3,"best_s":2.5[0-9]*,"median_s":4.5' "$T/stdout" && ok || bad "race: $(cat "$T/stdout")"
grep -q '"name":"b","end":{"peak_rss_mb":7}}' "$T/stdout" && ok || bad "race passes no last line on: $(cat "$T/stdout")"
grep -q gone "$T/stderr" && ! grep -q gone "$T/stdout" && ok || bad "a program that fails: $(cat "$T/stderr")"

# short work: the second of two answers counts
echo x | "$T/race" 2 "a=echo ready; while read -r w; do n=\$((n + 1)); echo 0.0\$n; done" >"$T/stdout" 2>"$T/stderr"
grep -q '"best_s":0.02[0-9]*,"median_s":0.03' "$T/stdout" && ok || bad "race with short work: $(cat "$T/stdout" "$T/stderr")"

# ---- the tables, out of known figures ----
cat >"$T/results" <<'R'
{"group":"machine","cpu":"a machine","cores":2,"peers":"torch 9 "}
{"group":"gemm f32 1","work":"1000 1000 1000","name":"ours","reps":3,"best_s":0.01,"median_s":0.010}
{"group":"gemm f32 1","work":"1000 1000 1000","name":"torch","reps":3,"best_s":0.02,"median_s":0.025}
{"group":"gemm f32 1","name":"ours","end":{"bench":"gemm","peak_gflops":250.0,"peak_rss_mb":3}}
{"group":"step small none 8 f32 train 0.80 2.4","work":"","name":"ours","reps":3,"best_s":1,"median_s":0.5}
{"group":"step small none 8 f32 train 0.80 2.4","work":"","name":"torch","reps":3,"best_s":1,"median_s":1.25}
{"group":"step small none 8 f32 train 0.80 2.4","name":"ours","end":{"threads":2,"batch":8,"peak_gflops":250.0,"peak_rss_mb":300,"gflop":200}}
{"group":"step small none 8 f32 train 0.80 2.4","name":"torch","end":{"peer": "torch", "peak_rss_mb": 1200}}
R
awk -f tools/bench_json.awk -f tools/bench_table.awk "$T/results" >"$T/stdout"
grep -q '^1000x1000x1000 *200.0  0.80 *80.0 *2.50x$' "$T/stdout" && ok || bad "the table of products: $(cat "$T/stdout")"
grep -q '^small, batch 8, f32, train *0.5000 *16.0 *0.80 (0.80) *1.2500 *2.50 *(2.4) *300 *1200 *0.25$' "$T/stdout" && ok || bad "the table of steps: $(cat "$T/stdout")"
awk -f tools/bench_json.awk -f tools/bench_bars.awk "$T/results" >"$T/stdout"
grep -q '^<svg ' "$T/stdout" && [ "$(tail -n 1 "$T/stdout")" = '</svg>' ] && grep -q '>2.50<' "$T/stdout" && ok || bad "the picture of the bench"
cat >"$T/growth" <<'R'
{"group":"tokens","x":50,"threads":2,"peak_gflops":100,"median_s":0.1,"peak_rss_mb":10,"gflop":10}
{"group":"tokens","x":100,"threads":2,"peak_gflops":100,"median_s":0.4,"peak_rss_mb":20,"gflop":20}
{"group":"batch","x":1,"threads":2,"peak_gflops":100,"recompute":true,"plain_median_s":0.1,"plain_peak_rss_mb":10,"median_s":0.2,"peak_rss_mb":5,"gflop":10}
R
awk -f tools/bench_json.awk -f tools/bench_growth.awk -v what=table "$T/growth" >"$T/stdout"
grep -qF '|  | 100 | 0.4000 | 20.0 | 0.25 | 2.00 | 20 |  |' "$T/stdout" && grep -qF '| batch | 1 | 0.1000 | 10.0 | 0.50 | 1.00 | 10 | 0.2000, 5 |' "$T/stdout" && ok || bad "the table of growth: $(cat "$T/stdout")"

# ---- make bench and make bench-growth, with programs in fv's and Python's place that answer at once ----
cat >"$T/fv" <<'SH' # every repetition takes a second; peers take two
#!/bin/sh
end='{"bench":"step","threads":2,"batch":8,"tokens":5,"peak_gflops":100,"peak_rss_mb":10,"gflop":50,"median_s":1}'
case " $* " in
*' clouds '*) exit 2 ;;
*' --serve '*) echo ready; while read -r _; do echo 1.0; done ;;
esac
echo "$end"
SH
cat >"$T/python" <<'SH'
#!/bin/sh
case "$2" in
*/have.py) echo 'torch 9'; exit ;;
*/step.py | */gemm.py) echo ready; while read -r _; do echo 2.0; done ;;
esac
echo '{"peer": "torch", "peak_rss_mb": 40}'
SH
chmod +x "$T/fv" "$T/python"
FV=$T/fv PEER_PYTHON=$T/python QUICK=1 REPS=1 BENCH_OUT=$T/out sh tools/bench.sh >"$T/stdout" 2>"$T/stderr" </dev/null
[ $? = 0 ] && [ ! -s "$T/stderr" ] && ok || bad "bench.sh: $(cat "$T/stderr")"
grep -q '^small + smollm2-135m, batch 8, bf16, train .* 0.25 (0.72) *2.0000 *2.00 (1.65) *10 *40 *0.25$' "$T/stdout" && ok || bad "bench.sh says: $(cat "$T/stdout")"
[ "$(grep -c '^1576x1536x384 ' "$T/stdout")" = 5 ] && ok || bad "bench.sh has not all kinds of products: $(cat "$T/stdout")"
grep -q '"group":"gemm bf16 2","work":"1576 1536 384","name":"torch"' "$T/out/results.jsonl" && grep -q '</svg>' "$T/out/bench.svg" && ok || bad "bench.sh writes no results"
grep -qv '^{.*}$' "$T/out/results.jsonl" && bad "results.jsonl: $(grep -v '^{.*}$' "$T/out/results.jsonl")" || ok
FV=$T/fv PEER_PYTHON=none QUICK=1 REPS=1 BENCH_OUT=$T/alone sh tools/bench.sh >"$T/stdout" 2>"$T/stderr" </dev/null
grep -q torch "$T/alone/results.jsonl" || [ -s "$T/stderr" ] && bad "PEER_PYTHON=none has a peer" || ok
FV=$T/fv QUICK=1 BENCH_OUT=$T/out sh tools/bench_growth.sh >"$T/stdout" 2>"$T/stderr" </dev/null
[ $? = 0 ] && [ "$(grep -c '^| tokens \|^| batch \|^| layers' "$T/out/growth.md")" = 4 ] && grep -q '</svg>' "$T/out/growth.svg" && ok || bad "bench_growth.sh: $(cat "$T/stderr" "$T/stdout")"

# ---- make bench-cuda likewise: compiled PyTorch takes a second and a half; and where PyTorch or a GPU is missing ----
cat >"$T/fv-cuda" <<'SH'
#!/bin/sh
case " $* " in *' --serve '*) echo ready; while read -r _; do echo 1.0; done ;; esac
echo '{"bench":"step","device":"a GPU","batch":8,"peak_mb":30,"median_s":1}'
SH
cat >"$T/python-cuda" <<'SH'
#!/bin/sh
case " $* " in *' --device cuda'*) ;; *) exit 3 ;; esac
seconds=2.0
case " $* " in *' --compile '*) seconds=1.5 ;; esac
echo ready; while read -r _; do echo $seconds; done
echo '{"peer": "torch", "device": "cuda", "peak_mb": 40, "peak_rss_mb": 900}'
SH
printf '#!/bin/sh\necho "fv: device cuda:0: there is no CUDA device here" >&2\nexit 6\n' >"$T/fv-none"
chmod +x "$T/fv-cuda" "$T/python-cuda" "$T/fv-none"
bench_cuda() { REPS=2 BENCH_OUT=$T/cuda sh tools/bench_cuda.sh >"$T/stdout" 2>"$T/stderr" </dev/null; }
FV=$T/fv-cuda PEER_PYTHON=$T/python-cuda bench_cuda
[ $? = 0 ] && [ ! -s "$T/stderr" ] && ok || bad "bench_cuda.sh: $(cat "$T/stderr")"
grep -q '^small + llama-7b, batch 64, bf16 *1.0000 *64.0 *2.0000 *2.00 (1.0) *1.5000 *1.50 (0.9) *30 *40 *0.75 (0.7)$' "$T/stdout" &&
    grep -q '^tiny28, batch 128, f32 .* 2.00 (4.0) *1.5000 *1.50 (-) ' "$T/stdout" && grep -q 'on a GPU,' "$T/stdout" && ok || bad "bench_cuda.sh says: $(cat "$T/stdout")"
[ "$(grep -c '"x_eager":2.000,"x_compile":1.500,"memory":0.750}$' "$T/cuda/cuda.jsonl")" = 3 ] && grep -q '"name":"compile","reps":2' "$T/cuda/cuda.jsonl" &&
    ! grep -qv '^{.*}$' "$T/cuda/cuda.jsonl" && ok || bad "cuda.jsonl: $(cat "$T/cuda/cuda.jsonl")"
FV=$T/fv-cuda PEER_PYTHON=false bench_cuda
[ $? = 0 ] && [ "$(wc -l <"$T/stderr")" = 1 ] && grep -q 'no PyTorch' "$T/stderr" && grep -q '^small, batch 256, bf16 *1.0000 *256.0 *- *- (1.0) ' "$T/stdout" &&
    ! grep -q 'eager"' "$T/cuda/cuda.jsonl" && ok || bad "bench_cuda.sh without PyTorch: $(cat "$T/stderr" "$T/stdout")"
FV=$T/fv-none PEER_PYTHON=$T/python-cuda bench_cuda
[ $? = 6 ] && [ "$(wc -l <"$T/stderr")" = 1 ] && [ ! -s "$T/stdout" ] && ok || bad "bench_cuda.sh without a GPU: $(cat "$T/stderr")"

# ---- the peers' scripts are Python ----
if has python3; then
    for f in tools/peers/*.py; do expect "$f is Python" python3 -B -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' "$f"; done
else
    skip peers 'python3 is not installed'
fi
report
