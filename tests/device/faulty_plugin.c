/* A device plug-in that does everything the interface has, in the plainest way, and fails on demand: the
 * environment variable LEVER_FAULTY_PLUGIN says how. It follows the text of lever/device_plugin.h and shares
 * no code with Lever. Its memory is its own (given pieces are copied), and jobs are computed as late as
 * possible, in wait. SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L
#include <fenv.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lever/device_plugin.h"

struct lever_plugin_memory {
    unsigned char *host, *copy;
    uint64_t bytes;
};

struct lever_plugin_device {
    const lever_plugin_job *jobs[256]; /* by slot */
};

static int mode_is(const char *name)
{
    const char *mode = getenv("LEVER_FAULTY_PLUGIN");
    return mode && !strcmp(mode, name);
}

static int fail(int result, char *why, const char *text)
{
    snprintf(why, LEVER_PLUGIN_WHY_BYTES, "%s", text);
    return result;
}

/* ---- weights as the header describes them ---- */

typedef struct block {
    int code[256], scale[256], min[256]; /* per weight */
    float d, m;
    int has_min;
} block;

static float half(const unsigned char *p)
{
    const int h = p[0] | p[1] << 8, exponent = h >> 10 & 31, fraction = h & 1023;
    float f = exponent == 31  ? (fraction ? NAN : INFINITY)
              : exponent == 0 ? ldexpf((float)fraction, -24)
                              : ldexpf((float)(fraction + 1024), exponent - 25);
    return h & 0x8000 ? -f : f;
}

static int plane(const unsigned char *p, int bits, int run, int i)
{
    const int per_byte = 8 / bits, byte = run * (i / (run * per_byte)) + i % run;
    return p[byte] >> bits * (i / run % per_byte) & ((1 << bits) - 1);
}

static int nibble(const unsigned char *p, int i)
{
    return i < 16 ? p[i] & 15 : p[i - 16] >> 4;
}

static void read_32(block *b, uint32_t type, const unsigned char *p)
{
    const int has_min = type == LEVER_PLUGIN_Q4_1 || type == LEVER_PLUGIN_Q5_1;
    const int five = type == LEVER_PLUGIN_Q5_0 || type == LEVER_PLUGIN_Q5_1;
    const unsigned char *at = p + (has_min ? 4 : 2), *high = at;
    b->d = half(p);
    b->has_min = has_min;
    if (has_min) b->m = half(p + 2);
    if (five) at += 4;
    for (int i = 0; i < 32; i++) {
        if (type == LEVER_PLUGIN_Q8_0)
            b->code[i] = (signed char)at[i];
        else
            b->code[i] = nibble(at, i) + (five ? (high[i / 8] >> i % 8 & 1) * 16 : 0);
        if (type == LEVER_PLUGIN_Q4_0) b->code[i] -= 8;
        if (type == LEVER_PLUGIN_Q5_0) b->code[i] -= 16;
    }
}

static void read_q4_q5_k(block *b, int five, const unsigned char *p)
{
    const unsigned char *s = p + 4, *high = p + 16, *low = p + (five ? 48 : 16);
    b->d = half(p);
    b->m = half(p + 2);
    b->has_min = 1;
    for (int i = 0; i < 256; i++) {
        const int j = i / 32;
        b->scale[i] = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
        b->min[i] = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4;
        b->code[i] = plane(low, 4, 32, i) + (five ? plane(high, 1, 32, i) * 16 : 0);
    }
}

static void read_q6_k(block *b, const unsigned char *p)
{
    b->d = half(p + 208);
    b->has_min = 0;
    for (int i = 0; i < 256; i++) {
        b->scale[i] = (signed char)p[192 + i / 16];
        b->code[i] = plane(p, 4, 64, i) + plane(p + 128, 2, 32, i) * 16 - 32;
    }
}

