#ifndef FV__PASS /* this header includes itself once per ISA, and then only the kernels' text counts: see >>kernels */
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
#error "frozenvis.h: -ffast-math drops NaN, and the check that a loss is finite relies on NaN; compile without it"
#endif

#include <stddef.h>
#include <stdint.h>

#define FV_VERSION "0.1.0"
#define FV_MAX_RANK 8 /* dimensions of a tensor */

/* ======================================================================================================
 * >>types -- the few types every section shares
 * ====================================================================================================== */
typedef struct fv_ctx fv_ctx;       /* a context: memory, threads, tape, error; one per thread of the caller */
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
#define FV_STATUS_LIST(X)                                                                                      \
    X(FV_OK, 0, "ok")                                                                                          \
    X(FV_ECHECK, 1, "a check or comparison failed")                                                            \
    X(FV_EUSAGE, 2, "wrong usage, or a request that does not fit the files")                                   \
    X(FV_ESHAPE, 2, "shapes or types that do not fit")                                                         \
    X(FV_EFORMAT, 3, "malformed input")                                                                        \
    X(FV_EIO, 4, "a file could not be read or written")                                                        \
    X(FV_ENONFINITE, 5, "the loss is not finite")                                                              \
    X(FV_EUNAVAILABLE, 6, "not available here: device, ISA or optional library")                               \
    X(FV_ENOMEM, 6, "out of memory")
typedef enum fv_status {
#define FV__STATUS_ENUM(name, code, text) name,
    FV_STATUS_LIST(FV__STATUS_ENUM)
#undef FV__STATUS_ENUM
        FV_STATUS_COUNT
} fv_status;

/* fv_error -- the sticky status: FV_OK, or the first failure since fv_create or fv_clear_error. */
FV_DEF fv_status fv_error(const fv_ctx *c);
/* fv_error_text -- one sentence: what failed, the shapes or the file and byte; "" while there is no error. Lives as long
 * as the context. */
FV_DEF const char *fv_error_text(const fv_ctx *c);
FV_DEF void fv_clear_error(fv_ctx *c);
/* fv_fail -- records a failure unless one is there already; printf's format. Always returns 0, so that a function can
 * `return fv_fail(...)`. For networks and readers of the user's own too. */
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

/* A caller's own thread pool: run job(arg, i, worker) for every i < jobs, worker < fv_desc.threads, and return when all
 * are done. */
typedef void (*fv_parallel_fn)(void *user, int jobs, void (*job)(void *arg, int i, int worker), void *arg);

typedef struct fv_desc {
    int threads;             /* 0: as many as the process may run on */
    fv_isa isa;              /* 0: best */
    uint64_t seed;           /* of dropout, initialisation and augmentation */
    fv_device device;        /* 0: CPU */
    fv_allocator allocator;  /* zero: malloc and free */
    fv_parallel_fn parallel; /* NULL: our pool (or OpenMP) */
    void *parallel_user;
    size_t memory_limit; /* bytes this context may hold; 0: no limit. Beyond it: FV_ENOMEM */
} fv_desc;

/* fv_create -- a context. desc may be NULL. Returns NULL only when there is no memory for the context itself; whatever
 * else fails (an ISA that is not here) is its sticky error: FV_EUNAVAILABLE, FV_ENOMEM. */
FV_DEF fv_ctx *fv_create(const fv_desc *desc);
/* fv_destroy -- frees all that the context owns. NULL is fine. */
FV_DEF void fv_destroy(fv_ctx *c);
/* fv_reset -- forgets every tensor made since the last reset (not parameters) and keeps the memory for the next step. */
FV_DEF void fv_reset(fv_ctx *c);

/* fv_alloc -- zeroed bytes, 64-byte aligned, that live until fv_free or fv_destroy. NULL and FV_ENOMEM. */
FV_DEF void *fv_alloc(fv_ctx *c, size_t size);
FV_DEF void fv_free(fv_ctx *c, void *p);

typedef struct fv_memory_info {
    size_t now, peak;             /* bytes held from the allocator, and the most there ever was */
    size_t step_now, step_peak;   /* of these: in use by tensors of the current step, and the most in any step */
    size_t mapped;                /* bytes of files mapped read-only (not counted above) */
} fv_memory_info;
FV_DEF fv_memory_info fv_memory(const fv_ctx *c);

