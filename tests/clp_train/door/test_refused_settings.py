"""A setting that the run would not use is refused in one line at the command line, and the line says what to do."""

import pytest

from clp_aug.common.plugins import FORM
from clp_train.methods import METHODS
from tests.clp_train.door.calling import call

META_STEP = "metasaug, mwn, meta-lp, clp, l2rw and mfrw-mes"
NOT_USED = {  # arguments -> how the message tells them, the method, and who uses the setting
    "--method erm --set omega_form=bounded": ("--set omega_form=bounded", "erm", "meta-lp and clp"),
    "--method erm --saliency-lambda 0.5": ("--saliency-lambda 0.5", "erm", "clp"),
    "--method erm --set saliency_lambda=0.5": ("--saliency-lambda 0.5", "erm", "clp"),
    "--method erm --omega-lr 0.01": ("--omega-lr 0.01", "erm", "mwn, meta-lp, clp and mfrw-mes"),
    "--method erm --meta-batch-size 20": ("--meta-batch-size 20", "erm", META_STEP),
    "--method erm --meta-delta paper": ("--meta-delta paper", "erm", "meta-lp and clp"),
    "--method erm --set meta_step=lagged": ("--set meta_step=lagged", "erm", META_STEP),
    "--method erm --set online=mix-rand": ("--set online=mix-rand", "erm", META_STEP),
    "--method mwn --meta-delta paper": ("--meta-delta paper", "mwn", "meta-lp and clp"),
    "--method meta-lp --saliency-lambda 0.1": ("--saliency-lambda 0.1", "meta-lp", "clp"),
    "--method meta-lp --saliency-interval 5": ("--saliency-interval 5", "meta-lp", "clp"),
    "--method meta-lp --saliency-target logit": ("--saliency-target logit", "meta-lp", "clp"),
    "--method meta-lp --set saliency_on=train": ("--set saliency_on=train", "meta-lp", "clp"),
    "--set strength=2": (
        "--set strength=2", "clp", "isda, metasaug, risda, irm, ib-irm and 3 more",
    ),
    "--method isda --set method=erm --set strength=2": (
        "--set strength=2", "erm", "isda, metasaug, risda, irm, ib-irm and 3 more",
    ),
}  # fmt: skip


@pytest.mark.parametrize("arguments", NOT_USED)
def test_a_setting_of_other_methods(arguments, told):
    shown, method, users = NOT_USED[arguments]
    done = call("--meta", "x.h5", *arguments.split())
    assert (done.exit_code, done.stdout, told) == (2, "", [])
    assert done.stderr == f"error: {shown}: method {method} does not use it; it is a setting of {users}\n"


def test_it_is_refused_with_its_default_value_too(told):
    done = call("--meta", "x.h5", "--method", "erm", "--saliency-lambda", 0.2)
    assert (done.exit_code, told) == (2, [])
    assert done.stderr.startswith("error: --saliency-lambda 0.2: method erm does not use it")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--set saliency_intervall=5", "unknown setting 'saliency_intervall': did you mean saliency_interval? "),
        ("--set omega-lr=5", "unknown setting 'omega-lr': did you mean omega_lr? "),
        ("--method erm --set strenght=5", "unknown setting 'strenght': did you mean strength? "),
        ("--set weights=5", "unknown setting 'weights': did you mean upweight? "),
    ],
)
def test_unknown_settings_name_the_nearest(arguments, message, told):
    done = call("--meta", "x.h5", *arguments.split())
    assert (done.exit_code, done.stdout, told) == (2, "", [])
    assert done.stderr == f"error: {message}clp-train --list-settings lists all\n"


def test_an_unknown_method_names_the_nearest_and_all(told):
    done = call("--meta", "x.h5", "--method", "clpp")
    listed = f"{', '.join(sorted(METHODS))}, or give your own as {FORM}"
    assert (done.exit_code, told) == (2, [])
    assert done.stderr == f"error: unknown method 'clpp': did you mean clp? choose one of {listed}\n"


