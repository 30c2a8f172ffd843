// Attention with a running softmax (Dao 2023), on tensor cores, from activations as they lie.

#include "common.cuh"

// Queries of a warp, and of a block.
constexpr int WARP_QUERIES = 16;
constexpr int WARPS = 4;
constexpr int QUERIES = WARP_QUERIES * WARPS;
// Keys that are met at a time.
constexpr int KEYS = 64;
// Numbers behind a row in the memory of a block, so that the rows that are read together lie in different banks.
constexpr int APART = 8;

template <class N> __device__ inline uint32_t pair(N low, N high) {
    Pack<N, 2> both = {{low, high}};
    return *reinterpret_cast<uint32_t *>(&both);
}

// `count` rows of a head, `step` numbers apart, into the memory of a block; zeros behind their `channels`, and for rows
// that there are not.
template <class N, int WIDTH>
__device__ inline void gather(N *rows, const N *from, int count, int most, int64_t step, int channels) {
    constexpr int PACK = WIDE<N>;
    for (int at = threadIdx.x; at < most * (WIDTH / PACK); at += blockDim.x) {
        int row = at / (WIDTH / PACK), channel = at % (WIDTH / PACK) * PACK;
        Pack<N, PACK> pack;
        if (row < count && channel < channels) {
            pack = read<N, PACK>(from + row * step + channel);
        } else {
            for (int i = 0; i < PACK; i++) {
                pack.numbers[i] = narrowed<N>(0.0f);
            }
        }
        write<N, PACK>(rows + row * (WIDTH + APART) + channel, pack);
    }
}

