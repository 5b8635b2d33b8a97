// Products with int4 weights and rows quantized to int8. Each group of 16 inputs has its own factor,
// an int8 number, so the sums are integers: exact, with the same bits on every CPU.
//
// Weights are stored plus 8 and multiplied as they are stored. The sum of a group therefore begins at
// -8 times the sum of its inputs.

#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <cstdint>

#include "int8.h"
#include "linear.h"
#include "processor.h"

#if defined(__x86_64__)

namespace {

using namespace native;

// Reads the slices of `COUNT` blocks, and prefetches each line of theirs once.
template <int COUNT>
struct Slices {
    const int8_t *lines[COUNT], *ahead[COUNT];
    const int64_t step;

    Slices(const Linear& w, const Operand& x, const int* block) : step(x.step) {
        // One pass over the weights prefetches them for itself, several do it for the next block.
        const int64_t distance = step == CACHE_LINE ? ahead_of(COUNT) : x.ahead;
        for (int c = 0; c < COUNT; ++c) {
            lines[c] = static_cast<const int8_t*>(w.weights) + block[c] * w.block_bytes();
            ahead[c] = lines[c] + distance;
        }
    }
    // Returns the next line of a block.
    ANY const int8_t* next(int c) {
        const int8_t* line = lines[c];
        fetch_once(ahead[c]);
        ahead[c] += step;
        lines[c] += CACHE_LINE;
        return line;
    }
};

template <int ROWS, int COUNT>
VNNI void int4_vnni(const Linear& w, const Operand& x, int row, const int* block, float* out) {
    const int groups = w.groups(), factors = w.slices() * FACTORS;
    const __m512i half = _mm512_set1_epi8(15);
    Slices<COUNT> slices(w, x, block);
    __m512i total[ROWS][COUNT];
    for (int r = 0; r < ROWS; ++r)
        for (int c = 0; c < COUNT; ++c) total[r][c] = _mm512_setzero_si512();
    const int32_t* quads = x.quads + size_t(row) * groups;
    const int32_t* starts = x.starts + size_t(row) * factors;
    for (int f = 0; f < factors; f += FACTORS) {
        const int8_t* scales[COUNT];
        for (int c = 0; c < COUNT; ++c) scales[c] = slices.next(c);
        for (int g = f; g < f + FACTORS; ++g) {
            __m512i sums[ROWS][COUNT];
            for (int r = 0; r < ROWS; ++r) {
                __m512i start = _mm512_set1_epi32(starts[size_t(r) * factors + g]);
                for (int c = 0; c < COUNT; ++c) sums[r][c] = start;
            }
            for (int line = 0; line < FACTOR_LINES; ++line, quads += 2) {
                __m512i low[COUNT], high[COUNT];
                for (int c = 0; c < COUNT; ++c) {
                    __m512i both = _mm512_loadu_si512(slices.next(c));
                    low[c] = _mm512_and_si512(both, half);
                    high[c] = _mm512_and_si512(_mm512_srli_epi16(both, 4), half);
                }
                for (int r = 0; r < ROWS; ++r) {
                    __m512i first = _mm512_set1_epi32(quads[size_t(r) * groups]);
                    __m512i second = _mm512_set1_epi32(quads[size_t(r) * groups + 1]);
                    for (int c = 0; c < COUNT; ++c) {
                        sums[r][c] = plus_products(sums[r][c], low[c], first);
                        sums[r][c] = plus_products(sums[r][c], high[c], second);
                    }
                }
            }
            for (int c = 0; c < COUNT; ++c) {
                const auto* own = reinterpret_cast<const __m128i*>(scales[c]) + (g - f);
                __m512i factor = _mm512_cvtepi8_epi32(_mm_loadu_si128(own));
                for (int r = 0; r < ROWS; ++r)
                    total[r][c] =
                        _mm512_add_epi32(total[r][c], _mm512_mullo_epi32(sums[r][c], factor));
            }
        }
    }
    for (int c = 0; c < COUNT; ++c) {
        __m512 scale = _mm512_loadu_ps(w.scales + block[c] * BLOCK);
        for (int r = 0; r < ROWS; ++r) {
            __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x.scales[row + r]));
            _mm512_storeu_ps(out + (r * COUNT + c) * BLOCK,
                             _mm512_mul_ps(_mm512_cvtepi32_ps(total[r][c]), both));
        }
    }
}

