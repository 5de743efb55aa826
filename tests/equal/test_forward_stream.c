/* Streamed weights give the bits resident ones do, on every backend, and after every kind of failure.
 * SPDX-License-Identifier: MIT */
#include "forward_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

#include "flash/sums_file.h"
#include "forward_models.h"

static int32_t tokens[RIG_TOKENS];
static float *want, *got;
static uint64_t want_kv;
static size_t current = N_MODELS;

enum { LOGIT_BYTES = RIG_TOKENS * MODEL_VOCAB * sizeof(float) };

static void use_truth(size_t model)
{
    if (model == current) return;
    free(want);
    rig_tokens(tokens, RIG_TOKENS, MODEL_VOCAB, 1);
    want = rig_truth(model_path(model), tokens, RIG_TOKENS, &want_kv);
    current = model;
}

static void expect_truth(size_t model, rig_config c, uint32_t chunk)
{
    rig r;
    lever_error e = { 0 };
    use_truth(model);
    c.path = model_path(model);
    memset(got, 0, LOGIT_BYTES);
    CHECK_OK(rig_open(&r, &c, &e), &e);
    if (r.n_vocab) CHECK_OK(rig_decode(&r, tokens, RIG_TOKENS, chunk, got, &e), &e);
    const bool same = !memcmp(want, got, LOGIT_BYTES) && rig_kv_sum(&r.kv) == want_kv;
    if (!same)
        fprintf(stderr, "%s: pin %d, %s, extents of %zu, ring +%zu, batches of %u\n", c.path, c.pin,
                c.backend ? c.backend : "pool", c.extent_bytes, c.extra_ring, chunk);
    CHECK(same);
    rig_close(&r);
}

static void streamed_equals_resident_at_every_budget(void)
{
    static const enum rig_pin pins[] = { PIN_NONE, PIN_ODD, PIN_HEAD, PIN_LAYERS };
    for (size_t i = 0; i < N_MODELS; i++)
        for (size_t p = 0; p < 4; p++) {
            expect_truth(i, (rig_config){ .pin = pins[p] }, 40);
            expect_truth(i, (rig_config){ .pin = pins[p], .extra_ring = 20000 }, 9);
        }
}

static void streamed_equals_resident_at_every_extent_and_ring(void)
{
    static const size_t extents[] = { 1, 1000, 10000, 1 << 20 };
    static const size_t rings[] = { 0, 4096, 1 << 22 };
    for (size_t x = 0; x < 4; x++)
        for (size_t k = 0; k < 3; k++)
            expect_truth(
                0, (rig_config){ .pin = PIN_NONE, .extent_bytes = extents[x], .extra_ring = rings[k] }, 17);
}

static void streamed_equals_resident_on_every_backend(void)
{
    static const char *backends[] = { "pool", "uring", "sim" };
    for (size_t b = 0; b < 3; b++)
        for (uint32_t depth = 1; depth <= 8; depth *= 8) {
            rig_config c = { .pin = PIN_NONE, .backend = backends[b], .extra_ring = 60000, .n_threads = 2 };
            lv_io_config_init(&c.io);
            c.io.depth = depth;
            c.io.sim_seed = depth; /* completions out of order */
            lv_io *probe = NULL;
            if (lv_io_open(&probe, backends[b], &c.io, NULL) == LEVER_EUNSUP) {
                printf("  %s: absent here\n", backends[b]);
                break;
            }
            lv_io_close(&probe);
            expect_truth(0, c, 13);
            expect_truth(2, c, 1);
        }
}

/* A head that streams is projected with once, twice or not at all per forward. */
static void streamed_head_serves_any_number_of_projections(void)
{
    static const enum rig_pin pins[] = { PIN_NONE, PIN_LAYERS };
    use_truth(0);
    for (size_t p = 0; p < 2; p++) {
        rig r;
        lever_error e = { 0 };
        CHECK_OK(rig_open(&r, &(rig_config){ .path = model_path(0), .pin = pins[p] }, &e), &e);
        CHECK(lv_model_head_streamed(r.m));
        for (uint32_t i = 0; i < RIG_TOKENS; i++) {
            CHECK_OK(rig_forward(&r, tokens + i, NULL, 1, &e), &e);
            for (uint32_t n = 0; n < i % 4; n++) {
                memset(got, 0, MODEL_VOCAB * sizeof *got);
                CHECK_OK(rig_project(&r, 1, got, &e), &e);
                CHECK(!memcmp(got, want + i * MODEL_VOCAB, MODEL_VOCAB * sizeof *got));
            }
            rig_commit_chain(&r, 1);
        }
        CHECK(rig_kv_sum(&r.kv) == want_kv);
        rig_close(&r);
    }
}

