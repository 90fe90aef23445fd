/* SPDX-License-Identifier: Apache-2.0 */
/* A target with a fault, to try the driver on: it can't bear a backslash before a quote. */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    for (size_t i = 1; i < n; i++)
        FUZZ_CHECK(bytes[i - 1] != '\\' || bytes[i] != '"');
    return 0;
}
