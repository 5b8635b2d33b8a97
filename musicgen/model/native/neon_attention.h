// Attention with head size 64 on 64-bit Arm processors.

#pragma once

#include <arm_neon.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "between.h"
#include "linear.h"
#include "processor.h"

namespace {

using namespace native;

constexpr int FOURS = HEAD_SIZE / 4;  // registers per query, key or value
constexpr int KEYS = 4;               // keys scored together

// Sixteen values of a key or value as float32.
struct Sixteen {
    float32x4_t part[4];
};

ANY Sixteen load_sixteen(const float* numbers) {
    return {{vld1q_f32(numbers), vld1q_f32(numbers + 4), vld1q_f32(numbers + 8),
             vld1q_f32(numbers + 12)}};
}

// A bfloat16 is the upper half of a float32.
ANY float32x4_t widen_low(uint16x8_t eight) {
    return vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(eight), 16));
}
ANY float32x4_t widen_high(uint16x8_t eight) {
    return vreinterpretq_f32_u32(vshll_high_n_u16(eight, 16));
}
ANY Sixteen load_sixteen(const uint16_t* numbers) {
    uint16x8_t first = vld1q_u16(numbers), second = vld1q_u16(numbers + 8);
    return {{widen_low(first), widen_high(first), widen_low(second), widen_high(second)}};
}

ANY float32x4_t as_floats(int16x4_t four) { return vcvtq_f32_s32(vmovl_s16(four)); }
ANY Sixteen load_sixteen(const int8_t* numbers) {
    int8x16_t sixteen = vld1q_s8(numbers);
    int16x8_t first = vmovl_s8(vget_low_s8(sixteen)), second = vmovl_high_s8(sixteen);
    return {{as_floats(vget_low_s16(first)), as_floats(vget_high_s16(first)),
             as_floats(vget_low_s16(second)), as_floats(vget_high_s16(second))}};
}

// Lane j has the sum of vector j. Every sum has the same order of additions.
ANY float32x4_t sums_of(float32x4_t a, float32x4_t b, float32x4_t c, float32x4_t d) {
    return vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d));
}

// A query in the form that its keys need.
template <typename T>
struct WideQuery {
    using Products = float32x4_t;
    float32x4_t parts[FOURS];

    explicit WideQuery(const float* query) {
        for (int i = 0; i < FOURS; ++i)
            parts[i] = vmulq_n_f32(vld1q_f32(query + 4 * i), 1.f / 8.f);  // 1 / sqrt(64)
    }
    ANY float32x4_t products_with(const T* key) const {
        float32x4_t products = vdupq_n_f32(0.f);
        for (int i = 0; i < FOURS; i += 4) {
            Sixteen some = load_sixteen(key + 4 * i);
            for (int j = 0; j < 4; ++j) products = vfmaq_f32(products, some.part[j], parts[i + j]);
        }
        return products;
    }
    ANY float32x4_t scores(const float32x4_t* products, const float*) const {
        return sums_of(products[0], products[1], products[2], products[3]);
    }
};

template <>
struct WideQuery<int8_t> {
    using Products = int32x4_t;
    RoundedQuery rounded;

    explicit WideQuery(const float* query) { round_query(query, &rounded); }
    ANY int32x4_t products_with(const int8_t* key) const {
        int32x4_t products = vdupq_n_s32(0);
        for (int i = 0; i < HEAD_SIZE; i += 8) {
            int16x8_t some = vmovl_s8(vld1_s8(key + i)), own = vld1q_s16(rounded.numbers + i);
            products = vmlal_s16(products, vget_low_s16(some), vget_low_s16(own));
            products = vmlal_high_s16(products, some, own);
        }
        return products;
    }
    ANY float32x4_t scores(const int32x4_t* products, const float* factors) const {
        int32x4_t sums = vpaddq_s32(vpaddq_s32(products[0], products[1]),
                                    vpaddq_s32(products[2], products[3]));
        return vmulq_f32(vcvtq_f32_s32(sums), vmulq_n_f32(vld1q_f32(factors), rounded.factor));
    }
};

