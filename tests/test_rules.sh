#!/bin/sh
# The rules of the house that a script can check: the header's layout, what stands at the top level, shell scripts, examples.
. tests/harness.sh

expect "the checker of the header's layout finds what is planted" sh tools/check_calls.sh --self-test
expect "the header's layout" sh tools/check_calls.sh frozenvis.h

short_manual() { [ "$(awk '/^\*\/|^ \*\// { print NR; exit }' frozenvis.h)" -le 350 ]; }
expect "the manual is at most 350 lines" short_manual

top_level() { ! ls -1 | grep -vxE 'frozenvis\.h|examples|tests|tools|Makefile|README\.md|LICENSE|build'; }
expect "nothing else at the top level" top_level

# build/tasks.inc is what the Makefile finds: by a line as strict as this one is not
every_task() { [ "$(wc -l <build/tasks.inc)" = "$(grep -cE '^(extern )?const +task +task_.*[={] *$' tools/tasks/*.c | grep -c ':[1-9]')" ]; }
expect "every task of tools/tasks is listed" every_task

for f in tools/*.sh tests/*.sh tests/run .ci/run; do
    expect "$f is a shell script" sh -n "$f"
done

short_examples() { for f in examples/*.c; do [ ! -f "$f" ] || [ "$(wc -l <"$f")" -lt 150 ] || { echo "$f"; return 1; }; done; }
expect "examples are under 150 lines" short_examples
expect "examples compile" make -s examples WERROR=1
report
