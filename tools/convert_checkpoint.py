#!/usr/bin/env python3
"""Turns a .pth that PyTorch saved with the released code (image, point, video; R-LLM's volumes) into a run's folder, for fv eval and fv predict.

    python3 tools/convert_checkpoint.py CHECKPOINT.pth --out RUN [--data DIR] [--llm FILE --layers 31] [--set key=value ...]
    build/fv eval RUN --data DIR

Nothing but Python's own library is used, and no code of the pickle is run: names it wants that are not tensors become empty objects.
The model's config is read off the names and shapes. What these don't tell takes the released code's value: 64 channels a head (128 in the LLM),
pictures of 224 and clips of 16 frames, 64 groups of 32 out of 1024 points, volumes of 28 in patches of 4 or as they fit; --set says otherwise (also frozen.residual and frozen.only_mlp, which leave
no trace in the names: R-LLM's volumes have llama_dim_dim_mapper whether it is used or not, so for them frozen.residual has to be said). So do the test's keys: pictures by ImageNet's mean and std, the
middle 7/8 of them, clouds neither moved nor scaled, the points that are farthest apart; --set train.KEY=VALUE says otherwise. With --data whose classes are folders, their names are kept in the order of the
letters, which is torchvision's. The LLM's block is taken from the .pth when it is in there, else from --llm. Exit status: 0; 2 wrong usage or not a network of ours; 3 malformed; 4 not read or written."""
import argparse, json, os, pickle, re, struct, sys, zipfile

TYPES = {  # torch's storage: safetensors' name, bytes
    "FloatStorage": ("F32", 4), "HalfStorage": ("F16", 2), "BFloat16Storage": ("BF16", 2), "DoubleStorage": ("F64", 8),
    "LongStorage": ("I64", 8), "IntStorage": ("I32", 4), "ShortStorage": ("I16", 2), "CharStorage": ("I8", 1), "ByteStorage": ("U8", 1), "BoolStorage": ("BOOL", 1)}


def stop(status, sentence):
    print("convert_checkpoint: " + sentence, file=sys.stderr)
    sys.exit(status)


class Tensor:
    def __init__(self, storage, offset, shape, stride, *rest):
        self.storage, self.offset, self.shape, self.stride = storage, offset, list(shape), list(stride)

    def bytes(self):
        (kind, width), data = TYPES[self.storage[0]], self.storage[1]
        want, count = [], 1
        for n in reversed(self.shape):
            want.insert(0, count)
            count *= n
        if not count:
            return kind, b""
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride))
        if self.offset < 0 or min(self.stride, default=0) < 0 or (last + 1) * width > len(data):
            raise ValueError("a tensor reaches past its storage")
        if count * width > len(data):
            raise ValueError("a tensor has more elements than its storage")
        if all(n == 1 or s == w for n, s, w in zip(self.shape, self.stride, want)):
            return kind, data[self.offset * width:(self.offset + count) * width]
        at = [self.offset]
        for n, s in zip(self.shape, self.stride):
            at = [a + i * s for a in at for i in range(n)]
        return kind, b"".join(data[a * width:(a + 1) * width] for a in at)


class Nothing:
    def __init__(self, *a, **k): pass
    def __setstate__(self, state): pass
    def __setitem__(self, key, value): pass
    def append(self, value): pass
    def extend(self, values): pass


class Storage:
    def __init__(self, name): self.name = name


class Reader(pickle.Unpickler):
    def __init__(self, archive, folder):
        super().__init__(archive.open(folder + "data.pkl"))
        self.archive, self.folder, self.seen = archive, folder, {}

    def find_class(self, module, name):
        if name in TYPES and module.startswith("torch"):
            return Storage(name)
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return Tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *rest: tensor
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        return Nothing

    def persistent_load(self, pid):
        kind, key = pid[1], pid[2]
        if not isinstance(kind, Storage):
            raise ValueError("a storage of an unknown type")
        if key not in self.seen:
            self.seen[key] = (kind.name, self.archive.read(self.folder + "data/" + key))
        return self.seen[key]