WITHOUT_EFFECT = {  # arguments -> what has no effect, beside what, and the remedy
    "--set online_epsilon=0.3": ("--set online_epsilon=0.3", "online is none", "--set online=fgsm"),
    "--set online_epsilon=0.3 --set online=mix-rand": (
        "--set online_epsilon=0.3", "online is mix-rand", "--set online=fgsm",
    ),
    "--schedule cosine --set first_drop=0.5": (
        "--set first_drop=0.5", "schedule is cosine", "--schedule steps",
    ),
    "--schedule constant --set second_drop=0.9": (
        "--set second_drop=0.9", "schedule is constant", "--schedule steps",
    ),
    "--method erm --set trainable=head --set transform=none": (
        "--set transform=none", "trainable is head", "--set trainable=all",
    ),
    "--method erm --set trainable=head --set freeze_batch_norm=true": (
        "--set freeze_batch_norm=true", "trainable is head", "--set trainable=all",
    ),
    "--set background_share=0.5": (
        "--set background_share=0.5", "omega_start is zero", "--set omega_start=background",
    ),
    "--set background_step=0.1 --set omega_start=log-prior": (
        "--set background_step=0.1", "omega_start is log-prior", "--set omega_start=background",
    ),
    "--optimiser adamw --lr 1e-3 --set momentum=0.5": (
        "--set momentum=0.5", "optimiser is adamw", "--optimiser sgd",
    ),
    "--optimiser adamw --lr 1e-3 --set virtual_momentum=true": (
        "--set virtual_momentum=true", "optimiser is adamw", "--optimiser sgd",
    ),
    "--method apl --set gamma=0.1": ("--set gamma=0.1", "active is nce", "--set active=nfl"),
    "--method erm --preset glt-cpu --set first_drop=0.5": (
        "--set first_drop=0.5", "schedule is cosine", "--schedule steps",
    ),
}  # fmt: skip


@pytest.mark.parametrize("arguments", WITHOUT_EFFECT)
def test_a_setting_without_effect_beside_the_others(arguments, told):
    shown, beside, remedy = WITHOUT_EFFECT[arguments]
    done = call("--meta", "x.h5", *arguments.split())
    assert (done.exit_code, done.stdout, told) == (2, "", [])
    assert done.stderr == f"error: {shown}: has no effect where {beside}; take {remedy}\n"
    mended = call("--meta", "x.h5", *arguments.split(), *remedy.split())
    assert (mended.exit_code, len(told)) == (130, 1), mended.stderr


def test_what_a_preset_has_is_not_held_against_anybody(told, tmp_path):
    """Its shared settings are for all methods and schedules; those that this one does not use are not taken."""
    call("--meta", "x.h5", "--method", "erm", "--preset", "cifar-lt-cpu")
    (config,) = told
    assert "saliency_interval" not in config.given
    assert dict(config.spare) == {"saliency_interval": 5}
    mine = tmp_path / "mine.toml"
    mine.write_text('[settings]\nfirst_drop = 0.5\nschedule = "cosine"\ntransform = "none"\ntrainable = "head"\n')
    call("--meta", "x.h5", "--method", "erm", "--preset", mine)
    assert told[1].flat()["first_drop"] == 0.5


def test_what_a_preset_has_for_the_method_must_be_of_use_to_it(told, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text("[settings]\nepochs = 1\n[methods.erm]\nomega_lr = 1e-3\n")
    done = call("--meta", "x.h5", "--method", "erm", "--preset", mine)
    assert (done.exit_code, told) == (2, [])
    assert done.stderr == (
        "error: --omega-lr 0.001: method erm does not use it; it is a setting of mwn, meta-lp, clp and mfrw-mes\n"
    )


ADAMW = {  # arguments -> whether the learning rate is of those who ask for AdamW
    "--optimiser adamw": False,
    "--set optimiser=adamw --lr 1e-3": True,
    "--optimiser adamw --preset cifar-lt-cpu": False,
    "--optimiser adamw --preset cifar-lt-cpu --lr 1e-3": True,
    "--preset adamw.toml": True,
    "--preset adamw.toml --lr 1e-4": True,
    "--preset rateless.toml": False,
    "--preset rateless.toml --lr 1e-4": True,
    "--preset adamw.toml --optimiser adamw": False,
    "--preset adamw.toml --optimiser sgd": True,
}


@pytest.mark.parametrize(("arguments", "is_taken"), ADAMW.items())
def test_adamw_never_takes_the_learning_rate_of_sgd(arguments, is_taken, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adamw.toml").write_text('[settings]\noptimiser = "adamw"\nlr = 1e-3\nmomentum = 0.5\n')
    (tmp_path / "rateless.toml").write_text('[settings]\noptimiser = "adamw"\n')
    done = call("--meta", "x.h5", *arguments.split())
    if is_taken:
        assert len(told) == 1, done.stderr
        return
    reason = "expected a learning rate beside it, as that of SGD is far too high"
    assert (done.exit_code, told) == (2, [])
    assert done.stderr == f"error: --optimiser adamw: {reason}; take --optimiser adamw and --lr 0.001\n"
