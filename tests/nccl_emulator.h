/* nccl_emulator.h -- enough of NCCL for the group of frozenvis.h: processes of one machine that share a file
 * instead of GPUs that share links. Include it, with FROZENVIS_NCCL defined, after cuda_emulator.h. What is
 * asked for is done when all that its stream waits for is, and at once: a gradient that was not whole yet
 * gives a wrong average. A process that waits five minutes for another one gives up. */
#ifndef FV_NCCL_EMULATOR_H
#define FV_NCCL_EMULATOR_H
#include <fcntl.h>
#include <time.h>
#include <unistd.h>
enum { EMU_CHUNK = 4096 }; /* numbers of a member that the file holds at a time */
enum { NCCL_UNIQUE_ID_BYTES = 128 };
typedef enum { ncclSuccess, ncclSystemError, ncclInvalidArgument } ncclResult_t;
typedef enum { ncclFloat32, ncclFloat64 } ncclDataType_t;
typedef enum { ncclAvg } ncclRedOp_t;
typedef struct {
    char internal[NCCL_UNIQUE_ID_BYTES];
} ncclUniqueId;
struct emu_meeting {
    int here, round; /* members that wait; how often all have met */
    double part[64][EMU_CHUNK];
};
struct emu_comm {
    emu_meeting *m;
    int rank, size;
};
typedef emu_comm *ncclComm_t;
static int emu_averages; /* calls so far */

static const char *ncclGetErrorString(ncclResult_t r) {
    return r == ncclSystemError ? "the others are gone" : "emulated error";
}
static ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    const char *dir = getenv("TMPDIR");
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "%.90s/emulated-nccl-XXXXXX", dir ? dir : "/tmp");
    int fd = mkstemp(id->internal);
    return fd < 0 || ftruncate(fd, sizeof(emu_meeting)) || close(fd) ? ncclSystemError : ncclSuccess;
}
static ncclResult_t emu_meet(emu_comm *c) { /* all of them, before any goes on */
    int round = __atomic_load_n(&c->m->round, __ATOMIC_ACQUIRE);
    struct timespec little = {0, 100000};
    if (__atomic_add_fetch(&c->m->here, 1, __ATOMIC_ACQ_REL) == c->size) {
        c->m->here = 0;
        __atomic_add_fetch(&c->m->round, 1, __ATOMIC_ACQ_REL);
        return ncclSuccess;
    }
    time_t since = time(NULL);
    while (__atomic_load_n(&c->m->round, __ATOMIC_ACQUIRE) == round) {
        if (time(NULL) > since + 300) return ncclSystemError;
        nanosleep(&little, NULL);
    }
    return ncclSuccess;
}
static ncclResult_t ncclCommInitRank(ncclComm_t *comm, int size, ncclUniqueId id, int rank) {
    if (size < 1 || size > 64 || rank < 0 || rank >= size) return ncclInvalidArgument;
    int fd = open(id.internal, O_RDWR);
    void *m =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(emu_meeting), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0) close(fd);
    if (m == MAP_FAILED) return ncclSystemError;
    emu_comm *c = *comm = new emu_comm;
    c->m = (emu_meeting *)m, c->rank = rank, c->size = size;
    ncclResult_t r = emu_meet(c);
    if (!rank) unlink(id.internal);
    return r;
}
static ncclResult_t ncclCommDestroy(ncclComm_t c) {
    munmap(c->m, sizeof *c->m);
    delete c;
    return ncclSuccess;
}
static ncclResult_t ncclCommAbort(ncclComm_t c) { return ncclCommDestroy(c); }
static ncclResult_t ncclGroupStart(void) { return ncclSuccess; }
static ncclResult_t ncclGroupEnd(void) { return ncclSuccess; }
static ncclResult_t emu_average(const void *from, void *to, size_t n, ncclDataType_t type, ncclComm_t c) {
    ncclResult_t r = ncclSuccess;
    emu_averages++;
    for (size_t at = 0; at < n && r == ncclSuccess; at += EMU_CHUNK) {
        size_t k = n - at < (size_t)EMU_CHUNK ? n - at : (size_t)EMU_CHUNK;
        emu_door(1);
        for (size_t i = 0; i < k; i++)
            c->m->part[c->rank][i] =
                type == ncclFloat64 ? ((const double *)from)[at + i] : (double)((const float *)from)[at + i];
        r = emu_meet(c);
        for (size_t i = 0; i < k; i++) {
            double sum = 0;
            for (int p = 0; p < c->size; p++) sum += c->m->part[p][i];
            if (type == ncclFloat64) ((double *)to)[at + i] = sum / c->size;
            else ((float *)to)[at + i] = (float)(sum / c->size);
        }
        emu_door(0);
        if (r == ncclSuccess) r = emu_meet(c);
    }
    return r;
}
/* at once or, where copies are late, when somebody waits for it: an error is then told of by the next one */
static ncclResult_t ncclAllReduce(const void *from, void *to, size_t n, ncclDataType_t type, ncclRedOp_t,
                                  ncclComm_t c, cudaStream_t stream) {
    static ncclResult_t late = ncclSuccess;
    if (!emu_late) return cudaStreamSynchronize(stream), emu_average(from, to, n, type, c);
    emu_ask(stream, 1, [=]() {
        ncclResult_t r = emu_average(from, to, n, type, c);
        late = r == ncclSuccess ? late : r;
    });
    return late;
}
#endif
