/* SPDX-License-Identifier: Apache-2.0 */
/* Ed25519 through OpenSSL's EVP. */
#include "base/sign.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/own.h"
#include "base/text.h"

#include <openssl/evp.h>

#include <errno.h>
#include <string.h>

OWN_DEFINE(pkey, EVP_PKEY, EVP_PKEY_free)
OWN_DEFINE(md_ctx, EVP_MD_CTX, EVP_MD_CTX_free)

int sign_key_from(struct sign_key *out, const uint8_t secret[SIGN_KEY_SIZE], struct err *e)
{
    struct sign_key key;
    size_t n = sizeof key.public_key;
    OWN(own_pkey)
    EVP_PKEY *p = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, SIGN_KEY_SIZE);
    if (!p || EVP_PKEY_get_raw_public_key(p, key.public_key, &n) != 1 || n != SIGN_KEY_SIZE)
        return err_set(e, ERR_FAULT, "OpenSSL: no Ed25519 key");
    memcpy(key.secret, secret, SIGN_KEY_SIZE);
    *out = key;
    return 0;
}

static int publish_new(const char *dir, const char *name, struct err *e)
{
    uint8_t secret[SIGN_KEY_SIZE];
    char hex[2 * SIGN_KEY_SIZE + 1];
    OWN(own_file_temp) struct file_temp t = {.dir_fd = -1, .temp_dir_fd = -1, .fd = -1};
    int rc = file_temp_open(&t, dir, name, 0600, e);
    if (rc < 0)
        return rc;
    random_bytes(secret, sizeof secret);
    hex_encode(secret, sizeof secret, hex);
    rc = file_write_all(t.fd, hex, sizeof hex - 1, e);
    if (rc == 0)
        rc = file_write_all(t.fd, "\n", 1, e);
    if (rc == 0)
        rc = file_temp_publish(&t, e);
    OPENSSL_cleanse(secret, sizeof secret);
    OPENSSL_cleanse(hex, sizeof hex);
    return rc == ERR_CONFLICT ? 0 : rc; /* somebody else was first: that one is read */
}

static int read_key(struct sign_key *out, const char *path, struct err *e)
{
    OWN(own_buf) struct buf text;
    uint8_t secret[SIGN_KEY_SIZE];
    buf_init(&text, 256);
    int rc = file_read(path, 255, &text, e);
    if (rc < 0)
        return rc;
    if (!hex_decode(slice_trim(buf_view(&text)), secret, sizeof secret))
        return err_set(e, ERR_CONFIG, "%s is no signing key: 64 hexadecimal digits", path);
    rc = sign_key_from(out, secret, e);
    OPENSSL_cleanse(secret, sizeof secret);
    OPENSSL_cleanse(text.p, text.n);
    return rc;
}

int sign_key_file(struct sign_key *out, const char *dir, const char *name, struct err *e)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return err_set(e, ERR_CONFIG, "path too long: %s/%s", dir, name);
    if (access(path, F_OK) != 0) {
        if (errno != ENOENT)
            return err_errno(e, ERR_CONFIG, "%s", path);
        int rc = publish_new(dir, name, e);
        if (rc < 0)
            return rc;
    }
    return read_key(out, path, e);
}

int sign_bytes(const struct sign_key *key, const void *bytes, size_t n, uint8_t out[SIGN_SIZE],
               struct err *e)
{
    size_t size = SIGN_SIZE;
    OWN(own_pkey)
    EVP_PKEY *p = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key->secret, SIGN_KEY_SIZE);
    OWN(own_md_ctx) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!p || !ctx || EVP_DigestSignInit(ctx, NULL, NULL, NULL, p) != 1 ||
        EVP_DigestSign(ctx, out, &size, bytes, n) != 1 || size != SIGN_SIZE)
        return err_set(e, ERR_FAULT, "OpenSSL: no Ed25519 signature");
    return 0;
}

bool sign_verify(const uint8_t public_key[SIGN_KEY_SIZE], const void *bytes, size_t n,
                 const uint8_t signature[SIGN_SIZE])
{
    OWN(own_pkey)
    EVP_PKEY *p = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, SIGN_KEY_SIZE);
    OWN(own_md_ctx) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    return p && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, p) == 1 &&
           EVP_DigestVerify(ctx, signature, SIGN_SIZE, bytes, n) == 1;
}
