/* Attention with relative position terms over packed crystals (arXiv 2406.09263, eqs 11 to 13).
 *
 * The plain form of the same is `plain` in ../pair_plain.py, which says what is computed and is
 * the oracle of the tests. Here the hidden layers of the pairs are made in parts that the fastest memory
 * holds, two directions at a time, and never stored. No crystal sees another, and sums run in a fixed order:
 * a crystal's result does not depend on its batch or on the number of threads.
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

/* 1 / (1 + exp(-x)) = 1/2 + 1/2 tanh(x/2) to 2e-7. The tanh is x times a ratio of polynomials in x^2, fitted
 * to the least largest relative error (2e-8) up to 18, from where on it is 1 in single precision: half the
 * operations of an exponential. Bounds on both sides of x would make compilers compare in chains. */
static inline float logistic(float x) {
    float a = __builtin_fabsf(x);
    a = a > 18.0f ? 18.0f : a;
    float y = a * a, p = 2.608331875e-11f, q = 3.037718248e-9f;
    p = p * y + 1.610084784e-7f;
    q = q * y + 5.133805144e-6f;
    p = p * y + 1.092371406e-4f;
    q = q * y + 1.617311488e-3f;
    p = p * y + 1.672628252e-2f;
    q = q * y + 1.167858540e-1f;
    p = p * y + 4.999999897e-1f;
    q = q * y + 1.0f;
    return 0.5f + 0.5f * __builtin_copysignf(a * p / q, x);
}

/* As wide as a register: compilers make poor code of wider ones. */
#ifdef __AVX512F__
enum { WIDTH = 16 };
#else
enum { WIDTH = 8 };
#endif
typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

/* What is kept at hand of the pairs of a crystal, and the rows of one block of a matrix product: six of two
 * vectors each leave registers for their factors. */
enum { PAIRS = 24, ROWS = 6 };

/* Numbers that fill whole blocks of a product */
static inline int64_t filled(int64_t c) { return (c + 2 * WIDTH - 1) / (2 * WIDTH) * (2 * WIDTH); }

/* out = a b, or out += a b: R rows of a, two vectors of columns; a[r, k] at r * row + k * column */
static inline __attribute__((always_inline)) void block(
    const int R, int add, int64_t K, const float *restrict a, int64_t row, int64_t column,
    const float *restrict b, float *restrict out, int64_t c) {
    vector sum[ROWS][2];
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < 2; ++v)
            sum[r][v] = add ? ((const vector *)(out + r * c))[v] : (vector){0};
    for (int64_t k = 0; k < K; ++k) {
        const vector *y = (const vector *)(b + k * c);
        vector y0 = y[0], y1 = y[1];
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) {
            float x = a[r * row + k * column];
            sum[r][0] += x * y0;
            sum[r][1] += x * y1;
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < 2; ++v) ((vector *)(out + r * c))[v] = sum[r][v];
}

/* The same for any number of rows and `c` columns, filled; b and out lie without gaps. */
static void product(int add, int64_t rows, int64_t K, const float *restrict a, int64_t row,
                    int64_t column, const float *restrict b, float *restrict out, int64_t c) {
    for (int64_t k = 0; k < c; k += 2 * WIDTH)
        for (int64_t r = 0; r < rows; r += ROWS) {
            const float *x = a + r * row;
            float *y = out + r * c + k;
            switch (rows - r) {
                case 1: block(1, add, K, x, row, column, b + k, y, c); break;
                case 2: block(2, add, K, x, row, column, b + k, y, c); break;
                case 3: block(3, add, K, x, row, column, b + k, y, c); break;
                case 4: block(4, add, K, x, row, column, b + k, y, c); break;
                case 5: block(5, add, K, x, row, column, b + k, y, c); break;
                default: block(6, add, K, x, row, column, b + k, y, c);
            }
        }
}

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

/* Zeros, or NULL where there is no memory */
static float *room(int64_t count) {
    size_t bytes = (sizeof(float) * (size_t)count + 63) / 64 * 64;
    float *memory = aligned_alloc(64, bytes);
    if (memory) memset(memory, 0, bytes);
    return memory;
}

static void copy_rows(int64_t rows, int64_t width, const float *from, int64_t stride_from, float *to,
                      int64_t stride_to) {
    for (int64_t r = 0; r < rows; ++r)
        memcpy(to + r * stride_to, from + r * stride_from, sizeof(float) * width);
}

/* Weights (K, 2, H, c) of sines and of cosines as panels (2, H, 2, K, filled c), and back */
static void pack(const float *sines, const float *cosines, float *panels, int64_t H, int64_t K,
                 int64_t c) {
    for (int64_t h = 0; h < 2 * H; ++h) {
        float *panel = panels + h * 2 * K * filled(c);
        copy_rows(K, c, sines + h * c, 2 * H * c, panel, filled(c));
        copy_rows(K, c, cosines + h * c, 2 * H * c, panel + K * filled(c), filled(c));
    }
}

static void unpack(const float *panels, float *sines, float *cosines, int64_t H, int64_t K, int64_t c) {
    for (int64_t h = 0; h < 2 * H; ++h) {
        const float *panel = panels + h * 2 * K * filled(c);
        copy_rows(K, c, panel, filled(c), sines + h * c, 2 * H * c);
        copy_rows(K, c, panel + K * filled(c), filled(c), cosines + h * c, 2 * H * c);
    }
}

/* odd and even of `count` pairs from their sines and cosines (count, K) and the panel of a head */
static void hidden_layers(int64_t count, int64_t K, const float *sines, const float *cosines,
                          const float *panel, float *odd, float *even, int64_t F) {
    product(0, count, K, sines, K, 1, panel, odd, F);
    product(0, count, K, cosines, K, 1, panel + K * F, even, F);
}

/* Add the gradients by that panel from those by odd and even. */
static void add_to_weights(int64_t count, int64_t K, const float *sines, const float *cosines,
                           const float *by_odd, const float *by_even, float *panel, int64_t F) {
    product(1, K, count, sines, 1, K, by_odd, panel, F);
    product(1, K, count, cosines, 1, K, by_even, panel + K * F, F);
}

/* From the pair i < j below n to the one after it */
static inline void next(int64_t *i, int64_t *j, int64_t n) {
    if (++*j == n) ++*i, *j = *i + 1;
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
