/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holdfast: one executable. This file is its table of contents: every command, the part that does
 * it, and where it runs. Under `up` a command marked remote crosses the control socket; else it
 * runs here.
 */
#include "audit/relay_incidents.h"
#include "audit/status.h"
#include "audit/store_copy.h"
#include "base/app.h"
#include "base/log.h"
#include "base/own.h"
#include "base/stop.h"
#include "capture/ingest.h"
#include "capture/ingest_check.h"
#include "capture/queue_check.h"
#include "capture/queue_heal.h"
#include "chat-server/commands.h"
#include "handles.h"
#include "invoke.h"
#include "mgccomp/check.h"
#include "mgccomp/incident.h"
#include "restore.h"
#include "retention/drain.h"
#include "sources.h"
#include "up.h"

#include <string.h>

static const struct app_command commands[];

static struct handles *open_handles(struct app_io *io)
{
    return io->open;
}

/* ---- look ---- */

enum { QUEUE_MS = 3000 }; /* status asks it so long */

static int cmd_status(struct app_io *io, int argc, char **argv)
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

static int cmd_incident_list(struct app_io *io, int argc, char **argv)
{
    return over_incidents(io, argc, argv, incident_list_command);
}

static int cmd_incident_show(struct app_io *io, int argc, char **argv)
{
    return over_incidents(io, argc, argv, incident_show_command);
}

static int cmd_queue_heal(struct app_io *io, int argc, char **argv)
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

static int cmd_incident_retry(struct app_io *io, int argc, char **argv)
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

static int cmd_incident_accept(struct app_io *io, int argc, char **argv)
{
    if (is_of_relay(argc, argv))
        return accept_of_relay(io, argc, argv);
    return with_staging(io, argc, argv, incident_accept_command);
}

/* ---- feed ---- */

static int cmd_ingest(struct app_io *io, int argc, char **argv)
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

static int cmd_source_list(struct app_io *io, int argc, char **argv)
{
    return source_list_command(io, open_handles(io), argc, argv);
}

static int cmd_queue_check(struct app_io *io, int argc, char **argv)
{
    struct handles *h = open_handles(io);
    struct queue_check_input in = {.kafka = h->settings->services ? &h->settings->kafka : NULL,
                                   .store_url = h->settings->store_url};
    struct err e = {0};

    if (handles_staging(h, &in.staging, &e))
        return app_fail(io, &e);
    return queue_check_command(io, &in, argc, argv);
}

static int cmd_queue_hold(struct app_io *io, int argc, char **argv)
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

static int cmd_queue_resume(struct app_io *io, int argc, char **argv)
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

static int cmd_adapter_add(struct app_io *io, int argc, char **argv)
{
    struct handles *h = open_handles(io);
    struct staging *st;
    struct err e = {0};

    if (handles_staging(h, &st, &e))
        return app_fail(io, &e);
    return adapter_add_command(io, st, h->settings->conf, h->settings->modules, argc, argv);
}

static int cmd_adapter_describe(struct app_io *io, int argc, char **argv)
{
    struct handles *h = open_handles(io);

    return adapter_describe_command(io, h->settings->modules, argc, argv);
}

static int cmd_adapter_list(struct app_io *io, int argc, char **argv)
{
    return with_staging(io, argc, argv, adapter_list_command);
}

static int cmd_adapter_pause(struct app_io *io, int argc, char **argv)
{
    return with_staging(io, argc, argv, adapter_pause_command);
}

static int cmd_adapter_resume(struct app_io *io, int argc, char **argv)
{
    return with_staging(io, argc, argv, adapter_resume_command);
}

static int cmd_adapter_retire(struct app_io *io, int argc, char **argv)
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

static int cmd_room_add(struct app_io *io, int argc, char **argv)
{
    return in_store(
        (struct store_call){.io = io, .argc = argc, .argv = argv, .add = room_add_command});
}

static int cmd_room_list(struct app_io *io, int argc, char **argv)
{
    return in_store(
        (struct store_call){.io = io, .argc = argc, .argv = argv, .list = room_list_command});
}

