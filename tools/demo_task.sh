#!/bin/sh
# demo_task.sh TASK -- make demo-TASK: trains the task's demo with the last block of SmolLM2-135M inside, measures it, and draws what it predicts into
# build/demo-TASK/predictions.png. What is finished is not done again.
cd "$(dirname "$0")/.." || exit 1
task=$1
run=build/demo-$task
build/fv train "$task" --data demo --out "$run" --resume || exit $?
build/fv predict "$run" --items 0-11 --png "$run/predictions.png" >/dev/null || exit $?
echo "$run/predictions.png"
