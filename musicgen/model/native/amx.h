// Products of many rows with int8 weights on AMX, the matrix unit of Intel's server processors.
//
// A tile holds 16 lines of 64 bytes. Packed int8 weights lie in memory as a tile of weights does: 64
// inputs of a block are 16 lines, each with four inputs of 16 outputs. Sums are exact, so they are
// the same integers as those of other instructions.

#pragma once

#include "linear.h"
#include "processor.h"

#if defined(AMX)

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "int8.h"

namespace {

using namespace native;

// Tiles 0 to 3 hold sums, 4 and 5 inputs of the upper and the lower rows, 6 and 7 weights.
struct alignas(CACHE_LINE) TileShapes {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {};
    uint8_t lines[16] = {};

    void set(int tile, int count) {
        bytes[tile] = CACHE_LINE;
        lines[tile] = uint8_t(count);
    }
};

// Keeps memory accesses on their side of instructions with tiles, which GCC does not see.
ANY void order_tiles() { asm volatile("" : : : "memory"); }

// Number of rows for which this thread's tiles are configured; 0 if they are not.
thread_local int configured_rows = 0;

AMX inline void configure_tiles(int rows) {
    if (configured_rows == rows) return;
    const int upper = std::min(rows, TILE_LINES), lower = rows - upper;
    TileShapes shapes;
    for (int tile : {0, 1, 4}) shapes.set(tile, upper);
    for (int tile : {2, 3, 5}) shapes.set(tile, lower > 0 ? lower : upper);
    for (int tile : {6, 7}) shapes.set(tile, TILE_LINES);
    order_tiles();
    _tile_loadconfig(&shapes);
    configured_rows = rows;
}

// Gives the tiles up: while a thread has them, every switch to another thread saves 8 KB.
AMX inline void release_tiles() {
    if (configured_rows == 0) return;
    _tile_release();
    configured_rows = 0;
}

// One block's weights on their way to a tile.
struct TileStream {
    const int8_t *weights, *ahead;
    int64_t step;
    int groups;

    // Prefetches a tile.
    ANY void fetch() {
        for (int line = 0; line < TILE_LINES; ++line, ahead += step) fetch_once(ahead);
    }
    // Returns the tile at a slice of 64 inputs. A last one of fewer inputs is copied, because what lies
    // behind it in memory may not be readable.
    ANY const int8_t* at(int slice, int8_t* copy) const {
        const int8_t* here = weights + size_t(slice) * TILE_BYTES;
        const int left = groups - slice * TILE_LINES;
        if (left >= TILE_LINES) return here;
        order_tiles();
        std::memset(copy, 0, TILE_BYTES);
        std::memcpy(copy, here, size_t(left) * CACHE_LINE);
        order_tiles();
        return copy;
    }
};

// Multiplies `HOLDER`, a tile of block `C`'s weights, with the rows.
#define MULTIPLY_TILE(C, HOLDER, LOWER)                                                  \
    if constexpr (COUNT > C) {                                                           \
        _tile_loadd(HOLDER, streams[C].at(s, copy), CACHE_LINE);                         \
        _tile_dpbusd(C, 4, HOLDER);                                                      \
        if constexpr (PARTS == 2) _tile_dpbusd(LOWER, 5, HOLDER);                        \
    }

// x.rows rows, at most 16 for each of `PARTS`, by `COUNT` blocks; out [rows][COUNT][BLOCK]. Four
// tiles of sums, because a product takes long until its sums may be used again.
template <int PARTS, int COUNT>
AMX void int8_amx(const Linear& w, const Operand& x, int row, const int* block, float* out) {
    static_assert(PARTS * COUNT <= 4);
    const int groups = w.groups(), slices = w.slices();
    alignas(CACHE_LINE) int32_t sums[4][TILE_LINES][BLOCK];
    alignas(CACHE_LINE) int8_t copy[TILE_BYTES];
    const uint8_t* upper = x.tiles + size_t(row) * slices * CACHE_LINE;
    const uint8_t* lower = upper + size_t(slices) * TILE_BYTES;
    // One pass over the weights prefetches them for itself, several do it for the next block.
    const int64_t distance = x.step == CACHE_LINE ? 4 * TILE_BYTES : x.ahead;
    configure_tiles(x.rows);
    TileStream streams[COUNT];
    for (int c = 0; c < COUNT; ++c) {
        const int8_t* weights = w.block<int8_t>(block[c], groups * GROUP);
        streams[c] = {weights, weights + distance, x.step, groups};
    }
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int s = 0; s < slices; ++s) {
        for (int c = 0; c < COUNT; ++c) streams[c].fetch();
        _tile_loadd(4, upper + size_t(s) * TILE_BYTES, CACHE_LINE);
        if constexpr (PARTS == 2) _tile_loadd(5, lower + size_t(s) * TILE_BYTES, CACHE_LINE);
        MULTIPLY_TILE(0, 6, 2)
        MULTIPLY_TILE(1, 7, 3)
        MULTIPLY_TILE(2, 6, 3)
        MULTIPLY_TILE(3, 7, 3)
    }
    _tile_stored(0, sums[0], CACHE_LINE);
    _tile_stored(1, sums[1], CACHE_LINE);
    _tile_stored(2, sums[2], CACHE_LINE);
    _tile_stored(3, sums[3], CACHE_LINE);
    order_tiles();
    for (int c = 0; c < COUNT; ++c) {
        __m512i shift = _mm512_slli_epi32(_mm512_loadu_si512(w.sums + block[c] * BLOCK), ZERO_BITS);
        __m512 scale = _mm512_loadu_ps(w.scales + block[c] * BLOCK);
        for (int r = 0; r < x.rows; ++r) {
            const auto& tile = sums[r < TILE_LINES ? c : c + 2];
            __m512i sum = _mm512_sub_epi32(_mm512_load_si512(tile[r % TILE_LINES]), shift);
            __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x.scales[row + r]));
            _mm512_storeu_ps(out + (r * COUNT + c) * BLOCK,
                             _mm512_mul_ps(_mm512_cvtepi32_ps(sum), both));
        }
    }
}

#undef MULTIPLY_TILE

}  // namespace

#endif
