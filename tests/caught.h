/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of commands: their streams caught in memory, and what they must have said. */
#ifndef TESTS_CAUGHT_H
#define TESTS_CAUGHT_H

#include "base/app.h"
#include "tests/expect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct caught {
    struct app_io io;
    char *out, *err; /* after caught_read: what was said since caught_anew */
    size_t out_n, err_n;
};

static inline void caught_begin(struct caught *c)
{
    *c = (struct caught){.io = {.in = stdin}};
    c->io.out = open_memstream(&c->out, &c->out_n);
    c->io.err = open_memstream(&c->err, &c->err_n);
    assert_true(c->io.out && c->io.err);
}

static inline void caught_done(struct caught *c)
{
    (void)fclose(c->io.out);
    (void)fclose(c->io.err);
    free(c->out);
    free(c->err);
}

static inline void caught_anew(struct caught *c)
{
    rewind(c->io.out);
    rewind(c->io.err);
}

static inline void caught_read(struct caught *c)
{
    (void)fputc('\0', c->io.out);
    (void)fputc('\0', c->io.err);
    (void)fflush(c->io.out);
    (void)fflush(c->io.err);
}

static inline void assert_said(const char *text, const char *what)
{
    if (!strstr(text, what))
        fail_msg("\"%s\" is not in: %s", what, text);
}

#endif
