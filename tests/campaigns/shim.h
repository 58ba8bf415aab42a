/*
 * What shim.c asks at every call: whether it counts, what becomes of it, and what is logged of it.
 *
 * The control block is a file that all processes of a case map; its layout stands in shim.py too.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PATH_BYTES 1024

enum mode { OFF, COUNT, KILL_BEFORE, KILL_WITHIN, FAIL, RECORD };

struct control {
    int32_t mode;
    int32_t error;      /* what FAIL gives as errno */
    int32_t persistent; /* FAIL: every call from the n-th on, not that one alone */
    int32_t reads;      /* count opening for reading, and reading, too */
    int32_t everyone;   /* KILL: processes of other groups die at their next call */
    int32_t fired;      /* set when the n-th call came */
    int32_t ended;      /* set when everyone is to die */
    int32_t lock;       /* held while a call is made and logged */
    int64_t at;         /* n, from 1 */
    int64_t count;
    char folder[PATH_BYTES];
    char log[PATH_BYTES]; /* none when empty */
};

enum verdict { GO, REFUSE, TEAR };

static struct control *control;

/* The function of a name that the program would have called without this library. */
#define NEXT(name)                                  \
    static __typeof__(name) *next;                  \
    if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("SHIM_CONTROL");
    if (control || !path) return;
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (map != MAP_FAILED) control = map;
}

/* ---- which files count ------------------------------------------------------------------------------------- */

static int is_inside(const char *path)
{
    size_t n = strlen(control->folder);
    return n && !strncmp(path, control->folder, n) && (path[n] == '/' || path[n] == 0);
}

/* Write the absolute form of a path, relative to the folder of a handle, and tell whether it counts. */
static int named(int folder, const char *path, char *absolute)
{
    if (!control || control->mode == OFF || !path) return 0;
    if (path[0] == '/') {
        snprintf(absolute, PATH_BYTES, "%s", path);
        return is_inside(absolute);
    }
    char link[64], base[PATH_BYTES];
    if (folder == AT_FDCWD)
        snprintf(link, sizeof link, "/proc/self/cwd");
    else
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 1);
    if (n <= 0) return 0;
    base[n] = 0;
    if (n + strlen(path) + 2 > PATH_BYTES) return 0;
    strcpy(absolute, base);
    strcat(strcat(absolute, "/"), path);
    return is_inside(absolute);
}

/* Write the path of an open file and tell whether it counts. */
static int opened(int fd, char *path)
{
    if (!control || control->mode == OFF) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_BYTES - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return is_inside(path);
}

/* ---- the log ----------------------------------------------------------------------------------------------- */

static int64_t inode_of(int fd, const char *path)
{
    struct stat about;
    if (fd >= 0 ? fstat(fd, &about) : lstat(path, &about)) return -1;
    return about.st_ino;
}

/* Add an entry: a line "operation, inode, offset, number of bytes, path, other path" with tabs, then the bytes. */
static void note(const char *operation, int64_t inode, int64_t offset, const void *bytes, int64_t size,
                 const char *path, const char *other)
{
    if (!control->log[0]) return;
    char line[2 * PATH_BYTES + 128];
    int n = snprintf(line, sizeof line, "%s\t%lld\t%lld\t%lld\t%s\t%s\n", operation, (long long)inode,
                     (long long)offset, (long long)size, path, other ? other : "");
    struct iovec parts[2] = {{line, n}, {(void *)bytes, size}};
    int fd = syscall(SYS_openat, AT_FDCWD, control->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return;
    syscall(SYS_writev, fd, parts, size ? 2 : 1);
    syscall(SYS_close, fd);
}

static int recording(void) { return control->mode == RECORD; }

/* Log all that a file holds, as what is on the disk from now on. */
static void note_synced(int fd, const char *path)
{
    struct stat about;
    if (fstat(fd, &about)) return;
    if (S_ISDIR(about.st_mode)) {
        note("sync-folder", about.st_ino, 0, NULL, 0, path, NULL);
        return;
    }
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    int again = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC); /* fd may be for writing only */
    char *bytes = malloc(about.st_size + 1);
    ssize_t n = bytes && again >= 0 ? syscall(SYS_pread64, again, bytes, about.st_size, 0) : -1;
    if (n >= 0) note("sync", about.st_ino, 0, bytes, n, path, NULL);
    free(bytes);
    if (again >= 0) syscall(SYS_close, again);
}

static void lock(void)
{
    if (recording())
        while (__sync_lock_test_and_set(&control->lock, 1)) usleep(50);
}

static void unlock(void)
{
    if (control && recording()) __sync_lock_release(&control->lock);
}

/* ---- what happens at a call -------------------------------------------------------------------------------- */

static _Noreturn void die(void)
{
    if (control->everyone) control->ended = 1;
    kill(-getpgrp(), SIGKILL);
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* A full disk still removes files; a disk that became read-only has nothing left to sync. */
static int can_fail(const char *operation)
{
    if (control->error == ENOSPC) return strcmp(operation, "unlink") && strcmp(operation, "rmdir");
    if (control->error == EROFS) return strcmp(operation, "fsync") && strcmp(operation, "read");
    return 1;
}

/* Count a call, and say what becomes of it. size: what it is about, in bytes, for the log. */
static enum verdict judge(const char *operation, const char *path, int64_t size)
{
    if (control->ended) die();
    int64_t n = __sync_add_and_fetch(&control->count, 1);
    if (control->mode == COUNT) note(operation, -1, size, NULL, 0, path, NULL);
    lock();
    int due = control->persistent ? n >= control->at : n == control->at;
    if (!due) return GO;
    switch (control->mode) {
    case KILL_BEFORE:
        control->fired = 1;
        die();
    case KILL_WITHIN:
        control->fired = 1;
        return TEAR;
    case FAIL:
        if (!can_fail(operation)) return GO;
        control->fired = 1;
        errno = control->error;
        return REFUSE;
    default:
        return GO;
    }
}
