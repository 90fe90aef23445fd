/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the gate: a small mgccomp on SQLite whose whole content can be kept and brought back
 * as a state, and the steps that change it: capture, cut, delivery with its read-back, park, retry,
 * an adapter added or retired or learning to read back, incidents. Each step begins from what is in
 * the database and nothing else, so each is also a restart. Failures fail the test.
 */
#ifndef TESTS_UNIT_RETENTION_GATE_MODEL_H
#define TESTS_UNIT_RETENTION_GATE_MODEL_H

#include "retention/sweep_step.h"

/* Of two rooms, a record each: room 1 at position 0, room 2 at 1. */
enum { RECORDS = 2, MAX_STATES = 20000 };

struct model {
    char dir[64], url[128];
    struct staging *st;
    struct db *db;
    struct sweep_step *step;
    struct swept_row *room;
    struct buf save, restore; /* scripts, with %d for the state's number */
    uint8_t (*seen)[SHA256_SIZE];
    int states, steps;
    int64_t batch_records; /* at most, in a batch that is cut */
    struct err e;
};

/* For cmocka. One adapter is there: a, required, which reads back all. */
int model_set_up(void **state);
int model_tear_down(void **state);

void model_save(struct model *m, int state);
void model_restore(struct model *m, int state);
/* A digest of what makes two states different: no times, ids and counts of attempts. */
void model_print(struct model *m, uint8_t out[SHA256_SIZE]);
/* Not seen before; then it is noted as the next state. */
bool model_is_new(struct model *m, const uint8_t print[SHA256_SIZE]);
void model_dump(struct model *m); /* in words */
/* A query with the parameters $1 and $2. */
int64_t model_number(struct model *m, const char *sql, int64_t a, int64_t b);

/* Steps, by the adapter's name or the incident's object ("room": room 1; "partition"): true when
 * the step was possible. What is verified is noted in a table of its own, verified (instance, pos,
 * whole). */
bool step_capture(struct model *m, const char *unused);
bool step_add_required(struct model *m, const char *name);
bool step_add_optional(struct model *m, const char *name);
bool step_retire(struct model *m, const char *name);
bool step_learn(struct model *m, const char *name); /* to read back all */
bool step_cut(struct model *m, const char *name);
bool step_settle(struct model *m, const char *name);
bool step_verify(struct model *m, const char *name); /* all that was frozen is still there */
bool step_park(struct model *m, const char *name);
bool step_retry(struct model *m, const char *name);
bool step_open_incident(struct model *m, const char *object);
bool step_close_incident(struct model *m, const char *object);

#endif
