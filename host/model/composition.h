/* Which adapters take part in a graph, and how its rows are shared among them: a tree over adapters with the blocks of the Adapters
 * library (Poth et al. 2023, arXiv 2311.11077, section 3.2). adapters/composition.c reads it from its expression, composition.c
 * and composition_shares.c build it: at each joint every child of a block makes its own of what comes in, for all rows, and each
 * row takes the sum of these times the shares that it has in the children. Shares lie in the step buffer, so that they follow a batch
 * without recording. */
#ifndef ESPL_COMPOSITION_H
#define ESPL_COMPOSITION_H

#include "host/model/build.h"

#define ESPL_COMPOSITION_BASE_NAME "__base__"

typedef enum espl_composition_kind {
    ESPL_COMPOSITION_ADAPTER,
    ESPL_COMPOSITION_BASE,  /* no adapter: what comes in goes out */
    ESPL_COMPOSITION_LIST,  /* a+b: one after the other. The root */
    ESPL_COMPOSITION_STACK, /* the same, inside of blocks */
    ESPL_COMPOSITION_FUSE,  /* while it is read: then the AdapterFusion that it names */
    /* Blocks whose children share rows: */
    ESPL_COMPOSITION_SPLIT,      /* tokens of a sequence, in their order */
    ESPL_COMPOSITION_BATCHSPLIT, /* sequences of a batch, in their order */
    ESPL_COMPOSITION_MULTITASK,  /* sequences, each by its task */
    ESPL_COMPOSITION_PARALLEL,   /* copies of a batch, one after the other */
    ESPL_COMPOSITION_AVERAGE,    /* all: weights whose sum is 1 */
    ESPL_COMPOSITION_COMPAT_AVERAGE, /* those divided by the number of children: what the Adapters library computes */
    ESPL_COMPOSITION_KIND_COUNT
} espl_composition_kind;

struct espl_composition {
    espl_composition_kind kind;
    espl_adapter *adapter; /* ADAPTER; borrowed */
    double share;          /* what its block gives it: tokens, sequences, a weight */
    bool given;            /* that was said; in SPLIT one that was not takes what is left */
    json_t *tasks;         /* MULTITASK: its children's names; owned */
    uint32_t count;
    espl_composition *children, *next; /* owned lists */
    /* Owned list, ADAPTER that is an AdapterFusion: what fuse(stack(a,b),c) has in place of those that are fused, the last ones of
     * stacks. NULL: just these. */
    espl_composition *fused;
};

static inline bool espl_composition_shares(espl_composition_kind kind) {
    return kind >= ESPL_COMPOSITION_SPLIT;
}

/* Of blocks, in expressions. */
extern const char *const espl_composition_words[ESPL_COMPOSITION_KIND_COUNT];

/* Takes and clears; NULL is accepted. */
void espl_composition_destroy(espl_context *ctx, espl_composition **composition);
/* An adapter that is about to go takes no part any more, nor do the blocks that had it. */
void espl_composition_forget(espl_model *model, const espl_adapter *adapter);

/* The adapter is in it. */
bool espl_composition_names(const espl_composition *composition, const espl_adapter *adapter);
/* A node of the kind is in it. NULL: false. */
bool espl_composition_has(const espl_composition *composition, espl_composition_kind kind);
/* A row's place in its batch, or a token's in its sequence, says which adapters it has: then order and length of batches are the
 * caller's. */
bool espl_composition_goes_by_place(const espl_composition *composition);

/* How often a batch goes through the blocks: as often as parallel has children, else once. */
uint32_t espl_composition_replicas(const espl_composition *composition);
/* Below it no active adapter takes part, and a batch goes through once. */
uint32_t espl_composition_first_block(const espl_model *model);
/* Copies of x, one after the other, which are the batch from here on. */
espl_tensor *espl_build_replicas(espl_builder *builder, uint32_t replicas, espl_tensor *x);

/* What becomes of y at a joint. */
espl_tensor *espl_build_composition(espl_builder *builder, const espl_composition *composition, const espl_joint *joint, espl_tensor *y);
/* True if several adapters of the composition have heads, each for its rows or the last of a stack; then what these give
 * (espl_build_own_output). */
bool espl_composition_has_heads(const espl_composition *composition);
espl_tensor *espl_build_outputs(espl_builder *builder, const espl_composition *composition, espl_tensor *hidden);
/* The shares that rows have in a child of a block: [1, 1], [batch, 1] or [batch * tokens, 1]. Fails: ARGUMENT, UNSUPPORTED for rows that
 * cannot be shared so. */
espl_tensor *espl_build_shares(espl_builder *builder, const espl_composition *block, uint32_t child);
/* [times * n, n], over and over n rows with ones from corner to corner: makes logits of what are logits already, and of n rows that all
 * sequences have alike each one's own. */
espl_tensor *espl_build_identities(espl_builder *builder, uint32_t n, uint32_t times);

/* How rows are shared, for the step buffer; owned by the graph. */
typedef struct espl_shares espl_shares;
/* values: one [rows, 1] for each child, or the one of espl_build_identities, or lengths of replicas [1, batch]. Fails: ARGUMENT naming
 * the row whose task there is not. */
espl_status espl_shares_write(espl_shares *shares, const espl_step_info *info, void *const *values);

#endif
