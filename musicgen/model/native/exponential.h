// The exponential function in plain code, vectorized by the compiler.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "processor.h"

namespace {

using namespace native;

constexpr float CEPHES[6] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                             4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};

// e^x = scale (polynomial + 1), with the scale a power of two (Cephes).
struct Exponential {
    float polynomial, scale;
};

// x from -87 to 88.
ANY Exponential split_exponential(float x) {
    float n = x * 1.44269504f + 12582912.f;
    uint32_t bits;
    std::memcpy(&bits, &n, sizeof bits);
    n -= 12582912.f;
    float rest = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = CEPHES[0];
    for (int i = 1; i < 6; ++i) p = p * rest + CEPHES[i];
    uint32_t power = ((bits - 0x4b400000u) + 127u) << 23;
    float scale;
    std::memcpy(&scale, &power, sizeof scale);
    return {p * rest * rest + rest, scale};
}

// e^x with relative error 2e-7 for x up to 88.
ANY float exponential(float x) {
    const Exponential parts = split_exponential(std::min(std::max(x, -87.f), 88.f));
    return (parts.polynomial + 1.f) * parts.scale;
}

// e^x - 1 for x from -80 to 80, precise near 0.
ANY float exponential_minus_1(float x) {
    const Exponential parts = split_exponential(std::min(std::max(x, -80.f), 80.f));
    return parts.polynomial * parts.scale + (parts.scale - 1.f);
}

}  // namespace
