"""A digest of the definitions that some roots reach, independent of their names and places.

Definitions are numbered in the order of their first mention, and so are our names inside them; foreign names count as
they are. So moves, renames and another order in a file change nothing. Another constant, operator or callee changes the
digests of all roots that reach it. Some of our names are not numbered, because others know them: names in texts, names
of members of a class that has a foreign base or is written into files, and names that foreign objects also have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clp_train.bench.identity.definitions import Rules, Written, whole_name
from clp_train.bench.identity.names import EFFECTS, Names, Own
from clp_train.bench.identity.tokens import Writer

MEMBERS = """
T abs add add_ add_module add_param_group addcmul addcmul_ addmm_ addr_ alignment all alpha_composite amax amin any
append apply argmax argmin args argsort as_posix astype attrs axis backward base beta bias bincount bool bytes ceil
choice choose chunk chunks clamp clip clone close code compile contiguous convert copy copy_ cos count cpu create
create_dataset crop cumsum data decode default default_factory defaults detach device diff difference digest dim div
divide double dtype dump dumps encode endswith entropy eps errno eval exist_ok exists exp exp_ expand expand_as expm1
extend external f fields file file_size filename fileno fill fill_ find flatten fletcher32 flip float floor flush
format forward fromkeys fullmatch gamma gather get get_id get_info get_offset get_submodule getchannel getexif
getextrema getvalue glob grad group groups half height hexdigest id in_features index index_add index_add_ index_fill_
index_select info infolist init initial insert integers is_absolute is_dir is_file is_floating_point is_virtual
isascii isdecimal isdigit isdisjoint isfinite isidentifier isinf isnan isprintable item items itemsize iterdir join
joinpath keepdim kernel_size keys kind layout lerp ljust load load_state_dict log log_softmax logsumexp long lower mT
manual_seed masked_fill max maximum mean median memory_format metadata min minimum missing_ok mkdir mode module
modules momentum move mul_ multinomial name named_buffers named_children named_modules named_parameters namelist names
nan_to_num nbytes ndim needs_input_grad new new_zeros newbyteorder nonzero norm numel numpy offset open out
out_features p padding param_groups parameters parent parents partition parts paste path pattern permutation permute
permuted pop prod put quantile random read read_bytes read_text register_buffer register_forward_hook relative_to relu
remove removeprefix removesuffix repeat replace requires_grad requires_grad_ reshape resize resolve rglob rmdir root
rotate round rpartition rsplit rsqrt rstrip run save save_for_backward saved_tensors scatter searchsorted seed
set_materialize_grads set_submodule setdefault shape short show shuffle sigmoid sign sin size slogdet softmax sort
split splitlines sqrt square squeeze start startswith stat state state_dict std stem step stop strerror strict stride
strip sub sub_ suffix sum take tanh terminate tile tiny title to to_bytes tobytes tolist total touch train training
transform transpose truncate type unbind unflatten unfold uniform uniform_ union unique unlink update validate values
var verify view visit weight where width with_name with_suffix write write_bytes write_text zero_ zero_grad
"""
FOREIGN = frozenset(MEMBERS.split())
"""Names of members that objects of Python, NumPy and PyTorch have, and of keywords that they take: a list, so that no
digest depends on the installed packages."""


@dataclass
class Code:
    """The code below a folder."""

    root: Path
    rules: Rules
    names: Names = field(init=False)
    cache: dict[tuple[Own, str], Written] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = Names(self.root, self.rules.packages)

    def digest(self, roots: Sequence[str], method: str = "") -> str:
        """Return the sha256 of everything that "module:name" roots reach, in hexadecimal.

        method: the module of the run's method, as in the registry. Raises LookupError for a root that does not exist.
        """
        module = whole_name(method, self.rules.registry.partition(":")[0]) if method else ""
        if method and module not in self.names.modules:
            raise LookupError(f"no module {module}; mend the constant that names the registry of methods")
        for name in (*self.rules.written, *filter(None, [self.rules.registry if method else ""])):
            self.names.definition(name)
        starts = [self.names.definition(root) for root in roots]
        definitions = self.reach(starts, module)
        return hashlib.sha256("\n".join(Numbered(definitions).lines(starts)).encode()).hexdigest()

    def reach(self, starts: Iterable[Own], method: str) -> dict[Own, Written]:
        """Return these definitions and all that they reach, as written."""
        definitions: dict[Own, Written] = {}
        queue = list(starts)
        while queue:
            place = queue.pop()._replace(place=0)
            if place not in definitions:
                definitions[place] = self.write_definition(place, method)
                queue += [token[1] for token in definitions[place].tokens if token[0] == "ref"]
                if EFFECTS in self.names.modules[place.module].units:
                    queue.append(Own(place.module, EFFECTS))
        return definitions

    def write_definition(self, place: Own, method: str) -> Written:
        """Return one definition as written; only the registry of methods depends on the method."""
        key = place, method if f"{place.module}:{place.name}" == self.rules.registry else ""
        if key not in self.cache:
            self.cache[key] = join_texts(Writer(self.names, self.rules, place, key[1]).write_definition())
        return self.cache[key]


def join_texts(definition: Written) -> Written:
    """Join neighbouring texts of a definition to one."""
    tokens: list[tuple[Any, ...]] = []
    texts: list[str] = []
    for token in definition.tokens:
        if len(token) == 1:
            texts.append(token[0])
            continue
        tokens += [("\n".join(texts),)] if texts else []
        tokens.append(token)
        texts = []
    definition.tokens = tokens + ([("\n".join(texts),)] if texts else [])
    return definition


class Numbered:
    """Definitions and members by number, in the order of their first mention."""

    def __init__(self, definitions: dict[Own, Written]) -> None:
        self.definitions = definitions
        self.places: dict[Own, int] = {}
        self.members: dict[str, int] = {}
        self.escaped = set().union(*(entry.escapes for entry in definitions.values()))
        tokens = {place: entry.tokens for place, entry in definitions.items()}
        self.keywords = {token[1] for part in tokens.values() for token in part if token[0] == "keyword"}
        own_names = set().union(*(entry.members for entry in definitions.values()))
        own_names |= {token[1] for place, part in tokens.items() for token in part if self.may_be_keyword(place, token)}
        literal = set(FOREIGN).union(*(entry.literal for entry in definitions.values()))
        self.own_names = {name for name in own_names - literal if not (name.startswith("__") and name.endswith("__"))}

    def may_be_keyword(self, place: Own, token: tuple[Any, ...]) -> bool:
        """Return whether a token of a definition is a parameter that a call of an unknown function may name."""
        return token[0] == "parameter" and token[1] in self.keywords and (token[2] or place in self.escaped)

    def lines(self, starts: Sequence[Own]) -> Iterator[str]:
        """Yield the lines of the digest."""
        for place in starts:
            yield self.place(place)
        count = 0
        while count < len(self.places):
            place = list(self.places)[count]
            yield f"definition {count}"
            yield from self.of_definition(place)
            count += 1

    def of_definition(self, place: Own) -> Iterator[str]:
        """Yield the lines of one definition, and a reference to the other effects of its module's import."""
        for token in self.definitions[place].tokens:
            if token[0] == "ref":
                yield self.place(token[1])
            elif token[0] in ("member", "keyword"):
                yield self.member(token[1])
            elif len(token) == 1:
                yield token[0]
            elif self.may_be_keyword(place, token):
                yield self.member(token[1])
        effects = Own(place.module, EFFECTS)
        if effects in self.definitions:
            yield self.place(effects)

    def place(self, place: Own) -> str:
        """Return a definition's number, and the index of the meant name."""
        return f"ref {self.places.setdefault(place._replace(place=0), len(self.places))} {place.place}"

    def member(self, name: str) -> str:
        """Return the number of one of our names; return other names as they are."""
        return (
            f"member {self.members.setdefault(name, len(self.members))}" if name in self.own_names else f"name {name}"
        )