// Scores the keys and returns the largest score. Near the end of the keys it prefetches the values,
// read next.
template <typename T>
ANY float score_64(const float* query, const Past<T>& past, float* scores) {
    const WideQuery<T> own(query);
    const int count = past.count, soon = std::min(SOON<T>, count);
    float largest = -INFINITY;
    for (int t = 0; t < count; t += KEYS) {
        typename WideQuery<T>::Products products[KEYS];
        float factors[KEYS];
        int some = std::min(KEYS, count - t);
        for (int j = 0; j < KEYS; ++j) {
            int later = std::min(t + j + soon - count, count - 1);
            later < 0 ? fetch(past.keys, past.first + count + later)
                      : fetch(past.values, past.first + later);
            // Past the end the last key is scored again, for nothing.
            int here = past.first + t + std::min(j, some - 1);
            products[j] = own.products_with(past.keys.at(here));
            factors[j] = past.keys.factor(here);
        }
        float32x4_t sums = own.scores(products, factors);
        largest = std::max(largest, vmaxvq_f32(sums));
        if (some == KEYS) {
            vst1q_f32(scores + t, sums);
        } else {
            float last[KEYS];
            vst1q_f32(last, sums);
            std::copy_n(last, some, scores + t);
        }
    }
    return largest;
}

// e^x for x up to 88, as `exponential`. NaN stays NaN.
ANY float32x4_t exponential_of_each(float32x4_t x) {
    x = vmaxq_f32(x, vdupq_n_f32(-87.f));
    float32x4_t n = vrndnq_f32(vmulq_n_f32(x, 1.44269504f));
    float32x4_t rest = vfmsq_f32(x, n, vdupq_n_f32(0.693359375f));
    rest = vfmaq_f32(rest, n, vdupq_n_f32(2.12194440e-4f));
    float32x4_t p = vdupq_n_f32(CEPHES[0]);
    for (int i = 1; i < 6; ++i) p = vfmaq_f32(vdupq_n_f32(CEPHES[i]), p, rest);
    p = vfmaq_f32(rest, vmulq_f32(p, rest), rest);
    int32x4_t power = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23);
    return vmulq_f32(vaddq_f32(p, vdupq_n_f32(1.f)), vreinterpretq_f32_s32(power));
}

// Replaces scores by unnormalized softmax weights and returns their sum.
ANY float weigh_64(float* scores, int count, float largest) {
    float32x4_t total = vdupq_n_f32(0.f), most = vdupq_n_f32(largest);
    for (int t = 0; t < count; t += 4) {
        int some = std::min(4, count - t);
        float four[4] = {};
        std::copy_n(scores + t, some, four);
        float32x4_t score = vld1q_f32(four);
        // A NaN or infinity in one score must reach every output.
        float32x4_t none = vmulq_n_f32(score, 0.f);
        vst1q_f32(four, exponential_of_each(vsubq_f32(score, most)));
        std::copy_n(four, some, scores + t);
        std::fill(four + some, four + 4, 0.f);
        total = vaddq_f32(total, vaddq_f32(none, vld1q_f32(four)));
    }
    return vaddvq_f32(total);
}

// out = factor * sum of weight * value, where weights still lack the factors of values. Near the end of
// the values it prefetches the next keys.
template <typename T>
ANY void add_values_64(float* weights, const Past<T>& past, float factor,
                       const Past<T>& next, float* out) {
    float32x4_t sums[FOURS];
    for (int i = 0; i < FOURS; ++i) sums[i] = vdupq_n_f32(0.f);
    for (int t = 0; t < past.count; ++t) {
        fetch_after(past, next, t);
        scale_weights(past, t, weights);
        const T* value = past.values.at(past.first + t);
        float32x4_t weight = vdupq_n_f32(weights[t]);
        for (int i = 0; i < FOURS; i += 4) {
            Sixteen some = load_sixteen(value + 4 * i);
            for (int j = 0; j < 4; ++j) sums[i + j] = vfmaq_f32(sums[i + j], some.part[j], weight);
        }
    }
    for (int i = 0; i < FOURS; ++i) vst1q_f32(out + 4 * i, vmulq_n_f32(sums[i], factor));
}

template <typename T>
void attend_head_64(const float* query, const Past<T>& past, const Past<T>& next, float* scores,
                    float* out) {
    if (past.count < SHORT) fetch_all(next);
    float largest = score_64(query, past, scores);
    float total = weigh_64(scores, past.count, largest);
    add_values_64(scores, past, 1.f / total, next, out);
}

}  // namespace
