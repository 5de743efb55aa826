/* Opening, closing and asking a parsed file. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "gguf/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "gguf/gguf_impl.h"

/* The metadata of models in use is below 20 MiB (vocabularies of 256k tokens); the ceiling keeps a
 * sparse file that claims terabytes from filling memory. */
enum { FIRST_READ = 1 << 20, META_MAX = 128 << 20 };

size_t lv_gguf_scalar_bytes(uint32_t type)
{
    static const uint8_t size[LV_GGUF_N_TYPES] = {
        [LV_GGUF_U8] = 1,  [LV_GGUF_I8] = 1,  [LV_GGUF_U16] = 2,  [LV_GGUF_I16] = 2, [LV_GGUF_U32] = 4,
        [LV_GGUF_I32] = 4, [LV_GGUF_F32] = 4, [LV_GGUF_BOOL] = 1, [LV_GGUF_U64] = 8, [LV_GGUF_I64] = 8,
        [LV_GGUF_F64] = 8,
    };
    return type < LV_GGUF_N_TYPES ? size[type] : 0;
}

const char *lv_gguf_type_name(uint32_t type)
{
    static const char *const name[LV_GGUF_N_TYPES] = {
        "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64",
    };
    return type < LV_GGUF_N_TYPES ? name[type] : "?";
}

lv_shown lv_shown_str(lv_str s)
{
    lv_shown out;
    const size_t room = sizeof out.s - 4, n = s.len < room ? s.len : room;
    for (size_t i = 0; i < n; i++) {
        const char c = s.s[i];
        out.s[i] = c < ' ' || c > '~' || c == '\'' ? '?' : c;
    }
    memcpy(out.s + n, s.len > room ? "..." : "", s.len > room ? 4 : 1);
    return out;
}

int lv_str_compare(lv_str a, lv_str b)
{
    const size_t n = a.len < b.len ? a.len : b.len;
    const int c = n ? memcmp(a.s, b.s, n) : 0;
    return c ? c : a.len < b.len ? -1 : a.len > b.len;
}

/* ---- opening ---- */

int lv_gguf_parse(lv_gguf **out, const void *bytes, size_t n, uint64_t file_bytes, lever_error *err)
{
    *out = NULL;
    if (file_bytes < n)
        return lv_fail(err, LEVER_EINVAL, 0, "%zu bytes given of a file of %" PRIu64, n, file_bytes);
    lv_gguf *g = lv_alloc(sizeof *g, 16);
    if (!g) return lv_fail(err, LEVER_ENOMEM, 0, "GGUF index");
    const int rc = lv_gguf_parse_into(g, bytes, n, file_bytes, err);
    if (rc < 0) lv_gguf_close(&g);
    *out = g;
    return rc;
}

void lv_gguf_close(lv_gguf **gp)
{
    lv_gguf *g = *gp;
    if (!g) return;
    for (size_t i = 0; g->str_at && i < g->n_kv; i++) lv_free(g->str_at[i]);
    lv_free(g->str_at);
    lv_free(g->kv);
    lv_free(g->tensors);
    lv_free(g->kv_by_name);
    lv_free(g->tensor_by_name);
    lv_free(g->owned);
    lv_free(g);
    *gp = NULL;
}

int lv_gguf_fd_open(int *fd, uint64_t *file_bytes, const char *path, lever_error *err)
{
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is refused, not waited for */
    if (*fd < 0) return lv_fail(err, LEVER_EIO, errno, "%s", path);
    int rc = LEVER_OK;
    if (fstat(*fd, &st) < 0) rc = lv_fail(err, LEVER_EIO, errno, "%s: size unknown", path);
    else if (!S_ISREG(st.st_mode)) rc = lv_fail(err, LEVER_EIO, 0, "%s: not a regular file", path);
    if (rc < 0) lv_gguf_fd_close(fd);
    else *file_bytes = (uint64_t)st.st_size;
    return rc;
}

int lv_gguf_fd_read(int fd, void *dst, size_t n, uint64_t off, lever_error *err)
{
    for (size_t at = 0; at < n;) {
        const ssize_t got = pread(fd, (uint8_t *)dst + at, n - at, (off_t)(off + at));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return lv_fail(err, LEVER_EIO, errno, "read of %zu bytes at byte %" PRIu64, n - at, off + at);
        if (got == 0)
            return lv_fail(err, LEVER_EIO, 0, "file ends at byte %" PRIu64 ": it shrank while being read",
                           off + at);
        at += (size_t)got;
    }
    return LEVER_OK;
}

