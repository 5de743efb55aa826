/* How long one sweep over a resident model takes, by number of rows and context, and how fast the machine
 * reads memory in the same moments (neighbours on the same processor halve it at times); and the peak of its
 * byte products. One JSON object on stdout.
 *
 * usage: lever_sweep [--stream RING_MIB] MODEL.gguf THREADS ROUNDS CONTEXT KV ROWS...
 *            CONTEXT: positions already in the cache; unless 0, sweeps over an empty one go beside
 *            KV: type of the cache, f16 or q8_0
 *            ROWS: numbers of rows, each timed once a round
 *            --stream: no layer stays in memory, all are streamed through a ring of this size; the head does,
 *                      as in any plan that has room for it
 *        lever_sweep --floors THREADS     the peak of byte products
 *        lever_sweep --read FILE SECONDS BLOCK_KIB   a plain loop of direct reads into huge pages
 * A sweep is what verification costs: the rows through all layers, and the output head for one row.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "flash/io.h"
#include "model/model.h"
#include "os/clock.h"
#include "os/cpu.h"
#include "os/pool.h"

enum { MAX_COUNTS = 32, MAX_ROUNDS = 100, READ_BYTES = 1 << 30 };

/* ---- floors ---- */

typedef struct floors {
    const uint64_t *data;
    uint64_t sum[64];
    double ops[64];
} floors;

static void read_part(void *arg, size_t begin, size_t end, unsigned thread)
{
    floors *f = arg;
    uint64_t s[8] = { 0 };
    for (size_t i = begin; i < end; i++) /* unit: 64 bytes */
        for (int j = 0; j < 8; j++) s[j] += f->data[i * 8 + (size_t)j];
    for (int j = 0; j < 8; j++) f->sum[thread] += s[j];
}

#if defined(__x86_64__)
#include <immintrin.h>

enum { PEAK_STEPS = 1 << 22, CHAINS = 12 };

__attribute__((target("avx512f,avx512vnni"))) static void multiply_part(void *arg, size_t begin, size_t end,
                                                                        unsigned thread)
{
    floors *f = arg;
    __m512i acc[CHAINS], a = _mm512_set1_epi32((int)thread + 3), b = _mm512_set1_epi32(5);
    for (int j = 0; j < CHAINS; j++) acc[j] = _mm512_setzero_si512();
    for (size_t n = begin; n < end; n++)
        for (int i = 0; i < PEAK_STEPS; i++)
            for (int j = 0; j < CHAINS; j++) acc[j] = _mm512_dpbusd_epi32(acc[j], a, b);
    for (int j = 1; j < CHAINS; j++) acc[0] = _mm512_add_epi32(acc[0], acc[j]);
    f->sum[thread] += (uint64_t)_mm_cvtsi128_si32(_mm512_castsi512_si128(acc[0]));
    f->ops[thread] += 2.0 * 64 * CHAINS * PEAK_STEPS * (double)(end - begin);
}

static double byte_products(lv_pool *pool, unsigned n_threads)
{
    floors f = { 0 };
    double ops = 0, best = 0;
    if (!(lv_cpu_detect() & LV_CPU_AVX512VNNI)) return 0;
    for (int round = 0; round < 5; round++) {
        memset(&f, 0, sizeof f);
        const uint64_t t0 = lv_clock_ns();
        lv_pool_run(pool, n_threads, 1, multiply_part, &f);
        const double s = (double)(lv_clock_ns() - t0) * 1e-9;
        for (unsigned i = 0, n = n_threads; i < n; i++) ops += f.ops[i];
        if (ops / s > best) best = ops / s;
        ops = 0;
    }
    return best;
}
#else
static double byte_products(lv_pool *pool, unsigned n_threads)
{
    (void)pool, (void)n_threads;
    return 0;
}
#endif

static int print_floors(unsigned n_threads)
{
    lv_pool *pool;
    lever_error err;
    if (lv_pool_open(&pool, n_threads, NULL, &err) < 0) return fprintf(stderr, "%s\n", err.msg), 1;
    printf("{\"byte_ops_per_s\": %.4g}\n", byte_products(pool, n_threads));
    lv_pool_close(&pool);
    return 0;
}

/* What a program without any cleverness gets: one read after the other into the same buffer. */
static int print_read(const char *path, double seconds, size_t block)
{
    const int fd = open(path, O_RDONLY | O_DIRECT);
    char *buffer = lv_map(block);
    if (fd < 0 || !buffer) return perror(path), 1;
    memset(buffer, 1, block);
    const off_t size = lseek(fd, 0, SEEK_END) / (off_t)block * (off_t)block;
    const uint64_t t0 = lv_clock_ns(), cpu0 = lv_clock_cpu_ns(), end = t0 + (uint64_t)(seconds * 1e9);
    uint64_t bytes = 0;
    for (off_t at = 0; lv_clock_ns() < end; at = (at + (off_t)block) % size) {
        if (pread(fd, buffer, block, at) != (ssize_t)block) return perror(path), 1;
        bytes += block;
    }
    const double passed = (double)(lv_clock_ns() - t0);
    printf("{\"bytes_per_s\": %.5g, \"cpu_share\": %.3f}\n", (double)bytes * 1e9 / passed,
           (double)(lv_clock_cpu_ns() - cpu0) / passed);
    lv_unmap(buffer, block);
    close(fd);
    return 0;
}

