/* SPDX-License-Identifier: Apache-2.0 */
/* Ed25519 by the vectors of RFC 8032, 7.1, and the key's file. */
#include "base/file.h"
#include "base/own.h"
#include "base/sign.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static void vectors(void **state)
{
    (void)state;
    static const struct {
        const char *secret, *public_key, *message, *signature;
    } all[] = {
        {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
         "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701"
         "c"
         "f9b46bd25bf5f0595bbe24655141438e7a100b"},
        {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
         "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d"
         "0"
         "f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        uint8_t secret[SIGN_KEY_SIZE], public_key[SIGN_KEY_SIZE], message[1] = {0};
        uint8_t wanted[SIGN_SIZE], signature[SIGN_SIZE];
        struct sign_key key;
        struct err e = {0};
        size_t n = strlen(all[i].message) / 2;
        assert_true(hex_decode(slice_of(all[i].secret), secret, sizeof secret));
        assert_true(hex_decode(slice_of(all[i].public_key), public_key, sizeof public_key));
        assert_true(hex_decode(slice_of(all[i].signature), wanted, sizeof wanted));
        assert_true(hex_decode(slice_of(all[i].message), message, n));
        assert_int_equal(sign_key_from(&key, secret, &e), 0);
        assert_memory_equal(key.public_key, public_key, sizeof public_key);
        assert_int_equal(sign_bytes(&key, message, n, signature, &e), 0);
        assert_memory_equal(signature, wanted, sizeof wanted);
        assert_true(sign_verify(public_key, message, n, signature));
        signature[5] ^= 1;
        assert_false(sign_verify(public_key, message, n, signature));
    }
}

static void a_key_is_made_once(void **state)
{
    (void)state;
    char dir[] = "/tmp/hf-sign.XXXXXX";
    char path[64];
    struct sign_key first, again;
    struct stat st;
    struct err e = {0};
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/k", dir);
    assert_int_equal(sign_key_file(&first, dir, "k", &e), 0);
    assert_int_equal(sign_key_file(&again, dir, "k", &e), 0);
    assert_memory_equal(&first, &again, sizeof first);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(file_replace(path, SLICE("no key\n"), 0600, &e), 0);
    assert_int_equal(sign_key_file(&again, dir, "k", &e), ERR_CONFIG);
    assert_int_equal(file_remove_tree(dir, &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),
        cmocka_unit_test(a_key_is_made_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
