/* SPDX-License-Identifier: Apache-2.0 */
/* One SIP message: what its headers say, and how one is written. */
#include "chat-server/sip.h"

#include "base/own.h"

#include <osipparser2/osip_message.h>
#include <osipparser2/osip_parser.h>
#include <osipparser2/osip_port.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct sip {
    osip_message_t *m;
    char *uri, *from, *from_uri, *to, *to_uri, *call_id, *contact;
    char *from_tag, *to_tag, *epid; /* inside m */
    struct slice method;
    int64_t cseq;
    char *body;
    size_t body_size;
};

/* ---- reading ---- */

/* It would write what it dislikes to standard output. */
static void no_trace(const char *file, int line, osip_trace_level_t level, const char *format,
                     va_list args)
{
    (void)file;
    (void)line;
    (void)level;
    (void)format;
    (void)args;
}

static void parser_start(void)
{
    osip_trace_initialize_func(OSIP_FATAL, no_trace);
    (void)parser_init();
}

/* The body stays out of libosip2's hands, which would look into its MIME parts: the headers that
 * announce it get names it does not know. */
static char *head_alone(struct slice head)
{
    char *copy = slice_dup(head);

    for (size_t i = 0; copy && i < head.n;) {
        const char *end = memchr(copy + i, '\n', head.n - i);
        struct slice name = {copy + i, strcspn(copy + i, ":\r\n")};

        bool folded = copy[i] == ' ' || copy[i] == '\t';

        if (!folded &&
            (sip_name_is(name, "content-length", "l") || sip_name_is(name, "content-type", "c")))
            copy[i] = 'X';
        i = end ? (size_t)(end - copy) + 1 : head.n;
    }

    return copy;
}

static char *param_of(osip_list_t *params, const char *name)
{
    char key[16];
    osip_generic_param_t *p = NULL;

    if (!slice_copy(slice_of(name), key, sizeof key))
        return NULL;
    (void)osip_generic_param_get_byname(params, key, &p);

    return p ? p->gvalue : NULL;
}

static bool copy_addresses(struct sip *s)
{
    osip_message_t *m = s->m;
    osip_contact_t *contact = NULL;

    if (m->req_uri && osip_uri_to_str(m->req_uri, &s->uri) != 0)
        return false;
    if (!m->from->url || !m->to->url)
        return false;
    if (osip_from_to_str(m->from, &s->from) != 0 || osip_to_to_str(m->to, &s->to) != 0 ||
        osip_uri_to_str(m->from->url, &s->from_uri) != 0 ||
        osip_uri_to_str(m->to->url, &s->to_uri) != 0 ||
        osip_call_id_to_str(m->call_id, &s->call_id) != 0)
        return false;
    (void)osip_message_get_contact(m, 0, &contact);
    if (contact && contact->url && osip_uri_to_str(contact->url, &s->contact) != 0)
        return false;
    s->from_tag = param_of(&m->from->gen_params, "tag");
    s->epid = param_of(&m->from->gen_params, "epid");
    s->to_tag = param_of(&m->to->gen_params, "tag");

    return true;
}

/* An escaped line end in a URI is none, once it is written again. */
static bool plain_text(const char *text)
{
    for (const char *p = text ? text : ""; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            return false;

    return true;
}

static bool plain_addresses(const struct sip *s)
{
    const char *texts[] = {s->uri,     s->from,    s->from_uri, s->to,     s->to_uri,
                           s->call_id, s->contact, s->from_tag, s->to_tag, s->epid};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!plain_text(texts[i]))
            return false;

    return true;
}

static int check_parsed(struct sip *s, struct err *e)
{
    osip_message_t *m = s->m;

    if (osip_list_size(&m->vias) == 0)
        return err_set(e, ERR_REJECTED, "SIP message: no Via");
    if (!m->from || !m->to)
        return err_set(e, ERR_REJECTED, "SIP message: no From or To");
    if (!m->call_id || !m->call_id->number)
        return err_set(e, ERR_REJECTED, "SIP message: no Call-ID");
    if (!m->cseq || !m->cseq->method || !m->cseq->number ||
        !text_i64(slice_of(m->cseq->number), &s->cseq) || s->cseq < 0 || s->cseq > UINT32_MAX)
        return err_set(e, ERR_REJECTED, "SIP message: bad CSeq");
    s->method = slice_of(m->cseq->method);
    if (MSG_IS_REQUEST(m) &&
        (!m->sip_method || !m->req_uri || !slice_eq(slice_of(m->sip_method), s->method)))
        return err_set(e, ERR_REJECTED, "SIP message: CSeq's method is another than the request's");
    if (!copy_addresses(s) || !plain_addresses(s))
        return err_set(e, ERR_REJECTED, "SIP message: bad address");

    return 0;
}

int sip_parse(struct sip **out, struct slice head, struct slice body, struct err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    OWN(own_sip) struct sip *s = calloc(1, sizeof *s);

    (void)pthread_once(&once, parser_start);
    OWN(own_mem) char *alone = head_alone(head);
    if (!s || !alone || osip_message_init(&s->m) != 0)
        return err_memory(e, "SIP message");
    if (osip_message_parse(s->m, alone, head.n) != 0)
        return err_set(e, ERR_REJECTED, "SIP message: malformed head");
    int r = check_parsed(s, e);
    if (r < 0)
        return r;
    s->body = malloc(body.n + 1);
    if (!s->body)
        return err_memory(e, "SIP body");
    if (body.n > 0)
        memcpy(s->body, body.p, body.n);
    s->body[body.n] = '\0';
    s->body_size = body.n;

    *out = s;
    s = NULL;
    return 0;
}