static int cmd_user_add(struct app_io *io, int argc, char **argv)
{
    return in_store(
        (struct store_call){.io = io, .argc = argc, .argv = argv, .add = user_add_command});
}

static int cmd_user_list(struct app_io *io, int argc, char **argv)
{
    return in_store(
        (struct store_call){.io = io, .argc = argc, .argv = argv, .list = user_list_command});
}

static int cmd_chat(struct app_io *io, int argc, char **argv)
{
    struct settings *s = open_handles(io)->settings;

    return chat_client_command(io, s->server, s->domain, argc, argv);
}

static int cmd_store_restored(struct app_io *io, int argc, char **argv)
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

static int cmd_up(struct app_io *io, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return up_run(io, open_handles(io), commands);
}

static int cmd_drain(struct app_io *io, int argc, char **argv)
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

static int cmd_chat_server(struct app_io *io, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return chat_server_run(io, open_handles(io));
}

static int cmd_capture(struct app_io *io, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return capture_run(io, open_handles(io));
}

static int cmd_archiver(struct app_io *io, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return archiver_run(io, open_handles(io));
}

/* ---- set up ---- */

static int cmd_config_describe(struct app_io *io, int argc, char **argv)
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

static int cmd_staging_check(struct app_io *io, int argc, char **argv)
{
    return with_staging(io, argc, argv, staging_check_command);
}

static int cmd_staging_reconcile(struct app_io *io, int argc, char **argv)
{
    return restore_reconcile(io, open_handles(io), argc, argv);
}

static int cmd_version(struct app_io *io, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    fprintf(io->out, "holdfast %s\n", HOLDFAST_VERSION);
    return APP_OK;
}

static int cmd_manual(struct app_io *io, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    app_manual(commands, io->out);
    return APP_OK;
}

