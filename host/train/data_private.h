/* Between the data_*.c: rows while they are collected. */
#ifndef ESPL_DATA_PRIVATE_H
#define ESPL_DATA_PRIVATE_H

#include "host/train/chat.h"
#include "host/train/data.h"

struct espl_dataset {
    espl_context *ctx; /* borrowed */
    int32_t *ids;      /* owned; [rows, context], of plain text the tokens one after another; NULL with embeddings */
    float *embeddings; /* owned or NULL; [rows, context, width] */
    int32_t *labels;   /* owned; [rows, label_count]; NULL for plain text, where labels are ids + 1 */
    int32_t *types;    /* owned or NULL; [rows, context] */
    int32_t *lengths;  /* owned or NULL; [rows] */
    int32_t *tasks;    /* owned or NULL; [rows] */
    float *values;     /* owned or NULL; [rows, value_count] */
    uint32_t label_count, value_count, width; /* of a row; of embeddings */
    uint32_t choices;  /* as espl_dataset_shape has it */
    bool spans;        /* likewise */
    int32_t *tail;     /* owned; ids and labels of the last row of plain text if that is padded */
    uint32_t tail_length;
    uint32_t *parts;   /* owned; [rows], the rows of the training part, then those of the validation part */
    uint32_t rows, context, train_rows, vocabulary, type_end, label_end;
    uint64_t train_labels, validation_labels, hash;
};

typedef struct espl_data_reader {
    espl_context *ctx;               /* borrowed */
    const espl_tokenizer *tokenizer; /* borrowed */
    const espl_model *tasks_of;      /* borrowed or NULL */
    const char *path;                /* borrowed */
    espl_chat chat;
    espl_frame frame;
    uint32_t eos; /* ESPL_NO_TOKEN if there is none */
    int32_t pad;
    espl_dataset *dataset; /* borrowed */
    size_t ids_capacity, labels_capacity, lengths_capacity, tasks_capacity;
    espl_tokens tokens;          /* of the row under construction */
    espl_chat_text rendered;     /* scratch */
    espl_chat_message *messages; /* owned; scratch */
    size_t messages_capacity;
    espl_bytes prompt; /* scratch */
} espl_data_reader;

/* Divides the rows into the two parts, the last ones or some by seed for validation, and surveys them. */
espl_status espl_data_split(espl_dataset *dataset, double share, bool last, uint64_t seed);
/* The whole text into reader->dataset. piece_bytes: how much is tokenized at once, about. */
espl_status espl_data_read_text(espl_data_reader *reader, const char *text, size_t bytes, size_t piece_bytes);
/* One JSON object per line, or an array of objects. */
espl_status espl_data_read_lines(espl_data_reader *reader, const char *text, size_t bytes);
espl_status espl_data_read_array(espl_data_reader *reader, const char *text, size_t bytes);
/* The ids of text in pieces of about piece_bytes, the same as in one go. tokens->counted is not used. Appends. */
espl_status espl_data_encode(espl_context *ctx, const espl_tokenizer *tokenizer, const char *text, size_t bytes,
                             size_t piece_bytes, espl_tokens *tokens, size_t *out_pieces);

#endif
