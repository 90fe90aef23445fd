/* SPDX-License-Identifier: Apache-2.0 */
#include "base/digest.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void is(const uint8_t digest[SHA256_SIZE], const char *expected)
{
    char text[SHA256_HEX];
    hex_encode(digest, SHA256_SIZE, text);
    assert_string_equal(text, expected);
}

/* FIPS 180-4 examples. */
static void known_digests(void **state)
{
    (void)state;
    uint8_t d[SHA256_SIZE];
    sha256("", 0, d);
    is(d, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256("abc", 3, d);
    is(d, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void pieces_give_the_same_and_it_starts_anew(void **state)
{
    (void)state;
    uint8_t d[SHA256_SIZE];
    struct sha256 *s = sha256_new();
    assert_non_null(s);
    for (int round = 0; round < 2; round++) {
        sha256_add(s, "a", 1);
        sha256_add(s, "", 0);
        sha256_add(s, "bc", 2);
        sha256_end(s, d);
        is(d, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
    sha256_free(s);
    sha256_free(NULL);
}

static void random_fills_all(void **state)
{
    (void)state;
    static unsigned char bytes[200000];
    random_bytes(bytes, sizeof bytes);
    size_t zeros = 0;
    for (size_t i = 0; i < sizeof bytes; i++)
        zeros += bytes[i] == 0;
    assert_in_range(zeros, 500, 1100);
}

static void parts_of_a_list_are_told_apart(void **state)
{
    uint8_t digest[SHA256_SIZE];
    char long_part[258];
    (void)state;
    memset(long_part, 'x', sizeof long_part);
    struct sha256 *s = sha256_new();
    sha256_add_part(s, long_part, sizeof long_part);
    sha256_add_part(s, NULL, 0);
    sha256_add_part(s, "c", 1);
    sha256_end(s, digest);
    is(digest, "98d3f6662249890a72432609e64e9f9714b7d559bcb4735fdfb4b611853a54ab");
    sha256_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_digests),
        cmocka_unit_test(pieces_give_the_same_and_it_starts_anew),
        cmocka_unit_test(parts_of_a_list_are_told_apart),
        cmocka_unit_test(random_fills_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
