/* SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <unistd.h>

#include "base/mem.h"
#include "fuzz/gguf_cases.h"
#include "gguf/gguf.h"

/* The bytes of a case; valid until the next call. */
static gc_file *build(const gc_case *c)
{
    static gc_file f;
    f.n = 0;
    c->build(&f);
    return &f;
}

static gc_file *built(const char *name)
{
    for (size_t i = 0; i < gc_n_cases; i++)
        if (!strcmp(gc_cases[i].name, name)) return build(&gc_cases[i]);
    fprintf(stderr, "no case %s\n", name);
    exit(1);
}

static lv_gguf *parsed(const gc_file *f)
{
    lv_gguf *g;
    lever_error e = { 0 };
    CHECK_OK(lv_gguf_parse(&g, f->bytes, f->n, f->n, &e), &e);
    if (!g) exit(1);
    return g;
}

static void each_rule_is_answered_with_its_code_and_message(void)
{
    const size_t live = lv_alloc_live();
    for (size_t i = 0; i < gc_n_cases; i++) {
        const gc_case *c = &gc_cases[i];
        const gc_file *f = build(c);
        lv_gguf *g;
        lever_error e = { 0 };
        const int rc = lv_gguf_parse(&g, f->bytes, f->n, f->n, &e);
        if (rc != c->code || (rc < 0 && (e.code != rc || !strstr(e.msg, c->says)))) {
            fprintf(stderr, "%s: code %d (expected %d): %s\n", c->name, rc, c->code, e.msg);
            check_failures++;
        }
        CHECK_EQ(g != NULL, rc == LEVER_OK);
        lv_gguf_close(&g);
        CHECK_EQ(lv_gguf_parse(&g, f->bytes, f->n, f->n, NULL), rc); /* no error struct wanted */
        lv_gguf_close(&g);
    }
    CHECK_EQ(lv_alloc_live(), live);
}

/* The fuzzer starts from the committed files, so they must be today's cases. */
static void the_committed_corpus_is_up_to_date(void)
{
    for (size_t i = 0; i < gc_n_cases; i++) {
        char path[256];
        uint8_t bytes[GC_MAX + 1];
        const gc_file *f = build(&gc_cases[i]);
        snprintf(path, sizeof path, "tests/fuzz/corpus/gguf/%s.gguf", gc_cases[i].name);
        FILE *in = fopen(path, "rb");
        if (!in || fread(bytes, 1, sizeof bytes, in) != f->n || memcmp(bytes, f->bytes, f->n)) {
            fprintf(stderr, "%s: run make_gguf_corpus tests/fuzz/corpus/gguf\n", path);
            check_failures++;
        }
        if (in) fclose(in);
    }
}

/* Any cut of a good file: malformed when the file ends there, "read more" when only the memory does. */
static void a_prefix_is_truncated_or_asks_for_more(void)
{
    const gc_file *f = built("ok_v3");
    lv_gguf *g = parsed(f);
    const size_t data = (size_t)lv_gguf_data_offset(g);
    lv_gguf_close(&g);
    size_t enough = 0;
    for (size_t n = 0; n < f->n; n++) {
        lever_error e = { 0 };
        uint8_t *exact = malloc(n + !n); /* its own block, so that sanitizers see an overread */
        memcpy(exact, f->bytes, n);
        CHECK_EQ(lv_gguf_parse(&g, exact, n, n, &e), LEVER_EFORMAT);
        CHECK(!g);
        const int rc = lv_gguf_parse(&g, exact, n, f->n, &e);
        CHECK(rc == LEVER_EAGAIN || rc == LEVER_OK);
        if (rc == LEVER_OK && !enough) enough = n;
        if (enough) CHECK_EQ(rc, LEVER_OK);
        lv_gguf_close(&g);
        free(exact);
    }
    CHECK(enough > 0 && enough <= data && data - enough < 32);
    CHECK_EQ(lv_gguf_parse(&g, f->bytes, f->n, f->n - 1, NULL), LEVER_EINVAL);
}

