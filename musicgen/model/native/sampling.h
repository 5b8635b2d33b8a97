// Sampling of one token from logits: the rules of musicgen/engine/sampling.py for one row.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

extern "C" {

// Sampling of one clip. Temperature 0 is greedy; top_p above 0 takes precedence over top_k.
struct NativeSampling {
    double top_p;
    float temperature;
    int32_t top_k;
};
}

namespace {

// A product fused with the sum after it would round once instead of twice, unlike PyTorch.
#if defined(__clang__)
#define UNFUSED __attribute__((noinline))
#define UNFUSED_BODY _Pragma("clang fp contract(off)")
#else
#define UNFUSED __attribute__((noinline, optimize("fp-contract=off")))
#define UNFUSED_BODY
#endif

// Classifier-free guidance (Ho and Salimans 2022) into `out`.
UNFUSED void guide(const float* conditional, const float* unconditional, float scale, int count,
                   float* out) {
    UNFUSED_BODY
    for (int i = 0; i < count; ++i)
        out[i] = unconditional[i] + (conditional[i] - unconditional[i]) * scale;
}

inline bool are_finite(const float* values, int count) {
    for (int i = 0; i < count; ++i)
        if (!std::isfinite(values[i])) return false;
    return true;
}

// Samples tokens from finite logits; holds the memory for one vocabulary.
class Sampler {
  public:
    explicit Sampler(int vocabulary)
        : size_(vocabulary), scaled_(vocabulary), ordered_(vocabulary), chances_(vocabulary),
          sorted_(vocabulary) {}

    // Returns the token at `draw`, a uniform number in [0, 1).
    int64_t sample(const float* logits, const NativeSampling& rules, double draw) {
        if (rules.temperature == 0.f) return std::max_element(logits, logits + size_) - logits;
        for (int i = 0; i < size_; ++i) scaled_[i] = logits[i] / rules.temperature;
        if (rules.top_p == 0 && rules.top_k > 0 && rules.top_k < size_) keep_top_k(rules.top_k);
        // Logits that overflow at a tiny temperature have no distribution.
        if (!compute_chances()) return 0;
        if (rules.top_p > 0) keep_top_p(rules.top_p);
        return invert(draw);
    }

  private:
    // Removes the logits below the k-th largest; ties with it stay.
    void keep_top_k(int k) {
        std::copy(scaled_.begin(), scaled_.end(), ordered_.begin());
        std::nth_element(ordered_.begin(), ordered_.begin() + (k - 1), ordered_.end(),
                         std::greater<float>());
        const float least = ordered_[k - 1];
        for (float& value : scaled_)
            if (value < least) value = -INFINITY;
    }

    // Computes the softmax in float64; returns whether it is one.
    bool compute_chances() {
        const double largest = *std::max_element(scaled_.begin(), scaled_.end());
        double total = 0;
        for (int i = 0; i < size_; ++i) {
            chances_[i] = scaled_[i] == -INFINITY ? 0 : std::exp(double(scaled_[i]) - largest);
            total += chances_[i];
        }
        if (!std::isfinite(total)) return false;
        for (double& chance : chances_) chance /= total;
        return true;
    }

    // Keeps the likeliest tokens until the ones before a token already reach top_p.
    void keep_top_p(double top_p) {
        std::copy(chances_.begin(), chances_.end(), sorted_.begin());
        std::sort(sorted_.begin(), sorted_.end(), std::greater<double>());
        double cumulative = 0;
        int count = 0;
        for (double chance : sorted_) {
            cumulative += chance;
            count += cumulative - chance <= top_p;
        }
        const double least = sorted_[count - 1];
        for (double& chance : chances_)
            if (chance < least) chance = 0;
    }

    // Returns the first token with a cumulative probability above the draw. A token of probability
    // 0 is never returned.
    int64_t invert(double draw) {
        double total = 0;
        for (double chance : chances_) total += chance;
        // A draw just below 1 can round up to the total, and no token exceeds the total.
        const double target = std::min(draw * total, std::nextafter(total, 0.0));
        double cumulative = 0;
        for (int i = 0; i < size_; ++i) {
            cumulative += chances_[i];
            if (cumulative > target) return i;
        }
        return size_ - 1;
    }

    const int size_;
    std::vector<float> scaled_, ordered_;
    std::vector<double> chances_, sorted_;
};

}  // namespace
