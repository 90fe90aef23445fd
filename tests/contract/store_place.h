/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of the store: a fresh store on either database for each case, posts, and a stream read
 * back and judged. */
#ifndef TESTS_CONTRACT_STORE_PLACE_H
#define TESTS_CONTRACT_STORE_PLACE_H

#include "base/own.h"
#include "chat-server/store/store.h"
#include "mgccomp/chain.h"
#include "tests/expect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOURCE SLICE("sip:pool.example.com")
#define ROOM   SLICE("ma-chan://example.com/one")
#define HELLO  "\"participant\":\"sip:ann@example.com\",\"text\":\"hello\""

struct place {
    enum db_kind kind;
    char url[512];
    struct store *s;
};

int set_up_sqlite(void **state);
int set_up_postgres(void **state);
int tear_down(void **state);
void reopen(struct place *p);

struct store_event post_in(struct slice room, const char *members);
struct store_event post(const char *members);

/* ---- reading a stream back ---- */
struct check {
    struct json_doc *d;
    struct chain_head head;
    int64_t count, chat_id, last_pos;
    const char *subject;
    size_t kinds[RECORD_KINDS];
};
/* A store_visit_fn over a struct check: the next row of a whole chain. */
int check_row(void *arg, const struct store_row *row, struct err *e);
struct check check_stream(struct store *s, int64_t stream);
struct check check_room(struct store *s, struct slice room);

struct find_stream {
    struct slice source, subject;
    int64_t id; /* 0: none */
    struct chain_head head;
    size_t all; /* streams of the store */
};
struct find_stream find(struct store *s, struct slice source, struct slice subject);

#define ON_BOTH(f)                                                                                 \
    {#f ", SQLite", f, set_up_sqlite, tear_down, NULL},                                            \
    {                                                                                              \
#f ", PostgreSQL", f, set_up_postgres, tear_down, NULL                                     \
    }

/* What a main does first. False: no parts are there. */
bool has_scratch(const char *program);

#endif
