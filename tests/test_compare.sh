#!/bin/sh
# fv compare, eval --corrupt, heatmap and probe on a small IDX data set made here: what is reused and resumed, what is refused, one seed without an interval, every
# sweep, tuning on held-out items, the same numbers again.
. tests/harness.sh
FV=${FV:-build/fv}
cache=${FROZENVIS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/frozenvis}

# ---- a data set: 8x8 pictures of two classes, a brighter left or right half under much noise ----
mkdir "$T/data" "$T/data2" "$T/easy"
D=$T/data
idx train 160 1 150 60
idx t10k 60 2 150 60
cp "$T/data"/train* "$T/data2" && D=$T/data2
idx t10k 60 3 150 60
D=$T/easy
idx train 40 1 10 200
idx t10k 20 2 10 200

stage='frozen.hidden_size=24 frozen.num_attention_heads=2 frozen.intermediate_size=32'
usual="--set img_size=8 patch_size=4 in_chans=1 embed_dim=16 depth=3 num_heads=2 hflip=0 limit=160 $stage --batch 16 --lr 0.003 --threads 1 --quiet"
# compare OUT OPTIONS...
compare() {
    out=$1
    shift
    # shellcheck disable=SC2086
    "$FV" compare image --data "$T/data" --out "$out" $usual "$@"
}
# refused NAME WORDS COMMAND...: ends with status 2 and one sentence with these words
refused() {
    name=$1 words=$2
    shift 2
    "$@" >"$T/said" 2>&1
    got=$?
    [ $got = 2 ] && grep -q "^fv: .*$words" "$T/said" && [ "$(grep -c '^fv: ' "$T/said")" = 1 ] && ok || { bad "$name: status $got"; head -n 3 "$T/said"; }
}
figures() { sed 's/"images_per_s".*//' "$1"; } # of results.jsonl, without what the clock decides

# ---- a plan, its page, and the same again ----
expect 'three arms, two seeds' compare "$T/a" --variants base,linear,scratch --seeds 2 --epochs 2
# loss (its mean over seeds) and peak memory (the greatest) are in every table
awk 'NR == 1 && /loss  *trained  *frozen  *items.s  *peak MB/ { head = 1 } head && /^(base|linear|scratch) / && $(NF - 4) > 0 && $NF >= 1 { n++ } END { exit n != 3 }' "$T/said" && ok ||
    bad "no loss or peak memory in the table: $(cat "$T/said")"
awk -F'|' 'FNR == NR && match($0, /"loss":[.0-9]*/) { x = substr($0, RSTART + 7, RLENGTH - 7); match($0, /"peak_memory_mb":[.0-9]*/); m = substr($0, RSTART + 17, RLENGTH - 17)
        a = $0; sub(/.*"arm":"/, "", a); sub(/".*/, "", a); loss[a] += x / 2; if (m + 0 > peak[a] + 0) peak[a] = m; next }
    { gsub(/ /, "") } FNR == 1 && $7 == "toverseeds" && $8 == "loss" && $12 == "peakMB" { head = 1 } head && $2 in loss && ($8 - loss[$2]) ^ 2 < 1e-6 && ($12 - peak[$2]) ^ 2 < 0.3 { n++ } END { exit n != 3 }' \
    "$T/a/results.jsonl" "$T/a/table.md" && ok || bad "loss and peak memory in table.md: $(cat "$T/a/table.md" "$T/a/results.jsonl")"
grep -q '<th>loss<th>.*<th>peak MB' "$T/a/report.html" && ok || bad 'no peak memory on the page'
for f in results.jsonl table.md effect.svg arms.svg curves.svg report.html; do
    [ -s "$T/a/$f" ] && ok || bad "compare wrote no $f"
