#!/bin/sh
# FROZENVIS_CBLAS: test_gemm.c's products (every transposition, odd shapes, added to what is there, packed weights) and gradient checks
# with cblas_sgemm under them.
cd "$(dirname "$0")/.." || exit 1
. tests/harness.sh
CC=${CC:-cc}
echo '#include <cblas.h>
int main(void) { float x = 0; cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, 1, 1, 1, 1, &x, 1, &x, 1, 0, &x, 1); return 0; }' >"$T/probe.c"
if ! $CC -o "$T/probe" "$T/probe.c" -lopenblas >/dev/null 2>&1; then
    skip cblas 'libopenblas-dev is not installed here'
else
    OPENBLAS_NUM_THREADS=1 # or its sums may depend on its threads
    export OPENBLAS_NUM_THREADS
    for test in gemm ops_matrix; do
        expect "test_$test compiles" $CC -std=c99 -O1 -DFROZENVIS_CBLAS -I. -Itests -o "$T/$test" "tests/test_$test.c" -lopenblas -lm -lpthread
        nm -u "$T/$test" | grep -q cblas_sgemm && ok || bad "test_$test does not call cblas_sgemm"
        expect "test_$test" "$T/$test"
    done
fi
report
