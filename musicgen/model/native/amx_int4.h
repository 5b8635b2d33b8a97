// Products of many rows with int4 weights on AMX.
//
// Tiles hold bytes, so each weight times its factor, a number of 12 bits, becomes two: a signed high
// and an unsigned low byte. Both are summed over all groups of inputs at once. The sums are the same
// integers as those of other instructions.

#pragma once

#include "amx.h"

#if defined(AMX)

#include "int4.h"

namespace {

using namespace native;

// Weights of a slice times their factors: 256 * high + low.
struct alignas(CACHE_LINE) WideSlice {
    uint8_t low[TILE_LINES][CACHE_LINE];
    int8_t high[TILE_LINES][CACHE_LINE];
};

// Writes a slice of 64 inputs. (q, 8) times (f, -f) is (q - 8) f, for two bytes of one instruction.
AMX inline void widen_slice(const int8_t* slice, WideSlice* out) {
    const __m512i half = _mm512_set1_epi16(15), eight = _mm512_set1_epi16(8 << 8);
    const __m512i firsts = _mm512_set4_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0);
    constexpr __mmask64 ODD = 0xaaaaaaaaaaaaaaaa;
    constexpr int AND_OR = 0xea;
    const int8_t* line = slice + CACHE_LINE;
    int at = 0;
    for (int group = 0; group < FACTORS; ++group) {
        const auto* own = reinterpret_cast<const __m128i*>(slice) + group;
        __m512i factor = _mm512_shuffle_epi8(_mm512_cvtepi8_epi32(_mm_loadu_si128(own)), firsts);
        factor = _mm512_mask_sub_epi8(factor, ODD, _mm512_setzero_si512(), factor);
        for (int l = 0; l < FACTOR_LINES; ++l, line += CACHE_LINE) {
            __m512i both = _mm512_loadu_si512(line);
            for (int upper = 0; upper < 2; ++upper, ++at) {
                // Numbers with an even and with an odd place, in 16 bits each.
                __m512i even = upper ? _mm512_srli_epi16(both, 4) : both;
                __m512i odd = _mm512_srli_epi16(both, upper ? 12 : 8);
                even = _mm512_ternarylogic_epi32(even, half, eight, AND_OR);
                odd = _mm512_ternarylogic_epi32(odd, half, eight, AND_OR);
                even = _mm512_maddubs_epi16(even, factor);
                odd = _mm512_maddubs_epi16(odd, factor);
                __m512i low = _mm512_mask_blend_epi8(ODD, even, _mm512_slli_epi16(odd, 8));
                __m512i high = _mm512_mask_blend_epi8(ODD, _mm512_srli_epi16(even, 8), odd);
                _mm512_store_si512(out->low[at], low);
                _mm512_store_si512(out->high[at], high);
            }
        }
    }
}

// x.rows rows, at most 16 for each of `PARTS`, by one block; the rows of `out` are `stride` apart.
template <int PARTS>
AMX void int4_block_amx(const Linear& w, const Operand& x, int row, int block, float* out,
                        int stride) {
    const int slices = w.slices();
    alignas(CACHE_LINE) int32_t sums[4][TILE_LINES][BLOCK];
    WideSlice wide;
    const uint8_t* upper = x.tiles + size_t(row) * slices * CACHE_LINE;
    const uint8_t* lower = upper + size_t(slices) * TILE_BYTES;
    const auto* slice = static_cast<const int8_t*>(w.weights) + block * w.block_bytes();
    // A slice takes longer than its memory, so the next ones may come early.
    const int8_t* ahead = slice + (x.step == CACHE_LINE ? 8 * TILE_BYTES : x.ahead);
    configure_tiles(x.rows);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int s = 0; s < slices; ++s, slice += SLICE_BYTES) {
        for (int line = 0; line < SLICE_LINES; ++line, ahead += x.step) fetch_once(ahead);
        widen_slice(slice, &wide);
        order_tiles();
        _tile_loadd(6, wide.low, CACHE_LINE);
        _tile_loadd(4, upper + size_t(s) * TILE_BYTES, CACHE_LINE);
        _tile_dpbsud(0, 4, 6);
        _tile_loadd(7, wide.high, CACHE_LINE);
        _tile_dpbssd(1, 4, 7);
        if constexpr (PARTS == 2) {
            _tile_loadd(5, lower + size_t(s) * TILE_BYTES, CACHE_LINE);
            _tile_dpbsud(2, 5, 6);
            _tile_dpbssd(3, 5, 7);
        }
        order_tiles();
    }
    _tile_stored(0, sums[0], CACHE_LINE);
    _tile_stored(1, sums[1], CACHE_LINE);
    _tile_stored(2, sums[2], CACHE_LINE);
    _tile_stored(3, sums[3], CACHE_LINE);
    order_tiles();
    __m512 scale = _mm512_loadu_ps(w.scales + block * BLOCK);
    for (int r = 0; r < x.rows; ++r) {
        const auto* tiles = sums + (r < TILE_LINES ? 0 : 2);
        __m512i low = _mm512_load_si512(tiles[0][r % TILE_LINES]);
        __m512i high = _mm512_load_si512(tiles[1][r % TILE_LINES]);
        __m512i sum = _mm512_add_epi32(low, _mm512_slli_epi32(high, 8));
        __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x.scales[row + r]));
        _mm512_storeu_ps(out + r * stride, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), both));
    }
}

template <int PARTS, int COUNT>
AMX void int4_amx(const Linear& w, const Operand& x, int row, const int* block, float* out) {
    for (int c = 0; c < COUNT; ++c)
        int4_block_amx<PARTS>(w, x, row, block[c], out + c * BLOCK, COUNT * BLOCK);
}

}  // namespace

#endif
