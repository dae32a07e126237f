/* A machine with a stack and a memo, see pickle.h. An instruction is a row of a table: a function and what it is given. */
#include "host/file/pickle.h"
#include <string.h>

/* ---- failing and reading ---- */

static espl_status fail(espl_pickle *p, const char *what) {
    return espl_fail(p->ctx, ESPL_FORMAT, "the pickle in %s is damaged at byte %zu: %s", p->name, p->at, what);
}

static espl_status need(espl_pickle *p, size_t bytes) {
    return p->bytes - p->at >= bytes ? ESPL_OK : fail(p, "it ends too soon");
}

/* Little endian, up to 8 bytes. */
static espl_status read_number(espl_pickle *p, size_t bytes, uint64_t *out_number) {
    *out_number = 0;
    ESPL_TRY(need(p, bytes));
    for (size_t i = bytes; i-- > 0;) *out_number = *out_number << 8 | p->data[p->at + i];
    p->at += bytes;
    return ESPL_OK;
}

/* ---- values, stack ---- */

static espl_status push(espl_pickle *p, uint32_t value) {
    ESPL_TRY(espl_grow(p->ctx, &p->stack, &p->stack_capacity, p->stack_count + 1, sizeof *p->stack));
    p->stack[p->stack_count++] = value;
    return ESPL_OK;
}

static espl_status push_new(espl_pickle *p, espl_pickle_value value) {
    if (p->count >= UINT32_MAX - 1) return fail(p, "it has too many values");
    ESPL_TRY(espl_grow(p->ctx, &p->values, &p->capacity, p->count + 1, sizeof *p->values));
    value.first = value.last = ESPL_PICKLE_END;
    p->values[p->count++] = value;
    return push(p, (uint32_t)p->count - 1);
}

/* How many values lie above the last mark, or on the stack. */
static size_t above_mark(const espl_pickle *p) {
    return p->stack_count - (p->mark_count ? p->marks[p->mark_count - 1] : 0);
}

static espl_status pop(espl_pickle *p, uint32_t *out_value) {
    *out_value = 0;
    if (above_mark(p) == 0) return fail(p, "the stack is empty");
    *out_value = p->stack[--p->stack_count];
    return ESPL_OK;
}

static espl_status append(espl_pickle *p, uint32_t to, uint32_t value) {
    /* Each item took a byte at least, unless a list is read into dicts again and again. */
    if (p->item_count >= UINT32_MAX - 1 || p->item_count > p->bytes) return fail(p, "it has too many items");
    ESPL_TRY(espl_grow(p->ctx, &p->items, &p->item_capacity, p->item_count + 1, sizeof *p->items));
    const uint32_t made = (uint32_t)p->item_count++;
    p->items[made] = (espl_pickle_item){.value = value, .next = ESPL_PICKLE_END};
    espl_pickle_value *container = &p->values[to];
    if (container->first == ESPL_PICKLE_END) container->first = made;
    else p->items[container->last].next = made;
    container->last = made;
    container->count++;
    return ESPL_OK;
}

/* Takes the values from stack position `from` up into the container. */
static espl_status take(espl_pickle *p, uint32_t to, size_t from) {
    for (size_t i = from; i < p->stack_count; i++) ESPL_TRY(append(p, to, p->stack[i]));
    p->stack_count = from;
    return ESPL_OK;
}

/* A new value with the items of another. */
static espl_status push_with_items(espl_pickle *p, espl_pickle_kind kind, espl_pickle_value of) {
    ESPL_TRY(push_new(p, (espl_pickle_value){.kind = kind, .count = of.count}));
    p->values[p->count - 1].first = of.first;
    p->values[p->count - 1].last = of.last;
    return ESPL_OK;
}

const espl_pickle_value *espl_pickle_item_at(const espl_pickle *p, const espl_pickle_value *value, size_t index) {
    uint32_t at = value->first;
    for (; at != ESPL_PICKLE_END && index; index--) at = p->items[at].next;
    return at == ESPL_PICKLE_END ? NULL : &p->values[p->items[at].value];
}

/* ---- names that may be called ---- */

