/* Lists of cores, and what binding does. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>

#include "support/check.h"

#include "os/affinity.h"
#include "os/cpu.h"
#include "os/pool.h"

static unsigned first_cpu(void)
{
    cpu_set_t set;
    unsigned c = 0;
    CHECK(!sched_getaffinity(0, sizeof set, &set));
    while (!CPU_ISSET(c, &set)) c++;
    return c;
}

static void lists_and_ranges_are_read(void)
{
    lv_cpu_list list;
    lever_error e = { 0 };
    char text[64];
    const unsigned c = first_cpu();
    snprintf(text, sizeof text, "%u,%u-%u,%u", c, c, c, c);
    CHECK_OK(lv_cpu_list_parse(&list, text, &e), &e);
    CHECK(list.n == 1 && list.cpus[0] == c); /* each once */
    CHECK_OK(lv_cpu_list_parse(&list, "fast", &e), &e);
    CHECK(list.n >= 1 && list.n <= lv_cpu_count());
}

static void what_is_no_list_is_refused(void)
{
    static const char *const bad[] = { "",      ",",      "0,",  "-1", "0-",
                                       "1-0-1", "x",      "0x1", "0 ", "99999999999999999999",
                                       "1023",  "fastest" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        lv_cpu_list list;
        lever_error e = { 0 };
        CHECK_EQ(lv_cpu_list_parse(&list, bad[i], &e), LEVER_EINVAL);
        CHECK(strstr(e.msg, bad[i]) != NULL);
    }
}

static void fast_cores_have_half_the_capacity_of_the_strongest(void)
{
    static const unsigned cpus[] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    static const unsigned long phone[] = { 250, 250, 250, 250, 760, 760, 760, 1024 }, equal[8] = { 0 };
    lv_cpu_list list;
    lv_cpu_list_fast(&list, cpus, phone, 8);
    CHECK(list.n == 4 && list.cpus[0] == 4 && list.cpus[3] == 7);
    lv_cpu_list_fast(&list, cpus, equal, 8); /* nothing is known */
    CHECK_EQ(list.n, 8);
}

/* On a thread of its own, whose cores are not those of the test. */
static void *bind_others(void *arg)
{
    const unsigned c = first_cpu();
    const lv_cpu_list first = { .n = 1, .cpus = { c } };
    cpu_set_t before, set;
    sched_getaffinity(0, sizeof before, &before);
    const bool bound = lv_thread_bind_others(&first);
    sched_getaffinity(0, sizeof set, &set);
    const bool one_less = !CPU_ISSET(c, &set) && CPU_COUNT(&set) + 1 == CPU_COUNT(&before);
    *(bool *)arg = CPU_COUNT(&before) > 1 ? bound && one_less : !bound && CPU_EQUAL(&set, &before);
    lv_thread_step_back();
    return NULL;
}

static void the_other_cores_are_left_if_there_are_any(void)
{
    pthread_t thread;
    bool right = false;
    const unsigned before = lv_cpu_count();
    CHECK(!pthread_create(&thread, NULL, bind_others, &right));
    pthread_join(thread, NULL);
    CHECK(right);
    CHECK_EQ(lv_cpu_count(), before);
}

static void where_am_i(void *arg, size_t begin, size_t end, unsigned thread)
{
    cpu_set_t set;
    if (thread && !sched_getaffinity(0, sizeof set, &set)) ((int *)arg)[thread] = CPU_COUNT(&set);
    for (volatile int i = 0; i < 100000; i++) {
    } /* long enough for the others to come */
    (void)begin, (void)end;
}

static void workers_are_bound_and_the_caller_is_not(void)
{
    lv_cpu_list list = { .n = 1, .cpus = { first_cpu() } };
    lever_error e = { 0 };
    lv_pool *pool;
    int seen[3] = { 0 };
    const unsigned before = lv_cpu_count();
    CHECK_OK(lv_pool_open(&pool, 3, &list, &e), &e);
    for (int i = 0; i < 1000 && !(seen[1] && seen[2]); i++) lv_pool_run(pool, 30, 1, where_am_i, seen);
    lv_pool_close(&pool);
    CHECK(seen[1] == 1 && seen[2] == 1);
    CHECK_EQ(lv_cpu_count(), before);
}

static void binding_is_undone(void)
{
    const unsigned before = lv_cpu_count();
    lv_affinity a;
    lv_affinity_save(&a);
    CHECK(lv_thread_bind(first_cpu()));
    CHECK_EQ(lv_cpu_count(), 1);
    lv_affinity_restore(&a);
    CHECK_EQ(lv_cpu_count(), before);
    lv_affinity none = { 0 };
    lv_affinity_restore(&none);
    CHECK(!lv_thread_bind(1000));
}

int main(void)
{
    RUN(lists_and_ranges_are_read);
    RUN(what_is_no_list_is_refused);
    RUN(the_other_cores_are_left_if_there_are_any);
    RUN(fast_cores_have_half_the_capacity_of_the_strongest);
    RUN(workers_are_bound_and_the_caller_is_not);
    RUN(binding_is_undone);
    return check_done();
}
