"""The shipped seccomp profile is what its script writes, in the form that every container engine reads."""

from __future__ import annotations

import json

import jsonschema

from deploy.seccomp import FOR_NAMESPACES, SECCOMP, docker_default, locum_profile, text
from locum.sandbox.isolation import linux

# What the OCI runtime specification and Docker's own form of a profile have in common, and nothing that only one knows.
_FORM = {
    "type": "object",
    "required": ["defaultAction", "syscalls"],
    "additionalProperties": False,
    "properties": {
        "defaultAction": {"const": "SCMP_ACT_ERRNO"},
        "defaultErrnoRet": {"type": "integer", "minimum": 1, "maximum": 4095},
        "syscalls": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["names", "action"],
                "additionalProperties": False,
                "properties": {
                    "names": {
                        "type": "array",
                        "minItems": 1,
                        "uniqueItems": True,
                        "items": {"pattern": "^[a-z0-9_]+$"},
                    },
                    "action": {"enum": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"]},
                    "errnoRet": {"type": "integer", "minimum": 1, "maximum": 4095},
                    "comment": {"type": "string"},
                    "args": {
                        "type": "array",
                        "maxItems": 1,
                        "items": {
                            "type": "object",
                            "required": ["index", "value", "op"],
                            "additionalProperties": False,
                            "properties": {
                                "index": {"type": "integer", "minimum": 0, "maximum": 5},
                                "value": {"type": "integer", "minimum": 0},
                                "valueTwo": {"type": "integer", "minimum": 0},
                                "op": {"pattern": "^SCMP_CMP_(NE|LT|LE|EQ|GE|GT|MASKED_EQ)$"},
                            },
                        },
                    },
                },
            },
        },
    },
}


def test_the_profile_is_what_the_script_writes() -> None:
    assert SECCOMP.read_text() == text(), "run: python deploy/seccomp.py"


def test_the_profile_has_the_form_that_every_engine_reads() -> None:
    jsonschema.validate(json.loads(text()), _FORM)


def test_the_profile_is_dockers_and_six_calls_more() -> None:
    usual = docker_default()["syscalls"]
    assert locum_profile()["syscalls"] == [*usual, *FOR_NAMESPACES]
    assert sorted(name for rule in FOR_NAMESPACES for name in rule["names"]) == [
        *("mount", "mount_setattr", "pivot_root", "setns", "umount2", "unshare")
    ]
    assert not {name for rule in usual for name in rule["names"]} & {
        *("mount", "mount_setattr", "pivot_root", "setns", "umount2", "unshare"),
        *("bpf", "perf_event_open", "keyctl", "add_key", "io_uring_setup", "fsopen", "move_mount", "open_by_handle_at"),
    }


def test_each_rule_says_what_it_is_for() -> None:
    assert all(rule["comment"] for rule in locum_profile()["syscalls"])


def test_each_call_is_named_in_one_group_only() -> None:
    free = [name for rule in docker_default()["syscalls"] if "args" not in rule for name in rule["names"]]
    assert len(free) == len(set(free))


def test_unshare_is_let_through_for_the_sandboxs_six_namespaces_only() -> None:
    (rule,) = (rule for rule in FOR_NAMESPACES if rule["names"] == ["unshare"])
    ours = {getattr(linux, f"CLONE_NEW{kind}") for kind in ("NS", "UTS", "IPC", "USER", "PID", "NET")}
    (argument,) = rule["args"]
    assert {1 << bit for bit in range(32) if not argument["value"] & (1 << bit)} == ours


def test_the_security_page_names_each_call() -> None:
    page = (SECCOMP.parents[1] / "docs/security/sandbox.md").read_text()
    for rule in FOR_NAMESPACES:
        assert all(f"`{name}`" in page for name in rule["names"])
