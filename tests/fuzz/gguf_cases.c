/* SPDX-License-Identifier: MIT */
#include "fuzz/gguf_cases.h"

#include <string.h>

#include "gguf/gguf.h"

/* ---- building: a file that does not fit GC_MAX is cut, which its case would show ---- */

static void raw(gc_file *f, const void *p, size_t n)
{
    if (n > GC_MAX - f->n) n = GC_MAX - f->n;
    memcpy(f->bytes + f->n, p, n);
    f->n += n;
}
static void u8(gc_file *f, uint8_t v) { raw(f, &v, sizeof v); }
static void u32(gc_file *f, uint32_t v) { raw(f, &v, sizeof v); }
static void u64(gc_file *f, uint64_t v) { raw(f, &v, sizeof v); }
static void str(gc_file *f, const char *s) { u64(f, strlen(s)), raw(f, s, strlen(s)); }

static void head(gc_file *f, uint32_t version, uint64_t n_tensors, uint64_t n_kv)
{
    raw(f, "GGUF", 4), u32(f, version), u64(f, n_tensors), u64(f, n_kv);
}
static void key(gc_file *f, const char *name, uint32_t type) { str(f, name), u32(f, type); }
static void key_u32(gc_file *f, const char *name, uint32_t v) { key(f, name, LV_GGUF_U32), u32(f, v); }
static void array(gc_file *f, const char *name, uint32_t elem, uint64_t n)
{
    key(f, name, LV_GGUF_ARRAY), u32(f, elem), u64(f, n);
}
static void tensor(gc_file *f, const char *name, uint32_t type, uint64_t cols, uint64_t rows, uint64_t off)
{
    str(f, name), u32(f, 2), u64(f, cols), u64(f, rows), u32(f, type), u64(f, off);
}
static void data(gc_file *f, size_t align, size_t n)
{
    while (f->n % align && f->n < GC_MAX) u8(f, 0);
    for (size_t i = 0; i < n; i++) u8(f, (uint8_t)i);
}

/* ---- accepted ---- */

static void all_types(gc_file *f, uint32_t version)
{
    head(f, version, 2, 15);
    key(f, "u8", LV_GGUF_U8), u8(f, 200);
    key(f, "i8", LV_GGUF_I8), u8(f, (uint8_t)-5);
    key(f, "u16", LV_GGUF_U16), raw(f, "\x34\x12", 2);
    key(f, "i16", LV_GGUF_I16), raw(f, "\xfe\xff", 2);
    key_u32(f, "u32", 70000);
    key(f, "i32", LV_GGUF_I32), u32(f, 7);
    key(f, "f32", LV_GGUF_F32), u32(f, 0x3fc00000);
    key(f, "bool", LV_GGUF_BOOL), u8(f, 1);
    key(f, "str", LV_GGUF_STRING), str(f, "text");
    key(f, "u64", LV_GGUF_U64), u64(f, (uint64_t)1 << 40);
    key(f, "i64", LV_GGUF_I64), u64(f, (uint64_t)-1);
    key(f, "f64", LV_GGUF_F64), u64(f, 0x3fe0000000000000);
    array(f, "strs", LV_GGUF_STRING, 3), str(f, "a"), str(f, ""), str(f, "ccc");
    array(f, "nums", LV_GGUF_I32, 2), u32(f, 1), u32(f, 2);
    array(f, "none", LV_GGUF_STRING, 0);
    tensor(f, "a.weight", LV_TYPE_F32, 2, 3, 0);
    tensor(f, "b.weight", LV_TYPE_Q8_0, 32, 1, 32);
    data(f, 32, 66);
}
static void ok_v2(gc_file *f) { all_types(f, 2); }
static void ok_v3(gc_file *f) { all_types(f, 3); }
static void ok_empty(gc_file *f) { head(f, 3, 0, 0); }
static void ok_align_64(gc_file *f)
{
    head(f, 3, 1, 1), key_u32(f, "general.alignment", 64);
    str(f, "t"), u32(f, 1), u64(f, 4), u32(f, LV_TYPE_F32), u64(f, 64), data(f, 64, 80);
}
static void ok_four_dims(gc_file *f)
{
    head(f, 3, 1, 0), str(f, "t"), u32(f, 4), u64(f, 2), u64(f, 3), u64(f, 4), u64(f, 5);
    u32(f, LV_TYPE_F16), u64(f, 0), data(f, 32, 240);
}

