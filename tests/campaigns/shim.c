/*
 * A library that is loaded before all others (LD_PRELOAD) and stands between a program and one folder.
 *
 * It counts the calls that change what lies in that folder, over all processes of a case, and at the n-th of them
 * does what the control block says: kills the process group before the call or in the middle of it, or lets the call
 * fail with an error number. It can also write down every such call, with the bytes that it brought, in a log from
 * which the disk can be built again at any moment (see power.py).
 *
 * What is written through a memory map is not seen, but fsync logs the whole file, so a log knows what was synced.
 * Here are the functions that a program calls; which of them count, and what becomes of them, stands in shim.h.
 */
#define _GNU_SOURCE
#include "shim.h"

#include <sys/sendfile.h>

/* ---- opening ----------------------------------------------------------------------------------------------- */

static int for_writing(int flags) { return (flags & (O_CREAT | O_TRUNC)) || (flags & O_ACCMODE) != O_RDONLY; }

static enum verdict judge_open(const char *path, int flags)
{
    const char *operation = flags & O_CREAT ? "create" : for_writing(flags) ? "open" : "open-read";
    return judge(operation, path, 0);
}

static void note_opened(int fd, const char *path, int flags, int was_there)
{
    if (!recording() || fd < 0) return;
    if (!was_there) note("create", inode_of(fd, path), 0, NULL, 0, path, NULL);
    if (was_there && flags & O_TRUNC) note("truncate", inode_of(fd, path), 0, NULL, 0, path, NULL);
}

#define OPEN(folder, path, flags, call)                                         \
    mode_t mode = 0;                                                            \
    if (flags & (O_CREAT | O_TMPFILE)) {                                        \
        va_list rest;                                                           \
        va_start(rest, flags);                                                  \
        mode = va_arg(rest, mode_t);                                            \
        va_end(rest);                                                           \
    }                                                                           \
    char absolute[PATH_BYTES];                                                  \
    int counts = named(folder, path, absolute) && (for_writing(flags) || control->reads); \
    if (!counts) return call;                                                   \
    enum verdict verdict = judge_open(absolute, flags);                         \
    if (verdict == REFUSE) return -1;                                           \
    int was_there = inode_of(-1, absolute) >= 0;                                \
    int fd = call;                                                              \
    if (verdict == TEAR) die();                                                 \
    note_opened(fd, absolute, flags, was_there);                                \
    unlock();                                                                   \
    return fd;

int open(const char *path, int flags, ...)
{
    NEXT(open);
    OPEN(AT_FDCWD, path, flags, next(path, flags, mode))
}

int openat(int at, const char *path, int flags, ...)
{
    NEXT(openat);
    OPEN(at, path, flags, next(at, path, flags, mode))
}

static int flags_of(const char *how)
{
    if (how[0] == 'r') return strchr(how, '+') ? O_RDWR : O_RDONLY;
    return O_WRONLY | O_CREAT | (how[0] == 'w' ? O_TRUNC : O_APPEND);
}

#define FOPEN(path, how, call)                                                  \
    char absolute[PATH_BYTES];                                                  \
    int flags = flags_of(how);                                                  \
    int counts = named(AT_FDCWD, path, absolute) && (for_writing(flags) || control->reads); \
    if (!counts) return call;                                                   \
    enum verdict verdict = judge_open(absolute, flags);                         \
    if (verdict == REFUSE) return NULL;                                         \
    int was_there = inode_of(-1, absolute) >= 0;                                \
    FILE *file = call;                                                          \
    if (verdict == TEAR) die();                                                 \
    if (file) note_opened(fileno(file), absolute, flags, was_there);            \
    unlock();                                                                   \
    return file;

FILE *fopen(const char *path, const char *how)
{
    NEXT(fopen);
    FOPEN(path, how, next(path, how))
}

/* ---- an open file ------------------------------------------------------------------------------------------ */

/* Where a plain write will put its bytes. */
static int64_t place_of(int fd)
{
    if (!recording()) return -1;
    int flags = fcntl(fd, F_GETFL);
    return lseek(fd, 0, flags & O_APPEND ? SEEK_END : SEEK_CUR);
}

