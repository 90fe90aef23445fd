/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration's sections with their defaults, and the plain values the wiring uses. Adapter
 * sections are resolved by the archiver, since each module brings its own options.
 */
#include "settings.h"

#include "base/net.h"
#include "base/own.h"
#include "capture/capture.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>

static const struct conf_option holdfast_options[] = {
    {"setup", CONF_CHOICE, "embedded", false, 0, 0, "embedded|services",
     "embedded: everything in one process (`holdfast up`); services: processes on Kafka and "
     "PostgreSQL."},
    {"data", CONF_PATH, NULL, false, 0, 0, NULL,
     "Folder of the databases, spools and the control socket."},
    {"modules", CONF_PATH, NULL, false, 0, 0, NULL,
     "Folder of the adapter modules mgc_*.so; default: beside the program."},
    {"backlog", CONF_DURATION, "1h", false, 1000, INT64_C(30) * 24 * 3600 * 1000, NULL,
     "How long a record may wait in Kafka, or in staging beyond an adapter's interval, before the "
     "incident `backlog` is opened."},
    {0},
};
static const struct conf_option store_options[] = {
    {"database", CONF_SECRET, NULL, false, 0, 0, NULL,
     "Services: where the PostgreSQL URI of the chat store is found, file:PATH or env:NAME."},
    {"limit", CONF_INT, "1000000", false, 1, 1000000000, NULL,
     "How many records may wait in the store for the queue, or for capture in the embedded set-up, "
     "before posts, joins and history are refused with 503. Leaves, sign-outs and the ends of "
     "sessions are recorded all the same."},
    {"reserve", CONF_SIZE, "64MiB", false, 0, INT64_C(1) << 50, NULL,
     "Free space of the data folder's disk below which posts, joins, history and other products' "
     "records are refused; what is left is for leaves, sign-outs and the ends of sessions. 0: "
     "none."},
    {"queue-wait", CONF_DURATION, "10s", false, 100, 25000, NULL,
     "Services: how long an act in a room with `--recorded queue` waits for the queue to confirm "
     "its record, before the answer is 503."},
    {0},
};
static const struct conf_option mgccomp_options[] = {
    {"database", CONF_SECRET, NULL, false, 0, 0, NULL,
     "Services: where the PostgreSQL URI of the staging database is found, file:PATH or env:NAME."},
    {0},
};
static const struct conf_option kafka_options[] = {
    {"brokers", CONF_TEXT, NULL, false, 0, 0, NULL, "Services: bootstrap servers, HOST:PORT,..."},
    {"topic", CONF_TEXT, "holdfast", false, 0, 0, NULL, "Topic of the records."},
    {"group", CONF_TEXT, "holdfast-capture", false, 0, 0, NULL, "Consumer group of capture."},
    {"single-broker", CONF_BOOL, "no", false, 0, 0, NULL,
     "Accept a topic with one replica: a lost disk then loses what was not yet captured."},
    {0},
};
static const struct conf_option chat_options[] = {
    {"listen", CONF_TEXT, "127.0.0.1:5060", false, 0, 0, NULL,
     "Address of the chat server; loopback only."},
    {"domain", CONF_TEXT, "example.test", false, 0, 0, NULL, "SIP domain of users and rooms."},
    {"pool", CONF_TEXT, "sip:GC-1-PersistentChatService-1@example.test", false, 0, 0, NULL,
     "The pool's SIP URI; it is the source of the chat server's records."},
    {0},
};
static const struct conf_option source_options[] = {
    {"uri", CONF_TEXT, NULL, false, 0, 0, NULL,
     "`source` of its records; default: NAME. That of the chat server is [chat-server] pool."},
    {"cadence", CONF_DURATION, "10m", false, 1000, 7 * INT64_C(86400000), NULL,
     "How often the source writes signed control totals. Later ones are the incident `silent`."},
    {"public-key", CONF_TEXT, NULL, false, 0, 0, NULL,
     "Its Ed25519 key, 64 hexadecimal digits, as `holdfast source list` prints it there. Of the "
     "chat server in this data folder, and where `key` is given, it is known already."},
    {"key", CONF_TEXT, NULL, false, 0, 0, NULL,
     "File in the data folder with its private key, made when it is not there. `holdfast ingest` "
     "of this source then ends each input with signed control totals of all its records."},
    {0},
};
static const struct conf_option capture_options[] = {
    {"writers", CONF_INT, "2", false, 1, CAPTURE_MAX_WRITERS, NULL,
     "Services: transactions at a time, each over a connection of its own. A partition belongs to "
     "one of them."},
    {"batch-records", CONF_INT, "0", false, 0, 100000, NULL,
     "Most records captured in one transaction; 0: 8,000 embedded, 4,000 by each writer of the "
     "services."},
    {"batch-bytes", CONF_SIZE, "0", false, 0, 64 << 20, NULL,
     "About how many bytes are captured in one transaction; 0: 6 MiB embedded, 3 MiB by each "
     "writer of the services."},
    {0},
};

