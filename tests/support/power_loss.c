/* Tells which bytes of each file would survive if the power went now.
 *
 * Preloaded into a server, it appends "SIZE PATH" to the file named by POWER_LOSS_LOG whenever a
 * sync of a file has returned: SIZE is what the file held before the sync was called, so that
 * nothing written meanwhile is taken for safe. A file that is cut is told with its new size, as if
 * the cut were on the disk at once, which is the harder case. For files that only grow at their
 * end; it keeps no contents.
 *
 * cc -shared -fPIC -o power_loss.so power_loss.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Appends one line in one write, so that lines of several threads do not mix. */
static void tell(const char *path, long long size)
{
    const char *log = getenv("POWER_LOSS_LOG");
    char line[PATH_MAX + 32];
    int length = snprintf(line, sizeof line, "%lld %s\n", size, path);
    if (log == NULL || length < 0 || (size_t)length >= sizeof line)
        return;
    int fd = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    /* A line that is missing would make a proof say what is not true. */
    if (fd < 0 || write(fd, line, (size_t)length) != length)
        abort();
    close(fd);
}

/* Writes the path of an open regular file; returns its size, -1 for anything else. */
static long long facts(int fd, char path[PATH_MAX])
{
    struct stat found;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0 || fstat(fd, &found) != 0 || !S_ISREG(found.st_mode))
        return -1;
    path[length] = '\0';
    return found.st_size;
}

static int sync_and_tell(const char *name, int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    char path[PATH_MAX];
    long long size = facts(fd, path);
    int result = real(fd);
    int error = errno;
    if (result == 0 && size >= 0)
        tell(path, size);
    errno = error;
    return result;
}

int fsync(int fd) { return sync_and_tell("fsync", fd); }

int fdatasync(int fd) { return sync_and_tell("fdatasync", fd); }

static int cut_and_tell(const char *name, int fd, off_t size)
{
    int (*real)(int, off_t) = (int (*)(int, off_t))dlsym(RTLD_NEXT, name);
    char path[PATH_MAX];
    int result = real(fd, size);
    int error = errno;
    if (result == 0 && facts(fd, path) >= 0)
        tell(path, size);
    errno = error;
    return result;
}

int ftruncate(int fd, off_t size) { return cut_and_tell("ftruncate", fd, size); }

int ftruncate64(int fd, off64_t size) { return cut_and_tell("ftruncate64", fd, size); }

static int cut_path_and_tell(const char *name, const char *path, off_t size)
{
    int (*real)(const char *, off_t) = (int (*)(const char *, off_t))dlsym(RTLD_NEXT, name);
    char whole[PATH_MAX];
    int result = real(path, size);
    int error = errno;
    if (result == 0 && realpath(path, whole) != NULL)
        tell(whole, size);
    errno = error;
    return result;
}

int truncate(const char *path, off_t size) { return cut_path_and_tell("truncate", path, size); }

int truncate64(const char *path, off64_t size)
{
    return cut_path_and_tell("truncate64", path, size);
}
