/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ndjson module: one file <stem>.ndjson a batch, each record as first written, the manifest as
 * its last line. Written in one pass and read back in one; a name that exists is compared with the
 * batch, never rewritten.
 */
#include "adapters/ndjson/ndjson_file.h"
#include "base/file.h"
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { OPTION_DIRECTORY };
static const struct mgc_option options[] = {
    {.name = "directory",
     .type = MGC_OPTION_PATH,
     .required = 1,
     .help = "Folder the files are written to; made when it is not there."},
    {0},
};

struct ndjson {
    const struct mgc_host *host;
    char directory[PATH_MAX];
};

static int ndjson_open(const struct mgc_host *host, const struct mgc_value *values,
                       struct ndjson **out, struct err *e)
{
    OWN(own_mem) struct ndjson *n = calloc(1, sizeof *n);
    if (!n)
        return err_memory(e, "ndjson instance");
    n->host = host;
    int rc = kit_folder("directory", &values[OPTION_DIRECTORY], n->directory, e);
    if (rc)
        return rc;
    *out = n;
    n = NULL;
    return 0;
}

static int path_of(const struct ndjson *n, const struct mgc_batch *batch, char name[NAME_MAX],
                   char path[PATH_MAX], struct err *e)
{
    int a = snprintf(name, NAME_MAX, "%s.ndjson", batch->stem.p);
    int b = snprintf(path, PATH_MAX, "%s/%s", n->directory, name);
    if (a < 0 || a >= NAME_MAX || b < 0 || b >= PATH_MAX)
        return err_set(e, ERR_CONFIG, "batch %s: its file name is too long", batch->id.p);
    return 0;
}

/* ERR_NOT_FOUND: there is no such file. */
static int compare_file(const char *path, struct kit_source *s, struct ndjson_written *w,
                        struct err *e)
{
    OWN(own_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_RETRY, "open %s", path);
    int rc = ndjson_compare(fd, s, w, e);
    return rc ? err_wrap(e, "%s", path) : 0;
}

static int settle(struct kit_source *s, const char *path, const struct ndjson_written *w,
                  struct err *e)
{
    char bytes[24];
    char hex[SHA256_HEX];
    (void)snprintf(bytes, sizeof bytes, "%llu", (unsigned long long)w->bytes);
    hex_encode(w->sha256, SHA256_SIZE, hex);
    const struct mgc_fact facts[] = {kit_fact("path", path), kit_fact("bytes", bytes),
                                     kit_fact("sha256", hex)};
    return kit_source_settle(s, 0, s->batch->records - 1, 0, facts, 3, NULL, e);
}

/* ERR_CONFLICT: the name is taken. */
static int write_file(const struct ndjson *n, const char *name, struct kit_source *s,
                      struct ndjson_written *w, struct err *e)
{
    OWN(own_file_temp) struct file_temp temp = {.dir_fd = -1, .temp_dir_fd = -1, .fd = -1};
    int rc = file_sweep_drafts(n->directory, s->batch->stem.p, e);
    if (!rc)
        rc = file_draft_open(&temp, n->directory, name, 0440, e);
    if (!rc)
        rc = ndjson_write(temp.fd, s, w, e);
    return rc ? rc : file_temp_publish(&temp, e);
}

/* Of an attempt that died between publishing and settling, maybe before the name was durable. */
static int accept_existing(const struct ndjson *n, const char *path, struct kit_source *s,
                           struct ndjson_written *w, struct err *e)
{
    int rc = compare_file(path, s, w, e);
    return rc ? rc : file_sync_dir(n->directory, e);
}

static int deliver(const struct ndjson *n, struct kit_source *s, struct err *e)
{
    char name[NAME_MAX];
    char path[PATH_MAX];
    struct ndjson_written written;
    int rc = path_of(n, s->batch, name, path, e);
    if (rc || s->batch->records == 0)
        return rc;
    rc = write_file(n, name, s, &written, e);
    if (rc == ERR_CONFLICT)
        rc = accept_existing(n, path, s, &written, e);
    return rc ? rc : settle(s, path, &written, e);
}

static int find(const struct ndjson *n, struct kit_source *s, struct err *e)
{
    char name[NAME_MAX];
    char path[PATH_MAX];
    struct ndjson_written found;
    int rc = path_of(n, s->batch, name, path, e);
    if (rc || s->batch->records == 0)
        return rc;
    rc = accept_existing(n, path, s, &found, e);
    return rc ? rc : settle(s, path, &found, e);
}

/* The receipt's path is where the file was put, whatever the folder is called now. */
static int verify(const struct ndjson *n, struct kit_source *s, const struct mgc_fact *facts,
                  uint32_t count, struct err *e)
{
    char name[NAME_MAX];
    char path[PATH_MAX];
    char hex[SHA256_HEX];
    struct ndjson_written found;
    int rc = path_of(n, s->batch, name, path, e);
    if (rc || s->batch->records == 0)
        return rc;
    const struct mgc_fact *where = kit_fact_find(facts, count, "path");
    if (where && !slice_copy(kit_slice(where->value), path, sizeof path))
        return err_set(e, ERR_FAULT, "receipt: its path is no path");
    rc = compare_file(path, s, &found, e);
    if (rc == ERR_NOT_FOUND)
        return err_set(e, ERR_FAULT, "%s: no such file", path);
    if (rc)
        return rc;
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
    struct ndjson *n = NULL;
    int rc = ndjson_open(host, values, &n, &e);
    if (!rc)
        *instance = n;
    return kit_result(rc, &e, out);
}

static int32_t on_deliver(void *instance, const struct mgc_batch *batch, struct mgc_error *out)
{
    struct err e = {0};
    const struct ndjson *n = instance;
    OWN(own_kit_source) struct kit_source s;
    int rc = kit_source_init(&s, n->host, batch, &e);
    if (!rc)
        rc = deliver(n, &s, &e);
    return kit_result(rc, &e, out);
}

static int32_t on_find(void *instance, const struct mgc_batch *batch, struct mgc_error *out)
{
    struct err e = {0};
    const struct ndjson *n = instance;
    OWN(own_kit_source) struct kit_source s;
    int rc = kit_source_init(&s, n->host, batch, &e);
    if (!rc)
        rc = find(n, &s, &e);
    return rc == ERR_NOT_FOUND ? MGC_NOT_FOUND : kit_result(rc, &e, out);
}

static int32_t on_verify(void *instance, const struct mgc_batch *batch,
                         const struct mgc_fact *facts, uint32_t count, struct mgc_error *out)
{
    struct err e = {0};
    const struct ndjson *n = instance;
    OWN(own_kit_source) struct kit_source s;
    int rc = kit_source_init(&s, n->host, batch, &e);
    if (!rc)
        rc = verify(n, &s, facts, count, &e);
    return kit_result(rc, &e, out);
}

MGC_EXPORT const struct mgc_adapter *mgc_adapter_v0(uint32_t host_major)
{
    static const struct mgc_adapter adapter = {
        .size = sizeof adapter,
        .abi_major = MGC_ABI_MAJOR,
        .abi_minor = MGC_ABI_MINOR,
        .readback = MGC_READBACK_FULL,
        .name = "ndjson",
        .version = "0.1.0",
        .summary = "one file of lines a batch, every record as first written",
        .options = options,
        .open = on_open,
        .deliver = on_deliver,
        .close = free,
        .find = on_find,
        .verify = on_verify,
        .raw_only = 1,
    };
    return host_major == MGC_ABI_MAJOR ? &adapter : NULL;
}
