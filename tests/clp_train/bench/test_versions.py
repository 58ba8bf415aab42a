"""What makes a run new: the code that it reaches and its preset; not a move, not a rename, not another method.

Every case is made on a copy of the tree, at places that are found by what is defined there.
"""

import ast
import re
import shutil
from dataclasses import dataclass, replace

import pytest

from clp_train.bench.identity.digest import Code
from clp_train.bench.versions import ROOT, RULES, RUN, SHARD, code_version, digest_of, run_version, shard_version
from clp_train.methods import METHODS

METHOD = {name: METHODS[name].module for name in ("clp", "erm", "mwn", "rand-aug")}
WHO = {*METHOD, "shard"}
RUNS = set(METHOD)
NOT_REACHED = (
    r"\.(bench|report|fitting|making|inspecting|cli|data_cli|common|listing|next_command|list_settings|presets|run_folder"
    r"|run|run_name|ending|finishing|board|export|leaving|predict_cli|predicting|testing|library|bilevel|meta_loader"
    r"|own_losses|wrapping|confusion|more_epochs|auditing|audits|audit_cli|audit_data_cli|compare_cli|fit_cli"
    r"|inspect_cli|notebook|known)\b|^clp_train$"
)
"""Rooms and modules with nothing that a run depends on, beside those of UNUSED."""
UNUSED = r"\.(memory|terminal|rectangles|state|inpaint_critics)$"


@dataclass
class Copy:
    """A copy of the tree to change. constants: roots and rules, which change with what they name."""

    root: object
    constants: dict

    def paths(self):
        return sorted(self.root.rglob("*.py"))

    def home(self, start):
        """Return the one file in which a line at the margin starts so, the bench aside."""
        found = [path for path in self.paths() if re.search(rf"^{re.escape(start)}", path.read_text(), re.MULTILINE)]
        found = [path for path in found if "bench" not in path.parts]
        assert len(found) == 1, (start, found)
        return found[0]

    def name(self, path):
        """Return a file's module."""
        parts = path.relative_to(self.root).with_suffix("").parts
        return ".".join(part for part in parts if part != "__init__")

    def change(self, start, before, after):
        """Change what stands once in the file where something is defined."""
        path = self.home(start)
        text = path.read_text()
        assert text.count(before) == 1, (path, before, text.count(before))
        path.write_text(text.replace(before, after))

    def within(self, name, before, after):
        """Change a word in one function."""
        path = self.home(f"def {name}(")
        (node,) = (line for line in ast.parse(path.read_text()).body if getattr(line, "name", "") == name)
        lines = path.read_text().splitlines(keepends=True)
        for number in range(node.lineno - 1, node.end_lineno):
            lines[number] = re.sub(rf"\b{before}\b", after, lines[number])
        path.write_text("".join(lines))

    def everywhere(self, pattern, after, may_lack=False):
        """Change a pattern in all files, and in the constants."""
        changed = 0
        for path in self.paths():
            text = path.read_text()
            path.write_text(re.sub(pattern, after, text))
            changed += path.read_text() != text
        assert changed or may_lack, pattern
        again = {key: tuple(re.sub(pattern, after, one) for one in value) for key, value in self.constants.items()}
        self.constants = again

    def trees(self, transform):
        """Change the syntax trees of all files."""
        for path in self.paths():
            path.write_text(ast.unparse(ast.fix_missing_locations(transform(ast.parse(path.read_text())))) + "\n")

    def move(self, start, to):
        """Move the module where something is defined, and name it anew wherever it is imported or named in a text."""
        path = self.home(start)
        old, (room, _, name) = self.name(path), to.rpartition(".")
        target = self.root.joinpath(*to.split(".")).with_suffix(".py")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.parent.joinpath("__init__.py").touch()
        path.rename(target)
        above, _, last = old.rpartition(".")
        self.everywhere(rf"\b{re.escape(old)}\b", to, may_lack=True)
        self.everywhere(rf'Entry\("{last}"', f'Entry("{to}"', may_lack=True)
        for path in self.paths():
            text = path.read_text()
            for line in re.findall(rf"^ *from {re.escape(above)} import [\w, ]+$", text, re.MULTILINE):
                others = [one for one in re.split(r", *", line.partition(" import ")[2]) if one != last]
                if f", {last}" in line or f"import {last}" in line:
                    indent = line[: len(line) - len(line.lstrip())]
                    lines = [f"{indent}from {room} import {name} as {last}"]
                    lines += [f"{indent}from {above} import {', '.join(others)}"] if others else []
                    text = text.replace(line, "\n".join(lines))
            path.write_text(text)

    def identities(self):
        """Return the identities of the shard and of runs of several methods."""
        rules = replace(RULES, **{key: value for key, value in self.constants.items() if key in ("doors", "written")})
        rules = replace(rules, registry=self.constants["registry"][0], documented=self.constants["documented"][0])
        code = Code(self.root, rules)
        room = rules.registry.partition(":")[0]
        modules = {name: self.registered(name, room) for name in METHOD}
        runs = {name: code.digest(self.constants["run"], module) for name, module in modules.items()}
        return runs | {"shard": code.digest(self.constants["shard"])}

    def registered(self, name, room):
        """Return the module of a method as the copy's registry names it."""
        text = self.home("METHODS = {").read_text()
        return re.search(rf"['\"]{name}['\"]: Entry\(['\"]([\w.]+)['\"]", text)[1]


