#!/usr/bin/env python3
"""Makes tests/golden/pictures.safetensors for tests/test_image.c: what Pillow, torchvision, timm and torch do with small
pictures. Chance is fed to their own classes from frozenvis' counter-based stream, written here a second time, so that
results can be compared number by number. Needs pillow (13 or later), torch, torchvision, timm, safetensors, numpy:
    python tests/golden/make_image.py tests/golden/pictures.safetensors
"""
import math
import random
import sys

import numpy as np
import timm.data.mixup
import timm.data.random_erasing
import timm.data.transforms
import torch
import torchvision.transforms.functional as F
from PIL import Image
from safetensors.numpy import save_file
from timm.data import create_transform
from timm.layers import resample_abs_pos_embed

FILTERS = {0: Image.BICUBIC, 1: Image.BILINEAR, 2: Image.BICUBIC, 3: Image.LANCZOS}
MASK = 0xFFFFFFFF


class Stream:
    """fv_rng: Philox4x32-10 (Salmon et al., 2011) and what stands on it"""

    def __init__(self, seed, stream):
        self.seed, self.stream, self.next = seed, stream, 0

    def block(self, counter):
        k0, k1 = self.seed & MASK, self.seed >> 32
        x = [counter & MASK, counter >> 32, self.stream & MASK, self.stream >> 32]
        for _ in range(10):
            p, q = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
            x = [(q >> 32) ^ x[1] ^ k0, q & MASK, (p >> 32) ^ x[3] ^ k1, p & MASK]
            k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
        return x

    def u32(self):
        w = self.block(self.next >> 2)[self.next & 3]
        self.next += 1
        return w

    def uniform(self):
        return (self.u32() >> 8) / 16777216.0

    def between(self, a, b):
        return a + (b - a) * self.uniform()

    def below(self, n):
        limit = MASK - MASK % n
        while True:
            w = self.u32()
            if w < limit:
                return w % n

    def normal(self):
        w, i = self.block(self.next >> 1), self.next & 1
        self.next += 1
        u, v = (w[2 * i] + 0.5) / 4294967296.0, (w[2 * i + 1] + 0.5) / 4294967296.0
        return float(np.float32(math.sqrt(-2 * math.log(u)) * math.cos(6.283185307179586 * v)))

    def gamma(self, alpha):
        boost = 1.0
        if alpha < 1:
            boost, alpha = (self.uniform() + 1e-12) ** (1 / alpha), alpha + 1
        d = alpha - 1.0 / 3
        k = 1 / math.sqrt(9 * d)
        while True:
            x = self.normal()
            v, u = 1 + k * x, self.uniform() + 1e-12
            if v <= 0:
                continue
            v = v * v * v
            if math.log(u) < 0.5 * x * x + d - d * v + d * math.log(v):
                return boost * d * v

    def beta(self, alpha):
        a, b = self.gamma(alpha), self.gamma(alpha)
        return float(np.float32(a / (a + b)))

    def shuffle(self, a):
        for i in range(len(a) - 1, 0, -1):
            j = self.below(i + 1)
            a[i], a[j] = a[j], a[i]


