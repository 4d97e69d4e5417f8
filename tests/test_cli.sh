#!/bin/sh
# fv from end to end on a small IDX data set made here: training, resuming after SIGKILL, thread counts, wrong use, broken files.
cd "$(dirname "$0")/.." || exit 1
FV=${FV:-build/fv}
. tests/harness.sh
# gives STATUS COMMAND...: it must end with this status, and a failure must be one line on stderr that begins with `fv: `
gives() {
    want=$1
    shift
    "$@" >"$T/stdout" 2>"$T/stderr" </dev/null
    got=$?
    if [ $got != "$want" ]; then
        bad "status $got and not $want: $*"
        head -n 3 "$T/stderr"
    elif [ "$want" != 0 ] && { [ "$(wc -l <"$T/stderr")" != 1 ] || ! grep -q '^fv: ' "$T/stderr"; }; then
        bad "not one sentence on stderr: $*"
        head -n 3 "$T/stderr"
    else
        ok
    fi
}
same() { if cmp -s "$1" "$2"; then ok; else bad "$1 and $2 differ"; fi; }

D=$T/data
mkdir "$D"
idx train 96 1
idx t10k 40 2
[ "$(wc -c <"$D/train-images-idx3-ubyte")" = $((16 + 96 * 64)) ] || bad "the data set was not made: $(wc -c <"$D/train-images-idx3-ubyte")"

small='--set img_size=8 --set patch_size=4 --set in_chans=1 --set embed_dim=16 --set depth=2 --set num_heads=2 --set limit=96
--set drop_path_rate=0.2 --set drop_rate=0.1 --set shift=1 --set hflip=0'
usual="$small --variant base --batch 8 --epochs 5 --lr 0.003 --seed 3 --save-every 7"
train() { # train OUT OPTIONS...
    out=$1
    shift
    # shellcheck disable=SC2086
    $FV train image --data "$D" --out "$out" $usual "$@"
}

# ---- a run, its folder, and the same bytes at any thread count ----
gives 0 train "$T/one" --threads 1 --json
tail -n 1 "$T/stdout" >"$T/last"
tail -n 1 "$T/stdout" | grep -q '"final": *true' || bad "the last line is not final: $(tail -n 1 "$T/stdout")"
for key in top1 top5 loss images_per_s peak_memory_mb trainable_parameters frozen_parameters seconds; do
    tail -n 1 "$T/stdout" | grep -q "\"$key\":" || bad "the last line lacks $key"
done
[ -s "$T/stderr" ] && bad "progress was written though stderr is no terminal" || ok
top1=$(tail -n 1 "$T/stdout" | sed 's/.*"top1": *//; s/,.*//')
awk -v x="$top1" 'BEGIN { exit !(x > 90) }' && ok || bad "top-1 is $top1 and not over 90"
for f in config.json log.jsonl latest model.safetensors checkpoints/step-60/model.safetensors checkpoints/step-60/optimizer.safetensors \
    checkpoints/step-60/trainer_state.json; do
    [ -s "$T/one/$f" ] && ok || bad "the run has no $f"
done
[ "$(wc -l <"$T/one/log.jsonl")" -ge 60 ] && ok || bad "log.jsonl has $(wc -l <"$T/one/log.jsonl") lines"
gives 0 train "$T/two" --threads 2
gives 0 train "$T/three" --threads 3
same "$T/one/model.safetensors" "$T/two/model.safetensors"
same "$T/one/model.safetensors" "$T/three/model.safetensors"
gives 0 train "$T/other" --seed 4
cmp -s "$T/one/model.safetensors" "$T/other/model.safetensors" && bad "another seed gives the same bytes" || ok
# augmentation of pictures and of batches, the same at any thread count
rich='--set shift=0 crop_scale=0.7 jitter=0.2 erase=0.2 mixup=0.4 cutmix=1 mix_prob=0.5 --epochs 2'
gives 0 train "$T/rich1" --threads 1 $rich
gives 0 train "$T/rich2" --threads 2 $rich
same "$T/rich1/model.safetensors" "$T/rich2/model.safetensors"
gives 0 train "$T/unmixed" --threads 1 $rich --set mixup=0 cutmix=0
cmp -s "$T/rich1/model.safetensors" "$T/unmixed/model.safetensors" && bad 'mixup changes nothing' || ok
# the moving average of the parameters and plain SGD are paths of their own, and go on after a kill as the others do
for path in "$rich --set ema=0.9 --save-every 2" '--set optimizer=sgd momentum=0.9 grad_accum=2 label_smoothing=0.1 --precision bf16 --save-every 1'; do
    gives 0 train "$T/path" --threads 1 $path
    cmp -s "$T/path/model.safetensors" "$T/rich1/model.safetensors" && bad "$path changes nothing" || ok
    for after in 0.05 0.1 0.2; do
        # shellcheck disable=SC2086
        $FV train image --data "$D" --out "$T/cut-path" $usual --resume --threads 2 $path >/dev/null 2>&1 &
        pid=$!
        sleep $after
        kill -9 $pid 2>/dev/null
        wait $pid 2>/dev/null
    done
    gives 0 train "$T/cut-path" --resume $path
    same "$T/path/model.safetensors" "$T/cut-path/model.safetensors"
    # as if killed after the last checkpoint
    rm "$T/path/result.json" "$T/path/model.safetensors"
    gives 0 train "$T/path" --resume $path
    same "$T/path/model.safetensors" "$T/cut-path/model.safetensors"
    rm -rf "$T/path" "$T/cut-path"
done
gives 0 train "$T/held" --set holdout=16 --epochs 1
grep -q ' on 16 pictures held out; ' "$T/stdout" && ok || bad "what is measured where items are held out: $(cat "$T/stdout")"
gives 0 train "$T/memory" --recompute
same "$T/one/model.safetensors" "$T/memory/model.safetensors"

