/* The parts of a tokenizer, in the order in which text passes them:
 *
 *   text -> added tokens cut out -> normalizers -> added tokens cut out -> splitters -> model -> template -> ids
 *   (a pair of texts, and texts that come as words, take this way one by one up to the template)
 *   ids -> pieces -> decoders -> text
 *
 * Normalizers, splitters and decoders are flat lists of steps; each list has a table of the names it knows. A model is
 * a row of functions: a new kind is one more row and one more file. */
#ifndef ESPL_TOKENIZER_PARTS_H
#define ESPL_TOKENIZER_PARTS_H

#include "host/file/expression.h"
#include "host/file/json.h"
#include "host/file/map.h"
#include "host/file/utf8.h"
#include <espalier/tokenizer.h>

enum { ESPL_TOKEN_LIMIT = 1 << 24 }; /* ids stay below; a hostile id cannot ask for a huge table */

typedef struct espl_ids {
    uint32_t *data; /* owned */
    size_t count, capacity;
} espl_ids;
espl_status espl_ids_append(espl_context *ctx, espl_ids *ids, uint32_t id);

/* ---- vocabulary ---- */

typedef struct espl_token {
    uint32_t place; /* index in its map plus 1; 0: no piece */
    bool added;     /* the piece is in added, not in pieces */
    bool special;
} espl_token;

typedef struct espl_vocabulary {
    espl_map pieces;    /* of the model */
    espl_map added;     /* beside the model */
    espl_token *tokens; /* owned; by id */
    size_t count, capacity;
} espl_vocabulary;
/* A piece that is there already keeps its number. Fails: LIMIT for an id from ESPL_TOKEN_LIMIT. */
espl_status espl_vocabulary_add(espl_context *ctx, espl_vocabulary *vocabulary, const char *piece, size_t bytes,
                                uint64_t id, bool added);
/* {"piece": id, ...} */
espl_status espl_vocabulary_read(espl_context *ctx, espl_vocabulary *vocabulary, json_t *object);
/* ESPL_NO_TOKEN if absent; pieces of the model only. */
uint32_t espl_vocabulary_model_id(const espl_vocabulary *vocabulary, const char *piece, size_t bytes);
/* Added ones too. */
uint32_t espl_vocabulary_id(const espl_vocabulary *vocabulary, const char *piece, size_t bytes);
/* NULL if there is none. */
const char *espl_vocabulary_piece(const espl_vocabulary *vocabulary, uint32_t id, size_t *out_bytes);
void espl_vocabulary_finish(espl_context *ctx, espl_vocabulary *vocabulary);

/* ---- steps ---- */

typedef enum espl_split_behavior {
    ESPL_SPLIT_ISOLATED,
    ESPL_SPLIT_REMOVED,
    ESPL_SPLIT_MERGED_WITH_PREVIOUS,
    ESPL_SPLIT_MERGED_WITH_NEXT,
    ESPL_SPLIT_CONTIGUOUS
} espl_split_behavior;
typedef enum espl_prepend_scheme { ESPL_PREPEND_ALWAYS, ESPL_PREPEND_FIRST, ESPL_PREPEND_NEVER } espl_prepend_scheme;

/* One step of any list; each kind uses the fields it names in its reader. */
typedef struct espl_step {
    size_t row;                  /* in the table of its list */
    char *text;                  /* owned: what is put in, or looked for by Strip */
    size_t text_bytes;
    char *literal;               /* owned: pattern that is a string */
    size_t literal_bytes;
    espl_expression *expression; /* owned: pattern that is an expression */
    espl_char_test *test;        /* pattern that is a class of characters */
    espl_split_behavior behavior;
    espl_prepend_scheme prepend;
    uint32_t start, stop;        /* counts of Strip */
    uint32_t options;            /* of utf8proc */
    bool invert, prefix_space, split, left, right, eager;
    bool clean_text, chinese, strip_accents, lowercase; /* of BertNormalizer */
} espl_step;

typedef struct espl_steps {
    espl_step *items; /* owned */
    size_t count, capacity;
} espl_steps;
espl_status espl_steps_add(espl_context *ctx, espl_steps *steps, size_t row, espl_step **out_step);
void espl_steps_finish(espl_context *ctx, espl_steps *steps);
espl_status espl_step_text(espl_context *ctx, espl_step *step, const json_t *object, const char *key);
/* {"String": ...} or {"Regex": ...} under "pattern". */
espl_status espl_step_pattern(espl_context *ctx, espl_step *step, const json_t *object);
/* The Metaspace fields, which its splitter and its decoder share. */
espl_status espl_step_metaspace(espl_context *ctx, espl_step *step, const json_t *object);