// `q` and `y` are `[batch, queries, heads, channels]`, `k` and `v` `[batch, keys, heads, channels]`; channels are a
// multiple of 8, and `WIDTH`, one of 16, is no less. Blocks are strips of queries by heads by items.
template <class N, int WIDTH>
__device__ void attention(const N *q, const N *k, const N *v, N *y, int queries, int keys, int channels, int is_causal,
                          float scale) {
    static_assert(WIDTH % 16 == 0 && WIDE<N> == 8, "a matrix is 16 numbers of 16 bits deep");
    BLOCK_MEMORY(memory);
    N *k_rows = reinterpret_cast<N *>(memory);
    N *v_rows = k_rows + KEYS * (WIDTH + APART);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    // Rows and columns of matrices that this lane holds.
    int line = lane / 4, twin = lane % 4 * 2;
    int heads = gridDim.y, head = blockIdx.y, item = blockIdx.z;
    int64_t step = (int64_t)heads * channels;
    int first = blockIdx.x * QUERIES;
    const N *q_item = q + ((int64_t)item * queries + first) * step + head * channels;
    const N *k_item = k + (int64_t)item * keys * step + head * channels;
    const N *v_item = v + (int64_t)item * keys * step + head * channels;

    // Queries come through the memory that keys get next.
    static_assert(QUERIES <= KEYS, "the rows of queries find room");
    gather<N, WIDTH>(k_rows, q_item, min(queries - first, QUERIES), QUERIES, step, channels);
    __syncthreads();
    uint32_t left[WIDTH / 16][4];
    for (int part = 0; part < WIDTH / 16; part++) {
        for (int i = 0; i < 4; i++) {
            int row = warp * WARP_QUERIES + line + i % 2 * 8, channel = part * 16 + twin + i / 2 * 8;
            left[part][i] = *reinterpret_cast<uint32_t *>(k_rows + row * (WIDTH + APART) + channel);
        }
    }

    float sums[WIDTH / 8][4] = {};
    // Of the two queries of this lane: the largest score so far, and the sum of what is above it.
    float largest[2] = {-INFINITY, -INFINITY}, total[2] = {0.0f, 0.0f};
    // Of a power of two.
    float steepness = scale * 1.4426950408889634f;
    int met = is_causal ? min(keys, first + QUERIES) : keys;
    for (int start = 0; start < met; start += KEYS) {
        __syncthreads();
        gather<N, WIDTH>(k_rows, k_item + start * step, keys - start, KEYS, step, channels);
        gather<N, WIDTH>(v_rows, v_item + start * step, keys - start, KEYS, step, channels);
        __syncthreads();
        float scores[KEYS / 8][4] = {};
        for (int tile = 0; tile < KEYS / 8; tile++) {
            const N *row = k_rows + (tile * 8 + line) * (WIDTH + APART) + twin;
            for (int part = 0; part < WIDTH / 16; part++) {
                uint32_t right0 = *reinterpret_cast<const uint32_t *>(row + part * 16);
                uint32_t right1 = *reinterpret_cast<const uint32_t *>(row + part * 16 + 8);
                multiply(scores[tile], left[part], right0, right1, N());
            }
        }
        float larger[2] = {largest[0], largest[1]};
        for (int tile = 0; tile < KEYS / 8; tile++) {
            for (int i = 0; i < 4; i++) {
                int key = start + tile * 8 + twin + i % 2, query = first + warp * WARP_QUERIES + line + i / 2 * 8;
                bool is_met = key < keys && (!is_causal || key <= query);
                scores[tile][i] = is_met ? scores[tile][i] * steepness : -INFINITY;
                larger[i / 2] = fmaxf(larger[i / 2], scores[tile][i]);
            }
        }
        // The first key is met by every query, so that this is a number from the first keys on.
        for (int i = 0; i < 2; i++) {
            larger[i] = fmaxf(larger[i], exchanged(larger[i], 1));
            larger[i] = fmaxf(larger[i], exchanged(larger[i], 2));
            float shrink = exp2f(largest[i] - larger[i]);
            largest[i] = larger[i];
            total[i] *= shrink;
            for (int tile = 0; tile < WIDTH / 8; tile++) {
                sums[tile][2 * i] *= shrink;
                sums[tile][2 * i + 1] *= shrink;
            }
        }
        for (int tile = 0; tile < KEYS / 8; tile++) {
            for (int i = 0; i < 4; i++) {
                scores[tile][i] = exp2f(scores[tile][i] - largest[i / 2]);
                total[i / 2] += scores[tile][i];
            }
        }
        // What a lane holds of the scores is what it holds of a left matrix.
        for (int part = 0; part < KEYS / 16; part++) {
            const float *low = scores[2 * part], *high = scores[2 * part + 1];
            uint32_t weights[4] = {
                pair(narrowed<N>(low[0]), narrowed<N>(low[1])),
                pair(narrowed<N>(low[2]), narrowed<N>(low[3])),
                pair(narrowed<N>(high[0]), narrowed<N>(high[1])),
                pair(narrowed<N>(high[2]), narrowed<N>(high[3])),
            };
            // Lanes name 8 keys, the 8 behind, and both 8 channels to the right.
            const N *row = v_rows + (part * 16 + lane % 16) * (WIDTH + APART) + lane / 16 * 8;
            for (int tile = 0; tile < WIDTH / 16; tile++) {
                uint32_t right[4];
                turned(right, row + tile * 16);
                multiply(sums[2 * tile], weights, right[0], right[1], N());
                multiply(sums[2 * tile + 1], weights, right[2], right[3], N());
            }
        }
    }
    for (int i = 0; i < 2; i++) {
        total[i] += exchanged(total[i], 1);
        total[i] += exchanged(total[i], 2);
        int query = first + warp * WARP_QUERIES + line + i * 8;
        N *to = y + ((int64_t)item * queries + query) * step + head * channels;
        for (int tile = 0; tile < WIDTH / 8; tile++) {
            int channel = tile * 8 + twin;
            if (query < queries && channel < channels) {
                N low = narrowed<N>(sums[tile][2 * i] / total[i]), high = narrowed<N>(sums[tile][2 * i + 1] / total[i]);
                *reinterpret_cast<uint32_t *>(to + channel) = pair(low, high);
            }
        }
    }
}

#define ATTENTION(N, WIDTH) \
    KERNEL(attention_##N##_##WIDTH, const N *q, const N *k, const N *v, N *y, int queries, int keys, int channels, \
           int is_causal, float scale) { \
        attention<N, WIDTH>(q, k, v, y, queries, keys, channels, is_causal, scale); \
    }

#define OF_EACH_WIDTH(N) \
    ATTENTION(N, 16) \
    ATTENTION(N, 32) \
    ATTENTION(N, 48) \
    ATTENTION(N, 64) \
    ATTENTION(N, 80) \
    ATTENTION(N, 96) \
    ATTENTION(N, 128) \
    ATTENTION(N, 160)

OF_EACH_WIDTH(f16)
OF_EACH_WIDTH(bf16)
