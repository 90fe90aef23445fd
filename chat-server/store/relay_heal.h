/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending again what the queue lost: the relay hears on the control topic what capture has not, and
 * takes it from the store. Private to the relay; its thread.
 */
#ifndef CHAT_STORE_RELAY_HEAL_H
#define CHAT_STORE_RELAY_HEAL_H

#include "chat-server/store/relay_inside.h"

struct relay_heal;
struct relay_heal *relay_heal_new(void); /* NULL when out of memory */
void relay_heal_free(struct relay_heal *h);
/* A little of whatever is due; waits for nothing but a first look at the control topic. */
void relay_heal_turn(struct relay *r);
/* A record sent again was confirmed, refused or taken back. */
void relay_heal_report(struct relay *r, int class);

#endif
