/* A kernel that does not take requests: io_uring_submit is replaced at link time (--wrap).
 * SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <errno.h>

#include "base/mem.h"
#include "flash/io.h"
#include "support/tempfile.h"

struct io_uring;
int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);

static int n_refusals, refusal; /* so many calls more get this */

int __wrap_io_uring_submit(struct io_uring *ring)
{
    if (n_refusals == 0) return __real_io_uring_submit(ring);
    n_refusals--;
    return refusal;
}

enum { LEN = 8192, N = 8 };
static lv_file file;
static uint8_t *buf; /* [N][LEN] */
static lv_io_read reads[N], *batch[N];

static lv_io *open_io(const lv_read_fault *fault)
{
    lv_io *io = NULL;
    lever_error err = { 0 };
    lv_io_config c;
    lv_io_config_init(&c);
    c.depth = N;
    if (fault) c.fault = *fault;
    if (lv_io_open(&io, "uring", &c, &err) < 0) SKIP(err.msg);
    memset(buf, 0x11, N * LEN);
    for (uint32_t i = 0; i < N; i++) {
        reads[i] = (lv_io_read){ .file = &file, .off = i * LEN, .dst = buf + i * LEN, .len = LEN };
        batch[i] = &reads[i];
    }
    return io;
}

static void reap_right(lv_io *io, int n)
{
    lv_io_read *done[N];
    for (int left = n; left > 0;) {
        const int got = lv_io_reap(io, done, N, 1);
        CHECK(got >= 1);
        for (int i = 0; i < got; i++, left--) {
            const uint8_t *p = done[i]->dst;
            CHECK_EQ(done[i]->result, LEN);
            for (uint32_t k = 0; k < LEN; k++)
                if (p[k] != temp_byte(done[i]->off + k)) CHECK(!"wrong byte");
        }
    }
}

static void a_busy_kernel_is_asked_again(void)
{
    lv_io *io = open_io(NULL);
    for (int i = 0; i < 2; i++) {
        n_refusals = 50, refusal = i ? -EINTR : -EAGAIN;
        CHECK_EQ(lv_io_submit(io, batch, N), N);
        CHECK_EQ(n_refusals, 0);
        reap_right(io, N);
    }
    lv_io_close(&io);
}

/* What it did not take must not be read later: the memory is the caller's again. */
static void a_kernel_that_goes_on_refusing_is_an_error_and_reads_nothing(void)
{
    static const int errors[] = { -EAGAIN, -EINTR, -ENOMEM };
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        lv_io *io = open_io(NULL);
        CHECK_EQ(lv_io_submit(io, batch, 3), 3); /* these stay in flight */
        n_refusals = 1000000, refusal = errors[i];
        CHECK_EQ(lv_io_submit(io, batch + 3, 4), LEVER_EIO);
        n_refusals = 0;
        CHECK_EQ(lv_io_submit(io, batch + 7, 1), LEVER_EIO); /* the old requests would come first */
        reap_right(io, 3);
        CHECK_EQ(lv_io_reap(io, (lv_io_read *[1]){ 0 }, 1, 1), 0);
        lv_io_close(&io);
        size_t touched = 0;
        for (size_t k = 3 * LEN; k < N * LEN; k++) touched += buf[k] != 0x11;
        CHECK_EQ(touched, 0);
    }
}

/* The rest of a short read can not be queued any more: pread finishes it. */
static void a_started_read_is_finished_without_the_ring(void)
{
    lv_io *io = open_io(&(lv_read_fault){ .short_bytes = 4096 });
    CHECK_EQ(lv_io_submit(io, batch, N), N);
    n_refusals = 1000000, refusal = -EAGAIN;
    reap_right(io, N);
    n_refusals = 0;
    lv_io_close(&io);
}

int main(void)
{
    char path[64];
    lever_error err = { 0 };
    if (temp_make(path, sizeof path, N * LEN) || lv_file_open(&file, path, &err) < 0)
        SKIP("no place for a test file");
    unlink(path);
    buf = lv_map(N * LEN);
    RUN(a_busy_kernel_is_asked_again);
    RUN(a_kernel_that_goes_on_refusing_is_an_error_and_reads_nothing);
    RUN(a_started_read_is_finished_without_the_ring);
    lv_unmap(buf, N * LEN);
    lv_file_close(&file);
    return check_done();
}