@pytest.fixture
def copy(tmp_path):
    for package in RULES.packages:
        for path in (ROOT / package).rglob("*.py"):
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    constants = {"run": RUN, "shard": SHARD, "doors": RULES.doors, "written": RULES.written}
    return Copy(tmp_path, constants | {"registry": (RULES.registry,), "documented": (RULES.documented,)})


@pytest.fixture(scope="module")
def plain():
    code = Code(ROOT, RULES)
    return {name: code.digest(RUN, module) for name, module in METHOD.items()} | {"shard": code.digest(SHARD)}


class WithoutAnnotations(ast.NodeTransformer):
    def visit_FunctionDef(self, node):
        node.returns = None
        for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            one.annotation = None
        return self.generic_visit(node)


class OtherMessages(ast.NodeTransformer):
    def visit_Raise(self, node):
        for part in ast.walk(node):
            if isinstance(part, ast.JoinedStr):
                part.values = [ast.Constant("other")]
            elif isinstance(part, ast.Constant) and isinstance(part.value, str):
                part.value = "other"
        return node


def reversed_lines(tree):
    future = [line for line in tree.body if isinstance(line, ast.ImportFrom) and line.module == "__future__"]
    tree.body = future + [line for line in reversed(tree.body) if line not in future]
    return tree


def dressed(copy):
    for path in copy.paths():
        lines = ["", "", "def nobody_calls_it(x: int):", '    """Say nothing."""', "    return x  # why", ""]
        path.write_text("# a comment\n" + path.read_text() + "\n".join(lines))


def one_function_elsewhere(copy):
    path, target = copy.home("def centres("), copy.home("def parse_noise(")
    text = path.read_text()
    (node,) = (line for line in ast.parse(text).body if getattr(line, "name", "") == "centres")
    lines = text.splitlines(keepends=True)
    moved = "".join(lines[node.lineno - 1 : node.end_lineno])
    imported = f"import torch\nfrom {copy.name(target)} import centres\n"
    path.write_text(text.replace(moved, "").replace("import torch\n", imported, 1))
    target.write_text(target.read_text() + "\n\nimport torch as t\n" + moved.replace("torch.", "t."))


def another_method(copy):
    copy.change("METHODS = {", '    "mwn": Entry(', '    "own": Entry("own", "ours", "logits"),\n    "mwn": Entry(')


def registry_reversed(copy):
    path = copy.home("METHODS = {")
    tree = ast.parse(path.read_text())
    for line in tree.body:
        if isinstance(getattr(line, "value", None), ast.Dict):
            line.value.keys.reverse()
            line.value.values.reverse()
    path.write_text(ast.unparse(tree))


