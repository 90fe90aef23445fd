/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plain module for tests: one file a batch, a line for each record. What its mode file says makes
 * it misbehave, anew at each call, so that a test can mend it between two attempts.
 */
#include <holdfast/mgc_adapter.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef PLAIN_READBACK
#define PLAIN_READBACK MGC_READBACK_FULL
#endif

enum { OPTION_DIRECTORY, OPTION_MODE, OPTION_SECRET };
static const struct mgc_option options[] = {
    {.name = "directory", .type = MGC_OPTION_PATH, .required = 1, .help = "Folder of the files."},
    {.name = "mode", .type = MGC_OPTION_PATH, .help = "File that says how to misbehave."},
    {.name = "password", .type = MGC_OPTION_SECRET, .help = "Written into each file's first line."},
    {0},
};

struct plain {
    const struct mgc_host *host;
    char directory[512], mode[512], secret[64];
};

static int32_t fail(struct mgc_error *e, int32_t rc, const char *text)
{
    (void)snprintf(e->text, sizeof e->text, "%s", text);
    return rc;
}

static int is_mode(const struct plain *p, const char *mode)
{
    char line[64] = "";
    FILE *f = p->mode[0] ? fopen(p->mode, "r") : NULL;
    if (!f)
        return 0;
    if (!fgets(line, sizeof line, f))
        line[0] = '\0';
    fclose(f);
    line[strcspn(line, "\n")] = '\0';
    return strcmp(line, mode) == 0;
}

static int32_t on_check(const struct mgc_value *values, struct mgc_error *e)
{
    if (strstr(values[OPTION_DIRECTORY].text.p, "forbidden"))
        return fail(e, MGC_CONFIG, "directory: forbidden");
    return MGC_OK;
}

static int32_t on_open(const struct mgc_host *host, const struct mgc_value *values, void **instance,
                       struct mgc_error *e)
{
    struct plain *p = calloc(1, sizeof *p);
    if (!p)
        return fail(e, MGC_RETRY, "out of memory");
    p->host = host;
    (void)snprintf(p->directory, sizeof p->directory, "%s", values[OPTION_DIRECTORY].text.p);
    if (values[OPTION_MODE].set)
        (void)snprintf(p->mode, sizeof p->mode, "%s", values[OPTION_MODE].text.p);
    if (values[OPTION_SECRET].set)
        (void)snprintf(p->secret, sizeof p->secret, "%s", values[OPTION_SECRET].text.p);
    if (is_mode(p, "open-config")) {
        free(p);
        return fail(e, MGC_CONFIG, "the password is wrong");
    }
    *instance = p;
    return MGC_OK;
}

static void put_line(FILE *f, const struct mgc_record *r)
{
    fprintf(f, "%llu %s#%lld kind %u flags %u since %llu: ", (unsigned long long)r->index,
            r->room ? r->room->uri.p : "-", (long long)r->sequence, r->kind, r->flags,
            r->room ? (unsigned long long)r->room->roster_count : 0ULL);
    fwrite(r->raw.p, 1, r->raw.n, f);
    fputc('\n', f);
}

static void path_of(const struct plain *p, const struct mgc_batch *b, char *out, size_t size,
                    const char *suffix)
{
    (void)snprintf(out, size, "%s/%s.txt%s", p->directory, b->stem.p, suffix);
}

static int32_t write_to(struct plain *p, const struct mgc_batch *b, FILE *f, struct mgc_error *e)
{
    const struct mgc_record *r;
    int32_t rc = p->host->rewind(p->host->context, e);
    fprintf(f, "batch %s secret %s\n", b->id.p, p->secret);
    while (rc == MGC_OK) {
        rc = p->host->next(p->host->context, &r, e);
        if (rc == MGC_OK)
            put_line(f, r);
    }
    return rc == MGC_END ? MGC_OK : rc;
}

/* What earlier attempts settled is the batch's beginning: this module settles in order. */
static int32_t settle_all(struct plain *p, const struct mgc_batch *b, struct mgc_error *e)
{
    char path[800];
    const struct mgc_record *r;
    uint64_t first = 0;
    int32_t rc = p->host->rewind(p->host->context, e);
    while (rc == MGC_OK && (rc = p->host->next(p->host->context, &r, e)) == MGC_OK && r->settled)
        first = r->index + 1;
    if (rc != MGC_OK)
        return rc;
    path_of(p, b, path, sizeof path, "");
    const struct mgc_fact fact = {{"path", 4}, {path, strlen(path)}};
    return p->host->settle(p->host->context, first, b->records - 1, MGC_OK, &fact, 1, NULL, e);
}

