/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What archiver and worker say to each other: JSON messages in frames. The archiver sends one task;
 * the worker settles, logs, and ends with a result. Both sides check what they get: a worker holds
 * foreign code, and its messages are hostile input.
 */
#ifndef ADAPTERS_HOST_WIRE_H
#define ADAPTERS_HOST_WIRE_H

#include "adapters/mgc_adapter.h"
#include "base/arena.h"
#include "base/conf.h"
#include "base/digest.h"
#include "base/json.h"

enum {
    WIRE_MAX_OPTIONS = 64,
    WIRE_MAX_FACTS = 64,
    WIRE_MAX_FACT = 4096, /* bytes of a fact's name or value */
    WIRE_MAX_TEXT = 507,  /* of an error's text */
};

enum wire_do { WIRE_DESCRIBE, WIRE_CHECK, WIRE_DELIVER, WIRE_VERIFY };

/* ---- archiver to worker ---- */
struct wire_option {
    struct slice name, text;
    int64_t number;
    bool set;
};
struct wire_task {
    enum wire_do what;
    struct slice instance, scratch;
    struct wire_option options[WIRE_MAX_OPTIONS];
    size_t option_count;
    /* deliver, verify */
    struct slice id, stem;
    int64_t number, attempt, records, bytes, cut_us, deadline_ms;
    int64_t readback; /* what the module declared when it was asked */
    uint8_t digest[SHA256_SIZE];
};
void wire_task_write(struct buf *out, const struct wire_task *t);
/* Slices point into a. */
int wire_task_read(struct json_doc *d, struct slice message, struct arena *a, struct wire_task *out,
                   struct err *e);

/* The answer to a settle. */
void wire_answer_write(struct buf *out, int32_t rc, struct slice text);
int wire_answer_read(struct json_doc *d, struct slice message, int32_t *rc, struct slice *text,
                     struct err *e);

/* ---- worker to archiver ---- */
enum wire_kind { WIRE_SETTLE, WIRE_LOG, WIRE_DESCRIPTION, WIRE_END };
struct wire_message {
    enum wire_kind kind;
    int64_t first, last;      /* settle */
    int32_t rc;               /* settle: verdict; log: level; end: result */
    struct slice text;        /* UTF-8; what was not is U+FFFD */
    const struct json *facts; /* settle: array of [name, value], at most WIRE_MAX_FACTS; checked */
    const struct json *description;
};
void wire_settle_write(struct buf *out, uint64_t first, uint64_t last, int32_t verdict,
                       const struct mgc_fact *facts, uint32_t fact_count, const char *text);
void wire_log_write(struct buf *out, uint32_t level, const char *text);
void wire_description_write(struct buf *out, const struct mgc_adapter *a);
void wire_end_write(struct buf *out, int32_t rc, const char *text);
/* Valid until the next use of d, and as long as message is. */
int wire_message_read(struct json_doc *d, struct slice message, struct wire_message *out,
                      struct err *e);
/* Facts as they are kept in the ledger: [["path","/x"],["bytes","17"]]. */
void wire_facts_write(struct buf *out, const struct json *facts);

/* A module's description of itself, read from a WIRE_DESCRIPTION. */
struct wire_module {
    struct slice name, version, summary;
    int32_t readback;
    bool verifies; /* has a verify function */
    struct conf_option options[WIRE_MAX_OPTIONS + 1];
    size_t option_count;
};
int wire_module_read(const struct json *description, struct arena *a, struct wire_module *out,
                     struct err *e);

#endif
