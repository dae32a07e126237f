/* host/task/task.h on files of a few lines: every layout, every sentence of refusal, memory that runs out. */
#include "host/task/task.h"
#include "tests/unit/unit.h"

#define PATH "task_test"

typedef struct fixture {
    unit_heap heap;
    espl_context *ctx;
} fixture;

static int begin(void **state) {
    fixture *f = calloc(1, sizeof *f);
    f->ctx = unit_context(&f->heap);
    *state = f;
    return 0;
}

static int end(void **state) {
    fixture *f = *state;
    unit_finish(&f->heap, f->ctx);
    free(f);
    return 0;
}

static espl_status read_bytes(fixture *f, const char *task, const char *extension, const char *text, size_t bytes,
                              const espl_task_read_params *params, espl_task_set *out_set) {
    char path[64];
    snprintf(path, sizeof path, PATH "%s", extension);
    unit_write(path, text, bytes);
    assert_non_null(espl_task_find(task));
    espl_status status = espl_task_read(f->ctx, espl_task_find(task), path, params, out_set);
    remove(path);
    if (status) assert_true(out_set->examples == NULL && out_set->blocks == NULL && out_set->count == 0);
    return status;
}

static espl_task_set read_as(fixture *f, const char *task, const char *extension, const char *text,
                             const espl_task_read_params *params) {
    espl_task_set set;
    unit_ok(f->ctx, read_bytes(f, task, extension, text, strlen(text), params, &set));
    return set;
}

static void check_labels(const espl_task_set *set, const char *joined) {
    char list[256] = "";
    for (uint32_t i = 0; i < set->labels.count; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? " " : "", set->labels.names[i]);
    assert_string_equal(list, joined);
}

static void check_pair(const espl_example *example, const char *text, const char *pair, uint32_t label) {
    assert_string_equal(example->text, text);
    if (pair)
        assert_string_equal(example->pair, pair);
    else
        assert_null(example->pair);
    assert_int_equal(example->label, label);
}

/* ---- GLUE as it is published ---- */

static void glue(void **state) {
    fixture *f = *state;
    espl_task_set set = read_as(f, "cola", ".tsv", "gj04\t1\t\tA \"dog\" barks.\r\ncj99\t0\t*\tDog a, barks\r\n", NULL);
    assert_int_equal(set.count, 2);
    check_pair(&set.examples[0], "A \"dog\" barks.", NULL, 1);
    check_pair(&set.examples[1], "Dog a, barks", NULL, 0);
    check_labels(&set, "0 1");
    espl_task_set_finish(&set);
    set = read_as(f, "sst2", ".tsv", "\xEF\xBB\xBFsentence\tlabel\nin a plot \t0", NULL);
    assert_int_equal(set.count, 1);
    check_pair(&set.examples[0], "in a plot ", NULL, 0);
    espl_task_set_finish(&set);
    set = read_as(f, "mrpc", ".tsv",
                  "\xEF\xBB\xBFQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tHe \"said\tShe\n", NULL);
    check_pair(&set.examples[0], "He \"said", "She", 1);
    espl_task_set_finish(&set);
    const char *stsb = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
                       "0\tg\tf\t2012\t1\tnone\tnone\tA plane.\tAn air plane.\t3.800\n";
    set = read_as(f, "stsb", ".tsv", stsb, NULL);
    check_pair(&set.examples[0], "A plane.", "An air plane.", 0);
    assert_true(set.examples[0].value == 3.8);
    assert_int_equal(set.labels.count, 0);
    espl_task_set_finish(&set);
    set = read_as(f, "stsb", ".tsv", "m\ti\t2014\t1\t5\ta\tb\nm\ti\t2014\t2\t0\tc\td\tlicence\tlink\n", NULL);
    assert_true(set.count == 2 && set.examples[0].value == 5 && set.examples[1].value == 0);
    check_pair(&set.examples[1], "c", "d", 0);
    espl_task_set_finish(&set);
}

