/* Session files: a text with both KV caches, so that a talk can be put on disk and taken back.
 *
 * Little-endian, version 1, nothing between the parts, nothing behind them:
 *
 *    0  char magic [8]   "LVSESS" and two NUL
 *    8  u32  version     1
 *   12  u32  kv_type     of the target's cache: enum lv_type
 *   16  u32  draft_kv_type
 *   20  u32  n_tokens    of the text
 *   24  u32  n_kv        of them, those in the target's cache: less than n_tokens, or both are 0
 *   28  u32  n_draft_kv  in the draft's: at most n_tokens
 *   32  u64  target      fingerprint of the model (model.h)
 *   40  u64  draft       stands for the draft; 0: there was none, and n_draft_kv is 0
 *   48  u64  target_bytes, u64 draft_bytes    of the caches below
 *   64  char name [96]   of the target's file, NUL-ended: only for messages
 *  160  i32  tokens [n_tokens]
 *       u64  sum         XXH3-64 of everything before
 *       target's cache: for each layer, for each KV head: keys [n_kv], then values [n_kv]
 *       draft's cache likewise
 *       u64  sum         XXH3-64 of everything before
 *
 * Bytes are hostile: sizes are checked against the models and the file before they are used.
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "engine/engine.h"
#include "os/file.h"

enum { VERSION = 1 };
static const char magic[8] = "LVSESS\0";

typedef struct file_header {
    char     magic[8];
    uint32_t version, kv_type, draft_kv_type, n_tokens, n_kv, n_draft_kv;
    uint64_t target, draft, target_bytes, draft_bytes;
    char     name[sizeof ((lv_model_id *)0)->name];
} file_header;
_Static_assert(sizeof(file_header) == 160, "no padding");

static uint64_t cache_bytes(const lv_kv *kv, uint32_t n)
{
    return 2ull * kv->n_layers * kv->n_kv_heads * n * kv->row_bytes;
}

/* ---- saving ---- */

typedef struct writer {
    FILE      *f;
    lv_hasher *hash;
    bool       ok;
} writer;

static void put(writer *w, const void *bytes, size_t n)
{
    if (n == 0 || !w->ok) return;
    w->ok = fwrite(bytes, 1, n, w->f) == n;
    lv_hasher_add(w->hash, bytes, n);
}

static void put_sum(writer *w)
{
    const uint64_t sum = lv_hasher_sum(w->hash);
    put(w, &sum, sizeof sum);
}

static void put_cache(writer *w, const lv_kv *kv)
{
    const size_t n = kv->n_committed * kv->row_bytes;
    for (uint32_t l = 0; l < kv->n_layers; l++)
        for (uint32_t h = 0; h < kv->n_kv_heads; h++) {
            put(w, kv->k + lv_kv_offset(kv, l, h), n);
            put(w, kv->v + lv_kv_offset(kv, l, h), n);
        }
}

static file_header header_of(const lever_session *s)
{
    const lever_engine *e = s->engine;
    file_header h = { .version = VERSION, .kv_type = e->kv_type, .n_tokens = s->n_tokens, .n_kv = s->kv.n_committed,
                      .target = e->target_id.fingerprint, .target_bytes = cache_bytes(&s->kv, s->kv.n_committed) };
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.name, e->target_id.name, sizeof h.name);
    if (!e->draft) return h;
    h.draft = lv_learnt_draft(e);
    h.draft_kv_type = e->draft_kv_type;
    h.n_draft_kv = s->draft_kv.n_committed;
    h.draft_bytes = cache_bytes(&s->draft_kv, h.n_draft_kv);
    return h;
}

static bool write_all(writer *w, const lever_session *s)
{
    const file_header h = header_of(s);
    put(w, &h, sizeof h);
    put(w, s->tokens, s->n_tokens * sizeof *s->tokens);
    put_sum(w);
    put_cache(w, &s->kv);
    if (s->engine->draft) put_cache(w, &s->draft_kv);
    put_sum(w);
    return w->ok;
}