done
[ "$(wc -l <"$T/a/results.jsonl")" = 6 ] && ok || bad 'results.jsonl: a line for each run'
[ "$(grep -c ' to ' "$T/a/table.md")" = 2 ] && ok || bad 'table.md: an interval for each arm but the first'
grep -q '<script\|http://[^w]\|https://' "$T/a/report.html" && bad 'report.html is not self-contained' || ok
expect 'the same plan elsewhere' compare "$T/b" --variants base,linear,scratch --seeds 2 --epochs 2 --json
[ "$(tail -n 1 "$T/said" | grep -c '"low":.*"high":.*"final":true')" = 1 ] && ok || bad 'compare --json: interval and final line'
[ "$(grep -c '"loss":[0-9.]*,.*"images_per_s":[0-9.]*,"peak_memory_mb":[0-9.]*,' "$T/said")" = 3 ] && ok || bad "compare --json: loss and peak memory: $(cat "$T/said")"
figures "$T/a/results.jsonl" >"$T/1" && figures "$T/b/results.jsonl" >"$T/2"
cmp -s "$T/1" "$T/2" && ok || bad 'a rerun gives other numbers'

# ---- reuse, and more seeds ----
touch "$T/before"
expect 'a finished plan is only read' compare "$T/a" --variants base,linear,scratch --seeds 2 --epochs 2 --resume
[ -z "$(find "$T/a" -name result.json -newer "$T/before")" ] && ok || bad 'finished runs were trained again'
expect 'more seeds and arms' compare "$T/a" --variants base,linear,scratch,mlp --seeds 3 --epochs 2 --resume
[ "$(find "$T/a" -name result.json -newer "$T/before" | wc -l)" = 6 ] && ok || bad 'not exactly the missing runs were trained'
[ -s "$T/a/mlp-0.png" ] && grep -q 'What mlp predicts' "$T/a/report.html" && ok || bad 'the page shows no picture of the arm that came later'
cp "$T/a/mlp-0/result.json" "$T/kept"
touch "$T/before" && sleep 1 && touch "$T/a/mlp-0/result.json"
expect 'read once more' compare "$T/a" --variants base,linear,scratch,mlp --seeds 3 --epochs 2 --resume
[ "$T/a/mlp-0.png" -nt "$T/before" ] && ok || bad 'the picture of a run that is done again stays the old one'
# two seeds: Student's interval is 12.706 halves of their difference
awk '{ match($0, /"top1":[.0-9]*/); x = substr($0, RSTART + 7, RLENGTH - 7); match($0, /"seed":[0-9]*/); s = substr($0, RSTART + 7, RLENGTH - 7) + 0
        if (/"arm":"base"/) b[s] = x; if (/"arm":"scratch"/) l[s] = x }
    END { d = l[0] - b[0]; e = l[1] - b[1]; h = 12.706 * (d > e ? d - e : e - d) / 2; printf "%.2f %.2f\n", (d + e) / 2 - h, (d + e) / 2 + h }' "$T/b/results.jsonl" >"$T/want"
awk -F'|' '/^. scratch/ { gsub(/\+/, "", $7); split($7, x, " to "); printf "%.2f %.2f\n", x[1], x[2] }' "$T/b/table.md" >"$T/have"
awk 'FNR == NR { a = $1; b = $2; next } { exit !((a - $1) ^ 2 < 0.001 && (b - $2) ^ 2 < 0.001 && a < b) }' "$T/want" "$T/have" && ok || bad "t over seeds: $(cat "$T/have"), not $(cat "$T/want")"
sed 's/"top1":[.0-9]*/"top1":null/' "$T/kept" >"$T/a/mlp-0/result.json"
compare "$T/a" --variants base,linear,scratch,mlp --seeds 3 --epochs 2 --resume >"$T/said" 2>&1
got=$?
[ $got = 3 ] && grep -q '^fv: .*mlp-0.*top1 is no finite number' "$T/said" && ok || bad "a figure that is none: status $got: $(cat "$T/said")"
cp "$T/kept" "$T/a/mlp-0/result.json"
refused 'an existing folder' 'exists' compare "$T/a" --variants base,linear --epochs 2

