// The layers of the decoder as work of the thread pool, and the structures that describe them.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "attention.h"
#include "between.h"
#include "outputs.h"
#include "processor.h"
#include "products.h"
#include "scratch.h"
#include "threads.h"

using native::Linear;

extern "C" {

enum Cache { BFLOAT16_CACHE = 0, FLOAT32_CACHE = 1 };

// One layer. Its cross-attention pointers are null if it has none.
struct NativeLayer {
    const float *self_norm_weight, *self_norm_bias;
    const Linear *qkv, *self_out;
    const float *cross_norm_weight, *cross_norm_bias;
    const Linear *cross_query, *cross_out;
    const float *ffn_norm_weight, *ffn_norm_bias;
    const Linear *up, *down;
};

struct NativeDecoder {
    int32_t layers, hidden, heads, ffn, activation;  // activation: 0 GELU, 1 ReLU
    int32_t cache;                                   // type of keys and values, enum Cache
    const NativeLayer* layer;
    const float *norm_weight, *norm_bias;
};

// One row of the batch. Keys and values have the layout [layer][head][position][head size], with
// strides in elements. The row writes its own at `position` and attends from `first` to `position`.
struct NativeRow {
    void *keys, *values;
    int64_t layer_stride, head_stride;
    int32_t position, first;
    const void *cross_keys, *cross_values;  // null without a prompt
    int64_t cross_layer_stride, cross_head_stride;
    int32_t cross_length, unused;
};
}

namespace {

using namespace native;

// T: type of keys and values.
template <typename T>
struct Step : Work {
    const NativeDecoder& model;
    const NativeRow* rows;
    const int count;
    float* x;  // [rows][hidden]: input, then the residual stream, then the result
    std::vector<float> query, mixed, middle;
    std::vector<int> prompted;
    std::vector<Scratch> scratch;  // one per thread

    Step(int threads, const NativeDecoder& model, const NativeRow* rows, int count, float* x)
        : model(model), rows(rows), count(count), x(x) {
        int longest = 1;
        query.resize(size_t(count) * model.hidden);
        mixed.resize(size_t(count) * model.hidden);
        middle.resize(size_t(count) * model.ffn);
        for (int r = 0; r < count; ++r) {
            longest = std::max(longest, rows[r].position - rows[r].first + 1);
            if (rows[r].cross_keys == nullptr) continue;
            prompted.push_back(r);
            longest = std::max(longest, rows[r].cross_length);
        }
        const size_t normals = size_t(count) * model.hidden;
        scratch.resize(size_t(threads), Scratch(normals, size_t(longest)));
        for (Scratch& own : scratch) reserve(own.quantized);
    }

    void reserve(Quantized& quantized) const {
        for (int i = 0; i < model.layers; ++i) {
            const NativeLayer& layer = model.layer[i];
            for (const Linear* w : {layer.qkv, layer.self_out, layer.cross_query, layer.cross_out,
                                    layer.up, layer.down})
                if (w != nullptr) quantized.reserve(*w, count);
        }
    }

    void run(int thread, int threads, Barrier& barrier) override {
        Scratch& own = scratch[size_t(thread)];
        for (int i = 0; i < model.layers; ++i) {
            const NativeLayer& layer = model.layer[i];
            self_attention(layer, i, thread, threads, barrier, own);
            if (layer.cross_query != nullptr && !prompted.empty())
                cross_attention(layer, i, thread, threads, barrier, own);
            feed_forward(layer, thread, threads, barrier, own);
        }
        for (int r = thread; r < count; r += threads) {
            float* row = x + size_t(r) * model.hidden;
            normalize(row, model.norm_weight, model.norm_bias, model.hidden, own.normal.data());
            std::copy_n(own.normal.data(), model.hidden, row);
        }
        barrier.wait();
    }

    void normalized(const float* weight, const float* bias, std::vector<float>& normal) const {
        for (int r = 0; r < count; ++r)
            normalize(x + size_t(r) * model.hidden, weight, bias, model.hidden,
                      normal.data() + size_t(r) * model.hidden);
    }

    void self_attention(const NativeLayer& layer, int index, int thread, int threads,
                        Barrier& barrier, Scratch& own) {
        const int hidden = model.hidden, size = hidden / model.heads;
        normalized(layer.self_norm_weight, layer.self_norm_bias, own.normal);
        Operand operand = own.quantized.of(*layer.qkv, own.normal.data(), hidden, count);
        product(*layer.qkv, operand, count, thread, threads, KeyValues{*this, index});
        barrier.wait();
        attend_all(count, thread, threads, own.scores, [&](int r, int head) {
            const NativeRow& row = rows[r];
            int64_t at = index * row.layer_stride + head * row.head_stride +
                         int64_t(row.first) * size;
            return Past<T>{static_cast<const T*>(row.keys) + at,
                           static_cast<const T*>(row.values) + at, row.position - row.first + 1};
        });
        barrier.wait();
        add_product(*layer.self_out, mixed.data(), hidden, thread, threads, own.quantized);
        barrier.wait();
    }

