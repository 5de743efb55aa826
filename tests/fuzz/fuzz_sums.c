/* Sums files from hostile bytes: parse, then touch everything that is handed out, and write it again. The
 * checksum at the end is also made right, so that what stands behind that first check is reached.
 * SPDX-License-Identifier: MIT */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "fuzz/sums_cases.h"
#include "gguf/sums.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEMAND(cond)                                                 \
    do {                                                             \
        if (!(cond)) {                                               \
            fprintf(stderr, "fuzz_sums: %s does not hold\n", #cond); \
            abort();                                                 \
        }                                                            \
    } while (0)

/* An accepted file is exactly what its contents give when written. */
static void write_again(const lv_sums *s, const uint8_t *data, size_t size)
{
    lv_sums_tensor *t = malloc(((size_t)s->n_tensors + 1) * sizeof *t);
    uint32_t *pages = malloc((size_t)s->n_pages * sizeof *pages);
    uint8_t *again = NULL;
    size_t n = 0, at = 0;
    uint64_t end = s->header_bytes;
    uint32_t i = 0;
    if (!t || !pages) abort();
    for (; lv_sums_next(s, &at, &t[i]); i++) {
        DEMAND(i < s->n_tensors && t[i].bytes && t[i].offset >= end);
        DEMAND(t[i].bytes <= s->model_bytes - t[i].offset);
        end = t[i].offset + t[i].bytes;
        DEMAND(lv_sums_what(s, t[i].offset / LV_SUMS_PAGE * LV_SUMS_PAGE).len <= 255);
    }
    DEMAND(i == s->n_tensors);
    for (uint64_t p = 0; p < s->n_pages; p++) pages[p] = lv_sums_page_sum(s, p);
    DEMAND(lv_sums_build(&again, &n, s, t, pages, NULL) == LEVER_OK);
    DEMAND(n == size && !memcmp(again, data, n));
    lv_free(again);
    free(t);
    free(pages);
}

static void try_parse(const uint8_t *data, size_t size)
{
    const size_t live = lv_alloc_live();
    lv_sums s;
    lever_error e = { 0 };
    const int rc = lv_sums_parse(&s, data, size, &e);
    if (rc < 0) DEMAND(e.code == rc && e.msg[0] && (rc == LEVER_EFORMAT || rc == LEVER_EUNSUP));
    if (rc == LEVER_OK) {
        static const uint8_t zero[LV_SUMS_PAGE];
        const uint64_t last = s.n_pages - 1, left = s.model_bytes - last * LV_SUMS_PAGE;
        DEMAND(left >= 1 && left <= LV_SUMS_PAGE);
        const uint64_t bad = lv_sums_check(&s, zero, (size_t)left, last * LV_SUMS_PAGE);
        DEMAND(bad == UINT64_MAX || bad == last * LV_SUMS_PAGE);
        write_again(&s, data, size);
    }
    DEMAND(lv_alloc_live() == live);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_parse(data, size);
    uint8_t *sealed = malloc(size + !size);
    if (!sealed) return 0;
    if (size) memcpy(sealed, data, size);
    sc_seal(sealed, size);
    try_parse(sealed, size);
    free(sealed);
    return 0;
}
