/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files: reading, replacing, and publishing under a name that is never written twice. */
#include "base/file.h"

#include "base/digest.h"
#include "base/fault.h"
#include "base/own.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define DRAFTS ".incomplete"

enum { TREE_DEPTH = 64 };

static void own_dir(DIR **d)
{
    if (*d)
        (void)closedir(*d);
}

/* What a failed file call means to the caller. Disk full, I/O errors and a lack of descriptors may
 * pass; a wrong path or missing rights need a person. */
static int class_of(int errnum)
{
    switch (errnum) {
    case ENOENT:
        return ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
        return ERR_CONFIG;
    default:
        return ERR_RETRY;
    }
}

static int fail(struct err *e, const char *doing, const char *path)
{
    return err_errno(e, class_of(errno), "%s %s", doing, path);
}

/* The folder part of path: "." when there is none. */
static int parent_of(const char *path, char out[PATH_MAX], struct err *e)
{
    const char *slash = strrchr(path, '/');
    struct slice parent = slash ? (struct slice){path, (size_t)(slash - path)} : SLICE(".");
    if (slash == path)
        parent = SLICE("/");
    if (!slice_copy(parent, out, PATH_MAX))
        return err_set(e, ERR_CONFIG, "path is over %d bytes", PATH_MAX - 1);
    return 0;
}

int file_sync_dir(const char *path, struct err *e)
{
    OWN(own_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(e, "open folder", path);
    if (fsync(fd) < 0)
        return fail(e, "sync folder", path);
    return 0;
}

static int make_dir(const char *path, bool last, struct err *e)
{
    bool made = mkdir(path, 0700) == 0;
    if (!made) {
        int saved = errno;
        struct stat s;
        if (stat(path, &s) < 0) {
            errno = saved;
            return fail(e, "make folder", path);
        }
        if (!S_ISDIR(s.st_mode))
            return err_set(e, ERR_CONFIG, "make folder %s: a file of that name is in the way",
                           path);
        if (!last)
            return 0;
    }
    /* The last one is synced even when it was there: its maker may have died before its own sync.
     * A parent that only others may list was not made by us. */
    char parent[PATH_MAX];
    int rc = parent_of(path, parent, e);
    if (rc)
        return rc;
    rc = file_sync_dir(parent, e);
    return rc && !made && errno == EACCES ? 0 : rc;
}

int file_make_dirs(const char *path, struct err *e)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (!n || !slice_copy((struct slice){path, n}, part, sizeof part))
        return err_set(e, ERR_CONFIG, "make folder: the path is empty or over %d bytes",
                       PATH_MAX - 1);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int rc = make_dir(part, false, e);
        *slash = '/';
        if (rc)
            return rc;
    }
    return n == 1 && part[0] == '/' ? 0 : make_dir(part, true, e);
}

