// Products of EnCodec's convolutions and LSTM: rows of inputs times packed weights.
//
// Activations have the layout [time][channels], so the inputs of a convolution are whole rows: one
// row per tap. A block is 32 outputs. int16 weights have one scale per output, int16 rows one scale
// per row. Their products are summed exactly in int32, at most CHUNK pairs at a time, and every sum
// is added to a float total in a fixed order. The result of a row depends on its inputs alone.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "processor.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum CodecForm { CODEC_INT16 = 0, CODEC_FLOAT32 = 1 };

extern "C" {

// One product, as a convolution. It computes `fold` frames at once, as `fold` times more outputs:
// the phases of a transposed convolution, or neighbours of a convolution with few outputs. int16
// weights have the layout [output / 32][tap][input / 2][32][2], float32 [output / 32][tap][input][32].
// Scales and biases are padded to whole blocks.
struct NativeConv {
    const void* weights;
    const float *scales, *bias;  // scales are null for float32
    int32_t form, outputs, inputs, taps;
    int32_t dilation, stride;  // in rows; the stride from one product to the next
    int32_t fold;
    int32_t left, right;  // rows of padding; of a transposed convolution, frames to trim
    int32_t padding;      // enum Padding
};
}

namespace {

using namespace native;

constexpr int WIDTH = 32;  // outputs per block
constexpr int CHUNK = 16;  // pairs of inputs per exact sum; codec_forms.py knows it
constexpr int TILE = 12;   // most rows per pass over a block's weights

// Two int16 inputs, written one by one.
using Pair = int32_t __attribute__((may_alias));

// Rows of one tile: row r, tap t is at x + r * step + t * tap, in elements.
struct Tile {
    const void* x;         // pairs of int16, or float32
    const float* scales;   // of the first row; null for float32
    int64_t step, tap;     // in elements
    int32_t rows, dilated;  // the same steps in rows, for the scales
};

ANY int pairs_of(const NativeConv& w) { return (w.inputs + 1) / 2; }

ANY const int16_t* int16_block(const NativeConv& w, int block) {
    return static_cast<const int16_t*>(w.weights) +
           size_t(block) * w.taps * pairs_of(w) * (2 * WIDTH);
}

ANY const float* float_block(const NativeConv& w, int block) {
    return static_cast<const float*>(w.weights) + size_t(block) * w.taps * w.inputs * WIDTH;
}

// Plain code, the definition of the others. totals [ROWS][WIDTH].
template <int ROWS>
void int16_plain(const NativeConv& w, const Tile& x, int block, float* totals) {
    const int pairs = pairs_of(w);
    for (int r = 0; r < ROWS; ++r) {
        const int16_t* weights = int16_block(w, block);
        float* total = totals + r * WIDTH;
        std::fill_n(total, WIDTH, 0.f);
        for (int tap = 0; tap < w.taps; ++tap) {
            const Pair* row = static_cast<const Pair*>(x.x) + r * x.step + tap * x.tap;
            const auto* numbers = reinterpret_cast<const int16_t*>(row);
            float scale = x.scales[r * x.rows + tap * x.dilated];
            for (int from = 0; from < pairs; from += CHUNK) {
                int32_t sums[WIDTH] = {};
                for (int i = from; i < std::min(pairs, from + CHUNK); ++i, weights += 2 * WIDTH)
                    for (int j = 0; j < WIDTH; ++j)
                        sums[j] += int32_t(weights[2 * j]) * numbers[2 * i] +
                                   int32_t(weights[2 * j + 1]) * numbers[2 * i + 1];
                for (int j = 0; j < WIDTH; ++j)
                    total[j] = std::fma(float(sums[j]), scale, total[j]);
            }
        }
    }
}

template <int ROWS>
void float_plain(const NativeConv& w, const Tile& x, int block, float* totals) {
    for (int r = 0; r < ROWS; ++r) {
        const float* weights = float_block(w, block);
        float* total = totals + r * WIDTH;
        std::fill_n(total, WIDTH, 0.f);
        for (int tap = 0; tap < w.taps; ++tap) {
            const float* row = static_cast<const float*>(x.x) + r * x.step + tap * x.tap;
            for (int i = 0; i < w.inputs; ++i, weights += WIDTH)
                for (int j = 0; j < WIDTH; ++j) total[j] = std::fma(weights[j], row[i], total[j]);
        }
    }
}

#if defined(__x86_64__)

constexpr int FETCH = 2048;  // bytes to prefetch ahead in a block's weights

// Same as _mm512_dpwssd_epi32. With the intrinsic, GCC 12 copies every sum to another register.
VNNI inline void plus_pairs_vnni(__m512i& total, __m512i weights, __m512i input) {
    asm("vpdpwssd %2, %1, %0" : "+v"(total) : "v"(weights), "v"(input));
}
AVX512 inline void plus_pairs_avx512(__m512i& total, __m512i weights, __m512i input) {
    total = _mm512_add_epi32(total, _mm512_madd_epi16(weights, input));
}

#define INT16_PRODUCT(NAME, LEVEL, PLUS)                                                    \
    template <int ROWS>                                                                     \
    LEVEL void NAME(const NativeConv& w, const Tile& x, int block, float* totals) {         \
        const int pairs = pairs_of(w);                                                      \
        const int16_t* weights = int16_block(w, block);                                     \
        for (int j = 0; j < 2 * ROWS; ++j)                                                  \
            _mm512_storeu_ps(totals + 16 * j, _mm512_setzero_ps());                         \
        for (int tap = 0; tap < w.taps; ++tap) {                                            \
            const Pair* row = static_cast<const Pair*>(x.x) + tap * x.tap;            \
            const float* scales = x.scales + tap * x.dilated;                               \
            for (int from = 0; from < pairs; from += CHUNK) {                               \
                const int count = std::min(CHUNK, pairs - from);                            \
                __m512i sums[ROWS][2];                                                      \
                for (int r = 0; r < ROWS; ++r)                                              \
                    sums[r][0] = sums[r][1] = _mm512_setzero_si512();                       \
                for (int i = 0; i < count; ++i, weights += 2 * WIDTH, ++row) {              \
                    if (ROWS < 3) {                                                         \
                        _mm_prefetch(weights + FETCH / 2, _MM_HINT_T0);                     \
                        _mm_prefetch(weights + FETCH / 2 + WIDTH, _MM_HINT_T0);             \
                    }                                                                       \
                    __m512i first = _mm512_loadu_si512(weights);                            \
                    __m512i second = _mm512_loadu_si512(weights + WIDTH);                   \
                    for (int r = 0; r < ROWS; ++r) {                                        \
                        __m512i input = _mm512_set1_epi32(row[r * x.step]);                 \
                        PLUS(sums[r][0], first, input);                                     \
                        PLUS(sums[r][1], second, input);                                    \
                    }                                                                       \
                }                                                                           \
                for (int r = 0; r < ROWS; ++r) {                                            \
                    __m512 scale = _mm512_set1_ps(scales[r * x.rows]);                      \
                    for (int c = 0; c < 2; ++c) {                                           \
                        float* total = totals + r * WIDTH + 16 * c;                         \
                        __m512 sum = _mm512_cvtepi32_ps(sums[r][c]);                        \
                        sum = _mm512_fmadd_ps(sum, scale, _mm512_loadu_ps(total));          \
                        _mm512_storeu_ps(total, sum);                                       \
                    }                                                                       \
                }                                                                           \
            }                                                                               \
        }                                                                                   \
    }
INT16_PRODUCT(int16_vnni, VNNI, plus_pairs_vnni)
INT16_PRODUCT(int16_avx512, AVX512, plus_pairs_avx512)

// Half a block: sixteen outputs, in two registers per row.
template <int ROWS>
AVX2 void int16_half(const NativeConv& w, const Tile& x, int block, int half, float* totals) {
    const int pairs = pairs_of(w);
    const int16_t* weights = int16_block(w, block) + half * WIDTH;
    for (int r = 0; r < ROWS; ++r)
        for (int c = 0; c < 2; ++c)
            _mm256_storeu_ps(totals + r * WIDTH + 8 * c, _mm256_setzero_ps());
    for (int tap = 0; tap < w.taps; ++tap) {
        const Pair* row = static_cast<const Pair*>(x.x) + tap * x.tap;
        const float* scales = x.scales + tap * x.dilated;
        for (int from = 0; from < pairs; from += CHUNK) {
            const int count = std::min(CHUNK, pairs - from);
            __m256i sums[ROWS][2];
            for (int r = 0; r < ROWS; ++r) sums[r][0] = sums[r][1] = _mm256_setzero_si256();
            for (int i = 0; i < count; ++i, weights += 2 * WIDTH, ++row) {
                const auto* here = reinterpret_cast<const __m256i*>(weights);
                __m256i first = _mm256_loadu_si256(here), second = _mm256_loadu_si256(here + 1);
                for (int r = 0; r < ROWS; ++r) {
                    __m256i input = _mm256_set1_epi32(row[r * x.step]);
                    sums[r][0] = _mm256_add_epi32(sums[r][0], _mm256_madd_epi16(first, input));
                    sums[r][1] = _mm256_add_epi32(sums[r][1], _mm256_madd_epi16(second, input));
                }
            }
            for (int r = 0; r < ROWS; ++r) {
                __m256 scale = _mm256_set1_ps(scales[r * x.rows]);
                for (int c = 0; c < 2; ++c) {
                    float* total = totals + r * WIDTH + 8 * c;
                    __m256 sum = _mm256_cvtepi32_ps(sums[r][c]);
                    _mm256_storeu_ps(total, _mm256_fmadd_ps(sum, scale, _mm256_loadu_ps(total)));
                }
            }
        }
    }
}

template <int ROWS>
AVX2 void float_half(const NativeConv& w, const Tile& x, int block, int half, float* totals) {
    const float* weights = float_block(w, block) + half * 16;
    __m256 sums[ROWS][2];
    for (int r = 0; r < ROWS; ++r) sums[r][0] = sums[r][1] = _mm256_setzero_ps();
    for (int tap = 0; tap < w.taps; ++tap) {
        const float* row = static_cast<const float*>(x.x) + tap * x.tap;
        for (int i = 0; i < w.inputs; ++i, weights += WIDTH, ++row) {
            __m256 first = _mm256_loadu_ps(weights), second = _mm256_loadu_ps(weights + 8);
            for (int r = 0; r < ROWS; ++r) {
                __m256 input = _mm256_set1_ps(row[r * x.step]);
                sums[r][0] = _mm256_fmadd_ps(first, input, sums[r][0]);
                sums[r][1] = _mm256_fmadd_ps(second, input, sums[r][1]);
            }
        }
    }
    for (int r = 0; r < ROWS; ++r)
        for (int c = 0; c < 2; ++c) _mm256_storeu_ps(totals + r * WIDTH + 8 * c, sums[r][c]);
}

template <int ROWS>
AVX512 void float_avx512(const NativeConv& w, const Tile& x, int block, float* totals) {
    const float* weights = float_block(w, block);
    __m512 sums[ROWS][2];
    for (int r = 0; r < ROWS; ++r) sums[r][0] = sums[r][1] = _mm512_setzero_ps();
    for (int tap = 0; tap < w.taps; ++tap) {
        const float* row = static_cast<const float*>(x.x) + tap * x.tap;
        for (int i = 0; i < w.inputs; ++i, weights += WIDTH, ++row) {
            if (ROWS < 3) {
                _mm_prefetch(weights + FETCH / 4, _MM_HINT_T0);
                _mm_prefetch(weights + FETCH / 4 + 16, _MM_HINT_T0);
            }
            __m512 first = _mm512_loadu_ps(weights), second = _mm512_loadu_ps(weights + 16);
            for (int r = 0; r < ROWS; ++r) {
                __m512 input = _mm512_set1_ps(row[r * x.step]);
                sums[r][0] = _mm512_fmadd_ps(first, input, sums[r][0]);
                sums[r][1] = _mm512_fmadd_ps(second, input, sums[r][1]);
            }
        }
    }
    for (int r = 0; r < ROWS; ++r)
        for (int c = 0; c < 2; ++c) _mm512_storeu_ps(totals + r * WIDTH + 16 * c, sums[r][c]);
}

// A tile in parts of the rows that sixteen registers hold.
template <int ROWS, bool IS_INT16>
void product_avx2(const NativeConv& w, const Tile& x, int block, float* totals) {
    constexpr int PART = ROWS < 4 ? ROWS : 4, REST = ROWS % PART;
    Tile part = x;
    const size_t size = sizeof(float);
    for (int row = 0; row + PART <= ROWS; row += PART) {
        part.x = static_cast<const char*>(x.x) + row * x.step * size;
        part.scales = IS_INT16 ? x.scales + row * x.rows : nullptr;
        for (int half = 0; half < 2; ++half) {
            float* out = totals + row * WIDTH + half * 16;
            IS_INT16 ? int16_half<PART>(w, part, block, half, out)
                     : float_half<PART>(w, part, block, half, out);
        }
    }
    if constexpr (REST > 0) {
        part.x = static_cast<const char*>(x.x) + (ROWS - REST) * x.step * size;
        part.scales = IS_INT16 ? x.scales + (ROWS - REST) * x.rows : nullptr;
        product_avx2<REST, IS_INT16>(w, part, block, totals + (ROWS - REST) * WIDTH);
    }
}

#elif defined(__aarch64__)

}  // namespace

