/* The Adapters library's LoRA: with L [out, r] and R [r, in] of a target,
 *   y = W x + b + s L R dropout(x)
 * s is alpha / r or, with use_gating, a number for each sequence and target (UniPELT, Mao et al. 2022, section 3.2).
 *   LoRA           L = lora_B, R = lora_A, of each target its own
 *   vera_d, vera_b  VeRA (Kopiczko et al. 2024) as that library has it: L = vera_B lora_B, R = vera_D lora_A, where lora_A and
 *                  lora_B are random, frozen and one pair for all targets, and vera_B [out, out] and vera_D [r, r] are trained
 *                  whole; they only start as diagonals
 *   mtl_lora       MTL-LoRA (Yang et al. 2024, arXiv 2410.09437, section 3): L = (sum over i of softmax(weights / sharpness)_i B_i)
 *                  diag(values), R = lora_A, with n_up_projection B_i in lora_B [n, out, r]; values [r] are the task's, and lora_A and
 *                  lora_B may be shared with other tasks' (espl_adapter_share)
 *   use_dora       DoRA (Liu et al. 2024) of either, as that library has it: all of y, its bias too, times m / n, where n is the
 *                  norm of the rows of W + L R, without s, and no constant
 * Source: github.com/adapter-hub/adapters 1.3.0, methods/lora.py. PEFT's own of these are lora.c, vera.c, dora.c. */
#ifndef ESPL_LORA_LIBRARY_H
#define ESPL_LORA_LIBRARY_H

#include "adapters/gate.h"
#include "adapters/lora.h"

typedef enum library_initial { LIBRARY_INITIAL_LORA, LIBRARY_INITIAL_BERT, LIBRARY_INITIAL_VERA } library_initial;

typedef struct library_target {
    espl_gate gate;
    uint32_t d, b; /* VeRA: matrices [r, r], [out, out] */
    uint32_t values, weights, ones; /* MTL-LoRA: [1, r], [1, n], and ones [out, 1], by which all rows have the same weights */
} library_target;

/* What LoRA's state does not have. */
typedef struct library_lora {
    bool gated, dora, vera;
    bool fused; /* q, k and v are one map: group->target[i].from and .b are row and matrix of the i-th of them */
    library_initial initial;
    uint32_t ups;     /* MTL-LoRA: how many B_i; 0: another */
    float sharpness;
    uint32_t rank, in, out; /* VeRA: in and out of the shared pair */
    uint32_t a, b;          /* VeRA: the pair */
    float scale, start_d, start_b;
    library_target targets[][ESPL_LINEAR_COUNT][ESPL_LINEAR_PARTS];
} library_lora;

/* Whether a configuration's LoRA is PEFT's too: without gates, DoRA and VeRA. */
bool espl_library_lora_is_plain(const json_t *config);
library_lora *espl_library_lora(const espl_adapter *adapter);
/* Matrices in one tensor of B. */
static inline uint32_t espl_library_lora_ups(const library_lora *library) {
    return library->ups ? library->ups : 1;
}
/* Declares what a product of a block has of targets. */
espl_status espl_library_lora_group(espl_adapter *adapter, uint32_t block, uint32_t linear, lora_group *group);
espl_status espl_library_lora_initialise(espl_adapter *adapter, uint64_t seed);
espl_tensor *espl_library_lora_join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y);
espl_tensor *espl_library_lora_stack(espl_builder *builder, const espl_adapter *const *adapters, uint32_t count, const espl_joint *joint,
                                     espl_tensor *y);
/* Exact, the bias with it; not with gates. */
espl_status espl_library_lora_merge(espl_adapter *adapter, const espl_place *place, float *weight, float *bias, bool *out_changed);

#endif
