#include "emulator.hpp"

#include <map>
#include <memory>
#include <ucontext.h>
#include <vector>

namespace emulator {

Index grid, block, block_at, thread_at;
unsigned char *memory;

namespace {

constexpr int WARP = 32;
constexpr size_t STACK_BYTES = 256 << 10;

// Threads that wait for each other.
struct Barrier {
    int members = 0, arrived = 0;
    unsigned passed = 0;
};

// 16 bytes on their way.
struct Sent {
    void *to;
    const void *from;
};

struct Thread {
    ucontext_t context;
    std::vector<Sent> sent;
    size_t sealed;
    std::unique_ptr<unsigned char[]> stack;
    Index at;
    bool is_over;
};

std::vector<Thread> threads;
std::vector<Barrier> warps;
std::vector<unsigned char> messages;
Barrier whole;
ucontext_t scheduler;
size_t running;
const Kernel *kernel_now;
void **arguments_now;

std::map<std::string, Kernel> &kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

void yield() { swapcontext(&threads[running].context, &scheduler); }

void pass(Barrier &barrier) {
    unsigned passed = barrier.passed;
    if (++barrier.arrived == barrier.members) {
        barrier.arrived = 0;
        barrier.passed++;
    }
    while (barrier.passed == passed) {
        yield();
    }
}

// A thread that is over is waited for no more.
void leave(Barrier &barrier) {
    if (--barrier.members > 0 && barrier.arrived == barrier.members) {
        barrier.arrived = 0;
        barrier.passed++;
    }
}

void run_thread() {
    (*kernel_now)(arguments_now);
    threads[running].is_over = true;
    leave(warps[running / WARP]);
    leave(whole);
    yield();
}

void run_block() {
    size_t count = threads.size();
    whole = {(int)count};
    warps.assign((count + WARP - 1) / WARP, {});
    for (size_t i = 0; i < count; i++) {
        warps[i / WARP].members++;
        Thread &thread = threads[i];
        thread.is_over = false;
        thread.sent.clear();
        thread.sealed = 0;
        thread.at = {(unsigned)i % block.x, (unsigned)i / block.x % block.y, (unsigned)i / (block.x * block.y)};
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.get();
        thread.context.uc_stack.ss_size = STACK_BYTES;
        thread.context.uc_link = nullptr;
        makecontext(&thread.context, run_thread, 0);
    }
    for (size_t over = 0; over < count;) {
        over = 0;
        for (running = 0; running < count; running++) {
            if (!threads[running].is_over) {
                thread_at = threads[running].at;
                swapcontext(&scheduler, &threads[running].context);
            }
            over += threads[running].is_over;
        }
    }
}

} // namespace

Registered::Registered(const char *name, Kernel kernel) { kernels()[name] = std::move(kernel); }

void wait_for_block() { pass(whole); }
void wait_for_warp() { pass(warps[running / WARP]); }
int lane() { return (int)(running % WARP); }
void send(void *to, const void *from) { threads[running].sent.push_back({to, from}); }
void seal() { threads[running].sealed = threads[running].sent.size(); }
void arrive() {
    Thread &thread = threads[running];
    for (size_t i = 0; i < thread.sealed; i++) {
        const Sent &sent = thread.sent[i];
        if (sent.from) {
            std::memcpy(sent.to, sent.from, 16);
        } else {
            std::memset(sent.to, 0, 16);
        }
    }
    thread.sent.erase(thread.sent.begin(), thread.sent.begin() + thread.sealed);
    thread.sealed = 0;
}
unsigned char *told(int lane) { return messages.data() + (running / WARP * WARP + lane) * 64; }

} // namespace emulator

// Runs a kernel; 0 where there is none of that name. One at a time.
extern "C" int emulate(const char *name, const unsigned *grid, const unsigned *block, unsigned memory_bytes,
                       void **arguments) {
    using namespace emulator;
    auto found = kernels().find(name);
    if (found == kernels().end()) {
        return 0;
    }
    kernel_now = &found->second;
    arguments_now = arguments;
    emulator::grid = {grid[0], grid[1], grid[2]};
    emulator::block = {block[0], block[1], block[2]};
    size_t count = (size_t)block[0] * block[1] * block[2];
    threads.resize(count);
    for (Thread &thread : threads) {
        thread.stack = std::make_unique<unsigned char[]>(STACK_BYTES);
    }
    messages.assign((count + WARP - 1) / WARP * WARP * 64, 0);
    // As on a GPU it holds anything.
    std::vector<unsigned char> room(memory_bytes + 16, 0xff);
    memory = room.data() + (16 - (uintptr_t)room.data() % 16) % 16;
    for (unsigned z = 0; z < grid[2]; z++) {
        for (unsigned y = 0; y < grid[1]; y++) {
            for (unsigned x = 0; x < grid[0]; x++) {
                block_at = {x, y, z};
                run_block();
            }
        }
    }
    threads.clear();
    return 1;
}