def read(path):
    try:
        with open(path, "rb") as f:
            if f.read(2) != b"PK":
                stop(3, path + ": not a checkpoint of PyTorch 1.6 or newer (a zip file); load it in PyTorch and save it again")
        with zipfile.ZipFile(path) as z:
            inside = [n for n in z.namelist() if n == "data.pkl" or n.endswith("/data.pkl")]
            if len(inside) != 1:
                stop(3, path + ": holds no data.pkl, so PyTorch did not save it")
            return Reader(z, inside[0][:-len("data.pkl")]).load()
    except OSError as e:
        stop(4, "%s: %s" % (path, e.strerror or e))
    except Exception as e:  # whatever a damaged pickle can bring about
        stop(3, "%s: damaged: %s" % (path, e))


def state_dict(top, path):
    for key in ("model", "base_model", "module", "state_dict", "model_state_dict"):
        if isinstance(top, dict) and isinstance(top.get(key), dict):
            top = top[key]
    w = {k: v for k, v in top.items() if isinstance(k, str) and isinstance(v, Tensor)} if isinstance(top, dict) else {}
    if not w:
        stop(2, path + ": holds no state dict")
    while all(k.startswith("module.") for k in w):
        w = {k[7:]: v for k, v in w.items()}
    return {k: v for k, v in w.items() if not k.endswith("num_batches_tracked") and not re.search(r"(freqs|inv_freq)(_cis)?$", k)}


def number(w, pattern):
    """one past the greatest number that stands in the group of pattern"""
    return 1 + max((int(m.group(1)) for m in (re.match(pattern, k) for k in w) if m), default=-1)


