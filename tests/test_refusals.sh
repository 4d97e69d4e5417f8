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

# ---- compare: what is wrong with any of its runs is said before the first one ----
usual="--variants base,linear --data $D --out new --set img_size=8 patch_size=4 in_chans=1 embed_dim=16 depth=2 num_heads=2 --batch 8 --epochs 1 --threads 1"
# shellcheck disable=SC2086
compare() { "$FV" compare image $usual "$@"; }
refused 2 'unknown option --sedes' compare --sedes 3
refused 2 'unknown option --variant-s' compare --variant-s=base
for o in --seeds --tune --sweep --variants --out --epochs --set --preset; do
    refused 2 "$o wants a value" compare $o
    refused 2 "$o wants a value" compare $o --json
done
refused 2 '--out wants a value' compare --out=
refused 2 '--json takes no value' compare --json=1
for n in 0 -1 x 1.5 '' 99999999999999999999; do
    refused 2 '--seeds ' compare "--seeds=$n"
    refused 2 '--tune ' compare "--tune=$n"
done
refused 2 '--seed is fv train' compare --seed 3
refused 2 '--variant is fv train' compare --variant=llm
refused 2 'preset' compare --preset odd
refused 2 'lr is' compare --lr nan
refused 2 'odd' compare --set odd
refused 2 'training key\|odd' compare --set odd=1
stage='frozen.hidden_size=24 frozen.num_attention_heads=2 frozen.intermediate_size=32'
# shellcheck disable=SC2086
refused 2 'residual' compare --variants base,scratch --set $stage --sweep frozen.residual=none,odd
refused 2 'lr is' compare --variants base --sweep lr=0.1,-1
refused 2 '--sweep epochs and --epochs' compare --sweep epochs=1,2
refused 2 '--sweep residual and --residual' compare --variants base,scratch --residual none --sweep residual
refused 2 'patch_size' compare --set patch_size=5
refused 2 'too few' compare --set limit=3
refused 2 'language model' compare --variants base,llm
refused 4 'no-llm' compare --variants base,llm --llm no-llm
refused 3 'file' compare --variants base,llm --llm file
refused 4 'no-data' compare --data no-data
refused 4 'no-config' compare --config no-config
refused 4 'cannot be made' compare --out nowhere/new
refused 4 'no-data' compare --data no-data --tune 2

# ---- the same of the other commands ----
train() { "$FV" train image --set img_size=8 patch_size=4 in_chans=1 embed_dim=16 depth=2 num_heads=2 --batch 8 --data "$D" --out new --variant base "$@"; }
for o in --data --out --set --seed --llm --variant; do
    refused 2 "$o wants a value" train $o
    refused 2 "$o wants a value" train $o --resume
    refused 2 "$o wants a value" train $o=
done
# values end up in config.json: what is no setting is refused, a number in another spelling is kept as JSON has it
for value in embed_dim=inf embed_dim=-inf embed_dim=nan 'embed_dim=[1,,2]' 'frozen.layers=[.5]' 'frozen.layers=[1][2]' 'a"b=1' "arch=$(printf 'a\tb')" "arch=$(printf '\377')" \
    frozen= frozen.=1 =1 "$(head -c 60 /dev/zero | tr '\0' a)=1"; do
    refused 2 'set\|embed_dim\|frozen' train --set "$value"
done
refused 2 'layers 01' train --layers 01
refused 2 'too few' train --set holdout=1e9
echo '[]' >list.json
echo '{"train":{"lr":{"a":1}}}' >object.json
echo '{"train":[1]}' >array.json
echo '{"model":{"arch":"a\"b"}}' >quote.json
echo '{"model":{"frozen":{"layers":["a"]}}}' >words.json
awk 'BEGIN { printf "{\"model\":{"; for (i = 0; i < 200; i++) printf "%s\"k%d\":1", i ? "," : "", i; print "}}" }' >many.json
refused 2 nonsense train --set=nonsense=1 # as --set nonsense=1
refused 2 'items a step' train --batch 1000000 --set grad_accum=1000000
for f in list object array quote words many; do refused 2 "$f.json\|lr is null" train --config $f.json; done
# ---- what means nothing is refused, wherever it stands ----
echo '{"model":{"img_size":8},"trian":{"lr":1}}' >trian.json
echo '{"model":{"img_size":8,"extra":{"a":1}}}' >extra.json
echo '{"img_size":8,"extra":{"a":1}}' >bare.json
echo '{"img_size":8,"train":{"lr":1,"learning":1}}' >rate.json
echo '{"model":{"frozen":{"variant":"linear","hidden_size":8}},"train":{"variant":"mlp"}}' >two.json
refused 2 'trian.json: "trian"' train --config trian.json
refused 2 'extra.json: "extra"' train --config extra.json
refused 2 'bare.json: "extra"' train --config bare.json
refused 2 'learning' train --config rate.json
refused 2 'two.json: "frozen.variant"' train --config two.json
for idle in classes=5 task=points data=x format=pt llm=x frozen.file=x frozen.sha256=x frozen.weights=x; do refused 2 'has no effect' train --set $idle; done
refused 2 'frozen.rms_norm_eps' train --set frozen.rms_norm_eps=0
refused 2 'frozen.rope_theta' train --set frozen.rope_theta=-1
refused 2 'frozen.ffn_dim is 32' train --set frozen.intermediate_size=16 frozen.ffn_dim=32
refused 2 'frozen.layer_norm_eps is 0.1' train --set frozen.rms_norm_eps=0.01 frozen.layer_norm_eps=0.1
refused 2 'from 0 to 0.9999999 is wanted' train --set ema=1
refused 4 'no-llm' train --llm no-llm
# ---- --resume is for a run's own folder: what a user has there stays ----
mkdir theirs && echo mine >theirs/model.safetensors && echo mine >theirs/log.jsonl
refused 2 'theirs holds files and no config.json' train --out theirs --resume
refused 2 'theirs holds files and no plan.txt' compare --out theirs --resume
mkdir killed && echo '{' >killed/config.json.tmp-77 # a run that was killed before its config had its name
expect 'a run that had hardly begun' train --out killed --resume --epochs 1 --threads 1
mkdir empty-one && expect 'an empty folder' train --out empty-one --resume --epochs 1 --threads 1
# shellcheck disable=SC2086
expect 'numbers in other spellings' "$FV" train image --data "$D" --out spelt --variant base --set img_size=0x8 patch_size=4. in_chans=01 embed_dim=+16 depth=2 num_heads=2 seed=12345678901 \
    --lr .003 --epochs 1 --threads 1 --batch 8