static void glue_large(void **state) {
    fixture *f = *state;
    const char *train = "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
                        "sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n"
                        "0\t31193\t31193n\tgov\t( a )\t( b )\t(ROOT a)\t(ROOT b)\tOne.\tTwo.\tneutral\tneutral\n";
    const char *dev = "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
                      "sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\t"
                      "gold_label\n0\t6\t6c\tslate\t\t\t\t\tOne.\tTwo.\tneutral\te\tc\tc\tc\tcontradiction\n";
    espl_task_set set = read_as(f, "mnli", ".tsv", train, NULL);
    check_pair(&set.examples[0], "One.", "Two.", 1);
    check_labels(&set, "entailment neutral contradiction");
    espl_task_set_finish(&set);
    set = read_as(f, "mnli", ".tsv", dev, NULL);
    check_pair(&set.examples[0], "One.", "Two.", 2);
    espl_task_set_finish(&set);
    set = read_as(f, "qnli", ".tsv", "index\tquestion\tsentence\tlabel\n0\tWhen?\tThen.\tnot_entailment\n", NULL);
    check_pair(&set.examples[0], "When?", "Then.", 1);
    espl_task_set_finish(&set);
    set = read_as(f, "rte", ".tsv", "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tentailment\n", NULL);
    check_pair(&set.examples[0], "A", "B", 0);
    espl_task_set_finish(&set);
    set = read_as(f, "wnli", ".tsv", "index\tsentence1\tsentence2\tlabel\n0\tA\tB\t1\n", NULL);
    check_pair(&set.examples[0], "A", "B", 1);
    espl_task_set_finish(&set);
    set = read_as(f, "qqp", ".tsv",
                  "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\tA?\tB?\t0\n4\t5\t6\tC?\tcut\n"
                  "off\t1\n7\t8\t9\tD?\t\t1\n",
                  NULL);
    assert_true(set.count == 2 && set.skipped == 2);
    check_pair(&set.examples[1], "D?", "", 1);
    espl_task_set_finish(&set);
}

/* ---- Files of one's own ---- */

static void tables(void **state) {
    fixture *f = *state;
    const espl_task_read_params columns = {.columns = "text=sentence,label=mood,pair=about"};
    espl_task_set set = read_as(f, "classification", ".csv",
                                "mood,about,\"sentence\"\r\nsad,x,\"a \"\"b\"\", c\r\nd\"\r\n\r\nglad,\"\",e \"f\"\r\n"
                                "\"sad\",,\"\"",
                                &columns);
    assert_int_equal(set.count, 3);
    check_labels(&set, "glad sad");
    check_pair(&set.examples[0], "a \"b\", c\r\nd", "x", 1);
    check_pair(&set.examples[1], "e \"f\"", "", 0);
    check_pair(&set.examples[2], "", "", 1);
    espl_task_set_finish(&set);
    /* numbers: no header; the labels of another set */
    const char *const names[] = {"sad", "glad", "neither"};
    const espl_labels labels = {names, 3};
    set = read_as(f, "classification", ".tsv", "glad\ta\nsad\tb\n",
                  &(espl_task_read_params){.columns = "label=1,text=2", .labels = &labels});
    check_pair(&set.examples[0], "a", NULL, 1);
    check_pair(&set.examples[1], "b", NULL, 0);
    check_labels(&set, "sad glad neither");
    espl_task_set_finish(&set);
    set = read_as(f, "regression", ".jsonl",
                  "{\"text\": \"a\", \"label\": -2.5}\n \t\r\n{\"label\": \"1e3\", \"text\": \"b\"}\r\n"
                  "{\"text\": \"c\", \"label\": 7}",
                  NULL);
    assert_true(set.count == 3 && set.examples[0].value == -2.5 && set.examples[1].value == 1000);
    assert_true(set.examples[2].value == 7);
    espl_task_set_finish(&set);
    set = read_as(f, "classification", ".jsonl",
                  "{\"text\": \"a\", \"label\": 10}\n{\"text\": \"b\", \"label\": \"2\"}", NULL);
    check_labels(&set, "10 2");
    check_pair(&set.examples[1], "b", NULL, 1);
    espl_task_set_finish(&set);
}