typedef enum role { ROLE_DICT, ROLE_TENSOR, ROLE_PARAMETER, ROLE_STORAGE } role;
static const struct {
    const char *name;
    role role;
} globals[] = {
    {"collections.OrderedDict", ROLE_DICT},
    {"torch._utils._rebuild_tensor_v2", ROLE_TENSOR},
    {"torch._utils._rebuild_parameter", ROLE_PARAMETER},
    {"torch.FloatStorage", ROLE_STORAGE},
    {"torch.HalfStorage", ROLE_STORAGE},
    {"torch.BFloat16Storage", ROLE_STORAGE},
    {"torch.DoubleStorage", ROLE_STORAGE},
    {"torch.LongStorage", ROLE_STORAGE},
    {"torch.IntStorage", ROLE_STORAGE},
    {"torch.ShortStorage", ROLE_STORAGE},
    {"torch.CharStorage", ROLE_STORAGE},
    {"torch.ByteStorage", ROLE_STORAGE},
    {"torch.BoolStorage", ROLE_STORAGE},
};

static espl_status push_global(espl_pickle *p, const char *module, size_t module_bytes, const char *name,
                               size_t name_bytes) {
    char text[120];
    size_t count = 0;
    for (size_t i = 0; i < module_bytes + 1 + name_bytes && count < sizeof text - 1; i++) {
        const char letter = i < module_bytes ? module[i] : i == module_bytes ? '.' : name[i - module_bytes - 1];
        text[count++] = letter > ' ' && letter < 127 ? letter : '?';
    }
    text[count] = 0;
    for (size_t i = 0; i < ESPL_COUNT(globals); i++) {
        if (strcmp(text, globals[i].name)) continue;
        return push_new(p, (espl_pickle_value){.kind = ESPL_PICKLE_GLOBAL, .integer = globals[i].role,
                                               .text = globals[i].name, .bytes = strlen(globals[i].name)});
    }
    return espl_fail(p->ctx, ESPL_UNSUPPORTED, "the pickle in %s calls %s; only tensors are read", p->name, text);
}

/* "module\nname\n" */
static espl_status op_global(espl_pickle *p, unsigned unused) {
    (void)unused;
    const char *parts[2];
    size_t bytes[2];
    for (size_t i = 0; i < 2; i++) {
        parts[i] = (const char *)p->data + p->at;
        const char *end = memchr(parts[i], '\n', p->bytes - p->at);
        if (!end) return fail(p, "a name does not end");
        bytes[i] = (size_t)(end - parts[i]);
        p->at += bytes[i] + 1;
    }
    return push_global(p, parts[0], bytes[0], parts[1], bytes[1]);
}

static espl_status op_stack_global(espl_pickle *p, unsigned unused) {
    (void)unused;
    uint32_t name, module;
    ESPL_TRY(pop(p, &name));
    ESPL_TRY(pop(p, &module));
    const espl_pickle_value *parts[] = {&p->values[module], &p->values[name]};
    if (parts[0]->kind != ESPL_PICKLE_STRING || parts[1]->kind != ESPL_PICKLE_STRING)
        return fail(p, "a name that is no string");
    return push_global(p, parts[0]->text, parts[0]->bytes, parts[1]->text, parts[1]->bytes);
}

/* ---- calls ---- */

/* Of a list of pairs, as Python 2 wrote an OrderedDict. */
static espl_status fill_dict(espl_pickle *p, uint32_t dict, const espl_pickle_value *pairs) {
    if (pairs->kind != ESPL_PICKLE_LIST) return fail(p, "an OrderedDict of something else than pairs");
    for (uint32_t at = pairs->first; at != ESPL_PICKLE_END; at = p->items[at].next) {
        const espl_pickle_value *pair = &p->values[p->items[at].value];
        if ((pair->kind != ESPL_PICKLE_LIST && pair->kind != ESPL_PICKLE_TUPLE) || pair->count != 2)
            return fail(p, "an OrderedDict of something else than pairs");
        const uint32_t key = p->items[pair->first].value, value = p->items[pair->last].value;
        ESPL_TRY(append(p, dict, key));
        ESPL_TRY(append(p, dict, value));
    }
    return ESPL_OK;
}