static void tables_list_what_the_file_holds(void)
{
    const char *names[] = { "ok_v2", "ok_v3" };
    for (uint32_t v = 0; v < 2; v++) {
        const gc_file *f = built(names[v]);
        lv_gguf *g = parsed(f);
        CHECK_EQ(lv_gguf_version(g), v + 2);
        CHECK_EQ(lv_gguf_n_kv(g), 15);
        CHECK_EQ(lv_gguf_n_tensors(g), 2);
        CHECK(!strncmp(lv_gguf_kv_at(g, 8)->key.s, "str", 3));
        CHECK(lv_gguf_memory_bytes(g) > 15 * sizeof(lv_gguf_kv));
        CHECK(!lv_gguf_find(g, "absent") && !lv_gguf_find(g, "") && !lv_gguf_find_tensor(g, "str"));
        for (size_t i = 0; i < 15; i++) {
            char key[32] = { 0 };
            memcpy(key, lv_gguf_kv_at(g, i)->key.s, lv_gguf_kv_at(g, i)->key.len);
            CHECK(lv_gguf_find(g, key) == lv_gguf_kv_at(g, i));
        }
        const lv_gguf_tensor *a = lv_gguf_find_tensor(g, "a.weight"), *b = lv_gguf_find_tensor(g, "b.weight");
        CHECK(a == lv_gguf_tensor_at(g, 0) && b == lv_gguf_tensor_at(g, 1));
        CHECK_EQ(a->n_dims, 2);
        CHECK_EQ(a->dims[0], 3); /* rows: the file has 2, 3 */
        CHECK_EQ(a->dims[1], 2);
        CHECK_EQ(a->dims[2], 1);
        CHECK_EQ(a->bytes, 24);
        CHECK_EQ(a->offset, lv_gguf_data_offset(g));
        CHECK_EQ(b->type, LV_TYPE_Q8_0);
        CHECK_EQ(b->bytes, 34);
        CHECK_EQ(b->offset, lv_gguf_data_offset(g) + 32);
        lv_gguf_close(&g);
        CHECK(!g);
        lv_gguf_close(&g);
    }
}

static void strings_are_found_by_index(void)
{
    const gc_file *f = built("ok_v3");
    lv_gguf *g = parsed(f);
    const lv_gguf_kv *kv = lv_gguf_find(g, "strs");
    CHECK_EQ(kv->n, 3);
    CHECK_EQ(kv->elem_type, LV_GGUF_STRING);
    const char *want[] = { "a", "", "ccc" };
    for (uint64_t i = 0; i < 3; i++) {
        const lv_str s = lv_gguf_str(g, kv, i);
        CHECK(s.len == strlen(want[i]) && !memcmp(s.s, want[i], s.len));
    }
    CHECK_EQ(lv_gguf_find(g, "none")->n, 0);
    const lv_str s = lv_gguf_str(g, lv_gguf_find(g, "str"), 0);
    CHECK(s.len == 4 && !memcmp(s.s, "text", 4));
    lv_gguf_close(&g);
}

static void dimensions_are_turned_slowest_first(void)
{
    const gc_file *f = built("ok_four_dims");
    lv_gguf *g = parsed(f);
    const uint64_t *d = lv_gguf_tensor_at(g, 0)->dims;
    CHECK(d[0] == 5 && d[1] == 4 && d[2] == 3 && d[3] == 2);
    lv_gguf_close(&g);
}

static void alignment_key_moves_the_data(void)
{
    const gc_file *f = built("ok_align_64");
    lv_gguf *g = parsed(f);
    CHECK_EQ(lv_gguf_data_offset(g) % 64, 0);
    CHECK_EQ(lv_gguf_tensor_at(g, 0)->offset, lv_gguf_data_offset(g) + 64);
    lv_gguf_close(&g);
}

