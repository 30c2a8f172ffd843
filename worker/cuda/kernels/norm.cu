// Normalisations over groups of channels and over all channels; statistics in f32.

#include "common.cuh"

// How many numbers, their mean, and the sum of their squared distances from it.
struct Moments {
    float count, mean, squares;
};

// Threads that read what there is of one group together, a part of a warp.
constexpr int READERS = 8;

// Moments of the groups in a piece of `piece` positions of an item: `[batch, pieces, groups]`, of `x`,
// `[batch, positions, channels]`. Blocks are pieces by items; their threads, a multiple of a warp, are channels by
// positions.
template <class N, int WIDTH>
__device__ void group_moments(const N *x, Moments *moments, int positions, int channels, int groups, int piece) {
    BLOCK_MEMORY(memory);
    // Of each line of threads, [channels]
    float *sums = reinterpret_cast<float *>(memory);
    float *squares = sums + blockDim.y * channels;
    int of_group = channels / groups;
    int first = blockIdx.x * piece;
    int last = min(first + piece, positions);
    const N *item = x + (int64_t)blockIdx.y * positions * channels;
    // Distances are those from the first number of a group in the piece, so that a large mean costs no digits.
    const N *pivots = item + (int64_t)first * channels;
    for (int channel = threadIdx.x * WIDTH; channel < channels; channel += blockDim.x * WIDTH) {
        float pivot[WIDTH], sum[WIDTH], square[WIDTH];
        for (int i = 0; i < WIDTH; i++) {
            pivot[i] = widened(pivots[(channel + i) / of_group * of_group]);
            sum[i] = square[i] = 0.0f;
        }
        for (int at = first + threadIdx.y; at < last; at += blockDim.y) {
            Pack<N, WIDTH> pack = read<N, WIDTH>(item + (int64_t)at * channels + channel);
            for (int i = 0; i < WIDTH; i++) {
                float distance = widened(pack.numbers[i]) - pivot[i];
                sum[i] += distance;
                square[i] += distance * distance;
            }
        }
        for (int i = 0; i < WIDTH; i++) {
            sums[threadIdx.y * channels + channel + i] = sum[i];
            squares[threadIdx.y * channels + channel + i] = square[i];
        }
    }
    __syncthreads();
    int thread = threadIdx.y * blockDim.x + threadIdx.x;
    int threads = blockDim.x * blockDim.y;
    // Every lane of a warp takes part in each exchange, whether it has a group or not.
    for (int begin = 0; begin < groups; begin += threads / READERS) {
        int group = begin + thread / READERS;
        float sum = 0.0f, square = 0.0f;
        if (group < groups) {
            for (int line = 0; line < (int)blockDim.y; line++) {
                for (int i = thread % READERS; i < of_group; i += READERS) {
                    sum += sums[line * channels + group * of_group + i];
                    square += squares[line * channels + group * of_group + i];
                }
            }
        }
        for (int bits = 1; bits < READERS; bits *= 2) {
            sum += exchanged(sum, bits);
            square += exchanged(square, bits);
        }
        if (group < groups && thread % READERS == 0) {
            float count = (float)(last - first) * of_group;
            float distance = sum / count;
            moments[((int64_t)blockIdx.y * gridDim.x + blockIdx.x) * groups + group] = {
                count,
                widened(pivots[group * of_group]) + distance,
                fmaxf(square - distance * sum, 0.0f),
            };
        }
    }
}

