/* What methods with rows before a sequence share.
 *   prompt.c          PEFT's prompt and prefix tuning; operators of all
 *   lstm.c            of P-tuning's encoder, if it is asked for
 *   generator.c       the map that makes the rows while they are learned, and their rows without it
 *   prompt_initial.c  rows of the token embedding to begin with
 *   prefix_library.c  prefix tuning in the Adapters library's folders
 *   prompt_library.c  prompt tuning in these */
#ifndef ESPL_PROMPT_H
#define ESPL_PROMPT_H

#include "adapters/gate.h"

/* What the two directions of an LSTM gave, [rows, hidden] each; the second NULL: the first is all there is. */
typedef struct espl_halves {
    espl_tensor *half[2];
} espl_halves;

typedef struct espl_lstm_cell {
    uint32_t weight_ih, weight_hh, bias_ih, bias_hh; /* matrices */
} espl_lstm_cell;

typedef struct espl_lstm {
    uint32_t layers, hidden;
    espl_lstm_cell *cells; /* owned: of each layer one forwards, one backwards */
} espl_lstm;

/* table = W2 f(W1 E + b1) + b2 (Li & Liang 2021, section 4.3), of three maps W3 f(W2 f(...) + b2) + b3, with an LSTM of E's rows in
 * place of E (Liu et al. 2021 by PEFT's PromptEncoder); residual: + E (Razdaibiedina et al. 2023, arXiv 2305.03937). */
enum { ESPL_GENERATOR_MAPS = 3 };
typedef struct espl_generator {
    uint32_t maps; /* 0: there is none */
    bool residual;
    uint32_t embedding; /* matrix [rows, width] */
    uint32_t weight[ESPL_GENERATOR_MAPS], bias[ESPL_GENERATOR_MAPS]; /* from width by inner, inner, ... to columns */
    uint32_t activation;
    espl_lstm lstm; /* before the maps; no layers: none */
    float dropout;  /* between its layers */
} espl_generator;

typedef struct espl_generator_sizes {
    uint32_t maps, rows, width, inner, columns;
    uint32_t lstm_layers; /* 0: no LSTM; its width is half of inner, and its output as wide */
} espl_generator_sizes;

typedef struct prompt_state {
    uint32_t table; /* matrix [rows, embedding], or [rows, blocks (or their runs) * 2 * key columns] */
    bool keys;      /* prefix tuning */
    bool embedded;  /* a prompt whose rows enter behind the embedding: no positions, types or norm of their own */
    bool first;     /* of these: a head that reads the first row reads the prompt's */
    bool shifts;    /* the positions of real tokens begin behind the prefix */
    bool *rowless;  /* owned: per block, whether it has no rows; NULL: all have. Keys of others follow each other in the table */
    bool runs;      /* each run of a block has rows of its own, else those that share weights share them */
    espl_generator generator; /* in place of the table */
    float dropout;            /* of the prefix */
    espl_gate *gates;         /* owned: per block; NULL: none */
    uint32_t gate_count;      /* of a block: 1, or 2: one for keys, one for values */
} prompt_state;

uint32_t espl_prompt_columns(const espl_adapter *adapter); /* of a block's keys */
/* num_virtual_tokens or prefix_length into adapter->before. Fails: ARGUMENT beyond the context, UNSUPPORTED for keys of
 * odd widths. */
espl_status espl_prompt_read_rows(espl_adapter *adapter, const char *key, const prompt_state *state);
espl_tensor *espl_prompt_join(espl_builder *builder, const espl_adapter *adapter, const espl_joint *joint, espl_tensor *y);
espl_status espl_prompt_step(const espl_adapter *adapter, const espl_step_info *info, void *const *values);
espl_status espl_prompt_prelude(espl_builder *builder, const espl_adapter *adapter);
void espl_prompt_finish(espl_adapter *adapter);

/* Rows of the token embedding into the entry: of tokens that seed chooses; of those of the text under `key` of the configuration, as
 * the model's tokenizer has it with its special tokens, again and again. Fails: ARGUMENT without text, tokenizer or tokens. */
espl_status espl_prompt_from_vocabulary(espl_adapter *adapter, const espl_entry *rows, uint64_t seed);
espl_status espl_prompt_from_text(espl_adapter *adapter, const espl_entry *rows, const char *key);

espl_status espl_lstm_declare(espl_adapter *adapter, uint32_t layers, uint32_t width, uint32_t hidden, espl_lstm *lstm);
espl_status espl_lstm_initialise(espl_adapter *adapter, const espl_lstm *lstm, uint64_t seed);
bool espl_lstm_has(const espl_lstm *lstm, uint32_t matrix);
espl_halves espl_lstm_build(espl_builder *builder, const espl_adapter *adapter, const espl_lstm *lstm, espl_tensor *x, float dropout);
void espl_lstm_finish(espl_context *ctx, espl_lstm *lstm);
/* W x + b of both halves beside each other. */
espl_tensor *espl_halves_map(espl_builder *builder, const espl_adapter *adapter, const espl_halves *x, uint32_t weight, uint32_t bias);

/* names: of the matrices but the LSTM's, in the order embedding, W1, b1, W2, b2, ... */
espl_status espl_generator_declare(espl_adapter *adapter, const char *const *names, const espl_generator_sizes *sizes,
                                   espl_generator *generator);
/* Its embedding among the store's entries. */
const espl_entry *espl_generator_embedding(const espl_adapter *adapter, const espl_generator *generator);
espl_status espl_generator_initialise(espl_adapter *adapter, const espl_generator *generator, uint64_t seed);
espl_tensor *espl_generator_build(espl_builder *builder, const espl_adapter *adapter, const espl_generator *generator);
/* The folder of the same adapter without its generator: config (taken) is that adapter's, its entry `table` gets the rows. */
espl_status espl_generator_eject(espl_adapter *adapter, const espl_generator *generator, json_t *config, const char *table,
                                 const char *folder);

#endif
