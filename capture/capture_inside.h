/* SPDX-License-Identifier: Apache-2.0 */
/* Private to capture/capture*.c: the service's state. The reading thread owns everything but what
 * says otherwise. */
#ifndef CAPTURE_CAPTURE_INSIDE_H
#define CAPTURE_CAPTURE_INSIDE_H

#include "base/backoff.h"
#include "capture/capture.h"
#include "capture/positions.h"

#include <pthread.h>
#include <stdatomic.h>

/* A batch on its way: read and decoded by one thread, then written by the other. */
struct load {
    struct source_batch read;
    struct capture_batch *decoded;
};

void load_drop(struct load *l); /* empties it; capture_writing.c */

struct writing {
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t turned;
    struct load *load; /* in hand; NULL: none */
    bool written, ending;
    int rc;
    struct err e;
    struct capture_outcome out;
};

struct capture {
    struct capture_options o;
    pthread_t thread;
    atomic_bool stopping, held; /* any thread */
    struct wake bell;           /* rung when one of them changed */
    struct source *source;      /* NULL: not open yet */
    /* Lent to the writing thread while it has a batch in hand: */
    struct capture_writer *writer;
    struct positions positions;
    struct load loads[2];
    size_t turn; /* which of them is read next */
    struct writing writing;
    bool away;    /* mgccomp did not answer; reading is paused until it does */
    bool paused;  /* the source was told */
    bool failing; /* mgccomp answers, but the batch to come was refused before */
    struct backoff backoff;
    pthread_mutex_t lock;  /* of state and resting */
    pthread_cond_t turned; /* resting changed */
    bool resting;          /* held, and the loop has seen it */
    struct capture_state state;
    int told; /* class of the trouble that was logged last; 0: all is well */
    int64_t told_ms;
    int64_t busy_ms;   /* when a poll last filled half a batch, or capture was held */
    int64_t totals_ms; /* when totals were last compared */
    int64_t since_us;  /* since when this service reads */
    struct capture_heal *heal;
    char fault[300]; /* "", or which partition stands still: this stays to be seen */
};

/* capture_trouble.c */
/* The write did not happen, or nobody knows. */
void capture_write_failed(struct capture *c, int class, const struct err *e);
void capture_poll_failed(struct capture *c, int class, const struct err *e);
void capture_idle(struct capture *c); /* an empty poll: time to see whether mgccomp is back */
/* Tells the source whether to deliver, and capture_hold that no batch is in hand. */
void capture_follow_pause(struct capture *c);

/* capture_writing.c: while a batch is in hand, the next one may be read and decoded. */
int capture_writing_start(struct capture *c, struct err *e);
void capture_writing_end(struct capture *c); /* after the batch in hand; NULL thread: harmless */
void capture_write_begin(struct capture *c, struct load *l); /* none is in hand */
bool capture_writes(struct capture *c);                      /* it is not written yet */
void capture_write_wait(struct capture *c);                  /* none is in hand, or it is written */
/* Waits. False: the batch in hand was not written, and what was read behind it is void. */
bool capture_write_finish(struct capture *c);

/* capture_totals.c: b was read last. */
void capture_totals(struct capture *c, const struct source_batch *b);
/* capture.c: the source is opened anew, so that each partition's log is compared again. No batch is
 * in hand; what was read is void. */
void capture_reopen(struct capture *c);

/* capture_heal.c: asks the sources' stores for what is missing. */
struct capture_heal *capture_heal_new(void); /* NULL when out of memory */
void capture_heal_free(struct capture_heal *h);
void capture_heal_turn(struct capture *c);
void capture_heal_soon(struct capture *c); /* there is a new incident */

/* capture_state.c */
void capture_well(struct capture *c); /* both ends answer */
void capture_count(struct capture *c, const struct capture_outcome *out);
void capture_trouble(struct capture *c, const char *event, const struct err *e);

#endif
