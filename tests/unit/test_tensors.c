/* host/file/tensors.h beyond safetensors: PyTorch's two forms and GGUF, what they hold and every way in which they can be
 * wrong or mean harm. */
#include "host/base/os.h"
#include "host/file/gguf.h"
#include "host/file/json.h"
#include "host/file/pickle.h"
#include "host/file/torch_write.h"
#include "tests/unit/unit.h"
#include <math.h>

/* ---- PyTorch ---- */

static void same_tensors(espl_context *ctx, espl_tensors *got, espl_tensors *expected) {
    for (size_t i = 0; i < espl_tensors_count(expected); i++) {
        espl_tensor_view a, b;
        unit_ok(ctx, espl_tensors_at(expected, i, &a));
        unit_ok(ctx, espl_tensors_find(got, a.name, &b));
        assert_int_equal(a.dtype, b.dtype);
        assert_int_equal(a.rank, b.rank);
        assert_memory_equal(a.shape, b.shape, sizeof a.shape);
        assert_int_equal(a.bytes, b.bytes);
        if (memcmp(a.data, b.data, a.bytes)) fail_msg("%s differs", a.name);
    }
}

static void golden_checkpoints(void **state) {
    (void)state;
    static const char *const names[] = {"zip.bin", "old.bin"};
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    espl_tensors *expected, *got;
    espl_tensor_view view;
    unit_ok(ctx, espl_tensors_open(ctx, ESPL_GOLDEN_DIR "/checkpoints/expected", &expected));
    assert_int_equal(espl_tensors_count(expected), 16);
    for (size_t i = 0; i < ESPL_COUNT(names); i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/checkpoints/%s", ESPL_GOLDEN_DIR, names[i]);
        unit_ok(ctx, espl_tensors_open(ctx, path, &got));
        assert_int_equal(espl_tensors_count(got), 17);
        same_tensors(ctx, got, expected);
        unit_fails(ctx, espl_tensors_find(got, "bool", &view), ESPL_UNSUPPORTED, "BOOL");
        unit_fails(ctx, espl_tensors_find(got, "epoch", &view), ESPL_FORMAT, "no tensor \"epoch\"");
        assert_null(espl_tensors_metadata(got, "format"));
        espl_tensors_destroy(&got);
    }
    espl_tensors_destroy(&expected);
    unit_finish(&heap, ctx);
}

/* A tensor alone, as it is written, has the name that stands for none. */
static void alone(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    espl_tensors *got;
    espl_tensor_view view;
    espl_replace replace = {0};
    float values[300];
    for (size_t i = 0; i < ESPL_COUNT(values); i++) values[i] = (float)i / 7 - 20;
    const espl_tensor_entry entry = {.name = "any", .dtype = ESPL_DTYPE_F32, .rank = 2, .shape = {100, 3}, .data = values};
    unit_ok(ctx, espl_torch_replace(ctx, "test_tensors.pt", &entry, &replace));
    unit_ok(ctx, espl_os_replace_commit(ctx, &replace));
    espl_os_replace_finish(ctx, &replace);
    unit_ok(ctx, espl_tensors_open(ctx, "test_tensors.pt", &got));
    assert_int_equal(espl_tensors_count(got), 1);
    unit_ok(ctx, espl_tensors_find(got, ESPL_TENSOR_ALONE, &view));
    assert_int_equal(view.dtype, ESPL_DTYPE_F32);
    assert_int_equal(view.rank, 2);
    assert_int_equal(view.shape[0], 100);
    assert_int_equal(view.shape[1], 3);
    assert_int_equal(view.bytes, sizeof values);
    assert_memory_equal(view.data, values, sizeof values);
    espl_tensors_destroy(&got);
    espl_os_remove_file("test_tensors.pt");
    unit_finish(&heap, ctx);
}

