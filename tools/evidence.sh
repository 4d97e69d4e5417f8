#!/bin/sh
# evidence.sh [PART...] -- make evidence: does the LLM's block help, where, and why. Each part is a fv compare (or what looks into its runs) in a folder of
# its own under build/evidence (EVIDENCE=DIR: elsewhere); a part that is finished is only read again, a broken one goes on, so it can be stopped at
# any time. One run takes a minute or two, all parts about 5 hours of two cores with half-width AVX-512. A part begun with other options (other trials, say) is left as it
# is, with status 2: remove its folder. Ends with build/evidence/summary.md: the tables and the plots that tell most, each with its command, to be pasted into the README.
#
#   image      every variant, 5 seeds
#   layers     each of the LLM's 30 blocks, one at a time (the paper's figure 2)
#   few        base, llm, random and shuffled in the setting of `layers`
#   fraction   0.5 and 2 % of the training pictures; 5 and 10 % (fraction-more)
#   points video volumes motion vqa retrieval scene-qa   base, mlp, llm and random, 3 seeds
#   scenes     emoji on busy backgrounds: heat maps and mIoU; probes of gradients, tokens and attention
#   robust     the runs of `few` under corruptions
#
# But for layers and fraction-more each variant has the best of three learning rates, tried on a tenth of the training items that is held out. Of points and
# volumes that tenth is other views of parts that are trained on; their test is other parts.
#
# TOY=1 makes every part tiny, to see that it runs, without trials; its figures mean nothing.
cd "$(dirname "$0")/.." || exit 1
out=${EVIDENCE:-build/evidence}
fv=${FV:-build/fv}
toy=${TOY:+"--limit 128 --epochs 1 --batch 32 --set test_limit=200 --threads 1"}
mkdir -p "$out" || exit 4
say() { echo "evidence: $*" >&2; }

# compare PART TASK OPTIONS...: the run, and its command line in PART.command
compare() {
    part=$1 task=$2
    shift 2
    say "$part"
    case " $* " in *' --data '*) ;; *) set -- --data demo "$@" ;; esac
    llm=$(sh tools/fetch.sh smollm2) || exit $?
    echo "build/fv compare $task $* --out build/evidence/$part" | sed "s|$llm|\$(sh tools/fetch.sh smollm2)|; s|$out/|build/evidence/|g" >"$out/$part.command"
    # shellcheck disable=SC2086
    "$fv" compare "$task" "$@" $toy --out "$out/$part" --resume >"$out/$part.txt" || { status=$?; say "$part ended with status $status"; exit $status; }
    cat "$out/$part.txt"
}
seeds() { [ -n "$toy" ] && echo 2 || echo "$1"; }
# compare with the learning rate of each variant tuned
tuned() {
    [ -n "$toy" ] || set -- "$@" --tune 3
    compare "$@"
}

part_image() { tuned image image --preset demo-image --limit 10000 --variants base,linear,mlp,llm,random,shuffled,finetune,scratch --seeds "$(seeds 5)"; }
little='--preset demo-image --limit 4000 --epochs 3' # of `layers` and `few`
part_layers() {
    sweep=layer
    [ -n "$toy" ] && sweep=layer=0,15,29
    # shellcheck disable=SC2086
    compare layers image $little --sweep $sweep --seeds "$(seeds 3)"
}
part_few() { # part_few [--corrupt]
    # shellcheck disable=SC2086
    tuned few image $little --variants base,llm,random,shuffled --seeds "$(seeds 5)" "$@"
}
part_robust() { part_few --corrupt; }
part_fraction() {
    share="--preset demo-image --limit 60000 --epochs 8 --batch 32 --variants base,mlp,llm,random --seeds $(seeds 3)"
    # shellcheck disable=SC2086
    tuned fraction image $share --sweep fraction=0.005,0.02
    # shellcheck disable=SC2086
    compare fraction-more image $share --sweep fraction=0.05,0.1
}
parts3d() { sh tools/fetch.sh kicad-packages3d >/dev/null || exit $?; }
part_points() { parts3d; tuned points points --variants base,mlp,llm,random --seeds "$(seeds 3)" --epochs 5; }
part_video() { tuned video video --variants base,mlp,llm,random --seeds "$(seeds 3)" --epochs 5; }
part_volumes() { parts3d; tuned volumes volumes --variants base,mlp,llm,random --seeds "$(seeds 3)" --epochs 6; }
part_motion() { tuned motion motion --variants base,mlp,llm,random --seeds "$(seeds 3)" --epochs 10; }
part_vqa() { tuned vqa vqa --variants base,mlp,llm,random --seeds "$(seeds 3)" --limit 6000 --epochs 3; }
part_retrieval() { tuned retrieval retrieval --variants base,mlp,llm,random --seeds "$(seeds 3)" --epochs 4; }
part_scene_qa() { tuned scene-qa scene-qa --variants base,mlp,llm,random --seeds "$(seeds 3)" --epochs 2; }

