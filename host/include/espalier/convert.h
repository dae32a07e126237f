/* Adapters from one format of files to another. Needs no device, and of the base model its config.json only. */
#ifndef ESPALIER_CONVERT_H
#define ESPALIER_CONVERT_H

#include <espalier/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct espl_convert_params {
    const char *adapter; /* what is there: a folder of PEFT or of the Adapters library, a GGUF file, a prompt in .npy; told by what it is */
    const char *model;   /* folder of the base: heads and names of its layers differ between formats */
    const char *to;      /* "peft", "adapters": out becomes a folder; "gguf": a file that llama.cpp takes with --lora */
    const char *out;
} espl_convert_params;

/* To and from GGUF: LoRA of llama, mistral, qwen2, qwen3 and gpt2. Values are moved and not rounded, so that there and back gives
 * the same bits. Fails: IO; ARGUMENT for a format that is none; FORMAT naming what does not fit (a factor without its other, a
 * rank that is not the configuration's, a block that the base has not); UNSUPPORTED by name for what the format cannot say: to
 * GGUF these are alpha_pattern, biases, modules_to_save, DoRA, embeddings, an alpha of 0, and rsLoRA with more than one rank.
 *
 * From .npy: a soft prompt [tokens, hidden] of google-research/prompt-tuning, which becomes PEFT's PROMPT_TUNING.
 *
 * Between PEFT and the Adapters library: LoRA and (IA)3 of every family. That library has one rank and one scale for all of its
 * places (q, k, v, the first and the last map of the feed-forward), the same ones in each layer that is not left out, and scales
 * outputs alone. Its prompts stand behind positions and norm: other methods are refused by name. Prefixes of models with rotary
 * positions: the text's begin behind PEFT's prefixes, at 0 beside the library's, so keys are turned by that; logits agree to
 * rounding, bits do not come back. A prefix with gates, and one on a model whose positions are learned rows, or that has a sliding
 * window, is refused. Heads with labels go along: PEFT's saved modules (task_type SEQ_CLS, TOKEN_CLS, QUESTION_ANS) and the library's
 * head folder, static, or flexible where BERT's pooler is saved too; PEFT keeps no names of labels. A flexible head for words is
 * refused, a static one for next words is the base's own. What out had before of another adapter's head goes. */
espl_status espl_adapter_convert(espl_context *context, const espl_convert_params *params);

#ifdef __cplusplus
}
#endif
#endif
