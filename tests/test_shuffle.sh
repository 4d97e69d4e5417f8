#!/bin/sh
# With the pictures (maps, rooms) of other items, each measure of a trained run drops to about its blind baseline: what is left is guessed from the rest.
# Short runs, at settings which learn enough to show it.
. tests/harness.sh
FV=${FV:-build/fv}
cache=${FROZENVIS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/frozenvis}
FROZENVIS_CACHE=$T/cache
export FROZENVIS_CACHE
mkdir -p "$T/cache"
for thing in smollm2 easy-vqa emoji; do
    [ -e "$cache/$thing" ] && ln -s "$cache/$thing" "$T/cache/$thing"
done

value() { sed -n "s/.*[{,]\"$1\":\([0-9.]*\).*/\1/p" "$T/said" | tail -n 1; } # value NAME: that figure in the last JSON line

# shuffled TASK MEASURE CONDITION OPTIONS...: CONDITION is awk's, of `right` and `other`, the measure of the test items as they are and shuffled
shuffled() {
    t=$1 measure=$2 condition=$3
    shift 3
    expect "$t: trains" "$FV" train "$t" --data demo --variant base --threads 1 --json --out "$T/$t" "$@" || return
    right=$(value "$measure")
    only=$(value question_only)
    expect "$t: eval --shuffle" "$FV" eval "$T/$t" --shuffle --threads 1 --json || return
    other=$(value "$measure")
    awk -v right="$right" -v other="$other" -v only="${only:-0}" "BEGIN { exit !(right != \"\" && other != \"\" && ($condition)) }" && ok || bad "$t: $measure is $right, shuffled $other (question alone $only)"
}
# motion's past tracks stay, so what is left is more than nothing: a forecast without a fitting map
shuffled motion minFDE 'right < 2.2 && other > 1.4 * right' --epochs 6
if [ -e "$T/cache/smollm2" ]; then
    shuffled scene-qa EM@1 'right > 75 && other < only + 10' --epochs 1
else
    skip scene-qa 'the language model is not in the cache'
fi
if [ -e "$T/cache/smollm2" ] && [ -e "$T/cache/easy-vqa" ]; then
    shuffled vqa accuracy 'right > only + 5 && other < only + 3' --epochs 1 --limit 12000
else
    skip vqa 'easy-vqa is not in the cache'
fi
if [ -e "$T/cache/smollm2" ] && [ -e "$T/cache/emoji" ]; then
    shuffled retrieval IR@10 'right > 8 && other < 5' --epochs 2 # a guess gets 2.5
    # the last tenth of its 6,400 training pictures, which holdout=0.1 keeps out, has all 400 emoji, as the test has
    names=$(grep '"split":"train"' "$T"/cache/demo-retrieval-*/captions.jsonl | tail -n 640 | sed 's/.*"captions"//' | sort -u | wc -l)
    [ "$names" = 400 ] && ok || bad "retrieval: $names emoji in the last tenth of the training pictures"
else
    skip retrieval 'the emoji are not in the cache'
fi
report