static const struct app_command commands[] = {
    {"status", "look", "[--rooms] [--json]",
     "is everything recorded and archived, and what is stuck? Exit 0 complete, 1 behind, 2 "
     "incomplete, 3 unknown",
     APP_REMOTE | APP_VERDICT, cmd_status, NULL},
    {"incident list", "look", "[--all] [--json]", "what is wrong with the record", APP_REMOTE,
     cmd_incident_list, NULL},
    {"incident show", "look", "ID [--json]", "one incident, whole", APP_REMOTE, cmd_incident_show,
     NULL},
    {"incident retry", "look", "ID", "try again what an incident holds back", APP_REMOTE,
     cmd_incident_retry, NULL},
    {"incident accept", "look", "ID --reason TEXT",
     "close what can't be mended: one person proposes, another one types the same", APP_REMOTE,
     cmd_incident_accept, NULL},

    {"ingest", "feed", "--source NAME FILE...|-", "record other products' events, one JSON a line",
     APP_REMOTE | APP_FILES, cmd_ingest, NULL},
    {"ingest --check", "feed", "[--source NAME] FILE...|-",
     "do these records keep to the specification? Needs no store", APP_LOCAL, ingest_check_command,
     "Each problem is a line FILE:LINE: TEXT (SECTION), the section of docs/record-format.md.\n"
     "Checked are each record, the chain of each stream, and that no id comes twice with other\n"
     "content. Exit 0: all conform; 1: some do not."},
    {"source list", "feed", "[--json]",
     "sources that write signed control totals: key, cadence, complete to which time", APP_REMOTE,
     cmd_source_list, NULL},
    {"queue check", "feed", "", "is the queue fit to hold records, and the one captured before?",
     APP_REMOTE, cmd_queue_check,
     "Looks at the topic's settings, the cluster, the control topic, and in each partition at the\n"
     "record before capture's position. Exit 0: all is well; 1: each problem is a line."},
    {"queue heal", "feed", "[--timeout DURATION]",
     "have what capture misses sent again by the stores, and wait for it", APP_REMOTE,
     cmd_queue_heal,
     "Also for sources that only `holdfast ingest` feeds. Exit 0: nothing is missed any more."},
    {"queue hold", "feed", "", "capture stops reading; records wait in the queue", APP_REMOTE,
     cmd_queue_hold, NULL},
    {"queue resume", "feed", "", "capture goes on", APP_REMOTE, cmd_queue_resume, NULL},
    {"adapter add", "feed", "NAME", "require delivery by the adapter section NAME from now on",
     APP_REMOTE, cmd_adapter_add, NULL},
    {"adapter describe", "feed", "MODULE",
     "the options of an adapter module, as a section to fill in", APP_LOCAL, cmd_adapter_describe,
     NULL},
    {"adapter list", "feed", "[--json]", "adapter instances and how far each has come", APP_REMOTE,
     cmd_adapter_list, NULL},
    {"adapter pause", "feed", "NAME --reason TEXT",
     "begin no delivery by it until it is resumed; nothing it must have is deleted", APP_REMOTE,
     cmd_adapter_pause, NULL},
    {"adapter resume", "feed", "NAME", "deliver by it again, also after it failed", APP_REMOTE,
     cmd_adapter_resume, NULL},
    {"adapter retire", "feed", "NAME --reason TEXT", "no longer require an adapter instance",
     APP_REMOTE, cmd_adapter_retire, NULL},

    {"chat", "chat", "NAME [ROOM]", "chat as a user, line by line", APP_LOCAL, cmd_chat, NULL},
    {"room add", "chat", "NAME [--description TEXT] [--members USER,...] [--recorded store|queue]",
     "make a room", APP_REMOTE, cmd_room_add,
     "--recorded queue: what happens in the room is answered and shown only once the queue has\n"
     "confirmed the record. While it does not, posts, joins and history there get 503, and other\n"
     "rooms go on. In the embedded set-up the store's table is the queue: both are the same."},
    {"room list", "chat", "[--json]", "the rooms", APP_REMOTE, cmd_room_list, NULL},
    {"user add", "chat", "NAME [--name DISPLAY]", "make a user", APP_REMOTE, cmd_user_add, NULL},
    {"user list", "chat", "[--json]", "the users", APP_REMOTE, cmd_user_list, NULL},

    {"up", "run", "", "everything on this machine in one process", APP_LOCAL, cmd_up, NULL},
    {"drain", "run", "[--timeout DURATION]",
     "wait until everything accepted so far is archived and deleted from staging", APP_REMOTE,
     cmd_drain, NULL},
    {"chat-server", "run", "", "services: the chat server", APP_LOCAL, cmd_chat_server, NULL},
    {"capture", "run", "", "services: from Kafka into mgccomp", APP_LOCAL, cmd_capture, NULL},
    {"archiver", "run", "", "services: adapters and the deletion of what they archived", APP_LOCAL,
     cmd_archiver, NULL},

    {"config describe", "set up", "", "every option, with its default", APP_LOCAL,
     cmd_config_describe, NULL},
    {"staging check", "set up", "[--json]", "is mgccomp consistent in itself?", APP_REMOTE,
     cmd_staging_check,
     "Reads every staged record and compares hash, columns, chain, head, positions, ledger and\n"
     "counts, beside whatever runs. Exit 0: consistent; 1: each finding is a line."},
    {"staging reconcile", "set up", "[--from FOLDER...] --reason TEXT [--trust NAME,...] [--yes]",
     "after mgccomp was restored from an older copy: learn from the archives what they hold",
     APP_LOCAL, cmd_staging_reconcile,
     "Reads every archive that lies beyond mgccomp's ledger, in the folders that the "
     "configuration\n"
     "names and in those given, checks it against its manifest, and says what would be done. With\n"
     "--yes it is done: what the archives hold is not delivered to them again, and what mgccomp\n"
     "lacks is captured from there. --trust: these adapters, whose archives can't be read here,\n"
     "had all that the others hold, or they get it again; of one whose archive only lists "
     "records:\n"
     "its list is proof enough to delete by. Nothing else may run that archives.\n"
     "Exit 0: done, or nothing to do; 1: something is to be done, or it failed."},
    {"store restored", "set up", "--reason TEXT",
     "after the chat store was restored from an older copy: begin a new epoch", APP_LOCAL,
     cmd_store_restored,
     "Numbers that the store gave out after the copy was made are taken: rooms go on at 1 of the\n"
     "next epoch, and its first record names the heads that the copy knows. Type it once, with\n"
     "the servers and ingests that write this store stopped. What was captured beyond the copy\n"
     "is told here and by `holdfast status`; it is archived like everything else."},
    {"version", "set up", "", "the version", APP_LOCAL, cmd_version, NULL},
    {"manual", "set up", "", "the commands as entries of the manual page", APP_LOCAL | APP_HIDDEN,
     cmd_manual, NULL},
    {0},
};

