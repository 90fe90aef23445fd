/* SPDX-License-Identifier: Apache-2.0 */
/* Time by the proleptic Gregorian calendar: no time zones, no locale, no static buffers of libc. */
#include "base/clock.h"

#include "base/digest.h"
#include "base/fault.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { DAY_S = 86400 };
static const int64_t US = 1000000;
static const int64_t FIRST_US = INT64_C(-62135596800) * 1000000;    /* 0001-01-01 */
static const int64_t LAST_US = INT64_C(253402300800) * 1000000 - 1; /* end of 9999 */

int64_t clock_wall_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * US + now.tv_nsec / 1000 + fault_clock_us();
}

int64_t clock_mono_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Days since 1970-01-01. Years are counted from March, so that the leap day is a year's last. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static void date_of(int64_t days, int *year, int *month, int *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t m = (5 * day_of_year + 2) / 153;
    *day = (int)(day_of_year - (153 * m + 2) / 5 + 1);
    *month = (int)(m < 10 ? m + 3 : m - 9);
    *year = (int)(year_of_era + era * 400 + (*month <= 2));
}

void clock_format(int64_t us, char out[CLOCK_TEXT_SIZE])
{
    out[0] = '\0';
    if (us < FIRST_US || us > LAST_US)
        return;
    int64_t seconds = us / US;
    int64_t part = us % US;
    if (part < 0) {
        part += US;
        seconds--;
    }
    int64_t days = seconds / DAY_S;
    int64_t rest = seconds % DAY_S;
    if (rest < 0) {
        rest += DAY_S;
        days--;
    }
    int year = 0;
    int month = 0;
    int day = 0;
    date_of(days, &year, &month, &day);
    (void)snprintf(out, CLOCK_TEXT_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%06uZ",
                   (unsigned)year % 10000, (unsigned)month % 100, (unsigned)day % 100,
                   (unsigned)(rest / 3600) % 100, (unsigned)(rest / 60 % 60), (unsigned)(rest % 60),
                   (unsigned)part % 1000000);
}

/* Exactly n digits at the front of *rest. */
static bool take_number(struct slice *rest, size_t n, int *out)
{
    uint64_t value = 0;
    if (rest->n < n || !text_u64((struct slice){rest->p, n}, &value))
        return false;
    *out = (int)value;
    *rest = (struct slice){rest->p + n, rest->n - n};
    return true;
}

static bool take_char(struct slice *rest, char c)
{
    if (!rest->n || (rest->p[0] != c && !(c >= 'A' && c <= 'Z' && rest->p[0] == c - 'A' + 'a')))
        return false;
    *rest = (struct slice){rest->p + 1, rest->n - 1};
    return true;
}

static bool take_date(struct slice *rest, int64_t *days)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year = 0;
    int month = 0;
    int day = 0;
    if (!take_number(rest, 4, &year) || !take_char(rest, '-') || !take_number(rest, 2, &month) ||
        !take_char(rest, '-') || !take_number(rest, 2, &day))
        return false;
    if (year < 1 || month < 1 || month > 12)
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day < 1 || day > lengths[month - 1] + (month == 2 && leap))
        return false;
    *days = days_of(year, month, day);
    return true;
}

static bool take_fraction(struct slice *rest, int64_t *us)
{
    *us = 0;
    if (!take_char(rest, '.'))
        return true;
    int64_t unit = US / 10;
    size_t n = 0;
    for (; n < rest->n && rest->p[n] >= '0' && rest->p[n] <= '9'; n++) {
        *us += (rest->p[n] - '0') * unit;
        unit /= 10;
    }
    *rest = (struct slice){rest->p + n, rest->n - n};
    return n >= 1 && n <= 9;
}

static bool take_offset(struct slice *rest, int64_t *seconds)
{
    *seconds = 0;
    if (take_char(rest, 'Z'))
        return true;
    bool west = take_char(rest, '-');
    int hour = 0;
    int minute = 0;
    if (!west && !take_char(rest, '+'))
        return false;
    if (!take_number(rest, 2, &hour) || !take_char(rest, ':') || !take_number(rest, 2, &minute))
        return false;
    *seconds = (hour * 60 + minute) * (west ? -60 : 60);
    return hour <= 23 && minute <= 59;
}

bool clock_parse(struct slice text, int64_t *us)
{
    int64_t days = 0;
    int64_t part = 0;
    int64_t offset = 0;
    int hour = 0;
    int minute = 0;
    int second = 0;
    if (!take_date(&text, &days) || !take_char(&text, 'T') || !take_number(&text, 2, &hour) ||
        !take_char(&text, ':') || !take_number(&text, 2, &minute) || !take_char(&text, ':') ||
        !take_number(&text, 2, &second) || !take_fraction(&text, &part) ||
        !take_offset(&text, &offset) || text.n)
        return false;
    if (hour > 23 || minute > 59 || second > 60)
        return false;
    int64_t total = days * DAY_S + hour * 3600 + minute * 60 + second - offset;
    /* A leap second stands only at the end of a UTC day; it is counted as the next day's first. */
    if (second == 60 && total % DAY_S != 0)
        return false;
    int64_t result = total * US + part;
    if (result < FIRST_US || result > LAST_US)
        return false;
    *us = result;
    return true;
}

void clock_age(int64_t ms, char out[CLOCK_TEXT_SIZE])
{
    int64_t seconds = ms > 0 ? ms / 1000 : 0;
    if (seconds < 60)
        (void)snprintf(out, CLOCK_TEXT_SIZE, "%lld s", (long long)seconds);
    else if (seconds < 3600)
        (void)snprintf(out, CLOCK_TEXT_SIZE, "%lld min", (long long)(seconds / 60));
    else if (seconds < 2 * DAY_S)
        (void)snprintf(out, CLOCK_TEXT_SIZE, "%lld h", (long long)(seconds / 3600));
    else
        (void)snprintf(out, CLOCK_TEXT_SIZE, "%lld days", (long long)(seconds / DAY_S));
}

static void uuid_text(const uint8_t bytes[16], char out[37])
{
    char digits[33];
    hex_encode(bytes, 16, digits);
    size_t n = 0;
    for (size_t i = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            out[n++] = '-';
        out[n++] = digits[i];
    }
    out[n] = '\0';
}

static void uuid_mark(uint8_t bytes[16], uint8_t version)
{
    bytes[6] = (uint8_t)((bytes[6] & 0x0F) | version << 4);
    bytes[8] = (uint8_t)((bytes[8] & 0x3F) | 0x80);
}

void uuid_v7(int64_t time_us, char out[37])
{
    uint8_t bytes[16];
    random_bytes(bytes, sizeof bytes);
    uint64_t ms = time_us > 0 ? (uint64_t)time_us / 1000 : 0;
    for (int i = 0; i < 6; i++)
        bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
    /* RFC 9562 section 6.2 method 3: the part below the millisecond keeps ids in time's order. */
    unsigned fraction = (unsigned)((time_us > 0 ? time_us % 1000 : 0) * 4096 / 1000);
    bytes[6] = (uint8_t)(fraction >> 8);
    bytes[7] = (uint8_t)fraction;
    uuid_mark(bytes, 7);
    uuid_text(bytes, out);
}

void uuid_from_digest(const uint8_t digest[16], char out[37])
{
    uint8_t bytes[16];
    memcpy(bytes, digest, sizeof bytes);
    uuid_mark(bytes, 8);
    uuid_text(bytes, out);
}

bool uuid_valid(struct slice text)
{
    if (text.n != 36)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (dash ? c != '-' : !digit)
            return false;
    }
    return true;
}
