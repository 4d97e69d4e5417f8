#!/bin/sh
# The lists that the task video reads: train.csv in its three forms, Something-Something's JSON; over 20 malformed ones of each
# end with 3 and one sentence. And ScanObjectNN's pairs of .h5 files.
. tests/harness.sh
FV=${FV:-build/fv}
d=$T/data
mkdir "$d"
clip() { printf 'YUV4MPEG2 W16 H16 C420\n' >"$1" && for i in 1 2; do printf 'FRAME\n' && head -c 384 /dev/zero; done >>"$1"; }
clip "$d/a.y4m"
cp "$d/a.y4m" "$d/b c.y4m"
# opens CODE NAME: fv train reads the lists of $d and ends with CODE after one sentence at most
opens() {
    rm -rf "$T/run"
    env PATH="${SEEN:-$PATH}" "$FV" train video --data "$d" --out "$T/run" --variant base --threads 1 --quiet --batch 1 --epochs 1 \
        --set img_size=16 patch_size=16 num_frames=2 tubelet_size=2 embed_dim=8 depth=1 num_heads=1 >"$T/out" 2>"$T/said"
    got=$?
    [ $got = "$1" ] && [ "$(wc -l <"$T/said")" -le 1 ] && ok || bad "$2: exit status $got, not $1: $(head -c 300 "$T/said")"
}
lines() { printf "$1" >"$d/train.csv" && printf "$1" >"$d/val.csv"; }

# ---- lists of lines ----
for good in 'a.y4m;x\na.y4m;y\n' 'a.y4m,x\na.y4m,y' 'a.y4m x\na.y4m y\n' 'a.y4m\tx\r\na.y4m\ty\r\n' 'b c.y4m;x\n\na.y4m;y z\n' 'b c.y4m x\na.y4m y\n' "$d/a.y4m; x\n$d/a.y4m; \ty  \n"; do
    lines "$good"
    opens 0 "$good"
done
grep -q '"class_names":\["x","y"\]' "$T/run/config.json" && ok || bad "blanks around classes: $(grep -o '"class_names.*' "$T/run/config.json")"
# a frame beside the lists, which would make a clip of their folder
printf '\211\120\116\107\015\012\032\012\000\000\000\015\111\110\104\122\000\000\000\020\000\000\000\020\010\000\000\000\000\072\230\240\275\000\000\000\015\111\104\101\124\170\332\143\140\030\005\310\000\000\001\020\000\001\177\315\003\265\000\000\000\000\111\105\116\104\256\102\140\202' >"$d/1.png"
long=$(head -c 5000 /dev/zero | tr '\0' a)
for bad in '' '\n' '\r\n' ' \n' '\n\n\n' 'a.y4m' 'a.y4m\n' 'a.y4m;' 'a.y4m;\n' ';x\n' ',x\n' ' x\n' ';\n' ',\n' 'a.y4m,\n' 'a.y4m \n' 'a.y4m;x\na.y4m\n' \
    'a.y4m;x\n;y\n' 'a.y4m;x\na.y4m;\n' 'a.y4m;x\000\na.y4m;y\n' "$long;x\n" "a.y4m;$long\n" 'a.y4m;x\r\na.y4m;\r\n'; do
    lines "$bad"
    opens 3 "malformed lines '$(printf %.30s "$bad")'"
done
lines 'a.y4m;x\nnone.y4m;y\n'
opens 4 'a clip that is not there'
lines 'a.y4m;x\na.y4m;y\n'
echo 'a.y4m;z' >"$d/val.csv"
opens 2 'a class that training has not'
lines 'a.y4m;x\na.y4m;y\n'
printf 'YUV4MPEG2 W16 H16 C420\nFRAME\nshort' >"$d/cut.y4m" && lines 'cut.y4m;x\ncut.y4m;y\n'
opens 3 'a clip that is cut short'

# ---- what ffmpeg decodes: a file by its path, into a file that does not stay ----
mkdir "$T/bin" "$T/temp" "$T/empty"
cat >"$T/bin/ffmpeg" <<'SH'
#!/bin/sh
echo "$*" >>"$SAW"
for out; do :; done
/bin/cp "$GIVES" "$out"
exit "$STATUS"
SH
chmod +x "$T/bin/ffmpeg"
cp "$d/a.y4m" "$d/c d.mp4"
lines 'c d.mp4;x\nc d.mp4;y\n'
SAW=$T/saw GIVES=$d/a.y4m STATUS=0 TMPDIR_WAS=${TMPDIR:-/tmp} TMPDIR=$T/temp
export SAW GIVES STATUS TMPDIR
SEEN=$T/bin opens 0 'a clip by ffmpeg'
grep -q -- "-i file:$d/c d.mp4 .*-pix_fmt yuv420p -f yuv4mpegpipe $T/temp/" "$SAW" && ok || bad "ffmpeg was called otherwise: $(head -n 1 "$SAW")"
[ -z "$(ls "$T/temp")" ] && ok || bad "of ffmpeg remains $(ls "$T/temp")"
STATUS=1
SEEN=$T/bin opens 3 'ffmpeg fails'
STATUS=0 GIVES=$d/cut.y4m
SEEN=$T/bin opens 3 'ffmpeg gives half a clip'
SEEN=$T/empty opens 6 'no ffmpeg'
[ -z "$(ls "$T/temp")" ] && ok || bad "after failures remains $(ls "$T/temp")"
GIVES=$d/a.y4m

