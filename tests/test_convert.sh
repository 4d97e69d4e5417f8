#!/bin/sh
# Checkpoints of the released PyTorch code: .pth files with the released names and shapes become runs; the config that is read off them and the weights give the golden
# results, and fv eval measures them.
. tests/harness.sh
FV=${FV:-build/fv}
command -v python3 >/dev/null || { skip convert 'python3 is not installed'; report; exit; }

convert() { # convert TASK CASE key=value...
    t=$1 g=tests/golden/$2.safetensors n=$2
    shift 2
    expect "$n: a .pth is made" python3 tests/checkpoints.py checkpoint "$g" "$T/$n.pth"
    [ -e "$T/data-$t" ] || [ "$t" = none ] || python3 tests/checkpoints.py data "$t" "$T/data-$t"
    expect "$n: converts" python3 tools/convert_checkpoint.py "$T/$n.pth" --out "$T/$n" --data "$T/data-$t" --set "$@" || return
    expect "$n: inspect reads it" "$FV" inspect "$T/$n/model.safetensors"
    ! grep -q 'num_batches_tracked\|freqs' "$T/said" || bad "$n: counters and angles are no weights"
    python3 tests/checkpoints.py case "$g" "$T/$n" "$T/$n.case"
    expect "$n: computes the golden results" "$FV" trace "$T/$n.case" --out "$T/$n.out" --check
    [ "$t" = none ] && return
    expect "$n: eval" "$FV" eval "$T/$n" --json
    grep -q '"final":true.*"top1":' "$T/said" && ok || bad "$n: eval prints no top1: $(cat "$T/said")"
}
convert image image_llama num_heads=3 frozen.num_attention_heads=4
convert points point_llama num_heads=3 frozen.num_attention_heads=4 num_group=8 group_size=6 num_points=96
convert none point_llama_only_mlp num_heads=2 frozen.num_attention_heads=3 num_group=6 group_size=5 num_points=64 frozen.only_mlp=true
convert volumes-6-16 vivit_llama dim_head=12 frozen.num_attention_heads=3 image_size=16 frames=6 frozen.residual=none
convert volumes-6-12 vivit_cls_outside_nn dim_head=20 frozen.num_attention_heads=3 image_size=12 frames=6 frozen.residual=outside_nn
convert video video_llama num_heads=3 frozen.num_attention_heads=4 img_size=16 num_frames=4
convert volumes vit3d_llama_inside dim_head=16 frozen.num_attention_heads=4 image_size=16 frames=8 frozen.residual=inside

# which block of the LLM it was; 16-bit numbers stay as they are
python3 tests/checkpoints.py checkpoint tests/golden/point_llama.safetensors "$T/31.pth" layer31
expect 'block 31: converts' python3 tools/convert_checkpoint.py "$T/31.pth" --out "$T/31" --set num_heads=3 frozen.num_attention_heads=4 num_group=8 group_size=6 num_points=96
grep -q '"layers": \[31\]' "$T/31/config.json" && ok || bad "block 31: $(cat "$T/31/config.json")"
python3 tests/checkpoints.py case tests/golden/point_llama.safetensors "$T/31" "$T/31.case"
expect 'block 31: computes the golden results' "$FV" trace "$T/31.case" --out "$T/31.out" --check
python3 tests/checkpoints.py checkpoint tests/golden/point_small.safetensors "$T/half.pth" bf16
expect 'bf16: converts' python3 tools/convert_checkpoint.py "$T/half.pth" --out "$T/half" --set num_heads=1 num_group=4 group_size=4 num_points=8
expect 'bf16: inspect reads it' "$FV" inspect "$T/half/model.safetensors"
grep -q -i 'bf16' "$T/said" && ! grep -q -i ' f16\| f32' "$T/said" && ok || bad "bf16: $(head -n 3 "$T/said")"
# what the names do not tell takes the released code's value
values() { # values CASE TEXT...: each stands in the config that is made without --set
    n=$1
    shift
    python3 tools/convert_checkpoint.py "$T/$n.pth" --out "$T/plain-$n" >/dev/null 2>"$T/said"
    for text; do grep -q "$text" "$T/plain-$n/config.json" && ok || bad "$n: no $text in $(cat "$T/said" "$T/plain-$n/config.json")"; done
}
python3 tests/checkpoints.py checkpoint tests/golden/video_layerscale.safetensors "$T/video_layerscale.pth"
python3 tests/checkpoints.py checkpoint tests/golden/point_small.safetensors "$T/wide.pth" wide
values wide '"num_heads": 6'
python3 tests/checkpoints.py checkpoint tests/golden/video_after_block_both.safetensors "$T/one.pth"
values one '"tubelet_size": 1'
values point_llama '"encoder_width": 256' '"num_group": 64' '"group_size": 32' '"num_points": 1024' '"fit": 0' '"fps": 1' '"rms_norm_eps": 1e-06'
values video_llama '"img_size": 224' '"num_frames": 16' '"init_values": 0.0' '"qkv_bias": true'
values video_layerscale '"init_values": 0.1'