int file_read(const char *path, size_t max, struct buf *out, struct err *e)
{
    OWN(own_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(e, "open", path);
    size_t before = out->n;
    size_t total = 0;
    for (;;) {
        char part[16384];
        ssize_t n = read(fd, part, sizeof part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (n == 0)
                return 0;
            out->n = before;
            return fail(e, "read", path);
        }
        total += (size_t)n;
        if (total > max) {
            out->n = before;
            return err_set(e, ERR_REJECTED, "read %s: over %zu bytes", path, max);
        }
        buf_add(out, part, (size_t)n);
        int rc = buf_ok(out, path, e);
        if (rc) {
            out->n = before;
            return rc;
        }
    }
}

int file_write_all(int fd, const void *bytes, size_t n, struct err *e)
{
    const char *from = bytes;
    while (n) {
        ssize_t done = write(fd, from, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return err_errno(e, class_of(errno), "write");
        from += done;
        n -= (size_t)done;
    }
    return 0;
}

/* Without a name it was never opened: a zeroed one must not close descriptor 0. */
static void temp_close(struct file_temp *t)
{
    if (t->name[0]) {
        (void)close(t->fd);
        (void)close(t->temp_dir_fd);
        (void)close(t->dir_fd);
    }
    *t = (struct file_temp){.dir_fd = -1, .temp_dir_fd = -1, .fd = -1};
}

/* The temporary file lies in dir/inside, made when it is not there. */
static int temp_open(struct file_temp *t, const char *dir, const char *inside, const char *name,
                     mode_t mode, struct err *e)
{
    struct file_temp n = {.dir_fd = -1, .temp_dir_fd = -1, .fd = -1};
    uint8_t dice[8];
    char digits[2 * sizeof dice + 1];
    random_bytes(dice, sizeof dice);
    hex_encode(dice, sizeof dice, digits);
    if (!*name || strchr(name, '/') || !slice_copy(slice_of(name), n.name, sizeof n.name))
        return err_set(e, ERR_CONFIG, "file name '%.80s' is empty, too long or holds a slash",
                       name);
    (void)snprintf(n.temp, sizeof n.temp, "%s.tmp.%s", n.name, digits);
    OWN(own_fd) int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return fail(e, "open folder", dir);
    if (mkdirat(dir_fd, inside, 0700) < 0 && errno != EEXIST)
        return fail(e, "make the folder of unfinished files in", dir);
    OWN(own_fd)
    int temp_fd = openat(dir_fd, inside, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (temp_fd < 0)
        return fail(e, "open the folder of unfinished files in", dir);
    n.fd = openat(temp_fd, n.temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (n.fd < 0)
        return fail(e, "create", n.temp);
    n.dir_fd = dir_fd;
    n.temp_dir_fd = temp_fd;
    dir_fd = temp_fd = -1;
    *t = n;
    return 0;
}

int file_temp_open(struct file_temp *t, const char *dir, const char *name, mode_t mode,
                   struct err *e)
{
    return temp_open(t, dir, ".", name, mode, e);
}

int file_draft_open(struct file_temp *t, const char *dir, const char *name, mode_t mode,
                    struct err *e)
{
    return temp_open(t, dir, DRAFTS, name, mode, e);
}

/* A name of its own that appears whole, and only if it is free. */
static int link_new(const struct file_temp *t)
{
    if (linkat(t->temp_dir_fd, t->temp, t->dir_fd, t->name, 0) == 0) {
        FAULT("file.both-names");
        return unlinkat(t->temp_dir_fd, t->temp, 0);
    }
    if (errno != EPERM && errno != EOPNOTSUPP && errno != EMLINK)
        return -1;
    /* A file system without hard links. */
    return renameat2(t->temp_dir_fd, t->temp, t->dir_fd, t->name, RENAME_NOREPLACE);
}

int file_temp_publish(struct file_temp *t, struct err *e)
{
    if (fsync(t->fd) < 0)
        return fail(e, "sync", t->temp);
    FAULT("file.synced");
    if (link_new(t) < 0) {
        if (errno != EEXIST)
            return fail(e, "publish", t->name);
        int rc = err_set(e, ERR_CONFLICT, "publish %s: exists already", t->name);
        file_temp_abandon(t);
        return rc;
    }
    FAULT("file.linked");
    int rc = fsync(t->dir_fd) < 0 ? fail(e, "sync the folder of", t->name) : 0;
    FAULT("file.published");
    temp_close(t);
    return rc;
}

void file_temp_abandon(struct file_temp *t)
{
    if (t->name[0])
        (void)unlinkat(t->temp_dir_fd, t->temp, 0);
    temp_close(t);
}

int file_replace(const char *path, struct slice content, mode_t mode, struct err *e)
{
    char dir[PATH_MAX];
    int rc = parent_of(path, dir, e);
    if (rc)
        return rc;
    const char *slash = strrchr(path, '/');
    OWN(own_file_temp) struct file_temp t = {.dir_fd = -1, .temp_dir_fd = -1, .fd = -1};
    rc = file_temp_open(&t, dir, slash ? slash + 1 : path, mode, e);
    if (rc)
        return rc;
    rc = file_write_all(t.fd, content.p, content.n, e);
    if (rc) {
        (void)err_wrap(e, "replace %s", path);
        return rc;
    }
    if (fsync(t.fd) < 0)
        return fail(e, "sync", t.temp);
    if (renameat(t.temp_dir_fd, t.temp, t.dir_fd, t.name) < 0)
        return fail(e, "replace", path);
    rc = fsync(t.dir_fd) < 0 ? fail(e, "sync the folder of", path) : 0;
    temp_close(&t);
    return rc;
}

int file_lock_dir(const char *dir, int *lock_fd, struct err *e)
{
    char path[PATH_MAX];
    char pid[24] = "";
    if (snprintf(path, sizeof path, "%s/lock", dir) >= (int)sizeof path)
        return err_set(e, ERR_CONFIG, "lock: the path of the folder is over %d bytes", PATH_MAX);
    OWN(own_fd) int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(e, "open", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return fail(e, "lock", path);
        ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
        struct slice holder = slice_trim((struct slice){pid, n > 0 ? (size_t)n : 0});
        return err_set(e, ERR_CONFLICT, "%s is in use by process %.*s", dir,
                       holder.n ? (int)holder.n : 1, holder.n ? holder.p : "?");
    }
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)n, 0) != n)
        return fail(e, "write", path);
    *lock_fd = fd;
    fd = -1;
    return 0;
}

void file_unlock(int lock_fd)
{
    /* The file stays: removing it would let two processes lock two files of one name. */
    if (lock_fd >= 0)
        (void)close(lock_fd);
}

int file_scratch(const char *dir, FILE **out, struct err *e)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/scratch.XXXXXX", dir);
    if (n < 0 || (size_t)n >= sizeof path)
        return err_set(e, ERR_CONFIG, "path is over %d bytes", PATH_MAX - 1);
    /* Not O_TMPFILE: some file systems have none. */
    OWN(own_fd) int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return fail(e, "create a scratch file in", dir);
    if (unlink(path) < 0)
        return fail(e, "unlink", path);
    FILE *f = fdopen(fd, "w+");
    if (!f)
        return fail(e, "open a scratch file in", dir);
    fd = -1;
    *out = f;
    return 0;
}

