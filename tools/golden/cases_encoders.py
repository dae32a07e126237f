"""Cases of encoders and of heads for tasks; the same rows as in cases.py, and:

labels    number of classes (or of values); absent for language models
types     the second half of each row is token type 1
lengths   tokens of each row that are not padding; the model gets an attention mask
"""


def names(count):
    return dict(id2label={str(i): f"L{i}" for i in range(count)}, label2id={f"L{i}": i for i in range(count)})


def encoder(kind, task, **change):
    return dict(architectures=[kind + task], bos_token_id=1, eos_token_id=2, pad_token_id=0, torch_dtype="float32",
                initializer_range=0.02, vocab_size=83, max_position_embeddings=24, hidden_dropout_prob=0.1,
                attention_probs_dropout_prob=0.1, hidden_act="gelu", layer_norm_eps=1e-12, type_vocab_size=2,
                num_hidden_layers=2, **change)


SEQUENCE, TOKENS, MASKED = "ForSequenceClassification", "ForTokenClassification", "ForMaskedLM"


def sizes(hidden, heads, inner):
    return dict(hidden_size=hidden, num_attention_heads=heads, intermediate_size=inner)


def bert(task, *size, **change):
    return {**encoder("Bert", task, model_type="bert", **sizes(*size)), **change}


def legacy_bert(name):
    """Names of the first published files, without the prefix of the head's class."""
    return name.removeprefix("bert.").replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


CASES = [
    dict(name="bert_classes_lora", batch=(3, 9), lengths=(9, 5, 7), types=True, labels=3,
         config=bert(SEQUENCE, 45, 5, 50, **names(3)),
         lora=dict(task_type="SEQ_CLS", r=3, lora_alpha=6, target_modules=["query", "value"])),
    dict(name="bert_classes_full", batch=(3, 7), lengths=(4, 7, 1), types=True, labels=2, rename=legacy_bert,
         config=bert(SEQUENCE, 26, 2, 31, **names(2)), lora=None),
]
