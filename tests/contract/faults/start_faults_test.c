/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting each service, with every allocation failing once, and every thread, process and event
 * descriptor refused once: each failure is a clean error that leaves nothing behind (the sanitizer
 * counts), and the next try succeeds.
 */
#include "adapters/host/archiver.h"
#include "adapters/host/options.h"
#include "adapters/host/runner.h"
#include "base/own.h"
#include "base/stop.h"
#include "capture/capture.h"
#include "capture/positions.h"
#include "capture/queue_tidy.h"
#include "chat-server/store/heal_line.h"
#include "chat-server/store/relay.h"
#include "chat-server/store/totals.h"
#include "retention/sweep.h"
#include "tests/contract/faults/faults.h"
#include "tests/contract/queues.h"
#include "tests/expect.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct place {
    char dir[300], mgccomp[400], chat[400];
    struct staging *st;
    struct conf *conf;
    struct adapter_options *options;
    struct queue embedded, kafka;
    struct writer *w;
    struct err e;
};
static struct place place;

/* ---- the archiver ---- */

static struct archiver_options archiver_of(struct place *p)
{
    return (struct archiver_options){.staging = p->st,
                                     .conf = p->conf,
                                     .modules_dir = HOLDFAST_ABI_MODULES,
                                     .scratch_dir = p->dir,
                                     .delivered_dir = p->dir,
                                     .program = "/proc/self/exe"};
}

static int start_archiver(void *arg)
{
    struct place *p = arg;
    const struct archiver_options o = archiver_of(p);
    struct archiver *a = NULL;
    int rc = archiver_start(&a, &o, &p->e);
    archiver_stop(a);
    return rc;
}

static int load_options(void *arg)
{
    struct place *p = arg;
    OWN(own_adapter_options) struct adapter_options *o = NULL;
    return adapter_options_load(&o, p->conf, "a", HOLDFAST_ABI_MODULES, "/proc/self/exe", &p->e);
}

/* One more than it takes is loaded before: a runner owns its options, also one that was not made.
 */
static void ready_options(void *arg)
{
    struct place *p = arg;
    ok(adapter_options_load(&p->options, p->conf, "a", HOLDFAST_ABI_MODULES, "/proc/self/exe",
                            &p->e),
       &p->e);
}

static int make_runner(void *arg)
{
    struct place *p = arg;
    const struct ledger_instance row = {.id = 1, .name = "a", .state = "active"};
    struct runner *r = NULL;
    int rc = runner_new(&r, &row, p->options, p->dir, &p->e);
    if (rc == 0)
        runner_free(r);
    return rc;
}

static int describe(void *arg)
{
    static char module[] = "plain";
    char *argv[] = {module, NULL};
    char said[200] = "";
    OWN(own_file) FILE *none = fopen("/dev/null", "w");
    OWN(own_file) FILE *err = fmemopen(said, sizeof said, "w");
    struct app_io io = {.out = none, .err = err};
    (void)arg;
    assert_true(none && err);
    int code = adapter_describe_command(&io, HOLDFAST_ABI_MODULES, 1, argv);
    (void)fflush(err);
    assert_true(code == APP_OK || said[0]);
    return code == APP_OK ? 0 : ERR_RETRY;
}

/* ---- capture ---- */

static int start_capture(struct place *p, bool kafka)
{
    const struct capture_options o = {.staging = p->st,
                                      .batch_records = 10,
                                      .embedded = kafka ? NULL : &p->embedded.embedded,
                                      .kafka = kafka ? &p->kafka.target : NULL};
    struct capture *c = NULL;
    int rc = capture_start(&c, &o, &p->e);
    capture_stop(c);
    return rc;
}

static int capture_embedded(void *arg)
{
    return start_capture(arg, false);
}