static uint64_t block_bytes(uint32_t type)
{
    switch (type) {
    case LEVER_PLUGIN_F32: return 4;
    case LEVER_PLUGIN_F16: return 2;
    case LEVER_PLUGIN_BF16: return 2;
    case LEVER_PLUGIN_Q4_0: return 18;
    case LEVER_PLUGIN_Q4_1: return 20;
    case LEVER_PLUGIN_Q5_0: return 22;
    case LEVER_PLUGIN_Q5_1: return 24;
    case LEVER_PLUGIN_Q8_0: return 34;
    case LEVER_PLUGIN_Q4_K: return 144;
    case LEVER_PLUGIN_Q5_K: return 176;
    default: return 210;
    }
}

static uint64_t block_len(uint32_t type)
{
    const int k = type == LEVER_PLUGIN_Q4_K || type == LEVER_PLUGIN_Q5_K || type == LEVER_PLUGIN_Q6_K;
    return type == LEVER_PLUGIN_F32 || type == LEVER_PLUGIN_F16 || type == LEVER_PLUGIN_BF16 ? 1
           : k                                                                               ? 256
                                                                                             : 32;
}

/* ---- products ---- */

static int rounds_twice; /* of the job at hand */

static float add_product(float a, float b, float c)
{
    volatile float product = a * b;
    return rounds_twice ? product + c : fmaf(a, b, c);
}

static float add_block(float acc, const block *b, const lever_plugin_rows *rows, uint64_t len, uint64_t at)
{
    int32_t isum = 0, msum = 0;
    for (uint64_t i = 0; i < len; i++) {
        const int q = rows->q[at * len + i];
        isum += (len == 256 ? b->scale[i] : 1) * b->code[i] * q;
    }
    acc = add_product(b->d * rows->d[at], (float)isum, acc);
    if (!b->has_min) return acc;
    if (len == 32) return add_product(b->m * rows->d[at], (float)rows->sums[at], acc);
    for (int j = 0; j < 16; j++) msum += b->min[j * 16] * rows->sums[at * 16 + j];
    return add_product(-(b->m * rows->d[at]), (float)msum, acc);
}

static float blocks_product(uint32_t type, const unsigned char *w, const lever_plugin_job *job, uint64_t t)
{
    const uint64_t len = block_len(type), n = job->k / len;
    float acc = 0;
    for (uint64_t i = 0; i < n; i++) {
        block b;
        const unsigned char *p = w + i * block_bytes(type);
        if (len == 32)
            read_32(&b, type, p);
        else if (type == LEVER_PLUGIN_Q6_K)
            read_q6_k(&b, p);
        else
            read_q4_q5_k(&b, type == LEVER_PLUGIN_Q5_K, p);
        acc = add_block(acc, &b, len == 32 ? &job->by_32 : &job->by_256, len, t * n + i);
    }
    return acc;
}

static float floats_product(uint32_t type, const unsigned char *w, const float *x, uint64_t k)
{
    float lane[16] = { 0 };
    for (uint64_t i = 0; i < k; i++) {
        float f = 0;
        const unsigned char *p = w + i * block_bytes(type);
        if (type == LEVER_PLUGIN_F32) memcpy(&f, p, 4);
        if (type == LEVER_PLUGIN_BF16) memcpy((unsigned char *)&f + 2, p, 2);
        if (type == LEVER_PLUGIN_F16) f = half(p);
        lane[i % 16] = add_product(f, x[i], lane[i % 16]);
    }
    for (int n = 8; n; n /= 2)
        for (int j = 0; j < n; j++) lane[j] += lane[j + n];
    return lane[0];
}

static void multiply(const lever_plugin_product *p, const lever_plugin_job *job)
{
    const float factor = mode_is("far off") ? 1.5f : 1;
    rounds_twice = mode_is("rounds twice") || mode_is("approximate") || mode_is("far off");
    const uint64_t row_bytes = job->k / block_len(p->type) * block_bytes(p->type);
    for (uint64_t r = 0; r < p->n_out; r++)
        for (uint64_t t = 0; t < job->n_rows; t++) {
            const unsigned char *w = p->w->copy + p->w_at + r * row_bytes;
            const float y = block_len(p->type) == 1 ? floats_product(p->type, w, job->x + t * job->k, job->k)
                                                    : blocks_product(p->type, w, job, t);
            p->y[t * p->ldy + r] = y * factor;
        }
}

