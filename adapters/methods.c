/* Every method there is. Of rows with the same peft_type the first that recognises a configuration reads it. */
#include "host/model/adapter.h"

extern const espl_method espl_method_head, espl_method_bitfit, espl_method_ln, espl_method_dora, espl_method_dylora,
    espl_method_vera, espl_method_adalora, espl_method_lora, espl_method_ia3, espl_method_pasta, espl_method_adalink,
    espl_method_invertible, espl_method_houlsby, espl_method_pfeiffer, espl_method_parallel, espl_method_scaled_parallel,
    espl_method_adapterplus, espl_method_compacter, espl_method_compacter_pp,
    espl_method_prompt, espl_method_ptuning, espl_method_prefix, espl_method_ptuning2, espl_method_tiny_attention, espl_method_flop;
extern const espl_method espl_method_mam, espl_method_unipelt, espl_method_library_prefix;
extern const espl_method espl_method_union, espl_method_library_lora;
extern const espl_method espl_method_loreft, espl_method_direft, espl_method_noreft;

const espl_method *const espl_methods[] = {&espl_method_head, &espl_method_bitfit, &espl_method_ln, &espl_method_dora,
                                           &espl_method_dylora, &espl_method_vera, &espl_method_adalora,
                                           &espl_method_lora, &espl_method_ia3, &espl_method_pasta,
                                           &espl_method_adalink, &espl_method_invertible, &espl_method_houlsby, &espl_method_pfeiffer,
                                           &espl_method_parallel, &espl_method_scaled_parallel,
                                           &espl_method_adapterplus, &espl_method_compacter, &espl_method_compacter_pp,
                                           &espl_method_mam, &espl_method_unipelt, &espl_method_union, &espl_method_library_lora, &espl_method_library_prefix, &espl_method_loreft, &espl_method_direft, &espl_method_noreft,
                                           &espl_method_prompt, &espl_method_ptuning, &espl_method_prefix,
                                           &espl_method_ptuning2, &espl_method_tiny_attention,
                                           &espl_method_flop};
const size_t espl_method_count = ESPL_COUNT(espl_methods);
