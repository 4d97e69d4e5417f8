"""Which peers this Python has: lines `torch 2.15.0`, `onnxruntime 1.32.0`. Imports none of them."""
from importlib import metadata

for name in ("torch", "onnxruntime"):
    try:
        print(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        pass
