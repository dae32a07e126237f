/* Text to token numbers and back, with the tokenizer files that come with a model:
 *   tokenizer.json            Hugging Face; models of type BPE (byte level or SentencePiece style), WordPiece, Unigram
 *   *.model                   SentencePiece, BPE and unigram
 *   vocab.json + merges.txt   GPT-2, RoBERTa
 *   vocab.txt                 BERT, DistilBERT, ELECTRA
 * and beside them tokenizer_config.json and config.json, for the special tokens and for the conventions of a class
 * (XLMRobertaTokenizer, AlbertTokenizer, DebertaV2Tokenizer, T5Tokenizer, ...) that its other files do not tell.
 *
 * Text is UTF-8; each invalid part of it is read as U+FFFD. What a tokenizer.json asks for is done exactly or refused
 * with UNSUPPORTED and the name of the part, never approximated; its truncation and padding are left to the caller. */
#ifndef ESPALIER_TOKENIZER_H
#define ESPALIER_TOKENIZER_H

#include <espalier/context.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ESPL_NO_TOKEN UINT32_MAX

typedef struct espl_tokenizer espl_tokenizer;
typedef struct espl_detokenizer espl_detokenizer;

/* path: a model folder (tokenizer.json, else tokenizer.model, spiece.model, spm.model or sentencepiece.bpe.model, else
 * vocab.json and merges.txt, else vocab.txt), or one of these files; "x-vocab.json" goes with "x-merges.txt",
 * "x-vocab.txt" is a vocab.txt. A tokenizer_config.json in the same folder is read as well. Without it a vocab.txt is
 * that of an uncased BERT, and a sentencepiece.bpe.model that of XLM-RoBERTa.
 * Fails: IO, HOST_MEMORY, FORMAT; UNSUPPORTED for models, normalizers and the like that are not offered, by name. */
espl_status espl_tokenizer_load(espl_context *context, const char *path, espl_tokenizer **out_tokenizer);
/* Takes and clears; NULL is accepted. Detokenizers made from it must be destroyed before. */
void espl_tokenizer_destroy(espl_tokenizer **tokenizer);

/* What one call encodes. Zero means none. */
typedef struct espl_texts {
    const char *text; /* text_bytes of UTF-8, zero bytes included */
    size_t text_bytes;
    const char *pair; /* a second text; NULL: there is one only */
    size_t pair_bytes;
    const char *const *words; /* instead of text, word_count strings: a text that comes cut into words, for tagging */
    size_t word_count;
    size_t max_tokens; /* special ones included; of two texts the longer one is cut first, at its end; 0: no limit */
    bool add_special;
} espl_texts;
/* All arrays are borrowed from the tokenizer until its next call of an encode. */
typedef struct espl_encoding {
    const uint32_t *ids;    /* [count] */
    const uint8_t *types;   /* [count] "token type" of BERT: 0 for the first text, 1 for the second where the model says so */
    const uint8_t *special; /* [count] 1 for what add_special put around, 0 for what stands for text */
    /* [count] index into the words given, ESPL_NO_TOKEN for special tokens and for texts that are no words. A word may
     * have no token; its first one is where the index differs from that before. */
    const uint32_t *words;
    size_t count;
} espl_encoding;
/* Each word is encoded as if it were a text of its own, as is_split_into_words in transformers has it: RoBERTa's files
 * then want add_prefix_space. Fails: as espl_tokenizer_encode; ARGUMENT for both text and words, and if max_tokens is
 * less than the special tokens alone. */
espl_status espl_tokenizer_encode_texts(espl_tokenizer *tokenizer, const espl_texts *texts,
                                        espl_encoding *out_encoding);
/* The ids of one text, the short form of the above. text: `bytes` of UTF-8, zero bytes included. *out_ids is borrowed, until the
 * next call of encode. Added tokens ("<|im_start|>") inside the text become their number; a .model, vocab.json or vocab.txt alone
 * names none. add_special: also what the model expects around one text: the template of tokenizer.json; for the other files that
 * of the class ("[CLS] text [SEP]"), else add_bos_token and add_eos_token of tokenizer_config.json, and without that file: a
 * .model adds its begin token, or its end token if it has no begin token; vocab.json adds nothing. Time grows as n log n. Fails:
 * HOST_MEMORY; LIMIT if an expression takes too long or the text is 2 GiB; FORMAT if the text needs an unknown token that the
 * vocabulary lacks. */
espl_status espl_tokenizer_encode(espl_tokenizer *tokenizer, const char *text, size_t bytes, bool add_special,
                                  const uint32_t **out_ids, size_t *out_count);
/* *out_text is borrowed until the next call of decode and has a zero byte after *out_bytes. Always valid UTF-8: broken
 * sequences become U+FFFD. Special tokens are left out unless keep_special; numbers without a piece give nothing. Fails: HOST_MEMORY. */
espl_status espl_tokenizer_decode(espl_tokenizer *tokenizer, const uint32_t *ids, size_t count, bool keep_special,
                                  const char **out_text, size_t *out_bytes);

/* One more than the largest token number; a model's embedding may have more rows. */
uint32_t espl_tokenizer_size(const espl_tokenizer *tokenizer);
/* ESPL_NO_TOKEN if the files name none. */
uint32_t espl_tokenizer_bos(const espl_tokenizer *tokenizer);
uint32_t espl_tokenizer_eos(const espl_tokenizer *tokenizer);
uint32_t espl_tokenizer_unk(const espl_tokenizer *tokenizer);
uint32_t espl_tokenizer_pad(const espl_tokenizer *tokenizer);
/* The number of a piece as the files spell it ("\u2581Hello", "\u0120the"), or ESPL_NO_TOKEN. */
uint32_t espl_tokenizer_find(const espl_tokenizer *tokenizer, const char *piece);
/* The spelling of a number, borrowed; NULL if it has none. */
const char *espl_tokenizer_piece(const espl_tokenizer *tokenizer, uint32_t id);
bool espl_tokenizer_is_special(const espl_tokenizer *tokenizer, uint32_t id);

/* Decoding while tokens arrive. The pieces of text joined are what decode gives, with one exception: in a run of byte
 * tokens that is not valid UTF-8, whole characters come out as they complete, where decode replaces the whole run. The tokenizer is
 * borrowed. These calls fail with HOST_MEMORY alone; destroy takes and clears, NULL is accepted. */
espl_status espl_detokenizer_create(espl_tokenizer *tokenizer, bool keep_special, espl_detokenizer **out_detokenizer);
void espl_detokenizer_destroy(espl_detokenizer **detokenizer);
/* *out_text: what has become certain, possibly nothing, always whole characters; borrowed until the next push. */
espl_status espl_detokenizer_push(espl_detokenizer *detokenizer, uint32_t id, const char **out_text,
                                  size_t *out_bytes);
/* Ends the text: what was held back. The next push begins a new text. */
espl_status espl_detokenizer_end(espl_detokenizer *detokenizer, const char **out_text, size_t *out_bytes);

#ifdef __cplusplus
}
#endif
#endif
