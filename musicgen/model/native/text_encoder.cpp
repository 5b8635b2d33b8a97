// The T5 encoder of prompts (Raffel et al. 2020, section 2.1).

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "between.h"
#include "products.h"
#include "scratch.h"
#include "threads.h"

using native::Linear;

extern "C" {

struct NativeTextBlock {
    const float* attention_norm;
    const Linear *qkv, *out;
    const float* ffn_norm;
    const Linear *up, *gate, *down;  // the gate is null in a plain feed-forward
};

struct NativeTextEncoder {
    int32_t blocks, hidden, heads, head_dim, ffn, activation;  // enum Activation
    const NativeTextBlock* block;
    const float* norm;
    float eps;
    int32_t unused;
};
}

namespace {

using namespace native;

enum Activation { RELU = 0, GELU = 1, GELU_TANH = 2, SILU = 3 };

// Scales by the root mean square, without mean and bias.
ANY void scale_row_any(const float* x, const float* weight, int size, float eps, float* out) {
    float square = sum_of(size, [=](int i) { return x[i] * x[i]; });
    float factor = 1.f / std::sqrt(square / float(size) + eps);
    for (int i = 0; i < size; ++i) out[i] = x[i] * factor * weight[i];
}
BY_LEVEL(void, scale_row, (const float* x, const float* weight, int size, float eps, float* out),
         (x, weight, size, eps, out))

ANY void silu_any(float* x, int count) {
    for (int i = 0; i < count; ++i) x[i] = x[i] / (1.f + exponential(-x[i]));
}
BY_LEVEL(void, silu, (float* x, int count), (x, count))

// GELU approximated with tanh; z (1 + tanh(y)) / 2 = z / (1 + e^-2y).
ANY void gelu_tanh_any(float* x, int count) {
    for (int i = 0; i < count; ++i) {
        float inner = 0.7978845608f * (x[i] + 0.044715f * x[i] * x[i] * x[i]);
        x[i] = x[i] / (1.f + exponential(-2.f * inner));
    }
}
BY_LEVEL(void, gelu_tanh, (float* x, int count), (x, count))

// Attention without scaling of one query over `count` keys and values `stride` apart; `bias` is
// added to the scores.
ANY void attend_biased_any(const float* query, const float* keys, const float* values, int count,
                           int size, int64_t stride, const float* bias, float* scores,
                           float* out) {
    float largest = -INFINITY;
    for (int t = 0; t < count; ++t) {
        const float* key = keys + t * stride;
        scores[t] = sum_of(size, [=](int i) { return query[i] * key[i]; }) + bias[t];
        largest = scores[t] > largest ? scores[t] : largest;
    }
    // A NaN or infinity in one score must reach every output.
    float total = sum_of(count, [=](int t) { return scores[t] * 0.f; });
    for (int t = 0; t < count; ++t) scores[t] = exponential(scores[t] - largest);
    total += sum_of(count, [=](int t) { return scores[t]; });
    for (int i = 0; i < size; ++i) out[i] = 0.f;
    for (int t = 0; t < count; ++t) {
        const float* value = values + t * stride;
        float weight = scores[t] / total;
        for (int i = 0; i < size; ++i) out[i] += weight * value[i];
    }
}
BY_LEVEL(void, attend_biased,
         (const float* query, const float* keys, const float* values, int count, int size,
          int64_t stride, const float* bias, float* scores, float* out),
         (query, keys, values, count, size, stride, bias, scores, out))

struct Encoding : Work {
    const NativeTextEncoder& model;
    const int length, inner;
    const float* bias;  // [heads][2 length - 1], by the distance from query to key
    float* x;           // [length][hidden], in place
    std::vector<float> projected, mixed, middle, gated;
    std::vector<Scratch> scratch;  // one per thread

    Encoding(int threads, const NativeTextEncoder& model, int length, const float* bias, float* x)
        : model(model), length(length), inner(model.heads * model.head_dim), bias(bias), x(x) {
        projected.resize(size_t(length) * 3 * inner);
        mixed.resize(size_t(length) * inner);
        middle.resize(size_t(length) * model.ffn);
        bool has_gate = model.blocks > 0 && model.block[0].gate != nullptr;
        gated.resize(has_gate ? middle.size() : 0);
        const size_t normals = size_t(length) * model.hidden;
        scratch.resize(size_t(threads), Scratch(normals, size_t(length)));
        for (Scratch& own : scratch) reserve(own.quantized);
    }