/* A whole file, mapped read-only (read into memory where mapping is not possible). */
typedef struct fv_file {
    const uint8_t *data;
    size_t size;
    int mapped; /* 1: munmap at close; 0: allocated */
} fv_file;
/* fv_file_open -- returns 1, or 0 and FV_EIO, FV_ENOMEM. An empty file is fine: data NULL, size 0. */
FV_DEF int fv_file_open(fv_ctx *c, const char *path, fv_file *f);
FV_DEF void fv_file_close(fv_ctx *c, fv_file *f);

/* Atomic writing: bytes go to a temporary name beside path; commit syncs and renames, so that path is always the old
 * file or the new one, whole. abort removes the temporary file. All return 1, or 0 and FV_EIO. */
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
/* fv_parallel -- job(arg, i, worker) for every i < jobs, in any order on any worker < fv_threads(c); returns when all are
 * done. How the work is cut into jobs must not depend on the thread count, or results would. */
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
typedef struct fv_rng { uint64_t seed, stream, next; } fv_rng;
FV_DEF uint32_t fv_rng_u32(fv_rng *r);
FV_DEF float fv_rng_uniform(fv_rng *r);                   /* [0,1) */
FV_DEF uint32_t fv_rng_below(fv_rng *r, uint32_t n);      /* 0 .. n-1, without bias; 0 when n is 0 */
FV_DEF float fv_rng_normal(fv_rng *r);
FV_DEF void fv_rng_shuffle(fv_rng *r, int32_t *a, int n); /* Fisher and Yates */
/* fv_rng_beta -- Beta(alpha, alpha) in [0,1], as mixup and cutmix draw it. */
FV_DEF float fv_rng_beta(fv_rng *r, float alpha);

/* ======================================================================================================
 * >>tensor
 * ====================================================================================================== */
/* Dense, row-major, at most FV_MAX_RANK dimensions; the last one is contiguous. Data is 64-byte aligned when we made it.
 * Step tensors (results of ops) die at fv_reset; parameters and constants live until fv_destroy or fv_param_free. */
struct fv_tensor {
    void *data; /* [dim[0]]..[dim[rank-1]] of type; NULL while a scope has dropped it, or for a packed constant */
    void *grad; /* same shape, type of fv_grad_type(); NULL until fv_backward reaches it */
    int64_t dim[FV_MAX_RANK];
    int rank;
    fv_type type;
    const char *name; /* of a parameter: its key in a checkpoint; else NULL */
    unsigned flags;   /* FV_TRAINED, ... */
    int grad_set;     /* 1: grad holds something that further gradients are added to */
    const struct fv_packed *packed;              /* a constant weight in the GEMM's own layout, or NULL */
    struct fv__node *node;                       /* how it was made; NULL for parameters and inputs */
    struct fv__span *data_span, *grad_span;      /* the step memory it holds */
};
enum {
    FV_PARAM = 1,      /* lives outside the step; fv_backward adds to its grad until an optimiser's step */
    FV_NEEDS_GRAD = 2, /* a gradient flows to it */
    FV_NO_DECAY = 4    /* the optimiser's weight decay leaves it alone */
};

/* fv_numel -- product of the dimensions; 1 for a scalar, 0 for NULL. */
FV_DEF int64_t fv_numel(const fv_tensor *t);
/* fv_new -- a step tensor of undefined content. type 0 is f32. errors  FV_ESHAPE (rank, negative dims), FV_ENOMEM */
FV_DEF fv_tensor *fv_new(fv_ctx *c, fv_type type, int rank, const int64_t *dim);
/* fv_input -- a step tensor that holds a copy of data (same type, numel elements). needs_grad: fv_backward fills ->grad. */
FV_DEF fv_tensor *fv_input(fv_ctx *c, fv_type type, int rank, const int64_t *dim, const void *data, int needs_grad);
/* fv_param -- a zeroed trained tensor with a gradient; name may be NULL and is copied. */
FV_DEF fv_tensor *fv_param(fv_ctx *c, const char *name, fv_type type, int rank, const int64_t *dim);
/* fv_constant -- like fv_param without a gradient (frozen weights, running statistics, tables). */
FV_DEF fv_tensor *fv_constant(fv_ctx *c, const char *name, fv_type type, int rank, const int64_t *dim);
/* fv_param_free -- frees a parameter or constant. */
FV_DEF void fv_param_free(fv_ctx *c, fv_tensor *t);
/* fv_get, fv_set -- element i (row-major) as a double: for printing and tests. */
FV_DEF double fv_get(const fv_tensor *t, int64_t i);
FV_DEF void fv_set(fv_tensor *t, int64_t i, double v);
/* fv_grad_type -- f64 for f64, bf16 for bf16 step tensors, f32 otherwise. */
FV_DEF fv_type fv_grad_type(const fv_tensor *t);
/* fv_init_normal, fv_init_trunc_normal (cut at two std), fv_init_uniform (in [-a,a]), fv_init_fill -- initialisation of a
 * parameter; numbers i = 0.. of stream `stream` of the context's seed. */