/* A row of a list's table. read may be NULL if there is nothing to read. */
typedef struct espl_step_row {
    const char *type;
    espl_status (*read)(espl_context *ctx, espl_step *step, const json_t *object);
} espl_step_row;
/* Reads {"type": T, ...} into steps; {"type": "Sequence"} lists its parts under sequence_key. NULL or null adds none.
 * what ("normalizer") is for the message about an unknown type. */
espl_status espl_steps_read(espl_context *ctx, espl_steps *steps, const json_t *object, const espl_step_row *rows,
                            size_t row_count, const char *sequence_key, const char *what);

/* Next match of the pattern of a step at or after walk->from. */
espl_status espl_step_next(espl_context *ctx, const espl_step *step, const char *text, size_t bytes,
                           espl_expression_walk *walk, bool *out_found, size_t *out_begin, size_t *out_end);
/* Appends text with every match replaced by step->text. */
espl_status espl_step_replace(espl_context *ctx, const espl_step *step, const char *text, size_t bytes,
                              espl_bytes *out);

espl_status espl_normalizers_read(espl_context *ctx, espl_steps *steps, const json_t *object);
/* Replaces the content of out. *in_out_first: the text begins where the whole input begins; becomes false if a step
 * takes that beginning away. */
espl_status espl_normalize(espl_context *ctx, const espl_steps *steps, const char *text, size_t bytes,
                           espl_bytes *scratch, espl_bytes *out, bool *in_out_first);

/* "precompiled_charsmap" of SentencePiece, see tokenizer_charsmap.c: base64 into step->text, checked. */
espl_status espl_charsmap_read(espl_context *ctx, espl_step *step, const json_t *object);
espl_status espl_charsmap_apply(espl_context *ctx, const espl_step *step, const char *text, size_t bytes,
                                espl_bytes *out);

typedef struct espl_span {
    size_t begin, end;
    bool first; /* begins where the whole input begins */
} espl_span;

/* Text in pieces; text outside of every span is dropped. */
typedef struct espl_pieces {
    espl_bytes text;
    espl_span *spans; /* owned */
    size_t count, capacity;
} espl_pieces;
espl_status espl_pieces_append(espl_context *ctx, espl_pieces *pieces, size_t begin, size_t end, bool first);
void espl_pieces_finish(espl_context *ctx, espl_pieces *pieces);

espl_status espl_splitters_read(espl_context *ctx, espl_steps *steps, const json_t *object);
/* The splitter of GPT-2, as if read from {"type": "ByteLevel"}. */
espl_status espl_splitters_add_byte_level(espl_context *ctx, espl_steps *steps, bool add_prefix_space);
/* Splits pieces in place. */
espl_status espl_split(espl_context *ctx, const espl_steps *steps, espl_pieces *pieces, espl_pieces *scratch);

/* The byte-level alphabet of GPT-2: every byte is a printable character. */
uint32_t espl_byte_level_code(unsigned char byte);
/* -1 if the character stands for no byte. */
int espl_byte_level_byte(uint32_t code);

/* ---- decoding ---- */

typedef struct espl_decoder espl_decoder;
espl_status espl_decoders_read(espl_context *ctx, espl_steps *steps, const json_t *object);
espl_status espl_decoders_add_byte_level(espl_context *ctx, espl_steps *steps);
/* Pieces with the prefix join the word before them. */
espl_status espl_decoders_add_wordpiece(espl_context *ctx, espl_steps *steps, const char *prefix);
/* What SentencePiece does: spaces back, bytes one character at a time, one text, and `strip` leading spaces away, but
 * not from its sign for an unknown piece. */
extern const char espl_sentencepiece_unknown[];
espl_status espl_decoders_add_sentencepiece(espl_context *ctx, espl_steps *steps, uint32_t strip);

/* steps are borrowed. eager: see espl_detokenizer in tokenizer.h. */
espl_status espl_decoder_create(espl_context *ctx, const espl_steps *steps, bool eager, espl_decoder **out_decoder);
void espl_decoder_destroy(espl_context *ctx, espl_decoder **decoder);
espl_status espl_decoder_push(espl_context *ctx, espl_decoder *decoder, const char *piece, size_t bytes,
                              espl_bytes *out);
