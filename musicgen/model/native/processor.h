// Detection of the CPU's instruction set level, and functions compiled for each level.

#pragma once

#include <algorithm>
#include <atomic>

#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma,f16c")))
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")))

namespace native {

enum Level { NONE = 0, HAS_AVX2 = 1, HAS_AVX512 = 2, HAS_VNNI = 3 };

inline int detect() {
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                __builtin_cpu_supports("f16c");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl");
    if (avx512 && __builtin_cpu_supports("avx512vnni")) return HAS_VNNI;
    return avx512 ? HAS_AVX512 : avx2 ? HAS_AVX2 : NONE;
}

// One for the whole library, whatever source file asks.
inline std::atomic<int> level{-1};

inline int has_level() { return level.load(std::memory_order_relaxed); }

// Defines `NAME` from `NAME_any`, plain code vectorized by the compiler for each level, and selects
// the level at run time. (The compiler's own target_clones depends on a CPU name, and an unknown
// name gets the slowest clone.)
#define BY_LEVEL(RESULT, NAME, PARAMETERS, ARGUMENTS)                                     \
    AVX512 RESULT NAME##_avx512 PARAMETERS { return NAME##_any ARGUMENTS; }               \
    AVX2 RESULT NAME##_avx2 PARAMETERS { return NAME##_any ARGUMENTS; }                   \
    inline RESULT NAME PARAMETERS {                                                       \
        return has_level() >= HAS_AVX512 ? NAME##_avx512 ARGUMENTS : NAME##_avx2 ARGUMENTS; \
    }
#define ANY inline __attribute__((always_inline))

}  // namespace native
