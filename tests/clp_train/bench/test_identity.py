"""The digest on small programs: alike up to names and places, or not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clp_train.bench.identity.definitions import Rules
from clp_train.bench.identity.digest import Code

RULES = Rules(("own",), ("build",), "own.methods:METHODS", "own.a:setting", ("help",), ())


def digest(root, files, method="", roots=("own.a:f",), rules=RULES):
    """Return the digest of a program, whose files are made in a new folder; of a text alone it is own/a.py."""
    place = root / str(sum(1 for _ in root.iterdir()))
    for name, text in (files if isinstance(files, dict) else {"a": files}).items():
        path = place / "own" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Code(place, rules).digest(roots, method)


FG = "def f(a, b):\n    return g(a) + h(b)\n\n\n"
SETTING = "def f():\n    return A\ndef setting(x, help, low=0):\n    return x\nclass A:\n    "
SAME = {
    "definitions in another order": (
        FG + "def g(x):\n    return x\ndef h(x):\n    return -x",
        "def h(x):\n    return -x\ndef g(x):\n    return x\n" + FG,
    ),
    "names of functions exchanged throughout": (
        FG + "def g(x):\n    return x\ndef h(x):\n    return -x",
        FG.replace("g(", "?(").replace("h(", "g(").replace("?(", "h(")
        + "def h(x):\n    return x\ndef g(y):\n    return -y",
    ),
    "another file": (
        {"a": "from own.b import g\ndef f(x):\n    return g(x, key=1)", "b": "def g(x, key):\n    return x * key"},
        {
            "a": "def f(x):\n    from own import c\n    return c.g(x, key=1)",
            "c.d/x": "",
            "c": "def g(x, key):\n    return x * key",
        },
    ),
    "through a module that passes it on": (
        {"a": "from own.b import g\ndef f():\n    return g", "b": "def g():\n    return 1"},
        {
            "a": "from own import g\ndef f():\n    return g",
            "__init__": "from own.b import g",
            "b": "def g():\n    return 1",
        },
    ),
    "relative imports": (
        {"a": "from own.b import g\ndef f():\n    return g", "b": "def g():\n    return 1"},
        {"a": "from .b import g as h\ndef f():\n    return h", "b": "def g():\n    return 1"},
    ),
    "a keyword of a function": (
        "def f():\n    return g(n=1)\ndef g(m=0, n=0):\n    return n",
        "def f():\n    return g(k=1)\ndef g(n=0, k=0):\n    return k",
    ),
    "a keyword of a class": (
        "def f():\n    return A(n=1).n\nclass A:\n    m: int = 0\n    n: int = 0",
        "def f():\n    return A(k=1).k\nclass A:\n    m: int = 0\n    k: int = 0",
    ),
    "a method and its keyword": (
        "def f():\n    return A().go(times=1)\nclass A:\n    def go(self, times):\n        return times",
        "def f():\n    return B().hop(often=1)\nclass B:\n    def hop(self, often):\n        return often",
    ),
    "locals of nested functions": (
        "def f(x):\n    def g(y):\n        return x + y\n    return [g(z) for z in x]",
        "def f(y):\n    def x(z):\n        return y + z\n    return [x(x2) for x2 in y]",
    ),
    "one constant of several on a line": (
        "A, B = 1, 2\ndef f():\n    return A",
        "B = 2\nA = 1\ndef f():\n    return A",
    ),
    "a docstring, a message, an annotation": (
        "def f(x):\n    if x:\n        raise ValueError('no')\n    y = 1\n    return y",
        "def f(x: int) -> int:\n    'F.'\n    if x:\n        raise ValueError('never')\n    y: int = 1\n    return y",
    ),
    "what a notebook shows": (
        "def f():\n    return A()\nclass A:\n    x: int = 1",
        "def f():\n    return A()\nclass A:\n    x: int = 1\n    def _repr_html_(self):\n        return g()",
    ),
    "what a setting says of itself": (
        SETTING + "b = setting(1, 'B.', low=2)",
        SETTING + "b = setting(1, help='Bee.', low=2)",
    ),
    "a name outside by another way": (
        "import torch.nn.functional as F\ndef f(x):\n    return F.relu(x)",
        "def f(x):\n    from torch.nn.functional import relu as r\n    return r(x)",
    ),
}
OTHER = {
    "a default of a class that has the name of what it reads": (
        "def f():\n    return A()\ndef step():\n    return 1\nclass A:\n    step: int = step",
        "def f():\n    return A()\ndef step():\n    return 2\nclass A:\n    step: int = step",
    ),
    "calls exchanged": (FG + "def g(x):\n    return x\ndef h(x):\n    return -x",
                        FG.replace("g(a) + h(b)", "h(a) + g(b)") + "def g(x):\n    return x\ndef h(x):\n    return -x"),
    "arguments exchanged": ("def f(a, b):\n    return a - b", "def f(a, b):\n    return b - a"),
    "another name of a line": ("A, B = range(2)\ndef f():\n    return A", "A, B = range(2)\ndef f():\n    return B"),
    "another keyword": ("def f():\n    return g(m=1)\ndef g(m=0, n=0):\n    return n",
                        "def f():\n    return g(n=1)\ndef g(m=0, n=0):\n    return n"),
    "another keyword of a method": (
        "def f():\n    return A().go(m=1)\nclass A:\n    def go(self, m=0, n=0):\n        return n",
        "def f():\n    return A().go(n=1)\nclass A:\n    def go(self, m=0, n=0):\n        return n"),
    "another keyword of a function that is passed on": (
        "def f(o):\n    return o(g), o.x(m=1)\ndef g(m=0, n=0):\n    return n",
        "def f(o):\n    return o(g), o.x(n=1)\ndef g(m=0, n=0):\n    return n"),
    "a field by text": ("def f(a, k):\n    return A, a.m, getattr(a, k, 'm')\nclass A:\n    m = 1",
                        "def f(a, k):\n    return A, a.n, getattr(a, k, 'm')\nclass A:\n    n = 1"),
    "a hook of a foreign class": (
        "import torch\ndef f():\n    return A\nclass A(torch.nn.Module):\n    def forward(self):\n        return 1",
        "import torch\ndef f():\n    return A\nclass A(torch.nn.Module):\n    def forwards(self):\n        return 1"),
    "a hook of a class below one": (
        "import x\ndef f():\n    return A\nclass B(x.B):\n    pass\nclass A(B):\n    def go(self):\n        return 1",
        "import x\ndef f():\n    return A\nclass B(x.B):\n    pass\nclass A(B):\n    def run(self):\n        return 1"),
    "another foreign method": ("def f(x):\n    return x.mean(), A\nclass A:\n    mean = 1",
                               "def f(x):\n    return x.sum(), A\nclass A:\n    sum = 1"),
    "a local in place of a global": ("def f(x):\n    return [g for y in x]\ng = 1",
                                     "def f(x):\n    return [g for g in x]\ng = 1"),
    "the first source of a comprehension": ("def f(x):\n    return [y for y in y]\ny = 1",
                                            "def f(x):\n    return [y for y in x]\ny = 1"),
    "a decorator or a base": ("def f():\n    return B\nclass A:\n    pass\nclass B(A):\n    pass",
                              "def f():\n    return B\nclass A:\n    pass\n@A\nclass B:\n    pass"),
    "no default or None": ("def f(*, x):\n    return x", "def f(*, x=None):\n    return x"),
    "a name in a pattern": ("def f(x):\n    match x:\n        case [a, 1]:\n            return a",
                            "def f(x):\n    match x:\n        case [1 as a]:\n            return a"),
    "an outer local": ("def f():\n    a = b = 0\n    def g():\n        nonlocal a\n        a = 1\n    return g, a",
                       "def f():\n    a = b = 0\n    def g():\n        nonlocal b\n        b = 1\n    return g, a"),
    "a line that fills a constant": ("X = {}\nX[1] = 2\ndef f():\n    return X",
                                     "X = {}\nX[1] = 3\ndef f():\n    return X"),
    "what a module does": ("import cv2\ncv2.go(1)\ndef f():\n    return 1",
                           "import cv2\ncv2.go(2)\ndef f():\n    return 1"),
    "an import that may fail": ("try:\n    import a as x\nexcept ImportError:\n    x = None\ndef f():\n    return x",
                                "try:\n    import b as x\nexcept ImportError:\n    x = None\ndef f():\n    return x"),
    "a global": ("X = 1\ndef f():\n    global X\n    X = 2\n    return X", "X = 1\ndef f():\n    X = 2\n    return X"),
    "a number's type": ("def f():\n    return 1", "def f():\n    return 1.0"),
    "a function in a text": ({"a": "def f():\n    return 'own.b:g'", "b": "def g():\n    return 1"},
                             {"a": "def f():\n    return 'own.b:g'", "b": "def g():\n    return 2"}),
    "a door of a module in a text": ({"a": "def f():\n    return 'own.b'", "b": "def build():\n    return 1"},
                                     {"a": "def f():\n    return 'own.b'", "b": "def build():\n    return 2"}),
    "a text behind a module": ({"a": "def f():\n    return 'own.b:x-y'", "b": ""},
                               {"a": "def f():\n    return 'own.b:x-z'", "b": ""}),
    "the exception that is raised": ("def f():\n    raise KeyError('x')", "def f():\n    raise ValueError('x')"),
}  # fmt: skip


@pytest.mark.parametrize("what", SAME)
def test_programs_are_alike(tmp_path, what):
    first, second = SAME[what]
    assert digest(tmp_path, first) == digest(tmp_path, second)


@pytest.mark.parametrize("what", OTHER)
def test_programs_differ(tmp_path, what):
    first, second = OTHER[what]
    assert digest(tmp_path, first) != digest(tmp_path, second)


def test_a_method_is_its_lines_and_its_module(tmp_path):
    def of(module, lines, **more):
        text = f"METHODS = {{{lines}}}\nclass Entry:\n    module: str"
        files = {
            "a": "from own.methods import METHODS\ndef f(x):\n    return METHODS[x]",
            "methods/__init__": text,
            "methods/m": "def build():\n    return 1",
            "methods/n": "def build():\n    return 2",
        }
        return digest(tmp_path, files | more, module)

    both = "'one': Entry('m', 'x'), 'two': Entry('n', 'y')"
    assert of("m", both) == of("own.methods.m", both) == of("m", "'one': Entry('own.methods.m', 'x')")
    assert of("m", both) != of("n", both)
    assert of("m", both) != of("m", both.replace("'x'", "'z'"))
    assert of("m", both) == of("m", both.replace("'y'", "'z'"), **{"methods/n": "def build():\n    return 3"})
    assert of("m", both) == of("m", both.replace("'m', 'x'", "module='m'").replace("module='m'", "'m', 'x'"))
    with pytest.raises(LookupError, match=r"no module own\.methods\.gone"):
        of("gone", both)


OPERATORS = ("+", "-", "*")


@st.composite
def programs(draw):
    """Return a program as a function of its names and of one of its numbers."""
    count = draw(st.integers(2, 4))
    bodies = []
    for number in range(count):
        callees = [f"{{{other}}}" for other in range(number + 1, count)]
        leaves = st.sampled_from(["{x}", "{y}", *(f"{callee}({{y}}, {{x}})" for callee in callees), "7", "{c}"])
        parts = draw(st.lists(leaves, min_size=1, max_size=4))
        signs = [draw(st.sampled_from(OPERATORS)) for _ in parts[1:]]
        body = parts[0] + "".join(f" {sign} {part}" for sign, part in zip(signs, parts[1:], strict=True))
        following = f" + {callees[0]}({{x}}, {{c}})" if callees else " + {c}"  # so that all are reached
        bodies.append(f"def {{{number}}}({{x}}, {{y}}):\n    {{z}} = {body}{following}\n    return {{z}}")

    def text(names, constant, order):
        words = dict(zip("xyz", names[count:], strict=True))
        made = [body.format(*names[:count], c=constant, **words) for body in bodies]
        return "\n".join(made[i] for i in order)

    return count, text


@given(programs(), st.data())
def test_names_and_order_do_not_count_and_numbers_do(tmp_path_factory, program, data):
    count, text = program
    root = tmp_path_factory.mktemp("programs")
    letters = ["g", "h", "k", "m", "n", "o", "p", "q", "r"]
    names = ["f", *letters[: count + 2]]
    others = ["f", *data.draw(st.permutations(letters))[: count + 2]]
    plain = digest(root, text(names, 3, range(count)))
    order = data.draw(st.permutations(range(count)))
    assert digest(root, text(others, 3, order)) == plain
    assert digest(root, text(names, 4, range(count))) != plain