static int32_t publish(struct plain *p, const struct mgc_batch *b, struct mgc_error *e)
{
    char path[800];
    char temp[800];
    path_of(p, b, path, sizeof path, "");
    path_of(p, b, temp, sizeof temp, ".part");
    FILE *f = fopen(temp, "w");
    if (!f)
        return fail(e, MGC_RETRY, "the file can't be made");
    int32_t rc = write_to(p, b, f, e);
    if (fflush(f) != 0 || fsync(fileno(f)) != 0)
        rc = fail(e, MGC_RETRY, "the file can't be written");
    fclose(f);
    if (rc != MGC_OK)
        return rc;
    if (link(temp, path) != 0 && errno != EEXIST)
        return fail(e, MGC_RETRY, "the file can't be published");
    unlink(temp);
    return MGC_OK;
}

/* Returns 1 when the mode ends the call with *rc. */
static int misbehave_before(struct plain *p, const struct mgc_batch *b, int32_t *rc,
                            struct mgc_error *e)
{
    static char rubbish[5000];
    if (is_mode(p, "crash"))
        abort();
    if (is_mode(p, "exit"))
        _exit(3);
    if (is_mode(p, "hang"))
        for (;;)
            (void)poll(NULL, 0, -1);
    if (is_mode(p, "await-cancel")) {
        struct pollfd c = {.fd = b->cancel_fd, .events = POLLIN};
        (void)poll(&c, 1, -1);
        *rc = fail(e, MGC_CANCELLED, "cancelled");
        return 1;
    }
    if (is_mode(p, "crash-cancelled")) {
        struct pollfd c = {.fd = b->cancel_fd, .events = POLLIN};
        (void)poll(&c, 1, -1);
        abort();
    }
    if (is_mode(p, "deaf")) {
        for (int fd = 3; fd < 20; fd++)
            close(fd);
        for (;;)
            (void)poll(NULL, 0, -1);
    }
    if (is_mode(p, "impostor")) { /* a verdict that is none, on the worker's own socket */
        static const char text[] = "{\"kind\":0,\"rc\":-3,\"first\":0,\"last\":0,\"facts\":[]}";
        const char head[4] = {0, 0, 0, sizeof text - 1};
        if (write(3, head, 4) != 4 || write(3, text, sizeof text - 1) != sizeof text - 1)
            abort();
        return *rc = MGC_OK, 1;
    }
    if (is_mode(p, "garbage")) {
        memset(rubbish, 'x', sizeof rubbish);
        *rc = (int32_t)write(3, rubbish, sizeof rubbish);
        *rc = MGC_OK;
        return 1;
    }
    if (is_mode(p, "lie"))
        return *rc = MGC_OK, 1;
    if (is_mode(p, "retry") ||
        (b->attempt == 1 && (is_mode(p, "find-lies") || is_mode(p, "find-retry"))))
        return *rc = fail(e, MGC_RETRY, "451 not \xff now"), 1;
    if (is_mode(p, "config"))
        return *rc = fail(e, MGC_CONFIG, "the mailbox does not exist"), 1;
    if (is_mode(p, "fault"))
        return *rc = fail(e, MGC_FAULT, "confused"), 1;
    if (is_mode(p, "rejected"))
        return *rc = fail(e, MGC_REJECTED, "550 no such archive"), 1;
    if (is_mode(p, "nonsense"))
        return *rc = 42, 1;
    return 0;
}

static int32_t settle(struct plain *p, uint64_t first, uint64_t last, int32_t verdict,
                      const char *text, struct mgc_error *e)
{
    return p->host->settle(p->host->context, first, last, verdict, NULL, 0, text, e);
}

