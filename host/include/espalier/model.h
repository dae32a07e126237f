/* A transformer on a device: its weights, its configuration, its tokenizer. */
#ifndef ESPALIER_MODEL_H
#define ESPALIER_MODEL_H

#include <espalier/device.h>
#include <espalier/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct espl_model espl_model;

typedef enum espl_mode {
    ESPL_MODE_EXACT, /* f32 sums in a fixed order, no cooperative matrix: the same bits on every run on a device */
    /* Base weights, activations and key-value cache in f16 or bf16; sums, gradients, adapters, optimiser and logits in f32. */
    ESPL_MODE_FAST
} espl_mode;

/* What is asked of a model, which decides what stands behind its last hidden state and what the loss is. */
typedef enum espl_head_kind {
    ESPL_HEAD_DEFAULT,        /* what "architectures" of config.json names; if that is not known, LANGUAGE for decoders and
                                 NONE for encoders */
    ESPL_HEAD_NONE,           /* hidden states; no loss */
    ESPL_HEAD_LANGUAGE,       /* the next token; decoders only */
    ESPL_HEAD_MASKED,         /* tokens in their own place; encoders only */
    ESPL_HEAD_CLASSIFICATION, /* one of `labels` classes for each row: of the first token, in decoders of the last */
    ESPL_HEAD_REGRESSION,     /* `labels` numbers for each row; mean squared error */
    ESPL_HEAD_TAGGING,        /* one of `labels` classes for each token */
    ESPL_HEAD_SPANS,          /* question answering: for each token two numbers, for the start and the end of the answer; cross entropy
                                 of each over the tokens of the row, the mean of both */
    ESPL_HEAD_CHOICES         /* multiple choice: a number for each row, cross entropy over `choices` rows that follow each other */
} espl_head_kind;

/* A flexible head of the Adapters library, in place of the family's own: espl_head_read has it from a folder. */
typedef struct espl_flexible_head {
    uint32_t layers; /* 0: the family's own head; 1: the last map alone; 2: a dense map and an activation before that */
    const char *activation; /* borrowed while the model is loaded; of the dense map, as in config.json; NULL: "tanh", for words "gelu" */
    bool pooler;            /* rows with labels: behind the family's pooler (BERT, ALBERT) */
    bool norm;              /* words: a layer norm behind the activation */
    bool bias;              /* the last map has one */
} espl_flexible_head;

/* Matrices of the head that the folder's weights lack start from N(0, initializer_range^2), biases from 0, by
 * espl_model_params.seed; a warning names them. */
typedef struct espl_head_params {
    espl_head_kind kind;
    uint32_t labels;                /* 0: as many as config.json has (id2label, num_labels), else 2, or 1 number; SPANS 2, CHOICES 1 */
    const char *const *label_names; /* labels of them; copied. NULL: those of config.json, else "LABEL_0", ... */
    uint32_t choices;               /* CHOICES: rows that are one question; 0: 2. No folder of a model says it */
    bool pairs;                     /* rows have two texts: for methods that go by the tokens around them */
    espl_flexible_head flexible;
} espl_head_params;

typedef struct espl_model_params {
    espl_mode mode;
    /* Base weights on the device, and in fast mode activations: NULL as stored (fast: f16 where that is f32), or "f32", "f16",
     * "bf16". Weights that are trained are f32. */
    const char *dtype;
    /* Start from random weights (config.json and the tokenizer are read, weights are not): Linear and embeddings
     * N(0, initializer_range^2), norms 1, biases 0. */
    bool random;
    uint64_t seed;
    /* All weights trainable: kept in f32 whatever dtype says. */
    bool trainable;
    espl_head_params head;
} espl_model_params;

