// What the kernels share. nvcc compiles them for GPUs; a C++ compiler does with EMULATED, for tests that have none.
#pragma once

#ifdef EMULATED
#include "emulator.hpp"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

typedef float f32;
typedef __half f16;
typedef __nv_bfloat16 bf16;

// A kernel that is found by its name.
#define KERNEL(name, ...) extern "C" __global__ void name(__VA_ARGS__)
#define PRAGMA(text) _Pragma(#text)
// Every round of the loop behind it written out, so that what is indexed by its counter can lie in registers.
#define UNROLL PRAGMA(unroll)
// Some rounds of it at a time, so that what they read is on its way together.
#define UNROLL_BY(rounds) PRAGMA(unroll rounds)
// Memory of a block, whose size a launch says.
#define BLOCK_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]

__device__ inline float widened(f32 x) { return x; }
__device__ inline float widened(f16 x) { return __half2float(x); }
__device__ inline float widened(bf16 x) { return __bfloat162float(x); }

template <class N> __device__ N narrowed(float x);
template <> __device__ inline f32 narrowed<f32>(float x) { return x; }
template <> __device__ inline f16 narrowed<f16>(float x) { return __float2half_rn(x); }
template <> __device__ inline bf16 narrowed<bf16>(float x) { return __float2bfloat16_rn(x); }

// Two numbers of 16 bits, the first in the lower half.
template <class N> __device__ uint32_t pair(float low, float high);
template <> __device__ inline uint32_t pair<f16>(float low, float high) {
    __half2 both = __floats2half2_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&both);
}
template <> __device__ inline uint32_t pair<bf16>(float low, float high) {
    __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&both);
}

// To the last bit but one or two; nothing is left of what is less than 2⁻¹²⁶.
__device__ inline float power_of_two(float x) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
}

// To the last bit but one.
__device__ inline float inverse(float x) {
    float one;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(one) : "f"(x));
    return one;
}

// The value of the lane whose number differs in `bits`.
__device__ inline float exchanged(float x, int bits) { return __shfl_xor_sync(0xffffffffu, x, bits); }

// Multiplies 16×16 by 16×8 numbers and adds, in f32: PTX ISA, "Matrix Fragments for mma.m16n8k16". Of the left matrix a
// lane holds rows `lane / 4` and 8 below, columns `2 · (lane mod 4)` and 8 to the right, two side by side in a register;
// of the right one those rows and columns `lane / 4`; of the sums rows `lane / 4` and 8 below, two columns each.
__device__ inline void multiply(float (&sums)[4], const uint32_t (&left)[4], uint32_t right0, uint32_t right1, f16) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), "r"(right1));
}
__device__ inline void multiply(float (&sums)[4], const uint32_t (&left)[4], uint32_t right0, uint32_t right1, bf16) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), "r"(right1));
}

// Four matrices of 8×8 numbers, of which lane *i* says where row *i mod 8* of matrix *i / 8* begins; a lane gets, of each,
// the numbers in row `lane / 4`, columns `2 · (lane mod 4)` and the next.
template <class N> __device__ inline void straight(uint32_t (&parts)[4], const N *row) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3])
                 : "r"(address)
                 : "memory");
}

// The same with rows and columns exchanged.
template <class N> __device__ inline void turned(uint32_t (&parts)[4], const N *row) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3])
                 : "r"(address)
                 : "memory");
}

// Sends 16 bytes to the memory of a block, or as many zeros.
__device__ inline void send(void *to, const void *from, bool is_there) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    int bytes = is_there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
}

// Ends what is sent together.
__device__ inline void seal() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for all that this thread has sent.
__device__ inline void all_arrived() { asm volatile("cp.async.wait_group 0;" ::: "memory"); }
#endif

// As many numbers as one instruction reads, where `WIDTH` of them are 16 bytes.
template <class N, int WIDTH> struct alignas(WIDTH * sizeof(N)) Pack {
    N numbers[WIDTH];
};

// Of every type, the most that 16 bytes hold.
template <class N> constexpr int WIDE = 16 / sizeof(N);

template <class N, int WIDTH> __device__ inline Pack<N, WIDTH> read(const N *from) {
    return *reinterpret_cast<const Pack<N, WIDTH> *>(from);
}

template <class N, int WIDTH> __device__ inline void write(N *to, const Pack<N, WIDTH> &pack) {
    *reinterpret_cast<Pack<N, WIDTH> *>(to) = pack;
}

// What follows a sum; `known` in launch.rs has the same numbers.
enum Activation { IDENTITY = 0, RELU = 1, SILU = 2, QUICK_GELU = 3, GELU = 4, GEGLU = 5 };

constexpr float LOG2_E = 1.4426950408889634f;

__device__ inline float sigmoid(float x) { return inverse(1.0f + power_of_two(-x * LOG2_E)); }

// By the normal distribution function, to 1e-7 times the number (Abramowitz and Stegun 1964, 7.1.26).
__device__ inline float gelu(float x) {
    float z = fabsf(x) * 0.70710678118654752f;
    float t = inverse(1.0f + 0.3275911f * z);
    float sum = 1.061405429f;
    sum = sum * t - 1.453152027f;
    sum = sum * t + 1.421413741f;
    sum = sum * t - 0.284496736f;
    sum = sum * t + 0.254829592f;
    float beyond = 0.5f * sum * t * power_of_two(-z * z * LOG2_E);
    return x * (x < 0.0f ? beyond : 1.0f - beyond);
}

__device__ inline float activated(float x, int activation) {
    switch (activation) {
    case RELU: return x < 0.0f ? 0.0f : x;
    case SILU: return x * sigmoid(x);
    case QUICK_GELU: return x * sigmoid(1.702f * x);
    case GELU: return gelu(x);
    default: return x;
    }
}

// Every kernel of one number at a time, and of as many as 16 bytes hold.
#define OF_EACH_TYPE(OF) \
    OF(f32, 1, narrow) \
    OF(f32, WIDE<f32>, wide) \
    OF(f16, 1, narrow) \
    OF(f16, WIDE<f16>, wide) \
    OF(bf16, 1, narrow) \
    OF(bf16, WIDE<bf16>, wide)
