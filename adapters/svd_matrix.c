/* The best approximation of a whole matrix s by one of less rank. Its first singular vectors on the shorter side are those of s s^T,
 * found without the others: reflections make it tridiagonal, bisection finds the largest eigenvalues, inverse iteration each vector.
 * What s is in the space of these vectors is a product of few ranks, which is decomposed as one: their rounding, and the squares
 * of s s^T, then count by their square alone. */
#include "adapters/svd.h"
#include <float.h>
#include <math.h>

/* [rows, cols], rows <= cols */
typedef struct matrix {
    const double *values;
    size_t rows, cols;
} matrix;

typedef struct tridiagonal {
    double *diagonal, *beside; /* owned, count each; beside[i] between i and i + 1 */
    double *work;              /* owned, 3 count */
    size_t count;
} tridiagonal;

/* Four sums, because one waits for each addition. */
static double dot(const double *x, const double *y, size_t count) {
    double sum[4] = {0};
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        for (size_t k = 0; k < 4; k++) sum[k] += x[i + k] * y[i + k];
    }
    for (; i < count; i++) sum[0] += x[i] * y[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static void add(double factor, const double *x, double *to, size_t count) {
    for (size_t i = 0; i < count; i++) to[i] += factor * x[i];
}

static void normalise(double *x, size_t count) {
    const double length = sqrt(dot(x, x, count));
    for (size_t i = 0; length > 0 && i < count; i++) x[i] /= length;
}

/* to [cols, rows] */
static void transpose(const double *from, size_t rows, size_t cols, double *to) {
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < cols; c++) to[c * rows + r] = from[r * cols + c];
    }
}

/* g = s s^T [rows, rows], a few rows at a time, which stay in the cache. */
static void square(const matrix *s, double *g) {
    enum { BLOCK = 8 };
    for (size_t first = 0; first < s->rows; first += BLOCK) {
        for (size_t c = 0; c < s->rows && c < first + BLOCK; c++) {
            for (size_t r = c > first ? c : first; r < first + BLOCK && r < s->rows; r++)
                g[r * s->rows + c] = g[c * s->rows + r] = dot(s->values + r * s->cols, s->values + c * s->cols, s->cols);
        }
    }
}

/* Symmetric g [count, count] becomes the reflections, each in its row behind the diagonal; their product turns g into t. */
static void reduce(double *g, tridiagonal *t) {
    const size_t n = t->count;
    for (size_t k = 0; k < n; k++) {
        const size_t left = n - k - 1;
        double *v = g + k * n + k + 1, *below = v + n, *p = t->work;
        t->diagonal[k] = v[-1];
        if (left == 0) break;
        const double norm = sqrt(dot(v, v, left));
        t->beside[k] = v[0] > 0 ? -norm : norm;
        v[0] -= t->beside[k];
        normalise(v, left);
        for (size_t i = 0; i < left; i++) p[i] = 0;
        for (size_t r = 0; r < left; r++) add(v[r], below + r * n, p, left);
        add(-dot(p, v, left), v, p, left);
        for (size_t r = 0; r < left; r++) {
            add(-2 * v[r], p, below + r * n, left);
            add(-2 * p[r], v, below + r * n, left);
        }
    }
}

/* Eigenvalues of t that are larger than x: Sylvester's law of inertia. */
static size_t count_above(const tridiagonal *t, double x) {
    size_t found = 0;
    double pivot = 1;
    for (size_t i = 0; i < t->count; i++) {
        const double beside = i ? t->beside[i - 1] : 0;
        pivot = t->diagonal[i] - x - beside * beside / pivot;
        if (pivot == 0) pivot = DBL_MIN;
        found += pivot > 0;
    }
    return found;
}

/* The one that `before` are larger than; bound: none is larger. t has none below 0 but for rounding. */
static double eigenvalue(const tridiagonal *t, size_t before, double bound) {
    double least = 0, most = bound;
    for (int bit = 0; bit < DBL_MANT_DIG + 8; bit++) {
        const double middle = least + (most - least) / 2;
        if (count_above(t, middle) > before) least = middle;
        else most = middle;
    }
    return most;
}

