"""Files for test_convert.sh, with Python's own library: checkpoint CASE OUT.pth (what torch.save would write of a golden case's model), case CASE RUN OUT (the
case with the weights and config of a converted run), data KIND DIR (a small data set). Exit status 0."""
import io, json, os, pickle, struct, sys, types, zipfile, zlib

STORAGE = {"F32": "FloatStorage", "I64": "LongStorage"}


def load(path):
    b = open(path, "rb").read()
    n = struct.unpack("<Q", b[:8])[0]
    h = json.loads(b[8:8 + n])
    meta = h.pop("__metadata__", {})
    return meta, {k: (v["dtype"], v["shape"], b[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]) for k, v in h.items()}


def save(path, meta, w):
    head, data, at = {"__metadata__": meta}, b"", 0
    for k, (kind, shape, piece) in w.items():
        head[k] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(piece)]}
        data, at = data + piece, at + len(piece)
    text = json.dumps(head).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


def checkpoint(case, out):
    w = {k[6:]: v for k, v in load(case)[1].items() if k.startswith("model.")}
    for name in ("torch", "torch._utils"):
        sys.modules[name] = types.ModuleType(name)
    torch, utils = sys.modules["torch"], sys.modules["torch._utils"]

    def _rebuild_tensor_v2(*a): pass
    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    kinds = {}
    for n in STORAGE.values():
        kinds[n] = type(n, (), {"__module__": "torch"})
        setattr(torch, n, kinds[n])

    class Stored:
        def __init__(self, key, kind, count): self.key, self.kind, self.count = key, kind, count

    class Tensor:
        def __init__(self, key, kind, shape, count): self.args = (key, kind, shape, count)

        def __reduce__(self):
            key, kind, shape, count = self.args
            stride = [1] * len(shape)
            for i in range(len(shape) - 2, -1, -1):
                stride[i] = stride[i + 1] * shape[i + 1]
            return _rebuild_tensor_v2, (Stored(key, kind, count), 0, tuple(shape), tuple(stride), False, {})

    class Pickler(pickle.Pickler):
        def persistent_id(self, o):
            return ("storage", kinds[STORAGE[o.kind]], o.key, "cpu", o.count) if isinstance(o, Stored) else None
    f = io.BytesIO()
    Pickler(f, 2).dump({"model": {"module." + k: Tensor(str(i), v[0], v[1], len(v[2]) // 4) for i, (k, v) in enumerate(w.items())}, "epoch": 3, "args": types.SimpleNamespace(lr=1)})
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("archive/data.pkl", f.getvalue())
        for i, v in enumerate(w.values()):
            z.writestr("archive/data/%d" % i, v[2])


def case(golden, run, out):
    meta, w = load(golden)
    config = json.loads(meta["config"])
    config = dict(json.load(open(run + "/config.json"))["model"])
    w = {k: v for k, v in w.items() if not k.startswith("model.")}
    w.update({"model." + k: v for k, v in load(run + "/model.safetensors")[1].items()})
    save(out, dict(meta, config=json.dumps(config)), w)


def png(path, n):
    def part(kind, data): return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes((x * 7 + y * 5 + n * 40) % 256 for x in range(96)) for y in range(32))
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b""))


def npy(shape, data):
    head = "{'descr': '|u1', 'fortran_order': False, 'shape': (%s,), }" % ", ".join(map(str, shape))
    head += " " * (-(len(head) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head.encode() + data


def data(kind, folder):
    os.makedirs(folder)
    if kind == "volumes":
        with zipfile.ZipFile(folder + "/small.npz", "w") as z:
            for split in ("train", "val", "test"):
                z.writestr(split + "_images.npy", npy([10, 8, 16, 16], bytes((i * i // 7) % 256 for i in range(10 * 8 * 256))))
                z.writestr(split + "_labels.npy", npy([10, 1], bytes(i % 5 for i in range(10))))
        return
    if kind == "video":
        for i in range(5):
            with open("%s/%d.y4m" % (folder, i), "wb") as f:
                f.write(b"YUV4MPEG2 W16 H16 F10:1 C444\n")
                for t in range(8):
                    f.write(b"FRAME\n" + bytes((t * 9 + i * 31 + j) % 256 for j in range(768)))
        for split in ("train.csv", "val.csv"):
            open(folder + "/" + split, "w").write("".join("%d.y4m, %d\n" % (i, i) for i in range(5)))
        return
    for split in ("train", "test"):
        for c in range(10 if kind == "image" else 6):
            at = "%s/%s/c%d" % (folder, split, c)
            os.makedirs(at)
            if kind == "image":
                png(at + "/a.png", c)
            else:
                open(at + "/a.xyz", "w").write("".join("%d %d %d\n" % (i * i % 17, i * 7 % 23, i * (c + 3) % 11) for i in range(120)))


{"checkpoint": checkpoint, "case": case, "data": data}[sys.argv[1]](*sys.argv[2:])
