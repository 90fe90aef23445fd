/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tar module: one archive <stem>.tar.zst a batch, holding every record as first written. Which
 * archive it is says the uncompressed content; a name that exists is read and compared with the
 * batch, never rewritten. What it holds is tar_plan's, the bytes are tar_write's and tar_read's.
 */
#include "adapters/tar/tar_read.h"
#include "adapters/tar/tar_write.h"
#include "base/file.h"
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

enum { OPTION_DIRECTORY, OPTION_LEVEL };
static const struct mgc_option options[] = {
    {.name = "directory",
     .type = MGC_OPTION_PATH,
     .required = 1,
     .help = "Folder the archives are written to; made when it is not there."},
    {.name = "level",
     .type = MGC_OPTION_INT,
     .fallback = "3",
     .min = 1,
     .max = 19,
     .help = "How hard zstd compresses: 1 is quick, 19 is small."},
    {0},
};

struct tar {
    const struct mgc_host *host;
    char directory[PATH_MAX];
    int level;
};

static int tar_open(const struct mgc_host *host, const struct mgc_value *values, struct tar **out,
                    struct err *e)
{
    OWN(own_mem) struct tar *t = calloc(1, sizeof *t);
    if (!t)
        return err_memory(e, "tar instance");
    t->host = host;
    t->level = (int)values[OPTION_LEVEL].number;
    int rc = kit_folder("directory", &values[OPTION_DIRECTORY], t->directory, e);
    if (rc)
        return rc;
    *out = t;
    t = NULL;
    return 0;
}

struct facts {
    char path[PATH_MAX];
    char bytes[24], sha256[SHA256_HEX], manifest[SHA256_HEX];
    struct mgc_fact list[4];
};

static void make_facts(struct facts *f, const char *path, const struct tar_plan *p,
                       const struct tar_written *w)
{
    (void)snprintf(f->path, sizeof f->path, "%s", path);
    (void)snprintf(f->bytes, sizeof f->bytes, "%llu", (unsigned long long)w->bytes);
    hex_encode(w->sha256, SHA256_SIZE, f->sha256);
    hex_encode(p->manifest_sha256, SHA256_SIZE, f->manifest);
    f->list[0] = kit_fact("path", f->path);
    f->list[1] = kit_fact("bytes", f->bytes);
    f->list[2] = kit_fact("sha256", f->sha256);
    f->list[3] = kit_fact("manifest-sha256", f->manifest);
}

static int path_of(const struct tar *t, const struct mgc_batch *batch, char name[NAME_MAX],
                   char path[PATH_MAX], struct err *e)
{
    int n = snprintf(name, NAME_MAX, "%s.tar.zst", batch->stem.p);
    int m = snprintf(path, PATH_MAX, "%s/%s", t->directory, name);
    if (n < 0 || n >= NAME_MAX || m < 0 || m >= PATH_MAX)
        return err_set(e, ERR_CONFIG, "batch %s: its file name is too long", batch->id.p);
    return 0;
}

