// Elementwise operations between products and attention: norms, activations, rounding.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "exponential.h"
#include "processor.h"

namespace {

using namespace native;

// Sums use sixteen lanes, in the same order on every CPU.
constexpr int LANES = 16;
constexpr int HEAD_SIZE = 64;  // head size of every published MusicGen

template <typename Term>
ANY float sum_of(int count, Term term) {
    float lanes[LANES] = {};
    int i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int j = 0; j < LANES; ++j) lanes[j] += term(i + j);
    for (; i < count; ++i) lanes[i % LANES] += term(i);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; ++j) lanes[j] += lanes[j + width];
    return lanes[0];
}

ANY void normalize_any(const float* x, const float* weight, const float* bias, int size, float* out) {
    float mean = sum_of(size, [=](int i) { return x[i]; }) / float(size);
    float square = sum_of(size, [=](int i) { return (x[i] - mean) * (x[i] - mean); });
    float factor = 1.f / std::sqrt(square / float(size) + 1e-5f);
    for (int i = 0; i < size; ++i) out[i] = (x[i] - mean) * factor * weight[i] + bias[i];
}
BY_LEVEL(void, normalize,
         (const float* x, const float* weight, const float* bias, int size, float* out),
         (x, weight, bias, size, out))

// GELU with the error function (Abramowitz and Stegun 7.1.26: absolute error 1.5e-7).
ANY void gelu_any(float* x, int count) {
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
BY_LEVEL(void, gelu, (float* x, int count), (x, count))

ANY void relu_any(float* x, int count) {
    for (int i = 0; i < count; ++i) x[i] = x[i] < 0.f ? 0.f : x[i];
}
BY_LEVEL(void, relu, (float* x, int count), (x, count))

ANY float from_bfloat16(uint16_t value) {
    uint32_t bits = uint32_t(value) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

ANY uint16_t to_bfloat16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t((bits >> 16) | 0x40u);
    return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace
