"""The test cases: one row each. Sizes are small and divide by nothing in particular.

base     the case whose model this one stands on; has no config then
method   how the adapter is made (methods.py); `lora` is short for peft's LoRA
ids      given where they matter, else random
seed     of random numbers
config   config.json, in the classic spelling that most folders on disk have; `modern` rewrites it as
         transformers 5 spells it (rope_parameters, dtype)
lora     arguments of peft.LoraConfig, or None for full fine-tuning
batch    B, T and the number of right-padded positions of the last row (labels -100 there)
store    dtype of the stored weights; `shards` > 1 adds model.safetensors.index.json
rename   function from the Hugging Face weight name to the name in the file, None drops it
"""
LLAMA = dict(
    architectures=["LlamaForCausalLM"], model_type="llama", attention_bias=False, attention_dropout=0.0,
    bos_token_id=1, eos_token_id=2, hidden_act="silu", initializer_range=0.02, max_position_embeddings=64,
    mlp_bias=False, num_hidden_layers=2, pretraining_tp=1, rms_norm_eps=1e-5, rope_scaling=None,
    rope_theta=10000.0, tie_word_embeddings=False, torch_dtype="float32", use_cache=True, vocab_size=97)
GPT2 = dict(
    architectures=["GPT2LMHeadModel"], model_type="gpt2", activation_function="gelu_new", attn_pdrop=0.0,
    bos_token_id=1, eos_token_id=2, embd_pdrop=0.0, initializer_range=0.02, layer_norm_epsilon=1e-5,
    n_ctx=32, n_layer=2, n_positions=32, resid_pdrop=0.0, vocab_size=97)
SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def llama(**change):
    return {**LLAMA, **change}


def sizes(hidden, heads, kv, inner, **change):
    return dict(hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=kv,
                intermediate_size=inner, **change)


def hub_gpt2(name):
    """Names of the published GPT-2 files: no `transformer.` and no head."""
    return None if name == "lm_head.weight" else name.removeprefix("transformer.")


def only_head(name):
    """The tied matrix under `lm_head.weight` alone, a quirk met in practice."""
    return None if name == "model.embed_tokens.weight" else name


def only_embed(name):
    return None if name == "lm_head.weight" else name


