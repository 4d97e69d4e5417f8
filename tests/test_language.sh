#!/bin/sh
# motion, vqa, retrieval and scene-qa on small data made here, in the layouts that their readers read: a killed run goes on and ends with the same bytes, eval says
# the same figures, --shuffle measures with other inputs, predict speaks of single files, and what is wrong ends with its status and one sentence.
. tests/harness.sh
FV=${FV:-build/fv}
cache=${FROZENVIS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/frozenvis}
llm=$cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
dots() { awk -v l="$1" -v r="$2" 'BEGIN { for (i = 0; i < 8; i++) { printf "\\000"; for (k = 0; k < 8; k++) printf "\\%03o", k < 4 ? l : r } }'; }
png() { # png FILE LEFT RIGHT: 8x8 grey pixels, stored without compression
    printf '\211PNG\r\n\032\n\000\000\000\015IHDR\000\000\000\010\000\000\000\010\010\000\000\000\000\000\000\000\000\000\000\000\123IDAT\170\001\001\110\000\267\377' >"$1"
    printf "$(dots "$2" "$3")" >>"$1"
    printf '\000\000\000\000\000\000\000\000\000\000\000\000IEND\000\000\000\000' >>"$1"
}
value() { sed -n "s/.*[{,]\"$1\":\([0-9.]*\).*/\1/p" "$T/said" | tail -n 1; }
# ends STATUS NAME COMMAND...: with that status, one sentence on stderr, nothing on stdout
ends() {
    want=$1 name=$2
    shift 2
    "$@" >"$T/out" 2>"$T/said"
    got=$?
    [ $got = "$want" ] && [ "$(wc -l <"$T/said")" = 1 ] && [ ! -s "$T/out" ] && ok || bad "$name ends with $got, not $want, or not in one sentence: $(head -c 300 "$T/said" "$T/out")"
}

# task NAME MEASURE OPTIONS...
task() {
    t=$1 measure=$2
    shift 2
    common="--data $T/$t --variant base --threads 1 --batch 8 --precision f32 --save-every 1 --quiet"
    expect "$t: trains" "$FV" train "$t" $common --json --out "$T/$t-a" "$@" || return
    trained=$(value "$measure")
    "$FV" train "$t" $common --out "$T/$t-b" "$@" >/dev/null 2>&1 & # killed when it has a checkpoint
    running=$!
    i=0
    while [ ! -e "$T/$t-b/latest" ] && [ $i -lt 2000 ]; do sleep 0.01; i=$((i + 1)); done
    kill -9 $running 2>/dev/null
    wait $running 2>/dev/null
    [ ! -e "$T/$t-b/result.json" ] && ok || bad "$t: ended before it was killed"
    expect "$t: goes on" "$FV" train "$t" $common --resume --out "$T/$t-b" "$@"
    cmp -s "$T/$t-a/model.safetensors" "$T/$t-b/model.safetensors" && ok || bad "$t: a killed run ends with other bytes"
    expect "$t: eval" "$FV" eval "$T/$t-a" --threads 1 --json
    [ -n "$trained" ] && [ "$(value "$measure")" = "$trained" ] && ok || bad "$t: eval says $(value "$measure"), train said $trained"
    expect "$t: eval --shuffle" "$FV" eval "$T/$t-a" --shuffle --threads 1 --json
    [ -n "$(value "$measure")" ] && ok || bad "$t: no $measure of shuffled inputs"
    expect "$t: draws" "$FV" predict "$T/$t-a" --items 0-3 --png "$T/$t.png"
    ends 2 "$t: items that are not there" "$FV" predict "$T/$t-a" --items 100000
    ends 2 "$t: no such key" "$FV" train "$t" $common --out "$T/none" "$@" --set odd_key=3
    ends 2 "$t: heads that do not fit" "$FV" train "$t" $common --out "$T/none" "$@" --set num_heads=7
    ends 2 "$t: no such preset" "$FV" train "$t" $common --out "$T/none" --preset odd "$@"
    ends 2 "$t: its folder is there" "$FV" train "$t" $common --out "$T/$t-a" "$@"
    ends 2 "$t: a batch that is too large" "$FV" train "$t" $common --out "$T/none" "$@" --batch 100000
    ends 4 "$t: no data" "$FV" train "$t" --data "$T/nowhere" --variant base --out "$T/none" "$@"
    rm -rf "$T/none"
}
# predicts TASK KEY FILE OPTIONS...: a line of JSON with that key, a line of text; cut short it is refused
predicts() {
    t=$1 key=$2 file=$3
    shift 3
    expect "$t: predicts" "$FV" predict "$T/$t-a" "$file" --threads 1 --json "$@"
    [ "$(wc -l <"$T/said")" = 1 ] && grep -q "^{\"file\":.*\"$key\":.*}\$" "$T/said" && ok || bad "$t: one line of JSON with $key is wanted: $(cat "$T/said")"
    expect "$t: predicts two" "$FV" predict "$T/$t-a" "$file" "$file" --threads 1 "$@"
    [ "$(wc -l <"$T/said")" = 2 ] && [ "$(uniq "$T/said" | wc -l)" = 1 ] && ok || bad "$t: two equal lines are wanted: $(cat "$T/said")"
    head -c 60 "$file" >"$T/cut.${file##*.}"
    ends 3 "$t: a cut file" "$FV" predict "$T/$t-a" "$T/cut.${file##*.}" "$@"
    ends 4 "$t: no such file" "$FV" predict "$T/$t-a" "$T/nothing.${file##*.}" "$@"
}

