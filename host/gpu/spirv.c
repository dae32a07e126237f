/* Reading a SPIR-V module. One pass notes for every id where it is defined and how it is decorated; then variables and
 * sizes follow from there. The words come from our own build, yet every index is checked: a truncated file must give a
 * sentence, not a crash. Numbers are those of the SPIR-V specification, section 3. */
#include "host/gpu/spirv.h"
#include <string.h>

enum {
    OP_EXECUTION_MODE = 16,
    OP_CAPABILITY = 17,
    OP_TYPE_BOOL = 20,
    OP_TYPE_INT = 21,
    OP_TYPE_FLOAT = 22,
    OP_TYPE_VECTOR = 23,
    OP_TYPE_MATRIX = 24,
    OP_TYPE_ARRAY = 28,
    OP_TYPE_RUNTIME_ARRAY = 29,
    OP_TYPE_STRUCT = 30,
    OP_TYPE_POINTER = 32,
    OP_CONSTANT_TRUE = 41,
    OP_CONSTANT_FALSE = 42,
    OP_CONSTANT = 43,
    OP_CONSTANT_COMPOSITE = 44,
    OP_SPEC_CONSTANT_TRUE = 48,
    OP_SPEC_CONSTANT_FALSE = 49,
    OP_SPEC_CONSTANT = 50,
    OP_SPEC_CONSTANT_COMPOSITE = 51,
    OP_SPEC_CONSTANT_OP = 52,
    OP_FUNCTION = 54,
    OP_FUNCTION_END = 56,
    OP_VARIABLE = 59,
    OP_LOAD = 61,
    OP_ACCESS_CHAIN = 65,
    OP_DECORATE = 71,
    OP_MEMBER_DECORATE = 72,

    CAPABILITY_COOPERATIVE_MATRIX = 6022,

    STORAGE_UNIFORM = 2,
    STORAGE_WORKGROUP = 4,
    STORAGE_PUSH_CONSTANT = 9,
    STORAGE_BUFFER = 12,

    DECORATION_SPEC_ID = 1,
    DECORATION_ARRAY_STRIDE = 6,
    DECORATION_BUILT_IN = 11,
    DECORATION_NON_WRITABLE = 24,
    DECORATION_NON_READABLE = 25,
    DECORATION_BINDING = 33,
    DECORATION_OFFSET = 35,

    BUILT_IN_NUM_WORKGROUPS = 24,
    BUILT_IN_WORKGROUP_SIZE = 25,
    MODE_LOCAL_SIZE = 17,
    HEADER_WORDS = 5,
    ID_MAX = 1 << 20,
    DEPTH_MAX = 32
};

typedef struct spirv_id {
    uint32_t at; /* word of its definition; 0: none */
    uint32_t spec_id, binding, array_stride; /* UINT32_MAX: not decorated */
    uint32_t members_not_writable, members_not_readable;
    bool not_writable, not_readable, workgroup_size, group_count;
} spirv_id;

typedef struct spirv_module {
    espl_context *ctx;
    const espl_shader *shader;
    const uint32_t *words;
    uint32_t word_count, bound;
    spirv_id *ids; /* owned */
    const uint32_t *spec;
    uint32_t spec_count;
    const espl_capabilities *capabilities;
} spirv_module;

/* Which of the device's capabilities a module's capability needs; others are in every Vulkan 1.1 device or refused by
 * the driver. */