/* Emits what is held and returns to the state after create. */
espl_status espl_decoder_end(espl_context *ctx, espl_decoder *decoder, espl_bytes *out);
void espl_decoder_reset(espl_decoder *decoder);

/* ---- models ---- */

typedef struct espl_token_model {
    const char *type;
    /* From "model" of tokenizer.json; also fills the vocabulary. NULL: comes from a file of its own. */
    espl_status (*read)(espl_context *ctx, const json_t *object, espl_vocabulary *vocabulary, void **out_state);
    /* Appends the ids of one piece of text, which is not empty. */
    espl_status (*encode)(espl_context *ctx, void *state, const espl_vocabulary *vocabulary, const char *text,
                          size_t bytes, espl_ids *out_ids);
    void (*destroy)(espl_context *ctx, void **state);
    /* The unknown token, ESPL_NO_TOKEN without one; NULL: the file says it elsewhere. */
    uint32_t (*unknown)(const void *state, const espl_vocabulary *vocabulary);
} espl_token_model;
extern const espl_token_model espl_model_bpe, espl_model_sentencepiece, espl_model_unigram, espl_model_wordpiece;

/* 256 ids of the pieces <0x00> .. <0xFF>; ESPL_NO_TOKEN where there is none. */
espl_status espl_byte_pieces(espl_context *ctx, const espl_vocabulary *vocabulary, uint32_t **out_ids);

/* BPE for the vocabulary read before; merges are the lines of merges.txt. */
espl_status espl_bpe_create_from_lines(espl_context *ctx, const char *lines, size_t bytes,
                                       const espl_vocabulary *vocabulary, void **out_state);

/* ---- added tokens ---- */

typedef struct espl_added_token {
    char *text; /* owned */
    size_t bytes;
    uint32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
} espl_added_token;

typedef struct espl_added_set {
    espl_map patterns; /* to the index of the added token */
    uint32_t *lengths; /* owned; the distinct lengths of patterns, longest first */
    size_t length_count, length_capacity;
    bool first_bytes[256];
} espl_added_set;

typedef struct espl_added {
    espl_added_token *tokens; /* owned */
    size_t count, capacity;
    espl_added_set plain, normalized;
} espl_added;
espl_status espl_added_add(espl_context *ctx, espl_added *added, espl_vocabulary *vocabulary, const json_t *object,
                           uint64_t id);
/* After the last add. */
espl_status espl_added_prepare(espl_context *ctx, espl_added *added, const espl_steps *normalizers);
/* The next token at or after *in_out_from, which moves past the match. *out_begin..*out_end include stripped space. */
bool espl_added_next(const espl_added *added, const espl_added_set *set, const char *text, size_t bytes,
                     size_t *in_out_from, size_t done, size_t *out_begin, size_t *out_end, uint32_t *out_id);
void espl_added_finish(espl_context *ctx, espl_added *added);

/* ---- around the text ---- */

typedef struct espl_template_part {
    uint32_t id;      /* a special token; ESPL_NO_TOKEN: the text itself */
    uint8_t sequence; /* which text, 0 or 1 */
    uint8_t type;
} espl_template_part;

typedef struct espl_template {
    espl_template_part *parts; /* owned; none: the texts one after the other, the second of type 1 */
    size_t count, capacity;
} espl_template;
espl_status espl_template_add(espl_context *ctx, espl_template *template, espl_template_part part);
/* "post_processor" of tokenizer.json: templates for one text and for two. */
espl_status espl_templates_read(espl_context *ctx, espl_template templates[2], const json_t *object);

/* The conventions that a class of transformers has and its files do not tell: tokens by their role, what goes around
 * texts, and where the numbers of a SentencePiece file lie. */
