/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"

#include "audit/relay_incidents.h"
#include "audit/status.h"
#include "audit/store_copy.h"
#include "base/app.h"
#include "base/log.h"
#include "base/own.h"
#include "capture/ingest.h"
#include "capture/queue_check.h"
#include "capture/queue_heal.h"
#include "chat-server/commands.h"
#include "handles.h"
#include "mgccomp/check.h"
#include "mgccomp/incident.h"
#include "restore.h"
#include "retention/drain.h"
#include "sources.h"
#include "up.h"

#include <string.h>

static struct handles *open_handles(struct app_io *io)
{
    return io->open;
}

/* ---- look ---- */

enum { QUEUE_MS = 3000 }; /* status asks it so long */

int cmd_status(struct app_io *io, int argc, char **argv)
{
    struct handles *h = open_handles(io);
    OWN(own_store) struct store *store = NULL;
    OWN(own_db) struct db *db = NULL;
    struct capture_state capture = {0};
    struct relay_state relay = {0};
    struct kafka_facts facts;
    struct staging *st;
    struct err e = {0};
    struct err queue = {0};

    if (handles_staging(h, &st, &e) == 0 && staging_reader(st, &db, &e) == 0)
        (void)handles_store_reader(h, &store, &e);
    if (h->settings->services)
        (void)kafka_check(&h->settings->kafka, QUEUE_MS, &facts, &queue);
    if (h->capture)
        capture_state(h->capture, &capture);
    if (h->relay)
        relay_state(h->relay, &relay);
    struct status_input in = {
        .store = store,
        .staging = db,
        .unknown = e.text,
        .queue_problem = h->settings->services ? queue.text : NULL,
        .capture_problem = h->capture ? capture.problem : NULL,
        .relay_problem = h->relay ? relay.problem : NULL,
        .capture_held = capture.held,
        .limit = &h->settings->limit,
        .started_ms = h->started_ms,
        .started_free = h->started_free,
    };
    return status_command(io, &in, argc, argv);
}

typedef int staging_command(struct app_io *io, struct staging *st, int argc, char **argv);

static int with_staging(struct app_io *io, int argc, char **argv, staging_command *run)
{
    struct staging *st;
    struct err e = {0};

    if (handles_staging(open_handles(io), &st, &e))
        return app_fail(io, &e);
    return run(io, st, argc, argv);
}

/* mgccomp's incidents and, as far as the store can be asked, the relay's. */
static int over_incidents(struct app_io *io, int argc, char **argv,
                          int (*run)(struct app_io *io, struct staging *st,
                                     const struct incident_others *others, int argc, char **argv))
{
    struct handles *h = open_handles(io);
    OWN(own_store) struct store *store = NULL;
    struct incident_others others = {NULL, NULL};
    struct staging *st;
    struct err e = {0};

    if (handles_staging(h, &st, &e))
        return app_fail(io, &e);
    if (handles_store_reader(h, &store, &e))
        fprintf(io->err, "holdfast: the relay's own incidents can't be read: %s\n", e.text);
    else
        others = (struct incident_others){relay_incidents_each, store};
    return run(io, st, &others, argc, argv);
}

int cmd_incident_list(struct app_io *io, int argc, char **argv)
{
    return over_incidents(io, argc, argv, incident_list_command);
}

int cmd_incident_show(struct app_io *io, int argc, char **argv)
{
    return over_incidents(io, argc, argv, incident_show_command);
}

int cmd_queue_heal(struct app_io *io, int argc, char **argv)
{
    struct handles *h = open_handles(io);
    OWN(own_store) struct store *store = NULL;
    struct queue_heal_input in = {.kafka = h->settings->services ? &h->settings->kafka : NULL,
                                  .store_url = h->settings->store_url};
    struct err e = {0};

    if (!h->settings->services && !h->running)
        return err_set(&e, ERR_RETRY, "nothing runs here that could capture. Start `holdfast up`"),
               app_fail(io, &e);
    if (handles_staging(h, &in.staging, &e) || handles_store_reader(h, &store, &e))
        return app_fail(io, &e);
    in.store = store;
    return queue_heal_command(io, &in, argc, argv);
}

/* "L4", "P4.17": the relay's, in the store. */
static bool is_of_relay(int argc, char **argv)
{
    return argc > 0 && (argv[0][0] == 'L' || argv[0][0] == 'P');
}

int cmd_incident_retry(struct app_io *io, int argc, char **argv)
{
    if (is_of_relay(argc, argv))
        return cmd_queue_heal(io, 0, argv);
    return with_staging(io, argc, argv, incident_retry_command);
}

