/* `lever profile`: measure this machine once, so that every run can use what was found.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app.h"
#include "cache_dir.h"
#include "options.h"
#include "profile_file.h"
#include "profile_show.h"

/* The file that is written when none is given: 1 GiB, and less in less time than usual. */
enum { PIECE = 4 << 20, PIECES = 256, PIECES_LEAST = 16, LEAST = PIECE * PIECES_LEAST, USUAL_S = 45 };

typedef struct profile_args {
    const char *model, *draft, *file, *folder, *device, *types, *cpus, *isa;
    uint64_t mem;
    uint32_t threads;
    float seconds;
    bool no_run, show, if_stale, json, help;
} profile_args;

static const option options[] = {
    { NULL, OPTION_FLAG, NULL, "what is measured", 0 },
    { "-m --model", OPTION_TEXT, "FILE", "the model that will be run: its file is read, its types of weights are\n"
      "measured, and it is run", offsetof(profile_args, model) },
    { "-md --model-draft", OPTION_TEXT, "FILE", "the draft that will be run with it", offsetof(profile_args, draft) },
    { "--no-run", OPTION_FLAG, NULL, "do not run the models", offsetof(profile_args, no_run) },
    { "--file", OPTION_TEXT, "FILE", "read this file instead of the model's", offsetof(profile_args, file) },
    { "--dir", OPTION_TEXT, "DIR", "without a file: write 1 GiB here for the time of the measurement;\n"
      "default: .", offsetof(profile_args, folder) },
    { "--device", OPTION_TEXT, "NAME", "products, and the models, on this device too: opencl, opencl:NAME",
      offsetof(profile_args, device) },
    { "--types", OPTION_TEXT, "LIST", "types of weights, beside those of the models;\n"
      "default: Q4_0,Q8_0,Q4_K,Q6_K,F16", offsetof(profile_args, types) },
    { NULL, OPTION_FLAG, NULL, "how", 0 },
    { "--mem", OPTION_BYTES, "SIZE", "memory limit for running the models; default: 3/4 of what is free",
      offsetof(profile_args, mem) },
    { "-t --threads", OPTION_U32, "N", "threads; default: every core. What is measured holds for this number",
      offsetof(profile_args, threads) },
    { "--cpus", OPTION_TEXT, "LIST", "bind the threads to these cores: 0-3,6 or fast", offsetof(profile_args, cpus) },
    { "--isa", OPTION_TEXT, "NAME", "use at most these instructions", offsetof(profile_args, isa) },
    { "--time", OPTION_FLOAT, "S", "seconds in all, beside loading models; default 45, of which parts\n"
      "that are not measured are saved", offsetof(profile_args, seconds) },
    { NULL, OPTION_FLAG, NULL, "what is shown", 0 },
    { "--show", OPTION_FLAG, NULL, "measure nothing, print what is kept", offsetof(profile_args, show) },
    { "--if-stale", OPTION_FLAG, NULL, "measure only what is not kept already for these conditions",
      offsetof(profile_args, if_stale) },
    { "--json", OPTION_FLAG, NULL, "every measured point as one JSON object on stdout",
      offsetof(profile_args, json) },
    { "-h --help", OPTION_FLAG, NULL, "this page", offsetof(profile_args, help) },
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    signal(signal_number, SIG_DFL); /* a second one ends the program, also while a model is loaded */
    interrupted = 1;
}

/* ---- a file to read ---- */

static int fail(lever_error *err, const char *folder)
{
    snprintf(err->msg, sizeof err->msg, "a file to measure with can not be written in '%.300s': %s", folder,
             strerror(errno));
    return err->code = LEVER_EIO;
}