/* Do `call` on an open file: `half` in its place when the process is killed in the middle; `entry` logs it. */
#define ON_FILE(operation, fd, size, call, half, entry)                         \
    char path[PATH_BYTES];                                                      \
    if (!opened(fd, path)) return call;                                         \
    enum verdict verdict = judge(operation, path, size);                        \
    if (verdict == REFUSE) return -1;                                           \
    if (verdict == TEAR) {                                                      \
        (void)!half;                                                            \
        die();                                                                  \
    }                                                                           \
    int64_t place = place_of(fd);                                               \
    (void)place;                                                                \
    __typeof__(call) done = call;                                               \
    if (recording() && done >= 0) entry;                                        \
    unlock();                                                                   \
    return done;

#define NOTE_WRITE(place) note("write", inode_of(fd, NULL), place, bytes, done, path, NULL)

ssize_t write(int fd, const void *bytes, size_t size)
{
    NEXT(write);
    ON_FILE("write", fd, size, next(fd, bytes, size), next(fd, bytes, size / 2), NOTE_WRITE(place))
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    NEXT(pwrite);
    ON_FILE("write", fd, size, next(fd, bytes, size, offset), next(fd, bytes, size / 2, offset), NOTE_WRITE(offset))
}

/* Vectors and copies between files are made of plain writes, one by one, so that they are counted and logged. */
ssize_t writev(int fd, const struct iovec *parts, int count)
{
    NEXT(writev);
    char path[PATH_BYTES];
    if (!opened(fd, path)) return next(fd, parts, count);
    ssize_t all = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = parts[i].iov_len ? write(fd, parts[i].iov_base, parts[i].iov_len) : 0;
        if (done < 0) return all ? all : -1;
        all += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return all;
}

static ssize_t copied(int out, int in, off_t *offset, size_t size)
{
    char bytes[1 << 16];
    size_t most = size < sizeof bytes ? size : sizeof bytes;
    ssize_t n = offset ? pread(in, bytes, most, *offset) : read(in, bytes, most);
    ssize_t done = n > 0 ? write(out, bytes, n) : n;
    if (done > 0 && offset) *offset += done;
    return done;
}

ssize_t sendfile(int out, int in, off_t *offset, size_t size)
{
    NEXT(sendfile);
    char path[PATH_BYTES];
    return opened(out, path) ? copied(out, in, offset, size) : next(out, in, offset, size);
}


ssize_t copy_file_range(int in, off_t *from, int out, off_t *to, size_t size, unsigned flags)
{
    NEXT(copy_file_range);
    char path[PATH_BYTES];
    return opened(out, path) && !to ? copied(out, in, from, size) : next(in, from, out, to, size, flags);
}

int fsync(int fd)
{
    NEXT(fsync);
    ON_FILE("fsync", fd, 0, next(fd), next(fd), note_synced(fd, path))
}

int fdatasync(int fd)
{
    NEXT(fdatasync);
    ON_FILE("fsync", fd, 0, next(fd), next(fd), note_synced(fd, path))
}

#define NOTE_SIZE(size) note("truncate", inode_of(fd, NULL), size, NULL, 0, path, NULL)

int ftruncate(int fd, off_t size)
{
    NEXT(ftruncate);
    ON_FILE("truncate", fd, size, next(fd, size), next(fd, size), NOTE_SIZE(size))
}

/* These give an error number and leave errno alone. */
#define ALLOCATE(call)                                                          \
    char path[PATH_BYTES];                                                      \
    if (!opened(fd, path)) return call;                                         \
    enum verdict verdict = judge("allocate", path, size);                       \
    if (verdict == REFUSE) return errno;                                        \
    int failed = call;                                                          \
    if (verdict == TEAR) die();                                                 \
    if (recording() && !failed) note("allocate", inode_of(fd, NULL), offset + size, NULL, 0, path, NULL); \
    unlock();                                                                   \
    return failed;

int posix_fallocate(int fd, off_t offset, off_t size)
{
    NEXT(posix_fallocate);
    ALLOCATE(next(fd, offset, size))
}

