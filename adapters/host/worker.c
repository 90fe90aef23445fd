/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `holdfast worker`: a process for one attempt. It loads one module, opens one instance and gives
 * it one batch; what the module settles goes to the archiver over the socket and is answered once
 * it is durable. It has no database, no secrets but the adapter's own, and may crash at any time.
 */
#include "adapters/host/archiver.h"
#include "adapters/host/child.h"
#include "adapters/host/loader.h"
#include "adapters/host/spool.h"
#include "adapters/host/wire.h"
#include "adapters/host/worker_end.h"
#include "base/fault.h"
#include "base/frame.h"
#include "base/own.h"

#include <locale.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { ENDED = 0, NOT_HEARD = 1, MISUSED = 2 };

struct guest {
    struct mgc_adapter adapter;
    struct wire_task task;
    struct arena arena;
    struct json_doc *doc;
    struct buf out, in;
    struct spool *spool;
    struct mgc_host host;
    struct mgc_value values[WIRE_MAX_OPTIONS];
    void *instance;
};

/* Without the archiver there is nobody to settle with: end at once, the batch comes again. */
static void tell(struct guest *g)
{
    struct err e = {0};
    if (buf_ok(&g->out, "a message", &e) < 0 || frame_send(CHILD_SOCKET, buf_view(&g->out), &e) < 0)
        _exit(NOT_HEARD);
    buf_clear(&g->out);
}

static int32_t say(struct mgc_error *e, int32_t rc, const char *text)
{
    size_t n = strnlen(text, sizeof e->text - 1);
    if (e) {
        memcpy(e->text, text, n);
        e->text[n] = '\0';
    }
    return rc;
}

static void host_log(void *context, uint32_t level, const char *text)
{
    struct guest *g = context;
    wire_log_write(&g->out, level, text);
    tell(g);
}

static int32_t host_next(void *context, const struct mgc_record **out, struct mgc_error *me)
{
    struct guest *g = context;
    struct err e = {0};
    int rc = spool_next(g->spool, out, &e);
    if (rc == 1)
        return MGC_OK;
    return rc == 0 ? MGC_END : say(me, rc == ERR_RETRY ? MGC_RETRY : MGC_FAULT, e.text);
}

static int32_t host_rewind(void *context, struct mgc_error *me)
{
    struct guest *g = context;
    struct err e = {0};
    return spool_rewind(g->spool, &e) < 0 ? say(me, MGC_RETRY, e.text) : MGC_OK;
}

static const char *settle_refused(const struct guest *g, uint64_t first, uint64_t last,
                                  int32_t verdict, const struct mgc_fact *facts, uint32_t n,
                                  const char *text)
{
    if (g->task.what != WIRE_DELIVER)
        return "settle: only while a batch is delivered";
    if (first > last || last >= (uint64_t)g->task.records)
        return "settle: no such records in the batch";
    if (verdict != MGC_OK && verdict != MGC_REJECTED && verdict != MGC_RETRY)
        return "settle: unknown verdict";
    if (verdict == MGC_REJECTED && (!text || !text[0]))
        return "settle: a rejection needs a text";
    if (n > WIRE_MAX_FACTS)
        return "settle: too many facts";
    for (uint32_t i = 0; i < n; i++) {
        if (facts[i].name.n == 0 || facts[i].name.n > WIRE_MAX_FACT ||
            facts[i].value.n > WIRE_MAX_FACT)
            return "settle: a fact without a name, or too long";
    }
    return NULL;
}

