/* Cross entropy fused with the output projection; only `chunk` rows of logits exist at a time:
 *   logits[t,:] = h[t,:] W^T + b   loss[t] = log(sum over j of exp(logits[t,j])) - logits[t, label[t]]
 * h       [tokens, d] f32 f16 bf16          read
 * w       [vocabulary, d] f32 f16 bf16      read; its gradient is added to if it is a PARAMETER
 * bias    [1, vocabulary] f32               read unless NULL; likewise
 * labels  STEP [1, tokens] I32              read; negative: the token does not count
 * chunk   rows of logits at a time; 0: what fits 64 MiB
 * returns loss [tokens, 1] f32, 0 where the label is negative. The gradients are those of the sum of losses times
 * LOSS_SCALE of the step buffer and are made in the same pass (the loss is the root of every backward pass), so nothing
 * is computed twice: 6 tokens d vocabulary operations with gradients of both, 2 without.
 * Fails:  ARGUMENT if shapes or dtypes disagree. Labels beyond the vocabulary are the caller's to refuse.
 * Source: chunking as in Hsu et al. 2024 (Liger), eq. of softmax cross entropy. Reference: tests/ref/ref_cross_entropy.c */
#ifndef ESPL_OP_CROSS_ENTROPY_H
#define ESPL_OP_CROSS_ENTROPY_H

#include "host/graph/graph.h"

typedef struct espl_cross_entropy {
    espl_tensor *h, *w, *labels;
    uint32_t chunk;
    espl_tensor *bias;
} espl_cross_entropy;

espl_tensor *espl_graph_cross_entropy(espl_graph *graph, const espl_cross_entropy *args);

extern const espl_op espl_op_cross_entropy;

#endif
