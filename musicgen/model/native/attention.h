// Attention of one query over the KV cache of its row and head.

#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "between.h"
#include "linear.h"
#include "processor.h"

namespace {

using namespace native;

// Value of a cached number: float32, or bfloat16 stored in uint16_t.
ANY float number(float value) { return value; }
ANY float number(uint16_t value) { return from_bfloat16(value); }

constexpr int PAGE = 4096;

// Keys and values of one row and head: [count][head size].
template <typename T>
struct Past {
    const T *keys, *values;
    int count;

    // Prefetches one line of each page. A prefetch waits for the address of its page. Several at
    // once wait together, and the prefetches of the other lines then find the addresses.
    void touch_pages(int size) const {
        const int step = std::max(PAGE / int(sizeof(T)) / size, 1);
        for (const T* part : {keys, values})
            for (int t = 0; t < count; t += step) __builtin_prefetch(part + size_t(t) * size);
    }
};

// Attention of one head's query over `count` keys and values of head size `size`.
template <typename T>
ANY void attend_plain_any(const float* query, const T* keys, const T* values, int count, int size,
                          float* scores, float* out) {
    float factor = 1.f / std::sqrt(float(size)), largest = -INFINITY;
    for (int t = 0; t < count; ++t) {
        const T* key = keys + size_t(t) * size;
        scores[t] = factor * sum_of(size, [=](int i) { return query[i] * number(key[i]); });
        largest = scores[t] > largest ? scores[t] : largest;
    }
    // A NaN or infinity in one score must reach every output.
    float total = sum_of(count, [=](int t) { return scores[t] * 0.f; });
    for (int t = 0; t < count; ++t) scores[t] = exponential(scores[t] - largest);
    total += sum_of(count, [=](int t) { return scores[t]; });
    for (int i = 0; i < size; ++i) out[i] = 0.f;
    for (int t = 0; t < count; ++t) {
        const T* value = values + size_t(t) * size;
        float weight = scores[t] / total;
        for (int i = 0; i < size; ++i) out[i] += weight * number(value[i]);
    }
}
BY_LEVEL(void, attend_plain,
         (const float* query, const uint16_t* keys, const uint16_t* values, int count, int size,
          float* scores, float* out),
         (query, keys, values, count, size, scores, out))
BY_LEVEL(void, attend_plain,
         (const float* query, const float* keys, const float* values, int count, int size,
          float* scores, float* out),
         (query, keys, values, count, size, scores, out))

}  // namespace

#if defined(__x86_64__)

namespace {

// 32 values of a key, value or query as float32. From bfloat16, `a` has the even indices and `b`
// the odd ones, because the even index is the lower half of each 32-bit pair. From float32, `a` has
// the first half.
struct Pair {
    __m512 a, b;
};
constexpr int PAIRS = HEAD_SIZE / 32;
constexpr int KEYS = 16;   // keys scored together
constexpr int CHAINS = 2;  // independent accumulators of values

// Prefetch distance in keys or values: 8 kB. A shorter one does not reach the memory's bandwidth.
template <typename T>
constexpr int SOON = 128 / int(sizeof(T));
constexpr int SHORT = 32;  // fewer keys than these are prefetched all at once

template <typename T>
inline void fetch(const T* numbers) {
    constexpr int LINES = HEAD_SIZE * int(sizeof(T)) / CACHE_LINE;
    for (int i = 0; i < LINES; ++i)
        fetch_once(reinterpret_cast<const char*>(numbers) + i * CACHE_LINE);
}

// Prefetches the beginning of short keys and values.
template <typename T>
ANY void fetch_all(const Past<T>& past) {
    for (int t = 0; t < std::min(past.count, SHORT); ++t) {
        fetch(past.keys + size_t(t) * HEAD_SIZE);
        fetch(past.values + size_t(t) * HEAD_SIZE);
    }
}

AVX512 inline Pair load_pair(const float* numbers) {
    return {_mm512_loadu_ps(numbers), _mm512_loadu_ps(numbers + 16)};
}

AVX512 inline Pair load_pair(const uint16_t* numbers) {
    __m512i both = _mm512_loadu_si512(numbers);
    __m512i upper = _mm512_and_si512(both, _mm512_set1_epi32(int(0xffff0000u)));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(both, 16)), _mm512_castsi512_ps(upper)};
}