#define READ(call)                                                              \
    char path[PATH_BYTES];                                                      \
    if (!control || !control->reads || !opened(fd, path)) return call;          \
    enum verdict verdict = judge("read", path, size);                           \
    if (verdict == REFUSE) return -1;                                           \
    if (verdict == TEAR) die();                                                 \
    unlock();                                                                   \
    return call;

ssize_t read(int fd, void *bytes, size_t size)
{
    NEXT(read);
    READ(next(fd, bytes, size))
}

ssize_t pread(int fd, void *bytes, size_t size, off_t offset)
{
    NEXT(pread);
    READ(next(fd, bytes, size, offset))
}

/* ---- names ------------------------------------------------------------------------------------------------- */

/* Do `call` on one name, or two; what the log says is taken before the call, for then the file is still there. */
#define ON_NAME(operation, inside, path, other, call)                           \
    if (!(inside)) return call;                                                 \
    enum verdict verdict = judge(operation, path, 0);                           \
    if (verdict == REFUSE) return -1;                                           \
    int64_t inode = recording() ? inode_of(-1, path) : -1;                      \
    int failed = call;                                                          \
    if (verdict == TEAR) die();                                                 \
    if (recording() && !failed) note(operation, inode < 0 ? inode_of(-1, path) : inode, 0, NULL, 0, path, other); \
    unlock();                                                                   \
    return failed;

#define TWO_NAMES(operation, at, from, to_at, to, call)                         \
    char a[PATH_BYTES], b[PATH_BYTES];                                          \
    int first = named(at, from, a), second = named(to_at, to, b);               \
    ON_NAME(operation, first || second, a, b, call)

#define ONE_NAME(operation, at, name, call)                                     \
    char a[PATH_BYTES];                                                         \
    ON_NAME(operation, named(at, name, a), a, NULL, call)

int rename(const char *from, const char *to)
{
    NEXT(rename);
    TWO_NAMES("rename", AT_FDCWD, from, AT_FDCWD, to, next(from, to))
}

int renameat(int at, const char *from, int to_at, const char *to)
{
    NEXT(renameat);
    TWO_NAMES("rename", at, from, to_at, to, next(at, from, to_at, to))
}

int link(const char *from, const char *to)
{
    NEXT(link);
    TWO_NAMES("link", AT_FDCWD, from, AT_FDCWD, to, next(from, to))
}

int linkat(int at, const char *from, int to_at, const char *to, int flags)
{
    NEXT(linkat);
    TWO_NAMES("link", at, from, to_at, to, next(at, from, to_at, to, flags))
}

int mkdir(const char *name, mode_t mode)
{
    NEXT(mkdir);
    ONE_NAME("mkdir", AT_FDCWD, name, next(name, mode))
}

int mkdirat(int at, const char *name, mode_t mode)
{
    NEXT(mkdirat);
    ONE_NAME("mkdir", at, name, next(at, name, mode))
}

int unlink(const char *name)
{
    NEXT(unlink);
    ONE_NAME("unlink", AT_FDCWD, name, next(name))
}

int rmdir(const char *name)
{
    NEXT(rmdir);
    ONE_NAME("rmdir", AT_FDCWD, name, next(name))
}

int unlinkat(int at, const char *name, int flags)
{
    NEXT(unlinkat);
    ONE_NAME(flags & AT_REMOVEDIR ? "rmdir" : "unlink", at, name, next(at, name, flags))
}

/* ---- the same under their other names: off_t has 64 bits on the machines that this runs on ------------------- */

#define SAME_AS(name) __attribute__((alias(#name)))
_Static_assert(sizeof(off_t) == 8, "files of any size need an off_t of 64 bits");

int open64(const char *path, int flags, ...) SAME_AS(open);
int openat64(int at, const char *path, int flags, ...) SAME_AS(openat);
FILE *fopen64(const char *path, const char *how) SAME_AS(fopen);
ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t offset) SAME_AS(pwrite);
int ftruncate64(int fd, off_t size) SAME_AS(ftruncate);
int posix_fallocate64(int fd, off_t offset, off_t size) SAME_AS(posix_fallocate);
ssize_t pread64(int fd, void *bytes, size_t size, off_t offset) SAME_AS(pread);
ssize_t sendfile64(int out, int in, off_t *offset, size_t size) SAME_AS(sendfile);
