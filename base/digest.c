/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 and random bytes through OpenSSL. */
#include "base/digest.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct sha256 {
    EVP_MD_CTX *ctx;
};

/* Written once, then only read: fetching the method anew for each message costs more than a short
 * message's digest. */
static EVP_MD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

/* Without digests nothing may be recorded, and no caller could go on: end at once. */
static void die(const char *what)
{
    (void)fprintf(stderr, "OpenSSL: no %s\n", what);
    abort();
}

static void fetch_method(void)
{
    method = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (!method)
        die("SHA-256");
}

static void begin(EVP_MD_CTX *ctx)
{
    (void)pthread_once(&method_once, fetch_method);
    if (EVP_DigestInit_ex2(ctx, method, NULL) != 1)
        die("SHA-256");
}

void sha256(const void *bytes, size_t n, uint8_t out[SHA256_SIZE])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx)
        die("memory for a digest");
    begin(ctx);
    if (EVP_DigestUpdate(ctx, bytes, n) != 1 || EVP_DigestFinal_ex(ctx, out, NULL) != 1)
        die("SHA-256");
    EVP_MD_CTX_free(ctx);
}

struct sha256 *sha256_new(void)
{
    struct sha256 *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->ctx = EVP_MD_CTX_new();
    if (!s->ctx) {
        free(s);
        return NULL;
    }
    begin(s->ctx);
    return s;
}

void sha256_add(struct sha256 *s, const void *bytes, size_t n)
{
    if (EVP_DigestUpdate(s->ctx, bytes, n) != 1)
        die("SHA-256");
}

void sha256_add_part(struct sha256 *s, const void *bytes, size_t n)
{
    uint8_t length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)n >> (56 - 8 * i));
    sha256_add(s, length, sizeof length);
    if (n)
        sha256_add(s, bytes, n);
}

void sha256_end(struct sha256 *s, uint8_t out[SHA256_SIZE])
{
    if (EVP_DigestFinal_ex(s->ctx, out, NULL) != 1)
        die("SHA-256");
    begin(s->ctx);
}

void sha256_free(struct sha256 *s)
{
    if (!s)
        return;
    EVP_MD_CTX_free(s->ctx);
    free(s);
}

void random_bytes(void *out, size_t n)
{
    unsigned char *to = out;
    while (n) {
        int part = n > 65536 ? 65536 : (int)n;
        if (RAND_bytes(to, part) != 1)
            die("random bytes");
        to += part;
        n -= (size_t)part;
    }
}
