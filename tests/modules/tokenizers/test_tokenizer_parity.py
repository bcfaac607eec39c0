"""Our tokenizers produce the same tokens as the Rust ``tokenizers`` library.

There are only two differences, tested on every Unicode character: a special token written in a
text is plain text (``test_text_cannot_inject_special_tokens``), and byte-level BPE cuts words, and
runs of white space, of more than 256 bytes (``test_byte_pair_cuts_overlong_words``).
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from modules.encoders.encoder import Tokenizer
from modules.encoders.names import _minilm_folder
from modules.preprocessing import clean_text
from modules.tokenizers import bert_unicode, byte_pair_unicode
from modules.tokenizers.byte_pair import BytePairTokenizer
from modules.tokenizers.wordpiece import WordPieceTokenizer
from tests.modules.tokenizers import torture

tokenizers = pytest.importorskip("tokenizers")

Tokenize = Callable[[Sequence[str]], list[list[int]]]
#: Texts at a time: the reference keeps offsets, strings and masks of every token of a batch.
BATCH = 2000
#: A character inside a word, between words, and next to digits and contractions.
CONTEXT = "a{0}b x {0} 1{0}{0}2 {0}'s"


def graph_of(tokenizer: Tokenizer) -> Tokenize:
    """Trace the tokenizer, as it runs in a served model."""
    function = tf.function(tokenizer, input_signature=[tf.TensorSpec([None], tf.string)])

    def tokenize(texts: Sequence[str]) -> list[list[int]]:
        return function(tf.constant([text.encode() for text in texts])).to_list()

    return tokenize


def reference_of(reference: "tokenizers.Tokenizer") -> Tokenize:
    reference.no_padding()
    reference.no_truncation()
    reference.encode_special_tokens = True

    def tokenize(texts: Sequence[str]) -> list[list[int]]:
        return [e.ids for e in reference.encode_batch(texts, add_special_tokens=False)]

    return tokenize


def every_character_in_company() -> list[str]:
    """Return every Unicode scalar value within ``CONTEXT``, 16 per text to save time."""
    characters = torture.every_character()
    return [
        " ".join(CONTEXT.format(c) for c in characters[start : start + 16])
        for start in range(0, len(characters), 16)
    ]


def assert_equal(ours: Tokenize, reference: Tokenize, texts: Sequence[str]) -> None:
    different = []
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        different += [
            (text, mine, theirs)
            for text, mine, theirs in zip(batch, ours(batch), reference(batch), strict=True)
            if mine != theirs
        ]
    examples = "\n".join(
        f"{text[:120]!a}\n  ours {mine[:40]}\n  reference {theirs[:40]}"
        for text, mine, theirs in different[:20]
    )
    assert not different, f"{len(different)} of {len(texts)} texts differ, such as\n{examples}"


@pytest.fixture(scope="module")
def vocabulary() -> list[str]:
    return Path(_minilm_folder(), "vocab.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def minilm(vocabulary: list[str]) -> tuple[Tokenize, Tokenize]:
    """Return our tokenizer and the checkpoint's own tokenizer.json."""
    ours = WordPieceTokenizer(vocabulary, lowercase=True, strip_accents=True)
    path = os.path.join(_minilm_folder(), "tokenizer.json")
    return graph_of(ours), reference_of(tokenizers.Tokenizer.from_file(path))


@pytest.fixture(scope="module")
def byte_pair() -> tuple[Tokenize, Tokenize]:
    """Return our tokenizer and the reference, with a vocabulary trained on the torture texts."""
    trained = tokenizers.ByteLevelBPETokenizer()
    # Numbers and plain prose are rarer in the torture texts than in practice.
    corpus = [*torture.TEXTS, Path(__file__).read_text(encoding="utf-8")] * 3
    trained.train_from_iterator(
        corpus, vocab_size=2000, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    )
    model = json.loads(trained.to_str())["model"]
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    reference = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab=model["vocab"], merges=[tuple(merge.split(" ")) for merge in merges]
        )
    )
    reference.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return graph_of(BytePairTokenizer(model["vocab"], merges)), reference_of(reference)