static void real_checkpoint(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    char path[1024];
    json_t *golden, *item;
    size_t index, values = 0;
    espl_tensors *set;
    unit_shared(path, sizeof path, "data/peft-weights/roberta_base_lora_mnli.bin");
    if (!espl_os_is_file(path)) {
        printf("skipped: there is no %s\n", path);
        unit_finish(&heap, ctx);
        return;
    }
    unit_ok(ctx, espl_tensors_open(ctx, path, &set));
    unit_shared(path, sizeof path, "data/peft-weights/roberta_base_lora_mnli.golden.json");
    unit_ok(ctx, espl_json_load(ctx, path, &golden));
    json_array_foreach(json_object_get(golden, "tensors"), index, item) {
        espl_tensor_view view;
        double sum = 0, squares = 0;
        const json_t *shape = json_object_get(item, "shape");
        unit_ok(ctx, espl_tensors_find(set, json_string_value(json_object_get(item, "name")), &view));
        assert_int_equal(view.dtype, ESPL_DTYPE_F32);
        assert_int_equal(view.rank, json_array_size(shape));
        for (uint32_t d = 0; d < view.rank; d++)
            assert_int_equal(view.shape[d], json_integer_value(json_array_get(shape, d)));
        float value = 0, first;
        memcpy(&first, view.data, sizeof first);
        for (size_t i = 0; i < view.bytes; i += sizeof value) {
            memcpy(&value, view.data + i, sizeof value);
            sum += (double)value;
            squares += (double)value * (double)value;
        }
        values += view.bytes / sizeof value;
        assert_true((double)first == json_number_value(json_object_get(item, "first")));
        assert_true((double)value == json_number_value(json_object_get(item, "last")));
        /* The file gives nine digits. */
        const double sums[] = {sum, squares};
        static const char *const keys[] = {"sum", "sum_sq"};
        for (size_t k = 0; k < 2; k++) {
            const double expected = json_number_value(json_object_get(item, keys[k]));
            if (fabs(sums[k] - expected) > 1e-8 * fabs(expected) + 1e-8)
                fail_msg("%s: %s is %.10g, not %.10g", view.name, keys[k], sums[k], expected);
        }
    }
    assert_int_equal(index, 52);
    assert_int_equal(espl_tensors_count(set), 52);
    assert_int_equal(values, 887811);
    json_decref(golden);
    espl_tensors_destroy(&set);
    unit_finish(&heap, ctx);
}

/* ---- hostile archives, made here ---- */

typedef struct archive {
    unsigned char data[8192];
    size_t count;
    unsigned char central[2048];
    size_t central_count, entries;
} archive;

static void put(unsigned char *data, size_t *count, const void *bytes, size_t size) {
    memcpy(data + *count, bytes, size);
    *count += size;
}

static void put_number(unsigned char *data, size_t *count, uint64_t number, size_t size) {
    for (size_t i = 0; i < size; i++) data[(*count)++] = (unsigned char)(i < 8 ? number >> (8 * i) : 0);
}

static void add_entry(archive *a, const char *name, const void *bytes, size_t size, unsigned method) {
    const size_t place = a->count, name_bytes = strlen(name);
    put(a->data, &a->count, "PK\3\4\0\0\0\0", 8);
    put_number(a->data, &a->count, method, 2);
    put_number(a->data, &a->count, 0, 8);
    put_number(a->data, &a->count, size, 4);
    put_number(a->data, &a->count, size, 4);
    put_number(a->data, &a->count, name_bytes, 2);
    put_number(a->data, &a->count, 0, 2);
    put(a->data, &a->count, name, name_bytes);
    put(a->data, &a->count, bytes, size);
    put(a->central, &a->central_count, "PK\1\2\0\0\0\0\0\0", 10);
    put_number(a->central, &a->central_count, method, 2);
    put_number(a->central, &a->central_count, 0, 8);
    put_number(a->central, &a->central_count, size, 4);
    put_number(a->central, &a->central_count, size, 4);
    put_number(a->central, &a->central_count, name_bytes, 2);
    put_number(a->central, &a->central_count, 0, 12);
    put_number(a->central, &a->central_count, place, 4);
    put(a->central, &a->central_count, name, name_bytes);
    a->entries++;
}

static void end_archive(archive *a) {
    const size_t place = a->count;
    put(a->data, &a->count, a->central, a->central_count);
    put(a->data, &a->count, "PK\5\6\0\0\0\0", 8);
    put_number(a->data, &a->count, a->entries, 2);
    put_number(a->data, &a->count, a->entries, 2);
    put_number(a->data, &a->count, a->central_count, 4);
    put_number(a->data, &a->count, place, 4);
    put_number(a->data, &a->count, 0, 2);
}

