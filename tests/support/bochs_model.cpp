// Loaded before the package bochscpu, to replace two of the symbols it needs.

#include <dlfcn.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

class BX_CPU_C;

// The package emulates a Cannon Lake, without VNNI, and cannot be asked for another processor.
// Returns Bochs's Sapphire Rapids in its place: AVX-VNNI and AVX-512 VNNI.
void* create_corei3_cnl_cpuid(BX_CPU_C* processor) {
    using Create = void*(BX_CPU_C*);
    void* create = dlsym(RTLD_DEFAULT, "_Z28create_sapphire_rapids_cpuidP8BX_CPU_C");
    if (create == nullptr) std::abort();
    return reinterpret_cast<Create*>(create)(processor);
}

// The package was linked with glibc 2.38. Older versions have these functions under other names.
extern "C" unsigned long long __isoc23_strtoull(const char* text, char** end, int base) {
    return std::strtoull(text, end, base);
}

extern "C" int __isoc23_sscanf(const char* text, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int count = std::vsscanf(text, format, arguments);
    va_end(arguments);
    return count;
}
