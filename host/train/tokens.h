/* A row of tokens under construction: ids, and for each whether it counts in the loss. */
#ifndef ESPL_TOKENS_H
#define ESPL_TOKENS_H

#include "host/base/base.h"
#include <espalier/tokenizer.h>

typedef struct espl_tokens {
    int32_t *ids;     /* owned */
    uint8_t *counted; /* owned; 1 if predicting this token is part of the loss */
    size_t count, ids_capacity, counted_capacity;
} espl_tokens;

/* Zeroed tokens are ready for use. */
void espl_tokens_finish(espl_context *ctx, espl_tokens *tokens);
espl_status espl_tokens_push(espl_context *ctx, espl_tokens *tokens, uint32_t id, bool counted);
/* Tokenizes text, without the special tokens around it, and appends the ids. */
espl_status espl_tokens_push_text(espl_context *ctx, espl_tokens *tokens, const espl_tokenizer *tokenizer,
                                  const char *text, size_t bytes, bool counted);

/* espl_tokenizer_encode for a tokenizer that is const because nothing seen from outside changes; *out_ids is borrowed
 * until the next call. */
espl_status espl_tokens_encode(const espl_tokenizer *tokenizer, const char *text, size_t bytes, bool add_special,
                               const uint32_t **out_ids, size_t *out_count);

/* What the tokenizer puts around one text, found by trying; at most 8 before and 8 behind. */
typedef struct espl_frame {
    uint32_t before[8], behind[8];
    size_t before_count, behind_count;
} espl_frame;
/* Fails: UNSUPPORTED if there are more, or if the text itself changes with add_special. */
espl_status espl_tokens_frame(espl_context *ctx, const espl_tokenizer *tokenizer, espl_frame *out_frame);

#endif
