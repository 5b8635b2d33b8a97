// Products of EnCodec's convolutions on 64-bit Arm processors, with the bits of the plain code.

#pragma once

#include <arm_neon.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace {

constexpr int HALF = WIDTH / 2;      // outputs whose sums fit in the registers for PART_ROWS rows
constexpr int PART_ROWS = 4;
constexpr int FOURS_OF_HALF = HALF / 4;

// Half a block. The weights of a pair are separated into those of its first and second input.
template <int ROWS>
void int16_half(const NativeConv& w, const Tile& x, int block, int half, float* totals) {
    const int pairs = pairs_of(w);
    const int16_t* weights = int16_block(w, block) + half * WIDTH;
    float32x4_t total[ROWS][FOURS_OF_HALF];
    for (int r = 0; r < ROWS; ++r)
        for (int i = 0; i < FOURS_OF_HALF; ++i) total[r][i] = vdupq_n_f32(0.f);
    for (int tap = 0; tap < w.taps; ++tap) {
        const Pair* row = static_cast<const Pair*>(x.x) + tap * x.tap;
        const float* scales = x.scales + tap * x.dilated;
        for (int from = 0; from < pairs; from += CHUNK) {
            const int count = std::min(CHUNK, pairs - from);
            int32x4_t sums[ROWS][FOURS_OF_HALF];
            for (int r = 0; r < ROWS; ++r)
                for (int i = 0; i < FOURS_OF_HALF; ++i) sums[r][i] = vdupq_n_s32(0);
            for (int i = 0; i < count; ++i, weights += 2 * WIDTH, ++row) {
                int16x8x2_t left = vld2q_s16(weights), right = vld2q_s16(weights + WIDTH / 2);
                for (int r = 0; r < ROWS; ++r) {
                    int16x4_t input = vreinterpret_s16_s32(vdup_n_s32(row[r * x.step]));
                    int32x4_t* sum = sums[r];
                    sum[0] = vmlal_lane_s16(sum[0], vget_low_s16(left.val[0]), input, 0);
                    sum[1] = vmlal_high_lane_s16(sum[1], left.val[0], input, 0);
                    sum[2] = vmlal_lane_s16(sum[2], vget_low_s16(right.val[0]), input, 0);
                    sum[3] = vmlal_high_lane_s16(sum[3], right.val[0], input, 0);
                    sum[0] = vmlal_lane_s16(sum[0], vget_low_s16(left.val[1]), input, 1);
                    sum[1] = vmlal_high_lane_s16(sum[1], left.val[1], input, 1);
                    sum[2] = vmlal_lane_s16(sum[2], vget_low_s16(right.val[1]), input, 1);
                    sum[3] = vmlal_high_lane_s16(sum[3], right.val[1], input, 1);
                }
            }
            for (int r = 0; r < ROWS; ++r)
                for (int i = 0; i < FOURS_OF_HALF; ++i)
                    total[r][i] = vfmaq_f32(total[r][i], vcvtq_f32_s32(sums[r][i]),
                                            vdupq_n_f32(scales[r * x.rows]));
        }
    }
    for (int r = 0; r < ROWS; ++r)
        for (int i = 0; i < FOURS_OF_HALF; ++i) vst1q_f32(totals + r * WIDTH + 4 * i, total[r][i]);
}

template <int ROWS>
void float_half(const NativeConv& w, const Tile& x, int block, int half, float* totals) {
    const float* weights = float_block(w, block) + half * HALF;
    float32x4_t total[ROWS][FOURS_OF_HALF];
    for (int r = 0; r < ROWS; ++r)
        for (int i = 0; i < FOURS_OF_HALF; ++i) total[r][i] = vdupq_n_f32(0.f);
    for (int tap = 0; tap < w.taps; ++tap) {
        const float* row = static_cast<const float*>(x.x) + tap * x.tap;
        for (int k = 0; k < w.inputs; ++k, weights += WIDTH, ++row) {
            float32x4_t values[FOURS_OF_HALF];
            for (int i = 0; i < FOURS_OF_HALF; ++i) values[i] = vld1q_f32(weights + 4 * i);
            for (int r = 0; r < ROWS; ++r) {
                float32x4_t input = vdupq_n_f32(row[r * x.step]);
                for (int i = 0; i < FOURS_OF_HALF; ++i)
                    total[r][i] = vfmaq_f32(total[r][i], values[i], input);
            }
        }
    }
    for (int r = 0; r < ROWS; ++r)
        for (int i = 0; i < FOURS_OF_HALF; ++i) vst1q_f32(totals + r * WIDTH + 4 * i, total[r][i]);
}

// A tile in parts of the rows that the registers hold.
template <int ROWS, bool IS_INT16>
void product_neon(const NativeConv& w, const Tile& x, int block, float* totals) {
    constexpr int PART = std::min(ROWS, PART_ROWS);
    for (int half = 0; half < 2; ++half)
        IS_INT16 ? int16_half<PART>(w, x, block, half, totals + half * HALF)
                 : float_half<PART>(w, x, block, half, totals + half * HALF);
    if constexpr (ROWS > PART) {
        Tile rest = x;
        rest.x = static_cast<const char*>(x.x) + PART * x.step * sizeof(float);
        rest.scales = IS_INT16 ? x.scales + PART * x.rows : nullptr;
        product_neon<ROWS - PART, IS_INT16>(w, rest, block, totals + PART * WIDTH);
    }
}

}  // namespace