FV_DEF void fv_init_normal(fv_ctx *c, fv_tensor *t, float std, uint64_t stream);
FV_DEF void fv_init_trunc_normal(fv_ctx *c, fv_tensor *t, float std, uint64_t stream);
FV_DEF void fv_init_uniform(fv_ctx *c, fv_tensor *t, float a, uint64_t stream);
FV_DEF void fv_init_fill(fv_tensor *t, double v);
/* fv_pack -- a frozen weight w [out,in] (f32, bf16 or f64 data, any origin) as a constant in the GEMM's layout: one copy
 * that serves y = x W^T and its input gradient. type: FV_F32, FV_BF16 (half the memory; the products of fv_autocast) or
 * FV_F64. The data is not needed afterwards. -> [out,in], data NULL. errors  FV_ENOMEM, FV_ESHAPE */
FV_DEF fv_tensor *fv_pack(fv_ctx *c, const char *name, fv_type type, int64_t out, int64_t in, const void *data,
                          fv_type data_type);

/* ======================================================================================================
 * >>graph -- the tape: ops run at once and are remembered; fv_backward walks back over them
 * ====================================================================================================== */
/* fv_backward -- d loss / d everything that needs it. loss: one element. Gradients of parameters are added to what is
 * there (so that several calls accumulate); gradients of inputs stay readable until fv_reset. errors  FV_ESHAPE, FV_ENOMEM */
FV_DEF void fv_backward(fv_ctx *c, fv_tensor *loss);
/* fv_backward_from -- the same from a gradient given for y: data of y's shape, in fv_grad_type(y). */
FV_DEF void fv_backward_from(fv_ctx *c, fv_tensor *y, const void *grad);
/* fv_no_grad -- 1: ops keep nothing for a backward pass from here on; 0: they do (the start). Returns what it was. */
FV_DEF int fv_no_grad(fv_ctx *c, int on);
/* fv_training -- 1: dropout, drop-path and batch statistics are on; 0 (the start): evaluation. Returns what it was. */
FV_DEF int fv_training(fv_ctx *c, int on);
/* fv_autocast -- FV_BF16: linear, matmul and attention compute in bf16 with f32 sums, norms hand them bf16, and sums of the
 * residual stream, losses, parameters and their gradients stay f32. FV_F32 (the start): all in f32. Returns what it was. */
FV_DEF fv_type fv_autocast(fv_ctx *c, fv_type type);
/* fv_seed -- the seed of dropout and drop-path, and the step number that picks their stream: the same pair, the same masks. */
FV_DEF void fv_seed(fv_ctx *c, uint64_t seed, uint64_t step);

/* Scopes: memory between two points of a network.
 *   fv_scope s = fv_scope_begin(c);  ...ops...  y = fv_scope_end(c, s, y);
 * Without gradients everything made in the scope but y is freed at its end. With gradients, and recompute on
 * (fv_recompute), the same is dropped and computed again when the backward pass gets there. Otherwise it does nothing. */
typedef struct fv_scope { int first; } fv_scope;
FV_DEF fv_scope fv_scope_begin(fv_ctx *c);
FV_DEF fv_tensor *fv_scope_end(fv_ctx *c, fv_scope s, fv_tensor *y);
FV_DEF int fv_recompute(fv_ctx *c, int on);

/* fv_gradcheck -- compares gradients with central differences.
 *   f       builds a loss of one element from the tensors (f64, inputs or parameters), called many times
 *   t, n    the tensors to perturb; up to `samples` elements of each (0: all)
 *   ->      the largest error: |analytic-numeric| / max(1e-3, the tensor's largest gradient); negative on failure */