static void fresh_staging(struct place *p)
{
    static int n;
    staging_close(p->st);
    p->st = NULL;
    (void)snprintf(p->mgccomp, sizeof p->mgccomp, "sqlite:%s/mgccomp%d.db", p->dir, ++n);
    ok(staging_open(&p->st, p->mgccomp, &p->e), &p->e);
}

static int capture_kafka(void *arg)
{
    return start_capture(arg, true);
}

static int assigned(void *arg, struct staging_position *positions, size_t n, struct err *e)
{
    (void)arg;
    (void)e;
    for (size_t i = 0; i < n; i++)
        positions[i] = (struct staging_position){.part = positions[i].part};
    return 0;
}

static void revoked(void *arg, const int32_t *parts, size_t n)
{
    (void)arg;
    (void)parts;
    (void)n;
}

/* Its first page, too. */
static int read_embedded(void *arg)
{
    static const struct source_events events = {assigned, revoked};
    struct place *p = arg;
    OWN(own_source) struct source *s = NULL;
    struct source_batch b = {0};
    struct source_batch *const to[] = {&b};
    int rc = source_batch_init(&b, 100, 1 << 20, &p->e);
    if (rc == 0)
        rc = source_embedded_open(&s, &p->embedded.embedded, &events, NULL, &p->e);
    if (rc == 0)
        rc = source_poll(s, to, 1, 0, &p->e);
    if (rc == 0)
        assert_int_equal(b.n, 5);
    source_batch_done(&b);
    return rc;
}

static int note_positions(void *arg)
{
    struct place *p = arg;
    struct positions all = {0};
    const struct staging_position at[] = {{.part = 1}, {.part = 2}};
    int rc = positions_add(&all, at, 2, &p->e);
    positions_done(&all);
    return rc;
}

static int tidy(void *arg)
{
    struct place *p = arg;
    struct queue_tidy *q = NULL;
    int rc = queue_tidy_new(&q, &p->kafka.target, p->st, &p->e);
    queue_tidy_free(q);
    return rc;
}

/* ---- the store's services ---- */

static int start_sweep(void *arg)
{
    struct place *p = arg;
    const struct sweep_options o = {.staging = p->st};
    struct sweep *s = NULL;
    int rc = sweep_start(&s, &o, &p->e);
    sweep_stop(s);
    return rc;
}

static int start_writer(void *arg)
{
    struct place *p = arg;
    const struct writer_options o = {.url = p->chat};
    struct writer *w = NULL;
    int rc = writer_start(&w, &o, &p->e);
    writer_stop(w);
    return rc;
}

static int start_relay(void *arg)
{
    struct place *p = arg;
    const struct relay_options o = {
        .store_url = p->chat, .kafka = p->kafka.target, .source = SLICE("urn:test")};
    struct relay *r = NULL;
    int rc = relay_start(&r, &o, &p->e);
    relay_stop(r);
    return rc;
}

static struct totals_options totals_of(struct place *p)
{
    struct totals_options o = {.store_url = p->chat,
                               .writer = p->w,
                               .source = SLICE("urn:test"),
                               .subject = SLICE("urn:uuid:1"),
                               .cadence_ms = 3600000};
    const uint8_t secret[SIGN_KEY_SIZE] = {5};
    ok(sign_key_from(&o.key, secret, &p->e), &p->e);
    return o;
}

static int start_totals(void *arg)
{
    struct place *p = arg;
    const struct totals_options o = totals_of(p);
    struct totals *t = NULL;
    int rc = totals_start(&t, &o, &p->e);
    totals_stop(t);
    return rc;
}

static int write_totals(void *arg)
{
    struct place *p = arg;
    const struct totals_options o = totals_of(p);
    return totals_write_once(&o, &p->e);
}

static int open_line(void *arg)
{
    struct place *p = arg;
    OWN(own_heal_line) struct heal_line *l = NULL;
    return heal_line_open(&l, &p->kafka.target, &p->e);
}

/* ---- */

static void each(const struct faults_step *s)
{
    faults_sweep(FAULT_MACHINE, s, &place);
    faults_sweep(FAULT_MEMORY, s, &place);
}