# ---- Something-Something ----
mkdir "$d/videos" && cp "$d/a.y4m" "$d/videos/7.y4m" && mkdir "$d/videos/8"
lists() { printf '%s' "$1" >"$d/train.json" && printf '%s' "$1" >"$d/validation.json"; }
one='{"id":"7","label":"moving a cup","template":"Moving [something]","placeholders":["a cup"]}'
lists "[$one,{\"id\":\"7\",\"template\":\"Hiding [something]\"}]"
opens 0 'a list of Something-Something'
grep -q '"class_names":\["Moving something","Hiding something"\]' "$T/run/config.json" && ok || bad "classes: $(grep -o '"class_names.*' "$T/run/config.json")"
# labels.json numbers the classes; two templates that differ in their last words alone are two classes
slide="Putting something that can't roll onto a slanted surface, so it s"
lists "[$one,{\"id\":\"7\",\"template\":\"${slide}lides down\"},{\"id\":\"7\",\"template\":\"${slide}tays where it is\"}]"
opens 0 'templates of over 63 bytes'
grep -q "\"class_names\":\[\"Moving something\",\"${slide}lides down\",\"${slide}tays where it is\"\]" "$T/run/config.json" && ok || bad "long classes: $(grep -o '"class_names.*' "$T/run/config.json")"
printf '{"Moving something":"1","%s":"2","%s":"0","Nothing":"3"}' "${slide}lides down" "${slide}tays where it is" >"$d/labels.json"
opens 0 labels.json
grep -q "\"class_names\":\[\"${slide}tays where it is\",\"Moving something\",\"${slide}lides down\",\"Nothing\"\]" "$T/run/config.json" && ok || bad "numbered classes: $(grep -o '"class_names.*' "$T/run/config.json")"
# a run whose classes are called by these numbers
before=$("$FV" eval "$T/run" --json) && sed 's/"class_names":\[[^]]*\]/"class_names":["0","1","2","3"]/' "$T/run/config.json" >"$T/config" && mv "$T/config" "$T/run/config.json"
[ "$before" = "$("$FV" eval "$T/run" --json)" ] && ok || bad "classes called by their numbers: $("$FV" eval "$T/run" --json 2>&1)"
rm -rf "$T/numbered" && cp -r "$T/run" "$T/numbered"
for wrong in '' '[]' '{}' '{"Moving something":0}' '{"Moving something":"1"}' '{"Moving something":"0","x":"0"}' '{"Moving something":"0","x":"2"}' '{"Moving something":"0"' '"0"'; do
    printf '%s' "$wrong" >"$d/labels.json"
    opens 3 "labels.json $wrong"
done
printf '{"Another":"0"}' >"$d/labels.json"
opens 2 'a template that labels.json has not'
rm "$d/labels.json"
"$FV" eval "$T/numbered" --json >/dev/null 2>&1
[ $? = 2 ] && ok || bad 'classes by numbers without labels.json'
cp "$d/a.y4m" "$d/videos/9.webm"
lists '[{"id":"9","template":"x"},{"id":"7","template":"y"}]'
SEEN=$T/bin opens 0 'a .webm by ffmpeg'
grep -q "videos/9.webm" "$SAW" && ok || bad 'videos/ID.webm was not what ffmpeg got'
TMPDIR=$TMPDIR_WAS
deep=$(head -c 60 /dev/zero | tr '\0' '[')
for bad in '' ' ' '{' '[' '{}' '[]' '3' 'null' '"x"' '[3]' '[null]' '[[]]' '[{}]' '[{"id":"7"}]' '[{"template":"x"}]' '[{"id":7,"template":"x"}]' \
    '[{"id":"7","template":3}]' '[{"id":"../7","template":"x"}]' '[{"id":"7","template":"x"},]' '[{"id":"7","template":"x"}' '[{"id":"7","template":"x"}] x' \
    '[{"id":"7","id":"8","template":"x"}]' '{"a":{"id":"7","template":"x"}}' "[{'id':'7','template':'x'}]" '[{"id":"7","template":"x}]' "$deep" "[$one,{}]" "[$one $one]"; do
    lists "$bad"
    opens 3 "malformed JSON '$bad'"
