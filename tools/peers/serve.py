"""What the peers share: the loop in which they are measured, in turns with ours (see race.c).

A peer says `ready`; for each line on stdin it does one repetition of its work and prints the seconds; at the
end of stdin it prints one JSON line. `fv bench gemm --serve` and `fv bench step --serve` speak the same."""
import json
import sys
import time


def peak_rss_mb():
    """VmHWM is this program's own; getrusage also counts what the process was before it started this program."""
    try:
        with open("/proc/self/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmHWM:")) // 1024
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def timed(work, repeat):
    start = time.perf_counter()
    for _ in range(repeat):
        work()
    return (time.perf_counter() - start) / repeat


def serve(once, finally_=dict, **about):
    """once(line) -> seconds; about, and what finally_() gives after it all: what the last line says beside
    the memory"""
    print("ready", flush=True)
    for line in sys.stdin:
        print(f"{once(line):.9f}", flush=True)
    print(json.dumps({**about, **finally_(), "peak_rss_mb": peak_rss_mb()}), flush=True)
