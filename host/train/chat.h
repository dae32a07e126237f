/* Conversations as text. A model folder names its form as a Jinja program (tokenizer_config.json, "chat_template");
 * that is not run. It is recognized by what it contains as one of a few well-known forms, each a row of a table:
 *
 *   chatml      <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n
 *   llama2      <s>[INST] <<SYS>>\n...\n<</SYS>>\n\nHi [/INST] Hello </s>
 *   llama3      <s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>...
 *   mistral     <s>[INST] Hi [/INST]Hello</s>            first form
 *   mistral-v1  <s> [INST] Hi [/INST] Hello</s>
 *   mistral-v3  <s>[INST] Hi[/INST] Hello</s>
 *   zephyr      <|user|>\nHi</s>\n<|assistant|>\nHello</s>\n   also TinyLlama
 *
 * Not done: tools, several forms in one template, thinking blocks of Qwen3, the date lines of Llama 3.1. */
#ifndef ESPL_CHAT_H
#define ESPL_CHAT_H

#include "host/train/tokens.h"

typedef struct espl_chat_form espl_chat_form;

typedef struct espl_chat {
    const espl_chat_form *form;
    /* What a ChatML template says itself where the conversation has no system message; borrowed from the template. */
    const char *system;
    size_t system_bytes;
} espl_chat;

/* template_text: a Jinja text, the name of a row above, or NULL. *out_known is false (may be NULL) where nothing was
 * recognized and ChatML was taken. */
espl_chat espl_chat_recognize(const char *template_text, bool *out_known);
/* For folders without a template: by the markers that the vocabulary has; ChatML if there are none. */
espl_chat espl_chat_guess(const espl_tokenizer *tokenizer);
const char *espl_chat_name(const espl_chat *chat);

/* The template text of a model folder: chat_template.jinja, or "chat_template" of tokenizer_config.json (where several
 * are listed, the one named "default"). *out_text is NULL if there is none; freed with espl_free.
 * Fails: IO, FORMAT for a file that is there and broken. */
espl_status espl_chat_load(espl_context *ctx, const char *folder, char **out_text);

typedef struct espl_chat_message {
    const char *role, *content;
} espl_chat_message;

typedef enum espl_chat_mark { ESPL_CHAT_TEXT, ESPL_CHAT_BOS, ESPL_CHAT_EOS } espl_chat_mark;
typedef struct espl_chat_piece {
    size_t end; /* in text; it begins where the piece before ends */
    espl_chat_mark mark;
    bool assistant; /* what the assistant says, with the marker that ends it */
} espl_chat_piece;

typedef struct espl_chat_text {
    espl_bytes text;
    espl_chat_piece *pieces; /* owned */
    size_t count, capacity;
} espl_chat_text;

typedef struct espl_chat_options {
    const char *bos, *eos; /* spelling of the tokens; NULL: left out */
    bool generate;         /* ends where the assistant is to speak */
} espl_chat_options;

/* What the template would give. Zeroed *out_text is ready; it is emptied first.
 * Fails: FORMAT for an unknown role, a system message that is not the first, and where the form demands that user and
 * assistant take turns, for those that do not. */
espl_status espl_chat_render(espl_context *ctx, const espl_chat *chat, const espl_chat_message *messages, size_t count,
                             const espl_chat_options *options, espl_chat_text *out_text);
void espl_chat_text_finish(espl_context *ctx, espl_chat_text *text);

/* The ids of the whole text, as if tokenized in one go (a tokenizer that cannot read its own begin and end tokens from
 * text gets the parts between them). A token counts if any of it belongs to the assistant. Rows of more than limit
 * tokens are not marked, for the caller refuses them; limit 0: none. Appends to tokens. */
espl_status espl_chat_tokens(espl_context *ctx, const espl_tokenizer *tokenizer, const espl_chat_text *text,
                             size_t limit, espl_tokens *tokens);

#endif
