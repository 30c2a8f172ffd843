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
// Memory of a block, whose size a launch says.
#define BLOCK_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]

__device__ inline float widened(f32 x) { return x; }
__device__ inline float widened(f16 x) { return __half2float(x); }
__device__ inline float widened(bf16 x) { return __bfloat162float(x); }

template <class N> __device__ N narrowed(float x);
template <> __device__ inline f32 narrowed<f32>(float x) { return x; }
template <> __device__ inline f16 narrowed<f16>(float x) { return __float2half_rn(x); }
template <> __device__ inline bf16 narrowed<bf16>(float x) { return __float2bfloat16_rn(x); }

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
// the numbers in rows `2 · (lane mod 4)` and the next, column `lane / 4`.
template <class N> __device__ inline void turned(uint32_t (&parts)[4], const N *row) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3])
                 : "r"(address)
                 : "memory");
}
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

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// Exact, by the normal distribution function.
__device__ inline float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }

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