static void tagging(void **state) {
    fixture *f = *state;
    const char *conll = "-DOCSTART- -X- -X- O\r\n\r\nEU NNP I-NP I-ORG\r\nrejects VBZ I-VP O\r\n\r\n\r\n"
                        "Peter NNP I-NP I-PER\nSmith  NNP I-NP I-PER\nParis NNP I-NP I-LOC\nBonn NNP I-NP B-LOC";
    espl_task_set set = read_as(f, "conll2003", ".txt", conll, NULL);
    assert_int_equal(set.count, 2);
    check_labels(&set, "O B-PER I-PER B-ORG I-ORG B-LOC I-LOC B-MISC I-MISC");
    assert_int_equal(set.examples[1].word_count, 4);
    assert_string_equal(set.examples[1].words[1], "Smith");
    assert_int_equal(set.examples[1].tags[1], 2);
    assert_null(set.examples[0].text);
    espl_task_set_finish(&set);
    set = read_as(f, "conll2003", ".txt", conll, &(espl_task_read_params){.bio2 = true});
    const char *const bio2[4] = {"B-PER", "I-PER", "B-LOC", "B-LOC"};
    for (int w = 0; w < 4; w++)
        assert_string_equal(set.labels.names[set.examples[1].tags[w]], bio2[w]);
    espl_task_set_finish(&set);
    /* other columns, tabs with a space inside a word */
    set = read_as(f, "tagging", ".tsv", "B-x\t7\tNew York\nI-x\t8\tCity\n",
                  &(espl_task_read_params){.columns = "text=3,label=1", .bio2 = true});
    assert_string_equal(set.examples[0].words[0], "New York");
    check_labels(&set, "B-x I-x");
    espl_task_set_finish(&set);
    set = read_as(f, "tagging", ".jsonl", "{\"words\": [\"a\", \"b c\"], \"tags\": [\"O\", \"B-q\"]}", NULL);
    assert_string_equal(set.examples[0].words[1], "b c");
    assert_int_equal(set.examples[0].tags[1], 0);
    espl_task_set_finish(&set);
}

static void generation(void **state) {
    fixture *f = *state;
    espl_task_set set = read_as(f, "e2e", ".csv",
                                "mr,ref\n\"name[The Vaults], eatType[pub], priceRange[more than £30]\",\"One, two\"\n"
                                "\"name[A], familyFriendly[yes], customer rating[low]\",B\n"
                                "\"name[The Vaults], eatType[pub], priceRange[more than £30]\",Three\n",
                                NULL);
    assert_int_equal(set.count, 2);
    assert_string_equal(set.examples[0].text, "name : The Vaults | Type : pub | price : more than £30");
    assert_int_equal(set.examples[0].reference_count, 2);
    assert_string_equal(set.examples[0].references[0], "One, two");
    assert_string_equal(set.examples[0].references[1], "Three");
    assert_string_equal(set.examples[1].text, "name : A | family friendly : yes | customer rating : low");
    assert_string_equal(set.examples[1].references[0], "B");
    espl_task_set_finish(&set);
    const char *triples = "{\"triples\": [[\"Mars Hill\", \"JOIN’ÉD\", \"1973\"], [\"a\", \"B_C\", \"\"]], "
                          "\"refs\": [\"x\", \"y\"]}\n";
    set = read_as(f, "dart", ".jsonl", triples, NULL);
    assert_string_equal(set.examples[0].text, "Mars Hill : join’éd : 1973 | a : b_c : ");
    assert_int_equal(set.examples[0].reference_count, 2);
    espl_task_set_finish(&set);
    set = read_as(f, "webnlg", ".jsonl", triples, NULL);
    assert_string_equal(set.examples[0].text, "Mars Hill : JOIN’ÉD : 1973 | a : B_C : ");
    espl_task_set_finish(&set);
    set = read_as(f, "generation", ".jsonl", "{\"prompt\": \"p\", \"completion\": \"c\"}", NULL);
    assert_string_equal(set.examples[0].text, "p");
    assert_string_equal(set.examples[0].references[0], "c");
    espl_task_set_finish(&set);
}

