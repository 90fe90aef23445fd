/* SPDX-License-Identifier: Apache-2.0 */
/* The messages between archiver and worker. A module's description is in wire_module.c. */
#include "adapters/host/wire.h"

#include "base/own.h"

#include <string.h>

static const struct json_limits task_limits = {8 << 20, 8, 2000};
static const struct json_limits message_limits = {256 << 10, 8, 2000};

/* ---- task ---- */

static void write_option(struct buf *out, const struct wire_option *o)
{
    json_comma(out);
    buf_char(out, '{');
    json_put_string(out, "name", o->name);
    json_put_bool(out, "set", o->set);
    json_put_i64(out, "number", o->number);
    json_key(out, "text");
    json_write_base64(out, o->text);
    buf_char(out, '}');
}

void wire_task_write(struct buf *out, const struct wire_task *t)
{
    char hex[SHA256_HEX];
    hex_encode(t->digest, SHA256_SIZE, hex);
    buf_char(out, '{');
    json_put_i64(out, "do", t->what);
    json_put_string(out, "instance", t->instance);
    json_put_string(out, "scratch", t->scratch);
    json_put_string(out, "id", t->id);
    json_put_string(out, "stem", t->stem);
    json_put_i64(out, "number", t->number);
    json_put_i64(out, "attempt", t->attempt);
    json_put_i64(out, "records", t->records);
    json_put_i64(out, "bytes", t->bytes);
    json_put_i64(out, "cut_us", t->cut_us);
    json_put_i64(out, "deadline_ms", t->deadline_ms);
    json_put_i64(out, "readback", t->readback);
    json_put_string(out, "sha256", slice_of(hex));
    json_key(out, "options");
    buf_char(out, '[');
    for (size_t i = 0; i < t->option_count; i++)
        write_option(out, &t->options[i]);
    buf_text(out, "]}");
}

static bool read_text(struct arena *a, const struct json *object, const char *key,
                      struct slice *out)
{
    return arena_copy(a, json_string(object, key), out);
}

static int read_option(struct arena *a, const struct json *o, struct wire_option *out,
                       struct err *e)
{
    struct slice coded = json_string(o, "text");
    const struct json *set = json_get(o, "set");
    char *bytes = arena_alloc(a, coded.n + 1);
    size_t n = 0;
    if (!bytes || !read_text(a, o, "name", &out->name))
        return err_memory(e, "reading a task");
    if (!base64_decode(coded, bytes, &n) || !set || !json_i64(o, "number", &out->number))
        return err_set(e, ERR_FAULT, "the task's option %.*s is malformed", SLICE_ARG(out->name));
    bytes[n] = '\0';
    out->text = (struct slice){bytes, n};
    out->set = set->boolean;
    return 0;
}

static bool read_numbers(const struct json *root, struct wire_task *t)
{
    int64_t what = -1;
    bool ok = json_i64(root, "do", &what) && what >= WIRE_DESCRIBE && what <= WIRE_VERIFY &&
              json_i64(root, "number", &t->number) && json_i64(root, "attempt", &t->attempt) &&
              json_i64(root, "records", &t->records) && json_i64(root, "bytes", &t->bytes) &&
              json_i64(root, "cut_us", &t->cut_us) &&
              json_i64(root, "deadline_ms", &t->deadline_ms) &&
              json_i64(root, "readback", &t->readback) &&
              hex_decode(json_string(root, "sha256"), t->digest, SHA256_SIZE);
    t->what = ok ? (enum wire_do)what : WIRE_DESCRIBE;
    return ok;
}

int wire_task_read(struct json_doc *d, struct slice message, struct arena *a, struct wire_task *out,
                   struct err *e)
{
    const struct json *root = NULL;
    int rc = json_parse(d, message, &task_limits, &root, e);
    if (rc < 0)
        return rc;
    memset(out, 0, sizeof *out);
    const struct json *options = json_get(root, "options");
    if (!options || options->type != JSON_ARRAY || options->count > WIRE_MAX_OPTIONS ||
        !read_numbers(root, out))
        return err_set(e, ERR_FAULT, "the task is malformed");
    if (!read_text(a, root, "instance", &out->instance) ||
        !read_text(a, root, "scratch", &out->scratch) || !read_text(a, root, "id", &out->id) ||
        !read_text(a, root, "stem", &out->stem))
        return err_memory(e, "reading a task");
    for (const struct json *o = options->child; rc == 0 && o; o = o->next)
        rc = read_option(a, o, &out->options[out->option_count++], e);
    return rc;
}

void wire_answer_write(struct buf *out, int32_t rc, struct slice text)
{
    buf_char(out, '{');
    json_put_i64(out, "rc", rc);
    json_key(out, "text");
    (void)json_write_lossy(out, text);
    buf_char(out, '}');
}