static int usage(FILE *out)
{
    app_help(commands, "holdfast", out);
    fprintf(out, "\nWith every command: --data DIR (folder of everything), --config FILE "
                 "(default DIR/holdfast.conf).\nholdfast COMMAND --help explains one command.\n");
    return out == stdout ? APP_OK : APP_USAGE;
}

/* Takes --data and --config out of the words, wherever they stand before a "--". Returns how many
 * words are left, or < 0 when a value is missing. */
static int global_options(int argc, char **argv, const char **data, const char **config)
{
    int kept = 1;
    bool open = true;

    for (int i = 1; i < argc; i++) {
        struct slice word = slice_of(argv[i]);
        const char *equals = strchr(argv[i], '=');
        if (equals)
            word.n = (size_t)(equals - argv[i]);
        const char **value = slice_is(word, "--data")     ? data
                             : slice_is(word, "--config") ? config
                                                          : NULL;
        open = open && strcmp(argv[i], "--") != 0;
        if (!open || !value)
            argv[kept++] = argv[i];
        else if (!equals && i + 1 == argc)
            return -1;
        else
            *value = equals ? equals + 1 : argv[++i];
    }
    return kept;
}

static bool has_word(int argc, char **argv, const char *word)
{
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], word) == 0)
            return true;
    return false;
}

static int help(int argc, char **argv)
{
    int used;
    const struct app_command *c = app_find(commands, argc, argv, &used);

    if (!c)
        return app_unknown(commands, argv[0], stderr), APP_USAGE;
    app_help_command(c, "holdfast", stdout);
    return APP_OK;
}

int main(int argc, char **argv)
{
    const char *data = NULL, *config = NULL;
    OWN(own_settings) struct settings *settings = NULL;
    struct handles handles;
    struct err e = {0};
    int used;

    if (argc > 1 && strcmp(argv[1], "worker") == 0)
        return worker_main(argc - 1, argv + 1);
    if (argc > 2 && strcmp(argv[1], "help") == 0)
        return help(argc - 2, argv + 2);
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)
        return usage(argc < 2 ? stderr : stdout);
    if (strcmp(argv[1], "--version") == 0)
        return printf("holdfast %s\n", HOLDFAST_VERSION), APP_OK;
    argc = global_options(argc, argv, &data, &config);
    if (argc < 0)
        return fprintf(stderr, "holdfast: --data and --config need a value\n"), APP_USAGE;
    if (argc < 2)
        return usage(stderr);
    const struct app_command *c = app_find(commands, argc - 1, argv + 1, &used);
    if (!c) {
        app_unknown(commands, argv[1], stderr);
        return APP_USAGE;
    }
    struct invocation i = {.command = c,
                           .handles = &handles,
                           .argc = argc - 1 - used,
                           .argv = argv + 1 + used,
                           .words = argv + 1,
                           .word_count = argc - 1};
    if (has_word(i.argc, i.argv, "--help"))
        return app_help_command(c, "holdfast", stdout), APP_OK;
    i.json = has_word(i.argc, i.argv, "--json");
    stop_install();
    log_init("holdfast", LOG_INFO);
    if (settings_load(&settings, config, data, &e)) {
        fprintf(stderr, "holdfast: %s\n", e.text);
        return app_failure(c, APP_USAGE);
    }
    handles_init(&handles, settings);
    return invoke(&i);
}
