/* Whole engines under failing reads and changing files: the same text, or a clean error after a part of it;
 * never a wrong token; and the engine serves the next request when the fault is over.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "support/check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "lever/lever.h"
#include "os/file.h"
#include "support/mkmodel.h"
#include "support/open_fds.h"

enum { N_NEW = 8, N_MOST = 64 };

static char target[] = "/tmp/lever-target-XXXXXX", draft[] = "/tmp/lever-draft-XXXXXX";
static const char *backend;
static int ahead = LEVER_AHEAD_OFF; /* counted reads have one order only without it */
static int32_t want[N_MOST]; /* the text, prompt included */
static size_t n_want;

static lever_config config(void)
{
    lever_config c;
    lever_config_init(&c);
    c.model_path = target;
    c.draft_path = draft;
    c.n_ctx = N_MOST;
    c.n_threads = 2;
    c.no_pin = true;
    c.mem_bytes = 64 << 20;
    c.policy = "tree:2,1";
    c.draft_ahead = ahead;
    c.io_backend = backend;
    return c;
}

typedef struct run {
    lever_engine *engine;
    lever_session *session;
} run;

static int open_run(run *r, const lever_config *c, lever_error *err)
{
    lever_sampling greedy;
    lever_sampling_init(&greedy);
    greedy.temperature = 0;
    *r = (run){ 0 };
    int rc = lever_engine_open(&r->engine, c, err);
    if (rc >= 0) rc = lever_session_open(&r->session, r->engine, &greedy, err);
    if (rc >= 0) rc = lever_session_append_text(r->session, "abc abc", SIZE_MAX, 0, err);
    return rc;
}

static void close_run(run *r)
{
    lever_session_close(&r->session);
    lever_engine_close(&r->engine);
}

/* Go on until the text is as long as the wanted one. What there is of it must be right, also after a failure. */
static int generate(run *r, lever_on_token on_token, void *user, lever_error *err)
{
    size_t n;
    lever_session_tokens(r->session, &n);
    const lever_generate_params p = { .max_tokens = (uint32_t)(n_want - n), .ignore_end = true };
    const int rc = n == n_want ? LEVER_OK
                               : lever_session_generate(r->session, &p, on_token, user, NULL, err);
    const int32_t *t = lever_session_tokens(r->session, &n);
    CHECK(n <= n_want && !memcmp(t, want, n * sizeof *t));
    if (rc >= 0) CHECK_EQ(n, n_want);
    return rc;
}

static void count_read(void *user, const lever_trace_event *e)
{
    *(uint64_t *)user += !strcmp(e->name, "read");
}

/* The right text, and how many streamed reads it takes. */
static uint64_t learn(void)
{
    uint64_t n_reads = 0;
    run r;
    lever_error err = { 0 };
    lever_config c = config();
    c.on_trace = count_read;
    c.trace_user = &n_reads;
    CHECK_OK(open_run(&r, &c, &err), &err);
    const lever_generate_params p = { .max_tokens = N_NEW, .ignore_end = true };
    CHECK_OK(lever_session_generate(r.session, &p, NULL, NULL, NULL, &err), &err);
    const int32_t *t = lever_session_tokens(r.session, &n_want);
    CHECK(n_want <= N_MOST);
    memcpy(want, t, n_want * sizeof *t);
    close_run(&r);
    return n_reads;
}

/* A stream reads again what failed once, so nobody notices. */
static void one_failing_read(uint64_t at)
{
    char faults[80];
    snprintf(faults, sizeof faults, "first=%llu,count=1,error=%s", (unsigned long long)at,
             at % 3 ? "EIO" : "ENOSPC");
    lever_config c = config();
    c.io_faults = faults;
    run r;
    lever_error err = { 0 };
    CHECK_OK(open_run(&r, &c, &err), &err);
    CHECK_OK(generate(&r, NULL, NULL, &err), &err);
    close_run(&r);
}

/* An unplugged device: from this read on all fail. With a count it is plugged in again after so many. */
static void failing_from(uint64_t at, uint32_t count)
{
    char faults[80];
    snprintf(faults, sizeof faults, "first=%llu,count=%u,error=ENODEV", (unsigned long long)at, count);
    lever_config c = config();
    c.io_faults = faults;
    run r;
    lever_error err = { 0 };
    CHECK_OK(open_run(&r, &c, &err), &err);
    int rc = generate(&r, NULL, NULL, &err), n_failed = 0;
    CHECK(count || rc == LEVER_EIO);
    while (rc < 0 && n_failed++ <= (count ? (int)count : 2)) {
        CHECK_EQ(rc, LEVER_EIO);
        CHECK(err.os_errno == ENODEV && strstr(err.msg, target));
        err = (lever_error){ 0 };
        rc = generate(&r, NULL, NULL, &err); /* the same text goes on where it stopped */
    }
    CHECK_EQ(rc, count ? LEVER_OK : LEVER_EIO);
    close_run(&r);
}

