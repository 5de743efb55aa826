/* Matrix products of quantised weights with row batches, bit for bit those of src/kernel/ref: integer sums,
 * exact in any order, then one chain of fma per output in ascending blocks, from +0 (docs/exactness.md).
 *
 * Work is cut into units of 32 weights. A group of GROUP items takes OUTS outputs times UNITS units at a
 * time: each item takes one unit apart and multiplies it with all rows of the tile; then one item per output
 * and row goes through the sums in order. So neighbouring items read neighbouring weights, and weights are taken
 * apart once per tile. OUTS, UNITS and GROUP come from cl_kernels.h.
 *
 *   w    [n_out][k] at byte w_at, file layout, any alignment
 *   act  q [n_rows][k] int8, then scales [n_rows][k / block length] float
 *   y    [n_rows][n_out] at y_at
 *   sums, mins, scale   local memory: int [tile][GROUP], the same of types with a minimum, float [2][GROUP]
 * SPDX-License-Identifier: MIT */
#pragma OPENCL FP_CONTRACT OFF

enum { Q4_0, Q8_0, Q4_K, Q6_K };

/* The 32 codes of a unit: each half of 16 has an integer scale, all have one minimum; d and dmin are the
 * block's. */
typedef struct unit {
    char16 lo, hi;
    int scale_lo, scale_hi, min;
    float d, dmin;
} unit;

/* f16 bits at p. Exact also where the device flushes small floats to zero: no step is below 2^-24. */
static float half_at(global const uchar *p)
{
    const uint h = p[0] | (uint)p[1] << 8, e = h >> 10 & 31, m = h & 1023;
    const float f = e == 0 ? (float)m * 0x1p-24f : as_float((e == 31 ? 255u : e + 112) << 23 | m << 13);
    return h & 0x8000 ? -f : f;
}

static unit take_q4_0(global const uchar *row, uint u)
{
    global const uchar *p = row + (size_t)u * 18;
    const uchar16 q = vload16(0, p + 2);
    unit n = { as_char16(q & (uchar)15) - (char)8, as_char16(q >> (uchar)4) - (char)8, 1, 1, 0,
               half_at(p), 0 };
    return n;
}

static unit take_q8_0(global const uchar *row, uint u)
{
    global const uchar *p = row + (size_t)u * 34;
    unit n = { as_char16(vload16(0, p + 2)), as_char16(vload16(1, p + 2)), 1, 1, 0, half_at(p), 0 };
    return n;
}

static unit take_q4_k(global const uchar *row, uint u)
{
    global const uchar *p = row + (size_t)(u / 8) * 144, *s = p + 4;
    const uint j = u % 8;
    global const uchar *codes = p + 16 + 32 * (j / 2);
    const uchar shift = (uchar)(4 * (j % 2));
    const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
    const int least = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4;
    unit n = { as_char16(vload16(0, codes) >> shift & (uchar)15),
               as_char16(vload16(1, codes) >> shift & (uchar)15),
               scale, scale, least, half_at(p), half_at(p + 2) };
    return n;
}

static unit take_q6_k(global const uchar *row, uint u)
{
    global const uchar *p = row + (size_t)(u / 8) * 210;
    const uint j = u % 8;
    global const uchar *low = p + 64 * (j / 4) + 32 * (j % 2), *high = p + 128 + 32 * (j / 4);
    global const char *scales = (global const char *)(p + 192);
    const uchar shift = (uchar)(4 * (j / 2 % 2)), high_shift = (uchar)(2 * (j % 4));
    const uchar16 a = (vload16(0, low) >> shift & (uchar)15) |
                      ((vload16(0, high) >> high_shift & (uchar)3) << (uchar)4);
    const uchar16 b = (vload16(1, low) >> shift & (uchar)15) |
                      ((vload16(1, high) >> high_shift & (uchar)3) << (uchar)4);
    unit n = { as_char16(a) - (char)32, as_char16(b) - (char)32, scales[2 * j], scales[2 * j + 1], 0,
               half_at(p + 208), 0 };
    return n;
}

