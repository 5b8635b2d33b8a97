// The layers of the decoder as work of the thread pool, and the structures that describe them.

#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
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

enum Cache { BFLOAT16_CACHE = 0, FLOAT32_CACHE = 1, INT8_CACHE = 2 };

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
// strides in numbers; int8 ones as in kv_cache.h. The row writes its own at `position` and attends
// from `first` to `position`. Rows of one clip, at several positions, are neighbours. Prompts have the
// type of the cache, but bfloat16 beside int8.
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

// Calls `use` with a number of the type of the cache.
template <typename Use>
void with_cache(int32_t cache, Use use) {
    if (cache == FLOAT32_CACHE) {
        use(float{});
    } else if (cache == INT8_CACHE) {
        use(int8_t{});
    } else {
        use(uint16_t{});
    }
}

// T: type of keys and values.
template <typename T>
struct Step : Work {
    using Prompt = std::conditional_t<HAS_FACTORS<T>, uint16_t, T>;

    const NativeDecoder& model;
    const NativeRow* rows;
    const int count;
    float* x;  // [rows][hidden]: input, then the residual stream, then the result
    std::vector<float> projected, mixed, middle;  // projected: queries, keys, values
    std::vector<int> prompted;
    bool has_common_pasts = false;  // whether a row attends to what another one stores
    std::vector<Scratch> scratch;  // one per thread

    Step(int threads, const NativeDecoder& model, const NativeRow* rows, int count, float* x)
        : model(model), rows(rows), count(count), x(x) {
        int longest = 1;
        projected.resize(size_t(count) * 3 * model.hidden);
        mixed.resize(size_t(count) * model.hidden);
        middle.resize(size_t(count) * model.ffn);
        for (int r = 0; r < count; ++r) {
            longest = std::max(longest, rows[r].position - rows[r].first + 1);
            has_common_pasts |= r > 0 && rows[r].keys == rows[r - 1].keys;
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
        each_new_column(index, thread, threads, [&](const float*, T* numbers, int position) {
            claim_column(numbers, size, position);
        });
        normalized(layer.self_norm_weight, layer.self_norm_bias, own.normal);
        Operand operand = own.quantized.of(*layer.qkv, own.normal.data(), hidden, count);
        product(*layer.qkv, operand, count, thread, threads,
                Copied{[&](int r) { return projected.data() + size_t(r) * 3 * hidden; }});
        barrier.wait();
        each_new_column(index, thread, threads, [&](const float* from, T* numbers, int position) {
            put_column(from, size, position, numbers);
        });
        if (has_common_pasts) barrier.wait();
        attend_all<T>(count, 3 * hidden, thread, threads, own.scores, [&](int r, int head) {
            const NativeRow& row = rows[r];
            int64_t at = index * row.layer_stride + head * row.head_stride;
            return Past<T>{{static_cast<const T*>(row.keys) + at, size},
                           {static_cast<const T*>(row.values) + at, size},
                           row.first,
                           row.position - row.first + 1};
        });
        barrier.wait();
        add_product(*layer.self_out, mixed.data(), hidden, thread, threads, own.quantized);
        barrier.wait();
    }

    // Calls `use(projected, cached, position)` for the new key and value of each head to which this
    // thread attends.
    template <typename Use>
    void each_new_column(int index, int thread, int threads, Use use) {
        const int hidden = model.hidden, heads = model.heads, size = hidden / heads;
        for (int item = thread; item < count * heads; item += threads) {
            const NativeRow& row = rows[item / heads];
            const int head = item % heads;
            const int64_t at = index * row.layer_stride + head * row.head_stride;
            const float* from = projected.data() + size_t(item / heads) * 3 * hidden + head * size;
            use(from + hidden, static_cast<T*>(row.keys) + at, row.position);
            use(from + 2 * hidden, static_cast<T*>(row.values) + at, row.position);
        }
    }

    // One thread's part of the attention of `some` queries, `stride` apart, to `past_of(query, head)`
    // with keys and values of type `Number`.
    template <typename Number, typename PastOf>
    void attend_all(int some, int stride, int thread, int threads, std::vector<float>& scores,
                    PastOf past_of) {
        const int hidden = model.hidden, heads = model.heads, size = hidden / heads;
        if (thread >= some * heads) return;
        Past<Number> next = past_of(thread / heads, thread % heads);
        for (int item = thread; item < some * heads; item += threads) {
            Past<Number> past = next;
            int later = item + threads;
            if (later < some * heads) next = past_of(later / heads, later % heads);
            next.touch_pages();
            const int row = item / heads, at = item % heads * size;
            attend(projected.data() + size_t(row) * stride + at, past, next, scores.data(),
                   mixed.data() + size_t(row) * hidden + at);
        }
    }

    void cross_attention(const NativeLayer& layer, int index, int thread, int threads,
                         Barrier& barrier, Scratch& own) {
        const int hidden = model.hidden, size = hidden / model.heads;
        const int some = int(prompted.size());
        for (int p = 0; p < some; ++p)
            normalize(x + size_t(prompted[p]) * hidden, layer.cross_norm_weight,
                      layer.cross_norm_bias, hidden, own.normal.data() + size_t(p) * hidden);
        Operand operand = own.quantized.of(*layer.cross_query, own.normal.data(), hidden, some);
        product(*layer.cross_query, operand, some, thread, threads,
                Copied{[&](int p) { return projected.data() + size_t(p) * hidden; }});
        barrier.wait();
        attend_all<Prompt>(some, hidden, thread, threads, own.scores, [&](int p, int head) {
            const NativeRow& row = rows[prompted[p]];
            int64_t at = index * row.cross_layer_stride + head * row.cross_head_stride;
            return Past<Prompt>{{static_cast<const Prompt*>(row.cross_keys) + at, size},
                                {static_cast<const Prompt*>(row.cross_values) + at, size},
                                0,
                                row.cross_length};
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
