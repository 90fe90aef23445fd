/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many records a second the store makes durable: groups of one size from one writer, each a
 * transaction that is synced. Posts go in as the chat server hands them over, producer's records as
 * ingest does. Prints one JSON line.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"
#include "chat-server/store/store.h"

#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { MAX_GROUP = 4096, ROOMS = 50, EVENT_BYTES = 1024 };

struct bench {
    const char *name, *url;
    int64_t records, group;
    bool raw;
    int64_t us; /* spent in the store, not in making the events */
    struct store *store;
    struct buf text;
    struct store_event events[MAX_GROUP];
    struct store_result results[MAX_GROUP];
};

static int64_t clock_mono_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t cpu_us(const struct timeval *t)
{
    return (int64_t)t->tv_sec * 1000000 + t->tv_usec;
}

static const char words[] = "the quick brown fox jumps over the lazy dog and says that 250 of them "
                            "at 99 7/8 would be fine, if they settle on Thursday";

static void put_data(struct buf *b, int64_t number)
{
    buf_format(b,
               "\"participant\":\"sip:user%lld@example.com\",\"name\":\"User %lld\","
               "\"endpoint\":\"1234567890ab\",\"text\":\"%lld %s\"",
               (long long)(number % 997), (long long)(number % 997), (long long)number, words);
}

static void put_raw(struct buf *b, int64_t number)
{
    char time[CLOCK_TEXT_SIZE];
    clock_format(clock_wall_us(), time);
    buf_format(b,
               "{\"specversion\":\"1.0\",\"id\":\"%lld\",\"type\":\"holdfast.post\","
               "\"time\":\"%s\",\"subject\":\"ma-chan://example.com/room%lld\",\"data\":{",
               (long long)number, time, (long long)(number % ROOMS));
    put_data(b, number);
    buf_text(b, "}}");
}

static void make_group(struct bench *b, int64_t from, size_t n)
{
    static char rooms[ROOMS][48];
    size_t at[MAX_GROUP + 1];

    buf_clear(&b->text);
    for (size_t i = 0; i < n; i++) {
        at[i] = b->text.n;
        if (b->raw)
            put_raw(&b->text, from + (int64_t)i);
        else
            put_data(&b->text, from + (int64_t)i);
    }
    at[n] = b->text.n;
    for (size_t i = 0; i < n; i++) {
        int64_t number = from + (int64_t)i;
        char *room = rooms[number % ROOMS];
        struct slice made = {b->text.p + at[i], at[i + 1] - at[i]};
        (void)snprintf(room, sizeof rooms[0], "ma-chan://example.com/room%lld",
                       (long long)(number % ROOMS));
        b->events[i] = (struct store_event){.source = SLICE("sip:bench.example.com")};
        if (b->raw) {
            b->events[i].raw = made;
            continue;
        }
        b->events[i].subject = slice_of(room);
        b->events[i].kind = RECORD_POST;
        b->events[i].time_us = clock_wall_us();
        b->events[i].members = made;
        b->events[i].numbered = true;
        b->events[i].has_once = true;
        sha256(made.p, made.n, b->events[i].once);
    }
}

static int store_all(struct bench *b, struct err *e)
{
    for (int64_t done = 0; done < b->records;) {
        int64_t left = b->records - done;
        size_t n = (size_t)(left < b->group ? left : b->group);
        make_group(b, done, n);
        int64_t start = clock_mono_us();
        int rc = store_append(b->store, b->events, n, b->results, e);
        b->us += clock_mono_us() - start;
        for (size_t i = 0; rc == 0 && i < n; i++) {
            if (b->results[i].class < 0 || b->results[i].duplicate)
                rc = err_set(e, ERR_FAULT, "a record was not stored: %s", b->results[i].text);
        }
        if (rc < 0)
            return rc;
        done += (int64_t)n;
    }
    return 0;
}

static int options(struct bench *b, int argc, char **argv, struct err *e)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--raw") == 0) {
            b->raw = true;
            continue;
        }
        if (strcmp(argv[i], "--name") == 0)
            b->name = value;
        else if (strcmp(argv[i], "--url") == 0)
            b->url = value;
        else if (strcmp(argv[i], "--records") == 0)
            b->records = strtoll(value, NULL, 10);
        else if (strcmp(argv[i], "--group") == 0)
            b->group = strtoll(value, NULL, 10);
        else
            return err_set(e, ERR_CONFIG, "no option %s", argv[i]);
        i++;
    }
    if (!b->url || b->records < 1 || b->group < 1 || b->group > MAX_GROUP)
        return err_set(e, ERR_CONFIG,
                       "usage: store_bench --url URL [--name NAME] [--records N] [--group N]"
                       " [--raw]");
    return 0;
}

static int measure(struct bench *b, struct err *e)
{
    struct rusage use;
    int rc = store_open(&b->store, b->url, e);
    if (rc == 0)
        rc = store_claim(b->store, SLICE("sip:bench.example.com"), e);
    if (rc < 0)
        return rc;
    rc = store_all(b, e);
    if (rc < 0)
        return rc;
    (void)getrusage(RUSAGE_SELF, &use);
    (void)printf("{\"name\":\"%s\",\"ours\":%lld,\"unit\":\"records/s\",\"group\":%lld,"
                 "\"records\":%lld,\"cpu_us\":%.1f,\"rss_mib\":%ld}\n",
                 b->name, (long long)(b->records * 1000000 / (b->us > 0 ? b->us : 1)),
                 (long long)b->group, (long long)b->records,
                 (double)(cpu_us(&use.ru_utime) + cpu_us(&use.ru_stime)) / (double)b->records,
                 use.ru_maxrss / 1024);
    return 0;
}

int main(int argc, char **argv)
{
    static struct bench b = {.name = "store", .records = 100000, .group = 64};
    struct err e = {0};

    buf_init(&b.text, (size_t)MAX_GROUP * EVENT_BYTES);
    int rc = options(&b, argc, argv, &e);
    if (rc == 0)
        rc = measure(&b, &e);
    store_close(b.store);
    buf_done(&b.text);
    if (rc < 0)
        (void)fprintf(stderr, "store_bench: %s\n", e.text);
    return rc < 0;
}