static espl_status op_reduce(espl_pickle *p, unsigned unused) {
    (void)unused;
    uint32_t arguments, function;
    ESPL_TRY(pop(p, &arguments));
    ESPL_TRY(pop(p, &function));
    const espl_pickle_value *called = &p->values[function], given = p->values[arguments];
    if (called->kind != ESPL_PICKLE_GLOBAL || given.kind != ESPL_PICKLE_TUPLE) return fail(p, "a call of no function");
    switch ((role)called->integer) {
    case ROLE_DICT:
        ESPL_TRY(push_new(p, (espl_pickle_value){.kind = ESPL_PICKLE_DICT}));
        if (given.count == 0) return ESPL_OK;
        return fill_dict(p, (uint32_t)p->count - 1, espl_pickle_item_at(p, &given, 0));
    case ROLE_TENSOR: return push_with_items(p, ESPL_PICKLE_TENSOR, given);
    case ROLE_PARAMETER:
        return given.count ? push(p, p->items[given.first].value) : fail(p, "a parameter of nothing");
    case ROLE_STORAGE: break;
    }
    return espl_fail(p->ctx, ESPL_UNSUPPORTED, "the pickle in %s calls %s; only tensors are read", p->name, called->text);
}

/* A state for what was made: the attributes of an OrderedDict, which a checkpoint does not need. */
static espl_status op_build(espl_pickle *p, unsigned unused) {
    (void)unused;
    uint32_t state;
    ESPL_TRY(pop(p, &state));
    if (above_mark(p) == 0) return fail(p, "the stack is empty");
    const espl_pickle_value *made = &p->values[p->stack[p->stack_count - 1]];
    return made->kind == ESPL_PICKLE_DICT ? ESPL_OK : fail(p, "a state for something else than a dict");
}

static espl_status op_persistent(espl_pickle *p, unsigned unused) {
    (void)unused;
    uint32_t id;
    ESPL_TRY(pop(p, &id));
    const espl_pickle_value given = p->values[id];
    if (given.kind != ESPL_PICKLE_TUPLE) return fail(p, "a storage without description");
    return push_with_items(p, ESPL_PICKLE_STORAGE, given);
}

/* ---- constants ---- */

static espl_status op_none(espl_pickle *p, unsigned unused) {
    (void)unused;
    return push_new(p, (espl_pickle_value){.kind = ESPL_PICKLE_NONE});
}

static espl_status op_bool(espl_pickle *p, unsigned value) {
    return push_new(p, (espl_pickle_value){.kind = ESPL_PICKLE_BOOL, .integer = value});
}

/* `bytes` of two's complement or not. */
static espl_status push_int(espl_pickle *p, size_t bytes, bool is_signed) {
    uint64_t number;
    ESPL_TRY(read_number(p, bytes, &number));
    if (is_signed && bytes && bytes < 8 && number >> (8 * bytes - 1)) number |= UINT64_MAX << (8 * bytes);
    return push_new(p, (espl_pickle_value){.kind = ESPL_PICKLE_INT, .integer = (int64_t)number});
}

static espl_status op_unsigned(espl_pickle *p, unsigned bytes) {
    return push_int(p, bytes, false);
}

static espl_status op_signed(espl_pickle *p, unsigned bytes) {
    return push_int(p, bytes, true);
}

static espl_status op_long(espl_pickle *p, unsigned length_bytes) {
    uint64_t bytes;
    ESPL_TRY(read_number(p, length_bytes, &bytes));
    ESPL_TRY(need(p, bytes));
    if (bytes <= 8) return push_int(p, bytes, true);
    p->at += bytes; /* the magic number of the old form; nothing else needs it */
    return op_none(p, 0);
}

static espl_status op_float(espl_pickle *p, unsigned bytes) {
    uint64_t bits = 0;
    double real;
    ESPL_TRY(need(p, bytes));
    for (size_t i = 0; i < bytes; i++) bits = bits << 8 | p->data[p->at++];
    memcpy(&real, &bits, sizeof real);
    return push_new(p, (espl_pickle_value){.kind = ESPL_PICKLE_FLOAT, .real = real});
}

static espl_status op_string(espl_pickle *p, unsigned length_bytes) {
    uint64_t bytes;
    ESPL_TRY(read_number(p, length_bytes, &bytes));
    if (bytes > p->bytes - p->at) return fail(p, "a string passes its end");
    p->at += (size_t)bytes;
    return push_new(p, (espl_pickle_value){.kind = ESPL_PICKLE_STRING, .bytes = (size_t)bytes,
                                           .text = (const char *)p->data + p->at - bytes});
}

