/* SPDX-License-Identifier: MIT */
#include "fuzz/sums_cases.h"

#include <string.h>

#include "base/hash.h"
#include "lever/error.h"

/* Where fields stand in the file of whole(). */
enum { VERSION = 4, MODEL_BYTES = 8, HEADER_BYTES = 16, PAGE_BYTES = 32, N_TENSORS = 36, N_PAGES = 40,
       NAME_BYTES = 48, TABLE_BYTES = 52, TENSOR_0 = 62, TENSOR_1 = 89, NAME_1 = TENSOR_1 + 24 };

static void raw(sc_file *f, const void *p, size_t n)
{
    if (n > SC_MAX - f->n) n = SC_MAX - f->n;
    memcpy(f->bytes + f->n, p, n);
    f->n += n;
}
static void u16(sc_file *f, uint16_t v) { raw(f, &v, sizeof v); }
static void u32(sc_file *f, uint32_t v) { raw(f, &v, sizeof v); }
static void u64(sc_file *f, uint64_t v) { raw(f, &v, sizeof v); }
static void set32(sc_file *f, size_t at, uint32_t v) { memcpy(f->bytes + at, &v, sizeof v); }
static void set64(sc_file *f, size_t at, uint64_t v) { memcpy(f->bytes + at, &v, sizeof v); }

void sc_seal(uint8_t *bytes, size_t n)
{
    if (n < 8) return;
    const uint64_t sum = lv_hash64(bytes, n - 8);
    memcpy(bytes + n - 8, &sum, sizeof sum);
}

static void head(sc_file *f, const char *name, uint32_t n_tensors, uint32_t table_bytes)
{
    raw(f, "LVSM", 4), u32(f, 1), u64(f, 10000), u64(f, 100), u64(f, 0x1122334455667788), u32(f, 4096);
    u32(f, n_tensors), u64(f, 3), u32(f, (uint32_t)strlen(name)), u32(f, table_bytes);
    raw(f, name, strlen(name));
}
static void tensor(sc_file *f, uint64_t off, uint64_t bytes, const char *name)
{
    u64(f, off), u64(f, bytes), u64(f, 7), u16(f, (uint16_t)strlen(name)), raw(f, name, strlen(name));
}
static void tail(sc_file *f)
{
    u32(f, 1), u32(f, 2), u32(f, 3), u64(f, 0);
    sc_seal(f->bytes, f->n);
}

/* A model of 10000 bytes with two tensors. */
static void whole(sc_file *f)
{
    head(f, "m.gguf", 2, 55);
    tensor(f, 128, 3000, "a"), tensor(f, 3200, 6000, "bb");
    tail(f);
}
static void seal(sc_file *f) { sc_seal(f->bytes, f->n); }
static void changed32(sc_file *f, size_t at, uint32_t v) { whole(f), set32(f, at, v), seal(f); }
static void changed64(sc_file *f, size_t at, uint64_t v) { whole(f), set64(f, at, v), seal(f); }
static void cut(sc_file *f, size_t n) { whole(f), f->n = n; }

