// Products with int4 weights on 64-bit Arm processors: with NEON alone or dot products.

#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "linear.h"
#include "neon_int8.h"
#include "processor.h"

namespace {

using namespace native;

constexpr int INT4_TILE = 2;  // rows whose sums and totals fit in the registers

// `ROWS` rows by one block of outputs.
template <typename Sums, int ROWS>
ANY void int4_block(const Linear& w, const Operand& x, int row, int block, float* out, int stride) {
    const int groups = w.groups(), factors = w.slices() * FACTORS;
    const auto* lines = static_cast<const uint8_t*>(w.weights) + block * w.block_bytes();
    int32x4_t total[ROWS][QUARTERS];
    for (int r = 0; r < ROWS; ++r)
        for (int q = 0; q < QUARTERS; ++q) total[r][q] = vdupq_n_s32(0);
    const int32_t* quads = x.quads + size_t(row) * groups;
    const int32_t* starts = x.starts + size_t(row) * factors;
    for (int f = 0; f < factors; f += FACTORS) {
        const auto* scales = reinterpret_cast<const int8_t*>(lines);
        lines += CACHE_LINE;
        for (int g = f; g < f + FACTORS; ++g) {
            int32x4_t sums[ROWS][QUARTERS];
            for (int r = 0; r < ROWS; ++r)
                for (int q = 0; q < QUARTERS; ++q)
                    sums[r][q] = vdupq_n_s32(starts[size_t(r) * factors + g]);
            for (int line = 0; line < FACTOR_LINES; ++line, quads += 2, lines += CACHE_LINE) {
                __builtin_prefetch(lines + ahead_of(1));
                for (int q = 0; q < QUARTERS; ++q) {
                    uint8x16_t both = vld1q_u8(lines + 16 * q);
                    int8x16_t low = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
                    int8x16_t high = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
                    for (int r = 0; r < ROWS; ++r) {
                        const int32_t* own = quads + size_t(r) * groups;
                        int8x16_t first = vreinterpretq_s8_s32(vld1q_dup_s32(own));
                        int8x16_t second = vreinterpretq_s8_s32(vld1q_dup_s32(own + 1));
                        sums[r][q] = Sums::plus(sums[r][q], low, first);
                        sums[r][q] = Sums::plus(sums[r][q], high, second);
                    }
                }
            }
            int16x8_t eight[2];
            for (int i = 0; i < 2; ++i)
                eight[i] = vmovl_s8(vld1_s8(scales + (g - f) * BLOCK + 8 * i));
            for (int q = 0; q < QUARTERS; ++q) {
                int16x4_t four = q % 2 ? vget_high_s16(eight[q / 2]) : vget_low_s16(eight[q / 2]);
                for (int r = 0; r < ROWS; ++r)
                    total[r][q] = vmlaq_s32(total[r][q], sums[r][q], vmovl_s16(four));
            }
        }
    }
    for (int r = 0; r < ROWS; ++r)
        for (int q = 0; q < QUARTERS; ++q)
            put_sums(total[r][q], w.scales + block * BLOCK + 4 * q, x.scales[row + r],
                     out + r * stride + 4 * q);
}

template <int ROWS, int COUNT>
void int4_neon(const Linear& w, const Operand& x, int row, const int* block, float* out) {
    for (int c = 0; c < COUNT; ++c)
        int4_block<NeonSums, ROWS>(w, x, row, block[c], out + c * BLOCK, COUNT * BLOCK);
}

template <int ROWS, int COUNT>
DOTPROD void int4_dot(const Linear& w, const Operand& x, int row, const int* block, float* out) {
    for (int c = 0; c < COUNT; ++c)
        int4_block<DotSums, ROWS>(w, x, row, block[c], out + c * BLOCK, COUNT * BLOCK);
}

template <int ROWS, int COUNT>
Int8Kernel int4_neon_kernel() {
    return has_level() < HAS_DOTPROD ? int4_neon<ROWS, COUNT> : int4_dot<ROWS, COUNT>;
}

}  // namespace
