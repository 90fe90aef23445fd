/* SPDX-License-Identifier: Apache-2.0 */
/* SUBSCRIBE: the provisioning document that names the chat pool, sent within the answer. */
#ifndef CHAT_PROVISION_H
#define CHAT_PROVISION_H

#include "chat-server/dispatch.h"

#define PROVISION_EVENT "vnd-microsoft-provisioning-v2"

void provision_subscribe(struct request *q);

#endif
