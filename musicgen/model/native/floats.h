// Products with float16 or float32 weights and float32 rows.

#pragma once

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>

#include "linear.h"
#include "processor.h"

namespace {

using namespace native;

// Loads one input's weights for a block of outputs.
AVX512 inline __m512 load_block(const float* weights) { return _mm512_loadu_ps(weights); }
AVX512 inline __m512 load_block(const uint16_t* weights) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights)));
}
AVX2 inline __m256 load_half_block(const float* weights) { return _mm256_loadu_ps(weights); }
AVX2 inline __m256 load_half_block(const uint16_t* weights) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(weights)));
}

// Prefetches what belongs to two inputs of a block, and returns the next address to prefetch.
template <typename T>
ANY const char* fetch_ahead(const char* ahead, int64_t step) {
    for (int at = 0; at < 2 * BLOCK * int(sizeof(T)); at += CACHE_LINE, ahead += step)
        fetch_once(ahead);
    return ahead;
}

// `ROWS` rows by `COUNT` blocks of outputs; out [ROWS][COUNT][BLOCK].
template <typename T, int ROWS, int COUNT>
AVX512 void float_avx512(const Linear& w, const Operand& x, int row, const int* block,
                         float* out) {
    constexpr bool FULL = ROWS == MOST_ROWS / STREAMS;  // as for int8
    // Two accumulators per output, for even and odd inputs: a single one would stall on latency.
    __m512 even[ROWS][COUNT], odd[ROWS][COUNT];
    const T* weights[COUNT];
    const char* ahead[COUNT];
    const int64_t step = x.step;
    for (int c = 0; c < COUNT; ++c) {
        weights[c] = w.block<T>(block[c], w.inputs);
        ahead[c] = reinterpret_cast<const char*>(weights[c]) + x.ahead;
        for (int r = 0; r < ROWS; ++r) even[r][c] = odd[r][c] = _mm512_setzero_ps();
    }
    const float* inputs = x.floats + size_t(row) * x.stride;
    int k = 0;
    for (; k + 1 < w.inputs; k += 2) {
        __m512 first[COUNT], second[COUNT];
        for (int c = 0; c < COUNT; ++c) {
            const T* here = weights[c] + size_t(k) * BLOCK;
            if (FULL) {
                ahead[c] = fetch_ahead<T>(ahead[c], step);
            } else {
                fetch_ahead<T>(reinterpret_cast<const char*>(here) + ahead_of(COUNT), CACHE_LINE);
            }
            first[c] = load_block(here);
            second[c] = load_block(here + BLOCK);
        }
        for (int r = 0; r < ROWS; ++r) {
            const float* input = inputs + size_t(r) * x.stride + k;
            for (int c = 0; c < COUNT; ++c) {
                even[r][c] = _mm512_fmadd_ps(first[c], _mm512_set1_ps(input[0]), even[r][c]);
                odd[r][c] = _mm512_fmadd_ps(second[c], _mm512_set1_ps(input[1]), odd[r][c]);
            }
        }
    }
    for (; k < w.inputs; ++k) {
        for (int c = 0; c < COUNT; ++c) {
            __m512 last = load_block(weights[c] + size_t(k) * BLOCK);
            for (int r = 0; r < ROWS; ++r) {
                __m512 input = _mm512_set1_ps(inputs[size_t(r) * x.stride + k]);
                even[r][c] = _mm512_fmadd_ps(last, input, even[r][c]);
            }
        }
    }
    for (int r = 0; r < ROWS; ++r)
        for (int c = 0; c < COUNT; ++c)
            _mm512_storeu_ps(out + (r * COUNT + c) * BLOCK, _mm512_add_ps(even[r][c], odd[r][c]));
}

template <typename T, int ROWS>
AVX2 void float_block_avx2(const Linear& w, const Operand& x, int row, int block, float* out,
                           int stride) {
    __m256 low[ROWS], high[ROWS];
    // As for int8, unrolled loops keep arrays in registers.
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r) low[r] = high[r] = _mm256_setzero_ps();
    const T* weights = w.block<T>(block, w.inputs);
    const char* ahead = reinterpret_cast<const char*>(weights) + x.ahead;
    for (int k = 0; k < w.inputs; ++k) {
        const T* here = weights + size_t(k) * BLOCK;
        if (k % 2 == 0) ahead = fetch_ahead<T>(ahead, x.step);
        __m256 first = load_half_block(here);
        __m256 second = load_half_block(here + BLOCK / 2);
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r) {
            __m256 input = _mm256_set1_ps(x.floats[size_t(row + r) * x.stride + k]);
            low[r] = _mm256_fmadd_ps(first, input, low[r]);
            high[r] = _mm256_fmadd_ps(second, input, high[r]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r) {
        _mm256_storeu_ps(out + r * stride, low[r]);
        _mm256_storeu_ps(out + r * stride + 8, high[r]);
    }
}

template <typename T, int ROWS, int COUNT>
AVX2 void float_avx2(const Linear& w, const Operand& x, int row, const int* block, float* out) {
    for (int c = 0; c < COUNT; ++c)
        float_block_avx2<T, ROWS>(w, x, row, block[c], out + c * BLOCK, COUNT * BLOCK);
}

}  // namespace

#else
#include "neon_floats.h"
#endif
