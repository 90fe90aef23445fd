/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fills a queue with records:
 *   bench_feed lines N ROOMS                           to standard output, for `holdfast ingest`
 *   bench_feed topic BROKERS TOPIC N ROOMS [RATE]      into a topic, keyed by room; RATE in
 * records/s
 */
#include "base/clock.h"
#include "base/kafka.h"
#include "tests/bench/records.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t number(const char *text)
{
    int64_t n = 0;
    if (!text_i64(slice_of(text), &n) || n < 0)
        bench_fail("not a number", text);
    return n;
}

static void lines(int64_t n, int64_t rooms)
{
    struct bench_records r;
    bench_records_init(&r, (size_t)rooms);
    for (int64_t i = 0; i < n; i++) {
        struct slice record = bench_records_next(&r, NULL);
        if (fwrite(record.p, 1, record.n, stdout) != record.n || putchar('\n') == EOF)
            bench_fail("standard output", "can't be written");
    }
    bench_records_done(&r);
}

struct sending {
    struct kafka_producer *p;
    int64_t waiting;
};

static void reported(void *arg, const struct kafka_report *report)
{
    struct sending *s = arg;
    if (report->class)
        bench_fail("producer", report->text);
    s->waiting--;
}

static void send(struct sending *s, struct slice key, struct slice value)
{
    struct err e = {0};
    int rc = kafka_producer_send(s->p, key, value, NULL, &e);
    for (; rc == ERR_AGAIN; rc = kafka_producer_send(s->p, key, value, NULL, &e))
        kafka_producer_poll(s->p, 10);
    bench_ok(rc, &e, "producer");
    s->waiting++;
}

/* Not faster than the rate, but for bursts of a few milliseconds. */
static void keep_rate(struct sending *s, int64_t began_ms, int64_t sent, int64_t rate)
{
    int64_t early = rate ? sent * 1000 / rate - (clock_mono_ms() - began_ms) : 0;
    if (early > 0)
        (void)poll(NULL, 0, (int)early);
    kafka_producer_poll(s->p, 0);
}

static void topic(const char *brokers, const char *name, int64_t n, int64_t rooms, int64_t rate)
{
    struct sending s = {0};
    struct bench_records r;
    struct err e = {0};
    const struct kafka_target t = {.brokers = brokers, .topic = name, .single_broker = true};
    bench_ok(kafka_producer_open(&s.p, &t, reported, &s, &e), &e, "producer");
    bench_records_init(&r, (size_t)rooms);
    int64_t began_ms = clock_mono_ms();
    for (int64_t i = 0; i < n; i++) {
        struct slice room;
        struct slice record = bench_records_next(&r, &room);
        send(&s, room, record);
        if (i % 32 == 0)
            keep_rate(&s, began_ms, i, rate);
    }
    while (s.waiting > 0)
        kafka_producer_poll(s.p, 100);
    kafka_producer_close(s.p);
    bench_records_done(&r);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "lines") == 0)
        lines(number(argv[2]), number(argv[3]));
    else if ((argc == 6 || argc == 7) && strcmp(argv[1], "topic") == 0)
        topic(argv[2], argv[3], number(argv[4]), number(argv[5]), argc == 7 ? number(argv[6]) : 0);
    else
        bench_fail("usage", "bench_feed lines N ROOMS | topic BROKERS TOPIC N ROOMS [RATE]");
    return 0;
}