def whole_names_in_the_registry(copy):
    path = copy.home("METHODS = {")
    path.write_text(re.sub(r'Entry\("(?!clp_|")', f'Entry("{copy.name(path)}.', path.read_text()))


OTHERWISE = "import torch.nn.functional as F"
SAME = {
    "move a module": lambda copy: copy.move("def load_or_fill(", "clp_train.loading.cache"),
    "move a module that others import as a module": lambda copy: copy.move("def meta_of_kinds(", "clp_train.x.y"),
    "move a module that stands in a text": lambda copy: copy.move("def wide_crop_flip(", "clp_train.moving.joint"),
    "move a fill": lambda copy: copy.move("def grey(", "clp_aug.plain.grey"),
    "move data sets": lambda copy: copy.move("LONG_TAILED, BALANCED =", "clp_aug.sets.tails"),
    "move a method": lambda copy: copy.move("class MetaLp(", "clp_train.own.ours"),
    "move a root": lambda copy: copy.move("def make_config(", "clp_train.settings.run"),
    "move what is written": lambda copy: copy.move("class Metrics", "clp_train.evaluating.metrics"),
    "rename a module": lambda copy: copy.move("class Omega(", "clp_train.omega"),
    "move one function": one_function_elsewhere,
    "rename a function": lambda copy: copy.everywhere(r"\bcentres\b", "middles"),
    "rename a root": lambda copy: copy.everywhere(r"\bresult_of\b", "all_of_it"),
    "rename a class": lambda copy: copy.everywhere(r"\bStepLosses\b", "OfStep"),
    "rename a constant": lambda copy: copy.everywhere(r"\bRIGHT_UP\b", "UP_RIGHT"),
    "rename a field": lambda copy: copy.everywhere(r"\blearner\b", "pupil"),
    "rename a method of a class": lambda copy: copy.everywhere(r"\bobserve\b", "look_at_it"),
    "rename a local": lambda copy: copy.within("draw_evenly", "counts", "much"),
    "rename a parameter": lambda copy: copy.within("centres", "n", "many"),
    "import otherwise": lambda copy: copy.everywhere(r"from torch.nn import functional as F", OTHERWISE),
    "other order in all files": lambda copy: copy.trees(reversed_lines),
    "other layout of all files": lambda copy: copy.trees(lambda tree: tree),
    "no annotations": lambda copy: copy.trees(WithoutAnnotations().visit),
    "other messages of errors": lambda copy: copy.trees(OtherMessages().visit),
    "comments and unused code": dressed,
    "another method": another_method,
    "another order of methods": registry_reversed,
    "whole names in the registry": whole_names_in_the_registry,
}  # fmt: skip


@pytest.mark.parametrize("how", SAME)
def test_a_move_or_a_rename_makes_nothing_new(copy, plain, how):
    SAME[how](copy)
    assert copy.identities() == plain