static void typed_getters_convert_or_name_the_key(void)
{
    const gc_file *f = built("ok_v3");
    lv_gguf *g = parsed(f);
    lever_error e;
    uint32_t u = 1;
    uint64_t w = 1;
    float x = 1;
    bool b = false;
    lv_str s = { NULL, 0 };
    const struct { const char *key; uint64_t want; } ints[] = {
        { "u8", 200 }, { "u16", 0x1234 }, { "u32", 70000 }, { "i32", 7 },
    };
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQ(lv_gguf_get_u32(g, ints[i].key, &u, &e), 1);
        CHECK_EQ(u, ints[i].want);
        CHECK_EQ(lv_gguf_get_u64(g, ints[i].key, &w, &e), 1);
        CHECK_EQ(w, ints[i].want);
    }
    CHECK_EQ(lv_gguf_get_u64(g, "u64", &w, &e), 1);
    CHECK_EQ(w, 1ll << 40);
    CHECK_EQ(lv_gguf_get_f32(g, "f32", &x, &e), 1);
    CHECK(x == 1.5f);
    CHECK_EQ(lv_gguf_get_f32(g, "f64", &x, &e), 1);
    CHECK(x == 0.5f);
    CHECK_EQ(lv_gguf_get_bool(g, "bool", &b, &e), 1);
    CHECK(b);
    CHECK_EQ(lv_gguf_get_str(g, "str", &s, &e), 1);
    CHECK(s.len == 4 && !memcmp(s.s, "text", 4));

    u = 42;
    CHECK_EQ(lv_gguf_get_u32(g, "absent", &u, &e), 0);
    CHECK_EQ(lv_gguf_get_u32(g, "u64", &u, &e), LEVER_EFORMAT);
    CHECK(strstr(e.msg, "'u64'") && strstr(e.msg, "1099511627776"));
    const char *negative[] = { "i8", "i16", "i64" };
    for (size_t i = 0; i < 3; i++) CHECK_EQ(lv_gguf_get_u64(g, negative[i], &w, &e), LEVER_EFORMAT);
    CHECK(strstr(e.msg, "'i64' is negative"));
    CHECK_EQ(lv_gguf_get_u32(g, "f32", &u, &e), LEVER_EFORMAT);
    CHECK_STR(e.msg, "key 'f32' is of type f32, expected an integer");
    CHECK_EQ(lv_gguf_get_u32(g, "bool", &u, &e), LEVER_EFORMAT);
    CHECK_EQ(lv_gguf_get_u32(g, "nums", &u, NULL), LEVER_EFORMAT);
    CHECK_EQ(lv_gguf_get_f32(g, "u32", &x, &e), LEVER_EFORMAT);
    CHECK_EQ(lv_gguf_get_bool(g, "u8", &b, &e), LEVER_EFORMAT);
    CHECK_EQ(lv_gguf_get_str(g, "strs", &s, &e), LEVER_EFORMAT);
    CHECK_EQ(u, 42);
    lv_gguf_close(&g);
}

static void a_double_that_no_float_can_hold_is_refused(void)
{
    gc_file *f = built("ok_v3");
    lv_gguf *g = parsed(f);
    const double huge[] = { 1e300, -1e300 };
    const size_t at = (size_t)((const uint8_t *)lv_gguf_find(g, "f64")->data - f->bytes);
    for (int i = 0; i < 2; i++) {
        float x = 1;
        lever_error e;
        memcpy(f->bytes + at, &huge[i], sizeof *huge); /* g borrows f->bytes */
        CHECK_EQ(lv_gguf_get_f32(g, "f64", &x, &e), LEVER_EFORMAT);
        CHECK(strstr(e.msg, "'f64'") && x == 1);
    }
    lv_gguf_close(&g);
}

