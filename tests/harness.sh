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
report() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ $failed = 0 ]
}
# the program that the manual at the top of the header shows, so that it is known to work
manual_program() {
    sed -n '/^A PROGRAM/,/^CONTENTS/p' frozenvis.h | sed '1d;$d;s/^    //'
}
