#include "adapters/registry.h"
#include <stdio.h>
#include <string.h>

static uint64_t of_prompt(const espl_technique_sizes *s) { return s->prompt * s->hidden; }
static uint64_t of_prefix(const espl_technique_sizes *s) {
    return s->prompt * s->hidden + s->hidden * s->hidden + 2 * s->module * s->hidden;
}
static uint64_t of_two_pairs(const espl_technique_sizes *s) { return 2 * (2 * s->module * s->hidden); }
static uint64_t of_attention(const espl_technique_sizes *s) { return 4 * s->hidden; }
static uint64_t of_compacter(const espl_technique_sizes *s) { return 2 * (2 * (s->module + s->hidden)); }
static uint64_t of_vectors(const espl_technique_sizes *s) { return 6 * s->hidden; }

const espl_technique espl_techniques[] = {
    {.code = "PT", .title = "prompt tuning", .method = "prompt", .spec = "prompt:tokens=10", .counted = ESPL_COUNTED_ONCE,
     .properties = {.input = ESPL_INPUT_WEIGHTS, .intra = ESPL_INTRA_DENSE, .insertion = ESPL_INSERTION_PARALLEL,
                    .insertions = ESPL_INSERTIONS_ONE, .integration = ESPL_INTEGRATION_CONCATENATION},
     .notes = {"embedding layer", [6] = "embedding only", [8] = "embedding layer"}, .tags = "SSRSSRSSS",
     .time = "O(1)", .time_tag = "S", .formula = "n d_m (embedding layer only)", .formula_tag = "D", .parameters = of_prompt,
     .prompt = 10},
    {.code = "PF", .title = "prefix tuning", .method = "prefix", .spec = "prefix:tokens=30,projection,encoder=512",
     .counted = ESPL_COUNTED_FOR_BLOCKS,
     .properties = {.input = ESPL_INPUT_WEIGHTS, .intra = ESPL_INTRA_DENSE, .insertion = ESPL_INSERTION_PARALLEL,
                    .integration = ESPL_INTEGRATION_CONCATENATION},
     .notes = {"non-linear MLP", [6] = "and embedding", [7] = "equals gated addition", [8] = "attention keys/values (and embedding)"},
     .tags = "SSRSSRSSS", .time = "O(kd)", .time_tag = "R", .formula = "n d_m + d_m^2 + 2 d_h d_m", .formula_tag = "R",
     .parameters = of_prefix, .rank = 512, .prompt = 30},
    {.code = "LoRA", .title = "LoRA", .method = "lora", .spec = "lora:r=8",
     .properties = {.intra = ESPL_INTRA_DENSE, .adapted = ESPL_ADAPTED_REPARAMETERISATION, .insertion = ESPL_INSERTION_PARALLEL,
                    .integration = ESPL_INTEGRATION_SCALED_ADDITION},
     .notes = {"linear MLP", [8] = "attention queries/values"}, .tags = "SSSSDSSSS", .time = "O(rd)", .time_tag = "R",
     .formula = "2 (2 d_h d_m)", .formula_tag = "D", .parameters = of_two_pairs, .rank = 8},
    {.code = "AD", .title = "adapters", .method = "houlsby", .spec = "houlsby:rf=16",
     .properties = {.intra = ESPL_INTRA_DENSE},
     .notes = {"non-linear MLP", [8] = "attention + FFN"}, .tags = "SSRSSSSSS", .time = "O(kd)", .time_tag = "R",
     .formula = "2 (2 d_h d_m)", .formula_tag = "D", .parameters = of_two_pairs, .reduction = 16},
    {.code = "TA", .title = "tiny-attention adapters", .method = "tiny_attention", .spec = "tiny_attention",
     .properties = {.intra = ESPL_INTRA_DENSE, .inter = ESPL_INTER_DYNAMIC},
     .notes = {"self-attention", [8] = "attention (after it)"}, .tags = "SSRSSSSSS", .time = "O(T)", .time_tag = "R",
     .formula = "4 d_m", .formula_tag = "R", .parameters = of_attention, .rank = 1},
    {.code = "CO", .title = "compacter", .method = "compacter", .spec = "compacter:rf=32",
     .properties = {.intra = ESPL_INTRA_DENSE, .adapted = ESPL_ADAPTED_REPARAMETERISATION, .sharing = ESPL_SHARING_SHARED},
     .notes = {"non-linear MLP", [8] = "attention + FFN"}, .tags = "SSSSSSSSS", .time = "O(kd/N)", .time_tag = "R",
     .formula = "2 (2 (d_h + d_m))", .formula_tag = "D", .parameters = of_compacter, .reduction = 32},
    {.code = "IA3", .title = "(IA)3", .method = "ia3", .spec = "ia3",
     .properties = {.input = ESPL_INPUT_WEIGHTS, .integration = ESPL_INTEGRATION_RESCALING},
     .notes = {"a vector", [8] = "attention keys/values + FFN intermediate"}, .tags = "SSRSSSSSS", .time = "O(1)", .time_tag = "S",
     .formula = "6 d_m", .formula_tag = "S", .parameters = of_vectors},
};
const size_t espl_technique_count = ESPL_COUNT(espl_techniques);

