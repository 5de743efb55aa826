/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HUGE = 2 << 20 };

static atomic_long   fault_at = -1; /* calls left until the injected failure; -1 = disarmed */
static atomic_bool   fault_stays, fault_hit;
static atomic_size_t live, calls;

int lv_mul_size(size_t *out, size_t a, size_t b)
{
    if (!__builtin_mul_overflow(a, b, out)) return 0;
    *out = SIZE_MAX;
    return -1;
}

int lv_add_size(size_t *out, size_t a, size_t b)
{
    if (!__builtin_add_overflow(a, b, out)) return 0;
    *out = SIZE_MAX;
    return -1;
}

static bool fault_due(void)
{
    atomic_fetch_add(&calls, 1);
    long n = atomic_load(&fault_at);
    if (n < 0) return false;
    if (n > 0) {
        atomic_fetch_sub(&fault_at, 1);
        return false;
    }
    if (!atomic_load(&fault_stays)) atomic_store(&fault_at, -1);
    atomic_store(&fault_hit, true);
    return true;
}

void lv_alloc_fault(long n, bool persistent)
{
    atomic_store(&fault_hit, false);
    atomic_store(&fault_stays, persistent);
    atomic_store(&fault_at, n);
}

bool lv_alloc_fault_fired(void) { return atomic_load(&fault_hit); }
size_t lv_alloc_live(void) { return atomic_load(&live); }
size_t lv_alloc_calls(void) { return atomic_load(&calls); }

void *lv_alloc(size_t bytes, size_t align)
{
    if (bytes == 0 || fault_due()) return NULL;
    if (align < 16) align = 16;
    size_t padded;
    if (lv_add_size(&padded, bytes, align - 1) < 0) return NULL;
    void *p = aligned_alloc(align, padded & ~(align - 1));
    if (!p) return NULL;
    memset(p, 0, bytes);
    atomic_fetch_add(&live, 1);
    return p;
}

void *lv_alloc_array(size_t n, size_t elem_bytes, size_t align)
{
    size_t bytes;
    return lv_mul_size(&bytes, n, elem_bytes) < 0 ? NULL : lv_alloc(bytes, align);
}

void lv_free(void *p)
{
    if (!p) return;
    atomic_fetch_sub(&live, 1);
    free(p);
}

char *lv_strdup_n(const char *s, size_t len)
{
    size_t bytes;
    if (lv_add_size(&bytes, len, 1) < 0) return NULL;
    char *copy = lv_alloc(bytes, 16);
    if (copy && len) memcpy(copy, s, len);
    return copy;
}

size_t lv_page_bytes(void)
{
    const long bytes = sysconf(_SC_PAGESIZE);
    return bytes > 0 ? (size_t)bytes : 4096;
}

void *lv_map_small(size_t bytes)
{
    if (bytes == 0 || bytes > SIZE_MAX - lv_page_bytes() || fault_due()) return NULL;
    const size_t len = lv_round_up(bytes, lv_page_bytes());
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    madvise(p, len, MADV_NOHUGEPAGE);
    atomic_fetch_add(&live, 1);
    return p;
}

/* Whole huge pages only: a last one would make up to 2 MiB resident that nobody asked for. A hint: refused is
 * as good. */
void lv_prefer_huge(void *p, size_t bytes)
{
    const uintptr_t from = lv_round_up((uintptr_t)p, HUGE), to = ((uintptr_t)p + bytes) & ~(uintptr_t)(HUGE - 1);
    if (from < to) madvise((void *)from, to - from, MADV_HUGEPAGE);
}

void *lv_map(size_t bytes)
{
    if (bytes == 0 || bytes > SIZE_MAX - 2 * HUGE || fault_due()) return NULL;
    const size_t len = lv_round_up(bytes, lv_page_bytes()), slack = bytes >= HUGE ? HUGE : 0;
    char *p = mmap(NULL, len + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    if (slack) { /* keep the part that starts at a huge page, give the rest back */
        char *at = (char *)lv_round_up((uintptr_t)p, HUGE);
        if (at > p) munmap(p, (size_t)(at - p));
        if (at < p + slack) munmap(at + len, (size_t)(p + slack - at));
        p = at;
        lv_prefer_huge(p, len);
    }
    atomic_fetch_add(&live, 1);
    return p;
}

void lv_unmap(void *p, size_t bytes)
{
    if (!p) return;
    atomic_fetch_sub(&live, 1);
    munmap(p, lv_round_up(bytes, lv_page_bytes()));
}

void lv_map_forget(void *p, size_t bytes)
{
    const uintptr_t page = lv_page_bytes(), from = lv_round_up((uintptr_t)p, page);
    const uintptr_t to = ((uintptr_t)p + bytes) & ~(page - 1);
    if (from < to) madvise((void *)from, to - from, MADV_DONTNEED);
}

static atomic_size_t budget_used;

size_t lv_budget_used(void) { return atomic_load(&budget_used); }

int lv_budget_charge(size_t bytes, size_t limit_bytes, const char *what, lever_error *err)
{
    const size_t used = atomic_fetch_add(&budget_used, bytes);
    if (!limit_bytes || (used <= limit_bytes && bytes <= limit_bytes - used)) return LEVER_OK;
    atomic_fetch_sub(&budget_used, bytes);
    return lv_fail(err, LEVER_ELIMIT, 0,
                   "%s needs %zu bytes, but %zu of the memory limit of %zu bytes are in use; "
                   "raise --mem", what, bytes, used, limit_bytes);
}

void lv_budget_refund(size_t bytes) { atomic_fetch_sub(&budget_used, bytes); }
