/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of the host: an mgccomp with records, a configuration, and a real archiver with real
 * worker processes (this test program is their program too: see rig_main). */
#ifndef TESTS_UNIT_ADAPTERS_HOST_RIG_H
#define TESTS_UNIT_ADAPTERS_HOST_RIG_H

#include "adapters/host/archiver.h"
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
    struct err e;
};

int rig_set_up(void **state);
int rig_tear_down(void **state);
void rig_open(struct rig *r);
void rig_close(struct rig *r);
void rig_ok(int rc, const struct err *e);

/* Captures n posts and rings. */
void rig_posts(struct rig *r, struct feed_stream *s, int n);
/* Writes the configuration: text with every % replaced by the rig's folder. */
void rig_conf(struct rig *r, const char *text);
/* An instance NAME of module plain with its folder and mode file, deadline 3 s. */
void rig_plain(struct buf *conf, const char *name);
/* "" mends. */
void rig_mode(struct rig *r, const char *name, const char *mode);

struct archiver_options rig_options(struct rig *r);
void rig_drain(struct rig *r); /* from now on whatever there is is cut at once */
void rig_start(struct rig *r); /* draining: whatever there is is cut at once */
void rig_stop(struct rig *r);

int64_t rig_number(struct rig *r, const char *sql);
void rig_sql(struct rig *r, const char *sql);
/* Until sql gives value; fails the test after 25 s. */
void rig_await(struct rig *r, const char *sql, int64_t value);
struct ledger_instance rig_instance(struct rig *r, const char *name);
/* All files of an instance in order of name, one after the other; valid until the next call. */
const char *rig_output(struct rig *r, const char *name);
/* Records in the output, which must be each of the stream's posts once, in order. */
void rig_assert_output(struct rig *r, const char *name, int one, int two);

/* Runs `worker` when asked to; otherwise -1. */
int rig_worker(int argc, char **argv);

#endif
