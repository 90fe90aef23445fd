/* SPDX-License-Identifier: Apache-2.0 */
/* The n-th call of a database's driver, or the n-th allocation, fails. */
#include "tests/contract/faults/faults.h"

#include "base/db_driver.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST = 5000 };

static _Thread_local enum fault_kind armed;
static _Thread_local long left = LONG_MAX;
static const struct db_driver *real[2];
static struct db_driver faulty[2];

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *old, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *old, size_t n);
char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);
pid_t __real_fork(void);
pid_t __wrap_fork(void);
int __real_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags);
int __real_db_open(struct db **out, const char *url, int flags, struct err *e);
int __wrap_db_open(struct db **out, const char *url, int flags, struct err *e);

/* For faults_often; 0: off. */
static unsigned one_in;
static pthread_t spared;
static _Atomic uint32_t dice[FAULT_KINDS];

/* The same throws in each run, as far as the threads allow. */
static bool thrown(enum fault_kind kind, uint32_t weight)
{
    if (!one_in || pthread_equal(pthread_self(), spared))
        return false;
    uint32_t n = atomic_fetch_add(&dice[kind], 1) * UINT32_C(2654435761);
    return ((n ^ n >> 15) * UINT32_C(2246822519) >> 8) % (one_in * weight) == 0;
}

/* Rows and allocations are many: each of them fails so much more rarely. */
enum { STATEMENT = 1, LINK = 4, ROW = 50, ALLOCATION = 100 };

static bool due(enum fault_kind kind, uint32_t weight)
{
    return (armed == kind && left-- == 0) || thrown(kind, weight);
}

void faults_often(unsigned n)
{
    spared = pthread_self();
    one_in = n;
}

void *__wrap_malloc(size_t n)
{
    return due(FAULT_MEMORY, ALLOCATION) ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t count, size_t n)
{
    return due(FAULT_MEMORY, ALLOCATION) ? NULL : __real_calloc(count, n);
}

void *__wrap_realloc(void *old, size_t n)
{
    return due(FAULT_MEMORY, ALLOCATION) ? NULL : __real_realloc(old, n);
}

char *__wrap_strdup(const char *text)
{
    return due(FAULT_MEMORY, ALLOCATION) ? NULL : __real_strdup(text);
}

/* Where the program is not linked for these, nobody calls them. */
#pragma weak __real_pthread_create
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg)
{
    return due(FAULT_MACHINE, 1) ? EAGAIN : __real_pthread_create(thread, attr, run, arg);
}

#pragma weak __real_fork
pid_t __wrap_fork(void)
{
    errno = EAGAIN;
    pid_t pid = due(FAULT_MACHINE, 1) ? -1 : __real_fork();
    if (pid == 0)
        armed = FAULT_NONE;
    return pid;
}

#pragma weak __real_eventfd
int __wrap_eventfd(unsigned count, int flags)
{
    errno = EMFILE;
    return due(FAULT_MACHINE, 1) ? -1 : __real_eventfd(count, flags);
}

/* 0, or the fault. */
static int met(struct db *db, uint32_t weight, struct err *e)
{
    if (due(FAULT_STATEMENT, weight))
        return err_set(e, ERR_RETRY, "%s: refused by the test", db->name);
    if (!due(FAULT_LINK, LINK * weight))
        return 0;
    db->broken = true;
    return err_set(e, ERR_RETRY, "%s: connection broken by the test", db->name);
}

static int script(struct db *db, const char *sql, struct err *e)
{
    int rc = met(db, STATEMENT, e);
    return rc < 0 ? rc : real[db->kind]->script(db, sql, e);
}

static int commit(struct db *db, struct err *e)
{
    int rc = met(db, STATEMENT, e);
    if (rc == 0)
        rc = real[db->kind]->commit(db, e);
    if (rc < 0 || !due(FAULT_ANSWER, LINK))
        return rc;
    db->broken = true;
    return err_set(e, ERR_DOUBT, "%s: answer lost by the test", db->name);
}

static int run(struct db *db, struct db_statement *st, const struct db_value *args, size_t n,
               int64_t *changed, struct err *e)
{
    int rc = met(db, STATEMENT, e);
    return rc < 0 ? rc : real[db->kind]->run(db, st, args, n, changed, e);
}

