/* Checksums of model files: the format, hostile files, making and comparing. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "flash/sums_file.h"
#include "flash/verify.h"
#include "fuzz/sums_cases.h"
#include "support/mkmodel.h"

static char model[] = "/tmp/lever-sums-XXXXXX";
static char sums_path[sizeof model + 8], part_path[sizeof model + 16];

static void the_hash_is_xxh3(void)
{
    CHECK(lv_hash64("", 0) == 0x2d06800538d394c2u); /* the value the algorithm's description gives */
    uint8_t bytes[5000];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 31 >> 3);
    lv_hasher *h = lv_hasher_open();
    for (size_t n = 0; n <= sizeof bytes; n = n * 2 + 1) {
        lv_hasher_begin(h);
        for (size_t at = 0, step = 1; at < n; at += step, step = step * 3 + 1) {
            if (step > n - at) step = n - at;
            lv_hasher_add(h, bytes + at, step);
        }
        CHECK(lv_hasher_sum(h) == lv_hash64(bytes, n));
    }
    lv_hasher_close(h);
}

static void each_rule_is_answered_with_its_code_and_message(void)
{
    for (size_t i = 0; i < sc_n_cases; i++) {
        const sc_case *c = &sc_cases[i];
        sc_file f = { .n = 0 };
        lever_error e = { 0 };
        lv_sums s;
        c->build(&f);
        const int rc = lv_sums_parse(&s, f.bytes, f.n, &e);
        if (rc != c->code || (c->says && !strstr(e.msg, c->says))) {
            fprintf(stderr, "%s: %d \"%s\"\n", c->name, rc, e.msg);
            check_failures++;
        }
    }
}

static void the_committed_corpus_is_up_to_date(void)
{
    for (size_t i = 0; i < sc_n_cases; i++) {
        char path[256];
        uint8_t bytes[SC_MAX + 1];
        sc_file f = { .n = 0 };
        sc_cases[i].build(&f);
        snprintf(path, sizeof path, "tests/fuzz/corpus/sums/%s.sums", sc_cases[i].name);
        FILE *in = fopen(path, "rb");
        if (!in || fread(bytes, 1, sizeof bytes, in) != f.n || memcmp(bytes, f.bytes, f.n)) {
            fprintf(stderr, "%s: run make_sums_corpus tests/fuzz/corpus/sums\n", path);
            check_failures++;
        }
        if (in) fclose(in);
    }
}

static void what_was_built_is_read_back(void)
{
    sc_file f = { .n = 0 };
    lv_sums s;
    lv_sums_tensor t[2];
    size_t at = 0;
    lever_error e = { 0 };
    sc_cases[0].build(&f);
    CHECK_OK(lv_sums_parse(&s, f.bytes, f.n, &e), &e);
    CHECK(s.model_bytes == 10000 && s.header_bytes == 100 && s.header_sum == 0x1122334455667788);
    CHECK(s.model.len == 6 && !memcmp(s.model.s, "m.gguf", 6));
    CHECK(lv_sums_next(&s, &at, &t[0]) && lv_sums_next(&s, &at, &t[1]) && !lv_sums_next(&s, &at, &t[1]));
    CHECK(t[0].offset == 128 && t[0].bytes == 3000 && t[0].sum == 7 && t[1].name.len == 2);
    for (uint32_t i = 0; i < 3; i++) CHECK_EQ(lv_sums_page_sum(&s, i), i + 1);
    CHECK_EQ(lv_sums_what(&s, 0).len, 6);     /* the header stands first in its page */
    CHECK_EQ(lv_sums_what(&s, 4096).len, 2);  /* "bb" */
    CHECK_EQ(lv_sums_what(&s, 12288).len, 7); /* behind everything */
}

/* ---- a model file ---- */

static uint64_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void flip(const char *path, uint64_t off)
{
    FILE *f = fopen(path, "r+b");
    CHECK(f != NULL);
    if (!f) return;
    fseek(f, (long)off, SEEK_SET);
    const int c = fgetc(f);
    fseek(f, (long)off, SEEK_SET);
    fputc(c ^ 16, f);
    CHECK_EQ(fclose(f), 0);
}

typedef struct found {
    char     what[64];
    uint64_t off, bytes;
    int      n;
} found;

static void on_damage(void *user, lv_str what, uint64_t off, uint64_t bytes)
{
    found *f = user;
    snprintf(f->what, sizeof f->what, "%.*s", (int)what.len, what.s);
    f->off = off, f->bytes = bytes, f->n++;
}

static void make_sums(void)
{
    lever_error e = { 0 };
    lv_sums_report r;
    CHECK_OK(lv_sums_make(model, &r, NULL, &e), &e);
    CHECK_EQ(r.sums_bytes, size_of(sums_path));
    CHECK_EQ(r.model_bytes, size_of(model));
    CHECK_EQ(access(part_path, F_OK), -1);
}

