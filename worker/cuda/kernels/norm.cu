// Normalisations over groups of channels and over all channels; statistics in f32.

#include "common.cuh"

// How many numbers, their mean, and the sum of their squared distances from it.
struct Moments {
    float count, mean, squares;
};

// The moments of two sets together (Chan, Golub and LeVeque 1979).
__device__ inline Moments together(Moments a, Moments b) {
    float count = a.count + b.count;
    if (b.count == 0.0f) {
        return a;
    }
    float distance = b.mean - a.mean, share = b.count / count;
    return {count, a.mean + distance * share, a.squares + b.squares + distance * distance * a.count * share};
}

// Moments of the groups in a piece of `piece` positions of an item: `[batch, pieces, groups]`, of `x`,
// `[batch, positions, channels]`. Blocks are pieces by items; their threads are channels by positions.
template <class N, int WIDTH>
__device__ void group_moments(const N *x, Moments *moments, int positions, int channels, int groups, int piece) {
    BLOCK_MEMORY(memory);
    // Of each line of threads, [channels]
    float *means = reinterpret_cast<float *>(memory);
    float *squares = means + blockDim.y * channels;
    int first = blockIdx.x * piece;
    int last = min(first + piece, positions);
    const N *item = x + (int64_t)blockIdx.y * positions * channels;
    // How many positions a line of threads sees.
    auto seen = [&](int line) { return first + line < last ? (last - first - line - 1) / (int)blockDim.y + 1 : 0; };
    for (int channel = threadIdx.x * WIDTH; channel < channels; channel += blockDim.x * WIDTH) {
        // Distances from the first number that is seen, so that a large mean costs no digits.
        float pivot[WIDTH], sum[WIDTH], square[WIDTH];
        for (int i = 0; i < WIDTH; i++) {
            pivot[i] = sum[i] = square[i] = 0.0f;
        }
        for (int at = first + threadIdx.y; at < last; at += blockDim.y) {
            Pack<N, WIDTH> pack = read<N, WIDTH>(item + (int64_t)at * channels + channel);
            bool is_first = at == first + (int)threadIdx.y;
            for (int i = 0; i < WIDTH; i++) {
                float number = widened(pack.numbers[i]);
                pivot[i] = is_first ? number : pivot[i];
                float distance = number - pivot[i];
                sum[i] += distance;
                square[i] += distance * distance;
            }
        }
        float count = fmaxf((float)seen(threadIdx.y), 1.0f);
        for (int i = 0; i < WIDTH; i++) {
            float mean = sum[i] / count;
            means[threadIdx.y * channels + channel + i] = pivot[i] + mean;
            squares[threadIdx.y * channels + channel + i] = square[i] - mean * sum[i];
        }
    }
    __syncthreads();
    int of_group = channels / groups;
    int thread = threadIdx.y * blockDim.x + threadIdx.x;
    for (int group = thread; group < groups; group += blockDim.x * blockDim.y) {
        Moments all = {0.0f, 0.0f, 0.0f};
        for (int line = 0; line < (int)blockDim.y; line++) {
            float count = (float)seen(line);
            for (int channel = group * of_group; channel < (group + 1) * of_group; channel++) {
                all = together(all, {count, means[line * channels + channel], squares[line * channels + channel]});
            }
        }
        moments[((int64_t)blockIdx.y * gridDim.x + blockIdx.x) * groups + group] = all;
    }
}

// Threads that read the moments of one group together, a part of a warp.
constexpr int READERS = 8;

// `x` from its mean, over its deviation, times weight plus bias, under an activation. Blocks and threads are those of
// `group_moments`; the threads of a block are a multiple of a warp.
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
        Moments all = {0.0f, 0.0f, 0.0f};
        if (group < groups) {
            for (int at = thread % READERS; at < (int)gridDim.x; at += READERS) {
                all = together(all, pieces[(int64_t)at * groups + group]);
            }
        }
        for (int bits = 1; bits < READERS; bits *= 2) {
            Moments other = {exchanged(all.count, bits), exchanged(all.mean, bits), exchanged(all.squares, bits)};
            // The same order on both sides, so that both have the same sum.
            bool is_second = thread & bits;
            all = is_second ? together(other, all) : together(all, other);
        }
        if (group < groups) {
            float inverse = rsqrtf(all.squares / all.count + eps);
            for (int i = thread % READERS; i < of_group; i += READERS) {
                int channel = group * of_group + i;
                float scale = inverse * widened(weight[channel]);
                scales[channel] = scale;
                offsets[channel] = widened(bias[channel]) - all.mean * scale;
            }
        }
    }
    __syncthreads();
    int first = blockIdx.x * piece;
    int last = min(first + piece, positions);
    int64_t item = (int64_t)blockIdx.y * positions * channels;
    for (int channel = threadIdx.x * WIDTH; channel < channels; channel += blockDim.x * WIDTH) {
        for (int at = first + threadIdx.y; at < last; at += blockDim.y) {
            int64_t place = item + (int64_t)at * channels + channel;
            Pack<N, WIDTH> pack = read<N, WIDTH>(x + place);
            for (int i = 0; i < WIDTH; i++) {
                float number = widened(pack.numbers[i]) * scales[channel + i] + offsets[channel + i];
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
