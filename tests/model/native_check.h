// Pseudo-random input and output of the checks of the native library.

#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

// Numerical Recipes' linear congruential generator: the same integers everywhere.
struct Random {
    uint32_t state;
    uint32_t next() { return (state = state * 1664525u + 1013904223u) >> 8; }
    // Returns a multiple of 2^-12 in [-1, 1).
    float number() { return float(int(next() % 8192) - 4096) / 4096.f; }
    std::vector<float> numbers(size_t count, float factor = 1.f) {
        std::vector<float> result(count);
        for (float& each : result) each = factor * number();
        return result;
    }
};

inline void print(const std::string& name, int level, const std::vector<float>& values) {
    std::printf("%s %d", name.c_str(), level);
    for (float each : values) {
        uint32_t bits;
        std::memcpy(&bits, &each, sizeof bits);
        std::printf(" %08x", bits);
    }
    std::printf("\n");
}