    // One thread's part of the attention of `some` queries to `past_of(query, head)`.
    template <typename PastOf>
    void attend_all(int some, int thread, int threads, std::vector<float>& scores, PastOf past_of) {
        const int hidden = model.hidden, heads = model.heads, size = hidden / heads;
        if (thread >= some * heads) return;
        Past<T> next = past_of(thread / heads, thread % heads);
        for (int item = thread; item < some * heads; item += threads) {
            Past<T> past = next;
            int later = item + threads;
            if (later < some * heads) next = past_of(later / heads, later % heads);
            next.touch_pages(size);
            size_t at = size_t(item / heads) * hidden + item % heads * size;
            attend(query.data() + at, past, next, size, scores.data(), mixed.data() + at);
        }
    }

    // Target of the query-key-value product: queries locally, keys and values in the KV cache.
    struct KeyValues {
        Step& step;
        const int layer;

        void take(const Outputs& outputs) const {
            const int hidden = step.model.hidden, size = hidden / step.model.heads;
            // A block of outputs may belong to several heads.
            for (int j = 0, run; j < outputs.width; j += run) {
                const int n = outputs.first + j;
                run = std::min(outputs.width - j, size - n % hidden % size);
                for (int r = 0; r < outputs.rows; ++r) {
                    const float* values = outputs.of(r) + j;
                    if (n < hidden) {
                        std::copy_n(values, run, query(outputs.row + r, n));
                    } else {
                        put_numbers(values, run, cached(outputs.row + r, n));
                    }
                }
            }
        }

        void claim(int row, int output) const {
            if (output < step.model.hidden) {
                claim_block(query(row, output));
            } else {
                claim_block(cached(row, output));
            }
        }

      private:
        float* query(int row, int output) const {
            return step.query.data() + size_t(row) * step.model.hidden + output;
        }
        T* cached(int row, int output) const {
            const int hidden = step.model.hidden, size = hidden / step.model.heads;
            const int column = output % hidden;
            const NativeRow& to = step.rows[row];
            auto* cache = static_cast<T*>(output < 2 * hidden ? to.keys : to.values);
            return cache + layer * to.layer_stride + column / size * to.head_stride +
                   int64_t(to.position) * size + column % size;
        }
    };

    void cross_attention(const NativeLayer& layer, int index, int thread, int threads,
                         Barrier& barrier, Scratch& own) {
        const int hidden = model.hidden;
        const int some = int(prompted.size());
        for (int p = 0; p < some; ++p)
            normalize(x + size_t(prompted[p]) * hidden, layer.cross_norm_weight,
                      layer.cross_norm_bias, hidden, own.normal.data() + size_t(p) * hidden);
        Operand operand = own.quantized.of(*layer.cross_query, own.normal.data(), hidden, some);
        product(*layer.cross_query, operand, some, thread, threads,
                Copied{[&](int p) { return query.data() + size_t(p) * hidden; }});
        barrier.wait();
        attend_all(some, thread, threads, own.scores, [&](int p, int head) {
            const NativeRow& row = rows[prompted[p]];
            int64_t at = index * row.cross_layer_stride + head * row.cross_head_stride;
            return Past<T>{static_cast<const T*>(row.cross_keys) + at,
                           static_cast<const T*>(row.cross_values) + at, row.cross_length};
        });
        barrier.wait();
        operand = own.quantized.of(*layer.cross_out, mixed.data(), hidden, some);
        product(*layer.cross_out, operand, some, thread, threads,
                Added{[&](int p) { return x + size_t(prompted[p]) * hidden; }});
        barrier.wait();
    }

    void feed_forward(const NativeLayer& layer, int thread, int threads, Barrier& barrier,
                      Scratch& own) {
        normalized(layer.ffn_norm_weight, layer.ffn_norm_bias, own.normal);
        Operand operand = own.quantized.of(*layer.up, own.normal.data(), model.hidden, count);
        product(*layer.up, operand, count, thread, threads,
                Copied{[&](int r) { return middle.data() + size_t(r) * model.ffn; }});
        Share share(*layer.up, thread, threads);
        int first = share.first * BLOCK, last = std::min(share.last * BLOCK, model.ffn);
        for (int r = 0; r < count; ++r) {
            float* mine = middle.data() + size_t(r) * model.ffn + first;
            model.activation == 0 ? gelu(mine, last - first) : relu(mine, last - first);
        }
        barrier.wait();
        add_product(*layer.down, middle.data(), model.ffn, thread, threads, own.quantized);
        barrier.wait();
    }

    void add_product(const Linear& w, const float* input, int stride, int thread, int threads,
                     Quantized& quantized) {
        Operand operand = quantized.of(w, input, stride, count);
        product(w, operand, count, thread, threads,
                Added{[&](int r) { return x + size_t(r) * model.hidden; }});
    }
};

}  // namespace
