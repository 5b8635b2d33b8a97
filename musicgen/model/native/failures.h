// Failures as status codes, because an exception must not leave a thread or an extern "C" function:
// the process would end.

#pragma once

#include <new>
#include <stdexcept>
#include <system_error>

namespace native {

// Results of the library's functions; library.py knows them.
enum Status { DONE = 0, NO_MEMORY = 1, NO_THREAD = 2, BROKEN = 3 };

// The failure of another thread, as an exception of this one.
struct Failure {
    Status status;
};

// Returns the status of the exception being handled. A size beyond all memory is a length_error.
inline Status describe_exception() noexcept {
    try {
        throw;
    } catch (const Failure& failure) {
        return failure.status;
    } catch (const std::bad_alloc&) {
        return NO_MEMORY;
    } catch (const std::length_error&) {
        return NO_MEMORY;
    } catch (const std::system_error&) {
        return NO_THREAD;
    } catch (...) {
        return BROKEN;
    }
}

// Runs `body` and returns its status. Every extern "C" function with work that can fail uses it.
template <typename Body>
Status status_of(Body body) noexcept {
    try {
        body();
        return DONE;
    } catch (...) {
        return describe_exception();
    }
}

}  // namespace native
