# The table (-v what=table, Markdown) and the plot (what=plot, SVG) of `make bench-growth`, out of
# growth.jsonl.
{
    g = get("group"); i = ++points[g]
    if (i == 1) order[++groups] = g
    x[g, i] = get("x") + 0; seconds[g, i] = get("median_s") + 0; mb[g, i] = get("peak_rss_mb") + 0
    gflop[g, i] = get("gflop") + 0; peak[g, i] = get("peak_gflops") * get("threads")
    if (get("recompute") == "true") { # the line's own figures are those of recomputation; the plain run stands beside them
        seconds_again[g, i] = seconds[g, i]; mb_again[g, i] = mb[g, i]
        seconds[g, i] = get("plain_median_s") + 0; mb[g, i] = get("plain_peak_rss_mb") + 0
    }
}

function table(    k, g, i) {
    print "| what grows | | s a step | GFLOP | share of peak | time's growth over work's | MB | with `--recompute`: s, MB |"
    print "|---|---|---|---|---|---|---|---|"
    for (k = 1; k <= groups; k++) {
        g = order[k]
        for (i = 1; i <= points[g]; i++)
            printf "| %s | %d | %.4f | %.1f | %.2f | %.2f | %d | %s |\n", (i == 1 ? g : ""), x[g, i], seconds[g, i], gflop[g, i],
                gflop[g, i] / seconds[g, i] / peak[g, i], (seconds[g, i] / seconds[g, 1]) / (gflop[g, i] / gflop[g, 1]), mb[g, i],
                (mb_again[g, i] ? sprintf("%.4f, %d", seconds_again[g, i], mb_again[g, i]) : "")
    }
}

# ---- the plot: panels with both axes logarithmic ----
function px(v) { return left + wide * (log(v) - log(x0)) / (log(x1) - log(x0)) }
function py(v) { return top + high * (1 - (log(v) - log(y0)) / (log(y1) - log(y0))) }
function panel(title, at_x, at_y, lo_x, hi_x, lo_y, hi_y, unit,    v, k, m) {
    left = at_x + 60; top = at_y + 26; wide = 320; high = 200
    x0 = lo_x / 1.15; x1 = hi_x * 1.15; y0 = lo_y / 1.3; y1 = hi_y * 1.3
    svg_text(at_x + 60, at_y + 14, title, "start", "font-weight=\"bold\"")
    printf "<rect x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"#888\"/>\n", left, top, wide, high
    for (k = -4; k <= 5; k++)
        for (m = 1; m <= 5; m += (m == 1) ? 1 : 3) { # 1, 2, 5
            v = m * 10 ^ k
            if (v <= y0 || v >= y1) continue
            svg_line(left, py(v), left + wide, py(v), "stroke=\"#222\" stroke-opacity=\"0.12\"")
            svg_text(left - 6, py(v) + 4, v " " unit, "end", "font-size=\"10\"")
        }
}
function tick(v) { svg_text(px(v), top + high + 14, v, "middle", "font-size=\"10\"") }
# one more point of a line of this colour; the first one starts it
function dot(i, v, w, colour) {
    if (i > 1) svg_line(px(last_v), py(last_w), px(v), py(w), "stroke=\"" colour "\" stroke-width=\"2\"")
    printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"/>\n", px(v), py(w), colour
    last_v = v; last_w = w
}
# what the first point's seconds become when they grow as the work does
function dense(g,    i, w, before) {
    for (i = 1; i <= points[g]; i++) {
        w = seconds[g, 1] * gflop[g, i] / gflop[g, 1]
        if (i > 1) svg_line(px(x[g, i - 1]), py(before), px(x[g, i]), py(w), "stroke=\"#c00\" stroke-dasharray=\"5 4\"")
        before = w
    }
}
# the range of a panel's numbers: forget, then see each
function forget() { least = 1e30; greatest = 0 }
function see(v) { if (v > 0 && v < least) least = v; if (v > greatest) greatest = v }
function see_times(g,    i) {
    for (i = 1; i <= points[g]; i++) { see(seconds[g, i]); see(seconds_again[g, i]); see(seconds[g, 1] * gflop[g, i] / gflop[g, 1]) }
}

function time_panel(g, title, at_x, at_y,    n, i) {
    n = points[g]
    forget(); see_times(g)
    panel(title, at_x, at_y, x[g, 1], x[g, n], least, greatest, "s")
    dense(g)
    for (i = 1; i <= n; i++) tick(x[g, i])
    if (seconds_again[g, 1]) for (i = 1; i <= n; i++) dot(i, x[g, i], seconds_again[g, i], "#e07b39")
    for (i = 1; i <= n; i++) dot(i, x[g, i], seconds[g, i], "#1f6fb4")
}
function memory_panel(g, title, at_x, at_y,    n, i) {
    n = points[g]
    forget()
    for (i = 1; i <= n; i++) { see(mb[g, i]); see(mb_again[g, i]) }
    panel(title, at_x, at_y, x[g, 1], x[g, n], least, greatest, "MB")
    for (i = 1; i <= n; i++) tick(x[g, i])
    for (i = 1; i <= n; i++) dot(i, x[g, i], mb_again[g, i], "#e07b39")
    for (i = 1; i <= n; i++) dot(i, x[g, i], mb[g, i], "#1f6fb4")
}
function layers_panel(title, at_x, at_y,    a, b, n, i) {
    a = "layers, 1 thread(s)"; b = "layers, 2 thread(s)"; n = points[a]
    forget(); see_times(a); see_times(b)
    panel(title, at_x, at_y, x[a, 1], x[a, n], least, greatest, "s")
    dense(a); dense(b)
    for (i = 1; i <= n; i++) tick(x[a, i])
    for (i = 1; i <= n; i++) dot(i, x[a, i], seconds[a, i], "#7fb2dd")
    for (i = 1; i <= n; i++) dot(i, x[b, i], seconds[b, i], "#1f6fb4")
    svg_text(px(x[a, 1]) + 8, py(seconds[a, 1]) + 14, "1 thread", "start", "font-size=\"11\"")
    svg_text(px(x[b, 1]) + 8, py(seconds[b, 1]) + 14, "2 threads", "start", "font-size=\"11\"")
}

END {
    if (what == "table") { table(); exit }
    svg_open(840, 560)
    svg_box(66, 12, 12, 4, "#1f6fb4"); svg_text(84, 18, "a training step with SmolLM2's block, f32, 2 threads")
    svg_box(420, 12, 12, 4, "#e07b39"); svg_text(438, 18, "with --recompute")
    svg_line(560, 14, 584, 14, "stroke=\"#c00\" stroke-dasharray=\"5 4\""); svg_text(590, 18, "as the dense graph's work grows")
    time_panel("tokens", "tokens of a picture (ViT-T, batch 2)", 10, 36)
    time_panel("batch", "batch (tiny28, 50 tokens)", 430, 36)
    memory_panel("batch", "batch (tiny28, 50 tokens): peak memory", 10, 296)
    layers_panel("blocks in the frozen stage (tiny28, batch 16)", 430, 296)
    print "</svg>"
}