static int run_all(struct db *db, const char *sql, const struct db_lists *lists, int64_t *changed,
                   struct err *e)
{
    int rc = met(db, STATEMENT, e);
    return rc < 0 ? rc : real[db->kind]->run_all(db, sql, lists, changed, e);
}

static int query_all(struct db *db, const char *sql, const struct db_lists *lists, struct err *e)
{
    int rc = met(db, STATEMENT, e);
    return rc < 0 ? rc : real[db->kind]->query_all(db, sql, lists, e);
}

static int query(struct db *db, struct db_statement *st, const struct db_value *args, size_t n,
                 struct db_rows *r, struct err *e)
{
    int rc = met(db, STATEMENT, e);
    return rc < 0 ? rc : real[db->kind]->query(db, st, args, n, r, e);
}

static int next(struct db_rows *r, struct err *e)
{
    int rc = met(r->db, ROW, e);
    return rc < 0 ? rc : real[r->db->kind]->next(r, e);
}

static int copy_begin(struct db_copy *c, const char *table, const char *columns, struct err *e)
{
    int rc = met(c->db, STATEMENT, e);
    return rc < 0 ? rc : real[c->db->kind]->copy_begin(c, table, columns, e);
}

static int copy_row(struct db_copy *c, const struct db_value *values, struct err *e)
{
    int rc = met(c->db, ROW, e);
    return rc < 0 ? rc : real[c->db->kind]->copy_row(c, values, e);
}

static int copy_end(struct db_copy *c, struct err *e)
{
    int rc = met(c->db, STATEMENT, e);
    if (rc == 0)
        return real[c->db->kind]->copy_end(c, e);
    real[c->db->kind]->copy_abort(c);
    return rc;
}

static int lock(struct db *db, int64_t key, const char *name, struct err *e)
{
    int rc = met(db, STATEMENT, e);
    return rc < 0 ? rc : real[db->kind]->lock(db, key, name, e);
}

static int now_us(struct db *db, int64_t *us, struct err *e)
{
    int rc = met(db, STATEMENT, e);
    return rc < 0 ? rc : real[db->kind]->now_us(db, us, e);
}

int __wrap_db_open(struct db **out, const char *url, int flags, struct err *e)
{
    if (due(FAULT_STATEMENT, STATEMENT) || due(FAULT_LINK, LINK))
        return err_set(e, ERR_RETRY, "database not opened by the test");
    int rc = __real_db_open(out, url, flags, e);
    if (rc < 0)
        return rc;
    struct db_driver *f = &faulty[(*out)->kind];
    real[(*out)->kind] = (*out)->driver;
    *f = *(*out)->driver;
    f->script = script;
    f->commit = commit;
    f->run = run;
    f->run_all = f->run_all ? run_all : NULL;
    f->query_all = f->query_all ? query_all : NULL;
    f->query = query;
    f->next = next;
    f->copy_begin = copy_begin;
    f->copy_row = copy_row;
    f->copy_end = copy_end;
    f->lock = lock;
    f->now_us = now_us;
    (*out)->driver = f;
    return 0;
}

void faults_arm(enum fault_kind kind, long n)
{
    armed = kind;
    left = n;
}

bool faults_met(void)
{
    bool yes = armed != FAULT_NONE && left < 0;
    armed = FAULT_NONE;
    left = LONG_MAX;
    return yes;
}

static bool clean(enum fault_kind kind, int rc)
{
    return rc == ERR_RETRY || (kind == FAULT_ANSWER && rc == ERR_DOUBT);
}

void faults_sweep(enum fault_kind kind, const struct faults_step *s, void *arg)
{
    bool doubt = false;
    /* A connection that breaks between transactions is made anew, and nobody is told. */
    bool heals = kind == FAULT_LINK;
    for (long n = kind == FAULT_LINK ? 1 : 0; n < MOST; n++) {
        if (s->ready)
            s->ready(arg);
        faults_arm(kind, n);
        int rc = s->run(arg);
        bool failed = faults_met();
        bool done = rc == 0 || (doubt && rc == s->again);
        if (!failed && !done)
            fail_msg("%s, nothing failing: class %d", s->name, rc);
        if (!failed || (rc == 0 && heals))
            return;
        if (rc == 0 && s->spares)
            continue;
        if (!clean(kind, rc))
            fail_msg("%s, fault %ld of kind %d: class %d", s->name, n, (int)kind, rc);
        doubt = doubt || rc == ERR_DOUBT;
    }
    fail_msg("%s: no end of faults", s->name);
}
