#!/bin/sh
# demo_task.sh TASK -- make demo-TASK: trains the task's demo with the last block of SmolLM2-135M inside, measures it, and draws what it predicts into
# build/demo-TASK/predictions.png. What is finished is not done again.
cd "$(dirname "$0")/.." || exit 1
task=$1
run=build/demo-$task
case $task in
scene-qa) items=0,61,122,183,244,305,366,427,488,549,610,671 ;; # of different rooms
vqa) items=0,97,194,291,388,485,582,679,776,873,970,1067,1164,1261,1358 ;;
retrieval) items=0,66,132,198,264,330,396,462,528,594,660,726 ;; # of different emoji
points | video) items=0-23 ;;
volumes) items=0-23 ;;
*) items=0-11 ;;
esac
# real parts where they can be had (379 MB, once), else generated shapes: fv train says which
case $task in points | volumes) sh tools/fetch.sh kicad-packages3d >/dev/null ;; esac
build/fv train "$task" --data demo --out "$run" --resume || exit $?
rm -f "$run/predictions.part" # of a demo that was stopped: fv writes over nothing
build/fv predict "$run" --items "$items" --png "$run/predictions.part" >/dev/null && mv "$run/predictions.part" "$run/predictions.png" || exit $?
echo "$run/predictions.png"