/* Every tensor, the header and the padding before the first tensor: the place is named. */
static void damage_is_found_and_named(void)
{
    lever_error e = { 0 };
    lv_sums_report r;
    lv_gguf *g;
    make_sums();
    CHECK_OK(lv_gguf_open(&g, model, &e), &e);
    for (size_t i = 0; i < lv_gguf_n_tensors(g); i++) {
        const lv_gguf_tensor *t = lv_gguf_tensor_at(g, i);
        const uint64_t at = t->offset + t->bytes / 2;
        found f = { .n = 0 };
        flip(model, at);
        CHECK_OK(lv_sums_compare(model, &r, on_damage, &f, NULL, &e), &e);
        CHECK(r.n_bad_tensors == 1 && r.n_bad_pages == 1 && !r.bad_header && f.n == 1);
        CHECK(strlen(f.what) == t->name.len && !memcmp(f.what, t->name.s, t->name.len));
        CHECK(f.off <= at && at < f.off + f.bytes && f.bytes <= LV_SUMS_PAGE);
        CHECK(f.off >= t->offset && f.off + f.bytes <= t->offset + t->bytes);
        flip(model, at);
    }
    size_t header;
    lv_gguf_meta(g, &header);
    CHECK(header < lv_gguf_data_offset(g));
    found f = { .n = 0 };
    flip(model, header);
    CHECK_OK(lv_sums_compare(model, &r, on_damage, &f, NULL, &e), &e);
    CHECK(r.n_bad_tensors == 0 && r.n_bad_pages == 1 && !r.bad_header);
    CHECK_STR(f.what, "padding");
    flip(model, header);
    flip(model, 0); /* not even a GGUF file any more */
    CHECK_OK(lv_sums_compare(model, &r, on_damage, &f, NULL, &e), &e);
    CHECK(r.n_bad_tensors == 0 && r.bad_header);
    CHECK_STR(f.what, "header");
    flip(model, 0);
    CHECK_OK(lv_sums_compare(model, &r, NULL, NULL, NULL, &e), &e);
    CHECK(r.n_bad_pages == 0 && r.n_bad_tensors == 0 && !r.bad_header);
    lv_gguf_close(&g);
}

static int load(uint64_t model_bytes, lever_error *e)
{
    lv_sums_file f;
    const int rc = lv_sums_load(&f, model, model_bytes, e);
    lv_sums_unload(&f);
    return rc;
}

static void sums_of_another_model_and_cut_files_are_refused(void)
{
    lever_error e = { 0 };
    lv_sums_report r;
    char other[] = "/tmp/lever-sums-XXXXXX", other_sums[sizeof other + 8];
    const uint64_t size = size_of(model);
    make_sums();
    CHECK_EQ(load(size, &e), LEVER_OK);
    CHECK_EQ(load(size + 1, &e), LEVER_EINVAL);
    CHECK(strstr(e.msg, model) && strstr(e.msg, "bytes, not for this"));
    CHECK_EQ(load(size - 1, &e), LEVER_EFORMAT);
    CHECK(strstr(e.msg, "cut off") != NULL);

    mk_config c = mk_config_init();
    c.seed++;
    close(mkstemp(other));
    snprintf(other_sums, sizeof other_sums, "%s.sums", other);
    CHECK_OK(mk_model_write(other, &c, &e), &e);
    flip(other, 100); /* same size, another header and another name */
    CHECK_EQ(rename(sums_path, other_sums), 0);
    CHECK_EQ(lv_sums_compare(other, &r, NULL, NULL, NULL, &e), LEVER_EINVAL);
    CHECK(strstr(e.msg, strrchr(model, '/') + 1) && strstr(e.msg, strrchr(other, '/') + 1));
    unlink(other);
    unlink(other_sums);

    CHECK_EQ(load(size, &e), LEVER_EIO);
    CHECK(strstr(e.msg, "lever inspect --checksum") != NULL);
    make_sums();
    const uint64_t n = size_of(sums_path);
    for (uint64_t cut = 0; cut < n; cut = cut * 3 + 1) {
        make_sums();
        CHECK_EQ(truncate(sums_path, (off_t)cut), 0);
        CHECK_EQ(load(size, &e), LEVER_EFORMAT);
        CHECK(strstr(e.msg, sums_path) != NULL);
    }
    make_sums();
    flip(sums_path, n / 2);
    CHECK_EQ(load(size, &e), LEVER_EFORMAT);
    CHECK_EQ(truncate(sums_path, (off_t)1 << 40), 0); /* sparse: nothing of that size is allocated */
    CHECK_EQ(load(size, &e), LEVER_EFORMAT);
}

