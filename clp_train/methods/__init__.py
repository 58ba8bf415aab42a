"""The registry of methods. Each implements `algorithm.method.Method`; a new one is one file and a line here.

A method's module has `build(options, context) -> Method` and, if it has settings of its own, a frozen dataclass
`Options`, or one per method in a dictionary `OPTIONS`. `--set` and presets name them together with the settings of
every run. A method that is not listed here is a plug-in: module:name, file.py:name, or a name that an installed package
has added.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from clp_aug.common.plugins import Plugin, annotated, find, parameters, summary_of
from clp_aug.common.settings import Settings, fields_of
from clp_aug.contract.errors import listed, pick
from clp_train.algorithm.settings import META_DELTA, META_STEP, SALIENCY

if TYPE_CHECKING:
    from clp_train.algorithm.method import Context, Method


@dataclass(frozen=True)
class Entry:
    """One registered method.

    module: its file beside this one; source: the paper; family: what it changes; needs: of "meta" (clean meta
    pictures), "groups" (labels of every training picture), "stages" (more than one) and "noise" (the share of wrong
    labels); cost: of a run, in runs of plain cross entropy, by counting passes; parts: of META_STEP, META_DELTA and
    SALIENCY; it has their settings besides those of every run; exact_under_ranks: whether several ranks give the same
    run as one process, except for rounding. This holds for every method that only uses a network's outputs on whole
    batches.
    """

    module: str
    source: str
    family: str
    needs: tuple[str, ...] = ()
    cost: str = "1"
    parts: tuple[str, ...] = ()
    exact_under_ranks: bool = True


@dataclass(frozen=True)
class NoOptions(Settings):
    """A method without settings of its own."""


NEEDS = ("meta", "groups", "stages", "noise")
PARTS = (META_STEP, META_DELTA, SALIENCY)
META, DELTA = (META_STEP,), (META_STEP, META_DELTA)

METHODS = {
    "erm": Entry("erm", "plain cross entropy", "reference"),
    "cb-ce": Entry("class_balanced", "Cui et al. 2019", "weights"),
    "focal": Entry("focal", "Lin et al. 2017", "losses"),
    "cb-focal": Entry("focal", "Cui et al. 2019", "losses"),
    "ldam": Entry("margins", "Cao et al. 2019", "logits"),
    "ldam-drw": Entry("margins", "Cao et al. 2019", "logits"),
    "ala": Entry("margins", "Zhao et al. 2022", "logits"),
    "logit-adjust": Entry("logit_adjust", "Menon et al. 2021", "logits"),
    "la-posthoc": Entry("logit_adjust", "Menon et al. 2021", "prediction"),
    "balanced-softmax": Entry("logit_adjust", "Ren et al. 2020", "logits"),
    "background-adjust": Entry("background_adjust", "after Clark et al. 2019: ours", "logits"),
    "lpl": Entry("lpl", "Li et al. 2022", "logits"),
    "crt": Entry("decoupled", "Kang et al. 2020", "stages", ("stages",), "0.9"),
    "lws": Entry("decoupled", "Kang et al. 2020", "stages", ("stages",), "0.9"),
    "cb-fine-tune": Entry("decoupled", "Cui et al. 2018", "stages", ("stages",)),
    "tde": Entry("tde", "Tang et al. 2020", "prediction"),
    "rand-aug": Entry("rand_aug", "Cubuk et al. 2020, in the form of Tang et al. 2022", "pictures"),
    "train-infills": Entry("train_infills", "control", "pictures"),
    "isda": Entry("isda", "Wang et al. 2019", "logits"),
    "metasaug": Entry("metasaug", "Li et al. 2021", "logits", ("meta",), "1.5", META),
    "risda": Entry("risda", "Chen et al. 2022", "logits"),
    "ifl": Entry("ifl", "Tang et al. 2022", "environments"),
    "csa": Entry("csa", "Shi et al. 2023", "mixing", cost="2.3"),
    "mwn": Entry("mwn", "Shu et al. 2019", "weights", ("meta",), "3.3", META),
    "meta-lp": Entry("clp", "section 4 of the paper", "logits", ("meta",), "3.3", DELTA),
    "clp": Entry("clp", "Algorithm 1 of the paper", "logits", ("meta",), "6", (*DELTA, SALIENCY)),
    "apl": Entry("apl", "Ma et al. 2020", "losses"),
    "co-teaching": Entry("peers", "Han et al. 2018", "peers", ("noise",), "2"),
    "jocor": Entry("peers", "Wei et al. 2020", "peers", ("noise",), "2"),
    "l2rw": Entry("l2rw", "Ren et al. 2018", "weights", ("meta",), "3.3", META),
    "glc": Entry("glc", "Hendrycks et al. 2018", "losses", ("meta", "stages"), "1"),
    "l-dmi": Entry("dmi", "Xu et al. 2019", "losses", ("stages",)),
    "mentornet": Entry("mentornet", "Jiang et al. 2018", "weights"),
    "mfrw-mes": Entry("mfrw", "Ricci et al. 2023, MES in our reading", "features", ("meta",), "3.3", META),
    "group-weight": Entry("controls", "control", "weights", ("groups",)),
    "group-sample": Entry("controls", "control", "sampling", ("groups",)),
    "irm": Entry("environment_penalties", "Arjovsky et al. 2019", "penalties", ("groups",)),
    "ib-irm": Entry("environment_penalties", "Ahuja et al. 2021", "penalties", ("groups",)),
    "v-rex": Entry("environment_penalties", "Krueger et al. 2021", "penalties", ("groups",)),
    "coral": Entry("environment_penalties", "Sun and Saenko 2016", "penalties", ("groups",)),
    "uw": Entry("controls", "Sagawa et al. 2020, as a loss", "weights", ("groups",)),
    "uw-sample": Entry("controls", "Sagawa et al. 2020", "sampling", ("groups",)),
    "group-dro": Entry("group_dro", "Sagawa et al. 2020", "weights", ("groups",)),
    "domain-mix": Entry("selective_mixing", "Xu et al. 2020; our definition", "mixing", ("groups",)),
    "lisa": Entry("selective_mixing", "Yao et al. 2022", "mixing", ("groups",)),
    "mixup": Entry("mixup", "Zhang et al. 2018", "mixing"),
    "dac": Entry("dac", "Noohdani et al. 2024", "mixing", ("stages",), "1.2"),
    "cnc": Entry("cnc", "Zhang et al. 2022", "stages", ("stages",)),
    "eiil": Entry("eiil", "Creager et al. 2021", "stages", ("stages",)),
    "lff": Entry("lff", "Nam et al. 2020", "peers", cost="2"),
    "spare": Entry("spare", "Yang et al. 2024", "sampling"),
    "self": Entry("self_last_layer", "LaBonte et al. 2023", "stages", ("stages",), "0.7"),
    "jtt": Entry("jtt", "Liu et al. 2021", "stages", ("stages",)),
    "afr": Entry("afr", "Qiu et al. 2023", "weights", ("stages",), "0.64"),
    "pde": Entry("pde", "Deng et al. 2023", "stages", ("groups", "stages"), "0.05"),
    "ace": Entry("ace", "after Singla et al. 2023: ACE-lite, ours", "stages", ("meta", "stages")),
    "meta-only": Entry("controls", "control", "sampling", ("meta",)),
    "dfr": Entry("dfr", "Kirichenko et al. 2023", "stages", ("meta", "groups", "stages")),
}
"""Modules are beside this file and load only when they are needed."""


def plugin_of(name: str) -> Plugin | None:
    """Return the plug-in of a name, None for a registered method. Raises UsageError for an unknown name."""
    return find(METHODS, name, "method")


def entry_of(name: str) -> Entry:
    """Return the entry of a method, registered or a plug-in. Raises UsageError for an unknown name."""
    plugin = plugin_of(name)
    return METHODS[name] if plugin is None else own_entry(plugin)


def module_of(name: str) -> ModuleType:
    """Return the module of a registered method. Raises UsageError for an unknown name."""
    return importlib.import_module(f"{__name__}.{pick(METHODS, name, 'method').module}")


def options_of(name: str) -> type:
    """Return the dataclass of a method's own settings. Raises UsageError for an unknown name."""
    plugin = plugin_of(name)
    if plugin is not None:
        return own_options(plugin)
    module = module_of(name)
    by_method: Mapping[str, type] = getattr(module, "OPTIONS", {})
    return by_method.get(name, getattr(module, "Options", NoOptions))


