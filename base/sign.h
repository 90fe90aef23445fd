/* SPDX-License-Identifier: Apache-2.0 */
/* Ed25519 signatures (RFC 8032) through OpenSSL, and the file a signing key lives in. */
#ifndef BASE_SIGN_H
#define BASE_SIGN_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SIGN_KEY_SIZE = 32, SIGN_SIZE = 64 };

struct sign_key {
    uint8_t secret[SIGN_KEY_SIZE];
    uint8_t public_key[SIGN_KEY_SIZE];
};

int sign_key_from(struct sign_key *out, const uint8_t secret[SIGN_KEY_SIZE], struct err *e);
/* Reads dir/name: 64 hexadecimal digits of the secret. When it is not there a new key is made and
 * published, mode 0600. ERR_CONFIG: it is there and is no key. */
int sign_key_file(struct sign_key *out, const char *dir, const char *name, struct err *e);

int sign_bytes(const struct sign_key *key, const void *bytes, size_t n, uint8_t out[SIGN_SIZE],
               struct err *e);
bool sign_verify(const uint8_t public_key[SIGN_KEY_SIZE], const void *bytes, size_t n,
                 const uint8_t signature[SIGN_SIZE]);

#endif
