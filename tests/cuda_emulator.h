/* cuda_emulator.h -- enough of CUDA to run frozenvis.h's own kernels on a CPU, as C++. Include it, with
 * FROZENVIS_CUDA and FROZENVIS_CUDA_EMULATE defined, before the header.
 *
 *   threads    a block's threads are fibres on one OS thread: one runs until it ends or waits (a barrier, a
 *              shuffle), then the next of its warp; a warp goes on until its block has to meet, then the next
 *              one. They are taken in order or, with FV_EMULATE_BACKWARDS set in the environment, in reverse:
 *              a kernel that lacks a barrier then gives another result. Blocks run one after the other.
 *   barriers   __syncthreads of a block, __syncwarp and shuffles of a warp; where threads wait for ever, the
 *              program says so and aborts
 *   shared     __shared__ is a static variable
 *   tensor     the header's own names for PTX's 16x8x16 products of bf16, loads of matrices and copies that
 *   cores      do not wait: each thread holds what the PTX manual says, a warp that is not whole or memory
 *              that the hardware would not take stops the program, and copies come as late as they may
 *   streams    copies run as early as their stream allows, kernels and all that is asked after them as late:
 *              when somebody waits for them. With FV_EMULATE_LATE in the environment (or emu_late) copies are
 *              late too
 *   waiting    emu_stalls counts how often the host waited until a stream had nothing left to do; the file
 *              that FV_EMULATE_STALLS names gets the sum at the program's end
 *   memory     cudaMalloc's memory can be touched in a kernel only: from host code it is a segmentation
 *              fault, as on a GPU
 *   not here   cuBLASLt, graphs, and other orders in which a real GPU may do things */
#ifndef FV_CUDA_EMULATOR_H
#define FV_CUDA_EMULATOR_H
#ifndef __cplusplus
#error "the emulator compiles kernels as C++"
#endif
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <deque>
#include <functional>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct float4 {
    float x, y, z, w;
};

/* ---- memory: one arena, closed but while a kernel or a copy runs ---- */
enum { EMU_ARENA_MB = 8192, EMU_OPEN_MB = 4 };
struct emu_memory {
    char *base;
    size_t used, opened; /* bytes handed out; bytes that have been given pages, a multiple of EMU_OPEN_MB */
    int open;
};
static emu_memory emu_arena;
static void emu_door(int open) {
    emu_arena.open = open;
    if (emu_arena.used && mprotect(emu_arena.base, (emu_arena.used + 4095) & ~(size_t)4095,
                                   open ? PROT_READ | PROT_WRITE : PROT_NONE))
        abort();
}

/* ---- streams: an order to copy is carried out at once where its stream has nothing to do, a kernel when
 * somebody waits for it. So a copy into memory that kernels started before it still use, on another stream
 * that does not wait for them, is found out. Where copies are late too, so is a kernel that does not wait for
 * its input, and a host that fills memory again before it was copied. ---- */
struct emu_stream {
    std::deque<std::function<void()>> queue;
    long asked, done; /* orders; those in between are in the queue */
};
struct emu_event {
    int stream; /* 0: never recorded */
    long at;    /* orders of the stream that were asked before it */
};
static std::deque<emu_stream> emu_streams(1); /* by number; a deque, whose elements stay where they are */
static std::deque<emu_event> emu_events(1);
static void emu_until(int stream, long at) {
    emu_stream &s = emu_streams[(size_t)stream];
    while (s.done < at) {
        std::function<void()> order = std::move(s.queue.front());
        s.queue.pop_front(), s.done++;
        order();
    }
}
static void emu_until(emu_event e) { emu_until(e.stream, e.at); }
static long emu_stalls;
static int emu_late = getenv("FV_EMULATE_LATE") != NULL;
static struct emu_report {
    ~emu_report() {
        const char *path = getenv("FV_EMULATE_STALLS");
        FILE *f = path ? fopen(path, "w") : NULL;
        if (f) fprintf(f, "%ld\n", emu_stalls), fclose(f);
    }
} emu_report_at_end;
static void emu_host_waits(emu_event e) {
    emu_stream &s = emu_streams[(size_t)e.stream];
    int busy = !s.queue.empty();
    emu_until(e);
    emu_stalls += busy && s.queue.empty();
}
static void emu_until_all(void) {
    for (size_t s = 0; s < emu_streams.size(); s++) emu_host_waits(emu_event{(int)s, emu_streams[s].asked});
}
static void emu_ask(int stream, int late, std::function<void()> order) {
    emu_stream &s = emu_streams[(size_t)stream];
    s.queue.push_back(std::move(order)), s.asked++;
    if (!late && s.queue.size() == 1) emu_until(stream, s.asked);
}

