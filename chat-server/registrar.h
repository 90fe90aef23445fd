/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is signed in on a connection. REGISTER without a challenge: the user must be in the
 * directory. One user and one endpoint a connection; a newer connection of the same endpoint ends
 * the older one first. Sign-in and sign-out are records.
 */
#ifndef CHAT_REGISTRAR_H
#define CHAT_REGISTRAR_H

#include "chat-server/dispatch.h"

void registrar_register(struct request *q);
/* The user of that URI is signed in here. */
bool registrar_is(const struct conn *c, struct slice uri);
/* Records what ends with a connection: leaves, then the sign-out; then calls done(arg). */
void registrar_end(struct conn *c, const char *reason, void (*done)(void *arg), void *arg);
/* A sign-out that could not be recorded is tried again. */
void registrar_tick(struct conn *c, int64_t now_ms);

#endif
