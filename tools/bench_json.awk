# Fields of our own flat JSON lines (objects inside objects are looked into as well), and pieces of SVG. For
# bench_*.awk.

# get("median_s") of the current line: a string without its quotes, a number, or "" where there is none
function get(key,    at, rest) {
    at = index($0, "\"" key "\":")
    if (!at) return ""
    rest = substr($0, at + length(key) + 3)
    sub(/^ */, "", rest)
    if (substr(rest, 1, 1) == "\"") { rest = substr(rest, 2); sub(/".*/, "", rest) }
    else sub(/[,}].*/, "", rest)
    return rest
}

function svg_open(w, h) {
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" ", w, h, w, h
    printf "font-family=\"Helvetica,Arial,sans-serif\" font-size=\"12\" fill=\"#222\">\n"
    printf "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", w, h
}
# anchor: start, middle or end; style: further attributes
function svg_text(x, y, s, anchor, style) {
    gsub(/&/, "\\&amp;", s); gsub(/</, "\\&lt;", s)
    printf "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" %s>%s</text>\n", x, y, (anchor ? anchor : "start"), style, s
}
function svg_line(x0, y0, x1, y1, style) {
    printf "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" %s/>\n", x0, y0, x1, y1, style
}
function svg_box(x, y, w, h, colour) {
    printf "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", x, y, (w > 0 ? w : 0), h, colour
}
