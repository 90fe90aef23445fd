/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults on purpose, at the n-th thing that may fail. The program is linked with --wrap for
 * db_open, malloc, calloc, realloc and strdup, and for FAULT_MACHINE pthread_create, fork and
 * eventfd; the databases beneath are real, and what is refused here is rolled back there.
 */
#ifndef TESTS_CONTRACT_FAULTS_FAULTS_H
#define TESTS_CONTRACT_FAULTS_FAULTS_H

#include <stdbool.h>

enum fault_kind {
    FAULT_NONE,
    FAULT_STATEMENT, /* a statement, a row or an opening of a database fails; the connection lives
                      */
    FAULT_LINK,      /* the connection breaks there */
    FAULT_ANSWER,    /* the connection breaks after a commit, before its answer */
    FAULT_MEMORY,    /* an allocation fails */
    FAULT_MACHINE,   /* a thread, a process or an event descriptor is refused */
    FAULT_KINDS
};

/* The n-th one from now on of the calling thread fails, n = 0, 1, ...; once. */
void faults_arm(enum fault_kind kind, long n);
/* Ends that. True: it came to that. */
bool faults_met(void);

/* Until the program's end, in all threads but the calling one, one in so many statements fails;
 * rows, commits' answers, connections and allocations do so more rarely. */
void faults_often(unsigned one_in);

/* Runs the step with its n-th thing failing, for each n until none is left that could fail, and so
 * once to the end. `again`: what a step may return besides 0 when it was done before, unknown to
 * it. Fails the test when a fault shows as anything but a clean error, or as none in a step that
 * returns 0 in spite of it; a step that goes on without what failed says so by `spares`. */
struct faults_step {
    const char *name;
    int (*run)(void *arg);
    int again;                /* 0: nothing but success */
    bool spares;              /* may return 0 although something failed within, and be run again */
    void (*ready)(void *arg); /* before each try, with nothing failing; may be NULL */
};
void faults_sweep(enum fault_kind kind, const struct faults_step *s, void *arg);

#endif
