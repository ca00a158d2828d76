"""The tokenizer that goes with an export: it frames a text as a scorer's windows are framed.

A window is [CLS] and tokens, without [SEP], and what looks like a special token in a text is text.
The scorer's own tokenizer leaves that to `Scorer`; an exported one has to know it by itself.
"""

from typing import Any

ROLES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")


def framed_tokenizer(tokenizer: Any, block_size: int) -> Any:
    """Return a plain fast tokenizer that puts [CLS] before a text and nothing behind it.

    >>> from synthenticity.text.tokenization import build_character_tokenizer
    >>> framed = framed_tokenizer(build_character_tokenizer(["hello"], block_size=8), 8)
    >>> framed.convert_ids_to_tokens(framed("hell").input_ids)
    ['[CLS]', 'h', 'e', 'l', 'l']
    """
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    first = tokenizer.cls_token
    backend.post_processor = processors.TemplateProcessing(
        single=[first, "$A"],
        pair=[first, "$A", "$B:1"],
        special_tokens=[(first, tokenizer.cls_token_id)],
    )
    named = {role: getattr(tokenizer, role) for role in ROLES}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=block_size,
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
        padding_side="right",
        truncation_side="right",
        model_input_names=["input_ids", "attention_mask"],
        **{role: token for role, token in named.items() if token is not None},
    )