/* ---- Refusals ---- */

typedef struct refusal {
    const char *task, *extension, *text, *part;
    espl_task_read_params params;
} refusal;

#define SST2 "sentence\tlabel\n"

static const char *const yes_no[] = {"yes", "no"}, *const twice[] = {"a", "a"}, *const tags[] = {"O", "B-y"};
static const espl_labels yes_no_labels = {yes_no, 2}, twice_labels = {twice, 2}, tag_labels = {tags, 2};

static const refusal refusals[] = {
    {"sst2", ".tsv", "", PATH ".tsv:1: the file is empty", {0}},
    {"sst2", ".tsv", "\xEF\xBB\xBF", PATH ".tsv:1: the file is empty", {0}},
    {"sst2", ".tsv", SST2, PATH ".tsv:1: there is no row", {0}},
    {"sst2", ".tsv", SST2 "a\t1\nb\n", PATH ".tsv:3: 1 field, 2 were expected as in the header", {0}},
    {"sst2", ".tsv", SST2 "a\t1\tx\n", PATH ".tsv:2: 3 fields, 2 were expected as in the header", {0}},
    {"sst2", ".tsv", SST2 "\n\na\t2\n", PATH ".tsv:4: label \"2\" is none of 0, 1", {0}},
    {"sst2", ".tsv", SST2 "a\t\n", PATH ".tsv:2: label \"\" is none of 0, 1", {0}},
    {"sst2", ".tsv", SST2 "a\t1\nb\xff\t1\n", PATH ".tsv:3: byte 2 of the line is 0xff", {0}},
    {"sst2", ".tsv", SST2 "b\xc3", PATH ".tsv:2: byte 2 of the line is 0xc3", {0}},
    {"sst2", ".tsv", "a\tlabel\n", PATH ".tsv:1: there is no column \"sentence\" in the header: a, label", {0}},
    {"sst2", ".tsv", "label\tsentence\tlabel\n", "more than one column \"label\"", {0}},
    {"cola", ".tsv", "a\t1\t\tx\na\t1\ty\n", PATH ".tsv:2: 3 fields, 4 were expected", {0}},
    {"cola", ".tsv", "a\t1\tx\n", PATH ".tsv:1: 3 fields, text is to be column 4", {0}},
    {"qqp", ".tsv", "question1\tquestion2\tis_duplicate\na\tb\t1\tc\n", PATH ".tsv:2: 4 fields, 3", {0}},
    {"stsb", ".tsv", "a\tb\tc\td\t5.5\te\tf\n", PATH ".tsv:1: the value 5.5 does not lie in 0 to 5", {0}},
    {"stsb", ".tsv", "a\tb\tc\td\t-1\te\tf\n", PATH ".tsv:1: the value -1", {0}},
    {"stsb", ".tsv", "a\tb\tc\td\tnan\te\tf\n", PATH ".tsv:1: \"nan\" is no number", {0}},
    {"stsb", ".tsv", "a\tb\tc\td\t\te\tf\n", PATH ".tsv:1: \"\" is no number", {0}},
    {"stsb", ".tsv", "a\tb\tc\td\t1,5\te\tf\n", PATH ".tsv:1: \"1,5\" is no number", {0}},
    {"stsb", ".tsv", "a\tb\tc\td\t1\te\n", PATH ".tsv:1: 6 fields, 7 or more were expected", {0}},
    {"e2e", ".csv", "mr,ref\n\"a[b]\n,c\nd", PATH ".csv:2: the quote that opens field 1 is not closed", {0}},
    {"e2e", ".csv", "mr,ref\n\"a[\n]\"x,c", PATH ".csv:3: 'x' follows the closing quote of field 1", {0}},
    {"e2e", ".csv", "mr,ref\na[b],\"c\n\"\nab,c", PATH ".csv:4: \"ab\" stands where attribute[value]", {0}},
    {"e2e", ".csv", "mr,ref\n,c", PATH ".csv:2: \"\" stands where attribute[value]", {0}},
    {"e2e", ".csv", "mr,ref\n\"a[b] c[d]\",c", PATH ".csv:2: \" c[d]\" stands where a comma", {0}},
    {"dart", ".jsonl", "\n{\"triples\": [], \"refs\": [\"a\"]}", PATH ".jsonl:2: the triples are an empty list", {0}},
    {"dart", ".jsonl", "{\"triples\": {}, \"refs\": [\"a\"]}", "the triples are an object", {0}},
    {"dart", ".jsonl", "{\"triples\": [[\"a\", \"b\"]], \"refs\": [\"a\"]}", "triple 1 is not a list of subject", {0}},
    {"dart",
     ".jsonl",
     "{\"triples\": [[\"a\", 1, \"b\"]], \"refs\": [\"a\"]}",
     "part 2 of triple 1 is an integer",
     {0}},
    {"dart", ".jsonl", "{\"triples\": [[\"a\", \"b\", \"c\"]], \"refs\": []}", "the list of references is empty", {0}},
    {"dart",
     ".jsonl",
     "{\"triples\": [[\"a\", \"b\", \"c\"]], \"refs\": [2]}",
     "\"refs\" is an integer, a string",
     {0}},
    {"dart", ".jsonl", "{\"triples\": [[\"a\", \"b\", \"c\"]]}", PATH ".jsonl:1: \"refs\" is missing", {0}},
    {"dart", ".jsonl", "[]", PATH ".jsonl:1: an array, an object was expected", {0}},
    {"dart", ".jsonl", "{\"a\":1}\n{", PATH ".jsonl:1: \"triples\" is missing", {0}},
    {"classification", ".jsonl", "{\"text\": \"a\", \"label\": 1}\n{", PATH ".jsonl:2: JSON: line 1", {0}},
    {"classification", ".jsonl", "{\"text\": 1, \"label\": 1}", "\"text\" is an integer, a string was expected", {0}},
    {"classification", ".jsonl", "{\"text\": \"a\", \"label\": true}", "\"label\" is true or false", {0}},
    {"classification", ".jsonl", "{\"text\": \"a\", \"label\": \"\"}", "the label is empty", {0}},
    {"classification",
     ".jsonl",
     "{\"text\": \"a\", \"label\": \"maybe\"}",
     "\"maybe\" is none of yes, no",
     {.labels = &yes_no_labels}},
    {"classification", ".txt", "a", PATH ".txt: the name does not end in .tsv, .csv or .jsonl", {0}},
    {"tagging", ".csv", "a", "the name does not end in .conll", {0}},
    {"tagging", ".conll", "a\tO\nb\n", PATH ".conll:2: 1 column, lines before have another number", {0}},
    {"tagging", ".conll", "a\n", PATH ".conll:1: 1 column, a word and a tag were expected", {0}},
    {"tagging", ".conll", "a\tO\n\nb\tO\nc\tX\n\nd\tO", PATH ".conll:4: tag \"X\" of word 2 is not O", {0}},
    {"tagging", ".conll", "a\tB-\n", "tag \"B-\" of word 1", {0}},
    {"tagging", ".conll", "\tO\n", PATH ".conll:1: word 1 of the sentence is empty", {0}},
    {"tagging", ".conll", "a\tO\nb\tB-x", PATH ".conll:2: tag \"B-x\" is none of O, B-y", {.labels = &tag_labels}},
    {"tagging", ".conll", "-DOCSTART-\tO\n\n", "there is no row", {0}},
    {"tagging", ".jsonl", "{\"words\": [\"a\"], \"tags\": []}", "there are 1 words and 0 tags", {0}},
    {"tagging", ".jsonl", "{\"words\": \"a\", \"tags\": []}", "words and tags are a string and an array", {0}},
    {"tagging", ".jsonl", "{\"words\": [\"a\"], \"tags\": [1]}", "tag 1 is an integer, a string was expected", {0}},
};

