// EnCodec's LSTM with a residual connection, over a clip in pieces.
//
// Gates have the layout [unit / 16][input, forget, cell, output][16], so a thread computes all gates
// of its units. The state's product reads its weights once per frame and is bound by the caches.

#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "codec_layers.h"

namespace {

using namespace native;

constexpr int UNITS = 16;          // units per group
constexpr int GATES = 4 * UNITS;   // outputs per group

ANY float sigmoid_of(float x) { return 1.f / (2.f + exponential_minus_1(-x)); }

// tanh(x) = (e^2x - 1) / (e^2x + 1), precise near 0.
ANY float tanh_of(float x) {
    float power = exponential_minus_1(2.f * std::min(std::max(x, -20.f), 20.f));
    return power / (power + 2.f);
}

// One group's new cells and outputs from its gates [4][UNITS].
ANY void update_cells_any(const float* gates, float* cells, float* outputs) {
    for (int j = 0; j < UNITS; ++j) {
        float kept = sigmoid_of(gates[UNITS + j]) * cells[j];
        cells[j] = kept + sigmoid_of(gates[j]) * tanh_of(gates[2 * UNITS + j]);
        outputs[j] = sigmoid_of(gates[3 * UNITS + j]) * tanh_of(cells[j]);
    }
}
BY_LEVEL(void, update_cells, (const float* gates, float* cells, float* outputs),
         (gates, cells, outputs))

class Recurrent : public Layer {
  public:
    explicit Recurrent(const NativeCodecLayer& layer)
        : products_(layer.products), layers_(layer.count / 2), width_(products_[0].inputs),
          groups_(products_[0].outputs / GATES) {
        states_.resize(size_t(layers_));
        for (State& state : states_) {
            state.hidden[0].resize(size_t(groups_) * UNITS);
            state.hidden[1].resize(size_t(groups_) * UNITS);
            state.cells.resize(size_t(groups_) * UNITS);
        }
    }
    int channels() const override { return width_; }

    Frames push(Crew& crew, const float* x, int rows, bool) override {
        out_.assign(x, x + size_t(rows) * width_);
        for (int i = 0; i < layers_ && rows > 0; ++i) run_layer(crew, i, rows);
        for (size_t i = 0; i < out_.size(); ++i) out_[i] += x[i];
        return {out_.data(), rows};
    }

  private:
    struct State {
        std::vector<float> hidden[2], cells;
        int current = 0;  // index of the last frame's hidden state
    };

    // Replaces `out_` with the outputs of one layer.
    void run_layer(Crew& crew, int index, int rows) {
        const NativeConv &input = products_[2 * index], &own = products_[2 * index + 1];
        inputs_.describe(input);
        inputs_.count = 0;
        append(crew, inputs_, out_.data(), rows, false);
        gates_.resize(size_t(rows) * input.outputs);
        multiply(crew, input, inputs_, rows, nullptr, gates_.data());
        State& state = states_[size_t(index)];
        hidden_.resize(size_t(crew.threads()));
        for (Rows& hidden : hidden_) {
            hidden.describe(own);
            hidden.resize(1);
        }
        crew.together([&](int thread, int threads, Barrier& barrier) {
            run_frames(own, state, rows, thread, threads, barrier);
        });
        state.current = (state.current + rows) % 2;
    }

    // One thread's units in all frames. Every thread quantizes its own copy of the hidden state.
    void run_frames(const NativeConv& own, State& state, int rows, int thread, int threads,
                    Barrier& barrier) {
        const int first = groups_ * thread / threads, last = groups_ * (thread + 1) / threads;
        Rows& hidden = hidden_[size_t(thread)];
        for (int t = 0; t < rows; ++t) {
            const float* before = state.hidden[(state.current + t) % 2].data();
            float* after = state.hidden[(state.current + t + 1) % 2].data();
            hidden.put(0, before, 1, false, thread);
            float* gates = gates_.data() + size_t(t) * own.outputs;
            for (int group = first; group < last; ++group) {
                const int blocks = GATES / WIDTH;
                for (int block = group * blocks; block < (group + 1) * blocks; ++block)
                    multiply_tile(own, hidden, 0, 1, block, gates, gates);
                float* outputs = after + group * UNITS;
                update_cells(gates + group * GATES, state.cells.data() + group * UNITS, outputs);
                const int count = std::min(UNITS, width_ - group * UNITS);
                std::copy_n(outputs, count, out_.data() + size_t(t) * width_ + group * UNITS);
            }
            barrier.wait();
        }
    }

    const NativeConv* products_;
    const int layers_, width_, groups_;
    std::vector<State> states_;
    Rows inputs_;
    std::vector<Rows> hidden_;  // one per thread: the last frame's hidden state, quantized
    std::vector<float> gates_, out_;
};

}  // namespace
