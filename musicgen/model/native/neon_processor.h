// Instruction set levels of 64-bit Arm processors (Graviton, Ampere, Apple Silicon).

#pragma once

#if defined(__APPLE__)
#include <sys/sysctl.h>
#else
#include <sys/auxv.h>
#endif

#include <cstddef>

// Clang and GCC spell the extensions differently. The attribute makes the assembler accept the
// instructions; kernels use them in asm, because some compilers declare the intrinsics only when
// the whole file is compiled for the extension.
#if defined(__clang__)
#define DOTPROD __attribute__((target("dotprod")))
#define I8MM __attribute__((target("i8mm")))
#else
#define DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#define I8MM __attribute__((target("arch=armv8.2-a+i8mm")))
#endif

namespace native {

// Every 64-bit Arm processor has NEON with fused multiply-add and conversion from float16.
enum Level { NONE = 0, HAS_NEON = 1, HAS_DOTPROD = 2, HAS_I8MM = 3 };

#if defined(__APPLE__)
inline bool has_feature(const char* name) {
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}

inline int detect() {
    if (!has_feature("hw.optional.arm.FEAT_DotProd")) return HAS_NEON;
    return has_feature("hw.optional.arm.FEAT_I8MM") ? HAS_I8MM : HAS_DOTPROD;
}
#else
// Bits of the Linux kernel's interface; old C libraries lack their names.
constexpr unsigned long DOTPROD_BIT = 1ul << 20, I8MM_BIT = 1ul << 13;

inline int detect() {
    if (!(getauxval(AT_HWCAP) & DOTPROD_BIT)) return HAS_NEON;
    return getauxval(AT_HWCAP2) & I8MM_BIT ? HAS_I8MM : HAS_DOTPROD;
}
#endif

// Returns the highest level of this CPU up to `most`.
inline int detect(int most) { return std::min(most, detect()); }

// Plain code needs one clone: the baseline has NEON.
#define BY_LEVEL(RESULT, NAME, PARAMETERS, ARGUMENTS) \
    inline RESULT NAME PARAMETERS { return NAME##_any ARGUMENTS; }

// Waits for a moment in a spinning loop. `yield` does nothing on most processors.
inline void relax() { asm volatile("isb" ::: "memory"); }

}  // namespace native
