// Rows of activations as inputs of products: ELU, quantization to int16, and padding.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "codec_products.h"
#include "exponential.h"
#include "magnitude.h"
#include "processor.h"

namespace {

using namespace native;

constexpr float LARGEST = 16383.f;  // magnitude of an int16 activation; codec_forms.py knows it

// A comparison with NaN is false, so NaN passes.
ANY float elu_of(float x) { return x < 0.f ? exponential_minus_1(x) : x; }

ANY void elu_any(const float* x, int count, float* out) {
    for (int i = 0; i < count; ++i) out[i] = elu_of(x[i]);
}
BY_LEVEL(void, elu, (const float* x, int count, float* out), (x, count, out))

// Quantizes a row and returns its scale. Infinity and NaN must not vanish: the scale is NaN.
ANY float quantize_row(const float* x, int count, int16_t* out) {
    uint32_t bits = largest_of_any(x, count);
    float largest;
    std::memcpy(&largest, &bits, sizeof largest);
    const bool is_finite = bits < 0x7f800000u;
    largest = is_finite ? std::max(largest, 1e-30f) : 1.f;
    const float factor = is_finite ? LARGEST / largest : 0.f;
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the lowest bits.
    for (int i = 0; i < count; ++i) {
        float rounded = x[i] * factor + 12582912.f;
        uint32_t integer;
        std::memcpy(&integer, &rounded, sizeof integer);
        out[i] = int16_t(uint16_t(integer));
    }
    return is_finite ? largest / LARGEST : NAN;
}

// Quantizes rows x [rows][channels], after ELU if `scratch` [channels] is not null. An odd number of
// channels gets a zero.
ANY void quantize_rows_any(const float* x, int rows, int channels, float* scratch, int16_t* out,
                           float* scales) {
    const int stride = (channels + 1) / 2 * 2;
    for (int r = 0; r < rows; ++r, x += channels, out += stride) {
        const float* row = x;
        if (scratch != nullptr) {
            for (int i = 0; i < channels; ++i) scratch[i] = elu_of(x[i]);
            row = scratch;
        }
        scales[r] = quantize_row(row, channels, out);
        if (stride > channels) out[channels] = 0;
    }
}
BY_LEVEL(void, quantize_rows,
         (const float* x, int rows, int channels, float* scratch, int16_t* out, float* scales),
         (x, rows, channels, scratch, out, scales))

// Adds the bias to the totals of one block, after the scales of the outputs if there are any, and
// `add` if it is not null. `add` may be `out`.
ANY void finish_any(const NativeConv& w, const float* totals, int rows, int block, const float* add,
                    float* out) {
    const int first = block * WIDTH, count = std::min(WIDTH, w.outputs - first);
    const float* bias = w.bias + first;
    float factors[WIDTH];
    for (int j = 0; j < WIDTH; ++j) factors[j] = w.form == CODEC_INT16 ? w.scales[first + j] : 1.f;
    for (int r = 0; r < rows; ++r) {
        float values[WIDTH];
        for (int j = 0; j < WIDTH; ++j) values[j] = totals[r * WIDTH + j] * factors[j] + bias[j];
        const size_t at = size_t(r) * w.outputs + first;
        if (count == WIDTH) {
            if (add != nullptr)
                for (int j = 0; j < WIDTH; ++j) values[j] += add[at + j];
            std::memcpy(out + at, values, sizeof values);
        } else {
            for (int j = 0; j < count; ++j)
                out[at + j] = add != nullptr ? values[j] + add[at + j] : values[j];
        }
    }
}
BY_LEVEL(void, finish,
         (const NativeConv& w, const float* totals, int rows, int block, const float* add,
          float* out),
         (w, totals, rows, block, add, out))

enum Padding { REFLECT = 0, ZEROS = 1, REPLICATE = 2 };

// Input rows of a product: float32, or int16 with one scale per row. `begin` is the row of the next
// product; rows before it are the past that padding at the end may reflect.
struct Rows {
    int form = CODEC_FLOAT32, channels = 0, count = 0, begin = 0;
    std::vector<int32_t> data;  // one element is a float32, or two int16
    std::vector<float> scales;
    std::vector<float> scratch;  // one row per thread

    void describe(const NativeConv& w) {
        form = w.form;
        channels = w.inputs;
    }
    int64_t stride() const { return form == CODEC_INT16 ? (channels + 1) / 2 : channels; }
    // A row of floats and a cache line, so that threads share none.
    int64_t scratch_stride() const { return channels + 16; }
    int32_t* row(int index) { return data.data() + index * stride(); }

    // Changes the number of rows; new ones are zero.
    void resize(int rows) {
        if (data.size() < size_t(rows * stride())) data.resize(size_t(rows * stride()));
        if (form == CODEC_INT16 && int(scales.size()) < rows) scales.resize(size_t(rows));
        for (int r = count; r < rows; ++r) clear(r);
        count = rows;
    }

    void clear(int index) {
        std::memset(row(index), 0, size_t(stride()) * sizeof(int32_t));
        if (form == CODEC_INT16) scales[index] = 0.f;
    }

    // Takes the memory with which `threads` threads apply ELU.
    void reserve_scratch(int threads) {
        const size_t most = size_t(threads) * size_t(scratch_stride());
        if (form == CODEC_INT16 && scratch.size() < most) scratch.resize(most);
    }

    // Stores activations x [rows][channels] from row `first` on, after ELU if `has_elu`. Threads
    // store other rows at the same time, each with its own scratch.
    void put(int first, const float* x, int rows, bool has_elu, int thread) noexcept {
        if (form == CODEC_INT16) {
            float* own = has_elu ? scratch.data() + thread * scratch_stride() : nullptr;
            quantize_rows(x, rows, channels, own, reinterpret_cast<int16_t*>(row(first)),
                          scales.data() + first);
            return;
        }
        auto* out = reinterpret_cast<float*>(row(first));
        has_elu ? elu(x, rows * channels, out) : void(std::copy_n(x, rows * channels, out));
    }

    void copy(int from, int to) {
        std::memcpy(row(to), row(from), size_t(stride()) * sizeof(int32_t));
        if (form == CODEC_INT16) scales[to] = scales[from];
    }

    // Moves all rows `shift` rows towards the end, which leaves old rows in front.
    void shift(int shift) {
        const int old = count;
        resize(old + shift);
        std::memmove(row(shift), row(0), size_t(old * stride()) * sizeof(int32_t));
        if (form == CODEC_INT16)
            std::memmove(scales.data() + shift, scales.data(), size_t(old) * sizeof(float));
    }

    void drop_front(int rows) {
        if (rows == 0) return;
        count -= rows;
        begin -= rows;
        std::memmove(row(0), row(rows), size_t(count * stride()) * sizeof(int32_t));
        if (form == CODEC_INT16)
            std::memmove(scales.data(), scales.data() + rows, size_t(count) * sizeof(float));
    }

    // Pads both ends. Reflection needs more rows than it mirrors, so few rows get zeros first.
    void pad(int left, int right, int mode) {
        const int inside = count;
        const int zeros = mode == REFLECT ? std::max(0, std::max(left, right) - inside + 1) : 0;
        shift(left);
        resize(left + inside + right);
        for (int i = -left; i < inside + right; ++i) {
            if (i == 0) i = inside;
            if (i == inside + right) break;
            int source = i;
            if (mode == REFLECT) {
                source = i < 0 ? -i : i < inside + zeros ? i : 2 * (inside + zeros - 1) - i;
            } else if (mode == REPLICATE) {
                source = i < 0 ? 0 : inside - 1;
            }
            if (mode == ZEROS || source >= inside) {
                clear(left + i);
            } else {
                copy(left + source, left + i);
            }
        }
    }
};

}  // namespace