typedef fv_tensor *(*fv_loss_fn)(fv_ctx *c, void *user, fv_tensor **t);
FV_DEF double fv_gradcheck(fv_ctx *c, fv_loss_fn f, void *user, fv_tensor **t, int n, int samples);
/* fv_profile -- what ops cost since fv_profile_reset: calls, seconds and floating-point operations by op's name. */
typedef struct fv_profile_row { const char *op; int64_t calls; double seconds, flop; } fv_profile_row;
FV_DEF int fv_profile(fv_ctx *c, fv_profile_row *rows, int most);
FV_DEF void fv_profile_reset(fv_ctx *c, int on);

/* ======================================================================================================
 * >>ops -- each takes and gives tensors of the step; NULL and a sticky error when shapes do not fit
 * ====================================================================================================== */
/* fv_linear -- y = act(x W^T + b) + residual.  x [...,in], w [out,in] (a parameter, a step tensor, or from fv_pack), b [out] or
 * NULL, residual of y's shape or NULL -> [...,out]. Under fv_autocast y is bf16, with a residual it has the residual's type. */
typedef enum fv_act { FV_ACT_NONE = 0, FV_ACT_GELU, FV_ACT_SILU, FV_ACT_RELU } fv_act;
FV_DEF fv_tensor *fv_linear(fv_ctx *c, fv_tensor *x, fv_tensor *w, fv_tensor *b);
FV_DEF fv_tensor *fv_linear_act(fv_ctx *c, fv_tensor *x, fv_tensor *w, fv_tensor *b, fv_act act);
FV_DEF fv_tensor *fv_linear_add(fv_ctx *c, fv_tensor *x, fv_tensor *w, fv_tensor *b, fv_tensor *residual);
/* fv_matmul -- batched: a [...,m,k] b [...,k,n] -> [...,m,n]; transpose_b: b [...,n,k]. Leading dims equal, or b has rank 2. */
FV_DEF fv_tensor *fv_matmul(fv_ctx *c, fv_tensor *a, fv_tensor *b, int transpose_b);

/* fv_attention -- softmax(q k^T scale + mask) v, never storing the scores.
 *   q  [B,N,H*hd], k, v [B,M,K*hd] with H a multiple of K (grouped queries); or k = v = NULL and q = [B,N,(H+2K)*hd]
 *      holding q, k, v of a token one after the other
 *   -> [B,N,H*hd]; rows with no valid key are 0 */
typedef struct fv_attention_desc {
    int num_heads, num_kv_heads; /* K; 0: num_heads */
    float scale;                 /* 0: 1/sqrt(hd) */
    int causal;                  /* 1: token i sees keys 0..i */
    float rope_theta;            /* 0: no rotary embedding; positions 0.. */
    int rope_interleaved;        /* 1: pairs (2i, 2i+1), Meta and GGUF; 0: (i, i+hd/2), HF */
    const fv_tensor *mask;       /* u8 [B,M], 1: a valid key; NULL: all are */
} fv_attention_desc;
FV_DEF fv_tensor *fv_attention(fv_ctx *c, fv_tensor *q, fv_tensor *k, fv_tensor *v, const fv_attention_desc *desc);

/* Norms over the last dim D; w, b [D], each may be NULL (then 1 and 0). */
FV_DEF fv_tensor *fv_layernorm(fv_ctx *c, fv_tensor *x, fv_tensor *w, fv_tensor *b, float eps);
FV_DEF fv_tensor *fv_rmsnorm(fv_ctx *c, fv_tensor *x, fv_tensor *w, float eps);
/* fv_batchnorm -- per channel: x [rows,C]; in training by the batch's mean and biased variance, and the running ones move
 * by momentum (variance unbiased); else by the running ones. mean, var [C] are constants that training changes. */
FV_DEF fv_tensor *fv_batchnorm(fv_ctx *c, fv_tensor *x, fv_tensor *w, fv_tensor *b, fv_tensor *mean, fv_tensor *var,
                               float momentum, float eps);
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