static int device_submit(lever_plugin_device *d, uint32_t slot, const lever_plugin_job *job, char *why)
{
    if (mode_is("submit fails")) return fail(LEVER_PLUGIN_FAILED, why, "the cable came off");
    if (mode_is("submit refuses")) return fail(LEVER_PLUGIN_REFUSED, why, "not on a Sunday");
    if (mode_is("second submit refuses") && slot % 2) return fail(LEVER_PLUGIN_REFUSED, why, "one is enough");
    if (d->jobs[slot] || job->bytes < sizeof *job) abort();
    d->jobs[slot] = job;
    return LEVER_PLUGIN_OK;
}

static int device_wait(lever_plugin_device *d, uint32_t slot, char *why)
{
    const lever_plugin_job *job = d->jobs[slot];
    if (!job) abort();
    d->jobs[slot] = NULL;
    static int n;
    if (mode_is("wait fails")) return fail(99, why, "");
    if (mode_is("fails after 40 jobs") && n++ == 40) return fail(LEVER_PLUGIN_FAILED, why, "too hot");
    for (uint32_t i = 0; i < job->n_products; i++) multiply(&job->products[i], job);
    return LEVER_PLUGIN_OK;
}

/* ---- memory ---- */

static void memory_close(lever_plugin_device *d, lever_plugin_memory *m)
{
    (void)d;
    if (m) free(m->host), free(m->copy);
    free(m);
}

static int memory_open(lever_plugin_device *d, lever_plugin_memory **out, uint64_t bytes, void **host,
                       char *why)
{
    lever_plugin_memory *m = calloc(1, sizeof *m);
    void *at = NULL;
    if (m && !posix_memalign(&at, LEVER_PLUGIN_PAGE, bytes)) m->host = at;
    if (m) m->copy = malloc(bytes);
    if (!m || !m->host || !m->copy) {
        memory_close(d, m);
        return fail(LEVER_PLUGIN_NO_MEMORY, why, "too little memory");
    }
    m->bytes = bytes;
    *out = m;
    *host = mode_is("crooked memory") ? m->host + 8 : m->host;
    return LEVER_PLUGIN_OK;
}

static int memory_give(lever_plugin_device *d, lever_plugin_memory *m, char *why)
{
    (void)d;
    if (mode_is("give fails")) return fail(LEVER_PLUGIN_FAILED, why, "no way in");
    memcpy(m->copy, m->host, m->bytes);
    memset(m->host, 0xaa, m->bytes);
    return LEVER_PLUGIN_OK;
}

static int memory_take(lever_plugin_device *d, lever_plugin_memory *m, void **host, char *why)
{
    (void)d;
    if (mode_is("take fails")) return fail(LEVER_PLUGIN_NO_MEMORY, why, "no way out");
    memset(m->copy, 0xaa, m->bytes);
    *host = m->host;
    return LEVER_PLUGIN_OK;
}

/* ---- opening ---- */

static lever_plugin_description description = {
    .bytes = sizeof description,
    .flags = LEVER_PLUGIN_EXACT,
    .name = "faulty plug-in",
    .types = LEVER_PLUGIN_TYPE_BIT(LEVER_PLUGIN_F32) | LEVER_PLUGIN_TYPE_BIT(LEVER_PLUGIN_F16) |
             LEVER_PLUGIN_TYPE_BIT(LEVER_PLUGIN_Q4_0) | LEVER_PLUGIN_TYPE_BIT(LEVER_PLUGIN_Q4_1) |
             LEVER_PLUGIN_TYPE_BIT(LEVER_PLUGIN_Q5_0) | LEVER_PLUGIN_TYPE_BIT(LEVER_PLUGIN_Q5_1) |
             LEVER_PLUGIN_TYPE_BIT(LEVER_PLUGIN_Q8_0) | LEVER_PLUGIN_TYPE_BIT(LEVER_PLUGIN_Q4_K) |
             LEVER_PLUGIN_TYPE_BIT(LEVER_PLUGIN_Q5_K) | LEVER_PLUGIN_TYPE_BIT(LEVER_PLUGIN_Q6_K) |
             LEVER_PLUGIN_TYPE_BIT(LEVER_PLUGIN_BF16),
    .piece_bytes = (uint64_t)1 << 30,
};

