/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holdfast: one executable. This file is its table of contents: every command, what does it, and
 * where it runs. Under `up` a command marked remote crosses the control socket; else it runs here.
 */
#include "base/app.h"
#include "base/log.h"
#include "base/own.h"
#include "base/stop.h"
#include "capture/ingest_check.h"
#include "commands.h"
#include "handles.h"
#include "invoke.h"
#include "up.h"

#include <stdio.h>
#include <string.h>

static const struct app_command commands[];

static int cmd_up(struct app_io *io, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return up_run(io, io->open, commands);
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