// Converts 32 values from sequential order to the pair layout of cache type T, and back.
template <typename T>
AVX512 inline Pair paired(Pair ordered) {
    if (sizeof(T) == sizeof(float)) return ordered;
    __m512i evens = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    __m512i odds = _mm512_add_epi32(evens, _mm512_set1_epi32(1));
    return {_mm512_permutex2var_ps(ordered.a, evens, ordered.b),
            _mm512_permutex2var_ps(ordered.a, odds, ordered.b)};
}

template <typename T>
AVX512 inline Pair ordered(Pair pair) {
    if (sizeof(T) == sizeof(float)) return pair;
    __m512i low = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    return {_mm512_permutex2var_ps(pair.a, low, pair.b),
            _mm512_permutex2var_ps(pair.a, high, pair.b)};
}

// Sums each of 16 vectors into one lane of the result: halves are added crosswise until one is
// left. Every sum has the same order of additions.
AVX512 inline __m512 sums_of(const __m512* vectors) {
    __m512 fours[8], twos[4];
    for (int i = 0; i < 8; ++i) {
        __m512 a = vectors[2 * i], b = vectors[2 * i + 1];
        fours[i] = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    }
    for (int i = 0; i < 4; ++i) {
        __m512d a = _mm512_castps_pd(fours[2 * i]), b = _mm512_castps_pd(fours[2 * i + 1]);
        twos[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                                _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
    // Lane 4 q + j of twos[i] is now the partial sum of vector 4 i + j over its quarter q.
    __m512 low = _mm512_add_ps(_mm512_shuffle_f32x4(twos[0], twos[1], 0x88),
                               _mm512_shuffle_f32x4(twos[0], twos[1], 0xdd));
    __m512 high = _mm512_add_ps(_mm512_shuffle_f32x4(twos[2], twos[3], 0x88),
                                _mm512_shuffle_f32x4(twos[2], twos[3], 0xdd));
    return _mm512_add_ps(_mm512_shuffle_f32x4(low, high, 0x88),
                         _mm512_shuffle_f32x4(low, high, 0xdd));
}

AVX512 inline __m512 exponential_of_each(__m512 x) {
    x = _mm512_max_ps(x, _mm512_set1_ps(-87.f));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
    __m512 rest = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    rest = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), rest);
    __m512 p = _mm512_set1_ps(CEPHES[0]);
    for (int i = 1; i < 6; ++i) p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(CEPHES[i]));
    p = _mm512_fmadd_ps(_mm512_mul_ps(p, rest), rest, rest);
    return _mm512_scalef_ps(_mm512_add_ps(p, _mm512_set1_ps(1.f)), n);
}

template <typename T>
AVX512 inline __m512 products_with(const Pair* query, const T* key) {
    __m512 products = _mm512_setzero_ps();
    for (int p = 0; p < PAIRS; ++p) {
        Pair pair = load_pair(key + 32 * p);
        products = _mm512_fmadd_ps(pair.a, query[p].a, products);
        products = _mm512_fmadd_ps(pair.b, query[p].b, products);
    }
    return products;
}

// Scores `count` keys for a scaled query and returns the largest score. Near the end of the keys it
// prefetches the values, read next.
template <typename T>
AVX512 inline float score_64(const Pair* query, const T* keys, const T* values, int count,
                             float* scores) {
    const int soon = std::min(SOON<T>, count);
    __m512 largest = _mm512_set1_ps(-INFINITY);
    for (int t = 0; t < count; t += KEYS) {
        __m512 products[KEYS];
        int some = std::min(KEYS, count - t);
        for (int j = 0; j < some; ++j) {
            int later = t + j + soon;
            fetch(later < count ? keys + size_t(later) * HEAD_SIZE
                                : values + size_t(std::min(later - count, count - 1)) * HEAD_SIZE);
            products[j] = products_with(query, keys + size_t(t + j) * HEAD_SIZE);
        }
        for (int j = some; j < KEYS; ++j) products[j] = _mm512_setzero_ps();
        __mmask16 real = __mmask16((1u << some) - 1u);
        __m512 sums = sums_of(products);
        _mm512_mask_storeu_ps(scores + t, real, sums);
        largest = _mm512_mask_max_ps(largest, real, largest, sums);
    }
    return _mm512_reduce_max_ps(largest);
}

