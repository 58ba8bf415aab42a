"""Many generators at once, or the first number of each: what `rng_for(seed, sample_id, stage)` gives.

A million generators made one by one take ten times as long. Here arrays repeat numpy's own steps from a key to a
number: `SeedSequence` mixes the key, PCG64 takes two steps. numpy keeps both streams stable (NEP 19).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISpawnableSeedSequence

POOL, WORD = 4, 32  # words of SeedSequence's pool, and bits of each
INIT_A, MULT_A, INIT_B, MULT_B = 0x43B0D7E5, 0x931E8875, 0x8B51F9DD, 0x58F38DED
MIX_LEFT, MIX_RIGHT, SHIFT = 0xCA01F9DD, 0x4973F715, 16
PCG_HIGH, PCG_LOW = 0x2360ED051FC65DA4, 0x4385DF649FCCF645  # PCG64's multiplier, 128 bits
AT_ONCE = 1 << 16  # ids, so that memory stays flat
MASK = (1 << WORD) - 1
Wide = tuple[np.ndarray, np.ndarray]
"""128-bit numbers: their high and their low half, uint64 (n,) each."""


def first_draws(seed: int, sample_ids: np.ndarray, stage: str) -> np.ndarray:
    """Return the first uniform number of each id's generator: float64 (n,) in [0, 1), equal to `rng_for` bit by bit.

    seed: >= 0; sample_ids: integers >= 0 (n,); stage: what the numbers are for.
    """
    ids, drawn = np.asarray(sample_ids, np.int64).astype(np.uint64), np.empty(len(sample_ids))
    for start in range(0, len(ids), AT_ONCE):
        part, values = ids[start : start + AT_ONCE], drawn[start : start + AT_ONCE]
        is_long = part > MASK  # two words of the key, not one
        for chosen in (is_long, ~is_long):
            if chosen.any():
                values[chosen] = _draw(_key(seed, part[chosen], stage))
    return drawn


class Known(ISpawnableSeedSequence):
    """A SeedSequence with known words for PCG64, computed for many at once. key: its entropy, for all other calls."""

    def __init__(self, key: list[int], words: np.ndarray) -> None:
        self.key, self.words = key, words

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        """Return what SeedSequence gives; 4 words of 64 bits are known already."""
        known = n_words == len(self.words) and np.dtype(dtype) == self.words.dtype
        state: np.ndarray = self.words if known else self._sequence.generate_state(n_words, dtype)
        return state

    def spawn(self, n_children: int) -> list[np.random.SeedSequence]:
        """Return children as SeedSequence spawns them."""
        return self._sequence.spawn(n_children)

    @cached_property
    def _sequence(self) -> np.random.SeedSequence:
        return np.random.SeedSequence(self.key)


def generators(seed: int, sample_ids: Sequence[int], stages: Sequence[str]) -> list[np.random.Generator]:
    """Return what `rng_for` gives for a seed and each pair of an id and a stage, made together. Ids: >= 0."""
    ids, codes = np.asarray(sample_ids, np.int64).astype(np.uint64), [zlib.crc32(stage.encode()) for stage in stages]
    words, is_long = np.empty((len(ids), POOL), np.uint64), ids > MASK
    for chosen in (is_long, ~is_long):
        if chosen.any():
            words[chosen] = np.stack(_state(_words_of(seed, ids[chosen], np.array(codes, np.uint32)[chosen])), axis=1)
    keys = zip(ids.tolist(), codes, words, strict=True)
    return [np.random.Generator(np.random.PCG64(Known([seed, i, code], own))) for i, code, own in keys]  # type: ignore[arg-type]


def _key(seed: int, ids: np.ndarray, stage: str) -> list[np.ndarray]:
    """Return the words of the keys of one stage, as `_words_of` gives them."""
    return _words_of(seed, ids, np.full(len(ids), zlib.crc32(stage.encode()), np.uint32))


def _words_of(seed: int, ids: np.ndarray, codes: np.ndarray) -> list[np.ndarray]:
    """Return the words of the keys, uint32 (n,) each. Either all ids take one word, or all take two.

    codes: of the stages, uint32 (n,).
    """
    low, high = (ids & np.uint64(MASK)).astype(np.uint32), (ids >> np.uint64(WORD)).astype(np.uint32)
    of_ids = [low, high] if high.any() else [low]
    return [*(np.full(len(ids), word, np.uint32) for word in _words(seed)), *of_ids, codes]


def _words(number: int) -> list[int]:
    """Return the 32-bit words of a number >= 0, the lowest first, at least one."""
    words = [number & MASK]
    while number := number >> WORD:
        words.append(number & MASK)
    return words


class _Hash:
    """SeedSequence's hash of words: its constant changes with every call."""

    def __init__(self, constant: int, factor: int) -> None:
        self.constant, self.factor = constant, factor

    def __call__(self, words: np.ndarray) -> np.ndarray:
        mixed = words ^ np.uint32(self.constant)
        self.constant = self.constant * self.factor & MASK
        return _folded(mixed * np.uint32(self.constant))


