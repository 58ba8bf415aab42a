"""The root attributes of a shard, and the ones that must not change while it is made."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import clp_aug
from clp_aug.common.plugins import label
from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import AUDIT, AUDIT_VERSION, SCHEMA_VERSION, Header
from clp_aug.fills.options import digest_names, key_of
from clp_aug.planning import Plan, options_in_use


def make_header(plan: Plan) -> Header:
    """Return the shard's root attributes."""
    return Header(
        dataset=plan.dataset.name,
        class_names=plan.dataset.class_names,
        group_names=plan.dataset.group_names,
        fills=tuple(map(label, plan.fills)),
        box_sources=tuple(matte.about.name for matte in plan.chain),
        settings={
            **plan.config.stored(),
            "matte": plan.chain[0].about.name,
            **digests(plan),
            **clusters(plan),
            **left_out(plan),
            **audit(plan),
            **plan.devices.stored(),
        },
        matte=dataclasses.asdict(plan.chain[0].about),
        fingerprint=plan.dataset.fingerprint(),
        seed=plan.config.seed,
        tool_version=clp_aug.__version__,
        clp_schema=SCHEMA_VERSION if plan.audited is None else AUDIT_VERSION,
    )


def clusters(plan: Plan) -> dict[str, Any]:
    """Return the facts of a meta set spread over clusters (features, missing pictures), for the settings of the
    shard.
    """
    return {"meta_clusters": plan.split.clusters} if plan.split.clusters else {}


def left_out(plan: Plan) -> dict[str, Any]:
    """Return the pictures that the run leaves out, for the settings of the shard: training must leave them out, too."""
    return {"left_out": list(plan.dataset.left_out)} if plan.dataset.left_out else {}


def audit(plan: Plan) -> dict[str, Any]:
    """Return how an audit was made, for the settings of the shard; empty for other shards."""
    return {} if plan.audited is None else {AUDIT: dataclasses.asdict(plan.audited.header)}


def staging_key(plan: Plan) -> dict[str, Any]:
    """Return the settings that must not change between a killed run and its continuation."""
    header = make_header(plan)
    return {
        **header.settings, "matte_sha256": header.matte["sha256"], "fingerprint": header.fingerprint,
        "tool_version": header.tool_version, "schema": SCHEMA_VERSION,
    }  # fmt: skip


def digests(plan: Plan) -> dict[str, str]:
    """Return hashes of the other files that a run depends on (annotations, networks of fills), and terms of use."""
    facts = {"annotations": plan.dataset.annotations_digest()}
    for name, options in plan.config.fill_options.items():
        facts |= {key_of(name, key): "" for key in digest_names(type(options))}
    for name, options in options_in_use(plan.config).items():
        for key, file in options.files().items():
            facts[key_of(name, key)] = "" if file is None else file_sha256(file)
        if options.terms():
            facts[f"{label(name)}_terms"] = options.terms()
    return facts


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal. Raises InputError for a file that cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    except OSError as error:
        raise InputError(f"{path}: cannot read ({error.strerror}); give the path of the network's file") from None
    return digest.hexdigest()
