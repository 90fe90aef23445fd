/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of the host: an mgccomp with records, a configuration, and a real archiver with real
 * worker processes (this test program is their program too: see rig_begin). */
#ifndef TESTS_UNIT_ADAPTERS_HOST_RIG_H
#define TESTS_UNIT_ADAPTERS_HOST_RIG_H

#include "adapters/host/archiver.h"
#include "tests/caught.h"
#include "tests/contract/feed.h"

struct rig {
    const char *postgres; /* NULL: SQLite */
    char dir[400], url[600];
    struct staging *st;
    struct capture_writer *w;
    struct staging_position at;
    struct feed feed;
    struct feed_stream room, other;
    struct conf *conf;
    struct archiver *archiver;
    struct wake captured, archived;
    struct caught said; /* by the last command */
    struct err e;
};

int rig_set_up(void **state);
int rig_tear_down(void **state);
#define RIG(rig, fn)                                                                               \
    {                                                                                              \
#fn, fn, rig_set_up, rig_tear_down, rig                                                    \
    }
void rig_open(struct rig *r);
void rig_close(struct rig *r);

/* Captures n posts and rings. */
void rig_posts(struct rig *r, struct feed_stream *s, int n);
/* Writes the configuration: text with every % replaced by the rig's folder. */
void rig_conf(struct rig *r, const char *text);
/* An instance NAME of module plain with its folder and mode file, deadline 3 s. */
void rig_plain(struct buf *conf, const char *name);
/* Writes a configuration of such instances. */
void rig_conf_of(struct rig *r, const char *const *names);
#define CONF(r, ...) rig_conf_of(r, (const char *const[]){__VA_ARGS__, NULL})
/* "" mends. */
void rig_mode(struct rig *r, const char *name, const char *mode);

struct archiver_options rig_options(struct rig *r);
void rig_drain(struct rig *r); /* from now on whatever there is is cut at once */
void rig_start(struct rig *r); /* draining: whatever there is is cut at once */
void rig_stop(struct rig *r);

int64_t rig_number(struct rig *r, const char *sql);
void rig_sql(struct rig *r, const char *sql);
/* Until sql gives value; fails the test after a minute. */
void rig_await(struct rig *r, const char *sql, int64_t value);
int64_t rig_open_incidents(struct rig *r);
struct ledger_instance rig_instance(struct rig *r, const char *name);
/* All files of an instance in order of name, one after the other; valid until the next call. */
const char *rig_output(struct rig *r, const char *name);
/* Records in the output, which must be each of the stream's posts once, in order. */
void rig_assert_output(struct rig *r, const char *name, int one, int two);

/* Types a command; at most 4 words of it, or NULL for none. Returns its exit code. */
typedef int rig_command(struct app_io *io, struct staging *st, int argc, char **argv);
int rig_type(struct rig *r, rig_command *command, const char *const *words);
#define TYPE(r, command, ...) rig_type(r, command, (const char *const[]){__VA_ARGS__, NULL})

/* What a main does first. It runs `worker` when it is asked to, and needs tests/parts/with. >= 0:
 * an exit code. */
int rig_begin(int argc, char **argv, struct rig *postgres); /* NULL: none is needed */

#endif