/* ---- header ---- */

static void bad_magic(gc_file *f) { raw(f, "GGML", 4), u32(f, 3), u64(f, 0), u64(f, 0); }
static void short_magic(gc_file *f) { raw(f, "GGUF", 4), u8(f, 3); }
static void version_1(gc_file *f) { head(f, 1, 0, 0); }
static void version_4(gc_file *f) { head(f, 4, 0, 0); }
static void big_endian(gc_file *f) { head(f, 0x03000000, 0, 0); }
static void no_counts(gc_file *f) { raw(f, "GGUF", 4), u32(f, 3), u64(f, 0); }
static void many_keys(gc_file *f) { head(f, 3, 0, UINT64_MAX); }
static void many_tensors(gc_file *f) { head(f, 3, (uint64_t)1 << 60, 0); }
static void keys_missing(gc_file *f)
{
    head(f, 3, 0, 2), key_u32(f, "only.one.of.two.with.a.long.name", 1);
}

/* ---- keys ---- */

static void key_too_long(gc_file *f) { head(f, 3, 0, 1), u64(f, 65536), data(f, 1, 100); }
static void key_length_huge(gc_file *f) { head(f, 3, 0, 1), u64(f, UINT64_MAX), data(f, 1, 100); }
static void key_past_end(gc_file *f) { head(f, 3, 0, 1), u64(f, 200), data(f, 1, 50); }
static void key_empty(gc_file *f) { head(f, 3, 0, 1), key_u32(f, "", 1); }
static void key_twice(gc_file *f) { head(f, 3, 0, 2), key_u32(f, "k", 1), key_u32(f, "k", 2); }
static void value_type(gc_file *f) { head(f, 3, 0, 1), key(f, "k", 13), u64(f, 0); }
static void elem_type(gc_file *f) { head(f, 3, 0, 1), array(f, "k", 99, 1), u64(f, 0); }
static void nested(gc_file *f) { head(f, 3, 0, 1), array(f, "k", LV_GGUF_ARRAY, 1), u32(f, 4), u64(f, 0); }
static void value_cut(gc_file *f) { head(f, 3, 0, 1), key(f, "k", LV_GGUF_U64), u32(f, 0); }
static void array_header_cut(gc_file *f) { head(f, 3, 0, 1), key(f, "k", LV_GGUF_ARRAY), u64(f, 4); }
static void array_huge(gc_file *f)
{
    head(f, 3, 0, 1), array(f, "k", LV_GGUF_U64, UINT64_MAX / 4), u64(f, 0);
}
static void strs_huge(gc_file *f) { head(f, 3, 0, 1), array(f, "k", LV_GGUF_STRING, UINT64_MAX), u64(f, 0); }
static void strs_cut(gc_file *f)
{
    head(f, 3, 0, 1), array(f, "k", LV_GGUF_STRING, 2), str(f, "abcdefgh"), u64(f, 3), u8(f, 0);
}
static void str_past_end(gc_file *f)
{
    head(f, 3, 0, 1), key(f, "k", LV_GGUF_STRING), u64(f, (uint64_t)1 << 63), u64(f, 0);
}
static void bool_two(gc_file *f) { head(f, 3, 0, 1), key(f, "k", LV_GGUF_BOOL), u8(f, 2); }
static void bools_two(gc_file *f) { head(f, 3, 0, 1), array(f, "k", LV_GGUF_BOOL, 3), raw(f, "\1\0\xff", 3); }
static void align_type(gc_file *f)
{
    head(f, 3, 0, 1), key(f, "general.alignment", LV_GGUF_U64), u64(f, 32);
}
static void align_odd(gc_file *f) { head(f, 3, 0, 1), key_u32(f, "general.alignment", 48); }
static void align_small(gc_file *f) { head(f, 3, 0, 1), key_u32(f, "general.alignment", 4); }
static void align_zero(gc_file *f) { head(f, 3, 0, 1), key_u32(f, "general.alignment", 0); }
static void align_large(gc_file *f) { head(f, 3, 0, 1), key_u32(f, "general.alignment", 128 << 10); }

