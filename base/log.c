/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines: put together in one buffer and written by one write, so that lines never mix. */
#include "base/log.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_SIZE = 2048 };

struct line {
    char text[LINE_SIZE];
    size_t n;
};

static char program_name[64] = "holdfast";
static _Atomic int lowest_level = LOG_INFO;

void log_init(const char *program, enum log_level lowest)
{
    (void)snprintf(program_name, sizeof program_name, "%s", program);
    atomic_store(&lowest_level, (int)lowest);
}

static const char *level_name(enum log_level level)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    return names[level];
}

static void add_va(struct line *l, const char *format, va_list args)
{
    size_t room = sizeof l->text - 1 - l->n; /* one byte stays for the line feed */
    int n = vsnprintf(l->text + l->n, room, format, args);
    if (n > 0)
        l->n += (size_t)n < room ? (size_t)n : room - 1;
}

static void __attribute__((format(printf, 2, 3))) add(struct line *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_va(l, format, args);
    va_end(args);
}

static void begin(struct line *l, enum log_level level, const char *event)
{
    char now[CLOCK_TEXT_SIZE];
    clock_format(clock_wall_us(), now);
    l->n = 0;
    add(l, "time=%s level=%s program=%s event=%s", now, level_name(level), program_name, event);
}

static void end(struct line *l)
{
    /* A control character in a value must not start a second line or drive a terminal. */
    for (size_t i = 0; i < l->n; i++)
        if ((unsigned char)l->text[i] < ' ' || l->text[i] == 127)
            l->text[i] = '?';
    l->text[l->n] = '\n';
    /* A log that can't be written has nowhere to say so. */
    if (write(STDERR_FILENO, l->text, l->n + 1) < 0)
        return;
}

static void add_pairs(struct line *l, const char *pairs, va_list args)
{
    if (!pairs || !*pairs)
        return;
    add(l, " ");
    add_va(l, pairs, args);
}

/* As much of value as fits, in quotes. */
static const char *quote(char *out, size_t size, struct slice value)
{
    size_t n = 0;
    out[n++] = '"';
    for (size_t i = 0; i < value.n && n < size - 4; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if (c == '"' || c == '\\')
            out[n++] = '\\';
        out[n++] = c < ' ' || c == 127 ? '?' : (char)c;
    }
    out[n++] = '"';
    out[n] = '\0';
    return out;
}

void log_event(enum log_level level, const char *event, const char *pairs, ...)
{
    if ((int)level < atomic_load(&lowest_level))
        return;
    struct line l;
    va_list args;
    begin(&l, level, event);
    va_start(args, pairs);
    add_pairs(&l, pairs, args);
    va_end(args);
    end(&l);
}

const char *log_text(char out[LOG_TEXT_SIZE], struct slice value)
{
    return quote(out, LOG_TEXT_SIZE, value);
}

void log_error(const char *event, const struct err *e, const char *pairs, ...)
{
    struct line l;
    char text[2 * LOG_TEXT_SIZE];
    va_list args;
    begin(&l, LOG_ERROR, event);
    va_start(args, pairs);
    add_pairs(&l, pairs, args);
    va_end(args);
    add(&l, " class=%s error=%s", err_class_name(e->class),
        quote(text, sizeof text, slice_of(e->text)));
    end(&l);
}
