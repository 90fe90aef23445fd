/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON by RFC 8259, strict. The reader (on yajl) refuses duplicate keys, trailing bytes, ill-formed
 * UTF-8, lone surrogates in \u escapes, and what exceeds its limits; \u0000 is kept. The only pair
 * of files on yajl. The writer appends to a buffer.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* A node of a parsed document. Children of arrays and objects are a linked list in document order.
 */
struct json {
    enum json_type type;
    bool boolean;
    struct slice key;   /* member name, decoded; absent outside objects */
    struct slice text;  /* string: decoded bytes (may hold NUL); number: as written */
    struct json *child; /* first child */
    struct json *next;  /* next sibling */
    size_t count;       /* children */
};

struct json_limits {
    size_t bytes; /* of the whole text */
    int depth;
    size_t nodes;
};

/* Memory of parsed documents, reused from one to the next. */
struct json_doc;
struct json_doc *json_doc_new(void); /* NULL when out of memory */
void json_doc_free(struct json_doc *d);

/* Parses one document. *root and everything below it is valid until the next parse with d or its
 * free; strings may point into `text`, which must live as long. Depth 1 is one array or object.
 * ERR_REJECTED says what is wrong and at which byte. */
int json_parse(struct json_doc *d, struct slice text, const struct json_limits *limits,
               const struct json **root, struct err *e);

const struct json *json_get(const struct json *object, const char *key); /* NULL when absent */
/* The string member, or the absent slice when there is none or it is no string. */
struct slice json_string(const struct json *object, const char *key);
bool json_i64(const struct json *object, const char *key, int64_t *out); /* integral numbers only */

/* Writer. The caller writes the punctuation; these write one value each. */
void json_write_string(struct buf *b,
                       struct slice utf8); /* quoted and escaped; text must be valid UTF-8 */
/* Writes any bytes as a JSON string: what is not UTF-8 becomes U+FFFD. True when nothing was
 * replaced. */
bool json_write_lossy(struct buf *b, struct slice bytes);
void json_write_base64(struct buf *b, struct slice bytes);
/* `"key":` with a comma before it unless the buffer ends with '{' or '['. */
void json_key(struct buf *b, const char *key);
void json_put_string(struct buf *b, const char *key, struct slice utf8);
void json_put_i64(struct buf *b, const char *key, int64_t v);
void json_put_bool(struct buf *b, const char *key, bool v);
/* A comma unless the buffer ends with '{', '[' or ':'. */
void json_comma(struct buf *b);

static inline void own_json_doc(struct json_doc **d)
{
    json_doc_free(*d);
}

#endif
