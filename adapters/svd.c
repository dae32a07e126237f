#include "adapters/svd.h"
#include <math.h>
#include <string.h>

/* A matrix whose columns lie one after another. */
typedef struct columns {
    double *values; /* owned */
    size_t rows, count;
} columns;

static double *column(const columns *m, size_t i) {
    return m->values + i * m->rows;
}

static double dot(const double *x, const double *y, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += x[i] * y[i];
    return sum;
}

static espl_status make(espl_context *ctx, columns *m, size_t rows, size_t count) {
    *m = (columns){.rows = rows, .count = count};
    return espl_new(ctx, rows * count * sizeof *m->values, &m->values); /* zeros */
}

/* x -= 2 v (v x) for the reflection that column i of q holds from row i on; its length is 1, or 0 for none. */
static void reflect(const columns *q, size_t i, double *x) {
    const double *v = column(q, i) + i;
    const double twice = 2 * dot(v, x + i, q->rows - i);
    for (size_t r = i; r < q->rows; r++) x[r] -= twice * v[r - i];
}

/* m becomes the reflections, whose product in order times r (above its diagonal) was m. Rows are at least columns. */
static void decompose(columns *m, columns *r) {
    for (size_t i = 0; i < m->count; i++) {
        double *x = column(m, i);
        const double norm = sqrt(dot(x + i, x + i, m->rows - i)), diagonal = x[i] > 0 ? -norm : norm;
        memcpy(column(r, i), x, i * sizeof *x);
        column(r, i)[i] = diagonal;
        x[i] -= diagonal;
        memset(x, 0, i * sizeof *x);
        const double length = sqrt(dot(x + i, x + i, m->rows - i));
        for (size_t k = i; length > 0 && k < m->rows; k++) x[k] /= length;
        for (size_t next = i + 1; next < m->count; next++) reflect(m, i, column(m, next));
    }
}

/* Turns columns p and q of c so that they are orthogonal, and v with them. False if they are already. */
static bool rotate(columns *c, columns *v, size_t p, size_t q) {
    double *x = column(c, p), *y = column(c, q);
    const double xx = dot(x, x, c->rows), yy = dot(y, y, c->rows), xy = dot(x, y, c->rows);
    if (xy == 0 || fabs(xy) <= 1e-15 * sqrt(xx) * sqrt(yy)) return false;
    const double zeta = (yy - xx) / (2 * xy), t = (zeta < 0 ? -1 : 1) / (fabs(zeta) + sqrt(1 + zeta * zeta));
    const double cosine = 1 / sqrt(1 + t * t), sine = cosine * t;
    columns *const both[] = {c, v};
    for (size_t m = 0; m < 2; m++) {
        double *a = column(both[m], p), *b = column(both[m], q);
        for (size_t i = 0; i < both[m]->rows; i++) {
            const double old = a[i];
            a[i] = cosine * old - sine * b[i];
            b[i] = sine * old + cosine * b[i];
        }
    }
    return true;
}

/* c = u s v^T: c becomes u s, v the right vectors, both unsorted. */
static void diagonalise(columns *c, columns *v) {
    enum { SWEEPS_MAX = 60 }; /* it takes about ten */
    for (size_t i = 0; i < v->count; i++) column(v, i)[i] = 1;
    bool turned = true;
    for (int sweep = 0; turned && sweep < SWEEPS_MAX; sweep++) {
        turned = false;
        for (size_t p = 0; p < c->count; p++) {
            for (size_t q = p + 1; q < c->count; q++) turned |= rotate(c, v, p, q);
        }
    }
}

/* The column of the largest norm that is left; it is marked in done. */
static size_t take_largest(const columns *c, bool *done) {
    size_t best = c->count;
    double most = 0;
    for (size_t i = 0; i < c->count; i++) {
        const double norm = dot(column(c, i), column(c, i), c->rows);
        if (done[i] || (best < c->count && norm <= most)) continue;
        best = i;
        most = norm;
    }
    done[best] = true;
    return best;
}

/* Column i of small through the reflections q, into values `stride` apart. */
static void put(const columns *q, const columns *small, size_t i, double *work, size_t count, double *to, size_t stride) {
    memset(work, 0, q->rows * sizeof *work);
    memcpy(work, column(small, i), small->rows * sizeof *work);
    for (size_t r = q->count; r-- > 0;) reflect(q, r, work);
    for (size_t k = 0; k < count; k++) to[k * stride] = work[k];
}

espl_status espl_svd_product(espl_context *ctx, const double *a, const double *b, uint32_t in, uint32_t out, uint32_t k,
                             uint32_t rank, double *out_a, double *out_b) {
    const size_t in_rows = in > k ? in : k, out_rows = out > k ? out : k; /* zeros below, so that rows are enough */
    columns qa = {0}, qb = {0}, ra = {0}, rb = {0}, c = {0}, v = {0};
    double *work = NULL;
    bool *done = NULL;
    espl_status status = ESPL_OK;
    memset(out_a, 0, (size_t)rank * in * sizeof *out_a);
    memset(out_b, 0, (size_t)rank * out * sizeof *out_b);
    ESPL_GOTO(make(ctx, &qa, in_rows, k));
    ESPL_GOTO(make(ctx, &qb, out_rows, k));
    ESPL_GOTO(make(ctx, &ra, k, k));
    ESPL_GOTO(make(ctx, &rb, k, k));
    ESPL_GOTO(make(ctx, &c, k, k));
    ESPL_GOTO(make(ctx, &v, k, k));
    ESPL_GOTO(espl_new(ctx, (in_rows + out_rows) * sizeof *work, &work));
    ESPL_GOTO(espl_new(ctx, k * sizeof *done, &done));
    for (size_t i = 0; i < k; i++) {
        memcpy(column(&qa, i), a + i * in, in * sizeof *a);
        for (size_t r = 0; r < out; r++) column(&qb, i)[r] = b[r * k + i];
    }
    decompose(&qa, &ra);
    decompose(&qb, &rb);
    /* b a = qb (rb ra^T) qa^T */
    for (size_t i = 0; i < k; i++) {
        for (size_t j = 0; j < k; j++) {
            for (size_t l = i > j ? i : j; l < k; l++) column(&c, j)[i] += column(&rb, l)[i] * column(&ra, l)[j];
        }
    }
    diagonalise(&c, &v);
    for (size_t r = 0; r < rank && r < k; r++) {
        const size_t i = take_largest(&c, done);
        put(&qa, &v, i, work, in, out_a + r * in, 1);
        put(&qb, &c, i, work, out, out_b + r, rank);
    }
fail:
    espl_free(ctx, &qa.values);
    espl_free(ctx, &qb.values);
    espl_free(ctx, &ra.values);
    espl_free(ctx, &rb.values);
    espl_free(ctx, &c.values);
    espl_free(ctx, &v.values);
    espl_free(ctx, &work);
    espl_free(ctx, &done);
    return status;
}
