// Outputs of a product on their way from a kernel to their place in memory.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "between.h"
#include "linear.h"
#include "processor.h"

namespace {

using namespace native;

// `rows` rows of one block of outputs, of which `width` are real. Row 0 is row `row` of the product
// and column 0 is its output `first`. The rows of `values` are `stride` apart.
struct Outputs {
    int row, rows, first, width;
    const float* values;
    int stride;

    const float* of(int r) const { return values + size_t(r) * stride; }
};

// Copies the outputs into `out` [row][output]. A copy of constant size is a few instructions.
inline void copy_outputs(const Outputs& from, float* out, size_t stride) {
    out += from.row * stride + from.first;
    for (int r = 0; r < from.rows; ++r, out += stride) {
        if (from.width == BLOCK) {
            std::memcpy(out, from.of(r), BLOCK * sizeof(float));
        } else {
            std::copy_n(from.of(r), from.width, out);
        }
    }
}

ANY void add_numbers(const float* values, int count, float* out) {
    for (int i = 0; i < count; ++i) out[i] += values[i];
}

// Adds one row of outputs to `out`.
inline void add_row(const Outputs& from, int r, float* out) {
    if (from.width == BLOCK) {
        add_numbers(from.of(r), BLOCK, out);
    } else {
        add_numbers(from.of(r), from.width, out);
    }
}

// Adds the outputs to `out` [row][output].
inline void add_outputs(const Outputs& from, float* out, size_t stride) {
    for (int r = 0; r < from.rows; ++r)
        add_row(from, r, out + (from.row + r) * stride + from.first);
}

// Conversion of `count` numbers to the type of the cache.
ANY void put_numbers_any(const float* values, int count, uint16_t* out) {
    if (count == BLOCK) {
        for (int i = 0; i < BLOCK; ++i) out[i] = to_bfloat16(values[i]);
    } else {
        for (int i = 0; i < count; ++i) out[i] = to_bfloat16(values[i]);
    }
}
BY_LEVEL(void, put_numbers, (const float* values, int count, uint16_t* out), (values, count, out))
inline void put_numbers(const float* values, int count, float* out) {
    std::copy_n(values, count, out);
}

}  // namespace