static int32_t host_settle(void *context, uint64_t first, uint64_t last, int32_t verdict,
                           const struct mgc_fact *facts, uint32_t fact_count, const char *text,
                           struct mgc_error *me)
{
    struct guest *g = context;
    struct err e = {0};
    int32_t rc = 0;
    struct slice why = {0};
    const char *refused = settle_refused(g, first, last, verdict, facts, fact_count, text);
    if (refused)
        return say(me, MGC_FAULT, refused);
    wire_settle_write(&g->out, first, last, verdict, facts, fact_count, text);
    if (g->out.failed || g->out.n > CHILD_MAX_MESSAGE) {
        buf_clear(&g->out);
        return say(me, MGC_FAULT, "settle: the receipt is too long");
    }
    FAULT("worker.settle.before");
    tell(g);
    if (frame_recv(CHILD_SOCKET, CHILD_MAX_MESSAGE, -1, &g->in, &e) < 0 ||
        wire_answer_read(g->doc, buf_view(&g->in), &rc, &why, &e) < 0)
        _exit(NOT_HEARD);
    FAULT("worker.settle.after");
    if (rc == MGC_OK && verdict != MGC_RETRY)
        spool_settled(g->spool, first, last);
    char line[sizeof me->text];
    (void)snprintf(line, sizeof line, "%.*s", why.n < sizeof line ? (int)why.n : 0,
                   why.p ? why.p : "");
    return rc == MGC_OK ? MGC_OK : say(me, rc, line);
}

static int32_t host_open_attachment(void *context, const struct mgc_record *record, uint32_t n,
                                    int32_t *fd, struct mgc_error *me)
{
    (void)context;
    (void)record;
    (void)n;
    (void)fd;
    return say(me, MGC_NOT_FOUND, "the bytes of attachments are not kept");
}

/* The options arrive in the order of the table that was described; a module replaced meanwhile by
 * one with another table must not get them. */
static int set_values(struct guest *g, struct err *e)
{
    size_t n = 0;
    for (const struct mgc_option *o = g->adapter.options; o && o->name; o++, n++) {
        if (n >= g->task.option_count || !slice_is(g->task.options[n].name, o->name))
            return err_set(e, ERR_CONFIG,
                           "the module has other options than when they were read. Restart the"
                           " archiver");
        const struct wire_option *from = &g->task.options[n];
        g->values[n] = (struct mgc_value){
            .text = {from->text.p, from->text.n}, .number = from->number, .set = from->set};
    }
    return n == g->task.option_count
               ? 0
               : err_set(e, ERR_CONFIG,
                         "the module has other options than when they were read."
                         " Restart the archiver");
}

static struct mgc_text text_of(struct slice s)
{
    return (struct mgc_text){s.p ? s.p : "", s.n};
}

static int make_batch(struct guest *g, struct mgc_batch *out, struct err *e)
{
    const struct wire_task *t = &g->task;
    struct spool_totals totals;
    spool_totals(g->spool, &totals);
    if (totals.records != (uint64_t)t->records)
        return err_set(e, ERR_FAULT, "the spool is not batch %.*s", SLICE_ARG(t->id));
    *out = (struct mgc_batch){.size = sizeof *out,
                              .attempt = (uint32_t)t->attempt,
                              .id = text_of(t->id),
                              .stem = text_of(t->stem),
                              .instance = text_of(t->instance),
                              .number = (uint64_t)t->number,
                              .records = totals.records,
                              .rooms = totals.rooms,
                              .bytes = totals.bytes,
                              .cut_us = t->cut_us,
                              .first_us = totals.first_us,
                              .last_us = totals.last_us,
                              .deadline_ms = t->deadline_ms,
                              .scratch = t->scratch.p,
                              .cancel_fd = CHILD_CANCEL};
    memcpy(out->sha256, t->digest, SHA256_SIZE);
    return 0;
}

/* After a crash the target may have the batch already, with nobody left to say so. */
static int32_t deliver(struct guest *g, const struct mgc_batch *batch, struct mgc_error *me)
{
    struct err e = {0};
    if (batch->attempt > 1 && g->adapter.find) {
        int32_t rc = g->adapter.find(g->instance, batch, me);
        if (rc == MGC_OK && spool_all_settled(g->spool))
            return MGC_OK;
        if (rc != MGC_OK && rc != MGC_NOT_FOUND)
            return rc;
        me->text[0] = '\0';
        if (spool_rewind(g->spool, &e) < 0)
            return say(me, MGC_RETRY, e.text);
    }
    return g->adapter.deliver(g->instance, batch, me);
}

