/* SPDX-License-Identifier: Apache-2.0 */
/* What the JSON reader takes must be writable, and what is written must read back the same. */
#include "tests/fuzz/fuzz.h"

#include "base/json.h"

static void write_node(struct buf *b, const struct json *n)
{
    switch (n->type) {
    case JSON_NULL:
        buf_text(b, "null");
        return;
    case JSON_BOOL:
        buf_text(b, n->boolean ? "true" : "false");
        return;
    case JSON_NUMBER:
        buf_slice(b, n->text);
        return;
    case JSON_STRING:
        FUZZ_CHECK(utf8_valid(n->text));
        json_write_string(b, n->text);
        return;
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    size_t count = 0;
    buf_char(b, n->type == JSON_ARRAY ? '[' : '{');
    for (const struct json *c = n->child; c; c = c->next, count++) {
        json_comma(b);
        if (n->type == JSON_OBJECT) {
            json_write_string(b, c->key);
            buf_char(b, ':');
        }
        write_node(b, c);
    }
    FUZZ_CHECK(count == n->count);
    buf_char(b, n->type == JSON_ARRAY ? ']' : '}');
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static const struct json_limits limits = {.bytes = 1 << 16, .depth = 16, .nodes = 2000};
    static const struct json_limits wider = {.bytes = 1 << 20, .depth = 16, .nodes = 2000};
    static struct json_doc *d;
    const struct json *root = NULL;
    struct err e = {0};
    if (!d)
        d = json_doc_new();
    int rc = json_parse(d, (struct slice){(const char *)bytes, n}, &limits, &root, &e);
    FUZZ_CHECK(rc == 0 || (rc == ERR_REJECTED && e.text[0] && !root));
    if (rc)
        return 0;
    struct buf first;
    struct buf second;
    buf_init(&first, 1 << 20);
    buf_init(&second, 1 << 20);
    write_node(&first, root);
    rc = json_parse(d, buf_view(&first), &wider, &root, &e);
    FUZZ_CHECK(rc == 0);
    write_node(&second, root);
    FUZZ_CHECK(slice_eq(buf_view(&first), buf_view(&second)));
    buf_done(&first);
    buf_done(&second);
    return 0;
}
