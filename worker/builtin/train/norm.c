/* GroupNorm with an optional SiLU behind it, forward and backward, for training on a CPU: bf16, channels last.

   Two passes over the picture each way; nothing but the input is kept for the way back. `norm.py` compiles this with
   the system's C compiler and does without it where there is none. */

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { CHANNELS_MAX = 1024, ROWS = 128 };

static inline float widen(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static inline uint16_t narrow(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static inline float sigmoid(float z) {
    return 1.0f / (1.0f + expf(-z));
}

/* y = x * scale + shift, per channel. */
static void line_of(int64_t channels, int64_t groups, const float *weight, const float *bias, const float *mean,
                    const float *rstd, float *scale, float *shift) {
    int64_t each = channels / groups;
    for (int64_t c = 0; c < channels; c++) {
        scale[c] = rstd[c / each] * weight[c];
        shift[c] = bias[c] - mean[c / each] * scale[c];
    }
}

void norm_forward(const uint16_t *x, const float *weight, const float *bias, uint16_t *y, float *means, float *rstds,
                  int64_t batch, int64_t places, int64_t channels, int64_t groups, float eps, int silu) {
    float sum[CHANNELS_MAX], square[CHANNELS_MAX], scale[CHANNELS_MAX], shift[CHANNELS_MAX];
    double sums[CHANNELS_MAX], squares[CHANNELS_MAX];
    int64_t each = channels / groups;
    for (int64_t n = 0; n < batch; n++, x += places * channels, y += places * channels) {
        memset(sums, 0, sizeof sums);
        memset(squares, 0, sizeof squares);
        for (int64_t start = 0; start < places; start += ROWS) {
            /* Short sums in f32, long ones in f64: the variance is a difference of large numbers. */
            int64_t stop = start + ROWS < places ? start + ROWS : places;
            memset(sum, 0, sizeof sum);
            memset(square, 0, sizeof square);
            for (int64_t p = start; p < stop; p++)
                for (int64_t c = 0; c < channels; c++) {
                    float value = widen(x[p * channels + c]);
                    sum[c] += value;
                    square[c] += value * value;
                }
            for (int64_t c = 0; c < channels; c++) {
                sums[c] += sum[c];
                squares[c] += square[c];
            }
        }
        float *mean = means + n * groups, *rstd = rstds + n * groups;
        for (int64_t g = 0; g < groups; g++) {
            double total = 0, total_square = 0, count = (double)(each * places);
            for (int64_t c = g * each; c < (g + 1) * each; c++) {
                total += sums[c];
                total_square += squares[c];
            }
            double m = total / count, variance = total_square / count - m * m;
            mean[g] = (float)m;
            rstd[g] = (float)(1.0 / sqrt((variance > 0 ? variance : 0) + eps));
        }
        line_of(channels, groups, weight, bias, mean, rstd, scale, shift);
        if (silu)
            for (int64_t p = 0; p < places; p++)
                for (int64_t c = 0; c < channels; c++) {
                    float z = widen(x[p * channels + c]) * scale[c] + shift[c];
                    y[p * channels + c] = narrow(z * sigmoid(z));
                }
        else
            for (int64_t p = 0; p < places; p++)
                for (int64_t c = 0; c < channels; c++)
                    y[p * channels + c] = narrow(widen(x[p * channels + c]) * scale[c] + shift[c]);
    }
}

/* `grad_weight` and `grad_bias` start at zero. */
void norm_backward(const uint16_t *grad, const uint16_t *x, const float *weight, const float *bias, const float *means,
                   const float *rstds, uint16_t *grad_x, float *grad_weight, float *grad_bias, int64_t batch,
                   int64_t places, int64_t channels, int64_t groups, int silu) {
    float sum[CHANNELS_MAX], sum_x[CHANNELS_MAX], scale[CHANNELS_MAX], shift[CHANNELS_MAX];
    float on_x[CHANNELS_MAX], offset[CHANNELS_MAX];
    double sums[CHANNELS_MAX], sums_x[CHANNELS_MAX];
    int64_t each = channels / groups;
    for (int64_t n = 0; n < batch; n++) {
        const float *mean = means + n * groups, *rstd = rstds + n * groups;
        line_of(channels, groups, weight, bias, mean, rstd, scale, shift);
        memset(sums, 0, sizeof sums);
        memset(sums_x, 0, sizeof sums_x);
        for (int64_t start = 0; start < places; start += ROWS) {
            int64_t stop = start + ROWS < places ? start + ROWS : places;
            memset(sum, 0, sizeof sum);
            memset(sum_x, 0, sizeof sum_x);
            for (int64_t p = start; p < stop; p++)
                for (int64_t c = 0; c < channels; c++) {
                    float value = widen(x[p * channels + c]), g = widen(grad[p * channels + c]);
                    if (silu) {
                        float z = value * scale[c] + shift[c], s = sigmoid(z);
                        g *= s * (1.0f + z * (1.0f - s));
                        /* The second pass reads the gradient before the SiLU from here. */
                        grad_x[p * channels + c] = narrow(g);
                    }
                    sum[c] += g;
                    sum_x[c] += g * value;
                }
            for (int64_t c = 0; c < channels; c++) {
                sums[c] += sum[c];
                sums_x[c] += sum_x[c];
            }
        }
        for (int64_t g = 0; g < groups; g++) {
            double a = 0, b = 0, count = (double)(each * places);
            for (int64_t c = g * each; c < (g + 1) * each; c++) {
                a += sums[c] * weight[c];
                b += sums_x[c] * weight[c];
            }
            a /= count;
            b /= count;
            double slope = (double)rstd[g] * rstd[g] * rstd[g] * (b - mean[g] * a);
            for (int64_t c = g * each; c < (g + 1) * each; c++) {
                on_x[c] = (float)-slope;
                offset[c] = (float)(slope * mean[g] - rstd[g] * a);
                grad_weight[c] += (float)((sums_x[c] - mean[g] * sums[c]) * rstd[g]);
                grad_bias[c] += (float)sums[c];
            }
        }
        const uint16_t *source = silu ? grad_x : grad;
        for (int64_t p = 0; p < places; p++)
            for (int64_t c = 0; c < channels; c++) {
                int64_t i = p * channels + c;
                grad_x[i] = narrow(widen(source[i]) * scale[c] + widen(x[i]) * on_x[c] + offset[c]);
            }
        grad += places * channels;
        x += places * channels;
        grad_x += places * channels;
    }
}
