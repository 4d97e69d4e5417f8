"""Makes quants.gguf (a tensor of each quantisation) and quants.safetensors (gguf-py's dequantised numbers).
Needs numpy, gguf and safetensors; run in tests/golden."""
import numpy as np, gguf
from gguf import GGMLQuantizationType as Q, GGUFWriter
from safetensors.numpy import save_file
rng = np.random.default_rng(1)
w, want = GGUFWriter("quants.gguf", "llama"), {}
w.add_uint32("test.number", 42); w.add_string("test.text", "hello"); w.add_array("test.words", ["a", "bc"])
for q in [Q.F32, Q.F16, Q.BF16, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0, Q.Q4_K, Q.Q5_K, Q.Q6_K]:
    block, size = gguf.GGML_QUANT_SIZES[q]
    name, cols = "t." + q.name, 512
    if q in (Q.F32, Q.F16, Q.BF16, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0):
        raw = gguf.quants.quantize(rng.standard_normal((3, cols)).astype(np.float32), q)
    else:  # gguf-py cannot quantise these: any bytes are a block, with a scale that is a small f16
        raw = rng.integers(0, 256, (3, cols // block * size), dtype=np.uint8)
        b = raw.reshape(3, cols // block, size)
        half = np.frombuffer(np.float16(0.013).tobytes() + np.float16(0.007).tobytes(), np.uint8)
        if q == Q.Q6_K: b[..., -2:] = half[:2]
        else: b[..., :4] = half
    want[name] = np.ascontiguousarray(gguf.quants.dequantize(raw, q).astype(np.float32))
    w.add_tensor(name, raw, raw_dtype=q)
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
save_file(want, "quants.safetensors")
