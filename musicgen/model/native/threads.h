// Thread pool and barrier for the phases of a step.

#pragma once

#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "failures.h"
#include "processor.h"

namespace native {

// Spinning barrier, because phases are microseconds apart. It yields the CPU when another thread
// seems descheduled.
class Barrier {
  public:
    // What a thread throws instead of waiting for one that failed.
    struct Left {};

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
            if (is_left_.load(std::memory_order_relaxed)) throw Left{};
            if (spins < 4000) {
                relax();
            } else {
                sched_yield();
            }
        }
    }
    // A failed thread arrives at no barrier, so the others stop at the one they come to.
    void leave() { is_left_.store(true, std::memory_order_relaxed); }
    // Makes the barrier whole again, once no thread is at it.
    void mend() {
        arrived_.store(0, std::memory_order_relaxed);
        is_left_.store(false, std::memory_order_relaxed);
    }

  private:
    const int threads_;
    std::atomic<int> arrived_{0};
    std::atomic<int> turn_{0};
    std::atomic<bool> is_left_{false};
};

struct Work {
    virtual void run(int thread, int threads, Barrier& barrier) = 0;
    virtual ~Work() = default;
};

// Threads sleep between steps. The caller is thread 0.
class Pool {
  public:
    // Throws system_error where the system has no thread left.
    explicit Pool(int threads) : threads_(threads), barrier_(threads) {
        try {
            for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { serve(i); });
        } catch (...) {
            end();
            throw;
        }
    }
    ~Pool() { end(); }

    int threads() const { return threads_; }

    // Runs the work in all threads. Throws `Failure` once all have stopped, if one of them failed;
    // the pool then serves the next work as before.
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
        run_part(work, 0);
        while (left_.load(std::memory_order_acquire) > 0) relax();
        if (Status failed = failed_.exchange(DONE)) {
            barrier_.mend();
            throw Failure{failed};
        }
    }

  private:
    void run_part(Work& work, int index) noexcept {
        try {
            work.run(index, threads_, barrier_);
        } catch (const Barrier::Left&) {
            // Another thread has failed and said why.
        } catch (...) {
            failed_.store(describe_exception());
            barrier_.leave();
        }
    }

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
            run_part(*work, index);
            left_.fetch_sub(1, std::memory_order_release);
        }
    }

    void end() {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            stopped_ = true;
        }
        changed_.notify_all();
        for (auto& worker : workers_) worker.join();
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
    std::atomic<Status> failed_{DONE};
};

}  // namespace native
