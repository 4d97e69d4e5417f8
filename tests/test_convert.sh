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
    python3 tests/checkpoints.py case "$g" "$T/$n" "$T/$n.case"
    expect "$n: computes the golden results" "$FV" trace "$T/$n.case" --out "$T/$n.out" --check
    [ "$t" = none ] && return
    expect "$n: eval" "$FV" eval "$T/$n" --json
    grep -q '"final":true.*"top1":' "$T/said" && ok || bad "$n: eval prints no top1: $(cat "$T/said")"
}
convert image image_llama num_heads=3 frozen.num_attention_heads=4
convert points point_llama num_heads=3 frozen.num_attention_heads=4 num_group=8 group_size=6 num_points=96
convert none point_llama_only_mlp num_heads=2 frozen.num_attention_heads=3 num_group=6 group_size=5 num_points=64 frozen.only_mlp=true
convert none vivit_llama dim_head=12 frozen.num_attention_heads=3 image_size=16 frames=6 channels=3
convert none vivit_cls_outside_nn dim_head=20 frozen.num_attention_heads=3 image_size=12 frames=6
convert video video_llama num_heads=3 frozen.num_attention_heads=4 img_size=16 num_frames=4
convert volumes vit3d_llama_inside dim_head=16 frozen.num_attention_heads=4 image_size=16 frames=8 frozen.residual=inside

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
refused 2 'not key=value' "$T/image_llama.pth" --set num_heads
python3 tools/convert_checkpoint.py "$T/image_llama.pth" --out "$T/image_llama" >/dev/null 2>&1
[ $? = 2 ] && ok || bad 'an --out that exists is refused'
report
