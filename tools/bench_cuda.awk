# What `make bench-cuda` makes of cuda.jsonl: a table (what=table), or a JSON line of ratios for each step
# (what=json).
{ group = get("group"); name = get("name") }
name == "" { next }
!(group in known) { known[group] = 1; order[++groups] = group }
index($0, "\"end\":") {
    mb[group, name] = get("peak_mb") + 0
    if (name == "ours") device = get("device")
    next
}
{ median[group, name] = get("median_s") + 0 }

function ratio(a, b) { return a > 0 && b > 0 ? sprintf("%.3f", a / b) : "" }
function cell(value, format) { return value ? sprintf(format, value) : "-" }
function json(key, value) { return value == "" ? "" : ",\"" key "\":" value }

END {
    line = "%-38s %9s %9s %9s %14s %9s %14s %8s %8s %14s\n"
    if (what == "table") {
        print "training steps on " device ", in turns with PyTorch; x: its time over ours (what we want)"
        printf line, "", "ours s", "images/s", "eager s", "x", "compile s", "x", "MB", "eager MB", "ratio"
    }
    for (g = 1; g <= groups; g++) {
        k = order[g]
        split(k, part, " ") # step SIZE FROZEN BATCH PRECISION EAGER COMPILE MEMORY
        ours = median[k, "ours"]
        x = ratio(median[k, "eager"], ours); c = ratio(median[k, "compile"], ours)
        m = ratio(mb[k, "ours"], mb[k, "eager"])
        if (what == "json") {
            printf "{\"group\":\"%s\",\"device\":\"%s\"%s%s%s}\n", k, device, json("x_eager", x),
                json("x_compile", c), json("memory", m)
            continue
        }
        printf line,
            part[2] (part[3] == "none" ? "" : " + " part[3]) ", batch " part[4] ", " part[5], cell(ours, "%.4f"),
            ours ? sprintf("%.1f", part[4] / ours) : "-",
            cell(median[k, "eager"], "%.4f"), cell(x, "%.2f") " (" part[6] ")",
            cell(median[k, "compile"], "%.4f"), cell(c, "%.2f") " (" part[7] ")", cell(mb[k, "ours"], "%d"),
            cell(mb[k, "eager"], "%d"), cell(m, "%.2f") " (" part[8] ")"
    }
}