/* Shape. dim indices may be negative (from the end). */
FV_DEF fv_tensor *fv_reshape(fv_ctx *c, fv_tensor *x, int rank, const int64_t *dim); /* one dim may be -1; shares data */
FV_DEF fv_tensor *fv_permute(fv_ctx *c, fv_tensor *x, const int *order);             /* y.dim[i] = x.dim[order[i]] */
FV_DEF fv_tensor *fv_concat(fv_ctx *c, fv_tensor **x, int n, int dim); /* n <= 8; dims of 1 in front stretch to x[n-1]'s */
FV_DEF fv_tensor *fv_slice(fv_ctx *c, fv_tensor *x, int dim, int64_t start, int64_t count);
/* fv_gather -- rows: table [R,D], index i32 or i64 [...] -> [...,D]; an index out of range: FV_ESHAPE. As an embedding too. */
FV_DEF fv_tensor *fv_gather(fv_ctx *c, fv_tensor *table, const fv_tensor *index);
FV_DEF fv_tensor *fv_mean(fv_ctx *c, fv_tensor *x, int dim); /* drops the dim */
FV_DEF fv_tensor *fv_sum(fv_ctx *c, fv_tensor *x, int dim);
FV_DEF fv_tensor *fv_max(fv_ctx *c, fv_tensor *x, int dim); /* the gradient goes to the first of equal ones */

/* fv_dropout -- in training each element is 0 with probability p, else divided by 1-p; fv_drop_path the same for whole samples
 * (dim 0). Element i uses number i of the stream (step of fv_seed, index of the op in the step). */
FV_DEF fv_tensor *fv_dropout(fv_ctx *c, fv_tensor *x, float p);
FV_DEF fv_tensor *fv_drop_path(fv_ctx *c, fv_tensor *x, float p);

/* Losses: means over the batch -> one element [1], f32 (f64 for f64).
 * fv_cross_entropy: logits [B,K]; labels i32 or i64 [B], or soft targets of the logits' type or f32 [B,K]; smoothing s mixes the
 * target with s/K.  fv_bce_with_logits, fv_huber: target of x's shape, mean over all elements; delta as in torch's huber_loss. */
FV_DEF fv_tensor *fv_cross_entropy(fv_ctx *c, fv_tensor *logits, const fv_tensor *target, float smoothing);
FV_DEF fv_tensor *fv_bce_with_logits(fv_ctx *c, fv_tensor *x, const fv_tensor *target);
FV_DEF fv_tensor *fv_huber(fv_ctx *c, fv_tensor *x, const fv_tensor *target, float delta);

/* ======================================================================================================
 * >>optim
 * ====================================================================================================== */
/* A list of parameters, in a fixed order: what an optimiser, an EMA and a checkpoint work on. */
typedef struct fv_params { fv_tensor **at; int count, capacity; } fv_params;
FV_DEF int fv_params_add(fv_ctx *c, fv_params *p, fv_tensor *t);
FV_DEF fv_tensor *fv_params_find(const fv_params *p, const char *name);

typedef enum fv_optim_kind { FV_ADAMW = 0, FV_SGD } fv_optim_kind;
typedef struct fv_optim_desc {
    fv_optim_kind kind;
    float beta1, beta2, eps;  /* 0: 0.9, 0.999, 1e-8 */
    float momentum;           /* SGD; 0: 0.9; negative: none */
    float weight_decay;       /* decoupled for AdamW; 0: 0.05; negative: none. None for tensors with FV_NO_DECAY or of rank <= 1 */
    float clip_grad;          /* greatest global norm; 0 or negative: no clipping */
} fv_optim_desc;
typedef struct fv_optim {
    fv_optim_desc desc;
    fv_params *params;
    float **m, **v; /* per parameter, f32 [numel]; v NULL for SGD */
    int64_t step;   /* updates done */
} fv_optim;
/* fv_optim_create -- state for params (all f32). The list must outlive it. */
FV_DEF fv_optim *fv_optim_create(fv_ctx *c, fv_params *params, const fv_optim_desc *desc);
FV_DEF void fv_optim_destroy(fv_ctx *c, fv_optim *o);
/* fv_grad_norm -- global L2 norm of the gradients (0 for those that got none). */
FV_DEF double fv_grad_norm(fv_ctx *c, const fv_params *params);
/* fv_optim_step -- clips by min(1, clip/(norm+1e-6)), updates every parameter that has a gradient, and forgets the gradients.
 * Returns the norm before clipping. source  Loshchilov and Hutter, arXiv:1711.05101 */