static void every_streamed_read_may_fail(void)
{
    const uint64_t n_reads = learn();
    const size_t live = lv_alloc_live();
    const int fds = open_fds();
    CHECK(n_reads > 60);
    for (uint64_t at = 0; at < n_reads; at += at < 20 ? 1 : 9) {
        one_failing_read(at);
        if (at + 40 < n_reads) failing_from(at, 0); /* some are read ahead and never used */
        failing_from(at, 9);
        CHECK_EQ(lv_alloc_live(), live);
        CHECK_EQ(open_fds(), fds);
    }
}

static void cut_and_interrupted_reads_change_nothing(void)
{
    static const char *const faults[] = { "short=4096", "short=1000", "error=EINTR,times=9",
                                          "error=EAGAIN,times=9,short=8192", "error=EINTR,count=20,times=90" };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        lever_config c = config();
        c.io_faults = faults[i];
        run r;
        lever_error err = { 0 };
        CHECK_OK(open_run(&r, &c, &err), &err);
        CHECK_OK(generate(&r, NULL, NULL, &err), &err);
        close_run(&r);
    }
}

/* Loading, and the rows of the embedding while tokens are made: these are not read again by themselves. */
static void every_other_read_may_fail(void)
{
    const size_t live = lv_alloc_live();
    const int fds = open_fds();
    const lever_config c = config();
    bool in_open = false, in_text = false;
    for (uint64_t at = 0;; at++) {
        run r;
        lever_error err = { 0 };
        lv_file_set_fault(&(lv_read_fault){ .first = at, .count = 1, .os_errno = EIO });
        int rc = open_run(&r, &c, &err);
        in_open |= rc < 0;
        if (rc >= 0) {
            rc = generate(&r, NULL, NULL, &err);
            in_text |= rc < 0;
            lever_error again = { 0 };
            CHECK_OK(generate(&r, NULL, NULL, &again), &again);
        }
        lv_file_set_fault(NULL);
        close_run(&r);
        CHECK_EQ(lv_alloc_live(), live);
        CHECK_EQ(open_fds(), fds);
        if (rc >= 0) break; /* there are not so many */
        CHECK_EQ(rc, LEVER_EIO);
        CHECK(strstr(err.msg, target) || strstr(err.msg, draft));
    }
    CHECK(in_open && in_text);
}

/* Drafting ahead reads rows of the draft's embedding beside the sweep: whichever side a failure meets, the text
 * is the same, and the next request finds everything in order. */
static void drafting_ahead_survives_failing_reads(void)
{
    const size_t live = lv_alloc_live();
    const int fds = open_fds();
    uint32_t n_met = 0, n_unmet = 0;
    ahead = LEVER_AHEAD_ON;
    for (uint64_t at = 0; at < 90; at += 3) {
        const lever_config c = config();
        run r;
        lever_error err = { 0 };
        CHECK_OK(open_run(&r, &c, &err), &err);
        lv_file_set_fault(&(lv_read_fault){ .first = at, .count = at % 2 ? 1 : 3, .os_errno = EIO });
        int rc = generate(&r, NULL, NULL, &err);
        n_met += rc < 0;
        n_unmet += rc >= 0;
        for (int i = 0; i < 4 && rc < 0; i++) {
            CHECK_EQ(rc, LEVER_EIO);
            CHECK(strstr(err.msg, target) || strstr(err.msg, draft));
            err = (lever_error){ 0 };
            rc = generate(&r, NULL, NULL, &err);
        }
        lv_file_set_fault(NULL);
        CHECK_EQ(rc, LEVER_OK);
        close_run(&r);
        CHECK_EQ(lv_alloc_live(), live);
        CHECK_EQ(open_fds(), fds);
    }
    CHECK(n_met > 0 && n_unmet > 0);
    for (uint64_t at = 0; at < 60; at += 7) {
        one_failing_read(at);
        failing_from(at, 9);
    }
    ahead = LEVER_AHEAD_OFF;
}

/* ---- files that change while they are used ---- */

enum change { CUT, WRITTEN, RENAMED_OVER, REMOVED, N_CHANGES };

typedef struct meddler {
    const char *path;
    enum change change;
    uint32_t    after; /* tokens */
} meddler;