static const struct {
    uint32_t capability;
    size_t offset;
    const char *name;
} capability_rows[] = {
    {9, offsetof(espl_capabilities, f16_arithmetic), "Float16"},
    {22, offsetof(espl_capabilities, i16_arithmetic), "Int16"},
    {39, offsetof(espl_capabilities, i8_arithmetic), "Int8"},
    {63, offsetof(espl_capabilities, subgroup_arithmetic), "GroupNonUniformArithmetic"},
    {65, offsetof(espl_capabilities, subgroup_shuffle), "GroupNonUniformShuffle"},
    {4433, offsetof(espl_capabilities, f16_storage), "StorageBuffer16BitAccess"},
    {4448, offsetof(espl_capabilities, i8_storage), "StorageBuffer8BitAccess"},
    {5116, offsetof(espl_capabilities, bf16), "BFloat16TypeKHR"},
    {5118, offsetof(espl_capabilities, bf16), "BFloat16CooperativeMatrixKHR"},
    {CAPABILITY_COOPERATIVE_MATRIX, offsetof(espl_capabilities, cooperative_matrix), "CooperativeMatrixKHR"},
};

static espl_status malformed(const spirv_module *m, const char *what) {
    return espl_fail(m->ctx, ESPL_ARGUMENT, "shader %s: %s", m->shader->name, what);
}

static espl_status check_capability(const spirv_module *m, uint32_t capability) {
    for (size_t i = 0; i < ESPL_COUNT(capability_rows); i++) {
        if (capability_rows[i].capability != capability) continue;
        bool there;
        memcpy(&there, (const unsigned char *)m->capabilities + capability_rows[i].offset, sizeof there);
        if (!there)
            return espl_fail(m->ctx, ESPL_UNSUPPORTED, "shader %s: needs %s, which this device lacks", m->shader->name,
                             capability_rows[i].name);
    }
    return ESPL_OK;
}

static void decorate(spirv_id *id, uint32_t decoration, uint32_t value) {
    switch (decoration) {
    case DECORATION_SPEC_ID: id->spec_id = value; break;
    case DECORATION_BINDING: id->binding = value; break;
    case DECORATION_ARRAY_STRIDE: id->array_stride = value; break;
    case DECORATION_NON_WRITABLE: id->not_writable = true; break;
    case DECORATION_NON_READABLE: id->not_readable = true; break;
    case DECORATION_BUILT_IN:
        id->workgroup_size |= value == BUILT_IN_WORKGROUP_SIZE;
        id->group_count |= value == BUILT_IN_NUM_WORKGROUPS;
        break;
    default: break;
    }
}

/* Word of the id that an instruction defines, 0 if it defines none that matters here. */
static uint32_t result_word(uint32_t opcode) {
    if (opcode >= OP_TYPE_BOOL && opcode <= OP_TYPE_POINTER) return 1;
    if (opcode >= OP_CONSTANT_TRUE && opcode <= OP_SPEC_CONSTANT_OP) return 2;
    return opcode == OP_VARIABLE ? 2 : 0;
}

static espl_status note_instruction(spirv_module *m, uint32_t at, uint32_t opcode, uint32_t length,
                                    espl_reflection *out) {
    const uint32_t *words = m->words + at;
    if (opcode == OP_CAPABILITY && length >= 2) {
        out->cooperative_matrix |= words[1] == CAPABILITY_COOPERATIVE_MATRIX;
        return check_capability(m, words[1]);
    }
    if (opcode == OP_EXECUTION_MODE && length >= 6 && words[2] == MODE_LOCAL_SIZE)
        for (int i = 0; i < 3; i++) out->local_size[i] = words[3 + i];
    if (opcode == OP_DECORATE && length >= 3) {
        if (words[1] >= m->bound) return malformed(m, "decorates an id beyond its bound");
        decorate(&m->ids[words[1]], words[2], length > 3 ? words[3] : 0);
    }
    if (opcode == OP_MEMBER_DECORATE && length >= 4) {
        if (words[1] >= m->bound) return malformed(m, "decorates an id beyond its bound");
        m->ids[words[1]].members_not_writable += words[3] == DECORATION_NON_WRITABLE;
        m->ids[words[1]].members_not_readable += words[3] == DECORATION_NON_READABLE;
    }
    uint32_t word = result_word(opcode);
    if (word) {
        if (word >= length || words[word] >= m->bound) return malformed(m, "defines an id beyond its bound");
        m->ids[words[word]].at = at;
    }
    return ESPL_OK;
}