/* A refused record is accepted as the gap it leaves in mgccomp. */
static int accept_of_relay(struct app_io *io, int argc, char **argv)
{
    struct handles *h = open_handles(io);
    OWN(own_store) struct store *store = NULL;
    OWN(own_db) struct db *db = NULL;
    struct staging *st;
    char number[24];
    int64_t gap = 0;
    struct err e = {0};

    if (argv[0][0] == 'L')
        return err_set(&e, ERR_CONFLICT,
                       "incident %.40s can't be accepted: it closes once the store has sent again"
                       " what is missing. Type: holdfast queue heal",
                       argv[0]),
               app_fail(io, &e);
    if (handles_staging(h, &st, &e) || staging_reader(st, &db, &e) ||
        handles_store_reader(h, &store, &e) || relay_incident_gap(store, db, argv[0], &gap, &e))
        return app_fail(io, &e);
    snprintf(number, sizeof number, "%lld", (long long)gap);
    argv[0] = number;
    return incident_accept_command(io, st, argc, argv);
}

int cmd_incident_accept(struct app_io *io, int argc, char **argv)
{
    if (is_of_relay(argc, argv))
        return accept_of_relay(io, argc, argv);
    return with_staging(io, argc, argv, incident_accept_command);
}

/* ---- feed ---- */

int cmd_ingest(struct app_io *io, int argc, char **argv)
{
    struct handles *h = open_handles(io);
    const char *source = NULL;
    const struct app_option options[] = {{"source", &source, NULL}, {0}};
    struct ingest_into into = {.limit = &h->settings->limit, .store_url = h->settings->store_url};
    struct sign_key key;
    bool signs = false;
    struct err e = {0};
    char *copy[64];
    int operands;

    if (argc > 64 || argc < 1)
        return app_fail(io, (err_set(&e, ERR_CONFIG, "ingest: too many words"), &e));
    memcpy(copy, argv, (size_t)argc * sizeof *argv);
    if (app_options(options, argc, copy, &operands, &e))
        return app_fail(io, &e);
    if (!source)
        return app_fail(io, (err_set(&e, ERR_CONFIG, "ingest: --source NAME is needed"), &e));
    if (sources_signing_key(h->settings, slice_of(source), &key, &signs, &e) ||
        handles_relay(h, slice_of(source), &into.relay, &e) || handles_writer(h, &into.writer, &e))
        return app_fail(io, &e);
    int older = handles_check_copy(h, slice_of(source), false, &e);
    if (older == ERR_CONFLICT)
        return app_fail(io, &e);
    if (older)
        log_error("store.unchecked", &e, "source=%s", source);
    into.key = signs ? &key : NULL;
    return ingest_command(io, &into, argc, argv);
}

int cmd_source_list(struct app_io *io, int argc, char **argv)
{
    return source_list_command(io, open_handles(io), argc, argv);
}

int cmd_queue_check(struct app_io *io, int argc, char **argv)
{
    struct handles *h = open_handles(io);
    struct queue_check_input in = {.kafka = h->settings->services ? &h->settings->kafka : NULL,
                                   .store_url = h->settings->store_url};
    struct err e = {0};

    if (handles_staging(h, &in.staging, &e))
        return app_fail(io, &e);
    return queue_check_command(io, &in, argc, argv);
}

int cmd_queue_hold(struct app_io *io, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct handles *h = open_handles(io);
    if (!h->capture)
        return fprintf(io->err, "holdfast: capture does not run here\n"), APP_FAILED;
    capture_hold(h->capture, true);
    fprintf(io->out, "capture is held: records wait in the queue. Type: holdfast queue resume\n");
    return APP_OK;
}

int cmd_queue_resume(struct app_io *io, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct handles *h = open_handles(io);
    if (!h->capture)
        return fprintf(io->err, "holdfast: capture does not run here\n"), APP_FAILED;
    capture_hold(h->capture, false);
    fprintf(io->out, "capture goes on\n");
    return APP_OK;
}

int cmd_adapter_add(struct app_io *io, int argc, char **argv)
{
    struct handles *h = open_handles(io);
    struct staging *st;
    struct err e = {0};

    if (handles_staging(h, &st, &e))
        return app_fail(io, &e);
    return adapter_add_command(io, st, h->settings->conf, h->settings->modules, argc, argv);
}

int cmd_adapter_describe(struct app_io *io, int argc, char **argv)
{
    struct handles *h = open_handles(io);

    return adapter_describe_command(io, h->settings->modules, argc, argv);
}

