/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/kit/kit.h"

#include "base/file.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

_Static_assert(MGC_RETRY == (int)ERR_RETRY && MGC_REJECTED == (int)ERR_REJECTED &&
                   MGC_CONFIG == (int)ERR_CONFIG && MGC_FAULT == (int)ERR_FAULT &&
                   MGC_NOT_FOUND == (int)ERR_NOT_FOUND,
               "the classes of base and of the contract are the same numbers");

static int take(int32_t rc, const struct mgc_error *from, struct err *e)
{
    bool known = rc < 0 && rc > MGC_END;
    if (rc == MGC_CANCELLED)
        return err_set(e, ERR_STOPPED, "%s", from->text);
    return err_set(e, known ? rc : ERR_FAULT, "%s", from->text);
}

int32_t kit_result(int rc, const struct err *e, struct mgc_error *out)
{
    if (rc == 0)
        return MGC_OK;
    (void)snprintf(out->text, sizeof out->text, "%.*s", (int)sizeof out->text - 1, e->text);
    if (rc == ERR_STOPPED)
        return MGC_CANCELLED;
    return rc > ERR_NOT_FOUND ? rc : MGC_RETRY;
}

int kit_source_init(struct kit_source *s, const struct mgc_host *host,
                    const struct mgc_batch *batch, struct err *e)
{
    *s = (struct kit_source){.host = host, .batch = batch, .digest = sha256_new()};
    return s->digest ? 0 : err_memory(e, "batch digest");
}

void kit_source_done(struct kit_source *s)
{
    sha256_free(s->digest);
    s->digest = NULL;
}

int kit_source_rewind(struct kit_source *s, struct err *e)
{
    struct mgc_error from = {.size = sizeof from};
    uint8_t unused[SHA256_SIZE];
    sha256_end(s->digest, unused);
    s->seen = 0;
    int32_t rc = s->host->rewind(s->host->context, &from);
    return rc == MGC_OK ? 0 : take(rc, &from, e);
}

static int end_of_pass(struct kit_source *s, struct err *e)
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

int kit_source_next(struct kit_source *s, const struct mgc_record **r, struct err *e)
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

    sha256_add_part(s->digest, record->raw.p, (size_t)record->raw.n);
    s->seen++;
    *r = record;
    return 0;
}

int kit_source_settle(struct kit_source *s, uint64_t first, uint64_t last, int verdict,
                      const struct mgc_fact *facts, uint32_t count, const char *text, struct err *e)
{
    struct mgc_error from = {.size = sizeof from};
    int32_t rc = s->host->settle(s->host->context, first, last, verdict, facts, count, text, &from);
    return rc == MGC_OK ? 0 : take(rc, &from, e);
}

int kit_folder(const char *option, const struct mgc_value *value, char out[PATH_MAX], struct err *e)
{
    if (!slice_copy(kit_slice(value->text), out, PATH_MAX))
        return err_set(e, ERR_CONFIG, "%s: over %d bytes", option, PATH_MAX - 1);
    return file_make_dirs(out, e);
}

struct mgc_fact kit_fact(const char *name, const char *value)
{
    return (struct mgc_fact){{name, strlen(name)}, {value, strlen(value)}};
}

const struct mgc_fact *kit_fact_find(const struct mgc_fact *facts, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (slice_is(kit_slice(facts[i].name), name))
            return &facts[i];
    return NULL;
}

void kit_span_add(struct kit_span *s, const struct mgc_record *r)
{
    if (r->sequence > 0 && (!s->first_sequence || r->sequence < s->first_sequence))
        s->first_sequence = r->sequence;
    if (r->sequence > s->last_sequence)
        s->last_sequence = r->sequence;
    if (!s->records || r->time_us < s->first_us)
        s->first_us = r->time_us;
    if (!s->records || r->time_us > s->last_us)
        s->last_us = r->time_us;
    s->records++;
}
