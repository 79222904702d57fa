/* Densities of neighbours on a radial grid, and their gradients: `EmbeddedAtomDensity.density` for L = 0.
 *
 * A pair at the distance r adds z w(r) B(r / step - k) to node k of the row of its centre: z is the neighbour's
 * atomic number, w(r) = cos^2(pi r / (2 cutoff)) the cutoff function, B the quintic B-spline, which covers six
 * nodes. Pairs at the distance `reach`, which is the cutoff or less, and beyond do not count.
 *
 * A full list has a row for each pair, that of its first atom. In a half list (`second` is not NULL) the pair also
 * counts for its second atom, with the first one's number. Vectors of eight numbers hold the six nodes; the last two
 * are 0, so that grids need room for two numbers more than they have nodes.
 */
#include <math.h>
#include <stdint.h>

enum { ORDER = 6, WIDTH = 8 };
static const float HALF_PI = 1.57079632679489662f;

/* Coefficients of u^k (rows) in the splines that overlap [0, 1), divided by 120. */
static const float SPLINES[ORDER][WIDTH] = {
    {1 / 120.f, 26 / 120.f, 66 / 120.f, 26 / 120.f, 1 / 120.f, 0, 0, 0},
    {-5 / 120.f, -50 / 120.f, 0, 50 / 120.f, 5 / 120.f, 0, 0, 0},
    {10 / 120.f, 20 / 120.f, -60 / 120.f, 20 / 120.f, 10 / 120.f, 0, 0, 0},
    {-10 / 120.f, 20 / 120.f, 0, -20 / 120.f, 10 / 120.f, 0, 0, 0},
    {5 / 120.f, -20 / 120.f, 30 / 120.f, -20 / 120.f, 5 / 120.f, 0, 0, 0},
    {-1 / 120.f, 5 / 120.f, -10 / 120.f, 10 / 120.f, -5 / 120.f, 1 / 120.f, 0, 0},
};

typedef struct {
    int64_t pairs;
    const float *positions;      /* (A, 3) */
    const float *translations;   /* (3, P) */
    const int64_t *i, *j;        /* atoms, (P) */
    const int64_t *first, *second; /* rows, (P); second may be NULL */
    const float *numbers;        /* (A) */
    float reach, cutoff, step;
    int64_t nodes;
} List;

typedef struct { float v[3], r, u, y; int64_t node; } Place; /* y = pi r / (2 cutoff) */

/* Where a pair lies; 0 where it does not count. */
static inline int place(const List *list, int64_t p, Place *at) {
    const float *a = list->positions + 3 * list->i[p], *b = list->positions + 3 * list->j[p];
    float square = 1e-12f; /* keeps the gradient finite where atoms coincide */
    for (int k = 0; k < 3; k++) {
        at->v[k] = b[k] - a[k] + list->translations[k * list->pairs + p];
        square += at->v[k] * at->v[k];
    }
    if (!(square < list->reach * list->reach)) return 0; /* nor does NaN */
    at->r = sqrtf(square);
    float x = at->r / list->step;
    at->node = (int64_t)x;
    at->u = x - (float)at->node;
    at->y = HALF_PI * at->r / list->cutoff;
    return 1;
}

/* On [0, pi / 2], to rounding. */
static inline float cosine(float y) {
    float q = y * y;
    return 1 + q * (-1 / 2.f + q * (1 / 24.f + q * (-1 / 720.f + q * (1 / 40320.f + q * (-1 / 3628800.f
           + q * (1 / 479001600.f))))));
}

static inline float sine(float y) {
    float q = y * y;
    return y * (1 + q * (-1 / 6.f + q * (1 / 120.f + q * (-1 / 5040.f + q * (1 / 362880.f
           + q * (-1 / 39916800.f + q * (1 / 6227020800.f)))))));
}

static inline void splines(float u, float *out) {
    for (int k = 0; k < WIDTH; k++) out[k] = SPLINES[ORDER - 1][k];
    for (int power = ORDER - 2; power >= 0; power--)
        for (int k = 0; k < WIDTH; k++) out[k] = out[k] * u + SPLINES[power][k];
}

static inline void slopes(float u, float *out) {
    for (int k = 0; k < WIDTH; k++) out[k] = (ORDER - 1) * SPLINES[ORDER - 1][k];
    for (int power = ORDER - 2; power >= 1; power--)
        for (int k = 0; k < WIDTH; k++) out[k] = out[k] * u + power * SPLINES[power][k];
}

static inline void add(float *grid, float weight, const float *shape) {
    for (int k = 0; k < WIDTH; k++) grid[k] += weight * shape[k];
}

/* Adds all pairs to the grid, (rows, nodes) and two numbers more. */
void add_density(const List *list, float *grid) {
    for (int64_t p = 0; p < list->pairs; p++) {
        Place at;
        float shape[WIDTH];
        if (!place(list, p, &at)) continue;
        float c = cosine(at.y), w = c * c;
        splines(at.u, shape);
        add(grid + list->first[p] * list->nodes + at.node, w * list->numbers[list->j[p]], shape);
        if (list->second)
            add(grid + list->second[p] * list->nodes + at.node, w * list->numbers[list->i[p]], shape);
    }
}

/* Adds the gradient with respect to the positions, (A, 3), of what has the gradient `slope` over the grid. */
void add_gradient(const List *list, const float *slope, float *gradient) {
    for (int64_t p = 0; p < list->pairs; p++) {
        Place at;
        float shape[WIDTH], change[WIDTH], seen[WIDTH];
        if (!place(list, p, &at)) continue;
        const float *row = slope + list->first[p] * list->nodes + at.node;
        float z = list->numbers[list->j[p]];
        for (int k = 0; k < WIDTH; k++) seen[k] = z * row[k];
        if (list->second) {
            row = slope + list->second[p] * list->nodes + at.node;
            z = list->numbers[list->i[p]];
            for (int k = 0; k < WIDTH; k++) seen[k] += z * row[k];
        }
        splines(at.u, shape);
        slopes(at.u, change);
        float value = 0, rise = 0;
        for (int k = 0; k < WIDTH; k++) {
            value += seen[k] * shape[k];
            rise += seen[k] * change[k];
        }
        float c = cosine(at.y);
        float dr = c * c * rise / list->step - 2 * c * sine(at.y) * HALF_PI / list->cutoff * value;
        float *a = gradient + 3 * list->i[p], *b = gradient + 3 * list->j[p];
        for (int k = 0; k < 3; k++) {
            float part = dr * at.v[k] / at.r;
            a[k] -= part;
            b[k] += part;
        }
    }
}