/* ---- tensors ---- */

static void name_too_long(gc_file *f) { head(f, 3, 1, 0), u64(f, 256), data(f, 1, 400); }
static void name_empty(gc_file *f) { head(f, 3, 1, 0), tensor(f, "", LV_TYPE_F32, 2, 3, 0), data(f, 32, 24); }
static void name_twice(gc_file *f)
{
    head(f, 3, 2, 0), tensor(f, "t", LV_TYPE_F32, 2, 3, 0), tensor(f, "t", LV_TYPE_F32, 2, 3, 32);
    data(f, 32, 64);
}
static void dims_zero(gc_file *f)
{
    head(f, 3, 1, 0), str(f, "t"), u32(f, 0), u64(f, 1), u64(f, 0), u64(f, 0);
}
static void dims_five(gc_file *f) { head(f, 3, 1, 0), str(f, "t"), u32(f, 5), data(f, 1, 60); }
static void dim_zero(gc_file *f) { head(f, 3, 1, 0), tensor(f, "t", LV_TYPE_F32, 0, 3, 0), data(f, 32, 32); }
static void elems_overflow(gc_file *f)
{
    head(f, 3, 1, 0), tensor(f, "t", LV_TYPE_F32, (uint64_t)1 << 33, (uint64_t)1 << 31, 0), data(f, 32, 32);
}
static void elems_signed(gc_file *f)
{
    head(f, 3, 1, 0), tensor(f, "t", LV_TYPE_F32, (uint64_t)1 << 32, (uint64_t)1 << 31, 0), data(f, 32, 32);
}
static void bytes_overflow(gc_file *f)
{
    head(f, 3, 1, 0), tensor(f, "t", LV_TYPE_F32, (uint64_t)1 << 32, (uint64_t)1 << 30, 0), data(f, 32, 32);
}
static void row_partial(gc_file *f)
{
    head(f, 3, 1, 0), tensor(f, "t", LV_TYPE_Q8_0, 48, 2, 0), data(f, 32, 128);
}
static void type_gone(gc_file *f) { head(f, 3, 1, 0), tensor(f, "t", 4, 32, 1, 0), data(f, 32, 64); }
static void type_high(gc_file *f) { head(f, 3, 1, 0), tensor(f, "t", 0x80000000, 32, 1, 0), data(f, 32, 64); }
static void offset_unaligned(gc_file *f)
{
    head(f, 3, 1, 0), tensor(f, "t", LV_TYPE_F32, 2, 3, 8), data(f, 32, 64);
}
static void offset_past_end(gc_file *f)
{
    head(f, 3, 1, 0), tensor(f, "t", LV_TYPE_F32, 2, 3, 320), data(f, 32, 64);
}
static void offset_wraps(gc_file *f)
{
    head(f, 3, 1, 0), tensor(f, "t", LV_TYPE_F32, 2, 3, (uint64_t)0 - 32), data(f, 32, 64);
}
static void data_cut(gc_file *f) { head(f, 3, 1, 0), tensor(f, "t", LV_TYPE_F32, 2, 3, 0), data(f, 32, 23); }
static void overlap(gc_file *f)
{
    head(f, 3, 2, 0), tensor(f, "t", LV_TYPE_F32, 8, 2, 0), tensor(f, "u", LV_TYPE_F32, 8, 2, 32);
    data(f, 32, 128);
}
static void same_place(gc_file *f)
{
    head(f, 3, 2, 0), tensor(f, "t", LV_TYPE_F32, 8, 1, 0), tensor(f, "u", LV_TYPE_F32, 8, 1, 0);
    data(f, 32, 128);
}
static void tensors_missing(gc_file *f)
{
    head(f, 3, 2, 0), tensor(f, "t", LV_TYPE_F32, 8, 1, 0), data(f, 1, 25);
}
static void tensor_cut(gc_file *f)
{
    head(f, 3, 1, 0), str(f, "a.rather.long.name"), u32(f, 2), u64(f, 8), u64(f, 1), u32(f, 0);
}