# ---- what the keys of training do: each alone changes what is trained, and some by a law that is known ----
short() { # short OUT KEY=VALUE...: three steps without chance
    out=$1
    shift
    rm -rf "$T/$out"
    gives 0 train "$T/$out" --threads 1 --epochs 1 --limit 24 --set drop_rate=0 drop_path_rate=0 shift=0 "$@"
}
logged() { sed -n "s/.*\"$2\":\([-+.e0-9]*\).*/\1/p" "$T/$1/log.jsonl"; } # logged OUT KEY: a number a step
near() { # near NAME A B: two numbers, to six digits
    awk -v a="$2" -v b="$3" 'BEGIN { d = a - b; exit !(a != "" && b != "" && d * d <= 1e-10 + 1e-10 * a * a) }' && ok || bad "$1: $2 and $3"
}
short plain
for key in optimizer=sgd beta1=0.5 beta2=0.5 eps=0.1 weight_decay=1 clip_grad=0.01 label_smoothing=0.2 warmup_epochs=0 min_lr=0.001 lr_scale=2 ema=0.5 \
    fraction=0.4 holdout=80 drop_rate=0.3 drop_path_rate=0.9 shift=1 hflip=1 padding=1 jitter=0.5 erase=1 crop_scale=0.5 mixup=1 grad_accum=3 precision=bf16; do
    short changed $key
    cmp -s "$T/plain/model.safetensors" "$T/changed/model.safetensors" && bad "$key changes nothing" || ok
done
short sgd optimizer=sgd && short changed optimizer=sgd momentum=0
cmp -s "$T/sgd/model.safetensors" "$T/changed/model.safetensors" && bad 'momentum changes nothing' || ok
# a smoothed loss lies between the one of labels and the one of equal targets
short unsmoothed label_smoothing=0 && short half label_smoothing=0.5 && short whole label_smoothing=1
near 'half smoothed' "$(logged half loss | head -n 1)" "$(echo "$(logged unsmoothed loss | head -n 1) $(logged whole loss | head -n 1)" | awk '{ print ($1 + $2) / 2 }')"
# two halves of a batch are the batch
short parts grad_accum=2 --batch 4
for key in loss grad_norm; do near "two halves, $key" "$(logged plain $key | head -n 1)" "$(logged parts $key | head -n 1)"; done
# the rate: a line from a hundredth of it, then half a cosine down to the least one
awk -F'"lr":' 'NR > 0 { sub(/,.*/, "", $2); t = (NR - 1 - 6) / 54; want = NR <= 6 ? 3e-5 + (3e-3 - 3e-5) * (NR - 1) / 6 : 1e-6 + (3e-3 - 1e-6) * (1 + cos(3.14159265 * t)) / 2
    if ($2 - want > 1e-8 || want - $2 > 1e-8) { print NR, $2, want; bad = 1 } } END { exit bad || NR != 60 }' "$T/one/log.jsonl" >"$T/said" && ok || bad "the rates: $(head -n 3 "$T/said")"
# nothing learnt, all items a step: the loss is the one that is measured on them; an average that hardly moves is the start
mkdir "$T/twins" && cp "$D"/train* "$T/twins" && for f in "$D"/train*; do cp "$f" "$T/twins/t10k${f##*/train}"; done
still='drop_rate=0 drop_path_rate=0 shift=0 lr=0 min_lr=0'
# shellcheck disable=SC2086
gives 0 train "$T/still" --data "$T/twins" --threads 1 --epochs 1 --batch 96 --lr 0 --json --set $still
near 'the loss of training and of eval' "$(logged still loss)" "$(sed -n 's/.*"loss":\([.0-9]*\),.*/\1/p' "$T/stdout")"
start=$(sed -n 's/.*"loss":\([.0-9]*\),.*/\1/p' "$T/stdout")
sed 's/.*"top1": *//; s/,.*//' "$T/stdout" | awk '{ exit !($1 < 95) }' && ok || bad "top-1 of what has learnt nothing: $(cat "$T/stdout")"
gives 0 train "$T/slow" --data "$T/twins" --threads 1 --epochs 1 --json --set drop_rate=0 drop_path_rate=0 ema=0.9999999
awk -v a="$(sed -n 's/.*"loss":\([.0-9]*\),.*/\1/p' "$T/stdout")" -v b="$start" 'BEGIN { exit !(a - b < 1e-3 && b - a < 1e-3) }' && ok || bad "an average that hardly moves: $(cat "$T/stdout")"
# another order each epoch, other units dropped each step
# shellcheck disable=SC2086
gives 0 train "$T/still" --data "$T/twins" --resume --json --threads 1 --epochs 1 --batch 96 --lr 0 --set $still
varies() { # varies NAME OPTIONS...: losses of a network that does not learn
    name=$1
    shift
    rm -rf "$T/varies"
    gives 0 train "$T/varies" --threads 1 --lr 0 --set $still "$@"
    [ "$(logged varies loss | awk 'NR % 2' | sort -u | wc -l)" -gt 1 ] && ok || bad "$name: $(logged varies loss | tr '\n' ' ')"
}
varies 'the order of the epochs' --limit 8 --batch 4 --epochs 3
varies 'the dropped units' --limit 1 --batch 1 --epochs 6 --set drop_rate=0.5

# ---- the same figures from eval ----
gives 0 $FV eval "$T/one" --json
grep -q "\"top1\": *$top1[,}]" "$T/stdout" && ok || bad "eval says $(cat "$T/stdout"), training said top-1 $top1"
gives 0 $FV inspect "$T/one/model.safetensors"
grep -q 'blocks.1.mlp.fc2.weight' "$T/stdout" && ok || bad "model.safetensors has not timm's names"

