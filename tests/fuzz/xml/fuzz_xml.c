/* SPDX-License-Identifier: Apache-2.0 */
/* What the XML reader takes must be writable, and what is written must read back the same. */
#include "tests/fuzz/fuzz.h"

#include "base/xml.h"

static void write_node(struct buf *b, const struct xml_node *n)
{
    buf_char(b, '<');
    buf_slice(b, n->name);
    for (const struct xml_attr *a = n->attrs; a; a = a->next) {
        /* Two prefixes may give one local name twice: told apart by their place. */
        static char name[16];
        (void)snprintf(name, sizeof name, "a%u", (unsigned)(b->n % 100000));
        FUZZ_CHECK(xml_write_attr(b, name, a->value));
    }
    buf_char(b, '>');
    FUZZ_CHECK(xml_write_text(b, n->text));
    for (const struct xml_node *c = n->child; c; c = c->next)
        write_node(b, c);
    buf_text(b, "</");
    buf_slice(b, n->name);
    buf_char(b, '>');
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static const struct xml_limits limits = {.bytes = 1 << 16, .depth = 16, .nodes = 2000};
    static const struct xml_limits wider = {.bytes = 1 << 22, .depth = 16, .nodes = 2000};
    static struct xml_doc *d;
    const struct xml_node *root = NULL;
    struct err e = {0};
    if (!d)
        d = xml_doc_new();
    int rc = xml_parse(d, (struct slice){(const char *)bytes, n}, &limits, &root, &e);
    FUZZ_CHECK(rc == 0 || (rc == ERR_REJECTED && e.text[0] && !root));
    if (rc)
        return 0;
    struct buf first;
    struct buf second;
    buf_init(&first, 1 << 22);
    buf_init(&second, 1 << 22);
    write_node(&first, root);
    rc = xml_parse(d, buf_view(&first), &wider, &root, &e);
    FUZZ_CHECK(rc == 0);
    write_node(&second, root);
    FUZZ_CHECK(slice_eq(buf_view(&first), buf_view(&second)));
    buf_done(&first);
    buf_done(&second);
    return 0;
}
