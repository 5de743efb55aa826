/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "serve_kept.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache_dir.h"

enum {
    KEPT_MOST = 64,             /* files */
    KEPT_TOKENS_MOST = 1 << 17, /* in memory, to know what the files hold: counted in serve_plan.c */
    KEPT_TOKENS_LEAST = 64,     /* fewer are evaluated again in no more time */
};

typedef struct kept_file {
    uint64_t number, bytes, used;
    int32_t *tokens; /* [n] owned */
    size_t   n;
} kept_file;

struct serve_kept {
    char      folder[CACHE_PATH_CAP - 32];
    kept_file files[KEPT_MOST]; /* [n] */
    size_t    n, n_tokens;      /* n_tokens: of all files */
    uint64_t  bytes, most_bytes, ticks;
};

/* ---- the folder ---- */

static void remove_folder(const char *folder)
{
    DIR *d = opendir(folder);
    char path[CACHE_PATH_CAP + 512];
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] >= '0' && e->d_name[0] <= '9') unlink(path);
    }
    if (d) closedir(d);
    rmdir(folder);
}

/* Folders of servers that were killed. */
static void remove_old(void)
{
    char cache[CACHE_PATH_CAP], path[CACHE_PATH_CAP + 256];
    DIR *d = cache_path(cache, sizeof cache, "") ? opendir(cache) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        char *end;
        if (strncmp(e->d_name, "serve-", 6) != 0) continue;
        const long pid = strtol(e->d_name + 6, &end, 10);
        if (pid <= 0 || *end || kill((pid_t)pid, 0) == 0 || errno != ESRCH) continue;
        snprintf(path, sizeof path, "%s%s", cache, e->d_name);
        remove_folder(path);
    }
    if (d) closedir(d);
}

serve_kept *kept_open(uint64_t disk_bytes)
{
    char name[32];
    serve_kept *k = disk_bytes ? calloc(1, sizeof *k) : NULL;
    if (!k) return NULL;
    remove_old();
    snprintf(name, sizeof name, "serve-%ld", (long)getpid());
    k->most_bytes = disk_bytes;
    if (cache_path(k->folder, sizeof k->folder, name) && !cache_make() &&
        (!mkdir(k->folder, 0700) || errno == EEXIST))
        return k;
    free(k);
    return NULL;
}

static void path_of(const serve_kept *k, uint64_t number, char *path, size_t cap)
{
    snprintf(path, cap, "%s/%llu", k->folder, (unsigned long long)number);
}

static void drop(serve_kept *k, size_t i)
{
    char path[CACHE_PATH_CAP];
    path_of(k, k->files[i].number, path, sizeof path);
    unlink(path);
    free(k->files[i].tokens);
    k->bytes -= k->files[i].bytes;
    k->n_tokens -= k->files[i].n;
    k->files[i] = k->files[--k->n];
}

void kept_close(serve_kept **kept)
{
    serve_kept *k = *kept;
    *kept = NULL;
    if (!k) return;
    while (k->n) drop(k, 0);
    remove_folder(k->folder);
    free(k);
}

/* ---- what is in it ---- */

static size_t common(const kept_file *f, const int32_t *tokens, size_t n)
{
    size_t same = 0;
    while (same < f->n && same < n && f->tokens[same] == tokens[same]) same++;
    return same;
}

/* The file that holds the longest beginning of the tokens, and little else; *same of them. -1: none. */
static int find(const serve_kept *k, const int32_t *tokens, size_t n, size_t *same)
{
    int best = -1;
    *same = 0;
    for (size_t i = 0; k && i < k->n; i++) {
        const size_t c = common(&k->files[i], tokens, n);
        if (c <= *same || 2 * c < k->files[i].n) continue;
        best = (int)i;
        *same = c;
    }
    return best;
}

size_t kept_match(const serve_kept *k, const int32_t *tokens, size_t n)
{
    size_t same;
    find(k, tokens, n, &same);
    return same;
}

/* Files that were used longest ago go, until there is room for one of these bytes and tokens. false: there
 * can not be. */
static bool make_room(serve_kept *k, uint64_t bytes, size_t n)
{
    while (k->n == KEPT_MOST || k->bytes + bytes > k->most_bytes || k->n_tokens + n > KEPT_TOKENS_MOST) {
        size_t oldest = 0;
        if (k->n == 0) return false;
        for (size_t i = 1; i < k->n; i++)
            if (k->files[i].used < k->files[oldest].used) oldest = i;
        drop(k, oldest);
    }
    return true;
}

bool kept_save(serve_kept *k, lever_session *session)
{
    char path[CACHE_PATH_CAP];
    struct stat st;
    size_t n;
    const int32_t *tokens = lever_session_tokens(session, &n);
    if (!k || n < KEPT_TOKENS_LEAST || n > KEPT_TOKENS_MOST) return false;
    for (size_t i = k->n; i-- > 0;)
        if (common(&k->files[i], tokens, n) == k->files[i].n) drop(k, i); /* the session holds all of it */
    kept_file f = { .number = ++k->ticks, .used = k->ticks, .n = n, .tokens = malloc(n * sizeof *tokens) };
    path_of(k, f.number, path, sizeof path);
    if (!f.tokens || lever_session_save(session, path, NULL) < 0 || stat(path, &st) ||
        !make_room(k, (uint64_t)st.st_size, n)) {
        unlink(path);
        free(f.tokens);
        return false;
    }
    memcpy(f.tokens, tokens, n * sizeof *tokens);
    f.bytes = (uint64_t)st.st_size;
    k->bytes += f.bytes;
    k->n_tokens += n;
    k->files[k->n++] = f;
    return true;
}

bool kept_load(serve_kept *k, lever_session *session, const int32_t *tokens, size_t n)
{
    char path[CACHE_PATH_CAP];
    size_t same;
    const int i = find(k, tokens, n, &same);
    if (i < 0) return false;
    path_of(k, k->files[i].number, path, sizeof path);
    const bool good = lever_session_load(session, path, NULL) >= 0;
    drop(k, (size_t)i); /* the session goes on from here; or the file is of no use */
    return good;
}