static void make_archive(archive *a, const char *pickle, size_t bytes) {
    static const unsigned char storage[48] = {0};
    *a = (archive){0};
    add_entry(a, "x/data.pkl", pickle, bytes, 0);
    add_entry(a, "x/data/0", storage, sizeof storage, 0);
    end_archive(a);
}

/* Storage "0" of 12 floats, then offset, sizes, strides. */
#define STORAGE "(U\7storagectorch\nFloatStorage\nU\0010U\3cpuK\x0ctQ"
#define TENSOR(offset, sizes, strides) "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE offset sizes strides "\x89Nt" "R"
#define DICT(value) "\x80\2}U\1a" value "s."
#define PICKLE(text) text, sizeof(text) - 1

static void hostile_pickles(void **state) {
    (void)state;
    static const struct {
        const char *pickle;
        size_t bytes;
        espl_status status;
        const char *part;
    } cases[] = {
        {PICKLE("\x80\2cos\nsystem\n(U\2lst" "R."), ESPL_UNSUPPORTED, "the pickle in x.bin calls os.system; only tensors are read"},
        {PICKLE("\x80\4U\2osU\6system\x93."), ESPL_UNSUPPORTED, "calls os.system; only"},
        {PICKLE("\x80\2c__builtin__\neval\n."), ESPL_UNSUPPORTED, "calls __builtin__.eval"},
        {PICKLE("\x80\2c\x1b[31m\n\n."), ESPL_UNSUPPORTED, "calls ?[31m."},
        {PICKLE("\x80\2ctorch\nFloatStorage\n)R."), ESPL_UNSUPPORTED, "calls torch.FloatStorage"},
        {PICKLE("\x80\2(K\1ios\nsystem\n."), ESPL_UNSUPPORTED, "the instruction 0x69 at byte 5"},
        {PICKLE("\x80\2)\x81."), ESPL_UNSUPPORTED, "0x81"},
        {PICKLE("\x80\1}."), ESPL_UNSUPPORTED, "protocol 1"},
        {PICKLE("\x80\2"), ESPL_FORMAT, "ends too soon"},
        {PICKLE("\x80\2."), ESPL_FORMAT, "stack is empty"},
        {PICKLE("\x80\2K\1."), ESPL_UNSUPPORTED, "holds no dict"},
        {PICKLE("\x80\2}U\1aK\1s."), ESPL_UNSUPPORTED, "no tensors by name"},
        {PICKLE("\x80\2}U\1as."), ESPL_FORMAT, "nothing to add to"},
        {PICKLE("\x80\2}s."), ESPL_FORMAT, "stack is empty"},
        {PICKLE("\x80\2}(U\1au."), ESPL_FORMAT, "without a value"},
        {PICKLE("\x80\2K\1(K\1K\2u."), ESPL_FORMAT, "no list and no dict"},
        {PICKLE("\x80\2(u."), ESPL_FORMAT, "nothing to add to"},
        {PICKLE("\x80\2u."), ESPL_FORMAT, "no mark"},
        {PICKLE("\x80\2h\1."), ESPL_FORMAT, "memo lacks"},
        {PICKLE("\x80\2}r\xff\xff\xff\xff."), ESPL_FORMAT, "memo is too large"},
        {PICKLE("\x80\2X\xff\xff\xff\x7fxy."), ESPL_FORMAT, "string passes its end"},
        {PICKLE("\x80\2cos"), ESPL_FORMAT, "name does not end"},
        {PICKLE("\x80\2K\1b."), ESPL_FORMAT, "stack is empty"},
        {PICKLE("\x80\2K\1K\2b."), ESPL_FORMAT, "state for something else"},
        {PICKLE("\x80\2K\1)R."), ESPL_FORMAT, "call of no function"},
        {PICKLE("\x80\2ccollections\nOrderedDict\n(K\1tR."), ESPL_FORMAT, "something else than pairs"},
        {PICKLE("\x80\2K\1Q."), ESPL_FORMAT, "storage without description"},
        {PICKLE(DICT(TENSOR("K\0", "(K\x0dt", "(K\1t"))), ESPL_FORMAT, "\"a\": its values lie outside"},
        {PICKLE(DICT(TENSOR("K\1", "(K\x0ct", "(K\1t"))), ESPL_FORMAT, "lie outside"},
        {PICKLE(DICT(TENSOR("K\0", "(K\2K\2t", "(K\x0bK\1t"))), ESPL_FORMAT, "lie outside"},
        {PICKLE(DICT(TENSOR("K\0", "(K\x0dK\1t", "(K\0K\1t"))), ESPL_FORMAT, "lie outside"}, /* expanded */
        {PICKLE(DICT(TENSOR("K\0", "(K\2t", "(K\1K\1t"))), ESPL_FORMAT, "as many strides"},
        {PICKLE(DICT(TENSOR("J\xff\xff\xff\xff", "(K\2t", "(K\1t"))), ESPL_FORMAT, "description"},
        {PICKLE(DICT(TENSOR("K\0", "(J\xff\xff\xff\xfft", "(K\1t"))), ESPL_FORMAT, "integers from 0"},
        {PICKLE(DICT(TENSOR("K\0", "(\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\4t", "(K\1K\1t"))), ESPL_FORMAT, "overflow"},
        {PICKLE(DICT(TENSOR("K\0", "(K\2t", "(\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7ft"))), ESPL_FORMAT, "lie outside"},
        {PICKLE(DICT("ctorch._utils\n_rebuild_tensor_v2\n)R")), ESPL_FORMAT, "description"},
        {PICKLE(DICT("ctorch._utils\n_rebuild_tensor_v2\n((U\7storagectorch\nFloatStorage\nU\0011U\3cpuK\1tQK\0))\x89Nt" "R")),
         ESPL_FORMAT, "lacks its storage"},
        {PICKLE("\x80\2}(U\1a" TENSOR("K\0", "(K\2t", "(K\1t") "U\1a" TENSOR("K\0", "(K\2t", "(K\1t") "u."), ESPL_FORMAT, "twice"},
        {PICKLE("\x80\2}U\1\xff" TENSOR("K\0", "(K\2t", "(K\1t") "s."), ESPL_FORMAT, "not UTF-8"},
    };
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        archive a;
        espl_tensors *set;
        make_archive(&a, cases[i].pickle, cases[i].bytes);
        espl_status status = espl_tensors_open_memory(ctx, a.data, a.count, "x.bin", &set);
        if (status != cases[i].status || !strstr(espl_context_message(ctx), cases[i].part))
            fail_msg("case %zu: %s: %s", i, espl_status_name(status), espl_context_message(ctx));
        assert_null(set);
    }
    unit_finish(&heap, ctx);
}