/* ---- containers ---- */

static espl_status op_mark(espl_pickle *p, unsigned unused) {
    (void)unused;
    ESPL_TRY(espl_grow(p->ctx, &p->marks, &p->mark_capacity, p->mark_count + 1, sizeof *p->marks));
    p->marks[p->mark_count++] = (uint32_t)p->stack_count;
    return ESPL_OK;
}

/* Removes the mark; *out_from: the stack position that it held. */
static espl_status pop_mark(espl_pickle *p, size_t *out_from) {
    *out_from = 0;
    if (p->mark_count == 0) return fail(p, "there is no mark");
    *out_from = p->marks[--p->mark_count];
    return ESPL_OK;
}

/* The values from stack position `from` up become one. */
static espl_status collect(espl_pickle *p, espl_pickle_kind kind, size_t from) {
    if (kind == ESPL_PICKLE_DICT && (p->stack_count - from) % 2) return fail(p, "a key without a value");
    ESPL_TRY(push_new(p, (espl_pickle_value){.kind = kind}));
    const uint32_t made = p->stack[--p->stack_count];
    ESPL_TRY(take(p, made, from));
    return push(p, made);
}

static espl_status op_collect(espl_pickle *p, unsigned kind) {
    size_t from;
    ESPL_TRY(pop_mark(p, &from));
    return collect(p, (espl_pickle_kind)kind, from);
}

static espl_status op_tuple(espl_pickle *p, unsigned count) {
    if (above_mark(p) < count) return fail(p, "the stack is empty");
    return collect(p, ESPL_PICKLE_TUPLE, p->stack_count - count);
}

static espl_status op_empty(espl_pickle *p, unsigned kind) {
    return collect(p, (espl_pickle_kind)kind, p->stack_count);
}

/* Puts what lies from stack position `from` up into the container below it. */
static espl_status put(espl_pickle *p, espl_pickle_kind kind, size_t from) {
    const size_t floor = p->mark_count ? p->marks[p->mark_count - 1] : 0;
    if (from <= floor) return fail(p, "there is nothing to add to");
    const uint32_t container = p->stack[from - 1];
    if (p->values[container].kind != kind) return fail(p, "adds to something that is no list and no dict");
    if (kind == ESPL_PICKLE_DICT && (p->stack_count - from) % 2) return fail(p, "a key without a value");
    return take(p, container, from);
}

/* A value into a list, a key and a value into a dict. */
static espl_status op_put_one(espl_pickle *p, unsigned kind) {
    const size_t count = kind == ESPL_PICKLE_DICT ? 2 : 1;
    if (above_mark(p) < count) return fail(p, "the stack is empty");
    return put(p, (espl_pickle_kind)kind, p->stack_count - count);
}

static espl_status op_put_all(espl_pickle *p, unsigned kind) {
    size_t from;
    ESPL_TRY(pop_mark(p, &from));
    return put(p, (espl_pickle_kind)kind, from);
}

/* ---- memo, frames, the end ---- */

static espl_status memo_put(espl_pickle *p, uint64_t index) {
    if (above_mark(p) == 0) return fail(p, "the stack is empty");
    /* Each entry took an instruction, so a larger number is a trick. */
    if (index > p->bytes) return fail(p, "the number of a memo is too large");
    const size_t before = p->memo_count;
    if (index >= before) {
        ESPL_TRY(espl_grow(p->ctx, &p->memo, &p->memo_capacity, (size_t)index + 1, sizeof *p->memo));
        for (size_t i = before; i <= index; i++) p->memo[i] = ESPL_PICKLE_END;
        p->memo_count = (size_t)index + 1;
    }
    p->memo[index] = p->stack[p->stack_count - 1];
    return ESPL_OK;
}

static espl_status op_memo_put(espl_pickle *p, unsigned bytes) {
    uint64_t index;
    ESPL_TRY(read_number(p, bytes, &index));
    return memo_put(p, index);
}

static espl_status op_memo_next(espl_pickle *p, unsigned unused) {
    (void)unused;
    return memo_put(p, p->memo_count);
}