/* Fail the n-th read, once or from then on, for n = 0, 1, 2 ...: an error that names the file, no
 * scratch row left, and once reads work again the right bits. */
static void failed_reads_are_errors_and_the_model_recovers(void)
{
    use_truth(0);
    for (uint64_t n = 0; n < 90; n = n < 24 ? n + 1 : n + 11) {
        rig r;
        lever_error e = { 0 };
        rig_config c = { .path = model_path(0), .pin = PIN_NONE, .backend = "sim" };
        lv_io_config_init(&c.io);
        c.io.fault = (lv_read_fault){ .first = n, .count = 1, .os_errno = EIO };
        CHECK_OK(rig_open(&r, &c, &e), &e);
        uint32_t done = 0, failures = 0;
        while (done < 8 && failures < 8) {
            const int rc = rig_forward(&r, tokens + done, NULL, 1, &e);
            const int rc2 = rc == LEVER_OK ? rig_project(&r, 1, got + done * MODEL_VOCAB, &e) : rc;
            if (rc2 == LEVER_OK) {
                rig_commit_chain(&r, 1);
                done++;
                continue;
            }
            CHECK_EQ(rc2, LEVER_EIO);
            CHECK(strstr(e.msg, "llama.gguf") != NULL);
            CHECK_EQ(r.kv.n_scratch, rc == LEVER_OK);
            r.kv.n_scratch = 0;
            failures++;
        }
        CHECK_EQ(done, 8);
        CHECK(!memcmp(want, got, 8 * MODEL_VOCAB * sizeof *got));
        rig_close(&r);
    }
}

static void reads_that_keep_failing_keep_being_errors(void)
{
    use_truth(0);
    for (uint64_t n = 0; n < 60; n += 5) {
        rig r;
        lever_error e = { 0 };
        rig_config c = { .path = model_path(0), .pin = PIN_NONE, .backend = "sim" };
        lv_io_config_init(&c.io);
        c.io.fault = (lv_read_fault){ .first = n, .os_errno = EIO };
        const int rc = rig_open(&r, &c, &e);
        CHECK(rc == LEVER_OK || rc == LEVER_EIO);
        int last = LEVER_OK;
        for (uint32_t i = 0; rc == LEVER_OK && i < 6; i++) {
            last = rig_forward(&r, tokens, NULL, 1, &e);
            if (last == LEVER_OK) last = rig_project(&r, 1, got, &e);
            r.kv.n_scratch = 0;
        }
        CHECK(rc == LEVER_EIO || last == LEVER_EIO);
        rig_close(&r);
    }
}

/* ---- checked reads (on a temporary copy, whose sums may lie beside it) ---- */

enum { CHECKED = N_GOLDENS + 2 };

static void checked_reads_give_the_same_bits(void)
{
    static const enum rig_pin pins[] = { PIN_ALL, PIN_NONE, PIN_ODD, PIN_HEAD, PIN_LAYERS };
    lever_error e = { 0 };
    CHECK_OK(lv_sums_make(model_path(CHECKED), NULL, NULL, &e), &e);
    CHECK_OK(lv_sums_make(model_path(N_GOLDENS), NULL, NULL, &e), &e);
    for (size_t p = 0; p < 5; p++)
        expect_truth(CHECKED, (rig_config){ .pin = pins[p], .verify = true, .extra_ring = 9000 }, 9);
    expect_truth(N_GOLDENS, (rig_config){ .pin = PIN_ODD, .verify = true }, 40);
}

