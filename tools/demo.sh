#!/bin/sh
# make demo: a vision transformer on 30,000 pictures of Fashion-MNIST, with and without the last block of SmolLM2-135M inside;
# measured on all 10,000 test pictures. Ends with a table; build/demo/curves.svg holds the loss curves.
cd "$(dirname "$0")/.." || exit 1
data=$(sh tools/fetch.sh fashion-mnist) || exit $?
llm=$(sh tools/fetch.sh smollm2) || exit $?
build/fv compare image --data "$data" --llm "$llm" --preset demo-image --variants base,llm --out build/demo --resume