def _mixed(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return _folded(left * np.uint32(MIX_LEFT) - right * np.uint32(MIX_RIGHT))


def _folded(words: np.ndarray) -> np.ndarray:
    folded: np.ndarray = words ^ (words >> np.uint32(SHIFT))
    return folded


def _state(key: list[np.ndarray]) -> list[np.ndarray]:
    """Return four words of 64 bits, uint64 (n,) each: what SeedSequence gives PCG64."""
    hashed, zero = _Hash(INIT_A, MULT_A), np.zeros_like(key[0])
    pool = [hashed(word) for word in [*key, *[zero] * POOL][:POOL]]
    for source in range(POOL):
        for target in range(POOL):
            if source != target:
                pool[target] = _mixed(pool[target], hashed(pool[source]))
    for word in key[POOL:]:
        for target in range(POOL):
            pool[target] = _mixed(pool[target], hashed(word))
    given = _Hash(INIT_B, MULT_B)
    words = [given(pool[i % POOL]).astype(np.uint64) for i in range(2 * POOL)]
    return [low | high << np.uint64(WORD) for low, high in zip(words[::2], words[1::2], strict=True)]


def _draw(key: list[np.ndarray]) -> np.ndarray:
    """Return the first double of PCG64 from each key: seeding takes a step, the number itself another."""
    high, low, step_high, step_low = _state(key)
    one = np.uint64(1)
    step = step_high << one | step_low >> np.uint64(63), step_low << one | one
    state = _sum(_product(_sum(step, (high, low))), step)  # seeded
    state = _sum(_product(state), step)
    crossed, turn = state[0] ^ state[1], state[0] >> np.uint64(58)
    bits = crossed >> turn | crossed << (np.uint64(64) - turn & np.uint64(63))
    drawn: np.ndarray = (bits >> np.uint64(11)) * 2.0**-53
    return drawn


def _sum(left: Wide, right: Wide) -> Wide:
    low = left[1] + right[1]
    return left[0] + right[0] + (low < left[1]), low


def _product(state: Wide) -> Wide:
    """Return a 128-bit state times PCG64's multiplier, modulo 2**128."""
    high, low = state
    a, b = low >> np.uint64(WORD), low & np.uint64(MASK)
    c, d = np.uint64(PCG_LOW >> WORD), np.uint64(PCG_LOW & MASK)
    middle = a * d + (b * d >> np.uint64(WORD))
    other = b * c + (middle & np.uint64(MASK))
    carried = a * c + (middle >> np.uint64(WORD)) + (other >> np.uint64(WORD))
    return carried + high * np.uint64(PCG_LOW) + low * np.uint64(PCG_HIGH), low * np.uint64(PCG_LOW)
