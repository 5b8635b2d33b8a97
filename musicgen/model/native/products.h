// Products with packed weights: int8, or float16 with float32 arithmetic.

#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "processor.h"

namespace {

constexpr int BLOCK = 16;   // outputs that lie side by side
constexpr int GROUP = 4;    // inputs that an int8 instruction adds up
constexpr int TILE = 8;     // rows that share a pass over the weights, at most
constexpr int ZERO = 128;   // what a quantized 0 is, where a kernel wants unsigned numbers

int round_up(int value, int step) { return (value + step - 1) / step * step; }

enum Form { INT8 = 0, FLOAT16 = 1 };

// y = x W^T. int8 weights lie as [output / 16][input / 4][16][4], float16 ones as
// [output / 16][input][16]: a block of outputs is one stream through memory.
struct Linear {
    int outputs, inputs, form;
    int blocks, groups;
    Aligned<int8_t> bytes;
    Aligned<uint16_t> halves;
    Aligned<float> scales;
    Aligned<int32_t> sums;

    Linear(const float* weight, int outputs, int inputs, int form)
        : outputs(outputs),
          inputs(inputs),
          form(form),
          blocks(round_up(outputs, BLOCK) / BLOCK),
          groups(round_up(inputs, GROUP) / GROUP) {
        if (form == INT8) {
            pack_bytes(weight);
        } else {
            pack_halves(weight);
        }
    }

    void pack_bytes(const float* weight) {
        bytes = Aligned<int8_t>(size_t(blocks) * groups * BLOCK * GROUP);
        scales = Aligned<float>(size_t(blocks) * BLOCK);
        sums = Aligned<int32_t>(size_t(blocks) * BLOCK);
        for (int n = 0; n < outputs; ++n) {
            const float* row = weight + size_t(n) * inputs;
            float largest = 1e-12f;
            for (int k = 0; k < inputs; ++k) largest = std::max(largest, std::fabs(row[k]));
            float scale = largest / 127.f;
            int8_t* block = bytes.get() + size_t(n / BLOCK) * groups * BLOCK * GROUP;
            int32_t sum = 0;
            for (int k = 0; k < inputs; ++k) {
                int value = int(std::nearbyint(row[k] / scale));
                block[(k / GROUP * BLOCK + n % BLOCK) * GROUP + k % GROUP] = int8_t(value);
                sum += value;
            }
            scales.get()[n] = scale;
            sums.get()[n] = sum;
        }
    }

    AVX2 void pack_halves(const float* weight) {
        halves = Aligned<uint16_t>(size_t(blocks) * inputs * BLOCK);
        for (int n = 0; n < outputs; ++n) {
            uint16_t* block = halves.get() + size_t(n / BLOCK) * inputs * BLOCK;
            for (int k = 0; k < inputs; ++k) {
                block[size_t(k) * BLOCK + n % BLOCK] =
                    uint16_t(_cvtss_sh(weight[size_t(n) * inputs + k], 0));
            }
        }
    }
};

// Rows as a product takes them: for int8 quantized, each by its own scale.
struct Operand {
    const float* floats = nullptr;
    int stride = 0;
    const int32_t* quads = nullptr;  // four inputs in each, stride `groups`
    const float* scales = nullptr;
};

template <int ROWS>
VNNI void int8_block_vnni(const Linear& w, const Operand& x, int row, int block, float* out) {
    __m512i total[ROWS];
    for (int r = 0; r < ROWS; ++r) total[r] = _mm512_setzero_si512();
    const int8_t* weights = w.bytes.get() + size_t(block) * w.groups * BLOCK * GROUP;
    const int32_t* quads = x.quads + size_t(row) * w.groups;
    for (int g = 0; g < w.groups; ++g) {
        __m512i values = _mm512_load_si512(weights + size_t(g) * 64);
        for (int r = 0; r < ROWS; ++r) {
            __m512i input = _mm512_set1_epi32(quads[size_t(r) * w.groups + g]);
            total[r] = _mm512_dpbusd_epi32(total[r], input, values);
        }
    }
    __m512i shift = _mm512_mullo_epi32(_mm512_load_si512(w.sums.get() + block * BLOCK),
                                       _mm512_set1_epi32(ZERO));
    __m512 scale = _mm512_load_ps(w.scales.get() + block * BLOCK);
    for (int r = 0; r < ROWS; ++r) {
        __m512 exact = _mm512_cvtepi32_ps(_mm512_sub_epi32(total[r], shift));
        __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x.scales[row + r]));
        _mm512_storeu_ps(out + r * BLOCK, _mm512_mul_ps(exact, both));
    }
}

