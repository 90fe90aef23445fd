/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Named points at which a test ends, freezes or fails the process. Without HOLDFAST_FAULTS at build
 * time they are nothing at all. With it, the environment says what happens where:
 *   HOLDFAST_FAULT=NAME:kill:N       SIGKILL to itself at the Nth passing of the point
 *   HOLDFAST_FAULT=NAME:stop:N       SIGSTOP to itself, to be continued by somebody else
 *   HOLDFAST_FAULT=NAME:fail:N       FAULT_FAILS is true, once
 *   HOLDFAST_FAULT_MARK=PATH         only if this file could be made: once in the life of several
 *                                    processes, and the test sees that the point was reached
 *   HOLDFAST_FAULT_CLOCK=PATH        so many seconds as the file says are added to the clock
 * Passings are counted for each process. Any thread may pass. tests/faults/points lists them all.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#ifdef HOLDFAST_FAULTS

#define FAULT(name)       fault_pass(name)
#define FAULT_FAILS(name) fault_fails(name)

void fault_pass(const char *name);

bool fault_fails(const char *name);

int64_t fault_clock_us(void);

/* For a child that gets no environment of ours: writes up to two entries and a NULL. They live as
 * long as the process. */
void fault_environment(char *env[3]);

#else

#define FAULT(name)       ((void)0)
#define FAULT_FAILS(name) false

static inline int64_t fault_clock_us(void)
{
    return 0;
}

static inline void fault_environment(char *env[3])
{
    env[0] = (char *)0;
}

#endif

#endif