/* A file of random bytes without a name, so that nothing is left behind. The descriptor, or LEVER_EIO. */
static int scratch_file(const char *folder, int pieces, progress *p, lever_error *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/lever-profile-XXXXXX", folder);
    const int fd = mkstemp(path);
    if (fd < 0) return fail(err, folder);
    unlink(path);
    uint64_t *piece = malloc(PIECE), x = 88172645463325252u;
    int rc = piece ? fd : fail(err, folder);
    for (int i = 0; i < pieces && rc >= 0 && !interrupted; i++) {
        for (size_t k = 0; k < PIECE / sizeof x; k++) piece[k] = x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        if (write(fd, piece, PIECE) != PIECE) rc = fail(err, folder);
        progress_show(p, "writing a file to measure with", (uint64_t)i + 1, (uint64_t)pieces);
    }
    if (rc >= 0 && fsync(fd)) rc = fail(err, folder);
    free(piece);
    if (rc < 0) close(fd);
    return rc;
}

/* What is read: a file, or the model, or where that is too small or not given, a file beside it or in the
 * folder. */
typedef struct flash_file {
    char path[64];      /* of the descriptor */
    char folder[4096];
    const char *use;    /* path, or what was given */
    const char *on;     /* something that lies on the device to measure */
    int  fd;            /* -1: none was written */
} flash_file;

static void folder_of(const profile_args *a, flash_file *f)
{
    f->on = a->file ? a->file : a->model ? a->model : f->folder;
    const char *slash = a->model && !a->folder ? strrchr(a->model, '/') : NULL;
    if (a->folder || !slash) snprintf(f->folder, sizeof f->folder, "%s", a->folder ? a->folder : ".");
    else snprintf(f->folder, sizeof f->folder, "%.*s", (int)(slash - a->model) + 1, a->model);
}

static int open_flash(flash_file *f, const profile_args *a, progress *line, lever_error *err)
{
    struct stat st;
    f->use = a->file ? a->file : a->model;
    if (a->file || (a->model && (stat(a->model, &st) || st.st_size >= LEAST)))
        return LEVER_OK; /* where there is none the library says so */
    const float share = a->seconds > 0 && a->seconds < USUAL_S ? a->seconds / USUAL_S : 1;
    const int pieces = (int)(share * PIECES);
    f->fd = scratch_file(f->folder, pieces < PIECES_LEAST ? PIECES_LEAST : pieces, line, err);
    if (f->fd < 0) return f->fd;
    snprintf(f->path, sizeof f->path, "/proc/self/fd/%d", f->fd);
    f->use = f->path;
    return LEVER_OK;
}

/* ---- measuring ---- */

static bool on_progress(void *user, const char *what, uint32_t done, uint32_t total)
{
    (void)what; /* one line for all steps, so that the time left is of all of them */
    progress_show(user, "measuring this machine", done, total);
    return !interrupted;
}

/* Compiled kernels of devices stay beside the profile; NULL where there is no such folder. */
static const char *device_cache(char *buf, size_t cap)
{
    return cache_path(buf, cap, "") && !cache_make() ? buf : NULL;
}

