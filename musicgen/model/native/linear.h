// The weights of one product, as they lie in memory.

#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace {

constexpr int BLOCK = 16;  // outputs that lie side by side
constexpr int GROUP = 4;   // inputs that an int8 instruction adds up

enum Form { INT8 = 0, FLOAT16 = 1, FLOAT32 = 2 };

// y = x W^T. int8 weights lie as [output / 16][input / 4][16][4], others as [output / 16][input][16]:
// a block of outputs is one stream through memory. `scales` and `sums` are int8's, one an output.
// The memory is the caller's, and need not be aligned.
struct Linear {
    int32_t outputs, inputs, form, unused;
    const void* weights;
    const float* scales;
    const int32_t* sums;

    int blocks() const { return (outputs + BLOCK - 1) / BLOCK; }
    int groups() const { return (inputs + GROUP - 1) / GROUP; }
    // Of type T, those of a block.
    template <typename T>
    const T* block(int index, int inputs_of_a_block) const {
        return static_cast<const T*>(weights) + size_t(index) * inputs_of_a_block * BLOCK;
    }
};

// Rows as a product takes them: for int8 quantized, each by its own scale.
struct Operand {
    const float* floats = nullptr;
    int stride = 0;
    const int32_t* quads = nullptr;  // four inputs in each, stride `groups`
    const float* scales = nullptr;
};

// A thread reads its blocks of outputs as two streams, one from the first of them and one from the
// middle, and asks for what it will need this many bytes later: one stream alone, fetched by the
// processor's own guess, does not reach the memory's speed.
constexpr int STREAMS = 2;
constexpr int AHEAD = 4096;
constexpr int CACHE_LINE = 64;

}  // namespace
