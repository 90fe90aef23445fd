/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/last_record.h"

#include "base/own.h"

#include <string.h>

enum { RECORD_ROOM = 16 * 1024 * 1024 };

int last_record_compare(const struct kafka_target *t, const struct staging_position *at, int64_t ms,
                        enum last_record *out, struct err *e)
{
    OWN(own_buf) struct buf value = {0};
    uint8_t hash[SHA256_SIZE];
    if (!at->has_hash) {
        *out = LAST_NONE;
        return 0;
    }
    buf_init(&value, RECORD_ROOM);
    int rc = kafka_read_one(t, at->part, position_offset(at) - 1, ms, &value, e);
    if (rc == ERR_NOT_FOUND) {
        *out = LAST_ABSENT;
        return 0;
    }
    if (rc < 0)
        return rc;
    sha256(value.p ? value.p : "", value.n, hash);
    *out = memcmp(hash, at->hash, SHA256_SIZE) == 0 ? LAST_SAME : LAST_OTHER;
    return 0;
}
