// Attention of one query over the KV cache of its row and head.

#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "between.h"
#include "kv_cache.h"
#include "linear.h"
#include "processor.h"

namespace {

using namespace native;

constexpr int PAGE = 4096;

// Keys and values of one row and head, and the columns of them to attend to.
template <typename T>
struct Past {
    Columns<T> keys, values;
    int first, count;

    // Prefetches one line of each page. A prefetch waits for the address of its page. Several at
    // once wait together, and the prefetches of the other lines then find the addresses.
    void touch_pages() const {
        const int step = std::max(PAGE / int(sizeof(T)) / keys.size, 1);
        for (const Columns<T>* part : {&keys, &values})
            for (int t = 0; t < count; t += step) __builtin_prefetch(part->at(first + t));
    }
};

// Prefetch distance in keys or values: 8 kB. A shorter one does not reach the memory's bandwidth.
template <typename T>
constexpr int SOON = 128 / int(sizeof(T));
constexpr int SHORT = 32;  // fewer keys than these are prefetched all at once

// Prefetches column t; with the last of those that lie together, also their factors.
template <typename T>
ANY void fetch(const Columns<T>& columns, int t) {
    constexpr int LINES = HEAD_SIZE * int(sizeof(T)) / CACHE_LINE;
    const auto* line = reinterpret_cast<const char*>(columns.at(t));
    for (int i = 0; i < LINES; ++i) fetch_once(line + i * CACHE_LINE);
    if (HAS_FACTORS<T> && t % TOGETHER == TOGETHER - 1) fetch_once(line + LINES * CACHE_LINE);
}

// Prefetches the beginning of short keys and values.
template <typename T>
ANY void fetch_all(const Past<T>& past) {
    for (int t = past.first; t < past.first + std::min(past.count, SHORT); ++t) {
        fetch(past.keys, t);
        fetch(past.values, t);
    }
}

// Prefetches the value `SOON` columns after the `t`-th one, or where there is none, a key of `next`.
template <typename T>
ANY void fetch_after(const Past<T>& past, const Past<T>& next, int t) {
    const int soon = std::min(SOON<T>, past.count);
    const int later = std::min(t + soon - past.count, next.count - 1);
    later < 0 ? fetch(past.values, past.first + t + soon) : fetch(next.keys, next.first + later);
}

// A query of head size 64 rounded to 16 bits, for int8 keys: rounding it to eight would cost more than
// the keys do. The sums are exact, since |sum| <= 64 * 127 * 32767 fits in 32 bits, so the scores have
// the same bits on every CPU.
struct RoundedQuery {
    alignas(64) int16_t numbers[HEAD_SIZE];
    float factor;  // with 1 / sqrt(64)
};

ANY void round_query_any(const float* query, RoundedQuery* out) {
    const uint32_t bits = largest_of_any(query, HEAD_SIZE);
    float largest;
    std::memcpy(&largest, &bits, sizeof largest);
    const bool is_finite = bits < 0x7f800000u;
    const float step = is_finite ? std::max(largest, 1e-12f) / 32767.f : NAN;
    const float inverse = is_finite ? 1.f / step : 0.f;
    out->factor = step / 8.f;
    // As in `quantize_row`: the sum has the nearest integer in its lowest bits.
    for (int i = 0; i < HEAD_SIZE; ++i) {
        const float rounded = query[i] * inverse + 12582912.f;
        uint32_t whole;
        std::memcpy(&whole, &rounded, sizeof whole);
        out->numbers[i] = int16_t(whole);
    }
}
BY_LEVEL(void, round_query, (const float* query, RoundedQuery* out), (query, out))

// Replaces scores by unnormalized softmax weights and returns their sum.
ANY float weigh_any(float* scores, int count, float largest) {
    // A NaN or infinity in one score must reach every output.
    float total = sum_of(count, [=](int t) { return scores[t] * 0.f; });
    for (int t = 0; t < count; ++t) scores[t] = exponential(scores[t] - largest);
    total += sum_of(count, [=](int t) { return scores[t]; });
    return total;
}
BY_LEVEL(float, weigh, (float* scores, int count, float largest), (scores, count, largest))

// Multiplies the weights of values that lie together by their factors. To be called for every t in
// order: it acts at t = 0 and at the first of each group, whose factors come from memory with it.
template <typename T>
ANY void scale_weights(const Past<T>& past, int t, float* weights) {
    const int column = past.first + t, place = column % TOGETHER;
    if (!HAS_FACTORS<T> || (t > 0 && place > 0)) return;
    const float* factors = past.values.factors(column - place) + place;
    const int some = std::min(TOGETHER - place, past.count - t);
    for (int i = 0; i < some; ++i) weights[t + i] *= factors[i];
}

// Attention of one head's query. `scores` has room for the columns.
template <typename T>
ANY void attend_plain_any(const float* query, const Past<T>& past, float* scores, float* out) {
    const int size = past.keys.size, count = past.count;
    const float factor = 1.f / std::sqrt(float(size));
    float largest = -INFINITY;
    for (int t = 0; t < count; ++t) {
        const T* key = past.keys.at(past.first + t);
        float sum = sum_of(size, [=](int i) { return query[i] * number(key[i]); });
        scores[t] = factor * past.keys.factor(past.first + t) * sum;
        largest = scores[t] > largest ? scores[t] : largest;
    }
    const float total = weigh_any(scores, count, largest);
    for (int i = 0; i < size; ++i) out[i] = 0.f;
    for (int t = 0; t < count; ++t) {
        scale_weights(past, t, scores);
        const T* value = past.values.at(past.first + t);
        float weight = scores[t] / total;
        for (int i = 0; i < size; ++i) out[i] += weight * number(value[i]);
    }
}
BY_LEVEL(void, attend_plain,
         (const float* query, const Past<int8_t>& past, float* scores, float* out),
         (query, past, scores, out))
BY_LEVEL(void, attend_plain,
         (const float* query, const Past<uint16_t>& past, float* scores, float* out),
         (query, past, scores, out))
BY_LEVEL(void, attend_plain,
         (const float* query, const Past<float>& past, float* scores, float* out),
         (query, past, scores, out))

}  // namespace

