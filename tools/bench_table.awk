# The tables of `make bench`, out of results.jsonl. A first pass over the lines collects, END prints.
{ group = get("group"); name = get("name") }
group == "machine" {
    machine = get("cpu") ", " get("cores") " core(s); peers: " (get("peers") ~ /[a-z]/ ? get("peers") : "none installed")
}
group ~ /^gemm / {
    if (index($0, "\"end\":")) { if (name == "ours") peak[group] = get("peak_gflops") + 0; next }
    if (!(group in works)) order[++groups] = group
    w = get("work")
    if (!((group, w) in known)) { works[group]++; work[group, works[group]] = w; known[group, w] = 1 }
    median[group, w, name] = get("median_s") + 0
    if (!((group, name) in seen)) { seen[group, name] = 1; names[group]++; at[group, names[group]] = name }
}
group == "attention" { attention[++attentions] = $0 }
group ~ /^step / {
    if (!(group in step_known)) { step_known[group] = 1; steps[++step_count] = group }
    if (index($0, "\"end\":")) {
        rss[group, name] = get("peak_rss_mb") + 0
        if (name != "ours") next
        gflop[group] = get("gflop") + 0; batch[group] = get("batch")
        peak[group] = get("peak_gflops") * get("threads")
    } else median[group, name] = get("median_s") + 0
}
group == "load" || group == "data" || group == "clouds" { others[++other_count] = $0 }

function share(rate, most) { return most > 0 ? rate / most : 0 }
function is_ours(name) { return name == "ours" || name == "packed" }

function gemm_table(g,    i, k, w, t, dim, flop, ours, one, part, against) {
    split(g, part, " ")
    printf "\nproducts m x n x k, %s, %d thread(s)%s: GFLOP/s, share of the peak (%.1f a core); ", part[2], part[3],
        (part[4] ? ", the " part[4] " path alone" : ""), peak[g]
    print "ratio: time over ours\n(onnxruntime, whose weight is a constant: over packed); wanted: " \
        (part[3] == 2 ? (part[2] == "f32" ? "2 threads 1.95 times as fast as 1" : "2 threads 1.9 times as fast as 1") \
                      : (part[2] == "f32" ? "0.93 of the peak, 197x197x64 0.85" : "0.90 of the peak, 197x197x64 0.65"))
    printf "%-18s", ""
    for (k = 1; k <= names[g]; k++) printf((is_ours(at[g, k]) ? "%15s" : "%20s"), at[g, k])
    print (part[3] == 2 ? "   2 threads over 1" : "")
    for (i = 1; i <= works[g]; i++) {
        w = work[g, i]
        split(w, dim, " ")
        flop = 2e-9 * dim[1] * dim[2] * dim[3]
        printf "%-18s", dim[1] "x" dim[2] "x" dim[3]
        ours = median[g, w, "ours"]
        for (k = 1; k <= names[g]; k++) {
            t = median[g, w, at[g, k]]
            if (!t) { printf((is_ours(at[g, k]) ? "%15s" : "%20s"), "-"); continue }
            against = at[g, k] == "onnxruntime" && median[g, w, "packed"] ? median[g, w, "packed"] : ours
            if (is_ours(at[g, k])) printf "%9.1f %5.2f", flop / t, share(flop / t, peak[g] * part[3])
            else printf "%12.1f %6.2fx", flop / t, t / against
        }
        one = "gemm " part[2] " 1"
        if (part[3] == 2 && median[one, w, "ours"]) printf "   %.2f", median[one, w, "ours"] / ours
        printf "\n"
    }
}

function attention_table(    i, forward, backward, most) {
    printf "\nattention, 1 thread: GFLOP/s and share of the peak, forward and backward\n"
    for (i = 1; i <= attentions; i++) {
        $0 = attention[i]
        forward = get("median_gflops"); backward = get("backward_median_gflops"); most = get("peak_gflops")
        printf "%3d tokens, %2d heads (%2d of keys) of %3d, %-4s %9.1f %5.2f %12.1f %5.2f\n", get("tokens"),
            get("heads"), get("kv_heads"), get("head_dim"), get("precision"), forward, share(forward, most), backward,
            share(backward, most)
    }
}

# "small + llama-7b, batch 8, f32, train"
function step_name(part) {
    return part[2] (part[3] == "none" ? "" : " + " part[3]) ", batch " part[4] ", " part[5] ", " part[6]
}
function in_brackets(s) { return s == "-" ? "" : "(" s ")" }

function step_table(    i, g, part, t, peer) {
    printf "\nsteps, 2 threads: median seconds, share of the peak, PyTorch's time over ours, peak memory over its; "
    print "wanted in brackets"
    printf "%-46s %9s %9s %13s %9s %13s %7s %7s %14s\n", "", "s", "images/s", "share", "PyTorch s", "ratio", "MB",
        "its MB", "memory (0.50)"
    for (i = 1; i <= step_count; i++) {
        g = steps[i]
        split(g, part, " ")
        t = median[g, "ours"]; peer = median[g, "torch"]
        if (!t) { printf "%-46s failed\n", step_name(part); continue }
        printf "%-46s %9.4f %9.1f  %5.2f %6s", step_name(part), t, batch[g] / t, share(gflop[g] / t, peak[g]),
            in_brackets(part[7])
        if (peer) printf " %9.4f  %5.2f %6s %7d %7d %9.2f\n", peer, peer / t, in_brackets(part[8]), rss[g, "ours"],
            rss[g, "torch"], rss[g, "ours"] / rss[g, "torch"]
        else printf " %9s  %5s %6s %7d\n", "-", "-", in_brackets(part[8]), rss[g, "ours"]
    }
}

function load_line() {
    printf "from process start to the first step, %s with a block out of %s (%s MB): %.3f s (wanted: 0.5), ",
        get("size"), get("format"), get("file_mb"), get("ready_median_s")
    printf "which has ended after %.3f s; opening %.4f s, dequantising %.4f s, packing %.4f s\n", get("median_s"),
        get("open_all_s"), get("dequantise_s"), get("pack_s")
}
function clouds_line() {
    printf "%s clouds of %s points, %s groups of %s, %s thread(s): %.4f s (farthest points %.4f, nearest %.4f)\n",
        get("clouds"), get("points"), get("groups"), get("size"), get("threads"), get("median_s"), get("fps_s"),
        get("knn_s")
}
function data_line() {
    printf "data of a step, %s%s, batch %d: augmented %.5f s, %.1f %% of a step (wanted: under 5)\n", get("size"),
        (get("frozen") == "none" ? "" : " + " get("frozen")), get("batch"), get("augmented_batch_s"),
        100 * get("share")
}
function other_table(    i) {
    printf "\n"
    for (i = 1; i <= other_count; i++) {
        $0 = others[i]
        if (get("group") == "load") load_line()
        else if (get("group") == "clouds") clouds_line()
        else data_line()
    }
}

END {
    print machine
    for (i = 1; i <= groups; i++) gemm_table(order[i])
    if (attentions) attention_table()
    if (step_count) step_table()
    if (other_count) other_table()
}
