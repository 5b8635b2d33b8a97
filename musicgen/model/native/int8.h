// Products with int8 weights and rows quantized to int8. Integer sums are exact, so every CPU gives
// the same bits.

#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <cstdint>

#include "linear.h"
#include "processor.h"

#if !defined(__x86_64__)
#include "neon_int8.h"
#endif

namespace {

using namespace native;

#if defined(__x86_64__)

// Quantized 0: the instructions need one unsigned operand.
constexpr int ZERO_BITS = 7, ZERO = 1 << ZERO_BITS;

// Same as _mm512_dpbusd_epi32. With the intrinsic, GCC 12 copies every sum to another register and
// back.
VNNI inline __m512i plus_products(__m512i total, __m512i input, __m512i weights) {
    asm("vpdpbusd %2, %1, %0" : "+v"(total) : "v"(input), "v"(weights));
    return total;
}

// `ROWS` rows by `COUNT` blocks of outputs; out [ROWS][COUNT][BLOCK].
template <int ROWS, int COUNT>
VNNI void int8_vnni(const Linear& w, const Operand& x, int row, const int* block, float* out) {
    // Few rows wait for memory, where every instruction of the loop counts. Passes have at least half
    // of the most rows.
    constexpr bool FULL = ROWS >= MOST_ROWS / 2;
    const int groups = w.groups();
    __m512i total[ROWS][COUNT];
    const int8_t *weights[COUNT], *ahead[COUNT];
    const int64_t step = x.step;
    for (int c = 0; c < COUNT; ++c) {
        weights[c] = w.block<int8_t>(block[c], groups * GROUP);
        ahead[c] = weights[c] + x.ahead;
        for (int r = 0; r < ROWS; ++r) total[r][c] = _mm512_setzero_si512();
    }
    const int32_t* quads = x.quads + size_t(row) * groups;
    for (int g = 0; g < groups; ++g) {
        __m512i values[COUNT];
        for (int c = 0; c < COUNT; ++c) {
            fetch_once(FULL ? ahead[c] : weights[c] + size_t(g) * 64 + ahead_of(COUNT));
            ahead[c] += step;
            values[c] = _mm512_loadu_si512(weights[c] + size_t(g) * 64);
        }
        for (int r = 0; r < ROWS; ++r) {
            __m512i input = _mm512_set1_epi32(quads[size_t(r) * groups + g]);
            for (int c = 0; c < COUNT; ++c)
                total[r][c] = plus_products(total[r][c], input, values[c]);
        }
    }
    for (int c = 0; c < COUNT; ++c) {
        __m512i shift = _mm512_mullo_epi32(_mm512_loadu_si512(w.sums + block[c] * BLOCK),
                                           _mm512_set1_epi32(ZERO));
        __m512 scale = _mm512_loadu_ps(w.scales + block[c] * BLOCK);
        for (int r = 0; r < ROWS; ++r) {
            __m512 exact = _mm512_cvtepi32_ps(_mm512_sub_epi32(total[r][c], shift));
            __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x.scales[row + r]));
            _mm512_storeu_ps(out + (r * COUNT + c) * BLOCK, _mm512_mul_ps(exact, both));
        }
    }
}

// The same with 256 bits. The assembler needs {vex}, because the name alone means AVX-512.
AVX2 inline __m256i plus_products(__m256i total, __m256i input, __m256i weights) {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(total) : "x"(input), "xm"(weights));
    return total;
}

// Output r, c is at out + r * stride + c * BLOCK.
template <int ROWS, int COUNT>
AVX2 void int8_blocks_avx_vnni(const Linear& w, const Operand& x, int row, const int* block,
                               float* out, int stride) {
    const int groups = w.groups();
    __m256i total[ROWS][COUNT][2];  // the lower and the upper eight outputs
    const int8_t *weights[COUNT], *ahead[COUNT];
    const int64_t step = x.step;
#pragma GCC unroll 2
    for (int c = 0; c < COUNT; ++c) {
        weights[c] = w.block<int8_t>(block[c], groups * GROUP);
        ahead[c] = weights[c] + x.ahead;
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) total[r][c][0] = total[r][c][1] = _mm256_setzero_si256();
    }
    const int32_t* quads = x.quads + size_t(row) * groups;
    for (int g = 0; g < groups; ++g) {
        __m256i values[COUNT][2];
#pragma GCC unroll 2
        for (int c = 0; c < COUNT; ++c) {
            const auto* here = reinterpret_cast<const __m256i*>(weights[c] + size_t(g) * 64);
            fetch_once(ahead[c]);
            ahead[c] += step;
#pragma GCC unroll 2
            for (int half = 0; half < 2; ++half) values[c][half] = _mm256_loadu_si256(here + half);
        }
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            __m256i input = _mm256_set1_epi32(quads[size_t(r) * groups + g]);
#pragma GCC unroll 2
            for (int c = 0; c < COUNT; ++c)
#pragma GCC unroll 2
                for (int half = 0; half < 2; ++half)
                    total[r][c][half] = plus_products(total[r][c][half], input, values[c][half]);
        }
    }
