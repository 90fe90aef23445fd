/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that are either whole or absent. Publishing: write a temporary name, fsync, link to the
 * final name, fsync the folder. A final name is never written twice.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdio.h>
#include <sys/types.h>

/* Makes a folder and its parents, mode 0700, each synced into its parent. Existing is success. */
int file_make_dirs(const char *path, struct err *e);
/* Reads a whole file of at most max bytes into out (initialised, appended to). */
int file_read(const char *path, size_t max, struct buf *out, struct err *e);
/* Writes all n bytes to fd, going on after EINTR and short writes. */
int file_write_all(int fd, const void *bytes, size_t n, struct err *e);
int file_sync_dir(const char *path, struct err *e);

/* Replaces path durably by temporary name and rename: for small state files that may change. */
int file_replace(const char *path, struct slice content, mode_t mode, struct err *e);

/* Publishing: file_temp opens dir/name.tmp.<random> for writing; file_publish syncs it, links it to
 * dir/name, removes the temporary name and syncs dir. ERR_CONFLICT when dir/name exists already
 * (nothing was changed; the temporary file is removed). file_abandon removes the temporary file. */
struct file_temp {
    int dir_fd, temp_dir_fd;
    int fd; /* write here; -1 when not open */
    char name[256];
    char temp[288];
};
int file_temp_open(struct file_temp *t, const char *dir, const char *name, mode_t mode,
                   struct err *e);
int file_temp_publish(struct file_temp *t, struct err *e);
void file_temp_abandon(struct file_temp *t); /* after publish: does nothing */

/* As file_temp_open, for folders that grow for years: the temporary file lies in dir/.incomplete,
 * made at need, so that leftovers are found at no cost. */
int file_draft_open(struct file_temp *t, const char *dir, const char *name, mode_t mode,
                    struct err *e);
/* Removes what crashed writers left of drafts whose names begin with prefix; others' stay. */
int file_sweep_drafts(const char *dir, const char *prefix, struct err *e);

/* A lock on a folder (flock on dir/lock), kept until file_unlock or process end; writes the pid
 * into it. ERR_CONFLICT names the pid that holds it. */
int file_lock_dir(const char *dir, int *lock_fd, struct err *e);
void file_unlock(int lock_fd);

/* A new file without a name in dir, to be written and read back: gone when it is closed, and when
 * the process dies. The caller closes it. */
int file_scratch(const char *dir, FILE **out, struct err *e);
/* Removes a folder and everything in it, not following links. */
int file_remove_tree(const char *path, struct err *e);

static inline void own_file_temp(struct file_temp *t)
{
    file_temp_abandon(t);
}

#endif
