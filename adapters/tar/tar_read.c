/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/tar/tar_read.h"

#include "base/own.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

struct reader {
    struct archive *archive;
    int fd;
    struct sha256 *file;   /* the compressed bytes */
    struct sha256 *member; /* the content of the current member */
    uint64_t bytes;
    char part[16384];
};

static void own_reader(struct reader *r)
{
    if (r->archive)
        (void)archive_read_free(r->archive);
    sha256_free(r->file);
    sha256_free(r->member);
}

static la_ssize_t on_read(struct archive *a, void *arg, const void **bytes)
{
    struct reader *r = arg;
    ssize_t n;
    do
        n = read(r->fd, r->part, sizeof r->part);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        archive_set_error(a, errno, "read: errno %d", errno);
        return -1;
    }
    sha256_add(r->file, r->part, (size_t)n);
    r->bytes += (uint64_t)n;
    *bytes = r->part;
    return n;
}

static int open_reader(struct reader *r, struct err *e)
{
    r->archive = archive_read_new();
    r->file = sha256_new();
    r->member = sha256_new();
    if (!r->archive || !r->file || !r->member)
        return err_memory(e, "read archive");
    if (archive_read_support_filter_zstd(r->archive) != ARCHIVE_OK ||
        archive_read_support_format_tar(r->archive) != ARCHIVE_OK)
        return err_set(e, ERR_CONFIG, "libarchive: %s", archive_error_string(r->archive));
    if (archive_read_open(r->archive, r, NULL, on_read, NULL) != ARCHIVE_OK)
        return err_set(e, ERR_FAULT, "open archive: %s", archive_error_string(r->archive));
    return 0;
}

static int compare_member(struct reader *r, const struct tar_member *want, struct err *e)
{
    struct archive_entry *entry;
    int rc = archive_read_next_header(r->archive, &entry);
    if (rc == ARCHIVE_EOF)
        return err_set(e, ERR_FAULT, "member %s is missing", want->name);
    if (rc != ARCHIVE_OK)
        return err_set(e, ERR_FAULT, "before member %s: %s", want->name,
                       archive_error_string(r->archive));
    const char *name = archive_entry_pathname(entry);
    if (!name || strcmp(name, want->name) != 0)
        return err_set(e, ERR_FAULT, "member %s is missing, another is in its place", want->name);

    uint64_t total = 0;
    for (;;) {
        char part[16384];
        la_ssize_t n = archive_read_data(r->archive, part, sizeof part);
        if (n < 0)
            return err_set(e, ERR_FAULT, "member %s: %s", want->name,
                           archive_error_string(r->archive));
        if (n == 0)
            break;
        sha256_add(r->member, part, (size_t)n);
        total += (uint64_t)n;
    }
    uint8_t digest[SHA256_SIZE];
    sha256_end(r->member, digest);
    if (total != want->bytes || memcmp(digest, want->sha256, sizeof digest) != 0)
        return err_set(e, ERR_FAULT, "member %s has other content", want->name);
    return 0;
}

static int compare_front(struct reader *r, const struct tar_plan *p, struct err *e)
{
    struct tar_member readme = {.name = TAR_README, .bytes = strlen(tar_readme)};
    sha256(tar_readme, strlen(tar_readme), readme.sha256);
    int rc = compare_member(r, &readme, e);
    if (rc)
        return rc;
    struct tar_member manifest = {.name = TAR_MANIFEST, .bytes = p->manifest_bytes};
    memcpy(manifest.sha256, p->manifest_sha256, sizeof manifest.sha256);
    return compare_member(r, &manifest, e);
}

/* libarchive stops at the end-of-archive blocks; the digest must cover the file to its last byte.
 */
static int compare_end(struct reader *r, struct err *e)
{
    struct archive_entry *entry;
    int rc = archive_read_next_header(r->archive, &entry);
    if (rc != ARCHIVE_EOF)
        return err_set(e, ERR_FAULT, "more members than the batch has");
    for (;;) {
        const void *unused;
        la_ssize_t n = on_read(r->archive, r, &unused);
        if (n < 0)
            return err_set(e, ERR_RETRY, "read archive: %s", archive_error_string(r->archive));
        if (n == 0)
            return 0;
    }
}

int tar_read_compare(int fd, struct tar_plan *p, struct tar_written *w, struct err *e)
{
    OWN(own_reader) struct reader r = {.fd = fd};
    int rc = tar_plan_rewind(p, e);
    if (!rc)
        rc = open_reader(&r, e);
    if (!rc)
        rc = compare_front(&r, p, e);
    for (uint64_t i = 0; !rc && i < p->count; i++) {
        struct tar_member m;
        rc = tar_plan_next(p, &m, e);
        if (!rc)
            rc = compare_member(&r, &m, e);
    }
    if (!rc)
        rc = compare_end(&r, e);
    if (rc)
        return rc;
    sha256_end(r.file, w->sha256);
    w->bytes = r.bytes;
    return 0;
}