static const lever_plugin_description *device_describe(char *why)
{
    static lever_plugin_description d;
    if (mode_is("crash")) raise(SIGSEGV);
    if (mode_is("exit")) _exit(3);
    if (mode_is("hang"))
        for (;;) pause();
    if (mode_is("other rounding")) fesetround(FE_UPWARD);
    if (mode_is("no device")) return fail(0, why, "it is not plugged in"), NULL;
    if (mode_is("wild text")) return memset(why, '\t', LEVER_PLUGIN_WHY_BYTES), NULL;
    d = description;
    if (mode_is("short description")) d.bytes = 100;
    if (mode_is("no name")) d.name[0] = '\0';
    if (mode_is("long name")) memset(d.name, 'x', sizeof d.name);
    if (mode_is("unknown types")) d.types = (uint64_t)1 << 63;
    if (mode_is("approximate") || mode_is("far off")) d.flags = 0;
    if (mode_is("flushes")) d.flags |= LEVER_PLUGIN_FLUSHES;
    if (mode_is("wants floats")) d.flags |= LEVER_PLUGIN_WANTS_FLOATS;
    if (mode_is("many row counts")) d.n_row_counts = LEVER_PLUGIN_ROW_COUNTS + 1;
    if (mode_is("row counts")) d.n_row_counts = 2, d.row_counts[0] = 8, d.row_counts[1] = 8;
    if (mode_is("row count 0")) d.n_row_counts = 1;
    if (mode_is("second submit refuses")) d.n_row_counts = 1, d.row_counts[0] = 32;
    return &d;
}

static int device_open(lever_plugin_device **out, const lever_plugin_sizes *sizes, char *why)
{
    if (mode_is("crash in open")) raise(SIGILL);
    if (mode_is("open refuses"))
        return fail(LEVER_PLUGIN_REFUSED, why, "rows\nof this length\033 are too long");
    if (mode_is("open fails")) return fail(-7, why, "");
    if (sizes->bytes < sizeof *sizes || sizes->n_jobs > 256) return LEVER_PLUGIN_FAILED;
    *out = calloc(1, sizeof **out);
    return *out ? LEVER_PLUGIN_OK : LEVER_PLUGIN_NO_MEMORY;
}

static void device_close(lever_plugin_device *d)
{
    free(d);
}

const lever_plugin *lever_device_plugin(uint32_t host_version)
{
    static struct {
        lever_plugin table;
        void (*more)(void); /* what a later version may have */
    } t;
    t.table = (lever_plugin){ LEVER_PLUGIN_MAGIC, sizeof t.table, LEVER_PLUGIN_VERSION, 0,
                              device_describe,    device_open,    device_close,         memory_open,
                              memory_close,       memory_give,    memory_take,          NULL,
                              device_submit,      device_wait };
    if (mode_is("none")) return NULL;
    if (mode_is("magic")) t.table.magic ^= 1;
    if (mode_is("older")) t.table.version = 0 << 16 | 9;
    if (mode_is("newer")) t.table.version = (host_version & 0xffff0000u) + 0x10003u;
    if (mode_is("minor")) t.table.version += 7, t.table.bytes = sizeof t;
    if (mode_is("short table")) t.table.bytes -= sizeof t.table.wait;
    if (mode_is("no submit")) t.table.submit = NULL;
    return &t.table;
}