const struct conf_section settings_sections[] = {
    {"holdfast", "What runs, and where its data lies.", holdfast_options},
    {"store", "The chat server's store.", store_options},
    {"mgccomp", "The staging database.", mgccomp_options},
    {"kafka", "The queue of the services set-up.", kafka_options},
    {"chat-server", "The chat server.", chat_options},
    {"capture", "From the queue to the staging database.", capture_options},
    {"source *", "One section for each source that writes control totals: [source NAME].",
     source_options},
    {"adapter *",
     "One section for each adapter instance: `module = NAME`, then its options, which `holdfast "
     "adapter describe NAME` lists.",
     NULL},
    {0},
};

static int join(char out[SETTINGS_PATH], const char *folder, const char *name, struct err *e)
{
    int n = snprintf(out, SETTINGS_PATH, "%s/%s", folder, name);

    if (n < 0 || n >= SETTINGS_PATH)
        return err_set(e, ERR_CONFIG, "path too long: %s/%s", folder, name);
    return 0;
}

static int default_data(char out[SETTINGS_PATH], struct err *e)
{
    const char *set = getenv("HOLDFAST_DATA");
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");

    if (set && *set)
        return slice_copy(slice_of(set), out, SETTINGS_PATH)
                   ? 0
                   : err_set(e, ERR_CONFIG, "HOLDFAST_DATA is too long");
    if (state && *state == '/')
        return join(out, state, "holdfast", e);
    if (home && *home == '/')
        return join(out, home, ".local/state/holdfast", e);
    return err_set(e, ERR_CONFIG, "no home folder. Name the data folder with --data DIR");
}

/* The program may be started from anywhere: a relative folder is made absolute once. */
static int absolute(char path[SETTINGS_PATH], struct err *e)
{
    char cwd[SETTINGS_PATH];
    char given[SETTINGS_PATH];

    if (path[0] == '/')
        return 0;
    if (!getcwd(cwd, sizeof cwd))
        return err_errno(e, ERR_CONFIG, "current folder");
    memcpy(given, path, sizeof given);
    return join(path, cwd, given, e);
}

static int find_modules(struct settings *s, struct err *e)
{
    struct slice set = conf_path(s->conf, "holdfast", "modules");
    char self[SETTINGS_PATH];
    struct stat st;

    if (set.p)
        return slice_copy(set, s->modules, sizeof s->modules)
                   ? 0
                   : err_set(e, ERR_CONFIG, "[holdfast] modules is too long");
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return err_errno(e, ERR_CONFIG, "path of this program");
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    int err = join(s->modules, self, "adapters", e);
    if (err || stat(s->modules, &st) == 0)
        return err;
    return join(s->modules, self, "../lib/holdfast/adapters", e);
}

