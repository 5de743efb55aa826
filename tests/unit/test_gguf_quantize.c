/* SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <errno.h>
#include <math.h>
#include <unistd.h>

#include "base/mem.h"
#include "gguf/gguf.h"
#include "gguf/gguf_quantize.h"

static char dir[] = "/tmp/lever_test_gguf_quantize_XXXXXX";
static char in[64], out[64], part[64];

enum { ROWS = 3, COLS = 64 * 1024 + 256, SHORT = 33 }; /* rows longer than a step of the converter */
static float big[ROWS * COLS], norm[COLS], odd[2 * SHORT];

static void fill(float *x, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)((int32_t)seed >> 8) / 8388608.0f;
    }
}

/* A model's worth of shapes: a matrix, a norm, a matrix of odd width, a bias with two dimensions. */
static void write_input(uint32_t type)
{
    const lv_type_traits *t = lv_type_traits_get(type);
    const uint64_t matrix[] = { ROWS, COLS }, vec[] = { COLS }, short_rows[] = { 2, SHORT };
    lv_gguf_writer *w;
    lever_error e = { 0 };
    uint8_t *q = malloc(sizeof big);
    fill(big, ROWS * COLS, 1), fill(norm, COLS, 2), fill(odd, 2 * SHORT, 3);
    CHECK_OK(lv_gguf_writer_open(&w, in, &e), &e);
    CHECK_OK(lv_gguf_put_str(w, "general.name", "test", 4, &e), &e);
    CHECK_OK(lv_gguf_put_u32(w, "general.file_type", 99, &e), &e);
    CHECK_OK(lv_gguf_put_tensor(w, "big.weight", type, 2, matrix, &e), &e);
    CHECK_OK(lv_gguf_put_tensor(w, "norm.weight", LV_TYPE_F32, 1, vec, &e), &e);
    CHECK_OK(lv_gguf_put_tensor(w, "odd.weight", LV_TYPE_F32, 2, short_rows, &e), &e);
    CHECK_OK(lv_gguf_put_tensor(w, "table.bias", LV_TYPE_F32, 2, matrix, &e), &e);
    t->quantize(q, big, ROWS * COLS);
    CHECK_OK(lv_gguf_write_data(w, q, lv_type_row_bytes(type, COLS) * ROWS, &e), &e);
    CHECK_OK(lv_gguf_write_data(w, norm, sizeof norm, &e), &e);
    CHECK_OK(lv_gguf_write_data(w, odd, sizeof odd, &e), &e);
    CHECK_OK(lv_gguf_write_data(w, big, sizeof big, &e), &e);
    CHECK_OK(lv_gguf_writer_finish(w, &e), &e);
    lv_gguf_writer_close(&w);
    free(q);
}

/* One tensor of 32 floats, with whatever bytes. */
static void write_single(const char *name, uint32_t type, const void *bytes)
{
    const uint64_t dims[] = { 1, 32 };
    lv_gguf_writer *w;
    lever_error e = { 0 };
    CHECK_OK(lv_gguf_writer_open(&w, in, &e), &e);
    CHECK_OK(lv_gguf_put_tensor(w, name, type, 2, dims, &e), &e);
    CHECK_OK(lv_gguf_write_data(w, bytes, lv_type_row_bytes(type, 32), &e), &e);
    CHECK_OK(lv_gguf_writer_finish(w, &e), &e);
    lv_gguf_writer_close(&w);
}

static void *tensor_bytes(const lv_gguf *g, const char *path, const char *name)
{
    const lv_gguf_tensor *t = lv_gguf_find_tensor(g, name);
    FILE *f = fopen(path, "rb");
    void *bytes = t ? malloc((size_t)t->bytes) : NULL;
    if (!f || !bytes || fseek(f, (long)t->offset, SEEK_SET) || fread(bytes, 1, t->bytes, f) != t->bytes) {
        fprintf(stderr, "%s: no tensor %s\n", path, name);
        exit(1);
    }
    fclose(f);
    return bytes;
}

static uint64_t last_done, last_total, n_calls;
static void progress(void *user, uint64_t done, uint64_t total)
{
    CHECK(user == &last_done && done >= last_done && done <= total);
    last_done = done, last_total = total;
    n_calls++;
}