# ---- motion: straight tracks at several speeds, one lane ----
mkdir -p "$T/motion/train" "$T/motion/val" "$T/motion/lanes"
for i in $(seq 1 40); do
    [ "$i" -le 32 ] && folder=train || folder=val
    awk -v v="$i" 'BEGIN { print "TIMESTAMP,TRACK_ID,OBJECT_TYPE,X,Y,CITY_NAME"
        for (k = 0; k < 50; k++) { printf "%.1f,a,AGENT,%.3f,1.5,T\n", k / 10, k * (0.2 + v / 40); if (k % 7) printf "%.1f,b,OTHERS,%.3f,9,T\n", k / 10, 60 - k * 0.3 } }' >"$T/motion/$folder/$i.csv"
done
awk 'BEGIN { print "LANE_ID,X,Y,TURN_DIRECTION,IS_INTERSECTION,HAS_TRAFFIC_CONTROL"; for (k = 0; k < 40; k++) printf "1,%d,1.5,NONE,False,False\n", 5 * k - 50 }' >"$T/motion/lanes/T.csv"
task motion minFDE --epochs 4 --set dim=16 encoder=mmtransformer depth=1
predicts motion futures "$T/motion/val/33.csv"
sed 's/,T$/,X/' "$T/motion/val/33.csv" >"$T/motion/val/x.csv"
ends 4 'motion: a city without lanes' "$FV" predict "$T/motion-a" "$T/motion/val/x.csv"
rm "$T/motion/val/x.csv"
ends 2 'motion: no such encoder' "$FV" train motion --data "$T/motion" --variant base --batch 8 --out "$T/none" --set encoder=lstm
ends 2 'motion: more observed vectors than the network has places for' "$FV" train motion --data "$T/motion" --variant base --batch 8 --out "$T/none" --set encoder=mmtransformer observed_steps=7
rm -rf "$T/none"

if [ ! -e "$llm" ]; then
    skip vqa 'the language model is not in the cache'
    report
    exit
fi

# ---- vqa: easy-vqa's layout ----
for folder in train test; do
    mkdir -p "$T/vqa/$folder/images"
    for i in $(seq 0 15); do png "$T/vqa/$folder/images/$i.png" $((40 + 150 * (i % 2))) $((40 + 150 * (i / 2 % 2))); done
    awk 'BEGIN { printf "["; for (i = 0; i < 16; i++) printf "%s[\"is the left bright?\",\"%s\",%d]", i ? "," : "", i % 2 ? "yes" : "no", i; print "]" }' >"$T/vqa/$folder/questions.json"
done
small='dim=16 num_heads=2 image_depth=1 fusion_depth=1 img_size=8 patch_size=4 conv_stem=false'
task vqa accuracy --llm "$llm" --epochs 10 --set $small shift=0
predicts vqa answer "$T/vqa/test/images/1.png" --question 'is the left bright?'
ends 2 'vqa: no question' "$FV" predict "$T/vqa-a" "$T/vqa/test/images/1.png"
ends 2 'vqa: an empty question' "$FV" predict "$T/vqa-a" "$T/vqa/test/images/1.png" --question ''
ends 2 'vqa: no language model' "$FV" train vqa --data "$T/vqa" --variant base --out "$T/none"

