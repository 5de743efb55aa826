/* SPDX-License-Identifier: MIT */
#include "flash/load.h"

#include "base/mem.h"

enum { DEPTH_MOST = 16, BLOCK_LEAST = 4096, BLOCK_MOST = 4 << 20 };

struct lv_flash_load {
    lv_file file;
    lv_io *io;
    uint8_t *buffers; /* [depth][block_bytes] */
    uint32_t block_bytes, depth;
    uint64_t at, bytes;
    lv_io_read reads[DEPTH_MOST];
};

static void start(lv_flash_load *l, lv_io_read *read)
{
    if (l->at + l->block_bytes > l->file.size_bytes) l->at = 0;
    read->off = l->at;
    l->at += l->block_bytes;
    lv_io_submit(l->io, &read, 1); /* refused: one read fewer in flight */
}

static int open_load(lv_flash_load *l, const char *path, const char *backend, lever_error *err)
{
    LEVER_TRY(lv_file_open(&l->file, path, err));
    if (l->file.size_bytes < l->block_bytes)
        return lv_fail(err, LEVER_EINVAL, 0, "'%s': too small to be read in blocks of %u bytes", path,
                       l->block_bytes);
    lv_io_config c;
    lv_io_config_init(&c);
    c.depth = l->depth;
    LEVER_TRY(lv_io_open(&l->io, backend, &c, err));
    if (!(l->buffers = lv_map((size_t)l->depth * l->block_bytes)))
        return lv_fail(err, LEVER_ENOMEM, 0, "buffers of a load on the flash");
    return LEVER_OK;
}

int lv_flash_load_open(lv_flash_load **out, const char *path, const char *backend, uint32_t block_bytes,
                       uint32_t depth, lever_error *err)
{
    *out = NULL;
    if (block_bytes < BLOCK_LEAST || block_bytes > BLOCK_MOST || depth < 1 || depth > DEPTH_MOST)
        return lv_fail(err, LEVER_EINVAL, 0, "a load of %u reads of %u bytes", depth, block_bytes);
    lv_flash_load *l = lv_alloc(sizeof *l, 64);
    if (!l) return lv_fail(err, LEVER_ENOMEM, 0, "a load on the flash");
    l->file = (lv_file){ .fd = -1, .fd_direct = -1 };
    l->block_bytes = block_bytes;
    l->depth = depth;
    const int rc = open_load(l, path, backend, err);
    if (rc < 0) {
        lv_flash_load_close(&l);
        return rc;
    }
    for (uint32_t i = 0; i < depth; i++) {
        l->reads[i] =
            (lv_io_read){ .file = &l->file, .dst = l->buffers + (size_t)i * block_bytes, .len = block_bytes };
        start(l, &l->reads[i]);
    }
    *out = l;
    return LEVER_OK;
}

void lv_flash_load_close(lv_flash_load **load)
{
    if (!load || !*load) return;
    lv_flash_load *l = *load;
    *load = NULL;
    lv_io_close(&l->io);
    lv_unmap(l->buffers, (size_t)l->depth * l->block_bytes);
    lv_file_close(&l->file);
    lv_free(l);
}

void lv_flash_load_pump(void *load)
{
    lv_flash_load *l = load;
    lv_io_read *done[DEPTH_MOST];
    const int n = lv_io_reap(l->io, done, DEPTH_MOST, 0);
    for (int i = 0; i < n; i++) {
        if (done[i]->result < 0) continue;
        l->bytes += (uint64_t)done[i]->result;
        start(l, done[i]);
    }
}

uint64_t lv_flash_load_bytes(const lv_flash_load *l) { return l->bytes; }
