/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/smtp/smtp_host.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

_Static_assert(MGC_RETRY == (int)ERR_RETRY && MGC_REJECTED == (int)ERR_REJECTED &&
                   MGC_CONFIG == (int)ERR_CONFIG && MGC_FAULT == (int)ERR_FAULT &&
                   MGC_NOT_FOUND == (int)ERR_NOT_FOUND,
               "the classes of base and of the contract are the same numbers");

static int take(int32_t rc, const struct mgc_error *from, struct err *e)
{
    int class = rc == MGC_CANCELLED ? ERR_STOPPED : rc <= MGC_END ? ERR_FAULT : rc;
    return err_set(e, class, "%s", from->text);
}

int32_t smtp_give(int rc, const struct err *e, struct mgc_error *out)
{
    if (rc == 0)
        return MGC_OK;
    (void)snprintf(out->text, sizeof out->text, "%.*s", (int)sizeof out->text - 1, e->text);
    if (rc == ERR_STOPPED)
        return MGC_CANCELLED;
    return rc > ERR_NOT_FOUND ? rc : MGC_RETRY;
}

int smtp_source_init(struct smtp_source *s, const struct mgc_host *host,
                     const struct mgc_batch *batch, struct err *e)
{
    *s = (struct smtp_source){.host = host, .batch = batch, .digest = sha256_new()};
    return s->digest ? 0 : err_memory(e, "batch digest");
}

void smtp_source_done(struct smtp_source *s)
{
    sha256_free(s->digest);
    s->digest = NULL;
}

int smtp_source_rewind(struct smtp_source *s, struct err *e)
{
    struct mgc_error from = {.size = sizeof from};
    uint8_t unused[SHA256_SIZE];
    sha256_end(s->digest, unused);
    s->seen = 0;
    int32_t rc = s->host->rewind(s->host->context, &from);
    return rc == MGC_OK ? 0 : take(rc, &from, e);
}

static int end_of_pass(struct smtp_source *s, struct err *e)
{
    uint8_t digest[SHA256_SIZE];
    sha256_end(s->digest, digest);
    if (s->seen != s->batch->records)
        return err_set(e, ERR_FAULT, "batch %s: %llu records came, it has %llu", s->batch->id.p,
                       (unsigned long long)s->seen, (unsigned long long)s->batch->records);
    if (memcmp(digest, s->batch->sha256, sizeof digest) != 0)
        return err_set(e, ERR_FAULT, "batch %s: its records do not have its sha256",
                       s->batch->id.p);
    return 0;
}

int smtp_source_next(struct smtp_source *s, const struct mgc_record **r, struct err *e)
{
    struct pollfd cancel = {.fd = s->batch->cancel_fd, .events = POLLIN};
    if (poll(&cancel, 1, 0) > 0)
        return err_set(e, ERR_STOPPED, "batch %s: cancelled", s->batch->id.p);

    struct mgc_error from = {.size = sizeof from};
    const struct mgc_record *record = NULL;
    int32_t rc = s->host->next(s->host->context, &record, &from);
    if (rc == MGC_END) {
        *r = NULL;
        return end_of_pass(s, e);
    }
    if (rc != MGC_OK)
        return take(rc, &from, e);

    uint8_t length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)(record->raw.n >> (56 - 8 * i));
    sha256_add(s->digest, length, sizeof length);
    sha256_add(s->digest, record->raw.p, (size_t)record->raw.n);
    s->seen++;
    *r = record;
    return 0;
}

int smtp_source_settle(struct smtp_source *s, uint64_t first, uint64_t last, int verdict,
                       const struct mgc_fact *facts, uint32_t count, const char *text,
                       struct err *e)
{
    struct mgc_error from = {.size = sizeof from};
    int32_t rc = s->host->settle(s->host->context, first, last, verdict, facts, count, text, &from);
    return rc == MGC_OK ? 0 : take(rc, &from, e);
}