# the language model's own embeddings: not trained, and the same when the run goes on
expect 'vqa: words=llm' "$FV" train vqa --data "$T/vqa" --llm "$llm" --variant base --threads 1 --batch 8 --epochs 10 --precision f32 --out "$T/vqa-words" --set $small shift=0 words=llm
"$FV" inspect "$T/vqa-words/model.safetensors" | grep 'text.embed.weight' | grep -q 576 && ok || bad "words=llm: $("$FV" inspect "$T/vqa-words/model.safetensors" | grep embed)"
for command in eval predict; do
    [ $command = eval ] && set -- || set -- "$T/vqa/test/images/1.png" --question 'is the left bright?'
    expect "vqa: words=llm: $command" "$FV" $command "$T/vqa-words" --threads 1 --json "$@"
done

# ---- retrieval: captions.jsonl ----
mkdir -p "$T/retrieval"
for i in $(seq 0 31); do
    png "$T/retrieval/$i.png" $((40 + 25 * (i % 8))) $((200 - 25 * (i % 8)))
    printf '{"image":"%d.png","caption":"number %s","split":"%s"}\n' "$i" "$(echo zero one two three four five six seven | cut -d ' ' -f $((i % 8 + 1)))" "$([ "$i" -lt 24 ] && echo train || echo test)"
done >"$T/retrieval/captions.jsonl"
task retrieval IR@1 --llm "$llm" --epochs 6 --set $small text_depth=1 embed_dim=8 match=4
predicts retrieval captions "$T/retrieval/25.png"

# ---- scene-qa: SQA3D's layout ----
mkdir -p "$T/scene-qa/scenes"
for i in 0 1 2 3; do
    echo "{\"objects\":[{\"label\":\"bed\",\"center\":[$((i % 2 * 4 - 2)),0,0],\"size\":[1,1,1],\"color\":[0,0,1]},{\"label\":\"desk\",\"center\":[0,$i,0],\"size\":[1,1,1],\"color\":[1,0,0]}]}" >"$T/scene-qa/scenes/s$i.json"
done
for name in train test; do
    awk -v dir="$T/scene-qa" -v name=$name 'BEGIN {
        q = dir "/v1_balanced_questions_" name "_scannetv2.json"; a = dir "/v1_balanced_sqa_annotations_" name "_scannetv2.json"
        printf "{\"questions\":[" >q; printf "{\"annotations\":[" >a
        for (i = 0; i < 16; i++) {
            printf("%s{\"scene_id\":\"s%d\",\"situation\":\"I stand.\",\"question\":\"Where is the bed?\",\"question_id\":%d}", i ? "," : "", i % 4, i) >q
            printf("%s{\"question_id\":%d,\"answers\":[{\"answer\":\"%s\"}],\"position\":{\"x\":0,\"y\":0,\"z\":0},\"rotation\":{\"_x\":0,\"_y\":0,\"_z\":0,\"_w\":1}}", i ? "," : "", i, i % 2 ? "right" : "left") >a
        }
        printf "]}\n" >q; printf "]}\n" >a }'
done
task scene-qa EM@1 --llm "$llm" --epochs 10 --set dim=16 num_heads=2 image_depth=1 fusion_depth=1
predicts scene-qa answer "$T/scene-qa/scenes/s1.json" --question 'Where is the bed?' --situation 'I stand.' --at 0,0,0
# seen from the other side, left is right
for turn in 0 180; do
    "$FV" predict "$T/scene-qa-a" "$T/scene-qa/scenes/s1.json" --question 'Where is the bed?' --situation 'I stand.' --at 0,0,$turn --threads 1 | awk '{ print $2 }'
done >"$T/both"
[ "$(tr '\n' ' ' <"$T/both")" = 'right left ' ] && ok || bad "scene-qa: from both sides: $(tr '\n' ' ' <"$T/both")"
ends 2 'scene-qa: no place' "$FV" predict "$T/scene-qa-a" "$T/scene-qa/scenes/s1.json" --question x --at 1,2
ends 2 'scene-qa: no question' "$FV" predict "$T/scene-qa-a" "$T/scene-qa/scenes/s1.json"
rm "$T/scene-qa/scenes/s3.json"
ends 4 'scene-qa: a room that is not there' "$FV" train scene-qa --data "$T/scene-qa" --llm "$llm" --variant base --out "$T/none"
report
