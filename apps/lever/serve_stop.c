/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "serve_answer.h"

/* Does a stop sequence end where text [n] ends? Returns its bytes, of several the longest; 0: none. */
static size_t complete_at(const serve_ask *a, const char *text, size_t n)
{
    size_t best = 0, at = 0;
    for (uint32_t i = 0; i < a->n_stops; at += a->stop_bytes[i++]) {
        const size_t len = a->stop_bytes[i];
        if (len > best && len <= n && !memcmp(text + n - len, a->stops.p + at, len)) best = len;
    }
    return best;
}

/* How much of the end of text [n] may be the beginning of one. */
static size_t begun_at(const serve_ask *a, const char *text, size_t n)
{
    size_t best = 0, at = 0;
    for (uint32_t i = 0; i < a->n_stops; at += a->stop_bytes[i++])
        for (size_t len = a->stop_bytes[i] - 1u; len > best; len--)
            if (len <= n && !memcmp(text + n - len, a->stops.p + at, len)) best = len;
    return best;
}

bool stop_push(stop_filter *f, const char *text, size_t n, stop_out out, void *user)
{
    if (f->stopped) return false;
    if (f->ask->n_stops == 0) {
        if (n) out(user, text, n);
        return true;
    }
    const size_t before = f->held.n;
    text_add(&f->held, text, n);
    for (size_t end = before + 1; end <= f->held.n; end++) {
        const size_t len = complete_at(f->ask, f->held.p, end);
        if (!len) continue;
        f->stopped = true;
        if (end > len) out(user, f->held.p, end - len);
        f->held.n = 0;
        return false;
    }
    const size_t keep = begun_at(f->ask, f->held.p, f->held.n), go = f->held.n - keep;
    if (go) out(user, f->held.p, go);
    text_drop(&f->held, go);
    return true;
}

void stop_flush(stop_filter *f, stop_out out, void *user)
{
    if (!f->stopped && f->held.n) out(user, f->held.p, f->held.n);
    f->held.n = 0;
}
