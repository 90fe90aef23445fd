/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The XML reader: libxml2's SAX2 interface into a small tree in an arena. A DOCTYPE ends the parse,
 * so that there are no entities but the five of XML itself, whatever the library's options do.
 */
#include "base/xml.h"

#include "base/arena.h"

#include <libxml/parser.h>
#include <libxml/xmlerror.h>

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEEP_BYTES = 256 * 1024, DICT_KEEP = 256 * 1024 };

/* A piece of character data; libxml2 reports text in pieces. */
struct piece {
    struct slice text;
    struct piece *next;
};

/* An element that is not closed yet. */
struct open {
    struct xml_node *node;
    struct xml_node *last; /* its newest child */
    struct piece *pieces;
    struct piece *last_piece;
    size_t text_n;
    struct open *outer;
};

struct xml_doc {
    struct arena arena;
    xmlParserCtxtPtr parser;
    const struct xml_limits *limits;
    struct xml_node *root;
    struct open *innermost;
    int depth;
    size_t nodes;
    struct err *e;
    int rc;
};

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void start_library(void)
{
    xmlInitParser();
}

struct xml_doc *xml_doc_new(void)
{
    (void)pthread_once(&library_once, start_library);
    struct xml_doc *d = calloc(1, sizeof *d);
    if (d)
        arena_init(&d->arena, KEEP_BYTES);
    return d;
}

static void drop_parser(struct xml_doc *d)
{
    if (!d->parser)
        return;
    xmlFreeParserCtxt(d->parser);
    d->parser = NULL;
}

void xml_doc_free(struct xml_doc *d)
{
    if (!d)
        return;
    drop_parser(d);
    arena_done(&d->arena);
    free(d);
}

static void stop_with(struct xml_doc *d, int class, const char *why)
{
    if (d->rc)
        return;
    d->rc = err_set(d->e, class, "xml: %s in line %d", why, xmlSAX2GetLineNumber(d->parser));
    xmlStopParser(d->parser);
}

static void *take(struct xml_doc *d, size_t n)
{
    void *p = arena_alloc(&d->arena, n);
    if (p)
        memset(p, 0, n);
    else
        stop_with(d, ERR_RETRY, "out of memory");
    return p;
}

static struct slice keep(struct xml_doc *d, const xmlChar *text, size_t n)
{
    struct slice kept = {NULL, 0};
    if (text && !arena_copy(&d->arena, (struct slice){(const char *)text, n}, &kept))
        stop_with(d, ERR_RETRY, "out of memory");
    return kept;
}

static struct slice keep_name(struct xml_doc *d, const xmlChar *name)
{
    return keep(d, name, name ? strlen((const char *)name) : 0);
}

/* Attributes come as groups of five: name, prefix, namespace, first and past-the-last byte. */
static void add_attrs(struct xml_doc *d, struct xml_node *node, int n, const xmlChar **groups)
{
    struct xml_attr **tail = &node->attrs;
    for (int i = 0; i < n && !d->rc; i++) {
        const xmlChar **g = groups + 5 * (size_t)i;
        struct xml_attr *a = take(d, sizeof *a);
        if (!a)
            return;
        a->name = keep_name(d, g[0]);
        a->value = keep(d, g[3], (size_t)(g[4] - g[3]));
        *tail = a;
        tail = &a->next;
    }
}

static void on_start(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
                     int n_namespaces, const xmlChar **namespaces, int n_attrs, int n_defaulted,
                     const xmlChar **attrs)
{
    struct xml_doc *d = ctx;
    (void)prefix;
    (void)namespaces;
    (void)n_defaulted;
    if (d->rc)
        return;
    d->nodes += 1 + (size_t)n_namespaces + (size_t)n_attrs;
    if (d->nodes > d->limits->nodes) {
        stop_with(d, ERR_REJECTED, "too many elements and attributes");
        return;
    }
    if (++d->depth > d->limits->depth) {
        stop_with(d, ERR_REJECTED, "nested too deeply");
        return;
    }
    struct xml_node *node = take(d, sizeof *node);
    struct open *o = node ? take(d, sizeof *o) : NULL;
    if (!o)
        return;
    node->name = keep_name(d, name);
    node->ns = keep_name(d, uri);
    add_attrs(d, node, n_attrs, attrs);
    struct open *in = d->innermost;
    if (!in)
        d->root = node;
    else if (in->last)
        in->last->next = node;
    else
        in->node->child = node;
    if (in)
        in->last = node;
    *o = (struct open){.node = node, .outer = in};
    d->innermost = o;
}

static void on_text(void *ctx, const xmlChar *text, int n)
{
    struct xml_doc *d = ctx;
    struct open *o = d->innermost;
    if (d->rc || !o || n <= 0)
        return;
    struct piece *p = take(d, sizeof *p);
    if (!p)
        return;
    p->text = keep(d, text, (size_t)n);
    o->text_n += p->text.n;
    if (o->last_piece)
        o->last_piece->next = p;
    else
        o->pieces = p;
    o->last_piece = p;
}

