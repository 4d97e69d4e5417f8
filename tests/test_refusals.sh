#!/bin/sh
# What fv refuses, and that it leaves everything as it was: names of outputs that are taken, options that are wrong or lack their value,
# in every command.
cd "$(dirname "$0")/.." || exit 1
. tests/harness.sh
FV=${FV:-build/fv}
case $FV in /*) ;; *) FV=$PWD/$FV ;; esac
golden=$PWD/tests/golden
D=$T/data
mkdir "$D" "$T/at"
idx train 96 1
idx t10k 40 2
cd "$T/at" || exit 1 # nothing but what a test puts there may be there afterwards

# refused STATUS WORDS COMMAND...: ends so, with one sentence that has these words, and the folder is as before
refused() {
    want=$1 words=$2
    shift 2
    before=$(ls -lRn --time-style=full-iso .)
    "$@" >"$T/said" 2>"$T/wrong" </dev/null
    got=$?
    if [ $got != "$want" ] || [ "$(wc -l <"$T/wrong")" != 1 ] || ! grep -q "^fv: .*$words" "$T/wrong"; then
        bad "status $got, not $want and \"$words\": $*"
        head -n 3 "$T/wrong"
    elif [ "$before" != "$(ls -lRn --time-style=full-iso .)" ]; then
        bad "something was left or changed: $*"
        ls -lR .
    else
        ok
    fi
}

# ---- a name that is taken: said before any work (the run RUN is not there, and nobody got to see that) ----
echo mine >file && mkdir folder && ln -s nowhere link && cp file predictions.png && cp file heatmap.png
for taken in file folder link; do
    refused 2 "$taken exists" "$FV" train image --data "$D" --out $taken
    refused 2 "$taken exists" "$FV" compare image --data "$D" --out $taken
    refused 2 "$taken exists" "$FV" extract "$golden/block_llama_gqa.safetensors" --layers 0 --out $taken
    refused 2 "$taken exists" "$FV" trace "$golden/block_llama_gqa.safetensors" --out $taken
    refused 2 "$taken exists" "$FV" predict RUN --items 0-3 --png $taken
    refused 2 "$taken exists" "$FV" heatmap RUN picture.png --png $taken
    refused 2 "$taken exists" "$FV" heatmap --demo $taken
    refused 2 "$taken exists" "$FV" probe RUN --svg $taken
done
refused 2 'predictions.png exists' "$FV" predict RUN --items 0-3
refused 2 'heatmap.png exists' "$FV" heatmap RUN picture.png
report