static int32_t with_instance(struct guest *g, struct mgc_error *me)
{
    struct mgc_batch batch = {0};
    struct err e = {0};
    if (spool_open(&g->spool, CHILD_SPOOL, g->task.digest, g->adapter.raw_only == 1, &e) < 0 ||
        make_batch(g, &batch, &e) < 0)
        return say(me, MGC_FAULT, e.text);
    int32_t rc = g->adapter.open(&g->host, g->values, &g->instance, me);
    if (rc != MGC_OK)
        return rc;
    if (g->task.what == WIRE_DELIVER) {
        rc = deliver(g, &batch, me);
    } else {
        uint32_t n = 0;
        const struct mgc_fact *facts = spool_facts(g->spool, &n);
        FAULT("worker.verify.before");
        rc = g->adapter.verify ? g->adapter.verify(g->instance, &batch, facts, n, me)
                               : say(me, MGC_CONFIG, "the module can't read back");
    }
    g->adapter.close(g->instance);
    return rc;
}

static int32_t perform(struct guest *g, struct mgc_error *me)
{
    struct err e = {0};
    if (g->task.what == WIRE_DESCRIBE) {
        wire_description_write(&g->out, &g->adapter);
        tell(g);
        return MGC_OK;
    }
    if (set_values(g, &e) < 0)
        return say(me, MGC_CONFIG, e.text);
    /* What may be deleted hangs on it. */
    if ((int64_t)g->adapter.readback < g->task.readback)
        return say(me, MGC_CONFIG,
                   "the module reads back less than when it was asked. Restart the archiver");
    if (g->adapter.check) {
        int32_t rc = g->adapter.check(g->values, me);
        if (rc != MGC_OK)
            return rc;
    }
    return g->task.what == WIRE_CHECK ? MGC_OK : with_instance(g, me);
}

/* A runaway module meets these before it harms others. Address space is not limited where a
 * sanitizer reserves terabytes of it. */
static void limit_resources(void)
{
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    (void)setrlimit(RLIMIT_NOFILE, &(struct rlimit){256, 256});
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    rlim_t memory = (rlim_t)2 << 30;
    (void)setrlimit(RLIMIT_AS, &(struct rlimit){memory, memory});
#endif
}

static int32_t work(struct guest *g, const char *module, struct mgc_error *me)
{
    struct err e = {0};
    int rc = frame_recv(CHILD_SOCKET, CHILD_MAX_TASK, -1, &g->in, &e);
    if (rc < 0)
        _exit(NOT_HEARD);
    rc = wire_task_read(g->doc, buf_view(&g->in), &g->arena, &g->task, &e);
    /* It held the adapter's secrets. */
    explicit_bzero(g->in.p, g->in.n);
    if (rc < 0)
        return say(me, MGC_FAULT, e.text);
    if (g->task.scratch.n && chdir(g->task.scratch.p) < 0)
        return say(me, MGC_RETRY, "its scratch folder can't be entered");
    rc = loader_open(module, &g->adapter, &e);
    return rc < 0 ? say(me, MGC_CONFIG, e.text) : perform(g, me);
}

int worker_main(int argc, char **argv)
{
    static struct guest g;
    struct mgc_error me = {.size = sizeof me};
    if (argc != 2) {
        (void)fputs("holdfast worker: started by the archiver only\n", stderr);
        return MISUSED;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    worker_end_watch();
    limit_resources();
    g.doc = json_doc_new();
    if (!g.doc || !setlocale(LC_CTYPE, "C.UTF-8"))
        return MISUSED;
    arena_init(&g.arena, 0);
    buf_init(&g.out, CHILD_MAX_TASK);
    buf_init(&g.in, CHILD_MAX_TASK);
    g.host = (struct mgc_host){.size = sizeof g.host,
                               .abi_minor = MGC_ABI_MINOR,
                               .context = &g,
                               .log = host_log,
                               .next = host_next,
                               .rewind = host_rewind,
                               .settle = host_settle,
                               .open_attachment = host_open_attachment};
    int32_t rc = work(&g, argv[1], &me);
    me.text[sizeof me.text - 1] = '\0';
    wire_end_write(&g.out, rc > 0 ? MGC_FAULT : rc, me.text);
    tell(&g);
    /* No exit handlers: the module's could hang, and everything that counts is durable. */
    _exit(ENDED);
}
