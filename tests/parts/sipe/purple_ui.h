/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libpurple needs of a user interface, without one: an event loop on GLib, and every callback
 * turned into an event line. Requests for a decision (unknown certificate) take the first answer.
 */
#ifndef TESTS_PARTS_SIPE_PURPLE_UI_H
#define TESTS_PARTS_SIPE_PURPLE_UI_H

#define UI_ID "holdfast-sipe-client"

/* Starts libpurple's core with its files in user_dir. 0, or -1 when it does not start. */
int ui_start(const char *user_dir);

#endif