/* A Hugging Face folder: config.json; model.safetensors or its shards; a tokenizer if there is one. Families: llama,
 * mistral, qwen2, qwen3, gpt2; encoders: bert, roberta, xlm-roberta, distilbert, electra, albert,
 * deberta-v2 (also v3). params may be NULL.
 * Fails: IO, FORMAT, UNSUPPORTED (model_type, an option of config.json that would change results), ARGUMENT (a dtype, labels or a head
 * that the model cannot have), LIMIT (sizes beyond what kernels count), DEVICE_MEMORY before any weight is read. */
espl_status espl_model_load(espl_device *device, const char *folder, const espl_model_params *params,
                            espl_model **out_model);
/* Trainers, sessions and adapters of it come first. Takes and clears; NULL is accepted. */
void espl_model_destroy(espl_model **model);

/* Writes model.safetensors (the family's names, f32), the tokenizer files and config.json into folder: all are on the
 * disk before any takes its place, so that where they do not fit the folder stays as it was.
 * Fails: IO, UNSUPPORTED for a flexible head, which such a folder has no place for. */
espl_status espl_model_save(espl_model *model, const char *folder);

/* Borrowed; NULL if the folder has none. While embeddings of other tokens are active (espl_adapter_add, "embeddings") it is theirs. */
espl_tokenizer *espl_model_tokenizer(const espl_model *model);
espl_device *espl_model_device(const espl_model *model);
const char *espl_model_folder(const espl_model *model);

typedef struct espl_model_info {
    const char *model_type;
    /* vocabulary: of the embeddings that are active. */
    uint32_t hidden_size, layers, heads, kv_heads, head_size, intermediate_size, vocabulary, context_max;
    uint32_t embedding_size; /* of a token's row; ELECTRA and ALBERT map it to the hidden size */
    uint64_t parameters, bytes;
    const char *dtype; /* of the largest weights on the device */
    espl_mode mode;
    espl_head_kind head;
    /* What one row, or with per_token one token, gives: labels, numbers, the vocabulary, or the hidden size. */
    uint32_t outputs;
    bool per_token;
    uint32_t choices;  /* rows that are one question; 1 but for CHOICES */
    uint32_t replicas; /* with the adapters that are active: so often does each row give that, once for each child of parallel */
} espl_model_info;
espl_model_info espl_model_describe(const espl_model *model);
/* The name of a label of a head with labels; NULL beyond them. Borrowed. */
const char *espl_model_label(const espl_model *model, uint32_t label);

/* ---- Adapters ---- */

typedef struct espl_adapter espl_adapter;

/* A new adapter with the defaults of its method. spec: "lora:r=8,alpha=16,targets=q_proj+v_proj,dropout=0.1,rslora,
 * init=default|gaussian|random,bias=none|all|lora_only,save=lm_head", or a PEFT adapter_config.json text (starts with '{').
 * name is unique among the model's adapters. Not active yet.
 * "embeddings:tokenizer=FOLDER,reference=NAME" is a token embedding in place of the base's, for the tokens of that tokenizer (without: the
 * base's), which begin as the reference's of the same spelling (NAME of other embeddings, "default" for the base's, which it is if
 * not said, or "none"), else from N(0, 0.02^2). While it is active ids, scores of tokens and espl_model_tokenizer are of its tokens; maps
 * into the vocabulary that are tied to the base's embedding are tied to it.
 * Fails: ARGUMENT (rank 0, unknown method, no module of the model matches), UNSUPPORTED. */
espl_status espl_adapter_add(espl_model *model, const char *name, const char *spec, uint64_t seed,
                             espl_adapter **out_adapter);
/* A folder of PEFT (adapter_config.json, adapter_model.safetensors or .bin) or of the Adapters library (adapter_config.json,
 * adapter.safetensors or pytorch_adapter.bin, and the head beside it; or of its save_embeddings, embedding.pt and perhaps tokenizer/).
 * Fails: FORMAT naming the tensor that does not fit this model, or is missing. */
espl_status espl_adapter_load(espl_model *model, const char *name, const char *folder, espl_adapter **out_adapter);
/* The same folder; all files are on the disk before any takes its place, so that where they do not fit it stays as it was.
 * Fails: IO; UNSUPPORTED for a head that the format has no place for. */