static int measure(const profile_args *a, flash_file *f, const char *where, lever_machine *m,
                   lever_error *err)
{
    progress line = { 0 };
    char cache[CACHE_PATH_CAP];
    int rc = open_flash(f, a, &line, err);
    const lever_profile_params params = { .flash_path = f->use,
                                          .flash_where = where,
                                          .model_path = a->model,
                                          .draft_path = a->draft,
                                          .no_run = a->no_run,
                                          .device = a->device,
                                          .device_cache = device_cache(cache, sizeof cache),
                                          .types = a->types,
                                          .mem_bytes = a->mem,
                                          .n_threads = a->threads,
                                          .cpus = a->cpus,
                                          .isa = a->isa,
                                          .seconds = (double)a->seconds,
                                          .on_progress = on_progress,
                                          .user = &line };
    if (rc >= 0) rc = lever_profile(m, &params, err);
    progress_clear(&line);
    if (f->fd >= 0) close(f->fd);
    return rc;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* What was measured in another way is measured again. */
static bool knows_model(const lever_machine *m, const char *path)
{
    for (uint32_t i = 0; path && i < m->n_models; i++)
        if (m->models[i].way >= LEVER_MACHINE_WAY && !m->models[i].kind[0] &&
            !strncmp(m->models[i].name, base_name(path), sizeof m->models[i].name - 1))
            return true;
    return !path;
}

/* Is everything kept that would be measured? */
static bool is_complete(const profile_args *a, const lever_machine *m, const char *where)
{
    bool flash = false, device = !a->device || !strcmp(a->device, "cpu");
    for (uint32_t i = 0; i < m->n_flashes; i++)
        flash |= !strcmp(m->flashes[i].where, where) && m->flashes[i].reads.n_points;
    const size_t kind = a->device ? strcspn(a->device, ":") : 0;
    for (uint32_t i = 1; i < m->n_devices; i++)
        device |= !strncmp(m->devices[i].kind, a->device ? a->device : "", kind);
    return flash && device && m->measured[0] &&
           (a->no_run || (knows_model(m, a->model) && knows_model(m, a->draft)));
}

/* ---- the command ---- */

static int print(const profile_args *a, const lever_machine *m, const char *where)
{
    if (!a->json) profile_print(m, where);
    else if (!profile_print_json(m, where)) return EXIT_OTHER;
    return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_OK : EXIT_IO;
}

static int show(const profile_args *a, const lever_machine *m, enum profile_found found, const char *why)
{
    if (found == PROFILE_STALE) fprintf(stderr, "lever: this was measured under other conditions: %s\n", why);
    else if (found == PROFILE_NONE) fputs("lever: nothing is kept of this machine; run lever profile\n", stderr);
    return print(a, m, NULL);
}

static int measure_and_keep(const profile_args *a, flash_file *f, const char *where, lever_machine *m)
{
    char path[CACHE_PATH_CAP];
    lever_error err = { 0 };
    signal(SIGINT, on_interrupt);
    int rc = measure(a, f, where, m, &err);
    if (rc < 0) return app_fail(rc, &err);
    rc = profile_store(m, &err);
    const int code = print(a, m, where);
    if (rc < 0) return app_fail(rc, &err);
    if (profile_path(path, sizeof path) && !a->json) printf("\nkept in %s; later runs use it\n", path);
    return code;
}

static int check(const profile_args *a)
{
    if (!a->draft || a->model) return EXIT_OK;
    fputs("lever: a draft (-md) is measured beside a model (-m)\n", stderr);
    return EXIT_USAGE;
}

int cmd_profile(int argc, char **argv)
{
    static profile_args a;
    static lever_machine m;
    static flash_file f = { .fd = -1 };
    lever_error err = { 0 };
    lever_machine_id id;
    char why[256], where[PROFILE_WHERE_CAP];
    const char *none[1];
    int n;
    const size_t n_options = sizeof options / sizeof *options;
    if (options_parse(options, n_options, &a, argc, argv, 2, none, 0, &n) || check(&a)) return EXIT_USAGE;
    if (a.help) {
        puts("usage: lever profile [-m FILE [-md FILE] | --file FILE | --dir DIR] [--device NAME] [--json]\n\n"
             "Measures in under a minute how this machine reads files and multiplies, and keeps the result for\n"
             "later runs: docs/profile.md.");
        options_help(options, n_options);
        return EXIT_OK;
    }
    const int rc = lever_machine_identify(&id, a.threads, a.cpus, a.isa, &err);
    if (rc < 0) return app_fail(rc, &err);
    const enum profile_found found = profile_load(&m, &id, why, sizeof why);
    if (a.show) return show(&a, &m, found, why);
    folder_of(&a, &f);
    if (!profile_where(f.on, where, sizeof where)) {
        snprintf(err.msg, sizeof err.msg, "can not look at '%.300s': %s", f.on, strerror(errno));
        return app_fail(LEVER_EIO, &err);
    }
    if (a.if_stale && found == PROFILE_GOOD && is_complete(&a, &m, where)) return print(&a, &m, where);
    return measure_and_keep(&a, &f, where, &m);
}