static void change_file(const meddler *m)
{
    char other[80];
    snprintf(other, sizeof other, "%s.new", m->path);
    if (m->change == CUT) CHECK_EQ(truncate(m->path, 5000), 0);
    if (m->change == REMOVED) CHECK_EQ(unlink(m->path), 0);
    if (m->change == WRITTEN) {
        static const char noise[60000] = "noise";
        const int fd = open(m->path, O_WRONLY);
        CHECK(fd >= 0 && pwrite(fd, noise, sizeof noise, 20000) == sizeof noise);
        close(fd);
    }
    if (m->change == RENAMED_OVER) {
        const int fd = open(other, O_CREAT | O_WRONLY, 0600);
        CHECK(fd >= 0 && write(fd, "GGUF", 4) == 4 && rename(other, m->path) == 0);
        close(fd);
    }
}

static bool meddle(void *user, const lever_token_event *e)
{
    meddler *m = user;
    (void)e;
    if (m->after-- == 0) change_file(m);
    return true;
}

/* The bytes of a file, to be put back with a time of long ago: like that, every change shows. */
typedef struct saved {
    const char *path;
    uint8_t    *bytes;
    size_t      n;
} saved;

static void put_back(const saved *s)
{
    const int fd = open(s->path, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0 && ftruncate(fd, (off_t)s->n) == 0 && pwrite(fd, s->bytes, s->n, 0) == (ssize_t)s->n);
    CHECK_EQ(futimens(fd, (struct timespec[2]){ { .tv_sec = 1 }, { .tv_sec = 1 } }), 0);
    close(fd);
}

static saved save(const char *path)
{
    saved s = { .path = path };
    struct stat st;
    CHECK_EQ(stat(path, &st), 0);
    s.n = (size_t)st.st_size;
    s.bytes = malloc(s.n);
    const int fd = open(path, O_RDONLY);
    CHECK(s.bytes && pread(fd, s.bytes, s.n, 0) == (ssize_t)s.n);
    close(fd);
    put_back(&s);
    return s;
}

static void one_change(const saved *s, enum change change, uint32_t after)
{
    const lever_config c = config();
    run r;
    lever_error err = { 0 };
    CHECK_OK(open_run(&r, &c, &err), &err);
    meddler m = { .path = s->path, .change = change, .after = after };
    const int rc = generate(&r, meddle, &m, &err);
    if (change == CUT || change == WRITTEN) {
        CHECK_EQ(rc, LEVER_EIO);
        CHECK(strstr(err.msg, s->path) != NULL);
        put_back(s); /* the same inode, so the descriptors of the engine see it as before */
    } else { /* the old file lives on behind the descriptors */
        CHECK_OK(rc, &err);
    }
    lever_error again = { 0 };
    CHECK_OK(generate(&r, NULL, NULL, &again), &again);
    close_run(&r);
    put_back(s);
}

static void files_may_change_while_they_are_used(void)
{
    ahead = LEVER_AHEAD_ON; /* of the draft's changes the thread beside the sweep may learn first */
    for (int which = 0; which < 2; which++) {
        const saved s = save(which ? draft : target);
        for (int change = 0; change < N_CHANGES; change++)
            for (uint32_t after = 0; after < 4; after += 3) one_change(&s, (enum change)change, after);
        free(s.bytes);
    }
    ahead = LEVER_AHEAD_OFF;
}

int main(int argc, char **argv)
{
    lever_error err = { 0 };
    backend = argc > 1 ? argv[1] : "pool";
    mk_config c = mk_config_init();
    const int a = mkstemp(target), b = mkstemp(draft);
    if (a < 0 || b < 0) SKIP("no place for test models");
    close(a);
    close(b);
    CHECK_OK(mk_model_write(target, &c, &err), &err);
    c.n_layers = 1;
    c.tied = false; /* so that rows of its embedding are read from its file, while all else is in memory */
    CHECK_OK(mk_model_write(draft, &c, &err), &err);
    const lever_config lc = config();
    lever_engine *e = NULL;
    const int rc = lever_engine_open(&e, &lc, &err);
    lever_engine_close(&e);
    if (rc == LEVER_EUNSUP) {
        unlink(target), unlink(draft);
        SKIP(err.msg);
    }
    RUN(every_streamed_read_may_fail);
    RUN(cut_and_interrupted_reads_change_nothing);
    RUN(every_other_read_may_fail);
    RUN(drafting_ahead_survives_failing_reads);
    RUN(files_may_change_while_they_are_used);
    unlink(target);
    unlink(draft);
    return check_done();
}
