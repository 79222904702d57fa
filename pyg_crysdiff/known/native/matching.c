/* Whether two reduced cells of equal content match: the decisions of pymatgen's StructureMatcher, in its steps.
 *
 * `_strict_match` of pymatgen/core/structure_matcher.py says what is computed: cells of volume 1, mappings of the
 * first lattice onto the second within ltol and angle_tol, translations that bring an atom of the rarest element
 * onto one of the other cell, a box around every atom in fractional coordinates, and at last a linear assignment
 * of nearest images, whose mean displacement is removed.
 *
 * Every comparison has two bounds, one on each side of the tolerance by far more than the errors of double
 * precision. What lies between them, and what rounding alone decides (equal assignments, equal images, a reduced
 * basis that is one of several), is answered with DOUBT, and then pymatgen itself is asked. So an answer NO or YES
 * does not depend on rounding.
 *
 * Atoms are sorted by element. Fractional coordinates of the first cell are rows of `f1`, of the second of `f2`.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { NO = 0, YES = 1, DOUBT = 2 };
enum { TIE = 1, BAD = 2 }; /* what rounding decides of a vector: which of equal length, or the length too */
/* More than these have cells of odd shapes only, and crystals of many equal ways: they are DOUBT. */
enum { MOST_POINTS = 16384, MOST_STEPS = 100, MOST_TIES = 5, MOST_OPTIONS = 8, MOST_CHOICES = 4096 };
/* For lengths of cells of volume 1, cosines, and fractional coordinates: they are exact to about 1e-14. */
static const double SLACK = 1e-9, FAR = 1e20, SMALL = 1e-5;

#define SMALLER(a, b) ((a) < (b) ? (a) : (b)) /* fmin calls a function */
#define LARGER(a, b) ((a) > (b) ? (a) : (b))

#include "lattices.inc"

typedef struct {
    int64_t n, blocks, anchor;    /* atoms, elements, atom of the second cell that is moved onto others */
    const int64_t *start;         /* of the block of each element, and n */
    const double *f1, *f2;
    double stol;
    Point *points[3];             /* candidates for each vector of the second cell */
    int32_t *partners;            /* of the third list, for one vector of the first */
    double *g1, *reduced1, *reduced2; /* f1 in the mapped cell; both cells in the reduced one, (n, 3) each */
    double *offset[3];            /* f2[i] - g1[j], (n, n) each */
    double *d2, *vector;          /* squared distance and shortest vector of i and j, (n, n) and (n, n, 3) */
    uint8_t *unsure;              /* whether rounding decides on the vector (TIE), or on its length too (BAD) */
    double (*options)[MOST_OPTIONS][3]; /* vectors that rounding may choose for each atom, (n) */
    int32_t *count, *chosen;      /* how many there are, and which one is looked at, (n) */
    double *u, *v, *slack;        /* of the assignment */
    int32_t *row_of, *way, *column_of;
    uint8_t *used;
} Job;

typedef struct { double low, high; } Bounds;
typedef struct { double least, open, most_small; } Best; /* sure values, open ones, the largest below SMALL */

#include "sites.inc"

/* All translations of one mapping. Of the root mean square, the best is kept and the least that is open. */
static int try_mapping(Job *job, const Point *vectors[3], Frame *f, int want_rms, Best *best) {
    int64_t n = job->n, block = 0;
    int mapping[3][3], inverse[3][3], verdict = NO;
    for (int k = 0; k < 3; k++) memcpy(mapping[k], vectors[k]->coefficients, sizeof mapping[k]);
    invert_whole(mapping, inverse);
    for (int64_t j = 0; j < n; j++)
        for (int l = 0; l < 3; l++) {
            double x = 0;
            for (int k = 0; k < 3; k++) x += job->f1[3 * j + k] * inverse[k][l];
            job->g1[3 * j + l] = x - floor(x);
        }
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) job->offset[k][i * n + j] = job->f2[3 * i + k] - job->g1[3 * j + k];
    while (job->start[block + 1] <= job->anchor) block++;
    for (int64_t j = job->start[block]; j < job->start[block + 1]; j++) {
        double t[3];
        Bounds value;
        for (int k = 0; k < 3; k++) t[k] = job->g1[3 * j + k] - job->f2[3 * job->anchor + k];
        int boxes = all_in_boxes(job, f, t);
        if (boxes == NO) continue;
        int found = value_of(job, f, t, want_rms, &value);
        if (found == NO) continue;
        if (boxes == DOUBT || !f->sure) found = DOUBT;
        if (found == YES && !want_rms) return YES;
        if (found == DOUBT || value.high - value.low > SLACK) best->open = SMALLER(best->open, value.low);
        else {
            best->least = SMALLER(best->least, value.low);
            if (value.low < SMALL) best->most_small = LARGER(best->most_small, value.low);
        }
        if (found > verdict) verdict = found;
    }
    return verdict;
}

