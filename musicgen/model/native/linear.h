// Memory layout of the weights of one product.

#pragma once

#include <cstddef>
#include <cstdint>

namespace native {

constexpr int BLOCK = 16;  // outputs per block
constexpr int GROUP = 4;   // inputs added by one int8 instruction
constexpr int CACHE_LINE = 64;

// Layout of int4: inputs with one factor, inputs of a slice, lines of weights per factor, bytes.
constexpr int FACTORED = 16, SLICE = 64, FACTORS = SLICE / FACTORED;
constexpr int LINE_INPUTS = 8, FACTOR_LINES = FACTORED / LINE_INPUTS;
constexpr int SLICE_LINES = 1 + FACTORS * FACTOR_LINES, SLICE_BYTES = SLICE_LINES * CACHE_LINE;

// Lines of 64 bytes in a tile of AMX, its bytes, and the fewest rows of a product for which it pays.
constexpr int TILE_LINES = 16, TILE_BYTES = TILE_LINES * CACHE_LINE;
constexpr int LEAST_TILE_ROWS = 6, LEAST_TILE_ROWS_INT4 = 8;

enum Form { INT8 = 0, FLOAT16 = 1, FLOAT32 = 2, INT4 = 3 };

// y = x W^T. int8 weights have the layout [output / 16][input / 4][16][4], floats
// [output / 16][input][16], so a block of outputs is one stream through memory. int8 and int4 also
// have one scale per output, int8 one sum of weights per output. The caller owns the memory; it need
// not be aligned.
//
// int4 has the layout [output / 16][slice of 64 inputs][9][64 bytes]. A slice has four groups of 16
// inputs. Its first line has factors of -127 to 127 [group][16], by which the sums of a group are
// multiplied. Each other line has eight inputs: byte [output][j] holds input j in its lower half and
// input 4 + j in its upper half, both plus 8.
struct Linear {
    int32_t outputs, inputs, form, unused;
    const void* weights;
    const float* scales;
    const int32_t* sums;

    bool is_integer() const { return form == INT8 || form == INT4; }
    int blocks() const { return (outputs + BLOCK - 1) / BLOCK; }
    int64_t block_bytes() const {
        if (form == INT4) return int64_t(slices()) * SLICE_BYTES;
        if (form == INT8) return int64_t(groups()) * GROUP * BLOCK;
        return int64_t(inputs) * BLOCK * (form == FLOAT16 ? 2 : 4);
    }
    // Groups of four inputs; int4 has whole slices.
    int groups() const {
        return form == INT4 ? slices() * (SLICE / GROUP) : (inputs + GROUP - 1) / GROUP;
    }
    int slices() const { return (inputs + SLICE - 1) / SLICE; }
    // Returns the weights of one block, as type T.
    template <typename T>
    const T* block(int index, int inputs_of_a_block) const {
        return static_cast<const T*>(weights) + size_t(index) * inputs_of_a_block * BLOCK;
    }
    // Prefetches what a kernel needs after the weights of a block. Every step reads it from memory,
    // and no other work is left to do while it comes.
    void fetch_factors(int index) const {
        if (scales != nullptr) __builtin_prefetch(scales + size_t(index) * BLOCK);
        if (sums != nullptr) __builtin_prefetch(sums + size_t(index) * BLOCK);
    }
};

// A thread reads its blocks as several streams, each from another part of its range, and prefetches
// each of them in advance. A single stream with hardware prefetching does not reach the memory's
// bandwidth. Where the registers hold the sums of four streams, a loop spends fewer instructions on a
// line of weights.
constexpr int STREAMS = 2, MOST_STREAMS = 4;

// Bytes between a line and the one prefetched with it. Too many lines on their way evict one another.
constexpr int ahead_of(int streams) { return streams > STREAMS ? 1024 : 2048; }

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

// Input rows of a product; for int8 and int4 quantized, with one scale per row.
struct Operand {
    const float* floats = nullptr;
    int stride = 0;
    const int32_t* quads = nullptr;  // four int8 inputs per element, stride `groups`
    const int64_t* wide = nullptr;    // the same four with 16 bits each, where a kernel reads them
    const uint8_t* tiles = nullptr;  // AMX: int8 inputs [row / 16][input / 64][16][64]
    int rows = 0;                    // of one pass, for a kernel of any number of rows
    const float* scales = nullptr;
    const int32_t* starts = nullptr;  // int4: where the sum of each group of 16 inputs begins
    // With line i of a block, a kernel prefetches `ahead + i * step` bytes after the block's start.
    int64_t ahead = ahead_of(STREAMS);
    int step = CACHE_LINE;
};

}  // namespace native
