// Failures on purpose, linked with the native library: of the n-th allocation, of a new thread, and
// of one thread of a pool.

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <system_error>
#include <thread>

#include "threads.h"

namespace {

std::atomic<int64_t> allocations_left{INT64_MAX}, threads_left{INT64_MAX}, blocks{0};

void* allocate(size_t size) {
    if (allocations_left.fetch_sub(1) <= 0) throw std::bad_alloc();
    void* block = std::malloc(size);
    if (block == nullptr) throw std::bad_alloc();
    ++blocks;
    return block;
}

void* run_thread(void* state) {
    std::unique_ptr<std::thread::_State>(static_cast<std::thread::_State*>(state))->_M_run();
    return nullptr;
}

// Throws in one thread between barriers; the others wait for it.
struct Failing : native::Work {
    const int failing, kind;
    Failing(int failing, int kind) : failing(failing), kind(kind) {}
    void run(int thread, int, native::Barrier& barrier) override {
        for (int i = 0; i < 100; ++i) {
            barrier.wait();
            if (i < 50 || thread != failing) continue;
            if (kind == 0) throw std::bad_alloc();
            if (kind == 1) throw std::length_error("too long");
            throw kind;
        }
    }
};

}  // namespace

void* operator new(size_t size) { return allocate(size); }
void* operator new[](size_t size) { return allocate(size); }
void operator delete(void* block) noexcept {
    if (block != nullptr) --blocks;
    std::free(block);
}
void operator delete[](void* block) noexcept { operator delete(block); }
void operator delete(void* block, size_t) noexcept { operator delete(block); }
void operator delete[](void* block, size_t) noexcept { operator delete(block); }

// libstdc++'s start of a thread.
void std::thread::_M_start_thread(_State_ptr state, void (*)()) {
    pthread_t id;
    if (threads_left.fetch_sub(1) <= 0 ||
        pthread_create(&id, nullptr, run_thread, state.get()) != 0)
        throw std::system_error(std::error_code());  // a longer text is memory of libstdc++
    state.release();
    _M_id = std::thread::id(id);
}

extern "C" {

// Lets `count` more allocations succeed; a negative count means all.
void allow_allocations(int64_t count) { allocations_left = count < 0 ? INT64_MAX : count; }
void allow_threads(int64_t count) { threads_left = count < 0 ? INT64_MAX : count; }
// Returns the number of blocks in use.
int64_t count_blocks() { return blocks; }
// Runs a work that fails in one thread; returns its status.
int fail_in_thread(void* pool, int thread, int kind) {
    return native::status_of([&] {
        Failing work(thread, kind);
        static_cast<native::Pool*>(pool)->run(work);
    });
}
}
