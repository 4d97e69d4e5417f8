"""measures.safetensors: what fv heatmap, probe, compare and eval --corrupt compute, by NumPy, SciPy and Pillow, for tests/test_insight.c.

    python3 tests/golden/make_measures.py      (numpy, scipy, pillow, safetensors)
"""
import io
import os

import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from scipy import ndimage

rng = np.random.default_rng(12)
out = {}

# ---- tokens: magnitude and frequency as the paper's section 6.2 has them ----
for d in (48, 45, 31, 576):
    x = rng.normal(size=(12 if d < 100 else 3, d)).astype(np.float32) + rng.normal(size=(1, d)).astype(np.float32)
    f = np.fft.fft(x.astype(np.float64), axis=-1)
    f[:, 0].imag = 0  # real by symmetry; the sign of that zero, which decides between pi and -pi, is the library's accident
    if d % 2 == 0:
        f[:, d // 2].imag = 0
    phase = np.angle(f)
    out[f"tokens{d}.x"] = x
    out[f"tokens{d}.phase"] = phase
    out[f"tokens{d}.magnitude"] = np.linalg.norm(x.astype(np.float64) - x.astype(np.float64).mean(0), axis=1)
    out[f"tokens{d}.frequency"] = np.linalg.norm(phase - phase.mean(0), axis=1)

# ---- IoU at the best of nine thresholds ----
maps = rng.uniform(size=(20, 49))
truth = (rng.uniform(size=(20, 49)) < 0.3).astype(np.uint8)
maps = np.clip(maps * 0.6 + truth * rng.uniform(size=(20, 1)) * 0.5, 0, 1)
iou = []
for m, t in zip(maps, truth):
    each = [np.logical_and(m > k / 10, t).sum() / np.logical_or(m > k / 10, t).sum() for k in range(1, 10)]
    iou.append(max(each))
out.update({"iou.maps": maps, "iou.truth": truth, "iou.best": np.array(iou)})
mask = (rng.uniform(size=(28, 28)) < 0.5).astype(np.uint8)
out["mask"] = mask
out["mask.tokens"] = (mask.reshape(4, 7, 4, 7).mean(axis=(1, 3)) >= 0.5).astype(np.uint8).reshape(-1)

# ---- CKA, effective rank, mean cosine ----
a = rng.normal(size=(40, 12)).astype(np.float32)
b = (a[:, :7] @ rng.normal(size=(7, 7)) + 0.5 * rng.normal(size=(40, 7))).astype(np.float32)


def cka(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def effective_rank(x):
    s = np.linalg.svd(x - x.mean(0), compute_uv=False)
    p = s[s > 1e-12] / s.sum()
    return np.exp(-(p * np.log(p)).sum())


def mean_cosine(g):
    u = g / np.linalg.norm(g, axis=1, keepdims=True)
    c = u @ u.T
    return c[np.triu_indices(len(g), 1)].mean()


g = rng.normal(size=(9, 33)).astype(np.float32) + 0.4
wide = rng.normal(size=(10, 25)).astype(np.float32)
out.update({"cka.a": a, "cka.b": b, "rank.wide": wide, "cosine.g": g})
out["values"] = np.array([cka(a.astype(float), b.astype(float)), effective_rank(a.astype(float)), effective_rank(wide.astype(float)), mean_cosine(g.astype(float))])

# ---- the paired bootstrap over seeds and items ----
base = rng.integers(0, 2, size=(4, 150)).astype(np.float32) * 100
other = np.where(rng.uniform(size=(4, 150)) < 0.2, 100 - base, base).astype(np.float32)
other = np.maximum(other, (rng.uniform(size=(4, 150)) < np.array([[0.02], [0.10], [0.18], [0.30]])) * 100).astype(np.float32)
diff, draws = other - base, []
for _ in range(40000):
    s, i = rng.integers(0, 4, 4), rng.integers(0, 150, 150)
    draws.append(diff[s][:, i].mean())
out.update({"bootstrap.a": other, "bootstrap.b": base, "bootstrap.mean_low_high": np.array([diff.mean(), *np.percentile(draws, [2.5, 97.5])])})

# ---- corruptions, as ImageNet-C's and CIFAR-10-C's code writes them: x in 0..1, the result cut to bytes ----
y, x = np.mgrid[0:24, 0:20]
smooth = np.stack([128 + 100 * np.sin(x / 5) * np.cos(y / 6), 8 * x + 3 * y, 255 * ((x - 9) ** 2 + (y - 11) ** 2 < 40)], -1)
picture = np.clip(smooth, 0, 255).astype(np.uint8)
normal = rng.normal(size=picture.shape).astype(np.float32)


def to_bytes(v):
    return np.clip(v * 255 + 1e-9, 0, 255).astype(np.uint8)


p = picture / 255.0
out["picture"], out["normal"] = picture, normal
out["noise"] = np.clip(p * 255 + normal.astype(np.float64) * 0.12 * 255, 0, 255).astype(np.uint8)
for sigma in (0.6, 2.0):
    out[f"blur{sigma}"] = to_bytes(np.stack([ndimage.gaussian_filter(p[..., k], sigma, mode="nearest", truncate=4.0) for k in range(3)], -1))
out["contrast"] = to_bytes((p - p.mean(axis=(0, 1), keepdims=True)) * 0.3 + p.mean(axis=(0, 1), keepdims=True))
for degrees in (15, -30):
    out[f"rotate{degrees}"] = to_bytes(np.stack([ndimage.rotate(p[..., k], degrees, reshape=False, order=1, mode="nearest") for k in range(3)], -1))
for quality in (80, 15):
    f = io.BytesIO()
    Image.fromarray(picture).save(f, "JPEG", quality=quality)
    out[f"jpeg{quality}"] = np.array(Image.open(io.BytesIO(f.getvalue())))

save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, os.path.join(os.path.dirname(os.path.abspath(__file__)), "measures.safetensors"))
