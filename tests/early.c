/* early.c -- to be loaded before the program fv (LD_PRELOAD): what EARLY names befalls it at a moment that no
 * test could hit from outside.
 *   exec-fails  another process of the program cannot be started
 *   exec-int    SIGINT reaches that process before it is the program
 *   data-int    SIGINT when the data set is looked for
 *   mkdir-int   SIGINT when the run's folder has been made
 *   deaf        the other processes of --gpus end without reading their key */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int early(const char *what) {
    const char *e = getenv("EARLY");
    return e && !strcmp(e, what);
}
int execv(const char *path, char *const args[]) {
    if (early("exec-fails")) return errno = EACCES, -1;
    if (early("exec-int")) raise(SIGINT);
    return execve(path, args, environ);
}
char *realpath(const char *path, char *full) {
    if (early("data-int")) raise(SIGINT);
    return *path == '/' && full ? strcpy(full, path) : NULL;
}
int mkdir(const char *path, mode_t mode) {
    long status = syscall(SYS_mkdirat, -100, path, mode); /* AT_FDCWD */
    if (early("mkdir-int")) raise(SIGINT);
    return (int)status;
}
ssize_t read(int fd, void *to, size_t n) {
    if (early("deaf") && n == 128) return errno = EIO, -1;
    return syscall(SYS_read, fd, to, n);
}
