/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/spool_made.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static void put_record(struct buf *out, struct slice raw)
{
    const uint8_t hash[SHA256_SIZE] = {0};
    buf_u32be(out, SPOOL_NO_ROOM);
    buf_u32be(out, MGC_RECORD_UNREADABLE);
    for (int i = 0; i < 5; i++)
        buf_u64be(out, 1);
    buf_add(out, hash, sizeof hash);
    buf_u32be(out, 0);
    buf_u32be(out, (uint32_t)raw.n);
    buf_slice(out, raw);
}

static void put_json(struct buf *out, const char *text)
{
    buf_u32be(out, (uint32_t)strlen(text));
    buf_text(out, text);
}

void spool_made(struct buf *out, uint8_t digest[SHA256_SIZE], const struct slice *raws, size_t n,
                const char *rooms, const char *settlements)
{
    char totals[100];
    struct sha256 *sum = sha256_new();
    assert_non_null(sum);
    buf_init(out, 64 << 20);
    for (size_t i = 0; i < n; i++) {
        put_record(out, raws[i]);
        sha256_add_part(sum, raws[i].p, raws[i].n);
    }
    sha256_end(sum, digest);
    sha256_free(sum);
    (void)snprintf(totals, sizeof totals,
                   "{\"records\":%zu,\"bytes\":1,\"first_us\":1,\"last_us\":1}", n);
    uint64_t at = out->n;
    put_json(out, totals);
    put_json(out, rooms);
    put_json(out, settlements);
    buf_u64be(out, at);
    assert_false(out->failed);
}

int spool_made_file(struct slice bytes)
{
    int fd = memfd_create("spool", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes.p, bytes.n), (ssize_t)bytes.n);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}