static void matrices_are_converted_and_the_rest_is_copied(void)
{
    const uint32_t types[] = { LV_TYPE_Q8_0, LV_TYPE_Q4_0, LV_TYPE_BF16, LV_TYPE_Q3_K, LV_TYPE_MXFP4 };
    for (int k = 0; k < 5; k++) {
        const lv_type_traits *t = lv_type_traits_get(types[k]);
        lv_gguf_quantize_result r;
        lever_error e = { 0 };
        lv_gguf *g;
        write_input(LV_TYPE_F32);
        last_done = n_calls = 0;
        CHECK_OK(lv_gguf_quantize(in, out, types[k], &r, progress, &last_done, &e), &e);
        CHECK(n_calls > 4 && last_done == last_total && last_total == r.bytes_in);
        const bool blocks = t->block_len > 1;
        CHECK_EQ(r.n_converted, blocks ? 1 : 2);
        CHECK_EQ(r.n_kept, 2);
        CHECK_EQ(r.n_kept_partial, blocks);
        CHECK_OK(lv_gguf_open(&g, out, &e), &e);
        if (!g) return;
        uint32_t file_type = 0;
        const uint32_t want_type[] = { 7, 2, 32, 12, 38 };
        CHECK_EQ(lv_gguf_get_u32(g, "general.file_type", &file_type, &e), 1);
        CHECK_EQ(file_type, want_type[k]);
        CHECK(lv_gguf_find(g, "general.name") != NULL);
        CHECK_EQ(lv_gguf_find_tensor(g, "big.weight")->type, types[k]);
        CHECK_EQ(lv_gguf_find_tensor(g, "norm.weight")->type, LV_TYPE_F32);
        uint8_t *want = calloc(1, sizeof big), *got = tensor_bytes(g, out, "big.weight");
        t->quantize(want, big, ROWS * COLS);
        CHECK(!memcmp(got, want, lv_type_row_bytes(types[k], COLS) * ROWS));
        free(got);
        got = tensor_bytes(g, out, "norm.weight");
        CHECK(!memcmp(got, norm, sizeof norm));
        free(got);
        got = tensor_bytes(g, out, "table.bias");
        CHECK(!memcmp(got, big, sizeof big));
        free(got);
        free(want);
        lv_gguf_close(&g);
    }
}

static void q8_0_to_f32_and_back_is_the_same_file_data(void)
{
    lever_error e = { 0 };
    lv_gguf *a, *b;
    char again[80];
    snprintf(again, sizeof again, "%s.2", out);
    write_input(LV_TYPE_Q8_0);
    CHECK_OK(lv_gguf_quantize(in, out, LV_TYPE_F32, NULL, NULL, NULL, &e), &e);
    CHECK_OK(lv_gguf_quantize(out, again, LV_TYPE_Q8_0, NULL, NULL, NULL, &e), &e);
    CHECK_OK(lv_gguf_open(&a, in, &e), &e);
    CHECK_OK(lv_gguf_open(&b, again, &e), &e);
    int8_t *x = tensor_bytes(a, in, "big.weight"), *y = tensor_bytes(b, again, "big.weight");
    /* The f16 scale is rounded twice, so single codes may move by one; nothing more. */
    for (size_t i = 0; i < ROWS * COLS / 32 * 34; i++)
        if (i % 34 > 1 && abs(x[i] - y[i]) > 1) CHECK_EQ(x[i], y[i]);
    free(x);
    free(y);
    lv_gguf_close(&a);
    lv_gguf_close(&b);
    unlink(again);
}

static void unknown_types_are_refused(void)
{
    const float x[32] = { 1 };
    lever_error e = { 0 };
    write_single("blk.0.x.weight", LV_TYPE_F32, x);
    unlink(out);
    CHECK_EQ(lv_gguf_quantize(in, out, 77, NULL, NULL, NULL, &e), LEVER_EUNSUP);
    CHECK(strstr(e.msg, "can not write type"));
    CHECK(access(out, F_OK) && access(part, F_OK));
}

static void weights_that_are_not_finite_are_refused(void)
{
    const struct { float v; uint32_t type; const char *says; } bad[] = {
        { NAN, LV_TYPE_Q8_0, "weight 5 is not a finite number" },
        { -INFINITY, LV_TYPE_F16, "weight 5 is not a finite number" },
        { 1e6f, LV_TYPE_F16, "weight 5 does not fit the new type" },
        { 1e30f, LV_TYPE_Q4_0, "does not fit the new type" },
        { 1e9f, LV_TYPE_IQ4_NL, "does not fit the new type" },
    };
    lever_error e = { 0 };
    for (int i = 0; i < 5; i++) {
        float x[32] = { 0 };
        x[5] = bad[i].v;
        write_single("w.weight", LV_TYPE_F32, x);
        CHECK_EQ(lv_gguf_quantize(in, out, bad[i].type, NULL, NULL, NULL, &e), LEVER_EFORMAT);
        CHECK(strstr(e.msg, "'w.weight'") && strstr(e.msg, bad[i].says));
        CHECK(access(out, F_OK) && access(part, F_OK));
    }
}