/* ---- the runtime's names, as far as the header uses them ---- */
typedef enum cudaError_t {
    cudaSuccess,
    cudaErrorMemoryAllocation,
    cudaErrorNoDevice,
    cudaErrorInsufficientDriver
} cudaError_t;
typedef enum { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost } cudaMemcpyKind;
typedef int cudaStream_t, cudaEvent_t;
enum { cudaEventDisableTiming = 2, cudaStreamNonBlocking = 1 };
struct cudaDeviceProp {
    char name[256];
};
static const char *cudaGetErrorString(cudaError_t e) {
    return e == cudaSuccess ? "no error" : "emulated error";
}
static cudaError_t cudaGetLastError(void) { return cudaSuccess; }
/* FV_EMULATE_DEVICES: how many GPUs there are (1); -1: no driver, -2: one too old */
static cudaError_t cudaGetDeviceCount(int *n) {
    const char *said = getenv("FV_EMULATE_DEVICES");
    *n = said ? atoi(said) : 1;
    return *n < 0 ? cudaErrorInsufficientDriver : *n ? cudaSuccess : cudaErrorNoDevice;
}
static cudaError_t cudaDriverGetVersion(int *v) {
    const char *said = getenv("FV_EMULATE_DEVICES");
    *v = said && atoi(said) == -2 ? 11040 : 0;
    return cudaSuccess;
}
static cudaError_t cudaSetDevice(int) { return cudaSuccess; }
static cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int) {
    strcpy(p->name, "emulated");
    return cudaSuccess;
}
static cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) {
    *s = (int)emu_streams.size();
    emu_streams.emplace_back();
    return cudaSuccess;
}
static cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    emu_host_waits(emu_event{s, emu_streams[(size_t)s].asked});
    return cudaSuccess;
}
static cudaError_t cudaStreamDestroy(cudaStream_t s) { return cudaStreamSynchronize(s); }
static cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) {
    *e = (int)emu_events.size();
    emu_events.push_back(emu_event{0, 0});
    return cudaSuccess;
}
static cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
static cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
    emu_events[(size_t)e] = emu_event{s, emu_streams[(size_t)s].asked};
    return cudaSuccess;
}
static cudaError_t cudaEventSynchronize(cudaEvent_t e) {
    emu_host_waits(emu_events[(size_t)e]);
    return cudaSuccess;
}
static cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned) {
    emu_event at = emu_events[(size_t)e];
    if (emu_streams[(size_t)at.stream].done < at.at) emu_ask(s, 1, [=]() { emu_until(at); });
    return cudaSuccess;
}
static cudaError_t cudaMemGetInfo(size_t *left, size_t *all) {
    *all = (size_t)EMU_ARENA_MB << 20, *left = *all - emu_arena.used;
    return cudaSuccess;
}
/* memory is handed out once and never again: what is read after its free is still there to be found wrong,
 * and closed to the host */
