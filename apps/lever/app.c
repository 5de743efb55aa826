/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "app.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int exit_code_of(int code)
{
    switch (code) {
    case LEVER_OK: return EXIT_OK;
    case LEVER_EINVAL: return EXIT_USAGE;
    case LEVER_EIO: return EXIT_IO;
    case LEVER_EFORMAT: return EXIT_FORMAT;
    case LEVER_EUNSUP: return EXIT_UNSUP;
    case LEVER_ELIMIT: return EXIT_LIMIT;
    case LEVER_ECANCEL: return EXIT_CANCEL;
    default: return EXIT_OTHER;
    }
}

int app_fail(int code, const lever_error *err)
{
    fputs("lever: ", stderr);
    /* Names from a model file may stand in the text: nothing in them may drive the terminal. */
    for (const char *p = err->msg[0] ? err->msg : lever_status_text(code); *p; p++)
        fputc((unsigned char)*p >= 0x20 && *p != 0x7f ? *p : '?', stderr);
    fputc('\n', stderr);
    return exit_code_of(code);
}

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void progress_show(progress *p, const char *what, uint64_t done, uint64_t total)
{
    const uint64_t now = now_ns();
    if (!isatty(STDERR_FILENO) || total == 0) return;
    if (p->what != what) *p = (progress){ .what = what, .started_ns = now, .visible = p->visible };
    /* Quiet for the first 300 ms, so that short work shows nothing; then ten times a second. */
    if (now - p->started_ns < 300000000u || now - p->shown_ns < 100000000u) return;
    p->shown_ns = now;
    p->visible = true;
    const double share = (double)done / (double)total, spent = (double)(now - p->started_ns) * 1e-9;
    fprintf(stderr, "\r\033[K%s %3.0f%%", what, 100 * share);
    if (share > 0.01) fprintf(stderr, ", %.0f s left", spent / share * (1 - share));
    fflush(stderr);
}

void progress_clear(progress *p)
{
    if (p->visible) fputs("\r\033[K", stderr);
    p->visible = false;
}

bool demo_model_path(char *buf, size_t cap, const char *name)
{
    const char *env = getenv("LEVER_MODELS");
    if (env && *env) {
        snprintf(buf, cap, "%s/%s", env, name);
        return access(buf, R_OK) == 0;
    }
    char exe[4096];
    const ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n > 0) {
        exe[n] = '\0';
        char *slash = strrchr(exe, '/');
        if (slash) *slash = '\0';
        static const char *const places[] = { "../../models", "../share/lever/models", "models" };
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            snprintf(buf, cap, "%s/%s/%s", exe, places[i], name);
            if (access(buf, R_OK) == 0) return true;
        }
    }
    snprintf(buf, cap, "models/%s", name);
    return access(buf, R_OK) == 0;
}