/* A wrong bit in the n-th read changes nothing but the number of reads; from there on it is an error. */
static void wrong_bits_on_the_way_never_reach_the_logits(void)
{
    for (long n = 0; n < 60; n += 3) {
        lever_error e = { 0 };
        rig_config c = { .path = model_path(CHECKED), .pin = PIN_NONE, .backend = "sim", .verify = true };
        lv_io_config_init(&c.io);
        c.io.fault = (lv_read_fault){ .first = (uint64_t)n, .count = 1, .flip = true };
        expect_truth(CHECKED, c, 17);
        rig r;
        c.io.fault.count = 0; /* and all later ones */
        const int rc = rig_open(&r, &c, &e);
        CHECK_OK(rc, &e);
        uint32_t done = 0;
        int last = LEVER_OK;
        for (uint32_t i = 0; i < 6 && last == LEVER_OK; i++) {
            last = rig_forward(&r, tokens + i, NULL, 1, &e);
            if (last == LEVER_OK) last = rig_project(&r, 1, got + i * MODEL_VOCAB, &e);
            if (last == LEVER_OK) rig_commit_chain(&r, 1), done++;
        }
        CHECK_EQ(last, LEVER_EIO);
        CHECK(strstr(e.msg, c.path) && strstr(e.msg, "differs from its checksum"));
        CHECK(!memcmp(want, got, done * MODEL_VOCAB * sizeof *got));
        rig_close(&r);
    }
}

static void flip_byte(const char *path, uint64_t off)
{
    uint8_t byte = 0;
    const int fd = open(path, O_RDWR);
    CHECK(fd >= 0 && pread(fd, &byte, 1, (off_t)off) == 1);
    byte ^= 64;
    CHECK_EQ(pwrite(fd, &byte, 1, (off_t)off), 1);
    close(fd);
}

/* One wrong byte in any tensor, resident or streamed: never a result. */
static void damage_is_an_error_wherever_it_lies(void)
{
    const char *path = model_path(CHECKED);
    static const enum rig_pin pins[] = { PIN_ALL, PIN_NONE };
    lever_error e = { 0 };
    lv_gguf *g;
    CHECK_OK(lv_gguf_open(&g, path, &e), &e);
    for (size_t i = 0; i < lv_gguf_n_tensors(g); i++) {
        const lv_gguf_tensor *t = lv_gguf_tensor_at(g, i);
        const bool embd = t->name.len == 17 && !memcmp(t->name.s, "token_embd.weight", 17); /* read by rows */
        const uint64_t row = embd ? (uint64_t)tokens[0] : t->dims[0] - 1;
        const uint64_t at = t->offset + t->bytes / t->dims[0] * row;
        flip_byte(path, at);
        for (size_t p = 0; p < 2; p++) {
            rig r;
            int rc = rig_open(&r, &(rig_config){ .path = path, .pin = pins[p], .verify = true }, &e);
            if (rc == LEVER_OK) rc = rig_forward(&r, tokens, NULL, 1, &e);
            if (rc == LEVER_OK) rc = rig_project(&r, 1, got, &e);
            CHECK_EQ(rc, LEVER_EIO);
            CHECK(strstr(e.msg, "differs from its checksum") != NULL);
            rig_close(&r);
        }
        flip_byte(path, at);
    }
    lv_gguf_close(&g);
}

static void *cancel_soon(void *flag)
{
    nanosleep(&(struct timespec){ .tv_nsec = 3000000 }, NULL);
    atomic_store((atomic_bool *)flag, true);
    return NULL;
}

/* Reads take 1 ms each and a sweep has more than 20 of them, so the flag set after 3 ms falls into it. */
static void canceled_sweeps_leave_no_trace(void)
{
    use_truth(0);
    rig r;
    lever_error e = { 0 };
    rig_config c = { .path = model_path(0), .pin = PIN_NONE, .backend = "sim" };
    lv_io_config_init(&c.io);
    c.io.depth = 1;
    c.io.model.latency_ns = 1000000;
    CHECK_OK(rig_open(&r, &c, &e), &e);
    lv_kv *kv = &r.kv;
    for (uint32_t i = 0; i < 3; i++) {
        atomic_bool flag = false;
        lv_row row = { .token = tokens[i], .parent = -1 };
        lv_batch b = { .rows = &row, .n_rows = 1, .kv = &kv, .n_kv = 1, .cancel = &flag };
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, cancel_soon, &flag), 0);
        CHECK_EQ(lv_model_forward(r.m, &b, &e), LEVER_ECANCEL);
        pthread_join(thread, NULL);
        CHECK_EQ(kv->n_scratch, 0);
        CHECK_EQ(lv_model_project(r.m, &(uint32_t){ 0 }, 1, got, &e), LEVER_EINVAL);
        atomic_store(&flag, false);
        CHECK_OK(lv_model_forward(r.m, &b, &e), &e);
        atomic_store(&flag, true);
        CHECK_EQ(rig_project(&r, 1, got, &e), LEVER_ECANCEL);
        atomic_store(&flag, false);
        CHECK_OK(rig_project(&r, 1, got, &e), &e);
        CHECK(!memcmp(got, want + i * MODEL_VOCAB, MODEL_VOCAB * sizeof *got));
        rig_commit_chain(&r, 1);
    }
    rig_close(&r);
}