# ---- predict: a PNG of 8x8 grey pixels, stored without compression (its checksums are zeros, which stb_image does not look at) ----
dots() { awk -v l="$1" -v r="$2" 'BEGIN { for (i = 0; i < 8; i++) { printf "\\000"; for (k = 0; k < 8; k++) printf "\\%03o", k < 4 ? l : r } }'; }
png() { # png FILE LEFT RIGHT
    printf '\211PNG\r\n\032\n\000\000\000\015IHDR\000\000\000\010\000\000\000\010\010\000\000\000\000\000\000\000\000\000\000\000\123IDAT\170\001\001\110\000\267\377' >"$1"
    printf "$(dots "$2" "$3")" >>"$1"
    printf '\000\000\000\000\000\000\000\000\000\000\000\000IEND\000\000\000\000' >>"$1"
}
png "$T/left.png" 145 65
png "$T/right.png" 65 145
$FV predict "$T/one" "$T/left.png" >"$T/stdout" 2>"$T/stderr"
if [ $? != 6 ]; then # 6: built without stb_image
    gives 0 $FV predict "$T/one" "$T/left.png" "$T/right.png"
    [ "$(awk '{ printf "%s", $2 }' "$T/stdout")" = 01 ] && ok || bad "predictions: $(cat "$T/stdout")"
    gives 0 $FV predict "$T/one" "$T/right.png" --json
    grep -q '"class":"1","probability":[01]\.[0-9]*,"top5":\[{' "$T/stdout" && ok || bad "JSON prediction: $(cat "$T/stdout")"
    [ "$(grep -c '"final":true}$' "$T/stdout")" = 1 ] && gives 0 $FV predict "$T/one" "$T/left.png" "$T/right.png" --json
    [ "$(wc -l <"$T/stdout")" = 2 ] && [ "$(grep -n '"final":true' "$T/stdout" | cut -d: -f1)" = 2 ] && ok || bad "the last prediction is not final: $(cat "$T/stdout")"
    head -c 60 "$T/left.png" >"$T/cut.png"
    gives 3 $FV predict "$T/one" "$T/cut.png"
    grep -q 'cut.png: .*damaged or cut short$' "$T/stderr" && ok || bad "a PNG that is cut: $(cat "$T/stderr")"
    gives 3 $FV predict "$T/one" "$T/one/config.json"
    printf '\211PNG\r\n\032\n\000\000\000\015IHDR\000\000\116\040\000\000\116\040\010\000\000\000\000\000\000\000\000' >"$T/forged.png" # 20000x20000
    gives 3 $FV predict "$T/one" "$T/forged.png"
    grep -q 'cannot be in' "$T/stderr" && ok || bad "a forged size is not said: $(cat "$T/stderr")"
    gives 4 $FV predict "$T/one" "$T/nothing.png"
    # folders of classes: which is which is told by their names, though a split lacks one
    mkdir -p "$T/folders/train/0" "$T/folders/train/1" "$T/folders/test/1"
    cp "$T/left.png" "$T/folders/train/0" && cp "$T/right.png" "$T/folders/train/1" && cp "$T/right.png" "$T/folders/test/1"
    gives 0 $FV eval "$T/one" --data "$T/folders" --json
    grep -q '"top1":100' "$T/stdout" && ok || bad "a test split without the first class: $(cat "$T/stdout")"
    unknown() { # unknown NAME WORDS: no run over these folders; the sentence says why
        gives 2 $FV eval "$T/one" --data "$T/folders"
        grep -q "$2" "$T/stderr" && ok || bad "$1: $(cat "$T/stderr")"
    }
    mv "$T/folders/train/0" "$T/folders/train/zero"
    unknown 'a class of training that the run has not' 'the class "zero" is none of the 2'
    mv "$T/folders/train/zero" "$T/folders/train/0"
    mv "$T/folders/test/1" "$T/folders/test/one"
    unknown 'a class of the test that the run has not' 'the class "one" is none of the 2'
    gives 2 $FV train image --data "$T/folders" --out "$T/x" $small --variant base --batch 1
    grep -q 'the class "one" is none of the 2' "$T/stderr" && ok || bad "a class without training: $(cat "$T/stderr")"
    mv "$T/folders/test/one" "$T/folders/test/$(awk 'BEGIN { for (i = 0; i < 128; i++) printf "x" }')"
    unknown 'a name of 128 bytes' '127 bytes at most'
    rm -r "$T/folders/test" && mv "$T/folders/train/1" "$T/folders/train/$(printf 'caf\351')" && cp -r "$T/folders/train" "$T/folders/test"
    gives 2 $FV train image --data "$T/folders" --out "$T/x" $small --variant base --batch 1
    grep -q 'is not UTF-8' "$T/stderr" && [ ! -e "$T/x" ] && ok || bad "a run that could not be read again is trained: $(cat "$T/stderr")"
    # the first or last N of class folders are of all classes: where they are trained on, held out, or measured
    for split in train test; do for n in 1 2 3 4 5 6 7 8; do
        mkdir -p "$T/sorted/$split/left" "$T/sorted/$split/right"
        png "$T/sorted/$split/left/$n.png" $((140 + n)) $((60 + n)) && png "$T/sorted/$split/right/$n.png" $((60 + n)) $((140 + n))
    done; done
    sorted() { # sorted OUT OPTIONS...
        out=$T/sorted-$1
        shift
        # shellcheck disable=SC2086
        gives 0 $FV train image --data "$T/sorted" --out "$out" $small --variant base --batch 4 --epochs 40 --lr 0.003 --threads 1 --json --set shift=0 drop_rate=0 drop_path_rate=0 "$@"
    }
    sorted limit --limit 8
    grep -q '"top1":100' "$T/stdout" && ok || bad "half of the training pictures: $(cat "$T/stdout")"
    sorted holdout --set holdout=8
    grep -q '"top1":100.*"auc":100' "$T/stdout" && ok || bad "half held out: $(cat "$T/stdout")"
    gives 0 $FV eval "$T/sorted-limit" --limit 8 --json
    grep -q '"auc":[0-9]' "$T/stdout" && ok || bad "half of the test pictures: $(cat "$T/stdout")"
    # other splits: in this val/ the classes' names are exchanged, as they are in train/ of other data
    mkdir "$T/sorted/val" && cp -r "$T/sorted/train/left" "$T/sorted/val/right" && cp -r "$T/sorted/train/right" "$T/sorted/val/left"
    splits() { # splits DATA TRAIN VAL TEST: top-1 in percent
        for of in train/$2 val/$3 test/$4; do
            gives 0 $FV eval "$T/sorted-limit" --data "$1" --split "${of%/*}" --json
            [ "${of%/*}" = test ] || grep -q "\"split\":\"${of%/*}\"" "$T/stdout" && grep -q "\"top1\":${of#*/}[,.]" "$T/stdout" && ok || bad "$of % of $1: $(cat "$T/stdout")"
        done
    }
    splits "$T/sorted" 100 0 100
    mkdir "$T/exchanged" && cp -r "$T/sorted/val" "$T/exchanged/train" && cp -r "$T/sorted/test" "$T/exchanged/val" && cp -r "$T/sorted/test" "$T/exchanged/test"
    splits "$T/exchanged" 0 100 100
    gives 2 $FV eval "$T/one" --split val
    grep -q 'IDX files have no split val' "$T/stderr" && ok || bad "val of IDX files: $(cat "$T/stderr")"
    gives 2 $FV eval "$T/one" --split other
    gives 2 $FV eval "$T/one" --split val --corrupt all
    rm -r "$T/sorted/val"
    gives 2 $FV eval "$T/sorted-limit" --split val
    grep -q 'no val/ beside it' "$T/stderr" && ok || bad "val that is not there: $(cat "$T/stderr")"
    # of the training pictures a test wants the classes alone
    mv "$T/sorted/train/left/1.png" "$T/kept.png" && echo rubbish >"$T/sorted/train/left/1.png"
    gives 0 $FV eval "$T/sorted-limit" --json
    gives 0 $FV predict "$T/sorted-limit" --items 0-3 --png "$T/sorted.png"
    gives 3 $FV eval "$T/sorted-limit" --split train
    mv "$T/kept.png" "$T/sorted/train/left/1.png"
    # a run that names no classes takes the folders in their order, if they are as many as it knows
    cp -r "$T/sorted-limit" "$T/nameless" && sed -i 's/,"class_names":\[[^]]*\]//; s/"class_names":\[[^]]*\],//' "$T/nameless/config.json"
    gives 0 $FV eval "$T/nameless" --json
    grep -q '"top1":100' "$T/stdout" && ok || bad "without names: $(cat "$T/stdout")"
    cp -r "$T/sorted" "$T/fewer" && rm -r "$T/fewer/train/left" "$T/fewer/test/left"
    gives 2 $FV eval "$T/nameless" --data "$T/fewer"
    grep -q '1 classes, the run has 2' "$T/stderr" && ok || bad "fewer folders than classes: $(cat "$T/stderr")"
    # what is missing is named
    lacks() { # lacks STATUS WORDS
        # shellcheck disable=SC2086
        gives "$1" $FV train image --data "$T/sorted" --out "$T/x" $small --variant base --batch 4
        grep -q "$2" "$T/stderr" && [ ! -e "$T/x" ] && ok || bad "without $2: $(cat "$T/stderr")"
    }
    mkdir "$T/sorted/train/none"
    lacks 4 'train/none: no PNG or JPEG'
    rmdir "$T/sorted/train/none" && mv "$T/sorted/test" "$T/sorted/other"
    lacks 4 'neither test/ nor val/'
