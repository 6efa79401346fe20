"""The recipe of the text-to-image model: its tokenizer, and what is held out."""

import re

import pytest
from mini_tokenizer import END, LENGTH, START, make_tokenizer, merges
from train_mini_sd import HELD_OUT, held_out

from tigerdiff import caption
from tigerdiff._captions import VOCABULARY
from tigerdiff.tigers import series


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_each_word_of_a_caption_is_one_token(tokenizer):
    for word in {part for words in VOCABULARY for part in words.split("-")}:
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(word).input_ids)
        assert tokens == [START, f"{word}</w>", END]


def test_captions_fit_and_come_back(tokenizer):
    tigers = series(500, seed=3)
    for seed, tiger in enumerate(tigers):
        told = caption(tiger, seed=seed)
        ids = tokenizer(told).input_ids
        assert len(ids) <= LENGTH
        said = tokenizer.decode(ids, skip_special_tokens=True)
        assert re.findall("[a-z]+", said) == re.findall("[a-z]+", told)


def test_unknown_words_are_spelled(tokenizer):
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("Majestic").input_ids)
    assert "".join(tokens[1:-1]) == "majestic</w>" and len(tokens) > 3


def test_the_most_frequent_pair_is_merged_first():
    assert merges(("aab", "aac"))[0] == ("a", "a")
    assert merges(("ab",)) == [("a", "b</w>")]
    assert merges(("a",)) == []


def test_what_is_held_out_is_a_small_part():
    tigers = series(2000, seed=1)
    kept = [tiger for tiger in tigers if not held_out(tiger)]
    assert 0.8 < len(kept) / len(tigers) < 1
    for combination in HELD_OUT:
        names = tuple(combination)
        assert tuple(combination.values()) not in {
            tuple(getattr(tiger, name) for name in names) for tiger in kept
        }
        for name, value in combination.items():  # each of its words is known from elsewhere
            assert any(getattr(tiger, name) == value for tiger in kept)