static void join_text(struct xml_doc *d, struct open *o)
{
    if (!o->pieces || !o->pieces->next) {
        o->node->text = o->pieces ? o->pieces->text : SLICE("");
        return;
    }
    char *all = take(d, o->text_n + 1);
    if (!all)
        return;
    size_t n = 0;
    for (const struct piece *p = o->pieces; p; p = p->next) {
        memcpy(all + n, p->text.p, p->text.n);
        n += p->text.n;
    }
    o->node->text = (struct slice){all, n};
}

static void on_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
    struct xml_doc *d = ctx;
    (void)name;
    (void)prefix;
    (void)uri;
    if (d->rc || !d->innermost)
        return;
    join_text(d, d->innermost);
    d->innermost = d->innermost->outer;
    d->depth--;
}

static void on_doctype(void *ctx, const xmlChar *name, const xmlChar *id, const xmlChar *system)
{
    (void)name;
    (void)id;
    (void)system;
    stop_with(ctx, ERR_REJECTED, "a DOCTYPE, which is not allowed,");
}

/* The library's words, cut at the first line; warnings are no errors, unbound prefixes are. */
static void on_error(void *ctx, xmlErrorPtr what)
{
    struct xml_doc *d = ctx;
    if (d->rc || !what || what->level < XML_ERR_ERROR)
        return;
    if (what->code == XML_ERR_NO_MEMORY) {
        stop_with(d, ERR_RETRY, "out of memory");
        return;
    }
    /* Its text may quote the document: only plain characters of it, and not much. */
    char why[100];
    size_t n = 0;
    for (const char *p = what->message ? what->message : ""; *p && *p != '\n'; p++)
        if (n < sizeof why - 1)
            why[n++] = *p >= ' ' && *p < 127 ? *p : '?';
    why[n] = '\0';
    d->rc = err_set(d->e, ERR_REJECTED, "xml: %s in line %d", n ? why : "malformed", what->line);
    xmlStopParser(d->parser);
}

static xmlSAXHandler handler = {
    .initialized = XML_SAX2_MAGIC,
    .internalSubset = on_doctype,
    .startElementNs = on_start,
    .endElementNs = on_end,
    .characters = on_text,
    .cdataBlock = on_text,
    .ignorableWhitespace = on_text,
    .serror = on_error,
};

/* NOENT lets the five entities of XML itself be replaced in attributes too; there are no others. */
static const int options =
    XML_PARSE_NONET | XML_PARSE_NOENT | XML_PARSE_IGNORE_ENC | XML_PARSE_NOWARNING;

/* A parser is used again, except after a failure, and when hostile names have filled its table of
 * names, which the library never empties. */
static bool ready_parser(struct xml_doc *d)
{
    if (d->parser && xmlDictGetUsage(d->parser->dict) > DICT_KEEP)
        drop_parser(d);
    if (d->parser && xmlCtxtResetPush(d->parser, NULL, 0, NULL, "UTF-8") != 0)
        drop_parser(d);
    if (!d->parser) {
        d->parser = xmlCreatePushParserCtxt(&handler, d, NULL, 0, NULL);
        if (!d->parser)
            return false;
    }
    (void)xmlCtxtUseOptions(d->parser, options);
    return true;
}

int xml_parse(struct xml_doc *d, struct slice text, const struct xml_limits *limits,
              const struct xml_node **root, struct err *e)
{
    if (text.n > limits->bytes || text.n > INT_MAX)
        return err_set(e, ERR_REJECTED, "xml: %zu bytes, over %zu", text.n, limits->bytes);
    /* Without a NUL the library can't take it for UTF-16 or UTF-32. */
    if (!utf8_valid(text) || (text.n && memchr(text.p, 0, text.n)))
        return err_set(e, ERR_REJECTED, "xml: not UTF-8, or a NUL in it");
    arena_reset(&d->arena);
    d->limits = limits;
    d->root = NULL;
    d->innermost = NULL;
    d->depth = 0;
    d->nodes = 0;
    d->e = e;
    d->rc = 0;
    if (!ready_parser(d))
        return err_memory(e, "xml");
    (void)xmlParseChunk(d->parser, text.p ? text.p : "", (int)text.n, 1);
    if (!d->rc && (!d->parser->wellFormed || !d->root || d->innermost))
        d->rc = err_set(e, ERR_REJECTED, "xml: not well-formed");
    d->e = NULL;
    if (d->rc) {
        drop_parser(d);
        return d->rc;
    }
    *root = d->root;
    return 0;
}

static const struct xml_node *first_named(const struct xml_node *n, const char *name)
{
    while (n && !slice_is(n->name, name))
        n = n->next;
    return n;
}

const struct xml_node *xml_child(const struct xml_node *n, const char *name)
{
    return n ? first_named(n->child, name) : NULL;
}

const struct xml_node *xml_next(const struct xml_node *n, const char *name)
{
    return n ? first_named(n->next, name) : NULL;
}

struct slice xml_get(const struct xml_node *n, const char *name)
{
    for (const struct xml_attr *a = n ? n->attrs : NULL; a; a = a->next)
        if (slice_is(a->name, name))
            return a->value;
    return (struct slice){NULL, 0};
}