int file_sweep_drafts(const char *dir, const char *prefix, struct err *e)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", dir, DRAFTS) >= (int)sizeof path)
        return err_set(e, ERR_CONFIG, "path is over %d bytes", PATH_MAX - 1);
    OWN(own_dir) DIR *d = opendir(path);
    if (!d)
        return errno == ENOENT ? 0 : fail(e, "open folder", path);
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (!entry)
            return errno ? fail(e, "read folder", path) : 0;
        if (!strstr(entry->d_name, ".tmp.") || strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
            continue;
        if (unlinkat(dirfd(d), entry->d_name, 0) < 0 && errno != ENOENT)
            return fail(e, "remove", entry->d_name);
    }
}

static int remove_inside(int parent_fd, const char *name, int depth, struct err *e)
{
    if (depth > TREE_DEPTH)
        return err_set(e, ERR_CONFIG, "remove %s: over %d folders deep", name, TREE_DEPTH);
    OWN(own_fd)
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : fail(e, "open folder", name);
    OWN(own_dir) DIR *d = fdopendir(fd);
    if (!d)
        return err_memory(e, "remove folder");
    fd = -1;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (!entry)
            return errno ? fail(e, "read folder", name) : 0;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(d), entry->d_name, 0) == 0 || errno == ENOENT)
            continue;
        if (errno != EISDIR && errno != EPERM)
            return fail(e, "remove", entry->d_name);
        int rc = remove_inside(dirfd(d), entry->d_name, depth + 1, e);
        if (rc)
            return rc;
        if (unlinkat(dirfd(d), entry->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
            return fail(e, "remove folder", entry->d_name);
    }
}

int file_remove_tree(const char *path, struct err *e)
{
    int rc = remove_inside(AT_FDCWD, path, 0, e);
    if (rc) {
        (void)err_wrap(e, "remove %s", path);
        return rc;
    }
    if (rmdir(path) < 0 && errno != ENOENT)
        return fail(e, "remove folder", path);
    return 0;
}
