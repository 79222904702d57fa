/* Marginals of counts of atoms, and the sum over all compositions: `plain_sum_product` of `sum_product.py`.
 *
 * The state of a crystal is a table over atoms and elements so far. LANES crystals are worked on side by side: every
 * number of the table is a vector of them, and the table stays in the first cache.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 8 };
typedef float Lanes __attribute__((vector_size(LANES * sizeof(float))));

typedef struct {
    int64_t elements, counts, atoms, kinds, crystals; /* counts, atoms and kinds with zero */
    const int64_t *tops;                              /* largest count of each element, (K) */
    const float *weights;                             /* of each count, (K, C, B) */
    const float *sums;                                /* of atoms and elements, (N, E) */
    Lanes *scratch;                                   /* (K + 2, N, E), and (2, C) */
    float *out;                                       /* (K, C, B) */
    float *logarithm;                                 /* of the sum, (B) */
} Task;

static const float TINY = 1.17549435e-38f;

static inline Lanes larger(Lanes a, float b) {
    for (int l = 0; l < LANES; l++) a[l] = a[l] > b ? a[l] : b;
    return a;
}

/* Divide a table by its sum, which is returned. */
static Lanes divide(Lanes *table, int64_t size) {
    Lanes total = {0};
    for (int64_t i = 0; i < size; i++) total += table[i];
    total = larger(total, TINY);
    for (int64_t i = 0; i < size; i++) table[i] /= total;
    return total;
}

static void load(const Task *t, int64_t k, int64_t b, int64_t lanes, Lanes *weight) {
    for (int64_t c = 0; c <= t->tops[k]; c++) {
        const float *from = t->weights + (k * t->counts + c) * t->crystals + b;
        Lanes w = {0};
        for (int64_t l = 0; l < lanes; l++) w[l] = from[l];
        weight[c] = w;
    }
}

/* The table after one element more, and its sum. */
static Lanes forward(const Task *t, const Lanes *table, const Lanes *weight, int64_t top, Lanes *after) {
    int64_t width = t->kinds, size = t->atoms * width;
    for (int64_t i = 0; i < size; i++) after[i] = table[i] * weight[0];
    for (int64_t c = 1; c <= top; c++)
        for (int64_t n = c; n < t->atoms; n++) {
            const Lanes *from = table + (n - c) * width;
            Lanes *to = after + n * width + 1;
            for (int64_t e = 0; e < width - 1; e++) to[e] += from[e] * weight[c];
        }
    return divide(after, size);
}

/* Chances of an element's counts, the weight of it and those after it, and the sum. */
static Lanes backward(const Task *t, const Lanes *earlier, const Lanes *later, const Lanes *weight, int64_t top,
                      Lanes *chance, Lanes *after) {
    int64_t width = t->kinds, size = t->atoms * width;
    Lanes total = {0};
    for (int64_t i = 0; i < size; i++) {
        total += earlier[i] * later[i];
        after[i] = later[i] * weight[0];
    }
    chance[0] = total * weight[0];
    for (int64_t c = 1; c <= top; c++) {
        total = (Lanes){0};
        for (int64_t n = c; n < t->atoms; n++) {
            const Lanes *before = earlier + (n - c) * width, *from = later + n * width + 1;
            Lanes *to = after + (n - c) * width;
            for (int64_t e = 0; e < width - 1; e++) {
                total += before[e] * from[e];
                to[e] += from[e] * weight[c];
            }
        }
        chance[c] = total * weight[c];
    }
    divide(after, size);
    return divide(chance, top + 1);
}

void count_marginals(const Task *t) {
    int64_t size = t->atoms * t->kinds;
    Lanes *tables = t->scratch, *later = tables + t->elements * size, *after = later + size;
    Lanes *weight = after + size, *chance = weight + t->counts;
    for (int64_t b = 0; b < t->crystals; b += LANES) {
        int64_t lanes = t->crystals - b < LANES ? t->crystals - b : LANES;
        float logarithm[LANES] = {0};
        memset(tables, 0, size * sizeof(Lanes));
        for (int64_t l = 0; l < lanes; l++) tables[0][l] = 1;
        for (int64_t k = 0; k < t->elements - 1; k++) {
            load(t, k, b, lanes, weight);
            Lanes sum = forward(t, tables + k * size, weight, t->tops[k], tables + (k + 1) * size);
            for (int64_t l = 0; l < lanes; l++) logarithm[l] += logf(sum[l]);
        }
        for (int64_t i = 0; i < size; i++)
            for (int64_t l = 0; l < LANES; l++) later[i][l] = t->sums[i];
        for (int64_t k = t->elements - 1; k >= 0; k--) {
            load(t, k, b, lanes, weight);
            Lanes sum = backward(t, tables + k * size, later, weight, t->tops[k], chance, after);
            for (int64_t l = 0; l < lanes && k == t->elements - 1; l++)
                t->logarithm[b + l] = logarithm[l] + logf(sum[l]);
            for (int64_t c = 0; c <= t->tops[k]; c++)
                for (int64_t l = 0; l < lanes; l++) t->out[(k * t->counts + c) * t->crystals + b + l] = chance[c][l];
            Lanes *free = later;
            later = after;
            after = free;
        }
    }
}
