/* Session files: what follows after loading is what would have followed; damaged and foreign files are refused.
 * SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <unistd.h>

#include "base/mem.h"
#include "lever/lever.h"
#include "support/mkmodel.h"

static char target[] = "/tmp/lever-save-XXXXXX", other[] = "/tmp/lever-save-XXXXXX", draft[] = "/tmp/lever-save-XXXXXX",
            file[] = "/tmp/lever-save-XXXXXX";

static void make_model(char *path, uint64_t seed, uint32_t layers)
{
    lever_error err = { 0 };
    CHECK(close(mkstemp(path)) == 0);
    mk_config c = mk_config_init();
    c.seed = seed;
    c.n_embd = 128; /* heads of 32: both types of cache are possible */
    c.n_layers = layers;
    CHECK_OK(mk_model_write(path, &c, &err), &err);
}

typedef struct opened {
    lever_engine  *engine;
    lever_session *session;
} opened;

static opened open_all(const char *model, const char *policy, const char *kv_type, uint32_t n_ctx)
{
    lever_config c;
    lever_error err = { 0 };
    lever_config_init(&c);
    c.model_path = model, c.draft_path = policy ? draft : NULL, c.policy = policy;
    c.kv_type = kv_type, c.n_ctx = n_ctx, c.n_threads = 1, c.mem_bytes = 1ull << 30;
    opened o = { 0 };
    lever_sampling s;
    lever_sampling_init(&s);
    s.temperature = 0.7f;
    CHECK_OK(lever_engine_open(&o.engine, &c, &err), &err);
    CHECK_OK(lever_session_open(&o.session, o.engine, &s, &err), &err);
    if (!o.session) exit(1);
    return o;
}

static void close_all(opened *o)
{
    lever_session_close(&o->session);
    lever_engine_close(&o->engine);
}

/* n tokens more; how many of the text had to be evaluated. */
static uint32_t go_on(opened *o, uint32_t n)
{
    lever_error err = { 0 };
    lever_stats st = { 0 };
    const lever_generate_params p = { .max_tokens = n, .ignore_end = true };
    CHECK_OK(lever_session_generate(o->session, &p, NULL, NULL, &st, &err), &err);
    return st.n_prompt_tokens;
}

static int32_t want[200];
static size_t n_want;

static void check_text(const opened *o, size_t n)
{
    size_t got;
    const int32_t *t = lever_session_tokens(o->session, &got);
    CHECK_EQ(got, n);
    CHECK(got == n && !memcmp(t, want, n * sizeof *t));
}

static void write_file(void)
{
    lever_error err = { 0 };
    opened o = open_all(target, "chain:3", NULL, 200);
    CHECK_OK(lever_session_append_text(o.session, "abc abc abd", SIZE_MAX, 0, &err), &err);
    go_on(&o, 30);
    CHECK_OK(lever_session_save(o.session, file, &err), &err);
    go_on(&o, 40);
    const int32_t *t = lever_session_tokens(o.session, &n_want);
    memcpy(want, t, n_want * sizeof *t);
    close_all(&o);
}

static void what_follows_is_the_same(void)
{
    static const char *const policies[] = { "chain:3", NULL, "tree:3,2", "lookup" };
    for (int i = 0; i < 4; i++) {
        lever_error err = { 0 };
        opened o = open_all(target, policies[i], NULL, i == 2 ? 130 : 200);
        CHECK_OK(lever_session_append_text(o.session, "something else", SIZE_MAX, 0, &err), &err);
        if (i == 3) go_on(&o, 10);
        CHECK_OK(lever_session_load(o.session, file, &err), &err);
        check_text(&o, n_want - 40);
        CHECK_EQ(go_on(&o, 40), 1); /* only the last token had to be evaluated */
        check_text(&o, n_want);
        close_all(&o);
    }
}

static void empty_and_fresh_texts_are_kept_too(void)
{
    lever_error err = { 0 };
    char path[] = "/tmp/lever-save-XXXXXX";
    CHECK(close(mkstemp(path)) == 0);
    opened o = open_all(target, "chain:3", NULL, 200);
    CHECK_OK(lever_session_save(o.session, path, &err), &err);
    CHECK_OK(lever_session_append(o.session, want, n_want - 40, &err), &err);
    CHECK_OK(lever_session_load(o.session, path, &err), &err);
    check_text(&o, 0);
    CHECK_OK(lever_session_append(o.session, want, n_want - 40, &err), &err); /* nothing of it is evaluated */
    CHECK_OK(lever_session_save(o.session, path, &err), &err);
    CHECK_OK(lever_session_reset(o.session, NULL, &err), &err);
    CHECK_OK(lever_session_load(o.session, path, &err), &err);
    go_on(&o, 40);
    check_text(&o, n_want);
    close_all(&o);
    unlink(path);
}

