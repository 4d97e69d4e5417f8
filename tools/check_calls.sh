#!/bin/sh
# check_calls.sh [HEADER] -- the rules of layout that frozenvis.h sets itself, checked by reading it; prints each breach, exit 1.
#   order      sections come in one order: the manual's contents, the declarations, the definitions
#   calls      a section mentions only functions of itself and of sections above it
#   kernels    sections kernels and gemm know no tensors
#   formats    json, safetensors, gguf, tokenizer call no op
#   encoders   use only public functions and helpers of their own, so that a user could have written them
#   length     no function over 100 lines
# check_calls.sh --self-test plants a breach of each rule in a small header and sees that it is found.
# check_calls.sh --functions [HEADER] lists every function: section, first line, lines.
set -u

# Calls upwards in the file that are meant: FROM TO, one pair a line, with the reason.
allowed_up='
fv_create fv__threads_start     a context is made, emptied and taken apart as a whole
fv_create fv__cpu_choose
fv_create fv__tape_start
fv_reset fv__tape_clear
fv_destroy fv__threads_stop
fv_create fv__device_open       so is a context on a GPU, which gives a pool its chunks
fv_destroy fv__device_close
fv_reset fv__device_reset
fv_reset fv__device_record
fv__pool_grow fv__device_alloc
fv__pool_grow fv__device_free
fv__pool_join fv__device_free
fv__packed_free fv__device_free a frozen weight lies where it is multiplied
fv__packed_on_device fv__device_alloc
fv__packed_on_device fv__device_put
fv_new fv__step_alloc           a tensor of a step is born on the tape
fv_new fv__hold
fv_new fv__tape_add
fv__give_grad fv__add_grad      gradients meet in the row function of an op
fv_weights_open fv__gguf_open   one set of calls reads both kinds of file
fv_entry_read fv__dequantise
'
# Private functions of other sections that encoders may use after all: fv__shape_text writes a shape into a sentence.
allowed_private='
fv__shape_text
'
# fv__grow (section graph) only makes an array longer
allowed_in_formats='fv__grow'