static void the_input_is_never_overwritten(void)
{
    const float x[32] = { 1 };
    lever_error e = { 0 };
    write_single("w.weight", LV_TYPE_F32, x);
    CHECK_EQ(lv_gguf_quantize(in, in, LV_TYPE_Q8_0, NULL, NULL, NULL, &e), LEVER_EINVAL);
    CHECK(!link(in, out));
    CHECK_EQ(lv_gguf_quantize(in, out, LV_TYPE_Q8_0, NULL, NULL, NULL, &e), LEVER_EINVAL);
    unlink(out);
    CHECK(!symlink(in, part));
    CHECK_EQ(lv_gguf_quantize(in, out, LV_TYPE_Q8_0, NULL, NULL, NULL, &e), LEVER_EINVAL);
    CHECK(strstr(e.msg, "would overwrite the input"));
    unlink(part);
    CHECK_OK(lv_gguf_quantize(in, out, LV_TYPE_Q8_0, NULL, NULL, NULL, &e), &e);
    unlink(out);
}

static void bad_paths_and_a_full_disk_are_reported(void)
{
    lever_error e = { 0 };
    write_input(LV_TYPE_F32);
    CHECK_EQ(lv_gguf_quantize("/nonexistent.gguf", out, LV_TYPE_Q8_0, NULL, NULL, NULL, &e), LEVER_EIO);
    CHECK(strstr(e.msg, "/nonexistent.gguf"));
    CHECK_EQ(lv_gguf_quantize(in, "/nonexistent/x.gguf", LV_TYPE_Q8_0, NULL, NULL, NULL, &e), LEVER_EIO);
    if (access("/dev/full", F_OK)) return;
    CHECK(!symlink("/dev/full", part));
    CHECK_EQ(lv_gguf_quantize(in, out, LV_TYPE_Q8_0, NULL, NULL, NULL, &e), LEVER_EIO);
    CHECK(e.os_errno == ENOSPC && strstr(e.msg, part));
    CHECK(access(out, F_OK) && access(part, F_OK));
}

static void cut_input(void *user, uint64_t done, uint64_t total)
{
    (void)user, (void)done, (void)total;
    CHECK(!truncate(in, 4096));
}

static void an_input_that_shrinks_meanwhile_is_reported(void)
{
    lever_error e = { 0 };
    write_input(LV_TYPE_F32);
    CHECK_EQ(lv_gguf_quantize(in, out, LV_TYPE_Q8_0, NULL, cut_input, NULL, &e), LEVER_EIO);
    CHECK(strstr(e.msg, in) && strstr(e.msg, "it shrank while being read"));
    CHECK(access(out, F_OK) && access(part, F_OK));
}

static void a_name_that_would_be_cut_is_refused(void)
{
    const float x[32] = { 1 };
    lever_error e = { 0 };
    write_single("a.weight", LV_TYPE_F32, x);
    FILE *f = fopen(in, "r+b"); /* header 24 bytes, length 8, then the name */
    CHECK(f && !fseek(f, 33, SEEK_SET) && fputc(0, f) == 0 && !fclose(f));
    CHECK_EQ(lv_gguf_quantize(in, out, LV_TYPE_Q8_0, NULL, NULL, NULL, &e), LEVER_EFORMAT);
    CHECK(strstr(e.msg, "'a?weight'"));
}

static void each_failing_allocation_is_reported_and_leaves_nothing(void)
{
    const float x[32] = { 1 };
    const size_t live = lv_alloc_live();
    write_single("w.weight", LV_TYPE_F32, x);
    for (int persistent = 0; persistent < 2; persistent++) {
        for (long n = 0;; n++) {
            lever_error e = { 0 };
            lv_alloc_fault(n, persistent);
            const int rc = lv_gguf_quantize(in, out, LV_TYPE_Q8_0, NULL, NULL, NULL, &e);
            const bool fired = lv_alloc_fault_fired();
            lv_alloc_fault(-1, false);
            CHECK_EQ(rc, fired ? LEVER_ENOMEM : LEVER_OK);
            CHECK_EQ(lv_alloc_live(), live);
            CHECK_EQ(access(out, F_OK) == 0, !fired);
            CHECK(access(part, F_OK));
            unlink(out);
            if (!fired) break;
        }
    }
}

int main(void)
{
    if (!mkdtemp(dir)) SKIP("no temporary directory can be made");
    snprintf(in, sizeof in, "%s/in.gguf", dir);
    snprintf(out, sizeof out, "%s/out.gguf", dir);
    snprintf(part, sizeof part, "%s/out.gguf.part", dir);
    RUN(matrices_are_converted_and_the_rest_is_copied);
    RUN(q8_0_to_f32_and_back_is_the_same_file_data);
    RUN(unknown_types_are_refused);
    RUN(weights_that_are_not_finite_are_refused);
    RUN(the_input_is_never_overwritten);
    RUN(bad_paths_and_a_full_disk_are_reported);
    RUN(an_input_that_shrinks_meanwhile_is_reported);
    RUN(a_name_that_would_be_cut_is_refused);
    RUN(each_failing_allocation_is_reported_and_leaves_nothing);
    unlink(in);
    CHECK_EQ(rmdir(dir), 0);
    return check_done();
}
