/* Norm of all gradients, and what an optimiser step needs to know (shaders/lib/step.h names the words):
 *   GRAD_NORM = sqrt of the sum of squares over all gradients
 *   FINITE    = 1 if that is a finite number, else 0: then AdamW changes nothing
 *   CLIP      = min(1, MAX_NORM / (GRAD_NORM + 1e-6)) as torch.nn.utils.clip_grad_norm_; 1 if MAX_NORM is 0, 0 if
 *               FINITE is 0
 *   STEPS    += FINITE,  SKIPPED += 1 - FINITE,  BIAS1 = 1 - BETA1^STEPS,  BIAS2 = 1 - BETA2^STEPS
 * gradients  up to 5 x [1, n]         f32 STATE   read: whole ranges of gradient memory, zero where padding is
 * stats      [1, ESPL_STATS_WORDS]   f32 STATE   updated
 * Sums of squares in f32 in a fixed order; the biases are good to a few units in the last place for any STEPS to 2^24.
 * Cost:   one dispatch per gradient tensor and storage range, and one.
 * Fails:  ARGUMENT if shapes or dtypes disagree.
 * No gradient. Reference: tests/ref/ref_grad_norm.c */
#ifndef ESPL_OP_GRAD_NORM_H
#define ESPL_OP_GRAD_NORM_H

#include "host/graph/graph.h"

enum { ESPL_GRAD_NORM_TENSORS = 5 };

typedef struct espl_grad_norm {
    espl_tensor *gradients[ESPL_GRAD_NORM_TENSORS]; /* NULL: no more */
    espl_tensor *stats;
} espl_grad_norm;

/* stats after it. */
espl_tensor *espl_graph_grad_norm(espl_graph *graph, const espl_grad_norm *args);

extern const espl_op espl_op_grad_norm;

#endif
