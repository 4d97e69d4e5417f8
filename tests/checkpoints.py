"""Files for test_convert.sh, with Python's own library: checkpoint CASE OUT.pth [FAULT] (what torch.save would write of a golden case's model; what is wrong with it),
case CASE RUN OUT (the case with the weights and config of a converted run), data KIND DIR (a small data set). Exit status 0."""
import array, io, json, os, pickle, struct, sys, types, zipfile, zlib

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


def stored(i, shape, data, width):
    """a tensor's storage as views have it, one after the other: as it is; with its first dimension innermost; further on in its storage"""
    stride = [1] * len(shape)
    for k in range(len(shape) - 2, -1, -1):
        stride[k] = stride[k + 1] * shape[k + 1]
    if i % 3 == 1 and len(shape) > 1 and data:
        values = array.array("f" if width == 4 else "q", data)
        row = len(values) // shape[0]
        return b"".join(values[k::row].tobytes() for k in range(row)), 0, [1] + [shape[0] * n for n in stride[1:]]
    return (b"\x55" * (7 * width) + data, 7, stride) if i % 3 == 2 else (data, 0, stride)


def checkpoint(case, out, fault=""):
    w = {k[6:]: v for k, v in load(case)[1].items() if k.startswith("model.")}
    for name in [k for k in w if k.endswith("running_var")]:
        w[name.replace("running_var", "num_batches_tracked")] = ("I64", [], struct.pack("<q", 9))
    if any(k.startswith("llama.layers.") for k in w):
        w["llama.freqs_cis"] = ("F32", [2], bytes(8))
    if "to_patch_embedding.2.weight" in w and "llama_dim_mapper1.weight" in w:  # R-LLM's classes make it in every mode
        d = w["llama_dim_mapper1.weight"][1][1]
        w.setdefault("llama_dim_dim_mapper.weight", ("F32", [d, d], array.array("f", [0.5] * (d * d)).tobytes()))
    if fault == "layer31":
        w = {k.replace("llama.layers.0.", "llama.layers.31."): v for k, v in w.items()}
    if fault == "names":
        w = {"x" + k: v for k, v in w.items()}
    if fault == "missing":
        w = {k: v for k, v in w.items() if k != "cls_token"}
    if fault == "noblock":
        w = {k: v for k, v in w.items() if not k.startswith("llama.")}
    for name in ("torch", "torch._utils"):
        sys.modules[name] = types.ModuleType(name)
    torch, utils = sys.modules["torch"], sys.modules["torch._utils"]

    def _rebuild_tensor_v2(*a): pass
    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    kinds = {}
    for n in list(STORAGE.values()) + ["ComplexFloatStorage", "BFloat16Storage"]:
        kinds[n] = type(n, (), {"__module__": "torch"})
        setattr(torch, n, kinds[n])

    class Stored:
        def __init__(self, key, kind, count): self.key, self.kind, self.count = key, kind, count

    class Tensor:
        def __init__(self, *args): self.args = args

        def __reduce__(self):
            key, kind, shape, count, offset, stride = self.args
            return _rebuild_tensor_v2, (Stored(key, kind, count), offset, tuple(shape), tuple(stride), False, {})

    class Pickler(pickle.Pickler):
        def persistent_id(self, o):
            return ("storage", kinds[o.kind], o.key, "cpu", o.count) if isinstance(o, Stored) else None
    model, files = {}, {}
    for i, (k, (kind, shape, data)) in enumerate(w.items()):
        width = 4 if kind == "F32" else 8
        data, offset, stride = stored(i, shape, data, width)
        kind, files[str(i)] = STORAGE[kind], data
        if i == 0 and fault == "past":
            offset += 1
        if i == 0 and fault == "negative":
            offset, stride = len(data) // width, [-n for n in stride]
        if i == 0 and fault == "more":
            shape, stride = [10 ** 9], [0]
        if i == 0 and fault == "type":
            kind = "ComplexFloatStorage"
        if fault == "bf16":
            kind, files[str(i)], offset, stride = "BFloat16Storage", bytes(data[3::4] if width == 4 else data) * 2, 0, stored(0, shape, b"", 2)[2]
        model["module." + k] = Tensor(str(i), kind, shape, len(data) // width, offset, stride)
    f = io.BytesIO()
    Pickler(f, 2).dump([1, 2] if fault == "list" else {"epoch": 3} if fault == "none" else {"model": model, "epoch": 3, "args": types.SimpleNamespace(lr=1)})
    with zipfile.ZipFile(out, "w") as z:
        if fault != "pickle":
            z.writestr("archive/data.pkl", f.getvalue())
        if fault == "two":
            z.writestr("other/data.pkl", f.getvalue())
        for i, data in files.items():
            if fault != "storage" or i != "0":
                z.writestr("archive/data/" + i, data)


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
    if kind.startswith("volumes"):
        f, s, classes = {"volumes": (8, 16, 5), "volumes-6-16": (6, 16, 4), "volumes-6-12": (6, 12, 4)}[kind]
        with zipfile.ZipFile(folder + "/small.npz", "w") as z:
            for split in ("train", "val", "test"):
                z.writestr(split + "_images.npy", npy([10, f, s, s], bytes((i * i // 7) % 256 for i in range(10 * f * s * s))))
                z.writestr(split + "_labels.npy", npy([10, 1], bytes(i % classes for i in range(10))))
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
