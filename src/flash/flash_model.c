/* SPDX-License-Identifier: MIT */
#include "flash/flash_model.h"

#include <stdio.h>
#include <string.h>

/* Rates and the length law of UFS come from published measurements on phones: UFS 4.0 on a Snapdragon 8 Gen 3
 * reads blocks of 512 KB at 4.0 GB/s in sequence and 3.5 at random places, and 4 KB at 0.45 GB/s, which
 * 3.7 GB/s * s / (s + 30 KB) follows; UFS 3.1 reads 2.1 GB/s, its half length is taken from UFS 4.0. Both
 * have one queue of 32 commands.
 * The others are figures of their class, not measurements. eMMC 5.1: 0.3 GB/s behind the 400 MB/s of HS400,
 * and some 8000 reads of 4 KB a second, so 36 KB; a queue of 32. microSD A1: 0.09 GB/s behind the 104 MB/s of
 * UHS-I, the 1500 reads of 4 KB a second that A1 demands, one command at a time. NVMe: 3.5 GB/s, a PCIe 3
 * drive of four lanes, half a million reads of 4 KB a second.
 * Latencies are of the order that data sheets give for one read of 4 KB, less its time on the link. */
static const lv_flash_model devices[] = {
    { "ufs4.0",     3700000000, 30 << 10,  80000, 20, 32, 1 },
    { "ufs3.1",     2100000000, 30 << 10, 100000, 20, 32, 1 },
    { "emmc5.1",     300000000, 36 << 10, 150000, 20, 32, 1 },
    { "microsd-a1",   90000000, 11 << 10, 500000, 20,  1, 1 },
    { "nvme",       3500000000,  3 << 10,  80000, 20, 64, 1 },
};
enum { N_DEVICES = sizeof devices / sizeof *devices };

int lv_flash_model_get(lv_flash_model *m, const char *name, uint64_t limit_bytes_per_s, lever_error *err)
{
    char known[128] = "";
    size_t i = 0, at = 0;
    *m = (lv_flash_model){ 0 };
    for (; name && i < N_DEVICES && strcmp(name, devices[i].name); i++)
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", devices[i].name);
    if (i == N_DEVICES)
        return lv_fail(err, LEVER_EINVAL, 0, "unknown flash model '%s'; known: %s", name, known);
    if (name) *m = devices[i];
    if (limit_bytes_per_s && (!m->bytes_per_s || limit_bytes_per_s < m->bytes_per_s))
        m->bytes_per_s = limit_bytes_per_s;
    return LEVER_OK;
}

bool lv_flash_model_waits(const lv_flash_model *m) { return m->bytes_per_s || m->latency_ns; }

void lv_flash_clock_init(lv_flash_clock *c, const lv_flash_model *m) { *c = (lv_flash_clock){ .rng = m->seed }; }

/* The latency of one read. splitmix64: every seed, also 0, gives a sequence of its own. */
static uint64_t latency(lv_flash_clock *c, const lv_flash_model *m)
{
    uint64_t z = c->rng += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    const double share = (double)(int64_t)(z ^ (z >> 31)) * 0x1p-63; /* -1 .. 1 */
    return (uint64_t)((double)m->latency_ns * (1 + share * m->jitter_percent / 100));
}

uint64_t lv_flash_clock_submit(lv_flash_clock *c, const lv_flash_model *m, uint64_t now_ns, uint32_t bytes)
{
    uint32_t slot = 0;
    for (uint32_t i = 1; i < m->queue; i++)
        if (c->slot_free_ns[i] < c->slot_free_ns[slot]) slot = i;
    uint64_t t = now_ns;
    if (m->queue && c->slot_free_ns[slot] > t) t = c->slot_free_ns[slot];
    if (c->link_free_ns > t) t = c->link_free_ns;
    if (m->bytes_per_s) t += (uint64_t)(((double)bytes + m->half_bytes) * 1e9 / (double)m->bytes_per_s);
    c->link_free_ns = t;
    t += latency(c, m);
    c->slot_free_ns[slot] = t;
    return t;
}
