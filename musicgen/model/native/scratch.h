// Memory of one thread during a work.

#pragma once

#include <cstddef>
#include <vector>

#include "linear.h"
#include "quantized.h"

namespace {

using namespace native;

// Taken before the threads start, because an allocation that fails inside of one stops the others,
// too. Arrays of different threads share no cache line.
struct Scratch {
    std::vector<float> normal, scores;
    Quantized quantized;

    Scratch(size_t normals, size_t most_scores)
        : normal(normals + CACHE_LINE / sizeof(float)),
          scores(most_scores + CACHE_LINE / sizeof(float)) {}
};

}  // namespace