static espl_status note_ids(spirv_module *m, espl_reflection *out) {
    for (uint32_t i = 0; i < m->bound; i++)
        m->ids[i] = (spirv_id){.spec_id = UINT32_MAX, .binding = UINT32_MAX, .array_stride = UINT32_MAX};
    bool in_functions = false; /* all that is wanted stands before the first */
    uint32_t opcode = 0;
    for (uint32_t at = HEADER_WORDS, length; at < m->word_count; at += length) {
        opcode = m->words[at] & 0xffff;
        length = m->words[at] >> 16;
        if (length == 0 || length > m->word_count - at) return malformed(m, "an instruction runs past the end");
        in_functions |= opcode == OP_FUNCTION;
        if (!in_functions) ESPL_TRY(note_instruction(m, at, opcode, length, out));
    }
    /* Drivers trust their input: half a module would be a crash in one of them. */
    return opcode == OP_FUNCTION_END ? ESPL_OK : malformed(m, "does not end with a function");
}

/* Words of the definition of an id, NULL if there is none with at least that many. */
static const uint32_t *definition(const spirv_module *m, uint32_t id, uint32_t words_needed) {
    if (id >= m->bound || m->ids[id].at == 0) return NULL;
    const uint32_t *words = m->words + m->ids[id].at;
    return words[0] >> 16 >= words_needed ? words : NULL;
}

static bool evaluate(const spirv_module *m, uint32_t id, int depth, uint32_t *out_value);

static bool evaluate_operation(const spirv_module *m, const uint32_t *words, int depth, uint32_t *out_value) {
    uint32_t length = words[0] >> 16, v[3] = {0};
    for (uint32_t i = 4; i < length && i < 7; i++)
        if (!evaluate(m, words[i], depth + 1, &v[i - 4])) return false;
    uint32_t a = v[0], b = v[1];
    bool divides = b != 0 && !(a == 0x80000000u && b == UINT32_MAX);
    switch (words[3]) {
    case 113: case 114: case 124: *out_value = a; return true; /* UConvert SConvert Bitcast */
    case 126: *out_value = 0u - a; return true;
    case 128: *out_value = a + b; return true;
    case 130: *out_value = a - b; return true;
    case 132: *out_value = a * b; return true;
    case 134: *out_value = b ? a / b : 0; return b != 0;
    case 135: *out_value = divides ? (uint32_t)((int32_t)a / (int32_t)b) : 0; return divides;
    case 137: *out_value = b ? a % b : 0; return b != 0;
    case 138: *out_value = divides ? (uint32_t)((int32_t)a % (int32_t)b) : 0; return divides;
    case 164: case 170: *out_value = a == b; return true;
    case 165: case 171: *out_value = a != b; return true;
    case 166: *out_value = a || b; return true;
    case 167: *out_value = a && b; return true;
    case 168: *out_value = !a; return true;
    case 169: *out_value = a ? b : v[2]; return true;
    case 172: *out_value = a > b; return true;
    case 173: *out_value = (int32_t)a > (int32_t)b; return true;
    case 174: *out_value = a >= b; return true;
    case 175: *out_value = (int32_t)a >= (int32_t)b; return true;
    case 176: *out_value = a < b; return true;
    case 177: *out_value = (int32_t)a < (int32_t)b; return true;
    case 178: *out_value = a <= b; return true;
    case 179: *out_value = (int32_t)a <= (int32_t)b; return true;
    case 194: *out_value = b < 32 ? a >> b : 0; return true;
    case 196: *out_value = b < 32 ? a << b : 0; return true;
    case 197: *out_value = a | b; return true;
    case 198: *out_value = a ^ b; return true;
    case 199: *out_value = a & b; return true;
    case 200: *out_value = ~a; return true;
    default: return false;
    }
}