static void hostile_names_can_not_break_the_message(void)
{
    static gc_file f;
    const uint64_t counts[2] = { 0, 1 }, len = 300;
    memcpy(f.bytes, "GGUF\3\0\0\0", 8);
    memcpy(f.bytes + 8, counts, 16);
    memcpy(f.bytes + 24, &len, 8);
    memset(f.bytes + 32, 0x1b, 300);
    memset(f.bytes + 332, 0xff, 4);
    f.n = 400;
    lv_gguf *g;
    lever_error e;
    CHECK_EQ(lv_gguf_parse(&g, f.bytes, f.n, f.n, &e), LEVER_EFORMAT);
    CHECK(strstr(e.msg, "'????") && strstr(e.msg, "?...' at byte 24"));
    for (const char *c = e.msg; *c; c++) CHECK(*c >= ' ' && *c <= '~');
}

static void each_failing_allocation_is_reported_and_leaks_nothing(void)
{
    const gc_file *f = built("ok_v3");
    const size_t live = lv_alloc_live();
    for (int persistent = 0; persistent < 2; persistent++) {
        for (long n = 0;; n++) {
            lv_gguf *g;
            lever_error e = { 0 };
            lv_alloc_fault(n, persistent);
            const int rc = lv_gguf_parse(&g, f->bytes, f->n, f->n, &e);
            const bool fired = lv_alloc_fault_fired();
            lv_alloc_fault(-1, false);
            CHECK_EQ(rc, fired ? LEVER_ENOMEM : LEVER_OK);
            CHECK_EQ(g != NULL, !fired);
            lv_gguf_close(&g);
            CHECK_EQ(lv_alloc_live(), live);
            if (!fired) break;
            CHECK_EQ(e.code, LEVER_ENOMEM);
            CHECK(n < 100);
        }
    }
}

/* ---- from a path ---- */

static void file_at(const char *path, const void *bytes, size_t n, long size)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) || (size >= 0 && truncate(path, size) < 0)) exit(1);
}

static void open_names_the_path_and_leaks_nothing(void)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/lever_test_gguf_%ld.gguf", (long)getpid());
    const size_t live = lv_alloc_live();
    lv_gguf *g;
    lever_error e = { 0 };
    for (size_t i = 0; i < gc_n_cases; i++) {
        const gc_file *f = build(&gc_cases[i]);
        file_at(path, f->bytes, f->n, -1);
        CHECK_EQ(lv_gguf_open(&g, path, &e), gc_cases[i].code);
        if (!g) CHECK(!strncmp(e.msg, path, strlen(path)));
        lv_gguf_close(&g);
    }
    file_at(path, "", 0, -1);
    CHECK_EQ(lv_gguf_open(&g, path, &e), LEVER_EFORMAT);
    unlink(path);
    CHECK_EQ(lv_gguf_open(&g, path, &e), LEVER_EIO);
    CHECK(strstr(e.msg, path) && e.os_errno);
    CHECK_EQ(lv_gguf_open(&g, "/", &e), LEVER_EIO);
    CHECK(strstr(e.msg, "not a regular file"));
    CHECK_EQ(lv_alloc_live(), live);
}