static void a_header_is_checked_as_it_was_read(void)
{
    lever_error e = { 0 };
    lv_gguf *g;
    lv_sums_file f;
    size_t n;
    make_sums();
    CHECK_OK(lv_gguf_open(&g, model, &e), &e);
    CHECK_OK(lv_sums_load(&f, model, size_of(model), &e), &e);
    const void *header = lv_gguf_meta(g, &n);
    CHECK_OK(lv_sums_check_header(&f.sums, model, header, n, &e), &e);
    CHECK_EQ(lv_sums_check_header(&f.sums, model, header, n - 1, &e), LEVER_EIO);
    CHECK(strstr(e.msg, "header differs") != NULL);
    CHECK_EQ(lv_sums_check_header(&f.sums, "/x/other.gguf", header, n - 1, &e), LEVER_EINVAL);
    lv_sums_unload(&f);
    lv_gguf_close(&g);
}

/* Any range: the same bytes as unchecked, and a wrong bit anywhere in its pages is an error. */
static void checked_reads_give_the_bytes_or_an_error(void)
{
    enum { MOST = 40000 };
    static uint8_t got[MOST], want[MOST];
    lever_error e = { 0 };
    lv_sums_file s;
    lv_file f;
    make_sums();
    const uint64_t size = size_of(model), bad = size / 2;
    CHECK_OK(lv_sums_load(&s, model, size, &e), &e);
    CHECK_OK(lv_file_open(&f, model, &e), &e);
    for (int damaged = 0; damaged < 2; damaged++) {
        unsigned seed = 1;
        for (int i = 0; i < 400; i++) {
            seed = seed * 1664525u + 1013904223u;
            const size_t n = i % 3 ? 1 + (seed >> 8) % MOST : 1 + (seed >> 8) % 300;
            const uint64_t off = i % 5 ? (seed >> 4) % (size - n) : size - n;
            CHECK_OK(lv_file_read(&f, want, n, off, &e), &e);
            memset(got, 0, n);
            const int rc = lv_verify_read(&s.sums, &f, got, n, off, &e);
            const bool hit = off / LV_SUMS_PAGE <= bad / LV_SUMS_PAGE &&
                             bad / LV_SUMS_PAGE <= (off + n - 1) / LV_SUMS_PAGE;
            CHECK_EQ(rc, damaged && hit ? LEVER_EIO : LEVER_OK);
            if (rc == LEVER_OK) CHECK(!memcmp(got, want, n));
            else CHECK(strstr(e.msg, model) && strstr(e.msg, "when read again"));
        }
        CHECK_EQ(lv_verify_read(&s.sums, &f, got, 2, size - 1, &e), LEVER_EIO);
        flip(model, bad);
    }
    lv_file_close(&f);
    lv_sums_unload(&s);
}

static void every_failed_allocation_is_clean(void)
{
    make_sums();
    const size_t live = lv_alloc_live();
    for (int what = 0; what < 2; what++)
        for (long n = 0;; n++) {
            lever_error e = { 0 };
            lv_sums_report r;
            lv_alloc_fault(n, false);
            const int rc = what ? lv_sums_make(model, &r, NULL, &e)
                                : lv_sums_compare(model, &r, NULL, NULL, NULL, &e);
            const bool fired = lv_alloc_fault_fired();
            lv_alloc_fault(-1, false);
            CHECK_EQ(lv_alloc_live(), live);
            CHECK_EQ(rc, fired ? LEVER_ENOMEM : LEVER_OK);
            CHECK_EQ(access(part_path, F_OK), -1);
            if (!fired) break;
        }
}

int main(void)
{
    lever_error e = { 0 };
    const mk_config c = mk_config_init();
    RUN(the_hash_is_xxh3);
    RUN(each_rule_is_answered_with_its_code_and_message);
    RUN(the_committed_corpus_is_up_to_date);
    RUN(what_was_built_is_read_back);
    const int fd = mkstemp(model);
    if (fd < 0) SKIP("no place for a test model");
    close(fd);
    snprintf(sums_path, sizeof sums_path, "%s.sums", model);
    snprintf(part_path, sizeof part_path, "%s.sums.part", model);
    CHECK_OK(mk_model_write(model, &c, &e), &e);
    RUN(damage_is_found_and_named);
    RUN(sums_of_another_model_and_cut_files_are_refused);
    RUN(a_header_is_checked_as_it_was_read);
    RUN(checked_reads_give_the_bytes_or_an_error);
    RUN(every_failed_allocation_is_clean);
    unlink(model);
    unlink(sums_path);
    return check_done();
}
