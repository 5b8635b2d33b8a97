// What happens to rows between the products: norms, activations, attention.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "processor.h"

namespace {

// Sums are made in sixteen lanes, in the same order on every processor.
constexpr int LANES = 16;

template <typename Term>
inline float sum_of(int count, Term term) {
    float lanes[LANES] = {};
    int i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int j = 0; j < LANES; ++j) lanes[j] += term(i + j);
    for (; i < count; ++i) lanes[i % LANES] += term(i);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; ++j) lanes[j] += lanes[j + width];
    return lanes[0];
}

ANY_X86 void normalize(const float* x, const float* weight, const float* bias, int size, float* out) {
    float mean = sum_of(size, [=](int i) { return x[i]; }) / float(size);
    float square = sum_of(size, [=](int i) { return (x[i] - mean) * (x[i] - mean); });
    float factor = 1.f / std::sqrt(square / float(size) + 1e-5f);
    for (int i = 0; i < size; ++i) out[i] = (x[i] - mean) * factor * weight[i] + bias[i];
}

// e^x within 2e-7 of itself: 2^n times a polynomial (Cephes), for x up to 88.
inline float exponential(float x) {
    x = std::min(std::max(x, -87.f), 88.f);
    float n = x * 1.44269504f + 12582912.f;
    uint32_t bits;
    std::memcpy(&bits, &n, sizeof bits);
    n -= 12582912.f;
    float rest = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * rest + 1.3981999507e-3f;
    p = p * rest + 8.3334519073e-3f;
    p = p * rest + 4.1665795894e-2f;
    p = p * rest + 1.6666665459e-1f;
    p = p * rest + 5.0000001201e-1f;
    p = p * rest * rest + rest + 1.f;
    uint32_t power = ((bits - 0x4b400000u) + 127u) << 23;
    float scale;
    std::memcpy(&scale, &power, sizeof scale);
    return p * scale;
}

// GELU by the error function (Abramowitz and Stegun 7.1.26: absolute error 1.5e-7).
ANY_X86 void gelu(float* x, int count) {
    for (int i = 0; i < count; ++i) {
        float value = x[i] * 0.70710678f, size = std::fabs(value);
        float t = 1.f / (1.f + 0.3275911f * size);
        float p = 1.061405429f;
        p = p * t - 1.453152027f;
        p = p * t + 1.421413741f;
        p = p * t - 0.284496736f;
        p = p * t + 0.254829592f;
        float error = 1.f - p * t * exponential(-size * size);
        x[i] *= 0.5f * (1.f + std::copysign(error, value));
    }
}

ANY_X86 void relu(float* x, int count) {
    for (int i = 0; i < count; ++i) x[i] = x[i] < 0.f ? 0.f : x[i];
}

inline float from_bfloat16(uint16_t value) {
    uint32_t bits = uint32_t(value) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

inline uint16_t to_bfloat16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t((bits >> 16) | 0x40u);
    return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float dot(const float* query, const uint16_t* key, int size) {
    return sum_of(size, [=](int i) { return query[i] * from_bfloat16(key[i]); });
}

inline void add_scaled(float factor, const uint16_t* value, int size, float* out) {
    for (int i = 0; i < size; ++i) out[i] += factor * from_bfloat16(value[i]);
}

// One head's query over `count` keys and values, each of `size` numbers.
ANY_X86 void attend(const float* query, const uint16_t* keys, const uint16_t* values, int count,
                    int size, float* scores, float* out) {
    float factor = 1.f / std::sqrt(float(size)), largest = -INFINITY;
    for (int t = 0; t < count; ++t) {
        scores[t] = dot(query, keys + size_t(t) * size, size) * factor;
        largest = scores[t] > largest ? scores[t] : largest;
    }
    // What is not a number in one score is not a number in all that comes out.
    float total = sum_of(count, [=](int t) { return scores[t] * 0.f; });
    for (int t = 0; t < count; ++t) scores[t] = exponential(scores[t] - largest);
    total += sum_of(count, [=](int t) { return scores[t]; });
    for (int i = 0; i < size; ++i) out[i] = 0.f;
    for (int t = 0; t < count; ++t)
        add_scaled(scores[t] / total, values + size_t(t) * size, size, out);
}

}  // namespace
