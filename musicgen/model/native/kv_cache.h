// Formats of the KV cache, by the type of its numbers: float32, bfloat16 (stored in uint16_t), and
// int8 with a factor for each key and each value of a head.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "between.h"
#include "linear.h"
#include "processor.h"
#include "quantized.h"

namespace {

using namespace native;

// Columns of an int8 cache that lie together: first their numbers, then their factors. Attention then
// reads memory in one direction.
constexpr int TOGETHER = 16;

template <typename T>
constexpr bool HAS_FACTORS = sizeof(T) == 1;

ANY float number(float value) { return value; }
ANY float number(uint16_t value) { return from_bfloat16(value); }
ANY float number(int8_t value) { return float(value); }

// Returns where column t begins, in numbers, for heads of size `size`.
template <typename T>
ANY size_t place_of(int t, int size) {
    size_t place = size_t(t) * size;
    if (HAS_FACTORS<T>) place += size_t(t / TOGETHER) * TOGETHER * sizeof(float);
    return place;
}

// Returns where the factors of columns t to t + TOGETHER - 1 begin; t is a multiple of TOGETHER.
template <typename T>
ANY size_t place_of_factors(int t, int size) {
    return place_of<T>(t, size) + size_t(TOGETHER) * size;
}

// Keys or values of one row and head: [column][size].
template <typename T>
struct Columns {
    const T* numbers;
    int size;

    const T* at(int t) const { return numbers + place_of<T>(t, size); }
    // Factors of columns t to t + TOGETHER - 1.
    const float* factors(int t) const {
        return reinterpret_cast<const float*>(numbers + place_of_factors<T>(t, size));
    }
    float factor(int t) const {
        return HAS_FACTORS<T> ? factors(t / TOGETHER * TOGETHER)[t % TOGETHER] : 1.f;
    }
};

// Stores one key or value as column t.
inline void put_column(const float* from, int size, int t, float* numbers) {
    std::copy_n(from, size, numbers + place_of<float>(t, size));
}

ANY void round_numbers_any(const float* from, int count, uint16_t* to) {
    for (int i = 0; i < count; ++i) to[i] = to_bfloat16(from[i]);
}
BY_LEVEL(void, round_numbers, (const float* from, int count, uint16_t* to), (from, count, to))

inline void put_column(const float* from, int size, int t, uint16_t* numbers) {
    round_numbers(from, size, numbers + place_of<uint16_t>(t, size));
}

inline void put_column(const float* from, int size, int t, int8_t* numbers) {
    const uint32_t bits = largest_of(from, size);
    float largest;
    std::memcpy(&largest, &bits, sizeof largest);
    // As in products, infinity and NaN must not vanish: the factor brings them to every output.
    const bool is_finite = bits < 0x7f800000u;
    const float factor = is_finite ? std::max(largest, 1e-12f) / 127.f : NAN;
    const int first = t / TOGETHER * TOGETHER;
    std::memcpy(numbers + place_of_factors<int8_t>(first, size) + (t - first) * sizeof factor,
                &factor, sizeof factor);
    quantize_row(from, size, is_finite ? 1.f / factor : 0.f, 0,
                 reinterpret_cast<uint8_t*>(numbers + place_of<int8_t>(t, size)));
}

// Prefetches the lines of column t, to write them.
template <typename T>
void claim_column(const T* numbers, int size, int t) {
    const auto* first = reinterpret_cast<const char*>(numbers + place_of<T>(t, size));
    const auto* last = first + size_t(size) * sizeof(T) - 1;
    for (const char* line = first; line < last; line += CACHE_LINE) fetch_to_write(line);
    fetch_to_write(last);
    if (HAS_FACTORS<T>)
        fetch_to_write(numbers + place_of_factors<T>(t / TOGETHER * TOGETHER, size) +
                       t % TOGETHER * sizeof(float));
}

}  // namespace