static void good_pickles(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    archive a;
    espl_tensors *set;
    espl_tensor_view view;
    make_archive(&a, PICKLE(DICT(TENSOR("K\1", "(K\3K\2t", "(K\1K\4t"))));
    unit_ok(ctx, espl_tensors_open_memory(ctx, a.data, a.count, "x.bin", &set));
    unit_ok(ctx, espl_tensors_find(set, "a", &view));
    assert_true(view.rank == 2 && view.shape[0] == 3 && view.shape[1] == 2 && view.bytes == 24);
    espl_tensors_destroy(&set);
    make_archive(&a, PICKLE("\x80\2}."));
    unit_ok(ctx, espl_tensors_open_memory(ctx, a.data, a.count, "x.bin", &set));
    assert_int_equal(espl_tensors_count(set), 0);
    espl_tensors_destroy(&set);
    unit_finish(&heap, ctx);
}

static void damaged_archives(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    archive a = {0};
    espl_tensors *set;
    add_entry(&a, "x/data.pkl", "}.", 2, 8);
    end_archive(&a);
    unit_fails(ctx, espl_tensors_open_memory(ctx, a.data, a.count, "x.bin", &set), ESPL_UNSUPPORTED, "x/data.pkl\" is compressed");
    a = (archive){0};
    add_entry(&a, "x/other", "}.", 2, 0);
    end_archive(&a);
    unit_fails(ctx, espl_tensors_open_memory(ctx, a.data, a.count, "x.bin", &set), ESPL_FORMAT, "has no data.pkl");
    a = (archive){0};
    add_entry(&a, "x/data.pkl", "}.", 2, 0);
    add_entry(&a, "x/byteorder", "big", 3, 0);
    end_archive(&a);
    unit_fails(ctx, espl_tensors_open_memory(ctx, a.data, a.count, "x.bin", &set), ESPL_UNSUPPORTED, "little endian");
    make_archive(&a, PICKLE("\x80\2}."));
    unit_fails(ctx, espl_tensors_open_memory(ctx, a.data, a.count - 1, "x.bin", &set), ESPL_FORMAT, "no directory");
    a.data[a.count - 22 - a.central_count] = 0;
    unit_fails(ctx, espl_tensors_open_memory(ctx, a.data, a.count, "x.bin", &set), ESPL_FORMAT, "its directory");
    /* Every byte of a real file turned over in turn: refused or read, never worse. */
    size_t bytes = 0;
    char *file = unit_read(ESPL_GOLDEN_DIR "/checkpoints/zip.bin", &bytes);
    assert_non_null(file);
    for (size_t i = 0; i < bytes; i++) {
        file[i] = (char)~file[i];
        if (espl_tensors_open_memory(ctx, file, bytes, "x.bin", &set) == ESPL_OK) espl_tensors_destroy(&set);
        file[i] = (char)~file[i];
    }
    free(file);
    unit_finish(&heap, ctx);
}

