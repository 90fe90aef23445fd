/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON reader over yajl's callbacks, building a tree in an arena. What yajl is lax about (lone
 * surrogates, its loose UTF-8 check, blanks of its own, what follows the value, duplicate keys,
 * depth) is checked here.
 */
#include "base/json.h"

#include "base/arena.h"

#include <yajl/yajl_parse.h>

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEEP_BYTES = 1024 * 1024, PAIRWISE_MAX = 16 };

/* An array or object that is not closed yet. */
struct open {
    struct json *node;
    struct json *last; /* its newest child */
    struct open *outer;
};

struct json_doc {
    struct arena arena;
    const struct json_limits *limits;
    struct slice source;
    yajl_handle parser;
    size_t before; /* bytes of source that the parser's count does not include */
    struct json *root;
    struct open *innermost;
    struct open *spare; /* closed ones, to be used again */
    struct slice key;
    int depth;
    size_t nodes;
    struct err *e;
    int rc;
    /* yajl 2.1 does not check what its allocator returns, so running out of memory inside it must
     * not return to it. All it owns is in the arena, so that leaving it leaks nothing. */
    jmp_buf out_of_memory;
};

struct json_doc *json_doc_new(void)
{
    struct json_doc *d = calloc(1, sizeof *d);
    if (d)
        arena_init(&d->arena, KEEP_BYTES);
    return d;
}

void json_doc_free(struct json_doc *d)
{
    if (!d)
        return;
    arena_done(&d->arena);
    free(d);
}

static void *take(struct json_doc *d, size_t n)
{
    void *p = arena_alloc(&d->arena, n);
    if (!p)
        longjmp(d->out_of_memory, 1);
    return p;
}

/* yajl's allocator. A block carries its size, so that it can grow. */
struct block {
    size_t size;
    _Alignas(16) char bytes[];
};

static void *yajl_take(void *ctx, size_t n)
{
    struct block *b = take(ctx, sizeof *b + n);
    b->size = n;
    return b->bytes;
}

static void *yajl_grow(void *ctx, void *old, size_t n)
{
    char *fresh = yajl_take(ctx, n);
    if (old) {
        const struct block *b =
            (const struct block *)(const void *)((char *)old - offsetof(struct block, bytes));
        memcpy(fresh, old, b->size < n ? b->size : n);
    }
    return fresh;
}

static void yajl_drop(void *ctx, void *old)
{
    (void)ctx;
    (void)old;
}

static int refuse_at(struct json_doc *d, const char *why, size_t at)
{
    d->rc = err_set(d->e, ERR_REJECTED, "json: %s at byte %zu", why, at);
    return 0;
}

/* Ends the parse. Callbacks return its value to yajl: 0 means cancel. */
static int refuse(struct json_doc *d, const char *why)
{
    size_t at = d->before + yajl_get_bytes_consumed(d->parser);
    return refuse_at(d, why, at < d->source.n ? at : d->source.n);
}

/* Text that yajl decoded or gathered lives in its own buffers: copied. Other text is borrowed. */
static struct slice keep_text(struct json_doc *d, const void *text, size_t n)
{
    const char *p = text;
    if (d->source.p <= p && p + n <= d->source.p + d->source.n)
        return (struct slice){p, n};
    struct slice kept;
    if (!arena_copy(&d->arena, (struct slice){p, n}, &kept))
        longjmp(d->out_of_memory, 1);
    return kept;
}

static struct json *add_node(struct json_doc *d, enum json_type type)
{
    if (++d->nodes > d->limits->nodes) {
        (void)refuse(d, "too many values");
        return NULL;
    }
    struct json *node = take(d, sizeof *node);
    *node = (struct json){.type = type, .key = d->key};
    d->key = (struct slice){NULL, 0};
    struct open *in = d->innermost;
    if (!in) {
        d->root = node;
        return node;
    }
    if (in->last)
        in->last->next = node;
    else
        in->node->child = node;
    in->last = node;
    in->node->count++;
    return node;
}

static int on_null(void *ctx)
{
    return add_node(ctx, JSON_NULL) != NULL;
}

static int on_boolean(void *ctx, int value)
{
    struct json *node = add_node(ctx, JSON_BOOL);
    if (node)
        node->boolean = value != 0;
    return node != NULL;
}

