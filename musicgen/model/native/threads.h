// Thread pool and barrier for the phases of a step.

#pragma once

#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "processor.h"

namespace native {

// Spinning barrier, because phases are microseconds apart. It yields the CPU when another thread
// seems descheduled.
class Barrier {
  public:
    explicit Barrier(int threads) : threads_(threads) {}
    void wait() {
        if (threads_ == 1) return;
        int turn = turn_.load(std::memory_order_acquire);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
            arrived_.store(0, std::memory_order_relaxed);
            turn_.store(turn + 1, std::memory_order_release);
            return;
        }
        for (int spins = 0; turn_.load(std::memory_order_acquire) == turn; ++spins) {
            if (spins < 4000) {
                relax();
            } else {
                sched_yield();
            }
        }
    }

  private:
    const int threads_;
    std::atomic<int> arrived_{0};
    std::atomic<int> turn_{0};
};

struct Work {
    virtual void run(int thread, int threads, Barrier& barrier) = 0;
    virtual ~Work() = default;
};

// Threads sleep between steps. The caller is thread 0.
class Pool {
  public:
    explicit Pool(int threads) : threads_(threads), barrier_(threads) {
        for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { serve(i); });
    }
    ~Pool() {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            stopped_ = true;
        }
        changed_.notify_all();
        for (auto& worker : workers_) worker.join();
    }
    void run(Work& work) {
        std::lock_guard<std::mutex> one_at_a_time(callers_);
        if (threads_ > 1) {
            {
                std::lock_guard<std::mutex> lock(mutex_);
                work_ = &work;
                left_.store(threads_ - 1);
                ++turn_;
            }
            changed_.notify_all();
        }
        work.run(0, threads_, barrier_);
        while (left_.load(std::memory_order_acquire) > 0) relax();
    }

  private:
    void serve(int index) {
        for (long seen = 0;;) {
            Work* work;
            {
                std::unique_lock<std::mutex> lock(mutex_);
                changed_.wait(lock, [&] { return stopped_ || turn_ != seen; });
                if (stopped_) return;
                seen = turn_;
                work = work_;
            }
            work->run(index, threads_, barrier_);
            left_.fetch_sub(1, std::memory_order_release);
        }
    }

    const int threads_;
    Barrier barrier_;
    std::vector<std::thread> workers_;
    std::mutex callers_, mutex_;
    std::condition_variable changed_;
    bool stopped_ = false;
    long turn_ = 0;
    Work* work_ = nullptr;
    std::atomic<int> left_{0};
};

}  // namespace native
