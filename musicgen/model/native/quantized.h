// Rows of a product's inputs, quantized to int8 with one scale per row.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "int8.h"
#include "linear.h"
#include "magnitude.h"
#include "processor.h"

namespace {

using namespace native;

BY_LEVEL(uint32_t, largest_of, (const float* x, int count), (x, count))

// Quantizes numbers; 0 becomes `zero`.
ANY void quantize_row_any(const float* x, int count, float scale, int zero, uint8_t* out) {
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the lowest bits.
    for (int i = 0; i < count; ++i) {
        float rounded = x[i] * scale + 12582912.f;
        uint32_t bits;
        std::memcpy(&bits, &rounded, sizeof bits);
        out[i] = uint8_t(bits + uint32_t(zero));
    }
}
BY_LEVEL(void, quantize_row, (const float* x, int count, float scale, int zero, uint8_t* out),
         (x, count, scale, zero, out))

// Widens numbers to 16 bits, one after the other in `out`.
ANY void widen_row_any(const int8_t* x, int count, char* out) {
    for (int i = 0; i < count; ++i) {
        const int16_t wide = x[i];
        std::memcpy(out + i * sizeof wide, &wide, sizeof wide);
    }
}
BY_LEVEL(void, widen_row, (const int8_t* x, int count, char* out), (x, count, out))

// Where the sums of int4 groups begin, for one row: see int4.h.
ANY void add_up_groups_any(const int8_t* row, int factors, int32_t* starts) {
    for (int f = 0; f < factors; ++f) {
        int32_t sum = 0;
        for (int i = 0; i < FACTORED; ++i) sum += row[f * FACTORED + i];
        starts[f] = -8 * sum;
    }
}
BY_LEVEL(void, add_up_groups, (const int8_t* row, int factors, int32_t* starts),
         (row, factors, starts))

// Each thread quantizes its own copy of the rows: cheaper than sharing them.
struct Quantized {
    // A line of a tile, aligned as the cache's lines are.
    struct alignas(CACHE_LINE) Line {
        uint8_t bytes[CACHE_LINE];
    };

    std::vector<int32_t> quads, starts;
    std::vector<int64_t> wide;
    std::vector<Line> tiles;
    std::vector<float> scales;

    // Takes the memory that `of` needs for up to `rows` rows of this product, and a cache line.
    void reserve(const Linear& w, int rows) {
        if (!w.is_integer()) return;
        const size_t line = CACHE_LINE / sizeof(float);
        const size_t most = size_t(rows) * w.groups() + line;
        grow(quads, most);
        grow(scales, size_t(rows) + line);
        if (reads_wide_inputs(w)) grow(wide, most);
        if (reads_tiles(w, rows)) grow(tiles, size_t(tile_rows(rows)) * w.slices() + 1);
        // Fewer rows of the same product may need what these do not.
        if (reads_tiles(w, rows)) rows = LEAST_TILE_ROWS_INT4 - 1;
        if (w.form == INT4) grow(starts, size_t(rows) * w.slices() * FACTORS + line);
    }

    // Quantizes rows x [rows][stride] for a product with `w`, after `reserve`.
    Operand of(const Linear& w, const float* x, int stride, int rows) noexcept {
        Operand operand{x, stride};
        if (!w.is_integer()) return operand;
        const bool is_wide = reads_wide_inputs(w), has_tiles = reads_tiles(w, rows);
        const int groups = w.groups(), zero = w.form == INT8 && !is_wide ? ZERO : 0;
        for (int r = 0; r < rows; ++r) {
            const float* row = x + size_t(r) * stride;
            auto* out = reinterpret_cast<uint8_t*>(quads.data() + size_t(r) * groups);
            std::memset(out + w.inputs, zero, size_t(groups) * GROUP - w.inputs);
            uint32_t bits = largest_of(row, w.inputs);
            float largest;
            std::memcpy(&largest, &bits, sizeof largest);
            // Infinity and NaN must not vanish: the scale propagates them to every output.
            bool finite = bits < 0x7f800000u;
            scales[r] = finite ? std::max(largest, 1e-12f) / 127.f : NAN;
            quantize_row(row, w.inputs, finite ? 1.f / scales[r] : 0.f, zero, out);
            if (has_tiles) put_in_tiles(out, w, r);
            if (is_wide)
                widen_row(reinterpret_cast<const int8_t*>(out), groups * GROUP,
                          reinterpret_cast<char*>(wide.data() + size_t(r) * groups));
            const int factors = w.slices() * FACTORS;
            if (needs_starts(w, rows))
                add_up_groups(reinterpret_cast<const int8_t*>(out), factors,
                              starts.data() + size_t(r) * factors);
        }
        operand.quads = quads.data();
        operand.wide = wide.data();
        operand.tiles = has_tiles ? tiles.data()->bytes : nullptr;
        operand.scales = scales.data();
        operand.starts = starts.data();
        return operand;
    }

  private:
    template <typename T>
    static void grow(std::vector<T>& numbers, size_t least) {
        if (numbers.size() < least) numbers.resize(least);
    }
    static bool needs_starts(const Linear& w, int rows) {
        return w.form == INT4 && !reads_tiles(w, rows);
    }
    static int tile_rows(int rows) { return (rows + TILE_LINES - 1) / TILE_LINES * TILE_LINES; }

    // Copies a row of quantized numbers to its lines. Tiles have whole slices: behind the numbers come
    // zeros, which add nothing whatever weights they meet.
    void put_in_tiles(const uint8_t* numbers, const Linear& w, int row) noexcept {
        const int slices = w.slices(), bytes = w.groups() * GROUP;
        Line* line = tiles.data() + size_t(row / TILE_LINES) * slices * TILE_LINES + row % TILE_LINES;
        for (int at = 0; at < bytes; at += SLICE, line += TILE_LINES) {
            const int count = std::min(SLICE, bytes - at);
            if (count < SLICE) *line = {};
            std::memcpy(line->bytes, numbers + at, size_t(count));
        }
    }
};

}  // namespace
