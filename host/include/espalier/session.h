/* Generation: a sequence with its key-value cache. */
#ifndef ESPALIER_SESSION_H
#define ESPALIER_SESSION_H

#include <espalier/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct espl_session espl_session;

typedef struct espl_session_params {
    /* Tokens the cache holds, rows that adapters put before the text (prompts, prefixes) among them; 0: the model's
     * maximum, at most 4096. */
    uint32_t context;
    /* Tokens of the first prompt where they are known: what these need is recorded and compiled with the session, and after that
     * what single tokens need, and a kernel that the device cannot have is said here. 0: all that when it is first needed. */
    uint32_t prompt;
    uint32_t task; /* of the text, for adapters with a part for each (espl_model_task) */
} espl_session_params;

/* Uses the model's adapters as they are active now. params may be NULL.
 * Fails: LIMIT for a context beyond the model's, or one that rows before the text or the prompt leave no room in. */
espl_status espl_session_create(espl_model *model, const espl_session_params *params, espl_session **out_session);
/* Takes and clears; NULL is accepted. */
void espl_session_destroy(espl_session **session);
/* Follows a changed activation; the cache is emptied. Fails: as espl_session_create. */
espl_status espl_session_refresh(espl_session *session);
/* Empties the cache. What adapters compute from their weights alone, rows before the text too, is computed anew with the
 * next tokens. */
void espl_session_reset(espl_session *session);

/* Runs ids through the model; their keys and values join the cache. Afterwards the logits of the last one are ready.
 * What an adapter makes of a whole text it makes of the ids that come together: means of gates are over these (UniPELT, as the
 * Adapters library's generation), the last positions that ReFT edits are those of the first ids after a reset (the prompt). So
 * with such an adapter a prompt is appended at once; of more than 256 ids its first pass is recorded for that length.
 * Fails: LIMIT if the cache would overflow, with the numbers; nothing has changed then. */
espl_status espl_session_append(espl_session *session, const int32_t *ids, uint32_t count);
/* Logits after the last append: as many values as the vocabulary; borrowed until the next append. Fails: ARGUMENT before the
 * first token. */
espl_status espl_session_logits(espl_session *session, const float **out_logits, uint32_t *out_count);
/* Tokens of text so far: rows of adapters before it are not among them. */
uint32_t espl_session_position(const espl_session *session);

/* ---- In the host program's own command buffers ----
 * On an imported device a host program can have a pass over tokens recorded into its own command buffers, a layer at a
 * time, and submit them by itself, among what else it does:
 *
 *   espl_session_record (each layer, once or anew each time) -> espl_session_begin (ids) -> the host submits, waits
 *   -> espl_session_end -> espl_session_logits, or on the device where espl_session_locate says
 *
 * The host submits the layers 0, 1, ... of a pass in this order, each once, in one submission or over several frames, to
 * the queue that was imported. In between the session accepts no other work. A recording stays good for later passes
 * until the session is refreshed or destroyed; then, and when adapters or weights are changed, none may be
 * running. */

/* Layers of a pass: the embedding, the model's blocks, the head. */
uint32_t espl_session_layers(const espl_session *session);

/* Records one layer into command_buffer: a VkCommandBuffer of primary level in the recording state, outside of a render
 * pass, of a pool of the imported queue's family. Commands go in (vkCmdExecuteCommands), after which the state bound in
 * the command buffer - pipelines, descriptor sets, dynamic state - is undefined, as Vulkan says. What was recorded:
 *   begins with a barrier: compute and transfer writes before it -> its compute and transfer accesses
 *   ends with a barrier: its writes -> compute and transfer accesses after it, and reads of the host program's processor
 * so rendering before and after is not waited for; a host that reads the logits in another stage adds its own barrier from
 * compute shader writes to there.
 * tokens: how many the pass will have. A recording is for 1, for 2 to 16, 17 to 64 or 65 to 256 tokens (the rest is
 * padding), and serves every number of its range. The first for a range allocates and compiles; later ones do neither.
 * Fails: ARGUMENT (a device of our own, no such layer, more than 256 tokens), what making a session can fail with. */
espl_status espl_session_record(espl_session *session, uint32_t tokens, uint32_t layer, void *command_buffer);

/* Where the device has the logits of a pass's last token, one f32 per token of the vocabulary: written by the last layer,
 * there until the next pass of the same range of tokens. The buffer is the library's, for reading only, usable as
 * storage buffer and as source of transfers. */
typedef struct espl_location {
    uint64_t buffer; /* the VkBuffer */
    uint64_t offset, bytes;
} espl_location;
espl_status espl_session_locate(espl_session *session, uint32_t tokens, espl_location *out_logits);

/* Begins a pass over ids (1 to 256): they are read by the layers that the host submits after this call. Does not block.
 * Until espl_session_end, _append, _refresh, espl_generate and another _begin fail with ARGUMENT; espl_session_reset gives a pass up
 * whose layers are not running.
 * Fails: ARGUMENT, LIMIT as espl_session_append; nothing has changed then. */
espl_status espl_session_begin(espl_session *session, const int32_t *ids, uint32_t count);
/* The host says that all layers of the pass have been executed: it waited for its fence or semaphore. The ids are part of
 * the sequence from here on, and espl_session_logits has the pass's. Fails: ARGUMENT if none was begun. */
espl_status espl_session_end(espl_session *session);

/* Order of application: repetition penalty, temperature, top-k, top-p, min-p; as Hugging Face's processors. */
typedef struct espl_sampling {
    double temperature;        /* 0: greedy (the lowest id among equals) */
    uint32_t top_k;            /* 0: off */
    double top_p, min_p;       /* 0: off */
    double repetition_penalty; /* 0 or 1: off; over prompt and output */
    uint64_t seed;
} espl_sampling;

typedef struct espl_generate_params {
    const char *prompt;
    espl_sampling sampling;
    uint32_t max_tokens;          /* 0: 128 */
    const char *const *stop;      /* strings that end the text and are not part of it */
    size_t stop_count;
    bool ignore_end;              /* go on past the end-of-text id */
    /* Called with text as it becomes certain (whole UTF-8 characters, never part of a stop string); false stops. */
    bool (*write)(void *user, const char *text, size_t bytes);
    void *write_user;
} espl_generate_params;

typedef struct espl_generate_result {
    uint32_t prompt_tokens, tokens;
    double prompt_seconds, seconds; /* of the prompt, of the tokens after the first */
    const char *reason;             /* "end", "stop", "length", "caller" */
} espl_generate_result;
/* Tokenizes, resets the session, generates. Fails: ARGUMENT for a model without a tokenizer, as espl_session_append; a text that
 * fills the context ends it with reason "length". */
espl_status espl_generate(espl_session *session, const espl_generate_params *params, espl_generate_result *out_result);

#ifdef __cplusplus
}
#endif
#endif
