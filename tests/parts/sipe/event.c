/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON lines for what happened in the SIPE client, and the plain text behind the HTML that
 * libpurple hands out. libpurple's own stripping is not used: it folds spaces and rewrites links.
 */
#include <stdio.h>
#include <string.h>

#include "tests/parts/sipe/event.h"

static void append_json_string(GString *out, const char *value)
{
    char *valid = g_utf8_make_valid(value, -1);

    g_string_append_c(out, '"');
    for (const char *p = valid; *p; p++) {
        unsigned char c = (unsigned char)*p;

        if (c == '"' || c == '\\')
            g_string_append_printf(out, "\\%c", c);
        else if (c == '\n')
            g_string_append(out, "\\n");
        else if (c < 0x20 || c == 0x7f)
            g_string_append_printf(out, "\\u%04x", c);
        else
            g_string_append_c(out, *p);
    }
    g_string_append_c(out, '"');
    g_free(valid);
}

GString *event_new(const char *name)
{
    GString *event = g_string_new("{");

    event_text(event, "event", name);
    return event;
}

static void append_key(GString *event, const char *key)
{
    if (event->len > 1)
        g_string_append_c(event, ',');
    append_json_string(event, key);
    g_string_append_c(event, ':');
}

void event_text(GString *event, const char *key, const char *value)
{
    append_key(event, key);
    if (value)
        append_json_string(event, value);
    else
        g_string_append(event, "null");
}

void event_number(GString *event, const char *key, long long value)
{
    append_key(event, key);
    g_string_append_printf(event, "%lld", value);
}

void event_bool(GString *event, const char *key, int value)
{
    append_key(event, key);
    g_string_append(event, value ? "true" : "false");
}

char *event_line(GString *event)
{
    g_string_append_c(event, '}');
    return g_string_free(event, FALSE);
}

void event_emit(GString *event)
{
    char *line = event_line(event);

    puts(line);
    fflush(stdout);
    g_free(line);
}

static const struct {
    const char *name;
    const char *text;
} references[] = {{"amp", "&"},   {"lt", "<"},   {"gt", ">"},
                  {"quot", "\""}, {"apos", "'"}, {"nbsp", "\302\240"}};

static int append_numeric(GString *out, const char *digits, size_t len)
{
    int base = 10;
    char *end = NULL;

    if (len > 1 && (digits[0] == 'x' || digits[0] == 'X')) {
        base = 16;
        digits++;
        len--;
    }
    if (len == 0 || !g_ascii_isxdigit(digits[0]))
        return 0;
    guint64 code = g_ascii_strtoull(digits, &end, (guint)base);
    if (end != digits + len || code == 0 || code > 0x10ffff)
        return 0;
    g_string_append_unichar(out, (gunichar)code);
    return 1;
}

/* Decodes the reference at p (which points to '&') and returns its length, 0 when it is none. */
static size_t append_reference(GString *out, const char *p)
{
    const char *end = strchr(p, ';');

    if (!end || end - p > 10)
        return 0;
    size_t len = (size_t)(end - p) - 1;
    if (p[1] == '#')
        return append_numeric(out, p + 2, len - 1) ? len + 2 : 0;
    for (size_t i = 0; i < G_N_ELEMENTS(references); i++) {
        if (strlen(references[i].name) == len && !strncmp(p + 1, references[i].name, len)) {
            g_string_append(out, references[i].text);
            return len + 2;
        }
    }
    return 0;
}

/* Skips the tag at p (which points to '<') and returns its length, 0 when it is none. */
static size_t skip_tag(GString *out, const char *p)
{
    const char *end = strchr(p, '>');

    if (!end || !(g_ascii_isalpha(p[1]) || p[1] == '/'))
        return 0;
    if (!g_ascii_strncasecmp(p, "<br", 3) && !g_ascii_isalnum(p[3]))
        g_string_append_c(out, '\n');
    return (size_t)(end - p) + 1;
}

char *html_to_text(const char *html)
{
    GString *out = g_string_new(NULL);

    while (*html) {
        size_t used = 0;

        if (*html == '&')
            used = append_reference(out, html);
        else if (*html == '<')
            used = skip_tag(out, html);
        if (used == 0) {
            g_string_append_c(out, *html);
            used = 1;
        }
        html += used;
    }
    return g_string_free(out, FALSE);
}