/* The value of a 32-bit integer or boolean constant under the given specialization; false if it cannot be told. */
static bool evaluate(const spirv_module *m, uint32_t id, int depth, uint32_t *out_value) {
    const uint32_t *words = definition(m, id, 3);
    if (!words || depth > DEPTH_MAX) return false;
    uint32_t opcode = words[0] & 0xffff, length = words[0] >> 16, spec_id = m->ids[id].spec_id;
    bool given = spec_id < m->spec_count;
    switch (opcode) {
    case OP_CONSTANT_TRUE: *out_value = 1; return true;
    case OP_CONSTANT_FALSE: *out_value = 0; return true;
    case OP_SPEC_CONSTANT_TRUE: *out_value = given ? m->spec[spec_id] != 0 : 1; return true;
    case OP_SPEC_CONSTANT_FALSE: *out_value = given ? m->spec[spec_id] != 0 : 0; return true;
    case OP_CONSTANT: *out_value = length > 3 ? words[3] : 0; return length > 3;
    case OP_SPEC_CONSTANT: *out_value = given ? m->spec[spec_id] : length > 3 ? words[3] : 0; return length > 3;
    case OP_SPEC_CONSTANT_OP: return length > 3 && evaluate_operation(m, words, depth, out_value);
    default: return false;
    }
}

static uint64_t struct_bytes(const spirv_module *m, uint32_t id, int depth);

/* Bytes of a type; 0 if it cannot be told. */
static uint64_t type_bytes(const spirv_module *m, uint32_t id, int depth) {
    const uint32_t *words = definition(m, id, 2);
    if (!words || depth > DEPTH_MAX) return 0;
    uint32_t length = words[0] >> 16, count;
    switch (words[0] & 0xffff) {
    case OP_TYPE_BOOL: return 4;
    case OP_TYPE_INT:
    case OP_TYPE_FLOAT: return length > 2 ? words[2] / 8 : 0;
    case OP_TYPE_VECTOR:
    case OP_TYPE_MATRIX: return length > 3 ? words[3] * type_bytes(m, words[2], depth + 1) : 0;
    case OP_TYPE_ARRAY:
        if (length < 4 || !evaluate(m, words[3], 0, &count)) return 0;
        return count * (m->ids[id].array_stride != UINT32_MAX ? m->ids[id].array_stride
                                                              : type_bytes(m, words[2], depth + 1));
    case OP_TYPE_STRUCT: return struct_bytes(m, id, depth);
    default: return 0;
    }
}

/* The end of the last member by its Offset; members without one follow each other. */
static uint64_t struct_bytes(const spirv_module *m, uint32_t id, int depth) {
    const uint32_t *words = definition(m, id, 2);
    uint32_t members = (words[0] >> 16) - 2;
    uint64_t sum = 0, end = 0;
    for (uint32_t i = 0; i < members; i++) sum += type_bytes(m, words[2 + i], depth + 1);
    for (uint32_t at = HEADER_WORDS; at < m->word_count; at += m->words[at] >> 16) {
        const uint32_t *w = m->words + at;
        if ((w[0] & 0xffff) == OP_FUNCTION) break;
        if ((w[0] & 0xffff) != OP_MEMBER_DECORATE || w[0] >> 16 < 5 || w[1] != id || w[3] != DECORATION_OFFSET)
            continue;
        uint64_t member_end = w[2] < members ? w[4] + type_bytes(m, words[2 + w[2]], depth + 1) : 0;
        if (member_end > end) end = member_end;
    }
    return end ? end : sum;
}

static espl_status note_buffer(const spirv_module *m, uint32_t id, uint32_t type, espl_reflection *out) {
    const spirv_id *variable = &m->ids[id];
    const uint32_t *block = definition(m, type, 2);
    if (variable->binding >= ESPL_BINDINGS_MAX)
        return malformed(m, "a buffer has no binding, or one beyond ESPL_BINDINGS_MAX");
    if (!block || (block[0] & 0xffff) != OP_TYPE_STRUCT) return malformed(m, "arrays of buffers are not used here");
    uint32_t members = (block[0] >> 16) - 2;
    uint32_t b = variable->binding;
    const spirv_id *s = &m->ids[type];
    out->reads[b] |= !variable->not_readable && s->members_not_readable < members;
    out->writes[b] |= !variable->not_writable && s->members_not_writable < members;
    if (b + 1 > out->binding_count) out->binding_count = b + 1;
    return ESPL_OK;
}

