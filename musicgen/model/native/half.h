// Products with float16 weights and float32 rows.

#pragma once

#include <immintrin.h>

#include <cstdint>

#include "linear.h"
#include "processor.h"

namespace {

// `ROWS` rows by `COUNT` blocks of outputs; out [ROWS][COUNT][BLOCK].
template <int ROWS, int COUNT>
AVX512 void half_avx512(const Linear& w, const Operand& x, int row, const int* block, float* out) {
    // Two sums for each output, of the even and the odd inputs: one would wait for itself.
    __m512 even[ROWS][COUNT], odd[ROWS][COUNT];
    const __m256i* weights[COUNT];
    for (int c = 0; c < COUNT; ++c) {
        weights[c] =
            reinterpret_cast<const __m256i*>(w.halves.get()) + size_t(block[c]) * w.inputs;
        for (int r = 0; r < ROWS; ++r) even[r][c] = odd[r][c] = _mm512_setzero_ps();
    }
    const float* inputs = x.floats + size_t(row) * x.stride;
    int k = 0;
    for (; k + 1 < w.inputs; k += 2) {
        __m512 first[COUNT], second[COUNT];
        for (int c = 0; c < COUNT; ++c) {
            _mm_prefetch(reinterpret_cast<const char*>(weights[c] + k) + AHEAD, _MM_HINT_T0);
            first[c] = _mm512_cvtph_ps(_mm256_load_si256(weights[c] + k));
            second[c] = _mm512_cvtph_ps(_mm256_load_si256(weights[c] + k + 1));
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
            __m512 last = _mm512_cvtph_ps(_mm256_load_si256(weights[c] + k));
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

template <int ROWS>
AVX2 void half_block_avx2(const Linear& w, const Operand& x, int row, int block, float* out,
                          int stride) {
    __m256 low[ROWS], high[ROWS];
    for (int r = 0; r < ROWS; ++r) low[r] = high[r] = _mm256_setzero_ps();
    const uint16_t* weights = w.halves.get() + size_t(block) * w.inputs * BLOCK;
    for (int k = 0; k < w.inputs; ++k) {
        const auto* part = reinterpret_cast<const __m128i*>(weights + size_t(k) * BLOCK);
        _mm_prefetch(reinterpret_cast<const char*>(part) + AHEAD, _MM_HINT_T0);
        __m256 first = _mm256_cvtph_ps(_mm_load_si128(part));
        __m256 second = _mm256_cvtph_ps(_mm_load_si128(part + 1));
        for (int r = 0; r < ROWS; ++r) {
            __m256 input = _mm256_set1_ps(x.floats[size_t(row + r) * x.stride + k]);
            low[r] = _mm256_fmadd_ps(first, input, low[r]);
            high[r] = _mm256_fmadd_ps(second, input, high[r]);
        }
    }
    for (int r = 0; r < ROWS; ++r) {
        _mm256_storeu_ps(out + r * stride, low[r]);
        _mm256_storeu_ps(out + r * stride + 8, high[r]);
    }
}

template <int ROWS, int COUNT>
AVX2 void half_avx2(const Linear& w, const Operand& x, int row, const int* block, float* out) {
    for (int c = 0; c < COUNT; ++c)
        half_block_avx2<ROWS>(w, x, row, block[c], out + c * BLOCK, COUNT * BLOCK);
}

}  // namespace
