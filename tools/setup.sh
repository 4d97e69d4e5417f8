#!/bin/sh
# setup.sh demo|test -- installs the system packages that are missing, where this user may; else says in one line what to
# type and goes on, since everything but the missing part builds without them. Never fails.
set -u
what=${1:-demo}
CC=${CC:-cc}

has() { command -v "$1" >/dev/null 2>&1; }
has_header() { printf '#include <%s>\n' "$1" | $CC -E - >/dev/null 2>&1; }

need=''
has_header stb/stb_image.h || need="$need libstb-dev"
has_header zlib.h || need="$need zlib1g-dev"
[ -e /usr/include/freetype2/ft2build.h ] || has_header ft2build.h || need="$need libfreetype-dev"
[ "$what" = test ] || [ -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf ] || need="$need fonts-dejavu-core"
if [ "$what" = demo ]; then
    has python3 || need="$need python3"
    python3 -m pip --version >/dev/null 2>&1 || has pip3 || has pip || need="$need python3-pip"
fi
if [ "$what" = test ]; then
    # a second compiler, C++, the NEON path under an emulator, and the reader of .h5
    has_header hdf5/serial/hdf5.h || has_header hdf5.h || need="$need libhdf5-dev"
    has g++ || need="$need g++"
    has clang || need="$need clang"
    has qemu-aarch64 || need="$need qemu-user"
    has aarch64-linux-gnu-gcc || need="$need gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
    # and the language model, for the cases that need a real one
    sh "$(dirname "$0")/fetch.sh" smollm2 >/dev/null
fi
[ -n "$need" ] || exit 0

advise() {
    echo "setup: missing$need$1; type: sudo apt-get install$need" >&2
    exit 0
}
has apt-get || { echo "setup: missing (by Debian's names)$need; install them with your system's package manager" >&2; exit 0; }
as=''
if [ "$(id -u)" != 0 ]; then
    has sudo && sudo -n true 2>/dev/null || advise ''
    as='sudo -n'
fi

log=$(mktemp) || exit 0
trap 'rm -f "$log"' EXIT
# apt WORDS...: quiet, never asks, gives up where there is no network, waits for another apt to end
apt() {
    $as env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::http::Timeout=30 -o Acquire::Retries=2 \
        -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1 </dev/null
}
install() { apt install --no-install-recommends $need; } # word splitting wanted

echo "setup: installing$need" >&2
# an unknown or outdated list of packages is the usual reason for a failure: fetch it, try once more
install || { apt update && install; } || advise " (apt-get said: $(grep -m 1 '^[EW]:' "$log" || tail -n 1 "$log"))"
exit 0
