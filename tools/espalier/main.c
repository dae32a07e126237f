/* espalier: trains adapters of transformers on any GPU with a Vulkan driver, and uses them. Each command is a file,
 * cmd_<name>.c; this one finds it and prints help. */
#include "tools/espalier/program.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const command commands[] = {
    {"devices", FOR_DEVICES, "[--json]", "list the GPUs of this machine and what they can do",
     "Prints number, name, driver and capabilities of every Vulkan device. The number, part of the name\n"
     "or the UUID is what --device takes. Which one is taken without --device: a discrete GPU before an\n"
     "integrated, a virtual and a software one.\n",
     "espalier devices\nespalier devices --json | jq -r '.[].name'\n", cmd_devices},
    {"train", FOR_TRAIN, "--model DIR --data FILE --out DIR [FLAGS]", "train an adapter, or a whole model",
     "Trains on the GPU and writes a PEFT folder (adapter_config.json, adapter_model.safetensors) that\n"
     "every PEFT-aware tool loads. With --method full the whole model is trained and saved. The adapter with\n"
     "the lowest validation loss is kept in OUT/best. Ctrl-C stops after the step under way, writes\n"
     "OUT/checkpoint and says how to go on.\n",
     "espalier train --model models/smol --data notes.txt --out notes-adapter --epochs 3\n"
     "espalier train --model models/smol --data chat.jsonl --out chat --method lora:r=16,alpha=32,targets=all-linear \\\n"
     "    --steps 500 --batch 4 --lr 1e-4 --schedule cosine --warmup 20 --eval-every 100\n"
     "espalier train --model models/minilm --task cola --data train.tsv --valid val.tsv --epochs 5 --batch 32 --lr 1e-3 \\\n"
     "    --patience 2 --out cola\n"
     "espalier train --model config-only --init random --method full --data book.txt --out book-model\n",
     cmd_train},
    {"sweep", FOR_SWEEP, "--model DIR --task NAME --data FILE --valid FILE --methods LIST --out DIR [FLAGS]",
     "train every method at every rate on a task: one table",
     "A cell of the grid (method, learning rate, passes over the data) is a run of `espalier train --task` in a folder\n"
     "of its own. The table has what is trained beside the metrics of the best validation. After an interruption the\n"
     "same command line goes on: finished cells are read back.\n",
     "espalier sweep --model models/minilm --task cola --data train.tsv --valid val.tsv --batch 32 \\\n"
     "    --methods \"head;full;lora:r=8;ia3\" --lrs 1e-3,5e-4 --epochs-list 3 --out cola --table markdown\n",
     cmd_sweep},
    {"eval", FOR_EVAL, "--model DIR --data FILE [FLAGS]", "measure loss and perplexity on a text, or a task's metrics",
     "Mean loss per token over all rows of the data, and its exponential. With --task the loss per row and the\n"
     "metrics of the task.\n",
     "espalier eval --model models/smol --data held-out.txt\n"
     "espalier eval --model models/minilm --adapter cola/best --task cola --data val.tsv\n"
     "espalier eval --model models/smol --adapter notes-adapter --data held-out.txt --json\n",
     cmd_eval},
    {"generate", FOR_GENERATE, "--model DIR --prompt TEXT [FLAGS]", "let the model go on from a text",
     "Prints what follows the prompt as it is made; counts and speed follow on stderr.\n",
     "espalier generate --model models/smol --prompt \"Once upon a time\" --temperature 0.8 --top-p 0.95 --seed 7\n"
     "espalier generate --model models/smol --adapter notes-adapter --prompt \"Dear diary,\" --stop $'\\n\\n'\n",
     cmd_generate},
    {"merge", FOR_MERGE, "--model DIR --adapter DIR --out DIR [FLAGS]", "write the model with the adapter added in",
     "The result is a model folder of its own, with the tokenizer, that needs no adapter.\n",
     "espalier merge --model models/smol --adapter notes-adapter --out smol-notes\n", cmd_merge},
    {"average", FOR_AVERAGE, "--model DIR --adapter DIR --adapter DIR --out DIR [FLAGS]", "write one adapter that is the average of several",
     "A weighted sum in parameter space, of adapters of one method and configuration. Of LoRAs the modes cat and svd sum what\n"
     "the adapters add to the weights, which the sum of their A and of their B is not.\n",
     "espalier average --model models/smol --adapter notes-adapter --adapter mail-adapter --weights 0.5,0.5 --out both\n"
     "espalier average --model models/smol --adapter a --adapter b --weights 1,-0.5 --mode svd --rank 8 --out difference\n"
     "espalier average --model models/smol --adapter a --adapter b --weights 1,1 --mode ties --density 0.5 --out merged\n",
     cmd_average},
    {"convert", FOR_CONVERT, "--model DIR --adapter PATH --to FORMAT --out PATH [FLAGS]", "write an adapter in another format",
     "Between PEFT's folders, the Adapters library's and GGUF files for llama.cpp (llama-cli --lora FILE), without\n"
     "rounding; from a soft prompt in .npy to PEFT's. Needs no GPU and of the base model config.json only, but for --rank.\n",
     "espalier convert --model models/smol --adapter notes-adapter --to gguf --out notes.gguf\n"
     "espalier convert --model models/smol --adapter notes.gguf --to peft --out notes-adapter\n", cmd_convert},
    {"inspect", FOR_INSPECT, "PATH [--json]", "what is in a model folder, an adapter folder or a file of tensors",
     "Reads headers only and needs no GPU. Files: safetensors, PyTorch's .bin, GGUF, NumPy's .npy.\n",
     "espalier inspect models/smol\nespalier inspect notes-adapter/adapter_model.safetensors --json\n", cmd_inspect},
    {"methods", FOR_METHODS, "[METHOD [--model DIR] | --table1 | --table2 --model DIR] [--format text|csv|md]",
     "which adapter methods there are, and their keys",
     "Lists every method with its names in files, the structural properties that PEFT-Ref (Sabry & Belz 2023) gives adapters,\n"
     "where it joins a model, and whether it can be merged. The tables are PEFT-Ref's, of seven techniques; the letter behind\n"
     "a cell says where it is from: S the paper's text, D algebra, R recalled from the publication. O(1) means that the output\n"
     "is there without reading the input. In table 2 prompts are counted once, prefixes by what makes them for all blocks,\n"
     "which is not the formula's map, and PEFT's (IA)3 of encoders has a vector more. Needs no GPU.\n"
     "With a METHOD: the keys that --method METHOD:key=value,... takes, their defaults, what they take, and their names in\n"
     "the adapter's folder. Defaults that depend on the model are those for --model DIR, else for a BERT of base size.\n",
     "espalier methods\nespalier methods lora\nespalier methods ia3 --model models/smol\nespalier methods --table1 --format md\nespalier methods --table2 --model models/smol --format csv\n", cmd_methods},
    {"bench", FOR_BENCH, "[train] [prompt] [generate] [first-step] [FLAGS]", "measure speed on this machine",
     "Without names all of them run. Without --model a small Llama with random weights is measured.\n"
     "  first-step  seconds from the start of the process to the end of the first training step\n"
     "  ready       seconds from there until a prompt of --context tokens can be taken: the model on the device, all kernels\n"
     "              made, everything recorded (only when named)\n"
     "  first-token seconds from there until that prompt was read and the next token is known (only when named)\n"
     "  train       tokens/s of LoRA of rank 8 on every linear layer of every block\n"
     "  prompt      tokens/s of reading a prompt of --context tokens\n"
     "  generate    tokens/s of writing one token after the other; both with the adapter where --adapter names one\n"
     "  matmul      products alone, GFLOP/s, beside OpenBLAS where it is installed; with --gpu-budget also the longest\n"
     "              time for which one holds the queue (only when named)\n"
     "  frames      training beside 300 frames of 16 ms of other work, --budget ms in each: how long a call takes, when the\n"
     "              device is done, how far that is beyond the budget, and, for comparison, for how long other programs held\n"
     "              up the other work at a time (only when named)\n"
     "  methods     a training step of LoRA, (IA)3, PASTA and AdaLink beside the base's forward and backward down to its\n"
     "              embeddings, of DyLoRA beside LoRA; ratios are taken round by round (only when named)\n"
     "  compositions  a forward pass with several adapters beside that with one: rows with different ones, averages, in\n"
     "              parallel; ratios likewise (only when named)\n"
     "ready, first-token and first-step count what is done before, so each is asked for by itself.\n"
     "Figures are medians. host%: share of the time in which the host worked instead of waiting for the\n"
     "device (processor time of the calling thread).\n",
     "espalier bench\nespalier bench frames --budget 4\nespalier bench train --model models/smol --context 512 --mode fast --json\n", cmd_bench},
    {"probe", FOR_PROBE, "--model DIR --ids ROWS --out FILE [FLAGS]", "write logits, loss and gradients of one batch",
     "For checking against another framework: a safetensors file with ids, labels, logits, loss, grad.NAME of\n"
     "every trainable tensor, and with --steps N param<N>.NAME after N steps of AdamW without clipping.\n",
     "espalier probe --model tests/golden/llama_lora --adapter tests/golden/llama_lora/adapter \\\n"
     "    --ids \"1,80,47;1,9,9\" --steps 2 --lr 1e-4 --weight-decay 0.01 --out probe.safetensors\n",
     cmd_probe},
};

