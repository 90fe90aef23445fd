/* SPDX-License-Identifier: Apache-2.0 */
/* The one document a client subscribes to. */
#include "chat-server/provision.h"

#include "base/own.h"
#include "base/xml.h"

static void put_property(struct buf *b, const char *name, struct slice value)
{
    buf_text(b, "<property");
    (void)xml_write_attr(b, "name", slice_of(name));
    buf_char(b, '>');
    (void)xml_write_text(b, value);
    buf_text(b, "</property>");
}

void provision_subscribe(struct request *q)
{
    OWN(own_buf) struct buf b = {0};
    struct slice pool = slice_of(q->server->pool);

    if (!slice_is(slice_trim(sip_header(q->sip, "event")), PROVISION_EVENT)) {
        request_answer(q, 489, "Allow-Events: " PROVISION_EVENT "\r\n");
        request_end(q);
        return;
    }
    buf_init(&b, 16 * 1024);
    buf_text(&b, "<provisionGroupList xmlns=\"http://schemas.microsoft.com/2006/09/sip/"
                 "provisiongrouplist-notification\"><provisionGroup"
                 " name=\"persistentChatConfiguration\"><propertyEntryList>");
    put_property(&b, "EnablePersistentChat", SLICE("true"));
    put_property(&b, "DefaultPersistentChatPoolUri", pool);
    put_property(&b, "PersistentChatPoolUris", pool);
    buf_text(&b, "</propertyEntryList></provisionGroup></provisionGroupList>");
    request_answer_body(q, 200,
                        "Event: " PROVISION_EVENT "\r\nms-piggyback-cseq: 1\r\nExpires: 0\r\n"
                        "subscription-state: terminated;expires=0\r\n",
                        "application/vnd-microsoft-roaming-provisioning-v2+xml", buf_view(&b));
    request_end(q);
}
