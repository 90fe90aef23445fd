/* SPDX-License-Identifier: Apache-2.0 */
/* Every verdict of the chain's rule, at its borders. */
#include "mgccomp/chain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct chain_head head_at(int64_t sequence, uint8_t fill)
{
    struct chain_head head = {.sequence = sequence};
    memset(head.hash, fill, sizeof head.hash);
    return head;
}

static void first_record(void **state)
{
    (void)state;
    struct chain_head none = head_at(0, 0);
    uint8_t zeros[SHA256_SIZE] = {0};
    uint8_t other[SHA256_SIZE] = {[31] = 1};

    assert_int_equal(chain_judge(&none, 1, zeros), CHAIN_NEXT);
    assert_int_equal(chain_judge(&none, 1, other), CHAIN_ALTERED);
    assert_int_equal(chain_judge(&none, 2, zeros), CHAIN_GAP);
}

static void later_records(void **state)
{
    (void)state;
    struct chain_head head = head_at(17, 0xab);
    uint8_t right[SHA256_SIZE];
    memset(right, 0xab, sizeof right);
    uint8_t wrong[SHA256_SIZE];
    memset(wrong, 0xab, sizeof wrong);
    wrong[31] ^= 1;

    assert_int_equal(chain_judge(&head, 18, right), CHAIN_NEXT);
    assert_int_equal(chain_judge(&head, 18, wrong), CHAIN_ALTERED);
    assert_int_equal(chain_judge(&head, 17, right), CHAIN_OLD);
    assert_int_equal(chain_judge(&head, 1, right), CHAIN_OLD);
    assert_int_equal(chain_judge(&head, 19, right), CHAIN_GAP);
}

static void far_ahead(void **state)
{
    (void)state;
    struct chain_head head = head_at(5, 0);
    uint8_t zeros[SHA256_SIZE] = {0};

    assert_int_equal(chain_judge(&head, 5 + CHAIN_FAR_AHEAD, zeros), CHAIN_GAP);
    assert_int_equal(chain_judge(&head, 6 + CHAIN_FAR_AHEAD, zeros), CHAIN_FAR);
    assert_int_equal(chain_judge(&head, INT64_MAX, zeros), CHAIN_FAR);
    assert_int_equal(chain_judge(&head, INT64_MIN, zeros), CHAIN_OLD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_record),
        cmocka_unit_test(later_records),
        cmocka_unit_test(far_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
