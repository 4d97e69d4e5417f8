#!/bin/sh
# probe.sh OUT.mk -- which optional libraries the compiler finds, by tiny programs; writes HAVE_FLAGS and HAVE_LIBS for make.
# A full answer is kept until the compiler changes; one with something missing is asked for again at each build.
set -u
out=$1
CC=${CC:-cc}
key="# for: $CC ${CPPFLAGS:-} ${LDFLAGS:-}"
[ -f "$out" ] && [ "$out" -nt "$0" ] && [ "$(head -n 1 "$out")" = "$key" ] && ! grep -q missing "$out" && exit 0
mkdir -p "$(dirname "$out")"
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

# builds SOURCE LIBS
builds() {
    printf '%s\n' "$1" >"$dir/a.c"
    # shellcheck disable=SC2086
    $CC ${CPPFLAGS:-} ${LDFLAGS:-} -o "$dir/a" "$dir/a.c" ${2:-} >"$dir/log" 2>&1
}

flags='' libs='' missing=''
if builds '#include <stb/stb_image.h>
int main(void) { return 0; }'; then
    flags="$flags -DHAVE_STB"
else
    missing="$missing libstb-dev (PNG and JPEG pictures)"
fi
if builds '#include <zlib.h>
int main(void) { return zlibVersion()[0] == 0; }' -lz; then
    flags="$flags -DHAVE_ZLIB" libs="$libs -lz"
else
    missing="$missing${missing:+,} zlib1g-dev (.gz and .npz files)"
fi
freetype=$(pkg-config --cflags freetype2 2>/dev/null || echo -I/usr/include/freetype2)
if builds '#include <ft2build.h>
#include FT_FREETYPE_H
int main(void) { FT_Library l; return FT_Init_FreeType(&l); }' "$freetype -lfreetype"; then
    flags="$flags -DHAVE_FREETYPE $freetype" libs="$libs -lfreetype"
else
    missing="$missing${missing:+,} libfreetype-dev (text in pictures, emoji)"
fi
hdf5=$(pkg-config --cflags --libs hdf5 2>/dev/null || echo '-I/usr/include/hdf5/serial -lhdf5_serial')
if builds '#include <hdf5.h>
int main(void) { return H5open() < 0; }' "$hdf5"; then
    for word in $hdf5; do
        case $word in
        -I*) flags="$flags $word" ;;
        *) libs="$libs $word" ;;
        esac
    done
    flags="$flags -DHAVE_HDF5"
else
    missing="$missing${missing:+,} libhdf5-dev (ScanObjectNN's .h5 files)"
fi
{
    echo "$key"
    echo "HAVE_FLAGS =$flags"
    echo "HAVE_LIBS =$libs"
    [ -z "$missing" ] || echo "# missing:$missing"
} >"$out.$$" && mv "$out.$$" "$out"
[ -z "$missing" ] || echo "frozenvis is built without:$missing" >&2
