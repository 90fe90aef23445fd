/* SPDX-License-Identifier: Apache-2.0 */
/* What is too large or not allowed is refused by the store, on SQLite and on a private PostgreSQL,
 * one by one and with a reason, and the same handle goes on storing. */
#include "store_place.h"

#include "chat-server/store/directory.h"
#include "chat-server/store/heal_line.h"
#include "chat-server/store/limit.h"

enum { LONG = 70000, GROUP = 5000, SOURCES = 16 };

static char long_text[LONG + 1];

static struct slice of_size(size_t n)
{
    return (struct slice){long_text, n};
}

/* ---- events ---- */

static void refused(struct place *p, const struct store_event *event, const char *why)
{
    struct store_result r = {0};
    OK(store_append(p->s, event, 1, &r, &e));
    assert_int_equal(r.class, ERR_REJECTED);
    if (!strstr(r.text, why))
        fail_msg("\"%s\" is not in: %s", why, r.text);
}

static struct store_event join(void)
{
    struct store_event event = post("\"participant\":\"sip:ann@example.com\"");
    event.kind = RECORD_JOIN;
    event.numbered = false;
    event.presence = STORE_PRESENCE_JOIN;
    event.session = SLICE("urn:uuid:1");
    event.participant = SLICE("sip:ann@example.com");
    event.endpoint = SLICE("epid-1");
    event.name = SLICE("Ann");
    return event;
}

/* Rows 11..20 were stored since the start. What capture reads a second time it has read before. */
static void what_waits_is_counted_by_position(void **state)
{
    (void)state;
    assert_int_equal(limit_waiting(0, 0, 11), 0);
    assert_int_equal(limit_waiting(11, 20, 1), 10);
    assert_int_equal(limit_waiting(11, 20, 11), 10);
    assert_int_equal(limit_waiting(11, 20, 15), 6);
    assert_int_equal(limit_waiting(11, 20, 21), 0);
    assert_int_equal(limit_waiting(11, 20, 30), 0);
}

static void events_are_bounded(void **state)
{
    struct place *p = *state;
    struct store_result r = {0};
    struct store_event event = join();
    OK(store_claim(p->s, SOURCE, &e));
    event.session = SLICE("");
    refused(p, &event, "session of a presence is missing");
    event = join();
    event.participant = of_size(RECORD_MAX_PARTICIPANT + 1);
    refused(p, &event, "participant is missing, too long");
    event = join();
    event.endpoint = SLICE("a\nb");
    refused(p, &event, "endpoint is too long or not plain text");
    event = join();
    event.name = of_size(RECORD_MAX_PARTICIPANT + 1);
    refused(p, &event, "name is too long");
    event = post(HELLO);
    event.kind = RECORD_KINDS;
    refused(p, &event, "is not known");
    event = post(HELLO);
    event.subject = of_size(RECORD_MAX_SUBJECT + 1);
    refused(p, &event, "subject is missing, too long");
    OWN(own_mem) char *huge = calloc(1, RECORD_MAX_BYTES + 1);
    assert_non_null(huge);
    event = post(HELLO);
    event.members = (struct slice){huge, RECORD_MAX_BYTES + 1};
    refused(p, &event, "record has over 524288 bytes");
    event = join();
    OK(store_append(p->s, &event, 1, &r, &e));
    assert_int_equal(r.class, 0);
    assert_int_equal(r.sequence, 1);
}

static void groups_are_bounded(void **state)
{
    struct place *p = *state;
    struct store_result r = {0};
    OWN(own_mem) struct store_event *events = calloc(GROUP, sizeof *events);
    OWN(own_mem) struct store_result *results = calloc(GROUP, sizeof *results);
    assert_true(events && results);
    OK(store_claim(p->s, SOURCE, &e));
    for (int i = 0; i < GROUP; i++)
        events[i] = post(HELLO);
    FAILS(ERR_REJECTED, store_append(p->s, events, GROUP, results, &e));
    OK(store_append(p->s, events, 1, &r, &e));
    assert_int_equal(r.sequence, 1);
}

/* A producer's id of any length is known again, told from one that differs in its middle only. */
static void long_ids_are_known_again(void **state)
{
    static const char form[] =
        "{\"specversion\":\"1.0\",\"id\":\"%.60s%d%.60s\",\"type\":\"com.example.message\","
        "\"time\":\"2026-01-01T00:00:00Z\",\"subject\":\"room\",\"data\":{}}";
    struct place *p = *state;
    struct store_result r[3] = {{0}};
    char raw[2][400];
    OK(store_claim(p->s, SOURCE, &e));
    for (int i = 0; i < 2; i++)
        (void)snprintf(raw[i], sizeof raw[i], form, long_text, i, long_text);
    for (int i = 0; i < 3; i++) {
        const struct store_event event = {.source = SOURCE, .raw = slice_of(raw[i % 2])};
        OK(store_append(p->s, &event, 1, &r[i], &e));
        assert_int_equal(r[i].class, 0);
    }
    assert_int_equal(r[1].sequence, 2);
    assert_true(r[2].duplicate);
    assert_int_equal(r[2].sequence, 1);
}

/* ---- sources and sessions ---- */

