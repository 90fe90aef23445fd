/* SPDX-License-Identifier: Apache-2.0 */
/* Error values: fixed size, so that reporting out-of-memory needs no memory. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int class, const char *format, ...)
{
    if (!e)
        return class;
    e->class = class;
    e->errnum = 0;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    return class;
}

int err_errno(struct err *e, int class, const char *format, ...)
{
    int saved = errno;
    if (!e)
        return class;
    e->class = class;
    e->errnum = saved;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    char reason[128];
    /* The GNU strerror_r: may answer with a constant text of its own instead of the buffer. */
    const char *text = strerror_r(saved, reason, sizeof reason);
    size_t n = strlen(e->text);
    (void)snprintf(e->text + n, sizeof e->text - n, ": %s", text);
    errno = saved;
    return class;
}

int err_wrap(struct err *e, const char *format, ...)
{
    /* The only failure of a caller that passes no struct err is the class it already has. */
    if (!e)
        return ERR_FAULT;
    char inner[sizeof e->text];
    memcpy(inner, e->text, sizeof inner);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    size_t n = strlen(e->text);
    (void)snprintf(e->text + n, sizeof e->text - n, ": %s", inner);
    return e->class;
}

int err_memory(struct err *e, const char *what)
{
    int class = err_set(e, ERR_RETRY, "%s: out of memory", what);
    if (e)
        e->errnum = ENOMEM;
    return class;
}

const char *err_class_name(int class)
{
    switch (class) {
    case 0:
        return "ok";
    case ERR_RETRY:
        return "retry";
    case ERR_REJECTED:
        return "rejected";
    case ERR_CONFIG:
        return "config";
    case ERR_FAULT:
        return "fault";
    case ERR_NOT_FOUND:
        return "not-found";
    case ERR_AGAIN:
        return "again";
    case ERR_CONFLICT:
        return "conflict";
    case ERR_DOUBT:
        return "doubt";
    case ERR_STOPPED:
        return "stopped";
    default:
        return "unknown";
    }
}
