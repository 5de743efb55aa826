/* Inside of a parsed file, shared by the parser and the accessors. SPDX-License-Identifier: MIT */
#ifndef LEVER_GGUF_GGUF_IMPL_H
#define LEVER_GGUF_GGUF_IMPL_H

#include "gguf/gguf.h"

enum {
    LV_GGUF_MAGIC = 0x46554747, /* "GGUF" */
    LV_GGUF_ALIGN_DEFAULT = 32, LV_GGUF_ALIGN_MIN = 8, LV_GGUF_ALIGN_MAX = 64 << 10,
    LV_GGUF_KEY_MAX = 65535,
    LV_GGUF_NAME_MAX = 255,
    LV_GGUF_N_TYPES = LV_GGUF_F64 + 1
};

struct lv_gguf {
    const uint8_t *bytes;      /* borrowed, or the same as `owned` */
    uint8_t  *owned;           /* [owned_bytes], when opened from a path */
    size_t    owned_bytes;
    uint32_t  version, alignment;
    uint64_t  file_bytes, data_offset;
    size_t    meta_bytes;      /* header, keys and tensor headers */
    size_t    n_kv, n_tensors;
    lv_gguf_kv     *kv;        /* [n_kv] in file order */
    uint32_t      **str_at;    /* [n_kv] string arrays: [n] offset of each string's length from kv.data */
    lv_gguf_tensor *tensors;   /* [n_tensors] in file order */
    const lv_str  **kv_by_name, **tensor_by_name; /* sorted; each points at the first member of its owner */
    size_t    heap_bytes;
};

/* Bytes of one scalar; 0 for strings, arrays and unknown types. */
size_t lv_gguf_scalar_bytes(uint32_t type);
/* "u32", "string", ...; "?" for unknown ones. */
const char *lv_gguf_type_name(uint32_t type);

/* File text for a message: control bytes and quotes become '?', long text is cut. */
typedef struct lv_shown { char s[68]; } lv_shown;
lv_shown lv_shown_str(lv_str s);

/* For sorting and finding by name: bytewise order, shorter first. */
int lv_str_compare(lv_str a, lv_str b);

/* The whole of parsing; *g is zeroed and stays closable on failure. */
int lv_gguf_parse_into(lv_gguf *g, const void *bytes, size_t n, uint64_t file_bytes, lever_error *err);

/* Plain buffered reading of regular files; metadata is read before any lv_file exists.
 * LEVER_OK or LEVER_EIO; open names the path, read the byte offset (an early end is an error too). */
int  lv_gguf_fd_open(int *fd, uint64_t *file_bytes, const char *path, lever_error *err);
int  lv_gguf_fd_read(int fd, void *dst, size_t n, uint64_t off, lever_error *err);
void lv_gguf_fd_close(int *fd); /* accepts -1 */
bool lv_gguf_same_file(const char *a, const char *b); /* both exist and are one file */

#endif