/* 3 MiB of metadata: the reader starts with 1 MiB and grows; what it keeps is the metadata alone. */
static void open_reads_long_metadata_in_steps(void)
{
    enum { STRS = 100000, LEN = 24 };
    char path[64];
    snprintf(path, sizeof path, "/tmp/lever_test_gguf_long_%ld.gguf", (long)getpid());
    lv_gguf_writer *w;
    lever_error e = { 0 };
    CHECK_OK(lv_gguf_writer_open(&w, path, &e), &e);
    static char text[STRS][LEN + 1];
    static lv_str strs[STRS];
    for (int i = 0; i < STRS; i++) {
        snprintf(text[i], sizeof text[i], "%024d", i);
        strs[i] = (lv_str){ text[i], LEN };
    }
    const uint64_t dims[] = { 1 << 19 };
    CHECK_OK(lv_gguf_put_strs(w, "strs", strs, STRS, &e), &e);
    CHECK_OK(lv_gguf_put_tensor(w, "t", LV_TYPE_F32, 1, dims, &e), &e);
    static const float zero[1 << 19];
    CHECK_OK(lv_gguf_write_data(w, zero, sizeof zero, &e), &e);
    CHECK_OK(lv_gguf_writer_finish(w, &e), &e);
    lv_gguf_writer_close(&w);

    const size_t live = lv_alloc_live();
    lv_gguf *g;
    CHECK_OK(lv_gguf_open(&g, path, &e), &e);
    if (!g) exit(1);
    const lv_gguf_kv *kv = lv_gguf_find(g, "strs");
    for (uint64_t i = 0; i < STRS; i += 9999) CHECK(!memcmp(lv_gguf_str(g, kv, i).s, text[i], LEN));
    CHECK(lv_gguf_memory_bytes(g) < STRS * (LEN + 8 + 4) + 4096);
    lv_gguf_close(&g);
    for (long n = 0;; n++) { /* and every step of growing can fail */
        lv_alloc_fault(n, false);
        const int rc = lv_gguf_open(&g, path, &e);
        const bool fired = lv_alloc_fault_fired();
        lv_alloc_fault(-1, false);
        CHECK_EQ(rc, fired ? LEVER_ENOMEM : LEVER_OK);
        lv_gguf_close(&g);
        CHECK_EQ(lv_alloc_live(), live);
        if (!fired) break;
    }
    unlink(path);
}

/* A sparse file of 1 TiB whose one key claims most of it: refused without reading it into memory. */
static void a_file_can_not_claim_endless_metadata(void)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/lever_test_gguf_sparse_%ld.gguf", (long)getpid());
    gc_file *f = built("str_past_end");
    const uint64_t len = (uint64_t)1 << 39;
    memcpy(f->bytes + f->n - 16, &len, sizeof len);
    FILE *out = fopen(path, "wb");
    const bool sparse = out && fwrite(f->bytes, 1, f->n, out) == f->n && !fclose(out) &&
                        !truncate(path, 1ll << 40);
    lv_gguf *g = NULL;
    lever_error e = { 0 };
    if (sparse) {
        CHECK_EQ(lv_gguf_open(&g, path, &e), LEVER_EUNSUP);
        CHECK(strstr(e.msg, "metadata"));
    }
    unlink(path);
}

static void vocabulary_files_of_others_are_read(void)
{
    const char *shared = check_shared();
    if (!shared) {
        printf("     (no shared material: real vocabulary files not read)\n");
        return;
    }
    const char *names[] = { "ggml-vocab-gpt-2", "ggml-vocab-llama-spm", "ggml-vocab-phi-3" };
    const uint64_t n_tokens[] = { 50257, 32000, 32064 };
    for (int i = 0; i < 3; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/tokenizers/%s.gguf", shared, names[i]);
        lv_gguf *g;
        lever_error e = { 0 };
        CHECK_OK(lv_gguf_open(&g, path, &e), &e);
        if (!g) continue;
        const lv_gguf_kv *kv = lv_gguf_find(g, "tokenizer.ggml.tokens");
        CHECK(kv && kv->n == n_tokens[i]);
        lv_gguf_close(&g);
    }
}

int main(void)
{
    RUN(each_rule_is_answered_with_its_code_and_message);
    RUN(the_committed_corpus_is_up_to_date);
    RUN(a_prefix_is_truncated_or_asks_for_more);
    RUN(tables_list_what_the_file_holds);
    RUN(strings_are_found_by_index);
    RUN(dimensions_are_turned_slowest_first);
    RUN(alignment_key_moves_the_data);
    RUN(typed_getters_convert_or_name_the_key);
    RUN(a_double_that_no_float_can_hold_is_refused);
    RUN(hostile_names_can_not_break_the_message);
    RUN(each_failing_allocation_is_reported_and_leaks_nothing);
    RUN(open_names_the_path_and_leaks_nothing);
    RUN(open_reads_long_metadata_in_steps);
    RUN(a_file_can_not_claim_endless_metadata);
    RUN(vocabulary_files_of_others_are_read);
    return check_done();
}
