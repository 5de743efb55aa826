/* Checks for test programs: they survive NDEBUG, print both values and count failures.
 *   int main(void) { RUN(test_a); RUN(test_b); return check_done(); }
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_TESTS_SUPPORT_CHECK_H
#define LEVER_TESTS_SUPPORT_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_failures, check_tests;

#define CHECK(cond)                                                                     \
    do {                                                                                \
        if (!(cond)) {                                                                  \
            fprintf(stderr, "%s:%d: CHECK(%s) failed\n", __FILE__, __LINE__, #cond);    \
            check_failures++;                                                           \
        }                                                                               \
    } while (0)

#define CHECK_EQ(a, b)                                                                  \
    do {                                                                                \
        const long long a_ = (long long)(a), b_ = (long long)(b);                       \
        if (a_ != b_) {                                                                 \
            fprintf(stderr, "%s:%d: %s = %lld, expected %s = %lld\n", __FILE__,         \
                    __LINE__, #a, a_, #b, b_);                                          \
            check_failures++;                                                           \
        }                                                                               \
    } while (0)

#define CHECK_STR(a, b)                                                                 \
    do {                                                                                \
        const char *a_ = (a), *b_ = (b);                                                \
        if (strcmp(a_, b_)) {                                                           \
            fprintf(stderr, "%s:%d: %s = \"%s\", expected \"%s\"\n", __FILE__,          \
                    __LINE__, #a, a_, b_);                                              \
            check_failures++;                                                           \
        }                                                                               \
    } while (0)

/* LEVER_OK expected from a call that filled *e. */
#define CHECK_OK(call, e)                                                               \
    do {                                                                                \
        const int rc_ = (call);                                                         \
        if (rc_ < 0) {                                                                  \
            fprintf(stderr, "%s:%d: %s = %d: %s\n", __FILE__, __LINE__, #call, rc_,     \
                    (e)->msg);                                                          \
            check_failures++;                                                           \
        }                                                                               \
    } while (0)

#define RUN(test)                                                                       \
    do {                                                                                \
        const int before_ = check_failures;                                             \
        test();                                                                         \
        check_tests++;                                                                  \
        printf("%s %s\n", check_failures == before_ ? "ok  " : "FAIL", #test);          \
        fflush(stdout);                                                                 \
    } while (0)

static inline int check_done(void)
{
    printf("%d tests, %d failed checks\n", check_tests, check_failures);
    return check_failures != 0;
}

/* Leave a test program as skipped, saying why. */
#define SKIP(reason)                        \
    do {                                    \
        printf("SKIP: %s\n", reason);       \
        exit(77);                           \
    } while (0)

/* Root of the shared test material, or NULL: LEVER_SHARED, else ../shared. */
static inline const char *check_shared(void)
{
    const char *env = getenv("LEVER_SHARED");
    const char *dir = env && *env ? env : "../shared";
    char probe[4096];
    snprintf(probe, sizeof probe, "%s/README.md", dir);
    FILE *f = fopen(probe, "r");
    if (!f) return NULL;
    fclose(f);
    return dir;
}

#endif
