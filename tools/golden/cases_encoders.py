"""Cases of encoders and of heads for tasks; the same rows as in cases.py, and:

labels    number of classes (or of values); absent for language models
spans     for each row the first and last token of its answer; rows whose answer is outside do not count
choices   rows that are one question
types     the second half of each row is token type 1
lengths   tokens of each row that are not padding; the model gets an attention mask
"""
from cases import GPT2, llama, sizes as decoder_sizes


def names(count):
    return dict(id2label={str(i): f"L{i}" for i in range(count)}, label2id={f"L{i}": i for i in range(count)})


def common(kind, task, model_type, **change):
    return {**dict(architectures=[kind + task], model_type=model_type, bos_token_id=1, eos_token_id=2, pad_token_id=0,
                   torch_dtype="float32", initializer_range=0.02, vocab_size=83, max_position_embeddings=24), **change}


def encoder(kind, task, model_type, **change):
    return common(kind, task, model_type, **{**dict(
        hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, hidden_act="gelu", layer_norm_eps=1e-12,
        type_vocab_size=2, num_hidden_layers=2), **change})


SEQUENCE, TOKENS, MASKED = "ForSequenceClassification", "ForTokenClassification", "ForMaskedLM"
SPANS, CHOICES = "ForQuestionAnswering", "ForMultipleChoice"


def sizes(hidden, heads, inner):
    return dict(hidden_size=hidden, num_attention_heads=heads, intermediate_size=inner)


def bert(task, *size, **change):
    return encoder("Bert", task, "bert", **sizes(*size), **change)


def roberta(task, *size, **change):
    """Position 0 is row pad_token_id + 1 of its table."""
    return encoder("Roberta", task, "roberta", **{**dict(type_vocab_size=1, pad_token_id=1, bos_token_id=0,
                                                         layer_norm_eps=1e-5), **sizes(*size), **change})


def distilbert(task, hidden, heads, inner, **change):
    return common("DistilBert", task, "distilbert", **{**dict(
        dim=hidden, n_heads=heads, hidden_dim=inner, n_layers=2, activation="gelu", dropout=0.1, attention_dropout=0.1,
        seq_classif_dropout=0.2, sinusoidal_pos_embds=False), **change})


def albert(task, *size, **change):
    return encoder("Albert", task, "albert", **{**dict(
        classifier_dropout_prob=0.1, inner_group_num=1, hidden_act="gelu_new"), **sizes(*size), **change})


def deberta(task, *size, **change):
    """v3 spells it like this; hidden sizes are those of heads of a multiple of 4."""
    return encoder("DebertaV2", task, "deberta-v2", **{**dict(
        relative_attention=True, share_att_key=True, pos_att_type="p2c|c2p", max_relative_positions=-1,
        position_biased_input=False, type_vocab_size=0, layer_norm_eps=1e-7, pooler_dropout=0, pooler_hidden_act="gelu",
        pooler_hidden_size=size[0]), **sizes(*size), **change})


def legacy_bert(name):
    """Names of the first published files: no prefix but the head's own, gamma and beta."""
    return name.removeprefix("bert.").replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def no_decoder(name):
    """Tied: the embedding stands for the decoder's weight, its bias has a name of its own."""
    return None if name in ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "lm_head.decoder.weight",
                            "lm_head.decoder.bias", "vocab_projector.weight", "generator_lm_head.weight",
                            "predictions.decoder.weight", "predictions.decoder.bias") else name


