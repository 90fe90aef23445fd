/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One SIP message over a stream: framing, reading (libosip2's parser, the only pair of files on
 * it) and writing. No transactions, no dialogs: who uses it matches by Call-ID and CSeq, since the
 * clients served here send a Via without a branch.
 */
#ifndef CHAT_SIP_H
#define CHAT_SIP_H

#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"

enum {
    SIP_MAX_HEAD = 16 * 1024,     /* start line and headers */
    SIP_MAX_MESSAGE = 256 * 1024, /* with body; what one side accepts of the other */
    SIP_MAX_REPLY = 600 * 1024,   /* what a client must accept: a page of history */
    SIP_MAX_LINES = 128,
};

/* Where a message lies in what was received. */
struct sip_frame {
    size_t skip; /* line ends before it (keep-alives) */
    size_t head; /* bytes of start line and headers with the empty line */
    size_t body;
};
/* 0: a whole message is at in.p + skip. ERR_AGAIN: more bytes are needed; skip is set, and once the
 * head is there head and body. ERR_REJECTED: the stream can't be followed any further: head or body
 * too large, a control character in the head, no Content-Length where one is needed. max bounds
 * head and body together. */
int sip_frame(struct slice in, size_t max, struct sip_frame *out, struct err *e);

/* A header's name in full or in its one letter. */
bool sip_name_is(struct slice name, const char *full, const char *compact);

struct sip; /* a parsed message; owns everything its slices point to */

/* head and body as sip_frame found them. ERR_REJECTED: malformed, or a header every message needs
 * (Via, From, To, Call-ID, CSeq) is missing. */
int sip_parse(struct sip **out, struct slice head, struct slice body, struct err *e);
void sip_free(struct sip *m);

int sip_status(const struct sip *m);          /* 0: a request */
struct slice sip_reason(const struct sip *m); /* of a response */
struct slice sip_method(const struct sip *m); /* of a request; of a response: CSeq's */
struct slice sip_uri(const struct sip *m);    /* request URI */
struct slice sip_call_id(const struct sip *m);
int64_t sip_cseq(const struct sip *m);
struct slice sip_from(const struct sip *m); /* header value */
struct slice sip_from_uri(const struct sip *m);
struct slice sip_from_tag(const struct sip *m);
struct slice sip_epid(const struct sip *m); /* From parameter; absent when none */
struct slice sip_to(const struct sip *m);
struct slice sip_to_uri(const struct sip *m);
struct slice sip_to_tag(const struct sip *m);
struct slice sip_contact(const struct sip *m); /* URI of the first; absent when none */
struct slice sip_body(const struct sip *m);
/* The first header of a name that has no function of its own; absent when none. */
struct slice sip_header(const struct sip *m, const char *name);
/* Value of Expires (header or Contact parameter); -1 when absent or no number. */
int64_t sip_expires(const struct sip *m);

/* Writers append to out; the caller checks buf_ok. A response copies Via, From, To, Call-ID and
 * CSeq; to_tag is put on To where the request has none. */
void sip_write_response(struct buf *out, const struct sip *request, int status, const char *reason,
                        struct slice to_tag);
struct sip_line {
    struct slice method, uri;
    struct slice via;      /* "127.0.0.1:5060" */
    struct slice from, to; /* header values */
    struct slice call_id;
    int64_t cseq;
};
void sip_write_request(struct buf *out, const struct sip_line *l);
void sip_write_header(struct buf *out, const char *name, struct slice value);
/* Content-Type where there is a body, Content-Length, the empty line, the body. */
void sip_write_end(struct buf *out, const char *content_type, struct slice body);

static inline void own_sip(struct sip **m)
{
    sip_free(*m);
}

#endif
