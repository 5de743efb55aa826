/* A thread beside its owner. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include "base/mem.h"
#include "os/helper.h"

typedef struct count {
    int started, done, result;
} count;

static int start(void *arg)
{
    count *c = arg;
    c->started++;
    return c->result;
}

static void work(void *arg) { ((count *)arg)->done++; }

static void each_request_is_served_once_and_seen(void)
{
    count c = { 0 };
    lv_helper *h;
    lever_error e = { 0 };
    CHECK_OK(lv_helper_open(&h, &(lv_helper_config){ start, work, &c }, &e), &e);
    CHECK_EQ(c.started, 1);
    lv_helper_wait(h); /* nothing is under way */
    for (int i = 1; i <= 2000; i++) {
        lv_helper_ask(h);
        lv_helper_wait(h);
        CHECK_EQ(c.done, i);
    }
    lv_helper_ask(h);
    lv_helper_close(&h); /* what was asked for is done */
    CHECK_EQ(c.done, 2001);
    CHECK(h == NULL);
    lv_helper_close(&h);
    lv_helper_close(NULL);
}

static void a_start_that_fails_leaves_nothing(void)
{
    const size_t live = lv_alloc_live();
    count c = { .result = LEVER_ENOMEM };
    lv_helper *h;
    lever_error e = { 0 };
    CHECK_EQ(lv_helper_open(&h, &(lv_helper_config){ start, work, &c }, &e), LEVER_ENOMEM);
    CHECK(h == NULL);
    lv_alloc_fault(0, false);
    CHECK_EQ(lv_helper_open(&h, &(lv_helper_config){ NULL, work, &c }, &e), LEVER_ENOMEM);
    lv_alloc_fault(-1, false);
    CHECK_EQ(c.done, 0);
    CHECK_EQ(lv_alloc_live(), live);
}

int main(void)
{
    RUN(each_request_is_served_once_and_seen);
    RUN(a_start_that_fails_leaves_nothing);
    return check_done();
}
