/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the modules wrote is read back by their walkers without the batch: the same records, and
 * nothing that was cut or changed passes for an archive.
 */
#include "adapters/kit/walk.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"
#include "tests/contract/adapter_sample.h"

#include <dirent.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef int walk_fn(const char *path, struct kit_walked *out, kit_walk_fn *visit, void *arg,
                    struct err *e);

struct subject {
    const char *module;
    walk_fn *walk;
    bool whole; /* tells the records themselves, and proves them */
};

struct seen {
    uint8_t hashes[BATCH_RECORDS_MAX][SHA256_SIZE];
    size_t n, exceptions;
    bool whole, wrong;
};

static char scratch[] = "/tmp/hf-walk.XXXXXX";

static int note(void *arg, const struct kit_walk_record *r, struct err *e)
{
    struct seen *s = arg;
    uint8_t hash[SHA256_SIZE];
    (void)e;
    if (s->n == BATCH_RECORDS_MAX)
        return err_set(e, ERR_REJECTED, "too many");
    memcpy(s->hashes[s->n++], r->hash, SHA256_SIZE);
    s->exceptions += r->exception;
    if (!s->whole)
        return 0;
    sha256(r->raw.p ? r->raw.p : "", r->raw.n, hash);
    s->wrong |= memcmp(hash, r->hash, sizeof hash) != 0;
    return 0;
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, SHA256_SIZE);
}

/* The same records, in whatever order the archive has them. */
static bool same(struct seen *s, const struct sample *sample)
{
    uint8_t wanted[BATCH_RECORDS_MAX][SHA256_SIZE];
    if (s->n != sample->batch.records || s->wrong)
        return false;
    for (size_t i = 0; i < s->n; i++)
        memcpy(wanted[i], sample->records[i].sha256, SHA256_SIZE);
    qsort(wanted, s->n, SHA256_SIZE, by_bytes);
    qsort(s->hashes, s->n, SHA256_SIZE, by_bytes);
    return memcmp(wanted, s->hashes, s->n * (size_t)SHA256_SIZE) == 0;
}

/* The folder's one file. */
static void only_file(const char *folder, char path[600])
{
    DIR *d = opendir(folder);
    int n = 0;
    assert_non_null(d);
    for (const struct dirent *entry = readdir(d); entry; entry = readdir(d)) {
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, 600, "%s/%s", folder, entry->d_name);
        n++;
    }
    (void)closedir(d);
    assert_int_equal(n, 1);
}

static void deliver(const struct subject *u, struct sample *s, const char *name, char path[600])
{
    struct host h;
    struct mgc_error e = {.size = sizeof e};
    char work[300];
    char folder[300];
    (void)snprintf(work, sizeof work, "%s/%s-%s.work", scratch, u->module, name);
    (void)snprintf(folder, sizeof folder, "%s/%s-%s", scratch, u->module, name);
    assert_int_equal(file_make_dirs(work, NULL), 0);
    host_init(&h, HOLDFAST_MODULES, u->module, work);
    host_option(&h, "directory", folder);
    host_batch(&h, s);
    if (host_deliver(&h, &e) != MGC_OK)
        fail_msg("%s: %s", u->module, e.text);
    host_done(&h);
    only_file(folder, path);
}

static void assert_walked(const struct kit_walked *w, const struct sample *s)
{
    assert_string_equal(w->batch, s->batch.id.p);
    assert_string_equal(w->instance, s->batch.instance.p);
    assert_int_equal(w->number, s->batch.number);
    assert_int_equal(w->records, s->batch.records);
    assert_int_equal(w->cut_us, s->batch.cut_us);
    assert_memory_equal(w->sha256, s->batch.sha256, SHA256_SIZE);
}

static size_t exceptions_of(const struct subject *u, const struct sample *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->batch.records; i++) {
        const struct mgc_record *r = &s->records[i];
        bool lines = r->raw.n && memchr(r->raw.p, '\n', (size_t)r->raw.n);
        n += (r->flags & MGC_RECORD_UNREADABLE) || (u->whole && (lines || !r->room || !r->raw.n));
    }
    return n;
}

static void read_back(const struct subject *u, void fill(struct sample *s), const char *name,
                      char path[600])
{
    static struct sample s;
    struct seen seen = {.whole = u->whole};
    struct kit_walked w;
    struct err e = {0};
    s = (struct sample){0};
    fill(&s);
    deliver(u, &s, name, path);
    if (u->walk(path, &w, note, &seen, &e) < 0)
        fail_msg("%s", e.text);
    assert_walked(&w, &s);
    assert_true(same(&seen, &s));
    assert_int_equal(seen.exceptions, exceptions_of(u, &s));
    sample_done(&s);
}

static void an_archive_is_read_back(void **state)
{
    char path[600];
    read_back(*state, sample_mixed, "mixed", path);
    read_back(*state, sample_large, "large", path);
}

static void write_as(const char *path, const char *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static int walk_as(const struct subject *u, const char *path, struct seen *seen)
{
    struct kit_walked w;
    struct err e = {0};
    *seen = (struct seen){.whole = u->whole};
    int rc = u->walk(path, &w, note, seen, &e);
    assert_true(rc == 0 || e.text[0]);
    return rc;
}

static void what_was_cut_or_changed_is_none(void **state)
{
    const struct subject *u = *state;
    static struct sample s;
    OWN(own_buf) struct buf whole;
    struct seen seen;
    char path[600];
    char other[600];
    s = (struct sample){0};
    sample_mixed(&s);
    deliver(u, &s, "damaged", path);
    buf_init(&whole, 64 << 20);
    assert_int_equal(file_read(path, 64 << 20, &whole, NULL), 0);
    (void)snprintf(other, sizeof other, "%s/%s-damaged", scratch, u->module);
    (void)snprintf(other + strlen(other), sizeof other - strlen(other), ".other");
    for (size_t n = 0; n + 1 < whole.n; n += 1 + whole.n / 97) {
        write_as(other, whole.p, n);
        assert_true(walk_as(u, other, &seen) < 0);
    }
    for (size_t i = 0; u->whole && i < whole.n; i += 1 + whole.n / 499) {
        whole.p[i] = (char)(whole.p[i] ^ 1);
        write_as(other, whole.p, whole.n);
        if (walk_as(u, other, &seen) == 0)
            assert_true(same(&seen, &s)); /* a byte that says nothing about the records */
        whole.p[i] = (char)(whole.p[i] ^ 1);
    }
    sample_done(&s);
    assert_int_equal(u->walk("/nowhere/at/all", &(struct kit_walked){0}, note, &seen, NULL) < 0, 1);
}

int main(void)
{
    static struct subject tar = {"tar", tar_walk, true};
    static struct subject ndjson = {"ndjson", ndjson_walk, true};
    static struct subject xml = {"xml", xml_walk, false};
    (void)setlocale(LC_CTYPE, "C.UTF-8");
    if (!mkdtemp(scratch))
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(an_archive_is_read_back, &tar),
        cmocka_unit_test_prestate(an_archive_is_read_back, &ndjson),
        cmocka_unit_test_prestate(an_archive_is_read_back, &xml),
        cmocka_unit_test_prestate(what_was_cut_or_changed_is_none, &tar),
        cmocka_unit_test_prestate(what_was_cut_or_changed_is_none, &ndjson),
        cmocka_unit_test_prestate(what_was_cut_or_changed_is_none, &xml),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)file_remove_tree(scratch, NULL);
    return failed;
}