/* ---- sweeps ---- */

typedef struct rig {
    lv_model *m;
    lv_cpu *cpu;
    lv_io *io;
    lv_kv kv, empty; /* with the context; without */
    float *logits;
    uint64_t *read_data; /* [READ_BYTES] */
    uint64_t sum;        /* of what was read, so that the reads are not left out */
} rig;

typedef struct settings {
    const char *path;
    unsigned n_threads;
    int n_rounds, n_counts;
    uint32_t n_context, kv_type, max_rows, counts[MAX_COUNTS];
    size_t ring_bytes; /* 0: everything in memory */
} settings;

static int open_rig(rig *r, const settings *o, lever_error *err)
{
    const uint32_t n_ctx = o->n_context + o->max_rows, max_rows = o->max_rows;
    LEVER_TRY(lv_model_open(&r->m, o->path, err));
    const lv_cpu_config cc = { .n_threads = o->n_threads,
                               .cpu_flags = lv_cpu_detect(),
                               .max_rows = max_rows,
                               .max_k = lv_model_max_k(r->m),
                               .max_ctx = n_ctx,
                               .max_head_dim = lv_model_hparams(r->m)->head_dim };
    LEVER_TRY(lv_cpu_open(&r->cpu, &cc, err));
    LEVER_TRY(lv_kv_init(&r->kv, lv_model_hparams(r->m), o->kv_type, n_ctx, max_rows, err));
    LEVER_TRY(lv_kv_init(&r->empty, lv_model_hparams(r->m), o->kv_type, max_rows, max_rows, err));
    size_t n;
    lv_model_weight *w = lv_model_weights(r->m, &n);
    for (size_t i = 0; i < n; i++) w[i].resident = o->ring_bytes == 0 || w[i].layer < 0;
    lv_io_config ioc;
    lv_io_config_init(&ioc);
    LEVER_TRY(lv_io_open(&r->io, "auto", &ioc, err));
    const lv_model_load_config lc = { .cpu = r->cpu, .io = r->io, .max_rows = max_rows,
                                      .extent_bytes = 4 << 20, .ring_bytes = o->ring_bytes };
    LEVER_TRY(lv_model_load(r->m, &lc, err));
    r->logits = malloc(lv_model_hparams(r->m)->n_vocab * sizeof *r->logits);
    r->read_data = lv_map(READ_BYTES);
    if (!r->logits || !r->read_data) return lv_fail(err, LEVER_ENOMEM, 0, "buffers");
    memset(r->read_data, 1, READ_BYTES);
    return LEVER_OK;
}

static int sweep(rig *r, lv_kv *kv, uint32_t n, double *seconds, lever_error *err)
{
    lv_row *rows = calloc(n, sizeof *rows);
    if (!rows) return lv_fail(err, LEVER_ENOMEM, 0, "rows");
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (lv_row){ .token = (int32_t)(i % 97 + 3), .parent = (int32_t)i - 1 };
    lv_kv_truncate(kv, kv->n_committed); /* the rows of the sweep before */
    lv_batch b = { .rows = rows, .n_rows = n, .kv = &kv, .n_kv = 1 };
    const uint32_t last = n - 1;
    const uint64_t t0 = lv_clock_ns();
    int rc = lv_model_forward(r->m, &b, err);
    if (rc >= 0) rc = lv_model_project(r->m, &last, 1, r->logits, err);
    *seconds = (double)(lv_clock_ns() - t0) * 1e-9;
    free(rows);
    return rc;
}

/* Bytes per second of reading memory in order, every thread its part. */
static double read_speed(rig *r)
{
    floors f = { .data = r->read_data };
    const uint64_t t0 = lv_clock_ns();
    lv_cpu_run(r->cpu, READ_BYTES / 64, READ_BYTES / 64 / 64, read_part, &f);
    const double seconds = (double)(lv_clock_ns() - t0) * 1e-9;
    for (int i = 0; i < 64; i++) r->sum += f.sum[i];
    return READ_BYTES / seconds;
}

static int fill_context(rig *r, const settings *o, lever_error *err)
{
    static int32_t chain[1 << 16];
    double unused;
    for (uint32_t i = 0; i < o->max_rows; i++) chain[i] = (int32_t)i;
    while (r->kv.n_committed < o->n_context) {
        const uint32_t left = o->n_context - r->kv.n_committed, n = left < o->max_rows ? left : o->max_rows;
        LEVER_TRY(sweep(r, &r->kv, n, &unused, err));
        lv_kv_commit(&r->kv, chain, n);
    }
    return LEVER_OK;
}