espl_status espl_adapter_save(espl_adapter *adapter, const char *folder);
/* Takes and clears. Merged weights are restored first, and so are those that were merged after it; sessions that use it must be
 * gone or deactivated, and those that use adapters which have tensors of it (espl_adapter_share) refreshed. */
void espl_adapter_delete(espl_adapter **adapter);
/* Borrowed from the adapter. */
const char *espl_adapter_name(const espl_adapter *adapter);
/* Of its method, as a spec has it: "lora". */
const char *espl_adapter_method(const espl_adapter *adapter);
/* Whether it takes part in graphs from now on (espl_model_activate). */
bool espl_adapter_is_active(const espl_adapter *adapter);
/* Values that are trained. */
uint64_t espl_adapter_parameters(const espl_adapter *adapter);

/* For "dylora": with how many of its ranks it takes part from the next submission on (sessions, evaluation); the largest when it
 * was made, with pb=fixed that one. Training draws its own. Fails: ARGUMENT if the adapter has no such rank, or no choice of
 * ranks. */
espl_status espl_adapter_set_rank(espl_adapter *adapter, uint32_t rank);
/* Its first `rank` ranks as a PEFT LORA folder, which gives what the adapter gives at that rank. Fails: as set_rank, IO. */
espl_status espl_adapter_export_rank(espl_adapter *adapter, uint32_t rank, const char *folder);

/* AdapterDrop while running: from the next graph on (as espl_model_activate) a bottleneck adapter, or the bottleneck parts of a
 * union, is missing in the lowest `blocks` blocks: what it has there costs nothing and is kept. 0: it is everywhere again.
 * Fails: ARGUMENT for more blocks than the model has, UNSUPPORTED for other methods. */
espl_status espl_adapter_drop(espl_adapter *adapter, uint32_t blocks);

/* A new adapter from others of the same method and configuration (what says only how they were trained may differ).
 * LINEAR: each tensor is the sum of theirs times the weights, which may be negative and need not sum to 1; of LoRAs this is not
 * the sum of what they add to the weights. NEGATE_B: the same of LoRAs without gates, but A's are summed with the weights' sizes,
 * so that a negative one takes away what a LoRA adds (Zhang et al. 2023; lora_linear_only_negate_b of the Adapters library).
 * For LoRAs of PEFT's format, and of the Adapters library's where no map has q, k and v, whose ranks and scales may differ (PEFT's
 * add_weighted_adapter, combination_type in parentheses; the result's scale is 1):
 *   CAT (cat)       exactly the sum of what they add, with all their ranks
 *   SVD (svd)       the closest to it of `rank` ranks; each scale counts once. The Adapters library's lora_delta_w_svd, which leaves
 *                   their scales out and multiplies by the old alpha over `rank`
 *   ROOTS (linear)  A and B summed each with the root of weight and scale: of equal ranks; has products of one's A and another's B
 * PEFT's of the same names keep a share `density` of each adapter's values, the others become 0: of A and B each, which are then
 * summed as by ROOTS, or (*_SVD) of what each adds to a weight, of any ranks, then as SVD. Weights count after that; one adapter
 * alone stays whole.
 *   MAGNITUDE_PRUNE the largest of each tensor are kept, the first ones of equal magnitude
 *   DARE_LINEAR     random ones, divided by the density. They are drawn by the library's counter-based random numbers from `seed`,
 *                   place among names, tensor and value: not PEFT's draws, but the same on every run and system
 *   TIES            the largest; then the mean over the adapters in which the value has the sign that `majority_sign` elects
 *   DARE_TIES       random ones, divided by the density; then as TIES
 * names, weights: count of each. params NULL: LINEAR. VeRAs must share their projections. Fails: ARGUMENT naming what differs, for
 * unequal ranks of A and B, for a density outside of (0, 1]; UNSUPPORTED. */
