/* SPDX-License-Identifier: Apache-2.0 */
/* Options: the common table, the module's own through a describing worker, and its own check. */
#include "adapters/host/options.h"

#include "adapters/host/archiver.h"
#include "adapters/host/child.h"
#include "base/clock.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>

enum { ASK_MS = 10000, ASK_TRIES = 3 };

enum { MODULE, REQUIRED, INTERVAL, RECORDS, BYTES, DEADLINE, COMMON };
const struct conf_option archiver_common_options[] = {
    [MODULE] = {.name = "module",
                .type = CONF_TEXT,
                .required = true,
                .help = "Name of the adapter module: tar, xml, smtp or another mgc_NAME.so."},
    [REQUIRED] = {.name = "required",
                  .type = CONF_BOOL,
                  .fallback = "yes",
                  .help = "Records stay in staging until this adapter has them; read when the"
                          " adapter is added."},
    [INTERVAL] = {.name = "interval",
                  .type = CONF_DURATION,
                  .fallback = "15m",
                  .min = 1000,
                  .max = INT64_C(30) * 24 * 3600 * 1000,
                  .help = "A batch is cut at UTC multiples of this when there is anything."},
    [RECORDS] = {.name = "records",
                 .type = CONF_INT,
                 .fallback = "10000",
                 .min = 1,
                 .max = 100000,
                 .help = "A batch is cut as soon as there are so many records."},
    [BYTES] = {.name = "bytes",
               .type = CONF_SIZE,
               .fallback = "4MiB",
               .min = 1,
               .max = 64 << 20,
               .help = "A batch is cut as soon as its records have so many bytes."},
    [DEADLINE] = {.name = "deadline",
                  .type = CONF_DURATION,
                  .fallback = "5m",
                  .min = 100,
                  .max = INT64_C(24) * 3600 * 1000,
                  .help = "An attempt that takes longer is asked to stop, then killed."},
    [COMMON] = {0},
};

/* Resolving adds to the configuration's memory. */
static pthread_mutex_t conf_lock = PTHREAD_MUTEX_INITIALIZER;

void adapter_options_free(struct adapter_options *o)
{
    if (!o)
        return;
    arena_done(&o->arena);
    free(o);
}

void adapter_options_task(const struct adapter_options *o, struct wire_task *t)
{
    t->option_count = o->module.option_count;
    for (size_t i = 0; i < o->module.option_count; i++)
        t->options[i] = (struct wire_option){.name = slice_of(o->module.options[i].name),
                                             .text = o->values[i].text,
                                             .number = o->values[i].number,
                                             .set = o->values[i].set};
}

/* Not through sha256_new: there is nothing to fail. Of each value the digest of its text alone goes
 * in, which has one length. */
void adapter_options_digest(const struct adapter_options *o, uint8_t out[SHA256_SIZE])
{
    uint8_t parts[2][SHA256_SIZE];
    sha256(o->module_name, strlen(o->module_name), out);
    for (size_t i = 0; i < o->module.option_count; i++) {
        const struct conf_option *option = &o->module.options[i];
        uint8_t pair[3 * SHA256_SIZE];
        if (option->type == CONF_SECRET)
            continue;
        sha256(option->name, strlen(option->name), parts[0]);
        sha256(o->values[i].text.p ? o->values[i].text.p : "", o->values[i].text.n, parts[1]);
        memcpy(pair, out, SHA256_SIZE);
        memcpy(pair + SHA256_SIZE, parts, sizeof parts);
        sha256(pair, sizeof pair, out);
    }
}

/* 1: a message; otherwise as child_receive, ERR_AGAIN when the time is up. */
static int await_message(struct child *c, int64_t end_ms, struct slice *message, struct err *e)
{
    for (;;) {
        child_flush(c);
        int rc = child_receive(c, message, e);
        if (rc != 0)
            return rc;
        int64_t left = end_ms - clock_mono_ms();
        if (left <= 0)
            return err_set(e, ERR_RETRY, "the module did not answer within %d s", ASK_MS / 1000);
        struct pollfd p = {.fd = c->fd, .events = (short)(POLLIN | (c->out.n ? POLLOUT : 0))};
        (void)poll(&p, 1, (int)left);
    }
}

/* Reads messages until the worker's end. */
static int converse(struct child *c, struct json_doc *d, struct adapter_options *o, struct err *e)
{
    int64_t end_ms = clock_mono_ms() + ASK_MS;
    for (;;) {
        struct slice message;
        struct wire_message m;
        int rc = await_message(c, end_ms, &message, e);
        if (rc == 1)
            rc = wire_message_read(d, message, &m, e);
        if (rc < 0)
            return rc;
        if (m.kind == WIRE_DESCRIPTION)
            rc = wire_module_read(m.description, &o->arena, &o->module, e);
        if (m.kind == WIRE_END && m.rc != MGC_OK)
            rc = err_set(e, m.rc == MGC_CONFIG ? ERR_CONFIG : ERR_RETRY, "%.*s", SLICE_ARG(m.text));
        if (rc < 0 || m.kind == WIRE_END)
            return rc;
    }
}

static void own_child(struct child *c)
{
    char why[80];
    child_kill(c);
    (void)child_wait(c, ASK_MS, why);
}

