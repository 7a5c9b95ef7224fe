/* Preloaded into a process that writes below one folder: logs each step that changes the disk, and kills the
 * process just before the step of a given number, or in the middle of it where it is a write.
 *
 * powercut_arm(root, at, log): from now on, for what is below `root`; `at` counts from 1, 0 means never.
 * A whole program is armed by its environment: POWERCUT_ROOT, POWERCUT_AT and POWERCUT_LOG. Of its steps, which
 * several threads take, only the boundaries are counted and logged: fsync, fdatasync and rename.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[PATH_MAX];
static int at, steps, boundaries_only, log_fd = -1;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

void powercut_arm(const char *below, int kill_at, const char *log) {
    snprintf(root, sizeof root, "%s", below);
    at = kill_at;
    steps = 0;
    log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

__attribute__((constructor)) static void arm_by_environment(void) {
    const char *below = getenv("POWERCUT_ROOT");
    if (!below) return;
    powercut_arm(below, atoi(getenv("POWERCUT_AT")), getenv("POWERCUT_LOG"));
    boundaries_only = 1;
    /* What the program starts is not the program. */
    unsetenv("LD_PRELOAD");
    unsetenv("POWERCUT_ROOT");
}

static int watched(const char *path) {
    return log_fd >= 0 && strncmp(path, root, strlen(root)) == 0;
}

static void note(const char *step, const char *path, const char *other) {
    dprintf(log_fd, "%s\t%s\t%s\n", step, path, other);
}

/* Whether this step is the one to die in. */
static int due(void) { return __atomic_add_fetch(&steps, 1, __ATOMIC_SEQ_CST) == at; }

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static void boundary(const char *name, const char *path, const char *other) {
    if (!watched(path)) return;
    if (due()) die();
    note(name, path, other);
}

static void step(const char *name, const char *path, const char *other) {
    if (!boundaries_only) boundary(name, path, other);
}

static const char *path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    path[size < 0 ? 0 : size] = 0;
    return path;
}

static const char *path_at(int folder, const char *name, char *path) {
    char above[PATH_MAX];
    if (name[0] == '/' || folder == AT_FDCWD) snprintf(path, PATH_MAX, "%s", name);
    else snprintf(path, PATH_MAX, "%.2000s/%.2000s", path_of(folder, above), name);
    return path;
}

static void opened(const char *path, int flags) {
    if ((flags & O_CREAT) && watched(path)) {
        struct stat found;
        step(stat(path, &found) ? "create" : (flags & O_TRUNC) ? "truncate" : "open", path, "");
    }
}

#define OPEN(name)                                                                       \
    int name(const char *path, int flags, ...) {                                         \
        va_list rest;                                                                    \
        va_start(rest, flags);                                                           \
        mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;                      \
        va_end(rest);                                                                    \
        opened(path, flags);                                                             \
        return REAL(name)(path, flags, mode);                                            \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *bytes, size_t size) {
    char path[PATH_MAX];
    if (log_fd >= 0 && !boundaries_only && fd != log_fd && watched(path_of(fd, path))) {
        if (due()) {
            REAL(write)(fd, bytes, size / 2);
            die();
        }
        note("write", path, "");
    }
    return REAL(write)(fd, bytes, size);
}

int fsync(int fd) {
    char path[PATH_MAX];
    boundary("fsync", path_of(fd, path), "");
    return REAL(fsync)(fd);
}

int fdatasync(int fd) {
    char path[PATH_MAX];
    boundary("fsync", path_of(fd, path), "");
    return REAL(fdatasync)(fd);
}

int rename(const char *old, const char *new) {
    boundary("rename", old, new);
    return REAL(rename)(old, new);
}

int symlink(const char *target, const char *path) {
    step("symlink", path, target);
    return REAL(symlink)(target, path);
}

int mkdir(const char *path, mode_t mode) {
    step("mkdir", path, "");
    return REAL(mkdir)(path, mode);
}

int unlink(const char *path) {
    step("remove", path, "");
    return REAL(unlink)(path);
}

int rmdir(const char *path) {
    step("remove", path, "");
    return REAL(rmdir)(path);
}

int unlinkat(int folder, const char *name, int flags) {
    char path[PATH_MAX];
    step("remove", path_at(folder, name, path), "");
    return REAL(unlinkat)(folder, name, flags);
}
