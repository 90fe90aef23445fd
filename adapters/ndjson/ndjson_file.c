/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/ndjson/ndjson_file.h"

#include "adapters/ndjson/ndjson_lines.h"
#include "base/file.h"
#include "base/own.h"

#include <errno.h>
#include <string.h>

enum { WINDOW = 256 * 1024 };

/* Writing: window[0..n) waits to be written. Comparing: window[at..n) was read and not compared. */
struct window {
    char *p;
    size_t at, n;
    int fd;
    struct sha256 *hash;
    uint64_t bytes; /* that went through before window[0] */
};

static void own_window(struct window *w)
{
    free(w->p);
    sha256_free(w->hash);
}

static int open_window(struct window *w, struct err *e)
{
    w->p = malloc(WINDOW);
    w->hash = sha256_new();
    return w->p && w->hash ? 0 : err_memory(e, "a file's window");
}

static void end_window(struct window *w, struct ndjson_written *out)
{
    sha256_end(w->hash, out->sha256);
    out->bytes = w->bytes;
}

static int flush(struct window *w, struct err *e)
{
    int rc = file_write_all(w->fd, w->p, w->n, e);
    if (rc)
        return rc;
    sha256_add(w->hash, w->p, w->n);
    w->bytes += w->n;
    w->n = 0;
    return 0;
}

static int write_bytes(void *arg, const void *bytes, size_t n, struct err *e)
{
    struct window *w = arg;
    const char *from = bytes;
    while (n) {
        size_t part = n < WINDOW - w->n ? n : WINDOW - w->n;
        memcpy(w->p + w->n, from, part);
        w->n += part;
        from += part;
        n -= part;
        int rc = w->n == WINDOW ? flush(w, e) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

int ndjson_write(int fd, struct kit_source *s, struct ndjson_written *out, struct err *e)
{
    OWN(own_window) struct window w = {.fd = fd};
    int rc = open_window(&w, e);
    if (!rc)
        rc = ndjson_lines(s, write_bytes, &w, e);
    if (!rc)
        rc = flush(&w, e);
    if (!rc)
        end_window(&w, out);
    return rc;
}

static int refill(struct window *w, struct err *e)
{
    ssize_t n;
    do
        n = read(w->fd, w->p, WINDOW);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_errno(e, ERR_RETRY, "read");
    w->bytes += w->n;
    sha256_add(w->hash, w->p, (size_t)n);
    w->at = 0;
    w->n = (size_t)n;
    return 0;
}

static int compare_bytes(void *arg, const void *bytes, size_t n, struct err *e)
{
    struct window *w = arg;
    const char *wanted = bytes;
    while (n) {
        int rc = w->at == w->n ? refill(w, e) : 0;
        if (rc)
            return rc;
        size_t part = n < w->n - w->at ? n : w->n - w->at;
        if (part == 0)
            return err_set(e, ERR_FAULT, "it ends after %llu bytes", (unsigned long long)w->bytes);
        if (memcmp(w->p + w->at, wanted, part) != 0)
            return err_set(e, ERR_FAULT, "other content within %zu bytes from byte %llu on", part,
                           (unsigned long long)(w->bytes + w->at));
        w->at += part;
        wanted += part;
        n -= part;
    }
    return 0;
}

int ndjson_compare(int fd, struct kit_source *s, struct ndjson_written *out, struct err *e)
{
    OWN(own_window) struct window w = {.fd = fd};
    int rc = open_window(&w, e);
    if (!rc)
        rc = ndjson_lines(s, compare_bytes, &w, e);
    if (!rc && w.at == w.n)
        rc = refill(&w, e);
    if (!rc && w.at < w.n)
        rc = err_set(e, ERR_FAULT, "it goes on after its %llu bytes",
                     (unsigned long long)(w.bytes + w.at));
    if (!rc)
        end_window(&w, out);
    return rc;
}