CASES = [
    dict(name="bert_classes_lora", seed=1029, batch=(3, 9), lengths=(9, 5, 7), types=True, labels=3,
         config=bert(SEQUENCE, 45, 5, 50, **names(3)),
         lora=dict(task_type="SEQ_CLS", r=3, lora_alpha=6, target_modules=["query", "value"])),
    dict(name="bert_classes_full", seed=1030, batch=(3, 7), lengths=(4, 7, 1), types=True, labels=2, rename=legacy_bert,
         config=bert(SEQUENCE, 26, 2, 31, **names(2)), lora=None),
    dict(name="bert_masked_full", seed=1031, batch=(2, 8), lengths=(8, 5), types=True, rename=no_decoder,
         config=bert(MASKED, 24, 3, 29), lora=None),
    dict(name="bert_tags_lora", seed=1032, batch=(2, 9), lengths=(6, 9), labels=5, config=bert(TOKENS, 40, 4, 33, **names(5)),
         lora=dict(task_type="TOKEN_CLS", r=2, lora_alpha=4, target_modules=["key", "intermediate.dense"])),
    dict(name="bert_value_full", seed=1033, batch=(3, 6), lengths=(6, 2, 5), types=True, labels=1,
         config=bert(SEQUENCE, 24, 4, 30, problem_type="regression", **names(1)), lora=None),
    dict(name="roberta_classes_lora", seed=1034, batch=(3, 8), lengths=(3, 8, 6), labels=2,
         config=roberta(SEQUENCE, 40, 5, 37, **names(2)),
         lora=dict(task_type="SEQ_CLS", r=4, lora_alpha=8, target_modules=["query", "value"])),
    dict(name="roberta_masked_lora", seed=1035, batch=(2, 9), lengths=(9, 6), rename=no_decoder, config=roberta(MASKED, 36, 3, 41),
         lora=dict(task_type=None, r=3, lora_alpha=6, target_modules=["query", "key", "value"])),
    dict(name="xlm_roberta_tags_full", seed=1036, batch=(2, 7), lengths=(7, 4), labels=4,
         config={**roberta(TOKENS, 24, 2, 30, **names(4)), "architectures": ["XLMRobertaForTokenClassification"],
                 "model_type": "xlm-roberta"}, lora=None),
    dict(name="distilbert_classes_lora", seed=1037, batch=(3, 7), lengths=(7, 3, 5), labels=3,
         config=distilbert(SEQUENCE, 36, 3, 45, **names(3)),
         lora=dict(task_type="SEQ_CLS", r=3, lora_alpha=6, target_modules=["q_lin", "v_lin"])),
    dict(name="distilbert_masked_full", seed=1038, batch=(2, 7), lengths=(7, 6), rename=no_decoder,
         config=distilbert(MASKED, 24, 4, 29), lora=None),
    dict(name="electra_classes_lora", seed=1039, batch=(3, 8), lengths=(8, 4, 6), types=True, labels=2,
         config=encoder("Electra", SEQUENCE, "electra", embedding_size=22, **sizes(40, 4, 33), **names(2)),
         lora=dict(task_type="SEQ_CLS", r=3, lora_alpha=3, target_modules=["query", "value"])),
    dict(name="electra_masked_full", seed=1040, batch=(2, 7), lengths=(5, 7), types=True, rename=no_decoder,
         config=encoder("Electra", MASKED, "electra", embedding_size=18, **sizes(24, 3, 31)), lora=None),
    dict(name="albert_classes_lora", seed=1041, batch=(3, 8), lengths=(8, 2, 7), types=True, labels=3,
         config=albert(SEQUENCE, 40, 5, 43, embedding_size=18, num_hidden_layers=4, num_hidden_groups=2, **names(3)),
         lora=dict(task_type="SEQ_CLS", r=3, lora_alpha=6, target_modules=["query", "value", "ffn"])),
    dict(name="albert_masked_full", seed=1042, batch=(2, 7), lengths=(7, 4), types=True, rename=no_decoder,
         config=albert(MASKED, 24, 3, 29, embedding_size=24, num_hidden_layers=3, num_hidden_groups=1), lora=None),
    dict(name="llama_classes_lora", seed=1043, batch=(3, 7), lengths=(7, 3, 5), labels=3,
         config={**llama(**decoder_sizes(32, 4, 2, 45), pad_token_id=0, **names(3)),
                 "architectures": ["LlamaForSequenceClassification"]},
         lora=dict(task_type="SEQ_CLS", r=3, lora_alpha=6, target_modules=["q_proj", "v_proj"])),
    dict(name="gpt2_value_full", seed=1044, batch=(3, 6), lengths=(6, 2, 4), labels=1,
         config={**GPT2, "architectures": ["GPT2ForSequenceClassification"], "n_embd": 24, "n_head": 3, "pad_token_id": 0,
                 "problem_type": "regression", **names(1)}, lora=None),
    dict(name="deberta_classes_lora", seed=1057, batch=(3, 11), lengths=(11, 4, 8), labels=3,
         config=deberta(SEQUENCE, 36, 3, 41, norm_rel_ebd="layer_norm", position_buckets=4, **names(3)),
         lora=dict(task_type="SEQ_CLS", r=3, lora_alpha=6, target_modules=["query_proj", "key_proj", "value_proj"])),
    dict(name="deberta_masked_full", seed=1058, batch=(2, 9), lengths=(9, 5), rename=no_decoder, types=True,
         config=deberta(MASKED, 24, 2, 29, norm_rel_ebd="none", position_buckets=-1, max_relative_positions=6,
                        type_vocab_size=2, position_biased_input=True), lora=None),
    dict(name="deberta_convolution", seed=1087, batch=(3, 9), lengths=(9, 1, 6), labels=3,
         config=deberta(SEQUENCE, 36, 3, 41, norm_rel_ebd="layer_norm", position_buckets=4, conv_kernel_size=3, conv_act="gelu",
                        **names(3)), lora=None),
    # Padding is in the softmax. Trained models have none here: PyTorch gives the embedding of padding no gradient. PEFT's model for
    # answers does not pass token types on.
    dict(name="bert_spans_lora", seed=2820, batch=(4, 9), lengths=(9, 5, 7, 9), spans=[[2, 4], [0, 3], [6, 6], [9, 9]],
         config=bert(SPANS, 40, 5, 37), lora=dict(task_type="QUESTION_ANS", r=3, lora_alpha=6, target_modules=["query", "value"])),
    dict(name="distilbert_spans_full", seed=2821, batch=(3, 7), lengths=(7, 7, 7), spans=[[0, 6], [7, 8], [3, 5]],
         config=distilbert(SPANS, 36, 3, 45, qa_dropout=0.1), lora=None),
    dict(name="mistral_spans_lora", seed=2822, batch=(2, 8), lengths=(8, 5), spans=[[4, 7], [1, 2]],
         config={**llama(**decoder_sizes(32, 4, 2, 45), pad_token_id=0), "architectures": ["MistralForQuestionAnswering"],
                 "model_type": "mistral", "sliding_window": None},
         lora=dict(task_type="QUESTION_ANS", r=3, lora_alpha=6, target_modules=["q_proj", "v_proj"])),
    dict(name="gpt2_spans_full", seed=2823, batch=(2, 6), lengths=(6, 6), spans=[[2, 2], [0, 4]],
         config={**GPT2, "architectures": ["GPT2ForQuestionAnswering"], "n_embd": 24, "n_head": 3, "pad_token_id": 0}, lora=None),
    dict(name="bert_choices_lora", seed=2824, batch=(6, 8), lengths=(8, 3, 5, 6, 8, 7), types=True, choices=3, config=bert(CHOICES, 40, 4, 33),
         lora=dict(task_type="SEQ_CLS", r=3, lora_alpha=6, target_modules=["query", "value"])),
    dict(name="roberta_choices_full", seed=2825, batch=(4, 7), lengths=(7, 4, 6, 5), choices=2, config=roberta(CHOICES, 24, 3, 29), lora=None),
    dict(name="electra_choices_full", seed=2826, batch=(4, 6), lengths=(6, 2, 5, 6), types=True, choices=2,
         config=encoder("Electra", CHOICES, "electra", embedding_size=18, **sizes(24, 2, 31)), lora=None),
]