// `x` from its mean, over its deviation, times weight plus bias, under an activation. Blocks and threads are those of
// `group_moments`.
template <class N, int WIDTH>
__device__ void group_norm(const N *x, const Moments *moments, const N *weight, const N *bias, N *y, int positions,
                           int channels, int groups, int piece, float eps, int activation) {
    BLOCK_MEMORY(memory);
    float *scales = reinterpret_cast<float *>(memory);
    float *offsets = scales + channels;
    int of_group = channels / groups;
    int thread = threadIdx.y * blockDim.x + threadIdx.x;
    int threads = blockDim.x * blockDim.y;
    const Moments *pieces = moments + (int64_t)blockIdx.y * gridDim.x * groups;
    // Every lane of a warp takes part in each exchange, whether it has a group or not.
    for (int begin = 0; begin < groups; begin += threads / READERS) {
        int group = begin + thread / READERS;
        // Distances of means from the first, so that a large mean costs no digits.
        float count = 0.0f, sum = 0.0f, square = 0.0f;
        float pivot = group < groups ? pieces[group].mean : 0.0f;
        if (group < groups) {
            UNROLL_BY(4)
            for (int at = thread % READERS; at < (int)gridDim.x; at += READERS) {
                Moments of_piece = pieces[(int64_t)at * groups + group];
                float distance = of_piece.mean - pivot;
                count += of_piece.count;
                sum += of_piece.count * distance;
                square += of_piece.squares + of_piece.count * distance * distance;
            }
        }
        for (int bits = 1; bits < READERS; bits *= 2) {
            count += exchanged(count, bits);
            sum += exchanged(sum, bits);
            square += exchanged(square, bits);
        }
        if (group < groups) {
            float distance = sum / count, mean = pivot + distance;
            float inverse = rsqrtf(fmaxf(square - distance * sum, 0.0f) / count + eps);
            for (int i = thread % READERS; i < of_group; i += READERS) {
                int channel = group * of_group + i;
                float scale = inverse * widened(weight[channel]);
                scales[channel] = scale;
                offsets[channel] = widened(bias[channel]) - mean * scale;
            }
        }
    }
    __syncthreads();
    int first = blockIdx.x * piece;
    int last = min(first + piece, positions);
    int64_t item = (int64_t)blockIdx.y * positions * channels;
    for (int channel = threadIdx.x * WIDTH; channel < channels; channel += blockDim.x * WIDTH) {
        float scale[WIDTH], offset[WIDTH];
        for (int i = 0; i < WIDTH; i++) {
            scale[i] = scales[channel + i];
            offset[i] = offsets[channel + i];
        }
        for (int at = first + threadIdx.y; at < last; at += blockDim.y) {
            int64_t place = item + (int64_t)at * channels + channel;
            Pack<N, WIDTH> pack = read<N, WIDTH>(x + place);
            for (int i = 0; i < WIDTH; i++) {
                float number = widened(pack.numbers[i]) * scale[i] + offset[i];
                pack.numbers[i] = narrowed<N>(activated(number, activation));
            }
            write<N, WIDTH>(y + place, pack);
        }
    }
}

__device__ inline float sum_of_warp(float x) {
    for (int bits = 16; bits > 0; bits /= 2) {
        x += exchanged(x, bits);
    }
    return x;
}

// Each row of `x`, `[rows, channels]`, from its mean, over its deviation, times weight plus bias. A warp has a row.
template <class N, int WIDTH>
__device__ void layer_norm(const N *x, const N *weight, const N *bias, N *y, int rows, int channels, float eps) {
    // Whole warps leave.
    int row = blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= rows) {
        return;
    }
    x += (int64_t)row * channels;
    y += (int64_t)row * channels;
    int first = threadIdx.x * WIDTH, step = blockDim.x * WIDTH;
    float sum = 0.0f;
    for (int channel = first; channel < channels; channel += step) {
        Pack<N, WIDTH> pack = read<N, WIDTH>(x + channel);
        for (int i = 0; i < WIDTH; i++) {
            sum += widened(pack.numbers[i]);
        }
    }
    float mean = sum_of_warp(sum) / channels;
    float squares = 0.0f;
    for (int channel = first; channel < channels; channel += step) {
        Pack<N, WIDTH> pack = read<N, WIDTH>(x + channel);
        for (int i = 0; i < WIDTH; i++) {
            float distance = widened(pack.numbers[i]) - mean;
            squares += distance * distance;
        }
    }
    float inverse = rsqrtf(sum_of_warp(squares) / channels + eps);
    for (int channel = first; channel < channels; channel += step) {
        Pack<N, WIDTH> pack = read<N, WIDTH>(x + channel), scale = read<N, WIDTH>(weight + channel);
        Pack<N, WIDTH> offset = read<N, WIDTH>(bias + channel);
        for (int i = 0; i < WIDTH; i++) {
            float number = (widened(pack.numbers[i]) - mean) * inverse;
            pack.numbers[i] = narrowed<N>(number * widened(scale.numbers[i]) + widened(offset.numbers[i]));
        }
        write<N, WIDTH>(y + channel, pack);
    }
}

#define NORMS(N, WIDTH, width) \
    KERNEL(group_moments_##N##_##width, const N *x, Moments *moments, int positions, int channels, int groups, int piece) { \
        group_moments<N, WIDTH>(x, moments, positions, channels, groups, piece); \
    } \
    KERNEL(group_norm_##N##_##width, const N *x, const Moments *moments, const N *weight, const N *bias, N *y, \
           int positions, int channels, int groups, int piece, float eps, int activation) { \
        group_norm<N, WIDTH>(x, moments, weight, bias, y, positions, channels, groups, piece, eps, activation); \
    } \
    KERNEL(layer_norm_##N##_##width, const N *x, const N *weight, const N *bias, N *y, int rows, int channels, float eps) { \
        layer_norm<N, WIDTH>(x, weight, bias, y, rows, channels, eps); \
    }

OF_EACH_TYPE(NORMS)