typedef enum espl_average {
    ESPL_AVERAGE_LINEAR,
    ESPL_AVERAGE_CAT,
    ESPL_AVERAGE_SVD,
    ESPL_AVERAGE_ROOTS,
    ESPL_AVERAGE_NEGATE_B,
    ESPL_AVERAGE_TIES,
    ESPL_AVERAGE_DARE_LINEAR,
    ESPL_AVERAGE_DARE_TIES,
    ESPL_AVERAGE_MAGNITUDE_PRUNE,
    ESPL_AVERAGE_TIES_SVD,
    ESPL_AVERAGE_DARE_LINEAR_SVD,
    ESPL_AVERAGE_DARE_TIES_SVD,
    ESPL_AVERAGE_MAGNITUDE_PRUNE_SVD
} espl_average;
typedef enum espl_majority_sign {
    ESPL_MAJORITY_SIGN_TOTAL,    /* of the sum of the values that are kept, without weights; of 0 positive */
    ESPL_MAJORITY_SIGN_FREQUENCY /* that more of them have; of as many positive */
} espl_majority_sign;
typedef struct espl_average_params {
    espl_average strategy;
    uint32_t rank;  /* of SVD and *_SVD; 0: as many as the largest has */
    double density; /* for those that keep a share, which have no default: above 0, at most 1 */
    espl_majority_sign majority_sign; /* of TIES and DARE_TIES */
    uint64_t seed; /* of DARE_LINEAR and DARE_TIES */
} espl_average_params;
espl_status espl_adapter_average(espl_model *model, const char *name, const char *const *names, const double *weights,
                                 size_t count, const espl_average_params *params, espl_adapter **out_adapter);

/* From now on these adapters have the tensors together that their method can share (mtl_lora: lora_A and lora_B; Yang et al. 2024,
 * arXiv 2410.09437, as share_parameters of the Adapters library): at first with the values of the reference, one of them, NULL: the first.
 * They are trained with any of them, once, by what all that are active make of them; each adapter counts and saves them, and averages
 * and merges with them. names: count of them. Graphs made after it use it (a session that is refreshed, a trainer that is created; one
 * that goes on from a checkpoint wants the same shared before); creating a trainer for some of them, or a probe, may take the memory of
 * others: sessions with these are refreshed then. One that shares with the reference already does so still.
 * Fails: ARGUMENT for configurations that differ in more than how they were trained, for one that is merged, for one that shares with
 * others, and for a reference that is none of them; UNSUPPORTED naming a method that shares nothing. Then nothing changes. */
espl_status espl_adapter_share(espl_model *model, const char *const *names, size_t count, const char *reference);
/* It has tensors of its own again, at first of the same values; those that had them of it have them of the next among themselves, as when
 * it is deleted. */
espl_status espl_adapter_unshare(espl_adapter *adapter);

/* Heads in the Adapters library's folders (head_config.json; model_head.safetensors, read also pytorch_model_head.bin), for
 * classes and numbers of rows, classes of tokens, answers' places, multiple choice, masked tokens and the next token. Static ones are
 * of a class of transformers; flexible ones are layers of their own, and a model that is loaded with espl_head_params.flexible has
 * these.
 * espl_head_read sets that for the head in head_folder where the family's own head has other layers (the library's default of two
 * layers is own in RoBERTa and XLM-RoBERTa alone; on BERT it takes the pooler's place), and leaves params as they are where it has
 * not, where the folder's head is for other work than params', and without a head there. It reads config files alone.
 * Loading takes a head whose layers are those of the model's into the model itself. A map into the vocabulary that is the token
 * embedding in this model must be the same in the folder. Nothing is changed unless all fits. Graphs made after it use it.
 * Writing: what is active (an adapter may have trained the head); name NULL: a static head, else a flexible one of that
 * name. Fails: IO, FORMAT; UNSUPPORTED naming the head_type, class or option that the model's head is not of.
 * A head is trained with adapters of that library's folders, but for the map into the vocabulary and its bias, and is then beside
 * them in these files; loading such an adapter takes the head there, if it is of the model's sort, as the adapter's own. */