static int on_number(void *ctx, const char *text, size_t n)
{
    struct json *node = add_node(ctx, JSON_NUMBER);
    if (node)
        node->text = keep_text(ctx, text, n);
    return node != NULL;
}

static int on_string(void *ctx, const unsigned char *text, size_t n)
{
    struct json *node = add_node(ctx, JSON_STRING);
    if (node)
        node->text = keep_text(ctx, text, n);
    return node != NULL;
}

static int on_key(void *ctx, const unsigned char *text, size_t n)
{
    struct json_doc *d = ctx;
    d->key = keep_text(d, text, n);
    return 1;
}

static int open_node(struct json_doc *d, enum json_type type)
{
    if (d->depth >= d->limits->depth)
        return refuse(d, "nested too deeply");
    struct json *node = add_node(d, type);
    if (!node)
        return 0;
    struct open *o = d->spare;
    if (o)
        d->spare = o->outer;
    else
        o = take(d, sizeof *o);
    *o = (struct open){.node = node, .outer = d->innermost};
    d->innermost = o;
    d->depth++;
    return 1;
}

static void close_node(struct json_doc *d)
{
    struct open *o = d->innermost;
    d->innermost = o->outer;
    o->outer = d->spare;
    d->spare = o;
    d->depth--;
}

static int by_key(const void *a, const void *b)
{
    const struct json *const *x = a;
    const struct json *const *y = b;
    return slice_cmp((*x)->key, (*y)->key);
}

static const struct json *first_repeated(struct json_doc *d, const struct json *object)
{
    if (object->count <= PAIRWISE_MAX) {
        for (const struct json *a = object->child; a; a = a->next)
            for (const struct json *b = a->next; b; b = b->next)
                if (a->key.n == b->key.n && memcmp(a->key.p, b->key.p, a->key.n) == 0)
                    return b;
        return NULL;
    }
    const struct json **sorted = take(d, object->count * sizeof *sorted);
    size_t n = 0;
    for (const struct json *a = object->child; a; a = a->next)
        sorted[n++] = a;
    qsort(sorted, n, sizeof *sorted, by_key);
    for (size_t i = 1; i < n; i++)
        if (slice_eq(sorted[i - 1]->key, sorted[i]->key))
            return sorted[i];
    return NULL;
}

/* A name is printed only if it looks like one: nothing hostile or secret gets into an error. */
static bool is_plain_name(struct slice s)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    for (size_t i = 0; i < s.n; i++)
        if (!s.p[i] || !strchr(plain, s.p[i]))
            return false;
    return s.n && s.n <= 40;
}

static int on_object_end(void *ctx)
{
    struct json_doc *d = ctx;
    const struct json *twice = first_repeated(d, d->innermost->node);
    if (twice) {
        char why[80] = "duplicate key";
        if (is_plain_name(twice->key))
            (void)snprintf(why, sizeof why, "duplicate key '%.*s' in the object that ends",
                           SLICE_ARG(twice->key));
        return refuse(d, why);
    }
    close_node(d);
    return 1;
}

static int on_array_end(void *ctx)
{
    close_node(ctx);
    return 1;
}

static int on_object(void *ctx)
{
    return open_node(ctx, JSON_OBJECT);
}

static int on_array(void *ctx)
{
    return open_node(ctx, JSON_ARRAY);
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_object,
    .yajl_map_key = on_key,
    .yajl_end_map = on_object_end,
    .yajl_start_array = on_array,
    .yajl_end_array = on_array_end,
};

/* Vertical tab and form feed are blanks to yajl. In strings JSON forbids them too. */
static bool foreign_blank(struct slice text, size_t *at)
{
    for (const char *c = "\v\f"; *c; c++) {
        const char *p = text.n ? memchr(text.p, *c, text.n) : NULL;
        if (p) {
            *at = (size_t)(p - text.p);
            return true;
        }
    }
    return false;
}

/* The four digits of a \u escape at p, or -1: yajl reports malformed ones. */
static int escape_at(const char *p, const char *end)
{
    uint8_t value[2];
    if (end - p < 6 || p[0] != '\\' || p[1] != 'u' ||
        !hex_decode((struct slice){p + 2, 4}, value, sizeof value))
        return -1;
    return value[0] << 8 | value[1];
}

/* yajl turns a high surrogate without its low one into '?', and takes lone low ones: data that was
 * never written. Backslashes stand only in strings, so that the text needs no parsing for this. */
