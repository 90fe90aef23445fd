/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One event of the SIPE client, written to standard output as one line of JSON and flushed at once.
 * Members come in the order they were added; text that is not UTF-8 is made so with U+FFFD.
 */
#ifndef TESTS_PARTS_SIPE_EVENT_H
#define TESTS_PARTS_SIPE_EVENT_H

#include <glib.h>

/* A new event of that name; ends with event_emit, which frees it. */
GString *event_new(const char *name);

/* Adds a member. A NULL text becomes JSON null. */
void event_text(GString *event, const char *key, const char *value);
void event_number(GString *event, const char *key, long long value);
void event_bool(GString *event, const char *key, int value);

/* The finished line, without its end; frees the event. The caller frees the text with g_free. */
char *event_line(GString *event);
void event_emit(GString *event);

/* The characters that a piece of HTML shows: tags removed, <br> a line feed, character references
 * decoded once and exactly. The caller frees it with g_free. */
char *html_to_text(const char *html);

#endif
