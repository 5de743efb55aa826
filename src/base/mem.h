/* Memory: checked size maths, aligned zeroed allocation with a fault hook, and the budget.
 *
 * Budget: one for the process, because --mem is a limit for the process. An engine charges its whole memory
 * plan before it allocates anything of it. SPDX-License-Identifier: MIT */
#ifndef LEVER_BASE_MEM_H
#define LEVER_BASE_MEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* *out = a * b, or a + b. Return 0, or -1 on overflow (then *out is SIZE_MAX). */
int lv_mul_size(size_t *out, size_t a, size_t b);
int lv_add_size(size_t *out, size_t a, size_t b);

/* n rounded up to a multiple of `to` (a power of two). No overflow check: sizes come checked. */
static inline size_t lv_round_up(size_t n, size_t to) { return (n + to - 1) & ~(to - 1); }

/* `bytes` zeroed bytes at an address that is a multiple of `align` (power of two, >= 8).
 * Returned: free with lv_free. NULL when out of memory, when bytes == 0, or when a test's fault is due. */
void *lv_alloc(size_t bytes, size_t align);
void *lv_alloc_array(size_t n, size_t elem_bytes, size_t align); /* NULL on overflow too */
void  lv_free(void *p);                                          /* accepts NULL */
char *lv_strdup_n(const char *s, size_t len);                    /* copied, NUL added; lv_free */

/* Large page-aligned anonymous mapping for weights, KV and the ring; 2 MiB-aligned with
 * MADV_HUGEPAGE when bytes >= 2 MiB and the system allows it. Zeroed; pages become resident on first
 * touch. Returned: release with lv_unmap(p, bytes) of the same size. NULL when out of memory. */
void *lv_map(size_t bytes);
/* The same in small pages, which become resident one by one. */
void *lv_map_small(size_t bytes);
/* Memory of others, such as a driver, that nothing has touched yet: in huge pages where [p, p + bytes) holds
 * whole ones and the system allows it. */
void  lv_prefer_huge(void *p, size_t bytes);
size_t lv_page_bytes(void); /* of a small one: 4, 16 or 64 KiB */
void  lv_unmap(void *p, size_t bytes);
/* Give back the memory of the pages that lie wholly in [p, p + bytes) of such a mapping; they read as zeros again. Of
 * huge pages only whole ones are sure to be free at once. */
void  lv_map_forget(void *p, size_t bytes);

/* Tests only: the n-th call from now (0 = next) of lv_alloc/lv_map fails; once, or from then on.
 * n < 0 disarms. lv_alloc_live counts blocks not yet freed (lv_alloc and lv_map together). */
void   lv_alloc_fault(long n, bool persistent);
bool   lv_alloc_fault_fired(void);
size_t lv_alloc_live(void);
/* Number of lv_alloc + lv_map calls since the process started (to show the token path makes none). */
size_t lv_alloc_calls(void);

/* The budget of the process: what its open engines have planned, together. Threading: any. */
size_t lv_budget_used(void);
/* Reserve bytes for `what`, so that no more than limit_bytes (0 = no limit) are reserved in all. LEVER_OK or
 * LEVER_ELIMIT; the text names what, needed, used, limit. */
int  lv_budget_charge(size_t bytes, size_t limit_bytes, const char *what, lever_error *err);
void lv_budget_refund(size_t bytes);

#endif