static bool escapes_paired(struct slice text, size_t *at)
{
    const char *p = text.p;
    const char *end = text.p + text.n;
    while (p < end && (p = memchr(p, '\\', (size_t)(end - p)))) {
        int unit = escape_at(p, end);
        if (unit < 0) {
            p += 2;
            continue;
        }
        *at = (size_t)(p - text.p);
        p += 6;
        if (unit < 0xD800 || unit > 0xDFFF)
            continue;
        int low = escape_at(p, end);
        if (unit > 0xDBFF || low < 0xDC00 || low > 0xDFFF)
            return false;
        p += 6;
    }
    return true;
}

/* In words what yajl says ("parse error: trailing garbage\n"), at the byte where it stopped. */
static int syntax_error(struct json_doc *d)
{
    unsigned char *said = yajl_get_error(d->parser, 0, NULL, 0);
    struct slice why = slice_trim(slice_of((const char *)said));
    char text[160];
    (void)snprintf(text, sizeof text, "%.*s", SLICE_ARG(why));
    return refuse(d, *text ? text : "malformed");
}

/* yajl would take a string behind the value that is never closed, so it is told to stop there. */
static void refuse_trailing(struct json_doc *d, size_t end)
{
    struct slice rest = {d->source.p + end, d->source.n - end};
    struct slice written = slice_trim(rest);
    if (written.n)
        (void)refuse_at(d, "something follows the value", (size_t)(written.p - d->source.p));
}

static int run(struct json_doc *d)
{
    yajl_alloc_funcs memory = {yajl_take, yajl_grow, yajl_drop, d};
    if (setjmp(d->out_of_memory))
        return err_memory(d->e, "json");
    d->parser = yajl_alloc(&callbacks, &memory, d);
    (void)yajl_config(d->parser, yajl_dont_validate_strings, 1); /* the whole text was */
    (void)yajl_config(d->parser, yajl_allow_trailing_garbage, 1);
    const unsigned char *text = (const unsigned char *)d->source.p;
    yajl_status status = yajl_parse(d->parser, text, d->source.n);
    size_t end = yajl_get_bytes_consumed(d->parser);
    if (status == yajl_status_ok) {
        d->before = end;
        status = yajl_complete_parse(d->parser);
    }
    if (status == yajl_status_ok)
        refuse_trailing(d, end);
    if (status != yajl_status_ok && !d->rc)
        (void)syntax_error(d);
    if (!d->rc && !d->root)
        (void)refuse(d, "no value");
    return d->rc;
}

int json_parse(struct json_doc *d, struct slice text, const struct json_limits *limits,
               const struct json **root, struct err *e)
{
    if (text.n > limits->bytes)
        return err_set(e, ERR_REJECTED, "json: %zu bytes, over %zu", text.n, limits->bytes);
    if (!utf8_valid(text)) {
        size_t at = 0;
        for (size_t n = 1; n; at += n)
            n = utf8_sequence((struct slice){text.p + at, text.n - at});
        return err_set(e, ERR_REJECTED, "json: not UTF-8 at byte %zu", at);
    }
    size_t at = 0;
    if (foreign_blank(text, &at))
        return err_set(e, ERR_REJECTED, "json: a control character at byte %zu", at);
    if (!escapes_paired(text, &at))
        return err_set(e, ERR_REJECTED, "json: half a surrogate pair at byte %zu", at);

    arena_reset(&d->arena);
    struct arena arena = d->arena;
    *d = (struct json_doc){.arena = arena, .limits = limits, .source = text, .e = e};
    if (!d->source.p)
        d->source.p = "";
    int rc = run(d);
    if (rc)
        return rc;
    *root = d->root;
    return 0;
}

const struct json *json_get(const struct json *object, const char *key)
{
    if (!object || object->type != JSON_OBJECT)
        return NULL;
    size_t n = strlen(key);
    for (const struct json *member = object->child; member; member = member->next)
        if (member->key.n == n && memcmp(member->key.p, key, n) == 0)
            return member;
    return NULL;
}

struct slice json_string(const struct json *object, const char *key)
{
    const struct json *member = json_get(object, key);
    return member && member->type == JSON_STRING ? member->text : (struct slice){NULL, 0};
}

bool json_i64(const struct json *object, const char *key, int64_t *out)
{
    const struct json *member = json_get(object, key);
    return member && member->type == JSON_NUMBER && text_i64(member->text, out);
}