# a picture that cannot be drawn is no success; the table is there all the same
cp -r "$T/b" "$T/undrawn" && rm "$T"/undrawn/*-0.png "$T"/undrawn/*-0/model.safetensors
compare "$T/undrawn" --variants base,linear,scratch --seeds 2 --epochs 2 --resume >"$T/said" 2>"$T/wrong"
got=$?
[ $got = 4 ] && grep -q '^fv: .*model.safetensors' "$T/wrong" && grep -q '^scratch ' "$T/said" && ok || bad "without its picture: status $got: $(cat "$T/said" "$T/wrong")"
# few test items: the picture shows what there is
mkdir "$T/few" && D=$T/few
idx train 16 1 && idx t10k 5 2
# shellcheck disable=SC2086
expect 'five test items' "$FV" compare image --data "$T/few" --out "$T/five" $usual --variants base --epochs 1
[ -s "$T/five/base-0.png" ] && ok || bad 'five test items are not drawn'

# ---- a demo's language model that cannot be had is missed before the first run; what is finished wants none ----
mkdir "$T/alone" && cp "$FV" "$T/alone/fv"
alone() { # alone OUT VARIANTS OPTIONS...
    out=$1 variants=$2
    shift 2
    FROZENVIS_CACHE=$T/alone/cache "$T/alone/fv" compare motion --data demo --out "$out" --variants "$variants" --limit 32 --epochs 1 --threads 1 "$@" >"$T/said" 2>&1
}
for variants in base,llm base,mlp; do
    alone "$T/unfetched" $variants
    got=$?
    [ $got = 4 ] && grep -q '^fv: .*smollm2' "$T/said" && [ "$(wc -l <"$T/said")" = 1 ] && [ ! -e "$T/unfetched" ] && ok ||
        bad "without tools/fetch.sh: status $got: $(cat "$T/said"; ls "$T/unfetched" 2>&1)"
done
expect 'base wants none' alone "$T/unfetched" base
cp -r "$T/unfetched/base-0" "$T/unfetched/linear-0" && sed -i 's/"frozen":null/"frozen":{"variant":"linear"}/; s/"base"/"linear"/' "$T/unfetched/linear-0/config.json" && cp "$T/unfetched/base-0.png" "$T/unfetched/linear-0.png"
expect 'a finished run wants none' alone "$T/unfetched" base,linear --resume
alone "$T/unfetched" base,linear --resume --lr 0.1
got=$?
[ $got = 2 ] && grep -q '^fv: .*other options' "$T/said" && ok || bad "other options: status $got: $(cat "$T/said")"

# ---- killed at once, with the run in progress; resumed to the same bytes ----
expect 'a longer plan' compare "$T/whole" --variants base,linear --seeds 2 --epochs 30
compare "$T/killed" --variants base,linear --seeds 2 --epochs 30 --save-every 5 >/dev/null 2>&1 &
plan=$!
n=0
while [ ! -e "$T/killed/base-0/latest" ] && [ $n -lt 300 ]; do n=$((n + 1)); sleep 0.05; done
inner=$(cat "/proc/$plan/task/$plan/children" 2>/dev/null) # the program, where sh forked for it
kill -9 $plan $inner 2>/dev/null
wait $plan 2>/dev/null
sleep 1
expect 'resumed after the kill' compare "$T/killed" --variants base,linear --seeds 2 --epochs 30 --save-every 5 --resume
for r in base-0 base-1 linear-0 linear-1; do
    cmp -s "$T/whole/$r/model.safetensors" "$T/killed/$r/model.safetensors" && ok || bad "$r: other bytes after a kill"
done

# ---- signals: what befalls the run in progress is said, with its name; an interruption is one, whoever it reached ----
# struck SIGNAL run|plan STATUS WORDS
struck() {
    (exec "$FV" compare image --data "$T/data" --out "$T/struck" $usual --variants base,linear --epochs 600 --save-every 5) >/dev/null 2>"$T/said" &
    plan=$! n=0
    while [ ! -e "$T/struck/base-0/latest" ] && [ $n -lt 300 ]; do n=$((n + 1)); sleep 0.05; done
    run=$(tr -d ' ' <"/proc/$plan/task/$plan/children")
    if [ "$2" = run ]; then kill -"$1" "$run"; else kill -"$1" $plan; fi
    wait $plan
    got=$?
    [ $got = "$3" ] && [ "$(wc -l <"$T/said")" = 1 ] && grep -q "^fv: .*$4" "$T/said" && ok || bad "SIG$1 to the $2: status $got, $(cat "$T/said")"
    [ "$2" = plan ] && { kill -0 "$run" 2>/dev/null && bad "SIG$1 to the plan leaves its run" || ok; }
    rm -rf "$T/struck"
}
struck KILL run 6 'struck/base-0 was ended by signal 9: '
struck SEGV run 6 'struck/base-0 was ended by signal 11: '
struck INT run 130 'interrupted; .*struck/base-0 can be resumed'
struck INT plan 130 'interrupted; .*struck/base-0 can be resumed'
struck TERM plan 130 'interrupted; .*struck/base-0 can be resumed'
for moment in exec-fails exec-int; do
    [ $moment = exec-int ] && want=130 words='struck/base-0 was interrupted' || want=6 words='struck/base-0: a process could not be started'
    early $moment compare "$T/struck" --variants base,linear --epochs 1 >/dev/null 2>"$T/said"
    got=$?
    [ $got = $want ] && [ "$(wc -l <"$T/said")" = 1 ] && grep -q "^fv: .*$words" "$T/said" && ok || bad "$moment: status $got, $(cat "$T/said")"
    [ -e "$T/struck" ] && bad "$moment: a plan of which nothing was begun left its folder" || ok
done

# ---- one seed: no interval anywhere ----
expect 'one seed' compare "$T/one" --variants base,linear --seeds 1 --epochs 1 --json
grep -q '"low"\|"high"\|"sd"' "$T/said" && bad 'an interval or deviation from one seed' || ok
grep -q '[0-9] to [+-][0-9]' "$T/one/table.md" "$T/one/report.html" && bad 'report.html, table.md: an interval from one seed' || ok
grep -q 'One seed' "$T/one/report.html" && ok || bad 'report.html does not say that one seed shows nothing'

# ---- what cannot be compared ----
refused 'a variant twice' 'base is named twice' compare "$T/none" --variants base,linear,base
refused 'a value twice' '8 is named twice' compare "$T/none" --variants base,linear --sweep drop_rate=0,8,8
refused 'a value that names another folder' 'slash' compare "$T/none" --variants base,linear --sweep drop_rate=0,../x
refused 'too many values' 'over 160 values' compare "$T/none" --variants base,linear --sweep "drop_rate=$(awk 'BEGIN { for (i = 0; i < 161; i++) printf "%s0.%d", i ? "," : "", 1000 + i }')"
[ -e "$T/none" ] && bad 'a refused plan left its folder' || ok
refused 'another budget' 'other options' compare "$T/a" --variants base,linear,scratch --seeds 2 --epochs 3 --resume
rm "$T/one/plan.txt" && rm -r "$T/one/linear-0" && cp -r "$T/whole/linear-0" "$T/one/linear-0"
cp "$T/b/plan.txt" "$T/plan" # other arms have no runs there yet
refused 'another budget for another arm' 'other options' compare "$T/b" --variants mlp --epochs 3 --resume
refused 'another budget for a sweep' 'other options' compare "$T/b" --variants base,linear --sweep weight_decay=0,0.1 --epochs 3 --resume
cmp -s "$T/plan" "$T/b/plan.txt" && ok || bad 'a refused plan took the place of the one by which runs were made'
expect 'another arm, the same budget' compare "$T/b" --variants mlp --seeds 1 --epochs 2 --resume
refused 'tuned in the middle' 'other options' compare "$T/a" --variants base,linear,scratch --seeds 2 --epochs 2 --tune 2 --resume
refused 'a run of another budget' 'cannot be compared: epochs is 1 and 30' compare "$T/one" --variants base,linear --epochs 1 --resume
rm -r "$T/one/linear-0"
# shellcheck disable=SC2086
expect 'a run on other test pictures' "$FV" train image --data "$T/data2" --out "$T/one/linear-0" $usual --variant linear --epochs 1
refused 'other data' 'cannot be compared: their data are' compare "$T/one" --variants base,linear --epochs 1 --resume
rm -r "$T/one" && cp -r "$T/data" "$T/data3"
compare3() { # shellcheck disable=SC2086
    "$FV" compare image --data "$T/data3" --out "$T/one" $usual --epochs 1 "$@"
}
expect 'one arm' compare3 --variants base
D=$T/data3 && idx t10k 60 3 150 60
refused 'another test split under the same name' 'cannot be compared: their data are .*digest' compare3 --variants base,linear --resume
# training pictures that are others, of the same number; another language model of the same sizes; a run of another sweep, or at another rate
rm -r "$T/one" && cp -r "$T/data/." "$T/data3/"
expect 'a seed' compare3 --variants base
D=$T/data3 && idx train 160 9 150 60
refused 'other training pictures' 'training items are not the same' compare3 --variants base,linear --resume
rm -r "$T/one" && cp -r "$T/data/." "$T/data3/"
of="--set frozen.hidden_size=48 frozen.num_attention_heads=3 frozen.intermediate_size=128"
cp tests/golden/image_llama_2layers_avgpool.safetensors "$T/llm.safetensors"
# shellcheck disable=SC2086
expect 'with a language model' compare3 --variants base,llm --llm "$T/llm.safetensors" $of
n=$(wc -c <"$T/llm.safetensors") # its second half: 0.046 everywhere
{ head -c $((n / 2)) tests/golden/image_llama_2layers_avgpool.safetensors; head -c $((n - n / 2)) /dev/zero | tr '\0' '='; } >"$T/llm.safetensors"
# shellcheck disable=SC2086
refused 'another language model' 'language models are not the same' compare3 --variants base,llm --seeds 2 --llm "$T/llm.safetensors" $of --resume
expect 'a sweep of one value' compare "$T/swept" --variants base --epochs 0.5 --sweep weight_decay=0.1
refused 'a run of another sweep' '0.1_base-0 is a run of something else: it was not trained with drop_rate=0.1' compare "$T/swept" --variants base --epochs 0.5 --sweep drop_rate=0.1 --resume
expect 'tuned by hand' compare "$T/hand" --variants base,linear --epochs 1 --set lr_scale=2
refused 'an unknown variant' 'unknown' compare "$T/no" --variants base,odd
refused 'a variant without a block in a sweep of blocks' 'has no block' compare "$T/no" --variants base,mlp --sweep residual
refused 'an unknown sweep' 'sweep odd' compare "$T/no" --sweep odd
refused 'layers without a language model' 'wants --llm' compare "$T/no" --sweep layer
refused '--seed' 'fv train' compare "$T/no" --seed 3
[ ! -e "$T/no" ] && ok || bad 'a refused plan leaves a folder'

# ---- sweeps ----
# sweep ARMS OPTIONS...: so many runs, and plots with a line
sweep() {
    want=$1
    shift
    rm -rf "$T/s"
    expect "sweep $*" compare "$T/s" --seeds 2 --epochs 0.5 "$@" || return
    have=$(wc -l <"$T/s/results.jsonl")
    [ "$have" = "$want" ] && grep -q polyline "$T/s/effect.svg" && grep -q polyline "$T/s/arms.svg" && ok || bad "sweep $*: $have runs, not $want"
}
sweep 12 --variants base,scratch --sweep residual
sweep 6 --variants base,scratch --sweep norm=ones,none
sweep 10 --variants base,scratch --sweep rope,causal
sweep 8 --variants base,scratch --sweep frozen.after_block
grep -q 'after_block_0' "$T/s/results.jsonl" && grep -q 'after_block_1' "$T/s/results.jsonl" && grep -q 'after_block_2' "$T/s/results.jsonl" && ok || bad 'head and tail of the encoder'
# the depth that fv train would take, wherever it is said: after_block NUMBERS OPTIONS...
after_block() {
    want=$1
    shift
    rm -rf "$T/s"
    # shellcheck disable=SC2086
    expect "after_block $*" "$FV" compare image --data "$T/data" --out "$T/s" --variants base,scratch --set img_size=8 patch_size=4 in_chans=1 embed_dim=16 num_heads=2 limit=32 $stage --batch 16 \
        --threads 1 --quiet --epochs 1 --sweep frozen.after_block "$@"
    have=$(ls "$T/s" 2>/dev/null | sed -n 's/^after_block_\([0-9]*\)-0$/\1/p' | sort -n | tr '\n' ' ')
    [ "$have" = "$want " ] && ok || bad "after_block $*: $have, not $want"
}
after_block '0 1 3'
after_block '0 5 11' --preset=tiny
after_block '0 5 11' --preset tiny
after_block '0 2 4' --set=depth=5
echo '{"arch":"vit","depth":7}' >"$T/seven.json"
after_block '0 3 6' --config "$T/seven.json"
echo '{"arch":"vit"}' >"$T/seven.json"
refused 'a depth that nobody says' 'name the blocks' compare "$T/no" --variants base,scratch --sweep frozen.after_block --config "$T/seven.json" --set depth=0
sweep 12 --variants base,scratch --sweep fraction=0.2,0.6,1 --epochs 10 --limit 80
# base at each fraction is another, and what is beside the variant is how far it is from that one
awk -F'|' '/_base/ { base = $3; other += n++ && base != first; first = base } /_scratch/ { d = $3 - base - $5; near += d < 0.03 && d > -0.03 }
    END { exit !(n == 3 && near == 3 && other) }' "$T/s/table.md" && grep -q '"arm":"0.2_scratch"' "$T/s/results.jsonl" && [ "$(grep -c ' to ' "$T/s/table.md")" = 3 ] && ok ||
    bad "fraction: each variant against base at the same fraction: $(cat "$T/s/table.md")"
grep -q 'At each value all variants see the same data' "$T/s/report.html" && ok || bad 'report.html of a sweep of fractions: who sees the same data?'
steps() { grep -c '"loss"' "$T/s/$1-0/log.jsonl"; }
[ "$(steps 0.2_base) $(steps 0.6_base) $(steps 1_base)" = '10 30 50' ] && ok || bad "fraction: not that share of limit's 80 pictures: $(steps 0.2_base) $(steps 0.6_base) $(steps 1_base) steps"
sweep 8 --variants base,linear --sweep weight_decay=0.0,1e-1 # as --sweep takes them, though config.json says 0 and 0.1
two="--llm tests/golden/image_llama_2layers_avgpool.safetensors --set frozen.hidden_size=48 frozen.num_attention_heads=3 frozen.intermediate_size=128"
sweep 6 --sweep layer $two
sweep 4 --sweep count=2 $two
# what --llm names is looked at first: 4 where it is missing, 3 where it is broken, 2 where its blocks are not the kind that is known
echo '{"weight_map":' >"$T/broken.json"
printf 'GGUF\003\000\000\000\000\000\000\000\000\000\000\000\001\000\000\000\000\000\000\000\024\000\000\000\000\000\000\000general.architecture\010\000\000\000\004\000\000\000\000\000\000\000gpt2' >"$T/gpt2.gguf"
for way in layer layer=0 count; do
    for case in '4 nothing cannot be opened' '3 broken.json not valid JSON' '2 gpt2.gguf no blocks of a LLaMA model' '2 a/base-0/model.safetensors no blocks of a LLaMA model'; do
        file=$(echo "$case" | cut -d' ' -f2)
        compare "$T/no" --variants base,llm --sweep $way --llm "$T/$file" >"$T/said" 2>&1
        got=$?
        [ $got = "${case%% *}" ] && [ "$(wc -l <"$T/said")" = 1 ] && grep -q "^fv: .*${case#* * }" "$T/said" && ok || bad "--sweep $way --llm $file: status $got, $(cat "$T/said")"
    done
done
if [ -e "$cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" ]; then
    sweep 6 --sweep layer=0,29 --llm "$cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" --set frozen.hidden_size=576 frozen.num_attention_heads=9 frozen.intermediate_size=1536
    sweep 10 --variants random,shuffled --sweep residual=none,outside --llm "$cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" --set frozen.hidden_size=576 frozen.num_attention_heads=9 frozen.intermediate_size=1536
    [ "$(grep -o '"arm":"[^"]*"' "$T/s/results.jsonl" | sort -u | wc -l)" = 5 ] && ok || bad 'two variants in a sweep of the stage have names of their own'
    for v in random shuffled; do
        grep -q "\"variant\":\"$v\"" "$T/s/residual_outside_$v-0/config.json" && ok || bad "the arm of the variant $v trains another"
    done
    sweep 6 --sweep count=1,2 --llm "$cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" --set frozen.hidden_size=576 frozen.num_attention_heads=9 frozen.intermediate_size=1536
else
    skip 'sweeps of layer and count' 'the language model is not in the cache'
fi

# ---- tuning and corruptions ----
expect 'tuned, and under corruptions' compare "$T/t" --variants base,linear --seeds 2 --epochs 1 --tune 3 --corrupt
[ "$(ls -d "$T/t/tune"/* | wc -l)" = 6 ] && [ -z "$(find "$T/t/tune" -name scores.npy)" ] && ok || bad 'three trials for each arm, none of which measures the test split'
grep -q '"holdout":0.1' "$T/t/tune/base-0/config.json" && ! grep -q holdout "$T/t/base-0/config.json" && ok || bad 'trials hold items out, the runs do not'
best=$(for k in 0 1 2; do sed -n "s/.*\"top1\":\([0-9.]*\).*/\1 $k/p" "$T/t/tune/base-$k/result.json"; done | sort -k1,1nr -k2,2n | sed -n '1s/.* //p')
scale=$(sed -n 's/.*"lr_scale":\([0-9.]*\).*/\1/p' "$T/t/base-0/config.json")
awk -v k="$best" -v s="$scale" 'BEGIN { d = s - 3 ^ (k - 1); exit !(d < 1e-6 && d > -1e-6) }' && ok || bad "the best trial is $best, the runs have lr_scale $scale"
# of two rates each is an edge, of one none
expect 'two rates' compare "$T/rates" --variants base,linear --epochs 1 --tune 2
grep -q 'a rate beyond may be better: base, linear\.' "$T/rates/report.html" && ok || bad 'rates at the edge of those tried'
expect 'one rate' compare "$T/rate" --variants base --epochs 1 --tune 1
cp -r "$T/rate" "$T/other-rate" && sed -i 's/"train":{/"train":{"lr_scale":3,/; s/"lr_scale":1,//' "$T/other-rate/base-0/config.json"
refused 'a run at another rate' 'other-rate/base-0 was trained at 3 times the learning rate, and 1 times is the best of base' compare "$T/other-rate" --variants base --epochs 1 --tune 1 --resume
grep -q 'Learning rates' "$T/rate/report.html" && ! grep -q 'a rate beyond' "$T/rate/report.html" && ok || bad 'one rate is no edge'
grep -q '| base .*| 100.0 |' "$T/t/table.md" && grep -q 'Under corruptions' "$T/t/report.html" && ok || bad 'mCE of the first arm is 100'
expect 'eval --corrupt' "$FV" eval "$T/t/linear-0" --corrupt all --beside "$T/t/base-0" --threads 1 --json
[ "$(tail -n 1 "$T/said" | grep -c '"clean_error":.*"noise":\[.*"mce":.*}')" = 1 ] && ok || bad 'eval --corrupt --json'
expect 'against a run that makes no error' "$FV" eval "$T/whole/linear-0" --corrupt all --beside "$T/whole/base-0" --data "$T/easy" --threads 1
grep -q 'against --beside: n/a' "$T/said" && ! grep -q 'nan\|inf' "$T/said" && ok || bad "no error to divide by: $(tail -n 1 "$T/said")"
expect 'the same as JSON' "$FV" eval "$T/whole/linear-0" --corrupt all --beside "$T/whole/base-0" --data "$T/easy" --threads 1 --json
grep -q '"mce":null}' "$T/said" && ok || bad "no error to divide by, in JSON: $(tail -n 1 "$T/said")"
# the time left, on a terminal: trials count as runs do. After the first of four, three and the run are left.
if script -qec true /dev/null </dev/null >/dev/null 2>&1; then
    cat >"$T/plan.sh" <<END