def volume_patch(c, patch, tokens):
    """the one way to cut image_size x image_size x frames into patches that gives both counts, cubes first"""
    fits = [(p, f) for p in range(1, c["image_size"] + 1) for f in range(1, c["frames"] + 1)
            if c["image_size"] % p == 0 and c["frames"] % f == 0 and p * p * f * c["channels"] == patch
            and (c["image_size"] // p) ** 2 * (c["frames"] // f) == tokens]
    if not fits:
        stop(2, "no patch size gives %d values a patch and %d patches; --set image_size, frames and channels" % (patch, tokens))
    return sorted(fits, key=lambda pf: abs(pf[0] - pf[1]))[0]


def config(w, said):
    def dim(key, i): return w[key].shape[i]
    def known(c, key, value): c[key] = said.pop(key, value)
    c = {}
    if "encoder.first_conv.0.weight" in w:
        c.update(arch="point_transformer", trans_dim=dim("cls_token", 2), depth=number(w, r"blocks\.blocks\.(\d+)\."), encoder_width=dim("encoder.first_conv.3.weight", 0),
                 encoder_dims=dim("encoder.second_conv.3.weight", 0))
        head = max(k for k in w if re.match(r"cls_head_finetune\.\d+\.weight$", k))
        known(c, "num_heads", c["trans_dim"] // 64), known(c, "num_group", 64), known(c, "group_size", 32), known(c, "num_points", 1024)
        c["num_classes"] = dim(head, 0)
        task = "points"
    elif "to_patch_embedding.2.weight" in w:
        known(c, "image_size", 28), known(c, "frames", 28), known(c, "dim_head", 64)
        spatial, patch, pos = "spatial_transformer.norm.weight" in w, dim("to_patch_embedding.1.weight", 0), w["pos_embedding"].shape
        c.update(arch="vivit" if spatial else "vit3d", dim=dim("to_patch_embedding.2.weight", 0), pool="cls" if any("cls_token" in k for k in w) else "mean")
        known(c, "pool", c["pool"])
        at = "spatial_transformer" if spatial else "transformer"
        c.update(heads=dim(at + ".layers.0.0.to_qkv.weight", 0) // 3 // c["dim_head"], mlp_dim=dim(at + ".layers.0.1.net.1.weight", 0))
        tokens = pos[1] * pos[2] if spatial else pos[1] - 1
        known(c, "channels", max(1, patch * tokens // (c["image_size"] ** 2 * c["frames"])))  # every voxel is in one patch
        c["image_patch_size"], c["frame_patch_size"] = volume_patch(c, patch, tokens)
        if spatial:
            c.update(spatial_depth=number(w, r"spatial_transformer\.layers\.(\d+)\."), temporal_depth=number(w, r"temporal_transformer\.layers\.(\d+)\."))
        else:
            c["depth"] = number(w, r"transformer\.layers\.(\d+)\.")
        c["num_classes"] = dim("mlp_head.weight" if spatial else "mlp_head.1.weight", 0)
        task = "volumes"
    elif "patch_embed.proj.weight" in w and "head.weight" in w:
        k = w["patch_embed.proj.weight"].shape
        c.update(arch="video_vit" if len(k) == 5 else "vit", embed_dim=k[0], in_chans=k[1], patch_size=k[-1], depth=number(w, r"blocks\.(\d+)\."), num_classes=dim("head.weight", 0))
        c["mlp_ratio"] = dim("blocks.0.mlp.fc1.weight", 0) / k[0]
        known(c, "num_heads", k[0] // 64)
        c["qkv_bias"] = any(n in w for n in ("blocks.0.attn.qkv.bias", "blocks.0.attn.q_bias"))
        if len(k) == 5:
            c["tubelet_size"] = k[2]
            known(c, "img_size", 224), known(c, "num_frames", 16), known(c, "init_values", 0.1 if "blocks.0.gamma_1" in w else 0.0)
            c["global_pool"] = "avg" if "fc_norm.weight" in w else "token"
        else:
            c["class_token"] = "cls_token" in w
            c["img_size"] = k[-1] * round((dim("pos_embed", 1) - c["class_token"]) ** 0.5)
            c["global_pool"] = "avg" if "fc_norm.weight" in w else "token"
        task = "video" if len(k) == 5 else "image"
    else:
        stop(2, "not a network of the released code: neither a ViT, a Point-BERT, a VideoMAE, a ViT3D nor a ViViT by its names")
    return task, c


def frozen(w, said, llm, layers):
    f = {}
    if "llama_dim_mapper1.weight" in w:
        d = w["llama_dim_mapper1.weight"].shape[0]
        ids = sorted({int(m.group(1)) for m in (re.match(r"llama\.layers\.(\d+)\.", k) for k in w) if m})
        if ids:
            first = "llama.layers.%d." % ids[0]
            heads = said.pop("frozen.num_attention_heads", max(1, d // 128))
            kv = w[first + "attention.wk.weight"].shape[0] * heads // d if first + "attention.wk.weight" in w else heads
            f.update(arch="llama", hidden_size=d, num_attention_heads=heads, num_key_value_heads=kv, intermediate_size=w[first + "feed_forward.w1.weight"].shape[0], rms_norm_eps=1e-6)
            if ids == list(range(len(ids))):
                f["num_hidden_layers"] = len(ids)
            else:
                f["layers"] = ids
            f["only_mlp"] = first + "attention.wk.weight" not in w
            f["final_norm"] = "loaded" if "llama.norm.weight" in w else "ones"
        elif not llm:
            stop(2, "the checkpoint holds F1 and F2 but no block of the LLM; --llm FILE and --layers N say where it is")
        elif layers:
            f["layers"] = [int(x) for x in layers.split(",")]
        if "llama_dim_dim_mapper.weight" in w:
            if "frozen.residual" not in said:
                stop(2, "the names do not tell which residual connection it was trained with; --set frozen.residual=none, inside, outside, both or outside_nn does")
            if said["frozen.residual"] != "outside_nn":
                del w["llama_dim_dim_mapper.weight"]
        f["variant"] = "llm"
    for k in [k for k in said if k.startswith("frozen.")]:
        f[k[7:]] = said.pop(k)
    return f or {"variant": "base"}


def folders(data):
    """the names of the classes where each is a folder: DATA/train/CLASS, else DATA/CLASS/train; in torchvision's order"""
    for top, below in ((os.path.join(data, "train"), ""), (data, "train")):
        if os.path.isdir(top):
            names = sorted(n for n in os.listdir(top) if not n.startswith(".") and os.path.isdir(os.path.join(top, n, below)))
            if names:
                return names
    return []


def write(path, data):
    """under another name, synced, renamed: never half a file"""
    part = path + ".part"
    with open(part, "wb") as f:
        for piece in data:
            f.write(piece)
        f.flush()
        os.fsync(f.fileno())
    os.replace(part, path)


def safetensors(w):
    head, pieces, at = {"__metadata__": {"format": "pt"}}, [], 0
    for k in sorted(w):
        kind, data = w[k].bytes()
        head[k] = {"dtype": kind, "shape": w[k].shape, "data_offsets": [at, at + len(data)]}
        pieces.append(data)
        at += len(data)
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return [struct.pack("<Q", len(text)), text] + pieces


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint"), p.add_argument("--out", required=True), p.add_argument("--data", default=""), p.add_argument("--llm"), p.add_argument("--layers")
    p.add_argument("--set", nargs="+", action="extend", default=[], metavar="key=value")
    a = p.parse_args()
    if os.path.exists(a.out):
        stop(2, a.out + ": exists; give another --out")
    said = {}
    for s in a.set:
        key, equals, value = s.partition("=")
        if not equals:
            stop(2, "--set %s: key=value is wanted" % s)
        try:
            said[key] = json.loads(value)
        except ValueError:
            said[key] = value
    w = state_dict(read(a.checkpoint), a.checkpoint)
    try:
        task, model = config(w, said)
        model["frozen"] = frozen(w, said, a.llm, a.layers)
        model.update(said)
        c = {"task": task, "model": model, "train": {"variant": model["frozen"]["variant"]}}
        if task in ("video", "volumes"):  # their lists hold numbers; folders bring names
            c["class_names"] = [str(i) for i in range(model["num_classes"])]
        names = folders(a.data) if a.data and task in ("image", "points") else []
        if names and len(names) != model["num_classes"]:
            stop(2, "%s: %d folders of classes, and the checkpoint has %d classes" % (a.data, len(names), model["num_classes"]))
        if names:
            c["class_names"] = names
        if task == "image" and model["in_chans"] == 3:
            c["train"].update(normalize="imagenet", crop_pct=0.875)
        if task == "points":
            c["train"].update(fit=0, fps=1)
        for k in [k for k in model if k.startswith("train.")]:
            c["train"][k[6:]] = model.pop(k)
        if a.data:
            c["data"] = os.path.realpath(a.data)
        if a.llm:
            c["llm"] = {"path": os.path.realpath(a.llm), "sha256": ""}
        data = safetensors(w)
    except KeyError as e:
        stop(2, "%s: the key %s is missing" % (a.checkpoint, e))
    except (ValueError, IndexError) as e:
        stop(3, "%s: %s" % (a.checkpoint, e))
    except (TypeError, ZeroDivisionError):
        stop(2, "a value of --set does not fit its key")
    try:
        os.makedirs(a.out)
        write(os.path.join(a.out, "model.safetensors"), data)
        write(os.path.join(a.out, "config.json"), [json.dumps(c).encode(), b"\n"])
    except OSError as e:
        stop(4, "%s: %s" % (e.filename, e.strerror))
    print("%s: %s, %d tensors; build/fv eval %s%s" % (a.out, model["arch"], len(w), a.out, "" if a.data else " --data DIR"))


if __name__ == "__main__":
    main()
