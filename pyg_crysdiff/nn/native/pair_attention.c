/* Attention with relative position terms over packed crystals (arXiv 2406.09263, eqs 11 to 13).
 *
 * The plain form of the same is `_plain` in ../pair_attention.py, which says what is computed and is
 * the oracle of the tests. Here every array over pairs is read and written once, two directions at a time,
 * and the hidden layers are never stored. No crystal sees another, and sums run in a fixed order: a crystal's
 * result does not depend on its batch or on the number of threads.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline float as_float(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
static inline uint32_t as_bits(float x) { uint32_t bits; memcpy(&bits, &x, 4); return bits; }

/* 2^k for whole k up to 127; 2^-126 below. k is bounded as a whole number, where compilers have one
 * instruction for it. */
static inline float power_of_two(float k) {
    int32_t n = (int32_t)k;
    return as_float((uint32_t)((n < -126 ? -126 : n) + 127) << 23);
}

/* exp(x) for x <= 88 to about 2 units in the last place; branch-free, so that compilers vectorise it. */
static inline float exponential(float x) {
    float k = __builtin_rintf(x * 1.44269504f);
    float r = x - k * 0.693359375f;
    r = r + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * power_of_two(k);
}
static inline float logistic_f32(float x) {
    return 1.0f / (1.0f + exponential(x < -80.0f ? 80.0f : -x));
}

/* The same to some 4e-5, a hundredth of bfloat16's precision. */
static inline float logistic_bf16(float x) {
    float y = (x < -80.0f ? -80.0f : x) * -1.44269504f, k = __builtin_rintf(y), f = y - k;
    float p = 9.6181291e-3f;
    p = p * f + 5.5504109e-2f;
    p = p * f + 2.4022651e-1f;
    p = p * f + 6.9314718e-1f;
    p = p * f + 1.0f;
    return 1.0f / (1.0f + p * power_of_two(k));
}

/* As wide as a register: compilers make poor code of wider ones. */
#ifdef __AVX512F__
enum { WIDTH = 16 };
#else
enum { WIDTH = 8 };
#endif
typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

/* out[i, j] = a_i . b_j for rows of d numbers, `stride` apart */
static void dot_rows(int64_t n, int64_t d, const float *restrict a, int64_t stride_a,
                     const float *restrict b, int64_t stride_b, float *restrict out) {
    for (int64_t i = 0; i < n; ++i) {
        const float *x = a + i * stride_a;
        int64_t j = 0;
        for (; j + 4 <= n; j += 4) {
            const float *y0 = b + j * stride_b, *y1 = y0 + stride_b, *y2 = y1 + stride_b,
                        *y3 = y2 + stride_b;
            float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
            for (int64_t k = 0; k < d; ++k) {
                s0 += x[k] * y0[k];
                s1 += x[k] * y1[k];
                s2 += x[k] * y2[k];
                s3 += x[k] * y3[k];
            }
            out[i * n + j] = s0;
            out[i * n + j + 1] = s1;
            out[i * n + j + 2] = s2;
            out[i * n + j + 3] = s3;
        }
        for (; j < n; ++j) {
            float sum = 0.0f;
            for (int64_t k = 0; k < d; ++k) sum += x[k] * b[j * stride_b + k];
            out[i * n + j] = sum;
        }
    }
}

/* to_i += sum_j w[i, j] from_j for rows of d numbers; w[i, j] at i * row + j * column */
static void weighted_rows(int64_t n, int64_t d, const float *restrict w, int64_t row, int64_t column,
                          const float *restrict from, int64_t stride_from, float *restrict to,
                          int64_t stride_to) {
    for (int64_t i = 0; i < n; ++i) {
        const float *wi = w + i * row;
        float *out = to + i * stride_to;
        int64_t k = 0;
        for (; k + 4 * WIDTH <= d; k += 4 * WIDTH) {
            vector s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
            for (int64_t j = 0; j < n; ++j) {
                float u = wi[j * column];
                const vector *x = (const vector *)(from + j * stride_from + k);
                s0 += u * x[0];
                s1 += u * x[1];
                s2 += u * x[2];
                s3 += u * x[3];
            }
            vector *y = (vector *)(out + k);
            y[0] += s0, y[1] += s1, y[2] += s2, y[3] += s3;
        }
        for (; k < d; ++k) {
            float sum = 0.0f;
            for (int64_t j = 0; j < n; ++j) sum += wi[j * column] * from[j * stride_from + k];
            out[k] += sum;
        }
    }
}

static void softmax(float *restrict x, int64_t n) {
    float top = x[0], total = 0.0f;
    for (int64_t j = 1; j < n; ++j) top = x[j] > top ? x[j] : top;
    for (int64_t j = 0; j < n; ++j) {
        float y = x[j] - top;
        total += x[j] = exponential(y < -87.0f ? -87.0f : y);
    }
    for (int64_t j = 0; j < n; ++j) {
        /* What is too small to matter is zero: products with it would be denormal, and slow. */
        float w = x[j] / total;
        x[j] = w < 1e-20f ? 0.0f : w;
    }
}

/* Gradient by the logits, from weights a and the gradient g by the weights, in place of g. */
static void softmax_back(const float *restrict a, float *restrict g, int64_t n) {
    float mean = 0.0f;
    for (int64_t j = 0; j < n; ++j) mean += a[j] * g[j];
    for (int64_t j = 0; j < n; ++j) g[j] = a[j] * (g[j] - mean);
}

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)

#define T float
#define NAME(x) JOIN(x, _f32)
#define LOAD(x) (x)
#define STORE(x) (x)
#include "pair_attention.inc"
#undef T
#undef NAME
#undef LOAD
#undef STORE

static inline uint16_t round_bf16(float x) {
    uint32_t u = as_bits(x);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
#define T uint16_t
#define NAME(x) JOIN(x, _bf16)
#define LOAD(x) as_float((uint32_t)(x) << 16)
#define STORE(x) round_bf16(x)
#include "pair_attention.inc"
