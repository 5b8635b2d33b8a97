// EnCodec's layers over a clip in pieces. Every layer keeps the inputs its next output needs, and
// nothing is computed twice. Rows have the same bits however the clip is divided.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "codec_products.h"
#include "codec_rows.h"
#include "threads.h"

extern "C" {

enum CodecKind { CONVOLUTION = 0, TRANSPOSED = 1, RESIDUAL = 2, RECURRENT = 3 };

// One layer; `has_elu`: with ELU before it. `products`: a convolution has one; a residual block
// narrow, wide and, if `count` is 3, shortcut; LSTM layers each have the input's and the state's.
struct NativeCodecLayer {
    int32_t kind, has_elu, count, unused;
    const NativeConv* products;
};
}

namespace {

using namespace native;

// Runs phases on all threads of a pool. Thread 0 decides about the phases; the others wait. Memory
// is taken by thread 0 alone, between phases; if it fails, the pool frees the others.
class Crew : public Work {
  public:
    using Phase = std::function<void(int thread, int threads, Barrier& barrier)>;

    Crew(int threads, std::function<void(Crew&)> lead)
        : lead_(std::move(lead)), threads_(threads) {}

    int threads() const { return threads_; }

    void run(int thread, int threads, Barrier& barrier) override {
        if (thread == 0) {
            barrier_ = &barrier;
            lead_(*this);
            phase_ = nullptr;
            barrier.wait();
            return;
        }
        for (;;) {
            barrier.wait();
            if (phase_ == nullptr) return;
            (*phase_)(thread, threads, barrier);
            barrier.wait();
        }
    }

    void together(const Phase& phase) {
        phase_ = &phase;
        barrier_->wait();
        phase(0, threads_, *barrier_);
        barrier_->wait();
    }

  private:
    std::function<void(Crew&)> lead_;
    const Phase* phase_ = nullptr;
    Barrier* barrier_ = nullptr;
    const int threads_;
};

// Appends rows x [rows][channels].
void append(Crew& crew, Rows& inputs, const float* x, int rows, bool has_elu) {
    const int before = inputs.count;
    inputs.resize(before + rows);
    if (has_elu) inputs.reserve_scratch(crew.threads());
    crew.together([&](int thread, int threads, Barrier&) {
        const int first = int(int64_t(rows) * thread / threads);
        const int end = int(int64_t(rows) * (thread + 1) / threads);
        inputs.put(before + first, x + size_t(first) * inputs.channels, end - first, has_elu,
                   thread);
    });
}

// One tile of `rows` products from row `first` on.
inline void multiply_tile(const NativeConv& w, const Rows& inputs, int first, int rows, int block,
                          const float* add, float* out) {
    alignas(64) float totals[TILE * WIDTH];
    const int step = w.stride, start = inputs.begin + first * step;
    const bool is_int16 = w.form == CODEC_INT16;
    Tile tile{inputs.data.data() + start * inputs.stride(),
              is_int16 ? inputs.scales.data() + start : nullptr, step * inputs.stride(),
              w.dilation * inputs.stride(), step, w.dilation};
    tile_product(w, rows)(w, tile, block, totals);
    const size_t at = size_t(first) * w.outputs;
    finish(w, totals, rows, block, add == nullptr ? nullptr : add + at, out + at);
}

// Computes `rows` products, each with `w.fold` frames; out [rows][outputs].
void multiply(Crew& crew, const NativeConv& w, Rows& inputs, int rows, const float* add,
              float* out) {
    // The last of several frames computed at once may need rows after the last input.
    const int needed = inputs.begin + (rows - 1) * w.stride + (w.taps - 1) * w.dilation + 1;
    const int count = inputs.count;
    inputs.resize(std::max(count, needed));
    inputs.count = count;
    const int blocks = (w.outputs + WIDTH - 1) / WIDTH, tiles = (rows + TILE - 1) / TILE;
    crew.together([&](int thread, int threads, Barrier&) {
        const int64_t items = int64_t(blocks) * tiles;
        for (int64_t i = items * thread / threads; i < items * (thread + 1) / threads; ++i) {
            int block = int(i / tiles), tile = int(i % tiles);
            int first = int(int64_t(rows) * tile / tiles);
            int last = int(int64_t(rows) * (tile + 1) / tiles);
            multiply_tile(w, inputs, first, last - first, block, add, out);
        }
    });
}

// Outputs of a layer: frames [count][channels].
struct Frames {
    float* data;
    int count;
};

class Layer {
  public:
    virtual ~Layer() = default;
    // Returns the frames no later input can change; with `last` all remaining ones. They are valid
    // until the next call.
    virtual Frames push(Crew& crew, const float* x, int rows, bool last) = 0;
    virtual int channels() const = 0;
};

class Convolution : public Layer {
  public:
    Convolution(const NativeConv& w, bool has_elu) : w_(w), stride_(w.stride / w.fold), has_elu_(has_elu) {
        inputs_.describe(w);
    }
    int channels() const override { return w_.outputs / w_.fold; }

