/* SPDX-License-Identifier: Apache-2.0 */
/* What people are told of each kind of incident: where it is, how it stands, what is at stake, what
 * to type. */
#include "mgccomp/incident_text.h"

#include "base/own.h"
#include "mgccomp/totals.h"
#include "tests/expect.h"

#include <string.h>

enum { NOW = 1000000 };

struct told {
    struct incident i;
    const char *place, *state, *stake, *command;
};

#define ROOM   .subject = SLICE_INIT("room"), .source = SLICE_INIT("sip:pool")
#define NOBODY .part = -1

#define SLICE_INIT(text)                                                                           \
    {                                                                                              \
        text, sizeof text - 1                                                                      \
    }

static const struct told all[] = {
    {{.kind = INCIDENT_GAP, .id = 7, ROOM, NOBODY, .first = 3, .last = 5, .waits_us = NOW + 1},
     "room#3..5",
     "asked for: the answer of the source's store is waited for until ",
     "3 records of this room are not archived and may be lost; until it closes nothing more of"
     " this room is deleted from mgccomp",
     "holdfast queue heal; when neither a store nor the source can send it again: holdfast"
     " incident accept 7 --reason TEXT, by two people"},
    {{.kind = INCIDENT_GAP, ROOM, NOBODY, .first = 3, .last = 3, .answer = SLICE_INIT("no")},
     "room#3",
     "stands: asked for them, the source's store answers: no",
     "1 record of this room is not archived",
     "holdfast queue heal"},
    {{.kind = INCIDENT_GAP, ROOM, NOBODY, .first = 3, .last = 3},
     "room#3",
     "stands: no store has answered",
     "1 record",
     "holdfast queue heal"},
    {{.kind = INCIDENT_ALTERED, .id = 8, ROOM, NOBODY, .first = 3, .last = 4},
     "room#3..4",
     "stands until a person settles it",
     "what was written can't be told from what was changed; ",
     "holdfast incident accept 8 --reason TEXT, by two people"},
    {{.kind = INCIDENT_FORK, ROOM, NOBODY, .first = 3, .last = 3},
     "room#3",
     "stands until a person settles it",
     "two contents claim one place, and both are archived; ",
     "holdfast incident accept"},
    {{.kind = INCIDENT_REPEAT, ROOM, NOBODY, .proposed_us = 1, .proposed_by = SLICE_INIT("ann")},
     "room",
     "proposed to be accepted by ann; another person must do it",
     "its bytes are kept and archived; ",
     "holdfast incident accept"},
    {{.kind = INCIDENT_UNREADABLE, .part = 2, .first = 9, .last = 9},
     "partition 2 position 9",
     "stands until a person settles it",
     "its bytes are kept and archived; until it closes nothing more of this partition",
     "holdfast incident accept"},
    {{.kind = INCIDENT_LOG_CHANGED, .part = 2, .first = 9, .last = 12},
     "partition 2 position 9..12",
     "stands until a store answers, or the right log is back",
     "records may have gone from the queue before they were captured; ",
     "holdfast queue check; then holdfast queue heal"},
    {{.kind = INCIDENT_LOG_CHANGED, .part = 2, .answer = SLICE_INIT("reread")},
     "partition 2",
     "being mended: the log is read from its beginning",
     "records may have gone",
     "holdfast queue check"},
    {{.kind = INCIDENT_LOG_CHANGED, .elsewhere = "L4", .source = SLICE_INIT("sip:pool"), .part = 2},
     "sip:pool, partition 2",
     "being mended: the store sends again what capture lacks",
     "records may have gone from the queue before they were captured; the store keeps every record",
     "holdfast queue heal"},
    {{.kind = INCIDENT_PARKED,
      .id = 9,
      NOBODY,
      .batch = SLICE_INIT("0198"),
      .instance = SLICE_INIT("tar")},
     "batch 0198 of adapter tar",
     "stands until a person settles it",
     "these records are not in that archive; until it closes its records stay in mgccomp",
     "holdfast incident retry 9"},
    {{.kind = INCIDENT_PARKED,
      .elsewhere = "P4.17",
      ROOM,
      NOBODY,
      .first = 17,
      .last = 17,
      .answer = SLICE_INIT("too large")},
     "room#17",
     "stands: the queue refuses it: too large. People accept it as the gap it leaves",
     "this record is not archived; the store keeps every record",
     "holdfast queue heal"},
    {{.kind = INCIDENT_DAMAGED, .id = 9, NOBODY, .batch = SLICE_INIT("0198")},
     "batch 0198",
     "stands until a person settles it",
     "that archive can't be relied on; ",
     "holdfast incident retry 9"},
    {{.kind = INCIDENT_SILENT, NOBODY, .source = SLICE_INIT("sip:pool")},
     "sip:pool",
     "stands until the source writes its totals",
     "whether its last records arrived is not known; until it closes nothing more of this source",
     "holdfast source list"},
    {{.kind = INCIDENT_GAP, ROOM, NOBODY, .closed_us = 2, .closed_how = SLICE_INIT("mended")},
     "room",
     "closed: mended",
     NULL,
     "holdfast incident list --all"},
    {{.kind = "of a later version", NOBODY},
     "",
     "stands until a person settles it",
     "its bytes are kept",
     "holdfast status"},
};

typedef void put_fn(struct buf *b, const struct incident *i);

static void put_state(struct buf *b, const struct incident *i)
{
    incident_put_state(b, i, NOW);
}

static void begins(put_fn *put, const struct incident *i, const char *text)
{
    OWN(own_buf) struct buf b;
    buf_init(&b, 4096);
    if (!text)
        return;
    buf_text(&b, "");
    put(&b, i);
    if (!slice_starts(buf_view(&b), text))
        fail_msg("%s: \"%.*s\" does not begin with: %s", i->kind, SLICE_ARG(buf_view(&b)), text);
}

static void each_kind_is_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        begins(incident_put_place, &all[i].i, all[i].place);
        begins(put_state, &all[i].i, all[i].state);
        begins(incident_put_stake, &all[i].i, all[i].stake);
        begins(incident_put_command, &all[i].i, all[i].command);
        assert_true(strlen(incident_meaning(&all[i].i)) > 20);
    }
}

static void what_is_not_known_says_so(void **state)
{
    const struct incident later = {.kind = "of a later version"};
    const struct incident refused = {.kind = INCIDENT_PARKED, .elsewhere = "P4.17"};
    (void)state;
    assert_string_equal(incident_meaning(&later), "A kind this program does not know.");
    assert_non_null(strstr(incident_meaning(&refused), "The queue refused this record"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_is_told),
        cmocka_unit_test(what_is_not_known_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
