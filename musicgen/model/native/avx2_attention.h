// Attention with head size 64 on x86-64 processors without AVX-512.

#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "between.h"
#include "kv_cache.h"
#include "processor.h"

namespace {

using namespace native;

// Keys scored together, and lanes of a register. Loops over arrays of registers are unrolled early: as
// for int8, GCC 12 keeps the arrays in memory otherwise.
constexpr int EIGHT = 8;
static_assert(TOGETHER % EIGHT == 0);

AVX2 inline __m256i lane_numbers() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }

// All bits of lanes `from` to `to` - 1.
AVX2 inline __m256i lanes_between(int from, int to) {
    return _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(from), lane_numbers()),
                               _mm256_cmpgt_epi32(_mm256_set1_epi32(to), lane_numbers()));
}

// Sums each of eight vectors into one lane of the result, always in the same order of additions.
AVX2 inline __m256 sums_of(const __m256* vectors) {
    __m256 fours[4], twos[2];
#pragma GCC unroll 8
    for (int i = 0; i < 4; ++i) fours[i] = _mm256_hadd_ps(vectors[2 * i], vectors[2 * i + 1]);
#pragma GCC unroll 8
    for (int i = 0; i < 2; ++i) twos[i] = _mm256_hadd_ps(fours[2 * i], fours[2 * i + 1]);
    return _mm256_add_ps(_mm256_permute2f128_ps(twos[0], twos[1], 0x20),
                         _mm256_permute2f128_ps(twos[0], twos[1], 0x31));
}
AVX2 inline __m256i sums_of(const __m256i* vectors) {
    __m256i fours[4], twos[2];
#pragma GCC unroll 8
    for (int i = 0; i < 4; ++i) fours[i] = _mm256_hadd_epi32(vectors[2 * i], vectors[2 * i + 1]);
#pragma GCC unroll 8
    for (int i = 0; i < 2; ++i) twos[i] = _mm256_hadd_epi32(fours[2 * i], fours[2 * i + 1]);
    return _mm256_add_epi32(_mm256_permute2x128_si256(twos[0], twos[1], 0x20),
                            _mm256_permute2x128_si256(twos[0], twos[1], 0x31));
}

// Sixteen cached numbers as float32. From bfloat16, `a` has the even indices and `b` the odd ones. Else
// `a` has the first half.
struct Halves {
    __m256 a, b;
};
constexpr int SIXTEENS = HEAD_SIZE / 16;

AVX2 inline Halves load_halves(const float* numbers) {
    return {_mm256_loadu_ps(numbers), _mm256_loadu_ps(numbers + EIGHT)};
}
AVX2 inline Halves load_halves(const uint16_t* numbers) {
    __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(numbers));
    __m256i upper = _mm256_and_si256(both, _mm256_set1_epi32(int(0xffff0000u)));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(both, 16)), _mm256_castsi256_ps(upper)};
}
AVX2 inline __m256 load_eight(const int8_t* numbers) {
    __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(numbers));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight));
}
AVX2 inline Halves load_halves(const int8_t* numbers) {
    return {load_eight(numbers), load_eight(numbers + EIGHT)};
}

// Converts sixteen values from sequential order to that of the cache, and back.
template <typename T>
AVX2 inline Halves as_cached(Halves values) {
    if (sizeof(T) != sizeof(uint16_t)) return values;
    __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    __m256 a = _mm256_permutevar8x32_ps(values.a, order);
    __m256 b = _mm256_permutevar8x32_ps(values.b, order);
    return {_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31)};
}
template <typename T>
AVX2 inline Halves as_ordered(Halves values) {
    if (sizeof(T) != sizeof(uint16_t)) return values;
    __m256 low = _mm256_unpacklo_ps(values.a, values.b);
    __m256 high = _mm256_unpackhi_ps(values.a, values.b);
    return {_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31)};
}

// A query in the form that its keys need.
template <typename T>
struct Query {
    Halves parts[SIXTEENS];

    AVX2 explicit Query(const float* query) {
        const __m256 factor = _mm256_set1_ps(1.f / 8.f);  // 1 / sqrt(64)
#pragma GCC unroll 8
        for (int i = 0; i < SIXTEENS; ++i) {
            Halves some = load_halves(query + 16 * i);
            parts[i] = as_cached<T>({_mm256_mul_ps(some.a, factor), _mm256_mul_ps(some.b, factor)});
        }
    }
    AVX2 __m256 score(const Columns<T>& keys, int t, int last) const {
        __m256 products[EIGHT];
#pragma GCC unroll 8
        for (int j = 0; j < EIGHT; ++j) {
            // Past the end, the last key is scored again, for nothing.
            const T* key = keys.at(std::min(t + j, last));
            __m256 a = _mm256_setzero_ps(), b = _mm256_setzero_ps();
#pragma GCC unroll 8
            for (int i = 0; i < SIXTEENS; ++i) {
                Halves some = load_halves(key + 16 * i);
                a = _mm256_fmadd_ps(some.a, parts[i].a, a);
                b = _mm256_fmadd_ps(some.b, parts[i].b, b);
            }
            products[j] = _mm256_add_ps(a, b);
        }
        return sums_of(products);
    }
};