    Frames push(Crew& crew, const float* x, int rows, bool last) override {
        append(crew, inputs_, x, rows, has_elu_);
        seen_ += rows;
        if (!prepare(last)) return {nullptr, 0};
        const int reach = (w_.taps - w_.fold) * w_.dilation + 1;  // rows of one frame
        const int ready = inputs_.count - inputs_.begin;
        const int frames = ready < reach ? 0 : (ready - reach) / stride_ + 1;
        const int products = (frames + w_.fold - 1) / w_.fold;
        if (frames == 0) return {nullptr, 0};
        out_.resize(size_t(products) * w_.outputs);
        multiply(crew, w_, inputs_, products, nullptr, out_.data());
        inputs_.begin += frames * stride_;
        inputs_.drop_front(std::max(0, inputs_.begin - past()));
        return {out_.data(), frames};
    }

  private:
    // Rows that padding at the end may reflect.
    int past() const { return stride_ > 1 ? w_.right + stride_ : 0; }

    // Pads what can be padded; returns whether products can be computed.
    bool prepare(bool last) {
        const int missing = int((stride_ - seen_ % stride_) % stride_);
        if (!is_padded_ && last && inputs_.count > 0) {
            inputs_.pad(w_.left, w_.right + missing, w_.padding);
            return is_padded_ = true;
        }
        if (!is_padded_) {
            // Reflection needs more rows than it mirrors.
            if (inputs_.count <= std::max(w_.left, w_.right + stride_ - 1)) return false;
            inputs_.pad(w_.left, 0, w_.padding);
            is_padded_ = true;
        }
        if (last) inputs_.pad(0, w_.right + missing, w_.padding);
        return true;
    }

    const NativeConv& w_;
    const int stride_;  // rows between frames
    const bool has_elu_;
    bool is_padded_ = false;
    int64_t seen_ = 0;
    Rows inputs_;
    std::vector<float> out_;
};

// Transposed convolution with a kernel of twice its stride: two inputs make `fold` frames.
class Transposed : public Layer {
  public:
    Transposed(const NativeConv& w, bool has_elu) : w_(w), has_elu_(has_elu) {
        inputs_.describe(w);
    }
    int channels() const override { return w_.outputs / w_.fold; }

    Frames push(Crew& crew, const float* x, int rows, bool last) override {
        const bool is_first = inputs_.count == 0;
        if (is_first && rows == 0) return {nullptr, 0};
        if (is_first) inputs_.resize(1);
        append(crew, inputs_, x, rows, has_elu_);
        if (last) inputs_.resize(inputs_.count + 1);
        const int products = inputs_.count - 1;
        if (products == 0) return {nullptr, 0};
        out_.resize(size_t(products) * w_.outputs);
        multiply(crew, w_, inputs_, products, nullptr, out_.data());
        inputs_.begin = products;
        inputs_.drop_front(products);
        const int start = is_first ? w_.left : 0, stop = last ? w_.right : 0;
        return {out_.data() + size_t(start) * channels(),
                std::max(0, products * w_.fold - start - stop)};
    }

  private:
    const NativeConv& w_;
    const bool has_elu_;
    Rows inputs_;
    std::vector<float> out_;
};

// Two convolutions with a narrow middle, and a shortcut around them. The shortcut waits until the
// convolution has produced the same frames.
class Residual : public Layer {
  public:
    explicit Residual(const NativeCodecLayer& layer)
        : narrow_(layer.products[0], true), wide_(layer.products[1]),
          shortcut_(layer.count > 2 ? layer.products + 2 : nullptr) {
        middle_.describe(wide_);
        if (shortcut_ != nullptr) around_.describe(*shortcut_);
    }
    int channels() const override { return wide_.outputs; }

    Frames push(Crew& crew, const float* x, int rows, bool last) override {
        keep_around(crew, x, rows);
        Frames inner = narrow_.push(crew, x, rows, last);
        if (inner.count == 0) return {nullptr, 0};
        middle_.count = 0;
        append(crew, middle_, inner.data, inner.count, true);
        const size_t size = size_t(inner.count) * wide_.outputs;
        out_.resize(size);
        const float* add = out_.data();
        if (shortcut_ != nullptr) {
            multiply(crew, *shortcut_, around_, inner.count, nullptr, out_.data());
            around_.begin = inner.count;
            around_.drop_front(inner.count);
        } else {
            add = pending_.data();
        }
        multiply(crew, wide_, middle_, inner.count, add, out_.data());
        if (shortcut_ == nullptr) pending_.erase(pending_.begin(), pending_.begin() + int64_t(size));
        return {out_.data(), inner.count};
    }

  private:
    void keep_around(Crew& crew, const float* x, int rows) {
        if (shortcut_ != nullptr) {
            append(crew, around_, x, rows, false);
        } else {
            pending_.insert(pending_.end(), x, x + size_t(rows) * wide_.outputs);
        }
    }

    Convolution narrow_;
    const NativeConv& wide_;
    const NativeConv* shortcut_;
    Rows middle_, around_;
    std::vector<float> pending_, out_;
};

}  // namespace
