/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors: a class a caller can act on, and one line of text for a person.
 * The class is decided where the cause is known; callers add context from outside in.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stddef.h>

/* What a failing function returns. 0 is success. */
enum err_class {
    ERR_RETRY = -1,     /* the world outside: network, disk full, out of memory; later may work */
    ERR_REJECTED = -2,  /* this input can never be accepted as it is */
    ERR_CONFIG = -3,    /* set up wrongly; a person must change something */
    ERR_FAULT = -4,     /* a broken invariant: ours, or corruption of what we stored */
    ERR_NOT_FOUND = -5, /* the named object does not exist */
    ERR_AGAIN = -6,     /* nothing now: time-out, empty queue, would block */
    ERR_CONFLICT = -7,  /* somebody else was faster: a compare-and-swap or a lock lost */
    ERR_DOUBT = -8,     /* a commit whose outcome is unknown */
    ERR_STOPPED = -9,   /* asked to stop */
};

struct err {
    int class;      /* enum err_class, or 0 */
    int errnum;     /* errno of the cause, or 0 */
    char text[512]; /* lower case, no final stop; names the object; a second sentence may advise */
};

/* Every setter returns the class, so that failing is one statement. e may be NULL everywhere. */
int err_set(struct err *e, int class, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As err_set, with ": " and the text of errno appended; keeps errno in errnum. */
int err_errno(struct err *e, int class, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts context and ": " before the text already there. Returns e->class. */
int err_wrap(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Out of memory while doing `what`: ERR_RETRY. */
int err_memory(struct err *e, const char *what);

/* "retry", "rejected", "config", ... for logs. */
const char *err_class_name(int class);

#endif
