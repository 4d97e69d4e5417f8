"""The product C[m,n] = A[m,k] W[n,k]^T in PyTorch or onnxruntime, as `fv bench gemm` does it.

usage: gemm.py torch|onnxruntime f32|bf16 THREADS
Lines "m n k" on stdin are answered by the seconds of one such product."""
import sys

import serve


def torch_product(precision, threads):
    import torch

    torch.set_num_threads(threads)
    kind = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]

    def make(m, n, k):
        a, w = torch.rand(m, k).to(kind), torch.rand(n, k).to(kind)
        c = torch.empty(m, n, dtype=kind)
        return lambda: torch.mm(a, w.t(), out=c)

    return make


# onnxruntime takes a graph as bytes. One MatMul needs so few of protobuf's that the package onnx is not
# needed.
def field(number, value):
    """A protobuf field: an int as a varint, bytes or text with their length before them."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def matmul_model(m, n, k, w):
    """The ModelProto of y[m,n] = x[m,k] w[k,n] with w a constant; numbers are the fields' in onnx.proto."""

    def value(name, *dims):
        shape = b"".join(field(1, field(1, d)) for d in dims)
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))

    node = field(1, "x") + field(1, "w") + field(2, "y") + field(4, "MatMul")
    constant = field(1, k) + field(1, n) + field(2, 1) + field(8, "w") + field(9, w.tobytes())
    graph = field(1, node) + field(2, "product") + field(5, constant)
    graph += field(11, value("x", m, k)) + field(12, value("y", m, n))
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 17))


def onnxruntime_product(precision, threads):
    import numpy
    import onnxruntime

    if precision != "f32":
        sys.exit("gemm.py: onnxruntime multiplies f32 only here")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads

    def make(m, n, k):
        model = matmul_model(m, n, k, numpy.random.rand(k, n).astype(numpy.float32))
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        x = numpy.random.rand(m, k).astype(numpy.float32)
        return lambda: session.run(None, {"x": x})

    return make


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    library, precision, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    make = {"torch": torch_product, "onnxruntime": onnxruntime_product}[library](precision, threads)
    shape, product = None, None

    def once(line):
        nonlocal shape, product
        wanted = tuple(map(int, line.split()))
        repeat = 1 + int(2e9 / (2 * wanted[0] * wanted[1] * wanted[2]))  # long enough to time, as ours
        if wanted != shape:
            shape, product = wanted, make(*wanted)
            serve.timed(product, repeat)
        return serve.timed(product, repeat)

    serve.serve(once, peer=library, precision=precision, threads=threads)


if __name__ == "__main__":
    main()