static espl_status op_memo_get(espl_pickle *p, unsigned bytes) {
    uint64_t index;
    ESPL_TRY(read_number(p, bytes, &index));
    if (index >= p->memo_count || p->memo[index] == ESPL_PICKLE_END) return fail(p, "the memo lacks a number");
    return push(p, p->memo[index]);
}

static espl_status op_protocol(espl_pickle *p, unsigned bytes) {
    uint64_t version;
    ESPL_TRY(read_number(p, bytes, &version));
    if (version >= 2 && version <= 5) return ESPL_OK;
    return espl_fail(p->ctx, ESPL_UNSUPPORTED, "the pickle in %s has protocol %u (2 to 5 are read)", p->name,
                     (unsigned)version);
}

static espl_status op_frame(espl_pickle *p, unsigned bytes) {
    uint64_t size;
    return read_number(p, bytes, &size);
}

static espl_status op_stop(espl_pickle *p, unsigned unused) {
    (void)unused;
    p->stopped = true;
    return ESPL_OK;
}

/* Strings of Python 2 ('U', 'T') are read as text: names of tensors are. */
static const struct {
    espl_status (*run)(espl_pickle *p, unsigned argument);
    unsigned argument; /* bytes of the number that follows, a kind, a count */
} operations[256] = {
    [0x80] = {op_protocol, 1}, [0x95] = {op_frame, 8}, ['.'] = {op_stop, 0},
    ['c'] = {op_global, 0}, [0x93] = {op_stack_global, 0}, ['R'] = {op_reduce, 0}, ['b'] = {op_build, 0},
    ['Q'] = {op_persistent, 0},
    ['N'] = {op_none, 0}, [0x88] = {op_bool, true}, [0x89] = {op_bool, false},
    ['K'] = {op_unsigned, 1}, ['M'] = {op_unsigned, 2}, ['J'] = {op_signed, 4}, [0x8a] = {op_long, 1}, ['G'] = {op_float, 8},
    ['U'] = {op_string, 1}, [0x8c] = {op_string, 1}, ['T'] = {op_string, 4}, ['X'] = {op_string, 4}, [0x8d] = {op_string, 8},
    ['('] = {op_mark, 0}, ['t'] = {op_collect, ESPL_PICKLE_TUPLE}, ['l'] = {op_collect, ESPL_PICKLE_LIST},
    ['d'] = {op_collect, ESPL_PICKLE_DICT},
    [')'] = {op_tuple, 0}, [0x85] = {op_tuple, 1}, [0x86] = {op_tuple, 2}, [0x87] = {op_tuple, 3},
    [']'] = {op_empty, ESPL_PICKLE_LIST}, ['}'] = {op_empty, ESPL_PICKLE_DICT},
    ['a'] = {op_put_one, ESPL_PICKLE_LIST}, ['s'] = {op_put_one, ESPL_PICKLE_DICT},
    ['e'] = {op_put_all, ESPL_PICKLE_LIST}, ['u'] = {op_put_all, ESPL_PICKLE_DICT},
    ['q'] = {op_memo_put, 1}, ['r'] = {op_memo_put, 4}, [0x94] = {op_memo_next, 0},
    ['h'] = {op_memo_get, 1}, ['j'] = {op_memo_get, 4},
};

espl_status espl_pickle_read(espl_pickle *p, uint32_t *out_root) {
    p->stopped = false;
    p->stack_count = p->mark_count = p->memo_count = 0;
    while (!p->stopped) {
        ESPL_TRY(need(p, 1));
        const unsigned code = p->data[p->at++];
        if (!operations[code].run)
            return espl_fail(p->ctx, ESPL_UNSUPPORTED, "the pickle in %s has the instruction 0x%02x at byte %zu; only "
                             "tensors are read", p->name, code, p->at - 1);
        ESPL_TRY(operations[code].run(p, operations[code].argument));
    }
    return pop(p, out_root);
}

void espl_pickle_finish(espl_pickle *p) {
    espl_free(p->ctx, &p->values);
    espl_free(p->ctx, &p->items);
    espl_free(p->ctx, &p->stack);
    espl_free(p->ctx, &p->marks);
    espl_free(p->ctx, &p->memo);
}
