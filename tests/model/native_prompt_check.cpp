// Prints guided logits, tokens sampled from them, and states of a text encoder.

#include <cstdlib>
#include <deque>

#include "linear.h"
#include "native_check.h"
#include "sampling.h"

extern "C" {

// As in text_encoder.cpp.
struct NativeTextBlock {
    const float* attention_norm;
    const native::Linear *qkv, *out;
    const float* ffn_norm;
    const native::Linear *up, *gate, *down;
};

struct NativeTextEncoder {
    int32_t blocks, hidden, heads, head_dim, ffn, activation;
    const NativeTextBlock* block;
    const float* norm;
    float eps;
    int32_t unused;
};

int native_encode_text(void* pool, const NativeTextEncoder* model, int length, const float* bias,
                       float* x);
}

namespace {

// A float32 weight, with zeros for the outputs that fill the last block.
struct Weight {
    std::vector<float> numbers;
    native::Linear linear;
    Weight(Random& random, int outputs, int inputs) {
        linear = {outputs, inputs, native::FLOAT32, 0, nullptr, nullptr, nullptr};
        numbers = random.numbers(size_t(linear.blocks()) * native::BLOCK * inputs, 0.1f);
        linear.weights = numbers.data();
    }
};

}  // namespace

void check_sampling(int level) {
    Random random{7};
    for (int vocabulary : {1, 3, 64, 2048}) {
        std::vector<float> guided(vocabulary), tokens;
        for (int round = 0; round < 60; ++round) {
            std::vector<float> with = random.numbers(vocabulary, 7.3f);
            std::vector<float> without = random.numbers(vocabulary, 7.3f);
            guide(with.data(), without.data(), 3.1f, vocabulary, guided.data());
            const float draw = float(random.next() % 4096) / 4096.f;
            for (NativeSampling rules : {NativeSampling{0, 0.f, 0}, {0, 1.f, 0}, {0, 0.7f, 20},
                                         {0, 1.3f, 250}, {0.9, 1.f, 0}, {0.05, 1.f, 0}})
                tokens.push_back(
                    float(Sampler(vocabulary).sample(guided.data(), rules, double(draw))));
        }
        print("exact-guidance-" + std::to_string(vocabulary), level, guided);
        print("exact-tokens-" + std::to_string(vocabulary), level, tokens);
    }
}

void check_text_encoder(void* pool, int level) {
    constexpr int HIDDEN = 24, HEADS = 3, SIZE = 7, FFN = 37, INNER = HEADS * SIZE;
    for (int activation = 0; activation < 4; ++activation)
        for (int length : {1, 2, 11}) {
            Random random{uint32_t(100 * activation + length)};
            std::deque<Weight> weights;
            auto weight = [&](int outputs, int inputs) {
                return &weights.emplace_back(random, outputs, inputs).linear;
            };
            std::vector<float> norm = random.numbers(HIDDEN);
            std::vector<NativeTextBlock> blocks;
            for (int i = 0; i < 2; ++i)
                blocks.push_back({norm.data(), weight(3 * INNER, HIDDEN), weight(HIDDEN, INNER),
                                  norm.data(), weight(FFN, HIDDEN),
                                  activation % 2 ? weight(FFN, HIDDEN) : nullptr,
                                  weight(HIDDEN, FFN)});
            NativeTextEncoder model{2, HIDDEN, HEADS, SIZE, FFN, activation, blocks.data(),
                                    norm.data(), 1e-6f, 0};
            std::vector<float> bias = random.numbers(size_t(HEADS) * (2 * length - 1));
            std::vector<float> x = random.numbers(size_t(length) * HIDDEN);
            if (native_encode_text(pool, &model, length, bias.data(), x.data()) != 0) std::abort();
            print("text-" + std::to_string(activation) + "-" + std::to_string(length), level, x);
        }
}