void lv_gguf_fd_close(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

bool lv_gguf_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Read and parse the first n bytes; the result owns them. */
static int open_prefix(lv_gguf **out, int fd, size_t n, uint64_t file_bytes, lever_error *err)
{
    uint8_t *bytes = lv_alloc(n, 64);
    if (!bytes) return lv_fail(err, LEVER_ENOMEM, 0, "metadata (%zu bytes)", n);
    int rc = lv_gguf_fd_read(fd, bytes, n, 0, err);
    if (rc == LEVER_OK) rc = lv_gguf_parse(out, bytes, n, file_bytes, err);
    if (rc < 0) {
        lv_free(bytes);
        return rc;
    }
    (*out)->owned = bytes;
    (*out)->owned_bytes = n;
    (*out)->heap_bytes += n;
    return LEVER_OK;
}

static int open_fd(lv_gguf **out, int fd, uint64_t file_bytes, lever_error *err)
{
    const size_t max = file_bytes < META_MAX ? (size_t)file_bytes : META_MAX;
    size_t n = max < FIRST_READ ? max : FIRST_READ;
    if (n < 4) return lv_fail(err, LEVER_EFORMAT, 0, "not a GGUF file: %" PRIu64 " bytes", file_bytes);
    for (;;) {
        const int rc = open_prefix(out, fd, n, file_bytes, err);
        if (rc == LEVER_EAGAIN && n < max) {
            n = n > max / 2 ? max : 2 * n;
            continue;
        }
        if (rc == LEVER_EAGAIN)
            return lv_fail(err, LEVER_EUNSUP, 0, "more than %d MiB of metadata", META_MAX >> 20);
        if (rc < 0 || (*out)->meta_bytes == n) return rc;
        break;
    }
    /* Tensor data came along: keep only what the index needs. */
    n = (*out)->meta_bytes;
    lv_gguf_close(out);
    return open_prefix(out, fd, n, file_bytes, err);
}

int lv_gguf_open(lv_gguf **out, const char *path, lever_error *err)
{
    int fd;
    uint64_t file_bytes = 0;
    *out = NULL;
    LEVER_TRY(lv_gguf_fd_open(&fd, &file_bytes, path, err));
    const int rc = open_fd(out, fd, file_bytes, err);
    lv_gguf_fd_close(&fd);
    return rc < 0 ? lv_fail_prefix(err, rc, "%s", path) : rc;
}

/* ---- asking ---- */

uint32_t lv_gguf_version(const lv_gguf *g) { return g->version; }
size_t lv_gguf_n_kv(const lv_gguf *g) { return g->n_kv; }
const lv_gguf_kv *lv_gguf_kv_at(const lv_gguf *g, size_t i) { return &g->kv[i]; }
size_t lv_gguf_n_tensors(const lv_gguf *g) { return g->n_tensors; }
const lv_gguf_tensor *lv_gguf_tensor_at(const lv_gguf *g, size_t i) { return &g->tensors[i]; }
uint64_t lv_gguf_data_offset(const lv_gguf *g) { return g->data_offset; }

const void *lv_gguf_meta(const lv_gguf *g, size_t *n)
{
    *n = g->meta_bytes;
    return g->bytes;
}

size_t lv_gguf_memory_bytes(const lv_gguf *g) { return g->heap_bytes; }

static const lv_str *find(const lv_str *const *names, size_t n, const char *name)
{
    const lv_str want = { name, strlen(name) };
    size_t lo = 0, hi = n;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const int c = lv_str_compare(want, *names[mid]);
        if (!c) return names[mid];
        if (c < 0) hi = mid;
        else lo = mid + 1;
    }
    return NULL;
}

_Static_assert(offsetof(lv_gguf_kv, key) == 0 && offsetof(lv_gguf_tensor, name) == 0,
               "the sorted index points at names and is cast to their owners");

const lv_gguf_kv *lv_gguf_find(const lv_gguf *g, const char *key)
{
    return (const lv_gguf_kv *)(const void *)find(g->kv_by_name, g->n_kv, key);
}

const lv_gguf_tensor *lv_gguf_find_tensor(const lv_gguf *g, const char *name)
{
    return (const lv_gguf_tensor *)(const void *)find(g->tensor_by_name, g->n_tensors, name);
}

