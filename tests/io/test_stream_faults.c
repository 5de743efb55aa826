/* test_stream_faults BACKEND: files that change, bits that flip, reads and allocations that fail: an error, and never
 * wrong bytes. SPDX-License-Identifier: MIT */
#include "io/stream_rig.h"
#include "support/open_fds.h"

#include <errno.h>
#include <time.h>

static void a_file_cut_or_changed_under_us_is_an_error(void)
{
    for (int how = 0; how < 3; how++) { /* cut, changed, changed in mid-sweep */
        char name[64];
        lever_error err = { 0 };
        const lv_io_config c = io_config();
        CHECK_EQ(temp_make(name, sizeof name, FILE_BYTES), 0);
        const lv_file keep = file;
        CHECK_OK(lv_file_open(&file, name, &err), &err);
        make_extents(6, 9000);
        lv_stream *s = open_stream(&c, lv_stream_min_ring(extents, N));
        for (int i = 0; i < N; i++) {
            CHECK(take(s, i, &err));
            lv_stream_release(s);
        }
        const int middle = how == 2 ? N / 2 : 0;
        for (int i = 0; i < middle; i++) {
            CHECK(take(s, i, &err));
            lv_stream_release(s);
        }
        if (how == 0) {
            CHECK_EQ(truncate(name, 1000), 0);
        } else { /* same size, other bytes, a later time */
            FILE *f = fopen(name, "r+b");
            nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL); /* file times are coarse */
            CHECK(f && fputc('x', f) != EOF);
            if (f) fclose(f);
        }
        int failed_at = -1;
        for (int i = 0; i < 2 * N && failed_at < 0; i++) {
            const void *p;
            const int rc = lv_stream_next(s, &p, &err);
            if (rc < 0) {
                CHECK_EQ(rc, LEVER_EIO);
                failed_at = i;
            } else {
                lv_stream_release(s);
            }
        }
        /* At the start of a sweep, or before its last extent: no sweep over a changed file is ever complete.
         */
        CHECK_EQ(failed_at, how == 2 ? N - 1 - middle : 0);
        CHECK(strstr(err.msg, name) != NULL);
        close_stream(&s);
        lv_file_close(&file);
        file = keep;
        unlink(name);
    }
}

/* ---- checksums ---- */

static void a_damaged_page_is_an_error_after_one_more_read(void)
{
    const lv_io_config c = io_config();
    make_extents(8, 9000);
    for (uint32_t page = 0; page <= FILE_BYTES / LV_SUMS_PAGE; page += 7) {
        lv_sums sum;
        lever_error err = { 0 };
        use_sums(&sum, page);
        lv_stream *s = open_stream(&c, lv_stream_min_ring(extents, N) * 2);
        int rc = LEVER_OK;
        for (int i = 0; i < N && rc >= 0; i++) {
            const uint64_t last = extents[i].off + extents[i].len - 1;
            const bool hit = extents[i].off / LV_SUMS_PAGE <= page && page <= last / LV_SUMS_PAGE;
            const void *p;
            n_checks = 0;
            rc = lv_stream_next(s, &p, &err);
            CHECK_EQ(rc, hit ? LEVER_EIO : LEVER_OK);
            CHECK_EQ(n_checks, hit ? 2 : 1);
            if (rc >= 0) lv_stream_release(s);
        }
        char at[32];
        snprintf(at, sizeof at, "byte %lu (", (unsigned long)page * LV_SUMS_PAGE);
        if (rc < 0) CHECK(strstr(err.msg, path) && strstr(err.msg, at) && strstr(err.msg, "read again"));
        close_stream(&s);
        drop_sums();
    }
}

static void a_wrong_bit_on_the_way_is_repaired_by_another_read(void)
{
    if (strcmp(backend, "sim")) return;
    make_extents(8, 9000);
    for (int checked = 0; checked < 2; checked++)
        for (long at = 0; at < 3 * N; at++) {
            lv_sums sum;
            lv_io_config c = io_config();
            c.fault = (lv_read_fault){ .first = (uint64_t)at, .count = 1, .flip = true };
            if (checked) use_sums(&sum, UINT32_MAX);
            lv_stream *s = open_stream(&c, lv_stream_min_ring(extents, N) * 2);
            lever_error err = { 0 };
            int n_wrong = 0;
            for (int i = 0; i < 4 * N; i++) {
                n_wrong += !take(s, i % N, &err);
                lv_stream_release(s);
            }
            lv_stream_stats st;
            lv_stream_get_stats(s, &st);
            if (checked) CHECK_EQ(n_wrong, 0);
            else CHECK(n_wrong <= 1); /* the bit may lie beside the extent */
            close_stream(&s);
            if (checked) drop_sums();
        }
}