static int database_url(struct settings *s, const char *section, const char *file,
                        char out[SETTINGS_PATH], struct err *e)
{
    OWN(own_buf) struct buf secret = {0};
    int n;

    if (!s->services) {
        n = snprintf(out, SETTINGS_PATH, "sqlite:%s/%s", s->data, file);
        return n > 0 && n < SETTINGS_PATH ? 0
                                          : err_set(e, ERR_CONFIG, "path too long: %s", s->data);
    }
    buf_init(&secret, SETTINGS_PATH - 1);
    if (!conf_text(s->conf, section, "database").p)
        return err_set(e, ERR_CONFIG,
                       "[%s] database is not set. In services it names where the PostgreSQL URI "
                       "is, as file:PATH or env:NAME",
                       section);
    int err = conf_secret(s->conf, section, "database", &secret, e);
    if (err)
        return err;
    return slice_copy(buf_view(&secret), out, SETTINGS_PATH)
               ? 0
               : err_set(e, ERR_CONFIG, "[%s] database is too long", section);
}

static int read_values(struct settings *s, struct err *e)
{
    int err = net_split(conf_text(s->conf, "chat-server", "listen"), s->host, &s->port, e);

    if (err)
        return err_wrap(e, "[chat-server] listen");
    snprintf(s->server, sizeof s->server, "%s:%u", s->host, s->port);
    s->domain = conf_text(s->conf, "chat-server", "domain").p;
    s->pool = conf_text(s->conf, "chat-server", "pool").p;
    s->backlog_ms = conf_int(s->conf, "holdfast", "backlog");
    s->writers = conf_int(s->conf, "capture", "writers");
    s->batch_records = conf_int(s->conf, "capture", "batch-records");
    s->batch_bytes = conf_int(s->conf, "capture", "batch-bytes");
    s->limit = (struct store_limit){.records = conf_int(s->conf, "store", "limit"),
                                    .reserve = conf_int(s->conf, "store", "reserve"),
                                    .folder = s->data};
    s->queue_wait_ms = conf_int(s->conf, "store", "queue-wait");
    s->kafka.brokers = conf_text(s->conf, "kafka", "brokers").p;
    s->kafka.topic = conf_text(s->conf, "kafka", "topic").p;
    s->kafka.group = conf_text(s->conf, "kafka", "group").p;
    s->kafka.single_broker = conf_bool(s->conf, "kafka", "single-broker");
    if (s->services && !s->kafka.brokers)
        return err_set(e, ERR_CONFIG, "[kafka] brokers is not set");
    err = database_url(s, "store", "chat.db", s->store_url, e);
    if (!err)
        err = database_url(s, "mgccomp", "mgccomp.db", s->staging_url, e);
    return err;
}

static int fill(struct settings *s, const char *config, const char *data, struct err *e)
{
    char standard[SETTINGS_PATH];
    struct stat st;
    int err = 0;

    if (data && !slice_copy(slice_of(data), s->data, sizeof s->data))
        return err_set(e, ERR_CONFIG, "--data is too long");
    if (!data)
        err = default_data(s->data, e);
    if (!err)
        err = absolute(s->data, e);
    if (!err)
        err = join(standard, s->data, "holdfast.conf", e);
    if (err)
        return err;
    if (!config && stat(standard, &st) == 0)
        config = standard;
    err = conf_load(&s->conf, config, settings_sections, e);
    if (err)
        return err;
    struct slice set = conf_path(s->conf, "holdfast", "data");
    if (!data && set.p && !slice_copy(set, s->data, sizeof s->data))
        return err_set(e, ERR_CONFIG, "[holdfast] data is too long");
    s->services = slice_is(conf_text(s->conf, "holdfast", "setup"), "services");
    err = join(s->control, s->data, "control", e);
    if (!err)
        err = join(s->scratch, s->data, "scratch", e);
    if (!err)
        err = join(s->delivered, s->data, "delivered", e);
    if (!err)
        err = find_modules(s, e);
    return err ? err : read_values(s, e);
}

int settings_load(struct settings **out, const char *config, const char *data, struct err *e)
{
    OWN(own_settings) struct settings *s = calloc(1, sizeof *s);

    if (!s)
        return err_memory(e, "settings");
    int err = fill(s, config, data, e);
    if (err)
        return err;
    *out = s;
    s = NULL;
    return 0;
}

void settings_free(struct settings *s)
{
    if (!s)
        return;
    conf_free(s->conf);
    free(s);
}
