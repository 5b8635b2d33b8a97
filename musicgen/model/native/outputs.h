// Outputs of a product on their way from a kernel to their place in memory.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

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

// Prefetches the cache line in which a block of outputs ends, to write it. The line in which it
// begins, if another one, is that of the block before it.
template <typename T>
inline void claim_block(const T* outputs) {
    fetch_to_write(outputs + BLOCK - 1);
}

// Copies a row of outputs. A copy of constant size is a few instructions.
inline void copy_numbers(const float* values, int count, float* out) {
    if (count == BLOCK) {
        std::memcpy(out, values, BLOCK * sizeof(float));
    } else {
        std::copy_n(values, count, out);
    }
}

ANY void add_any(const float* values, int count, float* out) {
    for (int i = 0; i < count; ++i) out[i] += values[i];
}
inline void add_numbers(const float* values, int count, float* out) {
    count == BLOCK ? add_any(values, BLOCK, out) : add_any(values, count, out);
}

// Targets of a product. `take` puts outputs where they belong; `claim` announces that outputs from
// `output` on will come for a row. `row_of(row)` is where a row's outputs begin.
template <typename RowOf>
struct Copied {
    RowOf row_of;

    void claim(int row, int output) const { claim_block(row_of(row) + output); }
    void take(const Outputs& from) const {
        for (int r = 0; r < from.rows; ++r)
            copy_numbers(from.of(r), from.width, row_of(from.row + r) + from.first);
    }
};
template <typename RowOf>
Copied(RowOf) -> Copied<RowOf>;

template <typename RowOf>
struct Added {
    RowOf row_of;

    void claim(int row, int output) const { claim_block(row_of(row) + output); }
    void take(const Outputs& from) const {
        for (int r = 0; r < from.rows; ++r)
            add_numbers(from.of(r), from.width, row_of(from.row + r) + from.first);
    }
};
template <typename RowOf>
Added(RowOf) -> Added<RowOf>;

}  // namespace