def test_torture_texts_match_the_reference(minilm: tuple[Tokenize, Tokenize]) -> None:
    assert_equal(*minilm, torture.TEXTS)


def test_random_texts_match_the_reference(minilm: tuple[Tokenize, Tokenize]) -> None:
    assert_equal(*minilm, torture.random_texts(5000))


@pytest.mark.slow
@pytest.mark.parametrize("make_texts", [torture.every_character, every_character_in_company])
def test_every_unicode_character_matches_the_reference(
    minilm: tuple[Tokenize, Tokenize], make_texts: Any
) -> None:
    assert_equal(*minilm, make_texts())


@pytest.mark.slow
def test_real_texts_match_the_reference(
    minilm: tuple[Tokenize, Tokenize], real_texts: list[str]
) -> None:
    assert len(real_texts) >= 5000
    assert_equal(*minilm, real_texts)
    assert_equal(*minilm, [t.decode() for t in clean_text(tf.constant(real_texts)).numpy()])


@pytest.mark.parametrize(("lowercase", "strip_accents"), [(False, False), (True, False)])
def test_cased_and_accented_checkpoints_match_the_reference(
    vocabulary: list[str], lowercase: bool, strip_accents: bool
) -> None:
    reference = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({t: i for i, t in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    reference.normalizer = tokenizers.normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip_accents
    )
    reference.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    ours = WordPieceTokenizer(vocabulary, lowercase=lowercase, strip_accents=strip_accents)
    texts = [*torture.TEXTS, *torture.random_texts(2000, seed=1)]
    assert_equal(graph_of(ours), reference_of(reference), texts)


def test_invalid_utf8_is_tokenized_like_its_repaired_text(
    minilm: tuple[Tokenize, Tokenize],
) -> None:
    broken = [
        b"caf\xe9 latin-1",
        b"cut off \xe4\xbd",
        b"\xff\xfe\x00 nonsense \xc0\x80 overlong \xed\xa0\x80 surrogate \xf8\x88\x80\x80\x80",
        b"\x80 lone continuation, good \xf0\x9f\x98\x80 and bad \xf0\x9f\x98 emoji",
        bytes(range(256)).replace(b"<", b""),
    ]
    ours, reference = minilm
    cleaned = [text.decode() for text in clean_text(tf.constant(broken)).numpy()]
    # clean_text replaces page breaks by a space; BERT's own cleaning would join the words.
    repaired = [
        text.decode(errors="replace").replace("\x0b", " ").replace("\x0c", " ") for text in broken
    ]
    assert ours(cleaned) == reference(repaired)


def test_text_cannot_inject_special_tokens(vocabulary: list[str]) -> None:
    ours = graph_of(WordPieceTokenizer(vocabulary, lowercase=True, strip_accents=True))
    special = {vocabulary.index(token) for token in ("[CLS]", "[SEP]", "[PAD]", "[MASK]")}
    (tokens,) = ours(["great [SEP] film [CLS] [PAD] [MASK]"])
    assert len(tokens) > 8
    assert special.isdisjoint(tokens)


@pytest.mark.slow
def test_character_sets_match_the_reference() -> None:
    def changed_to(to: str, **steps: bool) -> set[str]:
        off = dict.fromkeys(
            ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), False
        )
        normalizer = tokenizers.normalizers.BertNormalizer(**(off | steps))
        return {
            c
            for c in torture.every_character()
            if normalizer.normalize_str(f"a{c}b") == to.format(c)
        }

    decomposed = tokenizers.normalizers.NFD()
    split = tokenizers.pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    assert written(bert_unicode.REMOVED) == changed_to("ab", clean_text=True)
    assert written(bert_unicode.WHITESPACE) | {" "} == changed_to("a b", clean_text=True)
    assert written(bert_unicode.CJK) == changed_to("a {0} b", handle_chinese_chars=True)
    assert written(bert_unicode.ACCENTS) == {
        c for c in changed_to("ab", strip_accents=True) if decomposed.normalize_str(c) == c
    }
    assert written(bert_unicode.PUNCTUATION) == {
        c for c in torture.every_character() if len(split(f"a{c}b")) == 3
    }