lv_str lv_gguf_str(const lv_gguf *g, const lv_gguf_kv *kv, uint64_t i)
{
    const uint32_t *at = g->str_at[kv - g->kv];
    const uint8_t *s = (const uint8_t *)kv->data + (at ? at[i] : 0);
    uint64_t len;
    memcpy(&len, s, sizeof len);
    return (lv_str){ (const char *)s + sizeof len, (size_t)len };
}

static int wrong_type(const lv_gguf_kv *kv, const char *want, lever_error *err)
{
    return lv_fail(err, LEVER_EFORMAT, 0, "key '%s' is of type %s, expected %s", lv_shown_str(kv->key).s,
                   lv_gguf_type_name(kv->type), want);
}

/* Any integer; negative ones are reported by *negative. False for other types. */
static bool read_integer(const lv_gguf_kv *kv, uint64_t *v, bool *negative)
{
    int64_t s = 0;
    int8_t i8;
    int16_t i16;
    int32_t i32;
    *v = 0;
    switch (kv->type) {
    case LV_GGUF_U8:
    case LV_GGUF_U16:
    case LV_GGUF_U32:
    case LV_GGUF_U64: memcpy(v, kv->data, lv_gguf_scalar_bytes(kv->type)); break; /* little-endian */
    case LV_GGUF_I8: memcpy(&i8, kv->data, sizeof i8), s = i8; break;
    case LV_GGUF_I16: memcpy(&i16, kv->data, sizeof i16), s = i16; break;
    case LV_GGUF_I32: memcpy(&i32, kv->data, sizeof i32), s = i32; break;
    case LV_GGUF_I64: memcpy(&s, kv->data, sizeof s); break;
    default: return false;
    }
    *negative = s < 0;
    if (s > 0) *v = (uint64_t)s;
    return true;
}

static int get_integer(const lv_gguf *g, const char *key, uint64_t max, uint64_t *v, lever_error *err)
{
    const lv_gguf_kv *kv = lv_gguf_find(g, key);
    uint64_t got;
    bool negative;
    if (!kv) return 0;
    if (!read_integer(kv, &got, &negative)) return wrong_type(kv, "an integer", err);
    if (negative) return lv_fail(err, LEVER_EFORMAT, 0, "key '%s' is negative", key);
    if (got > max)
        return lv_fail(err, LEVER_EFORMAT, 0, "key '%s': %" PRIu64 " is more than %" PRIu64, key, got, max);
    *v = got;
    return 1;
}

int lv_gguf_get_u32(const lv_gguf *g, const char *key, uint32_t *v, lever_error *err)
{
    uint64_t wide = 0;
    const int rc = get_integer(g, key, UINT32_MAX, &wide, err);
    if (rc == 1) *v = (uint32_t)wide;
    return rc;
}

int lv_gguf_get_u64(const lv_gguf *g, const char *key, uint64_t *v, lever_error *err)
{
    return get_integer(g, key, UINT64_MAX, v, err);
}

int lv_gguf_get_f32(const lv_gguf *g, const char *key, float *v, lever_error *err)
{
    const lv_gguf_kv *kv = lv_gguf_find(g, key);
    double wide;
    if (!kv) return 0;
    if (kv->type == LV_GGUF_F32) {
        memcpy(v, kv->data, sizeof *v);
        return 1;
    }
    if (kv->type != LV_GGUF_F64) return wrong_type(kv, "f32", err);
    memcpy(&wide, kv->data, sizeof wide);
    if (wide > 0x1.fffffep127 || wide < -0x1.fffffep127)
        return lv_fail(err, LEVER_EFORMAT, 0, "key '%s': %g does not fit a float", key, wide);
    *v = (float)wide;
    return 1;
}

int lv_gguf_get_bool(const lv_gguf *g, const char *key, bool *v, lever_error *err)
{
    const lv_gguf_kv *kv = lv_gguf_find(g, key);
    if (!kv) return 0;
    if (kv->type != LV_GGUF_BOOL) return wrong_type(kv, "bool", err);
    *v = *(const uint8_t *)kv->data;
    return 1;
}

int lv_gguf_get_str(const lv_gguf *g, const char *key, lv_str *v, lever_error *err)
{
    const lv_gguf_kv *kv = lv_gguf_find(g, key);
    if (!kv) return 0;
    if (kv->type != LV_GGUF_STRING) return wrong_type(kv, "a string", err);
    *v = lv_gguf_str(g, kv, 0);
    return 1;
}