static cudaError_t cudaMalloc(void **p, size_t size) {
    if (!emu_arena.base) {
        void *m = mmap(NULL, (size_t)EMU_ARENA_MB << 20, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (m == MAP_FAILED) return cudaErrorMemoryAllocation;
        emu_arena.base = (char *)m;
    }
    size = (size + 255) & ~(size_t)255;
    if (size > ((size_t)EMU_ARENA_MB << 20) - emu_arena.used) return cudaErrorMemoryAllocation;
    *p = emu_arena.base + emu_arena.used;
    emu_arena.used += size;
    return cudaSuccess;
}
static cudaError_t cudaFree(void *) { /* waits for the whole device */
    emu_until_all();
    return cudaSuccess;
}
static cudaError_t cudaMallocHost(void **p, size_t size) {
    return (*p = malloc(size)) ? cudaSuccess : cudaErrorMemoryAllocation;
}
static cudaError_t cudaFreeHost(void *p) {
    emu_until_all();
    free(p);
    return cudaSuccess;
}
static cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind, cudaStream_t s) {
    emu_ask(s, emu_late, [=]() { emu_door(1), memcpy(to, from, n), emu_door(0); });
    return cudaSuccess;
}
static cudaError_t cudaMemsetAsync(void *to, int value, size_t n, cudaStream_t s) {
    emu_ask(s, emu_late, [=]() { emu_door(1), memset(to, value, n), emu_door(0); });
    return cudaSuccess;
}

/* ---- a kernel's threads ---- */
enum { EMU_THREADS = 1024, EMU_STACK = 64 << 10 };
static dim3 threadIdx, blockIdx, blockDim, gridDim;
typedef void (*emu_body_fn)(const void *call);
struct emu_thread {
    ucontext_t start;
    jmp_buf here;
    int begun, ended;
    long waits;    /* barriers and shuffles passed or waited at: equal for the threads of a warp that meet */
    long syncs;    /* __syncthreads passed or waited at */
    int blocked;   /* 0 runs; 1 waits for its warp, 2 for its block */
    uint64_t slot; /* what a shuffle offers */
};
struct emu_block {
    emu_thread *thread;
    char *stacks;
    int count, alive, now;
    int direct; /* the threads run without fibres, since the first met no barrier */
    jmp_buf scheduler;
    emu_body_fn body;
    const void *call;
};
static emu_block emu;

