// A GPU of one block at a time, on a CPU: every thread of a block is a context of its own, and they take turns where they
// wait for each other. What depends on a race between barriers shows as it would not on a GPU, in one order only.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <tuple>
#include <utility>

namespace emulator {

struct Index {
    unsigned x, y, z;
};

extern Index grid, block, block_at, thread_at;
// Memory of the block that runs.
extern unsigned char *memory;

// Waits for the other threads of the block, or of the warp.
void wait_for_block();
void wait_for_warp();
// Number of the thread that runs in its warp.
int lane();
// Notes 16 bytes that are to be copied, or made zero where they come from nowhere; ends those that go together; copies
// what was ended. What is read before is what was there before.
void send(void *to, const void *from);
void seal();
void arrive();
// Room for what the lanes of a warp tell each other: 64 bytes for each.
unsigned char *told(int lane);

using Kernel = std::function<void(void **)>;

struct Registered {
    Registered(const char *name, Kernel kernel);
};

template <class... A, size_t... I>
void called(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<A> *>(arguments[I])...);
}

template <class... A> Kernel kernel(void (*kernel)(A...)) {
    return [kernel](void **arguments) { called(kernel, arguments, std::index_sequence_for<A...>()); };
}

// Tells the warp something, and calls `f` when all have.
template <class T, class F> auto among(const T &mine, F f) {
    static_assert(sizeof(T) <= 64);
    std::memcpy(told(lane()), &mine, sizeof(T));
    wait_for_warp();
    auto heard = f([](int lane) {
        T theirs;
        std::memcpy(&theirs, told(lane), sizeof(T));
        return theirs;
    });
    wait_for_warp();
    return heard;
}

// 16 bits of an IEEE 754 half.
struct f16 {
    uint16_t bits = 0;
};
// The upper 16 bits of an IEEE 754 single.
struct bf16 {
    uint16_t bits = 0;
};

} // namespace emulator

using emulator::bf16;
using emulator::f16;
using std::max;
using std::min;
typedef float f32;

#define KERNEL(name, ...) \
    static void name(__VA_ARGS__); \
    static emulator::Registered registered_##name(#name, emulator::kernel(name)); \
    static void name(__VA_ARGS__)
#define BLOCK_MEMORY(name) unsigned char *name = emulator::memory
#define UNROLL
#define UNROLL_BY(rounds)
#define __device__

#define gridDim emulator::grid
#define blockDim emulator::block
#define blockIdx emulator::block_at
#define threadIdx emulator::thread_at

inline void __syncthreads() { emulator::wait_for_block(); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }

inline float widened(f32 x) { return x; }
inline float widened(f16 x) {
    _Float16 half;
    std::memcpy(&half, &x.bits, 2);
    return half;
}
inline float widened(bf16 x) {
    uint32_t bits = (uint32_t)x.bits << 16;
    float wide;
    std::memcpy(&wide, &bits, 4);
    return wide;
}

template <class N> N narrowed(float x);
template <> inline f32 narrowed<f32>(float x) { return x; }
template <> inline f16 narrowed<f16>(float x) {
    _Float16 half = x;
    f16 narrow;
    std::memcpy(&narrow.bits, &half, 2);
    return narrow;
}
template <> inline bf16 narrowed<bf16>(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    // To the nearest, and to the even one of two.
    return {(uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

inline float exchanged(float x, int bits) {
    return emulator::among(x, [bits](auto of) { return of(emulator::lane() ^ bits); });
}

template <class N> float number(uint32_t pair, int which) {
    N narrow;
    narrow.bits = (uint16_t)(pair >> 16 * which);
    return widened(narrow);
}

template <class N> void multiply(float (&sums)[4], const uint32_t (&left)[4], uint32_t right0, uint32_t right1, N) {
    struct Parts {
        uint32_t left[4], right[2];
    } mine = {{left[0], left[1], left[2], left[3]}, {right0, right1}};
    emulator::among(mine, [&](auto of) {
        int lane = emulator::lane();
        for (int i = 0; i < 4; i++) {
            int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            for (int at = 0; at < 16; at++) {
                uint32_t from_left = of(row % 8 * 4 + at % 8 / 2).left[row / 8 + at / 8 * 2];
                uint32_t from_right = of(column * 4 + at % 8 / 2).right[at / 8];
                sums[i] += number<N>(from_left, at % 2) * number<N>(from_right, at % 2);
            }
        }
        return 0;
    });
}

template <class N> uint32_t pair(float low, float high) {
    return narrowed<N>(low).bits | (uint32_t)narrowed<N>(high).bits << 16;
}

inline float power_of_two(float x) { return std::exp2(x); }
inline float inverse(float x) { return 1.0f / x; }

template <class N> void straight(uint32_t (&parts)[4], const N *row) {
    emulator::among(row, [&](auto of) {
        int lane = emulator::lane();
        for (int matrix = 0; matrix < 4; matrix++) {
            const N *numbers = of(matrix * 8 + lane / 4) + lane % 4 * 2;
            parts[matrix] = numbers[0].bits | (uint32_t)numbers[1].bits << 16;
        }
        return 0;
    });
}

template <class N> void turned(uint32_t (&parts)[4], const N *row) {
    emulator::among(row, [&](auto of) {
        int lane = emulator::lane();
        for (int matrix = 0; matrix < 4; matrix++) {
            const N *first = of(matrix * 8 + lane % 4 * 2), *second = of(matrix * 8 + lane % 4 * 2 + 1);
            parts[matrix] = first[lane / 4].bits | (uint32_t)second[lane / 4].bits << 16;
        }
        return 0;
    });
}

inline void send(void *to, const void *from, bool is_there) { emulator::send(to, is_there ? from : nullptr); }

inline void seal() { emulator::seal(); }

inline void all_arrived() { emulator::arrive(); }