static void no_tensors(sc_file *f) { head(f, "m", 0, 0), tail(f); }
static void nothing(sc_file *f) { cut(f, 0); }
static void magic(sc_file *f) { changed32(f, 0, 0x46554747); }
static void version(sc_file *f) { changed32(f, VERSION, 99); }
static void cut_head(sc_file *f) { cut(f, 60); }
static void cut_pages(sc_file *f) { cut(f, 120); }
static void cut_sealed(sc_file *f) { cut(f, 133), seal(f); }
static void flipped(sc_file *f) { whole(f), f->bytes[TENSOR_0] ^= 1; }
static void page_bytes(sc_file *f) { changed32(f, PAGE_BYTES, 8192); }
static void model_zero(sc_file *f) { changed64(f, MODEL_BYTES, 0); }
static void model_huge(sc_file *f) { changed64(f, MODEL_BYTES, UINT64_MAX); }
static void pages_more(sc_file *f) { changed64(f, N_PAGES, 4); }
static void pages_huge(sc_file *f)
{
    whole(f), set64(f, MODEL_BYTES, INT64_MAX), set64(f, N_PAGES, (uint64_t)1 << 51), seal(f);
}
static void header_zero(sc_file *f) { changed64(f, HEADER_BYTES, 0); }
static void header_long(sc_file *f) { changed64(f, HEADER_BYTES, 10001); }
static void name_empty(sc_file *f) { changed32(f, NAME_BYTES, 0); }
static void name_long(sc_file *f) { changed32(f, NAME_BYTES, 256); }
static void name_past_end(sc_file *f) { changed32(f, NAME_BYTES, 200); }
static void table_huge(sc_file *f) { changed32(f, TABLE_BYTES, UINT32_MAX); }
static void tensors_huge(sc_file *f) { changed32(f, N_TENSORS, UINT32_MAX); }
static void tensors_fewer(sc_file *f) { changed32(f, N_TENSORS, 1); }
static void tensor_cut(sc_file *f) { whole(f), f->bytes[NAME_1] = 100, seal(f); }
static void tensor_name_long(sc_file *f)
{
    char name[301];
    memset(name, 'x', 300), name[300] = '\0';
    head(f, "m.gguf", 1, 326), tensor(f, 128, 3000, name), tail(f);
}
static void tensor_in_header(sc_file *f) { changed64(f, TENSOR_0, 99); }
static void tensors_overlap(sc_file *f) { changed64(f, TENSOR_1, 3127); }
static void tensor_empty(sc_file *f) { changed64(f, TENSOR_1 + 8, 0); }
static void tensor_past_end(sc_file *f) { changed64(f, TENSOR_1 + 8, 6801); }
static void tensor_overflow(sc_file *f) { changed64(f, TENSOR_1, UINT64_MAX - 1); }
static void bytes_behind(sc_file *f) { whole(f), f->n += 4, seal(f); }

const sc_case sc_cases[] = {
    { "whole", LEVER_OK, NULL, whole },
    { "no_tensors", LEVER_OK, NULL, no_tensors },
    { "nothing", LEVER_EFORMAT, "not a file of checksums", nothing },
    { "magic", LEVER_EFORMAT, "not a file of checksums", magic },
    { "version", LEVER_EUNSUP, "version 99", version },
    { "cut_head", LEVER_EFORMAT, "ends after 60 bytes", cut_head },
    { "cut_pages", LEVER_EFORMAT, "themselves damaged", cut_pages },
    { "cut_sealed", LEVER_EFORMAT, "do not fit", cut_sealed },
    { "flipped", LEVER_EFORMAT, "themselves damaged", flipped },
    { "page_bytes", LEVER_EFORMAT, "pages of 8192 bytes", page_bytes },
    { "model_zero", LEVER_EFORMAT, "a model of 0 bytes", model_zero },
    { "model_huge", LEVER_EFORMAT, "pages of a model", model_huge },
    { "pages_more", LEVER_EFORMAT, "4 pages of a model", pages_more },
    { "pages_huge", LEVER_EFORMAT, "do not fit", pages_huge },
    { "header_zero", LEVER_EFORMAT, "a header of 0", header_zero },
    { "header_long", LEVER_EFORMAT, "a header of 10001", header_long },
    { "name_empty", LEVER_EFORMAT, "a model name of 0", name_empty },
    { "name_long", LEVER_EFORMAT, "a model name of 256", name_long },
    { "name_past_end", LEVER_EFORMAT, "do not fit", name_past_end },
    { "table_huge", LEVER_EFORMAT, "do not fit", table_huge },
    { "tensors_huge", LEVER_EFORMAT, "tensors in a table", tensors_huge },
    { "tensors_fewer", LEVER_EFORMAT, "behind the last tensor", tensors_fewer },
    { "tensor_cut", LEVER_EFORMAT, "ends inside tensor 1", tensor_cut },
    { "tensor_name_long", LEVER_EFORMAT, "a name of 300", tensor_name_long },
    { "tensor_in_header", LEVER_EFORMAT, "tensor 'a'", tensor_in_header },
    { "tensors_overlap", LEVER_EFORMAT, "tensor 'bb'", tensors_overlap },
    { "tensor_empty", LEVER_EFORMAT, "tensor 'bb'", tensor_empty },
    { "tensor_past_end", LEVER_EFORMAT, "tensor 'bb'", tensor_past_end },
    { "tensor_overflow", LEVER_EFORMAT, "tensor 'bb'", tensor_overflow },
    { "bytes_behind", LEVER_EFORMAT, "do not fit", bytes_behind },
};
const size_t sc_n_cases = sizeof sc_cases / sizeof *sc_cases;