check() { # check MODE HEADER
    awk -v mode="$1" -v allowed_up="$allowed_up" -v allowed_private="$allowed_private" -v allowed_in_formats="$allowed_in_formats" '
    function wrong(line, text) { if (mode == "check") printf "%s:%d: %s\n", FILENAME, line, text; breaches++ }

    # s without comments, strings and characters; keeps track of a comment over several lines
    function bare(s,    out, p) {
        out = ""
        while (s != "") {
            if (in_comment) {
                p = index(s, "*/")
                if (!p) return out
                s = substr(s, p + 2)
                in_comment = 0
                continue
            }
            if (!match(s, /\/\*|\/\/|"|\047/)) return out s
            out = out substr(s, 1, RSTART - 1)
            p = substr(s, RSTART, RLENGTH)
            s = substr(s, RSTART + RLENGTH)
            if (p == "//") return out
            if (p == "/*") in_comment = 1
            else if (p == "\"") { match(s, /^([^"\\]|\\.)*"/); s = substr(s, RLENGTH + 1); out = out "\"\"" }
            else { match(s, /^([^\047\\]|\\.)*\047/); s = substr(s, RLENGTH + 1); out = out "0" }
        }
        return out
    }

    # the name of the function whose head this is, "" for anything else that opens a brace
    function head_name(h) {
        while (match(h, /__attribute__ *\(\([^()]*(\([^()]*\))?[^()]*\)\)/)) h = substr(h, 1, RSTART - 1) " " substr(h, RSTART + RLENGTH)
        while (match(h, /FV__FN\( *[a-z0-9_]+ *\)/)) {
            fn = substr(h, RSTART + 7, RLENGTH - 8)
            gsub(/ /, "", fn)
            h = substr(h, 1, RSTART - 1) "fv__kernel_" fn substr(h, RSTART + RLENGTH)
        }
        if (h ~ /=/ || h ~ /\] *$/ || !match(h, /[A-Za-z_][A-Za-z0-9_]* *\(/)) return ""
        h = substr(h, RSTART, RLENGTH - 1)
        gsub(/ /, "", h)
        return h
    }

    # remembers which of our names appear in s, by whom
    function mentions(s, who, line,    name) {
        while (match(s, /[A-Za-z_][A-Za-z0-9_]*/)) {
            name = substr(s, RSTART, RLENGTH)
            s = substr(s, RSTART + RLENGTH)
            if (name !~ /^fv_/) continue
            n_mention++
            m_name[n_mention] = name; m_who[n_mention] = who; m_line[n_mention] = line; m_section[n_mention] = section
        }
    }

    # the manual: its contents stand in two columns, read one after the other
    !in_body && /^CONTENTS/ { in_contents = 1; next }
    !in_body && in_contents && /^([A-Z]|\*\/)/ { in_contents = 0 }
    !in_body && in_contents {
        cell = $0
        for (col = 0; match(cell, />>[a-z]+/); col++) {
            if (RSTART > 30 || col) right[++n_right] = substr(cell, RSTART + 2, RLENGTH - 2)
            else left[++n_left] = substr(cell, RSTART + 2, RLENGTH - 2)
            cell = substr(cell, RSTART + RLENGTH)
        }
    }

    /^ \* >>[a-z]+/ {
        match($0, />>[a-z]+/)
        section = substr($0, RSTART + 2, RLENGTH - 2)
        implementation = $0 ~ /\(implementation\)/
        in_body = 1
        if (implementation) { if (impl[n_impl] != section) { impl[++n_impl] = section; impl_line[n_impl] = FNR } }
        else if (decl[n_decl] != section) { decl[++n_decl] = section; decl_line[n_decl] = FNR }
    }

    {
        text = bare($0)
        # the preprocessor: macro bodies count as mentions; both branches of an #if start from the same depth
        if (continued || text ~ /^[ \t]*#/) {
            if (!continued) directive = text
            if (directive ~ /^[ \t]*#[ \t]*if/ && !continued) { levels++; level_depth[levels] = depth; level_head[levels] = head; level_fn[levels] = fn_name }
            if (directive ~ /^[ \t]*#[ \t]*(else|elif)/ && !continued) { depth = level_depth[levels]; head = level_head[levels]; fn_name = level_fn[levels] }
            if (directive ~ /^[ \t]*#[ \t]*endif/ && !continued) levels--
            if (implementation && directive ~ /^[ \t]*#[ \t]*define/) mentions(continued ? text : substr(text, match(text, /define/) + 6), "a macro", FNR)
            continued = text ~ /\\$/
            next
        }
        if (!implementation) next
        if (text ~ /fv_tensor/ && (section == "kernels" || section == "gemm")) wrong(FNR, "section " section " mentions fv_tensor: kernels take pointers and sizes")
        if (depth == 0 && head == "" && text !~ /^[ \t]*$/) head_line = FNR
        while (match(text, /[{};]/)) {
            before = substr(text, 1, RSTART - 1)
            mark = substr(text, RSTART, 1)
            text = substr(text, RSTART + 1)
            if (depth == 0) head = head " " before
            else mentions(before, fn_name, FNR)
            if (mark == "{") {
                if (depth++ == 0) {
                    fn_name = head_name(head)
                    if (fn_name != "") {
                        if (!(fn_name in where)) { where[fn_name] = section; n_function++ }
                        begun = head_line
                    } else mentions(head, "", FNR)
                }
            } else if (mark == "}") {
                if (--depth == 0) {
                    if (fn_name != "") {
                        if (mode == "functions") printf "%-12s %6d %4d %s\n", section, begun, FNR - begun + 1, fn_name
                        if (FNR - begun + 1 > 100) wrong(begun, "function " fn_name " has " FNR - begun + 1 " lines, over 100")
                        fn_name = ""
                    }
                    head = ""
                }
                if (depth < 0) { wrong(FNR, "a brace too many: this script lost its way"); depth = 0 }
            } else if (depth == 0) {
                # a prototype or a variable; a prototype forward of a private function is no call in itself
                if (head ~ /=/) mentions(head, "", FNR)
                head = ""
            }
            if (depth == 0 && head == "" && text !~ /^[ \t]*$/) head_line = FNR
        }
        if (depth == 0) { if (text !~ /^[ \t]*$/) head = head " " text }
        else mentions(text, fn_name, FNR)
    }

    END {
        for (i = 1; i <= n_left; i++) place[left[i]] = ++n_section
        for (i = 1; i <= n_right; i++) place[right[i]] = ++n_section
        if (!n_section) wrong(1, "no table of contents in the manual (a line CONTENTS, then >>name, ...)")
        if (!n_function) wrong(1, "no function found after the implementation banners")
        if (depth) wrong(FNR, "braces do not match: this script lost its way")
        for (i = 1; i <= n_decl; i++) in_order(decl[i], decl_line[i], "declarations", i > 1 ? decl[i - 1] : "")
        for (i = 1; i <= n_impl; i++) in_order(impl[i], impl_line[i], "definitions", i > 1 ? impl[i - 1] : "")
        for (s in place) if (!(s in seen)) wrong(1, "the contents name >>" s ", which has no banner")

        n = split(allowed_up, row, "\n")
        for (i = 1; i <= n; i++) if (split(row[i], w, " ") > 1) up[w[1] " " w[2]] = 1
        n = split(allowed_private, w, " ")
        for (i = 1; i <= n; i++) private_ok[w[i]] = 1
        for (i = 1; i <= n_mention; i++) {
            name = m_name[i]
            if (!(name in where)) continue
            from = m_section[i]; to = where[name]; who = m_who[i] == "" ? "a table" : m_who[i]
            if (from == to || !(from in place) || !(to in place) || said[who, name]++) continue
            if (place[to] > place[from] && !((who " " name) in up))
                wrong(m_line[i], who " in section " from " mentions " name " of the later section " to)
            if (from ~ /^(json|safetensors|gguf|tokenizer)$/ && to ~ /^(ops|graph|optim)$/ && name != allowed_in_formats)
                wrong(m_line[i], who " in section " from " mentions " name " of section " to ": formats call no ops")
            if (from == "encoders" && name ~ /^fv__/ && !(name in private_ok))
                wrong(m_line[i], who " in section encoders mentions the private " name " of section " to ": encoders use public functions only")
        }
        if (mode == "check") printf "%d functions in %d sections, %d breaches\n", n_function, n_impl, breaches
        exit breaches > 0
    }
    function in_order(s, line, kind, before) {
        seen[s] = 1
        if (!(s in place)) wrong(line, "section >>" s " is not in the manual\047s contents")
        else if (before != "" && before in place && place[before] >= place[s]) wrong(line, "in the " kind " >>" s " comes after >>" before ", in the contents before it")
    }' "$2"
}

self_test() {
    dir=$(mktemp -d) || exit 1
    trap 'rm -rf "$dir"' EXIT
    failed=0
    # plant NAME SED-SCRIPT PATTERN: the small header, so edited, must give a breach that matches; none, for an empty pattern
    plant() {
        clean | sed "$2" >"$dir/planted.h"
        said=$(check check "$dir/planted.h")
        if [ -z "$3" ]; then ok=$(case $said in *' 0 breaches') echo 1 ;; esac)
        else ok=$(printf '%s\n' "$said" | grep -c -- "$3"); fi
        [ "${ok:-0}" != 0 ] || { echo "self-test $1: expected '$3', got: $said"; failed=1; }
    }
    clean() { # a small header that keeps every rule
        cat <<'HEADER'
/* planted
CONTENTS    (search for ">>name")
    >>config      macros                        >>ops         operations
    >>threads     a pool                        >>json        text
    >>kernels     loops                         >>encoders    networks

*/
/* ====
 * >>threads
 * ==== */
/* ====
 * >>ops
 * ==== */
/* ====
 * >>config (implementation)
 * ==== */
#define FV__TWICE(x) (2 * (x)) /* CONFIG_MACRO */
/* a { brace in a comment, fv_encode(too) */
static const char *const fv__text = "a { brace and fv_encode( in a string";
static void fv__threads_start(int n);
FV_DEF int fv_create(int n) {
    if (n == '{') return 0;
    fv__threads_start(n); /* allowed */
    return 1; /* CREATE */
}
/* ====
 * >>threads (implementation)
 * ==== */
#ifdef A
static void fv__threads_start(int n) {
#else
static void fv__threads_start(int n)
{
#endif
    (void)n;
}
/* ====
 * >>kernels (implementation)
 * ==== */
__attribute__((target("avx2,fma"))) static void FV__FN(add)(float *y, /* KERNEL */
                                                           int n) {
    y[0] = (float)n;
}
/* ====
 * >>ops (implementation)
 * ==== */
static void fv__add_fwd(int *y) { *y = fv_create(1); }
typedef struct fv__op { void (*fwd)(int *); } fv__op;
static const fv__op fv__op_add = {fv__add_fwd};
FV_DEF int fv_add(int a, int b) { return fv__op_add.fwd ? a + b : 0; }
/* ====
 * >>json (implementation)
 * ==== */
FV_DEF int fv_json_read(const char *s) { return s[0] == '"'; } /* JSON */
/* ====
 * >>encoders (implementation)
 * ==== */
static int fv__encode_block(int x) { return fv_add(x, 1); }
FV_DEF int fv_encode(int x) {
    return fv__encode_block(x); /* ENCODE */
}
HEADER
    }
    plant 'clean' '' ''
    plant 'call up' 's|return 1; /. CREATE ./|return fv_add(1, 2);|' 'fv_create in section config mentions fv_add of the later section ops'
    plant 'pointer up' 's|return 1; /. CREATE ./|return call(fv_add);|' 'mentions fv_add of the later'
    plant 'macro up' 's|(2 \* (x)) /. CONFIG_MACRO ./|fv_add(x, x)|' 'a macro in section config mentions fv_add'
    plant 'table up' 's|{fv__add_fwd};|{fv__encode_block};|' 'a table in section ops mentions fv__encode_block'
    plant 'tensor in a kernel' 's|float \*y, /. KERNEL ./|fv_tensor *y,|' 'section kernels mentions fv_tensor'
    plant 'op in a format' "s|return s\\[0\\] == '\"'; } /. JSON ./|return fv_add(s[0], 1); }|" 'formats call no ops'
    plant 'private op in an encoder' 's|fv__encode_block(x); /. ENCODE ./|(fv__add_fwd(\&x), x);|' 'encoders mentions the private fv__add_fwd'
    plant 'long function' '/CREATE/{s/.*/    n++;/;h;s/.*/    n++;/;:a;G;/\(\n[^\n]*\)\{100\}/!ba;s/$/ return n;/;}' 'fv_create has 10[0-9] lines'
    plant 'section not in the contents' 's|>>json        text|>>network     text|' '>>json is not in the manual'
    plant 'contents without a section' 's|>>json        text|>>network     text|' 'the contents name >>network'
    plant 'definitions out of order' 's|>>ops         operations|>>json        operations|;s|>>json        text|>>ops         text|' 'in the definitions >>json comes after >>ops'
    plant 'declarations out of order' '/>>threads$/s|threads|@|;/>>ops$/s|ops|threads|;s|>>@|>>ops|' 'in the declarations >>threads comes after >>ops'
    [ $failed = 0 ] && echo 'self-test: every planted breach was found'
    return $failed
}

case ${1:-} in
--self-test) self_test ;;
--functions) check functions "${2:-frozenvis.h}" ;;
*) check check "${1:-frozenvis.h}" ;;
esac