static const refusal wrong_calls[] = {
    {"sst2", ".tsv", SST2, "columns \"text\" are not of the form", {.columns = "text"}},
    {"sst2", ".tsv", SST2, "are not of the form", {.columns = "text=,label=b"}},
    {"sst2", ".tsv", SST2, "are not of the form", {.columns = "words=a,label=b"}},
    {"sst2", ".tsv", SST2, "are not of the form", {.columns = "text=a,text=b"}},
    {"sst2", ".tsv", SST2, "columns \"text=a\" lack label=", {.columns = "text=a"}},
    {"sst2", ".tsv", SST2, "label \"a\" is given twice", {.labels = &twice_labels}},
    {"tagging", ".conll", "a\tO", "columns of a CoNLL file are numbers", {.columns = "text=word,label=tag"}},
};

static void refused(void **state) {
    fixture *f = *state;
    espl_task_set set;
    for (size_t i = 0; i < ESPL_COUNT(refusals); i++) {
        const refusal *r = &refusals[i];
        unit_fails(f->ctx, read_bytes(f, r->task, r->extension, r->text, strlen(r->text), &r->params, &set),
                   ESPL_FORMAT, r->part);
    }
    for (size_t i = 0; i < ESPL_COUNT(wrong_calls); i++) {
        const refusal *r = &wrong_calls[i];
        unit_fails(f->ctx, read_bytes(f, r->task, r->extension, r->text, strlen(r->text), &r->params, &set),
                   ESPL_ARGUMENT, r->part);
    }
    unit_fails(f->ctx, read_bytes(f, "sst2", ".tsv", SST2 "a\0b\t1", sizeof SST2 + 4, NULL, &set), ESPL_FORMAT,
               PATH ".tsv:2: byte 2 of the line is 0x00");
    unit_fails(f->ctx, espl_task_read(f->ctx, espl_task_find("sst2"), "no-such.tsv", NULL, &set), ESPL_IO,
               "no-such.tsv");
}