done
printf '[{"id":"7","template":"\377"}]' >"$d/train.json"
opens 3 'JSON that is not UTF-8'

# ---- ScanObjectNN's pairs of .h5 ----
scans=$T/scans
mkdir "$scans"
# points CODE DATA: trains on it
points() {
    rm -rf "$T/run"
    "$FV" train points --data "$2" --out "$T/run" --variant base --threads 1 --quiet --batch 4 --epochs 1 \
        --set num_points=16 num_group=4 group_size=4 trans_dim=8 encoder_dims=8 depth=1 num_heads=1 >"$T/out" 2>"$T/said"
    got=$?
    [ $got = "$1" ] && [ "$(wc -l <"$T/said")" -le 1 ] && ok || bad "points of $2: exit status $got, not $1: $(head -c 300 "$T/said")"
}
cat >"$T/h5.c" <<'C'
#include <hdf5.h>
int main(int n, char **name) { /* 8 clouds of 40 points, classes 0 to 14 */
    float x[8 * 40 * 3];
    int label[8] = {0, 14, 3, 3, 0, 14, 7, 7};
    hsize_t dim[3] = {8, 40, 3}, count = 8;
    for (int i = 0; i < 960; i++) x[i] = (float)(i * 7919 % 101);
    for (int i = 1; i < n; i++) {
        hid_t f = H5Fcreate(name[i], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), s = H5Screate_simple(3, dim, NULL), l = H5Screate_simple(1, &count, NULL);
        hid_t d = H5Dcreate2(f, "data", H5T_IEEE_F32LE, s, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), e = H5Dcreate2(f, "label", H5T_STD_I64LE, l, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        H5Dwrite(d, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, x), H5Dwrite(e, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, label);
        H5Dclose(d), H5Dclose(e), H5Sclose(s), H5Sclose(l), H5Fclose(f);
    }
    return 0;
}
C
case ${HAVE_FLAGS:-} in
*HAVE_HDF5*)
    # shellcheck disable=SC2086
    expect 'a writer of .h5 compiles' ${CC:-cc} $HAVE_FLAGS -o "$T/h5" "$T/h5.c" $HAVE_LIBS
    "$T/h5" "$scans/training_objectdataset.h5" "$scans/test_objectdataset.h5"
    points 0 "$scans"
    grep -q '"bag","bin","box",.*"toilet"' "$T/run/config.json" && ok || bad 'the names of ScanObjectNN'"'"'s 15 classes'
    expect 'the same run is measured' "$FV" eval "$T/run"
    points 0 "$scans/training_objectdataset.h5"
    cp "$scans/training_objectdataset.h5" "$scans/training_other.h5"
    points 2 "$scans"
    points 4 "$scans/training_other.h5"
    cp "$scans/training_objectdataset.h5" "$scans/training_objectdataset_augmentedrot_scale75.h5"
    cp "$scans/training_objectdataset.h5" "$scans/test_objectdataset_augmentedrot_scale75.h5"
    points 0 "$scans"
    head -c 2000 "$scans/training_objectdataset.h5" >"$scans/test_other.h5"
    points 3 "$scans/training_other.h5"
    points 2 "$scans/test_other.h5"
    ;;
*)
    echo x >"$scans/training_x.h5"
    points 6 "$scans"
    skip 'pairs of .h5' 'libhdf5 is not installed'
    ;;
esac

# ---- clouds in folders: ModelNet40's CLASS/train, endings in capitals, a class that the run does not know ----
net=$T/net
for class in bed night_stand; do
    for split in train test; do
        mkdir -p "$net/$class/$split"
        printf 'OFF3 1 0\n0 0 0\n1 0 0\n0 %d 2\n3 0 1 2\n' "${#class}" >"$net/$class/$split/${class}_1.off"
        cp "$net/$class/$split/${class}_1.off" "$net/$class/$split/${class}_2.OFF"
        printf '0 0 0\n1 0 %d\n0 1 0\n' "${#class}" >"$net/$class/$split/${class}_3.XYZ"
        echo 'not a cloud' >"$net/$class/$split/readme.md"
    done
done
points 0 "$net"
grep -q '"class_names":\["bed","night_stand"\]' "$T/run/config.json" && ok || bad "ModelNet40's classes: $(grep -o '"class_names.*' "$T/run/config.json")"
expect 'the same run is measured' "$FV" eval "$T/run"
rm "$net"/*/*/*.off && points 0 "$net" # those in capitals alone
echo '1 2 x' >"$net/bed/train/bed_4.XYZ"
points 3 "$net"
grep -q 'bed_4.XYZ: line 1:' "$T/said" && ok || bad "the damaged cloud is not named: $(cat "$T/said")"
rm "$net/bed/train/bed_4.XYZ" && rm "$net"/bed/test/*.*
points 4 "$net"
report