const char *espl_property_name(uint32_t index) {
    static const char *const names[ESPL_PROPERTY_COUNT] = {
        "intra-connectivity", "inter-connectivity", "parameters adapted", "sharing", "input", "insertion form", "insertions",
        "integration", "workspace"};
    return names[index];
}

const char *espl_property_text(const espl_properties *p, uint32_t index) {
    static const char *const intra[] = {"none", "dense", "sparse"}, *const inter[] = {"fixed:dense", "fixed:sparse", "dynamic"};
    static const char *const adapted[] = {"addition", "reparameterisation", "selection"};
    static const char *const sharing[] = {"none", "shared", "tied"}, *const input[] = {"hidden", "data", "weights"};
    static const char *const insertion[] = {"sequential", "parallel"}, *const insertions[] = {"all", "1"};
    static const char *const integration[] = {"direct addition", "scaled addition", "gated addition", "concatenation", "rescaling",
                                              "replacement"};
    switch (index) {
    case 0: return intra[p->intra];
    case 1: return inter[p->inter];
    case 2: return adapted[p->adapted];
    case 3: return sharing[p->sharing];
    case 4: return input[p->input];
    case 5: return insertion[p->insertion];
    case 6: return insertions[p->insertions];
    default: return integration[p->integration];
    }
}

static bool ends_with(const char *text, const char *end) {
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static bool replaces(const espl_adapter *adapter, uint32_t matrix) {
    for (uint32_t i = 0; i < adapter->replacement_count; i++) {
        if (adapter->replacement[i] == matrix) return true;
    }
    return false;
}

espl_parameter_count espl_count_parameters(const espl_adapter *adapter) {
    const espl_family *family = adapter->model->config.family;
    espl_parameter_count count = {0};
    char blocks[64];
    snprintf(blocks, sizeof blocks, "%.*s", (int)strcspn(family->block, "%"), family->block);
    for (size_t i = 0; i < adapter->store.entry_count; i++) {
        const espl_entry *e = &adapter->store.entries[i];
        if (adapter->store.matrices[e->matrix].frozen) continue;
        const uint64_t values = espl_entry_values(&adapter->store, e);
        count.all += values;
        if (replaces(adapter, e->matrix)) continue;
        const bool inside = strstr(e->name, blocks) != NULL, bias = ends_with(e->name, ".bias") || ends_with(e->name, ".b");
        *(inside ? bias ? &count.block_biases : &count.blocks : bias ? &count.outside_biases : &count.outside) += values;
    }
    return count;
}

void espl_count_technique(const espl_technique *technique, const espl_adapter *adapter, uint64_t *out_weights, uint64_t *out_biases) {
    const espl_parameter_count count = espl_count_parameters(adapter);
    const bool inside = technique->counted == ESPL_COUNTED_IN_BLOCK;
    const uint64_t over = technique->counted == ESPL_COUNTED_ONCE ? 1 : adapter->model->config.layers;
    *out_weights = (inside ? count.blocks : count.outside) / over;
    *out_biases = (inside ? count.block_biases : count.outside_biases) / over;
}
