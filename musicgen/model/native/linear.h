// Memory layout of the weights of one product.

#pragma once

#include <cstddef>
#include <cstdint>

namespace native {

constexpr int BLOCK = 16;  // outputs per block
constexpr int GROUP = 4;   // inputs added by one int8 instruction

enum Form { INT8 = 0, FLOAT16 = 1, FLOAT32 = 2 };

// y = x W^T. int8 weights have the layout [output / 16][input / 4][16][4], others
// [output / 16][input][16], so a block of outputs is one stream through memory. int8 also has one
// scale and one sum of weights per output. The caller owns the memory; it need not be aligned.
struct Linear {
    int32_t outputs, inputs, form, unused;
    const void* weights;
    const float* scales;
    const int32_t* sums;

    int blocks() const { return (outputs + BLOCK - 1) / BLOCK; }
    int64_t block_bytes() const {
        if (form == INT8) return int64_t(groups()) * GROUP * BLOCK;
        return int64_t(inputs) * BLOCK * (form == FLOAT16 ? 2 : 4);
    }
    int groups() const { return (inputs + GROUP - 1) / GROUP; }
    // Returns the weights of one block, as type T.
    template <typename T>
    const T* block(int index, int inputs_of_a_block) const {
        return static_cast<const T*>(weights) + size_t(index) * inputs_of_a_block * BLOCK;
    }
    // Prefetches what a kernel needs after the weights of a block. Every step reads it from memory,
    // and no other work is left to do while it comes.
    void fetch_factors(int index) const {
        if (form != INT8) return;
        __builtin_prefetch(scales + size_t(index) * BLOCK);
        __builtin_prefetch(sums + size_t(index) * BLOCK);
    }
};

// A thread reads its blocks as several streams, each from another part of its range, and prefetches
// each of them in advance. A single stream with hardware prefetching does not reach the memory's
// bandwidth. Where the registers hold the sums of four streams, a loop spends fewer instructions on a
// line of weights.
constexpr int STREAMS = 2, MOST_STREAMS = 4;

// Bytes between a line and the one prefetched with it. Too many lines on their way evict one another.
constexpr int ahead_of(int streams) { return streams > STREAMS ? 1024 : 2048; }

constexpr int CACHE_LINE = 64;
constexpr int MOST_ROWS = 8;  // maximum rows per pass over the weights

// Prefetches a line that is used once into the L2 cache. In the L1 cache it would evict what is used
// again, and while it waits for memory it would hold one of the few buffers that stores need, too.
inline void fetch_once(const void* line) { __builtin_prefetch(line, 0, 2); }

// Makes this CPU the owner of a line before it writes it. A store to a line that another CPU has read
// waits for it, and stores wait one after the other; these prefetches wait all at once.
inline void fetch_to_write(const void* line) {
#if defined(__x86_64__)
    asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(line)));
#else
    __builtin_prefetch(line, 1);
#endif
}

// Input rows of a product; for int8 quantized, with one scale per row.
struct Operand {
    const float* floats = nullptr;
    int stride = 0;
    const int32_t* quads = nullptr;  // four int8 inputs per element, stride `groups`
    const float* scales = nullptr;
    // With line i of a block, a kernel prefetches `ahead + i * step` bytes after the block's start.
    int64_t ahead = ahead_of(STREAMS);
    int step = CACHE_LINE;
};

}  // namespace native
