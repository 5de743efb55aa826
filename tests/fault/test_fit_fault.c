/* lever_fit under failing allocations and when it is stopped at any moment: clean errors that leave nothing
 * open, and a sidecar with the same bytes in the end. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <unistd.h>

#include "base/mem.h"
#include "lever/fit.h"
#include "support/mkmodel.h"
#include "support/open_fds.h"

static char target[] = "/tmp/lever-fitt-XXXXXX", draft[] = "/tmp/lever-fitd-XXXXXX",
            out[] = "/tmp/lever-fito-XXXXXX";
static char text[800];
static unsigned char want[1 << 16], got[1 << 16];

typedef struct stopper {
    long calls, stop_at; /* the call that says stop; < 0: none */
} stopper;

static bool on_progress(void *user, const lever_fit_result *r)
{
    stopper *s = user;
    (void)r;
    return s->calls++ != s->stop_at;
}

static int fit(bool untied, stopper *s, lever_fit_result *r)
{
    lever_config c;
    lever_error err = { 0 };
    const lever_text one = { text, sizeof text };
    lever_config_init(&c);
    c.model_path = target;
    c.draft_path = draft;
    c.n_threads = 2;
    c.n_ctx = 100;
    c.mem_bytes = 64 << 20;
    const lever_fit_params p = { .texts = &one, .n_texts = 1, .out = out, .form = untied ? "untied" : NULL,
                                 .rank = 4, .steps = 3, .on_progress = s ? on_progress : NULL, .user = s };
    const int rc = lever_fit(&c, &p, r, &err);
    if (rc < 0) CHECK(err.code == rc && err.msg[0] != '\0');
    return rc;
}

static size_t read_out(unsigned char *bytes)
{
    FILE *f = fopen(out, "rb");
    const size_t n = f ? fread(bytes, 1, sizeof want, f) : 0;
    if (f) fclose(f);
    return n;
}

/* Nothing of an earlier run. */
static void forget(void)
{
    char name[80];
    static const char *const ends[] = { "", ".fit", ".state", ".part", ".state.part" };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(name, sizeof name, "%s%s", out, ends[i]);
        unlink(name);
    }
}

static void every_failed_allocation_is_clean(bool untied)
{
    lever_fit_result r;
    forget();
    CHECK_EQ(fit(untied, NULL, &r), LEVER_OK);
    const size_t size = read_out(want), live = lv_alloc_live(), used = lv_budget_used();
    const int fds = open_fds();
    CHECK(size > 1000 && size < sizeof want);
    for (long n = 0;; n++) {
        forget();
        lv_alloc_fault(n, false);
        const int rc = fit(untied, NULL, &r);
        const bool fired = lv_alloc_fault_fired();
        lv_alloc_fault(-1, false);
        CHECK(lv_alloc_live() == live && lv_budget_used() == used && open_fds() == fds);
        if (fired && rc < 0) CHECK_EQ(rc, LEVER_ENOMEM);
        if (rc >= 0) CHECK(read_out(got) == size && !memcmp(got, want, size));
        else CHECK_EQ(read_out(got), 0);
        if (!fired) break;
    }
}

static void tied_allocations(void) { every_failed_allocation_is_clean(false); }
static void untied_allocations(void) { every_failed_allocation_is_clean(true); }

/* Stopped at every call in turn, each time going on from what the last one left. */
static void stopping_anywhere_changes_nothing(void)
{
    lever_fit_result r;
    forget();
    stopper all = { .stop_at = -1 };
    CHECK_EQ(fit(false, &all, &r), LEVER_OK);
    const size_t size = read_out(want), live = lv_alloc_live();
    int stops = 0;
    for (long at = 0; at < all.calls; at += 1 + all.calls / 60) { /* stopped once, then to the end */
        forget();
        stopper s = { .stop_at = at };
        CHECK_EQ(fit(false, &s, &r), LEVER_ECANCEL);
        CHECK_EQ(read_out(got), 0);
        CHECK_EQ(fit(false, NULL, &r), LEVER_OK);
        CHECK(read_out(got) == size && !memcmp(got, want, size) && lv_alloc_live() == live);
        stops++;
    }
    forget();
    int rc = LEVER_ECANCEL;
    long patience = 80; /* calls per life: more than one window or step takes */
    for (int lives = 0; rc == LEVER_ECANCEL && lives < 1000; lives++) {
        stopper s = { .stop_at = patience };
        rc = fit(false, &s, &r);
        stops++;
    }
    CHECK_EQ(rc, LEVER_OK);
    CHECK(stops > 20 && r.resumed);
    CHECK(read_out(got) == size && !memcmp(got, want, size));
}

int main(void)
{
    mk_config c = mk_config_init();
    lever_error e = { 0 };
    close(mkstemp(target)), close(mkstemp(draft)), close(mkstemp(out));
    c.n_layers = 3;
    CHECK_OK(mk_model_write(target, &c, &e), &e);
    c.n_layers = 1;
    CHECK_OK(mk_model_write(draft, &c, &e), &e);
    for (size_t i = 0; i < sizeof text; i++) text[i] = "the cat sat on a mat"[i * i % 20];
    RUN(tied_allocations);
    RUN(untied_allocations);
    RUN(stopping_anywhere_changes_nothing);
    forget();
    unlink(target);
    unlink(draft);
    return check_done();
}
