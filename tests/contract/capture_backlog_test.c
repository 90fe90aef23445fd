/* SPDX-License-Identifier: Apache-2.0 */
/* Capture behind the queue: Kafka says since when a record waits. */
#include "capture/capture.h"
#include "tests/contract/capture_rig.h"

/* Here a millisecond is too long. */
static void what_waited_too_long_in_the_queue_is_said(void **state)
{
    struct fixture *f = *state;
    const struct capture_options o = {.staging = f->st,
                                      .writers = 2,
                                      .backlog_ms = 1,
                                      .captured = &f->captured,
                                      .kafka = &f->q.target};
    queue_posts(&f->q, 10, 1);
    ok(capture_start(&f->c, &o, &f->e), &f->e);
    wait_for(f, "SELECT count(*) FROM incident WHERE kind = 'backlog'", 1);
    wait_for(f, "SELECT count(*) FROM incident WHERE closed_us IS NOT NULL", 1);
    wait_for(f, all_records, 10);
}

int main(int argc, char **argv)
{
    static struct fixture services = {.services = true};
    (void)argc;
    if (!capture_parts(argv[0]))
        return 2;
    const struct CMUnitTest cases[] = {
        CAPTURE(what_waited_too_long_in_the_queue_is_said, &services)};
    return cmocka_run_group_tests(cases, NULL, NULL) ? 1 : 0;
}