int cmd_adapter_list(struct app_io *io, int argc, char **argv)
{
    return with_staging(io, argc, argv, adapter_list_command);
}

int cmd_adapter_pause(struct app_io *io, int argc, char **argv)
{
    return with_staging(io, argc, argv, adapter_pause_command);
}

int cmd_adapter_resume(struct app_io *io, int argc, char **argv)
{
    return with_staging(io, argc, argv, adapter_resume_command);
}

int cmd_adapter_retire(struct app_io *io, int argc, char **argv)
{
    return with_staging(io, argc, argv, adapter_retire_command);
}

/* ---- chat ---- */

/* A change of rooms or users, made in the store's writing thread; one of the two is set. */
struct store_call {
    struct app_io *io;
    int argc, code;
    char **argv;
    int (*add)(struct app_io *io, struct store *s, const char *domain, int argc, char **argv);
    int (*list)(struct app_io *io, struct store *s, int argc, char **argv);
};

static int call_in_store(struct store *s, void *arg, struct err *e)
{
    struct store_call *c = arg;

    (void)e;
    c->code = c->add ? c->add(c->io, s, open_handles(c->io)->settings->domain, c->argc, c->argv)
                     : c->list(c->io, s, c->argc, c->argv);
    return 0;
}

static int in_store(struct store_call c)
{
    struct err e = {0};

    if (handles_with_store(open_handles(c.io), call_in_store, &c, &e))
        return app_fail(c.io, &e);
    return c.code;
}

int cmd_room_add(struct app_io *io, int argc, char **argv)
{
    return in_store(
        (struct store_call){.io = io, .argc = argc, .argv = argv, .add = room_add_command});
}

int cmd_room_list(struct app_io *io, int argc, char **argv)
{
    return in_store(
        (struct store_call){.io = io, .argc = argc, .argv = argv, .list = room_list_command});
}

int cmd_user_add(struct app_io *io, int argc, char **argv)
{
    return in_store(
        (struct store_call){.io = io, .argc = argc, .argv = argv, .add = user_add_command});
}

int cmd_user_list(struct app_io *io, int argc, char **argv)
{
    return in_store(
        (struct store_call){.io = io, .argc = argc, .argv = argv, .list = user_list_command});
}

int cmd_chat(struct app_io *io, int argc, char **argv)
{
    struct settings *s = open_handles(io)->settings;

    return chat_client_command(io, s->server, s->domain, argc, argv);
}

int cmd_store_restored(struct app_io *io, int argc, char **argv)
{
    struct handles *h = open_handles(io);
    struct store_copy_input in = {.store_url = h->settings->store_url,
                                  .pool = slice_of(h->settings->pool),
                                  .embedded = !h->settings->services};
    struct err e = {0};

    if (handles_staging(h, &in.staging, &e))
        return app_fail(io, &e);
    return store_restored_command(io, &in, argc, argv);
}

/* ---- run ---- */

int cmd_drain(struct app_io *io, int argc, char **argv)
{
    struct handles *h = open_handles(io);
    OWN(own_store) struct store *store = NULL;
    struct drain_input in = {.kafka = h->settings->services ? &h->settings->kafka : NULL};
    struct err e = {0};

    if (!h->settings->services && !h->running)
        return err_set(&e, ERR_RETRY, "nothing runs here that could archive. Start `holdfast up`"),
               app_fail(io, &e);
    if (handles_staging(h, &in.staging, &e) || handles_store_reader(h, &store, &e))
        return app_fail(io, &e);
    in.store = store;
    return drain_command(io, &in, argc, argv);
}

int cmd_chat_server(struct app_io *io, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return chat_server_run(io, open_handles(io));
}

int cmd_capture(struct app_io *io, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return capture_run(io, open_handles(io));
}

int cmd_archiver(struct app_io *io, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return archiver_run(io, open_handles(io));
}

/* ---- set up ---- */

int cmd_config_describe(struct app_io *io, int argc, char **argv)
{
    OWN(own_buf) struct buf out = {0};
    struct err e = {0};

    (void)argc;
    (void)argv;
    buf_init(&out, 1 << 20);
    conf_describe(settings_sections, &out);
    if (buf_ok(&out, "description", &e))
        return app_fail(io, &e);
    fwrite(out.p, 1, out.n, io->out);
    return APP_OK;
}

int cmd_staging_check(struct app_io *io, int argc, char **argv)
{
    return with_staging(io, argc, argv, staging_check_command);
}

int cmd_staging_reconcile(struct app_io *io, int argc, char **argv)
{
    return restore_reconcile(io, open_handles(io), argc, argv);
}