static int check_idle(const lever_session *s, lever_error *err)
{
    if (!s->run.started) return LEVER_OK;
    return lv_fail(err, LEVER_EINVAL, 0, "the session is generating; finish that first");
}

int lever_session_save(const lever_session *s, const char *path, lever_error *err)
{
    LEVER_TRY(check_idle(s, err));
    const size_t len = strlen(path);
    char *part = lv_alloc(len + sizeof ".part", 16);
    writer w = { .hash = lv_hasher_open(), .ok = true };
    int rc = LEVER_OK;
    if (!part || !w.hash) {
        rc = lv_fail(err, LEVER_ENOMEM, 0, "%s: writing a session", path);
        goto done;
    }
    memcpy(part, path, len);
    memcpy(part + len, ".part", sizeof ".part");
    lv_hasher_begin(w.hash);
    errno = 0;
    w.f = fopen(part, "wbe");
    bool ok = w.f && write_all(&w, s);
    if (w.f && fclose(w.f) != 0) ok = false;
    ok = ok && rename(part, path) == 0;
    if (!ok) rc = lv_fail(err, LEVER_EIO, errno ? errno : EIO, "%s: write of a session", part);
    if (!ok && w.f) remove(part);
done:
    lv_hasher_close(w.hash);
    lv_free(part);
    return rc;
}

/* ---- loading ---- */

typedef struct reader {
    lv_file    file;
    lv_hasher *hash;
    uint64_t   at;
} reader;

static int get(reader *r, void *out, size_t n, lever_error *err)
{
    if (n == 0) return LEVER_OK;
    LEVER_TRY(lv_file_read(&r->file, out, n, r->at, err));
    lv_hasher_add(r->hash, out, n);
    r->at += n;
    return LEVER_OK;
}

static int get_sum(reader *r, lever_error *err)
{
    const uint64_t want = lv_hasher_sum(r->hash);
    uint64_t sum;
    LEVER_TRY(get(r, &sum, sizeof sum, err));
    if (sum == want) return LEVER_OK;
    return lv_fail(err, LEVER_EFORMAT, 0, "%s: damaged before byte %" PRIu64, r->file.path, r->at);
}

static int get_cache(reader *r, lv_kv *kv, uint32_t n_rows, lever_error *err)
{
    const size_t n = n_rows * kv->row_bytes;
    lv_kv_back(kv, n_rows);
    for (uint32_t l = 0; l < kv->n_layers; l++)
        for (uint32_t h = 0; h < kv->n_kv_heads; h++) {
            LEVER_TRY(get(r, kv->k + lv_kv_offset(kv, l, h), n, err));
            LEVER_TRY(get(r, kv->v + lv_kv_offset(kv, l, h), n, err));
        }
    return LEVER_OK;
}

/* Everything that the header says must fit this file and the models in use. */
static int check_header(const lever_session *s, const reader *r, const file_header *h, lever_error *err)
{
    const lever_engine *e = s->engine;
    const char *path = r->file.path;
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return lv_fail(err, LEVER_EFORMAT, 0, "%s: not a session file", path);
    if (h->version != VERSION)
        return lv_fail(err, LEVER_EUNSUP, 0, "%s: session file of version %" PRIu32 ", not %d", path, h->version,
                       VERSION);
    if (h->target != e->target_id.fingerprint)
        return lv_fail(err, LEVER_EINVAL, 0, "%s: a session of another model, '%.95s', not of '%s'", path,
                       memchr(h->name, 0, sizeof h->name) ? h->name : "?", e->target_id.name);
    if (h->kv_type != e->kv_type)
        return lv_fail(err, LEVER_EINVAL, 0, "%s: its KV cache is not %s, the type in use; choose the other one",
                       path, e->kv_type == LV_TYPE_F16 ? "f16" : "q8_0");
    if (h->n_tokens > s->n_ctx)
        return lv_fail(err, LEVER_ELIMIT, 0, "%s: its text is %" PRIu32 " tokens long and does not fit the context of "
                       "%" PRIu32 "; use a longer -c", path, h->n_tokens, s->n_ctx);
    const uint64_t n = sizeof *h + h->n_tokens * sizeof(int32_t) + 2 * sizeof(uint64_t);
    if ((h->n_tokens ? h->n_kv >= h->n_tokens : h->n_kv) || h->n_draft_kv > h->n_tokens ||
        h->target_bytes != cache_bytes(&s->kv, h->n_kv) || h->draft_bytes > r->file.size_bytes ||
        n + h->target_bytes + h->draft_bytes != r->file.size_bytes)
        return lv_fail(err, LEVER_EFORMAT, 0, "%s: damaged, or cut short: %" PRIu64 " bytes", path, r->file.size_bytes);
    return LEVER_OK;
}

