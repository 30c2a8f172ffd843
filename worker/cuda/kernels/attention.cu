// Attention with a running softmax (Dao 2023), on tensor cores, from activations as they lie.

#include "common.cuh"

// Queries that a warp holds together, and warps of a block.
constexpr int STRIP = 16;
constexpr int WARPS = 4;
// Keys that are met at a time.
constexpr int KEYS = 64;
// Numbers behind a row in the memory of a block, so that the rows that are read together lie in different banks.
constexpr int APART = 8;

// Sends `KEYS` rows of a head, `step` numbers apart, to the memory of a block; zeros behind their `channels`, and for rows
// that there are not.
template <class N, int WIDTH>
__device__ inline void send_rows(N *rows, const N *from, int count, int64_t step, int channels) {
    constexpr int PACK = WIDE<N>;
    for (int at = threadIdx.x; at < KEYS * (WIDTH / PACK); at += WARPS * 32) {
        int row = at / (WIDTH / PACK), channel = at % (WIDTH / PACK) * PACK;
        bool is_there = row < count && channel < channels;
        send(rows + row * (WIDTH + APART) + channel, is_there ? from + row * step + channel : from, is_there);
    }
}

// `q` and `y` are `[batch, queries, heads, channels]`, `k` and `v` `[batch, keys, heads, channels]`; channels are a
// multiple of 8, and `WIDTH`, one of 16, is no less. Blocks are `STRIPS` of queries of every warp by heads by items.
template <class N, int WIDTH, int STRIPS>
__device__ void attention(const N *q, const N *k, const N *v, N *y, int queries, int keys, int channels, int is_causal,
                          float scale) {
    static_assert(WIDTH % 16 == 0 && WIDE<N> == 8, "a matrix is 16 numbers of 16 bits deep");
    constexpr int ROWS = KEYS * (WIDTH + APART);
    BLOCK_MEMORY(memory);
    // Keys and values that are met, and those that are on their way.
    N *rows = reinterpret_cast<N *>(memory);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    // Rows and columns of matrices that this lane holds.
    int line = lane / 4, twin = lane % 4 * 2;
    int heads = gridDim.y, head = blockIdx.y, item = blockIdx.z;
    int64_t step = (int64_t)heads * channels;
    int first_of_block = blockIdx.x * STRIPS * STRIP * WARPS;
    int first = first_of_block + warp * STRIPS * STRIP;
    const N *q_item = q + (int64_t)item * queries * step + head * channels;
    const N *k_item = k + (int64_t)item * keys * step + head * channels;
    const N *v_item = v + (int64_t)item * keys * step + head * channels;

    send_rows<N, WIDTH>(rows, k_item, keys, step, channels);
    send_rows<N, WIDTH>(rows + ROWS, v_item, keys, step, channels);
    seal();
    uint32_t left[STRIPS][WIDTH / 16][4];
    UNROLL
    for (int strip = 0; strip < STRIPS; strip++) {
        UNROLL
        for (int part = 0; part < WIDTH / 16; part++) {
            UNROLL
            for (int i = 0; i < 4; i++) {
                int query = first + strip * STRIP + line + i % 2 * 8, channel = part * 16 + twin + i / 2 * 8;
                bool is_there = query < queries && channel < channels;
                left[strip][part][i] =
                    is_there ? *reinterpret_cast<const uint32_t *>(q_item + query * step + channel) : 0;
            }
        }
    }

    float sums[STRIPS][WIDTH / 8][4] = {};
    // Of the two queries of a strip that are this lane's: the largest score so far, and the sum of what is above it.
    float largest[STRIPS][2], total[STRIPS][2];
    UNROLL
    for (int strip = 0; strip < STRIPS; strip++) {
        largest[strip][0] = largest[strip][1] = -INFINITY;
        total[strip][0] = total[strip][1] = 0.0f;
    }
    // Of a power of two.
    float steepness = scale * LOG2_E;
    int met = is_causal ? min(keys, first_of_block + STRIPS * STRIP * WARPS) : keys;
    for (int start = 0; start < met; start += KEYS) {
        all_arrived();
        // What was sent is there for every thread, and nobody reads what was met before.
        __syncthreads();
        const N *k_rows = rows + start / KEYS % 2 * 2 * ROWS, *v_rows = k_rows + ROWS;
        int next = start + KEYS;
        if (next < met) {
            N *other = rows + next / KEYS % 2 * 2 * ROWS;
            send_rows<N, WIDTH>(other, k_item + next * step, keys - next, step, channels);
            send_rows<N, WIDTH>(other + ROWS, v_item + next * step, keys - next, step, channels);
            seal();
        }
        float scores[STRIPS][KEYS / 8][4] = {};
        UNROLL
        for (int part = 0; part < WIDTH / 16; part++) {
            UNROLL
            for (int tile = 0; tile < KEYS / 16; tile++) {
                // Lanes name 8 keys, the 8 channels to the right of those, and both for 8 keys more.
                const N *row = k_rows + (tile * 16 + lane / 16 * 8 + lane % 8) * (WIDTH + APART) + part * 16;
                uint32_t right[4];
                straight(right, row + lane / 8 % 2 * 8);
                UNROLL
                for (int strip = 0; strip < STRIPS; strip++) {
                    multiply(scores[strip][2 * tile], left[strip][part], right[0], right[1], N());
                    multiply(scores[strip][2 * tile + 1], left[strip][part], right[2], right[3], N());
                }
            }
        }
        if (next > keys || (is_causal && next > first)) {
            UNROLL
            for (int strip = 0; strip < STRIPS; strip++) {
                UNROLL
                for (int tile = 0; tile < KEYS / 8; tile++) {
                    UNROLL
                    for (int i = 0; i < 4; i++) {
                        int key = start + tile * 8 + twin + i % 2, query = first + strip * STRIP + line + i / 2 * 8;
                        if (key >= keys || (is_causal && key > query)) {
                            scores[strip][tile][i] = -INFINITY;
                        }
                    }
                }
            }
        }
        uint32_t weights[STRIPS][KEYS / 16][4];
        UNROLL
        for (int strip = 0; strip < STRIPS; strip++) {
            UNROLL
            for (int i = 0; i < 2; i++) {
                float larger = largest[strip][i];
                UNROLL
                for (int tile = 0; tile < KEYS / 8; tile++) {
                    larger = fmaxf(larger, fmaxf(scores[strip][tile][2 * i], scores[strip][tile][2 * i + 1]));
                }
                larger = fmaxf(larger, exchanged(larger, 1));
                larger = fmaxf(larger, exchanged(larger, 2));
                // The first key is met by every query, so that this is a number from the first keys on.
                float shrink = power_of_two((largest[strip][i] - larger) * steepness);
                largest[strip][i] = larger;
                total[strip][i] *= shrink;
                UNROLL
                for (int tile = 0; tile < WIDTH / 8; tile++) {
                    sums[strip][tile][2 * i] *= shrink;
                    sums[strip][tile][2 * i + 1] *= shrink;
                }
                float base = larger * steepness;
                UNROLL
                for (int tile = 0; tile < KEYS / 8; tile++) {
                    float low = power_of_two(scores[strip][tile][2 * i] * steepness - base);
                    float high = power_of_two(scores[strip][tile][2 * i + 1] * steepness - base);
                    total[strip][i] += low + high;
                    // What a lane holds of the scores is what it holds of a left matrix.
                    weights[strip][tile / 2][tile % 2 * 2 + i] = pair<N>(low, high);
                }
            }
        }
        UNROLL
        for (int part = 0; part < KEYS / 16; part++) {
            // Lanes name 8 keys, the 8 behind, and both 8 channels to the right.
            const N *row = v_rows + (part * 16 + lane % 16) * (WIDTH + APART) + lane / 16 * 8;
            UNROLL
            for (int tile = 0; tile < WIDTH / 16; tile++) {
                uint32_t right[4];
                turned(right, row + tile * 16);
                UNROLL
                for (int strip = 0; strip < STRIPS; strip++) {
                    multiply(sums[strip][2 * tile], weights[strip][part], right[0], right[1], N());
                    multiply(sums[strip][2 * tile + 1], weights[strip][part], right[2], right[3], N());
                }
            }
        }
    }
    UNROLL
    for (int strip = 0; strip < STRIPS; strip++) {
        UNROLL
        for (int i = 0; i < 2; i++) {
            float all = total[strip][i];
            all += exchanged(all, 1);
            all += exchanged(all, 2);
            float share = 1.0f / all;
            int query = first + strip * STRIP + line + i * 8;
            N *to = y + ((int64_t)item * queries + query) * step + head * channels;
            UNROLL
            for (int tile = 0; tile < WIDTH / 8; tile++) {
                int channel = tile * 8 + twin;
                if (query < queries && channel < channels) {
                    *reinterpret_cast<uint32_t *>(to + channel) =
                        pair<N>(sums[strip][tile][2 * i] * share, sums[strip][tile][2 * i + 1] * share);
                }
            }
        }
    }
}

#define ATTENTION(N, WIDTH, STRIPS) \
    KERNEL(attention_##N##_##WIDTH##_##STRIPS, const N *q, const N *k, const N *v, N *y, int queries, int keys, \
           int channels, int is_causal, float scale) { \
        attention<N, WIDTH, STRIPS>(q, k, v, y, queries, keys, channels, is_causal, scale); \
    }

#define OF_EACH_WIDTH(N) \
    ATTENTION(N, 16, 1) \
    ATTENTION(N, 32, 1) \
    ATTENTION(N, 48, 1) \
    ATTENTION(N, 64, 1) \
    ATTENTION(N, 80, 1) \
    ATTENTION(N, 96, 1) \
    ATTENTION(N, 128, 1) \
    ATTENTION(N, 160, 1) \
    ATTENTION(N, 16, 2) \
    ATTENTION(N, 32, 2) \
    ATTENTION(N, 48, 2) \
    ATTENTION(N, 64, 2)

OF_EACH_WIDTH(f16)
OF_EACH_WIDTH(bf16)
