# harness.sh -- for the shell tests, as test.h is for the C ones: ok, bad, skip, report; $T is a folder of the test's own.
# Sourced with the repository's root as the current folder.
passed=0 failed=0 skipped=0
T=$(mktemp -d) || exit 1
trap 'rm -rf "$T"' EXIT
trap 'exit 130' INT TERM HUP

ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); echo "FAIL $*"; }
skip() { # skip NAME REASON, the reason being one of tests/skips.txt
    skipped=$((skipped + 1))
    echo "skipped $1: $2"
}
has() { command -v "$1" >/dev/null 2>&1; }
# expect NAME COMMAND...: it must succeed; what it says is shown only where it does not
expect() {
    name=$1
    shift
    "$@" >"$T/said" 2>&1
    said "$?"
}
# silently NAME COMMAND...: it must succeed and say nothing
silently() {
    name=$1
    shift
    "$@" >"$T/said" 2>&1 && { [ ! -s "$T/said" ] || (exit 1); }
    said "$?"
}
said() { # counts; passes the status on
    [ "$1" = 0 ] && ok && return
    bad "$name (exit status $1)"
    head -n 30 "$T/said"
    return 1
}
# early MOMENT COMMAND...: with tests/early.c loaded before it
early() {
    [ -e "$T/early.so" ] || "${CC:-cc}" -D_GNU_SOURCE -shared -fPIC -o "$T/early.so" tests/early.c || return 1
    (EARLY=$1 LD_PRELOAD=$T/early.so && export EARLY LD_PRELOAD && shift && "$@")
}
report() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ $failed = 0 ]
}
# the program that the manual at the top of the header shows, so that it is known to work
manual_program() {
    sed -n '/^A PROGRAM/,/^CONTENTS/p' frozenvis.h | sed '1d;$d;s/^    //'
}
# idx PREFIX COUNT SEED [NOISE BRIGHT]: into the folder $D an IDX data set of 8x8 pictures of two classes, a bright left or a bright right half, with
# noise of up to NOISE (90)
be32() { awk -v n="$1" 'BEGIN { printf "\\%03o\\%03o\\%03o\\%03o", int(n / 16777216) % 256, int(n / 65536) % 256, int(n / 256) % 256, n % 256 }'; }
idx() {
    printf "\000\000\010\003$(be32 "$2")$(be32 8)$(be32 8)" >"$D/$1-images-idx3-ubyte"
    printf "\000\000\010\001$(be32 "$2")" >"$D/$1-labels-idx1-ubyte"
    awk -v n="$2" -v s="$3" -v noise="${4:-90}" -v bright="${5:-100}" 'BEGIN { srand(s); for (i = 0; i < n; i++) for (k = 0; k < 64; k++) {
        v = int(rand() * noise) + (((k % 8) >= 4) == (i % 2) ? bright : 20); if (v == 37) v = 38; printf "\\%03o", v; if (k == 63) print "" } }' >"$T/octal"
    while read -r line; do printf "$line"; done <"$T/octal" >>"$D/$1-images-idx3-ubyte"
    awk -v n="$2" 'BEGIN { for (i = 0; i < n; i++) printf "\\%03o", i % 2 }' >"$T/octal"
    printf "$(cat "$T/octal")" >>"$D/$1-labels-idx1-ubyte"
}