/* Every start of a file is read or refused, without a byte behind its end being touched (sanitizers). */
static void truncations(void **state) {
    fixture *f = *state;
    static const refusal files[] = {
        {"e2e", ".csv", "mr,ref\r\n\"a[b], c[\"\"d\"\"]\",\"e\nf\"\r\n", "", {0}},
        {"tagging", ".conll", "-DOCSTART- O\n\na I-X\nb I-X\n\nc O\n", "", {.bio2 = true}},
        {"webnlg", ".jsonl", "{\"triples\": [[\"a\", \"b\", \"c\"]], \"refs\": [\"\\u00e9\", \"x\"]}\n \t", "", {0}},
        {"cola", ".tsv", "a\t1\t\té\r\nb\t0\t*\tf\r\n", "", {0}},
    };
    for (size_t i = 0; i < ESPL_COUNT(files); i++) {
        size_t bytes = strlen(files[i].text), accepted = 0;
        for (size_t cut = 0; cut <= bytes; cut++) {
            espl_task_set set;
            espl_status status =
                read_bytes(f, files[i].task, files[i].extension, files[i].text, cut, &files[i].params, &set);
            assert_true(status == ESPL_OK || status == ESPL_FORMAT);
            accepted += status == ESPL_OK;
            espl_task_set_finish(&set);
        }
        assert_in_range(accepted, 1, bytes - 1);
    }
}

/* ---- The table, memory ---- */