espl_status espl_head_read(espl_context *context, const char *model_folder, const char *head_folder, espl_head_params *in_out_params);
espl_status espl_model_load_head(espl_model *model, const char *folder);
espl_status espl_model_save_head(const espl_model *model, const char *folder, const char *name);

/* Which adapters take part: an expression over their names. Graphs made after it use it; espl_session_refresh follows.
 *   ""               the base alone
 *   a+b              one after the other; LoRAs and others that add to a product add up
 *   stack(a,b)       the same, within another block
 *   fuse(a,b)        the AdapterFusion of just these (fusion:of=a+b); of fuse(stack(a,b),c) that of b and c, where b reads what a gives
 *   average(a:3,b:1) what they make of each value, times weights that are brought to the sum 1; without numbers all alike
 *   compat_average   what the Adapters library gives there: that divided by the number of adapters
 * and, for rows of one batch with different adapters, each computed as with its own alone:
 *   batchsplit(a:2,b:3)   the first two sequences of each batch have a, the next three b
 *   multitask(a,b)        by the row's task (espl_rows.tasks, espl_session_params.task): 0 has a, 1 has b; espl_model_task knows names
 *   split(a:5,b)          the first five tokens of each sequence have a, those that follow b; where all have numbers these are all
 *   parallel(a,b)         every sequence once with a and once with b: outputs have first all rows of a, then all of b, and the loss is
 *                         the sum of theirs. Blocks below the lowest adapter are computed once. Not in sessions
 * In these four "__base__" is a name for no adapter. Blocks stand in blocks as the Adapters library allows it (Poth et al. 2023,
 * arXiv 2311.11077, section 3.2): multitask(stack(a,b),average(c,d)). Heads that adapters bring are their rows'. Every adapter of a
 * block is computed for all rows: a block of n costs n adapters. With batchsplit and split batches keep their order.
 * Fails: ARGUMENT naming what is not there or does not go together: two adapters for the same rows and the tensor of the base in whose
 * place each has values of its own (heads, norms, biases, FLOP's products), or one that is merged; UNSUPPORTED for an adapter in a
 * block for rows that is about the whole batch (prompts, biases, norms, weights; rows of a prefix are in batchsplit and multitask alone,
 * with as many beside them, not in sessions); then nothing changes.
 * What a named AdapterFusion fuses takes part through it alone, whether it is named or not. */
espl_status espl_model_activate(espl_model *model, const char *expression);

/* A composition in the folder of the Adapters library (save_adapter_setup): adapter_setup.json, and a folder of each adapter under its
 * name. Loading activates it; an adapter whose name the model has already is that one. Saving: what is active, a block or one adapter.
 * Fails: IO, FORMAT, as espl_adapter_load and espl_model_activate, then no adapter has come; UNSUPPORTED for what that library has
 * not: adapters of PEFT's format, "a+b", average, "__base__", an open part of split. */
espl_status espl_model_load_setup(espl_model *model, const char *folder);
espl_status espl_model_save_setup(espl_model *model, const char *folder);

/* The number of a task by its name, for espl_rows.tasks and espl_session_params.task: its place among those for which the first
 * active adapter that has any has a part each (the links of "adalink:links=a+b"). Fails: ARGUMENT naming those there are. */
espl_status espl_model_task(const espl_model *model, const char *name, uint32_t *out_task);

/* Adds the adapter's change to the base weights, computed on the host, and makes it inactive; unmerge puts back exactly the
 * bits that were there, of which the host keeps an f32 copy until then. On failure the base is as it was.
 * Fails: ARGUMENT if already merged / not merged, if other adapters were merged after it, or for values that would not be finite;
 * UNSUPPORTED naming a method whose change is none of the weights; HOST_MEMORY. */
espl_status espl_adapter_merge(espl_adapter *adapter);
espl_status espl_adapter_unmerge(espl_adapter *adapter);

#ifdef __cplusplus
}
#endif
#endif
