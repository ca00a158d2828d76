"""`CharDiffusionProvider`: masked windows for training a character MLM.

A `MaskedLMProvider` whose tokenizer is built from the corpus, one token a character, unless the
run starts from a checkpoint. The character tokenizer puts nothing around a text, so a window is
`block_size` characters.
"""

from typing import Any, ClassVar

from synthenticity.providers.masked_lm import MaskedLMProvider
from synthenticity.text.corpus import Corpus
from synthenticity.text.tokenization import build_character_tokenizer, load_tokenizer


class CharDiffusionProvider(MaskedLMProvider):
    """Makes MLM training data from the `mlm` pool of a corpus, one token a character."""

    dataset_name: ClassVar[str] = "char_diffusion"

    def open_tokenizer(self, corpus: Corpus) -> Any:
        """Return the tokenizer of the checkpoint that training starts from, or a new one."""
        if self.config.init_from_checkpoint:
            return load_tokenizer(self.config.init_from_checkpoint)
        return build_character_tokenizer([corpus.alphabet], block_size=self.config.block_size)