unset NO_COLOR
TERM=vt100 exec "$FV" compare image --data "$T/data" --out "$T/bar" ${usual% --quiet} --variants base --epochs 150 --tune 4
END
    script -qec "sh $T/plan.sh" /dev/null </dev/null 2>&1 | tr '\r' '\n' >"$T/said"
    left=$(sed -n 's/.*run 1 of 5, tuning base.*step \([0-9]*\)\/\1,.*; \([0-9:]*\) left in all.*/\2/p' "$T/said" | tail -n 1 | awk -F: '{ print 3600 * $1 + 60 * $2 + $3 }')
    took=$(awk -v a="$(stat -c %.3Y "$T/bar/tune/base-0/config.json")" -v b="$(stat -c %.3Y "$T/bar/tune/base-0/log.jsonl")" 'BEGIN { print b - a }')
    awk -v left="${left:-0}" -v took="$took" 'BEGIN { exit !(left >= 2.5 * took - 1 && left >= 1) }' && ok || bad "a trial took $took s, and ${left:-nothing} s left after the first of four"
else
    skip 'the bar' 'script is not installed or has no terminal to open'
fi
refused 'another corruption' 'all is what there is' "$FV" eval "$T/t/base-0" --corrupt fog

# ---- heat maps and probes ----
"$FV" predict "$T/a/base-0" --items 0-3 --png "$T/picture.png" >/dev/null 2>&1
mkdir "$T/masks" && cp "$T/picture.png" "$T/masks"
expect 'heatmap' "$FV" heatmap "$T/a/scratch-0" "$T/picture.png" --beside "$T/a/base-0" --masks "$T/masks" --png "$T/heat.png" --json --threads 1
[ -s "$T/heat.png" ] && [ "$(grep -c '"miou":{' "$T/said")" = 2 ] && grep -q '"after F2":{"magnitude":' "$T/said" && grep -q "\"after the LLM's attention\":.*\"attention\":" "$T/said" && ok || bad 'heatmap: a sheet, and mIoU of both runs at each place'
refused 'a picture without a mask' 'no mask' "$FV" heatmap "$T/a/base-0" "$T/heat.png" --masks "$T/masks" --png "$T/heat2.png"
mkdir "$T/many" "$T/many/two" && cp "$T/picture.png" "$T/many/1.PNG" && cp "$T/picture.png" "$T/many/two/2.jpeg"
expect 'heatmap of a folder' "$FV" heatmap "$T/a/base-0" "$T/many" --png "$T/heat3.png" --json --threads 1
grep -q '"pictures":2,' "$T/said" && ok || bad "all of a folder's pictures, however their names end: $(cat "$T/said")"
refused 'more items than a picture shows' 'at most 256' "$FV" predict "$T/a/base-0" --items "$(awk 'BEGIN { for (i = 0; i < 300; i++) printf "%s0", i ? "," : "" }')" --png "$T/none.png"
expect 'probe' "$FV" probe "$T/a/scratch-0" "$T/a/linear-0" "$T/a/base-0" --items 16 --svg "$T/probe.svg" --json --threads 1
grep -q '"variant":"scratch".*"gradient_cosine_before":.*"gradient_cosine_skipped":.*"cka":.*"rank_after":' "$T/said" && [ -s "$T/probe.svg" ] && ok || bad 'probe: gradients, CKA and rank of a run with a stage'
grep '"variant":"base"' "$T/said" | grep -q 'cka\|skipped' && bad 'probe: a run without a stage has no CKA' || ok
report
