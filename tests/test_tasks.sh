#!/bin/sh
# Each task of the program, small: its demo data are made and read back, a run is trained, eval says the same figures again, predict speaks and draws; compare
# reuses its runs. Tasks that want a download are tried where the cache has it. The examples learn what they say.
. tests/harness.sh
FV=${FV:-build/fv}
cache=${FROZENVIS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/frozenvis}
llm=$cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

# figures FILE: the last line's measures up to the loss, without what tells of speed
figures() { tail -n 1 "$1" | sed 's/.*"variant":"[a-z]*",//; s/^{"final":true,//; s/^"split":"[a-z]*",//; s/"loss":.*//'; }

# task NAME VARIANT FILE OPTIONS...: FILE (or -) is what predict is asked about, from the data's folder; $asks: options of predict
task() {
    t=$1 variant=$2 file=$3
    shift 3
    run=$T/run-$t
    expect "$t: trains" "$FV" train "$t" --data demo --variant "$variant" --limit 64 --batch 16 --epochs 1 --json --out "$run" "$@" || return
    grep '"final":true' "$T/said" >"$T/trained"
    expect "$t: is measured again" "$FV" eval "$run" --json || return
    cp "$T/said" "$T/measured"
    [ -n "$(figures "$T/trained")" ] && [ "$(figures "$T/trained")" = "$(figures "$T/measured")" ] && ok || bad "$t: eval says $(figures "$T/measured"), train said $(figures "$T/trained")"
    expect "$t: draws" "$FV" predict "$run" --items 0-3 --png "$T/$t.png"
    head -c 8 "$T/$t.png" 2>/dev/null | grep -q PNG && ok || bad "$t: no picture"
    if [ "$file" != - ]; then
        expect "$t: predicts a file" "$FV" predict "$run" "$file" --json
        [ "$(wc -l <"$T/said")" = 1 ] && grep -q '^{"file":.*}$' "$T/said" && ok || bad "$t: one line of JSON is wanted"
        head -c 100 "$file" >"$T/cut.${file##*.}"
        "$FV" predict "$run" "$T/cut.${file##*.}" >/dev/null 2>"$T/said"
        [ $? = 3 ] && [ "$(wc -l <"$T/said")" = 1 ] && ok || bad "$t: a cut file ends with 3 and one sentence: $(cat "$T/said")"
    fi
    "$FV" train "$t" --data "$T/nowhere" --out "$T/none" --variant "$variant" "$@" >/dev/null 2>"$T/said"
    [ $? = 4 ] && [ "$(wc -l <"$T/said")" = 1 ] && [ ! -e "$T/none/result.json" ] && ok || bad "$t: missing data end with 4 and one sentence: $(cat "$T/said")"
    rm -rf "$T/none"
}