int wire_answer_read(struct json_doc *d, struct slice message, int32_t *rc, struct slice *text,
                     struct err *e)
{
    const struct json *root = NULL;
    int64_t n = 0;
    int failed = json_parse(d, message, &message_limits, &root, e);
    if (failed < 0)
        return failed;
    if (!json_i64(root, "rc", &n) || n > 0 || n < INT32_MIN)
        return err_set(e, ERR_FAULT, "the archiver's answer is malformed");
    *rc = (int32_t)n;
    *text = json_string(root, "text");
    return 0;
}

/* ---- from the worker ---- */

/* A module's own text: cut to fit, whatever its bytes. */
static void put_text(struct buf *out, const char *key, const char *text)
{
    size_t n = text ? strnlen(text, WIRE_MAX_TEXT) : 0;
    json_key(out, key);
    (void)json_write_lossy(out, (struct slice){text ? text : "", n});
}

static void start(struct buf *out, enum wire_kind kind, int64_t rc)
{
    buf_char(out, '{');
    json_put_i64(out, "kind", kind);
    json_put_i64(out, "rc", rc);
}

void wire_settle_write(struct buf *out, uint64_t first, uint64_t last, int32_t verdict,
                       const struct mgc_fact *facts, uint32_t fact_count, const char *text)
{
    start(out, WIRE_SETTLE, verdict);
    json_put_i64(out, "first", (int64_t)first);
    json_put_i64(out, "last", (int64_t)last);
    put_text(out, "text", text);
    json_key(out, "facts");
    buf_char(out, '[');
    for (uint32_t i = 0; i < fact_count; i++) {
        json_comma(out);
        buf_char(out, '[');
        (void)json_write_lossy(out, (struct slice){facts[i].name.p, (size_t)facts[i].name.n});
        buf_char(out, ',');
        (void)json_write_lossy(out, (struct slice){facts[i].value.p, (size_t)facts[i].value.n});
        buf_char(out, ']');
    }
    buf_text(out, "]}");
}

void wire_log_write(struct buf *out, uint32_t level, const char *text)
{
    start(out, WIRE_LOG, level > 3 ? 3 : level);
    put_text(out, "text", text);
    buf_char(out, '}');
}

void wire_end_write(struct buf *out, int32_t rc, const char *text)
{
    start(out, WIRE_END, rc);
    put_text(out, "text", text);
    buf_char(out, '}');
}

static bool fact_valid(const struct json *fact)
{
    if (fact->type != JSON_ARRAY || fact->count != 2)
        return false;
    const struct json *name = fact->child;
    const struct json *value = name->next;
    return name->type == JSON_STRING && value->type == JSON_STRING && name->text.n > 0 &&
           name->text.n <= WIRE_MAX_FACT && value->text.n <= WIRE_MAX_FACT;
}

static bool read_settle(const struct json *root, struct wire_message *m)
{
    m->facts = json_get(root, "facts");
    if (!m->facts || m->facts->type != JSON_ARRAY || m->facts->count > WIRE_MAX_FACTS ||
        !json_i64(root, "first", &m->first) || !json_i64(root, "last", &m->last))
        return false;
    for (const struct json *f = m->facts->child; f; f = f->next) {
        if (!fact_valid(f))
            return false;
    }
    return true;
}

int wire_message_read(struct json_doc *d, struct slice message, struct wire_message *out,
                      struct err *e)
{
    const struct json *root = NULL;
    struct wire_message m = {0};
    int64_t kind = -1;
    int64_t result = 0;
    int rc = json_parse(d, message, &message_limits, &root, e);
    if (rc < 0)
        return err_wrap(e, "the worker's message");
    if (!json_i64(root, "kind", &kind) || kind < WIRE_SETTLE || kind > WIRE_END ||
        !json_i64(root, "rc", &result) || result > 3 || result < INT32_MIN)
        return err_set(e, ERR_REJECTED, "the worker's message is malformed");
    m.kind = (enum wire_kind)kind;
    m.rc = (int32_t)result;
    m.text = json_string(root, "text");
    m.description = json_get(root, "description");
    if (m.text.n > (size_t)3 * WIRE_MAX_TEXT || (m.kind == WIRE_SETTLE && !read_settle(root, &m)) ||
        (m.kind == WIRE_DESCRIPTION && !m.description))
        return err_set(e, ERR_REJECTED, "the worker's message is malformed");
    *out = m;
    return 0;
}

void wire_facts_write(struct buf *out, const struct json *facts)
{
    buf_char(out, '[');
    for (const struct json *f = facts->child; f; f = f->next) {
        json_comma(out);
        buf_char(out, '[');
        json_write_string(out, f->child->text);
        buf_char(out, ',');
        json_write_string(out, f->child->next->text);
        buf_char(out, ']');
    }
    buf_char(out, ']');
}