static int match_pair(Job *job, const double *lattice, const Target *target, int want_rms, Best *best) {
    double m[3][3];
    int counts[3], verdict = NO;
    memcpy(m, lattice, sizeof m);
    if (list_points(m, target, job->points, counts)) return DOUBT;
    for (int a = 0; a < counts[0]; a++) {
        const Point *vectors[3] = {job->points[0] + a, NULL, NULL};
        double cosines[3];
        int partners = 0;
        for (int c = 0; c < counts[2]; c++)
            if (within(&target->cosine[1], dot(vectors[0]->unit, job->points[2][c].unit), 0))
                job->partners[partners++] = c;
        for (int b = 0; partners && b < counts[1]; b++) {
            vectors[1] = job->points[1] + b;
            cosines[2] = dot(vectors[0]->unit, vectors[1]->unit);
            if (!within(&target->cosine[2], cosines[2], 0)) continue;
            for (int c = 0; c < partners; c++) {
                vectors[2] = job->points[2] + job->partners[c];
                cosines[0] = dot(vectors[1]->unit, vectors[2]->unit);
                if (!within(&target->cosine[0], cosines[0], 0)) continue;
                int whole[3][3], inverse[3][3];
                for (int k = 0; k < 3; k++) memcpy(whole[k], vectors[k]->coefficients, sizeof whole[k]);
                if (abs(invert_whole(whole, inverse)) != 1) continue;
                cosines[1] = dot(vectors[0]->unit, vectors[2]->unit);
                Frame f;
                f.sure = 1;
                for (int k = 0; k < 3; k++) f.sure &= vectors[k]->sure && within(&target->cosine[k], cosines[k], 1);
                int found = frame_of(vectors, cosines, target, job->n, job->stol, &f);
                if (found == DOUBT) best->open = 0;
                if (found == YES) found = try_mapping(job, vectors, &f, want_rms, best);
                if (found == YES && !want_rms) return YES;
                if (found > verdict) verdict = found;
            }
        }
    }
    return verdict;
}

static int make_room(Job *job, char **memory) {
    size_t n = (size_t)job->n, pairs = n * n, whole = 8 * ((pairs + 7) / 8), line = n + 8;
    size_t doubles = (9 + 3 * MOST_OPTIONS) * n + 7 * pairs + 3 * line;
    *memory = malloc(3 * MOST_POINTS * sizeof(Point) + doubles * 8 + whole + 5 * line * 4 + MOST_POINTS * 4 + line);
    if (!*memory) return -1;
    char *at = *memory;
    for (int k = 0; k < 3; k++) job->points[k] = (Point *)at, at += MOST_POINTS * sizeof(Point);
    job->g1 = (double *)at, at += 3 * n * 8;
    job->reduced1 = (double *)at, at += 3 * n * 8;
    job->reduced2 = (double *)at, at += 3 * n * 8;
    for (int k = 0; k < 3; k++) job->offset[k] = (double *)at, at += pairs * 8;
    job->d2 = (double *)at, at += pairs * 8;
    job->vector = (double *)at, at += 3 * pairs * 8;
    job->u = (double *)at, at += line * 8;
    job->v = (double *)at, at += line * 8;
    job->slack = (double *)at, at += line * 8;
    job->options = (double (*)[MOST_OPTIONS][3])at, at += 3 * MOST_OPTIONS * n * 8;
    job->unsure = (uint8_t *)at, at += whole;
    job->partners = (int32_t *)at, at += MOST_POINTS * 4;
    job->row_of = (int32_t *)at, at += line * 4;
    job->way = (int32_t *)at, at += line * 4;
    job->column_of = (int32_t *)at, at += line * 4;
    job->count = (int32_t *)at, at += line * 4;
    job->chosen = (int32_t *)at, at += line * 4;
    job->used = (uint8_t *)at;
    return 0;
}

/* Compare some cells, `which` of all, with one. Lattices have volume 1. Verdicts and root mean squares go to
 * `verdicts` and `rms`; with stop_at_first, nothing is compared after the first YES. Returns how many were
 * compared; -1 where there is no memory. */
int64_t match_cells(int64_t count, const int64_t *which, const double *lattices, const double *fractional, int64_t n,
                    int64_t blocks, const int64_t *start, const double *lattice, const double *other, int64_t anchor,
                    double ltol, double stol, double angle_tol, int64_t stop_at_first, int64_t want_rms,
                    int8_t *verdicts, double *rms) {
    Job job = {.n = n, .blocks = blocks, .anchor = anchor, .start = start, .f2 = other, .stol = stol};
    char *memory;
    if (make_room(&job, &memory)) return -1;
    Target target = target_of(lattice, ltol, angle_tol);
    int64_t done = 0;
    while (done < count) {
        Best best = {FAR, FAR, 0};
        int64_t cell = which[done];
        job.f1 = fractional + 3 * n * cell;
        int verdict = match_pair(&job, lattices + 9 * cell, &target, (int)want_rms, &best);
        if (want_rms && verdict != NO) {
            /* pymatgen takes the first value below SMALL: it has to be asked where they differ. */
            double bar = best.least < SMALL ? SMALL : best.least;
            int one_value = best.least >= SMALL || best.most_small - best.least < 10 * SLACK;
            verdict = best.least < FAR && best.open > bar + SLACK && one_value ? YES : DOUBT;
            rms[done] = best.least;
        }
        verdicts[done++] = (int8_t)verdict;
        if (verdict == YES && stop_at_first) break;
    }
    free(memory);
    return done;
}