static void emu_stop(const char *why) {
    fprintf(stderr, "cuda_emulator: block (%u,%u,%u) of (%u,%u,%u) threads: %s\n", blockIdx.x, blockIdx.y,
            blockIdx.z, blockDim.x, blockDim.y, blockDim.z, why);
    abort();
}
static void emu_place(int t) {
    emu.now = t;
    threadIdx = dim3((unsigned)t % blockDim.x, (unsigned)t / blockDim.x % blockDim.y,
                     (unsigned)t / blockDim.x / blockDim.y);
}
static void emu_entry(void) {
    emu.body(emu.call);
    emu.thread[emu.now].ended = 1;
    _longjmp(emu.scheduler, 1);
}
static void emu_wait(int for_whom) {
    emu_thread *t = &emu.thread[emu.now];
    if (emu.direct) emu_stop("a thread waits at a barrier that the first thread did not meet");
    t->blocked = for_whom;
    if (for_whom == 1) t->waits++;
    else t->syncs++;
    if (!_setjmp(t->here)) _longjmp(emu.scheduler, 1);
}
/* all living threads of the warp (or block) wait at the same place: they may go on */
static int emu_release(int first, int end, int for_whom) {
    int waiting = 0;
    for (int t = first; t < end; t++) {
        if (emu.thread[t].ended) continue;
        if (emu.thread[t].blocked != for_whom) return 0;
        waiting++;
    }
    for (int t = first; t < end; t++)
        if (!emu.thread[t].ended) emu.thread[t].blocked = 0;
    return waiting > 0;
}
static void emu_run(int t) {
    emu_thread *f = &emu.thread[t];
    emu_place(t);
    if (_setjmp(emu.scheduler)) return;
    if (f->begun) _longjmp(f->here, 1);
    f->begun = 1;
    setcontext(&f->start);
}
static int emu_begin(int t) { /* a fibre for thread t */
    emu_thread *f = &emu.thread[t];
    f->begun = f->ended = f->blocked = 0, f->waits = f->syncs = 0;
    getcontext(&f->start);
    f->start.uc_stack.ss_sp = emu.stacks + (size_t)t * EMU_STACK, f->start.uc_stack.ss_size = EMU_STACK,
    f->start.uc_link = NULL;
    makecontext(&f->start, emu_entry, 0);
    return 1;
}
static void emu_one_block(int backwards) {
    emu.direct = 0;
    const int warps = (emu.count + 31) / 32;
    const int probe = 0; /* the last ones may have nothing to do and leave at once */
    emu_begin(probe);
    emu_run(probe);
    if (emu.thread[probe].ended) { /* it met nobody: so do the others, one after the other */
        emu.direct = 1;
        for (int i = 0; i < emu.count; i++) {
            int t = backwards ? emu.count - 1 - i : i;
            if (t == probe) continue;
            emu_place(t);
            emu.body(emu.call);
        }
        return;
    }
    for (int t = 0; t < emu.count; t++)
        if (t != probe) emu_begin(t);
    for (;;) {
        int moved = 0, alive = 0;
        for (int i = 0; i < warps; i++) {
            int w = 32 * (backwards ? warps - 1 - i : i), end = w + 32 < emu.count ? w + 32 : emu.count, ran;
            do {
                ran = 0;
                for (int j = w; j < end; j++) {
                    int t = backwards ? w + end - 1 - j : j;
                    if (!emu.thread[t].ended && !emu.thread[t].blocked) emu_run(t), ran++;
                }
                moved += ran += emu_release(w, end, 1);
            } while (ran);
        }
        for (int t = 0; t < emu.count; t++) alive += !emu.thread[t].ended;
        if (!alive) return;
        moved += emu_release(0, emu.count, 2);
        if (!moved) emu_stop("its threads wait at different barriers");
    }
}
static void emu_launch(dim3 grid, dim3 block, emu_body_fn body, const void *call) {
    const char *way = getenv("FV_EMULATE_BACKWARDS");
    if (!emu.thread) {
        emu.thread = (emu_thread *)calloc(EMU_THREADS, sizeof *emu.thread);
        emu.stacks = (char *)malloc((size_t)EMU_THREADS * EMU_STACK);
    }
    gridDim = grid, blockDim = block;
    emu.count = (int)(block.x * block.y * block.z), emu.body = body, emu.call = call;
    if (!emu.thread || !emu.stacks) abort();
    if (emu.count < 1 || emu.count > EMU_THREADS || !grid.x || !grid.y || !grid.z || grid.y > 65535 ||
        grid.z > 65535)
        emu_stop("a grid that no GPU takes");
    emu_door(1);
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) blockIdx = dim3(x, y, z), emu_one_block(way && *way == '1');
    emu_door(0);
}
template <class F> static void emu_call(const void *call) { (*(const F *)call)(); }
template <class... P> struct emu_kernel { /* takes a kernel's arguments, as they are when it is started */
    int stream;
    dim3 grid, block;
    void (*kernel)(P...);
    void operator()(P... p) const {
        emu_kernel k = *this;
        auto body = [=]() { k.kernel(p...); };
        emu_ask(stream, 1, [=]() { emu_launch(k.grid, k.block, emu_call<decltype(body)>, &body); });
    }
};
template <class... P> emu_kernel<P...> emu_start(int stream, dim3 grid, dim3 block, void (*kernel)(P...)) {
    if (!grid.x || !grid.y || !grid.z) emu_stop("a grid has a block at least");
    return emu_kernel<P...>{stream, grid, block, kernel};
}
#define FV__EMULATE(stream, grid, block, ...) emu_start(stream, grid, block, __VA_ARGS__)