/* ---- GGUF ---- */

static const float ramp[6] = {1, 2, 3, 4, 5, 6};
static const uint16_t halves[3] = {0x3c00, 0x4000, 0xbc00};
static const espl_tensor_entry entries[] = {
    {.name = "blk.0.attn_q.weight.lora_a", .dtype = ESPL_DTYPE_F32, .rank = 2, .shape = {2, 3}, .data = ramp},
    {.name = "half", .dtype = ESPL_DTYPE_F16, .rank = 1, .shape = {3}, .data = halves},
    {.name = "brain", .dtype = ESPL_DTYPE_BF16, .rank = 3, .shape = {1, 3, 1}, .data = halves},
};
static const espl_gguf_pair pairs[] = {{"general.type", "adapter", 0}, {"adapter.lora.alpha", NULL, 0.1f}, {"x", "", 0}};
static const char gguf_path[] = "test_tensors.gguf";

static void gguf_round_trip(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    espl_tensors *set;
    espl_tensor_view view;
    unit_ok(ctx, espl_gguf_write(ctx, gguf_path, entries, ESPL_COUNT(entries), pairs, ESPL_COUNT(pairs)));
    unit_ok(ctx, espl_tensors_open(ctx, gguf_path, &set));
    assert_int_equal(espl_tensors_count(set), 3);
    for (size_t i = 0; i < ESPL_COUNT(entries); i++) {
        unit_ok(ctx, espl_tensors_at(set, i, &view));
        assert_string_equal(view.name, entries[i].name);
        assert_int_equal(view.dtype, entries[i].dtype);
        assert_int_equal(view.rank, entries[i].rank);
        for (uint32_t d = 0; d < view.rank; d++) assert_int_equal(view.shape[d], entries[i].shape[d]);
        assert_memory_equal(view.data, entries[i].data, view.bytes);
    }
    assert_string_equal(espl_tensors_metadata(set, "general.type"), "adapter");
    assert_string_equal(espl_tensors_metadata(set, "x"), "");
    assert_true(strtof(espl_tensors_metadata(set, "adapter.lora.alpha"), NULL) == 0.1f);
    assert_null(espl_tensors_metadata(set, "y"));
    espl_tensors_destroy(&set);
    espl_tensor_entry bad = entries[0];
    bad.dtype = ESPL_DTYPE_I64;
    unit_fails(ctx, espl_gguf_write(ctx, gguf_path, &bad, 1, NULL, 0), ESPL_ARGUMENT, "cannot be in a GGUF file");
    unit_ok(ctx, espl_gguf_write(ctx, gguf_path, NULL, 0, NULL, 0));
    unit_ok(ctx, espl_tensors_open(ctx, gguf_path, &set));
    assert_int_equal(espl_tensors_count(set), 0);
    espl_tensors_destroy(&set);
    unit_finish(&heap, ctx);
}

