/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/tar/tar_write.h"

#include "base/file.h"
#include "base/own.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>

struct writer {
    struct archive *archive;
    struct archive_entry *entry;
    int fd;
    time_t mtime;
    struct sha256 *hash; /* of the compressed bytes */
    uint64_t bytes;
    struct err cause; /* of a failed write: libarchive keeps only its own text */
};

static void own_writer(struct writer *w)
{
    if (w->archive)
        (void)archive_write_free(w->archive);
    if (w->entry)
        archive_entry_free(w->entry);
    sha256_free(w->hash);
}

static la_ssize_t on_bytes(struct archive *a, void *arg, const void *bytes, size_t n)
{
    struct writer *w = arg;
    if (file_write_all(w->fd, bytes, n, &w->cause)) {
        archive_set_error(a, EIO, "%s", w->cause.text);
        return -1;
    }
    sha256_add(w->hash, bytes, n);
    w->bytes += n;
    return (la_ssize_t)n;
}

static int failed(struct writer *w, const char *doing, struct err *e)
{
    if (w->cause.class)
        return err_set(e, w->cause.class, "%s: %s", doing, w->cause.text);
    return err_set(e, ERR_RETRY, "%s: %s", doing, archive_error_string(w->archive));
}

static int open_archive(struct writer *w, int level, struct err *e)
{
    char text[12];
    (void)snprintf(text, sizeof text, "%d", level);
    w->archive = archive_write_new();
    w->entry = archive_entry_new();
    w->hash = sha256_new();
    if (!w->archive || !w->entry || !w->hash)
        return err_memory(e, "archive");
    /* Restricted pax writes plain ustar headers where they suffice: all our names and times do. */
    if (archive_write_set_format_pax_restricted(w->archive) != ARCHIVE_OK ||
        archive_write_add_filter_zstd(w->archive) != ARCHIVE_OK ||
        archive_write_set_filter_option(w->archive, "zstd", "compression-level", text) !=
            ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(w->archive, 1) != ARCHIVE_OK)
        return err_set(e, ERR_CONFIG, "libarchive: %s", archive_error_string(w->archive));
    if (archive_write_open(w->archive, w, NULL, on_bytes, NULL) != ARCHIVE_OK)
        return failed(w, "open archive", e);
    return 0;
}

static int begin_member(struct writer *w, const char *name, uint64_t size, struct err *e)
{
    archive_entry_clear(w->entry);
    archive_entry_set_pathname(w->entry, name);
    archive_entry_set_filetype(w->entry, AE_IFREG);
    archive_entry_set_perm(w->entry, 0444);
    archive_entry_set_mtime(w->entry, w->mtime, 0);
    archive_entry_set_size(w->entry, (la_int64_t)size);
    if (archive_write_header(w->archive, w->entry) != ARCHIVE_OK)
        return failed(w, name, e);
    return 0;
}

static int put(struct writer *w, const void *bytes, size_t n, struct err *e)
{
    if (n && archive_write_data(w->archive, bytes, n) != (la_ssize_t)n)
        return failed(w, "write archive", e);
    return 0;
}

static int write_front(struct writer *w, struct tar_plan *p, struct err *e)
{
    int rc = begin_member(w, TAR_README, strlen(tar_readme), e);
    if (!rc)
        rc = put(w, tar_readme, strlen(tar_readme), e);
    if (!rc)
        rc = begin_member(w, TAR_MANIFEST, p->manifest_bytes, e);
    char part[16384];
    for (uint64_t left = p->manifest_bytes; !rc && left;) {
        size_t n = fread(part, 1, left < sizeof part ? (size_t)left : sizeof part, p->manifest);
        if (n == 0)
            return err_set(e, ERR_FAULT, "scratch manifest: cut short");
        rc = put(w, part, n, e);
        left -= n;
    }
    return rc;
}

static int write_rooms(struct writer *w, struct tar_plan *p, struct kit_source *s, struct err *e)
{
    bool open = false;
    uint64_t room = 0;
    int rc = kit_source_rewind(s, e);
    while (!rc) {
        const struct mgc_record *r;
        rc = kit_source_next(s, &r, e);
        if (rc || !r)
            return rc;
        if (!tar_is_line(r))
            continue;
        if (!open || r->room->index != room) {
            struct tar_member m;
            rc = tar_plan_next(p, &m, e);
            if (!rc)
                rc = begin_member(w, m.name, m.bytes, e);
            open = true;
            room = r->room->index;
        }
        if (!rc)
            rc = put(w, r->raw.p, (size_t)r->raw.n, e);
        if (!rc)
            rc = put(w, "\n", 1, e);
    }
    return rc;
}

static int write_exceptions(struct writer *w, struct tar_plan *p, struct kit_source *s,
                            struct err *e)
{
    int rc = kit_source_rewind(s, e);
    while (!rc) {
        const struct mgc_record *r;
        rc = kit_source_next(s, &r, e);
        if (rc || !r)
            return rc;
        if (tar_is_line(r))
            continue;
        struct tar_member m;
        rc = tar_plan_next(p, &m, e);
        if (!rc)
            rc = begin_member(w, m.name, m.bytes, e);
        if (!rc)
            rc = put(w, r->raw.p, (size_t)r->raw.n, e);
    }
    return rc;
}

int tar_write(int fd, int level, struct tar_plan *p, struct kit_source *s, struct tar_written *out,
              struct err *e)
{
    OWN(own_writer)
    struct writer w = {.fd = fd, .mtime = (time_t)(s->batch->cut_us / 1000000)};
    int rc = tar_plan_rewind(p, e);
    if (!rc)
        rc = open_archive(&w, level, e);
    if (!rc)
        rc = write_front(&w, p, e);
    if (!rc)
        rc = write_rooms(&w, p, s, e);
    if (!rc && p->exceptions)
        rc = write_exceptions(&w, p, s, e);
    if (rc)
        return rc;
    if (archive_write_close(w.archive) != ARCHIVE_OK)
        return failed(&w, "close archive", e);
    sha256_end(w.hash, out->sha256);
    out->bytes = w.bytes;
    return 0;
}