/* The text, into s->talk, which is free while nothing is compared. */
static int read_text(lever_session *s, reader *r, file_header *h, lever_error *err)
{
    if (r->file.size_bytes < sizeof *h)
        return lv_fail(err, LEVER_EFORMAT, 0, "%s: not a session file", r->file.path);
    LEVER_TRY(get(r, h, sizeof *h, err));
    LEVER_TRY(check_header(s, r, h, err));
    LEVER_TRY(get(r, s->talk, h->n_tokens * sizeof *s->talk, err));
    LEVER_TRY(get_sum(r, err));
    const int rc = lv_session_check_tokens(s, s->talk, h->n_tokens, err);
    return rc < 0 ? lv_fail_prefix(err, rc, "%s", r->file.path) : LEVER_OK;
}

/* A draft's cache of another draft is of no use; it takes no part in the text. */
static bool same_draft(const lever_session *s, const file_header *h)
{
    const lever_engine *e = s->engine;
    return e->draft && h->draft == lv_learnt_draft(e) && h->draft_kv_type == e->draft_kv_type &&
           h->draft_bytes == cache_bytes(&s->draft_kv, h->n_draft_kv);
}

static int skip(reader *r, uint64_t n, lever_error *err)
{
    char bytes[4096];
    for (; n; n -= n < sizeof bytes ? n : sizeof bytes)
        LEVER_TRY(get(r, bytes, n < sizeof bytes ? (size_t)n : sizeof bytes, err));
    return LEVER_OK;
}

static int read_caches(lever_session *s, reader *r, const file_header *h, lever_error *err)
{
    const bool draft = same_draft(s, h);
    LEVER_TRY(lever_session_reset(s, NULL, err));
    LEVER_TRY(get_cache(r, &s->kv, h->n_kv, err));
    LEVER_TRY(draft ? get_cache(r, &s->draft_kv, h->n_draft_kv, err) : skip(r, h->draft_bytes, err));
    LEVER_TRY(get_sum(r, err));
    memcpy(s->tokens, s->talk, h->n_tokens * sizeof *s->tokens);
    s->n_tokens = h->n_tokens;
    s->kv.n_committed = h->n_kv;
    if (draft) s->draft_kv.n_committed = h->n_draft_kv;
    return LEVER_OK;
}

int lever_session_load(lever_session *s, const char *path, lever_error *err)
{
    reader r = { 0 };
    file_header h = { 0 };
    LEVER_TRY(check_idle(s, err));
    LEVER_TRY(lv_file_open(&r.file, path, err));
    int rc = LEVER_OK;
    if (!(r.hash = lv_hasher_open())) rc = lv_fail(err, LEVER_ENOMEM, 0, "%s: reading a session", path);
    else lv_hasher_begin(r.hash);
    if (rc >= 0) rc = read_text(s, &r, &h, err);
    if (rc >= 0) rc = read_caches(s, &r, &h, err);
    lv_hasher_close(r.hash);
    lv_file_close(&r.file);
    return rc;
}