typedef enum espl_role {
    ESPL_ROLE_BOS, ESPL_ROLE_EOS, ESPL_ROLE_UNK, ESPL_ROLE_SEP, ESPL_ROLE_PAD, ESPL_ROLE_CLS, ESPL_ROLE_MASK,
    ESPL_ROLE_COUNT
} espl_role;
typedef struct espl_family_tokens {
    const char *roles[ESPL_ROLE_COUNT]; /* NULL: none */
    /* Roles and texts A and B, each with ":1" for type 1: "cls A sep B:1 sep:1". NULL: nothing goes around. */
    const char *single, *pair;
    bool mask_takes_space; /* in front of it */
} espl_family_tokens;
typedef struct espl_tokenizer_family {
    const char *model_type; /* of config.json */
    const char *class_name; /* of tokenizer_config.json, without "Fast" */
    const espl_family_tokens *tokens;
    bool fairseq;        /* <s>, <pad>, </s>, <unk>, then the pieces of the file behind its first three */
    bool albert;         /* quotes, accents and case are taken away in front of the model */
    uint32_t extra_ids;  /* of T5, behind the pieces of the file, the last first */
} espl_tokenizer_family;
/* From "tokenizer_class" of tokenizer_config.json or of config.json, else from its "model_type"; either may be NULL.
 * NULL if none is known. *out_class (may be NULL): the name that was there. */
const espl_tokenizer_family *espl_family_find(const json_t *config, const json_t *model_config, const char **out_class);
extern const espl_tokenizer_family espl_family_bert, espl_family_xlm_roberta;

/* ---- all of it ---- */

struct espl_tokenizer {
    espl_context *ctx; /* borrowed */
    espl_vocabulary vocabulary;
    espl_added added;
    espl_steps normalizers, splitters, decoders;
    const espl_token_model *model;
    void *state;                         /* owned, of the model */
    espl_template templates[2];          /* around one text, around two */
    const espl_tokenizer_family *family; /* static, or NULL */
    const char *class_name;              /* borrowed, while loading: what the files name; or NULL */
    uint32_t bos, eos, unk, pad;
    /* Reused between calls. */
    espl_bytes clean, normal, scratch, decoded;
    espl_pieces pieces, pieces_scratch;
    espl_ids ids, words;           /* of the texts, and the word of each */
    espl_ids whole, whole_words;   /* with the template */
    espl_bytes types, special;
    espl_decoder *decoder;
};
/* Appends what one text is to t->ids, without the template. */
espl_status espl_tokenizer_encode_text(espl_tokenizer *t, const char *text, size_t bytes);

/* Each fills a zeroed tokenizer; config is tokenizer_config.json or NULL; the family is set. */
espl_status espl_tokenizer_read_json(espl_tokenizer *tokenizer, const json_t *root);
espl_status espl_tokenizer_read_gpt2(espl_tokenizer *tokenizer, json_t *vocabulary, const char *merges, size_t bytes,
                                     const json_t *config);
espl_status espl_tokenizer_read_sentencepiece(espl_tokenizer *tokenizer, const void *model, size_t bytes,
                                              const json_t *config);
/* Refuses with FORMAT what the library would read beyond its memory with. Time and memory: those of the model's normalizers. */
espl_status espl_sentencepiece_check(espl_context *ctx, const void *model, size_t bytes);
/* The lines of a vocab.txt. */
espl_status espl_tokenizer_read_wordpiece(espl_tokenizer *tokenizer, const char *lines, size_t bytes,
                                          const json_t *config);
/* "added_tokens_decoder" of tokenizer_config.json, for files that have no list of their own; and, where that file is,
 * the tokens that it or the family names. */
espl_status espl_tokenizer_read_added(espl_tokenizer *tokenizer, const json_t *config);
/* bos, eos, unk and pad as config names them, or the family. */
espl_status espl_tokenizer_read_special(espl_tokenizer *tokenizer, const json_t *config);
/* The templates of the family; without one those that add_bos_token and add_eos_token ask for. */
espl_status espl_tokenizer_read_around(espl_tokenizer *tokenizer, const json_t *config, bool add_bos, bool add_eos);
/* A tokenizer from the bytes of a tokenizer.json; name is for messages. */
espl_status espl_tokenizer_create_json(espl_context *ctx, const void *text, size_t bytes, const char *name,
                                       espl_tokenizer **out_tokenizer);
/* And from those of a vocab.txt. */
espl_status espl_tokenizer_create_vocabulary(espl_context *ctx, const void *lines, size_t bytes, const char *name,
                                             espl_tokenizer **out_tokenizer);
/* And from those of a .model. */
espl_status espl_tokenizer_create_sentencepiece(espl_context *ctx, const void *model, size_t bytes, const char *name,
                                                espl_tokenizer **out_tokenizer);

#endif
