// Detection of the CPU's instruction set level, and functions compiled for each level.
//
// A new kernel comes in two headers: NAME.h, with the x86-64 code inside `#if defined(__x86_64__)`,
// and neon_NAME.h. Both define the functions that shared code calls, with the same names. Plain
// code is a function `NAME_any` with BY_LEVEL; it needs no version for Arm.

#pragma once

#include <algorithm>
#include <atomic>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

#define ANY inline __attribute__((always_inline))

namespace native {

// One for the whole library, whatever source file asks. Hidden, because otherwise two libraries in a
// process, as in a comparison of builds, would share it.
__attribute__((visibility("hidden"))) inline std::atomic<int> level{-1};

inline int has_level() { return level.load(std::memory_order_relaxed); }

}  // namespace native

#if defined(__x86_64__)

#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma,f16c")))
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")))
// The header is that of GCC 11 and newer: what other compilers build uses VNNI. Only Linux gives tiles.
#if defined(__linux__) && __has_include(<amxint8intrin.h>)
#define AMX \
    __attribute__((target("amx-tile,amx-int8,avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")))
#endif

namespace native {

// Each level includes the previous ones, but for AVX-VNNI: older processors with AVX-512 lack it.
enum Level { NONE = 0, HAS_AVX2 = 1, HAS_AVX_VNNI = 2, HAS_AVX512 = 3, HAS_VNNI = 4, HAS_AMX = 5 };

// Whether the CPU has the VNNI instructions for 256 bits (leaf 7.1, EAX bit 4).
inline bool has_avx_vnni() {
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4 & 1);
}

// Whether the CPU has tiles for int8 numbers (leaf 7.0, EDX bits 24 and 25), and Linux gives them to
// this process: their state has 8 KB, so a process must ask for it. Linux refuses where a thread's
// stack for signals is too small for it.
inline bool has_amx() {
#if defined(AMX)
    constexpr long REQUEST = 0x1023, TILES = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx >> 24 & 3) == 3 &&
           syscall(SYS_arch_prctl, REQUEST, TILES) == 0;
#else
    return false;
#endif
}

inline int detect() {
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                __builtin_cpu_supports("f16c");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl");
    if (avx512 && __builtin_cpu_supports("avx512vnni")) return has_amx() ? HAS_AMX : HAS_VNNI;
    if (avx512) return HAS_AVX512;
    return !avx2 ? NONE : has_avx_vnni() ? HAS_AVX_VNNI : HAS_AVX2;
}

// Returns the highest level of this CPU up to `most`.
inline int detect(int most) {
    int highest = std::min(most, detect());
    return highest == HAS_AVX_VNNI && !has_avx_vnni() ? HAS_AVX2 : highest;
}

// Defines `NAME` from `NAME_any`, plain code vectorized by the compiler for each level, and selects
// the level at run time. (The compiler's own target_clones depends on a CPU name, and an unknown
// name gets the slowest clone.)
#define BY_LEVEL(RESULT, NAME, PARAMETERS, ARGUMENTS)                                     \
    AVX512 RESULT NAME##_avx512 PARAMETERS { return NAME##_any ARGUMENTS; }               \
    AVX2 RESULT NAME##_avx2 PARAMETERS { return NAME##_any ARGUMENTS; }                   \
    inline RESULT NAME PARAMETERS {                                                       \
        return has_level() >= HAS_AVX512 ? NAME##_avx512 ARGUMENTS : NAME##_avx2 ARGUMENTS; \
    }

// Waits for a moment in a spinning loop.
inline void relax() { __builtin_ia32_pause(); }

}  // namespace native

#elif defined(__aarch64__)
#include "neon_processor.h"
#else
#error "the native library needs x86-64 or 64-bit Arm"
#endif
