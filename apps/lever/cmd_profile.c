/* `lever profile`: measure this machine once, so that every run can use what was found.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app.h"
#include "options.h"
#include "profile_file.h"

enum { PIECE = 4 << 20, PIECES = 256 }; /* of the file that is written when none is given */

typedef struct profile_args {
    const char *file, *folder;
    float seconds;
    bool json, help;
} profile_args;

static const option options[] = {
    { "-m --model", OPTION_TEXT, "FILE", "read this file, e.g. the model that will be run",
      offsetof(profile_args, file) },
    { "--dir", OPTION_TEXT, "DIR", "or write 1 GiB here for the time of the measurement; default: .",
      offsetof(profile_args, folder) },
    { "--time", OPTION_FLOAT, "S", "seconds in all; default 6", offsetof(profile_args, seconds) },
    { "--json", OPTION_FLAG, NULL, "every measured point as one JSON object on stdout",
      offsetof(profile_args, json) },
    { "-h --help", OPTION_FLAG, NULL, "this page", offsetof(profile_args, help) },
};

static int fail(lever_error *err, const char *folder)
{
    snprintf(err->msg, sizeof err->msg, "a file to measure with can not be written in '%.300s': %s", folder,
             strerror(errno));
    return err->code = LEVER_EIO;
}

/* A file of random bytes without a name, so that nothing is left behind. The descriptor, or LEVER_EIO. */
static int scratch_file(const char *folder, progress *p, lever_error *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/lever-profile-XXXXXX", folder);
    const int fd = mkstemp(path);
    if (fd < 0) return fail(err, folder);
    unlink(path);
    uint64_t *piece = malloc(PIECE), x = 88172645463325252u;
    int rc = piece ? fd : fail(err, folder);
    for (int i = 0; i < PIECES && rc >= 0; i++) {
        for (size_t k = 0; k < PIECE / sizeof x; k++) piece[k] = x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        if (write(fd, piece, PIECE) != PIECE) rc = fail(err, folder);
        progress_show(p, "writing a file to measure with", (uint64_t)i + 1, PIECES);
    }
    if (rc >= 0 && fsync(fd)) rc = fail(err, folder);
    free(piece);
    if (rc < 0) close(fd);
    return rc;
}

static void on_point(void *user, uint32_t done, uint32_t total)
{
    progress_show(user, "reading in different ways", done, total);
}

static void print_table(const lever_flash_profile *p)
{
    const lever_flash_point *best = &p->points[p->best];
    printf("reads in GB/s, by their size and the number in flight (%s)\n\n%8s", p->points[0].backend, "");
    for (uint32_t d = 1; d <= 16; d *= 2) printf("%8u", d);
    for (uint32_t i = 0, block = 0; i < p->n_points; i++) {
        const lever_flash_point *q = &p->points[i];
        if (!q->huge_pages || q->backend != p->points[0].backend) continue;
        if (q->block_bytes != block) printf("\n%4u KiB", (block = q->block_bytes) >> 10);
        printf("%7.2f%c", q->bytes_per_s * 1e-9, i == p->best ? '*' : ' ');
    }
    puts("\n");
    for (uint32_t i = 0; i < p->n_points; i++) {
        const lever_flash_point *q = &p->points[i];
        if (q->huge_pages && q->backend == p->points[0].backend) continue;
        printf("%s, %u KiB, %u in flight%s: %.2f GB/s\n", q->backend, q->block_bytes >> 10, q->depth,
               q->huge_pages ? "" : ", pages of 4 KiB", q->bytes_per_s * 1e-9);
    }
    printf("\nbest: %u reads of %u KiB, %.2f GB/s with %.0f%% of one core\n", best->depth,
           best->block_bytes >> 10, best->bytes_per_s * 1e-9, best->cpu_share * 100);
    if (!p->direct) puts("no direct reads on this file system: these numbers are of memory, not of flash");
}

static void print_json(const lever_flash_profile *p)
{
    json_t *root = json_pack("{s:b, s:i, s:o}", "direct", (int)p->direct, "best", (int)p->best, "points",
                             profile_points(p));
    json_dumpf(root, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(root);
}

static int measure(const profile_args *a, lever_flash_profile *p, lever_error *err)
{
    progress line = { 0 };
    char path[64];
    int fd = -1;
    const char *on = a->file ? a->file : a->folder ? a->folder : ".";
    if (!a->file) {
        fd = scratch_file(on, &line, err);
        if (fd < 0) return fd;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    int rc = lever_profile_flash(p, a->file ? a->file : path, (double)a->seconds, on_point, &line, err);
    progress_clear(&line);
    if (fd >= 0) close(fd);
    if (rc >= 0 && p->direct) rc = profile_store(on, p, err);
    return rc;
}

int cmd_profile(int argc, char **argv)
{
    static profile_args a;
    static lever_flash_profile p;
    lever_error err = { 0 };
    char path[4096];
    const char *none[1];
    int n;
    const size_t n_options = sizeof options / sizeof *options;
    if (options_parse(options, n_options, &a, argc, argv, 2, none, 0, &n)) return EXIT_USAGE;
    if (a.help) {
        puts("usage: lever profile [-m FILE | --dir DIR] [--json]\n\n"
             "Measures how this machine reads files, in about six seconds, and keeps the result for later "
             "runs\n"
             "on models of the same device.");
        options_help(options, n_options);
        return EXIT_OK;
    }
    const int rc = measure(&a, &p, &err);
    if (p.n_points && a.json)
        print_json(&p);
    else if (p.n_points)
        print_table(&p);
    if (rc < 0) return app_fail(rc, &err);
    if (p.direct && profile_path(path, sizeof path) && !a.json) printf("kept in %s\n", path);
    return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_OK : EXIT_IO;
}