/* MGC_OK: each is refused, and nothing of it counts. */
static int32_t settle_wrongly(struct plain *p, struct mgc_error *e)
{
    static char large[70000];
    static struct mgc_fact many[100];
    const struct mgc_host *h = p->host;
    const struct mgc_fact nameless = {{"", 0}, {"x", 1}};
    const struct mgc_fact oversized = {{"x", 1}, {large, sizeof large}};
    for (int i = 0; i < 100; i++)
        many[i] = (struct mgc_fact){{"x", 1}, {"y", 1}};
    if (settle(p, 1, 0, MGC_OK, NULL, e) != MGC_FAULT || settle(p, 0, 0, 42, NULL, e) != MGC_FAULT)
        return fail(e, MGC_CONFIG, "a wrong verdict was taken");
    if (h->settle(h->context, 0, 0, MGC_OK, many, 100, NULL, e) != MGC_FAULT ||
        h->settle(h->context, 0, 0, MGC_OK, &nameless, 1, NULL, e) != MGC_FAULT ||
        h->settle(h->context, 0, 0, MGC_OK, &oversized, 1, NULL, e) != MGC_FAULT)
        return fail(e, MGC_CONFIG, "a wrong fact was taken");
    for (int i = 0; i < 64; i++)
        many[i] = (struct mgc_fact){{"x", 1}, {memset(large, 'x', 4096), 4096}};
    if (h->settle(h->context, 0, 0, MGC_OK, many, 64, NULL, e) != MGC_FAULT)
        return fail(e, MGC_CONFIG, "too long a receipt was taken");
    return MGC_OK;
}

static int32_t misbehave_settling(struct plain *p, const struct mgc_batch *b, struct mgc_error *e)
{
    if (is_mode(p, "reject")) {
        int32_t rc = settle(p, 0, b->records - 2, MGC_OK, NULL, e);
        return rc == MGC_OK
                   ? settle(p, b->records - 1, b->records - 1, MGC_REJECTED, "552 too big", e)
                   : rc;
    }
    if (is_mode(p, "wrong-settling")) {
        int32_t rc = settle_wrongly(p, e);
        return rc == MGC_OK ? settle_all(p, b, e) : rc;
    }
    if (is_mode(p, "outside"))
        return settle(p, 0, b->records, MGC_OK, NULL, e);
    if (is_mode(p, "silent-rejection"))
        return settle(p, 0, 0, MGC_REJECTED, NULL, e);
    if (is_mode(p, "later"))
        return settle(p, 0, b->records - 1, MGC_RETRY, "greylisted", e);
    if (is_mode(p, "half")) {
        int32_t rc = settle(p, 0, 0, MGC_OK, NULL, e);
        if (rc == MGC_OK)
            raise(SIGKILL);
        return rc;
    }
    if (is_mode(p, "floods")) { /* one record after the other, each with a long receipt */
        static char large[4096];
        struct mgc_fact many[50];
        int32_t rc = MGC_OK;
        memset(large, 'x', sizeof large);
        for (int i = 0; i < 50; i++)
            many[i] = (struct mgc_fact){{"x", 1}, {large, sizeof large}};
        for (uint64_t i = 0; rc == MGC_OK && i < b->records; i++)
            rc = p->host->settle(p->host->context, i, i, MGC_OK, many, 50, NULL, e);
        return rc;
    }
    if (is_mode(p, "same-again")) {
        int32_t rc = settle(p, 0, 0, MGC_OK, NULL, e);
        return rc == MGC_OK ? fail(e, MGC_FAULT, "stuck behind its first record") : rc;
    }
    if (is_mode(p, "twice")) {
        int32_t rc = settle_all(p, b, e);
        rc = rc == MGC_OK ? settle(p, 0, b->records - 1, MGC_OK, NULL, e) : rc;
        if (rc != MGC_OK)
            return rc;
        /* Another verdict for what is settled: refused. */
        return settle(p, 0, b->records - 1, MGC_REJECTED, "changed my mind", e) == MGC_FAULT
                   ? MGC_OK
                   : MGC_REJECTED;
    }
    return settle_all(p, b, e);
}

/* MGC_OK: the host has no attachment for any record, says so, and hands out no descriptor. */
static int32_t look_for_attachments(struct plain *p, struct mgc_error *e)
{
    const struct mgc_host *h = p->host;
    const struct mgc_record *r;
    if (h->size < offsetof(struct mgc_host, open_attachment) + sizeof h->open_attachment)
        return fail(e, MGC_CONFIG, "the host is older than attachments");
    int32_t rc = h->rewind(h->context, e);
    while (rc == MGC_OK && (rc = h->next(h->context, &r, e)) == MGC_OK) {
        int32_t fd = -1;
        if (h->open_attachment(h->context, r, 0, &fd, e) != MGC_NOT_FOUND || fd != -1)
            return fail(e, MGC_CONFIG, "an attachment that nobody sent");
    }
    return rc == MGC_END ? MGC_OK : rc;
}