CASES = [
    dict(name="llama_lora", seed=1000, batch=(2, 7, 0), config=llama(**sizes(48, 6, 2, 52)),
         lora=dict(r=3, lora_alpha=5, target_modules=SEVEN)),
    dict(name="llama_tied_rope_scaling", seed=1001, batch=(2, 9, 0), rename=only_embed,
         config=llama(**sizes(40, 5, 1, 53), tie_word_embeddings=True, rope_theta=100.0, rms_norm_eps=1e-6,
                      max_position_embeddings=256,
                      rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                        high_freq_factor=4.0, original_max_position_embeddings=32)),
         lora=dict(r=4, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "v_proj"])),
    dict(name="llama_linear_rope", seed=1002, batch=(2, 11, 4),
         config=llama(**sizes(32, 4, 2, 45), rope_scaling=dict(type="linear", factor=2.0)),
         lora=dict(r=5, lora_alpha=5, target_modules=["o_proj", "down_proj"], modules_to_save=["lm_head"])),
    dict(name="mistral_regex", seed=1003, batch=(2, 7, 0),
         config=dict(architectures=["MistralForCausalLM"], model_type="mistral", attention_dropout=0.0,
                     bos_token_id=1, eos_token_id=2, hidden_act="silu", initializer_range=0.02,
                     max_position_embeddings=64, num_hidden_layers=2, rms_norm_eps=1e-5, rope_theta=10000.0,
                     sliding_window=None, tie_word_embeddings=False, torch_dtype="float32", use_cache=True,
                     vocab_size=97, **sizes(36, 3, 1, 50, head_dim=12)),
         lora=dict(r=2, lora_alpha=8,
                   target_modules=r".*layers\.(0\.self_attn\.[qo]_proj|1\.mlp\.(gate|up)_proj)")),
    dict(name="qwen2_bias_all", seed=1004, batch=(3, 6, 1),
         config=dict(architectures=["Qwen2ForCausalLM"], model_type="qwen2", attention_dropout=0.0,
                     bos_token_id=1, eos_token_id=2, hidden_act="silu", initializer_range=0.02,
                     max_position_embeddings=64, max_window_layers=2, num_hidden_layers=2, rms_norm_eps=1e-6,
                     rope_theta=1000000.0, sliding_window=64, tie_word_embeddings=False,
                     torch_dtype="float32", use_cache=True, use_sliding_window=False, vocab_size=97,
                     **sizes(40, 2, 1, 47)),
         lora=dict(r=3, lora_alpha=3, bias="all", target_modules=["q_proj", "v_proj"])),
    dict(name="qwen2_tied_bias_lora_only", seed=1005, batch=(2, 7, 0), rename=only_embed,
         config=dict(architectures=["Qwen2ForCausalLM"], model_type="qwen2", attention_dropout=0.0,
                     bos_token_id=1, eos_token_id=2, hidden_act="silu", initializer_range=0.02,
                     max_position_embeddings=64, num_hidden_layers=2, rms_norm_eps=1e-6, rope_theta=10000.0,
                     tie_word_embeddings=True, torch_dtype="float32", use_cache=True,
                     use_sliding_window=False, vocab_size=97, **sizes(40, 5, 5, 37)),
         lora=dict(r=2, lora_alpha=4, bias="lora_only", target_modules=["q_proj", "up_proj"])),
    dict(name="qwen3_patterns", seed=1006, batch=(2, 8, 0), rename=only_embed, modern=True,
         config=dict(architectures=["Qwen3ForCausalLM"], model_type="qwen3", attention_bias=False,
                     attention_dropout=0.0, bos_token_id=1, eos_token_id=2, hidden_act="silu",
                     initializer_range=0.02, max_position_embeddings=64, num_hidden_layers=3,
                     rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=True,
                     torch_dtype="float32", use_cache=True, vocab_size=97,
                     **sizes(40, 4, 2, 51, head_dim=12)),
         lora=dict(r=3, lora_alpha=6, target_modules=["q_proj", "k_proj", "down_proj"],
                   layers_to_transform=[0, 2], rank_pattern={"k_proj": 2, "layers.2.self_attn.q_proj": 5},
                   alpha_pattern={"k_proj": 9, "layers.0.mlp.down_proj": 1})),
    dict(name="gpt2_lora", seed=1007, batch=(2, 7, 0), rename=hub_gpt2, mask_buffers=True,
         config={**GPT2, "n_embd": 40, "n_head": 5},
         lora=dict(r=3, lora_alpha=6, fan_in_fan_out=True, target_modules=["c_attn", "c_proj", "c_fc"])),
    dict(name="gpt2_full", seed=1008, batch=(2, 7, 2), rename=only_embed, config={**GPT2, "n_embd": 24, "n_head": 3},
         lora=None),
    dict(name="llama_full", seed=1009, batch=(2, 7, 0), rename=only_head,
         config=llama(**sizes(24, 3, 1, 29), tie_word_embeddings=True), lora=None),
    dict(name="llama_sharded_bf16", seed=1010, batch=(2, 7, 0), store="bfloat16", shards=2, modern=True,
         config=llama(**sizes(32, 4, 2, 45), torch_dtype="bfloat16"),
         lora=dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])),
    dict(name="llama_f16", seed=1011, batch=(1, 13, 0), store="float16",
         config=llama(**sizes(32, 2, 2, 45), torch_dtype="float16"),
         lora=dict(r=4, lora_alpha=8, target_modules="all-linear")),
]

from cases_bottleneck import CASES as BOTTLENECK  # noqa: E402
from cases_diff_pruning import CASES as DIFF_PRUNING  # noqa: E402
from cases_flop import CASES as FLOP  # noqa: E402
from cases_lora import CASES as LORA  # noqa: E402
from cases_prompt import CASES as PROMPT  # noqa: E402
from cases_tiny_attention import CASES as TINY_ATTENTION  # noqa: E402
from cases_vectors import CASES as VECTORS  # noqa: E402

CASES += VECTORS + BOTTLENECK + LORA + PROMPT + TINY_ATTENTION + FLOP + DIFF_PRUNING
