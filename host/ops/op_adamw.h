/* One step of AdamW with decoupled weight decay, as torch.optim.AdamW, on a range of parameters; g = CLIP * gradient:
 *   m = BETA1 m + (1 - BETA1) g,   v = BETA2 v + (1 - BETA2) g^2
 *   p = p - LEARNING_RATE * (WEIGHT_DECAY p + (m / BIAS1) / (sqrt(v) / sqrt(BIAS2) + EPSILON))
 * p, m, v   [1, n]  f32 STATE   updated; n to 2^32 - 4
 * gradient  [1, n]  f32 STATE   read
 * stats     [1, ESPL_STATS_WORDS]  f32 STATE   read: after espl_graph_grad_norm of this step
 * decay     false: without weight decay
 * rate      factor of LEARNING_RATE for this range; 0 means 1
 * The capital words are of shaders/lib/step.h. Nothing changes while FINITE is 0. A range is whole memory of
 * parameters, padding between them too (zero gradients there change nothing but decay).
 * Cost:   one dispatch per storage range; reads 16 and writes 12 bytes for each parameter.
 * Fails:  ARGUMENT if shapes or dtypes disagree.
 * Source: Loshchilov & Hutter 2019, algorithm 2. No gradient. Reference: tests/ref/ref_adamw.c */
#ifndef ESPL_OP_ADAMW_H
#define ESPL_OP_ADAMW_H

#include "host/graph/graph.h"

typedef struct espl_adamw {
    espl_tensor *p, *gradient, *m, *v, *stats;
    bool decay;
    float rate;
} espl_adamw;

espl_status espl_graph_adamw(espl_graph *graph, const espl_adamw *args);

extern const espl_op espl_op_adamw;

#endif