static void foreign_files_are_refused_and_the_text_stays(void)
{
    static const struct { const char *model, *kv_type; uint32_t n_ctx; int rc; const char *why; } runs[] = {
        { other, NULL, 200, LEVER_EINVAL, "another model" },
        { target, "f16", 200, LEVER_EINVAL, "type" },
        { target, NULL, 30, LEVER_ELIMIT, "-c" },
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        lever_error err = { 0 };
        opened o = open_all(runs[i].model, NULL, runs[i].kv_type, runs[i].n_ctx);
        CHECK_OK(lever_session_append(o.session, want, 9, &err), &err);
        CHECK_EQ(lever_session_load(o.session, file, &err), runs[i].rc);
        CHECK(strstr(err.msg, runs[i].why) && strstr(err.msg, file));
        check_text(&o, 9);
        CHECK_EQ(lever_session_load(o.session, "/proc/no-such-folder/session", &err), LEVER_EIO);
        CHECK_EQ(lever_session_load(o.session, target, &err), LEVER_EFORMAT);
        CHECK_EQ(lever_session_load(o.session, "/dev/null", &err) < 0, 1);
        check_text(&o, 9);
        CHECK_EQ(lever_session_save(o.session, "/proc/no-such-folder/session", &err), LEVER_EIO);
        close_all(&o);
    }
}

static uint8_t bytes[1 << 20];

static size_t read_file(void)
{
    FILE *f = fopen(file, "rb");
    const size_t n = fread(bytes, 1, sizeof bytes, f);
    CHECK(n > 1000 && n < sizeof bytes && fclose(f) == 0);
    return n;
}

static void store(const char *path, const uint8_t *b, size_t n)
{
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(b, 1, n, f) == n && fclose(f) == 0);
}

/* Cut anywhere, longer, or with one bit changed anywhere: an error, and the session goes on being usable. */
static void damaged_files_are_errors(void)
{
    lever_error err = { 0 };
    char path[] = "/tmp/lever-save-XXXXXX";
    CHECK(close(mkstemp(path)) == 0);
    const size_t n = read_file(), live = lv_alloc_live();
    opened o = open_all(target, "chain:3", NULL, 200);
    for (size_t at = 0; at < n; at += at < 500 ? 1 : 997) {
        store(path, bytes, at);
        CHECK(lever_session_load(o.session, path, &err) < 0);
        for (int bit = 0; bit < 8; bit += 7) {
            if (at >= 64 && at < 160) continue; /* the name is for messages, and covered by the sum */
            bytes[at] ^= (uint8_t)(1 << bit);
            store(path, bytes, n);
            CHECK(lever_session_load(o.session, path, &err) < 0);
            bytes[at] ^= (uint8_t)(1 << bit);
        }
    }
    bytes[n] = 0;
    store(path, bytes, n + 1);
    CHECK_EQ(lever_session_load(o.session, path, &err), LEVER_EFORMAT);
    for (size_t at = 8; at < 64; at += 4) { /* sizes that are far too large */
        uint8_t keep[4];
        memcpy(keep, bytes + at, 4);
        memset(bytes + at, 0xff, 4);
        store(path, bytes, n);
        CHECK(lever_session_load(o.session, path, &err) < 0);
        memcpy(bytes + at, keep, 4);
    }
    store(path, bytes, n);
    CHECK_OK(lever_session_load(o.session, path, &err), &err);
    go_on(&o, 40);
    check_text(&o, n_want);
    close_all(&o);
    CHECK_EQ(lv_alloc_live(), live);
    unlink(path);
}

static void not_while_generating(void)
{
    lever_error err = { 0 };
    opened o = open_all(target, "chain:3", NULL, 200);
    CHECK_OK(lever_session_append(o.session, want, 9, &err), &err);
    const lever_generate_params p = { .max_tokens = 4, .ignore_end = true };
    CHECK_OK(lever_session_start(o.session, &p, NULL, NULL, &err), &err);
    CHECK_EQ(lever_session_save(o.session, file, &err), LEVER_EINVAL);
    CHECK_EQ(lever_session_load(o.session, file, &err), LEVER_EINVAL);
    CHECK_OK(lever_session_finish(o.session, NULL, &err), &err);
    close_all(&o);
}

/* The n-th allocation fails, for every n: an error, and nothing is left behind. */
static void memory_may_run_out(void)
{
    lever_error err = { 0 };
    char path[] = "/tmp/lever-save-XXXXXX";
    CHECK(close(mkstemp(path)) == 0);
    opened o = open_all(target, "chain:3", NULL, 200);
    const size_t live = lv_alloc_live();
    for (int load = 0; load < 2; load++)
        for (long n = 0;; n++) {
            lv_alloc_fault(n, false);
            const int rc = load ? lever_session_load(o.session, file, &err) : lever_session_save(o.session, path, &err);
            const bool fired = lv_alloc_fault_fired();
            lv_alloc_fault(-1, false);
            CHECK_EQ(rc, fired ? LEVER_ENOMEM : LEVER_OK);
            CHECK_EQ(lv_alloc_live(), live);
            if (!fired) break;
        }
    close_all(&o);
    unlink(path);
}

int main(void)
{
    make_model(target, 5, 4);
    make_model(other, 6, 4);
    make_model(draft, 5, 2);
    CHECK(close(mkstemp(file)) == 0);
    RUN(write_file);
    RUN(what_follows_is_the_same);
    RUN(empty_and_fresh_texts_are_kept_too);
    RUN(foreign_files_are_refused_and_the_text_stays);
    RUN(damaged_files_are_errors);
    RUN(not_while_generating);
    RUN(memory_may_run_out);
    unlink(target), unlink(other), unlink(draft), unlink(file);
    return check_done();
}
