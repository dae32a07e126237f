/* Folders that adapters are read from and written to. Two kinds, told apart by adapter_config.json:
 *   PEFT's             {"peft_type": ...}; the object is the adapter's configuration. adapter_model.safetensors
 *   Adapters library's {"config": {...}, "name", "model_type", ...}; "config" is. adapter.safetensors, whose tensors' names
 *                      contain the adapter's name; pytorch_adapter.bin is read too
 * A method belongs to the kind that its row names; types of our own are in PEFT's kind of folder. */
#ifndef ESPL_FOLDER_H
#define ESPL_FOLDER_H

#include "host/model/adapter.h"

/* Names of its files (config NULL: there is none, a file of PyTorch's stands for it); of weights without ".safetensors", and without ".bin" where PyTorch wrote them. */
typedef struct espl_folder_names {
    const char *config, *weights, *pickled;
} espl_folder_names;
extern const espl_folder_names espl_folder_peft, espl_folder_library;
/* The method whose own files a folder has, and not an adapter's; NULL: none. */
const espl_method *espl_folder_own_method(const char *folder);
/* The file by which a folder of that method, or NULL of any other adapter, is known. */
const char *espl_folder_config(const espl_method *own);

/* For an adapter made from a spec: what its configuration starts with. */
espl_status espl_folder_begin(espl_adapter *adapter);
/* Finds the method and takes config (also on failure). Fails: UNSUPPORTED naming the types there are. */
espl_status espl_folder_read_config(espl_adapter *adapter, json_t *config);
/* For an adapter that has no tensors yet. Fails: UNSUPPORTED for initial values that only a folder can bring ("init_weights" of a
 * library's form, "init_lora_weights" such as "eva"). */
espl_status espl_folder_check_new(const espl_adapter *adapter);
/* Into the placed store. Fails: FORMAT naming a tensor that is missing, has another shape, or is one too many. */
espl_status espl_folder_read_tensors(espl_adapter *adapter, const char *folder);
/* what: "method", "peft_type" or "architecture". */
espl_status espl_folder_unknown(espl_context *ctx, const char *what, const char *name, size_t bytes);

/* Configuration and store as they are: all files are on the disk before any takes its place. */
espl_status espl_folder_write(espl_adapter *adapter, const char *folder);

#endif
