/* SPDX-License-Identifier: Apache-2.0 */
/* Envelopes as a server and as a client reads them; what a server makes of a request reads back. */
#include "tests/fuzz/fuzz.h"

#include "chat-server/xccos.h"

#include <string.h>

static void as_server(struct xml_doc *d, struct slice body)
{
    static struct xccos_request q;
    static struct xml_doc *again;
    struct xccos_answer a;
    struct err e = {0};
    struct buf b;
    int r = xccos_read_request(d, body, &q, &e);

    if (!again)
        again = xml_doc_new();
    FUZZ_CHECK(r == 0 || (r == ERR_REJECTED && e.text[0]));
    if (r < 0)
        return;
    FUZZ_CHECK(q.room_count <= XCCOS_MAX_ROOMS);
    for (size_t i = 0; i < q.room_count; i++)
        FUZZ_CHECK(strlen(q.rooms[i]) < XCCOS_MAX_URI);
    buf_init(&b, 1 << 20);
    xccos_open_reply(
        &b, 1,
        &(struct xccos_ref){.command = q.command, .id = q.id, .envid = q.envid, .seqid = q.seqid},
        XCCOS_OK);
    for (size_t i = 0; i < q.room_count; i++)
        xccos_put_failed_room(&b, slice_of(q.rooms[i]));
    xccos_put_info(&b, q.domain, q.info_type, 0);
    xccos_close_reply(&b);
    FUZZ_CHECK(xccos_read_answer(again, buf_view(&b), &a, &e) == 0 && a.code == XCCOS_OK);
    buf_clear(&b);
    xccos_write_message(&b, 2, &(struct xccos_message){.text = q.text, .author = q.criteria});
    FUZZ_CHECK(xccos_read_answer(again, buf_view(&b), &a, &e) == 0);
    struct xccos_message m;
    const struct xml_node *at = NULL;
    FUZZ_CHECK(xccos_next_message(&a, &at, &m));
    FUZZ_CHECK(m.text.n == q.text.n && (m.text.n == 0 || slice_eq(m.text, q.text)));
    buf_done(&b);
}

static void as_client(struct xml_doc *d, struct slice body)
{
    struct xccos_answer a;
    struct xccos_user user;
    struct xccos_room room;
    struct xccos_message message;
    char uri[XCCOS_MAX_URI];
    struct err e = {0};

    if (xccos_read_answer(d, body, &a, &e) < 0)
        return;
    for (const struct xml_node *at = NULL; xccos_next_user(&a, &at, &user);)
        continue;
    for (const struct xml_node *at = NULL; xccos_next_room(&a, &at, &room);)
        continue;
    for (const struct xml_node *at = NULL; xccos_next_message(&a, &at, &message);)
        continue;
    (void)xccos_notice_room(&a, uri);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static struct xml_doc *d;
    struct slice body = {(const char *)bytes, n};

    if (!d)
        d = xml_doc_new();
    as_server(d, body);
    as_client(d, body);

    return 0;
}