# ---- demos that are made here, in a cache of the test's own ----
(
    FROZENVIS_CACHE=$T/cache
    export FROZENVIS_CACHE
    mkdir -p "$FROZENVIS_CACHE"
    [ -e "$llm" ] && ln -s "$cache/smollm2" "$FROZENVIS_CACHE/smollm2"
    made=$FROZENVIS_CACHE
    task points base "$made/demo-points-1/test/mug/1.npy" --set votes=1
    of=$made/demo-points-1
    [ "$(ls "$of/train/mug" | wc -l)" = 150 ] && [ "$(ls "$of/test/mug" | wc -l)" = 40 ] && ! cmp -s "$of/train/mug/1.npy" "$of/test/mug/1.npy" && ok || bad 'points: 150 and 40 mugs, all different'
    # votes change nothing but what a test sees: of one point again and again all see the same, of a mug not
    for v in 1 5; do expect "points: votes=$v" "$FV" train points --data demo --variant base --limit 64 --batch 16 --epochs 1 --set votes=$v --set test_limit=64 --quiet --out "$T/votes-$v"; done
    awk 'BEGIN { for (i = 0; i < 64; i++) print "0.5 0.25 0.1" }' >"$T/dot.xyz"
    votes() { "$FV" predict "$T/votes-$1" "$2" --json 2>/dev/null; }
    votes 1 "$T/dot.xyz" | grep -q '"class":' && [ "$(votes 1 "$T/dot.xyz")" = "$(votes 5 "$T/dot.xyz")" ] && ok || bad "votes: $(votes 1 "$T/dot.xyz") and $(votes 5 "$T/dot.xyz")"
    [ "$(votes 1 "$made/demo-points-1/test/mug/1.npy")" != "$(votes 5 "$made/demo-points-1/test/mug/1.npy")" ] && ok || bad 'five votes say of a mug what one says'
    expect 'points: five votes are measured again' "$FV" eval "$T/votes-5" --json
    [ "$(figures "$T/said")" = "$(figures "$T/votes-5/result.json" | sed "s/^{//")" ] && ok || bad "five votes: $(cat "$T/said" "$T/votes-5/result.json")"
    [ "$(figures "$T/votes-1/result.json")" != "$(figures "$T/votes-5/result.json")" ] && ok || bad 'a test of five votes is that of one'
    "$FV" train points --data demo --variant base --set votes=0 --out "$T/none" >/dev/null 2>"$T/said"
    [ $? = 2 ] && grep -q 'votes is 0' "$T/said" && ok || bad "votes=0: $(cat "$T/said")"
    rm -rf "$T/none"
    task motion base "$made/demo-motion-1/val/3001.csv"
    rm -rf "$made/demo-motion-1"
    task volumes base -
    for split in train val; do
        expect "volumes: $split" "$FV" eval "$T/run-volumes" --split $split --json
        [ -n "$(figures "$T/said")" ] && [ "$(figures "$T/said")" != "$(figures "$T/measured")" ] && ok || bad "volumes: $split is measured as test is: $(cat "$T/said")"
        cp "$T/said" "$T/$split"
    done
    [ "$(figures "$T/train")" != "$(figures "$T/val")" ] && ok || bad 'volumes: val is measured as train is'
    "$FV" eval "$T/run-motion" --split val >/dev/null 2>"$T/said"
    [ $? = 2 ] && grep -q 'the task motion reads no such split' "$T/said" && ok || bad "motion: val: $(cat "$T/said")"
    rm -rf "$made/demo-volumes-1"
    if [ -e "$llm" ]; then
        task scene-qa llm - --llm "$llm"
    else
        skip scene-qa 'the language model is not in the cache'
    fi
    # compare: two arms, two seeds, whose tests see the same random halves; a finished plan is only read
    expect 'compare' "$FV" compare points --data demo --set votes=2 --variants base,linear --seeds 2 --limit 32 --batch 16 --epochs 1 --quiet --out "$T/cmp"
    [ "$(wc -l <"$T/cmp/results.jsonl")" = 4 ] && grep -q '95' "$T/cmp/report.html" && [ -s "$T/cmp/arms.svg" ] && ok || bad 'compare: results.jsonl, report.html and arms.svg'
    touch "$T/before"
    expect 'compare --resume' "$FV" compare points --data demo --set votes=2 --variants base,linear --seeds 2 --limit 32 --batch 16 --epochs 1 --quiet --out "$T/cmp" --resume --json
    [ "$(tail -n 1 "$T/said" | grep -c '"final":true')" = 1 ] && ok || bad 'compare --json: the last line is final'
    [ -z "$(find "$T/cmp" -name result.json -newer "$T/before")" ] && ok || bad 'compare --resume trained again'
    "$FV" compare points --sweep odd --out "$T/cmp2" --data demo >/dev/null 2>&1
    [ $? = 2 ] && [ ! -e "$T/cmp2" ] && ok || bad 'compare: an unknown sweep ends with 2 and leaves nothing'
    echo "$passed $failed $skipped" >"$T/sub"
)
read -r passed failed skipped <"$T/sub" || bad 'the made demos'

# ---- the examples ----
says() { # says EXAMPLE LEAST: the first number of its last line is at least that
    expect "example $1" make -s "build/examples/$1" && expect "example $1 runs" "build/examples/$1" || return
    tail -n 1 "$T/said" | awk -v least="$2" '{ match($0, /[0-9]+(\.[0-9]+)? %/); exit !(substr($0, RSTART, RLENGTH) + 0 >= least) }' && ok || bad "example $1: $(tail -n 1 "$T/said")"
}
says train_vit 60
says frozen_in_your_network 80
if [ -e "$llm" ]; then
    expect 'example block_on_tokens' make -s build/examples/block_on_tokens && expect 'example block_on_tokens runs' build/examples/block_on_tokens "$llm" 29
    awk '/^loss / { loss = $2 } /dloss/ { n += $NF > 0 && $NF < 1e9 } END { exit !(loss > 0 && n == 10) }' "$T/said" && ok || bad "example block_on_tokens: $(cat "$T/said")"
else
    skip 'example block_on_tokens' 'the language model is not in the cache'
fi
says classify_points 80
says classify_video 90
says classify_volumes 70
says answer_questions 90
says retrieve_pictures 80
expect 'example forecast_motion' make -s build/examples/forecast_motion && expect 'example forecast_motion runs' build/examples/forecast_motion
tail -n 1 "$T/said" | awk '{ exit !($3 > 0 && $3 < $11 / 3) }' && ok || bad "example forecast_motion: $(tail -n 1 "$T/said")"
report
