/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time. Wall-clock times are int64_t microseconds since 1970-01-01T00:00:00Z without leap seconds
 * (`_us`); durations carry their unit. Text is RFC 3339 in UTC with `Z`.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/text.h"

enum { CLOCK_TEXT_SIZE = 32 };

int64_t clock_wall_us(void);
int64_t clock_mono_ms(void); /* for time-outs and ages inside one process */

/* "2026-11-24T06:12:19.000001Z", always six decimals. Years 1 to 9999; others give "". */
void clock_format(int64_t us, char out[CLOCK_TEXT_SIZE]);
/* RFC 3339 with any offset and 0 to 9 decimals (further ones than 6 are cut off); years 1 to 9999.
 */
bool clock_parse(struct slice text, int64_t *us);
/* "3 s", "5 min", "2 h", "4 days": an age in words. */
void clock_age(int64_t ms, char out[CLOCK_TEXT_SIZE]);

/* A new UUIDv7 (RFC 9562) of that time as 36 lower-case characters and a NUL. Thread-safe. */
void uuid_v7(int64_t time_us, char out[37]);
/* A UUID v8-shaped text from the first 16 bytes of a digest: the same digest, the same text. */
void uuid_from_digest(const uint8_t digest[16], char out[37]);
bool uuid_valid(struct slice text);

#endif