static void print_seconds(const settings *o, double seconds[][MAX_ROUNDS])
{
    for (int i = 0; i < o->n_counts; i++) {
        printf("%s\"%" PRIu32 "\": [", i ? ", " : "", o->counts[i]);
        for (int round = 0; round < o->n_rounds; round++)
            printf("%s%.6f", round ? ", " : "", seconds[i][round]);
        printf("]");
    }
}

static int time_sweeps(rig *r, const settings *o, lever_error *err)
{
    static double seconds[MAX_COUNTS][MAX_ROUNDS], empty[MAX_COUNTS][MAX_ROUNDS], reads[MAX_ROUNDS];
    LEVER_TRY(open_rig(r, o, err));
    LEVER_TRY(fill_context(r, o, err));
    double warm;
    LEVER_TRY(sweep(r, &r->kv, 1, &warm, err));
    lv_model_stats before, after;
    lv_model_get_stats(r->m, &before);
    const uint64_t cpu0 = lv_clock_cpu_ns();
    for (int round = 0; round < o->n_rounds; round++) {
        if (!o->ring_bytes) reads[round] = read_speed(r);
        for (int i = 0; i < o->n_counts; i++) {
            LEVER_TRY(sweep(r, &r->kv, o->counts[i], &seconds[i][round], err));
            if (o->n_context) LEVER_TRY(sweep(r, &r->empty, o->counts[i], &empty[i][round], err));
        }
    }
    printf("{\"isa\": \"%s\", \"threads\": %u, \"rows\": {", lv_cpu_kernels(r->cpu)->isa, o->n_threads);
    print_seconds(o, seconds);
    if (o->n_context) {
        printf("}, \"empty\": {");
        print_seconds(o, empty);
    }
    printf("}, \"read_bytes_per_s\": [");
    for (int round = 0; round < o->n_rounds; round++) printf("%s%.4g", round ? ", " : "", reads[round]);
    lv_model_get_stats(r->m, &after);
    printf("], \"sum\": %" PRIu64 ", \"flash_bytes\": %" PRIu64 ", \"flash_wait_s\": %.6f, "
           "\"flash_idle_s\": %.6f, \"cpu_s\": %.6f}\n",
           r->sum, after.bytes_read - before.bytes_read, (double)(after.wait_ns - before.wait_ns) * 1e-9,
           (double)(after.idle_ns - before.idle_ns) * 1e-9, (double)(lv_clock_cpu_ns() - cpu0) * 1e-9);
    return LEVER_OK;
}

static bool read_settings(settings *o, int argc, char **argv)
{
    const bool stream = argc > 2 && !strcmp(argv[1], "--stream");
    const size_t ring_bytes = stream ? (size_t)atoi(argv[2]) << 20 : 0;
    if (stream) argc -= 2, argv += 2;
    if (argc < 7 || argc - 6 > MAX_COUNTS || (stream && !ring_bytes)) return false;
    *o = (settings){ .path = argv[1], .n_threads = (unsigned)atoi(argv[2]), .n_rounds = atoi(argv[3]),
                     .n_counts = argc - 6, .n_context = (uint32_t)atoi(argv[4]), .max_rows = 1,
                     .ring_bytes = ring_bytes,
                     .kv_type = strcmp(argv[5], "q8_0") ? LV_TYPE_F16 : LV_TYPE_Q8_0 };
    for (int i = 0; i < o->n_counts; i++) {
        o->counts[i] = (uint32_t)atoi(argv[6 + i]);
        if (o->counts[i] < 1 || o->counts[i] > 1 << 16) return false;
        if (o->counts[i] > o->max_rows) o->max_rows = o->counts[i];
    }
    return o->n_threads >= 1 && o->n_rounds >= 1 && o->n_rounds <= MAX_ROUNDS && o->n_context <= 1 << 24;
}

int main(int argc, char **argv)
{
    settings o;
    rig r = { 0 };
    lever_error err = { 0 };
    if (argc == 3 && !strcmp(argv[1], "--floors")) return print_floors((unsigned)atoi(argv[2]));
    if (argc == 5 && !strcmp(argv[1], "--read") && atoi(argv[4]) > 0)
        return print_read(argv[2], atof(argv[3]), (size_t)atoi(argv[4]) << 10);
    if (!read_settings(&o, argc, argv)) {
        fputs("usage: lever_sweep [--stream RING_MIB] MODEL.gguf THREADS ROUNDS CONTEXT KV ROWS...\n"
              "       lever_sweep --floors THREADS | --read FILE SECONDS BLOCK_KIB\n",
              stderr);
        return 2;
    }
    const int rc = time_sweeps(&r, &o, &err);
    if (rc < 0) fprintf(stderr, "lever_sweep: %s\n", err.msg);
    lv_model_close(&r.m);
    lv_io_close(&r.io);
    lv_cpu_close(&r.cpu);
    lv_kv_fini(&r.kv);
    lv_kv_fini(&r.empty);
    free(r.logits);
    lv_unmap(r.read_data, READ_BYTES);
    return rc < 0;
}