static void table(void **state) {
    (void)state;
    assert_null(espl_task_find("nothing"));
    size_t count = 0;
    for (const espl_task *task; (task = espl_task_at(count)); count++) {
        assert_ptr_equal(espl_task_find(task->name), task);
        assert_in_range(task->metric_count, 1, ESPL_TASK_METRICS);
        assert_true(task->columns || task->layout == ESPL_LAYOUT_CONLL);
    }
    assert_int_equal(count, 19);
    assert_int_equal(espl_task_find("cola")->metrics[0], ESPL_METRIC_MATTHEWS);
}

static espl_status read_prepared(espl_context *ctx, void *user) {
    const refusal *file = user;
    char path[64];
    espl_task_set set;
    snprintf(path, sizeof path, PATH "%s", file->extension);
    espl_status status = espl_task_read(ctx, espl_task_find(file->task), path, &file->params, &set);
    espl_task_set_finish(&set);
    return status;
}

static void memory(void **state) {
    (void)state;
    static refusal files[] = {
        {"e2e", ".csv", "mr,ref\n\"a[b], c[d]\",\"e\"\n\"a[c]\",f\n\"a[c]\",g\n", "", {0}},
        {"tagging", ".conll", "a I-X\nb I-X\n\nc O\n", "", {.bio2 = true}},
        {"dart", ".jsonl", "{\"triples\": [[\"a\", \"B\", \"c\"]], \"refs\": [\"d\", \"e\"]}\n", "", {0}},
        {"tagging", ".jsonl", "{\"words\": [\"a\"], \"tags\": [\"O\"]}\n", "", {0}},
        {"classification",
         ".tsv",
         "text\tpair\tlabel\na\tb\tx\nc\td\te\n",
         "",
         {.columns = "text=text,pair=pair,label=label"}},
        {"stsb", ".tsv", "a\tb\tc\td\t1.5\te\tf\n", "", {0}},
    };
    for (size_t i = 0; i < ESPL_COUNT(files); i++) {
        char path[64];
        snprintf(path, sizeof path, PATH "%s", files[i].extension);
        unit_write(path, files[i].text, strlen(files[i].text));
        unit_sweep(read_prepared, &files[i]);
        remove(path);
    }
}

/* Texts stay where they are while blocks are added, also one longer than any block. */
static void long_texts(void **state) {
    fixture *f = *state;
    enum { ROWS = 40000, LONG = 3 << 20 };
    size_t bytes = 0;
    char *text = malloc(ROWS * 40 + LONG + 64);
    bytes += (size_t)sprintf(text, "text,label\n");
    for (int i = 0; i < ROWS; i++)
        bytes += (size_t)sprintf(text + bytes, "row number %d,c%d\n", i, i % 3);
    memset(text + bytes, 'x', LONG);
    bytes += LONG;
    bytes += (size_t)sprintf(text + bytes, ",c1\n");
    espl_task_set set;
    unit_ok(f->ctx, read_bytes(f, "classification", ".csv", text, bytes, NULL, &set));
    assert_int_equal(set.count, ROWS + 1);
    check_pair(&set.examples[0], "row number 0", NULL, 0);
    check_pair(&set.examples[ROWS - 1], "row number 39999", NULL, 0);
    assert_int_equal(strlen(set.examples[ROWS].text), LONG);
    assert_int_equal(set.examples[ROWS].label, 1);
    espl_task_set_finish(&set);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(glue, begin, end),
        cmocka_unit_test_setup_teardown(glue_large, begin, end),
        cmocka_unit_test_setup_teardown(tables, begin, end),
        cmocka_unit_test_setup_teardown(tagging, begin, end),
        cmocka_unit_test_setup_teardown(generation, begin, end),
        cmocka_unit_test_setup_teardown(refused, begin, end),
        cmocka_unit_test_setup_teardown(truncations, begin, end),
        cmocka_unit_test_setup_teardown(long_texts, begin, end),
        cmocka_unit_test(table),
        cmocka_unit_test(memory),
    };
    return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
