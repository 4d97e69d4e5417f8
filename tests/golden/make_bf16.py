#!/usr/bin/env python3
"""What PyTorch's bf16 autocast makes of golden cases, on the CPU or with --device cuda on a GPU: lines for bf16_autocast.txt. The network of the
case (image and video ViTs, ViViT and the point transformer, as the released code has them, with LLaMA blocks) is written here in PyTorch,
checked in f32 against the case, and run under autocast. Needs torch, numpy, safetensors:
    python tests/golden/make_bf16.py [--device cuda [--tf32]] [--draws 32] point_llama point_small ...
On a GPU, lines for bf16_cuda.txt, and with --tf32, of f32 whose products may round to TF32, for tf32_cuda.txt; neither was made yet.
Two kinds of lines: `case result error` is the error on the case itself; with --draws N it is the root mean square of N errors, each of the
case's input moved by normal noise of a hundredth of its standard deviation and held against f32 on the same input. The second is for what a
single case tells by luck alone: a loss, in which the errors of the logits cancel or add up, and what lies behind a maximum over points, where
rounding decides which point is taken.
"""
import json
import math
import sys

import torch
import torch.nn.functional as F
from safetensors import safe_open

torch.set_num_threads(1)
DEVICE, LOW = "cpu", torch.bfloat16


def low(wanted):  # the lower precision, where it is wanted
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = wanted and LOW is None
    return torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=wanted and LOW is not None)


