// EnCodec's encoder and decoder as a chain of layers over a clip in pieces (Défossez et al. 2022).

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "codec_layers.h"
#include "codec_lstm.h"
#include "codec_products.h"
#include "threads.h"

namespace {

using namespace native;

// Activations that go on to the next layer at once, so that they stay in a processor's cache. Not so
// before strided convolutions: the few frames after them would read large weights again and again.
constexpr int PIECE_BYTES = 256 << 10;

std::unique_ptr<Layer> make_layer(const NativeCodecLayer& layer) {
    switch (layer.kind) {
        case CONVOLUTION:
            return std::make_unique<Convolution>(layer.products[0], layer.has_elu != 0);
        case TRANSPOSED:
            return std::make_unique<Transposed>(layer.products[0], layer.has_elu != 0);
        case RESIDUAL: return std::make_unique<Residual>(layer);
        default: return std::make_unique<Recurrent>(layer);
    }
}

class CodecChain {
  public:
    CodecChain(const NativeCodecLayer* layers, int count) {
        for (int i = 0; i < count; ++i) {
            layers_.push_back(make_layer(layers[i]));
            const NativeConv& first = layers[i].products[0];
            if (layers[i].kind == CONVOLUTION && first.stride > first.fold) divides_ = false;
        }
    }

    // Runs x [rows][channels] through all layers; returns the number of frames in `result`. After a
    // failure some layers have seen the rows and others have not, so later pushes fail as well.
    int push(Pool& pool, const float* x, int rows, bool last) {
        result.clear();
        if (failed_ != DONE) throw Failure{failed_};
        Crew crew(pool.threads(), [&](Crew& all) { run_from(all, 0, x, rows, last); });
        failed_ = status_of([&] { pool.run(crew); });
        if (failed_ != DONE) throw Failure{failed_};
        return int(result.size() / size_t(layers_.back()->channels()));
    }

    std::vector<float> result;

  private:
    void run_from(Crew& crew, size_t index, const float* x, int rows, bool last) {
        Layer& layer = *layers_[index];
        Frames frames = layer.push(crew, x, rows, last);
        const size_t channels = size_t(layer.channels());
        if (index + 1 == layers_.size()) {
            result.insert(result.end(), frames.data, frames.data + frames.count * channels);
            return;
        }
        if (frames.count == 0) {
            if (last) run_from(crew, index + 1, nullptr, 0, true);
            return;
        }
        const int most = std::max(1, int(PIECE_BYTES / (channels * sizeof(float))));
        const int pieces = divides_ ? (frames.count + most - 1) / most : 1;
        for (int i = 0; i < pieces; ++i) {
            int first = int(int64_t(frames.count) * i / pieces);
            int end = int(int64_t(frames.count) * (i + 1) / pieces);
            run_from(crew, index + 1, frames.data + first * channels, end - first,
                     last && i + 1 == pieces);
        }
    }

    std::vector<std::unique_ptr<Layer>> layers_;
    bool divides_ = true;
    Status failed_ = DONE;
};

}  // namespace

extern "C" {

// Opens a chain of layers for one clip. `layers` must outlive it. Returns its status.
int native_open_codec(const NativeCodecLayer* layers, int count, void** chain) {
    return status_of([&] { *chain = new CodecChain(layers, count); });
}
void native_close_codec(void* chain) { delete static_cast<CodecChain*>(chain); }

// Pushes x [rows][channels]; `frames` gets the number of frames that no later input can change, with
// `last` of all remaining ones. Returns its status; after a failure the chain can only be closed.
int native_push_codec(void* pool, void* chain, const float* x, int rows, int last, int* frames) {
    return status_of([&] {
        auto& threads = *static_cast<Pool*>(pool);
        *frames = static_cast<CodecChain*>(chain)->push(threads, x, rows, last != 0);
    });
}

// Copies the frames of the last push to `out`.
void native_read_codec(void* chain, float* out) {
    const std::vector<float>& result = static_cast<CodecChain*>(chain)->result;
    std::copy(result.begin(), result.end(), out);
}
}
