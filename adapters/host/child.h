/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker process seen from outside: started in a process group of its own with a socket, a spool
 * and a cancel descriptor, spoken to without ever blocking, killed with everything it started,
 * which can't leave the group (group.h). Nothing that a worker does or fails to do can hold its
 * owner.
 *
 * It may run until a moment that is put off while its owner leads: worker_end.c ends it then, even
 * when the owner is frozen.
 *
 * The worker dies with the thread that started it (PR_SET_PDEATHSIG).
 */
#ifndef ADAPTERS_HOST_CHILD_H
#define ADAPTERS_HOST_CHILD_H

#include "base/buf.h"
#include "base/err.h"

#include <sys/types.h>

/* Descriptors in the worker; all others are closed. */
enum { CHILD_SOCKET = 3, CHILD_SPOOL = 4, CHILD_CANCEL = 5, CHILD_END = 6 };

enum {
    CHILD_MAX_TASK = 8 << 20,     /* bytes of a message to the worker */
    CHILD_MAX_MESSAGE = 256 << 10 /* and of one from it */
};

struct child {
    pid_t pid; /* 0: none */
    int fd, pid_fd, cancel_fd, end_fd;
    int64_t until_ms; /* as given last */
    struct buf in, out;
    size_t taken; /* bytes of `in` that the last message held */
    bool ended;   /* the socket gives no more */
    bool killed;  /* by us */
};

void child_init(struct child *c);
/* Runs `program worker MODULE`. spool_fd: passed on, may be -1. until_ms: when it ends by itself
 * (clock_mono_ms); INT64_MAX: never. */
int child_start(struct child *c, const char *program, const char *module, int spool_fd,
                int64_t until_ms, struct err *e);
/* A later end than was given before; an earlier one changes nothing. */
void child_extend(struct child *c, int64_t until_ms);
/* Queues a message; what does not fit into the socket now goes with child_flush. ERR_REJECTED: over
 * the limit. */
int child_send(struct child *c, struct slice message, struct err *e);
/* Writes what it can. That the worker is gone child_receive says, after what it had answered. */
void child_flush(struct child *c);
/* 1: *message is the next one, valid until the next call; 0: nothing now; ERR_NOT_FOUND: the
 * worker closed its end; ERR_REJECTED: over the limit, or cut off in the middle. */
int child_receive(struct child *c, struct slice *message, struct err *e);
void child_cancel(struct child *c); /* asks: makes the cancel descriptor readable */
void child_kill(struct child *c);   /* the whole group; harmless when it is gone */
/* True once the process is gone (or none was started): then c is as after child_init, and why says
 * how it ended, "" for exit status 0. */
bool child_reaped(struct child *c, char why[80]);
/* Waits at most ms for that. */
bool child_wait(struct child *c, int64_t ms, char why[80]);

#endif