static void gguf_damaged(void **state) {
    (void)state;
    static const struct {
        const char *file;
        size_t bytes;
        espl_status status;
        const char *part;
    } cases[] = {
        {PICKLE("GGUF\1\0\0\0\0\0\0\0\0\0\0\0"), ESPL_UNSUPPORTED, "version 1"},
        {PICKLE("GGUF\3\0\0\0\0\0\0\0\0\0\0\0"), ESPL_FORMAT, "too soon"},
        {PICKLE("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xffk"), ESPL_FORMAT, "passes the end"},
        {PICKLE("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0k\x0d\0\0\0"), ESPL_FORMAT, "type of metadata"},
        {PICKLE("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0k\x09\0\0\0\4\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f"),
         ESPL_FORMAT, "array passes"},
        {PICKLE("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0k\x09\0\0\0\x09\0\0\0\1\0\0\0\0\0\0\0"), ESPL_FORMAT,
         "array of arrays"},
        {PICKLE("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\xff\4\0\0\0\1\0\0\0"), ESPL_FORMAT, "key of metadata"},
        {PICKLE("GGUF\3\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0t\1\0\0\0\2\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0\0\0\0\0"),
         ESPL_UNSUPPORTED, "type 4"},
        {PICKLE("GGUF\3\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0t\1\0\0\0\2\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0"),
         ESPL_FORMAT, "fill its blocks"},
        {PICKLE("GGUF\3\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0t\5\0\0\0"), ESPL_FORMAT, "4 dimensions"},
        {PICKLE("GGUF\3\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0t\1\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\x20\0\0\0\0\0\0\0"),
         ESPL_FORMAT, "does not lie in the file"},
        {PICKLE("GGUF\3\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0t\2\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\2\0\0\0\0\0\0\0"
                "\0\0\0\0\0\0\0\0\0\0\0\0"), ESPL_FORMAT, "overflows"},
    };
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_tensors *set;
        espl_status status = espl_tensors_open_memory(ctx, cases[i].file, cases[i].bytes, "x.gguf", &set);
        if (status != cases[i].status || !strstr(espl_context_message(ctx), cases[i].part))
            fail_msg("case %zu: %s: %s", i, espl_status_name(status), espl_context_message(ctx));
    }
    unit_finish(&heap, ctx);
}

/* A header of NumPy's, 55 bytes long, and two values. */
#define NPY(version, dict) PICKLE("\x93NUMPY" version "\0\x37\0" dict "\0\0\x80\x3f\0\0\x20\xc1")

static void npy(void **state) {
    (void)state;
    static const struct {
        const char *file;
        size_t bytes;
        espl_status status;
        const char *part;
    } cases[] = {
        {NPY("\1", "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"), ESPL_OK, ""},
        {NPY("\1", "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}"), ESPL_FORMAT, "3 values of 4 bytes are announced, 8 bytes"},
        {NPY("\1", "{'descr': '<f4', 'fortran_order': True , 'shape': (2,)}"), ESPL_UNSUPPORTED, "Fortran"},
        {NPY("\1", "{'descr': '|O4', 'fortran_order': False, 'shape': (2,)}"), ESPL_UNSUPPORTED, "NumPy's dtype '|O4' is not supported"},
        {NPY("\1", "{'descr': '<f4', 'fortran_order': False, 'shape': (2;)}"), ESPL_FORMAT, "is not one that is known"},
        {NPY("\1", "{'descr': '<f4', 'fortran_order': False, 'shape'= (2,)}"), ESPL_FORMAT, "is not one that is known"},
        {NPY("\4", "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"), ESPL_FORMAT, "version"},
        {NPY("\2", "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"), ESPL_FORMAT, "longer than the file"},
        {PICKLE("\x93NUMPY\1\0\xff\xff{'descr': '<f4'"), ESPL_FORMAT, "longer than the file"},
    };
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    for (size_t i = 0; i < ESPL_COUNT(cases); i++) {
        espl_tensors *set;
        espl_tensor_view view;
        espl_status status = espl_tensors_open_memory(ctx, cases[i].file, cases[i].bytes, "x.npy", &set);
        if (status != cases[i].status || (status && !strstr(espl_context_message(ctx), cases[i].part)))
            fail_msg("case %zu: %s: %s", i, espl_status_name(status), espl_context_message(ctx));
        if (status) continue;
        unit_ok(ctx, espl_tensors_find(set, "array", &view));
        assert_true(view.dtype == ESPL_DTYPE_F32 && view.rank == 1 && view.shape[0] == 2 && view.bytes == 8);
        assert_memory_equal(view.data, "\0\0\x80\x3f\0\0\x20\xc1", 8);
        espl_tensors_destroy(&set);
    }
    unit_finish(&heap, ctx);
}

