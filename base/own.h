/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scoped cleanup. A local that owns something is declared OWN(cleaner); leaving the scope calls
 * cleaner(&variable). Hand over in two visible statements: assign, then clear.
 */
#ifndef BASE_OWN_H
#define BASE_OWN_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define OWN(cleaner) __attribute__((cleanup(cleaner)))

/* Defines own_<name>(T **p) for a destructor that accepts NULL. */
#define OWN_DEFINE(name, type, destroy)                                                            \
    static inline void own_##name(type **p)                                                        \
    {                                                                                              \
        destroy(*p);                                                                               \
    }

static inline void own_mem(void *p)
{
    void **q = p;
    free(*q);
}

static inline void own_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

static inline void own_file(FILE **f)
{
    if (*f)
        (void)fclose(*f);
}

#endif
