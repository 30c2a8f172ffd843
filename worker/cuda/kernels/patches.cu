// The patches of a convolution, side by side, for a matrix product.

#include "common.cuh"

// The patches under `rows` rows of an output from `first_row` on: `[batch, rows, out_width, kernel, kernel, channels]` of
// `x`, `[batch, height, width, channels]`, seen at `[seen_height, seen_width]` by nearest neighbours between zeros.
template <class N, int WIDTH>
__device__ void patches(const N *x, N *y, int batch, int height, int width, int channels, int seen_height, int seen_width,
                        int kernel, int stride, int before, int out_width, int first_row, int rows) {
    int packs = channels / WIDTH;
    int64_t count = (int64_t)batch * rows * out_width * kernel * kernel * packs;
    int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t at = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; at < count; at += step) {
        int64_t left = at;
        int channel = (int)(left % packs) * WIDTH;
        left /= packs;
        int tap_x = (int)(left % kernel);
        left /= kernel;
        int tap_y = (int)(left % kernel);
        left /= kernel;
        int out_x = (int)(left % out_width);
        left /= out_width;
        int out_y = first_row + (int)(left % rows);
        int item = (int)(left / rows);
        int seen_y = out_y * stride + tap_y - before, seen_x = out_x * stride + tap_x - before;
        Pack<N, WIDTH> pack;
        if (seen_y >= 0 && seen_y < seen_height && seen_x >= 0 && seen_x < seen_width) {
            int from_y = (int)((int64_t)seen_y * height / seen_height);
            int from_x = (int)((int64_t)seen_x * width / seen_width);
            pack = read<N, WIDTH>(x + (((int64_t)item * height + from_y) * width + from_x) * channels + channel);
        } else {
            for (int i = 0; i < WIDTH; i++) {
                pack.numbers[i] = narrowed<N>(0.0f);
            }
        }
        write<N, WIDTH>(y + at * WIDTH, pack);
    }
}

#define PATCHES(N, WIDTH, wideness) \
    KERNEL(patches_##N##_##wideness, const N *x, N *y, int batch, int height, int width, int channels, int seen_height, \
           int seen_width, int kernel, int stride, int before, int out_width, int first_row, int rows) { \
        patches<N, WIDTH>(x, y, batch, height, width, channels, seen_height, seen_width, kernel, stride, before, out_width, \
                          first_row, rows); \
    }

OF_EACH_TYPE(PATCHES)
