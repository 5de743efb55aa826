/* Which model a file is: the fingerprint. SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/hash.h"
#include "model/state.h"

enum { SAMPLES = 64, SAMPLE_BYTES = 4096 };

static void copy_base_name(char *out, size_t cap, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t n = 0;
    for (const char *p = slash ? slash + 1 : path; *p && n + 1 < cap; p++)
        out[n++] = (unsigned char)*p >= 0x20 && *p != 0x7f ? *p : '?';
    out[n] = '\0';
}

/* Samples at even distances, the first and the last bytes of the data among them. */
static int add_samples(const lv_model *m, lv_hasher *h, uint8_t *buf, lever_error *err)
{
    const uint64_t first = lv_gguf_data_offset(m->gguf), size = m->file.size_bytes;
    const uint64_t span = size > first + SAMPLE_BYTES ? size - first - SAMPLE_BYTES : 0;
    for (uint64_t i = 0; i < SAMPLES; i++) {
        const uint64_t off = first + span / (SAMPLES - 1) * i + span % (SAMPLES - 1) * i / (SAMPLES - 1);
        const size_t n = size > off ? (size_t)(size - off < SAMPLE_BYTES ? size - off : SAMPLE_BYTES) : 0;
        if (!n) break;
        LEVER_TRY(lv_file_read(&m->file, buf, n, off, err));
        lv_hasher_add(h, buf, n);
    }
    return LEVER_OK;
}

int lv_model_identify(const lv_model *m, lv_model_id *out, lever_error *err)
{
    *out = (lv_model_id){ .n_embd = m->h.n_embd, .n_layers = m->h.n_layers, .n_vocab = m->h.n_vocab };
    copy_base_name(out->name, sizeof out->name, m->file.path);
    if (!m->gguf) return lv_fail(err, LEVER_EINVAL, 0, "%s: its metadata was dropped", m->file.path);
    size_t n;
    const void *meta = lv_gguf_meta(m->gguf, &n);
    lv_hasher *h = lv_hasher_open();
    uint8_t *buf = lv_alloc(SAMPLE_BYTES, 64);
    int rc = h && buf ? LEVER_OK : lv_fail(err, LEVER_ENOMEM, 0, "fingerprint of %s", m->file.path);
    if (rc >= 0) {
        lv_hasher_begin(h);
        lv_hasher_add(h, &m->file.size_bytes, sizeof m->file.size_bytes);
        lv_hasher_add(h, meta, n);
        rc = add_samples(m, h, buf, err);
        out->fingerprint = lv_hasher_sum(h);
    }
    lv_hasher_close(h);
    lv_free(buf);
    return rc;
}