FV_DEF double fv_optim_step(fv_ctx *c, fv_optim *o, float lr);
FV_DEF void fv_zero_grad(fv_params *params);
/* fv_lr_cosine -- linear warm-up from `start` to lr over `warmup` steps, then a half cosine down to `min` at `steps`. */
FV_DEF float fv_lr_cosine(int64_t step, int64_t steps, int64_t warmup, float lr, float start, float min);
/* fv_ema -- average = decay*average + (1-decay)*parameter; the average is a list of the same shapes. */
FV_DEF void fv_ema(fv_ctx *c, fv_params *average, const fv_params *params, float decay);

/* ======================================================================================================
 * >>model -- a network described by a JSON config: the same keys as the released code's
 * ====================================================================================================== */
/* The frozen stage's settings (SPEC 1). Zero is the default. */
typedef enum fv_llm_arch { FV_LLAMA = 0, FV_OPT } fv_llm_arch;
typedef enum fv_residual { FV_RES_NONE = 0, FV_RES_INSIDE, FV_RES_OUTSIDE, FV_RES_BOTH, FV_RES_OUTSIDE_NN } fv_residual;
typedef enum fv_final_norm { FV_NORM_ONES = 0, FV_NORM_LOADED, FV_NORM_NONE } fv_final_norm;
typedef enum fv_variant {
    FV_VARIANT_LLM = 0, FV_VARIANT_BASE, FV_VARIANT_LINEAR, FV_VARIANT_MLP, FV_VARIANT_RANDOM, FV_VARIANT_SHUFFLED,
    FV_VARIANT_FINETUNE, FV_VARIANT_SCRATCH
} fv_variant;
typedef struct fv_frozen_config {
    fv_llm_arch arch;
    int hidden_size, num_attention_heads, num_key_value_heads, intermediate_size;
    float rms_norm_eps;   /* layer_norm_eps for OPT */
    int layers[64], num_layers; /* which blocks, in this order; num_hidden_layers n without `layers` means 0..n-1 */
    int rope, rope_interleaved, causal, only_mlp;
    float rope_theta;
    fv_final_norm final_norm;
    fv_residual residual;
    int do_layer_norm_before, gelu; /* OPT */
    fv_variant variant;
    int after_block; /* the stage stands after this encoder block; -1: after the last */
} fv_frozen_config;

typedef struct fv_model fv_model;
/* What a network is made of; one per arch, found by its name in the config. */
typedef struct fv_arch {
    const char *name;
    int (*build)(fv_ctx *c, fv_model *m);                          /* makes parameters from m->config; 1 or 0 */
    fv_tensor *(*forward)(fv_ctx *c, fv_model *m, fv_tensor *input); /* -> logits; sets m->features */
} fv_arch;

