/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host for adapter modules under test: it loads one, gives it a batch of records from memory, and
 * notes what becomes of them. What is noted lies in memory shared with child processes, so that a
 * module may be killed in the middle of a delivery and its host goes on.
 */
#ifndef TESTS_CONTRACT_ADAPTER_HOST_H
#define TESTS_CONTRACT_ADAPTER_HOST_H

#include "adapters/mgc_adapter.h"

#include <stdbool.h>

enum { BATCH_RECORDS_MAX = 64, BATCH_ROOMS_MAX = 8, NOTED_FACTS_MAX = 64, OPTIONS_MAX = 16 };

/* A batch in memory; sample_*() fill it. Everything a record points to lives as long. */
struct sample {
    struct mgc_batch batch;
    struct mgc_room rooms[BATCH_ROOMS_MAX];
    struct mgc_record records[BATCH_RECORDS_MAX];
    char *owned[8 * BATCH_RECORDS_MAX];
    size_t owned_count;
    uint64_t room_count;
};

/* What the module was seen to do; shared with children. */
struct noted {
    int32_t verdict[BATCH_RECORDS_MAX]; /* 1: not settled */
    char text[BATCH_RECORDS_MAX][256];
    int settles, nexts, found; /* found: find said that all is there */
    struct {
        char name[32], value[512];
    } facts[NOTED_FACTS_MAX];
    int fact_count;
};

struct host {
    struct mgc_host api;
    const struct mgc_adapter *adapter;
    struct sample *sample;
    struct noted *noted;
    uint64_t place;
    int cancel[2];
    char scratch[256];
    char options[OPTIONS_MAX][300];
    /* Faults: the process ends by SIGKILL at the n-th call from now on (0: never). */
    int kill_at_next, kill_before_settle, kill_after_settle;
    int cancel_at_next; /* cancels instead */
};

/* Loads modules/mgc_<name>.so. scratch is a folder of the caller's. Fails the test when it can't.
 */
void host_init(struct host *h, const char *modules, const char *name, const char *scratch);
/* The same with a module that is linked in. */
void host_init_linked(struct host *h, mgc_adapter_entry *entry, const char *scratch);
void host_done(struct host *h);
/* Option values as text; the rest is as the module's table says. */
void host_option(struct host *h, const char *name, const char *value);
/* A batch for the following calls: nothing of it is settled. */
void host_batch(struct host *h, struct sample *s);

/* Opens the module, calls find when this is not the first attempt, then deliver (or verify with the
 * facts noted), closes it. */
int32_t host_deliver(struct host *h, struct mgc_error *e);
int32_t host_verify(struct host *h, struct mgc_error *e);
/* host_deliver in a child process under limits: file_limit bytes a file (0: none). *killed: it did
 * not come back. */
int32_t host_deliver_apart(struct host *h, long file_limit, bool *killed, struct mgc_error *e);

bool host_all_settled(const struct host *h, int32_t verdict);
int host_settled(const struct host *h);

#endif
