/* SPDX-License-Identifier: Apache-2.0 */
/* A stream of SIP messages, framed and read; what was read is answered, and the answer can be read
 * by the same rules. */
#include "tests/fuzz/fuzz.h"

#include "chat-server/sip.h"

static void answer(const struct sip *m)
{
    struct buf b;
    struct sip_frame f;
    struct sip *again = NULL;
    struct err e = {0};

    (void)sip_expires(m);
    (void)sip_header(m, "event");
    FUZZ_CHECK(sip_cseq(m) >= 0 && sip_call_id(m).p && sip_from_uri(m).p);
    buf_init(&b, 1 << 20);
    sip_write_response(&b, m, 200, "OK", SLICE("tag"));
    sip_write_end(&b, "text/plain", SLICE("body"));
    if (!b.failed && sip_frame(buf_view(&b), SIP_MAX_MESSAGE, &f, &e) == 0) {
        /* One message, not two: nothing of the request could end a line. */
        FUZZ_CHECK(f.skip + f.head + f.body == b.n && f.body == 4);
        if (sip_parse(&again, (struct slice){b.p, f.head}, (struct slice){b.p + f.head, 4}, &e) ==
            0)
            FUZZ_CHECK(sip_status(again) == 200 && sip_cseq(again) == sip_cseq(m));
    }
    sip_free(again);
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct slice in = {(const char *)bytes, n};

    for (;;) {
        struct sip_frame f;
        struct sip *m = NULL;
        struct err e = {0};
        int r = sip_frame(in, SIP_MAX_MESSAGE, &f, &e);

        FUZZ_CHECK(r == 0 || r == ERR_AGAIN || (r == ERR_REJECTED && e.text[0]));
        FUZZ_CHECK(f.skip <= in.n);
        if (r < 0)
            return 0;
        FUZZ_CHECK(f.head > 0 && f.skip + f.head + f.body <= in.n);
        const char *at = in.p + f.skip;
        r = sip_parse(&m, (struct slice){at, f.head}, (struct slice){at + f.head, f.body}, &e);
        FUZZ_CHECK(r == 0 || (r == ERR_REJECTED && !m));
        if (r == 0)
            answer(m);
        sip_free(m);
        in = (struct slice){at + f.head + f.body, in.n - f.skip - f.head - f.body};
    }
}