def picture(h, w, channels, seed):
    """waves, a hard checkerboard and noise: something for every tap, and for clamping at both ends"""
    g = np.random.default_rng(seed)
    y, x, q = np.meshgrid(np.arange(h), np.arange(w), np.arange(channels), indexing="ij")
    waves = 128 + 90 * np.sin(0.21 * x + 0.13 * y * (q + 1)) + g.normal(0, 20, (h, w, channels))
    board = 255.0 * ((x // 3 + y // 2 + q) % 2)
    return np.clip(np.where((x > w // 2) & (y > h // 3), board, waves), 0, 255).astype(np.uint8)


def pil(a):
    return Image.fromarray(a[:, :, 0] if a.shape[2] == 1 else a)


def array(im):
    a = np.array(im)
    return a[:, :, None] if a.ndim == 2 else a


PICTURES = [picture(43, 61, 3, 1), picture(28, 28, 1, 2), picture(90, 37, 3, 3), picture(5, 300, 1, 4), picture(1, 1, 3, 5)]

# the fields of fv_augment_desc, in order
FIELDS = ["size", "channels", "filter", "crop_pct", "scale0", "scale1", "ratio0", "ratio1", "padding", "hflip", "brightness",
          "contrast", "saturation", "erase", "area0", "area1", "erase_ratio", "erase_mode"]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def feed(s):
    """timm's chance comes from the stream"""
    random.uniform = s.between
    random.random = s.uniform
    random.randint = lambda a, b: a + s.below(b - a + 1)
    np.random.rand = s.uniform
    np.random.beta = lambda a, b: s.beta(a)
    np.random.randint = lambda a, b, size=None: a + s.below(b - a)
    timm.data.random_erasing._get_pixels = lambda per_pixel, rand_color, size, **_: torch.tensor(
        [s.normal() for _ in range(math.prod(size))], dtype=torch.float32).reshape(size) if per_pixel else torch.tensor(
        [s.normal() for _ in range(size[0])], dtype=torch.float32).reshape(-1, 1, 1) if rand_color else torch.zeros(size[0], 1, 1)


def augment(a, d, s):
    feed(s)
    im, size, f = pil(a), int(d["size"]), FILTERS[int(d["filter"])]
    if d["channels"] == 3 and a.shape[2] == 1:
        im = im.convert("RGB")
    if d["scale0"] > 0:
        scale = (d["scale0"], d["scale1"] or 1.0)
        ratio = (d["ratio0"] or 3 / 4, d["ratio1"] or 4 / 3)
        crop = timm.data.transforms.RandomResizedCropAndInterpolation(size, scale, ratio, "bicubic")
        crop.interpolation = f
        im = crop(im)
    else:
        pad = int(d["padding"])
        im = F.pad(F.resize(im, size, f), pad)
        top, left = s.below(im.height - size + 1), s.below(im.width - size + 1)
        im = F.crop(im, top, left, size, size)
    if d["hflip"] > 0 and s.uniform() < d["hflip"]:
        im = F.hflip(im)
    amount = [d["brightness"], d["contrast"], d["saturation"]]
    if any(amount):
        order = [0, 1, 2]
        s.shuffle(order)
        factor = [s.between(max(0.0, 1 - x), 1 + x) if x else None for x in amount]
        for i in order:
            if factor[i] is not None:
                im = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)[i](im, factor[i])
    n = d["channels"] or a.shape[2]
    x = F.normalize(F.to_tensor(im), MEAN[:int(n)], STD[:int(n)])
    if d["erase"] > 0:
        x = timm.data.random_erasing.RandomErasing(
            d["erase"], d["area0"] or 0.02, d["area1"] or 1 / 3, d["erase_ratio"] or 0.3,
            mode=["const", "rand", "pixel"][int(d["erase_mode"])], device="cpu")(x)
    return x.numpy()


def main():
    out = {f"picture.{i}": a for i, a in enumerate(PICTURES)}
    # resizing: up, down, by a lot, one side only, to one pixel
    cases = [(0, 28, 28, 2), (0, 28, 28, 1), (0, 28, 28, 3), (0, 45, 70, 2), (0, 43, 20, 1), (0, 13, 61, 2), (0, 7, 5, 2), (0, 1, 1, 1),
             (1, 56, 56, 2), (1, 14, 14, 1), (1, 31, 27, 2), (1, 28, 28, 2), (2, 24, 24, 2), (2, 45, 18, 3), (2, 91, 38, 1), (3, 6, 17, 2),
             (3, 2, 3, 3), (3, 9, 299, 1), (4, 4, 6, 2)]
    for i, (p, h, w, f) in enumerate(cases):
        out[f"resize.{i}.args"] = np.array([p, h, w, f], np.int32)
        out[f"resize.{i}"] = array(pil(PICTURES[p]).resize((w, h), FILTERS[f]))
    four = picture(19, 23, 4, 9)  # Pillow's RGBX: four channels that do not touch each other
    out["picture4"], out["resize4"] = four, np.array(Image.frombytes("RGBX", (23, 19), four.tobytes()).resize((11, 12), Image.BICUBIC))
    # floats
    x = np.random.default_rng(6).normal(size=(2, 9, 14)).astype(np.float32)
    out["planes"] = x
    for name, mode in (("bilinear", "bilinear"), ("bicubic", "bicubic")):
        for h, w in ((5, 6), (20, 14), (9, 31)):
            y = torch.nn.functional.interpolate(torch.tensor(x)[None], size=(h, w), mode=mode, antialias=True, align_corners=False)
            out[f"{name}.{h}x{w}"] = y[0].numpy()
    pos = np.random.default_rng(7).normal(size=(1, 2 + 7 * 7, 6)).astype(np.float32)
    out["pos"] = pos[0]
    for h, w in ((7, 7), (14, 14), (5, 9), (3, 3)):
        out[f"pos.{h}x{w}"] = resample_abs_pos_embed(torch.tensor(pos), [h, w], num_prefix_tokens=2, old_size=[7, 7])[0].numpy()
    # evaluation as timm does it
    for i, (p, size, pct, mode) in enumerate([(0, 24, 0.875, "bicubic"), (0, 17, 1.0, "bilinear"), (1, 28, 1.0, "bicubic"), (2, 20, 0.9, "bicubic"),
                                              (2, 21, 0.7, "bilinear"), (1, 32, 0.95, "bicubic")]):
        a = PICTURES[p]
        t = create_transform((a.shape[2], size, size), is_training=False, interpolation=mode, mean=MEAN[:a.shape[2]], std=STD[:a.shape[2]],
                             crop_pct=float(np.float32(pct)))
        out[f"eval.{i}.args"] = np.array([p, size, pct, 1 if mode == "bilinear" else 2], np.float32)
        out[f"eval.{i}"] = t(pil(a)).numpy()
    for i, (p, h, w) in enumerate([(0, 20, 20), (0, 21, 30), (2, 95, 20), (2, 33, 44)]):
        out[f"center.{i}.args"] = np.array([p, h, w], np.int32)
        out[f"center.{i}"] = array(F.center_crop(pil(PICTURES[p]), [h, w]))
    # training
    jobs = [(0, dict(size=10, scale0=0.08, hflip=0.5)), (0, dict(size=10, scale0=0.4, scale1=0.6, filter=1, hflip=0.5)), (2, dict(size=9, scale0=0.9)),
            (3, dict(size=10, scale0=0.8, ratio0=0.9, ratio1=1.1)), (1, dict(size=28, padding=4, hflip=0.5)), (1, dict(size=20, channels=3, hflip=1)),
            (0, dict(size=10, padding=3, hflip=0.5)), (2, dict(size=10)), (0, dict(size=9, brightness=0.4)), (0, dict(size=9, contrast=0.4)),
            (0, dict(size=9, saturation=0.9)), (0, dict(size=9, scale0=0.3, hflip=0.5, brightness=0.8, contrast=0.7, saturation=1.5)),
            (1, dict(size=9, brightness=0.5, contrast=0.5, saturation=0.5)), (1, dict(size=10, channels=3, brightness=0.5, contrast=0.9)),
            (0, dict(size=9, erase=1)), (0, dict(size=9, erase=1, erase_mode=1)), (1, dict(size=9, erase=1, erase_mode=2, area0=0.2, area1=0.5)),
            (0, dict(size=9, erase=0.25, scale0=0.2, hflip=0.5, brightness=0.4, contrast=0.4, saturation=0.4)),
            (1, dict(size=9, erase=0.5, area0=0.1, area1=0.9, erase_ratio=0.8))]
    for i, (p, given) in enumerate(jobs):
        d = {k: float(np.float32(given.get(k, 0))) for k in FIELDS}
        out[f"augment.{i}.desc"] = np.array([p] + [d[k] for k in FIELDS], np.float32)
        for j in range(2):
            out[f"augment.{i}.{j}"] = augment(PICTURES[p], d, Stream(1000 + i, (7 << 32) + j))
    # mixing
    x = np.random.default_rng(8).normal(size=(4, 2, 5, 6)).astype(np.float32)
    labels = np.array([3, 0, 4, 3], np.int32)
    out["mix.x"], out["mix.labels"] = x, labels
    for i, (m, k, prob, switch, smoothing) in enumerate([(0.8, 0, 1, 0.5, 0.1), (0, 1.0, 1, 0.5, 0.1), (0.2, 0, 1, 0.5, 0), (0.8, 1.0, 1, 0.5, 0.1), (0.8, 1.0, 0.5, 0.5, 0.1),
                                                         (0, 0, 1, 0.5, 0.2), (0.8, 1.0, 0.9, 0.25, 0)]):
        m, k, prob, switch, smoothing = (float(np.float32(v)) for v in (m, k, prob, switch, smoothing))
        out[f"mix.{i}.desc"] = np.array([m, k, prob, switch, smoothing], np.float32)
        for j in range(3):
            feed(Stream(50 + i, j))
            mix = timm.data.mixup.Mixup(m, k, prob=prob, switch_prob=switch, label_smoothing=smoothing, num_classes=5)
            mix.mixup_enabled = m > 0 or k > 0
            y, t = mix(torch.tensor(x.copy()), torch.tensor(labels.astype(np.int64)))
            out[f"mix.{i}.{j}.x"], out[f"mix.{i}.{j}.targets"] = y.numpy(), t.numpy().astype(np.float32)
    save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, sys.argv[1])


main()