static void sources_are_bounded(void **state)
{
    struct place *p = *state;
    char source[20];
    FAILS(ERR_REJECTED, store_claim(p->s, SLICE(""), &e));
    FAILS(ERR_REJECTED, store_claim(p->s, of_size(RECORD_MAX_SOURCE + 1), &e));
    for (int i = 0; i < SOURCES; i++) {
        (void)snprintf(source, sizeof source, "urn:%d", i);
        OK(store_claim(p->s, slice_of(source), &e));
        OK(store_claim(p->s, slice_of(source), &e));
    }
    FAILS(ERR_REJECTED, store_claim(p->s, SLICE("urn:more"), &e));
}

static void sessions_are_bounded(void **state)
{
    struct place *p = *state;
    FAILS(ERR_FAULT, store_end_session(p->s, &e));
    FAILS(ERR_REJECTED, store_begin_session(p->s, SOURCE, SLICE(""), SLICE(""), &e));
    FAILS(ERR_REJECTED, store_begin_session(p->s, SOURCE, SLICE("urn:uuid:1"), of_size(LONG), &e));
    OK(store_begin_session(p->s, SOURCE, SLICE("urn:uuid:1"), SLICE(""), &e));
    FAILS(ERR_FAULT, store_begin_session(p->s, SOURCE, SLICE("urn:uuid:2"), SLICE(""), &e));
    OK(store_end_session(p->s, &e));
}

static void shared_sessions_are_bounded(void **state)
{
    struct place *p = *state;
    struct slice session = SLICE("urn:uuid:1");
    FAILS(ERR_FAULT, store_renew_session(p->s, &e));
    FAILS(ERR_FAULT, store_own_room(p->s, ROOM, &e));
    if (p->kind == DB_SQLITE) {
        FAILS(ERR_CONFIG, store_share_session(p->s, SOURCE, session, SLICE(""), 10000, &e));
        return;
    }
    FAILS(ERR_REJECTED, store_share_session(p->s, SOURCE, SLICE(""), SLICE(""), 10000, &e));
    FAILS(ERR_REJECTED, store_share_session(p->s, SOURCE, session, of_size(LONG), 10000, &e));
    FAILS(ERR_REJECTED, store_share_session(p->s, SOURCE, session, SLICE(""), 1, &e));
    FAILS(ERR_REJECTED, store_share_session(p->s, SLICE(""), session, SLICE(""), 10000, &e));
    OK(store_claim(p->s, SLICE("urn:alone"), &e));
    FAILS(ERR_FAULT, store_share_session(p->s, SOURCE, session, SLICE(""), 10000, &e));
}

/* ---- rooms and users ---- */

static void names_are_bounded(void **state)
{
    struct place *p = *state;
    struct slice user = SLICE("sip:ann@example.com");
    FAILS(ERR_REJECTED, directory_add_user(p->s, user, SLICE("\xff"), &e));
    FAILS(ERR_REJECTED, directory_add_user(p->s, user, of_size(257), &e));
    FAILS(ERR_REJECTED, directory_add_user(p->s, SLICE("ann@example.com"), SLICE("Ann"), &e));
    OK(directory_add_user(p->s, user, of_size(256), &e));
}

/* ---- the control topic ---- */

static void messages_are_judged(void **state)
{
    static const char *const bad[] = {
        "no json",
        "[]",
        "{\"type\":\"ask\"}",
        "{\"type\":\"here\",\"token\":\"t\"}",
        "{\"type\":\"order\",\"token\":\"t\"}",
        "{\"type\":\"healed\",\"token\":\"t\"}",
        "{\"type\":\"want\",\"source\":\"s\",\"subject\":\"r\",\"epoch\":1,\"first\":3,\"last\":2}",
        "{\"type\":\"answer\",\"source\":\"s\",\"subject\":\"r\",\"epoch\":1,\"first\":1}",
    };
    OWN(own_json_doc) struct json_doc *d = json_doc_new();
    struct heal_message m;
    char topic[HEAL_TOPIC_SIZE];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        FAILS(ERR_REJECTED, heal_read(d, slice_of(bad[i]), &m, &e));
    OK(heal_read(d, SLICE("{\"type\":\"ask\",\"token\":\"t\"}"), &m, &e));
    assert_int_equal(m.type, HEAL_ASK);
    OK(heal_read(d, SLICE("{\"type\":\"here\",\"source\":\"s\"}"), &m, &e));
    assert_int_equal(m.type, HEAL_HERE);
    FAILS(ERR_CONFIG, heal_topic(long_text, topic, &e));
    OK(heal_topic("records", topic, &e));
    assert_string_equal(topic, "records-control");
}

int main(int argc, char **argv)
{
    (void)argc;
    memset(long_text, 'x', LONG);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_waits_is_counted_by_position),
        ON_BOTH(events_are_bounded),
        ON_BOTH(groups_are_bounded),
        ON_BOTH(long_ids_are_known_again),
        ON_BOTH(sources_are_bounded),
        ON_BOTH(sessions_are_bounded),
        ON_BOTH(shared_sessions_are_bounded),
        ON_BOTH(names_are_bounded),
        cmocka_unit_test(messages_are_judged),
    };
    return has_scratch(argv[0]) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