struct fv_model {
    const fv_arch *arch;
    fv_json *config;           /* the whole document; keys are read by the arch */
    fv_type type;              /* of parameters: f32, or f64 for gradient checks */
    fv_params params;          /* trained */
    fv_params buffers;         /* saved but not trained: running statistics */
    struct fv_frozen *frozen;  /* NULL: no stage */
    void *net;                 /* the arch's own struct */
    fv_tensor *features;       /* output of F2 in the last forward, before an outside residual; NULL without a stage */
    int num_classes;
    float drop_path, dropout;
};

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
#if defined(__x86_64__) && defined(__GNUC__) && !defined(FROZENVIS_SCALAR_ONLY)
#define FV__X86 1
#include <immintrin.h>
#endif
#if defined(__aarch64__) && defined(__GNUC__) && !defined(FROZENVIS_SCALAR_ONLY)
#define FV__ARM 1
#include <arm_neon.h>
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
#define FV__CU(f) /* the device's kernels take the place of this when FROZENVIS_CUDA is defined */

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
static inline uint16_t fv__bf16_from(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}
static inline float fv__bf16_to(uint16_t h) {
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

typedef struct fv__pool { /* memory of one step: chunks cut into spans; see >>memory */
    struct fv__span *first_chunk[64], *spare;
    size_t chunk_size[64];
    int chunks;
    size_t used, peak;
} fv__pool;

struct fv_ctx {
    fv_desc desc;
    fv_status status;
    char error[1024];
    fv__block *blocks;      /* everything taken from the allocator */
    fv_memory_info memory;
    fv__pool pool;
    struct fv__workers *workers;
    const struct fv__kernels *kernels; /* of the ISA in use, f32 */
    fv_isa isa;
    char *scratch; /* threads * scratch_size bytes, for kernels; grown before a parallel region, never inside one */
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
    return fv_fail(c, FV_ENOMEM, "out of memory: %zu more bytes were wanted, %zu are held%s", size, c->memory.now,
                   c->desc.memory_limit ? " and a memory limit is set" : "");
}

/* The block's header stands in the 64 bytes before the pointer that the caller gets; the bytes between the allocator's
 * pointer and the header, at most 63, are counted in its size. */
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

/* ---- the pool: memory of one step. Chunks come from the allocator and stay; each is a list of spans in the order of
 * their addresses, free ones merged with their neighbours. First fit, so the same step gets the same addresses, and a
 * chunk's untouched pages cost nothing. ---- */
typedef struct fv__span {
    char *data;
    size_t size;
    struct fv__span *prev, *next;
    int used, chunk;
} fv__span;

enum { FV__POOL_CHUNK = 32 << 20 };

static fv__span *fv__span_new(fv_ctx *c, char *data, size_t size, int chunk) {
    fv__pool *p = &c->pool;
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
    s->data = data, s->size = size, s->chunk = chunk;
    s->prev = s->next = NULL, s->used = 0;
    return s;
}

static int fv__pool_grow(fv_ctx *c, size_t size) {
    fv__pool *p = &c->pool;
    size = FV__MAX(FV__ROUND_UP(size, (size_t)1 << 21), (size_t)FV__POOL_CHUNK);
    if (p->chunks == FV__COUNT(p->first_chunk)) return fv__no_memory(c, size);
    char *data = (char *)fv__alloc_dirty(c, size);
    fv__span *s = data ? fv__span_new(c, data, size, p->chunks) : NULL;
    if (!s) {
        fv_free(c, data);
        return 0;
    }
#ifdef MADV_HUGEPAGE
    uintptr_t page = ((uintptr_t)data + 4095) & ~(uintptr_t)4095; /* fewer page faults and TLB misses */
    madvise((void *)page, (size_t)((uintptr_t)data + size - page) & ~(size_t)4095, MADV_HUGEPAGE);
#endif
    p->chunk_size[p->chunks] = size;
    p->first_chunk[p->chunks++] = s;
    return 1;
}

/* size bytes, 64-byte aligned, undefined content, until fv__pool_free or fv_reset */
static fv__span *fv__pool_alloc(fv_ctx *c, size_t size) {
    fv__pool *p = &c->pool;
    if (c->status) return NULL;
    if (size > SIZE_MAX / 2) {
        fv__no_memory(c, size);
        return NULL;
    }
    size = FV__MAX(FV__ROUND_UP(size, (size_t)64), (size_t)64);
    for (int chunk = 0;; chunk++) {
        if (chunk == p->chunks && !fv__pool_grow(c, size)) return NULL;
        fv__span *s = p->first_chunk[chunk];
        while (s && (s->used || s->size < size)) s = s->next;
        if (!s) continue;
        if (s->size > size) {
            fv__span *rest = fv__span_new(c, s->data + size, s->size - size, chunk);
            if (!rest) return NULL;
            rest->prev = s, rest->next = s->next;
            if (s->next) s->next->prev = rest;
            s->next = rest, s->size = size;
        }
        s->used = 1;
        p->used += size;
        p->peak = FV__MAX(p->peak, p->used);
        return s;
    }
}

static void fv__pool_free(fv_ctx *c, fv__span *s) {
    fv__pool *p = &c->pool;
    if (!s) return;
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

static void fv__pool_reset(fv_ctx *c) {
    fv__pool *p = &c->pool;
    for (int i = 0; i < p->chunks; i++) {
        fv__span *s = p->first_chunk[i];
        while (s->next) {
            fv__span *t = s->next;
            s->next = t->next, t->next = p->spare, p->spare = t;
        }
        s->size = p->chunk_size[i], s->used = 0;
    }
    p->used = 0;
}

FV_DEF fv_memory_info fv_memory(const fv_ctx *c) {
    fv_memory_info m = c->memory;
    m.step_now = c->pool.used;
    m.step_peak = c->pool.peak;
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
    if (c->desc.device != FV_CPU)
        fv_fail(c, FV_EUNAVAILABLE, "device cuda: this build has no CUDA path; compile with FROZENVIS_CUDA");
    if (fv__cpu_choose(c) && fv__threads_start(c)) fv__tape_start(c);
    return c;
}

FV_DEF void fv_destroy(fv_ctx *c) {
    if (!c) return;
    fv__threads_stop(c);
    while (c->blocks) fv_free(c, c->blocks + 1);
    fv_ctx end = *c;
    fv__raw_free(&end, c, sizeof *c);
}

FV_DEF void fv_reset(fv_ctx *c) {
    fv__tape_clear(c);
    fv__pool_reset(c);
}

/* ---- platform: files (POSIX) ---- */
FV_DEF int fv_file_open(fv_ctx *c, const char *path, fv_file *f) {
    f->data = NULL, f->size = 0, f->mapped = 0;
    if (c->status) return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0) return fv_fail(c, FV_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    if (fstat(fd, &st) < 0 || S_ISDIR(st.st_mode)) {
        fv_fail(c, FV_EIO, "%s: cannot be read: %s", path, S_ISDIR(st.st_mode) ? "it is a folder" : strerror(errno));
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
/* ---- platform: threads. One function, fv_parallel, over our pool on pthreads, OpenMP, a caller's pool, or none. Jobs are
 * numbered and cut the same way for any thread count; which worker runs which job is left to an atomic counter. ---- */
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

#if !defined(FROZENVIS_NO_THREADS)
typedef struct fv__worker { fv__workers *w; int index; } fv__worker;

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

/* Waits for a batch newer than `seen`: spins for some microseconds, since the next op follows at once, then sleeps. */
static uint32_t fv__wait_round(fv__workers *w, uint32_t seen) {
    uint32_t now;
    for (int i = 0; i < w->spin; i++) {
        if ((now = __atomic_load_n(&w->round, __ATOMIC_ACQUIRE)) != seen) return now;
        fv__pause();
    }
    pthread_mutex_lock(&w->lock);
    w->sleeping++;
    while ((now = __atomic_load_n(&w->round, __ATOMIC_ACQUIRE)) == seen) pthread_cond_wait(&w->wake, &w->lock);
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

#if !defined(FROZENVIS_NO_THREADS)
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
            return fv_fail(c, FV_EUNAVAILABLE, "a thread could not be started: number %d of %d", i + 1, w->count);
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

/* Bytes for each worker that a kernel may use; called before fv_parallel, since nothing allocates inside it. */
static void fv__scratch_reserve(fv_ctx *c, size_t bytes_per_thread) {
    size_t n = FV__ROUND_UP(bytes_per_thread, (size_t)4096);
    if (n <= c->scratch_size) return;
    fv_free(c, c->scratch);
    c->scratch_size = 0;
    c->scratch = (char *)fv__alloc_dirty(c, n * (size_t)fv_threads(c));
    if (c->scratch) c->scratch_size = n;
}
static void *fv__scratch(const fv_ctx *c, int worker) { return c->scratch + (size_t)worker * c->scratch_size; }

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
    int isa = c->desc.isa;
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

/* ======================================================================================================
 * >>rng (implementation)
 * ====================================================================================================== */
FV_DEF void fv_philox(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4]) {
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    uint32_t x0 = (uint32_t)counter, x1 = (uint32_t)(counter >> 32), x2 = (uint32_t)stream, x3 = (uint32_t)(stream >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p = (uint64_t)0xD2511F53u * x0, q = (uint64_t)0xCD9E8D57u * x2;
        x0 = (uint32_t)(q >> 32) ^ x1 ^ k0, x1 = (uint32_t)q;
        x2 = (uint32_t)(p >> 32) ^ x3 ^ k1, x3 = (uint32_t)p;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u; /* golden ratio, sqrt(3)-1 */
    }
    out[0] = x0, out[1] = x1, out[2] = x2, out[3] = x3;
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
    uint32_t limit = UINT32_MAX - UINT32_MAX % n, x; /* a multiple of n: words from there on are drawn again */
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

/* Gamma(alpha) by Marsaglia and Tsang, "A simple method for generating gamma variables", 2000; alpha < 1 by the boost
 * Gamma(alpha) = Gamma(alpha+1) * U^(1/alpha). */
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
 * >>graph (implementation)
 * ====================================================================================================== */
static int fv__tape_start(fv_ctx *c) { (void)c; return 1; }
static void fv__tape_clear(fv_ctx *c) { (void)c; }

#endif /* FROZENVIS_IMPLEMENTATION */
#endif /* FV__PASS */

/* licence */
