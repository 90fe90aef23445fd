/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The null module: takes every batch and keeps nothing. It is the smallest module that is complete,
 * written to be read and copied: everything that a module must do is here, in the order in which
 * the host asks for it. It is of use, too: as a second, slow or quick archive in a trial.
 *
 * Outside of this tree it is built from the installed header alone:
 *
 *     cc -std=c11 -Wall -Wextra -shared -fPIC -fvisibility=hidden -o mgc_null.so null_adapter.c
 *
 * The host looks for mgc_<name>.so in the folder that `modules` in [holdfast] names.
 */
#include <holdfast/mgc_adapter.h>

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Options: a table that the host reads, explains (holdfast adapter describe null), checks and fills
 * in. Values come back in the table's order, so an enum names the places.
 */
enum { OPTION_PAUSE };
static const struct mgc_option options[] = {
    {.name = "pause",
     .type = MGC_OPTION_DURATION,
     .fallback = "0s",
     .max = 3600000,
     .help = "Waits so long before it settles a batch: a trial of what a slow archive does."},
    {0},
};

/* What lasts between open and close. Never a global: the pointer comes with every call. */
struct null {
    const struct mgc_host *host;
    int pause_ms;
};

/* Every failure is a class, which decides what the host does, and one line for a person. */
static int32_t fail(struct mgc_error *e, int32_t class, const char *text)
{
    (void)snprintf(e->text, sizeof e->text, "%s", text);
    return class;
}

/* Connections, folders, log-ins would be made here. *instance is set only on success. */
static int32_t null_open(const struct mgc_host *host, const struct mgc_value *values,
                         void **instance, struct mgc_error *e)
{
    struct null *n = calloc(1, sizeof *n);
    if (!n)
        return fail(e, MGC_RETRY, "out of memory");
    n->host = host;
    n->pause_ms = (int)values[OPTION_PAUSE].number;
    *instance = n;
    return MGC_OK;
}

static void null_close(void *instance)
{
    free(instance);
}

/* All waiting is on cancel_fd too: when it is readable the host wants the call to return. */
static int32_t wait_before_settling(const struct null *n, const struct mgc_batch *batch,
                                    struct mgc_error *e)
{
    struct pollfd cancel = {.fd = batch->cancel_fd, .events = POLLIN};
    return poll(&cancel, 1, n->pause_ms) > 0 ? fail(e, MGC_CANCELLED, "cancelled") : MGC_OK;
}

/*
 * The records, one after the other; a real module would write each. raw is the record as its source
 * wrote it, and what an archive must keep; the other members are there to show it to people. A
 * record that could not be read (MGC_RECORD_UNREADABLE) has raw alone, and is kept all the same.
 */
static int32_t read_all(const struct null *n, uint64_t *bytes, struct mgc_error *e)
{
    const struct mgc_record *record;
    int32_t rc = n->host->rewind(n->host->context, e);
    *bytes = 0;
    while (rc == MGC_OK) {
        rc = n->host->next(n->host->context, &record, e);
        if (rc == MGC_OK)
            *bytes += record->raw.n;
    }
    return rc == MGC_END ? MGC_OK : rc;
}

/*
 * settle says what became of a range of records; when it returns MGC_OK the host has that on disk
 * and will not ask again. A module settles what is durable at its destination, and not before. Here
 * nothing can be half done, so one call settles all. The facts are the receipt.
 */
static int32_t settle_all(const struct null *n, const struct mgc_batch *batch, uint64_t bytes,
                          struct mgc_error *e)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRIu64, bytes);
    const struct mgc_fact receipt[] = {{{"bytes", 5}, {text, strlen(text)}}};
    if (batch->records == 0)
        return MGC_OK;
    return n->host->settle(n->host->context, 0, batch->records - 1, MGC_OK, receipt, 1, NULL, e);
}

/*
 * A batch may come again, after a crash of anything: the same id, stem and records, a higher
 * attempt. What a module publishes is named after stem or id, and accepted when it is there.
 */
static int32_t null_deliver(void *instance, const struct mgc_batch *batch, struct mgc_error *e)
{
    const struct null *n = instance;
    uint64_t bytes;
    int32_t rc = read_all(n, &bytes, e);
    if (rc == MGC_OK && bytes != batch->bytes)
        rc = fail(e, MGC_FAULT, "the records have not as many bytes as the batch says");
    if (rc == MGC_OK)
        rc = wait_before_settling(n, batch, e);
    return rc == MGC_OK ? settle_all(n, batch, bytes, e) : rc;
}

/*
 * The one exported symbol. check, find and verify are left out, as they may be: nothing can be
 * asked about what is nowhere, so read-back is none, and no record is ever deleted from staging on
 * this module's word alone.
 */
MGC_EXPORT const struct mgc_adapter *mgc_adapter_v0(uint32_t host_major)
{
    static const struct mgc_adapter adapter = {
        .size = sizeof adapter,
        .abi_major = MGC_ABI_MAJOR,
        .abi_minor = MGC_ABI_MINOR,
        .readback = MGC_READBACK_NONE,
        .name = "null",
        .version = "0.1.0",
        .summary = "takes everything and keeps nothing: a module to read, copy and try with",
        .options = options,
        .open = null_open,
        .deliver = null_deliver,
        .close = null_close,
    };
    return host_major == MGC_ABI_MAJOR ? &adapter : NULL;
}