static int add_up(int16 v)
{
    const int8 a = v.lo + v.hi;
    const int4 b = a.lo + a.hi;
    const int2 c = b.lo + b.hi;
    return c.x + c.y;
}

#define PARAMETERS                                                                                           \
    global const uchar *w, const ulong w_at, global const uchar *act, global float *y, const ulong y_at,     \
        const uint n_out, const uint n_rows, const uint k, const uint tile, local int *sums,                 \
        local int *mins, local float *scale

/* `type` is a constant wherever this is called, so that the compiler keeps one way through it. */
static void products(const int type, PARAMETERS)
{
    const bool has_min = type == Q4_K;
    const uint per_block = type == Q4_K || type == Q6_K ? 8 : 1; /* units */
    const uint block_bytes = type == Q4_0 ? 18 : type == Q8_0 ? 34 : type == Q4_K ? 144 : 210;
    const uint n_units = k / 32, n_blocks = n_units / per_block;

    /* What this item takes apart: unit `first + s` of output `out`; outputs past the end repeat the last. */
    const uint item = get_local_id(0), s = item % UNITS;
    const uint out = min((uint)get_group_id(0) * OUTS + item / UNITS, n_out - 1);
    global const uchar *row = w + w_at + (size_t)out * n_blocks * block_bytes;
    /* What it adds up, if anything: row t0 + t of sum_out. */
    const uint t0 = get_group_id(1) * tile, n_t = min(tile, n_rows - t0);
    const uint o = item / n_t, t = item % n_t;
    const uint sum_out = (uint)get_group_id(0) * OUTS + o;
    const bool sums_up = o < OUTS && sum_out < n_out;
    global const float *dx = (global const float *)(act + (size_t)n_rows * k) + (size_t)(t0 + t) * n_blocks;
    float acc = 0;

    for (uint first = 0; first < n_units; first += UNITS) {
        const uint u = first + s;
        if (u < n_units) {
            const unit n = type == Q4_0   ? take_q4_0(row, u)
                           : type == Q8_0 ? take_q8_0(row, u)
                           : type == Q4_K ? take_q4_k(row, u)
                                          : take_q6_k(row, u);
            const int16 lo = convert_int16(n.lo) * n.scale_lo, hi = convert_int16(n.hi) * n.scale_hi;
            scale[item] = n.d;
            if (has_min) scale[GROUP + item] = n.dmin;
            for (uint r = 0; r < n_t; r++) {
                global const char *x = (global const char *)act + (size_t)(t0 + r) * k + (size_t)u * 32;
                const int16 a = convert_int16(vload16(0, x)), b = convert_int16(vload16(1, x));
                sums[r * GROUP + item] = add_up(lo * a + hi * b);
                if (has_min) mins[r * GROUP + item] = n.min * add_up(a + b);
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint i = 0; sums_up && i < UNITS && first + i < n_units; i += per_block) {
            const uint at = o * UNITS + i;
            const float d = dx[(first + i) / per_block];
            int sum = 0, min_sum = 0;
            for (uint j = 0; j < per_block; j++) sum += sums[t * GROUP + at + j];
            acc = fma(scale[at] * d, (float)sum, acc);
            if (!has_min) continue;
            for (uint j = 0; j < per_block; j++) min_sum += mins[t * GROUP + at + j];
            acc = fma(-(scale[GROUP + at] * d), (float)min_sum, acc);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (sums_up) y[y_at + (size_t)(t0 + t) * n_out + sum_out] = acc;
}

#define KERNEL(name, type)                                                                                   \
    kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void name(PARAMETERS)                          \
    {                                                                                                        \
        products(type, w, w_at, act, y, y_at, n_out, n_rows, k, tile, sums, mins, scale);                    \
    }

KERNEL(matmul_q4_0, Q4_0)
KERNEL(matmul_q8_0, Q8_0)
KERNEL(matmul_q4_k, Q4_K)
KERNEL(matmul_q6_k, Q6_K)
