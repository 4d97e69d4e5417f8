"""A training step (forward, backward, AdamW) or an inference in PyTorch of the networks of `fv bench step`: a
vision transformer, with a frozen block of LLaMA's kind behind its last block. Random weights: only shapes
matter.

usage: step.py --size tiny28|tiny|small|base --frozen none|smollm2-135m|llama-7b --batch N
               --precision f32|bf16 --threads N [--infer] [--device cuda] [--compile]
Each line on stdin is answered by the seconds of one step. bf16 is autocast, with frozen weights in bf16 and
trained ones in f32. On a GPU a step's clock waits for it, and the last line tells the most memory of tensors
after the first steps."""
import argparse
import time

import torch
import torch.nn.functional as F
from torch import nn

import serve

SIZES = {  # picture, patch, channels, width, depth, heads, classes
    "tiny28": (28, 4, 1, 128, 4, 4, 10),
    "tiny": (224, 16, 3, 192, 12, 3, 1000),
    "small": (224, 16, 3, 384, 12, 6, 1000),
    "base": (224, 16, 3, 768, 12, 12, 1000),
}
FROZEN = {  # width, heads, key heads, FFN
    "none": None,
    "smollm2-135m": (576, 9, 3, 1536),
    "llama-7b": (4096, 32, 32, 11008),
}


def split_heads(x, heads):
    """[B,N,heads*w] -> [B,heads,N,w]"""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def attend(q, k, v):
    """softmax(q k^T / sqrt(w)) v -> [B,N,heads*w]"""
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class RMSNorm(nn.Module):
    def __init__(self, width, eps=1e-6):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        mean = x.float().square().mean(-1, keepdim=True)
        return (x.float() * torch.rsqrt(mean + self.eps)).type_as(x) * self.weight


class LlamaBlock(nn.Module):
    def __init__(self, width, heads, key_heads, ffn):
        super().__init__()
        keys = width // heads * key_heads
        self.heads, self.key_heads = heads, key_heads
        self.norm1, self.norm2, self.norm = RMSNorm(width), RMSNorm(width), RMSNorm(width)
        self.q, self.o = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k, self.v = nn.Linear(width, keys, bias=False), nn.Linear(width, keys, bias=False)
        self.gate, self.up = nn.Linear(width, ffn, bias=False), nn.Linear(width, ffn, bias=False)
        self.down = nn.Linear(ffn, width, bias=False)

    def forward(self, x):
        h = self.norm1(x)
        k, v = split_heads(self.k(h), self.key_heads), split_heads(self.v(h), self.key_heads)
        if self.key_heads != self.heads:
            k, v = (t.repeat_interleave(self.heads // self.key_heads, 1) for t in (k, v))
        x = x + self.o(attend(split_heads(self.q(h), self.heads), k, v))
        h = self.norm2(x)
        return self.norm(x + self.down(F.silu(self.gate(h)) * self.up(h)))


class EncoderBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        q, k, v = (split_heads(t, self.heads) for t in self.qkv(self.norm1(x)).chunk(3, 2))
        x = x + self.proj(attend(q, k, v))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Network(nn.Module):
    def __init__(self, size, frozen):
        super().__init__()
        picture, patch, channels, width, depth, heads, classes = size
        self.embed = nn.Conv2d(channels, width, patch, patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.pos = nn.Parameter(torch.randn(1, (picture // patch) ** 2 + 1, width) * 0.02)
        self.blocks = nn.Sequential(*(EncoderBlock(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width, 1e-6), nn.Linear(width, classes)
        self.frozen = None
        if frozen:
            self.frozen = LlamaBlock(*frozen).requires_grad_(False)
            self.f1 = nn.Linear(width, frozen[0], bias=False)
            self.f2 = nn.Linear(frozen[0], width, bias=False)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = self.blocks(torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos)
        if self.frozen is not None:
            x = self.f2(self.frozen(self.f1(x)))
        return self.head(self.norm(x)[:, 0])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--size", choices=SIZES, default="tiny28")
    p.add_argument("--frozen", choices=FROZEN, default="none")
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--infer", action="store_true")
    p.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    p.add_argument("--compile", action="store_true")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    size, half = SIZES[a.size], a.precision == "bf16"
    network = Network(size, FROZEN[a.frozen])
    if half and network.frozen is not None:
        network.frozen.to(torch.bfloat16)
    network.to(a.device)
    optimizer = torch.optim.AdamW([w for w in network.parameters() if w.requires_grad], lr=1e-4)
    x, y = torch.randn(a.batch, size[2], size[0], size[0]), torch.arange(a.batch) % 10
    x, y = x.to(a.device), y.to(a.device)
    forward = torch.compile(network) if a.compile else network
    wait = torch.cuda.synchronize if a.device == "cuda" else lambda: None

    def once(_):
        start = time.perf_counter()
        with torch.autocast(a.device, torch.bfloat16, enabled=half), torch.set_grad_enabled(not a.infer):
            out = forward(x)
            loss = None if a.infer else F.cross_entropy(out.float(), y)
        if loss is not None:
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        wait()
        return time.perf_counter() - start

    once("")
    about = {"peer": "torch", **vars(a)}
    if a.device == "cpu":
        serve.serve(once, **about)
        return
    once(""), torch.cuda.reset_peak_memory_stats()
    serve.serve(once, lambda: {"peak_mb": torch.cuda.max_memory_allocated() >> 20}, **about)


if __name__ == "__main__":
    main()