static void wrong_bits_that_stay_are_an_error_and_never_handed_out(void)
{
    if (strcmp(backend, "sim")) return;
    make_extents(8, 9000);
    for (long at = 0; at < 2 * N; at++) {
        lv_sums sum;
        lv_io_config c = io_config();
        c.fault = (lv_read_fault){ .first = (uint64_t)at, .flip = true };
        use_sums(&sum, UINT32_MAX);
        lv_stream *s = open_stream(&c, lv_stream_min_ring(extents, N) * 2);
        lever_error err = { 0 };
        int i = 0;
        while (i < 4 * N && take(s, i % N, &err)) {
            lv_stream_release(s);
            i++;
        }
        CHECK(i < 4 * N && err.code == LEVER_EIO && strstr(err.msg, "one.weight") != NULL);
        CHECK_OK(lv_stream_restart(s, &err), &err); /* still usable: the next failure is again clean */
        const void *p;
        CHECK_EQ(lv_stream_next(s, &p, &err), LEVER_EIO);
        close_stream(&s);
        drop_sums();
    }
}

/* ---- faults ---- */

/* Every read for one backend; for the others some: a busy disk takes its time. */
static uint64_t step(void) { return strcmp(backend, "sim") ? 5 : 1; }

static void one_failing_read_is_retried(void)
{
    make_extents(8, 9000);
    for (uint64_t at = 0; at < 3 * N; at += step()) {
        lv_io_config c = io_config();
        c.fault = (lv_read_fault){ .first = at, .count = 1, .os_errno = EIO };
        lv_stream *s = open_stream(&c, lv_stream_min_ring(extents, N) * 2);
        lever_error err = { 0 };
        for (int i = 0; i < 4 * N; i++) {
            CHECK(take(s, i % N, &err));
            lv_stream_release(s);
        }
        close_stream(&s);
    }
}

static void reads_that_go_on_failing_are_an_error_and_never_wrong_bytes(void)
{
    make_extents(8, 9000);
    for (uint64_t at = 0; at < 2 * N; at += step()) {
        lv_io_config c = io_config();
        c.fault = (lv_read_fault){ .first = at, .os_errno = at % 2 ? EIO : ENODEV };
        lv_stream *s = open_stream(&c, lv_stream_min_ring(extents, N) * 2);
        lever_error err = { 0 };
        int rc = LEVER_OK;
        for (int i = 0; i < 4 * N && rc >= 0; i++) {
            const void *p;
            rc = lv_stream_next(s, &p, &err);
            if (rc < 0) break;
            for (uint32_t j = 0; j < extents[i % N].len; j++)
                if (((const uint8_t *)p)[j] != temp_byte(extents[i % N].off + j)) CHECK(!"wrong byte");
            lv_stream_release(s);
        }
        CHECK_EQ(rc, LEVER_EIO);
        CHECK(strstr(err.msg, path) != NULL);
        CHECK_OK(lv_stream_restart(s, &err), &err); /* still usable: the next failure is again clean */
        const void *p;
        CHECK_EQ(lv_stream_next(s, &p, &err), LEVER_EIO);
        close_stream(&s);
    }
}

static void opening_survives_every_failed_allocation(void)
{
    make_extents(3, 9000);
    const size_t live = lv_alloc_live(), bytes = lv_stream_min_ring(extents, N);
    const int fds = open_fds();
    const lv_io_config c = io_config();
    for (int mode = 0; mode < 2; mode++)
        for (long n = 0;; n++) {
            lever_error err = { 0 };
            lv_file f = { .fd = -1, .fd_direct = -1 };
            lv_io *q = NULL;
            lv_stream *s = NULL;
            lv_alloc_fault(n, mode);
            uint8_t *r = lv_map(bytes);
            int rc = r ? LEVER_OK : LEVER_ENOMEM;
            if (rc >= 0) rc = lv_file_open(&f, "/proc/self/exe", &err);
            if (rc >= 0) rc = lv_io_open(&q, backend, &c, &err);
            const lv_stream_config sc = {
                .io = q, .extents = extents, .n_extents = N, .ring = r, .ring_bytes = bytes
            };
            if (rc >= 0) rc = lv_stream_open(&s, &sc, &err);
            const bool fired = lv_alloc_fault_fired();
            lv_alloc_fault(-1, false);
            lv_stream_close(&s);
            lv_io_close(&q);
            lv_file_close(&f);
            lv_unmap(r, bytes);
            CHECK_EQ(lv_alloc_live(), live);
            CHECK_EQ(open_fds(), fds);
            if (!fired) {
                CHECK_OK(rc, &err);
                break;
            }
            CHECK_EQ(rc, LEVER_ENOMEM);
        }
}

int main(int argc, char **argv)
{
    begin_streams(argc, argv);
    RUN(a_file_cut_or_changed_under_us_is_an_error);
    RUN(a_damaged_page_is_an_error_after_one_more_read);
    RUN(a_wrong_bit_on_the_way_is_repaired_by_another_read);
    RUN(wrong_bits_that_stay_are_an_error_and_never_handed_out);
    RUN(one_failing_read_is_retried);
    RUN(reads_that_go_on_failing_are_an_error_and_never_wrong_bytes);
    RUN(opening_survives_every_failed_allocation);
    lv_file_close(&file);
    return check_done();
}