    void reserve(Quantized& quantized) const {
        for (int i = 0; i < model.blocks; ++i) {
            const NativeTextBlock& block = model.block[i];
            for (const Linear* w : {block.qkv, block.out, block.up, block.gate, block.down})
                if (w != nullptr) quantized.reserve(*w, length);
        }
    }

    void run(int thread, int threads, Barrier& barrier) override {
        Scratch& own = scratch[size_t(thread)];
        Quantized& quantized = own.quantized;
        float* normal = own.normal.data();
        for (int i = 0; i < model.blocks; ++i) {
            const NativeTextBlock& block = model.block[i];
            normalized(block.attention_norm, normal);
            store_product(*block.qkv, normal, projected, thread, threads, quantized);
            barrier.wait();
            for (int item = thread; item < length * model.heads; item += threads)
                attend_to_all(item / model.heads, item % model.heads, own.scores.data());
            barrier.wait();
            add_product(*block.out, mixed.data(), thread, threads, quantized);
            barrier.wait();
            feed_forward(block, normal, thread, threads, quantized);
            barrier.wait();
            add_product(*block.down, middle.data(), thread, threads, quantized);
            barrier.wait();
        }
        for (int r = thread; r < length; r += threads) {
            float* row = x + size_t(r) * model.hidden;
            scale_row(row, model.norm, model.hidden, model.eps, normal);
            std::copy_n(normal, model.hidden, row);
        }
    }

    void normalized(const float* weight, float* normal) const {
        for (int r = 0; r < length; ++r) {
            size_t at = size_t(r) * model.hidden;
            scale_row(x + at, weight, model.hidden, model.eps, normal + at);
        }
    }

    void attend_to_all(int query, int head, float* scores) {
        const int64_t stride = 3 * int64_t(inner), at = int64_t(head) * model.head_dim;
        const float* own = projected.data() + query * stride + at;
        const float* keys = projected.data() + inner + at;
        const float* biases = bias + size_t(head) * (2 * length - 1) + length - 1 - query;
        attend_biased(own, keys, keys + inner, length, model.head_dim, stride, biases, scores,
                      mixed.data() + query * int64_t(inner) + at);
    }

    // Leaves the input of the down product in `middle`, each thread its own outputs.
    void feed_forward(const NativeTextBlock& block, float* normal, int thread, int threads,
                      Quantized& quantized) {
        normalized(block.ffn_norm, normal);
        store_product(*block.up, normal, middle, thread, threads, quantized);
        if (block.gate != nullptr)
            store_product(*block.gate, normal, gated, thread, threads, quantized);
        Share share(*block.up, thread, threads);
        const int first = share.first * BLOCK, last = std::min(share.last * BLOCK, model.ffn);
        for (int r = 0; r < length; ++r) {
            float* up = middle.data() + size_t(r) * model.ffn;
            if (block.gate == nullptr) {
                activate(up + first, last - first);
                continue;
            }
            float* gate = gated.data() + size_t(r) * model.ffn;
            activate(gate + first, last - first);
            for (int i = first; i < last; ++i) up[i] *= gate[i];
        }
    }

    void activate(float* values, int count) const {
        switch (model.activation) {
            case RELU: return relu(values, count);
            case GELU: return gelu(values, count);
            case GELU_TANH: return gelu_tanh(values, count);
            default: return silu(values, count);
        }
    }

    void store_product(const Linear& w, const float* input, std::vector<float>& out, int thread,
                       int threads, Quantized& quantized) const {
        Operand operand = quantized.of(w, input, w.inputs, length);
        product(w, operand, length, thread, threads,
                Copied{[&](int r) { return out.data() + size_t(r) * w.outputs; }});
    }

    void add_product(const Linear& w, const float* input, int thread, int threads,
                     Quantized& quantized) const {
        Operand operand = quantized.of(w, input, w.inputs, length);
        product(w, operand, length, thread, threads,
                Added{[&](int r) { return x + size_t(r) * model.hidden; }});
    }
};

}  // namespace

extern "C" {

// Encodes x [length][hidden], the embedded tokens, in place. Returns its status; after a failure, x
// is lost.
int native_encode_text(void* pool, const NativeTextEncoder* model, int length, const float* bias,
                       float* x) {
    return status_of([&] {
        auto& threads = *static_cast<Pool*>(pool);
        Encoding work(threads.threads(), *model, length, bias, x);
        threads.run(work);
    });
}
}
