/* frozenvis.h -- vision encoders with a frozen transformer block of a language model inside; C99, one file.

SYNOPSIS
    In ONE source file:                         In all others:
        #define FROZENVIS_IMPLEMENTATION            #include "frozenvis.h"
        #include "frozenvis.h"
    Compile with any -O; link with -lm -lpthread. No other dependency. Compiles as C++11 too.

    Pang et al. ("Frozen Transformers in Language Models Are Effective Visual Encoder Layers", ICLR 2024,
    arXiv:2310.12973) put a block of LLaMA, unchanged and never trained, behind a vision transformer:

    image -> patches -> encoder -> F1: d -> D -> LLM's block (frozen) -> norm -> F2: D -> d -> head

    This file holds all that takes: tensors, automatic differentiation, fast products, the readers of the
    LLM's files, the encoder and its training. Every operation's backward pass stands beside its forward pass.

A PROGRAM
    #define FROZENVIS_IMPLEMENTATION
    #include "frozenvis.h"
    #include <stdio.h>
    int main(void) {
        fv_ctx *c = fv_create(NULL);                             // threads and ISA chosen for this machine
        int64_t wdim[2] = {3, 2}, xdim[2] = {4, 2};
        float x[8] = {0, 0, 0, 1, 1, 0, 1, 1};
        int32_t label[4] = {0, 1, 1, 2};                         // how many of the two are set
        fv_params params = {0};
        fv_tensor *w = fv_param(c, "w", FV_F32, 2, wdim), *b = fv_param(c, "b", FV_F32, 1, wdim);
        fv_params_add(c, &params, w), fv_params_add(c, &params, b);
        fv_optim *opt = fv_optim_create(c, &params, NULL);       // AdamW
        for (int step = 0; step < 300; step++) {
            fv_reset(c);                                         // the last step's tensors are gone
            int64_t four = 4;
            fv_tensor *in = fv_input(c, FV_F32, 2, xdim, x, 0), *t = fv_input(c, FV_I32, 1, &four, label, 0);
            fv_tensor *loss = fv_cross_entropy(c, fv_linear(c, in, w, b), t, 0);
            fv_backward(c, loss);
            fv_optim_step(c, opt, 0.1f);
            if (step % 100 == 99 && loss) printf("%d %.4f\n", step + 1, fv_get(loss, 0));
        }
        if (fv_error(c)) printf("%s\n", fv_error_text(c));       // the first failure, in a sentence
        fv_destroy(c);                                           // frees everything
        return 0;
    }

CONTENTS    (find a section by searching for ">>name"; declarations and definitions come in the same order)
    >>config      macros before the include           >>optim        AdamW, SGD, clipping, schedule, EMA
    >>types       element types                       >>json         strict JSON; text building
    >>error       the sticky error                    >>safetensors  reading by mapping, atomic writing
    >>memory      context, allocator, pool, files     >>gguf         reading, dequantisation
    >>threads     fv_parallel                         >>tokenizer    text to token numbers
    >>cpu         ISA choice, clock                   >>image        resizing, augmentation
    >>rng         counter-based random numbers        >>clouds       farthest points, neighbours
    >>kernels     SIMD, written once                  >>model        a network's settings
    >>gemm        the matrix product                  >>frozen       the LLM's blocks and F1, F2
    >>device      a GPU, by the CUDA runtime          >>encoders     the networks of all tasks
    >>tensor      tensors and parameters              >>network      create, load, run a network
    >>graph       the tape, backward, scopes          >>train        checkpoints, resume
    >>ops         operations, forward and backward

HOW IT WORKS
  Context. fv_create gives a context: memory, threads, tape, error. One per thread of yours; nothing is
    global. The first failure sticks to it: each call sees it and returns NULL or 0, so a program checks once,
    at the end. The library never prints, aborts or exits.

  Memory. Parameters live until freed. What ops make lives in a pool until fv_reset, which forgets it and
    keeps the memory: step 200 uses what step 2 used. Gradients of intermediate results live from their first
    to their last use. In fv_no_grad mode scopes (fv_scope_begin/end) free what a block made inside; with
    fv_recompute the same scopes trade time for memory in training. fv_forget gives back one result that is
    cheap to make again: norms and activations cost no memory. fv_memory counts bytes.

  Tape. Ops run at once and leave a node: what they were made from and what the backward pass needs.
    fv_backward walks the nodes in reverse. An op is one struct: shape, forward, backward (see ">>ops");
    adding one touches one place.

  Looking inside. Networks mark places (fv_mark): the tokens before, inside and behind the frozen stage and in
    the encoder's blocks, and attention's scores. fv_observe names a function that is shown them, and their
    gradients in the backward pass.

  Types. f32 everywhere; f64 in scalar form, for fv_gradcheck; bf16 through fv_autocast: products in bf16 with
    f32 sums, while the residual stream, norms' statistics, losses, parameters and their gradients stay f32.

  Frozen weights. fv_pack copies a weight once into the product's own layout; that one copy serves the forward
    product and, read transposed, the input gradient. No gradient buffer exists for it; the gradient flows
    through. Since F1 is linear and RMSNorm only scales a row, F1 goes into the first block's q, k and v where
    that saves work (see fv_frozen_forward). fv_model_pack does for all weights of a finished network what
    fv_pack does for frozen ones.

  The product. C = A B, cut for the caches (see ">>gemm" for the sizes):
    1. B is copied into panels of NR columns, in which the NR numbers of one k lie together; so is A, into
       panels of MR rows, unless its rows can be read where they lie. Any stride, and so any transposition, is
       the same after that.
    2. A micro-kernel holds an MR x NR tile of sums in registers: for each k it loads NR numbers of B and
       multiplies them by each of MR numbers of A. 14 x 32 sums fill AVX-512's registers: 28 multiply-adds for
       16 loads.
    3. Blocks of C of about 168 x 256 are the jobs of the threads. A block runs over k in slices of at most
       384, so that the operands stay in L1 and L2; its rows go out through bias, residual and conversion
       while still in cache. Blocks follow each other so that their part of B stays in the last cache.
    4. A weight's gradient is a small C with a very long k (all tokens). Where C fits in L2, k is cut in place
       of C: each of 8 jobs reads its rows of both operands once, packs them slice by slice, and sums a C of
       its own (and the bias' gradient on the way); the 8 are added in their order.
    The cut depends on the shape alone: any number of threads gives the same bits.

  SIMD. A kernel is written once with lane macros (FV__LD, FV__FMA, ...) and compiled once per ISA by this
    file including itself with FV__PASS set. The choice is made at run time: fv_desc.isa, or
    FROZENVIS_ISA=scalar|avx2|avx512|avx512bf16|neon.

  GPU. With FROZENVIS_CUDA defined where the implementation is, that one file is compiled by nvcc -x cu and
    linked with -lcublasLt; all other files stay C. A context with desc.device = FV_CUDA then computes there:
    results of ops and parameters lie in the device's memory (fv_read, fv_get copy them), what fv_new and
    fv_input give stays in host memory, yours to fill, and goes over when an op first uses it. Each op's
    kernels stand beside its loops; an op that has none says so. The host runs up to two steps ahead: with
    fv_optim_step_async it waits for no result, and what it fills for the next step goes over meanwhile.
    Attention in bf16 runs on tensor cores for heads 32, 48, ... 128 wide. With FROZENVIS_NCCL (link -lnccl)
    several GPUs of a machine share each batch: fv_group_join.

OPTIONS (macros, before the include of the implementation unless said otherwise)
    FROZENVIS_STATIC        all functions static
    FROZENVIS_NO_THREADS    no pthreads; one thread
    FROZENVIS_OPENMP        OpenMP's threads in place of ours (compile with -fopenmp)
    FROZENVIS_CBLAS         f32 products of weights that are not packed by cblas_sgemm (link a CBLAS, as
                            -lopenblas); its results may depend on its own number of threads
    FROZENVIS_SCALAR_ONLY   no SIMD
    FROZENVIS_DEBUG         our own assertions on
    FROZENVIS_CUDA          contexts on a GPU; see HOW IT WORKS
    FROZENVIS_NCCL          with it: groups of GPUs
    FV_HEADER_FILENAME      this file's name in quotes, if it was renamed
*/
/* This header includes itself once per ISA, and then only the kernels' text counts: see >>kernels. */
#ifndef FV__PASS
#ifndef FROZENVIS_H
#define FROZENVIS_H

#if defined(FROZENVIS_IMPLEMENTATION) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* -std=c99 hides mmap, madvise and the CPU mask; needed before the first system header */
#endif

/* ======================================================================================================
 * >>config -- macros a user may define before the include
 * ====================================================================================================== */
#ifndef FV_DEF
#ifdef FROZENVIS_STATIC
#define FV_DEF static
#elif defined(__cplusplus)
#define FV_DEF extern "C"
#else
#define FV_DEF extern
#endif
#endif

#ifdef __FAST_MATH__
#error "frozenvis.h: compile without -ffast-math: it drops NaN, on which the check for a finite loss relies"
#endif

#include <stddef.h>
#include <stdint.h>

#define FV_VERSION "0.1.0"
#define FV_MAX_RANK 8 /* dimensions of a tensor */

/* ======================================================================================================
 * >>types -- the few types every section shares
 * ====================================================================================================== */
/* a context: memory, threads, tape, error; one per thread of the caller */
typedef struct fv_ctx fv_ctx;
typedef struct fv_tensor fv_tensor; /* see >>tensor */

/* Element types. F64 runs in scalar form only and exists for gradient checks. */
typedef enum fv_type {
    FV_TYPE_DEFAULT = 0, /* in a desc: f32, or what fv_autocast says */
    FV_F32 = 1,
    FV_F64 = 2,
    FV_BF16 = 3,
    FV_I32 = 4,
    FV_I64 = 5,
    FV_U8 = 6 /* masks: 0 or 1 */
} fv_type;

/* Bytes of one element; 0 for FV_TYPE_DEFAULT. */
FV_DEF size_t fv_type_size(fv_type type);
/* "f32", "f64", "bf16", "i32", "i64", "u8"; "?" for anything else. */
FV_DEF const char *fv_type_name(fv_type type);

/* ======================================================================================================
 * >>error -- the first failure sticks to the context; check once, at the end
 * ====================================================================================================== */
/* X(name, exit status of a program that ends on it, what it means) */
#define FV_STATUS_LIST(X)                                                                                    \
    X(FV_OK, 0, "ok")                                                                                        \
    X(FV_ECHECK, 1, "a check or comparison failed")                                                          \
    X(FV_EUSAGE, 2, "wrong usage, or a request that does not fit the files")                                 \
    X(FV_ESHAPE, 2, "shapes or types that do not fit")                                                       \
    X(FV_EFORMAT, 3, "malformed input")                                                                      \
    X(FV_EIO, 4, "a file could not be read or written")                                                      \
    X(FV_ENONFINITE, 5, "the loss is not finite")                                                            \
    X(FV_EUNAVAILABLE, 6, "not available here: device, ISA or optional library")                             \
    X(FV_ENOMEM, 6, "out of memory")
typedef enum fv_status {
#define FV__STATUS_ENUM(name, code, text) name,
    FV_STATUS_LIST(FV__STATUS_ENUM)
#undef FV__STATUS_ENUM
        FV_STATUS_COUNT
} fv_status;

/* fv_error -- the sticky status: FV_OK, or the first failure since fv_create or fv_clear_error. */
FV_DEF fv_status fv_error(const fv_ctx *c);
/* fv_error_text -- one sentence: what failed, the shapes or the file and byte; "" while there is no error.
 * Lives as long as the context. */
FV_DEF const char *fv_error_text(const fv_ctx *c);
FV_DEF void fv_clear_error(fv_ctx *c);
/* fv_fail -- records a failure unless one is there already; printf's format. Always returns 0, so that a
 * function can `return fv_fail(...)`. For networks and readers of the user's own too. */
FV_DEF int fv_fail(fv_ctx *c, fv_status status, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;
/* fv_exit_status -- the exit status that SPEC gives a program which ends on this failure: 0 to 6. */
FV_DEF int fv_exit_status(fv_status status);

/* ======================================================================================================
 * >>memory -- the context, the allocator, files
 * ====================================================================================================== */
typedef struct fv_allocator {
    void *(*alloc)(void *user, size_t size); /* NULL: malloc */
    void (*release)(void *user, void *p, size_t size);
    void *user;
} fv_allocator;

typedef enum fv_isa {
    FV_ISA_BEST = 0, /* the best the CPU has, or what the environment variable FROZENVIS_ISA names */
    FV_ISA_SCALAR = 1,
    FV_ISA_AVX2 = 2,
    FV_ISA_AVX512 = 3,
    FV_ISA_AVX512BF16 = 4,
    FV_ISA_NEON = 5
} fv_isa;

typedef enum fv_device { FV_CPU = 0, FV_CUDA = 1 } fv_device;

/* A caller's own thread pool: run job(arg, i, worker) for every i < jobs, worker < fv_desc.threads, and
 * return when all are done. */
typedef void (*fv_parallel_fn)(void *user, int jobs, void (*job)(void *arg, int i, int worker), void *arg);

typedef struct fv_desc {
    int threads;             /* 0: as many as the process may run on */
    fv_isa isa;              /* 0: best */
    uint64_t seed;           /* of dropout, initialisation and augmentation */
    fv_device device;        /* 0: CPU */
    int device_index;        /* which GPU; 0: the first */
    int tf32;                /* 1: f32 products on a GPU may round their operands to TF32 */
    int no_graph;            /* 1: a GPU's kernels are started one by one, not as a graph of the whole step */
    fv_allocator allocator;  /* zero: malloc and free */
    fv_parallel_fn parallel; /* NULL: our pool (or OpenMP) */
    void *parallel_user;
    size_t memory_limit; /* bytes this context may hold; 0: no limit. Beyond it: FV_ENOMEM */
} fv_desc;

/* fv_create -- a context. desc may be NULL. Returns NULL only when there is no memory for the context itself;
 * whatever else fails (an ISA that is not here) is its sticky error: FV_EUNAVAILABLE, FV_ENOMEM. */
FV_DEF fv_ctx *fv_create(const fv_desc *desc);
/* fv_destroy -- frees all that the context owns. NULL is fine. */
FV_DEF void fv_destroy(fv_ctx *c);
/* fv_reset -- forgets every tensor made since the last reset (not parameters) and keeps the memory for the
 * next step. On a GPU context it does not wait for the step that ends, only for the one before that: what
 * the host fills for the next step goes over while the GPU still computes. */
FV_DEF void fv_reset(fv_ctx *c);

/* fv_alloc -- zeroed bytes, 64-byte aligned, that live until fv_free or fv_destroy. NULL and FV_ENOMEM. */
FV_DEF void *fv_alloc(fv_ctx *c, size_t size);
FV_DEF void fv_free(fv_ctx *c, void *p);

typedef struct fv_memory_info {
    size_t now, peak; /* bytes held from the allocator, and the most there ever was */
    /* of these: on the GPU itself */
    size_t device_now, device_peak;
    /* of these: in use by tensors of the current step, and the most in any step */
    size_t step_now, step_peak;
    size_t mapped; /* bytes of files mapped read-only (not counted above) */
} fv_memory_info;
FV_DEF fv_memory_info fv_memory(const fv_ctx *c);

/* A whole file, mapped read-only (read into memory where mapping is not possible). */
typedef struct fv_file {
    const uint8_t *data;
    size_t size;
    int mapped; /* 1: munmap at close; 0: allocated */
} fv_file;
/* fv_file_open -- returns 1, or 0 and FV_EIO, FV_ENOMEM. An empty file is fine: size 0, and data is no
 * NULL. */
FV_DEF int fv_file_open(fv_ctx *c, const char *path, fv_file *f);
FV_DEF void fv_file_close(fv_ctx *c, fv_file *f);

/* Atomic writing: bytes go to a temporary name beside path; commit syncs and renames, so that path is always
 * the old file or the new one, whole. abort removes the temporary file. All return 1, or 0 and FV_EIO. */
typedef struct fv_writer {
    char *path, *temp; /* owned */
    int fd;
    uint64_t bytes; /* written so far */
} fv_writer;
FV_DEF int fv_writer_open(fv_ctx *c, fv_writer *w, const char *path);
FV_DEF int fv_writer_put(fv_ctx *c, fv_writer *w, const void *data, size_t size);
FV_DEF int fv_writer_commit(fv_ctx *c, fv_writer *w);
FV_DEF void fv_writer_abort(fv_ctx *c, fv_writer *w);
/* fv_write_file -- the three calls above in one. */
FV_DEF int fv_write_file(fv_ctx *c, const char *path, const void *data, size_t size);

/* ======================================================================================================
 * >>threads
 * ====================================================================================================== */
/* fv_threads -- how many threads this context works with. */
FV_DEF int fv_threads(const fv_ctx *c);
/* fv_parallel -- job(arg, i, worker) for every i < jobs, in any order on any worker < fv_threads(c); returns
 * when all are done. How the work is cut into jobs must not depend on the thread count, or results would. */
FV_DEF void fv_parallel(fv_ctx *c, int jobs, void (*job)(void *arg, int i, int worker), void *arg);

/* ======================================================================================================
 * >>cpu
 * ====================================================================================================== */
/* fv_isa_name -- "scalar", "avx2", "avx512", "avx512bf16", "neon"; "best" for 0. */
FV_DEF const char *fv_isa_name(fv_isa isa);
/* fv_isa_parse -- the inverse; -1 for an unknown name. */
FV_DEF int fv_isa_parse(const char *name);
/* fv_isa_available -- 1 when this CPU and this build can run it. */
FV_DEF int fv_isa_available(fv_isa isa);
/* fv_isa_of -- the path this context runs. */
FV_DEF fv_isa fv_isa_of(const fv_ctx *c);
/* fv_now -- seconds of a monotonic clock. */
FV_DEF double fv_now(void);

/* ======================================================================================================
 * >>rng -- counter-based: the i-th number of a stream is a pure function of (seed, stream, i), on any device
 * ====================================================================================================== */
/* fv_philox -- Philox4x32 with 10 rounds: four random words of (seed, stream, counter).
 *   source  Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11 */
FV_DEF void fv_philox(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4]);
/* fv_random_u32 -- word number i of a stream (counter i/4, word i%4). */
FV_DEF uint32_t fv_random_u32(uint64_t seed, uint64_t stream, uint64_t i);
/* fv_random_uniform -- in [0,1), 24 bits. */
FV_DEF float fv_random_uniform(uint64_t seed, uint64_t stream, uint64_t i);
/* fv_random_normal -- standard normal, by Box and Muller from counter i/2. */
FV_DEF float fv_random_normal(uint64_t seed, uint64_t stream, uint64_t i);

/* A convenience for sequential use (augmentation, shuffling): a stream and where it stands. */
typedef struct fv_rng {
    uint64_t seed, stream, next;
} fv_rng;
FV_DEF uint32_t fv_rng_u32(fv_rng *r);
FV_DEF float fv_rng_uniform(fv_rng *r);              /* [0,1) */
FV_DEF uint32_t fv_rng_below(fv_rng *r, uint32_t n); /* 0 .. n-1, without bias; 0 when n is 0 */
FV_DEF float fv_rng_normal(fv_rng *r);
FV_DEF void fv_rng_shuffle(fv_rng *r, int32_t *a, int n); /* Fisher and Yates */
/* fv_rng_beta -- Beta(alpha, alpha) in [0,1], as mixup and cutmix draw it. */
FV_DEF float fv_rng_beta(fv_rng *r, float alpha);

/* ======================================================================================================
 * >>gemm -- C = A B for any strides, and weights packed once
 * ====================================================================================================== */
/* A matrix somewhere: element (i,j) at data[i*rs + j*cs]; rs, cs in elements. Transposing is swapping
 * them. */
typedef struct fv_mat {
    const void *data;
    fv_type type;
    int64_t rs, cs;
} fv_mat;
typedef struct fv_packed fv_packed; /* a frozen weight in the micro-kernel's layout; see fv_pack */

/* fv_gemm -- c[m,n] = a[m,k] b[k,n] (+ c when add), c row-major with ldc elements a row.
 *   compute  FV_F32; FV_BF16: operands rounded to bf16, sums in f32; FV_F64 (all three f64)
 *   a, b     f32 or bf16 (f64); c f32 or bf16 (f64)
 *   The result does not depend on the thread count. errors  FV_ENOMEM, FV_ESHAPE */
FV_DEF void fv_gemm(fv_ctx *c, fv_type compute, int64_t m, int64_t n, int64_t k, fv_mat a, fv_mat b,
                    void *out, fv_type out_type, int64_t ldc, int add);
/* fv_gemm_packed -- the same with b = W^T of a packed weight W [n,k] (transpose 0), or b = W [k,n] (transpose
 * 1). */
FV_DEF void fv_gemm_packed(fv_ctx *c, int64_t m, int64_t n, int64_t k, fv_mat a, const fv_packed *w,
                           int transpose, void *out, fv_type out_type, int64_t ldc, int add);
FV_DEF size_t fv_packed_bytes(const fv_packed *w);
/* fv_peak -- GFLOP/s of one core in a register-only loop of multiply-adds of the ISA in use; FV_F32 or
 * FV_BF16 (the f32 figure where there is no bf16 dot product). Takes about 0.1 s. */
FV_DEF double fv_peak(fv_ctx *c, fv_type type);

/* ======================================================================================================
 * >>device -- a GPU, by the CUDA runtime; there with FROZENVIS_CUDA only
 * ====================================================================================================== */
/* fv_device_of -- where this context computes. */
FV_DEF fv_device fv_device_of(const fv_ctx *c);
/* fv_device_name -- "cpu", or the GPU's own name. */
FV_DEF const char *fv_device_name(const fv_ctx *c);
/* fv_sync -- waits until a GPU has done all that was asked of it; for clocks. */
FV_DEF void fv_sync(fv_ctx *c);

/* Several GPUs of one machine, each with a process and a context of its own, by NCCL; there with
 * FROZENVIS_CUDA and FROZENVIS_NCCL only. A member computes the loss, a mean over samples, of its part of
 * each batch: rank 0 the first samples, and so on, equal parts. Then all have the gradients of the whole
 * batch, and the same parameters after an optimiser's step. Dropout draws as if one GPU had the whole batch;
 * batch norm takes the statistics of the part. Kernels are started one by one, as with no_graph. All return
 * 1, or 0 and FV_EUNAVAILABLE.
 *   fv_group_make  a new group's key: one process makes it and tells the others
 *   fv_group_join  the context becomes member `rank` of `size`; returns when all have joined. From here on
 *                  fv_backward averages the gradients of parameters over the group, in buckets, while
 *                  it still runs
 *   fv_group_mean  each of n <= 8 numbers becomes its mean over the group; a context without a group keeps
 *                  them
 *   fv_group_leave the context is alone again: all members do it at the same point, before fv_destroy
 *                  at the latest */
typedef struct fv_group_key {
    char bytes[128];
} fv_group_key;
FV_DEF int fv_group_make(fv_ctx *c, fv_group_key *key);
FV_DEF int fv_group_join(fv_ctx *c, const fv_group_key *key, int rank, int size);
FV_DEF int fv_group_mean(fv_ctx *c, double *v, int n);
FV_DEF int fv_group_leave(fv_ctx *c);

/* ======================================================================================================
 * >>tensor
 * ====================================================================================================== */
/* Dense, row-major, at most FV_MAX_RANK dimensions; the last one is contiguous. Data is 64-byte aligned when
 * we made it. Step tensors (results of ops) die at fv_reset; parameters and constants live until fv_destroy
 * or fv_param_free. */
struct fv_tensor {
    /* [dim[0]]..[dim[rank-1]] of type; NULL while a scope has dropped it, or for a packed constant */
    void *data;
    /* same shape, type of fv_grad_type(); NULL until fv_backward reaches it. On a GPU context in its
     * memory */
    void *grad;
    /* NULL: data lies in host memory; else in this GPU's: use fv_read, fv_write, fv_get, fv_set */
    struct fv__device *device;
    int64_t dim[FV_MAX_RANK];
    int rank;
    fv_type type;
    const char *name;                       /* of a parameter: its key in a checkpoint; else NULL */
    unsigned flags;                         /* FV_TRAINED, ... */
    int grad_set;                           /* 1: grad holds something that further gradients are added to */
    const fv_packed *packed;                /* a constant weight in the GEMM's own layout, or NULL */
    struct fv__node *node;                  /* how it was made; NULL for parameters and inputs */
    struct fv__span *data_span, *grad_span; /* the step memory it holds */
    /* GPU contexts: of host data the copy there; of data there the one that fv_get made here */
    struct fv__span *copy_span;
    struct fv__device *copied; /* copy_span is up to date, or a copy on its way; else NULL */
    int first_use; /* of a parameter, while fv_backward runs in a group: its first reader on the tape */
    /* GPU contexts: of a parameter its elements in bf16, for products; rounded_at: 0: out of date, see
     * fv__rounded */
    void *rounded;
    int64_t rounded_at;
};
enum {
    FV_PARAM = 1,      /* lives outside the step; fv_backward adds to its grad until an optimiser's step */
    FV_NEEDS_GRAD = 2, /* a gradient flows to it */
    FV_NO_DECAY = 4    /* the optimiser's weight decay leaves it alone */
};

/* fv_numel -- product of the dimensions; 1 for a scalar, 0 for NULL. */
FV_DEF int64_t fv_numel(const fv_tensor *t);
/* fv_new -- a step tensor of undefined content. type 0 is f32. errors  FV_ESHAPE (rank, negative dims),
 * FV_ENOMEM */
FV_DEF fv_tensor *fv_new(fv_ctx *c, fv_type type, int rank, const int64_t *dim);
/* fv_input -- a step tensor that holds a copy of data (same type, numel elements). needs_grad: fv_backward
 * fills ->grad. */
FV_DEF fv_tensor *fv_input(fv_ctx *c, fv_type type, int rank, const int64_t *dim, const void *data,
                           int needs_grad);
/* fv_param -- a zeroed trained tensor with a gradient; name may be NULL and is copied. */
FV_DEF fv_tensor *fv_param(fv_ctx *c, const char *name, fv_type type, int rank, const int64_t *dim);
/* fv_constant -- like fv_param without a gradient (frozen weights, running statistics, tables). */
FV_DEF fv_tensor *fv_constant(fv_ctx *c, const char *name, fv_type type, int rank, const int64_t *dim);
/* fv_param_free -- frees a parameter or constant. */
FV_DEF void fv_param_free(fv_ctx *c, fv_tensor *t);
/* fv_read, fv_write -- all elements of a tensor in its own type to or from host memory, wherever the tensor
 * lies; fv_read_grad its gradient (zeros where none has arrived), in fv_grad_type(t). Return 1, or 0 and the
 * sticky error. */
FV_DEF int fv_read(fv_ctx *c, const fv_tensor *t, void *to);
FV_DEF int fv_write(fv_ctx *c, fv_tensor *t, const void *from);
FV_DEF int fv_read_grad(fv_ctx *c, const fv_tensor *t, void *to);
/* fv_get, fv_set -- element i (row-major) as a double: for printing and tests. On a GPU context ops see a
 * host tensor as it was when they were called, whatever fv_set and fv_write change afterwards; who writes to
 * ->data by himself does it before the first op that reads it. */
FV_DEF double fv_get(const fv_tensor *t, int64_t i);
FV_DEF void fv_set(fv_tensor *t, int64_t i, double v);
/* fv_grad_type -- f64 for f64, bf16 for bf16 step tensors, f32 otherwise. */
FV_DEF fv_type fv_grad_type(const fv_tensor *t);
/* fv_init_normal, fv_init_trunc_normal (cut at two std), fv_init_uniform (in [-a,a]), fv_init_fill --
 * initialisation of a parameter; numbers i = 0.. of stream `stream` of the context's seed. */
FV_DEF void fv_init_normal(fv_ctx *c, fv_tensor *t, float std, uint64_t stream);
FV_DEF void fv_init_trunc_normal(fv_ctx *c, fv_tensor *t, float std, uint64_t stream);
FV_DEF void fv_init_uniform(fv_ctx *c, fv_tensor *t, float a, uint64_t stream);
FV_DEF void fv_init_fill(fv_tensor *t, double v);
/* fv_pack -- a frozen weight w [out,in] (f32, bf16 or f64 data, any origin) as a constant in the GEMM's
 * layout: one copy that serves y = x W^T and its input gradient. type: FV_F32, FV_BF16 (half the memory; the
 * products of fv_autocast) or FV_F64. The data is not needed afterwards. -> [out,in], data NULL.
 * errors  FV_ENOMEM, FV_ESHAPE */
FV_DEF fv_tensor *fv_pack(fv_ctx *c, const char *name, fv_type type, int64_t out, int64_t in,
                          const void *data, fv_type data_type);

/* ======================================================================================================
 * >>graph -- the tape: ops run at once and are remembered; fv_backward walks back over them
 * ====================================================================================================== */
/* fv_backward -- d loss / d everything that needs it. loss: one element. Gradients of parameters are added to
 * what is there (so that several calls accumulate); gradients of inputs stay readable until fv_reset.
 * errors  FV_ESHAPE, FV_ENOMEM */
FV_DEF void fv_backward(fv_ctx *c, fv_tensor *loss);
/* fv_backward_from -- the same from a gradient given for y: data of y's shape, in fv_grad_type(y). */
FV_DEF void fv_backward_from(fv_ctx *c, fv_tensor *y, const void *grad);
/* fv_no_grad -- 1: ops keep nothing for a backward pass from here on; 0: they do (the start). Returns what it
 * was; -1 only asks, as in fv_training and fv_recompute. */
FV_DEF int fv_no_grad(fv_ctx *c, int on);
/* fv_training -- 1: dropout, drop-path and batch statistics are on; 0 (the start): evaluation. Returns what
 * it was. */
FV_DEF int fv_training(fv_ctx *c, int on);
/* fv_autocast -- FV_BF16: linear, matmul and attention compute in bf16 with f32 sums, norms hand them bf16,
 * and sums of the residual stream, losses, parameters and their gradients stay f32. FV_F32 (the start): all
 * in f32. Returns what it was. */
FV_DEF fv_type fv_autocast(fv_ctx *c, fv_type type);
/* fv_seed -- the seed of dropout and drop-path, and the step number that picks their stream: the same pair,
 * the same masks. */
FV_DEF void fv_seed(fv_ctx *c, uint64_t seed, uint64_t step);

/* Scopes: memory between two points of a network.
 *   fv_scope s = fv_scope_begin(c);  ...ops...  y = fv_scope_end(c, s, y);
 * Without gradients everything made in the scope but y is freed at its end. With gradients, and recompute on
 * (fv_recompute), the same is dropped and computed again when the backward pass gets there. Otherwise it does
 * nothing. */
typedef struct fv_scope {
    int first;
} fv_scope;
FV_DEF fv_scope fv_scope_begin(fv_ctx *c);
FV_DEF fv_tensor *fv_scope_end(fv_ctx *c, fv_scope s, fv_tensor *y);
FV_DEF int fv_recompute(fv_ctx *c, int on);
/* fv_forget -- t, a result that no further op will use, gives its memory back now (->data is NULL); if the
 * backward pass reads it, it is made again from its sources first. For results that are cheap to make and
 * large: norms, activations. Nothing happens for NULL, parameters, inputs, views, what a view shares its
 * memory with, and the result of a scope that fv_recompute has emptied. */
FV_DEF void fv_forget(fv_ctx *c, fv_tensor *t);
/* fv_spend -- t, a result that nobody reads after the backward pass, gives its memory back when that has
 * passed it. NULL is fine. */
FV_DEF void fv_spend(fv_tensor *t);

/* fv_gradcheck -- compares gradients with central differences.
 *   f       builds a loss of one element from the tensors (f64, inputs or parameters), called many times
 *   t, n    the tensors to perturb; up to `samples` elements of each (0: all)
 *   ->      the largest error: |analytic-numeric| / max(1e-3, the tensor's largest gradient), or NaN where
 *           one is no number; negative on failure */
typedef fv_tensor *(*fv_loss_fn)(fv_ctx *c, void *user, fv_tensor **t);
FV_DEF double fv_gradcheck(fv_ctx *c, fv_loss_fn f, void *user, fv_tensor **t, int n, int samples);
/* fv_profile -- what ops cost since fv_profile_reset(c, 1), a row for each op and pass: calls, seconds, and
 * the floating-point operations of its products, two for each multiply-add, as the op is defined (however its
 * kernels cut it). -> how many rows
 *   fv_profile_reset  forgets the rows; on: whether to count from here on
 *   fv_profile_on     stops counting (0) or goes on (1) and keeps the rows. Returns what it was */
/* AGAIN: the forward pass of a scope that fv_recompute dropped; UPDATE: an optimiser's step */
typedef enum fv_pass { FV_PASS_FORWARD = 0, FV_PASS_BACKWARD, FV_PASS_AGAIN, FV_PASS_UPDATE } fv_pass;
typedef struct fv_profile_row {
    const char *op;
    fv_pass pass;
    int64_t calls;
    double seconds, flop;
} fv_profile_row;
enum { FV_PROFILE_ROWS = 160 }; /* there are never more */
FV_DEF int fv_profile(fv_ctx *c, fv_profile_row *rows, int most);
FV_DEF void fv_profile_reset(fv_ctx *c, int on);
FV_DEF int fv_profile_on(fv_ctx *c, int on);

/* ======================================================================================================
 * >>ops -- each takes and gives tensors of the step; NULL and a sticky error when shapes do not fit
 * ====================================================================================================== */
/* fv_linear -- y = act(x W^T + b) + residual.  x [...,in], w [out,in] (a parameter, a step tensor, or from
 * fv_pack), b [out] or NULL, residual of y's shape or NULL -> [...,out]. Under fv_autocast y is bf16, with a
 * residual it has the residual's type. */
typedef enum fv_act { FV_ACT_NONE = 0, FV_ACT_GELU, FV_ACT_SILU, FV_ACT_RELU } fv_act;
FV_DEF fv_tensor *fv_linear(fv_ctx *c, fv_tensor *x, fv_tensor *w, fv_tensor *b);
FV_DEF fv_tensor *fv_linear_act(fv_ctx *c, fv_tensor *x, fv_tensor *w, fv_tensor *b, fv_act act);
FV_DEF fv_tensor *fv_linear_add(fv_ctx *c, fv_tensor *x, fv_tensor *w, fv_tensor *b, fv_tensor *residual);
/* fv_matmul -- batched: a [...,m,k] b [...,k,n] -> [...,m,n]; transpose_b: b [...,n,k]. Leading dims equal,
 * or b has rank 2. */
FV_DEF fv_tensor *fv_matmul(fv_ctx *c, fv_tensor *a, fv_tensor *b, int transpose_b);

/* fv_attention -- softmax(q k^T scale + mask) v, never storing the scores.
 *   q  [B,N,H*hd], k, v [B,M,K*hd] with H a multiple of K (grouped queries); or k = v = NULL and
 *      q = [B,N,(H+2K)*hd], holding q, k, v of a token one after the other
 *   -> [B,N,H*hd]; rows with no valid key are 0 */
typedef struct fv_attention_desc {
    int num_heads, num_kv_heads; /* K; 0: num_heads */
    float scale;                 /* 0: 1/sqrt(hd); refused below that */
    int causal;                  /* 1: token i sees keys 0..i */
    float rope_theta;            /* 0: no rotary embedding; positions 0.. */
    int rope_interleaved;        /* 1: pairs (2i, 2i+1), Meta and GGUF; 0: (i, i+hd/2), HF */
    const fv_tensor *mask;       /* u8 [B,M], 1: a valid key; NULL: all are */
} fv_attention_desc;
FV_DEF fv_tensor *fv_attention(fv_ctx *c, fv_tensor *q, fv_tensor *k, fv_tensor *v,
                               const fv_attention_desc *desc);
/* fv_attention_scores -- the softmax itself, to look at: q, k (or q alone, holding q, k, v) and desc as above
 * -> [B,H,N,M], f32 (f64 for f64). No gradient flows through it. */
FV_DEF fv_tensor *fv_attention_scores(fv_ctx *c, fv_tensor *q, fv_tensor *k, const fv_attention_desc *desc);

/* Looking inside a network. fv_observe -- from here on see(user, place, x) is called for every place that a
 * network has marked: when x is computed, and, where gradients flow, again in the backward pass with x->grad,
 * d loss / d x, set. It may read and copy; x dies with the step. With fv_recompute a place inside a scope is
 * shown once more. see NULL: no more. Nothing is computed otherwise.
 *   the frozen stage   stage.input z, stage.attention and stage.ffn (the residual stream after each
 *                      half, block by block; [B,N,D]), stage.scores ([B,H,N,M]), stage.output (of F2,
 *                      before an outside residual)
 *   encoders           block.attention, block.ffn, block.scores, block by block (vit,
 *                      point_transformer, motion, and the towers of vqa and retrieval)
 * fv_mark -- a network of yours marks a place: gives x, or while somebody observes a view of it. place: a
 * literal, kept by its address. fv_mark_scores -- shows fv_attention_scores of q, k, where somebody
 * observes. */
typedef void (*fv_observer)(void *user, const char *place, const fv_tensor *x);
FV_DEF void fv_observe(fv_ctx *c, fv_observer see, void *user);
FV_DEF fv_tensor *fv_mark(fv_ctx *c, const char *place, fv_tensor *x);
FV_DEF void fv_mark_scores(fv_ctx *c, const char *place, fv_tensor *q, fv_tensor *k,
                           const fv_attention_desc *desc);

/* Norms over the last dim D; w, b [D], each may be NULL (then 1 and 0). */
FV_DEF fv_tensor *fv_layernorm(fv_ctx *c, fv_tensor *x, fv_tensor *w, fv_tensor *b, float eps);
FV_DEF fv_tensor *fv_rmsnorm(fv_ctx *c, fv_tensor *x, fv_tensor *w, float eps);
/* [...,D] -> [...,1]: 1/sqrt(mean(x^2)+eps) */
FV_DEF fv_tensor *fv_inverse_rms(fv_ctx *c, fv_tensor *x, float eps);
/* fv_batchnorm -- per channel: x [rows,C]; in training by the batch's mean and biased variance, and the
 * running ones move by momentum (variance unbiased); else by the running ones. mean, var [C] are constants
 * that training changes. */
FV_DEF fv_tensor *fv_batchnorm(fv_ctx *c, fv_tensor *x, fv_tensor *w, fv_tensor *b, fv_tensor *mean,
                               fv_tensor *var, float momentum, float eps);
FV_DEF fv_tensor *fv_softmax(fv_ctx *c, fv_tensor *x); /* over the last dim */

FV_DEF fv_tensor *fv_gelu(fv_ctx *c, fv_tensor *x); /* exact: x/2 (1+erf(x/sqrt 2)) */
FV_DEF fv_tensor *fv_silu(fv_ctx *c, fv_tensor *x);
FV_DEF fv_tensor *fv_relu(fv_ctx *c, fv_tensor *x);
FV_DEF fv_tensor *fv_leaky_relu(fv_ctx *c, fv_tensor *x, float slope);
FV_DEF fv_tensor *fv_swiglu(fv_ctx *c, fv_tensor *gate, fv_tensor *up); /* silu(gate) * up */

/* Elementwise, broadcasting as NumPy does (dims aligned at the end, 1 stretches). */
FV_DEF fv_tensor *fv_add(fv_ctx *c, fv_tensor *a, fv_tensor *b);
FV_DEF fv_tensor *fv_sub(fv_ctx *c, fv_tensor *a, fv_tensor *b);
FV_DEF fv_tensor *fv_mul(fv_ctx *c, fv_tensor *a, fv_tensor *b);
FV_DEF fv_tensor *fv_scale(fv_ctx *c, fv_tensor *x, float s);
FV_DEF fv_tensor *fv_cast(fv_ctx *c, fv_tensor *x, fv_type type); /* f32, bf16, f64 */

/* Shape. dim indices may be negative (from the end).
 * fv_reshape: one dim may be -1; shares data.  fv_permute: y.dim[i] = x.dim[order[i]].  fv_concat: n <= 8;
 * dims of 1 in front stretch to x[n-1]'s.  fv_slice: start .. start+count-1 of the dim. */
FV_DEF fv_tensor *fv_reshape(fv_ctx *c, fv_tensor *x, int rank, const int64_t *dim);
FV_DEF fv_tensor *fv_permute(fv_ctx *c, fv_tensor *x, const int *order);
FV_DEF fv_tensor *fv_concat(fv_ctx *c, fv_tensor **x, int n, int dim);
FV_DEF fv_tensor *fv_slice(fv_ctx *c, fv_tensor *x, int dim, int64_t start, int64_t count);
/* fv_gather -- rows: table [R,D], index i32 or i64 [...] -> [...,D]; an index out of range: FV_ESHAPE. As an
 * embedding too. */
FV_DEF fv_tensor *fv_gather(fv_ctx *c, fv_tensor *table, const fv_tensor *index);
FV_DEF fv_tensor *fv_mean(fv_ctx *c, fv_tensor *x, int dim); /* drops the dim */
FV_DEF fv_tensor *fv_sum(fv_ctx *c, fv_tensor *x, int dim);
FV_DEF fv_tensor *fv_max(fv_ctx *c, fv_tensor *x, int dim); /* the gradient goes to the first of equal ones */

/* fv_dropout -- in training each element is 0 with probability p, else divided by 1-p; fv_drop_path the same
 * for whole samples (dim 0). Element i uses number i of the stream (step of fv_seed, index of the op in the
 * step). */
FV_DEF fv_tensor *fv_dropout(fv_ctx *c, fv_tensor *x, float p);
FV_DEF fv_tensor *fv_drop_path(fv_ctx *c, fv_tensor *x, float p);

/* Losses: means over the batch -> one element [1], f32 (f64 for f64).
 * fv_cross_entropy: logits [B,K]; labels i32 or i64 [B], or soft targets of the logits' type or f32 [B,K];
 * smoothing s mixes the target with s/K.  fv_bce_with_logits, fv_huber: target of x's shape, mean over all
 * elements; delta as in torch's huber_loss. */
FV_DEF fv_tensor *fv_cross_entropy(fv_ctx *c, fv_tensor *logits, const fv_tensor *target, float smoothing);
FV_DEF fv_tensor *fv_bce_with_logits(fv_ctx *c, fv_tensor *x, const fv_tensor *target);
FV_DEF fv_tensor *fv_huber(fv_ctx *c, fv_tensor *x, const fv_tensor *target, float delta);

/* ======================================================================================================
 * >>optim
 * ====================================================================================================== */
/* A list of parameters, in a fixed order: what an optimiser, an EMA and a checkpoint work on. */
typedef struct fv_params {
    fv_tensor **at;
    int count, capacity;
} fv_params;
FV_DEF int fv_params_add(fv_ctx *c, fv_params *p, fv_tensor *t);
FV_DEF fv_tensor *fv_params_find(const fv_params *p, const char *name);

typedef enum fv_optim_kind { FV_ADAMW = 0, FV_SGD } fv_optim_kind;
typedef struct fv_optim_desc {
    fv_optim_kind kind;
    float beta1, beta2, eps; /* 0: 0.9, 0.999, 1e-8 */
    float momentum;          /* SGD; 0: 0.9; negative: none */
    /* decoupled for AdamW; 0: 0.05; negative: none. None for tensors with FV_NO_DECAY or of rank <= 1 */
    float weight_decay;
    float clip_grad; /* greatest global norm; 0 or negative: no clipping */
} fv_optim_desc;
typedef struct fv_optim {
    fv_optim_desc desc;
    fv_params *params;
    float **m, **v;          /* per parameter, f32 [numel], on a GPU context in its memory; v NULL for SGD */
    int64_t step;            /* updates done */
    struct fv__later *later; /* of fv_optim_step_async */
} fv_optim;
/* fv_optim_create -- state for params (all f32). The list must outlive it. */
FV_DEF fv_optim *fv_optim_create(fv_ctx *c, fv_params *params, const fv_optim_desc *desc);
FV_DEF void fv_optim_destroy(fv_ctx *c, fv_optim *o);
/* fv_grad_norm -- global L2 norm of the gradients (0 for those that got none). */
FV_DEF double fv_grad_norm(fv_ctx *c, const fv_params *params);
/* fv_optim_step -- clips by min(1, clip/(norm+1e-6)), updates every parameter that has a gradient, and
 * forgets the gradients. Returns the norm before clipping. source  Loshchilov and Hutter, arXiv:1711.05101 */
FV_DEF double fv_optim_step(fv_ctx *c, fv_optim *o, float lr);
/* The same without waiting for a GPU: what the step came to is told later, in order. From the first step
 * on whose loss or norm is not finite no update is made: parameters and moments stay as they were before.
 *   fv_optim_loss        loss, of one element, is (a part of) the step's: parts are added up. Called before
 *                        the fv_reset that ends its tape. errors  FV_ESHAPE
 *   fv_optim_step_async  note comes back with the result. In a group loss and note become their means over
 *                        it. -> 1, or 0 and FV_EUSAGE: FV_OPTIM_AHEAD results wait already
 *   fv_optim_result      the oldest result, once. wait 0: if it needs no waiting: on the CPU any, on a GPU
 *                        that of a step after which fv_reset was called twice, whatever the speed of
 *                        either. -> 1, or 0: there is none, or there is an error */
typedef struct fv_step_result {
    double loss, norm, note; /* norm: of the gradients, before clipping */
} fv_step_result;
enum { FV_OPTIM_AHEAD = 4 };
FV_DEF void fv_optim_loss(fv_ctx *c, fv_optim *o, const fv_tensor *loss);
FV_DEF int fv_optim_step_async(fv_ctx *c, fv_optim *o, float lr, double note);
FV_DEF int fv_optim_result(fv_ctx *c, fv_optim *o, int wait, fv_step_result *result);
FV_DEF void fv_zero_grad(fv_params *params);
/* fv_lr_cosine -- linear warm-up from `start` to lr over `warmup` steps, then a half cosine down to `min` at
 * `steps`. */
FV_DEF float fv_lr_cosine(int64_t step, int64_t steps, int64_t warmup, float lr, float start, float min);
/* fv_ema -- average = decay*average + (1-decay)*parameter; the average is a list of the same shapes. */
FV_DEF void fv_ema(fv_ctx *c, fv_params *average, const fv_params *params, float decay);

/* ======================================================================================================
 * >>json -- strict RFC 8259, and a text builder
 * ====================================================================================================== */
typedef struct fv_json fv_json; /* a parsed document; owns a copy of its text */
/* A value in it; 0: absent. Every accessor takes 0 and says absent. There is no tree: an accessor walks over
 * the text, so go through long lists by first and next, not by at. */
typedef uint32_t fv_jnode;
typedef enum fv_json_kind {
    FV_JSON_ABSENT,
    FV_JSON_NULL,
    FV_JSON_FALSE,
    FV_JSON_TRUE,
    FV_JSON_NUMBER,
    FV_JSON_STRING,
    FV_JSON_ARRAY,
    FV_JSON_OBJECT
} fv_json_kind;
/* fv_json_parse -- valid UTF-8, no duplicate keys, at most 32 levels. name stands in messages.
 * errors  FV_EFORMAT, FV_ENOMEM */
FV_DEF fv_json *fv_json_parse(fv_ctx *c, const char *text, size_t size, const char *name);
FV_DEF fv_json *fv_json_open(fv_ctx *c, const char *path);
FV_DEF void fv_json_free(fv_ctx *c, fv_json *j);
FV_DEF fv_jnode fv_json_root(const fv_json *j);
FV_DEF fv_json_kind fv_json_type(const fv_json *j, fv_jnode n);
/* how many elements an array, or members an object has; walks over them */
FV_DEF int fv_json_count(const fv_json *j, fv_jnode n);
FV_DEF fv_jnode fv_json_first(const fv_json *j, fv_jnode n);
FV_DEF fv_jnode fv_json_next(const fv_json *j, fv_jnode n);
FV_DEF fv_jnode fv_json_at(const fv_json *j, fv_jnode n, int i);
FV_DEF fv_jnode fv_json_get(const fv_json *j, fv_jnode n, const char *key);
FV_DEF const char *fv_json_key(const fv_json *j, fv_jnode n); /* of a member's value; "" otherwise */
FV_DEF const char *fv_json_string(const fv_json *j, fv_jnode n, const char *otherwise);
FV_DEF double fv_json_number(const fv_json *j, fv_jnode n, double otherwise);
FV_DEF int64_t fv_json_int(const fv_json *j, fv_jnode n, int64_t otherwise);
FV_DEF int fv_json_bool(const fv_json *j, fv_jnode n, int otherwise);
/* A growing text; zero is empty; NUL-terminated. */
typedef struct fv_text {
    char *data;
    size_t size, capacity;
} fv_text;
FV_DEF int fv_text_add(fv_ctx *c, fv_text *t, const char *format, ...);
FV_DEF int fv_text_json_string(fv_ctx *c, fv_text *t, const char *s); /* quoted and escaped */
FV_DEF void fv_text_free(fv_ctx *c, fv_text *t);

/* ======================================================================================================
 * >>safetensors -- a bag of named tensors in a mapped file, and writing one
 * ====================================================================================================== */
/* clang-format off */
#define FV_DTYPE_LIST(X) /* name in files, elements in a block, bytes of a block */     \
    X(F32, 1, 4) X(F64, 1, 8) X(F16, 1, 2) X(BF16, 1, 2)                                \
    X(I8, 1, 1) X(I16, 1, 2) X(I32, 1, 4) X(I64, 1, 8)                                  \
    X(U8, 1, 1) X(U16, 1, 2) X(U32, 1, 4) X(U64, 1, 8)                                  \
    X(BOOL, 1, 1) X(F8_E4M3, 1, 1) X(F8_E5M2, 1, 1)                                     \
    X(Q4_0, 32, 18) X(Q4_1, 32, 20) X(Q5_0, 32, 22) X(Q5_1, 32, 24) X(Q8_0, 32, 34)     \
    X(Q4_K, 256, 144) X(Q5_K, 256, 176) X(Q6_K, 256, 210)
/* clang-format on */
typedef enum fv_dtype {
    FV_D_OTHER = 0, /* only inspected */
#define FV__DTYPE_ENUM(name, block, bytes) FV_D_##name,
    FV_DTYPE_LIST(FV__DTYPE_ENUM)
#undef FV__DTYPE_ENUM
        FV_D_COUNT
} fv_dtype;
FV_DEF const char *fv_dtype_name(fv_dtype d);

typedef struct fv_entry {
    const char *name;         /* first: see fv__names */
    const uint8_t *data;      /* in the mapped file; may be misaligned */
    uint64_t bytes, offset;   /* offset in its file */
    int64_t count;            /* elements */
    int64_t dim[FV_MAX_RANK]; /* row-major, PyTorch's order (GGUF's reversed) */
    fv_dtype dtype;
    uint8_t rank, file; /* file: which shard */
    uint16_t ggml_type; /* the number in a GGUF file, of a type that is only inspected */
} fv_entry;
/* fv_entry_dtype -- its dtype's name, "Q3_K" and the like for those that are only inspected */
FV_DEF const char *fv_entry_dtype(const fv_entry *e);
typedef struct fv_meta {
    const char *key;
    const char *string; /* or NULL */
    double number;      /* of a number or bool */
    int is_number;
    uint32_t type;       /* GGUF's type of the value, or of an array's elements */
    uint64_t count;      /* of an array's elements; 0 otherwise */
    const uint8_t *data; /* an array's raw bytes */
} fv_meta;
typedef struct fv_weights fv_weights;
FV_DEF void fv_weights_close(fv_ctx *c, fv_weights *w);
FV_DEF int fv_weights_count(const fv_weights *w);
FV_DEF const fv_entry *fv_weights_at(const fv_weights *w, int i);
FV_DEF const fv_entry *fv_weights_find(const fv_weights *w, const char *name);
FV_DEF const char *fv_weights_path(const fv_weights *w);
FV_DEF int fv_weights_is_gguf(const fv_weights *w);
FV_DEF int fv_weights_meta_count(const fv_weights *w);
/* fv_weights_meta_at -- the i-th key and its value in m; 1, or 0 where there is none */
FV_DEF int fv_weights_meta_at(const fv_weights *w, int i, fv_meta *m);
FV_DEF const char *fv_weights_meta_string(const fv_weights *w, const char *key, const char *otherwise);
FV_DEF double fv_weights_meta_number(const fv_weights *w, const char *key, double otherwise);
typedef struct fv_save_entry {
    const char *name;
    fv_dtype dtype;
    int rank;
    const int64_t *dim;
    const void *data;
} fv_save_entry;
/* fv_safetensors_write -- atomically; metadata: key, value, ..., NULL; or NULL. errors  FV_EIO, FV_ENOMEM */
FV_DEF int fv_safetensors_write(fv_ctx *c, const char *path, const fv_save_entry *entries, int count,
                                const char *const *metadata);

/* SHA-256, incremental or at once. source  FIPS 180-4 */
typedef struct fv_sha {
    uint32_t h[8];
    uint64_t bytes;
    uint8_t block[64];
} fv_sha;
FV_DEF void fv_sha_start(fv_sha *s);
FV_DEF void fv_sha_add(fv_sha *s, const void *data, size_t size);
FV_DEF void fv_sha_end(fv_sha *s, uint8_t out[32]);
FV_DEF void fv_sha256(const void *data, size_t size, uint8_t out[32]);

/* ======================================================================================================
 * >>gguf -- versions 2 and 3, opened by fv_weights_open
 * ====================================================================================================== */
/* A GGUF's metadata are the fv_meta of its fv_weights; arrays (a tokenizer's words) stay raw bytes in the
 * mapped file: elements of type 8 are strings, each a u64 length and its bytes; 0..7, 10..12 are u8 i8 u16
 * i16 u32 i32 f32 bool u64 i64 f64.
 *   source  the GGUF specification of the ggml project */
/* fv_weights_open -- by content, not by ending: safetensors, a sharded index (inside its own folder), GGUF; a
 * folder means its model.safetensors or model.safetensors.index.json. Stays mapped until closed.
 * errors  FV_EIO, FV_EFORMAT, FV_ENOMEM */
FV_DEF fv_weights *fv_weights_open(fv_ctx *c, const char *path);
/* fv_entry_read -- all elements as type `to`: f32, f64 or bf16 from any float or quantised dtype; i32, i64,
 * u8 (and floats) from whole numbers. errors  FV_EUNAVAILABLE for a dtype that is only inspected, FV_ESHAPE
 * for a conversion that makes no sense */
FV_DEF int fv_entry_read(fv_ctx *c, const fv_weights *w, const fv_entry *e, fv_type to, void *dst);

/* ======================================================================================================
 * >>tokenizer -- text to an LLM's token numbers: byte-level BPE, as in a GGUF file
 * ====================================================================================================== */
/* Digits are split one by one, then words as GPT-2's pattern says, then byte pairs are merged in the file's
 * order. Bytes that are no UTF-8 are encoded as they are, those that have no token are left out. Names of
 * special tokens are text like any other.
 *   source  Sennrich et al., arXiv:1508.07909; Radford et al., GPT-2 */
typedef struct fv__merge {
    uint64_t key;
    int32_t id, rank;
} fv__merge;
typedef struct fv__candidate {
    int32_t rank, at, id, left, right;
} fv__candidate;
typedef struct fv_tokenizer {
    int32_t count; /* tokens */
    size_t *start; /* [count+1]: token i is bytes start[i]..start[i+1] */
    char *bytes;
    int32_t *slot; /* [mask+1]: token + 1 by hash of its bytes */
    uint64_t mask, merge_mask;
    fv__merge *merge; /* [merge_mask+1], by hash of the pair */
    int32_t byte_id[256];
    int16_t byte_of[512];
    uint8_t ascii[128];
} fv_tokenizer;
/* fv_tokenizer_create -- from an open GGUF file, which may be closed then. errors  NULL: FV_EUSAGE (no such
 * tokenizer in it), FV_EFORMAT */
FV_DEF fv_tokenizer *fv_tokenizer_create(fv_ctx *c, const fv_weights *w);
FV_DEF void fv_tokenizer_destroy(fv_ctx *c, fv_tokenizer *t);
FV_DEF int fv_tokenizer_size(const fv_tokenizer *t);
/* fv_tokenizer_encode -- n bytes of text -> how many tokens; the first `most` of them into ids (may be NULL
 * when most is 0). fv_tokenizer_decode -- n ids -> how many bytes; the first `most` into text, without a 0 at
 * the end. -1: an error, an unknown id */
FV_DEF int64_t fv_tokenizer_encode(fv_ctx *c, const fv_tokenizer *t, const char *text, size_t n, int32_t *ids,
                                   int64_t most);
FV_DEF int64_t fv_tokenizer_decode(const fv_tokenizer *t, const int32_t *ids, int64_t n, char *text,
                                   int64_t most);

/* ======================================================================================================
 * >>image -- from 8-bit pictures to a network's input: resizing, crops, augmentation, mixup, positions
 * ====================================================================================================== */
/* A picture here is u8 [height,width,channels], rows top to bottom, 1 to 4 channels, sides of 1 to 65535. */
typedef enum fv_filter {
    FV_FILTER_DEFAULT = 0, /* bicubic */
    FV_BILINEAR = 1,
    FV_BICUBIC = 2, /* Keys' cubic with a = -1/2 */
    FV_LANCZOS = 3  /* three lobes */
} fv_filter;

/* fv_image_resize -- a picture to dh x dw. Antialiased: where it shrinks, the filter widens by the same
 * factor.
 *   src  u8 [h,w,channels]
 *   dst  u8 [dh,dw,channels], apart from src
 *   ->   1, or 0 and FV_ESHAPE, FV_ENOMEM
 *   source  equal to Pillow's Image.resize byte for byte: coefficients in fixed point with 22 fractional
 *           bits, one axis after the other, rounded to 8 bits between them. Which comes first is Pillow
 *           13's choice; older ones differ where the height shrinks by more than twice as many pixels as
 *           the width. Channels are independent: alpha is not premultiplied */
FV_DEF int fv_image_resize(fv_ctx *c, const uint8_t *src, int h, int w, int channels, uint8_t *dst, int dh,
                           int dw, fv_filter filter);
/* fv_image_resize_f32 -- the same filters in f32, without rounding or clamping.
 *   src  f32 [planes,h,w]
 *   dst  f32 [planes,dh,dw], apart from src
 *   source  torch's interpolate(antialias=True, align_corners=False) to 1e-5 */
FV_DEF int fv_image_resize_f32(fv_ctx *c, const float *src, int planes, int h, int w, float *dst, int dh,
                               int dw, fv_filter filter);
/* fv_image_center_crop -- the middle dh x dw of a picture; black around it where it is smaller than that. An
 * odd rest goes where torchvision's CenterCrop lets it go (half to even). FV_ESHAPE. */
FV_DEF int fv_image_center_crop(fv_ctx *c, const uint8_t *src, int h, int w, int channels, uint8_t *dst,
                                int dh, int dw);
/* fv_image_to_float -- u8 [h,w,channels] -> f32 [channels,h,w], (v/255 - mean[channel]) / std[channel], each
 * step rounded to f32 as torchvision does. */
FV_DEF void fv_image_to_float(const uint8_t *src, int h, int w, int channels, const float *mean,
                              const float *std, float *dst);

typedef enum fv_erase_mode {
    FV_ERASE_CONST = 0, /* zeros, after normalisation */
    FV_ERASE_COLOR = 1, /* one standard normal number a channel */
    FV_ERASE_PIXEL = 2  /* one a value */
} fv_erase_mode;

/* What becomes of a picture. Zero: the default, or off where it says so; negative: truly zero, or off. The
 * names are timm's and torchvision's, and so is what they do. */
typedef struct fv_augment_desc {
    /* ---- of fv_preprocess and fv_augment ---- */
    int size; /* S: the result is f32 [C,S,S]; must be given */
    /* C; 0: the picture's own. Grey becomes 3 equal channels, 3 become grey (luma), 4 lose the last */
    int channels;
    fv_filter filter;      /* 0: bicubic */
    float mean[4], std[4]; /* by channel of the result, of values in [0,1]; 0: 0.5 */
    /* ---- of fv_preprocess ---- */
    /* the shorter side becomes floor(S/crop_pct), then the centre is cropped; 0: 1; at most 1 */
    float crop_pct;
    /* ---- of fv_augment: a random resized crop, or else the shorter side to S and a random crop ---- */
    /* share of the picture's area that the crop takes; scale[0] 0: off; scale[1] 0: 1 */
    float scale[2];
    float ratio[2]; /* its width over its height; 0: 3/4, 4/3 */
    /* black pixels put around the picture of shorter side S before the random crop; 0: none */
    int padding;
    float hflip; /* probability of mirroring left to right; 0: off */
    /* ---- of fv_augment: colours, each factor uniform in [max(0,1-x), 1+x], in random order; 0: off ---- */
    float brightness, contrast, saturation;
    /* ---- of fv_augment: random erasing, after normalisation ---- */
    float erase;         /* probability; 0: off */
    float erase_area[2]; /* share of the picture; 0: 0.02, 1/3 */
    float erase_ratio;   /* least height over width, its inverse the greatest; 0: 0.3 */
    fv_erase_mode erase_mode;
} fv_augment_desc;

/* fv_augment_scratch_size -- bytes that fv_augment and fv_preprocess need for any picture up to h x w x
 * channels. Returns 0 and FV_EUSAGE or FV_ESHAPE where the desc makes no sense or does not fit such pictures:
 * the check to do once, before workers start. c may be NULL. */
FV_DEF size_t fv_augment_scratch_size(fv_ctx *c, const fv_augment_desc *d, int h, int w, int channels);
/* fv_augment -- a training picture: crop, flip, colour jitter, normalisation, random erasing, in that order.
 *   c        for its error and, where scratch is NULL, its memory. NULL from a worker thread: then nothing
 *            is shared and nothing allocated, any number of threads may call it at once, and a failure is
 *            told by the 0 alone
 *   r        where the numbers come from: the same (seed, stream, next) give the same result on any
 *            thread. One stream a picture and epoch is a good choice
 *   src      u8 [h,w,channels]
 *   dst      f32 [C,S,S]
 *   scratch  of fv_augment_scratch_size bytes, 64-byte aligned; NULL: taken from c
 *   ->       1, or 0 and FV_EUSAGE, FV_ESHAPE, FV_ENOMEM
 *   source   timm's transforms_imagenet_train, torchvision's RandomResizedCrop, RandomCrop, ColorJitter;
 *            Zhong et al., arXiv:1708.04896 */
FV_DEF int fv_augment(fv_ctx *c, const fv_augment_desc *d, fv_rng *r, const uint8_t *src, int h, int w,
                      int channels, float *dst, void *scratch);
/* fv_preprocess -- the same for evaluation, without chance: shorter side to floor(S/crop_pct), centre crop,
 * normalisation.
 *   source  timm's transforms_imagenet_eval, on a picture as Pillow resizes it */
FV_DEF int fv_preprocess(fv_ctx *c, const fv_augment_desc *d, const uint8_t *src, int h, int w, int channels,
                         float *dst, void *scratch);

/* Mixing a batch with itself backwards: picture i with picture batch-1-i. */
typedef struct fv_mixup_desc {
    float mixup_alpha, cutmix_alpha; /* of Beta(alpha,alpha); 0: off. Both off: only the targets are made */
    float prob;                      /* that a batch is mixed at all; 0: 1 */
    float switch_prob;               /* of cutmix where both are on; 0: 0.5; negative: never */
    float smoothing;                 /* of the targets; 0: none */
} fv_mixup_desc;
/* fv_mixup -- mixup or cutmix of a whole batch, in place, and its soft targets.
 *   x        f32 [batch,channels,height,width]
 *   labels   i32 [batch], 0 to classes-1
 *   targets  f32 [batch,classes]: lam * smoothed(label) + (1-lam) * smoothed(label of the partner)
 *   ->       lam, 1 where nothing was mixed; for cutmix 1 - the share of the box that was really pasted. -1
 *   and FV_EUSAGE, FV_ESHAPE
 *   source   Zhang et al., arXiv:1710.09412; Yun et al., arXiv:1905.04899; timm's Mixup, mode batch */
FV_DEF double fv_mixup(fv_ctx *c, const fv_mixup_desc *d, fv_rng *r, float *x, int batch, int channels,
                       int height, int width, const int32_t *labels, int classes, float *targets);
/* fv_mixup_batch -- the same of a step's tensor where the context computes, on a GPU there: the same numbers.
 *   x        f32 [batch,channels,height,width], from fv_new or fv_input; its content is not to be used
 *            afterwards
 *   targets  *targets: f32 [batch,classes], as above
 *   ->       the mixed batch: x itself, on a GPU another tensor. NULL and FV_EUSAGE, FV_ESHAPE, FV_ENOMEM */
FV_DEF fv_tensor *fv_mixup_batch(fv_ctx *c, const fv_mixup_desc *d, fv_rng *r, fv_tensor *x,
                                 const int32_t *labels, int classes, fv_tensor **targets);
/* fv_mixup_targets -- the targets alone, for a given lam. 1, or 0 and FV_ESHAPE. */
FV_DEF int fv_mixup_targets(fv_ctx *c, const int32_t *labels, int batch, int classes, double lam,
                            float smoothing, float *targets);

/* fv_resample_pos_embed -- position embeddings for another grid of patches, bicubic and antialiased.
 *   src  f32 [prefix_tokens + gh*gw, dim]; the prefix (class token) is copied as it is
 *   dst  f32 [prefix_tokens + dh*dw, dim], apart from src
 *   ->   1, or 0 and FV_ESHAPE, FV_ENOMEM
 *   source  timm's resample_abs_pos_embed, to 1e-5 */
FV_DEF int fv_resample_pos_embed(fv_ctx *c, const float *src, int prefix_tokens, int gh, int gw, int dim,
                                 float *dst, int dh, int dw);

/* ======================================================================================================
 * >>clouds -- point clouds: farthest points, nearest neighbours, groups, augmentation
 * ====================================================================================================== */
/* Clouds: points [B,N,3], f32. All: 1, or 0 and FV_ESHAPE, FV_ENOMEM.
 * fv_fps -- farthest point sampling: index [B,G]; the first is 0, each next the farthest from those before
 * it, the lower index of equal ones.  fv_knn -- the K nearest of each centre [B,G,3] by squared distance:
 * index [B,G,K], nearest first, lower index first.
 *   source  Qi et al., PointNet++, arXiv:1706.02413 */
FV_DEF int fv_fps(fv_ctx *c, const float *points, int64_t B, int64_t N, int64_t G, int32_t *index);
FV_DEF int fv_knn(fv_ctx *c, const float *points, int64_t B, int64_t N, const float *centre, int64_t G,
                  int64_t K, int32_t *index);
/* fv_point_groups -- x [B,N,3] -> the K nearest of G sampled centres, less the centre, [B,G,K,3]; *centres
 * [B,G,3]. No gradient. */
FV_DEF fv_tensor *fv_point_groups(fv_ctx *c, const fv_tensor *x, int G, int K, fv_tensor **centres);
/* fv_points_augment -- in place: each axis scaled by 2/3..3/2, then moved by -0.2..0.2.  source  Point-BERT's
 * fine-tuning */
FV_DEF void fv_points_augment(fv_rng *r, float *points, int64_t n);

/* ======================================================================================================
 * >>model -- a network described by a JSON config: the same keys as the released code's
 * ====================================================================================================== */
/* The frozen stage's settings (see >>frozen). Zero is the default, or "as the LLM's file says". */
typedef enum fv_llm_arch { FV_LLAMA = 0, FV_OPT } fv_llm_arch;
typedef enum fv_residual {
    FV_RES_NONE = 0,
    FV_RES_INSIDE,
    FV_RES_OUTSIDE,
    FV_RES_BOTH,
    FV_RES_OUTSIDE_NN
} fv_residual;
typedef enum fv_final_norm { FV_NORM_ONES = 0, FV_NORM_LOADED, FV_NORM_NONE } fv_final_norm;
typedef enum fv_variant {
    FV_VARIANT_LLM = 0,
    FV_VARIANT_BASE,
    FV_VARIANT_LINEAR,
    FV_VARIANT_MLP,
    FV_VARIANT_RANDOM,
    FV_VARIANT_SHUFFLED,
    FV_VARIANT_FINETUNE,
    FV_VARIANT_SCRATCH
} fv_variant;
enum { FV_MAX_LAYERS = 64 };
typedef struct fv_frozen_config {
    fv_llm_arch arch;
    int hidden_size, num_attention_heads, num_key_value_heads, intermediate_size;
    int head_dim;                          /* 0: hidden_size / num_attention_heads */
    float rms_norm_eps;                    /* layer_norm_eps for OPT; 0: the LLM's, else 1e-6 (OPT 1e-5) */
    int layers[FV_MAX_LAYERS], num_layers; /* which blocks, in this order; 0: the LLM's last one */
    int rope, causal, only_mlp;
    float rope_theta; /* 0: the LLM's, else 10000 */
    int rope_scaled;  /* the LLM's own config scales its rotary embedding, which we do not */
    fv_final_norm final_norm;
    fv_residual residual;
    int norm_after, gelu; /* OPT: do_layer_norm_before is false; activation_function is gelu */
    fv_variant variant;
    int after_block; /* k+1 when the stage stands after the encoder's block k; 0: after the last */
    /* F1 multiplied into the first block's q, k, v (LLaMA): 1, -1: always, never; 0: in training, where it
     * saves work. See fv_frozen_forward */
    int fold;
} fv_frozen_config;

/* fv_frozen_config_parse -- reads the object `node`. strict: ours, an unknown key is refused and
 * num_hidden_layers n stands for the blocks 0..n-1; else an LLM's config.json: unknown keys are ignored.
 * Returns 1, or 0 and FV_EUSAGE. */
FV_DEF int fv_frozen_config_parse(fv_ctx *c, const fv_json *json, fv_jnode node, int strict,
                                  fv_frozen_config *config);
/* fv_variant_parse -- "llm", "base", ...; -1 for an unknown name. fv_variant_name is its inverse. */
FV_DEF int fv_variant_parse(const char *name);
FV_DEF const char *fv_variant_name(fv_variant v);

typedef struct fv_model fv_model;
/* What a network is made of; one per arch, found by its name in the config. */
typedef struct fv_arch {
    const char *name;
    /* makes m->net and the parameters from m->config; sets dim, num_classes; 1 or 0 */
    int (*build)(fv_ctx *c, fv_model *m);
    int inputs; /* how many tensors forward wants */
    fv_tensor *(*forward)(fv_ctx *c, fv_model *m, fv_tensor *const *input); /* -> logits */
    void (*free)(fv_ctx *c, fv_model *m); /* what m->net holds beside parameters; NULL: nothing */
} fv_arch;

struct fv_frozen;
/* How a parameter starts. XAVIER: uniform by fan in and out (weights of rank 2). CONV: uniform in
 * +-1/sqrt(fan_in), with the fan of the tensor before it for a bias. */
typedef enum fv_init {
    FV_INIT_ZEROS = 0,
    FV_INIT_ONES,
    FV_INIT_TRUNC,
    FV_INIT_TINY,
    FV_INIT_CONV,
    FV_INIT_XAVIER
} fv_init;
struct fv_model {
    const fv_arch *arch;
    fv_json *config;        /* the whole document; keys are read by the arch */
    fv_frozen_config stage; /* the parsed `frozen`; completed in frozen->config */
    fv_type type;           /* of parameters: f32, or f64 for gradient checks */
    uint64_t seed;
    fv_params params;         /* trained */
    fv_params buffers;        /* saved but not trained: running statistics */
    struct fv_frozen *frozen; /* NULL: no stage */
    void *net, *blocks;       /* the arch's own struct, and an array of it; both freed with the model */
    /* output of F2 in the last forward, before an outside residual; NULL without a stage */
    fv_tensor *features;
    int dim; /* d, of the tokens that the stage sees */
    int num_classes;
    /* of linear layers: FV_INIT_TRUNC, std 0.02, as the released code has it, unless the config says
     * "linear_init":"xavier", which narrow networks want; FV_INIT_XAVIER in motion, vqa, retrieval,
     * scene_qa */
    fv_init linear_init;
    float drop_path, dropout;
};

/* fv_model_param -- a trained tensor appended to m->params. TRUNC: truncated normal, std 0.02; TINY: normal,
 * std 1e-6 */
FV_DEF fv_tensor *fv_model_param(fv_ctx *c, fv_model *m, const char *name, int rank, const int64_t *dim,
                                 fv_init init);

/* fv_model_buffer -- [n], saved and loaded but not trained, filled with `value` */
FV_DEF fv_tensor *fv_model_buffer(fv_ctx *c, fv_model *m, const char *name, int64_t n, double value);

/* Keys of the config: `otherwise` when absent; a value of the wrong kind or out of range is FV_EUSAGE. */
FV_DEF int fv_config_int(fv_ctx *c, const fv_model *m, const char *key, int otherwise, int least, int most);
FV_DEF float fv_config_float(fv_ctx *c, const fv_model *m, const char *key, float otherwise);
FV_DEF int fv_config_bool(fv_ctx *c, const fv_model *m, const char *key, int otherwise);
FV_DEF const char *fv_config_string(fv_ctx *c, const fv_model *m, const char *key, const char *otherwise);
/* fv_config_known -- refuses a key that is neither in `keys` (NULL at the end) nor one that every network may
 * have. */
FV_DEF int fv_config_known(fv_ctx *c, const fv_model *m, const char *const *keys);

/* ======================================================================================================
 * >>frozen -- the frozen stage: F1, blocks of a language model that are never trained, F2
 * ======================================================================================================
 * z [B,N,d] -> F1: d->D -> block(s) -> final norm -> F2: D->d -> z' [B,N,d].  Gradients flow through the
 * blocks to F1 and to what came before; the blocks' own weights get none (save in the variants finetune and
 * scratch).
 *   source  Pang et al., arXiv:2310.12973; residual modes: Lai et al., arXiv:2403.17343 */

/* The tensors of one block. LLaMA has no biases; OPT has no gate: its fc1 is FV_LLM_UP, its fc2
 * FV_LLM_DOWN. */
typedef enum fv_llm_slot {
    FV_LLM_NORM1 = 0,
    FV_LLM_NORM1_BIAS,
    FV_LLM_Q,
    FV_LLM_Q_BIAS,
    FV_LLM_K,
    FV_LLM_K_BIAS,
    FV_LLM_V,
    FV_LLM_V_BIAS,
    FV_LLM_O,
    FV_LLM_O_BIAS,
    FV_LLM_NORM2,
    FV_LLM_NORM2_BIAS,
    FV_LLM_GATE,
    FV_LLM_UP,
    FV_LLM_UP_BIAS,
    FV_LLM_DOWN,
    FV_LLM_DOWN_BIAS,
    FV_LLM_SLOTS
} fv_llm_slot;
/* a block's weights, by fv_llm_slot; NULL: absent, or not loaded yet */
typedef struct fv_llm_layer {
    fv_tensor *w[FV_LLM_SLOTS];
} fv_llm_layer;

struct fv_frozen {
    fv_frozen_config config; /* completed from the LLM's own settings */
    int dim;                 /* d, of the encoder's tokens */
    fv_type type, pack;      /* of F1, F2, norms; of the frozen matrices */
    uint64_t seed;
    fv_params *params;                   /* where F1, F2 and trained blocks were added */
    fv_tensor *mapper1, *mapper2;        /* F1 [D,d], F2 [d,D] */
    fv_tensor *mapper_residual;          /* [d,d] of the mode outside_nn, else NULL */
    fv_tensor *mlp_norm, *mlp_norm_bias; /* [D] of the variant mlp */
    fv_llm_layer *layer;                 /* [config.num_layers] */
    fv_tensor *norm, *norm_bias;         /* [D] the final norm; NULL with `ones`: 1 and 0 */
    int rope_interleaved;                /* follows the names of the file that the weights came from */
    int loaded;                          /* 1: every block is there */
    fv_tensor *features;                 /* output of F2 in the last forward, before an outside residual */
    char sha256[65];                     /* of the tensors as loaded, in hex; "" when there was no file */
};
typedef struct fv_frozen fv_frozen;

typedef struct fv_frozen_desc {
    fv_frozen_config config; /* dims of 0 come from the LLM */
    int dim;                 /* d; 0: the blocks alone, without F1 and F2 */
    fv_type type;            /* 0: f32; f64 for gradient checks */
    fv_type pack;            /* precision of the frozen matrices: 0: as type; FV_BF16 */
    uint64_t seed;           /* of F1, F2 and of the variants random, shuffled, scratch */
    /* a language model's file; NULL: fv_frozen_load comes later, or random, scratch: std 0.02 */
    fv_weights *llm;
} fv_frozen_desc;

/* fv_frozen_create -- makes F1 and F2 (`llama_dim_mapper1.weight`, `llama_dim_mapper2.weight`), appends them
 * and whatever else is trained to params (which must outlive the stage), and loads the blocks.
 *   errors  NULL: FV_EUSAGE (layers that do not exist, dims that do not fit), FV_EFORMAT, FV_EIO,
 *   FV_ENOMEM */
FV_DEF fv_frozen *fv_frozen_create(fv_ctx *c, const fv_frozen_desc *desc, fv_params *params);
/* fv_frozen_destroy -- frees the frozen tensors; those in params stay the list's. */
FV_DEF void fv_frozen_destroy(fv_ctx *c, fv_frozen *f);
/* fv_frozen_load -- takes the blocks from w, under any prefix and HF's, Meta's, GGUF's or OPT's names.
 * as_variant: 1: redraw or shuffle them as config.variant says; 0: take them as they are (a checkpoint of
 * ours). Returns 1, or 0 and an error. */
FV_DEF int fv_frozen_load(fv_ctx *c, fv_frozen *f, fv_weights *w, int as_variant);
/* fv_frozen_config_from_llm -- fills what is 0 in config from the file's own settings (GGUF metadata,
 * config.json beside it, shapes): dims, eps, theta, and the last block when no layers are named. Returns 1,
 * or 0 and FV_EUSAGE. */
FV_DEF int fv_frozen_config_from_llm(fv_ctx *c, fv_frozen_config *config, fv_weights *llm);
/* fv_frozen_has -- 1 when w holds blocks of a language model under names that we know. */
FV_DEF int fv_frozen_has(fv_ctx *c, fv_weights *w);

/* fv_frozen_forward -- z [B,N,d] -> [B,N,d] with the stage's residual mode; sets f->features. mask: u8 [B,N],
 * 1: a valid token; NULL. F1 is linear and RMSNorm scales a row, so rms(z F1) diag(g) W = (z/rms) (F1 diag(g)
 * W): with many tokens and D far over d the first block's q, k, v cost a fraction that way. Training does so
 * where it saves work, evaluation never; config.fold forces it. */
FV_DEF fv_tensor *fv_frozen_forward(fv_ctx *c, fv_frozen *f, fv_tensor *z, const fv_tensor *mask);
/* fv_llm_block -- block number i of the stage's list (not of the LLM) on x [B,N,D] -> [B,N,D]. */
FV_DEF fv_tensor *fv_llm_block(fv_ctx *c, const fv_frozen *f, int i, fv_tensor *x, const fv_tensor *mask);
/* fv_llm_blocks -- all of them in order, then the final norm: [B,N,D] -> [B,N,D]. */
FV_DEF fv_tensor *fv_llm_blocks(fv_ctx *c, const fv_frozen *f, fv_tensor *x, const fv_tensor *mask);
/* fv_frozen_hash -- SHA-256 in hex of the tensors the stage took from the file, "" when it took none. */
FV_DEF const char *fv_frozen_hash(const fv_frozen *f);
/* fv_frozen_numel -- elements of all frozen tensors. */
FV_DEF int64_t fv_frozen_numel(const fv_frozen *f);

/* ======================================================================================================
 * >>encoders -- the networks, each made of public ops
 * ====================================================================================================== */
/* fv_arch_find -- the network of that name ("vit"); NULL. The networks, the keys of their configs with what
 * holds where one is absent, and whose names their weights have (inputs: see fv_model_forward):
 *   vit                img_size 224, patch_size 16, in_chans 3, embed_dim 384, depth 12, num_heads 6,
 *                      mlp_ratio 4, qkv_bias true, class_token true, global_pool "token" ("avg"),
 *                      norm_eps 1e-6
 *                      source  Dosovitskiy et al., arXiv:2010.11929; timm
 *   point_transformer  num_points 1024, num_group 64, group_size 32, encoder_width 256 (W: the mini-PointNet's
 *                      layers are W/2, rounded down, W and 2 W wide), encoder_dims 256, trans_dim 384, depth
 *                      12, num_heads 6, mlp_ratio 4, qkv_bias false, norm_eps 1e-5, drop_rate 0.5,
 *                      max_pool_only false (true: no transformer, the head sees the tokens' maximum)
 *                      source  Yu et al., Point-BERT, arXiv:2111.14819
 *   video_vit          img_size 224, patch_size 16, in_chans 3, num_frames 16, tubelet_size 2, embed_dim 384,
 *                      depth 12, num_heads 6, mlp_ratio 4, qkv_bias true, init_values 0, global_pool "avg",
 *                      norm_eps 1e-6
 *                      source  Tong et al., VideoMAE, arXiv:2203.12602
 *   vit3d, vivit       image_size 28, image_patch_size 7, frames 28, frame_patch_size 7, channels 1, dim
 *                      1024, depth 6 (vivit: spatial_depth 6, temporal_depth 6), heads 8, dim_head 64,
 *                      mlp_dim 2048, pool "cls" ("mean"), norm_eps 1e-5
 *                      source  Lai et al., R-LLM, arXiv:2403.17343
 *   motion             encoder "vectornet" ("mmtransformer"), dim 128, depth 1 (2), num_heads 2, mlp_ratio 4,
 *                      subgraph_layers 3, agent_features 4, lane_features 7, observed_steps 19
 *                      (mmtransformer's), modes 6, future_steps 30, scale 10, norm_eps 1e-5
 *                      source  Gao et al., arXiv:2005.04259; Liu et al., arXiv:2103.11624; names: ours
 *   vqa, retrieval,    dim 128, num_heads 4, mlp_ratio 4, vocab_size 49152, max_words 32, word_dim 0,
 *   scene_qa           text_depth 1, image_depth 2, fusion_depth 2, norm_eps 1e-5; img_size 64, patch_size 8,
 *                      in_chans 3, conv_stem false (scene_qa: object_features 9); retrieval: embed_dim 64
 *                      source  Dou et al., METER, arXiv:2111.02387; names: ours
 * All have num_classes 1000, drop_path_rate 0, drop_rate 0, linear_init "trunc_normal" ("xavier"), and
 * frozen: the stage (>>frozen), null or absent for none. */
FV_DEF const fv_arch *fv_arch_find(const char *name);

/* fv_sample_frames -- sparse sampling: the clip of `total` frames in `frames` equal parts, one frame of each:
 * at random (r), or, with r NULL, view `segment` of `segments`, that share of each part behind its start, as
 * VideoMAE tests (a single view: the middle). index [frames]. 1, or 0 when a count is none.
 *   source  Wang et al., Temporal Segment Networks, arXiv:1608.00859 */
FV_DEF int fv_sample_frames(fv_rng *r, int total, int frames, int segment, int segments, int32_t *index);
/* fv_motion_loss -- y [B,K,2T+1] of the network motion, target f32 [B,T,2]: Huber loss (delta 1) of the
 * future whose endpoint is nearest to the target's, plus the cross-entropy of the scores to that one.
 * fv_motion_best -- which one that is, for row b; end: x, y. */
FV_DEF fv_tensor *fv_motion_loss(fv_ctx *c, fv_tensor *y, const fv_tensor *target);
FV_DEF int fv_motion_best(const fv_tensor *y, int64_t b, const float *end);

/* ======================================================================================================
 * >>network -- a model from its config: create, load, run
 * ====================================================================================================== */
typedef struct fv_model_desc {
    fv_type type;  /* 0: f32; f64 for gradient checks */
    fv_type pack;  /* precision of the frozen block's matrices: 0: as type; FV_BF16 */
    uint64_t seed; /* of the initialisation, and of the variants random and shuffled */
    /* where the frozen block comes from; NULL: fv_model_load finds it in the model's own file */
    fv_weights *llm;
} fv_model_desc;
/* fv_model_create -- a network with fresh parameters from a JSON config (n bytes). desc may be NULL.
 *   errors  NULL: FV_EFORMAT (not JSON), FV_EUSAGE (an unknown key or arch, values or an LLM that do not
 *           fit), FV_ENOMEM */
FV_DEF fv_model *fv_model_create(fv_ctx *c, const char *config, size_t n, const fv_model_desc *desc);
FV_DEF void fv_model_destroy(fv_ctx *c, fv_model *m);
/* fv_model_forward -- input -> logits [B,num_classes]; sets m->features. Inputs by arch:
 *   vit [B,C,H,W]   point_transformer [B,N,3]   video_vit [B,C,T,H,W]   vit3d, vivit [B,C,F,H,W]
 * fv_model_forward_many -- the same for networks of several inputs:
 *   motion     agents [B,A,V,4], mask u8 [B,A,V], lanes [B,L,W,7], mask u8 [B,L,W] -> [B,K,2T+1]:
 *              K futures (x,y of each step) of agent 0, and each one's score before softmax; "encoder" is
 *              "vectornet" or "mmtransformer" (see >>encoders)
 *   vqa        ids i32 [B,L], mask u8 [B,L], images [B,C,H,W] -> [B,num_classes]
 *   retrieval  the same -> [B,1+2E]: a score of the pair, and the image's and the text's embedding, of
 *              length 1, for ranking; with ids [B*n,L] and n texts for each image, those of an image
 *              together, [B*n,1+2E]
 *   scene_qa   ids, mask, objects [B,O,F], mask u8 [B,O] -> [B,num_classes]
 *              "word_dim": n: the words' table is m->buffers' "text.embed.weight" [vocab_size,n], for you
 *              to fill; it is not trained
 * In a mask 1 is valid; what is masked has no influence. */
FV_DEF fv_tensor *fv_model_forward(fv_ctx *c, fv_model *m, fv_tensor *input);
FV_DEF fv_tensor *fv_model_forward_many(fv_ctx *c, fv_model *m, fv_tensor *const *input, int n);
/* fv_model_load -- takes every parameter from w by its key, `prefix` before it ("" or "model."); the frozen
 * block too when w holds it. A position embedding of another grid is interpolated. Returns 1, or 0: FV_EUSAGE
 * for a key that is missing or that no parameter has, and for shapes and class counts that differ. */
FV_DEF int fv_model_load(fv_ctx *c, fv_model *m, fv_weights *w, const char *prefix);
/* fv_model_numel -- trained elements. */
FV_DEF int64_t fv_model_numel(const fv_model *m);
/* fv_model_pack -- for inference from here on: every weight matrix gets a copy in the product's layout, made
 * once and not at each call. type: FV_F32, or FV_BF16 for use under fv_autocast (nothing happens where the
 * CPU has no such products). The matrices take no gradient any more; results stay the same to the bit. Call
 * it after loading, and again when the weights have changed. Returns 1, or 0 and FV_ENOMEM. */
FV_DEF int fv_model_pack(fv_ctx *c, fv_model *m, fv_type type);

/* ======================================================================================================
 * >>train -- checkpoints that survive a kill at any instant
 * ====================================================================================================== */
/* fv_checkpoint_save -- DIR/checkpoints/step-N/{model,optimizer}.safetensors and trainer_state.json, then
 * DIR/latest, replaced atomically; older checkpoints are removed after that. Numbers that are not finite are
 * never saved: then the older checkpoint stays. errors  FV_EIO, FV_ENOMEM, FV_ENONFINITE */
FV_DEF int fv_checkpoint_save(fv_ctx *c, const char *dir, const fv_params *params, const fv_params *buffers,
                              const fv_optim *o, int64_t step);
/* fv_checkpoint_load -- the newest whole one: parameters, buffers, moments. Returns its step, 0 when there is
 * none, -1 and an error when it does not fit. */
FV_DEF int64_t fv_checkpoint_load(fv_ctx *c, const char *dir, fv_params *params, fv_params *buffers,
                                  fv_optim *o);
/* fv_params_save, fv_params_load -- a safetensors file of these tensors under their names; metadata as
 * fv_safetensors_write. */
FV_DEF int fv_params_save(fv_ctx *c, const char *path, const fv_params *params, const fv_params *buffers,
                          const char *const *metadata);
FV_DEF int fv_params_load(fv_ctx *c, const char *path, fv_params *params, fv_params *buffers);

#endif /* FROZENVIS_H */

/* ######################################################################################################
 * implementation
 * ###################################################################################################### */
#if defined(FROZENVIS_IMPLEMENTATION) && !defined(FROZENVIS_IMPLEMENTED)
#define FROZENVIS_IMPLEMENTED

/* ======================================================================================================
 * >>config (implementation)
 * ====================================================================================================== */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifndef FROZENVIS_NO_THREADS
#include <pthread.h>
#include <sched.h>
#endif
#ifdef FROZENVIS_OPENMP
#include <omp.h>
#endif
#ifdef FROZENVIS_CBLAS
#include <cblas.h>
#endif
#if defined(__x86_64__) && defined(__GNUC__) && !defined(FROZENVIS_SCALAR_ONLY)
#define FV__X86 1
#include <immintrin.h>
#endif
#if defined(__aarch64__) && defined(__GNUC__) && !defined(FROZENVIS_SCALAR_ONLY)
#define FV__ARM 1
#include <arm_neon.h>
#endif

/* Between these two stands what runs seldom or waits for the kernels: gcc takes it at Og, since a step is as
 * fast so (measured: image and points), and a program with this header compiles in 4.6 s instead of 8. What
 * the kernels call an element at a time must be FV__ALWAYS_INLINE: gcc calls a function that is compiled with
 * other options. */
#if defined(__OPTIMIZE__) && defined(__GNUC__) && !defined(__clang__)
#define FV__SELDOM _Pragma("GCC push_options") _Pragma("GCC optimize(\"Og\")")
#define FV__SELDOM_END _Pragma("GCC pop_options")
#else
#define FV__SELDOM
#define FV__SELDOM_END
#endif
#ifdef __GNUC__
#define FV__ALWAYS_INLINE __attribute__((always_inline)) inline
#else
#define FV__ALWAYS_INLINE inline
#endif

/* Our own invariants only; data from a file or a caller never reaches it. */
#ifdef FROZENVIS_DEBUG
#include <assert.h>
#define FV_ASSERT(x) assert(x)
#else
#define FV_ASSERT(x) ((void)0)
#endif

#define FV__MIN(a, b) ((a) < (b) ? (a) : (b))
#define FV__MAX(a, b) ((a) > (b) ? (a) : (b))
#define FV__COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define FV__CEIL(a, b) (((a) + (b)-1) / (b))
#define FV__ROUND_UP(a, b) (FV__CEIL(a, b) * (b))

/* CUDA: FV__KERNEL, FV__DEV and FV__METHOD begin a kernel, a function and a method for one, FV__HD a function
 * for both sides; FV__CU(f) is f in an op's table, or NULL without CUDA. FROZENVIS_CUDA_EMULATE: the includer
 * has defined the runtime's names himself. */
#ifdef FROZENVIS_CUDA
#if !defined(__cplusplus) || !(defined(__CUDACC__) || defined(FROZENVIS_CUDA_EMULATE))
#error "frozenvis.h: FROZENVIS_CUDA wants this file compiled as CUDA: nvcc -x cu"
#endif
#ifdef __CUDACC__
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "frozenvis.h: FROZENVIS_CUDA wants GPUs of compute capability 8.0 or later: nvcc -arch=sm_80"
#endif
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#ifdef FROZENVIS_NCCL
#include <nccl.h>
#endif
#pragma nv_diag_suppress 1675 /* gcc's pragmas, FV__SELDOM's too, which nvcc leaves to gcc */
#pragma nv_diag_suppress 550  /* set but never used: gcc sees better */
#endif
#define FV__CU(f) f
#define FV__HD __host__ __device__
#define FV__DEV static __device__ __forceinline__
#define FV__METHOD __device__ __forceinline__
#define FV__KERNEL static __global__ void
#ifdef __CUDACC__ /* arrays are registers only where every index is a constant */
#define FV__CU_UNROLL _Pragma("unroll")
#define FV__CU_ROLL _Pragma("unroll 1") /* saves registers */
#else
#define FV__CU_UNROLL
#define FV__CU_ROLL
#endif
#else
#define FV__CU(f) NULL
#define FV__HD
#endif

FV__SELDOM

/* ======================================================================================================
 * >>types (implementation)
 * ====================================================================================================== */
FV_DEF size_t fv_type_size(fv_type type) {
    static const uint8_t size[] = {0, 4, 8, 2, 4, 8, 1};
    return (unsigned)type < sizeof size ? size[type] : 0;
}

FV_DEF const char *fv_type_name(fv_type type) {
    static const char *const name[] = {"?", "f32", "f64", "bf16", "i32", "i64", "u8"};
    return (int)type > 0 && (int)type < FV__COUNT(name) ? name[type] : "?";
}

/* bf16 is the upper half of an f32: round to nearest, ties to even; a NaN stays a NaN. */
static FV__ALWAYS_INLINE FV__HD uint16_t fv__bf16_from(float f) {
#ifdef __CUDA_ARCH__ /* one instruction */
    return __bfloat16_as_ushort(__float2bfloat16_rn(f));
#else
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
#endif
}
static FV__ALWAYS_INLINE FV__HD float fv__bf16_to(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* One element of a tensor as a double, whatever its type, and back: for tests, printing and slow paths. */
static double fv__get(const void *p, fv_type type, int64_t i) {
    switch (type) {
    case FV_F32: return ((const float *)p)[i];
    case FV_F64: return ((const double *)p)[i];
    case FV_BF16: return fv__bf16_to(((const uint16_t *)p)[i]);
    case FV_I32: return ((const int32_t *)p)[i];
    case FV_I64: return (double)((const int64_t *)p)[i];
    case FV_U8: return ((const uint8_t *)p)[i];
    default: return 0;
    }
}
static void fv__set(void *p, fv_type type, int64_t i, double v) {
    switch (type) {
    case FV_F32: ((float *)p)[i] = (float)v; break;
    case FV_F64: ((double *)p)[i] = v; break;
    case FV_BF16: ((uint16_t *)p)[i] = fv__bf16_from((float)v); break;
    case FV_I32: ((int32_t *)p)[i] = (int32_t)v; break;
    case FV_I64: ((int64_t *)p)[i] = (int64_t)v; break;
    case FV_U8: ((uint8_t *)p)[i] = (uint8_t)v; break;
    default: break;
    }
}
/* src -> dst, n elements, any two types (a copy where they are equal) */
static void fv__convert(void *dst, fv_type to, const void *src, fv_type from, int64_t n) {
    if (to == from) {
        if (n) memcpy(dst, src, (size_t)n * fv_type_size(to));
        return;
    }
    if (to == FV_F32 && from == FV_BF16) {
        for (int64_t i = 0; i < n; i++) ((float *)dst)[i] = fv__bf16_to(((const uint16_t *)src)[i]);
    } else if (to == FV_BF16 && from == FV_F32) {
        for (int64_t i = 0; i < n; i++) ((uint16_t *)dst)[i] = fv__bf16_from(((const float *)src)[i]);
    } else {
        for (int64_t i = 0; i < n; i++) fv__set(dst, to, i, fv__get(src, from, i));
    }
}

/* ======================================================================================================
 * >>error (implementation)
 * ====================================================================================================== */
/* Only what the sections below share; each section's own state is a struct of its own. */
typedef struct fv__block { /* header of each allocation, so that a context can free what it owns */
    struct fv__block *prev, *next;
    size_t size; /* of the whole allocation, this header included */
    char pad[64 - 2 * sizeof(void *) - sizeof(size_t)];
} fv__block;

typedef struct fv__chunk {
    struct fv__span *first;
    size_t size, top; /* top: the highest byte that this step has used */
} fv__chunk;
typedef struct fv__pool { /* memory of one step: chunks cut into spans; see >>memory */
    fv__chunk *chunk;
    struct fv__span *spare;
    int chunks, capacity;
    size_t used, peak;
} fv__pool;
/* STEP: what ops make; on a GPU context, HOST: what the host fills or reads, INPUT: copies of it on the
 * device; two of each in turn, so that a step can be filled while the GPU still has the one before */
enum { FV__POOL_STEP, FV__POOL_HOST, FV__POOL_INPUT = FV__POOL_HOST + 2, FV__POOLS = FV__POOL_INPUT + 2 };

struct fv_ctx {
    fv_desc desc;
    fv_status status;
    char error[1024];
    fv__block *blocks; /* everything taken from the allocator */
    fv_memory_info memory;
    fv__pool pool[FV__POOLS];
    int turn;                  /* which of the two HOST and INPUT pools this step has; 0 on the CPU */
    struct fv__device *device; /* NULL: the CPU computes; see >>device */
    struct fv__workers *workers;
    fv_isa isa;
    /* threads * scratch_size bytes, for kernels; grown before a parallel region, never inside one */
    char *scratch;
    size_t scratch_size;
    struct fv__tape *tape; /* see >>graph */
};

FV_DEF fv_status fv_error(const fv_ctx *c) { return c ? c->status : FV_ENOMEM; }
FV_DEF const char *fv_error_text(const fv_ctx *c) {
    return !c ? "no memory for a context" : c->status ? c->error : "";
}
FV_DEF void fv_clear_error(fv_ctx *c) {
    c->status = FV_OK;
    c->error[0] = 0;
}

FV_DEF int fv_fail(fv_ctx *c, fv_status status, const char *format, ...) {
    if (!c || c->status) return 0;
    va_list args;
    c->status = status;
    va_start(args, format);
    int n = vsnprintf(c->error, sizeof c->error, format, args);
    va_end(args);
    if (n < 0) c->error[0] = 0;
    for (char *p = c->error; *p; p++) /* one sentence on one line, whatever a file's name or key holds */
        if ((unsigned char)*p < 32 || *p == 127) *p = '?';
    return 0;
}

FV_DEF int fv_exit_status(fv_status status) {
    static const int code[] = {
#define FV__STATUS_CODE(name, code, text) code,
        FV_STATUS_LIST(FV__STATUS_CODE)
#undef FV__STATUS_CODE
    };
    return (unsigned)status < FV_STATUS_COUNT ? code[status] : 1;
}

/* ======================================================================================================
 * >>memory (implementation)
 * ====================================================================================================== */
static void *fv__raw_alloc(fv_ctx *c, size_t size) {
    const fv_allocator *a = &c->desc.allocator;
    return a->alloc ? a->alloc(a->user, size) : malloc(size);
}
static void fv__raw_free(fv_ctx *c, void *p, size_t size) {
    const fv_allocator *a = &c->desc.allocator;
    if (a->release) a->release(a->user, p, size);
    else if (!a->alloc) free(p);
}

static int fv__no_memory(fv_ctx *c, size_t size) {
    return fv_fail(c, FV_ENOMEM, "out of memory: %zu more bytes were wanted, %zu are held%s", size,
                   c->memory.now, c->desc.memory_limit ? " and a memory limit is set" : "");
}

/* The block's header stands in the 64 bytes before the pointer that the caller gets; the bytes between the
 * allocator's pointer and the header, at most 63, are counted in its size. */
static void *fv__alloc_dirty(fv_ctx *c, size_t size) {
    if (c->status) return NULL;
    size_t whole = size + sizeof(fv__block) + 64 + sizeof(void *);
    if (whole < size || (c->desc.memory_limit && c->memory.now + whole > c->desc.memory_limit)) {
        fv__no_memory(c, size);
        return NULL;
    }
    char *raw = (char *)fv__raw_alloc(c, whole);
    if (!raw) {
        fv__no_memory(c, size);
        return NULL;
    }
    uintptr_t at = ((uintptr_t)raw + sizeof(void *) + sizeof(fv__block) + 63) & ~(uintptr_t)63;
    fv__block *b = (fv__block *)at - 1;
    memcpy((char *)b - sizeof(void *), &raw, sizeof raw);
    b->size = whole;
    b->prev = NULL;
    b->next = c->blocks;
    if (c->blocks) c->blocks->prev = b;
    c->blocks = b;
    c->memory.now += whole;
    c->memory.peak = FV__MAX(c->memory.peak, c->memory.now);
    return (void *)at;
}

FV_DEF void *fv_alloc(fv_ctx *c, size_t size) {
    void *p = fv__alloc_dirty(c, size);
    if (p) memset(p, 0, size);
    return p;
}

FV_DEF void fv_free(fv_ctx *c, void *p) {
    if (!p) return;
    fv__block *b = (fv__block *)p - 1;
    char *raw;
    memcpy(&raw, (char *)b - sizeof(void *), sizeof raw);
    if (b->prev) b->prev->next = b->next;
    else c->blocks = b->next;
    if (b->next) b->next->prev = b->prev;
    c->memory.now -= b->size;
    fv__raw_free(c, raw, b->size);
}

static char *fv__strdup(fv_ctx *c, const char *s) {
    size_t n = strlen(s) + 1;
    char *p = (char *)fv__alloc_dirty(c, n);
    if (p) memcpy(p, s, n);
    return p;
}

/* Doubles an array of the context's memory when it is full. */
static void *fv__grow(fv_ctx *c, void *p, int count, int *capacity, size_t size) {
    if (count < *capacity) return p;
    int more = *capacity ? 2 * *capacity : 64;
    void *q = fv_alloc(c, (size_t)more * size);
    if (!q) return NULL;
    if (count) memcpy(q, p, (size_t)count * size);
    fv_free(c, p);
    *capacity = more;
    return q;
}

/* ---- the pool: memory of one step. Chunks come from the allocator and stay; each is a list of spans in the
 * order of their addresses, free ones merged with their neighbours. First fit, so the same step gets the same
 * addresses, and a chunk's untouched pages cost nothing. A GPU has no untouched pages: when a step has taken
 * several chunks there, one takes their place before the next step. ---- */
typedef struct fv__span {
    char *data;
    size_t size;
    struct fv__span *prev, *next;
    int used, chunk, pool;
} fv__span;

enum { FV__POOL_CHUNK = 32 << 20, FV__HOST_CHUNK = 4 << 20 };

static fv__span *fv__span_new(fv_ctx *c, int pool, char *data, size_t size, int chunk) {
    fv__pool *p = &c->pool[pool];
    if (!p->spare) {
        fv__span *many = (fv__span *)fv_alloc(c, 256 * sizeof *many);
        if (!many) return NULL;
        for (int i = 0; i < 256; i++) {
            many[i].next = p->spare;
            p->spare = &many[i];
        }
    }
    fv__span *s = p->spare;
    p->spare = s->next;
    s->data = data, s->size = size, s->chunk = chunk, s->pool = pool;
    s->prev = s->next = NULL, s->used = 0;
    return s;
}

/* ---- a GPU's memory, see >>device; pinned is host memory that it can copy from and to by itself ---- */
static void *fv__device_alloc(fv_ctx *c, size_t size, int pinned);
static void fv__device_free(fv_ctx *c, void *p);
static int fv__device_open(fv_ctx *c);
static void fv__device_close(fv_ctx *c);
static void fv__device_reset(fv_ctx *c);
static void fv__device_record(fv_ctx *c);

static int fv__pool_grow(fv_ctx *c, int pool, size_t size) {
    fv__pool *p = &c->pool[pool];
    int pinned = pool >= FV__POOL_HOST && pool < FV__POOL_INPUT;
    size = FV__MAX(FV__ROUND_UP(size, (size_t)1 << 21),
                   (size_t)(pool == FV__POOL_STEP ? FV__POOL_CHUNK : FV__HOST_CHUNK));
    fv__chunk *chunk = (fv__chunk *)fv__grow(c, p->chunk, p->chunks, &p->capacity, sizeof *chunk);
    if (!chunk) return 0;
    p->chunk = chunk;
    char *data = (char *)(c->device ? fv__device_alloc(c, size, pinned) : fv__alloc_dirty(c, size));
    fv__span *s = data ? fv__span_new(c, pool, data, size, p->chunks) : NULL;
    if (!s) {
        if (c->device) fv__device_free(c, data);
        else fv_free(c, data);
        return 0;
    }
#ifdef MADV_HUGEPAGE
    uintptr_t page = ((uintptr_t)data + 4095) & ~(uintptr_t)4095; /* fewer page faults and TLB misses */
    if (!c->device)
        madvise((void *)page, (size_t)((uintptr_t)data + size - page) & ~(size_t)4095, MADV_HUGEPAGE);
#endif
    chunk[p->chunks].size = size, chunk[p->chunks].top = 0;
    chunk[p->chunks++].first = s;
    return 1;
}

/* size bytes of undefined content until fv__pool_free or fv_reset; aligned to 64 bytes, on a GPU context to
 * 256, as cuBLASLt takes for granted when it chooses */
static fv__span *fv__pool_take(fv_ctx *c, int pool, size_t size) {
    fv__pool *p = &c->pool[pool];
    const size_t unit = c->device ? 256 : 64;
    if (c->status) return NULL;
    if (size > SIZE_MAX / 2) {
        fv__no_memory(c, size);
        return NULL;
    }
    size = FV__MAX(FV__ROUND_UP(size, unit), unit);
    for (int chunk = 0;; chunk++) {
        if (chunk == p->chunks && !fv__pool_grow(c, pool, size)) return NULL;
        fv__span *s = p->chunk[chunk].first;
        while (s && (s->used || s->size < size)) s = s->next;
        if (!s) continue;
        if (s->size > size) {
            fv__span *rest = fv__span_new(c, pool, s->data + size, s->size - size, chunk);
            if (!rest) return NULL;
            rest->prev = s, rest->next = s->next;
            if (s->next) s->next->prev = rest;
            s->next = rest, s->size = size;
        }
        fv__chunk *in = &p->chunk[chunk];
        s->used = 1;
        in->top = FV__MAX(in->top, (size_t)(s->data - in->first->data) + size);
        p->used += size;
        p->peak = FV__MAX(p->peak, p->used);
        return s;
    }
}

/* where ops compute, and where the host does: two pools on a GPU context, one and the same without */
static fv__span *fv__pool_alloc(fv_ctx *c, size_t size) { return fv__pool_take(c, FV__POOL_STEP, size); }
static fv__span *fv__host_alloc(fv_ctx *c, size_t size) {
    return fv__pool_take(c, c->device ? FV__POOL_HOST + c->turn : FV__POOL_STEP, size);
}

static void fv__pool_free(fv_ctx *c, fv__span *s) {
    if (!s) return;
    fv__pool *p = &c->pool[s->pool];
    p->used -= s->size;
    s->used = 0;
    if (s->next && !s->next->used) { /* merge with the one after */
        fv__span *t = s->next;
        s->size += t->size, s->next = t->next;
        if (t->next) t->next->prev = s;
        t->next = p->spare, p->spare = t;
    }
    if (s->prev && !s->prev->used) { /* and into the one before */
        fv__span *t = s->prev;
        t->size += s->size, t->next = s->next;
        if (s->next) s->next->prev = t;
        s->next = p->spare, p->spare = s;
    }
}

static void fv__pool_reset(fv__pool *p) {
    for (int i = 0; i < p->chunks; i++) {
        fv__span *s = p->chunk[i].first;
        while (s->next) {
            fv__span *t = s->next;
            s->next = t->next, t->next = p->spare, p->spare = t;
        }
        s->size = p->chunk[i].size, s->used = 0, p->chunk[i].top = 0;
    }
    p->used = 0;
}
/* The same on a GPU, whose several chunks become one that is as large as what was used of them: what no
 * request fitted in is free again. The old ones go first, so that no step holds both; where there is no room
 * in one piece, the next step takes pieces again. */
static void fv__pool_join(fv_ctx *c, int pool) {
    fv__pool *p = &c->pool[pool];
    size_t size = 0;
    for (int i = 0; i < p->chunks; i++) size += p->chunk[i].top;
    fv__pool_reset(p);
    if (!c->device || p->chunks < 2 || c->status) return;
    for (int i = 0; i < p->chunks; i++) { /* waits for the kernels that use it */
        fv__span *s = p->chunk[i].first;
        fv__device_free(c, s->data);
        s->next = p->spare, p->spare = s;
    }
    p->chunks = 0;
    if (!fv__pool_grow(c, pool, size) && c->status == FV_ENOMEM) fv_clear_error(c);
}

FV_DEF fv_memory_info fv_memory(const fv_ctx *c) {
    fv_memory_info m = c->memory;
    m.step_now = m.step_peak = 0;
    for (int i = 0; i < FV__POOLS; i++) m.step_now += c->pool[i].used, m.step_peak += c->pool[i].peak;
    return m;
}

static void fv__scratch_reserve(fv_ctx *c, size_t bytes_per_thread);
static int fv__threads_start(fv_ctx *c);
static void fv__threads_stop(fv_ctx *c);
static int fv__cpu_choose(fv_ctx *c);
static int fv__tape_start(fv_ctx *c);
static void fv__tape_clear(fv_ctx *c);

FV_DEF fv_ctx *fv_create(const fv_desc *desc) {
    fv_ctx start;
    memset(&start, 0, sizeof start);
    if (desc) start.desc = *desc;
    fv_ctx *c = (fv_ctx *)fv__raw_alloc(&start, sizeof *c);
    if (!c) return NULL;
    *c = start;
    c->memory.now = c->memory.peak = sizeof *c;
    if (fv__cpu_choose(c) && fv__threads_start(c) && fv__tape_start(c) && c->desc.device != FV_CPU)
        fv__device_open(c);
    return c;
}

FV_DEF void fv_destroy(fv_ctx *c) {
    if (!c) return;
    fv__threads_stop(c);
    fv__device_close(c);
    while (c->blocks) fv_free(c, c->blocks + 1);
    fv_ctx end = *c;
    fv__raw_free(&end, c, sizeof *c);
}

FV_DEF void fv_reset(fv_ctx *c) {
    fv__tape_clear(c);
    fv__device_reset(c);
    fv__pool_join(c, FV__POOL_STEP);
    fv__pool_join(c, FV__POOL_HOST + c->turn);
    fv__pool_join(c, FV__POOL_INPUT + c->turn);
    fv__device_record(c);
}

/* ---- platform: files (POSIX) ---- */
FV_DEF int fv_file_open(fv_ctx *c, const char *path, fv_file *f) {
    static const uint8_t nothing[1] = {0};
    f->data = nothing, f->size = 0, f->mapped = 0;
    if (c->status) return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0) return fv_fail(c, FV_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    if (fstat(fd, &st) < 0 || S_ISDIR(st.st_mode)) {
        fv_fail(c, FV_EIO, "%s: cannot be read: %s", path,
                S_ISDIR(st.st_mode) ? "it is a folder" : strerror(errno));
        close(fd);
        return 0;
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return fv_fail(c, FV_EIO, "%s: cannot be mapped: it is not a regular file", path);
    }
    f->size = (size_t)st.st_size;
    if (f->size) {
        void *p = mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) fv_fail(c, FV_EIO, "%s: cannot be mapped: %s", path, strerror(errno));
        else f->data = (const uint8_t *)p, f->mapped = 1, c->memory.mapped += f->size;
    }
    close(fd);
    return c->status == FV_OK;
}

FV_DEF void fv_file_close(fv_ctx *c, fv_file *f) {
    if (f->mapped) {
        munmap((void *)(uintptr_t)f->data, f->size);
        c->memory.mapped -= f->size;
    }
    f->data = NULL, f->size = 0, f->mapped = 0;
}

FV_DEF int fv_writer_open(fv_ctx *c, fv_writer *w, const char *path) {
    memset(w, 0, sizeof *w);
    w->fd = -1;
    if (c->status) return 0;
    size_t n = strlen(path) + 32;
    w->path = fv__strdup(c, path);
    w->temp = (char *)fv_alloc(c, n);
    if (c->status) {
        fv_writer_abort(c, w);
        return 0;
    }
    snprintf(w->temp, n, "%s.tmp-%ld", path, (long)getpid());
    w->fd = open(w->temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0) {
        fv_fail(c, FV_EIO, "%s: cannot be written: %s", path, strerror(errno));
        fv_writer_abort(c, w);
    }
    return c->status == FV_OK;
}

FV_DEF int fv_writer_put(fv_ctx *c, fv_writer *w, const void *data, size_t size) {
    const char *p = (const char *)data;
    if (c->status || w->fd < 0) return 0;
    w->bytes += size;
    while (size) {
        ssize_t n = write(w->fd, p, FV__MIN(size, (size_t)1 << 30));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return fv_fail(c, FV_EIO, "%s: cannot be written: %s", w->path, strerror(errno));
        p += n, size -= (size_t)n;
    }
    return 1;
}

/* After a rename, the folder's own entry has to reach the disk too. */
static void fv__sync_folder(const char *path) {
    char folder[4096];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (n >= sizeof folder) return;
    memcpy(folder, path, n);
    memcpy(folder + n, slash ? (n ? "" : "/") : ".", slash && n ? 1 : 2);
    int fd = open(folder, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

FV_DEF int fv_writer_commit(fv_ctx *c, fv_writer *w) {
    if (!c->status && w->fd >= 0) {
        int failed = fsync(w->fd) < 0;
        failed |= close(w->fd) < 0;
        w->fd = -1;
        if (failed || rename(w->temp, w->path) < 0)
            fv_fail(c, FV_EIO, "%s: cannot be written: %s", w->path, strerror(errno));
        else {
            fv__sync_folder(w->path);
            w->temp[0] = 0;
        }
    }
    fv_writer_abort(c, w);
    return c->status == FV_OK;
}

FV_DEF void fv_writer_abort(fv_ctx *c, fv_writer *w) {
    if (w->fd >= 0) close(w->fd);
    if (w->temp && w->temp[0]) unlink(w->temp);
    fv_free(c, w->temp);
    fv_free(c, w->path);
    memset(w, 0, sizeof *w);
    w->fd = -1;
}

FV_DEF int fv_write_file(fv_ctx *c, const char *path, const void *data, size_t size) {
    fv_writer w;
    if (!fv_writer_open(c, &w, path)) return 0;
    fv_writer_put(c, &w, data, size);
    return fv_writer_commit(c, &w);
}

/* ======================================================================================================
 * >>threads (implementation)
 * ====================================================================================================== */
/* ---- platform: threads. One function, fv_parallel, over our pool on pthreads, OpenMP, a caller's pool, or
 * none. Jobs are numbered and cut the same way for any thread count; which worker runs which job is left to
 * an atomic counter. ---- */
typedef struct fv__workers {
    fv_ctx *c;
    int count; /* the caller included */
#ifndef FROZENVIS_NO_THREADS
    pthread_t *thread;
    int started;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int sleeping;
    void (*job)(void *, int, int);
    void *arg;
    int jobs, spin, quit;
    uint32_t round; /* atomic: a new number is a new batch of jobs */
    int next, busy; /* atomic: the next job; workers that have not finished this batch */
#endif
} fv__workers;

#if !defined(FROZENVIS_NO_THREADS) && !defined(FROZENVIS_OPENMP)
typedef struct fv__worker {
    fv__workers *w;
    int index;
} fv__worker;

static inline void fv__pause(void) {
#ifdef FV__X86
    _mm_pause();
#elif defined(FV__ARM)
    __asm__ volatile("yield");
#endif
}

static void fv__run_jobs(fv__workers *w, int index) {
    for (;;) {
        int i = __atomic_fetch_add(&w->next, 1, __ATOMIC_RELAXED);
        if (i >= w->jobs) break;
        w->job(w->arg, i, index);
    }
}

/* Waits for a batch newer than `seen`: spins for some microseconds, since the next op follows at once, then
 * sleeps. */
static uint32_t fv__wait_round(fv__workers *w, uint32_t seen) {
    uint32_t now;
    for (int i = 0; i < w->spin; i++) {
        if ((now = __atomic_load_n(&w->round, __ATOMIC_ACQUIRE)) != seen) return now;
        fv__pause();
    }
    pthread_mutex_lock(&w->lock);
    w->sleeping++;
    while ((now = __atomic_load_n(&w->round, __ATOMIC_ACQUIRE)) == seen)
        pthread_cond_wait(&w->wake, &w->lock);
    w->sleeping--;
    pthread_mutex_unlock(&w->lock);
    return now;
}

static void *fv__worker_main(void *arg) {
    fv__worker me = *(fv__worker *)arg;
    fv__workers *w = me.w;
    uint32_t seen = 0;
    for (;;) {
        seen = fv__wait_round(w, seen);
        if (w->quit) return NULL;
        fv__run_jobs(w, me.index);
        __atomic_fetch_sub(&w->busy, 1, __ATOMIC_RELEASE);
    }
}
#endif

#if !defined(FROZENVIS_NO_THREADS) && !defined(FROZENVIS_OPENMP)
static void fv__next_round(fv__workers *w) {
    pthread_mutex_lock(&w->lock);
    __atomic_fetch_add(&w->round, 1, __ATOMIC_RELEASE);
    if (w->sleeping) pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
}
#endif

static int fv__cores(void) {
#if defined(__linux__) && defined(CPU_COUNT)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

static int fv__threads_start(fv_ctx *c) {
    fv__workers *w = (fv__workers *)fv_alloc(c, sizeof *w);
    if (!w) return 0;
    int cores = fv__cores();
    c->workers = w;
    w->c = c;
    w->count = c->desc.threads > 0 ? c->desc.threads : cores;
    if (w->count > 1024) return fv_fail(c, FV_EUSAGE, "%d threads: at most 1024 are possible", w->count);
#if defined(FROZENVIS_NO_THREADS)
    if (!c->desc.parallel) w->count = 1;
#elif !defined(FROZENVIS_OPENMP)
    w->spin = w->count <= cores ? 20000 : 0; /* spinning pays only where each worker has a core */
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    if (c->desc.parallel || w->count < 2) return 1;
    w->thread = (pthread_t *)fv_alloc(c, (size_t)w->count * sizeof *w->thread);
    fv__worker *me = (fv__worker *)fv_alloc(c, (size_t)w->count * sizeof *me);
    if (!me) return 0;
    for (int i = 1; i < w->count; i++) {
        me[i].w = w, me[i].index = i;
        if (pthread_create(&w->thread[i], NULL, fv__worker_main, &me[i]) != 0)
            return fv_fail(c, FV_EUNAVAILABLE, "a thread could not be started: number %d of %d", i + 1,
                           w->count);
        w->started = i;
    }
#endif
    return 1;
}

static void fv__threads_stop(fv_ctx *c) {
#if !defined(FROZENVIS_NO_THREADS) && !defined(FROZENVIS_OPENMP)
    fv__workers *w = c->workers;
    if (!w) return;
    w->quit = 1;
    fv__next_round(w);
    for (int i = 1; i <= w->started; i++) pthread_join(w->thread[i], NULL);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->wake);
#endif
    c->workers = NULL;
}

FV_DEF int fv_threads(const fv_ctx *c) { return c->workers ? c->workers->count : 1; }

FV_DEF void fv_parallel(fv_ctx *c, int jobs, void (*job)(void *arg, int i, int worker), void *arg) {
    fv__workers *w = c->workers;
    if (jobs < 2 || !w || w->count < 2) {
        for (int i = 0; i < jobs; i++) job(arg, i, 0);
        return;
    }
    if (c->desc.parallel) {
        c->desc.parallel(c->desc.parallel_user, jobs, job, arg);
        return;
    }
#if defined(FROZENVIS_OPENMP)
    int count = w->count;
#pragma omp parallel for schedule(dynamic, 1) num_threads(count)
    for (int i = 0; i < jobs; i++) job(arg, i, omp_get_thread_num());
#elif !defined(FROZENVIS_NO_THREADS)
    w->job = job, w->arg = arg, w->jobs = jobs;
    __atomic_store_n(&w->next, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&w->busy, w->count - 1, __ATOMIC_RELAXED);
    fv__next_round(w);
    fv__run_jobs(w, 0);
    for (int i = 0; __atomic_load_n(&w->busy, __ATOMIC_ACQUIRE) > 0; i++) {
        fv__pause();
        if (i > w->spin) sched_yield();
    }
#endif
}

/* Bytes for each worker that a kernel may use; called before fv_parallel, since nothing allocates inside
 * it. */
static void fv__scratch_reserve(fv_ctx *c, size_t bytes_per_thread) {
    size_t n = FV__ROUND_UP(bytes_per_thread, (size_t)4096);
    if (n <= c->scratch_size) return;
    fv_free(c, c->scratch);
    c->scratch_size = 0;
    c->scratch = (char *)fv__alloc_dirty(c, n * (size_t)fv_threads(c));
    if (c->scratch) c->scratch_size = n;
}
static void *fv__scratch(const fv_ctx *c, int worker) {
    return c->scratch + (size_t)worker * c->scratch_size;
}

/* ======================================================================================================
 * >>cpu (implementation)
 * ====================================================================================================== */
static const char *const fv__isa_names[] = {"best", "scalar", "avx2", "avx512", "avx512bf16", "neon"};

FV_DEF const char *fv_isa_name(fv_isa isa) {
    return (int)isa >= 0 && (int)isa < FV__COUNT(fv__isa_names) ? fv__isa_names[isa] : "?";
}
FV_DEF int fv_isa_parse(const char *name) {
    for (int i = 0; i < FV__COUNT(fv__isa_names); i++)
        if (!strcmp(name, fv__isa_names[i])) return i;
    return -1;
}

FV_DEF int fv_isa_available(fv_isa isa) {
    switch (isa) {
    case FV_ISA_BEST:
    case FV_ISA_SCALAR: return 1;
#ifdef FV__X86
    case FV_ISA_AVX2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case FV_ISA_AVX512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
               fv_isa_available(FV_ISA_AVX2);
    case FV_ISA_AVX512BF16: return __builtin_cpu_supports("avx512bf16") && fv_isa_available(FV_ISA_AVX512);
#endif
#ifdef FV__ARM
    case FV_ISA_NEON: return 1;
#endif
    default: return 0;
    }
}
FV_DEF fv_isa fv_isa_of(const fv_ctx *c) { return c->isa; }

static int fv__cpu_choose(fv_ctx *c) {
    const char *env = getenv("FROZENVIS_ISA");
    int isa = (int)c->desc.isa;
    if (isa == FV_ISA_BEST && env && *env) {
        isa = fv_isa_parse(env);
        if (isa < 0)
            return fv_fail(c, FV_EUNAVAILABLE,
                           "FROZENVIS_ISA=%s: unknown; one of scalar, avx2, avx512, avx512bf16, neon", env);
    }
    if (isa == FV_ISA_BEST)
        for (isa = FV_ISA_NEON; !fv_isa_available((fv_isa)isa);) isa--;
    if (!fv_isa_available((fv_isa)isa))
        return fv_fail(c, FV_EUNAVAILABLE, "ISA %s is not available on this CPU", fv_isa_name((fv_isa)isa));
    c->isa = (fv_isa)isa;
    return 1;
}

FV_DEF double fv_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

FV__SELDOM_END

/* ======================================================================================================
 * >>rng (implementation)
 * ====================================================================================================== */
static inline FV__HD void fv__philox(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4]) {
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    uint32_t x0 = (uint32_t)counter, x1 = (uint32_t)(counter >> 32), x2 = (uint32_t)stream,
             x3 = (uint32_t)(stream >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p = (uint64_t)0xD2511F53u * x0, q = (uint64_t)0xCD9E8D57u * x2;
        x0 = (uint32_t)(q >> 32) ^ x1 ^ k0, x1 = (uint32_t)q;
        x2 = (uint32_t)(p >> 32) ^ x3 ^ k1, x3 = (uint32_t)p;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u; /* golden ratio, sqrt(3)-1 */
    }
    out[0] = x0, out[1] = x1, out[2] = x2, out[3] = x3;
}
FV_DEF void fv_philox(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4]) {
    fv__philox(seed, stream, counter, out);
}

FV_DEF uint32_t fv_random_u32(uint64_t seed, uint64_t stream, uint64_t i) {
    uint32_t w[4];
    fv_philox(seed, stream, i >> 2, w);
    return w[i & 3];
}
FV_DEF float fv_random_uniform(uint64_t seed, uint64_t stream, uint64_t i) {
    return (float)(fv_random_u32(seed, stream, i) >> 8) * (1.0f / 16777216.0f);
}
FV_DEF float fv_random_normal(uint64_t seed, uint64_t stream, uint64_t i) {
    uint32_t w[4];
    fv_philox(seed, stream, i >> 1, w);
    double u = ((double)w[(i & 1) * 2] + 0.5) / 4294967296.0, v = (double)w[(i & 1) * 2 + 1] / 4294967296.0;
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

FV_DEF uint32_t fv_rng_u32(fv_rng *r) { return fv_random_u32(r->seed, r->stream, r->next++); }
FV_DEF float fv_rng_uniform(fv_rng *r) { return fv_random_uniform(r->seed, r->stream, r->next++); }
FV_DEF float fv_rng_normal(fv_rng *r) { return fv_random_normal(r->seed, r->stream, r->next++); }

FV_DEF uint32_t fv_rng_below(fv_rng *r, uint32_t n) {
    if (!n) return 0;
    /* a multiple of n: words from there on are drawn again */
    uint32_t limit = UINT32_MAX - UINT32_MAX % n, x;
    do x = fv_rng_u32(r);
    while (x >= limit);
    return x % n;
}

FV_DEF void fv_rng_shuffle(fv_rng *r, int32_t *a, int n) {
    for (int i = n - 1; i > 0; i--) {
        int j = (int)fv_rng_below(r, (uint32_t)i + 1);
        int32_t t = a[i];
        a[i] = a[j], a[j] = t;
    }
}

/* Gamma(alpha) by Marsaglia and Tsang, "A simple method for generating gamma variables", 2000; alpha < 1 by
 * the boost Gamma(alpha) = Gamma(alpha+1) * U^(1/alpha). */
static double fv__rng_gamma(fv_rng *r, double alpha) {
    double boost = 1;
    if (alpha < 1) boost = pow((double)fv_rng_uniform(r) + 1e-12, 1 / alpha), alpha += 1;
    double d = alpha - 1.0 / 3, k = 1 / sqrt(9 * d);
    for (int i = 0; i < 1000; i++) {
        double x = fv_rng_normal(r), v = 1 + k * x, u = fv_rng_uniform(r) + 1e-12;
        if (v <= 0) continue;
        v = v * v * v;
        if (log(u) < 0.5 * x * x + d - d * v + d * log(v)) return boost * d * v;
    }
    return boost * d; /* never in practice: each try is taken with probability over 0.95 */
}
FV_DEF float fv_rng_beta(fv_rng *r, float alpha) {
    double a = fv__rng_gamma(r, alpha), b = fv__rng_gamma(r, alpha);
    return a + b > 0 ? (float)(a / (a + b)) : 0.5f;
}

/* ======================================================================================================
 * >>kernels (implementation) -- one text, once per ISA: this header includes itself with FV__PASS set
 * ====================================================================================================== */
/* P of GELU's Phi (over x^2 <= 5.5^2) and of its slope (6^2), see vhalf_odd: our own least-maximum fits of
 * x P, rounded one at a time */
static const float fv__phi_coef[] = {0.1285519302f,   -0.06417234242f,  0.04773763567f,  -0.03879262507f,
                                     0.03207035735f,  -0.02605018951f,  0.02036320232f,  -0.01498885639f,
                                     0.01023334824f,  -0.00684748264f,  0.004611695185f, -0.002379216719f,
                                     7.287348853e-4f, -5.576563417e-4f, 6.287503056e-4f, -2.281868656e-4f};
static const float fv__slope_coef[] = {0.1178977638f,   -0.05934276432f, 0.04605762661f, -0.04236707091f,
                                       0.04455707967f,  -0.05091849715f, 0.05867918953f, -0.06441131234f,
                                       0.06694955379f,  -0.06544470042f, 0.05417923629f, -0.03689573333f,
                                       0.03189898282f,  -0.03238430247f, 0.01549452823f, 0.001302995835f,
                                       0.002198678441f, -0.00681417156f, 0.002696256619f};

/* One step of AdamW: the gradient's factor, decay rates of both moments, what is left of a weight, the step
 * over the first moment's correction, 1/sqrt of the second's */
typedef struct fv__adamw_step {
    float scale, beta1, beta2, keep, step, root, eps;
} fv__adamw_step;

/* What each pass makes: a table of functions on raw pointers. T is float, or double in the pass for gradient
 * checks. */
typedef struct fv__kernels {
    /* rows: elementwise and per-row functions on T (see the text below for what each computes) */
    void (*add)(void *y, const void *a, const void *b, int64_t n); /* y may be a or b, here and below */
    void (*sub)(void *y, const void *a, const void *b, int64_t n);
    void (*mul)(void *y, const void *a, const void *b, int64_t n);
    void (*muladd)(void *y, const void *a, const void *b, int64_t n);      /* y += a*b */
    void (*axpy)(void *y, const void *x, double s, int64_t n);             /* y += s*x */
    void (*scale)(void *y, const void *x, double s, int64_t n);            /* y = s*x */
    void (*affine)(void *y, const void *x, double s, double t, int64_t n); /* y = s*x + t */
    void (*vec_exp)(void *y, const void *x, int64_t n);
    void (*vec_erf)(void *y, const void *x, int64_t n);
    void (*gelu)(void *y, const void *x, int64_t n);
    void (*gelu_grad)(void *gx, const void *x, const void *gy, int64_t n);
    void (*silu)(void *y, const void *x, int64_t n);
    void (*silu_grad)(void *gx, const void *x, const void *gy, int64_t n);
    void (*relu)(void *y, const void *x, int64_t n);
    void (*relu_grad)(void *gx, const void *x, const void *gy, int64_t n);
    void (*leaky_relu)(void *y, const void *x, double slope, int64_t n);
    void (*leaky_relu_grad)(void *gx, const void *x, const void *gy, double slope, int64_t n);
    void (*swiglu)(void *y, const void *gate, const void *up, int64_t n);
    void (*swiglu_grad)(void *ggate, void *gup, const void *gate, const void *up, const void *gy, int64_t n);
    double (*sum)(const void *x, int64_t n);
    double (*dot)(const void *a, const void *b, int64_t n);
    /* the larger of best and v, and where it is: at, as a number of the type; see the text */
    void (*max_into)(void *best, void *where, const void *v, int64_t n, double at);
    double (*row_max)(const void *x, int64_t n);
    /* row = exp(row*scale - shift) -> its sum */
    double (*softmax_exp)(void *row, int64_t n, double scale, double shift);
    double (*exp_sum)(const void *x, int64_t n, double shift);
    void (*softmax_grad)(void *gx, const void *y, const void *gy, int64_t n);
    void (*layernorm)(void *y, const void *x, const void *w, const void *b, int64_t n, double eps,
                      double *mean_rstd);
    void (*rmsnorm)(void *y, const void *x, const void *w, int64_t n, double eps, double *rstd);
    void (*norm_grad)(void *gx, const void *x, const void *gy, const void *w, int64_t n, double mean,
                      double rstd, int centred);
    void (*norm_sums)(void *gw, void *gb, const void *x, const void *gy, int64_t n, double mean, double rstd);
    void (*adamw)(void *w, void *m, void *v, const void *g, int64_t n, const fv__adamw_step *s);
    /* gemm: see >>gemm. mr x nr is the tile one call of the micro-kernel computes */
    int mr, nr;
    /* rows, cols: how much of the tile is wanted; where half of it, or a quarter of its rows, is enough, no
     * more is computed. exact: no more is stored either, else out has room for all of the tile */
    void (*tile)(int64_t rows, int64_t cols, int exact, int64_t k, const void *a, int64_t rs, int64_t cs,
                 const void *b, int64_t ldb, const void *bias, const void *from, int64_t from_ld, void *out,
                 int64_t ld);
    void (*pack)(void *dst, const void *src, int64_t rs, int64_t cs, int rows, int64_t k, int width);
    /* rows of src that are the panels' own: k rows of cols numbers, cs apart, to panels of width columns,
     * `panel` numbers apart */
    void (*pack_columns)(void *dst, int64_t panel, const void *src, int64_t cs, int64_t cols, int64_t k,
                         int width);
    void (*panel_sums)(double *sums, const void *panel, int64_t k); /* sums[mr] += a panel's sums over k */
    /* d = (or, with least, the smaller of d and) squared distance of each point to (px,py,pz); f32 */
    void (*distances)(void *d, const void *x, const void *y, const void *z, int64_t n, double px, double py,
                      double pz, int least);
    /* attention's rows: see the text */
    void (*softmax_row)(void *row, int64_t n, int64_t room, double scale, void *stat, uint16_t *half);
    void (*softmax_again)(void *row, int64_t n, int64_t room, double scale, const void *stat, uint16_t *half);
    void (*score_grad)(void *dp, const void *p, int64_t n, int64_t room, double scale, uint16_t *half);
    void (*from_bf16)(float *y, const uint16_t *x, int64_t n);
    void (*to_bf16)(uint16_t *y, const float *x, int64_t n);
    double (*peak)(int64_t n, void *sink);
} fv__kernels;
#endif /* FROZENVIS_IMPLEMENTATION */
#endif /* FV__PASS: the ordinary text pauses here; what follows is read once per pass */

#ifdef FV__PASS
/* ---- lanes: about twenty macros, the only place that knows an instruction set ----
 *   T element, V vector, W lanes; LDN/STN touch the first n lanes only (LDN fills the others with 0) */
#if defined(__clang__)
#define FV__UNROLL _Pragma("clang loop unroll(full)") /* by "unroll" alone it keeps sums in memory */
#else
#define FV__UNROLL                                                                                           \
    _Pragma("GCC unroll 32") /* at -O2 gcc leaves the loops over sums rolled, and spills them */
#endif
#ifndef FV__OPAQUE
#ifdef __GNUC__
#define FV__OPAQUE(x)                                                                                        \
    __asm__("" : "+r"(x)) /* the compiler may not work out how it was made, and keeps it in a register */
#else
#define FV__OPAQUE(x) ((void)0)
#endif
#endif
#define FV__PASS_F64 1
#define FV__PASS_SCALAR 2
#define FV__PASS_AVX2 3
#define FV__PASS_AVX512 4
#define FV__PASS_NEON 5

#if FV__PASS == FV__PASS_F64
#define FV__T double
#define FV__FN(name) fv__##name##_f64
#elif FV__PASS == FV__PASS_SCALAR
#define FV__T float
#define FV__FN(name) fv__##name##_scalar
#elif FV__PASS == FV__PASS_AVX2
#define FV__T float
#define FV__FN(name) fv__##name##_avx2
#define FV__TARGET __attribute__((target("avx2,fma")))
#elif FV__PASS == FV__PASS_AVX512
#define FV__T float
#define FV__FN(name) fv__##name##_avx512
#define FV__TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")))
#elif FV__PASS == FV__PASS_NEON
#define FV__T float
#define FV__FN(name) fv__##name##_neon
#endif
#ifndef FV__TARGET
#define FV__TARGET
#endif

#if FV__PASS == FV__PASS_F64 || FV__PASS == FV__PASS_SCALAR
#define FV__V FV__T
#define FV__W 1
#define FV__LD(p) (*(p))
#define FV__ST(p, v) (*(p) = (v))
#define FV__LDN(p, n) ((n) > 0 ? *(p) : (FV__T)0)
#define FV__STN(p, v, n) ((void)((n) > 0 && (*(p) = (v), 1)))
#define FV__SET1(x) ((FV__T)(x))
#define FV__ADD(a, b) ((a) + (b))
#define FV__SUB(a, b) ((a) - (b))
#define FV__MUL(a, b) ((a) * (b))
#define FV__DIV(a, b) ((a) / (b))
#define FV__FMA(a, b, c)                                                                                     \
    ((FV__T)((double)(a) * (double)(b) + (double)(c))) /* one rounding, as the instruction has */
#define FV__FNMA(a, b, c) ((c) - (a) * (b))
#define FV__VMAX(a, b) ((a) > (b) ? (a) : (b))
#define FV__VMIN(a, b) ((a) < (b) ? (a) : (b))
#define FV__SELECT_LT(a, b, x, y) ((a) < (b) ? (x) : (y))
#define FV__HSUM(v) (v)
#define FV__HMAX(v) (v)
#if FV__PASS == FV__PASS_F64
#define FV__SQRT(a) sqrt(a)
#else
#define FV__SQRT(a) sqrtf(a)
#define FV__ROUND(a) nearbyintf(a)
#define FV__EXP2I(a) ldexpf(1.0f, (int)(a)) /* 2^a for a whole a in -126..127 */
#endif

#elif FV__PASS == FV__PASS_AVX2
#define FV__V __m256
#define FV__W 8
#define FV__LD(p) _mm256_loadu_ps(p)
#define FV__ST(p, v) _mm256_storeu_ps(p, v)
#define FV__MASK8(n)                                                                                         \
    _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
#define FV__LDN(p, n) _mm256_maskload_ps(p, FV__MASK8(n))
#define FV__STN(p, v, n) _mm256_maskstore_ps(p, FV__MASK8(n), v)
#define FV__SET1(x) _mm256_set1_ps((float)(x))
#define FV__ADD(a, b) _mm256_add_ps(a, b)
#define FV__SUB(a, b) _mm256_sub_ps(a, b)
#define FV__MUL(a, b) _mm256_mul_ps(a, b)
#define FV__DIV(a, b) _mm256_div_ps(a, b)
#define FV__FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define FV__FNMA(a, b, c) _mm256_fnmadd_ps(a, b, c)
#define FV__VMAX(a, b) _mm256_max_ps(a, b)
#define FV__VMIN(a, b) _mm256_min_ps(a, b)
#define FV__SELECT_LT(a, b, x, y) _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ))
#define FV__SQRT(a) _mm256_sqrt_ps(a)
#define FV__ROUND(a) _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define FV__EXP2I(a)                                                                                         \
    _mm256_castsi256_ps(                                                                                     \
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127)), 23))
#define FV__FOLD(v) (v)
#define FV__FOLD_MAX(v) (v)

#elif FV__PASS == FV__PASS_AVX512
#define FV__V __m512
#define FV__W 16
#define FV__LD(p) _mm512_loadu_ps(p)
#define FV__ST(p, v) _mm512_storeu_ps(p, v)
#define FV__MASK16(n) ((__mmask16)((n) >= 16 ? 0xffff : (1u << (n)) - 1u))
#define FV__LDN(p, n) _mm512_maskz_loadu_ps(FV__MASK16(n), p)
#define FV__STN(p, v, n) _mm512_mask_storeu_ps(p, FV__MASK16(n), v)
#define FV__SET1(x) _mm512_set1_ps((float)(x))
#define FV__ADD(a, b) _mm512_add_ps(a, b)
#define FV__SUB(a, b) _mm512_sub_ps(a, b)
#define FV__MUL(a, b) _mm512_mul_ps(a, b)
#define FV__DIV(a, b) _mm512_div_ps(a, b)
#define FV__FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define FV__FNMA(a, b, c) _mm512_fnmadd_ps(a, b, c)
#define FV__VMAX(a, b) _mm512_maskz_max_ps((__mmask16)-1, a, b)
#define FV__VMIN(a, b) _mm512_maskz_min_ps((__mmask16)-1, a, b)
#define FV__SELECT_LT(a, b, x, y) _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x)
#define FV__SQRT(a) _mm512_maskz_sqrt_ps((__mmask16)-1, a)
#define FV__ROUND(a) /* of |a| < 2^31; roundscale would do, but gcc warns of its mask at -O0 */              \
    _mm512_maskz_cvtepi32_ps((__mmask16)-1, _mm512_maskz_cvtps_epi32((__mmask16)-1, a))
#define FV__SCALEF(a, n) _mm512_maskz_scalef_ps((__mmask16)-1, a, n) /* a 2^n */
#define FV__FOLD(v) _mm256_add_ps(FV__HALF(v, 0), FV__HALF(v, 1))
#define FV__FOLD_MAX(v) _mm256_max_ps(FV__HALF(v, 0), FV__HALF(v, 1))
#define FV__HALF(v, i) _mm256_castpd_ps(_mm512_maskz_extractf64x4_pd((__mmask8)-1, _mm512_castps_pd(v), i))

#elif FV__PASS == FV__PASS_NEON
#define FV__V float32x4_t
#define FV__W 4
#define FV__LD(p) vld1q_f32(p)
#define FV__ST(p, v) vst1q_f32(p, v)
#define FV__LDN(p, n) FV__FN(load_some)(p, (int)(n))
#define FV__STN(p, v, n) FV__FN(store_some)(p, v, (int)(n))
#define FV__SET1(x) vdupq_n_f32((float)(x))
#define FV__ADD(a, b) vaddq_f32(a, b)
#define FV__SUB(a, b) vsubq_f32(a, b)
#define FV__MUL(a, b) vmulq_f32(a, b)
#define FV__DIV(a, b) vdivq_f32(a, b)
#define FV__FMA(a, b, c) vfmaq_f32(c, a, b)
#define FV__FNMA(a, b, c) vfmsq_f32(c, a, b)
#define FV__VMAX(a, b) vmaxq_f32(a, b)
#define FV__VMIN(a, b) vminq_f32(a, b)
#define FV__SELECT_LT(a, b, x, y) vbslq_f32(vcltq_f32(a, b), x, y)
#define FV__SQRT(a) vsqrtq_f32(a)
#define FV__ROUND(a) vrndnq_f32(a)
#define FV__EXP2I(a) vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(a), vdupq_n_s32(127)), 23))
#define FV__HSUM(v) vaddvq_f32(v)
#define FV__HMAX(v) vmaxvq_f32(v)
static inline float32x4_t FV__FN(load_some)(const float *p, int n) {
    float t[4] = {0, 0, 0, 0};
    for (int i = 0; i < 4 && i < n; i++) t[i] = p[i];
    return vld1q_f32(t);
}
static inline void FV__FN(store_some)(float *p, float32x4_t v, int n) {
    float t[4];
    vst1q_f32(t, v);
    for (int i = 0; i < 4 && i < n; i++) p[i] = t[i];
}
#endif

#ifdef FV__FOLD
/* Lanes are summed by halves: the same order on every machine with this width. FOLD leaves eight of them. */
FV__TARGET static inline FV__T FV__FN(hsum)(FV__V v) {
    __m256 a = FV__FOLD(v);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_shuffle_ps(b, b, 1)));
}
FV__TARGET static inline FV__T FV__FN(hmax)(FV__V v) {
    __m256 a = FV__FOLD_MAX(v);
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_shuffle_ps(b, b, 1)));
}
#define FV__HSUM(v) FV__FN(hsum)(v)
#define FV__HMAX(v) FV__FN(hmax)(v)
#endif

/* ---- loads and stores of the lanes that are left: whole vectors but for the last ---- */
FV__TARGET static inline FV__V FV__FN(ld)(const FV__T *p, int64_t left) {
    return left >= FV__W ? FV__LD(p) : FV__LDN(p, left);
}
FV__TARGET static inline void FV__FN(st)(FV__T *p, FV__V v, int64_t left) {
    if (left >= FV__W) FV__ST(p, v);
    else FV__STN(p, v, left);
}

/* v with 0 in the lanes from `left` on */
FV__TARGET static inline FV__V FV__FN(keep)(FV__V v, int64_t left) {
#if FV__PASS == FV__PASS_AVX512
    return _mm512_maskz_mov_ps(FV__MASK16(left), v);
#else
    static const FV__T ones[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    return FV__SELECT_LT(FV__LD(ones + 16 - FV__MIN(left, (int64_t)16)), FV__SET1(0.5), FV__SET1(0), v);
#endif
}

/* ---- exp and erf of each lane. The coefficients are our own least-maximum fits, rounded one at a time to
 * f32 and the rest fitted again. f64 takes the C library's. ---- */
#if FV__PASS == FV__PASS_F64
static inline double FV__FN(vexp)(double x) { return exp(x); }
static inline double FV__FN(verf)(double x) { return erf(x); }
#else
/* e^x = 2^n e^r with n = round(x/ln 2), |r| <= ln(2)/2. 2^n is applied in two factors so that the ends become
 * 0 and infinity; a NaN stays one in r. Constants come first in VMAX, which gives its second operand when one
 * is a NaN. */
FV__TARGET static inline FV__V FV__FN(vexp)(FV__V x) {
    x = FV__VMIN(FV__SET1(90.0f), FV__VMAX(FV__SET1(-106.0f), x));
    FV__V n = FV__ROUND(FV__MUL(x, FV__SET1(1.44269504f)));
    /* ln 2 = 22713/2^15 + the next term; n times the first is exact */
    FV__V r = FV__FNMA(n, FV__SET1(0.693145752f), x);
    r = FV__FNMA(n, FV__SET1(1.42860682e-6f), r);
    FV__V q = FV__FMA(FV__SET1(1.382144634e-3f), r, FV__SET1(8.368661627e-3f));
    q = FV__FMA(q, r, FV__SET1(4.166825488e-2f));
    q = FV__FMA(q, r, FV__SET1(0.1666652113f));
    q = FV__FMA(q, r, FV__SET1(0.4999999404f));
    q = FV__FMA(FV__MUL(r, r), q, r);
    q = FV__ADD(q, FV__SET1(1.0f));
#ifdef FV__SCALEF
    return FV__SCALEF(q, n);
#else
    n = FV__VMAX(n, FV__SET1(-160.0f)); /* a NaN becomes a number before it becomes an integer */
    FV__V half = FV__ROUND(FV__MUL(n, FV__SET1(0.5f)));
    return FV__MUL(FV__MUL(q, FV__EXP2I(half)), FV__EXP2I(FV__SUB(n, half)));
#endif
}
/* |x| < 1: x + x P(x^2); beyond: 1 - exp(Q(|x|-1)), Q fitted to log erfc on [1,4]; erf rounds to 1 from 4
 * on */
FV__TARGET static inline FV__V FV__FN(verf)(FV__V x) {
    FV__V zero = FV__SET1(0.0f), one = FV__SET1(1.0f), u = FV__MUL(x, x);
    FV__V a = FV__VMAX(FV__SUB(zero, x), x), d = FV__VMIN(FV__SET1(3.0f), FV__SUB(a, one));
    FV__V p = FV__FMA(FV__SET1(7.806903159e-5f), u, FV__SET1(-7.997853099e-4f));
    FV__V q = FV__FMA(FV__SET1(8.992479707e-5f), d, FV__SET1(-1.480679144e-3f));
    p = FV__FMA(p, u, FV__SET1(5.187162198e-3f));
    q = FV__FMA(q, d, FV__SET1(9.452439845e-3f));
    p = FV__FMA(p, u, FV__SET1(-2.685334720e-2f));
    q = FV__FMA(q, d, FV__SET1(-4.126216471e-2f));
    p = FV__FMA(p, u, FV__SET1(0.1128357872f));
    q = FV__FMA(q, d, FV__SET1(-0.8431723714f));
    p = FV__FMA(p, u, FV__SET1(-0.3761262596f));
    q = FV__FMA(q, d, FV__SET1(-2.638962746f));
    p = FV__FMA(p, u, FV__SET1(0.1283791661f));
    q = FV__FMA(q, d, FV__SET1(-1.849605560f));
    p = FV__FMA(p, x, x);
    q = FV__SUB(one, FV__FN(vexp)(q));
    q = FV__SELECT_LT(x, zero, FV__SUB(zero, q), q);
    return FV__SELECT_LT(one, a, q, p); /* a NaN takes p, which is one */
}
#endif
FV__TARGET static inline FV__V FV__FN(vsigmoid)(FV__V x) {
    return FV__DIV(FV__SET1(1), FV__ADD(FV__SET1(1), FV__FN(vexp)(FV__SUB(FV__SET1(0), x))));
}
/* Phi(x) = (1 + erf(x/sqrt 2))/2, the normal distribution below x, and the slope of x Phi(x),
 * Phi(x) + x exp(-x^2/2)/sqrt(2 pi) */
#if FV__PASS == FV__PASS_F64
static inline double FV__FN(vphi)(double x) { return 0.5 + 0.5 * erf(x * 0.70710678118654752); }
static inline double FV__FN(vgelu_slope)(double x) {
    return FV__FN(vphi)(x) + x * 0.39894228040143268 * exp(-0.5 * x * x);
}
#else
/* 1/2 + x P(x^2): both are odd about 1/2. x stays within +-most; x^2 is mapped to [-1,1], where coefficients
 * are small. A NaN stays. */
FV__ALWAYS_INLINE FV__TARGET static FV__V FV__FN(vhalf_odd)(FV__V x, double most, const float *coef,
                                                            const int count) {
    x = FV__VMIN(FV__SET1(most), FV__VMAX(FV__SET1(-most), x));
    FV__V v = FV__FMA(FV__MUL(x, x), FV__SET1(2 / (most * most)), FV__SET1(-1)),
          p = FV__SET1(coef[count - 1]);
    FV__UNROLL
    for (int i = count - 2; i >= 0; i--) p = FV__FMA(p, v, FV__SET1(coef[i]));
    return FV__FMA(x, p, FV__SET1(0.5));
}
/* at -5.5 just under 0, so that 0 it is from there on */
FV__TARGET static inline FV__V FV__FN(vphi)(FV__V x) {
    return FV__VMAX(FV__SET1(0), FV__FN(vhalf_odd)(x, 5.5, fv__phi_coef, FV__COUNT(fv__phi_coef)));
}
FV__TARGET static inline FV__V FV__FN(vgelu_slope)(FV__V x) {
    return FV__FN(vhalf_odd)(x, 6, fv__slope_coef, FV__COUNT(fv__slope_coef));
}
#endif

/* ---- elementwise: ARGS are typed pointers set from void ones; EXPR gives the vector stored to y[i] ---- */
#define FV__LOAD(p) FV__FN(ld)((p) + i, n - i)
#define FV__EACH(y, expr)                                                                                    \
    for (int64_t i = 0; i < n; i += FV__W) {                                                                 \
        FV__V v_ = (expr);                                                                                   \
        FV__FN(st)((FV__T *)(y) + i, v_, n - i);                                                             \
    }
#define FV__TYPED(a) const FV__T *a = (const FV__T *)a##_ /* the parameter a_ as elements */

FV__TARGET static void FV__FN(add)(void *y, const void *a_, const void *b_, int64_t n) {
    FV__TYPED(a);
    FV__TYPED(b);
    FV__EACH(y, FV__ADD(FV__LOAD(a), FV__LOAD(b)))
}
FV__TARGET static void FV__FN(sub)(void *y, const void *a_, const void *b_, int64_t n) {
    FV__TYPED(a);
    FV__TYPED(b);
    FV__EACH(y, FV__SUB(FV__LOAD(a), FV__LOAD(b)))
}
FV__TARGET static void FV__FN(mul)(void *y, const void *a_, const void *b_, int64_t n) {
    FV__TYPED(a);
    FV__TYPED(b);
    FV__EACH(y, FV__MUL(FV__LOAD(a), FV__LOAD(b)))
}
FV__TARGET static void FV__FN(muladd)(void *y_, const void *a_, const void *b_, int64_t n) {
    FV__TYPED(a);
    FV__TYPED(b);
    FV__TYPED(y);
    FV__EACH(y_, FV__FMA(FV__LOAD(a), FV__LOAD(b), FV__LOAD(y)))
}
FV__TARGET static void FV__FN(axpy)(void *y_, const void *x_, double s, int64_t n) {
    FV__TYPED(x);
    FV__TYPED(y);
    FV__V k = FV__SET1(s);
    FV__EACH(y_, FV__FMA(FV__LOAD(x), k, FV__LOAD(y)))
}
FV__TARGET static void FV__FN(scale)(void *y, const void *x_, double s, int64_t n) {
    FV__TYPED(x);
    FV__V k = FV__SET1(s);
    FV__EACH(y, FV__MUL(FV__LOAD(x), k))
}
FV__TARGET static void FV__FN(affine)(void *y, const void *x_, double s, double t, int64_t n) {
    FV__TYPED(x);
    FV__V k = FV__SET1(s), l = FV__SET1(t);
    FV__EACH(y, FV__FMA(FV__LOAD(x), k, l))
}
FV__TARGET static void FV__FN(vec_exp)(void *y, const void *x_, int64_t n) {
    FV__TYPED(x);
    FV__EACH(y, FV__FN(vexp)(FV__LOAD(x)))
}
FV__TARGET static void FV__FN(vec_erf)(void *y, const void *x_, int64_t n) {
    FV__TYPED(x);
    FV__EACH(y, FV__FN(verf)(FV__LOAD(x)))
}
FV__TARGET static void FV__FN(gelu)(void *y, const void *x_, int64_t n) {
    FV__TYPED(x);
    FV__EACH(y, FV__MUL(FV__LOAD(x), FV__FN(vphi)(FV__LOAD(x))))
}
FV__TARGET static void FV__FN(gelu_grad)(void *gx, const void *x_, const void *gy_, int64_t n) {
    FV__TYPED(x);
    FV__TYPED(gy);
    FV__EACH(gx, FV__MUL(FV__LOAD(gy), FV__FN(vgelu_slope)(FV__LOAD(x))))
}
FV__TARGET static void FV__FN(silu)(void *y, const void *x_, int64_t n) {
    FV__TYPED(x);
    FV__EACH(y, FV__MUL(FV__LOAD(x), FV__FN(vsigmoid)(FV__LOAD(x))))
}
FV__TARGET static inline FV__V FV__FN(vsilu_slope)(FV__V x) { /* s (1 + x (1-s)), s = sigmoid(x) */
    FV__V s = FV__FN(vsigmoid)(x);
    return FV__FMA(FV__MUL(x, s), FV__SUB(FV__SET1(1), s), s);
}
FV__TARGET static void FV__FN(silu_grad)(void *gx, const void *x_, const void *gy_, int64_t n) {
    FV__TYPED(x);
    FV__TYPED(gy);
    FV__EACH(gx, FV__MUL(FV__LOAD(gy), FV__FN(vsilu_slope)(FV__LOAD(x))))
}
FV__TARGET static void FV__FN(relu)(void *y, const void *x_, int64_t n) {
    FV__TYPED(x);
    FV__V zero = FV__SET1(0);
    FV__EACH(y, FV__SELECT_LT(FV__LOAD(x), zero, zero, FV__LOAD(x)))
}
FV__TARGET static void FV__FN(relu_grad)(void *gx, const void *x_, const void *gy_, int64_t n) {
    FV__TYPED(x);
    FV__TYPED(gy);
    FV__V zero = FV__SET1(0);
    FV__EACH(gx, FV__SELECT_LT(zero, FV__LOAD(x), FV__LOAD(gy), zero))
}
FV__TARGET static void FV__FN(leaky_relu)(void *y, const void *x_, double s, int64_t n) {
    FV__TYPED(x);
    FV__V k = FV__SET1(s);
    FV__EACH(y, FV__SELECT_LT(FV__LOAD(x), FV__SET1(0), FV__MUL(FV__LOAD(x), k), FV__LOAD(x)))
}
FV__TARGET static void FV__FN(leaky_relu_grad)(void *gx, const void *x_, const void *gy_, double s,
                                               int64_t n) {
    FV__TYPED(x);
    FV__TYPED(gy);
    FV__V k = FV__SET1(s);
    FV__EACH(gx, FV__SELECT_LT(FV__SET1(0), FV__LOAD(x), FV__LOAD(gy), FV__MUL(FV__LOAD(gy), k)))
}
FV__TARGET static void FV__FN(swiglu)(void *y, const void *g_, const void *u_, int64_t n) {
    FV__TYPED(g);
    FV__TYPED(u);
    FV__EACH(y, FV__MUL(FV__MUL(FV__LOAD(g), FV__FN(vsigmoid)(FV__LOAD(g))), FV__LOAD(u)))
}
/* y = silu(g) u: gg = gy u silu'(g), gu = gy silu(g); gg or gu NULL: not wanted */
FV__TARGET static void FV__FN(swiglu_grad)(void *gg, void *gu, const void *g_, const void *u_,
                                           const void *gy_, int64_t n) {
    FV__TYPED(g);
    FV__TYPED(u);
    FV__TYPED(gy);
    for (int64_t i = 0; i < n; i += FV__W) {
        FV__V x = FV__LOAD(g), z = FV__LOAD(gy), s = FV__FN(vsigmoid)(x), xs = FV__MUL(x, s);
        FV__V slope = FV__FMA(xs, FV__SUB(FV__SET1(1), s), s);
        if (gg) FV__FN(st)((FV__T *)gg + i, FV__MUL(FV__MUL(z, FV__LOAD(u)), slope), n - i);
        if (gu) FV__FN(st)((FV__T *)gu + i, FV__MUL(z, xs), n - i);
    }
}

/* ---- sums over a row: lanes add up BLOCK elements in T, the blocks in double ---- */
#define FV__BLOCK 256
#define FV__TOTAL(total, expr)                                                                               \
    for (int64_t i = 0; i < n;) {                                                                            \
        int64_t end_ = i + FV__BLOCK < n ? i + FV__BLOCK : n;                                                \
        FV__V v_ = FV__SET1(0);                                                                              \
        for (; i < end_; i += FV__W) v_ = FV__ADD(v_, (expr));                                               \
        total += (double)FV__HSUM(v_);                                                                       \
    }
FV__TARGET static double FV__FN(sum)(const void *x_, int64_t n) {
    FV__TYPED(x);
    double total = 0;
    FV__TOTAL(total, FV__LOAD(x))
    return total;
}
FV__TARGET static double FV__FN(dot)(const void *a_, const void *b_, int64_t n) {
    FV__TYPED(a);
    FV__TYPED(b);
    double total = 0;
    FV__TOTAL(total, FV__MUL(FV__LOAD(a), FV__LOAD(b)))
    return total;
}
/* where v is larger than best, it is the best now, and `at` is where; so it is at a first NaN, which stays */
FV__TARGET static void FV__FN(max_into)(void *best_, void *where_, const void *v_, int64_t n, double at) {
    FV__T *best = (FV__T *)best_, *where = (FV__T *)where_;
    FV__TYPED(v);
    const FV__V zero = FV__SET1(0), one = FV__SET1(1), here = FV__SET1(at);
#define FV__IS_NAN(x) FV__SELECT_LT(x, one, zero, FV__SELECT_LT(zero, x, zero, one)) /* 1 or 0 */
    for (int64_t i = 0; i < n; i += FV__W) {
        FV__V x = FV__LOAD(v), b = FV__LOAD(best);
        FV__V nan = FV__SELECT_LT(FV__IS_NAN(b), FV__IS_NAN(x), one, zero);
        FV__V better = FV__SELECT_LT(b, x, one, nan);
        FV__FN(st)(best + i, FV__SELECT_LT(zero, better, x, b), n - i);
        FV__FN(st)(where + i, FV__SELECT_LT(zero, better, here, FV__LOAD(where)), n - i);
    }
#undef FV__IS_NAN
}
/* -infinity for n = 0; NaNs may be skipped */
FV__TARGET static double FV__FN(row_max)(const void *x_, int64_t n) {
    FV__TYPED(x);
    FV__T most = -(FV__T)INFINITY;
    int64_t i = 0;
    if (n >= FV__W) {
        FV__V m = FV__LD(x);
        for (i = FV__W; i + FV__W <= n; i += FV__W) m = FV__VMAX(m, FV__LD(x + i));
        m = FV__VMAX(m, FV__LD(x + n - FV__W)); /* the last lanes overlap those before */
        most = FV__HMAX(m);
        i = n;
    }
    for (; i < n; i++) most = x[i] > most ? x[i] : most;
    return (double)most;
}

/* ---- softmax: row = exp(row*scale - shift), and the sum of that; -infinity gives 0 ---- */
/* padded: the row has room for whole vectors, which get 0 past its end */
FV__TARGET static inline double FV__FN(exp_row)(FV__T *x, int64_t n, double scale, double shift, int padded) {
    FV__V k = FV__SET1(scale), l = FV__SET1(-shift);
    double total = 0;
    for (int64_t i = 0; i < n;) {
        int64_t end = i + FV__BLOCK < n ? i + FV__BLOCK : n;
        FV__V s = FV__SET1(0);
        for (; i < end; i += FV__W) {
            FV__V e = FV__FN(vexp)(FV__FMA(FV__LOAD(x), k, l));
            if (n - i < FV__W) e = FV__FN(keep)(e, n - i);
            if (padded) FV__ST(x + i, e);
            else FV__FN(st)(x + i, e, n - i);
            s = FV__ADD(s, e);
        }
        total += (double)FV__HSUM(s);
    }
    return total;
}
FV__TARGET static double FV__FN(softmax_exp)(void *row, int64_t n, double scale, double shift) {
    return FV__FN(exp_row)((FV__T *)row, n, scale, shift, 0);
}
/* sum of exp(x - shift), x as it was */
FV__TARGET static double FV__FN(exp_sum)(const void *x_, int64_t n, double shift) {
    FV__TYPED(x);
    FV__T t[FV__BLOCK];
    double total = 0;
    for (int64_t i = 0; i < n; i += FV__BLOCK) {
        int64_t m = i + FV__BLOCK < n ? FV__BLOCK : n - i;
        memcpy(t, x + i, (size_t)m * sizeof *t);
        total += FV__FN(softmax_exp)(t, m, 1, shift);
    }
    return total;
}
/* y = softmax(x): gx = y (gy - sum(gy y)) */
FV__TARGET static void FV__FN(softmax_grad)(void *gx, const void *y_, const void *gy_, int64_t n) {
    FV__TYPED(y);
    FV__TYPED(gy);
    FV__V d = FV__SET1(FV__FN(dot)(y_, gy_, n));
    FV__EACH(gx, FV__MUL(FV__LOAD(y), FV__SUB(FV__LOAD(gy), d)))
}

/* ---- norms of a row; w and b NULL: 1 and 0 ---- */
/* y = z*s*w + b */
FV__TARGET static void FV__FN(norm_scale)(void *y, const void *z_, double s, const void *w_, const void *b_,
                                          int64_t n) {
    FV__TYPED(z);
    FV__TYPED(w);
    FV__TYPED(b);
    FV__V k = FV__SET1(s);
    for (int64_t i = 0; i < n; i += FV__W) {
        FV__V v = FV__MUL(FV__LOAD(z), k);
        if (w) v = FV__MUL(v, FV__LOAD(w));
        if (b) v = FV__ADD(v, FV__LOAD(b));
        FV__FN(st)((FV__T *)y + i, v, n - i);
    }
}
/* y = (x-mean)*rstd*w + b; the centred row waits in y, so that the variance does not cancel */
FV__TARGET static void FV__FN(layernorm)(void *y, const void *x, const void *w, const void *b, int64_t n,
                                         double eps, double *mean_rstd) {
    double mean = FV__FN(sum)(x, n) / (double)n;
    FV__FN(affine)(y, x, 1, -mean, n);
    double rstd = 1 / sqrt(FV__FN(dot)(y, y, n) / (double)n + eps);
    FV__FN(norm_scale)(y, y, rstd, w, b, n);
    mean_rstd[0] = mean, mean_rstd[1] = rstd;
}
FV__TARGET static void FV__FN(rmsnorm)(void *y, const void *x, const void *w, int64_t n, double eps,
                                       double *rstd) {
    *rstd = 1 / sqrt(FV__FN(dot)(x, x, n) / (double)n + eps);
    FV__FN(norm_scale)(y, x, *rstd, w, NULL, n);
}
/* With h = gy*w and z = (x-mean)*rstd: gx = rstd*(h - mean(h) - z*mean(h z)). centred 0 (rmsnorm) leaves
 * mean(h) out. */
FV__TARGET static void FV__FN(norm_grad)(void *gx_, const void *x_, const void *gy_, const void *w_,
                                         int64_t n, double mean, double rstd, int centred) {
    FV__TYPED(x);
    FV__TYPED(gy);
    FV__TYPED(w);
    FV__TYPED(gx);
    FV__V m = FV__SET1(mean), r = FV__SET1(rstd), one = FV__SET1(1);
    double h = 0, hz = 0;
    for (int64_t i = 0; i < n;) {
        int64_t end = i + FV__BLOCK < n ? i + FV__BLOCK : n;
        FV__V s = FV__SET1(0), t = FV__SET1(0);
        for (; i < end; i += FV__W) { /* lanes past the end have gy = 0 */
            FV__V v = FV__MUL(FV__LOAD(gy), w ? FV__LOAD(w) : one), z = FV__MUL(FV__SUB(FV__LOAD(x), m), r);
            s = FV__ADD(s, v);
            t = FV__FMA(v, z, t);
            FV__FN(st)((FV__T *)gx_ + i, v, n - i);
        }
        h += (double)FV__HSUM(s);
        hz += (double)FV__HSUM(t);
    }
    FV__V mh = FV__SET1(centred ? h / (double)n : 0), mz = FV__SET1(hz / (double)n);
    FV__EACH(gx_, FV__MUL(r, FV__FNMA(FV__MUL(FV__SUB(FV__LOAD(x), m), r), mz, FV__SUB(FV__LOAD(gx), mh))))
}
/* a row's share of the weights' gradients: gw += gy*(x-mean)*rstd, gb += gy; gw or gb NULL: not wanted */
FV__TARGET static void FV__FN(norm_sums)(void *gw_, void *gb_, const void *x_, const void *gy_, int64_t n,
                                         double mean, double rstd) {
    FV__TYPED(x);
    FV__TYPED(gy);
    FV__TYPED(gw);
    FV__TYPED(gb);
    FV__V m = FV__SET1(mean), r = FV__SET1(rstd);
    for (int64_t i = 0; i < n; i += FV__W) {
        FV__V g = FV__LOAD(gy), z = FV__MUL(FV__SUB(FV__LOAD(x), m), r);
        if (gw) FV__FN(st)((FV__T *)gw_ + i, FV__FMA(g, z, FV__LOAD(gw)), n - i);
        if (gb) FV__FN(st)((FV__T *)gb_ + i, FV__ADD(g, FV__LOAD(gb)), n - i);
    }
}
/* m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; w = w keep - step m/(sqrt(v) root + eps), see >>optim */
FV__TARGET static void FV__FN(adamw)(void *w_, void *m_, void *v_, const void *g_, int64_t n,
                                     const fv__adamw_step *s) {
    FV__TYPED(w);
    FV__TYPED(m);
    FV__TYPED(v);
    FV__TYPED(g);
    FV__V b1 = FV__SET1(s->beta1), b2 = FV__SET1(s->beta2), c1 = FV__SET1(1 - s->beta1),
          c2 = FV__SET1(1 - s->beta2);
    FV__V scale = FV__SET1(s->scale), keep = FV__SET1(s->keep), step = FV__SET1(s->step),
          root = FV__SET1(s->root), eps = FV__SET1(s->eps);
    for (int64_t i = 0; i < n; i += FV__W) {
        FV__V x = FV__MUL(FV__LOAD(g), scale);
        FV__V mean = FV__FMA(c1, x, FV__MUL(b1, FV__LOAD(m))),
              square = FV__FMA(FV__MUL(c2, x), x, FV__MUL(b2, FV__LOAD(v)));
        FV__V move = FV__DIV(FV__MUL(step, mean), FV__FMA(FV__SQRT(square), root, eps));
        FV__FN(st)((FV__T *)m_ + i, mean, n - i);
        FV__FN(st)((FV__T *)v_ + i, square, n - i);
        FV__FN(st)((FV__T *)w_ + i, FV__SUB(FV__MUL(FV__LOAD(w), keep), move), n - i);
    }
}
#undef FV__LOAD
#undef FV__EACH
#undef FV__TYPED
#undef FV__BLOCK
#undef FV__TOTAL

/* ---- the GEMM's micro-kernel: a tile of MR x NR sums stays in registers while k runs ----
 * a: [k][MR], b: [k][NR], both packed and padded with zeros; out [MR][ld]. 14x32 fills AVX-512's 32 registers
 * (28 sums, 2 of b, 1 broadcast); 6x16 AVX2's 16. Each step loads NR/W vectors and broadcasts MR numbers for
 * MR*NR/W multiply-adds. */
#if FV__PASS == FV__PASS_AVX512
#define FV__MR 14
#define FV__NRV 2
#elif FV__PASS == FV__PASS_AVX2
#define FV__MR 6
#define FV__NRV 2
#elif FV__PASS == FV__PASS_NEON
#define FV__MR 8
#define FV__NRV 3
#else
#define FV__MR 4
#define FV__NRV 4
#endif
#define FV__NR (FV__NRV * FV__W)

/* a tile's element (i, p) of A is a[i*rs + p*cs]: packed (1, MR), or A where it lies, rows (ld, 1) or columns
 * (1, ld). b's rows are cs_b apart: NR when packed. The sums start at bias[NR] (NULL: 0); from[i*from_ld + j]
 * is added (NULL: nothing). rows and vectors are constants where it is called: all of the tile, or half of it
 * at C's right and lower edges, or a quarter of its rows. */
FV__ALWAYS_INLINE FV__TARGET static void FV__FN(some_tile)(const int rows, const int vectors, int64_t k,
                                                           const void *a_, int64_t rs, int64_t cs,
                                                           const void *b_, int64_t ldb, const void *bias_,
                                                           const void *from_, int64_t from_ld, void *out_,
                                                           int64_t ld) {
    const FV__T *a = (const FV__T *)a_, *b = (const FV__T *)b_, *bias = (const FV__T *)bias_,
                *from = (const FV__T *)from_;
    FV__T *out = (FV__T *)out_;
    FV__V s[FV__MR][FV__NRV];
    FV__UNROLL
    for (int j = 0; j < vectors; j++) {
        FV__V start = bias ? FV__LD(bias + j * FV__W) : FV__SET1(0);
        FV__UNROLL
        for (int i = 0; i < rows; i++) s[i][j] = start;
    }
    if (rs == 1)
        for (int64_t p = 0; p < k; p++, a += cs, b += ldb) {
            FV__V v[FV__NRV];
            FV__UNROLL
            for (int j = 0; j < vectors; j++) v[j] = FV__LD(b + j * FV__W);
            FV__UNROLL
            for (int i = 0; i < rows; i++) {
                FV__V x = FV__SET1(a[i]);
                FV__UNROLL
                for (int j = 0; j < vectors; j++) s[i][j] = FV__FMA(x, v[j], s[i][j]);
            }
        }
    else { /* four rows share a pointer, so that they all stay in registers */
        const FV__T *r[(FV__MR + 3) / 4];
        int64_t rs3 = 3 * rs;
        FV__OPAQUE(rs3);
        FV__UNROLL
        for (int i = 0; i < rows; i += 4) {
            r[i / 4] = a + i * rs;
            FV__OPAQUE(r[i / 4]);
        }
        for (int64_t p = 0; p < k; p++, b += ldb) {
            FV__V v[FV__NRV];
            FV__UNROLL
            for (int j = 0; j < vectors; j++) v[j] = FV__LD(b + j * FV__W);
            FV__UNROLL
            for (int i = 0; i < rows; i++) {
                FV__V x = FV__SET1(r[i / 4][i % 4 == 3 ? rs3 : i % 4 * rs]);
                FV__UNROLL
                for (int j = 0; j < vectors; j++) s[i][j] = FV__FMA(x, v[j], s[i][j]);
            }
            FV__UNROLL
            for (int i = 0; i < rows; i += 4) r[i / 4] += cs;
        }
    }
    /* one pointer walks down the rows, or the compiler works out every row's address ahead and spills them */
    if (from) {
        FV__UNROLL
        for (int i = 0; i < rows; i++, from += from_ld) {
            FV__OPAQUE(from);
            FV__UNROLL
            for (int j = 0; j < vectors; j++) s[i][j] = FV__ADD(s[i][j], FV__LD(from + j * FV__W));
        }
    }
    FV__UNROLL
    for (int i = 0; i < rows; i++, out += ld) {
        FV__OPAQUE(out);
        FV__UNROLL
        for (int j = 0; j < vectors; j++) FV__ST(out + j * FV__W, s[i][j]);
    }
}

/* m rows of n numbers of a tile, [MR][NR], go out; from as above */
FV__TARGET static void FV__FN(store_part)(const FV__T *part, int64_t m, int64_t n, const void *from_,
                                          int64_t from_ld, void *out_, int64_t ld) {
    const FV__T *from = (const FV__T *)from_;
    FV__T *out = (FV__T *)out_;
    for (int64_t i = 0; i < m; i++, part += FV__NR, out += ld, from += from ? from_ld : 0)
        for (int64_t j = 0; j < n; j += FV__W) {
            FV__V v = FV__LD(part + j);
            if (from) v = FV__ADD(v, FV__FN(ld)(from + j, n - j));
            FV__FN(st)(out + j, v, n - j);
        }
}
FV__TARGET static void FV__FN(tile)(int64_t rows, int64_t cols, int exact, int64_t k, const void *a,
                                    int64_t rs, int64_t cs, const void *b, int64_t ldb, const void *bias,
                                    const void *from, int64_t from_ld, void *out, int64_t ld) {
    FV__T part[FV__MR * FV__NR];
    int whole = !exact || (rows >= FV__MR && cols >= FV__NR);
    const void *first = whole ? from : NULL;
    void *to = whole ? out : part;
    int64_t to_ld = whole ? ld : FV__NR;
#define FV__SOME(m, v) FV__FN(some_tile)(m, v, k, a, rs, cs, b, ldb, bias, first, from_ld, to, to_ld)
    if (rows <= (FV__MR + 3) / 4) FV__SOME((FV__MR + 3) / 4, FV__NRV);
    else switch ((cols <= FV__NR / 2) + 2 * (rows <= FV__MR / 2)) {
        case 0: FV__SOME(FV__MR, FV__NRV); break;
        case 1: FV__SOME(FV__MR, (FV__NRV + 1) / 2); break;
        case 2: FV__SOME((FV__MR + 1) / 2, FV__NRV); break;
        default: FV__SOME((FV__MR + 1) / 2, (FV__NRV + 1) / 2);
        }
#undef FV__SOME
    if (whole) return;
    rows = FV__MIN(rows, (int64_t)FV__MR), cols = FV__MIN(cols, (int64_t)FV__NR);
    FV__FN(store_part)(part, rows, cols, from, from_ld, out, ld);
}

/* 4x4 transposes for packing: rows r..r+3 of src (stride rs), columns p..p+3, to dst[p][r] */
#if FV__PASS == FV__PASS_AVX2 || FV__PASS == FV__PASS_AVX512
#define FV__TRANSPOSE4(dst, width, src, rs)                                                                  \
    do {                                                                                                     \
        __m128 t0 = _mm_loadu_ps(src), t1 = _mm_loadu_ps((src) + (rs)), t2 = _mm_loadu_ps((src) + 2 * (rs)), \
               t3 = _mm_loadu_ps((src) + 3 * (rs));                                                          \
        __m128 u0 = _mm_unpacklo_ps(t0, t1), u1 = _mm_unpackhi_ps(t0, t1), u2 = _mm_unpacklo_ps(t2, t3),     \
               u3 = _mm_unpackhi_ps(t2, t3);                                                                 \
        _mm_storeu_ps(dst, _mm_movelh_ps(u0, u2));                                                           \
        _mm_storeu_ps((dst) + (width), _mm_movehl_ps(u2, u0));                                               \
        _mm_storeu_ps((dst) + 2 * (width), _mm_movelh_ps(u1, u3));                                           \
        _mm_storeu_ps((dst) + 3 * (width), _mm_movehl_ps(u3, u1));                                           \
    } while (0)
#elif FV__PASS == FV__PASS_NEON
#define FV__TRANSPOSE4(dst, width, src, rs)                                                                  \
    do {                                                                                                     \
        float32x4x2_t u = vtrnq_f32(vld1q_f32(src), vld1q_f32((src) + (rs)));                                \
        float32x4x2_t w = vtrnq_f32(vld1q_f32((src) + 2 * (rs)), vld1q_f32((src) + 3 * (rs)));               \
        vst1q_f32(dst, vcombine_f32(vget_low_f32(u.val[0]), vget_low_f32(w.val[0])));                        \
        vst1q_f32((dst) + (width), vcombine_f32(vget_low_f32(u.val[1]), vget_low_f32(w.val[1])));            \
        vst1q_f32((dst) + 2 * (width), vcombine_f32(vget_high_f32(u.val[0]), vget_high_f32(w.val[0])));      \
        vst1q_f32((dst) + 3 * (width), vcombine_f32(vget_high_f32(u.val[1]), vget_high_f32(w.val[1])));      \
    } while (0)
#endif

#if FV__PASS == FV__PASS_AVX512
/* 16 rows of src (stride rs) of 16 numbers each, turned: to dst[p][r]. Pairs of rows, then fours, then the
 * quarters of all 16. */
#define FV__QUARTERS(a, b, which) _mm512_maskz_shuffle_f32x4((__mmask16)-1, a, b, which)
FV__TARGET static void FV__FN(transpose16)(float *dst, int64_t width, const float *src, int64_t rs) {
    const __mmask16 all = (__mmask16)-1;
    __m512d two[16];
    __m512 four[16];
    FV__UNROLL
    for (int i = 0; i < 16; i += 2) {
        __m512 x = _mm512_loadu_ps(src + i * rs), y = _mm512_loadu_ps(src + (i + 1) * rs);
        two[i] = _mm512_castps_pd(_mm512_maskz_unpacklo_ps(all, x, y)),
        two[i + 1] = _mm512_castps_pd(_mm512_maskz_unpackhi_ps(all, x, y));
    }
    /* four[4g + c]: of rows 4g..4g+3 the columns c, c+4, c+8, c+12 */
    FV__UNROLL
    for (int i = 0; i < 16; i++) {
        int at = i / 4 * 4 + i % 4 / 2;
        four[i] = _mm512_castpd_ps(i % 2 ? _mm512_maskz_unpackhi_pd((__mmask8)-1, two[at], two[at + 2])
                                         : _mm512_maskz_unpacklo_pd((__mmask8)-1, two[at], two[at + 2]));
    }
    FV__UNROLL
    for (int c = 0; c < 4; c++) {
        __m512 low = FV__QUARTERS(four[c], four[c + 4], 0x44),
               low2 = FV__QUARTERS(four[c + 8], four[c + 12], 0x44);
        __m512 high = FV__QUARTERS(four[c], four[c + 4], 0xee),
               high2 = FV__QUARTERS(four[c + 8], four[c + 12], 0xee);
        _mm512_storeu_ps(dst + c * width, FV__QUARTERS(low, low2, 0x88));
        _mm512_storeu_ps(dst + (c + 4) * width, FV__QUARTERS(low, low2, 0xdd));
        _mm512_storeu_ps(dst + (c + 8) * width, FV__QUARTERS(high, high2, 0x88));
        _mm512_storeu_ps(dst + (c + 12) * width, FV__QUARTERS(high, high2, 0xdd));
    }
}
#undef FV__QUARTERS
#endif

/* dst[p][r] = src[r*rs + p*cs] for r < rows, p < k; rows up to width are zero. 4-byte elements also stand for
 * pairs of bf16. */
FV__TARGET static void FV__FN(pack)(void *dst_, const void *src_, int64_t rs, int64_t cs, int rows, int64_t k,
                                    int width) {
    FV__T *dst = (FV__T *)dst_;
    const FV__T *src = (const FV__T *)src_;
    int64_t p = 0;
    if (rs == 1) {
        for (; p < k; p++, dst += width, src += cs)
            for (int r = 0; r < width; r += FV__W) {
                FV__V v = r < rows ? FV__FN(ld)(src + r, rows - r) : FV__SET1(0);
                FV__FN(st)(dst + r, v, width - r);
            }
        return;
    }
    if (rows < width) memset(dst, 0, (size_t)(k * width) * sizeof *dst);
#if FV__PASS == FV__PASS_AVX512
    if (cs == 1 && rows >= 16)
        for (; p + 16 <= k; p += 16, dst += 16 * width)
            for (int r = 0; r < rows; r += 16) {
                int at = FV__MIN(r, rows - 16); /* the last group overlaps the one before */
                FV__FN(transpose16)(dst + at, width, src + p + at * rs, rs);
            }
#endif
#ifdef FV__TRANSPOSE4
    if (cs == 1 && rows >= 4)
        /* 16 columns, a cache line of each row, before the next: rows may share a cache set */
        while (p + 4 <= k) {
            int64_t n = (FV__MIN(k - p, (int64_t)16)) & ~(int64_t)3;
            for (int r = 0; r < rows; r += 4) {
                int at = r + 4 <= rows ? r : rows - 4; /* the last group overlaps the one before */
                for (int64_t q = 0; q < n; q += 4)
                    FV__TRANSPOSE4(dst + q * width + at, width, src + p + q + at * rs, rs);
            }
            p += n, dst += n * width;
        }
#endif
    for (; p < k; p++, dst += width)
        for (int r = 0; r < rows; r++) dst[r] = src[r * rs + p * cs];
}

/* Many panels in one sweep over the rows, which are read whole: the last store of a panel's row may run into
 * the next row, which is written after it. */
FV__TARGET static void FV__FN(pack_columns)(void *dst_, int64_t panel, const void *src_, int64_t cs,
                                            int64_t cols, int64_t k, int width) {
    FV__T *dst = (FV__T *)dst_;
    const FV__T *src = (const FV__T *)src_;
    for (int64_t p = 0; p < k; p++, src += cs, dst += width) {
        FV__T *d = dst;
        for (int64_t c = 0; c < cols; c += width, d += panel)
            for (int r = 0; r < width; r += FV__W) {
                int64_t left = cols - c - r;
                FV__V v = left >= FV__W ? FV__LD(src + c + r)
                          : left > 0    ? FV__LDN(src + c + r, left)
                                        : FV__SET1(0);
                if (p + 1 < k || r + FV__W <= width) FV__ST(d + r, v);
                else FV__STN(d + r, v, width - r);
            }
    }
}

/* sums[r] += sum over p of panel[p][r]: in T over 64 numbers, then in double */
FV__TARGET static void FV__FN(panel_sums)(double *sums, const void *panel, int64_t k) {
    const FV__T *x = (const FV__T *)panel;
    for (int64_t p = 0; p < k; p += 64) {
        int64_t n = FV__MIN(k - p, (int64_t)64);
        for (int r = 0; r < FV__MR; r += FV__W) {
            FV__T t[FV__W];
            FV__V s = FV__SET1(0);
            for (int64_t q = 0; q < n; q++) s = FV__ADD(s, FV__FN(ld)(x + (p + q) * FV__MR + r, FV__MR - r));
            FV__ST(t, s);
            for (int i = 0; i < FV__W && r + i < FV__MR; i++) sums[r + i] += (double)t[i];
        }
    }
}

FV__TARGET static void FV__FN(distances)(void *d_, const void *x_, const void *y_, const void *z_, int64_t n,
                                         double px, double py, double pz, int least) {
    FV__T *d = (FV__T *)d_;
    const FV__T *x = (const FV__T *)x_, *y = (const FV__T *)y_, *z = (const FV__T *)z_;
    for (int64_t i = 0; i < n; i += FV__W) {
        int64_t left = n - i;
        FV__V a = FV__SUB(FV__LDN(x + i, left), FV__SET1(px)),
              b = FV__SUB(FV__LDN(y + i, left), FV__SET1(py)),
              e = FV__SUB(FV__LDN(z + i, left), FV__SET1(pz));
        FV__V s = FV__ADD(FV__ADD(FV__MUL(a, a), FV__MUL(b, b)), FV__MUL(e, e));
        FV__STN(d + i, least ? FV__VMIN(s, FV__LDN(d + i, left)) : s, left);
    }
}

/* bf16 <-> f32, n numbers; rounds to nearest even, keeps NaN */
#if FV__PASS == FV__PASS_AVX512
FV__TARGET static inline __m512 FV__FN(wide)(__m256i h) {
    return _mm512_castsi512_ps(
        _mm512_maskz_slli_epi32((__mmask16)-1, _mm512_maskz_cvtepu16_epi32((__mmask16)-1, h), 16));
}
FV__TARGET static inline __m256i FV__FN(narrow)(__m512 f) {
    __m512i u = _mm512_castps_si512(f), upper = _mm512_maskz_srli_epi32((__mmask16)-1, u, 16);
    __m512i up = _mm512_add_epi32(_mm512_and_si512(upper, _mm512_set1_epi32(1)), _mm512_set1_epi32(0x7fff));
    __m512i r = _mm512_maskz_srli_epi32((__mmask16)-1, _mm512_add_epi32(u, up), 16);
    __m512i quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
    return _mm512_maskz_cvtepi32_epi16(
        (__mmask16)-1, _mm512_mask_mov_epi32(r, _mm512_cmp_ps_mask(f, f, _CMP_UNORD_Q), quiet));
}
#endif
FV__TARGET static void FV__FN(from_bf16)(float *y, const uint16_t *x, int64_t n) {
    int64_t i = 0;
#if FV__PASS == FV__PASS_AVX512
    for (; i + 16 <= n; i += 16)
        FV__ST(y + i, FV__FN(wide)(_mm256_loadu_si256((const __m256i *)(const void *)(x + i))));
    if (i < n) FV__STN(y + i, FV__FN(wide)(_mm256_maskz_loadu_epi16(FV__MASK16(n - i), x + i)), n - i);
    i = n;
#elif FV__PASS == FV__PASS_AVX2
    for (; i + 8 <= n; i += 8) {
        __m256i h = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(x + i)));
        _mm256_storeu_ps(y + i, _mm256_castsi256_ps(_mm256_slli_epi32(h, 16)));
    }
#elif FV__PASS == FV__PASS_NEON
    for (; i + 4 <= n; i += 4) vst1q_f32(y + i, vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(x + i), 16)));
#endif
    for (; i < n; i++) y[i] = fv__bf16_to(x[i]);
}
FV__TARGET static void FV__FN(to_bf16)(uint16_t *y, const float *x, int64_t n) {
    int64_t i = 0;
#if FV__PASS == FV__PASS_AVX512
    for (; i + 16 <= n; i += 16)
        _mm256_storeu_si256((__m256i *)(void *)(y + i), FV__FN(narrow)(FV__LD(x + i)));
    if (i < n) _mm256_mask_storeu_epi16(y + i, FV__MASK16(n - i), FV__FN(narrow)(FV__LDN(x + i, n - i)));
    i = n;
#elif FV__PASS == FV__PASS_AVX2
    for (; i + 8 <= n; i += 8) {
        __m256 f = _mm256_loadu_ps(x + i);
        __m256i u = _mm256_castps_si256(f),
                odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
        __m256i r =
            _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
        __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(0x40));
        r = _mm256_blendv_epi8(r, quiet, _mm256_castps_si256(_mm256_cmp_ps(f, f, _CMP_UNORD_Q)));
        r = _mm256_permute4x64_epi64(_mm256_packus_epi32(r, r), 0x08);
        _mm_storeu_si128((__m128i *)(void *)(y + i), _mm256_castsi256_si128(r));
    }
#endif
    for (; i < n; i++) y[i] = fv__bf16_from(x[i]);
}

/* ---- attention, a row of scores at a time: n numbers in room for `room`, a multiple of W; past n they
 * become 0. half [room]: the row as bf16 (NULL: not wanted). Vectors are stored whole, since a load must wait
 * long for what was stored in parts. ---- */
FV__TARGET static inline void FV__FN(row_end)(FV__T *row, int64_t n, int64_t room, uint16_t *half) {
    for (int64_t i = FV__ROUND_UP(n, (int64_t)FV__W); i < room; i += FV__W) FV__ST(row + i, FV__SET1(0));
    if (half) FV__FN(to_bf16)(half, (const float *)(const void *)row, room);
}
/* row = exp(row*scale - max), stat = {max of row*scale, 1/sum}. Without a valid key (all -infinity) row and
 * 1/sum are 0; a NaN stays. */
FV__TARGET static void FV__FN(softmax_row)(void *row, int64_t n, int64_t room, double scale, void *stat_,
                                           uint16_t *half) {
    FV__T *stat = (FV__T *)stat_;
    double max = FV__FN(row_max)(row, n) * scale, sum = max;
    if (max > -INFINITY) sum = FV__FN(exp_row)((FV__T *)row, n, scale, max, 1);
    else {
        const FV__T *x = (const FV__T *)row; /* row_max passes by what is no number */
        for (int64_t i = 0; i < n; i++)
            if (x[i] != x[i]) max = sum = (double)x[i];
        memset(row, 0, (size_t)room * sizeof(FV__T));
    }
    stat[0] = (FV__T)max, stat[1] = (FV__T)(sum > -INFINITY ? 1 / sum : sum != sum ? sum : 0);
    FV__FN(row_end)((FV__T *)row, n, room, half);
}
/* the same from stat, and divided by the sum */
FV__TARGET static void FV__FN(softmax_again)(void *row, int64_t n, int64_t room, double scale,
                                             const void *stat_, uint16_t *half) {
    const FV__T *stat = (const FV__T *)stat_;
    FV__T *x = (FV__T *)row;
    int none = !(stat[0] > -INFINITY); /* then 1/sum, 0 or NaN, is all */
    FV__V k = FV__SET1(scale), l = FV__SET1(-stat[0]), f = FV__SET1(stat[1]);
    for (int64_t i = 0; i < n; i += FV__W) {
        FV__V v = none ? f : FV__MUL(FV__FN(vexp)(FV__FMA(FV__FN(ld)(x + i, n - i), k, l)), f);
        FV__ST(x + i, n - i < FV__W ? FV__FN(keep)(v, n - i) : v);
    }
    FV__FN(row_end)(x, n, room, half);
}
/* backward: dp = p * (dp - sum(p dp)) * scale */
FV__TARGET static void FV__FN(score_grad)(void *dp_, const void *p_, int64_t n, int64_t room, double scale,
                                          uint16_t *half) {
    FV__T *dp = (FV__T *)dp_;
    const FV__T *p = (const FV__T *)p_;
    FV__V d = FV__SET1(FV__FN(dot)(dp_, p_, n)), k = FV__SET1(scale);
    for (int64_t i = 0; i < n; i += FV__W) {
        FV__V v = FV__MUL(FV__MUL(FV__SUB(FV__FN(ld)(dp + i, n - i), d), k), FV__FN(ld)(p + i, n - i));
        FV__ST(dp + i, n - i < FV__W ? FV__FN(keep)(v, n - i) : v);
    }
    FV__FN(row_end)(dp, n, room, half);
}

/* A register-only loop of multiply-adds; returns how many floating-point operations it did. */
FV__TARGET static double FV__FN(peak)(int64_t n, void *sink) {
    /* no sum starts at 1, which x s + y leaves as it is: a compiler would leave the work out */
    FV__V s[FV__MR][FV__NRV], x = FV__SET1(0.9), y = FV__SET1(0.1);
    FV__UNROLL
    for (int i = 0; i < FV__MR; i++) {
        FV__UNROLL
        for (int j = 0; j < FV__NRV; j++) s[i][j] = FV__SET1(i * FV__NRV + j + 2);
    }
    for (int64_t p = 0; p < n; p++) {
        FV__UNROLL
        for (int i = 0; i < FV__MR; i++) {
            FV__UNROLL
            for (int j = 0; j < FV__NRV; j++) s[i][j] = FV__FMA(s[i][j], x, y);
        }
    }
    FV__UNROLL
    for (int i = 0; i < FV__MR; i++) {
        FV__UNROLL
        for (int j = 0; j < FV__NRV; j++) FV__ST((FV__T *)sink, FV__ADD(s[i][j], FV__LD((FV__T *)sink)));
    }
    return 2.0 * (double)n * FV__MR * FV__NR;
}

#if FV__PASS == FV__PASS_AVX512
/* ---- bf16 dot products: the same tile over pairs of k; a [k/2][MR][2], b [k/2][NR][2], sums in f32 ---- */
#define FV__TARGET_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma")))
/* strides in pairs; rows of A where it lies have rs > 1, cs 1 */
FV__ALWAYS_INLINE FV__TARGET_BF16 static void fv__some_tile_bf16(const int rows, const int vectors, int64_t k,
                                                                 const void *a_, int64_t rs, int64_t cs,
                                                                 const void *b_, const void *bias_,
                                                                 const void *from_, int64_t from_ld,
                                                                 void *out_, int64_t ld, int narrow) {
    const uint16_t *b = (const uint16_t *)b_;
    const int *a = (const int *)a_;
    const float *bias = (const float *)bias_, *from = (const float *)from_;
    float *out = (float *)out_;
    __m512 s[14][2];
    FV__UNROLL
    for (int j = 0; j < vectors; j++) {
        __m512 start = bias ? _mm512_loadu_ps(bias + 16 * j) : _mm512_setzero_ps();
        FV__UNROLL
        for (int i = 0; i < rows; i++) s[i][j] = start;
    }
    if (rs == 1)
        for (int64_t p = 0; p < k; p += 2, a += cs, b += 64) {
            __m512bh v0 = (__m512bh)_mm512_loadu_si512(b), v1 = (__m512bh)_mm512_loadu_si512(b + 32);
            FV__UNROLL
            for (int i = 0; i < rows; i++) {
                __m512bh x = (__m512bh)_mm512_set1_epi32(a[i]);
                s[i][0] = _mm512_dpbf16_ps(s[i][0], x, v0);
                if (vectors > 1) s[i][1] = _mm512_dpbf16_ps(s[i][1], x, v1);
            }
        }
    else {
        const int *r[4];
        int64_t rs3 = 3 * rs;
        FV__OPAQUE(rs3);
        FV__UNROLL
        for (int i = 0; i < 4; i++) {
            r[i] = a + 4 * i * rs;
            FV__OPAQUE(r[i]);
        }
        for (int64_t p = 0; p < k; p += 2, b += 64) {
            __m512bh v0 = (__m512bh)_mm512_loadu_si512(b), v1 = (__m512bh)_mm512_loadu_si512(b + 32);
            FV__UNROLL
            for (int i = 0; i < rows; i++) {
                __m512bh x = (__m512bh)_mm512_set1_epi32(r[i / 4][i % 4 == 3 ? rs3 : i % 4 * rs]);
                s[i][0] = _mm512_dpbf16_ps(s[i][0], x, v0);
                if (vectors > 1) s[i][1] = _mm512_dpbf16_ps(s[i][1], x, v1);
            }
            FV__UNROLL
            for (int i = 0; i < 4; i++) r[i] += cs;
        }
    }
    if (from) {
        FV__UNROLL
        for (int i = 0; i < rows; i++, from += from_ld) {
            FV__OPAQUE(from);
            FV__UNROLL
            for (int j = 0; j < vectors; j++)
                s[i][j] = _mm512_add_ps(s[i][j], _mm512_loadu_ps(from + j * 16));
        }
    }
    if (narrow) {
        uint16_t *half = (uint16_t *)out_;
        FV__UNROLL
        for (int i = 0; i < rows; i++, half += ld) {
            FV__OPAQUE(half);
            FV__UNROLL
            for (int j = 0; j < vectors; j++)
                _mm256_storeu_si256((__m256i *)(void *)(half + j * 16), (__m256i)_mm512_cvtneps_pbh(s[i][j]));
        }
        return;
    }
    FV__UNROLL
    for (int i = 0; i < rows; i++, out += ld) {
        FV__OPAQUE(out);
        FV__UNROLL
        for (int j = 0; j < vectors; j++) _mm512_storeu_ps(out + j * 16, s[i][j]);
    }
}
/* narrow: the sums are stored as bf16; rows, cols, exact as in struct fv__kernels */
FV__TARGET_BF16 static void fv__tile_bf16(int64_t rows, int64_t cols, int exact, int64_t k, const void *a,
                                          int64_t rs, int64_t cs, const void *b, const void *bias,
                                          const void *from, int64_t from_ld, void *out, int64_t ld,
                                          int narrow) {
    float part[14 * 32];
    int whole = !exact || (rows >= 14 && cols >= 32), small = whole && narrow;
    const void *first = whole ? from : NULL;
    void *to = whole ? out : part;
    int64_t to_ld = whole ? ld : 32, m = FV__MIN(rows, (int64_t)14), n = FV__MIN(cols, (int64_t)32);
    switch ((cols <= 16) + 2 * (rows <= 7)) {
    case 0: fv__some_tile_bf16(14, 2, k, a, rs, cs, b, bias, first, from_ld, to, to_ld, small); break;
    case 1: fv__some_tile_bf16(14, 1, k, a, rs, cs, b, bias, first, from_ld, to, to_ld, small); break;
    case 2: fv__some_tile_bf16(7, 2, k, a, rs, cs, b, bias, first, from_ld, to, to_ld, small); break;
    default: fv__some_tile_bf16(7, 1, k, a, rs, cs, b, bias, first, from_ld, to, to_ld, small);
    }
    if (whole) return;
    if (!narrow || from) FV__FN(store_part)(part, m, n, from, from_ld, narrow ? part : out, narrow ? 32 : ld);
    for (int64_t i = 0; narrow && i < m; i++) FV__FN(to_bf16)((uint16_t *)out + i * ld, part + 32 * i, n);
}
/* pack_columns for pairs: rows p and p+1 interleaved, dst[p/2][r] = {src[p][r], src[p+1][r]}; panel in bf16
 * numbers. width is 32, or at most 16: then two panels are filled at a time. Pairs past a row's end run into
 * the next row, which is written after it. */
FV__TARGET static void fv__pack_pairs(uint16_t *dst, int64_t panel, const uint16_t *src, int64_t cs,
                                      int64_t cols, int64_t k, int width) {
    int some = FV__MIN(width, 16);
    int64_t second = width > 16 ? 32 : panel; /* where the other pairs go */
    /* the numbers r and 32 + r of two rows of 32, for r = 0.., and for r = some.. */
    __m512i r = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    __m512i one = _mm512_add_epi32(_mm512_or_si512(r, _mm512_maskz_slli_epi32((__mmask16)-1, r, 16)),
                                   _mm512_set1_epi32(32 << 16));
    __m512i two = _mm512_add_epi32(one, _mm512_set1_epi32(some * 0x10001));
    for (int64_t p = 0; p < k; p += 2, dst += 2 * width, src += 2 * cs) {
        uint16_t *d = dst;
        int whole = p + 2 < k || width > 16;
        for (int64_t c = 0; c<cols; c += 2 * some, d += width> 16 ? panel : 2 * panel) {
            int64_t left = cols - c;
            __mmask32 m = left >= 32 ? (__mmask32)-1 : (__mmask32)((1u << left) - 1);
            __m512i lo = _mm512_maskz_loadu_epi16(m, src + c), hi = _mm512_setzero_si512();
            if (p + 1 < k) hi = _mm512_maskz_loadu_epi16(m, src + c + cs);
            __m512i v = _mm512_permutex2var_epi16(lo, one, hi), w = _mm512_permutex2var_epi16(lo, two, hi);
            int both = width > 16 || left > some;
            if (whole) {
                _mm512_storeu_si512(d, v);
                if (both) _mm512_storeu_si512(d + second, w);
            } else {
                _mm512_mask_storeu_epi32(d, FV__MASK16(width), v);
                if (both) _mm512_mask_storeu_epi32(d + second, FV__MASK16(width), w);
            }
        }
    }
}
/* panel_sums of pairs [k/2][14][2] */
FV__TARGET static void fv__panel_sums_bf16(double *sums, const uint16_t *x, int64_t k) {
    for (int64_t p = 0; p < k; p += 128) {
        __m512 s = _mm512_setzero_ps();
        for (int64_t q = p; q < FV__MIN(k, p + 128); q += 2) {
            __m512i v = _mm512_maskz_loadu_epi32((__mmask16)0x3fff, x + q * 14);
            s = _mm512_add_ps(s, _mm512_castsi512_ps(_mm512_maskz_slli_epi32((__mmask16)-1, v, 16)));
            s = _mm512_add_ps(s, _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32(-65536))));
        }
        float t[16];
        _mm512_storeu_ps(t, s);
        for (int i = 0; i < 14; i++) sums[i] += (double)t[i];
    }
}
FV__TARGET_BF16 static double fv__peak_bf16(int64_t n, void *sink) {
    __m512 s[28];
    __m512bh x = (__m512bh)_mm512_set1_epi16(0x3f80), y = (__m512bh)_mm512_set1_epi16(0x3c00);
    FV__UNROLL
    for (int i = 0; i < 28; i++) s[i] = _mm512_set1_ps((float)i);
    for (int64_t p = 0; p < n; p++) {
        FV__UNROLL
        for (int i = 0; i < 28; i++) s[i] = _mm512_dpbf16_ps(s[i], x, y);
    }
    FV__UNROLL
    for (int i = 0; i < 28; i++)
        _mm512_storeu_ps((float *)sink, _mm512_add_ps(s[i], _mm512_loadu_ps((float *)sink)));
    return 4.0 * (double)n * 28 * 16;
}
#undef FV__TARGET_BF16
#endif

/* this pass's table; the order is that of struct fv__kernels */
/* clang-format off: not a line each */
static const fv__kernels FV__FN(kernels) = {FV__FN(add),
                                            FV__FN(sub),
                                            FV__FN(mul),
                                            FV__FN(muladd),
                                            FV__FN(axpy),
                                            FV__FN(scale),
                                            FV__FN(affine),
                                            FV__FN(vec_exp),
                                            FV__FN(vec_erf),
                                            FV__FN(gelu),
                                            FV__FN(gelu_grad),
                                            FV__FN(silu),
                                            FV__FN(silu_grad),
                                            FV__FN(relu),
                                            FV__FN(relu_grad),
                                            FV__FN(leaky_relu),
                                            FV__FN(leaky_relu_grad),
                                            FV__FN(swiglu),
                                            FV__FN(swiglu_grad),
                                            FV__FN(sum),
                                            FV__FN(dot),
                                            FV__FN(max_into),
                                            FV__FN(row_max),
                                            FV__FN(softmax_exp),
                                            FV__FN(exp_sum),
                                            FV__FN(softmax_grad),
                                            FV__FN(layernorm),
                                            FV__FN(rmsnorm),
                                            FV__FN(norm_grad),
                                            FV__FN(norm_sums),
                                            FV__FN(adamw),
                                            FV__MR,
                                            FV__NR,
                                            FV__FN(tile),
                                            FV__FN(pack),
                                            FV__FN(pack_columns),
                                            FV__FN(panel_sums),
                                            FV__FN(distances),
                                            FV__FN(softmax_row),
                                            FV__FN(softmax_again),
                                            FV__FN(score_grad),
                                            FV__FN(from_bf16),
                                            FV__FN(to_bf16),
                                            FV__FN(peak)};
/* clang-format on */

#undef FV__UNROLL
#undef FV__MR
#undef FV__NRV
#undef FV__NR
#undef FV__TRANSPOSE4
#undef FV__T
#undef FV__FN
#undef FV__TARGET
#undef FV__V
#undef FV__W
#undef FV__LD
#undef FV__ST
#undef FV__LDN
#undef FV__STN
#undef FV__MASK8
#undef FV__MASK16
#undef FV__SET1
#undef FV__ADD
#undef FV__SUB
#undef FV__MUL
#undef FV__DIV
#undef FV__FMA
#undef FV__FNMA
#undef FV__VMAX
#undef FV__VMIN
#undef FV__SELECT_LT
#undef FV__HSUM
#undef FV__HMAX
#undef FV__SQRT
#undef FV__ROUND
#undef FV__EXP2I
#undef FV__SCALEF
#undef FV__FOLD
#undef FV__FOLD_MAX
#undef FV__HALF
#undef FV__PASS_F64
#undef FV__PASS_SCALAR
#undef FV__PASS_AVX2
#undef FV__PASS_AVX512
#undef FV__PASS_NEON
#endif /* FV__PASS: the kernels' text ends */

#ifndef FV__PASS
#if defined(FROZENVIS_IMPLEMENTATION) && !defined(FV__KERNELS_DONE)
#define FV__KERNELS_DONE
/* the passes: the header by its own name (a user who renames it defines FV_HEADER_FILENAME) */
#ifndef FV_HEADER_FILENAME
#define FV_HEADER_FILENAME "frozenvis.h"
#endif
#define FV__PASS 1
#include FV_HEADER_FILENAME
#undef FV__PASS
#define FV__PASS 2
#include FV_HEADER_FILENAME
#undef FV__PASS
#ifdef FV__X86
#define FV__PASS 3
#include FV_HEADER_FILENAME
#undef FV__PASS
#define FV__PASS 4
#include FV_HEADER_FILENAME
#undef FV__PASS
#endif
#ifdef FV__ARM
#define FV__PASS 5
#include FV_HEADER_FILENAME
#undef FV__PASS
#endif

/* the table that computes elements of this type */
static const fv__kernels *fv__kernels_for(const fv_ctx *c, fv_type type) {
    if (type == FV_F64) return &fv__kernels_f64;
    switch (c->isa) {
#ifdef FV__X86
    case FV_ISA_AVX2: return &fv__kernels_avx2;
    case FV_ISA_AVX512:
    case FV_ISA_AVX512BF16: return &fv__kernels_avx512;
#endif
#ifdef FV__ARM
    case FV_ISA_NEON: return &fv__kernels_neon;
#endif
    default: return &fv__kernels_scalar;
    }
}

/* fv__convert by the fast path where there is one */
static void fv__convert_by(const fv__kernels *k, void *dst, fv_type to, const void *src, fv_type from,
                           int64_t n) {
    if (to == FV_F32 && from == FV_BF16) k->from_bf16((float *)dst, (const uint16_t *)src, n);
    else if (to == FV_BF16 && from == FV_F32) k->to_bf16((uint16_t *)dst, (const float *)src, n);
    else fv__convert(dst, to, src, from, n);
}

/* ======================================================================================================
 * >>gemm (implementation)
 * ====================================================================================================== */
/* How a product is computed; the manual tells it in four steps. A panel is [k][MR or NR], padded with zeros;
 * packing also turns any stride, and f32 or bf16, into what the micro-kernel eats. Blocks of about 168 x 256
 * are the jobs; k runs in slices of about 384, so that a slice of A (168 x 384) and of B (384 x 256) stay in
 * L2 and a panel of A (14 x 384) in L1 while B's panels pass. The rows of a block go to C through the
 * epilogue (bias, residual, conversion) while they are still in cache. Blocks, slices and parts depend on the
 * shape alone, never on the threads, so a result is the same for any number of them. */
enum { FV__BLOCK_M = 168, FV__BLOCK_N = 256, FV__SLICE_K = 384 };
enum { FV__SPLIT_MOST = 8, FV__SPLIT_C = 160 << 10, FV__SPLIT_BYTES = 400 << 10 }; /* see fv__split_job */

typedef struct fv__gemm {
    fv_ctx *c;
    const fv__kernels *k;
    fv_type compute;      /* F32, F64; BF16: bf16 dot products */
    int64_t m, n, kk;     /* kk: the inner dimension */
    int64_t mr, nr, unit; /* unit: k is packed in groups of 1, or of 2 for bf16 */
    size_t element;
    fv_mat a, b;
    const char *pa, *pb;    /* packed operands */
    int direct_a, direct_b; /* read where it lies; then only a last panel that is not full is packed */
    int64_t split;          /* > 0: k is cut into this many parts, each summed apart; see fv__split_job */
    char *part;             /* [split][m to whole tiles][n to whole tiles] of the sums' type */
    double *row_sums;       /* [split][m to whole tiles], or NULL: sums of A's rows over k, on the side */
    const fv_packed *w;     /* b comes from here, transposed, when pb is not its own memory */
    int64_t block_m, block_n, slice;
    void *out;
    fv_type out_type;
    int64_t ldc;
    int add;
    const void *bias;     /* [n] of the computing type, or NULL */
    const void *residual; /* [m][ldc] or NULL */
    fv_type residual_type;
} fv__gemm;

struct fv_packed {
    fv_type type;
    int64_t n, k, nr; /* W [n,k], in panels of nr rows; on a GPU nr is 1: plain rows, in its memory */
    size_t panel;     /* bytes of a panel */
    char *data;
};

static int64_t fv__tile_of(const fv__gemm *g, int64_t *nr) {
    *nr = g->k->nr;
    return g->k->mr;
}

/* rows, cols, exact: see struct fv__kernels. narrow: bf16 goes out, of bf16 products only */
static void fv__tile_to(const fv__gemm *g, int64_t rows, int64_t cols, int exact, int64_t k, const void *a,
                        int64_t rs, int64_t cs, const void *b, int64_t ldb, const void *bias,
                        const void *from, int64_t from_ld, void *out, int64_t ld, int narrow) {
#ifdef FV__X86
    if (g->compute == FV_BF16) {
        fv__tile_bf16(rows, cols, exact, k, a, rs, cs, b, bias, from, from_ld, out, ld, narrow);
        return;
    }
#endif
    (void)narrow;
    g->k->tile(rows, cols, exact, k, a, rs, cs, b, ldb, bias, from, from_ld, out, ld);
}
static void fv__tile(const fv__gemm *g, int64_t rows, int64_t cols, int64_t k, const void *a, int64_t rs,
                     int64_t cs, const void *b, int64_t ldb, const void *bias, const void *from,
                     int64_t from_ld, void *out, int64_t ld) {
    fv__tile_to(g, rows, cols, 0, k, a, rs, cs, b, ldb, bias, from, from_ld, out, ld, 0);
}

/* One panel: `rows` rows (stride rs) by k columns (stride cs) of src, already of the computing type. */
static void fv__pack_panel(const fv__gemm *g, char *dst, const char *src, int64_t rs, int64_t cs, int rows,
                           int64_t k, int width) {
#ifdef FV__X86
    if (g->compute == FV_BF16) {
        if (rs == 1 && cs != 1) {
            fv__pack_pairs((uint16_t *)(void *)dst, 0, (const uint16_t *)(const void *)src, cs, rows, k,
                           width);
            return;
        }
        /* pairs along k lie together: move them as 4-byte elements */
        if (cs == 1 && rs % 2 == 0 && k % 2 == 0) {
            g->k->pack(dst, src, rs / 2, 1, rows, k / 2, width);
            return;
        }
        const uint16_t *s = (const uint16_t *)(const void *)src;
        uint16_t *d = (uint16_t *)(void *)dst;
        for (int64_t p = 0; p < FV__ROUND_UP(k, 2); p++)
            for (int r = 0; r < width; r++)
                d[(p / 2 * width + r) * 2 + p % 2] = r < rows && p < k ? s[r * rs + p * cs] : (uint16_t)0;
        return;
    }
#endif
    g->k->pack(dst, src, rs, cs, rows, k, width);
}

/* Panels side by side from rows of cols numbers: k of them from src, cs apart; panels are `panel` bytes
 * apart. */
static void fv__pack_columns(const fv__gemm *g, char *dst, size_t panel, const char *src, int64_t cs,
                             int64_t cols, int64_t k, int width) {
#ifdef FV__X86
    if (g->compute == FV_BF16) {
        fv__pack_pairs((uint16_t *)(void *)dst, (int64_t)(panel / 2), (const uint16_t *)(const void *)src, cs,
                       cols, k, width);
        return;
    }
#endif
    g->k->pack_columns(dst, (int64_t)(panel / g->element), src, cs, cols, k, width);
}

static size_t fv__panel_bytes(const fv__gemm *g, int64_t width) {
    return FV__ROUND_UP((size_t)(FV__ROUND_UP(g->kk, g->unit) * width) * g->element, (size_t)64);
}

/* W's panel [k/2][nr][2], element (row r, column i) at ((i/2)*nr + r)*2 + i%2, to B's [r/2][nr_b][2]: four
 * numbers at a time, rows r, r+1 and columns i, i+1, which are 64 bits here and there, the middle two
 * swapped. col is even; what hangs over is 0. */
static void fv__repack_pairs(const char *src, int64_t nr, char *dst, int64_t nr_b, int64_t rows, int64_t col,
                             int64_t cols) {
    for (int64_t r = 0; r < rows; r += 2)
        for (int64_t i = 0; i < nr_b; i += 2) {
            uint64_t w = 0;
            if (i < cols) memcpy(&w, src + ((col + i) / 2 * nr + r) * 4, sizeof w);
            if (i + 1 >= cols) w &= 0x0000ffff0000ffffu;
            if (r + 1 >= rows) w &= 0x00000000ffffffffu;
            w = (w & 0xffff00000000ffffu) | (w & 0x00000000ffff0000u) << 16 | (w & 0x0000ffff00000000u) >> 16;
            memcpy(dst + (r / 2 * nr_b + i) * 4, &w, sizeof w);
        }
}

/* A panel of B from W's own panels: W [k,n] read as k x n. W's rows lie in panels of nr, which are turned
 * block by block. */
static void fv__repack(const fv__gemm *g, char *dst, int64_t col, int cols) {
    const fv_packed *w = g->w;
    int64_t nr = w->nr;
    for (int64_t p = 0; p < g->kk; p += nr) {
        int64_t rows = FV__MIN(nr, g->kk - p);
        const char *src = w->data + (size_t)(p / nr) * w->panel;
        char *to = dst + (size_t)(p * g->nr) * g->element;
        if (g->compute != FV_BF16)
            fv__pack_panel(g, to, src + (size_t)(col * nr) * g->element, nr, 1, cols, rows, (int)g->nr);
        else fv__repack_pairs(src, nr, to, g->nr, rows, col, cols);
    }
}

static int64_t fv__packed_panels_a(const fv__gemm *g) {
    return g->direct_a ? g->m % g->mr != 0 : FV__CEIL(g->m, g->mr);
}

/* Panels of A, then B's: a panel at a time; or, where the numbers of one k lie together, FV__PACK_ROWS of k
 * to all panels. */
enum { FV__PACK_ROWS = 64 };
static int fv__a_by_columns(const fv__gemm *g) { return g->a.rs == 1 && g->a.cs > 1; }
static int fv__b_by_rows(const fv__gemm *g) { return !g->w && !g->direct_b && g->b.cs == 1 && g->b.rs > 1; }
static int64_t fv__pack_jobs_a(const fv__gemm *g) {
    if (g->direct_a) return g->m % g->mr != 0;
    return fv__a_by_columns(g) ? FV__CEIL(g->kk, FV__PACK_ROWS) : FV__CEIL(g->m, g->mr);
}
static int64_t fv__pack_jobs_b(const fv__gemm *g) {
    return fv__b_by_rows(g) ? FV__CEIL(g->kk, FV__PACK_ROWS)
           : g->direct_b    ? g->n % g->nr != 0
                            : FV__CEIL(g->n, g->nr);
}
static void fv__pack_rows(const fv__gemm *g, const char *to, const void *from, int64_t stride, int64_t cols,
                          int64_t p, int64_t width) {
    fv__pack_columns(g, (char *)(uintptr_t)to + (size_t)(p * width) * g->element, fv__panel_bytes(g, width),
                     (const char *)from + (size_t)(p * stride) * g->element, stride, cols,
                     FV__MIN((int64_t)FV__PACK_ROWS, g->kk - p), (int)width);
}
static void fv__pack_job(void *arg, int job, int worker) {
    const fv__gemm *g = (const fv__gemm *)arg;
    int64_t pa = fv__pack_jobs_a(g), at = job < pa ? job : job - pa;
    (void)worker;
    if (job < pa) {
        int64_t row = (g->direct_a ? g->m / g->mr : job) * g->mr;
        if (!g->direct_a && fv__a_by_columns(g))
            fv__pack_rows(g, g->pa, g->a.data, g->a.cs, g->m, at * FV__PACK_ROWS, g->mr);
        else
            fv__pack_panel(g, (char *)(uintptr_t)g->pa + (size_t)job * fv__panel_bytes(g, g->mr),
                           (const char *)g->a.data + (size_t)(row * g->a.rs) * g->element, g->a.rs, g->a.cs,
                           (int)FV__MIN(g->mr, g->m - row), g->kk, (int)g->mr);
        return;
    }
    if (fv__b_by_rows(g)) {
        fv__pack_rows(g, g->pb, g->b.data, g->b.rs, g->n, at * FV__PACK_ROWS, g->nr);
        return;
    }
    int64_t col = (g->direct_b ? g->n / g->nr : at) * g->nr;
    int cols = (int)FV__MIN(g->nr, g->n - col);
    char *dst = (char *)(uintptr_t)g->pb + (size_t)at * fv__panel_bytes(g, g->nr);
    if (g->w) fv__repack(g, dst, col, cols);
    else
        fv__pack_panel(g, dst, (const char *)g->b.data + (size_t)(col * g->b.cs) * g->element, g->b.cs,
                       g->b.rs, cols, g->kk, (int)g->nr);
}

/* panel i of A, from k index p on: where it is and its strides, in elements (of pairs, in bf16) */
static const char *fv__panel_a(const fv__gemm *g, int64_t i, int64_t p, int64_t *rs, int64_t *cs) {
    if (g->direct_a && (i + 1) * g->mr <= g->m) {
        *rs = g->a.rs == 1 ? 1 : g->a.rs / g->unit, *cs = g->a.cs;
        return (const char *)g->a.data + (size_t)(i * g->mr * g->a.rs + p * g->a.cs) * g->element;
    }
    *rs = 1, *cs = g->mr;
    return g->pa + (size_t)(g->direct_a ? 0 : i) * fv__panel_bytes(g, g->mr) +
           (size_t)(p * g->mr) * g->element;
}
static const char *fv__panel_b(const fv__gemm *g, int64_t j, int64_t p, int64_t *ld) {
    if (g->direct_b && (j + 1) * g->nr <= g->n) {
        *ld = g->b.rs;
        return (const char *)g->b.data + (size_t)(p * g->b.rs + j * g->nr) * g->element;
    }
    *ld = g->nr;
    return g->pb + (size_t)(g->direct_b ? 0 : j) * fv__panel_bytes(g, g->nr) +
           (size_t)(p * g->nr) * g->element;
}

/* rows x cols of sums that are not stored by the tiles themselves: + residual, + or =, converted */
static void fv__gemm_store(const fv__gemm *g, char *sum, int64_t ld, int64_t row, int64_t col, int64_t rows,
                           int64_t cols) {
    fv_type acc = g->compute == FV_F64 ? FV_F64 : FV_F32;
    size_t size = fv_type_size(g->out_type), as = fv_type_size(acc);
    char wide[FV__BLOCK_N * 8];
    for (int64_t i = 0; i < rows; i++, sum += (size_t)ld * as) {
        char *out = (char *)g->out + (size_t)((row + i) * g->ldc + col) * size;
        if (g->residual) {
            const char *r = (const char *)g->residual +
                            (size_t)((row + i) * g->ldc + col) * fv_type_size(g->residual_type);
            if (g->residual_type != acc) fv__convert_by(g->k, wide, acc, r, g->residual_type, cols), r = wide;
            g->k->add(sum, sum, r, cols);
        }
        if (g->add) {
            const char *old = out;
            if (g->out_type != acc) fv__convert_by(g->k, wide, acc, out, g->out_type, cols), old = wide;
            g->k->add(sum, sum, old, cols);
        }
        fv__convert_by(g->k, out, g->out_type, sum, acc, cols);
    }
}

/* the bias of a tile; a copy where it hangs over the edge */
static const char *fv__tile_bias(const fv__gemm *g, int64_t col, size_t size, char *padded) {
    if (!g->bias) return NULL;
    const char *bias = (const char *)g->bias + (size_t)col * size;
    if (col + g->nr <= g->n) return bias;
    memset(padded, 0, (size_t)g->nr * size);
    memcpy(padded, bias, (size_t)(g->n - col) * size);
    return padded;
}

/* the slice [p,p+k) of rows [row,row+rows) of A, packed in room, panels of [slice][mr]; their sums over k are
 * added to sums (NULL: not wanted) */
static void fv__late_panels(const fv__gemm *g, int64_t row, int64_t rows, int64_t p, int64_t k, char *room,
                            double *sums) {
    size_t panel = (size_t)(g->slice * g->mr) * g->element;
    fv__pack_columns(g, room, panel, (const char *)g->a.data + (size_t)(row + p * g->a.cs) * g->element,
                     g->a.cs, rows, k, (int)g->mr);
    for (int64_t i = 0; sums && i < rows; i += g->mr, room += panel)
#ifdef FV__X86
        if (g->compute == FV_BF16)
            fv__panel_sums_bf16(sums + i, (const uint16_t *)(const void *)room, FV__ROUND_UP(k, 2));
        else
#endif
            g->k->panel_sums(sums + i, room, k);
}

/* Which block job number `job` is. Jobs walk down the rows in groups of columns whose part of B stays in the
 * last cache. */
enum { FV__GROUP_BYTES = 8 << 20 };
static void fv__block_of(const fv__gemm *g, int64_t job, int64_t *row, int64_t *col) {
    int64_t across = FV__CEIL(g->n, g->block_n), down = FV__CEIL(g->m, g->block_m);
    int64_t wide =
        FV__MAX(FV__GROUP_BYTES / (g->block_n * FV__MAX(g->kk, 1) * (int64_t)g->element), (int64_t)1);
    int64_t group = job / (wide * down), first = group * wide, in = FV__MIN(wide, across - first);
    job -= group * wide * down;
    *row = job / in * g->block_m, *col = (first + job % in) * g->block_n;
}

/* A block of C of the sums' own type: tiles are summed in place, slice after slice; bias, residual and what C
 * held come with the first. A C of bf16 gets its tiles with the last slice (narrow). All else is summed in
 * the thread's scratch, and stored from there. A panel of A stays in L1 while the block's panels of B, which
 * L2 holds, pass by. */
static void fv__block_job(void *arg, int job, int worker) {
    const fv__gemm *g = (const fv__gemm *)arg;
    int64_t row, col, rs, cs, ldb;
    fv__block_of(g, job, &row, &col);
    int64_t rows = FV__MIN(g->block_m, g->m - row), cols = FV__MIN(g->block_n, g->n - col);
    fv_type acc_type = g->compute == FV_F64 ? FV_F64 : FV_F32;
    size_t acc = fv_type_size(acc_type), size = fv_type_size(g->out_type);
    char *sum = (char *)fv__scratch(g->c, worker);
    int in_place =
        g->out_type == acc_type && !(g->add && g->residual) && (!g->residual || g->residual_type == acc_type);
    int narrow = g->compute == FV_BF16 && g->out_type == FV_BF16 && !g->add && !g->residual;
    for (int64_t p = 0; p < FV__MAX(g->kk, 1); p += g->slice) {
        int64_t k = FV__MIN(g->slice, g->kk - p);
        int to_c = in_place || (narrow && p + k == g->kk);
        for (int64_t i = 0; i < rows; i += g->mr) {
            const char *a = fv__panel_a(g, (row + i) / g->mr, p, &rs, &cs);
            for (int64_t j = 0; j < cols; j += g->nr) {
                char padded[64 * 8], *part = sum + (size_t)(i * g->block_n + j) * acc;
                const char *bias = p == 0 ? fv__tile_bias(g, col + j, acc, padded) : NULL,
                           *b = fv__panel_b(g, (col + j) / g->nr, p, &ldb);
                int64_t at = (row + i) * g->ldc + col + j;
                char *out = to_c ? (char *)g->out + (size_t)at * size : part;
                const char *from = p > 0 ? (in_place ? out : part) : NULL;
                if (in_place && p == 0 && g->add) from = out;
                else if (in_place && p == 0 && g->residual)
                    from = (const char *)g->residual + (size_t)at * acc;
                fv__tile_to(g, rows - i, cols - j, to_c, k, a, rs, cs, b, ldb, bias, from,
                            in_place ? g->ldc : g->block_n, out, to_c ? g->ldc : g->block_n, narrow && to_c);
            }
        }
    }
    if (!in_place && !narrow) fv__gemm_store(g, sum, g->block_n, row, col, rows, cols);
}

/* ---- a small C of a long k, as a weight's gradient is (k: all tokens). The parts of k are the jobs: each
 * reads its rows of A and B once, packs them slice by slice in its scratch, and sums a C of its own;
 * fv__join_job adds these up in their order. ---- */

static void fv__split_job(void *arg, int job, int worker) {
    const fv__gemm *g = (const fv__gemm *)arg;
    int64_t m = FV__ROUND_UP(g->m, g->mr), n = FV__ROUND_UP(g->n, g->nr);
    int64_t part = FV__ROUND_UP(FV__CEIL(g->kk, g->split), g->slice), first = job * part,
            end = FV__MIN(first + part, g->kk);
    size_t acc = fv_type_size(g->compute == FV_F64 ? FV_F64 : FV_F32),
           panel_b = (size_t)(g->slice * g->nr) * g->element;
    char *out = g->part + (size_t)(job * m * n) * acc, *a = (char *)fv__scratch(g->c, worker);
    char *b = a + FV__ROUND_UP((size_t)(g->slice * m) * g->element, (size_t)64);
    if (first >= end) memset(out, 0, (size_t)(m * n) * acc);
    for (int64_t p = first; p < end; p += g->slice) {
        int64_t k = FV__MIN(g->slice, end - p);
        fv__pack_columns(g, b, panel_b, (const char *)g->b.data + (size_t)(p * g->b.rs) * g->element, g->b.rs,
                         g->n, k, (int)g->nr);
        fv__late_panels(g, 0, g->m, p, k, a, g->row_sums ? g->row_sums + job * m : NULL);
        for (int64_t i = 0; i < m; i += g->mr)
            for (int64_t j = 0; j < n; j += g->nr) {
                char *o = out + (size_t)(i * n + j) * acc;
                fv__tile(g, g->mr, g->nr, k, a + (size_t)(i * g->slice) * g->element, 1, g->mr,
                         b + (size_t)(j / g->nr) * panel_b, g->nr, NULL, p > first ? o : NULL, n, o, n);
            }
    }
}
static void fv__join_job(void *arg, int job, int worker) { /* 8 rows of C from the parts */
    const fv__gemm *g = (const fv__gemm *)arg;
    int64_t m = FV__ROUND_UP(g->m, g->mr), n = FV__ROUND_UP(g->n, g->nr);
    size_t acc = fv_type_size(g->compute == FV_F64 ? FV_F64 : FV_F32);
    (void)worker;
    for (int64_t i = job * 8; i < FV__MIN(job * 8 + 8, g->m); i++) {
        char *sum = g->part + (size_t)(i * n) * acc;
        for (int64_t s = 1; s < g->split; s++) g->k->add(sum, sum, sum + (size_t)(s * m * n) * acc, n);
        for (int64_t j = 0; j < g->n; j += FV__BLOCK_N)
            fv__gemm_store(g, sum + (size_t)j * acc, n, i, j, 1, FV__MIN((int64_t)FV__BLOCK_N, g->n - j));
    }
}

/* Tile, blocks and slices for g's shape; the computing type is what the ISA has. */
static void fv__gemm_plan(fv_ctx *c, fv__gemm *g) {
    g->c = c;
    g->k = fv__kernels_for(c, g->compute);
    g->mr = fv__tile_of(g, &g->nr);
    g->unit = g->compute == FV_BF16 ? 2 : 1;
    g->element = fv_type_size(g->compute);
    int64_t slices = FV__CEIL(g->kk, FV__SLICE_K * g->unit);
    g->slice = FV__MAX(FV__ROUND_UP(FV__CEIL(g->kk, FV__MAX(slices, 1)), g->unit), g->unit);
    g->block_m = FV__MAX(FV__BLOCK_M / g->mr, 1) * g->mr;
    g->block_n = FV__BLOCK_N / g->nr * g->nr;
    while (FV__CEIL(g->m, g->block_m) * FV__CEIL(g->n, g->block_n) < 8) { /* enough jobs for some threads */
        if (g->block_m > 4 * g->mr && g->block_m >= g->block_n / 2)
            g->block_m = FV__CEIL(g->block_m / g->mr, 2) * g->mr;
        else if (g->block_n > 2 * g->nr) g->block_n = FV__CEIL(g->block_n / g->nr, 2) * g->nr;
        else if (g->block_m > 2 * g->mr) g->block_m = FV__CEIL(g->block_m / g->mr, 2) * g->mr;
        else break;
    }
}

/* An operand as the computing type, for packing: a copy in step memory when it is of another type. */
typedef struct fv__cast {
    const fv__kernels *k;
    const fv_mat *m;
    char *to;
    fv_type type;
    /* step: from a number to the next one in m, next: from a row to the next */
    int64_t rows, cols, ld, step, next;
    int64_t chunk; /* rows of a job */
    int round;
} fv__cast;
static void fv__cast_row(const fv__cast *j, int64_t row) {
    char *to = j->to + (size_t)(row * j->ld) * fv_type_size(j->type);
    const char *from = (const char *)j->m->data + (size_t)(row * j->next) * fv_type_size(j->m->type);
    if (j->step == 1) fv__convert_by(j->k, to, j->type, from, j->m->type, j->cols);
    else
        for (int64_t i = 0; i < j->cols; i++) fv__set(to, j->type, i, fv__get(from, j->m->type, i * j->step));
    if (!j->round) return; /* bf16 products where the CPU has none: rounded operands, f32 arithmetic */
    for (int64_t i = 0; i < j->cols; i++)
        ((float *)(void *)to)[i] = fv__bf16_to(fv__bf16_from(((float *)(void *)to)[i]));
}
static void fv__cast_job(void *arg, int job, int worker) {
    const fv__cast *j = (const fv__cast *)arg;
    (void)worker;
    for (int64_t row = job * j->chunk; row < FV__MIN((job + 1) * j->chunk, j->rows); row++)
        fv__cast_row(j, row);
}
FV__SELDOM
/* rows x cols: as seen by the caller. Returns the span to free, or NULL when nothing had to be copied. */
static fv__span *fv__cast_operand(fv_ctx *c, fv_mat *m, int64_t rows, int64_t cols, fv_type type, int round) {
    if (m->type == type && !(round && type == FV_F32)) return NULL;
    if (m->type == FV_BF16) round = 0;
    fv__cast j;
    int by_rows = m->cs == 1;
    j.k = fv__kernels_for(c, type), j.m = m, j.type = type, j.round = round && type == FV_F32;
    j.rows = by_rows ? rows : cols, j.cols = by_rows ? cols : rows;
    j.step = by_rows ? m->cs : m->rs, j.next = by_rows ? m->rs : m->cs;
    j.ld = FV__ROUND_UP(j.cols, 2);
    fv__span *s = fv__pool_alloc(c, (size_t)(j.rows * j.ld) * fv_type_size(type));
    if (!s) return NULL;
    j.to = s->data;
    j.chunk = FV__MAX(16384 / FV__MAX(j.cols, 1), (int64_t)1);
    fv_parallel(c, (int)FV__CEIL(j.rows, j.chunk), fv__cast_job, &j);
    m->data = s->data, m->type = type;
    m->rs = by_rows ? j.ld : 1, m->cs = by_rows ? 1 : j.ld;
    return s;
}

/* Which operands are read where they lie: packing costs a pass over the operand, and pays by order in the
 * caches when each panel is used often. Rows of A may be read in place, its columns too; of B only rows. In
 * bf16 pairs along k must lie together. */
static void fv__gemm_direct(fv__gemm *g, int pack_b) {
    int64_t cells = FV__ROUND_UP(g->m, g->mr) * FV__ROUND_UP(g->n, g->nr);
    if (g->compute == FV_BF16)
        g->direct_a = g->a.cs == 1 && g->a.rs > 2 && g->a.rs % 2 == 0 && g->kk % 2 == 0;
    else g->direct_a = g->a.cs == 1 || g->a.rs == 1;
    if (g->n > 2048 && g->kk > 768) g->direct_a = 0;
    /* rows that are whole pages apart fall on the same few lines of a cache */
    if (g->a.cs == 1 && g->a.rs * (int64_t)g->element % 4096 == 0 && g->n >= 256) g->direct_a = 0;
    g->direct_b = pack_b && !g->w && g->compute != FV_BF16 && g->b.cs == 1 && g->m <= 64;
    if (fv__a_by_columns(g) && pack_b && !g->w && g->b.cs == 1 && g->b.rs > 1 && !g->bias &&
        cells <= FV__SPLIT_C && g->kk >= 4 * FV__SLICE_K) {
        g->split = FV__SPLIT_MOST;
        g->slice = FV__ROUND_UP(FV__MAX(FV__SPLIT_BYTES / ((g->m + g->n) * (int64_t)g->element), (int64_t)64),
                                (int64_t)2);
    }
}

#ifdef FROZENVIS_CBLAS
/* A row-major matrix of which one stride is 1, as BLAS wants it: its leading dimension, 0 when it is none;
 * rows x cols. */
static int64_t fv__blas_ld(const fv_mat *m, int64_t rows, int64_t cols, int *transposed) {
    *transposed = m->cs != 1;
    int64_t ld = *transposed ? m->cs : m->rs, least = *transposed ? rows : cols;
    if (m->type != FV_F32 || (*transposed && m->rs != 1) || ld < least || ld > INT32_MAX) return 0;
    return ld;
}
/* What the product is added to: bias, residual and, with add, what the output holds. */
static void fv__blas_start(const fv__gemm *g) {
    for (int64_t i = 0; i < g->m; i++) {
        float *out = (float *)g->out + i * g->ldc;
        const float *residual = g->residual ? (const float *)g->residual + i * g->ldc : NULL;
        if (!g->add) memset(out, 0, (size_t)g->n * sizeof *out);
        if (residual) g->k->add(out, out, residual, g->n);
        if (g->bias) g->k->add(out, out, g->bias, g->n);
    }
}
/* Returns 0 where BLAS cannot do it: other types than f32, packed weights, strides that it does not know. */
static int fv__blas_product(fv__gemm *g) {
    int ta, tb;
    int64_t lda = fv__blas_ld(&g->a, g->m, g->kk, &ta), ldb = fv__blas_ld(&g->b, g->kk, g->n, &tb);
    if (g->compute != FV_F32 || g->pb || g->w || !lda || !ldb || !g->kk || g->out_type != FV_F32) return 0;
    if ((g->residual && (g->residual_type != FV_F32 || g->residual == g->out)) || g->ldc < g->n) return 0;
    if (g->m > INT32_MAX || g->n > INT32_MAX || g->kk > INT32_MAX || g->ldc > INT32_MAX) return 0;
    int more = g->add || g->residual || g->bias;
    if (more) fv__blas_start(g);
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (int)g->m,
                (int)g->n, (int)g->kk, 1, (const float *)g->a.data, (int)lda, (const float *)g->b.data,
                (int)ldb, more ? 1.f : 0.f, (float *)g->out, (int)g->ldc);
    return 1;
}
#endif

/* memory for the parts of a split product, and its jobs */
static void fv__gemm_split(fv_ctx *c, fv__gemm *g) {
    int64_t m = FV__ROUND_UP(g->m, g->mr), n = FV__ROUND_UP(g->n, g->nr);
    fv__span *part = fv__pool_alloc(c, (size_t)(g->split * m * n) * 8);
    fv__scratch_reserve(c, (size_t)(g->slice * (m + n)) * g->element + 128);
    if (c->status) return;
    g->part = part->data;
    fv_parallel(c, (int)g->split, fv__split_job, g);
    fv_parallel(c, (int)FV__CEIL(g->m, 8), fv__join_job, g);
    fv__pool_free(c, part);
}

/* The blocks' product: packs what is not read where it lies, then the jobs. */
static void fv__gemm_blocks(fv_ctx *c, fv__gemm *g, int pack_b) {
    int64_t panels_a = fv__packed_panels_a(g), panels_b = !pack_b       ? 0
                                                          : g->direct_b ? g->n % g->nr != 0
                                                                        : FV__CEIL(g->n, g->nr);
    fv__span *sa = fv__pool_alloc(c, (size_t)FV__MAX(panels_a, 1) * fv__panel_bytes(g, g->mr));
    fv__span *sb =
        pack_b ? fv__pool_alloc(c, (size_t)FV__MAX(panels_b, 1) * fv__panel_bytes(g, g->nr)) : NULL;
    fv__scratch_reserve(c, (size_t)(g->block_m * g->block_n) * 8);
    if (!c->status) {
        g->pa = sa->data;
        if (sb) g->pb = sb->data;
        fv_parallel(c, (int)(fv__pack_jobs_a(g) + (pack_b ? fv__pack_jobs_b(g) : 0)), fv__pack_job, g);
        fv_parallel(c, (int)(FV__CEIL(g->m, g->block_m) * FV__CEIL(g->n, g->block_n)), fv__block_job, g);
    }
    fv__pool_free(c, sb);
    fv__pool_free(c, sa);
}

/* The whole product; g holds operands, shape, output and epilogue; pb is set when b is packed for this very
 * product. sums [m]: gets the sums of A's rows where they cost nothing. Returns whether it did. */
static int fv__gemm_run_sums(fv_ctx *c, fv__gemm *g, double *sums) {
    if (c->device)
        fv_fail(c, FV_EUNAVAILABLE, "gemm: a context on a GPU has its products in linear and matmul");
    if (c->status || !g->m || !g->n) return 0;
    int round = g->compute == FV_BF16 && c->isa != FV_ISA_AVX512BF16;
    if (round) g->compute = FV_F32;
    fv__gemm_plan(c, g);
#ifdef FROZENVIS_CBLAS
    if (!round && fv__blas_product(g)) return 0;
#endif
    fv__span *ca = fv__cast_operand(c, &g->a, g->m, g->kk, g->compute, round), *cb = NULL, *rows = NULL;
    int pack_b = !g->pb;
    if (pack_b && !g->w) cb = fv__cast_operand(c, &g->b, g->kk, g->n, g->compute, round);
    fv__gemm_direct(g, pack_b);
    int64_t m = FV__ROUND_UP(g->m, g->mr);
    if (g->split && sums && (rows = fv__pool_alloc(c, (size_t)(g->split * m) * sizeof *sums)) != NULL) {
        g->row_sums = (double *)(void *)rows->data;
        memset(g->row_sums, 0, (size_t)(g->split * m) * sizeof *sums);
    }
    if (g->split) fv__gemm_split(c, g);
    else fv__gemm_blocks(c, g, pack_b);
    for (int64_t i = 0; rows && i < g->m; i++) {
        sums[i] = 0;
        for (int64_t s = 0; s < g->split; s++) sums[i] += g->row_sums[s * m + i];
    }
    fv__pool_free(c, rows);
    fv__pool_free(c, cb);
    fv__pool_free(c, ca);
    return rows != NULL;
}
static void fv__gemm_run(fv_ctx *c, fv__gemm *g) { fv__gemm_run_sums(c, g, NULL); }

static fv__gemm fv__gemm_of(fv_type compute, int64_t m, int64_t n, int64_t k, fv_mat a, void *out,
                            fv_type out_type, int64_t ldc, int add) {
    fv__gemm g;
    memset(&g, 0, sizeof g);
    g.compute = compute, g.m = m, g.n = n, g.kk = k, g.a = a;
    g.out = out, g.out_type = out_type, g.ldc = ldc, g.add = add;
    return g;
}

static fv_mat fv__mat(const void *data, fv_type type, int64_t rs, int64_t cs) {
    fv_mat m;
    m.data = data, m.type = type, m.rs = rs, m.cs = cs;
    return m;
}

FV_DEF void fv_gemm(fv_ctx *c, fv_type compute, int64_t m, int64_t n, int64_t k, fv_mat a, fv_mat b,
                    void *out, fv_type out_type, int64_t ldc, int add) {
    if ((compute == FV_F64) != (a.type == FV_F64) || (compute == FV_F64) != (b.type == FV_F64)) {
        fv_fail(c, FV_ESHAPE, "gemm: %s x %s cannot be computed in %s", fv_type_name(a.type),
                fv_type_name(b.type), fv_type_name(compute));
        return;
    }
    fv__gemm g = fv__gemm_of(compute, m, n, k, a, out, out_type, ldc, add);
    g.b = b;
    fv__gemm_run(c, &g);
}

/* w's panels are what this product's B is; or they are read transposed */
static void fv__gemm_use_packed(fv__gemm *g, const fv_packed *w, int transpose) {
    if (transpose) g->w = w;
    else g->pb = w->data;
}

FV_DEF void fv_gemm_packed(fv_ctx *c, int64_t m, int64_t n, int64_t k, fv_mat a, const fv_packed *w,
                           int transpose, void *out, fv_type out_type, int64_t ldc, int add) {
    fv__gemm g = fv__gemm_of(w->type, m, n, k, a, out, out_type, ldc, add);
    fv__gemm_use_packed(&g, w, transpose);
    fv__gemm_run(c, &g);
}

static void fv__packed_free(fv_ctx *c, const fv_packed *p) {
    if (!p) return;
    if (c->device) fv__device_free(c, p->data);
    else fv_free(c, p->data);
    fv_free(c, (void *)(uintptr_t)p);
}
FV_DEF size_t fv_packed_bytes(const fv_packed *w) { return w ? (size_t)FV__CEIL(w->n, w->nr) * w->panel : 0; }

static int fv__device_put(fv_ctx *c, void *to, const void *from, size_t size);
/* W [n,k] as it is, in the device's memory */
static int fv__packed_on_device(fv_ctx *c, fv_packed *w, const void *data, fv_type data_type) {
    int64_t rows = FV__MAX((4 << 20) / FV__MAX(w->k, (int64_t)1), (int64_t)1);
    size_t from = (size_t)w->k * fv_type_size(data_type);
    w->nr = 1, w->panel = (size_t)w->k * fv_type_size(w->type);
    w->data = (char *)fv__device_alloc(c, (size_t)w->n * w->panel, 0);
    char *some =
        data_type == w->type ? NULL : (char *)fv__alloc_dirty(c, (size_t)FV__MIN(rows, w->n) * w->panel + 64);
    for (int64_t i = 0; i < w->n && !c->status; i += rows) {
        int64_t n = FV__MIN(rows, w->n - i);
        const char *p = (const char *)data + (size_t)i * from;
        if (some) fv__convert(some, w->type, p, data_type, n * w->k);
        fv__device_put(c, w->data + (size_t)i * w->panel, some ? some : p, (size_t)n * w->panel);
    }
    fv_free(c, some);
    return !c->status;
}

/* W [n,k] row-major -> panels. Where the CPU has no bf16 products a bf16 weight is kept as rounded f32. */
static fv_packed *fv__packed_create(fv_ctx *c, fv_type type, int64_t n, int64_t k, const void *data,
                                    fv_type data_type) {
    fv_packed *w = (fv_packed *)fv_alloc(c, sizeof *w);
    if (!w) return NULL;
    if (c->device) {
        w->type = type, w->n = n, w->k = k;
        if (fv__packed_on_device(c, w, data, data_type)) return w;
        fv__packed_free(c, w);
        return NULL;
    }
    fv__gemm g = fv__gemm_of(type, 0, n, k, fv__mat(NULL, type, 0, 0), NULL, type, 0, 0);
    int round = type == FV_BF16 && c->isa != FV_ISA_AVX512BF16;
    if (round) g.compute = FV_F32;
    fv__gemm_plan(c, &g);
    w->type = g.compute, w->n = n, w->k = k, w->nr = g.nr, w->panel = fv__panel_bytes(&g, g.nr);
    w->data = (char *)fv__alloc_dirty(c, fv_packed_bytes(w));
    g.b = fv__mat(data, data_type, 1, k); /* as k x n */
    fv__span *s = fv__cast_operand(c, &g.b, k, n, g.compute, round);
    g.pb = w->data;
    if (!c->status) fv_parallel(c, (int)FV__CEIL(n, g.nr), fv__pack_job, &g);
    fv__pool_free(c, s);
    if (!c->status) return w;
    fv__packed_free(c, w);
    return NULL;
}

FV_DEF double fv_peak(fv_ctx *c, fv_type type) {
    float sink[16] = {0};
    double best = 0;
    const fv__kernels *k = fv__kernels_for(c, FV_F32);
    for (int round = 0; round < 7; round++) {
        double t = fv_now(), flop;
#ifdef FV__X86
        if (type == FV_BF16 && c->isa == FV_ISA_AVX512BF16) flop = fv__peak_bf16(1000000, sink);
        else
#endif
            flop = k->peak(1000000, sink);
        (void)type;
        t = fv_now() - t;
        best = FV__MAX(best, flop / t * 1e-9);
    }
    return best;
}

/* ======================================================================================================
 * >>device (implementation)
 * ====================================================================================================== */
#ifndef FROZENVIS_CUDA
/* Without CUDA no context has a device: what other sections ask of it ends here. */
static int fv__device_open(fv_ctx *c) {
    return fv_fail(c, FV_EUNAVAILABLE,
                   "device cuda: this build has no CUDA path; compile with FROZENVIS_CUDA (make cuda)");
}
static void fv__device_close(fv_ctx *c) { (void)c; }
static void fv__device_reset(fv_ctx *c) { (void)c; }
static void fv__device_record(fv_ctx *c) { (void)c; }
static void fv__device_part(fv_ctx *c) { (void)c; }
static void *fv__device_alloc(fv_ctx *c, size_t size, int pinned) {
    (void)size, (void)pinned;
    fv__device_open(c);
    return NULL;
}
static void fv__device_free(fv_ctx *c, void *p) { (void)c, (void)p; }
static int fv__device_zero(fv_ctx *c, void *p, size_t size) {
    return (void)p, (void)size, fv__device_open(c);
}
static int fv__device_put(fv_ctx *c, void *to, const void *from, size_t size) {
    return (void)to, (void)from, (void)size, fv__device_open(c);
}
static int fv__device_take(fv_ctx *c, void *to, const void *from, size_t size) {
    return (void)to, (void)from, (void)size, fv__device_open(c);
}
static int fv__device_copy(fv_ctx *c, void *to, const void *from, size_t size) {
    return (void)to, (void)from, (void)size, fv__device_open(c);
}
static fv__span *fv__device_copy_ahead(fv_ctx *c, const void *from, size_t size, size_t more) {
    return (void)from, (void)size, (void)more, fv__device_open(c), (fv__span *)NULL;
}
static void fv__device_copied(struct fv__device *d) { (void)d; }
static int fv__device_told(fv_ctx *c, int64_t resets, int wait) {
    return (void)resets, (void)wait, !c->status;
}
static fv_ctx *fv__device_context(struct fv__device *d) { return (void)d, (fv_ctx *)NULL; }
FV_DEF const char *fv_device_name(const fv_ctx *c) { return (void)c, "cpu"; }
FV_DEF void fv_sync(fv_ctx *c) { (void)c; }
#else

#ifdef __CUDACC__ /* what cuBLASLt was asked, see fv__lt_run */
typedef struct fv__lt_shape {
    int64_t m, n, k, batch, a_step, b_step, out_step, a_ld, b_ld;
    int a_turned, b_turned, operand, out, epilogue, accumulate, tf32;
} fv__lt_shape;
enum { FV__LT_SHAPES = 1024 };
typedef struct fv__lt_answer { /* and what it said, with all that a further product of that shape wants */
    fv__lt_shape shape;
    int known, works;
    cublasLtMatmulAlgo_t algo;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, out;
} fv__lt_answer;
static void fv__lt_forget(fv__lt_answer *answer);
#endif
typedef struct fv__device_block {
    void *data;
    size_t size;
    int pinned;
} fv__device_block;
enum { FV__STAGE = 8 << 20, FV__LT_WORKSPACE = 32 << 20, FV__GRAPH_PARTS = 64, FV__GRAPH_OPS = 16 };
enum { FV__FOLD_BLOCKS = 264 }; /* two for each multiprocessor of a large GPU */
struct fv__device {
    fv_ctx *c;
    cudaStream_t stream, copies; /* kernels; the input's copies, which run ahead of them */
    cudaEvent_t arrived, staged[2];
    cudaEvent_t ended[2];    /* a step of that turn was done */
    int64_t resets;          /* so many steps have ended; what is asked now is the next one's */
    int64_t lost;            /* so many recorded parts of steps were thrown away after an error */
    int awaited;             /* kernels from here on wait for all copies so far */
    fv__device_block *block; /* all that was allocated */
    int blocks, capacity;
    unsigned *folded; /* [FV__FOLD_BLOCKS], see fold; 0 but while one runs */
    char *stage;      /* pinned, two halves in turn */
    char name[256];
#ifdef FROZENVIS_NCCL
    struct fv__group *group; /* NULL: alone */
#endif
#ifdef __CUDACC__
    cublasLtHandle_t lt;
    void *workspace;
    struct fv__lt_answer *answer; /* [FV__LT_SHAPES] */
    int capturing;                /* what is started goes into a graph; see fv__device_flush */
    int part, ops;                /* of the step that is recorded; ops so far in that part */
    struct {
        cudaGraphExec_t exec;
        size_t nodes;
    } graph[2][FV__GRAPH_PARTS]; /* by turn: one is changed while the other one may still run */
#endif
};

/* An error of the runtime becomes the context's sentence. */
static int fv__cu_ok(fv_ctx *c, cudaError_t e, const char *what) {
    if (e == cudaSuccess) return 1;
    return fv_fail(c, e == cudaErrorMemoryAllocation ? FV_ENOMEM : FV_EUNAVAILABLE, "device cuda:%d: %s: %s",
                   c->desc.device_index, what, cudaGetErrorString(e));
}
static int fv__cu_started(fv_ctx *c, const char *kernel) { return fv__cu_ok(c, cudaGetLastError(), kernel); }

/* FV__START(c, grid, block, (arguments), kernel): the kernel stands last, since a template's commas part
 * macro arguments. */
#ifdef __CUDACC__
#define FV__START(c, grid, block, args, ...)                                                                 \
    do {                                                                                                     \
        if (!(c)->status) {                                                                                  \
            __VA_ARGS__<<<grid, block, 0, (c)->device->stream>>> args;                                       \
            fv__cu_started(c, #__VA_ARGS__);                                                                 \
        }                                                                                                    \
    } while (0)
#else
#define FV__START(c, grid, block, args, ...)                                                                 \
    do {                                                                                                     \
        if (!(c)->status) {                                                                                  \
            FV__EMULATE((c)->device->stream, grid, block, __VA_ARGS__) args;                                 \
            fv__cu_started(c, #__VA_ARGS__);                                                                 \
        }                                                                                                    \
    } while (0)
#endif

/* Kernels that are started from here on wait for the copies so far. */
static int fv__device_await(fv_ctx *c) {
    struct fv__device *d = c->device;
    if (d->awaited) return 1;
    d->awaited = 1;
    return fv__cu_ok(c, cudaStreamWaitEvent(d->stream, d->arrived, 0), "copying to it");
}

/* ---- graphs: from the third step on, what a step starts is recorded and sent off in parts of some ops: so
 * the GPU has the first ones to do while the host records the next, also where somebody waits for each step.
 * The last part goes at the step's end, or where the host wants a number. A recording is compared with the
 * executable graph of the step before the last, which only takes over changed arguments (addresses are the
 * same each second step, since the pools are); one of another size gets a new one. The comparison can still
 * fail where a step of other ops happens to have as many nodes: that is an answer, no error, though a tool
 * that watches the runtime's calls tells of it. Copies of the input are not recorded: they start at once,
 * beside the step before, and the graph waits for them. ---- */
#ifdef __CUDACC__
static void fv__device_record(fv_ctx *c) {
    struct fv__device *d = c->device;
    if (c->desc.no_graph || d->resets < 3 || c->status) return;
    if (fv__cu_ok(c, cudaStreamBeginCapture(d->stream, cudaStreamCaptureModeRelaxed), "recording a step"))
        d->capturing = 1, d->ops = 0;
}
/* After an error what was recorded is thrown away, since a part of a step is none. */
static int fv__device_flush(fv_ctx *c) {
    struct fv__device *d = c->device;
    cudaGraph_t graph = NULL;
    cudaGraphExecUpdateResultInfo info;
    size_t nodes = 0;
    if (!d->capturing) return !c->status;
    d->capturing = 0;
    cudaError_t e = cudaStreamEndCapture(d->stream, &graph);
    if (e == cudaSuccess) e = cudaGraphGetNodes(graph, NULL, &nodes);
    if (!c->status) fv__device_await(c);
    if (!c->status && e == cudaSuccess && nodes) {
        cudaGraphExec_t *g = &d->graph[c->turn][d->part].exec;
        size_t *held = &d->graph[c->turn][d->part].nodes;
        if (*g && (*held != nodes || cudaGraphExecUpdate(*g, graph, &info) != cudaSuccess)) {
            cudaGetLastError(); /* that answer is no error of ours */
            cudaGraphExecDestroy(*g);
            *g = NULL;
        }
        if (!*g) e = cudaGraphInstantiate(g, graph, 0);
        *held = nodes;
        if (e == cudaSuccess) e = cudaGraphLaunch(*g, d->stream);
    }
    if (graph) cudaGraphDestroy(graph);
    if (c->status || e != cudaSuccess) d->lost++;
    cudaGetLastError(); /* a failed capture is told of here and not by the next kernel */
    return !c->status && fv__cu_ok(c, e, "a step's graph");
}
/* An op has been started: with enough of them a part is sent off. */
static void fv__device_part(fv_ctx *c) {
    struct fv__device *d = c->device;
    if (!d || !d->capturing || ++d->ops < FV__GRAPH_OPS || d->part == FV__GRAPH_PARTS - 1) return;
    fv__device_flush(c);
    d->part++;
    fv__device_record(c);
}
#else
static void fv__device_record(fv_ctx *c) { (void)c; }
static int fv__device_flush(fv_ctx *c) { return !c->status; }
static void fv__device_part(fv_ctx *c) { (void)c; }
#endif

static int fv__device_check(fv_ctx *c) { /* is it there, and does its driver fit? */
    int count = 0, driver = 0, index = c->desc.device_index;
    cudaError_t e = cudaGetDeviceCount(&count);
    if (e == cudaErrorInsufficientDriver) {
        cudaDriverGetVersion(&driver);
        if (!driver)
            return fv_fail(c, FV_EUNAVAILABLE, "device cuda:%d: there is no NVIDIA driver here", index);
        return fv_fail(
            c, FV_EUNAVAILABLE,
            "device cuda:%d: the driver knows CUDA up to %d.%d, this program was built with a later one: "
            "update the driver",
            index, driver / 1000, driver % 1000 / 10);
    }
    if (e == cudaErrorNoDevice || (e == cudaSuccess && !count))
        return fv_fail(c, FV_EUNAVAILABLE, "device cuda:%d: there is no CUDA device here", index);
    if (!fv__cu_ok(c, e, "cannot be used")) return 0;
    if (index < 0 || index >= count)
        return fv_fail(c, FV_EUNAVAILABLE, "device cuda:%d: there are %d, numbered from 0", index, count);
    return 1;
}

static int fv__device_open(fv_ctx *c) {
    cudaDeviceProp p;
    if (c->status || !fv__device_check(c)) return 0;
    struct fv__device *d = (struct fv__device *)fv_alloc(c, sizeof *d);
    if (!d) return 0;
    d->c = c, c->device = d, d->awaited = 1;
    fv__cu_ok(c, cudaSetDevice(c->desc.device_index), "cannot be used");
    if (!c->status &&
        fv__cu_ok(c, cudaGetDeviceProperties(&p, c->desc.device_index), "tells nothing of itself"))
        snprintf(d->name, sizeof d->name, "%s", p.name);
    if (!c->status) fv__cu_ok(c, cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking), "a stream");
    if (!c->status) fv__cu_ok(c, cudaStreamCreateWithFlags(&d->copies, cudaStreamNonBlocking), "a stream");
    if (!c->status) fv__cu_ok(c, cudaEventCreateWithFlags(&d->arrived, cudaEventDisableTiming), "an event");
    for (int i = 0; i < 2 && !c->status; i++)
        if (fv__cu_ok(c, cudaEventCreateWithFlags(&d->staged[i], cudaEventDisableTiming), "an event"))
            fv__cu_ok(c, cudaEventCreateWithFlags(&d->ended[i], cudaEventDisableTiming), "an event");
    d->stage = (char *)fv__device_alloc(c, FV__STAGE, 1);
    d->folded = (unsigned *)fv__device_alloc(c, FV__FOLD_BLOCKS * sizeof *d->folded, 0);
    if (d->folded)
        fv__cu_ok(c, cudaMemsetAsync(d->folded, 0, FV__FOLD_BLOCKS * sizeof *d->folded, d->stream), "memory");
#ifdef __CUDACC__
    d->workspace = fv__device_alloc(c, FV__LT_WORKSPACE, 0);
    d->answer = (fv__lt_answer *)fv_alloc(c, FV__LT_SHAPES * sizeof *d->answer);
    if (!c->status && cublasLtCreate(&d->lt) != CUBLAS_STATUS_SUCCESS)
        fv_fail(c, FV_EUNAVAILABLE, "device cuda:%d: cuBLASLt cannot be used", c->desc.device_index);
#endif
    return !c->status;
}

static void fv__device_close(fv_ctx *c) {
    struct fv__device *d = c->device;
    if (!d) return;
    fv__device_flush(c);
    fv_group_leave(c);
    if (d->stream) cudaStreamSynchronize(d->stream);
    if (d->copies) cudaStreamSynchronize(d->copies);
#ifdef __CUDACC__
    for (int i = 0; i < 2 * FV__GRAPH_PARTS; i++)
        if (d->graph[i % 2][i / 2].exec) cudaGraphExecDestroy(d->graph[i % 2][i / 2].exec);
    for (int i = 0; i < FV__LT_SHAPES && d->answer; i++) fv__lt_forget(&d->answer[i]);
    if (d->lt) cublasLtDestroy(d->lt);
#endif
    while (d->blocks) fv__device_free(c, d->block[d->blocks - 1].data);
    if (d->arrived) cudaEventDestroy(d->arrived);
    for (int i = 0; i < 2; i++) {
        if (d->staged[i]) cudaEventDestroy(d->staged[i]);
        if (d->ended[i]) cudaEventDestroy(d->ended[i]);
    }
    if (d->stream) cudaStreamDestroy(d->stream);
    if (d->copies) cudaStreamDestroy(d->copies);
    c->device = NULL;
}

/* Memory of the device, or of the host where the device can copy by itself; of undefined content. NULL and
 * FV_ENOMEM. */
static void *fv__device_alloc(fv_ctx *c, size_t size, int pinned) {
    struct fv__device *d = c->device;
    void *p = NULL;
    size_t left = 0, all = 0;
    if (c->status) return NULL;
    fv__device_block *b = (fv__device_block *)fv__grow(c, d->block, d->blocks, &d->capacity, sizeof *b);
    if (!b) return NULL;
    d->block = b;
    size = FV__MAX(size, (size_t)64);
    if (c->desc.memory_limit && c->memory.now + size > c->desc.memory_limit) {
        fv__no_memory(c, size);
        return NULL;
    }
    if ((pinned ? cudaMallocHost(&p, size) : cudaMalloc(&p, size)) != cudaSuccess) {
        cudaGetLastError();
        if (!pinned) cudaMemGetInfo(&left, &all);
        fv_fail(c, FV_ENOMEM, "device cuda:%d: out of %s: %zu more bytes were wanted, %zu of %zu are free",
                c->desc.device_index, pinned ? "host memory that a device can reach" : "memory", size, left,
                all);
        return NULL;
    }
    b[d->blocks].data = p, b[d->blocks].size = size, b[d->blocks++].pinned = pinned;
    c->memory.now += size;
    c->memory.peak = FV__MAX(c->memory.peak, c->memory.now);
    if (pinned) return p;
    c->memory.device_now += size;
    c->memory.device_peak = FV__MAX(c->memory.device_peak, c->memory.device_now);
    return p;
}

static void fv__device_free(fv_ctx *c, void *p) {
    struct fv__device *d = c->device;
    int i = d ? d->blocks - 1 : -1;
    while (i >= 0 && d->block[i].data != p) i--;
    if (i < 0 || !p) return;
    fv__device_flush(c);              /* a recorded step may use it, */
    cudaStreamSynchronize(d->stream); /* and what was started before */
    if (d->block[i].pinned) cudaFreeHost(p);
    else cudaFree(p), c->memory.device_now -= d->block[i].size;
    c->memory.now -= d->block[i].size;
    d->block[i] = d->block[--d->blocks];
}

static int fv__device_zero(fv_ctx *c, void *p, size_t size) {
    return !c->status &&
           (!size || fv__cu_ok(c, cudaMemsetAsync(p, 0, size, c->device->stream), "wiping memory"));
}

/* Host memory of any origin (a mapped file) to the device, through the two pinned halves: one is filled while
 * the other is copied. */
static int fv__device_put(fv_ctx *c, void *to, const void *from, size_t size) {
    struct fv__device *d = c->device;
    const size_t half = FV__STAGE / 2;
    if (c->status || !fv__device_flush(c)) return 0;
    for (size_t at = 0, turn = 0; at < size && !c->status; at += half, turn ^= 1) {
        size_t n = FV__MIN(half, size - at);
        char *stage = d->stage + turn * half;
        if (!fv__cu_ok(c, cudaEventSynchronize(d->staged[turn]), "copying to it")) break;
        memcpy(stage, (const char *)from + at, n);
        fv__cu_ok(c, cudaMemcpyAsync((char *)to + at, stage, n, cudaMemcpyHostToDevice, d->stream),
                  "copying to it");
        if (!c->status) fv__cu_ok(c, cudaEventRecord(d->staged[turn], d->stream), "copying to it");
    }
    return !c->status;
}
/* From the device, all that was asked of it before being done. */
static int fv__device_take(fv_ctx *c, void *to, const void *from, size_t size) {
    struct fv__device *d = c->device;
    if (!fv__device_flush(c)) return 0;
    if (size)
        fv__cu_ok(c, cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToHost, d->stream), "copying from it");
    return !c->status && fv__cu_ok(c, cudaStreamSynchronize(d->stream), "a kernel");
}
/* Pinned memory to the device, in turn with the kernels. */
static int fv__device_copy(fv_ctx *c, void *to, const void *from, size_t size) {
    return !c->status &&
           (!size || fv__cu_ok(c, cudaMemcpyAsync(to, from, size, cudaMemcpyHostToDevice, c->device->stream),
                               "copying to it"));
}
/* A copy of pinned memory on the device, with room for `more` bytes behind it, until fv_reset. It is made on
 * a stream of its own: beside kernels that were started before, those of the last step too, while those
 * started from here on wait for it. No kernel knows its memory yet: nothing is freed in that pool before
 * fv_reset, and the pool's turn comes again when the step that had it is done. */
static fv__span *fv__device_copy_ahead(fv_ctx *c, const void *from, size_t size, size_t more) {
    struct fv__device *d = c->device;
    fv__span *to = fv__pool_take(c, FV__POOL_INPUT + c->turn, size + more);
    if (!to || !size) return to;
    if (!fv__cu_ok(c, cudaMemcpyAsync(to->data, from, size, cudaMemcpyHostToDevice, d->copies),
                   "copying to it") ||
        !fv__cu_ok(c, cudaEventRecord(d->arrived, d->copies), "copying to it"))
        return NULL;
    d->awaited = 0;
#ifdef __CUDACC__
    if (d->capturing) return to; /* the whole graph will wait */
#endif
    return fv__device_await(c) ? to : NULL;
}
/* Waits until all copies so far are made: the host may change what they were made of. */
static void fv__device_copied(struct fv__device *d) {
    if (!d->c->status) fv__cu_ok(d->c, cudaEventSynchronize(d->arrived), "copying to it");
}
/* A step ends: what it recorded is sent off, and the step before it is waited for, whose memory, the host's
 * and the device's, is the next one's. So the GPU has a step to do while the host prepares the next. What ops
 * make lies in one pool for all steps: a stream's kernels run in order. After an error all is waited for. */
static void fv__device_reset(fv_ctx *c) {
    struct fv__device *d = c->device;
    if (!d) return;
    fv__device_flush(c);
    if (!c->status) fv__cu_ok(c, cudaEventRecord(d->ended[c->turn], d->stream), "an event");
    c->turn ^= 1, d->resets++;
#ifdef __CUDACC__
    d->part = 0;
#endif
    if (!c->status) fv__cu_ok(c, cudaEventSynchronize(d->ended[c->turn]), "a kernel");
    if (c->status) cudaStreamSynchronize(d->copies), cudaStreamSynchronize(d->stream);
}
/* Memory of the device to pinned memory, in turn with the kernels; see fv__device_told. */
static int fv__device_send(fv_ctx *c, void *to, const void *from, size_t size) {
    return !c->status &&
           fv__cu_ok(c, cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToHost, c->device->stream),
                     "copying from it");
}
/* Whether the step after so many fv_resets is done: two later it is, since fv_reset has waited for it.
 * wait: waits for it if need be. The CPU is always done. */
static int fv__device_told(fv_ctx *c, int64_t resets, int wait) {
    struct fv__device *d = c->device;
    if (!d || resets + 2 <= d->resets) return !c->status;
    if (!wait || !fv__device_flush(c)) return 0;
    return fv__cu_ok(c,
                     resets == d->resets ? cudaStreamSynchronize(d->stream)
                                         : cudaEventSynchronize(d->ended[c->turn ^ 1]),
                     "a kernel");
}
static fv_ctx *fv__device_context(struct fv__device *d) { return d->c; }

#ifdef FROZENVIS_NCCL
/* ---- a group of GPUs. Gradients that are whole wait in a bucket; a full one is averaged on a stream of its
 * own, beside the kernels of the backward pass that follow. All members have the same tape, hence the same
 * buckets in the same order. ---- */
#ifndef FV__BUCKET
#define FV__BUCKET (4 << 20) /* bytes that are worth a launch over the links between GPUs */
#endif
enum { FV__BUCKET_MOST = 256, FV__GROUP_MEANS = 8 };
typedef struct fv__group {
    ncclComm_t comm;
    cudaStream_t stream;
    cudaEvent_t whole, done; /* gradients are ready to be averaged; they have been */
    int rank, size, count;
    size_t bytes; /* of the bucket's count gradients */
    struct {
        void *data;
        fv_type type;
        int64_t n;
    } bucket[FV__BUCKET_MOST];
    double *mean; /* on the device */
} fv__group;

static int fv__nccl_ok(fv_ctx *c, ncclResult_t r, const char *what) {
    return r == ncclSuccess || fv_fail(c, FV_EUNAVAILABLE, "device cuda:%d: in a group of GPUs, %s: %s",
                                       c->desc.device_index, what, ncclGetErrorString(r));
}
FV_DEF int fv_group_make(fv_ctx *c, fv_group_key *key) {
    ncclUniqueId id;
    if (c->status || !fv__nccl_ok(c, ncclGetUniqueId(&id), "a new one")) return 0;
    static_assert(sizeof id == sizeof *key, "a key is NCCL's");
    memcpy(key, &id, sizeof id);
    return 1;
}
FV_DEF int fv_group_join(fv_ctx *c, const fv_group_key *key, int rank, int size) {
    ncclUniqueId id;
    if (c->status || !c->device || c->device->group)
        return fv_fail(c, FV_EUSAGE, "a group of GPUs: for a GPU's context, and one that is in none");
    fv__group *g = (fv__group *)fv_alloc(c, sizeof *g);
    if (!g || !fv__device_flush(c)) return 0;
    memcpy(&id, key, sizeof id);
    g->rank = rank, g->size = size, c->device->group = g;
    c->desc.no_graph = 1; /* what NCCL does in a recorded step was never tried */
    if (fv__cu_ok(c, cudaStreamCreateWithFlags(&g->stream, cudaStreamNonBlocking), "a stream") &&
        fv__cu_ok(c, cudaEventCreateWithFlags(&g->whole, cudaEventDisableTiming), "an event") &&
        fv__cu_ok(c, cudaEventCreateWithFlags(&g->done, cudaEventDisableTiming), "an event"))
        fv__nccl_ok(c, ncclCommInitRank(&g->comm, size, id, rank), "joining");
    g->mean = (double *)fv__device_alloc(c, FV__GROUP_MEANS * sizeof(double), 0);
    return !c->status;
}
static int fv__grouped(const fv_ctx *c) { return c->device && c->device->group; }
FV_DEF int fv_group_leave(fv_ctx *c) {
    if (!fv__grouped(c)) return !c->status;
    fv__group *g = c->device->group;
    cudaStreamSynchronize(c->device->stream);
    if (g->comm && c->status) ncclCommAbort(g->comm); /* the others may be gone */
    else if (g->comm) ncclCommDestroy(g->comm);
    if (g->whole) cudaEventDestroy(g->whole);
    if (g->done) cudaEventDestroy(g->done);
    if (g->stream) cudaStreamDestroy(g->stream);
    fv__device_free(c, g->mean);
    fv_free(c, g);
    c->device->group = NULL;
    return !c->status;
}
static int fv__group_rank(const fv_ctx *c) { return fv__grouped(c) ? c->device->group->rank : 0; }
static ncclDataType_t fv__nccl_type(fv_type t) { return t == FV_F64 ? ncclFloat64 : ncclFloat32; }

static void fv__group_send(fv_ctx *c) { /* the bucket, when the kernels so far are done */
    fv__group *g = c->device->group;
    if (!g->count || c->status || !fv__cu_ok(c, cudaEventRecord(g->whole, c->device->stream), "an event") ||
        !fv__cu_ok(c, cudaStreamWaitEvent(g->stream, g->whole, 0), "an event"))
        return;
    int ok = fv__nccl_ok(c, ncclGroupStart(), "averaging gradients");
    for (int i = 0; i < g->count && ok; i++)
        ok = fv__nccl_ok(c,
                         ncclAllReduce(g->bucket[i].data, g->bucket[i].data, (size_t)g->bucket[i].n,
                                       fv__nccl_type(g->bucket[i].type), ncclAvg, g->comm, g->stream),
                         "averaging gradients");
    if (ok) fv__nccl_ok(c, ncclGroupEnd(), "averaging gradients");
    g->count = 0, g->bytes = 0;
}
/* a gradient that nothing will be added to in this backward pass */
static void fv__group_add(fv_ctx *c, void *grad, fv_type type, int64_t n) {
    fv__group *g = c->device->group;
    if (c->status || !n) return;
    g->bucket[g->count].data = grad, g->bucket[g->count].type = type, g->bucket[g->count++].n = n;
    g->bytes += (size_t)n * fv_type_size(type);
    if (g->bytes >= FV__BUCKET || g->count == FV__BUCKET_MOST) fv__group_send(c);
}
/* the backward pass is over: what is started next sees the averages */
static void fv__group_wait(fv_ctx *c) {
    if (!fv__grouped(c)) return;
    fv__group *g = c->device->group;
    fv__group_send(c);
    if (!c->status && fv__cu_ok(c, cudaEventRecord(g->done, g->stream), "an event"))
        fv__cu_ok(c, cudaStreamWaitEvent(c->device->stream, g->done, 0), "an event");
}
/* n numbers in the device's memory become their means, in turn with the kernels */
static int fv__group_average(fv_ctx *c, double *v, size_t n) {
    if (c->status || !fv__grouped(c)) return !c->status;
    fv__group *g = c->device->group;
    return fv__nccl_ok(c, ncclAllReduce(v, v, n, ncclFloat64, ncclAvg, g->comm, c->device->stream), "a mean");
}
FV_DEF int fv_group_mean(fv_ctx *c, double *v, int n) {
    if (c->status || !fv__grouped(c)) return !c->status;
    fv__group *g = c->device->group;
    size_t count = (size_t)FV__MIN(n, (int)FV__GROUP_MEANS), size = count * sizeof *v;
    return fv__device_put(c, g->mean, v, size) && fv__group_average(c, g->mean, count) &&
           fv__device_take(c, v, g->mean, size);
}
#endif
FV_DEF const char *fv_device_name(const fv_ctx *c) { return c->device ? c->device->name : "cpu"; }
FV_DEF void fv_sync(fv_ctx *c) {
    if (c->device && fv__device_flush(c)) fv__cu_ok(c, cudaStreamSynchronize(c->device->stream), "a kernel");
}

/* ---- what kernels share. C is the type of the computation, float or double; stored types are looked at when
 * the kernel runs: all threads take the same branch, and one kernel serves every mix of types. ---- */
template <class C> FV__DEV C fv__ld(const void *p, fv_type t, int64_t i) {
    if (t == FV_F32) return (C)((const float *)p)[i];
    if (t == FV_BF16) return (C)fv__bf16_to(((const uint16_t *)p)[i]);
    if (t == FV_F64) return (C)((const double *)p)[i];
    return (C)(t == FV_I32 ? ((const int32_t *)p)[i]
               : t == FV_I64 ? ((const int64_t *)p)[i]
                             : (int64_t)((const uint8_t *)p)[i]);
}
template <class C> FV__DEV void fv__st(void *p, fv_type t, int64_t i, C v) {
    if (t == FV_F32) ((float *)p)[i] = (float)v;
    else if (t == FV_BF16) ((uint16_t *)p)[i] = fv__bf16_from((float)v);
    else ((double *)p)[i] = (double)v;
}
/* v to p, or added to what is there */
template <class C> FV__DEV void fv__put(void *p, fv_type t, int64_t i, C v, int add) {
    fv__st<C>(p, t, i, add ? fv__ld<C>(p, t, i) + v : v);
}

/* four neighbours in one access; i is a multiple of 4 and p 16-byte aligned */
template <class C> FV__DEV void fv__ld4(const void *p, fv_type t, int64_t i, C v[4]) {
    if (t == FV_F32) {
        float4 x = ((const float4 *)p)[i / 4];
        v[0] = (C)x.x, v[1] = (C)x.y, v[2] = (C)x.z, v[3] = (C)x.w;
    } else if (t == FV_BF16) {
        uint2 x = ((const uint2 *)p)[i / 4];
        v[0] = (C)fv__bf16_to((uint16_t)x.x), v[1] = (C)fv__bf16_to((uint16_t)(x.x >> 16));
        v[2] = (C)fv__bf16_to((uint16_t)x.y), v[3] = (C)fv__bf16_to((uint16_t)(x.y >> 16));
    } else
        for (int k = 0; k < 4; k++) v[k] = (C)((const double *)p)[i + k];
}
/* two neighbours, the first in the low half; to the nearest, ties to even */
FV__DEV unsigned fv__bf16_pair(float low, float high) {
#ifdef __CUDA_ARCH__
    __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
    unsigned u;
    memcpy(&u, &two, sizeof u);
    return u;
#else
    return (unsigned)fv__bf16_from(low) | (unsigned)fv__bf16_from(high) << 16;
#endif
}
template <class C> FV__DEV void fv__st4(void *p, fv_type t, int64_t i, const C v[4]) {
    if (t == FV_F32) {
        float4 x;
        x.x = (float)v[0], x.y = (float)v[1], x.z = (float)v[2], x.w = (float)v[3];
        ((float4 *)p)[i / 4] = x;
    } else if (t == FV_BF16) {
        uint2 x;
        x.x = fv__bf16_pair((float)v[0], (float)v[1]), x.y = fv__bf16_pair((float)v[2], (float)v[3]);
        ((uint2 *)p)[i / 4] = x;
    } else
        for (int k = 0; k < 4; k++) ((double *)p)[i + k] = (double)v[k];
}

/* The same in two steps, for f32 and bf16: what is loaded is not looked at before all that a thread wants is
 * on its way, and memory is kept busy. */
FV__DEV uint4 fv__raw4(const void *p, fv_type t, int64_t i) {
    if (t == FV_F32) return ((const uint4 *)p)[i / 4];
    uint2 half = ((const uint2 *)p)[i / 4];
    uint4 raw = {half.x, half.y, 0, 0};
    return raw;
}
FV__DEV void fv__floats4(uint4 raw, fv_type t, float v[4]) {
    if (t != FV_F32) {
        raw.w = raw.y & 0xffff0000u, raw.z = raw.y << 16;
        raw.y = raw.x & 0xffff0000u, raw.x <<= 16;
    }
    memcpy(&v[0], &raw.x, 4), memcpy(&v[1], &raw.y, 4), memcpy(&v[2], &raw.z, 4), memcpy(&v[3], &raw.w, 4);
}
/* may that be done with p? */
static int fv__wide(const void *p, fv_type t) {
    return (t == FV_F32 || t == FV_BF16) && (uintptr_t)p % 16 == 0;
}

/* a / b by the hardware's own reciprocal, to two places of the last; 0 for a b beyond 2^126 */
FV__DEV double fv__quotient(double a, double b) { return a / b; }
FV__DEV float fv__quotient(float a, float b) {
#ifdef __CUDA_ARCH__
    asm("rcp.approx.ftz.f32 %0, %0;" : "+f"(b));
    return a * b;
#else
    return a / b;
#endif
}
FV__DEV float fv__exp2(float x) { /* 2^-22 off; what is below normal is 0 */
#ifdef __CUDA_ARCH__
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
#else
    return x < -126 ? 0 : exp2f(x);
#endif
}
/* exp(x) for x <= 0, whose error may grow with -x: it is one part of a sum with larger ones */
FV__DEV float fv__exp_below(float x) { return fv__exp2(x * 1.44269504f); }

/* all lanes, of the warp or of each half (LANES 16), get the sum, the largest (a NaN among them wins) */
template <int LANES = 32, class C> FV__DEV C fv__warp_sum(C v) {
    for (int w = LANES / 2; w; w /= 2) v += __shfl_xor_sync(0xffffffffu, v, w);
    return v;
}
template <int LANES = 32, class C> FV__DEV C fv__warp_max(C v) {
    for (int w = LANES / 2; w; w /= 2) {
        C other = __shfl_xor_sync(0xffffffffu, v, w);
        v = v != v || v > other ? v : other;
    }
    return v;
}
/* a row's threads are a warp, eight rows a block: the row of this thread */
FV__DEV int64_t fv__my_row(void) { return (int64_t)blockIdx.x * blockDim.y + threadIdx.y; }
static dim3 fv__row_block(void) { return dim3(32, 8); }
static dim3 fv__row_grid(int64_t rows) { return dim3((unsigned)FV__CEIL(rows, (int64_t)8)); }

/* ---- map: out[k][i] (+)= F(in[..][i]) for i < n, k < OUTS; F::run(m, i, in, out) sees and gives numbers of
 * type C */
typedef struct fv__map {
    const void *in[3];
    void *out[2]; /* NULL: not wanted */
    fv_type in_type[3], out_type[2];
    int ins, outs, add[2], wide;
    int64_t n, i[4]; /* i, f, table: settings for F */
    double f[2];
    const void *table[2];
} fv__map;
enum { FV__MAP_TURNS = 2, FV__MAP_TILE = 256 * 4 * FV__MAP_TURNS }; /* a block's; fours a thread takes */
template <class F, int OUTS> FV__DEV void fv__map_tile(const fv__map &m, int64_t tile) {
    uint4 in[3][FV__MAP_TURNS], old[OUTS][FV__MAP_TURNS];
    FV__CU_UNROLL
    for (int u = 0; u < FV__MAP_TURNS; u++) {
        int64_t at = tile + 4 * (256 * u + (int)threadIdx.x);
        FV__CU_UNROLL
        for (int k = 0; k < 3; k++)
            if (k < m.ins) in[k][u] = fv__raw4(m.in[k], m.in_type[k], at);
        FV__CU_UNROLL
        for (int k = 0; k < OUTS; k++)
            if (m.out[k] && m.add[k]) old[k][u] = fv__raw4(m.out[k], m.out_type[k], at);
    }
    FV__CU_UNROLL
    for (int u = 0; u < FV__MAP_TURNS; u++) {
        int64_t at = tile + 4 * (256 * u + (int)threadIdx.x);
        float x[3][4] = {{0}}, y[2][4];
        FV__CU_UNROLL
        for (int k = 0; k < 3; k++)
            if (k < m.ins) fv__floats4(in[k][u], m.in_type[k], x[k]);
        FV__CU_UNROLL
        for (int j = 0; j < 4; j++) {
            float one_in[3] = {x[0][j], x[1][j], x[2][j]}, one_out[2] = {0, 0};
            F::template run<float>(m, at + j, one_in, one_out);
            y[0][j] = one_out[0], y[1][j] = one_out[1];
        }
        FV__CU_UNROLL
        for (int k = 0; k < OUTS; k++) {
            if (!m.out[k]) continue;
            if (m.add[k]) {
                float was[4];
                fv__floats4(old[k][u], m.out_type[k], was);
                FV__CU_UNROLL
                for (int j = 0; j < 4; j++) y[k][j] += was[j];
            }
            fv__st4<float>(m.out[k], m.out_type[k], at, y[k]);
        }
    }
}
template <class C, class F, int OUTS> FV__KERNEL fv__map_k(fv__map m) {
    int64_t tile = (int64_t)blockIdx.x * FV__MAP_TILE;
    for (; tile < m.n; tile += (int64_t)gridDim.x * FV__MAP_TILE) {
        int n = m.n - tile < FV__MAP_TILE ? (int)(m.n - tile) : (int)FV__MAP_TILE;
        if (m.wide && n == FV__MAP_TILE) {
            if (sizeof(C) == sizeof(float)) fv__map_tile<F, OUTS>(m, tile);
            continue;
        }
        for (int j = (int)threadIdx.x; j < n; j += 256) {
            C in[3] = {0, 0, 0}, out[2] = {0, 0};
            FV__CU_UNROLL
            for (int k = 0; k < 3; k++)
                if (k < m.ins) in[k] = fv__ld<C>(m.in[k], m.in_type[k], tile + j);
            F::template run<C>(m, tile + j, in, out);
            FV__CU_UNROLL
            for (int k = 0; k < OUTS; k++)
                if (m.out[k]) fv__put<C>(m.out[k], m.out_type[k], tile + j, out[k], m.add[k]);
        }
    }
}
static fv__map fv__map_of(int64_t n) {
    fv__map m;
    memset(&m, 0, sizeof m);
    m.n = n;
    return m;
}
static void fv__map_in(fv__map *m, const void *p, fv_type t) { m->in[m->ins] = p, m->in_type[m->ins++] = t; }
static void fv__map_out(fv__map *m, void *p, fv_type t, int add) {
    m->out[m->outs] = p, m->out_type[m->outs] = t, m->add[m->outs++] = add;
}
template <class F, int OUTS = 1> static void fv__map_run(fv_ctx *c, fv__map m, fv_type compute) {
    dim3 grid((unsigned)FV__MIN(FV__CEIL(m.n, (int64_t)FV__MAP_TILE), (int64_t)1 << 20)), block(256);
    if (!m.n) return;
    m.wide = compute != FV_F64 && (!m.out[0] || m.out[0] != m.out[1]); /* one is not added to itself early */
    for (int k = 0; k < m.ins; k++) m.wide &= fv__wide(m.in[k], m.in_type[k]);
    for (int k = 0; k < m.outs; k++) m.wide &= fv__wide(m.out[k], m.out_type[k]); /* NULL is */
    if (compute == FV_F64) FV__START(c, grid, block, (m), fv__map_k<double, F, OUTS>);
    else FV__START(c, grid, block, (m), fv__map_k<float, F, OUTS>);
}
struct fv__copy_f {
    template <class C> FV__DEV void run(const fv__map &, int64_t, const C *in, C *out) { out[0] = in[0]; }
};
/* n numbers of one type become, or are added to, n of another */
static void fv__cu_copy(fv_ctx *c, void *to, fv_type to_type, const void *from, fv_type from_type, int64_t n,
                        int add) {
    fv__map m = fv__map_of(n);
    fv__map_in(&m, from, from_type);
    fv__map_out(&m, to, to_type, add);
    fv__map_run<fv__copy_f>(c, m, to_type == FV_F64 || from_type == FV_F64 ? FV_F64 : FV_F32);
}

/* ---- fold: sums over `count` places for each of n elements, in an order that depends on the shape alone. F
 * has SUMS of them, 1 or 2, and adds what place p of element e is worth: F::run, in double. Where four
 * neighbours can be loaded together (W is 4), F::load takes LOADS times four for elements e.., and F::add
 * adds them to sums of type F::part_t, which are of FV__FOLD_RUN places at most before they join the sums in
 * double. A block takes a strip of elements and a range of places; the last block of a strip to end,
 * whichever it is, adds up the ranges in their order. ---- */
typedef struct fv__fold_out {
    void *to[2]; /* NULL: not wanted */
    fv_type type[2];
    int add[2];
    double scale;
} fv__fold_out;
typedef struct fv__fold {
    int64_t n, count, chunk; /* places of a range */
    double *part;            /* [ranges][SUMS][n] */
    unsigned *ended;         /* per strip: its blocks that have ended, 0 again after the last one */
    fv__fold_out o;
} fv__fold;
enum {
    FV__FOLD_RUN = 8, /* places whose loads are on their way at once */
    FV__FOLD_THREADS = 256
};
template <int W> struct fv__fold_places; /* how a thread takes places p, p + step.. */
template <> struct fv__fold_places<1> {
    template <class F>
    FV__DEV void run(const F &f, int64_t e, int64_t p, int64_t end, int step, double (*sum)[1]) {
        double both[2] = {0, 0};
        for (; p < end; p += step) f.run(e, p, both);
        for (int k = 0; k < F::SUMS; k++) sum[k][0] = both[k];
    }
};
template <> struct fv__fold_places<4> {
    template <class F>
    FV__DEV void run(const F &f, int64_t e, int64_t p, int64_t end, int step, double (*sum)[4]) {
        for (; p < end; p += FV__FOLD_RUN * step) {
            uint4 raw[FV__FOLD_RUN][F::LOADS];
            typename F::part_t part[F::SUMS][4] = {{0}};
            FV__CU_UNROLL
            for (int u = 0; u < FV__FOLD_RUN; u++)
                if (p + u * step < end) f.load(e, p + u * step, raw[u]);
            FV__CU_UNROLL
            for (int u = 0; u < FV__FOLD_RUN; u++)
                if (p + u * step < end) f.add(raw[u], e, part);
            FV__CU_UNROLL
            for (int k = 0; k < F::SUMS; k++)
                for (int j = 0; j < 4; j++) sum[k][j] += (double)part[k][j];
        }
    }
};
/* a block's sums over threadIdx.y, for its threads with threadIdx.y 0 */
template <int N> FV__DEV void fv__fold_join(double *sum, double (*room)[FV__FOLD_THREADS]) {
    int t = (int)(threadIdx.y * blockDim.x + threadIdx.x);
    FV__CU_UNROLL
    for (int i = 0; i < N; i++) room[i][t] = sum[i];
    for (int half = (int)blockDim.y / 2; half; half /= 2) {
        __syncthreads();
        FV__CU_UNROLL
        for (int i = 0; i < N; i++)
            if ((int)threadIdx.y < half) room[i][t] += room[i][t + half * (int)blockDim.x];
    }
    __syncthreads();
    FV__CU_UNROLL
    for (int i = 0; i < N; i++) sum[i] = room[i][t];
}
template <class F, int W> FV__KERNEL fv__fold_k(F f, fv__fold w) {
    enum { N = F::SUMS * W };
    __shared__ double room[N][FV__FOLD_THREADS];
    __shared__ int last;
    int64_t e = W * ((int64_t)blockIdx.x * blockDim.x + threadIdx.x), from = (int64_t)blockIdx.y * w.chunk,
            end = from + w.chunk < w.count ? from + w.chunk : w.count;
    int writes = !threadIdx.y && e < w.n;
    double sum[F::SUMS][W] = {{0}};
    if (e < w.n) fv__fold_places<W>::run(f, e, from + threadIdx.y, end, (int)blockDim.y, sum);
    fv__fold_join<N>(sum[0], room);
    if (gridDim.y > 1) {
        for (int i = 0; i < N && writes; i++)
            w.part[((int64_t)blockIdx.y * F::SUMS + i / W) * w.n + e + i % W] = sum[i / W][i % W];
        __threadfence(); /* before the block counts as one that has ended */
        __syncthreads();
        if (!threadIdx.y && !threadIdx.x)
            __threadfence(), last = atomicAdd(&w.ended[blockIdx.x], 1u) == gridDim.y - 1;
        __syncthreads();
        if (!last) return;
        __threadfence();
        for (int i = 0; i < N; i++) sum[i / W][i % W] = 0;
        int ranges = e < w.n ? (int)gridDim.y : 0, step = (int)blockDim.y;
        for (int r = (int)threadIdx.y; r < ranges; r += 4 * step) {
            double v[4][N];
            FV__CU_UNROLL
            for (int u = 0; u < 4; u++)
                for (int i = 0; i < N; i++)
                    v[u][i] = r + u * step < ranges
                                  ? w.part[((r + u * step) * (int64_t)F::SUMS + i / W) * w.n + e + i % W]
                                  : 0;
            FV__CU_UNROLL
            for (int u = 0; u < 4; u++)
                for (int i = 0; i < N; i++) sum[i / W][i % W] += v[u][i];
        }
        fv__fold_join<N>(sum[0], room);
        if (!threadIdx.y && !threadIdx.x) w.ended[blockIdx.x] = 0;
    }
    for (int i = 0; i < N && writes; i++) {
        int k = i / W;
        if (w.o.to[k])
            fv__put<double>(w.o.to[k], w.o.type[k], e + i % W, sum[k][i % W] * w.o.scale, w.o.add[k]);
    }
}
template <class F, int W>
static void fv__fold_start(fv_ctx *c, F f, int64_t n, int64_t count, fv__fold_out o, int along) {
    if (c->status || !n) return;
    fv__fold w = {n, count, 0, NULL, c->device->folded, o};
    unsigned bx = 1, by;
    while (bx < 32 && bx * W < n && (!along || FV__FOLD_THREADS / bx > count)) bx *= 2;
    by = FV__FOLD_THREADS / bx;
    int64_t strips = FV__CEIL(n, (int64_t)bx * W), ranges = FV__CEIL(count, (int64_t)by * FV__FOLD_RUN);
    ranges = FV__MAX(FV__MIN(ranges, FV__FOLD_BLOCKS / strips), (int64_t)1);
    w.chunk = FV__MAX(FV__CEIL(count, ranges), (int64_t)1);
    ranges = FV__MAX(FV__CEIL(count, w.chunk), (int64_t)1);
    fv__span *part = ranges > 1 ? fv__pool_alloc(c, (size_t)(ranges * F::SUMS * n) * sizeof(double)) : NULL;
    if (part) w.part = (double *)(void *)part->data;
    FV__START(c, dim3((unsigned)strips, (unsigned)ranges), dim3(bx, by), (f, w), fv__fold_k<F, W>);
    fv__pool_free(c, part);
}
template <class F> static void fv__fold_run(fv_ctx *c, F f, int64_t n, int64_t count, fv__fold_out o) {
    fv__fold_start<F, 1>(c, f, n, count, o, 0);
}
/* wide: by fours of elements, if there are fours; along: neighbouring places are neighbours in memory */
template <class F>
static void fv__fold_wide(fv_ctx *c, F f, int64_t n, int64_t count, fv__fold_out o, int wide, int along) {
    if (wide && n % 4 == 0) fv__fold_start<F, 4>(c, f, n, count, o, 0);
    else fv__fold_start<F, 1>(c, f, n, count, o, along);
}
static fv__fold_out fv__fold_to(void *to, fv_type type, int add, double scale) {
    fv__fold_out o;
    memset(&o, 0, sizeof o);
    o.to[0] = to, o.type[0] = type, o.add[0] = add, o.scale = scale;
    return o;
}

/* ---- the product on the device: out[m,n] (+)= a[m,k] b[k,n] + bias[n] + residual[m,n], batched. Strides as
 * in fv_mat. ---- */
typedef struct fv__cu_product {
    fv_type compute; /* F32; BF16: operands rounded to bf16, sums in f32; F64 */
    int64_t m, n, k, batch;
    fv_mat a, b;
    int64_t a_step, b_step, out_step; /* elements from one matrix of the batch to the next */
    void *out;
    fv_type out_type;
    int add;
    const void *bias, *residual; /* of the computing type (f32 for bf16); of residual_type, laid out as out */
    const void *bias_rounded;    /* the bias in bf16, where out is that and it is there already; else NULL */
    fv_type residual_type;
} fv__cu_product;
enum { FV__CU_TILE = 64, FV__CU_DEPTH = 16 };
/* A block makes 64 x 64 sums, a thread 4 x 4 of them; slices of 16 along k pass through shared memory, and
 * each slice's sum is made by itself before it joins: a long sum's rounding errors grow with the number of
 * slices, not of products. The first one starts from the bias, as on the CPU and in PyTorch: before a batch
 * norm that stretches small differences, the order of roundings shows. */
template <class C> FV__KERNEL fv__gemm_k(fv__cu_product g) {
    __shared__ C a[FV__CU_DEPTH][FV__CU_TILE + 1], b[FV__CU_DEPTH][FV__CU_TILE + 1];
    int64_t row = (int64_t)blockIdx.y * FV__CU_TILE, col = (int64_t)blockIdx.x * FV__CU_TILE, z = blockIdx.z;
    int t = (int)threadIdx.x, ti = t / 16, tj = t % 16;
    C sum[4][4] = {{0}};
    for (int64_t p = 0; p < g.k; p += FV__CU_DEPTH) {
        /* neighbours in memory go to neighbouring threads */
        for (int e = t; e < FV__CU_TILE * FV__CU_DEPTH; e += 256) {
            int i = g.a.cs == 1 ? e / FV__CU_DEPTH : e % FV__CU_TILE,
                q = g.a.cs == 1 ? e % FV__CU_DEPTH : e / FV__CU_TILE;
            C v = row + i < g.m && p + q < g.k
                      ? fv__ld<C>(g.a.data, g.a.type, z * g.a_step + (row + i) * g.a.rs + (p + q) * g.a.cs)
                      : (C)0;
            a[q][i] = g.compute == FV_BF16 ? (C)fv__bf16_to(fv__bf16_from((float)v)) : v;
            int j = g.b.rs == 1 ? e / FV__CU_DEPTH : e % FV__CU_TILE;
            q = g.b.rs == 1 ? e % FV__CU_DEPTH : e / FV__CU_TILE;
            v = col + j < g.n && p + q < g.k
                    ? fv__ld<C>(g.b.data, g.b.type, z * g.b_step + (p + q) * g.b.rs + (col + j) * g.b.cs)
                    : (C)0;
            b[q][j] = g.compute == FV_BF16 ? (C)fv__bf16_to(fv__bf16_from((float)v)) : v;
        }
        __syncthreads();
        C part[4][4];
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++)
                part[i][j] = p == 0 && g.bias && col + tj + 16 * j < g.n
                                 ? ((const C *)g.bias)[col + tj + 16 * j]
                                 : (C)0;
        for (int q = 0; q < FV__CU_DEPTH; q++)
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++)
                    part[i][j] = fma(a[q][ti + 16 * i], b[q][tj + 16 * j], part[i][j]);
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) sum[i][j] += part[i][j];
        __syncthreads();
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            int64_t r = row + ti + 16 * i, s = col + tj + 16 * j, at = z * g.out_step + r * g.n + s;
            if (r >= g.m || s >= g.n) continue;
            C v = sum[i][j];
            if (g.bias && !g.k) v += ((const C *)g.bias)[s];
            if (g.residual) v += fv__ld<C>(g.residual, g.residual_type, at);
            fv__put<C>(g.out, g.out_type, at, v, g.add);
        }
}
static void fv__cu_gemm_plain(fv_ctx *c, const fv__cu_product *g) {
    for (int64_t z = 0; z < g->batch; z += 65535) { /* the grid's limit */
        fv__cu_product part = *g;
        part.batch = FV__MIN(g->batch - z, (int64_t)65535);
        part.a.data = (const char *)g->a.data + (size_t)(z * g->a_step) * fv_type_size(g->a.type);
        part.b.data = (const char *)g->b.data + (size_t)(z * g->b_step) * fv_type_size(g->b.type);
        part.out = (char *)g->out + (size_t)(z * g->out_step) * fv_type_size(g->out_type);
        if (g->residual)
            part.residual =
                (const char *)g->residual + (size_t)(z * g->out_step) * fv_type_size(g->residual_type);
        for (int64_t row = 0; row < g->m; row += 65535 * FV__CU_TILE) {
            fv__cu_product q = part;
            q.m = FV__MIN(g->m - row, (int64_t)65535 * FV__CU_TILE);
            q.a.data = (const char *)part.a.data + (size_t)(row * g->a.rs) * fv_type_size(g->a.type);
            q.out = (char *)part.out + (size_t)(row * g->n) * fv_type_size(g->out_type);
            if (part.residual)
                q.residual =
                    (const char *)part.residual + (size_t)(row * g->n) * fv_type_size(g->residual_type);
            dim3 grid((unsigned)FV__CEIL(g->n, (int64_t)FV__CU_TILE),
                      (unsigned)FV__CEIL(q.m, (int64_t)FV__CU_TILE), (unsigned)part.batch);
            if (g->compute == FV_F64) FV__START(c, grid, dim3(256), (q), fv__gemm_k<double>);
            else FV__START(c, grid, dim3(256), (q), fv__gemm_k<float>);
        }
    }
}

#ifdef __CUDACC__
/* ---- the same by cuBLASLt, which counts columns first: it is asked for out^T [n,m] = b^T a^T. Operands of
 * another type than the product's are converted first. What it was asked before it is not asked again: its
 * answer (the algorithm) is kept by shape, and the descriptions that it wants with each product. ---- */
/* A dense operand in the product's type: itself, or a copy whose span is to be freed. elements: of all of its
 * matrices */
static const void *fv__lt_operand(fv_ctx *c, const fv_mat *m, fv_type type, int64_t elements,
                                  fv__span **copy) {
    *copy = NULL;
    if (m->type == type) return m->data;
    *copy = fv__pool_alloc(c, (size_t)elements * fv_type_size(type));
    if (*copy) fv__cu_copy(c, (*copy)->data, type, m->data, m->type, elements, 0);
    return *copy ? (*copy)->data : NULL;
}
static cudaDataType_t fv__lt_type(fv_type t) { return t == FV_BF16 ? CUDA_R_16BF : CUDA_R_32F; }
static int fv__lt_ok(fv_ctx *c, cublasStatus_t r) {
    return r == CUBLAS_STATUS_SUCCESS ||
           fv_fail(c, r == CUBLAS_STATUS_ALLOC_FAILED ? FV_ENOMEM : FV_EUNAVAILABLE,
                   "device cuda:%d: a product by cuBLASLt: %s", c->desc.device_index,
                   cublasLtGetStatusString(r));
}
static int fv__lt_layout(fv_ctx *c, cublasLtMatrixLayout_t *l, fv_type t, int64_t rows, int64_t cols,
                         int64_t ld, int64_t batch, int64_t step) {
    int32_t count = (int32_t)batch;
    return fv__lt_ok(c, cublasLtMatrixLayoutCreate(l, fv__lt_type(t), (uint64_t)rows, (uint64_t)cols, ld)) &&
           fv__lt_ok(c, cublasLtMatrixLayoutSetAttribute(*l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                                         sizeof count)) &&
           fv__lt_ok(c, cublasLtMatrixLayoutSetAttribute(*l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                                         &step, sizeof step));
}
static int fv__lt_set(fv_ctx *c, cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t what,
                      const void *value, size_t size) {
    return fv__lt_ok(c, cublasLtMatmulDescSetAttribute(desc, what, value, size));
}
static void fv__lt_forget(fv__lt_answer *answer) {
    if (answer->out) cublasLtMatrixLayoutDestroy(answer->out);
    if (answer->b) cublasLtMatrixLayoutDestroy(answer->b);
    if (answer->a) cublasLtMatrixLayoutDestroy(answer->a);
    if (answer->desc) cublasLtMatmulDescDestroy(answer->desc);
    memset(answer, 0, sizeof *answer);
}
static fv__lt_answer *fv__lt_asked(struct fv__device *d, const fv__lt_shape *s) {
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < sizeof *s; i++) h = (h ^ ((const unsigned char *)s)[i]) * 1099511628211u;
    for (int i = 0; i < 16; i++) {
        fv__lt_answer *a = &d->answer[(h + (uint64_t)i) % FV__LT_SHAPES];
        if (!a->known || !memcmp(&a->shape, s, sizeof *s)) return a;
    }
    fv__lt_answer *a = &d->answer[h % FV__LT_SHAPES]; /* full here: the oldest makes room */
    fv__lt_forget(a);
    return a;
}
/* Asks for an algorithm; that the library has none is an answer too, all else is an error. */
static int fv__lt_ask(fv_ctx *c, fv__lt_answer *answer) {
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found;
    size_t room = FV__LT_WORKSPACE;
    int n = 0,
        ok = fv__lt_ok(c, cublasLtMatmulPreferenceCreate(&preference)) &&
             fv__lt_ok(c, cublasLtMatmulPreferenceSetAttribute(
                              preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room, sizeof room));
    if (ok) {
        cublasStatus_t r =
            cublasLtMatmulAlgoGetHeuristic(c->device->lt, answer->desc, answer->a, answer->b, answer->out,
                                           answer->out, preference, 1, &found, &n);
        ok = r == CUBLAS_STATUS_NOT_SUPPORTED || fv__lt_ok(c, r);
        answer->works = r == CUBLAS_STATUS_SUCCESS && n > 0 && found.state == CUBLAS_STATUS_SUCCESS;
        if (answer->works) answer->algo = found.algo;
    }
    if (preference) cublasLtMatmulPreferenceDestroy(preference);
    return ok;
}
/* Describes products of shape s and asks for the way to make them. */
static int fv__lt_learn(fv_ctx *c, fv__lt_answer *answer, const fv__lt_shape *s, const void *bias) {
    cublasOperation_t ta = s->b_turned ? CUBLAS_OP_T : CUBLAS_OP_N,
                      tb = s->a_turned ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = s->epilogue ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    fv_type operand = (fv_type)s->operand, type = (fv_type)s->out;
    int32_t bias_type = (int32_t)fv__lt_type(type);
    int ok = fv__lt_ok(
        c, cublasLtMatmulDescCreate(&answer->desc,
                                    s->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F));
    ok = ok && fv__lt_set(c, answer->desc, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta) &&
         fv__lt_set(c, answer->desc, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb) &&
         fv__lt_set(c, answer->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    if (ok && s->epilogue)
        ok = fv__lt_set(c, answer->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias) &&
             fv__lt_set(c, answer->desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias_type, sizeof bias_type);
    ok = ok &&
         fv__lt_layout(c, &answer->a, operand, s->b_turned ? s->k : s->n, s->b_turned ? s->n : s->k, s->b_ld,
                       s->batch, s->b_step) &&
         fv__lt_layout(c, &answer->b, operand, s->a_turned ? s->m : s->k, s->a_turned ? s->k : s->m, s->a_ld,
                       s->batch, s->a_step) &&
         fv__lt_layout(c, &answer->out, type, s->n, s->m, s->n, s->batch, s->out_step) &&
         fv__lt_ask(c, answer);
    answer->shape = *s, answer->known = ok;
    if (!ok) fv__lt_forget(answer);
    return ok;
}
/* One product as described; 0 when the library has no way to do it, or fails: then there is an error. Only
 * the bias, of out's type, is fused: the library's GELU epilogues are the approximation by tanh, and ours is
 * exact, by erf, as on the CPU. */
static int fv__lt_run(fv_ctx *c, const fv__lt_shape *s, const void *a, const void *b, const void *bias,
                      const void *from, void *out) {
    struct fv__device *d = c->device;
    fv__lt_answer *answer = fv__lt_asked(d, s);
    float one = 1, beta = s->accumulate ? 1.0f : 0.0f;
    int ok = answer->known || fv__lt_learn(c, answer, s, bias);
    if (!ok || !answer->works) return 0;
    if (s->epilogue) ok = fv__lt_set(c, answer->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    return ok && fv__lt_ok(c, cublasLtMatmul(d->lt, answer->desc, &one, b, answer->a, a, answer->b, &beta,
                                             from, answer->out, out, answer->out, &answer->algo, d->workspace,
                                             FV__LT_WORKSPACE, d->stream));
}
/* 1: done. Short inner dimensions are left to our kernel, whose order of roundings is PyTorch's: see
 * there. */
static int fv__cu_gemm_lt(fv_ctx *c, const fv__cu_product *g) {
    fv__lt_shape s;
    fv__span *ca = NULL, *cb = NULL, *cbias = NULL;
    if (g->compute == FV_F64 || (g->k <= 16 && g->compute == FV_F32) || g->batch > INT32_MAX ||
        g->out_type == FV_F64)
        return 0;
    memset(&s, 0, sizeof s); /* padding too: it is compared as bytes */
    s.m = g->m, s.n = g->n, s.k = g->k, s.batch = g->batch, s.a_step = g->a_step, s.b_step = g->b_step,
    s.out_step = g->out_step;
    s.a_turned = g->a.cs != 1,
    s.b_turned = g->b.cs != 1; /* as columns, a plain row-major matrix is its own transpose */
    s.a_ld = s.a_turned ? g->a.cs : g->a.rs, s.b_ld = s.b_turned ? g->b.cs : g->b.rs;
    if ((s.a_turned && g->a.rs != 1) || (s.b_turned && g->b.rs != 1)) return 0;
    if (s.a_ld < (s.a_turned ? g->m : g->k) || s.b_ld < (s.b_turned ? g->k : g->n))
        return 0; /* a dim of 1 with both strides 1 */
    s.operand = (int)g->compute, s.out = (int)g->out_type, s.tf32 = c->desc.tf32 && g->compute == FV_F32;
    int joins = g->residual && g->residual_type == g->out_type; /* else it is added afterwards */
    s.epilogue = g->bias != NULL, s.accumulate = g->add || joins;
    const void *a = fv__lt_operand(c, &g->a, g->compute, g->m * g->k * (g->a_step ? g->batch : 1), &ca);
    const void *b = fv__lt_operand(c, &g->b, g->compute, g->n * g->k * (g->b_step ? g->batch : 1), &cb);
    fv_mat row = fv__mat(g->bias, FV_F32, g->n, 1); /* the sum with it is rounded once, to out's type */
    if (g->bias_rounded) row = fv__mat(g->bias_rounded, FV_BF16, g->n, 1);
    const void *bias = g->bias ? fv__lt_operand(c, &row, g->out_type, g->n, &cbias) : NULL;
    int ok = a && b && !c->status && fv__lt_run(c, &s, a, b, bias, joins ? g->residual : g->out, g->out);
    if (ok && g->residual && !joins)
        fv__cu_copy(c, g->out, g->out_type, g->residual, g->residual_type, g->m * g->n * g->batch, 1);
    fv__pool_free(c, cbias);
    fv__pool_free(c, cb);
    fv__pool_free(c, ca);
    return ok;
}
#endif

static void fv__cu_gemm(fv_ctx *c, const fv__cu_product *g) {
    if (c->status || !g->m || !g->n || !g->batch) return;
#ifdef __CUDACC__
    if (fv__cu_gemm_lt(c, g) || c->status) return;
#endif
    fv__cu_gemm_plain(c, g);
}
static fv__cu_product fv__cu_product_of(fv_type compute, int64_t m, int64_t n, int64_t k, fv_mat a, fv_mat b,
                                        void *out, fv_type out_type, int add) {
    fv__cu_product g;
    memset(&g, 0, sizeof g);
    g.compute = compute, g.m = m, g.n = n, g.k = k, g.batch = 1, g.a = a, g.b = b;
    g.out = out, g.out_type = out_type, g.add = add;
    return g;
}
#endif /* FROZENVIS_CUDA */
#if !defined(FROZENVIS_CUDA) || !defined(FROZENVIS_NCCL)
FV_DEF int fv_group_make(fv_ctx *c, fv_group_key *key) {
    memset(key, 0, sizeof *key);
    return fv_fail(
        c, FV_EUNAVAILABLE,
        "several GPUs: this build has no NCCL; compile with FROZENVIS_CUDA and FROZENVIS_NCCL (make cuda)");
}
FV_DEF int fv_group_join(fv_ctx *c, const fv_group_key *key, int rank, int size) {
    fv_group_key none;
    return (void)key, (void)rank, (void)size, fv_group_make(c, &none);
}
FV_DEF int fv_group_mean(fv_ctx *c, double *v, int n) { return (void)v, (void)n, !c->status; }
static int fv__grouped(const fv_ctx *c) { return (void)c, 0; }
static int fv__group_rank(const fv_ctx *c) { return (void)c, 0; }
static void fv__group_add(fv_ctx *c, void *grad, fv_type type, int64_t n) {
    (void)c, (void)grad, (void)type, (void)n;
}
static void fv__group_wait(fv_ctx *c) { (void)c; }
#ifdef FROZENVIS_CUDA
static int fv__group_average(fv_ctx *c, double *v, size_t n) { return (void)v, (void)n, !c->status; }
#endif
FV_DEF int fv_group_leave(fv_ctx *c) { return !c->status; }
#endif
FV_DEF fv_device fv_device_of(const fv_ctx *c) { return c->device ? FV_CUDA : FV_CPU; }

/* ======================================================================================================
 * >>tensor (implementation)
 * ====================================================================================================== */
/* The tape: what a step made, and the memory of its structs. >>graph runs over it. */
typedef struct fv__segment {
    int first, last; /* of the nodes that a scope dropped */
} fv__segment;

enum { FV__BUMP = 256 << 10 };
typedef struct fv__tape {
    fv_tensor **made; /* every step tensor, in order */
    int count, capacity;
    fv__segment *segment;
    int segments, segment_capacity;
    char *bump[256]; /* memory of the structs */
    int bumps, bump_at;
    size_t bump_used;
    int no_grad, training, recompute;
    fv_type autocast;
    uint64_t seed, step, random_ops; /* random_ops: how many drew numbers in this step */
    fv_observer see;                 /* see fv_observe; NULL: nobody */
    void *see_user;
    int profiling;
    fv_profile_row row[FV_PROFILE_ROWS];
    int rows;
} fv__tape;

/* Zeroed bytes for a struct that dies at fv_reset. */
static void *fv__step_alloc(fv_ctx *c, size_t size) {
    fv__tape *t = c->tape;
    size = FV__ROUND_UP(size, (size_t)64);
    if (c->status || size > FV__BUMP) return NULL;
    if (t->bump_used + size > FV__BUMP) t->bump_at++, t->bump_used = 0;
    if (t->bump_at == FV__COUNT(t->bump)) {
        fv__no_memory(c, size);
        return NULL;
    }
    if (t->bump_at == t->bumps && !(t->bump[t->bumps++] = (char *)fv__alloc_dirty(c, FV__BUMP))) {
        t->bumps--;
        return NULL;
    }
    void *p = t->bump[t->bump_at] + t->bump_used;
    t->bump_used += size;
    memset(p, 0, size);
    return p;
}

FV_DEF int64_t fv_numel(const fv_tensor *t) {
    if (!t) return 0;
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->dim[i];
    return n;
}

static int fv__tape_add(fv_ctx *c, fv_tensor *y) {
    fv__tape *t = c->tape;
    fv_tensor **made = (fv_tensor **)fv__grow(c, t->made, t->count, &t->capacity, sizeof *made);
    if (!made) return 0;
    t->made = made;
    t->made[t->count++] = y;
    return 1;
}

static size_t fv__bytes(const fv_tensor *t) { return (size_t)fv_numel(t) * fv_type_size(t->type); }
static int fv__hold(fv_ctx *c, fv_tensor *y) { /* step memory for y's elements, where ops compute */
    y->data_span = fv__pool_alloc(c, fv__bytes(y));
    y->device = c->device;
    y->data = y->data_span ? y->data_span->data : NULL;
    return y->data != NULL;
}

static int fv__set_shape(fv_ctx *c, fv_tensor *t, fv_type type, int rank, const int64_t *dim) {
    int64_t n = 1;
    t->type = type == FV_TYPE_DEFAULT ? FV_F32 : type;
    if (rank < 0 || rank > FV_MAX_RANK || !fv_type_size(t->type))
        return fv_fail(c, FV_ESHAPE, "a tensor of rank %d and type %s: rank is 0 to %d", rank,
                       fv_type_name(t->type), FV_MAX_RANK);
    t->rank = rank;
    for (int i = 0; i < rank; i++) {
        if (dim[i] < 0 || (dim[i] && n > ((int64_t)1 << 56) / dim[i]))
            return fv_fail(c, FV_ESHAPE, "a tensor's dimension %d is %lld: too large or negative", i,
                           (long long)dim[i]);
        t->dim[i] = dim[i];
        n *= dim[i];
    }
    return 1;
}

FV_DEF fv_tensor *fv_new(fv_ctx *c, fv_type type, int rank, const int64_t *dim) {
    fv_tensor *t = (fv_tensor *)fv__step_alloc(c, sizeof *t);
    if (!t || !fv__set_shape(c, t, type, rank, dim) || !fv__tape_add(c, t)) return NULL;
    t->data_span = fv__host_alloc(c, fv__bytes(t));
    t->data = t->data_span ? t->data_span->data : NULL;
    return t->data ? t : NULL;
}

/* the same where ops compute, for what is made without a node */
static fv_tensor *fv__result(fv_ctx *c, fv_type type, int rank, const int64_t *dim) {
    fv_tensor *t = (fv_tensor *)fv__step_alloc(c, sizeof *t);
    return t && fv__set_shape(c, t, type, rank, dim) && fv__hold(c, t) && fv__tape_add(c, t) ? t : NULL;
}

FV_DEF fv_tensor *fv_input(fv_ctx *c, fv_type type, int rank, const int64_t *dim, const void *data,
                           int needs_grad) {
    fv_tensor *t = fv_new(c, type, rank, dim);
    if (!t) return NULL;
    memcpy(t->data, data, fv__bytes(t));
    if (needs_grad) t->flags |= FV_NEEDS_GRAD;
    return t;
}

/* zeroed memory where ops compute, until it is freed: parameters and what an optimiser keeps for them */
static void *fv__lasting_alloc(fv_ctx *c, size_t size) {
    if (!c->device) return fv_alloc(c, size);
    void *p = fv__device_alloc(c, size, 0);
    return p && fv__device_zero(c, p, size) ? p : NULL;
}
static void fv__lasting_free(fv_ctx *c, void *p) {
    if (c->device) fv__device_free(c, p);
    else fv_free(c, p);
}

FV_DEF fv_tensor *fv_constant(fv_ctx *c, const char *name, fv_type type, int rank, const int64_t *dim) {
    fv_tensor *t = (fv_tensor *)fv_alloc(c, sizeof *t);
    if (!t) return NULL;
    if (fv__set_shape(c, t, type, rank, dim)) {
        t->device = c->device;
        t->data = fv__lasting_alloc(c, fv__bytes(t));
        t->name = name ? fv__strdup(c, name) : NULL;
    }
    t->flags = FV_PARAM;
    if (!c->status) return t;
    fv_param_free(c, t);
    return NULL;
}

FV_DEF fv_tensor *fv_param(fv_ctx *c, const char *name, fv_type type, int rank, const int64_t *dim) {
    fv_tensor *t = fv_constant(c, name, type, rank, dim);
    if (t) t->flags |= FV_NEEDS_GRAD;
    return t;
}

FV_DEF void fv_param_free(fv_ctx *c, fv_tensor *t) {
    if (!t) return;
    fv__lasting_free(c, t->data);
    fv__lasting_free(c, t->grad);
    fv__lasting_free(c, t->rounded);
    fv_free(c, (void *)(uintptr_t)t->name);
    fv__packed_free(c, t->packed);
    fv_free(c, t);
}

/* t's elements are about to change: a copy of them that is on its way to a GPU is made first, and will be
 * out of date */
static void fv__will_change(fv_tensor *t) {
    if (t->copied && !t->device) fv__device_copied(t->copied);
    t->copied = NULL, t->rounded_at = 0;
}
FV_DEF int fv_read(fv_ctx *c, const fv_tensor *t, void *to) {
    if (c->status || !t) return 0;
    if (t->device) return fv__device_take(c, to, t->data, fv__bytes(t));
    if (fv__bytes(t)) memcpy(to, t->data, fv__bytes(t));
    return 1;
}
FV_DEF int fv_write(fv_ctx *c, fv_tensor *t, const void *from) {
    if (c->status || !t) return 0;
    fv__will_change(t);
    if (t->device) return fv__device_put(c, t->data, from, fv__bytes(t));
    if (fv__bytes(t)) memcpy(t->data, from, fv__bytes(t));
    return 1;
}
FV_DEF int fv_read_grad(fv_ctx *c, const fv_tensor *t, void *to) {
    if (c->status || !t) return 0;
    size_t size = (size_t)fv_numel(t) * fv_type_size(fv_grad_type(t));
    if (!t->grad || !t->grad_set) memset(to, 0, size);
    else if (c->device) return fv__device_take(c, to, t->grad, size);
    else memcpy(to, t->grad, size);
    return 1;
}

/* A tensor's elements in host memory, to be read and changed: they themselves or a copy; fv__host_done frees
 * it, and writes it back where `changed`. NULL and an error. */
static void *fv__host_view(fv_ctx *c, const fv_tensor *t) {
    if (!t->device) return t->data;
    void *p = fv__alloc_dirty(c, fv__bytes(t) + 1);
    if (!p || fv_read(c, t, p)) return p;
    fv_free(c, p);
    return NULL;
}
static void fv__host_done(fv_ctx *c, fv_tensor *t, void *p, int changed) {
    if (p && changed && t->device) fv_write(c, t, p);
    t->copied = NULL;
    if (t->device) fv_free(c, p);
}

/* What fv_get reads of a tensor on a device: of a step's tensor, which never changes, a copy of all of it,
 * made at the first call. */
FV_DEF double fv_get(const fv_tensor *t, int64_t i) {
    fv_tensor *own = (fv_tensor *)(uintptr_t)t;
    double one[1] = {0};
    size_t size = fv_type_size(t->type);
    if (!t->device) return fv__get(t->data, t->type, i);
    fv_ctx *c = fv__device_context(t->device);
    if (t->flags & FV_PARAM)
        return fv__device_take(c, one, (const char *)t->data + (size_t)i * size, size)
                   ? fv__get(one, t->type, 0)
                   : 0;
    if (!t->copied) {
        if (!t->copy_span) own->copy_span = fv__host_alloc(c, fv__bytes(t));
        if (t->copy_span && fv__device_take(c, t->copy_span->data, t->data, fv__bytes(t)))
            own->copied = t->device;
    }
    return t->copied ? fv__get(t->copy_span->data, t->type, i) : 0;
}
FV_DEF void fv_set(fv_tensor *t, int64_t i, double v) {
    double one[1];
    size_t size = fv_type_size(t->type);
    fv__will_change(t);
    if (!t->device) {
        fv__set(t->data, t->type, i, v);
        return;
    }
    fv__set(one, t->type, 0, v);
    fv__device_put(fv__device_context(t->device), (char *)t->data + (size_t)i * size, one, size);
}
FV_DEF fv_type fv_grad_type(const fv_tensor *t) {
    return t->type == FV_F64 || (t->type == FV_BF16 && !(t->flags & FV_PARAM)) ? t->type : FV_F32;
}

/* Element i of a tensor is made by f, on the host, and brought to where the tensor lies. */
static void fv__fill(fv_tensor *t, double (*f)(const fv_ctx *c, double a, uint64_t stream, int64_t i),
                     fv_ctx *c, double a, uint64_t stream) {
    int64_t n = fv_numel(t);
    if (!t) return;
    if (t->device) c = fv__device_context(t->device);
    fv__will_change(t);
    void *to = t->device ? fv__alloc_dirty(c, fv__bytes(t)) : t->data;
    for (int64_t i = 0; to && i < n; i++) fv__set(to, t->type, i, f(c, a, stream, i));
    if (!t->device) return;
    if (to) fv_write(c, t, to);
    fv_free(c, to);
}
static double fv__one_value(const fv_ctx *c, double a, uint64_t stream, int64_t i) {
    return (void)c, (void)stream, (void)i, a;
}
static double fv__one_normal(const fv_ctx *c, double std, uint64_t stream, int64_t i) {
    return (double)((float)std * fv_random_normal(c->desc.seed, stream, (uint64_t)i));
}
static double fv__one_uniform(const fv_ctx *c, double a, uint64_t stream, int64_t i) {
    return (double)((float)a * (2 * fv_random_uniform(c->desc.seed, stream, (uint64_t)i) - 1));
}
/* Numbers beyond two std are drawn again, from the same place of a stream far away. */
static double fv__one_trunc_normal(const fv_ctx *c, double std, uint64_t stream, int64_t i) {
    float x = fv_random_normal(c->desc.seed, stream, (uint64_t)i);
    for (uint64_t again = 1; fabsf(x) > 2; again++)
        x = fv_random_normal(c->desc.seed, stream + (again << 40), (uint64_t)i);
    return (double)((float)std * x);
}
FV_DEF void fv_init_fill(fv_tensor *t, double v) { fv__fill(t, fv__one_value, NULL, v, 0); }
FV_DEF void fv_init_normal(fv_ctx *c, fv_tensor *t, float std, uint64_t stream) {
    fv__fill(t, fv__one_normal, c, (double)std, stream);
}
FV_DEF void fv_init_uniform(fv_ctx *c, fv_tensor *t, float a, uint64_t stream) {
    fv__fill(t, fv__one_uniform, c, (double)a, stream);
}
FV_DEF void fv_init_trunc_normal(fv_ctx *c, fv_tensor *t, float std, uint64_t stream) {
    fv__fill(t, fv__one_trunc_normal, c, (double)std, stream);
}

FV_DEF fv_tensor *fv_pack(fv_ctx *c, const char *name, fv_type type, int64_t out, int64_t in,
                          const void *data, fv_type data_type) {
    fv_tensor *t = (fv_tensor *)fv_alloc(c, sizeof *t);
    int64_t dim[2];
    dim[0] = out, dim[1] = in;
    if (!t) return NULL;
    if (fv__set_shape(c, t, type, 2, dim)) {
        t->packed = fv__packed_create(c, t->type, out, in, data, data_type);
        t->name = name ? fv__strdup(c, name) : NULL;
    }
    t->flags = FV_PARAM;
    if (!c->status) return t;
    fv_param_free(c, t);
    return NULL;
}

/* ======================================================================================================
 * >>graph (implementation)
 * ====================================================================================================== */
/* A node is what an op remembers: what it was made from, its settings, and what the backward pass needs. */
typedef struct fv__op {
    const char *name;
    /* checks the sources; sets y's rank, dim, type. 0 and fv_fail on misfit */
    int (*shape)(fv_ctx *c, fv_tensor *y);
    void (*fwd)(fv_ctx *c, fv_tensor *y);    /* y->data is there, of undefined content */
    void (*bwd)(fv_ctx *c, fv_tensor *y);    /* adds to the gradients of the sources */
    void (*fwd_cu)(fv_ctx *c, fv_tensor *y); /* the same two on a GPU; NULL: this build has none */
    void (*bwd_cu)(fv_ctx *c, fv_tensor *y);
} fv__op;

enum { FV__MAX_SRC = 10, FV__MAX_SAVED = 4 };
typedef struct fv__node {
    const fv__op *op;
    fv_tensor *src[FV__MAX_SRC]; /* NULL: absent, where the op allows it */
    int n, view;                 /* view: y shares src[0]'s memory */
    int64_t i[FV_MAX_RANK + 8];  /* settings, as each op likes */
    double f[4];
    fv__span *saved[FV__MAX_SAVED]; /* step memory for the backward pass */
    double flop;                    /* of the forward pass, for fv_profile */
    /* of the backward pass; 0: flop for each of src[0], src[1] that wants a gradient */
    double flop_back;
    int dropped; /* FV__DROPPED: a scope freed y and saved; see fv__rematerialise */
    /* bit i: the backward pass does not read the data of src[i]; FV__UNREAD_Y: nor y's own */
    int unread;
} fv__node;
/* AGAIN: computed again for the backward pass, and freed when that has passed it. FORGOTTEN: like DROPPED,
 * but what it was made from, and what its own backward pass saved, is there */
enum { FV__DROPPED = 1, FV__AGAIN = 2, FV__FORGOTTEN = 3, FV__UNREAD_Y = 1 << 30 };
/* in a tensor's flags: another one shares its memory; see fv_spend */
enum { FV__VIEWED = 1 << 16, FV__SPENT = 1 << 17 };

static int fv__tape_start(fv_ctx *c) {
    c->tape = (fv__tape *)fv_alloc(c, sizeof *c->tape);
    if (!c->tape) return 0;
    c->tape->autocast = FV_F32;
    c->tape->seed = c->desc.seed;
    return 1;
}

static void fv__tape_clear(fv_ctx *c) {
    fv__tape *t = c->tape;
    if (!t) return;
    t->count = t->segments = t->bump_at = 0;
    t->bump_used = 0;
    t->random_ops = 0;
}

/* Memory of `bytes` that stays until the backward pass of y; in slot 0..3. NULL and FV_ENOMEM. */
static void *fv__save(fv_ctx *c, fv_tensor *y, int slot, size_t bytes) {
    fv__node *n = y->node;
    if (!n->saved[slot]) n->saved[slot] = fv__pool_alloc(c, bytes);
    return n->saved[slot] ? n->saved[slot]->data : NULL;
}
static void *fv__saved(const fv_tensor *y, int slot) {
    return y->node->saved[slot] ? y->node->saved[slot]->data : NULL;
}

static void fv__drop_saved(fv_ctx *c, fv__node *n) {
    for (int i = 0; i < FV__MAX_SAVED; i++) {
        fv__pool_free(c, n->saved[i]);
        n->saved[i] = NULL;
    }
}

static void fv__profile_add(fv_ctx *c, const char *op, fv_pass pass, double seconds, double flop) {
    fv__tape *t = c->tape;
    int i = 0;
    while (i < t->rows && (t->row[i].pass != pass || strcmp(t->row[i].op, op))) i++;
    if (i == FV_PROFILE_ROWS) return;
    if (i == t->rows) t->row[i].op = op, t->row[i].pass = pass, t->rows++;
    t->row[i].calls++;
    t->row[i].seconds += seconds;
    t->row[i].flop += flop;
}

/* The gradients' products cost as much as the product they belong to, once per operand that wants one. */
static double fv__flop_back(const fv__node *n) {
    double flop = 0;
    if (n->flop_back > 0) return n->flop_back;
    for (int i = 0; i < FV__MIN(n->n, 2); i++)
        if (n->src[i] && (n->src[i]->flags & FV_NEEDS_GRAD)) flop += n->flop;
    return flop;
}

static void fv__run(fv_ctx *c, fv_tensor *y, fv_pass pass) {
    const fv__node *n = y->node;
    double start = c->tape->profiling ? fv_now() : 0;
    const fv__op *op = n->op;
    int backward = pass == FV_PASS_BACKWARD;
    void (*f)(fv_ctx *, fv_tensor *) = c->device  ? (backward ? op->bwd_cu : op->fwd_cu)
                                       : backward ? op->bwd
                                                  : op->fwd;
    if (f) f(c, y);
    else fv_fail(c, FV_EUNAVAILABLE, "%s: this op has no kernel for a GPU", op->name);
    if (!c->tape->profiling) {
        fv__device_part(c);
        return;
    }
    fv_sync(c);
    fv__profile_add(c, op->name, pass, fv_now() - start, backward ? fv__flop_back(n) : n->flop);
}

/* A node and its tensor, not yet run: the op's public function fills settings i[], f[] and then calls
 * fv__apply. */
static fv_tensor *fv__make(fv_ctx *c, const fv__op *op, fv_tensor *const *src, int n) {
    fv_tensor *y = (fv_tensor *)fv__step_alloc(c, sizeof *y);
    fv__node *node = (fv__node *)fv__step_alloc(c, sizeof *node);
    if (!y || !node) return NULL;
    node->op = op;
    node->n = n;
    for (int i = 0; i < n; i++) node->src[i] = src[i];
    y->node = node;
    return y;
}

/* The copy on the device of a tensor that the host has filled. */
static void fv__bring(fv_ctx *c, fv_tensor *t) {
    if (c->status || !t || t->device || t->packed || t->copied) return;
    /* a new one each time: kernels may still read an older one */
    t->copy_span = fv__device_copy_ahead(c, t->data, fv__bytes(t), 0);
    if (t->copy_span) t->copied = c->device;
}
/* where an op's kernels find t's elements */
static inline void *fv__elements(const fv_tensor *t) {
    return !t ? NULL : t->device || !t->copy_span ? t->data : t->copy_span->data;
}

static fv_tensor *fv__owner(fv_tensor *t);

static fv_tensor *fv__apply(fv_ctx *c, fv_tensor *y) {
    if (c->status || !y) return NULL;
    fv__node *n = y->node;
    for (int i = 0; i < n->n; i++)
        if (n->src[i] && (n->src[i]->flags & FV_NEEDS_GRAD) && !c->tape->no_grad) y->flags |= FV_NEEDS_GRAD;
    if (!n->op->shape(c, y) || c->status || (!n->view && !fv__hold(c, y))) return NULL;
    if (!fv__tape_add(c, y)) return NULL;
    if (n->view) fv__owner(y)->flags |= FV__VIEWED;
    for (int i = 0; i < n->n && c->device; i++) fv__bring(c, n->src[i]);
    fv__run(c, y, FV_PASS_FORWARD);
    if (!(y->flags & FV_NEEDS_GRAD)) fv__drop_saved(c, n);
    return c->status ? NULL : y;
}

/* An operand that must be there: without it a NULL from an earlier failure would be taken for "absent". */
static int fv__need(fv_ctx *c, const char *op, const fv_tensor *x) {
    return c->status ? 0 : x ? 1 : fv_fail(c, FV_ESHAPE, "%s: an operand is NULL", op);
}

/* "[2,50,576] f32" for messages; four buffers in turn are the caller's */
static const char *fv__shape_text(const fv_tensor *t, char *text, size_t size) {
    size_t at = 0;
    for (int i = 0; i < t->rank && at + 32 < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%lld", i ? "," : "[", (long long)t->dim[i]);
    snprintf(text + at, size - at, "%s %s", t->rank ? "]" : "[]", fv_type_name(t->type));
    return text;
}
/* fv_fail with the shapes of two operands (b may be NULL) and what was wanted */
static int fv__shape_fail(fv_ctx *c, const char *op, const fv_tensor *a, const fv_tensor *b,
                          const char *wanted) {
    char s[128], t[128];
    return fv_fail(c, FV_ESHAPE, "%s: %s%s%s: %s", op, fv__shape_text(a, s, sizeof s), b ? " and " : "",
                   b ? fv__shape_text(b, t, sizeof t) : "", wanted);
}

/* ---- gradients ---- */
/* Where t's gradient goes: NULL when none is wanted. *first: nothing is there yet, so write; else add. */
static void *fv__grad(fv_ctx *c, fv_tensor *t, int *first) {
    if (c->status || !t || !(t->flags & FV_NEEDS_GRAD)) return NULL;
    if (!t->grad) {
        size_t bytes = (size_t)fv_numel(t) * fv_type_size(fv_grad_type(t));
        if (t->flags & FV_PARAM) t->grad = fv__lasting_alloc(c, bytes);
        else {
            t->grad_span = fv__pool_alloc(c, bytes);
            t->grad = t->grad_span ? t->grad_span->data : NULL;
        }
        if (!t->grad) return NULL;
    }
    *first = !t->grad_set;
    t->grad_set = 1;
    return t->grad;
}

static void fv__drop_data(fv_ctx *c, fv_tensor *t) {
    fv__pool_free(c, t->data_span);
    if (t->device) fv__pool_free(c, t->copy_span); /* the host's; one on the device stays until fv_reset */
    t->data_span = t->copy_span = NULL;
    t->data = NULL, t->copied = NULL;
}
static void fv__drop_grad(fv_ctx *c, fv_tensor *t) {
    fv__pool_free(c, t->grad_span);
    t->grad_span = NULL;
    t->grad = NULL;
    t->grad_set = 0;
}

/* Adds `from` (n elements of type) to t's gradient. */
static void fv__add_grad(fv_ctx *c, fv_tensor *t, const void *from, fv_type type);

/* y's gradient can become t's without a copy: t has none yet, and its own would be as large */
static int fv__gives_grad(const fv_tensor *y, const fv_tensor *t) {
    return t && (t->flags & FV_NEEDS_GRAD) && y->grad_span && !t->grad_set && !(t->flags & FV_PARAM) &&
           fv_grad_type(t) == fv_grad_type(y) && fv_numel(t) == fv_numel(y);
}
/* y's gradient becomes (part of) t's: handed over without a copy where t has none yet. The last thing a bwd
 * does with it. */
static void fv__give_grad(fv_ctx *c, fv_tensor *y, fv_tensor *t) {
    if (!t || !(t->flags & FV_NEEDS_GRAD) || !y->grad) return;
    if (!fv__gives_grad(y, t)) {
        fv__add_grad(c, t, y->grad, fv_grad_type(y));
        return;
    }
    fv__drop_grad(c, t);
    t->grad = y->grad, t->grad_span = y->grad_span, t->grad_set = 1;
    y->grad = NULL, y->grad_span = NULL, y->grad_set = 0;
}

/* ---- scopes ---- */
FV_DEF fv_scope fv_scope_begin(fv_ctx *c) {
    fv_scope s;
    s.first = c->tape ? c->tape->count : 0;
    return s;
}

/* A view's memory belongs to the tensor at the end of its chain. */
static fv_tensor *fv__owner(fv_tensor *t) {
    while (t->node && t->node->view) t = t->node->src[0];
    return t;
}

FV_DEF fv_tensor *fv_scope_end(fv_ctx *c, fv_scope s, fv_tensor *y) {
    if (c->status || !y) return NULL;
    fv__tape *t = c->tape;
    int again = !t->no_grad && t->recompute, last = t->count - 1;
    if (!t->no_grad && !again) return y;
    fv_tensor *keep = fv__owner(y);
    for (int i = s.first; i <= last; i++) {
        fv_tensor *x = t->made[i];
        /* inputs made inside stay: nothing could make them again */
        if (x == y || x == keep || !x->node) continue;
        fv__drop_saved(c, x->node);
        fv__drop_data(c, x);
        x->node->dropped = again ? FV__DROPPED : 0;
    }
    if (again) {
        fv__segment *g = (fv__segment *)fv__grow(c, t->segment, t->segments, &t->segment_capacity, sizeof *g);
        if (!g) return NULL;
        t->segment = g;
        g[t->segments].first = s.first, g[t->segments++].last = last;
    }
    return y;
}

static void fv__remember(fv_ctx *c, fv_tensor *x);

/* Runs the forward pass of the segment around node i again. */
static void fv__rematerialise(fv_ctx *c, int i) {
    fv__tape *t = c->tape;
    int first = i, last = i;
    for (int s = 0; s < t->segments; s++)
        if (t->segment[s].first <= i && i <= t->segment[s].last) {
            first = FV__MIN(first, t->segment[s].first);
            last = FV__MAX(last, t->segment[s].last);
        }
    for (int j = first; j <= last && !c->status; j++) {
        fv_tensor *x = t->made[j];
        if (!x->node || x->node->dropped != FV__DROPPED) continue;
        for (int k = 0; k < x->node->n; k++) fv__remember(c, x->node->src[k]); /* from before the segment */
        x->node->dropped = FV__AGAIN;
        if (!x->node->view && !fv__hold(c, x)) return;
        fv__run(c, x, FV_PASS_AGAIN);
        if (!(x->flags & FV_NEEDS_GRAD)) fv__drop_saved(c, x->node);
    }
}

FV_DEF void fv_forget(fv_ctx *c, fv_tensor *t) {
    if (c->status || !t || !t->node || t->node->view || t->flags & FV__VIEWED || !t->data_span) return;
    for (int i = 0; i < t->node->n; i++) /* a scope's result: what it was made from is gone */
        if (t->node->src[i] && t->node->src[i]->node && t->node->src[i]->node->dropped == FV__DROPPED) return;
    fv__drop_data(c, t);
    t->node->dropped = c->tape->no_grad ? 0 : FV__FORGOTTEN;
}

FV_DEF void fv_spend(fv_tensor *t) {
    if (t && t->node) t->flags |= FV__SPENT;
}

/* x's data, made again if it was forgotten, from sources made again if need be */
static void fv__remember(fv_ctx *c, fv_tensor *x) {
    if (!x || !x->node || x->node->dropped != FV__FORGOTTEN || c->status) return;
    for (int i = 0; i < x->node->n; i++) fv__remember(c, x->node->src[i]);
    if (!fv__hold(c, x)) return;
    x->node->dropped = FV__AGAIN;
    double start = c->tape->profiling ? fv_now() : 0;
    (c->device ? x->node->op->fwd_cu : x->node->op->fwd)(c, x); /* it ran before, so it is there */
    if (!(x->flags & FV_NEEDS_GRAD)) fv__drop_saved(c, x->node);
    if (c->tape->profiling) fv__profile_add(c, x->node->op->name, FV_PASS_BACKWARD, fv_now() - start, 0);
}
/* all that x's backward pass reads */
static void fv__remember_for(fv_ctx *c, fv_tensor *x) {
    const fv__node *n = x->node;
    for (int i = 0; i < n->n; i++)
        if (!(n->unread >> i & 1)) fv__remember(c, n->src[i]);
    if (!(n->unread & FV__UNREAD_Y)) fv__remember(c, x);
}

/* ---- backward ---- */
/* A scope's result stays, but what it was made from may be gone. */
static int fv__needs_again(const fv__node *n) {
    int gone = n->dropped == FV__DROPPED;
    for (int i = 0; i < n->n; i++)
        if (n->src[i] && n->src[i]->node && n->src[i]->node->dropped == FV__DROPPED) gone = 1;
    return gone;
}

/* In a group of GPUs: a parameter's gradient is whole when the backward pass has come to the parameter's
 * first reader. */
static void fv__find_first_uses(const fv__tape *t, int last) {
    for (int i = last; i >= 0; i--)
        for (int k = 0; t->made[i]->node && k < t->made[i]->node->n; k++)
            if (t->made[i]->node->src[k]) t->made[i]->node->src[k]->first_use = i;
}
static void fv__reduce_whole(fv_ctx *c, const fv__node *n, int i) {
    for (int k = 0; k < n->n; k++) {
        fv_tensor *p = n->src[k];
        if (!p || !(p->flags & FV_PARAM) || !p->grad_set || p->first_use != i) continue;
        fv__group_add(c, p->grad, fv_grad_type(p), fv_numel(p));
        p->first_use = -1; /* a node may read it twice */
    }
}

static void fv__backward_walk(fv_ctx *c, fv_tensor *y) {
    fv__tape *t = c->tape;
    int i = t->count - 1, grouped = fv__grouped(c);
    while (i >= 0 && t->made[i] != y) i--;
    if (grouped) fv__find_first_uses(t, i);
    for (; i >= 0 && !c->status; i--) {
        fv_tensor *x = t->made[i];
        if (!x->node) continue;
        if (x->grad_set && fv__needs_again(x->node)) fv__rematerialise(c, i);
        int spent = x->node->dropped == FV__AGAIN || x->flags & FV__SPENT;
        if (x->grad_set) {
            fv__remember_for(c, x);
            if (spent && x->node->unread & FV__UNREAD_Y) fv__drop_data(c, x);
            fv__run(c, x, FV_PASS_BACKWARD);
            fv__drop_saved(c, x->node);
            fv__drop_grad(c, x);
        }
        if (grouped) fv__reduce_whole(c, x->node, i);
        if (!spent && x->node->dropped != FV__AGAIN) continue;
        fv__drop_saved(c, x->node);
        fv__drop_data(c, x);
    }
}

FV_DEF void fv_backward_from(fv_ctx *c, fv_tensor *y, const void *grad) {
    int first;
    if (!fv__need(c, "backward", y)) return;
    if (!(y->flags & FV_NEEDS_GRAD)) {
        fv_fail(c, FV_EUSAGE, "backward: nothing here needs a gradient; was fv_no_grad left on?");
        return;
    }
    void *g = fv__grad(c, y, &first);
    if (!g) return;
    size_t size = (size_t)fv_numel(y) * fv_type_size(fv_grad_type(y));
    /* stays until fv_reset: a recorded step copies it later */
    fv__span *s = c->device ? fv__host_alloc(c, size) : NULL;
    if (s) memcpy(s->data, grad, size), fv__device_copy(c, g, s->data, size);
    else if (!c->device) memcpy(g, grad, size);
    fv__backward_walk(c, y);
    fv__group_wait(c);
}

FV_DEF void fv_backward(fv_ctx *c, fv_tensor *loss) {
    double one[1];
    if (!fv__need(c, "backward", loss)) return;
    if (fv_numel(loss) != 1) {
        fv__shape_fail(c, "backward", loss, NULL, "a loss has one element");
        return;
    }
    fv__set(one, fv_grad_type(loss), 0, 1.0);
    fv_backward_from(c, loss, one);
}

static int fv__swap_int(int *where, int value) {
    int was = *where;
    if (value >= 0) *where = value;
    return was;
}
FV_DEF int fv_no_grad(fv_ctx *c, int on) { return c->tape ? fv__swap_int(&c->tape->no_grad, on) : 0; }
FV_DEF int fv_training(fv_ctx *c, int on) { return c->tape ? fv__swap_int(&c->tape->training, on) : 0; }
FV_DEF int fv_recompute(fv_ctx *c, int on) { return c->tape ? fv__swap_int(&c->tape->recompute, on) : 0; }
FV_DEF fv_type fv_autocast(fv_ctx *c, fv_type type) {
    if (!c->tape) return FV_F32;
    fv_type was = c->tape->autocast;
    if (type == FV_F32 || type == FV_BF16) c->tape->autocast = type;
    else fv_fail(c, FV_EUSAGE, "autocast: %s is not f32 or bf16", fv_type_name(type));
    return was;
}
FV_DEF void fv_seed(fv_ctx *c, uint64_t seed, uint64_t step) {
    if (c->tape) c->tape->seed = seed, c->tape->step = step, c->tape->random_ops = 0;
}

FV_DEF int fv_profile(fv_ctx *c, fv_profile_row *rows, int most) {
    int n = c->tape ? FV__MIN(most, c->tape->rows) : 0;
    for (int i = 0; i < n; i++) rows[i] = c->tape->row[i];
    return n;
}
FV_DEF void fv_profile_reset(fv_ctx *c, int on) {
    if (!c->tape) return;
    memset(c->tape->row, 0, sizeof c->tape->row);
    c->tape->rows = 0;
    c->tape->profiling = on;
}
FV_DEF int fv_profile_on(fv_ctx *c, int on) { return c->tape ? fv__swap_int(&c->tape->profiling, on) : 0; }

/* ---- gradient check ---- */
static double fv__loss_value(fv_ctx *c, fv_loss_fn f, void *user, fv_tensor **t) {
    fv_scope s = fv_scope_begin(c);
    fv__tape *tape = c->tape;
    int was = fv_no_grad(c, 1), bump_at = tape->bump_at;
    size_t bump_used = tape->bump_used;
    tape->random_ops = 0;
    fv_tensor *y = f(c, user, t);
    double v = y ? fv_get(y, 0) : NAN;
    if (y) {
        fv_scope_end(c, s, y);
        fv__drop_data(c, fv__owner(y));
        /* forget the tensors too, or thousands of calls would pile up */
        tape->count = s.first, tape->bump_at = bump_at, tape->bump_used = bump_used;
    }
    fv_no_grad(c, was);
    return v;
}

/* The tensors' analytic gradients, copied out; NULL on failure. */
static double *fv__analytic(fv_ctx *c, fv_loss_fn f, void *user, fv_tensor **t, int n) {
    int64_t total = 0;
    for (int i = 0; i < n; i++) total += fv_numel(t[i]), t[i]->grad_set = 0;
    double *g = (double *)fv_alloc(c, (size_t)total * sizeof *g), *at = g;
    c->tape->random_ops = 0;
    fv_tensor *y = f(c, user, t);
    if (y) fv_backward(c, y);
    for (int i = 0; i < n && !c->status; i++) fv_read_grad(c, t[i], at), at += fv_numel(t[i]);
    if (!c->status) return g;
    fv_free(c, g);
    return NULL;
}

FV_DEF double fv_gradcheck(fv_ctx *c, fv_loss_fn f, void *user, fv_tensor **t, int n, int samples) {
    const double h = 1e-5;
    double worst = 0;
    for (int i = 0; i < n; i++)
        if (fv__need(c, "gradcheck", t[i]) && t[i]->type != FV_F64)
            fv__shape_fail(c, "gradcheck", t[i], NULL, "f64 wanted");
    double *g = c->status ? NULL : fv__analytic(c, f, user, t, n), *at = g;
    for (int i = 0; i < n && !c->status; i++) {
        int64_t count = fv_numel(t[i]), stride = samples > 0 && count > samples ? count / samples : 1;
        double scale = 1e-3;
        for (int64_t j = 0; j < count; j++) scale = FV__MAX(scale, fabs(at[j]));
        for (int64_t j = 0; j < count && !c->status; j += stride) {
            double was = fv_get(t[i], j);
            fv_set(t[i], j, was + h);
            double up = fv__loss_value(c, f, user, t);
            fv_set(t[i], j, was - h);
            double down = fv__loss_value(c, f, user, t);
            fv_set(t[i], j, was);
            double error = fabs((up - down) / (2 * h) - at[j]) / scale;
            if (!(error <= worst) && worst == worst) worst = error; /* a NaN stays */
        }
        at += count;
    }
    fv_free(c, g);
    return c->status ? -1 : worst;
}

/* ======================================================================================================
 * >>ops (implementation)
 * ====================================================================================================== */
/* ---- what all ops share: rows of up to four inputs and three outputs, cut into fixed chunks for the
 * threads. Row functions see T (f32 or f64) only: bf16 is converted to and from a thread's scratch, and an
 * output that adds to a gradient goes through scratch too, in pieces that stay in L1. ---- */
enum { FV__MAX_IN = 4, FV__MAX_OUT = 3, FV__PIECE = 2048, FV__JOB_PIECES = 4 };

typedef struct fv__rows {
    /* the function: n rows from row `row` on; in[i], out[i] point at that row; columns as set below */
    void (*fn)(const struct fv__rows *r, const void *const *in, void *const *out, int64_t row, int64_t n);
    const fv_tensor *y; /* for its settings and saved buffers */
    const fv__kernels *k;
    fv_type compute; /* FV_F32 or FV_F64 */
    int64_t rows;
    int ins, outs;
    const void *in[FV__MAX_IN];
    fv_type in_type[FV__MAX_IN];
    int64_t in_cols[FV__MAX_IN];
    void *out[FV__MAX_OUT]; /* NULL: not wanted (then fn gets NULL) */
    fv_type out_type[FV__MAX_OUT];
    int64_t out_cols[FV__MAX_OUT];
    int add[FV__MAX_OUT]; /* 1: add to what is there */
    /* set by fv__run_rows */
    fv_ctx *c;
    int64_t chunk, piece; /* rows of a job, and of one call of fn */
} fv__rows;

static fv_type fv__compute_type(fv_type t) { return t == FV_F64 ? FV_F64 : FV_F32; }

static void fv__rows_in(fv__rows *r, const void *data, fv_type type, int64_t cols) {
    r->in[r->ins] = data, r->in_type[r->ins] = type, r->in_cols[r->ins++] = cols;
}
static void fv__rows_out(fv__rows *r, void *data, fv_type type, int64_t cols, int add) {
    r->out[r->outs] = data, r->out_type[r->outs] = type, r->out_cols[r->outs] = cols, r->add[r->outs++] = add;
}
/* the gradient of t as an output; nothing is written when t wants none */
static void fv__rows_grad(fv_ctx *c, fv__rows *r, fv_tensor *t, int64_t cols) {
    int first = 1;
    void *g = fv__grad(c, t, &first);
    fv__rows_out(r, g, t ? fv_grad_type(t) : FV_F32, cols, !first);
}

static void fv__rows_piece(const fv__rows *r, int64_t row, int64_t n, char *scratch) {
    size_t size = fv_type_size(r->compute);
    const void *in[FV__MAX_IN] = {NULL, NULL, NULL, NULL};
    void *out[FV__MAX_OUT] = {NULL, NULL, NULL};
    for (int i = 0; i < r->ins; i++) {
        const char *p = (const char *)r->in[i] + (size_t)(row * r->in_cols[i]) * fv_type_size(r->in_type[i]);
        if (r->in_type[i] != r->compute && r->in[i]) {
            fv__convert_by(r->k, scratch, r->compute, p, r->in_type[i], n * r->in_cols[i]);
            p = scratch;
            scratch += FV__ROUND_UP((size_t)(r->piece * r->in_cols[i]) * size, (size_t)64);
        }
        in[i] = r->in[i] ? p : NULL;
    }
    for (int i = 0; i < r->outs; i++) {
        if (!r->out[i]) continue;
        out[i] = (char *)r->out[i] + (size_t)(row * r->out_cols[i]) * fv_type_size(r->out_type[i]);
        if (r->out_type[i] == r->compute && !r->add[i]) continue;
        out[i] = scratch;
        scratch += FV__ROUND_UP((size_t)(r->piece * r->out_cols[i]) * size, (size_t)64);
    }
    r->fn(r, in, out, row, n);
    for (int i = 0; i < r->outs; i++) {
        if (!r->out[i] || (r->out_type[i] == r->compute && !r->add[i])) continue;
        char *to = (char *)r->out[i] + (size_t)(row * r->out_cols[i]) * fv_type_size(r->out_type[i]);
        int64_t count = n * r->out_cols[i];
        if (!r->add[i]) fv__convert_by(r->k, to, r->out_type[i], out[i], r->compute, count);
        else if (r->out_type[i] == r->compute) r->k->add(to, to, out[i], count);
        else { /* through scratch, in the computing type */
            fv__convert_by(r->k, scratch, r->compute, to, r->out_type[i], count);
            r->k->add(scratch, scratch, out[i], count);
            fv__convert_by(r->k, to, r->out_type[i], scratch, r->compute, count);
        }
    }
}

static void fv__rows_job(void *arg, int job, int worker) {
    const fv__rows *r = (const fv__rows *)arg;
    int64_t end = FV__MIN((job + 1) * r->chunk, r->rows);
    for (int64_t row = job * r->chunk; row < end; row += r->piece)
        fv__rows_piece(r, row, FV__MIN(r->piece, end - row), (char *)fv__scratch(r->c, worker));
}

static void fv__run_rows(fv_ctx *c, fv__rows *r) {
    int64_t cols = 1, all = 0;
    for (int i = 0; i < r->ins; i++) cols = FV__MAX(cols, r->in_cols[i]), all += r->in_cols[i];
    for (int i = 0; i < r->outs; i++) cols = FV__MAX(cols, r->out_cols[i]), all += r->out_cols[i];
    r->c = c;
    r->piece = FV__MAX((int64_t)FV__PIECE / cols, (int64_t)1), r->chunk = FV__JOB_PIECES * r->piece;
    if (!r->k) r->k = fv__kernels_for(c, r->compute);
    fv__scratch_reserve(c, (size_t)(r->piece * (all + cols)) * fv_type_size(r->compute) + 64 * 9);
    if (c->status || !r->rows) return;
    fv_parallel(c, (int)FV__CEIL(r->rows, r->chunk), fv__rows_job, r);
}

/* x [rows, cols] elementwise helper: a job with the type of the computation set */
static fv__rows fv__rows_of(const fv_tensor *y, int64_t rows,
                            void (*fn)(const fv__rows *, const void *const *, void *const *, int64_t,
                                       int64_t)) {
    fv__rows r;
    memset(&r, 0, sizeof r);
    r.fn = fn, r.y = y, r.rows = rows, r.compute = fv__compute_type(y->type);
    return r;
}

static void fv__copy_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                          int64_t n) {
    (void)row;
    memcpy(out[0], in[0], (size_t)(n * r->in_cols[0]) * fv_type_size(r->compute));
}
static void fv__add_grad(fv_ctx *c, fv_tensor *t, const void *from, fv_type type) {
    if (!t || !(t->flags & FV_NEEDS_GRAD) || c->status) return;
#ifdef FROZENVIS_CUDA
    if (c->device) {
        int first = 1;
        void *g = fv__grad(c, t, &first);
        if (g) fv__cu_copy(c, g, fv_grad_type(t), from, type, fv_numel(t), !first);
        return;
    }
#endif
    fv__rows r = fv__rows_of(t, fv_numel(t), fv__copy_rows);
    r.compute = fv__compute_type(fv_grad_type(t));
    fv__rows_in(&r, from, type, 1);
    fv__rows_grad(c, &r, t, 1);
    if (r.out[0]) fv__run_rows(c, &r);
}

static int64_t fv__last(const fv_tensor *t) { return t->rank ? t->dim[t->rank - 1] : 1; }
static int64_t fv__rows_count(const fv_tensor *t) { return fv__last(t) ? fv_numel(t) / fv__last(t) : 0; }
/* y takes x's shape, with this type */
static int fv__like(fv_tensor *y, const fv_tensor *x, fv_type type) {
    y->rank = x->rank, y->type = type;
    for (int i = 0; i < x->rank; i++) y->dim[i] = x->dim[i];
    return 1;
}
static fv_type fv__promote(fv_type a, fv_type b) { /* f64 over f32 over bf16 */
    if (a == FV_F64 || b == FV_F64) return FV_F64;
    return a == FV_BF16 && b == FV_BF16 ? FV_BF16 : FV_F32;
}
static int fv__is_float(const fv_tensor *t) {
    return t->type == FV_F32 || t->type == FV_F64 || t->type == FV_BF16;
}

#ifdef FROZENVIS_CUDA
/* ---- the same on a GPU: the gradient of t as an output of a map; whether any output is wanted; t's gradient
 * wiped where new ---- */
static void fv__map_grad(fv_ctx *c, fv__map *m, fv_tensor *t) {
    int first = 1;
    void *g = fv__grad(c, t, &first);
    fv__map_out(m, g, t ? fv_grad_type(t) : FV_F32, !first);
}
/* the same, in the place of y's gradient where that fits: a map reads an element before it writes it */
static void fv__map_grad_over(fv_ctx *c, fv__map *m, fv_tensor *y, fv_tensor *t) {
    if (!fv__gives_grad(y, t)) {
        fv__map_grad(c, m, t);
        return;
    }
    fv__give_grad(c, y, t);
    fv__map_out(m, t->grad, fv_grad_type(t), 0);
}
static void fv__map_source(fv__map *m, const fv_tensor *x) { fv__map_in(m, fv__elements(x), x->type); }
static void *fv__cu_grad_or_zeros(fv_ctx *c, fv_tensor *t) {
    int first = 0;
    void *g = fv__grad(c, t, &first);
    if (g && first) fv__device_zero(c, g, (size_t)fv_numel(t) * fv_type_size(fv_grad_type(t)));
    return c->status ? NULL : g;
}
/* y = f(x), and gx = gy f'(x), elementwise: F and G see x, and gy after it */
template <class F> static void fv__unary_fwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__map m = fv__map_of(fv_numel(y));
    fv__map_source(&m, y->node->src[0]);
    fv__map_out(&m, y->data, y->type, 0);
    m.f[0] = y->node->f[0];
    fv__map_run<F>(c, m, fv__compute_type(y->type));
}
template <class G> static void fv__unary_bwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__map m = fv__map_of(fv_numel(y));
    fv__map_source(&m, y->node->src[0]);
    fv__map_in(&m, y->grad, fv_grad_type(y));
    fv__map_grad(c, &m, y->node->src[0]);
    m.f[0] = y->node->f[0];
    if (m.out[0]) fv__map_run<G>(c, m, fv__compute_type(y->type));
}
#endif

/* ======================================================================================================
 * >>ops (implementation)
 * ====================================================================================================== */

/* ---- op linear: y = x W^T + b + residual.  gx = gy W, gW = gy^T x, gb = column sums of gy, gr = gy ---- */
static fv_type fv__product_type(fv_ctx *c, fv_type x) { return x == FV_F64 ? FV_F64 : c->tape->autocast; }

static int fv__linear_shape(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0], *w = y->node->src[1], *b = y->node->src[2], *r = y->node->src[3];
    if (!fv__is_float(x) || x->rank < 1 || w->rank != 2 || fv__last(x) != w->dim[1])
        return fv__shape_fail(c, "linear", x, w, "x [...,in] and w [out,in] wanted");
    if ((x->type == FV_F64) != (w->type == FV_F64))
        return fv__shape_fail(c, "linear", x, w, "both f64 or neither");
    if (b && (b->rank != 1 || b->dim[0] != w->dim[0]))
        return fv__shape_fail(c, "linear", w, b, "the bias is [out]");
    fv__like(y, x, fv__product_type(c, x->type));
    y->dim[y->rank - 1] = w->dim[0];
    if (r) {
        int same = r->rank == y->rank;
        for (int i = 0; same && i < r->rank; i++) same = r->dim[i] == y->dim[i];
        if (!same) return fv__shape_fail(c, "linear", y, r, "the residual has the result's shape");
        y->type = r->type;
    }
    y->node->i[0] = (int64_t)fv__product_type(c, x->type);
    y->node->flop = 2.0 * (double)fv_numel(y) * (double)w->dim[1];
    y->node->unread = FV__UNREAD_Y | !(w->flags & FV_NEEDS_GRAD);
    return 1;
}

/* w's panels, where they are all there is, or of the type that is computed in */
static const fv_packed *fv__panels_of(const fv_tensor *w, fv_type compute) {
    return w->packed && (!w->data || w->packed->type == compute) ? w->packed : NULL;
}

static void fv__linear_fwd(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0], *w = y->node->src[1], *b = y->node->src[2], *r = y->node->src[3];
    int64_t out = w->dim[0], in = w->dim[1];
    const fv_packed *panels = fv__panels_of(w, (fv_type)y->node->i[0]);
    fv_type compute = panels ? panels->type : (fv_type)y->node->i[0];
    fv__gemm g = fv__gemm_of(compute, fv__rows_count(x), out, in, fv__mat(x->data, x->type, in, 1), y->data,
                             y->type, out, 0);
    if (panels) fv__gemm_use_packed(&g, panels, 0);
    else g.b = fv__mat(w->data, w->type, 1, in);
    if (b) g.bias = b->data;
    if (r) g.residual = r->data, g.residual_type = r->type;
    fv__gemm_run(c, &g);
}

/* column sums of g [rows,cols] added to gb, by fixed chunks of rows: in the computing type over 64 rows, then
 * in double */
typedef struct fv__column_sum {
    const fv__kernels *k;
    const fv_tensor *y;
    int64_t rows, cols, chunk;
    double *part;
    fv_ctx *c;
} fv__column_sum;
static void fv__column_sum_job(void *arg, int job, int worker) {
    const fv__column_sum *s = (const fv__column_sum *)arg;
    int64_t row = job * s->chunk, end = FV__MIN(row + s->chunk, s->rows);
    double *sum = s->part + job * s->cols;
    fv_type type = fv_grad_type(s->y), t = fv__compute_type(type);
    char *some = (char *)fv__scratch(s->c, worker), *wide = some + (size_t)s->cols * sizeof(double);
    memset(sum, 0, (size_t)s->cols * sizeof *sum);
    for (; row < end; row += 64) {
        memset(some, 0, (size_t)s->cols * sizeof(double));
        for (int64_t i = row; i < FV__MIN(row + 64, end); i++) {
            const char *g = (const char *)s->y->grad + (size_t)(i * s->cols) * fv_type_size(type);
            if (type != t) fv__convert_by(s->k, wide, t, g, type, s->cols), g = wide;
            s->k->add(some, some, g, s->cols);
        }
        for (int64_t j = 0; j < s->cols; j++) sum[j] += fv__get(some, t, j);
    }
}
static void fv__bias_grad(fv_ctx *c, const fv_tensor *y, fv_tensor *b) {
    fv__column_sum s;
    s.c = c, s.y = y, s.rows = fv__rows_count(y), s.cols = fv__last(y),
    s.chunk = FV__MAX(FV__CEIL(s.rows, 16), 32);
    s.k = fv__kernels_for(c, fv__compute_type(fv_grad_type(y)));
    int jobs = (int)FV__CEIL(s.rows, s.chunk);
    fv__span *part = fv__pool_alloc(c, (size_t)(FV__MAX(jobs, 1) * s.cols) * sizeof(double));
    fv__scratch_reserve(c, (size_t)(2 * s.cols) * sizeof(double));
    if (c->status) return;
    s.part = (double *)(void *)part->data;
    fv_parallel(c, jobs, fv__column_sum_job, &s);
    for (int j = 1; j < jobs; j++)
        for (int64_t i = 0; i < s.cols; i++) s.part[i] += s.part[j * s.cols + i];
    if (jobs) fv__add_grad(c, b, s.part, FV_F64);
    fv__pool_free(c, part);
}

/* gw [out,in] (+)= gy^T x, and gb on the way where the product reads all of gy just once */
static void fv__weight_grad(fv_ctx *c, fv_tensor *y, fv_type compute, fv_mat gy) {
    fv_tensor *x = y->node->src[0], *w = y->node->src[1], *b = y->node->src[2];
    int64_t out = w->dim[0], in = w->dim[1], rows = fv__rows_count(x);
    int first = 1, summed = 0;
    void *gw = fv__grad(c, w, &first);
    if (b && !(b->flags & FV_NEEDS_GRAD)) b = NULL;
    fv__span *sums = gw && b ? fv__pool_alloc(c, (size_t)out * sizeof(double)) : NULL;
    if (gw) {
        gy.cs = gy.rs, gy.rs = 1;
        fv__gemm g = fv__gemm_of(compute, out, in, rows, gy, gw, fv_grad_type(w), in, !first);
        g.b = fv__mat(x->data, x->type, in, 1);
        summed = fv__gemm_run_sums(c, &g, sums ? (double *)(void *)sums->data : NULL);
    }
    if (summed) fv__add_grad(c, b, sums->data, FV_F64);
    else if (b) fv__bias_grad(c, y, b);
    fv__pool_free(c, sums);
}

static void fv__linear_bwd(fv_ctx *c, fv_tensor *y) {
    fv_tensor *x = y->node->src[0], *w = y->node->src[1];
    int64_t out = w->dim[0], in = w->dim[1], rows = fv__rows_count(x);
    const fv_packed *panels = fv__panels_of(w, (fv_type)y->node->i[0]);
    fv_type compute = panels ? panels->type : (fv_type)y->node->i[0];
    fv_mat gy = fv__mat(y->grad, fv_grad_type(y), out, 1);
    int round = compute == FV_BF16 && c->isa != FV_ISA_AVX512BF16, first = 1;
    /* gy is converted once for both products */
    fv__span *cast = round ? NULL : fv__cast_operand(c, &gy, rows, out, compute, 0);
    void *gx = fv__grad(c, x, &first);
    if (gx) {
        fv__gemm g = fv__gemm_of(compute, rows, in, out, gy, gx, fv_grad_type(x), in, !first);
        if (panels) fv__gemm_use_packed(&g, panels, 1);
        else g.b = fv__mat(w->data, w->type, in, 1);
        fv__gemm_run(c, &g);
    }
    fv__weight_grad(c, y, compute, gy);
    fv__pool_free(c, cast);
    fv__give_grad(c, y, y->node->src[3]);
}

#ifdef FROZENVIS_CUDA
static fv_type fv__linear_type(const fv_tensor *y) {
    const fv_packed *p = y->node->src[1]->packed;
    return p ? p->type : (fv_type)y->node->i[0];
}
/* A parameter in bf16, as products round it: made at its first use, and kept: the optimiser changes it with
 * the parameter. NULL where there is none. What a recorded step was to make is gone where that was thrown
 * away, so the copy counts only while no more of them have been than when it was made. */
static int fv__is_rounded(const fv_ctx *c, const fv_tensor *t) {
    return t->rounded_at == c->device->lost + 1;
}
static const void *fv__rounded(fv_ctx *c, fv_tensor *t) {
    if (c->status || !t || !(t->flags & FV_PARAM) || t->type != FV_F32 || !t->device || t->packed)
        return NULL;
    if (!t->rounded) t->rounded = fv__device_alloc(c, (size_t)fv_numel(t) * 2, 0);
    if (t->rounded && !fv__is_rounded(c, t)) {
        fv__cu_copy(c, t->rounded, FV_BF16, t->data, t->type, fv_numel(t), 0);
        t->rounded_at = c->device->lost + 1;
    }
    return t->rounded;
}
/* the weight as [out,in] rows, plain or frozen, for a product of that type; transposed: as [in,out] */
static fv_mat fv__weight_mat(fv_ctx *c, fv_tensor *w, fv_type compute, int transposed) {
    int64_t in = w->dim[1];
    const void *data = w->packed ? (const void *)w->packed->data : fv__elements(w),
               *rounded = compute == FV_BF16 ? fv__rounded(c, w) : NULL;
    fv_type type = rounded ? FV_BF16 : w->packed ? w->packed->type : w->type;
    return fv__mat(rounded ? rounded : data, type, transposed ? 1 : in, transposed ? in : 1);
}
static void fv__linear_fwd_cu(fv_ctx *c, fv_tensor *y) {
    fv_tensor *x = y->node->src[0], *w = y->node->src[1], *b = y->node->src[2], *r = y->node->src[3];
    int64_t out = w->dim[0], in = w->dim[1];
    fv_type compute = fv__linear_type(y);
    fv__cu_product g =
        fv__cu_product_of(compute, fv__rows_count(x), out, in, fv__mat(fv__elements(x), x->type, in, 1),
                          fv__weight_mat(c, w, compute, 1), y->data, y->type, 0);
    g.bias = fv__elements(b);
    if (y->type == FV_BF16) g.bias_rounded = fv__rounded(c, b);
    if (r) g.residual = fv__elements(r), g.residual_type = r->type;
    fv__cu_gemm(c, &g);
}
struct fv__column_f { /* sums over the rows of g */
    enum { SUMS = 1, LOADS = 1 };
    typedef float part_t;
    const void *g;
    fv_type type;
    int64_t cols;
    FV__METHOD void load(int64_t e, int64_t p, uint4 *raw) const { raw[0] = fv__raw4(g, type, p * cols + e); }
    FV__METHOD void add(const uint4 *raw, int64_t, float (*sum)[4]) const {
        float v[4];
        fv__floats4(raw[0], type, v);
        for (int j = 0; j < 4; j++) sum[0][j] += v[j];
    }
    FV__METHOD void run(int64_t e, int64_t p, double *sum) const {
        sum[0] += fv__ld<double>(g, type, p * cols + e);
    }
};
static void fv__linear_bwd_cu(fv_ctx *c, fv_tensor *y) {
    fv_tensor *x = y->node->src[0], *w = y->node->src[1], *b = y->node->src[2];
    int64_t out = w->dim[0], in = w->dim[1], rows = fv__rows_count(x);
    fv_type gt = fv_grad_type(y), compute = fv__linear_type(y);
    int first = 1;
    const void *gy = y->grad;
    fv__span *cast = NULL;
    if (compute == FV_BF16 && gt != FV_BF16) { /* rounded once for both products */
        cast = fv__pool_alloc(c, (size_t)(rows * out) * 2);
        if (!cast) return;
        fv__cu_copy(c, cast->data, compute, gy, gt, rows * out, 0);
        gy = cast->data;
    }
    fv_type type = cast ? compute : gt;
    void *gx = fv__grad(c, x, &first);
    if (gx) {
        fv__cu_product g = fv__cu_product_of(compute, rows, in, out, fv__mat(gy, type, out, 1),
                                             fv__weight_mat(c, w, compute, 0), gx, fv_grad_type(x), !first);
        fv__cu_gemm(c, &g);
    }
    void *gw = fv__grad(c, w, &first);
    if (gw) {
        fv__cu_product g =
            fv__cu_product_of(compute, out, in, rows, fv__mat(gy, type, 1, out),
                              fv__mat(fv__elements(x), x->type, in, 1), gw, fv_grad_type(w), !first);
        fv__cu_gemm(c, &g);
    }
    fv__pool_free(c, cast);
    void *gb = fv__grad(c, b, &first);
    if (gb) {
        fv__column_f f = {y->grad, gt, out};
        fv__fold_wide(c, f, out, rows, fv__fold_to(gb, fv_grad_type(b), !first, 1), fv__wide(y->grad, gt), 0);
    }
    fv__give_grad(c, y, y->node->src[3]);
}
#endif
static const fv__op fv__op_linear = {"linear",       fv__linear_shape,          fv__linear_fwd,
                                     fv__linear_bwd, FV__CU(fv__linear_fwd_cu), FV__CU(fv__linear_bwd_cu)};

FV_DEF fv_tensor *fv_linear_add(fv_ctx *c, fv_tensor *x, fv_tensor *w, fv_tensor *b, fv_tensor *residual) {
    fv_tensor *src[4];
    src[0] = x, src[1] = w, src[2] = b, src[3] = residual;
    if (!fv__need(c, "linear", x) || !fv__need(c, "linear", w)) return NULL;
    return fv__apply(c, fv__make(c, &fv__op_linear, src, 4));
}
FV_DEF fv_tensor *fv_linear(fv_ctx *c, fv_tensor *x, fv_tensor *w, fv_tensor *b) {
    return fv_linear_add(c, x, w, b, NULL);
}
FV_DEF fv_tensor *fv_linear_act(fv_ctx *c, fv_tensor *x, fv_tensor *w, fv_tensor *b, fv_act act) {
    fv_tensor *y = fv_linear(c, x, w, b);
    switch (act) {
    case FV_ACT_GELU: return fv_gelu(c, y);
    case FV_ACT_SILU: return fv_silu(c, y);
    case FV_ACT_RELU: return fv_relu(c, y);
    default: return y;
    }
}

/* ---- op matmul: y = a b, batched.  ga = gy b^T, gb = a^T gy ---- */
static int fv__matmul_shape(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *a = y->node->src[0], *b = y->node->src[1];
    int tb = (int)y->node->i[0], ok = a->rank >= 2 && b->rank >= 2 && fv__is_float(a) && fv__is_float(b);
    int64_t k = !ok ? 0 : tb ? fv__last(b) : b->dim[FV__MAX(b->rank, 2) - 2], batch = 1;
    ok = ok && fv__last(a) == k && (b->rank == 2 || b->rank == a->rank);
    for (int i = 0; ok && i < a->rank - 2; i++) {
        batch *= a->dim[i];
        if (b->rank > 2) ok = a->dim[i] == b->dim[i];
    }
    if (!ok)
        return fv__shape_fail(c, "matmul", a, b,
                              tb ? "[...,m,k] and [...,n,k] wanted" : "[...,m,k] and [...,k,n] wanted");
    if ((a->type == FV_F64) != (b->type == FV_F64))
        return fv__shape_fail(c, "matmul", a, b, "both f64 or neither");
    fv__like(y, a, fv__product_type(c, a->type));
    y->dim[y->rank - 1] = tb ? b->dim[FV__MAX(b->rank, 2) - 2] : fv__last(b);
    y->node->i[1] = batch, y->node->i[2] = b->rank > 2, y->node->i[3] = (int64_t)y->type;
    y->node->flop = 2.0 * (double)fv_numel(y) * (double)k;
    return 1;
}

/* element (i,j) of matrix number `at` of a [...,r,c] tensor's data or gradient */
static fv_mat fv__batch_mat(const fv_tensor *t, const void *data, fv_type type, int64_t at, int transposed) {
    int64_t rows = t->dim[FV__MAX(t->rank, 2) - 2], cols = fv__last(t);
    const char *p = (const char *)data + (size_t)(at * rows * cols) * fv_type_size(type);
    return fv__mat(p, type, transposed ? 1 : cols, transposed ? cols : 1);
}

static void fv__matmul_fwd(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *a = y->node->src[0], *b = y->node->src[1];
    int64_t m = a->dim[FV__MAX(a->rank, 2) - 2], n = fv__last(y);
    for (int64_t i = 0; i < y->node->i[1]; i++)
        fv_gemm(c, (fv_type)y->node->i[3], m, n, fv__last(a), fv__batch_mat(a, a->data, a->type, i, 0),
                fv__batch_mat(b, b->data, b->type, y->node->i[2] ? i : 0, (int)y->node->i[0]),
                (char *)y->data + (size_t)(i * m * n) * fv_type_size(y->type), y->type, n, 0);
}

static void fv__matmul_bwd(fv_ctx *c, fv_tensor *y) {
    fv_tensor *a = y->node->src[0], *b = y->node->src[1];
    int64_t m = a->dim[FV__MAX(a->rank, 2) - 2], n = fv__last(y), k = fv__last(a);
    int tb = (int)y->node->i[0], fa = 1, fb = 1;
    void *ga = fv__grad(c, a, &fa), *gb = fv__grad(c, b, &fb);
    fv_type compute = (fv_type)y->node->i[3], gt = fv_grad_type(y);
    for (int64_t i = 0; i < y->node->i[1] && !c->status; i++) {
        int64_t ib = y->node->i[2] ? i : 0;
        fv_mat gy = fv__batch_mat(y, y->grad, gt, i, 0), gyt = fv__batch_mat(y, y->grad, gt, i, 1);
        if (ga)
            fv_gemm(c, compute, m, k, n, gy, fv__batch_mat(b, b->data, b->type, ib, !tb),
                    (char *)ga + (size_t)(i * m * k) * fv_type_size(fv_grad_type(a)), fv_grad_type(a), k,
                    !fa);
        if (!gb) continue;
        char *to = (char *)gb + (size_t)(ib * n * k) * fv_type_size(fv_grad_type(b));
        int add = !fb || (!y->node->i[2] && i > 0);
        if (tb) /* b is [n,k]: gb = gy^T a */
            fv_gemm(c, compute, n, k, m, gyt, fv__batch_mat(a, a->data, a->type, i, 0), to, fv_grad_type(b),
                    k, add);
        else
            fv_gemm(c, compute, k, n, m, fv__batch_mat(a, a->data, a->type, i, 1), gy, to, fv_grad_type(b), n,
                    add);
    }
}

#ifdef FROZENVIS_CUDA
/* A matrix of the batch in a [...,r,c] tensor's elements; the batch's step is 0 for a tensor of rank 2 that
 * serves all. */
static fv_mat fv__first_mat(const fv_tensor *t, const void *data, fv_type type, int transposed) {
    return fv__batch_mat(t, data, type, 0, transposed);
}
static void fv__matmul_fwd_cu(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *a = y->node->src[0], *b = y->node->src[1];
    int64_t m = a->dim[FV__MAX(a->rank, 2) - 2], n = fv__last(y), k = fv__last(a);
    fv__cu_product g = fv__cu_product_of(
        (fv_type)y->node->i[3], m, n, k, fv__first_mat(a, fv__elements(a), a->type, 0),
        fv__first_mat(b, fv__elements(b), b->type, (int)y->node->i[0]), y->data, y->type, 0);
    g.batch = y->node->i[1], g.a_step = m * k, g.b_step = y->node->i[2] ? n * k : 0, g.out_step = m * n;
    fv__cu_gemm(c, &g);
}
static void fv__matmul_bwd_cu(fv_ctx *c, fv_tensor *y) {
    fv_tensor *a = y->node->src[0], *b = y->node->src[1];
    int64_t m = a->dim[FV__MAX(a->rank, 2) - 2], n = fv__last(y), k = fv__last(a), batch = y->node->i[1];
    int tb = (int)y->node->i[0], first = 1;
    fv_type compute = (fv_type)y->node->i[3], gt = fv_grad_type(y);
    void *ga = fv__grad(c, a, &first);
    if (ga) {
        fv__cu_product g =
            fv__cu_product_of(compute, m, k, n, fv__first_mat(y, y->grad, gt, 0),
                              fv__first_mat(b, fv__elements(b), b->type, !tb), ga, fv_grad_type(a), !first);
        g.batch = batch, g.a_step = m * n, g.b_step = y->node->i[2] ? n * k : 0, g.out_step = m * k;
        fv__cu_gemm(c, &g);
    }
    void *gb = fv__grad(c, b, &first);
    if (!gb) return;
    fv_mat gy = fv__first_mat(y, y->grad, gt, tb), x = fv__first_mat(a, fv__elements(a), a->type, !tb);
    fv__cu_product g = tb ? fv__cu_product_of(compute, n, k, m, gy, x, gb, fv_grad_type(b), !first)
                          : fv__cu_product_of(compute, k, n, m, x, gy, gb, fv_grad_type(b), !first);
    if (y->node->i[2]) {
        g.batch = batch, g.a_step = tb ? m * n : m * k, g.b_step = tb ? m * k : m * n, g.out_step = n * k;
    } else g.k = m * batch; /* one b for all: the matrices of a and y lie one below the other */
    fv__cu_gemm(c, &g);
}
#endif
static const fv__op fv__op_matmul = {"matmul",       fv__matmul_shape,          fv__matmul_fwd,
                                     fv__matmul_bwd, FV__CU(fv__matmul_fwd_cu), FV__CU(fv__matmul_bwd_cu)};

FV_DEF fv_tensor *fv_matmul(fv_ctx *c, fv_tensor *a, fv_tensor *b, int transpose_b) {
    fv_tensor *src[2], *y;
    src[0] = a, src[1] = b;
    if (!fv__need(c, "matmul", a) || !fv__need(c, "matmul", b) || !(y = fv__make(c, &fv__op_matmul, src, 2)))
        return NULL;
    y->node->i[0] = transpose_b != 0;
    return fv__apply(c, y);
}

/* ---- op attention: y = softmax(q k^T s + mask) v per head.
 * Forward, for a tile of queries: S = q k^T in scratch (it never reaches memory), P = exp(sS - max), y = P v
 * / sum(P); saved: the row's max and 1/sum. Backward makes P again: gv = P^T gy, gP = gy v^T, gS = P (gP -
 * rowsum(P gP)) s, gq = gS k, gk = gS^T q. A job is one sample and one key head, with the query heads that
 * share it, so nothing is added to from two jobs. Its keys and values are packed once, as the right operands
 * of all these products; left operands are read where they lie. ---- */
/* numbers in a tile of queries' scores; a tile and its twin in the backward pass stay in L2 */
enum { FV__SCORES = 64 << 10 };

typedef struct fv__attention {
    fv_ctx *c;
    /* the products' type and tile: f32 or f64; bf16 pairs where the CPU has them */
    fv__gemm g;
    fv_type t;                   /* F32 or F64: of scores, sums and the softmax */
    const fv_tensor *q, *kk, *v; /* may be the same tensor */
    int64_t B, N, M, H, K, hd;   /* samples, queries, keys, heads, key heads, head's width */
    int64_t q0, k0, v0;          /* column where q, k, v start in their tensors */
    double scale, theta;
    int causal, interleaved;
    const uint8_t *mask;
    fv_tensor *y;
    char *stat;         /* [B,H,N,2] of t: max of sS, 1/sum */
    void *gq, *gk, *gv; /* gradients, or NULL; written or added to by first */
    int fq, fk, fv;
    const char *rope;         /* [max(N,M)][hd/2][2] of t: cos, sin */
    int64_t tile, padM, padH; /* queries at a time; keys and hd padded to panels */
    size_t e;                 /* bytes of t */
} fv__attention;

static fv__attention fv__attention_of(fv_ctx *c, fv_tensor *y) {
    const fv__node *n = y->node;
    fv__attention a;
    memset(&a, 0, sizeof a);
    a.c = c, a.y = y, a.t = fv__compute_type(n->src[0]->type), a.e = fv_type_size(a.t);
    int bf16 = a.t == FV_F32 && n->i[4] == FV_BF16 && c->isa == FV_ISA_AVX512BF16;
    a.g.compute = bf16 ? FV_BF16 : a.t, a.g.unit = bf16 ? 2 : 1, a.g.element = fv_type_size(a.g.compute);
    a.g.k = fv__kernels_for(c, a.t), a.g.mr = fv__tile_of(&a.g, &a.g.nr);
    a.q = n->src[0], a.kk = n->src[1] ? n->src[1] : a.q, a.v = n->src[2] ? n->src[2] : a.q;
    a.H = n->i[0], a.K = n->i[1], a.causal = (int)n->i[2], a.interleaved = (int)n->i[3];
    a.scale = n->f[0], a.theta = n->f[1];
    a.B = a.q->dim[0], a.N = a.q->dim[1], a.M = a.kk->dim[1];
    a.hd = fv__last(a.q) / (n->src[1] ? a.H : a.H + 2 * a.K);
    if (!n->src[1]) a.k0 = a.H * a.hd, a.v0 = (a.H + a.K) * a.hd;
    a.mask = n->src[3] ? (const uint8_t *)n->src[3]->data : NULL;
    a.padM = FV__ROUND_UP(FV__ROUND_UP(a.M, a.g.mr), a.g.nr), a.padH = FV__ROUND_UP(a.hd, a.g.nr);
    int64_t most = FV__MAX(FV__SCORES / FV__MAX(a.padM, 1) / a.g.mr, (int64_t)2) * a.g.mr;
    int64_t tiles = FV__MAX(FV__CEIL(a.N, most), (int64_t)1); /* of about the same size */
    a.tile = FV__ROUND_UP(FV__MAX(FV__CEIL(a.N, tiles), (int64_t)1), a.g.mr);
    return a;
}

/* gv is one product; gP, for gq or gk, one; gq and gk one each: all of one size, as are forward's two */
static double fv__attention_flop_back(const fv__node *n) {
    int q = (n->src[0]->flags & FV_NEEDS_GRAD) != 0,
        k = n->src[1] ? (n->src[1]->flags & FV_NEEDS_GRAD) != 0 : q;
    int v = n->src[2] ? (n->src[2]->flags & FV_NEEDS_GRAD) != 0 : q;
    return n->flop / 2 * (v + (q || k) + q + k);
}

static int fv__attention_shape(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *q = y->node->src[0], *k = y->node->src[1], *v = y->node->src[2], *mask = y->node->src[3];
    int64_t H = y->node->i[0], K = y->node->i[1], heads = k ? H : H + 2 * K;
    if (q->rank != 3 || !fv__is_float(q) || H < 1 || K < 1 || H % K || q->dim[2] % heads)
        return fv__shape_fail(
            c, "attention", q, NULL,
            "[B,N,width] wanted, a multiple of the heads, which are a multiple of the key heads");
    int64_t hd = q->dim[2] / heads, M = k ? k->dim[1] : q->dim[1];
    if (k &&
        (k->rank != 3 || v->rank != 3 || k->dim[0] != q->dim[0] || v->dim[0] != q->dim[0] || v->dim[1] != M ||
         k->dim[2] != K * hd || v->dim[2] != K * hd || k->type != v->type || k->type != q->type))
        return fv__shape_fail(c, "attention", q, k, "k and v are [B,M,key heads * head's width] of q's type");
    if (mask && (mask->rank != 2 || mask->type != FV_U8 || mask->dim[0] != q->dim[0] || mask->dim[1] != M))
        return fv__shape_fail(c, "attention", q, mask, "the mask is u8 [B,M]");
    /* the softmax takes the largest score for that of the largest product */
    if (!(y->node->f[0] >= 0 && y->node->f[0] < INFINITY))
        return fv_fail(c, FV_EUSAGE, "attention: a scale of %g; it is above 0, or 0 for 1/sqrt(head's width)",
                       y->node->f[0]);
    if (y->node->f[1] > 0 && hd % 2)
        return fv__shape_fail(c, "attention", q, NULL, "rotary embedding wants an even head's width");
    if (y->node->f[0] == 0) y->node->f[0] = 1 / sqrt((double)hd);
    fv__like(y, q, q->type == FV_F64 ? FV_F64 : c->tape->autocast);
    y->dim[2] = H * hd;
    y->node->unread = c->device ? 0 : FV__UNREAD_Y; /* a GPU's kernels read the result again */
    y->node->i[4] = (int64_t)y->type;
    y->node->flop = 4.0 * (double)(q->dim[0] * q->dim[1] * M * H * hd);
    y->node->flop_back = fv__attention_flop_back(y->node);
    return 1;
}

/* cos and sin of position p and pair i: angle p * theta^(-2i/hd) */
static fv__span *fv__rope_table(fv_ctx *c, const fv__attention *a) {
    int64_t n = FV__MAX(a->N, a->M), half = a->hd / 2;
    fv__span *s = a->theta > 0 ? fv__pool_alloc(c, (size_t)(n * a->hd) * a->e) : NULL;
    for (int64_t i = 0; s && i < half; i++) {
        double turn = pow(a->theta, -2.0 * (double)i / (double)a->hd);
        for (int64_t p = 0; p < n; p++) {
            fv__set(s->data, a->t, (p * half + i) * 2, cos((double)p * turn));
            fv__set(s->data, a->t, (p * half + i) * 2 + 1, sin((double)p * turn));
        }
    }
    return s;
}

/* rotates (or, back, unrotates) row x [hd] of position p */
static void fv__rotate(const fv__attention *a, char *x, int64_t p, int back) {
    int64_t half = a->hd / 2, step = a->interleaved ? 1 : half;
    for (int64_t i = 0; i < half; i++) {
        int64_t j = a->interleaved ? 2 * i : i;
        double co = fv__get(a->rope, a->t, (p * half + i) * 2),
               si = fv__get(a->rope, a->t, (p * half + i) * 2 + 1);
        double u = fv__get(x, a->t, j), w = fv__get(x, a->t, j + step);
        if (back) si = -si;
        fv__set(x, a->t, j, u * co - w * si);
        fv__set(x, a->t, j + step, u * si + w * co);
    }
}

/* Rows of one head: element (i,j) at data[i*ld + j], of the products' type. */
typedef struct fv__att_rows {
    const char *data;
    int64_t ld;
} fv__att_rows;
/* rows [from, from+n) of sample b: where they lie, or converted (and rotated) into room [n][hd to even], with
 * wide [hd] of t */
static fv__att_rows fv__head_rows(const fv__attention *a, const fv_tensor *t, const void *data, fv_type type,
                                  int64_t col, int64_t b, int64_t from, int64_t n, int rope, char *room,
                                  char *wide) {
    fv__att_rows h;
    int64_t width = fv__last(t);
    size_t size = fv_type_size(type);
    h.data = (const char *)data + (size_t)((b * t->dim[1] + from) * width + col) * size, h.ld = width;
    rope = rope && a->rope;
    if (type == a->g.compute && !rope) return h;
    const char *p = h.data;
    h.data = room, h.ld = FV__ROUND_UP(a->hd, (int64_t)2);
    for (int64_t i = 0; i < n; i++, p += (size_t)width * size, room += (size_t)h.ld * a->g.element) {
        if (!rope) fv__convert_by(a->g.k, room, a->g.compute, p, type, a->hd);
        else {
            fv__convert_by(a->g.k, wide, a->t, p, type, a->hd);
            fv__rotate(a, wide, from + i, 0);
            fv__convert_by(a->g.k, room, a->g.compute, wide, a->t, a->hd);
        }
    }
    return h;
}

static size_t fv__att_panel(const fv__attention *a, int64_t width, int64_t k) {
    return (size_t)(FV__ROUND_UP(k, a->g.unit) * width) * a->g.element;
}
/* the right operand [k,n] of a product, element (p,j) at x[p*cs + j*rs], to panels of nr columns */
static void fv__att_pack(const fv__attention *a, char *panels, const char *x, int64_t rs, int64_t cs,
                         int64_t n, int64_t k) {
    for (int64_t j = 0; j < n; j += a->g.nr, panels += fv__att_panel(a, a->g.nr, k))
        fv__pack_panel(&a->g, panels, x + (size_t)(j * rs) * a->g.element, rs, cs,
                       (int)FV__MIN(a->g.nr, n - j), k, (int)a->g.nr);
}

/* out [m to whole tiles][ld] = (out +) A B, A's element (i,p) at x[i*rs + p*cs], B packed. Rows of A are read
 * where they lie, its last ones too where x has whole tiles of them (padded); else a panel is packed in
 * room. */
static void fv__att_product(const fv__attention *a, int64_t m, int64_t n, int64_t k, const char *x,
                            int64_t rs, int64_t cs, int padded, const char *panels, char *out, int64_t ld,
                            int add, char *room) {
    const fv__gemm *g = &a->g;
    int by_rows = cs == 1 && rs > g->unit && rs % g->unit == 0 && k % g->unit == 0 &&
                  (uintptr_t)x % (g->element * (size_t)g->unit) == 0;
    int direct = by_rows || (rs == 1 && g->unit == 1);
    for (int64_t i = 0; i < m; i += g->mr) {
        const char *p = x + (size_t)(i * rs) * g->element, *b = panels;
        int64_t prs = by_rows ? rs / g->unit : 1, pcs = by_rows ? 1 : cs;
        if (!direct || (!padded && i + g->mr > m)) {
            fv__pack_panel(g, room, p, rs, cs, (int)FV__MIN(g->mr, m - i), k, (int)g->mr);
            p = room, prs = 1, pcs = g->mr;
        }
        for (int64_t j = 0; j < n; j += g->nr, b += fv__att_panel(a, g->nr, k)) {
            char *o = out + (size_t)(i * ld + j) * a->e;
            fv__tile(g, m - i, n - j, k, p, prs, pcs, b, g->nr, NULL, add ? o : NULL, ld, o, ld);
        }
    }
}

/* S [n][padM] of queries from.. to P: exp(scale s - max), masked keys 0. First the row's max and 1/sum go to
 * stat and P is not yet divided by the sum; again, it is. half: P as bf16, where the products want that. */
static void fv__probabilities(const fv__attention *a, char *S, char *half, int64_t b, int64_t h, int64_t from,
                              int64_t n, int again) {
    for (int64_t i = 0; i < n; i++) {
        char *row = S + (size_t)(i * a->padM) * a->e,
             *stat = a->stat + (size_t)(((b * a->H + h) * a->N + from + i) * 2) * a->e;
        int64_t see = a->causal ? FV__MIN(a->M, from + i + 1) : a->M;
        if (a->mask)
            for (int64_t j = 0; j < see; j++)
                if (!a->mask[b * a->M + j]) fv__set(row, a->t, j, -INFINITY);
        uint16_t *narrow = a->g.unit == 2 ? (uint16_t *)(void *)half + i * a->padM : NULL;
        if (again) a->g.k->softmax_again(row, see, a->padM, a->scale, stat, narrow);
        else a->g.k->softmax_row(row, see, a->padM, a->scale, stat, narrow);
    }
}

static char *fv__carve(char **at, size_t bytes) {
    char *p = *at;
    *at += FV__ROUND_UP(bytes, (size_t)64);
    return p;
}

/* What a job works in. The second half is the backward pass's. */
typedef struct fv__att_room {
    /* P: as the products read it; S itself where that is its type */
    char *rows, *qrows, *wide, *kt, *v, *S, *P, *o, *panel;
    char *orows, *k, *vt, *gyb, *qb, *D, *DP, *gk, *gv; /* D: gS, and DP as the products read it */
} fv__att_room;
/* from `at` on, which may be NULL to learn the size; returns the end */
static char *fv__att_carve(const fv__attention *a, fv__att_room *r, char *at, int backward) {
    size_t e = a->e, pe = a->g.element, scores = (size_t)(a->tile * a->padM),
           head = (size_t)FV__ROUND_UP(a->hd, (int64_t)2);
    size_t by_hd = fv__att_panel(a, a->padM, a->hd), by_keys = fv__att_panel(a, a->padH, a->M),
           by_tile = fv__att_panel(a, a->padH, a->tile);
    int half = a->g.unit == 2;
    r->rows = fv__carve(&at, (size_t)a->M * head * pe),
    r->qrows = fv__carve(&at, (size_t)a->tile * head * pe);
    r->wide = fv__carve(&at, (size_t)a->padH * e);
    r->kt = fv__carve(&at, by_hd), r->v = fv__carve(&at, by_keys);
    r->S = fv__carve(&at, scores * e), r->P = half ? fv__carve(&at, scores * pe) : r->S;
    r->o = fv__carve(&at, (size_t)(a->tile * a->padH) * e);
    r->panel = fv__carve(&at, fv__att_panel(a, a->g.mr, FV__MAX(FV__MAX(a->M, a->hd), a->tile)));
    if (!backward) return at;
    r->orows = fv__carve(&at, (size_t)a->tile * head * pe);
    r->k = fv__carve(&at, by_keys), r->vt = fv__carve(&at, by_hd), r->gyb = fv__carve(&at, by_tile),
    r->qb = fv__carve(&at, by_tile);
    r->D = fv__carve(&at, scores * e), r->DP = half ? fv__carve(&at, scores * pe) : r->D;
    r->gk = fv__carve(&at, (size_t)(a->padM * a->padH) * e),
    r->gv = fv__carve(&at, (size_t)(a->padM * a->padH) * e);
    return at;
}

static fv__att_rows fv__att_queries(const fv__attention *a, fv__att_room *r, int64_t b, int64_t h,
                                    int64_t from, int64_t n) {
    return fv__head_rows(a, a->q, a->q->data, a->q->type, a->q0 + h * a->hd, b, from, n, 1, r->qrows,
                         r->wide);
}

static void fv__attention_fwd_job(void *arg, int job, int worker) {
    const fv__attention *a = (const fv__attention *)arg;
    int64_t b = job / a->K, kh = job % a->K, group = a->H / a->K, H = a->padH;
    fv__att_room r;
    fv__att_carve(a, &r, (char *)fv__scratch(a->c, worker), 0);
    fv__att_rows x =
        fv__head_rows(a, a->kk, a->kk->data, a->kk->type, a->k0 + kh * a->hd, b, 0, a->M, 1, r.rows, r.wide);
    fv__att_pack(a, r.kt, x.data, x.ld, 1, a->M, a->hd);
    x = fv__head_rows(a, a->v, a->v->data, a->v->type, a->v0 + kh * a->hd, b, 0, a->M, 0, r.rows, r.wide);
    fv__att_pack(a, r.v, x.data, 1, x.ld, a->hd, a->M);
    for (int64_t h = kh * group; h < (kh + 1) * group; h++)
        for (int64_t from = 0; from < a->N; from += a->tile) {
            int64_t n = FV__MIN(a->tile, a->N - from);
            x = fv__att_queries(a, &r, b, h, from, n);
            fv__att_product(a, n, a->M, a->hd, x.data, x.ld, 1, 0, r.kt, r.S, a->padM, 0, r.panel);
            fv__probabilities(a, r.S, r.P, b, h, from, n, 0);
            fv__att_product(a, n, a->hd, FV__ROUND_UP(a->M, a->g.unit), r.P, a->padM, 1, 1, r.v, r.o, H, 0,
                            r.panel);
            for (int64_t i = 0; i < n; i++) {
                char *o = r.o + (size_t)(i * H) * a->e,
                     *y = (char *)a->y->data +
                          (size_t)(((b * a->N + from + i) * a->H + h) * a->hd) * fv_type_size(a->y->type);
                int same = a->y->type == a->t;
                a->g.k->scale(same ? y : o, o,
                              fv__get(a->stat, a->t, ((b * a->H + h) * a->N + from + i) * 2 + 1), a->hd);
                if (!same) fv__convert_by(a->g.k, y, a->y->type, o, a->t, a->hd);
            }
        }
}

/* rows [from, from+n) of a gradient from x [n][padH], unrotated where asked; add: to what is there */
static void fv__store_head(const fv__attention *a, void *grad, const fv_tensor *t, int add, int64_t col,
                           int64_t b, int64_t from, int64_t n, char *x, int rope, char *wide) {
    fv_type type = fv_grad_type(t);
    for (int64_t i = 0; i < n; i++, x += (size_t)a->padH * a->e) {
        char *p =
            (char *)grad + (size_t)((b * t->dim[1] + from + i) * fv__last(t) + col) * fv_type_size(type);
        if (rope && a->rope) fv__rotate(a, x, from + i, 1);
        if (add) {
            fv__convert_by(a->g.k, wide, a->t, p, type, a->hd);
            a->g.k->add(x, x, wide, a->hd);
        }
        fv__convert_by(a->g.k, p, type, x, a->t, a->hd);
    }
}

/* gradients of one head's tile of queries; its shares of gk, gv are added to the job's, or start them */
static void fv__attention_bwd_tile(const fv__attention *a, fv__att_room *r, int64_t b, int64_t h,
                                   int64_t from, int add) {
    int64_t n = FV__MIN(a->tile, a->N - from), H = a->padH, M = a->padM;
    fv__att_rows q = fv__att_queries(a, r, b, h, from, n);
    fv__att_rows gy =
        fv__head_rows(a, a->y, a->y->grad, fv_grad_type(a->y), h * a->hd, b, from, n, 0, r->orows, r->wide);
    fv__att_product(a, n, a->M, a->hd, q.data, q.ld, 1, 0, r->kt, r->S, M, 0, r->panel);
    fv__probabilities(a, r->S, r->P, b, h, from, n, 1);
    fv__att_product(a, n, a->M, a->hd, gy.data, gy.ld, 1, 0, r->vt, r->D, M, 0, r->panel);
    for (int64_t i = 0; i < n; i++) {
        char *d = r->D + (size_t)(i * M) * a->e;
        a->g.k->score_grad(d, r->S + (size_t)(i * M) * a->e, a->M, M, a->scale,
                           a->g.unit == 2 ? (uint16_t *)(void *)r->DP + i * M : NULL);
    }
    fv__att_pack(a, r->gyb, gy.data, 1, gy.ld, a->hd, n);
    fv__att_product(a, a->M, a->hd, n, r->P, 1, M, 1, r->gyb, r->gv, H, add, r->panel);
    fv__att_pack(a, r->qb, q.data, 1, q.ld, a->hd, n);
    fv__att_product(a, a->M, a->hd, n, r->DP, 1, M, 1, r->qb, r->gk, H, add, r->panel);
    if (!a->gq) return;
    fv__att_product(a, n, a->hd, FV__ROUND_UP(a->M, a->g.unit), r->DP, M, 1, 1, r->k, r->o, H, 0, r->panel);
    fv__store_head(a, a->gq, a->q, !a->fq, a->q0 + h * a->hd, b, from, n, r->o, 1, r->wide);
}

static void fv__attention_bwd_job(void *arg, int job, int worker) {
    const fv__attention *a = (const fv__attention *)arg;
    int64_t b = job / a->K, kh = job % a->K, group = a->H / a->K;
    int add = 0;
    fv__att_room r;
    fv__att_carve(a, &r, (char *)fv__scratch(a->c, worker), 1);
    fv__att_rows x =
        fv__head_rows(a, a->kk, a->kk->data, a->kk->type, a->k0 + kh * a->hd, b, 0, a->M, 1, r.rows, r.wide);
    fv__att_pack(a, r.kt, x.data, x.ld, 1, a->M, a->hd);
    fv__att_pack(a, r.k, x.data, 1, x.ld, a->hd, a->M);
    x = fv__head_rows(a, a->v, a->v->data, a->v->type, a->v0 + kh * a->hd, b, 0, a->M, 0, r.rows, r.wide);
    fv__att_pack(a, r.vt, x.data, x.ld, 1, a->M, a->hd);
    for (int64_t h = kh * group; h < (kh + 1) * group; h++)
        for (int64_t from = 0; from < a->N; from += a->tile, add = 1)
            fv__attention_bwd_tile(a, &r, b, h, from, add);
    /* without queries both are zeros */
    if (!add) memset(r.gk, 0, (size_t)(r.gv - r.gk)), memset(r.gv, 0, (size_t)(a->padM * a->padH) * a->e);
    if (a->gk) fv__store_head(a, a->gk, a->kk, !a->fk, a->k0 + kh * a->hd, b, 0, a->M, r.gk, 1, r.wide);
    if (a->gv) fv__store_head(a, a->gv, a->v, !a->fv, a->v0 + kh * a->hd, b, 0, a->M, r.gv, 0, r.wide);
}

static void fv__attention_run(fv_ctx *c, fv__attention *a, int backward) {
    fv__att_room r;
    fv__span *rope = fv__rope_table(c, a);
    a->rope = rope ? rope->data : NULL;
    fv__scratch_reserve(c, (size_t)(uintptr_t)fv__att_carve(a, &r, NULL, backward) + 64);
    if (!c->status)
        fv_parallel(c, (int)(a->B * a->K), backward ? fv__attention_bwd_job : fv__attention_fwd_job, a);
    fv__pool_free(c, rope);
}

static void fv__attention_fwd(fv_ctx *c, fv_tensor *y) {
    fv__attention a = fv__attention_of(c, y);
    a.stat = (char *)fv__save(c, y, 0, (size_t)(a.B * a.H * a.N * 2) * a.e);
    fv__attention_run(c, &a, 0);
}

static void fv__attention_bwd(fv_ctx *c, fv_tensor *y) {
    fv__attention a = fv__attention_of(c, y);
    fv__node *n = y->node;
    a.stat = (char *)fv__saved(y, 0);
    a.fq = a.fk = a.fv = 1;
    a.gq = fv__grad(c, n->src[0], &a.fq);
    if (n->src[1]) a.gk = fv__grad(c, n->src[1], &a.fk), a.gv = fv__grad(c, n->src[2], &a.fv);
    else a.gk = a.gv = a.gq, a.fk = a.fv = a.fq;
    fv__attention_run(c, &a, 1);
}

#ifdef FROZENVIS_CUDA
/* On a GPU, first the plain kernels, for any type and length and heads up to 256 wide. A block of 256 threads
 * owns a tile of rows (queries; for gk and gv keys) of one head; tiles of the other side's rows pass by. A
 * product's operands come to shared memory as numbers of the computing type, a slice of the head's width at a
 * time; half a warp makes the scores of 4 (f64: 2) rows, a thread those of every 16th column, and the half
 * alone reads them again, as the left operand of the next product. The softmax is kept up as keys go by:
 * source Milakov and Gimelshein, arXiv:1805.02867; Dao et al., arXiv:2205.14135. Rotary embedding turns
 * copies of q and k beforehand, and the gradients back afterwards. No sum is made by two blocks, so the
 * result is the same each time. */
enum { FV__HEAD_MAX = 256 };
typedef struct fv__cu_head {
    const void *data;
    fv_type type;
    int64_t width, at; /* elements a row; first column of head 0 */
} fv__cu_head;
typedef struct fv__cu_grad {
    void *data;
    fv_type type;
    int64_t width, at;
    int add;
} fv__cu_grad;
typedef struct fv__cu_attention {
    fv__cu_head q, k, v, y, gy;
    fv__cu_grad out, gq, gk, gv; /* out: y again, to be written */
    int64_t B, N, M, H, K, hd;
    double scale;
    int causal;
    const uint8_t *mask;
    /* [B,H,N] of C: pairs of max and 1/sum; rows' sums of gy y, in pairs too on tensor cores, see there */
    void *stat, *delta;
} fv__cu_attention;

template <class C>
FV__DEV C fv__head_at(const fv__cu_head &t, int64_t row, int64_t head, int64_t hd, int64_t d) {
    return fv__ld<C>(t.data, t.type, row * t.width + t.at + head * hd + d);
}

enum { FV__PLAIN_THREADS = 256 };
template <class C, int N> struct alignas(N * sizeof(C)) fv__few { /* neighbours, moved in one access */
    C at[N];
};
/* VEC: numbers in 16 bytes. A row in shared memory has 16 bytes more than it needs, so that the same columns
 * of eight neighbours lie in different banks. */
template <class C> struct fv__plain {
    enum {
        VEC = 16 / sizeof(C),
        RT = sizeof(C) == 4 ? 4 : 2,
        ROWS = 16 * RT,
        DEPTH = 32,
        LD = DEPTH + VEC,
        LDP = ROWS + VEC
    };
    static const fv_type TYPE = sizeof(C) == 4 ? FV_F32 : FV_F64;
    typedef fv__few<C, VEC> vec;
};
template <class C> struct alignas(16) fv__plain_room { /* a block's shared memory */
    typedef fv__plain<C> tile;
    C rows[2 * tile::ROWS * tile::LD]; /* slices of both sides' rows, or a wider one of the passing side's */
    C p[tile::ROWS * tile::LDP];       /* [own][passing] */
};
/* a thread's part of its rows' sums: CV neighbouring columns out of every COLS */
template <class C, int W> struct fv__plain_sums {
    typedef fv__plain<C> tile;
    enum {
        COLS = W < 16 * tile::VEC ? W : 16 * tile::VEC,
        CV = COLS / 16,
        SLICES = W / COLS,
        LD = COLS + tile::VEC
    };
    static_assert(tile::ROWS * LD <= 2 * tile::ROWS * tile::LD, "a slice fits into the room");
    C at[SLICES][tile::RT][CV];
};
/* up to ROWS rows of a head. quads: four neighbours can be moved at once. */
typedef struct fv__plain_side {
    fv__cu_head t;
    int64_t at; /* element where the first one begins */
    int n, quads;
} fv__plain_side;
template <class C>
FV__DEV fv__plain_side fv__plain_side_of(const fv__cu_head &t, int64_t b, int64_t rows, int64_t from,
                                         int64_t head, int64_t hd) {
    fv__plain_side s;
    s.t = t, s.at = (b * rows + from) * t.width + t.at + head * hd;
    s.n = (int)FV__MIN(rows - from, (int64_t)fv__plain<C>::ROWS);
    s.quads = (uintptr_t)t.data % 16 == 0 && (t.width | t.at | hd) % 4 == 0 &&
              (t.type == fv__plain<C>::TYPE || (sizeof(C) == 4 && t.type == FV_BF16));
    return s;
}
/* Columns d0 .. d0+D of a side's rows, D/4 threads a row; zeros where it ends. Through registers, so that the
 * loads of several slices are under way together; what has no quads goes by ones. */
template <class C, int D> struct fv__plain_slice {
    typedef fv__plain<C> tile;
    typedef typename tile::vec vec;
    enum { N = tile::ROWS * D / 4 / FV__PLAIN_THREADS, VEC = tile::VEC };
    C v[N][4];
    FV__METHOD void fetch(const fv__plain_side &s, int d0, int hd) {
        FV__CU_UNROLL
        for (int i = 0; i < N; i++) {
            int e = (int)threadIdx.x + FV__PLAIN_THREADS * i, r = e / (D / 4), d = d0 + e % (D / 4) * 4;
            int64_t at = s.at + r * s.t.width + d;
            v[i][0] = v[i][1] = v[i][2] = v[i][3] = 0;
            if (!s.quads || r >= s.n || d >= hd) continue;
            if (s.t.type == FV_BF16) fv__ld4<C>(s.t.data, FV_BF16, at, v[i]);
            else {
                FV__CU_UNROLL
                for (int k = 0; k < 4; k += VEC) {
                    vec x = *(const vec *)((const C *)s.t.data + at + k);
                    FV__CU_UNROLL
                    for (int l = 0; l < VEC; l++) v[i][k + l] = x.at[l];
                }
            }
        }
    }
    FV__METHOD void put(C *to, const fv__plain_side &s, int d0, int hd) const {
        for (int e = (int)threadIdx.x; !s.quads && e < tile::ROWS * D; e += FV__PLAIN_THREADS) {
            int r = e / D, d = d0 + e % D;
            to[r * (D + VEC) + e % D] =
                r < s.n && d < hd ? fv__ld<C>(s.t.data, s.t.type, s.at + r * s.t.width + d) : (C)0;
        }
        if (!s.quads) return;
        FV__CU_UNROLL
        for (int i = 0; i < N; i++) {
            int e = (int)threadIdx.x + FV__PLAIN_THREADS * i, r = e / (D / 4), d = e % (D / 4) * 4;
            FV__CU_UNROLL
            for (int k = 0; k < 4; k += VEC) {
                vec x;
                FV__CU_UNROLL
                for (int l = 0; l < VEC; l++) x.at[l] = v[i][k + l];
                *(vec *)(to + r * (D + VEC) + d + k) = x;
            }
        }
    }
};
/* s[i][j] = own row times passing row, over the head's width. By the whole block.
 * idle: this warp has no rows. */
template <class C>
FV__DEV void fv__plain_scores(C (*s)[fv__plain<C>::RT], fv__plain_room<C> &m, const fv__plain_side &own,
                              const fv__plain_side &pass, int hd, int idle) {
    typedef fv__plain<C> tile;
    typedef typename tile::vec vec;
    const C *mine = m.rows + (int)threadIdx.x / 16 * tile::RT * tile::LD,
            *theirs = m.rows + (tile::ROWS + (int)threadIdx.x % 16) * tile::LD;
    FV__CU_UNROLL
    for (int i = 0; i < tile::RT; i++) FV__CU_UNROLL
    for (int j = 0; j < tile::RT; j++) s[i][j] = 0;
    for (int d0 = 0; d0 < hd; d0 += tile::DEPTH) {
        fv__plain_slice<C, tile::DEPTH> a, b;
        a.fetch(own, d0, hd), b.fetch(pass, d0, hd);
        __syncthreads(); /* all have read what was there before */
        a.put(m.rows, own, d0, hd), b.put(m.rows + tile::ROWS * tile::LD, pass, d0, hd);
        __syncthreads();
        if (idle) continue;
        int n = FV__MIN(hd - d0, (int)tile::DEPTH);
        for (int d = 0; d < n; d += tile::VEC) {
            vec x[tile::RT], y[tile::RT];
            FV__CU_UNROLL
            for (int i = 0; i < tile::RT; i++) {
                x[i] = *(const vec *)(mine + i * tile::LD + d);
                y[i] = *(const vec *)(theirs + 16 * i * tile::LD + d);
            }
            FV__CU_UNROLL
            for (int k = 0; k < tile::VEC; k++) FV__CU_UNROLL
            for (int i = 0; i < tile::RT; i++) FV__CU_UNROLL
            for (int j = 0; j < tile::RT; j++) s[i][j] += x[i].at[k] * y[j].at[k];
        }
    }
}
/* p of the thread's rows and columns goes where fv__plain_add reads it */
template <class C> FV__DEV void fv__plain_show(fv__plain_room<C> &m, const C (*p)[fv__plain<C>::RT]) {
    typedef fv__plain<C> tile;
    int ti = (int)threadIdx.x / 16, tj = (int)threadIdx.x % 16;
    __syncwarp(); /* the half has read what was there before */
    FV__CU_UNROLL
    for (int i = 0; i < tile::RT; i++) FV__CU_UNROLL
    for (int j = 0; j < tile::RT; j++) m.p[(ti * tile::RT + i) * tile::LDP + tj + 16 * j] = p[i][j];
}
/* sum += p times the passing rows. By the whole block. */
template <class C, int W>
FV__DEV void fv__plain_add(fv__plain_sums<C, W> &sum, fv__plain_room<C> &m, const fv__plain_side &pass,
                           int hd, int idle) {
    typedef fv__plain<C> tile;
    typedef fv__plain_sums<C, W> sums;
    typedef fv__few<C, sums::CV> few;
    typedef typename tile::vec vec;
    const C *p = m.p + (int)threadIdx.x / 16 * tile::RT * tile::LDP,
            *rows = m.rows + (int)threadIdx.x % 16 * sums::CV;
    FV__CU_UNROLL
    for (int c = 0; c < sums::SLICES; c++) {
        if (c * sums::COLS >= hd) continue;
        fv__plain_slice<C, sums::COLS> a;
        a.fetch(pass, c * sums::COLS, hd);
        __syncthreads();
        a.put(m.rows, pass, c * sums::COLS, hd);
        __syncthreads();
        if (idle) continue;
        for (int j = 0; j < pass.n; j += tile::VEC) { /* p is 0 where the side ends */
            vec x[tile::RT];
            FV__CU_UNROLL
            for (int i = 0; i < tile::RT; i++) x[i] = *(const vec *)(p + i * tile::LDP + j);
            FV__CU_UNROLL
            for (int k = 0; k < tile::VEC; k++) {
                few y = *(const few *)(rows + (j + k) * sums::LD);
                FV__CU_UNROLL
                for (int i = 0; i < tile::RT; i++) FV__CU_UNROLL
                for (int n = 0; n < sums::CV; n++) sum.at[c][i][n] += x[i].at[k] * y.at[n];
            }
        }
    }
}
template <class C, int W> FV__DEV void fv__plain_clear(fv__plain_sums<C, W> &sum) {
    typedef fv__plain_sums<C, W> sums;
    FV__CU_UNROLL
    for (int c = 0; c < sums::SLICES; c++) FV__CU_UNROLL
    for (int i = 0; i < fv__plain<C>::RT; i++) FV__CU_UNROLL
    for (int n = 0; n < sums::CV; n++) sum.at[c][i][n] = 0;
}
/* The block's sums to memory, n rows from row `row` of all on; by way of shared memory, so that neighbouring
 * threads write neighbours. */
template <class C, int W>
FV__DEV void fv__plain_put(const fv__cu_grad &t, const fv__plain_sums<C, W> &sum, fv__plain_room<C> &m,
                           int64_t row, int64_t n, int64_t head, int hd) {
    typedef fv__plain<C> tile;
    typedef fv__plain_sums<C, W> sums;
    typedef fv__few<C, sums::CV> few;
    typedef typename tile::vec vec;
    if (!t.data) return;
    int quads =
        (uintptr_t)t.data % 16 == 0 && (t.width | t.at | (int64_t)hd) % 4 == 0 && t.type == tile::TYPE;
    C *mine = m.rows + (int)threadIdx.x / 16 * tile::RT * sums::LD + (int)threadIdx.x % 16 * sums::CV;
    FV__CU_UNROLL
    for (int c = 0; c < sums::SLICES; c++) {
        int wide = FV__MIN(hd - c * sums::COLS, (int)sums::COLS), step = quads ? (int)tile::VEC : 1;
        if (wide <= 0) continue;
        __syncthreads();
        FV__CU_UNROLL
        for (int i = 0; i < tile::RT; i++) {
            few x;
            FV__CU_UNROLL
            for (int k = 0; k < sums::CV; k++) x.at[k] = sum.at[c][i][k];
            *(few *)(mine + i * sums::LD) = x;
        }
        __syncthreads();
        for (int e = (int)threadIdx.x * step; e < tile::ROWS * sums::COLS; e += FV__PLAIN_THREADS * step) {
            int r = e / sums::COLS, d = e % sums::COLS;
            int64_t at = (row + r) * t.width + t.at + head * hd + c * sums::COLS + d;
            if (r >= n || d >= wide) continue;
            if (!quads) fv__put<C>(t.data, t.type, at, m.rows[r * sums::LD + d], t.add);
            else {
                vec x = *(const vec *)(m.rows + r * sums::LD + d), *to = (vec *)((C *)t.data + at),
                    old = {{0}};
                if (t.add) old = *to;
                FV__CU_UNROLL
                for (int k = 0; k < tile::VEC; k++) x.at[k] += old.at[k];
                *to = x;
            }
        }
    }
}
/* tile, head and sample of this block; queries or keys, heads or key heads */
template <class C>
FV__DEV void fv__plain_unit(int64_t rows, int64_t heads, int64_t *from, int64_t *head, int64_t *b) {
    int64_t tiles = FV__CEIL(rows, (int64_t)fv__plain<C>::ROWS), unit = (int64_t)blockIdx.x;
    *from = unit % tiles * fv__plain<C>::ROWS, *head = unit / tiles % heads, *b = unit / tiles / heads;
}
/* Row i's scores become exp(s - max), with the max so far, 0 where a key is not valid; when the max grows,
 * the sum and the row's sums of values are scaled to it. valid: bit j is for column j. */
template <class C, int W>
FV__DEV void fv__plain_softmax(C *s, unsigned valid, C scale, C *most, C *sum, fv__plain_sums<C, W> &o,
                               int i) {
    typedef fv__plain<C> tile;
    typedef fv__plain_sums<C, W> sums;
    C top = -INFINITY, part = 0;
    FV__CU_UNROLL
    for (int j = 0; j < tile::RT; j++) {
        s[j] = valid >> j & 1 ? s[j] * scale : (C)-INFINITY;
        top = s[j] != s[j] || s[j] > top ? s[j] : top;
    }
    top = fv__warp_max<16>(top);
    top = top != top || top > *most ? top : *most;
    C keep = *most == (C)-INFINITY ? (C)0 : exp(*most - top);
    FV__CU_UNROLL
    for (int j = 0; j < tile::RT; j++) {
        s[j] = s[j] == (C)-INFINITY ? (C)0 : exp(s[j] - top);
        part += s[j];
    }
    *sum = *sum * keep + fv__warp_sum<16>(part);
    FV__CU_UNROLL
    for (int c = 0; c < sums::SLICES; c++) FV__CU_UNROLL
    for (int n = 0; n < sums::CV; n++) /* before the first valid key: 0, even where a value is no number */
        o.at[c][i][n] = *most == (C)-INFINITY ? (C)0 : o.at[c][i][n] * keep;
    *most = top;
}
template <class C, int W>
FV__KERNEL __launch_bounds__(FV__PLAIN_THREADS, W > 128 ? 1 : 2) fv__attention_k(fv__cu_attention a) {
    typedef fv__plain<C> tile;
    typedef fv__plain_sums<C, W> sums;
    __shared__ fv__plain_room<C> m;
    int64_t from, h, b;
    fv__plain_unit<C>(a.N, a.H, &from, &h, &b);
    int64_t kh = h / (a.H / a.K), first = from + (int)threadIdx.x / 16 * tile::RT,
            see = a.causal ? FV__MIN(a.M, from + tile::ROWS) : a.M;
    int tj = (int)threadIdx.x % 16, hd = (int)a.hd, idle = from + (int)threadIdx.x / 32 * 2 * tile::RT >= a.N;
    fv__plain_side q = fv__plain_side_of<C>(a.q, b, a.N, from, h, hd);
    C most[tile::RT], sum[tile::RT], s[tile::RT][tile::RT];
    sums o;
    fv__plain_clear(o);
    FV__CU_UNROLL
    for (int i = 0; i < tile::RT; i++) most[i] = -INFINITY, sum[i] = 0;
    for (int64_t key = 0; key < see; key += tile::ROWS) {
        fv__plain_scores<C>(s, m, q, fv__plain_side_of<C>(a.k, b, a.M, key, kh, hd), hd, idle);
        if (!idle) {
            unsigned valid = 0;
            FV__CU_UNROLL
            for (int j = 0; j < tile::RT; j++) {
                int64_t k = key + tj + 16 * j;
                valid |= (unsigned)(k < a.M && (!a.mask || a.mask[b * a.M + k])) << j;
            }
            FV__CU_UNROLL
            for (int i = 0; i < tile::RT; i++) {
                unsigned seen = valid;
                FV__CU_UNROLL
                for (int j = 0; j < tile::RT; j++)
                    if (a.causal && key + tj + 16 * j > first + i) seen &= ~(1u << j);
                fv__plain_softmax<C, W>(s[i], seen, (C)a.scale, &most[i], &sum[i], o, i);
            }
            fv__plain_show<C>(m, s);
        }
        fv__plain_add<C, W>(o, m, fv__plain_side_of<C>(a.v, b, a.M, key, kh, hd), hd, idle);
    }
    FV__CU_UNROLL
    for (int i = 0; i < tile::RT; i++) {
        int64_t row = first + i, unit = (b * a.H + h) * a.N + row;
        C inverse = sum[i] > 0 || sum[i] != sum[i] ? 1 / sum[i] : (C)0;
        FV__CU_UNROLL
        for (int c = 0; c < sums::SLICES; c++) FV__CU_UNROLL
        for (int n = 0; n < sums::CV; n++)
            o.at[c][i][n] = most[i] == (C)-INFINITY ? (C)0 : o.at[c][i][n] * inverse;
        if (!tj && row < a.N) ((C *)a.stat)[2 * unit] = most[i], ((C *)a.stat)[2 * unit + 1] = inverse;
    }
    fv__plain_put<C, W>(a.out, o, m, b * a.N + from, a.N - from, h, hd);
}
template <class C> FV__KERNEL fv__attention_delta_k(fv__cu_attention a) {
    int64_t unit = fv__my_row(), i = unit % a.N, h = unit / a.N % a.H, b = unit / a.N / a.H;
    if (unit >= a.B * a.H * a.N) return;
    C s = 0;
    for (int64_t d = (int64_t)threadIdx.x; d < a.hd; d += 32)
        s += fv__head_at<C>(a.gy, b * a.N + i, h, a.hd, d) * fv__head_at<C>(a.y, b * a.N + i, h, a.hd, d);
    s = fv__warp_sum(s);
    if (!threadIdx.x) ((C *)a.delta)[unit] = s;
}
/* what the backward pass knows of a query: its scores' max and 1/sum, and its delta */
template <class C> struct fv__plain_query {
    C most, inverse, delta;
    FV__METHOD void of(const fv__cu_attention &a, int64_t unit, int there) {
        most = there ? ((const C *)a.stat)[2 * unit] : (C)-INFINITY;
        inverse = there ? ((const C *)a.stat)[2 * unit + 1] : (C)0;
        delta = there ? ((const C *)a.delta)[unit] : (C)0;
    }
    FV__METHOD C probability(C score) const {
        return most == (C)-INFINITY ? (C)0 : exp(score - most) * inverse;
    }
};
template <class C, int W>
FV__KERNEL __launch_bounds__(FV__PLAIN_THREADS, W > 64 ? 1 : 2) fv__attention_gq_k(fv__cu_attention a) {
    typedef fv__plain<C> tile;
    __shared__ fv__plain_room<C> m;
    int64_t from, h, b;
    fv__plain_unit<C>(a.N, a.H, &from, &h, &b);
    int64_t kh = h / (a.H / a.K), first = from + (int)threadIdx.x / 16 * tile::RT,
            see = a.causal ? FV__MIN(a.M, from + tile::ROWS) : a.M;
    int tj = (int)threadIdx.x % 16, hd = (int)a.hd, idle = from + (int)threadIdx.x / 32 * 2 * tile::RT >= a.N;
    fv__plain_side q = fv__plain_side_of<C>(a.q, b, a.N, from, h, hd),
                   gy = fv__plain_side_of<C>(a.gy, b, a.N, from, h, hd);
    C s[tile::RT][tile::RT], gp[tile::RT][tile::RT];
    fv__plain_query<C> mine[tile::RT];
    fv__plain_sums<C, W> gq;
    fv__plain_clear(gq);
    FV__CU_UNROLL
    for (int i = 0; i < tile::RT; i++) mine[i].of(a, (b * a.H + h) * a.N + first + i, first + i < a.N);
    for (int64_t key = 0; key < see; key += tile::ROWS) {
        fv__plain_side k = fv__plain_side_of<C>(a.k, b, a.M, key, kh, hd);
        fv__plain_scores<C>(s, m, q, k, hd, idle);
        fv__plain_scores<C>(gp, m, gy, fv__plain_side_of<C>(a.v, b, a.M, key, kh, hd), hd, idle);
        if (!idle) {
            FV__CU_UNROLL
            for (int j = 0; j < tile::RT; j++) {
                int64_t at = key + tj + 16 * j;
                int valid = at < a.M && (!a.mask || a.mask[b * a.M + at]);
                FV__CU_UNROLL
                for (int i = 0; i < tile::RT; i++) {
                    C p = mine[i].probability(s[i][j] * (C)a.scale);
                    s[i][j] = valid && (!a.causal || at <= first + i)
                                  ? p * (gp[i][j] - mine[i].delta) * (C)a.scale
                                  : (C)0;
                }
            }
            fv__plain_show<C>(m, s);
        }
        fv__plain_add<C, W>(gq, m, k, hd, idle);
    }
    fv__plain_put<C, W>(a.gq, gq, m, b * a.N + from, a.N - from, h, hd);
}
template <class C, int W>
FV__KERNEL __launch_bounds__(FV__PLAIN_THREADS, W > 64 ? 1 : 2) fv__attention_gkv_k(fv__cu_attention a) {
    typedef fv__plain<C> tile;
    typedef fv__plain_sums<C, W> sums;
    __shared__ fv__plain_room<C> m;
    int64_t from, kh, b, group = a.H / a.K;
    fv__plain_unit<C>(a.M, a.K, &from, &kh, &b);
    int64_t first = from + (int)threadIdx.x / 16 * tile::RT;
    int tj = (int)threadIdx.x % 16, hd = (int)a.hd, idle = from + (int)threadIdx.x / 32 * 2 * tile::RT >= a.M;
    fv__plain_side k = fv__plain_side_of<C>(a.k, b, a.M, from, kh, hd),
                   v = fv__plain_side_of<C>(a.v, b, a.M, from, kh, hd);
    C p[tile::RT][tile::RT], gs[tile::RT][tile::RT];
    int valid[tile::RT];
    sums gk, gv;
    fv__plain_clear(gk), fv__plain_clear(gv);
    FV__CU_UNROLL
    for (int i = 0; i < tile::RT; i++) valid[i] = first + i < a.M && (!a.mask || a.mask[b * a.M + first + i]);
    for (int64_t h = kh * group; h < (kh + 1) * group; h++)
        for (int64_t query = a.causal ? from : 0; query < a.N; query += tile::ROWS) {
            fv__plain_side q = fv__plain_side_of<C>(a.q, b, a.N, query, h, hd),
                           gy = fv__plain_side_of<C>(a.gy, b, a.N, query, h, hd);
            fv__plain_scores<C>(p, m, k, q, hd, idle);
            fv__plain_scores<C>(gs, m, v, gy, hd, idle);
            if (!idle) {
                FV__CU_UNROLL
                for (int j = 0; j < tile::RT; j++) {
                    int64_t at = query + tj + 16 * j;
                    fv__plain_query<C> theirs;
                    theirs.of(a, (b * a.H + h) * a.N + at, at < a.N);
                    FV__CU_UNROLL
                    for (int i = 0; i < tile::RT; i++) {
                        int seen = valid[i] && at < a.N && (!a.causal || first + i <= at);
                        p[i][j] = seen ? theirs.probability(p[i][j] * (C)a.scale) : (C)0;
                        gs[i][j] = seen ? p[i][j] * (gs[i][j] - theirs.delta) * (C)a.scale : (C)0;
                    }
                }
                fv__plain_show<C>(m, p);
            }
            fv__plain_add<C, W>(gv, m, gy, hd, idle);
            if (!idle) fv__plain_show<C>(m, gs);
            fv__plain_add<C, W>(gk, m, q, hd, idle);
        }
    FV__CU_UNROLL
    for (int i = 0; i < tile::RT; i++) /* a key that is masked: 0, even where gy is no number */
        FV__CU_UNROLL
    for (int c = 0; c < sums::SLICES; c++) FV__CU_UNROLL
    for (int n = 0; n < sums::CV; n++) {
        gk.at[c][i][n] = valid[i] ? gk.at[c][i][n] : (C)0;
        gv.at[c][i][n] = valid[i] ? gv.at[c][i][n] : (C)0;
    }
    fv__plain_put<C, W>(a.gk, gk, m, b * a.M + from, a.M - from, kh, hd);
    fv__plain_put<C, W>(a.gv, gv, m, b * a.M + from, a.M - from, kh, hd);
}
/* ---- the same on tensor cores, for products in bf16 and heads 32, 48, ... 128 wide; after Dao,
 * arXiv:2307.08691. A warp owns 16 rows of one head (queries; for gk and gv keys), the left operands of its
 * products, in registers from first to last; the other side's rows pass by in tiles, which the block shares,
 * the next one on its way while this one is worked on. A fragment of sums is, in its registers, the left
 * operand that the next product wants, so scores never leave the warp that made them. W: how many 16 columns
 * the widest head takes, 4 or 8; a narrower head is filled up with zeros. ---- */
#ifdef __CUDACC__
/* d += a b, by a warp: a 16x16, b 16x8. With g = lane / 4 and t = lane % 4 * 2 a lane holds in d[0], d[1]
 * columns t, t + 1 of row g and in d[2], d[3] of row g + 8; in a[0], a[1] the same places of a's left half,
 * in a[2], a[3] of its right half; in b0 rows t, t + 1 of column g, in b1 rows t + 8, t + 9. */
FV__DEV void fv__mma_bf16(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/* four 8x8 matrices of bf16 from shared memory: lane 8i + r says where row r of matrix i lies. A lane gets
 * columns t, t + 1 of row g of each; transposed, rows t, t + 1 of column g. */
FV__DEV void fv__ldmatrix_x4(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
}
FV__DEV void fv__ldmatrix_x4_trans(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
}
/* 8 or 16 bytes to shared memory, zeros unless there; they have come after fv__copy_wait */
template <int BYTES> FV__DEV void fv__copy_start(void *to, const void *from, int there) {
    unsigned at = (unsigned)__cvta_generic_to_shared(to);
    int take = there ? BYTES : 0;
    if (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(take)
                     : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(at), "l"(from), "r"(take)
                     : "memory");
}
FV__DEV void fv__copy_wait(void) { asm volatile("cp.async.wait_all;" ::: "memory"); }
/* threadIdx.x, blockIdx.x, asked for anew: what is made of them does not stay in registers through a loop */
FV__DEV int fv__my_thread(void) {
    int t;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(t));
    return t;
}
FV__DEV int fv__my_block(void) {
    int b;
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(b));
    return b;
}
#endif
enum { FV__TC_TILE = 4096 /* numbers of a tile: 64 rows of 64 or 32 of 128 */ };
struct alignas(16) fv__tc_room { /* a block's shared memory; while one half is worked on, the other fills */
    uint16_t a[2][FV__TC_TILE + 64 * 8]; /* keys; for gk and gv queries */
    uint16_t b[2][FV__TC_TILE + 64 * 8]; /* values; gy */
    float row[2][64][2];                 /* less and delta of queries, see fv__tc_gq_k */
    uint8_t valid[2][64];                /* of keys, where there is a mask */
    int64_t at[3];                       /* where row 0 is in the three; registers are short */
};
/* column 8 chunk of a tile's row; rows are padded, so that eight neighbours' chunks lie in all 32 banks */
template <int W, class T> FV__DEV T *fv__tc_at(T *tile, int row, int chunk) {
    return tile + row * (16 * W + 8) + chunk * 8;
}
/* where a tile is that begins with row `from` of sample b */
FV__DEV int64_t fv__tc_place(const fv__cu_head &t, int64_t b, int64_t rows, int from, int head, int64_t hd) {
    return (b * rows + from) * t.width + t.at + head * hd;
}
/* That tile begins to become bf16 in shared memory; zeros where the head ends, and after `left` rows. By the
 * whole block. */
template <int W>
FV__DEV void fv__tc_bring(uint16_t *tile, const fv__cu_head &t, int64_t from, int left, int64_t hd) {
    int chunk = fv__my_thread() % (2 * W), step = (int)blockDim.x / (2 * W);
    if (8 * chunk >= hd) left = 0;
    FV__CU_ROLL
    for (int r = fv__my_thread() / (2 * W); r < FV__TC_TILE / 16 / W; r += step) {
        int64_t at = from + r * t.width + 8 * chunk;
        uint16_t *to = fv__tc_at<W>(tile, r, chunk);
        if (t.type == FV_BF16)
            fv__copy_start<16>(to, (const uint16_t *)t.data + (r < left ? at : 0), r < left);
        else
            for (int k = 0; k < 8; k += 4) {
                float v[4] = {0, 0, 0, 0};
                if (r < left) fv__ld4<float>(t.data, t.type, at + k, v);
                fv__st4<float>(to, FV_BF16, k, v);
            }
    }
}
/* 16 rows of a head as left operands; row: the lane's first one, lane / 4 of the 16 */
template <int W>
FV__DEV void fv__tc_own(uint32_t own[W][4], const fv__cu_head &t, int64_t b, int rows, int row, int head,
                        int hd) {
    int64_t base = (b * rows + row) * t.width + t.at + head * hd + threadIdx.x % 4 * 2;
    FV__CU_UNROLL
    for (int d = 0; d < W; d++) {
        FV__CU_UNROLL
        for (int k = 0; k < 4; k++) {
            int64_t at = base + k % 2 * 8 * t.width + 16 * d + k / 2 * 8;
            own[d][k] = 0;
            if (row + k % 2 * 8 >= rows || 16 * d >= hd) continue;
            if (t.type == FV_BF16) own[d][k] = *(const uint32_t *)((const uint16_t *)t.data + at);
            else
                own[d][k] =
                    fv__bf16_pair(fv__ld<float>(t.data, t.type, at), fv__ld<float>(t.data, t.type, at + 1));
        }
    }
}
/* s [16,16] += own times rows [n, n+16) of a tile, over the head's width: two fragments of sums */
template <int W>
FV__DEV void fv__tc_scores(float (*s)[4], const uint32_t own[W][4], const uint16_t *tile, int n) {
    int lane = (int)threadIdx.x % 32;
    FV__CU_UNROLL
    for (int d = 0; d < W; d++) {
        uint32_t r[4];
        fv__ldmatrix_x4(r, fv__tc_at<W>(tile, n + lane % 16, 2 * d + lane / 16));
        fv__mma_bf16(s[0], own[d], r[0], r[2]);
        fv__mma_bf16(s[1], own[d], r[1], r[3]);
    }
}
/* sum [16,16 W] += p [16,16], two fragments of sums, times rows [n, n+16) of a tile */
template <int W> FV__DEV void fv__tc_add(float (*sum)[4], const float (*p)[4], const uint16_t *tile, int n) {
    int lane = (int)threadIdx.x % 32;
    uint32_t a[4], r[4];
    FV__CU_UNROLL
    for (int k = 0; k < 4; k++) a[k] = fv__bf16_pair(p[k / 2][k % 2 * 2], p[k / 2][k % 2 * 2 + 1]);
    FV__CU_UNROLL
    for (int d = 0; d < W; d++) {
        fv__ldmatrix_x4_trans(r, fv__tc_at<W>(tile, n + lane % 16, 2 * d + lane / 16));
        fv__mma_bf16(sum[2 * d], a, r[0], r[1]);
        fv__mma_bf16(sum[2 * d + 1], a, r[2], r[3]);
    }
}
/* The warp's 16 rows to memory, times s[0], s[1] (of the lane's two rows; 0: zeros, whatever the sums are).
 * Neighbours swap halves, so that each has four columns of one row. */
template <int W>
FV__DEV void fv__tc_put(const fv__cu_grad &t, const float (*sum)[4], const float s[2], int64_t b, int rows,
                        int row, int head, int hd) {
    int odd = fv__my_thread() % 2, col = fv__my_thread() % 4 / 2 * 4 + 8 * odd;
    FV__CU_UNROLL
    for (int k = 0; k < 2; k++) {
        int64_t at = (b * rows + row + 8 * k) * t.width + t.at + head * hd + col;
        FV__CU_UNROLL
        for (int d = 0; d < W; d++) {
            if (16 * d >= hd) continue;
            float mine[2], other[2], v[4], was[4];
            FV__CU_UNROLL
            for (int e = 0; e < 2; e++) {
                float left = sum[2 * d][2 * k + e], right = sum[2 * d + 1][2 * k + e];
                mine[e] = odd ? right : left;
                other[e] = __shfl_xor_sync(0xffffffffu, odd ? left : right, 1);
            }
            v[0] = odd ? other[0] : mine[0], v[1] = odd ? other[1] : mine[1];
            v[2] = odd ? mine[0] : other[0], v[3] = odd ? mine[1] : other[1];
            FV__CU_UNROLL
            for (int e = 0; e < 4; e++) v[e] = s[k] == 0 ? 0 : v[e] * s[k];
            if (row + 8 * k >= rows) continue;
            if (t.add) {
                fv__ld4<float>(t.data, t.type, at + 16 * d, was);
                FV__CU_UNROLL
                for (int e = 0; e < 4; e++) v[e] += was[e];
            }
            fv__st4<float>(t.data, t.type, at + 16 * d, v);
        }
    }
}
/* first row, head and sample of this block; queries or keys, heads or key heads */
FV__DEV void fv__tc_unit(int rows, int heads, int *from, int *head, int *b) {
    int own = (int)blockDim.x / 2, tiles = FV__CEIL(rows, own), unit = fv__my_block();
    *from = unit % tiles * own, *head = unit / tiles % heads, *b = unit / tiles / heads;
}
/* blocks of at most so many warps, about equally busy */
static dim3 fv__tc_block(int64_t rows, int64_t warps) {
    int64_t all = FV__MAX(FV__CEIL(rows, (int64_t)16), (int64_t)1);
    return dim3((unsigned)(32 * FV__CEIL(all, FV__CEIL(all, warps))));
}
static dim3 fv__tc_grid(dim3 block, int64_t rows, int64_t heads, int64_t samples) {
    return dim3((unsigned)(FV__CEIL(rows, (int64_t)block.x / 2) * heads * samples));
}
FV__DEV int fv__tc_valid(const fv__cu_attention &a, int64_t b, int key) {
    return key < a.M && (!a.mask || a.mask[b * a.M + key]);
}
/* Keys and values from key `from` on, and which of them are valid, begin to come; at: where key 0 is */
template <int W>
FV__DEV void fv__tc_bring_keys(fv__tc_room &m, int half, const fv__cu_attention &a, int b, int from,
                               const int64_t at[2]) {
    int left = (int)a.M - from;
    fv__tc_bring<W>(m.a[half], a.k, at[0] + from * a.k.width, left, a.hd);
    fv__tc_bring<W>(m.b[half], a.v, at[1] + from * a.v.width, left, a.hd);
    if (!a.mask) return;
    for (int key = fv__my_thread(); key < 64; key += (int)blockDim.x)
        m.valid[half][key] = (uint8_t)fv__tc_valid(a, b, from + key);
}
/* what a score is multiplied by before 2 is raised to it; not 0, which times -INFINITY is no number */
FV__DEV float fv__tc_scale(const fv__cu_attention &a) {
    return fmaxf((float)a.scale * 1.44269504f, 1.2e-38f);
}
/* Which keys of a tile the lane's two queries see: those below see[k] that are valid, where that is given.
 * -> whether all 16 queries of the warp, the first is `first`, see all n of them */
FV__DEV int fv__tc_see(const fv__cu_attention &a, int first, int from, int n, int see[2]) {
    int left = (int)a.M - from, row = first + (int)threadIdx.x % 32 / 4 + 1 - from;
    FV__CU_UNROLL
    for (int k = 0; k < 2; k++) see[k] = FV__MIN(a.causal ? FV__MIN(left, row + 8 * k) : left, n);
    return !a.mask && left >= n && (!a.causal || first + 1 - from >= n);
}
/* scores of keys [n, n+8) that a query does not see become -INFINITY */
FV__DEV void fv__tc_hide(float s[4], int n, const int see[2], const uint8_t *valid) {
    FV__CU_UNROLL
    for (int e = 0; e < 4; e++) {
        int key = n + (int)threadIdx.x % 4 * 2 + e % 2;
        if (key >= see[e / 2] || (valid && !valid[key])) s[e] = -INFINITY;
    }
}
/* A tile of keys goes by: the two rows' max so far (of scores without scale), the lane's share of their sums
 * and the sums of values. ALL: every query sees every key. A NaN is no max, but makes the sum one. */
template <int W, int ALL>
FV__DEV void fv__tc_look(float (*o)[4], float most[2], float sum[2], const uint32_t q[W][4],
                         const uint16_t *keys, const uint16_t *values, const uint8_t *valid, const int see[2],
                         int left, float scale) {
    enum { N = FV__TC_TILE / 16 / W / 8 };
    float s[N][4], ref[2];
    FV__CU_UNROLL
    for (int n = 0; n < N; n++) {
        FV__CU_UNROLL
        for (int e = 0; e < 4; e++) s[n][e] = 0;
    }
    FV__CU_UNROLL
    for (int n = 0; n < N; n += 2)
        if (ALL || 8 * n < left) fv__tc_scores<W>(s + n, q, keys, 8 * n);
    if (!ALL) {
        FV__CU_UNROLL
        for (int n = 0; n < N; n++) fv__tc_hide(s[n], 8 * n, see, valid);
    }
    FV__CU_UNROLL
    for (int k = 0; k < 2; k++) {
        float top = most[k];
        FV__CU_UNROLL
        for (int n = 0; n < N; n++) top = fmaxf(top, fmaxf(s[n][2 * k], s[n][2 * k + 1]));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
        /* products of their own, not contracted: while the max stays, keep is exactly 1, and no error adds up */
        ref[k] = top == -INFINITY ? 0 : __fmul_rn(top, scale);
        float keep = fv__exp2(__fmul_rn(most[k], scale) - ref[k]);
        most[k] = top, sum[k] *= keep;
        FV__CU_UNROLL
        for (int d = 0; d < 2 * W; d++) o[d][2 * k] *= keep, o[d][2 * k + 1] *= keep;
    }
    FV__CU_UNROLL
    for (int n = 0; n < N; n++) {
        FV__CU_UNROLL
        for (int e = 0; e < 4; e++) s[n][e] = fv__exp2(s[n][e] * scale - ref[e / 2]), sum[e / 2] += s[n][e];
    }
    FV__CU_UNROLL
    for (int n = 0; n < N; n += 2)
        if (ALL || 8 * n < left) fv__tc_add<W>(o, s + n, values, 8 * n);
}
template <int W>
FV__KERNEL __launch_bounds__(W == 4 ? 224 : 128, W == 4 ? 2 : 3) fv__tc_attention_k(fv__cu_attention a) {
    __shared__ fv__tc_room m;
    enum { PASS = FV__TC_TILE / 16 / W };
    int i0, h, b, N = (int)a.N, M = (int)a.M, hd = (int)a.hd;
    fv__tc_unit(N, (int)a.H, &i0, &h, &b);
    int kh = h / (int)(a.H / a.K), end = a.causal ? FV__MIN(i0 + (int)blockDim.x / 2, M) : M;
    int lane = (int)threadIdx.x % 32, half = 0;
    int first = i0 + (int)threadIdx.x / 32 * 16, i = first + lane / 4;
    float o[2 * W][4], most[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0}, inverse[2];
    uint32_t q[W][4];
    FV__CU_UNROLL
    for (int d = 0; d < 2 * W; d++) {
        FV__CU_UNROLL
        for (int e = 0; e < 4; e++) o[d][e] = 0;
    }
    int64_t at[2] = {fv__tc_place(a.k, b, a.M, 0, kh, a.hd), fv__tc_place(a.v, b, a.M, 0, kh, a.hd)};
    if (threadIdx.x == 0) m.at[0] = at[0], m.at[1] = at[1];
    if (end > 0) fv__tc_bring_keys<W>(m, 0, a, b, 0, at);
    fv__tc_own<W>(q, a.q, b, N, i, h, hd);
    for (int from = 0; from < end; from += PASS, half ^= 1) {
        fv__copy_wait();
        __syncthreads(); /* this tile is there, and the one before is done with */
        if (from + PASS < end) fv__tc_bring_keys<W>(m, half ^ 1, a, b, from + PASS, m.at);
        if (first >= N || (a.causal && from > first + 15)) continue;
        int see[2], left = FV__MIN(M - from, (int)PASS);
        const uint8_t *valid = a.mask ? m.valid[half] : NULL;
        if (fv__tc_see(a, first, from, PASS, see))
            fv__tc_look<W, 1>(o, most, sum, q, m.a[half], m.b[half], valid, see, left, fv__tc_scale(a));
        else fv__tc_look<W, 0>(o, most, sum, q, m.a[half], m.b[half], valid, see, left, fv__tc_scale(a));
    }
    fv__tc_unit(N, (int)a.H, &i0, &h, &b);
    i = i0 + fv__my_thread() / 32 * 16 + fv__my_thread() % 32 / 4;
    FV__CU_UNROLL
    for (int k = 0; k < 2; k++) {
        sum[k] += __shfl_xor_sync(0xffffffffu, sum[k], 1);
        sum[k] += __shfl_xor_sync(0xffffffffu, sum[k], 2);
        inverse[k] = sum[k] > 0 || sum[k] != sum[k] ? 1 / sum[k] : 0;
        float *stat = (float *)a.stat + (((int64_t)b * a.H + h) * a.N + i + 8 * k) * 2;
        if (fv__my_thread() % 4 == 0 && i + 8 * k < N)
            stat[0] = sum[k] == 0 ? -INFINITY : most[k] * (float)a.scale, stat[1] = inverse[k];
    }
    fv__tc_put<W>(a.out, o, inverse, b, N, i, h, hd);
}

/* Backward makes scores s and gP again, 16 x 16 at a time: p = 2^(scale s - less), where less has the row's
 * max and sum in it, and gS = p (gP - delta); the scale is left to the end. A row that saw no key has
 * less = INFINITY. fv__tc_gq_k comes first and leaves less and delta of each query for fv__tc_gkv_k. */
template <int W> FV__KERNEL __launch_bounds__(128, W == 4 ? 4 : 2) fv__tc_gq_k(fv__cu_attention a) {
    __shared__ fv__tc_room m;
    enum { PASS = FV__TC_TILE / 16 / W };
    int i0, h, b, N = (int)a.N, M = (int)a.M, hd = (int)a.hd;
    fv__tc_unit(N, (int)a.H, &i0, &h, &b);
    int kh = h / (int)(a.H / a.K), end = a.causal ? FV__MIN(i0 + (int)blockDim.x / 2, M) : M;
    int lane = (int)threadIdx.x % 32, half = 0;
    int first = i0 + (int)threadIdx.x / 32 * 16, i = first + lane / 4;
    float gq[2 * W][4], less[2] = {0, 0}, delta[2] = {0, 0}, scale = fv__tc_scale(a);
    uint32_t q[W][4], gy[W][4];
    int64_t at[2] = {fv__tc_place(a.k, b, a.M, 0, kh, a.hd), fv__tc_place(a.v, b, a.M, 0, kh, a.hd)};
    if (threadIdx.x == 0) m.at[0] = at[0], m.at[1] = at[1];
    if (end > 0 && a.gq.data) fv__tc_bring_keys<W>(m, 0, a, b, 0, at);
    fv__tc_own<W>(q, a.y, b, N, i, h, hd);
    fv__tc_own<W>(gy, a.gy, b, N, i, h, hd);
    FV__CU_UNROLL
    for (int d = 0; d < W; d++) {
        FV__CU_UNROLL
        for (int k = 0; k < 4; k++)
            delta[k % 2] += fv__bf16_to((uint16_t)q[d][k]) * fv__bf16_to((uint16_t)gy[d][k]) +
                            fv__bf16_to((uint16_t)(q[d][k] >> 16)) * fv__bf16_to((uint16_t)(gy[d][k] >> 16));
    }
    FV__CU_UNROLL
    for (int k = 0; k < 2; k++) {
        int64_t row = ((int64_t)b * a.H + h) * a.N + i + 8 * k;
        delta[k] += __shfl_xor_sync(0xffffffffu, delta[k], 1);
        delta[k] += __shfl_xor_sync(0xffffffffu, delta[k], 2);
        if (i + 8 * k >= N) continue;
        float inverse = ((const float *)a.stat)[2 * row + 1];
        less[k] = inverse == 0 ? INFINITY : ((const float *)a.stat)[2 * row] * 1.44269504f - log2f(inverse);
        if (lane % 4 == 0) ((float *)a.delta)[2 * row] = less[k], ((float *)a.delta)[2 * row + 1] = delta[k];
    }
    if (!a.gq.data) return;
    fv__tc_own<W>(q, a.q, b, N, i, h, hd);
    FV__CU_UNROLL
    for (int d = 0; d < 2 * W; d++) {
        FV__CU_UNROLL
        for (int e = 0; e < 4; e++) gq[d][e] = 0;
    }
    for (int from = 0; from < end; from += PASS, half ^= 1) {
        fv__copy_wait();
        __syncthreads();
        if (from + PASS < end) fv__tc_bring_keys<W>(m, half ^ 1, a, b, from + PASS, m.at);
        if (first >= N || (a.causal && from > first + 15)) continue;
        int see[2], left = FV__MIN(M - from, (int)PASS), all = fv__tc_see(a, first, from, PASS, see);
        FV__CU_ROLL
        for (int n = 0; n < left; n += 16) {
            float s[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}}, g[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
            fv__tc_scores<W>(s, q, m.a[half], n);
            fv__tc_scores<W>(g, gy, m.b[half], n);
            if (!all)
                for (int k = 0; k < 2; k++) fv__tc_hide(s[k], n + 8 * k, see, a.mask ? m.valid[half] : NULL);
            FV__CU_UNROLL
            for (int e = 0; e < 8; e++) {
                float p = fv__exp2(s[e / 4][e % 4] * scale - less[e % 4 / 2]);
                s[e / 4][e % 4] = p == 0 ? 0 : p * (g[e / 4][e % 4] - delta[e % 4 / 2]);
            }
            fv__tc_add<W>(gq, s, m.a[half], n);
        }
    }
    float back[2] = {(float)a.scale, (float)a.scale};
    fv__tc_unit(N, (int)a.H, &i0, &h, &b);
    i = i0 + fv__my_thread() / 32 * 16 + fv__my_thread() % 32 / 4;
    fv__tc_put<W>(a.gq, gq, back, b, N, i, h, hd);
}
/* Queries `from`, ... of the key head's query head `turn`, their gy, less and delta begin to come; past the
 * end all are zeros. at: where query 0 of the first head is, in q, gy and delta */
template <int W>
FV__DEV void fv__tc_bring_queries(fv__tc_room &m, int half, const fv__cu_attention &a, int turn, int from,
                                  const int64_t at[3]) {
    int left = (int)a.N - from;
    fv__tc_bring<W>(m.a[half], a.q, at[0] + turn * a.hd + from * a.q.width, left, a.hd);
    fv__tc_bring<W>(m.b[half], a.gy, at[1] + turn * a.hd + from * a.gy.width, left, a.hd);
    const float *rows = (const float *)a.delta + 2 * (at[2] + turn * a.N + from);
    FV__CU_ROLL
    for (int t = fv__my_thread(); t < FV__TC_TILE / 16 / W; t += (int)blockDim.x)
        fv__copy_start<8>(m.row[half][t], rows + (t < left ? 2 * t : 0), t < left);
}
template <int W> FV__KERNEL __launch_bounds__(128, W == 4 ? 3 : 2) fv__tc_gkv_k(fv__cu_attention a) {
    __shared__ fv__tc_room m;
    enum { PASS = FV__TC_TILE / 16 / W };
    int j0, kh, b, N = (int)a.N, M = (int)a.M, hd = (int)a.hd, group = (int)(a.H / a.K);
    fv__tc_unit(M, (int)a.K, &j0, &kh, &b);
    int lane = (int)threadIdx.x % 32, half = 0;
    int first = j0 + (int)threadIdx.x / 32 * 16, j = first + lane / 4;
    float gk[2 * W][4], gv[2 * W][4], scale = fv__tc_scale(a);
    uint32_t keys[W][4], values[W][4];
    FV__CU_UNROLL
    for (int d = 0; d < 2 * W; d++) {
        FV__CU_UNROLL
        for (int e = 0; e < 4; e++) gk[d][e] = gv[d][e] = 0;
    }
    int start = a.causal ? j0 : 0, from = start, turn = 0;
    int64_t at[3] = {fv__tc_place(a.q, b, N, 0, kh * group, hd), fv__tc_place(a.gy, b, N, 0, kh * group, hd),
                     ((int64_t)b * a.H + kh * group) * N};
    if (start >= N) group = 0; /* no query sees any of these keys */
    if (threadIdx.x == 0) m.at[0] = at[0], m.at[1] = at[1], m.at[2] = at[2];
    if (group) fv__tc_bring_queries<W>(m, 0, a, 0, from, at);
    fv__tc_own<W>(keys, a.k, b, M, j, kh, hd);
    fv__tc_own<W>(values, a.v, b, M, j, kh, hd);
    for (; turn < group; half ^= 1) {
        int now = from;
        from += PASS;
        if (from >= N) from = start, turn++;
        fv__copy_wait();
        __syncthreads();
        if (turn < group) fv__tc_bring_queries<W>(m, half ^ 1, a, turn, from, m.at);
        if (first >= M) continue;
        int left = FV__MIN(N - now, (int)PASS);
        /* the first query of the tile that sees the lane's first key; whether some see not all of them */
        int since = a.causal ? j - now : -16;
        int edge = left < PASS || (a.causal && now < first + 16);
        FV__CU_ROLL
        for (int n = 0; n < left; n += 16) {
            float s[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}}, g[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
            fv__tc_scores<W>(s, keys, m.a[half], n);
            fv__tc_scores<W>(g, values, m.b[half], n);
            FV__CU_UNROLL
            for (int k = 0; k < 2; k++) {
                int query = n + 8 * k + lane % 4 * 2;
                float4 row = *(const float4 *)m.row[half][query];
                FV__CU_UNROLL
                for (int e = 0; e < 4; e++) {
                    float p = fv__exp2(s[k][e] * scale - (e % 2 ? row.z : row.x));
                    int i = query + e % 2;
                    if (edge && (i >= left || i < since + e / 2 * 8)) p = 0;
                    s[k][e] = p;
                    g[k][e] = p == 0 ? 0 : p * (g[k][e] - (e % 2 ? row.w : row.y));
                }
            }
            fv__tc_add<W>(gv, s, m.b[half], n);
            fv__tc_add<W>(gk, g, m.a[half], n);
        }
    }
    float ones[2], back[2];
    fv__tc_unit(M, (int)a.K, &j0, &kh, &b);
    j = j0 + fv__my_thread() / 32 * 16 + fv__my_thread() % 32 / 4;
    FV__CU_UNROLL
    for (int k = 0; k < 2; k++)
        ones[k] = fv__tc_valid(a, b, j + 8 * k) ? 1.0f : 0.0f, back[k] = ones[k] * (float)a.scale;
    if (a.gk.data) fv__tc_put<W>(a.gk, gk, back, b, M, j, kh, hd);
    if (a.gv.data) fv__tc_put<W>(a.gv, gv, ones, b, M, j, kh, hd);
}
/* Pair i of each head of each row, turned by its position's angle (or back); n is positions a sample. A
 * thread takes all heads, since the angle costs more than they do. */
template <class C>
FV__KERNEL fv__rotate_k(fv__cu_head from, fv__cu_grad to, int64_t rows, int64_t n, int64_t heads, int64_t hd,
                        double theta, int interleaved, int back) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, half = hd / 2, i = e % half, row = e / half;
    if (row >= rows) return;
    double angle = (double)(row % n) * pow(theta, -2.0 * (double)i / (double)hd);
    int64_t j = interleaved ? 2 * i : i, k = interleaved ? j + 1 : i + half, at = row * to.width + to.at;
    double sine, cosine;
    sincos(angle, &sine, &cosine);
    C co = (C)cosine, si = (C)(back ? -sine : sine);
    for (int64_t h0 = 0; h0 < heads; h0 += 4) { /* four are loaded before the first is stored */
        C u[4], w[4];
        FV__CU_UNROLL
        for (int h = 0; h < 4; h++)
            if (h0 + h < heads)
                u[h] = fv__head_at<C>(from, row, h0 + h, hd, j),
                w[h] = fv__head_at<C>(from, row, h0 + h, hd, k);
        FV__CU_UNROLL
        for (int h = 0; h < 4; h++) {
            if (h0 + h >= heads) continue;
            fv__put<C>(to.data, to.type, at + (h0 + h) * hd + j, u[h] * co - w[h] * si, to.add);
            fv__put<C>(to.data, to.type, at + (h0 + h) * hd + k, u[h] * si + w[h] * co, to.add);
        }
    }
}

static fv__cu_head fv__cu_head_of(const void *data, fv_type type, int64_t width, int64_t at) {
    fv__cu_head h = {data, type, width, at};
    return h;
}
static fv__cu_grad fv__cu_grad_of(void *data, fv_type type, int64_t width, int64_t at, int add) {
    fv__cu_grad g = {data, type, width, at, add};
    return g;
}
static void fv__cu_rotate(fv_ctx *c, fv_type t, fv__cu_head from, fv__cu_grad to, int64_t rows, int64_t n,
                          int64_t heads, int64_t hd, const fv__node *node, int back) {
    dim3 grid((unsigned)FV__CEIL(FV__MAX(rows * (hd / 2), (int64_t)1), (int64_t)128));
    if (t == FV_F64)
        FV__START(c, grid, dim3(128), (from, to, rows, n, heads, hd, node->f[1], (int)node->i[3], back),
                  fv__rotate_k<double>);
    else
        FV__START(c, grid, dim3(128), (from, to, rows, n, heads, hd, node->f[1], (int)node->i[3], back),
                  fv__rotate_k<float>);
}
/* q and k turned, in memory of their own, for as long as a call lasts: spans to free */
static void fv__cu_turned(fv_ctx *c, const fv__node *node, fv_type t, fv__cu_attention *a, fv__span **sq,
                          fv__span **sk) {
    *sq = *sk = NULL;
    if (!(node->f[1] > 0)) return;
    *sq = fv__pool_alloc(c, (size_t)(a->B * a->N * a->H * a->hd) * fv_type_size(t));
    *sk = fv__pool_alloc(c, (size_t)(a->B * a->M * a->K * a->hd) * fv_type_size(t));
    if (!*sq || !*sk) return;
    fv__cu_rotate(c, t, a->q, fv__cu_grad_of((*sq)->data, t, a->H * a->hd, 0, 0), a->B * a->N, a->N, a->H,
                  a->hd, node, 0);
    fv__cu_rotate(c, t, a->k, fv__cu_grad_of((*sk)->data, t, a->K * a->hd, 0, 0), a->B * a->M, a->M, a->K,
                  a->hd, node, 0);
    a->q = fv__cu_head_of((*sq)->data, t, a->H * a->hd, 0),
    a->k = fv__cu_head_of((*sk)->data, t, a->K * a->hd, 0);
}

static fv__cu_attention fv__cu_attention_of(const fv_tensor *y) {
    const fv__node *n = y->node;
    const fv_tensor *q = n->src[0], *k = n->src[1] ? n->src[1] : q, *v = n->src[2] ? n->src[2] : q;
    fv__cu_attention a;
    memset(&a, 0, sizeof a);
    a.H = n->i[0], a.K = n->i[1], a.causal = (int)n->i[2], a.scale = n->f[0];
    a.B = q->dim[0], a.N = q->dim[1], a.M = k->dim[1], a.hd = fv__last(q) / (n->src[1] ? a.H : a.H + 2 * a.K);
    a.q = fv__cu_head_of(fv__elements(q), q->type, fv__last(q), 0);
    a.k = fv__cu_head_of(fv__elements(k), k->type, fv__last(k), n->src[1] ? 0 : a.H * a.hd);
    a.v = fv__cu_head_of(fv__elements(v), v->type, fv__last(v), n->src[1] ? 0 : (a.H + a.K) * a.hd);
    a.mask = (const uint8_t *)fv__elements(n->src[3]);
    a.y = fv__cu_head_of(y->data, y->type, a.H * a.hd, 0);
    return a;
}
/* Whether tensor cores do it: bf16 was asked for, the width fits, and rows can be moved 16 bytes at a time.
 * f32, also as TF32, is left to the plain kernels: its tiles would take twice the shared memory. */
static int fv__tc_fits(const fv_tensor *y, const fv__cu_attention *a) {
    const void *at[8] = {a->q.data,  a->k.data,  a->v.data,  a->y.data,
                         a->gy.data, a->gq.data, a->gk.data, a->gv.data};
    int fits = y->node->i[4] == FV_BF16 && y->node->src[0]->type != FV_F64 && a->hd % 16 == 0 &&
               a->hd >= 32 && a->hd <= 128 && FV__MAX(a->N, a->M) < 1 << 30;
    for (int i = 0; i < 8; i++) fits = fits && (uintptr_t)at[i] % 16 == 0;
    return fits;
}
template <class C> static dim3 fv__plain_grid(int64_t rows, int64_t heads, int64_t samples) {
    return dim3((unsigned)(FV__CEIL(rows, (int64_t)fv__plain<C>::ROWS) * heads * samples));
}
template <class C> static void fv__attention_start(fv_ctx *c, const fv__cu_attention &a) {
    dim3 grid = fv__plain_grid<C>(a.N, a.H, a.B), block(FV__PLAIN_THREADS);
    if (a.hd <= 32) FV__START(c, grid, block, (a), fv__attention_k<C, 32>);
    else if (a.hd <= 64) FV__START(c, grid, block, (a), fv__attention_k<C, 64>);
    else if (a.hd <= 128) FV__START(c, grid, block, (a), fv__attention_k<C, 128>);
    else FV__START(c, grid, block, (a), fv__attention_k<C, 256>);
}
static void fv__attention_fwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__cu_attention a = fv__cu_attention_of(y);
    fv_type t = fv__compute_type(y->node->src[0]->type);
    fv__span *sq, *sk;
    int cores = fv__tc_fits(y, &a);
    if (a.hd > FV__HEAD_MAX)
        fv_fail(c, FV_EUNAVAILABLE, "attention: heads %lld wide have no kernel for a GPU, up to %d have",
                (long long)a.hd, FV__HEAD_MAX);
    a.stat = fv__save(c, y, 0, (size_t)(a.B * a.H * a.N * 2) * fv_type_size(t));
    a.out = fv__cu_grad_of(y->data, y->type, a.H * a.hd, 0, 0);
    fv__cu_turned(c, y->node, cores ? FV_BF16 : t, &a, &sq, &sk);
    if (a.B * a.H * a.N > 0) {
        dim3 block = fv__tc_block(a.N, a.hd <= 64 ? 7 : 4), grid = fv__tc_grid(block, a.N, a.H, a.B);
        if (cores && a.hd <= 64) FV__START(c, grid, block, (a), fv__tc_attention_k<4>);
        else if (cores) FV__START(c, grid, block, (a), fv__tc_attention_k<8>);
        else if (t == FV_F64) fv__attention_start<double>(c, a);
        else fv__attention_start<float>(c, a);
    }
    fv__pool_free(c, sk);
    fv__pool_free(c, sq);
}
template <class C, int W> static void fv__attention_bwd_start(fv_ctx *c, const fv__cu_attention &a) {
    dim3 block(FV__PLAIN_THREADS);
    FV__START(c, fv__row_grid(a.B * a.H * a.N), fv__row_block(), (a), fv__attention_delta_k<C>);
    if (a.gq.data) FV__START(c, fv__plain_grid<C>(a.N, a.H, a.B), block, (a), fv__attention_gq_k<C, W>);
    if (a.M > 0 && (a.gk.data || a.gv.data))
        FV__START(c, fv__plain_grid<C>(a.M, a.K, a.B), block, (a), fv__attention_gkv_k<C, W>);
}
template <class C> static void fv__attention_bwd_start(fv_ctx *c, const fv__cu_attention &a) {
    if (a.hd <= 32) fv__attention_bwd_start<C, 32>(c, a);
    else if (a.hd <= 64) fv__attention_bwd_start<C, 64>(c, a);
    else if (a.hd <= 128) fv__attention_bwd_start<C, 128>(c, a);
    else fv__attention_bwd_start<C, 256>(c, a);
}
template <int W> static void fv__tc_bwd_start(fv_ctx *c, const fv__cu_attention &a) {
    dim3 queries = fv__tc_block(a.N, 4), keys = fv__tc_block(a.M, 4);
    FV__START(c, fv__tc_grid(queries, a.N, a.H, a.B), queries, (a), fv__tc_gq_k<W>);
    if (a.M > 0 && (a.gk.data || a.gv.data))
        FV__START(c, fv__tc_grid(keys, a.M, a.K, a.B), keys, (a), fv__tc_gkv_k<W>);
}
static void fv__attention_bwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__cu_attention a = fv__cu_attention_of(y);
    fv__node *n = y->node;
    fv_type t = fv__compute_type(n->src[0]->type);
    fv__span *sq, *sk, *gq = NULL, *gk = NULL,
                       *delta = fv__pool_alloc(c, (size_t)(a.B * a.H * a.N * 2) * fv_type_size(t));
    fv_tensor *src[3];
    void *g[3];
    int first[3] = {1, 1, 1};
    for (int i = 0; i < 3; i++) {
        src[i] = n->src[1] ? n->src[i] : n->src[0];
        g[i] = i && !n->src[1] ? g[0] : fv__grad(c, src[i], &first[i]);
        if (i && !n->src[1]) first[i] = first[0];
    }
    if (!delta) return;
    if (!fv_numel(y)) { /* no query: keys and values have a gradient of zeros */
        for (int i = 1; i < 3 && n->src[1]; i++)
            if (g[i] && first[i])
                fv__device_zero(c, g[i], (size_t)fv_numel(src[i]) * fv_type_size(fv_grad_type(src[i])));
        fv__pool_free(c, delta);
        return;
    }
    a.stat = fv__saved(y, 0), a.delta = delta->data;
    a.gy = fv__cu_head_of(y->grad, fv_grad_type(y), a.H * a.hd, 0);
    fv__cu_grad to_q = fv__cu_grad_of(g[0], fv_grad_type(src[0]), a.q.width, a.q.at, !first[0]);
    fv__cu_grad to_k = fv__cu_grad_of(g[1], fv_grad_type(src[1]), a.k.width, a.k.at, !first[1]);
    a.gq = to_q, a.gk = to_k;
    a.gv = fv__cu_grad_of(g[2], fv_grad_type(src[2]), a.v.width, a.v.at, !first[2]);
    /* with rotary embedding gv is written first, and what is turned back is added to it where they share */
    if (n->f[1] > 0 && n->src[1] && g[2] && (g[2] == g[0] || g[2] == g[1])) {
        a.gv.add = !first[g[2] == g[0] ? 0 : 1];
        if (g[2] == g[0]) to_q.add = 1;
        if (g[2] == g[1]) to_k.add = 1;
    }
    int cores = fv__tc_fits(y, &a);
    size_t element = fv_type_size(t);
    fv__cu_turned(c, n, cores ? FV_BF16 : t, &a, &sq, &sk);
    if (sq && g[0])
        gq = fv__pool_alloc(c, (size_t)(a.B * a.N * a.H * a.hd) * element),
        a.gq = fv__cu_grad_of(gq ? gq->data : NULL, t, a.H * a.hd, 0, 0);
    if (sk && g[1])
        gk = fv__pool_alloc(c, (size_t)(a.B * a.M * a.K * a.hd) * element),
        a.gk = fv__cu_grad_of(gk ? gk->data : NULL, t, a.K * a.hd, 0, 0);
    if (cores && a.hd <= 64) fv__tc_bwd_start<4>(c, a);
    else if (cores) fv__tc_bwd_start<8>(c, a);
    else if (t == FV_F64) fv__attention_bwd_start<double>(c, a);
    else fv__attention_bwd_start<float>(c, a);
    if (gq)
        fv__cu_rotate(c, t, fv__cu_head_of(gq->data, t, a.H * a.hd, 0), to_q, a.B * a.N, a.N, a.H, a.hd, n,
                      1);
    if (gk)
        fv__cu_rotate(c, t, fv__cu_head_of(gk->data, t, a.K * a.hd, 0), to_k, a.B * a.M, a.M, a.K, a.hd, n,
                      1);
    fv__pool_free(c, gk);
    fv__pool_free(c, gq);
    fv__pool_free(c, sk);
    fv__pool_free(c, sq);
    fv__pool_free(c, delta);
}
#endif
static const fv__op fv__op_attention = {
    "attention",       fv__attention_shape,          fv__attention_fwd,
    fv__attention_bwd, FV__CU(fv__attention_fwd_cu), FV__CU(fv__attention_bwd_cu)};

FV_DEF fv_tensor *fv_attention(fv_ctx *c, fv_tensor *q, fv_tensor *k, fv_tensor *v,
                               const fv_attention_desc *desc) {
    fv_tensor *src[4], *y;
    src[0] = q, src[1] = k, src[2] = v, src[3] = (fv_tensor *)(uintptr_t)desc->mask;
    if (!fv__need(c, "attention", q)) return NULL;
    if ((k == NULL) != (v == NULL)) fv_fail(c, FV_ESHAPE, "attention: k and v are both given or both NULL");
    if (c->status || !(y = fv__make(c, &fv__op_attention, src, 4))) return NULL;
    y->node->i[0] = desc->num_heads,
    y->node->i[1] = desc->num_kv_heads ? desc->num_kv_heads : desc->num_heads;
    y->node->i[2] = desc->causal, y->node->i[3] = desc->rope_interleaved;
    y->node->f[0] = (double)desc->scale, y->node->f[1] = (double)desc->rope_theta;
    return fv__apply(c, y);
}

/* ---- op attention_scores: y[b,h,n,m] = softmax(q k^T s + mask), as above; for looking at, without a
 * backward pass ---- */
static int fv__scores_shape(fv_ctx *c, fv_tensor *y) {
    if (!fv__attention_shape(c, y)) return 0;
    const fv_tensor *q = y->node->src[0], *k = y->node->src[1];
    y->rank = 4, y->type = fv__compute_type(q->type);
    y->dim[0] = q->dim[0], y->dim[1] = y->node->i[0], y->dim[2] = q->dim[1],
    y->dim[3] = k ? k->dim[1] : q->dim[1];
    y->flags &= ~(unsigned)FV_NEEDS_GRAD;
    return 1;
}
static void fv__scores_job(void *arg, int job, int worker) {
    const fv__attention *a = (const fv__attention *)arg;
    int64_t b = job / a->K, kh = job % a->K, group = a->H / a->K;
    fv__att_room r;
    fv__att_carve(a, &r, (char *)fv__scratch(a->c, worker), 0);
    fv__att_rows x =
        fv__head_rows(a, a->kk, a->kk->data, a->kk->type, a->k0 + kh * a->hd, b, 0, a->M, 1, r.rows, r.wide);
    fv__att_pack(a, r.kt, x.data, x.ld, 1, a->M, a->hd);
    for (int64_t h = kh * group; h < (kh + 1) * group; h++)
        for (int64_t from = 0; from < a->N; from += a->tile) {
            int64_t n = FV__MIN(a->tile, a->N - from);
            x = fv__att_queries(a, &r, b, h, from, n);
            fv__att_product(a, n, a->M, a->hd, x.data, x.ld, 1, 0, r.kt, r.S, a->padM, 0, r.panel);
            fv__probabilities(a, r.S, r.P, b, h, from, n, 0);
            for (int64_t i = 0; i < n; i++) {
                int64_t row = (b * a->H + h) * a->N + from + i;
                a->g.k->scale((char *)a->y->data + (size_t)(row * a->M) * a->e,
                              r.S + (size_t)(i * a->padM) * a->e, fv__get(a->stat, a->t, row * 2 + 1), a->M);
            }
        }
}
static void fv__scores_fwd(fv_ctx *c, fv_tensor *y) {
    fv__attention a = fv__attention_of(c, y);
    fv__att_room r;
    fv__span *stat = fv__pool_alloc(c, (size_t)(a.B * a.H * a.N * 2) * a.e), *rope = fv__rope_table(c, &a);
    a.stat = stat ? stat->data : NULL, a.rope = rope ? rope->data : NULL;
    fv__scratch_reserve(c, (size_t)(uintptr_t)fv__att_carve(&a, &r, NULL, 0) + 64);
    if (!c->status) fv_parallel(c, (int)(a.B * a.K), fv__scores_job, &a);
    fv__pool_free(c, stat), fv__pool_free(c, rope);
}
static const fv__op fv__op_scores = {"attention_scores", fv__scores_shape, fv__scores_fwd, NULL, NULL, NULL};
FV_DEF fv_tensor *fv_attention_scores(fv_ctx *c, fv_tensor *q, fv_tensor *k, const fv_attention_desc *desc) {
    fv_tensor *src[4], *y;
    src[0] = q, src[1] = src[2] = k, src[3] = (fv_tensor *)(uintptr_t)desc->mask;
    if (!fv__need(c, "attention_scores", q) || !(y = fv__make(c, &fv__op_scores, src, 4))) return NULL;
    y->node->i[0] = desc->num_heads,
    y->node->i[1] = desc->num_kv_heads ? desc->num_kv_heads : desc->num_heads;
    y->node->i[2] = desc->causal, y->node->i[3] = desc->rope_interleaved;
    y->node->f[0] = (double)desc->scale, y->node->f[1] = (double)desc->rope_theta;
    return fv__apply(c, y);
}

/* ---- op mark: x itself, shown to the observer; its gradient too, once it is whole.  gx = gy ---- */
static int fv__mark_shape(fv_ctx *c, fv_tensor *y) {
    (void)c;
    fv__like(y, y->node->src[0], y->node->src[0]->type);
    return 1;
}
static void fv__mark_show(fv_ctx *c, const fv_tensor *y) {
    if (c->tape->see && !c->status) c->tape->see(c->tape->see_user, (const char *)(intptr_t)y->node->i[0], y);
}
static void fv__mark_fwd(fv_ctx *c, fv_tensor *y) {
    y->data = y->node->src[0]->data;
    fv__mark_show(c, y);
}
static void fv__mark_bwd(fv_ctx *c, fv_tensor *y) {
    if (y->grad) fv__mark_show(c, y);
    fv__give_grad(c, y, y->node->src[0]);
}
static const fv__op fv__op_mark = {"mark", fv__mark_shape, fv__mark_fwd, fv__mark_bwd, NULL, NULL};
FV_DEF void fv_observe(fv_ctx *c, fv_observer see, void *user) {
    if (c->tape) c->tape->see = see, c->tape->see_user = user;
}
FV_DEF fv_tensor *fv_mark(fv_ctx *c, const char *place, fv_tensor *x) {
    if (c->status || !x || !c->tape->see) return c->status ? NULL : x;
    fv_tensor *y = fv__make(c, &fv__op_mark, &x, 1);
    if (!y) return NULL;
    y->node->view = 1, y->node->i[0] = (int64_t)(intptr_t)place;
    return fv__apply(c, y);
}
FV_DEF void fv_mark_scores(fv_ctx *c, const char *place, fv_tensor *q, fv_tensor *k,
                           const fv_attention_desc *desc) {
    if (c->status || !c->tape->see) return;
    fv_tensor *y = fv_attention_scores(c, q, k, desc);
    if (y) c->tape->see(c->tape->see_user, place, y);
}

/* ======================================================================================================
 * >>ops (implementation)
 * ====================================================================================================== */
/* ---- sums over rows, for the gradients of weights [cols] and for batch statistics: A = sum g (x-m) r, B =
 * sum g, where m, r are a row's or, as center [cols], a column's. Rows are cut into at most 64 parts whatever
 * the thread count; a part sums in T, the parts in double. ---- */
enum { FV__PARTS = 64 };
typedef struct fv__columns {
    fv_ctx *c;
    const fv__kernels *k;
    fv_type compute;
    int64_t rows, cols;
    const void *x, *g; /* [rows,cols]; x NULL: no A; g NULL: x-center takes its place */
    fv_type x_type, g_type;
    const double *stats; /* [rows] pairs of m, r; or NULL: 0, 1 */
    const void *center;  /* [cols] of T, or NULL */
    int64_t part;        /* rows of a part */
    fv__span *span;
    double *a, *b; /* [cols], the results, in span; free with fv__pool_free */
    char *partial; /* [parts][2][cols] of T */
} fv__columns;

static const void *fv__columns_row(const fv__columns *q, const void *p, fv_type type, int64_t row,
                                   void *scratch) {
    const char *at = (const char *)p + (size_t)(row * q->cols) * fv_type_size(type);
    if (type == q->compute) return at;
    fv__convert_by(q->k, scratch, q->compute, at, type, q->cols);
    return scratch;
}
static void fv__columns_job(void *arg, int job, int worker) {
    const fv__columns *q = (const fv__columns *)arg;
    size_t size = (size_t)q->cols * fv_type_size(q->compute);
    char *a = q->partial + 2 * (size_t)job * size, *b = a + size;
    char *scratch = (char *)fv__scratch(q->c, worker), *scratch_g = scratch + FV__ROUND_UP(size, (size_t)64);
    int64_t row = job * q->part, end = FV__MIN(row + q->part, q->rows);
    memset(a, 0, 2 * size);
    for (; row < end; row++) {
        const void *g = q->g ? fv__columns_row(q, q->g, q->g_type, row, scratch_g) : NULL;
        const void *x = q->x ? fv__columns_row(q, q->x, q->x_type, row, scratch) : g;
        if (q->center) {
            q->k->sub(scratch, x, q->center, q->cols);
            x = scratch;
        }
        double m = q->stats ? q->stats[2 * row] : 0, r = q->stats ? q->stats[2 * row + 1] : 1;
        q->k->norm_sums(q->x ? a : NULL, b, x, g ? g : x, q->cols, m, r);
    }
}
static int fv__columns_run(fv_ctx *c, fv__columns *q) {
    size_t size = (size_t)q->cols * fv_type_size(q->compute);
    q->c = c;
    q->k = fv__kernels_for(c, q->compute);
    q->part = FV__MAX(FV__CEIL(q->rows, (int64_t)FV__PARTS), (int64_t)8);
    int parts = (int)FV__CEIL(q->rows, q->part);
    q->span = fv__pool_alloc(c, 2 * (size_t)q->cols * sizeof(double) + 2 * size * (size_t)parts);
    fv__scratch_reserve(c, 2 * FV__ROUND_UP(size, (size_t)64));
    if (c->status) return 0;
    q->a = (double *)(void *)q->span->data, q->b = q->a + q->cols;
    q->partial = (char *)(q->b + q->cols);
    fv_parallel(c, parts, fv__columns_job, q);
    for (int64_t i = 0; i < 2 * q->cols; i++) {
        q->a[i] = 0;
        for (int p = 0; p < parts; p++) q->a[i] += fv__get(q->partial, q->compute, p * 2 * q->cols + i);
    }
    return 1;
}
/* t's gradient gets v[i] (times s[i] unless s is NULL) */
static void fv__add_doubles(fv_ctx *c, fv_tensor *t, const double *v, const double *s) {
    int first;
    void *g = fv__grad(c, t, &first);
    if (!g) return;
    fv_type type = fv_grad_type(t);
    for (int64_t i = 0; i < fv_numel(t); i++)
        fv__set(g, type, i, (first ? 0 : fv__get(g, type, i)) + v[i] * (s ? s[i] : 1));
}

/* ---- what norms share: src x, w, b; settings f[0] eps, i[0] 1 for layernorm; saves mean, rstd per row */
static int fv__wants_grad(const fv_tensor *t) { return t && (t->flags & FV_NEEDS_GRAD) != 0; }
static const void *fv__data(const fv_tensor *t) { return t ? t->data : NULL; }

/* x is floating; each of w, b.. (src from `from` on) is NULL or [last dim of x] in the type of the
 * computation */
static int fv__check_weights(fv_ctx *c, const fv_tensor *y, int from) {
    const fv_tensor *x = y->node->src[0];
    const char *op = y->node->op->name;
    if (!fv__is_float(x) || x->rank < 1 || fv_numel(x) < 1)
        return fv__shape_fail(c, op, x, NULL, "f32, f64 or bf16 with at least one element is wanted");
    for (int i = from; i < y->node->n; i++) {
        const fv_tensor *w = y->node->src[i];
        if (!w) continue;
        if (w->rank != 1 || w->dim[0] != fv__last(x))
            return fv__shape_fail(c, op, x, w,
                                  "the second must have one element for each of the first's last dim");
        if (w->type != fv__compute_type(x->type))
            return fv__shape_fail(c, op, x, w, "weights are f32, or f64 for an f64 input");
        if (!w->data)
            return fv__shape_fail(c, op, x, w, "the weight has no plain data; was it made by fv_pack?");
    }
    return 1;
}
static int fv__norm_shape(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    if (!fv__check_weights(c, y, 1)) return 0;
    y->node->unread = FV__UNREAD_Y;
    return fv__like(y, x, c->tape->autocast == FV_BF16 && x->type == FV_F32 ? FV_BF16 : x->type);
}
static void fv__norm_fwd(fv_ctx *c, fv_tensor *y,
                         void (*fn)(const fv__rows *, const void *const *, void *const *, int64_t, int64_t)) {
    const fv_tensor *x = y->node->src[0];
    int64_t d = fv__last(x);
    fv__rows r = fv__rows_of(y, fv__rows_count(x), fn);
    if (!fv__save(c, y, 0, 2 * (size_t)r.rows * sizeof(double))) return;
    fv__rows_in(&r, x->data, x->type, d);
    fv__rows_out(&r, y->data, y->type, d, 0);
    fv__run_rows(c, &r);
}
static void fv__norm_grad_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                               int64_t n) {
    const double *stats = (const double *)fv__saved(r->y, 0) + 2 * row;
    int64_t d = r->in_cols[0];
    size_t size = (size_t)d * fv_type_size(r->compute);
    for (int64_t i = 0; i < n; i++) {
        size_t at = (size_t)i * size;
        r->k->norm_grad((char *)out[0] + at, (const char *)in[0] + at, (const char *)in[1] + at,
                        fv__data(r->y->node->src[1]), d, stats[2 * i], stats[2 * i + 1],
                        r->y->node->i[0] != 0);
    }
}
static void fv__norm_bwd(fv_ctx *c, fv_tensor *y) {
    fv_tensor *x = y->node->src[0], *w = y->node->src[1], *b = y->node->n > 2 ? y->node->src[2] : NULL;
    int64_t d = fv__last(x);
    if (fv__wants_grad(w) || fv__wants_grad(b)) {
        fv__columns q;
        memset(&q, 0, sizeof q);
        q.compute = fv__compute_type(y->type), q.rows = fv__rows_count(x), q.cols = d;
        q.x = x->data, q.x_type = x->type, q.g = y->grad, q.g_type = fv_grad_type(y);
        q.stats = (const double *)fv__saved(y, 0);
        if (!fv__columns_run(c, &q)) return;
        fv__add_doubles(c, w, q.a, NULL);
        fv__add_doubles(c, b, q.b, NULL);
        fv__pool_free(c, q.span);
    }
    fv__rows r = fv__rows_of(y, fv__rows_count(x), fv__norm_grad_rows);
    fv__rows_in(&r, x->data, x->type, d);
    fv__rows_in(&r, y->grad, fv_grad_type(y), d);
    fv__rows_grad(c, &r, x, d);
    if (r.out[0]) fv__run_rows(c, &r);
}

/* ---- op layernorm: y = (x-mean)*rstd*w + b over the last dim, rstd = 1/sqrt(var+eps), var biased. With h =
 * gy*w and z = (x-mean)*rstd: gx = rstd*(h - mean(h) - z*mean(h*z)), gw = sum gy*z, gb = sum gy ---- */
static void fv__layernorm_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                               int64_t n) {
    double *stats = (double *)fv__saved(r->y, 0) + 2 * row;
    const fv__node *node = r->y->node;
    int64_t d = r->in_cols[0];
    size_t size = (size_t)d * fv_type_size(r->compute);
    for (int64_t i = 0; i < n; i++)
        r->k->layernorm((char *)out[0] + (size_t)i * size, (const char *)in[0] + (size_t)i * size,
                        fv__data(node->src[1]), fv__data(node->src[2]), d, node->f[0], stats + 2 * i);
}
static void fv__layernorm_fwd(fv_ctx *c, fv_tensor *y) { fv__norm_fwd(c, y, fv__layernorm_rows); }
#ifdef FROZENVIS_CUDA
/* what both norms share on a GPU: a warp a row */
typedef struct fv__cu_norm {
    const void *x, *g, *w, *b; /* w, b of C, or NULL */
    void *y;
    fv_type x_type, g_type, y_type;
    int64_t rows, d;
    double eps, *stats;
    float *part; /* [threads' rows][2][d]: their sums for the gradients of w and b, or NULL */
    int centred, add;
} fv__cu_norm;
template <class C> FV__KERNEL fv__norm_k(fv__cu_norm n) {
    int64_t row = fv__my_row();
    C mean = 0, squares = 0;
    if (row >= n.rows) return;
    if (n.centred) {
        for (int64_t i = threadIdx.x; i < n.d; i += 32) mean += fv__ld<C>(n.x, n.x_type, row * n.d + i);
        mean = fv__warp_sum(mean) / (C)n.d;
    }
    for (int64_t i = threadIdx.x; i < n.d; i += 32) {
        C x = fv__ld<C>(n.x, n.x_type, row * n.d + i) - mean;
        squares += x * x;
    }
    C rstd = (C)(1 / sqrt((double)fv__warp_sum(squares) / (double)n.d + n.eps));
    if (!threadIdx.x) n.stats[2 * row] = (double)mean, n.stats[2 * row + 1] = (double)rstd;
    for (int64_t i = threadIdx.x; i < n.d; i += 32) {
        C y = (fv__ld<C>(n.x, n.x_type, row * n.d + i) - mean) * rstd;
        if (n.w) y *= ((const C *)n.w)[i];
        if (n.b) y += ((const C *)n.b)[i];
        fv__st<C>(n.y, n.y_type, row * n.d + i, y);
    }
}
template <class C> FV__KERNEL fv__norm_grad_k(fv__cu_norm n) {
    int64_t row = fv__my_row();
    C sum = 0, dot = 0;
    if (row >= n.rows) return;
    C mean = (C)n.stats[2 * row], rstd = (C)n.stats[2 * row + 1];
    for (int64_t i = threadIdx.x; i < n.d; i += 32) {
        C h = fv__ld<C>(n.g, n.g_type, row * n.d + i) * (n.w ? ((const C *)n.w)[i] : (C)1);
        sum += h, dot += h * (fv__ld<C>(n.x, n.x_type, row * n.d + i) - mean) * rstd;
    }
    sum = n.centred ? fv__warp_sum(sum) / (C)n.d : (C)0;
    dot = fv__warp_sum(dot) / (C)n.d;
    for (int64_t i = threadIdx.x; i < n.d; i += 32) {
        C h = fv__ld<C>(n.g, n.g_type, row * n.d + i) * (n.w ? ((const C *)n.w)[i] : (C)1);
        C z = (fv__ld<C>(n.x, n.x_type, row * n.d + i) - mean) * rstd;
        fv__put<C>(n.y, n.y_type, row * n.d + i, rstd * (h - sum - z * dot), n.add);
    }
}
/* ---- the same with a row in registers, FV__NORM_HELD times four a thread, of 32, 64, 128 or 256 threads: x
 * and gy are read once, and the sums for the weights' gradients are made where they are at hand ---- */
enum { FV__NORM_HELD = 4, FV__NORM_MOST = 256 * 4 * FV__NORM_HELD, FV__NORM_BLOCKS = 264 };
/* sums over the threads of a row, of all of the block's rows at the same time */
FV__DEV void fv__row_sums(float v[2], float (*room)[8]) {
    int warps = (int)blockDim.x / 32, first = (int)threadIdx.y * warps;
    v[0] = fv__warp_sum(v[0]), v[1] = fv__warp_sum(v[1]);
    if (warps == 1) return;
    __syncthreads(); /* the room's last use is over */
    if (threadIdx.x % 32 == 0)
        room[0][first + threadIdx.x / 32] = v[0], room[1][first + threadIdx.x / 32] = v[1];
    __syncthreads();
    v[0] = v[1] = 0;
    for (int w = 0; w < warps; w++) v[0] += room[0][first + w], v[1] += room[1][first + w];
}
FV__KERNEL fv__norm_wide_k(fv__cu_norm n) {
    __shared__ float room[2][8];
    int64_t row = fv__my_row(), at = row * n.d;
    int i = 4 * (int)threadIdx.x, step = 4 * (int)blockDim.x, d = row < n.rows ? (int)n.d : 0;
    uint4 raw[FV__NORM_HELD];
    float x[FV__NORM_HELD][4], sum[2] = {0, 0}, squares[2] = {0, 0};
    FV__CU_UNROLL
    for (int k = 0; k < FV__NORM_HELD; k++)
        if (i + k * step < d) raw[k] = fv__raw4(n.x, n.x_type, at + i + k * step);
    FV__CU_UNROLL
    for (int k = 0; k < FV__NORM_HELD; k++) {
        if (i + k * step >= d) continue;
        fv__floats4(raw[k], n.x_type, x[k]);
        sum[0] += (x[k][0] + x[k][1]) + (x[k][2] + x[k][3]);
    }
    if (n.centred) fv__row_sums(sum, room);
    float mean = n.centred ? sum[0] / (float)n.d : 0;
    FV__CU_UNROLL
    for (int k = 0; k < FV__NORM_HELD; k++)
        for (int j = 0; j < 4 && i + k * step < d; j++) x[k][j] -= mean, squares[0] += x[k][j] * x[k][j];
    fv__row_sums(squares, room);
    float rstd = 1 / sqrtf(squares[0] / (float)n.d + (float)n.eps);
    if (d && !i) n.stats[2 * row] = (double)mean, n.stats[2 * row + 1] = (double)rstd;
    FV__CU_UNROLL
    for (int k = 0; k < FV__NORM_HELD; k++) {
        if (i + k * step >= d) continue;
        float w[4] = {1, 1, 1, 1}, b[4] = {0, 0, 0, 0};
        if (n.w) fv__ld4<float>(n.w, FV_F32, i + k * step, w);
        if (n.b) fv__ld4<float>(n.b, FV_F32, i + k * step, b);
        for (int j = 0; j < 4; j++) b[j] += x[k][j] * rstd * w[j];
        fv__st4<float>(n.y, n.y_type, at + i + k * step, b);
    }
}
template <int WEIGHTS> FV__KERNEL fv__norm_grad_wide_k(fv__cu_norm n) {
    __shared__ float room[2][8];
    int i = 4 * (int)threadIdx.x, step = 4 * (int)blockDim.x;
    float sums[2][FV__NORM_HELD][4] = {{{0}}}; /* of gy z, and of gy */
    for (int64_t first = (int64_t)blockIdx.x * blockDim.y; first < n.rows;
         first += (int64_t)gridDim.x * blockDim.y) {
        int64_t row = first + threadIdx.y, at = row * n.d;
        int d = row < n.rows ? (int)n.d : 0;
        uint4 x[FV__NORM_HELD], g[FV__NORM_HELD], old[FV__NORM_HELD];
        float mean = 0, rstd = 0, sum[2] = {0, 0};
        FV__CU_UNROLL
        for (int k = 0; k < FV__NORM_HELD; k++) {
            if (i + k * step >= d) continue;
            x[k] = fv__raw4(n.x, n.x_type, at + i + k * step);
            g[k] = fv__raw4(n.g, n.g_type, at + i + k * step);
            if (n.y && n.add) old[k] = fv__raw4(n.y, n.y_type, at + i + k * step);
        }
        if (d) mean = (float)n.stats[2 * row], rstd = (float)n.stats[2 * row + 1];
        FV__CU_UNROLL
        for (int k = 0; k < FV__NORM_HELD; k++) {
            float z[4], h[4], w[4] = {1, 1, 1, 1};
            if (i + k * step >= d) continue;
            fv__floats4(x[k], n.x_type, z), fv__floats4(g[k], n.g_type, h);
            if (n.w) fv__ld4<float>(n.w, FV_F32, i + k * step, w);
            FV__CU_UNROLL
            for (int j = 0; j < 4; j++) {
                z[j] = (z[j] - mean) * rstd;
                if (WEIGHTS) sums[0][k][j] += h[j] * z[j], sums[1][k][j] += h[j];
                h[j] *= w[j];
                sum[0] += h[j], sum[1] += h[j] * z[j];
            }
            memcpy(&x[k], z, sizeof z), memcpy(&g[k], h, sizeof h);
        }
        if (!n.y) continue;
        fv__row_sums(sum, room);
        float about = n.centred ? sum[0] / (float)n.d : 0, slope = sum[1] / (float)n.d;
        FV__CU_UNROLL
        for (int k = 0; k < FV__NORM_HELD; k++) {
            float z[4], h[4], was[4] = {0, 0, 0, 0};
            if (i + k * step >= d) continue;
            memcpy(z, &x[k], sizeof z), memcpy(h, &g[k], sizeof h);
            if (n.add) fv__floats4(old[k], n.y_type, was);
            for (int j = 0; j < 4; j++) was[j] += rstd * (h[j] - about - z[j] * slope);
            fv__st4<float>(n.y, n.y_type, at + i + k * step, was);
        }
    }
    int64_t part = 2 * fv__my_row();
    FV__CU_UNROLL
    for (int k = 0; k < FV__NORM_HELD; k++)
        for (int s = 0; WEIGHTS && s < 2 && i + k * step < (int)n.d; s++)
            fv__st4<float>(n.part, FV_F32, (part + s) * n.d + i + k * step, sums[s][k]);
}
struct fv__norm_parts_f { /* what that leaves to be added */
    enum { SUMS = 2, LOADS = 2 };
    typedef float part_t;
    const float *part;
    int64_t d;
    FV__METHOD void run(int64_t e, int64_t p, double *sum) const {
        for (int k = 0; k < 2; k++) sum[k] += (double)part[(2 * p + k) * d + e];
    }
    FV__METHOD void load(int64_t e, int64_t p, uint4 *raw) const {
        for (int k = 0; k < 2; k++) raw[k] = fv__raw4(part, FV_F32, (2 * p + k) * d + e);
    }
    FV__METHOD void add(const uint4 *raw, int64_t, float (*sum)[4]) const {
        for (int k = 0; k < 2; k++) {
            float v[4];
            fv__floats4(raw[k], FV_F32, v);
            for (int j = 0; j < 4; j++) sum[k][j] += v[j];
        }
    }
};
static int fv__norm_wide(const fv__cu_norm *n) {
    return n->d % 4 == 0 && n->d <= FV__NORM_MOST && fv__wide(n->x, n->x_type) && fv__wide(n->y, n->y_type) &&
           fv__wide(n->w, FV_F32) && fv__wide(n->b, FV_F32) && (!n->g || fv__wide(n->g, n->g_type));
}
static dim3 fv__norm_block(int64_t d) {
    unsigned x = 32;
    while (x * 4 * FV__NORM_HELD < d) x *= 2;
    return dim3(x, 256 / x);
}
static void fv__norm_grad_wide(fv_ctx *c, fv__cu_norm n, fv__fold_out o) {
    dim3 block = fv__norm_block(n.d);
    int64_t blocks = FV__CEIL(n.rows, (int64_t)block.y);
    if (!o.to[0] && !o.to[1]) {
        FV__START(c, dim3((unsigned)blocks), block, (n), fv__norm_grad_wide_k<0>);
        return;
    }
    blocks = FV__MAX(FV__MIN(blocks / 4, (int64_t)FV__NORM_BLOCKS), (int64_t)1); /* four rows are worth it */
    fv__norm_parts_f f = {NULL, n.d};
    fv__span *part = fv__pool_alloc(c, (size_t)(blocks * block.y * 2 * n.d) * sizeof(float));
    if (!part) return;
    f.part = n.part = (float *)(void *)part->data;
    FV__START(c, dim3((unsigned)blocks), block, (n), fv__norm_grad_wide_k<1>);
    fv__fold_wide(c, f, n.d, blocks * block.y, o, 1, 0);
    fv__pool_free(c, part);
}
struct fv__norm_weights_f { /* sums of gy z, and of gy */
    enum { SUMS = 2 };
    fv__cu_norm n;
    FV__METHOD void run(int64_t e, int64_t p, double *sum) const {
        double g = fv__ld<double>(n.g, n.g_type, p * n.d + e);
        sum[0] += g * (fv__ld<double>(n.x, n.x_type, p * n.d + e) - n.stats[2 * p]) * n.stats[2 * p + 1];
        sum[1] += g;
    }
};
static fv__cu_norm fv__cu_norm_of(const fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    fv__cu_norm n;
    memset(&n, 0, sizeof n);
    n.x = fv__elements(x), n.x_type = x->type, n.rows = fv__rows_count(x), n.d = fv__last(x);
    n.w = fv__elements(y->node->src[1]), n.b = y->node->n > 2 ? fv__elements(y->node->src[2]) : NULL;
    n.eps = y->node->f[0], n.centred = y->node->i[0] != 0;
    return n;
}
static void fv__norm_fwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__cu_norm n = fv__cu_norm_of(y);
    n.y = y->data, n.y_type = y->type;
    n.stats = (double *)fv__save(c, y, 0, 2 * (size_t)n.rows * sizeof(double));
    dim3 block = fv__norm_block(n.d);
    if (fv__norm_wide(&n))
        FV__START(c, dim3((unsigned)FV__CEIL(n.rows, (int64_t)block.y)), block, (n), fv__norm_wide_k);
    else if (fv__compute_type(y->type) == FV_F64)
        FV__START(c, fv__row_grid(n.rows), fv__row_block(), (n), fv__norm_k<double>);
    else FV__START(c, fv__row_grid(n.rows), fv__row_block(), (n), fv__norm_k<float>);
}
static void fv__norm_bwd_cu(fv_ctx *c, fv_tensor *y) {
    fv_tensor *x = y->node->src[0], *w[2];
    fv__cu_norm n = fv__cu_norm_of(y);
    fv__fold_out o = fv__fold_to(NULL, FV_F32, 0, 1);
    int first = 1;
    w[0] = y->node->src[1], w[1] = y->node->n > 2 ? y->node->src[2] : NULL;
    n.stats = (double *)fv__saved(y, 0), n.g = y->grad, n.g_type = fv_grad_type(y);
    for (int i = 0; i < 2; i++)
        if ((o.to[i] = fv__grad(c, w[i], &first)) != NULL) o.type[i] = fv_grad_type(w[i]), o.add[i] = !first;
    n.y = fv__grad(c, x, &first), n.y_type = fv_grad_type(x), n.add = !first;
    if (fv__norm_wide(&n)) {
        if (n.y || o.to[0] || o.to[1]) fv__norm_grad_wide(c, n, o);
        return;
    }
    fv__norm_weights_f f = {n};
    if (o.to[0] || o.to[1]) fv__fold_run(c, f, n.d, n.rows, o);
    if (!n.y) return;
    if (fv__compute_type(y->type) == FV_F64)
        FV__START(c, fv__row_grid(n.rows), fv__row_block(), (n), fv__norm_grad_k<double>);
    else FV__START(c, fv__row_grid(n.rows), fv__row_block(), (n), fv__norm_grad_k<float>);
}
#endif
static const fv__op fv__op_layernorm = {"layernorm",  fv__norm_shape,          fv__layernorm_fwd,
                                        fv__norm_bwd, FV__CU(fv__norm_fwd_cu), FV__CU(fv__norm_bwd_cu)};
FV_DEF fv_tensor *fv_layernorm(fv_ctx *c, fv_tensor *x, fv_tensor *w, fv_tensor *b, float eps) {
    fv_tensor *src[3];
    src[0] = x, src[1] = w, src[2] = b;
    fv_tensor *y = fv__need(c, "layernorm", x) ? fv__make(c, &fv__op_layernorm, src, 3) : NULL;
    if (y) y->node->f[0] = (double)eps, y->node->i[0] = 1;
    return fv__apply(c, y);
}

/* ---- op rmsnorm: y = x*rstd*w, rstd = 1/sqrt(mean(x^2)+eps). With h = gy*w, z = x*rstd: gx = rstd*(h -
 * z*mean(h*z)), gw = sum gy*z. source  Zhang and Sennrich, arXiv:1910.07467 ---- */
static void fv__rmsnorm_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                             int64_t n) {
    double *stats = (double *)fv__saved(r->y, 0) + 2 * row;
    const fv__node *node = r->y->node;
    int64_t d = r->in_cols[0];
    size_t size = (size_t)d * fv_type_size(r->compute);
    for (int64_t i = 0; i < n; i++) {
        stats[2 * i] = 0;
        r->k->rmsnorm((char *)out[0] + (size_t)i * size, (const char *)in[0] + (size_t)i * size,
                      fv__data(node->src[1]), d, node->f[0], stats + 2 * i + 1);
    }
}
static void fv__rmsnorm_fwd(fv_ctx *c, fv_tensor *y) { fv__norm_fwd(c, y, fv__rmsnorm_rows); }
static const fv__op fv__op_rmsnorm = {"rmsnorm",    fv__norm_shape,          fv__rmsnorm_fwd,
                                      fv__norm_bwd, FV__CU(fv__norm_fwd_cu), FV__CU(fv__norm_bwd_cu)};
FV_DEF fv_tensor *fv_rmsnorm(fv_ctx *c, fv_tensor *x, fv_tensor *w, float eps) {
    fv_tensor *src[2];
    src[0] = x, src[1] = w;
    fv_tensor *y = fv__need(c, "rmsnorm", x) ? fv__make(c, &fv__op_rmsnorm, src, 2) : NULL;
    if (y) y->node->f[0] = (double)eps;
    return fv__apply(c, y);
}

/* ---- op batchnorm: y = (x-m)*r*w + b per column, r = 1/sqrt(v+eps); m, v of the batch in training, else the
 * running ones. With z = (x-m)*r: gb = sum gy, gw = sum gy*z; gx = w*r*gy, less w*r*(gb + z*gw)/rows in
 * training. src x, w, b, mean, var; f[0] eps, f[1] momentum; i[0] training, i[1] running statistics moved
 * already; saves four vectors of T: m, w*r, b-m*w*r, r; y is x times the second plus the third, rounded where
 * PyTorch rounds ---- */
static int fv__batchnorm_shape(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    if (!fv__check_weights(c, y, 1)) return 0;
    if (y->node->i[0] && fv__rows_count(x) < 2)
        return fv__shape_fail(c, "batchnorm", x, NULL, "statistics of a batch need at least two rows");
    return fv__like(y, x, x->type);
}
/* the batch's mean and biased variance into mv[2][cols] of T, and into the running ones, once */
static int fv__batch_statistics(fv_ctx *c, fv_tensor *y, char *m, double *var) {
    fv__node *node = y->node;
    const fv_tensor *x = node->src[0];
    double f = node->f[1], rows = (double)fv__rows_count(x);
    fv__columns q;
    memset(&q, 0, sizeof q);
    q.compute = fv__compute_type(x->type), q.rows = fv__rows_count(x), q.cols = fv__last(x);
    q.g = x->data, q.g_type = x->type;
    if (!fv__columns_run(c, &q)) return 0;
    for (int64_t i = 0; i < q.cols; i++) fv__set(m, q.compute, i, q.b[i] / rows);
    fv__pool_free(c, q.span);
    q.x = x->data, q.x_type = x->type, q.g = NULL, q.center = m;
    if (!fv__columns_run(c, &q)) return 0;
    for (int64_t i = 0; i < q.cols; i++) { /* the sums about that rounded mean give the exact one's */
        double off = q.b[i] / rows, mean = fv__get(m, q.compute, i) + off,
               squares = q.a[i] - rows * off * off;
        fv__set(m, q.compute, i, mean);
        var[i] = squares / rows;
        if (node->i[1]) continue;
        fv_set(node->src[3], i, (1 - f) * fv_get(node->src[3], i) + f * mean);
        fv_set(node->src[4], i, (1 - f) * fv_get(node->src[4], i) + f * squares / (rows - 1));
    }
    fv__pool_free(c, q.span);
    node->i[1] = 1;
    return 1;
}
static void fv__batchnorm_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                               int64_t n) {
    int64_t d = r->in_cols[0];
    size_t size = (size_t)d * fv_type_size(r->compute);
    const char *m = (const char *)fv__saved(r->y, 0), *x = (const char *)in[0];
    (void)row;
    for (char *y = (char *)out[0]; n--; y += size, x += size) {
        memcpy(y, m + 2 * size, size);
        r->k->muladd(y, x, m + size, d);
    }
}
static void fv__batchnorm_fwd(fv_ctx *c, fv_tensor *y) {
    fv_tensor **src = y->node->src;
    int64_t d = fv__last(y);
    fv_type type = fv__compute_type(y->type);
    char *m = (char *)fv__save(c, y, 0, 4 * (size_t)d * fv_type_size(type));
    fv__span *span = fv__pool_alloc(c, (size_t)d * sizeof(double));
    if (!m || !span) return;
    double *var = (double *)(void *)span->data;
    if (y->node->i[0] && !fv__batch_statistics(c, y, m, var)) return;
    for (int64_t i = 0; i < d; i++) {
        if (!y->node->i[0]) fv__set(m, type, i, fv_get(src[3], i)), var[i] = fv_get(src[4], i);
        if (type == FV_F32) var[i] = (double)(float)var[i];
        fv__set(m, type, 3 * d + i, 1 / sqrt(var[i] + y->node->f[0]));
        double scale = fv__get(m, type, 3 * d + i) * (src[1] ? fv_get(src[1], i) : 1);
        fv__set(m, type, d + i, scale);
        scale = fv__get(m, type, d + i);
        fv__set(m, type, 2 * d + i, (src[2] ? fv_get(src[2], i) : 0) - fv__get(m, type, i) * scale);
    }
    fv__pool_free(c, span);
    fv__rows r = fv__rows_of(y, fv__rows_count(y), fv__batchnorm_rows);
    fv__rows_in(&r, src[0]->data, src[0]->type, d);
    fv__rows_out(&r, y->data, y->type, d, 0);
    fv__run_rows(c, &r);
}
/* gx = gy*(w*r) + (x-m)*p + q, p and q in slot 1 */
static void fv__batchnorm_grad_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                                    int64_t n) {
    int64_t d = r->in_cols[0];
    size_t size = (size_t)d * fv_type_size(r->compute);
    const char *m = (const char *)fv__saved(r->y, 0), *p = (const char *)fv__saved(r->y, 1);
    const char *x = (const char *)in[0], *gy = (const char *)in[1];
    (void)row;
    for (char *gx = (char *)out[0]; n--; gx += size, x += size, gy += size) {
        r->k->sub(gx, x, m, d);
        r->k->mul(gx, gx, p, d);
        r->k->add(gx, gx, p + size, d);
        r->k->muladd(gx, gy, m + size, d);
    }
}
static void fv__batchnorm_bwd(fv_ctx *c, fv_tensor *y) {
    fv_tensor *x = y->node->src[0];
    int64_t d = fv__last(x);
    double rows = (double)fv__rows_count(x);
    fv__columns q;
    memset(&q, 0, sizeof q);
    q.compute = fv__compute_type(y->type), q.rows = fv__rows_count(x), q.cols = d;
    q.x = x->data, q.x_type = x->type, q.g = y->grad, q.g_type = fv_grad_type(y);
    char *m = (char *)fv__saved(y, 0);
    q.center = m;
    char *p = (char *)fv__save(c, y, 1, 2 * (size_t)d * fv_type_size(q.compute));
    if (!p || !fv__columns_run(c, &q)) return;
    for (int64_t i = 0; i < d; i++) {
        double wr = fv__get(m, q.compute, d + i), rstd = fv__get(m, q.compute, 3 * d + i);
        q.a[i] *= rstd; /* now gw */
        fv__set(p, q.compute, i, y->node->i[0] ? -wr * rstd * q.a[i] / rows : 0);
        fv__set(p, q.compute, d + i, y->node->i[0] ? -wr * q.b[i] / rows : 0);
    }
    fv__add_doubles(c, y->node->src[1], q.a, NULL);
    fv__add_doubles(c, y->node->src[2], q.b, NULL);
    fv__pool_free(c, q.span);
    fv__rows r = fv__rows_of(y, fv__rows_count(x), fv__batchnorm_grad_rows);
    fv__rows_in(&r, x->data, x->type, d);
    fv__rows_in(&r, y->grad, fv_grad_type(y), d);
    fv__rows_grad(c, &r, x, d);
    if (r.out[0]) fv__run_rows(c, &r);
}
#ifdef FROZENVIS_CUDA
struct fv__channel_f { /* sums of x - m or, with g, of g (x - m) and of g; m per channel, or 0 */
    enum { SUMS = 2 };
    const void *x, *g, *m;
    fv_type x_type, g_type, m_type;
    int64_t d;
    FV__METHOD void run(int64_t e, int64_t p, double *sum) const {
        double x_ = fv__ld<double>(x, x_type, p * d + e) - (m ? fv__ld<double>(m, m_type, e) : 0);
        double g_ = g ? fv__ld<double>(g, g_type, p * d + e) : x_;
        sum[0] += g_ * x_, sum[1] += g_;
    }
};
typedef struct fv__cu_batchnorm {
    void *m;                        /* [4][d] of C, as on the CPU: m, w r, b - m w r, r */
    double *sums;                   /* [2][d] */
    const void *w, *b;              /* of C, or NULL */
    void *mean, *var, *p, *gw, *gb; /* running statistics, of C; [2][d] for gx; gradients, or NULL */
    fv_type gw_type, gb_type;
    int64_t d;
    double rows, eps, momentum;
    int training, moved, add_w, add_b;
} fv__cu_batchnorm;
template <class C> FV__KERNEL fv__batchnorm_mean_k(fv__cu_batchnorm n) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n.d) ((C *)n.m)[i] = (C)(n.sums[n.d + i] / n.rows);
}
template <class C> FV__KERNEL fv__batchnorm_scale_k(fv__cu_batchnorm n) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, d = n.d;
    C *m = (C *)n.m, *mean = (C *)n.mean, *var = (C *)n.var;
    double v;
    if (i >= d) return;
    if (n.training) { /* the sums about a rounded mean give the exact one's */
        double off = n.sums[d + i] / n.rows, exact = (double)m[i] + off,
               squares = n.sums[i] - n.rows * off * off;
        m[i] = (C)exact, v = squares / n.rows;
        if (!n.moved) {
            mean[i] = (C)((1 - n.momentum) * (double)mean[i] + n.momentum * exact);
            var[i] = (C)((1 - n.momentum) * (double)var[i] + n.momentum * squares / (n.rows - 1));
        }
    } else m[i] = mean[i], v = (double)var[i];
    C r = m[3 * d + i] = (C)(1 / sqrt((double)(C)v + n.eps));
    m[d + i] = (C)((double)r * (n.w ? (double)((const C *)n.w)[i] : 1));
    m[2 * d + i] = (C)((n.b ? (double)((const C *)n.b)[i] : 0) - (double)m[i] * (double)m[d + i]);
}
struct fv__batchnorm_f { /* table: m of the above; i[0] d */
    template <class C> FV__DEV void run(const fv__map &m, int64_t i, const C *in, C *out) {
        const C *t = (const C *)m.table[0];
        int64_t d = m.i[0], e = i % d;
        out[0] = fma(in[0], t[d + e], t[2 * d + e]); /* one rounding: the two may nearly cancel */
    }
};
template <class C> FV__KERNEL fv__batchnorm_weights_k(fv__cu_batchnorm n) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, d = n.d;
    if (i >= d) return;
    double wr = (double)((C *)n.m)[d + i], r = (double)((C *)n.m)[3 * d + i], gw = n.sums[i] * r,
           gb = n.sums[d + i];
    ((C *)n.p)[i] = (C)(n.training ? -wr * r * gw / n.rows : 0);
    ((C *)n.p)[d + i] = (C)(n.training ? -wr * gb / n.rows : 0);
    if (n.gw) fv__put<double>(n.gw, n.gw_type, i, gw, n.add_w);
    if (n.gb) fv__put<double>(n.gb, n.gb_type, i, gb, n.add_b);
}
struct fv__batchnorm_grad_f { /* in x, gy */
    template <class C> FV__DEV void run(const fv__map &m, int64_t i, const C *in, C *out) {
        const C *t = (const C *)m.table[0], *p = (const C *)m.table[1];
        int64_t d = m.i[0], e = i % d;
        out[0] = (in[0] - t[e]) * p[e] + p[d + e] + in[1] * t[d + e];
    }
};
#define FV__START_CHANNELS(c, t, n, kernel)                                                                  \
    do {                                                                                                     \
        if ((t) == FV_F64)                                                                                   \
            FV__START(c, dim3((unsigned)FV__CEIL((n).d, (int64_t)128)), dim3(128), (n), kernel<double>);     \
        else FV__START(c, dim3((unsigned)FV__CEIL((n).d, (int64_t)128)), dim3(128), (n), kernel<float>);     \
    } while (0)
static fv__cu_batchnorm fv__cu_batchnorm_of(const fv_tensor *y, void *m, fv__span *sums) {
    fv_tensor *const *src = y->node->src;
    fv__cu_batchnorm n;
    memset(&n, 0, sizeof n);
    n.m = m, n.sums = (double *)(void *)sums->data, n.d = fv__last(y), n.rows = (double)fv__rows_count(y);
    n.w = fv__elements(src[1]), n.b = fv__elements(src[2]), n.mean = src[3]->data, n.var = src[4]->data;
    n.eps = y->node->f[0], n.momentum = y->node->f[1], n.training = y->node->i[0] != 0,
    n.moved = y->node->i[1] != 0;
    return n;
}
/* both of a fold's sums into n.sums */
static fv__fold_out fv__fold_sums(const fv__cu_batchnorm *n) {
    fv__fold_out o = fv__fold_to(n->sums, FV_F64, 0, 1);
    o.to[1] = n->sums + n->d, o.type[1] = FV_F64;
    return o;
}
static void fv__batchnorm_fwd_cu(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    int64_t d = fv__last(y), rows = fv__rows_count(y);
    fv_type t = fv__compute_type(y->type);
    void *m = fv__save(c, y, 0, 4 * (size_t)d * fv_type_size(t));
    fv__span *sums = fv__pool_alloc(c, 2 * (size_t)d * sizeof(double));
    if (!m || !sums) return;
    if (!y->node->src[3]->device || !y->node->src[4]->device) {
        fv_fail(c, FV_EUSAGE,
                "batchnorm: on a GPU the running statistics are constants of the context (fv_constant)");
        return;
    }
    fv__cu_batchnorm n = fv__cu_batchnorm_of(y, m, sums);
    if (n.training) {
        fv__channel_f f = {fv__elements(x), NULL, NULL, x->type, FV_F32, t, d};
        fv__fold_run(c, f, d, rows, fv__fold_sums(&n));
        FV__START_CHANNELS(c, t, n, fv__batchnorm_mean_k);
        f.m = m;
        fv__fold_run(c, f, d, rows, fv__fold_sums(&n));
    }
    FV__START_CHANNELS(c, t, n, fv__batchnorm_scale_k);
    y->node->i[1] = 1;
    fv__map map = fv__map_of(fv_numel(y));
    fv__map_source(&map, x);
    fv__map_out(&map, y->data, y->type, 0);
    map.table[0] = m, map.i[0] = d;
    fv__map_run<fv__batchnorm_f>(c, map, t);
    fv__pool_free(c, sums);
}
static void fv__batchnorm_bwd_cu(fv_ctx *c, fv_tensor *y) {
    fv_tensor *x = y->node->src[0], *w = y->node->src[1], *b = y->node->src[2];
    int64_t d = fv__last(y);
    fv_type t = fv__compute_type(y->type);
    int first_w = 1, first_b = 1;
    fv__span *sums = fv__pool_alloc(c, 2 * (size_t)d * sizeof(double));
    void *p = fv__save(c, y, 1, 2 * (size_t)d * fv_type_size(t));
    if (!p || !sums) return;
    fv__cu_batchnorm n = fv__cu_batchnorm_of(y, fv__saved(y, 0), sums);
    n.p = p, n.gw = fv__grad(c, w, &first_w), n.gb = fv__grad(c, b, &first_b);
    if (w) n.gw_type = fv_grad_type(w), n.add_w = !first_w;
    if (b) n.gb_type = fv_grad_type(b), n.add_b = !first_b;
    fv__channel_f f = {fv__elements(x), y->grad, n.m, x->type, fv_grad_type(y), t, d};
    fv__fold_run(c, f, d, fv__rows_count(x), fv__fold_sums(&n));
    FV__START_CHANNELS(c, t, n, fv__batchnorm_weights_k);
    fv__map map = fv__map_of(fv_numel(y));
    fv__map_source(&map, x);
    fv__map_in(&map, y->grad, fv_grad_type(y));
    fv__map_grad(c, &map, x);
    map.table[0] = n.m, map.table[1] = p, map.i[0] = d;
    if (map.out[0]) fv__map_run<fv__batchnorm_grad_f>(c, map, t);
    fv__pool_free(c, sums);
}
#endif
static const fv__op fv__op_batchnorm = {
    "batchnorm",       fv__batchnorm_shape,          fv__batchnorm_fwd,
    fv__batchnorm_bwd, FV__CU(fv__batchnorm_fwd_cu), FV__CU(fv__batchnorm_bwd_cu)};
FV_DEF fv_tensor *fv_batchnorm(fv_ctx *c, fv_tensor *x, fv_tensor *w, fv_tensor *b, fv_tensor *mean,
                               fv_tensor *var, float momentum, float eps) {
    fv_tensor *src[5];
    src[0] = x, src[1] = w, src[2] = b, src[3] = mean, src[4] = var;
    if (!fv__need(c, "batchnorm", x) || !fv__need(c, "batchnorm", mean) || !fv__need(c, "batchnorm", var))
        return NULL;
    fv_tensor *y = fv__make(c, &fv__op_batchnorm, src, 5);
    if (y) y->node->f[0] = (double)eps, y->node->f[1] = (double)momentum, y->node->i[0] = c->tape->training;
    return fv__apply(c, y);
}

/* ---- op inverse_rms: y = (mean(x^2)+eps)^(-1/2) of each row; gx = -gy y^3 x / D ---- */
static int fv__inverse_rms_shape(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    if (!fv__is_float(x) || x->rank < 1)
        return fv__shape_fail(c, "inverse_rms", x, NULL, "[...,D] of f32, f64 or bf16 is wanted");
    fv__like(y, x, fv__compute_type(x->type));
    y->dim[y->rank - 1] = 1;
    return 1;
}
static void fv__inverse_rms_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                                 int64_t n) {
    int64_t d = r->in_cols[0];
    (void)row;
    for (int64_t i = 0; i < n; i++) {
        const char *x = (const char *)in[0] + (size_t)(i * d) * fv_type_size(r->compute);
        fv__set(out[0], r->compute, i, 1 / sqrt(r->k->dot(x, x, d) / (double)d + r->y->node->f[0]));
    }
}
static void fv__inverse_rms_grad_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                                      int64_t n) {
    int64_t d = r->in_cols[0];
    (void)row;
    for (int64_t i = 0; i < n; i++) {
        size_t at = (size_t)(i * d) * fv_type_size(r->compute);
        double y = fv__get(in[1], r->compute, i), gy = fv__get(in[2], r->compute, i);
        r->k->scale((char *)out[0] + at, (const char *)in[0] + at, -gy * y * y * y / (double)d, d);
    }
}
static void fv__inverse_rms_fwd(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    fv__rows r = fv__rows_of(y, fv__rows_count(x), fv__inverse_rms_rows);
    fv__rows_in(&r, x->data, x->type, fv__last(x));
    fv__rows_out(&r, y->data, y->type, 1, 0);
    fv__run_rows(c, &r);
}
static void fv__inverse_rms_bwd(fv_ctx *c, fv_tensor *y) {
    fv_tensor *x = y->node->src[0];
    fv__rows r = fv__rows_of(y, fv__rows_count(x), fv__inverse_rms_grad_rows);
    fv__rows_in(&r, x->data, x->type, fv__last(x));
    fv__rows_in(&r, y->data, y->type, 1);
    fv__rows_in(&r, y->grad, fv_grad_type(y), 1);
    fv__rows_grad(c, &r, x, fv__last(x));
    if (r.out[0]) fv__run_rows(c, &r);
}
#ifdef FROZENVIS_CUDA
template <class C> FV__KERNEL fv__inverse_rms_k(fv__cu_norm n) {
    int64_t row = fv__my_row();
    C squares = 0;
    if (row >= n.rows) return;
    for (int64_t i = threadIdx.x; i < n.d; i += 32) {
        C x = fv__ld<C>(n.x, n.x_type, row * n.d + i);
        squares += x * x;
    }
    squares = fv__warp_sum(squares);
    if (!threadIdx.x) fv__st<double>(n.y, n.y_type, row, 1 / sqrt((double)squares / (double)n.d + n.eps));
}
template <class C> FV__KERNEL fv__inverse_rms_grad_k(fv__cu_norm n) { /* w: y */
    int64_t row = fv__my_row();
    if (row >= n.rows) return;
    C y = ((const C *)n.w)[row], s = -fv__ld<C>(n.g, n.g_type, row) * y * y * y / (C)n.d;
    for (int64_t i = threadIdx.x; i < n.d; i += 32)
        fv__put<C>(n.y, n.y_type, row * n.d + i, s * fv__ld<C>(n.x, n.x_type, row * n.d + i), n.add);
}
static fv__cu_norm fv__cu_inverse_rms_of(const fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    fv__cu_norm n;
    memset(&n, 0, sizeof n);
    n.x = fv__elements(x), n.x_type = x->type, n.rows = fv__rows_count(x), n.d = fv__last(x),
    n.eps = y->node->f[0];
    return n;
}
static void fv__inverse_rms_fwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__cu_norm n = fv__cu_inverse_rms_of(y);
    n.y = y->data, n.y_type = y->type;
    if (!n.rows) return;
    if (y->type == FV_F64)
        FV__START(c, fv__row_grid(n.rows), fv__row_block(), (n), fv__inverse_rms_k<double>);
    else FV__START(c, fv__row_grid(n.rows), fv__row_block(), (n), fv__inverse_rms_k<float>);
}
static void fv__inverse_rms_bwd_cu(fv_ctx *c, fv_tensor *y) {
    fv_tensor *x = y->node->src[0];
    fv__cu_norm n = fv__cu_inverse_rms_of(y);
    int first = 1;
    n.w = y->data, n.g = y->grad, n.g_type = fv_grad_type(y);
    n.y = fv__grad(c, x, &first), n.y_type = fv_grad_type(x), n.add = !first;
    if (!n.y || !n.rows) return;
    if (y->type == FV_F64)
        FV__START(c, fv__row_grid(n.rows), fv__row_block(), (n), fv__inverse_rms_grad_k<double>);
    else FV__START(c, fv__row_grid(n.rows), fv__row_block(), (n), fv__inverse_rms_grad_k<float>);
}
#endif
static const fv__op fv__op_inverse_rms = {
    "inverse_rms",       fv__inverse_rms_shape,          fv__inverse_rms_fwd,
    fv__inverse_rms_bwd, FV__CU(fv__inverse_rms_fwd_cu), FV__CU(fv__inverse_rms_bwd_cu)};
FV_DEF fv_tensor *fv_inverse_rms(fv_ctx *c, fv_tensor *x, float eps) {
    fv_tensor *y = fv__need(c, "inverse_rms", x) ? fv__make(c, &fv__op_inverse_rms, &x, 1) : NULL;
    if (y) y->node->f[0] = (double)eps;
    return fv__apply(c, y);
}

/* ---- op softmax: y = exp(x-max)/sum over the last dim; gx = y*(gy - sum(gy*y)) ---- */
static int fv__float_shape(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    if (!fv__is_float(x)) return fv__shape_fail(c, y->node->op->name, x, NULL, "f32, f64 or bf16 is wanted");
    return fv__like(y, x, x->type);
}
static int fv__unary_shape(fv_ctx *c, fv_tensor *y) { /* of an op whose slope is found from x */
    y->node->unread = FV__UNREAD_Y;
    return fv__float_shape(c, y);
}
static void fv__softmax_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                             int64_t n) {
    int64_t d = r->in_cols[0];
    size_t size = (size_t)d * fv_type_size(r->compute);
    char *y = (char *)out[0];
    memcpy(y, in[0], (size_t)n * size);
    (void)row;
    for (; n--; y += size) r->k->scale(y, y, 1 / r->k->softmax_exp(y, d, 1, r->k->row_max(y, d)), d);
}
static void fv__softmax_grad_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                                  int64_t n) {
    size_t size = (size_t)r->in_cols[0] * fv_type_size(r->compute);
    (void)row;
    for (int64_t i = 0; i < n; i++) {
        size_t at = (size_t)i * size;
        r->k->softmax_grad((char *)out[0] + at, (const char *)in[0] + at, (const char *)in[1] + at,
                           r->in_cols[0]);
    }
}
static void fv__softmax_fwd(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    fv__rows r = fv__rows_of(y, fv__rows_count(x), fv__softmax_rows);
    fv__rows_in(&r, x->data, x->type, fv__last(x));
    fv__rows_out(&r, y->data, y->type, fv__last(x), 0);
    fv__run_rows(c, &r);
}
static void fv__softmax_bwd(fv_ctx *c, fv_tensor *y) {
    fv__rows r = fv__rows_of(y, fv__rows_count(y), fv__softmax_grad_rows);
    fv__rows_in(&r, y->data, y->type, fv__last(y));
    fv__rows_in(&r, y->grad, fv_grad_type(y), fv__last(y));
    fv__rows_grad(c, &r, y->node->src[0], fv__last(y));
    if (r.out[0]) fv__run_rows(c, &r);
}
#ifdef FROZENVIS_CUDA
typedef struct fv__cu_rows { /* a warp a row of d: in -> out */
    const void *in[2];
    void *out;
    fv_type in_type[2], out_type;
    int64_t rows, d;
    int add;
} fv__cu_rows;
template <class C> FV__KERNEL fv__softmax_k(fv__cu_rows r) {
    int64_t row = fv__my_row();
    C most = -INFINITY, sum = 0;
    if (row >= r.rows) return;
    for (int64_t i = threadIdx.x; i < r.d; i += 32) {
        C x = fv__ld<C>(r.in[0], r.in_type[0], row * r.d + i);
        most = x != x || x > most ? x : most;
    }
    most = fv__warp_max(most);
    for (int64_t i = threadIdx.x; i < r.d; i += 32)
        sum += exp(fv__ld<C>(r.in[0], r.in_type[0], row * r.d + i) - most);
    sum = 1 / fv__warp_sum(sum);
    for (int64_t i = threadIdx.x; i < r.d; i += 32)
        fv__st<C>(r.out, r.out_type, row * r.d + i,
                  exp(fv__ld<C>(r.in[0], r.in_type[0], row * r.d + i) - most) * sum);
}
template <class C> FV__KERNEL fv__softmax_grad_k(fv__cu_rows r) { /* in y, gy */
    int64_t row = fv__my_row();
    C dot = 0;
    if (row >= r.rows) return;
    for (int64_t i = threadIdx.x; i < r.d; i += 32)
        dot +=
            fv__ld<C>(r.in[0], r.in_type[0], row * r.d + i) * fv__ld<C>(r.in[1], r.in_type[1], row * r.d + i);
    dot = fv__warp_sum(dot);
    for (int64_t i = threadIdx.x; i < r.d; i += 32)
        fv__put<C>(r.out, r.out_type, row * r.d + i,
                   fv__ld<C>(r.in[0], r.in_type[0], row * r.d + i) *
                       (fv__ld<C>(r.in[1], r.in_type[1], row * r.d + i) - dot),
                   r.add);
}
static void fv__softmax_fwd_cu(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    fv__cu_rows r = {
        {fv__elements(x), NULL}, y->data, {x->type, x->type}, y->type, fv__rows_count(x), fv__last(x), 0};
    if (!r.rows) return;
    if (fv__compute_type(y->type) == FV_F64)
        FV__START(c, fv__row_grid(r.rows), fv__row_block(), (r), fv__softmax_k<double>);
    else FV__START(c, fv__row_grid(r.rows), fv__row_block(), (r), fv__softmax_k<float>);
}
static void fv__softmax_bwd_cu(fv_ctx *c, fv_tensor *y) {
    fv_tensor *x = y->node->src[0];
    int first = 1;
    void *g = fv__grad(c, x, &first);
    fv__cu_rows r = {
        {y->data, y->grad}, g,     {y->type, fv_grad_type(y)}, fv_grad_type(x), fv__rows_count(y),
        fv__last(y),        !first};
    if (!g || !r.rows) return;
    if (fv__compute_type(y->type) == FV_F64)
        FV__START(c, fv__row_grid(r.rows), fv__row_block(), (r), fv__softmax_grad_k<double>);
    else FV__START(c, fv__row_grid(r.rows), fv__row_block(), (r), fv__softmax_grad_k<float>);
}
#endif
static const fv__op fv__op_softmax = {"softmax",
                                      fv__float_shape,
                                      fv__softmax_fwd,
                                      fv__softmax_bwd,
                                      FV__CU(fv__softmax_fwd_cu),
                                      FV__CU(fv__softmax_bwd_cu)};
FV_DEF fv_tensor *fv_softmax(fv_ctx *c, fv_tensor *x) {
    return fv__need(c, "softmax", x) ? fv__apply(c, fv__make(c, &fv__op_softmax, &x, 1)) : NULL;
}

/* ---- what elementwise ops of one input share: y = f(x), gx = gy f'(x); x keeps its type ---- */
static void fv__unary_fwd(fv_ctx *c, fv_tensor *y,
                          void (*fn)(const fv__rows *, const void *const *, void *const *, int64_t,
                                     int64_t)) {
    const fv_tensor *x = y->node->src[0];
    fv__rows r = fv__rows_of(y, fv_numel(y), fn);
    fv__rows_in(&r, x->data, x->type, 1);
    fv__rows_out(&r, y->data, y->type, 1, 0);
    fv__run_rows(c, &r);
}
static void fv__unary_bwd(fv_ctx *c, fv_tensor *y,
                          void (*fn)(const fv__rows *, const void *const *, void *const *, int64_t,
                                     int64_t)) {
    fv_tensor *x = y->node->src[0];
    fv__rows r = fv__rows_of(y, fv_numel(y), fn);
    fv__rows_in(&r, x->data, x->type, 1);
    fv__rows_in(&r, y->grad, fv_grad_type(y), 1);
    fv__rows_grad(c, &r, x, 1);
    if (r.out[0]) fv__run_rows(c, &r);
}

/* ---- op gelu: y = x Phi(x), Phi(x) = (1+erf(x/sqrt 2))/2; gx = gy (Phi(x) + x exp(-x^2/2)/sqrt(2 pi)).
 * source  Hendrycks and Gimpel, arXiv:1606.08415 ---- */
static void fv__gelu_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                          int64_t n) {
    (void)row;
    r->k->gelu(out[0], in[0], n);
}
static void fv__gelu_grad_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                               int64_t n) {
    (void)row;
    r->k->gelu_grad(out[0], in[0], in[1], n);
}
static void fv__gelu_fwd(fv_ctx *c, fv_tensor *y) { fv__unary_fwd(c, y, fv__gelu_rows); }
static void fv__gelu_bwd(fv_ctx *c, fv_tensor *y) { fv__unary_bwd(c, y, fv__gelu_grad_rows); }
#ifdef FROZENVIS_CUDA
/* Phi(x), and exp(-x^2/2), which its slope is made of. In f32 the part of it beyond |x| is that times a
 * polynomial of 1/(1 + 0.297 |x|), fitted to 4e-8 of it up to |x| = 9.3: with the roundings Phi is off by
 * 2e-7. */
FV__DEV double fv__phi(double x, double *bell) {
    *bell = exp(-x * x / 2);
    return 0.5 * (1 + erf(x * 0.70710678118654752));
}
FV__DEV float fv__phi(float x, float *bell) {
    float t = fv__quotient(1.0f, 1 + 0.29698485f * fabsf(x)), e = fv__exp_below(-0.5f * x * x);
    float p = 0.037891615f;
    p = p * t - 0.17204681f, p = p * t + 0.24161264f, p = p * t - 0.085684225f, p = p * t + 0.14572565f;
    p = p * t + 0.093713626f, p = p * t + 0.12041972f, p = p * t + 0.118367776f;
    float beyond = p * t * e;
    *bell = e;
    return x < 0 ? beyond : 1 - beyond;
}
struct fv__gelu_f {
    template <class C> FV__DEV void run(const fv__map &m, int64_t i, const C *in, C *out) {
        C bell;
        out[0] = in[0] * fv__phi(in[0], &bell);
        (void)m, (void)i;
    }
};
struct fv__gelu_grad_f {
    template <class C> FV__DEV void run(const fv__map &m, int64_t i, const C *in, C *out) {
        C x = in[0], bell, phi = fv__phi(x, &bell);
        out[0] = in[1] * (phi + x * bell * (C)0.39894228040143268);
        (void)m, (void)i;
    }
};
#endif
static const fv__op fv__op_gelu = {"gelu",
                                   fv__unary_shape,
                                   fv__gelu_fwd,
                                   fv__gelu_bwd,
                                   FV__CU(fv__unary_fwd_cu<fv__gelu_f>),
                                   FV__CU(fv__unary_bwd_cu<fv__gelu_grad_f>)};
FV_DEF fv_tensor *fv_gelu(fv_ctx *c, fv_tensor *x) {
    return fv__need(c, "gelu", x) ? fv__apply(c, fv__make(c, &fv__op_gelu, &x, 1)) : NULL;
}

/* ---- op silu: y = x s, s = 1/(1+exp(-x)); gx = gy s (1 + x (1-s)) ---- */
static void fv__silu_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                          int64_t n) {
    (void)row;
    r->k->silu(out[0], in[0], n);
}
static void fv__silu_grad_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                               int64_t n) {
    (void)row;
    r->k->silu_grad(out[0], in[0], in[1], n);
}
static void fv__silu_fwd(fv_ctx *c, fv_tensor *y) { fv__unary_fwd(c, y, fv__silu_rows); }
static void fv__silu_bwd(fv_ctx *c, fv_tensor *y) { fv__unary_bwd(c, y, fv__silu_grad_rows); }
#ifdef FROZENVIS_CUDA
struct fv__silu_f {
    template <class C> FV__DEV void run(const fv__map &m, int64_t i, const C *in, C *out) {
        C x = in[0];
        out[0] = fv__quotient(x, 1 + exp(-x));
        (void)m, (void)i;
    }
};
struct fv__silu_grad_f {
    template <class C> FV__DEV void run(const fv__map &m, int64_t i, const C *in, C *out) {
        C x = in[0], gy = in[1];
        C s = fv__quotient((C)1, 1 + exp(-x));
        out[0] = gy * s * (1 + x * (1 - s));
        (void)m, (void)i;
    }
};
#endif
static const fv__op fv__op_silu = {"silu",
                                   fv__unary_shape,
                                   fv__silu_fwd,
                                   fv__silu_bwd,
                                   FV__CU(fv__unary_fwd_cu<fv__silu_f>),
                                   FV__CU(fv__unary_bwd_cu<fv__silu_grad_f>)};
FV_DEF fv_tensor *fv_silu(fv_ctx *c, fv_tensor *x) {
    return fv__need(c, "silu", x) ? fv__apply(c, fv__make(c, &fv__op_silu, &x, 1)) : NULL;
}

/* ---- op relu: y = max(x, 0); gx = gy where x > 0 ---- */
static void fv__relu_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                          int64_t n) {
    (void)row;
    r->k->relu(out[0], in[0], n);
}
static void fv__relu_grad_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                               int64_t n) {
    (void)row;
    r->k->relu_grad(out[0], in[0], in[1], n);
}
static void fv__relu_fwd(fv_ctx *c, fv_tensor *y) { fv__unary_fwd(c, y, fv__relu_rows); }
static void fv__relu_bwd(fv_ctx *c, fv_tensor *y) { fv__unary_bwd(c, y, fv__relu_grad_rows); }
#ifdef FROZENVIS_CUDA
struct fv__relu_f {
    template <class C> FV__DEV void run(const fv__map &m, int64_t i, const C *in, C *out) {
        C x = in[0];
        out[0] = x > 0 || x != x ? x : (C)0; /* a NaN stays */
        (void)m, (void)i;
    }
};
struct fv__relu_grad_f {
    template <class C> FV__DEV void run(const fv__map &m, int64_t i, const C *in, C *out) {
        C x = in[0], gy = in[1];
        out[0] = x > 0 ? gy : (C)0;
        (void)m, (void)i;
    }
};
#endif
static const fv__op fv__op_relu = {"relu",
                                   fv__unary_shape,
                                   fv__relu_fwd,
                                   fv__relu_bwd,
                                   FV__CU(fv__unary_fwd_cu<fv__relu_f>),
                                   FV__CU(fv__unary_bwd_cu<fv__relu_grad_f>)};
FV_DEF fv_tensor *fv_relu(fv_ctx *c, fv_tensor *x) {
    return fv__need(c, "relu", x) ? fv__apply(c, fv__make(c, &fv__op_relu, &x, 1)) : NULL;
}

/* ---- op leaky_relu: y = x where x >= 0, else slope*x; f[0] slope ---- */
static void fv__leaky_relu_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                                int64_t n) {
    (void)row;
    r->k->leaky_relu(out[0], in[0], r->y->node->f[0], n);
}
static void fv__leaky_relu_grad_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                                     int64_t n) {
    (void)row;
    r->k->leaky_relu_grad(out[0], in[0], in[1], r->y->node->f[0], n);
}
static void fv__leaky_relu_fwd(fv_ctx *c, fv_tensor *y) { fv__unary_fwd(c, y, fv__leaky_relu_rows); }
static void fv__leaky_relu_bwd(fv_ctx *c, fv_tensor *y) { fv__unary_bwd(c, y, fv__leaky_relu_grad_rows); }
#ifdef FROZENVIS_CUDA
struct fv__leaky_relu_f {
    template <class C> FV__DEV void run(const fv__map &m, int64_t i, const C *in, C *out) {
        C x = in[0];
        out[0] = x >= 0 ? x : x * (C)m.f[0];
        (void)m, (void)i;
    }
};
struct fv__leaky_relu_grad_f {
    template <class C> FV__DEV void run(const fv__map &m, int64_t i, const C *in, C *out) {
        C x = in[0], gy = in[1];
        out[0] = x >= 0 ? gy : gy * (C)m.f[0];
        (void)m, (void)i;
    }
};
#endif
static const fv__op fv__op_leaky_relu = {"leaky_relu",
                                         fv__float_shape,
                                         fv__leaky_relu_fwd,
                                         fv__leaky_relu_bwd,
                                         FV__CU(fv__unary_fwd_cu<fv__leaky_relu_f>),
                                         FV__CU(fv__unary_bwd_cu<fv__leaky_relu_grad_f>)};
FV_DEF fv_tensor *fv_leaky_relu(fv_ctx *c, fv_tensor *x, float slope) {
    fv_tensor *y = fv__need(c, "leaky_relu", x) ? fv__make(c, &fv__op_leaky_relu, &x, 1) : NULL;
    if (y) y->node->f[0] = (double)slope;
    return fv__apply(c, y);
}

/* ---- op swiglu: y = silu(gate)*up; gup = gy silu(gate), ggate = gy up silu'(gate). source  Shazeer,
 * arXiv:2002.05202 ---- */
static int fv__same_shape(const fv_tensor *a, const fv_tensor *b) {
    if (a->rank != b->rank) return 0;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return 0;
    return 1;
}
static int fv__swiglu_shape(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *g = y->node->src[0], *u = y->node->src[1];
    if (!fv__same_shape(g, u) || !fv__is_float(g) || !fv__is_float(u))
        return fv__shape_fail(c, "swiglu", g, u, "two of the same shape are wanted, f32, f64 or bf16");
    y->node->unread = FV__UNREAD_Y;
    return fv__like(y, g, fv__promote(g->type, u->type));
}
static void fv__swiglu_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                            int64_t n) {
    (void)row;
    r->k->swiglu(out[0], in[0], in[1], n);
}
static void fv__swiglu_grad_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                                 int64_t n) {
    (void)row;
    r->k->swiglu_grad(out[0], out[1], in[0], in[1], in[2], n);
}
static void fv__swiglu_fwd(fv_ctx *c, fv_tensor *y) {
    fv__rows r = fv__rows_of(y, fv_numel(y), fv__swiglu_rows);
    for (int i = 0; i < 2; i++) fv__rows_in(&r, y->node->src[i]->data, y->node->src[i]->type, 1);
    fv__rows_out(&r, y->data, y->type, 1, 0);
    fv__run_rows(c, &r);
}
static void fv__swiglu_bwd(fv_ctx *c, fv_tensor *y) {
    fv_tensor **src = y->node->src;
    fv__rows r = fv__rows_of(y, fv_numel(y), fv__swiglu_grad_rows);
    for (int i = 0; i < 2; i++) fv__rows_in(&r, src[i]->data, src[i]->type, 1);
    fv__rows_in(&r, y->grad, fv_grad_type(y), 1);
    fv__rows_grad(c, &r, src[0], 1);
    fv__rows_grad(c, &r, src[1], 1);
    /* src[0] == src[1] is fine: the second output then waits in scratch and is added to the first */
    if (r.out[0] || r.out[1]) fv__run_rows(c, &r);
}
#ifdef FROZENVIS_CUDA
struct fv__swiglu_f {
    template <class C> FV__DEV void run(const fv__map &, int64_t, const C *in, C *out) {
        out[0] = fv__quotient(in[0], 1 + exp(-in[0])) * in[1];
    }
};
struct fv__swiglu_grad_f { /* in gate, up, gy; out ggate, gup */
    template <class C> FV__DEV void run(const fv__map &, int64_t, const C *in, C *out) {
        C s = fv__quotient((C)1, 1 + exp(-in[0]));
        out[0] = in[2] * in[1] * s * (1 + in[0] * (1 - s)), out[1] = in[2] * in[0] * s;
    }
};
static void fv__swiglu_fwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__map m = fv__map_of(fv_numel(y));
    for (int i = 0; i < 2; i++) fv__map_source(&m, y->node->src[i]);
    fv__map_out(&m, y->data, y->type, 0);
    fv__map_run<fv__swiglu_f>(c, m, fv__compute_type(y->type));
}
static void fv__swiglu_bwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__map m = fv__map_of(fv_numel(y));
    for (int i = 0; i < 2; i++) fv__map_source(&m, y->node->src[i]);
    fv__map_in(&m, y->grad, fv_grad_type(y));
    fv__map_grad_over(c, &m, y, y->node->src[0]); /* three of these are the most that a step holds */
    fv__map_grad(c, &m, y->node->src[1]);
    if (m.out[0] || m.out[1]) fv__map_run<fv__swiglu_grad_f, 2>(c, m, fv__compute_type(y->type));
}
#endif
static const fv__op fv__op_swiglu = {"swiglu",       fv__swiglu_shape,          fv__swiglu_fwd,
                                     fv__swiglu_bwd, FV__CU(fv__swiglu_fwd_cu), FV__CU(fv__swiglu_bwd_cu)};
FV_DEF fv_tensor *fv_swiglu(fv_ctx *c, fv_tensor *gate, fv_tensor *up) {
    fv_tensor *src[2];
    src[0] = gate, src[1] = up;
    if (!fv__need(c, "swiglu", gate) || !fv__need(c, "swiglu", up)) return NULL;
    return fv__apply(c, fv__make(c, &fv__op_swiglu, src, 2));
}

/* ---- what losses share: parts in double, added in their order; y is one element. src x, target ---- */
static int fv__loss_shape(fv_tensor *y) {
    y->rank = 1, y->dim[0] = 1, y->type = fv__compute_type(y->node->src[0]->type);
    return 1;
}
static void fv__loss_total(fv_tensor *y, int64_t parts, double scale) {
    const double *part = (const double *)fv__saved(y, 0);
    double total = 0;
    for (int64_t i = 0; i < parts; i++) total += part[i];
    fv__set(y->data, y->type, 0, total * scale);
}
static double fv__loss_grad(const fv_tensor *y) { return fv__get(y->grad, fv_grad_type(y), 0); }

/* ---- op cross_entropy: mean over rows of L sum(t) - sum(t x), where L = log sum exp x and t is the target,
 * smoothed: (1-s) target + s/K. gx = g/B (exp(x-L) sum(t) - t). f[0] s, i[0] 1: targets are soft; saves the
 * rows' losses [B], L [B] ---- */
static int fv__cross_entropy_shape(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0], *t = y->node->src[1];
    if (!fv__is_float(x) || x->rank != 2 || fv_numel(x) < 1)
        return fv__shape_fail(c, "cross_entropy", x, NULL, "logits [B,K] are wanted");
    if (!(y->node->f[0] >= 0 && y->node->f[0] <= 1))
        return fv_fail(c, FV_EUSAGE, "cross_entropy: smoothing %g is not in 0..1", y->node->f[0]);
    if (fv__is_float(t)) {
        y->node->i[0] = 1;
        if (!fv__same_shape(x, t) || (t->type != x->type && t->type != FV_F32))
            return fv__shape_fail(c, "cross_entropy", x, t,
                                  "soft targets have the shape of the logits, in their type or f32");
        return fv__loss_shape(y);
    }
    if ((t->type != FV_I32 && t->type != FV_I64) || t->rank != 1 || t->dim[0] != x->dim[0])
        return fv__shape_fail(c, "cross_entropy", x, t, "labels are i32 or i64 [B], soft targets [B,K]");
    for (int64_t i = 0; !t->device && i < t->dim[0]; i++) { /* a GPU's own labels: see its kernel */
        int64_t label = t->type == FV_I32 ? ((const int32_t *)t->data)[i] : ((const int64_t *)t->data)[i];
        if (label < 0 || label >= x->dim[1])
            return fv_fail(c, FV_ESHAPE, "cross_entropy: label %lld of row %lld is not one of %lld classes",
                           (long long)label, (long long)i, (long long)x->dim[1]);
    }
    return fv__loss_shape(y);
}
static int64_t fv__label(const fv_tensor *t, int64_t row) {
    return t->type == FV_I32 ? ((const int32_t *)t->data)[row] : ((const int64_t *)t->data)[row];
}
static void fv__cross_entropy_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                                   int64_t n) {
    double *loss = (double *)fv__saved(r->y, 0) + row, s = r->y->node->f[0];
    const fv_tensor *t = r->y->node->src[1];
    int64_t k = r->in_cols[0];
    (void)out;
    for (int64_t i = 0; i < n; i++) {
        size_t at = (size_t)(i * k) * fv_type_size(r->compute);
        const char *x = (const char *)in[0] + at,
                   *target = r->y->node->i[0] ? (const char *)in[1] + at : NULL;
        double most = r->k->row_max(x, k), log_sum = most + log(r->k->exp_sum(x, k, most)), sum = 1, hit;
        if (r->y->node->i[0]) sum = r->k->sum(target, k), hit = r->k->dot(x, target, k);
        else hit = fv__get(x, r->compute, fv__label(t, row + i));
        loss[i] = (1 - s) * (log_sum * sum - hit);
        if (s > 0) loss[i] += s * (log_sum - r->k->sum(x, k) / (double)k);
        loss[r->rows + i] = log_sum;
    }
}
static void fv__cross_entropy_grad_rows(const fv__rows *r, const void *const *in, void *const *out,
                                        int64_t row, int64_t n) {
    const double *log_sum = (const double *)fv__saved(r->y, 0) + r->rows + row;
    const fv__node *node = r->y->node;
    int64_t k = r->in_cols[0];
    double s = node->f[0], g = fv__loss_grad(r->y) / (double)r->rows;
    for (int64_t i = 0; i < n; i++) {
        size_t at = (size_t)(i * k) * fv_type_size(r->compute);
        char *gx = (char *)out[0] + at;
        const char *target = node->i[0] ? (const char *)in[1] + at : NULL;
        double sum = node->i[0] ? (1 - s) * r->k->sum(target, k) + s : 1;
        memcpy(gx, (const char *)in[0] + at, (size_t)k * fv_type_size(r->compute));
        /* x - most is exact where it counts; x - L, rounded to f32, is not */
        double most = r->k->row_max(gx, k);
        r->k->softmax_exp(gx, k, 1, most);
        double to_p = exp(most - log_sum[i]), hit = 0;
        int64_t label = node->i[0] ? 0 : fv__label(node->src[1], row + i);
        if (!node->i[0]) hit = fv__get(gx, r->compute, label) * to_p - (1 - s + s / (double)k);
        r->k->affine(gx, gx, sum * to_p, -s / (double)k, k);
        if (node->i[0]) r->k->axpy(gx, target, s - 1, k);
        else fv__set(gx, r->compute, label, hit);
        r->k->scale(gx, gx, g, k); /* last: p - t is exact where they are near */
    }
}
static void fv__cross_entropy_in(fv__rows *r, const fv_tensor *y) {
    const fv_tensor *x = y->node->src[0], *t = y->node->src[1];
    fv__rows_in(r, x->data, x->type, x->dim[1]);
    if (y->node->i[0]) fv__rows_in(r, t->data, t->type, x->dim[1]);
    else fv__rows_in(r, x->data, r->compute, 0); /* nothing: labels are not rows of T */
}
static void fv__cross_entropy_fwd(fv_ctx *c, fv_tensor *y) {
    fv__rows r = fv__rows_of(y, y->node->src[0]->dim[0], fv__cross_entropy_rows);
    if (!fv__save(c, y, 0, 2 * (size_t)r.rows * sizeof(double))) return;
    fv__cross_entropy_in(&r, y);
    fv__run_rows(c, &r);
    fv__loss_total(y, r.rows, 1 / (double)r.rows);
}
static void fv__cross_entropy_bwd(fv_ctx *c, fv_tensor *y) {
    fv_tensor *x = y->node->src[0];
    fv__rows r = fv__rows_of(y, x->dim[0], fv__cross_entropy_grad_rows);
    fv__cross_entropy_in(&r, y);
    fv__rows_grad(c, &r, x, x->dim[1]);
    if (r.out[0]) fv__run_rows(c, &r);
}
#ifdef FROZENVIS_CUDA
/* A label outside 0..K-1 that lies on the device gives a loss that is not a number; labels of the host were
 * looked at before. */
typedef struct fv__cu_classes {
    const void *x, *target, *gy;
    void *gx;
    fv_type x_type, target_type, gy_type, gx_type;
    int64_t B, K;
    double s, *loss, *log_sum;
    int add;
} fv__cu_classes;
template <class C> FV__DEV C fv__target_at(const fv__cu_classes &n, int64_t row, int64_t i) {
    if (n.target_type != FV_I32 && n.target_type != FV_I64)
        return fv__ld<C>(n.target, n.target_type, row * n.K + i);
    int64_t label =
        n.target_type == FV_I32 ? ((const int32_t *)n.target)[row] : ((const int64_t *)n.target)[row];
    return label < 0 || label >= n.K ? (C)NAN : (C)(label == i);
}
template <class C> FV__KERNEL fv__cross_entropy_k(fv__cu_classes n) {
    int64_t row = fv__my_row();
    C most = -INFINITY, sum = 0, total = 0;
    double weight = 0, hit = 0;
    if (row >= n.B) return;
    for (int64_t i = threadIdx.x; i < n.K; i += 32) {
        C x = fv__ld<C>(n.x, n.x_type, row * n.K + i);
        most = x != x || x > most ? x : most;
    }
    most = fv__warp_max(most);
    for (int64_t i = threadIdx.x; i < n.K; i += 32) {
        C x = fv__ld<C>(n.x, n.x_type, row * n.K + i), t = fv__target_at<C>(n, row, i);
        sum += exp(x - most), total += x;
        if (t != 0) weight += (double)t, hit += (double)t * (double)x;
    }
    double log_sum = (double)most + log((double)fv__warp_sum(sum)), all = (double)fv__warp_sum(total);
    weight = fv__warp_sum(weight), hit = fv__warp_sum(hit);
    if (threadIdx.x) return;
    n.loss[row] = (1 - n.s) * (log_sum * weight - hit) + (n.s > 0 ? n.s * (log_sum - all / (double)n.K) : 0);
    n.log_sum[row] = log_sum;
}
template <class C> FV__KERNEL fv__cross_entropy_grad_k(fv__cu_classes n) {
    int64_t row = fv__my_row();
    double weight = 0;
    if (row >= n.B) return;
    C g = (C)(fv__ld<double>(n.gy, n.gy_type, 0) / (double)n.B), s = (C)n.s;
    for (int64_t i = threadIdx.x; i < n.K; i += 32) weight += (double)fv__target_at<C>(n, row, i);
    C all = (C)((1 - n.s) * fv__warp_sum(weight) + n.s);
    for (int64_t i = threadIdx.x; i < n.K; i += 32) {
        C p = (C)exp((double)fv__ld<C>(n.x, n.x_type, row * n.K + i) - n.log_sum[row]);
        fv__put<C>(n.gx, n.gx_type, row * n.K + i,
                   g * (p * all - (1 - s) * fv__target_at<C>(n, row, i) - s / (C)n.K), n.add);
    }
}
static fv__cu_classes fv__cu_classes_of(const fv_tensor *y) {
    const fv_tensor *x = y->node->src[0], *t = y->node->src[1];
    fv__cu_classes n;
    memset(&n, 0, sizeof n);
    n.x = fv__elements(x), n.x_type = x->type, n.target = fv__elements(t), n.target_type = t->type;
    n.B = x->dim[0], n.K = x->dim[1], n.s = y->node->f[0];
    return n;
}
static void fv__cross_entropy_fwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__cu_classes n = fv__cu_classes_of(y);
    n.loss = (double *)fv__save(c, y, 0, 2 * (size_t)n.B * sizeof(double)), n.log_sum = n.loss + n.B;
    if (y->type == FV_F64) FV__START(c, fv__row_grid(n.B), fv__row_block(), (n), fv__cross_entropy_k<double>);
    else FV__START(c, fv__row_grid(n.B), fv__row_block(), (n), fv__cross_entropy_k<float>);
    fv__column_f f = {n.loss, FV_F64, 1};
    fv__fold_run(c, f, 1, n.B, fv__fold_to(y->data, y->type, 0, 1 / (double)n.B));
}
static void fv__cross_entropy_bwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__cu_classes n = fv__cu_classes_of(y);
    int first = 1;
    n.gx = fv__grad(c, y->node->src[0], &first), n.gx_type = fv_grad_type(y->node->src[0]), n.add = !first;
    n.log_sum = (double *)fv__saved(y, 0) + n.B, n.gy = y->grad, n.gy_type = fv_grad_type(y);
    if (!n.gx) return;
    if (y->type == FV_F64)
        FV__START(c, fv__row_grid(n.B), fv__row_block(), (n), fv__cross_entropy_grad_k<double>);
    else FV__START(c, fv__row_grid(n.B), fv__row_block(), (n), fv__cross_entropy_grad_k<float>);
}
#endif
static const fv__op fv__op_cross_entropy = {
    "cross_entropy",       fv__cross_entropy_shape,          fv__cross_entropy_fwd,
    fv__cross_entropy_bwd, FV__CU(fv__cross_entropy_fwd_cu), FV__CU(fv__cross_entropy_bwd_cu)};
/* a loss's node: no gradient flows to the target, whatever its flags */
static fv_tensor *fv__make_loss(fv_ctx *c, const fv__op *op, fv_tensor *x, const fv_tensor *target) {
    fv_tensor *src[2];
    src[0] = x, src[1] = (fv_tensor *)(uintptr_t)target;
    return fv__need(c, op->name, x) && fv__need(c, op->name, target) ? fv__make(c, op, src, 2) : NULL;
}
FV_DEF fv_tensor *fv_cross_entropy(fv_ctx *c, fv_tensor *logits, const fv_tensor *target, float smoothing) {
    fv_tensor *y = fv__make_loss(c, &fv__op_cross_entropy, logits, target);
    if (y) y->node->f[0] = (double)smoothing;
    return fv__apply(c, y);
}

/* ---- losses of single elements: the mean over all of f(x, t); gx = g/n f'(x, t). f gives the loss, and its
 * slope ---- */
typedef double (*fv__loss_element)(double x, double t, double setting, double *slope);

static int fv__elements_shape(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0], *t = y->node->src[1];
    if (!fv__is_float(x) || !fv__is_float(t) || !fv__same_shape(x, t) || fv_numel(x) < 1)
        return fv__shape_fail(c, y->node->op->name, x, t,
                              "two of the same shape are wanted, f32, f64 or bf16, not empty");
    return fv__loss_shape(y);
}
static void fv__elements_rows(const fv__rows *r, const void *const *in, int64_t row, int64_t n,
                              fv__loss_element f) {
    double total = 0, slope;
    for (int64_t i = 0; i < n; i++)
        total += f(fv__get(in[0], r->compute, i), fv__get(in[1], r->compute, i), r->y->node->f[0], &slope);
    ((double *)fv__saved(r->y, 0))[row / r->piece] = total;
}
static void fv__elements_grad_rows(const fv__rows *r, const void *const *in, void *gx, int64_t n,
                                   fv__loss_element f) {
    double g = fv__loss_grad(r->y) / (double)r->rows, slope;
    for (int64_t i = 0; i < n; i++) {
        f(fv__get(in[0], r->compute, i), fv__get(in[1], r->compute, i), r->y->node->f[0], &slope);
        fv__set(gx, r->compute, i, g * slope);
    }
}
static void fv__elements_fwd(fv_ctx *c, fv_tensor *y,
                             void (*fn)(const fv__rows *, const void *const *, void *const *, int64_t,
                                        int64_t)) {
    fv_tensor **src = y->node->src;
    fv__rows r = fv__rows_of(y, fv_numel(src[0]), fn);
    int64_t parts = FV__CEIL(r.rows, (int64_t)FV__PIECE);
    if (!fv__save(c, y, 0, (size_t)parts * sizeof(double))) return;
    for (int i = 0; i < 2; i++) fv__rows_in(&r, src[i]->data, src[i]->type, 1);
    fv__run_rows(c, &r);
    fv__loss_total(y, parts, 1 / (double)r.rows);
}
static void fv__elements_bwd(fv_ctx *c, fv_tensor *y,
                             void (*fn)(const fv__rows *, const void *const *, void *const *, int64_t,
                                        int64_t)) {
    fv_tensor **src = y->node->src;
    fv__rows r = fv__rows_of(y, fv_numel(src[0]), fn);
    for (int i = 0; i < 2; i++) fv__rows_in(&r, src[i]->data, src[i]->type, 1);
    fv__rows_grad(c, &r, src[0], 1);
    if (r.out[0]) fv__run_rows(c, &r);
}

#ifdef FROZENVIS_CUDA
/* the same on a GPU; L::element is the CPU's function */
template <class L> struct fv__elements_f {
    enum { SUMS = 1 };
    const void *x, *t;
    fv_type x_type, t_type;
    double setting;
    FV__METHOD void run(int64_t, int64_t p, double *sum) const {
        double slope;
        sum[0] += L::element(fv__ld<double>(x, x_type, p), fv__ld<double>(t, t_type, p), setting, &slope);
    }
};
template <class L> struct fv__elements_grad_f { /* table[0]: gy; i[0] its type; f: setting, 1/n */
    template <class C> FV__DEV void run(const fv__map &m, int64_t, const C *in, C *out) {
        double slope;
        L::element((double)in[0], (double)in[1], m.f[0], &slope);
        out[0] = (C)(fv__ld<double>(m.table[0], (fv_type)m.i[0], 0) * m.f[1] * slope);
    }
};
template <class L> static void fv__elements_fwd_cu(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0], *t = y->node->src[1];
    fv__elements_f<L> f = {fv__elements(x), fv__elements(t), x->type, t->type, y->node->f[0]};
    fv__fold_run(c, f, 1, fv_numel(x), fv__fold_to(y->data, y->type, 0, 1 / (double)fv_numel(x)));
}
template <class L> static void fv__elements_bwd_cu(fv_ctx *c, fv_tensor *y) {
    fv_tensor **src = y->node->src;
    fv__map m = fv__map_of(fv_numel(src[0]));
    for (int i = 0; i < 2; i++) fv__map_source(&m, src[i]);
    fv__map_grad(c, &m, src[0]);
    m.table[0] = y->grad, m.i[0] = (int64_t)fv_grad_type(y), m.f[0] = y->node->f[0], m.f[1] = 1 / (double)m.n;
    if (m.out[0]) fv__map_run<fv__elements_grad_f<L>>(c, m, fv__compute_type(y->type));
}
#endif
/* ---- op bce_with_logits: max(x,0) - x t + log(1+exp(-|x|)); slope 1/(1+exp(-x)) - t ---- */
static FV__HD double fv__bce_element(double x, double t, double unused, double *slope) {
    double e = exp(-fabs(x));
    (void)unused;
    *slope = (x < 0 ? e : 1) / (1 + e) - t;
    return (x < 0 ? 0 : x) - x * t + log1p(e); /* a NaN is not < 0 and stays */
}
static void fv__bce_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row, int64_t n) {
    (void)out;
    fv__elements_rows(r, in, row, n, fv__bce_element);
}
static void fv__bce_grad_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                              int64_t n) {
    (void)row;
    fv__elements_grad_rows(r, in, out[0], n, fv__bce_element);
}
static void fv__bce_fwd(fv_ctx *c, fv_tensor *y) { fv__elements_fwd(c, y, fv__bce_rows); }
static void fv__bce_bwd(fv_ctx *c, fv_tensor *y) { fv__elements_bwd(c, y, fv__bce_grad_rows); }
#ifdef FROZENVIS_CUDA
struct fv__bce_f {
    FV__DEV double element(double x, double t, double setting, double *slope) {
        return fv__bce_element(x, t, setting, slope);
    }
};
#endif
static const fv__op fv__op_bce = {"bce_with_logits",
                                  fv__elements_shape,
                                  fv__bce_fwd,
                                  fv__bce_bwd,
                                  FV__CU(fv__elements_fwd_cu<fv__bce_f>),
                                  FV__CU(fv__elements_bwd_cu<fv__bce_f>)};
FV_DEF fv_tensor *fv_bce_with_logits(fv_ctx *c, fv_tensor *x, const fv_tensor *target) {
    return fv__apply(c, fv__make_loss(c, &fv__op_bce, x, target));
}

/* ---- op huber: d = x-t; d^2/2 where |d| <= delta, else delta (|d| - delta/2); slope d, or delta by d's
 * sign; f[0] delta ---- */
static FV__HD double fv__huber_element(double x, double t, double delta, double *slope) {
    double d = x - t, a = fabs(d);
    int far = a > delta;
    *slope = far ? (d < 0 ? -delta : delta) : d;
    return far ? delta * (a - delta / 2) : d * d / 2;
}
static void fv__huber_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                           int64_t n) {
    (void)out;
    fv__elements_rows(r, in, row, n, fv__huber_element);
}
static void fv__huber_grad_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                                int64_t n) {
    (void)row;
    fv__elements_grad_rows(r, in, out[0], n, fv__huber_element);
}
static void fv__huber_fwd(fv_ctx *c, fv_tensor *y) { fv__elements_fwd(c, y, fv__huber_rows); }
static void fv__huber_bwd(fv_ctx *c, fv_tensor *y) { fv__elements_bwd(c, y, fv__huber_grad_rows); }
#ifdef FROZENVIS_CUDA
struct fv__huber_f {
    FV__DEV double element(double x, double t, double setting, double *slope) {
        return fv__huber_element(x, t, setting, slope);
    }
};
#endif
static const fv__op fv__op_huber = {"huber",
                                    fv__elements_shape,
                                    fv__huber_fwd,
                                    fv__huber_bwd,
                                    FV__CU(fv__elements_fwd_cu<fv__huber_f>),
                                    FV__CU(fv__elements_bwd_cu<fv__huber_f>)};
FV_DEF fv_tensor *fv_huber(fv_ctx *c, fv_tensor *x, const fv_tensor *target, float delta) {
    fv_tensor *y = fv__make_loss(c, &fv__op_huber, x, target);
    if (y && !(delta > 0)) {
        fv_fail(c, FV_EUSAGE, "huber: delta %g is not positive", (double)delta);
        return NULL;
    }
    if (y) y->node->f[0] = (double)delta;
    return fv__apply(c, y);
}

/* ======================================================================================================
 * >>ops (implementation)
 * ====================================================================================================== */
/* ---- what the ops on shapes share ---- */
enum { FV__BLOCK = 256, FV__JOB = 16384 }; /* elements of a buffer on the stack, and of a job, about */

static void *fv__at(const void *p, fv_type type, int64_t i) {
    return (char *)(uintptr_t)p + (size_t)i * fv_type_size(type);
}

/* to[i] += from[i], n elements of any float types; the sum is formed in f32, or in f64 where one of them is.
 * k: of f32 */
static void fv__add_to(const fv__kernels *k, void *to, fv_type t, const void *from, fv_type f, int64_t n) {
    if (t == FV_F32 && f == FV_F32) k->add(to, to, from, n);
    else if (t == FV_F64 || f == FV_F64)
        for (int64_t i = 0; i < n; i++) fv__set(to, t, i, fv__get(to, t, i) + fv__get(from, f, i));
    else {
        float x[FV__BLOCK], y[FV__BLOCK];
        for (int64_t i = 0; i < n; i += FV__BLOCK) {
            int64_t m = FV__MIN(n - i, (int64_t)FV__BLOCK);
            fv__convert(y, FV_F32, fv__at(to, t, i), t, m);
            fv__convert(x, FV_F32, fv__at(from, f, i), f, m);
            k->add(y, y, x, m);
            fv__convert(fv__at(to, t, i), t, y, FV_F32, m);
        }
    }
}

/* Strips: `outer` runs of `run` elements, `step` elements apart, copied from one array to another, or added
 * to it. */
typedef struct fv__strips {
    int64_t outer, run, from_step, to_step, pieces, piece, group;
    const void *from;
    void *to;
    fv_type from_type, to_type;
    int add;
    const fv__kernels *k;
} fv__strips;

static void fv__strips_job(void *arg, int job, int worker) {
    const fv__strips *s = (const fv__strips *)arg;
    int64_t unit = job * s->group, end = FV__MIN(unit + s->group, s->outer * s->pieces);
    (void)worker;
    for (; unit < end; unit++) {
        int64_t o = unit / s->pieces, at = unit % s->pieces * s->piece, n = FV__MIN(s->piece, s->run - at);
        void *to = fv__at(s->to, s->to_type, o * s->to_step + at);
        const void *from = fv__at(s->from, s->from_type, o * s->from_step + at);
        if (s->add) fv__add_to(s->k, to, s->to_type, from, s->from_type, n);
        else fv__convert(to, s->to_type, from, s->from_type, n);
    }
}

static void fv__strips_run(fv_ctx *c, fv__strips *s) {
    if (c->status || !s->outer || !s->run) return;
    s->k = fv__kernels_for(c, FV_F32);
    s->piece = FV__MIN(s->run, (int64_t)FV__JOB);
    s->pieces = FV__CEIL(s->run, s->piece);
    s->group = FV__MAX(FV__JOB / s->piece, (int64_t)1);
    fv_parallel(c, (int)FV__CEIL(s->outer * s->pieces, s->group), fv__strips_job, s);
}

static fv__strips fv__strips_of(int64_t outer, int64_t run, const void *from, fv_type from_type,
                                int64_t from_step, void *to, fv_type to_type, int64_t to_step, int add) {
    fv__strips s;
    memset(&s, 0, sizeof s);
    s.outer = outer, s.run = run, s.from = from, s.from_type = from_type, s.from_step = from_step;
    s.to = to, s.to_type = to_type, s.to_step = to_step, s.add = add;
    return s;
}

static void fv__zero_job(void *arg, int job, int worker) {
    const fv__strips *s = (const fv__strips *)arg;
    int64_t at = job * s->piece;
    (void)worker;
    memset((char *)s->to + at, 0, (size_t)FV__MIN(s->piece, s->run - at));
}
/* The gradient of t to add to, wiped when nothing was there; NULL when none is wanted. */
static void *fv__grad_or_zeros(fv_ctx *c, fv_tensor *t) {
    int first = 0;
    void *g = fv__grad(c, t, &first);
    if (!g || !first) return g;
    fv__strips s;
    memset(&s, 0, sizeof s);
    /* run and piece count bytes here */
    s.to = g, s.run = fv_numel(t) * (int64_t)fv_type_size(fv_grad_type(t)), s.piece = 1 << 18;
    fv_parallel(c, (int)FV__CEIL(s.run, s.piece), fv__zero_job, &s);
    return g;
}

/* x seen as [outer, dim[d], inner] */
typedef struct fv__split {
    int64_t outer, n, inner;
} fv__split;
static fv__split fv__split_at(const fv_tensor *x, int d) {
    fv__split s;
    s.outer = s.inner = 1, s.n = x->dim[d];
    for (int i = 0; i < d; i++) s.outer *= x->dim[i];
    for (int i = d + 1; i < x->rank; i++) s.inner *= x->dim[i];
    return s;
}

/* A dim counted from the front or, negative, from the end; -1 and FV_ESHAPE when x has no such dim. */
static int fv__dim_of(fv_ctx *c, const char *op, const fv_tensor *x, int dim) {
    if (!fv__need(c, op, x)) return -1;
    if (dim >= -x->rank && dim < x->rank) return dim < 0 ? dim + x->rank : dim;
    fv__shape_fail(c, op, x, NULL, "there is no such dim");
    return -1;
}

#ifdef FROZENVIS_CUDA
/* ---- strips on a GPU: to[o, j] (+)= from[o, j], o < outer, j < run; equal types are moved as they are */
typedef struct fv__cu_strips {
    int64_t outer, run, from_step, to_step;
    const void *from;
    void *to;
    fv_type from_type, to_type;
    int add;
    size_t size; /* of an element that is moved; 0: converted or added */
} fv__cu_strips;
FV__DEV void fv__move(void *to, int64_t i, const void *from, int64_t j, size_t size) {
    if (size == 16) ((uint4 *)to)[i] = ((const uint4 *)from)[j];
    else if (size == 4) ((uint32_t *)to)[i] = ((const uint32_t *)from)[j];
    else if (size == 2) ((uint16_t *)to)[i] = ((const uint16_t *)from)[j];
    else if (size == 8) ((uint64_t *)to)[i] = ((const uint64_t *)from)[j];
    else ((uint8_t *)to)[i] = ((const uint8_t *)from)[j];
}
FV__KERNEL fv__strips_k(fv__cu_strips s) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, o = e / s.run, j = e % s.run;
    if (o >= s.outer) return;
    int64_t to = o * s.to_step + j, from = o * s.from_step + j;
    if (s.size) fv__move(s.to, to, s.from, from, s.size);
    else if (s.to_type == FV_F64 || s.from_type == FV_F64)
        fv__put<double>(s.to, s.to_type, to, fv__ld<double>(s.from, s.from_type, from), s.add);
    else fv__put<float>(s.to, s.to_type, to, fv__ld<float>(s.from, s.from_type, from), s.add);
}
static dim3 fv__grid_of(int64_t n) { return dim3((unsigned)FV__MAX(FV__CEIL(n, (int64_t)256), (int64_t)1)); }
static void fv__cu_strips_run(fv_ctx *c, int64_t outer, int64_t run, const void *from, fv_type from_type,
                              int64_t from_step, void *to, fv_type to_type, int64_t to_step, int add) {
    fv__cu_strips s = {outer, run, from_step, to_step, from, to, from_type, to_type, add, 0};
    if (from_type == to_type && !add) s.size = fv_type_size(to_type);
    if (s.size && ((uintptr_t)from | (uintptr_t)to) % 16 == 0) { /* 16 bytes count as one element */
        int64_t k = 16 / (int64_t)s.size;
        if (run % k == 0 && from_step % k == 0 && to_step % k == 0)
            s.run = run /= k, s.from_step /= k, s.to_step /= k, s.size = 16;
    }
    if (outer && run) FV__START(c, fv__grid_of(outer * run), dim3(256), (s), fv__strips_k);
}

/* ---- places: y's elements as (e, p): element e of an operand, place p among those that share it ---- */
typedef struct fv__places {
    int rank;
    int64_t dim[FV_MAX_RANK], whole[FV_MAX_RANK],
        own[FV_MAX_RANK]; /* y's dims; steps in y and in the operand (0: stretched) */
} fv__places;
FV__DEV int64_t fv__place(const fv__places &m, int64_t e, int64_t p) {
    int64_t at = 0;
    for (int i = m.rank - 1; i >= 0; i--) {
        int64_t left = m.own[i] ? e : p, next = i ? left / m.dim[i] : 0; /* divisions are slow */
        at += (left - next * m.dim[i]) * m.whole[i];
        if (m.own[i]) e = next;
        else p = next;
    }
    return at;
}
#endif
/* ---- ops add, sub, mul: y = a+b, a-b, a*b with dims of 1 stretched.
 *      ga = gy, gy, gy*b; gb = gy, -gy, gy*a; each summed over the dims in which the operand was stretched
 *      ---- */
enum { FV__ADD2 = 0, FV__SUB2 = 1, FV__MUL2 = 2 };

/* y's dims with neighbours merged where both operands allow it, and each operand's step along them (0:
 * stretched) */
typedef struct fv__bcast {
    int rank;
    int64_t dim[FV_MAX_RANK], step[2][FV_MAX_RANK];
} fv__bcast;

static fv__bcast fv__bcast_of(const fv_tensor *y) {
    fv__bcast m;
    int64_t size[2] = {1, 1};
    memset(&m, 0, sizeof m);
    for (int i = y->rank - 1; i >= 0; i--) { /* from the last dim on; m is turned round at the end */
        int at = m.rank - 1, whole[2];
        int64_t d[2];
        if (y->dim[i] == 1) continue;
        for (int s = 0; s < 2; s++) {
            const fv_tensor *x = y->node->src[s];
            int j = i - y->rank + x->rank;
            d[s] = j < 0 ? 1 : x->dim[j];
            whole[s] = d[s] != 1;
        }
        if (at >= 0 && (m.step[0][at] != 0) == whole[0] && (m.step[1][at] != 0) == whole[1])
            m.dim[at] *= y->dim[i];
        else {
            m.dim[++at] = y->dim[i], m.rank++;
            for (int s = 0; s < 2; s++) m.step[s][at] = whole[s] ? size[s] : 0;
        }
        size[0] *= d[0], size[1] *= d[1];
    }
    if (!m.rank) m.dim[0] = m.step[0][0] = m.step[1][0] = m.rank = 1;
    for (int i = 0, j = m.rank - 1; i < j; i++, j--) {
        int64_t t = m.dim[i], a = m.step[0][i], b = m.step[1][i];
        m.dim[i] = m.dim[j], m.step[0][i] = m.step[0][j], m.step[1][i] = m.step[1][j];
        m.dim[j] = t, m.step[0][j] = a, m.step[1][j] = b;
    }
    return m;
}
/* where element e of y comes from in operand s */
static FV__HD int64_t fv__bcast_at(const fv__bcast *m, int s, int64_t e) {
    int64_t at = 0;
    for (int i = m->rank - 1; i > 0 && e; i--) at += e % m->dim[i] * m->step[s][i], e /= m->dim[i];
    return m->rank ? at + e * m->step[s][0] : 0;
}

/* One pass over y's elements, cut into runs along the last merged dim. Forward it writes y; backward it adds
 * to (or starts) the gradient of operand `to`, straight where that operand is whole, else to one of `parts`
 * sums in f64. */
typedef struct fv__binary {
    const fv_tensor *y, *src[2];
    fv__bcast m;
    int kind, to, add;
    fv_type compute;
    const fv__kernels *k, *k32; /* of the computation, and of f32 */
    int64_t total, chunk, numel;
    void *grad;
    fv_type grad_type;
    double *part;
} fv__binary;

static void fv__binary_values(const fv__kernels *k, int kind, void *out, const void *a, const void *b,
                              int64_t n) {
    if (kind == FV__ADD2) k->add(out, a, b, n);
    else if (kind == FV__SUB2) k->sub(out, a, b, n);
    else k->mul(out, a, b, n);
}

/* n elements of operand s from element e of y on (all in one run) in the type of the computation, in place or
 * in buffer */
static const void *fv__binary_operand(const fv__binary *w, int s, int64_t e, int64_t n, void *buffer) {
    const fv_tensor *x = w->src[s];
    int64_t at = fv__bcast_at(&w->m, s, e);
    const void *p = fv__at(x->data, x->type, at);
    if (w->m.step[s][w->m.rank - 1]) {
        if (x->type == w->compute) return p;
        fv__convert_by(w->k32, buffer, w->compute, p, x->type, n);
    } else {
        double v = fv__get(p, x->type, 0);
        if (w->compute == FV_F64)
            for (int64_t i = 0; i < n; i++) ((double *)buffer)[i] = v;
        else
            for (int64_t i = 0; i < n; i++) ((float *)buffer)[i] = (float)v;
    }
    return buffer;
}

static void fv__binary_fwd_job(void *arg, int job, int worker) {
    const fv__binary *w = (const fv__binary *)arg;
    double a[FV__BLOCK], b[FV__BLOCK], out[FV__BLOCK];
    int64_t e = job * w->chunk, end = FV__MIN(e + w->chunk, w->total), run = w->m.dim[w->m.rank - 1], n;
    int plain = w->src[0]->type == w->compute && w->src[1]->type == w->compute && w->y->type == w->compute &&
                w->m.step[0][w->m.rank - 1] && w->m.step[1][w->m.rank - 1];
    (void)worker;
    for (; e < end; e += n) {
        n = FV__MIN(end - e, run - e % run);
        if (!plain) n = FV__MIN(n, (int64_t)FV__BLOCK);
        const void *x = fv__binary_operand(w, 0, e, n, a), *z = fv__binary_operand(w, 1, e, n, b);
        void *y = fv__at(w->y->data, w->y->type, e);
        fv__binary_values(w->k, w->kind, w->y->type == w->compute ? y : out, x, z, n);
        if (w->y->type != w->compute) fv__convert_by(w->k32, y, w->y->type, out, w->compute, n);
    }
}

/* what the elements e.. of gy give operand w->to: n values in `out` */
static void fv__binary_share(const fv__binary *w, int64_t e, int64_t n, void *out) {
    double other[FV__BLOCK], g[FV__BLOCK];
    fv_type gt = fv_grad_type(w->y);
    const void *gy = fv__at(w->y->grad, gt, e);
    fv__convert_by(w->k32, w->kind == FV__MUL2 ? g : out, w->compute, gy, gt, n);
    if (w->kind == FV__MUL2)
        fv__binary_values(w->k, FV__MUL2, out, g, fv__binary_operand(w, 1 - w->to, e, n, other), n);
    else if (w->kind == FV__SUB2 && w->to == 1) w->k->scale(out, out, -1, n);
}

static void fv__binary_bwd_job(void *arg, int job, int worker) {
    const fv__binary *w = (const fv__binary *)arg;
    double v[FV__BLOCK];
    int64_t e = job * w->chunk, end = FV__MIN(e + w->chunk, w->total), run = w->m.dim[w->m.rank - 1], n;
    double *part = w->part ? w->part + job * w->numel : NULL;
    (void)worker;
    if (part) memset(part, 0, (size_t)w->numel * sizeof *part);
    for (; e < end; e += n) {
        n = FV__MIN(FV__MIN(end - e, run - e % run), (int64_t)FV__BLOCK);
        fv__binary_share(w, e, n, v);
        if (!part) {
            void *g = fv__at(w->grad, w->grad_type, e);
            if (w->add) fv__add_to(w->k32, g, w->grad_type, v, w->compute, n);
            else fv__convert_by(w->k32, g, w->grad_type, v, w->compute, n);
            continue;
        }
        double *p = part + fv__bcast_at(&w->m, w->to, e);
        int64_t step = w->m.step[w->to][w->m.rank - 1]; /* 1, or 0: all into one */
        if (w->compute == FV_F64)
            for (int64_t i = 0; i < n; i++) p[i * step] += v[i];
        else if (step)
            for (int64_t i = 0; i < n; i++) p[i] += (double)((float *)v)[i];
        else
            for (int64_t i = 0; i < n; i++) p[0] += (double)((float *)v)[i];
    }
}

static fv__binary fv__binary_of(fv_ctx *c, const fv_tensor *y) {
    fv__binary w;
    memset(&w, 0, sizeof w);
    w.y = y, w.src[0] = y->node->src[0], w.src[1] = y->node->src[1], w.m = fv__bcast_of(y);
    w.kind = (int)y->node->i[0], w.total = fv_numel(y), w.chunk = FV__JOB;
    w.compute = fv__compute_type(y->type), w.k = fv__kernels_for(c, w.compute),
    w.k32 = fv__kernels_for(c, FV_F32);
    return w;
}

static int fv__binary_shape(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *a = y->node->src[0], *b = y->node->src[1];
    const char *name = y->node->op->name;
    if (!fv__is_float(a) || !fv__is_float(b)) return fv__shape_fail(c, name, a, b, "f32, bf16 or f64 wanted");
    y->rank = FV__MAX(a->rank, b->rank);
    y->type = fv__promote(a->type, b->type);
    for (int i = 1; i <= y->rank; i++) {
        int64_t p = i <= a->rank ? a->dim[a->rank - i] : 1, q = i <= b->rank ? b->dim[b->rank - i] : 1;
        if (p != q && p != 1 && q != 1)
            return fv__shape_fail(c, name, a, b, "aligned at the end, dims must be equal or 1");
        y->dim[y->rank - i] = p == 1 ? q : p;
    }
    y->node->unread = FV__UNREAD_Y | (y->node->i[0] == FV__MUL2 ? 0 : 3);
    return 1;
}

static void fv__binary_fwd(fv_ctx *c, fv_tensor *y) {
    fv__binary w = fv__binary_of(c, y);
    if (w.total) fv_parallel(c, (int)FV__CEIL(w.total, w.chunk), fv__binary_fwd_job, &w);
}

static void fv__binary_bwd_to(fv_ctx *c, fv_tensor *y, int to) {
    fv_tensor *x = y->node->src[to];
    fv__binary w = fv__binary_of(c, y);
    if (!(x->flags & FV_NEEDS_GRAD) || !w.total) return;
    w.to = to, w.numel = fv_numel(x);
    if (w.numel == w.total) { /* not stretched */
        int first = 0;
        w.grad = fv__grad(c, x, &first), w.add = !first, w.grad_type = fv_grad_type(x);
        if (w.grad) fv_parallel(c, (int)FV__CEIL(w.total, w.chunk), fv__binary_bwd_job, &w);
        return;
    }
    int64_t parts =
        FV__MAX(FV__MIN(w.total / FV__MAX(4 * w.numel, (int64_t)FV__JOB), (int64_t)16), (int64_t)1);
    w.chunk = FV__CEIL(w.total, parts), parts = FV__CEIL(w.total, w.chunk);
    fv__span *span = fv__pool_alloc(c, (size_t)(parts * w.numel) * sizeof(double));
    if (!span) return;
    w.part = (double *)(void *)span->data;
    fv_parallel(c, (int)parts, fv__binary_bwd_job, &w);
    for (int64_t j = 1; j < parts; j++)
        for (int64_t i = 0; i < w.numel; i++) w.part[i] += w.part[j * w.numel + i];
    fv__add_grad(c, x, w.part, FV_F64);
    fv__pool_free(c, span);
}

#ifdef FROZENVIS_CUDA
typedef struct fv__cu_binary {
    fv__bcast m;
    const void *x[2], *gy;
    void *out; /* y, or a gradient */
    fv_type x_type[2], gy_type, out_type;
    int kind, to, add, wide; /* wide: a thread takes four of y's */
    int64_t n;
} fv__cu_binary;
/* operand s of y's elements e to e + 3 */
FV__DEV uint4 fv__binary_raw4(const fv__cu_binary &w, int s, int64_t e) {
    int64_t at = fv__bcast_at(&w.m, s, e);
    if (w.m.step[s][w.m.rank - 1]) return fv__raw4(w.x[s], w.x_type[s], at);
    unsigned one =
        w.x_type[s] == FV_F32 ? ((const unsigned *)w.x[s])[at] : ((const uint16_t *)w.x[s])[at] * 0x10001u;
    uint4 same = {one, one, one, one};
    return same;
}
template <class C> FV__KERNEL fv__binary_k(fv__cu_binary w) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (w.wide) {
        if ((e *= 4) >= w.n) return;
        uint4 raw[2] = {fv__binary_raw4(w, 0, e), fv__binary_raw4(w, 1, e)};
        float x[4], y[4];
        fv__floats4(raw[0], w.x_type[0], x), fv__floats4(raw[1], w.x_type[1], y);
        for (int j = 0; j < 4; j++)
            y[j] = w.kind == FV__ADD2 ? x[j] + y[j] : w.kind == FV__SUB2 ? x[j] - y[j] : x[j] * y[j];
        fv__st4<float>(w.out, w.out_type, e, y);
        return;
    }
    if (e >= w.n) return;
    C a = fv__ld<C>(w.x[0], w.x_type[0], fv__bcast_at(&w.m, 0, e)),
      b = fv__ld<C>(w.x[1], w.x_type[1], fv__bcast_at(&w.m, 1, e));
    fv__st<C>(w.out, w.out_type, e, w.kind == FV__ADD2 ? a + b : w.kind == FV__SUB2 ? a - b : a * b);
}
/* what element e of gy gives operand w.to */
template <class C> FV__DEV C fv__binary_share_at(const fv__cu_binary &w, int64_t e) {
    C g = fv__ld<C>(w.gy, w.gy_type, e);
    if (w.kind == FV__MUL2)
        return g * fv__ld<C>(w.x[1 - w.to], w.x_type[1 - w.to], fv__bcast_at(&w.m, 1 - w.to, e));
    return w.kind == FV__SUB2 && w.to == 1 ? -g : g;
}
FV__DEV void fv__binary_share4(const fv__cu_binary &w, const uint4 *raw, float v[4]) {
    float x[4];
    fv__floats4(raw[0], w.gy_type, v);
    if (w.kind == FV__MUL2) fv__floats4(raw[1], w.x_type[1 - w.to], x);
    for (int j = 0; j < 4; j++)
        v[j] = w.kind == FV__MUL2 ? v[j] * x[j] : w.kind == FV__SUB2 && w.to == 1 ? -v[j] : v[j];
}
template <class C> FV__KERNEL fv__binary_grad_k(fv__cu_binary w) { /* an operand that was not stretched */
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (w.wide) {
        if ((e *= 4) >= w.n) return;
        uint4 raw[3] = {fv__raw4(w.gy, w.gy_type, e)};
        if (w.kind == FV__MUL2) raw[1] = fv__binary_raw4(w, 1 - w.to, e);
        if (w.add) raw[2] = fv__raw4(w.out, w.out_type, e);
        float v[4], was[4];
        fv__binary_share4(w, raw, v);
        fv__floats4(raw[2], w.out_type, was);
        for (int j = 0; j < 4; j++) v[j] += w.add ? was[j] : 0;
        fv__st4<float>(w.out, w.out_type, e, v);
        return;
    }
    if (e < w.n) fv__put<C>(w.out, w.out_type, e, fv__binary_share_at<C>(w, e), w.add);
}
struct fv__binary_f { /* one that was: the sum over its places */
    enum { SUMS = 1, LOADS = 2 };
    typedef float part_t;
    fv__cu_binary w;
    fv__places m;
    FV__METHOD void load(int64_t e, int64_t p, uint4 *raw) const {
        int64_t at = fv__place(m, e, p);
        raw[0] = fv__raw4(w.gy, w.gy_type, at);
        if (w.kind == FV__MUL2) raw[1] = fv__binary_raw4(w, 1 - w.to, at);
    }
    FV__METHOD void add(const uint4 *raw, int64_t, float (*sum)[4]) const {
        float v[4];
        fv__binary_share4(w, raw, v);
        for (int j = 0; j < 4; j++) sum[0][j] += v[j];
    }
    FV__METHOD void run(int64_t e, int64_t p, double *sum) const {
        sum[0] += fv__binary_share_at<double>(w, fv__place(m, e, p));
    }
};
static fv__cu_binary fv__cu_binary_of(const fv_tensor *y) {
    fv__cu_binary w;
    memset(&w, 0, sizeof w);
    w.m = fv__bcast_of(y), w.kind = (int)y->node->i[0], w.n = fv_numel(y);
    for (int s = 0; s < 2; s++) w.x[s] = fv__elements(y->node->src[s]), w.x_type[s] = y->node->src[s]->type;
    return w;
}
/* Four elements lie in one row of the last dim, and what is read and written can be loaded by fours? */
static int fv__binary_wide(const fv__cu_binary *w) {
    int wide = w->m.rank && w->m.dim[w->m.rank - 1] % 4 == 0 && fv__wide(w->out, w->out_type);
    for (int s = 0; s < 2; s++) wide &= fv__wide(w->x[s], w->x_type[s]);
    return wide && (!w->gy || fv__wide(w->gy, w->gy_type));
}
static void fv__binary_fwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__cu_binary w = fv__cu_binary_of(y);
    w.out = y->data, w.out_type = y->type;
    if (!w.n) return;
    w.wide = fv__binary_wide(&w);
    dim3 grid = fv__grid_of(w.wide ? w.n / 4 : w.n);
    if (fv__compute_type(y->type) == FV_F64) FV__START(c, grid, dim3(256), (w), fv__binary_k<double>);
    else FV__START(c, grid, dim3(256), (w), fv__binary_k<float>);
}
static void fv__binary_bwd_to_cu(fv_ctx *c, fv_tensor *y, int to) {
    fv_tensor *x = y->node->src[to];
    fv__cu_binary w = fv__cu_binary_of(y);
    int first = 1;
    if (!(x->flags & FV_NEEDS_GRAD) || !w.n) return;
    w.to = to, w.gy = y->grad, w.gy_type = fv_grad_type(y);
    w.out = fv__grad(c, x, &first), w.out_type = fv_grad_type(x), w.add = !first;
    if (!w.out) return;
    w.wide = fv__binary_wide(&w);
    if (fv_numel(x) == w.n) {
        dim3 grid = fv__grid_of(w.wide ? w.n / 4 : w.n);
        if (fv__compute_type(y->type) == FV_F64)
            FV__START(c, grid, dim3(256), (w), fv__binary_grad_k<double>);
        else FV__START(c, grid, dim3(256), (w), fv__binary_grad_k<float>);
        return;
    }
    fv__binary_f f;
    int64_t step = 1;
    memset(&f, 0, sizeof f);
    f.w = w, f.m.rank = w.m.rank;
    for (int i = w.m.rank - 1; i >= 0; i--)
        f.m.dim[i] = w.m.dim[i], f.m.own[i] = w.m.step[to][i], f.m.whole[i] = step, step *= w.m.dim[i];
    fv__fold_wide(c, f, fv_numel(x), w.n / fv_numel(x), fv__fold_to(w.out, w.out_type, w.add, 1),
                  w.wide && f.m.own[f.m.rank - 1], !f.m.own[f.m.rank - 1]);
}
#endif

static void fv__binary_bwd(fv_ctx *c, fv_tensor *y) {
    int give = -1; /* whom y's own gradient goes to, unchanged */
    for (int s = 1; s >= 0; s--)
        if ((y->node->i[0] == FV__ADD2 || (y->node->i[0] == FV__SUB2 && !s)) &&
            (y->node->src[s]->flags & FV_NEEDS_GRAD) && fv_numel(y->node->src[s]) == fv_numel(y))
            give = s;
    for (int s = 1; s >= 0; s--)
        if (s != give) {
#ifdef FROZENVIS_CUDA
            if (c->device) {
                fv__binary_bwd_to_cu(c, y, s);
                continue;
            }
#endif
            fv__binary_bwd_to(c, y, s);
        }
    if (give >= 0) fv__give_grad(c, y, y->node->src[give]);
}

static const fv__op fv__op_add = {"add",          fv__binary_shape,          fv__binary_fwd,
                                  fv__binary_bwd, FV__CU(fv__binary_fwd_cu), FV__CU(fv__binary_bwd)};
static const fv__op fv__op_sub = {"sub",          fv__binary_shape,          fv__binary_fwd,
                                  fv__binary_bwd, FV__CU(fv__binary_fwd_cu), FV__CU(fv__binary_bwd)};
static const fv__op fv__op_mul = {"mul",          fv__binary_shape,          fv__binary_fwd,
                                  fv__binary_bwd, FV__CU(fv__binary_fwd_cu), FV__CU(fv__binary_bwd)};

static fv_tensor *fv__binary_make(fv_ctx *c, const fv__op *op, int kind, fv_tensor *a, fv_tensor *b) {
    fv_tensor *src[2];
    src[0] = a, src[1] = b;
    if (!fv__need(c, op->name, a) || !fv__need(c, op->name, b)) return NULL;
    fv_tensor *y = fv__make(c, op, src, 2);
    if (y) y->node->i[0] = kind;
    return fv__apply(c, y);
}
FV_DEF fv_tensor *fv_add(fv_ctx *c, fv_tensor *a, fv_tensor *b) {
    return fv__binary_make(c, &fv__op_add, FV__ADD2, a, b);
}
FV_DEF fv_tensor *fv_sub(fv_ctx *c, fv_tensor *a, fv_tensor *b) {
    return fv__binary_make(c, &fv__op_sub, FV__SUB2, a, b);
}
FV_DEF fv_tensor *fv_mul(fv_ctx *c, fv_tensor *a, fv_tensor *b) {
    return fv__binary_make(c, &fv__op_mul, FV__MUL2, a, b);
}

/* ---- op scale: y = s x.  gx = s gy ---- */
static void fv__scale_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                           int64_t n) {
    (void)row;
    r->k->scale(out[0], in[0], r->y->node->f[0], n);
}
static int fv__scale_shape(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    if (!fv__is_float(x)) return fv__shape_fail(c, y->node->op->name, x, NULL, "f32, bf16 or f64 wanted");
    return fv__like(y, x, x->type);
}
static void fv__scale_fwd(fv_ctx *c, fv_tensor *y) {
    fv__rows r = fv__rows_of(y, fv_numel(y), fv__scale_rows);
    fv__rows_in(&r, y->node->src[0]->data, y->type, 1);
    fv__rows_out(&r, y->data, y->type, 1, 0);
    fv__run_rows(c, &r);
}
static void fv__scale_bwd(fv_ctx *c, fv_tensor *y) {
    fv__rows r = fv__rows_of(y, fv_numel(y), fv__scale_rows);
    fv__rows_in(&r, y->grad, fv_grad_type(y), 1);
    fv__rows_grad(c, &r, y->node->src[0], 1);
    if (r.out[0]) fv__run_rows(c, &r);
}
#ifdef FROZENVIS_CUDA
struct fv__scale_f { /* f[0] s */
    template <class C> FV__DEV void run(const fv__map &m, int64_t, const C *in, C *out) {
        out[0] = in[0] * (C)m.f[0];
    }
};
static void fv__scale_fwd_cu(fv_ctx *c, fv_tensor *y) { fv__unary_fwd_cu<fv__scale_f>(c, y); }
static void fv__scale_bwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__map m = fv__map_of(fv_numel(y));
    fv__map_in(&m, y->grad, fv_grad_type(y));
    fv__map_grad(c, &m, y->node->src[0]);
    m.f[0] = y->node->f[0];
    if (m.out[0]) fv__map_run<fv__scale_f>(c, m, fv__compute_type(y->type));
}
#endif
static const fv__op fv__op_scale = {"scale",       fv__scale_shape,          fv__scale_fwd,
                                    fv__scale_bwd, FV__CU(fv__scale_fwd_cu), FV__CU(fv__scale_bwd_cu)};
FV_DEF fv_tensor *fv_scale(fv_ctx *c, fv_tensor *x, float s) {
    if (!fv__need(c, "scale", x)) return NULL;
    fv_tensor *y = fv__make(c, &fv__op_scale, &x, 1);
    if (y) y->node->f[0] = (double)s;
    return fv__apply(c, y);
}

/* ---- op cast: y = x in another type.  gx = gy ---- */
static int fv__cast_shape(fv_ctx *c, fv_tensor *y) {
    fv_type type = (fv_type)y->node->i[0];
    fv__like(y, y->node->src[0], type);
    if (!fv__is_float(y)) return fv__shape_fail(c, "cast", y, NULL, "the new type is f32, bf16 or f64");
    if (!fv__is_float(y->node->src[0])) y->flags &= ~(unsigned)FV_NEEDS_GRAD;
    return 1;
}
static void fv__cast_fwd(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    fv__strips s = fv__strips_of(1, fv_numel(y), x->data, x->type, 0, y->data, y->type, 0, 0);
    fv__strips_run(c, &s);
}
static void fv__cast_bwd(fv_ctx *c, fv_tensor *y) { fv__give_grad(c, y, y->node->src[0]); }
#ifdef FROZENVIS_CUDA
static void fv__cast_fwd_cu(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    fv__cu_strips_run(c, 1, fv_numel(y), fv__elements(x), x->type, 0, y->data, y->type, 0, 0);
}
#endif
static const fv__op fv__op_cast = {"cast",       fv__cast_shape,          fv__cast_fwd,
                                   fv__cast_bwd, FV__CU(fv__cast_fwd_cu), FV__CU(fv__cast_bwd)};
FV_DEF fv_tensor *fv_cast(fv_ctx *c, fv_tensor *x, fv_type type) {
    if (!fv__need(c, "cast", x)) return NULL;
    if (x->type == type) return x;
    fv_tensor *y = fv__make(c, &fv__op_cast, &x, 1);
    if (y) y->node->i[0] = (int64_t)type;
    return fv__apply(c, y);
}

/* ---- op reshape: the same elements under other dims, in the same memory.  gx = gy ---- */
static int fv__reshape_shape(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    int rank = (int)y->node->i[0], open = -1;
    int64_t known = 1, all = fv_numel(x);
    if (x->packed) return fv__shape_fail(c, "reshape", x, NULL, "a packed weight has no elements to view");
    if (rank < 0 || rank > FV_MAX_RANK)
        return fv__shape_fail(c, "reshape", x, NULL, "the new rank is 0 to 8");
    y->rank = rank, y->type = x->type;
    for (int i = 0; i < rank; i++) {
        int64_t d = y->dim[i] = y->node->i[1 + i];
        if (d == -1 && open < 0) open = i;
        else if (d < 0 || (d && known > ((int64_t)1 << 56) / d))
            return fv__shape_fail(c, "reshape", x, NULL, "bad new dims");
        else known *= d;
    }
    if (open >= 0) y->dim[open] = known ? all / known : 0;
    if (fv_numel(y) != all) return fv__shape_fail(c, "reshape", x, y, "as many elements as before wanted");
    return 1;
}
static void fv__reshape_fwd(fv_ctx *c, fv_tensor *y) {
    (void)c;
    y->data = y->node->src[0]->data;
}
static void fv__reshape_bwd(fv_ctx *c, fv_tensor *y) { fv__give_grad(c, y, y->node->src[0]); }
#ifdef FROZENVIS_CUDA
static void fv__reshape_fwd_cu(fv_ctx *c, fv_tensor *y) {
    (void)c;
    y->data = fv__elements(y->node->src[0]), y->device = c->device;
}
#endif
static const fv__op fv__op_reshape = {"reshape",       fv__reshape_shape,          fv__reshape_fwd,
                                      fv__reshape_bwd, FV__CU(fv__reshape_fwd_cu), FV__CU(fv__reshape_bwd)};
FV_DEF fv_tensor *fv_reshape(fv_ctx *c, fv_tensor *x, int rank, const int64_t *dim) {
    if (!fv__need(c, "reshape", x)) return NULL;
    fv_tensor *y = fv__make(c, &fv__op_reshape, &x, 1);
    if (!y) return NULL;
    y->node->view = 1, y->node->i[0] = rank;
    /* of a rank that will be refused, dim is not read */
    for (int i = 0; rank <= FV_MAX_RANK && i < rank; i++) y->node->i[1 + i] = dim[i];
    return fv__apply(c, y);
}

/* ---- op permute: y[.., e_order[0], e_order[1], ..] = x[e_0, e_1, ..].  gx = gy permuted back ---- */
/* Target dims without those of 1, neighbours merged where they are neighbours in the source too; last one of
 * step 1 in `to`. A panel is one of the other dims (`row`) by the last: either the runs along the last dim
 * are contiguous in both arrays, or row is the dim that is contiguous in the source, and the panel is
 * transposed tile by tile. */
typedef struct fv__permutation {
    int rank, row;
    int64_t dim[FV_MAX_RANK], from_step[FV_MAX_RANK], to_step[FV_MAX_RANK];
    int64_t blocks, block, panels, group; /* panels are cut into blocks of rows; a job is a group of them */
    size_t size;
    const char *from;
    char *to;
} fv__permutation;

static fv__permutation fv__permutation_of(int rank, const int64_t *dim, const int64_t *order) {
    fv__permutation p;
    int64_t step[FV_MAX_RANK], s = 1;
    int last = -2; /* the source dim that the latest target dim ended with */
    memset(&p, 0, sizeof p);
    for (int i = rank - 1; i >= 0; i--) step[i] = s, s *= dim[i];
    for (int i = 0; i < rank; i++) {
        int o = (int)order[i];
        if (dim[o] == 1) continue;
        /* dims of 1 between do not part neighbours */
        while (last >= 0 && last + 1 < o && dim[last + 1] == 1) last++;
        if (p.rank && last + 1 == o) p.dim[p.rank - 1] *= dim[o];
        else p.dim[p.rank++] = dim[o];
        p.from_step[p.rank - 1] = step[o];
        last = o;
    }
    s = 1;
    for (int i = p.rank - 1; i >= 0; i--) p.to_step[i] = s, s *= p.dim[i];
    return p;
}

#define FV__TRANSPOSE_TILE(T)                                                                                \
    for (int64_t i = i0; i < i1; i++)                                                                        \
        for (int64_t j = j0; j < j1; j++)                                                                    \
            ((T *)(void *)to)[i * ts + j] = ((const T *)(const void *)from)[i + j * fs];
/* rows r0..r1 of a panel [rows, n]: to[i*ts+j] = from[i+j*fs], in tiles that both arrays' cache lines fit */
static void fv__transpose(char *to, int64_t ts, const char *from, int64_t fs, int64_t r0, int64_t r1,
                          int64_t n, size_t size) {
    for (int64_t i0 = r0; i0 < r1; i0 += 16)
        for (int64_t j0 = 0; j0 < n; j0 += 16) {
            int64_t i1 = FV__MIN(i0 + 16, r1), j1 = FV__MIN(j0 + 16, n);
            if (size == 4) FV__TRANSPOSE_TILE(uint32_t)
            else if (size == 2) FV__TRANSPOSE_TILE(uint16_t)
            else if (size == 8) FV__TRANSPOSE_TILE(uint64_t)
            else FV__TRANSPOSE_TILE(uint8_t)
        }
}
#undef FV__TRANSPOSE_TILE

static void fv__permute_job(void *arg, int job, int worker) {
    const fv__permutation *p = (const fv__permutation *)arg;
    int64_t unit = job * p->group, end = FV__MIN(unit + p->group, p->panels * p->blocks);
    int last = p->rank - 1;
    (void)worker;
    for (; unit < end; unit++) {
        int64_t panel = unit / p->blocks, r0 = unit % p->blocks * p->block, from = 0, to = 0;
        int64_t r1 = FV__MIN(r0 + p->block, p->dim[p->row]), fs = p->from_step[p->row],
                ts = p->to_step[p->row];
        for (int i = last - 1; i >= 0; i--) {
            if (i == p->row) continue;
            from += panel % p->dim[i] * p->from_step[i], to += panel % p->dim[i] * p->to_step[i];
            panel /= p->dim[i];
        }
        const char *a = p->from + (size_t)from * p->size;
        char *b = p->to + (size_t)to * p->size;
        if (p->from_step[last] != 1)
            fv__transpose(b, ts, a, p->from_step[last], r0, r1, p->dim[last], p->size);
        else
            for (int64_t r = r0; r < r1; r++)
                memcpy(b + (size_t)(r * ts) * p->size, a + (size_t)(r * fs) * p->size,
                       (size_t)p->dim[last] * p->size);
    }
}

static void fv__permute_run(fv_ctx *c, fv__permutation p, const void *from, void *to, size_t size) {
    int last = p.rank - 1;
    int64_t all = 1;
    for (int i = 0; i < p.rank; i++) all *= p.dim[i];
    if (c->status || !all) return;
    p.from = (const char *)from, p.to = (char *)to, p.size = size, p.row = last - 1;
    if (p.from_step[last] != 1)
        for (int i = 0; i < last; i++)
            if (p.from_step[i] == 1) p.row = i;
    p.block = FV__MIN(p.dim[p.row], FV__MAX(FV__ROUND_UP(FV__JOB / p.dim[last], (int64_t)16), (int64_t)16));
    p.blocks = FV__CEIL(p.dim[p.row], p.block);
    p.panels = all / (p.dim[p.row] * p.dim[last]);
    p.group = FV__MAX(FV__JOB / (p.block * p.dim[last]), (int64_t)1);
    fv_parallel(c, (int)FV__CEIL(p.panels * p.blocks, p.group), fv__permute_job, &p);
}

static int fv__permute_shape(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    unsigned seen = 0;
    fv__like(y, x, x->type);
    for (int i = 0; i < x->rank; i++) {
        int64_t o = y->node->i[i];
        if (o < 0 || o >= x->rank || seen >> o & 1)
            return fv__shape_fail(c, "permute", x, NULL, "the order names each dim once");
        seen |= 1u << o;
        y->dim[i] = x->dim[o];
    }
    return 1;
}
static void fv__permute_fwd(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    fv__permutation p = fv__permutation_of(x->rank, x->dim, y->node->i);
    fv__permute_run(c, p, x->data, y->data, fv_type_size(y->type));
}
static void fv__permute_bwd(fv_ctx *c, fv_tensor *y) {
    fv_tensor *x = y->node->src[0];
    int64_t back[FV_MAX_RANK] = {0};
    int first = 0;
    for (int i = 0; i < y->rank; i++) back[y->node->i[i]] = i;
    fv__permutation p = fv__permutation_of(y->rank, y->dim, back);
    if (!x->grad_set && fv_grad_type(x) == fv_grad_type(y)) { /* nothing to add to */
        void *g = fv__grad(c, x, &first);
        if (g) fv__permute_run(c, p, y->grad, g, fv_type_size(fv_grad_type(y)));
        return;
    }
    fv__span *turned = fv__pool_alloc(c, (size_t)fv_numel(y) * fv_type_size(fv_grad_type(y)));
    if (!turned) return;
    fv__permute_run(c, p, y->grad, turned->data, fv_type_size(fv_grad_type(y)));
    fv__add_grad(c, x, turned->data, fv_grad_type(y));
    fv__pool_free(c, turned);
}
#ifdef FROZENVIS_CUDA
typedef struct fv__cu_permutation {
    int rank, add;
    int64_t dim[FV_MAX_RANK], step[FV_MAX_RANK], n; /* target dims, steps in the source */
    const void *from;
    void *to;
    fv_type from_type, to_type;
    size_t size; /* of an element that is moved; 0: converted or added */
} fv__cu_permutation;
FV__KERNEL fv__permute_k(fv__cu_permutation p) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, left = e, from = 0;
    if (e >= p.n) return;
    for (int i = p.rank - 1; i >= 0; i--) from += left % p.dim[i] * p.step[i], left /= p.dim[i];
    if (p.size) fv__move(p.to, e, p.from, from, p.size);
    else if (p.to_type == FV_F64 || p.from_type == FV_F64)
        fv__put<double>(p.to, p.to_type, e, fv__ld<double>(p.from, p.from_type, from), p.add);
    else fv__put<float>(p.to, p.to_type, e, fv__ld<float>(p.from, p.from_type, from), p.add);
}
/* the usual case of it: the last two of the target's dims change places, through shared memory, so that both
 * sides touch neighbours */
FV__KERNEL fv__transpose_k(fv__cu_permutation p) {
    __shared__ uint64_t tile[32][33];
    int64_t rows = p.dim[p.rank - 2], cols = p.dim[p.rank - 1], i0 = (int64_t)blockIdx.y * 32,
            j0 = (int64_t)blockIdx.x * 32, from = 0, left = blockIdx.z;
    for (int i = p.rank - 3; i >= 0; i--) from += left % p.dim[i] * p.step[i], left /= p.dim[i];
    /* source neighbours go along the target's rows */
    for (int k = (int)threadIdx.y; k < 32; k += (int)blockDim.y)
        if (i0 + (int)threadIdx.x < rows && j0 + k < cols)
            fv__move(&tile[k][threadIdx.x], 0, p.from,
                     from + (i0 + (int)threadIdx.x) * p.step[p.rank - 2] + (j0 + k) * p.step[p.rank - 1],
                     p.size);
    __syncthreads();
    for (int k = (int)threadIdx.y; k < 32; k += (int)blockDim.y)
        if (i0 + k < rows && j0 + (int)threadIdx.x < cols)
            fv__move(p.to, ((int64_t)blockIdx.z * rows + i0 + k) * cols + j0 + (int)threadIdx.x,
                     &tile[threadIdx.x][k], 0, p.size);
}
/* where the last dim stays the last, 16 bytes of it count as one element */
static void fv__permute_by_16(fv__cu_permutation *q) {
    int last = q->rank - 1;
    int64_t k = q->size ? 16 / (int64_t)q->size : 0;
    if (!k || last < 0 || q->step[last] != 1 || q->dim[last] % k ||
        ((uintptr_t)q->from | (uintptr_t)q->to) % 16)
        return;
    for (int i = 0; i < last; i++)
        if (q->step[i] % k) return;
    for (int i = 0; i < last; i++) q->step[i] /= k;
    q->dim[last] /= k, q->n /= k, q->size = 16;
}
static void fv__cu_permute(fv_ctx *c, int rank, const int64_t *dim, const int64_t *order, const void *from,
                           fv_type from_type, void *to, fv_type to_type, int add) {
    fv__permutation p = fv__permutation_of(rank, dim, order);
    fv__cu_permutation q;
    memset(&q, 0, sizeof q);
    q.rank = p.rank, q.add = add, q.from = from, q.to = to, q.from_type = from_type, q.to_type = to_type,
    q.n = 1;
    for (int i = 0; i < p.rank; i++) q.dim[i] = p.dim[i], q.step[i] = p.from_step[i], q.n *= p.dim[i];
    if (from_type == to_type && !add) q.size = fv_type_size(to_type);
    if (!q.n) return;
    int64_t panels = p.rank < 2 ? 0 : q.n / (q.dim[p.rank - 1] * q.dim[p.rank - 2]);
    if (q.size && p.rank >= 2 && q.step[p.rank - 2] == 1 && panels <= 65535 &&
        q.dim[p.rank - 2] <= 65535 * 32)
        FV__START(c,
                  dim3((unsigned)FV__CEIL(q.dim[p.rank - 1], (int64_t)32),
                       (unsigned)FV__CEIL(q.dim[p.rank - 2], (int64_t)32), (unsigned)panels),
                  dim3(32, 8), (q), fv__transpose_k);
    else {
        fv__permute_by_16(&q);
        FV__START(c, fv__grid_of(q.n), dim3(256), (q), fv__permute_k);
    }
}
static void fv__permute_fwd_cu(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    fv__cu_permute(c, x->rank, x->dim, y->node->i, fv__elements(x), x->type, y->data, y->type, 0);
}
static void fv__permute_bwd_cu(fv_ctx *c, fv_tensor *y) {
    fv_tensor *x = y->node->src[0];
    int64_t back[FV_MAX_RANK] = {0};
    int first = 1;
    for (int i = 0; i < y->rank; i++) back[y->node->i[i]] = i;
    void *g = fv__grad(c, x, &first);
    if (g) fv__cu_permute(c, y->rank, y->dim, back, y->grad, fv_grad_type(y), g, fv_grad_type(x), !first);
}
#endif
static const fv__op fv__op_permute = {
    "permute",       fv__permute_shape,          fv__permute_fwd,
    fv__permute_bwd, FV__CU(fv__permute_fwd_cu), FV__CU(fv__permute_bwd_cu)};
FV_DEF fv_tensor *fv_permute(fv_ctx *c, fv_tensor *x, const int *order) {
    if (!fv__need(c, "permute", x)) return NULL;
    fv_tensor *y = fv__make(c, &fv__op_permute, &x, 1);
    if (!y) return NULL;
    for (int i = 0; i < x->rank; i++) y->node->i[i] = order[i] < 0 ? order[i] + x->rank : order[i];
    if (!fv__permute_shape(c, y)) return NULL;
    if (fv__permutation_of(x->rank, x->dim, y->node->i).rank <= 1) /* nothing moves: a view does */
        return fv_reshape(c, x, y->rank, y->dim);
    return fv__apply(c, y);
}

/* ---- op concat: sources one after the other along a dim, those with dims of 1 in front repeated.
 *      gx = its part of gy, summed over the dims in which it was repeated ---- */
/* the run of source `x` that stands at outer position o of y: 1 in front stretches */
static int64_t fv__concat_row(const fv_tensor *y, const fv_tensor *x, int axis, int64_t o) {
    int64_t row = 0, step = 1;
    for (int i = axis - 1; i >= 0; i--) {
        row += x->dim[i] == 1 ? 0 : o % y->dim[i] * step;
        o /= y->dim[i], step *= x->dim[i];
    }
    return row;
}
static int fv__concat_shape(fv_ctx *c, fv_tensor *y) {
    int n = y->node->n, axis = (int)y->node->i[0];
    const fv_tensor *last = y->node->src[n - 1];
    fv__like(y, last, last->type);
    y->node->unread = FV__UNREAD_Y | ((1 << n) - 1);
    y->dim[axis] = 0;
    for (int s = 0; s < n; s++) {
        const fv_tensor *x = y->node->src[s];
        int fits = x->rank == last->rank;
        for (int i = 0; fits && i < x->rank; i++)
            fits = i == axis || x->dim[i] == last->dim[i] || (i < axis && x->dim[i] == 1);
        if (!fits)
            return fv__shape_fail(c, "concat", x, last,
                                  "dims but the joined one are equal, or 1 in front of it");
        if (x->type != y->type) {
            if (!fv__is_float(x) || !fv__is_float(y))
                return fv__shape_fail(c, "concat", x, last, "equal types wanted");
            y->type = fv__promote(x->type, y->type);
        }
        y->dim[axis] += x->dim[axis];
    }
    return 1;
}

/* One source's strips in y, in the data or the gradients. Repeated ones are written row by row: they are
 * small. */
static void fv__concat_fwd(fv_ctx *c, fv_tensor *y) {
    int axis = (int)y->node->i[0];
    fv__split s = fv__split_at(y, axis);
    int64_t at = 0;
    for (int k = 0; k < y->node->n; k++) {
        const fv_tensor *x = y->node->src[k];
        int64_t run = x->dim[axis] * s.inner;
        char *to = (char *)fv__at(y->data, y->type, at);
        if (fv_numel(x) == s.outer * run) {
            fv__strips w = fv__strips_of(s.outer, run, x->data, x->type, run, to, y->type, s.n * s.inner, 0);
            fv__strips_run(c, &w);
        } else
            for (int64_t o = 0; o < s.outer; o++)
                fv__convert(fv__at(to, y->type, o * s.n * s.inner), y->type,
                            fv__at(x->data, x->type, fv__concat_row(y, x, axis, o) * run), x->type, run);
        at += run;
    }
}

static void fv__concat_bwd_repeated(fv_ctx *c, fv_tensor *y, fv_tensor *x, int64_t at, int64_t run) {
    int axis = (int)y->node->i[0];
    fv__split s = fv__split_at(y, axis);
    fv__span *span = fv__pool_alloc(c, (size_t)fv_numel(x) * sizeof(double));
    if (!span) return;
    double *sum = (double *)(void *)span->data;
    memset(sum, 0, (size_t)fv_numel(x) * sizeof *sum);
    for (int64_t o = 0; o < s.outer; o++) /* in this order, whatever the thread count */
        fv__add_to(NULL, sum + fv__concat_row(y, x, axis, o) * run, FV_F64,
                   fv__at(y->grad, fv_grad_type(y), o * s.n * s.inner + at), fv_grad_type(y), run);
    fv__add_grad(c, x, sum, FV_F64);
    fv__pool_free(c, span);
}
static void fv__concat_bwd(fv_ctx *c, fv_tensor *y) {
    int axis = (int)y->node->i[0], first = 0;
    fv__split s = fv__split_at(y, axis);
    int64_t at = 0;
    for (int k = 0; k < y->node->n; k++) {
        fv_tensor *x = y->node->src[k];
        int64_t run = x->dim[axis] * s.inner;
        if (!(x->flags & FV_NEEDS_GRAD)) {
        } else if (fv_numel(x) == s.outer * run) {
            void *g = fv__grad(c, x, &first);
            fv_type t = fv_grad_type(y);
            fv__strips w = fv__strips_of(s.outer, run, fv__at(y->grad, t, at), t, s.n * s.inner, g,
                                         fv_grad_type(x), run, !first);
            if (g) fv__strips_run(c, &w);
        } else fv__concat_bwd_repeated(c, y, x, at, run);
        at += run;
    }
}
#ifdef FROZENVIS_CUDA
typedef struct fv__cu_repeated { /* a source with dims of 1 in front: its elements' places in y */
    fv__places m;
    const void *from;
    void *to;
    fv_type from_type, to_type;
    size_t size;
    int64_t n, count;
} fv__cu_repeated;
FV__KERNEL fv__concat_k(fv__cu_repeated r) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, e = i % r.n, p = i / r.n;
    if (p >= r.count) return;
    int64_t at = fv__place(r.m, e, p);
    if (r.size) fv__move(r.to, at, r.from, e, r.size);
    else fv__st<double>(r.to, r.to_type, at, fv__ld<double>(r.from, r.from_type, e));
}
struct fv__concat_f {
    enum { SUMS = 1, LOADS = 1 };
    typedef float part_t;
    fv__cu_repeated r;
    FV__METHOD void load(int64_t e, int64_t p, uint4 *raw) const {
        raw[0] = fv__raw4(r.from, r.from_type, fv__place(r.m, e, p));
    }
    FV__METHOD void add(const uint4 *raw, int64_t, float (*sum)[4]) const {
        float v[4];
        fv__floats4(raw[0], r.from_type, v);
        for (int j = 0; j < 4; j++) sum[0][j] += v[j];
    }
    FV__METHOD void run(int64_t e, int64_t p, double *sum) const {
        sum[0] += fv__ld<double>(r.from, r.from_type, fv__place(r.m, e, p));
    }
};
static fv__cu_repeated fv__cu_repeated_of(const fv_tensor *y, const fv_tensor *x, int axis, int64_t run) {
    fv__split s = fv__split_at(y, axis);
    fv__cu_repeated r;
    int64_t step = s.n * s.inner;
    memset(&r, 0, sizeof r);
    r.m.rank = axis + 1, r.m.dim[axis] = run, r.m.whole[axis] = r.m.own[axis] = 1;
    for (int i = axis - 1; i >= 0; i--)
        r.m.dim[i] = y->dim[i], r.m.own[i] = x->dim[i] == y->dim[i], r.m.whole[i] = step, step *= y->dim[i];
    r.n = fv_numel(x), r.count = r.n ? s.outer * run / r.n : 0;
    return r;
}
static void fv__concat_fwd_cu(fv_ctx *c, fv_tensor *y) {
    int axis = (int)y->node->i[0];
    fv__split s = fv__split_at(y, axis);
    int64_t at = 0;
    for (int k = 0; k < y->node->n; k++) {
        const fv_tensor *x = y->node->src[k];
        int64_t run = x->dim[axis] * s.inner;
        void *to = fv__at(y->data, y->type, at);
        at += run;
        if (fv_numel(x) == s.outer * run) {
            fv__cu_strips_run(c, s.outer, run, fv__elements(x), x->type, run, to, y->type, s.n * s.inner, 0);
            continue;
        }
        fv__cu_repeated r = fv__cu_repeated_of(y, x, axis, run);
        r.from = fv__elements(x), r.from_type = x->type, r.to = to, r.to_type = y->type,
        r.size = x->type == y->type ? fv_type_size(x->type) : 0;
        if (r.n && r.count) FV__START(c, fv__grid_of(r.n * r.count), dim3(256), (r), fv__concat_k);
    }
}
static void fv__concat_bwd_cu(fv_ctx *c, fv_tensor *y) {
    int axis = (int)y->node->i[0], first = 1;
    fv__split s = fv__split_at(y, axis);
    fv_type t = fv_grad_type(y);
    int64_t at = 0;
    for (int k = 0; k < y->node->n; k++) {
        fv_tensor *x = y->node->src[k];
        int64_t run = x->dim[axis] * s.inner;
        const void *from = fv__at(y->grad, t, at);
        void *g = fv__grad(c, x, &first);
        at += run;
        if (!g) continue;
        if (fv_numel(x) == s.outer * run) {
            fv__cu_strips_run(c, s.outer, run, from, t, s.n * s.inner, g, fv_grad_type(x), run, !first);
            continue;
        }
        fv__concat_f f = {fv__cu_repeated_of(y, x, axis, run)};
        f.r.from = from, f.r.from_type = t;
        fv__fold_wide(c, f, f.r.n, f.r.count, fv__fold_to(g, fv_grad_type(x), !first, 1),
                      fv__wide(from, t) && run % 4 == 0 && s.n * s.inner % 4 == 0, 0);
    }
}
#endif
static const fv__op fv__op_concat = {"concat",       fv__concat_shape,          fv__concat_fwd,
                                     fv__concat_bwd, FV__CU(fv__concat_fwd_cu), FV__CU(fv__concat_bwd_cu)};
FV_DEF fv_tensor *fv_concat(fv_ctx *c, fv_tensor **x, int n, int dim) {
    if (c->status) return NULL;
    if (n < 1 || n > 8) {
        fv_fail(c, FV_ESHAPE, "concat: %d tensors, 1 to 8 can be joined", n);
        return NULL;
    }
    for (int i = 0; i < n; i++)
        if (!fv__need(c, "concat", x[i])) return NULL;
    int axis = fv__dim_of(c, "concat", x[n - 1], dim);
    fv_tensor *y = axis < 0 ? NULL : fv__make(c, &fv__op_concat, x, n);
    if (y) y->node->i[0] = axis;
    return fv__apply(c, y);
}

/* ---- op slice: y = x[.., start..start+count, ..].  gx = gy there, 0 elsewhere ---- */
static int fv__slice_shape(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    int64_t dim = y->node->i[0], start = y->node->i[1], count = y->node->i[2];
    char text[128];
    if (start < 0 || count < 0 || count > x->dim[dim] || start > x->dim[dim] - count)
        return fv_fail(c, FV_ESHAPE, "slice: %s: dim %d has no elements %lld to %lld",
                       fv__shape_text(x, text, sizeof text), (int)dim, (long long)start,
                       (long long)(start + count - 1));
    fv__like(y, x, x->type);
    y->dim[dim] = count;
    return 1;
}
static void fv__slice_fwd(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    fv__split s = fv__split_at(x, (int)y->node->i[0]);
    int64_t run = y->node->i[2] * s.inner;
    const void *from = fv__at(x->data, x->type, y->node->i[1] * s.inner);
    fv__strips w = fv__strips_of(s.outer, run, from, x->type, s.n * s.inner, y->data, y->type, run, 0);
    fv__strips_run(c, &w);
}
static void fv__slice_bwd(fv_ctx *c, fv_tensor *y) {
    fv_tensor *x = y->node->src[0];
    fv__split s = fv__split_at(x, (int)y->node->i[0]);
    int64_t run = y->node->i[2] * s.inner;
    void *g = fv__grad_or_zeros(c, x);
    if (!g) return;
    fv__strips w =
        fv__strips_of(s.outer, run, y->grad, fv_grad_type(y), run,
                      fv__at(g, fv_grad_type(x), y->node->i[1] * s.inner), fv_grad_type(x), s.n * s.inner, 1);
    fv__strips_run(c, &w);
}
#ifdef FROZENVIS_CUDA
static void fv__slice_fwd_cu(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    fv__split s = fv__split_at(x, (int)y->node->i[0]);
    int64_t run = y->node->i[2] * s.inner;
    fv__cu_strips_run(c, s.outer, run, fv__at(fv__elements(x), x->type, y->node->i[1] * s.inner), x->type,
                      s.n * s.inner, y->data, y->type, run, 0);
}
static void fv__slice_bwd_cu(fv_ctx *c, fv_tensor *y) {
    fv_tensor *x = y->node->src[0];
    fv__split s = fv__split_at(x, (int)y->node->i[0]);
    int64_t run = y->node->i[2] * s.inner;
    void *g = fv__cu_grad_or_zeros(c, x);
    if (g)
        fv__cu_strips_run(c, s.outer, run, y->grad, fv_grad_type(y), run,
                          fv__at(g, fv_grad_type(x), y->node->i[1] * s.inner), fv_grad_type(x), s.n * s.inner,
                          1);
}
#endif
static const fv__op fv__op_slice = {"slice",       fv__slice_shape,          fv__slice_fwd,
                                    fv__slice_bwd, FV__CU(fv__slice_fwd_cu), FV__CU(fv__slice_bwd_cu)};
FV_DEF fv_tensor *fv_slice(fv_ctx *c, fv_tensor *x, int dim, int64_t start, int64_t count) {
    int d = fv__dim_of(c, "slice", x, dim);
    fv_tensor *y = d < 0 ? NULL : fv__make(c, &fv__op_slice, &x, 1);
    if (y) y->node->i[0] = d, y->node->i[1] = start, y->node->i[2] = count;
    return fv__apply(c, y);
}

/* ---- op gather: y[j,:] = table[index[j],:].  gtable[index[j],:] += gy[j,:], in the order of j for every
 * column ---- */
static int64_t fv__index(const fv_tensor *t, int64_t i) {
    return t->type == FV_I32 ? ((const int32_t *)t->data)[i] : ((const int64_t *)t->data)[i];
}
static int fv__gather_shape(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *table = y->node->src[0], *index = y->node->src[1];
    if (table->rank != 2 || !table->data || (index->type != FV_I32 && index->type != FV_I64) ||
        index->rank >= FV_MAX_RANK)
        return fv__shape_fail(c, "gather", table, index, "a table [R,D] and i32 or i64 indices wanted");
    for (int64_t i = 0; !index->device && i < fv_numel(index); i++)
        if (fv__index(index, i) < 0 || fv__index(index, i) >= table->dim[0])
            return fv_fail(c, FV_ESHAPE, "gather: index number %lld is %lld, the table has rows 0 to %lld",
                           (long long)i, (long long)fv__index(index, i), (long long)table->dim[0] - 1);
    fv__like(y, index, table->type);
    y->dim[y->rank++] = table->dim[1];
    return 1;
}

typedef struct fv__gather {
    fv_tensor *y;
    void *grad;
    int64_t n, rows, cols;
    const fv__kernels *k;
} fv__gather;
static void fv__gather_fwd_job(void *arg, int job, int worker) {
    const fv__gather *w = (const fv__gather *)arg;
    const fv_tensor *table = w->y->node->src[0], *index = w->y->node->src[1];
    int64_t cols = table->dim[1];
    (void)worker;
    for (int64_t i = job * w->rows; i < FV__MIN((job + 1) * w->rows, w->n); i++)
        memcpy(fv__at(w->y->data, w->y->type, i * cols),
               fv__at(table->data, table->type, fv__index(index, i) * cols),
               (size_t)cols * fv_type_size(table->type));
}
/* a job owns columns: no two write the same element */
static void fv__gather_bwd_job(void *arg, int job, int worker) {
    const fv__gather *w = (const fv__gather *)arg;
    const fv_tensor *table = w->y->node->src[0], *index = w->y->node->src[1];
    int64_t cols = table->dim[1], at = job * w->cols, n = FV__MIN(w->cols, cols - at);
    fv_type gt = fv_grad_type(table), yt = fv_grad_type(w->y);
    (void)worker;
    for (int64_t i = 0; i < w->n; i++)
        fv__add_to(w->k, fv__at(w->grad, gt, fv__index(index, i) * cols + at), gt,
                   fv__at(w->y->grad, yt, i * cols + at), yt, n);
}
static void fv__gather_fwd(fv_ctx *c, fv_tensor *y) {
    fv__gather w;
    memset(&w, 0, sizeof w);
    w.y = y, w.n = fv_numel(y->node->src[1]), w.rows = FV__MAX(FV__JOB / FV__MAX(fv__last(y), 1), (int64_t)1);
    if (fv_numel(y)) fv_parallel(c, (int)FV__CEIL(w.n, w.rows), fv__gather_fwd_job, &w);
}
static void fv__gather_bwd(fv_ctx *c, fv_tensor *y) {
    fv__gather w;
    memset(&w, 0, sizeof w);
    /* 64 columns are a cache line at least, so that jobs do not share one */
    w.y = y, w.n = fv_numel(y->node->src[1]), w.cols = 64;
    w.grad = fv__grad_or_zeros(c, y->node->src[0]), w.k = fv__kernels_for(c, FV_F32);
    if (w.grad) fv_parallel(c, (int)FV__CEIL(fv__last(y), w.cols), fv__gather_bwd_job, &w);
}
#ifdef FROZENVIS_CUDA
/* Indices that lie on the device cannot be looked at before: one out of range gives a row that is not a
 * number, and no gradient. */
typedef struct fv__cu_gather {
    const void *index, *from; /* from: the table, or gy */
    void *to;
    fv_type index_type, from_type, to_type;
    int64_t n, rows, cols;
} fv__cu_gather;
FV__DEV int64_t fv__index_at(const fv__cu_gather &w, int64_t i) {
    return w.index_type == FV_I32 ? ((const int32_t *)w.index)[i] : ((const int64_t *)w.index)[i];
}
FV__KERNEL fv__gather_k(fv__cu_gather w) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, i = e / w.cols, d = e % w.cols;
    if (i >= w.n) return;
    int64_t row = fv__index_at(w, i);
    fv__st<double>(w.to, w.to_type, e,
                   row < 0 || row >= w.rows ? NAN : fv__ld<double>(w.from, w.from_type, row * w.cols + d));
}
/* a thread owns a column, so sums are made in the order of the indices */
FV__KERNEL fv__gather_grad_k(fv__cu_gather w) {
    int64_t d = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (d >= w.cols) return;
    for (int64_t i = 0; i < w.n; i++) {
        int64_t row = fv__index_at(w, i);
        if (row < 0 || row >= w.rows) continue;
        if (w.to_type == FV_F64)
            fv__put<double>(w.to, w.to_type, row * w.cols + d,
                            fv__ld<double>(w.from, w.from_type, i * w.cols + d), 1);
        else
            fv__put<float>(w.to, w.to_type, row * w.cols + d,
                           fv__ld<float>(w.from, w.from_type, i * w.cols + d), 1);
    }
}
static fv__cu_gather fv__cu_gather_of(const fv_tensor *y) {
    const fv_tensor *table = y->node->src[0], *index = y->node->src[1];
    fv__cu_gather w;
    memset(&w, 0, sizeof w);
    w.index = fv__elements(index), w.index_type = index->type, w.n = fv_numel(index), w.rows = table->dim[0],
    w.cols = table->dim[1];
    return w;
}
static void fv__gather_fwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__cu_gather w = fv__cu_gather_of(y);
    w.from = fv__elements(y->node->src[0]), w.from_type = w.to_type = y->type, w.to = y->data;
    if (!fv__is_float(y))
        fv_fail(c, FV_EUNAVAILABLE, "gather: a table of %s has no kernel for a GPU", fv_type_name(y->type));
    if (w.n && w.cols) FV__START(c, fv__grid_of(w.n * w.cols), dim3(256), (w), fv__gather_k);
}
static void fv__gather_bwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__cu_gather w = fv__cu_gather_of(y);
    w.from = y->grad, w.from_type = fv_grad_type(y);
    w.to = fv__cu_grad_or_zeros(c, y->node->src[0]), w.to_type = fv_grad_type(y->node->src[0]);
    if (w.to && w.cols)
        FV__START(c, dim3((unsigned)FV__CEIL(w.cols, (int64_t)32)), dim3(32), (w), fv__gather_grad_k);
}
#endif
static const fv__op fv__op_gather = {"gather",       fv__gather_shape,          fv__gather_fwd,
                                     fv__gather_bwd, FV__CU(fv__gather_fwd_cu), FV__CU(fv__gather_bwd_cu)};
FV_DEF fv_tensor *fv_gather(fv_ctx *c, fv_tensor *table, const fv_tensor *index) {
    fv_tensor *src[2];
    src[0] = table, src[1] = (fv_tensor *)(uintptr_t)index;
    if (!fv__need(c, "gather", table) || !fv__need(c, "gather", index)) return NULL;
    return fv__apply(c, fv__make(c, &fv__op_gather, src, 2));
}

/* ---- ops sum, mean, max over a dim of x = [outer, n, inner], into y = [outer, inner].
 *      gx = gy, gy/n, and for max gy at the first largest element, else 0 ---- */
enum { FV__SUM1 = 0, FV__MEAN1 = 1, FV__MAX1 = 2 };
typedef struct fv__reduce {
    const fv_tensor *x, *y;
    fv__split s;
    /* inner is cut into blocks of FV__BLOCK; a job is a group of (outer, block) pairs */
    int64_t blocks, group;
    int kind, add;
    double scale;
    const fv__kernels *k, *k_max; /* of f32; of max's type */
    fv_type max_type;
    int32_t *where; /* of the largest element; like y */
    void *grad;
} fv__reduce;

/* acc[i] += x[i] */
static void fv__sum_into(double *acc, const fv_tensor *x, int64_t at, int64_t n) {
    if (x->type == FV_F32) {
        const float *p = (const float *)x->data + at;
        for (int64_t i = 0; i < n; i++) acc[i] += (double)p[i];
    } else if (x->type == FV_BF16) {
        const uint16_t *p = (const uint16_t *)x->data + at;
        for (int64_t i = 0; i < n; i++) acc[i] += (double)fv__bf16_to(p[i]);
    } else {
        const double *p = (const double *)x->data + at;
        for (int64_t i = 0; i < n; i++) acc[i] += p[i];
    }
}

/* the sum of n neighbours, for a reduction over the last dim: eight sums side by side, not one long chain */
static double fv__sum_run(const fv_tensor *x, int64_t at, int64_t n) {
    double acc[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int64_t i = 0; i < n; i += 8) fv__sum_into(acc, x, at + i, FV__MIN(n - i, (int64_t)8));
    return ((acc[0] + acc[4]) + (acc[1] + acc[5])) + ((acc[2] + acc[6]) + (acc[3] + acc[7]));
}

/* m numbers of y from `at` on, of x's from `from` on */
static void fv__max_run(const fv__reduce *w, int64_t at, int64_t from, int64_t m) {
    double best[FV__BLOCK], where[FV__BLOCK], v[FV__BLOCK]; /* of max's type */
    memset(where, 0, sizeof where);
    for (int64_t k = 0; k < w->s.n; k++, from += w->s.inner) {
        const void *x = fv__at(w->x->data, w->x->type, from);
        if (w->x->type != w->max_type) fv__convert_by(w->k, v, w->max_type, x, w->x->type, m), x = v;
        if (k) w->k_max->max_into(best, where, x, m, (double)k);
        else memcpy(best, x, (size_t)m * fv_type_size(w->max_type));
    }
    for (int64_t k = 0; k < m; k++) w->where[at + k] = (int32_t)fv__get(where, w->max_type, k);
    fv__convert_by(w->k, fv__at(w->y->data, w->y->type, at), w->y->type, best, w->max_type, m);
}

static void fv__reduce_fwd_job(void *arg, int job, int worker) {
    const fv__reduce *w = (const fv__reduce *)arg;
    int64_t unit = job * w->group, end = FV__MIN(unit + w->group, w->s.outer * w->blocks);
    (void)worker;
    for (; unit < end; unit++) {
        int64_t o = unit / w->blocks, i = unit % w->blocks * FV__BLOCK,
                m = FV__MIN(w->s.inner - i, (int64_t)FV__BLOCK);
        int64_t at = o * w->s.inner + i, from = o * w->s.n * w->s.inner + i;
        double acc[FV__BLOCK];
        if (w->kind == FV__MAX1) {
            fv__max_run(w, at, from, m);
            continue;
        }
        memset(acc, 0, sizeof acc);
        if (w->s.inner == 1) acc[0] = fv__sum_run(w->x, from, w->s.n);
        else
            for (int64_t k = 0; k < w->s.n; k++, from += w->s.inner) fv__sum_into(acc, w->x, from, m);
        for (int64_t k = 0; k < m; k++) acc[k] *= w->scale;
        fv__convert(fv__at(w->y->data, w->y->type, at), w->y->type, acc, FV_F64, m);
    }
}

static void fv__reduce_bwd_job(void *arg, int job, int worker) {
    const fv__reduce *w = (const fv__reduce *)arg;
    int64_t unit = job * w->group, end = FV__MIN(unit + w->group, w->s.outer * w->blocks);
    fv_type gt = fv_grad_type(w->x), yt = fv_grad_type(w->y), t = fv__compute_type(gt);
    (void)worker;
    for (; unit < end; unit++) {
        int64_t o = unit / w->blocks, i = unit % w->blocks * FV__BLOCK,
                m = FV__MIN(w->s.inner - i, (int64_t)FV__BLOCK);
        int64_t at = o * w->s.inner + i, to = o * w->s.n * w->s.inner + i;
        double g[FV__BLOCK]; /* scaled, in the type of the computation */
        for (int64_t k = 0; k < m; k++) fv__set(g, t, k, w->scale * fv__get(w->y->grad, yt, at + k));
        for (int64_t k = 0; w->kind == FV__MAX1 && k < m; k++)
            fv__add_to(w->k, fv__at(w->grad, gt, to + w->where[at + k] * w->s.inner + k), gt, fv__at(g, t, k),
                       t, 1);
        for (int64_t k = 0; w->kind != FV__MAX1 && k < w->s.n; k++, to += w->s.inner) {
            if (w->add) fv__add_to(w->k, fv__at(w->grad, gt, to), gt, g, t, m);
            else fv__convert_by(w->k, fv__at(w->grad, gt, to), gt, g, t, m);
        }
    }
}

static void fv__reduce_run(fv_ctx *c, fv_tensor *y, int backward) {
    fv__reduce w;
    memset(&w, 0, sizeof w);
    w.y = y, w.x = y->node->src[0], w.s = fv__split_at(w.x, (int)y->node->i[0]), w.kind = (int)y->node->i[1];
    w.k = fv__kernels_for(c, FV_F32);
    w.max_type = w.s.n > 1 << 24 ? FV_F64 : fv__compute_type(w.x->type); /* f32 counts to 2^24 */
    w.k_max = fv__kernels_for(c, w.max_type);
    w.scale = w.kind == FV__MEAN1 ? 1.0 / (double)w.s.n : 1.0;
    w.blocks = FV__CEIL(w.s.inner, FV__BLOCK);
    w.group = FV__MAX(FV__JOB / FV__MAX(w.s.n * FV__MIN(w.s.inner, (int64_t)FV__BLOCK), 1), (int64_t)1);
    if (w.kind == FV__MAX1)
        w.where = (int32_t *)(backward ? fv__saved(y, 0)
                                       : fv__save(c, y, 0, (size_t)fv_numel(y) * sizeof(int32_t)));
    if (backward) {
        int first = 0;
        w.grad =
            w.kind == FV__MAX1 ? fv__grad_or_zeros(c, y->node->src[0]) : fv__grad(c, y->node->src[0], &first);
        w.add = !first;
    }
    if (c->status || (backward && !w.grad) || !fv_numel(y)) return;
    fv_parallel(c, (int)FV__CEIL(w.s.outer * w.blocks, w.group),
                backward ? fv__reduce_bwd_job : fv__reduce_fwd_job, &w);
}

static int fv__reduce_shape(fv_ctx *c, fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    const char *name = y->node->op->name;
    if (!fv__is_float(x)) return fv__shape_fail(c, name, x, NULL, "f32, bf16 or f64 wanted");
    if (x->dim[y->node->i[0]] == 0 && y->node->i[1] != FV__SUM1)
        return fv__shape_fail(c, name, x, NULL, "the dim is empty");
    y->type = x->type;
    for (int i = 0; i < x->rank; i++)
        if (i != y->node->i[0]) y->dim[y->rank++] = x->dim[i];
    return 1;
}
static void fv__reduce_fwd(fv_ctx *c, fv_tensor *y) { fv__reduce_run(c, y, 0); }
static void fv__reduce_bwd(fv_ctx *c, fv_tensor *y) { fv__reduce_run(c, y, 1); }
#ifdef FROZENVIS_CUDA
struct fv__reduce_f { /* x = [outer, n, inner] */
    enum { SUMS = 1, LOADS = 1 };
    typedef float part_t;
    const void *x;
    fv_type type;
    int64_t n, inner;
    FV__METHOD void load(int64_t e, int64_t p, uint4 *raw) const {
        raw[0] = fv__raw4(x, type, (e / inner * n + p) * inner + e % inner);
    }
    FV__METHOD void add(const uint4 *raw, int64_t, float (*sum)[4]) const {
        float v[4];
        fv__floats4(raw[0], type, v);
        for (int j = 0; j < 4; j++) sum[0][j] += v[j];
    }
    FV__METHOD void run(int64_t e, int64_t p, double *sum) const {
        sum[0] += fv__ld<double>(x, type, (e / inner * n + p) * inner + e % inner);
    }
};
typedef struct fv__cu_reduce {
    const void *x, *gy;
    void *y, *g;
    fv_type x_type, y_type, gy_type, g_type;
    fv__split s;
    int32_t *where;
    double scale;
    int add;
} fv__cu_reduce;
FV__KERNEL fv__max_k(fv__cu_reduce w) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= w.s.outer * w.s.inner) return;
    double best = 0;
    int32_t at = 0;
    for (int64_t p = 0; p < w.s.n; p++) {
        double v = fv__ld<double>(w.x, w.x_type, (e / w.s.inner * w.s.n + p) * w.s.inner + e % w.s.inner);
        if (p == 0 || v > best || (v != v && best == best))
            best = v, at = (int32_t)p; /* the first NaN stays */
    }
    w.where[e] = at;
    fv__st<double>(w.y, w.y_type, e, best);
}
FV__KERNEL fv__max_grad_k(fv__cu_reduce w) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= w.s.outer * w.s.inner) return;
    int64_t to = (e / w.s.inner * w.s.n + w.where[e]) * w.s.inner + e % w.s.inner;
    if (w.g_type == FV_F64) fv__put<double>(w.g, w.g_type, to, fv__ld<double>(w.gy, w.gy_type, e), 1);
    else fv__put<float>(w.g, w.g_type, to, fv__ld<float>(w.gy, w.gy_type, e), 1);
}
FV__KERNEL fv__spread_k(fv__cu_reduce w) { /* gx = gy of the sum it went into */
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x,
            from = e / (w.s.n * w.s.inner) * w.s.inner + e % w.s.inner;
    if (e >= w.s.outer * w.s.n * w.s.inner) return;
    if (w.g_type == FV_F64)
        fv__put<double>(w.g, w.g_type, e, w.scale * fv__ld<double>(w.gy, w.gy_type, from), w.add);
    else
        fv__put<float>(w.g, w.g_type, e, (float)(w.scale * (double)fv__ld<float>(w.gy, w.gy_type, from)),
                       w.add);
}
static fv__cu_reduce fv__cu_reduce_of(const fv_tensor *y) {
    const fv_tensor *x = y->node->src[0];
    fv__cu_reduce w;
    memset(&w, 0, sizeof w);
    w.x = fv__elements(x), w.x_type = x->type, w.s = fv__split_at(x, (int)y->node->i[0]), w.y = y->data,
    w.y_type = y->type;
    w.scale = y->node->i[1] == FV__MEAN1 ? 1 / (double)w.s.n : 1;
    return w;
}
static void fv__reduce_fwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__cu_reduce w = fv__cu_reduce_of(y);
    int64_t n = fv_numel(y);
    if (!n) return;
    if (y->node->i[1] == FV__MAX1) {
        w.where = (int32_t *)fv__save(c, y, 0, (size_t)n * sizeof(int32_t));
        FV__START(c, fv__grid_of(n), dim3(256), (w), fv__max_k);
        return;
    }
    fv__reduce_f f = {w.x, w.x_type, w.s.n, w.s.inner};
    fv__fold_wide(c, f, n, w.s.n, fv__fold_to(y->data, y->type, 0, w.scale),
                  fv__wide(w.x, w.x_type) && w.s.inner % 4 == 0, w.s.inner == 1);
}
static void fv__reduce_bwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__cu_reduce w = fv__cu_reduce_of(y);
    fv_tensor *x = y->node->src[0];
    int first = 1;
    w.where = (int32_t *)fv__saved(y, 0), w.gy = y->grad, w.gy_type = fv_grad_type(y),
    w.g_type = fv_grad_type(x);
    w.g = y->node->i[1] == FV__MAX1 ? fv__cu_grad_or_zeros(c, x) : fv__grad(c, x, &first), w.add = !first;
    if (!w.g || !fv_numel(y)) return;
    if (y->node->i[1] == FV__MAX1) FV__START(c, fv__grid_of(fv_numel(y)), dim3(256), (w), fv__max_grad_k);
    else if (fv_numel(x)) FV__START(c, fv__grid_of(fv_numel(x)), dim3(256), (w), fv__spread_k);
}
#endif
static const fv__op fv__op_sum = {"sum",          fv__reduce_shape,          fv__reduce_fwd,
                                  fv__reduce_bwd, FV__CU(fv__reduce_fwd_cu), FV__CU(fv__reduce_bwd_cu)};
static const fv__op fv__op_mean = {"mean",         fv__reduce_shape,          fv__reduce_fwd,
                                   fv__reduce_bwd, FV__CU(fv__reduce_fwd_cu), FV__CU(fv__reduce_bwd_cu)};
static const fv__op fv__op_max = {"max",          fv__reduce_shape,          fv__reduce_fwd,
                                  fv__reduce_bwd, FV__CU(fv__reduce_fwd_cu), FV__CU(fv__reduce_bwd_cu)};

static fv_tensor *fv__reduce_make(fv_ctx *c, const fv__op *op, int kind, fv_tensor *x, int dim) {
    int d = fv__dim_of(c, op->name, x, dim);
    fv_tensor *y = d < 0 ? NULL : fv__make(c, op, &x, 1);
    if (y) y->node->i[0] = d, y->node->i[1] = kind;
    return fv__apply(c, y);
}
FV_DEF fv_tensor *fv_sum(fv_ctx *c, fv_tensor *x, int dim) {
    return fv__reduce_make(c, &fv__op_sum, FV__SUM1, x, dim);
}
FV_DEF fv_tensor *fv_mean(fv_ctx *c, fv_tensor *x, int dim) {
    return fv__reduce_make(c, &fv__op_mean, FV__MEAN1, x, dim);
}
FV_DEF fv_tensor *fv_max(fv_ctx *c, fv_tensor *x, int dim) {
    return fv__reduce_make(c, &fv__op_max, FV__MAX1, x, dim);
}

/* ---- ops dropout, drop_path: y = x m/(1-p), m 0 with probability p, else 1; one m per element, or per
 * sample.
 *      gx = gy m/(1-p): the backward pass draws the same numbers again ---- */
/* settings: i[0] seed, i[1] stream, i[2] elements that share a number, i[3] the first number; f[0] p */
static void fv__dropout_rows(const fv__rows *r, const void *const *in, void *const *out, int64_t row,
                             int64_t n) {
    const fv__node *node = r->y->node;
    uint64_t seed = (uint64_t)node->i[0], stream = (uint64_t)node->i[1], held = UINT64_MAX;
    double keep = node->f[0] < 1 ? 1 / (1 - node->f[0]) : 0;
    uint32_t word[4] = {0, 0, 0, 0};
    for (int64_t i = 0, m; i < n; i += m) {
        int64_t share = node->i[2], e = row + i;
        uint64_t draw = (uint64_t)(e / share + node->i[3]); /* of the stream, as fv_random_uniform has it */
        m = FV__MIN(share - e % share, n - i);
        if (draw >> 2 != held) fv_philox(seed, stream, held = draw >> 2, word);
        double s = (double)(word[draw & 3] >> 8) * (1.0 / 16777216.0) < node->f[0] ? 0 : keep;
        for (int64_t j = i; j < i + m; j++) {
            if (r->compute == FV_F64) ((double *)out[0])[j] = s > 0 ? s * ((const double *)in[0])[j] : 0;
            else
                ((float *)out[0])[j] =
                    s > 0 ? (float)s * ((const float *)in[0])[j] : 0; /* 0 even for an infinity */
        }
    }
}
static void fv__dropout_fwd(fv_ctx *c, fv_tensor *y) {
    fv__rows r = fv__rows_of(y, fv_numel(y), fv__dropout_rows);
    fv__rows_in(&r, y->node->src[0]->data, y->type, 1);
    fv__rows_out(&r, y->data, y->type, 1, 0);
    fv__run_rows(c, &r);
}
static void fv__dropout_bwd(fv_ctx *c, fv_tensor *y) {
    fv__rows r = fv__rows_of(y, fv_numel(y), fv__dropout_rows);
    fv__rows_in(&r, y->grad, fv_grad_type(y), 1);
    fv__rows_grad(c, &r, y->node->src[0], 1);
    if (r.out[0]) fv__run_rows(c, &r);
}
#ifdef FROZENVIS_CUDA
struct fv__dropout_f { /* i, f: the node's settings; the same numbers as on the CPU */
    template <class C> FV__DEV void run(const fv__map &m, int64_t i, const C *in, C *out) {
        uint64_t draw = (uint64_t)(i / m.i[2] + m.i[3]);
        uint32_t word[4];
        fv__philox((uint64_t)m.i[0], (uint64_t)m.i[1], draw >> 2, word);
        double keep = m.f[0] < 1 ? 1 / (1 - m.f[0]) : 0,
               s = (double)(word[draw & 3] >> 8) * (1.0 / 16777216.0) < m.f[0] ? 0 : keep;
        out[0] = s > 0 ? (C)s * in[0] : (C)0;
    }
};
static fv__map fv__dropout_map(const fv_tensor *y, const void *from, fv_type type) {
    fv__map m = fv__map_of(fv_numel(y));
    fv__map_in(&m, from, type);
    for (int i = 0; i < 4; i++) m.i[i] = y->node->i[i];
    m.f[0] = y->node->f[0];
    return m;
}
static void fv__dropout_fwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__map m = fv__dropout_map(y, fv__elements(y->node->src[0]), y->node->src[0]->type);
    fv__map_out(&m, y->data, y->type, 0);
    fv__map_run<fv__dropout_f>(c, m, fv__compute_type(y->type));
}
static void fv__dropout_bwd_cu(fv_ctx *c, fv_tensor *y) {
    fv__map m = fv__dropout_map(y, y->grad, fv_grad_type(y));
    fv__map_grad(c, &m, y->node->src[0]);
    if (m.out[0]) fv__map_run<fv__dropout_f>(c, m, fv__compute_type(y->type));
}
#endif
static const fv__op fv__op_dropout = {"dropout",
                                      fv__scale_shape,
                                      fv__dropout_fwd,
                                      fv__dropout_bwd,
                                      FV__CU(fv__dropout_fwd_cu),
                                      FV__CU(fv__dropout_bwd_cu)};
static const fv__op fv__op_drop_path = {"drop_path",
                                        fv__scale_shape,
                                        fv__dropout_fwd,
                                        fv__dropout_bwd,
                                        FV__CU(fv__dropout_fwd_cu),
                                        FV__CU(fv__dropout_bwd_cu)};

static fv_tensor *fv__dropout_make(fv_ctx *c, const fv__op *op, fv_tensor *x, float p, int64_t share) {
    if (!(p >= 0 && p <= 1)) {
        fv_fail(c, FV_EUSAGE, "%s: a probability of %g is not in 0 to 1", op->name, (double)p);
        return NULL;
    }
    if (p == 0 || !c->tape->training) return x;
    fv_tensor *y = fv__make(c, op, &x, 1);
    if (!y) return NULL;
    y->node->i[0] = (int64_t)c->tape->seed;
    y->node->i[1] = (int64_t)(c->tape->step << 20 | (c->tape->random_ops++ & 0xfffff));
    y->node->i[2] = FV__MAX(share, (int64_t)1);
    /* in a group, the samples before ours have theirs */
    y->node->i[3] = fv__group_rank(c) * (fv_numel(x) / y->node->i[2]);
    y->node->f[0] = (double)p;
    return fv__apply(c, y);
}
FV_DEF fv_tensor *fv_dropout(fv_ctx *c, fv_tensor *x, float p) {
    return fv__need(c, "dropout", x) ? fv__dropout_make(c, &fv__op_dropout, x, p, 1) : NULL;
}
FV_DEF fv_tensor *fv_drop_path(fv_ctx *c, fv_tensor *x, float p) {
    if (!fv__need(c, "drop_path", x)) return NULL;
    return fv__dropout_make(c, &fv__op_drop_path, x, p, x->rank && x->dim[0] ? fv_numel(x) / x->dim[0] : 1);
}

/* ======================================================================================================
 * >>optim (implementation)
 * ====================================================================================================== */
FV_DEF int fv_params_add(fv_ctx *c, fv_params *p, fv_tensor *t) {
    if (!fv__need(c, "params_add", t)) return 0;
    fv_tensor **at = (fv_tensor **)fv__grow(c, p->at, p->count, &p->capacity, sizeof *at);
    if (!at) return 0;
    p->at = at;
    p->at[p->count++] = t;
    return 1;
}
FV_DEF fv_tensor *fv_params_find(const fv_params *p, const char *name) {
    for (int i = 0; i < p->count; i++)
        if (p->at[i]->name && !strcmp(p->at[i]->name, name)) return p->at[i];
    return NULL;
}
FV_DEF void fv_zero_grad(fv_params *params) {
    /* the next gradient is written, not added */
    for (int i = 0; i < params->count; i++) params->at[i]->grad_set = 0;
}

/* What fv_optim_step_async knows and has not told. On a GPU `so_far` lies there, and results are copied from
 * it into pinned memory. */
typedef struct fv__verdict {
    fv_step_result result; /* of the last step */
    double loss, note;     /* of the step to come, so far */
    int stopped;           /* a loss or a norm was not finite */
} fv__verdict;
typedef struct fv__later {
    fv__verdict *so_far, *told; /* told: [FV_OPTIM_AHEAD], a ring */
    int64_t asked, taken, resets[FV_OPTIM_AHEAD];
} fv__later;
static fv__later *fv__later_create(fv_ctx *c) {
    fv__later *l = (fv__later *)fv_alloc(c, sizeof *l);
    size_t size = FV_OPTIM_AHEAD * sizeof *l->told;
    if (!l) return NULL;
    l->so_far = (fv__verdict *)fv__lasting_alloc(c, sizeof *l->so_far);
    l->told = (fv__verdict *)(c->device ? fv__device_alloc(c, size, 1) : fv_alloc(c, size));
    return l;
}
static void fv__later_destroy(fv_ctx *c, fv__later *l) {
    if (!l) return;
    fv__lasting_free(c, l->so_far);
    fv__lasting_free(c, l->told);
    fv_free(c, l);
}

FV_DEF fv_optim *fv_optim_create(fv_ctx *c, fv_params *params, const fv_optim_desc *desc) {
    fv_optim *o = (fv_optim *)fv_alloc(c, sizeof *o);
    if (!o) return NULL;
    o->later = fv__later_create(c);
    if (desc) o->desc = *desc;
    fv_optim_desc *d = &o->desc;
    d->beta1 = d->beta1 == 0 ? 0.9f : FV__MAX(d->beta1, 0.0f);
    d->beta2 = d->beta2 == 0 ? 0.999f : FV__MAX(d->beta2, 0.0f);
    d->eps = d->eps == 0 ? 1e-8f : FV__MAX(d->eps, 0.0f);
    d->momentum = d->momentum == 0 ? 0.9f : FV__MAX(d->momentum, 0.0f);
    d->weight_decay = d->weight_decay == 0 ? 0.05f : FV__MAX(d->weight_decay, 0.0f);
    o->params = params;
    o->m = (float **)fv_alloc(c, (size_t)(params->count + 1) * sizeof *o->m);
    o->v = (float **)fv_alloc(c, (size_t)(params->count + 1) * sizeof *o->v);
    for (int i = 0; i < params->count && !c->status; i++) {
        size_t bytes = (size_t)fv_numel(params->at[i]) * sizeof(float);
        if (params->at[i]->type != FV_F32)
            fv__shape_fail(c, "optim", params->at[i], NULL, "f32 parameters wanted");
        o->m[i] = (float *)fv__lasting_alloc(c, bytes);
        if (d->kind == FV_ADAMW) o->v[i] = (float *)fv__lasting_alloc(c, bytes);
    }
    if (!c->status) return o;
    fv_optim_destroy(c, o);
    return NULL;
}
FV_DEF void fv_optim_destroy(fv_ctx *c, fv_optim *o) {
    if (!o) return;
    for (int i = 0; i < o->params->count; i++) {
        if (o->m) fv__lasting_free(c, o->m[i]);
        if (o->v) fv__lasting_free(c, o->v[i]);
    }
    fv__later_destroy(c, o->later);
    fv_free(c, o->m);
    fv_free(c, o->v);
    fv_free(c, o);
}

/* A step is complete: what is to be told of it, and whether it counts; then the next one begins. */
FV__HD static inline void fv__judge(fv__verdict *v, double norm) {
    v->result.loss = v->loss, v->result.norm = norm, v->result.note = v->note;
    v->stopped |= !(v->loss - v->loss == 0) || !(norm - norm == 0); /* not finite */
    v->loss = 0;
}

/* Work over all parameters at once: chunk number j of parameter i, in fixed chunks. */
enum { FV__OPTIM_CHUNK = 32768 };
typedef struct fv__sweep {
    const fv__kernels *kernels;
    const fv_params *params;
    const fv_optim *o;
    double *part; /* a chunk's sum of squares */
    float scale, lr, correct1, correct2;
    fv_params *average;
    float decay;
} fv__sweep;

/* the job's place: parameter and first element; -1 past the end */
static int fv__sweep_at(const fv_params *p, int job, int64_t *from, int64_t *n) {
    for (int i = 0; i < p->count; i++) {
        int64_t count = fv_numel(p->at[i]), jobs = FV__CEIL(count, (int64_t)FV__OPTIM_CHUNK);
        if (job < jobs) {
            *from = (int64_t)job * FV__OPTIM_CHUNK;
            *n = FV__MIN((int64_t)FV__OPTIM_CHUNK, count - *from);
            return i;
        }
        job -= (int)jobs;
    }
    return -1;
}
static int fv__sweep_jobs(const fv_params *p) {
    int64_t jobs = 0;
    for (int i = 0; i < p->count; i++) jobs += FV__CEIL(fv_numel(p->at[i]), (int64_t)FV__OPTIM_CHUNK);
    return (int)jobs;
}

static void fv__norm_job(void *arg, int job, int worker) {
    const fv__sweep *s = (const fv__sweep *)arg;
    int64_t from, n;
    int i = fv__sweep_at(s->params, job, &from, &n);
    (void)worker;
    if (i < 0 || !s->params->at[i]->grad_set) {
        s->part[job] = 0;
        return;
    }
    const float *g = (const float *)s->params->at[i]->grad + from;
    s->part[job] = s->kernels->dot(g, g, n);
}

#ifdef FROZENVIS_CUDA
/* On a GPU each of the passes is one launch over all parameters: the host writes a table of chunks, a
 * block takes one each. */
typedef struct fv__cu_chunk {
    float *w, *g, *m, *v, *a; /* g NULL: no gradient came; a: the average */
    uint16_t *rounded;        /* w in bf16, where that is kept; else NULL */
    int64_t n;
    float decay;
    int pad;
} fv__cu_chunk;
typedef struct fv__cu_update {
    const fv__cu_chunk *chunk;
    double *part, *norm;  /* chunks' sums of squares; the gradients' norm */
    fv__verdict *verdict; /* NULL: every step counts */
    int64_t chunks;
    float b1, b2, eps, lr, clip, correct1, correct2, momentum, decay;
    int sgd;
} fv__cu_update;
FV__DEV double fv__block_sum(double v, double *warp) { /* of 256 threads; the first has it */
    v = fv__warp_sum(v);
    if (threadIdx.x % 32 == 0) warp[threadIdx.x / 32] = v;
    __syncthreads();
    v = threadIdx.x < 8 ? warp[threadIdx.x] : 0;
    return fv__warp_sum(v);
}
FV__KERNEL fv__squares_k(fv__cu_update u) {
    __shared__ double warp[8];
    fv__cu_chunk t = u.chunk[blockIdx.x];
    double sum = 0;
    for (int64_t i = threadIdx.x; t.g && i < t.n; i += 256) sum += (double)t.g[i] * (double)t.g[i];
    sum = fv__block_sum(sum, warp);
    if (!threadIdx.x) u.part[blockIdx.x] = sum;
}
FV__KERNEL fv__add_loss_k(fv__verdict *v, const void *loss, fv_type type, double note) {
    if (loss) v->loss += fv__ld<double>(loss, type, 0);
    else v->note = note;
}
FV__KERNEL fv__grad_norm_k(fv__cu_update u) {
    __shared__ double warp[8];
    double sum = 0;
    for (int64_t i = threadIdx.x; i < u.chunks; i += 256) sum += u.part[i];
    sum = fv__block_sum(sum, warp);
    if (threadIdx.x) return;
    *u.norm = sqrt(sum);
    if (u.verdict) fv__judge(u.verdict, *u.norm);
}
FV__KERNEL fv__update_k(fv__cu_update u) {
    fv__cu_chunk t = u.chunk[blockIdx.x];
    if (u.verdict && u.verdict->stopped) return;
    float scale = u.clip > 0 ? (float)FV__MIN(1.0, (double)u.clip / (*u.norm + 1e-6)) : 1.0f,
          root = 1 / sqrtf(u.correct2), keep = 1 - u.lr * t.decay;
    for (int64_t i = 256 * blockIdx.y + threadIdx.x; t.g && i < t.n; i += 256 * gridDim.y) {
        float x = t.g[i] * scale;
        if (u.sgd) {
            t.m[i] = u.momentum * t.m[i] + x + t.decay * t.w[i];
            t.w[i] -= u.lr * t.m[i];
            if (t.rounded) t.rounded[i] = fv__bf16_from(t.w[i]);
            continue;
        }
        t.m[i] = u.b1 * t.m[i] + (1 - u.b1) * x;
        t.v[i] = u.b2 * t.v[i] + (1 - u.b2) * x * x;
        t.w[i] = t.w[i] * keep - u.lr / u.correct1 * t.m[i] / (sqrtf(t.v[i]) * root + u.eps);
        if (t.rounded) t.rounded[i] = fv__bf16_from(t.w[i]);
    }
}
FV__KERNEL fv__ema_k(fv__cu_update u) {
    fv__cu_chunk t = u.chunk[blockIdx.x];
    for (int64_t i = 256 * blockIdx.y + threadIdx.x; i < t.n; i += 256 * gridDim.y)
        t.a[i] = u.decay * t.a[i] + (1 - u.decay) * t.w[i];
}

/* The table, in host memory and on its way to the device, with room for its chunks' sums behind it. */
static int fv__cu_table(fv_ctx *c, const fv_params *p, const fv_optim *o, const fv_params *average,
                        fv__cu_update *u) {
    int jobs = fv__sweep_jobs(p);
    size_t size = (size_t)(jobs + 1) * sizeof(fv__cu_chunk), parts = (size_t)(jobs + 2) * sizeof(double);
    fv__span *host = fv__host_alloc(c, size);
    if (!host) return 0;
    fv__cu_chunk *t = (fv__cu_chunk *)(void *)host->data;
    for (int j = 0; j < jobs; j++) {
        int64_t from = 0, n = 0;
        int i = fv__sweep_at(p, j, &from, &n);
        const fv_tensor *w = p->at[i];
        memset(&t[j], 0, sizeof t[j]);
        t[j].w = (float *)w->data + from, t[j].g = w->grad_set ? (float *)w->grad + from : NULL, t[j].n = n;
        if (average) t[j].a = (float *)average->at[i]->data + from, average->at[i]->rounded_at = 0;
        if (!o) continue;
        if (w->rounded && fv__is_rounded(c, w)) t[j].rounded = (uint16_t *)w->rounded + from;
        t[j].m = o->m[i] + from, t[j].v = o->v[i] ? o->v[i] + from : NULL;
        t[j].decay = w->rank <= 1 || (w->flags & FV_NO_DECAY) ? 0 : o->desc.weight_decay;
    }
    fv__span *s = fv__device_copy_ahead(c, t, size, parts);
    if (!s) return 0;
    memset(u, 0, sizeof *u);
    u->chunk = (const fv__cu_chunk *)(void *)s->data, u->chunks = jobs;
    u->part = (double *)(void *)(s->data + size), u->norm = u->part + jobs;
    return 1;
}
/* sixteen blocks a chunk: a small network's few chunks would keep few of the GPU's processors busy */
static dim3 fv__chunks_grid(const fv__cu_update *u) { return dim3((unsigned)u->chunks, 16); }
static void fv__cu_norm_start(fv_ctx *c, const fv__cu_update *u) {
    if (u->chunks) FV__START(c, dim3((unsigned)u->chunks), dim3(256), (*u), fv__squares_k);
    FV__START(c, dim3(1), dim3(256), (*u), fv__grad_norm_k);
}
static double fv__cu_grad_norm(fv_ctx *c, const fv_params *params) {
    fv__cu_update u;
    double norm = 0;
    if (!fv__cu_table(c, params, NULL, NULL, &u)) return 0;
    fv__cu_norm_start(c, &u);
    fv__device_take(c, &norm, u.norm, sizeof norm);
    return norm;
}
static void fv__cu_optim_loss(fv_ctx *c, fv__verdict *v, const fv_tensor *loss, double note) {
    fv__bring(c, (fv_tensor *)(uintptr_t)loss);
    FV__START(c, dim3(1), dim3(1), (v, fv__elements(loss), loss ? loss->type : FV_F32, note), fv__add_loss_k);
}
/* The norm, the clipping and the update without a word to the host. verdict: whether the step counts, and
 * what is to be told of it; NULL: it does, and its norm is wanted. */
static double fv__cu_optim_step(fv_ctx *c, fv_optim *o, float lr, fv__verdict *verdict) {
    const fv_optim_desc *d = &o->desc;
    fv__cu_update u;
    double norm = 0;
    if (!fv__cu_table(c, o->params, o, NULL, &u)) return 0;
    o->step++;
    u.sgd = d->kind == FV_SGD, u.b1 = d->beta1, u.b2 = d->beta2, u.eps = d->eps, u.lr = lr,
    u.clip = d->clip_grad, u.verdict = verdict;
    u.momentum = o->step > 1 ? d->momentum : 0;
    u.correct1 = (float)(1 - pow((double)d->beta1, (double)o->step));
    u.correct2 = (float)(1 - pow((double)d->beta2, (double)o->step));
    fv__cu_norm_start(c, &u);
    if (u.chunks) FV__START(c, fv__chunks_grid(&u), dim3(256), (u), fv__update_k);
    if (!verdict) fv__device_take(c, &norm, u.norm, sizeof norm);
    fv_zero_grad(o->params);
    return norm;
}
/* The result goes to a place of its own in pinned memory, where the host finds it when the step is done. */
static void fv__cu_optim_step_async(fv_ctx *c, fv_optim *o, float lr, double note) {
    fv__later *l = o->later;
    int at = (int)(l->asked % FV_OPTIM_AHEAD);
    fv__cu_optim_loss(c, l->so_far, NULL, note);
    fv__group_average(c, &l->so_far->loss, 2);
    fv__cu_optim_step(c, o, lr, l->so_far);
    fv__device_send(c, &l->told[at], l->so_far, sizeof *l->told);
    l->resets[at] = c->device->resets;
}
static void fv__cu_ema(fv_ctx *c, fv_params *average, const fv_params *params, float decay) {
    fv__cu_update u;
    if (!fv__cu_table(c, params, NULL, average, &u)) return;
    u.decay = decay;
    if (u.chunks) FV__START(c, fv__chunks_grid(&u), dim3(256), (u), fv__ema_k);
}
#endif
FV_DEF double fv_grad_norm(fv_ctx *c, const fv_params *params) {
    fv__sweep s;
    double sum = 0;
    int jobs = fv__sweep_jobs(params);
#ifdef FROZENVIS_CUDA
    if (c->device) return fv__cu_grad_norm(c, params);
#endif
    memset(&s, 0, sizeof s);
    s.params = params, s.kernels = fv__kernels_for(c, FV_F32);
    fv__span *part = fv__pool_alloc(c, (size_t)(jobs + 1) * sizeof(double));
    if (!part) return 0;
    s.part = (double *)(void *)part->data;
    fv_parallel(c, jobs, fv__norm_job, &s);
    for (int i = 0; i < jobs; i++) sum += s.part[i];
    fv__pool_free(c, part);
    return sqrt(sum);
}

/* AdamW: m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; w -= lr (m/c1 / (sqrt(v/c2) + eps) + decay w),
 * c = 1 - b^t */
static void fv__adamw(const fv__sweep *s, float *w, const float *g, float *m, float *v, int64_t n,
                      float decay) {
    const fv_optim_desc *d = &s->o->desc;
    fv__adamw_step a;
    a.scale = s->scale, a.beta1 = d->beta1, a.beta2 = d->beta2, a.eps = d->eps;
    a.keep = 1 - s->lr * decay, a.step = s->lr / s->correct1, a.root = 1 / sqrtf(s->correct2);
    s->kernels->adamw(w, m, v, g, n, &a);
}
/* SGD as torch's: m = momentum m + (g + decay w), from m = g at the first step; w -= lr m */
static void fv__sgd(const fv__sweep *s, float *w, const float *g, float *m, int64_t n, float decay) {
    float momentum = s->o->step > 1 ? s->o->desc.momentum : 0;
    for (int64_t k = 0; k < n; k++) {
        m[k] = momentum * m[k] + g[k] * s->scale + decay * w[k];
        w[k] -= s->lr * m[k];
    }
}
static void fv__update_job(void *arg, int job, int worker) {
    const fv__sweep *s = (const fv__sweep *)arg;
    int64_t from, n;
    int i = fv__sweep_at(s->params, job, &from, &n);
    (void)worker;
    if (i < 0 || !s->params->at[i]->grad_set) return;
    fv_tensor *t = s->params->at[i];
    float decay = t->rank <= 1 || (t->flags & FV_NO_DECAY) ? 0 : s->o->desc.weight_decay;
    float *w = (float *)t->data + from;
    const float *g = (const float *)t->grad + from;
    if (s->o->desc.kind == FV_ADAMW) fv__adamw(s, w, g, s->o->m[i] + from, s->o->v[i] + from, n, decay);
    else fv__sgd(s, w, g, s->o->m[i] + from, n, decay);
}

/* verdict: as on a GPU, see fv__cu_optim_step */
static double fv__optim_step(fv_ctx *c, fv_optim *o, float lr, fv__verdict *verdict) {
    fv__sweep s;
    double start = fv_now(), norm = fv_grad_norm(c, o->params);
    if (c->status) return norm;
    memset(&s, 0, sizeof s);
    o->step++;
    s.kernels = fv__kernels_for(c, FV_F32), s.params = o->params, s.o = o, s.lr = lr, s.scale = 1;
    if (o->desc.clip_grad > 0) s.scale = (float)FV__MIN(1.0, (double)o->desc.clip_grad / (norm + 1e-6));
    s.correct1 = (float)(1 - pow((double)o->desc.beta1, (double)o->step));
    s.correct2 = (float)(1 - pow((double)o->desc.beta2, (double)o->step));
    if (verdict) fv__judge(verdict, norm);
    if (!verdict || !verdict->stopped) fv_parallel(c, fv__sweep_jobs(o->params), fv__update_job, &s);
    fv_zero_grad(o->params);
    if (c->tape->profiling)
        fv__profile_add(c, o->desc.kind == FV_SGD ? "sgd" : "adamw", FV_PASS_UPDATE, fv_now() - start, 0);
    return norm;
}
FV_DEF double fv_optim_step(fv_ctx *c, fv_optim *o, float lr) {
#ifdef FROZENVIS_CUDA
    if (c->device) return fv__cu_optim_step(c, o, lr, NULL);
#endif
    return fv__optim_step(c, o, lr, NULL);
}

FV_DEF void fv_optim_loss(fv_ctx *c, fv_optim *o, const fv_tensor *loss) {
    if (!fv__need(c, "optim_loss", loss)) return;
    if (fv_numel(loss) != 1) {
        fv__shape_fail(c, "optim_loss", loss, NULL, "a loss has one element");
        return;
    }
#ifdef FROZENVIS_CUDA
    if (c->device) {
        fv__cu_optim_loss(c, o->later->so_far, loss, 0);
        return;
    }
#endif
    o->later->so_far->loss += fv_get(loss, 0);
}
FV_DEF int fv_optim_step_async(fv_ctx *c, fv_optim *o, float lr, double note) {
    fv__later *l = o->later;
    if (c->status) return 0;
    if (l->asked - l->taken == FV_OPTIM_AHEAD)
        return fv_fail(c, FV_EUSAGE, "optim_step_async: %d results wait for fv_optim_result", FV_OPTIM_AHEAD);
#ifdef FROZENVIS_CUDA
    if (c->device) fv__cu_optim_step_async(c, o, lr, note);
#endif
    if (!c->device) {
        l->so_far->note = note;
        fv__optim_step(c, o, lr, l->so_far);
        l->told[l->asked % FV_OPTIM_AHEAD] = *l->so_far;
    }
    l->asked += !c->status;
    return !c->status;
}
FV_DEF int fv_optim_result(fv_ctx *c, fv_optim *o, int wait, fv_step_result *result) {
    fv__later *l = o->later;
    int at = (int)(l->taken % FV_OPTIM_AHEAD);
    if (c->status || l->taken == l->asked || !fv__device_told(c, l->resets[at], wait)) return 0;
    *result = l->told[at].result, l->taken++;
    return 1;
}

FV_DEF float fv_lr_cosine(int64_t step, int64_t steps, int64_t warmup, float lr, float start, float min) {
    if (step < warmup) return start + (lr - start) * (float)step / (float)warmup;
    if (step >= steps || steps <= warmup) return min;
    double t = (double)(step - warmup) / (double)(steps - warmup);
    return (float)((double)min + 0.5 * ((double)lr - (double)min) * (1 + cos(3.14159265358979323846 * t)));
}

static void fv__ema_job(void *arg, int job, int worker) {
    const fv__sweep *s = (const fv__sweep *)arg;
    int64_t from, n;
    int i = fv__sweep_at(s->params, job, &from, &n);
    (void)worker;
    if (i < 0) return;
    float *a = (float *)s->average->at[i]->data + from;
    const float *w = (const float *)s->params->at[i]->data + from;
    for (int64_t k = 0; k < n; k++) a[k] = s->decay * a[k] + (1 - s->decay) * w[k];
}
FV_DEF void fv_ema(fv_ctx *c, fv_params *average, const fv_params *params, float decay) {
    fv__sweep s;
    if (c->status) return;
#ifdef FROZENVIS_CUDA
    if (c->device) {
        fv__cu_ema(c, average, params, decay);
        return;
    }
#endif
    memset(&s, 0, sizeof s);
    s.params = params, s.average = average, s.decay = decay;
    fv_parallel(c, fv__sweep_jobs(params), fv__ema_job, &s);
}

/* ======================================================================================================
 * >>json (implementation)
 * ====================================================================================================== */
/* ---- names that come twice, found in linear time whatever they are ---- */
/* A name's hash and where the name is. */
typedef struct fv__hashed {
    uint64_t hash, at;
} fv__hashed;
/* Names by number: the at-th string from base on, or the string that the at-th struct of `stride` bytes
 * begins with. */
typedef struct fv__names {
    const char *base;
    size_t stride;
} fv__names;
static const char *fv__name_at(const fv__names *n, uint64_t at) {
    const char *p = n->base + (size_t)at * (n->stride ? n->stride : 1), *name;
    if (!n->stride) return p;
    memcpy(&name, p, sizeof name);
    return name;
}
/* FNV-1a, its bits mixed: the first byte of the hash is sorted by first */
static uint64_t fv__hash_name(const char *s) {
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++) h = (h ^ (uint8_t)*s) * 0x100000001b3u;
    h ^= h >> 32;
    return h * 0x9e3779b97f4a7c15u;
}

/* By hash, in place, a byte a level from the top ("American flag" sort): linear, and no memory of its own. */
static void fv__sort_hashes(fv__hashed *a, size_t n, int shift) {
    size_t start[257] = {0}, next[256];
    if (n < 32 || shift < 0) {
        for (size_t i = 1, k; i < n; i++) {
            fv__hashed x = a[i];
            for (k = i; k && a[k - 1].hash > x.hash; k--) a[k] = a[k - 1];
            a[k] = x;
        }
        return;
    }
    for (size_t i = 0; i < n; i++) start[(a[i].hash >> shift & 255) + 1]++;
    for (int b = 0; b < 256; b++) next[b] = start[b], start[b + 1] += start[b];
    for (int b = 0; b < 256; b++)
        while (next[b] < start[b + 1]) {
            fv__hashed x = a[next[b]];
            size_t to = (size_t)(x.hash >> shift & 255);
            /* one comes to where it belongs, another comes here */
            a[next[b]] = a[next[to]], a[next[to]++] = x;
        }
    for (int b = 0; b < 256; b++)
        if (start[b + 1] - start[b] > 1) fv__sort_hashes(a + start[b], start[b + 1] - start[b], shift - 8);
}

/* By text, for names of one hash: heap sort, n log n for any input, since such names may have been chosen by
 * an enemy. */
static void fv__sort_names(fv__hashed *a, size_t n, const fv__names *names) {
    for (size_t end = n, from = n / 2; end > 1;) {
        if (from) from--;
        else {
            fv__hashed x = a[--end];
            a[end] = a[0], a[0] = x;
        }
        fv__hashed x = a[from];
        size_t at = from, child;
        while ((child = 2 * at + 1) < end) {
            if (child + 1 < end &&
                strcmp(fv__name_at(names, a[child].at), fv__name_at(names, a[child + 1].at)) < 0)
                child++;
            if (strcmp(fv__name_at(names, x.at), fv__name_at(names, a[child].at)) >= 0) break;
            a[at] = a[child], at = child;
        }
        a[at] = x;
    }
}

/* Sorts by hash; returns a name that comes twice, or NULL. */
static const char *fv__twin(fv__hashed *a, size_t n, const fv__names *names) {
    fv__sort_hashes(a, n, 56);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && a[end].hash == a[i].hash; end++) {}
        if (end - i > 1) fv__sort_names(a + i, end - i, names);
        for (size_t k = i + 1; k < end; k++)
            if (!strcmp(fv__name_at(names, a[k - 1].at), fv__name_at(names, a[k].at)))
                return fv__name_at(names, a[k].at);
    }
    return NULL;
}

/* ---- parsing. There is no tree: a document costs its own text, walked anew by each accessor, and while it
 * is read 16 bytes for each key of the objects that are open. In the copy of the text a string is a quote,
 * its unescaped bytes and one or more NULs (over the closing quote and what the escapes left free); the quote
 * before a key is FV__KEY. A node is the byte where a value, or a member's key, begins, + 1. ---- */
enum { FV__KEY = 1 };
struct fv_json {
    char *text;
    uint32_t size;
    const char *name;
};

typedef struct fv__jparser {
    fv_ctx *c;
    fv_json *j; /* NULL in the first pass, which only checks the grammar */
    const char *name;
    const uint8_t *s;
    size_t at, size;
    size_t open, most; /* keys of the objects that are open, and the most at any time */
    fv__hashed *key;
} fv__jparser;

static int fv__jfail(fv__jparser *p, const char *what) {
    fv_fail(p->c, FV_EFORMAT, "%s: not valid JSON at byte %zu: %s", p->name, p->at, what);
    return 0;
}
static void fv__jspace(fv__jparser *p) {
    while (p->at < p->size &&
           (p->s[p->at] == ' ' || p->s[p->at] == '\t' || p->s[p->at] == '\n' || p->s[p->at] == '\r'))
        p->at++;
}
/* bytes of a valid UTF-8 sequence at s, or 0 */
static int fv__utf8(const uint8_t *s, size_t left) {
    int n = s[0] < 0x80                   ? 1
            : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
            : (s[0] & 0xf0) == 0xe0       ? 3
            : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                          : 0;
    if (!n || (size_t)n > left) return 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (n == 3 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f))) return 0;
    if (n == 4 && ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))) return 0;
    return n;
}
static int fv__hex4(const uint8_t *s, size_t left, uint32_t *out) {
    *out = 0;
    for (int i = 0; i < 4; i++) {
        if ((size_t)i >= left) return 0;
        int ch = s[i], d = ch >= '0' && ch <= '9'                 ? ch - '0'
                           : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10
                                                                  : -1;
        if (d < 0) return 0;
        *out = *out * 16 + (uint32_t)d;
    }
    return 1;
}

/* an escape after its backslash; returns its length, 0 when wrong; the code point to *code */
static size_t fv__jescape(const uint8_t *s, size_t left, uint32_t *code) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *f = left && s[0] ? strchr(from, s[0]) : NULL;
    if (f) {
        *code = (uint32_t)to[f - from];
        return 1;
    }
    uint32_t low;
    if (left < 5 || s[0] != 'u' || !fv__hex4(s + 1, left - 1, code)) return 0;
    if (*code < 0xd800 || *code > 0xdfff) return 5;
    if (*code > 0xdbff || left < 11 || s[5] != '\\' || s[6] != 'u' || !fv__hex4(s + 7, left - 7, &low) ||
        low < 0xdc00 || low > 0xdfff)
        return 0;
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return 11;
}

/* a code point as UTF-8; returns past its end */
static char *fv__put_utf8(char *out, uint32_t code) {
    int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    *out++ = (char)(lead[more] | code >> (6 * more));
    while (more--) *out++ = (char)(0x80 | (code >> (6 * more) & 63));
    return out;
}

/* In the second pass the string is unescaped in place, and NULs fill what is left up to its closing quote. */
static int fv__jstring(fv__jparser *p) {
    char *out = p->j ? p->j->text + ++p->at : (++p->at, (char *)NULL);
    uint32_t code;
    while (p->at < p->size && p->s[p->at] != '"') {
        if (p->s[p->at] < 32) return fv__jfail(p, "a control character in a string");
        if (p->s[p->at] == '\\') {
            size_t k = fv__jescape(p->s + p->at + 1, p->size - p->at - 1, &code);
            if (!k) return fv__jfail(p, "a wrong escape");
            if (!code) return fv__jfail(p, "a NUL in a string");
            p->at += k + 1;
            if (out) out = fv__put_utf8(out, code);
            continue;
        }
        int k = fv__utf8(p->s + p->at, p->size - p->at);
        if (!k) return fv__jfail(p, "not UTF-8");
        for (int i = 0; out && i < k; i++) *out++ = (char)p->s[p->at + (size_t)i];
        p->at += (size_t)k;
    }
    if (p->at >= p->size) return fv__jfail(p, "a string without its end");
    if (out) memset(out, 0, (size_t)(p->j->text + p->at + 1 - out));
    p->at++;
    return 1;
}

static size_t fv__jdigits(const fv__jparser *p, size_t at) {
    while (at < p->size && p->s[at] >= '0' && p->s[at] <= '9') at++;
    return at;
}
static int fv__jnumber(fv__jparser *p) {
    size_t at = p->at, i = at + (p->s[at] == '-'), end = fv__jdigits(p, i);
    if (end == i || (p->s[i] == '0' && end > i + 1)) return fv__jfail(p, "a value is expected here");
    if (end < p->size && p->s[end] == '.') {
        size_t f = fv__jdigits(p, end + 1);
        if (f == end + 1) return fv__jfail(p, "digits are missing");
        end = f;
    }
    if (end < p->size && (p->s[end] | 32) == 'e') {
        size_t e = end + 1;
        if (e < p->size && (p->s[e] == '+' || p->s[e] == '-')) e++;
        end = fv__jdigits(p, e);
        if (end == e) return fv__jfail(p, "digits are missing");
    }
    p->at = end;
    return 1;
}

static int fv__jvalue(fv__jparser *p, int depth);

static int fv__jkey(fv__jparser *p) {
    size_t start = p->at;
    if (p->at >= p->size || p->s[p->at] != '"') return fv__jfail(p, "a key is expected here");
    if (!fv__jstring(p)) return 0;
    fv__jspace(p);
    if (p->at >= p->size || p->s[p->at] != ':') return fv__jfail(p, "a colon is expected here");
    p->at++;
    if (p->j) {
        fv__hashed *k = &p->key[p->open];
        p->j->text[start] = FV__KEY;
        k->hash = fv__hash_name(p->j->text + start + 1), k->at = start + 1;
    }
    p->open++;
    p->most = FV__MAX(p->most, p->open);
    return 1;
}

static int fv__jlist(fv__jparser *p, int depth, int object) {
    size_t first = p->open, count = 0;
    uint8_t end = object ? '}' : ']';
    if (depth >= 32) return fv__jfail(p, "more than 32 levels");
    p->at++;
    fv__jspace(p);
    for (; p->at < p->size && p->s[p->at] != end; count++) {
        if (count) {
            if (p->s[p->at] != ',') return fv__jfail(p, "a comma or an end is expected here");
            p->at++;
            fv__jspace(p);
        }
        if ((object && !fv__jkey(p)) || !fv__jvalue(p, depth + 1)) return 0;
        fv__jspace(p);
    }
    if (p->at >= p->size) return fv__jfail(p, "the end is missing");
    p->at++;
    if (object && p->j) {
        fv__names names = {p->j->text, 0};
        const char *twin = fv__twin(p->key + first, p->open - first, &names);
        if (twin)
            return fv_fail(p->c, FV_EFORMAT, "%s: not valid JSON: the key \"%.80s\" comes twice", p->name,
                           twin);
    }
    p->open = first;
    return 1;
}

static int fv__jvalue(fv__jparser *p, int depth) {
    static const char *const word[] = {"null", "false", "true"};
    fv__jspace(p);
    if (p->at >= p->size) return fv__jfail(p, "a value is missing");
    if (p->s[p->at] == '{' || p->s[p->at] == '[') return fv__jlist(p, depth, p->s[p->at] == '{');
    if (p->s[p->at] == '"') return fv__jstring(p);
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(word[i]);
        if (p->size - p->at >= n && !memcmp(p->s + p->at, word[i], n)) return p->at += n, 1;
    }
    return fv__jnumber(p);
}

FV_DEF fv_json *fv_json_parse(fv_ctx *c, const char *text, size_t size, const char *name) {
    fv__jparser p;
    memset(&p, 0, sizeof p);
    p.c = c, p.name = name, p.s = (const uint8_t *)text, p.size = size;
    if (c->status) return NULL;
    if (size > 0x7fffffff) return fv_fail(c, FV_EFORMAT, "%s: over 2 GiB of JSON", name), (fv_json *)NULL;
    if (!fv__jvalue(&p, 0)) return NULL;
    fv__jspace(&p);
    if (p.at != size) return fv__jfail(&p, "something follows the value"), (fv_json *)NULL;
    /* so many find room only if two of one object are empty */
    if (p.most * sizeof *p.key > 3 * size + (1 << 19))
        return fv_fail(c, FV_EFORMAT, "%s: not valid JSON: the key \"\" comes twice", name), (fv_json *)NULL;
    size_t names = strlen(name) + 1;
    fv_json *j = (fv_json *)fv__alloc_dirty(c, sizeof *j + names + size + 1);
    p.key = j ? (fv__hashed *)fv__alloc_dirty(c, (p.most + 1) * sizeof *p.key) : NULL;
    if (p.key) {
        memcpy(j + 1, name, names);
        j->name = (const char *)(j + 1);
        j->text = (char *)(j + 1) + names;
        j->size = (uint32_t)size;
        memcpy(j->text, text, size);
        j->text[size] = 0;
        p.j = j, p.at = p.open = 0;
        fv__jvalue(&p, 0);
    }
    fv_free(c, p.key);
    if (!c->status) return j;
    fv_json_free(c, j);
    return NULL;
}

FV_DEF fv_json *fv_json_open(fv_ctx *c, const char *path) {
    fv_file f;
    if (!fv_file_open(c, path, &f)) return NULL;
    fv_json *j = fv_json_parse(c, (const char *)f.data, f.size, path);
    fv_file_close(c, &f);
    return j;
}
FV_DEF void fv_json_free(fv_ctx *c, fv_json *j) { fv_free(c, j); }

/* ---- walking over a text that was checked ---- */
static uint32_t fv__jover_space(const fv_json *j, uint32_t at) {
    while (j->text[at] == ' ' || j->text[at] == '\t' || j->text[at] == '\n' || j->text[at] == '\r') at++;
    return at;
}
static uint32_t fv__jover_string(const fv_json *j, uint32_t at) { /* from its quote to past its last NUL */
    at += 1 + (uint32_t)strlen(j->text + at + 1);
    while (at < j->size && !j->text[at]) at++;
    return at;
}
static uint32_t fv__jover_value(const fv_json *j, uint32_t at) {
    int depth = 0;
    do {
        char ch = j->text[at];
        if (ch == '"' || ch == FV__KEY) at = fv__jover_string(j, at);
        else if (ch == '{' || ch == '[') depth++, at++;
        else if (ch == '}' || ch == ']') depth--, at++;
        else if (depth) at++;
        else
            while (at < j->size && !strchr(",]} \t\r\n", j->text[at])) at++;
    } while (depth);
    return at;
}
/* where the value of a node begins: past the key of a member */
static uint32_t fv__jvalue_of(const fv_json *j, fv_jnode n) {
    uint32_t at = n - 1;
    if (j->text[at] != FV__KEY) return at;
    at = fv__jover_space(j, fv__jover_string(j, at));
    return fv__jover_space(j, at + 1); /* the colon */
}

FV_DEF fv_jnode fv_json_root(const fv_json *j) { return j ? fv__jover_space(j, 0) + 1 : 0; }
FV_DEF fv_json_kind fv_json_type(const fv_json *j, fv_jnode n) {
    if (!j || !n) return FV_JSON_ABSENT;
    switch (j->text[fv__jvalue_of(j, n)]) {
    case '{': return FV_JSON_OBJECT;
    case '[': return FV_JSON_ARRAY;
    case '"': return FV_JSON_STRING;
    case 'n': return FV_JSON_NULL;
    case 'f': return FV_JSON_FALSE;
    case 't': return FV_JSON_TRUE;
    default: return FV_JSON_NUMBER;
    }
}
FV_DEF fv_jnode fv_json_first(const fv_json *j, fv_jnode n) {
    fv_json_kind kind = fv_json_type(j, n);
    if (kind != FV_JSON_OBJECT && kind != FV_JSON_ARRAY) return 0;
    uint32_t at = fv__jover_space(j, fv__jvalue_of(j, n) + 1);
    return j->text[at] == '}' || j->text[at] == ']' ? 0 : at + 1;
}
FV_DEF fv_jnode fv_json_next(const fv_json *j, fv_jnode n) {
    if (!j || !n) return 0;
    uint32_t at = fv__jover_space(j, fv__jover_value(j, fv__jvalue_of(j, n)));
    return j->text[at] == ',' ? fv__jover_space(j, at + 1) + 1 : 0;
}
FV_DEF int fv_json_count(const fv_json *j, fv_jnode n) {
    int count = 0;
    for (n = fv_json_first(j, n); n; n = fv_json_next(j, n)) count++;
    return count;
}
FV_DEF fv_jnode fv_json_at(const fv_json *j, fv_jnode n, int i) {
    for (n = fv_json_first(j, n); n && i > 0; i--) n = fv_json_next(j, n);
    return i < 0 ? 0 : n;
}
FV_DEF const char *fv_json_key(const fv_json *j, fv_jnode n) {
    return j && n && j->text[n - 1] == FV__KEY ? j->text + n : "";
}
FV_DEF fv_jnode fv_json_get(const fv_json *j, fv_jnode n, const char *key) {
    if (fv_json_type(j, n) != FV_JSON_OBJECT) return 0;
    for (n = fv_json_first(j, n); n; n = fv_json_next(j, n))
        if (!strcmp(fv_json_key(j, n), key)) return n;
    return 0;
}
FV_DEF const char *fv_json_string(const fv_json *j, fv_jnode n, const char *otherwise) {
    return fv_json_type(j, n) == FV_JSON_STRING ? j->text + fv__jvalue_of(j, n) + 1 : otherwise;
}
/* strtod in the C locale whatever the caller's is: the point is the only character that differs */
static double fv__strtod(const char *s) {
    char t[64];
    size_t n = strspn(s, "+-0123456789.eE");
    char probe[8], *point;
    snprintf(probe, sizeof probe, "%.1f", 0.5);
    n = FV__MIN(n, sizeof t - 1);
    memcpy(t, s, n);
    t[n] = 0;
    point = strchr(t, '.');
    if (point) *point = probe[1];
    return strtod(t, NULL);
}
FV_DEF double fv_json_number(const fv_json *j, fv_jnode n, double otherwise) {
    return fv_json_type(j, n) == FV_JSON_NUMBER ? fv__strtod(j->text + fv__jvalue_of(j, n)) : otherwise;
}
FV_DEF int64_t fv_json_int(const fv_json *j, fv_jnode n, int64_t otherwise) {
    if (fv_json_type(j, n) != FV_JSON_NUMBER) return otherwise;
    const char *s = j->text + fv__jvalue_of(j, n);
    size_t k = strspn(s, "-0123456789");
    if (s[k] != '.' && (s[k] | 32) != 'e') return strtoll(s, NULL, 10);
    double v = fv__strtod(s);
    return v > -9e18 && v < 9e18 ? (int64_t)v : otherwise;
}
FV_DEF int fv_json_bool(const fv_json *j, fv_jnode n, int otherwise) {
    fv_json_kind k = fv_json_type(j, n);
    return k == FV_JSON_TRUE ? 1 : k == FV_JSON_FALSE ? 0 : otherwise;
}

FV_DEF int fv_text_add(fv_ctx *c, fv_text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (c->status || n < 0) return 0;
    if (t->size + (size_t)n + 1 > t->capacity) {
        size_t more = 2 * t->capacity + (size_t)n + 256;
        char *p = (char *)fv__alloc_dirty(c, more);
        if (!p) return 0;
        if (t->size) memcpy(p, t->data, t->size);
        fv_free(c, t->data);
        t->data = p, t->capacity = more;
    }
    va_start(args, format);
    vsnprintf(t->data + t->size, t->capacity - t->size, format, args);
    va_end(args);
    t->size += (size_t)n;
    return 1;
}
FV_DEF int fv_text_json_string(fv_ctx *c, fv_text *t, const char *s) {
    fv_text_add(c, t, "\"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') fv_text_add(c, t, "\\%c", *s);
        else if ((unsigned char)*s < 32) fv_text_add(c, t, "\\u%04x", *s);
        else fv_text_add(c, t, "%c", *s);
    }
    return fv_text_add(c, t, "\"");
}
FV_DEF void fv_text_free(fv_ctx *c, fv_text *t) {
    fv_free(c, t->data);
    t->data = NULL, t->size = t->capacity = 0;
}

/* ======================================================================================================
 * >>safetensors (implementation)
 * ====================================================================================================== */
/* A key, and where its value is read when asked for: from a safetensors header (json) or a mapped GGUF file
 * (value: its type's byte; a string's copy follows the key's). */
typedef struct fv__meta_at {
    const char *key;
    const fv_json *json;
    const uint8_t *value;
} fv__meta_at;
struct fv_weights {
    char *path;
    fv_entry *entry;
    fv__hashed *index; /* by hash of the name; at: which entry */
    fv__meta_at *meta;
    int count, capacity, metas, meta_capacity, gguf, files;
    fv_file file[256];
    fv_json *json[256]; /* a shard's header: names and strings live in it */
    char *strings;      /* GGUF: NUL-terminated copies of keys, string values and names */
};

static const struct {
    const char *name;
    int block, bytes;
} fv__dtypes[] = {{"other", 1, 0},
#define FV__DTYPE_ROW(name, block, bytes) {#name, block, bytes},
                  FV_DTYPE_LIST(FV__DTYPE_ROW)
#undef FV__DTYPE_ROW
};
FV_DEF const char *fv_dtype_name(fv_dtype d) { return (unsigned)d < FV_D_COUNT ? fv__dtypes[d].name : "?"; }
FV_DEF const char *fv_entry_dtype(const fv_entry *e) {
    static const struct {
        int number;
        const char *name;
    } other[] = {/* of ggml, only inspected */
                 {9, "Q8_1"},     {10, "Q2_K"},   {11, "Q3_K"},    {15, "Q8_K"},
                 {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"},
                 {20, "IQ4_NL"},  {21, "IQ3_S"},  {22, "IQ2_S"},   {23, "IQ4_XS"},
                 {29, "IQ1_M"},   {34, "TQ1_0"},  {35, "TQ2_0"},   {39, "MXFP4"}};
    for (int i = 0; e->dtype == FV_D_OTHER && i < FV__COUNT(other); i++)
        if (other[i].number == e->ggml_type) return other[i].name;
    return fv_dtype_name(e->dtype);
}

/* Room for n more, exactly: doubling would cost twice the memory. */
static void *fv__make_room(fv_ctx *c, void *p, int count, int64_t n, int *capacity, size_t size) {
    int64_t most = count + n;
    if (most > INT32_MAX) return fv_fail(c, FV_EFORMAT, "over 2^31 tensors or keys"), (void *)NULL;
    void *q = fv__alloc_dirty(c, (size_t)FV__MAX(most, 1) * size);
    if (!q) return NULL;
    if (count) memcpy(q, p, (size_t)count * size);
    fv_free(c, p);
    *capacity = (int)most;
    return q;
}
static int fv__weights_room(fv_ctx *c, fv_weights *w, int64_t entries, int64_t metas) {
    void *e = fv__make_room(c, w->entry, w->count, entries, &w->capacity, sizeof *w->entry);
    if (e) w->entry = (fv_entry *)e;
    void *m = e ? fv__make_room(c, w->meta, w->metas, metas, &w->meta_capacity, sizeof *w->meta) : NULL;
    if (m) w->meta = (fv__meta_at *)m;
    return m != NULL;
}

/* The names in order of their hashes, for fv_weights_find; a name that comes twice is refused. */
static int fv__weights_index(fv_ctx *c, fv_weights *w) {
    fv__names names = {(const char *)w->entry, sizeof *w->entry};
    w->index = (fv__hashed *)fv__alloc_dirty(c, ((size_t)w->count + 1) * sizeof *w->index);
    if (!w->index) return 0;
    for (int i = 0; i < w->count; i++)
        w->index[i].hash = fv__hash_name(w->entry[i].name), w->index[i].at = (uint64_t)i;
    const char *twin = fv__twin(w->index, (size_t)w->count, &names);
    return !twin || fv_fail(c, FV_EFORMAT, "%s: the tensor \"%.100s\" comes twice", w->path, twin);
}
FV_DEF const fv_entry *fv_weights_find(const fv_weights *w, const char *name) {
    if (!w || !w->index) return NULL;
    uint64_t h = fv__hash_name(name);
    int from = 0, to = w->count;
    while (from < to) { /* the first of this hash or a greater one */
        int mid = from + (to - from) / 2;
        if (w->index[mid].hash < h) from = mid + 1;
        else to = mid;
    }
    for (; from < w->count && w->index[from].hash == h; from++)
        if (!strcmp(w->entry[w->index[from].at].name, name)) return &w->entry[w->index[from].at];
    return NULL;
}
FV_DEF int fv_weights_count(const fv_weights *w) { return w ? w->count : 0; }
FV_DEF const fv_entry *fv_weights_at(const fv_weights *w, int i) {
    return w && i >= 0 && i < w->count ? &w->entry[i] : NULL;
}
FV_DEF const char *fv_weights_path(const fv_weights *w) { return w->path; }
FV_DEF int fv_weights_is_gguf(const fv_weights *w) { return w && w->gguf; }
FV_DEF int fv_weights_meta_count(const fv_weights *w) { return w ? w->metas : 0; }

/* Room was made for it: see fv__weights_room. */
static fv_entry *fv__weights_add(fv_weights *w) {
    fv_entry *e = &w->entry[w->count++];
    FV_ASSERT(w->count <= w->capacity);
    memset(e, 0, sizeof *e);
    return e;
}
static fv__meta_at *fv__weights_add_meta(fv_weights *w) {
    fv__meta_at *m = &w->meta[w->metas++];
    FV_ASSERT(w->metas <= w->meta_capacity);
    memset(m, 0, sizeof *m);
    return m;
}

/* elements of e's dims, each product checked, also beside a zero; -1 on overflow */
static int64_t fv__dims_count(const fv_entry *e) {
    int64_t n = 1;
    int zero = 0;
    for (int i = 0; i < e->rank; i++) {
        if (!e->dim[i]) zero = 1;
        else if (e->dim[i] < 0 || n > INT64_MAX / 64 / e->dim[i]) return -1;
        else n *= e->dim[i];
    }
    return zero ? 0 : n;
}

static int fv__st_bad(fv_ctx *c, const fv_weights *w, const char *name, const char *what) {
    return fv_fail(c, FV_EFORMAT, "%s: tensor \"%.100s\": %s", w->path, name, what);
}

/* a whole number of at most 2^53, written in digits alone; -1 otherwise */
static int64_t fv__st_whole(const fv_json *j, fv_jnode n) {
    if (fv_json_type(j, n) != FV_JSON_NUMBER) return -1;
    const char *s = j->text + fv__jvalue_of(j, n);
    size_t k = strspn(s, "0123456789");
    if (!k || k > 16 || s[k] == '.' || (s[k] | 32) == 'e') return -1;
    int64_t v = fv_json_int(j, n, -1);
    return v <= (int64_t)1 << 53 ? v : -1;
}

static int fv__st_entry(fv_ctx *c, fv_weights *w, const fv_json *j, fv_jnode n, uint64_t base,
                        uint64_t size) {
    const char *name = fv_json_key(j, n);
    fv_jnode dtype = fv_json_get(j, n, "dtype"), shape = fv_json_get(j, n, "shape"),
             at = fv_json_get(j, n, "data_offsets");
    if (!*name) return fv__st_bad(c, w, name, "an empty name");
    if (fv_json_type(j, n) != FV_JSON_OBJECT || fv_json_count(j, n) != 3 ||
        fv_json_type(j, dtype) != FV_JSON_STRING || fv_json_type(j, shape) != FV_JSON_ARRAY ||
        fv_json_type(j, at) != FV_JSON_ARRAY || fv_json_count(j, at) != 2)
        return fv__st_bad(c, w, name, "its entry is not {dtype, shape, data_offsets}");
    if (fv_json_count(j, shape) > FV_MAX_RANK) return fv__st_bad(c, w, name, "more than 8 dimensions");
    fv_entry *e = fv__weights_add(w);
    e->name = name, e->file = (uint8_t)(w->files - 1);
    for (fv_jnode d = fv_json_first(j, shape); d; d = fv_json_next(j, d))
        if ((e->dim[e->rank++] = fv__st_whole(j, d)) < 0)
            return fv__st_bad(c, w, name, "a dimension is not a whole number");
    for (int i = FV_D_F32; i <= FV_D_F8_E5M2; i++)
        if (!strcmp(fv__dtypes[i].name, fv_json_string(j, dtype, ""))) e->dtype = (fv_dtype)i;
    if (!e->dtype) return fv__st_bad(c, w, name, "an unknown dtype");
    int64_t from = fv__st_whole(j, fv_json_at(j, at, 0)), to = fv__st_whole(j, fv_json_at(j, at, 1));
    e->count = fv__dims_count(e);
    if (e->count < 0) return fv__st_bad(c, w, name, "its dimensions overflow");
    if (from < 0 || to < from || (uint64_t)to > size)
        return fv__st_bad(c, w, name, "its data lies outside the file");
    e->bytes = (uint64_t)(to - from);
    if (e->bytes != (uint64_t)e->count * (uint64_t)fv__dtypes[e->dtype].bytes)
        return fv__st_bad(c, w, name, "its data_offsets do not fit its shape and dtype");
    e->offset = base + (uint64_t)from;
    e->data = w->file[e->file].data + e->offset;
    return 1;
}

/* exact: the tensors from `first` on must cover [base, end) without a hole; always: without an overlap */
static int fv__weights_cover(fv_ctx *c, const fv_weights *w, int first, uint64_t base, uint64_t end,
                             int exact) {
    int n = w->count - first;
    fv__hashed *e = (fv__hashed *)fv__alloc_dirty(c, ((size_t)n + 1) * sizeof *e);
    size_t used = 0;
    if (!e) return 0;
    for (int i = 0; i < n; i++) /* the empty ones hide nothing */
        if (w->entry[first + i].bytes)
            e[used].hash = w->entry[first + i].offset, e[used++].at = (uint64_t)(first + i);
    fv__sort_hashes(e, used, 56); /* the "hash" is the offset */
    for (size_t i = 0; i < used && !c->status; i++) {
        const fv_entry *x = &w->entry[e[i].at];
        if (x->offset < base) fv__st_bad(c, w, x->name, "its data overlaps another tensor's");
        else if (exact && x->offset > base)
            fv__st_bad(c, w, x->name, "there is a hole in the data before it");
        base = x->offset + x->bytes;
    }
    fv_free(c, e);
    if (exact && base != end && !c->status)
        fv_fail(c, FV_EFORMAT, "%s: %llu bytes at its end belong to no tensor", w->path,
                (unsigned long long)(end - base));
    return !c->status;
}

/* What a file whose first 8 bytes announce no header is, where that can be told. */
static int fv__foreign(fv_ctx *c, const char *path, const fv_file *f) {
    const char *s = (const char *)f->data, *end = s + f->size;
    if (f->size >= 3 && !memcmp(s, "\xef\xbb\xbf", 3))
        s += 3; /* a page may begin with a byte order mark, and with space */
    while (s < end && (*s == ' ' || *s == '\t' || *s == '\n' || *s == '\r')) s++;
    size_t n = (size_t)(end - s);
    if (n >= 7 && !memcmp(s, "version", 7))
        return fv_fail(c, FV_EFORMAT, "%s: this is a git-lfs pointer, not the file itself: run git lfs pull",
                       path);
    if (n >= 4 && (!memcmp(s, "PK\3\4", 4) || (s[0] == '\x80' && s[1] < 6)))
        return fv_fail(c, FV_EFORMAT, "%s: this is a PyTorch pickle, not safetensors: convert it in Python",
                       path);
    if (n >= 2 && s[0] == '<' && (s[1] == '!' || s[1] == '?' || ((s[1] | 32) >= 'a' && (s[1] | 32) <= 'z')))
        return fv_fail(c, FV_EFORMAT, "%s: this is an HTML page, not the file itself: download it again",
                       path);
    return 0;
}

static int fv__st_meta(fv_ctx *c, fv_weights *w, const fv_json *j, fv_jnode n) {
    for (fv_jnode v = fv_json_first(j, n); v; v = fv_json_next(j, v)) {
        if (fv_json_type(j, v) != FV_JSON_STRING)
            return fv_fail(c, FV_EFORMAT, "%s: __metadata__ is not a map of strings", w->path);
        fv__meta_at *m = fv__weights_add_meta(w);
        m->key = fv_json_key(j, v), m->json = j;
    }
    return 1;
}

/* the header's JSON of a file, whose first 8 bytes are its length */
static fv_json *fv__st_header(fv_ctx *c, const fv_file *f, const char *path, uint64_t *length) {
    uint64_t n = 0;
    for (int i = 0; i < 8 && f->size >= 8; i++) n |= (uint64_t)f->data[i] << (8 * i);
    if ((f->size < 8 || n > 100000000) && f->size && (fv__foreign(c, path, f) || c->status)) return NULL;
    if (f->size < 8)
        return fv_fail(c, FV_EFORMAT, "%s: cut short: %zu bytes are no safetensors file", path, f->size),
               (fv_json *)NULL;
    if (n > 100000000)
        fv_fail(c, FV_EFORMAT, "%s: not safetensors: its first 8 bytes announce a header of %llu bytes", path,
                (unsigned long long)n);
    else if (n > f->size - 8)
        fv_fail(c, FV_EFORMAT, "%s: cut short: the header ends at byte %llu, the file at %zu", path,
                (unsigned long long)n + 8, f->size);
    else if (!n) fv_fail(c, FV_EFORMAT, "%s: not safetensors: no JSON at byte 8", path);
    *length = n;
    return fv_json_parse(c, (const char *)f->data + 8, (size_t)n, path);
}

/* the file w->file[files-1], already open */
static int fv__st_open(fv_ctx *c, fv_weights *w, const char *path) {
    const fv_file *f = &w->file[w->files - 1];
    uint64_t n = 0;
    int first = w->count;
    fv_json *j = w->json[w->files - 1] = fv__st_header(c, f, path, &n);
    if (!j) return 0;
    fv_jnode root = fv_json_root(j), meta = fv_json_get(j, root, "__metadata__");
    if (fv_json_type(j, root) != FV_JSON_OBJECT)
        return fv_fail(c, FV_EFORMAT, "%s: the header is not a JSON object", path);
    if (meta && fv_json_type(j, meta) != FV_JSON_OBJECT)
        return fv_fail(c, FV_EFORMAT, "%s: __metadata__ is not a map of strings", path);
    if (!fv__weights_room(c, w, fv_json_count(j, root) - (meta != 0), fv_json_count(j, meta)) ||
        !fv__st_meta(c, w, j, meta))
        return 0;
    for (fv_jnode v = fv_json_first(j, root); v; v = fv_json_next(j, v))
        if (v != meta && !fv__st_entry(c, w, j, v, n + 8, f->size - 8 - n)) return 0;
    return fv__weights_cover(c, w, first, n + 8, f->size, 1);
}

static int fv__weights_add_file(fv_ctx *c, fv_weights *w, const char *path) {
    if (w->files == FV__COUNT(w->file))
        return fv_fail(c, FV_EFORMAT, "%s: more than %d shards", w->path, FV__COUNT(w->file));
    if (!fv_file_open(c, path, &w->file[w->files])) return 0;
    w->files++;
    return 1;
}

/* ---- platform: where a link leads (POSIX) ---- */
/* Whether both lie in one folder, their links followed: a shard must not be a link to somewhere else. (In the
 * cache of the Hugging Face hub index and shards are all links, into one folder of blobs.) */
static int fv__same_folder(const char *index, const char *shard) {
    char *a = realpath(index, NULL), *b = realpath(shard, NULL),
         *slash = strrchr((char *)(uintptr_t)index, '/');
    char folder[4096];
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - index) + 1 : 2, slash ? index : "./");
    char *own = realpath(folder, NULL);
    char *end = b ? strrchr(b, '/') : NULL, *of = a ? strrchr(a, '/') : NULL;
    size_t n = end ? (size_t)(end - b) : 0;
    int same = end && of && own && ((size_t)(of - a) == n && !memcmp(a, b, n));
    same |= end && own && strlen(own) == n && !memcmp(own, b, n);
    same |= !b; /* it is not there: opening it says so */
    free(a);
    free(b);
    free(own);
    return same;
}

/* shards named in weight_map, each opened once, in the index's own folder */
static int fv__st_index(fv_ctx *c, fv_weights *w, const char *path, const fv_json *j) {
    fv_jnode map = fv_json_get(j, fv_json_root(j), "weight_map");
    const char *slash = strrchr(path, '/'), *opened[256];
    char full[4096];
    if (fv_json_type(j, map) != FV_JSON_OBJECT)
        return fv_fail(c, FV_EFORMAT, "%s: an index without a weight_map", path);
    for (fv_jnode v = fv_json_first(j, map); v; v = fv_json_next(j, v)) {
        const char *name = fv_json_string(j, v, NULL);
        if (!name || !*name || strchr(name, '/') || strchr(name, '\\') || !strcmp(name, "..") ||
            !strcmp(name, "."))
            return fv_fail(c, FV_EFORMAT, "%s: the shard of \"%.80s\" is not a file name in this folder",
                           path, fv_json_key(j, v));
        int known = 0; /* the index itself stands at 0; the last one opened is the likeliest */
        for (int i = w->files - 1; i > 0 && !known; i--) known = !strcmp(opened[i], name);
        if (known) continue;
        snprintf(full, sizeof full, "%.*s%s", slash ? (int)(slash - path) + 1 : 0, path, name);
        if (!fv__same_folder(path, full))
            return fv_fail(c, FV_EFORMAT, "%s: the shard %.80s leads out of this folder", path, name);
        if (!fv__weights_add_file(c, w, full)) return 0;
        opened[w->files - 1] = name;
        if (!fv__st_open(c, w, full)) return 0;
    }
    return 1;
}

static int fv__index_agrees(fv_ctx *c, const fv_weights *w, const char *path, const fv_json *j) {
    fv_jnode map = fv_json_get(j, fv_json_root(j), "weight_map");
    for (fv_jnode v = fv_json_first(j, map); v; v = fv_json_next(j, v))
        if (!fv_weights_find(w, fv_json_key(j, v)))
            return fv_fail(c, FV_EFORMAT, "%s: names \"%.100s\", which no shard holds", path,
                           fv_json_key(j, v));
    return 1;
}

FV_DEF void fv_weights_close(fv_ctx *c, fv_weights *w) {
    if (!w) return;
    for (int i = 0; i < w->files; i++) {
        fv_json_free(c, w->json[i]);
        fv_file_close(c, &w->file[i]);
    }
    fv_free(c, w->strings);
    fv_free(c, w->index);
    fv_free(c, w->entry);
    fv_free(c, w->meta);
    fv_free(c, w->path);
    fv_free(c, w);
}

static float fv__f16_to(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023, u;
    float f;
    if (e == 0) {
        f = (float)m * (1.0f / 16777216.0f);
        return sign ? -f : f;
    }
    u = sign | (e == 31 ? 0x7f800000u : (e + 112) << 23) | m << 13;
    memcpy(&f, &u, 4);
    return f;
}

static double fv__element(const fv_entry *e, int64_t i) {
    const uint8_t *p = e->data + (size_t)i * (size_t)fv__dtypes[e->dtype].bytes;
    union {
        float f;
        double d;
        uint16_t h;
        int8_t b;
        int16_t s;
        int32_t i;
        int64_t l;
        uint32_t u;
        uint64_t q;
    } v;
    memset(&v, 0, sizeof v);
    memcpy(&v, p, (size_t)fv__dtypes[e->dtype].bytes);
    switch (e->dtype) {
    case FV_D_F32: return (double)v.f;
    case FV_D_F64: return v.d;
    case FV_D_F16: return (double)fv__f16_to(v.h);
    case FV_D_BF16: return (double)fv__bf16_to(v.h);
    case FV_D_I8: return v.b;
    case FV_D_I16: return v.s;
    case FV_D_I32: return v.i;
    case FV_D_I64: return (double)v.l;
    case FV_D_U32: return v.u;
    case FV_D_U64: return (double)v.q;
    case FV_D_U16: return v.h;
    default: return p[0]; /* U8, BOOL */
    }
}

FV_DEF int fv_safetensors_write(fv_ctx *c, const char *path, const fv_save_entry *entries, int count,
                                const char *const *metadata) {
    fv_text t;
    fv_writer out;
    uint64_t at = 0;
    memset(&t, 0, sizeof t);
    fv_text_add(c, &t, "{");
    if (metadata) fv_text_add(c, &t, "\"__metadata__\":{");
    for (int i = 0; metadata && metadata[i]; i += 2) {
        if (i) fv_text_add(c, &t, ",");
        fv_text_json_string(c, &t, metadata[i]);
        fv_text_add(c, &t, ":");
        fv_text_json_string(c, &t, metadata[i + 1]);
    }
    if (metadata) fv_text_add(c, &t, count ? "}," : "}");
    for (int i = 0; i < count; i++) {
        const fv_save_entry *e = &entries[i];
        uint64_t n = (uint64_t)fv__dtypes[e->dtype].bytes;
        if (i) fv_text_add(c, &t, ",");
        fv_text_json_string(c, &t, e->name);
        fv_text_add(c, &t, ":{\"dtype\":\"%s\",\"shape\":[", fv_dtype_name(e->dtype));
        for (int d = 0; d < e->rank; d++) {
            fv_text_add(c, &t, "%s%lld", d ? "," : "", (long long)e->dim[d]);
            n *= (uint64_t)e->dim[d];
        }
        fv_text_add(c, &t, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
                    (unsigned long long)(at + n));
        at += n;
    }
    fv_text_add(c, &t, "}");
    while (t.size % 8 && !c->status) fv_text_add(c, &t, " ");
    uint8_t head[8];
    for (int i = 0; i < 8; i++) head[i] = (uint8_t)(t.size >> (8 * i));
    if (fv_writer_open(c, &out, path)) {
        fv_writer_put(c, &out, head, 8);
        fv_writer_put(c, &out, t.data, t.size);
        for (int i = 0; i < count; i++) {
            size_t n = (size_t)fv__dtypes[entries[i].dtype].bytes;
            for (int d = 0; d < entries[i].rank; d++) n *= (size_t)entries[i].dim[d];
            fv_writer_put(c, &out, entries[i].data, n);
        }
        fv_writer_commit(c, &out);
    }
    fv_text_free(c, &t);
    return !c->status;
}

/* ---- SHA-256 ---- */
static uint32_t fv__rotr(uint32_t x, int n) { return x >> n | x << (32 - n); }
/* the first 32 bits of the fractional parts of the square (cube) roots of the first primes, worked out when
 * needed */
static void fv__sha_constants(uint32_t k[64], uint32_t h[8]) {
    int n = 0;
    for (int p = 2; n < 64; p++) {
        int prime = 1;
        for (int d = 2; d * d <= p; d++) prime &= p % d != 0;
        if (!prime) continue;
        /* floor(2^32 cbrt(p)) by bisection: the cube against 2^96 p */
        uint64_t lo = 0, hi = (uint64_t)8 << 32;
        while (lo + 1 < hi) {
            uint64_t mid = (lo + hi) / 2;
            long double cube = (long double)mid * (long double)mid * (long double)mid;
            if (cube <= (long double)p * 79228162514264337593543950336.0L) lo = mid;
            else hi = mid;
        }
        k[n] = (uint32_t)lo;
        if (n < 8) h[n] = (uint32_t)(uint64_t)(sqrtl((long double)p) * 4294967296.0L);
        n++;
    }
}
static void fv__sha_block(fv_sha *s, const uint32_t k[64]) {
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)s->block[4 * i] << 24 | (uint32_t)s->block[4 * i + 1] << 16 |
               (uint32_t)s->block[4 * i + 2] << 8 | s->block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = fv__rotr(w[i - 15], 7) ^ fv__rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t b = fv__rotr(w[i - 2], 17) ^ fv__rotr(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + a + w[i - 7] + b;
    }
    memcpy(v, s->h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t e = v[4], a = v[0];
        uint32_t t1 = v[7] + (fv__rotr(e, 6) ^ fv__rotr(e, 11) ^ fv__rotr(e, 25)) +
                      ((e & v[5]) ^ (~e & v[6])) + k[i] + w[i];
        uint32_t t2 =
            (fv__rotr(a, 2) ^ fv__rotr(a, 13) ^ fv__rotr(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1, v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) s->h[i] += v[i];
}
FV_DEF void fv_sha_start(fv_sha *s) {
    uint32_t k[64];
    memset(s, 0, sizeof *s);
    fv__sha_constants(k, s->h);
}
FV_DEF void fv_sha_add(fv_sha *s, const void *data, size_t size) {
    const uint8_t *p = (const uint8_t *)data;
    uint32_t k[64], h[8];
    fv__sha_constants(k, h);
    while (size) {
        size_t at = (size_t)(s->bytes % 64), n = FV__MIN(size, 64 - at);
        memcpy(s->block + at, p, n);
        s->bytes += n, p += n, size -= n;
        if (at + n == 64) fv__sha_block(s, k);
    }
}
FV_DEF void fv_sha_end(fv_sha *s, uint8_t out[32]) {
    static const uint8_t pad[64] = {0x80};
    uint64_t bits = s->bytes * 8;
    uint8_t n[8];
    fv_sha_add(s, pad, (size_t)(1 + (119 - s->bytes % 64) % 64));
    for (int i = 0; i < 8; i++) n[i] = (uint8_t)(bits >> (56 - 8 * i));
    fv_sha_add(s, n, 8);
    for (int i = 0; i < 32; i++) out[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}
FV_DEF void fv_sha256(const void *data, size_t size, uint8_t out[32]) {
    fv_sha s;
    fv_sha_start(&s);
    fv_sha_add(&s, data, size);
    fv_sha_end(&s, out);
}

/* ======================================================================================================
 * >>gguf (implementation)
 * ====================================================================================================== */
/* A cursor over the file: each read checks what is left, and after a failure gives zeros. The first pass
 * checks everything and counts, w->strings being NULL; only then is memory asked for, and the second pass
 * fills it. */
typedef struct fv__gguf {
    fv_ctx *c;
    fv_weights *w;
    const uint8_t *s;
    size_t at, size, room;
    char *string;
} fv__gguf;

static uint64_t fv__gguf_bad(fv__gguf *g, const char *what) {
    fv_fail(g->c, FV_EFORMAT, "%s: not a valid GGUF file at byte %zu: %s", g->w->path, g->at, what);
    return 0;
}
static uint64_t fv__gguf_uint(fv__gguf *g, int bytes) {
    uint64_t v = 0;
    if (g->c->status) return 0;
    if (g->size - g->at < (size_t)bytes) return fv__gguf_bad(g, "cut short");
    for (int i = 0; i < bytes; i++) v |= (uint64_t)g->s[g->at + (size_t)i] << (8 * i);
    g->at += (size_t)bytes;
    return v;
}
/* a key, a string value or a name, copied with a NUL in the second pass; "" in the first */
static const char *fv__gguf_string(fv__gguf *g) {
    uint64_t n = fv__gguf_uint(g, 8);
    if (!g->c->status && n > g->size - g->at) fv__gguf_bad(g, "a string is longer than the file");
    else if (!g->c->status && n && memchr(g->s + g->at, 0, (size_t)n)) fv__gguf_bad(g, "a NUL in a string");
    if (g->c->status) return "";
    const uint8_t *from = g->s + g->at;
    g->at += (size_t)n;
    g->room += (size_t)n + 1;
    if (!g->string) return "";
    char *s = g->string;
    memcpy(s, from, (size_t)n);
    s[n] = 0;
    g->string += n + 1;
    return s;
}

static const uint8_t fv__gguf_sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
static uint64_t fv__little(const uint8_t *p, int bytes) {
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static double fv__gguf_number(const uint8_t *p, uint32_t type) {
    uint64_t u = fv__little(p, fv__gguf_sizes[type]);
    uint32_t low = (uint32_t)u;
    float f;
    double d;
    memcpy(&f, &low, 4);
    memcpy(&d, &u, 8);
    switch (type) {
    case 1: return (int8_t)u;
    case 3: return (int16_t)u;
    case 5: return (int32_t)low;
    case 6: return (double)f;
    case 11: return (double)(int64_t)u;
    case 12: return d;
    default: return (double)u;
    }
}

/* A value that was checked; p at its type. */
static void fv__gguf_value(const uint8_t *p, const char *string, fv_meta *m) {
    m->type = (uint32_t)fv__little(p, 4);
    if (m->type == 8) m->string = string;
    else if (m->type != 9) m->number = fv__gguf_number(p + 4, m->type), m->is_number = 1;
    else m->type = (uint32_t)fv__little(p + 4, 4), m->count = fv__little(p + 8, 8), m->data = p + 16;
}

FV_DEF int fv_weights_meta_at(const fv_weights *w, int i, fv_meta *m) {
    memset(m, 0, sizeof *m);
    if (!w || i < 0 || i >= w->metas) return 0;
    const fv__meta_at *at = &w->meta[i];
    m->key = at->key;
    if (at->json) m->string = fv_json_string(at->json, (fv_jnode)(at->key - at->json->text), "");
    else fv__gguf_value(at->value, at->key + strlen(at->key) + 1, m);
    return 1;
}
static int fv__weights_meta(const fv_weights *w, const char *key, fv_meta *m) {
    for (int i = 0; w && i < w->metas; i++)
        if (!strcmp(w->meta[i].key, key)) return fv_weights_meta_at(w, i, m);
    return 0;
}
FV_DEF const char *fv_weights_meta_string(const fv_weights *w, const char *key, const char *otherwise) {
    fv_meta m;
    return fv__weights_meta(w, key, &m) && m.string ? m.string : otherwise;
}
FV_DEF double fv_weights_meta_number(const fv_weights *w, const char *key, double otherwise) {
    fv_meta m;
    return fv__weights_meta(w, key, &m) && m.is_number ? m.number : otherwise;
}

static void fv__gguf_array(fv__gguf *g) {
    uint64_t type = fv__gguf_uint(g, 4), count = fv__gguf_uint(g, 8);
    if (g->c->status) return;
    if (type == 9) fv__gguf_bad(g, "nested arrays are not read here");
    else if (type > 12) fv__gguf_bad(g, "an unknown type of value");
    else if (type != 8) {
        if (count > (g->size - g->at) / fv__gguf_sizes[type])
            fv__gguf_bad(g, "an array is longer than the file");
        else g->at += (size_t)(count * fv__gguf_sizes[type]);
    } else if (count > (g->size - g->at) / 8) fv__gguf_bad(g, "an array is longer than the file");
    else
        for (uint64_t i = 0; i < count && !g->c->status; i++) {
            uint64_t n = fv__gguf_uint(g, 8);
            if (n > g->size - g->at) fv__gguf_bad(g, "a string is longer than the file");
            else g->at += (size_t)n;
        }
}

static void fv__gguf_meta(fv__gguf *g) {
    size_t start = g->at;
    const char *key = fv__gguf_string(g);
    if (!g->c->status && g->at == start + 8) fv__gguf_bad(g, "an empty key");
    const uint8_t *value = g->s + g->at;
    uint64_t type = fv__gguf_uint(g, 4);
    if (g->c->status) return;
    if (type == 8) fv__gguf_string(g);
    else if (type == 9) fv__gguf_array(g);
    else if (type > 12) fv__gguf_bad(g, "an unknown type of value");
    else if (fv__gguf_uint(g, fv__gguf_sizes[type]) > 1 && type == 7)
        fv__gguf_bad(g, "a bool that is neither 0 nor 1");
    if (g->c->status || !g->string) return;
    fv__meta_at *m = fv__weights_add_meta(g->w);
    m->key = key, m->value = value;
}

static fv_dtype fv__gguf_dtype(uint32_t t) {
    switch (t) {
    case 0: return FV_D_F32;
    case 1: return FV_D_F16;
    case 2: return FV_D_Q4_0;
    case 3: return FV_D_Q4_1;
    case 6: return FV_D_Q5_0;
    case 7: return FV_D_Q5_1;
    case 8: return FV_D_Q8_0;
    case 12: return FV_D_Q4_K;
    case 13: return FV_D_Q5_K;
    case 14: return FV_D_Q6_K;
    case 24: return FV_D_I8;
    case 25: return FV_D_I16;
    case 26: return FV_D_I32;
    case 27: return FV_D_I64;
    case 28: return FV_D_F64;
    case 30: return FV_D_BF16;
    default: return FV_D_OTHER;
    }
}

static void fv__gguf_tensor(fv__gguf *g) {
    fv_entry e;
    size_t start = g->at;
    memset(&e, 0, sizeof e);
    e.name = fv__gguf_string(g);
    if (!g->c->status && g->at == start + 8) fv__gguf_bad(g, "an empty name");
    uint64_t rank = fv__gguf_uint(g, 4);
    if (rank > 4) fv__gguf_bad(g, "a tensor of more than 4 dimensions");
    e.rank = g->c->status ? 0 : (uint8_t)rank;
    for (int i = e.rank - 1; i >= 0; i--) e.dim[i] = (int64_t)fv__gguf_uint(g, 8);
    uint32_t type = (uint32_t)fv__gguf_uint(g, 4);
    e.dtype = fv__gguf_dtype(type);
    e.ggml_type = (uint16_t)FV__MIN(type, 0xffffu);
    e.offset = fv__gguf_uint(g, 8);
    e.count = fv__dims_count(&e);
    if (g->c->status) return;
    int block = fv__dtypes[e.dtype].block;
    if (e.count < 0) fv__gguf_bad(g, "a tensor's dimensions overflow");
    else if (block > 1 && (!e.rank || e.dim[e.rank - 1] % block))
        fv__gguf_bad(g, "a quantised row is no whole number of blocks");
    else e.bytes = (uint64_t)(e.count / block) * (uint64_t)fv__dtypes[e.dtype].bytes;
    if (!g->c->status && g->string) *fv__weights_add(g->w) = e;
}

static int fv__gguf_unique_keys(fv_ctx *c, const fv_weights *w) {
    fv__names names = {(const char *)w->meta, sizeof *w->meta};
    fv__hashed *k = (fv__hashed *)fv__alloc_dirty(c, ((size_t)w->metas + 1) * sizeof *k);
    if (!k) return 0;
    for (int i = 0; i < w->metas; i++) k[i].hash = fv__hash_name(w->meta[i].key), k[i].at = (uint64_t)i;
    const char *twin = fv__twin(k, (size_t)w->metas, &names);
    fv_free(c, k);
    return !twin || fv_fail(c, FV_EFORMAT, "%s: the key \"%.100s\" comes twice", w->path, twin);
}

/* Where the data lies: base is the file's byte that offsets count from. */
static int fv__gguf_places(fv__gguf *g) {
    fv_ctx *c = g->c;
    fv_weights *w = g->w;
    fv_meta m;
    double align = 32;
    if (fv__weights_meta(w, "general.alignment", &m)) align = m.is_number ? m.number : 0;
    if (!(align >= 8 && align <= 1 << 20) || align > floor(align) || ((int64_t)align & ((int64_t)align - 1)))
        return (int)fv__gguf_bad(g, "general.alignment is not a power of two from 8 to 2^20");
    uint64_t base = FV__ROUND_UP((uint64_t)g->at, (uint64_t)align);
    for (int i = 0; i < w->count; i++) {
        fv_entry *e = &w->entry[i];
        if (e->offset % (uint64_t)align) return fv__st_bad(c, w, e->name, "its offset is not aligned");
        if (base > g->size || e->offset > g->size - base || e->bytes > g->size - base - e->offset)
            return fv__st_bad(c, w, e->name, "its data lies outside the file");
        e->offset += base;
        e->data = g->s + e->offset;
    }
    return fv__weights_cover(c, w, 0, base, g->size, 0);
}

static int fv__gguf_open(fv_ctx *c, fv_weights *w, const char *path) {
    fv__gguf g;
    memset(&g, 0, sizeof g);
    g.c = c, g.w = w, g.s = w->file[0].data, g.size = w->file[0].size, g.at = 4;
    w->gguf = 1;
    uint32_t version = (uint32_t)fv__gguf_uint(&g, 4);
    if (!c->status && version > 0xffff)
        return fv_fail(c, FV_EFORMAT, "%s: a big-endian GGUF file: convert it to little-endian", path);
    if (!c->status && version != 2 && version != 3)
        return fv_fail(c, FV_EFORMAT, "%s: GGUF version %u: 2 and 3 are read here", path, version);
    uint64_t tensors = fv__gguf_uint(&g, 8), metas = fv__gguf_uint(&g, 8);
    if (!c->status && (tensors > g.size / 24 || metas > g.size / 12))
        return (int)fv__gguf_bad(&g, "more tensors or keys than the file has room for");
    size_t start = g.at;
    for (int pass = 0; pass < 2 && !c->status; pass++) {
        g.at = start;
        uint64_t cost = tensors * (sizeof(fv_entry) + sizeof(fv__hashed)) +
                        metas * (sizeof(fv__meta_at) + sizeof(fv__hashed)) + g.room;
        /* a tensor with data has its 8 bytes in the file, and costs less */
        if (pass && cost > 4 * (uint64_t)g.size + (1 << 20))
            return (int)fv__gguf_bad(&g, "too many tensors without data");
        if (pass && (!fv__weights_room(c, w, (int64_t)tensors, (int64_t)metas) ||
                     !(g.string = w->strings = (char *)fv__alloc_dirty(c, g.room + 1))))
            return 0;
        for (uint64_t i = 0; i < metas && !c->status; i++) fv__gguf_meta(&g);
        for (uint64_t i = 0; i < tensors && !c->status; i++) fv__gguf_tensor(&g);
    }
    return !c->status && fv__gguf_unique_keys(c, w) && fv__gguf_places(&g);
}

/* ---- dequantisation: blocks of 32 (or 256) numbers with a scale d (and minimum m) each ---- */
static uint16_t fv__u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t fv__u32(const uint8_t *p) { return (uint32_t)fv__u16(p) | (uint32_t)fv__u16(p + 2) << 16; }

/* Q4_K, Q5_K: 8 scales and 8 minima of 6 bits in 12 bytes */
static void fv__scale_min(const uint8_t *q, int j, int *scale, int *min) {
    if (j < 4) *scale = q[j] & 63, *min = q[j + 4] & 63;
    else *scale = (q[j + 4] & 15) | (q[j - 4] >> 6) << 4, *min = q[j + 4] >> 4 | (q[j] >> 6) << 4;
}

static void fv__dequantise_32(fv_dtype d, const uint8_t *p, float *y) {
    float scale = fv__f16_to(fv__u16(p)), min = 0;
    int five = d == FV_D_Q5_0 || d == FV_D_Q5_1, with_min = d == FV_D_Q4_1 || d == FV_D_Q5_1;
    p += 2;
    if (d == FV_D_Q8_0) {
        for (int i = 0; i < 32; i++) y[i] = scale * (float)(int8_t)p[i];
        return;
    }
    if (with_min) min = fv__f16_to(fv__u16(p)), p += 2;
    uint32_t high = five ? fv__u32(p) : 0;
    if (five) p += 4;
    int offset = with_min ? 0 : five ? 16 : 8;
    for (int i = 0; i < 16; i++) {
        int lo = (p[i] & 15) | (int)(high >> i & 1) << 4, hi = p[i] >> 4 | (int)(high >> (i + 16) & 1) << 4;
        y[i] = scale * (float)(lo - offset) + min;
        y[i + 16] = scale * (float)(hi - offset) + min;
    }
}

static void fv__dequantise_k(fv_dtype d, const uint8_t *p, float *y) {
    float scale = fv__f16_to(fv__u16(p)), minimum = fv__f16_to(fv__u16(p + 2));
    const uint8_t *high = p + 16, *q = d == FV_D_Q5_K ? p + 48 : p + 16;
    for (int j = 0; j < 8; j++) {
        int s, m;
        fv__scale_min(p + 4, j, &s, &m);
        for (int i = 0; i < 32; i++) {
            int v = j & 1 ? q[j / 2 * 32 + i] >> 4 : q[j / 2 * 32 + i] & 15;
            if (d == FV_D_Q5_K) v |= (high[i] >> j & 1) << 4;
            y[j * 32 + i] = scale * (float)s * (float)v - minimum * (float)m;
        }
    }
}

/* Q6_K: 128 bytes of low nibbles, 64 of high pairs, 16 scales, d; in two halves of 128 numbers */
static void fv__dequantise_q6(const uint8_t *p, float *y) {
    float d = fv__f16_to(fv__u16(p + 208));
    for (int half = 0; half < 2; half++) {
        const uint8_t *lo = p + 64 * half, *hi = p + 128 + 32 * half;
        const int8_t *s = (const int8_t *)(p + 192 + 8 * half);
        for (int part = 0; part < 4; part++)
            for (int i = 0; i < 32; i++) {
                int nibble = part < 2 ? lo[i + 32 * (part & 1)] & 15 : lo[i + 32 * (part & 1)] >> 4;
                int v = nibble | (hi[i] >> (2 * part) & 3) << 4;
                y[128 * half + 32 * part + i] = d * (float)s[2 * part + i / 16] * (float)(v - 32);
            }
    }
}

static int fv__dequantise(fv_dtype d, const uint8_t *src, int64_t blocks, float *dst) {
    for (int64_t i = 0; i < blocks; i++, src += fv__dtypes[d].bytes, dst += fv__dtypes[d].block) {
        if (d <= FV_D_Q8_0) fv__dequantise_32(d, src, dst);
        else if (d == FV_D_Q6_K) fv__dequantise_q6(src, dst);
        else fv__dequantise_k(d, src, dst);
    }
    return 1;
}

FV_DEF int fv_entry_read(fv_ctx *c, const fv_weights *w, const fv_entry *e, fv_type to, void *dst) {
    if (c->status) return 0;
    if (!e->dtype || e->dtype == FV_D_F8_E4M3 || e->dtype == FV_D_F8_E5M2)
        return fv_fail(c, FV_EUNAVAILABLE, "%s: tensor \"%.100s\" is stored as %s, which is not read here",
                       w->path, e->name, fv_entry_dtype(e));
    if ((e->dtype == FV_D_F32 && to == FV_F32) || (e->dtype == FV_D_BF16 && to == FV_BF16) ||
        (e->dtype == FV_D_I64 && to == FV_I64)) {
        if (e->bytes) memcpy(dst, e->data, (size_t)e->bytes);
        return 1;
    }
    if (e->dtype < FV_D_Q4_0) {
        for (int64_t i = 0; i < e->count; i++) fv__set(dst, to, i, fv__element(e, i));
        return 1;
    }
    float some[256];
    int64_t block = fv__dtypes[e->dtype].block;
    for (int64_t i = 0; i < e->count; i += block) {
        fv__dequantise(e->dtype, e->data + (size_t)(i / block) * (size_t)fv__dtypes[e->dtype].bytes, 1, some);
        fv__convert((char *)dst + (size_t)i * fv_type_size(to), to, some, FV_F32, block);
    }
    return 1;
}

/* a folder's weights file, or the path itself */
static const char *fv__weights_file(const char *path, char *full, size_t size) {
    struct stat st;
    static const char *const name[] = {"model.safetensors", "model.safetensors.index.json"};
    if (stat(path, &st) || !S_ISDIR(st.st_mode)) return path;
    for (int i = 0; i < 2; i++) {
        snprintf(full, size, "%s/%s", path, name[i]);
        if (!stat(full, &st)) break;
    }
    return full;
}

FV_DEF fv_weights *fv_weights_open(fv_ctx *c, const char *given) {
    char full[4096];
    const char *path = fv__weights_file(given, full, sizeof full);
    fv_weights *w = (fv_weights *)fv_alloc(c, sizeof *w);
    if (!w) return NULL;
    w->path = fv__strdup(c, path);
    int ok = w->path && fv__weights_add_file(c, w, path);
    const fv_file *f = &w->file[0];
    if (ok && f->size >= 4 && !memcmp(f->data, "GGUF", 4))
        ok = fv__gguf_open(c, w, path) && fv__weights_index(c, w);
    else if (ok && f->size && f->data[0] == '{') {
        fv_json *j = fv_json_parse(c, (const char *)f->data, f->size, path);
        ok = j && fv__st_index(c, w, path, j) && fv__weights_index(c, w) && fv__index_agrees(c, w, path, j);
        fv_json_free(c, j);
    } else if (ok) ok = fv__st_open(c, w, path) && fv__weights_index(c, w);
    if (ok && !c->status) return w;
    fv_weights_close(c, w);
    return NULL;
}

/* ======================================================================================================
 * >>tokenizer (implementation)
 * ====================================================================================================== */
/* Unicode 14.0.0: gap, length, gap, length, ... of the code points that are letters (L*), and numbers (N*) */
static const uint16_t fv__letters[] = {
    65,   26,   6,    26,   47,    1,   10,  1,    4,     1,    5,    23,   1,    31,   1,    458,  4,
    12,   14,   5,    7,    1,     1,   1,   129,  5,     1,    2,    2,    4,    1,    1,    6,    1,
    1,    3,    1,    1,    1,     20,  1,   83,   1,     139,  8,    166,  1,    38,   2,    1,    6,
    41,   71,   27,   4,    4,     45,  43,  35,   2,     1,    99,   1,    1,    15,   2,    7,    2,
    10,   3,    2,    1,    16,    1,   1,   30,   29,    89,   11,   1,    24,   33,   9,    2,    4,
    1,    5,    22,   4,    1,     9,   1,   3,    1,     23,   25,   7,    11,   5,    24,   1,    6,
    17,   42,   58,   54,   3,     1,   18,  1,    7,     10,   15,   16,   4,    8,    2,    2,    2,
    22,   1,    7,    1,    1,     3,   4,   3,    1,     16,   1,    13,   2,    1,    3,    14,   2,
    10,   1,    8,    6,    4,     2,   2,   22,   1,     7,    1,    2,    1,    2,    1,    2,    31,
    4,    1,    1,    19,   3,     16,  9,   1,    3,     1,    22,   1,    7,    1,    2,    1,    5,
    3,    1,    18,   1,    15,    2,   23,  1,    11,    8,    2,    2,    2,    22,   1,    7,    1,
    2,    1,    5,    3,    1,     30,  2,   1,    3,     15,   1,    17,   1,    1,    6,    3,    3,
    1,    4,    3,    2,    1,     1,   1,   2,    3,     2,    3,    3,    3,    12,   22,   1,    52,
    8,    1,    3,    1,    23,    1,   16,  3,    1,     26,   3,    2,    1,    2,    2,    30,   1,
    4,    8,    1,    3,    1,     23,  1,   10,   1,     5,    3,    1,    31,   2,    1,    2,    15,
    2,    17,   9,    1,    3,     1,   41,  2,    1,     16,   1,    5,    3,    8,    3,    24,   6,
    5,    18,   3,    24,   1,     9,   1,   1,    2,     7,    58,   48,   1,    2,    12,   7,    58,
    2,    1,    1,    1,    5,     1,   24,  1,    1,     1,    10,   1,    2,    9,    1,    2,    5,
    1,    1,    21,   4,    32,    1,   63,  8,    1,     36,   27,   5,    115,  43,   20,   1,    16,
    6,    4,    4,    3,    1,     3,   2,   7,    3,     4,    13,   12,   1,    17,   38,   1,    1,
    5,    1,    2,    43,   1,     333, 1,   4,    2,     7,    1,    1,    1,    4,    2,    41,   1,
    4,    2,    33,   1,    4,     2,   7,   1,    1,     1,    4,    2,    15,   1,    57,   1,    4,
    2,    67,   37,   16,   16,    86,  2,   6,    3,     620,  2,    17,   1,    26,   5,    75,   6,
    8,    7,    18,   13,   19,    14,  18,  14,   13,    1,    3,    15,   52,   35,   1,    4,    1,
    67,   89,   7,    5,    2,     34,  1,   1,    5,     70,   10,   31,   49,   30,   2,    5,    11,
    44,   4,    26,   54,   23,    9,   53,  82,   1,     93,   47,   17,   8,    54,   30,   13,   2,
    10,   44,   26,   36,   41,    3,   10,  36,   2,     9,    7,    43,   2,    3,    41,   4,    1,
    6,    1,    2,    3,    1,     5,   192, 64,   278,   2,    6,    2,    38,   2,    6,    2,    8,
    1,    1,    1,    1,    1,     1,   1,   31,   2,     53,   1,    7,    1,    1,    3,    3,    1,
    7,    3,    4,    2,    6,     4,   13,  5,    3,     1,    7,    116,  1,    13,   1,    16,   13,
    101,  1,    4,    1,    2,     10,  1,   1,    3,     5,    6,    1,    1,    1,    1,    1,    1,
    4,    1,    11,   2,    4,     5,   5,   4,    1,     52,   2,    2683, 229,  6,    4,    3,    2,
    12,   38,   1,    1,    5,     1,   2,   56,   7,     1,    16,   23,   9,    7,    1,    7,    1,
    7,    1,    7,    1,    7,     1,   7,   1,    7,     1,    7,    80,   1,    469,  2,    42,   5,
    5,    2,    4,    86,   6,     3,   1,   90,   1,     4,    5,    43,   1,    94,   17,   32,   48,
    16,   512,  6592, 64,   22157, 67,  46,  2,    269,   3,    16,   10,   2,    20,   47,   16,   31,
    2,    70,   49,   9,    2,     103, 2,   64,   5,     2,    1,    1,    1,    5,    24,   16,   1,
    3,    1,    4,    1,    23,    29,  52,  14,   50,    62,   6,    3,    1,    1,    2,    11,   28,
    10,   23,   25,   29,   7,     47,  28,  1,    16,    5,    1,    10,   10,   5,    1,    41,   23,
    3,    1,    8,    20,   23,    3,   1,   3,    50,    1,    1,    3,    2,    2,    5,    2,    1,
    1,    1,    24,   3,    2,     11,  7,   3,    12,    6,    2,    6,    2,    6,    9,    7,    1,
    7,    1,    43,   1,    14,    6,   115, 29,   11172, 12,   23,   4,    49,   8452, 366,  2,    106,
    38,   7,    12,   5,    5,     1,   1,   10,   1,     13,   1,    5,    1,    1,    1,    2,    1,
    2,    1,    108,  33,   363,   18,  64,  2,    54,    40,   12,   116,  5,    1,    135,  36,   26,
    6,    26,   11,   89,   3,     6,   2,   6,    2,     6,    2,    3,    35,   12,   1,    26,   1,
    19,   1,    2,    1,    15,    2,   14,  34,   123,   389,  29,   3,    49,   47,   32,   13,   20,
    1,    8,    6,    38,   10,    30,  2,   36,   4,     8,    48,   158,  18,   36,   4,    36,   4,
    40,   8,    52,   12,   11,    1,   15,  1,    7,     1,    2,    1,    11,   1,    15,   1,    7,
    1,    2,    67,   311,  9,     22,  10,  8,    24,    6,    1,    42,   1,    9,    69,   6,    2,
    1,    1,    44,   1,    2,     3,   1,   2,    23,    10,   23,   9,    31,   65,   19,   1,    2,
    10,   22,   10,   26,   70,    56,  6,   2,    64,    1,    15,   4,    1,    3,    1,    29,   42,
    29,   3,    29,   35,   8,     1,   28,  27,   54,    10,   22,   10,   19,   13,   18,   110,  73,
    55,   51,   13,   51,   13,    36,  348, 42,   6,     2,    78,   29,   10,   1,    8,    22,   42,
    18,   46,   21,   27,   23,    12,  53,  57,   2,     2,    1,    13,   45,   32,   25,   26,   36,
    29,   1,    2,    1,    8,     35,  3,   1,    12,    48,   14,   4,    21,   1,    1,    1,    35,
    18,   1,    25,   84,   7,     1,   1,   1,    4,     1,    15,   1,    10,   7,    47,   38,   8,
    2,    2,    2,    22,   1,     7,   1,   2,    1,     5,    3,    1,    18,   1,    12,   5,    158,
    53,   18,   4,    20,   3,     30,  48,  20,   2,     1,    1,    184,  47,   41,   4,    36,   48,
    20,   1,    59,   43,   13,    1,   71,  27,   37,    7,    185,  44,   116,  64,   31,   8,    2,
    1,    2,    8,    1,    2,     1,   24,  15,   1,     1,    1,    94,   8,    2,    39,   16,   1,
    1,    1,    28,   1,    10,    40,  7,   1,    21,    1,    11,   46,   19,   1,    18,   73,   263,
    9,    1,    37,   17,   1,     49,  30,  112,  7,     1,    2,    1,    38,   21,   1,    25,   6,
    1,    2,    1,    32,   14,    1,   327, 19,   189,   1,    79,   922,  230,  196,  2636, 97,   15,
    1071, 4049, 583,  8633, 569,   7,   31,  17,   79,    17,   30,   18,   48,   16,   4,    31,   21,
    5,    19,   688,  64,   128,   75,  5,   1,    66,    13,   64,   2,    1,    1,    28,   6136, 8,
    1238, 42,   9,    8935, 4,     1,   7,   1,    2,     1,    291,  45,   3,    17,   4,    8,    396,
    2308, 107,  5,    13,   3,     9,   7,   10,   5990,  85,   1,    71,   1,    2,    2,    1,    2,
    2,    2,    4,    1,    12,    1,   1,   1,    7,     1,    65,   1,    4,    2,    8,    1,    7,
    1,    28,   1,    4,    1,     5,   1,   1,    3,     7,    1,    340,  2,    25,   1,    25,   1,
    31,   1,    25,   1,    31,    1,   25,  1,    31,    1,    25,   1,    31,   1,    25,   1,    8,
    1844, 31,   481,  45,   10,    7,   16,  1,    321,   30,   18,   44,   1268, 7,    1,    4,    1,
    2,    1,    15,   1,    197,   59,  68,  7,    1,     1204, 4,    1,    27,   1,    2,    1,    1,
    2,    1,    1,    10,   1,     4,   1,   1,    1,     1,    6,    1,    4,    1,    1,    1,    1,
    1,    1,    3,    1,    2,     1,   1,   2,    1,     1,    1,    1,    1,    1,    1,    1,    1,
    1,    2,    1,    1,    2,     4,   1,   7,    1,     4,    1,    4,    1,    1,    1,    10,   1,
    17,   5,    3,    1,    5,     1,   17,  4420, 42720, 32,   4153, 7,    222,  2,    5762, 14,   7473,
    3103, 542,  1506, 4939};
static const uint16_t fv__numerals[] = {
    48,    10, 120, 2,  5,    1,  2,    3,  1441, 10,  134,   10, 198,   10, 412,   10, 118, 10, 4,    6,
    108,   10, 118, 10, 118,  10, 2,    6,  110,  13,  115,   10, 8,     7,  103,   10, 104, 7,  7,    19,
    109,   10, 96,  10, 118,  10, 70,   20, 268,  10,  70,    10, 719,   20, 881,   3,  239, 10, 6,    10,
    22,    10, 300, 10, 128,  11, 165,  10, 6,    10,  182,   10, 86,    10, 134,   10, 6,   10, 1046, 1,
    3,     6,  6,   10, 198,  51, 2,    5,  726,  60,  78,    22, 630,   30, 1385,  1,  777, 1,  25,   9,
    14,    3,  343, 4,  138,  10, 30,   8,  1,    15,  32,    10, 39,    15, 29536, 10, 188, 10, 320,  6,
    154,   10, 38,  10, 198,  10, 22,   10, 86,   10,  406,   10, 21270, 10, 493,   45, 12,  57, 17,   2,
    341,   27, 36,  4,  29,   1,  8,    1,  134,  5,   202,   10, 942,   8,  25,    7,  39,  9,  75,   5,
    22,    6,  160, 2,  2,    16, 2,    46, 64,   9,   52,    2,  30,    3,  75,    5,  104, 8,  24,   8,
    41,    7,  330, 6,  48,   10, 294,  31, 158,  10,  42,    4,  112,   7,  134,   30, 128, 10, 60,   10,
    144,   10, 7,   20, 251,  10, 342,  10, 118,  10,  374,   10, 102,   10, 102,   12, 420, 19, 93,   10,
    758,   29, 227, 10, 70,   10, 534,  21, 1067, 111, 17905, 10, 86,    10, 134,   10, 1,   7,  798,  23,
    25673, 20, 108, 25, 1109, 50, 2368, 10, 422,  10,  1485,  9,  128,   10, 791,   59, 1,   3,  1,    4,
    76,    45, 1,   15, 962,  13, 2787, 10};
static int fv__in_ranges(const uint16_t *t, int n, uint32_t cp) {
    uint32_t at = 0;
    for (int i = 0; i < n; i += 2) {
        at += t[i];
        if (cp < at) return 0;
        at += t[i + 1];
        if (cp < at) return 1;
    }
    return 0;
}
enum { FV__OTHER, FV__LETTER, FV__NUMERAL, FV__BLANK };
static int fv__char_class(const fv_tokenizer *t, uint32_t cp) {
    if (cp < 128) return t->ascii[cp];
    if (cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 ||
        cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000)
        return FV__BLANK;
    if (fv__in_ranges(fv__letters, FV__COUNT(fv__letters), cp)) return FV__LETTER;
    return fv__in_ranges(fv__numerals, FV__COUNT(fv__numerals), cp) ? FV__NUMERAL : FV__OTHER;
}

/* the code point at s and its bytes; a byte that starts none is a character by itself, of no class */
static int fv__utf8_at(const char *s, size_t n, uint32_t *cp) {
    const uint8_t *p = (const uint8_t *)s;
    int more = p[0] < 0x80                   ? 0
               : p[0] >= 0xc2 && p[0] < 0xe0 ? 1
               : p[0] >= 0xe0 && p[0] < 0xf0 ? 2
               : p[0] >= 0xf0 && p[0] < 0xf5 ? 3
                                             : -1;
    *cp = more <= 0 ? p[0] : p[0] & (0x3fu >> more);
    if (more < 0 || (size_t)more >= n) return *cp = more ? 0xfffd : p[0], 1;
    for (int i = 1; i <= more; i++) {
        if ((p[i] & 0xc0) != 0x80) return *cp = 0xfffd, 1;
        *cp = *cp << 6 | (p[i] & 0x3f);
    }
    return more + 1;
}

/* How GPT-2 writes bytes as visible characters: most Latin-1 characters are themselves, the others start at
 * 256 */
static uint32_t fv__byte_char(int byte) {
    uint32_t next = 256;
    for (int b = 0; b < 256; b++) {
        int itself = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        if (b == byte) return itself ? (uint32_t)b : next;
        next += !itself;
    }
    return 0;
}

static uint64_t fv__hash_bytes(const char *s, size_t n) {
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)s[i]) * 1099511628211u;
    return h ^ h >> 29;
}
static int32_t fv__token_find(const fv_tokenizer *t, const char *s, size_t n) {
    for (uint64_t at = fv__hash_bytes(s, n) & t->mask;; at = (at + 1) & t->mask) {
        int32_t id = t->slot[at] - 1;
        if (id < 0) return -1;
        if (t->start[id + 1] - t->start[id] == n && !memcmp(t->bytes + t->start[id], s, n)) return id;
    }
}
static uint64_t fv__pair_hash(uint64_t key) { return (key ^ key >> 31) * 0x9e3779b97f4a7c15u >> 20; }
/* the merge of two tokens: its rank, and *id of what they become; -1: none */
static int32_t fv__merge_find(const fv_tokenizer *t, int32_t left, int32_t right, int32_t *id) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (uint64_t at = fv__pair_hash(key) & t->merge_mask;; at = (at + 1) & t->merge_mask) {
        const fv__merge *m = &t->merge[at];
        if (m->rank < 0) return -1;
        if (m->key == key) return *id = m->id, m->rank;
    }
}

/* GGUF's array of strings: each a length of 8 bytes, then the bytes. The reader of the file has checked
 * them. */
static const uint8_t *fv__next_string(const uint8_t *p, uint64_t *n) {
    memcpy(n, p, 8);
    return p + 8;
}
static int fv__meta_array(fv_ctx *c, const fv_weights *w, const char *key, uint32_t type, fv_meta *m) {
    for (int i = 0; i < fv_weights_meta_count(w); i++)
        if (fv_weights_meta_at(w, i, m) && !strcmp(m->key, key) && m->data && m->type == type) return 1;
    return fv_fail(c, FV_EUSAGE, "%s holds no tokenizer that we read: it has no array %s", fv_weights_path(w),
                   key);
}

/* a token as it is written -> its bytes; what is not written in bytes' characters is kept as it is */
static size_t fv__token_bytes(const fv_tokenizer *t, const char *s, size_t n, char *to) {
    size_t used = 0;
    for (size_t at = 0; at < n;) {
        uint32_t cp;
        int len = fv__utf8_at(s + at, n - at, &cp), byte = cp < 512 ? t->byte_of[cp] : -1;
        if (byte < 0) return memcpy(to, s, n), n;
        to[used++] = (char)byte, at += (size_t)len;
    }
    return used;
}

static int fv__tokens_load(fv_ctx *c, fv_tokenizer *t, const fv_weights *w, const fv_meta *m) {
    const uint8_t *p = m->data;
    uint64_t n, total = 0;
    for (uint64_t i = 0; i < m->count; i++) p = fv__next_string(p, &n) + n, total += n;
    t->count = (int32_t)m->count;
    for (t->mask = 1024; t->mask < 2 * m->count; t->mask *= 2)
        ;
    t->start = (size_t *)fv_alloc(c, (size_t)(m->count + 1) * sizeof *t->start),
    t->bytes = (char *)fv_alloc(c, (size_t)total + 1);
    t->slot = (int32_t *)fv_alloc(c, (size_t)t->mask-- * sizeof *t->slot);
    if (c->status) return 0;
    p = m->data;
    for (int32_t i = 0; i < t->count; i++, p += n) {
        p = fv__next_string(p, &n);
        size_t len = fv__token_bytes(t, (const char *)p, (size_t)n, t->bytes + t->start[i]);
        t->start[i + 1] = t->start[i] + len;
        /* the first of two that are written alike */
        if (fv__token_find(t, t->bytes + t->start[i], len) >= 0) continue;
        uint64_t at = fv__hash_bytes(t->bytes + t->start[i], len) & t->mask;
        while (t->slot[at]) at = (at + 1) & t->mask;
        t->slot[at] = i + 1;
    }
    for (int b = 0; b < 256; b++) {
        char one = (char)b;
        t->byte_id[b] = fv__token_find(t, &one, 1);
    }
    if (t->byte_id[(uint8_t)'e'] < 0)
        return fv_fail(c, FV_EUSAGE,
                       "%s: the tokenizer has no token for the byte \"e\": it is not byte-level",
                       fv_weights_path(w));
    return 1;
}

static int fv__merges_load(fv_ctx *c, fv_tokenizer *t, const fv_weights *w, const fv_meta *m) {
    const uint8_t *p = m->data;
    uint64_t n, longest = 0;
    for (uint64_t i = 0; i < m->count; i++) {
        p = fv__next_string(p, &n) + n;
        longest = FV__MAX(longest, n);
    }
    for (t->merge_mask = 1024; t->merge_mask < 2 * m->count; t->merge_mask *= 2)
        ;
    t->merge = (fv__merge *)fv_alloc(c, (size_t)t->merge_mask * sizeof *t->merge);
    char *both = (char *)fv_alloc(c, (size_t)longest + 1);
    if (c->status) return 0;
    for (uint64_t i = 0; i < t->merge_mask; i++) t->merge[i].rank = -1;
    t->merge_mask--;
    p = m->data;
    for (uint64_t i = 0; i < m->count; i++, p += n) {
        p = fv__next_string(p, &n);
        const char *s = (const char *)p, *space = n ? (const char *)memchr(s + 1, ' ', (size_t)n - 1) : NULL;
        if (!space)
            return fv_fail(c, FV_EFORMAT, "%s: tokenizer.ggml.merges[%llu] is no pair", fv_weights_path(w),
                           (unsigned long long)i);
        size_t left = fv__token_bytes(t, s, (size_t)(space - s), both),
               right = fv__token_bytes(t, space + 1, (size_t)(n - 1) - (size_t)(space - s), both + left);
        int32_t a = fv__token_find(t, both, left), b = fv__token_find(t, both + left, right),
                id = fv__token_find(t, both, left + right);
        if (a < 0 || b < 0 || id < 0)
            return fv_fail(c, FV_EFORMAT, "%s: tokenizer.ggml.merges[%llu] names a token that is not there",
                           fv_weights_path(w), (unsigned long long)i);
        uint64_t key = (uint64_t)(uint32_t)a << 32 | (uint32_t)b, at = fv__pair_hash(key) & t->merge_mask;
        while (t->merge[at].rank >= 0 && t->merge[at].key != key) at = (at + 1) & t->merge_mask;
        if (t->merge[at].rank < 0)
            t->merge[at].key = key, t->merge[at].id = id, t->merge[at].rank = (int32_t)i;
    }
    fv_free(c, both);
    return 1;
}

FV_DEF fv_tokenizer *fv_tokenizer_create(fv_ctx *c, const fv_weights *w) {
    if (c->status || !w) return NULL;
    fv_meta tokens, merges;
    if (!fv__meta_array(c, w, "tokenizer.ggml.tokens", 8, &tokens) ||
        !fv__meta_array(c, w, "tokenizer.ggml.merges", 8, &merges))
        return NULL;
    if (tokens.count > 1 << 24 || merges.count > 1 << 24 || !tokens.count) {
        fv_fail(c, FV_EFORMAT, "%s: a tokenizer of %llu tokens", fv_weights_path(w),
                (unsigned long long)tokens.count);
        return NULL;
    }
    fv_tokenizer *t = (fv_tokenizer *)fv_alloc(c, sizeof *t);
    if (!t) return NULL;
    for (int i = 0; i < 512; i++) t->byte_of[i] = -1;
    for (int b = 0; b < 256; b++) t->byte_of[fv__byte_char(b)] = (int16_t)b;
    for (int b = 0; b < 128; b++) {
        int letter = (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z'), digit = b >= '0' && b <= '9';
        t->ascii[b] = (uint8_t)(letter                            ? FV__LETTER
                                : digit                           ? FV__NUMERAL
                                : b == ' ' || (b >= 9 && b <= 13) ? FV__BLANK
                                                                  : FV__OTHER);
    }
    if (fv__tokens_load(c, t, w, &tokens) && fv__merges_load(c, t, w, &merges)) return t;
    fv_tokenizer_destroy(c, t);
    return NULL;
}
FV_DEF void fv_tokenizer_destroy(fv_ctx *c, fv_tokenizer *t) {
    if (!t) return;
    fv_free(c, t->start), fv_free(c, t->bytes), fv_free(c, t->slot), fv_free(c, t->merge), fv_free(c, t);
}
FV_DEF int fv_tokenizer_size(const fv_tokenizer *t) { return t ? t->count : 0; }

/* ---- the pattern: where the word that starts at s ends ---- */
static size_t fv__word_end(const fv_tokenizer *t, const char *s, size_t n) {
    static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    uint32_t cp;
    for (size_t i = 0; *s == '\'' && i < sizeof endings / sizeof *endings; i++)
        if (n >= strlen(endings[i]) && !memcmp(s, endings[i], strlen(endings[i]))) return strlen(endings[i]);
    size_t at = (size_t)fv__utf8_at(s, n, &cp), last = 0;
    int kind = fv__char_class(t, cp);
    if (kind == FV__NUMERAL) return at; /* each by itself, and none joins what is before it */
    if (kind == FV__BLANK) {
        size_t one = at;
        int after = FV__BLANK;
        while (at < n) {
            size_t len = (size_t)fv__utf8_at(s + at, n - at, &cp);
            if ((after = fv__char_class(t, cp)) != FV__BLANK) break;
            last = at, at += len;
        }
        if (at == n || after == FV__NUMERAL) return at;
        if (last) return last; /* all but the one before the next word */
        if (*s != ' ') return one;
        kind = after; /* a space joins the word after it */
    }
    while (at < n) {
        size_t len = (size_t)fv__utf8_at(s + at, n - at, &cp);
        if (fv__char_class(t, cp) != kind) break;
        at += len;
    }
    return at;
}

/* ---- byte pairs: the neighbours of the lowest rank become one, until none are a pair; a heap keeps a long
 * word from costing n*n ---- */
typedef struct fv__bpe {
    int32_t *id, *next, *before;
    fv__candidate *heap;
    int64_t size;
} fv__bpe;

static int fv__sooner(const fv__candidate *a, const fv__candidate *b) {
    return a->rank < b->rank || (a->rank == b->rank && a->at < b->at);
}
static void fv__candidate_add(const fv_tokenizer *t, fv__bpe *b, int32_t at) {
    fv__candidate one;
    int32_t right = at < 0 ? -1 : b->next[at];
    if (right < 0 || (one.rank = fv__merge_find(t, b->id[at], b->id[right], &one.id)) < 0) return;
    one.at = at, one.left = b->id[at], one.right = b->id[right];
    int64_t i = b->size++;
    for (; i && fv__sooner(&one, &b->heap[(i - 1) / 2]); i = (i - 1) / 2) b->heap[i] = b->heap[(i - 1) / 2];
    b->heap[i] = one;
}
static fv__candidate fv__candidate_take(fv__bpe *b) {
    fv__candidate top = b->heap[0], one = b->heap[--b->size];
    int64_t i = 0;
    for (int64_t child; (child = 2 * i + 1) < b->size; i = child) {
        if (child + 1 < b->size && fv__sooner(&b->heap[child + 1], &b->heap[child])) child++;
        if (!fv__sooner(&b->heap[child], &one)) break;
        b->heap[i] = b->heap[child];
    }
    b->heap[i] = one;
    return top;
}

static int fv__bpe_word(const fv_tokenizer *t, fv__bpe *b, const char *s, int32_t n) {
    int32_t used = 0;
    b->size = 0;
    /* a byte that has no token is left out, as the reference tokenizer does */
    for (int32_t i = 0; i < n; i++)
        if ((b->id[used] = t->byte_id[(uint8_t)s[i]]) >= 0)
            b->next[used] = used + 1, b->before[used] = used - 1, used++;
    if (!used) return 0;
    b->next[used - 1] = -1;
    n = used;
    for (int32_t i = 0; i + 1 < n; i++) fv__candidate_add(t, b, i);
    while (b->size) {
        fv__candidate one = fv__candidate_take(b);
        int32_t right = b->id[one.at] == one.left ? b->next[one.at] : -1;
        if (right < 0 || b->id[right] != one.right) continue; /* of a pair that is no more */
        b->id[one.at] = one.id, b->id[right] = -1;
        if ((b->next[one.at] = b->next[right]) >= 0) b->before[b->next[right]] = one.at;
        fv__candidate_add(t, b, one.at);
        fv__candidate_add(t, b, b->before[one.at]);
    }
    return 1;
}

FV_DEF int64_t fv_tokenizer_encode(fv_ctx *c, const fv_tokenizer *t, const char *text, size_t n, int32_t *ids,
                                   int64_t most) {
    size_t longest = 0;
    int64_t count = 0;
    fv__bpe b;
    if (c->status || !t) return -1;
    for (size_t at = 0, len; at < n; at += len)
        len = fv__word_end(t, text + at, n - at), longest = FV__MAX(longest, len);
    if (longest > 1u << 30) return fv_fail(c, FV_EUSAGE, "a word of more than a gigabyte"), -1;
    fv__span *s = fv__host_alloc(c, (longest + 1) * (3 * sizeof(int32_t) + 3 * sizeof(fv__candidate)));
    if (!s) return -1;
    /* a word of n has n-1 pairs, and each merge makes at most two */
    b.heap = (fv__candidate *)(void *)s->data;
    b.id = (int32_t *)(void *)(b.heap + 3 * (longest + 1)), b.next = b.id + longest + 1,
    b.before = b.next + longest + 1;
    for (size_t at = 0, len; at < n; at += len) {
        len = fv__word_end(t, text + at, n - at);
        if (!fv__bpe_word(t, &b, text + at, (int32_t)len)) continue;
        for (int32_t i = 0; i >= 0; i = b.next[i], count++)
            if (count < most) ids[count] = b.id[i];
    }
    fv__pool_free(c, s);
    return count;
}

FV_DEF int64_t fv_tokenizer_decode(const fv_tokenizer *t, const int32_t *ids, int64_t n, char *text,
                                   int64_t most) {
    int64_t used = 0;
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= t->count) return -1;
        for (size_t k = t->start[ids[i]]; k < t->start[ids[i] + 1]; k++, used++)
            if (used < most) text[used] = t->bytes[k];
    }
    return used;
}

FV__SELDOM_END

/* ======================================================================================================
 * >>image (implementation)
 * ====================================================================================================== */
/* ---- resampling: each output number is a weighted sum of some consecutive input numbers along one axis */
typedef struct fv__taps {
    int count, most;        /* outputs; the most inputs that one of them takes */
    int32_t *first, *width; /* [count]: the inputs of output i are first[i] .. first[i]+width[i]-1 */
    int32_t *fixed;         /* [count,most] weights for 8 bits, with FV__TAP_BITS fractional bits */
    float *real;            /* [count,most] the same for f32; one of the two */
} fv__taps;

/* 8 bits of value, 22 of weight, one for weights over 1, one for the sign: what a 32-bit sum holds */
enum { FV__TAP_BITS = 32 - 8 - 2, FV__MAX_SIDE = 65535 };

static double fv__filter_reach(fv_filter f) { return f == FV_BILINEAR ? 1 : f == FV_LANCZOS ? 3 : 2; }

static double fv__sinc(double x) {
    return x == 0 ? 1 : sin(x * 3.14159265358979323846) / (x * 3.14159265358979323846);
}

static double fv__filter_at(fv_filter f, double x) {
    x = fabs(x);
    if (f == FV_BILINEAR) return x < 1 ? 1 - x : 0;
    if (f == FV_LANCZOS) return x < 3 ? fv__sinc(x) * fv__sinc(x / 3) : 0;
    const double a = -0.5; /* Keys, "Cubic convolution interpolation", 1981: two cubics that meet at 1 */
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/* Where `in` numbers become `full`, the filter is in/full times as wide, but never narrower than on the
 * input's own grid. */
static int fv__taps_most(int in, int full, fv_filter f) {
    return 2 * (int)ceil(fv__filter_reach(f) * FV__MAX((double)in / full, 1.0)) + 1;
}
static size_t fv__taps_size(int in, int full, int count, fv_filter f) {
    return FV__ROUND_UP((size_t)count * (size_t)(2 + fv__taps_most(in, full, f)) * 4, (size_t)64);
}

/* Outputs from .. from+count-1 of `in` numbers becoming `full`. memory: fv__taps_size bytes; returns its
 * end. */
static void *fv__taps_make(fv__taps *t, void *memory, int in, int full, int from, int count, fv_filter f,
                           int fixed) {
    double scale = (double)in / full, wide = FV__MAX(scale, 1.0), reach = fv__filter_reach(f) * wide,
           narrow = 1 / wide;
    t->count = count, t->most = fv__taps_most(in, full, f);
    t->first = (int32_t *)memory, t->width = t->first + count;
    t->fixed = fixed ? t->width + count : NULL;
    t->real = fixed ? NULL : (float *)(void *)(t->width + count);
    for (int i = 0; i < count; i++) {
        double center = (from + i + 0.5) * scale, sum = 0;
        int lo = FV__MAX((int)(center - reach + 0.5), 0), n = FV__MIN((int)(center + reach + 0.5), in) - lo;
        for (int k = 0; k < n; k++) sum += fv__filter_at(f, (k + lo - center + 0.5) * narrow);
        double norm = sum != 0 ? 1 / sum : 1; /* at the edges part of the filter is cut off */
        for (int k = 0; k < n; k++) {
            double v = fv__filter_at(f, (k + lo - center + 0.5) * narrow) * norm;
            if (fixed)
                t->fixed[(size_t)i * (size_t)t->most + (size_t)k] =
                    (int32_t)(v * (1 << FV__TAP_BITS) + (v < 0 ? -0.5 : 0.5));
            else t->real[(size_t)i * (size_t)t->most + (size_t)k] = (float)v;
        }
        t->first[i] = lo, t->width[i] = n;
    }
    return (char *)memory + fv__taps_size(in, full, count, f);
}

static inline uint8_t fv__tap_round(int32_t sum) {
    return sum < 0 ? 0 : sum >> FV__TAP_BITS > 255 ? 255 : (uint8_t)(sum >> FV__TAP_BITS);
}

/* one row: [.., channels] -> [count, channels]; inlined with the common numbers of channels as constants */
static inline void fv__across_u8(const fv__taps *t, const uint8_t *src, uint8_t *dst, int channels) {
    for (int i = 0; i < t->count; i++, dst += channels) {
        const uint8_t *p = src + (size_t)t->first[i] * (size_t)channels;
        const int32_t *weight = t->fixed + (size_t)i * (size_t)t->most;
        int32_t sum[4] = {1 << (FV__TAP_BITS - 1), 1 << (FV__TAP_BITS - 1), 1 << (FV__TAP_BITS - 1),
                          1 << (FV__TAP_BITS - 1)};
        for (int k = 0; k < t->width[i]; k++, p += channels)
            for (int q = 0; q < channels; q++) sum[q] += weight[k] * p[q];
        for (int q = 0; q < channels; q++) dst[q] = fv__tap_round(sum[q]);
    }
}
static void fv__across_row_u8(const fv__taps *t, const uint8_t *src, uint8_t *dst, int channels) {
    if (channels == 3) fv__across_u8(t, src, dst, 3);
    else if (channels == 1) fv__across_u8(t, src, dst, 1);
    else fv__across_u8(t, src, dst, channels);
}

/* output row i from rows of `row` bytes, `stride` apart; 64 at a time, a count that compilers vectorise */
static void fv__down_row_u8(const fv__taps *t, int i, const uint8_t *src, size_t stride, size_t row,
                            uint8_t *dst) {
    const uint8_t *top = src + (size_t)t->first[i] * stride;
    const int32_t *weight = t->fixed + (size_t)i * (size_t)t->most;
    for (size_t at = 0; at < row; at += 64) {
        int32_t sum[64];
        size_t n = FV__MIN(row - at, (size_t)64);
        for (int j = 0; j < 64; j++) sum[j] = 1 << (FV__TAP_BITS - 1);
        for (int k = 0; k < t->width[i]; k++) {
            const uint8_t *p = top + (size_t)k * stride + at;
            if (n == 64)
                for (int j = 0; j < 64; j++) sum[j] += weight[k] * p[j];
            else
                for (size_t j = 0; j < n; j++) sum[j] += weight[k] * p[j];
        }
        for (size_t j = 0; j < n; j++) dst[at + j] = fv__tap_round(sum[j]);
    }
}

/* A picture that is to be full_h x full_w, and the rectangle of it that is wanted; outside of the picture it
 * is black. */
typedef struct fv__window {
    int full_h, full_w, top, left, h, w;
} fv__window;

static size_t fv__window_scratch(int h, int w, int channels, const fv__window *v, fv_filter f) {
    size_t middle = FV__MAX((size_t)h * (size_t)v->w, (size_t)w) * (size_t)channels;
    return fv__taps_size(w, v->full_w, v->w, f) + fv__taps_size(h, v->full_h, v->h, f) +
           FV__ROUND_UP(middle, (size_t)64);
}

/* Makes the first input number 0; returns how many inputs the outputs take together, and where they began in
 * *from. */
static int fv__taps_shift(fv__taps *t, int *from) {
    int lo = *from = t->first[0];
    for (int i = 0; i < t->count; i++) t->first[i] -= lo;
    return t->first[t->count - 1] + t->width[t->count - 1];
}

/* src [h,w,channels] with rows `stride` bytes apart -> dst [v->h,v->w,channels], as resizing all of it and
 * cropping then. Either pass rounds to 8 bits, so their order shows: columns are reduced first, unless the
 * height shrinks by more than twice as many pixels as the width (Pillow's choice since 13; before, always
 * columns first). */
static void fv__resize_window(const uint8_t *src, size_t stride, int h, int w, int channels,
                              const fv__window *v, uint8_t *dst, fv_filter f, void *scratch) {
    /* the part inside of the picture */
    int y0 = FV__MAX(0, -v->top), rows = FV__MIN(v->h, v->full_h - v->top) - y0;
    int x0 = FV__MAX(0, -v->left), columns = FV__MIN(v->w, v->full_w - v->left) - x0;
    size_t ch = (size_t)channels, dst_row = (size_t)v->w * ch;
    if (rows < v->h || columns < v->w) memset(dst, 0, (size_t)v->h * dst_row);
    if (rows < 1 || columns < 1) return;
    int wide = v->full_w != w, high = v->full_h != h,
        rows_first = v->full_h < h && h - v->full_h > 2 * (w - v->full_w);
    /* the part of the source that it takes */
    int sx = v->left + x0, sy = v->top + y0, sw = columns, sh = rows;
    fv__taps across, down;
    void *rest = scratch;
    if (wide)
        rest = fv__taps_make(&across, rest, w, v->full_w, sx, columns, f, 1),
        sw = fv__taps_shift(&across, &sx);
    if (high)
        rest = fv__taps_make(&down, rest, h, v->full_h, sy, rows, f, 1), sh = fv__taps_shift(&down, &sy);
    uint8_t *middle = (uint8_t *)rest;
    src += (size_t)sy * stride + (size_t)sx * ch;
    dst += (size_t)y0 * dst_row + (size_t)x0 * ch;
    size_t row = (size_t)(rows_first ? sw : columns) * ch; /* of the intermediate picture */
    if (rows_first) {
        for (int i = 0; i < rows; i++) {
            uint8_t *out = dst + (size_t)i * dst_row;
            fv__down_row_u8(&down, i, src, stride, row, wide ? middle : out);
            if (wide) fv__across_row_u8(&across, middle, out, channels);
        }
        return;
    }
    for (int y = 0; y < sh; y++) {
        uint8_t *out = high ? middle + (size_t)y * row : dst + (size_t)y * dst_row;
        if (wide) fv__across_row_u8(&across, src + (size_t)y * stride, out, channels);
        else memcpy(out, src + (size_t)y * stride, row);
    }
    for (int i = 0; high && i < rows; i++)
        fv__down_row_u8(&down, i, middle, row, row, dst + (size_t)i * dst_row);
}

static int fv__picture_fits(fv_ctx *c, const char *what, int h, int w, int channels) {
    if (h >= 1 && w >= 1 && h <= FV__MAX_SIDE && w <= FV__MAX_SIDE && channels >= 1 && channels <= 4)
        return 1;
    return fv_fail(
        c, FV_ESHAPE,
        "%s: a picture of %dx%d with %d channels; sides of 1 to %d and 1 to 4 channels are possible", what, h,
        w, channels, FV__MAX_SIDE);
}
static int fv__filter_fits(fv_ctx *c, const char *what, fv_filter f) {
    if ((int)f >= 0 && (int)f <= (int)FV_LANCZOS) return 1;
    return fv_fail(c, FV_EUSAGE, "%s: there is no filter number %d", what, (int)f);
}

FV_DEF int fv_image_resize(fv_ctx *c, const uint8_t *src, int h, int w, int channels, uint8_t *dst, int dh,
                           int dw, fv_filter filter) {
    fv__window v = {dh, dw, 0, 0, dh, dw};
    if (fv_error(c) || !fv__picture_fits(c, "fv_image_resize", h, w, channels) ||
        !fv__picture_fits(c, "fv_image_resize", dh, dw, channels) ||
        !fv__filter_fits(c, "fv_image_resize", filter))
        return 0;
    void *scratch = fv__alloc_dirty(c, fv__window_scratch(h, w, channels, &v, filter));
    if (!scratch) return 0;
    fv__resize_window(src, (size_t)w * (size_t)channels, h, w, channels, &v, dst, filter, scratch);
    fv_free(c, scratch);
    return 1;
}

/* f32 along the middle axis: [outer,in,inner] -> [outer,count,inner] */
static void fv__resample_axis(const fv__taps *t, const float *src, float *dst, size_t outer, size_t in,
                              size_t inner) {
    for (size_t o = 0; o < outer; o++, src += in * inner)
        for (int i = 0; i < t->count; i++, dst += inner) {
            const float *weight = t->real + (size_t)i * (size_t)t->most,
                        *p = src + (size_t)t->first[i] * inner;
            for (size_t j = 0; j < inner; j++) dst[j] = 0;
            for (int k = 0; k < t->width[i]; k++)
                for (size_t j = 0; j < inner; j++) dst[j] += weight[k] * p[(size_t)k * inner + j];
        }
}

/* [planes,h,w,depth] -> [planes,dh,dw,depth], columns before rows */
static int fv__resize_f32(fv_ctx *c, const float *src, int planes, int h, int w, int depth, float *dst,
                          int dh, int dw, fv_filter f) {
    size_t tw = fv__taps_size(w, dw, dw, f), th = fv__taps_size(h, dh, dh, f), np = (size_t)planes,
           nd = (size_t)depth;
    char *scratch = (char *)fv__alloc_dirty(c, tw + th + np * (size_t)h * (size_t)dw * nd * sizeof(float));
    fv__taps across, down;
    if (!scratch) return 0;
    fv__taps_make(&across, scratch, w, dw, 0, dw, f, 0);
    float *middle = (float *)fv__taps_make(&down, scratch + tw, h, dh, 0, dh, f, 0);
    fv__resample_axis(&across, src, middle, np * (size_t)h, (size_t)w, nd);
    fv__resample_axis(&down, middle, dst, np, (size_t)h, (size_t)dw * nd);
    fv_free(c, scratch);
    return 1;
}

FV_DEF int fv_image_resize_f32(fv_ctx *c, const float *src, int planes, int h, int w, float *dst, int dh,
                               int dw, fv_filter filter) {
    if (fv_error(c) || !fv__picture_fits(c, "fv_image_resize_f32", h, w, 1) ||
        !fv__picture_fits(c, "fv_image_resize_f32", dh, dw, 1) ||
        !fv__filter_fits(c, "fv_image_resize_f32", filter))
        return 0;
    if (planes < 1) return fv_fail(c, FV_ESHAPE, "fv_image_resize_f32: %d planes", planes);
    return fv__resize_f32(c, src, planes, h, w, 1, dst, dh, dw, filter);
}

FV_DEF int fv_resample_pos_embed(fv_ctx *c, const float *src, int prefix_tokens, int gh, int gw, int dim,
                                 float *dst, int dh, int dw) {
    if (fv_error(c)) return 0;
    if (prefix_tokens < 0 || dim < 1 || !fv__picture_fits(c, "fv_resample_pos_embed", gh, gw, 1) ||
        !fv__picture_fits(c, "fv_resample_pos_embed", dh, dw, 1))
        return fv_fail(c, FV_ESHAPE, "fv_resample_pos_embed: %d prefix tokens of dim %d", prefix_tokens, dim);
    size_t prefix = (size_t)prefix_tokens * (size_t)dim;
    memcpy(dst, src, prefix * sizeof(float));
    if (gh == dh && gw == dw) {
        memcpy(dst + prefix, src + prefix, (size_t)gh * (size_t)gw * (size_t)dim * sizeof(float));
        return 1;
    }
    return fv__resize_f32(c, src + prefix, 1, gh, gw, dim, dst + prefix, dh, dw, FV_BICUBIC);
}

/* ---- cropping and normalisation ---- */
/* Where a crop begins so that it is in the middle: an odd rest is halved to even; negative where the picture
 * is smaller. */
static int fv__center(int whole, int part) {
    int rest = whole - part;
    if (rest < 0) return -(-rest / 2);
    return rest / 2 + (rest & 1 & (rest / 2));
}

FV_DEF int fv_image_center_crop(fv_ctx *c, const uint8_t *src, int h, int w, int channels, uint8_t *dst,
                                int dh, int dw) {
    if (fv_error(c) || !fv__picture_fits(c, "fv_image_center_crop", h, w, channels) ||
        !fv__picture_fits(c, "fv_image_center_crop", dh, dw, channels))
        return 0;
    fv__window v = {h, w, fv__center(h, dh), fv__center(w, dw), dh, dw};
    fv__resize_window(src, (size_t)w * (size_t)channels, h, w, channels, &v, dst, FV_BICUBIC, NULL);
    return 1;
}

/* u8 [h,w,channels] -> f32 [out,h,w]; out is channels, or 3 equal ones of the first */
static void fv__normalise(const uint8_t *src, int h, int w, int channels, int out, int mirror,
                          const float *mean, const float *std, float *dst) {
    for (int q = 0; q < out; q++) {
        float m = mean ? mean[q] : 0.5f, s = std ? std[q] : 0.5f;
        for (int y = 0; y < h; y++, dst += w) {
            const uint8_t *p = src + (size_t)y * (size_t)w * (size_t)channels + (out == channels ? q : 0);
            if (mirror)
                for (int x = 0; x < w; x++) dst[w - 1 - x] = ((float)p[x * channels] / 255.0f - m) / s;
            else
                for (int x = 0; x < w; x++) dst[x] = ((float)p[x * channels] / 255.0f - m) / s;
        }
    }
}

FV_DEF void fv_image_to_float(const uint8_t *src, int h, int w, int channels, const float *mean,
                              const float *std, float *dst) {
    fv__normalise(src, h, w, channels, channels, 0, mean, std, dst);
}

/* ITU-R 601 luma in 16-bit fixed point, as Pillow's mode L */
static inline int fv__luma(const uint8_t *p) {
    return (int)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 0x8000u) >> 16);
}

/* fewer channels in place, when the network wants fewer; returns how many there are now */
static int fv__drop_channels(uint8_t *p, int pixels, int channels, int out) {
    if (out >= channels) return channels;
    for (int i = 0; i < pixels; i++) {
        const uint8_t *from = p + (size_t)i * (size_t)channels;
        if (out == 1) p[i] = channels < 3 ? from[0] : (uint8_t)fv__luma(from);
        else memmove(p + (size_t)i * (size_t)out, from, (size_t)out);
    }
    return out;
}

/* ---- augmentation ---- */
static float fv__or(float v, float otherwise) { return v > 0 ? v : v < 0 ? 0.0f : otherwise; }

/* a + (b-a) u; every range of the augmentation draws one number */
static double fv__between(fv_rng *r, double a, double b) { return a + (b - a) * (double)fv_rng_uniform(r); }

/* u8 pixels [n,channels] towards or away from `other` (one number, or each pixel's own luma where it is
 * negative) */
static void fv__blend(uint8_t *p, int n, int channels, int other, float factor) {
    for (int i = 0; i < n; i++, p += channels) {
        int from = other >= 0 ? other : channels == 3 ? fv__luma(p) : p[0];
        for (int q = 0; q < channels; q++) {
            /* two roundings, as Pillow's floats */
            float step = (float)((double)factor * (p[q] - from)), v = (float)from + step;
            p[q] = v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)v;
        }
    }
}

/* Brightness pulls towards black, contrast towards the mean luma, saturation towards each pixel's luma. */
static void fv__jitter(const fv_augment_desc *d, fv_rng *r, uint8_t *p, int n, int channels) {
    const float amount[3] = {d->brightness, d->contrast, d->saturation};
    int32_t order[3] = {0, 1, 2};
    double factor[3];
    if (!(amount[0] > 0 || amount[1] > 0 || amount[2] > 0)) return;
    fv_rng_shuffle(r, order, 3);
    for (int i = 0; i < 3; i++)
        factor[i] =
            amount[i] > 0 ? fv__between(r, FV__MAX(0.0, 1 - (double)amount[i]), 1 + (double)amount[i]) : 1;
    for (int i = 0; i < 3; i++) {
        int what = order[i], other = what == 0 ? 0 : -1;
        if (!(amount[what] > 0)) continue;
        if (what == 1) {
            uint64_t sum = 0;
            for (int j = 0; j < n; j++) sum += (uint64_t)(channels == 3 ? fv__luma(p + 3 * (size_t)j) : p[j]);
            other = (int)((double)sum / n + 0.5);
        }
        fv__blend(p, n, channels, other, (float)factor[what]);
    }
}

/* The rectangle of a random resized crop, {top, left, height, width}; after ten misses the middle, as near to
 * the wanted ratios as the picture allows. */
static void fv__random_crop(const fv_augment_desc *d, fv_rng *r, int h, int w, int box[4]) {
    double lo = d->ratio[0] > 0 ? (double)d->ratio[0] : 3.0 / 4,
           hi = d->ratio[1] > 0 ? (double)d->ratio[1] : 4.0 / 3;
    double area = (double)h * w, largest = d->scale[1] > 0 ? (double)d->scale[1] : 1.0;
    for (int attempt = 0; attempt < 10; attempt++) {
        double target = fv__between(r, (double)d->scale[0], largest) * area,
               aspect = exp(fv__between(r, log(lo), log(hi)));
        double cw = rint(sqrt(target * aspect)), ch = rint(sqrt(target / aspect));
        if (!(cw >= 1 && cw <= w && ch >= 1 && ch <= h)) continue;
        box[2] = (int)ch, box[3] = (int)cw;
        box[0] = (int)fv_rng_below(r, (uint32_t)(h - box[2] + 1));
        box[1] = (int)fv_rng_below(r, (uint32_t)(w - box[3] + 1));
        return;
    }
    box[2] = h, box[3] = w;
    if ((double)w / h < lo) box[2] = FV__MIN(h, FV__MAX(1, (int)rint(w / lo)));
    else if ((double)w / h > hi) box[3] = FV__MIN(w, FV__MAX(1, (int)rint(h * hi)));
    box[0] = (h - box[2]) / 2, box[1] = (w - box[3]) / 2;
}

static void fv__erase(const fv_augment_desc *d, fv_rng *r, float *x, int channels, int size) {
    if (!(d->erase > 0) || !(fv_rng_uniform(r) < d->erase)) return;
    double lo = d->erase_area[0] > 0 ? (double)d->erase_area[0] : d->erase_area[0] < 0 ? 0 : 0.02;
    double hi = d->erase_area[1] > 0 ? (double)d->erase_area[1] : 1.0 / 3,
           least = d->erase_ratio > 0 ? (double)d->erase_ratio : 0.3;
    int h = 0, w = 0;
    for (int attempt = 0; attempt < 10; attempt++, h = w = 0) {
        double target = fv__between(r, lo, hi) * size * size,
               aspect = exp(fv__between(r, log(least), log(1 / least)));
        double eh = rint(sqrt(target * aspect)), ew = rint(sqrt(target / aspect));
        h = eh < size ? (int)eh : size, w = ew < size ? (int)ew : size;
        if (h < size && w < size) break;
    }
    int top = (int)fv_rng_below(r, (uint32_t)(size - h + 1)),
        left = (int)fv_rng_below(r, (uint32_t)(size - w + 1));
    for (int q = 0; q < channels; q++) {
        float value = d->erase_mode == FV_ERASE_COLOR ? fv_rng_normal(r) : 0.0f;
        for (int i = 0; i < h; i++) {
            float *row = x + ((size_t)q * (size_t)size + (size_t)(top + i)) * (size_t)size + left;
            for (int j = 0; j < w; j++) row[j] = d->erase_mode == FV_ERASE_PIXEL ? fv_rng_normal(r) : value;
        }
    }
}

/* The picture as if its shorter side were `shorter`; the caller says which part of it is wanted. */
static fv__window fv__shorter_side(int h, int w, int shorter, int size) {
    fv__window v = {shorter, shorter, 0, 0, size, size};
    if (h < w) v.full_w = (int)((double)((int64_t)shorter * w) / h);
    else v.full_h = (int)((double)((int64_t)shorter * h) / w);
    return v;
}

static int fv__augment_range(fv_ctx *c, const char *name, float lo, float hi, float least, float most) {
    if (lo >= least && lo <= hi && hi <= most) return 1;
    return fv_fail(c, FV_EUSAGE, "augmentation: %s from %g to %g; it should rise, and lie between %g and %g",
                   name, (double)lo, (double)hi, (double)least, (double)most);
}

static int fv__augment_check(fv_ctx *c, const fv_augment_desc *d, int h, int w, int channels) {
    int out = d->channels > 0 ? d->channels : channels,
        jitter = d->brightness > 0 || d->contrast > 0 || d->saturation > 0;
    int known = FV__MIN(channels, out), ok = 1;
    if (!fv__picture_fits(c, "augmentation", h, w, channels) ||
        !fv__filter_fits(c, "augmentation", d->filter))
        return 0;
    if (d->size < 1 || d->size > FV__MAX_SIDE)
        return fv_fail(c, FV_EUSAGE, "augmentation: size %d; 1 to %d is possible", d->size, FV__MAX_SIDE);
    if (out != channels && out != 1 && out != 3)
        return fv_fail(c, FV_ESHAPE, "augmentation: %d channels cannot be made from pictures with %d", out,
                       channels);
    if (jitter && known != 1 && known != 3)
        return fv_fail(c, FV_ESHAPE,
                       "augmentation: colour jitter knows pictures with 1 or 3 channels, not %d", known);
    for (int q = 0; q < 4; q++)
        if (!(fabsf(d->mean[q]) < 1e6f && fabsf(d->std[q]) < 1e6f) || d->std[q] < 0)
            return fv_fail(c, FV_EUSAGE, "augmentation: mean %g and std %g of channel %d", (double)d->mean[q],
                           (double)d->std[q], q);
    if (d->padding > 0 && d->scale[0] > 0)
        return fv_fail(
            c, FV_EUSAGE,
            "augmentation: a random resized crop (scale) and a random crop with padding exclude each other");
    if (d->padding > FV__MAX_SIDE)
        return fv_fail(c, FV_EUSAGE, "augmentation: padding of %d pixels", d->padding);
    if (d->erase > 0 && (d->erase_mode < FV_ERASE_CONST || d->erase_mode > FV_ERASE_PIXEL))
        return fv_fail(c, FV_EUSAGE, "augmentation: there is no erase_mode %d", (int)d->erase_mode);
    float crop = fv__or(d->crop_pct, 1), erase_ratio = fv__or(d->erase_ratio, 0.3f);
    ok = ok && fv__augment_range(c, "crop_pct", crop, crop, 0.01f, 1);
    if (ok && (double)d->size / (double)crop * FV__MAX(h, w) / FV__MIN(h, w) > 1e9)
        return fv_fail(c, FV_ESHAPE, "augmentation: a picture of %dx%d is too long for size %d", h, w,
                       d->size);
    if (d->scale[0] > 0) ok = ok && fv__augment_range(c, "scale", d->scale[0], fv__or(d->scale[1], 1), 0, 1);
    if (d->scale[0] > 0)
        ok = ok && fv__augment_range(c, "ratio", fv__or(d->ratio[0], 0.75f), fv__or(d->ratio[1], 4.0f / 3),
                                     1e-3f, 1e3f);
    if (d->erase > 0)
        ok = ok && fv__augment_range(c, "erase_area", fv__or(d->erase_area[0], 0.02f),
                                     fv__or(d->erase_area[1], 1.0f / 3), 0, 1);
    ok = ok && fv__augment_range(c, "erase_ratio", erase_ratio, 1, 1e-3f, 1);
    ok = ok && fv__augment_range(c, "hflip", fv__or(d->hflip, 0), 1, 0, 1) &&
         fv__augment_range(c, "erase", fv__or(d->erase, 0), 1, 0, 1);
    ok = ok && fv__augment_range(c, "brightness", fv__or(d->brightness, 0), 1e3f, 0, 1e3f);
    ok = ok && fv__augment_range(c, "contrast", fv__or(d->contrast, 0), 1e3f, 0, 1e3f);
    return ok && fv__augment_range(c, "saturation", fv__or(d->saturation, 0), 1e3f, 0, 1e3f);
}

/* The picture of S x S, then what the largest crop needs; fv__shorter_side's picture is no smaller than S
 * either way. */
static size_t fv__augment_bytes(const fv_augment_desc *d, int h, int w, int channels) {
    fv__window v = {d->size, d->size, 0, 0, d->size, d->size};
    return FV__ROUND_UP((size_t)d->size * (size_t)d->size * (size_t)channels, (size_t)64) +
           fv__window_scratch(h, w, channels, &v, d->filter);
}

FV_DEF size_t fv_augment_scratch_size(fv_ctx *c, const fv_augment_desc *d, int h, int w, int channels) {
    return (c && fv_error(c)) || !fv__augment_check(c, d, h, w, channels)
               ? 0
               : fv__augment_bytes(d, h, w, channels);
}

/* both ways of preparing a picture; r NULL: without chance */
static void fv__prepare(const fv_augment_desc *d, fv_rng *r, const uint8_t *src, int h, int w, int channels,
                        float *dst, void *scratch) {
    int size = d->size, out = d->channels > 0 ? d->channels : channels, box[4] = {0, 0, h, w};
    int padding = FV__MAX(d->padding, 0),
        shorter = r ? size : (int)((double)size / (double)fv__or(d->crop_pct, 1));
    size_t stride = (size_t)w * (size_t)channels;
    uint8_t *p = (uint8_t *)scratch;
    void *rest = p + FV__ROUND_UP((size_t)size * (size_t)size * (size_t)channels, (size_t)64);
    float mean[4], std[4];
    fv__window v = fv__shorter_side(h, w, shorter, size);
    if (r && d->scale[0] > 0) {
        fv__random_crop(d, r, h, w, box);
        v.full_h = v.full_w = size;
    } else if (r) {
        v.top = (int)fv_rng_below(r, (uint32_t)(v.full_h + 2 * padding - size + 1)) - padding;
        v.left = (int)fv_rng_below(r, (uint32_t)(v.full_w + 2 * padding - size + 1)) - padding;
    } else v.top = fv__center(v.full_h, size), v.left = fv__center(v.full_w, size);
    const uint8_t *from = src + (size_t)box[0] * stride + (size_t)box[1] * (size_t)channels;
    fv__resize_window(from, stride, box[2], box[3], channels, &v, p, d->filter, rest);
    int known = fv__drop_channels(p, size * size, channels, out);
    int mirror = r && d->hflip > 0 && fv_rng_uniform(r) < d->hflip;
    if (r) fv__jitter(d, r, p, size * size, known);
    for (int q = 0; q < 4; q++) mean[q] = fv__or(d->mean[q], 0.5f), std[q] = d->std[q] > 0 ? d->std[q] : 0.5f;
    fv__normalise(p, size, size, known, out, mirror, mean, std, dst);
    if (r) fv__erase(d, r, dst, out, size);
}

static int fv__prepare_checked(fv_ctx *c, const fv_augment_desc *d, fv_rng *r, const uint8_t *src, int h,
                               int w, int channels, float *dst, void *scratch) {
    if ((c && fv_error(c)) || !fv__augment_check(c, d, h, w, channels)) return 0;
    void *own = NULL;
    if (!scratch && c) scratch = own = fv__alloc_dirty(c, fv__augment_bytes(d, h, w, channels));
    if (!scratch) return 0;
    fv__prepare(d, r, src, h, w, channels, dst, scratch);
    if (own) fv_free(c, own);
    return 1;
}

FV_DEF int fv_augment(fv_ctx *c, const fv_augment_desc *d, fv_rng *r, const uint8_t *src, int h, int w,
                      int channels, float *dst, void *scratch) {
    return fv__prepare_checked(c, d, r, src, h, w, channels, dst, scratch);
}
FV_DEF int fv_preprocess(fv_ctx *c, const fv_augment_desc *d, const uint8_t *src, int h, int w, int channels,
                         float *dst, void *scratch) {
    return fv__prepare_checked(c, d, NULL, src, h, w, channels, dst, scratch);
}

/* ---- mixup and cutmix ---- */
FV_DEF int fv_mixup_targets(fv_ctx *c, const int32_t *labels, int batch, int classes, double lam,
                            float smoothing, float *targets) {
    float off = smoothing / (float)FV__MAX(classes, 1), on = 1 - smoothing + off, mine = (float)lam,
          other = (float)(1 - lam);
    if (fv_error(c)) return 0;
    if (batch < 1 || classes < 1 || !(smoothing >= 0 && smoothing <= 1))
        return fv_fail(c, FV_ESHAPE, "mixup: a batch of %d, %d classes, smoothing %g", batch, classes,
                       (double)smoothing);
    for (int i = 0; i < batch; i++)
        if (labels[i] < 0 || labels[i] >= classes)
            return fv_fail(c, FV_ESHAPE, "mixup: label %d of item %d with %d classes", (int)labels[i], i,
                           classes);
    for (int i = 0; i < batch; i++)
        for (int k = 0; k < classes; k++)
            targets[(size_t)i * (size_t)classes + (size_t)k] =
                mine * (k == labels[i] ? on : off) + other * (k == labels[batch - 1 - i] ? on : off);
    return 1;
}

typedef struct fv__mix_job {
    float *x;
    int batch, channels, h, w, box[4]; /* box: y0 y1 x0 x1 */
    float lam;                         /* negative: the box is exchanged */
} fv__mix_job;

/* Job i works on pair (i, batch-1-i): both at once, so that each is mixed with the other as it was. */
static void fv__mix_pair(void *arg, int i, int worker) {
    const fv__mix_job *m = (const fv__mix_job *)arg;
    size_t plane = (size_t)m->h * (size_t)m->w, all = plane * (size_t)m->channels;
    float *a = m->x + (size_t)i * all, *b = m->x + (size_t)(m->batch - 1 - i) * all;
    float lam = m->lam, rest = (float)(1 - (double)lam);
    (void)worker;
    if (lam >= 0) {
        for (size_t j = 0; j < all; j++) {
            float u = a[j], v = b[j];
            a[j] = u * lam + v * rest, b[j] = v * lam + u * rest;
        }
        return;
    }
    for (int q = 0; q < m->channels; q++)
        for (int y = m->box[0]; y < m->box[1]; y++)
            for (int x = m->box[2]; x < m->box[3]; x++) {
                size_t at = (size_t)q * plane + (size_t)y * (size_t)m->w + (size_t)x;
                float t = a[at];
                a[at] = b[at], b[at] = t;
            }
}

/* a box of about 1-lam of the picture around a random place, cut off at the edges; returns lam by what is
 * left of it */
static double fv__cutmix_box(fv_rng *r, int h, int w, double lam, int box[4]) {
    double side = sqrt(1 - lam);
    int bh = (int)(h * side), bw = (int)(w * side), y = (int)fv_rng_below(r, (uint32_t)h),
        x = (int)fv_rng_below(r, (uint32_t)w);
    box[0] = FV__MAX(y - bh / 2, 0), box[1] = FV__MIN(y + (bh + 1) / 2, h);
    box[2] = FV__MAX(x - bw / 2, 0), box[3] = FV__MIN(x + (bw + 1) / 2, w);
    return 1 - (double)(box[1] - box[0]) * (box[3] - box[2]) / ((double)h * w);
}

#ifdef FROZENVIS_CUDA
/* An element of the mixed batch a thread, from x as it was; the roundings are the CPU's. */
FV__KERNEL fv__mix_k(fv__mix_job m, float *to) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, plane = (int64_t)m.h * m.w,
            all = plane * m.channels, item = i / all, y = i % plane / m.w, x = i % m.w;
    if (item >= m.batch) return;
    float mine = m.x[i], other = m.x[(m.batch - 1 - item) * all + i % all];
    int inside = y >= m.box[0] && y < m.box[1] && x >= m.box[2] && x < m.box[3];
    if (m.lam < 0) to[i] = inside ? other : mine;
    else to[i] = __fadd_rn(__fmul_rn(mine, m.lam), __fmul_rn(other, (float)(1 - (double)m.lam)));
}
#endif

/* What is to be done with x, and the targets for it; lam, or -1 and an error. Where nothing is to be done the
 * box is empty. */
static double fv__mix_draw(fv_ctx *c, const fv_mixup_desc *d, fv_rng *r, fv__mix_job *m,
                           const int32_t *labels, int classes, float *targets) {
    int mix = d->mixup_alpha > 0, cut = d->cutmix_alpha > 0;
    double lam = 1;
    m->lam = -1;
    if (fv_error(c) || !fv__picture_fits(c, "mixup", m->h, m->w, 1)) return -1;
    if (m->channels < 1) return fv_fail(c, FV_ESHAPE, "mixup: %d channels", m->channels) - 1;
    if (!(d->mixup_alpha < 1e3f && d->cutmix_alpha < 1e3f && d->prob <= 1 && d->switch_prob <= 1))
        return fv_fail(c, FV_EUSAGE, "mixup: alphas %g and %g, prob %g, switch_prob %g",
                       (double)d->mixup_alpha, (double)d->cutmix_alpha, (double)d->prob,
                       (double)d->switch_prob) -
               1;
    /* checks before x changes */
    if (!fv_mixup_targets(c, labels, m->batch, classes, 1, fv__or(d->smoothing, 0), targets)) return -1;
    if ((mix || cut) && fv_rng_uniform(r) < fv__or(d->prob, 1)) {
        if (mix && cut) cut = fv_rng_uniform(r) < fv__or(d->switch_prob, 0.5f);
        lam = (double)fv_rng_beta(r, cut ? d->cutmix_alpha : d->mixup_alpha);
        if (!cut && lam < 1) m->lam = (float)lam;
        if (cut && lam < 1) lam = fv__cutmix_box(r, m->h, m->w, lam, m->box);
    }
    if (lam >= 1) return 1;
    return fv_mixup_targets(c, labels, m->batch, classes, lam, fv__or(d->smoothing, 0), targets) ? lam : -1;
}

FV_DEF double fv_mixup(fv_ctx *c, const fv_mixup_desc *d, fv_rng *r, float *x, int batch, int channels,
                       int height, int width, const int32_t *labels, int classes, float *targets) {
    fv__mix_job m = {x, batch, channels, height, width, {0, 0, 0, 0}, -1};
    double lam = fv__mix_draw(c, d, r, &m, labels, classes, targets);
    if (lam >= 0 && lam < 1) fv_parallel(c, (batch + 1) / 2, fv__mix_pair, &m);
    return lam;
}

FV_DEF fv_tensor *fv_mixup_batch(fv_ctx *c, const fv_mixup_desc *d, fv_rng *r, fv_tensor *x,
                                 const int32_t *labels, int classes, fv_tensor **targets) {
    int64_t soft[2];
    if (!fv__need(c, "mixup", x)) return NULL;
    if (x->rank != 4 || x->type != FV_F32 || x->device || fv_numel(x) > INT32_MAX)
        return fv__shape_fail(c, "mixup", x, NULL, "f32 [batch,channels,height,width] of the host is wanted"),
               (fv_tensor *)NULL;
    fv__mix_job m = {
        (float *)x->data, (int)x->dim[0], (int)x->dim[1], (int)x->dim[2], (int)x->dim[3], {0, 0, 0, 0}, -1};
    soft[0] = x->dim[0], soft[1] = FV__MAX(classes, 0);
    *targets = fv_new(c, FV_F32, 2, soft);
    double lam = *targets ? fv__mix_draw(c, d, r, &m, labels, classes, (float *)(*targets)->data) : -1;
    if (lam < 0) return NULL;
#ifdef FROZENVIS_CUDA
    if (c->device) { /* one kernel whatever was drawn: a recorded step keeps its shape */
        fv_tensor *y = fv__result(c, FV_F32, 4, x->dim);
        fv__bring(c, x);
        m.x = (float *)fv__elements(x);
        if (y) FV__START(c, fv__grid_of(fv_numel(x)), dim3(256), (m, (float *)y->data), fv__mix_k);
        return c->status ? NULL : y;
    }
#endif
    if (lam < 1) fv_parallel(c, (m.batch + 1) / 2, fv__mix_pair, &m);
    return x;
}

/* ======================================================================================================
 * >>clouds (implementation)
 * ====================================================================================================== */
typedef struct fv__cloud_job {
    fv_ctx *c;
    const float *points, *centre;
    int32_t *index;
    int64_t N, G, K;
} fv__cloud_job;

/* x, y, z of a cloud in arrays of their own, padded for whole vectors; and room for n distances: 4 arrays of
 * the returned stride */
static float *fv__cloud_planes(const fv__cloud_job *j, const float *p, int worker, int64_t *stride) {
    float *a = (float *)(void *)fv__scratch(j->c, worker);
    int64_t n = j->N, ld = *stride = FV__ROUND_UP(n, 16);
    for (int64_t i = 0; i < n; i++) a[i] = p[3 * i], a[ld + i] = p[3 * i + 1], a[2 * ld + i] = p[3 * i + 2];
    return a;
}

static void fv__fps_job(void *arg, int cloud, int worker) {
    const fv__cloud_job *j = (const fv__cloud_job *)arg;
    const fv__kernels *k = fv__kernels_for(j->c, FV_F32);
    int64_t ld, at = 0;
    float *a = fv__cloud_planes(j, j->points + (int64_t)cloud * j->N * 3, worker, &ld), *least = a + 3 * ld;
    int32_t *index = j->index + (int64_t)cloud * j->G;
    for (int64_t i = 0; i < j->N; i++) least[i] = 1e30f;
    for (int64_t g = 0; g < j->G; g++) {
        index[g] = (int32_t)at;
        k->distances(least, a, a + ld, a + 2 * ld, j->N, a[at], a[ld + at], a[2 * ld + at], 1);
        float most = (float)k->row_max(least, j->N);
        for (at = 0; at < j->N - 1 && !(least[at] >= most); at++) /* the first of equal ones */
            ;
    }
}

FV_DEF int fv_fps(fv_ctx *c, const float *points, int64_t B, int64_t N, int64_t G, int32_t *index) {
    fv__cloud_job j;
    if (c->status) return 0;
    if (N < 1 || G < 1 || G > N || B < 0 || N > INT32_MAX / 4)
        return fv_fail(c, FV_ESHAPE, "fps: %lld of %lld points cannot be chosen", (long long)G, (long long)N);
    memset(&j, 0, sizeof j);
    j.c = c, j.points = points, j.index = index, j.N = N, j.G = G;
    fv__scratch_reserve(c, (size_t)(4 * FV__ROUND_UP(N, 16)) * sizeof(float));
    if (!c->status) fv_parallel(c, (int)B, fv__fps_job, &j);
    return !c->status;
}

/* i is nearer than j, or as near and earlier */
static int fv__nearer(const float *d, int32_t i, int32_t j) { return d[i] < d[j] || (d[i] <= d[j] && i < j); }

/* The K nearest in a heap with the farthest on top: most points are turned down by one comparison. Then
 * sorted, nearest first. */
static void fv__nearest(const float *d, int64_t n, int64_t K, int32_t *heap) {
    for (int64_t i = 0; i < n + K; i++) {
        int64_t at = 0, size = FV__MIN(i, K);
        int32_t one;
        if (i < K) { /* grows: up from the end */
            for (one = (int32_t)i, at = i; at && fv__nearer(d, heap[(at - 1) / 2], one); at = (at - 1) / 2)
                heap[at] = heap[(at - 1) / 2];
            heap[at] = one;
            continue;
        }
        if (i < n) { /* replaces the top */
            if (!(d[i] < d[heap[0]])) continue;
            one = (int32_t)i;
        } else { /* taken down: the top goes to the end */
            size = n + K - 1 - i;
            one = heap[size];
            heap[size] = heap[0];
            if (!size) return;
        }
        for (int64_t child; (child = 2 * at + 1) < size; at = child) {
            if (child + 1 < size && fv__nearer(d, heap[child], heap[child + 1])) child++;
            if (!fv__nearer(d, one, heap[child])) break;
            heap[at] = heap[child];
        }
        heap[at] = one;
    }
}

static void fv__knn_job(void *arg, int cloud, int worker) {
    const fv__cloud_job *j = (const fv__cloud_job *)arg;
    const fv__kernels *k = fv__kernels_for(j->c, FV_F32);
    int64_t ld;
    float *a = fv__cloud_planes(j, j->points + (int64_t)cloud * j->N * 3, worker, &ld), *d = a + 3 * ld;
    for (int64_t g = 0; g < j->G; g++) {
        const float *p = j->centre + ((int64_t)cloud * j->G + g) * 3;
        k->distances(d, a, a + ld, a + 2 * ld, j->N, p[0], p[1], p[2], 0);
        fv__nearest(d, j->N, j->K, j->index + ((int64_t)cloud * j->G + g) * j->K);
    }
}

FV_DEF int fv_knn(fv_ctx *c, const float *points, int64_t B, int64_t N, const float *centre, int64_t G,
                  int64_t K, int32_t *index) {
    fv__cloud_job j;
    if (c->status) return 0;
    if (N < 1 || K < 1 || K > N || G < 0 || B < 0 || N > INT32_MAX / 4)
        return fv_fail(c, FV_ESHAPE, "knn: %lld of %lld points cannot be the nearest", (long long)K,
                       (long long)N);
    memset(&j, 0, sizeof j);
    j.c = c, j.points = points, j.centre = centre, j.index = index, j.N = N, j.G = G, j.K = K;
    fv__scratch_reserve(c, (size_t)(4 * FV__ROUND_UP(N, 16)) * sizeof(float));
    if (!c->status) fv_parallel(c, (int)B, fv__knn_job, &j);
    return !c->status;
}

FV_DEF void fv_points_augment(fv_rng *r, float *points, int64_t n) {
    float scale[3], shift[3];
    for (int k = 0; k < 3; k++) scale[k] = 2.0f / 3 + fv_rng_uniform(r) * (1.5f - 2.0f / 3);
    for (int k = 0; k < 3; k++) shift[k] = (fv_rng_uniform(r) * 2 - 1) * 0.2f;
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < 3; k++) points[3 * i + k] = points[3 * i + k] * scale[k] + shift[k];
}

#ifdef FROZENVIS_CUDA
/* On a GPU: a block a cloud for the farthest points, a warp a centre for its neighbours; the same distances
 * and the same order of equal ones as above, so the same groups. Distances are summed without fused products,
 * as the CPU sums them. */
typedef struct fv__cu_cloud {
    const void *x;
    fv_type type;
    float *least; /* [B,N]: distance to the nearest chosen point */
    int32_t *first, *index;
    void *centre, *near;
    int64_t B, N, G, K;
} fv__cu_cloud;
FV__DEV float fv__cloud_distance(const fv__cu_cloud &j, int64_t p, const float *q) {
    float a = fv__ld<float>(j.x, j.type, 3 * p) - q[0], b = fv__ld<float>(j.x, j.type, 3 * p + 1) - q[1],
          e = fv__ld<float>(j.x, j.type, 3 * p + 2) - q[2];
    return __fadd_rn(__fadd_rn(__fmul_rn(a, a), __fmul_rn(b, b)), __fmul_rn(e, e));
}
/* of two points the farther one, of equal ones the first; all lanes get the warp's */
FV__DEV void fv__warp_farthest(float *d, int32_t *at) {
    for (int w = 16; w; w /= 2) {
        float e = __shfl_xor_sync(0xffffffffu, *d, w);
        int32_t i = __shfl_xor_sync(0xffffffffu, *at, w);
        if (e > *d || (e == *d && i < *at)) *d = e, *at = i;
    }
}
FV__KERNEL fv__fps_k(fv__cu_cloud j) {
    __shared__ float far[8];
    __shared__ int32_t who[8];
    int64_t cloud = blockIdx.x, from = cloud * j.N;
    int t = (int)threadIdx.x;
    int32_t at = 0;
    for (int64_t i = t; i < j.N; i += 256) j.least[from + i] = 1e30f;
    for (int64_t g = 0; g < j.G; g++) {
        float q[3], d = -1;
        int32_t best = 0;
        if (!t) j.first[cloud * j.G + g] = at;
        for (int k = 0; k < 3; k++) q[k] = fv__ld<float>(j.x, j.type, 3 * (from + at) + k);
        for (int64_t i = t; i < j.N; i += 256) {
            float e = fv__cloud_distance(j, from + i, q), l = j.least[from + i];
            l = j.least[from + i] = e < l ? e : l;
            if (l > d) d = l, best = (int32_t)i;
        }
        fv__warp_farthest(&d, &best);
        if (t % 32 == 0) far[t / 32] = d, who[t / 32] = best;
        __syncthreads();
        for (int k = 0; k < 8; k++)
            if (!k || far[k] > d || (far[k] == d && who[k] < at)) d = far[k], at = who[k];
        __syncthreads(); /* before the next round writes there */
    }
}
/* K times the nearest of those not taken: after the last one in the order of distance and number */
FV__KERNEL fv__knn_k(fv__cu_cloud j) {
    int64_t unit = fv__my_row(), cloud = unit / j.G;
    if (unit >= j.B * j.G) return;
    float q[3], last = -1;
    int32_t last_at = -1;
    for (int k = 0; k < 3; k++) q[k] = fv__ld<float>(j.x, j.type, 3 * (cloud * j.N + j.first[unit]) + k);
    for (int64_t n = 0; n < j.K; n++) {
        float d = INFINITY;
        int32_t best = INT32_MAX;
        for (int64_t i = threadIdx.x; i < j.N; i += 32) {
            float e = fv__cloud_distance(j, cloud * j.N + i, q);
            if ((e > last || (e == last && (int32_t)i > last_at)) && e < d) d = e, best = (int32_t)i;
        }
        d = -d;
        fv__warp_farthest(&d, &best);
        last = -d, last_at = best;
        if (!threadIdx.x) j.index[unit * j.K + n] = best;
    }
}
FV__KERNEL fv__groups_k(fv__cu_cloud j) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, k = e % 3, n = e / 3 % j.K,
            unit = e / 3 / j.K, from = unit / j.G * j.N;
    if (unit >= j.B * j.G) return;
    double mid = fv__ld<double>(j.x, j.type, 3 * (from + j.first[unit]) + k);
    int32_t at = j.index[unit * j.K + n];
    if (!n) fv__st<double>(j.centre, j.type, 3 * unit + k, mid);
    fv__st<double>(j.near, j.type, e,
                   at < 0 || at >= j.N ? NAN : fv__ld<double>(j.x, j.type, 3 * (from + at) + k) - mid);
}
/* centre [B,G,3] and near [B,G,K,3], in the device's memory */
static int fv__cu_groups(fv_ctx *c, const fv_tensor *x, fv_tensor *centre, fv_tensor *near) {
    fv__cu_cloud j;
    memset(&j, 0, sizeof j);
    j.B = x->dim[0], j.N = x->dim[1], j.G = centre->dim[1], j.K = near->dim[2];
    if (j.N < 1 || j.G < 1 || j.G > j.N || j.K < 1 || j.K > j.N || j.N > INT32_MAX / 4)
        return fv_fail(c, FV_ESHAPE, "point_groups: %lld groups of %lld cannot be made of %lld points",
                       (long long)j.G, (long long)j.K, (long long)j.N);
    fv__bring(c, (fv_tensor *)(uintptr_t)x);
    fv__span *s = fv__pool_alloc(c, (size_t)(j.B * (j.N + j.G * (1 + j.K))) * 4);
    if (!s) return 0;
    j.x = fv__elements(x), j.type = x->type, j.centre = centre->data, j.near = near->data;
    j.least = (float *)(void *)s->data, j.first = (int32_t *)(void *)(j.least + j.B * j.N),
    j.index = j.first + j.B * j.G;
    if (j.B) {
        FV__START(c, dim3((unsigned)j.B), dim3(256), (j), fv__fps_k);
        FV__START(c, fv__row_grid(j.B * j.G), fv__row_block(), (j), fv__knn_k);
        FV__START(c, fv__grid_of(j.B * j.G * j.K * 3), dim3(256), (j), fv__groups_k);
    }
    fv__pool_free(c, s);
    return !c->status;
}
#endif
FV_DEF fv_tensor *fv_point_groups(fv_ctx *c, const fv_tensor *x, int G, int K, fv_tensor **centres) {
    int64_t dim[4];
    if (c->status || !x) return NULL;
    if (x->rank != 3 || x->dim[2] != 3)
        return fv_fail(c, FV_ESHAPE, "point_groups: points [B,N,3] are wanted"), (fv_tensor *)NULL;
    int64_t B = x->dim[0], N = x->dim[1];
    dim[0] = B, dim[1] = G, dim[2] = K, dim[3] = 3;
    fv_tensor *near = fv__result(c, x->type, 4, dim);
    dim[2] = 3;
    fv_tensor *centre = *centres = fv__result(c, x->type, 3, dim);
#ifdef FROZENVIS_CUDA
    if (c->device) return near && centre && fv__cu_groups(c, x, centre, near) ? near : NULL;
#endif
    fv__span *s = fv__pool_alloc(c, (size_t)(B * N * 3 + B * G * (3 + 1 + K)) * 4);
    if (!near || !centre || !s) return NULL;
    float *p = (float *)(void *)s->data, *q = p + B * N * 3;
    int32_t *first = (int32_t *)(void *)(q + B * G * 3), *index = first + B * G;
    fv__convert(p, FV_F32, x->data, x->type, B * N * 3);
    if (fv_fps(c, p, B, N, G, first)) {
        for (int64_t i = 0; i < B * G; i++) memcpy(q + 3 * i, p + (i / G * N + first[i]) * 3, 3 * sizeof *q);
        fv_knn(c, p, B, N, q, G, K, index);
    }
    for (int64_t i = 0; i < B * G && !c->status; i++)
        for (int k = 0; k < 3; k++) {
            double mid = fv__get(x->data, x->type, (i / G * N + first[i]) * 3 + k);
            fv__set(centre->data, x->type, 3 * i + k, mid);
            for (int64_t n = 0; n < K; n++)
                fv__set(near->data, x->type, 3 * (i * K + n) + k,
                        fv__get(x->data, x->type, (i / G * N + index[i * K + n]) * 3 + k) - mid);
        }
    fv__pool_free(c, s);
    return c->status ? NULL : near;
}

FV__SELDOM

/* ======================================================================================================
 * >>model (implementation)
 * ====================================================================================================== */
/* ---- the config's values, with a sentence for each that does not fit ---- */
static int fv__wrong_value(fv_ctx *c, const char *key, const char *wanted) {
    return fv_fail(c, FV_EUSAGE, "config: %s must be %s", key, wanted);
}

/* A key's value as an int in [least, most]; `otherwise` when absent or null. */
static int fv__json_int(fv_ctx *c, const fv_json *j, fv_jnode node, const char *key, int otherwise, int least,
                        int most) {
    fv_jnode v = fv_json_get(j, node, key);
    fv_json_kind kind = fv_json_type(j, v);
    if (kind == FV_JSON_ABSENT || kind == FV_JSON_NULL) return otherwise;
    double x = fv_json_number(j, v, NAN);
    if (kind == FV_JSON_NUMBER && x == floor(x) && x >= least && x <= most) return (int)x;
    fv_fail(c, FV_EUSAGE, "config: %s must be a whole number from %d to %d", key, least, most);
    return otherwise;
}
static float fv__json_float(fv_ctx *c, const fv_json *j, fv_jnode node, const char *key, float otherwise) {
    fv_jnode v = fv_json_get(j, node, key);
    fv_json_kind kind = fv_json_type(j, v);
    if (kind == FV_JSON_ABSENT || kind == FV_JSON_NULL) return otherwise;
    double x = fv_json_number(j, v, NAN);
    if (kind == FV_JSON_NUMBER && x > -1e30 && x < 1e30) return (float)x;
    fv__wrong_value(c, key, "a number");
    return otherwise;
}
static int fv__json_bool(fv_ctx *c, const fv_json *j, fv_jnode node, const char *key, int otherwise) {
    fv_jnode v = fv_json_get(j, node, key);
    fv_json_kind kind = fv_json_type(j, v);
    if (kind == FV_JSON_TRUE || kind == FV_JSON_FALSE) return kind == FV_JSON_TRUE;
    if (kind != FV_JSON_ABSENT && kind != FV_JSON_NULL) fv__wrong_value(c, key, "true or false");
    return otherwise;
}
static const char *fv__json_string(fv_ctx *c, const fv_json *j, fv_jnode node, const char *key,
                                   const char *otherwise) {
    fv_jnode v = fv_json_get(j, node, key);
    fv_json_kind kind = fv_json_type(j, v);
    if (kind == FV_JSON_STRING) return fv_json_string(j, v, otherwise);
    if (kind != FV_JSON_ABSENT && kind != FV_JSON_NULL) fv__wrong_value(c, key, "a string");
    return otherwise;
}
/* The number of a name in a list that NULL ends; `list` is what the message says. */
static int fv__json_choice(fv_ctx *c, const fv_json *j, fv_jnode node, const char *key,
                           const char *const *names, const char *list) {
    const char *s = fv__json_string(c, j, node, key, names[0]);
    for (int i = 0; names[i]; i++)
        if (!strcmp(s, names[i])) return i;
    fv_fail(c, FV_EUSAGE, "config: %s is \"%.40s\"; it can be %s", key, s, list);
    return 0;
}
static int fv__in_list(const char *s, const char *const *list) {
    for (int i = 0; list[i]; i++)
        if (!strcmp(s, list[i])) return 1;
    return 0;
}

FV_DEF int fv_config_int(fv_ctx *c, const fv_model *m, const char *key, int otherwise, int least, int most) {
    return fv__json_int(c, m->config, fv_json_root(m->config), key, otherwise, least, most);
}
FV_DEF float fv_config_float(fv_ctx *c, const fv_model *m, const char *key, float otherwise) {
    return fv__json_float(c, m->config, fv_json_root(m->config), key, otherwise);
}
FV_DEF int fv_config_bool(fv_ctx *c, const fv_model *m, const char *key, int otherwise) {
    return fv__json_bool(c, m->config, fv_json_root(m->config), key, otherwise);
}
FV_DEF const char *fv_config_string(fv_ctx *c, const fv_model *m, const char *key, const char *otherwise) {
    return fv__json_string(c, m->config, fv_json_root(m->config), key, otherwise);
}

FV_DEF int fv_config_known(fv_ctx *c, const fv_model *m, const char *const *keys) {
    /* of every network, and what a run's config.json says about training, data and where the weights came
     * from */
    static const char *const common[] = {
        "arch", "frozen",  "num_classes", "drop_path_rate", "drop_rate", "linear_init", "train",
        "data", "classes", "format",      "task",           "llm",       NULL};
    const fv_json *j = m->config;
    for (fv_jnode v = fv_json_first(j, fv_json_root(j)); v; v = fv_json_next(j, v))
        if (!fv__in_list(fv_json_key(j, v), common) && !fv__in_list(fv_json_key(j, v), keys))
            return fv_fail(c, FV_EUSAGE, "config: arch %s has no key \"%.60s\"", m->arch->name,
                           fv_json_key(j, v));
    return 1;
}

/* ---- the frozen stage's settings ---- */
static const char *const fv__variant_names[] = {"llm",      "base",     "linear",  "mlp", "random",
                                                "shuffled", "finetune", "scratch", NULL};
FV_DEF int fv_variant_parse(const char *name) {
    for (int i = 0; fv__variant_names[i]; i++)
        if (!strcmp(name, fv__variant_names[i])) return i;
    return -1;
}
FV_DEF const char *fv_variant_name(fv_variant v) {
    return (int)v >= 0 && (int)v < FV__COUNT(fv__variant_names) - 1 ? fv__variant_names[v] : "?";
}

static int fv__frozen_known(fv_ctx *c, const fv_json *j, fv_jnode node) {
    static const char *const keys[] = {"arch",
                                       "hidden_size",
                                       "num_attention_heads",
                                       "num_key_value_heads",
                                       "intermediate_size",
                                       "ffn_dim",
                                       "head_dim",
                                       "rms_norm_eps",
                                       "layer_norm_eps",
                                       "num_hidden_layers",
                                       "layers",
                                       "rope",
                                       "rope_theta",
                                       "causal",
                                       "final_norm",
                                       "only_mlp",
                                       "residual",
                                       "do_layer_norm_before",
                                       "activation_function",
                                       "variant",
                                       "after_block",
                                       "fold",
                                       "weights",
                                       "sha256",
                                       "file",
                                       NULL};
    for (fv_jnode v = fv_json_first(j, node); v; v = fv_json_next(j, v))
        if (!fv__in_list(fv_json_key(j, v), keys))
            return fv_fail(c, FV_EUSAGE, "config: frozen has no key \"%.60s\"", fv_json_key(j, v));
    return 1;
}

/* `layers`: a list of blocks, or one number; else num_hidden_layers n: 0..n-1 */
static int fv__parse_layers(fv_ctx *c, const fv_json *j, fv_jnode node, fv_frozen_config *g) {
    fv_jnode list = fv_json_get(j, node, "layers");
    fv_json_kind kind = fv_json_type(j, list);
    if (kind == FV_JSON_ABSENT || kind == FV_JSON_NULL) {
        g->num_layers = fv__json_int(c, j, node, "num_hidden_layers", 0, 1, FV_MAX_LAYERS);
        for (int i = 0; i < g->num_layers; i++) g->layers[i] = i;
        return !c->status;
    }
    int n = kind == FV_JSON_ARRAY ? fv_json_count(j, list) : 1;
    if (n < 1 || n > FV_MAX_LAYERS)
        return fv_fail(c, FV_EUSAGE, "config: frozen.layers names 1 to %d blocks", FV_MAX_LAYERS);
    for (int i = 0; i < n; i++) {
        double x = fv_json_number(j, kind == FV_JSON_ARRAY ? fv_json_at(j, list, i) : list, NAN);
        if (!(x >= 0 && x < 100000 && x == floor(x)))
            return fv__wrong_value(c, "frozen.layers", "a list of block numbers, the first block is 0");
        g->layers[i] = (int)x;
    }
    g->num_layers = n;
    return 1;
}

static void fv__parse_final_norm(fv_ctx *c, const fv_json *j, fv_jnode node, fv_frozen_config *g) {
    static const char *const names[] = {"ones", "loaded", "none", NULL};
    fv_json_kind kind = fv_json_type(j, fv_json_get(j, node, "final_norm"));
    if (kind == FV_JSON_TRUE) g->final_norm = FV_NORM_LOADED;
    else if (kind == FV_JSON_FALSE) g->final_norm = FV_NORM_NONE;
    else
        g->final_norm = (fv_final_norm)fv__json_choice(c, j, node, "final_norm", names,
                                                       "ones, loaded, none, true, false");
}

/* What stands only in our configs. */
static void fv__parse_stage_keys(fv_ctx *c, const fv_json *j, fv_jnode node, fv_frozen_config *g) {
    static const char *const arch[] = {"llama", "opt", NULL};
    static const char *const residual[] = {"none", "inside", "outside", "both", "outside_nn", NULL};
    g->arch = (fv_llm_arch)fv__json_choice(c, j, node, "arch", arch, "llama or opt");
    g->rope = fv__json_bool(c, j, node, "rope", 0);
    g->causal = fv__json_bool(c, j, node, "causal", 0);
    g->only_mlp = fv__json_bool(c, j, node, "only_mlp", 0);
    if (fv_json_get(j, node, "fold")) g->fold = fv__json_bool(c, j, node, "fold", 0) ? 1 : -1;
    g->residual = (fv_residual)fv__json_choice(c, j, node, "residual", residual,
                                               "none, inside, outside, both, outside_nn");
    g->variant = (fv_variant)fv__json_choice(c, j, node, "variant", fv__variant_names,
                                             "llm, base, linear, mlp, random, shuffled, finetune, scratch");
    g->after_block = fv__json_int(c, j, node, "after_block", -1, -1, 10000) + 1;
    fv__parse_final_norm(c, j, node, g);
    fv__parse_layers(c, j, node, g);
}

static void fv__parse_activation(fv_ctx *c, const fv_json *j, fv_jnode node, int strict,
                                 fv_frozen_config *g) {
    const char *act = fv__json_string(c, j, node, "activation_function", "relu");
    g->gelu = !strcmp(act, "gelu");
    if (strict && !g->gelu && strcmp(act, "relu"))
        fv_fail(c, FV_EUSAGE, "config: frozen.activation_function is \"%.40s\"; it can be relu or gelu", act);
}

/* Two names of one number: both may be there if they say the same. */
static int fv__twice_alike(fv_ctx *c, const fv_json *j, fv_jnode node, const char *a, const char *b) {
    double x = fv_json_number(j, fv_json_get(j, node, a), NAN),
           y = fv_json_number(j, fv_json_get(j, node, b), NAN);
    if (!(x < y || x > y)) return 1;
    return fv_fail(c, FV_EUSAGE, "config: frozen.%s is %g, and frozen.%s is %g: one is wanted", a, x, b, y);
}

FV_DEF int fv_frozen_config_parse(fv_ctx *c, const fv_json *j, fv_jnode node, int strict,
                                  fv_frozen_config *g) {
    memset(g, 0, sizeof *g);
    if (c->status) return 0;
    if (fv_json_type(j, node) != FV_JSON_OBJECT) return fv__wrong_value(c, "frozen", "an object or null");
    if (strict && !fv__frozen_known(c, j, node)) return 0;
    if (strict) fv__parse_stage_keys(c, j, node, g);
    const int most = 1 << 20;
    int ffn = fv__json_int(c, j, node, "ffn_dim", 0, 1, most);
    if (strict && !fv__twice_alike(c, j, node, "intermediate_size", "ffn_dim")) return 0;
    if (strict && !fv__twice_alike(c, j, node, "rms_norm_eps", "layer_norm_eps")) return 0;
    if (strict && !(fv__json_float(c, j, node, "rms_norm_eps", 1) > 0 &&
                    fv__json_float(c, j, node, "layer_norm_eps", 1) > 0))
        return fv__wrong_value(c, "frozen.rms_norm_eps (layer_norm_eps)", "above 0");
    if (strict && !(fv__json_float(c, j, node, "rope_theta", 1) > 0))
        return fv__wrong_value(c, "frozen.rope_theta", "above 0");
    g->hidden_size = fv__json_int(c, j, node, "hidden_size", 0, 1, most);
    g->num_attention_heads = fv__json_int(c, j, node, "num_attention_heads", 0, 1, most);
    g->num_key_value_heads = fv__json_int(c, j, node, "num_key_value_heads", 0, 1, most);
    g->intermediate_size = fv__json_int(c, j, node, "intermediate_size", ffn, 1, most);
    g->head_dim = fv__json_int(c, j, node, "head_dim", 0, 1, most);
    g->rms_norm_eps =
        fv__json_float(c, j, node, "rms_norm_eps", fv__json_float(c, j, node, "layer_norm_eps", 0));
    if (g->rms_norm_eps < 0) return fv__wrong_value(c, "frozen.rms_norm_eps", "0 or more");
    g->rope_theta = fv__json_float(c, j, node, "rope_theta", 0);
    g->norm_after = !fv__json_bool(c, j, node, "do_layer_norm_before", 1);
    g->rope_scaled = fv_json_type(j, fv_json_get(j, node, "rope_scaling")) == FV_JSON_OBJECT;
    fv__parse_activation(c, j, node, strict, g);
    return !c->status;
}

/* ---- parameters ---- */
static float fv__conv_bound(const fv_params *p, int rank, const int64_t *dim) {
    const fv_tensor *before = rank == 1 && p->count > 1 ? p->at[p->count - 2] : NULL;
    int64_t fan = 1;
    for (int i = 1; i < (before ? before->rank : rank); i++) fan *= before ? before->dim[i] : dim[i];
    return 1 / sqrtf((float)fan);
}

FV_DEF fv_tensor *fv_model_param(fv_ctx *c, fv_model *m, const char *name, int rank, const int64_t *dim,
                                 fv_init init) {
    fv_tensor *t = fv_param(c, name, m->type, rank, dim);
    if (!t || !fv_params_add(c, &m->params, t)) return NULL;
    /* the same for every variant: the encoder is built first */
    uint64_t stream = (m->seed << 20) + (uint64_t)m->params.count;
    switch (init) {
    case FV_INIT_ONES: fv_init_fill(t, 1); break;
    case FV_INIT_TRUNC: fv_init_trunc_normal(c, t, 0.02f, stream); break;
    case FV_INIT_TINY: fv_init_normal(c, t, 1e-6f, stream); break;
    case FV_INIT_CONV: fv_init_uniform(c, t, fv__conv_bound(&m->params, rank, dim), stream); break;
    case FV_INIT_XAVIER: fv_init_uniform(c, t, sqrtf(6 / (float)(dim[0] + dim[1])), stream); break;
    default: break;
    }
    return t;
}

FV_DEF fv_tensor *fv_model_buffer(fv_ctx *c, fv_model *m, const char *name, int64_t n, double value) {
    fv_tensor *t = fv_constant(c, name, m->type, 1, &n);
    if (!t || !fv_params_add(c, &m->buffers, t)) return NULL;
    fv_init_fill(t, (float)value);
    return t;
}

/* "FILE: NAME is [a,b], [c,d] is wanted" */
static int fv__entry_misfit(fv_ctx *c, const fv_weights *w, const fv_entry *e, fv_status status,
                            const char *wanted) {
    fv_tensor t;
    char have[128];
    size_t n;
    memset(&t, 0, sizeof t);
    t.rank = e->rank;
    for (int i = 0; i < e->rank; i++) t.dim[i] = e->dim[i];
    fv__shape_text(&t, have, sizeof have);
    n = strlen(have);
    if (n > 2) have[n - 2] = 0; /* without the type */
    return fv_fail(c, status, "%s: %s is %s, and the config wants %s", fv_weights_path(w), e->name, have,
                   wanted);
}

/* ======================================================================================================
 * >>frozen (implementation)
 * ====================================================================================================== */
/* ---- names: what each slot is called in the four families of files ---- */
typedef enum fv__style { FV__META = 0, FV__HF, FV__GGUF, FV__OPT, FV__STYLES } fv__style;

/* dims by letter: D hidden size, Q heads*head_dim, K kv heads*head_dim, F intermediate size; columns 0: a
 * vector */
typedef struct fv__slot_spec {
    char rows, cols;
    const char *name[FV__STYLES];
} fv__slot_spec;
static const fv__slot_spec fv__slots[FV_LLM_SLOTS] = {
    {'D',
     0,
     {"attention_norm.weight", "input_layernorm.weight", "attn_norm.weight", "self_attn_layer_norm.weight"}},
    {'D', 0, {NULL, NULL, NULL, "self_attn_layer_norm.bias"}},
    {'Q',
     'D',
     {"attention.wq.weight", "self_attn.q_proj.weight", "attn_q.weight", "self_attn.q_proj.weight"}},
    {'Q', 0, {NULL, NULL, NULL, "self_attn.q_proj.bias"}},
    {'K',
     'D',
     {"attention.wk.weight", "self_attn.k_proj.weight", "attn_k.weight", "self_attn.k_proj.weight"}},
    {'K', 0, {NULL, NULL, NULL, "self_attn.k_proj.bias"}},
    {'K',
     'D',
     {"attention.wv.weight", "self_attn.v_proj.weight", "attn_v.weight", "self_attn.v_proj.weight"}},
    {'K', 0, {NULL, NULL, NULL, "self_attn.v_proj.bias"}},
    {'D',
     'Q',
     {"attention.wo.weight", "self_attn.o_proj.weight", "attn_output.weight", "self_attn.out_proj.weight"}},
    {'D', 0, {NULL, NULL, NULL, "self_attn.out_proj.bias"}},
    {'D',
     0,
     {"ffn_norm.weight", "post_attention_layernorm.weight", "ffn_norm.weight", "final_layer_norm.weight"}},
    {'D', 0, {NULL, NULL, NULL, "final_layer_norm.bias"}},
    {'F', 'D', {"feed_forward.w1.weight", "mlp.gate_proj.weight", "ffn_gate.weight", NULL}},
    {'F', 'D', {"feed_forward.w3.weight", "mlp.up_proj.weight", "ffn_up.weight", "fc1.weight"}},
    {'F', 0, {NULL, NULL, NULL, "fc1.bias"}},
    {'D', 'F', {"feed_forward.w2.weight", "mlp.down_proj.weight", "ffn_down.weight", "fc2.weight"}},
    {'D', 0, {NULL, NULL, NULL, "fc2.bias"}},
};
static const char *const fv__final_norm_name[FV__STYLES] = {"norm.weight", "norm.weight",
                                                            "output_norm.weight", "final_layer_norm.weight"};

/* Where a file keeps its blocks: prefix + "layers." or "blk." + number + "." + the slot's name. */
typedef struct fv__naming {
    fv__style style;
    char prefix[160];
    int layers; /* the greatest number seen + 1 */
} fv__naming;
enum { FV__NAME = 320 };

static void fv__slot_name(char *out, const fv__naming *n, int layer, int slot) {
    snprintf(out, FV__NAME, "%s%s.%d.%s", n->prefix, n->style == FV__GGUF ? "blk" : "layers", layer,
             fv__slots[slot].name[n->style]);
}

/* Takes `prefix layers.N.<down projection>` apart. The FFN's last matrix is in every block, with only_mlp
 * too. */
static int fv__parse_block_name(const char *name, fv__naming *out, int *layer) {
    for (int style = 0; style < FV__STYLES; style++) {
        const char *tail = fv__slots[FV_LLM_DOWN].name[style], *word = style == FV__GGUF ? "blk." : "layers.";
        size_t n = strlen(name), t = strlen(tail), at;
        if (n <= t + 1 || strcmp(name + n - t, tail) || name[n - t - 1] != '.') continue;
        for (at = n - t - 1; at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9'; at--) {}
        size_t w = strlen(word), digits = n - t - 1 - at;
        if (!digits || digits > 6 || at < w || strncmp(name + at - w, word, w)) continue;
        size_t prefix = at - w;
        if (prefix >= sizeof out->prefix || (prefix && name[prefix - 1] != '.')) continue;
        out->style = (fv__style)style;
        memcpy(out->prefix, name, prefix);
        out->prefix[prefix] = 0;
        *layer = atoi(name + at);
        return 1;
    }
    return 0;
}

/* Finds the naming of w; with several (a vision tower beside the LLM) an LLM's own style, then the shortest
 * prefix, wins. */
static int fv__find_naming(const fv_weights *w, fv_llm_arch arch, fv__naming *out) {
    int found = 0;
    memset(out, 0, sizeof *out);
    for (int i = 0; i < fv_weights_count(w); i++) {
        fv__naming n;
        int layer;
        if (!fv__parse_block_name(fv_weights_at(w, i)->name, &n, &layer) ||
            (n.style == FV__OPT) != (arch == FV_OPT))
            continue;
        int same = found && n.style == out->style && !strcmp(n.prefix, out->prefix);
        if (!found || (!same && strlen(n.prefix) < strlen(out->prefix))) *out = n, out->layers = 0;
        else if (!same) continue;
        out->layers = FV__MAX(out->layers, layer + 1);
        found = 1;
    }
    return found;
}

FV_DEF int fv_frozen_has(fv_ctx *c, fv_weights *w) {
    fv__naming n;
    return !c->status && w && (fv__find_naming(w, FV_LLAMA, &n) || fv__find_naming(w, FV_OPT, &n));
}

/* ---- dims ---- */
static int fv__head_dim(const fv_frozen_config *g) {
    return g->head_dim ? g->head_dim : g->hidden_size / FV__MAX(1, g->num_attention_heads);
}
static int64_t fv__slot_dim(const fv_frozen_config *g, char letter) {
    switch (letter) {
    case 'D': return g->hidden_size;
    case 'Q': return (int64_t)g->num_attention_heads * fv__head_dim(g);
    case 'K': return (int64_t)g->num_key_value_heads * fv__head_dim(g);
    default: return g->intermediate_size;
    }
}
/* 1 when blocks of this config have the slot */
static int fv__slot_used(const fv_frozen_config *g, int slot) {
    if (g->only_mlp && slot < FV_LLM_NORM2) return 0;
    return fv__slots[slot].name[g->arch == FV_OPT ? FV__OPT : FV__META] != NULL;
}
static int fv__trained_blocks(const fv_frozen_config *g) {
    return g->variant == FV_VARIANT_FINETUNE || g->variant == FV_VARIANT_SCRATCH;
}
static int fv__has_blocks(const fv_frozen_config *g) {
    return g->variant != FV_VARIANT_BASE && g->variant != FV_VARIANT_LINEAR && g->variant != FV_VARIANT_MLP;
}

static int fv__check_dims(fv_ctx *c, const fv_frozen_config *g) {
    if (g->hidden_size <= 0)
        return fv_fail(c, FV_EUSAGE,
                       "frozen.hidden_size is missing: give it in the config, or an LLM's file with --llm");
    if (!fv__has_blocks(g)) return 1;
    if (g->num_attention_heads <= 0 || g->intermediate_size <= 0)
        return fv_fail(c, FV_EUSAGE,
                       "frozen.%s is missing: give it in the config, or an LLM's file with --llm",
                       g->num_attention_heads <= 0 ? "num_attention_heads" : "intermediate_size");
    if (!g->head_dim && g->hidden_size % g->num_attention_heads)
        return fv_fail(c, FV_EUSAGE, "frozen.hidden_size %d is no multiple of num_attention_heads %d",
                       g->hidden_size, g->num_attention_heads);
    if (g->num_attention_heads % FV__MAX(1, g->num_key_value_heads))
        return fv_fail(c, FV_EUSAGE, "frozen.num_attention_heads %d is no multiple of num_key_value_heads %d",
                       g->num_attention_heads, g->num_key_value_heads);
    if (g->rope && fv__head_dim(g) % 2)
        return fv_fail(c, FV_EUSAGE, "frozen.rope needs an even head size, this one is %d", fv__head_dim(g));
    if (g->num_layers <= 0) return fv_fail(c, FV_EUSAGE, "frozen.layers is empty: name at least one block");
    if (fv__trained_blocks(g))
        for (int i = 0; i < g->num_layers; i++)
            for (int j = 0; j < i; j++)
                if (g->layers[i] == g->layers[j])
                    return fv_fail(c, FV_EUSAGE,
                                   "frozen.layers names block %d twice: only frozen blocks can be repeated",
                                   g->layers[i]);
    return 1;
}

/* What neither the config nor the LLM said. */
static void fv__config_defaults(fv_frozen_config *g) {
    if (!g->num_key_value_heads) g->num_key_value_heads = g->num_attention_heads;
    if (g->rms_norm_eps <= 0) g->rms_norm_eps = g->arch == FV_OPT ? 1e-5f : 1e-6f;
    if (g->rope_theta <= 0) g->rope_theta = 10000;
    if (!g->num_layers) g->num_layers = 1, g->layers[0] = 0;
}

/* ---- the LLM's own settings ---- */
static void fv__fill_int(int *at, double value) {
    if (!*at && value > 0 && value < 1e9) *at = (int)value;
}
static void fv__fill_float(float *at, double value) {
    if (*at <= 0 && value > 0) *at = (float)value;
}

static int fv__config_from_gguf(fv_ctx *c, fv_frozen_config *g, fv_weights *llm) {
    const char *arch = fv_weights_meta_string(llm, "general.architecture", NULL);
    if (!arch || strcmp(arch, "llama"))
        return fv_fail(c, FV_EUSAGE,
                       "%s: its architecture is \"%.40s\"; blocks are taken from \"llama\" files",
                       fv_weights_path(llm), arch ? arch : "");
    fv__fill_int(&g->hidden_size, fv_weights_meta_number(llm, "llama.embedding_length", 0));
    fv__fill_int(&g->num_attention_heads, fv_weights_meta_number(llm, "llama.attention.head_count", 0));
    fv__fill_int(&g->num_key_value_heads, fv_weights_meta_number(llm, "llama.attention.head_count_kv", 0));
    fv__fill_int(&g->intermediate_size, fv_weights_meta_number(llm, "llama.feed_forward_length", 0));
    fv__fill_float(&g->rms_norm_eps,
                   fv_weights_meta_number(llm, "llama.attention.layer_norm_rms_epsilon", 0));
    fv__fill_float(&g->rope_theta, fv_weights_meta_number(llm, "llama.rope.freq_base", 0));
    double key = fv_weights_meta_number(llm, "llama.attention.key_length", 0);
    if (!g->head_dim && key > 0 && g->num_attention_heads && key * g->num_attention_heads != g->hidden_size)
        g->head_dim = (int)key;
    return 1;
}

/* The settings that fv extract keeps in its files, else config.json beside the weights' file or in their
 * folder; NULL: none. */
static fv_json *fv__llm_json(fv_ctx *c, const fv_weights *llm) {
    const char *kept = fv_weights_meta_string(llm, "config", NULL);
    if (kept) return fv_json_parse(c, kept, strlen(kept), fv_weights_path(llm));
    const char *path = fv_weights_path(llm), *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash + 1 - path) : 0;
    char *text = (char *)fv_alloc(c, strlen(path) + 16);
    struct stat st;
    fv_json *json = NULL;
    if (!text) return NULL;
    if (!stat(path, &st) && S_ISDIR(st.st_mode)) sprintf(text, "%s/config.json", path);
    else sprintf(text, "%.*sconfig.json", (int)n, path);
    if (!stat(text, &st)) json = fv_json_open(c, text);
    fv_free(c, text);
    return json;
}

/* Whether a config.json is of a model whose blocks are those that we compute: other families have the same
 * tensor names, and another activation, biases or norms. What is not said is taken to fit. */
static int fv__hf_family(fv_ctx *c, const fv_json *j, fv_llm_arch arch, const char *path) {
    static const char *const families[] = {"llama", "mistral", "llava", "opt", NULL},
                             *const silu[] = {"silu", "swish", NULL}, *const act[] = {"relu", "gelu", NULL};
    const int opt = arch == FV_OPT;
    const char *key = opt ? "activation_function" : "hidden_act", *type, *f;
    fv_jnode root = fv_json_root(j);
    type = fv_json_string(j, fv_json_get(j, root, "model_type"), opt ? "opt" : "llama");
    f = fv_json_string(j, fv_json_get(j, root, key), opt ? "relu" : "silu");
    if (!fv__in_list(type, families) || (strcmp(type, "opt") == 0) != opt)
        return fv_fail(c, FV_EUSAGE, "%s: its config.json says model_type \"%.40s\"; %s", path, type,
                       opt ? "frozen.arch opt takes opt" : "blocks are taken from llama, mistral and opt");
    if (!fv__in_list(f, opt ? act : silu))
        return fv_fail(c, FV_EUSAGE, "%s: its config.json says %s \"%.40s\"; the block is computed with %s",
                       path, key, f, opt ? "relu or gelu" : "silu");
    if (!opt && (fv_json_bool(j, fv_json_get(j, root, "attention_bias"), 0) ||
                 fv_json_bool(j, fv_json_get(j, root, "mlp_bias"), 0)))
        return fv_fail(c, FV_EUSAGE,
                       "%s: its config.json says that its blocks have biases; LLaMA's have none", path);
    return 1;
}

static int fv__config_from_hf(fv_ctx *c, fv_frozen_config *g, fv_weights *llm) {
    fv_frozen_config own;
    fv_json *json = fv__llm_json(c, llm);
    if (!json) return !c->status;
    int ok = fv__hf_family(c, json, g->arch, fv_weights_path(llm)) &&
             fv_frozen_config_parse(c, json, fv_json_root(json), 0, &own);
    fv_json_free(c, json);
    if (!ok) return 0;
    if (own.rope_scaled && g->rope)
        return fv_fail(c, FV_EUSAGE, "%s: its rope_scaling is not supported; leave frozen.rope off",
                       fv_weights_path(llm));
    fv__fill_int(&g->hidden_size, own.hidden_size);
    fv__fill_int(&g->num_attention_heads, own.num_attention_heads);
    fv__fill_int(&g->num_key_value_heads, own.num_key_value_heads);
    fv__fill_int(&g->intermediate_size, own.intermediate_size);
    if (!g->head_dim && own.head_dim && own.head_dim * own.num_attention_heads != own.hidden_size)
        g->head_dim = own.head_dim;
    fv__fill_float(&g->rms_norm_eps, (double)own.rms_norm_eps);
    fv__fill_float(&g->rope_theta, (double)own.rope_theta);
    if (g->arch == FV_OPT) g->norm_after |= own.norm_after, g->gelu |= own.gelu;
    return 1;
}

FV_DEF int fv_frozen_config_from_llm(fv_ctx *c, fv_frozen_config *g, fv_weights *llm) {
    fv__naming n;
    char name[FV__NAME];
    if (c->status) return 0;
    if (!fv__find_naming(llm, g->arch, &n)) {
        fv_llm_arch other = g->arch == FV_OPT ? FV_LLAMA : FV_OPT;
        return fv__find_naming(llm, other, &n)
                   ? fv_fail(c, FV_EUSAGE, "%s holds %s blocks, and frozen.arch is %s", fv_weights_path(llm),
                             other == FV_OPT ? "OPT" : "LLaMA", other == FV_OPT ? "llama" : "opt")
                   : fv_fail(c, FV_EUSAGE,
                             "%s holds no blocks of a LLaMA or OPT model: no name ends like "
                             "layers.0.mlp.down_proj.weight, "
                             "layers.0.feed_forward.w2.weight, blk.0.ffn_down.weight or layers.0.fc2.weight",
                             fv_weights_path(llm));
    }
    if (!(fv_weights_is_gguf(llm) ? fv__config_from_gguf(c, g, llm) : fv__config_from_hf(c, g, llm)))
        return 0;
    fv__slot_name(name, &n, n.layers - 1, FV_LLM_DOWN); /* [D,F] says what is still unknown */
    const fv_entry *e = fv_weights_find(llm, name);
    if (e && e->rank == 2) {
        fv__fill_int(&g->hidden_size, (double)e->dim[0]);
        fv__fill_int(&g->intermediate_size, (double)e->dim[1]);
    }
    if (!g->num_layers) g->num_layers = 1, g->layers[0] = n.layers - 1; /* the last block, as in the paper */
    return 1;
}

/* ---- loading ---- */
/* The numbers of one matrix, changed as the variant wants: n of them at x; stream: one per matrix. */
static void fv__redraw(float *x, int64_t n, fv_variant variant, uint64_t seed, uint64_t stream) {
    double sum = 0, square = 0;
    if (variant == FV_VARIANT_SHUFFLED) {
        fv_rng r;
        r.seed = seed, r.stream = stream, r.next = 0;
        for (int64_t i = n - 1; i > 0; i--) {
            int64_t j = (int64_t)fv_rng_below(&r, (uint32_t)(i + 1));
            float t = x[i];
            x[i] = x[j], x[j] = t;
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) sum += (double)x[i];
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) square += ((double)x[i] - mean) * ((double)x[i] - mean);
    double std = sqrt(square / (double)n);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(mean + std * (double)fv_random_normal(seed, stream, (uint64_t)i));
}

/* HF keeps the two numbers that rotate together half a head apart, Meta side by side. Rows [heads*hd, cols]
 * from HF's order to Meta's, so that a trained block always has Meta's names and order. */
static int fv__interleave_rows(fv_ctx *c, float *x, int64_t rows, int64_t cols, int64_t hd) {
    float *old = (float *)fv_alloc(c, (size_t)(hd * cols) * sizeof *old);
    if (!old) return 0;
    for (int64_t h = 0; h + hd <= rows; h += hd) {
        memcpy(old, x + h * cols, (size_t)(hd * cols) * sizeof *old);
        for (int64_t i = 0; i < hd; i++)
            memcpy(x + (h + i) * cols, old + (i / 2 + (i % 2) * (hd / 2)) * cols, (size_t)cols * sizeof *old);
    }
    fv_free(c, old);
    return 1;
}

/* A tensor of the file as f32, its shape checked. To be freed by the caller; NULL and an error. */
static float *fv__read_slot(fv_ctx *c, fv_weights *w, const char *name, int64_t rows, int64_t cols,
                            fv_sha *sha) {
    const fv_entry *e = fv_weights_find(w, name);
    int64_t n = rows * FV__MAX(cols, 1);
    if (!e) {
        fv_fail(c, FV_EUSAGE, "%s has no tensor %s, which the frozen block needs", fv_weights_path(w), name);
        return NULL;
    }
    if (e->rank != (cols ? 2 : 1) || e->dim[0] != rows || (cols && e->dim[1] != cols)) {
        char wanted[64];
        snprintf(wanted, sizeof wanted, cols ? "[%lld,%lld]" : "[%lld]", (long long)rows, (long long)cols);
        fv__entry_misfit(c, w, e, FV_EUSAGE, wanted);
        return NULL;
    }
    float *x = (float *)fv__alloc_dirty(c, (size_t)FV__MAX(n, 1) * sizeof *x);
    if (!x || !fv_entry_read(c, w, e, FV_F32, x)) {
        fv_free(c, x);
        return NULL;
    }
    fv_sha_add(sha, name, strlen(name) + 1);
    fv_sha_add(sha, x, (size_t)n * sizeof *x);
    return x;
}

/* ReLU's slope jumps at 0, so that rounding before it costs a gradient more than anywhere else: OPT's fc1
 * stays in f32. */
static int fv__before_relu(const fv_frozen_config *g) { return g->arch == FV_OPT && !g->gelu; }
static fv_type fv__slot_pack(const fv_frozen *f, int slot) {
    return slot == FV_LLM_UP && fv__before_relu(&f->config) ? f->type : f->pack;
}

/* A tensor of the stage from n numbers: packed when it is a frozen matrix, else a constant, or into the
 * parameter at *at. */
static int fv__place(fv_ctx *c, fv_frozen *f, fv_tensor **at, const float *x, int64_t rows, int64_t cols,
                     int trained, fv_type pack) {
    int64_t dim[2], n = rows * FV__MAX(cols, 1);
    dim[0] = rows, dim[1] = cols;
    if (!trained) {
        fv_param_free(c, *at);
        *at = cols ? fv_pack(c, NULL, pack, rows, cols, x, FV_F32) : fv_constant(c, NULL, f->type, 1, dim);
    }
    if (!*at || !(*at)->data) return !c->status;
    void *to = fv__host_view(c, *at);
    if (to) fv__convert(to, f->type, x, FV_F32, n);
    fv__host_done(c, *at, to, 1);
    return !c->status;
}

/* Which block of the file stands at place pos. A checkpoint of the released code numbers its copies from 0:
 * so where the file has as many blocks as the list, and not all of those that it names. */
static int fv__layer_number(const fv_frozen_config *g, const fv__naming *n, int pos, int as_variant) {
    int beyond = 0;
    for (int i = 0; i < g->num_layers; i++) beyond |= g->layers[i] >= n->layers;
    return !as_variant && n->layers == g->num_layers && beyond ? pos : g->layers[pos];
}

static int fv__load_slot(fv_ctx *c, fv_frozen *f, fv_weights *w, const fv__naming *names, int pos, int slot,
                         int as_variant, fv_sha *sha) {
    const fv_frozen_config *g = &f->config;
    char name[FV__NAME];
    int64_t rows = fv__slot_dim(g, fv__slots[slot].rows),
            cols = fv__slots[slot].cols ? fv__slot_dim(g, fv__slots[slot].cols) : 0;
    int trained = fv__trained_blocks(g), ok = 1;
    fv__slot_name(name, names, fv__layer_number(g, names, pos, as_variant), slot);
    float *x = fv__read_slot(c, w, name, rows, cols, sha);
    if (!x) return 0;
    int redraw = g->variant == FV_VARIANT_RANDOM || g->variant == FV_VARIANT_SHUFFLED ||
                 g->variant == FV_VARIANT_SCRATCH;
    if (as_variant && redraw && cols)
        fv__redraw(x, rows * cols, g->variant, f->seed, 0x46560000u + (uint64_t)(pos * FV_LLM_SLOTS + slot));
    if (trained && names->style == FV__HF && (slot == FV_LLM_Q || slot == FV_LLM_K) &&
        fv__head_dim(g) % 2 == 0)
        ok = fv__interleave_rows(c, x, rows, cols, fv__head_dim(g));
    ok = ok && fv__place(c, f, &f->layer[pos].w[slot], x, rows, cols, trained, fv__slot_pack(f, slot));
    fv_free(c, x);
    return ok;
}

static int fv__load_final_norm(fv_ctx *c, fv_frozen *f, fv_weights *w, const fv__naming *names, fv_sha *sha) {
    char name[FV__NAME];
    int64_t D = f->config.hidden_size;
    int trained = fv__trained_blocks(&f->config) && f->norm;
    if (f->config.final_norm != FV_NORM_LOADED) return 1;
    snprintf(name, sizeof name, "%s%s", names->style == FV__GGUF ? "" : names->prefix,
             fv__final_norm_name[names->style]);
    float *x = fv__read_slot(c, w, name, D, 0, sha);
    int ok = x && fv__place(c, f, &f->norm, x, D, 0, trained, f->type);
    fv_free(c, x);
    if (!ok || names->style != FV__OPT) return ok;
    snprintf(name, sizeof name, "%sfinal_layer_norm.bias", names->prefix);
    x = fv__read_slot(c, w, name, D, 0, sha);
    ok = x && fv__place(c, f, &f->norm_bias, x, D, 0, trained, f->type);
    fv_free(c, x);
    return ok;
}

/* The layer must be there: a sentence that says which ones are. */
static int fv__check_layer(fv_ctx *c, fv_weights *w, const fv__naming *n, int layer) {
    char name[FV__NAME];
    if (layer < 0 || layer >= n->layers)
        return fv_fail(c, FV_EUSAGE, "%s has no block %d: its blocks are 0 to %d", fv_weights_path(w), layer,
                       n->layers - 1);
    fv__slot_name(name, n, layer, FV_LLM_DOWN);
    if (!fv_weights_find(w, name))
        return fv_fail(c, FV_EUSAGE, "%s has no block %d: there is no %s", fv_weights_path(w), layer, name);
    if (n->style == FV__OPT) return 1;
    static const char *const bias[] = {"self_attn.q_proj.bias", "attn_q.bias"};
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s%s.%d.%s", n->prefix, i ? "blk" : "layers", layer, bias[i]);
        if (fv_weights_find(w, name))
            return fv_fail(c, FV_EUSAGE, "%s: %s: blocks with biases are taken from OPT models only",
                           fv_weights_path(w), name);
    }
    return 1;
}

FV_DEF int fv_frozen_load(fv_ctx *c, fv_frozen *f, fv_weights *w, int as_variant) {
    fv__naming n;
    fv_sha sha;
    if (c->status || !f) return 0;
    if (!fv__has_blocks(&f->config)) return 1;
    /* without known names, this says why */
    if (!fv__find_naming(w, f->config.arch, &n)) return fv_frozen_config_from_llm(c, &f->config, w);
    fv_sha_start(&sha);
    for (int i = 0; i < f->config.num_layers; i++) {
        if (!fv__check_layer(c, w, &n, fv__layer_number(&f->config, &n, i, as_variant))) return 0;
        for (int s = 0; s < FV_LLM_SLOTS; s++)
            if (fv__slot_used(&f->config, s) && !fv__load_slot(c, f, w, &n, i, s, as_variant, &sha)) return 0;
    }
    if (!fv__load_final_norm(c, f, w, &n, &sha)) return 0;
    uint8_t digest[32];
    fv_sha_end(&sha, digest);
    for (int i = 0; i < 32; i++) snprintf(f->sha256 + 2 * i, 3, "%02x", (unsigned)digest[i]);
    f->rope_interleaved = n.style != FV__HF || fv__trained_blocks(&f->config);
    f->loaded = 1;
    return 1;
}

/* ---- creation ---- */
static fv_tensor *fv__stage_param(fv_ctx *c, fv_frozen *f, const char *name, int64_t rows, int64_t cols) {
    int64_t dim[2];
    dim[0] = rows, dim[1] = cols;
    fv_tensor *t = fv_param(c, name, f->type, cols ? 2 : 1, dim);
    if (t && !fv_params_add(c, f->params, t)) return NULL;
    return t;
}

/* Parameters for the blocks that are trained, under the released code's names. */
static int fv__make_trained(fv_ctx *c, fv_frozen *f) {
    const fv_frozen_config *g = &f->config;
    fv__naming n;
    char name[FV__NAME];
    memset(&n, 0, sizeof n);
    n.style = g->arch == FV_OPT ? FV__OPT : FV__META;
    memcpy(n.prefix, "llama.", 7);
    for (int i = 0; i < g->num_layers; i++)
        for (int s = 0; s < FV_LLM_SLOTS; s++) {
            if (!fv__slot_used(g, s)) continue;
            char cols = fv__slots[s].cols;
            fv__slot_name(name, &n, g->layers[i], s);
            f->layer[i].w[s] = fv__stage_param(c, f, name, fv__slot_dim(g, fv__slots[s].rows),
                                               cols ? fv__slot_dim(g, cols) : 0);
            if (!f->layer[i].w[s]) return 0;
        }
    if (g->final_norm == FV_NORM_NONE) return 1;
    f->norm = fv__stage_param(c, f, g->arch == FV_OPT ? "llama.final_layer_norm.weight" : "llama.norm.weight",
                              g->hidden_size, 0);
    fv_init_fill(f->norm, 1);
    if (g->arch == FV_OPT)
        f->norm_bias = fv__stage_param(c, f, "llama.final_layer_norm.bias", g->hidden_size, 0);
    return !c->status;
}

/* Blocks without a file, for random and scratch: matrices from a normal of std 0.02, norms 1, biases 0. */
static int fv__draw_blocks(fv_ctx *c, fv_frozen *f) {
    const fv_frozen_config *g = &f->config;
    int trained = fv__trained_blocks(g);
    for (int i = 0; i < g->num_layers && !c->status; i++)
        for (int s = 0; s < FV_LLM_SLOTS && !c->status; s++) {
            if (!fv__slot_used(g, s)) continue;
            int64_t rows = fv__slot_dim(g, fv__slots[s].rows),
                    cols = fv__slots[s].cols ? fv__slot_dim(g, fv__slots[s].cols) : 0;
            int64_t n = rows * FV__MAX(cols, 1);
            float *x = (float *)fv_alloc(c, (size_t)n * sizeof *x);
            uint64_t stream = 0x46560000u + (uint64_t)(i * FV_LLM_SLOTS + s);
            for (int64_t j = 0; x && j < n; j++)
                x[j] = cols ? 0.02f * fv_random_normal(f->seed, stream, (uint64_t)j)
                       : s == FV_LLM_NORM1 || s == FV_LLM_NORM2 ? 1.f
                                                                : 0.f;
            if (x) fv__place(c, f, &f->layer[i].w[s], x, rows, cols, trained, fv__slot_pack(f, s));
            fv_free(c, x);
        }
    f->loaded = !c->status;
    f->rope_interleaved = 1;
    return f->loaded;
}

static int fv__make_mappers(fv_ctx *c, fv_frozen *f) {
    int64_t D = f->config.hidden_size, d = f->dim;
    uint64_t stream = f->seed << 20 | 0xf0000;
    f->mapper1 = fv__stage_param(c, f, "llama_dim_mapper1.weight", D, d);
    f->mapper2 = fv__stage_param(c, f, "llama_dim_mapper2.weight", d, D);
    fv_init_trunc_normal(c, f->mapper1, 0.02f, stream);
    fv_init_trunc_normal(c, f->mapper2, 0.02f, stream + 1);
    if (f->config.residual == FV_RES_OUTSIDE_NN) {
        f->mapper_residual = fv__stage_param(c, f, "llama_dim_dim_mapper.weight", d, d);
        fv_init_trunc_normal(c, f->mapper_residual, 0.02f, stream + 2);
    }
    if (f->config.variant == FV_VARIANT_MLP) {
        f->mlp_norm = fv__stage_param(c, f, "llama_mlp_norm.weight", D, 0);
        f->mlp_norm_bias = fv__stage_param(c, f, "llama_mlp_norm.bias", D, 0);
        fv_init_fill(f->mlp_norm, 1);
    }
    return !c->status;
}

FV_DEF fv_frozen *fv_frozen_create(fv_ctx *c, const fv_frozen_desc *desc, fv_params *params) {
    fv_frozen *f = (fv_frozen *)fv_alloc(c, sizeof *f);
    if (!f) return NULL;
    f->config = desc->config;
    f->dim = desc->dim;
    f->type = desc->type == FV_TYPE_DEFAULT ? FV_F32 : desc->type;
    f->pack = f->type == FV_F64 || desc->pack == FV_TYPE_DEFAULT ? f->type : desc->pack;
    f->seed = desc->seed;
    f->params = params;
    fv_frozen_config *g = &f->config;
    int ok = !desc->llm || fv_frozen_config_from_llm(c, g, desc->llm);
    fv__config_defaults(g);
    ok = ok && fv__check_dims(c, g);
    if (ok) f->layer = (fv_llm_layer *)fv_alloc(c, sizeof *f->layer * (size_t)FV__MAX(g->num_layers, 1));
    ok = ok && f->layer && (!f->dim || fv__make_mappers(c, f));
    if (ok && fv__trained_blocks(g)) ok = fv__make_trained(c, f);
    if (ok && fv__has_blocks(g)) {
        if (desc->llm) ok = fv_frozen_load(c, f, desc->llm, 1);
        else if (g->variant == FV_VARIANT_RANDOM || g->variant == FV_VARIANT_SCRATCH)
            ok = fv__draw_blocks(c, f);
    }
    if (ok) return f;
    fv_frozen_destroy(c, f);
    return NULL;
}

FV_DEF void fv_frozen_destroy(fv_ctx *c, fv_frozen *f) {
    if (!f) return;
    if (!fv__trained_blocks(&f->config)) {
        for (int i = 0; f->layer && i < f->config.num_layers; i++)
            for (int s = 0; s < FV_LLM_SLOTS; s++) fv_param_free(c, f->layer[i].w[s]);
        fv_param_free(c, f->norm);
        fv_param_free(c, f->norm_bias);
    }
    fv_free(c, f->layer);
    fv_free(c, f);
}

FV_DEF const char *fv_frozen_hash(const fv_frozen *f) { return f ? f->sha256 : ""; }

FV_DEF int64_t fv_frozen_numel(const fv_frozen *f) {
    int64_t n = 0;
    if (!f || fv__trained_blocks(&f->config)) return 0;
    for (int i = 0; i < f->config.num_layers; i++)
        for (int s = 0; s < FV_LLM_SLOTS; s++) n += fv_numel(f->layer[i].w[s]);
    return n + fv_numel(f->norm) + fv_numel(f->norm_bias);
}

/* ---- forward ---- */
/* One of q, k, v. Folded: x is z [B,N,d] times its row's 1/rms and f1 is F1^T diag(norm's w) [d,D], so that
 * rms(z F1) W^T = x (f1 W^T), a product with the small d in place of D. */
static fv_tensor *fv__project(fv_ctx *c, const fv_llm_layer *l, int slot, fv_tensor *x, fv_tensor *f1) {
    fv_tensor *w = l->w[slot];
    if (!f1) return fv_linear(c, x, w, l->w[slot + 1]);
    int64_t flat[2], dim[3];
    if (c->status || !x || !w) return NULL;
    flat[0] = x->dim[0] * x->dim[1], flat[1] = x->dim[2];
    dim[0] = x->dim[0], dim[1] = x->dim[1], dim[2] = w->dim[0];
    return fv_reshape(c, fv_matmul(c, fv_reshape(c, x, 2, flat), fv_linear(c, f1, w, NULL), 0), 3, dim);
}

static fv_tensor *fv__block_attention(fv_ctx *c, const fv_frozen *f, const fv_llm_layer *l, fv_tensor *x,
                                      fv_tensor *f1, fv_tensor *residual, const fv_tensor *mask) {
    const fv_frozen_config *g = &f->config;
    fv_attention_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.num_heads = g->num_attention_heads;
    desc.num_kv_heads = g->num_key_value_heads;
    desc.causal = g->causal;
    desc.rope_theta = g->rope ? g->rope_theta : 0;
    desc.rope_interleaved = f->rope_interleaved;
    desc.mask = mask;
    fv_tensor *q = fv__project(c, l, FV_LLM_Q, x, f1), *k = fv__project(c, l, FV_LLM_K, x, f1),
              *v = fv__project(c, l, FV_LLM_V, x, f1);
    if (c->status) return NULL;
    fv_mark_scores(c, "stage.scores", q, k, &desc);
    fv_tensor *a = fv_attention(c, q, k, v, &desc),
              *y = fv_linear_add(c, a, l->w[FV_LLM_O], l->w[FV_LLM_O_BIAS], residual);
    /* no gradient of a frozen weight reads it */
    if (l->w[FV_LLM_O] && l->w[FV_LLM_O]->packed) fv_forget(c, a);
    return y;
}

/* h = x + Wo attn(rms(x));  out = h + W2 (silu(W1 rms(h)) * W3 rms(h)).  z: what F1 made x from, to fold it;
 * NULL: plain */
static fv_tensor *fv__llama_block(fv_ctx *c, const fv_frozen *f, const fv_llm_layer *l, fv_tensor *x,
                                  fv_tensor *z, const fv_tensor *mask) {
    static const int turn[2] = {1, 0};
    float eps = f->config.rms_norm_eps;
    fv_tensor *h = x, *norm1 = l->w[FV_LLM_NORM1];
    if (!f->config.only_mlp && z) {
        fv_tensor *f1 = fv_permute(c, f->mapper1, turn);
        if (norm1) f1 = fv_mul(c, f1, norm1);
        h = fv__block_attention(c, f, l, fv_mul(c, z, fv_inverse_rms(c, x, eps)), f1, x, mask);
    } else if (!f->config.only_mlp) {
        fv_tensor *n = fv_rmsnorm(c, x, norm1, eps);
        h = fv__block_attention(c, f, l, n, NULL, x, mask);
        fv_forget(c, n);
    }
    h = fv_mark(c, "stage.attention", h);
    fv_tensor *n = fv_rmsnorm(c, h, l->w[FV_LLM_NORM2], eps);
    fv_tensor *gate = fv_linear(c, n, l->w[FV_LLM_GATE], NULL);
    fv_tensor *up = fv_linear(c, n, l->w[FV_LLM_UP], NULL);
    fv_forget(c, n);
    fv_tensor *u = fv_swiglu(c, gate, up), *y = fv_linear_add(c, u, l->w[FV_LLM_DOWN], NULL, h);
    fv_forget(c, u);
    return fv_mark(c, "stage.ffn", y);
}

/* A norm whose output is the residual stream stays in f32 under fv_autocast. */
static fv_tensor *fv__stream_norm(fv_ctx *c, fv_tensor *x, fv_tensor *w, fv_tensor *b, float eps) {
    fv_type was = fv_autocast(c, FV_F32);
    fv_tensor *y = fv_layernorm(c, x, w, b, eps);
    fv_autocast(c, was);
    return y;
}

/* norms first: h = x + out(attn(ln1 x)), h + fc2(act(fc1(ln2 h))); or each after its residual */
static fv_tensor *fv__opt_block(fv_ctx *c, const fv_frozen *f, const fv_llm_layer *l, fv_tensor *x,
                                const fv_tensor *mask) {
    const fv_frozen_config *g = &f->config;
    float eps = g->rms_norm_eps;
    int before = !g->norm_after;
    fv_tensor *h = x;
    if (!g->only_mlp) {
        fv_tensor *n = before ? fv_layernorm(c, x, l->w[FV_LLM_NORM1], l->w[FV_LLM_NORM1_BIAS], eps) : x;
        h = fv__block_attention(c, f, l, n, NULL, x, mask);
        if (!before) h = fv__stream_norm(c, h, l->w[FV_LLM_NORM1], l->w[FV_LLM_NORM1_BIAS], eps);
    }
    h = fv_mark(c, "stage.attention", h);
    fv_type was = fv_autocast(c, FV_F32);
    if (!fv__before_relu(g)) fv_autocast(c, was);
    fv_tensor *n = before ? fv_layernorm(c, h, l->w[FV_LLM_NORM2], l->w[FV_LLM_NORM2_BIAS], eps) : h;
    fv_tensor *u =
        fv_linear_act(c, n, l->w[FV_LLM_UP], l->w[FV_LLM_UP_BIAS], g->gelu ? FV_ACT_GELU : FV_ACT_RELU);
    fv_autocast(c, was);
    fv_tensor *y = fv_linear_add(c, u, l->w[FV_LLM_DOWN], l->w[FV_LLM_DOWN_BIAS], h);
    fv_forget(c, u);
    return fv_mark(c, "stage.ffn",
                   before ? y : fv__stream_norm(c, y, l->w[FV_LLM_NORM2], l->w[FV_LLM_NORM2_BIAS], eps));
}

static fv_tensor *fv__llm_block(fv_ctx *c, const fv_frozen *f, int i, fv_tensor *x, fv_tensor *z,
                                const fv_tensor *mask) {
    if (c->status || !f || !x) return NULL;
    if (i < 0 || i >= f->config.num_layers) {
        fv_fail(c, FV_EUSAGE, "the frozen stage has no block %d: it has %d", i, f->config.num_layers);
        return NULL;
    }
    if (!f->layer[i].w[FV_LLM_DOWN] || (!f->loaded && f->config.variant != FV_VARIANT_FINETUNE)) {
        fv_fail(c, FV_EUSAGE, "the frozen block's weights are not loaded: give the LLM's file with --llm");
        return NULL;
    }
    fv_scope scope = fv_scope_begin(c);
    fv_tensor *y = f->config.arch == FV_OPT ? fv__opt_block(c, f, &f->layer[i], x, mask)
                                            : fv__llama_block(c, f, &f->layer[i], x, z, mask);
    return fv_scope_end(c, scope, y);
}
FV_DEF fv_tensor *fv_llm_block(fv_ctx *c, const fv_frozen *f, int i, fv_tensor *x, const fv_tensor *mask) {
    return fv__llm_block(c, f, i, x, NULL, mask);
}

/* all blocks and the final norm; z for the first block, or NULL */
static fv_tensor *fv__llm_blocks(fv_ctx *c, const fv_frozen *f, fv_tensor *x, fv_tensor *z,
                                 const fv_tensor *mask) {
    const fv_frozen_config *g = &f->config;
    for (int i = 0; i < g->num_layers; i++) x = fv__llm_block(c, f, i, x, i ? NULL : z, mask);
    if (!x || g->final_norm == FV_NORM_NONE) return x;
    return g->arch == FV_OPT ? fv_layernorm(c, x, f->norm, f->norm_bias, g->rms_norm_eps)
                             : fv_rmsnorm(c, x, f->norm, g->rms_norm_eps);
}
FV_DEF fv_tensor *fv_llm_blocks(fv_ctx *c, const fv_frozen *f, fv_tensor *x, const fv_tensor *mask) {
    return fv__llm_blocks(c, f, x, NULL, mask);
}

/* Whether F1 goes into q, k, v. A number of their outputs costs, for T tokens: plain 4TD (forward and input
 * gradient); folded 6Td, and 4dD for the folded matrix and F1's gradient. Shapes and settings decide, nothing
 * else, so every run of a step decides alike. */
static int fv__folds(fv_ctx *c, const fv_frozen *f, const fv_tensor *z) {
    const fv_llm_layer *l = &f->layer[0];
    const fv_tensor *q = l->w[FV_LLM_Q];
    if (f->config.arch != FV_LLAMA || f->config.only_mlp || f->config.fold < 0 || z->rank != 3 || !q ||
        !q->packed)
        return 0;
    if (l->w[FV_LLM_Q_BIAS] || l->w[FV_LLM_K_BIAS] || l->w[FV_LLM_V_BIAS]) return 0;
    if (f->config.fold > 0) return 1;
    double tokens = (double)(z->dim[0] * z->dim[1]), d = (double)z->dim[2], D = (double)f->config.hidden_size;
    return fv_training(c, -1) && !fv_no_grad(c, -1) && 4 * tokens * D > 6 * tokens * d + 4 * d * D;
}

/* The residual stream stays in the parameters' type under fv_autocast. */
static fv_tensor *fv__stream(fv_ctx *c, fv_tensor *x, fv_type type) {
    return x && x->type != type ? fv_cast(c, x, type) : x;
}

/* Between F1 and F2. x = F1 z is where the mode `inside` starts; a linear F1 has no L to go around. */
static fv_tensor *fv__stage_middle(fv_ctx *c, fv_frozen *f, fv_tensor *z, const fv_tensor *mask) {
    const fv_frozen_config *g = &f->config;
    if (g->variant == FV_VARIANT_LINEAR) return fv_linear(c, z, f->mapper1, NULL);
    if (g->variant == FV_VARIANT_MLP)
        return fv_layernorm(c, fv_linear_act(c, z, f->mapper1, NULL, FV_ACT_GELU), f->mlp_norm,
                            f->mlp_norm_bias, 1e-5f);
    fv_tensor *x = fv__stream(c, fv_linear(c, z, f->mapper1, NULL), f->type);
    if (!x) return NULL;
    fv_tensor *y = fv__llm_blocks(c, f, x, g->num_layers && fv__folds(c, f, z) ? z : NULL, mask);
    return g->residual == FV_RES_INSIDE || g->residual == FV_RES_BOTH ? fv_add(c, y, x) : y;
}

FV_DEF fv_tensor *fv_frozen_forward(fv_ctx *c, fv_frozen *f, fv_tensor *z, const fv_tensor *mask) {
    if (c->status || !f || !z || f->config.variant == FV_VARIANT_BASE) return c->status ? NULL : z;
    z = fv_mark(c, "stage.input", z);
    fv_tensor *m = fv__stage_middle(c, f, z, mask);
    fv_tensor *y = m ? fv__stream(c, fv_linear(c, m, f->mapper2, NULL), f->type) : NULL;
    f->features = y = fv_mark(c, "stage.output", y);
    switch (f->config.residual) {
    case FV_RES_OUTSIDE:
    case FV_RES_BOTH: return fv_add(c, y, z);
    case FV_RES_OUTSIDE_NN:
        return fv_add(c, y, fv_leaky_relu(c, fv_linear(c, z, f->mapper_residual, NULL), 0.01f));
    default: return y;
    }
}

/* ======================================================================================================
 * >>encoders (implementation)
 * ====================================================================================================== */
/* A linear layer's or a norm's pair of parameters. b NULL: no bias. */
typedef struct fv__pair {
    fv_tensor *w, *b;
} fv__pair;

static int fv__pair_make(fv_ctx *c, fv_model *m, fv__pair *p, const char *name, int rank, const int64_t *dim,
                         int bias, fv_init init) {
    char key[128];
    snprintf(key, sizeof key, "%s.weight", name);
    p->w = fv_model_param(c, m, key, rank, dim, init);
    snprintf(key, sizeof key, "%s.bias", name);
    if (bias) p->b = fv_model_param(c, m, key, 1, dim, init == FV_INIT_CONV ? FV_INIT_CONV : FV_INIT_ZEROS);
    return !c->status;
}
static int fv__linear_make(fv_ctx *c, fv_model *m, fv__pair *p, const char *name, int64_t out, int64_t in,
                           int bias) {
    int64_t dim[2];
    dim[0] = out, dim[1] = in;
    return fv__pair_make(c, m, p, name, 2, dim, bias, m->linear_init ? m->linear_init : FV_INIT_TRUNC);
}
static int fv__norm_make(fv_ctx *c, fv_model *m, fv__pair *p, const char *name, int64_t dim) {
    return fv__pair_make(c, m, p, name, 1, &dim, 1, FV_INIT_ONES);
}

/* ---- the pre-norm transformer block that timm's ViT and its relatives share ---- */
typedef struct fv__block_params {
    fv__pair norm1, qkv, proj, norm2, fc1, fc2;
    int again; /* on a GPU a large product of fc1, the largest result of a block, is made again, not kept */
} fv__block_params;
#ifndef FV__WIDE
#define FV__WIDE (1 << 24) /* elements of a large one */
#endif

static int fv__block_make(fv_ctx *c, fv_model *m, fv__block_params *b, const char *list, int i, int64_t d,
                          int64_t hidden, int qkv_bias) {
    char n[6][64];
    static const char *const part[6] = {"norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"};
    for (int k = 0; k < 6; k++) snprintf(n[k], sizeof n[k], "%s.%d.%s", list, i, part[k]);
    return fv__norm_make(c, m, &b->norm1, n[0], d) &&
           fv__linear_make(c, m, &b->qkv, n[1], 3 * d, d, qkv_bias) &&
           fv__linear_make(c, m, &b->proj, n[2], d, d, 1) && fv__norm_make(c, m, &b->norm2, n[3], d) &&
           fv__linear_make(c, m, &b->fc1, n[4], hidden, d, 1) &&
           fv__linear_make(c, m, &b->fc2, n[5], d, hidden, 1);
}

static fv__block_params *fv__blocks_make(fv_ctx *c, fv_model *m, const char *list, int depth, int64_t d,
                                         int64_t hidden, int qkv_bias) {
    fv__block_params *b = (fv__block_params *)fv_alloc(c, sizeof *b * (size_t)FV__MAX(depth, 1));
    m->blocks = b;
    for (int i = 0; i < depth && b; i++)
        if (!fv__block_make(c, m, &b[i], list, i, d, hidden, qkv_bias)) return NULL;
    /* every second block gives back a sixth of all that is kept, for a fiftieth of the time; the last one's
     * would be wanted at once, when most is held */
    for (int i = 0; i < depth && b; i++) b[i].again = (depth - 1 - i) % 2;
    return c->status ? NULL : b;
}

/* drop-path's probability in block i of depth: it grows from 0 to drop_path_rate */
static float fv__drop_of(fv_ctx *c, const fv_model *m, int i, int depth) {
    int training = fv_training(c, 0);
    fv_training(c, training);
    return training && depth > 1 ? m->drop_path * (float)i / (float)(depth - 1) : 0;
}
/* the block before which the frozen stage stands */
static int fv__stage_at(const fv_model *m, int depth) {
    return m->stage.after_block ? m->stage.after_block : depth;
}
static fv_tensor *fv__stage(fv_ctx *c, fv_model *m, fv_tensor *x, const fv_tensor *mask) {
    return m->frozen && x ? fv_frozen_forward(c, m->frozen, x, mask) : x;
}
static int fv__stage_fits(fv_ctx *c, const fv_model *m, int depth) {
    if (m->stage.after_block <= depth) return 1;
    return fv_fail(c, FV_EUSAGE, "config: frozen.after_block is %d, and the last block is %d",
                   m->stage.after_block - 1, depth - 1);
}
/* token [1,1,d] put before each row of x [B,N,d] */
static fv_tensor *fv__prepend(fv_ctx *c, fv_tensor *token, fv_tensor *x) {
    fv_tensor *both[2];
    both[0] = token, both[1] = x;
    return x ? fv_concat(c, both, 2, 1) : NULL;
}
/* row `i` of dim 1: [B,N,d] -> [B,d] */
static fv_tensor *fv__token(fv_ctx *c, fv_tensor *x, int64_t i) {
    int64_t flat[2];
    if (!x) return NULL;
    flat[0] = x->dim[0], flat[1] = x->dim[2];
    return fv_reshape(c, fv_slice(c, x, 1, i, 1), 2, flat);
}
static fv_tensor *fv__embedding_make(fv_ctx *c, fv_model *m, const char *name, int64_t n, int64_t d,
                                     fv_init init) {
    int64_t dim[3];
    dim[0] = 1, dim[1] = n, dim[2] = d;
    fv_tensor *t = fv_model_param(c, m, name, 3, dim, init);
    if (t) t->flags |= FV_NO_DECAY;
    return t;
}
/* x against the wanted dims; -1: any */
static int fv__input_fits(fv_ctx *c, const char *what, const fv_tensor *x, int rank, const int64_t *dim) {
    char have[128], want[128];
    size_t at = 0;
    int ok = x->rank == rank;
    for (int i = 0; ok && i < rank; i++) ok = dim[i] < 0 ? x->dim[i] > 0 : x->dim[i] == dim[i];
    if (ok) return 1;
    for (int i = 0; i < rank && at < sizeof want; i++)
        at += (size_t)(dim[i] < 0 ? snprintf(want + at, sizeof want - at, "%s%s", i ? "," : "", i ? "N" : "B")
                                  : snprintf(want + at, sizeof want - at, "%s%lld", i ? "," : "",
                                             (long long)dim[i]));
    return fv_fail(c, FV_ESHAPE, "%s %s: [%s] is wanted", what, fv__shape_text(x, have, sizeof have), want);
}

/* x + drop_path(linear(y)); the sum is part of the product where nothing is dropped */
static fv_tensor *fv__residual(fv_ctx *c, fv_tensor *y, const fv__pair *p, fv_tensor *x, float drop) {
    if (drop <= 0) return fv_linear_add(c, y, p->w, p->b, x);
    return fv_add(c, x, fv_drop_path(c, fv_linear(c, y, p->w, p->b), drop));
}

/* linear(layernorm(x)); the norm is made again in the backward pass, which is cheaper than to keep it */
static fv_tensor *fv__norm_linear(fv_ctx *c, fv_tensor *x, const fv__pair *norm, fv_tensor *w, fv_tensor *b,
                                  float eps) {
    fv_tensor *n = fv_layernorm(c, x, norm->w, norm->b, eps), *y = fv_linear(c, n, w, b);
    fv_forget(c, n);
    return y;
}

/* h = x + proj(attn(ln1 x));  h + fc2(gelu(fc1(ln2 h))).  x [B,N,d]; mask u8 [B,N] of the keys, or NULL */
static fv_tensor *fv__encoder_block(fv_ctx *c, const fv__block_params *b, fv_tensor *x, int heads, float eps,
                                    float drop, const fv_tensor *mask) {
    fv_attention_desc a;
    memset(&a, 0, sizeof a);
    a.num_heads = heads, a.mask = mask;
    fv_scope scope = fv_scope_begin(c);
    fv_tensor *qkv = fv__norm_linear(c, x, &b->norm1, b->qkv.w, b->qkv.b, eps);
    fv_mark_scores(c, "block.scores", qkv, NULL, &a);
    fv_tensor *seen = fv_attention(c, qkv, NULL, NULL, &a);
    fv_tensor *h = fv_mark(c, "block.attention", fv__residual(c, seen, &b->proj, x, drop));
    fv_tensor *wide = fv__norm_linear(c, h, &b->norm2, b->fc1.w, b->fc1.b, eps), *u = fv_gelu(c, wide);
    fv_tensor *y = fv__residual(c, u, &b->fc2, h, drop);
    fv_forget(c, u);
    if (b->again && fv_device_of(c) == FV_CUDA && fv_numel(wide) >= FV__WIDE) fv_forget(c, wide);
    fv_spend(qkv), fv_spend(seen), fv_spend(wide);
    return fv_scope_end(c, scope, fv_mark(c, "block.ffn", y));
}

/* ---- the block of a decoder, or of one of two sides that see each other: x + selfattention;  + attention to
 * y;  + FFN ---- */
typedef struct fv__cross_params {
    fv__pair norm1, qkv, proj, norm_x, query, keys, proj_x, norm2, fc1, fc2;
} fv__cross_params;

/* name: "fusion.0.text" */
static int fv__cross_make(fv_ctx *c, fv_model *m, fv__cross_params *s, const char *name, int64_t d,
                          int64_t hidden) {
    char n[10][64];
    static const char *const part[10] = {"norm1",    "attn.qkv",   "attn.proj", "norm_cross", "cross.q",
                                         "cross.kv", "cross.proj", "norm2",     "mlp.fc1",    "mlp.fc2"};
    for (int k = 0; k < 10; k++) snprintf(n[k], sizeof n[k], "%.40s.%s", name, part[k]);
    return fv__norm_make(c, m, &s->norm1, n[0], d) && fv__linear_make(c, m, &s->qkv, n[1], 3 * d, d, 1) &&
           fv__linear_make(c, m, &s->proj, n[2], d, d, 1) && fv__norm_make(c, m, &s->norm_x, n[3], d) &&
           fv__linear_make(c, m, &s->query, n[4], d, d, 1) &&
           fv__linear_make(c, m, &s->keys, n[5], 2 * d, d, 1) &&
           fv__linear_make(c, m, &s->proj_x, n[6], d, d, 1) && fv__norm_make(c, m, &s->norm2, n[7], d) &&
           fv__linear_make(c, m, &s->fc1, n[8], hidden, d, 1) &&
           fv__linear_make(c, m, &s->fc2, n[9], d, hidden, 1);
}
/* x [B*n,N,d] sees itself, and y [B,M,d], n of its samples after each other the same one.  xm, ym: u8 masks
 * of their tokens, or NULL */
static fv_tensor *fv__cross_block(fv_ctx *c, const fv__cross_params *s, int heads, float eps, fv_tensor *x,
                                  const fv_tensor *xm, fv_tensor *y, const fv_tensor *ym) {
    fv_attention_desc a;
    int64_t dim[3];
    if (!x || !y) return NULL;
    int64_t d = x->dim[2];
    memset(&a, 0, sizeof a);
    a.num_heads = heads, a.mask = xm;
    fv_tensor *qkv = fv__norm_linear(c, x, &s->norm1, s->qkv.w, s->qkv.b, eps);
    fv_tensor *h = fv__residual(c, fv_attention(c, qkv, NULL, NULL, &a), &s->proj, x, 0);
    fv_tensor *q = fv__norm_linear(c, h, &s->norm_x, s->query.w, s->query.b, eps);
    fv_tensor *kv = fv_linear(c, y, s->keys.w, s->keys.b);
    a.mask = ym, dim[0] = y->dim[0], dim[1] = -1, dim[2] = d;
    if (q && x->dim[0] != y->dim[0]) q = fv_reshape(c, q, 3, dim);
    fv_tensor *seen = kv ? fv_attention(c, q, fv_slice(c, kv, 2, 0, d), fv_slice(c, kv, 2, d, d), &a) : NULL;
    if (seen && x->dim[0] != y->dim[0]) seen = fv_reshape(c, seen, 3, x->dim);
    h = seen ? fv__residual(c, seen, &s->proj_x, h, 0) : NULL;
    fv_tensor *u = fv_gelu(c, fv__norm_linear(c, h, &s->norm2, s->fc1.w, s->fc1.b, eps));
    fv_tensor *out = fv__residual(c, u, &s->fc2, h, 0);
    fv_forget(c, u);
    return out;
}

/* Norm, dropout and classifier of pooled tokens [B,d]. All in f32 under fv_autocast too: one row a sample
 * costs nothing, and the loss keeps its digits. */
static fv_tensor *fv__head(fv_ctx *c, const fv_model *m, fv_tensor *x, const fv__pair *norm,
                           const fv__pair *head, float eps) {
    fv_type was = fv_autocast(c, FV_F32);
    x = fv_layernorm(c, x, norm->w, norm->b, eps);
    if (m->dropout > 0) x = fv_dropout(c, x, m->dropout);
    x = fv_linear(c, x, head->w, head->b);
    fv_autocast(c, was);
    return x;
}

/* ======================================================================================================
 * vit: images [B,C,H,W] -> logits.  source  Dosovitskiy et al., arXiv:2010.11929; names: timm's
 * VisionTransformer
 * ====================================================================================================== */
typedef struct fv__vit {
    int img_size, patch, chans, dim, depth, heads, class_token, average;
    float eps;
    fv_tensor *cls_token, *pos_embed; /* [1,1,d], [1,N,d] */
    fv__pair patch_embed, norm, head; /* norm: `norm` or, with global_pool avg, `fc_norm` */
    fv__block_params *block;
} fv__vit;

static int fv__vit_config(fv_ctx *c, fv_model *m, fv__vit *v, int *hidden) {
    static const char *const keys[] = {"img_size",    "patch_size",  "in_chans",  "embed_dim",
                                       "depth",       "num_heads",   "mlp_ratio", "qkv_bias",
                                       "class_token", "global_pool", "norm_eps",  NULL};
    if (!fv_config_known(c, m, keys)) return 0;
    v->img_size = fv_config_int(c, m, "img_size", 224, 1, 8192);
    v->patch = fv_config_int(c, m, "patch_size", 16, 1, 1024);
    v->chans = fv_config_int(c, m, "in_chans", 3, 1, 1024);
    m->dim = v->dim = fv_config_int(c, m, "embed_dim", 384, 1, 65536);
    v->depth = fv_config_int(c, m, "depth", 12, 0, 1000);
    v->heads = fv_config_int(c, m, "num_heads", 6, 1, 4096);
    v->class_token = fv_config_bool(c, m, "class_token", 1);
    v->eps = fv_config_float(c, m, "norm_eps", 1e-6f);
    *hidden = (int)(fv_config_float(c, m, "mlp_ratio", 4) * (float)v->dim);
    const char *pool = fv_config_string(c, m, "global_pool", "token");
    v->average = !strcmp(pool, "avg");
    if (c->status) return 0;
    if (!v->average && (strcmp(pool, "token") || !v->class_token))
        return fv_fail(c, FV_EUSAGE,
                       "config: global_pool is \"%.40s\"; it can be avg, or token where class_token is true",
                       pool);
    if (v->img_size % v->patch)
        return fv_fail(c, FV_EUSAGE, "config: img_size %d is no multiple of patch_size %d", v->img_size,
                       v->patch);
    if (v->dim % v->heads)
        return fv_fail(c, FV_EUSAGE, "config: embed_dim %d is no multiple of num_heads %d", v->dim, v->heads);
    if (*hidden < 1) return fv_fail(c, FV_EUSAGE, "config: mlp_ratio leaves no hidden unit");
    return fv__stage_fits(c, m, v->depth);
}

static int fv__vit_build(fv_ctx *c, fv_model *m) {
    int hidden = 0, qkv_bias = fv_config_bool(c, m, "qkv_bias", 1);
    fv__vit *v = (fv__vit *)fv_alloc(c, sizeof *v);
    m->net = v;
    if (!v || !fv__vit_config(c, m, v, &hidden)) return 0;
    int64_t d = v->dim, grid = v->img_size / v->patch, dim[4];
    if (v->class_token) v->cls_token = fv__embedding_make(c, m, "cls_token", 1, d, FV_INIT_TINY);
    v->pos_embed = fv__embedding_make(c, m, "pos_embed", grid * grid + v->class_token, d, FV_INIT_TRUNC);
    dim[0] = d, dim[1] = v->chans, dim[2] = dim[3] = v->patch;
    if (!fv__pair_make(c, m, &v->patch_embed, "patch_embed.proj", 4, dim, 1, FV_INIT_CONV)) return 0;
    if (!(v->block = fv__blocks_make(c, m, "blocks", v->depth, d, hidden, qkv_bias))) return 0;
    return fv__norm_make(c, m, &v->norm, v->average ? "fc_norm" : "norm", d) &&
           fv__linear_make(c, m, &v->head, "head", m->num_classes, d, 1);
}

/* images [B,C,S,S] -> tokens [B,(S/P)^2,d]: each patch is a row (c,ph,pw), as a convolution's weight is */
static fv_tensor *fv__image_patches(fv_ctx *c, fv_tensor *x, int size, int P, const fv__pair *embed) {
    static const int order[6] = {0, 2, 4, 1, 3, 5};
    int64_t g = size / P, chans = x->dim[1], dim[6];
    dim[0] = x->dim[0], dim[1] = chans, dim[2] = g, dim[3] = P, dim[4] = g, dim[5] = P;
    x = fv_permute(c, fv_reshape(c, x, 6, dim), order);
    dim[1] = g * g, dim[2] = chans * P * P;
    x = fv_reshape(c, x, 3, dim);
    dim[0] = embed->w->dim[0], dim[1] = chans * P * P;
    fv_type was = fv_autocast(c, FV_F32); /* a small product, and every later number stands on it */
    x = fv_linear(c, x, fv_reshape(c, embed->w, 2, dim), embed->b);
    fv_autocast(c, was);
    return x;
}

static fv_tensor *fv__vit_forward(fv_ctx *c, fv_model *m, fv_tensor *const *input) {
    const fv__vit *v = (const fv__vit *)m->net;
    fv_tensor *x = input[0];
    int64_t want[4];
    want[0] = -1, want[1] = v->chans, want[2] = want[3] = v->img_size;
    if (!fv__input_fits(c, "vit: images", x, 4, want)) return NULL;
    fv_tensor *patches = fv__image_patches(c, x, v->img_size, v->patch, &v->patch_embed);
    fv_tensor *tokens = v->class_token ? fv__prepend(c, v->cls_token, patches) : patches;
    x = fv_add(c, tokens, v->pos_embed);
    fv_forget(c, tokens), fv_forget(c, patches); /* no backward pass reads them */
    for (int i = 0; i <= v->depth && x; i++) {
        if (i == fv__stage_at(m, v->depth)) x = fv__stage(c, m, x, NULL);
        if (i < v->depth && x)
            x = fv__encoder_block(c, &v->block[i], x, v->heads, v->eps, fv__drop_of(c, m, i, v->depth), NULL);
    }
    if (!x) return NULL;
    /* a norm of each token alone: the class token can be taken before it */
    int64_t first = v->class_token;
    x = v->average ? fv_mean(c, fv_slice(c, x, 1, first, x->dim[1] - first), 1) : fv__token(c, x, 0);
    return fv__head(c, m, x, &v->norm, &v->head, v->eps);
}

/* ======================================================================================================
 * points: clouds [B,N,3] -> logits.  source  Yu et al., Point-BERT, arXiv:2111.14819, its fine-tuning
 * network; names: theirs
 * ====================================================================================================== */
typedef struct fv__batch_norm {
    fv__pair affine;
    fv_tensor *mean, *var;
} fv__batch_norm;
typedef struct fv__points {
    int depth, heads, groups, group_size, width, max_only;
    float eps;
    fv__pair conv[4], reduce, pos[2], norm, head[2];
    fv__batch_norm bn[2];
    fv_tensor *cls_token, *cls_pos;
    fv__block_params *block;
} fv__points;

static int fv__batch_norm_make(fv_ctx *c, fv_model *m, fv__batch_norm *b, const char *name, int64_t n) {
    char key[128];
    if (!fv__norm_make(c, m, &b->affine, name, n)) return 0;
    snprintf(key, sizeof key, "%s.running_mean", name);
    b->mean = fv_model_buffer(c, m, key, n, 0);
    snprintf(key, sizeof key, "%s.running_var", name);
    b->var = fv_model_buffer(c, m, key, n, 1);
    return b->var != NULL;
}
/* a convolution of width 1: weight [out,in,1] */
static int fv__conv1_make(fv_ctx *c, fv_model *m, fv__pair *p, const char *name, int64_t out, int64_t in) {
    int64_t dim[3];
    dim[0] = out, dim[1] = in, dim[2] = 1;
    return fv__pair_make(c, m, p, name, 3, dim, 1, FV_INIT_CONV);
}
static fv_tensor *fv__conv1_weight(fv_ctx *c, const fv__pair *p) { return fv_reshape(c, p->w, 2, p->w->dim); }

static int fv__points_build(fv_ctx *c, fv_model *m) {
    static const char *const keys[] = {"trans_dim",  "depth",         "num_heads",    "num_group",
                                       "group_size", "encoder_width", "encoder_dims", "num_points",
                                       "mlp_ratio",  "qkv_bias",      "norm_eps",     "max_pool_only",
                                       NULL};
    fv__points *v = (fv__points *)fv_alloc(c, sizeof *v);
    m->net = v;
    if (!v || !fv_config_known(c, m, keys)) return 0;
    int d = m->dim = fv_config_int(c, m, "trans_dim", 384, 1, 65536),
        w = v->width = fv_config_int(c, m, "encoder_width", 256, 2, 65536),
        e = fv_config_int(c, m, "encoder_dims", 256, 1, 65536);
    v->depth = fv_config_int(c, m, "depth", 12, 0, 1000),
    v->heads = fv_config_int(c, m, "num_heads", 6, 1, 4096);
    v->groups = fv_config_int(c, m, "num_group", 64, 1, 1 << 20),
    v->group_size = fv_config_int(c, m, "group_size", 32, 1, 1 << 20);
    int points = fv_config_int(c, m, "num_points", 1024, 1, 1 << 24),
        bias = fv_config_bool(c, m, "qkv_bias", 0);
    int hidden = (int)(fv_config_float(c, m, "mlp_ratio", 4) * (float)d);
    v->eps = fv_config_float(c, m, "norm_eps", 1e-5f);
    v->max_only = fv_config_bool(c, m, "max_pool_only", 0);
    m->dropout = fv_config_float(c, m, "drop_rate", 0.5f);
    if (c->status || !fv__stage_fits(c, m, v->depth)) return 0;
    if (d % v->heads)
        return fv_fail(c, FV_EUSAGE, "config: trans_dim %d is no multiple of num_heads %d", d, v->heads);
    if (v->groups > points || v->group_size > points)
        return fv_fail(c, FV_EUSAGE, "config: num_group and group_size are at most num_points, %d", points);
    if (hidden < 1) return fv_fail(c, FV_EUSAGE, "config: mlp_ratio leaves no hidden unit");
    if (!fv__conv1_make(c, m, &v->conv[0], "encoder.first_conv.0", w / 2, 3) ||
        !fv__batch_norm_make(c, m, &v->bn[0], "encoder.first_conv.1", w / 2) ||
        !fv__conv1_make(c, m, &v->conv[1], "encoder.first_conv.3", w, w / 2) ||
        !fv__conv1_make(c, m, &v->conv[2], "encoder.second_conv.0", 2 * w, 2 * w) ||
        !fv__batch_norm_make(c, m, &v->bn[1], "encoder.second_conv.1", 2 * w) ||
        !fv__conv1_make(c, m, &v->conv[3], "encoder.second_conv.3", e, 2 * w) ||
        !fv__linear_make(c, m, &v->reduce, "reduce_dim", d, e, 1))
        return 0;
    v->cls_token = fv__embedding_make(c, m, "cls_token", 1, d, FV_INIT_ZEROS);
    v->cls_pos = fv__embedding_make(c, m, "cls_pos", 1, d, FV_INIT_TRUNC);
    if (!fv__linear_make(c, m, &v->pos[0], "pos_embed.0", 128, 3, 1) ||
        !fv__linear_make(c, m, &v->pos[1], "pos_embed.2", d, 128, 1))
        return 0;
    v->block = fv__blocks_make(c, m, "blocks.blocks", v->depth, d, hidden, bias);
    return v->block && fv__norm_make(c, m, &v->norm, "norm", d) &&
           fv__linear_make(c, m, &v->head[0], "cls_head_finetune.0", 256, 2 * d, 1) &&
           fv__linear_make(c, m, &v->head[1], "cls_head_finetune.3", m->num_classes, 256, 1);
}

static fv_tensor *fv__points_norm(fv_ctx *c, const fv__batch_norm *b, fv_tensor *x) { /* [...,C] */
    int64_t flat[2], dim[FV_MAX_RANK];
    if (!x) return NULL;
    int rank = x->rank;
    memcpy(dim, x->dim, sizeof dim);
    flat[0] = -1, flat[1] = x->dim[rank - 1];
    x = fv_batchnorm(c, fv_reshape(c, x, 2, flat), b->affine.w, b->affine.b, b->mean, b->var, 0.1f, 1e-5f);
    return x ? fv_relu(c, fv_reshape(c, x, rank, dim)) : NULL;
}

/* The mini-PointNet: neighbours [B,G,K,3] -> tokens [B,G,e]. Its second half sees each point beside its
 * group's maximum: the weight's left columns meet the maximum, once a group, its right columns the points. */
static fv_tensor *fv__points_tokens(fv_ctx *c, const fv__points *v, fv_tensor *x) {
    int64_t dim[4];
    /* offsets to the group's centre may be small beside the bias, and the batch norm magnifies what rounding
     * leaves */
    fv_type was = fv_autocast(c, FV_F32);
    x = fv_linear(c, x, fv__conv1_weight(c, &v->conv[0]), v->conv[0].b);
    fv_autocast(c, was);
    x = fv_linear(c, fv__points_norm(c, &v->bn[0], x), fv__conv1_weight(c, &v->conv[1]), v->conv[1].b);
    fv_tensor *most = x ? fv_max(c, x, 2) : NULL, *w = fv__conv1_weight(c, &v->conv[2]);
    if (!most || !w) return NULL;
    dim[0] = most->dim[0], dim[1] = most->dim[1], dim[2] = 1, dim[3] = w->dim[0];
    fv_tensor *group = fv_reshape(c, fv_linear(c, most, fv_slice(c, w, 1, 0, v->width), NULL), 4, dim);
    x = fv_add(c, fv_linear(c, x, fv_slice(c, w, 1, v->width, v->width), v->conv[2].b), group);
    x = fv_linear(c, fv__points_norm(c, &v->bn[1], x), fv__conv1_weight(c, &v->conv[3]), v->conv[3].b);
    return x ? fv_max(c, x, 2) : NULL;
}

/* [B,d],[B,d] -> two layers with ReLU and dropout between them, in f32 */
static fv_tensor *fv__points_head(fv_ctx *c, const fv_model *m, fv_tensor *one, fv_tensor *most) {
    const fv__points *v = (const fv__points *)m->net;
    fv_tensor *both[2];
    both[0] = one, both[1] = most;
    fv_type was = fv_autocast(c, FV_F32);
    fv_tensor *x = one && most ? fv_concat(c, both, 2, 1) : NULL;
    x = fv_linear_act(c, x, v->head[0].w, v->head[0].b, FV_ACT_RELU);
    if (m->dropout > 0) x = fv_dropout(c, x, m->dropout);
    x = fv_linear(c, x, v->head[1].w, v->head[1].b);
    fv_autocast(c, was);
    return x;
}

static fv_tensor *fv__points_forward(fv_ctx *c, fv_model *m, fv_tensor *const *input) {
    const fv__points *v = (const fv__points *)m->net;
    fv_tensor *points = input[0];
    fv_tensor *centre;
    int64_t want[3];
    want[0] = want[1] = -1, want[2] = 3;
    if (!fv__input_fits(c, "point_transformer: points", points, 3, want)) return NULL;
    fv_tensor *x = fv_point_groups(c, points, v->groups, v->group_size, &centre);
    x = x ? fv__points_tokens(c, v, x) : NULL;
    x = fv_linear(c, x, v->reduce.w, v->reduce.b);
    /* the mini-PointNet alone */
    if (v->max_only) {
        x = x ? fv_max(c, x, 1) : NULL;
        return fv__points_head(c, m, x, x);
    }
    fv_tensor *pos = fv_linear(c, fv_linear_act(c, centre, v->pos[0].w, v->pos[0].b, FV_ACT_GELU),
                               v->pos[1].w, v->pos[1].b);
    x = fv__prepend(c, v->cls_token, x), pos = fv__prepend(c, v->cls_pos, pos);
    for (int i = 0; i <= v->depth && x; i++) {
        if (i == fv__stage_at(m, v->depth)) x = fv__stage(c, m, x, NULL);
        if (i < v->depth && x)
            x = fv__encoder_block(c, &v->block[i], fv_add(c, x, pos), v->heads, v->eps,
                                  fv__drop_of(c, m, i, v->depth), NULL);
    }
    x = fv_layernorm(c, x, v->norm.w, v->norm.b, v->eps);
    return x ? fv__points_head(c, m, fv__token(c, x, 0), fv_max(c, fv_slice(c, x, 1, 1, x->dim[1] - 1), 1))
             : NULL;
}

/* ======================================================================================================
 * video: clips [B,C,T,H,W] -> logits.  source  Tong et al., VideoMAE, arXiv:2203.12602, its fine-tuning
 * network; names: theirs
 * ====================================================================================================== */
typedef struct fv__video_block {
    fv__pair norm1, proj, norm2, fc1, fc2;
    fv_tensor *qkv, *q_bias, *v_bias, *gamma1, *gamma2;
} fv__video_block;
typedef struct fv__video {
    int img_size, patch, chans, frames, tubelet, depth, heads;
    float eps;
    fv__pair patch_embed, norm, head;
    fv_tensor *pos, *no_bias; /* constants: [1,N,d] sines, [d] zeros */
    fv__video_block *block;
} fv__video;

/* sin(pos/10000^(2 floor(j/2)/d)) where j is even, cos where it is odd */
static fv_tensor *fv__sine_table(fv_ctx *c, fv_type type, int64_t n, int64_t d) {
    int64_t dim[3];
    dim[0] = 1, dim[1] = n, dim[2] = d;
    /* host: the numbers here, before they go where t lies */
    fv_tensor *t = fv_constant(c, NULL, type, 3, dim), host;
    memset(&host, 0, sizeof host);
    host.type = type, host.data = t ? fv_alloc(c, (size_t)(n * d) * fv_type_size(type)) : NULL;
    for (int64_t i = 0; host.data && i < n * d; i++) {
        double angle = (double)(i / d) / pow(10000, 2 * (double)(i % d / 2) / (double)d);
        fv_set(&host, i, i % d % 2 ? cos(angle) : sin(angle));
    }
    if (host.data) fv_write(c, t, host.data);
    fv_free(c, host.data);
    return t;
}

static int fv__video_block_make(fv_ctx *c, fv_model *m, fv__video_block *b, int i, int64_t d, int64_t hidden,
                                int bias, float scale) {
    char n[10][64];
    static const char *const part[10] = {"norm1",     "attn.qkv.weight", "attn.q_bias", "attn.v_bias",
                                         "attn.proj", "norm2",           "mlp.fc1",     "mlp.fc2",
                                         "gamma_1",   "gamma_2"};
    int64_t dim[2];
    for (int k = 0; k < 10; k++) snprintf(n[k], sizeof n[k], "blocks.%d.%s", i, part[k]);
    if (!fv__norm_make(c, m, &b->norm1, n[0], d)) return 0;
    dim[0] = 3 * d, dim[1] = d;
    b->qkv = fv_model_param(c, m, n[1], 2, dim, m->linear_init ? m->linear_init : FV_INIT_TRUNC);
    if (bias)
        b->q_bias = fv_model_param(c, m, n[2], 1, &d, FV_INIT_ZEROS),
        b->v_bias = fv_model_param(c, m, n[3], 1, &d, FV_INIT_ZEROS);
    if (!fv__linear_make(c, m, &b->proj, n[4], d, d, 1) || !fv__norm_make(c, m, &b->norm2, n[5], d) ||
        !fv__linear_make(c, m, &b->fc1, n[6], hidden, d, 1) ||
        !fv__linear_make(c, m, &b->fc2, n[7], d, hidden, 1))
        return 0;
    if (scale <= 0) return 1;
    b->gamma1 = fv_model_param(c, m, n[8], 1, &d, FV_INIT_ZEROS),
    b->gamma2 = fv_model_param(c, m, n[9], 1, &d, FV_INIT_ZEROS);
    if (b->gamma2) fv_init_fill(b->gamma1, scale), fv_init_fill(b->gamma2, scale);
    return b->gamma2 != NULL;
}

static int fv__video_build(fv_ctx *c, fv_model *m) {
    static const char *const keys[] = {
        "img_size",  "patch_size", "in_chans", "num_frames",  "tubelet_size", "embed_dim", "depth",
        "num_heads", "mlp_ratio",  "qkv_bias", "init_values", "global_pool",  "norm_eps",  NULL};
    fv__video *v = (fv__video *)fv_alloc(c, sizeof *v);
    m->net = v;
    if (!v || !fv_config_known(c, m, keys)) return 0;
    v->img_size = fv_config_int(c, m, "img_size", 224, 1, 8192),
    v->patch = fv_config_int(c, m, "patch_size", 16, 1, 1024);
    v->chans = fv_config_int(c, m, "in_chans", 3, 1, 1024),
    v->frames = fv_config_int(c, m, "num_frames", 16, 1, 4096);
    v->tubelet = fv_config_int(c, m, "tubelet_size", 2, 1, 4096),
    v->depth = fv_config_int(c, m, "depth", 12, 0, 1000);
    v->heads = fv_config_int(c, m, "num_heads", 6, 1, 4096),
    v->eps = fv_config_float(c, m, "norm_eps", 1e-6f);
    int d = m->dim = fv_config_int(c, m, "embed_dim", 384, 1, 65536),
        hidden = (int)(fv_config_float(c, m, "mlp_ratio", 4) * (float)d);
    int bias = fv_config_bool(c, m, "qkv_bias", 1);
    float scale = fv_config_float(c, m, "init_values", 0);
    const char *pool = fv_config_string(c, m, "global_pool", "avg");
    if (c->status || !fv__stage_fits(c, m, v->depth)) return 0;
    if (strcmp(pool, "avg"))
        return fv_fail(c, FV_EUSAGE, "config: global_pool is \"%.40s\"; video_vit has avg only", pool);
    if (v->img_size % v->patch)
        return fv_fail(c, FV_EUSAGE, "config: img_size %d is no multiple of patch_size %d", v->img_size,
                       v->patch);
    if (v->frames % v->tubelet)
        return fv_fail(c, FV_EUSAGE, "config: num_frames %d is no multiple of tubelet_size %d", v->frames,
                       v->tubelet);
    if (d % v->heads)
        return fv_fail(c, FV_EUSAGE, "config: embed_dim %d is no multiple of num_heads %d", d, v->heads);
    if (hidden < 1) return fv_fail(c, FV_EUSAGE, "config: mlp_ratio leaves no hidden unit");
    int64_t grid = v->img_size / v->patch, dim[5], n = d;
    dim[0] = d, dim[1] = v->chans, dim[2] = v->tubelet, dim[3] = dim[4] = v->patch;
    if (!fv__pair_make(c, m, &v->patch_embed, "patch_embed.proj", 5, dim, 1, FV_INIT_CONV)) return 0;
    v->pos = fv__sine_table(c, m->type, v->frames / v->tubelet * grid * grid, d),
    v->no_bias = fv_constant(c, NULL, m->type, 1, &n);
    v->block = (fv__video_block *)fv_alloc(c, sizeof *v->block * (size_t)FV__MAX(v->depth, 1));
    m->blocks = v->block;
    for (int i = 0; i < v->depth && v->block; i++)
        if (!fv__video_block_make(c, m, &v->block[i], i, d, hidden, bias, scale)) return 0;
    return !c->status && fv__norm_make(c, m, &v->norm, "fc_norm", d) &&
           fv__linear_make(c, m, &v->head, "head", m->num_classes, d, 1);
}
static void fv__video_free(fv_ctx *c, fv_model *m) {
    fv__video *v = (fv__video *)m->net;
    fv_param_free(c, v->pos);
    fv_param_free(c, v->no_bias);
}

/* clips -> tokens in the order (t,h,w); a tubelet is a row (c,t,h,w), as a convolution's weight is */
static fv_tensor *fv__video_patches(fv_ctx *c, const fv__video *v, fv_tensor *x) {
    static const int order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    int64_t P = v->patch, g = v->img_size / P, t = v->frames / v->tubelet, dim[8],
            in = v->chans * v->tubelet * P * P;
    dim[0] = x->dim[0], dim[1] = v->chans, dim[2] = t, dim[3] = v->tubelet, dim[4] = g, dim[5] = P,
    dim[6] = g, dim[7] = P;
    x = fv_permute(c, fv_reshape(c, x, 8, dim), order);
    dim[1] = t * g * g, dim[2] = in;
    x = fv_reshape(c, x, 3, dim);
    dim[0] = v->patch_embed.w->dim[0], dim[1] = in;
    fv_type was = fv_autocast(c, FV_F32);
    x = fv_linear(c, x, fv_reshape(c, v->patch_embed.w, 2, dim), v->patch_embed.b);
    fv_autocast(c, was);
    return x;
}

/* a branch's end: x + gamma * linear(y), the scale and drop-path where there are any */
static fv_tensor *fv__scaled_residual(fv_ctx *c, fv_tensor *y, const fv__pair *p, fv_tensor *gamma,
                                      fv_tensor *x, float drop) {
    if (!gamma) return fv__residual(c, y, p, x, drop);
    y = fv_mul(c, fv_linear(c, y, p->w, p->b), gamma);
    return fv_add(c, x, drop > 0 ? fv_drop_path(c, y, drop) : y);
}
static fv_tensor *fv__video_block_forward(fv_ctx *c, const fv__video *v, const fv__video_block *b,
                                          fv_tensor *x, float drop) {
    fv_attention_desc a;
    fv_tensor *bias[3];
    memset(&a, 0, sizeof a);
    a.num_heads = v->heads;
    /* keys have no bias: softmax would take it away */
    bias[0] = b->q_bias, bias[1] = v->no_bias, bias[2] = b->v_bias;
    fv_scope scope = fv_scope_begin(c);
    fv_tensor *qkv =
        fv__norm_linear(c, x, &b->norm1, b->qkv, b->q_bias ? fv_concat(c, bias, 3, 0) : NULL, v->eps);
    fv_tensor *h = fv__scaled_residual(c, fv_attention(c, qkv, NULL, NULL, &a), &b->proj, b->gamma1, x, drop);
    fv_tensor *u = fv_gelu(c, fv__norm_linear(c, h, &b->norm2, b->fc1.w, b->fc1.b, v->eps));
    fv_tensor *y = fv__scaled_residual(c, u, &b->fc2, b->gamma2, h, drop);
    fv_forget(c, u);
    return fv_scope_end(c, scope, y);
}

static fv_tensor *fv__video_forward(fv_ctx *c, fv_model *m, fv_tensor *const *input) {
    const fv__video *v = (const fv__video *)m->net;
    fv_tensor *x = input[0];
    int64_t want[5];
    want[0] = -1, want[1] = v->chans, want[2] = v->frames, want[3] = want[4] = v->img_size;
    if (!fv__input_fits(c, "video_vit: clips", x, 5, want)) return NULL;
    x = fv_add(c, fv__video_patches(c, v, x), v->pos);
    for (int i = 0; i <= v->depth && x; i++) {
        if (i == fv__stage_at(m, v->depth)) x = fv__stage(c, m, x, NULL);
        if (i < v->depth && x)
            x = fv__video_block_forward(c, v, &v->block[i], x, fv__drop_of(c, m, i, v->depth));
    }
    return x ? fv__head(c, m, fv_mean(c, x, 1), &v->norm, &v->head, v->eps) : NULL;
}

FV_DEF int fv_sample_frames(fv_rng *r, int total, int frames, int segment, int segments, int32_t *index) {
    if (total < 1 || frames < 1 || segments < 1) return 0;
    for (int i = 0; i < frames; i++) {
        double from = (double)total * i / frames, to = (double)total * (i + 1) / frames;
        double at = r ? from + (double)fv_rng_uniform(r) * (to - from)
                      : from + (to - from) * (segments > 1 ? (double)segment / segments : 0.5);
        index[i] = (int32_t)FV__MIN((int)at, total - 1);
    }
    return 1;
}

/* ======================================================================================================
 * volumes: [B,C,F,H,W] -> logits; vit3d over all tokens, vivit over each frame's and then over the frames'.
 *   source  Lai et al., R-LLM, arXiv:2403.17343, its 3D classifiers; names: theirs
 * ====================================================================================================== */
typedef struct fv__volume_block {
    fv__pair norm, qkv, out, norm2, fc1, fc2;
} fv__volume_block;
typedef struct fv__volume {
    int vivit, size, patch, frames, frame_patch, chans, heads, depth, temporal_depth, pool_mean;
    float eps;
    fv__pair norm_in, embed, norm_embed, spatial_norm, temporal_norm, head_norm, head;
    fv_tensor *pos, *token, *temporal_token;
    fv__volume_block *block; /* the spatial ones, then the temporal ones */
} fv__volume;

static int fv__volume_block_make(fv_ctx *c, fv_model *m, fv__volume_block *b, const char *list, int i,
                                 int64_t d, int64_t inner, int64_t hidden, int bare) {
    char n[6][96];
    static const char *const part[6] = {"0.norm", "0.to_qkv", "0.to_out.0", "1.net.0", "1.net.1", "1.net.4"};
    for (int k = 0; k < 6; k++) snprintf(n[k], sizeof n[k], "%s.layers.%d.%s", list, i, part[k]);
    return fv__norm_make(c, m, &b->norm, n[0], d) && fv__linear_make(c, m, &b->qkv, n[1], 3 * inner, d, 0) &&
           (bare || fv__linear_make(c, m, &b->out, n[2], d, inner, 1)) &&
           fv__norm_make(c, m, &b->norm2, n[3], d) && fv__linear_make(c, m, &b->fc1, n[4], hidden, d, 1) &&
           fv__linear_make(c, m, &b->fc2, n[5], d, hidden, 1);
}

static int fv__volume_config(fv_ctx *c, fv_model *m, fv__volume *v, int *dim_head, int *hidden) {
    static const char *const keys3[] = {
        "image_size", "image_patch_size", "frames", "frame_patch_size", "channels", "dim", "heads",
        "dim_head",   "mlp_dim",          "pool",   "norm_eps",         "depth",    NULL};
    static const char *const keys4[] = {"image_size",     "image_patch_size",
                                        "frames",         "frame_patch_size",
                                        "channels",       "dim",
                                        "heads",          "dim_head",
                                        "mlp_dim",        "pool",
                                        "norm_eps",       "spatial_depth",
                                        "temporal_depth", NULL};
    if (!fv_config_known(c, m, v->vivit ? keys4 : keys3)) return 0;
    v->size = fv_config_int(c, m, "image_size", 28, 1, 8192),
    v->patch = fv_config_int(c, m, "image_patch_size", 7, 1, 1024);
    v->frames = fv_config_int(c, m, "frames", 28, 1, 8192),
    v->frame_patch = fv_config_int(c, m, "frame_patch_size", 7, 1, 1024);
    v->chans = fv_config_int(c, m, "channels", 1, 1, 1024),
    v->heads = fv_config_int(c, m, "heads", 8, 1, 4096);
    *dim_head = fv_config_int(c, m, "dim_head", 64, 1, 65536),
    m->dim = fv_config_int(c, m, "dim", 1024, 1, 65536);
    *hidden = fv_config_int(c, m, "mlp_dim", 2048, 1, 1 << 20),
    v->eps = fv_config_float(c, m, "norm_eps", 1e-5f);
    v->depth = fv_config_int(c, m, v->vivit ? "spatial_depth" : "depth", 6, 0, 1000);
    v->temporal_depth = v->vivit ? fv_config_int(c, m, "temporal_depth", 6, 0, 1000) : 0;
    const char *pool = fv_config_string(c, m, "pool", "cls");
    v->pool_mean = !strcmp(pool, "mean");
    if (c->status) return 0;
    if (!v->pool_mean && strcmp(pool, "cls"))
        return fv_fail(c, FV_EUSAGE, "config: pool is \"%.40s\"; it can be cls or mean", pool);
    if (v->size % v->patch)
        return fv_fail(c, FV_EUSAGE, "config: image_size %d is no multiple of image_patch_size %d", v->size,
                       v->patch);
    if (v->frames % v->frame_patch)
        return fv_fail(c, FV_EUSAGE, "config: frames %d is no multiple of frame_patch_size %d", v->frames,
                       v->frame_patch);
    if (v->vivit && m->stage.after_block)
        return fv_fail(c, FV_EUSAGE, "config: frozen.after_block: vivit's stage stands after its last block");
    return fv__stage_fits(c, m, v->depth);
}

static int fv__volume_make(fv_ctx *c, fv_model *m, int vivit) {
    int dim_head = 0, hidden = 0;
    fv__volume *v = (fv__volume *)fv_alloc(c, sizeof *v);
    m->net = v;
    if (!v) return 0;
    v->vivit = vivit;
    if (!fv__volume_config(c, m, v, &dim_head, &hidden)) return 0;
    int64_t d = m->dim, grid = v->size / v->patch, n = grid * grid, F = v->frames / v->frame_patch,
            in = (int64_t)v->patch * v->patch * v->frame_patch * v->chans, dim[4];
    int bare = v->heads == 1 && dim_head == d;
    if (!fv__norm_make(c, m, &v->norm_in, "to_patch_embedding.1", in) ||
        !fv__linear_make(c, m, &v->embed, "to_patch_embedding.2", d, in, 1) ||
        !fv__norm_make(c, m, &v->norm_embed, "to_patch_embedding.3", d))
        return 0;
    dim[0] = 1, dim[1] = F, dim[2] = n, dim[3] = d;
    v->pos = vivit ? fv_model_param(c, m, "pos_embedding", 4, dim, FV_INIT_TRUNC)
                   : fv__embedding_make(c, m, "pos_embedding", F * n + 1, d, FV_INIT_TRUNC);
    if (!vivit || !v->pool_mean)
        v->token = fv__embedding_make(c, m, vivit ? "spatial_cls_token" : "cls_token", 1, d, FV_INIT_TRUNC);
    if (vivit && !v->pool_mean)
        v->temporal_token = fv__embedding_make(c, m, "temporal_cls_token", 1, d, FV_INIT_TRUNC);
    if (v->pos) v->pos->flags |= FV_NO_DECAY;
    v->block = (fv__volume_block *)fv_alloc(c, sizeof *v->block * (size_t)(v->depth + v->temporal_depth + 1));
    m->blocks = v->block;
    for (int i = 0; i < v->depth + v->temporal_depth && v->block; i++) {
        const char *list = !vivit         ? "transformer"
                           : i < v->depth ? "spatial_transformer"
                                          : "temporal_transformer";
        if (!fv__volume_block_make(c, m, &v->block[i], list, i < v->depth ? i : i - v->depth, d,
                                   (int64_t)v->heads * dim_head, hidden, bare))
            return 0;
    }
    if (c->status) return 0;
    if (!vivit)
        return fv__norm_make(c, m, &v->head_norm, "mlp_head.0", d) &&
               fv__linear_make(c, m, &v->head, "mlp_head.1", m->num_classes, d, 1);
    return fv__norm_make(c, m, &v->spatial_norm, "spatial_transformer.norm", d) &&
           fv__norm_make(c, m, &v->temporal_norm, "temporal_transformer.norm", d) &&
           fv__linear_make(c, m, &v->head, "mlp_head", m->num_classes, d, 1);
}
static int fv__vit3d_build(fv_ctx *c, fv_model *m) { return fv__volume_make(c, m, 0); }
static int fv__vivit_build(fv_ctx *c, fv_model *m) { return fv__volume_make(c, m, 1); }

/* [B,C,F,H,W] -> [B,f*h*w,d]: each patch flattened (p1 p2 pf c), normed, mapped, normed */
static fv_tensor *fv__volume_patches(fv_ctx *c, const fv__volume *v, fv_tensor *x) {
    static const int order[8] = {0, 2, 4, 6, 5, 7, 3, 1};
    int64_t P = v->patch, g = v->size / P, f = v->frames / v->frame_patch, dim[8];
    dim[0] = x->dim[0], dim[1] = v->chans, dim[2] = f, dim[3] = v->frame_patch, dim[4] = g, dim[5] = P,
    dim[6] = g, dim[7] = P;
    x = fv_permute(c, fv_reshape(c, x, 8, dim), order);
    dim[1] = f * g * g, dim[2] = P * P * v->frame_patch * v->chans;
    x = fv_reshape(c, x, 3, dim);
    fv_type was = fv_autocast(c, FV_F32);
    x = fv_linear(c, fv_layernorm(c, x, v->norm_in.w, v->norm_in.b, v->eps), v->embed.w, v->embed.b);
    x = fv_layernorm(c, x, v->norm_embed.w, v->norm_embed.b, v->eps);
    fv_autocast(c, was);
    return x;
}

static fv_tensor *fv__volume_block_forward(fv_ctx *c, const fv__volume *v, const fv__volume_block *b,
                                           fv_tensor *x, float drop) {
    fv_attention_desc a;
    memset(&a, 0, sizeof a);
    a.num_heads = v->heads;
    fv_scope scope = fv_scope_begin(c);
    fv_tensor *a_out =
        fv_attention(c, fv__norm_linear(c, x, &b->norm, b->qkv.w, NULL, v->eps), NULL, NULL, &a);
    fv_tensor *h = b->out.w ? fv__residual(c, a_out, &b->out, x, drop) : fv_add(c, x, a_out);
    fv_tensor *u = fv_gelu(c, fv__norm_linear(c, h, &b->norm2, b->fc1.w, b->fc1.b, v->eps));
    fv_tensor *y = fv__residual(c, u, &b->fc2, h, drop);
    fv_forget(c, u);
    return fv_scope_end(c, scope, y);
}

static int fv__volume_input(fv_ctx *c, const fv__volume *v, const fv_tensor *x) {
    int64_t want[5];
    want[0] = -1, want[1] = v->chans, want[2] = v->frames, want[3] = want[4] = v->size;
    return fv__input_fits(c, v->vivit ? "vivit: volumes" : "vit3d: volumes", x, 5, want);
}

static fv_tensor *fv__vit3d_forward(fv_ctx *c, fv_model *m, fv_tensor *const *input) {
    const fv__volume *v = (const fv__volume *)m->net;
    fv_tensor *x = input[0];
    if (!fv__volume_input(c, v, x)) return NULL;
    x = fv_add(c, fv__prepend(c, v->token, fv__volume_patches(c, v, x)), v->pos);
    for (int i = 0; i <= v->depth && x; i++) {
        if (i == fv__stage_at(m, v->depth)) x = fv__stage(c, m, x, NULL);
        if (i < v->depth && x)
            x = fv__volume_block_forward(c, v, &v->block[i], x, fv__drop_of(c, m, i, v->depth));
    }
    if (!x) return NULL;
    return fv__head(c, m, v->pool_mean ? fv_mean(c, x, 1) : fv__token(c, x, 0), &v->head_norm, &v->head,
                    v->eps);
}

static fv_tensor *fv__vivit_forward(fv_ctx *c, fv_model *m, fv_tensor *const *input) {
    const fv__volume *v = (const fv__volume *)m->net;
    fv_tensor *x = input[0];
    int64_t dim[4], B = x->dim[0], F = v->frames / v->frame_patch,
                    n = (v->size / v->patch) * (v->size / v->patch);
    if (!fv__volume_input(c, v, x)) return NULL;
    x = fv__volume_patches(c, v, x);
    dim[0] = B, dim[1] = F, dim[2] = n, dim[3] = m->dim;
    x = x ? fv_add(c, fv_reshape(c, x, 4, dim), v->pos) : NULL;
    dim[0] = B * F, dim[1] = n, dim[2] = m->dim;
    x = x ? fv_reshape(c, x, 3, dim) : NULL; /* each frame by itself */
    if (v->token) x = fv__prepend(c, v->token, x);
    const int blocks = v->depth + v->temporal_depth;
    for (int i = 0; i < v->depth && x; i++)
        x = fv__volume_block_forward(c, v, &v->block[i], x, fv__drop_of(c, m, i, blocks));
    x = x ? fv_layernorm(c, x, v->spatial_norm.w, v->spatial_norm.b, v->eps) : NULL;
    x = x ? (v->pool_mean ? fv_mean(c, x, 1) : fv__token(c, x, 0)) : NULL;
    dim[0] = B, dim[1] = F, dim[2] = m->dim;
    x = x ? fv_reshape(c, x, 3, dim) : NULL; /* a token a frame */
    if (v->temporal_token) x = fv__prepend(c, v->temporal_token, x);
    for (int i = 0; i < v->temporal_depth && x; i++)
        x = fv__volume_block_forward(c, v, &v->block[v->depth + i], x,
                                     fv__drop_of(c, m, v->depth + i, blocks));
    x = x ? fv__stage(c, m, fv_layernorm(c, x, v->temporal_norm.w, v->temporal_norm.b, v->eps), NULL) : NULL;
    x = x ? (v->pool_mean ? fv_mean(c, x, 1) : fv__token(c, x, 0)) : NULL;
    fv_type was = fv_autocast(c, FV_F32);
    if (x && m->dropout > 0) x = fv_dropout(c, x, m->dropout);
    x = fv_linear(c, x, v->head.w, v->head.b);
    fv_autocast(c, was);
    return x;
}

/* ======================================================================================================
 * motion: agents and lanes as polylines -> K futures; the loss is on the best one. The paper's authors
 * released no code for this task: names are ours.
 *
 * "encoder": "vectornet" (default): each polyline becomes a token by subgraph layers; `depth` blocks and the
 * frozen stage over all tokens; one head says K futures from the agent's.  source  Gao et al., VectorNet,
 * arXiv:2005.04259
 * "encoder": "mmtransformer": K learned proposals go through three stages, each an encoder and a decoder of
 * `depth` layers (as published: dim 128, num_heads 2, depth 2). Motion extractor: every agent's proposals see
 * its observed vectors. Map aggregator: they see the lanes' tokens. Social constructor: an agent's proposals
 * make its token, agents see each other, the frozen stage stands here, over agents and lanes, and agent 0's
 * proposals see what comes out. A head shared by the proposals says a future of each.  source  Liu et al.,
 * mmTransformer, arXiv:2103.11624
 * ====================================================================================================== */
enum { FV__SUBGRAPH_MOST = 8, FV__MOTION_STAGES = 3 };
typedef struct fv__subgraph {
    fv__pair own[FV__SUBGRAPH_MOST], norm[FV__SUBGRAPH_MOST];
    fv_tensor *most[FV__SUBGRAPH_MOST];
} fv__subgraph;
typedef struct fv__motion {
    int stacked;                                         /* mmTransformer */
    int features[2], layers, depth, heads, modes, steps; /* [0] agents, [1] lanes */
    float eps, scale;
    fv__subgraph graph[2]; /* stacked: only the lanes' */
    fv__pair norm, head[2], futures, scores;
    fv__block_params *block;     /* stacked: [3][depth], the stages' encoders */
    fv__cross_params *decoder;   /* [3][depth]; in the memory of block */
    fv__pair embed, gather;      /* an observed vector -> d; an agent's K proposals -> its token */
    fv_tensor *time, *proposals; /* [1,V,d], [1,K,d] */
} fv__motion;

static int fv__subgraph_make(fv_ctx *c, fv_model *m, fv__subgraph *g, const char *name, int layers,
                             int64_t in, int64_t d) {
    char key[3][64];
    int64_t dim[2];
    for (int i = 0; i < layers; i++, in = d) {
        snprintf(key[0], sizeof key[0], "%s.%d.linear", name, i),
            snprintf(key[1], sizeof key[1], "%s.%d.norm", name, i);
        snprintf(key[2], sizeof key[2], "%s.%d.most.weight", name, i);
        dim[0] = d, dim[1] = d;
        if (!fv__linear_make(c, m, &g->own[i], key[0], d, in, 1) ||
            !fv__norm_make(c, m, &g->norm[i], key[1], d))
            return 0;
        if (i && !(g->most[i] = fv_model_param(c, m, key[2], 2, dim, FV_INIT_TRUNC))) return 0;
    }
    return 1;
}

/* mmTransformer's stages */
static int fv__stacked_make(fv_ctx *c, fv_model *m, fv__motion *v, int64_t d, int64_t hidden) {
    static const char *const stage[FV__MOTION_STAGES] = {"motion", "map", "social"};
    char list[32], name[48];
    int n = FV__MOTION_STAGES * v->depth;
    size_t first = sizeof *v->block * (size_t)(n + 1);
    char *memory = (char *)(m->blocks = fv_alloc(c, first + sizeof *v->decoder * (size_t)(n + 1)));
    if (!memory) return 0;
    v->block = (fv__block_params *)(void *)memory, v->decoder = (fv__cross_params *)(void *)(memory + first);
    v->time = fv__embedding_make(c, m, "agents.pos_embed",
                                 fv_config_int(c, m, "observed_steps", 19, 1, 65536), d, FV_INIT_TRUNC);
    v->proposals = fv__embedding_make(c, m, "proposals", v->modes, d, FV_INIT_TRUNC);
    if (v->proposals) /* far from each other: else all learn the same */
        fv_init_normal(c, v->proposals, 1, (m->seed << 20) + (uint64_t)m->params.count);
    if (c->status || !fv__linear_make(c, m, &v->embed, "agents.embed", d, v->features[0], 1)) return 0;
    if (!fv__subgraph_make(c, m, &v->graph[1], "lanes", v->layers, v->features[1], d)) return 0;
    for (int i = 0; i < n; i++) {
        snprintf(list, sizeof list, "%s.encoder", stage[i / v->depth]),
            snprintf(name, sizeof name, "%s.decoder.%d", stage[i / v->depth], i % v->depth);
        if (!fv__block_make(c, m, &v->block[i], list, i % v->depth, d, hidden, 1) ||
            !fv__cross_make(c, m, &v->decoder[i], name, d, hidden))
            return 0;
    }
    return fv__linear_make(c, m, &v->gather, "social.agents", d, v->modes * d, 1);
}
static int fv__vectornet_make(fv_ctx *c, fv_model *m, fv__motion *v, int64_t d, int64_t hidden) {
    if (!fv__subgraph_make(c, m, &v->graph[0], "agents", v->layers, v->features[0], d) ||
        !fv__subgraph_make(c, m, &v->graph[1], "lanes", v->layers, v->features[1], d))
        return 0;
    return (v->block = fv__blocks_make(c, m, "blocks", v->depth, d, hidden, 1)) != NULL;
}

static int fv__motion_build(fv_ctx *c, fv_model *m) {
    static const char *const keys[] = {"encoder",        "dim",
                                       "depth",          "num_heads",
                                       "mlp_ratio",      "subgraph_layers",
                                       "agent_features", "lane_features",
                                       "modes",          "future_steps",
                                       "norm_eps",       "scale",
                                       "observed_steps", NULL};
    fv__motion *v = (fv__motion *)fv_alloc(c, sizeof *v);
    m->net = v;
    if (!v || !fv_config_known(c, m, keys)) return 0;
    const char *encoder = fv_config_string(c, m, "encoder", "vectornet");
    v->stacked = !strcmp(encoder, "mmtransformer");
    if (!v->stacked && strcmp(encoder, "vectornet"))
        return fv_fail(c, FV_EUSAGE, "config: encoder is \"%.40s\"; it can be vectornet or mmtransformer",
                       encoder);
    int64_t d = m->dim = fv_config_int(c, m, "dim", 128, 1, 65536),
            hidden = (int64_t)(fv_config_float(c, m, "mlp_ratio", 4) * (float)d);
    v->depth = fv_config_int(c, m, "depth", v->stacked ? 2 : 1, 0, 1000),
    v->heads = fv_config_int(c, m, "num_heads", 2, 1, 4096);
    v->layers = fv_config_int(c, m, "subgraph_layers", 3, 1, FV__SUBGRAPH_MOST);
    v->features[0] = fv_config_int(c, m, "agent_features", 4, 1, 4096),
    v->features[1] = fv_config_int(c, m, "lane_features", 7, 1, 4096);
    v->modes = fv_config_int(c, m, "modes", 6, 1, 1024),
    v->steps = fv_config_int(c, m, "future_steps", 30, 1, 4096);
    v->eps = fv_config_float(c, m, "norm_eps", 1e-5f), v->scale = fv_config_float(c, m, "scale", 10);
    if (c->status || !fv__stage_fits(c, m, v->depth)) return 0;
    if (d % v->heads)
        return fv_fail(c, FV_EUSAGE, "config: dim %d is no multiple of num_heads %d", m->dim, v->heads);
    if (hidden < 1) return fv_fail(c, FV_EUSAGE, "config: mlp_ratio leaves no hidden unit");
    if (v->stacked && v->depth < 1)
        return fv_fail(c, FV_EUSAGE,
                       "config: depth, the layers of each of mmtransformer's stages, is 1 at least");
    if (v->stacked && m->stage.after_block)
        return fv_fail(
            c, FV_EUSAGE,
            "config: frozen.after_block: in mmtransformer the stage stands in the social constructor");
    if (!v->stacked && fv_config_int(c, m, "observed_steps", 0, 1, 65536))
        return fv_fail(c, FV_EUSAGE, "config: observed_steps is mmtransformer's");
    if (v->stacked ? !fv__stacked_make(c, m, v, d, hidden) : !fv__vectornet_make(c, m, v, d, hidden))
        return 0;
    int64_t futures = v->stacked ? 1 : v->modes; /* that the head says of one token */
    return fv__norm_make(c, m, &v->norm, "norm", d) &&
           fv__linear_make(c, m, &v->head[0], "decoder.0", 2 * d, d, 1) &&
           fv__norm_make(c, m, &v->head[1], "decoder.1", 2 * d) &&
           fv__linear_make(c, m, &v->futures, "futures", futures * v->steps * 2, 2 * d, 1) &&
           fv__linear_make(c, m, &v->scores, "scores", futures, 2 * d, 1);
}

/* u8 [n] -> 1 or 0 in the network's type, shaped as given; without a gradient */
static fv_tensor *fv__mask_numbers(fv_ctx *c, const fv_model *m, const fv_tensor *mask, int rank,
                                   const int64_t *dim) {
    fv_tensor *t = fv_new(c, m->type, rank, dim);
    for (int64_t i = 0; t && i < fv_numel(t); i++) fv_set(t, i, ((const uint8_t *)mask->data)[i] ? 1 : 0);
    return t;
}

/* Polylines [B,P,V,F] -> [B,P,d]. Each layer sees a vector beside its polyline's maximum: two products
 * instead of a concatenation. After
 * ReLU nothing is below 0, so a masked vector is taken out of the maximum by a 0. */
static fv_tensor *fv__subgraph_forward(fv_ctx *c, const fv_model *m, const fv__subgraph *g, int layers,
                                       fv_tensor *x, const fv_tensor *mask, float eps) {
    int64_t dim[4], d = m->dim;
    fv_tensor *most = NULL;
    dim[0] = x->dim[0], dim[1] = x->dim[1], dim[2] = x->dim[2], dim[3] = 1;
    fv_tensor *valid = fv__mask_numbers(c, m, mask, 4, dim);
    for (int i = 0; i < layers; i++) {
        fv_tensor *y = fv_linear(c, x, g->own[i].w, g->own[i].b);
        if (i) {
            dim[2] = 1, dim[3] = d;
            fv_tensor *all = fv_linear(c, most, g->most[i], NULL);
            y = all ? fv_add(c, y, fv_reshape(c, all, 4, dim)) : NULL;
        }
        x = y ? fv_mul(c, fv_relu(c, fv_layernorm(c, y, g->norm[i].w, g->norm[i].b, eps)), valid) : NULL;
        most = x ? fv_max(c, x, 2) : NULL;
        if (!most) return NULL;
    }
    return most;
}

static int fv__mask_fits(fv_ctx *c, const char *what, const fv_tensor *mask, const fv_tensor *x, int rank) {
    int ok = mask->type == FV_U8 && mask->rank == rank;
    for (int i = 0; ok && i < rank; i++) ok = mask->dim[i] == x->dim[i];
    return ok ? 1 : fv_fail(c, FV_ESHAPE, "%s: a u8 mask of the first %d dims is wanted", what, rank);
}
/* masks of vectors u8 [B,P,V] and [B,Q,V'] (or NULL) -> of polylines u8 [B,P+Q]: valid where one of its
 * vectors is */
static fv_tensor *fv__polyline_mask(fv_ctx *c, const fv_tensor *a, const fv_tensor *b) {
    const fv_tensor *of[2];
    int64_t dim[2], at = 0;
    of[0] = a, of[1] = b, dim[0] = a->dim[0], dim[1] = a->dim[1] + (b ? b->dim[1] : 0);
    fv_tensor *mask = fv_new(c, FV_U8, 2, dim);
    for (int64_t i = 0; mask && i < dim[0]; i++)
        for (int k = 0; k < 2 && of[k]; k++)
            for (int64_t p = 0; p < of[k]->dim[1]; p++, at++) {
                const uint8_t *one = (const uint8_t *)of[k]->data + (i * of[k]->dim[1] + p) * of[k]->dim[2];
                uint8_t any = 0;
                for (int64_t n = 0; n < of[k]->dim[2]; n++) any |= one[n] != 0;
                ((uint8_t *)mask->data)[at] = any;
            }
    return mask;
}

/* VectorNet -> agent 0's token [B,d] */
static fv_tensor *fv__vectornet_forward(fv_ctx *c, fv_model *m, const fv__motion *v,
                                        fv_tensor *const *input) {
    fv_tensor *token[2];
    for (int k = 0; k < 2; k++)
        token[k] =
            fv__subgraph_forward(c, m, &v->graph[k], v->layers, input[2 * k], input[2 * k + 1], v->eps);
    fv_tensor *mask = token[0] && token[1] ? fv__polyline_mask(c, input[1], input[3]) : NULL,
              *y = mask ? fv_concat(c, token, 2, 1) : NULL;
    for (int i = 0; i <= v->depth && y; i++) {
        if (i == fv__stage_at(m, v->depth)) y = fv__stage(c, m, y, mask);
        if (i < v->depth && y)
            y = fv__encoder_block(c, &v->block[i], y, v->heads, v->eps, fv__drop_of(c, m, i, v->depth), mask);
    }
    return y ? fv__token(c, y, 0) : NULL;
}

/* ---- mmTransformer: p, the proposals of all agents, is [B*A,K,d] ---- */
static fv_tensor *fv__stage_encode(fv_ctx *c, fv_model *m, const fv__motion *v, int stage, fv_tensor *x,
                                   const fv_tensor *mask) {
    for (int i = stage * v->depth; i < (stage + 1) * v->depth && x; i++)
        x = fv__encoder_block(c, &v->block[i], x, v->heads, v->eps,
                              fv__drop_of(c, m, i, FV__MOTION_STAGES * v->depth), mask);
    return x;
}
static fv_tensor *fv__stage_decode(fv_ctx *c, const fv__motion *v, int stage, fv_tensor *p, fv_tensor *memory,
                                   const fv_tensor *mask) {
    for (int i = stage * v->depth; i < (stage + 1) * v->depth && p; i++)
        p = fv__cross_block(c, &v->decoder[i], v->heads, v->eps, p, NULL, memory, mask);
    return p;
}
/* agents [B,A,V,F], mask u8 [B,A,V] -> what each agent's proposals see in its observed vectors */
static fv_tensor *fv__motion_extractor(fv_ctx *c, fv_model *m, const fv__motion *v, fv_tensor *agents,
                                       const fv_tensor *mask) {
    int64_t B = agents->dim[0] * agents->dim[1], V = agents->dim[2], dim[3];
    if (V > v->time->dim[1])
        return fv_fail(c, FV_ESHAPE, "motion: %lld observed vectors, the config's observed_steps is %lld",
                       (long long)V, (long long)v->time->dim[1]),
               (fv_tensor *)NULL;
    dim[0] = B, dim[1] = V, dim[2] = agents->dim[3];
    fv_tensor *x = fv_add(c, fv_linear(c, fv_reshape(c, agents, 3, dim), v->embed.w, v->embed.b),
                          fv_slice(c, v->time, 1, 0, V)),
              *seen = fv_new(c, FV_U8, 2, dim);
    dim[1] = v->modes, dim[2] = m->dim;
    fv_tensor *zeros = fv_new(c, m->type, 3, dim);
    if (!x || !seen || !zeros) return NULL;
    memcpy(seen->data, mask->data, (size_t)(B * V));
    for (int64_t i = 0; i < fv_numel(zeros); i++) fv_set(zeros, i, 0);
    x = fv__stage_encode(c, m, v, 0, x, seen);
    return fv__stage_decode(c, v, 0, fv_add(c, zeros, v->proposals), x, seen);
}
/* the proposals see each other's agents and, after the frozen stage, the lanes [B,L,d] anew -> those of agent
 * 0, [B,K,d] */
static fv_tensor *fv__social_constructor(fv_ctx *c, fv_model *m, const fv__motion *v, fv_tensor *p,
                                         fv_tensor *lanes, fv_tensor *const *input) {
    int64_t dim[3];
    fv_tensor *both[2];
    dim[0] = lanes->dim[0], dim[1] = input[0]->dim[1], dim[2] = (int64_t)v->modes * m->dim;
    p = p ? fv_reshape(c, p, 3, dim) : NULL;
    fv_tensor *mask = fv__polyline_mask(c, input[1], NULL), *all = fv__polyline_mask(c, input[1], input[3]);
    if (!p || !mask || !all) return NULL;
    both[0] = fv__stage_encode(c, m, v, 2, fv_linear(c, p, v->gather.w, v->gather.b), mask), both[1] = lanes;
    if (both[0] && both[0]->type != lanes->type) both[0] = fv_cast(c, both[0], lanes->type);
    fv_tensor *memory = both[0] ? fv__stage(c, m, fv_concat(c, both, 2, 1), all) : NULL;
    dim[1] = v->modes, dim[2] = m->dim;
    return fv__stage_decode(c, v, 2, memory ? fv_reshape(c, fv_slice(c, p, 1, 0, 1), 3, dim) : NULL, memory,
                            all);
}
static fv_tensor *fv__stacked_forward(fv_ctx *c, fv_model *m, const fv__motion *v, fv_tensor *const *input) {
    fv_tensor *p = fv__motion_extractor(c, m, v, input[0], input[1]);
    fv_tensor *lanes =
                  p ? fv__subgraph_forward(c, m, &v->graph[1], v->layers, input[2], input[3], v->eps) : NULL,
              *mask = lanes ? fv__polyline_mask(c, input[3], NULL) : NULL;
    lanes = mask ? fv__stage_encode(c, m, v, 1, lanes, mask) : NULL; /* the map aggregator */
    p = lanes ? fv__stage_decode(c, v, 1, p, lanes, mask) : NULL;
    return p ? fv__social_constructor(c, m, v, p, lanes, input) : NULL;
}

static fv_tensor *fv__motion_forward(fv_ctx *c, fv_model *m, fv_tensor *const *input) {
    const fv__motion *v = (const fv__motion *)m->net;
    int64_t want[4], dim[3];
    for (int k = 0; k < 2; k++) {
        want[0] = want[1] = want[2] = -1, want[3] = v->features[k];
        if (!fv__input_fits(c, k ? "motion: lanes" : "motion: agents", input[2 * k], 4, want) ||
            !fv__mask_fits(c, k ? "motion: lanes" : "motion: agents", input[2 * k + 1], input[2 * k], 3))
            return NULL;
    }
    if (input[0]->dim[0] != input[2]->dim[0])
        return fv_fail(c, FV_ESHAPE, "motion: agents and lanes of different batches"), (fv_tensor *)NULL;
    fv_tensor *y = v->stacked ? fv__stacked_forward(c, m, v, input) : fv__vectornet_forward(c, m, v, input),
              *both[2];
    fv_type was = fv_autocast(c, FV_F32);
    y = y ? fv_layernorm(c, y, v->norm.w, v->norm.b, v->eps) : NULL;
    y = y ? fv_relu(c, fv_layernorm(c, fv_linear(c, y, v->head[0].w, v->head[0].b), v->head[1].w,
                                    v->head[1].b, v->eps))
          : NULL;
    if (y && m->dropout > 0) y = fv_dropout(c, y, m->dropout);
    both[0] = fv_scale(c, fv_linear(c, y, v->futures.w, v->futures.b), v->scale),
    both[1] = fv_linear(c, y, v->scores.w, v->scores.b);
    dim[0] = input[0]->dim[0], dim[1] = v->modes, dim[2] = 2 * v->steps;
    both[0] = both[0] ? fv_reshape(c, both[0], 3, dim) : NULL;
    dim[2] = 1;
    both[1] = both[1] ? fv_reshape(c, both[1], 3, dim) : NULL;
    fv_autocast(c, was);
    return both[0] && both[1] ? fv_concat(c, both, 2, 2) : NULL;
}

/* Of a [B,K,2T+1] output the mode whose endpoint is nearest to the target's; lower index first */
FV_DEF int fv_motion_best(const fv_tensor *y, int64_t b, const float *end) {
    int64_t K = y->dim[1], n = y->dim[2];
    int best = 0;
    double least = 0;
    for (int64_t k = 0; k < K; k++) {
        double dx = fv_get(y, (b * K + k) * n + n - 3) - (double)end[0],
               dy = fv_get(y, (b * K + k) * n + n - 2) - (double)end[1], e = dx * dx + dy * dy;
        if (!k || e < least) least = e, best = (int)k;
    }
    return best;
}

FV_DEF fv_tensor *fv_motion_loss(fv_ctx *c, fv_tensor *y, const fv_tensor *target) {
    int64_t dim[2];
    if (c->status || !y || !target) return NULL;
    int64_t B = y->rank == 3 ? y->dim[0] : 0, K = B ? y->dim[1] : 0, n = B ? y->dim[2] : 0;
    if (!B || target->type != FV_F32 || fv_numel(target) != B * (n - 1))
        return fv_fail(c, FV_ESHAPE, "motion_loss: [B,K,2T+1] and f32 [B,T,2] are wanted"), (fv_tensor *)NULL;
    fv_tensor *row = fv_new(c, FV_I32, 1, &B), *best = fv_new(c, FV_I32, 1, &B);
    dim[0] = B, dim[1] = n - 1;
    fv_tensor *wanted = fv_new(c, y->type, 2, dim);
    if (!row || !best || !wanted) return NULL;
    for (int64_t b = 0; b < B; b++) {
        int k = fv_motion_best(y, b, (const float *)target->data + (b + 1) * (n - 1) - 2);
        ((int32_t *)best->data)[b] = k, ((int32_t *)row->data)[b] = (int32_t)(b * K + k);
    }
    for (int64_t i = 0; i < B * (n - 1); i++) fv_set(wanted, i, (double)((const float *)target->data)[i]);
    dim[0] = B * K, dim[1] = n;
    fv_tensor *one = fv_slice(c, fv_gather(c, fv_reshape(c, y, 2, dim), row), 1, 0, n - 1);
    dim[0] = B, dim[1] = K;
    fv_tensor *score = fv_slice(c, y, 2, n - 1, 1);
    return score && one ? fv_add(c, fv_huber(c, one, wanted, 1),
                                 fv_cross_entropy(c, fv_reshape(c, score, 2, dim), best, 0))
                        : NULL;
}

/* ======================================================================================================
 * language and vision: text and image (or objects) see each other in fusion layers, one stack each; the
 * frozen stage stands after them, on the visual tokens, whose mean meets the text's.  source  Dou et al.,
 * METER, arXiv:2111.02387.  The paper's authors released no code for these tasks: names are ours.
 * ====================================================================================================== */
enum { FV__VQA, FV__RETRIEVAL, FV__SCENE };
typedef struct fv__fusion {
    int kind, vocab, most_words, word_dim, heads, text_depth, image_depth, depth, img_size, patch, chans,
        features, embed;
    float eps;
    /* convolutions before the tokens: patch = 2^stem; 0: patches are cut and projected */
    int stem;
    fv_tensor *words, *word_pos, *image_pos;
    fv__pair stem_conv[8], stem_norm[8], word_norm, word_map, patches, objects[2], visual_norm, text_norm,
        head[3], image_embed, text_embed;
    fv__block_params *block; /* the text's, then the image's */
    fv__cross_params *side;  /* text and image of layer 0, of layer 1, ...; in the memory of block */
} fv__fusion;

/* conv_stem: convolutions of 4x4 pixels, two apart, instead of one cut into patches; the channels double up
 * to d.
 *   source  Xiao et al., "Early convolutions help transformers see better", arXiv:2106.14881 */
static int fv__stem_make(fv_ctx *c, fv_model *m, fv__fusion *v, int64_t d) {
    char name[32];
    for (int p = v->patch; p > 1; p /= 2) {
        if (p % 2 || ++v->stem > 8)
            return fv_fail(c, FV_EUSAGE,
                           "config: conv_stem wants a patch_size that is a power of 2 up to 256, not %d",
                           v->patch);
    }
    if (!v->stem) return fv_fail(c, FV_EUSAGE, "config: conv_stem wants a patch_size of 2 or more");
    int64_t in = v->chans;
    for (int i = 0; i < v->stem; i++) {
        int64_t out = FV__MAX(d >> (v->stem - 1 - i), (int64_t)1);
        snprintf(name, sizeof name, "stem.%d.conv", i);
        int64_t dim[2];
        dim[0] = out, dim[1] = 16 * in;
        if (!fv__pair_make(c, m, &v->stem_conv[i], name, 2, dim, 1, FV_INIT_CONV)) return 0;
        snprintf(name, sizeof name, "stem.%d.norm", i);
        if (!fv__norm_make(c, m, &v->stem_norm[i], name, out)) return 0;
        in = out;
    }
    return 1;
}
/* x [B,H,W,C] with zeros for its row 0 (dim 1) or column 0 (dim 2), the others moved on by one */
static fv_tensor *fv__moved(fv_ctx *c, fv_tensor *x, int dim) {
    int64_t size[4];
    fv_tensor *part[2];
    if (!x) return NULL;
    if (x->dim[dim] < 2) return fv_scale(c, x, 0);
    memcpy(size, x->dim, sizeof size);
    size[dim] = 1;
    part[0] = fv_new(c, x->type, 4, size), part[1] = fv_slice(c, x, dim, 0, x->dim[dim] - 1);
    if (!part[0] || !part[1]) return NULL;
    for (int64_t i = 0; i < fv_numel(part[0]); i++) fv_set(part[0], i, 0);
    return fv_concat(c, part, 2, dim);
}
/* images [B,C,H,W] -> [B,HW/P^2,d]. A 2x2 block of pixels becomes one of 4C channels; it and its neighbours
 * above and to the left make 4x4. */
static fv_tensor *fv__stem(fv_ctx *c, const fv__fusion *v, fv_tensor *x) {
    static const int last[4] = {0, 2, 3, 1}, order[6] = {0, 1, 3, 2, 4, 5};
    fv_tensor *part[4];
    int64_t dim[6];
    x = fv_permute(c, x, last);
    for (int i = 0; i < v->stem && x; i++) {
        dim[0] = x->dim[0], dim[1] = x->dim[1] / 2, dim[2] = 2, dim[3] = x->dim[2] / 2, dim[4] = 2,
        dim[5] = x->dim[3];
        x = fv_permute(c, fv_reshape(c, x, 6, dim), order);
        dim[2] = dim[3], dim[3] = 4 * dim[5];
        part[0] = fv_reshape(c, x, 4, dim), part[1] = fv__moved(c, part[0], 1),
        part[2] = fv__moved(c, part[0], 2), part[3] = fv__moved(c, part[1], 2);
        if (!part[3]) return NULL;
        x = fv_linear(c, fv_concat(c, part, 4, 3), v->stem_conv[i].w, v->stem_conv[i].b);
        x = fv_gelu(c, fv_layernorm(c, x, v->stem_norm[i].w, v->stem_norm[i].b, v->eps));
    }
    if (!x) return NULL;
    dim[0] = x->dim[0], dim[1] = -1, dim[2] = x->dim[3];
    return fv_reshape(c, x, 3, dim);
}

/* The words' table: trained, [vocab,d]; or with word_dim a buffer [vocab,word_dim] that its user fills (from
 * a language model's embeddings, say) and that is not trained, mapped to d by a layer that is. */
static int fv__words_make(fv_ctx *c, fv_model *m, fv__fusion *v, int64_t d) {
    int64_t dim[2];
    v->word_dim = fv_config_int(c, m, "word_dim", 0, 0, 65536);
    dim[0] = v->vocab, dim[1] = v->word_dim ? v->word_dim : d;
    if (!v->word_dim) {
        if ((v->words = fv_model_param(c, m, "text.embed.weight", 2, dim, FV_INIT_TRUNC)))
            v->words->flags |= FV_NO_DECAY;
        return v->words != NULL;
    }
    v->words = fv_constant(c, "text.embed.weight", m->type, 2, dim);
    if (!v->words || !fv_params_add(c, &m->buffers, v->words)) return 0;
    fv_init_normal(c, v->words, 1, m->seed << 20);
    return fv__linear_make(c, m, &v->word_map, "text.embed_map", d, v->word_dim, 1);
}

static int fv__fusion_make(fv_ctx *c, fv_model *m, int kind) {
    static const char *const keys_image[] = {"dim",          "num_heads", "mlp_ratio",  "vocab_size",
                                             "max_words",    "word_dim",  "text_depth", "image_depth",
                                             "fusion_depth", "norm_eps",  "img_size",   "patch_size",
                                             "in_chans",     "conv_stem", "embed_dim",  NULL};
    static const char *const keys_scene[] = {"dim",          "num_heads", "mlp_ratio",       "vocab_size",
                                             "max_words",    "word_dim",  "text_depth",      "image_depth",
                                             "fusion_depth", "norm_eps",  "object_features", NULL};
    fv__fusion *v = (fv__fusion *)fv_alloc(c, sizeof *v);
    m->net = v;
    if (!v || !fv_config_known(c, m, kind == FV__SCENE ? keys_scene : keys_image)) return 0;
    v->kind = kind, m->linear_init = FV_INIT_XAVIER;
    int d = m->dim = fv_config_int(c, m, "dim", 128, 1, 65536),
        hidden = (int)(fv_config_float(c, m, "mlp_ratio", 4) * (float)d);
    v->heads = fv_config_int(c, m, "num_heads", 4, 1, 4096),
    v->vocab = fv_config_int(c, m, "vocab_size", 49152, 1, 1 << 24);
    v->most_words = fv_config_int(c, m, "max_words", 32, 1, 65536),
    v->text_depth = fv_config_int(c, m, "text_depth", 1, 0, 1000);
    v->image_depth = fv_config_int(c, m, "image_depth", 2, 0, 1000),
    v->depth = fv_config_int(c, m, "fusion_depth", 2, 0, 1000);
    v->eps = fv_config_float(c, m, "norm_eps", 1e-5f);
    if (c->status) return 0;
    if (d % v->heads)
        return fv_fail(c, FV_EUSAGE, "config: dim %d is no multiple of num_heads %d", d, v->heads);
    if (hidden < 1) return fv_fail(c, FV_EUSAGE, "config: mlp_ratio leaves no hidden unit");
    if (m->stage.after_block)
        return fv_fail(c, FV_EUSAGE, "config: frozen.after_block: here the stage stands after fusion");
    int64_t dim[4];
    if (!fv__words_make(c, m, v, d)) return 0;
    v->word_pos = fv__embedding_make(c, m, "text.pos_embed", v->most_words, d, FV_INIT_TRUNC);
    if (!fv__norm_make(c, m, &v->word_norm, "text.norm", d)) return 0;
    if (kind == FV__SCENE) {
        v->features = fv_config_int(c, m, "object_features", 9, 1, 4096);
        if (!fv__linear_make(c, m, &v->objects[0], "objects.0", d, v->features, 1) ||
            !fv__linear_make(c, m, &v->objects[1], "objects.2", d, d, 1))
            return 0;
    } else {
        v->img_size = fv_config_int(c, m, "img_size", 64, 1, 8192),
        v->patch = fv_config_int(c, m, "patch_size", 8, 1, 1024),
        v->chans = fv_config_int(c, m, "in_chans", 3, 1, 1024);
        if (c->status) return 0;
        if (v->img_size % v->patch)
            return fv_fail(c, FV_EUSAGE, "config: img_size %d is no multiple of patch_size %d", v->img_size,
                           v->patch);
        dim[0] = d, dim[1] = v->chans, dim[2] = dim[3] = v->patch;
        int64_t grid = v->img_size / v->patch;
        if (fv_config_bool(c, m, "conv_stem", 0)
                ? !fv__stem_make(c, m, v, d)
                : !fv__pair_make(c, m, &v->patches, "patch_embed.proj", 4, dim, 1, FV_INIT_CONV))
            return 0;
        v->image_pos = fv__embedding_make(c, m, "pos_embed", grid * grid, d, FV_INIT_TRUNC);
    }
    int blocks = v->text_depth + v->image_depth;
    size_t first = sizeof *v->block * (size_t)(blocks + 1);
    char *memory = (char *)(m->blocks = fv_alloc(c, first + sizeof *v->side * (size_t)(2 * v->depth + 1)));
    if (!memory) return 0;
    v->block = (fv__block_params *)(void *)memory, v->side = (fv__cross_params *)(void *)(memory + first);
    for (int i = 0; i < blocks; i++)
        if (!fv__block_make(c, m, &v->block[i], i < v->text_depth ? "text.blocks" : "blocks",
                            i < v->text_depth ? i : i - v->text_depth, d, hidden, 1))
            return 0;
    for (int i = 0; i < 2 * v->depth; i++) {
        char name[48];
        snprintf(name, sizeof name, "fusion.%d.%s", i / 2, i % 2 ? "image" : "text");
        if (!fv__cross_make(c, m, &v->side[i], name, d, hidden)) return 0;
    }
    if (!fv__norm_make(c, m, &v->text_norm, "text_norm", d) ||
        !fv__norm_make(c, m, &v->visual_norm, "norm", d) ||
        !fv__linear_make(c, m, &v->head[0], "head.0", 2 * d, 2 * d, 1) ||
        !fv__norm_make(c, m, &v->head[1], "head.1", 2 * d) ||
        !fv__linear_make(c, m, &v->head[2], "head.3", kind == FV__RETRIEVAL ? 1 : m->num_classes, 2 * d, 1))
        return 0;
    if (kind != FV__RETRIEVAL) return 1;
    v->embed = fv_config_int(c, m, "embed_dim", 64, 1, 65536);
    return fv__linear_make(c, m, &v->image_embed, "image_embed", v->embed, d, 0) &&
           fv__linear_make(c, m, &v->text_embed, "text_embed", v->embed, d, 0);
}
static int fv__vqa_build(fv_ctx *c, fv_model *m) { return fv__fusion_make(c, m, FV__VQA); }
static int fv__retrieval_build(fv_ctx *c, fv_model *m) { return fv__fusion_make(c, m, FV__RETRIEVAL); }
static int fv__scene_build(fv_ctx *c, fv_model *m) { return fv__fusion_make(c, m, FV__SCENE); }

/* mean over the valid tokens: [B,N,d] -> [B,d] */
static fv_tensor *fv__masked_mean(fv_ctx *c, const fv_model *m, fv_tensor *x, const fv_tensor *mask) {
    int64_t dim[3];
    if (!x) return NULL;
    if (!mask) return fv_mean(c, x, 1);
    dim[0] = x->dim[0], dim[1] = x->dim[1], dim[2] = 1;
    fv_tensor *w = fv__mask_numbers(c, m, mask, 3, dim);
    for (int64_t b = 0; w && b < dim[0]; b++) {
        double n = 0;
        for (int64_t i = 0; i < dim[1]; i++) n += fv_get(w, b * dim[1] + i);
        for (int64_t i = 0; i < dim[1] && n > 0; i++)
            fv_set(w, b * dim[1] + i, fv_get(w, b * dim[1] + i) / n);
    }
    return w ? fv_sum(c, fv_mul(c, x, w), 1) : NULL;
}

static fv_tensor *fv__fusion_text(fv_ctx *c, const fv__fusion *v, const fv_tensor *ids,
                                  const fv_tensor *mask) {
    if (ids->type != FV_I32 || ids->rank != 2 || ids->dim[1] > v->most_words || ids->dim[1] < 1)
        return fv_fail(c, FV_ESHAPE, "%s: ids are i32 [B,L] with L at most %d",
                       v->kind == FV__SCENE ? "scene_qa" : "vqa", v->most_words),
               (fv_tensor *)NULL;
    fv_tensor *x = fv_gather(c, v->words, ids);
    if (x && v->word_dim) x = fv_linear(c, x, v->word_map.w, v->word_map.b);
    x = x ? fv_add(c, x, fv_slice(c, v->word_pos, 1, 0, ids->dim[1])) : NULL;
    x = fv_layernorm(c, x, v->word_norm.w, v->word_norm.b, v->eps);
    for (int i = 0; i < v->text_depth && x; i++)
        x = fv__encoder_block(c, &v->block[i], x, v->heads, v->eps, 0, mask);
    return x;
}

/* images [B,C,H,W] -> patches' tokens, or objects [B,O,F] -> theirs */
static fv_tensor *fv__fusion_visual(fv_ctx *c, const fv__fusion *v, fv_tensor *x, const fv_tensor *mask) {
    int64_t want[4];
    want[0] = -1, want[1] = v->chans, want[2] = want[3] = v->img_size;
    if (v->kind == FV__SCENE) {
        want[1] = -1, want[2] = v->features;
        if (!fv__input_fits(c, "scene_qa: objects", x, 3, want) ||
            !fv__mask_fits(c, "scene_qa: objects", mask, x, 2))
            return NULL;
        x = fv_linear(c, fv_linear_act(c, x, v->objects[0].w, v->objects[0].b, FV_ACT_GELU), v->objects[1].w,
                      v->objects[1].b);
    } else {
        if (!fv__input_fits(c, "images", x, 4, want)) return NULL;
        x = fv_add(c,
                   v->stem ? fv__stem(c, v, x) : fv__image_patches(c, x, v->img_size, v->patch, &v->patches),
                   v->image_pos);
    }
    for (int i = 0; i < v->image_depth && x; i++)
        x = fv__encoder_block(c, &v->block[v->text_depth + i], x, v->heads, v->eps, 0, mask);
    return x;
}

/* rows of length 1 */
static fv_tensor *fv__unit_rows(fv_ctx *c, fv_tensor *x) {
    if (!x) return NULL;
    return fv_scale(c, fv_rmsnorm(c, x, NULL, 1e-12f), 1 / sqrtf((float)x->dim[x->rank - 1]));
}

/* [B,N,d] -> [B*n,N,d], each n times */
static fv_tensor *fv__repeat(fv_ctx *c, fv_tensor *x, int64_t n) {
    int64_t dim[3], flat[2], rows = x->dim[0] * n;
    dim[0] = rows, dim[1] = x->dim[1], dim[2] = x->dim[2], flat[0] = x->dim[0], flat[1] = -1;
    fv_tensor *index = fv_new(c, FV_I32, 1, &rows);
    for (int64_t i = 0; i < rows && index; i++) ((int32_t *)index->data)[i] = (int32_t)(i / n);
    return index ? fv_reshape(c, fv_gather(c, fv_reshape(c, x, 2, flat), index), 3, dim) : NULL;
}

static fv_tensor *fv__fusion_forward(fv_ctx *c, fv_model *m, fv_tensor *const *input) {
    const fv__fusion *v = (const fv__fusion *)m->net;
    const fv_tensor *tm = input[1], *vm = v->kind == FV__SCENE ? input[3] : NULL;
    fv_tensor *both[3];
    if (!fv__mask_fits(c, "text", tm, input[0], 2)) return NULL;
    fv_tensor *t = fv__fusion_text(c, v, input[0], tm), *x = t ? fv__fusion_visual(c, v, input[2], vm) : NULL;
    if (x && v->kind == FV__RETRIEVAL && x->dim[0] > 0 && t->dim[0] > x->dim[0] && t->dim[0] % x->dim[0] == 0)
        x = fv__repeat(c, x, t->dim[0] / x->dim[0]);
    if (x && x->dim[0] != t->dim[0])
        return fv_fail(c, FV_ESHAPE, "%s: text and image of different batches", m->arch->name),
               (fv_tensor *)NULL;
    if (v->kind == FV__RETRIEVAL) {
        both[1] = fv__unit_rows(c, fv_linear(c, fv__masked_mean(c, m, x, vm), v->image_embed.w, NULL));
        both[2] = fv__unit_rows(c, fv_linear(c, fv__masked_mean(c, m, t, tm), v->text_embed.w, NULL));
    }
    /* both sides see each other as they were before the layer */
    for (int i = 0; i < v->depth && x && t; i++) {
        fv_tensor *next = fv__cross_block(c, &v->side[2 * i], v->heads, v->eps, t, tm, x, vm);
        x = fv__cross_block(c, &v->side[2 * i + 1], v->heads, v->eps, x, vm, t, tm), t = next;
    }
    x = fv__stage(c, m, x, vm);
    fv_type was = fv_autocast(c, FV_F32);
    both[0] =
        fv__masked_mean(c, m, x && t ? fv_layernorm(c, t, v->text_norm.w, v->text_norm.b, v->eps) : NULL, tm);
    fv_tensor *seen = fv__masked_mean(
                  c, m, both[0] ? fv_layernorm(c, x, v->visual_norm.w, v->visual_norm.b, v->eps) : NULL, vm),
              *pair[2];
    pair[0] = both[0], pair[1] = seen;
    fv_tensor *y = seen ? fv_concat(c, pair, 2, 1) : NULL;
    y = y ? fv_gelu(c, fv_layernorm(c, fv_linear(c, y, v->head[0].w, v->head[0].b), v->head[1].w,
                                    v->head[1].b, v->eps))
          : NULL;
    if (y && m->dropout > 0) y = fv_dropout(c, y, m->dropout);
    y = y ? fv_linear(c, y, v->head[2].w, v->head[2].b) : NULL;
    if (v->kind == FV__RETRIEVAL && y && both[1] && both[2]) {
        both[0] = y;
        for (int k = 1; k < 3; k++)
            if (both[k]->type != y->type) both[k] = fv_cast(c, both[k], y->type);
        y = fv_concat(c, both, 3, 1);
    }
    fv_autocast(c, was);
    return y;
}

/* ---- the list of networks ---- */
static const fv_arch fv__archs[] = {
    {"vit", fv__vit_build, 1, fv__vit_forward, NULL},
    {"point_transformer", fv__points_build, 1, fv__points_forward, NULL},
    {"video_vit", fv__video_build, 1, fv__video_forward, fv__video_free},
    {"vit3d", fv__vit3d_build, 1, fv__vit3d_forward, NULL},
    {"vivit", fv__vivit_build, 1, fv__vivit_forward, NULL},
    {"motion", fv__motion_build, 4, fv__motion_forward, NULL},
    {"vqa", fv__vqa_build, 3, fv__fusion_forward, NULL},
    {"retrieval", fv__retrieval_build, 3, fv__fusion_forward, NULL},
    {"scene_qa", fv__scene_build, 4, fv__fusion_forward, NULL},
};
FV_DEF const fv_arch *fv_arch_find(const char *name) {
    for (int i = 0; i < FV__COUNT(fv__archs); i++)
        if (!strcmp(fv__archs[i].name, name)) return &fv__archs[i];
    return NULL;
}

/* ======================================================================================================
 * >>network (implementation)
 * ====================================================================================================== */
static int fv__model_stage(fv_ctx *c, fv_model *m, const fv_model_desc *desc) {
    fv_frozen_desc d;
    memset(&d, 0, sizeof d);
    d.config = m->stage, d.dim = m->dim, d.type = m->type, d.pack = desc->pack, d.seed = m->seed;
    d.llm = desc->llm;
    m->frozen = fv_frozen_create(c, &d, &m->params);
    return m->frozen != NULL;
}

static int fv__model_build(fv_ctx *c, fv_model *m, const fv_model_desc *desc) {
    fv_jnode root = fv_json_root(m->config), stage = fv_json_get(m->config, root, "frozen");
    fv_json_kind kind = fv_json_type(m->config, stage);
    if (fv_json_type(m->config, root) != FV_JSON_OBJECT)
        return fv_fail(c, FV_EUSAGE, "config: it must be an object");
    const char *name = fv_config_string(c, m, "arch", "vit");
    if (!(m->arch = fv_arch_find(name)))
        return fv_fail(
            c, FV_EUSAGE,
            "config: there is no arch \"%.40s\"; there are vit, point_transformer, video_vit, vit3d, "
            "vivit, motion, vqa, retrieval, scene_qa",
            name);
    m->num_classes = fv_config_int(c, m, "num_classes", 1000, 1, 1 << 24);
    m->drop_path = fv_config_float(c, m, "drop_path_rate", 0);
    m->dropout = fv_config_float(c, m, "drop_rate", 0);
    if (!(m->drop_path >= 0 && m->drop_path < 1) || !(m->dropout >= 0 && m->dropout < 1))
        return fv_fail(c, FV_EUSAGE, "config: drop_path_rate and drop_rate are 0 or more and less than 1");
    if (!(fv_config_float(c, m, "norm_eps", 1e-6f) >= 0)) return fv__wrong_value(c, "norm_eps", "0 or more");
    const char *init = fv_config_string(c, m, "linear_init", "trunc_normal");
    if (!strcmp(init, "xavier")) m->linear_init = FV_INIT_XAVIER;
    else if (strcmp(init, "trunc_normal"))
        return fv_fail(c, FV_EUSAGE, "config: linear_init is \"trunc_normal\" or \"xavier\", not \"%.40s\"",
                       init);
    int with_stage = kind != FV_JSON_ABSENT && kind != FV_JSON_NULL;
    if (with_stage && !fv_frozen_config_parse(c, m->config, stage, 1, &m->stage)) return 0;
    if (c->status || !m->arch->build(c, m)) return 0;
    return !with_stage || m->stage.variant == FV_VARIANT_BASE || fv__model_stage(c, m, desc);
}

FV_DEF fv_model *fv_model_create(fv_ctx *c, const char *config, size_t n, const fv_model_desc *desc) {
    fv_model_desc none;
    memset(&none, 0, sizeof none);
    if (!desc) desc = &none;
    fv_model *m = (fv_model *)fv_alloc(c, sizeof *m);
    if (!m) return NULL;
    m->type = desc->type == FV_TYPE_DEFAULT ? FV_F32 : desc->type;
    m->seed = desc->seed;
    m->config = fv_json_parse(c, config, n, "config");
    if (m->config && fv__model_build(c, m, desc) && !c->status) return m;
    fv_model_destroy(c, m);
    return NULL;
}

FV_DEF void fv_model_destroy(fv_ctx *c, fv_model *m) {
    if (!m) return;
    fv_frozen_destroy(c, m->frozen);
    for (int i = 0; i < m->params.count; i++) fv_param_free(c, m->params.at[i]);
    for (int i = 0; i < m->buffers.count; i++) fv_param_free(c, m->buffers.at[i]);
    fv_free(c, m->params.at);
    fv_free(c, m->buffers.at);
    if (m->arch && m->arch->free && m->net) m->arch->free(c, m);
    fv_free(c, m->blocks);
    fv_free(c, m->net);
    if (m->config) fv_json_free(c, m->config);
    fv_free(c, m);
}

FV_DEF fv_tensor *fv_model_forward_many(fv_ctx *c, fv_model *m, fv_tensor *const *input, int n) {
    if (c->status || !m || !input) return NULL;
    if (n != m->arch->inputs)
        return fv_fail(c, FV_ESHAPE, "%s: %d inputs, and it wants %d", m->arch->name, n, m->arch->inputs),
               (fv_tensor *)NULL;
    for (int i = 0; i < n; i++)
        if (!input[i]) return NULL;
    m->features = NULL;
    fv_tensor *y = m->arch->forward(c, m, input);
    if (m->frozen) m->features = m->frozen->features;
    return y;
}
FV_DEF fv_tensor *fv_model_forward(fv_ctx *c, fv_model *m, fv_tensor *input) {
    return fv_model_forward_many(c, m, &input, 1);
}

FV_DEF int fv_model_pack(fv_ctx *c, fv_model *m, fv_type type) {
    if (c->device) return !c->status; /* a GPU multiplies matrices as they lie */
    if (type == FV_BF16 && fv_isa_of(c) != FV_ISA_AVX512BF16) return !c->status;
    for (int i = 0; i < m->params.count && !c->status; i++) {
        fv_tensor *t = m->params.at[i];
        if (t->rank != 2 || !t->data || t->type != FV_F32) continue;
        fv__packed_free(c, t->packed);
        t->packed = fv__packed_create(c, type, t->dim[0], t->dim[1], t->data, t->type);
        t->flags &= ~(unsigned)FV_NEEDS_GRAD;
    }
    return !c->status;
}

FV_DEF int64_t fv_model_numel(const fv_model *m) {
    int64_t n = 0;
    for (int i = 0; i < m->params.count; i++) n += fv_numel(m->params.at[i]);
    return n;
}

/* ---- loading ---- */
static int fv__entry_fits(const fv_entry *e, const fv_tensor *t) {
    int same = e->rank == t->rank;
    for (int i = 0; same && i < e->rank; i++) same = e->dim[i] == t->dim[i];
    return same;
}

/* Weights [out,in] of antialiased bicubic resampling (a = -0.5), as Pillow, PyTorch and timm resample. */
static float *fv__pos_weights(fv_ctx *c, int in, int out) {
    float *w = (float *)fv_alloc(c, (size_t)in * (size_t)out * sizeof *w);
    double scale = (double)in / out, wide = FV__MAX(scale, 1.0);
    for (int i = 0; w && i < out; i++) {
        double centre = (i + 0.5) * scale, sum = 0;
        int first = FV__MAX(0, (int)(centre - 2 * wide + 0.5)),
            last = FV__MIN(in, (int)(centre + 2 * wide + 0.5));
        /* the sum first: weights at the border are made to add up to 1 */
        for (int pass = 0; pass < 2; pass++)
            for (int j = first; j < last; j++) {
                double x = fabs((j + 0.5 - centre) / wide);
                double k = x < 1   ? (1.5 * x - 2.5) * x * x + 1
                           : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2
                                   : 0;
                if (pass) w[i * in + j] = (float)(k / sum);
                else sum += k;
            }
    }
    return w;
}

/* from [extra+old*old,d] -> to [extra+grid*grid,d]: the first `extra` rows stay; columns, then rows of the
 * grid are resampled.
 *   source  timm's resample_abs_pos_embed */
static int fv__resample_pos(fv_ctx *c, const float *from, int old, int grid, int extra, int64_t d,
                            float *to) {
    float *w = fv__pos_weights(c, old, grid);
    float *half = (float *)fv_alloc(c, (size_t)old * (size_t)grid * (size_t)d * sizeof *half);
    if (!w || !half) return 0;
    memcpy(to, from, (size_t)(extra * d) * sizeof *to);
    memset(to + extra * d, 0, (size_t)((int64_t)grid * grid * d) * sizeof *to);
    from += extra * d, to += extra * d;
    for (int y = 0; y < old; y++)
        for (int x = 0; x < grid; x++)
            for (int j = 0; j < old; j++)
                for (int64_t k = 0; k < d; k++)
                    half[(y * grid + x) * d + k] += w[x * old + j] * from[(y * old + j) * d + k];
    for (int y = 0; y < grid; y++)
        for (int j = 0; j < old; j++)
            for (int64_t k = 0; k < grid * d; k++)
                to[y * grid * d + k] += w[y * old + j] * half[j * grid * d + k];
    fv_free(c, w);
    fv_free(c, half);
    return 1;
}

/* pos_embed [1,n,d] of a square grid and the tokens before it, for another grid */
static int fv__load_pos_embed(fv_ctx *c, fv_model *m, const fv_weights *w, const fv_entry *e, fv_tensor *t) {
    int64_t d = t->dim[2], extra = fv_params_find(&m->params, "cls_token") ? 1 : 0, old = 0, grid = 0;
    if (e->rank == 3)
        while ((old + 1) * (old + 1) <= e->dim[1] - extra) old++;
    while ((grid + 1) * (grid + 1) <= t->dim[1] - extra) grid++;
    if (e->rank != 3 || e->dim[0] != 1 || e->dim[2] != d || old < 1 || old * old != e->dim[1] - extra)
        return fv__entry_misfit(c, w, e, FV_EUSAGE, "another shape that no interpolation gives");
    float *from = (float *)fv_alloc(c, (size_t)e->count * sizeof *from),
          *to = (float *)fv_alloc(c, (size_t)fv_numel(t) * sizeof *to);
    int ok = from && to && fv_entry_read(c, w, e, FV_F32, from) &&
             fv__resample_pos(c, from, (int)old, (int)grid, (int)extra, d, to);
    void *at = ok ? fv__host_view(c, t) : NULL;
    if (at) fv__convert(at, t->type, to, FV_F32, fv_numel(t)), fv__host_done(c, t, at, 1);
    fv_free(c, from);
    fv_free(c, to);
    return ok;
}

static int fv__entry_into(fv_ctx *c, const fv_weights *w, const fv_entry *e, fv_tensor *t) {
    void *at = fv__host_view(c, t);
    int ok = at && fv_entry_read(c, w, e, t->type, at);
    fv__host_done(c, t, at, ok);
    return ok && !c->status;
}

static int fv__load_param(fv_ctx *c, fv_model *m, const fv_weights *w, const char *prefix, fv_tensor *t) {
    char key[512], wanted[128];
    snprintf(key, sizeof key, "%s%s", prefix, t->name);
    const fv_entry *e = fv_weights_find(w, key);
    if (!e)
        return fv_fail(c, FV_EUSAGE, "%s has no tensor %s, which the config's network needs",
                       fv_weights_path(w), key);
    if (fv__entry_fits(e, t)) return fv__entry_into(c, w, e, t);
    if (!strcmp(t->name, "pos_embed") && t->rank == 3) return fv__load_pos_embed(c, m, w, e, t);
    if (!strcmp(t->name, "head.weight") && e->rank == 2 && e->dim[1] == t->dim[1])
        return fv_fail(c, FV_EUSAGE, "%s has %lld classes (%s), and the config has %d", fv_weights_path(w),
                       (long long)e->dim[0], key, m->num_classes);
    fv__shape_text(t, wanted, sizeof wanted);
    if (strchr(wanted, ' ')) *strchr(wanted, ' ') = 0;
    return fv__entry_misfit(c, w, e, FV_EUSAGE, wanted);
}

/* A key under the prefix that no parameter has means another network than the config's. */
static int fv__no_extra(fv_ctx *c, const fv_model *m, const fv_weights *w, const char *prefix) {
    size_t n = strlen(prefix);
    for (int i = 0; i < fv_weights_count(w); i++) {
        const char *name = fv_weights_at(w, i)->name, *key = name + n, *dot = strrchr(name, '.');
        if (strncmp(name, prefix, n) || fv_params_find(&m->params, key) || fv_params_find(&m->buffers, key))
            continue;
        /* the block's tensors, and what released checkpoints have beside their own */
        if (m->frozen && !strncmp(key, "llama.", 6)) continue;
        if (dot && !strcmp(dot, ".num_batches_tracked")) continue;
        return fv_fail(c, FV_EUSAGE, "%s has a tensor %s, which the config's network does not have",
                       fv_weights_path(w), name);
    }
    return 1;
}

FV_DEF int fv_model_load(fv_ctx *c, fv_model *m, fv_weights *w, const char *prefix) {
    if (c->status || !m || !w) return 0;
    for (int i = 0; i < m->params.count; i++) { /* copies that fv_model_pack made of other weights */
        fv_tensor *t = m->params.at[i];
        if (!t->packed || !t->data) continue;
        fv__packed_free(c, t->packed);
        t->packed = NULL, t->flags |= FV_NEEDS_GRAD;
    }
    for (int i = 0; i < m->params.count; i++)
        if (!fv__load_param(c, m, w, prefix, m->params.at[i])) return 0;
    for (int i = 0; i < m->buffers.count; i++)
        if (!fv__load_param(c, m, w, prefix, m->buffers.at[i])) return 0;
    if (!fv__no_extra(c, m, w, prefix)) return 0;
    /* blocks that are trained are among the parameters */
    if (m->frozen && m->stage.variant >= FV_VARIANT_FINETUNE) m->frozen->loaded = 1;
    else if (m->frozen && (fv_frozen_has(c, w) || !m->frozen->loaded)) {
        /* an LLM's file may still come; the forward pass says when it did not */
        if (!fv_frozen_has(c, w)) return 1;
        return fv_frozen_load(c, m->frozen, w, 0);
    }
    return !c->status;
}

/* ======================================================================================================
 * >>train (implementation)
 * ====================================================================================================== */
static fv_dtype fv__dtype_of(fv_type t) {
    return t == FV_F64 ? FV_D_F64 : t == FV_BF16 ? FV_D_BF16 : FV_D_F32;
}

FV_DEF int fv_params_save(fv_ctx *c, const char *path, const fv_params *params, const fv_params *buffers,
                          const char *const *metadata) {
    int n = params->count + (buffers ? buffers->count : 0);
    fv_save_entry *e = (fv_save_entry *)fv_alloc(c, (size_t)(n + 1) * sizeof *e);
    for (int i = 0; e && i < n; i++) {
        const fv_tensor *t = i < params->count ? params->at[i] : buffers->at[i - params->count];
        e[i].name = t->name, e[i].dtype = fv__dtype_of(t->type), e[i].rank = t->rank, e[i].dim = t->dim,
        e[i].data = fv__host_view(c, t);
    }
    int ok = e && !c->status && fv_safetensors_write(c, path, e, n, metadata);
    for (int i = 0; e && i < n; i++)
        fv__host_done(c, i < params->count ? params->at[i] : buffers->at[i - params->count],
                      (void *)(uintptr_t)e[i].data, 0);
    fv_free(c, e);
    return ok;
}

/* one tensor of a file into this one of the same shape */
static int fv__load_one(fv_ctx *c, const fv_weights *w, const char *name, fv_tensor *like) {
    const fv_entry *e = fv_weights_find(w, name);
    if (!e) return fv_fail(c, FV_EUSAGE, "%s: has no tensor \"%.120s\"", fv_weights_path(w), name);
    int same = e->rank == like->rank;
    for (int i = 0; same && i < e->rank; i++) same = e->dim[i] == like->dim[i];
    if (!same)
        return fv_fail(c, FV_EUSAGE, "%s: the shape of \"%.120s\" does not fit the network",
                       fv_weights_path(w), name);
    return fv__entry_into(c, w, e, like);
}

FV_DEF int fv_params_load(fv_ctx *c, const char *path, fv_params *params, fv_params *buffers) {
    fv_weights *w = fv_weights_open(c, path);
    for (int i = 0; w && i < params->count; i++) fv__load_one(c, w, params->at[i]->name, params->at[i]);
    for (int i = 0; w && buffers && i < buffers->count; i++)
        fv__load_one(c, w, buffers->at[i]->name, buffers->at[i]);
    fv_weights_close(c, w);
    return !c->status;
}

/* the optimiser's moments under "m.<name>", "v.<name>" */
static int fv__moments(fv_ctx *c, const char *path, const fv_optim *o, int save) {
    int n = o->params->count, used = 0;
    fv_save_entry *e = (fv_save_entry *)fv_alloc(c, (size_t)(2 * n + 1) * sizeof *e);
    fv_weights *w = save || !e ? NULL : fv_weights_open(c, path);
    for (int k = 0; e && k < 2; k++)
        for (int i = 0; i < n && !c->status; i++) {
            fv_tensor moment = *o->params->at[i], *t = &moment; /* of the parameter's shape, where it lies */
            moment.data = k ? o->v[i] : o->m[i];
            char *name = moment.data ? (char *)fv_alloc(c, strlen(t->name) + 3) : NULL;
            if (!name) continue;
            name[0] = k ? 'v' : 'm', name[1] = '.';
            memcpy(name + 2, t->name, strlen(t->name));
            e[used].name = name, e[used].dtype = FV_D_F32, e[used].rank = t->rank,
            e[used].dim = o->params->at[i]->dim;
            e[used++].data = save ? fv__host_view(c, t) : NULL;
            if (w) fv__load_one(c, w, name, t);
        }
    if (save && !c->status) fv_safetensors_write(c, path, e, used, NULL);
    for (int i = 0; i < used; i++) {
        if (c->device) fv_free(c, (void *)(uintptr_t)e[i].data);
        fv_free(c, (void *)(uintptr_t)e[i].name);
    }
    fv_free(c, e);
    fv_weights_close(c, w);
    return !c->status;
}

static int fv__make_folder(fv_ctx *c, const char *path) {
    if (mkdir(path, 0777) && errno != EEXIST)
        return fv_fail(c, FV_EIO, "%s: cannot be made: %s", path, strerror(errno));
    return 1;
}

/* the step that DIR/latest names, 0 when there is none */
static int64_t fv__latest(fv_ctx *c, const char *dir) {
    char path[4096], text[64] = {0};
    fv_file f;
    snprintf(path, sizeof path, "%s/latest", dir);
    if (access(path, F_OK)) return 0;
    if (!fv_file_open(c, path, &f)) return -1;
    memcpy(text, f.data, FV__MIN(f.size, sizeof text - 1));
    fv_file_close(c, &f);
    long long step = 0;
    int end = 0;
    if (sscanf(text, "step-%lld%n", &step, &end) == 1 && step > 0 && text[5] >= '0' && text[5] <= '9' &&
        (!text[end] || !strcmp(text + end, "\n")))
        return step;
    fv_fail(c, FV_EFORMAT, "%s: does not name a checkpoint", path);
    return -1;
}

static void fv__checkpoint_remove(const char *dir, int64_t step) {
    static const char *const name[] = {"model.safetensors", "optimizer.safetensors", "trainer_state.json"};
    char path[4096];
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/checkpoints/step-%lld%s%s", dir, (long long)step, i < 3 ? "/" : "",
                 i < 3 ? name[i] : "");
        if (i < 3) unlink(path);
        else rmdir(path);
    }
}

/* One sum of all elements times 0: NaN where one is not finite. */
static int fv__all_finite(fv_ctx *c, const fv_params *p, int64_t step, int64_t before) {
    for (int i = 0; p && i < p->count && !c->status; i++) {
        fv_tensor *t = p->at[i];
        float sum = 0, *x = t->type == FV_F32 ? (float *)fv__host_view(c, t) : NULL;
        for (int64_t k = 0; x && k < fv_numel(t); k++) sum += x[k] * 0;
        if (x) fv__host_done(c, t, x, 0);
        if (!(sum == 0))
            fv_fail(c, FV_ENONFINITE, "\"%.120s\" is not finite after step %lld, which is not saved; %s",
                    t->name, (long long)step,
                    before > 0 ? "the last checkpoint is kept" : "there is no checkpoint yet");
    }
    return !c->status;
}

FV_DEF int fv_checkpoint_save(fv_ctx *c, const char *dir, const fv_params *params, const fv_params *buffers,
                              const fv_optim *o, int64_t step) {
    char at[4096], path[4200], text[64];
    int64_t before = fv__latest(c, dir);
    if (!fv__all_finite(c, params, step, before) || !fv__all_finite(c, buffers, step, before)) return 0;
    snprintf(path, sizeof path, "%s/checkpoints", dir);
    snprintf(at, sizeof at, "%s/checkpoints/step-%lld", dir, (long long)step);
    if (c->status || !fv__make_folder(c, path) || !fv__make_folder(c, at)) return 0;
    const char *meta[3] = {"format", "pt", NULL};
    snprintf(path, sizeof path, "%s/model.safetensors", at);
    fv_params_save(c, path, params, buffers, meta);
    snprintf(path, sizeof path, "%s/optimizer.safetensors", at);
    if (!c->status) fv__moments(c, path, o, 1);
    snprintf(path, sizeof path, "%s/trainer_state.json", at);
    snprintf(text, sizeof text, "{\"step\":%lld,\"updates\":%lld}\n", (long long)step, (long long)o->step);
    if (!c->status) fv_write_file(c, path, text, strlen(text));
    snprintf(path, sizeof path, "%s/latest", dir);
    snprintf(text, sizeof text, "step-%lld\n", (long long)step);
    if (c->status || !fv_write_file(c, path, text, strlen(text))) return 0;
    if (before > 0 && before != step) fv__checkpoint_remove(dir, before);
    return 1;
}

FV_DEF int64_t fv_checkpoint_load(fv_ctx *c, const char *dir, fv_params *params, fv_params *buffers,
                                  fv_optim *o) {
    char path[4200];
    int64_t step = fv__latest(c, dir);
    if (step <= 0) return step;
    snprintf(path, sizeof path, "%s/checkpoints/step-%lld/model.safetensors", dir, (long long)step);
    fv_params_load(c, path, params, buffers);
    snprintf(path, sizeof path, "%s/checkpoints/step-%lld/optimizer.safetensors", dir, (long long)step);
    if (!c->status) fv__moments(c, path, o, 0);
    snprintf(path, sizeof path, "%s/checkpoints/step-%lld/trainer_state.json", dir, (long long)step);
    fv_json *j = c->status ? NULL : fv_json_open(c, path);
    o->step = fv_json_int(j, fv_json_get(j, fv_json_root(j), "updates"), -1);
    if (j && (o->step < 0 || fv_json_int(j, fv_json_get(j, fv_json_root(j), "step"), -1) != step))
        fv_fail(c, FV_EFORMAT, "%s: \"step\" must be %lld, and \"updates\" a whole number of at least 0",
                path, (long long)step);
    fv_json_free(c, j);
    return c->status ? -1 : step;
}

FV__SELDOM_END
#endif /* FROZENVIS_IMPLEMENTATION */
#endif /* FV__PASS */

/* ======================================================================================================
 * licence: MIT, see LICENSE.
 * history
 *   0.1.0  2026-11-24  the foundation: tensors, autograd, products, formats, frozen stage, ViT, training
 * ====================================================================================================== */
