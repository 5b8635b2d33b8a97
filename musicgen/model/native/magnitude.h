// The largest magnitude of numbers, by which they are quantized.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "processor.h"

namespace {

using namespace native;

// Bits of the largest magnitude. Compared as integers, magnitudes keep their order, with infinity
// and NaN last.
ANY uint32_t largest_of_any(const float* x, int count) {
    uint32_t largest = 0;
    for (int i = 0; i < count; ++i) {
        uint32_t bits;
        std::memcpy(&bits, x + i, sizeof bits);
        largest = std::max(largest, bits & 0x7fffffffu);
    }
    return largest;
}

}  // namespace