#if defined(__x86_64__)

#include "avx2_attention.h"

namespace {

// 32 values of a key, value or query as float32. From bfloat16, `a` has the even indices and `b`
// the odd ones, because the even index is the lower half of each 32-bit pair. Else `a` has the first
// half.
struct Pair {
    __m512 a, b;
};
constexpr int PAIRS = HEAD_SIZE / 32;
constexpr int KEYS = 16;   // keys scored together
constexpr int CHAINS = 2;  // independent accumulators of values
static_assert(KEYS == TOGETHER);

AVX512 inline Pair load_pair(const float* numbers) {
    return {_mm512_loadu_ps(numbers), _mm512_loadu_ps(numbers + 16)};
}

AVX512 inline Pair load_pair(const uint16_t* numbers) {
    __m512i both = _mm512_loadu_si512(numbers);
    __m512i upper = _mm512_and_si512(both, _mm512_set1_epi32(int(0xffff0000u)));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(both, 16)), _mm512_castsi512_ps(upper)};
}

AVX512 inline __m512 load_sixteen(const int8_t* numbers) {
    __m128i sixteen = _mm_loadu_si128(reinterpret_cast<const __m128i*>(numbers));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sixteen));
}
AVX512 inline Pair load_pair(const int8_t* numbers) {
    return {load_sixteen(numbers), load_sixteen(numbers + 16)};
}

// Converts 32 values from sequential order to the pair layout of cache type T, and back.
template <typename T>
AVX512 inline Pair paired(Pair ordered) {
    if (sizeof(T) != sizeof(uint16_t)) return ordered;
    __m512i evens = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    __m512i odds = _mm512_add_epi32(evens, _mm512_set1_epi32(1));
    return {_mm512_permutex2var_ps(ordered.a, evens, ordered.b),
            _mm512_permutex2var_ps(ordered.a, odds, ordered.b)};
}

