"""The tokenizer of both miniatures: byte pair encoding (Sennrich et al. 2016).

Of the same kind as Stable Diffusion's, with a vocabulary small enough to print: letters, and what
arises from merging neighbours until each word of a caption is one token.
"""

import json
import string
from collections import Counter
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

from tigerdiff.tigers.captions import VOCABULARY

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 48  # tokens at most, with start and end; the longest caption has fewer


def merges(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the pairs to merge until each word is one symbol, the most frequent pair first."""
    spelled = {word: [*word[:-1], f"{word[-1]}</w>"] for word in words}
    found = []
    while pairs := Counter(pair for symbols in spelled.values() for pair in pairwise(symbols)):
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        found.append(best)
        spelled = {word: merged(symbols, best) for word, symbols in spelled.items()}
    return found


def merged(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """Return the symbols with each occurrence of the pair made one."""
    out: list[str] = []
    for symbol in symbols:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return out


def make_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write the tokenizer's files into the folder; return the tokenizer."""
    letters = string.ascii_lowercase + string.digits + string.punctuation
    words = tuple(sorted({part for word in VOCABULARY for part in word.split("-")}))
    pairs = merges(words)
    symbols = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, pairs), START, END]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({symbol: k for k, symbol in enumerate(symbols)}))
    lines = ["#version: 0.2", *map(" ".join, pairs), ""]
    (folder / "merges.txt").write_text("\n".join(lines))
    return CLIPTokenizer.from_pretrained(folder, model_max_length=LENGTH)