/* A published soft prompt; its sums are NumPy's, in double. */
static void npy_real(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    char path[1024];
    espl_tensors *set;
    espl_tensor_view view;
    double sum = 0, squares = 0;
    unit_shared(path, sizeof path, "data/peft-weights/t5_1_1_lm100k_base_prompt_sst2.npy");
    if (!espl_os_is_file(path)) {
        printf("skipped: there is no %s\n", path);
        unit_finish(&heap, ctx);
        return;
    }
    unit_ok(ctx, espl_tensors_open(ctx, path, &set));
    unit_ok(ctx, espl_tensors_find(set, "array", &view));
    assert_true(view.dtype == ESPL_DTYPE_F32 && view.rank == 2 && view.shape[0] == 100 && view.shape[1] == 768);
    for (size_t i = 0; i < view.bytes; i += sizeof(float)) {
        float value;
        memcpy(&value, view.data + i, sizeof value);
        sum += (double)value;
        squares += (double)value * (double)value;
    }
    assert_true(fabs(sum - 27688.007074571215) < 1e-6 && fabs(squares - 205851447.5606705) < 1e-3);
    espl_tensors_destroy(&set);
    unit_finish(&heap, ctx);
}

/* llama.cpp's own files: scalars of every kind, arrays of strings, block formats. */
static void gguf_real(void **state) {
    (void)state;
    unit_heap heap;
    espl_context *ctx = unit_context(&heap);
    char path[1024];
    espl_tensors *set;
    espl_tensor_view view;
    unit_shared(path, sizeof path, "data/tinystories-656k/TinyStories-656K-Q8_0.gguf");
    if (!espl_os_is_file(path)) {
        printf("skipped: there is no %s\n", path);
        unit_finish(&heap, ctx);
        return;
    }
    unit_ok(ctx, espl_tensors_open(ctx, path, &set));
    assert_int_equal(espl_tensors_count(set), 20);
    assert_string_equal(espl_tensors_metadata(set, "general.architecture"), "llama");
    assert_string_equal(espl_tensors_metadata(set, "llama.block_count"), "2");
    unit_fails(ctx, espl_tensors_find(set, "blk.0.attn_q.weight", &view), ESPL_UNSUPPORTED, "Q8_0");
    unit_ok(ctx, espl_tensors_find(set, "blk.1.attn_norm.weight", &view));
    assert_true(view.dtype == ESPL_DTYPE_F32 && view.rank == 1 && view.shape[0] == 128);
    espl_tensors_destroy(&set);
    unit_finish(&heap, ctx);
}

/* ---- memory ---- */

static espl_status open_body(espl_context *ctx, void *user) {
    espl_tensors *set;
    espl_status status = espl_tensors_open(ctx, user, &set);
    espl_tensors_destroy(&set);
    return status;
}

static espl_status write_body(espl_context *ctx, void *user) {
    (void)user;
    return espl_gguf_write(ctx, gguf_path, entries, ESPL_COUNT(entries), pairs, ESPL_COUNT(pairs));
}

static void allocation(void **state) {
    (void)state;
    unit_sweep(open_body, ESPL_GOLDEN_DIR "/checkpoints/zip.bin");
    unit_sweep(open_body, ESPL_GOLDEN_DIR "/checkpoints/old.bin");
    unit_sweep(write_body, NULL);
    unit_sweep(open_body, (void *)(uintptr_t)gguf_path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_checkpoints), cmocka_unit_test(alone), cmocka_unit_test(real_checkpoint), cmocka_unit_test(hostile_pickles),
        cmocka_unit_test(good_pickles),       cmocka_unit_test(damaged_archives), cmocka_unit_test(gguf_round_trip),
        cmocka_unit_test(gguf_damaged),       cmocka_unit_test(gguf_real),       cmocka_unit_test(npy),
        cmocka_unit_test(npy_real),       cmocka_unit_test(allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
