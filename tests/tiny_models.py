"""Random models and tokenizers that are small enough for tests."""

from collections.abc import Iterable
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    PhiConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)


def tiny_llama(*, vocab_size: int = 61, seed: int = 0, max_length: int = 4096, dtype: Any = torch.float32) -> Any:
    """A random Llama with grouped-query attention, in evaluation mode.

    Its initial weights are ten times the usual ones, so that its distributions are far from uniform. In float64 its
    norms are torch's own: those of transformers round to float32 whatever the dtype.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=max_length,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    if dtype == torch.float64:
        for module in [module for module in model.modules() if not isinstance(module, torch.nn.RMSNorm)]:
            for name in [name for name, _ in module.named_children()]:
                if name.endswith("norm"):
                    setattr(module, name, torch.nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps))
    return model.to(dtype).eval()


def tiny_relative(kind: str, *, dtype: Any = torch.float32) -> Any:
    """A small random model of another architecture: qwen3, mistral or gemma3, these two with windowed attention."""
    sizes = {
        "vocab_size": 61,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    config = {
        "qwen3": lambda: Qwen3Config(**sizes),
        "mistral": lambda: MistralConfig(**sizes, sliding_window=40),
        "gemma3": lambda: Gemma3TextConfig(
            **sizes,
            sliding_window=32,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
    }[kind]()
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).to(dtype).eval()


def tiny_head(kind: str) -> Any:
    """A small random model whose head caps (gemma2), scales (granite, cohere) or shifts (phi) its logits; the latter
    are large, so that this shows.
    """
    sizes = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0}
    config = {
        "gemma2": lambda: Gemma2Config(**sizes, head_dim=8, final_logit_softcapping=2.0),
        "granite": lambda: GraniteConfig(**sizes, logits_scaling=0.2),
        "cohere": lambda: CohereConfig(**sizes, logit_scale=4.0),
        "phi": lambda: PhiConfig(**sizes),
    }[kind]()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.get_output_embeddings().parameters():
            parameter.normal_()
    return model


def byte_tokenizer(texts: Iterable[str] = (), *, vocab_size: int = 512) -> Any:
    """A byte-level BPE tokenizer with the tokens of ChatML, its merges learnt from the texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>")
