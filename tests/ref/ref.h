/* References in double precision: each the formula of its operator, written to be read. Matrices are row-major without
 * padding. Arguments come in the order inputs, sizes, outputs. */
#ifndef ESPL_TESTS_REF_H
#define ESPL_TESTS_REF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One block per operator, in the order of host/ops/ops.cmake; add yours at the end of the file. */

/* out = a + b */
void ref_add(const double *a, const double *b, size_t count, double *out);

/* x rounded to f16 (mantissa 11, least exponent -14) or bf16 (8, -126), nearest even; too large is infinite. */
double ref_round(double x, int mantissa_bits, int least_exponent);
void ref_cast(const double *x, size_t count, int mantissa_bits, int least_exponent, double *out);

/* t[from .. from + count) = value */
void ref_fill(double value, size_t from, size_t count, double *t);

/* out[c] += sum over r of x[r, from + c] */
void ref_colsum(const double *x, size_t rows, size_t x_cols, size_t from, size_t cols, double *out);

/* y[t] = scale * table[ids[t]] + position_table[position_from + positions[b] + i]; either of the last two may be NULL. */
void ref_embedding(const double *ids, const double *table, const double *position_table, const double *positions,
                   size_t batch, size_t tokens, size_t vocabulary, size_t position_count, size_t position_from,
                   size_t cols, double scale, double *y);

/* Groups of group_cols columns from `from`; other columns are copied. */
void ref_rmsnorm(const double *x, const double *w, size_t rows, size_t cols, size_t from, size_t groups,
                 size_t group_cols, double eps, double *y);
/* b may be NULL. */
void ref_layernorm(const double *x, const double *w, const double *b, size_t rows, size_t cols, double eps, double *y);

/* kind: ACTIVATION_... of shaders/activation.h */
double ref_activate(double x, unsigned kind);
void ref_activation(const double *x, size_t rows, size_t x_cols, size_t from, size_t cols, unsigned kind, bool gated,
                    size_t gate_from, double *y);

/* The words of random numbers are philox(seed, stream, r * ceil(cols / 4) + c / 4)[c % 4]. */
/* Gates of alpha [n]; what stays open when nothing is drawn; the penalty whose gradients the operator sparsity adds. */
void ref_hard_concrete_drawn(const double *alpha, size_t n, double beta, double low, double high, uint64_t seed,
                             uint64_t stream, double *z);
void ref_hard_concrete_open(const double *alpha, size_t n, double beta, double low, double high, double soft, double *z);
double ref_sparsity(const double *alpha, const double *share, size_t n, double beta, double low, double high, double target,
                    const double lambda[2]);
/* group: NULL or alphas of groups, of which i begins at row (of one row: column) begins[i]; drawn with word 0 of index i. */
typedef struct ref_diff_args {
    size_t rows, cols, groups;
    const uint32_t *begins;
    double low, high;
    bool drawn;
    uint64_t seed, stream, group_stream;
} ref_diff_args;
void ref_diff_weight(const double *base, const double *delta, const double *alpha, const double *group, const ref_diff_args *args,
                     double *w);
/* A word as host/ops/op_dropout.h names it, as a number in [0, 1). */
double ref_dropout_word(uint64_t seed, uint64_t stream, uint64_t index, unsigned word);
/* The factor of the weight of query row i, head h, key j of attention. */
typedef struct ref_dropout_args {
    double p; /* 0: none */
    uint64_t seed, stream;
} ref_dropout_args;
double ref_dropout_factor(const ref_dropout_args *args, size_t i, size_t h, size_t j, size_t keys);
void ref_dropout(const double *x, size_t rows, size_t cols, double p, uint64_t seed, uint64_t stream, double *y);

/* stats[word] += factor * sum of x */
void ref_sum(const double *x, size_t count, double factor, size_t word, double *stats);

/* stats as named in shaders/lib/step.h; max_norm 0: no clipping. */
void ref_grad_norm(const double *gradients, size_t count, double max_norm, double beta1, double beta2, double *stats);

/* One step of torch.optim.AdamW; clip, bias1, bias2 and finite from stats. */
typedef struct ref_adamw_args {
    double rate, beta1, beta2, epsilon, decay;
} ref_adamw_args;
void ref_adamw(const double *gradients, const double *stats, size_t count, const ref_adamw_args *args, double *p,
               double *m, double *v);

/* As host/ops/op_attention.h; positions and lengths may be NULL, scale 0 means 1 / sqrt(head_size). */
typedef struct ref_attention_args {
    size_t batch, queries, capacity, heads, kv_heads, head_size;
    size_t q_cols, k_cols, v_cols, q_from, k_from, v_from;
    double scale;
    bool causal;
    size_t window;
    ref_dropout_args dropout;
} ref_attention_args;
void ref_attention(const double *q, const double *k, const double *v, const double *positions, const double *lengths,
                   const ref_attention_args *args, double *o);

/* As host/ops/op_rotary.h; positions may be NULL; cache and cache_after NULL: no cache. */
typedef struct ref_rotary_args {
    size_t batch, queries, cols, q_from, heads, k_from, v_from, kv_heads, head_size, pairs;
    bool interleaved;
    double magnitude;
    size_t capacity, cache_cols, cache_k_from, cache_v_from;
} ref_rotary_args;
void ref_rotary(const double *x, const double *frequencies, const double *positions, const double *cache,
                const ref_rotary_args *args, double *y, double *cache_after);

