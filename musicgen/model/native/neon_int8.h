// Products with int8 weights on 64-bit Arm processors: with NEON alone, dot products or i8mm.

#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "linear.h"
#include "processor.h"

namespace {

using namespace native;

constexpr int ZERO = 0;       // quantized 0: all instructions take two signed operands
constexpr int INT8_TILE = 4;  // rows whose sums fit in the registers, with one block of outputs
constexpr int QUARTERS = 4;   // registers per group of a block, with four outputs each

// Adds to four sums the products of four weights each with the same four inputs.
struct NeonSums {
    // Two products fit in 16 bits, because no weight is -128.
    ANY static int32x4_t plus(int32x4_t total, int8x16_t weights, int8x16_t input) {
        int16x8_t low = vmull_s8(vget_low_s8(weights), vget_low_s8(input));
        int16x8_t high = vmull_high_s8(weights, input);
        return vpadalq_s16(total, vpaddq_s16(low, high));
    }
};

struct DotSums {
    ANY static int32x4_t plus(int32x4_t total, int8x16_t weights, int8x16_t input) {
        asm("sdot %0.4s, %1.16b, %2.16b" : "+w"(total) : "w"(weights), "w"(input));
        return total;
    }
};

// Writes four exact sums of one row as float32.
ANY void put_sums(int32x4_t sums, const float* scales, float scale, float* out) {
    float32x4_t both = vmulq_n_f32(vld1q_f32(scales), scale);
    vst1q_f32(out, vmulq_f32(vcvtq_f32_s32(sums), both));
}

// `ROWS` rows by `COUNT` blocks of outputs, the rows of `out` `stride` apart.
template <typename Sums, int ROWS, int COUNT>
ANY void int8_blocks(const Linear& w, const Operand& x, int row, const int* block, float* out,
                     int stride) {
    const int groups = w.groups();
    int32x4_t total[COUNT][ROWS][QUARTERS];
    const int8_t* weights[COUNT];
    for (int c = 0; c < COUNT; ++c) {
        weights[c] = w.block<int8_t>(block[c], groups * GROUP);
        for (int r = 0; r < ROWS; ++r)
            for (int q = 0; q < QUARTERS; ++q) total[c][r][q] = vdupq_n_s32(0);
    }
    const int32_t* quads = x.quads + size_t(row) * groups;
    for (int g = 0; g < groups; ++g) {
        for (int c = 0; c < COUNT; ++c) {
            const int8_t* here = weights[c] + size_t(g) * BLOCK * GROUP;
            __builtin_prefetch(here + ahead_of(COUNT));
            int8x16_t values[QUARTERS];
            for (int q = 0; q < QUARTERS; ++q) values[q] = vld1q_s8(here + 16 * q);
            for (int r = 0; r < ROWS; ++r) {
                const int32_t* quad = quads + size_t(r) * groups + g;
                int8x16_t input = vreinterpretq_s8_s32(vld1q_dup_s32(quad));
                for (int q = 0; q < QUARTERS; ++q)
                    total[c][r][q] = Sums::plus(total[c][r][q], values[q], input);
            }
        }
    }
    for (int c = 0; c < COUNT; ++c)
        for (int r = 0; r < ROWS; ++r)
            for (int q = 0; q < QUARTERS; ++q)
                put_sums(total[c][r][q], w.scales + block[c] * BLOCK + 4 * q, x.scales[row + r],
                         out + r * stride + c * BLOCK + 4 * q);
}

// Reads both streams at once if their sums fit in the registers, else one after the other.
template <typename Sums, int ROWS, int COUNT>
ANY void int8_any(const Linear& w, const Operand& x, int row, const int* block, float* out) {
    if constexpr (ROWS * COUNT <= INT8_TILE) {
        int8_blocks<Sums, ROWS, COUNT>(w, x, row, block, out, COUNT * BLOCK);
    } else {
        for (int c = 0; c < COUNT; ++c)
            int8_blocks<Sums, ROWS, 1>(w, x, row, block + c, out + c * BLOCK, COUNT * BLOCK);
    }
}

template <int ROWS, int COUNT>
void int8_neon(const Linear& w, const Operand& x, int row, const int* block, float* out) {
    int8_any<NeonSums, ROWS, COUNT>(w, x, row, block, out);
}

template <int ROWS, int COUNT>
DOTPROD void int8_dot(const Linear& w, const Operand& x, int row, const int* block, float* out) {
    int8_any<DotSums, ROWS, COUNT>(w, x, row, block, out);
}

// Adds products of two rows with two outputs, of eight inputs each: [row][output].
ANY int32x4_t plus_square(int32x4_t total, int8x16_t inputs, int8x16_t weights) {
    asm("smmla %0.4s, %1.16b, %2.16b" : "+w"(total) : "w"(inputs), "w"(weights));
    return total;
}

// Multiplies two groups of a block, from `here` and `next` on, with all pairs of rows.
template <int PAIRS>
ANY void add_squares(const int8_t* here, const int8_t* next, const int8x16_t* inputs,
                     int32x4_t (*total)[2 * QUARTERS]) {
    for (int q = 0; q < QUARTERS; ++q) {
        int32x4_t first = vreinterpretq_s32_s8(vld1q_s8(here + 16 * q));
        int32x4_t second = vreinterpretq_s32_s8(vld1q_s8(next + 16 * q));
        int8x16_t low = vreinterpretq_s8_s32(vzip1q_s32(first, second));
        int8x16_t high = vreinterpretq_s8_s32(vzip2q_s32(first, second));
        for (int p = 0; p < PAIRS; ++p) {
            total[p][2 * q] = plus_square(total[p][2 * q], inputs[p], low);
            total[p][2 * q + 1] = plus_square(total[p][2 * q + 1], inputs[p], high);
        }
    }
}

// `ROWS` rows by one block of outputs, in pairs of rows; an odd last row is computed twice.
template <int ROWS>
I8MM void int8_block_i8mm(const Linear& w, const Operand& x, int row, int block, float* out,
                          int stride) {
    constexpr int PAIRS = (ROWS + 1) / 2;
    const int groups = w.groups();
    int32x4_t total[PAIRS][2 * QUARTERS];
    const int32_t* quads[2 * PAIRS];
    for (int r = 0; r < 2 * PAIRS; ++r)
        quads[r] = x.quads + size_t(row + (r < ROWS ? r : ROWS - 1)) * groups;
    for (int p = 0; p < PAIRS; ++p)
        for (int i = 0; i < 2 * QUARTERS; ++i) total[p][i] = vdupq_n_s32(0);
    const int8_t* weights = w.block<int8_t>(block, groups * GROUP);
    int8x16_t inputs[PAIRS];
    int g = 0;
    for (; g + 1 < groups; g += 2) {
        const int8_t* here = weights + size_t(g) * BLOCK * GROUP;
        __builtin_prefetch(here + ahead_of(1));
        __builtin_prefetch(here + ahead_of(1) + CACHE_LINE);
        for (int p = 0; p < PAIRS; ++p)
            inputs[p] = vreinterpretq_s8_s32(
                vcombine_s32(vld1_s32(quads[2 * p] + g), vld1_s32(quads[2 * p + 1] + g)));
        add_squares<PAIRS>(here, here + BLOCK * GROUP, inputs, total);
    }
    if (g < groups) {
        const int8_t* last = weights + size_t(g) * BLOCK * GROUP;
        for (int p = 0; p < PAIRS; ++p) {
            int32x4_t one = vsetq_lane_s32(quads[2 * p][g], vdupq_n_s32(0), 0);
            inputs[p] = vreinterpretq_s8_s32(vsetq_lane_s32(quads[2 * p + 1][g], one, 2));
        }
        add_squares<PAIRS>(last, last, inputs, total);
    }
    for (int r = 0; r < ROWS; ++r)
        for (int q = 0; q < QUARTERS; ++q) {
            int32x4_t left = total[r / 2][2 * q], right = total[r / 2][2 * q + 1];
            int32x4_t sums = r % 2 == 0 ? vcombine_s32(vget_low_s32(left), vget_low_s32(right))
                                        : vcombine_s32(vget_high_s32(left), vget_high_s32(right));
            put_sums(sums, w.scales + block * BLOCK + 4 * q, x.scales[row + r],
                     out + r * stride + 4 * q);
        }
}

template <int ROWS, int COUNT>
I8MM void int8_i8mm(const Linear& w, const Operand& x, int row, const int* block, float* out) {
    for (int c = 0; c < COUNT; ++c)
        int8_block_i8mm<ROWS>(w, x, row, block[c], out + c * BLOCK, COUNT * BLOCK);
}

using Int8Kernel = void (*)(const Linear&, const Operand&, int, const int*, float*);

// i8mm multiplies pairs of rows, so it gains nothing for one.
template <int ROWS, int COUNT>
Int8Kernel int8_neon_kernel() {
    int has = has_level();
    if (has < HAS_DOTPROD) return int8_neon<ROWS, COUNT>;
    return has < HAS_I8MM || ROWS == 1 ? int8_dot<ROWS, COUNT> : int8_i8mm<ROWS, COUNT>;
}

// Whether the kernel of a product reads inputs of 16 bits.
inline bool reads_wide_inputs(const Linear&) { return false; }
// Arm has no tiles.
inline bool reads_tiles(const Linear&, int) { return false; }

}  // namespace
