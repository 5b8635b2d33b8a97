// Compares the codec's kernels at the level in use with the plain code, which defines their bits.

#include <utility>
#include <vector>

#include "codec_products.h"

namespace {

constexpr int MARGIN = 1 << 12;  // kernels prefetch beyond the weights

// Input rows and one block of weights, of any form.
struct Case {
    std::vector<int16_t> weights, inputs;
    std::vector<float> float_weights, float_inputs, scales;
    NativeConv conv{};
    Tile tile{};

    Case(int form, int inputs_of_a_row, int taps, int dilation) {
        conv.form = form;
        conv.outputs = WIDTH;
        conv.inputs = inputs_of_a_row;
        conv.taps = taps;
        conv.dilation = dilation;
        const int pairs = pairs_of(conv), rows = TILE + taps * dilation;
        for (int i = 0; i < taps * pairs * 2 * WIDTH + MARGIN; ++i) {
            weights.push_back(int16_t(number() % 2001 - 1000));
            float_weights.push_back(float(weights.back()) / 3000.f);
        }
        for (int i = 0; i < rows * pairs * 2; ++i) {
            inputs.push_back(int16_t(number() % 32767 - 16383));
            float_inputs.push_back(float(inputs.back()) / 3000.f);
        }
        for (int i = 0; i < rows; ++i) scales.push_back(float(number() % 1000) / 3000.f);
        const bool is_int16 = form == CODEC_INT16;
        conv.weights = is_int16 ? static_cast<const void*>(weights.data())
                                : static_cast<const void*>(float_weights.data());
        tile.x = is_int16 ? static_cast<const void*>(inputs.data())
                          : static_cast<const void*>(float_inputs.data());
        tile.scales = is_int16 ? scales.data() : nullptr;
        tile.step = is_int16 ? pairs : inputs_of_a_row;
        tile.tap = tile.step * dilation;
        tile.rows = 1;
        tile.dilated = dilation;
    }

  private:
    // Numerical Recipes' linear congruential generator.
    int number() { return int((state_ = state_ * 1664525u + 1013904223u) >> 8); }
    uint32_t state_ = 7;
};

template <int ROWS>
bool is_exact(const Case& input) {
    constexpr size_t SIZE = size_t{ROWS} * WIDTH;
    std::vector<float> wanted(SIZE), found(SIZE, -1.f);
    input.conv.form == CODEC_INT16
        ? int16_plain<ROWS>(input.conv, input.tile, 0, wanted.data())
        : float_plain<ROWS>(input.conv, input.tile, 0, wanted.data());
    tile_product(input.conv, ROWS)(input.conv, input.tile, 0, found.data());
    return wanted == found;
}

template <int... ROWS>
bool is_exact(const Case& input, std::integer_sequence<int, ROWS...>) {
    return (is_exact<ROWS + 1>(input) && ...);
}

}  // namespace

bool has_exact_codec_products() {
    for (int form : {CODEC_INT16, CODEC_FLOAT32})
        for (int inputs : {1, 2, 7, 32, 33, 70})
            for (auto [taps, dilation] : {std::pair{1, 1}, {2, 1}, {7, 1}, {3, 2}})
                if (!is_exact(Case(form, inputs, taps, dilation),
                              std::make_integer_sequence<int, TILE>()))
                    return false;
    return true;
}