def make_options(name: str, values: Mapping[str, object]) -> Any:
    """Return a method's own settings, with defaults for those that `values` does not have.

    Raises UsageError for a setting that the method does not have, SettingError for a value that the dataclass refuses.
    """
    kind = options_of(name)
    for key in values:
        pick(fields_of(kind), key, f"setting of method {name}")
    return kind(**values)


def build_method(options: Any, context: Context) -> Method:
    """Return the method that context.method names, ready for its first step.

    options: its own settings, of `options_of`. Raises UsageError for an unknown name, SettingError for a run that the
    method does not support.
    """
    plugin = plugin_of(context.method)
    return module_of(context.method).build(options, context) if plugin is None else build_own(plugin, options, context)


def own_entry(plugin: Plugin) -> Entry:
    """Return the entry of a plug-in method: its attributes that have names of `Entry`'s fields.

    Defaults for missing attributes: the source is the first line of its docstring, it needs and takes nothing, and it
    is not exact under ranks. Raises UsageError for attributes of a wrong kind.
    """
    facts = {name: getattr(plugin.value, name, ()) for name in ("needs", "parts")}
    for name, known in (("needs", NEEDS), ("parts", PARTS)):
        if not isinstance(facts[name], tuple) or not set(facts[name]) <= set(known):
            raise plugin.refuse(
                f"{name} = {facts[name]!r}; expected a tuple of {listed(known)}, such as ({known[0]!r},)"
            )
    texts = {"source": summary_of(plugin.value), "family": "own", "cost": "?"}
    texts = {name: str(getattr(plugin.value, name, text)) for name, text in texts.items()}
    exact = getattr(plugin.value, "exact_under_ranks", False) is True
    return Entry("", texts["source"], texts["family"], facts["needs"], texts["cost"], facts["parts"], exact)


def own_options(plugin: Plugin) -> type:
    """Return the dataclass of a plug-in's own settings: the annotation of its parameter `options`.

    Raises UsageError for a parameter without such an annotation.
    """
    if not callable(plugin.value):
        raise plugin.refuse(
            f"it is of type {type(plugin.value).__name__}; expected a Method, or a function that makes one"
        )
    if "options" not in parameters(plugin.value):
        return NoOptions
    kind = annotated(plugin.value, "options")
    if not (isinstance(kind, type) and issubclass(kind, Settings) and is_dataclass(kind)):
        raise plugin.refuse(
            "annotate its parameter options with a frozen dataclass of settings, a subclass of Settings"
        )
    return kind


def build_own(plugin: Plugin, options: Any, context: Context) -> Method:
    """Return the method that a plug-in makes.

    The plug-in is a subclass of `Method` or a function that returns a method. It is called with those of `options` and
    `context` that it has as parameters. Raises UsageError for anything else.
    """
    from clp_train.algorithm.method import Method

    method = plugin.call_with(options=options, context=context)
    if not isinstance(method, Method):
        raise plugin.refuse(f"it made {type(method).__name__}; expected an object of clp_train.algorithm.method.Method")
    return method
