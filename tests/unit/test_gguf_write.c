/* SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "fuzz/gguf_cases.h"
#include "gguf/gguf.h"

static char dir[] = "/tmp/lever_test_gguf_write_XXXXXX";

/* The last four results stay valid. */
static const char *in_dir(const char *name)
{
    static char path[4][128];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static bool exists(const char *path) { return access(path, F_OK) == 0; }

static const float weights[2][3] = { { 1, 2, 3 }, { 4, 5, 6 } };

/* One file with every kind of value. Stops at the first failure. */
static int write_all(lv_gguf_writer *w, lever_error *e)
{
    const lv_str strs[] = { { "one", 3 }, { "", 0 }, { "two\0x", 5 } };
    const int32_t ints[] = { -1, 0, 7 };
    const float floats[] = { 0.5f, -2.0f };
    const uint64_t dims2[] = { 2, 3 }, dims1[] = { 64 };
    uint8_t q[68];
    memset(q, 0x5a, sizeof q);
    LEVER_TRY(lv_gguf_put_u32(w, "u32", 7, e));
    LEVER_TRY(lv_gguf_put_f32(w, "f32", 1.25f, e));
    LEVER_TRY(lv_gguf_put_bool(w, "bool", true, e));
    LEVER_TRY(lv_gguf_put_str(w, "str", "hello", 5, e));
    LEVER_TRY(lv_gguf_put_strs(w, "strs", strs, 3, e));
    LEVER_TRY(lv_gguf_put_i32s(w, "i32s", ints, 3, e));
    LEVER_TRY(lv_gguf_put_f32s(w, "f32s", floats, 2, e));
    LEVER_TRY(lv_gguf_put_tensor(w, "a.weight", LV_TYPE_F32, 2, dims2, e));
    LEVER_TRY(lv_gguf_put_tensor(w, "b.weight", LV_TYPE_Q8_0, 1, dims1, e));
    LEVER_TRY(lv_gguf_write_data(w, weights, 10, e)); /* in pieces, across the end of a tensor */
    uint8_t mixed[14 + 68];
    memcpy(mixed, (const uint8_t *)weights + 10, 14);
    memcpy(mixed + 14, q, 68);
    LEVER_TRY(lv_gguf_write_data(w, mixed, sizeof mixed, e));
    return lv_gguf_writer_finish(w, e);
}

static int write_file(const char *path, lever_error *e)
{
    lv_gguf_writer *w;
    LEVER_TRY(lv_gguf_writer_open(&w, path, e));
    const int rc = write_all(w, e);
    lv_gguf_writer_close(&w);
    return rc;
}

static void read_at(const char *path, uint64_t off, void *dst, size_t n)
{
    FILE *f = fopen(path, "rb");
    CHECK(f && !fseek(f, (long)off, SEEK_SET) && fread(dst, 1, n, f) == n);
    if (f) fclose(f);
}

static void what_is_written_is_read_back(void)
{
    const char *path = in_dir("all.gguf");
    lever_error e = { 0 };
    const size_t live = lv_alloc_live();
    CHECK_OK(write_file(path, &e), &e);
    CHECK_EQ(lv_alloc_live(), live);
    CHECK(!exists(in_dir("all.gguf.part")));
    lv_gguf *g;
    CHECK_OK(lv_gguf_open(&g, path, &e), &e);
    if (!g) return;
    CHECK_EQ(lv_gguf_version(g), 3);
    CHECK_EQ(lv_gguf_n_kv(g), 7);
    uint32_t u = 0;
    bool b = false;
    lv_str s;
    CHECK_EQ(lv_gguf_get_u32(g, "u32", &u, &e), 1);
    CHECK_EQ(u, 7);
    CHECK_EQ(lv_gguf_get_bool(g, "bool", &b, &e), 1);
    CHECK(b);
    CHECK_EQ(lv_gguf_get_str(g, "str", &s, &e), 1);
    CHECK(s.len == 5 && !memcmp(s.s, "hello", 5));
    s = lv_gguf_str(g, lv_gguf_find(g, "strs"), 2);
    CHECK(s.len == 5 && !memcmp(s.s, "two\0x", 5));
    int32_t ints[3];
    memcpy(ints, lv_gguf_find(g, "i32s")->data, sizeof ints);
    CHECK(ints[0] == -1 && ints[2] == 7);
    const lv_gguf_tensor *t = lv_gguf_find_tensor(g, "a.weight");
    CHECK(t->dims[0] == 2 && t->dims[1] == 3 && t->offset == lv_gguf_data_offset(g));
    float back[2][3];
    read_at(path, t->offset, back, sizeof back);
    CHECK(!memcmp(back, weights, sizeof back));
    uint8_t q[68] = { 0 };
    t = lv_gguf_find_tensor(g, "b.weight");
    CHECK_EQ(t->bytes, sizeof q);
    read_at(path, t->offset, q, sizeof q);
    CHECK(q[0] == 0x5a && q[67] == 0x5a);
    lv_gguf_close(&g);
}

static void every_value_type_survives_a_copy(void)
{
    gc_file f = { .n = 0 };
    for (size_t i = 0; i < gc_n_cases; i++)
        if (!strcmp(gc_cases[i].name, "ok_v3")) gc_cases[i].build(&f);
    lv_gguf *a, *b;
    lv_gguf_writer *w;
    lever_error e = { 0 };
    CHECK_OK(lv_gguf_parse(&a, f.bytes, f.n, f.n, &e), &e);
    CHECK_OK(lv_gguf_writer_open(&w, in_dir("copy.gguf"), &e), &e);
    for (size_t i = 0; i < lv_gguf_n_kv(a); i++) CHECK_OK(lv_gguf_put_kv(w, a, lv_gguf_kv_at(a, i), &e), &e);
    CHECK_OK(lv_gguf_writer_finish(w, &e), &e);
    lv_gguf_writer_close(&w);
    CHECK_OK(lv_gguf_open(&b, in_dir("copy.gguf"), &e), &e);
    CHECK_EQ(lv_gguf_n_kv(b), lv_gguf_n_kv(a));
    CHECK_EQ(lv_gguf_n_tensors(b), 0);
    for (size_t i = 0; i < lv_gguf_n_kv(a); i++) {
        const lv_gguf_kv *x = lv_gguf_kv_at(a, i), *y = lv_gguf_kv_at(b, i);
        CHECK(x->type == y->type && x->elem_type == y->elem_type && x->n == y->n);
        CHECK(x->key.len == y->key.len && !memcmp(x->key.s, y->key.s, x->key.len));
        /* From the value to the end of the key: the same bytes. */
        const size_t len = i + 1 < lv_gguf_n_kv(a)
                               ? (size_t)(lv_gguf_kv_at(a, i + 1)->key.s - (const char *)x->data) - 8 : 0;
        CHECK(!memcmp(x->data, y->data, len));
    }
    lv_gguf_close(&a);
    lv_gguf_close(&b);
}

static void alignment_given_as_a_key_is_used(void)
{
    lv_gguf_writer *w;
    lever_error e = { 0 };
    lv_gguf *g;
    const uint64_t dims[] = { 3 };
    CHECK_OK(lv_gguf_writer_open(&w, in_dir("align.gguf"), &e), &e);
    CHECK_EQ(lv_gguf_put_u32(w, "general.alignment", 24, &e), LEVER_EINVAL);
    CHECK_EQ(lv_gguf_put_str(w, "general.alignment", "64", 2, &e), LEVER_EINVAL);
    lv_gguf_writer_close(&w);
    CHECK_OK(lv_gguf_writer_open(&w, in_dir("align.gguf"), &e), &e);
    CHECK_OK(lv_gguf_put_u32(w, "general.alignment", 4096, &e), &e);
    CHECK_OK(lv_gguf_put_tensor(w, "a", LV_TYPE_F32, 1, dims, &e), &e);
    CHECK_OK(lv_gguf_put_tensor(w, "b", LV_TYPE_F32, 1, dims, &e), &e);
    CHECK_OK(lv_gguf_write_data(w, weights, 24, &e), &e);
    CHECK_OK(lv_gguf_writer_finish(w, &e), &e);
    lv_gguf_writer_close(&w);
    CHECK_OK(lv_gguf_open(&g, in_dir("align.gguf"), &e), &e);
    CHECK_EQ(lv_gguf_find_tensor(g, "b")->offset, 8192);
    lv_gguf_close(&g);
    float back[3];
    read_at(in_dir("align.gguf"), 8192, back, sizeof back);
    CHECK(back[0] == 4.0f);
}

static void misuse_is_refused_and_leaves_no_file(void)
{
    lv_gguf_writer *w;
    lever_error e = { 0 };
    const uint64_t dims[] = { 2, 3 }, zero[] = { 2, 0 };
    const uint64_t big[] = { (uint64_t)1 << 62, 32 }, partial[] = { 2, 33 };
    const char *path = in_dir("misuse.gguf");
    CHECK_OK(lv_gguf_writer_open(&w, path, &e), &e);
    CHECK_EQ(lv_gguf_put_u32(w, "", 1, &e), LEVER_EINVAL);
    CHECK_EQ(lv_gguf_put_tensor(w, "t", LV_TYPE_F32, 0, dims, &e), LEVER_EINVAL);
    CHECK_EQ(lv_gguf_put_tensor(w, "t", LV_TYPE_F32, 5, dims, &e), LEVER_EINVAL);
    CHECK_EQ(lv_gguf_put_tensor(w, "t", LV_TYPE_F32, 2, zero, &e), LEVER_EINVAL);
    CHECK_EQ(lv_gguf_put_tensor(w, "t", LV_TYPE_F32, 2, big, &e), LEVER_EINVAL);
    CHECK_EQ(lv_gguf_put_tensor(w, "t", LV_TYPE_Q8_0, 2, partial, &e), LEVER_EINVAL);
    CHECK_EQ(lv_gguf_put_tensor(w, "t", 5, 2, dims, &e), LEVER_EINVAL);
    char long_name[257] = { 0 };
    memset(long_name, 'n', 256);
    CHECK_EQ(lv_gguf_put_tensor(w, "", LV_TYPE_F32, 2, dims, &e), LEVER_EINVAL);
    CHECK_EQ(lv_gguf_put_tensor(w, long_name, LV_TYPE_F32, 2, dims, &e), LEVER_EINVAL);
    CHECK_OK(lv_gguf_put_tensor(w, "t", LV_TYPE_F32, 2, dims, &e), &e);
    CHECK_EQ(lv_gguf_put_u32(w, "late", 1, &e), LEVER_EINVAL);
    CHECK(strstr(e.msg, "'late'"));
    CHECK_OK(lv_gguf_write_data(w, weights, 20, &e), &e);
    CHECK_EQ(lv_gguf_writer_finish(w, &e), LEVER_EINVAL);
    CHECK(strstr(e.msg, "lacks 4 of its 24 bytes"));
    CHECK_EQ(lv_gguf_put_tensor(w, "u", LV_TYPE_F32, 2, dims, &e), LEVER_EINVAL);
    CHECK_EQ(lv_gguf_write_data(w, weights, 5, &e), LEVER_EINVAL);
    lv_gguf_writer_close(&w);
    CHECK(!w && !exists(path) && !exists(in_dir("misuse.gguf.part")));
    lv_gguf_writer_close(&w);
}

static void an_old_file_stays_until_the_new_one_is_whole(void)
{
    const char *path = in_dir("old.gguf");
    FILE *f = fopen(path, "w");
    CHECK(f && fputs("old", f) >= 0 && !fclose(f));
    lv_gguf_writer *w;
    lever_error e = { 0 };
    char text[4] = { 0 };
    CHECK_OK(lv_gguf_writer_open(&w, path, &e), &e);
    CHECK_OK(lv_gguf_put_u32(w, "k", 1, &e), &e);
    lv_gguf_writer_close(&w);
    read_at(path, 0, text, 3);
    CHECK_STR(text, "old");
    CHECK_OK(write_file(path, &e), &e);
    read_at(path, 0, text, 3);
    CHECK_STR(text, "GGU");
}

/* <path>.part is a link to /dev/full, so the first flush of the buffer meets a full disk. */
static void a_full_disk_is_reported_with_the_path(void)
{
    const char *path = in_dir("full.gguf"), *part = in_dir("full.gguf.part");
    lever_error e = { 0 };
    if (!exists("/dev/full") || symlink("/dev/full", part)) {
        printf("     (no /dev/full)\n");
        return;
    }
    CHECK_EQ(write_file(path, &e), LEVER_EIO); /* small: fails when finish flushes */
    CHECK_EQ(e.os_errno, ENOSPC);
    CHECK(strstr(e.msg, part));
    CHECK(!exists(path) && !exists(part));

    CHECK(!symlink("/dev/full", part));
    lv_gguf_writer *w;
    static char big[1 << 20];
    CHECK_OK(lv_gguf_writer_open(&w, path, &e), &e);
    CHECK_EQ(lv_gguf_put_str(w, "big", big, sizeof big, &e), LEVER_EIO); /* large: fails at once */
    CHECK_EQ(e.os_errno, ENOSPC);
    CHECK_EQ(lv_gguf_put_u32(w, "next", 1, &e), LEVER_EINVAL);
    CHECK_EQ(lv_gguf_writer_finish(w, &e), LEVER_EINVAL);
    CHECK(strstr(e.msg, "an earlier write failed"));
    lv_gguf_writer_close(&w);
    CHECK(!exists(path) && !exists(part));
}

static void paths_that_can_not_be_written_are_named(void)
{
    lv_gguf_writer *w;
    lever_error e = { 0 };
    CHECK_EQ(lv_gguf_writer_open(&w, in_dir("none/x.gguf"), &e), LEVER_EIO);
    CHECK_EQ(e.os_errno, ENOENT);
    CHECK(!w && strstr(e.msg, "none/x.gguf.part"));
    CHECK_EQ(mkdir(in_dir("taken.gguf"), 0700), 0); /* rename onto a directory fails */
    CHECK_EQ(write_file(in_dir("taken.gguf"), &e), LEVER_EIO);
    CHECK(strstr(e.msg, "renamed") && !exists(in_dir("taken.gguf.part")));
    rmdir(in_dir("taken.gguf"));
}

static void each_failing_allocation_is_reported_and_leaves_nothing(void)
{
    const size_t live = lv_alloc_live();
    for (int persistent = 0; persistent < 2; persistent++) {
        for (long n = 0;; n++) {
            lever_error e = { 0 };
            unlink(in_dir("oom.gguf"));
            lv_alloc_fault(n, persistent);
            const int rc = write_file(in_dir("oom.gguf"), &e);
            const bool fired = lv_alloc_fault_fired();
            lv_alloc_fault(-1, false);
            CHECK_EQ(rc, fired ? LEVER_ENOMEM : LEVER_OK);
            CHECK_EQ(exists(in_dir("oom.gguf")), !fired);
            CHECK(!exists(in_dir("oom.gguf.part")));
            CHECK_EQ(lv_alloc_live(), live);
            if (!fired) break;
            CHECK(e.code == LEVER_ENOMEM && strstr(e.msg, "oom.gguf"));
        }
    }
}

int main(void)
{
    if (!mkdtemp(dir)) SKIP("no temporary directory can be made");
    RUN(what_is_written_is_read_back);
    RUN(every_value_type_survives_a_copy);
    RUN(alignment_given_as_a_key_is_used);
    RUN(misuse_is_refused_and_leaves_no_file);
    RUN(an_old_file_stays_until_the_new_one_is_whole);
    RUN(a_full_disk_is_reported_with_the_path);
    RUN(paths_that_can_not_be_written_are_named);
    RUN(each_failing_allocation_is_reported_and_leaves_nothing);
    const char *made[] = { "all.gguf", "copy.gguf", "align.gguf", "old.gguf", "oom.gguf" };
    for (int i = 0; i < 5; i++) unlink(in_dir(made[i]));
    CHECK_EQ(rmdir(dir), 0); /* nothing else was left behind */
    return check_done();
}