template <int ROWS>
AVX2 void int8_block_avx2(const Linear& w, const Operand& x, int row, int block, float* out) {
    // Each register holds two partial sums for each of four outputs.
    __m256i total[ROWS][4];
    for (int r = 0; r < ROWS; ++r)
        for (int q = 0; q < 4; ++q) total[r][q] = _mm256_setzero_si256();
    const int8_t* weights = w.bytes.get() + size_t(block) * w.groups * BLOCK * GROUP;
    const int32_t* quads = x.quads + size_t(row) * w.groups;
    const __m256i zero = _mm256_set1_epi16(ZERO);
    for (int g = 0; g < w.groups; ++g) {
        __m256i values[4];
        for (int q = 0; q < 4; ++q) {
            const void* part = weights + size_t(g) * 64 + q * 16;
            values[q] = _mm256_cvtepi8_epi16(_mm_load_si128(static_cast<const __m128i*>(part)));
        }
        for (int r = 0; r < ROWS; ++r) {
            __m128i four = _mm_set1_epi32(quads[size_t(r) * w.groups + g]);
            __m256i input = _mm256_sub_epi16(_mm256_cvtepu8_epi16(four), zero);
            for (int q = 0; q < 4; ++q)
                total[r][q] = _mm256_add_epi32(total[r][q], _mm256_madd_epi16(values[q], input));
        }
    }
    for (int r = 0; r < ROWS; ++r) {
        alignas(32) int32_t parts[32];
        for (int q = 0; q < 4; ++q)
            _mm256_store_si256(reinterpret_cast<__m256i*>(parts + 8 * q), total[r][q]);
        for (int j = 0; j < BLOCK; ++j) {
            float scale = w.scales.get()[block * BLOCK + j] * x.scales[row + r];
            out[r * BLOCK + j] = float(parts[2 * j] + parts[2 * j + 1]) * scale;
        }
    }
}

template <int ROWS>
AVX512 void half_block_avx512(const Linear& w, const Operand& x, int row, int block, float* out) {
    // Two sums for each row, of the even and the odd inputs: one would wait for itself.
    __m512 even[ROWS], odd[ROWS];
    for (int r = 0; r < ROWS; ++r) even[r] = odd[r] = _mm512_setzero_ps();
    const auto* weights = reinterpret_cast<const __m256i*>(w.halves.get()) + size_t(block) * w.inputs;
    const float* inputs = x.floats + size_t(row) * x.stride;
    int k = 0;
    for (; k + 1 < w.inputs; k += 2) {
        __m512 first = _mm512_cvtph_ps(_mm256_load_si256(weights + k));
        __m512 second = _mm512_cvtph_ps(_mm256_load_si256(weights + k + 1));
        for (int r = 0; r < ROWS; ++r) {
            const float* input = inputs + size_t(r) * x.stride + k;
            even[r] = _mm512_fmadd_ps(first, _mm512_set1_ps(input[0]), even[r]);
            odd[r] = _mm512_fmadd_ps(second, _mm512_set1_ps(input[1]), odd[r]);
        }
    }
    for (; k < w.inputs; ++k) {
        __m512 last = _mm512_cvtph_ps(_mm256_load_si256(weights + k));
        for (int r = 0; r < ROWS; ++r) {
            __m512 input = _mm512_set1_ps(inputs[size_t(r) * x.stride + k]);
            even[r] = _mm512_fmadd_ps(last, input, even[r]);
        }
    }
    for (int r = 0; r < ROWS; ++r)
        _mm512_storeu_ps(out + r * BLOCK, _mm512_add_ps(even[r], odd[r]));
}

template <int ROWS>
AVX2 void half_block_avx2(const Linear& w, const Operand& x, int row, int block, float* out) {
    __m256 low[ROWS], high[ROWS];
    for (int r = 0; r < ROWS; ++r) low[r] = high[r] = _mm256_setzero_ps();
    const uint16_t* weights = w.halves.get() + size_t(block) * w.inputs * BLOCK;
    for (int k = 0; k < w.inputs; ++k) {
        const auto* part = reinterpret_cast<const __m128i*>(weights + size_t(k) * BLOCK);
        __m256 first = _mm256_cvtph_ps(_mm_load_si128(part));
        __m256 second = _mm256_cvtph_ps(_mm_load_si128(part + 1));
        for (int r = 0; r < ROWS; ++r) {
            __m256 input = _mm256_set1_ps(x.floats[size_t(row + r) * x.stride + k]);
            low[r] = _mm256_fmadd_ps(first, input, low[r]);
            high[r] = _mm256_fmadd_ps(second, input, high[r]);
        }
    }
    for (int r = 0; r < ROWS; ++r) {
        _mm256_storeu_ps(out + r * BLOCK, low[r]);
        _mm256_storeu_ps(out + r * BLOCK + 8, high[r]);
    }
}

