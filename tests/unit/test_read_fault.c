/* The description of read faults: its text, and what it does to results. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <errno.h>
#include <stdbool.h>

#include "os/read_fault.h"

static void the_text_sets_every_field(void)
{
    lv_read_fault f;
    lever_error e = { 0 };
    CHECK_OK(lv_read_fault_parse(&f, "first=12,count=3,error=EAGAIN,times=4,short=4096", &e), &e);
    CHECK(f.first == 12 && f.count == 3 && f.os_errno == EAGAIN && f.times == 4 && f.short_bytes == 4096);
    CHECK_OK(lv_read_fault_parse(&f, "short=7", &e), &e);
    CHECK(f.first == 0 && f.count == 0 && f.os_errno == 0 && f.times == 0 && f.short_bytes == 7);
}

static void a_bad_text_is_refused(void)
{
    static const char *const bad[] = {
        "", "first=1", "error=", "error=EWHAT", "error=EIO,", "error=EIO,first", "error=EIO,first=",
        "error=EIO,first=-1", "error=EIO,first= 1", "error=EIO,first=1x", "error=EIO,last=1", "errors=EIO",
        "short=4294967296", "error=EIO,first=99999999999999999999",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        lv_read_fault f;
        lever_error e = { 0 };
        CHECK_EQ(lv_read_fault_parse(&f, bad[i], &e), LEVER_EINVAL);
        CHECK(strstr(e.msg, "read faults '"));
    }
}

/* What is left of 8 bytes that were read; the bytes held back must be gone. */
static ssize_t apply(const lv_read_fault *f, uint64_t read, uint32_t attempt)
{
    char dst[9] = "abcdefgh";
    const ssize_t got = lv_read_fault_apply(f, read, attempt, dst, 8);
    const size_t kept = got < 0 ? 0 : (size_t)got;
    CHECK(!memcmp(dst, "abcdefgh", kept) && !dst[8]);
    for (size_t i = kept; i < 8; i++) CHECK((unsigned char)dst[i] == 0xEE);
    return got;
}

static void results_change_as_described(void)
{
    const lv_read_fault none = { 0 }, once = { .first = 3, .count = 1, .os_errno = EIO },
                        on = { .first = 3, .os_errno = ENODEV }, twice = { .os_errno = EINTR, .times = 2 },
                        cut = { .first = 1, .count = 2, .short_bytes = 5, .os_errno = EAGAIN, .times = 1 };
    CHECK_EQ(apply(&none, 0, 0), 8);
    CHECK(apply(&once, 2, 0) == 8 && apply(&once, 3, 0) == -EIO && apply(&once, 3, 1) == -EIO);
    CHECK_EQ(apply(&once, 4, 0), 8);
    CHECK(apply(&on, 2, 0) == 8 && apply(&on, 3, 0) == -ENODEV && apply(&on, 99, 7) == -ENODEV);
    CHECK(apply(&twice, 0, 0) == -EINTR && apply(&twice, 9, 1) == -EINTR && apply(&twice, 9, 2) == 8);
    CHECK(apply(&cut, 0, 0) == 8 && apply(&cut, 1, 0) == -EAGAIN && apply(&cut, 2, 1) == 5);
    CHECK_EQ(apply(&cut, 3, 0), 8);
    char c = 'x';
    CHECK_EQ(lv_read_fault_apply(&cut, 1, 1, &c, -EIO), -EIO); /* a true error stays one */
    CHECK_EQ(lv_read_fault_apply(&cut, 1, 1, &c, 0), 0);       /* and so does the end of the file */
    CHECK_EQ(c, 'x');
}

int main(void)
{
    RUN(the_text_sets_every_field);
    RUN(a_bad_text_is_refused);
    RUN(results_change_as_described);
    return check_done();
}