class Network:
    def __init__(self, path):
        with safe_open(path, "pt") as f:
            self.config = json.loads(f.metadata()["config"])
            self.tensor = {k: f.get_tensor(k).to(DEVICE) for k in f.keys()}
        self.w = {k[6:]: v.clone() for k, v in self.tensor.items() if k.startswith("model.")}
        if "weights" in self.config.get("frozen", {}):  # a real LLM's block, in Hugging Face's names
            self.w = gguf_block(self.config["frozen"]["layers"][0])
        for k, v in self.w.items():
            v.requires_grad_(v.is_floating_point() and "running_" not in k and not k.startswith(("llama.", "model.")))

    def linear(self, x, name):
        return F.linear(x, self.w[name + ".weight"], self.w.get(name + ".bias"))

    def norm(self, x, name, eps):
        return F.layer_norm(x, x.shape[-1:], self.w[name + ".weight"], self.w[name + ".bias"], eps)

    # ---- the frozen stage: LLaMA's code, whose norm gives back the type it was given ----
    def rms(self, x, name, eps):
        y = x.float()
        return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps)).type_as(x) * self.w[name]

    def stage(self, x):
        g = self.config["frozen"]
        heads, eps = g["num_attention_heads"], g["rms_norm_eps"]
        x = self.linear(x, "llama_dim_mapper1")
        for i in range(g["num_hidden_layers"]):
            p = f"llama.layers.{i}."
            if not g["only_mlp"]:
                h = self.rms(x, p + "attention_norm.weight", eps)
                B, N, D = h.shape
                q, k, v = (self.linear(h, p + "attention.w" + n).view(B, N, heads, D // heads).transpose(1, 2) for n in "qkv")
                s = F.softmax((q @ k.transpose(2, 3) / math.sqrt(D // heads)).float(), -1).type_as(q)
                x = x + self.linear((s @ v).transpose(1, 2).reshape(B, N, D), p + "attention.wo")
            h = self.rms(x, p + "ffn_norm.weight", eps)
            gate = F.silu(self.linear(h, p + "feed_forward.w1")) * self.linear(h, p + "feed_forward.w3")
            x = x + self.linear(gate, p + "feed_forward.w2")
        return self.linear(self.rms(x, "llama.norm.weight", eps), "llama_dim_mapper2")

    # ---- one decoder layer of Hugging Face's LLaMA, with a mask over the keys ----
    def llama_layer(self, x, mask):
        g, p = self.config["frozen"], "model.layers.0."
        H, K, eps = g["num_attention_heads"], g["num_key_value_heads"], g["rms_norm_eps"]
        B, N, D = x.shape
        d = D // H
        h = self.rms(x, p + "input_layernorm.weight", eps)
        q, k, v = (self.linear(h, p + f"self_attn.{n}_proj").view(B, N, m, d).transpose(1, 2) for n, m in zip("qkv", (H, K, K)))
        if g["rope"]:
            angle = torch.outer(torch.arange(N), g["rope_theta"] ** (-torch.arange(0, d, 2) / d)).repeat(1, 2).to(DEVICE)
            cos, sin = angle.cos().to(q.dtype), angle.sin().to(q.dtype)
            q, k = (t * cos + torch.cat([-t[..., d // 2:], t[..., :d // 2]], -1) * sin for t in (q, k))
        k, v = (t.repeat_interleave(H // K, 1) for t in (k, v))
        allowed = torch.ones(N, N, dtype=torch.bool, device=DEVICE)
        allowed = allowed.tril() if g["causal"] else allowed
        if mask is not None:
            allowed = allowed & mask[:, None, None, :]
        s = (q @ k.transpose(2, 3) / math.sqrt(d)).float().masked_fill(~allowed, -math.inf).softmax(-1).type_as(q)
        x = x + self.linear((s @ v).transpose(1, 2).reshape(B, N, D), p + "self_attn.o_proj")
        h = self.rms(x, p + "post_attention_layernorm.weight", eps)
        gate = F.silu(self.linear(h, p + "mlp.gate_proj")) * self.linear(h, p + "mlp.up_proj")
        return x + self.linear(gate, p + "mlp.down_proj")

    # ---- the encoders ----
    def block(self, x, p, heads, eps):
        h = self.norm(x, p + "norm1", eps)
        B, N, D = h.shape
        bias = self.w.get(p + "attn.qkv.bias")
        if p + "attn.q_bias" in self.w:
            q = self.w[p + "attn.q_bias"]
            bias = torch.cat([q, torch.zeros_like(q), self.w[p + "attn.v_bias"]])
        q, k, v = F.linear(h, self.w[p + "attn.qkv.weight"], bias).reshape(B, N, 3, heads, D // heads).permute(2, 0, 3, 1, 4)
        s = ((q * (D // heads) ** -0.5) @ k.transpose(-2, -1)).softmax(-1)
        x = x + self.linear((s @ v).transpose(1, 2).reshape(B, N, D), p + "attn.proj")
        h = self.norm(x, p + "norm2", eps)
        return x + self.linear(F.gelu(self.linear(h, p + "mlp.fc1")), p + "mlp.fc2")

    def pictures(self, x):
        c, w = self.config, self.w
        conv = F.conv3d if x.dim() == 5 else F.conv2d
        kernel = w["patch_embed.proj.weight"]
        x = conv(x, kernel, w["patch_embed.proj.bias"], stride=kernel.shape[2:]).flatten(2).transpose(1, 2)
        if "cls_token" in w:
            x = torch.cat([w["cls_token"].expand(len(x), -1, -1), x], 1) + w["pos_embed"]
        else:
            N, D = x.shape[1:]
            angle = torch.arange(N, dtype=torch.float64)[:, None] / 10000 ** (2 * (torch.arange(D) // 2) / D)
            x = x + torch.where(torch.arange(D) % 2 == 0, angle.sin(), angle.cos()).float().to(DEVICE)
        for i in range(c["depth"]):
            x = self.block(x, f"blocks.{i}.", c["num_heads"], c["norm_eps"])
        features = x = self.stage(x)
        if c.get("global_pool") == "token":
            return self.linear(self.norm(x, "norm", c["norm_eps"])[:, 0], "head"), features
        x = x[:, 1:] if "cls_token" in w else x
        return self.linear(self.norm(x.mean(1), "fc_norm", c["norm_eps"]), "head"), features

    def grouped(self, points):  # farthest points from point 0, their nearest ones: decided in f32, whatever the network computes in
        c, center, hood = self.config, [], []
        for p in points:
            far, picked = torch.full((len(p),), math.inf, device=DEVICE), [0]
            while len(picked) < c["num_group"]:
                far = torch.minimum(far, (p - p[picked[-1]]).pow(2).sum(-1))
                picked.append(int(far.argmax()))
            middle = p[picked]
            near = (middle[:, None] - p[None]).pow(2).sum(-1).topk(c["group_size"], largest=False).indices
            center.append(middle), hood.append(p[near] - middle[:, None])
        return torch.stack(hood), torch.stack(center)

    def conv(self, x, name):
        return F.conv1d(x, self.w[name + ".weight"], self.w[name + ".bias"])

    def batch_norm(self, x, name, training, after):
        w, mean, var = self.w, self.w[name + ".running_mean"].clone(), self.w[name + ".running_var"].clone()
        y = F.batch_norm(x, mean, var, w[name + ".weight"], w[name + ".bias"], training, 0.1, 1e-5)
        after[f"after.{name}.running_mean"], after[f"after.{name}.running_var"] = mean, var
        return F.relu(y)

    def points(self, hood, center, training, after):
        c, w = self.config, self.w
        B, G, K, _ = hood.shape
        x = self.conv(hood.reshape(B * G, K, 3).transpose(2, 1), "encoder.first_conv.0")
        x = self.conv(self.batch_norm(x, "encoder.first_conv.1", training, after), "encoder.first_conv.3")
        x = torch.cat([x.max(2, keepdim=True)[0].expand(-1, -1, K), x], 1)
        x = self.batch_norm(self.conv(x, "encoder.second_conv.0"), "encoder.second_conv.1", training, after)
        x = self.linear(self.conv(x, "encoder.second_conv.3").max(2)[0].reshape(B, G, -1), "reduce_dim")
        pos = self.linear(F.gelu(self.linear(center, "pos_embed.0")), "pos_embed.2")
        x = torch.cat([w["cls_token"].expand(B, -1, -1), x], 1)
        pos = torch.cat([w["cls_pos"].expand(B, -1, -1), pos], 1)
        for i in range(c["depth"]):
            x = self.block(x + pos, f"blocks.blocks.{i}.", c["num_heads"], c["norm_eps"])
        features = self.stage(x)
        x = self.norm(features, "norm", c["norm_eps"])
        x = torch.cat([x[:, 0], x[:, 1:].max(1)[0]], -1)
        return self.linear(F.relu(self.linear(x, "cls_head_finetune.0")), "cls_head_finetune.3"), features

    def tower(self, x, p, depth):  # of ViViT: pre-norm blocks and a norm after them
        c = self.config
        for i in range(depth):
            a, f = f"{p}.layers.{i}.0.", f"{p}.layers.{i}.1.net."
            q, k, v = (t.unflatten(-1, (c["heads"], -1)).transpose(1, 2) for t in self.linear(self.norm(x, a + "norm", 1e-5), a + "to_qkv").chunk(3, -1))
            s = ((q @ k.transpose(-1, -2)) * c["dim_head"] ** -0.5).softmax(-1)
            x = self.linear((s @ v).transpose(1, 2).flatten(2), a + "to_out.0") + x
            x = self.linear(F.gelu(self.linear(self.norm(x, f + "0", 1e-5), f + "1")), f + "4") + x
        return self.norm(x, p + ".norm", 1e-5)

    def vivit(self, x):
        c, w = self.config, self.w
        B, C = x.shape[:2]
        f, s, cls = c["frame_patch_size"], c["image_patch_size"], c["pool"] == "cls"
        x = x.unflatten(2, (-1, f)).unflatten(4, (-1, s)).unflatten(6, (-1, s))  # B C F f H s W s
        x = x.permute(0, 2, 4, 6, 5, 7, 3, 1).flatten(4).flatten(2, 3)  # B F (H W) (s s f C)
        x = self.linear(self.norm(x, "to_patch_embedding.1", 1e-5), "to_patch_embedding.2")
        x = self.norm(x, "to_patch_embedding.3", 1e-5)
        x = (x + w["pos_embedding"]).flatten(0, 1)
        if cls:
            x = torch.cat([w["spatial_cls_token"].expand(len(x), -1, -1), x], 1)
        x = self.tower(x, "spatial_transformer", c["spatial_depth"])
        x = (x[:, 0] if cls else x.mean(1)).unflatten(0, (B, -1))
        if cls:
            x = torch.cat([w["temporal_cls_token"].expand(B, -1, -1), x], 1)
        x = self.tower(x, "temporal_transformer", c["temporal_depth"])
        features = self.stage(x)
        if c["frozen"]["residual"] == "outside_nn":
            x = features + F.leaky_relu(self.linear(x, "llama_dim_dim_mapper"))
        else:
            x = features
        x = x[:, 0] if cls else x.mean(1)
        return self.linear(x, "mlp_head"), features

    def train(self, batches, bf16):  # AdamW over the case's batches, from the case's weights
        t, w = self.config["train"], {k: v.detach().clone().requires_grad_(v.requires_grad) for k, v in self.w.items()}
        learns = {k: v for k, v in w.items() if v.requires_grad}
        plain = {k for k, v in learns.items() if v.dim() <= 1 or k in t["no_decay"]}
        groups = [{"params": [v for k, v in learns.items() if (k in plain) == p], "weight_decay": 0.0 if p else t["weight_decay"]} for p in (0, 1)]
        adam, losses, norms, kept = torch.optim.AdamW(groups, betas=t["betas"], eps=t["eps"]), [], [], self.w
        self.w = w
        for x, target, lr in zip(batches, self.tensor["batches.target"], self.tensor["lrs"]):
            for g in adam.param_groups:
                g["lr"] = float(lr)
            adam.zero_grad()
            with low(bf16):
                loss = F.cross_entropy(self.pictures(x)[0], target, label_smoothing=t["label_smoothing"])
            loss.backward()
            norms.append(torch.nn.utils.clip_grad_norm_(learns.values(), t["clip_grad"]))
            losses.append(loss.detach().float())
            adam.step()
        self.w = kept
        out = {"final." + k: v.detach() for k, v in learns.items()}
        return out | {"losses": torch.stack(losses), "grad_norms": torch.stack(norms)}

    def results(self, x, bf16):
        if "train" in self.config:
            return self.train(x, bf16)
        out, x = {}, x.clone()
        for v in self.w.values():
            v.grad = None
        if "arch" not in self.config:
            x.requires_grad_()
            with low(bf16):
                y = self.llama_layer(x, self.tensor.get("mask"))
            y.backward(self.tensor["grad_output"].to(y.dtype))
            return {"output": y.detach().float(), "grad_input": x.grad.float()}
        points = self.config["arch"] == "point_transformer"
        x.requires_grad_(not points)
        with low(bf16):
            if points:
                groups = self.grouped(x)
                logits, features = self.points(*groups, True, out)
                out["logits_eval"] = self.points(*groups, False, {})[0]
            else:
                logits, features = self.vivit(x) if self.config["arch"] == "vivit" else self.pictures(x)
            loss = F.cross_entropy(logits, self.tensor["target"])
        loss.backward()
        out.update(logits=logits, features=features, loss=loss)
        out.update({"grad." + k: v.grad for k, v in self.w.items() if v.grad is not None})
        if x.grad is not None:
            out["grad_input"] = x.grad
        return {k: v.detach().float() for k, v in out.items()}


def gguf_block(layer):  # SmolLM2's block, from the file that tools/fetch.sh prints; without rotary positions their order of rows is as good
    import gguf
    import subprocess
    path = subprocess.check_output(["sh", "tools/fetch.sh", "smollm2"], text=True).strip()
    names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
             "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
             "ffn_down": "mlp.down_proj"}
    w = {}
    for t in gguf.GGUFReader(path).tensors:
        if t.name.startswith(f"blk.{layer}."):
            data = torch.from_numpy(gguf.dequantize(t.data, t.tensor_type).copy()).float()
            w["model.layers.0." + names[t.name.split(".")[2]] + ".weight"] = data.reshape([int(n) for n in reversed(t.shape)]).to(DEVICE)
    return w


def error(name, got, wanted):  # as fv trace --check has it
    least = 1e-3 if name.startswith("grad") else 1e-30
    return float((got.reshape(wanted.shape) - wanted).abs().max() / max(float(wanted.abs().max()), least))


def main():
    global DEVICE, LOW
    words, draws = sys.argv[1:], 0
    if words[:1] == ["--device"]:
        DEVICE, words = words[1], words[2:]
    if words[:1] == ["--tf32"]:
        LOW, words = None, words[1:]
    if words[:1] == ["--draws"]:
        draws, words = int(words[1]), words[2:]
    for case in words:
        n = Network(f"tests/golden/{case}.safetensors")
        x = n.tensor["batches.input" if "train" in n.config else "input"]
        true = n.results(x, False)
        for k in sorted(true):
            wrong = error(k, true[k], n.tensor[k].float()) if k in n.tensor else 0
            if wrong > (3e-2 if "train" in n.config else 2e-5) and not k.endswith("bias"):  # biases that feed a batch norm have no gradient but rounding
                sys.exit(f"{case}: this network is not the case's: {k} is off by {wrong:.2e}")
        torch.manual_seed(0)
        square = {k: 0.0 for k in true if k in n.tensor}
        for _ in range(max(draws, 1)):
            moved = x + (0.01 * x.std() * torch.randn(x.shape).to(DEVICE) if draws else 0)
            true, low = n.results(moved, False), n.results(moved, True)
            for k in square:
                square[k] += error(k, low[k], true[k]) ** 2 / max(draws, 1)
        for k in sorted(square):
            print(case, k, f"{math.sqrt(square[k]):.2e}")


if __name__ == "__main__":
    main()