static espl_status note_variables(const spirv_module *m, espl_reflection *out) {
    for (uint32_t id = 0; id < m->bound; id++) {
        const uint32_t *words = definition(m, id, 3), *pointer;
        if (!words) continue;
        uint32_t opcode = words[0] & 0xffff;
        if (m->ids[id].workgroup_size && (opcode == OP_CONSTANT_COMPOSITE || opcode == OP_SPEC_CONSTANT_COMPOSITE))
            for (uint32_t i = 0; i < 3 && 3 + i < words[0] >> 16; i++)
                if (!evaluate(m, words[3 + i], 0, &out->local_size[i]))
                    return malformed(m, "its workgroup size cannot be told");
        if (opcode != OP_VARIABLE || words[0] >> 16 < 4) continue;
        pointer = definition(m, words[1], 4);
        if (!pointer) return malformed(m, "a variable has no type");
        uint32_t type = pointer[3];
        switch (words[3]) {
        case STORAGE_UNIFORM:
        case STORAGE_BUFFER: ESPL_TRY(note_buffer(m, id, type, out)); break;
        case STORAGE_PUSH_CONSTANT: out->push_bytes = (uint32_t)type_bytes(m, type, 0); break;
        case STORAGE_WORKGROUP: out->shared_bytes += type_bytes(m, type, 0); break;
        default: break;
        }
    }
    return ESPL_OK;
}

/* Which components of gl_NumWorkGroups the functions read: one by an access chain, or all by a load. */
static void note_group_counts(const spirv_module *m, espl_reflection *out) {
    for (uint32_t at = HEADER_WORDS; at < m->word_count; at += m->words[at] >> 16) {
        const uint32_t *w = m->words + at, opcode = w[0] & 0xffff, length = w[0] >> 16;
        if ((opcode != OP_LOAD && opcode != OP_ACCESS_CHAIN) || length < 4 || w[3] >= m->bound || !m->ids[w[3]].group_count)
            continue;
        uint32_t component;
        const bool one = opcode == OP_ACCESS_CHAIN && length == 5 && evaluate(m, w[4], 0, &component);
        for (uint32_t i = 0; i < 3; i++) out->reads_group_count[i] |= !one || component == i;
    }
}

espl_status espl_spirv_reflect(espl_context *ctx, const espl_shader *shader, const uint32_t *spec, uint32_t spec_count,
                               const espl_capabilities *capabilities, espl_reflection *out_reflection) {
    *out_reflection = (espl_reflection){.local_size = {1, 1, 1}};
    spirv_module m = {.ctx = ctx,
                      .shader = shader,
                      .words = shader->words,
                      .word_count = (uint32_t)(shader->bytes / 4),
                      .spec = spec,
                      .spec_count = spec_count,
                      .capabilities = capabilities};
    const uint32_t magic = 0x07230203;
    if (shader->bytes % 4 || m.word_count < HEADER_WORDS || m.words[0] != magic) return malformed(&m, "is not SPIR-V");
    m.bound = m.words[3];
    if (m.bound == 0 || m.bound > ID_MAX) return malformed(&m, "has too many ids");
    ESPL_TRY(espl_new(ctx, m.bound * sizeof *m.ids, &m.ids));
    espl_status status = note_ids(&m, out_reflection);
    if (status == ESPL_OK) status = note_variables(&m, out_reflection);
    if (status == ESPL_OK) note_group_counts(&m, out_reflection);
    espl_free(ctx, &m.ids);
    return status;
}