template <typename T>
AVX512 inline Pair ordered(Pair pair) {
    if (sizeof(T) != sizeof(uint16_t)) return pair;
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

AVX512 inline __m512i sums_of(const __m512i* vectors) {
    __m512i fours[8], twos[4];
    for (int i = 0; i < 8; ++i) {
        __m512i a = vectors[2 * i], b = vectors[2 * i + 1];
        fours[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    }
    for (int i = 0; i < 4; ++i) {
        __m512i a = fours[2 * i], b = fours[2 * i + 1];
        twos[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    }
    __m512i low = _mm512_add_epi32(_mm512_shuffle_i32x4(twos[0], twos[1], 0x88),
                                   _mm512_shuffle_i32x4(twos[0], twos[1], 0xdd));
    __m512i high = _mm512_add_epi32(_mm512_shuffle_i32x4(twos[2], twos[3], 0x88),
                                    _mm512_shuffle_i32x4(twos[2], twos[3], 0xdd));
    return _mm512_add_epi32(_mm512_shuffle_i32x4(low, high, 0x88),
                            _mm512_shuffle_i32x4(low, high, 0xdd));
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

// A query in the form that its keys need.
template <typename T>
struct WideQuery {
    using Products = __m512;
    Pair pairs[PAIRS];

    AVX512 explicit WideQuery(const float* query) {
        const __m512 factor = _mm512_set1_ps(1.f / 8.f);  // 1 / sqrt(64)
        for (int p = 0; p < PAIRS; ++p) {
            Pair pair = load_pair(query + 32 * p);
            pairs[p] = paired<T>({_mm512_mul_ps(pair.a, factor), _mm512_mul_ps(pair.b, factor)});
        }
    }
    AVX512 __m512 products_with(const T* key) const {
        __m512 products = _mm512_setzero_ps();
        for (int p = 0; p < PAIRS; ++p) {
            Pair pair = load_pair(key + 32 * p);
            products = _mm512_fmadd_ps(pair.a, pairs[p].a, products);
            products = _mm512_fmadd_ps(pair.b, pairs[p].b, products);
        }
        return products;
    }
    // Scores of the keys from column t on.
    AVX512 __m512 scores(const __m512* products, const Columns<T>&, int) const {
        return sums_of(products);
    }
};

template <>
struct WideQuery<int8_t> {
    using Products = __m512i;
    __m512i parts[PAIRS];
    float factor;

    AVX512 explicit WideQuery(const float* query) {
        RoundedQuery rounded;
        round_query(query, &rounded);
        for (int p = 0; p < PAIRS; ++p) parts[p] = _mm512_load_si512(rounded.numbers + 32 * p);
        factor = rounded.factor;
    }
    AVX512 __m512i products_with(const int8_t* key) const {
        __m512i products = _mm512_setzero_si512();
        for (int p = 0; p < PAIRS; ++p) {
            const auto* part = reinterpret_cast<const __m256i*>(key) + p;
            __m512i some = _mm512_cvtepi8_epi16(_mm256_loadu_si256(part));
            products = _mm512_add_epi32(products, _mm512_madd_epi16(some, parts[p]));
        }
        return products;
    }
    AVX512 __m512 scores(const __m512i* products, const Columns<int8_t>& keys, int t) const {
        __m512 both = _mm512_mul_ps(_mm512_loadu_ps(keys.factors(t)), _mm512_set1_ps(factor));
        return _mm512_mul_ps(_mm512_cvtepi32_ps(sums_of(products)), both);
    }
};

// Lanes `from` to `to` - 1.
ANY __mmask16 lanes_of(int from, int to) {
    return __mmask16(((1u << to) - 1u) & ~((1u << from) - 1u));
}

// Scores the keys and returns the largest score. Near the end of the keys it prefetches the values,
// read next.
template <typename T>
AVX512 inline float score_64(const float* query, const Past<T>& past, float* scores) {
    const WideQuery<T> own(query);
    const int soon = std::min(SOON<T>, past.count), end = past.first + past.count;
    __m512 largest = _mm512_set1_ps(-INFINITY);
    // Keys with common factors are scored together, also where the first ones are left out.
    for (int t = HAS_FACTORS<T> ? past.first / KEYS * KEYS : past.first; t < end; t += KEYS) {
        const int from = std::max(past.first - t, 0), to = std::min(KEYS, end - t);
        using Products = typename WideQuery<T>::Products;
        Products products[KEYS];
        for (int j = 0; j < from; ++j) products[j] = Products{};
        for (int j = from; j < to; ++j) {
            int later = t + j + soon;
            later < end ? fetch(past.keys, later)
                        : fetch(past.values, std::min(later - past.count, end - 1));
            products[j] = own.products_with(past.keys.at(t + j));
        }
        for (int j = to; j < KEYS; ++j) products[j] = Products{};
        __mmask16 real = lanes_of(from, to);
        __m512 sums = own.scores(products, past.keys, t);
        _mm512_mask_storeu_ps(scores + (t - past.first), real, sums);
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

// out = factor * sum of weight * value, where weights still lack the factors of values. Near the end of
// the values it prefetches the next keys.
template <typename T>
AVX512 inline void add_values_64(float* weights, const Past<T>& past, float factor,
                                 const Past<T>& next, float* out) {
    const int count = past.count;
    Pair sums[CHAINS][PAIRS];
    for (int i = 0; i < CHAINS; ++i)
        for (int p = 0; p < PAIRS; ++p) sums[i][p] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    int t = 0;
    for (; t + CHAINS <= count; t += CHAINS)
        for (int i = 0; i < CHAINS; ++i) {
            fetch_after(past, next, t + i);
            scale_weights(past, t + i, weights);
            add_value(weights[t + i], past.values.at(past.first + t + i), sums[i]);
        }
    for (; t < count; ++t) {
        scale_weights(past, t, weights);
        add_value(weights[t], past.values.at(past.first + t), sums[0]);
    }
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
    float largest = score_64(query, past, scores);
    float total = weigh_64(scores, past.count, largest);
    add_values_64(scores, past, 1.f / total, next, out);
}

template <typename T>
void attend_head_64(const float* query, const Past<T>& past, const Past<T>& next, float* scores,
                    float* out) {
    has_level() >= HAS_AVX512 ? attend_64(query, past, next, scores, out)
                              : attend_64_avx2(query, past, next, scores, out);
}

}  // namespace

#else
#include "neon_attention.h"
#endif

namespace {

// Attention of one head's query; the keys and values of `next` are read next. `scores` has room for
// the columns.
template <typename T>
void attend(const float* query, const Past<T>& past, const Past<T>& next, float* scores,
            float* out) {
    if (past.keys.size == HEAD_SIZE) {
        attend_head_64(query, past, next, scores, out);
    } else {
        attend_plain(query, past, scores, out);
    }
}

}  // namespace
