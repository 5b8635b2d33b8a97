// Products with packed weights: choice of the kernel, and division of the work among threads.

#pragma once

#include <algorithm>
#include <cstdint>

#include "amx.h"
#include "amx_int4.h"
#include "floats.h"
#include "int4.h"
#include "int8.h"
#include "linear.h"
#include "outputs.h"
#include "processor.h"
#include "quantized.h"

namespace {

using namespace native;

constexpr int TILE = MOST_ROWS;
constexpr int MOST_OUT = 2 * TILE_LINES * STREAMS;  // rows times blocks of a pass
constexpr int FEW_ROWS = 3;  // most rows of a kernel that reads four streams
using Kernel = void (*)(const Linear&, const Operand&, int, const int*, float*);

#if defined(__x86_64__)

// Number of rows that the registers of a kernel hold.
int tile_of(const Linear& w, int rows) {
    int has = has_level();
    if (reads_tiles(w, rows)) return 2 * TILE_LINES;
    if (w.form == INT4) return has >= HAS_VNNI ? 6 : 2;
    if (w.form == INT8) return has >= HAS_VNNI ? TILE : has == HAS_AVX_VNNI ? 6 : 3;
    if (has >= HAS_AVX512) return TILE / STREAMS;
    return 4;
}

// Whether passes have equal numbers of rows: with few rows, a kernel waits for the results of its own
// instructions.
bool has_equal_passes(const Linear& w, int rows) {
    if (reads_tiles(w, rows)) return false;
    return (w.is_integer() && has_level() >= HAS_VNNI) || reads_wide_inputs(w);
}

// Number of streams for a product of `rows` rows. float32 weights come at the memory's bandwidth as
// two streams.
int streams_of(const Linear& w, int rows) {
    if (reads_tiles(w, rows)) return rows > TILE_LINES || w.form == INT4 ? STREAMS : MOST_STREAMS;
    int least = w.is_integer() ? HAS_VNNI : HAS_AVX512;
    if (rows > FEW_ROWS || w.form == FLOAT32 || has_level() < least) return STREAMS;
    return MOST_STREAMS;
}

template <int ROWS, int COUNT>
Kernel kernel_of(const Linear& w) {
    int has = has_level();
    if constexpr (COUNT > STREAMS) {
        return w.form == INT4   ? int4_vnni<ROWS, COUNT>
               : w.form == INT8 ? int8_vnni<ROWS, COUNT>
                                : float_avx512<uint16_t, ROWS, COUNT>;
    }
    if (w.form == INT4) return has >= HAS_VNNI ? int4_vnni<ROWS, COUNT> : int4_avx2<ROWS, COUNT>;
    if (w.form == INT8 && has >= HAS_VNNI) return int8_vnni<ROWS, COUNT>;
    if (w.form == INT8)
        return has == HAS_AVX_VNNI ? int8_avx_vnni<ROWS, COUNT> : int8_avx2<ROWS, COUNT>;
    if (w.form == FLOAT16)
        return has >= HAS_AVX512 ? float_avx512<uint16_t, ROWS, COUNT>
                                 : float_avx2<uint16_t, ROWS, COUNT>;
    return has >= HAS_AVX512 ? float_avx512<float, ROWS, COUNT> : float_avx2<float, ROWS, COUNT>;
}

#else

int tile_of(const Linear& w, int) {
    return w.form == INT4 ? INT4_TILE : w.form == INT8 ? INT8_TILE : FLOAT_TILE;
}
bool has_equal_passes(const Linear&, int) { return false; }
int streams_of(const Linear&, int) { return STREAMS; }

template <int ROWS, int COUNT>
Kernel kernel_of(const Linear& w) {
    if (w.form == INT4) return int4_neon_kernel<ROWS, COUNT>();
    if (w.form == INT8) return int8_neon_kernel<ROWS, COUNT>();
    return w.form == FLOAT16 ? float_neon<uint16_t, ROWS, COUNT> : float_neon<float, ROWS, COUNT>;
}

#endif

template <int COUNT>
Kernel kernel_of(const Linear& w, const Operand& x) {
#if defined(AMX)
    if (x.tiles != nullptr) {
        const bool is_int4 = w.form == INT4;
        if constexpr (COUNT <= STREAMS)
            if (x.rows > TILE_LINES) return is_int4 ? int4_amx<2, COUNT> : int8_amx<2, COUNT>;
        return is_int4 ? int4_amx<1, COUNT> : int8_amx<1, COUNT>;
    }
#endif
    const int rows = x.rows;
    if constexpr (COUNT > STREAMS) {
        return rows == 1   ? kernel_of<1, COUNT>(w)
               : rows == 2 ? kernel_of<2, COUNT>(w)
                           : kernel_of<FEW_ROWS, COUNT>(w);
    }
    switch (rows) {
        case 1: return kernel_of<1, COUNT>(w);
        case 2: return kernel_of<2, COUNT>(w);
        case 3: return kernel_of<3, COUNT>(w);
        case 4: return kernel_of<4, COUNT>(w);
        case 5: return kernel_of<5, COUNT>(w);
        case 6: return kernel_of<6, COUNT>(w);
        case 7: return kernel_of<7, COUNT>(w);
        default: return kernel_of<8, COUNT>(w);
    }
}

// Product of all rows with `COUNT` blocks; gives the outputs of each block to `target`. Several
// passes over a block share the prefetching of the next one, so the memory is busy in all of them.
template <int COUNT, typename Target>
void blocks_product(const Linear& w, const Operand& x, int rows, const int* block,
                    const Target& target) {
    static_assert(std::max(FEW_ROWS * MOST_STREAMS, TILE * STREAMS) <= MOST_OUT);
    alignas(64) float out[MOST_OUT * BLOCK];
    int most = tile_of(w, rows), passes = rows / most;  // without the last rows, if they are fewer
    if (has_equal_passes(w, rows) && rows > most) {
        passes = (rows + most - 1) / most;
        most = (rows + passes - 1) / passes;
    }
    for (int c = 0; c < COUNT; ++c) w.fetch_factors(block[c]);
    Operand part = x;
    for (int row = 0, pass = 0; row < rows; row += most, ++pass) {
        const int tile = part.rows = std::min(most, rows - row);
        if (rows > most) {
            part.step = CACHE_LINE / passes;
            part.ahead = w.block_bytes() + w.block_bytes() * pass / passes;
        }
        // With more rows, a block takes long enough for its stores.
        for (int c = 0; c < COUNT; ++c)
            for (int r = 0; r < rows && rows <= FEW_ROWS; ++r) target.claim(r, block[c] * BLOCK);
        kernel_of<COUNT>(w, part)(w, part, row, block, out);
        for (int c = 0; c < COUNT; ++c) {
            const int first = block[c] * BLOCK;
            target.take(Outputs{row, tile, first, std::min(BLOCK, w.outputs - first),
                                out + c * BLOCK, COUNT * BLOCK});
        }
    }
}

// One thread's range of output blocks.
struct Share {
    int first, last;
    Share(const Linear& w, int thread, int threads)
        : first(int(int64_t(w.blocks()) * thread / threads)),
          last(int(int64_t(w.blocks()) * (thread + 1) / threads)) {}
};

// Product of all rows with the blocks from `first` to `last`, read as `COUNT` streams; what is left
// of them is read as fewer.
template <int COUNT, typename Target>
void range_product(const Linear& w, const Operand& x, int rows, int first, int last,
                   const Target& target) {
    const int each = (last - first) / COUNT;
    for (int i = 0; i < each; ++i) {
        int block[COUNT];
        for (int c = 0; c < COUNT; ++c) block[c] = first + c * each + i;
        blocks_product<COUNT>(w, x, rows, block, target);
    }
    if constexpr (COUNT > 1)
        range_product<COUNT / 2>(w, x, rows, first + COUNT * each, last, target);
}

// One thread's part of a product of `rows` rows.
template <typename Target>
void product(const Linear& w, const Operand& x, int rows, int thread, int threads,
             const Target& target) {
    Share share(w, thread, threads);
    if (streams_of(w, rows) == MOST_STREAMS) {
        range_product<MOST_STREAMS>(w, x, rows, share.first, share.last, target);
    } else {
        range_product<STREAMS>(w, x, rows, share.first, share.last, target);
    }
#if defined(AMX)
    if (x.tiles != nullptr) release_tiles();
#endif
}

}  // namespace
