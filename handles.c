/* SPDX-License-Identifier: Apache-2.0 */
/* Opens parts on demand for a command that runs by itself; hands out the open ones otherwise. */
#include "handles.h"

#include "audit/store_copy.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/net.h"
#include "base/own.h"
#include "base/stop.h"

#include <sys/stat.h>

enum { LOCK_PAUSE_MS = 50 };

void handles_init(struct handles *h, struct settings *s)
{
    *h = (struct handles){.settings = s, .lock_fd = -1};
}

void handles_done(struct handles *h)
{
    writer_stop(h->writer);
    relay_stop(h->relay);
    staging_close(h->staging);
    file_unlock(h->lock_fd);
    handles_init(h, h->settings);
}

static bool holds(const char *folder, const char *name)
{
    char path[SETTINGS_PATH + 16];
    struct stat st;

    return snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path &&
           stat(path, &st) == 0;
}

/* A record that goes into a new store where the real one is not mounted would look recorded: only
 * `up` begins a data folder. */
static int check_folder(const struct handles *h, struct err *e)
{
    const char *data = h->settings->data;

    if (h->running || holds(data, "holdfast.conf") || holds(data, "chat.db"))
        return 0;
    return err_set(e, ERR_CONFIG,
                   "%s is no data folder: it has neither holdfast.conf nor chat.db. Mistyped, or "
                   "not mounted? 'holdfast --data %s up' begins one",
                   data, data);
}

int handles_lock(struct handles *h, struct err *e)
{
    if (h->lock_fd >= 0 || h->settings->services)
        return 0;
    int err = check_folder(h, e);
    if (!err)
        err = file_make_dirs(h->settings->data, e);
    return err ? err : file_lock_dir(h->settings->data, &h->lock_fd, e);
}

/* A service answers on its control socket; a command that runs by itself has none. */
static bool service_answers(const struct handles *h)
{
    OWN(own_fd) int fd = -1;

    return net_unix_connect(h->settings->control, &fd, NULL) == 0;
}

int handles_lock_patiently(struct handles *h, int64_t ms, struct err *e)
{
    int64_t end = clock_mono_ms() + ms;
    bool told = false;
    int err;

    while ((err = handles_lock(h, e)) == ERR_CONFLICT && clock_mono_ms() < end) {
        if (service_answers(h))
            break;
        if (!told)
            log_error("waiting", e, "up_to_s=%lld", (long long)(ms / 1000));
        told = true;
        if (stop_wait(LOCK_PAUSE_MS))
            break;
    }
    return err;
}

int handles_staging(struct handles *h, struct staging **out, struct err *e)
{
    if (!h->staging) {
        int err = handles_lock(h, e);
        if (!err)
            err = staging_open(&h->staging, h->settings->staging_url, e);
        if (err)
            return err;
    }
    *out = h->staging;
    return 0;
}

int handles_writer(struct handles *h, struct writer **out, struct err *e)
{
    if (!h->writer) {
        struct writer_options o = {
            .url = h->settings->store_url,
            .stored = h->relay ? relay_stored : NULL,
            .stored_arg = h->relay,
        };
        int err = handles_lock(h, e);
        if (!err)
            err = writer_start(&h->writer, &o, e);
        if (err)
            return err;
    }
    *out = h->writer;
    return 0;
}

int handles_relay(struct handles *h, struct slice source, struct relay **out, struct err *e)
{
    struct writer *w;

    if (!h->relay && h->settings->services) {
        struct relay_options o = {
            .store_url = h->settings->store_url,
            .kafka = h->settings->kafka,
            .source = source,
        };
        int err = relay_start(&h->relay, &o, e);
        if (err)
            return err;
    }
    *out = h->relay;
    return handles_writer(h, &w, e);
}

int handles_with_store(struct handles *h, int (*fn)(struct store *s, void *arg, struct err *e),
                       void *arg, struct err *e)
{
    struct writer *w;
    int err = handles_writer(h, &w, e);

    return err ? err : writer_call(w, fn, arg, e);
}

int handles_store_reader(struct handles *h, struct store **out, struct err *e)
{
    struct writer *w;

    /* The writer's open makes or migrates the schema, under the lock. */
    if (!h->running) {
        int err = handles_writer(h, &w, e);
        if (err)
            return err;
    }
    return store_open_reader(out, h->settings->store_url, e);
}

int handles_check_copy(struct handles *h, struct slice source, bool all, struct err *e)
{
    OWN(own_store) struct store *store = NULL;
    OWN(own_db) struct db *db = NULL;
    struct staging *st = h->staging;

    int err = st ? 0 : staging_open(&st, h->settings->staging_url, e);
    if (!err)
        err = staging_reader(st, &db, e);
    if (!err)
        err = store_open_reader(&store, h->settings->store_url, e);
    bool asked = !err;
    if (asked)
        err = store_copy_check(store, db, source, all, e);
    if (st != h->staging)
        staging_close(st);
    if (err == ERR_CONFLICT && !asked)
        return err_set(e, ERR_RETRY, "mgccomp is in use");
    return err;
}