#include "neon_codec.h"

namespace {

#endif

using TileProduct = void (*)(const NativeConv&, const Tile&, int, float*);

template <int ROWS>
TileProduct tile_product(const NativeConv& w) {
    const bool is_int16 = w.form == CODEC_INT16;
#if defined(__x86_64__)
    const int has = has_level();
    if (has >= HAS_VNNI) return is_int16 ? int16_vnni<ROWS> : float_avx512<ROWS>;
    if (has >= HAS_AVX512) return is_int16 ? int16_avx512<ROWS> : float_avx512<ROWS>;
    if (has >= HAS_AVX2) return is_int16 ? product_avx2<ROWS, true> : product_avx2<ROWS, false>;
#elif defined(__aarch64__)
    if (has_level() >= HAS_NEON)
        return is_int16 ? product_neon<ROWS, true> : product_neon<ROWS, false>;
#endif
    return is_int16 ? int16_plain<ROWS> : float_plain<ROWS>;
}

template <int... ROWS>
TileProduct tile_product(const NativeConv& w, int rows, std::integer_sequence<int, ROWS...>) {
    TileProduct result = nullptr;
    ((rows == ROWS + 1 ? void(result = tile_product<ROWS + 1>(w)) : void()), ...);
    return result;
}

inline TileProduct tile_product(const NativeConv& w, int rows) {
    return tile_product(w, rows, std::make_integer_sequence<int, TILE>());
}

}  // namespace
