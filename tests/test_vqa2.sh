#!/bin/sh
# vqa on a small set in VQAv2's layout, made here: pictures of two grey halves, ten answers each. It learns; eval says the same again; the accuracy is what awk
# counts from the answers that predict gives.
. tests/harness.sh
FV=${FV:-build/fv}
cache=${FROZENVIS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/frozenvis}
llm=$cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
if [ ! -e "$llm" ]; then
    skip vqa2 'the language model is not in the cache'
    report
    exit
fi
dots() { awk -v l="$1" -v r="$2" 'BEGIN { for (i = 0; i < 8; i++) { printf "\\000"; for (k = 0; k < 8; k++) printf "\\%03o", k < 4 ? l : r } }'; }
png() { # png FILE LEFT RIGHT: 8x8 grey pixels, stored without compression
    printf '\211PNG\r\n\032\n\000\000\000\015IHDR\000\000\000\010\000\000\000\010\010\000\000\000\000\000\000\000\000\000\000\000\123IDAT\170\001\001\110\000\267\377' >"$1"
    printf "$(dots "$2" "$3")" >>"$1"
    printf '\000\000\000\000\000\000\000\000\000\000\000\000IEND\000\000\000\000' >>"$1"
}
# split NAME FIRST COUNT: of picture i the left half is bright when i is odd, the right when i / 2 is odd
split() {
    mkdir -p "$T/data/$1" "$T/data/Questions" "$T/data/Annotations"
    i=$2
    while [ $i -lt $(($2 + $3)) ]; do
        png "$T/data/$1/COCO_$1_$(printf %012d $i).jpg" $((30 + 180 * (i % 2) + i % 7)) $((30 + 180 * (i / 2 % 2) + i % 5))
        i=$((i + 1))
    done
    awk -v first="$2" -v n="$3" -v split_="$1" -v dir="$T/data" 'BEGIN {
        q = dir "/Questions/v2_OpenEnded_mscoco_" split_ "_questions.json"; a = dir "/Annotations/v2_mscoco_" split_ "_annotations.json"
        printf "{\"questions\":[" >q; printf "{\"annotations\":[" >a
        for (i = first; i < first + n; i++)
            for (k = 0; k < 2; k++) {
                bright = k ? int(i / 2) % 2 : i % 2
                most = k ? (bright ? "Very bright." : "the dark") : (bright ? "yes" : "no")
                # of ten six say it (of every fourth picture two, which earns 2/3), two something near, the others what only a few say
                near = k ? (bright ? "bright" : "black") : (bright ? "Yes, half" : "not at all")
                printf("%s{\"image_id\":%d,\"question\":\"%s\",\"question_id\":%d}", (i > first || k) ? "," : "", i, k ? "how bright is the right half?" : "is the left half bright?", 10 * i + k) >q
                printf("%s{\"question_type\":\"%s\",\"multiple_choice_answer\":\"%s\",\"answer_type\":\"%s\",\"image_id\":%d,\"question_id\":%d,\"answers\":[", (i > first || k) ? "," : "", k ? "how" : "is the", most, k ? "other" : "yes/no", i, 10 * i + k) >a
                for (m = 1; m <= 10; m++) printf("%s{\"answer\":\"%s\",\"answer_confidence\":\"yes\",\"answer_id\":%d}", (m > 1) ? "," : "", m <= (i % 4 ? 6 : 2) ? most : m > 8 ? near : "w" ((i * 7 + m) % 9), m) >a
                printf "]}" >a
            }
        printf "]}\n" >q; printf "]}\n" >a
    }'
}
split train2014 1 120
split val2014 500 40
expect 'trains' "$FV" train vqa --data "$T/data" --llm "$llm" --variant base --threads 1 --json --out "$T/run" --epochs 12 --batch 16 \
    --set dim=32 num_heads=2 image_depth=1 fusion_depth=1 img_size=8 patch_size=4 conv_stem=false precision=f32 lr=3e-3 hflip=0 shift=0 most_answers=6
value() { sed -n "s/.*[{,]\"$1\":\([0-9.]*\).*/\1/p" "$T/said" | tail -n 1; }
if [ "$(value accuracy)" ]; then
    accuracy=$(value accuracy)
    awk -v a="$accuracy" -v only="$(value question_only)" 'BEGIN { exit !(a > 85 && a < 92 && only > 25 && only < 80) }' && ok || bad "accuracy $accuracy, question alone $(value question_only)"
    for name in accuracy_yes/no accuracy_other 'accuracy_is the' accuracy_how; do
        grep -q "\"$name\":" "$T/said" && ok || bad "no $name: $(cat "$T/said")"
    done
    [ "$(value 'accuracy_how')" = "$(value accuracy_other)" ] && ok || bad 'the two types hold the same questions'
    expect 'eval' "$FV" eval "$T/run" --threads 1 --json
    [ "$(value accuracy)" = "$accuracy" ] && ok || bad "eval says $(value accuracy), train said $accuracy"
    grep -q '"most_answers":6' "$T/run/config.json" && [ "$(sed 's/.*"class_names":\[\([^]]*\).*/\1/' "$T/run/config.json" | tr ',' '\n' | wc -l)" = 4 ] && ok || bad "the four answers said mostly are the classes: $(cat "$T/run/config.json")"
    # what each test picture's answer earns, counted by awk from the file
    for k in 0 1; do
        "$FV" predict "$T/run" "$T"/data/val2014/*.jpg --question "$([ $k = 0 ] && echo 'is the left half bright?' || echo 'how bright is the right half?')" --threads 1 --json |
            sed "s/.*COCO_val2014_0*\([0-9]*\).jpg\",\"answer\":\"\([^\"]*\)\".*/\1$k:\2/"
    done >"$T/answers"
    sed 's/{"question_type"/\n&/g' "$T/data/Annotations/v2_mscoco_val2014_annotations.json" | awk -v said="$T/answers" '
        BEGIN { while ((getline line <said) > 0) { split(line, part, ":"); answer[part[1]] = part[2] } }
        /question_id/ {
            id = $0; sub(/.*"question_id":/, "", id); sub(/,.*/, "", id); id += 0
            n = 0; count = split($0, piece, "{\"answer\":\"")
            for (i = 2; i <= count; i++) { a = piece[i]; sub(/".*/, "", a); a = tolower(a); sub(/^the /, "", a); gsub(/[.,]/, "", a); n += a == answer[id] }
            sum += n > 3 ? 1 : n / 3; all++
        }
        END { printf "%.2f %d\n", 100 * sum / all, all }' >"$T/plain"
    read -r plain all <"$T/plain"
    [ "$all" = 80 ] && awk -v a="$accuracy" -v b="$plain" 'BEGIN { exit !(a - b < 0.01 && b - a < 0.01) }' && ok || bad "accuracy $accuracy, counted plainly $plain of $all"
    expect 'draws' "$FV" predict "$T/run" --items 0-9 --png "$T/vqa.png"
fi
rm "$T/data/val2014/COCO_val2014_000000000503.jpg"
"$FV" train vqa --data "$T/data" --llm "$llm" --variant base --out "$T/none" >"$T/said" 2>&1
[ $? = 4 ] && grep -q COCO_val2014_000000000503 "$T/said" && ok || bad "a missing picture ends with 4: $(cat "$T/said")"
report