void sip_free(struct sip *s)
{
    if (!s)
        return;
    char *texts[] = {s->uri, s->from, s->from_uri, s->to, s->to_uri, s->call_id, s->contact};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        osip_free(texts[i]);
    osip_message_free(s->m);
    free(s->body);
    free(s);
}

int sip_status(const struct sip *s)
{
    return MSG_IS_REQUEST(s->m) ? 0 : s->m->status_code;
}

struct slice sip_reason(const struct sip *s)
{
    return slice_of(s->m->reason_phrase);
}

struct slice sip_method(const struct sip *s)
{
    return s->method;
}

struct slice sip_uri(const struct sip *s)
{
    return slice_of(s->uri);
}

struct slice sip_call_id(const struct sip *s)
{
    return slice_of(s->call_id);
}

int64_t sip_cseq(const struct sip *s)
{
    return s->cseq;
}

struct slice sip_from(const struct sip *s)
{
    return slice_of(s->from);
}

struct slice sip_from_uri(const struct sip *s)
{
    return slice_of(s->from_uri);
}

struct slice sip_from_tag(const struct sip *s)
{
    return slice_of(s->from_tag);
}

struct slice sip_epid(const struct sip *s)
{
    return slice_of(s->epid);
}

struct slice sip_to(const struct sip *s)
{
    return slice_of(s->to);
}

struct slice sip_to_uri(const struct sip *s)
{
    return slice_of(s->to_uri);
}

struct slice sip_to_tag(const struct sip *s)
{
    return slice_of(s->to_tag);
}

struct slice sip_contact(const struct sip *s)
{
    return slice_of(s->contact);
}

struct slice sip_body(const struct sip *s)
{
    return (struct slice){s->body, s->body_size};
}

struct slice sip_header(const struct sip *s, const char *name)
{
    osip_header_t *h = NULL;

    (void)osip_message_header_get_byname(s->m, name, 0, &h);

    return h ? slice_of(h->hvalue) : (struct slice){0};
}

int64_t sip_expires(const struct sip *s)
{
    struct slice value = sip_header(s, "expires");
    osip_contact_t *contact = NULL;
    int64_t n;

    (void)osip_message_get_contact(s->m, 0, &contact);
    if (!value.p && contact)
        value = slice_of(param_of(&contact->gen_params, "expires"));

    return text_i64(slice_trim(value), &n) && n >= 0 ? n : -1;
}

/* ---- writing ---- */

void sip_write_header(struct buf *out, const char *name, struct slice value)
{
    buf_text(out, name);
    buf_text(out, ": ");
    buf_slice(out, value);
    buf_text(out, "\r\n");
}

void sip_write_response(struct buf *out, const struct sip *q, int status, const char *reason,
                        struct slice to_tag)
{
    buf_format(out, "SIP/2.0 %d %s\r\n", status, reason);
    for (int i = 0; i < osip_list_size(&q->m->vias); i++) {
        osip_via_t *via = osip_list_get(&q->m->vias, i);
        char *text = NULL;

        if (osip_via_to_str(via, &text) == 0 && plain_text(text))
            sip_write_header(out, "Via", slice_of(text));
        osip_free(text);
    }
    sip_write_header(out, "From", sip_from(q));
    buf_text(out, "To: ");
    buf_slice(out, sip_to(q));
    if (!q->to_tag && to_tag.n > 0) {
        buf_text(out, ";tag=");
        buf_slice(out, to_tag);
    }
    buf_text(out, "\r\n");
    sip_write_header(out, "Call-ID", sip_call_id(q));
    buf_text(out, "CSeq: ");
    buf_i64(out, q->cseq);
    buf_char(out, ' ');
    buf_slice(out, q->method);
    buf_text(out, "\r\n");
}

void sip_write_request(struct buf *out, const struct sip_line *l)
{
    buf_slice(out, l->method);
    buf_char(out, ' ');
    buf_slice(out, l->uri);
    buf_text(out, " SIP/2.0\r\nVia: SIP/2.0/tcp ");
    buf_slice(out, l->via);
    buf_text(out, "\r\nMax-Forwards: 70\r\n");
    sip_write_header(out, "From", l->from);
    sip_write_header(out, "To", l->to);
    sip_write_header(out, "Call-ID", l->call_id);
    buf_text(out, "CSeq: ");
    buf_i64(out, l->cseq);
    buf_char(out, ' ');
    buf_slice(out, l->method);
    buf_text(out, "\r\n");
}

void sip_write_end(struct buf *out, const char *content_type, struct slice body)
{
    if (body.n > 0)
        sip_write_header(out, "Content-Type", slice_of(content_type));
    buf_text(out, "Content-Length: ");
    buf_i64(out, (int64_t)body.n);
    buf_text(out, "\r\n\r\n");
    buf_slice(out, body);
}
