/* SPDX-License-Identifier: Apache-2.0 */
/* The dialogs of a connection and the envelopes sent in them. */
#include "chat-server/dialog.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/own.h"
#include "chat-server/sip.h"

#include <stdlib.h>

enum { DIALOG_MAX_TEXT = 1024 };

struct dialog *dialog_find(struct conn *c, struct slice call_id)
{
    struct dialog *d = c->dialogs;

    while (d && !slice_is(call_id, d->call_id))
        d = d->next;

    return d;
}

static void dialog_free(struct dialog *d)
{
    if (!d)
        return;
    free(d->call_id);
    free(d->local);
    free(d->remote);
    free(d->remote_tag);
    free(d->contact);
    free(d);
}

OWN_DEFINE(dialog, struct dialog, dialog_free)

static char *local_address(const struct sip *invite, const char *tag)
{
    OWN(own_buf) struct buf b = {0};
    size_t n;

    buf_init(&b, SIP_MAX_HEAD);
    buf_char(&b, '<');
    buf_slice(&b, sip_to_uri(invite));
    buf_text(&b, ">;tag=");
    buf_text(&b, tag);

    return b.failed ? NULL : buf_detach(&b, &n);
}

/* The client may come back with the old Call-ID and a new tag after a fault of its own; its rooms
 * stay joined. */
static bool take_remote(struct dialog *d, const struct sip *invite)
{
    struct slice contact = sip_contact(invite);
    OWN(own_mem) char *remote = slice_dup(sip_from(invite));
    OWN(own_mem) char *tag = slice_dup(sip_from_tag(invite).p ? sip_from_tag(invite) : SLICE(""));
    OWN(own_mem) char *target = slice_dup(contact.p ? contact : sip_from_uri(invite));

    if (!remote || !tag || !target)
        return false;
    free(d->remote);
    free(d->remote_tag);
    free(d->contact);
    d->remote = remote;
    d->remote_tag = tag;
    d->contact = target;
    remote = NULL;
    tag = NULL;
    target = NULL;

    return true;
}

bool dialog_may_open(const struct sip *invite)
{
    return sip_call_id(invite).n <= DIALOG_MAX_TEXT && sip_from(invite).n <= DIALOG_MAX_TEXT &&
           sip_to_uri(invite).n <= DIALOG_MAX_TEXT && sip_contact(invite).n <= DIALOG_MAX_TEXT;
}

void dialog_renew(struct conn *c, struct dialog *d)
{
    d->expires_ms = clock_mono_ms() + c->server->session_seconds * 1000;
}

struct dialog *dialog_open(struct conn *c, const struct sip *invite)
{
    struct dialog *known = dialog_find(c, sip_call_id(invite));
    uint8_t random[8];

    if (known) {
        dialog_renew(c, known);
        return take_remote(known, invite) ? known : NULL;
    }
    OWN(own_dialog)
    struct dialog *d = c->dialog_count < CHAT_MAX_DIALOGS ? calloc(1, sizeof *d) : NULL;
    if (!d)
        return NULL;
    random_bytes(random, sizeof random);
    hex_encode(random, sizeof random, d->tag);
    d->call_id = slice_dup(sip_call_id(invite));
    d->local = local_address(invite, d->tag);
    if (!d->call_id || !d->local || !take_remote(d, invite))
        return NULL;
    dialog_renew(c, d);
    d->next = c->dialogs;
    c->dialogs = d;
    c->dialog_count++;

    struct dialog *opened = d;
    d = NULL;
    return opened;
}

void dialog_close(struct conn *c, struct dialog *d)
{
    struct dialog **at = &c->dialogs;

    while (*at && *at != d)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = d->next;
    c->dialog_count--;
    dialog_free(d);
}

void dialog_free_all(struct conn *c)
{
    while (c->dialogs)
        dialog_close(c, c->dialogs);
}

bool dialog_expired(const struct conn *c, int64_t now_ms)
{
    for (const struct dialog *d = c->dialogs; d; d = d->next)
        if (now_ms > d->expires_ms)
            return true;

    return false;
}

void dialog_send(struct conn *c, struct dialog *d, struct slice envelope, bool notify)
{
    OWN(own_buf) struct buf b = {0};

    if (!c->stream)
        return;
    buf_init(&b, SIP_MAX_REPLY);
    sip_write_request(&b, &(struct sip_line){.method = SLICE("INFO"),
                                             .uri = slice_of(d->contact),
                                             .via = slice_of(c->server->via),
                                             .from = slice_of(d->local),
                                             .to = slice_of(d->remote),
                                             .call_id = slice_of(d->call_id),
                                             .cseq = ++d->cseq});
    sip_write_end(&b, "text/plain; charset=UTF-8", envelope);
    /* A client that missed one envelope could not know; it signs in again and asks for history. */
    if (b.failed)
        conn_cut(c, "disconnect");
    else if (notify)
        conn_notify(c, buf_view(&b));
    else
        conn_send(c, buf_view(&b));
}