/* ERR_NOT_FOUND: no such file. */
static int compare_file(const char *path, struct tar_plan *p, struct tar_written *w, struct err *e)
{
    OWN(own_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_errno(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_RETRY, "open %s", path);
    int rc = tar_read_compare(fd, p, w, e);
    return rc ? err_wrap(e, "%s", path) : 0;
}

static int write_file(const struct tar *t, const char *name, struct tar_plan *p,
                      struct kit_source *s, struct tar_written *w, struct err *e)
{
    OWN(own_file_temp) struct file_temp temp = {.dir_fd = -1, .temp_dir_fd = -1, .fd = -1};
    int rc = file_draft_open(&temp, t->directory, name, 0440, e);
    if (!rc)
        rc = tar_write(temp.fd, t->level, p, s, w, e);
    return rc ? rc : file_temp_publish(&temp, e);
}

/* The file may be there already: of an attempt that died between publishing and settling. */
static int deliver(struct tar *t, struct kit_source *s, struct err *e)
{
    char name[NAME_MAX];
    char path[PATH_MAX];
    OWN(own_tar_plan) struct tar_plan plan = {0};
    struct tar_written written;
    int rc = path_of(t, s->batch, name, path, e);
    if (!rc)
        rc = file_sweep_drafts(t->directory, s->batch->stem.p, e);
    if (!rc)
        rc = tar_plan_make(&plan, s, e);
    if (rc || s->batch->records == 0)
        return rc;
    rc = compare_file(path, &plan, &written, e);
    if (rc == ERR_NOT_FOUND)
        rc = write_file(t, name, &plan, s, &written, e);
    /* Its maker may have died before the name was durable. */
    if (!rc)
        rc = file_sync_dir(t->directory, e);
    if (rc)
        return rc;
    struct facts facts;
    make_facts(&facts, path, &plan, &written);
    return kit_source_settle(s, 0, s->batch->records - 1, 0, facts.list, 4, NULL, e);
}

/* The receipt's path is where the file was put, whatever the folder is called now. The compressed
 * file's digest is compared too: its bytes must be those that were settled. */
static int verify(const struct tar *t, struct kit_source *s, const struct mgc_fact *facts,
                  uint32_t count, struct err *e)
{
    char name[NAME_MAX];
    char path[PATH_MAX];
    OWN(own_tar_plan) struct tar_plan plan = {0};
    struct tar_written found;
    int rc = path_of(t, s->batch, name, path, e);
    const struct mgc_fact *where = kit_fact_find(facts, count, "path");
    if (!rc && where && !slice_copy(kit_slice(where->value), path, sizeof path))
        return err_set(e, ERR_FAULT, "receipt: its path is no path");
    if (!rc)
        rc = tar_plan_make(&plan, s, e);
    if (rc || s->batch->records == 0)
        return rc;
    rc = compare_file(path, &plan, &found, e);
    if (rc == ERR_NOT_FOUND)
        return err_set(e, ERR_FAULT, "%s: no such file", path);
    if (rc)
        return rc;
    char hex[SHA256_HEX];
    hex_encode(found.sha256, SHA256_SIZE, hex);
    const struct mgc_fact *digest = kit_fact_find(facts, count, "sha256");
    if (digest && !slice_is(kit_slice(digest->value), hex))
        return err_set(e, ERR_FAULT, "%s: its sha256 is not the receipt's", path);
    return 0;
}

static int32_t on_open(const struct mgc_host *host, const struct mgc_value *values, void **instance,
                       struct mgc_error *out)
{
    struct err e = {0};
    struct tar *t = NULL;
    int rc = tar_open(host, values, &t, &e);
    if (!rc)
        *instance = t;
    return kit_result(rc, &e, out);
}

static int32_t on_deliver(void *instance, const struct mgc_batch *batch, struct mgc_error *out)
{
    struct err e = {0};
    struct tar *t = instance;
    OWN(own_kit_source) struct kit_source s;
    int rc = kit_source_init(&s, t->host, batch, &e);
    if (!rc)
        rc = deliver(t, &s, &e);
    return kit_result(rc, &e, out);
}

static int32_t on_verify(void *instance, const struct mgc_batch *batch,
                         const struct mgc_fact *facts, uint32_t count, struct mgc_error *out)
{
    struct err e = {0};
    struct tar *t = instance;
    OWN(own_kit_source) struct kit_source s;
    int rc = kit_source_init(&s, t->host, batch, &e);
    if (!rc)
        rc = verify(t, &s, facts, count, &e);
    return kit_result(rc, &e, out);
}

MGC_EXPORT const struct mgc_adapter *mgc_adapter_v0(uint32_t host_major)
{
    static const struct mgc_adapter adapter = {
        .size = sizeof adapter,
        .abi_major = MGC_ABI_MAJOR,
        .abi_minor = MGC_ABI_MINOR,
        .readback = MGC_READBACK_FULL,
        .name = "tar",
        .version = "0.1.0",
        .summary = "one compressed archive a batch, with every record as first written",
        .options = options,
        .open = on_open,
        .deliver = on_deliver,
        .close = free,
        .verify = on_verify,
        .raw_only = 1,
    };
    return host_major == MGC_ABI_MAJOR ? &adapter : NULL;
}
