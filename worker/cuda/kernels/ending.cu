// What follows a product: bias, shift, gate, residual, activation, each number read and written once.

#include "common.cuh"

// `sums` are `[rows, columns]`, or `[rows, 2 · columns]` where the second half gates the first; `y` and `residual` are
// `[rows, columns]`, `bias` is as wide as `sums`, `shift` `[items, as wide]` with an item for every `rows_of_item` rows,
// or one for all. What is null is left out.
template <class N, int WIDTH>
__device__ void ending(const N *sums, const N *bias, const N *shift, const N *residual, N *y, int rows, int columns,
                       int rows_of_item, int has_items, int activation) {
    bool gates = activation == GEGLU;
    int width = gates ? 2 * columns : columns;
    int packs = columns / WIDTH;
    int64_t count = (int64_t)rows * packs, step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t at = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; at < count; at += step) {
        int row = (int)(at / packs), column = (int)(at % packs) * WIDTH;
        int item = has_items ? row / rows_of_item : 0;
        // The sum at a column, with what is added to all rows of an item.
        auto shifted = [&](int column, float (&numbers)[WIDTH]) {
            Pack<N, WIDTH> pack = read<N, WIDTH>(sums + (int64_t)row * width + column);
            for (int i = 0; i < WIDTH; i++) {
                numbers[i] = widened(pack.numbers[i]);
            }
            const N *added[2] = {bias, shift ? shift + (int64_t)item * width : nullptr};
            for (int which = 0; which < 2; which++) {
                if (added[which]) {
                    Pack<N, WIDTH> more = read<N, WIDTH>(added[which] + column);
                    for (int i = 0; i < WIDTH; i++) {
                        numbers[i] += widened(more.numbers[i]);
                    }
                }
            }
        };
        float numbers[WIDTH], gate[WIDTH];
        shifted(column, numbers);
        if (gates) {
            shifted(columns + column, gate);
            for (int i = 0; i < WIDTH; i++) {
                numbers[i] *= gelu(gate[i]);
            }
        }
        int64_t place = (int64_t)row * columns + column;
        if (residual) {
            Pack<N, WIDTH> more = read<N, WIDTH>(residual + place);
            for (int i = 0; i < WIDTH; i++) {
                numbers[i] += widened(more.numbers[i]);
            }
        }
        Pack<N, WIDTH> made;
        for (int i = 0; i < WIDTH; i++) {
            made.numbers[i] = narrowed<N>(activated(numbers[i], activation));
        }
        write<N, WIDTH>(y + place, made);
    }
}

#define ENDINGS(N, WIDTH, width) \
    KERNEL(ending_##N##_##width, const N *sums, const N *bias, const N *shift, const N *residual, N *y, int rows, \
           int columns, int rows_of_item, int has_items, int activation) { \
        ending<N, WIDTH>(sums, bias, shift, residual, y, rows, columns, rows_of_item, has_items, activation); \
    }

OF_EACH_TYPE(ENDINGS)