// Replaces scores by unnormalized softmax weights and returns their sum.
AVX512 inline float weigh_64(float* scores, int count, float largest) {
    __m512 total = _mm512_setzero_ps();
    for (int t = 0; t < count; t += 16) {
        __mmask16 real = __mmask16(count - t >= 16 ? 0xffffu : (1u << (count - t)) - 1u);
        __m512 some = _mm512_maskz_loadu_ps(real, scores + t);
        // A NaN or infinity in one score must reach every output.
        __m512 none = _mm512_mul_ps(some, _mm512_setzero_ps());
        __m512 weights = exponential_of_each(_mm512_sub_ps(some, _mm512_set1_ps(largest)));
        _mm512_mask_storeu_ps(scores + t, real, weights);
        total = _mm512_mask_add_ps(total, real, total, _mm512_add_ps(weights, none));
    }
    return _mm512_reduce_add_ps(total);
}

template <typename T>
AVX512 inline void add_value(float weight, const T* value, Pair* sums) {
    __m512 factor = _mm512_set1_ps(weight);
    for (int p = 0; p < PAIRS; ++p) {
        Pair pair = load_pair(value + 32 * p);
        sums[p].a = _mm512_fmadd_ps(factor, pair.a, sums[p].a);
        sums[p].b = _mm512_fmadd_ps(factor, pair.b, sums[p].b);
    }
}

// out = factor * sum of weight * value. Near the end of the values it prefetches the next keys.
template <typename T>
AVX512 inline void add_values_64(const float* weights, const T* values, int count, float factor,
                                 const Past<T>& next, float* out) {
    const int soon = std::min(SOON<T>, count);
    Pair sums[CHAINS][PAIRS];
    for (int i = 0; i < CHAINS; ++i)
        for (int p = 0; p < PAIRS; ++p) sums[i][p] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    int t = 0;
    for (; t + CHAINS <= count; t += CHAINS)
        for (int i = 0; i < CHAINS; ++i) {
            const T* value = values + size_t(t + i) * HEAD_SIZE;
            int later = std::min(t + i + soon - count, next.count - 1);
            fetch(later < 0 ? value + soon * HEAD_SIZE : next.keys + size_t(later) * HEAD_SIZE);
            add_value(weights[t + i], value, sums[i]);
        }
    for (; t < count; ++t) add_value(weights[t], values + size_t(t) * HEAD_SIZE, sums[0]);
    __m512 factors = _mm512_set1_ps(factor);
    for (int p = 0; p < PAIRS; ++p) {
        Pair all = ordered<T>({_mm512_add_ps(sums[0][p].a, sums[1][p].a),
                               _mm512_add_ps(sums[0][p].b, sums[1][p].b)});
        _mm512_storeu_ps(out + 32 * p, _mm512_mul_ps(all.a, factors));
        _mm512_storeu_ps(out + 32 * p + 16, _mm512_mul_ps(all.b, factors));
    }
}

template <typename T>
AVX512 void attend_64(const float* query, const Past<T>& past, const Past<T>& next, float* scores,
                      float* out) {
    if (past.count < SHORT) fetch_all(next);
    __m512 factor = _mm512_set1_ps(1.f / 8.f);  // 1 / sqrt(64)
    Pair scaled[PAIRS];
    for (int p = 0; p < PAIRS; ++p) {
        Pair pair = load_pair(query + 32 * p);
        scaled[p] = paired<T>({_mm512_mul_ps(pair.a, factor), _mm512_mul_ps(pair.b, factor)});
    }
    float largest = score_64(scaled, past.keys, past.values, past.count, scores);
    float total = weigh_64(scores, past.count, largest);
    add_values_64(scores, past.values, past.count, 1.f / total, next, out);
}

inline bool can_attend_64() { return has_level() >= HAS_AVX512; }

}  // namespace

#else
#include "neon_attention.h"
#endif

namespace {

// Attention of one head's query over the keys and values of head size `size`; those of `next` are
// read next.
template <typename T>
void attend(const float* query, const Past<T>& past, const Past<T>& next, int size, float* scores,
            float* out) {
    if (size == HEAD_SIZE && can_attend_64()) {
        attend_64(query, past, next, scores, out);
    } else {
        attend_plain(query, past.keys, past.values, past.count, size, scores, out);
    }
}

}  // namespace