/* x = (t - shift)^-1 x by elimination with exchange of rows; pivots of 0 become tiny. */
static void solve(const tridiagonal *t, double shift, double tiny, double *x) {
    const size_t n = t->count;
    double *a = t->work, *b = a + n, *c = b + n; /* diagonal and the two right of it */
    a[0] = t->diagonal[0] - shift, b[0] = n > 1 ? t->beside[0] : 0, c[0] = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        double first = t->beside[i], second = t->diagonal[i + 1] - shift, third = i + 2 < n ? t->beside[i + 1] : 0;
        if (fabs(first) > fabs(a[i])) {
            const double row[] = {a[i], b[i], c[i]}, right = x[i];
            a[i] = first, b[i] = second, c[i] = third, x[i] = x[i + 1];
            first = row[0], second = row[1], third = row[2], x[i + 1] = right;
        }
        if (fabs(a[i]) < tiny) a[i] = tiny;
        const double factor = first / a[i];
        a[i + 1] = second - factor * b[i], b[i + 1] = third - factor * c[i], c[i + 1] = 0;
        x[i + 1] -= factor * x[i];
    }
    if (fabs(a[n - 1]) < tiny) a[n - 1] = tiny;
    for (size_t i = n; i-- > 0;) {
        if (i + 1 < n) x[i] -= b[i] * x[i + 1];
        if (i + 2 < n) x[i] -= c[i] * x[i + 2];
        x[i] /= a[i];
    }
}

/* Orthonormal eigenvectors of the `wanted` largest eigenvalues of t, of equal ones any. */
static void find_vectors(const tridiagonal *t, size_t wanted, double *vectors) {
    enum { STEPS = 3 }; /* one is mostly enough */
    const size_t n = t->count;
    double bound = 0;
    espl_random random = {0};
    for (size_t i = 0; i < n; i++)
        bound = fmax(bound, fabs(t->diagonal[i]) + fabs(t->beside[i]) + (i ? fabs(t->beside[i - 1]) : 0));
    for (size_t j = 0; j < wanted; j++) {
        const double value = eigenvalue(t, j, bound);
        double *x = vectors + j * n;
        for (size_t i = 0; i < n; i++) x[i] = espl_random_normal(&random);
        for (int step = 0; step < STEPS; step++) {
            solve(t, value, DBL_EPSILON * bound + DBL_MIN, x);
            normalise(x, n);
            for (int pass = 0; pass < 2; pass++) { /* the second takes out what rounding left of the first */
                for (size_t other = 0; other < j; other++) add(-dot(x, vectors + other * n, n), vectors + other * n, x, n);
                normalise(x, n);
            }
        }
    }
}

/* vectors [wanted, rows]: of s on the left */
static espl_status left_vectors(espl_context *ctx, const matrix *s, size_t wanted, double *vectors) {
    const size_t n = s->rows;
    tridiagonal t = {.count = n};
    double *g = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_new(ctx, n * n * sizeof *g, &g));
    ESPL_GOTO(espl_new(ctx, n * sizeof *t.diagonal, &t.diagonal));
    ESPL_GOTO(espl_new(ctx, n * sizeof *t.beside, &t.beside));
    ESPL_GOTO(espl_new(ctx, 3 * n * sizeof *t.work, &t.work));
    square(s, g);
    reduce(g, &t);
    find_vectors(&t, wanted, vectors);
    for (size_t j = 0; j < wanted; j++) {
        for (size_t k = n; k-- > 0;) {
            const double *v = g + k * n + k + 1;
            double *x = vectors + j * n + k + 1;
            add(-2 * dot(v, x, n - k - 1), v, x, n - k - 1);
        }
    }
fail:
    espl_free(ctx, &g);
    espl_free(ctx, &t.diagonal);
    espl_free(ctx, &t.beside);
    espl_free(ctx, &t.work);
    return status;
}

espl_status espl_svd_matrix(espl_context *ctx, const double *m, uint32_t in, uint32_t out, uint32_t rank, double *out_a,
                            double *out_b) {
    const bool tall = out > in;
    matrix s = {.values = m, .rows = tall ? in : out, .cols = tall ? out : in};
    const uint32_t k = rank < s.rows ? rank : (uint32_t)s.rows;
    double *turned = NULL, *vectors = NULL, *image = NULL, *b = NULL;
    espl_status status = ESPL_OK;
    ESPL_GOTO(espl_new(ctx, k * s.rows * sizeof *vectors, &vectors));
    ESPL_GOTO(espl_new(ctx, k * s.cols * sizeof *image, &image));
    ESPL_GOTO(espl_new(ctx, (size_t)k * out * sizeof *b, &b));
    if (tall) {
        ESPL_GOTO(espl_new(ctx, (size_t)in * out * sizeof *turned, &turned));
        transpose(m, out, in, turned);
        s.values = turned;
    }
    ESPL_GOTO(left_vectors(ctx, &s, k, vectors));
    for (size_t j = 0; j < k; j++) {
        for (size_t r = 0; r < s.rows; r++) add(vectors[j * s.rows + r], s.values + r * s.cols, image + j * s.cols, s.cols);
    }
    transpose(tall ? image : vectors, k, out, b);
    status = espl_svd_product(ctx, tall ? vectors : image, b, in, out, k, rank, out_a, out_b);
fail:
    espl_free(ctx, &turned);
    espl_free(ctx, &vectors);
    espl_free(ctx, &image);
    espl_free(ctx, &b);
    return status;
}
