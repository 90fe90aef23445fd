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

/* A share of the partitions: what it reads is written by a thread of its own, over a connection of
 * its own. The reading thread owns a lane but for what its thread has in hand. */
struct lane {
    struct capture *c;
    struct staging *staging;       /* the first lane's is the process's; NULL: not open yet */
    struct capture_writer *writer; /* lent to the thread while a batch is in hand; NULL likewise */
    struct load loads[2];
    size_t turn; /* which of them is read into */
    pthread_t thread;
    bool started;
    struct load *in_hand; /* NULL: none */
    int64_t age_ms;       /* of its oldest record in the queue, as of its last batch; -1: none */
    bool written, ending; /* lanes.lock */
    int rc;               /* of the write, once it is over; and so on: */
    struct err e;
    struct capture_outcome out;
};

struct lanes {
    struct lane *at;
    size_t n;
    pthread_mutex_t lock;
    pthread_cond_t turned;
};

struct capture {
    struct capture_options o;
    pthread_t thread;
    atomic_bool stopping, held; /* any thread */
    struct wake bell;           /* rung when one of them changed */
    struct source *source;      /* NULL: not open yet */
    struct positions positions; /* a lane's thread moves those of the batch it has in hand */
    struct lanes lanes;
    bool open;   /* the source is the queue that mgccomp was filled from, the lanes are connected */
    bool away;   /* mgccomp did not answer; reading is paused until it does */
    bool paused; /* the source was told */
    bool failing; /* mgccomp answers, but the batch to come was refused before */
    struct backoff backoff;
    pthread_mutex_t lock;  /* of state and resting */
    pthread_cond_t turned; /* resting changed */
    bool resting;          /* held, and the loop has seen it */
    struct capture_state state;
    int told; /* class of the trouble that was logged last; 0: all is well */
    int64_t told_ms;
    int64_t busy_ms;              /* when a poll last filled half a batch, or capture was held */
    int64_t totals_ms;            /* when totals were last compared */
    int64_t backlog_ms, wrote_ms; /* when age was last looked at, and a batch last written */
    int64_t wall_us;   /* the clock less the one that nobody sets, then; 0: not looked at yet */
    int64_t jumped_ms; /* when they were last seen apart; 0: never */
    int64_t since_us;  /* since when this service reads, or the clock jumped */
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

/* capture_writing.c: while lanes write, the next batches may be read and decoded. */
int lanes_start(struct capture *c, size_t n, struct err *e);
int lanes_open(struct capture *c, int64_t generation, struct err *e); /* connections, writers */
void lanes_forget(struct capture *c);                                 /* cached heads */
void lanes_end(struct capture *c);            /* after what is in hand; never started: harmless */
struct load *lane_load(struct lane *lane);    /* what is read into */
bool capture_writes(const struct capture *c); /* something is in hand, or was and is not told of */
void capture_write_wait(struct capture *c);   /* until everything in hand is written, or failed */
/* What has been read goes into the hands of the lanes that have none. False: something was not
 * written; it was told of, and all lanes are empty. */
bool capture_write_on(struct capture *c);
void capture_hand_over(struct capture *c); /* the same, until there is room in each lane to read */
void capture_write_all(struct capture *c); /* the same, until nothing is left */
void capture_drop(struct capture *c);      /* after what is in hand, what was read is void */

/* capture_totals.c: something may just have been read. */
void capture_totals(struct capture *c);
/* capture_backlog.c: how old was what lane has just written; too old is an incident. */
void capture_note_age(struct capture *c, struct lane *lane, const struct source_batch *b);
void capture_backlog(struct capture *c);
/* capture.c: the source is opened anew, so that each partition's log is compared again. */
void capture_reopen(struct capture *c);

/* capture_heal.c: asks the sources' stores for what is missing. */
struct capture_heal *capture_heal_new(void); /* NULL when out of memory */
void capture_heal_free(struct capture_heal *h);
void capture_heal_turn(struct capture *c);
void capture_heal_soon(struct capture *c); /* there is a new incident */

/* capture_state.c */
void capture_well(struct capture *c); /* both ends answer */
void capture_count(struct capture *c, const struct capture_outcome *out);
void capture_read_to(struct capture *c); /* a position was learned or moved */
void capture_trouble(struct capture *c, const char *event, const struct err *e);

#endif