static int32_t on_deliver(void *instance, const struct mgc_batch *b, struct mgc_error *e)
{
    struct plain *p = instance;
    int32_t rc = MGC_OK;
    p->host->log(p->host->context, 0, "delivering");
    for (int i = 0; is_mode(p, "talks") && i < 5000; i++)
        p->host->log(p->host->context, 2, "and another thing");
    if (misbehave_before(p, b, &rc, e))
        return rc;
    rc = is_mode(p, "attachments") ? look_for_attachments(p, e) : MGC_OK;
    if (rc == MGC_OK)
        rc = publish(p, b, e);
    if (rc == MGC_OK && is_mode(p, "crash-published"))
        raise(SIGKILL);
    if (rc == MGC_OK)
        rc = misbehave_settling(p, b, e);
    if (rc == MGC_OK && is_mode(p, "crash-settled"))
        raise(SIGKILL);
    return rc;
}

/* MGC_OK: the file is there and holds just this. */
static int32_t compare(struct plain *p, const struct mgc_batch *b, struct mgc_error *e)
{
    char path[800];
    char *there = NULL;
    char *wanted = NULL;
    size_t there_n = 0;
    size_t wanted_n = 0;
    path_of(p, b, path, sizeof path, "");
    FILE *f = fopen(path, "r");
    if (!f)
        return fail(e, MGC_NOT_FOUND, "no such file");
    FILE *m = open_memstream(&wanted, &wanted_n);
    int32_t rc = m ? write_to(p, b, m, e) : MGC_RETRY;
    if (m)
        fclose(m);
    there = malloc(wanted_n + 2);
    there_n = there ? fread(there, 1, wanted_n + 2, f) : 0;
    fclose(f);
    if (rc == MGC_OK && (there_n != wanted_n || memcmp(there, wanted, wanted_n) != 0))
        rc = fail(e, MGC_FAULT, "the file holds something else");
    free(there);
    free(wanted);
    return rc;
}

static int32_t on_find(void *instance, const struct mgc_batch *b, struct mgc_error *e)
{
    struct plain *p = instance;
    /* These published before they misbehaved, and must get to misbehave again. */
    if (is_mode(p, "outside") || is_mode(p, "silent-rejection") || is_mode(p, "later") ||
        is_mode(p, "same-again") || is_mode(p, "floods"))
        return MGC_NOT_FOUND;
    if (is_mode(p, "find-retry"))
        return fail(e, MGC_RETRY, "the archive sleeps");
    if (is_mode(p, "find-lies")) /* nothing is there, and nothing was settled */
        return MGC_OK;
    int32_t rc = compare(p, b, e);
    return rc == MGC_OK ? settle_all(p, b, e) : rc;
}

static int32_t on_verify(void *instance, const struct mgc_batch *b, const struct mgc_fact *facts,
                         uint32_t count, struct mgc_error *e)
{
    struct plain *p = instance;
    if (is_mode(p, "verify-crash"))
        raise(SIGABRT);
    if (is_mode(p, "verify-retry"))
        return fail(e, MGC_RETRY, "not to be reached");
    if (is_mode(p, "verify-config"))
        return fail(e, MGC_CONFIG, "may not read");
    if (is_mode(p, "verify-rejected"))
        return fail(e, MGC_REJECTED, "not wanted");
    if (is_mode(p, "verify-settles") && settle(p, 0, 0, MGC_OK, NULL, e) == MGC_FAULT)
        return MGC_RETRY; /* with the host's text */
    if (count != 1 || strcmp(facts[0].name.p, "path") != 0 || access(facts[0].value.p, R_OK) != 0)
        return fail(e, MGC_FAULT, "the receipt names no file");
    return compare(p, b, e);
}

MGC_EXPORT const struct mgc_adapter *mgc_adapter_v0(uint32_t host_major)
{
    static const struct mgc_adapter a = {
        .size = sizeof a,
        .abi_major = MGC_ABI_MAJOR,
        .abi_minor = MGC_ABI_MINOR,
        .readback = PLAIN_READBACK,
        .name = "plain",
        .version = "1",
        .summary = "one text file a batch",
        .options = options,
        .check = on_check,
        .open = on_open,
        .deliver = on_deliver,
        .close = free,
        .find = on_find,
        .verify = on_verify,
    };
    return host_major == MGC_ABI_MAJOR ? &a : NULL;
}
