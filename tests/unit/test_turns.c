/* SPDX-License-Identifier: MIT */
#include "support/check.h"

#include "base/mem.h"
#include "os/turns.h"

enum { N = 5, ROUNDS = 200 };

typedef struct counter {
    lv_turns *turns;
    int id, rounds, *log, *n_log; /* the log is shared by all, and not locked */
} counter;

static void count(void *arg)
{
    counter *c = arg;
    for (int i = 0; i < c->rounds; i++) {
        c->log[(*c->n_log)++] = c->id;
        lv_turns_wait(c->turns);
    }
    c->log[(*c->n_log)++] = -c->id;
}

static void functions_go_on_where_they_waited(void)
{
    static int log[N * (ROUNDS + 1)];
    int n_log = 0;
    counter c[N];
    lever_error err = { 0 };
    for (int i = 0; i < N; i++) {
        c[i] = (counter){ .id = i + 1, .rounds = i * ROUNDS / N, .log = log, .n_log = &n_log };
        CHECK_OK(lv_turns_open(&c[i].turns, 1, &err), &err);
    }
    for (int again = 0; again < 3; again++) { /* a thread can be used for one function after the other */
        bool waits[N];
        int n_waiting = 0, expected = 0;
        n_log = 0;
        for (int i = 0; i < N; i++) {
            n_waiting += waits[i] = lv_turns_begin(c[i].turns, count, &c[i]);
            CHECK_EQ(log[expected], c[i].rounds ? c[i].id : -c[i].id);
            CHECK_EQ(n_log, ++expected); /* it ran, and then waited */
        }
        for (int round = 1; n_waiting; round++)
            for (int i = 0; i < N; i++) {
                if (!waits[i]) continue;
                n_waiting -= !(waits[i] = lv_turns_go_on(c[i].turns));
                CHECK_EQ(log[expected], round < c[i].rounds ? c[i].id : -c[i].id);
                CHECK_EQ(n_log, ++expected);
            }
        for (int i = 0; i < N; i++) expected -= c[i].rounds + 1;
        CHECK_EQ(expected, 0);
    }
    for (int i = 0; i < N; i++) lv_turns_close(&c[i].turns);
}

static void threads_are_started_or_not_at_all(void)
{
    const size_t live = lv_alloc_live();
    lever_error err = { 0 };
    lv_turns *t;
    CHECK_OK(lv_turns_open(&t, 256 << 10, &err), &err);
    lv_turns_close(&t); /* never used */
    lv_turns_close(&t);
    lv_turns_close(NULL);
    lv_alloc_fault(0, false);
    CHECK_EQ(lv_turns_open(&t, 1, &err), LEVER_ENOMEM);
    CHECK(t == NULL);
    lv_alloc_fault(-1, false);
    CHECK_EQ(lv_turns_open(&t, (size_t)1 << 60, &err), LEVER_ENOMEM); /* no address space for its stack */
    CHECK_EQ(lv_alloc_live(), live);
}

int main(void)
{
    RUN(functions_go_on_where_they_waited);
    RUN(threads_are_started_or_not_at_all);
    return check_done();
}