template <>
struct Query<int8_t> {
    __m256i parts[SIXTEENS];
    float factor;

    AVX2 explicit Query(const float* query) {
        RoundedQuery rounded;
        round_query(query, &rounded);
#pragma GCC unroll 8
        for (int i = 0; i < SIXTEENS; ++i)
            parts[i] = _mm256_load_si256(reinterpret_cast<const __m256i*>(rounded.numbers) + i);
        factor = rounded.factor;
    }
    AVX2 __m256 score(const Columns<int8_t>& keys, int t, int) const {
        __m256i products[EIGHT];
        // Columns that lie together have memory, all of them.
#pragma GCC unroll 8
        for (int j = 0; j < EIGHT; ++j) {
            const auto* key = reinterpret_cast<const __m128i*>(keys.at(t + j));
            __m256i sum = _mm256_setzero_si256();
#pragma GCC unroll 8
            for (int i = 0; i < SIXTEENS; ++i) {
                __m256i some = _mm256_cvtepi8_epi16(_mm_loadu_si128(key + i));
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(some, parts[i]));
            }
            products[j] = sum;
        }
        const float* factors = keys.factors(t / TOGETHER * TOGETHER) + t % TOGETHER;
        __m256 both = _mm256_mul_ps(_mm256_loadu_ps(factors), _mm256_set1_ps(factor));
        return _mm256_mul_ps(_mm256_cvtepi32_ps(sums_of(products)), both);
    }
};

// Scores the keys and returns the largest score. Near the end of the keys it prefetches the values,
// read next.
template <typename T>
AVX2 inline float score_avx2(const float* query, const Past<T>& past, float* scores) {
    const Query<T> own(query);
    const int soon = std::min(SOON<T>, past.count), end = past.first + past.count;
    const __m256 nothing = _mm256_set1_ps(-INFINITY);
    __m256 largest = nothing;
    for (int t = HAS_FACTORS<T> ? past.first / EIGHT * EIGHT : past.first; t < end; t += EIGHT) {
        for (int later = t + soon; later < t + soon + EIGHT; ++later)
            later < end ? fetch(past.keys, later)
                        : fetch(past.values, std::min(later - past.count, end - 1));
        __m256 some = own.score(past.keys, t, end - 1);
        __m256i real = lanes_between(past.first - t, end - t);
        _mm256_maskstore_ps(scores + (t - past.first), real, some);
        largest = _mm256_max_ps(largest,
                                _mm256_blendv_ps(nothing, some, _mm256_castsi256_ps(real)));
    }
    alignas(32) float each[EIGHT];
    _mm256_store_ps(each, largest);
    return *std::max_element(each, each + EIGHT);
}

// out = factor * sum of weight * value, where weights still lack the factors of values. Near the end of
// the values it prefetches the next keys.
template <typename T>
AVX2 inline void add_values_avx2(float* weights, const Past<T>& past, float factor,
                                 const Past<T>& next, float* out) {
    Halves sums[SIXTEENS];
#pragma GCC unroll 8
    for (int i = 0; i < SIXTEENS; ++i) sums[i] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int t = 0; t < past.count; ++t) {
        fetch_after(past, next, t);
        scale_weights(past, t, weights);
        const T* value = past.values.at(past.first + t);
        const __m256 weight = _mm256_set1_ps(weights[t]);
#pragma GCC unroll 8
        for (int i = 0; i < SIXTEENS; ++i) {
            Halves some = load_halves(value + 16 * i);
            sums[i].a = _mm256_fmadd_ps(weight, some.a, sums[i].a);
            sums[i].b = _mm256_fmadd_ps(weight, some.b, sums[i].b);
        }
    }
    const __m256 factors = _mm256_set1_ps(factor);
#pragma GCC unroll 8
    for (int i = 0; i < SIXTEENS; ++i) {
        Halves all = as_ordered<T>(sums[i]);
        _mm256_storeu_ps(out + 16 * i, _mm256_mul_ps(all.a, factors));
        _mm256_storeu_ps(out + 16 * i + EIGHT, _mm256_mul_ps(all.b, factors));
    }
}

template <typename T>
void attend_64_avx2(const float* query, const Past<T>& past, const Past<T>& next, float* scores,
                    float* out) {
    if (past.count < SHORT) fetch_all(next);
    float largest = score_avx2(query, past, scores);
    float total = weigh(scores, past.count, largest);
    add_values_avx2(scores, past, 1.f / total, next, out);
}

}  // namespace
