#!/bin/sh
# Every way to build the library computes: without threads, with OpenMP, scalar only, as C++, by clang, for NEON under qemu.
# Each runs the manual's program and a test of the products (or what the list below says).
. tests/harness.sh
WARN='-O2 -Wall -Wextra -Wconversion -Wshadow'
manual_program >"$T/hello.c"
learns() { "$@" | awk '{ if (NR > 1 && $2 >= last) exit 1; last = $2 } END { exit !(NR == 3 && last < 0.5) }'; }

# variant NAME COMPILER FLAGS...: the manual's program
variant() {
    name=$1
    shift
    has "$1" || { skip "$name" "no $1 here"; return; }
    cc=$1
    shift
    silently "$name: the manual's program compiles" "$cc" $WARN -pedantic "$@" -I. -o "$T/hello" "$T/hello.c" -lm -lpthread &&
        expect "$name: it learns" learns "$T/hello"
}
# tested NAME TEST COMPILER FLAGS...: a test program of this folder
tested() {
    name="$1: $2" source=tests/$2.c
    shift 2
    [ -f "$source" ] && has "$1" || return
    silently "$name compiles" "$@" $WARN -Wno-format-zero-length -I. -Itests -o "$T/test" "$source" -lm -lpthread && expect "$name" $run "$T/test"
}

run=
tested 'no threads' test_gemm gcc -std=c99 -DFROZENVIS_NO_THREADS
tested 'OpenMP' test_gemm gcc -std=c99 -DFROZENVIS_OPENMP -fopenmp
tested 'scalar only' test_ops_shape gcc -std=c99 -DFROZENVIS_SCALAR_ONLY
tested 'clang' test_gemm clang -std=c99
variant 'no threads' gcc -std=c99 -DFROZENVIS_NO_THREADS
variant 'OpenMP' gcc -std=c99 -DFROZENVIS_OPENMP -fopenmp
variant 'scalar only' gcc -std=c99 -DFROZENVIS_SCALAR_ONLY
variant 'C++' g++ -x c++ -std=c++11 -Wno-missing-field-initializers
variant 'clang++' clang++ -x c++ -std=c++17 -Wno-missing-field-initializers
variant 'assertions on' gcc -std=c99 -DFROZENVIS_DEBUG
has clang || skip 'clang' 'no clang here'

# ---- 64-bit ARM, emulated: the NEON path ----
arm=aarch64-linux-gnu-gcc
if has $arm && has qemu-aarch64; then
    run=qemu-aarch64
    silently "NEON: the manual's program compiles" $arm -std=c99 $WARN -pedantic -static -I. -o "$T/hello" "$T/hello.c" -lm -lpthread &&
        expect 'NEON: it learns' learns $run "$T/hello"
    for t in test_kernels test_gemm test_ops_matrix; do
        tested NEON $t $arm -std=c99 -static
    done
else
    skip 'NEON' 'no aarch64-linux-gnu-gcc and qemu-aarch64 here'
fi
report
