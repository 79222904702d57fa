/* Sums over all compositions, and compositions drawn from them: the plain forms are in `sum_product.py`.
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
    const float *sums;                                /* of atoms and elements, (N, E, B) */
    Lanes *scratch;                                   /* (K + 2, N, E), and (2, C) */
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

/* Take rows of the crystals from b on, or give them back. */
static void load(const Task *t, const float *from, int64_t rows, int64_t b, int64_t lanes, Lanes *to) {
    for (int64_t i = 0; i < rows; i++) {
        Lanes row = {0};
        for (int64_t l = 0; l < lanes; l++) row[l] = from[i * t->crystals + b + l];
        to[i] = row;
    }
}

static void store(const Task *t, const Lanes *from, int64_t rows, int64_t b, int64_t lanes, float *to) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t l = 0; l < lanes; l++) to[i * t->crystals + b + l] = from[i][l];
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

/* Chances of an element's counts, and the weight of it and those after it. */
static void backward(const Task *t, const Lanes *earlier, const Lanes *later, const Lanes *weight, int64_t top,
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
    divide(chance, top + 1);
}

/* The tables before each element and the one after all of them, `last`. The sum without the weights of `sums`. */
static void all_forward(const Task *t, int64_t b, int64_t lanes, Lanes *weight, Lanes *last, float *logarithm) {
    int64_t size = t->atoms * t->kinds;
    Lanes *tables = t->scratch;
    memset(tables, 0, size * sizeof(Lanes));
    for (int64_t l = 0; l < lanes; l++) tables[0][l] = 1, logarithm[l] = 0;
    for (int64_t k = 0; k < t->elements; k++) {
        Lanes *to = k + 1 < t->elements ? tables + (k + 1) * size : last;
        load(t, t->weights + k * t->counts * t->crystals, t->tops[k] + 1, b, lanes, weight);
        Lanes sum = forward(t, tables + k * size, weight, t->tops[k], to);
        for (int64_t l = 0; l < lanes; l++) logarithm[l] += logf(sum[l]);
    }
}

/* Probabilities of the counts, (K, C, B), and of the numbers of atoms and elements, (N, E, B); the sum's logarithm. */
void count_marginals(const Task *t, float *out, float *joint, float *logarithm) {
    int64_t size = t->atoms * t->kinds, row = t->counts * t->crystals;
    Lanes *tables = t->scratch, *later = tables + t->elements * size, *after = later + size;
    Lanes *weight = after + size, *chance = weight + t->counts;
    for (int64_t b = 0; b < t->crystals; b += LANES) {
        int64_t lanes = t->crystals - b < LANES ? t->crystals - b : LANES;
        all_forward(t, b, lanes, weight, after, logarithm + b);
        load(t, t->sums, size, b, lanes, later);
        for (int64_t i = 0; i < size; i++) after[i] *= later[i];
        Lanes sum = divide(after, size);
        store(t, after, size, b, lanes, joint);
        for (int64_t l = 0; l < lanes; l++) logarithm[b + l] += logf(sum[l]);
        for (int64_t k = t->elements - 1; k >= 0; k--) {
            load(t, t->weights + k * row, t->tops[k] + 1, b, lanes, weight);
            backward(t, tables + k * size, later, weight, t->tops[k], chance, after);
            store(t, chance, t->tops[k] + 1, b, lanes, out + k * row);
            Lanes *free = later;
            later = after;
            after = free;
        }
    }
}

/* The first place where the weights so far are more than this part of all. */
static int64_t chosen(const float *weight, int64_t places, float part) {
    float total = 0, so_far = 0;
    int64_t last = 0;
    for (int64_t i = 0; i < places; i++) {
        total += weight[i];
        if (weight[i] > 0) last = i;
    }
    for (int64_t i = 0; i < last; i++) {
        so_far += weight[i];
        if (so_far > part * total) return i;
    }
    return last;
}

/* A composition of each crystal, (K, B), by uniform numbers: of atoms and elements, and of each element, (K + 1, B). */
void count_draws(const Task *t, const float *uniform, int64_t *drawn) {
    int64_t width = t->kinds, size = t->atoms * width;
    Lanes *tables = t->scratch, *last = tables + t->elements * size, *weight = last + 2 * size;
    float logarithm[LANES], *chance = (float *)(last + size);
    for (int64_t b = 0; b < t->crystals; b += LANES) {
        int64_t lanes = t->crystals - b < LANES ? t->crystals - b : LANES;
        all_forward(t, b, lanes, weight, last, logarithm);
        for (int64_t l = 0; l < lanes; l++) {
            for (int64_t i = 0; i < size; i++) chance[i] = last[i][l] * t->sums[i * t->crystals + b + l];
            int64_t place = chosen(chance, size, uniform[t->elements * t->crystals + b + l]);
            int64_t n = place / width, e = place % width;
            for (int64_t k = t->elements - 1; k >= 0; k--) {
                int64_t most = e == 0 ? 0 : t->tops[k] < n ? t->tops[k] : n;
                const float *from = t->weights + k * t->counts * t->crystals + b + l;
                for (int64_t c = 0; c <= most; c++)
                    chance[c] = tables[k * size + (n - c) * width + e - (c > 0)][l] * from[c * t->crystals];
                int64_t c = chosen(chance, most + 1, uniform[k * t->crystals + b + l]);
                drawn[k * t->crystals + b + l] = c;
                n -= c;
                e -= c > 0;
            }
        }
    }
}
