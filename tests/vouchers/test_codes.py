"""Codes: each matches its config, all are different, all are equally likely, and the last one is found."""

import re
from collections import Counter
from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.vouchers import codes
from punchcard.vouchers.codes import CodeConfig, CodeConfigIn, InvalidCodeConfig

# letters with one case, with two, with none; a sigma that lower-cases by what is around it, and the one letter whose
# lower case has two characters
ALPHABET = "aAbB01-ßẞσςΣİiIıñÑ"  # noqa: RUF001 - on purpose
PRINTABLE = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=6)


@st.composite
def configs(draw: st.DrawFn, *, holes_max: int = 10) -> CodeConfig:
    """A config as a request could have it, checked."""
    charset = draw(st.none() | st.text(st.sampled_from(ALPHABET), min_size=1, max_size=12))
    pattern = None
    if draw(st.booleans()):
        pattern = "".join(draw(st.lists(st.sampled_from(["#", "#", "##", "-", "A", "é"]), min_size=1, max_size=8)))
        pattern = pattern if pattern.count("#") <= holes_max else "#" * holes_max
    length = draw(st.none() | st.integers(1, holes_max)) if holes_max >= codes.LENGTH_DEFAULT else 1
    written = CodeConfigIn(length, charset, draw(st.none() | PRINTABLE), draw(st.none() | PRINTABLE), pattern)
    return codes.checked(written, path=".code_config")


def expression(config: CodeConfig) -> str:
    """What a code of the config looks like."""
    one = "[" + "".join(map(re.escape, config.charset)) + "]"
    middle = "".join(one if character == "#" else re.escape(character) for character in config.pattern)
    return re.escape(config.prefix) + middle + re.escape(config.postfix)


def lowered(code: str) -> str:
    """A code in lower case, one character at a time."""
    return "".join(character.lower()[0] for character in code)


@given(configs(), st.integers(0, 300), st.booleans())
def test_codes_match_their_config_and_are_all_different(config: CodeConfig, count: int, case_sensitive: bool) -> None:
    count = min(count, codes.combinations(config, case_sensitive=case_sensitive))
    made = codes.generate(config, count, case_sensitive=case_sensitive)
    looks = re.compile(expression(config))
    assert all(looks.fullmatch(code) for code in made)
    keys = {codes.key_of(code, case_sensitive=case_sensitive) for code in made}
    assert len(keys) == len(made) == count
    assert keys == ({*made} if case_sensitive else {lowered(code) for code in made})


@given(configs(holes_max=3), st.booleans())
def test_combinations_are_those_that_there_are(config: CodeConfig, case_sensitive: bool) -> None:
    charset = config.charset[:8]
    config = msgspec.structs.replace(config, charset=charset)
    all_of_them = {
        codes.key_of("".join(drawn), case_sensitive=case_sensitive) for drawn in product(charset, repeat=config.length)
    }
    assert codes.combinations(config, case_sensitive=case_sensitive) == len(all_of_them)
    # and every one of them is found
    every = codes.generate(config, len(all_of_them), case_sensitive=case_sensitive)
    assert len({codes.key_of(code, case_sensitive=case_sensitive) for code in every}) == len(all_of_them)
    with pytest.raises(InvalidCodeConfig):
        codes.generate(config, len(all_of_them) + 1, case_sensitive=case_sensitive)


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_key_is_made_character_by_character(left: str, right: str) -> None:
    together = codes.key_of(left + right, case_sensitive=False)
    assert together == codes.key_of(left, case_sensitive=False) + codes.key_of(right, case_sensitive=False)
    assert len(together) == len(left + right)
    assert codes.key_of(together, case_sensitive=False) == together
    assert codes.key_of(left, case_sensitive=True) == left


@pytest.mark.parametrize(("case_sensitive", "characters"), [(True, 62), (False, 36)])
def test_all_characters_are_equally_likely_at_every_place(case_sensitive: bool, characters: int) -> None:
    made = codes.generate(CodeConfig(), 20_000, case_sensitive=case_sensitive)
    for place in range(codes.LENGTH_DEFAULT):
        seen = Counter(code[place] for code in made)
        assert len(seen) == characters
        mean = len(made) / characters
        # chi squared: its mean is the number of characters less one; so far off once in 10^9 times
        assert sum((count - mean) ** 2 / mean for count in seen.values()) < characters + 9 * characters**0.5


@pytest.mark.parametrize("count", [3, 25, 26])
def test_of_few_codes_all_are_equally_likely(count: int) -> None:
    config = codes.checked(CodeConfigIn(pattern="#", charset="abcdefghijklmnopqrstuvwxyz"), path="")
    rounds = 6_000 // count
    seen = Counter(code for _ in range(rounds) for code in codes.generate(config, count, case_sensitive=True))
    mean = rounds * count / 26
    assert sum((seen[letter] - mean) ** 2 / mean for letter in config.charset) < 26 + 9 * 26**0.5
    # in random order too
    first = Counter(codes.generate(config, count, case_sensitive=True)[0] for _ in range(1000))
    assert sum((first[letter] - 1000 / 26) ** 2 / (1000 / 26) for letter in config.charset) < 26 + 9 * 26**0.5


def test_a_pattern_overrides_the_length_and_keeps_its_own_characters() -> None:
    config = codes.checked(CodeConfigIn(3, "ab", "#-", "-#", "##-X#"), path=".code_config")
    assert (config.length, config.pattern) == (3, "##-X#")
    for code in codes.generate(config, 8, case_sensitive=True):
        assert re.fullmatch(r"#-[ab]{2}-X[ab]-#", code)
    default = codes.checked(None, path="")
    assert default == codes.checked(CodeConfigIn(), path="")
    assert (default.length, default.pattern, len(default.charset)) == (8, "########", 62)
    assert codes.combinations(default, case_sensitive=True) == 62**8
    assert codes.combinations(default, case_sensitive=False) == 36**8
    fixed = codes.checked(CodeConfigIn(pattern="ONE"), path="")
    assert codes.generate(fixed, 1, case_sensitive=True) == ["ONE"]


@pytest.mark.parametrize(
    ("given_config", "complaint"),
    [
        (CodeConfigIn(charset=""), ".x.charset must have 1 to 256 different characters"),
        (CodeConfigIn(charset="".join(map(chr, range(0x4E00, 0x4F01)))), ".x.charset must have 1 to 256"),
        (CodeConfigIn(charset="a\nb"), ".x.charset must have printable characters only"),
        (CodeConfigIn(prefix="\x00"), ".x.prefix must have printable characters only"),
        (CodeConfigIn(prefix="p" * 248), ".x makes codes of more than 255 characters"),
        (CodeConfigIn(pattern="#" * 256), ".x makes codes of more than 255 characters"),
    ],
)
def test_an_impossible_config_is_refused_with_its_path(given_config: CodeConfigIn, complaint: str) -> None:
    with pytest.raises(InvalidCodeConfig, match=re.escape(complaint)):
        codes.checked(given_config, path=".x")