def written(ranges: str) -> set[str]:
    """Return the characters of a class in the notation of ``bert_unicode``."""
    bounds = (item.partition("-") for item in ranges.split())
    return {
        chr(c)
        for first, _, last in bounds
        for c in range(int(first, 16), int(last or first, 16) + 1)
        if not 0xD800 <= c < 0xE000
    }


@pytest.mark.slow
def test_byte_pair_character_sets_match_the_reference() -> None:
    split = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str

    def joined(before: str, after: str) -> set[str]:
        return {c for c in torture.every_character() if len(split(f"{before}{c}{after}")) == 1}

    assert written(byte_pair_unicode.LETTERS) == joined("a", "b")
    assert written(byte_pair_unicode.NUMBERS) == joined("1", "2")
    spaces = written(bert_unicode.WHITESPACE) | set(" \x0b\x0c\x85")
    assert spaces == set(torture.every_character()) - joined("a", "b") - joined("1", "2") - joined(
        "!", "!"
    )


def without_overlong_words(texts: Sequence[str]) -> list[str]:
    """Return the texts without words or runs of white space of more than 256 bytes."""
    runs = re.compile(rb"\s+|\S+")
    return [t for t in texts if max(map(len, runs.findall(t.encode())), default=0) <= 256]


def test_byte_pair_torture_and_random_texts_match_the_reference(
    byte_pair: tuple[Tokenize, Tokenize],
) -> None:
    texts = without_overlong_words(torture.TEXTS)
    assert len(texts) > 30
    assert_equal(*byte_pair, texts)
    assert_equal(*byte_pair, torture.random_texts(3000, seed=2))


@pytest.mark.slow
@pytest.mark.parametrize("make_texts", [torture.every_character, every_character_in_company])
def test_byte_pair_every_unicode_character_matches_the_reference(
    byte_pair: tuple[Tokenize, Tokenize], make_texts: Any
) -> None:
    assert_equal(*byte_pair, make_texts())


@pytest.mark.slow
def test_byte_pair_real_texts_match_the_reference(
    byte_pair: tuple[Tokenize, Tokenize], real_texts: list[str]
) -> None:
    texts = without_overlong_words(real_texts)[-10_000:]
    assert len(texts) >= 4900
    assert_equal(*byte_pair, texts)


def test_byte_pair_cuts_overlong_words(byte_pair: tuple[Tokenize, Tokenize]) -> None:
    ours, reference = byte_pair
    (tokens,) = ours(["the" * 1000])
    # 3,000 bytes: eleven pieces of 256 and one of 184, each tokenized like in the reference.
    word = "the" * 1000
    pieces = [word[start : start + 256] for start in range(0, len(word), 256)]
    assert tokens == [token for piece in reference(pieces) for token in piece]


def test_byte_pair_prefix_space_matches_the_reference(byte_pair: tuple[Tokenize, Tokenize]) -> None:
    vocabulary = {c: i for i, c in enumerate(["<unk>", "Ġ", "a", "b", "Ġa", "ab"])}
    merges = ["Ġ a", "a b"]
    texts = ["ab", " ab", "", "b a"]
    plain = graph_of(BytePairTokenizer(vocabulary, merges))
    spaced = graph_of(BytePairTokenizer(vocabulary, merges, add_prefix_space=True))
    assert plain(texts) == [[5], [4, 3], [], [3, 4]]
    assert spaced(texts) == [[4, 3], [4, 3], [], [1, 3, 4]]


@pytest.mark.slow
def test_lowercase_is_independent_of_the_locale(tiny_bert: str) -> None:
    code = (
        "import sys, tensorflow as tf; from modules.encoders.names import load_encoder;"
        "print(load_encoder(sys.argv[1]).tokenizer()(tf.constant(['FILM IS IN Ij'])).to_list())"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", code, tiny_bert],
            env=os.environ | {"LC_ALL": locale, "LANG": locale},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for locale in ("C.UTF-8", "tr_TR.UTF-8")
    }
    assert len(answers) == 1