/* ---- what a kernel calls ---- */
static inline void __syncthreads(void) { emu_wait(2); }
static inline void __syncwarp(void) { emu_wait(1); }
template <class T> static inline T emu_exchange(T v, int from) {
    T got;
    int warp = emu.now / 32 * 32;
    static_assert(sizeof(T) <= 8, "a shuffle moves up to 8 bytes");
    memcpy(&emu.thread[emu.now].slot, &v, sizeof v);
    emu_wait(1);
    if (warp + from >= emu.count || emu.thread[warp + from].ended)
        emu_stop("a shuffle reads from a thread that is not there");
    memcpy(&got, &emu.thread[warp + from].slot, sizeof got);
    emu_wait(1); /* nobody offers the next value before all have this one */
    return got;
}
template <class T> static inline T __shfl_xor_sync(unsigned, T v, int mask) {
    return emu_exchange(v, emu.now % 32 ^ mask);
}
template <class T> static inline T __shfl_sync(unsigned, T v, int lane) { return emu_exchange(v, lane); }
static inline void __threadfence(void) {}
static inline unsigned atomicAdd(unsigned *p, unsigned v) { return (*p += v) - v; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fmul_rn(float a, float b) { return a * b; }

/* ---- tensor cores and copies to shared memory, as PTX has them: mma.m16n8k16, ldmatrix.x4, cp.async. A warp
 * makes them together: each thread shows the others where its part is, and reads theirs. ---- */
static long emu_products;                       /* of 16x8x16, made by a warp */
static inline const void *emu_shown(int lane) { /* what that lane of the warp shows */
    int t = emu.now / 32 * 32 + lane;
    if (t >= emu.count || emu.thread[t].ended) emu_stop("tensor cores want the whole warp");
    return (const void *)(uintptr_t)emu.thread[t].slot;
}
static inline void emu_show(const void *p) {
    emu.thread[emu.now].slot = (uint64_t)(uintptr_t)p;
    emu_wait(1);
}
static inline float emu_bf16(uint32_t pair, int high) {
    uint32_t u = high ? pair & 0xffff0000u : pair << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
static inline void fv__mma_bf16(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    const uint32_t mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
    int lane = emu.now % 32;
    emu_products += lane == 0;
    emu_show(mine);
    float left[2][16], right[2][16]; /* this thread's two rows and two columns */
    for (int n = 0; n < 2; n++)
        for (int k = 0; k < 16; k++) {
            const uint32_t *l = (const uint32_t *)emu_shown(lane / 4 * 4 + k % 8 / 2);
            const uint32_t *r = (const uint32_t *)emu_shown((lane % 4 * 2 + n) * 4 + k % 8 / 2);
            left[n][k] = emu_bf16(l[n + k / 8 * 2], k % 2), right[n][k] = emu_bf16(r[4 + k / 8], k % 2);
        }
    for (int e = 0; e < 4; e++)
        for (int k = 0; k < 16; k++) d[e] += left[e / 2][k] * right[e % 2][k];
    emu_wait(1); /* until all have read */
}
static inline void emu_ldmatrix(uint32_t r[4], const void *row, int turned) {
    int g = emu.now % 32 / 4, t = emu.now % 4 * 2;
    uint16_t v[4][2];
    if ((uintptr_t)row % 16) emu_stop("a row of a matrix begins at a multiple of 16 bytes");
    emu_show(row);
    for (int i = 0; i < 4; i++)
        for (int e = 0; e < 2; e++)
            v[i][e] = ((const uint16_t *)emu_shown(8 * i + (turned ? t + e : g)))[turned ? g : t + e];
    emu_wait(1);
    for (int i = 0; i < 4; i++) r[i] = v[i][0] | (uint32_t)v[i][1] << 16;
}
static inline void fv__ldmatrix_x4(uint32_t r[4], const void *row) { emu_ldmatrix(r, row, 0); }
static inline void fv__ldmatrix_x4_trans(uint32_t r[4], const void *row) { emu_ldmatrix(r, row, 1); }
/* a thread's copies that nobody waited for come late: when the thread waits */
struct emu_copy {
    void *to;
    const void *from;
    size_t bytes;
    int there;
};
static std::deque<emu_copy> emu_copies[EMU_THREADS];
template <int BYTES> static inline void fv__copy_start(void *to, const void *from, int there) {
    if ((uintptr_t)to % BYTES || (uintptr_t)from % BYTES) emu_stop("a copy's ends are multiples of its size");
    memset(to, 0xff, BYTES); /* NaNs, until then */
    emu_copies[emu.now].push_back(emu_copy{to, from, BYTES, there});
}
static inline void fv__copy_wait(void) {
    for (const emu_copy &c : emu_copies[emu.now])
        if (c.there) memcpy(c.to, c.from, c.bytes);
        else memset(c.to, 0, c.bytes);
    emu_copies[emu.now].clear();
}
static inline int fv__my_thread(void) { return (int)threadIdx.x; }
static inline int fv__my_block(void) { return (int)blockIdx.x; }
#endif