// How many rows the registers of a kernel hold.
int tile_of(const Linear& w) {
    int has = level.load(std::memory_order_relaxed);
    if (w.form == INT8) return has == HAS_VNNI ? TILE : 2;
    return has >= HAS_AVX512 ? TILE : 4;
}

using Kernel = void (*)(const Linear&, const Operand&, int, int, float*);

template <int ROWS>
Kernel kernel_of(const Linear& w) {
    int has = level.load(std::memory_order_relaxed);
    if (w.form == INT8) return has == HAS_VNNI ? int8_block_vnni<ROWS> : int8_block_avx2<ROWS>;
    return has >= HAS_AVX512 ? half_block_avx512<ROWS> : half_block_avx2<ROWS>;
}

Kernel kernel_of(const Linear& w, int rows) {
    switch (rows) {
        case 1: return kernel_of<1>(w);
        case 2: return kernel_of<2>(w);
        case 3: return kernel_of<3>(w);
        case 4: return kernel_of<4>(w);
        case 5: return kernel_of<5>(w);
        case 6: return kernel_of<6>(w);
        case 7: return kernel_of<7>(w);
        default: return kernel_of<8>(w);
    }
}

// One thread's blocks of the product of `rows` rows; `take(row, first output, values, count)`.
template <typename Take>
void product(const Linear& w, const Operand& x, int rows, int thread, int threads, Take take) {
    int first = int(int64_t(w.blocks) * thread / threads);
    int last = int(int64_t(w.blocks) * (thread + 1) / threads);
    int most = tile_of(w);
    alignas(64) float out[TILE * BLOCK];
    for (int block = first; block < last; ++block) {
        int count = std::min(BLOCK, w.outputs - block * BLOCK);
        for (int row = 0; row < rows; row += most) {
            int tile = std::min(most, rows - row);
            kernel_of(w, tile)(w, x, row, block, out);
            for (int r = 0; r < tile; ++r)
                take(row + r, block * BLOCK, out + r * BLOCK, count);
        }
    }
}

// The largest magnitude. As integers magnitudes have the same order, infinity and NaN at its end.
ANY_X86 uint32_t largest_of(const float* x, int count) {
    uint32_t largest = 0;
    for (int i = 0; i < count; ++i) {
        uint32_t bits;
        std::memcpy(&bits, x + i, sizeof bits);
        largest = std::max(largest, bits & 0x7fffffffu);
    }
    return largest;
}

ANY_X86 void quantize_row(const float* x, int count, float scale, uint8_t* out) {
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the lowest bits.
    for (int i = 0; i < count; ++i) {
        float rounded = x[i] * scale + 12582912.f;
        uint32_t bits;
        std::memcpy(&bits, &rounded, sizeof bits);
        out[i] = uint8_t(bits + ZERO);
    }
}

// A thread's copy of the rows, quantized: cheaper than sharing them.
struct Quantized {
    std::vector<int32_t> quads;
    std::vector<float> scales;

    Operand of(const Linear& w, const float* x, int stride, int rows) {
        Operand operand{x, stride, nullptr, nullptr};
        if (w.form != INT8) return operand;
        quads.resize(size_t(rows) * w.groups);
        scales.resize(rows);
        for (int r = 0; r < rows; ++r) {
            const float* row = x + size_t(r) * stride;
            auto* out = reinterpret_cast<uint8_t*>(quads.data() + size_t(r) * w.groups);
            std::memset(out + w.inputs, ZERO, size_t(w.groups) * GROUP - w.inputs);
            uint32_t bits = largest_of(row, w.inputs);
            float largest;
            std::memcpy(&largest, &bits, sizeof largest);
            // Infinity and NaN must not vanish: the scale carries them to every output.
            bool finite = bits < 0x7f800000u;
            scales[r] = finite ? std::max(largest, 1e-12f) / 127.f : NAN;
            quantize_row(row, w.inputs, finite ? 1.f / scales[r] : 0.f, out);
        }
        operand.quads = quads.data();
        operand.scales = scales.data();
        return operand;
    }
};

}  // namespace