static const command *find_command(const char *name) {
    for (size_t i = 0; i < ESPL_COUNT(commands); i++)
        if (!strcmp(commands[i].name, name)) return &commands[i];
    return NULL;
}

static void print_overview(FILE *to) {
    fprintf(to, "espalier trains adapters of transformers on any GPU with a Vulkan driver, and uses them.\n\n"
                "usage: espalier COMMAND [FLAGS]\n\n");
    for (size_t i = 0; i < ESPL_COUNT(commands); i++)
        fprintf(to, "  %-10s%s\n", commands[i].name, commands[i].summary);
    fprintf(to, "  %-10s%s\n  %-10s%s\n", "help", "this text, or the flags of a command: espalier help train",
            "--version", "name and version");
    fprintf(to, "\nExit status: 0 done; 1 failed, with the reason on stderr; 2 the command line was not understood;\n"
                "130 stopped by Ctrl-C with everything kept.\n");
}

static void print_help(const command *command) {
    printf("usage: espalier %s %s\n\n%s", command->name, command->usage, command->text);
    options_print_help(command->bit);
    printf("\nExamples\n");
    for (const char *at = command->examples; *at;) {
        size_t length = strcspn(at, "\n");
        printf("  %.*s\n", (int)length, at);
        at += length + (at[length] == '\n');
    }
}

