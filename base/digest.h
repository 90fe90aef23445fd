/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4) through OpenSSL's EVP, and random bytes. The only file on libcrypto. */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_SIZE = 32, SHA256_HEX = 65 };

/* Never fails: OpenSSL is asked for SHA-256 once at start, and the program ends if it has none. */
void sha256(const void *bytes, size_t n, uint8_t out[SHA256_SIZE]);

struct sha256;
struct sha256 *sha256_new(void); /* NULL when out of memory */
void sha256_add(struct sha256 *s, const void *bytes, size_t n);
/* A part of a list: its length as eight bytes, the highest first, then its bytes. So no two lists
 * have the same digest. A batch's digest is that of its records (adapters/mgc_adapter.h). */
void sha256_add_part(struct sha256 *s, const void *bytes, size_t n);
void sha256_end(struct sha256 *s, uint8_t out[SHA256_SIZE]); /* and ready for a new message */
void sha256_free(struct sha256 *s);

void random_bytes(void *out, size_t n);

#endif