part_scenes() {
    rm -rf "$out/scenes-data.part" "$out/heatmap.part" # of a part that was stopped: fv writes over nothing
    [ -d "$out/scenes-data" ] || { "$fv" heatmap --demo "$out/scenes-data.part" && mv "$out/scenes-data.part" "$out/scenes-data"; } || exit $?
    tuned scenes image --data "$out/scenes-data" --llm "$(sh tools/fetch.sh smollm2)" --preset emoji64 --epochs 8 --variants base,llm,random,shuffled --seeds "$(seeds 3)"
    test=$out/scenes-data/test${TOY:+/coin} masks=$out/scenes-data/masks
    [ -s "$out/heatmap.png" ] || "$fv" heatmap "$out/scenes/llm-0" "$test" --beside "$out/scenes/base-0" --masks "$masks" --rows 5 --png "$out/heatmap.png" || exit $?
    if [ ! -s "$out/miou.jsonl" ]; then
        for run in "$out"/scenes/*-[0-9]; do
            "$fv" heatmap "$run" "$test" --masks "$masks" --rows 1 --png "$out/heatmap.part" --json && rm "$out/heatmap.part" || exit $?
        done >"$out/miou.part" && mv "$out/miou.part" "$out/miou.jsonl"
    fi
    [ -s "$out/probe.txt" ] || { rm -f "$out/probe.svg"
        "$fv" probe "$out"/scenes/*-[0-9] --items "$([ -n "$toy" ] && echo 16 || echo 128)" --pictures "$test" --masks "$masks" --svg "$out/probe.svg" >"$out/probe.part" &&
        mv "$out/probe.part" "$out/probe.txt"; } || exit $?
}

# ---- the summary ----
# miou.jsonl -> a table: places by variants, mean and deviation over seeds
miou_table() {
    awk '{
        match($0, /"run":"[^"]*"/); run = substr($0, RSTART + 7, RLENGTH - 8); sub(/.*\//, "", run); sub(/-[0-9]*$/, "", run)
        rest = substr($0, index($0, "\"miou\":{") + 8)
        while (match(rest, /"[^"]*":\{[^}]*\}/)) {
            part = substr(rest, RSTART, RLENGTH); rest = substr(rest, RSTART + RLENGTH)
            place = part; sub(/^"/, "", place); sub(/":.*/, "", place)
            while (match(part, /"(magnitude|frequency|attention)":[0-9.]+/)) {
                kv = substr(part, RSTART + 1, RLENGTH - 1); part = substr(part, RSTART + RLENGTH)
                split(kv, x, "\":"); key = run "|" place "|" x[1]
                n[key]++; sum[key] += x[2]; square[key] += x[2] * x[2]
            }
            row = run "|" place; if (!(row in seen)) { seen[row] = 1; order[++rows] = row }
        }
    }
    function cell(key) { if (!n[key]) return "-"; m = sum[key] / n[key]; v = n[key] > 1 ? (square[key] - n[key] * m * m) / (n[key] - 1) : 0
        return n[key] > 1 ? sprintf("%.1f (sd %.1f)", m, sqrt(v > 0 ? v : 0)) : sprintf("%.1f", m) }
    END {
        print "| variant | place | magnitude | frequency | attention |\n|---|---|---|---|---|"
        for (i = 1; i <= rows; i++) { split(order[i], r, "|")
            print "| " r[1] " | " r[2] " | " cell(order[i] "|magnitude") " | " cell(order[i] "|frequency") " | " cell(order[i] "|attention") " |" }
    }' "$out/miou.jsonl"
}
picture() { # picture NAME SVG: as SVG and, where rsvg-convert is there, as PNG
    [ -s "$2" ] || return
    cp "$2" "$out/$1.svg"
    if command -v rsvg-convert >/dev/null 2>&1; then rsvg-convert "$out/$1.svg" -o "$out/$1.png" && echo "![$1]($1.png)"; else echo "![$1]($1.svg)"; fi
    echo
}
table() { # table PART TITLE
    [ -s "$out/$1/table.md" ] || return
    printf '## %s\n\n    %s\n\n' "$2" "$(cat "$out/$1.command")"
    cat "$out/$1/table.md"
    echo
}
summary() {
    echo "# Does a frozen block of a language model help a vision encoder?"
    echo
    echo "Differences are to base (in the sweep of fractions, to base at the same fraction), paired by seed and test item; intervals of 95 %, by a bootstrap over seeds and test items."
    [ -n "$toy" ] && printf '\n**TOY run: these figures mean nothing.**\n'
    echo
    table image "image: Fashion-MNIST, 10,000 training pictures"
    picture image-effect "$out/image/effect.svg"
    table layers "image: which of the LLM's 30 blocks"
    picture layers "$out/layers/arms.svg"
    table few "image: 4,000 training pictures, as in the sweep of blocks"
    table fraction "image: by the share of the training pictures"
    table fraction-more "image: larger shares, at the preset's learning rate"
    for t in points video volumes motion vqa retrieval scene-qa; do table $t "$t"; done
    table scenes "scenes: 20 emoji on busy backgrounds"
    if [ -s "$out/miou.jsonl" ]; then
        printf '## mIoU of what stands out with where the emoji is, percent\n\n    for run in build/evidence/scenes/*-[0-9]; do\n        build/fv heatmap $run build/evidence/scenes-data/test --masks build/evidence/scenes-data/masks --rows 1 --png $(basename $run).png --json\n    done\n\n'
        miou_table
        printf '\n![heat maps](heatmap.png)\n\n'
    fi
    if [ -s "$out/probe.txt" ]; then
        printf '## Probes\n\n    build/fv probe build/evidence/scenes/*-[0-9] --items 128 --pictures build/evidence/scenes-data/test --masks build/evidence/scenes-data/masks --svg probe.svg\n\n```\n'
        cat "$out/probe.txt"
        printf '```\n\n'
        picture probe-plot "$out/probe.svg"
    fi
}

[ $# -gt 0 ] || set -- image layers few fraction points video volumes motion vqa retrieval scene-qa scenes robust
for part in "$@"; do
    case $part in
    image | layers | few | fraction | points | video | volumes | motion | vqa | retrieval | scenes | robust) "part_$part" ;;
    scene-qa) part_scene_qa ;;
    summary) ;;
    *) say "$part: no such part"; exit 2 ;;
    esac
done
summary >"$out/summary.part" && mv "$out/summary.part" "$out/summary.md" && echo "$out/summary.md"