static void a_file_that_changes_is_an_error(void)
{
    lever_error e = { 0 };
    const char *path = model_path(N_GOLDENS + 2); /* a temporary copy */
    rig r;
    CHECK_OK(rig_open(&r, &(rig_config){ .path = path, .pin = PIN_ODD }, &e), &e);
    CHECK_OK(rig_forward(&r, tokens, NULL, 2, &e), &e);
    CHECK_EQ(utimensat(AT_FDCWD, path, (struct timespec[2]){ { .tv_sec = 1 }, { .tv_sec = 1 } }, 0), 0);
    CHECK_EQ(rig_forward(&r, tokens, NULL, 2, &e), LEVER_EIO);
    CHECK_EQ(r.kv.n_scratch, 2);
    rig_close(&r);
}

static void a_ring_below_the_minimum_is_refused(void)
{
    lever_error e = { 0 };
    lv_model *m = NULL;
    lv_cpu *cpu = NULL;
    lv_io *io = NULL;
    lv_io_config ioc;
    lv_io_config_init(&ioc);
    CHECK_OK(lv_model_open(&m, model_path(0), &e), &e);
    const lv_cpu_config cc = { .n_threads = 1, .max_rows = 1, .max_k = lv_model_max_k(m), .max_ctx = 8,
                               .max_head_dim = 128 };
    CHECK_OK(lv_cpu_open(&cpu, &cc, &e), &e);
    CHECK_OK(lv_io_open(&io, "pool", &ioc, &e), &e);
    const size_t least = lv_model_min_ring(m, 4096);
    CHECK(least > 0);
    lv_model_load_config lc = {
        .cpu = cpu, .io = io, .max_rows = 1, .extent_bytes = 4096, .ring_bytes = least - 1
    };
    CHECK_EQ(lv_model_load(m, &lc, &e), LEVER_EINVAL);
    CHECK(strstr(e.msg, "ring") != NULL);
    CHECK_EQ(lv_model_load(m, &lc, &e), LEVER_EINVAL); /* half loaded: only good for closing */
    lv_model_close(&m);
    CHECK(m == NULL);
    CHECK_OK(lv_model_open(&m, model_path(0), &e), &e);
    lc.io = NULL;
    lc.ring_bytes = least;
    CHECK_EQ(lv_model_load(m, &lc, &e), LEVER_EINVAL);
    lv_model_close(&m);
    lv_io_close(&io);
    lv_cpu_close(&cpu);
}

static void loading_survives_every_failed_allocation(void)
{
    const size_t live = lv_alloc_live();
    for (long n = 0;; n++) {
        rig r;
        lever_error e = { 0 };
        lv_alloc_fault(n, false);
        const int rc =
            rig_open(&r, &(rig_config){ .path = model_path(0), .pin = PIN_ODD, .backend = "sim" }, &e);
        const bool fired = lv_alloc_fault_fired();
        lv_alloc_fault(-1, false);
        CHECK(fired ? rc < 0 : rc == LEVER_OK);
        rig_close(&r);
        CHECK_EQ(lv_alloc_live(), live);
        if (!fired) break;
    }
}

int main(void)
{
    const size_t live = lv_alloc_live();
    make_models();
    got = malloc(LOGIT_BYTES);
    RUN(streamed_equals_resident_at_every_budget);
    RUN(streamed_equals_resident_at_every_extent_and_ring);
    RUN(streamed_equals_resident_on_every_backend);
    RUN(streamed_head_serves_any_number_of_projections);
    RUN(failed_reads_are_errors_and_the_model_recovers);
    RUN(reads_that_keep_failing_keep_being_errors);
    RUN(checked_reads_give_the_same_bits);
    RUN(wrong_bits_on_the_way_never_reach_the_logits);
    RUN(damage_is_an_error_wherever_it_lies);
    RUN(canceled_sweeps_leave_no_trace);
    RUN(a_file_that_changes_is_an_error);
    RUN(a_ring_below_the_minimum_is_refused);
    RUN(loading_survives_every_failed_allocation);
    remove_models();
    free(want);
    free(got);
    CHECK_EQ(lv_alloc_live(), live);
    return check_done();
}