#pragma GCC unroll 2
    for (int c = 0; c < COUNT; ++c)
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
            const int first = block[c] * BLOCK + half * 8;
            const auto* sums = reinterpret_cast<const __m256i*>(w.sums + first);
            __m256i shift = _mm256_mullo_epi32(_mm256_loadu_si256(sums), _mm256_set1_epi32(ZERO));
            __m256 scale = _mm256_loadu_ps(w.scales + first);
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; ++r) {
                __m256 exact = _mm256_cvtepi32_ps(_mm256_sub_epi32(total[r][c][half], shift));
                __m256 both = _mm256_mul_ps(scale, _mm256_set1_ps(x.scales[row + r]));
                _mm256_storeu_ps(out + r * stride + c * BLOCK + half * 8,
                                 _mm256_mul_ps(exact, both));
            }
        }
}

// Sixteen registers hold two rows of two blocks, or six rows of one.
template <int ROWS, int COUNT>
AVX2 void int8_avx_vnni(const Linear& w, const Operand& x, int row, const int* block, float* out) {
    if constexpr (ROWS <= 2) {
        int8_blocks_avx_vnni<ROWS, COUNT>(w, x, row, block, out, COUNT * BLOCK);
    } else {
        for (int c = 0; c < COUNT; ++c)
            int8_blocks_avx_vnni<ROWS, 1>(w, x, row, block + c, out + c * BLOCK, COUNT * BLOCK);
    }
}

// Adds sums of two products each. With the intrinsics, GCC 12 loads the weights of all parts first, and
// then has no registers left.
AVX2 inline __m256i plus_pairs(__m256i total, __m256i weights, __m256i input) {
    __m256i pairs;
    asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0"
        : "+x"(total), "=&x"(pairs)
        : "x"(weights), "x"(input));
    return total;
}

// The same, with an input in memory.
AVX2 inline __m256i plus_pairs(__m256i total, __m256i weights, const int64_t& input) {
    __m256i pairs;
    asm("vpbroadcastq %3, %1\n\tvpmaddwd %1, %2, %1\n\tvpaddd %1, %0, %0"
        : "+x"(total), "=&x"(pairs)
        : "x"(weights), "m"(input));
    return total;
}

// `ROWS` rows by one block. Two products of int8 numbers fit in 16 bits only if one of them is below
// 64, so weights and inputs are widened first, the inputs once for all blocks.
template <int ROWS>
AVX2 void int8_block_avx2(const Linear& w, const Operand& x, int row, int block, float* out,
                          int stride) {
    constexpr int PARTS = 4;
    const int groups = w.groups();
    // Each register holds two partial sums for each of four outputs. GCC 12 keeps arrays in registers
    // only where the loops over them are unrolled early.
    __m256i total[ROWS][PARTS];
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
        for (int p = 0; p < PARTS; ++p) total[r][p] = _mm256_setzero_si256();
    const int8_t* weights = w.block<int8_t>(block, groups * GROUP);
    const int64_t* inputs = x.wide + size_t(row) * groups;
    const int8_t* ahead = weights + x.ahead;
    for (int g = 0; g < groups; ++g, weights += CACHE_LINE, ahead += x.step) {
        fetch_once(ahead);
        // Of three rows, there is no register for the last one's inputs.
        constexpr int IN_REGISTERS = ROWS < 3 ? ROWS : 2;
        __m256i input[IN_REGISTERS];
#pragma GCC unroll 4
        for (int r = 0; r < IN_REGISTERS; ++r)
            input[r] = _mm256_set1_epi64x(inputs[size_t(r) * groups + g]);
#pragma GCC unroll 4
        for (int p = 0; p < PARTS; ++p) {
            const auto* part = reinterpret_cast<const __m128i*>(weights) + p;
            __m256i values = _mm256_cvtepi8_epi16(_mm_loadu_si128(part));
#pragma GCC unroll 4
            for (int r = 0; r < IN_REGISTERS; ++r)
                total[r][p] = plus_pairs(total[r][p], values, input[r]);
            if constexpr (ROWS > IN_REGISTERS)
                total[2][p] = plus_pairs(total[2][p], values, inputs[2 * size_t(groups) + g]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
        for (int p = 0; p < PARTS; p += 2) {
            __m256i sums = _mm256_hadd_epi32(total[r][p], total[r][p + 1]);
            __m256 exact = _mm256_cvtepi32_ps(_mm256_permute4x64_epi64(sums, 0xd8));
            __m256 scale = _mm256_loadu_ps(w.scales + block * BLOCK + p * 4);
            __m256 both = _mm256_mul_ps(scale, _mm256_set1_ps(x.scales[row + r]));
            _mm256_storeu_ps(out + r * stride + p * 4, _mm256_mul_ps(exact, both));
        }
}

template <int ROWS, int COUNT>
AVX2 void int8_avx2(const Linear& w, const Operand& x, int row, const int* block, float* out) {
    for (int c = 0; c < COUNT; ++c)
        int8_block_avx2<ROWS>(w, x, row, block[c], out + c * BLOCK, COUNT * BLOCK);
}

// Whether the kernel of a product reads inputs of 16 bits.
inline bool reads_wide_inputs(const Linear& w) {
    return w.form == INT8 && has_level() < HAS_VNNI && has_level() != HAS_AVX_VNNI;
}

// Whether a product of so many rows uses AMX. With fewer, int8 waits for memory in any case, and
// int4 spends more on widening than it gains.
inline bool reads_tiles(const Linear& w, int rows) {
    if (!w.is_integer() || has_level() < HAS_AMX) return false;
    return rows >= (w.form == INT4 ? LEAST_TILE_ROWS_INT4 : LEAST_TILE_ROWS);
}

#endif  // x86-64

}  // namespace