static void no_adapters(void *arg)
{
    fresh_staging(arg);
}

static void the_archiver_starts(void **state)
{
    (void)state;
    each(&(struct faults_step){.name = "load_options", .run = load_options});
    each(&(struct faults_step){.name = "make_runner", .run = make_runner, .ready = ready_options});
    each(&(struct faults_step){.name = "describe", .run = describe});
    each(&(struct faults_step){
        .name = "start_first", .run = start_archiver, .ready = no_adapters, .spares = true});
    /* Folders that can't be asked for are not compared. */
    each(&(struct faults_step){.name = "start_archiver", .run = start_archiver, .spares = true});
}

/* What it lacks at first it tries to get while it runs. */
static void capture_starts(void **state)
{
    (void)state;
    queue_posts(&place.embedded, 5, 1);
    each(&(struct faults_step){.name = "read_embedded", .run = read_embedded});
    each(&(struct faults_step){.name = "note_positions", .run = note_positions});
    each(&(struct faults_step){.name = "tidy", .run = tidy});
    each(&(struct faults_step){.name = "embedded", .run = capture_embedded, .spares = true});
    fresh_staging(&place);
    each(&(struct faults_step){.name = "kafka", .run = capture_kafka, .spares = true});
}

static void the_stores_services_start(void **state)
{
    const struct writer_options o = {.url = place.chat};
    (void)state;
    each(&(struct faults_step){.name = "start_sweep", .run = start_sweep});
    each(&(struct faults_step){.name = "start_writer", .run = start_writer});
    each(&(struct faults_step){.name = "start_relay", .run = start_relay});
    each(&(struct faults_step){.name = "open_line", .run = open_line});
    ok(writer_start(&place.w, &o, &place.e), &place.e);
    ok(writer_claim(place.w, SLICE("urn:test"), &place.e), &place.e);
    each(&(struct faults_step){.name = "start_totals", .run = start_totals});
    each(&(struct faults_step){.name = "write_totals", .run = write_totals});
    writer_stop(place.w);
}

static void set_up(struct place *p)
{
    static const struct conf_section sections[] = {{"adapter *", "An adapter.", NULL}, {0}};
    char path[400];
    (void)stop_fd(); /* made at its first use, without which a program ends */
    (void)snprintf(p->dir, sizeof p->dir, "%s", getenv("HOLDFAST_TEST_SCRATCH"));
    (void)snprintf(p->chat, sizeof p->chat, "sqlite:%s/chat.db", p->dir);
    (void)snprintf(path, sizeof path, "%s/out", p->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/holdfast.conf", p->dir);
    OWN(own_file) FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fprintf(f, "[adapter a]\nmodule = plain\ndirectory = %s/out\n", p->dir);
    assert_int_equal(fflush(f), 0);
    ok(conf_load(&p->conf, path, sections, &p->e), &p->e);
    fresh_staging(p);
    queue_make(&p->embedded, false, p->dir, 0);
    queue_make(&p->kafka, true, p->dir, 1);
    (void)snprintf(path, sizeof path, "%s-control", p->kafka.topic);
    queue_broker("topic", path, "1");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_archiver_starts),
        cmocka_unit_test(capture_starts),
        cmocka_unit_test(the_stores_services_start),
    };
    if (argc > 1 && strcmp(argv[1], "worker") == 0)
        return worker_main(argc - 1, argv + 1);
    if (!getenv("HOLDFAST_TEST_SCRATCH") || !getenv("HOLDFAST_TEST_KAFKA")) {
        (void)fprintf(stderr, "run me through tests/parts/with kafka -- start_faults_test\n");
        return 2;
    }
    set_up(&place);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    staging_close(place.st);
    queue_done(&place.embedded);
    queue_done(&place.kafka);
    conf_free(place.conf);
    return failed ? 1 : 0;
}