// Sums of products of a whole group fit in 16 bits: four times two products of 15 and 127.
static_assert(FACTORED / GROUP * 2 * 15 * 127 < 32768);

// `ROWS` rows by one block. Registers hold eight outputs, the lower and the upper ones.
template <int ROWS>
AVX2 void int4_block_avx2(const Linear& w, const Operand& x, int row, int block, float* out,
                          int stride) {
    const int groups = w.groups(), factors = w.slices() * FACTORS;
    const __m256i half = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    Slices<1> slices(w, x, &block);
    __m256i total[ROWS][2];
    for (int r = 0; r < ROWS; ++r) total[r][0] = total[r][1] = _mm256_setzero_si256();
    const int32_t* quads = x.quads + size_t(row) * groups;
    const int32_t* starts = x.starts + size_t(row) * factors;
    for (int f = 0; f < factors; f += FACTORS) {
        const int8_t* scales = slices.next(0);
        for (int g = f; g < f + FACTORS; ++g) {
            __m256i sums[ROWS][2];
            for (int r = 0; r < ROWS; ++r) sums[r][0] = sums[r][1] = _mm256_setzero_si256();
            for (int line = 0; line < FACTOR_LINES; ++line, quads += 2) {
                const auto* here = reinterpret_cast<const __m256i*>(slices.next(0));
                for (int part = 0; part < 2; ++part) {
                    __m256i both = _mm256_loadu_si256(here + part);
                    __m256i low = _mm256_and_si256(both, half);
                    __m256i high = _mm256_and_si256(_mm256_srli_epi16(both, 4), half);
                    for (int r = 0; r < ROWS; ++r) {
                        const int32_t* own = quads + size_t(r) * groups;
                        __m256i first = _mm256_maddubs_epi16(low, _mm256_set1_epi32(own[0]));
                        __m256i second = _mm256_maddubs_epi16(high, _mm256_set1_epi32(own[1]));
                        sums[r][part] =
                            _mm256_add_epi16(sums[r][part], _mm256_add_epi16(first, second));
                    }
                }
            }
            for (int part = 0; part < 2; ++part) {
                const auto* own = reinterpret_cast<const __m128i*>(scales + (g - f) * BLOCK + part * 8);
                __m256i factor = _mm256_cvtepi8_epi32(_mm_loadl_epi64(own));
                for (int r = 0; r < ROWS; ++r) {
                    __m256i start = _mm256_set1_epi32(starts[size_t(r) * factors + g]);
                    __m256i sum = _mm256_add_epi32(start, _mm256_madd_epi16(sums[r][part], ones));
                    total[r][part] =
                        _mm256_add_epi32(total[r][part], _mm256_mullo_epi32(sum, factor));
                }
            }
        }
    }
    for (int part = 0; part < 2; ++part) {
        __m256 scale = _mm256_loadu_ps(w.scales + block * BLOCK + part * 8);
        for (int r = 0; r < ROWS; ++r) {
            __m256 both = _mm256_mul_ps(scale, _mm256_set1_ps(x.scales[row + r]));
            _mm256_storeu_ps(out + r * stride + part * 8,
                             _mm256_mul_ps(_mm256_cvtepi32_ps(total[r][part]), both));
        }
    }
}

template <int ROWS, int COUNT>
AVX2 void int4_avx2(const Linear& w, const Operand& x, int row, const int* block, float* out) {
    for (int c = 0; c < COUNT; ++c)
        int4_block_avx2<ROWS>(w, x, row, block[c], out + c * BLOCK, COUNT * BLOCK);
}

}  // namespace

#else
#include "neon_int4.h"
#endif
