# The picture of `make bench`, out of results.jsonl: products as shares of the peak, steps as times over ours.
BEGIN {
    colour["ours"] = "#1f6fb4"; colour["packed"] = "#7fb2dd"; colour["torch"] = "#e07b39"
    colour["onnxruntime"] = "#6a9f58"; colour["openblas"] = "#999"
    title["ours"] = "frozenvis"; title["packed"] = "frozenvis, packed weight"; title["torch"] = "PyTorch"
    title["onnxruntime"] = "onnxruntime"; title["openblas"] = "OpenBLAS"
    split("ours packed onnxruntime torch openblas", all, " ")
}
{ group = get("group"); name = get("name") }
group == "machine" { machine = get("cpu") ", " get("cores") " core(s)" }
group == "gemm f32 1" || group == "gemm bf16 1" {
    if (index($0, "\"end\":")) { if (name == "ours") peak[group] = get("peak_gflops") + 0; next }
    w = get("work")
    if (!((group, w) in known)) { known[group, w] = 1; work[group, ++works[group]] = w }
    split(w, dim, " ")
    rate[group, w, name] = 2e-9 * dim[1] * dim[2] * dim[3] / get("median_s")
    used[name] = 1
}
group ~ /^step / {
    if (!((group) in step_known)) { step_known[group] = 1; step[++steps] = group }
    if (!index($0, "\"end\":")) second[group, name] = get("median_s") + 0
}

# bars of one kind of product; returns the y below
function products(g, text, x, y,    i, k, n, w, share) {
    svg_text(x, y, sprintf("%s: share of the peak, %.0f GFLOP/s", text, peak[g]), "start", "font-weight=\"bold\"")
    y += 10
    for (i = 1; i <= works[g]; i++) {
        w = work[g, i]
        n = w; gsub(/ /, "x", n)
        svg_text(x + 108, y + 17, n, "end", "font-size=\"11\"")
        for (k = 1; k <= 5; k++) {
            if (!rate[g, w, all[k]]) continue
            share = peak[g] ? rate[g, w, all[k]] / peak[g] : 0
            svg_box(x + 114, y, 250 * share, 7, colour[all[k]])
            if (k == 1) svg_text(x + 117 + 250 * share, y + 8, sprintf("%.2f", share), "start", "font-size=\"10\"")
            y += 8
        }
        y += 8
    }
    for (k = 0; k <= 4; k++) {
        svg_line(x + 114 + 62.5 * k, top, x + 114 + 62.5 * k, y, "stroke=\"#222\" stroke-opacity=\"0.15\"")
        svg_text(x + 114 + 62.5 * k, y + 12, sprintf("%.2f", k / 4), "middle", "font-size=\"10\"")
    }
    return y + 24
}

# PyTorch's time over ours; 0: one of them was not measured
function ratio(g) { return second[g, "torch"] && second[g, "ours"] ? second[g, "torch"] / second[g, "ours"] : 0 }

function training(x, y,    i, part, r, longest, label, one) {
    for (i = 1; i <= steps; i++) longest = ratio(step[i]) > longest ? ratio(step[i]) : longest
    if (!longest) return y
    if (longest < 2) longest = 2
    svg_text(x, y, "PyTorch's time over ours, 2 threads", "start", "font-weight=\"bold\"")
    y += 10
    for (i = 1; i <= steps; i++) {
        split(step[i], part, " ")
        r = ratio(step[i])
        if (!r) continue
        label = part[2] (part[3] == "none" ? "" : " + " part[3]) ", batch " part[4] ", " part[5] ", " part[6]
        svg_text(x + 292, y + 11, label, "end", "font-size=\"11\"")
        svg_box(x + 300, y, 400 * r / longest, 14, part[5] == "f32" ? colour["ours"] : colour["packed"])
        svg_text(x + 304 + 400 * r / longest, y + 11, sprintf("%.2f", r), "start", "font-size=\"11\"")
        y += 19
    }
    one = x + 300 + 400 / longest
    svg_line(one, y - 19 * steps - 4, one, y, "stroke=\"#c00\" stroke-dasharray=\"3 3\"")
    svg_text(one, y + 12, "equal", "middle", "font-size=\"10\" fill=\"#c00\"")
    return y + 20
}

END {
    bars = 0
    for (n in used) bars++
    rows = works["gemm f32 1"] > works["gemm bf16 1"] ? works["gemm f32 1"] : works["gemm bf16 1"]
    height = 90 + (8 * bars + 8) * rows + 19 * steps + 60
    svg_open(880, height)
    svg_text(20, 24, "frozenvis on " machine, "start", "font-size=\"14\"")
    x = 20
    for (k = 1; k <= 5; k++) {
        if (!used[all[k]]) continue
        svg_box(x, 34, 10, 10, colour[all[k]])
        svg_text(x + 14, 43, title[all[k]])
        x += 30 + 6 * length(title[all[k]])
    }
    top = 72
    y = products("gemm f32 1", "products, f32, 1 thread", 20, 66)
    y2 = products("gemm bf16 1", "products, bf16, 1 thread", 450, 66)
    training(20, (y > y2 ? y : y2) + 14)
    print "</svg>"
}