/* A full disk or a closed pipe behind stdout must not look like success. */
static int check_stdout(int result) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return result;
    return fail("the output could not be written: %s", strerror(errno));
}

static void log_line(void *user, espl_log_level level, const char *line) {
    (void)user;
    static const char *const names[] = {"error: ", "warning: "};
    if (level <= ESPL_LOG_WARNING) fprintf(stderr, "espalier: %s%s\n", names[level], line);
}

static int run_command(const command *command, int word_count, char **words, double started) {
    options opts;
    /* getopt reorders what it is given; the line as typed is wanted later. */
    char *typed[512];
    if (word_count >= (int)ESPL_COUNT(typed)) return fail_usage(command->name, "too many words");
    memcpy(typed, words, (size_t)word_count * sizeof *typed);
    int result = options_parse(command, word_count, words, &opts);
    if (result) return result;
    if (opts.help) {
        print_help(command);
        return EXIT_DONE;
    }
    program program = {.options = &opts, .words = typed, .word_count = word_count, .started = started};
    espl_status status = espl_context_create(&(espl_context_params){.log = log_line}, &program.context);
    if (status) return fail("%s", espl_status_meaning(status));
    result = command->run(&program);
    close_program(&program);
    espl_context_destroy(&program.context);
    return result;
}

static int run_help(int word_count, char **words) {
    if (word_count < 2) {
        print_overview(stdout);
        return EXIT_DONE;
    }
    const command *command = find_command(words[1]);
    if (!command) return fail_usage(NULL, "there is no command \"%s\"", words[1]);
    print_help(command);
    return EXIT_DONE;
}

int main(int word_count, char **words) {
    double started = espl_os_seconds();
    espl_os_program_begin(&word_count, &words);
    if (word_count < 2) {
        print_overview(stderr);
        return EXIT_USAGE;
    }
    const char *name = words[1];
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h"))
        return check_stdout(run_help(word_count - 1, words + 1));
    if (!strcmp(name, "--version") || !strcmp(name, "version")) {
        printf("espalier %s\n", ESPALIER_VERSION);
        return check_stdout(EXIT_DONE);
    }
    const command *command = find_command(name);
    if (!command) return fail_usage(NULL, "there is no command \"%s\"", name);
    return check_stdout(run_command(command, word_count - 1, words + 1, started));
}