expect 'are JSON in config.json' "$FV" eval spelt --threads 1
# a run whose config.json was changed: the sentence names the file and the key
reopened() { # reopened STATUS WORDS SED
    rm -rf odd && cp -r spelt odd && sed "$3" spelt/config.json >odd/config.json
    cmp -s spelt/config.json odd/config.json && bad "nothing was changed: $3"
    refused "$1" "$2" "$FV" eval odd --threads 1
}
reopened 3 'odd/config.json: "trian"' 's/"task":"image"/"task":"image","trian":{}/'
reopened 3 'odd/config.json: .*"learning"' 's/"train":{/"train":{"learning":1,/'
reopened 3 'odd/config.json: lr is "x"' 's/"lr":0.003/"lr":"x"/'
reopened 3 'odd/config.json: "extra"' 's/"model":{/"model":{"extra":{"a":1},/'
reopened 3 'odd/config.json: "model"' 's/"model":{[^}]*}/"model":5/'
reopened 3 'odd/config.json: "frozen": null' 's/"variant":"base"/"variant":"fancy"/'
reopened 2 'odd/config.json: 1 class_names, and num_classes is 2' 's/"class_names":\["0",/"class_names":[/'
reopened 3 'odd/config.json: class_names, number 1' 's/"class_names":\["0","1"/"class_names":["0",1/'
reopened 3 'odd/config.json: "class_names"' 's/"class_names":\[[^]]*\]/"class_names":5/'
rm -rf odd
# a run goes on with what it was begun with; anything else is refused, and the run stays as it is
begun() { # shellcheck disable=SC2086
    "$FV" train image --data "$D" --out begun --variant base --set $shape --batch 8 --epochs 1 --threads 1 --save-every 4 "$@"
}
shape='img_size=8 patch_size=4 in_chans=1 embed_dim=16 depth=2 num_heads=2'
expect 'a run' begun
rm begun/result.json begun/model.safetensors
cp -r "$D" "$T/data2" && for f in "$D"/train*; do cp "$f" "$T/data2/t10k${f##*/train}"; done
refused 2 'lr was 0.001 .* and is 0.01 now' begun --resume --lr 0.01
refused 2 'warmup_epochs was 0.5 .* and is 1 now' begun --resume --preset tiny28
refused 2 'ema was absent .* and is 0.9 now' begun --resume --set ema=0.9
refused 2 'drop_rate was absent .* and is 0.2 now' begun --resume --set drop_rate=0.2
refused 2 'variant was "base" .* and is "linear" now' begun --resume --variant linear --set frozen.hidden_size=8
refused 2 'data set was .* 40 test items' begun --resume --data "$T/data2"
stops() { # stops WORDS: `odd`, whose checkpoint says something else, is not gone on with; config.json is written again
    begun --out odd --resume >"$T/said" 2>"$T/wrong"
    [ $? = 3 ] && [ "$(wc -l <"$T/wrong")" = 1 ] && grep -q "^fv: .*$1" "$T/wrong" && [ ! -e odd/result.json ] && ok || bad "not 3 and \"$1\": $(cat "$T/wrong")"
    rm -rf odd
}
for latest in 'step-12 and more' 'step--5' 'step-' 5; do
    cp -r begun odd && echo "$latest" >odd/latest
    stops 'odd/latest: does not name a checkpoint'
done
for state in '{}' '{"step":12}' '{"step":12,"updates":-5}' '{"step":12,"updates":"x"}' '{"step":11,"updates":12}' '[]'; do
    cp -r begun odd && echo "$state" >"odd/checkpoints/$(cat begun/latest)/trainer_state.json"
    stops 'trainer_state.json: "step" must be 12'
done
mv "$D" "$T/moved"
expect 'the same data elsewhere' begun --resume --data "$T/moved"
mv "$T/moved" "$D"
# a limit on the size of files is an error as any other
(ulimit -f 8 && exec "$FV" train image --config spelt/config.json --data "$D" --out limited --variant base --threads 1) >"$T/said" 2>&1
[ $? = 4 ] && [ "$(grep -c '^fv: .*cannot be written' "$T/said")" = 1 ] && ok || bad "files that may not grow: $(cat "$T/said")"
grep -q '"lr":0.003[,}]'  spelt/config.json && grep -q '"seed":12345678901[,}]' spelt/config.json && ok || bad "config.json: $(cat spelt/config.json)"
for command in "eval RUN --data" "predict RUN --items" "heatmap RUN p.png --masks" "probe RUN --items" "trace CASE --out" "extract FILE --out" "tokenize --llm" \
    "bench gemm --m"; do
    # shellcheck disable=SC2086
    refused 2 "${command##* } wants a value" "$FV" $command
    # shellcheck disable=SC2086
    refused 2 "${command##* } wants a value" "$FV" $command --help-me
    # shellcheck disable=SC2086
    refused 2 'unknown option --help-me' "$FV" $command=1 --help-me
done
report
