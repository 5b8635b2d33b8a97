// One decode step of MusicGen's transformer on x86-64 and 64-bit Arm processors.
//
// A step reads every weight once and computes little with it, so it is bound by memory bandwidth.
// Weights are int8 (one scale per output; activations are quantized row by row), float16 or
// float32; keys and values are int8, bfloat16 or float32. Threads divide the outputs of each product and
// meet at barriers between phases.
//
// Rows are independent by construction: the order of additions within a row does not depend on the
// batch, so the same request gives the same bits under any load.

#include <algorithm>

#include "step.h"

namespace {

using namespace native;

struct Multiply : Work {
    const Linear& w;
    const float* x;
    const int rows;
    float* out;
    std::vector<Quantized> quantized;  // one per thread
    Multiply(int threads, const Linear& w, const float* x, int rows, float* out)
        : w(w), x(x), rows(rows), out(out), quantized(size_t(threads)) {
        for (Quantized& own : quantized) own.reserve(w, rows);
    }
    void run(int thread, int threads, Barrier&) override {
        Operand operand = quantized[size_t(thread)].of(w, x, w.inputs, rows);
        product(w, operand, rows, thread, threads,
                Copied{[&](int r) { return out + size_t(r) * w.outputs; }});
    }
};

template <typename T>
void run_step(Pool& pool, const NativeDecoder& model, const NativeRow* rows, int count, float* x) {
    Step<T> work(pool.threads(), model, rows, count, x);
    pool.run(work);
}

}  // namespace

extern "C" {

// Returns the level of this CPU: 0 unsupported, 1 AVX2, 2 AVX-VNNI, 3 AVX-512, 4 AVX-512 with VNNI, 5
// AMX; on Arm 1 NEON, 2 dot product, 3 i8mm.
int native_level() { return detect(); }

// Limits the level to `most`, for tests; returns the level in use.
int native_limit(int most) {
    level.store(detect(most));
    return level.load();
}

// Opens a pool. Returns its status.
int native_open_pool(int threads, void** pool) {
    return status_of([&] { *pool = new Pool(threads); });
}
void native_free_pool(void* pool) { delete static_cast<Pool*>(pool); }

// Multiplies x [rows][inputs] into out [rows][outputs]. Returns its status.
int native_multiply(void* pool, const Linear* linear, const float* x, int rows, float* out) {
    return status_of([&] {
        auto& threads = *static_cast<Pool*>(pool);
        Multiply work(threads.threads(), *linear, x, rows, out);
        threads.run(work);
    });
}

// Stores a pointer that other threads may read at any time. What it points to is written before it,
// also for them; Arm processors may otherwise show them the pointer first.
void native_publish(const void** place, const void* pointer) {
    __atomic_store_n(place, pointer, __ATOMIC_RELEASE);
}

// Attention of one query [size] over columns `first` to `first` + `count` - 1 of keys and values of
// type `cache`, for tests; `scores` has room for `count` values.
void native_attend(const float* query, const void* keys, const void* values, int cache, int first,
                   int count, int size, float* scores, float* out) {
    with_cache(cache, [&](auto type) {
        using T = decltype(type);
        Past<T> past{{static_cast<const T*>(keys), size}, {static_cast<const T*>(values), size},
                     first, count};
        attend(query, past, past, scores, out);
    });
}

// Stores `count` keys or values [count][size] as columns 0 and on of a cache, for tests.
void native_put_columns(const float* from, int count, int size, int cache, void* numbers) {
    with_cache(cache, [&](auto type) {
        for (int t = 0; t < count; ++t)
            put_column(from + size_t(t) * size, size, t, static_cast<decltype(type)*>(numbers));
    });
}

// Runs x [rows][hidden] through all layers and the final norm, in place. x comes with positions.
// Returns its status; after a failure, x is lost.
int native_step(void* pool, const NativeDecoder* model, const NativeRow* rows, int count, float* x) {
    return status_of([&] {
        auto& threads = *static_cast<Pool*>(pool);
        with_cache(model->cache, [&](auto type) {
            run_step<decltype(type)>(threads, *model, rows, count, x);
        });
    });
}
}