fi
# the limit of the default preset is said where it cuts a user's own data, and only there
mkdir "$T/many"
{ printf "\000\000\010\003$(be32 30001)$(be32 8)$(be32 8)" && head -c $((30001 * 64)) /dev/zero; } >"$T/many/train-images-idx3-ubyte"
{ printf "\000\000\010\001$(be32 30001)" && head -c 30001 /dev/zero | tr '\000' '\001'; } >"$T/many/train-labels-idx1-ubyte"
cp "$D"/t10k* "$T/many"
cut() { # cut NAME WORDS OPTIONS...: what is said, "" for nothing
    name=$1 words=$2
    shift 2
    rm -rf "$T/cut-data"
    gives 0 $FV train image --data "$T/many" --out "$T/cut-data" --variant base --set img_size=8 patch_size=4 embed_dim=16 depth=1 num_heads=2 --batch 5000 --epochs 1 --threads 1 --lr 0 "$@"
    if [ "$words" ]; then grep -q "^fv: .*$words" "$T/stderr"; else [ ! -s "$T/stderr" ]; fi && ok || bad "$name: $(cat "$T/stderr")"
}
cut 'the default preset' '30000 of 30001 pictures; --limit 0 takes all'
cut 'a limit of the user' '' --limit 10000
cut 'all' '' --limit 0
cut 'a preset that is named' '' --preset demo-image
gives 2 $FV predict "$T/one"
# names in classes.txt: a line each, no two alike
mkdir "$T/named" && cp "$D"/* "$T/named"
named() { # named STATUS WORDS LINES: the run that is trained, or what is said of its names
    printf "$3" >"$T/named/classes.txt"
    rm -rf "$T/names"
    gives "$1" $FV train image --data "$T/named" --out "$T/names" $small --variant base --batch 8 --epochs 0.1
    cat "$T/names/config.json" 2>/dev/null | grep -q "$2" "$T/stderr" - && ok || bad "classes.txt, $2: $(cat "$T/stderr")"
}
named 0 '"class_names":\["left","right \\"half\\""\]' 'left\r\nright "half"\n'
named 0 '"class_names":\["left","right"\]' 'left\nright\n\n\n'
named 2 '1 names, and the labels are of 2 classes' 'left\n'
named 2 '3 names, and the labels are of 2 classes' 'left\nright\nmiddle\n'
# Fashion-MNIST's names are for a folder of that name, and for both splits though the test lacks a class
tens() { # tens FOLDER: ten classes in training, nine in the test
    mkdir -p "$T/$1" && cp "$D"/* "$T/$1"
    { printf "\000\000\010\001$(be32 96)" && awk 'BEGIN { for (i = 0; i < 96; i++) printf "%c", i % 10 + 48 }' | tr 0-9 '\000-\011'; } >"$T/$1/train-labels-idx1-ubyte"
    { printf "\000\000\010\001$(be32 40)" && awk 'BEGIN { for (i = 0; i < 40; i++) printf "%c", i % 9 + 48 }' | tr 0-9 '\000-\011'; } >"$T/$1/t10k-labels-idx1-ubyte"
    # shellcheck disable=SC2086
    gives 0 $FV train image --data "$T/$1" --out "$T/tens-$2" $small --variant base --batch 8 --epochs 0.1
    grep -q "\"class_names\":\[\"$3\",\"" "$T/tens-$2/config.json" && ok || bad "class names of $1: $(cat "$T/tens-$2/config.json")"
}
tens fashion-mnist own T-shirt/top
tens my-old-fashioned-digits other 0
tens fashion-mnist/mine inside 0
named 2 'two classes are named "left"' 'left\nleft\n'
named 2 '127 bytes at most' "$(awk 'BEGIN { for (i = 0; i < 128; i++) printf "x" }')\nright\n"

# ---- bench step: the fields that are promised ----
gives 0 $FV bench step --size tiny28 --frozen smollm2-135m --batch 1 --steps 1 --threads 1 --json
for key in best_s median_s images_per_s peak_rss_mb gflop; do grep -q "\"$key\":[0-9]" "$T/stdout" && ok || bad "bench step has no $key"; done
gives 2 $FV bench step --size huge

# ---- killed at many instants, it goes on; the bytes and the log are an uninterrupted run's ----
tries=0 kills=0
until [ -f "$T/killed/model.safetensors" ] || [ $tries = 40 ]; do
    tries=$((tries + 1))
    wait=$(awk -v s=$tries 'BEGIN { srand(s); printf "%.3f", 0.01 + 0.05 * s * rand() }')
    # shellcheck disable=SC2086
    $FV train image --data "$D" --out "$T/killed" $usual --resume --save-every 2 --threads $((tries % 3 + 1)) >/dev/null 2>"$T/stderr" &
    pid=$!
    sleep "$wait"
    kill -9 $pid 2>/dev/null && kills=$((kills + 1))
    wait $pid 2>/dev/null
done
gives 0 train "$T/killed" --resume --save-every 2
[ $kills -gt 0 ] && ok || bad "nothing was killed"
same "$T/one/model.safetensors" "$T/killed/model.safetensors"
same "$T/one/log.jsonl" "$T/killed/log.jsonl"

# ---- SIGINT: a checkpoint and 130 ----
# shellcheck disable=SC2086
$FV train image --data "$D" --out "$T/int" $usual --epochs 4000 >/dev/null 2>"$T/stderr" &
pid=$!
sleep 0.7
kill -TERM $pid
wait $pid
[ $? = 130 ] && ok || bad "an interrupted run did not end with 130"
[ -s "$T/int/latest" ] && ok || bad "an interrupted run left no checkpoint"

grep -q "^fv: interrupted; $T/int can be resumed" "$T/stderr" && ok || bad "an interrupted run says: $(cat "$T/stderr")"
# before there is one: while the data are looked for, and when the folder is made
for moment in data-int mkdir-int; do
    # shellcheck disable=SC2086
    gives 130 early $moment $FV train image --data "$D" --out "$T/early" $usual --resume
    grep -q "before the first checkpoint; --resume begins $T/early anew" "$T/stderr" && ok || bad "$moment: $(cat "$T/stderr")"
done
# shellcheck disable=SC2086
gives 130 early data-int $FV train image --data "$D" --out "$T/int" $usual --epochs 4000 --resume
grep -q "$T/int can be resumed" "$T/stderr" && ok || bad "with a checkpoint: $(cat "$T/stderr")"
gives 0 train "$T/early" --resume
for how in "" --resume; do
    gives 4 train "$T/nowhere/deep" $how
    grep -q 'nowhere/deep: cannot be made: No such file or directory' "$T/stderr" && ok || bad "the reason is not said: $(cat "$T/stderr")"
done

# ---- --out that exists, --resume of a finished run ----
gives 2 train "$T/one"
mkdir "$T/mine" && echo keep >"$T/mine/file"
gives 2 train "$T/mine"
[ "$(ls "$T/mine")" = file ] && ok || bad "a folder that existed was changed"
gives 0 train "$T/one" --resume
grep -q finished "$T/stdout" && ok || bad "a finished run does not say so"
gives 0 train "$T/one" --threads 1 --json --resume 
same "$T/last" "$T/stdout"
cp -r "$T/one" "$T/torn" && printf '{"top1":' >"$T/torn/result.json"
gives 3 train "$T/torn" --json --resume
for odd in '{}' '[1]'; do
    echo "$odd" >"$T/torn/result.json"
    gives 3 train "$T/torn" --json --resume
done

# ---- wrong use: 2 ----
gives 2 $FV nonsense
gives 2 $FV train
gives 2 $FV train image
gives 2 $FV train elephants --data "$D" --out "$T/x"
gives 2 train "$T/x" --frobnicate
gives 2 train "$T/x" --preset enormous
gives 2 train "$T/x" --set nonsense=1
gives 2 train "$T/x" --set nonsense
gives 2 train "$T/x" --set patch_size=5
gives 2 train "$T/x" --set arch=resnet
gives 2 train "$T/x" --set img_size=28
gives 2 train "$T/x" --set crop_scale=2
gives 2 train "$T/x" --set padding=1 shift=1
gives 2 train "$T/x" extra
for value in optimizer=adam momentum=x beta1=1 beta2=-0.1 eps=x weight_decay=-1 clip_grad=x ema=1 label_smoothing=2 grad_accum=1.5 warmup_epochs=-1 \
    min_lr=-1 fraction=0 limit=-1 holdout=x eval_every=-1 precision=f16 mixup=x norm_eps=-1 num_classes=3 num_classes=x depth=-1 \
    mlp_ratio=0 frozen.rope=x frozen.nothing=1 'frozen.layers=[1'; do
    gives 2 train "$T/x" --set "$value"
done
gives 2 train "$T/x" --seed -1
gives 2 train "$T/x" --seed 1.5
gives 2 train "$T/x" --lr x
gives 2 train "$T/x" --lr nan
gives 2 train "$T/x" --epochs -1
gives 2 train "$T/x" --batch 1.5
gives 2 train "$T/x" --limit x
gives 2 train "$T/x" --layers 1,
gives 2 train "$T/x" --save-every 0
gives 2 train "$T/x" --device tpu
gives 2 train "$T/x" --device cudaX
gives 6 train "$T/x" --device cuda
gives 6 train "$T/x" --device cuda:1
gives 2 train "$T/x" --threads 0
gives 2 train "$T/x" --variant fancy
gives 2 train "$T/x" --variant llm
gives 2 train "$T/x" --batch 1000
gives 2 $FV eval
[ -e "$T/x" ] && bad "a refused command left its folder" || ok
gives 0 $FV --help
grep -q 'an option that comes twice the last one counts' "$T/stdout" && ok || bad 'fv --help does not say which of two counts'
gives 0 train "$T/twice" --lr 0.1 --seed=1 --set drop_rate=0.3 --set drop_rate=0.25 --lr=0.02 --seed 2 --epochs 1
grep -q '"lr":0.02,' "$T/twice/config.json" && grep -q '"seed":2,' "$T/twice/config.json" && grep -q '"drop_rate":0.25,' "$T/twice/config.json" && ok ||
    bad "not the last of two: $(cat "$T/twice/config.json")"
gives 0 $FV --version
for command in train eval predict compare trace inspect extract tokenize bench; do gives 0 $FV $command --help && gives 0 $FV $command --version; done
for command in --help --version; do
    $FV $command >/dev/full 2>"$T/stderr"
    [ $? = 4 ] && ok || bad "$command with a full disk did not end with 4"
done

# ---- weights to start from: they must fit ----
gives 0 train "$T/started" --init "$T/one/model.safetensors" --epochs 1
gives 4 train "$T/x" --init "$T/nothing"
gives 3 train "$T/x" --init "$T/one/config.json"
gives 2 train "$T/x" --init "$T/one/model.safetensors" --set embed_dim=32
gives 2 train "$T/x" --init tests/golden/block_llama_gqa.safetensors
[ -e "$T/x" ] && bad "a refused start left its folder" || ok
gives 2 $FV extract tests/golden/block_llama_gqa.safetensors --layers 0 --out "$T/left.png"
gives 2 $FV extract tests/golden/block_llama_gqa.safetensors --layers 7 --out "$T/x"
gives 4 $FV trace tests/golden/block_llama_gqa.safetensors --out "$T/nothing/x"
# what extract copies: the block's tensors and the final norm, of every other one none, and the settings; to the bit, or as bf16
elsewhere=tests/golden/block_opt_gelu_elsewhere_numbered.safetensors
tensors() { $FV inspect "$1" | awk -v as="${2:-F32}" '/ bytes$/ && NF == 5 { if ($2 == "F32" && as != "F32") { $2 = as; $4 /= 2 } print $1, $2, $3, $4 }' | sort; }
gives 0 $FV extract $elsewhere --layers 0 --out "$T/block"
tensors $elsewhere | grep 'layers\.0\.\|decoder\.final_layer_norm' >"$T/wanted"
[ -s "$T/wanted" ] && tensors "$T/block" | cmp -s - "$T/wanted" && ok || bad "extract: $($FV inspect "$T/block")"
$FV inspect "$T/block" | grep -q '^  config = {.*hidden_size' && ok || bad 'extract leaves the settings out'
gives 0 $FV extract $elsewhere --layers 0 --out "$T/narrow" --dtype bf16
tensors $elsewhere BF16 | grep 'layers\.0\.\|decoder\.final_layer_norm' >"$T/wanted"
tensors "$T/narrow" | cmp -s - "$T/wanted" && ok || bad "extract --dtype bf16: $($FV inspect "$T/narrow")"
gives 0 $FV extract "$T/narrow" --layers 0 --out "$T/narrow-again" # what is bf16 already is copied as it is
gives 0 $FV extract "$T/narrow" --layers 0 --out "$T/narrow-anew" --dtype bf16
same "$T/narrow-again" "$T/narrow-anew"
gives 0 $FV extract tests/golden/block_three_numbered.safetensors --layers 5,1 --out "$T/two-blocks"
[ "$($FV inspect "$T/two-blocks" | grep -o 'layers\.[0-9]*' | sort -u | tr '\n' ' ')" = 'layers.1 layers.5 ' ] && ok || bad "two blocks: $($FV inspect "$T/two-blocks")"
# what could not be used again is not written: a block that lacks a tensor, settings that are broken
three=tests/golden/block_three_numbered.safetensors
LC_ALL=C sed 's/layers\.3\.mlp\.gate_proj/layers.3.mlp.gate_prox/' $three >"$T/damaged.safetensors"
[ "$(wc -c <"$T/damaged.safetensors")" = "$(wc -c <$three)" ] && ! cmp -s "$T/damaged.safetensors" $three || bad 'the name was not changed'
gives 2 $FV extract "$T/damaged.safetensors" --layers 1,3 --out "$T/x"
grep -q 'block 3 is not whole: there is no .*layers.3.mlp.gate_proj' "$T/stderr" && [ ! -e "$T/x" ] && ok || bad "a block without gate_proj: $(cat "$T/stderr")"
gives 0 $FV extract "$T/damaged.safetensors" --layers 1,5 --out "$T/undamaged"
mkdir "$T/hf" && header='{"layers.0.mlp.down_proj.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}'
{ printf "\\$(printf '%03o' ${#header})\\0\\0\\0\\0\\0\\0\\0" && printf '%s\0\0\0\0' "$header"; } >"$T/hf/model.safetensors"
echo '{not json' >"$T/hf/config.json"
gives 3 $FV extract "$T/hf/model.safetensors" --layers 0 --out "$T/x"
grep -q 'hf/config.json' "$T/stderr" && [ ! -e "$T/x" ] && ok || bad "broken settings: $(cat "$T/stderr")"
echo '{"model_type":"llama"}' >"$T/hf/config.json"
gives 0 $FV extract "$T/hf/model.safetensors" --layers 0 --out "$T/unbroken"
llm=${FROZENVIS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/frozenvis}/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
if [ -e "$llm" ]; then # the block computes what PyTorch does with the whole model
    gives 0 $FV extract "$llm" --layers 29 --out "$T/from-gguf"
    gives 0 $FV trace tests/golden/block_smollm2_layer29.safetensors --check --llm "$T/from-gguf"
else
    skip extract 'the language model is not in the cache'
fi
# a run asks for the very block that it was trained with
cp tests/golden/block_llama_gqa.safetensors "$T/llm"
block="--variant llm --llm $T/llm --epochs 1 --threads 1 --set frozen.num_attention_heads=6 frozen.num_key_value_heads=2"
# shellcheck disable=SC2086
gives 0 train "$T/with" $block
gives 0 $FV eval "$T/with"
cp "$T/with/config.json" "$T/before"
at=$($FV inspect "$T/llm" --json | sed -n 's/.*mlp.down_proj.*"offset":\([0-9]*\)}$/\1/p')
printf '\101' | dd of="$T/llm" bs=1 seek="$at" conv=notrunc 2>/dev/null
gives 2 $FV eval "$T/with"
grep -q 'SHA-256 differs' "$T/stderr" && ok || bad "another block: $(cat "$T/stderr")"
rm "$T/with/result.json"
# shellcheck disable=SC2086
gives 2 train "$T/with" $block --resume
grep -q "SHA-256 of the language model's tensors was" "$T/stderr" && cmp -s "$T/with/config.json" "$T/before" && ok || bad "resumed with another block: $(cat "$T/stderr")"
# the sums of inspect are those of its lines; in JSON a line is a tensor
$FV inspect $elsewhere | awk '/ bytes$/ && NF == 5 { n++; split(substr($3, 2), d, "[],]"); e = 1; for (i = 1; i in d && d[i] != ""; i++) e *= d[i]; elements += e; bytes += $4
    size = $2 == "F32" ? 4 : $2 == "BF16" ? 2 : $2 == "BOOL" ? 1 : 0; if ($4 != size * e) bad = 1 }
    / elements, / { said = $1 " " $3 " " $5 } END { exit bad || said != n " " elements " " bytes }' && ok || bad "inspect: $($FV inspect $elsewhere | tail -n 1)"
[ "$($FV inspect $elsewhere --json | grep -c '^{"name":".*","dtype":"[A-Z0-9]*","shape":\[[0-9,]*\],"bytes":[0-9]*,"offset":[0-9]*}$')" = "$(tensors $elsewhere | wc -l)" ] && ok || bad 'inspect --json'
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n' >"$T/pointer.gguf"
for command in "inspect" "trace --check" "extract --layers 0 --out $T/x" "tokenize --llm"; do gives 3 $FV $command "$T/pointer.gguf"; done

# ---- broken files: 3, missing ones: 4 ----
gives 4 $FV eval "$T/nothing"
gives 4 $FV inspect "$T/nothing"
gives 4 $FV train image --data "$T/nothing" --out "$T/x" $small --variant base
gives 4 train "$T/x" --config "$T/nothing"
echo '{"model": {' >"$T/broken.json"
gives 3 train "$T/x" --config "$T/broken.json"
cp -r "$D" "$T/broken"
good=$D D=$T/broken
head -c 500 "$good/train-images-idx3-ubyte" >"$D/train-images-idx3-ubyte"
gives 3 train "$T/x"
{ cat "$good/train-images-idx3-ubyte" && printf x; } >"$D/train-images-idx3-ubyte"
gives 3 train "$T/x"
cp "$good/train-images-idx3-ubyte" "$D/"
cp "$good/t10k-labels-idx1-ubyte" "$D/train-labels-idx1-ubyte"
gives 3 train "$T/x"
: >"$D/train-labels-idx1-ubyte"
gives 3 train "$T/x"
D=$good
cp -r "$T/one" "$T/cut"
head -c 3000 "$T/one/model.safetensors" >"$T/cut/model.safetensors"
gives 3 $FV eval "$T/cut"

# ---- a config in place of a preset: what it does not say is the library's; over --preset, the preset's; no stage is base ----
echo '{"img_size":8,"patch_size":4,"in_chans":1,"embed_dim":16,"depth":2,"num_heads":2,"frozen":null}' >"$T/bare.json"
gives 0 $FV train image --data "$D" --out "$T/bare" --config "$T/bare.json" --batch 8 --threads 1
grep -q '"arch":"vit"' "$T/bare/config.json" && ! grep -q 'hflip\|epochs\|limit\|clip_grad' "$T/bare/config.json" && ok || bad "a bare config: $(cat "$T/bare/config.json")"
gives 0 $FV train image --data "$D" --out "$T/again" --config "$T/bare/config.json" --threads 1
same "$T/bare/config.json" "$T/again/config.json"
same "$T/bare/model.safetensors" "$T/again/model.safetensors"
gives 0 $FV train image --data "$D" --out "$T/over" --config "$T/bare.json" --preset tiny28 --batch 8 --epochs 1 --threads 1
grep -q '"warmup_epochs":1[,}]' "$T/over/config.json" && grep -q '"img_size":8' "$T/over/config.json" && ok || bad "a config over a preset: $(cat "$T/over/config.json")"
stage='--set frozen.hidden_size=8'
gives 0 $FV train image --data "$D" --out "$T/linear" --config "$T/bare.json" --variant linear $stage --batch 8 --threads 1
# the variant by its name in the stage
for by in '--set frozen.variant=linear' "--config $T/inside.json"; do
    echo '{"img_size":8,"patch_size":4,"in_chans":1,"embed_dim":16,"depth":2,"num_heads":2,"frozen":{"variant":"linear"}}' >"$T/inside.json"
    rm -rf "$T/by-name"
    gives 0 $FV train image --data "$D" --out "$T/by-name" $small $by $stage --batch 8 --epochs 0.1 --threads 1
    grep -q '"train":{.*"variant":"linear"' "$T/by-name/config.json" && ok || bad "$by: $(cat "$T/by-name/config.json")"
done
# the blocks that are used are written down, though nobody names them, and looked at when the run is opened again
two_blocks="--llm tests/golden/image_llama_2layers_avgpool.safetensors --set frozen.hidden_size=48 frozen.num_attention_heads=3 frozen.intermediate_size=128"
gives 0 $FV train image --data "$D" --out "$T/blocks" $small $two_blocks --batch 8 --epochs 0.1 --threads 1
grep -q '"llm":{"path":"/.*image_llama_2layers_avgpool.safetensors","layers":\[1\],"sha256":"[0-9a-f]\{64\}"}' "$T/blocks/config.json" && ok || bad "the blocks are not written down: $(cat "$T/blocks/config.json")"
gives 0 $FV eval "$T/blocks" --threads 1
sed 's/"layers":\[1\]/"layers":[0]/' "$T/blocks/config.json" >"$T/said" && cp "$T/said" "$T/blocks/config.json"
gives 2 $FV eval "$T/blocks" --threads 1
grep -q 'the blocks are not those' "$T/stderr" && ok || bad "other blocks: $(cat "$T/stderr")"
echo '{"model":{"frozen":null},"train":{"variant":"llm"}}' >"$T/odd.json"
gives 2 $FV train image --data "$D" --out "$T/x" --config "$T/odd.json"
grep -q '"frozen": null' "$T/stderr" && ok || bad "a config at odds with itself: $(cat "$T/stderr")"
echo '{"model":{"frozen":3}}' >"$T/odd.json"
gives 2 $FV train image --data "$D" --out "$T/x" --config "$T/odd.json"

# ---- a loss that is not finite: 5, and the last good checkpoint stays ----
gives 5 train "$T/nan" --lr 1e30 --save-every 1
grep -q 'step [0-9]' "$T/stderr" && ok || bad "the step is not named: $(cat "$T/stderr")"
# the same of a gradient; its step changes and saves nothing, so that what is there is still a model
diverge='--set optimizer=sgd clip_grad=1 warmup_epochs=0 drop_rate=0 drop_path_rate=0 shift=0 depth=1 --seed 1 --lr 1e3'
gives 5 train "$T/inf" $diverge --epochs 3 --save-every 1 --threads 1
grep -q 'is not finite at step [0-9]' "$T/stderr" && ok || bad "the step is not named: $(cat "$T/stderr")"
awk '/nan|inf/ { bad = 1 } !/^\{"step":[0-9]+,.*\}$/ { bad = 1 } END { exit bad || !NR }' "$T/inf/log.jsonl" && ok || bad "the log: $(tail -n 2 "$T/inf/log.jsonl")"
last=$(cat "$T/inf/latest")
[ "$last" = "step-$(wc -l <"$T/inf/log.jsonl")" ] && grep -q 'the last checkpoint is kept' "$T/stderr" && ok || bad "the checkpoint is $last: $(cat "$T/stderr")"
numbers() { od -An -v -tf4 -j $((8 + $(od -An -tu4 -N 4 "$1"))) "$1"; } # of a safetensors file
numbers "$T/inf/checkpoints/$last/model.safetensors" >"$T/numbers"
[ "$(wc -l <"$T/numbers")" -gt 100 ] && ! grep -q 'nan\|inf' "$T/numbers" && ok || bad "the checkpoint that is kept has $(grep -c 'nan\|inf' "$T/numbers") lines of no numbers"
gives 5 train "$T/inf2" $diverge --epochs 3 --threads 1
grep -q 'at step [0-9]*; there is no checkpoint yet' "$T/stderr" && [ ! -e "$T/inf2/latest" ] && ok || bad "without a checkpoint: $(cat "$T/stderr")"
steps=$(awk -v n="$(($(wc -l <"$T/inf/log.jsonl") + 1))" 'BEGIN { print n / 12 }') # the last step's update is made, and what comes of it measured
gives 5 train "$T/inf3" $diverge --epochs "$steps" --threads 1
grep -q 'not finite at step [0-9]' "$T/stderr" && ok || bad "where the end is not finite, the step is not named: $(cat "$T/stderr")"
report
