// Products with float16 or float32 weights and float32 rows, on 64-bit Arm processors.

#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "linear.h"
#include "processor.h"

namespace {

using namespace native;

constexpr int FLOAT_TILE = 4;  // rows whose sums fit in the registers, with one block of outputs

// Loads four weights.
ANY float32x4_t load_four(const float* weights) { return vld1q_f32(weights); }
ANY float32x4_t load_four(const uint16_t* weights) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(weights)));
}

// `ROWS` rows by `COUNT` blocks of outputs, the rows of `out` `stride` apart.
template <typename T, int ROWS, int COUNT>
ANY void float_blocks(const Linear& w, const Operand& x, int row, const int* block, float* out,
                      int stride) {
    constexpr int FOURS = BLOCK / 4;
    float32x4_t total[COUNT][ROWS][FOURS];
    const T* weights[COUNT];
    for (int c = 0; c < COUNT; ++c) {
        weights[c] = w.block<T>(block[c], w.inputs);
        for (int r = 0; r < ROWS; ++r)
            for (int i = 0; i < FOURS; ++i) total[c][r][i] = vdupq_n_f32(0.f);
    }
    const float* inputs = x.floats + size_t(row) * x.stride;
    for (int k = 0; k < w.inputs; ++k) {
        for (int c = 0; c < COUNT; ++c) {
            const T* here = weights[c] + size_t(k) * BLOCK;
            __builtin_prefetch(reinterpret_cast<const char*>(here) + ahead_of(COUNT));
            float32x4_t values[FOURS];
            for (int i = 0; i < FOURS; ++i) values[i] = load_four(here + 4 * i);
            for (int r = 0; r < ROWS; ++r) {
                float32x4_t input = vld1q_dup_f32(inputs + size_t(r) * x.stride + k);
                for (int i = 0; i < FOURS; ++i)
                    total[c][r][i] = vfmaq_f32(total[c][r][i], values[i], input);
            }
        }
    }
    for (int c = 0; c < COUNT; ++c)
        for (int r = 0; r < ROWS; ++r)
            for (int i = 0; i < FOURS; ++i)
                vst1q_f32(out + r * stride + c * BLOCK + 4 * i, total[c][r][i]);
}

// Reads both streams at once if their sums fit in the registers, else one after the other. Each sum
// is one chain of additions in the order of the inputs, whatever the number of rows.
template <typename T, int ROWS, int COUNT>
void float_neon(const Linear& w, const Operand& x, int row, const int* block, float* out) {
    if constexpr (ROWS * COUNT <= FLOAT_TILE) {
        float_blocks<T, ROWS, COUNT>(w, x, row, block, out, COUNT * BLOCK);
    } else {
        for (int c = 0; c < COUNT; ++c)
            float_blocks<T, ROWS, 1>(w, x, row, block + c, out + c * BLOCK, COUNT * BLOCK);
    }
}

}  // namespace
