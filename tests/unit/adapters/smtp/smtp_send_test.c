/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/smtp/smtp_send.h"

#include <curl/curl.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_class_of(void **state)
{
    (void)state;
    static const struct {
        int result;
        long reply;
        bool whole;
        int class;
    } cases[] = {
        {CURLE_COULDNT_CONNECT, 0, false, ERR_RETRY},
        {CURLE_COULDNT_RESOLVE_HOST, 0, false, ERR_RETRY},
        {CURLE_OPERATION_TIMEDOUT, 354, true, ERR_RETRY},
        {CURLE_RECV_ERROR, 354, true, ERR_RETRY},
        {CURLE_SEND_ERROR, 450, false, ERR_RETRY},
        {CURLE_SEND_ERROR, 550, false, ERR_CONFIG},
        {CURLE_SEND_ERROR, 552, false, ERR_REJECTED},
        {CURLE_WEIRD_SERVER_REPLY, 554, true, ERR_REJECTED},
        {CURLE_WEIRD_SERVER_REPLY, 451, true, ERR_RETRY},
        {CURLE_WEIRD_SERVER_REPLY, 600, true, ERR_RETRY},
        {CURLE_LOGIN_DENIED, 535, false, ERR_CONFIG},
        {CURLE_ABORTED_BY_CALLBACK, 550, true, ERR_STOPPED},
        {CURLE_OUT_OF_MEMORY, 0, false, ERR_RETRY},
        {CURLE_URL_MALFORMAT, 0, false, ERR_CONFIG},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(smtp_class_of(cases[i].result, cases[i].reply, cases[i].whole),
                         cases[i].class);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_class_of)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
