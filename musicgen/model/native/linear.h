// The weights of one product, packed: int8, or float16 with float32 arithmetic.

#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "processor.h"

namespace {

constexpr int BLOCK = 16;   // outputs that lie side by side
constexpr int GROUP = 4;    // inputs that an int8 instruction adds up

int round_up(int value, int step) { return (value + step - 1) / step * step; }

enum Form { INT8 = 0, FLOAT16 = 1 };

// y = x W^T. int8 weights lie as [output / 16][input / 4][16][4], float16 ones as
// [output / 16][input][16]: a block of outputs is one stream through memory.
struct Linear {
    int outputs, inputs, form;
    int blocks, groups;
    Aligned<int8_t> bytes;
    Aligned<uint16_t> halves;
    Aligned<float> scales;
    Aligned<int32_t> sums;

    Linear(const float* weight, int outputs, int inputs, int form)
        : outputs(outputs),
          inputs(inputs),
          form(form),
          blocks(round_up(outputs, BLOCK) / BLOCK),
          groups(round_up(inputs, GROUP) / GROUP) {
        if (form == INT8) {
            pack_bytes(weight);
        } else {
            pack_halves(weight);
        }
    }

    void pack_bytes(const float* weight) {
        bytes = Aligned<int8_t>(size_t(blocks) * groups * BLOCK * GROUP);
        scales = Aligned<float>(size_t(blocks) * BLOCK);
        sums = Aligned<int32_t>(size_t(blocks) * BLOCK);
        for (int n = 0; n < outputs; ++n) {
            const float* row = weight + size_t(n) * inputs;
            float largest = 1e-12f;
            for (int k = 0; k < inputs; ++k) largest = std::max(largest, std::fabs(row[k]));
            float scale = largest / 127.f;
            int8_t* block = bytes.get() + size_t(n / BLOCK) * groups * BLOCK * GROUP;
            int32_t sum = 0;
            for (int k = 0; k < inputs; ++k) {
                int value = int(std::nearbyint(row[k] / scale));
                block[(k / GROUP * BLOCK + n % BLOCK) * GROUP + k % GROUP] = int8_t(value);
                sum += value;
            }
            scales.get()[n] = scale;
            sums.get()[n] = sum;
        }
    }

    AVX2 void pack_halves(const float* weight) {
        halves = Aligned<uint16_t>(size_t(blocks) * inputs * BLOCK);
        for (int n = 0; n < outputs; ++n) {
            uint16_t* block = halves.get() + size_t(n / BLOCK) * inputs * BLOCK;
            for (int k = 0; k < inputs; ++k) {
                block[size_t(k) * BLOCK + n % BLOCK] =
                    uint16_t(_cvtss_sh(weight[size_t(n) * inputs + k], 0));
            }
        }
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

}  // namespace