#define OK(name) { #name, LEVER_OK, NULL, name }
#define FORMAT(name, says) { #name, LEVER_EFORMAT, says, name }
#define UNSUP(name, says) { #name, LEVER_EUNSUP, says, name }

const gc_case gc_cases[] = {
    OK(ok_v2),
    OK(ok_v3),
    OK(ok_empty),
    OK(ok_align_64),
    OK(ok_four_dims),
    FORMAT(bad_magic, "does not start with"),
    FORMAT(short_magic, "version needs 4 bytes at byte 4, but the file ends at byte 5"),
    UNSUP(version_1, "version 1"),
    UNSUP(version_4, "version 4"),
    UNSUP(big_endian, "big-endian"),
    FORMAT(no_counts, "counts"),
    FORMAT(many_keys, "18446744073709551615 keys can not fit"),
    FORMAT(many_tensors, "tensors can not fit"),
    FORMAT(keys_missing, "key 1 at byte 72: key name needs 8 bytes"),
    FORMAT(key_too_long, "length of 65536"),
    FORMAT(key_length_huge, "length of 18446744073709551615"),
    FORMAT(key_past_end, "key name needs 200 bytes at byte 32"),
    FORMAT(key_empty, "key 0 at byte 24: empty"),
    FORMAT(key_twice, "key 'k' at byte 49: the name is used twice"),
    FORMAT(value_type, "key 'k' at byte 24: unknown value type 13"),
    FORMAT(elem_type, "unknown value type 99"),
    FORMAT(nested, "key 'k' at byte 24: arrays of arrays"),
    FORMAT(value_cut, "1 values of 8 bytes go past"),
    FORMAT(array_header_cut, "array header"),
    FORMAT(array_huge, "values of 8 bytes go past"),
    FORMAT(strs_huge, "strings go past"),
    FORMAT(strs_cut, "string needs 3 bytes"),
    FORMAT(str_past_end, "string needs 9223372036854775808 bytes"),
    FORMAT(bool_two, "bool with value 2 at byte 37"),
    FORMAT(bools_two, "bool with value 255 at byte 51"),
    FORMAT(align_type, "key 'general.alignment' at byte 32: type is u64"),
    FORMAT(align_odd, "48 is not a power of two"),
    FORMAT(align_small, "4 is not a power of two from 8"),
    FORMAT(align_zero, "0 is not a power of two"),
    FORMAT(align_large, "131072 is not a power of two from 8 to 65536"),
    FORMAT(name_too_long, "tensor name has a length of 256"),
    FORMAT(name_empty, "tensor 0 at byte 24: empty"),
    FORMAT(name_twice, "tensor 't' at byte 73: the name is used twice"),
    FORMAT(dims_zero, "0 dimensions"),
    FORMAT(dims_five, "tensor 't' at byte 24: 5 dimensions"),
    FORMAT(dim_zero, "dimension 0 is 0"),
    FORMAT(elems_overflow, "more than 2^63 elements"),
    FORMAT(elems_signed, "more than 2^63 elements"),
    FORMAT(bytes_overflow, "more than 2^64 bytes"),
    FORMAT(row_partial, "rows of 48 are not whole blocks of 32 (Q8_0)"),
    UNSUP(type_gone, "tensor 't' at byte 24: tensor type 4 is not known"),
    UNSUP(type_high, "tensor type 2147483648"),
    FORMAT(offset_unaligned, "offset 8 is not a multiple of the alignment 32"),
    FORMAT(offset_past_end, "tensor 't': 24 bytes at byte 416 go past the end"),
    FORMAT(offset_wraps, "go past the end"),
    FORMAT(data_cut, "24 bytes at byte 96 go past the end of the file (119 bytes)"),
    FORMAT(overlap, "tensor 'u' at byte 160 overlaps tensor 't' (bytes 128 to 192)"),
    FORMAT(same_place, "overlaps"),
    FORMAT(tensors_missing, "tensor 1 at byte 65: tensor name has a length"),
    FORMAT(tensor_cut, "type and offset"),
};
const size_t gc_n_cases = sizeof gc_cases / sizeof *gc_cases;