static int ask_once(struct adapter_options *o, const char *program, enum wire_do what,
                    struct err *e)
{
    OWN(own_child) struct child c;
    OWN(own_json_doc) struct json_doc *d = json_doc_new();
    OWN(own_mem) struct wire_task *t = calloc(1, sizeof *t);
    OWN(own_buf) struct buf task;
    child_init(&c);
    buf_init(&task, CHILD_MAX_TASK);
    if (!d || !t)
        return err_memory(e, "asking a module");
    t->what = what;
    if (what == WIRE_CHECK)
        adapter_options_task(o, t);
    wire_task_write(&task, t);
    int rc = buf_ok(&task, "a module's options", e);
    if (rc == 0)
        rc = child_start(&c, program, o->path, -1, INT64_MAX, e);
    if (rc == 0)
        rc = child_send(&c, buf_view(&task), e);
    if (rc == 0)
        rc = converse(&c, d, o, e);
    if (task.p)
        explicit_bzero(task.p, task.n);
    return rc;
}

/* A worker that was killed says nothing of its module; always dying is the module's fault. */
static int ask(struct adapter_options *o, const char *program, enum wire_do what, struct err *e)
{
    int rc = ERR_NOT_FOUND;
    for (int i = 0; rc == ERR_NOT_FOUND && i < ASK_TRIES; i++)
        rc = ask_once(o, program, what, e);
    if (rc == ERR_NOT_FOUND)
        return err_set(e, ERR_CONFIG, "module %s: its worker ended without an answer, %d times",
                       o->path, ASK_TRIES);
    return rc;
}

static int find_file(struct adapter_options *o, const char *modules_dir, struct err *e)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/mgc_%s.so", modules_dir, o->module_name);
    if (n < 0 || (size_t)n >= sizeof path)
        return err_set(e, ERR_CONFIG, "the folder of modules has too long a name");
    return realpath(path, o->path) ? 0 : err_errno(e, ERR_CONFIG, "module %s", path);
}

static int find_module(struct adapter_options *o, struct conf *conf, const char *section,
                       const char *modules_dir, struct err *e)
{
    struct slice module = conf_written(conf, section, "module");
    if (!module.p)
        return err_set(e, ERR_CONFIG,
                       "[%s] is not written, or names no 'module'. Write it, and restart what runs",
                       section);
    if (!slice_copy(module, o->module_name, sizeof o->module_name) || strchr(o->module_name, '/'))
        return err_set(e, ERR_CONFIG, "[%s]: 'module' is no module's name", section);
    int rc = find_file(o, modules_dir, e);
    return rc == 0 ? 0 : err_wrap(e, "[%s]", section);
}

static int resolve(struct adapter_options *o, struct conf *conf, const char *section, struct err *e)
{
    struct conf_value common[COMMON];
    (void)pthread_mutex_lock(&conf_lock);
    int rc = conf_resolve(conf, section, archiver_common_options, common, o->module.options,
                          o->values, e);
    (void)pthread_mutex_unlock(&conf_lock);
    if (rc < 0)
        return rc;
    o->required = common[REQUIRED].number != 0;
    o->due = (struct ledger_due){.records = common[RECORDS].number,
                                 .bytes = common[BYTES].number,
                                 .interval_ms = common[INTERVAL].number};
    o->deadline_ms = common[DEADLINE].number;
    return 0;
}

int adapter_options_load(struct adapter_options **out, struct conf *conf, const char *name,
                         const char *modules_dir, const char *program, struct err *e)
{
    char section[80];
    (void)snprintf(section, sizeof section, "adapter %s", name);
    OWN(own_adapter_options) struct adapter_options *o = calloc(1, sizeof *o);
    if (!o)
        return err_memory(e, "an adapter's options");
    arena_init(&o->arena, 0);
    int rc = find_module(o, conf, section, modules_dir, e);
    if (rc < 0)
        return rc;
    rc = ask(o, program, WIRE_DESCRIBE, e);
    if (rc < 0)
        return err_wrap(e, "[%s]", section);
    rc = resolve(o, conf, section, e);
    if (rc < 0)
        return rc;
    rc = ask(o, program, WIRE_CHECK, e);
    if (rc < 0)
        return err_wrap(e, "[%s]", section);
    *out = o;
    o = NULL;
    return 0;
}

static int find_described(struct adapter_options *o, const char *module, const char *modules_dir,
                          struct err *e)
{
    if (strchr(module, '/'))
        return realpath(module, o->path) ? 0 : err_errno(e, ERR_CONFIG, "module %s", module);
    if (!slice_copy(slice_of(module), o->module_name, sizeof o->module_name))
        return err_set(e, ERR_CONFIG, "%.80s...: no module's name", module);
    return find_file(o, modules_dir, e);
}

int adapter_options_describe(struct adapter_options **out, const char *module,
                             const char *modules_dir, const char *program, struct err *e)
{
    OWN(own_adapter_options) struct adapter_options *o = calloc(1, sizeof *o);
    if (!o)
        return err_memory(e, "a module's options");
    arena_init(&o->arena, 0);
    int rc = find_described(o, module, modules_dir, e);
    if (rc == 0)
        rc = ask(o, program, WIRE_DESCRIBE, e);
    if (rc < 0)
        return rc;
    *out = o;
    o = NULL;
    return 0;
}
