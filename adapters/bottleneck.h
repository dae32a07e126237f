/* Bottleneck adapters: u = s * U f(D h + d) + u0 on the output of a sub-layer. Houlsby et al. 2019 (both sub-layers), Pfeiffer et
 * al. 2021 (feed-forward only, behind the norm), He et al. 2022 (in parallel to the feed-forward), Steitz & Roth 2024
 * (AdapterPlus), Karimi Mahabadi et al. 2021 (Compacter: D and U are sums of Kronecker products). Options, defaults and files are
 * the Adapters library's; its switches are read as its Adapter.pre_forward and post_forward do.
 *   bottleneck.c           configuration, declaring, initial values
 *   bottleneck_join.c      operators
 *   bottleneck_drop.c      AdapterDrop
 *   bottleneck_variants.c  the methods: rows of data
 *   phm.c                  Compacter's maps */
#ifndef ESPL_BOTTLENECK_H
#define ESPL_BOTTLENECK_H

#include "adapters/gate.h"
#include "adapters/invertible.h"
#include "adapters/phm.h"

/* What the variants differ in; the names are the library's configuration keys, shortened. */
typedef struct bottleneck_preset {
    bool attention;   /* mh_adapter: also after the attention */
    bool parallel;    /* is_parallel: reads the sub-layer's input */
    bool base_before; /* original_ln_before */
    bool base_after;  /* original_ln_after */
    bool residual_before; /* residual_before_ln */
    bool phm;         /* phm_layer */
    bool alone;       /* neither sub-layer: the invertible adapter alone */
    int reduction;
    const char *activation, *init;
    const char *scaling; /* "learned", "channel", or NULL: factor */
    double factor;
} bottleneck_preset;

enum { BOTTLENECK_ATTENTION, BOTTLENECK_MLP, BOTTLENECK_PLACES };
typedef enum bottleneck_scaling { SCALING_FIXED, SCALING_LEARNED, SCALING_CHANNEL } bottleneck_scaling;
/* residual_before_ln: true, "post_add", false. */
typedef enum bottleneck_residual { RESIDUAL_OUTPUT, RESIDUAL_SUM, RESIDUAL_INPUT } bottleneck_residual;

/* Matrices of one adapter of one block. */
typedef struct bottleneck {
    uint32_t width; /* 0: none here */
    espl_phm_map down, up; /* dense or sums of Kronecker products */
    uint32_t scaling;
    espl_gate gate;
    uint32_t before[2], after[2]; /* scale and shift of its own norms */
} bottleneck;

typedef struct bottleneck_state {
    bool normed; /* parallel: reads what the sub-layer's maps do, its norm where that comes first, and not the residual */
    bool at[BOTTLENECK_PLACES], parallel, norm_before, norm_after, base_before, base_after, residual_inside, gated;
    bottleneck_residual residual;
    bottleneck_scaling scaling;
    float factor, dropout;
    uint32_t activation;
    const char *init;
    espl_phm_options phm;
    espl_invertible invertible;
    uint32_t dropped; /* AdapterDrop: so many of the lowest blocks go without from the next graph on */
    uint32_t robust; /* AdapterDrop: up to so many of the lowest blocks go without in a training step */
    bottleneck (*blocks)[BOTTLENECK_PLACES]; /* owned */
} bottleneck_state;

extern const espl_spec_row espl_bottleneck_keys[], espl_parallel_keys[];
espl_status espl_bottleneck_set(espl_adapter *adapter, const char *key, const char *value);
espl_status espl_bottleneck_declare(espl_adapter *adapter, const bottleneck_preset *preset);
/* drop=n, the n lowest blocks left out, becomes leave_out. */
espl_status espl_bottleneck_set_drop(espl_adapter *adapter, const char *value);
/* Reads robust_drop. */
espl_status espl_bottleneck_read_drop(espl_adapter *adapter, bottleneck_state *state);
uint32_t espl_bottleneck_first_block(const espl_adapter *adapter);
/* What a block's adapter adds, or 0 in a step that goes without it. */
espl_tensor *espl_bottleneck_drop(espl_builder *builder, const espl_adapter *adapter, uint32_t block, espl_tensor *u);
espl_status espl_bottleneck_initialise(espl_adapter *adapter, uint64_t seed);
espl_tensor *espl_bottleneck_join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y);
/* What join is made of, for adapters that put others' branches together (fusion.c): its matrices at a joint, or NULL; what its branch
 * reads there, and what is added to that (the joint is closed as it leaves it); the branch s * U f(D h). */
const bottleneck *espl_bottleneck_at(const espl_adapter *adapter, const espl_joint *joint);
espl_tensor *espl_bottleneck_before(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y,
                                    espl_tensor **out_residual);
/* What it makes of these two: the branch, dropped out, gated and added, with its own norm. */
espl_tensor *espl_bottleneck_after(espl_builder *builder, const espl_adapter *adapter, uint32_t block, const bottleneck *b, espl_tensor *h,
                                   espl_tensor *residual);
espl_tensor *espl_bottleneck_up(espl_builder *builder, const espl_adapter *adapter, const bottleneck *b, espl_tensor *h);
bool espl_is_bottleneck(const espl_adapter *adapter);
/* The module that has a block's adapters, below the block. */
const char *espl_bottleneck_module(const espl_adapter *adapter, int location);
/* AdapterDrop's draw. */
espl_status espl_bottleneck_step(const espl_adapter *adapter, const espl_step_info *info, void *const *values);
void espl_bottleneck_finish(espl_adapter *adapter);

#endif
