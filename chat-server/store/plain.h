/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records a chat server writes all day are told at a glance: only a few known members, all of
 * them short strings. Whatever is not as plain as that is decoded in full to be judged, so that
 * false means nothing bad.
 */
#ifndef CHAT_STORE_PLAIN_H
#define CHAT_STORE_PLAIN_H

#include "mgccomp/record.h"

/* True: members make a `data` that record_decode accepts for this kind. False: not known. */
bool plain_members(enum record_kind kind, struct slice members);

#endif