NEW = {
    "a constant of one method": ("class Omega(", "BOUND = 3.0", "BOUND = 3.5", {"clp"}),
    "an operator of one method": ("class Omega(", "BOUND * raw.tanh()", "BOUND + raw.tanh()", {"clp"}),
    "a method's own file": ("class WeightNet(", "WIDTH, DECAY = 100,", "WIDTH, DECAY = 101,", {"mwn"}),
    "a line of the registry": ("METHODS = {", '"plain cross entropy", "reference"', '"plain", "reference"', {"erm"}),
    "what looks into the registry": ("METHODS = {", '"OPTIONS", {}', '"OPTIONS", {1: 2}', RUNS),
    "a list of one method": ("def rand_augment(", "rng.choice([-1, 1]", "rng.choice([1, -1]", {"rand-aug"}),
    "a function of torch": ("def centres(", "torch.rand((4, n)", "torch.randn((4, n)", RUNS),
    "an operator of the loop": ("def epoch_steps(", "at.step += 1", "at.step -= 1", RUNS),
    "arguments": ("def spread(group", "np.lexsort((group, turn))", "np.lexsort((turn, group))", RUNS),
    "a default": ("class SgdSettings", "momentum: float = setting(0.9", "momentum: float = setting(0.8", RUNS),
    "the order of calls": (
        "def conclude_epoch(",
        "at.losses, at.begun = [], False",
        "at.begun, at.losses = False, []",
        RUNS,
    ),
    "a key of the result": ("def result_of(", '"train_group_counts"', '"counts"', RUNS),
    "a key of the history": ('RIGHT_UP, WRONG_UP = "', '"raised_right"', '"raised"', RUNS),
    "a model that is found by name": ("def build(blocks", "/ math.sqrt(WIDTHS[-1])",
                                      "* math.sqrt(WIDTHS[-1])", RUNS),
    "where Grad-CAM looks": ("def inside_share(", "SHOWN, BATCH = 24, 50", "SHOWN, BATCH = 24, 51", RUNS),
    "a fill": ("def grey(", "np.full_like(", "np.zeros_like(", {"shard"}),
    "a default of the shard": ("class AugmentConfig", "pad: int = setting(0,", "pad: int = setting(1,", {"shard"}),
    "a setting of a fill": ("def cagan(", '"own", "Layout of published', '"tf", "Layout of published', {"shard"}),
    "the version": ("__version__", '"0.1.0"', '"0.2.0"', {"shard"}),
    "what both read": ("def rng_for(", "[seed, sample_id,", "[sample_id, seed,", WHO),
}  # fmt: skip


@pytest.mark.parametrize("what", NEW)
def test_a_change_makes_new_what_reaches_it(copy, plain, what):
    start, before, after, new = NEW[what]
    copy.change(start, before, after)
    found = copy.identities()
    assert {name for name in plain if found[name] != plain[name]} == new


def test_a_field_that_goes_into_files_counts_by_its_name(copy, plain):
    copy.everywhere(r"\bper_group\b", "of_group")
    found = copy.identities()
    assert {name for name in plain if found[name] != plain[name]} == RUNS


def test_two_methods_of_an_object_exchanged_in_use_make_runs_new(copy, plain):
    copy.change("def train_step(", "method.observe(view)", "method.update(view)")
    assert not {name for name in RUNS if copy.identities()[name] == plain[name]}


def test_a_constant_that_names_nothing_is_told(copy):
    copy.constants["written"] = (*RULES.written, "clp_train.metrics:Gone")
    with pytest.raises(LookupError, match=r"no definition clp_train\.metrics:Gone"):
        copy.identities()


def test_every_module_is_reached_or_known_not_to_be():
    code = Code(ROOT, RULES)
    room = RULES.registry.partition(":")[0]
    found = set(code.reach(map(code.names.definition, SHARD), ""))
    for module in {entry.module for entry in METHODS.values()}:
        whole = module if module.startswith(room) else f"{room}.{module}"
        found |= set(code.reach(map(code.names.definition, RUN), whole))
        assert (whole, "build") in {place[:2] for place in found}
    reached = {place.module for place in found}
    lacking = {name for name, module in code.names.modules.items() if module.units} - reached
    assert {name for name in lacking if not re.search(NOT_REACHED, name) and not re.search(UNUSED, name)} == set()


def test_a_preset_counts_with_what_it_says_of_the_method(tmp_path):
    path = tmp_path / "own.toml"

    def version(text, method="mwn"):
        path.write_text(text)
        return run_version(method, ["--preset", str(path), "--seed", "1"])

    first = version("[settings]\nepochs = 2")
    assert version("# a comment\n[settings]\nepochs = 2") == first
    assert version("[settings]\nepochs = 3") != first
    assert version("[settings]\nepochs = 2\n[methods.mwn]\nnormaliser = 'n'") != first
    assert version("[settings]\nepochs = 2\n[methods.erm]\nepochs = 3") == first
    assert run_version("mwn", ["--seed", "1"]) not in (first, run_version("erm", ["--seed", "1"]))


def test_all_versions_are_short_and_of_each_module_one():
    versions = {entry.module: run_version(name, []) for name, entry in METHODS.items()}
    assert len(set(versions.values())) == len(versions)
    assert {len(one) for one in (*versions.values(), shard_version(), code_version(), digest_of({}))} == {12}