/* C[m,n] = scale * sum over k of A(m,k) B(k,n) + bias[n] + residual[m,n]; a and b are the stored matrices, of a_cols and
 * b_cols columns, from whose columns a_from and b_from A and B are taken; bias and residual may be NULL. C has c_cols columns,
 * is written from c_from, and is added to if accumulate. */
typedef struct ref_matmul_args {
    uint32_t orientation; /* MATMUL_NT, MATMUL_NN, MATMUL_TN */
    size_t m, n, k, a_cols, b_cols, a_from, b_from, c_cols, c_from;
    double scale;
    bool accumulate;
} ref_matmul_args;
void ref_matmul(const double *a, const double *b, const double *bias, const double *residual,
                const ref_matmul_args *args, double *c);

/* loss[t] = log(sum over j of exp(h[t] . w[j] + bias[j])) - h[t] . w[label[t]] - bias[label[t]]; 0 for a negative label.
 * bias may be NULL. */
void ref_cross_entropy(const double *h, const double *w, const double *bias, const double *labels, size_t tokens, size_t vocabulary, size_t d,
                       double *loss);

/* y = x * s in columns [from, from + count), x elsewhere; s_rows divides rows, s_cols is 1 or count. */
void ref_scale(const double *x, const double *s, size_t rows, size_t cols, size_t from, size_t count, size_t s_rows,
               size_t s_cols, double *y);

/* before rows of a (each: of its own for every sequence), then the sequence's rows of x. */
void ref_concat(const double *a, const double *x, size_t batch, size_t before, bool each, size_t rows, size_t x_cols, size_t from,
                size_t cols, double *y);
/* rows of each sequence of x from row first, columns from. */
void ref_slice(const double *x, size_t batch, size_t x_rows, size_t x_cols, size_t first, size_t rows, size_t from, size_t cols,
               double *y);

/* As host/ops/op_unfold.h; lengths may be NULL. */
void ref_unfold(const double *x, const double *lengths, size_t batch, size_t tokens, size_t cols, size_t kernel, double *y);

/* y[g,c] = mean over the rows r of group g of x[r,c] */
void ref_mean(const double *x, size_t rows, size_t cols, size_t groups, double *y);

/* H = sum of A_i (x) left_i right_i; right NULL: left is W. */
void ref_phm(const double *rule, const double *left, const double *right, size_t n, size_t in, size_t out, size_t rank,
             double *h);

/* loss[r] = mean over c of (x[r,c] - targets[r,c])^2; 0 for a negative label. */
void ref_mse(const double *x, const double *targets, const double *labels, size_t rows, size_t cols, double *loss);

/* As host/ops/op_group_cross_entropy.h; rows: of a group. */
void ref_group_cross_entropy(const double *x, const double *labels, size_t groups, size_t rows, size_t cols, double *loss);

/* y[b] = x[b * sequence], or x[b * sequence + lengths[b] - 1] if last; lengths may be NULL. */
void ref_pick(const double *x, const double *lengths, size_t batch, size_t sequence, size_t cols, bool last, double *y);

/* y[o] = |W(o,:) + scale * b[o,:] a[a_from.., :]|, or 1 / that; W(o,i) = w[w_from + o, i], or in_out: w[i, w_from + o] */
void ref_fusion_scores(const double *q, const double *const *u, size_t rows, size_t cols, size_t count, double *s);
void ref_fusion_mix(const double *s, const double *const *u, size_t rows, size_t cols, size_t count, double *y);
void ref_row_norm(const double *w, size_t w_stride, bool in_out, size_t w_from, const double *a, size_t a_from, size_t in,
                  const double *b, size_t out, size_t rank, double scale, bool inverse, double *y);

/* y = factor (g - I) / |g - I| in the block from .. from + count of g [n, n], 0 if that norm is 0 */
void ref_orthogonal(const double *g, size_t n, size_t from, size_t count, double factor, double *y);

/* Rows that are orthonormal from x's reflections (host/ops/op_householder.h). */
void ref_householder(const double *x, size_t rows, size_t cols, double *y);

/* mean, spread: updated from |p g|; score[n] += mean over row (or column) from + n of mean * spread */
void ref_importance(const double *p, const double *g, size_t rows, size_t cols, size_t from, size_t count, bool columns,
                    double beta1, double beta2, double *mean, double *spread, double *score);

/* e[n] = 0 where fewer than k scores are below score[slot + n] */
void ref_prune(const double *score, size_t all, size_t k, size_t slot, size_t count, double *e);

/* As host/ops/op_relative_attention.h; zero is the entry of buckets for distance 0; lengths may be NULL. */
typedef struct ref_relative_args {
    size_t batch, tokens, keys, heads, head_size, q_cols, kv_cols, r_cols, q_from, k_from, v_from, rq_from, rk_from, zero;
    double scale;
    ref_dropout_args dropout;
} ref_relative_args;
void ref_relative_attention(const double *q, const double *kv, const double *relative, const double *buckets, const double *lengths,
                            const ref_relative_args *args, double *o);

#endif