# what is refused, with one sentence and nothing left
refused() { # refused STATUS WHAT FILE OPTIONS...
    want=$1 what=$2
    shift 2
    python3 tools/convert_checkpoint.py "$@" --out "$T/none" >/dev/null 2>"$T/said"
    got=$?
    [ $got = "$want" ] && [ "$(wc -l <"$T/said")" = 1 ] && [ ! -e "$T/none" ] && ok || bad "$what: $got, not $want, and one sentence: $(cat "$T/said")"
}
head -c 3000 "$T/image_llama.pth" >"$T/cut.pth"
printf 'PK not a zip' >"$T/odd.pth"
printf 'text' >"$T/text.pth"
refused 3 'cut short' "$T/cut.pth"
refused 3 'not a zip' "$T/odd.pth"
refused 3 'text' "$T/text.pth"
refused 4 'missing' "$T/nowhere.pth"
refused 2 'a patch that does not fit' "$T/vit3d_llama_inside.pth" --set image_size=15
refused 2 'more patches than it has places for' "$T/vit3d_llama_inside.pth" --set image_size=32 frames=8
refused 2 'not key=value' "$T/image_llama.pth" --set num_heads
for fault in 3:past 3:negative 3:more 3:type 3:pickle 3:two 3:storage 2:list 2:none 2:names 2:missing 2:noblock; do
    python3 tests/checkpoints.py checkpoint tests/golden/point_llama.safetensors "$T/wrong.pth" ${fault#*:}
    refused ${fault%:*} "${fault#*:}" "$T/wrong.pth"
done
refused 2 'no residual mode' "$T/vit3d_llama_inside.pth" --set dim_head=16 frozen.num_attention_heads=4 image_size=16 frames=8
grep -q 'frozen.residual=' "$T/said" && ok || bad "no residual mode: $(cat "$T/said")"
refused 2 'a size that is a word' "$T/vit3d_llama_inside.pth" --set image_size=x
refused 2 'no channel a head' "$T/vit3d_llama_inside.pth" --set dim_head=0
# folders of classes are named in torchvision's order, and must be as many as the network's
sizes="--set num_heads=3 frozen.num_attention_heads=4 num_group=8 group_size=6 num_points=96"
cp -r "$T/data-points" "$T/numbered" && for split in train test; do for k in 0 1 2 3 4 5; do mv "$T/numbered/$split/c$k" "$T/numbered/$split/$((k * 3))"; done; done
# shellcheck disable=SC2086
expect 'named by folders' python3 tools/convert_checkpoint.py "$T/point_llama.pth" --out "$T/named" --data "$T/numbered" $sizes
grep -q '"class_names": \["0", "12", "15", "3", "6", "9"\]' "$T/named/config.json" && ok || bad "the names of folders: $(cat "$T/named/config.json")"
expect 'named by folders: eval' "$FV" eval "$T/named" --json
# shellcheck disable=SC2086
expect 'without data' python3 tools/convert_checkpoint.py "$T/point_llama.pth" --out "$T/nameless" $sizes train.fps=0
grep -q '"fps": 0' "$T/nameless/config.json" && ok || bad "train.fps=0: $(cat "$T/nameless/config.json")"
rm -r "$T"/numbered/*/15
# shellcheck disable=SC2086
refused 2 'another number of folders' "$T/point_llama.pth" --data "$T/numbered" $sizes
"$FV" eval "$T/nameless" --data "$T/numbered" >/dev/null 2>"$T/said"
[ $? = 2 ] && grep -q '5 classes, the run has 6' "$T/said" && ok || bad "another number of folders: $(cat "$T/said")"
python3 tools/convert_checkpoint.py "$T/image_llama.pth" --out "$T/image_llama" >/dev/null 2>&1
[ $? = 2 ] && ok || bad 'an --out that exists is refused'
report
